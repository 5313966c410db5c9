package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// codec is what a pointer to any record is.
type codec interface {
	wire.Record
	Decode(*wire.Decoder)
}

// newOf returns a pointer to a zero record of r's type.
func newOf(r wire.Record) codec { return reflect.New(reflect.TypeOf(r)).Interface().(codec) }

// valueOf is the record that c points to.
func valueOf(c codec) wire.Record { return reflect.ValueOf(c).Elem().Interface().(wire.Record) }

func typeName(r wire.Record) string { return reflect.TypeOf(r).Name() }

func ptr[T any](v T) *T { return &v }

var (
	stat = wire.Stat{
		Czxid: 0x100000002, Mzxid: 0x100000003, Ctime: 1700000000001, Mtime: 1700000000002,
		Version: 3, Cversion: 4, Aversion: -5, EphemeralOwner: math.MinInt64 | 7,
		DataLength: 11, NumChildren: 2, Pzxid: 0x100000004,
	}
	acls     = []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}, {Perms: wire.PermRead, Scheme: "digest", ID: "jürgen:€"}}
	names    = []string{"a", "", "日本語", "q-0000000001"}
	password = []byte("0123456789abcdef")
)

// records holds every record type at least once, and every null, empty and
// filled form of their fields.
var records = []wire.Record{
	wire.ACL{}, acls[0], acls[1],
	wire.Stat{}, stat,
	wire.ClientInfo{}, wire.ClientInfo{AuthScheme: "ip", User: "127.0.0.1"},

	wire.ConnectRequest{},
	wire.ConnectRequest{ProtocolVersion: 1, LastZxidSeen: math.MaxInt64, Timeout: 4000, SessionID: -2, Password: password, ReadOnly: true, HasReadOnly: true},
	wire.ConnectRequest{Password: []byte{}, HasReadOnly: true},
	wire.ConnectResponse{},
	wire.ConnectResponse{ProtocolVersion: 1, Timeout: 4000, SessionID: -2, Password: password, ReadOnly: true, HasReadOnly: true},
	wire.ConnectResponse{Password: make([]byte, 16), HasReadOnly: true},
	wire.RequestHeader{Xid: 7, Op: wire.OpCloseSession},
	wire.ReplyHeader{Xid: wire.XidNotification, Zxid: -1, Err: wire.ErrNoNode},
	wire.MultiHeader{Op: wire.OpError, Done: true, Err: -1},

	wire.CreateRequest{},
	wire.CreateRequest{Path: "/a", Data: []byte{}, ACL: []wire.ACL{}, Flags: wire.FlagContainer},
	wire.CreateRequest{Path: "/ä/日本", Data: []byte("data"), ACL: acls, Flags: wire.FlagEphemeralSequential},
	wire.CreateTTLRequest{},
	wire.CreateTTLRequest{Path: "/a", Data: []byte("data"), ACL: acls, Flags: wire.FlagPersistentTTL, TTL: wire.MaxTTL},
	wire.PathVersionRequest{Path: "/a", Version: -1},
	wire.PathWatchRequest{Path: "/a", Watch: true}, wire.PathWatchRequest{},
	wire.PathRequest{Path: "/a"}, wire.PathRequest{},
	wire.SetDataRequest{Path: "/a", Version: -1},
	wire.SetDataRequest{Path: "/a", Data: []byte{}, Version: 1},
	wire.SetDataRequest{Path: "/a", Data: []byte{0, 255}},
	wire.SetACLRequest{Path: "/a"},
	wire.SetACLRequest{Path: "/a", ACL: []wire.ACL{}},
	wire.SetACLRequest{Path: "/a", ACL: acls, Version: 2},
	wire.ReconfigRequest{ConfigID: -1},
	wire.ReconfigRequest{Joining: ptr(""), Leaving: ptr("3,4"), NewMembers: ptr("server.1=h:1:2;3"), ConfigID: 0x100000000},
	wire.WatcherTypeRequest{Path: "/a", Type: wire.WatcherAny},
	wire.AddWatchRequest{Path: "/a", Mode: wire.AddWatchPersistentRecursive},
	wire.AuthRequest{Scheme: "digest", Auth: []byte("user:password")},
	wire.AuthRequest{Type: -1}, wire.AuthRequest{Auth: []byte{}},
	wire.SetWatchesRequest{},
	wire.SetWatchesRequest{RelativeZxid: 5, Data: []string{}, Exist: []string{""}, Child: names},
	wire.SetWatches2Request{},
	wire.SetWatches2Request{RelativeZxid: 5, Data: names, Exist: []string{}, Persistent: []string{"/p"}, Recursive: []string{"/", "/r"}},
	wire.SASLRequest{}, wire.SASLRequest{Token: []byte{}}, wire.SASLRequest{Token: []byte("token")},
	wire.MultiRequest{Ops: []wire.MultiOp{}},
	wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/a", Data: []byte("1"), ACL: acls}},
		{Op: wire.OpCreate2, Request: wire.CreateRequest{Path: "/b"}},
		{Op: wire.OpCreateContainer, Request: wire.CreateRequest{Path: "/c", Data: []byte{}, ACL: []wire.ACL{}, Flags: wire.FlagContainer}},
		{Op: wire.OpCreateTTL, Request: wire.CreateTTLRequest{Path: "/d", ACL: acls, Flags: wire.FlagPersistentTTL, TTL: 1}},
		{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/e", Version: -1}},
		{Op: wire.OpSetData, Request: wire.SetDataRequest{Path: "/f", Data: []byte("2")}},
		{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/g", Version: 3}},
	}},
	wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpGetData, Request: wire.PathWatchRequest{Path: "/a"}},
		{Op: wire.OpGetChildren, Request: wire.PathWatchRequest{Path: "/b"}},
	}},

	wire.PathResponse{Path: "/a0000000001"},
	wire.Create2Response{Path: "/a", Stat: stat},
	wire.GetDataResponse{}, wire.GetDataResponse{Data: []byte{}, Stat: stat}, wire.GetDataResponse{Data: []byte("data"), Stat: stat},
	wire.GetACLResponse{}, wire.GetACLResponse{ACL: []wire.ACL{}, Stat: stat}, wire.GetACLResponse{ACL: acls, Stat: stat},
	wire.ChildrenResponse{}, wire.ChildrenResponse{Children: []string{}}, wire.ChildrenResponse{Children: names},
	wire.Children2Response{}, wire.Children2Response{Children: []string{}, Stat: stat}, wire.Children2Response{Children: names, Stat: stat},
	wire.CountResponse{Count: 12},
	wire.ErrorResponse{Err: wire.ErrNoAuth},
	wire.WhoAmIResponse{}, wire.WhoAmIResponse{Infos: []wire.ClientInfo{}},
	wire.WhoAmIResponse{Infos: []wire.ClientInfo{{AuthScheme: "ip", User: "::1"}, {AuthScheme: "digest", User: "jürgen"}}},
	wire.WatcherEvent{Type: wire.EventNodeDeleted, State: wire.StateSyncConnected, Path: "/ä"},
	wire.WatcherEvent{Type: wire.EventNone, State: -112},
	wire.SASLResponse{}, wire.SASLResponse{Token: []byte{}}, wire.SASLResponse{Token: []byte("rspauth=")},
	wire.MultiResult{Op: wire.OpCheck},
	wire.MultiResult{Op: wire.OpGetData, Data: []byte("data"), Stat: stat},
	wire.MultiResponse{Results: []wire.MultiResult{}},
	wire.MultiResponse{Results: []wire.MultiResult{
		{Op: wire.OpCreate, Path: "/a"},
		{Op: wire.OpCreate2, Path: "/b", Stat: stat},
		{Op: wire.OpDelete},
		{Op: wire.OpSetData, Stat: stat},
		{Op: wire.OpCheck},
	}},
	wire.MultiResponse{Results: []wire.MultiResult{
		{Op: wire.OpGetChildren, Children: names},
		{Op: wire.OpGetChildren, Children: []string{}},
		{Op: wire.OpGetChildren},
		{Op: wire.OpGetData, Data: []byte("data"), Stat: stat},
		{Op: wire.OpGetData, Data: []byte{}},
		{Op: wire.OpGetData},
		{Op: wire.OpError, Err: wire.ErrNoNode},
	}},
	wire.MultiResponse{Results: []wire.MultiResult{
		{Op: wire.OpError, Err: wire.ErrOK},
		{Op: wire.OpError, Err: wire.ErrNodeExists},
		{Op: wire.OpError, Err: wire.ErrRuntimeInconsistency},
	}},
}

