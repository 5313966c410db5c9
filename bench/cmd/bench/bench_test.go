package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/host"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/bench/peers"
)

// report has a rate for each client of each workload that -quick does.
func report(rates map[string]float64) result.Report {
	rep := result.Report{Machine: "a machine", Date: "a day", Rounds: 3, Pinned: true}
	for _, s := range specs {
		if !s.quick {
			continue
		}
		t := result.Table{Name: s.name, About: s.about}
		for _, c := range s.clients {
			rate := rates[c]
			r := result.Row{Client: c}
			for _, noise := range []float64{1.5, 1, 0.5} {
				s := result.Sample{Client: c, Ops: 1, Rate: rate * noise, CPU: 1e6 / rate, Allocs: 1, Bytes: 2, Reads: 3, Writes: 4, ServerCPU: 5}
				if slices.Contains(peers.Names, c) {
					s.Version, s.Allocs, s.Bytes, s.Reads, s.Writes = "1.2", 0, 0, 0, 0
				}
				r.Samples = append(r.Samples, s)
			}
			t.Rows = append(t.Rows, r)
		}
		rep.Tables = append(rep.Tables, t)
	}
	return rep
}

var rates = map[string]float64{"ours": 3000, "gozk": 1000, "samuel": 900, "c": 300, "java": 700, "kazoo": 200, "mux": 3100, "raw": 6000}

// The last lines of -quick are for programs.
func TestQuickLines(t *testing.T) {
	var b bytes.Buffer
	writeQuick(&b, report(rates))
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	var names []string
	for _, l := range lines {
		if m := regexp.MustCompile(`^(\w+) ours=\d+ peer=\d+ limit=\d+ ours/peer=[0-9.]+ ours/limit=[0-9.]+( ours/mux=[0-9.]+ cpu/mux=[0-9.]+)?$`).FindStringSubmatch(l); m != nil {
			names = append(names, m[1])
		}
	}
	want := []string{"get1", "get64", "get512", "set512", "batch512", "children", "events"}
	if !slices.Equal(names, want) {
		t.Errorf("lines for %v, want %v:\n%s", names, want, b.String())
	}
	if last := lines[len(lines)-1]; last != "events ours=3000 peer=1000 limit=6000 ours/peer=3.00 ours/limit=0.50" {
		t.Error(last)
	}
	if at := slices.Index(names, "set512"); at >= 0 && lines[len(lines)-len(names)+at] != "set512 ours=3000 peer=1000 limit=6000 ours/peer=3.00 ours/limit=0.50 ours/mux=0.97 cpu/mux=1.03" {
		t.Error("without the yardstick: ", lines[len(lines)-len(names)+at])
	}
	if at := slices.Index(names, "batch512"); at >= 0 && lines[len(lines)-len(names)+at] != "batch512 ours=3000 peer=1000 limit=6000 ours/peer=3.00 ours/limit=0.50" {
		t.Error("batch512 has no peer: ", lines[len(lines)-len(names)+at])
	}
}

// All of it once, in earnest but for the time that it takes.
func TestEndToEnd(t *testing.T) {
	var out bytes.Buffer
	b := bench{servers: map[string]*server{}, out: &out, log: os.Stderr, quick: true, rounds: 1, pin: host.CanPin(), warmup: 5 * time.Millisecond, time: 20 * time.Millisecond}
	var chosen []spec
	for _, s := range specs {
		if slices.Contains([]string{"get1", "get512 events", "get 64 KB", "get64 TLS", "zktest set 8"}, s.name) {
			chosen = append(chosen, s)
		}
	}
	if err := b.run(chosen, ""); err != nil {
		t.Fatal(err)
	}
	for _, s := range chosen {
		peer := "[1-9]"
		if !slices.Contains(s.clients, "gozk") {
			peer = "0"
		}
		if !regexp.MustCompile(`(?m)^` + s.name + ` ours=[1-9].* peer=` + peer + `.* limit=[1-9]`).MatchString(out.String()) {
			t.Errorf("%s: %s", s.name, out.String())
		}
	}
}

