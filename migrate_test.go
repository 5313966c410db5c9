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
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// The invariants I12 to I26 of docs/guarantees.md: what moves from connection to
// connection, one case at a time. The simulator has the rest.

// advance makes a call whose reply carries a zxid.
func advance(t testing.TB, s *zk.Session, l *line, zxid int64) {
	t.Helper()
	u := start(t, func() error { _, _, err := s.Exists(bg, "/advance", nil); return err })
	l.send(fitting(l.next(), zxid))
	u.ok()
}

// move redials, on a server that has nothing to tell.
func (r *rig) move(conf zk.Config, zxid int64) (*zk.Session, *line, wire.ConnectRequest, wire.SetWatches2Request) {
	r.t.Helper()
	d := r.begin(conf)
	l := r.accept()
	q := l.greet()
	w := l.restored(zxid)
	return d.session(), l, q, w
}

// TestI08_AcrossMigrations: one event for one registration, after any number of
// connections, and through SetWatches as well as live.
func TestI08_AcrossMigrations(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		live, late := make(chan zk.Event, 4), make(chan zk.Event, 4)
		arm(t, s, l, zk.DataWatch, "/live", live)
		arm(t, s, l, zk.ChildWatch, "/late", late)
		for range 5 {
			var w wire.SetWatches2Request
			s, l, _, w = r.move(s.Detach(), 1)
			assert.DeepEqual(t, w.Data, []string{"/live"})
			assert.DeepEqual(t, w.Child, []string{"/late"})
		}
		l.send(happened(zk.Changed, "/live", -1), happened(zk.Changed, "/live", -1))
		synctest.Wait()
		d := r.begin(s.Detach())
		l = r.accept()
		l.greet()
		q := l.next()
		w := q.watches(t)
		assert.Equal(t, fmt.Sprint(w.Data, w.Child), "[] [/late]")
		l.send(happened(zk.Deleted, "/late", -1), happened(zk.Deleted, "/late", -1), answer(q.Xid, 2, nil))
		s = d.session()
		assert.Equal(t, told(taken(live)...), "changed /live")
		assert.Equal(t, told(taken(late)...), "deleted /late")
		_, l = r.open(s.Detach()) // nothing is left to restore
		l.quiet()
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
			bubble(t, func(t *testing.T, r *rig) {
				s, l := r.open(r.config())
				a, b, o := make(chan zk.Event, 9), make(chan zk.Event, 9), make(chan zk.Event, 9)
				arm(t, s, l, zk.PersistentWatch, "/p", a)
				arm(t, s, l, zk.RecursiveWatch, "/p", a) // the same channel and path: one Gap
				arm(t, s, l, zk.PersistentWatch, "/p", b)
				arm(t, s, l, zk.DataWatch, "/o", o)
				advance(t, s, l, 10)
				for i, x := range c.steps {
					d := r.begin(s.Detach())
					l = r.accept()
					l.greet()
					q := l.want(wire.OpSetWatches2, "")
					var frames [][]byte
					if x.other {
						frames = append(frames, happened(zk.Changed, "/o", -1))
					}
					for _, typ := range x.events {
						frames = append(frames, happened(typ, "/p", -1))
					}
					l.send(append(frames, answer(q.Xid, x.zxid, nil))...)
					s = d.session()
					assert.Equal(t, told(taken(a)...), x.want, "step %d", i)
					assert.Equal(t, told(taken(b)...), x.want, "step %d", i)
					// From here on the stream is whole.
					l.send(happened(zk.Deleted, "/p", -1))
					synctest.Wait()
					assert.Equal(t, told(taken(a)...), "deleted /p")
					assert.Equal(t, told(taken(b)...), "deleted /p")
				}
				for _, ev := range taken(o) {
					assert.Equal(t, told(ev), "changed /o")
				}
			})
		})
	}
}

// A Gap that is not delivered yet is not doubled; one that a failed Dial owes is
// paid by the next; after Renew there is always one.
func TestI10_GapIsOwed(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		full, second := make(chan zk.Event), make(chan zk.Event)
		arm(t, s, l, zk.PersistentWatch, "/p", full)
		arm(t, s, l, zk.PersistentWatch, "/q", full)
		arm(t, s, l, zk.RecursiveWatch, "/q", second)
		advance(t, s, l, 10)
		for zxid := range int64(3) {
			s, _, _, _ = r.move(s.Detach(), 11+zxid)
		}
		assert.Equal(t, s.Stats().Queued, 3)
		for _, want := range []string{"gap /p", "gap /q"} {
			assert.Equal(t, told(<-full), want)
		}
		assert.Equal(t, told(<-second), "gap /q")
		synctest.Wait()
		assert.Equal(t, s.Stats().Queued, 0)

		// The connection ends before its SetWatches is answered.
		conf := s.Detach()
		d := r.begin(conf)
		l = r.accept()
		l.greet()
		l.want(wire.OpSetWatches2, "")
		l.Close()
		assert.Assert(t, errors.Is(d.wait(), zk.ErrNoServer))
		assert.Equal(t, conf.Watches.Undelivered(), 0)
		s, _, _, _ = r.move(conf, 14)
		assert.Equal(t, s.Stats().Queued, 3)
		for _, ch := range []chan zk.Event{full, full, second} {
			<-ch
		}

		s, _, q, w := r.move(s.Detach().Renew(), 14)
		assert.Equal(t, q.SessionID, int64(0))
		assert.Equal(t, w.RelativeZxid, int64(14))
		assert.Equal(t, s.Stats().Queued, 3, "no Gap after Renew")
	})
}

// TestI12_ZxidSource: the zxid comes from replies to requests and from nothing
// else: not from events, which of one transaction may be several, and not from
// pings, auth and handshakes.
func TestI12_ZxidSource(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		first, second := make(chan zk.Event, 2), make(chan zk.Event, 2)
		arm(t, s, l, zk.DataWatch, "/first", first)
		arm(t, s, l, zk.DataWatch, "/second", second)
		advance(t, s, l, 40)
		auth := start(t, func() error { return s.AddAuth(bg, zk.Digest("u", "p")) })
		l.want(wire.OpAuth, "")
		l.send(answer(wire.XidAuth, 99, nil))
		auth.ok()
		time.Sleep(rigTimeout / 3)
		body, err := l.frame()
		assert.NilError(t, err)
		assert.Equal(t, parseAsked(body).Op, wire.OpPing)
		// A multi at 50 touches both; the link ends between the two events.
		l.send(answer(wire.XidPing, 98, nil), happened(zk.Changed, "/first", 50))
		l.Close()
		<-s.Done()
		assert.Equal(t, s.Zxid(), int64(40))
		assert.Equal(t, (<-first).Zxid, int64(50))

		d := r.begin(s.Config())
		l = r.accept()
		assert.Equal(t, l.greet().LastZxidSeen, int64(40))
		l.want(wire.OpAuth, "")
		l.send(answer(wire.XidAuth, 97, nil))
		q := l.want(wire.OpSetWatches, "")
		w := q.watches(t)
		assert.Equal(t, w.RelativeZxid, int64(40), "an event's zxid is the floor: the second event is lost")
		assert.DeepEqual(t, w.Data, []string{"/second"})
		l.send(happened(zk.Changed, "/second", -1), answer(q.Xid, 50, nil))
		s = d.session()
		assert.Equal(t, told(taken(second)...), "changed /second")
		assert.Equal(t, s.Zxid(), int64(50))

		// Errors are answers, and it never goes back.
		u := get(t, s, bg, "/a", nil)
		l.send(refusal(l.next().Xid, 60, zk.ErrNoNode))
		u.refused(zk.ErrNoNode)
		assert.Equal(t, s.Zxid(), int64(60))
		advance(t, s, l, 59)
		assert.Equal(t, s.Zxid(), int64(60))
	})
}

