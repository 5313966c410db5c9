package scripts

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// TestI06_EventToRegistry: which kinds an event is for, and which it disarms.
func TestI06_EventToRegistry(t *testing.T) {
	const own, above, root = 0, 1, 2 // where the watch is: at the event's path, at its parent, at /
	types := []zk.EventType{zk.Created, zk.Deleted, zk.Changed, zk.Child}
	takes := map[zk.WatchKind][3]string{ // initials of the types that it gets
		zk.DataWatch:       {own: "Cr De Ch"},
		zk.ExistsWatch:     {own: "Cr De Ch"},
		zk.ChildWatch:      {own: "De ch"},
		zk.PersistentWatch: {own: "Cr De Ch ch"},
		zk.RecursiveWatch:  {own: "Cr De Ch", above: "Cr De Ch", root: "Cr De Ch"},
	}
	initial := map[zk.EventType]string{zk.Created: "Cr", zk.Deleted: "De", zk.Changed: "Ch", zk.Child: "ch"}
	for _, kind := range suite.Kinds {
		for _, typ := range types {
			for _, at := range []struct {
				watch, event string
				place        int // index of takes; -1: not concerned
			}{
				{"/w", "/w", own},
				{"/w/x/y", "/w/x/y", own},
				{"/w", "/w/x", above},
				{"/w", "/w/x/y", above},
				{"/", "/w/x", root},
				{"/", "/", own},
				{"/w/x", "/w", -1}, // the watch is below the event
				{"/w", "/", -1},
				{"/w", "/wx", -1},
				{"/w", "/v", -1},
				{"/wx/y", "/w/y", -1},
				{"/x", "/w/x", -1},
			} {
				want := at.place >= 0 && strings.Contains(takes[kind][at.place], initial[typ])
				t.Run(fmt.Sprintf("%v at %s/%v %s", kind, at.watch, typ, at.event), func(t *testing.T) {
					suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
						s, l := r.Open(r.Config())
						ch := make(chan zk.Event, 4)
						suite.Arm(t, s, l, kind, at.watch, ch)
						l.Send(suite.Happened(typ, at.event, -1))
						synctest.Wait()
						expect := ""
						if want {
							expect = fmt.Sprintf("%v %s", typ, at.event)
						}
						assert.Equal(t, suite.Told(suite.Taken(ch)...), expect)
						armed := suite.ArmedList(s.Config().Watches)
						if want && kind < zk.PersistentWatch {
							assert.Equal(t, armed, "")
						} else {
							assert.Equal(t, armed, fmt.Sprintf("%v %s", kind, at.watch))
						}
						// Again, from a server that says it twice.
						l.Send(suite.Happened(typ, at.event, -1))
						synctest.Wait()
						if kind < zk.PersistentWatch {
							expect = ""
						}
						assert.Equal(t, suite.Told(suite.Taken(ch)...), expect)
						st := s.Stats()
						assert.Equal(t, st.Events+st.Ignored, int64(2))
					})
				})
			}
		}
	}
}

// A session with a data and a child watch gets one Deleted from a server, and
// two through SetWatches: both watches fire, once.
func TestI06_OneOrTwoDeleted(t *testing.T) {
	for n := 1; n <= 2; n++ {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			data, child := make(chan zk.Event, 2), make(chan zk.Event, 2)
			suite.Arm(t, s, l, zk.DataWatch, "/a", data)
			suite.Arm(t, s, l, zk.ChildWatch, "/a", child)
			for range n {
				l.Send(suite.Happened(zk.Deleted, "/a", -1))
			}
			synctest.Wait()
			assert.Equal(t, suite.Told(suite.Taken(data)...), "deleted /a")
			assert.Equal(t, suite.Told(suite.Taken(child)...), "deleted /a")
			assert.Equal(t, s.Stats().Ignored, int64(n-1))
			assert.Equal(t, suite.ArmedList(s.Config().Watches), "")
			l.Quiet()
		})
	}
}

