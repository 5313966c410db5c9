package examples

import (
	"context"
	"fmt"

	"github.com/seed-9f8420c6/zk"
)

func Example_own() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	_, err = s.Create(ctx, "/color", nil, zk.Persistent, zk.ACLOpen)
	check(err)
	err = func() error {
		//doc:own
		changed := make(chan zk.Event, 1)
		if _, _, err := s.Get(ctx, "/color", changed); err != nil {
			return err
		}
		if _, err := s.Set(ctx, "/color", []byte("blue"), zk.AnyVersion); err != nil {
			return err
		}
		fmt.Println(len(changed)) // always 1: the event came before the answer
		//doc:end
		return nil
	}()
	check(err)
	// Output:
	// 1
}

func Example_full() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	_, err = s.Create(ctx, "/color", nil, zk.Persistent, zk.ACLOpen)
	check(err)
	err = func() error {
		//doc:full
		full := make(chan zk.Event) // unbuffered, and nobody receives
		if _, _, err := s.Get(ctx, "/color", full); err != nil {
			return err
		}
		if _, err := s.Set(ctx, "/color", nil, zk.AnyVersion); err != nil {
			return err // answers are never held up
		}
		fmt.Println("events that wait:", s.Stats().Queued)
		//doc:end
		return nil
	}()
	check(err)
	// Output:
	// events that wait: 1
}
