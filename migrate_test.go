package zk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// The invariants I12 to I26 of docs/guarantees.md: what moves from connection to
// connection, one case at a time. The simulator has the rest.

// advance makes a call whose reply carries a zxid.
func advance(t testing.TB, s *zk.Session, l *suite.Line, zxid int64) {
	t.Helper()
	u := suite.Start(t, func() error { _, _, err := s.Exists(suite.BG, "/advance", nil); return err })
	l.Send(suite.Fitting(l.Next(), zxid))
	u.OK()
}

// TestI08_AcrossMigrations: one event for one registration, after any number of
// connections, and through SetWatches as well as live.
func TestI08_AcrossMigrations(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		live, late := make(chan zk.Event, 4), make(chan zk.Event, 4)
		suite.Arm(t, s, l, zk.DataWatch, "/live", live)
		suite.Arm(t, s, l, zk.ChildWatch, "/late", late)
		for range 5 {
			var w wire.SetWatches2Request
			s, l, _, w = r.Move(s.Detach(), 1)
			assert.DeepEqual(t, w.Data, []string{"/live"})
			assert.DeepEqual(t, w.Child, []string{"/late"})
		}
		l.Send(suite.Happened(zk.Changed, "/live", -1), suite.Happened(zk.Changed, "/live", -1))
		synctest.Wait()
		d := r.Begin(s.Detach())
		l = r.Accept()
		l.Greet()
		q := l.Next()
		w := q.Watches(t)
		assert.Equal(t, fmt.Sprint(w.Data, w.Child), "[] [/late]")
		l.Send(suite.Happened(zk.Deleted, "/late", -1), suite.Happened(zk.Deleted, "/late", -1), suite.Answer(q.Xid, 2, nil))
		s = d.Session()
		assert.Equal(t, suite.Told(suite.Taken(live)...), "changed /live")
		assert.Equal(t, suite.Told(suite.Taken(late)...), "deleted /late")
		_, l = r.Open(s.Detach()) // nothing is left to restore
		l.Quiet()
	})
}

// TestI10_Gap: a persistent watch that moved says so, once, ahead of whatever
// proves that something was committed meanwhile; if nothing was, it says nothing.
func TestI10_Gap(t *testing.T) {
	type step struct {
		events []zk.EventType // of /p, ahead of the reply
		other  bool           // an event of a one-shot at /o, ahead of the reply
		zxid   int64          // of the reply; the floor is 10
		want   string         // what the persistent channels get, one after another, a and b alike
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"nothing happened", []step{{zxid: 10}, {zxid: 10}}},
		{"the reply tells", []step{{zxid: 11, want: "gap /p"}, {zxid: 11}, {zxid: 12, want: "gap /p"}}},
		{"an event tells", []step{{events: []zk.EventType{zk.Changed, zk.Child}, zxid: 11, want: "gap /p, changed /p, child /p"}}},
		{"another watch's event tells", []step{{other: true, zxid: 10, want: "gap /p"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				a, b, o := make(chan zk.Event, 9), make(chan zk.Event, 9), make(chan zk.Event, 9)
				suite.Arm(t, s, l, zk.PersistentWatch, "/p", a)
				suite.Arm(t, s, l, zk.RecursiveWatch, "/p", a) // the same channel and path: one Gap
				suite.Arm(t, s, l, zk.PersistentWatch, "/p", b)
				suite.Arm(t, s, l, zk.DataWatch, "/o", o)
				advance(t, s, l, 10)
				for i, x := range c.steps {
					d := r.Begin(s.Detach())
					l = r.Accept()
					l.Greet()
					q := l.Want(wire.OpSetWatches2, "")
					var frames [][]byte
					if x.other {
						frames = append(frames, suite.Happened(zk.Changed, "/o", -1))
					}
					for _, typ := range x.events {
						frames = append(frames, suite.Happened(typ, "/p", -1))
					}
					l.Send(append(frames, suite.Answer(q.Xid, x.zxid, nil))...)
					s = d.Session()
					assert.Equal(t, suite.Told(suite.Taken(a)...), x.want, "step %d", i)
					assert.Equal(t, suite.Told(suite.Taken(b)...), x.want, "step %d", i)
					// From here on the stream is whole.
					l.Send(suite.Happened(zk.Deleted, "/p", -1))
					synctest.Wait()
					assert.Equal(t, suite.Told(suite.Taken(a)...), "deleted /p")
					assert.Equal(t, suite.Told(suite.Taken(b)...), "deleted /p")
				}
				for _, ev := range suite.Taken(o) {
					assert.Equal(t, suite.Told(ev), "changed /o")
				}
			})
		})
	}
}

// A Gap that is not delivered yet is not doubled; one that a failed Dial owes is
// paid by the next; after Renew there is always one.
func TestI10_GapIsOwed(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		full, second := make(chan zk.Event), make(chan zk.Event)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", full)
		suite.Arm(t, s, l, zk.PersistentWatch, "/q", full)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/q", second)
		advance(t, s, l, 10)
		for zxid := range int64(3) {
			s, _, _, _ = r.Move(s.Detach(), 11+zxid)
		}
		assert.Equal(t, s.Stats().Queued, 3)
		for _, want := range []string{"gap /p", "gap /q"} {
			assert.Equal(t, suite.Told(<-full), want)
		}
		assert.Equal(t, suite.Told(<-second), "gap /q")
		synctest.Wait()
		assert.Equal(t, s.Stats().Queued, 0)

		// The connection ends before its SetWatches is answered.
		conf := s.Detach()
		d := r.Begin(conf)
		l = r.Accept()
		l.Greet()
		l.Want(wire.OpSetWatches2, "")
		l.Close()
		assert.Assert(t, errors.Is(d.Wait(), zk.ErrNoServer))
		assert.Equal(t, conf.Watches.Undelivered(), 0)
		s, _, _, _ = r.Move(conf, 14)
		assert.Equal(t, s.Stats().Queued, 3)
		for _, ch := range []chan zk.Event{full, full, second} {
			<-ch
		}

		s, _, q, w := r.Move(s.Detach().Renew(), 14)
		assert.Equal(t, q.SessionID, int64(0))
		assert.Equal(t, w.RelativeZxid, int64(14))
		assert.Equal(t, s.Stats().Queued, 3, "no Gap after Renew")
	})
}

// TestI12_ZxidSource: the zxid comes from replies to requests and from nothing
// else: not from events, which of one transaction may be several, and not from
// pings, auth and handshakes.
func TestI12_ZxidSource(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		first, second := make(chan zk.Event, 2), make(chan zk.Event, 2)
		suite.Arm(t, s, l, zk.DataWatch, "/first", first)
		suite.Arm(t, s, l, zk.DataWatch, "/second", second)
		advance(t, s, l, 40)
		auth := suite.Start(t, func() error { return s.AddAuth(suite.BG, zk.Digest("u", "p")) })
		l.Want(wire.OpAuth, "")
		l.Send(suite.Answer(wire.XidAuth, 99, nil))
		auth.OK()
		time.Sleep(suite.RigTimeout / 3)
		body, err := l.Frame()
		assert.NilError(t, err)
		assert.Equal(t, suite.ParseAsked(body).Op, wire.OpPing)
		// A multi at 50 touches both; the link ends between the two events.
		l.Send(suite.Answer(wire.XidPing, 98, nil), suite.Happened(zk.Changed, "/first", 50))
		l.Close()
		<-s.Done()
		assert.Equal(t, s.Zxid(), int64(40))
		assert.Equal(t, (<-first).Zxid, int64(50))

		d := r.Begin(s.Config())
		l = r.Accept()
		assert.Equal(t, l.Greet().LastZxidSeen, int64(40))
		l.Want(wire.OpAuth, "")
		l.Send(suite.Answer(wire.XidAuth, 97, nil))
		q := l.Want(wire.OpSetWatches, "")
		w := q.Watches(t)
		assert.Equal(t, w.RelativeZxid, int64(40), "an event's zxid is the floor: the second event is lost")
		assert.DeepEqual(t, w.Data, []string{"/second"})
		l.Send(suite.Happened(zk.Changed, "/second", -1), suite.Answer(q.Xid, 50, nil))
		s = d.Session()
		assert.Equal(t, suite.Told(suite.Taken(second)...), "changed /second")
		assert.Equal(t, s.Zxid(), int64(50))

		// Errors are answers, and it never goes back.
		u := suite.Get(t, s, suite.BG, "/a", nil)
		l.Send(suite.Refusal(l.Next().Xid, 60, zk.ErrNoNode))
		u.Refused(zk.ErrNoNode)
		assert.Equal(t, s.Zxid(), int64(60))
		advance(t, s, l, 59)
		assert.Equal(t, s.Zxid(), int64(60))
	})
}

