// Command zktrace is a proxy between ZooKeeper clients and a server. It
// prints every request, reply and event.
//
//	go run ./zktest/zktrace -listen 127.0.0.1:2182 -server 127.0.0.1:2181
//
// Clients then connect to 127.0.0.1:2182. A line has the time, the connection,
// an arrow to the server or to the client, the operation with its xid, the
// path, the zxid, the error, the latency, and a note. It is coloured on a
// terminal, unless NO_COLOR is set. Data, passwords and credentials are never
// printed. Other protocols, such as TLS, pass without being decoded.
//
// -json prints JSON objects instead, one per line, with these fields; empty
// ones are left out:
//
//	time        RFC 3339, with nanoseconds
//	conn        number of the connection, from 1
//	kind        request, reply, event, or end (of the connection)
//	op          the server's name of the operation; connect for the handshake
//	xid         number
//	session     as the server's logs have it, 0x…; of a handshake: the one asked for
//	path        string
//	zxid        0x…; of a request: the zxid that it reports
//	err         number
//	error       its name
//	event       created, deleted, changed or child
//	latency_us  of a reply, since its request came, in microseconds
//	bytes       of the frame, without its length
//	note        anything else
//
// The other flags disturb all connections: they delay or slow one direction,
// and cut or reset connections. zktrace ends on an interrupt.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

type config struct {
	listen, server               string
	json, hidePings              bool
	delayToServer, delayToClient time.Duration
	rateToServer, rateToClient   int
	cutEvery                     time.Duration
	cutRequest, cutReply         int64
	reset                        bool
}

func main() {
	var c config
	flags := flag.NewFlagSet("zktrace", flag.ContinueOnError)
	flags.StringVar(&c.listen, "listen", "127.0.0.1:2182", "`address` for clients; port 0 takes a free one")
	flags.StringVar(&c.server, "server", "127.0.0.1:2181", "`address` of the server")
	flags.BoolVar(&c.json, "json", false, "print JSON objects, one per line")
	flags.BoolVar(&c.hidePings, "hide-pings", false, "print no pings")
	flags.DurationVar(&c.delayToServer, "delay-to-server", 0, "make requests late by this `duration`, such as 100ms")
	flags.DurationVar(&c.delayToClient, "delay-to-client", 0, "make replies and events late by this `duration`")
	flags.IntVar(&c.rateToServer, "rate-to-server", 0, "let each client send only this many `bytes` per second; 0: no limit")
	flags.IntVar(&c.rateToClient, "rate-to-client", 0, "let each client receive only this many `bytes` per second; 0: no limit")
	flags.DurationVar(&c.cutEvery, "cut-every", 0, "cut all connections again and again after this `duration`")
	flags.Int64Var(&c.cutRequest, "cut-request", 0, "cut each connection ahead of its `n`-th frame to the server; the handshake is the first")
	flags.Int64Var(&c.cutReply, "cut-reply", 0, "cut each connection ahead of its `n`-th frame to the client; the handshake is the first")
	flags.BoolVar(&c.reset, "reset", false, "make every cut a reset")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "zktrace is a proxy that prints the frames between ZooKeeper clients and a server.\n\n"+
			"  go run ./zktest/zktrace -listen 127.0.0.1:2182 -server 127.0.0.1:2181\n\n")
		flags.PrintDefaults()
	}
	switch err := flags.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		os.Exit(2)
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "zktrace: no arguments are known, only flags: %q\n", flags.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends it the hard way
	if err := trace(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "zktrace:", err)
		os.Exit(1)
	}
}

// queued is how many frames may wait to be printed. More are counted, not
// printed: connections never wait for a terminal.
const queued = 10_000

func trace(ctx context.Context, c config) error {
	frames := make(chan zktest.Frame, queued)
	var missed atomic.Int64 // frames that found the queue full
	p, err := zktest.StartProxy(c.server, zktest.ProxyOptions{
		Listen: c.listen, FrameLog: -1,
		OnFrame: func(f zktest.Frame) {
			if c.hidePings && f.Op == wire.OpPing {
				return
			}
			select {
			case frames <- f:
			default:
				missed.Add(1)
			}
		},
	})
	if err != nil {
		return err
	}
	c.disturb(p)
	fmt.Fprintf(os.Stderr, "zktrace: clients connect to %s, which leads to %s\n", p.Addr(), c.server)

	cuts, done := make(<-chan time.Time), make(chan error, 1)
	if c.cutEvery > 0 {
		t := time.NewTicker(c.cutEvery)
		defer t.Stop()
		cuts = t.C
	}
	go func() { done <- c.print(frames, &missed) }()
	for err == nil && ctx.Err() == nil {
		select {
		case <-cuts:
			if c.reset {
				p.Reset()
			} else {
				p.Cut()
			}
		case err = <-done: // nobody reads the output any more
			done <- err
		case <-ctx.Done():
		}
	}
	p.Close()
	close(frames)
	return <-done
}

// disturb does what flags say to all connections.
func (c config) disturb(p *zktest.Proxy) {
	p.Delay(zktest.FromClient, c.delayToServer)
	p.Delay(zktest.ToClient, c.delayToClient)
	p.Drip(zktest.FromClient, c.rateToServer)
	p.Drip(zktest.ToClient, c.rateToClient)
	cut := zktest.CutAt
	if c.reset {
		cut = zktest.ResetAt
	}
	rule := zktest.LinkRule{Count: -1}
	if c.cutRequest > 0 {
		rule.FromClient = cut(c.cutRequest - 1).Frames().OnNext()
	}
	if c.cutReply > 0 {
		rule.ToClient = cut(c.cutReply - 1).Frames().OnNext()
	}
	p.Link(rule)
}

// print prints frames until there are no more.
func (c config) print(frames <-chan zktest.Frame, missed *atomic.Int64) error {
	out := bufio.NewWriter(os.Stdout)
	line := textLine(colours(os.Stdout))
	if c.json {
		line = jsonLine
	}
	for f := range frames {
		if _, err := io.WriteString(out, line(f)); err != nil {
			return err
		}
		if len(frames) > 0 {
			continue
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if n := missed.Swap(0); n > 0 {
			fmt.Fprintf(os.Stderr, "zktrace: %d frames were not printed, as the output is too slow\n", n)
		}
	}
	return out.Flush()
}
