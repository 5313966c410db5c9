// First is a first program with package zk: it creates a znode, watches it, and
// sees it change.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

func main() {
	// A ZooKeeper in this process, to have one at hand.
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	if err := run(context.Background(), zk.Config{Addrs: server.Addrs()}); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, conf zk.Config) error {
	s, err := zk.Dial(ctx, conf)
	if err != nil {
		return err
	}
	defer s.Close()

	if _, err := s.Create(ctx, "/color", []byte("red"), zk.Persistent, zk.ACLOpen); err != nil {
		return err
	}
	changed := make(chan zk.Event, 1)
	data, stat, err := s.Get(ctx, "/color", changed)
	if err != nil {
		return err
	}
	fmt.Printf("/color is %q\n", data)

	if _, err := s.Set(ctx, "/color", []byte("blue"), stat.Version); err != nil {
		return err
	}
	event := <-changed
	data, _, err = s.Get(ctx, event.Path, nil)
	if err != nil {
		return err
	}
	fmt.Printf("%q %s: it is %q\n", event.Path, event.Type, data)
	return nil
}
