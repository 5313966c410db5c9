package tree_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// This file is the harness: servers, sessions and what the tests compare.

// patience is how long anything may take before a test gives up. Nothing is
// timed against it.
const patience = time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if left := leftovers(); left != "" && code == 0 {
		fmt.Println("FAIL: goroutines outlive the tests:\n" + left)
		code = 1
	}
	os.Exit(code)
}

// leftovers returns the goroutines of the package that are left when all is over.
func leftovers() string {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		var left []string
		for g := range bytes.SplitSeq(buf, []byte("\n\n")) {
			if bytes.Contains(g, []byte("zk/tree.")) {
				left = append(left, string(g))
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func dial(t testing.TB, conf zk.Config) *zk.Session {
	t.Helper()
	s, err := zk.Dial(background(t), conf)
	assert.NilError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// server starts one server and a session on it.
func server(t testing.TB, opts ...zktest.Options) (*zktest.Server, *zk.Session) {
	e := zktest.NewServer(t, opts...)
	return e, dial(t, zk.Config{Addrs: e.Addrs()})
}

// movable returns a session, and what begins to move it. That ends the Session, and returns what
// lets the Dial connect and returns the successor.
func movable(t testing.TB) (s *zk.Session, begin func() (finish func() *zk.Session)) {
	gate := make(chan struct{})
	var shut atomic.Bool
	s = dial(t, zk.Config{
		Addrs: zktest.NewServer(t).Addrs(),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if shut.Load() {
				<-gate
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	})
	return s, func() func() *zk.Session {
		shut.Store(true)
		moved := make(chan *zk.Session, 1)
		go func() {
			next, _ := s.Redial(background(t))
			moved <- next
		}()
		<-s.Done()
		return func() *zk.Session {
			close(gate)
			next := <-moved
			assert.Assert(t, next != nil)
			t.Cleanup(func() { next.Close() })
			return next
		}
	}
}

// unwatched waits until nothing is armed on a session.
func unwatched(t testing.TB, s *zk.Session) {
	t.Helper()
	for ctx := background(t); s.Watches().Len() > 0; {
		assert.NilError(t, ctx.Err(), "%d watches are left", s.Watches().Len())
		time.Sleep(time.Millisecond)
	}
}

// fill makes the znodes of paths, parents first, with their paths as data.
func fill(t testing.TB, s *zk.Session, paths ...string) {
	t.Helper()
	for part := range slices.Chunk(paths, 2000) {
		ops := make([]zk.Op, len(part))
		for i, path := range part {
			ops[i] = zk.CreateOp{Path: path, Data: []byte(path), ACL: zk.ACLOpen}
		}
		_, err := s.Batch(background(t), ops...)
		assert.NilError(t, err)
	}
}

// wide returns the paths of a tree of depth 3: root, dirs and leaves in each.
func wide(root string, dirs, leaves int) []string {
	paths := []string{root}
	for i := range dirs {
		paths = append(paths, fmt.Sprintf("%s/dir-%04d", root, i))
	}
	for i := range dirs {
		for j := range leaves {
			paths = append(paths, fmt.Sprintf("%s/dir-%04d/node-%05d", root, i, j))
		}
	}
	return paths
}

// next returns the Session that follows s, as examples/redial does.
func next(ctx context.Context, s *zk.Session) (*zk.Session, error) {
	for {
		following, err := s.Redial(ctx)
		if errors.Is(err, zk.ErrExpired) {
			following, err = s.Renew(ctx)
		}
		if !errors.Is(err, zk.ErrNoServer) || ctx.Err() != nil {
			return following, err
		}
		time.Sleep(time.Millisecond)
	}
}

// repeat calls f until no connection is lost.
func repeat(t testing.TB, s *zk.Session, f func(s *zk.Session) error) (*zk.Session, error) {
	t.Helper()
	ctx := background(t)
	for {
		err := f(s)
		if zk.Hopeless(err) || !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
			return s, err
		}
		var failed error
		s, failed = next(ctx, s)
		assert.NilError(t, failed)
		t.Cleanup(func() { s.Close() })
	}
}

// running keeps a cache until the test ends or stop is called, over redials.
type running struct {
	c    *tree.Cache
	stop func() error // returns why the last Run ended

	mu      sync.Mutex
	session *zk.Session
	redials int
}

func (r *running) now() *zk.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session
}

func (r *running) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.redials
}

func run(t testing.TB, c *tree.Cache, s *zk.Session) *running {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{c: c, session: s}
	done := make(chan error, 1)
	go func() {
		for {
			err := c.Run(ctx, s)
			if ctx.Err() != nil || zk.Hopeless(err) || !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
				done <- err
				return
			}
			following, failed := next(ctx, s)
			if failed != nil {
				done <- failed
				return
			}
			r.mu.Lock()
			s, r.session = following, following
			r.redials++
			r.mu.Unlock()
		}
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		c.Close()
		r.now().Close()
		return err
	})
	t.Cleanup(func() { r.stop() })
	return r
}

