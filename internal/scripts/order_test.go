package scripts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// The invariants I1 to I11 of docs/guarantees.md: the order inside one connection,
// and which channels an event is for.

// TestI01_ResponseBeforeEvent: an event reaches no channel before the calls that
// were answered ahead of it are running again. Here the caller that was answered
// is still inside Write, which is up to the test.
func TestI01_ResponseBeforeEvent(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		gate := new(suite.GatedConn)
		r.Lay = func(c net.Conn) net.Conn { gate.Conn = c; return gate }
		s, l := r.Open(r.Config())
		gate.Shut()
		a, b := make(chan zk.Event, 1), make(chan zk.Event, 1)
		var data []byte
		var seen, seenAll int
		get := suite.Start(t, func() (err error) {
			data, _, err = s.Get(suite.BG, "/a", a)
			return err
		})
		xid := l.Want(wire.OpGetData, "/a").Xid
		children := suite.Start(t, func() (err error) {
			_, _, err = s.Children(suite.BG, "/b", b)
			seen = len(a)
			return err
		})
		synctest.Wait()
		exists := suite.Start(t, func() (err error) {
			_, _, err = s.Exists(suite.BG, "/c", nil)
			seenAll = len(a) + len(b)
			return err
		})
		synctest.Wait()
		l.Send(
			suite.Answer(xid, 1, wire.GetDataResponse{Data: []byte("old")}),
			suite.Happened(zk.Changed, "/a", -1),
			suite.Answer(xid+1, 2, wire.Children2Response{}),
			suite.Happened(zk.Child, "/b", -1),
			suite.Answer(xid+2, 3, wire.Stat{}),
		)
		synctest.Wait()
		st := s.Stats()
		assert.Equal(t, st.Replies, int64(3), "the reader waits for a caller")
		assert.Equal(t, st.Events, int64(2))
		assert.Equal(t, st.Queued, 2)
		assert.Equal(t, len(a), 0, "the event is there before the caller of Get has left its wait")
		assert.Assert(t, !get.Returned() && !children.Returned() && !exists.Returned())

		gate.Open()
		get.OK()
		children.OK()
		exists.OK()
		assert.Equal(t, string(data), "old")
		assert.Equal(t, seen, 1, "Children returned before the event ahead of its answer")
		assert.Equal(t, seenAll, 2, "Exists returned before the events ahead of its answer")
		assert.Equal(t, suite.Told(suite.Taken(a)...), "changed /a")
		assert.Equal(t, suite.Told(suite.Taken(b)...), "child /b")
	})
}

// A call that its context ended holds nothing up, and neither does a Batch
// before its last answer.
func TestI01_CallsThatHoldNothingUp(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 2)
		arm := suite.Start(t, func() error { _, _, err := s.Get(suite.BG, "/a", ch); return err })
		l.Send(suite.Fitting(l.Next(), 1))
		arm.OK()

		ctx, cancel := context.WithCancel(suite.BG)
		gone := suite.Start(t, func() error { _, _, err := s.Get(ctx, "/gone", nil); return err })
		q := l.Want(wire.OpGetData, "/gone")
		cancel()
		gone.Lost(context.Canceled)
		batch := suite.Start(t, func() error {
			_, err := s.Batch(suite.BG, zk.GetOp{Path: "/1"}, zk.GetOp{Path: "/2"})
			return err
		})
		q1, q2 := l.Next(), l.Next()
		l.Send(suite.Fitting(q, 2), suite.Fitting(q1, 3), suite.Happened(zk.Changed, "/a", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /a")
		assert.Assert(t, !batch.Returned())
		l.Send(suite.Fitting(q2, 4))
		batch.OK()
	})
}

// A Batch is one call, answered at its last reply: an event between its replies
// is there when it returns, and one behind them is not before it runs again.
func TestI01_BatchIsOneCall(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		gate := new(suite.GatedConn)
		r.Lay = func(c net.Conn) net.Conn { gate.Conn = c; return gate }
		s, l := r.Open(r.Config())
		gate.Shut()
		a, b := make(chan zk.Event, 1), make(chan zk.Event, 1)
		batch := suite.Start(t, func() error {
			_, err := s.Batch(suite.BG, zk.GetOp{Path: "/a", Watch: a}, zk.GetOp{Path: "/b", Watch: b})
			return err
		})
		q1, q2 := l.Next(), l.Next()
		l.Send(suite.Fitting(q1, 1), suite.Happened(zk.Changed, "/a", -1), suite.Fitting(q2, 2), suite.Happened(zk.Changed, "/b", -1))
		synctest.Wait()
		assert.Equal(t, len(a), 1)
		assert.Equal(t, len(b), 0)
		gate.Open()
		batch.OK()
		synctest.Wait()
		assert.Equal(t, len(b), 1)
	})
}