// chunked is a Session with ten watches, which take three SetWatches frames
// while the limit is shrunk.
func chunked(t *testing.T, r *suite.Rig) (s *zk.Session, l *suite.Line, chans []chan zk.Event) {
	t.Helper()
	t.Cleanup(suite.Shrink(&limits.SetWatchesFrame, 70))
	s, l = r.Open(r.Config())
	for i := range 10 {
		ch := make(chan zk.Event, 2)
		chans = append(chans, ch)
		suite.Arm(t, s, l, zk.DataWatch, fmt.Sprintf("/watch-%d", i), ch)
	}
	advance(t, s, l, 5)
	return s, l, chans
}

// restoredInChunks reads the SetWatches frames of a Dial.
func restoredInChunks(l *suite.Line) (all []suite.Asked) {
	l.T.Helper()
	for n := 0; n < 10; {
		a := l.Next()
		all = append(all, a)
		n += len(a.Watches(l.T).Data)
	}
	return all
}

// TestI13_MigrationFloor: all SetWatches of a migration carry the zxid of the
// last connection that was wholly migrated. A Dial that dies between two chunks
// changes nothing in that, though it has seen newer replies.
func TestI13_MigrationFloor(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, _, chans := chunked(t, r)
		conf := s.Detach()
		for attempt := range 3 {
			d := r.Begin(conf)
			l := r.Accept()
			q := l.Greet()
			seen := int64(5)
			if attempt > 0 {
				seen = 100 + int64(attempt) - 1
			}
			assert.Equal(t, q.LastZxidSeen, seen)
			all := restoredInChunks(l)
			assert.Assert(t, len(all) >= 3)
			for _, a := range all {
				assert.Equal(t, a.Watches(t).RelativeZxid, int64(5), "attempt %d", attempt)
			}
			for i := range all[:len(all)-1] { // all but the last are answered
				l.Send(suite.Answer(all[i].Xid, 100+int64(attempt), nil))
			}
			synctest.Wait()
			assert.Assert(t, !d.Returned())
			l.Close()
			assert.Assert(t, errors.Is(d.Wait(), zk.ErrNoServer))
		}

		// The change was in the last chunk's path, at zxid 50: it comes now.
		d := r.Begin(conf)
		l := r.Accept()
		l.Greet()
		all := restoredInChunks(l)
		last := all[len(all)-1].Watches(t).Data[0]
		for i, a := range all {
			assert.Equal(t, a.Watches(t).RelativeZxid, int64(5))
			if i == len(all)-1 {
				l.Send(suite.Happened(zk.Changed, last, -1))
			}
			l.Send(suite.Answer(a.Xid, 110, nil))
		}
		s = d.Session()
		fired := ""
		for _, ch := range chans {
			fired += suite.Told(suite.Taken(ch)...)
		}
		assert.Equal(t, fired, "changed "+last)

		// Wholly migrated: the floor is what the last reply said, and follows.
		conf = s.Detach()
		d = r.Begin(conf)
		l = r.Accept()
		l.Greet()
		a := l.Next()
		assert.Equal(t, a.Watches(t).RelativeZxid, int64(110))
		l.Close()
		d.Wait()
	})
}

// A SetWatches that is refused migrates nothing, and neither does one that is
// cut off behind events of its own.
func TestI13_FloorAfterTrouble(t *testing.T) {
	for _, name := range []string{"refused", "cut", "its last chunk refused"} {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, _, chans := chunked(t, r)
				conf := s.Detach()
				d := r.Begin(conf)
				l := r.Accept()
				l.Greet()
				all := restoredInChunks(l)
				switch name {
				case "refused":
					l.Send(suite.Refusal(all[0].Xid, 100, zk.ErrNoAuth), suite.Answer(all[1].Xid, 101, nil))
				case "its last chunk refused":
					for _, a := range all[:len(all)-1] {
						l.Send(suite.Answer(a.Xid, 100, nil))
					}
					l.Send(suite.Refusal(all[len(all)-1].Xid, 101, -999))
				case "cut":
					l.Send(suite.Answer(all[0].Xid, 100, nil), suite.Happened(zk.Changed, "/watch-9", -1))
					l.Close()
				}
				if name == "refused" {
					for i, a := range all[2:] {
						l.Send(suite.Answer(a.Xid, 102+int64(i), nil))
					}
				}
				err := d.Wait()
				assert.Assert(t, errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrExpired), "%v", err)
				l.Close()
				left := 10
				if name == "cut" {
					assert.Equal(t, suite.Told(suite.Taken(chans[9])...), "changed /watch-9")
					left = 9
				}
				d = r.Begin(conf)
				l = r.Accept()
				l.Greet()
				for n := 0; n < left; {
					a := l.Next()
					w := a.Watches(t)
					assert.Equal(t, w.RelativeZxid, int64(5))
					n += len(w.Data)
					l.Send(suite.Answer(a.Xid, 200, nil))
				}
				d.Session()
				l.Quiet()
			})
		})
	}
}

// TestI14_FenceIsPrefix: whatever has arrived when a Dial begins, all complete
// frames of it count, and nothing that comes later.
func TestI14_FenceIsPrefix(t *testing.T) {
	paths := []string{"/0", "/1", "/2", "/3"}
	type state struct {
		armed  string
		seen   int64
		events string
	}
	// The stream, and the state after each frame.
	build := func(q func(i int) int32) (stream []byte, ends []int, states []state) {
		states = append(states, state{seen: 1})
		add := func(frame []byte, s state) {
			stream = append(stream, frame...)
			ends = append(ends, len(stream))
			states = append(states, s)
		}
		body := wire.GetDataResponse{}
		add(suite.Answer(q(0), 10, body), state{"data /0", 10, ""})
		add(suite.Answer(q(1), 11, body), state{"data /0, data /1", 11, ""})
		add(suite.Happened(zk.Changed, "/0", 20), state{"data /1", 11, "changed /0"})
		add(suite.Refusal(q(2), 12, zk.ErrNoNode), state{"data /1", 12, "changed /0"})
		add(suite.Happened(zk.Deleted, "/1", 21), state{"", 12, "changed /0, deleted /1"})
		add(suite.Answer(q(3), 22, body), state{"data /3", 22, "changed /0, deleted /1"})
		add(suite.Happened(zk.Child, "/nobody", 23), state{"data /3", 22, "changed /0, deleted /1"})
		return stream, ends, states
	}
	whole, _, _ := build(func(int) int32 { return 0 })
	for n := 0; n <= len(whole); n++ {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			advance(t, s, l, 1)
			ch := make(chan zk.Event, 8)
			var calls []*suite.Under
			var xids []int32
			for _, path := range paths {
				calls = append(calls, suite.Get(t, s, suite.BG, path, ch))
				xids = append(xids, l.Want(wire.OpGetData, path).Xid)
			}
			stream, ends, states := build(func(i int) int32 { return xids[i] })
			l.Send(stream[:n])
			synctest.Wait()
			complete := 0
			for complete < len(ends) && ends[complete] <= n {
				complete++
			}
			want := states[complete]

			d := r.Begin(s.Config())
			l2 := r.Accept()
			q := l2.Connect()
			l.TrySend(stream[n:]) // too late
			assert.Equal(t, q.LastZxidSeen, want.seen, "after %d bytes", n)
			l2.Send(suite.Welcome(q))
			if want.armed != "" {
				w := l2.Restored(30)
				assert.Equal(t, w.RelativeZxid, want.seen)
				assert.Equal(t, "data "+strings.Join(w.Data, ", data "), want.armed)
			}
			d.Session()
			assert.Equal(t, suite.Told(suite.Taken(ch)...), want.events, "after %d bytes", n)
			for _, u := range calls {
				if err := u.Wait(); err != nil && !errors.Is(err, zk.ErrNoNode) {
					u.Lost(zk.ErrMoved)
				}
			}
			<-s.Done()
			assert.Assert(t, errors.Is(s.Err(), zk.ErrMoved))
		})
	}
}