func load(t testing.TB, c *tree.Cache) {
	t.Helper()
	assert.NilError(t, c.Wait(background(t), 0))
}

// contents returns what a cache shows.
func contents(c *tree.Cache) (nodes map[string]tree.Node, zxid int64) {
	nodes = make(map[string]tree.Node)
	c.View(func(v tree.View) {
		zxid = v.Zxid()
		for n := range v.All() {
			nodes[n.Path] = n
		}
	})
	return nodes, zxid
}

// differences lists up to ten differences between two trees, but for Aversion.
func differences(got, want map[string]tree.Node) (list []string) {
	paths := make(map[string]bool)
	for path := range got {
		paths[path] = true
	}
	for path := range want {
		paths[path] = true
	}
	for path := range paths {
		g, inGot := got[path]
		w, inWant := want[path]
		g.Stat.Aversion, w.Stat.Aversion = 0, 0
		if inGot != inWant || g.Stat != w.Stat || string(g.Data) != string(w.Data) || (g.Data == nil) != (w.Data == nil) {
			list = append(list, fmt.Sprintf("%s:\n  got  %v %q %+v\n  want %v %q %+v", path, inGot, g.Data, g.Stat, inWant, w.Data, w.Stat))
		}
	}
	slices.Sort(list)
	if len(list) > 10 {
		list = append(list[:10], fmt.Sprintf("and %d more", len(list)-10))
	}
	return list
}

// read returns the server's own tree, with one read for each znode. It does not
// use the package.
func read(t testing.TB, s *zk.Session, root string) map[string]tree.Node {
	t.Helper()
	ctx := background(t)
	nodes := make(map[string]tree.Node)
	for level := []string{root}; len(level) > 0; {
		var ops []zk.Op
		for _, path := range level {
			ops = append(ops, zk.GetOp{Path: path}, zk.ChildrenOp{Path: path})
		}
		res, err := s.Batch(ctx, ops...)
		assert.Assert(t, err == nil || errors.Is(err, zk.ErrNoNode), "%v", err)
		var below []string
		for i, path := range level {
			if res[2*i].Err != nil {
				continue
			}
			nodes[path] = tree.Node{Path: path, Data: res[2*i].Data, Stat: res[2*i].Stat}
			for _, name := range res[2*i+1].Children {
				if path == "/" {
					path = ""
				}
				below = append(below, path+"/"+name)
			}
		}
		level = below
	}
	return nodes
}

// same asserts that a cache shows what the server has, now that nobody writes.
func same(t testing.TB, c *tree.Cache, s *zk.Session) {
	t.Helper()
	ctx := background(t)
	assert.NilError(t, s.Sync(ctx, "/"))
	want := read(t, s, c.Root)
	assert.NilError(t, c.Wait(ctx, s.Zxid()))
	got, _ := contents(c)
	if d := differences(got, want); len(d) > 0 {
		t.Fatalf("%d znodes, want %d:\n%s", len(got), len(want), strings.Join(d, "\n"))
	}
	names := make(map[string]int)
	for path := range want {
		names[path] = 0
	}
	c.View(func(v tree.View) {
		assert.Equal(t, v.Len(), len(want))
		for path := range want {
			list, ok := v.Children(path)
			assert.Assert(t, ok, path)
			assert.Assert(t, slices.IsSorted(list), path)
			for _, name := range list {
				below := strings.TrimSuffix(path, "/") + "/" + name
				_, ok := names[below]
				assert.Assert(t, ok, below)
				names[below]++
			}
		}
	})
	for path, n := range names {
		assert.Assert(t, n == 1 || path == c.Root, "%s is listed %d times", path, n)
	}
}

// requests counts the requests that a server got since it forgot its frames.
func requests(e *zktest.Ensemble, ops ...wire.Op) (n int) {
	for _, f := range e.Frames() {
		if f.Dir == zktest.FromClient && f.Op != wire.OpPing && (len(ops) == 0 || slices.Contains(ops, f.Op)) {
			n++
		}
	}
	return n
}
