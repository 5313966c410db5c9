package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-9f8420c6/zk/zktest"
)

// A client that prints its loads is measured; one that has not loaded all fails.
func TestClients(t *testing.T) {
	server := zktest.NewServer(t)
	nodes, err := fill(t.Context(), server.Addr(), "/t", 2)
	if err != nil || nodes != 201 {
		t.Fatal(nodes, err)
	}
	out := os.Stdout
	defer func() { os.Stdout = out }()
	name := filepath.Join(t.TempDir(), "out")
	if os.Stdout, err = os.Create(name); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"recursive", "pernode"} {
		if err := load(mode, server.Addr(), "/t", "201", "3"); err != nil {
			t.Fatal(err)
		}
		if err := load(mode, server.Addr(), "/t", "200", "1"); err == nil || !strings.Contains(err.Error(), "201 znodes, not 200") {
			t.Fatal(err)
		}
		if err := load("redial-"+mode, server.Addr(), "/t", "201", "2"); err != nil {
			t.Fatal(err)
		}
	}
	c := client{command: []string{"sh", "-c", `cat "$0"`, name}}
	first, mid, err := c.run(t.Context(), "/t", 201, 3)
	if err != nil || first.Seconds <= 0 || mid.Seconds <= 0 || mid.CPU < 0 {
		t.Fatal(first, mid, err)
	}
	c = client{command: []string{"sh", "-c", "echo no JSON"}}
	if _, _, err := c.run(t.Context(), "/t", 201, 3); err == nil {
		t.Fatal("no error")
	}
}
