package zk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// The loop of one owner: it dials, works until the connection is lost, and
// takes the session along to the next.
func oneOwner(ctx context.Context, conf zk.Config, events chan zk.Event, work func(context.Context, *zk.Session, chan zk.Event) error) error {
	for ctx.Err() == nil {
		s, err := zk.Dial(ctx, conf)
		switch {
		case errors.Is(err, zk.ErrExpired): // same watches, a new session; ephemerals must be created again
			conf = conf.Renew()
			continue
		case errors.Is(err, zk.ErrNoServer): // nobody reachable: the same config, a little later
			slog.Warn("retrying", "err", err) // it names each server with its reason
			backoff(ctx)
			continue
		case err != nil: // a bad config, refused credentials: trying again changes nothing
			return err
		}
		err = work(ctx, s, events) // returns when s can do no more, or with the application's own error
		if !errors.Is(err, zk.ErrConnection) || zk.Hopeless(err) {
			s.Close()
			return err
		}
		conf = s.Detach() // dead or alive: same session, same watches, for the next connection
	}
	return ctx.Err()
}

// The loop of many goroutines: each goes on with the successor of the Session
// that it had, and repeats its operation if that was not done.
func setShared(ctx context.Context, s *zk.Session, path string, data []byte, version int32) error {
	done := false
	look := func(ctx context.Context, s *zk.Session) (*zk.Session, bool, error) {
		for {
			var now zk.Stat
			err := s.Sync(ctx, path) // it may be done, and on its way to this server
			if err == nil {
				_, now, err = s.Get(ctx, path, nil)
			}
			if zk.Hopeless(err) || !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
				return s, now.Version > version, err // nobody else sets this znode
			}
			if s, err = successor(ctx, s); err != nil {
				return nil, false, err
			}
		}
	}
	for {
		_, err := s.Set(ctx, path, data, version)
		switch {
		case zk.Hopeless(err):
			return err
		case errors.Is(err, zk.ErrLost): // sent, unanswered: look before repeating
			if s, err = successor(ctx, s); err != nil {
				return err
			}
			if s, done, err = look(ctx, s); done || err != nil {
				return err
			}
		case errors.Is(err, zk.ErrConnection), errors.Is(err, zk.ErrMoved): // not done: repeat
			if s, err = successor(ctx, s); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// successor returns the Session that follows s, the same to all who ask.
func successor(ctx context.Context, s *zk.Session) (*zk.Session, error) {
	for {
		next, err := s.Redial(ctx)
		if errors.Is(err, zk.ErrExpired) {
			next, err = s.Renew(ctx)
		}
		if !errors.Is(err, zk.ErrNoServer) || ctx.Err() != nil {
			return next, err
		}
		backoff(ctx)
	}
}

func backoff(ctx context.Context) {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
}

func ExampleDial() {
	server := startServer() // zktest.StartServer
	defer server.Close()

	ctx := context.Background()
	s, err := zk.Dial(ctx, zk.Config{Addrs: server.Addrs()})
	exitOn(err)
	defer s.Close()

	path, err := s.Create(ctx, "/color", []byte("red"), zk.Persistent, zk.ACLOpen)
	exitOn(err)
	data, stat, err := s.Get(ctx, path, nil)
	exitOn(err)
	fmt.Printf("%s is %s, version %d\n", path, data, stat.Version)
	// Output:
	// /color is red, version 0
}

// One owner keeps a watch over a lost connection. The change that it missed
// arrives with the next one.
func Example_oneOwner() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	other := dialServer(server)
	defer other.Close()
	_, err := other.Create(ctx, "/color", []byte("red"), zk.Persistent, zk.ACLOpen)
	exitOn(err)

	armed := false
	work := func(ctx context.Context, s *zk.Session, events chan zk.Event) error {
		if !armed {
			data, _, err := s.Get(ctx, "/color", events)
			if err != nil {
				return err
			}
			armed = true
			fmt.Printf("it is %s\n", data)

			server.Cut(s.ID())
			<-s.Done()
			_, err = other.Set(ctx, "/color", []byte("blue"), zk.AnyVersion)
			exitOn(err)
		}
		select {
		case ev := <-events:
			data, _, err := s.Get(ctx, ev.Path, nil)
			fmt.Printf("%s %s: it is %s\n", ev.Path, ev.Type, data)
			return err
		case <-s.Done():
			return s.Err()
		}
	}
	events := make(chan zk.Event, 1)
	exitOn(oneOwner(ctx, zk.Config{Addrs: server.Addrs()}, events, work))
	// Output:
	// it is red
	// /color changed: it is blue
}

// Goroutines share a session whose connection is cut when a change was made,
// and before it was answered. Each change is made once.
func Example_manyGoroutines() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s := dialServer(server)
	paths := []string{"/a", "/b", "/c"}
	for _, path := range paths {
		_, err := s.Create(ctx, path, nil, zk.Persistent, zk.ACLOpen)
		exitOn(err)
	}

	server.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutAfter})
	var all sync.WaitGroup
	for _, path := range paths {
		all.Go(func() { exitOn(setShared(ctx, s, path, []byte("new"), 0)) })
	}
	all.Wait()

	s, err := s.Redial(ctx) // the Session that they have ended up with
	exitOn(err)
	defer s.Close()
	for _, path := range paths {
		_, stat, err := s.Get(ctx, path, nil)
		exitOn(err)
		fmt.Println(path, "version", stat.Version)
	}
	// Output:
	// /a version 1
	// /b version 1
	// /c version 1
}

