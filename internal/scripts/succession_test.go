package scripts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
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
	"github.com/seed-9f8420c6/zk/zktest"
)

// autoServe answers every connection of a rig, for tests with many Dials.
func autoServe(r *suite.Rig) {
	go func() {
		for {
			select {
			case l := <-r.Arrived:
				go func() {
					q, err := l.TryConnect()
					if err == nil && l.TrySend(suite.Welcome(q)) == nil {
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
		s, l := openWithAuth(r)
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
			d := r.Begin(whole)
			l := r.Accept()
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

		d := r.Begin(whole.Renew())
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
		assert.Assert(t, strings.Count(err.Error(), fmt.Sprintf("behind zxid 0x%x", conf.Zxid)) == 2, "%v", err)
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