// Rounds of an answer and its event in one segment: the data is from before the
// event, which comes exactly once.
func TestI01_OneSegment(t *testing.T) {
	suite.OnProcs(t, func(t *testing.T) {
		r := suite.NewRig(t)
		s, l := r.Open(r.Config())
		n := 0
		l.Serve(func(a suite.Asked) [][]byte {
			if a.Path == "/fence" {
				return [][]byte{suite.Fitting(a, 1)}
			}
			n++
			return [][]byte{
				suite.Answer(a.Xid, int64(n), wire.GetDataResponse{Data: fmt.Append(nil, n)}),
				suite.Happened(zk.Changed, "/a", int64(n)),
			}
		})
		for i := range 5000 {
			ch := make(chan zk.Event, 2)
			data, _, err := s.Get(suite.BG, "/a", ch)
			assert.NilError(t, err)
			assert.Equal(t, string(data), fmt.Sprint(i+1))
			assert.Equal(t, (<-ch).Zxid, int64(i+1))
			if i%100 == 0 { // its answer is behind whatever comes twice
				_, _, err = s.Exists(suite.BG, "/fence", nil)
				assert.NilError(t, err)
			}
			assert.Equal(t, len(ch), 0)
		}
	})
}

// TestI02_EventBeforeLaterResponse: what is ahead of an answer on the wire is in
// its channel when the call returns, or queued because there is no room.
func TestI02_EventBeforeLaterResponse(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		arm := func(path string, ch chan<- zk.Event) {
			t.Helper()
			u := suite.Start(t, func() error { _, _, err := s.Get(suite.BG, path, ch); return err })
			l.Send(suite.Fitting(l.Want(wire.OpGetData, path), 1))
			u.OK()
		}
		// behind makes a call whose answer is behind events, and returns how many
		// of them were queued when it returned.
		behind := func(events ...[]byte) (queued int) {
			t.Helper()
			u := suite.Start(t, func() error {
				_, err := s.Set(suite.BG, "/set", nil, -1)
				queued = s.Stats().Queued
				return err
			})
			l.Send(append(events, suite.Fitting(l.Want(wire.OpSetData, "/set"), 2))...)
			u.OK()
			return queued
		}
		room, parked, full := make(chan zk.Event, 1), make(chan zk.Event), make(chan zk.Event)

		arm("/room", room)
		assert.Equal(t, behind(suite.Happened(zk.Changed, "/room", -1)), 0)
		assert.Equal(t, suite.Told(suite.Taken(room)...), "changed /room")

		arm("/parked", parked)
		receiver := suite.Start(t, func() error { <-parked; return nil })
		synctest.Wait()
		assert.Equal(t, behind(suite.Happened(zk.Changed, "/parked", -1)), 0)
		receiver.OK()

		arm("/full", full)
		arm("/room", room)
		assert.Equal(t, behind(suite.Happened(zk.Changed, "/full", -1), suite.Happened(zk.Deleted, "/room", -1)), 2)
		assert.Equal(t, len(room), 0, "an event overtook one that was queued")
		assert.Equal(t, suite.Told(<-full), "changed /full")
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(room)...), "deleted /room")
	})
}

// eventFirst answers as a server does on which nobody else writes: a set has its own
// event ahead of the answer.
func eventFirst(a suite.Asked) [][]byte {
	if a.Op == wire.OpSetData {
		return [][]byte{suite.Happened(zk.Changed, a.Path, -1), suite.Fitting(a, 1)}
	}
	return [][]byte{suite.Fitting(a, 1)}
}

// Own writes: the event is in the channel when Set returns.
func TestI02_OwnSet(t *testing.T) {
	suite.OnProcs(t, func(t *testing.T) {
		r := suite.NewRig(t)
		s, l := r.Open(r.Config())
		l.Serve(eventFirst)
		ch := make(chan zk.Event, 1)
		for i := range 5000 {
			_, _, err := s.Get(suite.BG, "/a", ch)
			assert.NilError(t, err)
			_, err = s.Set(suite.BG, "/a", nil, -1)
			assert.NilError(t, err)
			select {
			case <-ch:
			default:
				t.Fatalf("Set %d returned before its event", i)
			}
		}
	})
}

