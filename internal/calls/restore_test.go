package calls

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// migration is what RestoreWatches has returned.
type migration struct {
	due  []*call
	err  error
	over bool
}

// restore restores the watches from a goroutine of its own.
func (r *rig) restore(sent []*call, maxRequest int, wait func([]*call) error) *migration {
	m := new(migration)
	go func() {
		var done func()
		m.due, done, m.err = r.RestoreWatches(sent, maxRequest, wait)
		done()
		m.over = true
	}()
	return m
}

// await waits for the answer to a call of a migration.
func (r *rig) await(c *call) {
	<-c.Done()
	r.watched.Picked()
}

// answered checks that all calls of a migration were answered without an error.
func (r *rig) answered(m *migration, n int) {
	r.t.Helper()
	synctest.Wait()
	assert.NilError(r.t, m.err)
	assert.Assert(r.t, m.over && len(m.due) == n, "%d are due", len(m.due))
	for _, c := range m.due {
		r.await(c)
		assert.NilError(r.t, c.Err)
	}
}

// moved is a rig whose watches were on another connection, up to zxid 10.
func (r *rig) moved(arm func()) {
	arm()
	r.watched.Advance(10)
	r.watched.Settle()
	r.watched.Stop()
	r.watched.Start()
}

// The watches are restored by frames of a bounded size, deaf child watches by frames of
// their own. The floor follows the zxid once all are answered.
func TestRestoreWatches(t *testing.T) {
	shrink(t, &limits.SetWatchesFrame, 8+8+5*4+2*6+4)
	play(t, func(t *testing.T, r *rig) {
		var persistent chan event
		r.moved(func() {
			for _, path := range []string{"/1", "/2", "/3"} {
				r.arm(path, watches.Data, 0)
			}
			persistent = r.arm("/p", watches.Persistent, 9)
			r.arm("/c", watches.Child, 9)
			r.watched.ChildDeaf("/c", 4)
		})
		before := r.New(&KindAuth, "addauth", "")
		m := r.restore([]*call{before}, 1000, nil)
		q := []request{
			r.asks("setWatches2 {RelativeZxid:10 Data:[/1 /2] Exist:[] Child:[] Persistent:[] Recursive:[]}"),
			r.asks("setWatches2 {RelativeZxid:10 Data:[/3] Exist:[] Child:[/c] Persistent:[] Recursive:[]}"),
			r.asks("setWatches2 {RelativeZxid:10 Data:[] Exist:[] Child:[] Persistent:[/p] Recursive:[]}"),
			r.asks("setWatches {RelativeZxid:4 Data:[] Exist:[] Child:[/c]}"),
		}
		synctest.Wait()
		assert.Assert(t, m.over && m.err == nil && len(m.due) == 5 && m.due[0] == before)
		for i, want := range []struct {
			zxid, floor int64
			gaps, deaf  int
		}{
			{12, 10, 1, 1}, // a Gap comes before what may have been missed
			{12, 10, 0, 1},
			{13, 13, 1, 1}, // and once more, as something happened before the watch was restored
			{13, 13, 0, 0},
		} {
			c := m.due[1+i]
			assert.Assert(t, i == 3 || c.Frames == nil, "the first three had one buffer")
			r.serve(reply(q[i].xid, want.zxid, 0))
			r.await(c)
			assert.NilError(t, c.Err)
			j, _ := r.watched.Handover()
			assert.Assert(t, int64(j.Floor) == want.floor && len(j.Deaf) == want.deaf, "answer %d: %+v", i, j)
			assert.Equal(t, len(got(persistent)), want.gaps, "answer %d", i)
		}
		assert.DeepEqual(t, r.shown.notes, []string{"event 8 /p, queued false", "event 8 /p, queued false"})
	})
}

// A path that is too long for a frame has one of its own; the application's limit counts too.
func TestRestoreSizes(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		for _, path := range []string{"/1", "/2"} {
			r.arm(path, watches.Data, 0)
		}
		m := r.restore(nil, 8+8+3*4+6, nil)
		for _, path := range []string{"/1", "/2"} {
			q := r.asks(fmt.Sprintf("setWatches {RelativeZxid:0 Data:[%s] Exist:[] Child:[]}", path))
			defer r.serve(reply(q.xid, 0, 0))
		}
		synctest.Wait()
		assert.Assert(t, m.over && len(m.due) == 2)
	})
	play(t, func(t *testing.T, r *rig) {
		m := r.restore(nil, 1000, nil)
		r.quiet()
		r.answered(m, 0)
	})
	play(t, func(t *testing.T, r *rig) {
		r.arm("/1", watches.Data, 0)
		r.arm("/2", watches.Data, 9)
		m := r.restore(nil, 8+8+3*4+6, nil)
		synctest.Wait() // the first frame is being written
		r.watched.Notify(changed, []byte("/2"), 0, nil)
		r.serve(reply(r.next().xid, 0, 0))
		r.quiet()
		r.answered(m, 1)
	})
}

