// Redial shows the main job of package zk in one command. It keeps 100 watches
// on znodes that change all the time, an ephemeral znode, and a counter, while
// its connections are cut many times at random moments. At the end it checks
// that no event was lost or came twice.
//
//	go run ./examples/redial                            three servers in this process
//	go run ./examples/redial -addrs h1:2181,h2:2181     your own
//
// The part to copy is loops.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

const (
	numNodes   = 100
	numWriters = 4

	timeout  = 15 * time.Second       // of the sessions: longer than servers take to come back
	patience = 5 * time.Second        // with servers that nobody has reached yet
	grace    = 30 * time.Second       // for what comes after the duration
	quiet    = 200 * time.Millisecond // in which nothing more must come at the end
)

func main() {
	addrs := flag.String("addrs", "", "servers of one ensemble, `h1:p,h2:p`; none: three in this process")
	duration := flag.Duration("duration", 10*time.Second, "how long to go on")
	flag.Parse()
	if flag.NArg() > 0 || *duration <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *addrs, *duration); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

// run does the whole job and returns what went wrong.
func run(ctx context.Context, out io.Writer, addrs string, duration time.Duration) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, duration+grace, fmt.Errorf("not done %v after the end", grace))
	defer cancel()
	t := &traffic{at: make(map[string]place), dialer: addrs != ""}
	strike, heal := t.cutOne, func() {}
	if addrs == "" {
		e, err := zktest.StartEnsemble(3, zktest.Options{MaxSessionTimeout: timeout, FrameLog: -1})
		if err != nil {
			return err
		}
		defer e.Close()
		addrs = strings.Join(e.Addrs(), ",")
		strike, heal = func() { t.fault(e) }, e.Heal
	}
	conf, err := zk.ParseConfig(addrs)
	if err != nil {
		return err
	}
	conf.Timeout = timeout

	o, err := newObserver(ctx, conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.clean()) }()
	nodes, err := o.prepare(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "servers: %s\n%d watches, an ephemeral node and a counter below %s; connections are cut at random for %v\n",
		strings.Join(conf.Addrs, " "), len(nodes), o.root, duration)

	// One session is the watcher's alone, which also has the ephemeral. Another
	// is shared by the counter and the writers.
	ctx, fail := context.WithCancelCause(ctx)
	var watching, working sync.WaitGroup
	defer func() { fail(nil); working.Wait(); watching.Wait() }()
	begin := func(wg *sync.WaitGroup, name string, job func() error) {
		wg.Go(func() {
			if err := job(); err != nil {
				fail(fmt.Errorf("%s: %w", name, err)) // the first that fails ends the others
			}
		})
	}
	w := &watcher{
		root: o.root, ephemeral: o.root + "/here", nodes: nodes, unread: slices.Clone(nodes),
		events: make(chan zk.Event, len(nodes)), ledger: newLedger(), finish: make(chan struct{}),
	}
	begin(&watching, "watcher", func() error { return own(ctx, t.follow("watcher", conf), w.work) })
	if err := o.observe(ctx, w.ephemeral); err != nil {
		return reason(ctx, err)
	}
	shared, err := dial(ctx, t.follow("workers", conf))
	if err != nil {
		return reason(ctx, err)
	}
	finish := make(chan struct{})
	c := &counter{path: o.root + "/counter"}
	begin(&working, "counter", func() error { return c.run(ctx, shared, finish) })
	for i := range numWriters {
		mine := nodes[i*len(nodes)/numWriters : (i+1)*len(nodes)/numWriters]
		begin(&working, "writer", func() error { return write(ctx, shared, mine, finish) })
	}
	begin(&working, "faults", func() error { cut(strike, finish); return nil })

	p := newProgress(out, duration)
	for over := time.After(duration); !closed(finish); {
		select {
		case <-p.tick.C:
			redials, at := t.status()
			p.show(redials, w.ledger.count(), c.acknowledged.Load(), at["watcher"].addr)
		case <-o.s.Done(): // nobody cuts the observer, but its server may go away
			if err := o.call(ctx, func(s *zk.Session) error { return s.Sync(ctx, o.root) }); err != nil {
				fail(fmt.Errorf("observer: %w", err))
			}
		case <-over:
			close(finish)
		case <-ctx.Done():
			close(finish)
		}
	}
	working.Wait()
	p.end()
	heal()

	// Nothing changes any more. The watches have to catch up with what did.
	end, err := o.settle(ctx, nodes, w)
	if err != nil {
		return reason(ctx, err)
	}
	close(w.finish)
	watching.Wait()
	if shared, err = repeat(ctx, shared, func(s *zk.Session) error { return s.Sync(ctx, o.root) }); err == nil {
		shared.Close()
	}
	if err := reason(ctx, err); err != nil {
		return err
	}
	end.redials, _ = t.status()
	end.events, end.duplicates = w.ledger.events, w.ledger.duplicates
	end.lost = append(end.lost, w.ledger.lost...)
	end.acknowledged = c.acknowledged.Load()
	if err := end.check(); err != nil {
		return err
	}
	fmt.Fprintf(out, "watches: each saw the last change of its node\n")
	fmt.Fprintf(out, "ephemeral: there all the time, since transaction 0x%x\n", end.born.Czxid)
	fmt.Fprintf(out, "counter: %q, as acknowledged; %d unknown outcomes were resolved by reading\n", end.stored, c.resolved.Load())
	fmt.Fprintf(out, "ok: %d redials, %d events, %d lost, %d duplicate\n", end.redials, end.events, len(end.lost), len(end.duplicates))
	return nil
}

// reason returns why the context has ended, if it has, in place of an error
// that only follows from it.
func reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
