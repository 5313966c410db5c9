package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/bench/peers"
)

// target is a row of the table of what is to be reached. value returns the figure,
// and whether there was anything to measure it by.
type target struct {
	name  string
	least bool // at least, else at most
	bound float64
	value func(result.Report) (float64, bool)
}

func (t target) sign() string {
	if t.least {
		return ">="
	}
	return "<="
}

func (t target) reached(v float64) bool {
	if t.least {
		return v >= t.bound
	}
	return v <= t.bound
}

// times is the rate of a client relative to another's.
func times(table, client, otherTable, other string) func(result.Report) (float64, bool) {
	return func(rep result.Report) (float64, bool) {
		a, b := rep.Table(table).Row(client), rep.Table(otherTable).Row(other)
		if len(a.Samples) == 0 || len(b.Samples) == 0 {
			return 0, false
		}
		return ratio(a.Rate().Median, b.Rate().Median), true
	}
}

func xPeer(table string) func(result.Report) (float64, bool) {
	return times(table, "ours", table, "gozk")
}

// xBest is the rate relative to the fastest of all peers.
func xBest(table string) func(result.Report) (float64, bool) {
	return func(rep result.Report) (float64, bool) {
		ours, best := rep.Table(table).Row("ours"), 0.0
		for _, c := range slices.Concat([]string{"gozk", "samuel"}, peers.Names) {
			if r := rep.Table(table).Row(c); len(r.Samples) > 0 {
				best = max(best, r.Rate().Median)
			}
		}
		return ratio(ours.Rate().Median, best), len(ours.Samples) > 0 && best > 0
	}
}

func xLimit(table string) func(result.Report) (float64, bool) {
	return times(table, "ours", table, "raw")
}

// cpuTimes is the CPU time of this client relative to another's.
func cpuTimes(table, other string) func(result.Report) (float64, bool) {
	return func(rep result.Report) (float64, bool) {
		a, b := rep.Table(table).Row("ours"), rep.Table(table).Row(other)
		if len(a.Samples) == 0 || len(b.Samples) == 0 {
			return 0, false
		}
		return ratio(a.CPU().Median, b.CPU().Median), true
	}
}

// of is a figure of this client.
func of(table string, f func(result.Sample) float64) func(result.Report) (float64, bool) {
	return func(rep result.Report) (float64, bool) {
		r := rep.Table(table).Row("ours")
		return r.Of(f).Median, len(r.Samples) > 0
	}
}

func extra(table, name string) func(result.Report) (float64, bool) {
	return of(table, func(s result.Sample) float64 { return s.Extra[name] })
}

// p99OfP50 is how much longer than half of the calls the slowest hundredth takes.
func p99OfP50(table string) func(result.Report) (float64, bool) {
	return of(table, func(s result.Sample) float64 { return ratio(s.P99, s.P50) })
}

func xMux(table string) func(result.Report) (float64, bool) {
	return times(table, "ours", table, "mux")
}

func cpuOf(s result.Sample) float64    { return s.CPU }
func allocsOf(s result.Sample) float64 { return s.Allocs }
func bytesOf(s result.Sample) float64  { return s.Bytes }
func readsOf(s result.Sample) float64  { return s.Reads }
func writesOf(s result.Sample) float64 { return s.Writes }

const atLeast, atMost = true, false

