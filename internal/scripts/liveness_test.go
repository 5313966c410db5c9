package scripts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// The invariants I31 to I34 of docs/guarantees.md: what a Session does about time,
// and how it ends.

// tick is how often a Session looks at the clock: what the bounds below may be
// late by.
const tick = suite.RigTimeout / 6

// endsBetween waits for a Session's end and checks how long that took.
func endsBetween(t testing.TB, s *zk.Session, since time.Time, least, most time.Duration) {
	t.Helper()
	<-s.Done()
	if took := time.Since(since); took < least || took > most {
		t.Errorf("ended after %v, not between %v and %v: %v", took, least, most, s.Err())
	}
	assert.Assert(t, errors.Is(s.Err(), zk.ErrConnection), "%v", s.Err())
}

// TestI31_ReaderNeverBlocks: channels that nobody reads delay their events, and
// neither replies nor pings.
func TestI31_ReaderNeverBlocks(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		const n = 2000
		var ops []zk.Op
		full := make(chan zk.Event)
		for i := range n {
			ops = append(ops, zk.GetOp{Path: fmt.Sprintf("/%d", i), Watch: full})
		}
		u := suite.Start(t, func() error { _, err := s.Batch(suite.BG, ops...); return err })
		for range n {
			l.Send(suite.Fitting(l.Next(), 1))
		}
		u.OK()
		l.Serve(func(a suite.Asked) [][]byte { return [][]byte{suite.Fitting(a, 2)} })
		for i := range n {
			for range 10 { // the server says everything ten times
				l.Send(suite.Happened(zk.Changed, fmt.Sprintf("/%d", i), -1))
			}
			time.Sleep(time.Hour / n)
			_, _, err := s.Get(suite.BG, "/a", nil)
			assert.NilError(t, err)
		}
		st := s.Stats()
		assert.Equal(t, st.Queued, n, "the queue is bounded by what was armed")
		assert.Equal(t, st.Ignored, int64(9*n))
		time.Sleep(time.Hour)
		assert.NilError(t, s.Err())
		for i := range n {
			assert.Equal(t, suite.Told(<-full), fmt.Sprintf("changed /%d", i))
		}
	})
}

// The queue of persistent watches has an end: the event that would be one too
// many ends the Session and takes no effect, and the next one says that
// something is missing.
func TestI31_SlowConsumer(t *testing.T) {
	const limit = 65536
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		full, quick, one := make(chan zk.Event), make(chan zk.Event, 1), make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/p", one)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", full)
		suite.Arm(t, s, l, zk.DataWatch, "/other", quick)
		for i := range limit / 256 {
			var frames [][]byte
			for j := range 256 {
				frames = append(frames, suite.Happened(zk.Child, "/p", int64(i*256+j+1)))
			}
			l.Send(frames...)
		}
		u := suite.Start(t, func() error { _, err := s.Set(suite.BG, "/set", nil, -1); return err })
		l.Send(suite.Happened(zk.Changed, "/other", -1), suite.Fitting(l.Next(), 7))
		u.OK()
		assert.NilError(t, s.Err())
		assert.Equal(t, s.Stats().Queued, limit+1)
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "data /p", "the queued kinds count as fired")

		l.Send(suite.Happened(zk.Deleted, "/p", limit+1), suite.Happened(zk.Changed, "/other", -1))
		<-s.Done()
		assert.Assert(t, errors.Is(s.Err(), zk.ErrSlowConsumer) && errors.Is(s.Err(), zk.ErrConnection), "%v", s.Err())
		assert.Assert(t, strings.Contains(fmt.Sprint(s.Config().Watches.List()), "{/p data "), "the one-shot was disarmed by the event that was refused")
		assert.Equal(t, len(one), 0)
		assert.Equal(t, s.Config().Watches.Undelivered(), limit+1)

		d := r.Begin(s.Config())
		l = r.Accept()
		l.Greet()
		a := l.Next()
		w := a.Watches(t)
		assert.DeepEqual(t, w.Data, []string{"/p"})
		assert.DeepEqual(t, w.Persistent, []string{"/p"})
		for i := range limit {
			assert.Equal(t, (<-full).Zxid, int64(i+1))
		}
		l.Send(suite.Happened(zk.Deleted, "/p", -1), suite.Answer(a.Xid, 9, nil))
		assert.Equal(t, suite.Told(<-quick), "changed /other")
		assert.Equal(t, suite.Told(<-full), "gap /p")
		assert.Equal(t, suite.Told(<-full), "deleted /p")
		assert.Equal(t, suite.Told(<-one), "deleted /p")
		d.Session()
	})
}