// chunked is a Session with ten watches, which take three SetWatches frames
// while the limit is shrunk.
func chunked(t *testing.T, r *rig) (s *zk.Session, l *line, chans []chan zk.Event) {
	t.Helper()
	t.Cleanup(shrink(&limits.SetWatchesFrame, 70))
	s, l = r.open(r.config())
	for i := range 10 {
		ch := make(chan zk.Event, 2)
		chans = append(chans, ch)
		arm(t, s, l, zk.DataWatch, fmt.Sprintf("/watch-%d", i), ch)
	}
	advance(t, s, l, 5)
	return s, l, chans
}

// restoredInChunks reads the SetWatches frames of a Dial.
func restoredInChunks(l *line) (all []asked) {
	l.t.Helper()
	for n := 0; n < 10; {
		a := l.next()
		all = append(all, a)
		n += len(a.watches(l.t).Data)
	}
	return all
}

// TestI13_MigrationFloor: all SetWatches of a migration carry the zxid of the
// last connection that was wholly migrated. A Dial that dies between two chunks
// changes nothing in that, though it has seen newer replies.
func TestI13_MigrationFloor(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, _, chans := chunked(t, r)
		conf := s.Detach()
		for attempt := range 3 {
			d := r.begin(conf)
			l := r.accept()
			q := l.greet()
			seen := int64(5)
			if attempt > 0 {
				seen = 100 + int64(attempt) - 1
			}
			assert.Equal(t, q.LastZxidSeen, seen)
			all := restoredInChunks(l)
			assert.Assert(t, len(all) >= 3)
			for _, a := range all {
				assert.Equal(t, a.watches(t).RelativeZxid, int64(5), "attempt %d", attempt)
			}
			for i := range all[:len(all)-1] { // all but the last are answered
				l.send(answer(all[i].Xid, 100+int64(attempt), nil))
			}
			synctest.Wait()
			assert.Assert(t, !d.returned())
			l.Close()
			assert.Assert(t, errors.Is(d.wait(), zk.ErrNoServer))
		}

		// The change was in the last chunk's path, at zxid 50: it comes now.
		d := r.begin(conf)
		l := r.accept()
		l.greet()
		all := restoredInChunks(l)
		last := all[len(all)-1].watches(t).Data[0]
		for i, a := range all {
			assert.Equal(t, a.watches(t).RelativeZxid, int64(5))
			if i == len(all)-1 {
				l.send(happened(zk.Changed, last, -1))
			}
			l.send(answer(a.Xid, 110, nil))
		}
		s = d.session()
		fired := ""
		for _, ch := range chans {
			fired += told(taken(ch)...)
		}
		assert.Equal(t, fired, "changed "+last)

		// Wholly migrated: the floor is what the last reply said, and follows.
		conf = s.Detach()
		d = r.begin(conf)
		l = r.accept()
		l.greet()
		a := l.next()
		assert.Equal(t, a.watches(t).RelativeZxid, int64(110))
		l.Close()
		d.wait()
	})
}

