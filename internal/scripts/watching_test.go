package scripts

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// The server is asked only where it must be.
func TestRemoveWatchOnTheServer(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	ch, other := make(chan zk.Event, 1), make(chan zk.Event, 1)
	asked := func(f func()) int {
		t.Helper()
		e.Sim.ForgetFrames()
		f()
		return len(suite.Frames(e, zktest.FromClient, wire.OpRemoveWatches))
	}
	remove := func(ch chan zk.Event) func() {
		return func() { t.Helper(); assert.NilError(t, s.RemoveWatch(e.Ctx, "/", ch)) }
	}
	e.Watch(s, "/", ch)
	assert.Equal(t, asked(remove(ch)), 0)
	assert.NilError(t, s.AddWatch(e.Ctx, "/", zk.WatchPersistent, ch))
	assert.NilError(t, s.AddWatch(e.Ctx, "/", zk.WatchPersistent, other))
	assert.Equal(t, asked(remove(ch)), 0)    // the other is still there
	assert.Equal(t, asked(remove(other)), 1) // the last
	e.Set(s, "/", "x")
	assert.Equal(t, s.Stats().Ignored, int64(0)) // the server sends nothing
	assert.Equal(t, asked(func() { e.Watch(s, "/", ch); remove(ch)() }), 0)
	e.Set(s, "/", "y")
	assert.Equal(t, s.Stats().Ignored, int64(1)) // it was told nothing

	// On a connection that is lost all of it is local.
	assert.NilError(t, s.AddWatch(e.Ctx, "/", zk.WatchRecursive, ch))
	e.Sim.Cut(s.ID())
	suite.Await(t, s.Done())
	assert.NilError(t, s.RemoveWatch(e.Ctx, "/", ch))
	e.Sim.ForgetFrames()
	s = e.Move(s)
	assert.Equal(t, len(suite.Frames(e, zktest.FromClient, wire.OpSetWatches2)), 0)
}

// Persistent watches get no catch-up, but a Gap if anything may have happened.
func TestGap(t *testing.T) {
	e := suite.Private(t, 1)
	s, l := e.Linked()
	writer := e.Session()
	p := e.Create(s, "/n", "")
	e.Create(s, "/elsewhere", "")
	one, two := make(chan zk.Event, 10), make(chan zk.Event, 10)
	assert.NilError(t, s.AddWatch(e.Ctx, p, zk.WatchPersistent, one))
	assert.NilError(t, s.AddWatch(e.Ctx, p, zk.WatchPersistent, two))
	assert.NilError(t, s.AddWatch(e.Ctx, "/", zk.WatchRecursive, two))

	// Nothing happened, so nothing is said.
	e.Cut(s, l)
	s = e.Move(s)
	e.Set(s, p, "1")
	e.Ready(one, zk.Changed, p)
	e.Ready(two, zk.Changed, p)

	// Something did, wherever.
	for _, where := range []string{p, "/elsewhere"} {
		e.Cut(s, l)
		e.Set(writer, where, "2")
		s = e.Move(s)
		e.Ready(one, zk.Gap, p)
		assert.DeepEqual(t, suite.SortedEvents(suite.Await(t, two), suite.Await(t, two)), []string{"gap /", "gap " + p})
		e.Set(s, p, "3")
		e.Ready(one, zk.Changed, p)
		e.Ready(two, zk.Changed, p)
		e.None(s, one)
		e.None(s, two)
	}

	// A Gap that nobody has taken yet is enough.
	full := make(chan zk.Event)
	assert.NilError(t, s.AddWatch(e.Ctx, "/full", zk.WatchPersistent, full))
	for range 3 {
		e.Cut(s, l)
		e.Set(writer, p, "4")
		s = e.Move(s)
	}
	e.Want(full, zk.Gap, "/full")
	e.Fence(s)
	assert.Equal(t, s.Stats().Queued, 0)
	e.None(s, full)
	assert.NilError(t, s.RemoveWatch(e.Ctx, "/full", full))

	// The Gap comes ahead of all that is new on the connection.
	for len(one) > 0 {
		<-one
	}
	e.Cut(s, l)
	e.Set(writer, p, "5")
	s = e.Move(s)
	e.Set(s, p, "6")
	e.Ready(one, zk.Gap, p)
	e.Ready(one, zk.Changed, p)
	e.None(s, one)
}

