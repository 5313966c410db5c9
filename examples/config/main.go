// Config is a service that keeps its configuration from a subtree. It prints
// each consistent change, and survives its servers.
//
//	go run ./examples/config                                     three servers in this process, which break
//	go run ./examples/config -addrs h1:2181,h2:2181 -root /app   your own: change something below /app
//
// The part to copy is service.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

func main() {
	addrs := flag.String("addrs", "", "servers of one ensemble, `h1:p,h2:p`; none: three in this process")
	root := flag.String("root", "/app", "where the configuration is")
	duration := flag.Duration("duration", 10*time.Second, "how long to go on; with -addrs 0 is until it is interrupted")
	flag.Parse()
	if flag.NArg() > 0 || *duration < 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *addrs, *root, *duration); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

// run is the whole program, and returns what went wrong.
func run(ctx context.Context, out io.Writer, addrs, root string, duration time.Duration) error {
	if duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, duration)
		defer cancel()
	}
	var ensemble *zktest.Ensemble
	if addrs == "" {
		var err error
		if ensemble, err = zktest.StartEnsemble(3, zktest.Options{FrameLog: -1}); err != nil {
			return err
		}
		defer ensemble.Close()
		addrs = strings.Join(ensemble.Addrs(), ",")
	}
	conf, err := zk.ParseConfig(addrs)
	if err != nil {
		return err
	}
	v := newService(out, root)
	var others sync.WaitGroup
	defer others.Wait()
	if ensemble != nil {
		conf.Timeout = 5 * time.Second
		others.Go(func() { operate(ctx, conf, root) })
		others.Go(func() { breakThings(ctx, ensemble, v) })
	}
	err = v.keep(ctx, conf)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	fmt.Fprintf(out, "%d consistent changes over %d connections, %d torn\n", v.changes, v.connections, v.torn)
	if err == nil && v.torn > 0 {
		err = errors.New("a change was seen in half")
	}
	return err
}
