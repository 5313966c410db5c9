package zk_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Every kind of watch sees its changes and no others: a table of what each gets
// from a series of changes, made by the session itself or by another one.
func TestWatchKinds(t *testing.T) {
	want := map[string][]string{ // p is the node, p/c its child
		"get":        {"changed p"},
		"exists":     {"changed p"},
		"missing":    {"created p"},
		"children":   {"child p"},
		"persistent": {"changed p", "child p", "child p", "deleted p", "created p"},
		"recursive":  {"changed p", "created p/c", "changed p/c", "deleted p/c", "deleted p", "created p"},
	}
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		for _, own := range []bool{true, false} {
			s := e.Session()
			writer := s
			if !own {
				writer = e.Session()
			}
			for _, a := range suite.ArmersOf(e) {
				p := fmt.Sprintf("%s/%s-%v", e.Root, a.Name, own)
				if a.Name != "missing" {
					e.Create(s, p, "")
				}
				e.Fence(writer)
				ch := make(chan zk.Event, 20)
				assert.NilError(t, a.Arm(s, p, ch))
				assert.DeepEqual(t, s.Config().Watches.List(), []zk.Watch{{Path: p, Kind: a.Kind, Channel: 1, Cap: cap(ch)}})
				if a.Name == "missing" {
					e.Create(writer, p, "")
				}
				e.Set(writer, p, "1")
				e.Create(writer, p+"/c", "")
				e.Set(writer, p+"/c", "1")
				e.Delete(writer, p+"/c")
				e.Delete(writer, p)
				e.Create(writer, p, "")
				_, err := writer.SetACL(e.Ctx, p, zk.ACLOpen, zk.AnyVersion) // tells nobody
				assert.NilError(t, err)
				e.Fence(s)
				close(ch)
				var got []string
				for ev := range ch {
					got = append(got, fmt.Sprint(ev.Type, " p", strings.TrimPrefix(ev.Path, p)))
				}
				assert.DeepEqual(t, got, want[a.Name])
				stays := a.Kind == zk.PersistentWatch || a.Kind == zk.RecursiveWatch
				assert.Equal(t, s.Config().Watches.Len() == 1, stays, a.Name)
				if stays {
					assert.NilError(t, s.RemoveWatch(e.Ctx, p, ch))
				}
			}
		}
	})
}

// A deletion is told to each kind of watch.
func TestDeleted(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		for _, a := range suite.ArmersOf(e) {
			if a.Name == "missing" {
				continue
			}
			p := e.Create(s, e.Root+"/"+a.Name, "")
			ch := make(chan zk.Event, 10)
			assert.NilError(t, a.Arm(s, p, ch))
			e.Delete(s, p)
			e.Ready(ch, zk.Deleted, p)
			e.None(s, ch)
		}
		// One Deleted stands for the data and the child watch of a connection.
		p := e.Create(s, e.Root+"/n", "")
		chans := suite.ArmDataAndChild(e, s, p)
		e.Delete(s, p)
		for _, ch := range chans {
			e.Ready(ch, zk.Deleted, p)
			e.None(s, ch)
		}
		list := s.Config().Watches.List()
		assert.Equal(t, len(list), len(suite.ArmersOf(e))-4, "%+v", list) // the persistent ones of above
	})
}

// The event of an ephemeral that goes with another session.
func TestWatchedSessionEnds(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		for _, end := range []func(*zk.Session){func(o *zk.Session) { assert.NilError(t, o.Close()) }, e.Expire} {
			owner := e.Session()
			eph, err := owner.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
			assert.NilError(t, err)
			e.Fence(s)
			ch, child := make(chan zk.Event, 1), make(chan zk.Event, 1)
			e.Watch(s, eph, ch)
			assert.NilError(t, suite.ErrOf2(s.Children(e.Ctx, e.Root, child)))
			end(owner)
			e.Want(ch, zk.Deleted, eph)
			e.Want(child, zk.Child, e.Root)
		}
	})
}