// A Dial that dies between two frames of watches, whatever the first one's reply
// said, loses nothing on the next.
func TestDialDiesBetweenFrames(t *testing.T) {
	e := suite.Private(t, 1)
	writer := e.Session()
	const n = 3000
	for cut := range 3 {
		s := e.Session()
		ch := make(chan zk.Event, n)
		top := e.Create(s, fmt.Sprintf("/%d", cut), "")
		var ops []zk.Op
		for i := range n {
			p := fmt.Sprintf("%s/%04d%s", top, i, strings.Repeat("x", 100))
			ops = append(ops, zk.CreateOp{Path: p, ACL: zk.ACLOpen}, zk.GetOp{Path: p, Watch: ch})
		}
		_, err := s.Batch(e.Ctx, ops...)
		assert.NilError(t, err)
		conf := s.Detach()
		for i := 1; i < len(ops); i += 200 {
			e.Set(writer, ops[i].(zk.GetOp).Path, "x")
		}
		e.Sim.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpSetWatches, Skip: cut, Do: zktest.CutAfter})
		e.Sim.ForgetFrames()
		_, err = zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.ErrorIs(t, err, zk.ErrConnection)
		for i := 101; i < len(ops); i += 200 {
			e.Set(writer, ops[i].(zk.GetOp).Path, "x")
		}
		e.Dial(conf)
		for _, f := range suite.Frames(e, zktest.FromClient, wire.OpSetWatches) {
			assert.Equal(t, f.Zxid, conf.Zxid)
		}
		got := make(map[string]int)
		for range n / 50 {
			got[suite.Await(t, ch).Path]++
		}
		for i := 1; i < len(ops); i += 100 {
			p := ops[i].(zk.GetOp).Path
			assert.Equal(t, got[p], 1, "events of %s", p)
		}
		assert.Equal(t, len(ch), 0)
	}
}

// An event for which nobody is armed any more is counted and forgotten.
func TestIgnoredEvents(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	for i := range 10 {
		ch := make(chan zk.Event, 1)
		e.Watch(s, "/", ch)
		assert.NilError(t, s.RemoveWatch(e.Ctx, "/", ch))
		e.Set(s, "/", "x")
		assert.Equal(t, s.Stats().Ignored, int64(i+1))
		e.None(s, ch)
	}
	assert.Equal(t, s.Stats().Events, int64(0))
}

// An unread channel costs no more than its event, for as long as it takes.
func TestUnreadForAnHour(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		full, later := make(chan zk.Event), make(chan zk.Event, 1)
		for path, ch := range map[string]chan zk.Event{"/a": full, "/b": later} {
			_, err := s.Create(context.Background(), path, nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
			_, _, err = s.Get(context.Background(), path, ch)
			assert.NilError(t, err)
		}
		_, err = s.Set(context.Background(), "/a", nil, zk.AnyVersion)
		assert.NilError(t, err)
		for range 60 {
			time.Sleep(time.Minute)
			_, err := s.Set(context.Background(), "/b", nil, zk.AnyVersion)
			assert.NilError(t, err)
		}
		assert.NilError(t, s.Err())
		assert.Equal(t, s.Stats().Queued, 2)
		ev := <-full
		assert.Equal(t, ev.Path, "/a")
		synctest.Wait()
		assert.Equal(t, len(later), 1)
		assert.NilError(t, s.Close())
	})
}