// TestI31_OneEventForAll: one event that is for more persistent watches than may
// wait passes when none does, or every connection would end of it.
func TestI31_OneEventForAll(t *testing.T) {
	defer suite.Shrink(&limits.PersistentQueue, 10)()
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		var all []chan zk.Event
		for range 11 {
			all = append(all, make(chan zk.Event))
			suite.Arm(t, s, l, zk.PersistentWatch, "/p", all[len(all)-1])
		}
		l.Send(suite.Happened(zk.Changed, "/p", 1))
		synctest.Wait()
		assert.NilError(t, s.Err())
		assert.Equal(t, s.Stats().Queued, len(all))
		l.Send(suite.Happened(zk.Changed, "/p", 2))
		<-s.Done()
		assert.ErrorIs(t, s.Err(), zk.ErrSlowConsumer)
		assert.Equal(t, s.Config().Watches.Undelivered(), len(all))
		_, _, _, w := r.Move(s.Config(), 1)
		assert.DeepEqual(t, w.Persistent, []string{"/p"})
		for _, ch := range all {
			assert.Equal(t, suite.Told(<-ch), "changed /p")
		}
	})
}

// TestI32_SilentPeer: a server that says nothing any more is noticed when two
// thirds of the granted timeout have passed since its last byte, and not before.
func TestI32_SilentPeer(t *testing.T) {
	t.Run("from the handshake on", func(t *testing.T) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			began := time.Now()
			u := suite.Get(t, s, suite.BG, "/a", nil)
			endsBetween(t, s, began, suite.RigTimeout*2/3, suite.RigTimeout*2/3)
			u.Lost(zk.ErrConnection)
			for {
				if _, err := l.Frame(); err != nil {
					assert.Equal(t, err, io.EOF)
					break
				}
			}
		})
	})
	t.Run("the granted timeout counts", func(t *testing.T) {
		for _, granted := range []time.Duration{6 * time.Millisecond, 600 * time.Millisecond, 4 * time.Second, time.Hour} {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				conf := r.Config()
				conf.Timeout = 30 * time.Second
				for range 2 { // what is granted changes nothing in what is asked for
					d := r.Begin(conf)
					l := r.Accept()
					q := l.Connect()
					assert.Equal(t, q.Timeout, int32(30_000))
					l.Send(suite.Framed(wire.ConnectResponse{Timeout: int32(granted.Milliseconds()), SessionID: suite.RigID, Password: suite.RigPassword}))
					s, began := d.Session(), time.Now()
					assert.Equal(t, s.Timeout(), granted)
					endsBetween(t, s, began, granted*2/3, granted*2/3+granted/6)
					conf = s.Config()
					assert.Equal(t, conf.Timeout, 30*time.Second)
				}
			})
		}
	})
	t.Run("after some life", func(t *testing.T) {
		for n := range 40 { // the last byte, at different moments
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				last := time.Duration(n) * 777 * time.Millisecond
				end := time.Now().Add(last)
				for time.Until(end) > 0 {
					time.Sleep(min(time.Second, time.Until(end)))
					l.Send(suite.Happened(zk.Changed, "/nobody", -1))
				}
				endsBetween(t, s, end, suite.RigTimeout*2/3, suite.RigTimeout*2/3+tick)
			})
		}
	})
	t.Run("a part of a frame is life", func(t *testing.T) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			frame := suite.Happened(zk.Changed, "/nobody", -1)
			begun := time.Now()
			l.Send(frame[:3])
			time.Sleep(suite.RigTimeout*2/3 - time.Second)
			l.Send(frame[3:7])
			// Not by silence, which began anew: by the bound of the whole frame.
			endsBetween(t, s, begun, suite.RigTimeout, suite.RigTimeout+tick)
		})
	})
}

// A server that answers pings and no requests is alive: only their contexts
// bound the calls. One that answers requests and no pings is alive too.
func TestI32_HalfDead(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		go func() {
			for a := range l.Requests() {
				if a.Op == wire.OpPing {
					l.TrySend(suite.Answer(wire.XidPing, 0, nil))
				}
			}
		}()
		ctx, cancel := context.WithTimeout(suite.BG, time.Hour)
		defer cancel()
		began := time.Now()
		suite.Get(t, s, ctx, "/a", nil).Lost(context.DeadlineExceeded)
		assert.Equal(t, time.Since(began), time.Hour)
		assert.NilError(t, s.Err())
	})
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		go func() {
			for a := range l.Requests() {
				if a.Op != wire.OpPing {
					l.TrySend(suite.Fitting(a, 1))
				}
			}
		}()
		for range 200 {
			time.Sleep(suite.RigTimeout / 2)
			_, _, err := s.Get(suite.BG, "/a", nil)
			assert.NilError(t, err)
		}
	})
}

