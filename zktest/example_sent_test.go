package zktest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// publish is the application: it writes a value once, also when it does not
// hear whether that was done. Then it looks before it writes again.
func publish(ctx context.Context, conf zk.Config, path, value string) error {
	s, err := zk.Dial(ctx, conf)
	if err != nil {
		return err
	}
	_, err = s.Set(ctx, path, []byte(value), -1)
	for errors.Is(err, zk.ErrConnection) {
		if s, err = s.Redial(ctx); err != nil {
			return err
		}
		var data []byte
		data, _, err = s.Get(ctx, path, nil)
		if err == nil && string(data) != value {
			_, err = s.Set(ctx, path, []byte(value), -1)
		}
	}
	return errors.Join(err, s.Close())
}

// The server's log shows every frame, so that a test can say what must be sent
// and what must not. In a test, NewServer(t) takes the place of StartServer,
// and ends with the test.
func Example_whatWasSent() {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	ctx := context.Background()
	conf := zk.Config{Addrs: server.Addrs()}
	own, err := zk.Dial(ctx, conf)
	if err != nil {
		panic(err)
	}
	own.Create(ctx, "/value", nil, zk.Persistent, zk.ACLOpen)
	own.Close()

	// The next Set is done, but its answer never arrives.
	fault := server.Fault(zktest.Rule{Op: wire.OpSetData, Path: "/value", Do: zktest.CutAfter})
	server.ForgetFrames()
	fmt.Println(publish(ctx, conf, "/value", "42"), "with", fault.Hits(), "cut")
	for _, f := range server.Frames() {
		if f.Dir == zktest.FromClient && f.Path == "/value" {
			fmt.Println("connection", f.Conn, f.Op)
		}
	}
	// Output:
	// <nil> with 1 cut
	// connection 2 setData
	// connection 3 getData
}