// TestI07_SameChannelTwice: one notification gives a channel one event, in
// however many ways it is armed.
func TestI07_SameChannelTwice(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 1)
		for range 3 {
			for _, k := range []zk.WatchKind{zk.DataWatch, zk.ExistsWatch, zk.ChildWatch} {
				suite.Arm(t, s, l, k, "/a", ch)
			}
		}
		assert.Equal(t, len(s.Config().Watches.List()), 3)
		l.Send(suite.Happened(zk.Deleted, "/a", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "deleted /a")
		assert.Equal(t, s.Stats().Queued, 0)
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "")

		for range 1000 {
			suite.Arm(t, s, l, zk.DataWatch, "/a", ch)
		}
		assert.Equal(t, s.Config().Watches.Len(), 1)
		l.Send(suite.Happened(zk.Changed, "/a", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /a")
		assert.Equal(t, s.Stats().Queued, 0)
	})
}

// Persistent and recursive watches up the tree, and a one-shot, on one channel.
func TestI07_AcrossPathsAndKinds(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch, other := make(chan zk.Event, 4), make(chan zk.Event, 4)
		suite.Arm(t, s, l, zk.DataWatch, "/a/b", ch)
		suite.Arm(t, s, l, zk.PersistentWatch, "/a/b", ch)
		for _, path := range []string{"/", "/a", "/a/b"} {
			suite.Arm(t, s, l, zk.RecursiveWatch, path, ch)
		}
		suite.Arm(t, s, l, zk.RecursiveWatch, "/a", other)
		l.Send(suite.Happened(zk.Changed, "/a/b", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /a/b")
		assert.Equal(t, suite.Told(suite.Taken(other)...), "changed /a/b")
		assert.Equal(t, s.Config().Watches.Len(), 5, "the one-shot is gone, the others stay")
		// Many channels on one path: each gets one.
		var chans []chan zk.Event
		for range 100 {
			c := make(chan zk.Event, 2)
			chans = append(chans, c)
			suite.Arm(t, s, l, zk.DataWatch, "/many", c)
			suite.Arm(t, s, l, zk.ChildWatch, "/many", c)
		}
		l.Send(suite.Happened(zk.Deleted, "/many", -1))
		synctest.Wait()
		for _, c := range chans {
			assert.Equal(t, suite.Told(suite.Taken(c)...), "deleted /many")
		}
	})
}

// TestI08_ExactlyOne: a one-shot watch gives one event, not none when events
// come fast and consumers are slow, and not two when more changes follow.
func TestI08_ExactlyOne(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		var chans []chan zk.Event
		var events [][]byte
		for i := range 100 {
			ch := make(chan zk.Event) // nobody receives yet
			chans = append(chans, ch)
			path := fmt.Sprintf("/%d", i)
			suite.Arm(t, s, l, zk.DataWatch, path, ch)
			events = append(events, suite.Happened(zk.Changed, path, -1), suite.Happened(zk.Changed, path, -1), suite.Happened(zk.Deleted, path, -1))
		}
		l.Send(events...)
		synctest.Wait()
		assert.Equal(t, s.Stats().Queued, 100)
		for i, ch := range chans {
			assert.Equal(t, suite.Told(<-ch), fmt.Sprintf("changed /%d", i))
		}
		synctest.Wait()
		for _, ch := range chans {
			assert.Equal(t, suite.Told(suite.Taken(ch)...), "")
		}
		st := s.Stats()
		assert.Equal(t, st.Queued, 0)
		assert.Equal(t, st.Ignored, int64(200))

		// Armed again, it gives the next one.
		suite.Arm(t, s, l, zk.DataWatch, "/0", chans[0])
		l.Send(suite.Happened(zk.Deleted, "/0", -1))
		assert.Equal(t, suite.Told(<-chans[0]), "deleted /0")
	})
}

