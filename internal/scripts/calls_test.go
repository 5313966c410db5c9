package scripts

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// The invariants I27 to I30 of docs/guarantees.md: the outcomes of calls, their
// order on the wire, and calls that are given up.

// TestI28_XidsCount: requests are numbered one by one, across all callers and
// Batches, in the order in which they are on the wire; pings and auth packets
// take no number.
func TestI28_XidsCount(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		var want int32
		var wrong error
		l.Serve(func(a suite.Asked) [][]byte {
			if a.Op == wire.OpAuth {
				return [][]byte{suite.Answer(wire.XidAuth, 0, nil)}
			}
			if want++; a.Xid != want && wrong == nil {
				wrong = fmt.Errorf("xid %d where %d was due", a.Xid, want)
			}
			return [][]byte{suite.Fitting(a, 1)}
		})
		var all []*suite.Under
		for g := range 16 {
			all = append(all, suite.Start(t, func() error {
				for i := range 20 {
					switch (g + i) % 4 {
					case 0:
						if err := s.AddAuth(suite.BG, zk.Digest("u", "p")); err != nil {
							return err
						}
					case 1:
						if _, err := s.Batch(suite.BG, zk.GetOp{Path: "/1"}, zk.GetOp{Path: "/2"}, zk.GetOp{Path: "/3"}); err != nil {
							return err
						}
					default:
						if _, _, err := s.Get(suite.BG, "/a", nil); err != nil {
							return err
						}
					}
				}
				return nil
			}))
		}
		for _, u := range all {
			u.OK()
		}
		time.Sleep(3 * suite.RigTimeout) // pings
		_, _, err := s.Get(suite.BG, "/a", nil)
		assert.NilError(t, err)
		for range 300 {
			_, _, err := s.Get(suite.BG, "/a", nil)
			assert.NilError(t, err)
		}
		assert.NilError(t, wrong)
		assert.Assert(t, want > 300, "%d", want)
	})
}