// A frame that is refused keeps the floor where it is, whatever the next is answered. Of
// a server that does not support it, reads restore the watches from the next connection on.
func TestRestoreRefused(t *testing.T) {
	shrink(t, &limits.SetWatchesFrame, 0)
	for _, x := range []struct {
		code        int32
		first, next string
		reads       bool
	}{
		{-102, "setwatches  refused: -102, ended false", "", false},
		{-6, "setwatches  refused: -6, ended true", "setwatches : lost true, 0 too large, end -6 ", true},
	} {
		play(t, func(t *testing.T, r *rig) {
			r.moved(func() {
				r.arm("/1", watches.Data, 9)
				r.arm("/2", watches.Data, 9)
			})
			m := r.restore(nil, 1000, nil)
			first, next := r.next(), r.next()
			synctest.Wait()
			r.serve(reply(first.xid, 12, x.code), reply(next.xid, 12, 0))
			for i, want := range []string{x.first, x.next} {
				r.await(m.due[i])
				if err := m.due[i].Err; want == "" {
					assert.NilError(t, err)
				} else {
					assert.Error(t, err, want)
				}
			}
			j, _ := r.watched.Handover()
			assert.Assert(t, r.watched.Reads() == x.reads && j.Floor == 10)
		})
	}
}

// Where reads restore the watches, each answer says what its watch has missed.
func TestReread(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		var list []chan event
		r.watched.ReadNext()
		r.moved(func() {
			for _, k := range []watches.Kind{watches.Data, watches.Exists, watches.Child, watches.Persistent, watches.Recursive} {
				list = append(list, r.arm(fmt.Sprint("/", k), k, 9))
			}
			list = append(list, r.arm("/same", watches.Data, 9))
			r.watched.ChildDeaf("/3", 4)
		})
		m := r.restore(nil, 1000, nil)
		answer := func(asks string, code int32, body ...wire.Record) {
			t.Helper()
			q := r.asks(asks)
			r.serve(reply(q.xid, 12, code, body...))
		}
		answer("exists {Path:/1 Watch:true}", 0, wire.Stat{Mzxid: 11})
		answer("exists {Path:/same Watch:true}", 0, wire.Stat{Mzxid: 10})
		answer("exists {Path:/2 Watch:true}", wire.ErrNoNode)
		answer("getChildren2 {Path:/3 Watch:true}", 0, wire.Children2Response{Children: []string{}, Stat: wire.Stat{Pzxid: 5}})
		answer("addWatch {Path:/4 Mode:0}", 0)
		answer("addWatch {Path:/5 Mode:1}", 0)
		r.answered(m, 6)
		for i, want := range [][]event{
			{{changed, "/1", 0}}, nil, {{children, "/3", 0}}, {{gap, "/4", 0}}, {{gap, "/5", 0}}, nil,
		} {
			assert.DeepEqual(t, got(list[i]), want)
		}
		child, _ := r.deaf()
		assert.Equal(t, len(child), 0)
		assert.Assert(t, r.watched.Count(watches.Data) == 1 && r.watched.Count(watches.Child) == 0)
	})
}

// A persistent watch that is read again gets a Gap where something has happened.
func TestRereadPersistent(t *testing.T) {
	for zxid := range int64(2) {
		play(t, func(t *testing.T, r *rig) {
			var ch chan event
			r.watched.ReadNext()
			r.moved(func() { ch = r.arm("/x", watches.Persistent, 9) })
			m := r.restore(nil, 1000, nil)
			r.serve(reply(r.next().xid, 10+zxid, 0))
			r.answered(m, 1)
			assert.Equal(t, len(got(ch)), int(zxid))
		})
	}
}

// Many reads are sent in portions, so that their answers take no more room.
func TestRereadPortions(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.watched.ReadNext()
		for i := range rereads + 10 {
			r.arm(fmt.Sprint("/", i), watches.Exists, 0)
		}
		var waited []int
		stop := errors.New("stop")
		m := r.restore(nil, 1000, func(sent []*call) error {
			waited = append(waited, len(sent))
			for _, c := range sent {
				r.await(c)
			}
			return nil
		})
		for range rereads + 10 {
			r.server.Write(reply(r.next().xid, 1, wire.ErrNoNode))
		}
		r.answered(m, 10)
		assert.DeepEqual(t, waited, []int{rereads})

		m = r.restore(nil, 1000, func(sent []*call) error { return stop })
		for range rereads {
			r.server.Write(reply(r.next().xid, 1, wire.ErrNoNode))
		}
		synctest.Wait()
		assert.Assert(t, m.over && m.err == stop && m.due == nil)
		r.quiet()
	})
}

// A connection that is over restores nothing, and says why.
func TestRestoreAfterTheEnd(t *testing.T) {
	for _, reads := range []bool{false, true} {
		play(t, func(t *testing.T, r *rig) {
			if reads {
				r.watched.ReadNext()
			}
			r.arm("/x", watches.Data, 0)
			r.end()
			m := r.restore(nil, 1000, nil)
			synctest.Wait()
			assert.Assert(t, m.over && len(m.due) == 0)
			assert.Error(t, m.err, "EOF")
		})
	}
}

// The hooks see a Gap before its migration is over, and may end the connection by it.
func TestRestoreHook(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.moved(func() { r.arm("/p", watches.Persistent, 9) })
		r.shown.eventErr = errors.New("a hook's")
		m := r.restore(nil, 1000, nil)
		q := r.next()
		w := r.send(bg, r.get("/x", nil))
		r.serve(reply(q.xid, 12, 0), reply(r.next().xid, 12, 0, text("")))
		r.answered(m, 1)
		r.done(w, "get /x: lost true, 0 too large, a hook's") // the reader goes no further
		assert.Error(t, r.ended(), "a hook's")
	})
}