// TestI09_UnmatchedIgnored: events that nobody here waits for are counted, and
// nothing else happens.
func TestI09_UnmatchedIgnored(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Chroot = "/app"
		s, l := r.Open(conf)
		chans := make(map[zk.WatchKind]chan zk.Event)
		for _, k := range suite.Kinds {
			chans[k] = make(chan zk.Event, 8)
			suite.Arm(t, s, l, k, fmt.Sprintf("/%v", k), chans[k])
		}
		armed := suite.ArmedList(s.Config().Watches)
		var frames [][]byte
		for _, path := range []string{"/app/data", "/app/exists", "/app/child", "/app/persistent", "/app/recursive"} {
			for _, typ := range []zk.EventType{-1, 0, 5, 6, 7, 8, 99, math.MinInt32, math.MaxInt32} {
				frames = append(frames, suite.Happened(typ, path, 77))
			}
			// The state says nothing.
			frames = append(frames, suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}, wire.WatcherEvent{Type: -1, State: -112, Path: path}))
		}
		for _, path := range []string{"", "/", "/app", "/data", "/apple/data", "/app/dat", "/app/data/x", "app/data", "/app/data/", "\xff\xfe", strings.Repeat("/x", 5000)} {
			for typ := zk.Created; typ <= zk.Child; typ++ {
				frames = append(frames, suite.Happened(typ, path, 77))
			}
		}
		l.Send(frames...)
		u := suite.Start(t, func() error { _, err := s.Set(suite.BG, "/set", nil, -1); return err })
		l.Send(suite.Fitting(l.Want(wire.OpSetData, "/app/set"), 5))
		u.OK()
		for k, ch := range chans {
			assert.Equal(t, suite.Told(suite.Taken(ch)...), "", "%v", k)
		}
		assert.Equal(t, suite.ArmedList(s.Config().Watches), armed)
		st := s.Stats()
		assert.Equal(t, st.Ignored, int64(len(frames)))
		assert.Equal(t, st.Events, int64(0))
		assert.Equal(t, s.Zxid(), int64(5))
		assert.NilError(t, s.Err())
		l.Quiet()
	})
}

// TestI10_Persistent: such a watch is armed by err=0 and stays.
func TestI10_Persistent(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		p, rec := make(chan zk.Event, 100), make(chan zk.Event, 100)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", p)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/r", rec)
		var want []string
		for range 3 {
			for typ := zk.Created; typ <= zk.Child; typ++ {
				l.Send(suite.Happened(typ, "/p", -1), suite.Happened(typ, "/p/x", -1), suite.Happened(typ, "/r", -1), suite.Happened(typ, "/r/x/y", -1), suite.Happened(typ, "/rr", -1))
				want = append(want, fmt.Sprintf("%v /p", typ))
			}
		}
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(p)...), strings.Join(want, ", "))
		want = nil
		for range 3 {
			for typ := zk.Created; typ < zk.Child; typ++ {
				want = append(want, fmt.Sprintf("%v /r", typ), fmt.Sprintf("%v /r/x/y", typ))
			}
		}
		assert.Equal(t, suite.Told(suite.Taken(rec)...), strings.Join(want, ", "))
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "persistent /p, recursive /r")
	})
}

// On 3.6 to 3.8 a one-shot on the path of a persistent watch would replace it,
// so it is not armed there but hangs on the local stream. A recursive watch says
// nothing of children, so a child watch below it must be sent.
func TestI10_OneShotBesidePersistent(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.MaxInFlight = 2
		s, l := r.Open(conf)
		ch, one := make(chan zk.Event, 100), make(chan zk.Event, 8)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/r", ch)
		for _, c := range []struct {
			kind zk.WatchKind
			path string
			sent bool
			typ  zk.EventType
		}{
			{zk.DataWatch, "/p", false, zk.Changed},
			{zk.ExistsWatch, "/p", false, zk.Created},
			{zk.ChildWatch, "/p", false, zk.Child},
			{zk.DataWatch, "/r", false, zk.Changed},
			{zk.ExistsWatch, "/r", false, zk.Created},
			{zk.ChildWatch, "/r", true, zk.Child},
			{zk.DataWatch, "/p/x", true, zk.Changed},
			{zk.DataWatch, "/r/x", true, zk.Changed},
			{zk.DataWatch, "/q", true, zk.Changed},
		} {
			q := suite.Arm(t, s, l, c.kind, c.path, one)
			assert.Equal(t, q.Armed(), c.sent, "%v at %s", c.kind, c.path)
			l.Send(suite.Happened(c.typ, c.path, -1), suite.Happened(c.typ, c.path, -1))
			synctest.Wait()
			assert.Equal(t, suite.Told(suite.Taken(one)...), fmt.Sprintf("%v %s", c.typ, c.path))
		}
		// In a Batch too, of which no more than two operations leave together.
		u := suite.Start(t, func() error {
			_, err := s.Batch(suite.BG, zk.GetOp{Path: "/q", Watch: one}, zk.ChildrenOp{Path: "/r", Watch: one}, zk.GetOp{Path: "/p", Watch: one}, zk.GetOp{Path: "/p"})
			return err
		})
		for _, sent := range []bool{true, true, false, false} {
			q := l.Next()
			assert.Equal(t, q.Armed(), sent, "%v %s", q.Op, q.Path)
			l.Send(suite.Fitting(q, 1))
		}
		u.OK()
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "child /r, data /p, data /q, persistent /p, recursive /r")
	})
}