// Calls of one goroutine are executed in its order, whatever the others do.
func TestI28_ProgramOrder(t *testing.T) {
	r := suite.NewRig(t)
	s, l := r.Open(r.Config())
	last := make(map[string]int32)
	var wrong error
	l.Serve(func(a suite.Asked) [][]byte {
		d := wire.NewDecoder(a.Body)
		var q wire.SetDataRequest
		q.Decode(&d)
		if last[q.Path]++; q.Version != last[q.Path] && wrong == nil {
			wrong = fmt.Errorf("%s: %d where %d was due", q.Path, q.Version, last[q.Path])
		}
		return [][]byte{suite.Fitting(a, 1)}
	})
	var all []*suite.Under
	for g := range 16 {
		all = append(all, suite.Start(t, func() error {
			ctx, cancel := context.WithCancel(suite.BG)
			defer cancel()
			path := fmt.Sprintf("/%d", g)
			for i := int32(1); i <= 300; i++ {
				c := suite.BG
				if i%2 == 0 {
					c = ctx
				}
				if i%7 == 0 { // a Batch of two
					if _, err := s.Batch(c, zk.SetOp{Path: path, Version: i}, zk.SetOp{Path: path, Version: i + 1}); err != nil {
						return err
					}
					i++
					continue
				}
				if _, err := s.Set(c, path, nil, i); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, u := range all {
		u.OK()
	}
	assert.NilError(t, wrong)
}

// TestI28_RepliesOutOfOrder: replies in any other order than that of the
// requests, twice, or to nothing end the connection, and every call as lost.
func TestI28_RepliesOutOfOrder(t *testing.T) {
	for _, c := range []struct {
		name     string
		xids     []int32 // of the replies, 1 to 3 were asked
		answered int
	}{
		{"second first", []int32{2, 1, 3}, 0},
		{"third second", []int32{1, 3, 2}, 1},
		{"first twice", []int32{1, 1, 2, 3}, 1},
		{"of before", []int32{0}, 0},
		{"of later", []int32{1, 2, 3, 4}, 3},
		{"last twice", []int32{1, 2, 3, 3}, 3},
		{"MinInt32", []int32{math.MinInt32}, 0},
		{"MaxInt32", []int32{math.MaxInt32}, 0},
		{"of another ping", []int32{-3}, 0},
		{"of a SetWatches of the C client", []int32{wire.XidSetWatches}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				ch := make(chan zk.Event, 1)
				suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
				var all []*suite.Under
				var before int32 // the xid before those of the test
				for i := range 3 {
					all = append(all, suite.Get(t, s, suite.BG, fmt.Sprintf("/%d", i), nil))
					before = l.Want(wire.OpGetData, fmt.Sprintf("/%d", i)).Xid - int32(i) - 1
				}
				var frames [][]byte
				for _, xid := range c.xids {
					if xid >= 0 && xid < 10 {
						xid += before
					}
					frames = append(frames, suite.Answer(xid, 9, wire.GetDataResponse{}))
				}
				l.Send(append(frames, suite.Happened(zk.Changed, "/w", -1))...)
				for i, u := range all {
					if i < c.answered {
						u.OK()
					} else {
						u.Lost(zk.ErrProtocol)
						assert.Assert(t, errors.Is(u.Err, zk.ErrConnection))
					}
				}
				<-s.Done()
				assert.Assert(t, errors.Is(s.Err(), zk.ErrProtocol))
				l.HungUp()
				// What came behind the violation was never taken.
				assert.Equal(t, len(ch), 0)
				assert.Equal(t, suite.ArmedList(s.Config().Watches), "data /w")
				d := r.Begin(s.Config())
				l = r.Accept()
				l.Greet()
				l.Restored(9)
				d.Session()
			})
		})
	}
}

// TestI29_CancelledCall: its slot stays, its answer is taken in order, the zxid
// counts, the watch is not armed, and the orphan's event is for nobody, or for
// whoever armed the path meanwhile.
func TestI29_CancelledCall(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		orphan, mine := make(chan zk.Event, 2), make(chan zk.Event, 2)
		ctx, cancel := context.WithCancel(suite.BG)
		gone := suite.Get(t, s, ctx, "/a", orphan)
		q1 := l.Want(wire.OpGetData, "/a")
		other := suite.Get(t, s, suite.BG, "/b", nil)
		q2 := l.Want(wire.OpGetData, "/b")
		cancel()
		gone.Lost(context.Canceled)
		assert.Equal(t, s.Stats().Pending, 2)
		l.Send(suite.Answer(q1.Xid, 50, wire.GetDataResponse{Data: []byte("never seen")}), suite.Fitting(q2, 49))
		other.OK()
		assert.Equal(t, s.Zxid(), int64(50))
		assert.Equal(t, s.Stats().Pending, 0)
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "")
		l.Send(suite.Happened(zk.Changed, "/a", -1))
		synctest.Wait()
		assert.Equal(t, s.Stats().Ignored, int64(1))

		// Armed by another call behind it: once.
		ctx, cancel = context.WithCancel(suite.BG)
		gone = suite.Get(t, s, ctx, "/a", orphan)
		q1 = l.Next()
		cancel()
		gone.Lost(context.Canceled)
		u := suite.Get(t, s, suite.BG, "/a", mine)
		q2 = l.Next()
		l.Send(suite.Fitting(q1, 51), suite.Fitting(q2, 52), suite.Happened(zk.Changed, "/a", -1), suite.Happened(zk.Changed, "/a", -1))
		u.OK()
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(mine)...), "changed /a")
		assert.Equal(t, suite.Told(suite.Taken(orphan)...), "")

		// A cancelled write that then fails, an AddWatch, a RemoveWatch.
		for _, f := range []func(ctx context.Context) error{
			func(ctx context.Context) error { _, err := s.Set(ctx, "/a", nil, 7); return err },
			func(ctx context.Context) error { return s.AddWatch(ctx, "/p", zk.WatchPersistent, orphan) },
			func(ctx context.Context) error { _, err := s.Multi(ctx, zk.CheckOp{Path: "/a"}); return err },
		} {
			ctx, cancel = context.WithTimeout(suite.BG, time.Millisecond)
			u = suite.Start(t, func() error { return f(ctx) })
			q1 = l.Next()
			u.Lost(context.DeadlineExceeded)
			cancel()
			l.Send(suite.Refusal(q1.Xid, 60, zk.ErrVersion))
		}
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", mine) // does not wait for the one given up
		ctx, cancel = context.WithTimeout(suite.BG, time.Millisecond)
		u = suite.Start(t, func() error { return s.RemoveWatch(ctx, "/p", mine) })
		q1 = l.Want(wire.OpRemoveWatches, "/p")
		u.Lost(context.DeadlineExceeded)
		cancel()
		l.Send(suite.Answer(q1.Xid, 61, nil))
		synctest.Wait()
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "")
		l.Quiet()
	})
}