// eachRecord runs f for every record of the table.
func eachRecord(t *testing.T, f func(t *testing.T, r wire.Record)) {
	for i, r := range records {
		t.Run(fmt.Sprintf("%s/%d", typeName(r), i), func(t *testing.T) { f(t, r) })
	}
}

// optionalTail tells of the records that may end early: the read-only byte.
func optionalTail(r wire.Record) bool {
	switch r.(type) {
	case wire.ConnectRequest, wire.ConnectResponse:
		return true
	}
	return false
}

func TestEveryRecordIsTested(t *testing.T) {
	tested := map[string]bool{}
	for _, r := range records {
		tested[typeName(r)] = true
	}
	files, err := filepath.Glob("*.go")
	assert.NilError(t, err)
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		assert.NilError(t, err)
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "Decode" {
				continue
			}
			found++
			name := f.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name
			assert.Check(t, tested[name], "no case for %s", name)
		}
	}
	assert.Equal(t, found, len(tested))
}

func TestRoundTrip(t *testing.T) {
	eachRecord(t, func(t *testing.T, r wire.Record) {
		prefix := []byte("prefix")
		b := r.Append(slices.Clone(prefix))
		assert.Assert(t, bytes.HasPrefix(b, prefix), "Append changed what was there")
		b = b[len(prefix):]

		got := newOf(r)
		d := wire.NewDecoder(b)
		got.Decode(&d)
		assert.NilError(t, d.Err())
		assert.Equal(t, d.Len(), 0)
		assert.DeepEqual(t, valueOf(got), r)
		assert.DeepEqual(t, got.Append(nil), b)
	})
}

