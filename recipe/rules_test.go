package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// hold acquires a lock that must be free.
func (r *rig) hold(s *zk.Session, path string) *recipe.Hold {
	r.Helper()
	h, err := (&recipe.Lock{Path: path}).TryAcquire(bg, s)
	assert.NilError(r, err)
	return h
}

// waiting begins to wait for something, and returns what comes of it.
type result struct {
	h   *recipe.Hold
	err error
}

func (r *rig) waiting(f func() (*recipe.Hold, error)) <-chan result {
	got := make(chan result, 1)
	go func() {
		h, err := f()
		got <- result{h, err}
	}()
	synctest.Wait()
	return got
}

func TestR01_NeverDials(t *testing.T) {
	bubble(t, func(r *rig) {
		var dials atomic.Int32
		conf := r.conf()
		conf.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return r.DialContext(ctx, network, addr)
		}
		s, err := zk.Dial(bg, conf)
		assert.NilError(t, err)
		other := r.dial()
		h := r.hold(other, "/l")
		own := r.hold(s, "/mine")
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, s) })
		r.Cut(s.ID())
		assert.ErrorIs(t, (<-got).err, zk.ErrConnection)
		time.Sleep(20 * time.Second)
		assert.ErrorIs(t, own.Err(), recipe.ErrNotHeld)
		_, err = (&recipe.Lock{Path: "/l"}).Acquire(bg, s)
		assert.ErrorIs(t, err, zk.ErrConnection)
		assert.Equal(t, dials.Load(), int32(1))
		assert.NilError(t, h.Release())
		assert.ErrorIs(t, own.Release(), recipe.ErrNotHeld)
	})
}

func TestR03_OldServer(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		m := recipe.Semaphore{Path: "/sem", Max: 1, KeepDir: true}
		h, err := m.Acquire(bg, s)
		assert.NilError(t, err)
		assert.NilError(t, s.Err())
		assert.NilError(t, h.Release())
		l := recipe.Lock{Path: "/l", KeepDir: true}
		h, err = l.Acquire(bg, s)
		assert.NilError(t, err)
		assert.Check(t, h.Token() > 0)
		assert.NilError(t, h.Release())
	}, zktest.Options{Version: zktest.V34})
	bubble(t, func(r *rig) { // an answer that redialing does not help stays one
		s := r.dial()
		q := recipe.Queue{Path: "/q"}
		assert.NilError(t, q.Put(bg, s, nil, 0)) // on 3.9
		conf := r.conf()
		conf.MaxReply = 300
		small, err := zk.Dial(bg, conf)
		assert.NilError(t, err)
		defer small.Close()
		for i := range 20 {
			_, err := s.Create(bg, fmt.Sprintf("/l%d", i), nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
		}
		_, err = s.Create(bg, "/big", make([]byte, 1000), zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		_, err = (&recipe.Counter{Path: "/big"}).Get(bg, small)
		assert.Check(t, zk.Hopeless(err), err)
	})
}

func TestR04_Container(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		lock := recipe.Lock{Path: "/locks/a"}
		_, err := lock.Acquire(bg, s)
		assert.ErrorIs(t, err, zk.ErrConnection)
		assert.Check(t, !zk.Hopeless(err))
		s = redial(t, s)
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
		h, err = (&recipe.Lock{Path: "/locks/b"}).Acquire(bg, s)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
		assert.NilError(t, s.Err())
	}, zktest.Options{Version: zktest.V34})
	bubble(t, func(r *rig) {
		s := r.dial()
		r.hold(s, "/locks/a").Release()
		h, err := (&recipe.Lock{Path: "/locks/b", KeepDir: true}).Acquire(bg, s)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
		time.Sleep(time.Second)
		assert.DeepEqual(t, r.children("/locks"), []string{"b"})
	})
}

func TestR05_DirectoryVanishes(t *testing.T) {
	bubble(t, func(r *rig) {
		s, admin := r.dial(), r.dial()
		h := r.hold(admin, "/l")
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, s) })
		r.deleteAll(admin, "/l")
		res := <-got
		assert.NilError(t, res.err)
		<-h.Lost()
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
		assert.NilError(t, res.h.Release())

		f := r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpGetChildren2, Delay: time.Second}) // after the create
		got = r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, s) })
		<-f.Struck()
		synctest.Wait()
		r.deleteAll(admin, "/l")
		res = <-got
		assert.NilError(t, res.err)
		assert.NilError(t, res.h.Release())
	})
}

// deleteAll deletes a directory with its children at once.
func (r *rig) deleteAll(s *zk.Session, dir string) {
	r.Helper()
	var ops []zk.WriteOp
	for _, name := range r.children(dir) {
		ops = append(ops, zk.DeleteOp{Path: dir + "/" + name, Version: zk.AnyVersion})
	}
	_, err := s.Multi(bg, append(ops, zk.DeleteOp{Path: dir, Version: zk.AnyVersion})...)
	assert.NilError(r, err)
}

