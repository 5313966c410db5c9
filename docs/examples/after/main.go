// After is zktest/clients/before, a program that used go-zookeeper, with this
// module's client: it registers itself and follows a configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: after ID ADDR…")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[2:], os.Args[1], func(data []byte) { fmt.Printf("config: %s\n", data) })
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Print(err)
	}
}

//doc:after

func run(ctx context.Context, addrs []string, id string, show func([]byte)) error {
	conf := zk.Config{Addrs: addrs, Timeout: 10 * time.Second}
	changed := make(chan zk.Event, 1)
	var member *recipe.Hold
	return recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) (err error) {
		if member != nil && member.Err() != nil { // the session has expired
			member.Release()
			member = nil
		}
		if member == nil {
			if member, err = recipe.Own(ctx, s, "/services/"+id, nil, zk.ACLOpen); err != nil {
				return err
			}
		}
		for {
			data, _, err := s.Get(ctx, "/config", changed)
			if err != nil {
				return err // a lost connection: Run dials again
			}
			show(data)
			select {
			case <-changed:
			case <-s.Done():
				return s.Err()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

//doc:end