// Newer servers append fields to records.
func TestTrailingBytesAreLeft(t *testing.T) {
	eachRecord(t, func(t *testing.T, r wire.Record) {
		b, tail := r.Append(nil), []byte{0xff, 0xff, 0xff, 0xff}
		if optionalTail(r) && !reflect.ValueOf(r).FieldByName("HasReadOnly").Bool() {
			t.Skip("a byte behind this record is its read-only flag")
		}
		got := newOf(r)
		d := wire.NewDecoder(append(b, tail...))
		got.Decode(&d)
		assert.NilError(t, d.Err())
		assert.DeepEqual(t, valueOf(got), r)
		assert.DeepEqual(t, d.Rest(), tail)
	})
}

func TestDecodeOverwrites(t *testing.T) {
	eachRecord(t, func(t *testing.T, r wire.Record) {
		for _, before := range records {
			if reflect.TypeOf(before) != reflect.TypeOf(r) {
				continue
			}
			got := newOf(r)
			for _, v := range []wire.Record{before, r} {
				d := wire.NewDecoder(v.Append(nil))
				got.Decode(&d)
				assert.NilError(t, d.Err())
			}
			assert.DeepEqual(t, valueOf(got), r)
		}
	})
}

func TestTruncated(t *testing.T) {
	eachRecord(t, func(t *testing.T, r wire.Record) {
		b := r.Append(nil)
		for n := range b {
			got := newOf(r)
			d := wire.NewDecoder(slices.Clone(b[:n]))
			got.Decode(&d)
			if n == len(b)-1 && optionalTail(r) && reflect.ValueOf(r).FieldByName("HasReadOnly").Bool() {
				assert.NilError(t, d.Err())
				assert.Assert(t, !reflect.ValueOf(got).Elem().FieldByName("HasReadOnly").Bool())
				continue
			}
			checkFailed(t, &d, n)
		}
	})
}