func TestR06_ParentsOfOthers(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		readOnly := zk.ACL{{Perms: zk.PermRead, Scheme: "world", ID: "anyone"}}
		_, err := s.Create(bg, "/p", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		_, err = s.Create(bg, "/p/q", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		_, err = s.SetACL(bg, "/p", readOnly, zk.AnyVersion)
		assert.NilError(t, err)
		h := r.hold(s, "/p/q/deep/lock")
		assert.NilError(t, h.Release())
		_, err = (&recipe.Lock{Path: "/p/other/lock"}).Acquire(bg, s)
		assert.ErrorIs(t, err, zk.ErrNoAuth)
		assert.ErrorIs(t, (&recipe.Barrier{Path: "/p/other/b"}).Set(bg, s), zk.ErrNoAuth)
		assert.NilError(t, (&recipe.Barrier{Path: "/p/q/x/b"}).Set(bg, s))
	})
}

func TestR07_Watches(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.dial(), r.dial()
		h := r.hold(a, "/l")
		for range 1000 {
			ctx, cancel := context.WithTimeout(bg, time.Millisecond)
			_, err := (&recipe.Lock{Path: "/l"}).Acquire(ctx, b)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
		}
		assert.Equal(t, b.Watches().Len(), 0)
		for range 20 { // the connection ends with the watches armed
			got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, b) })
			r.Cut(b.ID())
			assert.ErrorIs(t, (<-got).err, zk.ErrConnection)
			b = redial(t, b)
		}
		barrier := &recipe.Barrier{Path: "/b"}
		assert.NilError(t, barrier.Set(bg, a))
		got := r.waiting(func() (*recipe.Hold, error) { return nil, barrier.Wait(bg, b) })
		r.Cut(b.ID())
		assert.ErrorIs(t, (<-got).err, zk.ErrConnection)
		b = redial(t, b)
		time.Sleep(15 * time.Second)
		_, err := (&recipe.Lock{Path: "/l"}).Contenders(bg, b)
		assert.NilError(t, err)
		assert.Check(t, b.Watches().Len() == 0, "%v", b.Watches().List())
		assert.Equal(t, b.Watches().Undelivered(), 0)
		assert.NilError(t, h.Release())
	})
}

// What waits for a redial that nobody makes ends four timeouts after the last sign
// of life: the bubble would not end before.
func TestR08_NobodyRedials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.NewEnsemble(t, 1, zktest.Options{InMemory: true})
		r := &rig{T: t, Ensemble: e, timeout: 10 * time.Second}
		s, err := zk.Dial(bg, r.conf())
		assert.NilError(t, err)
		h := r.hold(s, "/l")
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, s) })
		r.Cut(s.ID())
		assert.ErrorIs(t, (<-got).err, zk.ErrConnection)
		start := time.Now()
		err = h.Release()
		assert.ErrorIs(t, err, zk.ErrConnection)
		assert.Equal(t, time.Since(start), s.Timeout()/3)
		assert.Equal(t, h.Release(), err)
		time.Sleep(time.Until(s.ExpiresAt().Add(s.Timeout()*13/4 + time.Millisecond)))
	})
}

// The clock of a Contender is the server's; nothing else reads a calendar.
func TestR09_Clock(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		time.Sleep(90 * time.Second)
		h := r.hold(s, "/l")
		defer h.Release()
		found, err := (&recipe.Lock{Path: "/l"}).Contenders(bg, s)
		assert.NilError(t, err)
		assert.Equal(t, len(found), 1)
		assert.Equal(t, found[0].Since.UnixMilli(), time.Now().UnixMilli())
		assert.Equal(t, found[0].ID, s.ID())
		assert.Check(t, found[0].Holds && found[0].Token == h.Token() && found[0].Path == h.Path())
	})
	files, err := filepath.Glob("*.go")
	assert.NilError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		assert.NilError(t, err)
		for _, wall := range []string{".Unix()", ".UnixNano()", ".Round(0)", "time.Date(", ".UTC()"} {
			assert.Check(t, !strings.Contains(string(text), wall), "%s has %s", file, wall)
		}
	}
}

func TestR10_Chroot(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.dial(), r.dial()
		h := r.hold(a, "/l")
		assert.Check(t, strings.HasPrefix(h.Path(), "/l/_c_"), h.Path())
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, b) })
		assert.NilError(t, h.Release())
		res := <-got
		assert.NilError(t, res.err)
		_, err := res.h.Multi(bg, b, zk.CreateOp{Path: "/made", ACL: zk.ACLOpen})
		assert.NilError(t, err)
		assert.NilError(t, a.Delete(bg, res.h.Path(), zk.AnyVersion))
		<-res.h.Lost()
		_, err = res.h.Multi(bg, b, zk.CreateOp{Path: "/made2", ACL: zk.ACLOpen})
		assert.ErrorIs(t, err, recipe.ErrNotHeld)
		assert.Check(t, !errors.Is(err, zk.ErrNoNode))
	})
}

