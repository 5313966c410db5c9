package examples

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

func Example_rolling() {
	ensemble, err := zktest.StartEnsemble(3, zktest.Options{})
	check(err)
	defer ensemble.Close()
	conf := zk.Config{Addrs: ensemble.Addrs()}
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	_, err = s.Create(ctx, "/me", nil, zk.Ephemeral, zk.ACLOpen)
	check(err)
	id := s.ID()
	for i := range 3 {
		ensemble.Member(i).Stop()
		if s.Err() != nil || s.Addr() == ensemble.Member(i).Addr() {
			<-s.Done()
			s, err = s.Redial(ctx)
			check(err)
		}
		ensemble.Member(i).Start()
	}
	defer s.Close()
	found, stat, err := s.Exists(ctx, "/me", nil)
	check(err)
	fmt.Println("same session:", s.ID() == id, "ephemeral:", found && stat.EphemeralOwner == id)
	// Output:
	// same session: true ephemeral: true
}

func Example_renew() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	other, err := zk.Dial(ctx, conf)
	check(err)
	defer other.Close()
	check(tree.MkdirAll(ctx, other, "/color", nil))
	s, err := zk.Dial(ctx, conf)
	check(err)
	old := s.ID()
	changed := make(chan zk.Event, 1)
	_, _, err = s.Get(ctx, "/color", changed)
	check(err)
	server.Expire(s.ID())
	<-s.Done()
	_, err = other.Set(ctx, "/color", []byte("blue"), zk.AnyVersion)
	check(err)
	err = func() error {
		//doc:renew
		next, err := s.Redial(ctx)
		if errors.Is(err, zk.ErrExpired) {
			next, err = s.Renew(ctx) // a new session, the same watches
		}
		if err != nil {
			return err
		}
		//doc:end
		defer next.Close()
		fmt.Println("same session:", next.ID() == old)
		fmt.Println((<-changed).Type)
		return nil
	}()
	check(err)
	// Output:
	// same session: false
	// changed
}

func Example_handOver() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	other, err := zk.Dial(ctx, conf)
	check(err)
	defer other.Close()
	check(tree.MkdirAll(ctx, other, "/color", nil))
	s, err := zk.Dial(ctx, conf)
	check(err)
	_, _, err = s.Get(ctx, "/color", make(chan zk.Event, 1))
	check(err)
	err = func() error {
		//doc:leave
		// The old process: leave the connection, keep the session.
		saved, err := json.Marshal(s.Detach().State) // it holds the session's password: guard it
		if err != nil {
			return err
		}
		//doc:end
		_, err = other.Set(ctx, "/color", []byte("blue"), zk.AnyVersion)
		check(err)
		//doc:take
		// The new process: give the watches channels of its own, then dial.
		changed := make(chan zk.Event, 1)
		if err := json.Unmarshal(saved, &conf.State); err != nil {
			return err
		}
		if err := conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return changed }); err != nil {
			return err
		}
		next, err := zk.Dial(ctx, conf)
		if err != nil {
			return err
		}
		//doc:end
		defer next.Close()
		ev := <-changed
		fmt.Println(ev.Path, ev.Type)
		return nil
	}()
	check(err)
	// Output:
	// /color changed
}
