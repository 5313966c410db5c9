package realservers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// The transaction logs of three servers tell what was done, in every form, and
// all three the same. With -update-golden the first server's text is kept for
// the parser's own test.
func TestTxns(t *testing.T) {
	for _, release := range apache.Default() {
		t.Run(string(release), func(t *testing.T) { testTxns(t, release) })
	}
}

func testTxns(t *testing.T, release apache.Release) {
	e := apache.New(t, apache.Config{Release: release, Members: 3})
	began := time.Now().Truncate(time.Second)
	c := connect(t, nil, e.Addrs()[0], fresh())
	var want []string // op path "data" version, as below
	xid := map[int]int32{}
	did := func(format string, args ...any) {
		xid[len(want)] = c.xid
		want = append(want, fmt.Sprintf(format, args...))
	}
	create := func(op wire.Op, path, data string, flags int32) {
		t.Helper()
		r := wire.CreateRequest{Path: path, ACL: open, Flags: flags}
		if data != "" {
			r.Data = []byte(data)
		}
		d := c.ok(op, r)
		path = d.String()
		did("%v %s %q ephemeral %v", op, path, data, flags == wire.FlagEphemeral)
	}
	set := func(path, data string, version int32) {
		t.Helper()
		c.ok(wire.OpSetData, wire.SetDataRequest{Path: path, Data: []byte(data), Version: -1})
		did("setData %s %q version %d", path, data, version)
	}
	setOp := func(path, data string) wire.MultiOp {
		return wire.MultiOp{Op: wire.OpSetData, Request: wire.SetDataRequest{Path: path, Data: []byte(data), Version: -1}}
	}
	createOp := func(op wire.Op, path string, data []byte, flags int32) wire.MultiOp {
		return wire.MultiOp{Op: op, Request: wire.CreateRequest{Path: path, Data: data, ACL: open, Flags: flags}}
	}
	multi := func(ops ...wire.MultiOp) {
		t.Helper()
		c.ok(wire.OpMulti, wire.MultiRequest{Ops: ops})
	}
	ttl := wire.CreateTTLRequest{Path: "/g/ttl", Data: []byte("t"), ACL: open, Flags: wire.FlagPersistentTTL, TTL: 3_600_000}
	remove := func(path string) {
		t.Helper()
		c.ok(wire.OpDelete, wire.PathVersionRequest{Path: path, Version: -1})
		did("delete %s", path)
	}

	did("op -10 timeout 10s")
	create(wire.OpCreate, "/g", "hello", wire.FlagPersistent)
	create(wire.OpCreate2, "/g/null", "", wire.FlagPersistent)
	create(wire.OpCreate, "/g/much", "a,b\nc,'d',[31,s{'world,'anyone}\n],false,3\n", wire.FlagPersistent)
	create(wire.OpCreate, "/g/é世", "é世😀", wire.FlagPersistent)
	create(wire.OpCreate, "/g/seq-", "", wire.FlagPersistentSequential)
	create(wire.OpCreate, "/g/eph", "mine", wire.FlagEphemeral)
	create(wire.OpCreate, "/g/e%2C,phé", "mine", wire.FlagEphemeral)
	want[len(want)-1] = `create /g/e%2C "phé,mine" ephemeral true` // where the path ends is not told
	c.ok(wire.OpCreateContainer, wire.CreateRequest{Path: "/g/container", Data: []byte("c"), ACL: open, Flags: wire.FlagContainer})
	did(`createContainer /g/container "c"`)
	c.ok(wire.OpCreateTTL, ttl)
	did(`createTTL /g/ttl "t"`)
	set("/g", "more", 1)
	set("/g", "line\n\n", 2)
	c.want(wire.ErrBadVersion, wire.OpSetData, wire.SetDataRequest{Path: "/g", Data: []byte("never"), Version: 0})
	did("error -103")
	c.ok(wire.OpSetACL, wire.SetACLRequest{Path: "/g/null", Version: 0, ACL: []wire.ACL{
		open[0], {Perms: wire.PermRead, Scheme: "ip", ID: "127.0.0.2"},
	}})
	did("setACL /g/null version 1")
	multi(
		wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/g", Version: 2}},
		createOp(wire.OpCreate, "/g/m1", []byte("1"), wire.FlagPersistent),
		createOp(wire.OpCreate2, "/g/m2-", nil, wire.FlagPersistentSequential),
		createOp(wire.OpCreateContainer, "/g/m3", nil, wire.FlagContainer),
		wire.MultiOp{Op: wire.OpCreateTTL, Request: wire.CreateTTLRequest{Path: "/g/m4", ACL: open, Flags: wire.FlagPersistentTTL, TTL: 60_000}},
		createOp(wire.OpCreate, "/g/m5", []byte{}, wire.FlagEphemeral),
		setOp("/g/m1", "newline-10"),
		setOp("/g/m1", strings.Repeat("x;setData:", 25)),
		setOp("/g/m1", "é世😀"),
		wire.MultiOp{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/g/m1", Version: 3}},
	)
	did("multi [check /g version 3; create /g/m1 \"1\" ephemeral false; create2 /g/m2-0000000009 \"\" ephemeral false; createContainer /g/m3 \"\"; createTTL /g/m4 \"\"; create /g/m5 \"\" ephemeral true; "+
		"setData /g/m1 \"newline-10\" version 1; setData /g/m1 %q version 2; setData /g/m1 \"é世😀\" version 3; delete /g/m1]", strings.Repeat("x;setData:", 25))
	multi(setOp("/g", "never"), wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/g", Version: 99}},
		wire.MultiOp{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/none", Version: -1}})
	did(refusedMulti)
	multi()
	did("multi []")
	for version := int32(1); version <= 9; version++ {
		set("/g/null", "x", version)
	}
	multi(setOp("/g/null", "version 10 ends its line"))
	did(`multi [setData /g/null "version 10 ends its line" version 10]`)
	for version := int32(11); version <= 127; version++ {
		set("/g/null", "x", version)
	}
	multi(setOp("/g/null", "above"), setOp("/g/null", ""))
	did(`multi [setData /g/null "above" version -1; setData /g/null "" version -1]`)
	set("/g/null", "y", 130)
	remove("/g/é世")
	c.ok(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte(apache.SuperCredential)})
	d := c.ok(wire.OpGetData, wire.PathWatchRequest{Path: "/zookeeper/config"})
	line, _, _ := strings.Cut(string(d.Buffer()), "\n")
	c.ok(wire.OpReconfig, wire.ReconfigRequest{Joining: &line, ConfigID: -1})
	did("reconfig /zookeeper/config")
	create(wire.OpCreate, "/g/container/child", "", wire.FlagPersistent)
	remove("/g/container/child")
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { // the server deletes it now
		if err, _ := c.call(wire.OpExists, wire.PathWatchRequest{Path: "/g/container"}); err == wire.ErrNoNode {
			break
		} else if time.Since(began) > timeout {
			t.Fatal("the container stays")
		}
	}
	want = append(want, "op 20 /g/container")
	c.ok(wire.OpCloseSession, nil)
	did("closeSession %s", "[/g/eph /g/e%2C,phé /g/m5]")

	var first []string
	for i := range e.Len() {
		txns := allTxns(t, e.Member(i), len(want))
		var got []string
		for j := range txns {
			text := describeTxn(&txns[j])
			if text == refusedMultiApplied {
				text = refusedMulti
			}
			got = append(got, text)
		}
		if i > 0 { // others may have got the newest zxid only
			assert.DeepEqual(t, got, first)
			continue
		}
		first = got
		assert.DeepEqual(t, got, want)
		for j, x := range txns {
			if n, ok := xid[j]; ok && (x.Cxid != n || x.Session != c.SessionID) {
				t.Errorf("%s: session %#x, cxid %d, want %#x, %d", got[j], uint64(x.Session), x.Cxid, uint64(c.SessionID), n)
			}
			if x.Time.Before(began) || x.Time.After(time.Now()) {
				t.Errorf("%s: at %v", got[j], x.Time)
			}
			if j > 0 && x.Zxid != txns[j-1].Zxid+1 {
				t.Errorf("%s: zxid %#x behind %#x", got[j], x.Zxid, txns[j-1].Zxid)
			}
		}
	}
	if *updateGolden && !t.Failed() {
		text, err := e.Member(0).TxnLog(t.Context())
		assert.NilError(t, err)
		minor := string(release[:strings.LastIndexByte(string(release), '.')])
		dir := filepath.Join("..", "testdata")
		assert.NilError(t, os.MkdirAll(dir, 0o755))
		assert.NilError(t, os.WriteFile(filepath.Join(dir, "txnlog-"+minor+".txt"), []byte(text), 0o644))
	}
}

// A refused multi in the log. A member that had applied it before it wrote it
// down has made an error of the first operation too.
const (
	refusedMulti        = `multi failed [setData /g "never" version 3; error 0; error 0]`
	refusedMultiApplied = `multi failed [error 0; error 0; error 0]`
)

// allTxns waits until a member has logged n transactions, and returns them.
func allTxns(t *testing.T, s *apache.Server, n int) []apache.Txn {
	t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		txns, err := s.Txns(t.Context())
		var bad *apache.TxnLogError
		if err != nil && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		if err == nil && len(txns) >= n {
			return txns
		}
		if time.Since(began) > timeout {
			t.Fatalf("server %d has logged %d transactions, want %d (%v)", s.ID(), len(txns), n, err)
		}
	}
}

// describeTxn prints what a script knows beforehand.
func describeTxn(x *apache.Txn) string {
	s := x.Op.String()
	if x.Path != "" {
		s += " " + x.Path
	}
	switch x.Op {
	case wire.OpCreate, wire.OpCreate2:
		s += fmt.Sprintf(" %q ephemeral %v", x.Data, x.Ephemeral)
	case wire.OpCreateContainer, wire.OpCreateTTL:
		s += fmt.Sprintf(" %q", x.Data)
	case wire.OpSetData:
		s += fmt.Sprintf(" %q version %d", x.Data, x.Version)
	case wire.OpSetACL, wire.OpCheck:
		s += fmt.Sprintf(" version %d", x.Version)
	case wire.OpError:
		s += fmt.Sprintf(" %d", x.Err)
	case apache.OpCreateSession:
		s += fmt.Sprintf(" timeout %v", x.Timeout)
	case wire.OpCloseSession:
		s += fmt.Sprintf(" %v", x.Paths)
	case wire.OpMulti:
		if x.Failed() {
			s += " failed"
		}
		var ops []string
		for i := range x.Ops {
			ops = append(ops, describeTxn(&x.Ops[i]))
		}
		s += " [" + strings.Join(ops, "; ") + "]"
	}
	return s
}
