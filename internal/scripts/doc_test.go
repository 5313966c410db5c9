package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// This file runs the snippets of doc.go and README.md, and shows what they claim:
// internal/house knows which claim has which test.

// What the snippets leave out: everything that they need to run.
func TestDocSnippetOwnSet(t *testing.T) {
	server := zktest.NewServer(t)
	addrs, ctx := server.Addrs(), t.Context()
	changed := make(chan zk.Event, 1)
	docCreate(t, docDial(t, zk.Config{Addrs: addrs}), "/color")
	run := func() error {
		s, err := zk.Dial(ctx, zk.Config{Addrs: addrs})
		if err != nil {
			return err
		}
		data, stat, err := s.Get(ctx, "/color", changed) // changed := make(chan zk.Event, 1)
		assert.NilError(t, err)
		assert.Equal(t, len(data), 0)
		assert.Equal(t, stat.Version, int32(0))
		id := s.ID()
		server.Cut(id)

		<-s.Done()                        // the connection is lost
		s, err = zk.Dial(ctx, s.Config()) // the same session, the same watches, no event missing
		assert.NilError(t, err)
		defer s.Close()
		assert.Equal(t, s.ID(), id)
		_, err = s.Set(ctx, "/color", nil, zk.AnyVersion)
		assert.NilError(t, err)
		assert.Equal(t, (<-changed).Type, zk.Changed)
		return nil
	}
	assert.NilError(t, run())

	s := docDial(t, zk.Config{Addrs: addrs})
	var printed string
	capture := func() int {
		var fmt printer
		defer func() { printed = string(fmt) }()
		changed := make(chan zk.Event, 1)
		s.Get(ctx, "/color", changed)
		s.Set(ctx, "/color", []byte("blue"), zk.AnyVersion)
		fmt.Println(len(changed)) // 1
		return len(changed)
	}
	assert.Equal(t, capture(), 1)
	assert.Equal(t, printed, "1\n")

	lease, cancel := context.WithDeadline(ctx, s.ExpiresAt())
	defer cancel()
	assert.NilError(t, lease.Err())

	docWatch(t, s, "/color", changed)
	saved, err := json.Marshal(s.Detach().State)

	assert.NilError(t, err)
	conf := zk.Config{Addrs: addrs}
	changed = make(chan zk.Event, 1) // in the other process
	if err = json.Unmarshal(saved, &conf.State); err == nil {
		err = conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return changed })
	}
	if err == nil {
		s, err = zk.Dial(ctx, conf)
	}
	assert.NilError(t, err)
	defer s.Close()
	docSet(t, s, "/color")
	assert.Equal(t, (<-changed).Type, zk.Changed)
}

// printer is package fmt to a snippet: what is printed stays here.
type printer string

func (p *printer) Println(a ...any) { *p += printer(fmt.Sprintln(a...)) }

func TestDocSnippetGap(t *testing.T) {
	server := zktest.NewServer(t)
	s, ctx := docDial(t, zk.Config{Addrs: server.Addrs()}), t.Context()
	docCreate(t, s, "/jobs", "/jobs/1")
	events := make(chan zk.Event, 1)
	assert.NilError(t, s.AddWatch(ctx, "/jobs", zk.WatchRecursive, events))
	s, err := s.Renew(ctx)
	assert.NilError(t, err)
	defer s.Close()
	ev := <-events
	var names []string
	if ev.Type == zk.Gap {
		names, _, err = s.Children(ctx, "/jobs", nil)
	}
	assert.NilError(t, err)
	assert.DeepEqual(t, names, []string{"1"})
}

func docDial(t *testing.T, conf zk.Config) *zk.Session {
	t.Helper()
	s, err := zk.Dial(t.Context(), conf)
	assert.NilError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func docCreate(t *testing.T, s *zk.Session, paths ...string) {
	t.Helper()
	for _, path := range paths {
		_, err := s.Create(t.Context(), path, nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
	}
}

func docSet(t *testing.T, s *zk.Session, path string) {
	t.Helper()
	_, err := s.Set(t.Context(), path, nil, zk.AnyVersion)
	assert.NilError(t, err)
}

func docWatch(t *testing.T, s *zk.Session, path string, ch chan<- zk.Event) {
	t.Helper()
	_, _, err := s.Get(t.Context(), path, ch)
	assert.NilError(t, err)
}

// docCut loses a Session's connection.
func docCut(t *testing.T, e *zktest.Ensemble, s *zk.Session) {
	t.Helper()
	e.Cut(s.ID())
	<-s.Done()
	assert.ErrorIs(t, s.Err(), zk.ErrConnection)
}

// bubbled runs a test where time passes only while all are at rest.
func bubbled(t *testing.T, f func(t *testing.T, e *zktest.Ensemble, conf zk.Config)) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true})
		f(t, e, zk.Config{Addrs: e.Addrs(), DialContext: e.DialContext, Timeout: 6 * time.Second})
	})
}

