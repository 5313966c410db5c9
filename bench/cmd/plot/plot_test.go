package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
)

func TestPicture(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.svg")
	row := func(client string, rate float64) result.Row {
		return result.Row{Client: client, Samples: []result.Sample{{Rate: rate, CPU: 1e6 / rate}}}
	}
	rep := result.Report{Machine: "Abacus, 2 CPUs, Linux 1", Tables: []result.Table{
		{Name: "get512", Rows: []result.Row{row("ours", 3e6), row("gozk", 1e5), row("kazoo", 2e4), row("raw", 6e6)}},
		{Name: "batch512", Rows: []result.Row{row("ours", 5e6), row("raw", 7e6)}},
	}}
	other := rep
	other.Machine = "Quipu, 4 CPUs, Linux 1"
	other.Tables = slices.Clone(rep.Tables[:1])
	for name, rep := range map[string]result.Report{"a.json": rep, "b.json": other} {
		b, err := json.Marshal(rep)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(dir, out); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"<svg", "batch512", "this client", ">50<", ">30<", "kazoo", ">0.20<", ">Abacus, 2 CPUs: operations", ">Quipu, 4 CPUs: operations"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(string(svg), "Java") {
		t.Error("a client that was not measured")
	}
	for _, nothing := range [][]result.Report{nil, {{}}, {rep, {}}} {
		if _, err := picture(nothing); err == nil {
			t.Error("a picture of nothing")
		}
	}
}
