package examples

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

//doc:lock

// underLock does a job while it holds a lock, over any number of lost connections.
func underLock(ctx context.Context, conf zk.Config, job func(context.Context, *zk.Session, *recipe.Hold) error) error {
	lock := recipe.Lock{Path: "/locks/report"}
	var held *recipe.Hold
	done := false
	err := recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) (err error) {
		for !done {
			if held != nil && held.Err() != nil { // it was lost: say so before asking again
				held.Release()
				held = nil
			}
			if held == nil {
				if held, err = lock.Acquire(ctx, s); err != nil {
					return err // a lost connection: Run calls this again, and Acquire keeps its place
				}
			}
			locked, cancel := held.Context(ctx) // ends when the lock is not certain any more
			err = job(locked, s, held)
			cancel()
			if err != nil && (held.Err() == nil || ctx.Err() != nil) {
				return err
			}
			done = err == nil
			if s.Err() != nil {
				return s.Err() // Run dials again, if only to give the lock back at once
			}
		}
		return nil // Run closes the session, and the lock is free
	})
	if held != nil {
		held.Release()
	}
	return err
}

//doc:end

func Example_lock() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	check(tree.MkdirAll(ctx, s, "/report", nil))
	runs := 0
	err = underLock(ctx, conf, func(ctx context.Context, s *zk.Session, h *recipe.Hold) error {
		runs++
		if runs == 1 {
			server.Cut(s.ID())
			<-s.Done()
			return s.Err()
		}
		//doc:guard
		// The server does this only if the lock's znode still exists.
		_, err := h.Multi(ctx, s, zk.SetOp{Path: "/report", Data: []byte("done"), Version: zk.AnyVersion})
		if errors.Is(err, recipe.ErrNotHeld) {
			return errors.New("somebody else may have the lock: stop")
		}
		//doc:end
		return err
	})
	fmt.Println(err, "after", runs, "connections")
	names, _, err := s.Children(ctx, "/locks/report", nil)
	fmt.Println(len(names), err)
	// Output:
	// <nil> after 2 connections
	// 0 <nil>
}

// The job ends without a connection. Even so the lock is free when underLock
// returns, and not only after the session timeout.
func TestUnderLockGivesBack(t *testing.T) {
	for name, trouble := range map[string]func(*zktest.Server, *zk.Session){
		"cut":     func(server *zktest.Server, s *zk.Session) { server.Cut(s.ID()) },
		"expired": func(server *zktest.Server, s *zk.Session) { server.Expire(s.ID()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := zktest.NewServer(t, zktest.Options{InMemory: true})
				conf := zk.Config{Addrs: server.Addrs(), DialContext: server.DialContext}
				start, runs := time.Now(), 0
				err := underLock(t.Context(), conf, func(ctx context.Context, s *zk.Session, h *recipe.Hold) error {
					runs++
					trouble(server, s)
					<-s.Done()
					return nil
				})
				assert.NilError(t, err)
				assert.Equal(t, runs, 1)
				assert.Assert(t, time.Since(start) < time.Second, "%v", time.Since(start))
				assert.Equal(t, len(server.Sessions()), 0)
			})
		})
	}
}

func Example_election() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	err = func() error {
		//doc:election
		election := recipe.Election{Path: "/election", ID: "host-1:8080"}
		term, err := election.Campaign(ctx, s) // returns when this one leads
		if err != nil {
			return err
		}
		defer term.Release()
		leader, err := election.Leader(ctx, s)
		if err != nil {
			return err
		}
		fmt.Printf("the leader is %s\n", leader.Data)
		//doc:end
		return nil
	}()
	check(err)
	// Output:
	// the leader is host-1:8080
}

//doc:register

// register keeps this service listed until ctx ends.
func register(ctx context.Context, conf zk.Config, id, addr string) error {
	group := recipe.Group{Path: "/services/api"}
	var member *recipe.Hold
	err := recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) (err error) {
		for {
			if member != nil && member.Err() != nil { // the session expired, or somebody deleted the znode
				member.Release()
				member = nil
			}
			if member == nil {
				if member, err = group.Join(ctx, s, id, []byte(addr)); err != nil {
					return err
				}
			}
			select {
			case <-member.Lost():
			case <-s.Done():
				return s.Err()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	if member != nil {
		member.Release()
	}
	return err
}

//doc:end

//doc:discover

// discover calls show with the members, and again whenever they change, until the Session ends.
func discover(ctx context.Context, s *zk.Session, show func(map[string][]byte) error) error {
	group := recipe.Group{Path: "/services/api"}
	members := tree.Stream{Path: group.Path, Children: true}
	for _, err := range members.States(ctx, s) {
		if err != nil {
			return err
		}
		now, err := group.Members(ctx, s)
		if err != nil {
			return err
		}
		if err := show(now); err != nil {
			return err
		}
	}
	return nil
}

//doc:end

func Example_register() {
	server, conf := serve()
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	ended := make(chan error)
	go func() { ended <- register(ctx, conf, "a", "host-1:8080") }()
	enough := errors.New("enough")
	expired := false
	err = discover(ctx, s, func(members map[string][]byte) error {
		if len(members) == 0 {
			return nil
		}
		fmt.Printf("a is at %s\n", members["a"])
		if expired {
			return enough
		}
		expired = true // it has to register again
		for _, id := range server.Sessions() {
			if id != s.ID() {
				server.Expire(id)
			}
		}
		return nil
	})
	fmt.Println(err)
	cancel()
	fmt.Println(errors.Is(<-ended, context.Canceled))
	// Output:
	// a is at host-1:8080
	// a is at host-1:8080
	// enough
	// true
}

func Example_others() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	err = func() error {
		//doc:counter
		hits := &recipe.Counter{Path: "/hits"}
		n, err := hits.Add(ctx, s, 1) // after a lost connection: the same Add with the successor counts once
		if err != nil {
			return err
		}
		//doc:end
		fmt.Println("hits:", n)

		//doc:queue
		queue := &recipe.Queue{Path: "/jobs"}
		if err := queue.Put(ctx, s, []byte("resize photo 7"), 100); err != nil {
			return err
		}
		item, err := queue.Take(ctx, s) // waits for an entry
		if err != nil {
			return err
		}
		fmt.Printf("working at: %s\n", item.Data)
		if err := item.Done(ctx, s); err != nil { // gone for good; without it, another takes it
			return err
		}
		//doc:end

		//doc:semaphore
		slots := recipe.Semaphore{Path: "/slots", Max: 3}
		lease, err := slots.Acquire(ctx, s)
		if err != nil {
			return err
		}
		defer lease.Release()
		//doc:end

		//doc:once
		transfer := &recipe.Once{Path: "/markers/transfer"}
		_, again, err := transfer.Do(ctx, s, // after a lost connection: the same Do with the successor
			zk.CreateOp{Path: "/paid", ACL: zk.ACLOpen},
			zk.SetOp{Path: "/hits", Data: []byte("0"), Version: zk.AnyVersion},
		)
		if err != nil {
			return err
		}
		fmt.Println("done before:", again)
		//doc:end
		return nil
	}()
	check(err)
	// Output:
	// hits: 1
	// working at: resize photo 7
	// done before: false
}
