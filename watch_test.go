package zk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

type armer struct {
	name string
	arm  func(e *env, s *zk.Session, path string, ch chan<- zk.Event) error
	kind zk.WatchKind
}

// armers arm a channel in each way there is. Each needs the node but missing.
var armers = []armer{
	{"get", func(e *env, s *zk.Session, path string, ch chan<- zk.Event) error {
		_, _, err := s.Get(e.ctx, path, ch)
		return err
	}, zk.DataWatch},
	{"exists", func(e *env, s *zk.Session, path string, ch chan<- zk.Event) error {
		_, _, err := s.Exists(e.ctx, path, ch)
		return err
	}, zk.DataWatch},
	{"missing", func(e *env, s *zk.Session, path string, ch chan<- zk.Event) error {
		_, _, err := s.Exists(e.ctx, path, ch)
		return err
	}, zk.ExistsWatch},
	{"children", func(e *env, s *zk.Session, path string, ch chan<- zk.Event) error {
		_, _, err := s.Children(e.ctx, path, ch)
		return err
	}, zk.ChildWatch},
	{"persistent", func(e *env, s *zk.Session, path string, ch chan<- zk.Event) error {
		return s.AddWatch(e.ctx, path, zk.WatchPersistent, ch)
	}, zk.PersistentWatch},
	{"recursive", func(e *env, s *zk.Session, path string, ch chan<- zk.Event) error {
		return s.AddWatch(e.ctx, path, zk.WatchRecursive, ch)
	}, zk.RecursiveWatch},
}

// armersOf returns those that the server knows.
func armersOf(e *env) []armer {
	if e.knows(zktest.V36) {
		return armers
	}
	return armers[:4]
}

// Every kind of watch sees its changes and no others: a table of what each gets
// from a series of changes, made by the session itself or by another one.
func TestWatchKinds(t *testing.T) {
	want := map[string][]string{ // p is the node, p/c its child
		"get":        {"changed p"},
		"exists":     {"changed p"},
		"missing":    {"created p"},
		"children":   {"child p"},
		"persistent": {"changed p", "child p", "child p", "deleted p", "created p"},
		"recursive":  {"changed p", "created p/c", "changed p/c", "deleted p/c", "deleted p", "created p"},
	}
	everywhere(t, func(t *testing.T, e *env) {
		for _, own := range []bool{true, false} {
			s := e.session()
			writer := s
			if !own {
				writer = e.session()
			}
			for _, a := range armersOf(e) {
				p := fmt.Sprintf("%s/%s-%v", e.root, a.name, own)
				if a.name != "missing" {
					e.create(s, p, "")
				}
				e.fence(writer)
				ch := make(chan zk.Event, 20)
				assert.NilError(t, a.arm(e, s, p, ch))
				assert.DeepEqual(t, s.Config().Watches.List(), []zk.Watch{{Path: p, Kind: a.kind, Channel: 1}})
				if a.name == "missing" {
					e.create(writer, p, "")
				}
				e.set(writer, p, "1")
				e.create(writer, p+"/c", "")
				e.set(writer, p+"/c", "1")
				e.delete(writer, p+"/c")
				e.delete(writer, p)
				e.create(writer, p, "")
				_, err := writer.SetACL(e.ctx, p, zk.ACLOpen, zk.AnyVersion) // tells nobody
				assert.NilError(t, err)
				e.fence(s)
				close(ch)
				var got []string
				for ev := range ch {
					got = append(got, fmt.Sprint(ev.Type, " p", strings.TrimPrefix(ev.Path, p)))
				}
				assert.DeepEqual(t, got, want[a.name])
				stays := a.kind == zk.PersistentWatch || a.kind == zk.RecursiveWatch
				assert.Equal(t, s.Config().Watches.Len() == 1, stays, a.name)
				if stays {
					assert.NilError(t, s.RemoveWatch(e.ctx, p, ch))
				}
			}
		}
	})
}

// A deletion is told to each kind of watch.
func TestDeleted(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		for _, a := range armersOf(e) {
			if a.name == "missing" {
				continue
			}
			p := e.create(s, e.root+"/"+a.name, "")
			ch := make(chan zk.Event, 10)
			assert.NilError(t, a.arm(e, s, p, ch))
			e.delete(s, p)
			e.ready(ch, zk.Deleted, p)
			e.none(s, ch)
		}
		// One Deleted stands for the data and the child watch of a connection.
		p := e.create(s, e.root+"/n", "")
		data, child, both := make(chan zk.Event, 2), make(chan zk.Event, 2), make(chan zk.Event, 2)
		e.watch(s, p, data)
		e.watch(s, p, both)
		assert.NilError(t, errOf2(s.Children(e.ctx, p, child)))
		assert.NilError(t, errOf2(s.Children(e.ctx, p, both)))
		e.delete(s, p)
		for _, ch := range []chan zk.Event{data, child, both} {
			e.ready(ch, zk.Deleted, p)
			e.none(s, ch)
		}
		list := s.Config().Watches.List()
		assert.Equal(t, len(list), len(armersOf(e))-4, "%+v", list) // the persistent ones of above
	})
}

// The event of an ephemeral that goes with another session.
func TestWatchedSessionEnds(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		for _, end := range []func(*zk.Session){func(o *zk.Session) { assert.NilError(t, o.Close()) }, e.expire} {
			owner := e.session()
			eph, err := owner.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
			assert.NilError(t, err)
			e.fence(s)
			ch, child := make(chan zk.Event, 1), make(chan zk.Event, 1)
			e.watch(s, eph, ch)
			assert.NilError(t, errOf2(s.Children(e.ctx, e.root, child)))
			end(owner)
			e.want(ch, zk.Deleted, eph)
			e.want(child, zk.Child, e.root)
		}
	})
}

