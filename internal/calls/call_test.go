package calls

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/wire"
)

// The lists of a SetWatches are not null, which a server would refuse.
func TestChildWatch(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		c := r.New(&kindSetWatches, "setwatches", "/x")
		c.childWatch("/x", 5)
		var q wire.SetWatchesRequest
		d := wire.NewDecoder(c.Frames[head:])
		q.Decode(&d)
		assert.DeepEqual(t, q, wire.SetWatchesRequest{RelativeZxid: 5, Data: []string{}, Exist: []string{}, Child: []string{"/x"}})
	})
}

// Data is in its place in the frame, however large it is. Small data is copied once, into
// room for the whole frame; large data stays the caller's.
func TestData(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		for _, data := range [][]byte{nil, {}, []byte("value"), make([]byte, pipeline.Large-1), make([]byte, pipeline.Large), make([]byte, 2*pipeline.Large)} {
			c := r.New(&kindWatch, "create", "/x")
			large := len(data) >= pipeline.Large
			at, appended := c.BeginData(wire.OpCreate, "/x", data)
			begun := &c.Frames[0]
			assert.Assert(t, (appended == nil) == (large || data == nil))
			want := wire.CreateRequest{Path: "/x", Data: appended, ACL: []wire.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}, Flags: 2}
			c.Frames = want.Append(c.Frames)
			c.EndData(at, "/x", data)
			assert.Assert(t, begun == &c.Frames[0] || large, "the frame has moved")
			assert.Assert(t, c.Lent() == large && c.Code == wire.OpCreate)

			w := r.send(bg, c)
			q := r.next()
			var got wire.CreateRequest
			d := wire.NewDecoder(q.body)
			got.Decode(&d)
			want.Data = data
			assert.NilError(t, d.Err())
			assert.DeepEqual(t, got, want)
			r.serve(reply(q.xid, 1, 0))
			r.done(w, "")
			r.Recycle(c)
			assert.Assert(t, !c.Lent())
		}
	})
}

// What is refused before it is sent gives back what it was lent.
func TestDataRefused(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.end()
		data := make([]byte, pipeline.Large)
		c := r.New(&kindWatch, "set", "/x")
		at, appended := c.BeginData(wire.OpSetData, "/x", data)
		c.Frames = wire.SetDataRequest{Path: "/x", Data: appended}.Append(c.Frames)
		c.EndData(at, "/x", data)
		assert.Error(t, r.Submit(bg, c), "EOF")
		r.Recycle(c)
		assert.Assert(t, !c.Lent())
	})
}