// A SetWatches that is refused migrates nothing, and neither does one that is
// cut off behind events of its own.
func TestI13_FloorAfterTrouble(t *testing.T) {
	for _, name := range []string{"refused", "cut", "its last chunk refused"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				s, _, chans := chunked(t, r)
				conf := s.Detach()
				d := r.begin(conf)
				l := r.accept()
				l.greet()
				all := restoredInChunks(l)
				switch name {
				case "refused":
					l.send(refusal(all[0].Xid, 100, zk.ErrNoAuth), answer(all[1].Xid, 101, nil))
				case "its last chunk refused":
					for _, a := range all[:len(all)-1] {
						l.send(answer(a.Xid, 100, nil))
					}
					l.send(refusal(all[len(all)-1].Xid, 101, -999))
				case "cut":
					l.send(answer(all[0].Xid, 100, nil), happened(zk.Changed, "/watch-9", -1))
					l.Close()
				}
				if name == "refused" {
					for i, a := range all[2:] {
						l.send(answer(a.Xid, 102+int64(i), nil))
					}
				}
				err := d.wait()
				assert.Assert(t, errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrExpired), "%v", err)
				l.Close()
				left := 10
				if name == "cut" {
					assert.Equal(t, told(taken(chans[9])...), "changed /watch-9")
					left = 9
				}
				d = r.begin(conf)
				l = r.accept()
				l.greet()
				for n := 0; n < left; {
					a := l.next()
					w := a.watches(t)
					assert.Equal(t, w.RelativeZxid, int64(5))
					n += len(w.Data)
					l.send(answer(a.Xid, 200, nil))
				}
				d.session()
				l.quiet()
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
		add(answer(q(0), 10, body), state{"data /0", 10, ""})
		add(answer(q(1), 11, body), state{"data /0, data /1", 11, ""})
		add(happened(zk.Changed, "/0", 20), state{"data /1", 11, "changed /0"})
		add(refusal(q(2), 12, zk.ErrNoNode), state{"data /1", 12, "changed /0"})
		add(happened(zk.Deleted, "/1", 21), state{"", 12, "changed /0, deleted /1"})
		add(answer(q(3), 22, body), state{"data /3", 22, "changed /0, deleted /1"})
		add(happened(zk.Child, "/nobody", 23), state{"data /3", 22, "changed /0, deleted /1"})
		return stream, ends, states
	}
	whole, _, _ := build(func(int) int32 { return 0 })
	for n := 0; n <= len(whole); n++ {
		bubble(t, func(t *testing.T, r *rig) {
			s, l := r.open(r.config())
			advance(t, s, l, 1)
			ch := make(chan zk.Event, 8)
			var calls []*under
			var xids []int32
			for _, path := range paths {
				calls = append(calls, get(t, s, bg, path, ch))
				xids = append(xids, l.want(wire.OpGetData, path).Xid)
			}
			stream, ends, states := build(func(i int) int32 { return xids[i] })
			l.send(stream[:n])
			synctest.Wait()
			complete := 0
			for complete < len(ends) && ends[complete] <= n {
				complete++
			}
			want := states[complete]

			d := r.begin(s.Config())
			l2 := r.accept()
			q := l2.connect()
			l.trySend(stream[n:]) // too late
			assert.Equal(t, q.LastZxidSeen, want.seen, "after %d bytes", n)
			l2.send(welcome(q))
			if want.armed != "" {
				w := l2.restored(30)
				assert.Equal(t, w.RelativeZxid, want.seen)
				assert.Equal(t, "data "+strings.Join(w.Data, ", data "), want.armed)
			}
			d.session()
			assert.Equal(t, told(taken(ch)...), want.events, "after %d bytes", n)
			for _, u := range calls {
				if err := u.wait(); err != nil && !errors.Is(err, zk.ErrNoNode) {
					u.lost(zk.ErrMoved)
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
	bubble(t, func(t *testing.T, r *rig) {
		gate := &gatedConn{stuck: true}
		t.Cleanup(gate.open)
		r.lay = func(c net.Conn) net.Conn { gate.Conn = c; return gate }
		s, l := r.open(r.config())
		r.lay = nil
		ch := make(chan zk.Event, 1)
		arm(t, s, l, zk.DataWatch, "/w", ch)
		gate.shut()
		u := get(t, s, bg, "/a", nil)
		q := l.want(wire.OpGetData, "/a")
		l.send(fitting(q, 7), happened(zk.Changed, "/w", -1), happened(zk.Changed, "/w", -1))
		synctest.Wait()

		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		began := time.Now()
		err := r.beginContext(ctx, s.Config()).wait()
		assert.Assert(t, errors.Is(err, context.DeadlineExceeded) && errors.Is(err, zk.ErrNoServer), "%v", err)
		assert.Equal(t, time.Since(began), time.Second)
		d := r.begin(s.Config())
		synctest.Wait()
		assert.Equal(t, r.connections(), 1, "connected before the old Session was over")
		assert.Equal(t, len(ch), 0)
		select {
		case <-s.Done():
			t.Error("done, and a caller has not left its wait")
		default:
		}
		gate.open()
		assert.Equal(t, r.accept().greet().LastZxidSeen, int64(7))
		u.ok() // it was answered
		assert.Equal(t, len(ch), 1)
		d.session()
	})
}

// A flood of frames from the old server while the session moves, over real
// goroutines: what was armed and not fired is restored, and nothing else.
func TestI14_FenceUnderFlood(t *testing.T) {
	r := newRig(t)
	for round := range 60 {
		s, l := r.open(r.config())
		sent := make(chan struct{})
		l.serve(func(a asked) [][]byte { return [][]byte{fitting(a, 1)} })
		chans := make(map[string]chan zk.Event)
		var ops []zk.Op
		for i := range 50 {
			path := fmt.Sprintf("/%d", i)
			chans[path] = make(chan zk.Event, 2)
			ops = append(ops, zk.GetOp{Path: path, Watch: chans[path]})
		}
		_, err := s.Batch(bg, ops...)
		assert.NilError(t, err)
		go func() {
			defer close(sent)
			for i := range 50 {
				if l.trySend(happened(zk.Changed, fmt.Sprintf("/%d", i), int64(i))) != nil {
					return
				}
			}
		}()
		for s.Stats().Events < int64(round%30) {
			runtime.Gosched()
		}
		d := r.begin(s.Config())
		l2 := r.accept()
		l2.greet()
		var restored []string
		if s.Config().Watches.Len() > 0 {
			restored = l2.restored(2).Data
		}
		d.session()
		<-sent
		for path, ch := range chans {
			fired := len(ch)
			if again := slices.Contains(restored, path); fired > 1 || again == (fired == 1) {
				t.Fatalf("round %d: %s has fired %d times, and was restored: %t", round, path, fired, again)
			}
		}
		d.s.Detach()
	}
}

// TestI15_OldBeforeNew: what the old connection had queued comes before all that
// the new one brings, across Dials that fail.
func TestI15_OldBeforeNew(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		one, other := make(chan zk.Event), make(chan zk.Event, 20)
		for i := range 10 {
			ch := one
			if i%2 == 1 {
				ch = other
			}
			arm(t, s, l, zk.DataWatch, fmt.Sprintf("/%d", i), ch)
		}
		for i := range 5 {
			l.send(happened(zk.Changed, fmt.Sprintf("/%d", i), -1))
		}
		synctest.Wait()
		conf := s.Detach()
		for _, how := range []string{"hangs up", "expired", "in SetWatches"} {
			d := r.begin(conf)
			l = r.accept()
			q := l.connect()
			switch how {
			case "expired":
				l.send(framed(wire.ConnectResponse{Password: rigPassword}))
				assert.Assert(t, errors.Is(d.wait(), zk.ErrExpired))
				continue
			case "in SetWatches":
				l.send(welcome(q))
				l.next()
			}
			l.Close()
			assert.Assert(t, errors.Is(d.wait(), zk.ErrNoServer))
		}
		assert.Equal(t, conf.Watches.Undelivered(), 5)
		assert.Equal(t, len(other), 0)

		d := r.begin(conf)
		l = r.accept()
		l.greet()
		q := l.next()
		assert.DeepEqual(t, q.watches(t).Data, []string{"/5", "/6", "/7", "/8", "/9"})
		for i := 5; i < 10; i++ {
			l.send(happened(zk.Changed, fmt.Sprintf("/%d", i), -1))
		}
		l.send(answer(q.Xid, 9, nil))
		d.session()
		for i := range 10 { // one sequence over both channels: the even ones hold the odd ones back
			if i%2 == 0 {
				synctest.Wait()
				assert.Equal(t, len(other), 0)
				assert.Equal(t, told(<-one), fmt.Sprintf("changed /%d", i))
			} else {
				assert.Equal(t, told(<-other), fmt.Sprintf("changed /%d", i))
			}
		}
	})
}

// TestI16_Order: ConnectRequest alone, until it is answered; then auth, then
// SetWatches, in one flight; Dial returns when the last of them is answered; then
// the application's requests. Calls on the old Session reach no server.
func TestI16_Order(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, old, _ := chunked(t, r)
		conf := s.Config()
		conf.Auth = []zk.Auth{zk.Digest("a", "1"), zk.Digest("b", "2")}
		d := r.begin(conf)
		var late []*under
		for i := range 100 {
			late = append(late, get(t, s, bg, fmt.Sprintf("/%d", i), nil))
		}
		l := r.accept()
		q := l.connect()
		l.quiet()
		for _, u := range late {
			if err := u.wait(); !errors.Is(err, zk.ErrMoved) {
				t.Fatal(err)
			}
		}
		l.send(welcome(q))
		for _, user := range []string{"a:1", "b:2"} {
			a := l.want(wire.OpAuth, "")
			assert.Equal(t, a.Xid, wire.XidAuth)
			assert.Assert(t, strings.HasSuffix(string(a.body), user))
		}
		all := restoredInChunks(l)
		l.quiet()
		assert.Assert(t, !d.returned())
		l.send(answer(wire.XidAuth, 0, nil))
		for _, a := range all {
			synctest.Wait()
			assert.Assert(t, !d.returned())
			l.send(answer(a.Xid, 6, nil))
		}
		synctest.Wait()
		assert.Assert(t, !d.returned(), "an auth packet is unanswered")
		l.send(answer(wire.XidAuth, 0, nil))
		s = d.session()
		advance(t, s, l, 7)
		_, err := io.Copy(io.Discard, old)
		assert.NilError(t, err)
	})
}

