package apache_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// The texts were recorded from real servers by
//
//	go test ./zktest/apache/realservers -run TestTxns -update-golden
//
// which also checks what every transaction in them says.
func TestParseTxnLog(t *testing.T) {
	for _, name := range []string{"3.8", "3.9"} {
		text, err := os.ReadFile("testdata/txnlog-" + name + ".txt")
		assert.NilError(t, err)
		txns, err := apache.ParseTxnLog(string(text))
		assert.NilError(t, err)
		assert.Equal(t, len(txns), 152)
		ops := map[wire.Op]int{}
		for i, x := range txns {
			ops[x.Op]++
			assert.Equal(t, x.Zxid, 0x100000001+int64(i))
			assert.Equal(t, x.Time.IsZero() || x.Session == 0 && x.Op != apache.OpDeleteContainer, false)
		}
		assert.DeepEqual(t, ops, map[wire.Op]int{
			apache.OpCreateSession: 1, wire.OpCreate: 7, wire.OpCreate2: 1, wire.OpCreateContainer: 1, wire.OpCreateTTL: 1, wire.OpSetData: 129,
			wire.OpError: 1, wire.OpSetACL: 1, wire.OpMulti: 5, wire.OpDelete: 2, wire.OpReconfig: 1, apache.OpDeleteContainer: 1, wire.OpCloseSession: 1,
		})
		assert.Equal(t, string(txns[3].Data), "a,b\nc,'d',[31,s{'world,'anyone}\n],false,3\n")
		assert.Equal(t, txns[3].Path, "/g/much")
		multi := txns[14]
		assert.Equal(t, len(multi.Ops), 10)
		assert.Equal(t, multi.Failed(), false)
		assert.Equal(t, multi.Ops[5].Ephemeral, true)
		assert.Equal(t, string(multi.Ops[8].Data), "é世😀")
		assert.Equal(t, txns[15].Failed(), true)
		assert.DeepEqual(t, txns[len(txns)-1].Paths, []string{"/g/eph", "/g/e%2C,phé", "/g/m5"})
	}
}

const (
	txnLogHead = "ZooKeeper Transactional Log File with dbid 0 txnlog format version 2\n"
	txnPrefix  = "11/24/26, 2:55:47 PM UTC session 0x1000008e9520000 cxid 0x7 zxid 0x100000008 "
)

func txnLogOf(bodies ...string) string {
	text := txnLogHead
	for _, b := range bodies {
		text += txnPrefix + b
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
	}
	return text + "EOF reached after " + string(rune('0'+len(bodies))) + " txns.\n"
}

func TestParseTxnLogForms(t *testing.T) {
	txns, err := apache.ParseTxnLog("")
	assert.NilError(t, err)
	assert.Equal(t, len(txns), 0)

	// Newer Javas put a narrow space before PM, and another zone may be set.
	text := txnLogOf("setData /a,x,1")
	text = strings.Replace(text, " PM UTC", "\u202fPM CET", 1)
	txns, err = apache.ParseTxnLog(text + txnLogOf("delete '/a", "closeSession ", "closeSession v{}"))
	assert.NilError(t, err)
	assert.Equal(t, len(txns), 4)
	x := txns[0]
	assert.Equal(t, x.Session, int64(0x1000008e9520000))
	assert.Equal(t, x.Cxid, int32(7))
	assert.Equal(t, x.Zxid, int64(0x100000008))
	assert.Equal(t, x.Time.Format(time.TimeOnly), "14:55:47")
	assert.Equal(t, string(x.Data), "x")

	// Numbers below zero are printed in all their digits.
	text = strings.ReplaceAll(txnLogOf("delete '/a"), "0x1000008e9520000 cxid 0x7", "0xf000008e9520000 cxid 0xffffffffffffffff")
	txns, err = apache.ParseTxnLog(text)
	assert.NilError(t, err)
	assert.Equal(t, txns[0].Cxid, int32(-1))
	assert.Equal(t, txns[0].Session, int64(0xf000008e9520000))

	// In a multi the same bytes may stand for lengths and data.
	txns, err = apache.ParseTxnLog(txnLogOf("multi setData:\x00\x00\x00\x02/a\x00\x00\x00\x0a;setData:\n\x00\x00\x00\x0a"))
	assert.NilError(t, err)
	assert.Equal(t, string(txns[0].Ops[0].Data), ";setData:\n")
	assert.Equal(t, txns[0].Ops[0].Version, int32(10))

	// What a member that was behind logs of a refused multi: recorded from 3.9.5.
	txns, err = apache.ParseTxnLog(txnLogOf("multi error:\x00\x00\x00\f/soak/d-16/b\x00\x00\x00\x0fwriter-1-000289\x00\x00\x00\x03;error:\ufffd\ufffd\ufffd\ufffd"))
	assert.NilError(t, err)
	assert.Equal(t, txns[0].Failed(), true)
	assert.DeepEqual(t, txns[0].Ops, []apache.Txn{{Op: wire.OpError}, {Op: wire.OpError}})
}

