package scripts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
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

// The calls behind the one whose reply is too large are lost as with any
// connection.
func TestMaxReplyOfOthers(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.MaxReply = 1000
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		_, err = s.Create(context.Background(), "/n", make([]byte, 1000), zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		e.Sim.Fault(zktest.Rule{Op: wire.OpGetData, Delay: time.Second})
		head, others := make(chan error, 1), make(chan error, 5)
		go func() { head <- suite.ErrOf2(s.Get(context.Background(), "/n", nil)) }()
		synctest.Wait()
		for range cap(others) {
			go func() { others <- suite.ErrOf2(s.Exists(context.Background(), "/n", nil)) }()
		}
		synctest.Wait()
		assert.Equal(t, s.Stats().Pending, 6)
		suite.WantLost(t, <-head, zk.ErrTooLarge)
		for range cap(others) {
			err := <-others
			suite.WantLost(t, err, zk.ErrConnection)
			assert.Assert(t, !errors.Is(err, zk.ErrTooLarge), "%v", err)
		}
		assert.Assert(t, s.Close() != nil)
	})
}

// A frame above MaxReply comes while a Dial still sends its SetWatches: if it is the reply
// to one, redialing does not help, and if it is an event, nobody can say so.
func TestMaxReplyWhileRestoring(t *testing.T) {
	for _, event := range []bool{false, true} {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			t.Cleanup(suite.Shrink(&limits.SetWatchesFrame, 70))
			s, l := r.Open(r.Config())
			for i := range 10 {
				suite.Arm(t, s, l, zk.DataWatch, fmt.Sprintf("/watch-%d", i), make(chan zk.Event, 1))
			}
			conf := s.Detach()
			conf.MaxReply = 1000
			client, server := net.Pipe() // a write waits until it is read: the frames leave one by one
			dialed := false
			conf.DialContext = func(context.Context, string, string) (net.Conn, error) {
				if dialed {
					return nil, errors.New("one connection is all there is")
				}
				dialed = true
				return client, nil
			}
			go func() {
				var size [4]byte
				io.ReadFull(server, size[:])
				query := make([]byte, wire.FrameLen(size[:]))
				io.ReadFull(server, query)
				var q wire.ConnectRequest
				d := wire.NewDecoder(query)
				q.Decode(&d)
				server.Write(suite.Welcome(q))
				var head [8]byte
				io.ReadFull(server, head[:]) // the length and the xid of the first SetWatches
				xid := head[4:]
				if event {
					xid = []byte{0xff, 0xff, 0xff, 0xff}
				}
				server.Write(append([]byte{0, 0, 8, 0}, xid...))
				io.Copy(io.Discard, server)
			}()
			_, err := zk.Dial(suite.BG, conf)
			assert.Equal(t, zk.Hopeless(err), !event, "%v", err)
			assert.Equal(t, errors.Is(err, zk.ErrTooLarge), !event, "%v", err)
			server.Close()
		})
	}
}