// A consumer that has just received the only queued event calls Set: the next
// event, ahead of Set's answer, must not wait for whoever delivered the first.
func TestI02_BehindTheLastQueued(t *testing.T) {
	suite.OnProcs(t, func(t *testing.T) {
		r := suite.NewRig(t)
		s, l := r.Open(r.Config())
		l.Serve(eventFirst)
		queued, next := make(chan zk.Event), make(chan zk.Event, 1)
		for i := range 3000 {
			_, err := s.Batch(suite.BG, zk.GetOp{Path: "/queued", Watch: queued}, zk.GetOp{Path: "/next", Watch: next}, zk.SetOp{Path: "/queued"})
			assert.NilError(t, err)
			<-queued
			_, err = s.Set(suite.BG, "/next", nil, -1)
			assert.NilError(t, err)
			select {
			case <-next:
			default:
				t.Fatalf("round %d: Set returned before its event", i)
			}
		}
	})
}

// TestI03_OneTotalOrder: one channel without room delays all later events, and
// nothing changes their order.
func TestI03_OneTotalOrder(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		first := make(chan zk.Event)
		ops := []zk.Op{zk.GetOp{Path: "/first", Watch: first}}
		var chans []chan zk.Event
		events := [][]byte{suite.Happened(zk.Changed, "/first", -1)}
		for i := range 50 {
			ch := make(chan zk.Event, 1)
			chans = append(chans, ch)
			path := fmt.Sprintf("/%d", i)
			ops = append(ops, zk.GetOp{Path: path, Watch: ch})
			events = append(events, suite.Happened(zk.Changed, path, -1))
		}
		u := suite.Start(t, func() error { _, err := s.Batch(suite.BG, ops...); return err })
		for range ops {
			l.Send(suite.Fitting(l.Next(), 1))
		}
		u.OK()
		l.Send(events...)
		synctest.Wait()
		for i, ch := range chans {
			assert.Equal(t, len(ch), 0, "event %d overtook the first", i)
		}
		assert.Equal(t, s.Stats().Queued, 51)
		assert.Equal(t, suite.Told(<-first), "changed /first")
		synctest.Wait()
		for i, ch := range chans {
			assert.Equal(t, suite.Told(suite.Taken(ch)...), fmt.Sprintf("changed /%d", i))
		}
	})
}

// outbox is the promise as a model: events stand in one queue, the head goes as
// soon as its channel has room or a receiver.
type outbox struct {
	room   []int   // capacity of each channel
	held   [][]int // events in each channel
	queue  []int   // events on their way
	target []int   // channel of each event
}

func (o *outbox) flow() {
	for len(o.queue) > 0 {
		ch := o.target[o.queue[0]]
		if len(o.held[ch]) == o.room[ch] {
			return
		}
		o.held[ch] = append(o.held[ch], o.queue[0])
		o.queue = o.queue[1:]
	}
}

// receive is a receive that does not wait; -1: nothing there.
func (o *outbox) receive(ch int) int {
	defer o.flow()
	if len(o.held[ch]) > 0 {
		ev := o.held[ch][0]
		o.held[ch] = o.held[ch][1:]
		return ev
	}
	if len(o.queue) > 0 && o.target[o.queue[0]] == ch { // no capacity: from the sender's hand
		ev := o.queue[0]
		o.queue = o.queue[1:]
		return ev
	}
	return -1
}

// Random events for channels of all sizes, random receives, and calls in
// between: what is where is at every step what one queue gives.
func TestI03_RandomAgainstModel(t *testing.T) {
	for seed := range uint64(12) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			const events = 300
			rnd := rand.New(rand.NewPCG(seed, 3))
			s, l := r.Open(r.Config())
			m := outbox{room: []int{0, 0, 1, 1, 2, 5}}
			m.held = make([][]int, len(m.room))
			var chans []chan zk.Event
			for _, n := range m.room {
				chans = append(chans, make(chan zk.Event, n))
			}
			var ops []zk.Op
			for i := range events {
				ch := rnd.IntN(len(chans))
				m.target = append(m.target, ch)
				ops = append(ops, zk.GetOp{Path: fmt.Sprintf("/%d", i), Watch: chans[ch]})
			}
			u := suite.Start(t, func() error { _, err := s.Batch(suite.BG, ops...); return err })
			for range ops {
				l.Send(suite.Fitting(l.Next(), 1))
			}
			u.OK()

			order := rnd.Perm(events)
			got := func(ch int) int {
				select {
				case ev := <-chans[ch]:
					return int(ev.Zxid) - 1
				default:
					return -1
				}
			}
			for sent := 0; sent < events || len(m.queue) > 0; {
				if n := min(rnd.IntN(6), events-sent); n > 0 && len(m.queue) < 20 {
					var segment [][]byte
					for _, ev := range order[sent : sent+n] {
						m.queue = append(m.queue, ev)
						segment = append(segment, suite.Happened(zk.Changed, fmt.Sprintf("/%d", ev), int64(ev+1)))
					}
					sent += n
					m.flow()
					l.Send(segment...)
				}
				synctest.Wait()
				assert.Equal(t, s.Stats().Queued, len(m.queue))
				synctest.Wait() // to count, the sender was taken back for a moment
				ch := rnd.IntN(len(chans))
				assert.Equal(t, got(ch), m.receive(ch), "seed %d, after %d events, channel %d", seed, sent, ch)
				synctest.Wait()
				for i, c := range chans {
					assert.Equal(t, len(c), len(m.held[i]), "seed %d, after %d events, channel %d", seed, sent, i)
				}
			}
		})
	}
}

