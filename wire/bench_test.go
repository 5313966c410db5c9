package wire_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/seed-9f8420c6/zk/wire"
)

// Sinks keep the compiler from dropping what is measured.
var (
	sinkBytes []byte
	sinkInt   int
	sinkGet   wire.GetDataResponse
)

func appendGet(b []byte) []byte {
	b = wire.BeginFrame(b)
	b = wire.RequestHeader{Xid: 7, Op: wire.OpGetData}.Append(b)
	b = wire.PathWatchRequest{Path: "/service/members/one", Watch: true}.Append(b)
	wire.EndFrame(b, 0)
	return b
}

func getReply() []byte {
	b := wire.ReplyHeader{Xid: 7, Zxid: 9}.Append(nil)
	return wire.GetDataResponse{Data: make([]byte, 100), Stat: stat}.Append(b)
}

// decodeGet decodes a reply into r, and gives it a copy of the data. It fills
// the caller's record: to copy a Stat just decoded costs more than to decode it
// (narrow stores, wide loads).
func decodeGet(r *wire.GetDataResponse, b []byte) error {
	var h wire.ReplyHeader
	d := wire.NewDecoder(b)
	h.Decode(&d)
	r.Decode(&d)
	r.Data = bytes.Clone(r.Data)
	return d.Err()
}

func childrenReply(n int) []byte {
	children := make([]string, n)
	for i := range children {
		children[i] = fmt.Sprintf("member-%010d", i)
	}
	return wire.Children2Response{Children: children, Stat: stat}.Append(nil)
}

func BenchmarkEncodeGet(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, 4096)
	for b.Loop() {
		sinkBytes = appendGet(buf)
	}
}

func BenchmarkDecodeGetReply(b *testing.B) {
	b.ReportAllocs()
	in := getReply()
	for b.Loop() {
		if err := decodeGet(&sinkGet, in); err != nil {
			b.Fatal(err)
		}
	}
}

// The whole of the codec's work for a call: 50 ns and one allocation at most.
func BenchmarkGet(b *testing.B) {
	b.ReportAllocs()
	buf, in := make([]byte, 0, 4096), getReply()
	for b.Loop() {
		sinkBytes = appendGet(buf)
		if err := decodeGet(&sinkGet, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeSetData(b *testing.B) {
	b.ReportAllocs()
	buf, data := make([]byte, 0, 4096), make([]byte, 100)
	for b.Loop() {
		b := wire.BeginFrame(buf)
		b = wire.RequestHeader{Xid: 7, Op: wire.OpSetData}.Append(b)
		b = wire.SetDataRequest{Path: "/service/members/one", Data: data, Version: -1}.Append(b)
		wire.EndFrame(b, 0)
		sinkBytes = b
	}
}

func BenchmarkEncodeCreate(b *testing.B) {
	b.ReportAllocs()
	buf, data, open := make([]byte, 0, 4096), make([]byte, 100), acls[:1]
	for b.Loop() {
		b := wire.BeginFrame(buf)
		b = wire.RequestHeader{Xid: 7, Op: wire.OpCreate2}.Append(b)
		b = wire.CreateRequest{Path: "/service/members/one", Data: data, ACL: open, Flags: wire.FlagEphemeral}.Append(b)
		wire.EndFrame(b, 0)
		sinkBytes = b
	}
}

func BenchmarkDecodeCreateReply(b *testing.B) {
	b.ReportAllocs()
	in := wire.Create2Response{Path: "/service/members/one", Stat: stat}.Append(nil)
	for b.Loop() {
		var r wire.Create2Response
		d := wire.NewDecoder(in)
		r.Decode(&d)
		sinkInt = len(r.Path)
	}
}

func BenchmarkEncodeDelete(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, 4096)
	for b.Loop() {
		b := wire.BeginFrame(buf)
		b = wire.RequestHeader{Xid: 7, Op: wire.OpDelete}.Append(b)
		b = wire.PathVersionRequest{Path: "/service/members/one", Version: -1}.Append(b)
		wire.EndFrame(b, 0)
		sinkBytes = b
	}
}

// What a migration sends; an operation is a frame of 1,000 watches.
func BenchmarkEncodeSetWatches1000(b *testing.B) {
	b.ReportAllocs()
	buf, paths := make([]byte, 0, 64<<10), make([]string, 1000)
	for i := range paths {
		paths[i] = fmt.Sprintf("/service/members/member-%010d", i)
	}
	for b.Loop() {
		b := wire.BeginFrame(buf)
		b = wire.RequestHeader{Xid: 7, Op: wire.OpSetWatches}.Append(b)
		b = wire.SetWatchesRequest{RelativeZxid: 9, Data: paths}.Append(b)
		wire.EndFrame(b, 0)
		sinkBytes = b
	}
}

func BenchmarkDecodeStat(b *testing.B) {
	b.ReportAllocs()
	in := stat.Append(nil)
	for b.Loop() {
		var s wire.Stat
		d := wire.NewDecoder(in)
		s.Decode(&d)
		sinkInt = int(s.Version)
	}
}

func BenchmarkEncodeStat(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, 4096)
	for b.Loop() {
		sinkBytes = stat.Append(buf)
	}
}

func BenchmarkDecodeChildren1000(b *testing.B) {
	b.ReportAllocs()
	in := childrenReply(1000)
	for b.Loop() {
		var r wire.Children2Response
		d := wire.NewDecoder(in)
		r.Decode(&d)
		sinkInt = len(r.Children)
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	b.ReportAllocs()
	in := wire.WatcherEvent{Type: wire.EventNodeDeleted, State: wire.StateSyncConnected, Path: "/service/members/one"}.Append(nil)
	for b.Loop() {
		var e wire.WatcherEvent
		d := wire.NewDecoder(in)
		e.Decode(&d)
		sinkInt = len(e.Path)
	}
}

func BenchmarkEncodeMulti10(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, 4096)
	m := wire.MultiRequest{Ops: slices.Repeat([]wire.MultiOp{{Op: wire.OpSetData,
		Request: wire.SetDataRequest{Path: "/service/members/one", Data: make([]byte, 100), Version: -1}}}, 10)}
	for b.Loop() {
		sinkBytes = m.Append(buf)
	}
}

func BenchmarkDecodeMultiReply10(b *testing.B) {
	b.ReportAllocs()
	in := wire.MultiResponse{Results: slices.Repeat([]wire.MultiResult{{Op: wire.OpSetData, Stat: stat}}, 10)}.Append(nil)
	for b.Loop() {
		var m wire.MultiResponse
		d := wire.NewDecoder(in)
		m.Decode(&d)
		sinkInt = len(m.Results)
	}
}