// No more than MaxInFlight calls wait for replies at a time; the others wait
// for their turn, and can give up.
func TestMaxInFlight(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, l := e.Config()
		conf.MaxInFlight = 2
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		slow := func() *zktest.Fault {
			return e.Sim.Fault(zktest.Rule{Op: wire.OpGetData, Delay: time.Second, Count: -1})
		}
		fault := slow()
		const calls = 10
		var mu sync.Mutex
		left := 0
		for range calls {
			go func() {
				_, _, err := s.Get(context.Background(), "/", nil)
				mu.Lock()
				defer mu.Unlock()
				if left++; err != nil {
					t.Error(err)
				}
			}()
		}
		for i := range calls {
			synctest.Wait()
			mu.Lock()
			assert.Equal(t, left, i)
			mu.Unlock()
			assert.Equal(t, s.Stats().Pending, min(2, calls-i))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.Equal(t, left, calls)
		assert.Equal(t, s.Stats().Pending, 0)

		// Whoever waits for a slot may give up: nothing was sent.
		full := func() {
			for range 2 {
				go s.Get(context.Background(), "/", nil)
			}
			synctest.Wait()
		}
		full()
		before := s.Stats()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err = s.Set(ctx, "/", nil, zk.AnyVersion)
		suite.WantUnsent(t, err, context.DeadlineExceeded)
		_, err = s.Multi(ctx, zk.SetOp{Path: "/"})
		suite.WantUnsent(t, err, context.DeadlineExceeded)
		_, err = s.Batch(ctx, zk.SetOp{Path: "/"})
		suite.WantUnsent(t, err, context.DeadlineExceeded)
		before.Calls, before.Failed = before.Calls+3, before.Failed+3
		assert.Equal(t, s.Stats(), before)

		// Credentials need no slot.
		go s.AddAuth(context.Background(), zk.Digest("user", "secret"))
		synctest.Wait()
		var h wire.RequestHeader
		d := wire.NewDecoder(l.LastFrame())
		h.Decode(&d)
		assert.Equal(t, h.Op, wire.OpAuth)
		time.Sleep(time.Minute)

		// A Batch takes as many as it has operations, as they come free, and a Multi one.
		fault.Remove()
		ops := make([]zk.Op, 50)
		for i := range ops {
			ops[i] = zk.CreateOp{Path: fmt.Sprintf("/%d", i), ACL: zk.ACLOpen}
		}
		res, err := s.Batch(context.Background(), ops...)
		assert.NilError(t, err)
		for i, r := range res {
			assert.Equal(t, r.Path, fmt.Sprintf("/%d", i))
		}
		_, err = s.Multi(context.Background(), zk.SetOp{Path: "/1"}, zk.SetOp{Path: "/2"}, zk.SetOp{Path: "/3"})
		assert.NilError(t, err)

		fault = slow()
		for i := range ops {
			ops[i] = zk.GetOp{Path: "/"}
		}
		done := make(chan error, 1)
		began := time.Now()
		go func() { done <- suite.ErrOf(s.Batch(context.Background(), ops...)) }()
		for range len(ops) - 2 {
			synctest.Wait()
			assert.Equal(t, s.Stats().Pending, 2)
			time.Sleep(time.Second)
		}
		assert.NilError(t, <-done)
		assert.Equal(t, time.Since(began), time.Duration(len(ops))*time.Second)
		fault.Remove()

		// Whoever waits for a slot when the session ends is told so.
		slow()
		full()
		go func() { done <- suite.ErrOf(s.Set(context.Background(), "/", nil, zk.AnyVersion)) }()
		synctest.Wait()
		s.Detach()
		suite.WantUnsent(t, <-done, zk.ErrClosed)
	})
}

// Calls that were given up do not keep their slots for good.
func TestMaxInFlightCancelled(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.MaxInFlight = 3
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		fault := e.Sim.Fault(zktest.Rule{Op: wire.OpGetData, Delay: time.Second, Count: 3})
		for range 3 {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				defer cancel()
				_, _, err := s.Get(ctx, "/", make(chan zk.Event, 1))
				suite.WantLost(t, err, context.DeadlineExceeded)
			}()
		}
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		began := time.Now()
		for range 10 {
			_, _, err := s.Get(context.Background(), "/", nil)
			assert.NilError(t, err)
		}
		assert.Equal(t, time.Since(began), 3*time.Second-10*time.Millisecond) // behind the three, no later
		assert.Equal(t, fault.Hits(), 3)
		assert.Equal(t, s.Config().Watches.Len(), 0)
		assert.NilError(t, s.Close())
	})
}

