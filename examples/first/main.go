// First is a first program with package zk: it follows a znode while its
// connection is cut.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

func main() {
	server, err := zktest.StartServer(zktest.Options{}) // a ZooKeeper in this process
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	if err := run(context.Background(), server, zk.Config{Addrs: server.Addrs()}); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, server *zktest.Server, conf zk.Config) error {
	other, err := zk.Dial(ctx, conf) // somebody else
	if err != nil {
		return err
	}
	if _, err := other.Create(ctx, "/color", []byte("red"), zk.Persistent, zk.ACLOpen); err != nil {
		return err
	}
	//doc:first
	changed := make(chan zk.Event, 1)
	return recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) error {
		for { // on each connection
			data, _, err := s.Get(ctx, "/color", changed) // reads, and arms a watch
			if err != nil {
				return err
			}
			fmt.Printf("/color is %q\n", data)
			if string(data) == "blue" {
				return nil // Run closes the session
			}
			server.Cut(s.ID()) // the network fails, and meanwhile somebody changes it
			if _, err := other.Set(ctx, "/color", []byte("blue"), zk.AnyVersion); err != nil {
				return err
			}
			select {
			case <-changed: // read again
			case <-s.Done():
				fmt.Println("the connection is lost")
				return s.Err() // Run dials, and calls this function again
			}
		}
	})
	//doc:end
}