// What failed has armed nothing.
func TestFailedCallArmsNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		ch := make(chan zk.Event, 1)
		none := e.root + "/none"
		wantCode(t, errOf2(s.Get(e.ctx, none, ch)), zk.ErrNoNode, none)
		wantCode(t, errOf2(s.Children(e.ctx, none, ch)), zk.ErrNoNode, none)
		secret, err := s.Create(e.ctx, e.root+"/secret", nil, zk.Persistent, zk.ACL{{Perms: zk.PermAll &^ zk.PermRead, Scheme: "world", ID: "anyone"}})
		assert.NilError(t, err)
		wantCode(t, errOf2(s.Get(e.ctx, secret, ch)), zk.ErrNoAuth, secret)
		wantCode(t, errOf2(s.Children(e.ctx, secret, ch)), zk.ErrNoAuth, secret)
		if e.knows(zktest.V38) { // since 3.8.4, to be exact; before, nothing keeps a session from asking
			wantCode(t, errOf2(s.Exists(e.ctx, secret, ch)), zk.ErrNoAuth, secret)
			_, err = s.Batch(e.ctx, zk.GetOp{Path: none, Watch: ch}, zk.ExistsOp{Path: secret, Watch: ch})
			wantCode(t, err, zk.ErrNoNode, none)
		}
		assert.Equal(t, s.Config().Watches.Len(), 0)
		e.create(s, none, "")
		e.set(s, secret, "x")
		e.delete(s, none)
		e.none(s, ch)
		s = e.move(s)
		e.none(s, ch)
		assert.Equal(t, s.Stats().Ignored, int64(0)) // nothing was restored
	})
}

// One notification gives a channel one event, however often it is armed.
func TestOneChannelArmedManyTimes(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		for range 3 {
			p := e.create(s, e.root+"/n", "")
			ch := make(chan zk.Event, 10)
			for range 3 {
				for _, a := range armers[:4] {
					assert.NilError(t, a.arm(e, s, p, ch))
				}
			}
			assert.Equal(t, s.Config().Watches.Len(), 2) // data and child
			e.delete(s, p)
			e.ready(ch, zk.Deleted, p)
			e.none(s, ch)
			assert.Equal(t, s.Config().Watches.Len(), 0)
		}
		p := e.create(s, e.root+"/n", "")
		ch := make(chan zk.Event, 10)
		for range 1000 {
			e.watch(s, p, ch)
		}
		e.set(s, p, "x")
		e.ready(ch, zk.Changed, p)
		e.set(s, p, "y")
		e.none(s, ch)
	})
}

// Every channel of a path gets the event.
func TestManyChannelsOfOnePath(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		var chans []chan zk.Event
		for range 50 {
			ch := make(chan zk.Event, 2)
			chans = append(chans, ch)
			e.watch(s, e.root, ch)
		}
		assert.Equal(t, s.Config().Watches.Len(), 50)
		e.set(s, e.root, "x")
		var zxid int64
		for _, ch := range chans {
			ev := e.ready(ch, zk.Changed, e.root)
			assert.Assert(t, zxid == 0 || ev.Zxid == zxid)
			zxid = ev.Zxid
			e.none(s, ch)
		}
	})
}

// A channel that is armed persistently and once gets one event per
// notification, and stays armed.
func TestPersistentAndOneShot(t *testing.T) {
	since(t, zktest.V36, func(t *testing.T, e *env) {
		for _, a := range armers[4:] {
			for _, first := range []bool{true, false} {
				s := e.session()
				p := e.create(s, fmt.Sprintf("%s/%s-%v", e.root, a.name, first), "")
				ch, other := make(chan zk.Event, 10), make(chan zk.Event, 10)
				if first {
					assert.NilError(t, a.arm(e, s, p, ch))
				}
				e.watch(s, p, ch)
				e.watch(s, p, other)
				if !first {
					assert.NilError(t, a.arm(e, s, p, ch))
				}
				for i := range 3 {
					e.set(s, p, "x")
					e.ready(ch, zk.Changed, p)
					if i == 0 {
						e.ready(other, zk.Changed, p)
					}
					e.none(s, ch)
					e.none(s, other)
				}
				assert.DeepEqual(t, s.Config().Watches.List(), []zk.Watch{{Path: p, Kind: a.kind, Channel: 1}})

				// A child watch beside it is one too.
				assert.NilError(t, errOf2(s.Children(e.ctx, p, other)))
				e.create(s, p+"/c", "")
				e.ready(other, zk.Child, p)
				if a.kind == zk.PersistentWatch {
					e.ready(ch, zk.Child, p)
				} else {
					e.ready(ch, zk.Created, p+"/c") // Child is not for recursive watches
				}
				e.none(s, ch)
				e.none(s, other)
			}
		}
	})
}

// All kinds of watches on one path, each with its own channel, beside a
// recursive one further up: each gets its own events and no others'.
func TestKindsOnOnePath(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		for _, persistent := range []bool{false, true} {
			if persistent && !e.knows(zktest.V36) {
				continue
			}
			s := e.session()
			p := e.create(s, fmt.Sprintf("%s/n-%v", e.root, persistent), "")
			chans := make(map[string]chan zk.Event)
			arm := func(name, path string) {
				chans[name] = make(chan zk.Event, 10)
				for _, a := range armersOf(e) {
					if strings.HasPrefix(name, a.name) {
						assert.NilError(t, a.arm(e, s, path, chans[name]))
						return
					}
				}
			}
			if e.knows(zktest.V36) {
				arm("recursive-up", e.root)
			}
			if persistent {
				arm("persistent", p)
				if e.knows(zktest.V39) { // before, the one takes the Child events of the other
					arm("recursive", p)
				}
			}
			arm("get", p)
			arm("exists", p)
			arm("children", p)
			check := func(path string, typ zk.EventType, names ...string) {
				t.Helper()
				for _, name := range names {
					if chans[name] != nil {
						e.ready(chans[name], typ, path)
					}
				}
			}
			none := func() {
				t.Helper()
				for name, ch := range chans {
					assert.Equal(t, len(ch), 0, name)
				}
			}
			e.create(s, p+"/c", "")
			check(p, zk.Child, "children", "persistent")
			check(p+"/c", zk.Created, "recursive", "recursive-up")
			none()
			e.set(s, p, "x")
			check(p, zk.Changed, "get", "exists", "persistent", "recursive", "recursive-up")
			none()
			e.set(s, p+"/c", "x")
			check(p+"/c", zk.Changed, "recursive", "recursive-up")
			none()
			arm("get", p)
			arm("children", p)
			s = e.move(s)
			if len(chans["recursive-up"]) > 0 { // others use the server too
				for name, ch := range chans {
					if strings.HasPrefix(name, "recursive") || name == "persistent" {
						assert.Equal(t, await(t, ch).Type, zk.Gap)
					}
				}
			}
			none()
			e.delete(s, p+"/c")
			check(p, zk.Child, "children", "persistent")
			check(p+"/c", zk.Deleted, "recursive", "recursive-up")
			none()
			e.delete(s, p)
			check(p, zk.Deleted, "get", "persistent", "recursive", "recursive-up")
			none()
			e.create(s, p, "")
			check(p, zk.Created, "persistent", "recursive", "recursive-up")
			none()
		}
	})
}

