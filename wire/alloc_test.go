//go:build !race

// The race detector makes small strings take more room than they need.

package wire_test

import (
	"bytes"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

func TestEncodingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 4096)
	eachRecord(t, func(t *testing.T, r wire.Record) {
		n := testing.AllocsPerRun(20, func() { sinkBytes = r.Append(buf) })
		assert.Equal(t, n, 0.0)
	})
}

func TestDecodingAllocations(t *testing.T) {
	reply, children := getReply(), childrenReply(1000)
	for _, test := range []struct {
		name string
		most float64
		f    func()
	}{
		{"get with a copy of the data", 1, func() { assert.NilError(t, decodeGet(&sinkGet, reply)) }},
		{"1000 children", 2, func() {
			var r wire.Children2Response
			d := wire.NewDecoder(children)
			r.Decode(&d)
			sinkInt = len(r.Children)
		}},
		{"no children", 0, func() {
			var r wire.ChildrenResponse
			d := wire.NewDecoder([]byte{0, 0, 0, 0})
			r.Decode(&d)
			sinkInt = len(r.Children)
		}},
		{"headers", 0, decodes(wire.ReplyHeader{Xid: 1, Zxid: 2}, wire.RequestHeader{}, wire.MultiHeader{})},
		{"stat", 0, decodes(stat)},
		{"data in place", 0, decodes(wire.GetDataResponse{Data: []byte("data"), Stat: stat})},
		{"handshake", 0, decodes(wire.ConnectResponse{Password: password, HasReadOnly: true}, wire.ConnectRequest{Password: password})},
		{"event: its path", 1, decodes(wire.WatcherEvent{Path: "/service"})},
		{"get request: its path", 1, decodes(wire.PathWatchRequest{Path: "/service"})},
		{"multi's results: their slice", 1, decodes(wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpSetData}, {Op: wire.OpError}}})},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := testing.AllocsPerRun(20, test.f)
			assert.Assert(t, n <= test.most, "%v allocations", n)
		})
	}
}

// The worst input of each kind that does decode: many of the smallest elements.
func TestMemoryOfManyElements(t *testing.T) {
	const n = 1 << 16
	vector := func(head string, element string) []byte {
		b := unhex(t, head)
		b = wire.AppendInt32(b, n)
		return append(b, bytes.Repeat(unhex(t, element), n)...)
	}
	const noStat = "00000000000000000000000000000000000000000000000000000000000000000000" +
		"00000000000000000000000000000000000000000000000000000000000000000000"
	elements := func(element string) []byte {
		return wire.AppendMultiEnd(bytes.Repeat(unhex(t, element), n))
	}
	for _, test := range []struct {
		name string
		rec  codec
		in   []byte
	}{
		{"empty names", &wire.ChildrenResponse{}, vector("", "00000000")},
		{"null names", &wire.ChildrenResponse{}, vector("", "ffffffff")},
		{"short names", &wire.ChildrenResponse{}, vector("", "00000001 61")},
		{"long names", &wire.ChildrenResponse{}, vector("", "00000010 30313233343536373839616263646566")},
		{"names and stat", &wire.Children2Response{}, append(vector("", "00000002 6162"), unhex(t, noStat)...)},
		{"empty ACLs", &wire.GetACLResponse{}, append(vector("", "00000000 00000000 00000000"), unhex(t, noStat)...)},
		{"short ACLs", &wire.GetACLResponse{}, append(vector("", "00000000 00000002 6162 00000002 6364"), unhex(t, noStat)...)},
		{"awkward ACLs", &wire.GetACLResponse{}, append(vector("", "00000000 00000009 616161616161616161 00000009 626262626262626262"), unhex(t, noStat)...)},
		{"ACLs to set", &wire.SetACLRequest{}, append(vector("00000000", "00000000 00000000 00000000"), 0, 0, 0, 0)},
		{"identities", &wire.WhoAmIResponse{}, vector("", "00000000 00000000")},
		{"short identities", &wire.WhoAmIResponse{}, vector("", "00000002 6161 00000002 6161")},
		{"watches", &wire.SetWatchesRequest{}, append(vector("0000000000000000 ffffffff ffffffff", "00000000"), nil...)},
		{"creates", &wire.MultiRequest{}, elements("00000001 00 ffffffff 00000000 ffffffff ffffffff 00000000")},
		{"TTL creates", &wire.MultiRequest{}, elements("00000015 00 ffffffff 00000000 ffffffff ffffffff 00000000 0000000000000000")},
		{"deletes", &wire.MultiRequest{}, elements("00000002 00 ffffffff 00000000 00000000")},
		{"reads", &wire.MultiRequest{}, elements("00000004 00 ffffffff 00000000 00")},
		{"writes", &wire.MultiRequest{}, elements("00000005 00 ffffffff 00000000 ffffffff 00000000")},
		{"results of delete", &wire.MultiResponse{}, elements("00000002 00 00000000")},
		{"results of create", &wire.MultiResponse{}, elements("00000001 00 00000000 00000001 61")},
		{"errors", &wire.MultiResponse{}, elements("ffffffff 00 00000000 00000000")},
	} {
		t.Run(typeName(valueOf(test.rec))+"/"+test.name, func(t *testing.T) {
			d := wire.NewDecoder(test.in)
			size := allocated(func() { test.rec.Decode(&d) })
			assert.NilError(t, d.Err())
			assert.Equal(t, d.Len(), 0)
			t.Logf("%.2f bytes for each", float64(size)/float64(len(test.in)))
			assert.Assert(t, size <= memoryFactor(valueOf(test.rec))*len(test.in)+slack, "%d bytes for %d", size, len(test.in))
		})
	}
}

// Long input that turns out wrong at its very end must not have cost anything
// where a pass over the lengths comes first.
func TestBadListsAllocateNothing(t *testing.T) {
	names := wire.AppendStrings(nil, slices.Repeat([]string{"name"}, 10000))
	results := bytes.Repeat(wire.MultiResult{Op: wire.OpDelete}.Append(nil), 10000)
	ops := bytes.Repeat(wire.PathVersionRequest{Path: "/a"}.Append(wire.MultiHeader{Op: wire.OpDelete, Err: -1}.Append(nil)), 10000)
	for _, test := range []struct {
		rec codec
		in  []byte
	}{
		{&wire.ChildrenResponse{}, names[:len(names)-1]},
		{&wire.MultiResponse{}, results},
		{&wire.MultiRequest{}, ops},
	} {
		t.Run(typeName(valueOf(test.rec)), func(t *testing.T) {
			d := wire.NewDecoder(test.in)
			size := allocated(func() { test.rec.Decode(&d) })
			checkFailed(t, &d, len(test.in))
			assert.Assert(t, size < 4096, "%d bytes", size)
		})
	}
}

// decodes returns a function that decodes the records, into values made beforehand.
func decodes(recs ...wire.Record) func() {
	var b []byte
	var targets []codec
	for _, r := range recs {
		b = r.Append(b)
		targets = append(targets, newOf(r))
	}
	d := new(wire.Decoder) // not a local of the function: it escapes through the interface
	return func() {
		*d = wire.NewDecoder(b)
		for _, c := range targets {
			c.Decode(d)
		}
		if d.Err() != nil {
			panic(d.Err())
		}
	}
}
