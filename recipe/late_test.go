package recipe_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestR21_CreateTurnsUpLate(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		_, err := s.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		// As if a create that was lost were executed only after its repetition.
		var made []string
		for range 3 {
			path, err := s.Create(bg, "/l/_c_01234567-89ab-cdef-0123-456789abcdef-lock-", nil, zk.EphemeralSequential, zk.ACLOpen)
			assert.NilError(t, err)
			made = append(made, path)
		}
		h, err := (&recipe.Lock{Path: "/l", GUID: someGUID}).Acquire(bg, s)
		assert.NilError(t, err)
		assert.Equal(t, h.Path(), made[0])
		assert.Equal(t, len(r.children("/l")), 1)
		assert.NilError(t, h.Release())
	})
	bubble(t, func(r *rig) { // while it waits
		s, other := r.dial(), r.dial()
		h := r.hold(other, "/l")
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l", GUID: someGUID}).Acquire(bg, s) })
		_, err := s.Create(bg, "/l/_c_01234567-89ab-cdef-0123-456789abcdef-lock-", nil, zk.EphemeralSequential, zk.ACLOpen)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
		res := <-got
		assert.NilError(t, res.err)
		assert.Equal(t, len(r.children("/l")), 1)
		assert.NilError(t, res.h.Release())
	})
}

// A server that stood still executes a create when the session comes back to it:
// after it was looked for, sent again, and even released.
func TestR21_CreateTurnsUpAtTheEnd(t *testing.T) {
	lost := func(r *rig, s *zk.Session) {
		r.Fault(zktest.Rule{Session: s.ID(), Do: zktest.CutBefore, Match: func(f zktest.Frame) bool { return f.Op == wire.OpCreate || f.Op == wire.OpCreate2 }})
	}
	guid := regexp.MustCompile(`_c_[-0-9a-f]{36}-`)
	// late is the create, executed now.
	late := func(r *rig, s *zk.Session, path string) {
		_, err := s.Create(bg, strings.TrimRight(path, "0123456789"), nil, zk.EphemeralSequential, zk.ACLOpen)
		assert.NilError(r, err)
	}
	setup := func(r *rig) *zk.Session {
		s := r.dial()
		_, err := s.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(r, err)
		lost(r, s)
		return s
	}
	bubble(t, func(r *rig) {
		s := setup(r)
		lock := recipe.Lock{Path: "/l"}
		h, s, err := again(s, func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) })
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
		for range 3 { // not on the next connection, but on a later one
			r.Cut(s.ID())
			<-s.Done()
			s = redial(t, s)
			synctest.Wait()
		}
		late(r, s, h.Path())
		assert.Equal(t, len(r.children("/l")), 1)
		r.Cut(s.ID())
		<-s.Done()
		s = redial(t, s)
		synctest.Wait()
		assert.Equal(t, len(r.children("/l")), 0)
		h = r.hold(s, "/l") // and no other is touched
		r.Cut(s.ID())
		<-s.Done()
		redial(t, s)
		synctest.Wait()
		assert.NilError(t, h.Err())
		assert.NilError(t, h.Release())
	})
	bubble(t, func(r *rig) { // while it is held: it goes with the hold
		s := setup(r)
		lock := recipe.Lock{Path: "/l"}
		h, s, err := again(s, func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) })
		assert.NilError(t, err)
		late(r, s, h.Path())
		assert.NilError(t, h.Release())
		synctest.Wait()
		assert.Equal(t, len(r.children("/l")), 0)
		assert.NilError(t, s.Close())
	})
	bubble(t, func(r *rig) { // after the call was given up
		s := setup(r)
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, err := (&recipe.Lock{Path: "/l"}).Acquire(ctx, s)
		assert.ErrorIs(t, err, zk.ErrConnection)
		time.Sleep(time.Second)
		asked := ""
		s = redial(t, s)
		_, err = (&recipe.Lock{Path: "/l"}).Acquire(ctx, s)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(20 * time.Second) // the place is not kept any more
		for _, f := range r.Frames() {
			if name := guid.FindString(f.Path); name != "" {
				asked = name
			}
		}
		late(r, s, "/l/"+asked+"lock-")
		r.Cut(s.ID())
		<-s.Done()
		redial(t, s)
		synctest.Wait()
		assert.Equal(t, len(r.children("/l")), 0)
	})
	bubble(t, func(r *rig) { // what CreateProtected has returned stays
		s := setup(r)
		path, s, err := again(s, func(s *zk.Session) (string, error) { return recipe.CreateProtected(bg, s, "/l/job-", nil, nil) })
		assert.NilError(t, err)
		late(r, s, path)
		r.Cut(s.ID())
		<-s.Done()
		s = redial(t, s)
		synctest.Wait()
		assert.DeepEqual(t, r.children("/l"), []string{path[3:]})
		assert.NilError(t, s.Close())
	})
	bubble(t, func(r *rig) { // a hold that was handed over stays
		s := setup(r)
		lock := recipe.Lock{Path: "/l"}
		h, s, err := again(s, func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) })
		assert.NilError(t, err)
		lock.GUID = h.Detach()
		synctest.Wait()
		h2, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		assert.Equal(t, h2.Token(), h.Token())
		r.Cut(s.ID())
		<-s.Done()
		redial(t, s)
		synctest.Wait()
		assert.NilError(t, h2.Err())
		assert.NilError(t, h2.Release())
	})
}