// The connection ends under calls that were given up: nobody waits for them any
// more, and nothing on the next connection does.
func TestI29_CancelledThenLost(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
		ctx, cancel := context.WithCancel(suite.BG)
		single := suite.Get(t, s, ctx, "/a", ch)
		l.Next()
		batch := suite.Start(t, func() error {
			_, err := s.Batch(ctx, zk.GetOp{Path: "/b", Watch: ch}, zk.GetOp{Path: "/c"})
			return err
		})
		l.Next()
		l.Next()
		auth := suite.Start(t, func() error { return s.AddAuth(ctx, zk.Digest("u", "p")) })
		l.Next()
		cancel()
		single.Lost(context.Canceled)
		batch.Lost(context.Canceled)
		auth.Lost(context.Canceled)
		l.Close()
		<-s.Done()
		s, l, _, w := r.Move(s.Config(), 1)
		assert.DeepEqual(t, w.Data, []string{"/w"})
		l.Send(suite.Happened(zk.Changed, "/w", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /w")
		u := suite.Get(t, s, suite.BG, "/a", nil)
		l.Send(suite.Fitting(l.Next(), 1))
		u.OK()
	})
}

// A Batch that is given up: what was answered before stays answered and armed,
// the rest is lost and not armed.
func TestI29_CancelledBatch(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 8)
		ctx, cancel := context.WithCancel(suite.BG)
		var res []zk.Result
		u := suite.Start(t, func() (err error) {
			res, err = s.Batch(ctx, zk.GetOp{Path: "/1", Watch: ch}, zk.ExistsOp{Path: "/2", Watch: ch}, zk.GetOp{Path: "/3", Watch: ch}, zk.ChildrenOp{Path: "/4", Watch: ch})
			return err
		})
		var qs []suite.Asked
		for range 4 {
			qs = append(qs, l.Next())
		}
		l.Send(suite.Fitting(qs[0], 1), suite.Refusal(qs[1].Xid, 2, zk.ErrNoNode))
		synctest.Wait()
		cancel()
		err := u.Wait()
		assert.Equal(t, len(res), 4)
		assert.NilError(t, res[0].Err)
		assert.Equal(t, string(res[0].Data), "data")
		suite.CheckOutcome(t, res[1].Err, zk.Answered, zk.ErrNoNode)
		assert.Equal(t, err, res[1].Err)
		suite.CheckOutcome(t, res[2].Err, zk.Lost, context.Canceled)
		suite.CheckOutcome(t, res[3].Err, zk.Lost, context.Canceled)
		l.Send(suite.Fitting(qs[2], 3), suite.Fitting(qs[3], 4))
		synctest.Wait()
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "data /1, exists /2")
		assert.Equal(t, s.Stats().Pending, 0)
	})
}

// A call that can be cancelled leaves at once, even while the connection takes
// no more bytes.
func TestI29_LeavesAWriteThatBlocks(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprintf("others under way: %t", busy), func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				gate := new(suite.GatedConn)
				r.Lay = func(c net.Conn) net.Conn { gate.Conn = c; return gate }
				s, l := r.Open(r.Config())
				if busy {
					suite.Get(t, s, suite.BG, "/other", nil)
					l.Next()
				}
				gate.Shut()
				ctx, cancel := context.WithTimeout(suite.BG, time.Millisecond)
				defer cancel()
				began := time.Now()
				u := suite.Get(t, s, ctx, "/a", nil)
				u.Lost(context.DeadlineExceeded)
				assert.Equal(t, time.Since(began), time.Millisecond)
				gate.Open()
			})
		})
	}
}

