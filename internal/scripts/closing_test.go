package scripts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// closer starts a Close.
func closer(t testing.TB, s *zk.Session) *suite.Under { return suite.Start(t, s.Close) }

// TestI33_Close: closeSession goes behind all that was written, and Close returns
// when it is answered.
func TestI33_Close(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		var sets []*suite.Under
		for i := range 5 {
			sets = append(sets, suite.Start(t, func() error { _, err := s.Set(suite.BG, fmt.Sprintf("/%d", i), nil, -1); return err }))
			synctest.Wait()
		}
		first, second := closer(t, s), closer(t, s)
		synctest.Wait()
		suite.Start(t, func() error { _, err := s.Set(suite.BG, "/late", nil, -1); return err }).Unsent(zk.ErrClosed)
		var frames [][]byte
		for i := range 5 {
			frames = append(frames, suite.Fitting(l.Want(wire.OpSetData, fmt.Sprintf("/%d", i)), 1))
		}
		q := l.Want(wire.OpCloseSession, "")
		assert.Equal(t, len(q.Body), 0)
		l.Quiet()
		l.Send(frames...)
		for _, u := range sets {
			u.OK()
		}
		synctest.Wait()
		assert.Assert(t, !first.Returned() && !second.Returned())
		l.Send(suite.Answer(q.Xid, 9, nil), suite.Happened(zk.Changed, "/a", -1), []byte("garbage"))
		first.OK()
		second.OK()
		l.HungUp()
		assert.NilError(t, s.Close())
		<-s.Done()
		assert.Assert(t, errors.Is(s.Err(), zk.ErrClosed) && !errors.Is(s.Err(), zk.ErrConnection), "%v", s.Err())
		assert.Equal(t, r.Connections(), 1)

		// The identity is no more, and nobody needs a server to know.
		err := r.Begin(s.Config()).Wait()
		assert.Assert(t, errors.Is(err, zk.ErrExpired), "%v", err)
		_, err = s.Redial(suite.BG)
		assert.Assert(t, errors.Is(err, zk.ErrClosed), "%v", err)
		_, err = s.Renew(suite.BG)
		assert.Assert(t, errors.Is(err, zk.ErrClosed), "%v", err)
		assert.Equal(t, r.Connections(), 1)
	})
}

// Close on every kind of Session and connection, and what it says.
func TestI33_CloseEverywhere(t *testing.T) {
	expires := func(t *testing.T, err error) {
		t.Helper()
		assert.Assert(t, err != nil && strings.Contains(err.Error(), "expires by itself"), "%v", err)
	}
	for _, c := range []struct {
		name string
		play func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line)
	}{
		{"silent server", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			l.Chatter(time.Second) // alive, and that is all
			u := suite.Get(t, s, suite.BG, "/a", nil)
			l.Next()
			began := time.Now()
			cl := closer(t, s)
			err := cl.Wait()
			assert.Equal(t, time.Since(began), suite.RigTimeout*2/3)
			suite.CheckOutcome(t, err, zk.Lost, zk.ErrConnection)
			expires(t, err)
			u.Lost(zk.ErrConnection)
			<-s.Done()
		}},
		{"hangs up", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			u := suite.Get(t, s, suite.BG, "/a", nil)
			l.Next()
			cl := closer(t, s)
			l.Want(wire.OpCloseSession, "")
			l.Close()
			suite.CheckOutcome(t, cl.Wait(), zk.Lost, zk.ErrConnection)
			expires(t, cl.Err)
			u.Lost(zk.ErrConnection)
			assert.Equal(t, s.Close(), cl.Err)
		}},
		{"refuses", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			cl := closer(t, s)
			l.Send(suite.Refusal(l.Want(wire.OpCloseSession, "").Xid, 1, zk.ErrThrottled))
			cl.Refused(zk.ErrThrottled)
			expires(t, cl.Err)
			<-s.Done()
			l.HungUp()
		}},
		{"lost before", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			l.Close()
			<-s.Done()
			suite.CheckOutcome(t, s.Close(), zk.NotSent, zk.ErrConnection)
			expires(t, s.Close())
		}},
		{"detached before", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			conf := s.Detach()
			suite.CheckOutcome(t, s.Close(), zk.NotSent, zk.ErrClosed)
			expires(t, s.Close())
			l.HungUp()
			_, l = r.Open(conf) // the session lives
			l.Quiet()
		}},
		{"redialed before", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			s2, l2 := r.Open(s.Config())
			suite.CheckOutcome(t, s.Close(), zk.NotSent, zk.ErrMoved)
			l.HungUp()
			l2.Quiet()
			assert.NilError(t, s2.Err())
		}},
		{"redialed meanwhile", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			cl := closer(t, s)
			l.Want(wire.OpCloseSession, "")
			d := r.Begin(s.Config())
			r.Accept().Greet()
			suite.CheckOutcome(t, cl.Wait(), zk.Lost, zk.ErrMoved)
			d.Session()
		}},
		{"a Write that blocks", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			r.LastClient.SetCapacity(1)
			u := suite.Start(t, func() error { _, err := s.Set(suite.BG, "/a", make([]byte, 1000), -1); return err })
			synctest.Wait()
			l.Chatter(time.Second)
			began := time.Now()
			cl := closer(t, s)
			suite.CheckOutcome(t, cl.Wait(), zk.NotSent, zk.ErrConnection)
			assert.Equal(t, time.Since(began), suite.RigTimeout*2/3)
			u.Lost(zk.ErrConnection)
		}},
		{"full channels", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			full, room := make(chan zk.Event), make(chan zk.Event, 1)
			suite.Arm(t, s, l, zk.DataWatch, "/room", room)
			suite.Arm(t, s, l, zk.DataWatch, "/full", full)
			suite.Arm(t, s, l, zk.DataWatch, "/behind", room)
			cl := closer(t, s)
			q := l.Want(wire.OpCloseSession, "")
			l.Send(suite.Happened(zk.Changed, "/room", -1), suite.Happened(zk.Changed, "/full", -1), suite.Happened(zk.Changed, "/behind", -1), suite.Answer(q.Xid, 1, nil))
			cl.OK()
			assert.Equal(t, suite.Told(suite.Taken(room)...), "changed /room")
			synctest.Wait()
			assert.Equal(t, suite.Told(suite.Taken(full)...)+suite.Told(suite.Taken(room)...), "")
			assert.Equal(t, s.Config().Watches.Undelivered(), 2)
			// A new session gets them.
			d := r.Begin(s.Config().Renew())
			r.Accept().Greet()
			assert.Equal(t, suite.Told(<-full), "changed /full")
			assert.Equal(t, suite.Told(<-room), "changed /behind")
			d.Session()
		}},
		{"from a consumer", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			ch := make(chan zk.Event)
			suite.Arm(t, s, l, zk.DataWatch, "/a", ch)
			consumer := suite.Start(t, func() error { <-ch; return s.Close() })
			l.Send(suite.Happened(zk.Changed, "/a", -1))
			l.Send(suite.Answer(l.Want(wire.OpCloseSession, "").Xid, 1, nil))
			consumer.OK()
		}},
		{"of nothing", func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			var zero zk.Session
			var null *zk.Session
			suite.CheckOutcome(t, zero.Close(), zk.NotSent, zk.ErrClosed)
			suite.CheckOutcome(t, null.Close(), zk.NotSent, zk.ErrClosed)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				c.play(t, r, s, l)
			})
		})
	}
}