// What failed has armed nothing.
func TestFailedCallArmsNothing(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		ch := make(chan zk.Event, 1)
		none := e.Root + "/none"
		suite.WantCode(t, suite.ErrOf2(s.Get(e.Ctx, none, ch)), zk.ErrNoNode, none)
		suite.WantCode(t, suite.ErrOf2(s.Children(e.Ctx, none, ch)), zk.ErrNoNode, none)
		secret, err := s.Create(e.Ctx, e.Root+"/secret", nil, zk.Persistent, zk.ACL{{Perms: zk.PermAll &^ zk.PermRead, Scheme: "world", ID: "anyone"}})
		assert.NilError(t, err)
		suite.WantCode(t, suite.ErrOf2(s.Get(e.Ctx, secret, ch)), zk.ErrNoAuth, secret)
		suite.WantCode(t, suite.ErrOf2(s.Children(e.Ctx, secret, ch)), zk.ErrNoAuth, secret)
		if e.Knows(zktest.V38) { // since 3.8.4, to be exact; before, nothing keeps a session from asking
			suite.WantCode(t, suite.ErrOf2(s.Exists(e.Ctx, secret, ch)), zk.ErrNoAuth, secret)
			_, err = s.Batch(e.Ctx, zk.GetOp{Path: none, Watch: ch}, zk.ExistsOp{Path: secret, Watch: ch})
			suite.WantCode(t, err, zk.ErrNoNode, none)
		}
		assert.Equal(t, s.Config().Watches.Len(), 0)
		e.Create(s, none, "")
		e.Set(s, secret, "x")
		e.Delete(s, none)
		e.None(s, ch)
		s = e.Move(s)
		e.None(s, ch)
		assert.Equal(t, s.Stats().Ignored, int64(0)) // nothing was restored
	})
}

// One notification gives a channel one event, however often it is armed.
func TestOneChannelArmedManyTimes(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		for range 3 {
			p := e.Create(s, e.Root+"/n", "")
			ch := make(chan zk.Event, 10)
			for range 3 {
				for _, a := range suite.Armers[:4] {
					assert.NilError(t, a.Arm(s, p, ch))
				}
			}
			assert.Equal(t, s.Config().Watches.Len(), 2) // data and child
			e.Delete(s, p)
			e.Ready(ch, zk.Deleted, p)
			e.None(s, ch)
			assert.Equal(t, s.Config().Watches.Len(), 0)
		}
		p := e.Create(s, e.Root+"/n", "")
		ch := make(chan zk.Event, 10)
		for range 1000 {
			e.Watch(s, p, ch)
		}
		e.Set(s, p, "x")
		e.Ready(ch, zk.Changed, p)
		e.Set(s, p, "y")
		e.None(s, ch)
	})
}

// Every channel of a path gets the event.
func TestManyChannelsOfOnePath(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		var chans []chan zk.Event
		for range 50 {
			ch := make(chan zk.Event, 2)
			chans = append(chans, ch)
			e.Watch(s, e.Root, ch)
		}
		assert.Equal(t, s.Config().Watches.Len(), 50)
		e.Set(s, e.Root, "x")
		var zxid int64
		for _, ch := range chans {
			ev := e.Ready(ch, zk.Changed, e.Root)
			assert.Assert(t, zxid == 0 || ev.Zxid == zxid)
			zxid = ev.Zxid
			e.None(s, ch)
		}
	})
}

// A channel that is armed persistently and once gets one event per
// notification, and stays armed.
func TestPersistentAndOneShot(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		for _, a := range suite.Armers[4:] {
			for _, first := range []bool{true, false} {
				s := e.Session()
				p := e.Create(s, fmt.Sprintf("%s/%s-%v", e.Root, a.Name, first), "")
				ch, other := make(chan zk.Event, 10), make(chan zk.Event, 10)
				if first {
					assert.NilError(t, a.Arm(s, p, ch))
				}
				e.Watch(s, p, ch)
				e.Watch(s, p, other)
				if !first {
					assert.NilError(t, a.Arm(s, p, ch))
				}
				for i := range 3 {
					e.Set(s, p, "x")
					e.Ready(ch, zk.Changed, p)
					if i == 0 {
						e.Ready(other, zk.Changed, p)
					}
					e.None(s, ch)
					e.None(s, other)
				}
				assert.DeepEqual(t, s.Config().Watches.List(), []zk.Watch{{Path: p, Kind: a.Kind, Channel: 1, Cap: cap(ch)}})

				// A child watch beside it is one too.
				assert.NilError(t, suite.ErrOf2(s.Children(e.Ctx, p, other)))
				e.Create(s, p+"/c", "")
				e.Ready(other, zk.Child, p)
				if a.Kind == zk.PersistentWatch {
					e.Ready(ch, zk.Child, p)
				} else {
					e.Ready(ch, zk.Created, p+"/c") // Child is not for recursive watches
				}
				e.None(s, ch)
				e.None(s, other)
			}
		}
	})
}

