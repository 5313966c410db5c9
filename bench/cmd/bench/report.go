package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/bench/peers"
)

var titles = map[string]string{
	"ours":      "this client",
	"unordered": "this client, order off",
	"dropin":    "gozk, the drop-in",
	"gozk":      "go-zookeeper/zk v1.0.4",
	"samuel":    "samuel/go-zookeeper 2cc03de",
	"c":         "C, libzookeeper_mt",
	"java":      "Java",
	"kazoo":     "Python, kazoo",
	"mux":       "minimal mux (yardstick)",
	"raw":       "raw limit",
}

// title names the client of a row, with its release if that is not pinned here.
func title(r result.Row) string {
	t := titles[r.Client]
	if len(r.Samples) > 0 && r.Samples[0].Version != "" {
		t += " " + r.Samples[0].Version
	}
	return t
}

// ratio is a / b, or 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// writeQuick prints one line per workload.
func writeQuick(w io.Writer, rep result.Report) {
	where := "pinned: client on CPU 0, responder on CPU 1; get1 both on CPU 0"
	if !rep.Pinned {
		where = "not pinned"
	}
	fmt.Fprintf(w, "%s; %d rounds, medians, operations per second; %s.\n", rep.Machine, rep.Rounds, where)
	fmt.Fprintln(w, "peer: go-zookeeper/zk v1.0.4, which has no batch: for batch512 its get512 stands in. limit: frames encoded before, one goroutine. mux: a minimal client of blocking calls, where it can.")
	for _, t := range rep.Tables {
		ours, limit := t.Row("ours").Rate().Median, t.Row("raw").Rate().Median
		peer := t.Row("gozk").Rate().Median
		if t.Name == "batch512" {
			peer = rep.Table("get512").Row("gozk").Rate().Median
		}
		fmt.Fprintf(w, "%s ours=%.0f peer=%.0f limit=%.0f ours/peer=%.2f ours/limit=%.2f",
			t.Name, ours, peer, limit, ratio(ours, peer), ratio(ours, limit))
		if mux := t.Row("mux"); len(mux.Samples) > 0 {
			fmt.Fprintf(w, " ours/mux=%.2f cpu/mux=%.2f", ratio(ours, mux.Rate().Median), ratio(t.Row("ours").CPU().Median, mux.CPU().Median))
		}
		fmt.Fprintln(w)
	}
}

// figure prints three significant digits.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 1e6:
		return digits(v/1e6) + " M"
	case a >= 1e4:
		return digits(v/1e3) + " k"
	}
	return digits(v)
}