// 100,000 calls at a time, single ones and in Batches: few of them are on the
// wire, contexts are obeyed by those that wait, and everybody gets an answer.
func TestManyCalls(t *testing.T) {
	const calls, inFlight = 100_000, 100
	each := 1
	if suite.RaceEnabled {
		each = 20 // the race detector takes no more than 8,000 goroutines
	}
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.MaxInFlight = inFlight
		s, l := r.Open(conf)
		most, asks := 0, 0
		go func() {
			var due []suite.Asked
			for {
				l.SetReadDeadline(time.Time{})
				if len(due) > 0 { // answer when no more comes
					l.SetReadDeadline(time.Now().Add(1))
				}
				body, err := l.Frame()
				if err == nil {
					due = append(due, suite.ParseAsked(body))
					asks++
					continue
				} else if !errors.Is(err, os.ErrDeadlineExceeded) {
					return
				}
				most = max(most, len(due))
				for _, a := range due {
					if l.TrySend(suite.Fitting(a, 1)) != nil {
						return
					}
				}
				due = due[:0]
			}
		}()
		var answered, unsent, lost atomic.Int64
		var all []*suite.Under
		for i := range calls / each {
			ctx, cancel := suite.BG, func() {}
			if i%2 == 0 {
				ctx, cancel = context.WithTimeout(suite.BG, time.Duration(i)*time.Nanosecond)
			}
			all = append(all, suite.Start(t, func() error {
				defer cancel()
				var errs []error
				if each == 1 {
					errs = append(errs, suite.ErrOf2(s.Get(ctx, "/a", nil)))
				} else {
					ops := make([]zk.Op, each)
					for i := range ops {
						ops[i] = zk.GetOp{Path: "/a"}
					}
					res, err := s.Batch(ctx, ops...)
					for i := range ops {
						if len(res) > 0 { // else none of it was sent
							err = res[i].Err
						}
						errs = append(errs, err)
					}
				}
				for _, err := range errs {
					switch {
					case err == nil:
						answered.Add(1)
					case ctx != suite.BG && errors.Is(err, context.DeadlineExceeded) && errors.Is(err, zk.ErrNotSent):
						unsent.Add(1)
					case ctx != suite.BG && errors.Is(err, context.DeadlineExceeded) && errors.Is(err, zk.ErrLost):
						lost.Add(1)
					default:
						return err
					}
				}
				return nil
			}))
		}
		for _, u := range all {
			u.OK()
		}
		synctest.Wait()
		t.Logf("%d answered, %d not sent, %d lost, at most %d in flight", answered.Load(), unsent.Load(), lost.Load(), most)
		assert.Equal(t, answered.Load()+unsent.Load()+lost.Load(), int64(calls))
		assert.Equal(t, int64(asks), int64(calls)-unsent.Load())
		assert.Assert(t, answered.Load() >= calls/2 && unsent.Load() > 0)
		assert.Equal(t, most, inFlight)
		assert.Equal(t, s.Stats().Pending, 0)
	})
}

func TestStats(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, l := e.Config()
		conf.Timeout = 9 * time.Second
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		check := func(want zk.Stats) {
			t.Helper()
			synctest.Wait()
			want.BytesSent, want.BytesReceived = l.Traffic()
			want.Calls, want.Failed = s.Stats().Calls, s.Stats().Failed // see TestStatsOfCalls
			assert.Equal(t, s.Stats(), want)
		}
		check(zk.Stats{})
		_, err = s.Create(context.Background(), "/n", []byte("data"), zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		check(zk.Stats{Requests: 1, Replies: 1})
		ch := make(chan zk.Event)
		for range 2 {
			_, _, err = s.Get(context.Background(), "/n", ch)
			assert.NilError(t, err)
			_, _, err = s.Exists(context.Background(), "/m", ch)
			assert.NilError(t, err)
		}
		check(zk.Stats{Requests: 5, Replies: 5, Armed: 2})
		_, _, err = s.Get(context.Background(), "/none", ch)
		suite.WantCode(t, err, zk.ErrNoNode, "/none")
		check(zk.Stats{Requests: 6, Replies: 6, Armed: 2})
		_, err = s.Set(context.Background(), "/n", nil, zk.AnyVersion)
		assert.NilError(t, err)
		check(zk.Stats{Requests: 7, Replies: 7, Armed: 1, Events: 1, Queued: 1})
		<-ch
		check(zk.Stats{Requests: 7, Replies: 7, Armed: 1, Events: 1})
		assert.NilError(t, s.RemoveWatch(context.Background(), "/m", ch))
		_, err = s.Create(context.Background(), "/m", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		check(zk.Stats{Requests: 8, Replies: 8, Events: 1, Ignored: 1})
		_, err = s.Batch(context.Background(), zk.GetOp{Path: "/n"}, zk.GetOp{Path: "/m"}, zk.GetOp{Path: "/none"})
		assert.ErrorIs(t, err, zk.ErrNoNode)
		assert.NilError(t, s.AddAuth(context.Background(), zk.Digest("user", "secret")))
		check(zk.Stats{Requests: 12, Replies: 12, Events: 1, Ignored: 1})

		time.Sleep(time.Minute) // a ping in three seconds
		check(zk.Stats{Requests: 12, Replies: 12, Events: 1, Ignored: 1, Pings: 20})

		fault := e.Sim.Fault(zktest.Rule{Op: wire.OpSetData, Delay: time.Second})
		done := make(chan error, 1)
		go func() { done <- suite.ErrOf(s.Set(context.Background(), "/n", nil, zk.AnyVersion)) }()
		synctest.Wait()
		assert.Equal(t, s.Stats().Pending, 1)
		assert.NilError(t, <-done)
		assert.Equal(t, fault.Hits(), 1)
		st := s.Stats()
		check(zk.Stats{Requests: 13, Replies: 13, Events: 1, Ignored: 1, Pings: st.Pings})

		assert.NilError(t, s.Close())
		check(zk.Stats{Requests: 14, Replies: 14, Events: 1, Ignored: 1, Pings: st.Pings})
	})
}