// TestI29_RandomPoints gives 100,000 calls up at random moments, and often at
// the very moment of their answer, with and without watches. A call has an
// answer and an armed watch, or neither; nobody else loses anything.
func TestI29_RandomPoints(t *testing.T) {
	const callers, each, paths = 20, 5000, 50
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.MaxInFlight = 15
		s, l := r.Open(conf)
		rnd := rand.New(rand.NewPCG(29, 29))

		// The server: answers in order, some microseconds late, and fires a watch now and then.
		type server struct {
			armed map[string]bool
			out   [][]byte
			sent  int
		}
		srv := server{armed: make(map[string]bool)}
		fire := func(path string) {
			if srv.armed[path] {
				delete(srv.armed, path)
				srv.sent++
				srv.out = append(srv.out, suite.Happened(zk.Changed, path, -1))
			}
		}
		queue := make(chan suite.Asked, 1024)
		go func() {
			defer close(queue)
			for a := range l.Requests() {
				queue <- a
			}
		}()
		served := make(chan struct{})
		finish := make(chan struct{})
		go func() {
			defer close(served)
			handle := func(a suite.Asked) {
				switch {
				case a.Op == wire.OpPing:
					srv.out = append(srv.out, suite.Answer(wire.XidPing, 0, nil))
					return
				case a.Op == wire.OpGetData && a.Armed():
					srv.armed[a.Path] = true
				}
				srv.out = append(srv.out, suite.Fitting(a, 1))
				if rnd.IntN(4) == 0 {
					fire(fmt.Sprintf("/%d", rnd.IntN(paths)))
				}
			}
			for {
				select {
				case a := <-queue:
					handle(a)
				case <-finish:
					for path := range srv.armed {
						fire(path)
					}
					l.TrySend(srv.out...)
					return
				}
				for more := true; more; {
					select {
					case a := <-queue:
						handle(a)
					default:
						more = false
					}
				}
				time.Sleep(time.Duration(rnd.IntN(4)) * time.Microsecond)
				if l.TrySend(srv.out...) != nil {
					return
				}
				srv.out = srv.out[:0]
			}
		}()

		type watched struct {
			ch chan zk.Event
			ok bool
		}
		var watches [callers][]watched
		var answers, unsent, lost [callers]int
		var all []*suite.Under
		for g := range callers {
			rnd := rand.New(rand.NewPCG(29, uint64(g)))
			all = append(all, suite.Start(t, func() error {
				for range each {
					ctx, cancel := context.WithTimeout(suite.BG, time.Duration(rnd.IntN(9))*time.Microsecond)
					if rnd.IntN(8) == 0 {
						ctx = suite.BG
					}
					var ch chan zk.Event
					var watch chan<- zk.Event
					if rnd.IntN(2) == 0 {
						ch = make(chan zk.Event, 2)
						watch = ch
					}
					_, st, err := s.Get(ctx, fmt.Sprintf("/%d", rnd.IntN(paths)), watch)
					cancel()
					switch {
					case err == nil:
						answers[g]++
						if st.Version != 1 {
							return fmt.Errorf("another call's answer: %v", st)
						}
					case errors.Is(err, context.DeadlineExceeded) && errors.Is(err, zk.ErrNotSent):
						unsent[g]++
					case errors.Is(err, context.DeadlineExceeded) && errors.Is(err, zk.ErrLost):
						lost[g]++
					default:
						return err
					}
					if ch != nil {
						watches[g] = append(watches[g], watched{ch, err == nil})
					}
				}
				return nil
			}))
		}
		for _, u := range all {
			u.OK()
		}
		_, _, err := s.Get(suite.BG, "/last", nil)
		assert.NilError(t, err)
		close(finish)
		<-served
		synctest.Wait()

		var sum [3]int
		for g := range callers {
			sum[0], sum[1], sum[2] = sum[0]+answers[g], sum[1]+unsent[g], sum[2]+lost[g]
			for i, w := range watches[g] {
				switch n := len(w.ch); {
				case w.ok && n != 1:
					t.Fatalf("caller %d: armed watch %d got %d events", g, i, n)
				case !w.ok && n != 0:
					t.Fatalf("caller %d: watch %d of a call that failed got %d events", g, i, n)
				}
			}
		}
		t.Logf("%d answered, %d not sent, %d lost, %d events", sum[0], sum[1], sum[2], srv.sent)
		assert.Assert(t, sum[0] > 10_000 && sum[1] > 1000 && sum[2] > 10_000 && srv.sent > 1000, "the test shows nothing")
		st := s.Stats()
		assert.Equal(t, st.Pending, 0)
		assert.Equal(t, st.Armed, 0)
		assert.Equal(t, st.Queued, 0)
		assert.Equal(t, st.Requests, st.Replies)
		assert.Equal(t, st.Events+st.Ignored, int64(srv.sent))
	})
}