// Events carry the zxid of their change where the server tells: 3.9, live.
func TestEventZxid(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		ch := make(chan zk.Event, 1)
		e.watch(s, e.root, ch)
		st := e.set(s, e.root, "x")
		ev := e.ready(ch, zk.Changed, e.root)
		if e.knows(zktest.V39) {
			assert.Equal(t, ev.Zxid, st.Mzxid)
		}
		e.watch(s, e.root, ch)
		writer := e.session()
		s.Detach()
		e.set(writer, e.root, "y")
		e.move(s)
		ev = e.want(ch, zk.Changed, e.root)
		assert.Equal(t, ev.Zxid, int64(0))
	})
}

// A full channel delays all events behind its own, and nothing else.
func TestFullChannel(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		first := e.create(s, e.root+"/first", "")
		full, got := make(chan zk.Event), make(chan zk.Event, 100)
		e.watch(s, first, full)
		var want []string
		for i := range 50 {
			p := e.create(s, fmt.Sprintf("%s/%d", e.root, i), "")
			e.watch(s, p, got)
			want = append(want, fmt.Sprint(zk.Changed, " ", p))
		}
		e.set(s, first, "x")
		for i := range 50 {
			e.set(s, fmt.Sprintf("%s/%d", e.root, i), "x")
		}
		assert.Equal(t, len(got), 0)
		st := s.Stats()
		assert.Equal(t, st.Queued, 51)
		assert.Equal(t, st.Armed, 0)
		w := s.Config().Watches
		assert.Equal(t, w.Undelivered(), 51)
		assert.Equal(t, w.Len(), 0)
		for _, entry := range w.List() {
			assert.Assert(t, entry.Fired, "%+v", entry)
		}
		// A consumer that reads as slowly as it likes.
		ready := make(chan zk.Event, 1)
		late := e.create(s, e.root+"/late", "")
		e.watch(s, late, ready)
		e.set(s, late, "x")
		assert.Equal(t, len(ready), 0)

		e.want(full, zk.Changed, first)
		for _, w := range want {
			ev := await(t, got)
			assert.Equal(t, fmt.Sprint(ev.Type, " ", ev.Path), w)
		}
		e.want(ready, zk.Changed, late)
		e.fence(s)
		assert.Equal(t, s.Stats().Queued, 0)
	})
}

// Who gets an event is decided when it is read: neither does a queued event
// disarm what was armed later, nor does that get it.
func TestEventIsResolvedWhenRead(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		block, p := e.create(s, e.root+"/block", ""), e.create(s, e.root+"/n", "")
		full, one, two := make(chan zk.Event), make(chan zk.Event, 2), make(chan zk.Event, 2)
		e.watch(s, block, full)
		e.watch(s, p, one)
		e.set(s, block, "x")
		e.set(s, p, "x") // queued
		e.watch(s, p, two)
		e.want(full, zk.Changed, block)
		e.want(one, zk.Changed, p)
		e.none(s, two)
		e.set(s, p, "y")
		e.ready(two, zk.Changed, p)
		e.none(s, one)
	})
}

// A channel that the application has closed loses its watches, and this is
// told once. Nobody else notices.
func TestClosedChannel(t *testing.T) {
	since(t, zktest.V36, func(t *testing.T, e *env) {
		for _, queued := range []bool{false, true} {
			if queued && raceEnabled {
				continue // to close a channel while another goroutine is sending is a race, if a harmless one
			}
			log := new(lockedBuffer)
			conf, _ := e.config()
			conf.Logger = slog.New(slog.NewTextHandler(log, nil))
			s := e.dial(conf)
			block, p := e.create(s, fmt.Sprintf("%s/block%v", e.root, queued), ""), e.create(s, fmt.Sprintf("%s/n%v", e.root, queued), "")
			full, closed, good := make(chan zk.Event), make(chan zk.Event), make(chan zk.Event, 2)
			e.watch(s, block, full)
			assert.NilError(t, s.AddWatch(e.ctx, p, zk.WatchPersistent, closed))
			assert.NilError(t, errOf2(s.Children(e.ctx, p, closed)))
			e.watch(s, p, good)
			if queued { // the sender waits at the channel that will be closed, or at one before it
				e.set(s, p, "x")
				assert.Equal(t, len(good), 0)
			} else {
				e.set(s, block, "x")
				e.set(s, p, "x")
			}
			close(closed)
			if !queued {
				e.want(full, zk.Changed, block)
			}
			e.want(good, zk.Changed, p)
			e.create(s, p+"/c", "")
			e.watch(s, p, good)
			e.set(s, p, "y")
			e.ready(good, zk.Changed, p)
			for _, entry := range s.Config().Watches.List() {
				assert.Equal(t, entry.Path, block, "%+v", entry)
			}
			assert.Equal(t, strings.Count(log.String(), "closed channel"), 1, log.String())
			assert.Assert(t, strings.Contains(log.String(), p), log.String())
			assert.NilError(t, s.Err())
		}
	})
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestRemoveWatch(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		for _, a := range armersOf(e) {
			p := e.root + "/" + a.name
			if a.name != "missing" {
				e.create(s, p, "")
			}
			gone, stays := make(chan zk.Event, 10), make(chan zk.Event, 10)
			assert.NilError(t, a.arm(e, s, p, gone))
			assert.NilError(t, a.arm(e, s, p, stays))
			assert.Equal(t, s.Config().Watches.Len(), 2)
			assert.NilError(t, s.RemoveWatch(e.ctx, p, gone))
			wantUnsent(t, s.RemoveWatch(e.ctx, p, gone), zk.ErrNoWatcher)
			list := s.Config().Watches.List()
			assert.Equal(t, len(list), 1)
			change := func() {
				if a.name == "missing" {
					e.create(s, p, "")
				} else {
					e.delete(s, p)
				}
			}
			typ := zk.Deleted
			if a.name == "missing" {
				typ = zk.Created
			}
			change()
			e.ready(stays, typ, p)
			e.none(s, gone)
			if a.kind == zk.PersistentWatch || a.kind == zk.RecursiveWatch {
				assert.NilError(t, s.RemoveWatch(e.ctx, p, stays))
				assert.Equal(t, s.Config().Watches.Len(), 0)
				e.create(s, p, "")
				e.none(s, stays)
			}
			wantUnsent(t, s.RemoveWatch(e.ctx, p, stays), zk.ErrNoWatcher)
		}

		// All kinds at once; what was queued before is still delivered.
		p := e.create(s, e.root+"/all", "")
		ch, full := make(chan zk.Event, 10), make(chan zk.Event)
		block := e.create(s, e.root+"/block", "")
		e.watch(s, block, full)
		for _, a := range armersOf(e) {
			assert.NilError(t, a.arm(e, s, p, ch))
		}
		e.set(s, block, "x")
		e.set(s, p, "x")
		e.watch(s, p, ch)
		assert.NilError(t, s.RemoveWatch(e.ctx, p, ch))
		assert.Equal(t, s.Config().Watches.Len(), 0)
		e.set(s, p, "y")
		e.want(full, zk.Changed, block)
		e.want(ch, zk.Changed, p)
		e.none(s, ch)
	})
}

