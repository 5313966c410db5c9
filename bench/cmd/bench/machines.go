package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
)

// write writes the tables that have samples to the files of this machine, and then the
// page about all machines whose files are there. partly: what was not measured stays.
func write(out string, rep result.Report, partly bool) error {
	rep.Tables = slices.DeleteFunc(slices.Clone(rep.Tables), func(t result.Table) bool { return !measured(t) })
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	base := filepath.Join(out, result.FileName(rep.Machine))
	if partly {
		before, err := result.Read(base + ".json")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		rep = merge(rep, before)
	}
	var md, js, page bytes.Buffer
	writeMarkdown(&md, rep)
	enc := json.NewEncoder(&js)
	enc.SetIndent("", "\t")
	if err := errors.Join(enc.Encode(rep),
		os.WriteFile(base+".md", md.Bytes(), 0o666),
		os.WriteFile(base+".json", js.Bytes(), 0o666)); err != nil {
		return err
	}
	all, err := result.ReadAll(out)
	if err != nil {
		return err
	}
	writePage(&page, all)
	return os.WriteFile(filepath.Join(out, "bench.md"), page.Bytes(), 0o666)
}

func measured(t result.Table) bool {
	return slices.ContainsFunc(t.Rows, func(r result.Row) bool { return len(r.Samples) > 0 })
}

// merge adds the tables of an earlier run that are missing in a later one, and says so.
func merge(rep, before result.Report) result.Report {
	var tables []result.Table
	for _, s := range specs {
		t := rep.Table(s.name)
		if !measured(t) {
			t = before.Table(s.name)
			if t.Measured == "" {
				t.Measured = fmt.Sprintf("%s, on %s, %d rounds", before.Machine, before.Date, before.Rounds)
			}
		}
		if measured(t) {
			tables = append(tables, t)
		}
	}
	rep.Tables = tables
	if rep.Real == "" {
		rep.Real = before.Real
	}
	return rep
}

// scale are the clients that say on every machine how far the client is from what is
// possible there.
var scale = []string{"gozk", "mux", "raw"}

// writePage writes what the machines have in common, and how far they lie apart.
func writePage(w io.Writer, all []result.Report) {
	fmt.Fprintf(w, "# Benchmark\n\nBy machine, with all figures:\n\n")
	for _, rep := range all {
		fmt.Fprintf(w, "- [%s](%s.md), on %s\n", rep.Machine, result.FileName(rep.Machine), rep.Date)
	}
	fmt.Fprintf(w, "\nMedians, see each. What `make bench` measures on another machine is added here.\n\n")
	writeAllTargets(w, all)
	writeCosts(w, all)
	writeRatios(w, all)
}

// writeAllTargets writes what each machine has measured for each target.
func writeAllTargets(w io.Writer, all []result.Report) {
	var head []string
	for _, rep := range all {
		head = append(head, result.Processor(rep.Machine))
	}
	fmt.Fprintf(w, "## Targets\n\nIn bold what is not reached.\n\n| | target | %s |\n|---|---|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, t := range targets {
		var cells []string
		some := false
		for _, rep := range all {
			v, ok := t.value(rep)
			some = some || ok
			switch {
			case !ok:
				cells = append(cells, "-")
			case t.reached(v):
				cells = append(cells, figure(v))
			default:
				cells = append(cells, "**"+figure(v)+"**")
			}
		}
		if some {
			fmt.Fprintf(w, "| %s | %s %s | %s |\n", t.name, t.sign(), figure(t.bound), strings.Join(cells, " | "))
		}
	}
}

// writeCosts writes CPU time, in which machines can be compared.
func writeCosts(w io.Writer, all []result.Report) {
	fmt.Fprintf(w, "\n## CPU time per operation\n\nOf the client, user and system, in microseconds. What is not measured is \"-\".\n\n| | | %s", titles["ours"])
	for _, c := range scale {
		fmt.Fprintf(w, " | %s", titles[c])
	}
	fmt.Fprintf(w, " |\n|---|---|%s\n", strings.Repeat("---|", 1+len(scale)))
	for _, s := range specs {
		for _, rep := range all {
			t := rep.Table(s.name)
			if !compared(t) {
				continue
			}
			fmt.Fprintf(w, "| %s | %s", s.name, result.Processor(rep.Machine))
			for _, c := range append([]string{"ours"}, scale...) {
				cell := "-"
				if r := t.Row(c); len(r.Samples) > 0 {
					cell = figure(r.CPU().Median)
				}
				fmt.Fprintf(w, " | %s", cell)
			}
			fmt.Fprintln(w, " |")
		}
	}
}

// compared reports whether a table has this client and another one.
func compared(t result.Table) bool {
	return len(t.Row("ours").Samples) > 0 && slices.ContainsFunc(scale, func(c string) bool { return len(t.Row(c).Samples) > 0 })
}

// writeRatios writes how far the ratios lie apart: those of CPU time, and of rates.
func writeRatios(w io.Writer, all []result.Report) {
	some := func(s spec) bool {
		if s.workload == "sessions" { // of which each client has as many as it likes
			return false
		}
		return slices.ContainsFunc(all, func(rep result.Report) bool { return compared(rep.Table(s.name)) })
	}
	fmt.Fprintf(w, "\n## Ratios\n\nOf this client to the others, on %s. A ratio is as much the machine's as the clients': "+
		"where system calls are dear, go-zookeeper, which makes three for each operation, is slow, and what many calls share counts for less.\n\n", machines(len(all)))
	var head []string
	for _, what := range []string{"CPU", "ops/s"} {
		for _, c := range scale {
			head = append(head, what+", x "+titles[c])
		}
	}
	fmt.Fprintf(w, "| | %s |\n|---|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, s := range specs {
		if !some(s) {
			continue
		}
		fmt.Fprintf(w, "| %s", s.name)
		for _, of := range []func(result.Row) float64{
			func(r result.Row) float64 { return r.CPU().Median },
			func(r result.Row) float64 { return r.Rate().Median },
		} {
			for _, c := range scale {
				fmt.Fprintf(w, " | %s", between(ratios(all, s.name, c, of)))
			}
		}
		fmt.Fprintln(w, " |")
	}
}

func machines(n int) string {
	if n == 1 {
		return "one machine"
	}
	return fmt.Sprintf("%d machines", n)
}

// ratios are those of this client's figure to another's, on all machines that have both.
func ratios(all []result.Report, table, client string, of func(result.Row) float64) (v []float64) {
	for _, rep := range all {
		ours, other := rep.Table(table).Row("ours"), rep.Table(table).Row(client)
		if len(ours.Samples) > 0 && len(other.Samples) > 0 && of(other) > 0 {
			v = append(v, of(ours)/of(other))
		}
	}
	return v
}

// between prints how far figures lie apart.
func between(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	least, most := figure(slices.Min(v)), figure(slices.Max(v))
	if least == most {
		return least
	}
	return least + ".." + most
}