// The clients in other languages that are installed join the tables; the others are no failure.
func TestPeers(t *testing.T) {
	var errs bytes.Buffer
	b := bench{servers: map[string]*server{}, out: io.Discard, rounds: 1, pin: host.CanPin(), warmup: 5 * time.Millisecond, time: 20 * time.Millisecond, wanted: peers.Names, log: &errs}
	chosen := slices.DeleteFunc(slices.Clone(specs), func(s spec) bool { return s.name != "get64" })
	chosen[0].clients = append([]string{"ours"}, peers.Names...)
	dir := t.TempDir()
	if err := b.run(chosen, dir); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(dir, result.FileName(host.Describe())+".md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range peers.Names {
		_, ready := b.peers[name]
		if ready != regexp.MustCompile(`(?m)^\| `+titles[name]+` \d`).Match(table) {
			t.Errorf("%s, ready: %v, in\n%s", name, ready, table)
		}
		if ready == strings.Contains(errs.String(), name+": ") {
			t.Errorf("%s, ready: %v, but it says %q", name, ready, errs.String())
		}
	}
	t.Log(errs.String())
}

// The best peer of a real server is whoever is fastest, not always the same.
func TestBestPeer(t *testing.T) {
	row := func(client string, rate float64) result.Row {
		return result.Row{Client: client, Samples: []result.Sample{{Rate: rate}}}
	}
	rep := result.Report{Tables: []result.Table{{Name: "x", Rows: []result.Row{row("ours", 8), row("gozk", 2), row("java", 4), row("raw", 16)}}}}
	if v, ok := xBest("x")(rep); v != 2 || !ok {
		t.Error(v, ok)
	}
	rep.Tables[0].Rows = rep.Tables[0].Rows[:1]
	if v, ok := xBest("x")(rep); ok {
		t.Error("there is no peer: ", v)
	}
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	writeMarkdown(&b, report(rates))
	for _, want := range []string{
		"| this client | **3000** (1500..4500) | 3.00 | 50.0 |",
		"| get1: x go-zookeeper | 3 | >= 1.12 | yes |",
		"| get1: x raw limit | 0.5 | >= 0.94 | **no** |",
		"| get64: x minimal mux | 0.968 | >= 0.95 | yes |",
		"| get64: CPU, x minimal mux | 1.03 | <= 1.08 | yes |",
		"| Python, kazoo 1.2 | **200** (100..300) | 0.20 | 3.3 | **5000** | - | - | - | - | 5 |",
		"What they do not count",
		"\n## batch512\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "restore") {
		t.Error("it tells of what was not measured")
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.00561: "0.0056", 0.7: "0.7", 1.234: "1.23", 99.96: "100", 123.4: "123", 9999: "9999", 12345: "12.3 k", 1.5e6: "1.5 M"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %q, want %q", v, got, want)
		}
	}
}

// Every target is of a table that some spec makes, and specs have names of their own.
func TestTargets(t *testing.T) {
	rep := result.Report{}
	seen := map[string]bool{}
	for _, s := range specs {
		if seen[s.name] {
			t.Errorf("two specs %q", s.name)
		}
		seen[s.name] = true
		tab := result.Table{Name: s.name, About: s.about}
		for _, c := range s.clients {
			if titles[c] == "" {
				t.Errorf("%s: no client %q", s.name, c)
			}
			tab.Rows = append(tab.Rows, result.Row{Client: c, Samples: []result.Sample{{Rate: 1, CPU: 1}}})
		}
		rep.Tables = append(rep.Tables, tab)
	}
	for _, target := range targets {
		if _, ok := target.value(rep); !ok {
			t.Errorf("%s: nothing to measure it by", target.name)
		}
	}
}