// What becomes of a call that fails: one of three outcomes, and a reason.
func ExampleOpError() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s := dialServer(server)

	_, err := s.Set(ctx, "/missing", nil, zk.AnyVersion)
	describeOutcome(err)

	server.Fault(zktest.Rule{Op: wire.OpCreate, Do: zktest.CutAfter})
	_, err = s.Create(ctx, "/made", nil, zk.Persistent, zk.ACLOpen)
	describeOutcome(err)

	_, err = s.Create(ctx, "/not-made", nil, zk.Persistent, zk.ACLOpen)
	describeOutcome(err)

	s, err = s.Redial(ctx)
	exitOn(err)
	defer s.Close()
	_, err = s.Create(ctx, "/../bad", nil, zk.Persistent, zk.ACLOpen)
	describeOutcome(err)
	// Output:
	// set /missing: answered; no such znode: true, connection lost: false
	// create /made: lost; no such znode: false, connection lost: true
	// create /not-made: not sent; no such znode: false, connection lost: true
	// create /../bad: not sent; no such znode: false, connection lost: false
}

func describeOutcome(err error) {
	var op *zk.OpError
	if !errors.As(err, &op) {
		log.Fatal(err)
	}
	fmt.Printf("%s %s: %v; no such znode: %t, connection lost: %t\n",
		op.Op, op.Path, op.Outcome(), errors.Is(err, zk.ErrNoNode), errors.Is(err, zk.ErrConnection))
}

// A watch fires once. The read that finds out what has changed arms it again.
func ExampleSession_Get() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s := dialServer(server)
	defer s.Close()
	_, err := s.Create(ctx, "/color", []byte("red"), zk.Persistent, zk.ACLOpen)
	exitOn(err)

	changed := make(chan zk.Event, 1)
	for _, color := range []string{"green", "blue"} {
		data, stat, err := s.Get(ctx, "/color", changed)
		exitOn(err)
		fmt.Printf("%s\n", data)
		_, err = s.Set(ctx, "/color", []byte(color), stat.Version)
		exitOn(err)
		ev := <-changed
		fmt.Println(ev.Path, ev.Type)
	}
	// Output:
	// red
	// /color changed
	// green
	// /color changed
}

// Exists can wait for a znode to be created.
func ExampleSession_Exists() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s := dialServer(server)
	defer s.Close()

	created := make(chan zk.Event, 1)
	found, _, err := s.Exists(ctx, "/leader", created)
	exitOn(err)
	fmt.Println("found:", found)
	_, err = s.Create(ctx, "/leader", nil, zk.Ephemeral, zk.ACLOpen)
	exitOn(err)
	fmt.Println((<-created).Type)
	// Output:
	// found: false
	// created
}

// A persistent watch stays armed. When it has moved to another connection, a
// Gap says that something may have gone unreported.
func ExampleSession_AddWatch() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s, other := dialServer(server), dialServer(server)
	defer other.Close()
	_, err := s.Create(ctx, "/jobs", nil, zk.Persistent, zk.ACLOpen)
	exitOn(err)

	events := make(chan zk.Event, 16)
	exitOn(s.AddWatch(ctx, "/jobs", zk.WatchRecursive, events))
	_, err = s.Create(ctx, "/jobs/1", nil, zk.Persistent, zk.ACLOpen)
	exitOn(err)

	server.Cut(s.ID())
	<-s.Done()
	_, err = other.Create(ctx, "/jobs/2", nil, zk.Persistent, zk.ACLOpen) // nobody tells s
	exitOn(err)
	s, err = s.Redial(ctx)
	exitOn(err)
	defer s.Close()
	exitOn(s.Delete(ctx, "/jobs/1", zk.AnyVersion))

	for len(events) > 0 {
		ev := <-events
		fmt.Println(ev.Path, ev.Type)
		if ev.Type == zk.Gap {
			names, _, err := s.Children(ctx, ev.Path, nil)
			exitOn(err)
			fmt.Println("read again:", names)
		}
	}
	// Output:
	// /jobs/1 created
	// /jobs gap
	// read again: [2]
	// /jobs/1 deleted
}

// Multi does all or nothing. The error names the operation that failed.
func ExampleSession_Multi() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s := dialServer(server)
	defer s.Close()

	results, err := s.Multi(ctx,
		zk.CreateOp{Path: "/account", Data: []byte("100"), ACL: zk.ACLOpen},
		zk.CreateOp{Path: "/account/log-", Mode: zk.PersistentSequential, ACL: zk.ACLOpen},
	)
	exitOn(err)
	fmt.Println(results[0].Path, results[1].Path)

	_, err = s.Multi(ctx,
		zk.SetOp{Path: "/account", Data: []byte("90"), Version: 0},
		zk.CheckOp{Path: "/account/log-0000000000", Version: 7},
	)
	fmt.Println(err)
	fmt.Println(errors.Is(err, zk.ErrVersion))
	data, _, err := s.Get(ctx, "/account", nil)
	exitOn(err)
	fmt.Printf("%s\n", data)
	// Output:
	// /account /account/log-0000000000
	// zk: multi /account/log-0000000000: another version
	// true
	// 100
}

