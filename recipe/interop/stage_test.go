package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

var bg = context.Background()

// stage is one real server, a proxy for each side, and the sessions of ours.
type stage struct {
	*testing.T
	ours, theirs *zktest.Proxy
	command      []string // that starts the other client
}

// each runs a test on a server of the newest release, or of those that the
// environment names in ZK_TEST_RELEASES.
func each(t *testing.T, command []string, f func(s *stage)) {
	releases := apache.Tested()
	if os.Getenv("ZK_TEST_RELEASES") == "" {
		releases = releases[:1]
	}
	for _, release := range releases {
		if slices.Contains(command, "Peer") && (release == apache.V3_4 || release == apache.V3_5) {
			continue // Curator 5 needs 3.6
		}
		t.Run(string(release), func(t *testing.T) {
			e := apache.New(t, apache.Config{Release: release})
			s := &stage{t, zktest.NewProxy(t, e.Addrs()[0]), zktest.NewProxy(t, e.Addrs()[0]), command}
			f(s)
		})
	}
}

// cut cuts connections until the test ends: ours often, theirs now and then.
func (s *stage) cut() {
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(50*time.Millisecond + rand.N(100*time.Millisecond)):
				s.ours.Cut()
				if i%10 == 9 {
					s.theirs.Cut()
				}
			}
		}
	})
	s.Cleanup(func() { close(stop); done.Wait() })
}

// owner is a session of ours, which goes on over lost connections.
type owner struct {
	*stage
	s *zk.Session
}

func (s *stage) dial() *owner {
	s.Helper()
	conf := zk.Config{Addrs: []string{s.ours.Addr()}, Timeout: 10 * time.Second}
	o := &owner{stage: s}
	var err error
	for range 50 {
		if o.s, err = zk.Dial(bg, conf); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	assert.NilError(s, err)
	s.Cleanup(func() { o.s.Close() })
	return o
}

// do repeats what may be repeated with the successor.
func do[T any](o *owner, f func(s *zk.Session) (T, error)) T {
	o.Helper()
	for {
		v, err := f(o.s)
		if !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
			assert.Check(o, err)
			return v
		}
		next, err := o.s.Redial(bg)
		for errors.Is(err, zk.ErrNoServer) {
			time.Sleep(20 * time.Millisecond)
			next, err = o.s.Redial(bg)
		}
		if errors.Is(err, zk.ErrExpired) { // one that had nothing to do for long
			next, err = o.s.Renew(bg)
		}
		if !assert.Check(o, err) {
			return v
		}
		o.s = next
	}
}

type nothing = struct{}

func (o *owner) run(f func(s *zk.Session) error) {
	o.Helper()
	do(o, func(s *zk.Session) (nothing, error) { return nothing{}, f(s) })
}

func (o *owner) create(path, data string) {
	o.Helper()
	o.run(func(s *zk.Session) error {
		_, err := s.Create(bg, path, []byte(data), zk.Persistent, zk.ACLOpen)
		if errors.Is(err, zk.ErrExists) {
			err = nil
		}
		return err
	})
}

func (o *owner) get(path string) string {
	o.Helper()
	return do(o, func(s *zk.Session) (string, error) {
		data, _, err := s.Get(bg, path, nil)
		return string(data), err
	})
}

func (o *owner) set(path, data string) {
	o.Helper()
	o.run(func(s *zk.Session) error {
		_, err := s.Set(bg, path, []byte(data), zk.AnyVersion)
		return err
	})
}

func (o *owner) children(path string) []string {
	o.Helper()
	return do(o, func(s *zk.Session) ([]string, error) {
		names, _, err := s.Children(bg, path, nil)
		if errors.Is(err, zk.ErrNoNode) {
			err = nil
		}
		return names, err
	})
}

// hold acquires.
func (o *owner) hold(f func(s *zk.Session) (*recipe.Hold, error)) *recipe.Hold {
	o.Helper()
	return do(o, f)
}

// release releases; what a lost connection leaves is deleted behind it.
func (o *owner) release(h *recipe.Hold) {
	o.Helper()
	if err := h.Release(); err != nil && !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
		assert.Check(o, err)
	}
}

// critical adds one to /count, which is exact only if nobody else is inside.
func (o *owner) critical() {
	o.Helper()
	n := 0
	fmt.Sscan(o.get("/count"), &n)
	time.Sleep(time.Millisecond)
	o.set("/count", fmt.Sprint(n+1))
}

// gone waits until a directory is empty.
func (o *owner) gone(path string) {
	o.Helper()
	end := time.Now().Add(30 * time.Second)
	for len(o.children(path)) > 0 {
		assert.Assert(o, time.Now().Before(end), "%s: %v", path, o.children(path))
		time.Sleep(20 * time.Millisecond)
	}
}

// peer is the other client at work.
type peer struct {
	*stage
	lines *bufio.Scanner
	in    io.WriteCloser
	cmd   *exec.Cmd
	err   strings.Builder
}

func (s *stage) peer(what string, count int, name string) *peer {
	s.Helper()
	return s.peerAt(s.theirs.Addr(), what, count, name)
}

func (s *stage) peerAt(addr, what string, count int, name string) *peer {
	s.Helper()
	args := append(s.command[1:len(s.command):len(s.command)], addr, what, fmt.Sprint(count), name)
	p := &peer{stage: s, cmd: exec.Command(s.command[0], args...)}
	p.cmd.Stderr = &p.err
	out, err := p.cmd.StdoutPipe()
	assert.NilError(s, err)
	p.in, err = p.cmd.StdinPipe()
	assert.NilError(s, err)
	p.lines = bufio.NewScanner(out)
	assert.NilError(s, p.cmd.Start())
	kill := time.AfterFunc(2*time.Minute, func() { p.cmd.Process.Kill() })
	s.Cleanup(func() {
		kill.Stop()
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
	})
	return p
}

// says returns the next line.
func (p *peer) says() string {
	p.lines.Scan()
	return p.lines.Text()
}

// goOn lets it go on.
func (p *peer) goOn() { io.WriteString(p.in, "\n") }

// end waits for it, and returns what it has said before.
func (p *peer) end() (lines []string) {
	p.Helper()
	last := ""
	for p.lines.Scan() {
		if last = p.lines.Text(); last != "ok" {
			lines = append(lines, last)
		}
	}
	err := p.cmd.Wait()
	assert.Check(p, err == nil && last == "ok", "%v: %s", err, &p.err)
	return lines
}

// kazoo returns the command that runs testdata/peer.py.
func kazoo(t *testing.T) []string {
	apache.Need(t)
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import kazoo.client").Run() == nil {
			return []string{python, "testdata/peer.py"}
		}
	}
	t.Fatal("no Python 3 with kazoo: install it (Debian: apt-get install python3-kazoo)")
	return nil
}

func TestMain(m *testing.M) {
	if os.Getenv("ZK_TEST_APACHE") != "1" {
		fmt.Println("the other clients were not run: use make test")
	}
	os.Exit(m.Run())
}
