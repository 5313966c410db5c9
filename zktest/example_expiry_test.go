package zktest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// enlist is the application: it keeps an ephemeral node for as long as its
// context lives, and makes it anew when its session has expired.
func enlist(ctx context.Context, conf zk.Config, path string, enlisted func(session int64)) error {
	for {
		s, err := zk.Dial(ctx, conf)
		if errors.Is(err, zk.ErrExpired) {
			conf = conf.Renew()
			continue
		} else if err != nil {
			return err
		}
		_, err = s.Create(ctx, path, nil, zk.Ephemeral, zk.ACLOpen)
		switch {
		case err == nil:
			enlisted(s.ID())
		case errors.Is(err, zk.ErrExists): // our own, as long as nobody else has this path
		case !errors.Is(err, zk.ErrConnection):
			return err
		}
		select {
		case <-s.Done():
			conf = s.Detach()
		case <-ctx.Done():
			return s.Close()
		}
	}
}

// A session that expires is one line of a test, and takes no time. In a test,
// NewServer(t) takes the place of StartServer, and ends with the test.
func Example_expiry() {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	ctx, stop := context.WithCancel(context.Background())
	sessions, done := make(chan int64), make(chan error)
	go func() {
		conf := zk.Config{Addrs: server.Addrs()}
		done <- enlist(ctx, conf, "/worker", func(session int64) { sessions <- session })
	}()
	first := <-sessions
	fmt.Println("sessions:", len(server.Sessions()))

	server.Cut(first) // the session lives on, and so does its node: nothing to report
	server.Expire(first)
	second := <-sessions
	fmt.Println("another session:", second != first)
	fmt.Println("sessions:", len(server.Sessions()))

	stop()
	fmt.Println(<-done)
	// Output:
	// sessions: 1
	// another session: true
	// sessions: 1
	// <nil>
}