// What has a given GUID is undone as well, unless another process may go on with
// that GUID: when the session was detached.
func TestR21_GivenGUIDTurnsUpAtTheEnd(t *testing.T) {
	const name = "/l/_c_01234567-89ab-cdef-0123-456789abcdef-lock-"
	lock := recipe.Lock{Path: "/l", GUID: someGUID}
	late := func(r *rig, s *zk.Session) {
		_, err := s.Create(bg, name, nil, zk.EphemeralSequential, zk.ACLOpen)
		assert.NilError(r, err)
		assert.Equal(r, len(r.children("/l")), 1)
	}
	over := func(r *rig) *zk.Session { // a create was lost, sent again, and its hold is over
		s := r.dial()
		_, err := s.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(r, err)
		r.Fault(zktest.Rule{Session: s.ID(), Do: zktest.CutBefore, Match: func(f zktest.Frame) bool { return f.Op == wire.OpCreate2 }})
		h, s, err := again(s, func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) })
		assert.NilError(r, err)
		assert.NilError(r, h.Release())
		synctest.Wait() // it has been looked for
		return s
	}
	bubble(t, func(r *rig) {
		s := r.move(over(r))
		late(r, s)
		r.move(s)
		assert.Equal(t, len(r.children("/l")), 0)
	})
	bubble(t, func(r *rig) { // the next contender with that GUID takes it up
		s := over(r)
		late(r, s)
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		s = r.move(s)
		assert.NilError(t, h.Err())
		assert.Equal(t, len(r.children("/l")), 1)
		assert.NilError(t, h.Release())
		late(r, s)
		r.move(s)
		assert.Equal(t, len(r.children("/l")), 0)
	})
	bubble(t, func(r *rig) { // and waits while it is being deleted
		s := over(r)
		late(r, s)
		r.ForgetFrames()
		r.Fault(zktest.Rule{Session: s.ID(), Dir: zktest.ToClient, Op: wire.OpExists, Delay: time.Second})
		s = r.move(s)
		ctx, cancel := context.WithTimeout(bg, time.Millisecond)
		defer cancel()
		_, err := lock.Acquire(ctx, s)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		sent := r.requests(s.ID())
		assert.Equal(t, sent[slices.Index(sent, wire.OpExists)+1], wire.OpDelete)
		assert.NilError(t, h.Err())
		assert.NilError(t, h.Release())
	})
	bubble(t, func(r *rig) { // by another process, which takes the session over and gives it back
		s := over(r)
		s, err := zk.Dial(bg, s.Detach())
		assert.NilError(t, err)
		late(r, s)
		s = r.move(s)
		assert.Equal(t, len(r.children("/l")), 1)
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
	})
}

// lateCreate is a create that a server has read and not executed yet.
type lateCreate struct {
	*rig
	wire.CreateRequest
}

// loseCreate has the next create of an ephemeral below dir end the connection
// before it is executed.
func (r *rig) loseCreate(s *zk.Session, dir string) {
	r.Fault(zktest.Rule{Session: s.ID(), Do: zktest.CutBefore, Match: func(f zktest.Frame) bool {
		return (f.Op == wire.OpCreate || f.Op == wire.OpCreate2) && strings.HasPrefix(f.Path, r.chroot+dir+"/") && r.createOf(f).Flags == int32(zk.Ephemeral)
	}})
}

func (r *rig) createOf(f zktest.Frame) (q wire.CreateRequest) {
	r.Helper()
	d := wire.NewDecoder(f.Raw)
	d.Int32() // the xid
	d.Int32() // the type
	q.Decode(&d)
	return q
}

// lost returns the first create of an ephemeral below dir in the log.
func (r *rig) lost(dir string) lateCreate {
	r.Helper()
	for _, f := range r.Frames() {
		if f.Dir == zktest.FromClient && (f.Op == wire.OpCreate || f.Op == wire.OpCreate2) && strings.HasPrefix(f.Path, r.chroot+dir+"/") {
			if q := r.createOf(f); q.Flags == int32(zk.Ephemeral) {
				return lateCreate{r, q}
			}
		}
	}
	r.Fatal("no create")
	return lateCreate{}
}