// All kinds of watches on one path, each with its own channel, beside a
// recursive one further up: each gets its own events and no others'.
func TestKindsOnOnePath(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		for _, persistent := range []bool{false, true} {
			if persistent && !e.Knows(zktest.V36) {
				continue
			}
			s := e.Session()
			p := e.Create(s, fmt.Sprintf("%s/n-%v", e.Root, persistent), "")
			chans := make(map[string]chan zk.Event)
			arm := func(name, path string) {
				chans[name] = make(chan zk.Event, 10)
				for _, a := range suite.ArmersOf(e) {
					if strings.HasPrefix(name, a.Name) {
						assert.NilError(t, a.Arm(s, path, chans[name]))
						return
					}
				}
			}
			if e.Knows(zktest.V36) {
				arm("recursive-up", e.Root)
			}
			if persistent {
				arm("persistent", p)
				if e.Knows(zktest.V39) { // before, the one takes the Child events of the other
					arm("recursive", p)
				}
			}
			arm("get", p)
			arm("exists", p)
			arm("children", p)
			check := func(path string, typ zk.EventType, names ...string) {
				t.Helper()
				for _, name := range names {
					if chans[name] != nil {
						e.Ready(chans[name], typ, path)
					}
				}
			}
			none := func() {
				t.Helper()
				for name, ch := range chans {
					assert.Equal(t, len(ch), 0, name)
				}
			}
			e.Create(s, p+"/c", "")
			check(p, zk.Child, "children", "persistent")
			check(p+"/c", zk.Created, "recursive", "recursive-up")
			none()
			e.Set(s, p, "x")
			check(p, zk.Changed, "get", "exists", "persistent", "recursive", "recursive-up")
			none()
			e.Set(s, p+"/c", "x")
			check(p+"/c", zk.Changed, "recursive", "recursive-up")
			none()
			arm("get", p)
			arm("children", p)
			s = e.Move(s)
			if len(chans["recursive-up"]) > 0 { // others use the server too
				for name, ch := range chans {
					if strings.HasPrefix(name, "recursive") || name == "persistent" {
						assert.Equal(t, suite.Await(t, ch).Type, zk.Gap)
					}
				}
			}
			none()
			e.Delete(s, p+"/c")
			check(p, zk.Child, "children", "persistent")
			check(p+"/c", zk.Deleted, "recursive", "recursive-up")
			none()
			e.Delete(s, p)
			check(p, zk.Deleted, "get", "persistent", "recursive", "recursive-up")
			none()
			e.Create(s, p, "")
			check(p, zk.Created, "persistent", "recursive", "recursive-up")
			none()
		}
	})
}

// Events carry the zxid of their change where the server tells: 3.9, live.
func TestEventZxid(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		ch := make(chan zk.Event, 1)
		e.Watch(s, e.Root, ch)
		st := e.Set(s, e.Root, "x")
		ev := e.Ready(ch, zk.Changed, e.Root)
		if e.Knows(zktest.V39) {
			assert.Equal(t, ev.Zxid, st.Mzxid)
		}
		e.Watch(s, e.Root, ch)
		writer := e.Session()
		s.Detach()
		e.Set(writer, e.Root, "y")
		e.Move(s)
		ev = e.Want(ch, zk.Changed, e.Root)
		assert.Equal(t, ev.Zxid, int64(0))
	})
}