// TestI17_AuthOvertakes: the reply to an auth packet comes from another thread of
// the server, at any place among the others.
func TestI17_AuthOvertakes(t *testing.T) {
	for place := range 7 {
		bubble(t, func(t *testing.T, r *rig) {
			s, l := r.open(r.config())
			var sets []*under
			var qs []asked
			for i := range 5 {
				sets = append(sets, start(t, func() error { _, err := s.Set(bg, fmt.Sprintf("/%d", i), nil, -1); return err }))
				qs = append(qs, l.next())
			}
			auth := start(t, func() error { return s.AddAuth(bg, zk.Digest("u", "p")) })
			l.want(wire.OpAuth, "")
			for i, q := range qs {
				if i == place {
					l.send(answer(wire.XidAuth, 0, nil))
					auth.ok()
				}
				assert.Assert(t, !sets[i].returned())
				l.send(fitting(q, int64(i)))
				sets[i].ok()
			}
			if place >= 5 {
				l.send(answer(wire.XidAuth, 0, nil))
			}
			auth.ok()
			assert.Equal(t, len(s.Config().Auth), 1)
			// It is part of the identity now.
			r.begin(s.Detach())
			l = r.accept()
			l.greet()
			l.want(wire.OpAuth, "")
		})
	}
}

// Credentials that are refused end the connection and not the session.
func TestI17_AuthRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		ch := make(chan zk.Event, 1)
		arm(t, s, l, zk.DataWatch, "/w", ch)
		u := get(t, s, bg, "/a", nil)
		l.next()
		auth := start(t, func() error { return s.AddAuth(bg, zk.Auth{Scheme: "nonsense"}) })
		l.want(wire.OpAuth, "")
		l.send(refusal(wire.XidAuth, 0, zk.ErrAuthFailed))
		l.Close()
		auth.refused(zk.ErrAuthFailed)
		assert.Assert(t, errors.Is(auth.err, zk.ErrAuth) && errors.Is(auth.err, zk.ErrConnection), "%v", auth.err)
		u.lost(zk.ErrConnection)
		<-s.Done()
		conf := s.Config()
		assert.Equal(t, len(conf.Auth), 0)
		assert.Equal(t, conf.ID, rigID)

		bad := conf
		bad.Addrs = []string{"a:1", "b:2", "c:3"}
		bad.Auth = []zk.Auth{zk.Digest("u", "p"), {Scheme: "nonsense"}}
		before := r.connections()
		d := r.begin(bad)
		l = r.accept()
		l.greet()
		l.want(wire.OpAuth, "")
		l.want(wire.OpAuth, "")
		l.send(answer(wire.XidAuth, 0, nil), refusal(wire.XidAuth, 0, zk.ErrAuthFailed))
		l.Close()
		err := d.wait()
		assert.Assert(t, errors.Is(err, zk.ErrAuth) && !errors.Is(err, zk.ErrExpired), "%v", err)
		assert.Equal(t, r.connections(), before+1, "another server was asked")

		s, _, q, w := r.move(conf, 3)
		assert.Equal(t, q.SessionID, rigID)
		assert.DeepEqual(t, w.Data, []string{"/w"})
		assert.Equal(t, len(s.Config().Auth), 0)
	})
}

// TestI18_Chunks: every frame is within 128 KiB, its length counted; all paths
// are in them, once; the newer request is used only where it is needed; and a
// path that is longer has a frame of its own.
func TestI18_Chunks(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		bubble(t, func(t *testing.T, r *rig) {
			conf := r.config()
			s, l := r.open(conf)
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
			l.serve(func(a asked) [][]byte { return [][]byte{fitting(a, 1)} })
			_, err := s.Batch(bg, ops...)
			assert.NilError(t, err)
			if persistent {
				assert.NilError(t, s.AddWatch(bg, "/p", zk.WatchPersistent, ch))
				want["persistent /p"]++
			}
			d := r.begin(s.Detach())
			l = r.accept()
			l.greet()
			got := make(map[string]int)
			frames, newer := 0, 0
			for len(got) < len(want) {
				body, err := l.frame()
				assert.NilError(t, err)
				a := parseAsked(body)
				w := a.watches(t)
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
				l.send(answer(a.Xid, 1, nil))
			}
			d.session()
			l.quiet()
			assert.DeepEqual(t, got, want)
			assert.Assert(t, frames < 12, "%d frames", frames)
			assert.Equal(t, newer > 0, persistent)
		})
	}
}

// Frames are filled, and never beyond the limit, whatever it is.
func TestI18_FramesAreFull(t *testing.T) {
	for limit := 60; limit < 120; limit++ {
		bubble(t, func(t *testing.T, r *rig) {
			t.Cleanup(shrink(&limits.SetWatchesFrame, limit))
			s, l := r.open(r.config())
			ch := make(chan zk.Event, 1)
			var ops []zk.Op
			for i := range 50 {
				ops = append(ops, zk.GetOp{Path: fmt.Sprintf("/%02d", i), Watch: ch})
			}
			u := start(t, func() error { _, err := s.Batch(bg, ops...); return err })
			for range ops {
				l.send(fitting(l.next(), 1))
			}
			u.ok()
			d := r.begin(s.Detach())
			l = r.accept()
			l.greet()
			for left := 50; left > 0; {
				body, err := l.frame()
				assert.NilError(t, err)
				a := parseAsked(body)
				n := len(a.watches(t).Data)
				fit := (limit - 32) / 7 // head, zxid and three counts; a path of three bytes
				assert.Equal(t, n, min(left, fit), "of %d bytes", limit)
				left -= n
				l.send(answer(a.Xid, 1, nil))
			}
			d.session()
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
				admin, err := zk.Dial(bg, conf)
				assert.NilError(t, err)
				defer admin.Close()
				if c.there {
					mk(t, admin, "/n")
				}
				s, err := zk.Dial(bg, conf)
				assert.NilError(t, err)
				ch := make(chan zk.Event, 4)
				assert.NilError(t, watchCalls[c.kind](s, "/n", ch))
				srv.Cut(s.ID())
				<-s.Done()
				c.do(t, admin)
				s, err = zk.Dial(bg, s.Config())
				assert.NilError(t, err)
				defer s.Close()
				assert.Equal(t, told(taken(ch)...), c.want)
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
				assert.NilError(t, s.Sync(bg, "/"))
				assert.Equal(t, len(ch), 1)
			})
		})
	}
}

func set(t testing.TB, s *zk.Session) {
	t.Helper()
	_, err := s.Set(bg, "/n", nil, -1)
	assert.NilError(t, err)
}

