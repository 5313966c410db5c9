package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Env is a backend in the hands of one test.
type Env struct {
	Backend
	T    *testing.T
	Ctx  context.Context
	Root string // a node of this test's own; empty with a private server
}

// Knows reports whether the server is of that version or a later one.
func (e *Env) Knows(v zktest.Version) bool { return e.Version >= v }

// NewContext returns a context that ends with the test, or when Patience does.
func NewContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

func newEnv(t *testing.T, b Backend) *Env {
	t.Helper()
	assert.NilError(t, b.start())
	e := &Env{Backend: b, T: t, Ctx: NewContext(t)}
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r == '#' {
			return '-'
		}
		return r
	}, t.Name())
	path, err := b.admin.Create(e.Ctx, b.Chroot+"/"+name+"-", nil, zk.PersistentSequential, zk.ACLOpen)
	assert.NilError(t, err)
	e.Root = strings.TrimPrefix(path, b.Chroot)
	return e
}

// Full returns the path on the server of a path of the test.
func (e *Env) Full(path string) string { return e.Chroot + path }

// Config returns a Config for this backend, with a network of its own.
func (e *Env) Config() (zk.Config, *Link) {
	l := &Link{t: e.T, sim: e.Sim}
	return zk.Config{Addrs: e.Addrs(), Chroot: e.Chroot, Timeout: 40 * time.Second, DialContext: l.Dial}, l
}

// Dial makes a Session that ends with the test.
func (e *Env) Dial(conf zk.Config) *zk.Session {
	e.T.Helper()
	s, err := zk.Dial(e.Ctx, conf)
	for e.Real() && e.Members > 1 && errors.Is(err, zk.ErrNoServer) && e.Ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond) // real members may all be a moment behind the one that was left
		s, err = zk.Dial(e.Ctx, conf)
	}
	assert.NilError(e.T, err)
	return e.Keep(s)
}

// DialedOnce checks that one Dial was made since before. Real members may turn
// it away, for they are a moment behind, and then it goes on to the next.
func (e *Env) DialedOnce(l *Link, before int) {
	e.T.Helper()
	n := len(l.Dialed()) - before
	assert.Assert(e.T, n == 1 || e.Real() && n > 1 && n <= e.Members, "%d connections", n)
}

// Keep ends a Session with the test.
func (e *Env) Keep(s *zk.Session) *zk.Session {
	e.T.Cleanup(func() { s.Close() })
	return s
}

// Session makes a Session on a new session. All that was done before is
// visible through it.
func (e *Env) Session() *zk.Session {
	e.T.Helper()
	s, _ := e.Linked()
	return s
}

// Linked is session with the network that it uses.
func (e *Env) Linked() (*zk.Session, *Link) {
	e.T.Helper()
	conf, l := e.Config()
	s := e.Dial(conf)
	if e.Members > 1 {
		assert.NilError(e.T, s.Sync(e.Ctx, "/"))
	}
	return s, l
}

// Move dials the Session's successor.
func (e *Env) Move(s *zk.Session) *zk.Session {
	e.T.Helper()
	return e.Dial(s.Config())
}

// Cut ends the connection of a Session and waits until it has noticed.
func (e *Env) Cut(s *zk.Session, l *Link) {
	e.T.Helper()
	l.Cut()
	Await(e.T, s.Done())
	assert.ErrorIs(e.T, s.Err(), zk.ErrConnection)
}

// Create makes a persistent node.
func (e *Env) Create(s *zk.Session, path string, data string) string {
	e.T.Helper()
	_, err := s.Create(e.Ctx, path, []byte(data), zk.Persistent, zk.ACLOpen)
	assert.NilError(e.T, err)
	return path
}

// Set changes a node's data.
func (e *Env) Set(s *zk.Session, path string, data string) zk.Stat {
	e.T.Helper()
	st, err := s.Set(e.Ctx, path, []byte(data), zk.AnyVersion)
	assert.NilError(e.T, err)
	return st
}

// Delete deletes a node.
func (e *Env) Delete(s *zk.Session, path string) {
	e.T.Helper()
	assert.NilError(e.T, s.Delete(e.Ctx, path, zk.AnyVersion))
}

// Watch arms a channel for data.
func (e *Env) Watch(s *zk.Session, path string, ch chan<- zk.Event) {
	e.T.Helper()
	_, _, err := s.Get(e.Ctx, path, ch)
	assert.NilError(e.T, err)
}

// Expire ends a session from outside, as if it had timed out, and waits until
// its Session has noticed, if that is still connected.
func (e *Env) Expire(s *zk.Session) {
	e.T.Helper()
	if e.Sim != nil {
		e.Sim.Expire(s.ID())
	} else {
		// A State without Watches is another process with the same session.
		conf := s.Config()
		conf.Watches, conf.DialContext, conf.Chroot = nil, nil, ""
		other, err := zk.Dial(e.Ctx, conf)
		assert.NilError(e.T, err)
		assert.NilError(e.T, other.Close())
	}
	Await(e.T, s.Done())
}

// Fence waits until all events of what was done before have arrived at s.
func (e *Env) Fence(s *zk.Session) {
	e.T.Helper()
	assert.NilError(e.T, s.Sync(e.Ctx, "/"))
	if e.Real() && e.Members > 1 { // a Sync does nothing on a leader; a write, though refused, comes in its turn everywhere
		assert.ErrorIs(e.T, s.Delete(e.Ctx, "/no-such-node", zk.AnyVersion), zk.ErrNoNode)
	}
}

// None fails if there is an event in a channel, though all that was done
// before, by any session, has had time to arrive.
func (e *Env) None(s *zk.Session, ch <-chan zk.Event) {
	e.T.Helper()
	e.Fence(s)
	select {
	case ev := <-ch:
		e.T.Fatalf("an event that must not be: %+v", ev)
	default:
	}
}

// Want takes one event that has to come.
func (e *Env) Want(ch <-chan zk.Event, typ zk.EventType, path string) zk.Event {
	e.T.Helper()
	ev := Await(e.T, ch)
	assert.Equal(e.T, fmt.Sprint(ev.Type, " ", ev.Path), fmt.Sprint(typ, " ", path))
	if e.Version < zktest.V39 || typ == zk.Gap {
		assert.Equal(e.T, ev.Zxid, int64(0), "%+v", ev)
	}
	return ev
}

// Ready takes one event that has to be there already.
func (e *Env) Ready(ch <-chan zk.Event, typ zk.EventType, path string) zk.Event {
	e.T.Helper()
	assert.Assert(e.T, len(ch) > 0, "no %v %s in the channel", typ, path)
	return e.Want(ch, typ, path)
}

// Await receives from a channel, or is notified of its end.
func Await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("nothing from a channel within %v", Patience)
		panic("unreachable")
	}
}

// StallOn swallows the next request of a Session on a path, and all after it.
func StallOn(s *zk.Session, path string) zktest.Rule {
	return zktest.Rule{Session: s.ID(), Path: path, Do: zktest.StallBefore}
}

// Frames returns the frames of one kind since the log was emptied.
func Frames(e *Env, dir zktest.Direction, op wire.Op) []zktest.Frame {
	return slices.DeleteFunc(e.Sim.Frames(), func(f zktest.Frame) bool { return f.Dir != dir || f.Op != op })
}