// TestI32_Pings: one when nothing was written for a third of the timeout, at
// that moment; none while requests go out; some frame always, however full the
// pipeline is.
func TestI32_Pings(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			began := time.Now()
			s, l := r.Open(r.Config())
			for i := 1; i <= 300; i++ {
				body, err := l.Frame()
				assert.NilError(t, err)
				a := suite.ParseAsked(body)
				assert.Equal(t, a.Op, wire.OpPing)
				assert.Equal(t, a.Xid, wire.XidPing)
				assert.Equal(t, time.Since(began), time.Duration(i)*suite.RigTimeout/3)
				l.Send(suite.Answer(wire.XidPing, 0, nil))
			}
			assert.Equal(t, s.Stats().Pings, int64(300))
			assert.NilError(t, s.Err())
		})
	})
	t.Run("after a request", func(t *testing.T) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			for i := range 30 {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				u := suite.Get(t, s, suite.BG, "/a", nil)
				l.Send(suite.Fitting(l.Next(), 1))
				u.OK()
				began := time.Now()
				body, err := l.Frame()
				assert.NilError(t, err)
				assert.Equal(t, suite.ParseAsked(body).Op, wire.OpPing)
				assert.Equal(t, time.Since(began), suite.RigTimeout/3)
				l.Send(suite.Answer(wire.XidPing, 0, nil))
			}
		})
	})
	t.Run("requests are enough", func(t *testing.T) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			l.Serve(func(a suite.Asked) [][]byte { return [][]byte{suite.Fitting(a, 1)} })
			for range 100 {
				time.Sleep(suite.RigTimeout/3 - time.Millisecond)
				_, _, err := s.Get(suite.BG, "/a", nil)
				assert.NilError(t, err)
			}
			assert.Equal(t, s.Stats().Pings, int64(0))
		})
	})
	t.Run("full pipeline", func(t *testing.T) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			conf := r.Config()
			conf.MaxInFlight = 64
			s, l := r.Open(conf)
			const late = suite.RigTimeout * 6 / 10 // of every answer
			last := time.Now()
			var gap time.Duration
			frames := 0
			type due struct {
				suite.Asked
				at time.Time
			}
			queue := make(chan due, 1000)
			go func() {
				defer close(queue)
				for a := range l.Requests() {
					gap = max(gap, time.Since(last))
					last = time.Now()
					frames++
					queue <- due{a, last.Add(late)}
				}
			}()
			go func() {
				for a := range queue {
					if !l.Pause(time.Until(a.at)) {
						return
					}
					if a.Op == wire.OpPing {
						l.TrySend(suite.Answer(wire.XidPing, 0, nil))
					} else {
						l.TrySend(suite.Fitting(a.Asked, 1))
					}
				}
			}()
			end := time.Now().Add(time.Hour)
			var all []*suite.Under
			for range 100 {
				all = append(all, suite.Start(t, func() error {
					for time.Until(end) > 0 {
						if _, _, err := s.Get(suite.BG, "/a", nil); err != nil {
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
			assert.Assert(t, gap <= suite.RigTimeout/3, "nothing was written for %v", gap)
			assert.Assert(t, frames > 1000)
			assert.NilError(t, s.Err())
		})
	})
}

// TestI32_SlowFrames: a frame may take the timeout and its size at 16 KiB/s, in
// either direction, and no longer.
func TestI32_SlowFrames(t *testing.T) {
	bound := func(size int) time.Duration { return suite.RigTimeout + time.Duration(size)*time.Second/(16<<10) }
	// drip sends a frame at so many bytes a second.
	drip := func(l *suite.Line, frame []byte, rate int) error {
		for at := 0; at < len(frame); {
			n := min(max(rate/10, 1), len(frame)-at)
			if err := l.TrySend(frame[at : at+n]); err != nil {
				return err
			}
			at += n
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		return nil
	}
	for _, c := range []struct {
		name       string
		size, rate int
		survives   bool
	}{
		{"1 MB at 64 KiB/s", 1 << 20, 64 << 10, true},
		{"1 MB at 16 KiB/s", 1 << 20, 16 << 10, true},
		{"4 MB at 16 KiB/s", 4 << 20, 16 << 10, true},
		{"1 MB at 8 KiB/s", 1 << 20, 8 << 10, false},
		{"100 bytes, one a second", 100, 1, false},
		{"1000 bytes, one a second", 1000, 1, false},
		{"20 bytes, two a second", 20, 2, true},
	} {
		t.Run("reply of "+c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				u := suite.Get(t, s, suite.BG, "/a", nil)
				q := l.Want(wire.OpGetData, "/a")
				frame := suite.Refusal(q.Xid, 1, zk.ErrNoNode)
				if c.size > len(frame) {
					frame = suite.Answer(q.Xid, 1, wire.GetDataResponse{Data: make([]byte, max(0, c.size-92))})
				}
				go func() { // what else comes is no concern of this test
					for {
						if _, err := l.Frame(); err != nil {
							return
						}
					}
				}()
				began := time.Now()
				dripped := suite.Start(t, func() error { return drip(l, frame, c.rate) })
				if c.survives {
					dripped.OK()
					if c.size > 20 {
						u.OK()
					} else {
						u.Refused(zk.ErrNoNode)
					}
					assert.NilError(t, s.Err())
					return
				}
				u.Lost(zk.ErrConnection)
				endsBetween(t, s, began, bound(len(frame)), bound(len(frame))+tick)
				assert.Assert(t, dripped.Wait() != nil)
			})
		})
	}
	t.Run("many frames, each in time", func(t *testing.T) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			frame := suite.Happened(zk.Changed, "/nobody", -1)
			for range 20 { // each takes 9 of 12 seconds, and none begins late
				assert.NilError(t, drip(l, frame, len(frame)/9))
			}
			assert.NilError(t, s.Err())
			assert.Equal(t, s.Stats().Ignored, int64(20))
		})
	})
	for _, c := range []struct {
		name     string
		rate     int // at which the peer takes bytes; 0: not at all
		survives bool
	}{
		{"64 KiB/s", 64 << 10, true},
		{"8 KiB/s", 8 << 10, false},
		{"nothing", 0, false},
	} {
		t.Run("a peer that takes "+c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				conf := r.Config()
				conf.MaxRequest = 2 << 20
				s, l := r.Open(conf)
				r.LastClient.SetCapacity(4 << 10)
				l.Chatter(time.Second)
				const size = 1 << 20
				began := time.Now()
				u := suite.Start(t, func() error { _, err := s.Set(suite.BG, "/a", make([]byte, size), -1); return err })
				var rest []byte
				if c.rate > 0 {
					go func() {
						chunk := make([]byte, c.rate/10)
						for {
							n, err := l.Read(chunk)
							if err != nil {
								return
							}
							rest = append(rest, chunk[:n]...)
							if len(rest) >= 4 && len(rest) >= 4+wire.FrameLen(rest) {
								l.TrySend(suite.Fitting(suite.ParseAsked(rest[4:4+wire.FrameLen(rest)]), 1))
								return
							}
							if !l.Pause(time.Second / 10) {
								return
							}
						}
					}()
				}
				if c.survives {
					u.OK()
					assert.NilError(t, s.Err())
					s.Detach()
					return
				}
				u.Lost(zk.ErrConnection)
				endsBetween(t, s, began, bound(size), bound(size)+2*tick)
			})
		})
	}
}