func (l lateCreate) path() string { return strings.TrimPrefix(l.Path, l.chroot) }

// execute executes it, by the session that comes back to the server.
func (l lateCreate) execute(s *zk.Session) error {
	_, err := s.Create(bg, l.path(), l.Data, zk.Ephemeral, zk.ACLOpen)
	return err
}

// move has a session go on with another connection.
func (r *rig) move(s *zk.Session) *zk.Session {
	r.Helper()
	r.Cut(s.ID())
	<-s.Done()
	s = redial(r, s)
	synctest.Wait()
	return s
}

// A create of a fixed name that was lost, and is executed when all is over, is
// undone as well: after a call that was given up, and after a release.
func TestR21_FixedNameTurnsUpAtTheEnd(t *testing.T) {
	for _, test := range []struct {
		name, dir string
		f         func(ctx context.Context, s *zk.Session) (*recipe.Hold, error)
	}{
		{"Own", "/l", func(ctx context.Context, s *zk.Session) (*recipe.Hold, error) {
			return recipe.Own(ctx, s, "/l/me", []byte("x"), nil)
		}},
		{"Group", "/l", func(ctx context.Context, s *zk.Session) (*recipe.Hold, error) {
			return (&recipe.Group{Path: "/l"}).Join(ctx, s, "me", []byte("x"))
		}},
		{"Group of kazoo", "/l", func(ctx context.Context, s *zk.Session) (*recipe.Hold, error) {
			return (&recipe.Group{Path: "/l", Layout: recipe.Kazoo}).Join(ctx, s, "me", nil)
		}},
		{"Semaphore of kazoo", "/l", (&recipe.Semaphore{Path: "/l", Max: 2, Layout: recipe.Kazoo}).Acquire},
		{"DoubleBarrier", "/l", (&recipe.DoubleBarrier{Path: "/l", Members: 1}).Enter},
		{"Queue", "/l/taken", func(ctx context.Context, s *zk.Session) (*recipe.Hold, error) {
			item, err := (&recipe.Queue{Path: "/l"}).Take(ctx, s)
			if err != nil {
				return nil, err
			}
			return item.Hold, nil
		}},
	} {
		setup := func(r *rig) (s *zk.Session, before []string) {
			s = r.dial()
			assert.NilError(r, (&recipe.Queue{Path: "/l"}).Put(bg, s, nil, 0)) // makes /l
			if test.dir != "/l" {
				assert.NilError(r, (&recipe.Barrier{Path: test.dir}).Set(bg, s))
			}
			r.deleteOnce(s)
			r.ForgetFrames()
			r.loseCreate(s, test.dir)
			return s, r.children(test.dir)
		}
		end := func(r *rig, s *zk.Session, before []string) {
			for range 3 { // not on the next connection, but on a later one
				s = r.move(s)
			}
			late := r.lost(test.dir)
			assert.NilError(r, late.execute(s))
			assert.Equal(r, len(r.children(test.dir)), len(before)+1)
			s = r.move(s)
			assert.DeepEqual(r, r.children(test.dir), before)
			r.ForgetFrames() // it is over: nothing is asked any more
			s = r.move(s)
			assert.Equal(r, len(r.requests(s.ID())), 0)
		}
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(r *rig) { // released
				s, before := setup(r)
				h, s, err := again(s, func(s *zk.Session) (*recipe.Hold, error) { return test.f(bg, s) })
				assert.NilError(t, err)
				assert.Check(t, len(r.lost(test.dir).Path) > 0)
				assert.NilError(t, h.Release())
				synctest.Wait()
				if test.name == "DoubleBarrier" {
					assert.NilError(t, s.Delete(bg, "/l/ready", zk.AnyVersion))
				}
				end(r, s, before)
			}, zktest.Options{Raw: true})
			bubble(t, func(r *rig) { // given up
				s, before := setup(r)
				_, err := test.f(bg, s)
				assert.ErrorIs(t, err, zk.ErrConnection)
				s = redial(t, s)
				time.Sleep(r.timeout + time.Second) // the place is not kept any more
				end(r, s, before)
			}, zktest.Options{Raw: true})
		})
	}
}

// deleteOnce deletes the markers of a queue.
func (r *rig) deleteOnce(s *zk.Session) {
	r.Helper()
	for _, name := range r.children("/l") {
		if strings.HasPrefix(name, "_once_") {
			assert.NilError(r, s.Delete(bg, "/l/"+name, zk.AnyVersion))
		}
	}
}

