package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// This file is for places where two rules meet.

// A Batch takes no more memory than its requests need, whatever the first is
// like, and what is too large is refused before more is made of it.
func TestBatchOfUnlikeSizes(t *testing.T) {
	s, _ := suite.Private(t, 1).Linked()
	allocated := func(ops []zk.Op) (uint64, error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := s.Batch(suite.BG, ops...)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc, err
	}
	ops := []zk.Op{zk.SetOp{Path: "/a", Data: make([]byte, 900<<10), Version: zk.AnyVersion}}
	for range 1000 {
		ops = append(ops, zk.GetOp{Path: "/b"})
	}
	n, err := allocated(ops)
	assert.ErrorIs(t, err, zk.ErrNoNode)
	assert.Assert(t, n < 32<<20, "%d bytes for one of 900 KiB", n)
	ops[0] = zk.SetOp{Path: "/a", Data: make([]byte, 64<<20)}
	n, err = allocated(ops)
	suite.CheckOutcome(t, err, zk.NotSent, zk.ErrTooLarge)
	assert.Assert(t, n < 512<<20, "%d bytes for what is refused", n)
}

// Limits may be as large as an int.
func TestLimitsWithoutEnd(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.MaxRequest, conf.MaxReply, conf.MaxInFlight = math.MaxInt, math.MaxInt, math.MaxInt
		s, l := r.Open(conf)
		suite.Arm(t, s, l, zk.DataWatch, "/w", make(chan zk.Event, 1))
		_, _, _, w := r.Move(s.Config(), 1)
		assert.DeepEqual(t, w.Data, []string{"/w"})
	})
}

// An operation of a Batch may be a pointer, or something with one inside.
func TestBatchOfPointers(t *testing.T) {
	s, _ := suite.Private(t, 1).Linked()
	ch := make(chan zk.Event, 2)
	type mine struct{ zk.ExistsOp }
	res, _ := s.Batch(suite.BG, &zk.ExistsOp{Path: "/m", Watch: ch}, mine{zk.ExistsOp{Path: "/n", Watch: ch}})
	for _, r := range res {
		assert.ErrorIs(t, r.Err, zk.ErrNoNode)
	}
	for _, path := range []string{"/m", "/n"} {
		_, err := s.Create(suite.BG, path, nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		assert.Equal(t, suite.Told(suite.Await(t, ch)), "created "+path)
	}
}

// An opcode that the server does not know ends the connection from within a
// Batch as well, one that is switched off does not.
func TestBatchUnimplemented(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		make := func(mode zk.Mode) *suite.Under {
			return suite.Start(t, func() error {
				_, err := s.Batch(suite.BG, zk.GetOp{Path: "/a"}, zk.CreateOp{Path: "/b", Mode: mode, ACL: zk.ACLOpen}, zk.GetOp{Path: "/c"})
				return err
			})
		}
		u := make(zk.TTL(time.Hour))
		l.Send(suite.Fitting(l.Next(), 1), suite.Refusal(l.Next().Xid, 1, zk.ErrUnimplemented), suite.Fitting(l.Next(), 1))
		u.Refused(zk.ErrUnimplemented)
		assert.Assert(t, !errors.Is(u.Err, zk.ErrConnection))

		u = make(zk.Container)
		l.Send(suite.Fitting(l.Next(), 1), suite.Refusal(l.Next().Xid, 1, zk.ErrUnimplemented))
		u.Refused(zk.ErrUnimplemented)
		assert.ErrorIs(t, u.Err, zk.ErrConnection)
		<-s.Done()
	})
}