// Stats count each call that Trace shows, and no other, with hooks and without.
func TestStatsOfCalls(t *testing.T) {
	for _, hooked := range []bool{false, true} {
		for _, limit := range []int{0, 1} {
			t.Run(fmt.Sprintf("hooked=%t/MaxInFlight=%d", hooked, limit), func(t *testing.T) {
				e := suite.Private(t, 1)
				conf, _ := e.Config()
				conf.MaxInFlight = limit
				var seen zk.Stats
				if hooked {
					conf.Trace = &zk.Trace{
						CallStart: func(ctx context.Context, _ *zk.Session, _ zk.Call) context.Context { seen.Calls++; return ctx },
						CallDone: func(_ context.Context, _ *zk.Session, _ zk.Call, err error) {
							if err != nil {
								seen.Failed++
							}
						},
					}
				}
				s := e.Dial(conf)
				check := func(what string, calls, failed, abandoned int64) {
					t.Helper()
					got := s.Stats()
					assert.Equal(t, fmt.Sprint(got.Calls, got.Failed, got.Abandoned), fmt.Sprint(calls, failed, abandoned), what)
					if hooked {
						assert.Equal(t, fmt.Sprint(got.Calls, got.Failed), fmt.Sprint(seen.Calls, seen.Failed), what)
					}
				}
				check("the Dial's own", 0, 0, 0)
				path := e.Create(s, "/a", "")
				ch := make(chan zk.Event, 9)
				e.Watch(s, path, ch)
				check("two", 2, 0, 0)
				_, _, err := s.Get(e.Ctx, "/none", nil)
				assert.ErrorIs(t, err, zk.ErrNoNode)
				check("answered with an error", 3, 1, 0)
				assert.NilError(t, s.RemoveWatch(e.Ctx, path, ch))
				check("RemoveWatch", 4, 1, 0)
				_, err = s.Multi(e.Ctx, zk.CheckOp{Path: path, Version: zk.AnyVersion}, zk.SetOp{Path: path, Version: zk.AnyVersion})
				assert.NilError(t, err)
				_, err = s.MultiRead(e.Ctx, zk.GetOp{Path: "/none"}, zk.GetOp{Path: path})
				assert.ErrorIs(t, err, zk.ErrNoNode)
				check("several operations", 6, 2, 0)
				_, err = s.Batch(e.Ctx, zk.GetOp{Path: path}, zk.GetOp{Path: path}, zk.GetOp{Path: path})
				assert.NilError(t, err)
				_, err = s.Batch(e.Ctx, zk.GetOp{Path: path}, zk.GetOp{Path: "/none"})
				assert.ErrorIs(t, err, zk.ErrNoNode)
				check("Batches", 8, 3, 0)
				assert.NilError(t, s.AddAuth(e.Ctx, zk.Digest("user", "secret")))
				check("AddAuth", 9, 3, 0)
				_, _, err = s.Get(e.Ctx, "no path", nil)
				assert.ErrorIs(t, err, zk.ErrBadPath)
				check("refused for its arguments", 9, 3, 0)

				ended, cancel := context.WithCancel(e.Ctx)
				cancel()
				n := int64(0)
				suite.EveryCall("/", func(name string, call func(context.Context, *zk.Session) error) {
					assert.Assert(t, call(ended, s) != nil, name)
					n++
				})
				check("contexts that have ended", 9+n, 3+n, 0)

				e.Sim.Fault(suite.StallOn(s, "/stalled"))
				brief, cancel := context.WithTimeout(e.Ctx, 20*time.Millisecond)
				defer cancel()
				_, _, err = s.Get(brief, "/stalled", nil)
				assert.ErrorIs(t, err, zk.ErrLost)
				check("given up", 10+n, 4+n, 1)
				if limit == 0 {
					later, cancel := context.WithTimeout(e.Ctx, 20*time.Millisecond)
					defer cancel()
					_, err = s.Batch(later, zk.GetOp{Path: path}, zk.GetOp{Path: path})
					assert.ErrorIs(t, err, zk.ErrLost)
					_, err = s.Multi(later, zk.SetOp{Path: path})
					assert.ErrorIs(t, err, zk.ErrNotSent)
					check("given up", 12+n, 6+n, 2)
				} else { // the slot is not free
					later, cancel := context.WithTimeout(e.Ctx, 20*time.Millisecond)
					defer cancel()
					_, err = s.Batch(later, zk.GetOp{Path: path}, zk.GetOp{Path: path})
					assert.ErrorIs(t, err, zk.ErrNotSent)
					_, err = s.Multi(later, zk.SetOp{Path: path})
					assert.ErrorIs(t, err, zk.ErrNotSent)
					check("waited for a slot", 12+n, 6+n, 1)
				}
				e.Sim.Cut(s.ID())
				suite.Await(t, s.Done())
				before := s.Stats()
				assert.ErrorIs(t, s.Sync(e.Ctx, "/"), zk.ErrNotSent)
				_ = s.Close()
				_ = s.Close()
				check("on a dead Session", before.Calls+3, before.Failed+3, before.Abandoned)

				seen = zk.Stats{}
				s = e.Dial(conf)
				e.Watch(s, path, ch)
				seen = zk.Stats{}
				s = e.Move(s) // what restores the watch is not a call
				check("moved", 0, 0, 0)
				assert.NilError(t, s.Close())
				check("Close", 1, 0, 0)
			})
		}
	}
}