// What has the fixed name by then is not deleted if it is somebody's.
func TestR21_FixedNameOfAnother(t *testing.T) {
	lose := func(r *rig) (s *zk.Session) {
		s = r.dial()
		assert.NilError(r, (&recipe.Barrier{Path: "/l"}).Set(bg, s))
		r.loseCreate(s, "/l")
		_, err := recipe.Own(bg, s, "/l/me", []byte("x"), nil)
		assert.ErrorIs(r, err, zk.ErrConnection)
		s = redial(r, s)
		time.Sleep(r.timeout + time.Second)
		return s
	}
	raw := zktest.Options{Raw: true}
	bubble(t, func(r *rig) { // the next call's, which finds it there
		s := lose(r)
		assert.NilError(t, r.lost("/l").execute(s))
		h, err := recipe.Own(bg, s, "/l/me", []byte("x"), nil)
		assert.NilError(t, err)
		s = r.move(s)
		assert.NilError(t, h.Err())
		assert.NilError(t, h.Release())
		assert.NilError(t, r.lost("/l").execute(s)) // as if it were that one's
		r.move(s)
		assert.Equal(t, len(r.children("/l")), 0)
	}, raw)
	bubble(t, func(r *rig) { // the next call's, which makes it
		s := lose(r)
		h, err := recipe.Own(bg, s, "/l/me", []byte("x"), nil)
		assert.NilError(t, err)
		s = r.move(s)
		assert.ErrorIs(t, r.lost("/l").execute(s), zk.ErrExists)
		second, err := recipe.Own(bg, s, "/l/me", []byte("y"), nil) // another one has it, too
		assert.NilError(t, err)
		r.move(s)
		assert.NilError(t, h.Err())
		assert.NilError(t, second.Err())
		assert.NilError(t, h.Release())
		<-second.Lost()
		assert.ErrorIs(t, second.Release(), recipe.ErrNotHeld)
	}, raw)
	bubble(t, func(r *rig) { // another session's
		s, other := lose(r), r.dial()
		h, err := recipe.Own(bg, other, "/l/me", nil, nil)
		assert.NilError(t, err)
		r.move(s)
		assert.NilError(t, h.Err())
		assert.NilError(t, h.Release())
	}, raw)
	bubble(t, func(r *rig) { // one of this session that was set since, by somebody who is not seen here
		s := lose(r)
		assert.NilError(t, r.lost("/l").execute(s))
		_, err := s.Set(bg, "/l/me", nil, 0)
		assert.NilError(t, err)
		s = r.move(s)
		assert.DeepEqual(t, r.children("/l"), []string{"me"})
		assert.NilError(t, s.Close())
	}, raw)
	bubble(t, func(r *rig) { // one that was detached
		s := lose(r)
		h, err := recipe.Own(bg, s, "/l/me", nil, nil)
		assert.NilError(t, err)
		h.Detach()
		s = r.move(s)
		assert.DeepEqual(t, r.children("/l"), []string{"me"})
		assert.NilError(t, s.Close())
	}, raw)
	bubble(t, func(r *rig) { // that of Once, which is to stay
		s := r.dial()
		assert.NilError(t, (&recipe.Barrier{Path: "/l"}).Set(bg, s))
		r.loseCreate(s, "/l")
		once := recipe.Once{Path: "/l/me"}
		_, s, err := again(s, func(s *zk.Session) (bool, error) {
			_, _, err := once.Do(bg, s, zk.SetOp{Path: "/none", Version: zk.AnyVersion})
			return false, err
		})
		assert.ErrorIs(t, err, zk.ErrNoNode) // the marker has counted nothing yet
		s = r.move(s)
		assert.DeepEqual(t, r.children("/l"), []string{"me"})
		assert.NilError(t, s.Close())
	}, raw)
	bubble(t, func(r *rig) { // an entry that a later Take has
		s := r.dial()
		q := &recipe.Queue{Path: "/l"}
		assert.NilError(t, q.Put(bg, s, nil, 0))
		assert.NilError(t, (&recipe.Barrier{Path: "/l/taken"}).Set(bg, s))
		r.loseCreate(s, "/l/taken")
		_, err := q.Take(bg, s)
		assert.ErrorIs(t, err, zk.ErrConnection)
		s = redial(t, s)
		time.Sleep(r.timeout + time.Second)
		item, err := q.Take(bg, s)
		assert.NilError(t, err)
		s = r.move(s)
		assert.NilError(t, item.Err())
		assert.NilError(t, item.Done(bg, s))
		assert.Check(t, !slices.Contains(r.children("/l"), "entry"))
	}, raw)
}
