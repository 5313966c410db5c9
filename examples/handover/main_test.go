package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// The processes of the service are this test, which then is the program.
const beMain = "HANDOVER_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

var verdict = regexp.MustCompile(`^ok: (\d+) processes, 1 session, (\d+) changes seen, 0 lost, 0 duplicate$`)

// good runs the whole job and asserts that it ended well.
func good(t *testing.T, o options) {
	t.Helper()
	t.Setenv(beMain, "1")
	var out bytes.Buffer
	err := run(t.Context(), &out, o)
	t.Log(&out)
	assert.NilError(t, err)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	m := verdict.FindStringSubmatch(lines[len(lines)-1])
	assert.Assert(t, m != nil, "the last line is %q", lines[len(lines)-1])
	assert.Equal(t, m[1], strconv.Itoa(o.Processes))
	seen, _ := strconv.Atoi(m[2])
	assert.Assert(t, seen > numNodes, "only %d changes seen", seen)
	for i := range o.Processes {
		assert.Assert(t, strings.Contains(out.String(), fmt.Sprintf("\nprocess %d: pid ", i+1)))
	}
}

func TestRunInProcess(t *testing.T) {
	good(t, options{Processes: 4, Each: 100 * time.Millisecond})
}

func TestRunAddrs(t *testing.T) {
	e := zktest.NewEnsemble(t, 3)
	good(t, options{Addrs: strings.Join(e.Addrs(), ","), Processes: 2, Each: 100 * time.Millisecond})
	left(t, e.Addrs())
}

func TestRunApache(t *testing.T) {
	for _, release := range apache.Default() {
		t.Run(string(release), func(t *testing.T) {
			e := apache.New(t, apache.Config{Release: release, Members: 3})
			good(t, options{Addrs: strings.Join(e.Addrs(), ","), Processes: 4, Each: 500 * time.Millisecond})
			left(t, e.Addrs())
		})
	}
}

// left asserts that a run has cleaned up.
func left(t *testing.T, addrs []string) {
	t.Helper()
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: addrs})
	assert.NilError(t, err)
	defer s.Close()
	assert.NilError(t, s.Sync(t.Context(), "/"))
	names, _, err := s.Children(t.Context(), "/", nil)
	assert.NilError(t, err)
	for _, name := range names {
		assert.Assert(t, !strings.HasPrefix(name, "handover-"), "%s is left behind", name)
	}
}

// lineWriter tells of each line that is written to it.
type lineWriter struct{ lines chan string }

func (w lineWriter) Write(b []byte) (int, error) {
	w.lines <- string(b)
	return len(b), nil
}

// What goes wrong must not pass: here somebody deletes the service's ephemeral
// node, or ends its session.
func TestRunFails(t *testing.T) {
	for _, c := range []struct {
		name, want string
		do         func(*testing.T, *zktest.Ensemble, *zk.Session, string)
	}{
		{"ephemeral", "was gone before the service was", func(t *testing.T, _ *zktest.Ensemble, s *zk.Session, here string) {
			assert.NilError(t, s.Delete(t.Context(), here, zk.AnyVersion))
		}},
		{"expiry", "the service ended with process", func(t *testing.T, e *zktest.Ensemble, s *zk.Session, here string) {
			_, stat, err := s.Exists(t.Context(), here, nil)
			assert.NilError(t, err)
			e.Expire(stat.EphemeralOwner)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(beMain, "1")
			e := zktest.NewEnsemble(t, 1)
			s, err := zk.Dial(t.Context(), zk.Config{Addrs: e.Addrs()})
			assert.NilError(t, err)
			defer s.Close()
			out := lineWriter{make(chan string, 100)}
			done := make(chan error, 1)
			go func() {
				done <- run(t.Context(), out, options{Addrs: e.Addr(), Processes: 3, Each: 500 * time.Millisecond})
			}()
			root := ""
			for line := range out.lines {
				if m := regexp.MustCompile(`below (\S+)`).FindStringSubmatch(line); m != nil {
					root = m[1]
				}
				if strings.HasPrefix(line, "process 2: ") {
					break
				}
			}
			c.do(t, e, s, hereNode(root))
			assert.ErrorContains(t, <-done, c.want)
			for len(out.lines) > 0 {
				assert.Assert(t, !strings.Contains(<-out.lines, "ok:"))
			}
		})
	}
}

// The account is not kept by halves.
func TestAudience(t *testing.T) {
	a := &audience{out: new(bytes.Buffer), versions: map[string]int32{}, session: 7, processes: 1}
	ctx := context.Background()
	assert.NilError(t, a.hear(ctx, "seen /a 1"))
	assert.NilError(t, a.hear(ctx, "seen /b 1"))
	assert.NilError(t, a.hear(ctx, "seen /a 3"))
	assert.ErrorContains(t, a.hear(ctx, "seen /a 3"), "after version 3")
	assert.ErrorContains(t, a.hear(ctx, "seen /a"), "seen /a")
	assert.ErrorContains(t, a.hear(ctx, "process 2 8: x"), "process 2 has session 0x8")
	assert.Equal(t, a.seen, 3)
}

// A process that cannot be replaced keeps the session.
func TestHandOverFails(t *testing.T) {
	e := zktest.NewEnsemble(t, 3)
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: e.Addrs()})
	assert.NilError(t, err)
	defer s.Close()
	const root = "/handover-fails"
	for _, path := range append([]string{root}, nodes(root)...) {
		_, err := s.Create(t.Context(), path, nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
	}
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	defer r.Close()
	p := &process{
		options: options{Addrs: e.Addr(), Root: root, Number: 1, Processes: 2, Each: 20 * time.Millisecond},
		out:     w, exe: "", conf: zk.Config{Addrs: e.Addrs(), Timeout: timeout}, events: make(chan zk.Event, 1),
	}
	if p.exe, err = exec.LookPath("false"); err != nil {
		t.Skip(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.first(t.Context()); w.Close() }()
	out := lineWriter{make(chan string, 100)}
	a := &audience{out: out, o: p.options, s: s, versions: make(map[string]int32), finish: make(chan struct{})}
	changed := make(chan error, 1)
	go func() { changed <- a.change(t.Context()) }()
	go func() {
		for attempts := 0; attempts < 3; {
			if strings.Contains(<-out.lines, "goes on itself: the new process did not take over: exit status") {
				attempts++
			}
		}
		close(a.finish)
	}()
	assert.NilError(t, a.follow(t.Context(), r))
	assert.NilError(t, <-changed)
	assert.NilError(t, <-done)
	assert.NilError(t, a.check(t.Context()))
}

func TestRunNobody(t *testing.T) {
	e := zktest.NewEnsemble(t, 1)
	e.Member(0).Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	o := options{Addrs: e.Addr(), Processes: 2, Each: time.Second}
	err := run(ctx, new(bytes.Buffer), o)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.ErrorContains(t, err, e.Addr())
	o.Addrs = "bad host:2181"
	assert.ErrorIs(t, run(t.Context(), new(bytes.Buffer), o), zk.ErrBadArguments)
}
