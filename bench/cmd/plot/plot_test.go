package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
)

func TestPicture(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.json"), filepath.Join(dir, "out.svg")
	row := func(client string, rate float64) result.Row {
		return result.Row{Client: client, Samples: []result.Sample{{Rate: rate, CPU: 1e6 / rate}}}
	}
	rep := result.Report{Machine: "a machine", Tables: []result.Table{
		{Name: "get512", Rows: []result.Row{row("ours", 3e6), row("gozk", 1e5), row("kazoo", 2e4), row("raw", 6e6)}},
		{Name: "batch512", Rows: []result.Row{row("ours", 5e6), row("raw", 7e6)}},
	}}
	b, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := run(in, out); err != nil {
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
	for _, want := range []string{"<svg", "batch512", "this client", ">50<", ">30<", "kazoo", ">0.20<"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(string(svg), "Java") {
		t.Error("a client that was not measured")
	}
	if _, err := picture(result.Report{}); err == nil {
		t.Error("a picture of nothing")
	}
}
