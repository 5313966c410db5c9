// Observed is a small service with metrics, spans and the page of its sessions. It
// runs on three in-process servers, which fail now and then, so that there is
// something to see.
//
//	go run -C examples/observed .
//
// Then open the addresses that it prints: /debug/zk, /debug/vars and /metrics. It prints
// its spans as JSON, one object each, unless -quiet is given. It runs until it is
// interrupted.
package main

import (
	"context"
	"errors"
	_ "expvar" // /debug/vars
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/metrics"
	"github.com/seed-9f8420c6/zk/metrics/otel"
	"github.com/seed-9f8420c6/zk/metrics/prom"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zkdebug"
	"github.com/seed-9f8420c6/zk/zktest"
)

func main() {
	listen := flag.String("http", "127.0.0.1:6060", "`address` of the pages; port 0 takes a free one")
	every := flag.Duration("break", 5*time.Second, "`time` from one fault to the next")
	quiet := flag.Bool("quiet", false, "print no spans")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	spans := io.Writer(os.Stdout)
	if *quiet {
		spans = io.Discard
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *listen, *every, spans, os.Stderr); !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string, every time.Duration, spans, log io.Writer) error {
	e, err := zktest.StartEnsemble(3, zktest.Options{FrameLog: -1})
	if err != nil {
		return err
	}
	defer e.Close()
	conf := zk.Config{Addrs: e.Addrs(), Timeout: 4 * time.Second, Logger: slog.New(slog.NewTextHandler(log, nil))}

	// All that makes it observed: metrics, their exposition, spans, and frames for the page.
	set := metrics.Attach(&conf)
	registry := prometheus.NewRegistry()
	registry.MustRegister(prom.NewCollector(set))
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(spans))
	if err != nil {
		return err
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	defer tracers.Shutdown(context.Background())
	conf.Trace = zk.JoinTraces(conf.Trace, otel.Trace(otel.WithTracerProvider(tracers)))
	zkdebug.Default.Tap(&conf)

	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/debug/", http.DefaultServeMux)
	server := &http.Server{Handler: mux}
	defer server.Close()
	go server.Serve(l)
	fmt.Fprintf(log, "open http://%[1]s/debug/zk?paths=1, http://%[1]s/debug/vars and http://%[1]s/metrics\n", l.Addr())

	go breakThings(ctx, e, every)
	return recipe.Run(ctx, conf, newService().work)
}

// service changes a znode and watches it. Now and then it stops receiving for a while.
type service struct {
	one, all chan zk.Event
	watching bool // all is armed
}

func newService() *service {
	return &service{one: make(chan zk.Event, 1), all: make(chan zk.Event, 100)}
}

func (s *service) work(ctx context.Context, z *zk.Session, _ bool) error {
	if _, err := z.Create(ctx, "/config", nil, zk.Persistent, zk.ACLOpen); err != nil && !errors.Is(err, zk.ErrExists) {
		return err
	}
	if !s.watching { // the watch moves with the session, and with a renewal too
		if err := z.AddWatch(ctx, "/config", zk.WatchRecursive, s.all); err != nil {
			return err
		}
		s.watching = true
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		if _, _, err := z.Get(ctx, "/config", s.one); err != nil {
			return err
		}
		if _, err := z.Set(ctx, "/config", fmt.Append(nil, i), zk.AnyVersion); err != nil {
			return err
		}
		if _, _, err := z.Get(ctx, "/missing", nil); !errors.Is(err, zk.ErrNoNode) {
			return err
		}
		if i%400 < 300 { // else nobody receives, and events queue up
			s.receive()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// receive takes the events that are there.
func (s *service) receive() {
	for {
		select {
		case <-s.one:
		case <-s.all:
		default:
			return
		}
	}
}

// breakThings breaks one thing after another.
func breakThings(ctx context.Context, e *zktest.Ensemble, every time.Duration) {
	faults := []func(){
		e.CutAll,
		func() { e.Member(0).Restart() },
		func() { each(e, e.Stall) },
		func() { each(e, e.Expire) },
	}
	for i := 0; ; i++ {
		select {
		case <-time.After(every):
			faults[i%len(faults)]()
		case <-ctx.Done():
			return
		}
	}
}

// each does something to all sessions.
func each(e *zktest.Ensemble, f func(id int64)) {
	for _, id := range e.Sessions() {
		f(id)
	}
}