func mk(t testing.TB, s *zk.Session, path string) {
	t.Helper()
	_, err := s.Create(bg, path, nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
}

func del(t testing.TB, s *zk.Session, path string) {
	t.Helper()
	assert.NilError(t, s.Delete(bg, path, -1))
}

// TestI20_FailedDialIsRetryable: a Dial that fails at any stage leaves the
// identity, the credentials, the watches but those that have fired, the queue and
// the floor, and the old Session stays dead.
func TestI20_FailedDialIsRetryable(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(l *line)
		gone bool // /watch-0 has fired
	}{
		{"before the handshake", func(l *line) { l.Close() }, false},
		{"within the handshake", func(l *line) { l.send(welcome(l.connect())[:20]); l.Close() }, false},
		{"behind the handshake", func(l *line) { l.greet(); l.Close() }, false},
		{"in auth", func(l *line) { l.greet(); l.want(wire.OpAuth, ""); l.Close() }, false},
		{"at the first chunk", func(l *line) { l.greet(); l.want(wire.OpAuth, ""); l.next(); l.Close() }, false},
		{"behind an event", func(l *line) {
			l.greet()
			l.want(wire.OpAuth, "")
			restoredInChunks(l)
			l.send(answer(wire.XidAuth, 0, nil), happened(zk.Changed, "/watch-0", -1))
			l.Close()
		}, true},
		{"behind the first reply", func(l *line) {
			l.greet()
			l.want(wire.OpAuth, "")
			all := restoredInChunks(l)
			l.send(answer(wire.XidAuth, 0, nil), happened(zk.Changed, "/watch-0", -1), answer(all[0].Xid, 70, nil))
			l.Close()
		}, true},
		{"by expiry", func(l *line) {
			l.connect()
			l.send(framed(wire.ConnectResponse{Password: rigPassword}))
			l.Close()
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				s, _, chans := chunked(t, r)
				conf := s.Config()
				conf.Auth = []zk.Auth{zk.Digest("u", "p")}
				for range 3 {
					d := r.begin(conf)
					l := r.accept()
					c.fail(l)
					err := d.wait()
					assert.Assert(t, err != nil)
					get(t, s, bg, "/a", nil).unsent(zk.ErrMoved)
					if c.gone {
						break // it fires once
					}
				}
				if c.gone {
					assert.Equal(t, told(taken(chans[0])...), "changed /watch-0")
				}
				d := r.begin(conf)
				l := r.accept()
				q := l.greet()
				assert.Equal(t, q.SessionID, rigID)
				assert.DeepEqual(t, q.Password, rigPassword)
				l.want(wire.OpAuth, "")
				l.send(answer(wire.XidAuth, 0, nil))
				var paths []string
				for len(paths) < conf.Watches.Len() {
					a := l.next()
					w := a.watches(t)
					assert.Equal(t, w.RelativeZxid, int64(5))
					paths = append(paths, w.Data...)
					l.send(answer(a.Xid, 80, nil))
				}
				d.session()
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
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.Auth = []zk.Auth{zk.Digest("u", "p")}
		ctx, cancel := context.WithCancel(bg)
		d := r.beginContext(ctx, conf)
		l := r.accept()
		l.greet()
		l.want(wire.OpAuth, "")
		cancel()
		assert.Assert(t, errors.Is(d.wait(), context.Canceled))
		l.want(wire.OpCloseSession, "")
		l.hungUp()
	})
}

// autoServe answers every connection of a rig, for tests with many Dials.
func autoServe(r *rig) {
	go func() {
		for {
			select {
			case l := <-r.arrived:
				go func() {
					body, err := l.frame()
					if err != nil {
						return
					}
					d := wire.NewDecoder(body)
					var q wire.ConnectRequest
					q.Decode(&d)
					if l.trySend(welcome(q)) == nil {
						l.serve(func(a asked) [][]byte { return [][]byte{fitting(a, 1)} })
					}
				}()
			case <-r.stop:
				return
			}
		}
	}()
}

// TestI21_ConcurrentDials: however many dial one identity at a time, one Session
// lives in the end and has the watches. Redial makes one, and all get it.
func TestI21_ConcurrentDials(t *testing.T) {
	r := newRig(t)
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
		s, err := zk.Dial(bg, r.config())
		assert.NilError(t, err)
		current.Store(s)
		ch := make(chan zk.Event, 4)
		_, _, err = s.Get(bg, "/w", ch)
		assert.NilError(t, err)

		before := r.connections()
		var mu sync.Mutex
		var made []*zk.Session
		var all []*under
		for range 8 {
			all = append(all, start(t, func() error {
				next, err := s.Redial(bg)
				mu.Lock()
				made = append(made, next)
				mu.Unlock()
				return err
			}))
		}
		for _, u := range all {
			u.ok()
		}
		for _, x := range made {
			assert.Equal(t, x, made[0])
		}
		assert.Equal(t, r.connections(), before+1)
		assert.Assert(t, errors.Is(s.Err(), zk.ErrMoved))

		conf := made[0].Config()
		made, all = nil, nil
		for range 8 {
			all = append(all, start(t, func() error {
				next, err := zk.Dial(bg, conf)
				mu.Lock()
				made = append(made, next)
				mu.Unlock()
				return err
			}))
		}
		for _, u := range all {
			u.ok()
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
		assert.Equal(t, r.connections(), before+9)

		// The watch is with the one that lives, and the others' servers say nothing that counts.
		r.mu.Lock()
		lines := r.lines[before:]
		r.mu.Unlock()
		for _, l := range lines {
			l.trySend(happened(zk.Changed, "/w", -1))
		}
		if ev := <-ch; ev.Path != "/w" {
			t.Fatal(ev)
		}
		_, _, err = live[0].Get(bg, "/a", nil)
		assert.NilError(t, err)
		assert.Equal(t, len(ch), 0, "round %d", round)
		live[0].Detach()
	}
}

// A config whose identity was renewed away dials nothing.
func TestI21_RenewedAway(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		ch := make(chan zk.Event, 1)
		arm(t, s, l, zk.DataWatch, "/w", ch)
		old := s.Config()
		d := r.begin(old.Renew())
		l = r.accept()
		q := l.connect()
		q.SessionID = 0x777
		l.send(welcome(q))
		l.restored(1)
		s2 := d.session()
		assert.Equal(t, s2.ID(), int64(0x777))
		before := r.connections()
		err := r.begin(old).wait()
		assert.Assert(t, errors.Is(err, zk.ErrMoved), "%v", err)
		_, err = s.Redial(bg)
		assert.Assert(t, errors.Is(err, zk.ErrExpired), "%v", err)
		assert.Equal(t, r.connections(), before)
		assert.NilError(t, s2.Err())
		assert.Equal(t, s2.Stats().Armed, 1)
	})
}

