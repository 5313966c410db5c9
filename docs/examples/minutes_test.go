package examples

import (
	"context"
	"fmt"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func Example_znodes() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	err := func() error {
		//doc:dial
		s, err := zk.Dial(ctx, conf) // conf := zk.Config{Addrs: []string{"localhost:2181"}, Logger: slog.Default()}
		if err != nil {
			return err
		}
		defer s.Close()
		//doc:end

		//doc:create
		_, err = s.Create(ctx, "/app", nil, zk.Persistent, zk.ACLOpen)
		if err != nil {
			return err
		}
		_, err = s.Create(ctx, "/app/color", []byte("red"), zk.Persistent, zk.ACLOpen)
		if err != nil {
			return err
		}
		//doc:end

		//doc:getset
		data, stat, err := s.Get(ctx, "/app/color", nil)
		if err != nil {
			return err
		}
		fmt.Printf("%s, version %d\n", data, stat.Version)

		stat, err = s.Set(ctx, "/app/color", []byte("blue"), stat.Version)
		if err != nil {
			return err
		}
		fmt.Println("now version", stat.Version)

		names, _, err := s.Children(ctx, "/app", nil)
		if err != nil {
			return err
		}
		fmt.Println("below /app:", names)
		//doc:end
		return nil
	}()
	check(err)
	// Output:
	// red, version 0
	// now version 1
	// below /app: [color]
}

func Example_cut() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	other, err := zk.Dial(ctx, conf)
	check(err)
	defer other.Close()
	_, err = other.Create(ctx, "/color", []byte("red"), zk.Persistent, zk.ACLOpen)
	check(err)
	err = func() error {
		//doc:cut
		s, err := zk.Dial(ctx, conf)
		if err != nil {
			return err
		}
		changed := make(chan zk.Event, 1)
		data, _, err := s.Get(ctx, "/color", changed) // reads, and arms a watch
		if err != nil {
			return err
		}
		fmt.Printf("it is %s\n", data)

		server.Cut(s.ID()) // the network fails
		<-s.Done()
		fmt.Println("the connection is over")

		_, err = other.Set(ctx, "/color", []byte("blue"), zk.AnyVersion) // and meanwhile
		if err != nil {
			return err
		}

		s, err = zk.Dial(ctx, s.Config()) // the same session, on a new connection
		if err != nil {
			return err
		}
		defer s.Close()
		ev := <-changed
		fmt.Println(ev.Path, ev.Type)
		//doc:end
		return nil
	}()
	check(err)
	// Output:
	// it is red
	// the connection is over
	// /color changed
}

//doc:work

// watchColor prints a znode and each of its changes. Run calls it on each connection.
func watchColor(ctx context.Context, s *zk.Session, changed chan zk.Event) error {
	for {
		data, _, err := s.Get(ctx, "/color", changed)
		if err != nil {
			return err // a lost connection: Run dials again, and calls this again
		}
		fmt.Printf("it is %s\n", data)
		select {
		case <-changed: // read again
		case <-s.Done():
			return s.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

//doc:end

func Example_run() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	other, err := zk.Dial(ctx, conf)
	check(err)
	defer other.Close()
	_, err = other.Create(ctx, "/color", []byte("red"), zk.Persistent, zk.ACLOpen)
	check(err)
	read := func(do zktest.Action) *zktest.Fault {
		return server.Fault(zktest.Rule{Dir: zktest.ToClient, Op: wire.OpGetData, Do: do})
	}
	_, second, third := read(zktest.CutAfter), read(zktest.Pass), read(zktest.Pass)
	go func() {
		<-second.Struck()
		_, err := other.Set(ctx, "/color", []byte("blue"), zk.AnyVersion)
		check(err)
		<-third.Struck()
		check(other.Delete(ctx, "/color", zk.AnyVersion)) // which ends the example
	}()
	err = func() error {
		//doc:run
		changed := make(chan zk.Event, 1)
		return recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) error {
			return watchColor(ctx, s, changed)
		})
		//doc:end
	}()
	fmt.Println(err)
	// Output:
	// it is red
	// it is red
	// it is blue
	// zk: get /color: no such znode
}