// saslStub is a mechanism that sends one token and takes any answer.
type saslStub struct{}

func (saslStub) Start(context.Context, string) (sasl.Exchange, []byte, error) {
	return saslStub{}, []byte("token"), nil
}

func (saslStub) Next([]byte) ([]byte, bool, error) { return nil, true, nil }

// stalls are the stages of a Dial that moves a session, and how a server gets
// there. DNS has a test of its own.
var stalls = []struct {
	name string
	conf func(c *zk.Config)
	play func(l *suite.Line) // up to the stall; nil: there is no connection
	most time.Duration       // that it takes without a deadline
}{
	{"TCP", func(c *zk.Config) {
		c.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	}, nil, suite.RigTimeout},
	{"TLS", func(c *zk.Config) { c.TLS = new(tls.Config) }, func(l *suite.Line) {}, suite.RigTimeout},
	{"handshake", nil, func(l *suite.Line) { l.Connect() }, suite.RigTimeout},
	{"within the handshake", nil, func(l *suite.Line) { l.Send(suite.Welcome(l.Connect())[:20]) }, suite.RigTimeout},
	{"SASL", func(c *zk.Config) { c.SASL = saslStub{} }, func(l *suite.Line) { l.Greet(); l.Want(wire.OpSASL, "") }, suite.RigTimeout * 2 / 3},
	{"auth", nil, func(l *suite.Line) { l.Greet(); l.Want(wire.OpAuth, "") }, suite.RigTimeout * 2 / 3},
	{"watches", nil, func(l *suite.Line) {
		l.Greet()
		l.GrantAuth()
		l.Want(wire.OpSetWatches, "")
	}, suite.RigTimeout * 2 / 3},
}

