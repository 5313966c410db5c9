package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-9f8420c6/zk/zktest"
)

// A round is taken for every line; what a client does not say is an error; and
// each client is compared with the first one.
func TestRounds(t *testing.T) {
	server := zktest.NewServer(t)
	for _, mode := range []string{"lock", "writes"} {
		var out bytes.Buffer
		if err := serve(mode, []string{server.Addr(), "/" + mode, "3", "5"}, strings.NewReader("\n\n"), &out); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			line, _ := out.ReadBytes('\n')
			var s sample
			if err := json.Unmarshal(line, &s); err != nil || s.Seconds <= 0 {
				t.Fatalf("%s: %v: %q", mode, err, line)
			}
		}
		if out.Len() > 0 {
			t.Fatal(out.String())
		}
	}

	c := client{command: []string{"sh", "-c", `read x; echo '{"seconds":2,"cpu":0.5}'; read x; echo nothing`}}
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := c.round(); err != nil || s != (sample{2, 0.5}) {
		t.Fatal(s, err)
	}
	if _, err := c.round(); err == nil {
		t.Fatal("no error")
	}
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	text := table([]*client{
		{name: "us", samples: []sample{{1, 0.5}, {2, 0.5}, {4, 0.5}}}, {name: "them", samples: []sample{{3, 1}, {4, 1}, {20, 1}}},
	}, 8, 1000)
	if want := "| them | 4.000 ms | 250 | 1000 µs | 3.00 | 2.00 |\n"; !strings.HasSuffix(text, want) {
		t.Fatal(text)
	}
}