// TestI04_ResolvedAtWirePosition: an event is for the channels that were armed
// at its place on the wire, whenever it is delivered.
func TestI04_ResolvedAtWirePosition(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		block, before, after := make(chan zk.Event), make(chan zk.Event, 2), make(chan zk.Event, 2)
		arm := func(path string, ch chan<- zk.Event, events ...[]byte) {
			t.Helper()
			u := suite.Start(t, func() error { _, _, err := s.Get(suite.BG, path, ch); return err })
			q := l.Want(wire.OpGetData, path)
			l.Send(append(events, suite.Fitting(q, 1))...)
			u.OK()
		}
		arm("/block", block)
		arm("/x", before)
		l.Send(suite.Happened(zk.Changed, "/block", -1))
		arm("/x", after, suite.Happened(zk.Changed, "/x", -1)) // queued; then the new registration
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "data /x")
		<-block
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(before)...), "changed /x")
		assert.Equal(t, suite.Told(suite.Taken(after)...), "", "an event from before it was armed")
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "data /x", "the queued event took a later registration")
		l.Send(suite.Happened(zk.Deleted, "/x", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(before)...), "")
		assert.Equal(t, suite.Told(suite.Taken(after)...), "deleted /x")
	})
}

// TestI05_ArmedOnSuccessOnly: err=0 arms, Exists of a missing node arms too, and
// nothing else does. What is armed shows in the next SetWatches.
func TestI05_ArmedOnSuccessOnly(t *testing.T) {
	type call func(ctx context.Context, s *zk.Session, ch chan zk.Event) error
	batch := func(op func(ch chan zk.Event) zk.Op) call {
		return func(ctx context.Context, s *zk.Session, ch chan zk.Event) error {
			res, err := s.Batch(ctx, op(ch))
			if err != nil {
				assert.Equal(t, res[0].Err, err)
			}
			return err
		}
	}
	calls := []struct {
		name        string
		call        call
		ok, missing string // the list that the watch is in
	}{
		{"Get", func(ctx context.Context, s *zk.Session, ch chan zk.Event) error {
			_, _, err := s.Get(ctx, "/a", ch)
			return err
		}, "data", ""},
		{"Exists", func(ctx context.Context, s *zk.Session, ch chan zk.Event) error {
			found, _, err := s.Exists(ctx, "/a", ch)
			if err == nil && !found {
				return zk.ErrNoNode // for the table
			}
			return err
		}, "data", "exists"},
		{"Children", func(ctx context.Context, s *zk.Session, ch chan zk.Event) error {
			_, _, err := s.Children(ctx, "/a", ch)
			return err
		}, "child", ""},
		{"GetOp", batch(func(ch chan zk.Event) zk.Op { return zk.GetOp{Path: "/a", Watch: ch} }), "data", ""},
		{"ExistsOp", batch(func(ch chan zk.Event) zk.Op { return zk.ExistsOp{Path: "/a", Watch: ch} }), "data", "exists"},
		{"ChildrenOp", batch(func(ch chan zk.Event) zk.Op { return zk.ChildrenOp{Path: "/a", Watch: ch} }), "child", ""},
		{"AddWatch", func(ctx context.Context, s *zk.Session, ch chan zk.Event) error {
			return s.AddWatch(ctx, "/a", zk.WatchPersistent, ch)
		}, "persistent", ""},
		{"AddWatch recursive", func(ctx context.Context, s *zk.Session, ch chan zk.Event) error {
			return s.AddWatch(ctx, "/a", zk.WatchRecursive, ch)
		}, "recursive", ""},
	}
	for _, c := range calls {
		for _, end := range []struct {
			name string
			code zk.Code // of the answer
			cut  bool
			ctx  bool // the context ends before the answer comes
			want string
		}{
			{name: "ok", want: c.ok},
			{name: "no node", code: zk.ErrNoNode, want: c.missing},
			{name: "no auth", code: zk.ErrNoAuth},
			{name: "unknown code", code: -9999},
			{name: "unknown code above 0", code: 17},
			{name: "moved", code: zk.ErrSessionMoved},
			{name: "cut", cut: true},
			{name: "cancelled", ctx: true},
			{name: "cancelled, no node", ctx: true, code: zk.ErrNoNode},
		} {
			t.Run(c.name+"/"+end.name, func(t *testing.T) {
				suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
					s, l := r.Open(r.Config())
					ch := make(chan zk.Event, 1)
					ctx, cancel := context.WithCancel(suite.BG)
					defer cancel()
					u := suite.Start(t, func() error { return c.call(ctx, s, ch) })
					q := l.Next()
					switch {
					case end.cut:
						l.Close()
						u.Lost(zk.ErrConnection)
					case end.ctx:
						cancel()
						u.Lost(context.Canceled)
						fallthrough
					case end.code != 0:
						l.Send(suite.Refusal(q.Xid, 1, end.code))
						if end.code == 0 { // of a call that was given up: no body is needed
							break
						}
						if err := u.Wait(); !end.ctx && !errors.Is(err, end.code) {
							t.Errorf("%v instead of %v", err, end.code)
						}
					default:
						l.Send(suite.Fitting(q, 1))
						u.OK()
					}
					synctest.Wait()
					want := ""
					if end.want != "" {
						want = end.want + " /a"
					}
					assert.Equal(t, suite.ArmedList(s.Config().Watches), want)

					d := r.Begin(s.Detach())
					l = r.Accept()
					l.Greet()
					if end.want != "" {
						w := l.Restored(1)
						lists := map[string][]string{"data": w.Data, "exists": w.Exist, "child": w.Child, "persistent": w.Persistent, "recursive": w.Recursive}
						for name, list := range lists {
							if name == end.want {
								assert.DeepEqual(t, list, []string{"/a"})
							} else {
								assert.Equal(t, len(list), 0, "%s: %v", name, list)
							}
						}
					}
					d.Session()
					l.Quiet()
					assert.Equal(t, len(ch), 0)
				})
			})
		}
	}
}