// openWithAuth dials with a credential.
func openWithAuth(r *suite.Rig) (*zk.Session, *suite.Line) {
	conf := r.Config()
	conf.Auth = []zk.Auth{zk.Digest("u", "p")}
	d := r.Begin(conf)
	l := r.Accept()
	l.Greet()
	l.GrantAuth()
	return d.Session(), l
}

// stallable is a Session with a credential, a watch and a queued event, that has ended.
func stallable(t *testing.T, r *suite.Rig, full chan zk.Event) zk.Config {
	t.Helper()
	s, l := openWithAuth(r)
	suite.Arm(t, s, l, zk.DataWatch, "/queued", full)
	suite.Arm(t, s, l, zk.DataWatch, "/armed", full)
	l.Send(suite.Happened(zk.Changed, "/queued", -1))
	synctest.Wait()
	return s.Detach()
}

// TestI32_DialStalls: a Dial whose server stops answering, at every stage, ends
// when its context does, or else in bounded time, and leaves everything as it was.
func TestI32_DialStalls(t *testing.T) {
	for _, c := range stalls {
		for _, how := range []string{"deadline", "deadline", "deadline", "cancel", "nothing"} { // two timers meet at a deadline
			t.Run(c.name+"/"+how, func(t *testing.T) {
				suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
					full := make(chan zk.Event)
					whole := stallable(t, r, full)
					conf := whole
					if c.conf != nil {
						c.conf(&conf)
					}
					ctx, cancel := context.WithCancel(suite.BG)
					want, took := context.Canceled, time.Second
					switch how {
					case "deadline":
						ctx, cancel = context.WithTimeout(suite.BG, 2*time.Second)
						want, took = context.DeadlineExceeded, 2*time.Second
					case "cancel":
						time.AfterFunc(time.Second, cancel)
					case "nothing":
						want, took = nil, c.most
					}
					defer cancel()
					began := time.Now()
					d := r.BeginContext(ctx, conf)
					var l *suite.Line
					if c.play != nil {
						l = r.Accept()
						c.play(l)
					}
					err := d.Wait()
					if t2 := time.Since(began); t2 != took && (how != "nothing" || took == suite.RigTimeout || t2 < took || t2 > took+tick) {
						t.Errorf("returned after %v, not %v", t2, took)
					}
					assert.Assert(t, d.S == nil)
					assert.Assert(t, errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrExpired), "%v", err)
					if want != nil {
						assert.Assert(t, errors.Is(err, want), "%v", err)
					}
					if l != nil {
						_, err := io.Copy(io.Discard, l)
						assert.NilError(t, err) // it was closed
					}

					// The State is whole.
					assert.Equal(t, whole.Watches.Undelivered(), 1)
					assert.Equal(t, suite.ArmedList(whole.Watches), "data /armed")
					d = r.Begin(whole)
					l = r.Accept()
					assert.Equal(t, l.Greet().SessionID, suite.RigID)
					l.GrantAuth()
					assert.DeepEqual(t, l.Restored(1).Data, []string{"/armed"})
					d.Session()
					assert.Equal(t, suite.Told(<-full), "changed /queued")
				})
			})
		}
	}
}