// Watches that fired or were removed leave nothing behind, of their channels
// neither, which nobody closes.
func TestNothingOfWatchesIsLeft(t *testing.T) {
	n := 100_000
	if suite.RaceEnabled || testing.Short() {
		n = 20_000
	}
	const batch, paths = 500, 50
	e := suite.Private(t, 1, zktest.Options{InMemory: true, FrameLog: -1, MaxSessionTimeout: time.Minute})
	s := e.Session()
	for i := range paths {
		e.Create(s, fmt.Sprintf("/%d", i), "")
	}
	var before int64
	for done := 0; done < n; done += batch {
		if done == 4*batch {
			before = suite.LiveHeap()
		}
		ops, chans := make([]zk.Op, batch), make([]chan zk.Event, batch)
		for i := range ops {
			chans[i] = make(chan zk.Event, 16)
			switch path := fmt.Sprintf("/%d", i%paths); i % 3 {
			case 0:
				ops[i] = zk.GetOp{Path: path, Watch: chans[i]}
			case 1:
				ops[i] = zk.ChildrenOp{Path: path, Watch: chans[i]}
			default:
				ops[i] = zk.ExistsOp{Path: path, Watch: chans[i]}
			}
		}
		_, err := s.Batch(e.Ctx, ops...)
		assert.NilError(t, err)
		if done/batch%10 == 0 { // some of them fire
			for i := range paths {
				e.Set(s, fmt.Sprintf("/%d", i), "")
			}
		}
		for i, ch := range chans {
			path := fmt.Sprintf("/%d", i%paths)
			if len(ch) == 0 {
				assert.NilError(t, s.RemoveWatch(e.Ctx, path, ch))
			}
			ch = make(chan zk.Event, 16)
			assert.NilError(t, s.AddWatch(e.Ctx, path, zk.WatchMode(i%2), ch))
			assert.NilError(t, s.RemoveWatch(e.Ctx, path, ch))
		}
	}
	assert.Equal(t, s.Stats().Armed, 0)
	assert.Equal(t, s.Config().Watches.Len(), 0)
	after := suite.LiveHeap()
	t.Logf("%d bytes are live, %d were", after, before)
	assert.Assert(t, after-before < 1<<20, "%d bytes are live, %d were", after, before)
}

// A channel of a persistent watch that nobody reads takes what its queued events
// take, and no more after a day than after an hour of other work.
func TestUnreadForADay(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		unread := make(chan zk.Event)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", unread)
		l.Serve(func(a suite.Asked) [][]byte {
			if a.Op == wire.OpSync {
				return [][]byte{suite.Happened(zk.Changed, "/nobody", -1), suite.Fitting(a, 2)}
			}
			return [][]byte{suite.Fitting(a, 2)}
		})
		const queued = 1000
		for range queued {
			l.Send(suite.Happened(zk.Changed, "/p", -1))
		}
		assert.NilError(t, s.Sync(suite.BG, "/"))
		assert.Equal(t, s.Stats().Queued, queued)
		hour := func() int64 {
			for range 120 {
				time.Sleep(30 * time.Second)
				ch := make(chan zk.Event, 1)
				ctx, cancel := context.WithTimeout(suite.BG, time.Nanosecond)
				s.Get(ctx, "/a", ch) // perhaps given up
				cancel()
				assert.NilError(t, suite.ErrOf2(s.Children(suite.BG, "/a", ch)))
				assert.NilError(t, s.Sync(suite.BG, "/"))
				assert.NilError(t, s.RemoveWatch(suite.BG, "/a", ch))
			}
			assert.Equal(t, s.Config().Watches.Len(), 1)
			return suite.LiveHeap()
		}
		first, last := hour(), int64(0)
		for range 23 {
			last = hour()
		}
		assert.Equal(t, s.Stats().Queued, queued)
		assert.Assert(t, s.Stats().Ignored > 24*100)
		assert.Assert(t, last-first < 64<<10, "%d bytes are live, %d were after an hour", last, first)
		t.Logf("%d bytes are live, %d were after an hour", last, first)
		for range queued {
			assert.Equal(t, suite.Told(<-unread), "changed /p")
		}
		assert.NilError(t, s.Close())
	})
}