// How long a tail is, is that of each sample, not of samples taken together.
func TestTail(t *testing.T) {
	samples := []result.Sample{{P50: 1, P99: 2}, {P50: 100, P99: 400}, {P50: 10, P99: 30, P999: 70}}
	rep := result.Report{Tables: []result.Table{{Name: "x", About: "it", Rows: []result.Row{{Client: "ours", Samples: samples}}}}}
	if v, ok := p99OfP50("x")(rep); v != 3 || !ok {
		t.Error(v, ok)
	}
	var b bytes.Buffer
	writeMarkdown(&b, rep)
	if !strings.Contains(b.String(), "| p50 us | p99 us | p99.9 us | CPU") || !strings.Contains(b.String(), "| 10 | 30 | 0 | **0** |") {
		t.Error(b.String())
	}
}

// What a machine measures is in files named by what it is, beside those of others; a
// part of it replaces that part. The page has the range over all.
func TestMachines(t *testing.T) {
	dir := t.TempDir()
	save := func(machine, date string, gozk float64, partly bool, only ...string) {
		t.Helper()
		faster := maps.Clone(rates)
		faster["gozk"], faster["dropin"] = gozk, 2000
		rep := report(faster)
		rep.Machine, rep.Date = machine, date
		if only != nil {
			rep.Tables = slices.DeleteFunc(rep.Tables, func(t result.Table) bool { return !slices.Contains(only, t.Name) })
		}
		if err := write(dir, rep, partly); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	save("Quipu(R) 5 @ 1.50GHz, 4 CPUs, Linux 1", "a day", 500, true)
	save("Abacus, 2 CPUs, Linux 1", "a day", 1000, false)
	save("Abacus, 2 CPUs, Linux 2", "another day", 1000, true, "get64")
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"abacus-2-cpus.json", "abacus-2-cpus.md", "bench.md", "quipu-5-1.50ghz-4-cpus.json", "quipu-5-1.50ghz-4-cpus.md"} {
		if i >= len(files) || filepath.Base(files[i]) != want {
			t.Fatalf("%q instead of %s", files, want)
		}
	}
	for _, want := range []string{
		"- [Abacus, 2 CPUs, Linux 2](abacus-2-cpus.md), on another day",
		"- [Quipu(R) 5 @ 1.50GHz, 4 CPUs, Linux 1](quipu-5-1.50ghz-4-cpus.md), on a day",
		"on 2 machines",
		"| | target | Abacus, 2 CPUs | Quipu(R) 5 @ 1.50GHz, 4 CPUs |",
		"| get64: x go-zookeeper | >= 7 | **3** | **6** |",
		"| get64 | Abacus, 2 CPUs | 333 | 1000 | 323 | 167 |",
		"| get64 | Quipu(R) 5 @ 1.50GHz, 4 CPUs | 333 | 2000 | 323 | 167 |",
		"| get64 | 0.167..0.333 | 1.03 | 2 | 3..6 | 0.968 | 0.5 |",
		"| batch512 | - | - | 2 | - | - | 0.5 |",
	} {
		if page := read("bench.md"); !strings.Contains(page, want) {
			t.Errorf("%q is missing in\n%s", want, page)
		}
	}
	mine := read("abacus-2-cpus.md")
	const earlier = "Measured earlier: Abacus, 2 CPUs, Linux 1, on a day, 3 rounds."
	if n := strings.Count(mine, earlier); n != strings.Count(mine, "\n## ")-2 {
		t.Errorf("%d tables are earlier ones, all but the targets and get64 should be:\n%s", n, mine)
	}
	if at := strings.Index(mine, "\n## get64\n"); at < 0 || strings.Contains(mine[at:at+200], earlier) {
		t.Errorf("get64 is new:\n%s", mine)
	}
	// All of it replaces all.
	save("Abacus, 2 CPUs, Linux 3", "a third day", 1000, false, "get1")
	if mine := read("abacus-2-cpus.md"); strings.Contains(mine, earlier) || strings.Contains(mine, "## get64") || !strings.Contains(mine, "## get1") {
		t.Errorf("of a whole run:\n%s", mine)
	}
	if page := read("bench.md"); !strings.Contains(page, "| get64 | 0.167 | 1.03 | 2 | 6 | 0.968 | 0.5 |") {
		t.Errorf("of one machine:\n%s", page)
	}
}