// A Batch arms nothing of the one before, whose memory it uses.
func TestBatchesArmTheirOwn(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 100)
		for range 10 { // one of them gets that memory
			for i, ops := range [][]zk.Op{
				{zk.GetOp{Path: "/0", Watch: ch}, zk.GetOp{Path: "/a"}},
				{zk.GetOp{Path: "/a"}, zk.GetOp{Path: "/1", Watch: ch}},
			} {
				u := suite.Start(t, func() error { return suite.ErrOf(s.Batch(suite.BG, ops...)) })
				for range ops {
					l.Send(suite.Fitting(l.Next(), 1))
				}
				u.OK()
				assert.Equal(t, suite.ArmedList(s.Config().Watches), fmt.Sprint("data /", i))
				l.Send(suite.Happened(zk.Changed, fmt.Sprint("/", i), -1))
				synctest.Wait()
			}
		}
	})
}

// A call that arms where an AddWatch is unanswered waits for that answer: only
// it tells what may be sent.
func TestI10_ArmingWaitsForAddWatch(t *testing.T) {
	for _, code := range []zk.Code{0, zk.ErrUnimplemented, zk.ErrNoAuth} {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			ch := make(chan zk.Event, 8)
			add := suite.Start(t, func() error { return s.AddWatch(suite.BG, "/p", zk.WatchPersistent, ch) })
			q := l.Want(wire.OpAddWatch, "/p")
			get := suite.Start(t, func() error { _, _, err := s.Get(suite.BG, "/p", ch); return err })
			ctx, cancel := context.WithCancel(suite.BG)
			gone := suite.Start(t, func() error { _, _, err := s.Get(ctx, "/p", ch); return err })
			l.Quiet()
			cancel()
			gone.Unsent(context.Canceled)
			// Others pass.
			u := suite.Start(t, func() error { _, _, err := s.Get(suite.BG, "/q", ch); return err })
			assert.Assert(t, l.Want(wire.OpGetData, "/q").Armed())
			u2 := suite.Start(t, func() error { _, _, err := s.Get(suite.BG, "/p", nil); return err })
			l.Want(wire.OpGetData, "/p")

			l.Send(suite.Refusal(q.Xid, 1, code))
			switch code {
			case 0:
				add.OK()
			case zk.ErrUnimplemented: // an opcode that the server does not know ends the connection
				add.Refused(code)
				get.Unsent(zk.ErrConnection)
				u.Lost(zk.ErrConnection)
				u2.Lost(zk.ErrConnection)
				return
			default:
				add.Refused(code)
			}
			g := l.Want(wire.OpGetData, "/p")
			assert.Equal(t, g.Armed(), code != 0)
			l.Send(suite.Answer(q.Xid+1, 1, wire.GetDataResponse{}), suite.Answer(q.Xid+2, 1, wire.GetDataResponse{}), suite.Fitting(g, 1))
			u.OK()
			u2.OK()
			get.OK()
		})
	}
}

// TestI11_RemoveWatch: behind its success nothing reaches the channel; what was
// ahead does.
func TestI11_RemoveWatch(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		a, b := make(chan zk.Event, 8), make(chan zk.Event, 8)
		remove := func(path string, ch chan zk.Event) *suite.Under {
			return suite.Start(t, func() error { return s.RemoveWatch(suite.BG, path, ch) })
		}
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", a)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", b)
		remove("/p", a).OK() // another channel remains: no matter of the server's
		l.Quiet()
		l.Send(suite.Happened(zk.Changed, "/p", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(a)...), "")
		assert.Equal(t, suite.Told(suite.Taken(b)...), "changed /p")
		remove("/p", a).Unsent(zk.ErrNoWatcher)

		u := remove("/p", b)
		q := l.Want(wire.OpRemoveWatches, "/p")
		assert.Equal(t, q.Body[len(q.Body)-1], byte(wire.WatcherAny))
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "persistent /p", "it is armed until the server says so")
		l.Send(suite.Happened(zk.Created, "/p", -1), suite.Answer(q.Xid, 1, nil), suite.Happened(zk.Deleted, "/p", -1))
		u.OK()
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(b)...), "created /p")
		assert.Equal(t, s.Config().Watches.Len(), 0)

		// One-shots are removed here; the server's event comes to nobody.
		suite.Arm(t, s, l, zk.DataWatch, "/o", a)
		suite.Arm(t, s, l, zk.ChildWatch, "/o", a)
		suite.Arm(t, s, l, zk.DataWatch, "/o", b)
		remove("/o", a).OK()
		l.Quiet()
		l.Send(suite.Happened(zk.Deleted, "/o", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(a)...), "")
		assert.Equal(t, suite.Told(suite.Taken(b)...), "deleted /o")
		remove("/o", a).Unsent(zk.ErrNoWatcher)
		remove("/nowhere", a).Unsent(zk.ErrNoWatcher)
		remove("/o", nil).Unsent(zk.ErrNoWatcher)
		l.Quiet()
	})
}

