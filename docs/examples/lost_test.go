package examples

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

//doc:outcomes

// describe says what is known about a call that failed.
func describe(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, zk.ErrNotSent):
		return "not done: no byte of it left this process"
	case errors.Is(err, zk.ErrLost):
		return "perhaps done: it was sent, and no answer came"
	default:
		return "not done: the server said no"
	}
}

//doc:end

func Example_outcomes() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)

	_, err = s.Set(ctx, "/missing", nil, zk.AnyVersion)
	fmt.Println(describe(err))
	server.Fault(zktest.Rule{Op: wire.OpCreate, Do: zktest.CutAfter})
	_, err = s.Create(ctx, "/a", nil, zk.Persistent, zk.ACLOpen)
	fmt.Println(describe(err))
	_, err = s.Create(ctx, "/b", nil, zk.Persistent, zk.ACLOpen)
	fmt.Println(describe(err))
	// Output:
	// not done: the server said no
	// perhaps done: it was sent, and no answer came
	// not done: no byte of it left this process
}

//doc:look

// setOnce sets a znode that nobody else writes, once, whatever becomes of connections.
func setOnce(ctx context.Context, s *zk.Session, path string, data []byte, version int32) error {
	_, err := s.Set(ctx, path, data, version)
	for errors.Is(err, zk.ErrConnection) && !zk.Hopeless(err) {
		if s, err = s.Redial(ctx); err != nil {
			return err // ErrNoServer: a little later; ErrExpired: s.Renew
		}
		// Sync first: this server may be behind the one that had the write.
		var stat zk.Stat
		if err = s.Sync(ctx, path); err == nil {
			_, stat, err = s.Get(ctx, path, nil)
		}
		switch {
		case err != nil: // lost again: the loop redials
		case stat.Version > version:
			return nil // it was done
		default:
			_, err = s.Set(ctx, path, data, version)
		}
	}
	return err
}

//doc:end

func Example_look() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	s, err := zk.Dial(ctx, conf)
	check(err)
	for _, do := range []zktest.Action{zktest.CutAfter, zktest.CutBefore} {
		_, err = tree.Put(ctx, s, "/count", []byte("0"), nil)
		check(err)
		_, before, err := s.Get(ctx, "/count", nil)
		check(err)
		server.Fault(zktest.Rule{Op: wire.OpSetData, Do: do})
		server.Fault(zktest.Rule{Op: wire.OpGetData, Do: zktest.CutBefore})
		check(setOnce(ctx, s, "/count", []byte("1"), before.Version))
		s, err = zk.Dial(ctx, conf)
		check(err)
		data, after, err := s.Get(ctx, "/count", nil)
		check(err)
		fmt.Printf("%s, written %d time\n", data, after.Version-before.Version)
	}
	// Output:
	// 1, written 1 time
	// 1, written 1 time
}

func Example_fresh() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	n := 0
	work := func(ctx context.Context, s *zk.Session) error {
		switch n++; n {
		case 1:
			server.Cut(s.ID())
		case 2:
			server.Expire(s.ID())
		default:
			return nil
		}
		<-s.Done()
		return s.Err()
	}
	err := func() error {
		//doc:fresh
		return recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) error {
			if fresh { // a new session: it has no ephemeral znodes yet
				fmt.Println("register")
			}
			return work(ctx, s) // until it is done, or s can do no more
		})
		//doc:end
	}()
	fmt.Println(n, "connections:", err)
	// Output:
	// register
	// register
	// 3 connections: <nil>
}