// TestI10_GapAfterRenew: the Gap of a new session comes when the server has the
// watch again. Before, it could be read ahead of a change that nobody tells of.
func TestI10_GapAfterRenew(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		ch := make(chan zk.Event, 4)
		arm(t, s, l, zk.PersistentWatch, "/w", ch)
		floor := s.Zxid()
		d := r.begin(s.Detach().Renew())
		l = r.accept()
		q := l.connect()
		q.SessionID = 0x777
		l.send(welcome(q))
		x := l.next()
		assert.DeepEqual(t, x.watches(t).Persistent, []string{"/w"})
		synctest.Wait()
		assert.Equal(t, len(ch), 0)
		l.send(answer(x.Xid, floor, nil)) // also where nothing has changed
		d.session()
		assert.Equal(t, told(taken(ch)...), "gap /w")
	})
}

// TestI10_GapBetweenFrames: a Gap that was read before the server had a
// persistent watch again stands for nothing that came then. The frame that arms
// it brings another, if something was committed since the frame before.
func TestI10_GapBetweenFrames(t *testing.T) {
	defer shrink(&limits.SetWatchesFrame, 64)()
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
			bubble(t, func(t *testing.T, r *rig) {
				s, l := r.open(r.config())
				ch, one := make(chan zk.Event, 4), make(chan zk.Event, 1)
				long := "/one-shot-of-a-long-path-that-fills-a-frame"
				arm(t, s, l, zk.DataWatch, long, one)
				arm(t, s, l, zk.PersistentWatch, "/p", ch)
				floor := s.Zxid()
				d := r.begin(s.Config())
				l = r.accept()
				l.greet()
				first, second := l.next(), l.next()
				assert.DeepEqual(t, first.watches(t).Data, []string{long})
				assert.DeepEqual(t, second.watches(t).Persistent, []string{"/p"})
				var got []zk.Event
				take := func() {
					synctest.Wait()
					got = append(got, taken(ch)...) // read at once
				}
				l.send(answer(first.Xid, floor+c.zxids[0], nil))
				take()
				if c.event {
					l.send(happened(zk.Changed, long, -1))
				}
				take()
				l.send(answer(second.Xid, floor+c.zxids[1], nil))
				take()
				d.session()
				assert.Equal(t, told(got...), c.want)
			})
		})
	}
}

// TestI22_FencedBeforeConnect: the old connection is closed before the new one
// says a word, and what its server still says is for nobody.
func TestI22_FencedBeforeConnect(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, old := r.open(r.config())
		ch := make(chan zk.Event, 4)
		arm(t, s, old, zk.DataWatch, "/w", ch)
		pending := get(t, s, bg, "/a", nil)
		q := old.next()
		d := r.begin(s.Config())
		l := r.accept()
		_, err := old.frame()
		assert.Equal(t, err, io.EOF)
		assert.Assert(t, old.trySend(happened(zk.Changed, "/w", -1), fitting(q, 99)) != nil)
		pending.lost(zk.ErrMoved)
		get(t, s, bg, "/b", nil).unsent(zk.ErrMoved)
		assert.Equal(t, l.greet().LastZxidSeen, int64(1))
		x := l.next()
		l.send(happened(zk.Changed, "/w", -1), answer(x.Xid, 3, nil))
		d.session()
		assert.Equal(t, told(taken(ch)...), "changed /w")
		assert.Assert(t, errors.Is(s.Err(), zk.ErrMoved) && !errors.Is(s.Err(), zk.ErrConnection))
		checkOutcome(t, s.Close(), zk.NotSent, zk.ErrMoved)
	})
}

// TestI23_Expiry: only a Dial says it, it changes nothing, and Renew takes all of
// it to a new session: SetWatches compares zxids, not sessions.
func TestI23_Expiry(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.Auth = []zk.Auth{zk.Digest("u", "p")}
		d := r.begin(conf)
		l := r.accept()
		l.greet()
		l.want(wire.OpAuth, "")
		l.send(answer(wire.XidAuth, 0, nil))
		s := d.session()
		queued, armed := make(chan zk.Event), make(chan zk.Event, 4)
		arm(t, s, l, zk.DataWatch, "/queued", queued)
		arm(t, s, l, zk.DataWatch, "/armed", armed)
		advance(t, s, l, 30)
		l.send(happened(zk.Changed, "/queued", -1))
		synctest.Wait()
		l.Close()
		<-s.Done()
		time.Sleep(24 * time.Hour) // nobody guesses
		assert.Assert(t, !errors.Is(s.Err(), zk.ErrExpired))
		whole := s.Config()
		for range 2 {
			d = r.begin(whole)
			l = r.accept()
			assert.Equal(t, l.connect().SessionID, rigID)
			l.send(framed(wire.ConnectResponse{Password: make([]byte, 16), HasReadOnly: true}))
			l.Close()
			assert.Assert(t, errors.Is(d.wait(), zk.ErrExpired))
		}
		before := r.connections()
		time.Sleep(time.Hour)
		assert.Equal(t, r.connections(), before)
		assert.Equal(t, whole.Watches.Undelivered(), 1)
		assert.Equal(t, armedList(whole.Watches), "data /armed")

		// A plain new session has nothing of it.
		plain, pl := r.open(r.config())
		pl.quiet()
		assert.Equal(t, plain.Config().Watches.Len(), 0)

		d = r.begin(whole.Renew())
		l = r.accept()
		q := l.connect()
		assert.Equal(t, q.SessionID, int64(0))
		assert.DeepEqual(t, q.Password, make([]byte, 16))
		assert.Equal(t, q.LastZxidSeen, int64(30))
		q.SessionID = 0x777
		l.send(welcome(q))
		assert.Equal(t, told(<-queued), "changed /queued")
		l.want(wire.OpAuth, "")
		x := l.next()
		w := x.watches(t)
		assert.DeepEqual(t, w.Data, []string{"/armed"})
		assert.Equal(t, w.RelativeZxid, int64(30))
		l.send(answer(wire.XidAuth, 0, nil), happened(zk.Deleted, "/armed", -1), answer(x.Xid, 31, nil))
		s2 := d.session()
		assert.Equal(t, s2.ID(), int64(0x777))
		assert.Equal(t, told(taken(armed)...), "deleted /armed")
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
		s, err := zk.Dial(bg, zk.Config{Addrs: ens.Addrs()[2:], DialContext: ens.DialContext, Timeout: 5 * time.Second})
		assert.NilError(t, err)
		mk(t, s, "/n")
		id := s.ID()
		conf.State = s.Detach().State
		for range 10 { // whatever the order
			s, err = zk.Dial(bg, conf)
			assert.NilError(t, err)
			assert.Equal(t, s.ID(), id)
			assert.Equal(t, s.Addr(), ens.Addrs()[2])
			conf = s.Detach()
		}
		conf.Addrs = ens.Addrs()[:2]
		_, err = zk.Dial(bg, conf)
		assert.Assert(t, errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrExpired), "%v", err)
		assert.Assert(t, strings.Count(err.Error(), "handshake refused") == 2, "%v", err)
		ens.Member(0).Thaw()
		s, err = zk.Dial(bg, conf)
		assert.NilError(t, err)
		assert.Equal(t, s.ID(), id)
		assert.NilError(t, s.Close())
	})
}