// An event that is queued when its watch is removed was ahead on the wire.
func TestI11_QueuedEventStays(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		full := make(chan zk.Event)
		suite.Arm(t, s, l, zk.DataWatch, "/a", full)
		suite.Arm(t, s, l, zk.ChildWatch, "/a", full)
		l.Send(suite.Happened(zk.Changed, "/a", -1))
		synctest.Wait()
		assert.NilError(t, s.RemoveWatch(suite.BG, "/a", full))
		l.Send(suite.Happened(zk.Child, "/a", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(<-full), "changed /a")
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(full)...), "")
	})
}

// The server is asked only where nothing else is armed or about to be: it would go too.
func TestI11_AskedOnlyWhereAlone(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch, other := make(chan zk.Event, 8), make(chan zk.Event, 8)

		// A one-shot of another channel hangs on the stream.
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
		suite.Arm(t, s, l, zk.DataWatch, "/p", other)
		assert.NilError(t, s.RemoveWatch(suite.BG, "/p", ch))
		l.Quiet()
		l.Send(suite.Happened(zk.Changed, "/p", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(other)...), "changed /p")
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "")

		// An arming call is unanswered.
		suite.Arm(t, s, l, zk.PersistentWatch, "/q", ch)
		u := suite.Start(t, func() error { _, _, err := s.Get(suite.BG, "/q", other); return err })
		q := l.Want(wire.OpGetData, "/q")
		assert.NilError(t, s.RemoveWatch(suite.BG, "/q", ch))
		l.Quiet()
		l.Send(suite.Fitting(q, 1), suite.Happened(zk.Changed, "/q", -1))
		u.OK()
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(other)...), "changed /q")

		// While the server is asked, it is about to forget all of the path: what
		// is armed now must be sent.
		suite.Arm(t, s, l, zk.PersistentWatch, "/r", ch)
		gone := suite.Start(t, func() error { return s.RemoveWatch(suite.BG, "/r", ch) })
		q = l.Want(wire.OpRemoveWatches, "/r")
		u = suite.Start(t, func() error { _, _, err := s.Get(suite.BG, "/r", other); return err })
		g := l.Want(wire.OpGetData, "/r")
		assert.Assert(t, g.Armed())
		l.Send(suite.Answer(q.Xid, 1, nil), suite.Fitting(g, 1), suite.Happened(zk.Changed, "/r", -1))
		gone.OK()
		u.OK()
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(other)...), "changed /r")
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "")

		// A server that knows of no such watch is as good as one that removes it.
		suite.Arm(t, s, l, zk.RecursiveWatch, "/s", ch)
		gone = suite.Start(t, func() error { return s.RemoveWatch(suite.BG, "/s", ch) })
		l.Send(suite.Refusal(l.Want(wire.OpRemoveWatches, "/s").Xid, 1, zk.ErrNoWatcher))
		gone.OK()
		assert.Equal(t, s.Config().Watches.Len(), 0)

		// Another error leaves it armed.
		suite.Arm(t, s, l, zk.RecursiveWatch, "/s", ch)
		gone = suite.Start(t, func() error { return s.RemoveWatch(suite.BG, "/s", ch) })
		l.Send(suite.Refusal(l.Want(wire.OpRemoveWatches, "/s").Xid, 1, zk.ErrNoAuth))
		gone.Refused(zk.ErrNoAuth)
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "recursive /s")
	})
}