// Many of everything at once: one closeSession, behind the last write that was
// accepted, and everybody ends.
func TestI33_ConcurrentClose(t *testing.T) {
	for range 50 {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			var ops []wire.Op
			l.Serve(func(a suite.Asked) [][]byte {
				ops = append(ops, a.Op)
				return [][]byte{suite.Fitting(a, 1)}
			})
			var sets, closes []*suite.Under
			for range 50 {
				sets = append(sets, suite.Start(t, func() error { _, err := s.Set(suite.BG, "/a", nil, -1); return err }))
				closes = append(closes, closer(t, s))
			}
			for _, u := range closes {
				u.OK()
			}
			answered := 0
			for _, u := range sets {
				if u.Wait() == nil {
					answered++
				} else {
					u.Unsent(zk.ErrClosed)
				}
			}
			synctest.Wait()
			assert.Equal(t, len(ops), answered+1)
			assert.Equal(t, ops[answered], wire.OpCloseSession)
		})
	}
}

// After the end nothing is left: a thousand Sessions, closed, lost, detached,
// moved and never made, and no goroutine or connection of them.
func TestI33_NothingLeft(t *testing.T) {
	var open atomic.Int64
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		r.Lay = func(c net.Conn) net.Conn { open.Add(1); return &countedConn{Conn: c, open: &open} }
		for i := range 1000 {
			conf := r.Config()
			full := make(chan zk.Event)
			switch i % 5 {
			case 0:
				s, l := r.Open(conf)
				suite.Arm(t, s, l, zk.DataWatch, "/a", full)
				l.Send(suite.Happened(zk.Changed, "/a", -1))
				cl := closer(t, s)
				l.Send(suite.Answer(l.Want(wire.OpCloseSession, "").Xid, 1, nil))
				cl.OK()
			case 1:
				s, l := r.Open(conf)
				suite.Arm(t, s, l, zk.DataWatch, "/a", full)
				l.Send(suite.Happened(zk.Changed, "/a", -1))
				l.Close()
				<-s.Done()
			case 2:
				s, _ := r.Open(conf)
				s.Detach()
			case 3:
				s, _ := r.Open(conf)
				s2, _ := r.Open(s.Config())
				s2.Detach()
			case 4:
				ctx, cancel := context.WithTimeout(suite.BG, time.Millisecond)
				d := r.BeginContext(ctx, conf)
				l := r.Accept()
				if i%2 == 0 {
					l.Send([]byte("HTTP/1.1 400 Bad Request\r\n"))
				}
				assert.Assert(t, d.Wait() != nil)
				cancel()
			}
			synctest.Wait()
			assert.Equal(t, open.Load(), int64(0), "round %d", i)
		}
	}) // a goroutine that is left fails here
}