// checkFailed checks that d has failed, and its error, after n bytes of input.
func checkFailed(t testing.TB, d *wire.Decoder, n int) {
	t.Helper()
	err := d.Err()
	assert.Assert(t, err != nil, "no error for %d bytes", n)
	var bad *wire.Error
	assert.Assert(t, errors.As(err, &bad))
	assert.Assert(t, bad.Offset >= 0 && bad.Offset <= n, "%v in %d bytes", err, n)
	assert.Assert(t, strings.HasPrefix(err.Error(), "malformed record at byte "), "%v", err)
	assert.Equal(t, d.Len(), 0)
	assert.Equal(t, len(d.Rest()), 0)
	assert.Equal(t, d.Int64(), int64(0))
	assert.Assert(t, d.Buffer() == nil && d.Strings() == nil && d.NullString() == nil && !d.Bool())
	assert.Equal(t, d.Err(), err, "the first error must stick")
}

func TestAliasing(t *testing.T) {
	b := wire.SetDataRequest{Path: "/a", Data: []byte("data"), Version: 1}.Append(nil)
	var r wire.SetDataRequest
	d := wire.NewDecoder(b)
	r.Decode(&d)
	assert.NilError(t, d.Err())

	before := slices.Clone(b)
	_ = append(r.Data, "more"...)
	assert.DeepEqual(t, b, before) // the capacity of Data ends with it

	clear(b)
	assert.Equal(t, r.Path, "/a")
	assert.DeepEqual(t, r.Data, make([]byte, 4))
}

func TestInvalidUTF8PassesThrough(t *testing.T) {
	for _, s := range []string{"\xff", "/\xed\xa0\xbd\xed\xb8\x80", "a\x00b", "/"} {
		var r wire.ChildrenResponse
		d := wire.NewDecoder(wire.ChildrenResponse{Children: []string{s}}.Append(nil))
		r.Decode(&d)
		assert.NilError(t, d.Err())
		assert.DeepEqual(t, r.Children, []string{s})
	}
}

// A null string is "" where the two mean the same, and nil where they do not.
func TestNullStrings(t *testing.T) {
	var p wire.PathResponse
	d := wire.NewDecoder(wire.AppendInt32(nil, -1))
	p.Decode(&d)
	assert.NilError(t, d.Err())
	assert.Equal(t, p.Path, "")

	var c wire.ChildrenResponse
	d = wire.NewDecoder(unhex(t, "00000002 ffffffff 00000001 61"))
	c.Decode(&d)
	assert.NilError(t, d.Err())
	assert.DeepEqual(t, c.Children, []string{"", "a"})
}

// unhex reads hex digits with spaces between them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	assert.NilError(t, err)
	return b
}

