package main

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/responder"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
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
	"dropin": {"batch512", "batch512x2", "get1ctx", "get64ctx", "get512ctx", "restore"},
	"samuel": {"batch512", "batch512x2", "get1ctx", "get64ctx", "get512ctx", "restore"},
	"mux":    {"batch512", "batch512x2", "get1ctx", "get64ctx", "get512ctx", "children", "events", "arm", "restore", "sessions", "get64armed"},
	"raw":    {"arm", "sessions", "get64armed"},
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
				r := run{client: client, workload: name, size: 512, n: 300, warmup: 10 * time.Millisecond, time: 30 * time.Millisecond}
				r.options = options{addr: plain, timeout: 10 * time.Second, channel: 16, single: name == "arm"}
				if name == "get512ev" {
					r.addr = eventful
				}
				if name == "sessions" {
					r.n = 5
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
				case "restore":
					if b := s.Extra["bytes"]; b < 1 || b > 1.1 {
						t.Errorf("%v times the bytes", b)
					}
				}
			})
		}
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