// A full channel delays all events behind its own, and nothing else.
func TestFullChannel(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		first := e.Create(s, e.Root+"/first", "")
		full, got := make(chan zk.Event), make(chan zk.Event, 100)
		e.Watch(s, first, full)
		var want []string
		for i := range 50 {
			p := e.Create(s, fmt.Sprintf("%s/%d", e.Root, i), "")
			e.Watch(s, p, got)
			want = append(want, fmt.Sprint(zk.Changed, " ", p))
		}
		e.Set(s, first, "x")
		for i := range 50 {
			e.Set(s, fmt.Sprintf("%s/%d", e.Root, i), "x")
		}
		assert.Equal(t, len(got), 0)
		st := s.Stats()
		assert.Equal(t, st.Queued, 51)
		assert.Equal(t, st.Armed, 0)
		w := s.Config().Watches
		assert.Equal(t, w.Undelivered(), 51)
		assert.Equal(t, w.Len(), 0)
		for _, entry := range w.List() {
			assert.Assert(t, entry.Fired, "%+v", entry)
		}
		// A consumer that reads as slowly as it likes.
		ready := make(chan zk.Event, 1)
		late := e.Create(s, e.Root+"/late", "")
		e.Watch(s, late, ready)
		e.Set(s, late, "x")
		assert.Equal(t, len(ready), 0)

		e.Want(full, zk.Changed, first)
		for _, w := range want {
			ev := suite.Await(t, got)
			assert.Equal(t, fmt.Sprint(ev.Type, " ", ev.Path), w)
		}
		e.Want(ready, zk.Changed, late)
		e.Fence(s)
		assert.Equal(t, s.Stats().Queued, 0)
	})
}

// Who gets an event is decided when it is read: neither does a queued event
// disarm what was armed later, nor does that get it.
func TestEventIsResolvedWhenRead(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		block, p := e.Create(s, e.Root+"/block", ""), e.Create(s, e.Root+"/n", "")
		full, one, two := make(chan zk.Event), make(chan zk.Event, 2), make(chan zk.Event, 2)
		e.Watch(s, block, full)
		e.Watch(s, p, one)
		e.Set(s, block, "x")
		e.Set(s, p, "x") // queued
		e.Watch(s, p, two)
		e.Want(full, zk.Changed, block)
		e.Want(one, zk.Changed, p)
		e.None(s, two)
		e.Set(s, p, "y")
		e.Ready(two, zk.Changed, p)
		e.None(s, one)
	})
}

// A channel that the application has closed loses its watches, and this is
// told once. Nobody else notices.
func TestClosedChannel(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		for _, queued := range []bool{false, true} {
			if queued && suite.RaceEnabled {
				continue // to close a channel while another goroutine is sending is a race, if a harmless one
			}
			log := new(suite.LockedBuffer)
			conf, _ := e.Config()
			conf.Logger = slog.New(slog.NewTextHandler(log, nil))
			s := e.Dial(conf)
			block, p := e.Create(s, fmt.Sprintf("%s/block%v", e.Root, queued), ""), e.Create(s, fmt.Sprintf("%s/n%v", e.Root, queued), "")
			full, closed, good := make(chan zk.Event), make(chan zk.Event), make(chan zk.Event, 2)
			e.Watch(s, block, full)
			assert.NilError(t, s.AddWatch(e.Ctx, p, zk.WatchPersistent, closed))
			assert.NilError(t, suite.ErrOf2(s.Children(e.Ctx, p, closed)))
			e.Watch(s, p, good)
			if queued { // the sender waits at the channel that will be closed, or at one before it
				e.Set(s, p, "x")
				assert.Equal(t, len(good), 0)
			} else {
				e.Set(s, block, "x")
				e.Set(s, p, "x")
			}
			close(closed)
			if !queued {
				e.Want(full, zk.Changed, block)
			}
			e.Want(good, zk.Changed, p)
			e.Create(s, p+"/c", "")
			e.Watch(s, p, good)
			e.Set(s, p, "y")
			e.Ready(good, zk.Changed, p)
			for _, entry := range s.Config().Watches.List() {
				assert.Equal(t, entry.Path, block, "%+v", entry)
			}
			assert.Equal(t, strings.Count(log.String(), "closed channel"), 1, log.String())
			assert.Assert(t, strings.Contains(log.String(), p), log.String())
			assert.NilError(t, s.Err())
		}
	})
}