// While a caller that was answered has not left its wait, the old Session is not
// over: a Dial waits for that, up to its context, before it connects.
func TestI14_DialWaitsForTheFence(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		gate := &suite.GatedConn{Stuck: true}
		t.Cleanup(gate.Open)
		r.Lay = func(c net.Conn) net.Conn { gate.Conn = c; return gate }
		s, l := r.Open(r.Config())
		r.Lay = nil
		ch := make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
		gate.Shut()
		u := suite.Get(t, s, suite.BG, "/a", nil)
		q := l.Want(wire.OpGetData, "/a")
		l.Send(suite.Fitting(q, 7), suite.Happened(zk.Changed, "/w", -1), suite.Happened(zk.Changed, "/w", -1))
		synctest.Wait()

		ctx, cancel := context.WithTimeout(suite.BG, time.Second)
		defer cancel()
		began := time.Now()
		err := r.BeginContext(ctx, s.Config()).Wait()
		assert.Assert(t, errors.Is(err, context.DeadlineExceeded) && errors.Is(err, zk.ErrNoServer), "%v", err)
		assert.Equal(t, time.Since(began), time.Second)
		d := r.Begin(s.Config())
		synctest.Wait()
		assert.Equal(t, r.Connections(), 1, "connected before the old Session was over")
		assert.Equal(t, len(ch), 0)
		select {
		case <-s.Done():
			t.Error("done, and a caller has not left its wait")
		default:
		}
		gate.Open()
		assert.Equal(t, r.Accept().Greet().LastZxidSeen, int64(7))
		u.OK() // it was answered
		assert.Equal(t, len(ch), 1)
		d.Session()
	})
}

// A flood of frames from the old server while the session moves, over real
// goroutines: what was armed and not fired is restored, and nothing else.
func TestI14_FenceUnderFlood(t *testing.T) {
	r := suite.NewRig(t)
	for round := range 60 {
		s, l := r.Open(r.Config())
		sent := make(chan struct{})
		l.Serve(func(a suite.Asked) [][]byte { return [][]byte{suite.Fitting(a, 1)} })
		chans := make(map[string]chan zk.Event)
		var ops []zk.Op
		for i := range 50 {
			path := fmt.Sprintf("/%d", i)
			chans[path] = make(chan zk.Event, 2)
			ops = append(ops, zk.GetOp{Path: path, Watch: chans[path]})
		}
		_, err := s.Batch(suite.BG, ops...)
		assert.NilError(t, err)
		go func() {
			defer close(sent)
			for i := range 50 {
				if l.TrySend(suite.Happened(zk.Changed, fmt.Sprintf("/%d", i), int64(i))) != nil {
					return
				}
			}
		}()
		for s.Stats().Events < int64(round%30) {
			runtime.Gosched()
		}
		d := r.Begin(s.Config())
		l2 := r.Accept()
		l2.Greet()
		var restored []string
		if s.Config().Watches.Len() > 0 {
			restored = l2.Restored(2).Data
		}
		d.Session()
		<-sent
		for path, ch := range chans {
			fired := len(ch)
			if again := slices.Contains(restored, path); fired > 1 || again == (fired == 1) {
				t.Fatalf("round %d: %s has fired %d times, and was restored: %t", round, path, fired, again)
			}
		}
		d.S.Detach()
	}
}

// TestI15_OldBeforeNew: what the old connection had queued comes before all that
// the new one brings, across Dials that fail.
func TestI15_OldBeforeNew(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		one, other := make(chan zk.Event), make(chan zk.Event, 20)
		for i := range 10 {
			ch := one
			if i%2 == 1 {
				ch = other
			}
			suite.Arm(t, s, l, zk.DataWatch, fmt.Sprintf("/%d", i), ch)
		}
		for i := range 5 {
			l.Send(suite.Happened(zk.Changed, fmt.Sprintf("/%d", i), -1))
		}
		synctest.Wait()
		conf := s.Detach()
		for _, how := range []string{"hangs up", "expired", "in SetWatches"} {
			d := r.Begin(conf)
			l = r.Accept()
			q := l.Connect()
			switch how {
			case "expired":
				l.Send(suite.Framed(wire.ConnectResponse{Password: suite.RigPassword}))
				assert.Assert(t, errors.Is(d.Wait(), zk.ErrExpired))
				continue
			case "in SetWatches":
				l.Send(suite.Welcome(q))
				l.Next()
			}
			l.Close()
			assert.Assert(t, errors.Is(d.Wait(), zk.ErrNoServer))
		}
		assert.Equal(t, conf.Watches.Undelivered(), 5)
		assert.Equal(t, len(other), 0)

		d := r.Begin(conf)
		l = r.Accept()
		l.Greet()
		q := l.Next()
		assert.DeepEqual(t, q.Watches(t).Data, []string{"/5", "/6", "/7", "/8", "/9"})
		for i := 5; i < 10; i++ {
			l.Send(suite.Happened(zk.Changed, fmt.Sprintf("/%d", i), -1))
		}
		l.Send(suite.Answer(q.Xid, 9, nil))
		d.Session()
		for i := range 10 { // one sequence over both channels: the even ones hold the odd ones back
			if i%2 == 0 {
				synctest.Wait()
				assert.Equal(t, len(other), 0)
				assert.Equal(t, suite.Told(<-one), fmt.Sprintf("changed /%d", i))
			} else {
				assert.Equal(t, suite.Told(<-other), fmt.Sprintf("changed /%d", i))
			}
		}
	})
}

// TestI16_Order: ConnectRequest alone, until it is answered; then auth, then
// SetWatches, in one flight; Dial returns when the last of them is answered; then
// the application's requests. Calls on the old Session reach no server.
func TestI16_Order(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, old, _ := chunked(t, r)
		conf := s.Config()
		conf.Auth = []zk.Auth{zk.Digest("a", "1"), zk.Digest("b", "2")}
		d := r.Begin(conf)
		var late []*suite.Under
		for i := range 100 {
			late = append(late, suite.Get(t, s, suite.BG, fmt.Sprintf("/%d", i), nil))
		}
		l := r.Accept()
		q := l.Connect()
		l.Quiet()
		for _, u := range late {
			if err := u.Wait(); !errors.Is(err, zk.ErrMoved) {
				t.Fatal(err)
			}
		}
		l.Send(suite.Welcome(q))
		for _, user := range []string{"a:1", "b:2"} {
			a := l.Want(wire.OpAuth, "")
			assert.Equal(t, a.Xid, wire.XidAuth)
			assert.Assert(t, strings.HasSuffix(string(a.Body), user))
		}
		all := restoredInChunks(l)
		l.Quiet()
		assert.Assert(t, !d.Returned())
		l.Send(suite.Answer(wire.XidAuth, 0, nil))
		for _, a := range all {
			synctest.Wait()
			assert.Assert(t, !d.Returned())
			l.Send(suite.Answer(a.Xid, 6, nil))
		}
		synctest.Wait()
		assert.Assert(t, !d.Returned(), "an auth packet is unanswered")
		l.Send(suite.Answer(wire.XidAuth, 0, nil))
		s = d.Session()
		advance(t, s, l, 7)
		_, err := io.Copy(io.Discard, old)
		assert.NilError(t, err)
	})
}

// TestI17_AuthOvertakes: the reply to an auth packet comes from another thread of
// the server, at any place among the others.
func TestI17_AuthOvertakes(t *testing.T) {
	for place := range 7 {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			var sets []*suite.Under
			var qs []suite.Asked
			for i := range 5 {
				sets = append(sets, suite.Start(t, func() error { _, err := s.Set(suite.BG, fmt.Sprintf("/%d", i), nil, -1); return err }))
				qs = append(qs, l.Next())
			}
			auth := suite.Start(t, func() error { return s.AddAuth(suite.BG, zk.Digest("u", "p")) })
			l.Want(wire.OpAuth, "")
			for i, q := range qs {
				if i == place {
					l.Send(suite.Answer(wire.XidAuth, 0, nil))
					auth.OK()
				}
				assert.Assert(t, !sets[i].Returned())
				l.Send(suite.Fitting(q, int64(i)))
				sets[i].OK()
			}
			if place >= 5 {
				l.Send(suite.Answer(wire.XidAuth, 0, nil))
			}
			auth.OK()
			assert.Equal(t, len(s.Config().Auth), 1)
			// It is part of the identity now.
			r.Begin(s.Detach())
			l = r.Accept()
			l.Greet()
			l.Want(wire.OpAuth, "")
		})
	}
}