// The bytes are put together by hand from the field lists of ZooKeeper's zookeeper.jute.
func TestBytes(t *testing.T) {
	const statHex = `
		0000000100000002 0000000100000003 0000018bcfe56801 0000018bcfe56802
		00000003 00000004 fffffffb 8000000000000007 0000000b 00000002 0000000100000004`
	for _, test := range []struct {
		name string
		recs []wire.Record
		hex  string
	}{
		{
			"new session, 45 bytes",
			[]wire.Record{wire.ConnectRequest{Timeout: 10000, Password: make([]byte, 16), HasReadOnly: true}},
			"00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000 00",
		},
		{
			"old client, 44 bytes",
			[]wire.Record{wire.ConnectRequest{LastZxidSeen: 0x1a, Timeout: 10000, SessionID: 0x1deadbeef, Password: password}},
			"00000000 000000000000001a 00002710 00000001deadbeef 00000010 30313233343536373839616263646566",
		},
		{
			"session granted by a read-only server, 37 bytes",
			[]wire.Record{wire.ConnectResponse{Timeout: 4000, SessionID: -1, Password: password, ReadOnly: true, HasReadOnly: true}},
			"00000000 00000fa0 ffffffffffffffff 00000010 30313233343536373839616263646566 01",
		},
		{"ping", []wire.Record{wire.RequestHeader{Xid: wire.XidPing, Op: wire.OpPing}}, "fffffffe 0000000b"},
		{"closeSession", []wire.Record{wire.RequestHeader{Xid: 9, Op: wire.OpCloseSession}}, "00000009 fffffff5"},
		{
			"create",
			[]wire.Record{
				wire.RequestHeader{Xid: 1, Op: wire.OpCreate},
				wire.CreateRequest{Path: "/é", ACL: []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}, Flags: wire.FlagEphemeralSequential},
			},
			`00000001 00000001
			00000003 2fc3a9
			ffffffff
			00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65
			00000003`,
		},
		{
			"createTTL",
			[]wire.Record{wire.RequestHeader{Xid: 2, Op: wire.OpCreateTTL}, wire.CreateTTLRequest{Path: "/t", Data: []byte{}, Flags: wire.FlagPersistentTTL, TTL: wire.MaxTTL}},
			"00000002 00000015 00000002 2f74 00000000 ffffffff 00000005 000000ffffffffff",
		},
		{
			"getData with a watch",
			[]wire.Record{wire.RequestHeader{Xid: 3, Op: wire.OpGetData}, wire.PathWatchRequest{Path: "/a", Watch: true}},
			"00000003 00000004 00000002 2f61 01",
		},
		{
			"reply to getData",
			[]wire.Record{wire.ReplyHeader{Xid: 3, Zxid: 0x100000005}, wire.GetDataResponse{Data: []byte("x"), Stat: stat}},
			"00000003 0000000100000005 00000000 00000001 78" + statHex,
		},
		{
			"notification",
			[]wire.Record{wire.ReplyHeader{Xid: wire.XidNotification, Zxid: -1}, wire.WatcherEvent{Type: wire.EventNodeDataChanged, State: wire.StateSyncConnected, Path: "/a"}},
			"ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f61",
		},
		{
			"setData",
			[]wire.Record{wire.SetDataRequest{Path: "/a", Data: []byte("x"), Version: 2}},
			"00000002 2f61 00000001 78 00000002",
		},
		{
			"setACL",
			[]wire.Record{wire.SetACLRequest{Path: "/a", ACL: []wire.ACL{{Perms: wire.PermAdmin, Scheme: "ip", ID: "::1"}}, Version: 2}},
			"00000002 2f61 00000001 00000010 00000002 6970 00000003 3a3a31 00000002",
		},
		{
			"removeWatches and addWatch",
			[]wire.Record{wire.WatcherTypeRequest{Path: "/a", Type: wire.WatcherAny}, wire.AddWatchRequest{Path: "/a", Mode: wire.AddWatchPersistentRecursive}},
			"00000002 2f61 00000003 00000002 2f61 00000001",
		},
		{
			"reply to getACL",
			[]wire.Record{wire.GetACLResponse{ACL: []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}, Stat: stat}},
			"00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65" + statHex,
		},
		{
			"reply to getChildren2",
			[]wire.Record{wire.Children2Response{Children: []string{"a", "bc"}, Stat: stat}},
			"00000002 00000001 61 00000002 6263" + statHex,
		},
		{
			"reply to create2",
			[]wire.Record{wire.Create2Response{Path: "/a", Stat: stat}},
			"00000002 2f61" + statHex,
		},
		{
			"replies to whoAmI, getAllChildrenNumber, addWatch and, at last, sasl",
			[]wire.Record{
				wire.WhoAmIResponse{Infos: []wire.ClientInfo{{AuthScheme: "ip", User: "::1"}}},
				wire.CountResponse{Count: 3}, wire.ErrorResponse{}, wire.SASLResponse{},
			},
			"00000001 00000002 6970 00000003 3a3a31 00000003 00000000 ffffffff",
		},
		{
			"reply to multiRead",
			[]wire.Record{wire.MultiResponse{Results: []wire.MultiResult{
				{Op: wire.OpGetData, Data: []byte("x"), Stat: stat}, {Op: wire.OpGetChildren, Children: []string{"a"}}, {Op: wire.OpError, Err: wire.ErrNoAuth},
			}}},
			"00000004 00 00000000 00000001 78" + statHex +
				"00000008 00 00000000 00000001 00000001 61" +
				"ffffffff 00 ffffff9a ffffff9a" +
				"ffffffff 01 ffffffff",
		},
		{
			"setWatches",
			[]wire.Record{wire.RequestHeader{Xid: wire.XidSetWatches, Op: wire.OpSetWatches}, wire.SetWatchesRequest{RelativeZxid: 6, Data: []string{"/a"}, Exist: []string{"/b"}, Child: []string{"/c"}}},
			"fffffff8 00000065 0000000000000006 00000001 00000002 2f61 00000001 00000002 2f62 00000001 00000002 2f63",
		},
		{
			"setWatches2",
			[]wire.Record{wire.RequestHeader{Xid: 4, Op: wire.OpSetWatches2}, wire.SetWatches2Request{RelativeZxid: 6, Data: []string{"/a", "/b"}, Exist: []string{}, Recursive: []string{"/"}}},
			"00000004 00000069 0000000000000006 00000002 00000002 2f61 00000002 2f62 00000000 ffffffff ffffffff 00000001 00000001 2f",
		},
		{
			"auth",
			[]wire.Record{wire.RequestHeader{Xid: wire.XidAuth, Op: wire.OpAuth}, wire.AuthRequest{Scheme: "digest", Auth: []byte("u:p")}},
			"fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70",
		},
		{
			"reconfig, null beside empty",
			[]wire.Record{wire.ReconfigRequest{Leaving: ptr(""), ConfigID: -1}},
			"ffffffff 00000000 ffffffff ffffffffffffffff",
		},
		{
			"multi",
			[]wire.Record{
				wire.RequestHeader{Xid: 5, Op: wire.OpMulti},
				wire.MultiRequest{Ops: []wire.MultiOp{
					{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/a", Version: 3}},
					{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/a", Version: -1}},
				}},
			},
			`00000005 0000000e
			0000000d 00 ffffffff 00000002 2f61 00000003
			00000002 00 ffffffff 00000002 2f61 ffffffff
			ffffffff 01 ffffffff`,
		},
		{
			"reply to a multi that failed",
			[]wire.Record{
				wire.ReplyHeader{Xid: 5, Zxid: 7},
				wire.MultiResponse{Results: []wire.MultiResult{
					{Op: wire.OpError, Err: wire.ErrOK},
					{Op: wire.OpError, Err: wire.ErrNoNode},
					{Op: wire.OpError, Err: wire.ErrRuntimeInconsistency},
				}},
			},
			`00000005 0000000000000007 00000000
			ffffffff 00 00000000 00000000
			ffffffff 00 ffffff9b ffffff9b
			ffffffff 00 fffffffe fffffffe
			ffffffff 01 ffffffff`,
		},
		{
			"reply to a multi",
			[]wire.Record{wire.MultiResponse{Results: []wire.MultiResult{
				{Op: wire.OpCreate2, Path: "/a", Stat: stat}, {Op: wire.OpDelete}, {Op: wire.OpSetData, Stat: stat},
			}}},
			"0000000f 00 00000000 00000002 2f61" + statHex +
				"00000002 00 00000000" +
				"00000005 00 00000000" + statHex +
				"ffffffff 01 ffffffff",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := unhex(t, test.hex)
			var b []byte
			for _, r := range test.recs {
				b = r.Append(b)
			}
			assert.Equal(t, hex.EncodeToString(b), hex.EncodeToString(want))

			d := wire.NewDecoder(want)
			for _, r := range test.recs {
				got := newOf(r)
				got.Decode(&d)
				assert.NilError(t, d.Err())
				assert.DeepEqual(t, valueOf(got), r)
			}
			assert.Equal(t, d.Len(), 0)
		})
	}
}