func TestDocNothingHidden(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		s := docDial(t, conf)
		docCreate(t, s, "/a")
		docWatch(t, s, "/a", make(chan zk.Event, 1))
		e.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutBefore})
		_, err := s.Set(t.Context(), "/a", nil, zk.AnyVersion)
		assert.ErrorIs(t, err, zk.ErrLost)
		<-s.Done()
		e.ForgetFrames()
		time.Sleep(5 * time.Second) // not quite the session's timeout
		_, _, err = s.Get(t.Context(), "/a", nil)
		assert.ErrorIs(t, err, zk.ErrNotSent)
		for _, f := range e.Frames() {
			assert.Check(t, f.Session != s.ID(), "%v", f)
		}
	})
}

func TestDocFullChannel(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		s, other := docDial(t, conf), docDial(t, conf)
		docCreate(t, s, "/a", "/b")
		unread, one := make(chan zk.Event), make(chan zk.Event, 1)
		docWatch(t, s, "/a", unread)
		docWatch(t, s, "/b", one)
		docSet(t, other, "/a")
		docSet(t, other, "/b")
		assert.NilError(t, s.Sync(t.Context(), "/"))

		// Nobody reads the first channel: the second has to wait, answers do not.
		time.Sleep(time.Minute)
		assert.Equal(t, len(one), 0)
		assert.Equal(t, s.Config().Watches.Undelivered(), 2)
		_, _, err := s.Get(t.Context(), "/a", nil)
		assert.NilError(t, err)

		assert.Equal(t, (<-unread).Path, "/a")
		assert.Equal(t, (<-one).Path, "/b")
		assert.Equal(t, s.Config().Watches.Undelivered(), 0)
	})
}

func TestDocDialTimeout(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		e.Link(zktest.LinkRule{Count: -1, ToClient: zktest.StallAt(0)})
		began := time.Now()
		_, err := zk.Dial(context.Background(), conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		for _, addr := range conf.Addrs {
			assert.ErrorContains(t, err, addr)
		}
		assert.Equal(t, time.Since(began), conf.Timeout)
	})
}

func TestDocAddrOrder(t *testing.T) {
	conf := zk.Config{Addrs: []string{"a:1", "b:1", "c:1"}}
	var asked []string
	conf.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) {
		asked = append(asked, addr)
		return nil, errors.New("refused")
	}
	orders := make(map[string]bool)
	for range 1000 {
		asked = nil
		_, err := zk.Dial(t.Context(), conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		order := strings.Join(asked, " ")
		for _, addr := range conf.Addrs {
			assert.Equal(t, strings.Count(order, addr), 1, order)
		}
		orders[order] = true
	}
	assert.Equal(t, len(orders), 6)
}

// The table of doc.go, line by line.
func TestDocKinds(t *testing.T) {
	server := zktest.NewServer(t)
	s := docDial(t, zk.Config{Addrs: server.Addrs()})
	ctx := t.Context()
	get := func(path string, ch chan<- zk.Event) error { _, _, err := s.Get(ctx, path, ch); return err }
	exists := func(path string, ch chan<- zk.Event) error { _, _, err := s.Exists(ctx, path, ch); return err }
	children := func(path string, ch chan<- zk.Event) error { _, _, err := s.Children(ctx, path, ch); return err }
	for i, c := range []struct {
		arm    func(string, chan<- zk.Event) error
		there  bool
		change func(path string)
		want   zk.EventType
	}{
		{get, true, func(path string) { docSet(t, s, path) }, zk.Changed},
		{get, true, func(path string) { assert.NilError(t, s.Delete(ctx, path, 0)) }, zk.Deleted},
		{exists, true, func(path string) { docSet(t, s, path) }, zk.Changed},
		{exists, true, func(path string) { assert.NilError(t, s.Delete(ctx, path, 0)) }, zk.Deleted},
		{exists, false, func(path string) { docCreate(t, s, path) }, zk.Created},
		{children, true, func(path string) { docCreate(t, s, path+"/x") }, zk.Child},
		{children, true, func(path string) { assert.NilError(t, s.Delete(ctx, path, 0)) }, zk.Deleted},
	} {
		path := fmt.Sprintf("/%d", i)
		if c.there {
			docCreate(t, s, path)
		}
		ch := make(chan zk.Event, 2)
		assert.NilError(t, c.arm(path, ch))
		c.change(path)
		ev := <-ch
		assert.Equal(t, fmt.Sprint(ev.Path, ev.Type), fmt.Sprint(path, c.want))
		assert.Equal(t, s.Stats().Armed, 0)
	}
}

