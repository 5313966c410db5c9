package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

var verdict = regexp.MustCompile(`(?m)^(\d+) consistent changes over (\d+) connections, 0 torn$`)

func report(t *testing.T, out *bytes.Buffer, err error) (changes, connections int) {
	t.Helper()
	assert.NilError(t, err, "%s", out)
	m := verdict.FindStringSubmatch(out.String())
	assert.Assert(t, m != nil, "%s", out)
	changes, _ = strconv.Atoi(m[1])
	connections, _ = strconv.Atoi(m[2])
	return changes, connections
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), &out, "", "/app", 4*time.Second)
	changes, connections := report(t, &out, err)
	assert.Assert(t, changes >= 5 && connections >= 3, "%s", &out)
	assert.Assert(t, strings.Contains(out.String(), `  + /app/db/user`), "%s", &out)
	assert.Assert(t, strings.Contains(out.String(), `    /app/db/password "secret `), "%s", &out)
}

// Servers that are somebody else's are not broken, and nothing is written.
func TestRunAddrs(t *testing.T) {
	e := zktest.NewEnsemble(t, 3)
	follow(t, e.Addrs())
	assert.Equal(t, e.Zxid()&0xffffffff > 0, true)
}

func TestRunApache(t *testing.T) {
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			follow(t, apache.New(t, apache.Config{Release: release}).Addrs())
		})
	}
}

// follow changes something that the program is to print.
func follow(t *testing.T, addrs []string) {
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: addrs})
	assert.NilError(t, err)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, printed := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, printed, strings.Join(addrs, ","), "/conf", 0)
		printed.Close()
	}()
	var out bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(in, &out))
	for _, c := range []struct{ data, want string }{{"one", `  + /conf/x "one"`}, {"two", `    /conf/x "two", was "one"`}} {
		_, err := tree.Put(t.Context(), s, "/conf/x", []byte(c.data), nil)
		assert.NilError(t, err)
		for lines.Scan() && lines.Text() != c.want {
		}
		assert.Equal(t, lines.Text(), c.want, "%s", &out)
	}
	cancel()
	for lines.Scan() {
	}
	changes, connections := report(t, &out, <-ended)
	assert.Assert(t, changes >= 2 && connections == 1, "%s", &out)
	names, _, err := s.Children(t.Context(), "/", nil)
	assert.NilError(t, err)
	assert.Equal(t, len(names), 2) // /zookeeper and /conf
}

func TestRunFails(t *testing.T) {
	assert.ErrorIs(t, run(t.Context(), new(bytes.Buffer), "bad host:2181", "/a", time.Second), zk.ErrBadArguments)
	e := zktest.NewEnsemble(t, 1)
	assert.ErrorIs(t, run(t.Context(), new(bytes.Buffer), e.Addr(), "a", time.Second), zk.ErrBadPath)
}