// The server is asked only where it must be.
func TestRemoveWatchOnTheServer(t *testing.T) {
	e := private(t, 1)
	s := e.session()
	ch, other := make(chan zk.Event, 1), make(chan zk.Event, 1)
	asked := func(f func()) int {
		t.Helper()
		e.sim.ForgetFrames()
		f()
		return len(frames(e, zktest.FromClient, wire.OpRemoveWatches))
	}
	remove := func(ch chan zk.Event) func() {
		return func() { t.Helper(); assert.NilError(t, s.RemoveWatch(e.ctx, "/", ch)) }
	}
	e.watch(s, "/", ch)
	assert.Equal(t, asked(remove(ch)), 0)
	assert.NilError(t, s.AddWatch(e.ctx, "/", zk.WatchPersistent, ch))
	assert.NilError(t, s.AddWatch(e.ctx, "/", zk.WatchPersistent, other))
	assert.Equal(t, asked(remove(ch)), 0)    // the other is still there
	assert.Equal(t, asked(remove(other)), 1) // the last
	e.set(s, "/", "x")
	assert.Equal(t, s.Stats().Ignored, int64(0)) // the server sends nothing
	assert.Equal(t, asked(func() { e.watch(s, "/", ch); remove(ch)() }), 0)
	e.set(s, "/", "y")
	assert.Equal(t, s.Stats().Ignored, int64(1)) // it was told nothing

	// On a connection that is lost all of it is local.
	assert.NilError(t, s.AddWatch(e.ctx, "/", zk.WatchRecursive, ch))
	e.sim.Cut(s.ID())
	await(t, s.Done())
	assert.NilError(t, s.RemoveWatch(e.ctx, "/", ch))
	e.sim.ForgetFrames()
	s = e.move(s)
	assert.Equal(t, len(frames(e, zktest.FromClient, wire.OpSetWatches2)), 0)
}

// What happens to each kind of watch when things change while nobody is
// connected: at most one event, by how it is afterwards.
func TestRedialCoalesces(t *testing.T) {
	type change = func(e *env, w *zk.Session, p string)
	create := func(e *env, w *zk.Session, p string) { e.create(w, p, "") }
	set := func(e *env, w *zk.Session, p string) { e.set(w, p, "x") }
	del := func(e *env, w *zk.Session, p string) { e.delete(w, p) }
	createChild := func(e *env, w *zk.Session, p string) { e.create(w, p+"/c", "") }
	deleteChild := func(e *env, w *zk.Session, p string) { e.delete(w, p+"/c") }
	tests := []struct {
		name    string
		arm     string
		changes []change
		want    zk.EventType // 0: none, and it stays armed
	}{
		{"set", "get", []change{set, set, set}, zk.Changed},
		{"deleted", "get", []change{set, del}, zk.Deleted},
		{"recreated", "get", []change{del, create}, zk.Changed},
		{"gone again", "get", []change{del, create, set, del}, zk.Deleted},
		{"children only", "get", []change{createChild}, 0},
		{"nothing", "get", nil, 0},
		{"exists and set", "exists", []change{set}, zk.Changed}, // not Created
		{"exists and nothing", "exists", nil, 0},                // not Created either
		{"exists and deleted", "exists", []change{del}, zk.Deleted},
		{"exists and recreated", "exists", []change{del, create}, zk.Changed},
		{"made", "missing", []change{create}, zk.Created},
		{"made and set", "missing", []change{create, set}, zk.Created},
		{"made and deleted", "missing", []change{create, del}, 0},
		{"made twice", "missing", []change{create, del, create}, zk.Created},
		{"not made", "missing", nil, 0},
		{"child", "children", []change{createChild}, zk.Child},
		{"child came and went", "children", []change{createChild, deleteChild}, zk.Child},
		{"data only", "children", []change{set}, 0},
		{"parent deleted", "children", []change{del}, zk.Deleted},
		{"parent recreated", "children", []change{del, create}, zk.Child},
	}
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		writer := e.session()
		var chans []chan zk.Event
		paths := make([]string, len(tests))
		for i, test := range tests {
			paths[i] = e.root + "/" + test.name
			if test.arm != "missing" {
				e.create(s, paths[i], "")
			}
			ch := make(chan zk.Event, 10)
			chans = append(chans, ch)
			for _, a := range armersOf(e) {
				if a.name == test.arm {
					assert.NilError(t, a.arm(e, s, paths[i], ch))
				}
			}
		}
		e.cut(s, l)
		e.fence(writer)
		for i, test := range tests {
			for _, change := range test.changes {
				change(e, writer, paths[i])
			}
		}
		s = e.move(s)
		for i, test := range tests {
			ch, p := chans[i], paths[i]
			if test.want != 0 {
				e.want(ch, test.want, p)
				e.none(s, ch)
				continue
			}
			e.none(s, ch)
			// Still armed: the next change is told.
			switch test.arm {
			case "missing":
				e.create(writer, p, "")
				e.want(ch, zk.Created, p)
			case "children":
				e.delete(writer, p)
				e.want(ch, zk.Deleted, p)
			default:
				e.set(writer, p, "later")
				e.want(ch, zk.Changed, p)
			}
			e.none(s, ch)
		}
		assert.Equal(t, s.Config().Watches.Len(), 0)
	})
}