func TestDocClosedChannel(t *testing.T) {
	server := zktest.NewServer(t)
	s := docDial(t, zk.Config{Addrs: server.Addrs()})
	docCreate(t, s, "/a", "/b")
	ch := make(chan zk.Event, 1)
	docWatch(t, s, "/a", ch)
	docWatch(t, s, "/b", ch)
	close(ch)
	assert.Equal(t, s.Stats().Armed, 2)
	docSet(t, s, "/a")
	assert.Equal(t, s.Stats().Armed, 0)
	docSet(t, s, "/b")
	assert.NilError(t, s.Sync(t.Context(), "/"))
}

// A server that lags shows the past to a session that has heard of a change by
// an event only. It tells again.
func TestDocBehind(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		near, far := conf, conf
		near.Addrs, far.Addrs = conf.Addrs[:1], conf.Addrs[1:2]
		s, other := docDial(t, near), docDial(t, near)
		docCreate(t, s, "/a", "/b")
		changed := make(chan zk.Event, 1)
		docWatch(t, s, "/a", changed)
		e.Member(1).Freeze()
		docSet(t, other, "/a")
		<-changed

		far.State = s.Config().State
		s, err := zk.Dial(t.Context(), far)
		assert.NilError(t, err)
		defer s.Close()
		_, stat, err := s.Get(t.Context(), "/a", changed)
		assert.NilError(t, err)
		assert.Equal(t, stat.Version, int32(0), "the change is not there yet")
		e.Member(1).Thaw()
		assert.Equal(t, (<-changed).Type, zk.Changed)
		_, stat, err = s.Get(t.Context(), "/a", nil)
		assert.NilError(t, err)
		assert.Equal(t, stat.Version, int32(1))

		// Sync waits for it.
		e.Member(1).Freeze()
		docSet(t, other, "/a")
		time.AfterFunc(time.Second, e.Member(1).Thaw)
		assert.NilError(t, s.Sync(t.Context(), "/a"))
		_, stat, err = s.Get(t.Context(), "/a", nil)
		assert.NilError(t, err)
		assert.Equal(t, stat.Version, int32(2))
	})
}

// What happens to the connection and to the session comes through no channel.
func TestDocNoStateEvents(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		s := docDial(t, conf)
		docCreate(t, s, "/a")
		once, all := make(chan zk.Event, 9), make(chan zk.Event, 9)
		docWatch(t, s, "/a", once)
		_, _, err := s.Exists(t.Context(), "/none", once)
		assert.NilError(t, err)
		_, _, err = s.Children(t.Context(), "/a", once)
		assert.NilError(t, err)
		assert.NilError(t, s.AddWatch(t.Context(), "/a", zk.WatchRecursive, all))
		none := func() {
			t.Helper()
			synctest.Wait()
			assert.Equal(t, len(once)+len(all), 0)
		}
		docCut(t, e, s) // disconnected
		none()
		s, err = s.Redial(t.Context()) // connected
		assert.NilError(t, err)
		none()
		e.Stall(s.ID()) // nothing is heard of it
		<-s.Done()
		none()
		s, err = s.Redial(t.Context())
		assert.NilError(t, err)
		none()
		e.Expire(s.ID()) // expired
		<-s.Done()
		_, err = s.Redial(t.Context())
		assert.ErrorIs(t, err, zk.ErrExpired)
		none()
		s, err = s.Renew(t.Context())
		assert.NilError(t, err)
		assert.Equal(t, suite.Told(suite.Taken(all)...), "gap /a") // which is about znodes
		none()
		assert.NilError(t, s.Close())
		none()
		assert.Equal(t, s.Config().Watches.Len(), 4)
	})
}

// A call that was given up may be done all the same; if it was not sent it is
// not done.
func TestDocGivenUp(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		conf.MaxInFlight = 1
		s := docDial(t, conf)
		docCreate(t, s, "/a", "/b")
		e.Fault(zktest.Rule{Op: wire.OpSetData, Delay: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		behind := suite.Start(t, func() error {
			time.Sleep(time.Millisecond)
			_, err := s.Set(ctx, "/b", []byte("never"), zk.AnyVersion)
			return err
		})
		_, err := s.Set(ctx, "/a", []byte("late"), zk.AnyVersion)
		suite.WantLost(t, err, context.DeadlineExceeded)
		suite.WantUnsent(t, behind.Wait(), context.DeadlineExceeded)
		assert.NilError(t, s.Err())
		data, _, err := s.Get(t.Context(), "/a", nil) // behind it
		assert.NilError(t, err)
		assert.Equal(t, string(data), "late")
		_, stat, err := s.Get(t.Context(), "/b", nil)
		assert.NilError(t, err)
		assert.Equal(t, stat.Version, int32(0))
	})
}