// Batch sends any operations at once. Each has its own answer.
func ExampleSession_Batch() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s := dialServer(server)
	defer s.Close()

	events := make(chan zk.Event, 2)
	results, err := s.Batch(ctx,
		zk.CreateOp{Path: "/a", Data: []byte("one"), ACL: zk.ACLOpen},
		zk.GetOp{Path: "/a", Watch: events},
		zk.GetOp{Path: "/missing"},
		zk.DeleteOp{Path: "/a", Version: zk.AnyVersion},
	)
	fmt.Println(err)
	for _, r := range results {
		fmt.Printf("%q %v\n", r.Data, r.Err)
	}
	fmt.Println((<-events).Type)
	// Output:
	// zk: get /missing: no such znode
	// "" <nil>
	// "one" <nil>
	// "" zk: get /missing: no such znode
	// "" <nil>
	// deleted
}

// A session goes on in another process, with the ephemeral znodes and watches
// that it has.
func ExampleSession_Detach() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s := dialServer(server)
	_, err := s.Create(ctx, "/here", nil, zk.Ephemeral, zk.ACLOpen)
	exitOn(err)
	_, _, err = s.Children(ctx, "/", make(chan zk.Event, 1))
	exitOn(err)

	saved, err := json.Marshal(s.Detach().State) // it holds the password: guard it
	exitOn(err)

	// The other process brings the addresses, and channels of its own.
	conf, changed := zk.Config{Addrs: server.Addrs()}, make(chan zk.Event, 1)
	err = json.Unmarshal(saved, &conf.State)
	exitOn(err)
	err = conf.Watches.Rebind(func(w zk.Watch) chan<- zk.Event {
		fmt.Println("a", w.Kind, "watch on", w.Path)
		return changed
	})
	exitOn(err)
	s, err = zk.Dial(ctx, conf)
	exitOn(err)
	defer s.Close()

	_, stat, err := s.Exists(ctx, "/here", nil)
	exitOn(err)
	fmt.Println("the ephemeral is its own:", stat.EphemeralOwner == s.ID())
	exitOn(s.Delete(ctx, "/here", zk.AnyVersion))
	ev := <-changed
	fmt.Println(ev.Path, ev.Type)
	// Output:
	// a child watch on /
	// the ephemeral is its own: true
	// / child
}

// After expiry, a new session takes over the watches, and misses nothing.
func ExampleSession_Renew() {
	server := startServer()
	defer server.Close()
	ctx := context.Background()
	s := dialServer(server)
	_, err := s.Create(ctx, "/here", nil, zk.Ephemeral, zk.ACLOpen)
	exitOn(err)
	gone := make(chan zk.Event, 1)
	_, _, err = s.Exists(ctx, "/here", gone)
	exitOn(err)

	server.Expire(s.ID())
	<-s.Done()
	_, err = s.Redial(ctx)
	fmt.Println("expired:", errors.Is(err, zk.ErrExpired))

	s, err = s.Renew(ctx)
	exitOn(err)
	defer s.Close()
	ev := <-gone
	fmt.Println(ev.Path, ev.Type)
	_, err = s.Create(ctx, "/here", nil, zk.Ephemeral, zk.ACLOpen) // ephemerals are created again
	exitOn(err)
	// Output:
	// expired: true
	// /here deleted
}

// The loops end where the server's answer ends every connection.
func TestDocHopeless(t *testing.T) {
	server := zktest.NewServer(t, zktest.Options{SASL: map[string]string{"bob": "secret"}, RequireSASL: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	calls := 0
	err := oneOwner(ctx, zk.Config{Addrs: server.Addrs()}, nil, func(ctx context.Context, s *zk.Session, _ chan zk.Event) error {
		calls++
		_, _, err := s.Get(ctx, "/", nil)
		return err
	})
	assert.ErrorIs(t, err, zk.ErrSASLRequired)
	assert.ErrorIs(t, err, zk.ErrConnection)
	assert.Equal(t, calls, 1)

	s, err := zk.Dial(ctx, zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	defer s.Close()
	err = setShared(ctx, s, "/", nil, 0)
	assert.ErrorIs(t, err, zk.ErrSASLRequired)
}

// startServer starts a ZooKeeper in this process.
func startServer() *zktest.Server {
	server, err := zktest.StartServer(zktest.Options{})
	exitOn(err)
	return server
}

func dialServer(server *zktest.Server) *zk.Session {
	s, err := zk.Dial(context.Background(), zk.Config{Addrs: server.Addrs()})
	exitOn(err)
	return s
}

func exitOn(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
