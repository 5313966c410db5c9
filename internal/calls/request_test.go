package calls

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// A frame that is made where it is sent from is what package wire makes of the request, of
// the size that was said before. It follows what was queued, and the data is the caller's
// again.
func TestMade(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		long := "/" + strings.Repeat("x", 5000)
		for i, x := range []struct {
			ask  func(c *call)
			op   wire.Op
			want wire.Record
		}{
			{func(c *call) { c.OfPath(wire.OpSync, "/x") }, wire.OpSync, wire.PathRequest{Path: "/x"}},
			{func(c *call) { c.OfPath(wire.OpGetEphemerals, "") }, wire.OpGetEphemerals, wire.PathRequest{}},
			{func(c *call) { c.PathWatch(wire.OpExists, long, false) }, wire.OpExists, wire.PathWatchRequest{Path: long}},
			{func(c *call) { c.PathWatch(wire.OpGetData, "/x", true) }, wire.OpGetData, wire.PathWatchRequest{Path: "/x", Watch: true}},
			{func(c *call) { c.PathVersion(wire.OpDelete, "/x", -1) }, wire.OpDelete, wire.PathVersionRequest{Path: "/x", Version: -1}},
			{func(c *call) { c.SetData("/x", nil, 1) }, wire.OpSetData, wire.SetDataRequest{Path: "/x", Version: 1}},
			{func(c *call) { c.SetData("/x", []byte{}, 2) }, wire.OpSetData, wire.SetDataRequest{Path: "/x", Data: []byte{}, Version: 2}},
			{func(c *call) { c.SetData("/x", make([]byte, pipeline.Large-1), 3) }, wire.OpSetData, wire.SetDataRequest{Path: "/x", Data: make([]byte, pipeline.Large-1), Version: 3}},
		} {
			c := r.New(&kindWatch, "op", "/x")
			x.ask(c)
			want := wire.RequestHeader{Op: x.op}.Append(wire.BeginFrame(nil))
			want = x.want.Append(want)
			wire.EndFrame(want, 0)
			assert.Assert(t, c.Code == x.op && c.Made && !c.Large() && len(c.Frames) == 0)
			assert.Equal(t, c.Size(), len(want), i)
			queued := slices.Clip([]byte("queued"))
			assert.Assert(t, bytes.Equal(c.appendMade(queued), append(queued, want...)), i)
			assert.Assert(t, c.data == nil)
			r.Recycle(c)
			assert.Assert(t, !c.Made)
		}
	})
}

// Large data is lent, and so is framed before.
func TestSetLargeData(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		want := wire.SetDataRequest{Path: "/x", Data: bytes.Repeat([]byte{'x'}, pipeline.Large), Version: 3}
		c := r.New(&kindWatch, "set", "/x")
		c.SetData(want.Path, want.Data, want.Version)
		assert.Assert(t, !c.Made && c.Lent() && c.Large())
		assert.Equal(t, c.Size(), head+len(want.Append(nil)))
		w := r.send(bg, c)
		q := r.next()
		assert.Assert(t, q.op == wire.OpSetData && bytes.Equal(q.body, want.Append(nil)))
		r.serve(reply(q.xid, 1, 0))
		r.done(w, "")
	})
}

// An AddWatch of a long path is armed as any other, though its frame is as large as one that
// is not copied.
func TestArmsLargeFrame(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		path := "/" + strings.Repeat("x", pipeline.Large)
		c := r.addWatch(path, watches.Recursive, make(chan event, 1))
		assert.Assert(t, c.Large())
		w := r.send(bg, c)
		q := r.asks(fmt.Sprintf("addWatch {Path:%s Mode:%d}", path, wire.AddWatchPersistentRecursive))
		assert.Assert(t, r.interlock.Busy(path))
		r.serve(reply(q.xid, 1, 0))
		r.done(w, "")
		assert.Assert(t, r.watched.Armed(path).Has(watches.Recursive))
		r.unasked()
	})
}
