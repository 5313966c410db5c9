package calls

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// Beside a persistent watch that covers it, a one-shot is armed here alone.
func TestOneShotBesidePersistent(t *testing.T) {
	for _, x := range []struct {
		name  string
		armed watches.Kind // at /x
		arms  watches.Kind
		asked bool // the server is asked to watch
	}{
		{"data", watches.Data, watches.Data, true},
		{"persistent", watches.Persistent, watches.Data, false},
		{"persistent, children", watches.Persistent, watches.Child, false},
		{"recursive", watches.Recursive, watches.Exists, false},
		{"recursive, children", watches.Recursive, watches.Child, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			play(t, func(t *testing.T, r *rig) {
				r.arm("/x", x.armed, 9)
				c := r.get("/x", make(chan event))
				c.Arms = x.arms
				one := r.send(bg, c)
				q := r.next()
				assert.Equal(t, q.text == "getData {Path:/x Watch:true}", x.asked, q.text)
				two := r.send(bg, r.get("/y", make(chan event)))
				other := r.asks("getData {Path:/y Watch:true}")
				r.serve(reply(q.xid, 1, 0, text("")), reply(other.xid, 1, 0, text("")))
				r.done(one, "")
				r.done(two, "")
				assert.Assert(t, r.watched.Armed("/x").Has(x.arms) && r.watched.Len() == 3)
			})
		})
	}
}

// The flags of a Batch are cleared one by one, whatever is queued ahead of it.
func TestBatchBesidePersistent(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.arm("/1", watches.Persistent, 9)
		ch := make(chan event, 9)
		ahead := []*waiting{r.send(bg, r.get("/a", nil)), r.send(bg, r.get("/b", nil))} // one is being written
		_, _, q := r.batch(3, map[int]chan event{1: ch, 2: ch})
		r.serve(reply(q[0].xid, 1, 0, text("")), reply(q[1].xid, 1, 0, text("")))
		r.done(ahead[0], "")
		r.done(ahead[1], "")
		q = []request{q[2], r.next(), r.next()}
		assert.Equal(t, q[0].text+q[1].text+q[2].text, "getData {Path:/0 Watch:false}getData {Path:/1 Watch:false}getData {Path:/2 Watch:true}")
		assert.Assert(t, r.interlock.Busy("/1") && r.interlock.Busy("/2") && !r.interlock.Busy("/0"))
		r.serve(reply(q[0].xid, 1, 0, text("")), reply(q[1].xid, 1, 0, text("")))
		assert.Assert(t, r.interlock.Busy("/1"), "all leave together")
		r.serve(reply(q[2].xid, 1, 0, text("")))
		r.unasked()
	})
}

// While an AddWatch is unanswered, what arms a one-shot at its path waits; nothing else does.
func TestAwaitAddWatch(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		add := r.send(bg, r.addWatch("/x", watches.Persistent, make(chan event)))
		q := r.asks("addWatch {Path:/x Mode:0}")
		waits := r.send(bg, r.get("/x", make(chan event)))
		r.quiet()
		ctx, cancel := context.WithCancel(t.Context())
		leaves := r.send(ctx, r.get("/x", make(chan event)))
		cancel()
		r.done(leaves, "context canceled")
		other, plain := r.send(bg, r.get("/y", make(chan event))), r.send(bg, r.get("/x", nil))
		q1, q2 := r.asks("getData {Path:/y Watch:true}"), r.asks("getData {Path:/x Watch:false}")
		more := r.send(bg, r.addWatch("/x", watches.Recursive, make(chan event)))
		q3 := r.asks("addWatch {Path:/x Mode:1}")
		r.serve(reply(q.xid, 1, 0))
		r.done(add, "")
		r.quiet()
		r.serve(reply(q1.xid, 1, 0, text("")), reply(q2.xid, 1, 0, text("")), reply(q3.xid, 1, 0))
		r.done(other, "")
		r.done(plain, "")
		r.done(more, "")
		q = r.asks("getData {Path:/x Watch:false}")
		assert.Assert(t, r.interlock.Busy("/x"))
		r.serve(reply(q.xid, 1, 0, text("")))
		r.done(waits, "")
		assert.Equal(t, r.watched.Len(), 4)
		r.unasked()
	})
}

// What waits for an AddWatch leaves when nothing is sent any more.
func TestAwaitAddWatchEnds(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		add := r.send(bg, r.addWatch("/x", watches.Persistent, make(chan event)))
		r.next()
		waits := r.send(bg, r.get("/x", make(chan event)))
		assert.Error(t, r.end(), "EOF")
		r.done(waits, "EOF")
		r.done(add, "addwatch /x: lost true, 0 too large, EOF")
		assert.Equal(t, r.watched.Len(), 0)
		r.unasked()
		r.done(r.send(bg, r.get("/y", make(chan event))), "EOF")
	})
}