var targets = []target{
	{"get1: x raw limit", atLeast, 0.94, xLimit("get1")},
	{"get1: x go-zookeeper", atLeast, 1.12, xPeer("get1")},
	{"get1: CPU, x raw limit", atMost, 1.12, cpuTimes("get1", "raw")},
	{"get1: reads per op", atMost, 2.01, of("get1", readsOf)},
	{"get1: writes per op", atMost, 1.01, of("get1", writesOf)},
	{"get1: allocations", atMost, 1.1, of("get1", allocsOf)},
	{"get1: gozk, x go-zookeeper", atLeast, 1, times("get1", "dropin", "get1", "gozk")},
	{"get64: gozk, x go-zookeeper", atLeast, 4, times("get64", "dropin", "get64", "gozk")},
	{"get64 armed: gozk, x go-zookeeper", atLeast, 3, times("get64 armed", "dropin", "get64 armed", "gozk")},
	{"get512: gozk, x go-zookeeper", atLeast, 5, times("get512", "dropin", "get512", "gozk")},
	{"get64: x go-zookeeper", atLeast, 7, xPeer("get64")},
	{"get64: CPU us", atMost, 1.4, of("get64", cpuOf)},
	{"get64 unpinned: x go-zookeeper", atLeast, 7, xPeer("get64 unpinned")},
	{"get64 unpinned: CPU us", atMost, 1.7, of("get64 unpinned", cpuOf)},
	{"get512: x go-zookeeper", atLeast, 15, xPeer("get512")},
	{"get512: CPU us", atMost, 0.7, of("get512", cpuOf)},
	{"get512: writes per op", atMost, 0.02, of("get512", writesOf)},
	{"get512: allocations", atMost, 1.1, of("get512", allocsOf)},
	{"get512: bytes allocated", atMost, 128, of("get512", bytesOf)},
	{"get512 unpinned: x go-zookeeper", atLeast, 15, xPeer("get512 unpinned")},
	{"get512 unpinned: CPU us", atMost, 0.9, of("get512 unpinned", cpuOf)},
	{"get512 context: allocations", atMost, 1.1, of("get512 context", allocsOf)},
	{"get512 events: x the same with order off", atLeast, 0.85, times("get512 events", "ours", "get512 events", "unordered")},
	{"get512 events: x go-zookeeper", atLeast, 13, xPeer("get512 events")},
	{"set512: x go-zookeeper", atLeast, 15, xPeer("set512")},
	{"set512: allocations", atMost, 0.05, of("set512", allocsOf)},
	{"batch512: x raw limit", atLeast, 0.55, xLimit("batch512")},
	{"batch512 two: x raw limit", atLeast, 0.95, xLimit("batch512 two")},
	{"batch512: allocations per Get", atMost, 0.05, of("batch512", allocsOf)},
	{"children of 1,000: allocations", atMost, 3.1, of("children", allocsOf)},
	{"get1: x minimal mux", atLeast, 0.95, xMux("get1")},
	{"get1: CPU, x minimal mux", atMost, 1.08, cpuTimes("get1", "mux")},
	{"get64: x minimal mux", atLeast, 0.95, xMux("get64")},
	{"get64: CPU, x minimal mux", atMost, 1.08, cpuTimes("get64", "mux")},
	{"get512: x minimal mux", atLeast, 0.95, xMux("get512")},
	{"get512: CPU, x minimal mux", atMost, 1.08, cpuTimes("get512", "mux")},
	{"set512: x minimal mux", atLeast, 0.95, xMux("set512")},
	{"set512: CPU, x minimal mux", atMost, 1.08, cpuTimes("set512", "mux")},
	{"get 1 KB: allocations", atMost, 1.1, of("get 1 KB", allocsOf)},
	{"get 64 KB: allocations", atMost, 1.1, of("get 64 KB", allocsOf)},
	{"get 64 KB: CPU, x raw limit", atMost, 1.2, cpuTimes("get 64 KB", "raw")},
	{"get 1 MB: allocations", atMost, 1.1, of("get 1 MB", allocsOf)},
	{"get 1 MB: CPU, x raw limit", atMost, 1.15, cpuTimes("get 1 MB", "raw")},
	{"get 1 MB: CPU, x go-zookeeper", atMost, 0.9, cpuTimes("get 1 MB", "gozk")},
	{"get 1 MB, real server: CPU, x go-zookeeper", atMost, 0.9, cpuTimes("get 1 MB real", "gozk")},
	{"set 1 MB: CPU, x raw limit", atMost, 1.25, cpuTimes("set 1 MB", "raw")},
	{"set 1 MB: allocations", atMost, 0.1, of("set 1 MB", allocsOf)},
	{"set 1 MB context: CPU, x raw limit", atMost, 1.25, cpuTimes("set 1 MB context", "raw")},
	{"fair512: caller with the fewest, x mean", atLeast, 0.9, extra("fair512", "least")},
	{"fair mixed: caller with the fewest, x mean", atLeast, 0.9, extra("fair mixed", "least")},
	{"get64 TLS: x raw limit", atLeast, 0.9, xLimit("get64 TLS")},
	{"redial with 20,000 watches: ms", atMost, 3, extra("redial 20000", "redial_ms")},
	{"open512: p99, x p50", atMost, 3, p99OfP50("open512")},
	{"open512 burst: p99, x p50", atMost, 3, p99OfP50("open512 burst")},
	{"events: CPU us per event", atMost, 0.7, of("events", cpuOf)},
	{"events: x go-zookeeper", atLeast, 4, xPeer("events")},
	{"arm 1,000,000: bytes per watch", atMost, 120, extra("arm", "bytes_per_watch")},
	{"restore 20,000, responder: ms", atMost, 3, extra("restore 20000", "restore_ms")},
	{"restore 20,000: bytes sent / least", atMost, 1.001, extra("restore 20000", "bytes")},
	{"restore 1,000,000, responder: ms", atMost, 60, extra("restore 1000000", "restore_ms")},
	{"restore 20,000, real server: ms", atMost, 15, extra("restore 20000 real", "restore_ms")},
	{"restore 1,000,000, real server: ms", atMost, 1000, extra("restore 1000000 real", "restore_ms")},
	{"get64, real server: CPU, x go-zookeeper", atMost, 0.80, cpuTimes("get64 real", "gozk")},
	{"get64, real server: CPU, x raw limit", atMost, 1.25, cpuTimes("get64 real", "raw")},
	{"get64, real server: x the best peer", atLeast, 0.95, xBest("get64 real")},
	{"get512, real server: CPU, x go-zookeeper", atMost, 0.80, cpuTimes("get512 real", "gozk")},
	{"get512, real server: CPU, x raw limit", atMost, 1.25, cpuTimes("get512 real", "raw")},
	{"get512, real server: x the best peer", atLeast, 0.95, xBest("get512 real")},
	{"session at rest: heap and stack, bytes", atMost, 10 << 10, of("sessions", func(s result.Sample) float64 { return s.Extra["heap"] + s.Extra["stack"] })},
	{"session at rest: goroutines", atMost, 1.001, extra("sessions", "goroutines")},
	{"10,000 sessions at rest: cores", atMost, 0.15, extra("sessions", "cores")},
}

func writeTargets(w io.Writer, rep result.Report) {
	var b strings.Builder
	for _, t := range targets {
		v, ok := t.value(rep)
		if !ok {
			continue
		}
		word := "yes"
		if !t.reached(v) {
			word = "**no**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s %s | %s |\n", t.name, figure(v), t.sign(), figure(t.bound), word)
	}
	if b.Len() > 0 {
		fmt.Fprintf(w, "## Targets\n\n| | measured | target | reached |\n|---|---|---|---|\n%s", b.String())
	}
}