func digits(v float64) string {
	n := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if n < 0 {
		n = 0
	}
	s := fmt.Sprintf("%.*f", min(n, 4), v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func cell(r result.Range) string {
	if r.Min == r.Max {
		return "**" + figure(r.Median) + "**"
	}
	return fmt.Sprintf("**%s** (%s..%s)", figure(r.Median), figure(r.Min), figure(r.Max))
}

var extras = map[string]string{
	"burst_ms":        "burst, ms",
	"bytes_per_watch": "B/watch",
	"restore_ms":      "restored in, ms",
	"bytes":           "bytes sent / least",
	"heap":            "heap B/session",
	"stack":           "stack B/session",
	"goroutines":      "goroutines/session",
	"rss":             "RSS B/session",
	"cores":           "cores at rest",
	"dial_ms":         "dialled in, ms",
	"events":          "events received",
	"redial_ms":       "redialled in, ms",
	"peak":            "peak rate, /s",
	"load":            "of the peak",
	"busy":            "client's CPU busy",
	"late_p50_us":     "due late, p50 us",
	"late_p99_us":     "due late, p99 us",
	"least":           "caller with the fewest, x mean",
	"most":            "with the most, x mean",
	"alone_p50_us":    "p50 us without the large",
	"alone_p99_us":    "p99 us without the large",
	"large_per_s":     "large, /s",
}

var extraOrder = []string{"burst_ms", "bytes_per_watch", "restore_ms", "bytes", "heap", "stack", "goroutines", "rss", "cores", "dial_ms", "events", "redial_ms", "peak", "load", "busy", "late_p50_us", "late_p99_us", "least", "most", "alone_p50_us", "alone_p99_us", "large_per_s"}

func writeMarkdown(w io.Writer, rep result.Report) {
	rounds := fmt.Sprintf("%d rounds", rep.Rounds)
	if rep.Rounds > onceRounds {
		rounds += fmt.Sprintf(", or %d where a sample takes long,", onceRounds)
	}
	fmt.Fprintf(w, "# Benchmark\n\n%s, on %s. Medians of %s (min..max): clients alternate within each round, the order is rotated, every sample is a fresh process.\n", rep.Machine, rep.Date, rounds)
	if rep.Pinned {
		fmt.Fprintf(w, "Unless a table says otherwise the client is on CPU 0 with GOMAXPROCS=1 and the responder on CPU 1.\n")
	} else {
		fmt.Fprintf(w, "Nothing is pinned: this system cannot.\n")
	}
	if rep.Real != "" {
		fmt.Fprintf(w, "The real server is %s, alone, without fsync, with a heap of 3 GB, pinned as the responder is.\n", rep.Real)
	}
	if slices.ContainsFunc(rep.Tables, func(t result.Table) bool {
		return slices.ContainsFunc(t.Rows, func(r result.Row) bool { return slices.Contains(peers.Names, r.Client) && len(r.Samples) > 0 })
	}) {
		fmt.Fprintf(w, "The clients in other languages have a window of as many asynchronous requests as the others have callers, and one caller of theirs calls synchronously; Java warms up for 2.5 s. What they do not count is \"-\".\n")
	}
	fmt.Fprintf(w, "CPU is user and system time of the client per operation; reads and writes are system calls per operation. How far ratios lie apart on other machines is in [bench.md](bench.md).\n\n")
	writeTargets(w, rep)
	for _, t := range rep.Tables {
		writeTable(w, t)
	}
}

func writeTable(w io.Writer, t result.Table) {
	fmt.Fprintf(w, "\n## %s\n\n%s%s.\n\n", t.Name, strings.ToUpper(t.About[:1]), t.About[1:])
	if t.Measured != "" {
		fmt.Fprintf(w, "Measured earlier: %s.\n\n", t.Measured)
	}
	var more []string
	latency, tail := false, false
	for _, name := range extraOrder {
		for _, r := range t.Rows {
			for _, s := range r.Samples {
				if _, ok := s.Extra[name]; ok && (len(more) == 0 || more[len(more)-1] != name) {
					more = append(more, name)
				}
				latency = latency || s.P50 > 0
				tail = tail || s.P999 > 0
			}
		}
	}
	head := []string{"client", "ops/s", "x gozk", "% of limit"}
	if latency {
		head = append(head, "p50 us", "p99 us")
	}
	if tail {
		head = append(head, "p99.9 us")
	}
	head = append(head, "CPU us/op", "allocs/op", "B/op", "reads/op", "writes/op", "server CPU us/op")
	for _, name := range more {
		head = append(head, extras[name])
	}
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	gozk, raw := t.Row("gozk").Rate().Median, t.Row("raw").Rate().Median
	for _, r := range t.Rows {
		if len(r.Samples) == 0 {
			continue
		}
		of := func(f func(result.Sample) float64) string {
			v := r.Of(f).Median
			if v == 0 && slices.Contains(peers.Names, r.Client) { // not counted
				return "-"
			}
			return figure(v)
		}
		rel := func(format string, base, by float64) string {
			if base == 0 {
				return "-"
			}
			return fmt.Sprintf(format, r.Rate().Median/base*by)
		}
		row := []string{title(r), cell(r.Rate()), rel("%.2f", gozk, 1), rel("%.1f", raw, 100)}
		if latency {
			row = append(row, of(func(s result.Sample) float64 { return s.P50 }), of(func(s result.Sample) float64 { return s.P99 }))
		}
		if tail {
			row = append(row, of(func(s result.Sample) float64 { return s.P999 }))
		}
		row = append(row, cell(r.CPU()),
			of(func(s result.Sample) float64 { return s.Allocs }), of(func(s result.Sample) float64 { return s.Bytes }),
			of(func(s result.Sample) float64 { return s.Reads }), of(func(s result.Sample) float64 { return s.Writes }),
			of(func(s result.Sample) float64 { return s.ServerCPU }))
		for _, name := range more {
			row = append(row, cell(r.Extra(name)))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}