// TestI25_ReadOnly: a session that a read-only server began is known to no other,
// so it does not move; its watches do. A session from elsewhere stays what it is.
func TestI25_ReadOnly(t *testing.T) {
	readOnly := func(q wire.ConnectRequest, id int64) []byte {
		return framed(wire.ConnectResponse{Timeout: q.Timeout, SessionID: id, Password: rigPassword, ReadOnly: true, HasReadOnly: true})
	}
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.ReadOnly = true
		d := r.begin(conf)
		l := r.accept()
		q := l.connect()
		assert.Assert(t, q.ReadOnly && q.HasReadOnly)
		l.send(readOnly(q, 0xfa4e))
		s := d.session()
		assert.Assert(t, s.ReadOnly())
		ch := make(chan zk.Event, 1)
		arm(t, s, l, zk.DataWatch, "/w", ch)
		advance(t, s, l, 20)
		u := start(t, func() error { _, err := s.Set(bg, "/w", nil, -1); return err })
		l.send(refusal(l.next().Xid, 20, zk.ErrNotReadOnly))
		u.refused(zk.ErrNotReadOnly)
		assert.NilError(t, s.Err())

		conf = s.Detach()
		assert.Equal(t, conf.ID, int64(0))
		assert.Equal(t, len(conf.Password), 0)
		s, _, q, w := r.move(conf, 21)
		assert.Equal(t, q.SessionID, int64(0))
		assert.Equal(t, q.LastZxidSeen, int64(20))
		assert.Equal(t, w.RelativeZxid, int64(20))
		assert.Equal(t, s.ID(), rigID)

		// Resumed at a read-only server that knows it: it moves on.
		d = r.begin(s.Config())
		l = r.accept()
		l.send(readOnly(l.connect(), rigID))
		l.restored(21)
		s = d.session()
		assert.Assert(t, s.ReadOnly())
		assert.Equal(t, s.Config().ID, rigID)
	})
	// What a read-only server says of a session that it does not know is no
	// expiry, whatever it makes up.
	for _, answer := range []func(q wire.ConnectRequest) []byte{
		func(q wire.ConnectRequest) []byte {
			return framed(wire.ConnectResponse{Password: make([]byte, 16), ReadOnly: true, HasReadOnly: true})
		},
		func(q wire.ConnectRequest) []byte { return readOnly(q, 0xfa4e) },
		func(q wire.ConnectRequest) []byte { return refusal(0, 0, zk.ErrNotReadOnly) },
	} {
		for _, allowed := range []bool{true, false} {
			bubble(t, func(t *testing.T, r *rig) {
				s, _ := r.open(r.config())
				conf := s.Detach()
				conf.ReadOnly = allowed
				conf.Addrs = []string{"a:1", "b:2"}
				d := r.begin(conf)
				l := r.accept()
				l.send(answer(l.connect()))
				l = r.accept()
				assert.Equal(t, l.greet().SessionID, rigID)
				s = d.session()
				assert.Equal(t, s.ID(), rigID)
				assert.Assert(t, !s.ReadOnly())
			})
		}
	}
}

// TestI26_OtherProcess: a State that went through JSON moves the session, with
// its watches and undelivered events, to channels of the other process.
func TestI26_OtherProcess(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.Chroot = "/app"
		s, l := r.open(conf)
		full, room := make(chan zk.Event), make(chan zk.Event, 4)
		arm(t, s, l, zk.DataWatch, "/q1", full)
		arm(t, s, l, zk.PersistentWatch, "/p", full)
		arm(t, s, l, zk.ChildWatch, "/c", room)
		arm(t, s, l, zk.ExistsWatch, "/e", room)
		arm(t, s, l, zk.RecursiveWatch, "/r", room)
		arm(t, s, l, zk.DataWatch, "/dropped", room)
		advance(t, s, l, 70)
		l.send(happened(zk.Changed, "/app/q1", 68), happened(zk.Created, "/app/p", 69), happened(zk.Deleted, "/app/r/x", 70))
		synctest.Wait()
		b, err := json.Marshal(s.Detach().State)
		assert.NilError(t, err)

		var st zk.State
		assert.NilError(t, json.Unmarshal(b, &st))
		assert.Equal(t, st.ID, rigID)
		assert.DeepEqual(t, st.Password, rigPassword)
		assert.Equal(t, st.Zxid, int64(70))
		assert.Equal(t, st.Watches.Undelivered(), 3)
		conf.State = st
		before := r.connections()
		assert.Assert(t, errors.Is(r.begin(conf).wait(), zk.ErrUnbound))
		assert.Equal(t, r.connections(), before)

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
		d := r.begin(conf)
		l = r.accept()
		q := l.greet()
		assert.Equal(t, q.SessionID, rigID)
		assert.Equal(t, q.LastZxidSeen, int64(70))
		x := l.want(wire.OpSetWatches2, "")
		w := x.watches(t)
		assert.Equal(t, w.RelativeZxid, int64(70))
		assert.Equal(t, fmt.Sprint(w.Data, w.Exist, w.Child, w.Persistent, w.Recursive), "[] [/app/e] [/app/c] [/app/p] [/app/r]")
		assert.Equal(t, len(newRoom), 0)
		for _, want := range []string{"changed /q1", "created /p"} {
			assert.Equal(t, told(<-newFull), want)
		}
		l.send(answer(x.Xid, 70, nil))
		d.session()
		synctest.Wait()
		ev := <-newRoom
		assert.Equal(t, told(ev), "deleted /r/x")
		assert.Equal(t, ev.Zxid, int64(70))
		l.send(happened(zk.Child, "/app/c", -1))
		assert.Equal(t, told(<-newRoom), "child /c")
		assert.Equal(t, len(room), 0)
	})
}

// A State without watches has none, and one whose zxid is zero gives up both the
// order of history and the floor.
func TestI26_PartsOfAState(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		ch := make(chan zk.Event, 1)
		arm(t, s, l, zk.DataWatch, "/w", ch)
		advance(t, s, l, 70)
		conf := s.Detach()

		bare := r.config()
		bare.State = zk.State{ID: conf.ID, Password: conf.Password, Zxid: conf.Zxid}
		d := r.begin(bare)
		l = r.accept()
		assert.Equal(t, l.greet().LastZxidSeen, int64(70))
		d.session().Detach()
		l.hungUp()

		conf.Zxid = 0
		_, _, q, w := r.move(conf, 80)
		assert.Equal(t, q.LastZxidSeen, int64(0))
		assert.Equal(t, w.RelativeZxid, int64(0))
	})
}