// A watch call and an event for its path meet at every moment: whoever gets the
// answer before the event gets the event, over real goroutines.
func TestI04_ManyCallersOneNode(t *testing.T) {
	r := suite.NewRig(t)
	s, l := r.Open(r.Config())
	var mu sync.Mutex // the server's
	armed, version := false, int32(0)
	l.Serve(func(a suite.Asked) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		if a.Op == wire.OpSetData {
			version++
			out := [][]byte{suite.Answer(a.Xid, int64(version), wire.Stat{Version: version})}
			if armed {
				armed = false
				out = append([][]byte{suite.Happened(zk.Changed, "/n", int64(version))}, out...)
			}
			return out
		}
		armed = true
		return [][]byte{suite.Answer(a.Xid, int64(version), wire.GetDataResponse{Stat: wire.Stat{Version: version}})}
	})
	const readers, rounds = 8, 200
	stop := make(chan struct{})
	writer := suite.Start(t, func() error {
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			if _, err := s.Set(suite.BG, "/n", nil, -1); err != nil {
				return err
			}
			runtime.Gosched() // on one processor the others would wait for its time slice to end
		}
	})
	var calls []*suite.Under
	for range readers {
		calls = append(calls, suite.Start(t, func() error {
			for range rounds {
				ch := make(chan zk.Event, 2)
				_, st, err := s.Get(suite.BG, "/n", ch)
				if err != nil {
					return err
				}
				// The first change after what was read, and no other.
				select {
				case ev := <-ch:
					if ev.Zxid != int64(st.Version)+1 {
						return fmt.Errorf("read version %d, and the event is of %d", st.Version, ev.Zxid)
					}
				case <-time.After(time.Minute):
					return fmt.Errorf("no event after version %d", st.Version)
				}
			}
			return nil
		}))
	}
	for _, u := range calls {
		u.OK()
	}
	close(stop)
	writer.OK()
}