// A session lives for its timeout after its last sign of life, and its ephemeral
// znodes live as long.
func TestDocTimeout(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		s, other := docDial(t, conf), docDial(t, conf)
		_, err := s.Create(t.Context(), "/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		assert.NilError(t, other.Sync(t.Context(), "/"))
		gone := make(chan zk.Event, 1)
		found, _, err := other.Exists(t.Context(), "/eph", gone)
		assert.NilError(t, err)
		assert.Assert(t, found)
		time.Sleep(100 * time.Minute) // pings are signs of life
		assert.NilError(t, s.Err())
		assert.Equal(t, len(gone), 0)

		assert.NilError(t, s.Sync(t.Context(), "/"))
		began := time.Now()
		s.Detach()
		ev := <-gone
		took := time.Since(began)
		assert.Equal(t, ev.Type, zk.Deleted)
		const tick = 2 * time.Second // servers look so often
		assert.Assert(t, took >= s.Timeout() && took <= s.Timeout()+tick, "%v", took)
		_, err = s.Redial(t.Context())
		assert.ErrorIs(t, err, zk.ErrExpired)
	})
}

func TestDocCoalesced(t *testing.T) {
	server := zktest.NewServer(t)
	conf := zk.Config{Addrs: server.Addrs()}
	s, other := docDial(t, conf), docDial(t, conf)
	docCreate(t, s, "/again", "/often")
	again, often, brief := make(chan zk.Event, 9), make(chan zk.Event, 9), make(chan zk.Event, 9)
	docWatch(t, s, "/again", again)
	docWatch(t, s, "/often", often)
	_, _, err := s.Exists(t.Context(), "/brief", brief)
	assert.NilError(t, err)
	docCut(t, server.Ensemble, s)

	assert.NilError(t, other.Delete(t.Context(), "/again", 0))
	docCreate(t, other, "/again", "/brief")
	assert.NilError(t, other.Delete(t.Context(), "/brief", 0))
	docSet(t, other, "/often")
	docSet(t, other, "/often")

	s, err = s.Redial(t.Context())
	assert.NilError(t, err)
	defer s.Close()
	for _, ch := range []chan zk.Event{again, often} {
		assert.Equal(t, len(ch), 1) // when Dial returns
		assert.Equal(t, (<-ch).Type, zk.Changed)
	}
	assert.Equal(t, len(brief), 0)
	docCreate(t, s, "/brief") // still armed
	assert.Equal(t, (<-brief).Type, zk.Created)
}

func TestDocSlowConsumer(t *testing.T) {
	if testing.Short() {
		t.Skip("65,536 events")
	}
	server := zktest.NewServer(t, zktest.Options{FrameLog: -1})
	conf := zk.Config{Addrs: server.Addrs()}
	s, other := docDial(t, conf), docDial(t, conf)
	docCreate(t, s, "/a")
	slow := make(chan zk.Event)
	assert.NilError(t, s.AddWatch(t.Context(), "/a", zk.WatchPersistent, slow))
	ops := make([]zk.Op, 1<<12)
	for i := range ops {
		ops[i] = zk.SetOp{Path: "/a", Version: zk.AnyVersion}
	}
	for range 65536 / len(ops) {
		_, err := other.Batch(t.Context(), ops...)
		assert.NilError(t, err)
	}
	assert.NilError(t, s.Sync(t.Context(), "/"))
	assert.Equal(t, s.Config().Watches.Undelivered(), 65536)
	docSet(t, other, "/a")
	<-s.Done()
	assert.ErrorIs(t, s.Err(), zk.ErrSlowConsumer)
	assert.ErrorIs(t, s.Err(), zk.ErrConnection)

	got := make(chan int)
	go func() {
		n := 0
		for ev := range slow {
			if n++; ev.Type == zk.Gap {
				got <- n
				return
			}
		}
	}()
	s, err := s.Redial(t.Context())
	assert.NilError(t, err)
	defer s.Close()
	assert.Equal(t, <-got, 65537)
}