// A Multi that is sent once more, to a server that cannot read a create2, is one call.
func TestStatsOfCallsSentTwice(t *testing.T) {
	e := suite.Private(t, 1, suite.SimOptions(zktest.V34))
	s := e.Session()
	for i := range int64(2) {
		_, err := s.Multi(e.Ctx, zk.CreateOp{Path: fmt.Sprintf("/a%d", i), ACL: zk.ACLOpen})
		assert.NilError(t, err)
		n := s.Stats()
		assert.Equal(t, fmt.Sprint(n.Calls, n.Failed, n.Requests), fmt.Sprint(i+1, 0, i+2))
	}
}

// No server expires the session before ExpiresAt.
func TestExpiresAt(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.Timeout = 12 * time.Second
		began := time.Now()
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		assert.Equal(t, s.ExpiresAt().Sub(began), 9*time.Second)
		time.Sleep(time.Second)
		fault := e.Sim.Fault(zktest.Rule{Op: wire.OpGetData, Delay: 500 * time.Millisecond})
		_, _, err = s.Get(context.Background(), "/", nil)
		assert.NilError(t, err)
		assert.Equal(t, fault.Hits(), 1)
		assert.Equal(t, s.ExpiresAt().Sub(began), 10*time.Second) // from when it was sent, not answered
		time.Sleep(time.Minute)
		left := time.Until(s.ExpiresAt()) // pings count
		assert.Assert(t, left >= 5*time.Second && left <= 9*time.Second, left)

		e.Sim.Stall(s.ID()) // our pings go on, without an answer
		at := s.ExpiresAt()
		<-s.Done()
		assert.Equal(t, s.ExpiresAt(), at)
		time.Sleep(time.Until(at))
		assert.DeepEqual(t, e.Sim.Sessions(), []int64{s.ID()})
		time.Sleep(12 * time.Second)
		assert.Equal(t, len(e.Sim.Sessions()), 0)
		_, err = s.Redial(context.Background())
		assert.ErrorIs(t, err, zk.ErrExpired)
	})
}