// A channel that was found closed, and is armed again, loses what it has then with its next
// event, whether or not others wait for theirs. This is told as well.
func TestClosedChannelArmedAgain(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		log := new(suite.LockedBuffer)
		conf, _ := e.Config()
		conf.Logger = slog.New(slog.NewTextHandler(log, nil))
		s := e.Dial(conf)
		a, b, c := e.Create(s, e.Root+"/a", ""), e.Create(s, e.Root+"/b", ""), e.Create(s, e.Root+"/c", "")
		closed, full := make(chan zk.Event), make(chan zk.Event)
		assert.NilError(t, s.AddWatch(e.Ctx, a, zk.WatchPersistent, closed))
		e.Watch(s, a, full)
		close(closed)
		e.Set(s, a, "x")
		assert.Equal(t, s.Stats().Armed, 0)
		assert.NilError(t, s.AddWatch(e.Ctx, b, zk.WatchPersistent, closed))
		e.Watch(s, c, closed)
		assert.Equal(t, s.Stats().Armed, 2)
		e.Set(s, b, "x")
		e.Want(full, zk.Changed, a)
		for range 2 { // what the Logger hears of one answer it has heard when the next is there
			assert.NilError(t, s.Sync(e.Ctx, "/"))
		}
		assert.Equal(t, s.Stats().Armed, 0)
		assert.Equal(t, strings.Count(log.String(), "closed channel"), 2, log.String())
	})
}

// Where a closed channel loses a recursive watch, the persistent watch of another channel
// at that path hears of children again.
func TestClosedChannelWasRecursive(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		a, b := e.Create(s, e.Root+"/a", ""), e.Create(s, e.Root+"/b", "")
		closed, left := make(chan zk.Event), make(chan zk.Event, 9)
		e.Watch(s, a, closed)
		assert.NilError(t, s.AddWatch(e.Ctx, b, zk.WatchRecursive, closed))
		assert.NilError(t, s.AddWatch(e.Ctx, b, zk.WatchPersistent, left))
		close(closed)
		e.Set(s, a, "x")
		for range 2 { // the server is told behind the first answer
			assert.NilError(t, s.Sync(e.Ctx, "/"))
		}
		e.Create(s, b+"/c", "")
		e.Want(left, zk.Gap, b)
		e.Want(left, zk.Child, b)
	})
}

func TestRemoveWatch(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		for _, a := range suite.ArmersOf(e) {
			p := e.Root + "/" + a.Name
			if a.Name != "missing" {
				e.Create(s, p, "")
			}
			gone, stays := make(chan zk.Event, 10), make(chan zk.Event, 10)
			assert.NilError(t, a.Arm(s, p, gone))
			assert.NilError(t, a.Arm(s, p, stays))
			assert.Equal(t, s.Config().Watches.Len(), 2)
			assert.NilError(t, s.RemoveWatch(e.Ctx, p, gone))
			suite.WantUnsent(t, s.RemoveWatch(e.Ctx, p, gone), zk.ErrNoWatcher)
			list := s.Config().Watches.List()
			assert.Equal(t, len(list), 1)
			change := func() {
				if a.Name == "missing" {
					e.Create(s, p, "")
				} else {
					e.Delete(s, p)
				}
			}
			typ := zk.Deleted
			if a.Name == "missing" {
				typ = zk.Created
			}
			change()
			e.Ready(stays, typ, p)
			e.None(s, gone)
			if a.Kind == zk.PersistentWatch || a.Kind == zk.RecursiveWatch {
				assert.NilError(t, s.RemoveWatch(e.Ctx, p, stays))
				assert.Equal(t, s.Config().Watches.Len(), 0)
				e.Create(s, p, "")
				e.None(s, stays)
			}
			suite.WantUnsent(t, s.RemoveWatch(e.Ctx, p, stays), zk.ErrNoWatcher)
		}

		// All kinds at once; what was queued before is still delivered.
		p := e.Create(s, e.Root+"/all", "")
		ch, full := make(chan zk.Event, 10), make(chan zk.Event)
		block := e.Create(s, e.Root+"/block", "")
		e.Watch(s, block, full)
		for _, a := range suite.ArmersOf(e) {
			assert.NilError(t, a.Arm(s, p, ch))
		}
		e.Set(s, block, "x")
		e.Set(s, p, "x")
		e.Watch(s, p, ch)
		assert.NilError(t, s.RemoveWatch(e.Ctx, p, ch))
		assert.Equal(t, s.Config().Watches.Len(), 0)
		e.Set(s, p, "y")
		e.Want(full, zk.Changed, block)
		e.Want(ch, zk.Changed, p)
		e.None(s, ch)
	})
}