// Credentials that are refused end the connection and not the session.
func TestI17_AuthRefused(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
		u := suite.Get(t, s, suite.BG, "/a", nil)
		l.Next()
		auth := suite.Start(t, func() error { return s.AddAuth(suite.BG, zk.Auth{Scheme: "nonsense"}) })
		l.Want(wire.OpAuth, "")
		l.Send(suite.Refusal(wire.XidAuth, 0, zk.ErrAuthFailed))
		l.Close()
		auth.Refused(zk.ErrAuthFailed)
		assert.Assert(t, errors.Is(auth.Err, zk.ErrAuth) && errors.Is(auth.Err, zk.ErrConnection), "%v", auth.Err)
		u.Lost(zk.ErrConnection)
		<-s.Done()
		conf := s.Config()
		assert.Equal(t, len(conf.Auth), 0)
		assert.Equal(t, conf.ID, suite.RigID)

		bad := conf
		bad.Addrs = []string{"a:1", "b:2", "c:3"}
		bad.Auth = []zk.Auth{zk.Digest("u", "p"), {Scheme: "nonsense"}}
		before := r.Connections()
		d := r.Begin(bad)
		l = r.Accept()
		l.Greet()
		l.Want(wire.OpAuth, "")
		l.Want(wire.OpAuth, "")
		l.Send(suite.Answer(wire.XidAuth, 0, nil), suite.Refusal(wire.XidAuth, 0, zk.ErrAuthFailed))
		l.Close()
		err := d.Wait()
		assert.Assert(t, errors.Is(err, zk.ErrAuth) && !errors.Is(err, zk.ErrExpired), "%v", err)
		assert.Equal(t, r.Connections(), before+1, "another server was asked")

		s, _, q, w := r.Move(conf, 3)
		assert.Equal(t, q.SessionID, suite.RigID)
		assert.DeepEqual(t, w.Data, []string{"/w"})
		assert.Equal(t, len(s.Config().Auth), 0)
	})
}

// TestI18_Chunks: every frame is within 128 KiB, its length counted; all paths
// are in them, once; the newer request is used only where it is needed; and a
// path that is longer has a frame of its own.
func TestI18_Chunks(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			conf := r.Config()
			s, l := r.Open(conf)
			ch := make(chan zk.Event, 1)
			want := make(map[string]int)
			var ops []zk.Op
			for i := range 4000 {
				path := fmt.Sprintf("/%d/%s", i, strings.Repeat("ü", 53))
				want["data "+path]++
				ops = append(ops, zk.GetOp{Path: path, Watch: ch})
				if i%2 == 0 {
					want["child "+path]++
					ops = append(ops, zk.ChildrenOp{Path: path, Watch: ch})
				}
			}
			long := "/" + strings.Repeat("x", 200_000)
			want["data "+long]++
			ops = append(ops, zk.GetOp{Path: long, Watch: ch})
			l.Serve(func(a suite.Asked) [][]byte { return [][]byte{suite.Fitting(a, 1)} })
			_, err := s.Batch(suite.BG, ops...)
			assert.NilError(t, err)
			if persistent {
				assert.NilError(t, s.AddWatch(suite.BG, "/p", zk.WatchPersistent, ch))
				want["persistent /p"]++
			}
			d := r.Begin(s.Detach())
			l = r.Accept()
			l.Greet()
			got := make(map[string]int)
			frames, newer := 0, 0
			for len(got) < len(want) {
				body, err := l.Frame()
				assert.NilError(t, err)
				a := suite.ParseAsked(body)
				w := a.Watches(t)
				frames++
				if a.Op == wire.OpSetWatches2 {
					newer++
				}
				for name, list := range map[string][]string{"data ": w.Data, "exists ": w.Exist, "child ": w.Child, "persistent ": w.Persistent, "recursive ": w.Recursive} {
					for _, path := range list {
						got[name+path]++
					}
				}
				if n := 4 + len(body); n > 128<<10 && (len(w.Data) != 1 || w.Data[0] != long) {
					t.Errorf("a frame of %d bytes", n)
				}
				l.Send(suite.Answer(a.Xid, 1, nil))
			}
			d.Session()
			l.Quiet()
			assert.DeepEqual(t, got, want)
			assert.Assert(t, frames < 12, "%d frames", frames)
			assert.Equal(t, newer > 0, persistent)
		})
	}
}

// Frames are filled, and never beyond the limit, whatever it is.
func TestI18_FramesAreFull(t *testing.T) {
	for limit := 60; limit < 120; limit++ {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			t.Cleanup(suite.Shrink(&limits.SetWatchesFrame, limit))
			s, l := r.Open(r.Config())
			ch := make(chan zk.Event, 1)
			var ops []zk.Op
			for i := range 50 {
				ops = append(ops, zk.GetOp{Path: fmt.Sprintf("/%02d", i), Watch: ch})
			}
			u := suite.Start(t, func() error { _, err := s.Batch(suite.BG, ops...); return err })
			for range ops {
				l.Send(suite.Fitting(l.Next(), 1))
			}
			u.OK()
			d := r.Begin(s.Detach())
			l = r.Accept()
			l.Greet()
			for left := 50; left > 0; {
				body, err := l.Frame()
				assert.NilError(t, err)
				a := suite.ParseAsked(body)
				n := len(a.Watches(t).Data)
				fit := (limit - 32) / 7 // head, zxid and three counts; a path of three bytes
				assert.Equal(t, n, min(left, fit), "of %d bytes", limit)
				left -= n
				l.Send(suite.Answer(a.Xid, 1, nil))
			}
			d.Session()
		})
	}
}

// TestI19_Coalescing: of all that happened while nobody was connected, one event
// for each watch, about what is there now.
func TestI19_Coalescing(t *testing.T) {
	for _, c := range []struct {
		name  string
		there bool // /n exists at first
		kind  zk.WatchKind
		do    func(t *testing.T, s *zk.Session)
		want  string
	}{
		{"nothing", true, zk.DataWatch, func(t *testing.T, s *zk.Session) {}, ""},
		{"changed", true, zk.DataWatch, func(t *testing.T, s *zk.Session) { set(t, s) }, "changed /n"},
		{"changed three times", true, zk.DataWatch, func(t *testing.T, s *zk.Session) { set(t, s); set(t, s); set(t, s) }, "changed /n"},
		{"deleted", true, zk.DataWatch, func(t *testing.T, s *zk.Session) { del(t, s, "/n") }, "deleted /n"},
		{"changed and deleted", true, zk.DataWatch, func(t *testing.T, s *zk.Session) { set(t, s); del(t, s, "/n") }, "deleted /n"},
		{"deleted and made again", true, zk.DataWatch, func(t *testing.T, s *zk.Session) { del(t, s, "/n"); mk(t, s, "/n") }, "changed /n"},
		{"created", false, zk.ExistsWatch, func(t *testing.T, s *zk.Session) { mk(t, s, "/n") }, "created /n"},
		{"created and deleted", false, zk.ExistsWatch, func(t *testing.T, s *zk.Session) { mk(t, s, "/n"); del(t, s, "/n") }, ""},
		{"a child", true, zk.ChildWatch, func(t *testing.T, s *zk.Session) { mk(t, s, "/n/c") }, "child /n"},
		{"a child came and went", true, zk.ChildWatch, func(t *testing.T, s *zk.Session) { mk(t, s, "/n/c"); del(t, s, "/n/c") }, "child /n"},
		{"the parent deleted", true, zk.ChildWatch, func(t *testing.T, s *zk.Session) { del(t, s, "/n") }, "deleted /n"},
		{"changed, and its children watched", true, zk.ChildWatch, func(t *testing.T, s *zk.Session) { set(t, s) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := zktest.NewServer(t, zktest.Options{InMemory: true})
				conf := zk.Config{Addrs: srv.Addrs(), DialContext: srv.DialContext}
				admin, err := zk.Dial(suite.BG, conf)
				assert.NilError(t, err)
				defer admin.Close()
				if c.there {
					mk(t, admin, "/n")
				}
				s, err := zk.Dial(suite.BG, conf)
				assert.NilError(t, err)
				ch := make(chan zk.Event, 4)
				assert.NilError(t, suite.WatchCalls[c.kind](s, "/n", ch))
				srv.Cut(s.ID())
				<-s.Done()
				c.do(t, admin)
				s, err = zk.Dial(suite.BG, s.Config())
				assert.NilError(t, err)
				defer s.Close()
				assert.Equal(t, suite.Told(suite.Taken(ch)...), c.want)
				if c.want != "" {
					assert.Equal(t, s.Stats().Armed, 0)
					return
				}
				assert.Equal(t, s.Stats().Armed, 1)
				switch c.kind { // it is still armed
				case zk.DataWatch:
					set(t, admin)
				case zk.ExistsWatch:
					mk(t, admin, "/n")
				case zk.ChildWatch:
					mk(t, admin, "/n/c")
				}
				assert.NilError(t, s.Sync(suite.BG, "/"))
				assert.Equal(t, len(ch), 1)
			})
		})
	}
}