func TestParseTxnLogRefuses(t *testing.T) {
	for _, bad := range []struct {
		text, want string
		line       int
	}{
		{"hello\n", "in no file", 1},
		{txnPrefix + "delete '/a\n", "in no file", 1},
		{"EOF reached after 0 txns.\n", "in no file", 1},
		{txnLogHead, "end of the file", 2},
		{txnLogHead + txnPrefix + "delete '/a\n", "end of the file", 3},
		{txnLogHead + txnLogHead, "before the end", 2},
		{txnLogHead + "hello\n", "begins no transaction", 2},
		{txnLogHead + "CRC ERROR - " + txnPrefix + "delete '/a\nEOF reached after 1 txns.\n", "check sum", 2},
		{txnLogHead + txnPrefix + "delete '/a\nEOF reached after 2 txns.\n", "1 transactions were found, 2", 3},
		{strings.Replace(txnLogOf("delete '/a"), "11/24/26", "24/24/26", 1), "month", 2},
		{txnLogOf("dance /a"), `type "dance"`, 2},
		{txnLogOf("getData /a"), `type "getData"`, 2},
		{txnLogOf("check /a,1"), "by itself", 2},
		{txnLogOf("create /a,x"), "not whether", 2},
		{txnLogOf("create /a,x,[],maybe,1"), "not whether", 2},
		{txnLogOf("create /a,x,[31,s{'world,'anyone}],true,1"), "no ACL", 2},
		{txnLogOf("create /a,x,[],true,one"), "no number", 2},
		{txnLogOf("create a,x,[],true,1"), "no path", 2},
		{txnLogOf("createTTL /a,x,1"), "no number", 2},
		{txnLogOf("createContainer /a,x,[],1,2"), "no ACL", 2},
		{txnLogOf("setData /a"), "no number", 2},
		{txnLogOf("setData /a,1"), "no path", 2},
		{txnLogOf("setData /a,x,99999999999"), "no number", 2},
		{txnLogOf("delete /a"), "no path", 2},
		{txnLogOf("delete '/a,b"), "no path", 2},
		{txnLogOf("error none"), "no number", 2},
		{txnLogOf("createSession "), "no number", 2},
		{txnLogOf("setACL 'a,v{},1"), "no path", 2},
		{txnLogOf("setACL '/a,v{},"), "no number", 2},
		{txnLogOf("closeSession '/a"), "no list", 2},
		{txnLogOf("closeSession v{'/a,b}"), "no path", 2},
		{txnLogOf("multi setData"), "no sense", 2},
		{txnLogOf("multi setData:\x00\x00\x00\x05/a"), "no sense", 2},
		{txnLogOf("multi multi:"), "no sense", 2},
		{txnLogOf("multi delete:\x00\x00\x00\x02/a;"), "no sense", 2},
		{txnLogOf("multi delete:\x00\x00\x00\x02/abc"), "no sense", 2},
		{txnLogOf("multi delete:\x7f\xff\xff\xff/a"), "no sense", 2},
		{txnLogOf("multi create:\x00\x00\x00\x02/a\x00\x00\x00\x00\x7f\x00\x00\x00"), "no sense", 2},
		{txnLogOf("delete '/a", "multi delete:\x00\x00\x00\ufffd/a"), "no sense", 3},
	} {
		_, err := apache.ParseTxnLog(bad.text)
		var e *apache.TxnLogError
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v", bad.text, err)
			continue
		}
		if !strings.Contains(e.Error(), bad.want) || e.Line != bad.line {
			t.Errorf("%q: %v, want line %d, %q", bad.text, err, bad.line, bad.want)
		}
	}

	// Two ways to read it: the operation behind the data, or part of it.
	long := strings.Repeat("x", 0x80)
	inner := ";setData:\x00\x00\x00\x02/b\x00\x00\x00\x01y\x00\x00\x00\x02"
	_, err := apache.ParseTxnLog(txnLogOf("multi setData:\x00\x00\x00\x02/a\x00\x00\x00\ufffd" + long + "\x00\x00\x00\x01" + inner))
	assert.ErrorContains(t, err, "more than one way")

	// Many blurred lengths do not take for ever: what is bounded is the number of tries.
	op := ";delete:\x00\x00\x00\ufffd/" + strings.Repeat(";delete:\x00\x00\x00\ufffd/", 300)
	_, err = apache.ParseTxnLog(txnLogOf("multi " + op[1:] + ";" + strings.Repeat("x", 300)))
	assert.ErrorContains(t, err, "too many ways")
}

func FuzzParseTxnLog(f *testing.F) {
	for _, name := range []string{"3.8", "3.9"} {
		text, err := os.ReadFile("testdata/txnlog-" + name + ".txt")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(txnLogOf("multi setData:\x00\x00\x00\x02/a\x00\x00\x00\ufffd;setData:\n\x00\x00\x00\x0a"))
	f.Add(txnLogOf("closeSession v{'/a,'/b}", "create /a,x,[31,s{'world,'anyone}\n],true,1"))
	f.Fuzz(func(t *testing.T, text string) {
		_, err := apache.ParseTxnLog(text)
		var e *apache.TxnLogError
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
	})
}