// RemoveWatch of what is only here waits for no slot, nor for a connection.
func TestRemoveWatchNeedsNoSlot(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.MaxInFlight = 1
		s, l := r.Open(conf)
		one, two := make(chan zk.Event, 1), make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/x", one)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", two)
		u := suite.Get(t, s, suite.BG, "/slow", nil)
		q := l.Next()
		assert.NilError(t, s.RemoveWatch(suite.BG, "/x", one))
		suite.CheckOutcome(t, s.RemoveWatch(suite.BG, "/x", one), zk.NotSent, zk.ErrNoWatcher)
		asks := suite.Start(t, func() error { return s.RemoveWatch(suite.BG, "/p", two) }) // of the server
		l.Quiet()
		l.Send(suite.Fitting(q, 1))
		u.OK()
		l.Send(suite.Fitting(l.Want(wire.OpRemoveWatches, "/p"), 1))
		asks.OK()

		suite.Arm(t, s, l, zk.PersistentWatch, "/p", two)
		u = suite.Get(t, s, suite.BG, "/lost", nil)
		l.Next()
		l.Close()
		u.Lost(zk.ErrConnection)
		assert.NilError(t, s.RemoveWatch(suite.BG, "/p", two))
		assert.Equal(t, s.Config().Watches.Len(), 0)
	})
}

// Credentials that are too large are found before anything is given up for them.
func TestAuthTooLarge(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		conf := s.Config()
		conf.MaxRequest = 100
		conf.Auth = []zk.Auth{zk.Digest("user", strings.Repeat("x", 100))}
		_, err := zk.Dial(suite.BG, conf)
		assert.ErrorIs(t, err, zk.ErrTooLarge)
		assert.Equal(t, r.Connections(), 1)
		assert.NilError(t, s.Err())
		l.Quiet()
		conf.MaxRequest = 200
		d := r.Begin(conf)
		l = r.Accept()
		l.Greet()
		l.GrantAuth()
		d.Session()
	})
}

// A context that ends when the Session is as good as there leaves no Session
// behind that nobody has.
func TestRedialGivenUpAtTheEnd(t *testing.T) {
	for _, renew := range []bool{false, true} {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			ctx, cancel := context.WithCancel(suite.BG)
			conf := r.Config()
			moved, left := false, make(chan struct{})
			conf.Logger = slog.New(onRecord(func(rec slog.Record) {
				if moved && rec.Message == "zk: session" { // the last thing before Dial returns it
					cancel()
					<-left // nobody waits for it any more
				}
			}))
			s, l := r.Open(conf)
			l.Close()
			<-s.Done()
			moved = true
			u := suite.Start(t, func() (err error) {
				defer close(left)
				if renew {
					_, err = s.Renew(ctx)
				} else {
					_, err = s.Redial(ctx)
				}
				return err
			})
			l = r.Accept()
			l.Greet()
			assert.ErrorIs(t, u.Wait(), context.Canceled)
			assert.ErrorIs(t, u.Err, zk.ErrNoServer)
			if renew { // a new session is closed
				l.Want(wire.OpCloseSession, "")
			}
			l.HungUp()
			_, err := s.Redial(ctx)
			assert.ErrorIs(t, err, zk.ErrNoServer)
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
}

// onRecord is a slog.Handler.
type onRecord func(slog.Record)

func (f onRecord) Enabled(context.Context, slog.Level) bool      { return true }
func (f onRecord) Handle(_ context.Context, r slog.Record) error { f(r); return nil }
func (f onRecord) WithAttrs([]slog.Attr) slog.Handler            { return f }
func (f onRecord) WithGroup(string) slog.Handler                 { return f }

// What a session without a server has come to is told: by Close that the session
// expires by itself, by Dial that it has probably expired.
func TestNoServerForTooLong(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		l.Close()
		<-s.Done()
		dial := func() error {
			d := r.Begin(s.Config())
			r.Accept().Close()
			err := d.Wait()
			assert.ErrorIs(t, err, zk.ErrNoServer)
			return err
		}
		assert.Assert(t, !strings.Contains(dial().Error(), "expired"))
		time.Sleep(suite.RigTimeout)
		assert.ErrorContains(t, dial(), "session 0x5e5510 has probably expired")
		assert.ErrorContains(t, s.Close(), "the session expires by itself")
	})
}

