package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A round is taken for every line; what a client does not say is an error; and
// each client is compared with the first one.
func TestRounds(t *testing.T) {
	server := zktest.NewServer(t)
	for _, mode := range []string{"lock", "raw", "writes"} {
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
		{name: "us", samples: []sample{{1, 0.5}, {2, 0.5}, {4, 0.5}}}, {name: "limit", samples: []sample{{1, 0.2}, {1, 0.2}, {2, 0.2}}},
		{name: "them", samples: []sample{{3, 1}, {4, 1}, {20, 1}}},
	}, 8, 1000, true)
	if !strings.Contains(text, "## 8 sessions, each client on one CPU\n") {
		t.Fatal(text)
	}
	if want := "| them | 4.000 ms | 250 | 1000 µs | 3.00 | 2.00 | 4.00 | 5.00 |\n"; !strings.HasSuffix(text, want) {
		t.Fatal(text)
	}
}

// The raw limit sends the frames of recipe.Lock, of the same lengths, and takes its
// turns in the order of the numbers.
func TestRawLimit(t *testing.T) {
	const sessions, turns = 4, 25
	sent := map[string]map[string]bool{}
	for _, mode := range []string{"lock", "raw"} {
		server := zktest.NewServer(t)
		leave := standFirst(t, server.Addr())
		served := make(chan error, 1)
		go func() {
			served <- serve(mode, []string{server.Addr(), "/dir", strconv.Itoa(sessions), strconv.Itoa(turns)}, strings.NewReader("\n"), io.Discard)
		}()
		armed := 0
		for end := time.Now().Add(time.Minute); armed < 2*sessions; time.Sleep(time.Millisecond) { // the own znode, and the one ahead
			if time.Now().After(end) {
				t.Fatalf("%s: %d watches", mode, armed)
			}
			armed = 0
			for _, f := range server.Frames() {
				if f.Dir == zktest.ToClient && f.Op == wire.OpGetData {
					armed++
				}
			}
		}
		leave()
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		count, sequence := map[wire.Op]int{}, map[int64][]wire.Op{}
		frames, last := map[string]bool{}, ""
		for _, f := range server.Frames() {
			name, ours := strings.CutPrefix(f.Path, "/dir")
			if f.Dir != zktest.FromClient || !ours || f.Op == wire.OpCreate { // what is made first
				continue
			}
			count[f.Op]++
			sequence[f.Conn] = append(sequence[f.Conn], f.Op)
			frames[fmt.Sprintf("%v of %d bytes", f.Op, f.Len)] = true
			if f.Op == wire.OpDelete {
				number := name[len(name)-digits:]
				if number <= last {
					t.Errorf("%s: turn %s behind %s", mode, number, last)
				}
				last = number
			}
		}
		if count[wire.OpCreate2] != sessions*turns || count[wire.OpDelete] != sessions*turns+1 {
			t.Errorf("%s: %v", mode, count)
		}
		first := []wire.Op{wire.OpCreate2, wire.OpGetChildren2, wire.OpGetData, wire.OpGetData, wire.OpGetChildren2, wire.OpDelete}
		for conn, ops := range sequence {
			if len(ops) > 1 && !slices.Equal(ops[:len(first)], first) { // one deletes only, and lets the others begin
				t.Errorf("%s: connection %d has sent %v", mode, conn, ops[:len(first)])
			}
		}
		sent[mode] = frames
	}
	if !maps.Equal(sent["lock"], sent["raw"]) {
		t.Errorf("%v", sent)
	}
}

// standFirst makes a contender that all others wait for, until it leaves.
func standFirst(t *testing.T, addr string) (leave func()) {
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), "/dir", nil, zk.Persistent, zk.ACLOpen); err != nil {
		t.Fatal(err)
	}
	path, err := s.Create(t.Context(), "/dir/_c_00000000-0000-4000-8000-000000000000-lock-", nil, zk.EphemeralSequential, zk.ACLOpen)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(s.Delete(t.Context(), path, zk.AnyVersion), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
