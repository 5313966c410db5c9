package scripts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
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
				l.GrantAuth()
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