// A node whose data and children were watched and that is gone: the server
// sends Deleted twice when it restores, and each channel gets one.
func TestRedialDeletedTwice(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		writer := e.session()
		p := e.create(s, e.root+"/n", "")
		data, child, both := make(chan zk.Event, 2), make(chan zk.Event, 2), make(chan zk.Event, 2)
		e.watch(s, p, data)
		e.watch(s, p, both)
		assert.NilError(t, errOf2(s.Children(e.ctx, p, child)))
		assert.NilError(t, errOf2(s.Children(e.ctx, p, both)))
		e.cut(s, l)
		e.fence(writer)
		e.delete(writer, p)
		s = e.move(s)
		for _, ch := range []chan zk.Event{data, child, both} {
			e.want(ch, zk.Deleted, p)
			e.none(s, ch)
		}
		st := s.Stats()
		assert.Equal(t, st.Events, int64(1))
		assert.Equal(t, st.Ignored, int64(1))
		assert.NilError(t, s.Err())
	})
}

// Persistent watches get no catch-up, but a Gap if anything may have happened.
func TestGap(t *testing.T) {
	e := private(t, 1)
	s, l := e.linked()
	writer := e.session()
	p := e.create(s, "/n", "")
	e.create(s, "/elsewhere", "")
	one, two := make(chan zk.Event, 10), make(chan zk.Event, 10)
	assert.NilError(t, s.AddWatch(e.ctx, p, zk.WatchPersistent, one))
	assert.NilError(t, s.AddWatch(e.ctx, p, zk.WatchPersistent, two))
	assert.NilError(t, s.AddWatch(e.ctx, "/", zk.WatchRecursive, two))

	// Nothing happened, so nothing is said.
	e.cut(s, l)
	s = e.move(s)
	e.set(s, p, "1")
	e.ready(one, zk.Changed, p)
	e.ready(two, zk.Changed, p)

	// Something did, wherever.
	for _, where := range []string{p, "/elsewhere"} {
		e.cut(s, l)
		e.set(writer, where, "2")
		s = e.move(s)
		e.ready(one, zk.Gap, p)
		assert.DeepEqual(t, sortedEvents(await(t, two), await(t, two)), []string{"gap /", "gap " + p})
		e.set(s, p, "3")
		e.ready(one, zk.Changed, p)
		e.ready(two, zk.Changed, p)
		e.none(s, one)
		e.none(s, two)
	}

	// A Gap that nobody has taken yet is enough.
	full := make(chan zk.Event)
	assert.NilError(t, s.AddWatch(e.ctx, "/full", zk.WatchPersistent, full))
	for range 3 {
		e.cut(s, l)
		e.set(writer, p, "4")
		s = e.move(s)
	}
	e.want(full, zk.Gap, "/full")
	e.fence(s)
	assert.Equal(t, s.Stats().Queued, 0)
	e.none(s, full)
	assert.NilError(t, s.RemoveWatch(e.ctx, "/full", full))

	// The Gap comes ahead of all that is new on the connection.
	for len(one) > 0 {
		<-one
	}
	e.cut(s, l)
	e.set(writer, p, "5")
	s = e.move(s)
	e.set(s, p, "6")
	e.ready(one, zk.Gap, p)
	e.ready(one, zk.Changed, p)
	e.none(s, one)
}

// After a new session there is always a Gap.
func TestGapAfterRenew(t *testing.T) {
	since(t, zktest.V36, func(t *testing.T, e *env) {
		s := e.session()
		ch := make(chan zk.Event, 10)
		assert.NilError(t, s.AddWatch(e.ctx, e.root, zk.WatchPersistent, ch))
		next, err := s.Renew(e.ctx)
		assert.NilError(t, err)
		e.keep(next)
		e.ready(ch, zk.Gap, e.root)
		e.set(next, e.root, "x")
		e.ready(ch, zk.Changed, e.root)
		e.none(next, ch)
	})
}