// TestI30_NoHiddenWork: an hour with errors of every kind, and the server sees
// what was asked for and pings, on one connection.
func TestI30_NoHiddenWork(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 8)
		pings, asks := 0, 0
		go func() {
			for a := range l.Requests() {
				if a.Op == wire.OpPing {
					pings++
					l.TrySend(suite.Answer(wire.XidPing, 0, nil))
					continue
				}
				asks++
				if a.Path == "/gone" {
					continue // never answered, nor anything behind it
				}
				l.TrySend(suite.Refusal(a.Xid, 1, map[string]zk.Code{"/auth": zk.ErrNoAuth, "/throttled": zk.ErrThrottled, "/x": -9999}[a.Path]))
			}
		}()
		for _, path := range []string{"/auth", "/throttled", "/x"} {
			_, err := s.Create(suite.BG, path, nil, zk.Persistent, zk.ACLOpen)
			assert.Assert(t, err != nil)
		}
		assert.NilError(t, s.AddWatch(suite.BG, "/p", zk.WatchPersistent, ch))
		l.Send(suite.Happened(zk.Changed, "/p", -1), suite.Happened(zk.Changed, "/nobody", -1))
		ctx, cancel := context.WithTimeout(suite.BG, time.Second)
		defer cancel()
		suite.Get(t, s, ctx, "/gone", nil).Lost(context.DeadlineExceeded)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.NilError(t, s.Err())
		assert.Equal(t, asks, 5)
		assert.Equal(t, pings, int(time.Hour/(suite.RigTimeout/3)))
		l.Close()
		<-s.Done()
		time.Sleep(time.Hour)
		assert.Equal(t, r.Connections(), 1)
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /p")
	})
}