// An AddWatch beside a watch of its kind keeps the mode that the server has.
func TestAddWatchMode(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.arm("/x", watches.Persistent, 9)
		r.arm("/x", watches.Recursive, 9)
		w := r.send(bg, r.addWatch("/x", watches.Persistent, make(chan event, 9)))
		q := r.asks("addWatch {Path:/x Mode:1}")
		r.serve(reply(q.xid, 1, 0))
		r.done(w, "")
		r.quiet()
	})
}

// Where too many events of one-shots are undelivered, no more are armed.
func TestCrowded(t *testing.T) {
	shrink(t, &limits.OneShotQueue, 0)
	play(t, func(t *testing.T, r *rig) {
		for range 2 {
			r.arm("/x", watches.Data, 0)
			r.serve(notice(1, changed, "/x"))
		}
		assert.Equal(t, r.Submit(bg, r.get("/x", make(chan event))), ErrCrowded)
		w := r.send(bg, r.addWatch("/x", watches.Persistent, make(chan event)))
		r.serve(reply(r.next().xid, 1, 0))
		r.done(w, "")
		r.quiet()
	})
}

// What a RemoveWatch needs of the server.
func TestRemoveWatch(t *testing.T) {
	for _, x := range []struct {
		name      string
		armed     watches.Kind
		do        func(r *rig)
		alias     string
		code      int32 // of the answer
		err       error // why there is no request
		failed    string
		left      int  // that are armed
		elsewhere bool // a call that arms a channel at another path is under way
	}{
		{name: "nothing armed", err: ErrNoWatcher},
		{name: "one-shot", armed: watches.Data, err: ErrRemoved},
		{name: "persistent", armed: watches.Persistent},
		{name: "the server has none", armed: watches.Recursive, code: wire.ErrNoWatcher, failed: "removewatch /x refused: -121, ended false"},
		{name: "refused", armed: watches.Persistent, code: -102, failed: "removewatch /x refused: -102, ended false", left: 1},
		{name: "beside another", armed: watches.Persistent, do: func(r *rig) { r.arm("/x", watches.Data, 0) }, err: ErrRemoved, left: 1},
		{name: "beside another of its kind", armed: watches.Persistent, do: func(r *rig) { r.arm("/x", watches.Persistent, 0) }, err: ErrRemoved, left: 1},
		{name: "beside one that is about to be", armed: watches.Persistent, do: func(r *rig) { r.send(bg, r.get("/x", make(chan event))); r.next() }, err: ErrRemoved},
		{name: "alone at its path", armed: watches.Persistent, elsewhere: true, left: 1},
		{name: "by another path", alias: "/alias", err: ErrRemoved},
		{name: "after the end", armed: watches.Persistent, do: func(r *rig) { r.end() }, err: ErrRemoved},
		{name: "moved", armed: watches.Persistent, do: func(r *rig) { r.conn.Lock(); r.conn.Refuse(errMoved); r.conn.Unlock() }, err: errMoved, left: 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			play(t, func(t *testing.T, r *rig) {
				ch := make(chan event)
				if x.armed != 0 {
					r.watched.Arm("/x", x.armed, false, ch)
				}
				if x.alias != "" {
					r.watched.Arm(x.alias, watches.Persistent, false, ch)
				}
				if x.do != nil {
					x.do(r)
				}
				var other request
				if x.elsewhere {
					r.send(bg, r.get("/y", make(chan event)))
					other = r.next()
				}
				c := r.removeWatch("/x", ch)
				c.More.removal.alias = x.alias
				if x.err != nil {
					before := r.conn.Counts().Frames
					assert.Equal(t, r.Submit(bg, c), x.err)
					assert.Assert(t, r.watched.Len() == x.left && r.conn.Counts().Frames == before)
					return
				}
				w := r.send(bg, c)
				q := r.asks("removeWatches {Path:/x Type:3}")
				assert.Assert(t, r.watched.Len() == 1 && r.interlock.Busy("/x"), "armed until the answer")
				if x.elsewhere {
					r.serve(reply(other.xid, 1, 0, text("")))
				}
				r.serve(reply(q.xid, 1, x.code))
				r.done(w, x.failed)
				assert.Equal(t, r.watched.Len(), x.left)
				r.unasked()
			})
		})
	}
}

var errMoved = errors.New("moved")

// Where a request was found to be needed, and another has removed the rest meanwhile, the
// call has removed what it found.
func TestRemoveTwice(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		ch := r.arm("/x", watches.Persistent, 0)
		r.watched.Arm("/x", watches.Data, false, ch)
		c := r.removeWatch("/x", ch)
		assert.NilError(t, r.Remove(c))
		r.watched.Disarm("/x", ch, true)
		assert.Equal(t, r.Submit(bg, c), ErrRemoved)
	})
}