func set(t testing.TB, s *zk.Session) {
	t.Helper()
	_, err := s.Set(suite.BG, "/n", nil, -1)
	assert.NilError(t, err)
}

func mk(t testing.TB, s *zk.Session, path string) {
	t.Helper()
	_, err := s.Create(suite.BG, path, nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
}

func del(t testing.TB, s *zk.Session, path string) {
	t.Helper()
	assert.NilError(t, s.Delete(suite.BG, path, -1))
}

// TestI20_FailedDialIsRetryable: a Dial that fails at any stage leaves the
// identity, the credentials, the watches but those that have fired, the queue and
// the floor, and the old Session stays dead.
func TestI20_FailedDialIsRetryable(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(l *suite.Line)
		gone bool // /watch-0 has fired
	}{
		{"before the handshake", func(l *suite.Line) { l.Close() }, false},
		{"within the handshake", func(l *suite.Line) { l.Send(suite.Welcome(l.Connect())[:20]); l.Close() }, false},
		{"behind the handshake", func(l *suite.Line) { l.Greet(); l.Close() }, false},
		{"in auth", func(l *suite.Line) { l.Greet(); l.Want(wire.OpAuth, ""); l.Close() }, false},
		{"at the first chunk", func(l *suite.Line) { l.Greet(); l.Want(wire.OpAuth, ""); l.Next(); l.Close() }, false},
		{"behind an event", func(l *suite.Line) {
			l.Greet()
			l.Want(wire.OpAuth, "")
			restoredInChunks(l)
			l.Send(suite.Answer(wire.XidAuth, 0, nil), suite.Happened(zk.Changed, "/watch-0", -1))
			l.Close()
		}, true},
		{"behind the first reply", func(l *suite.Line) {
			l.Greet()
			l.Want(wire.OpAuth, "")
			all := restoredInChunks(l)
			l.Send(suite.Answer(wire.XidAuth, 0, nil), suite.Happened(zk.Changed, "/watch-0", -1), suite.Answer(all[0].Xid, 70, nil))
			l.Close()
		}, true},
		{"by expiry", func(l *suite.Line) {
			l.Connect()
			l.Send(suite.Framed(wire.ConnectResponse{Password: suite.RigPassword}))
			l.Close()
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, _, chans := chunked(t, r)
				conf := s.Config()
				conf.Auth = []zk.Auth{zk.Digest("u", "p")}
				for range 3 {
					d := r.Begin(conf)
					l := r.Accept()
					c.fail(l)
					err := d.Wait()
					assert.Assert(t, err != nil)
					suite.Get(t, s, suite.BG, "/a", nil).Unsent(zk.ErrMoved)
					if c.gone {
						break // it fires once
					}
				}
				if c.gone {
					assert.Equal(t, suite.Told(suite.Taken(chans[0])...), "changed /watch-0")
				}
				d := r.Begin(conf)
				l := r.Accept()
				q := l.Greet()
				assert.Equal(t, q.SessionID, suite.RigID)
				assert.DeepEqual(t, q.Password, suite.RigPassword)
				l.Want(wire.OpAuth, "")
				l.Send(suite.Answer(wire.XidAuth, 0, nil))
				var paths []string
				for len(paths) < conf.Watches.Len() {
					a := l.Next()
					w := a.Watches(t)
					assert.Equal(t, w.RelativeZxid, int64(5))
					paths = append(paths, w.Data...)
					l.Send(suite.Answer(a.Xid, 80, nil))
				}
				d.Session()
				assert.Equal(t, len(paths), map[bool]int{false: 10, true: 9}[c.gone])
				assert.Equal(t, slices.Contains(paths, "/watch-0"), !c.gone)
				for _, ch := range chans {
					assert.Equal(t, len(ch), 0)
				}
			})
		})
	}
}

// A new session whose Dial fails behind the handshake is ended, and not left to expire.
func TestI20_FailedNewSessionIsClosed(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Auth = []zk.Auth{zk.Digest("u", "p")}
		ctx, cancel := context.WithCancel(suite.BG)
		d := r.BeginContext(ctx, conf)
		l := r.Accept()
		l.Greet()
		l.Want(wire.OpAuth, "")
		cancel()
		assert.Assert(t, errors.Is(d.Wait(), context.Canceled))
		l.Want(wire.OpCloseSession, "")
		l.HungUp()
	})
}

// autoServe answers every connection of a rig, for tests with many Dials.
func autoServe(r *suite.Rig) {
	go func() {
		for {
			select {
			case l := <-r.Arrived:
				go func() {
					body, err := l.Frame()
					if err != nil {
						return
					}
					d := wire.NewDecoder(body)
					var q wire.ConnectRequest
					q.Decode(&d)
					if l.TrySend(suite.Welcome(q)) == nil {
						l.Serve(func(a suite.Asked) [][]byte { return [][]byte{suite.Fitting(a, 1)} })
					}
				}()
			case <-r.Stop:
				return
			}
		}
	}()
}

// TestI21_ConcurrentDials: however many dial one identity at a time, one Session
// lives in the end and has the watches. Redial makes one, and all get it.
func TestI21_ConcurrentDials(t *testing.T) {
	r := suite.NewRig(t)
	autoServe(r)
	var current atomic.Pointer[zk.Session]
	over := make(chan struct{})
	var readers sync.WaitGroup
	defer readers.Wait()
	defer close(over)
	for range 2 { // who looks on sees one session all the time
		readers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if x := current.Load(); x != nil {
					conf := x.Config()
					if conf.ID != x.ID() || len(conf.Password) == 0 || len(conf.Addrs) != 1 {
						t.Errorf("%v", conf)
						return
					}
					conf.Watches.List()
					x.Stats()
				}
				runtime.Gosched()
			}
		})
	}
	for round := range 300 {
		s, err := zk.Dial(suite.BG, r.Config())
		assert.NilError(t, err)
		current.Store(s)
		ch := make(chan zk.Event, 4)
		_, _, err = s.Get(suite.BG, "/w", ch)
		assert.NilError(t, err)

		before := r.Connections()
		var mu sync.Mutex
		var made []*zk.Session
		var all []*suite.Under
		for range 8 {
			all = append(all, suite.Start(t, func() error {
				next, err := s.Redial(suite.BG)
				mu.Lock()
				made = append(made, next)
				mu.Unlock()
				return err
			}))
		}
		for _, u := range all {
			u.OK()
		}
		for _, x := range made {
			assert.Equal(t, x, made[0])
		}
		assert.Equal(t, r.Connections(), before+1)
		assert.Assert(t, errors.Is(s.Err(), zk.ErrMoved))

		conf := made[0].Config()
		made, all = nil, nil
		for range 8 {
			all = append(all, suite.Start(t, func() error {
				next, err := zk.Dial(suite.BG, conf)
				mu.Lock()
				made = append(made, next)
				mu.Unlock()
				return err
			}))
		}
		for _, u := range all {
			u.OK()
		}
		var live []*zk.Session
		for _, x := range made {
			select {
			case <-x.Done():
				assert.Assert(t, errors.Is(x.Err(), zk.ErrMoved), "%v", x.Err())
			default:
				live = append(live, x)
			}
		}
		assert.Equal(t, len(live), 1)
		assert.Equal(t, r.Connections(), before+9)

		// The watch is with the one that lives, and the others' servers say nothing that counts.
		r.Mu.Lock()
		lines := r.Lines[before:]
		r.Mu.Unlock()
		for _, l := range lines {
			l.TrySend(suite.Happened(zk.Changed, "/w", -1))
		}
		if ev := <-ch; ev.Path != "/w" {
			t.Fatal(ev)
		}
		_, _, err = live[0].Get(suite.BG, "/a", nil)
		assert.NilError(t, err)
		assert.Equal(t, len(ch), 0, "round %d", round)
		live[0].Detach()
	}
}

