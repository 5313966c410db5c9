package calls

import (
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// A call that is used again has nothing of the one before.
func TestRecycle(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		c := r.New(&KindClose, "one", "/x")
		assert.Assert(t, c.Own && c.Kind == &KindClose && c.Op == "one" && c.Path == "/x")
		c.Frame(wire.OpGetData, wire.PathRequest{Path: "/x"})
		c.Request = Request[event]{
			Code: 1, shape: watched, version: 1, data: []byte{1}, Watch: make(chan event), Arms: 1, At: "/x",
			Raw: true, Arming: true, Traced: true, asks: true, More: new(More[event]),
		}
		c.Result = Result{Err: io.EOF, Str: "x", Data: make([]byte, pipeline.Large), Names: []string{"x"}, Num: 1, Missing: true, Value: 1}
		for _, part := range []any{c.Request, c.Result} {
			v := reflect.ValueOf(part)
			for i := range v.NumField() {
				assert.Assert(t, !v.Field(i).IsZero() || v.Type().Field(i).Name == "Stat", "%s is to be set above", v.Type().Field(i).Name)
			}
		}
		r.Recycle(c)
		assert.Assert(t, reflect.ValueOf(c.Request).IsZero() && reflect.ValueOf(c.Result).IsZero() && len(c.Frames) == 0 && !c.Made)
		again, other := r.New(&kindGet, "two", ""), r.New(&kindGet, "three", "")
		assert.Assert(t, again == c && other != c, "a large one is at hand")
		assert.Assert(t, !c.Own && c.Kind == &kindGet && c.Op == "two" && c.Path == "")
		r.Recycle(other)
		assert.Assert(t, r.spare.one.Load() == nil, "small ones go to the pool")
		again.BeginData(wire.OpSetData, "/x", make([]byte, pipeline.Large))
		again.EndData(0, "/x", make([]byte, pipeline.Large))
		r.Recycle(again)
		assert.Assert(t, r.spare.one.Load() == c)
		r.Idle()
		assert.Assert(t, r.spare.one.Load() == nil, "an idle connection keeps none")
	})
}

// Each event is counted, and shown to the hooks behind the Gaps before it.
func TestEvents(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		ch := r.arm("/x", watches.Persistent, 1)
		r.serve(notice(1, changed, "/y"), notice(1, 0, "/x"), notice(1, 5, "/x"), notice(1, changed, ""))
		assert.Equal(t, r.Counts(), Counts{Ignored: 4})
		r.watched.OweGap()
		r.serve(notice(7, changed, "/x"))
		assert.Equal(t, r.Counts(), Counts{Ignored: 4, Events: 1})
		assert.DeepEqual(t, r.shown.notes, []string{"event 8 /x, queued true", "event 3 /x, queued true"})
		assert.DeepEqual(t, <-ch, event{gap, "/x", 0})
		assert.DeepEqual(t, got(ch), []event{{changed, "/x", 7}})
		r.shown.eventErr = errors.New("a hook's")
		r.serve(notice(8, deleted, "/x"))
		assert.Error(t, r.ended(), "a hook's")
		r.watched.Advance(9)
		<-r.conn.Done()
		assert.Equal(t, r.shown.notes[len(r.shown.notes)-1], "finished: a hook's")
	})
}

// A frame that is no event ends the connection, and so do events that nobody receives.
func TestBadEvents(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.serve(reply(wire.XidNotification, 1, 0, text("x")))
		assert.Error(t, r.ended(), "malformed event")
	})
	shrink(t, &limits.PersistentQueue, 1)
	play(t, func(t *testing.T, r *rig) {
		r.arm("/x", watches.Persistent, 0)
		r.serve(notice(1, changed, "/x"), notice(2, changed, "/x"))
		assert.Error(t, r.ended(), "overflow: 1 events of persistent watches are undelivered")
	})
}

// Without a hook nothing is shown.
func TestNoHook(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.Init(r.conn, &r.watched, &r.shown, false)
		ch := r.arm("/x", watches.Persistent, 9)
		r.watched.OweGap()
		r.serve(notice(1, changed, "/x"))
		r.watched.GapAt("/x", watches.Persistent)
		r.serve(notice(1, changed, "/x"))
		assert.Assert(t, len(got(ch)) == 4 && len(r.shown.notes) == 0)
	})
}

// The newest zxid of a connection is known when it is over.
func TestLastZxid(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.watched.Advance(5)
		assert.Equal(t, r.LastZxid(), int64(0))
		r.end()
		assert.Equal(t, r.LastZxid(), int64(5))
		r.watched.Advance(6)
		assert.Equal(t, r.LastZxid(), int64(5))
	})
}

// A watch that a closed channel has lost is counted and reported. Where it was recursive,
// the server is told again of the persistent one.
func TestClosedChannel(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		shut, left := r.arm("/x", watches.Recursive, 0), r.arm("/x", watches.Persistent, 9)
		plain := r.arm("/y", watches.Persistent, 0)
		r.arm("/y", watches.Persistent, 9)
		close(shut)
		close(plain)
		r.serve(notice(7, created, "/x/1"), notice(7, created, "/y"))
		q := r.asks("addWatch {Path:/x Mode:0}")
		synctest.Wait()
		assert.Equal(t, r.Counts(), Counts{Events: 2, Closed: 2})
		assert.DeepEqual(t, r.shown.notes, []string{"event 1 /x/1, queued false", "event 1 /y, queued false", "lost /x/1 5", "lost /y 4"})
		assert.Equal(t, r.conn.Counts().Frames, int64(1), "of /y nothing need be told")
		r.shown.notes, r.shown.eventErr = nil, errors.New("a hook's")
		r.serve(reply(q.xid, 7, 0))
		assert.DeepEqual(t, got(left), []event{{gap, "/x", 0}})
		assert.Error(t, r.ended(), "a hook's")
		assert.DeepEqual(t, r.shown.notes, []string{"event 8 /x, queued false", "finished: a hook's"})
	})
}

// What is found closed at the end counts too. There the events that an answer holds back
// go their way.
func TestClosedAtTheEnd(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		shut := r.arm("/x", watches.Data, 0)
		close(shut)
		c := r.get("/y", nil)
		go r.Submit(bg, c)
		r.serve(reply(r.next().xid, 1, 0, text("")), notice(2, changed, "/x"))
		r.server.Close()
		synctest.Wait()
		assert.Equal(t, r.Counts().Closed, int64(0))
		<-c.Done()
		r.watched.Picked()
		<-r.conn.Done()
		assert.Equal(t, r.Counts().Closed, int64(1))
		assert.DeepEqual(t, r.shown.notes[1:], []string{"lost /x 1", "finished: EOF"})
	})
}