// Without a deadline the time for connecting is shared among the addresses that
// are left, and a context that ends leaves none of them a turn.
func TestI32_DialSharesItsTime(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Addrs = []string{"a:1", "b:2", "c:3"}
		began := time.Now()
		d := r.Begin(conf)
		for i := range 3 {
			l := r.Accept()
			assert.Equal(t, time.Since(began), time.Duration(i)*suite.RigTimeout/3)
			l.Connect()
		}
		err := d.Wait()
		assert.Equal(t, time.Since(began), suite.RigTimeout)
		assert.Assert(t, errors.Is(err, zk.ErrNoServer))
		for _, addr := range conf.Addrs {
			assert.Assert(t, strings.Contains(err.Error(), addr), "%v", err)
		}

		// One that refuses at once leaves its share to the others.
		began = time.Now()
		d = r.Begin(conf)
		r.Accept().Close()
		for i := range 2 {
			l := r.Accept()
			assert.Equal(t, time.Since(began), time.Duration(i)*suite.RigTimeout/2)
			l.Connect()
		}
		assert.Assert(t, errors.Is(d.Wait(), zk.ErrNoServer))
		assert.Equal(t, time.Since(began), suite.RigTimeout)

		ctx, cancel := context.WithTimeout(suite.BG, time.Second)
		defer cancel()
		before := r.Connections()
		d = r.BeginContext(ctx, conf)
		for range 3 {
			r.Accept().Connect()
		}
		assert.Assert(t, errors.Is(d.Wait(), context.DeadlineExceeded))
		assert.Equal(t, r.Connections(), before+3)
	})
}

// A resolver that says nothing.
func TestI32_DialStallsInDNS(t *testing.T) {
	old := net.DefaultResolver
	defer func() { net.DefaultResolver = old }()
	asked := make(chan struct{}, 100)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, _ := zktest.Pipe()
		asked <- struct{}{}
		return client, nil
	}}
	ctx, cancel := context.WithCancel(suite.BG)
	d := (&suite.Rig{T: t}).BeginContext(ctx, zk.Config{Addrs: []string{"zk.invalid.example:2181"}})
	<-asked
	cancel()
	began := time.Now()
	err := d.Wait()
	if took := time.Since(began); took > 4500*time.Millisecond { // a resolver tries for 5 s, and again
		t.Errorf("the lookup was left after %v", took)
	}
	assert.Assert(t, errors.Is(err, zk.ErrNoServer) && errors.Is(err, context.Canceled), "%v", err)
}

// TestI32_ExpiresAt: the send time of the last request that was answered, and
// three quarters of the granted timeout.
func TestI32_ExpiresAt(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		d := r.Begin(r.Config())
		sent := time.Now() // of the ConnectRequest
		l := r.Accept()
		q := l.Connect()
		time.Sleep(2 * time.Second)
		q.Timeout = 8000
		l.Send(suite.Welcome(q))
		s := d.Session()
		check := func(sent time.Time) {
			t.Helper()
			synctest.Wait()
			assert.Equal(t, s.ExpiresAt(), sent.Add(6*time.Second))
		}
		check(sent)

		time.Sleep(time.Second)
		first := time.Now()
		u1 := suite.Get(t, s, suite.BG, "/1", nil)
		q1 := l.Next()
		time.Sleep(time.Second)
		second := time.Now()
		u2 := suite.Get(t, s, suite.BG, "/2", nil)
		q2 := l.Next()
		check(sent) // nothing is answered
		l.Send(suite.Happened(zk.Changed, "/nobody", -1))
		check(sent) // nor is an event an answer
		time.Sleep(time.Second)
		third := time.Now()
		u3 := suite.Get(t, s, suite.BG, "/3", nil)
		q3 := l.Next()
		l.Send(suite.Fitting(q1, 1))
		u1.OK()
		check(first)
		l.Send(suite.Refusal(q2.Xid, 1, zk.ErrNoNode)) // any answer
		u2.Refused(zk.ErrNoNode)
		check(second)
		l.Send(suite.Fitting(q3, 1))
		u3.OK()
		check(third)

		// A ping's answer.
		body, err := l.Frame()
		assert.NilError(t, err)
		assert.Equal(t, suite.ParseAsked(body).Op, wire.OpPing)
		ping := time.Now()
		time.Sleep(time.Second)
		check(third)
		l.Send(suite.Answer(wire.XidPing, 0, nil))
		check(ping)
		l.Send(suite.Answer(wire.XidPing, 0, nil)) // nobody asked
		check(ping)

		// A call that was given up has its answer all the same.
		ctx, cancel := context.WithTimeout(suite.BG, time.Millisecond)
		defer cancel()
		sent = time.Now()
		u := suite.Get(t, s, ctx, "/gone", nil)
		q4 := l.Next()
		u.Lost(context.DeadlineExceeded)
		l.Send(suite.Fitting(q4, 1))
		check(sent)
		l.Close()
		<-s.Done()
		check(sent)
	})
}