// An idle session lives on pings alone.
func TestIdleForADay(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.Timeout = 9 * time.Second
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		time.Sleep(24*time.Hour + time.Second)
		assert.NilError(t, s.Err())
		_, _, err = s.Get(context.Background(), "/", nil)
		assert.NilError(t, err)
		assert.Equal(t, s.Stats().Pings, int64(24*3600/3))
		assert.NilError(t, s.Close())
	})
}

// Close waits no longer than two thirds of the timeout.
func TestCloseIsBounded(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.Timeout = 9 * time.Second
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		e.Sim.Stall(s.ID())
		began := time.Now()
		err = s.Close()
		suite.WantLost(t, err, zk.ErrConnection)
		assert.ErrorContains(t, err, "expires by itself")
		assert.Equal(t, time.Since(began), 6*time.Second)
		<-s.Done()
	})
}

// Nothing is left behind by Sessions that have ended in whatever way.
func TestNothingIsLeft(t *testing.T) {
	e := suite.Private(t, 1)
	n := 10_000
	if suite.RaceEnabled {
		n = 1000
	}
	if testing.Short() {
		n = 100
	}
	goroutines := func() int { return runtime.NumGoroutine() }
	cycle := func(i int) {
		conf, l := e.Config()
		conf.DialContext = nil // as applications do
		switch i % 5 {
		case 0: // Dial and Close
			s, err := zk.Dial(context.Background(), conf)
			assert.NilError(t, err)
			assert.NilError(t, s.Close())
		case 1: // with calls, a watch that is never read, and a redial
			s, err := zk.Dial(context.Background(), conf)
			assert.NilError(t, err)
			full := make(chan zk.Event)
			_, _, err = s.Get(e.Ctx, "/", full)
			assert.NilError(t, err)
			_, err = s.Set(e.Ctx, "/", nil, zk.AnyVersion)
			assert.NilError(t, err)
			s, err = s.Redial(e.Ctx)
			assert.NilError(t, err)
			assert.NilError(t, s.Close())
		case 2: // detached, and taken up again
			s, err := zk.Dial(context.Background(), conf)
			assert.NilError(t, err)
			s, err = zk.Dial(context.Background(), s.Detach())
			assert.NilError(t, err)
			assert.NilError(t, s.Close())
		case 3: // a Dial that fails, before and behind the handshake
			conf.DialContext = l.Dial
			l.Fail(errors.New("no route"))
			_, err := zk.Dial(context.Background(), conf)
			assert.ErrorIs(t, err, zk.ErrNoServer)
			l.Fail(nil)
			conf.Auth = []zk.Auth{{Scheme: "nonsense"}}
			_, err = zk.Dial(context.Background(), conf)
			assert.ErrorIs(t, err, zk.ErrAuth)
		case 4: // cut, and renewed
			s, err := zk.Dial(context.Background(), conf)
			assert.NilError(t, err)
			e.Sim.Expire(s.ID())
			_, err = s.Redial(e.Ctx)
			assert.ErrorIs(t, err, zk.ErrExpired)
			s, err = s.Renew(e.Ctx)
			assert.NilError(t, err)
			assert.NilError(t, s.Close())
		}
	}
	for i := range 10 { // whatever is made once
		cycle(i)
	}
	settled := func() (int, int) { // the server's side ends a little later
		g, f := goroutines(), descriptors(t)
		for calm := 0; calm < 5; {
			time.Sleep(time.Millisecond)
			g2, f2 := goroutines(), descriptors(t)
			if calm++; g2 < g || f2 < f {
				calm = 0
			}
			g, f = min(g, g2), min(f, f2)
		}
		return g, f
	}
	g, f := settled()
	for i := range n {
		cycle(i)
	}
	end := time.Now().Add(suite.Patience)
	for {
		g2, f2 := goroutines(), descriptors(t)
		if g2 <= g && f2 <= f {
			break
		}
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines and %d descriptors after %d sessions, %d and %d before\n%s", g2, f2, n, g, f, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(time.Millisecond)
	}
	e.Sim.Close() // sessions of refused credentials are left to expire
}

// descriptors counts the open files of this process; 0 where it cannot tell.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