// deaf returns which child watches are deaf since when, and whether persistent ones may
// have missed something.
func (r *rig) deaf() (child map[string]int64, persistent bool) {
	j, _ := r.watched.Handover()
	child = make(map[string]int64)
	for _, x := range j.Deaf {
		child[x.Path] = int64(x.Since)
	}
	return child, j.Fresh
}

// Where watches of several kinds are at a path, the server is told again what an AddWatch
// has made it forget. Until it answers, the registry knows who is deaf.
func TestTellAgain(t *testing.T) {
	const (
		persistent = "addWatch {Path:/x Mode:0}"
		recursive  = "addWatch {Path:/x Mode:1}"
		child      = "setWatches {RelativeZxid:5 Data:[] Exist:[] Child:[/x]}"
	)
	for _, x := range []struct {
		name   string
		armed  watches.Kind // 0: none
		adds   watches.Kind
		gaveUp bool
		code   int32  // of the answer to the call, at zxid 5
		asks   string // what the client asks after that; empty: nothing
		deaf   int64  // since when the child watch is deaf
		fresh  bool   // the persistent watch is owed a Gap, if the connection ends here
		zxid   int64  // of the answer to what the client asks
		gap    bool   // the watch gets a Gap then
	}{
		{name: "alone", adds: watches.Persistent},
		{name: "beside its kind", armed: watches.Recursive, adds: watches.Recursive},
		{name: "persistent beside recursive", armed: watches.Recursive, adds: watches.Persistent, asks: recursive, zxid: 5},
		{name: "persistent beside recursive, a change", armed: watches.Recursive, adds: watches.Persistent, asks: recursive, zxid: 6, gap: true},
		{name: "refused", armed: watches.Recursive, adds: watches.Persistent, code: -102},
		{name: "recursive beside child", armed: watches.Child, adds: watches.Recursive, asks: child, deaf: 5, zxid: 6},
		{name: "recursive beside persistent", armed: watches.Persistent, adds: watches.Recursive},
		{name: "recursive beside persistent, given up", armed: watches.Persistent, adds: watches.Recursive, gaveUp: true, asks: persistent, fresh: true, zxid: 5, gap: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			play(t, func(t *testing.T, r *rig) {
				var there chan event
				if x.armed != 0 {
					there = r.arm("/x", x.armed, 9)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				added := make(chan event, 9)
				w := r.send(ctx, r.addWatch("/x", x.adds, added))
				q := r.next()
				if x.gaveUp {
					cancel()
					r.done(w, "context canceled")
				}
				r.serve(reply(q.xid, 5, x.code))
				if x.asks != "" {
					q = r.asks(x.asks)
					deaf, fresh := r.deaf()
					assert.Assert(t, deaf["/x"] == x.deaf && fresh == x.fresh, "%v, %t", deaf, fresh)
					assert.Equal(t, r.interlock.Busy("/x"), x.asks != child)
					r.serve(reply(q.xid, x.zxid, 0))
				}
				r.quiet()
				r.unasked()
				deaf, fresh := r.deaf()
				assert.Assert(t, len(deaf) == 0 && !fresh)
				r.serve(notice(7, deleted, "/x")) // which nothing holds back
				list := got(there)
				if x.gap {
					assert.Equal(t, list[0], event{gap, "/x", 0})
					list = list[1:]
				}
				assert.Equal(t, len(list) == 1, x.armed != 0)
				assert.Equal(t, len(got(added)) == 1, !x.gaveUp && x.code == 0)
			})
		})
	}
}

// A request of the client's own that is refused ends the connection: the next one restores
// all, and owes a Gap.
func TestTellAgainRefused(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.arm("/x", watches.Persistent, 9)
		recursive := r.arm("/x", watches.Recursive, 9)
		assert.Equal(t, r.Remove(r.removeWatch("/x", recursive)), ErrRemoved)
		q := r.asks("addWatch {Path:/x Mode:0}")
		r.serve(reply(q.xid, 1, -4))
		assert.Error(t, r.ended(), "end -4 addwatch of /x")
		synctest.Wait()
		_, fresh := r.deaf()
		assert.Assert(t, fresh)
		assert.Equal(t, r.Remove(r.removeWatch("/x", recursive)), ErrNoWatcher)
	})
}

// After the end nothing is told any more: the next connection restores all.
func TestNotToldAfterTheEnd(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		r.arm("/x", watches.Child, 9)
		r.arm("/x", watches.Persistent, 9)
		recursive := r.arm("/x", watches.Recursive, 9)
		w := r.send(bg, r.addWatch("/x", watches.Persistent, make(chan event)))
		q := r.asks("addWatch {Path:/x Mode:1}")
		r.conn.Fail(errMoved, false)
		r.serve(reply(q.xid, 5, 0))
		r.done(w, "")
		assert.Equal(t, r.Remove(r.removeWatch("/x", recursive)), ErrRemoved)
		assert.Equal(t, r.conn.Counts().Frames, int64(1))
		deaf, _ := r.deaf()
		assert.Equal(t, len(deaf), 0)
	})
}