// A chroot that does not exist is an error of whatever has to make something, and
// nothing is tried again and again.
func TestR10_MissingChroot(t *testing.T) {
	bubble(t, func(r *rig) {
		conf := r.conf()
		conf.Chroot += "/missing"
		s, err := zk.Dial(bg, conf)
		assert.NilError(t, err)
		hold := func(_ *recipe.Hold, err error) error { return err }
		for name, call := range map[string]func() error{
			"Lock":      func() error { return hold((&recipe.Lock{Path: "/x"}).Acquire(bg, s)) },
			"Semaphore": func() error { return hold((&recipe.Semaphore{Path: "/x", Max: 1}).Acquire(bg, s)) },
			"Semaphore, kazoo": func() error {
				return hold((&recipe.Semaphore{Path: "/x", Max: 1, Layout: recipe.Kazoo}).Acquire(bg, s))
			},
			"Own":             func() error { return hold(recipe.Own(bg, s, "/x", nil, nil)) },
			"Group":           func() error { return hold((&recipe.Group{Path: "/x"}).Join(bg, s, "id", nil)) },
			"Barrier":         func() error { return (&recipe.Barrier{Path: "/x"}).Set(bg, s) },
			"DoubleBarrier":   func() error { return hold((&recipe.DoubleBarrier{Path: "/x", Members: 1}).Enter(bg, s)) },
			"Once":            func() error { _, _, err := (&recipe.Once{Path: "/x"}).Do(bg, s); return err },
			"Counter":         func() error { _, err := (&recipe.Counter{Path: "/x"}).Add(bg, s, 1); return err },
			"Queue.Put":       func() error { return (&recipe.Queue{Path: "/x"}).Put(bg, s, nil, 1) },
			"Queue.Take":      func() error { _, err := (&recipe.Queue{Path: "/x"}).Take(bg, s); return err },
			"Partition":       func() error { return (&recipe.Partition{Path: "/x", ID: "id", Items: []string{"a"}}).Run(bg, s, idle) },
			"CreateProtected": func() error { _, err := recipe.CreateProtected(bg, s, "/x-", nil, nil); return err },
		} {
			r.ForgetFrames()
			got := make(chan error, 1)
			go func() { got <- call() }()
			select {
			case err := <-got:
				assert.Check(t, errors.Is(err, zk.ErrNoNode), "%s: %v", name, err)
			case <-r.Fault(zktest.Rule{Session: s.ID(), Skip: 10, Do: zktest.CutBefore}).Struck():
				t.Fatalf("%s is tried again and again", name)
			}
			r.Heal()
		}
		assert.NilError(t, s.Close())
	})
}

func TestR11_ReadOnly(t *testing.T) {
	bubble(t, func(r *rig) {
		if r.chroot != "" {
			return
		}
		conf := r.conf()
		conf.ReadOnly = true
		r.Member(0).SetReadOnly(true)
		s, err := zk.Dial(bg, conf)
		assert.NilError(t, err)
		_, err = (&recipe.Lock{Path: "/l"}).Acquire(bg, s)
		assert.Check(t, errors.Is(err, zk.ErrNotReadOnly), err)
		_, err = recipe.Own(bg, s, "/own", nil, nil)
		assert.Check(t, errors.Is(err, zk.ErrNotReadOnly), err)
		_, err = (&recipe.Counter{Path: "/c"}).Add(bg, s, 1)
		assert.Check(t, errors.Is(err, zk.ErrNotReadOnly), err)
		found, err := (&recipe.Lock{Path: "/l"}).Contenders(bg, s)
		assert.NilError(t, err)
		assert.Equal(t, len(found), 0)
		s.Close()
	})
	bubble(t, func(r *rig) { // a local session, which may have no ephemerals
		s := r.dial()
		assert.NilError(t, (&recipe.Barrier{Path: "/l"}).Set(bg, s))
		r.Fault(zktest.Rule{Session: s.ID(), Count: -1, Err: wire.ErrEphemeralOnLocalSession, Match: func(f zktest.Frame) bool {
			return f.Op == wire.OpCreate || f.Op == wire.OpCreate2
		}})
		_, err := (&recipe.Lock{Path: "/l"}).Acquire(bg, s)
		assert.ErrorIs(t, err, zk.ErrEphemeralOnLocalSession)
		_, err = recipe.Own(bg, s, "/l/own", nil, nil)
		assert.ErrorIs(t, err, zk.ErrEphemeralOnLocalSession)
		_, err = recipe.CreateProtected(bg, s, "/l/x-", nil, nil)
		assert.ErrorIs(t, err, zk.ErrEphemeralOnLocalSession)
		assert.NilError(t, s.Err())
		assert.Equal(t, len(r.children("/l")), 0)
	})
}