// Events that are queued when the connection ends are handed over on the next,
// ahead of what happens there: nothing lost, nothing twice, all in order.
func TestQueuedEventsMove(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		for _, how := range []string{"cut", "detach", "redial", "renew"} {
			s, l := e.linked()
			writer := e.session()
			full := make(chan zk.Event)
			var want []string
			arm := func(i int) string {
				p := fmt.Sprintf("%s/%s%02d", e.root, how, i)
				if _, err := s.Create(e.ctx, p, nil, zk.Persistent, zk.ACLOpen); !errors.Is(err, zk.ErrExists) {
					assert.NilError(t, err)
				}
				e.watch(s, p, full)
				want = append(want, fmt.Sprint(zk.Changed, " ", p))
				return p
			}
			for i := range 5 {
				e.set(s, arm(i), "x")
			}
			missed := arm(5) // changes while nobody is connected
			var last []string
			for i := 6; i < 11; i++ {
				last = append(last, arm(i))
			}
			switch how {
			case "cut":
				e.cut(s, l)
			case "detach":
				s.Detach()
			}
			if how == "cut" || how == "detach" {
				assert.Equal(t, s.Config().Watches.Undelivered(), 5)
				// The outbox stands still.
				select {
				case ev := <-full:
					t.Fatalf("%+v without a connection", ev)
				case <-time.After(time.Millisecond):
				}
				e.fence(writer)
				e.set(writer, missed, "x")
			}
			conf := s.Config()
			if how == "renew" {
				conf = conf.Renew()
			}
			s = e.dial(conf)
			if how == "redial" || how == "renew" {
				e.set(s, missed, "x")
			}
			for _, p := range last {
				e.set(s, p, "x")
			}
			for _, w := range want {
				ev := await(t, full)
				assert.Equal(t, fmt.Sprint(ev.Type, " ", ev.Path), w)
			}
			e.none(s, full)
			assert.Equal(t, s.Stats().Queued+s.Stats().Armed, 0)
		}
	})
}

// Close sends what fits and keeps the rest in the State.
func TestCloseKeepsEvents(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		full, ready := make(chan zk.Event), make(chan zk.Event, 1)
		a, b := e.create(s, e.root+"/a", ""), e.create(s, e.root+"/b", "")
		e.watch(s, a, full)
		e.watch(s, b, ready)
		e.set(s, a, "x")
		e.set(s, b, "x")
		assert.NilError(t, s.Close())
		conf := s.Config()
		assert.Equal(t, conf.Watches.Undelivered(), 2)
		assert.Equal(t, len(ready), 0)
		s = e.dial(conf.Renew())
		assert.Equal(t, len(ready), 0)
		e.want(full, zk.Changed, a)
		e.want(ready, zk.Changed, b)
		e.none(s, ready)
	})
}

// A session's own change is in the channel when the call that made it returns.
func TestOwnWriteOrder(t *testing.T) {
	ownWrites := func(t *testing.T, s *zk.Session, path string, n int) {
		ch := make(chan zk.Event, 1)
		ctx := t.Context() // calls that can be cancelled go another way than those that cannot
		for i := range n {
			if i == n/2 {
				ctx = context.Background()
			}
			if _, _, err := s.Get(ctx, path, ch); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Set(ctx, path, nil, zk.AnyVersion); err != nil {
				t.Fatal(err)
			}
			if len(ch) != 1 {
				t.Fatalf("Set %d returned before its event was in the channel", i)
			}
			<-ch
		}
	}
	everywhere(t, func(t *testing.T, e *env) { ownWrites(t, e.session(), e.root, 1000) })
	t.Run("in-memory", func(t *testing.T) {
		n := 100_000
		if raceEnabled || testing.Short() {
			n = 10_000
		}
		e := private(t, 1, zktest.Options{InMemory: true, FrameLog: -1, MaxSessionTimeout: time.Minute})
		ownWrites(t, e.session(), "/", n)
	})
}