type countedConn struct {
	net.Conn
	once sync.Once
	open *atomic.Int64
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// TestI34_EventsStandStill: from Done until the next Dial has its
// ConnectResponse nothing is delivered, then all of it, oldest first.
func TestI34_EventsStandStill(t *testing.T) {
	ends := map[string]func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line){
		"lost":     func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) { l.Close() },
		"detached": func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) { s.Detach() },
		"protocol": func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) { l.Send([]byte{0, 0, 0, 1, 0}) },
		"silent":   func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {},
		"moved in vain": func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			d := r.Begin(s.Config())
			r.Accept().Close()
			assert.Assert(t, d.Wait() != nil)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				a, b, c := make(chan zk.Event), make(chan zk.Event, 1), make(chan zk.Event, 1)
				suite.Arm(t, s, l, zk.DataWatch, "/room", c)
				suite.Arm(t, s, l, zk.DataWatch, "/1", a)
				suite.Arm(t, s, l, zk.DataWatch, "/2", b)
				suite.Arm(t, s, l, zk.DataWatch, "/3", a)
				suite.Arm(t, s, l, zk.DataWatch, "/later", b)
				l.Send(suite.Happened(zk.Changed, "/room", -1), suite.Happened(zk.Changed, "/1", -1), suite.Happened(zk.Changed, "/2", -1), suite.Happened(zk.Changed, "/3", -1))
				synctest.Wait()
				end(t, r, s, l)
				<-s.Done()
				assert.Equal(t, suite.Told(suite.Taken(c)...), "changed /room")

				// A receiver that is there, and one that comes. (To count what is
				// undelivered would stop whoever delivers it: that comes later.)
				var got []zk.Event
				go func() {
					for ev := range a {
						got = append(got, ev)
					}
				}()
				time.Sleep(time.Hour)
				synctest.Wait()
				assert.Equal(t, suite.Told(got...), "")
				assert.Equal(t, len(b), 0)
				assert.Equal(t, s.Config().Watches.Undelivered(), 3)

				d := r.Begin(s.Config())
				l = r.Accept()
				q := l.Connect()
				time.Sleep(time.Second)
				synctest.Wait()
				assert.Equal(t, suite.Told(got...)+suite.Told(suite.Taken(b)...), "", "delivered before the ConnectResponse")
				l.Send(suite.Welcome(q))
				x := l.Next()
				assert.DeepEqual(t, x.Watches(t).Data, []string{"/later"})
				synctest.Wait()
				assert.Equal(t, suite.Told(got...), "changed /1, changed /3")
				assert.Equal(t, suite.Told(suite.Taken(b)...), "changed /2")
				l.Send(suite.Happened(zk.Deleted, "/later", -1), suite.Answer(x.Xid, 1, nil))
				d.Session()
				assert.Equal(t, suite.Told(suite.Taken(b)...), "deleted /later")
				close(a) // only the application closes a channel
			})
		})
	}
}

// What was read before the link ends and has room is in its channel before Done.
func TestI34_InChannelBeforeDone(t *testing.T) {
	r := suite.NewRig(t)
	for i := range 300 {
		s, l := r.Open(r.Config())
		var chans []chan zk.Event
		var ops []zk.Op
		for j := range 10 {
			ch := make(chan zk.Event, 1)
			chans = append(chans, ch)
			ops = append(ops, zk.GetOp{Path: fmt.Sprintf("/%d", j), Watch: ch})
		}
		u := suite.Start(t, func() error { _, err := s.Batch(suite.BG, ops...); return err })
		var frames [][]byte
		for range ops {
			frames = append(frames, suite.Fitting(l.Next(), 1))
		}
		for j := range ops {
			frames = append(frames, suite.Happened(zk.Changed, fmt.Sprintf("/%d", j), -1))
		}
		l.Send(frames...)
		l.Close()
		<-s.Done()
		for j, ch := range chans {
			assert.Equal(t, len(ch), 1, "round %d, event %d", i, j)
		}
		u.OK()
	}
}

// No channel is ever closed by the library, and a dead Session does no I/O.
func TestI34_DeadSession(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event)
		for _, k := range suite.Kinds {
			suite.Arm(t, s, l, k, "/"+k.String(), ch)
		}
		l.Close()
		<-s.Done()
		select {
		case ev, ok := <-ch:
			t.Fatalf("%v, %t", ev, ok)
		default:
		}
		for name, c := range suite.Calls {
			if name == "RemoveWatch" {
				continue // see below
			}
			err := c.Do(suite.BG, s, "/a", nil)
			suite.CheckOutcome(t, err, zk.NotSent, zk.ErrConnection)
			assert.Assert(t, errors.Is(err, s.Err()), "%s: %v", name, err)
		}
		assert.Equal(t, s.Config().Watches.Len(), len(suite.Kinds))
		// A watch is disarmed all the same: the server has none any more.
		assert.NilError(t, s.RemoveWatch(suite.BG, "/"+zk.PersistentWatch.String(), ch))
		assert.Equal(t, s.Config().Watches.Len(), len(suite.Kinds)-1)
		assert.Equal(t, r.Connections(), 1)
	})
}