// A config whose identity was renewed away dials nothing.
func TestI21_RenewedAway(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
		old := s.Config()
		d := r.Begin(old.Renew())
		l = r.Accept()
		q := l.Connect()
		q.SessionID = 0x777
		l.Send(suite.Welcome(q))
		l.Restored(1)
		s2 := d.Session()
		assert.Equal(t, s2.ID(), int64(0x777))
		before := r.Connections()
		err := r.Begin(old).Wait()
		assert.Assert(t, errors.Is(err, zk.ErrMoved), "%v", err)
		_, err = s.Redial(suite.BG)
		assert.Assert(t, errors.Is(err, zk.ErrExpired), "%v", err)
		assert.Equal(t, r.Connections(), before)
		assert.NilError(t, s2.Err())
		assert.Equal(t, s2.Stats().Armed, 1)
	})
}

// TestI10_GapAfterRenew: the Gap of a new session comes when the server has the
// watch again. Before, it could be read ahead of a change that nobody tells of.
func TestI10_GapAfterRenew(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 4)
		suite.Arm(t, s, l, zk.PersistentWatch, "/w", ch)
		floor := s.Zxid()
		d := r.Begin(s.Detach().Renew())
		l = r.Accept()
		q := l.Connect()
		q.SessionID = 0x777
		l.Send(suite.Welcome(q))
		x := l.Next()
		assert.DeepEqual(t, x.Watches(t).Persistent, []string{"/w"})
		synctest.Wait()
		assert.Equal(t, len(ch), 0)
		l.Send(suite.Answer(x.Xid, floor, nil)) // also where nothing has changed
		d.Session()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "gap /w")
	})
}

// TestI10_GapBetweenFrames: a Gap that was read before the server had a
// persistent watch again stands for nothing that came then. The frame that arms
// it brings another, if something was committed since the frame before.
func TestI10_GapBetweenFrames(t *testing.T) {
	defer suite.Shrink(&limits.SetWatchesFrame, 64)()
	for _, c := range []struct {
		name  string
		zxids [2]int64 // of the replies, above the floor
		event bool     // ahead of the second reply
		want  string
	}{
		{"nothing", [2]int64{0, 0}, false, ""},
		{"before the first frame", [2]int64{1, 1}, false, "gap /p"},
		{"between the frames", [2]int64{0, 1}, false, "gap /p"},
		{"before and between", [2]int64{1, 2}, false, "gap /p, gap /p"},
		{"an event between", [2]int64{0, 1}, true, "gap /p, gap /p"},
		{"an event of before", [2]int64{1, 1}, true, "gap /p"},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				ch, one := make(chan zk.Event, 4), make(chan zk.Event, 1)
				long := "/one-shot-of-a-long-path-that-fills-a-frame"
				suite.Arm(t, s, l, zk.DataWatch, long, one)
				suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
				floor := s.Zxid()
				d := r.Begin(s.Config())
				l = r.Accept()
				l.Greet()
				first, second := l.Next(), l.Next()
				assert.DeepEqual(t, first.Watches(t).Data, []string{long})
				assert.DeepEqual(t, second.Watches(t).Persistent, []string{"/p"})
				var got []zk.Event
				take := func() {
					synctest.Wait()
					got = append(got, suite.Taken(ch)...) // read at once
				}
				l.Send(suite.Answer(first.Xid, floor+c.zxids[0], nil))
				take()
				if c.event {
					l.Send(suite.Happened(zk.Changed, long, -1))
				}
				take()
				l.Send(suite.Answer(second.Xid, floor+c.zxids[1], nil))
				take()
				d.Session()
				assert.Equal(t, suite.Told(got...), c.want)
			})
		})
	}
}

// TestI22_FencedBeforeConnect: the old connection is closed before the new one
// says a word, and what its server still says is for nobody.
func TestI22_FencedBeforeConnect(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, old := r.Open(r.Config())
		ch := make(chan zk.Event, 4)
		suite.Arm(t, s, old, zk.DataWatch, "/w", ch)
		pending := suite.Get(t, s, suite.BG, "/a", nil)
		q := old.Next()
		d := r.Begin(s.Config())
		l := r.Accept()
		_, err := old.Frame()
		assert.Equal(t, err, io.EOF)
		assert.Assert(t, old.TrySend(suite.Happened(zk.Changed, "/w", -1), suite.Fitting(q, 99)) != nil)
		pending.Lost(zk.ErrMoved)
		suite.Get(t, s, suite.BG, "/b", nil).Unsent(zk.ErrMoved)
		assert.Equal(t, l.Greet().LastZxidSeen, int64(1))
		x := l.Next()
		l.Send(suite.Happened(zk.Changed, "/w", -1), suite.Answer(x.Xid, 3, nil))
		d.Session()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /w")
		assert.Assert(t, errors.Is(s.Err(), zk.ErrMoved) && !errors.Is(s.Err(), zk.ErrConnection))
		suite.CheckOutcome(t, s.Close(), zk.NotSent, zk.ErrMoved)
	})
}

// TestI23_Expiry: only a Dial says it, it changes nothing, and Renew takes all of
// it to a new session: SetWatches compares zxids, not sessions.
func TestI23_Expiry(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Auth = []zk.Auth{zk.Digest("u", "p")}
		d := r.Begin(conf)
		l := r.Accept()
		l.Greet()
		l.Want(wire.OpAuth, "")
		l.Send(suite.Answer(wire.XidAuth, 0, nil))
		s := d.Session()
		queued, armed := make(chan zk.Event), make(chan zk.Event, 4)
		suite.Arm(t, s, l, zk.DataWatch, "/queued", queued)
		suite.Arm(t, s, l, zk.DataWatch, "/armed", armed)
		advance(t, s, l, 30)
		l.Send(suite.Happened(zk.Changed, "/queued", -1))
		synctest.Wait()
		l.Close()
		<-s.Done()
		time.Sleep(24 * time.Hour) // nobody guesses
		assert.Assert(t, !errors.Is(s.Err(), zk.ErrExpired))
		whole := s.Config()
		for range 2 {
			d = r.Begin(whole)
			l = r.Accept()
			assert.Equal(t, l.Connect().SessionID, suite.RigID)
			l.Send(suite.Framed(wire.ConnectResponse{Password: make([]byte, 16), HasReadOnly: true}))
			l.Close()
			assert.Assert(t, errors.Is(d.Wait(), zk.ErrExpired))
		}
		before := r.Connections()
		time.Sleep(time.Hour)
		assert.Equal(t, r.Connections(), before)
		assert.Equal(t, whole.Watches.Undelivered(), 1)
		assert.Equal(t, suite.ArmedList(whole.Watches), "data /armed")

		// A plain new session has nothing of it.
		plain, pl := r.Open(r.Config())
		pl.Quiet()
		assert.Equal(t, plain.Config().Watches.Len(), 0)

		d = r.Begin(whole.Renew())
		l = r.Accept()
		q := l.Connect()
		assert.Equal(t, q.SessionID, int64(0))
		assert.DeepEqual(t, q.Password, make([]byte, 16))
		assert.Equal(t, q.LastZxidSeen, int64(30))
		q.SessionID = 0x777
		l.Send(suite.Welcome(q))
		assert.Equal(t, suite.Told(<-queued), "changed /queued")
		l.Want(wire.OpAuth, "")
		x := l.Next()
		w := x.Watches(t)
		assert.DeepEqual(t, w.Data, []string{"/armed"})
		assert.Equal(t, w.RelativeZxid, int64(30))
		l.Send(suite.Answer(wire.XidAuth, 0, nil), suite.Happened(zk.Deleted, "/armed", -1), suite.Answer(x.Xid, 31, nil))
		s2 := d.Session()
		assert.Equal(t, s2.ID(), int64(0x777))
		assert.Equal(t, suite.Told(suite.Taken(armed)...), "deleted /armed")
	})
}