// TestI35_Chroot: the prefix is on every path that leaves and on none that comes
// back, but those that are not below it.
func TestI35_Chroot(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.Chroot = "/app"
		s, l := r.open(conf)
		ch := make(chan zk.Event, 16)

		// Single calls: the path is what the request begins with.
		for name, c := range calls {
			var watch chan zk.Event
			if name == "RemoveWatch" {
				watch = make(chan zk.Event)
				arm(t, s, l, zk.PersistentWatch, "/a", watch)
			}
			u := start(t, func() error { return c.do(bg, s, "/a", watch) })
			q := l.next()
			switch {
			case q.path == "" && q.Op != wire.OpMulti && q.Op != wire.OpMultiRead: // none
			case q.Op == wire.OpMulti || q.Op == wire.OpMultiRead:
				assert.Assert(t, strings.Contains(string(q.body), "/app/a"), "%s: %q", name, q.body)
			case name == "GetConfig":
				assert.Equal(t, q.path, "/zookeeper/config")
			case name == "Ephemerals":
				assert.Equal(t, q.path, "/app")
			default:
				assert.Equal(t, q.path, "/app/a", "%s", name)
			}
			if name == "RemoveWatch" { // whose watch would stay if it were refused
				l.send(answer(q.Xid, 1, nil))
				u.ok()
				continue
			}
			if q.Op == wire.OpAuth {
				l.send(refusal(wire.XidAuth, 0, 0))
				u.ok()
				continue
			}
			l.send(refusal(q.Xid, 1, zk.ErrNoNode))
			err := u.wait()
			if name != "Exists" {
				var op *zk.OpError
				assert.Assert(t, errors.As(err, &op), "%s: %v", name, err)
				assert.Assert(t, !strings.Contains(err.Error(), "/app"), "%s: %v", name, err)
			}
		}
		// The root of the view, and a prefix that is none.
		u := get(t, s, bg, "/", nil)
		l.send(fitting(l.want(wire.OpGetData, "/app"), 1))
		u.ok()

		// What comes back.
		var made string
		u = start(t, func() (err error) {
			made, err = s.Create(bg, "/a/x-", nil, zk.PersistentSequential, zk.ACLOpen)
			return err
		})
		l.send(answer(l.want(wire.OpCreate, "/app/a/x-").Xid, 1, wire.PathResponse{Path: "/app/a/x-0000000007"}))
		u.ok()
		assert.Equal(t, made, "/a/x-0000000007")
		u = start(t, func() (err error) { made, err = s.Create(bg, "/a", nil, zk.Persistent, zk.ACLOpen); return err })
		l.send(answer(l.next().Xid, 1, wire.PathResponse{Path: "/apple"})) // not below the chroot: left as it is
		u.ok()
		assert.Equal(t, made, "/apple")
		var res []zk.Result
		u = start(t, func() (err error) {
			res, err = s.Multi(bg, zk.CreateOp{Path: "/m", ACL: zk.ACLOpen}, zk.CheckOp{Path: "/"})
			return err
		})
		q := l.next()
		assert.Assert(t, strings.Contains(string(q.body), "/app/m"))
		l.send(answer(q.Xid, 1, wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpCreate2, Path: "/app/m"}, {Op: wire.OpCheck}}}))
		u.ok()
		assert.Equal(t, res[0].Path, "/m")
		u = start(t, func() (err error) {
			res, err = s.Batch(bg, zk.CreateOp{Path: "/b", ACL: zk.ACLOpen}, zk.GetOp{Path: "/b"})
			return err
		})
		q = l.want(wire.OpCreate, "/app/b")
		l.send(answer(q.Xid, 1, wire.PathResponse{Path: "/app/b"}), refusal(l.want(wire.OpGetData, "/app/b").Xid, 1, zk.ErrNoAuth))
		u.refused(zk.ErrNoAuth)
		assert.Equal(t, res[0].Path, "/b")
		assert.Equal(t, u.err.Error(), "zk: get /b: not permitted")
		var eph []string
		u = start(t, func() (err error) { eph, err = s.Ephemerals(bg, "/x"); return err })
		q = l.want(wire.OpGetEphemerals, "/app/x")
		l.send(answer(q.Xid, 1, wire.ChildrenResponse{Children: []string{"/app/x", "/app/x/y", "/app/xy"}}))
		u.ok()
		assert.DeepEqual(t, eph, []string{"/x", "/x/y", "/xy"})
		u = start(t, func() (err error) { eph, err = s.Ephemerals(bg, "/"); return err })
		q = l.want(wire.OpGetEphemerals, "/app")
		l.send(answer(q.Xid, 1, wire.ChildrenResponse{Children: []string{"/app", "/app/y", "/apple"}}))
		u.ok()
		assert.DeepEqual(t, eph, []string{"/", "/y"})

		// Events, at the chroot and below it; SetWatches has the server's paths.
		arm(t, s, l, zk.DataWatch, "/", ch)
		arm(t, s, l, zk.RecursiveWatch, "/", ch)
		arm(t, s, l, zk.ChildWatch, "/le", ch)
		l.send(happened(zk.Changed, "/apple", -1), happened(zk.Changed, "/app", -1), happened(zk.Created, "/app/x/y", -1), happened(zk.Created, "/", -1))
		synctest.Wait()
		assert.Equal(t, told(taken(ch)...), "changed /, created /x/y")
		assert.Equal(t, armedList(s.Config().Watches), "child /le, recursive /")

		old := s.Detach()
		wrong := old
		wrong.Chroot = "/other"
		before := r.connections()
		err := r.begin(wrong).wait()
		assert.Assert(t, errors.Is(err, zk.ErrBadPath), "%v", err)
		assert.Equal(t, r.connections(), before)
		d := r.begin(old)
		l = r.accept()
		l.greet()
		l.want(wire.OpAuth, "") // of AddAuth
		l.send(answer(wire.XidAuth, 0, nil))
		var child, recursive []string
		for len(child)+len(recursive) < 2 {
			a := l.next()
			w := a.watches(t)
			child, recursive = append(child, w.Child...), append(recursive, w.Recursive...)
			l.send(answer(a.Xid, 1, nil))
		}
		assert.DeepEqual(t, child, []string{"/app/le"})
		assert.DeepEqual(t, recursive, []string{"/app"})
		d.session()
	})
}

// The chroot "/" is none; the configuration of the ensemble is outside of all.
func TestI35_ChrootCorners(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.Chroot = "/"
		s, l := r.open(conf)
		u := get(t, s, bg, "/a", nil)
		l.send(fitting(l.want(wire.OpGetData, "/a"), 1))
		u.ok()

		for _, chroot := range []string{"/zoo", "/zookeeper", "/zookeeper/config"} {
			conf.Chroot = chroot
			s, l := r.open(conf)
			config, node := make(chan zk.Event, 2), make(chan zk.Event, 2)
			u := start(t, func() error { _, _, err := s.GetConfig(bg, config); return err })
			l.send(fitting(l.want(wire.OpGetData, "/zookeeper/config"), 1))
			u.ok()
			arm(t, s, l, zk.DataWatch, "/keeper", node)
			l.send(happened(zk.Changed, "/zookeeper/config", -1), happened(zk.Changed, chroot+"/keeper", -1), happened(zk.Changed, "/zookeeper", -1))
			synctest.Wait()
			assert.Equal(t, told(taken(config)...), "changed /zookeeper/config")
			assert.Equal(t, told(taken(node)...), "changed /keeper")
		}
	})
}
