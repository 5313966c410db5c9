package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/responder"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/wire"
)

func listen(t *testing.T, conf responder.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := responder.New(conf)
	go s.Serve(l)
	t.Cleanup(func() {
		l.Close()
		s.Close()
	})
	return l.Addr().String()
}

// lacks are the workloads that a client cannot do.
var lacks = map[string][]string{
	"gozk":   {"batch512", "batch512x2", "get1ctx", "get64ctx", "get512ctx"},
	"dropin": {"batch512", "batch512x2", "get1ctx", "get64ctx", "get512ctx", "restore", "redial"},
	"samuel": {"batch512", "batch512x2", "get1ctx", "get64ctx", "get512ctx", "restore", "redial"},
	"mux":    {"batch512", "batch512x2", "get1ctx", "get64ctx", "get512ctx", "children", "events", "arm", "restore", "redial", "sessions", "get64armed"},
	"raw":    {"arm", "sessions", "get64armed", "fair512", "mixed"},
}

// Every client does every workload that it has, for a moment.
func TestWorkloads(t *testing.T) {
	conf := responder.Default
	plain := listen(t, conf)
	conf.EventEvery = 100
	eventful := listen(t, conf)
	for _, client := range []string{"ours", "dropin", "gozk", "samuel", "mux", "raw"} {
		for name, w := range workloads {
			t.Run(client+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := run{client: client, workload: name, size: 512, n: 300, load: 0.5, warmup: 10 * time.Millisecond, time: 30 * time.Millisecond}
				r.options = options{addr: plain, timeout: 10 * time.Second, channel: 16, single: name == "arm"}
				if name == "get512ev" {
					r.addr = eventful
				}
				r.bytes = conf.Data
				switch name {
				case "sessions", "manyget", "manyset":
					r.n = 5
				case "children":
					r.n = conf.Children
				case "redial":
					if client == "gozk" && raceEnabled {
						r.n = 0 // restoring watches, it reads its last zxid while its reader writes that
					}
				case "mixed":
					r.bytes = 100_000
				case "open512":
					if client == "ours" || client == "gozk" {
						r.burst = 300
					}
				}
				s, err := w.run(&r, w)
				for _, lack := range lacks[client] {
					if lack == name {
						if err == nil {
							t.Fatalf("it did what it cannot: %+v", s)
						}
						return
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				if name == "setup" {
					return
				}
				if s.Ops < 1 || s.Seconds <= 0 || s.Rate <= 0 {
					t.Errorf("%+v", s)
				}
				switch name {
				case "get1":
					if s.P50 <= 0 || s.P99 < s.P50 {
						t.Errorf("%+v", s)
					}
				case "get512ev":
					if client == "ours" && (s.Extra["events"] < 1 || s.Extra["events"] > float64(s.Ops)/100+10) {
						t.Errorf("%v events with %d replies", s.Extra["events"], s.Ops)
					}
				case "batch512", "batch512x2":
					if client == "ours" && s.Ops%512 != 0 {
						t.Errorf("%d operations", s.Ops)
					}
				case "open512":
					if s.P50 <= 0 || s.P99 < s.P50 || s.P999 < s.P99 || s.Extra["peak"] <= 0 || s.Extra["load"] <= 0 || s.Extra["busy"] <= 0 || s.Extra["late_p99_us"] < s.Extra["late_p50_us"] {
						t.Errorf("%+v", s)
					}
				case "mixed":
					if s.Extra["large_per_s"] <= 0 || s.Extra["alone_p99_us"] < s.Extra["alone_p50_us"] {
						t.Errorf("%+v", s)
					}
					fallthrough
				case "fair512":
					if least, most := s.Extra["least"], s.Extra["most"]; !(least >= 0 && least <= 1) || most < 1 || s.P999 < s.P99 {
						t.Errorf("%+v", s)
					}
				case "redial":
					if ms := s.Extra["redial_ms"]; ms <= 0 || client == "gozk" && ms < 900 {
						t.Errorf("%v ms", ms)
					}
				case "restore":
					if b := s.Extra["bytes"]; b < 1 || b > 1.1 {
						t.Errorf("%v times the bytes", b)
					}
				}
			})
		}
	}
}

// Over TLS too, and only over TLS.
func TestTLS(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := responder.TLS(plain)
	if err != nil {
		t.Fatal(err)
	}
	conf := responder.Default
	conf.Data = 100_000
	s := responder.New(conf)
	go s.Serve(l)
	t.Cleanup(func() {
		l.Close()
		s.Close()
	})
	for _, client := range []string{"ours", "gozk", "mux", "raw"} {
		for _, name := range []string{"get64", "getvalue", "setvalue"} {
			r := run{client: client, workload: name, bytes: conf.Data, warmup: 10 * time.Millisecond, time: 30 * time.Millisecond}
			r.options = options{addr: l.Addr().String(), timeout: 10 * time.Second, tls: true}
			if s, err := workloads[name].run(&r, workloads[name]); err != nil || s.Ops < 1 {
				t.Errorf("%s, %s: %+v, %v", client, name, s, err)
			}
		}
	}
	if r := (run{client: "raw", options: options{addr: l.Addr().String(), timeout: time.Second}}); true {
		if _, err := workloads["get1"].run(&r, workloads["get1"]); err == nil {
			t.Error("answered without TLS")
		}
	}
}

// Whoever reads a value of another size than it should says so.
func TestValuesAreChecked(t *testing.T) {
	addr := listen(t, responder.Config{Data: 5000})
	for _, client := range []string{"ours", "gozk", "mux", "raw"} {
		for _, size := range []int{5000, 5001} {
			r := run{client: client, bytes: size, warmup: time.Millisecond, time: time.Millisecond, options: options{addr: addr, timeout: 10 * time.Second}}
			if _, err := values(&r, workloads["getvalue"]); (err == nil) != (size == 5000) {
				t.Errorf("%s, %d bytes: %v", client, size, err)
			}
		}
	}
}

// What the limit reads is what the server has sent, and in a slice of its own.
func TestRawValue(t *testing.T) {
	for _, size := range []int{0, 1, 4000, 4096, 100_000, 3_000_000} {
		raw, err := dialRaw(options{addr: listen(t, responder.Config{Data: size}), timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		var last []byte
		for range 3 {
			raw.nc.Write(request(nil, 1, wire.OpGetData, wire.PathWatchRequest{Path: node}))
			got, err := raw.value(make([]byte, 4<<10), size)
			if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{'x'}, size)) {
				t.Fatalf("%d bytes instead of %d, %v", len(got), size, err)
			}
			if size > 0 && last != nil && &last[0] == &got[0] {
				t.Error("the same slice twice")
			}
			last = got
		}
		raw.nc.Close()
	}
}

// A redial counts from the hang-up until a call succeeds; where there was no hang-up there
// was no redial.
func TestFirstAnswer(t *testing.T) {
	fine := func() error { return nil }
	if _, err := firstAnswer(fine, fine); err == nil {
		t.Error("nobody has hung up")
	}
	calls := 0
	took, err := firstAnswer(func() error { return errNone }, func() error {
		time.Sleep(time.Millisecond)
		if calls++; calls < 5 {
			return errNone
		}
		return nil
	})
	if err != nil || calls != 5 || took < 5*time.Millisecond {
		t.Error(took, calls, err)
	}
}

// A fixed number of calls is just that.
func TestOps(t *testing.T) {
	r := run{client: "ours", ops: 1234, options: options{addr: listen(t, responder.Default), timeout: time.Second}}
	r.size, r.bytes = 7, responder.Default.Data
	for _, name := range []string{"get1", "set64", "batch512", "getvalue"} {
		if s, err := workloads[name].run(&r, workloads[name]); err != nil || s.Ops != 1234 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestRecord(t *testing.T) {
	rec := newRecord(1000)
	for i := range 1500 { // the last 500 have no room
		rec.add(time.Duration(1000-i) * time.Microsecond)
	}
	if p := rec.spread(); p != (spread{501, 991, 1000}) {
		t.Errorf("%+v", p)
	}
	rec.add(7 * time.Microsecond)
	if p := rec.spread(); p != (spread{7, 7, 7}) {
		t.Errorf("%+v", p)
	}
	if p := rec.spread(); p != (spread{}) {
		t.Errorf("of nothing: %+v", p)
	}
}

// Timing calls takes no memory for each of them.
func TestTimed(t *testing.T) {
	rec := newRecord(100_000)
	var calls atomic.Int64
	var stop atomic.Bool
	var counts shares
	r := run{}
	s, err := r.measure(func() (int64, time.Duration, error) {
		var err error
		counts, err = timed(4, func() error {
			stop.Store(calls.Add(1) >= 50_000)
			return nil
		}, &stop, rec)
		return counts.sum(), 0, err
	})
	if err != nil || s.Ops != calls.Load() || s.Ops < 50_000 || s.Allocs > 0.1 || rec.n.Load() != s.Ops {
		t.Errorf("%+v, %v", s, err)
	}
	due := make(chan time.Duration, 50_000)
	for i := range cap(due) {
		due <- time.Duration(i)
	}
	rec.spread()
	close(due)
	s, err = r.measure(func() (int64, time.Duration, error) {
		n, err := work(4, func() error { return nil }, time.Now(), due, 20_000, rec)
		return n, 0, err
	})
	if err != nil || s.Ops != 50_000 || s.Allocs > 0.1 || rec.n.Load() != 30_000 {
		t.Errorf("%+v, %v", s, err)
	}
	stop.Store(false)
	if _, err := timed(4, func() error { return errNone }, &stop, rec); err != errNone {
		t.Error(err)
	}
}

func TestShares(t *testing.T) {
	s := shares{1, 2, 3, 10}
	if s.sum() != 16 || s.mean() != 4 || s.least() != 0.25 || s.most() != 2.5 {
		t.Error(s.sum(), s.mean(), s.least(), s.most())
	}
}

// Calls become due at their rate, whoever is slow, and latencies count from then.
func TestArrivals(t *testing.T) {
	a := newArrivals(12345.6, 0, 10*time.Millisecond)
	if a.steps != 100 || a.by(100) != 123 || a.by(50) != 61 || a.by(1) != 1 {
		t.Error(a.steps, a.by(100), a.by(50), a.by(1))
	}
	var bursts atomic.Int64
	n, took, err := a.run(1, func() error {
		time.Sleep(time.Millisecond)
		return nil
	}, func() error {
		bursts.Add(1)
		return nil
	})
	if err != nil || n != 123 || bursts.Load() != 1 || took < 123*time.Millisecond || a.late.n.Load() != 100 {
		t.Error(n, bursts.Load(), took, err)
	}
	// The one caller takes more than a millisecond for each, but they are due within ten.
	if p := a.rec.spread(); p.p50 < 50_000 || p.p99 < 100_000 {
		t.Errorf("%+v", p)
	}
	// What is due before the lead is over is made, and not timed.
	a = newArrivals(10_000, 4*time.Millisecond, 6*time.Millisecond)
	if n, _, err := a.run(2, func() error { return nil }, func() error { return nil }); err != nil || n != 100 || a.rec.n.Load() != 61 || a.late.n.Load() != 61 {
		t.Error(n, a.rec.n.Load(), a.late.n.Load(), err)
	}
	a = newArrivals(1000, 0, 10*time.Millisecond)
	if _, _, err := a.run(2, func() error { return errNone }, func() error { return nil }); err != errNone {
		t.Error(err)
	}
}

// The raw limit makes the same calls, and its latencies count from when they were due
// too, not from when they could be written.
func TestArrivalsRaw(t *testing.T) {
	const silent = 40 * time.Millisecond
	near, far := net.Pipe() // which buffers nothing: until somebody reads, only the first step is written
	defer near.Close()
	a := newArrivals(12345.6, 4*time.Millisecond, 6*time.Millisecond)
	f := encode(2, wire.OpGetData, rawRequest(wire.OpGetData))
	size := len(f.b) / 4
	go func() {
		defer far.Close()
		time.Sleep(silent)
		for range 123 {
			if _, err := io.ReadFull(far, make([]byte, size)); err != nil {
				return
			}
		}
		answer := make([]byte, 123*20)
		for i := range 123 {
			answer[20*i+3] = 16
		}
		far.Write(answer)
	}()
	n, took, err := a.runRaw(&raw{nc: near, in: make([]byte, 1<<16)}, f)
	if err != nil || n != 123 || took < silent || a.rec.n.Load() != 75 || a.late.n.Load() != 61 {
		t.Error(n, took, err, a.rec.n.Load(), a.late.n.Load())
	}
	if p := a.rec.spread(); p.p50 < 30_000 {
		t.Errorf("%+v", p)
	}
	// A server that goes leaves neither side waiting.
	near, far = net.Pipe()
	go func() {
		io.ReadFull(far, make([]byte, size))
		far.Close()
	}()
	if n, _, err := a.runRaw(&raw{nc: near, in: make([]byte, 1<<16)}, f); err == nil {
		t.Error(n)
	}
}

func TestNoSuchServer(t *testing.T) {
	w := workloads["get1"]
	for _, client := range []string{"ours", "mux", "raw"} {
		r := run{client: client, options: options{addr: "127.0.0.1:1", timeout: time.Second}}
		if _, err := w.run(&r, w); err == nil {
			t.Errorf("%s measured nothing", client)
		}
	}
	r := run{client: "nobody"}
	if _, err := w.run(&r, w); err == nil || errors.Is(err, errNone) {
		t.Errorf("unknown client: %v", err)
	}
}

func TestMeasure(t *testing.T) {
	const n = 10000
	var kept [][]byte
	r := run{}
	s, err := r.measure(func() (int64, time.Duration, error) {
		for range n {
			kept = append(kept[:0], make([]byte, 1024))
		}
		return n, time.Second, nil
	})
	if err != nil || s.Ops != n || s.Rate != n || s.Allocs < 1 || s.Allocs > 1.1 || s.Bytes < 1024 || s.Bytes > 1100 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestLatencies(t *testing.T) {
	l := newLatencies()
	for i := range 1000 {
		l.add(time.Duration(1000-i) * time.Microsecond)
	}
	var s result.Sample
	if l.put(&s); s.P50 != 501 || s.P99 != 991 {
		t.Errorf("%v, %v", s.P50, s.P99)
	}
}