// TestI24_ServerBehind: a server that hangs up instead of answering is behind, or
// busy: the next one is asked, and nothing has expired.
func TestI24_ServerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ens := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true})
		conf := zk.Config{Addrs: ens.Addrs(), DialContext: ens.DialContext, Timeout: 5 * time.Second}
		ens.Member(0).Freeze()
		ens.Member(1).Freeze()
		s, err := zk.Dial(suite.BG, zk.Config{Addrs: ens.Addrs()[2:], DialContext: ens.DialContext, Timeout: 5 * time.Second})
		assert.NilError(t, err)
		mk(t, s, "/n")
		id := s.ID()
		conf.State = s.Detach().State
		for range 10 { // whatever the order
			s, err = zk.Dial(suite.BG, conf)
			assert.NilError(t, err)
			assert.Equal(t, s.ID(), id)
			assert.Equal(t, s.Addr(), ens.Addrs()[2])
			conf = s.Detach()
		}
		conf.Addrs = ens.Addrs()[:2]
		_, err = zk.Dial(suite.BG, conf)
		assert.Assert(t, errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrExpired), "%v", err)
		assert.Assert(t, strings.Count(err.Error(), "handshake refused") == 2, "%v", err)
		ens.Member(0).Thaw()
		s, err = zk.Dial(suite.BG, conf)
		assert.NilError(t, err)
		assert.Equal(t, s.ID(), id)
		assert.NilError(t, s.Close())
	})
}

// TestI25_ReadOnly: a session that a read-only server began is known to no other,
// so it does not move; its watches do. A session from elsewhere stays what it is.
func TestI25_ReadOnly(t *testing.T) {
	readOnly := func(q wire.ConnectRequest, id int64) []byte {
		return suite.Framed(wire.ConnectResponse{Timeout: q.Timeout, SessionID: id, Password: suite.RigPassword, ReadOnly: true, HasReadOnly: true})
	}
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.ReadOnly = true
		d := r.Begin(conf)
		l := r.Accept()
		q := l.Connect()
		assert.Assert(t, q.ReadOnly && q.HasReadOnly)
		l.Send(readOnly(q, 0xfa4e))
		s := d.Session()
		assert.Assert(t, s.ReadOnly())
		ch := make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
		advance(t, s, l, 20)
		u := suite.Start(t, func() error { _, err := s.Set(suite.BG, "/w", nil, -1); return err })
		l.Send(suite.Refusal(l.Next().Xid, 20, zk.ErrNotReadOnly))
		u.Refused(zk.ErrNotReadOnly)
		assert.NilError(t, s.Err())

		conf = s.Detach()
		assert.Equal(t, conf.ID, int64(0))
		assert.Equal(t, len(conf.Password), 0)
		s, _, q, w := r.Move(conf, 21)
		assert.Equal(t, q.SessionID, int64(0))
		assert.Equal(t, q.LastZxidSeen, int64(20))
		assert.Equal(t, w.RelativeZxid, int64(20))
		assert.Equal(t, s.ID(), suite.RigID)

		// Resumed at a read-only server that knows it: it moves on.
		d = r.Begin(s.Config())
		l = r.Accept()
		l.Send(readOnly(l.Connect(), suite.RigID))
		l.Restored(21)
		s = d.Session()
		assert.Assert(t, s.ReadOnly())
		assert.Equal(t, s.Config().ID, suite.RigID)
	})
	// What a read-only server says of a session that it does not know is no
	// expiry, whatever it makes up.
	for _, answer := range []func(q wire.ConnectRequest) []byte{
		func(q wire.ConnectRequest) []byte {
			return suite.Framed(wire.ConnectResponse{Password: make([]byte, 16), ReadOnly: true, HasReadOnly: true})
		},
		func(q wire.ConnectRequest) []byte { return readOnly(q, 0xfa4e) },
		func(q wire.ConnectRequest) []byte { return suite.Refusal(0, 0, zk.ErrNotReadOnly) },
	} {
		for _, allowed := range []bool{true, false} {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, _ := r.Open(r.Config())
				conf := s.Detach()
				conf.ReadOnly = allowed
				conf.Addrs = []string{"a:1", "b:2"}
				d := r.Begin(conf)
				l := r.Accept()
				l.Send(answer(l.Connect()))
				l = r.Accept()
				assert.Equal(t, l.Greet().SessionID, suite.RigID)
				s = d.Session()
				assert.Equal(t, s.ID(), suite.RigID)
				assert.Assert(t, !s.ReadOnly())
			})
		}
	}
}

// TestI26_OtherProcess: a State that went through JSON moves the session, with
// its watches and undelivered events, to channels of the other process.
func TestI26_OtherProcess(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Chroot = "/app"
		s, l := r.Open(conf)
		full, room := make(chan zk.Event), make(chan zk.Event, 4)
		suite.Arm(t, s, l, zk.DataWatch, "/q1", full)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", full)
		suite.Arm(t, s, l, zk.ChildWatch, "/c", room)
		suite.Arm(t, s, l, zk.ExistsWatch, "/e", room)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/r", room)
		suite.Arm(t, s, l, zk.DataWatch, "/dropped", room)
		advance(t, s, l, 70)
		l.Send(suite.Happened(zk.Changed, "/app/q1", 68), suite.Happened(zk.Created, "/app/p", 69), suite.Happened(zk.Deleted, "/app/r/x", 70))
		synctest.Wait()
		b, err := json.Marshal(s.Detach().State)
		assert.NilError(t, err)

		var st zk.State
		assert.NilError(t, json.Unmarshal(b, &st))
		assert.Equal(t, st.ID, suite.RigID)
		assert.DeepEqual(t, st.Password, suite.RigPassword)
		assert.Equal(t, st.Zxid, int64(70))
		assert.Equal(t, st.Watches.Undelivered(), 3)
		conf.State = st
		before := r.Connections()
		assert.Assert(t, errors.Is(r.Begin(conf).Wait(), zk.ErrUnbound))
		assert.Equal(t, r.Connections(), before)

		newFull, newRoom := make(chan zk.Event), make(chan zk.Event, 4)
		channel := make(map[int]string)
		assert.NilError(t, st.Watches.Rebind(func(w zk.Watch) chan<- zk.Event {
			if w.Path == "/dropped" {
				return nil
			}
			group, ch := "full", newFull
			if w.Path != "/q1" && w.Path != "/p" {
				group, ch = "room", newRoom
			}
			if old, ok := channel[w.Channel]; ok {
				assert.Equal(t, old, group)
			}
			channel[w.Channel] = group
			return ch
		}))
		assert.Equal(t, len(channel), 2)
		d := r.Begin(conf)
		l = r.Accept()
		q := l.Greet()
		assert.Equal(t, q.SessionID, suite.RigID)
		assert.Equal(t, q.LastZxidSeen, int64(70))
		x := l.Want(wire.OpSetWatches2, "")
		w := x.Watches(t)
		assert.Equal(t, w.RelativeZxid, int64(70))
		assert.Equal(t, fmt.Sprint(w.Data, w.Exist, w.Child, w.Persistent, w.Recursive), "[] [/app/e] [/app/c] [/app/p] [/app/r]")
		assert.Equal(t, len(newRoom), 0)
		for _, want := range []string{"changed /q1", "created /p"} {
			assert.Equal(t, suite.Told(<-newFull), want)
		}
		l.Send(suite.Answer(x.Xid, 70, nil))
		d.Session()
		synctest.Wait()
		ev := <-newRoom
		assert.Equal(t, suite.Told(ev), "deleted /r/x")
		assert.Equal(t, ev.Zxid, int64(70))
		l.Send(suite.Happened(zk.Child, "/app/c", -1))
		assert.Equal(t, suite.Told(<-newRoom), "child /c")
		assert.Equal(t, len(room), 0)
	})
}