// The end of a session on the server is a lost connection, like any other,
// until somebody dials.
func TestDocExpiry(t *testing.T) {
	server := zktest.NewServer(t)
	s := docDial(t, zk.Config{Addrs: server.Addrs()})
	server.Expire(s.ID())
	<-s.Done()
	assert.ErrorIs(t, s.Err(), zk.ErrConnection)
	assert.Assert(t, !errors.Is(s.Err(), zk.ErrExpired))
	_, err := zk.Dial(t.Context(), s.Config())
	assert.ErrorIs(t, err, zk.ErrExpired)
	_, err = s.Redial(t.Context())
	assert.ErrorIs(t, err, zk.ErrExpired)
}

func TestDocExpiresAt(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		for range 100 {
			s := docDial(t, conf)
			time.Sleep(time.Duration(s.ID()%7) * 300 * time.Millisecond)
			e.Stall(s.ID()) // no answers from here on, nor does the server hear of it again
			e.Cut(s.ID())
			<-s.Done()
			until := s.ExpiresAt()
			time.Sleep(time.Until(until) - time.Nanosecond)
			s, err := s.Redial(t.Context())
			assert.NilError(t, err)
			assert.NilError(t, s.Close())
		}
	})
}

func TestDocRenewGap(t *testing.T) {
	server := zktest.NewServer(t)
	s := docDial(t, zk.Config{Addrs: server.Addrs()})
	docCreate(t, s, "/a")
	all := make(chan zk.Event, 9)
	assert.NilError(t, s.AddWatch(t.Context(), "/a", zk.WatchPersistent, all))
	server.Expire(s.ID())
	<-s.Done()
	s, err := s.Renew(t.Context())
	assert.NilError(t, err)
	defer s.Close()
	assert.Equal(t, len(all), 1) // though nothing has changed
	assert.Equal(t, (<-all).Type, zk.Gap)
}

func TestDocCloseLeavesEvents(t *testing.T) {
	for _, leave := range []func(*zk.Session) zk.Config{
		(*zk.Session).Detach,
		func(s *zk.Session) zk.Config { s.Close(); return s.Config().Renew() },
	} {
		server := zktest.NewServer(t)
		s := docDial(t, zk.Config{Addrs: server.Addrs()})
		docCreate(t, s, "/a")
		ch := make(chan zk.Event)
		docWatch(t, s, "/a", ch)
		docCreate(t, s, "/b")
		room := make(chan zk.Event, 1)
		docWatch(t, s, "/b", room)
		docSet(t, s, "/b")
		docSet(t, s, "/a")
		conf := leave(s)
		assert.Equal(t, conf.Watches.Undelivered(), 1)
		assert.Equal(t, (<-room).Path, "/b")
		select {
		case ev := <-ch:
			t.Fatalf("%v was sent after the end", ev)
		default:
		}
		docDial(t, conf)
		assert.Equal(t, (<-ch).Type, zk.Changed)
		assert.Equal(t, len(room), 0)
	}
}

func TestDocSecrets(t *testing.T) {
	server := zktest.NewServer(t)
	conf := zk.Config{Addrs: server.Addrs(), Auth: []zk.Auth{zk.Digest("user", "hush")}}
	var out strings.Builder
	conf.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := docDial(t, conf)
	conf = s.Detach()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%X"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+verb, conf, &conf, conf.State, conf.Auth, conf.Auth[0])
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("", "conf", conf, "state", conf.State, "auth", conf.Auth[0])
	for _, secret := range []string{"hush", fmt.Sprintf("%x", "hush"), fmt.Sprint([]byte("hush")), string(conf.Password), fmt.Sprintf("%x", conf.Password), fmt.Sprintf("%X", conf.Password), strings.Trim(fmt.Sprint(conf.Password), "[]")} {
		assert.Check(t, !strings.Contains(out.String(), secret), "%q is in what was printed", secret)
	}
	_, err := json.Marshal(conf)
	assert.ErrorContains(t, err, "marshal Config.State")
	saved, err := json.Marshal(conf.State)
	assert.NilError(t, err)
	var back zk.State
	assert.NilError(t, json.Unmarshal(saved, &back))
	assert.DeepEqual(t, back.Password, conf.Password)
}

// A server that is behind what a session has seen turns it away.
func TestDocNoPast(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		near := conf
		near.Addrs = conf.Addrs[:1]
		s := docDial(t, near)
		e.Member(1).Freeze()
		docCreate(t, s, "/a")
		far := s.Config()
		far.Addrs = conf.Addrs[1:2]
		_, err := zk.Dial(t.Context(), far)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		e.Member(1).Thaw()
		s = docDial(t, far)
		_, _, err = s.Get(t.Context(), "/a", nil)
		assert.NilError(t, err)
	})
}