// A restored backup: who takes a session over from another process, gives its
// place in history up and is told that it has expired, gives it up with the new
// one too.
func TestZxidGivenUpByReceiver(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		s, l := r.Open(conf)
		suite.Arm(t, s, l, zk.DataWatch, "/w", make(chan zk.Event, 1))
		advance(t, s, l, 70)
		b, err := json.Marshal(s.Detach().State)
		assert.NilError(t, err)
		assert.NilError(t, json.Unmarshal(b, &conf.State))
		ch := make(chan zk.Event, 1)
		assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }))
		conf.Zxid = 0
		d := r.Begin(conf)
		l = r.Accept()
		q := l.Connect()
		assert.Equal(t, q.LastZxidSeen, int64(0))
		l.Send(suite.Framed(wire.ConnectResponse{Password: make([]byte, 16), HasReadOnly: true}))
		assert.ErrorIs(t, d.Wait(), zk.ErrExpired)
		_, _, q, w := r.Move(conf.Renew(), 1)
		assert.Equal(t, q.LastZxidSeen, int64(0))
		assert.Equal(t, w.RelativeZxid, int64(0))
		assert.DeepEqual(t, w.Data, []string{"/w"})
	})
}

// A Gap is told once, unless something was missed after it: one that the
// consumer has just received from an unbuffered channel is not undelivered.
func TestGapJustReceived(t *testing.T) {
	defer suite.Shrink(&limits.SetWatchesFrame, 64)()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // who delivered the Gap runs behind the reader
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event)
		long := "/one-shot-of-a-long-path-that-fills-a-frame"
		suite.Arm(t, s, l, zk.DataWatch, long, make(chan zk.Event, 1))
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
		floor := s.Zxid()
		d := r.Begin(s.Config())
		l = r.Accept()
		l.Greet()
		first, second := l.Next(), l.Next()
		l.Send(suite.Answer(first.Xid, floor+1, nil))
		synctest.Wait() // the Gap waits for its consumer
		assert.Equal(t, suite.Told(<-ch), "gap /p")
		l.Send(suite.Answer(second.Xid, floor+2, nil))
		assert.Equal(t, suite.Told(<-ch), "gap /p")
		d.Session()
		synctest.Wait()
		assert.Equal(t, len(suite.Taken(ch)), 0)
	})
}

// A reply that makes no sense ends the connection also when its caller has gone.
func TestNonsenseForNobody(t *testing.T) {
	for _, batch := range []bool{false, true} {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			ctx, cancel := context.WithCancel(suite.BG)
			u := suite.Start(t, func() (err error) {
				if batch {
					_, err = s.Batch(ctx, zk.GetOp{Path: "/a"})
				} else {
					_, _, err = s.Get(ctx, "/a", nil)
				}
				return err
			})
			q := l.Next()
			cancel()
			u.Lost(context.Canceled)
			l.Send(suite.Answer(q.Xid, 1, wire.PathRequest{Path: "too short"}))
			<-s.Done()
			assert.ErrorIs(t, s.Err(), zk.ErrProtocol)
		})
	}
}

// The bound of undelivered events counts events: a channel gets one of a change,
// in however many ways it is armed.
func TestSlowConsumerCountsEvents(t *testing.T) {
	defer suite.Shrink(&limits.PersistentQueue, 3)()
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event)
		for _, p := range []string{"/", "/a", "/a/b"} {
			suite.Arm(t, s, l, zk.RecursiveWatch, p, ch)
		}
		for range 3 {
			l.Send(suite.Happened(zk.Changed, "/a/b", -1))
		}
		synctest.Wait()
		assert.NilError(t, s.Err())
		l.Send(suite.Happened(zk.Changed, "/a/b", -1))
		synctest.Wait()
		assert.ErrorIs(t, s.Err(), zk.ErrSlowConsumer)
		assert.Equal(t, s.Config().Watches.Undelivered(), 3)
	})
}

func TestUnmarshalIntoNoWatches(t *testing.T) {
	assert.ErrorIs(t, (*zk.Watches)(nil).UnmarshalJSON([]byte("{}")), zk.ErrBadArguments)
}