// MaxInFlight: so many requests wait for their replies and no more, whoever made
// them; waiters are served in order.
func TestI30_MaxInFlight(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.MaxInFlight = 2
		s, l := r.Open(conf)
		var all []*suite.Under
		for i := range 10 {
			all = append(all, suite.Get(t, s, suite.BG, fmt.Sprintf("/%d", i), nil))
			synctest.Wait()
		}
		var open []suite.Asked
		for i := range 10 {
			open = append(open, l.Want(wire.OpGetData, fmt.Sprintf("/%d", i)))
			if len(open) == 2 {
				l.Quiet()
				assert.Equal(t, s.Stats().Pending, 2)
				l.Send(suite.Fitting(open[0], 1))
				open = open[1:]
			}
		}
		l.Send(suite.Fitting(open[0], 1))
		for _, u := range all {
			u.OK()
		}

		// A call that was given up holds its slot until its answer comes.
		ctx, cancel := context.WithCancel(suite.BG)
		gone1, gone2 := suite.Get(t, s, ctx, "/g1", nil), suite.Get(t, s, ctx, "/g2", nil)
		q1, q2 := l.Next(), l.Next()
		cancel()
		gone1.Lost(context.Canceled)
		gone2.Lost(context.Canceled)
		u := suite.Get(t, s, suite.BG, "/u", nil)
		l.Quiet()

		// Pings, auth and close take none.
		auth := suite.Start(t, func() error { return s.AddAuth(suite.BG, zk.Digest("u", "p")) })
		l.GrantAuth()
		auth.OK()
		time.Sleep(suite.RigTimeout / 2)
		body, err := l.Frame()
		assert.NilError(t, err)
		assert.Equal(t, suite.ParseAsked(body).Op, wire.OpPing)

		l.Send(suite.Fitting(q1, 1))
		q3 := l.Want(wire.OpGetData, "/u")
		l.Send(suite.Fitting(q2, 1), suite.Fitting(q3, 1))
		u.OK()

		// A Batch takes one for each operation, as they come free, and writes what
		// it holds before it waits; a Multi takes one.
		multi := suite.Start(t, func() error {
			_, err := s.Multi(suite.BG, zk.CheckOp{Path: "/1"}, zk.CheckOp{Path: "/2"}, zk.CheckOp{Path: "/3"})
			return err
		})
		m := l.Next()
		batch := suite.Start(t, func() error {
			_, err := s.Batch(suite.BG, zk.GetOp{Path: "/1"}, zk.GetOp{Path: "/2"}, zk.GetOp{Path: "/3"})
			return err
		})
		b1 := l.Want(wire.OpGetData, "/1")
		l.Quiet()
		check := wire.MultiResult{Op: wire.OpCheck}
		l.Send(suite.Answer(m.Xid, 1, wire.MultiResponse{Results: []wire.MultiResult{check, check, check}}))
		multi.OK()
		b2 := l.Want(wire.OpGetData, "/2")
		l.Quiet()
		cl := suite.Start(t, s.Close)
		l.Want(wire.OpCloseSession, "")
		l.Send(suite.Fitting(b1, 1), suite.Fitting(b2, 1), suite.Answer(b2.Xid+1, 2, nil))
		suite.CheckOutcome(t, batch.Wait(), zk.NotSent, zk.ErrClosed) // the third never had a slot
		cl.OK()
	})
}

// Nothing of what was refused has reached the server.
func TestRefusedCallsLeaveNoFrame(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	conf.Timeout = time.Minute // no ping comes in between
	s := e.Dial(conf)
	e.Sim.ForgetFrames()
	done, cancel := context.WithCancel(e.Ctx)
	cancel()
	suite.EveryCall("/a/", func(_ string, call func(context.Context, *zk.Session) error) {
		suite.WantUnsent(t, call(done, s), zk.ErrNotSent)
	})
	suite.EveryCall("/a", func(_ string, call func(context.Context, *zk.Session) error) {
		suite.WantUnsent(t, call(done, s), zk.ErrNotSent)
	})
	_, _, err := s.Get(e.Ctx, "/", nil)
	assert.NilError(t, err)
	var asked []string
	for _, f := range e.Sim.Frames() {
		if f.Dir == zktest.FromClient {
			asked = append(asked, fmt.Sprint(f.Op, " ", f.Path))
		}
	}
	assert.DeepEqual(t, asked, []string{"getData /"})
}

// What is for a Batch only is refused elsewhere, even in the guise of another
// operation: nothing is sent.
func TestBatchOnly(t *testing.T) {
	type write struct{ zk.WriteOp } // what lies deeper gives way
	type read struct{ zk.ReadOp }
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: zktest.NewServer(t, zktest.Options{}).Addrs()})
	assert.NilError(t, err)
	sent := s.Stats().Requests
	for _, op := range []zk.WriteOp{
		struct {
			zk.GetACLOp
			write
		}{GetACLOp: zk.GetACLOp{Path: "/"}},
		struct {
			zk.SetACLOp
			write
		}{SetACLOp: zk.SetACLOp{Path: "/", ACL: zk.ACLOpen}},
		struct {
			zk.ExistsOp
			write
		}{ExistsOp: zk.ExistsOp{Path: "/"}},
		struct {
			zk.SyncOp
			write
		}{SyncOp: zk.SyncOp{Path: "/"}},
	} {
		_, err := s.Multi(t.Context(), op)
		suite.WantUnsent(t, err, zk.ErrBadArguments)
	}
	_, err = s.MultiRead(t.Context(), struct {
		zk.GetACLOp
		read
	}{GetACLOp: zk.GetACLOp{Path: "/"}})
	suite.WantUnsent(t, err, zk.ErrBadArguments)
	assert.Equal(t, s.Stats().Requests, sent)
}
