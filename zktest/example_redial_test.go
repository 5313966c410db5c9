package zktest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// follow is the application: it reports a node's data, now and whenever that
// changes, until its context ends. It survives the loss of connections.
func follow(ctx context.Context, conf zk.Config, path string, report func(data string)) error {
	changed := make(chan zk.Event, 1)
	last := ""
	for {
		s, err := zk.Dial(ctx, conf)
		if err != nil {
			return err
		}
		for {
			data, _, err := s.Get(ctx, path, changed) // no second event if the watch came along
			if errors.Is(err, zk.ErrConnection) {
				break
			} else if err != nil {
				s.Close()
				return err
			}
			if last != string(data) {
				last = string(data)
				report(last)
			}
			select {
			case <-changed:
				continue
			case <-s.Done():
			case <-ctx.Done():
				s.Close()
				return ctx.Err()
			}
			break
		}
		conf = s.Detach() // the same session and the same watches
	}
}

// The application must not miss a change, even one that happens while it has
// no connection. In a test, NewServer(t) takes the place of StartServer, and
// ends with the test.
func Example_redialLoop() {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	ctx, stop := context.WithCancel(context.Background())

	// A session of the test itself, to make changes with.
	own, err := zk.Dial(ctx, zk.Config{Addrs: server.Addrs()})
	if err != nil {
		panic(err)
	}
	own.Create(ctx, "/config", []byte("one"), zk.Persistent, zk.ACLOpen)

	// Only the application's connections lead through a proxy, which breaks them.
	proxy, err := zktest.StartProxy(server.Addr(), zktest.ProxyOptions{})
	if err != nil {
		panic(err)
	}
	defer proxy.Close()
	reports, done := make(chan string), make(chan error)
	go func() {
		conf := zk.Config{Addrs: []string{proxy.Addr()}}
		done <- follow(ctx, conf, "/config", func(data string) { reports <- data })
	}()
	fmt.Println(<-reports)

	proxy.Hold(zktest.FromClient) // so that it cannot come back yet
	proxy.Cut()
	own.Set(ctx, "/config", []byte("two"), -1)
	proxy.Release(zktest.FromClient)
	fmt.Println(<-reports)

	stop()
	fmt.Println("stopped:", errors.Is(<-done, context.Canceled))
	// Output:
	// one
	// two
	// stopped: true
}