// A client writes a multi without a slice of operations, and reads results the same way.
func TestStreamedMulti(t *testing.T) {
	want := wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/a"}},
		{Op: wire.OpSetData, Request: wire.SetDataRequest{Path: "/b"}},
	}}
	var b []byte
	b = wire.MultiHeader{Op: wire.OpDelete, Err: -1}.Append(b)
	b = wire.PathVersionRequest{Path: "/a"}.Append(b)
	b = wire.MultiHeader{Op: wire.OpSetData, Err: -1}.Append(b)
	b = wire.SetDataRequest{Path: "/b"}.Append(b)
	b = wire.AppendMultiEnd(b)
	assert.DeepEqual(t, b, want.Append(nil))

	reply := wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpDelete}, {Op: wire.OpSetData, Stat: stat}}}
	d := wire.NewDecoder(append(reply.Append(nil), "tail"...))
	var got wire.MultiResponse
	for r := (wire.MultiResult{}); r.Next(&d); {
		got.Results = append(got.Results, r)
	}
	assert.NilError(t, d.Err())
	assert.DeepEqual(t, got, reply)
	assert.Equal(t, string(d.Rest()), "tail")
}

func TestBadMulti(t *testing.T) {
	const end = "ffffffff 01 ffffffff"
	for _, test := range []struct {
		name   string
		rec    codec
		hex    string
		reason string
	}{
		{"no end", &wire.MultiResponse{}, "00000002 00 00000000", "int cut short"},
		{"nothing", &wire.MultiResponse{}, "", "int cut short"},
		{"end cut", &wire.MultiResponse{}, "ffffffff 01 ffff", "int cut short"},
		{"unknown type", &wire.MultiResponse{}, "00000009 00 00000000" + end, "result of type 9 in a multi"},
		{"TTL is answered as create2", &wire.MultiResponse{}, "00000015 00 00000000" + end, "result of type 21 in a multi"},
		{"error with a result", &wire.MultiResponse{}, "00000002 00 ffffffff" + end, "error -1 with a result of type 2"},
		{"stat cut", &wire.MultiResponse{}, "00000005 00 00000000" + end, "record cut short"},
		{"end for a result", &wire.MultiResult{}, end, "end of a multi for a result"},
		{"no end", &wire.MultiRequest{}, "00000002 00 ffffffff 00000001 2f 00000000", "int cut short"},
		{"nothing", &wire.MultiRequest{}, "", "int cut short"},
		{"unknown type", &wire.MultiRequest{}, "0000000c 00 ffffffff 00000001 2f 00" + end, "operation 12 in a multi"},
		{"bad ACL count", &wire.MultiRequest{}, "00000001 00 ffffffff 00000001 2f ffffffff fffffffe 00000000" + end, "negative count -2"},
	} {
		t.Run(typeName(valueOf(test.rec))+"/"+test.name, func(t *testing.T) {
			b := unhex(t, test.hex)
			d := wire.NewDecoder(b)
			test.rec.Decode(&d)
			assert.ErrorContains(t, d.Err(), test.reason)
			checkFailed(t, &d, len(b))
		})
	}
}

// The end of a multi is what says Done, whatever else it says.
func TestMultiEnd(t *testing.T) {
	var m wire.MultiResponse
	d := wire.NewDecoder(unhex(t, "00000002 00 00000000 00000000 01 00000000"))
	m.Decode(&d)
	assert.NilError(t, d.Err())
	assert.Equal(t, len(m.Results), 1)
	assert.Equal(t, d.Len(), 0)
}

func TestOpString(t *testing.T) {
	assert.Equal(t, wire.OpGetData.String(), "getData")
	assert.Equal(t, wire.Op(99).String(), "op 99")
	seen := map[string]bool{}
	for op := wire.Op(-20); op < 200; op++ {
		assert.Assert(t, !seen[op.String()], "%d", op)
		seen[op.String()] = true
	}
}
