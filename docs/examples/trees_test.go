package examples

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/tree"
)

func Example_trees() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	err = func() error {
		//doc:put
		if _, err := tree.Put(ctx, s, "/app/db/user", []byte("alice"), nil); err != nil { // parents too
			return err
		}
		_, err := tree.Update(ctx, s, "/app/db/user", func(data []byte, _ zk.Stat) ([]byte, error) {
			return []byte(strings.ToUpper(string(data))), nil // called again if others were faster
		})
		if err != nil {
			return err
		}
		//doc:end

		//doc:walk
		for node, err := range tree.Walk(ctx, s, "/app") {
			if err != nil {
				return err
			}
			fmt.Printf("%s %q\n", node.Path, node.Data)
		}
		//doc:end

		//doc:export
		file, err := os.CreateTemp("", "app-*.jsonl")
		if err != nil {
			return err
		}
		defer file.Close()
		if err := tree.Export(ctx, s, "/app", file, tree.Options{}); err != nil {
			return err
		}
		//doc:end
		defer os.Remove(file.Name())
		_, err = file.Seek(0, 0)
		check(err)
		//doc:import
		if err := tree.Import(ctx, s, "/copy", file, tree.Options{}); err != nil {
			return err
		}
		//doc:end
		data, _, err := s.Get(ctx, "/copy/db/user", nil)
		fmt.Printf("copy: %s\n", data)
		check(err)

		//doc:delete
		if err := tree.DeleteAll(ctx, s, "/copy"); err != nil {
			return err
		}
		//doc:end
		return nil
	}()
	check(err)
	// Output:
	// /app ""
	// /app/db ""
	// /app/db/user "ALICE"
	// copy: ALICE
}

//doc:stream

// follow prints each state of a znode, until ctx ends.
func follow(ctx context.Context, conf zk.Config, path string, show func(tree.State)) error {
	stream := tree.Stream{Path: path} // keeps what was seen, over all connections
	return recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) error {
		for state, err := range stream.States(ctx, s) {
			if err != nil {
				return err
			}
			show(state)
		}
		return nil
	})
}

//doc:end

func Example_stream() {
	server, conf := serve()
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	err = follow(ctx, conf, "/color", func(state tree.State) {
		if !state.Exists {
			fmt.Println("no color")
			for _, id := range server.Sessions() {
				if id != s.ID() {
					server.Cut(id)
				}
			}
			_, err := tree.Put(ctx, s, "/color", []byte("red"), nil)
			check(err)
			return
		}
		fmt.Printf("%s\n", state.Data)
		cancel()
	})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// no color
	// red
	// true
}

//doc:cache

// config keeps a copy of /app in memory until ctx ends. Others read it meanwhile.
func config(ctx context.Context, conf zk.Config, cache *tree.Cache) error {
	defer cache.Close()
	return recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) error {
		return cache.Run(ctx, s)
	})
}

//doc:end

func Example_cache() {
	server, conf := serve()
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	_, err = tree.Put(ctx, s, "/app/color", []byte("red"), nil)
	check(err)
	cache := &tree.Cache{Root: "/app"}
	ended := make(chan error)
	go func() { ended <- config(ctx, conf, cache) }()
	stat, err := s.Set(ctx, "/app/color", []byte("blue"), zk.AnyVersion)
	check(err)
	err = func() error {
		//doc:cacheread
		if err := cache.Wait(ctx, stat.Mzxid); err != nil { // to see a write of one's own
			return err
		}
		if node, ok := cache.Get("/app/color"); ok {
			fmt.Printf("%s\n", node.Data)
		}
		//doc:end
		return nil
	}()
	check(err)
	cancel()
	fmt.Println(errors.Is(<-ended, context.Canceled))
	// Output:
	// blue
	// true
}
