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

//doc:await

// await returns the data of a znode as soon as there is one.
func await(ctx context.Context, s *zk.Session, path string) ([]byte, error) {
	created := make(chan zk.Event, 1)
	for {
		found, _, err := s.Exists(ctx, path, created) // arms, whether it exists or not
		if err != nil {
			return nil, err
		}
		if found {
			data, _, err := s.Get(ctx, path, nil)
			if errors.Is(err, zk.ErrNoNode) {
				continue // it went again in between
			}
			return data, err
		}
		select {
		case <-created:
		case <-s.Done():
			return nil, s.Err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

//doc:end

func Example_await() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	go func() {
		_, err := s.Create(ctx, "/leader", []byte("host-1"), zk.Persistent, zk.ACLOpen)
		check(err)
	}()
	data, err := await(ctx, s, "/leader")
	fmt.Printf("%s %v\n", data, err)

	err = func() error {
		//doc:wait
		state, err := tree.Wait(ctx, s, "/leader", func(st tree.State) bool { return st.Exists })
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", state.Data)
		//doc:end
		return nil
	}()
	check(err)
	// Output:
	// host-1 <nil>
	// host-1
}

func Example_gap() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	other, err := zk.Dial(ctx, conf)
	check(err)
	defer other.Close()
	check(tree.MkdirAll(ctx, other, "/jobs", nil))
	err = func() error {
		s, err := zk.Dial(ctx, conf)
		check(err)
		//doc:persistent
		events := make(chan zk.Event, 64)
		if err := s.AddWatch(ctx, "/jobs", zk.WatchRecursive, events); err != nil {
			return err
		}
		//doc:end
		check(tree.MkdirAll(ctx, s, "/jobs/1", nil))
		server.Cut(s.ID())
		<-s.Done()
		check(tree.MkdirAll(ctx, other, "/jobs/2", nil))
		s, err = s.Redial(ctx)
		check(err)
		defer s.Close()
		for range 2 {
			//doc:gap
			ev := <-events
			if ev.Type == zk.Gap { // something may have gone unreported
				names, _, err := s.Children(ctx, ev.Path, nil)
				if err != nil {
					return err
				}
				fmt.Println("read again:", len(names), "jobs")
			} else {
				fmt.Println(ev.Path, ev.Type)
			}
			//doc:end
		}
		return nil
	}()
	check(err)
	// Output:
	// /jobs/1 created
	// read again: 2 jobs
}

func Example_twoChannels() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	check(tree.MkdirAll(ctx, s, "/app", nil))
	err = func() error {
		//doc:channels
		data, members := make(chan zk.Event, 1), make(chan zk.Event, 1)
		if _, _, err := s.Get(ctx, "/app", data); err != nil {
			return err
		}
		if _, _, err := s.Children(ctx, "/app", members); err != nil {
			return err
		}
		//doc:end
		check(tree.MkdirAll(ctx, s, "/app/a", nil))
		fmt.Println(len(data), len(members))
		//doc:remove
		if err := s.RemoveWatch(ctx, "/app", data); err != nil {
			return err
		}
		//doc:end
		_, err := s.Set(ctx, "/app", nil, zk.AnyVersion)
		fmt.Println(len(data), s.Stats().Armed)
		return err
	}()
	check(err)
	// Output:
	// 0 1
	// 0 0
}

// A channel that is full holds up the events of a lock on the same session, too.
func TestFullChannelHoldsUpALock(t *testing.T) {
	for _, drained := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			server := zktest.NewServer(t, zktest.Options{InMemory: true})
			conf := zk.Config{Addrs: server.Addrs(), DialContext: server.DialContext}
			s, err := zk.Dial(t.Context(), conf)
			assert.NilError(t, err)
			defer s.Close()
			other, err := zk.Dial(t.Context(), conf)
			assert.NilError(t, err)
			defer other.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = s.Create(ctx, "/a", nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
			changed := make(chan zk.Event, 1)
			for range 2 { // arm again before the first event was received
				_, _, err = s.Get(ctx, "/a", changed)
				assert.NilError(t, err)
				_, err = s.Set(ctx, "/a", nil, zk.AnyVersion)
				assert.NilError(t, err)
			}
			lock := recipe.Lock{Path: "/lock"}
			first, err := lock.Acquire(ctx, other)
			assert.NilError(t, err)
			time.AfterFunc(time.Second, func() { first.Release() })
			acquire := func() (*recipe.Hold, error) {
				//doc:drain
				select {
				case <-changed: // the next read shows what is new
				default:
				}
				held, err := lock.Acquire(ctx, s)
				//doc:end
				return held, err
			}
			if !drained {
				acquire = func() (*recipe.Hold, error) { return lock.Acquire(ctx, s) }
			}
			start := time.Now()
			held, err := acquire()
			if !drained {
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				return
			}
			assert.NilError(t, err)
			assert.Assert(t, time.Since(start) < 2*time.Second)
			assert.NilError(t, held.Release())
		})
	}
}
