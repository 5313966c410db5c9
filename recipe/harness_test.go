package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

var bg = context.Background()

func TestMain(m *testing.M) {
	if os.Getenv(asProcess) != "" {
		if err := beProcess(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if left := leftovers(); code == 0 && left != "" {
		fmt.Println("FAIL: goroutines outlive the tests:\n" + left)
		code = 1
	}
	os.Exit(code)
}

// leftovers returns the goroutines of this package and of zk, once all should be
// over. A withdrawal waits for a Session until its session is over, which may take
// as long as the longest timeout of a test.
func leftovers() string {
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		var left []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")[1:] {
			if strings.Contains(g, "seed-9f8420c6/zk") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

// rig is an ensemble in memory, inside a bubble, and its clients.
type rig struct {
	*testing.T
	*zktest.Ensemble
	timeout time.Duration
	chroot  string
	stalls  bool // connections fall silent
	alone   bool // nobody redials while a recipe waits
}

// bubble runs a test with a clock of its own. All Sessions end with it, and
// then nothing may be left that runs.
func bubble(t *testing.T, f func(r *rig), opts ...zktest.Options) {
	t.Helper()
	for _, chroot := range []string{"", "/app"} {
		synctest.Test(t, func(t *testing.T) {
			opt := zktest.Options{}
			if len(opts) > 0 {
				opt = opts[0]
			}
			opt.InMemory = true
			t.Cleanup(func() { time.Sleep(time.Minute) }) // goroutines that wait for a redial give up
			e := zktest.NewEnsemble(t, 1, opt)
			r := &rig{T: t, Ensemble: e, timeout: 10 * time.Second}
			if chroot != "" {
				s := r.dial()
				_, err := s.Create(bg, chroot, nil, zk.Persistent, zk.ACLOpen)
				assert.NilError(t, err)
				assert.NilError(t, s.Close())
				r.chroot = chroot
				e.ForgetFrames()
			}
			f(r)
			synctest.Wait()
		})
	}
}

func (r *rig) conf() zk.Config {
	return zk.Config{Addrs: r.Addrs(), DialContext: r.DialContext, Timeout: r.timeout, Chroot: r.chroot}
}

// dial begins a session that is closed at the end of the test.
func (r *rig) dial() *zk.Session {
	r.Helper()
	s, err := zk.Dial(bg, r.conf())
	assert.NilError(r, err)
	r.Cleanup(func() { closeLast(s) })
	return s
}

// newest follows a Session to its last successor.
func newest(s *zk.Session) *zk.Session {
	for {
		next, err := s.Successor(ended)
		if err != nil {
			return s
		}
		s = next
	}
}

// closeLast closes the last Session of s, over a new connection if need be.
func closeLast(s *zk.Session) {
	s = newest(s)
	if s.Close() != nil {
		if next, err := s.Redial(bg); err == nil {
			next.Close()
		}
	}
}

// ended is a context that has ended.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(bg)
	cancel()
	return ctx
}()

// redial returns the successor of a Session whose connection is lost.
func redial(t testing.TB, s *zk.Session) *zk.Session {
	t.Helper()
	next, err := s.Redial(bg)
	assert.NilError(t, err)
	return next
}

// again repeats f with the successor of s while the connection is lost.
func again[T any](s *zk.Session, f func(*zk.Session) (T, error)) (T, *zk.Session, error) {
	for {
		v, err := f(s)
		if err == nil || zk.Hopeless(err) || !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
			return v, s, err
		}
		next, err := s.Redial(bg)
		for err != nil && errors.Is(err, zk.ErrNoServer) {
			time.Sleep(50 * time.Millisecond)
			next, err = s.Redial(bg)
		}
		if err != nil {
			return v, s, err
		}
		s = next
	}
}

// children lists a directory, by another session than those of the test.
func (r *rig) children(path string) []string {
	r.Helper()
	s, err := zk.Dial(bg, r.conf())
	assert.NilError(r, err)
	defer s.Close()
	names, _, err := s.Children(bg, path, nil)
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	assert.NilError(r, err)
	return names
}

// requests returns what a session has asked for since the log was emptied,
// without pings and handshakes.
func (r *rig) requests(id int64) (ops []wire.Op) {
	for _, f := range r.Frames() {
		if f.Dir == zktest.FromClient && f.Session == id && f.Op != wire.OpPing && f.Op != zktest.OpConnect {
			ops = append(ops, f.Op)
		}
	}
	return ops
}

// isLost reports whether Lost is closed.
func isLost(lost <-chan struct{}) bool {
	select {
	case <-lost:
		return true
	default:
		return false
	}
}

// refuse is a network without anybody.
func refuse(count func()) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		count()
		return nil, errors.New("no network")
	}
}