// A session's own change is in the channel when the call that made it returns.
func TestOwnWriteOrder(t *testing.T) {
	ownWrites := func(t *testing.T, s *zk.Session, path string, n int) {
		ch := make(chan zk.Event, 1)
		ctx := t.Context() // calls that can be cancelled go another way than those that cannot
		for i := range n {
			if i == n/2 {
				ctx = context.Background()
			}
			if _, _, err := s.Get(ctx, path, ch); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Set(ctx, path, nil, zk.AnyVersion); err != nil {
				t.Fatal(err)
			}
			if len(ch) != 1 {
				t.Fatalf("Set %d returned before its event was in the channel", i)
			}
			<-ch
		}
	}
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) { ownWrites(t, e.Session(), e.Root, 1000) })
	t.Run("in-memory", func(t *testing.T) {
		n := 100_000
		if suite.RaceEnabled || testing.Short() {
			n = 10_000
		}
		e := suite.Private(t, 1, zktest.Options{InMemory: true, FrameLog: -1, MaxSessionTimeout: time.Minute})
		ownWrites(t, e.Session(), "/", n)
	})
}

// The same when many share the Session.
func TestOwnWriteOrderShared(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		const n = 200
		s := e.Session()
		var wg sync.WaitGroup
		for g := range 4 {
			p := e.Create(s, fmt.Sprintf("%s/%d", e.Root, g), "")
			wg.Go(func() {
				ch := make(chan zk.Event, 1)
				for i := range n {
					if _, _, err := s.Get(e.Ctx, p, ch); err != nil {
						t.Error(err)
						return
					}
					if _, err := s.Set(e.Ctx, p, nil, zk.AnyVersion); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-ch:
					default:
						t.Errorf("Set %d returned before its event was in the channel", i)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// Watches.List numbers channels, and tells what has fired.
func TestWatchesList(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		var nothing *zk.Watches
		assert.Assert(t, nothing.List() == nil && nothing.Len() == 0 && nothing.Undelivered() == 0)
		s := e.Session()
		one, full := make(chan zk.Event, 5), make(chan zk.Event)
		a, b := e.Create(s, e.Root+"/a", ""), e.Create(s, e.Root+"/b", "")
		e.Watch(s, a, one)
		e.Watch(s, b, full)
		assert.NilError(t, suite.ErrOf2(s.Children(e.Ctx, a, full)))
		assert.NilError(t, s.AddWatch(e.Ctx, b, zk.WatchRecursive, one))
		w := s.Config().Watches
		list := w.List()
		assert.Equal(t, len(list), 4)
		number := make(map[string]int)
		for _, x := range list {
			assert.Assert(t, !x.Fired)
			number[fmt.Sprint(x.Kind, x.Path)] = x.Channel
		}
		assert.Equal(t, number[fmt.Sprint(zk.DataWatch, a)], number[fmt.Sprint(zk.RecursiveWatch, b)])
		assert.Equal(t, number[fmt.Sprint(zk.DataWatch, b)], number[fmt.Sprint(zk.ChildWatch, a)])
		assert.Assert(t, number[fmt.Sprint(zk.DataWatch, a)] != number[fmt.Sprint(zk.DataWatch, b)])
		e.Set(s, b, "x")
		fired := slices.DeleteFunc(w.List(), func(x zk.Watch) bool { return !x.Fired })
		assert.Assert(t, len(fired) >= 1, "%+v", fired) // the full channel, and the other if it came second
		assert.Equal(t, w.Len(), 3)
		e.Want(full, zk.Changed, b)
		e.Want(one, zk.Changed, b)
		assert.Equal(t, w.Undelivered(), 0)
		assert.Equal(t, len(w.List()), 3)
	})
}