// A State without watches has none, and one whose zxid is zero gives up both the
// order of history and the floor.
func TestI26_PartsOfAState(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
		advance(t, s, l, 70)
		conf := s.Detach()

		bare := r.Config()
		bare.State = zk.State{ID: conf.ID, Password: conf.Password, Zxid: conf.Zxid}
		d := r.Begin(bare)
		l = r.Accept()
		assert.Equal(t, l.Greet().LastZxidSeen, int64(70))
		d.Session().Detach()
		l.HungUp()

		conf.Zxid = 0
		_, _, q, w := r.Move(conf, 80)
		assert.Equal(t, q.LastZxidSeen, int64(0))
		assert.Equal(t, w.RelativeZxid, int64(0))
	})
}

// TestI35_Chroot: the prefix is on every path that leaves and on none that comes
// back, but those that are not below it.
func TestI35_Chroot(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Chroot = "/app"
		s, l := r.Open(conf)
		ch := make(chan zk.Event, 16)

		// Single calls: the path is what the request begins with.
		for name, c := range suite.Calls {
			var watch chan zk.Event
			if name == "RemoveWatch" {
				watch = make(chan zk.Event)
				suite.Arm(t, s, l, zk.PersistentWatch, "/a", watch)
			}
			u := suite.Start(t, func() error { return c.Do(suite.BG, s, "/a", watch) })
			q := l.Next()
			switch {
			case q.Path == "" && q.Op != wire.OpMulti && q.Op != wire.OpMultiRead: // none
			case q.Op == wire.OpMulti || q.Op == wire.OpMultiRead:
				assert.Assert(t, strings.Contains(string(q.Body), "/app/a"), "%s: %q", name, q.Body)
			case name == "GetConfig":
				assert.Equal(t, q.Path, "/zookeeper/config")
			case name == "Ephemerals":
				assert.Equal(t, q.Path, "/app")
			default:
				assert.Equal(t, q.Path, "/app/a", "%s", name)
			}
			if name == "RemoveWatch" { // whose watch would stay if it were refused
				l.Send(suite.Answer(q.Xid, 1, nil))
				u.OK()
				continue
			}
			if q.Op == wire.OpAuth {
				l.Send(suite.Refusal(wire.XidAuth, 0, 0))
				u.OK()
				continue
			}
			l.Send(suite.Refusal(q.Xid, 1, zk.ErrNoNode))
			err := u.Wait()
			if name != "Exists" {
				var op *zk.OpError
				assert.Assert(t, errors.As(err, &op), "%s: %v", name, err)
				assert.Assert(t, !strings.Contains(err.Error(), "/app"), "%s: %v", name, err)
			}
		}
		// The root of the view, and a prefix that is none.
		u := suite.Get(t, s, suite.BG, "/", nil)
		l.Send(suite.Fitting(l.Want(wire.OpGetData, "/app"), 1))
		u.OK()

		// What comes back.
		var made string
		u = suite.Start(t, func() (err error) {
			made, err = s.Create(suite.BG, "/a/x-", nil, zk.PersistentSequential, zk.ACLOpen)
			return err
		})
		l.Send(suite.Answer(l.Want(wire.OpCreate, "/app/a/x-").Xid, 1, wire.PathResponse{Path: "/app/a/x-0000000007"}))
		u.OK()
		assert.Equal(t, made, "/a/x-0000000007")
		u = suite.Start(t, func() (err error) { made, err = s.Create(suite.BG, "/a", nil, zk.Persistent, zk.ACLOpen); return err })
		l.Send(suite.Answer(l.Next().Xid, 1, wire.PathResponse{Path: "/apple"})) // not below the chroot: left as it is
		u.OK()
		assert.Equal(t, made, "/apple")
		var res []zk.Result
		u = suite.Start(t, func() (err error) {
			res, err = s.Multi(suite.BG, zk.CreateOp{Path: "/m", ACL: zk.ACLOpen}, zk.CheckOp{Path: "/"})
			return err
		})
		q := l.Next()
		assert.Assert(t, strings.Contains(string(q.Body), "/app/m"))
		l.Send(suite.Answer(q.Xid, 1, wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpCreate2, Path: "/app/m"}, {Op: wire.OpCheck}}}))
		u.OK()
		assert.Equal(t, res[0].Path, "/m")
		u = suite.Start(t, func() (err error) {
			res, err = s.Batch(suite.BG, zk.CreateOp{Path: "/b", ACL: zk.ACLOpen}, zk.GetOp{Path: "/b"})
			return err
		})
		q = l.Want(wire.OpCreate, "/app/b")
		l.Send(suite.Answer(q.Xid, 1, wire.PathResponse{Path: "/app/b"}), suite.Refusal(l.Want(wire.OpGetData, "/app/b").Xid, 1, zk.ErrNoAuth))
		u.Refused(zk.ErrNoAuth)
		assert.Equal(t, res[0].Path, "/b")
		assert.Equal(t, u.Err.Error(), "zk: get /b: not permitted")
		var eph []string
		u = suite.Start(t, func() (err error) { eph, err = s.Ephemerals(suite.BG, "/x"); return err })
		q = l.Want(wire.OpGetEphemerals, "/app/x")
		l.Send(suite.Answer(q.Xid, 1, wire.ChildrenResponse{Children: []string{"/app/x", "/app/x/y", "/app/xy"}}))
		u.OK()
		assert.DeepEqual(t, eph, []string{"/x", "/x/y", "/xy"})
		u = suite.Start(t, func() (err error) { eph, err = s.Ephemerals(suite.BG, "/"); return err })
		q = l.Want(wire.OpGetEphemerals, "/app")
		l.Send(suite.Answer(q.Xid, 1, wire.ChildrenResponse{Children: []string{"/app", "/app/y", "/apple"}}))
		u.OK()
		assert.DeepEqual(t, eph, []string{"/", "/y"})

		// Events, at the chroot and below it; SetWatches has the server's paths.
		suite.Arm(t, s, l, zk.DataWatch, "/", ch)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/", ch)
		suite.Arm(t, s, l, zk.ChildWatch, "/le", ch)
		l.Send(suite.Happened(zk.Changed, "/apple", -1), suite.Happened(zk.Changed, "/app", -1), suite.Happened(zk.Created, "/app/x/y", -1), suite.Happened(zk.Created, "/", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /, created /x/y")
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "child /le, recursive /")

		old := s.Detach()
		wrong := old
		wrong.Chroot = "/other"
		before := r.Connections()
		err := r.Begin(wrong).Wait()
		assert.Assert(t, errors.Is(err, zk.ErrBadPath), "%v", err)
		assert.Equal(t, r.Connections(), before)
		d := r.Begin(old)
		l = r.Accept()
		l.Greet()
		l.Want(wire.OpAuth, "") // of AddAuth
		l.Send(suite.Answer(wire.XidAuth, 0, nil))
		var child, recursive []string
		for len(child)+len(recursive) < 2 {
			a := l.Next()
			w := a.Watches(t)
			child, recursive = append(child, w.Child...), append(recursive, w.Recursive...)
			l.Send(suite.Answer(a.Xid, 1, nil))
		}
		assert.DeepEqual(t, child, []string{"/app/le"})
		assert.DeepEqual(t, recursive, []string{"/app"})
		d.Session()
	})
}

// The chroot "/" is none; the configuration of the ensemble is outside of all.
func TestI35_ChrootCorners(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Chroot = "/"
		s, l := r.Open(conf)
		u := suite.Get(t, s, suite.BG, "/a", nil)
		l.Send(suite.Fitting(l.Want(wire.OpGetData, "/a"), 1))
		u.OK()

		for _, chroot := range []string{"/zoo", "/zookeeper", "/zookeeper/config"} {
			conf.Chroot = chroot
			s, l := r.Open(conf)
			config, node := make(chan zk.Event, 2), make(chan zk.Event, 2)
			u := suite.Start(t, func() error { _, _, err := s.GetConfig(suite.BG, config); return err })
			l.Send(suite.Fitting(l.Want(wire.OpGetData, "/zookeeper/config"), 1))
			u.OK()
			suite.Arm(t, s, l, zk.DataWatch, "/keeper", node)
			l.Send(suite.Happened(zk.Changed, "/zookeeper/config", -1), suite.Happened(zk.Changed, chroot+"/keeper", -1), suite.Happened(zk.Changed, "/zookeeper", -1))
			synctest.Wait()
			assert.Equal(t, suite.Told(suite.Taken(config)...), "changed /zookeeper/config")
			assert.Equal(t, suite.Told(suite.Taken(node)...), "changed /keeper")
		}
	})
}
