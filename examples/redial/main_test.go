package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

var verdict = regexp.MustCompile(`^ok: (\d+) redials, (\d+) events, 0 lost, 0 duplicate$`)

// report asserts that a run ended well, and returns its figures.
func report(t *testing.T, out *bytes.Buffer, err error) (redials, events int) {
	t.Helper()
	t.Log(out)
	assert.NilError(t, err)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	m := verdict.FindStringSubmatch(lines[len(lines)-1])
	assert.Assert(t, m != nil, "the last line is %q", lines[len(lines)-1])
	redials, _ = strconv.Atoi(m[1])
	events, _ = strconv.Atoi(m[2])
	return redials, events
}

func TestRunInProcess(t *testing.T) {
	var out bytes.Buffer
	redials, events := report(t, &out, run(t.Context(), &out, "", 2*time.Second))
	assert.Assert(t, redials >= 4 && events >= 200, "that is less than 20 and 1,000 in 10 s")
}

// The way that is meant for real servers cuts its own connections.
func TestRunAddrs(t *testing.T) {
	e := zktest.NewEnsemble(t, 3)
	var out bytes.Buffer
	redials, _ := report(t, &out, run(t.Context(), &out, strings.Join(e.Addrs(), ","), time.Second))
	assert.Assert(t, redials >= 2)
	left(t, e.Addrs())
}

// A leader is killed with -9, and comes back.
func TestRunApache(t *testing.T) {
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			e := apache.New(t, apache.Config{Release: release, Members: 3})
			var killer sync.WaitGroup
			defer killer.Wait()
			killer.Go(func() {
				time.Sleep(2 * time.Second)
				leader, err := e.Leader()
				if err == nil {
					err = e.Member(leader).Kill()
				}
				time.Sleep(2 * time.Second)
				if err == nil {
					err = e.Member(leader).Restart(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			})
			var out bytes.Buffer
			redials, events := report(t, &out, run(t.Context(), &out, strings.Join(e.Addrs(), ","), 10*time.Second))
			assert.Assert(t, redials >= 20 && events >= 300, "that is few even for slow servers")
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
	names, _, err := s.Children(t.Context(), "/", nil)
	assert.NilError(t, err)
	for _, name := range names {
		assert.Assert(t, !strings.HasPrefix(name, "redial-"), "%s is left behind", name)
	}
}

// What goes wrong must not pass: here somebody deletes the ephemeral node, sets
// the counter or expires a session meanwhile.
func TestRunFails(t *testing.T) {
	for _, c := range []struct {
		name, want string
		do         func(*testing.T, *zktest.Ensemble, *zk.Session, string)
	}{
		{"ephemeral", "the ephemeral node was", func(t *testing.T, _ *zktest.Ensemble, s *zk.Session, root string) {
			assert.NilError(t, s.Delete(t.Context(), root+"/here", zk.AnyVersion))
		}},
		{"counter", "another version", func(t *testing.T, _ *zktest.Ensemble, s *zk.Session, root string) {
			_, err := s.Set(t.Context(), root+"/counter", nil, zk.AnyVersion)
			assert.NilError(t, err)
		}},
		{"expiry", "the ephemeral node was", func(t *testing.T, e *zktest.Ensemble, s *zk.Session, root string) {
			_, stat, err := s.Exists(t.Context(), root+"/here", nil)
			assert.NilError(t, err)
			e.Expire(stat.EphemeralOwner)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := zktest.NewEnsemble(t, 3)
			s, err := zk.Dial(t.Context(), zk.Config{Addrs: e.Addrs()})
			assert.NilError(t, err)
			defer s.Close()
			roots := make(chan zk.Event, 1)
			_, _, err = s.Children(t.Context(), "/", roots)
			assert.NilError(t, err)
			done := make(chan error, 1)
			var out bytes.Buffer
			go func() { done <- run(context.Background(), &out, strings.Join(e.Addrs(), ","), time.Second) }()
			<-roots
			names, _, err := s.Children(t.Context(), "/", nil)
			assert.NilError(t, err)
			root := "/" + names[slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "redial-") })]
			for counted := int32(0); counted == 0; { // the first count shows that all are at work
				changed := make(chan zk.Event, 1)
				_, stat, err := s.Exists(t.Context(), root+"/counter", changed)
				assert.NilError(t, err)
				if counted = stat.Version; counted == 0 {
					<-changed
				}
			}
			c.do(t, e, s, root)
			assert.ErrorContains(t, <-done, c.want)
			assert.Assert(t, !strings.Contains(out.String(), "ok:"))
		})
	}
}

func TestRunNobody(t *testing.T) {
	e := zktest.NewEnsemble(t, 1)
	e.Member(0).Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := run(ctx, new(bytes.Buffer), e.Addr(), time.Second)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.ErrorContains(t, err, e.Addr())
	assert.ErrorIs(t, run(t.Context(), new(bytes.Buffer), "bad host:2181", time.Second), zk.ErrBadArguments)
}