// The same when many share the Session.
func TestOwnWriteOrderShared(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		const n = 200
		s := e.session()
		var wg sync.WaitGroup
		for g := range 4 {
			p := e.create(s, fmt.Sprintf("%s/%d", e.root, g), "")
			wg.Go(func() {
				ch := make(chan zk.Event, 1)
				for i := range n {
					if _, _, err := s.Get(e.ctx, p, ch); err != nil {
						t.Error(err)
						return
					}
					if _, err := s.Set(e.ctx, p, nil, zk.AnyVersion); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-ch:
					default:
						t.Errorf("Set %d returned before its event was in the channel", i)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// 10,000 watches are restored in frames of at most 128 KiB with one floor, and
// before anything else is sent.
func TestManyWatches(t *testing.T) {
	const length = 110
	everywhere(t, func(t *testing.T, e *env) {
		n := 10_000
		if !e.real() && e.backend != backends()[0] {
			n = 3000 // once is enough
		}
		s, l := e.linked()
		writer := e.session()
		var paths []string
		var ops []zk.Op
		ch := make(chan zk.Event, n)
		for i := range n {
			p := fmt.Sprintf("%s/%05d", e.root, i)
			p += strings.Repeat("x", length-len(e.full(p))-2) + "ä"
			assert.Equal(t, len(e.full(p)), length)
			paths = append(paths, p)
			switch i % 4 {
			case 0:
				ops = append(ops, zk.ExistsOp{Path: p, Watch: ch})
			case 1:
				ops = append(ops, zk.CreateOp{Path: p, ACL: zk.ACLOpen}, zk.ChildrenOp{Path: p, Watch: ch})
			default:
				ops = append(ops, zk.CreateOp{Path: p, ACL: zk.ACLOpen}, zk.GetOp{Path: p, Watch: ch})
			}
		}
		res, err := s.Batch(e.ctx, ops...)
		for i, r := range res {
			if _, ok := ops[i].(zk.ExistsOp); !ok {
				assert.NilError(t, r.Err)
			}
		}
		wantCode(t, err, zk.ErrNoNode, paths[0])
		assert.Equal(t, s.Stats().Armed, n)
		floor := s.Zxid()
		e.cut(s, l)

		changed := []int{0, 1, 2, 3, n/2 - 1, n / 2, n/2 + 1, n/2 + 2, n - 4, n - 3, n - 2, n - 1}
		e.fence(writer)
		for _, i := range changed {
			switch i % 4 {
			case 0:
				e.create(writer, paths[i], "")
			case 1:
				e.create(writer, paths[i]+"/c", "")
			default:
				e.set(writer, paths[i], "x")
			}
		}
		conn := int64(0)
		if e.sim != nil {
			for _, f := range e.sim.Frames() {
				conn = max(conn, f.Conn)
			}
		}
		s = e.move(s)
		if e.sim != nil {
			sets, behind := 0, false
			for _, f := range e.sim.Frames() {
				if f.Conn <= conn || f.Session != s.ID() || f.Dir != zktest.FromClient || f.Op == zktest.OpConnect {
					continue
				}
				if f.Op != wire.OpSetWatches {
					behind = true
					continue
				}
				assert.Assert(t, !behind, "%v behind other requests", f)
				assert.Assert(t, f.Len+4 <= 128<<10, "a frame of %d bytes", f.Len)
				assert.Equal(t, f.Zxid, floor)
				sets++
			}
			least := n * (4 + length) / (128 << 10)
			assert.Assert(t, sets > least && sets <= least+3, "%d frames", sets)
		}
		got := make(map[string]zk.EventType)
		for range changed {
			ev := await(t, ch)
			assert.Equal(t, got[ev.Path], zk.EventType(0), "%+v twice", ev)
			got[ev.Path] = ev.Type
		}
		for _, i := range changed {
			assert.Equal(t, got[paths[i]], []zk.EventType{zk.Created, zk.Child, zk.Changed, zk.Changed}[i%4])
		}
		e.none(s, ch)
		assert.Equal(t, s.Stats().Armed, n-len(changed))

		// The rest is armed as before: each once.
		for i := 100; i < n; i += 97 {
			if i%4 < 2 {
				continue
			}
			e.set(s, paths[i], "y")
			e.ready(ch, zk.Changed, paths[i])
		}
		e.none(s, ch)
	})
}

// A Dial that dies between two frames of watches, whatever the first one's reply
// said, loses nothing on the next.
func TestDialDiesBetweenFrames(t *testing.T) {
	e := private(t, 1)
	writer := e.session()
	const n = 3000
	for cut := range 3 {
		s := e.session()
		ch := make(chan zk.Event, n)
		top := e.create(s, fmt.Sprintf("/%d", cut), "")
		var ops []zk.Op
		for i := range n {
			p := fmt.Sprintf("%s/%04d%s", top, i, strings.Repeat("x", 100))
			ops = append(ops, zk.CreateOp{Path: p, ACL: zk.ACLOpen}, zk.GetOp{Path: p, Watch: ch})
		}
		_, err := s.Batch(e.ctx, ops...)
		assert.NilError(t, err)
		conf := s.Detach()
		for i := 1; i < len(ops); i += 200 {
			e.set(writer, ops[i].(zk.GetOp).Path, "x")
		}
		e.sim.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpSetWatches, Skip: cut, Do: zktest.CutAfter})
		e.sim.ForgetFrames()
		_, err = zk.Dial(e.ctx, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.ErrorIs(t, err, zk.ErrConnection)
		for i := 101; i < len(ops); i += 200 {
			e.set(writer, ops[i].(zk.GetOp).Path, "x")
		}
		e.dial(conf)
		for _, f := range frames(e, zktest.FromClient, wire.OpSetWatches) {
			assert.Equal(t, f.Zxid, conf.Zxid)
		}
		got := make(map[string]int)
		for range n / 50 {
			got[await(t, ch).Path]++
		}
		for i := 1; i < len(ops); i += 100 {
			p := ops[i].(zk.GetOp).Path
			assert.Equal(t, got[p], 1, "events of %s", p)
		}
		assert.Equal(t, len(ch), 0)
	}
}

// Persistent kinds and one-shots are restored together, each once however many
// channels it has.
func TestRestoreEveryKind(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		writer := e.session()
		chans := make(map[string][]chan zk.Event)
		for _, a := range armersOf(e) {
			p := e.root + "/" + a.name
			if a.name != "missing" {
				e.create(s, p, "")
			}
			for range 3 {
				ch := make(chan zk.Event, 10)
				chans[a.name] = append(chans[a.name], ch)
				assert.NilError(t, a.arm(e, s, p, ch))
			}
		}
		for range 3 {
			e.cut(s, l)
			s = e.move(s)
		}
		assert.Equal(t, s.Stats().Armed, 3*len(armersOf(e)))
		for _, a := range armersOf(e) {
			p := e.root + "/" + a.name
			typ := zk.Deleted
			if a.name == "missing" {
				typ = zk.Created
				e.create(writer, p, "")
			} else {
				e.fence(writer)
				e.delete(writer, p)
			}
			for _, ch := range chans[a.name] {
				ev := await(t, ch)
				for ev.Type == zk.Gap { // others use the server too
					ev = await(t, ch)
				}
				assert.Equal(t, fmt.Sprint(ev.Type, ev.Path), fmt.Sprint(typ, p))
				e.none(s, ch)
			}
		}
	})
}

// Watches.List numbers channels, and tells what has fired.
func TestWatchesList(t *testing.T) {
	since(t, zktest.V36, func(t *testing.T, e *env) {
		var nothing *zk.Watches
		assert.Assert(t, nothing.List() == nil && nothing.Len() == 0 && nothing.Undelivered() == 0)
		s := e.session()
		one, full := make(chan zk.Event, 5), make(chan zk.Event)
		a, b := e.create(s, e.root+"/a", ""), e.create(s, e.root+"/b", "")
		e.watch(s, a, one)
		e.watch(s, b, full)
		assert.NilError(t, errOf2(s.Children(e.ctx, a, full)))
		assert.NilError(t, s.AddWatch(e.ctx, b, zk.WatchRecursive, one))
		w := s.Config().Watches
		list := w.List()
		assert.Equal(t, len(list), 4)
		number := make(map[string]int)
		for _, x := range list {
			assert.Assert(t, !x.Fired)
			number[fmt.Sprint(x.Kind, x.Path)] = x.Channel
		}
		assert.Equal(t, number[fmt.Sprint(zk.DataWatch, a)], number[fmt.Sprint(zk.RecursiveWatch, b)])
		assert.Equal(t, number[fmt.Sprint(zk.DataWatch, b)], number[fmt.Sprint(zk.ChildWatch, a)])
		assert.Assert(t, number[fmt.Sprint(zk.DataWatch, a)] != number[fmt.Sprint(zk.DataWatch, b)])
		e.set(s, b, "x")
		fired := slices.DeleteFunc(w.List(), func(x zk.Watch) bool { return !x.Fired })
		assert.Assert(t, len(fired) >= 1, "%+v", fired) // the full channel, and the other if it came second
		assert.Equal(t, w.Len(), 3)
		e.want(full, zk.Changed, b)
		e.want(one, zk.Changed, b)
		assert.Equal(t, w.Undelivered(), 0)
		assert.Equal(t, len(w.List()), 3)
	})
}

// An event for which nobody is armed any more is counted and forgotten.
func TestIgnoredEvents(t *testing.T) {
	e := private(t, 1)
	s := e.session()
	for i := range 10 {
		ch := make(chan zk.Event, 1)
		e.watch(s, "/", ch)
		assert.NilError(t, s.RemoveWatch(e.ctx, "/", ch))
		e.set(s, "/", "x")
		assert.Equal(t, s.Stats().Ignored, int64(i+1))
		e.none(s, ch)
	}
	assert.Equal(t, s.Stats().Events, int64(0))
}

// An unread channel costs no more than its event, for as long as it takes.
func TestUnreadForAnHour(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, e *env) {
		conf, _ := e.config()
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		full, later := make(chan zk.Event), make(chan zk.Event, 1)
		for path, ch := range map[string]chan zk.Event{"/a": full, "/b": later} {
			_, err := s.Create(context.Background(), path, nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
			_, _, err = s.Get(context.Background(), path, ch)
			assert.NilError(t, err)
		}
		_, err = s.Set(context.Background(), "/a", nil, zk.AnyVersion)
		assert.NilError(t, err)
		for range 60 {
			time.Sleep(time.Minute)
			_, err := s.Set(context.Background(), "/b", nil, zk.AnyVersion)
			assert.NilError(t, err)
		}
		assert.NilError(t, s.Err())
		assert.Equal(t, s.Stats().Queued, 2)
		ev := <-full
		assert.Equal(t, ev.Path, "/a")
		synctest.Wait()
		assert.Equal(t, len(later), 1)
		assert.NilError(t, s.Close())
	})
}

// liveHeap returns the bytes of what is reachable.
func liveHeap() int64 {
	var m runtime.MemStats
	for range 2 { // the first may leave what has a finalizer
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Watches that fired or were removed leave nothing behind, of their channels
// neither, which nobody closes.
func TestNothingOfWatchesIsLeft(t *testing.T) {
	n := 100_000
	if raceEnabled || testing.Short() {
		n = 20_000
	}
	const batch, paths = 500, 50
	e := private(t, 1, zktest.Options{InMemory: true, FrameLog: -1, MaxSessionTimeout: time.Minute})
	s := e.session()
	for i := range paths {
		e.create(s, fmt.Sprintf("/%d", i), "")
	}
	var before int64
	for done := 0; done < n; done += batch {
		if done == 4*batch {
			before = liveHeap()
		}
		ops, chans := make([]zk.Op, batch), make([]chan zk.Event, batch)
		for i := range ops {
			chans[i] = make(chan zk.Event, 16)
			switch path := fmt.Sprintf("/%d", i%paths); i % 3 {
			case 0:
				ops[i] = zk.GetOp{Path: path, Watch: chans[i]}
			case 1:
				ops[i] = zk.ChildrenOp{Path: path, Watch: chans[i]}
			default:
				ops[i] = zk.ExistsOp{Path: path, Watch: chans[i]}
			}
		}
		_, err := s.Batch(e.ctx, ops...)
		assert.NilError(t, err)
		if done/batch%10 == 0 { // some of them fire
			for i := range paths {
				e.set(s, fmt.Sprintf("/%d", i), "")
			}
		}
		for i, ch := range chans {
			path := fmt.Sprintf("/%d", i%paths)
			if len(ch) == 0 {
				assert.NilError(t, s.RemoveWatch(e.ctx, path, ch))
			}
			ch = make(chan zk.Event, 16)
			assert.NilError(t, s.AddWatch(e.ctx, path, zk.WatchMode(i%2), ch))
			assert.NilError(t, s.RemoveWatch(e.ctx, path, ch))
		}
	}
	assert.Equal(t, s.Stats().Armed, 0)
	assert.Equal(t, s.Config().Watches.Len(), 0)
	after := liveHeap()
	t.Logf("%d bytes are live, %d were", after, before)
	assert.Assert(t, after-before < 1<<20, "%d bytes are live, %d were", after, before)
}

// A channel of a persistent watch that nobody reads takes what its queued events
// take, and no more after a day than after an hour of other work.
func TestUnreadForADay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		unread := make(chan zk.Event)
		arm(t, s, l, zk.PersistentWatch, "/p", unread)
		l.serve(func(a asked) [][]byte {
			if a.Op == wire.OpSync {
				return [][]byte{happened(zk.Changed, "/nobody", -1), fitting(a, 2)}
			}
			return [][]byte{fitting(a, 2)}
		})
		const queued = 1000
		for range queued {
			l.send(happened(zk.Changed, "/p", -1))
		}
		assert.NilError(t, s.Sync(bg, "/"))
		assert.Equal(t, s.Stats().Queued, queued)
		hour := func() int64 {
			for range 120 {
				time.Sleep(30 * time.Second)
				ch := make(chan zk.Event, 1)
				ctx, cancel := context.WithTimeout(bg, time.Nanosecond)
				s.Get(ctx, "/a", ch) // perhaps given up
				cancel()
				assert.NilError(t, errOf2(s.Children(bg, "/a", ch)))
				assert.NilError(t, s.Sync(bg, "/"))
				assert.NilError(t, s.RemoveWatch(bg, "/a", ch))
			}
			assert.Equal(t, s.Config().Watches.Len(), 1)
			return liveHeap()
		}
		first, last := hour(), int64(0)
		for range 23 {
			last = hour()
		}
		assert.Equal(t, s.Stats().Queued, queued)
		assert.Assert(t, s.Stats().Ignored > 24*100)
		assert.Assert(t, last-first < 64<<10, "%d bytes are live, %d were after an hour", last, first)
		t.Logf("%d bytes are live, %d were after an hour", last, first)
		for range queued {
			assert.Equal(t, told(<-unread), "changed /p")
		}
		assert.NilError(t, s.Close())
	})
}
