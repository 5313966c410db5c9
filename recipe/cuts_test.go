package recipe_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// keepDialed redials what is lost, as the owner of the session does.
func (r *rig) keepDialed(s *zk.Session) (stop func()) {
	stopped := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-s.Done():
				next, err := s.Redial(bg)
				if err != nil {
					return
				}
				s = next
			case <-stopped:
				return
			}
		}
	})
	return func() { close(stopped); done.Wait() }
}

// acquireAll is a scenario of what has a Hold: acquire, again on lost
// connections, and release.
func acquireAll(f func(s *zk.Session) (*recipe.Hold, error), dirs ...string) scenario {
	return scenario{
		run: func(r *rig, s *zk.Session) {
			h, s, err := again(s, f)
			assert.NilError(r, err)
			assert.NilError(r, h.Err())
			owners := 0
			for _, dir := range dirs {
				owners += len(r.children(dir))
			}
			assert.Check(r, owners > 0)
			found, st, err := s.Exists(bg, h.Path(), nil)
			for errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved) {
				s = redial(r, s)
				found, st, err = s.Exists(bg, h.Path(), nil)
			}
			assert.NilError(r, err)
			assert.Check(r, found && st.EphemeralOwner == s.ID() && st.Czxid == h.Token())
			err = h.Release()
			if r.stalls && (errors.Is(err, recipe.ErrNotHeld) || errors.Is(err, context.DeadlineExceeded)) {
				err = nil // it is deleted later
			}
			if r.alone && errors.Is(err, zk.ErrConnection) {
				redial(r, newest(s))
				err = nil
			}
			assert.NilError(r, err)
		},
		check: func(r *rig, s *zk.Session) {
			for _, dir := range dirs {
				assert.Check(r, len(r.children(dir)) == 0, "%s: %v", dir, r.children(dir))
			}
			assert.Check(r, s.Watches().Len() == 0, "%v", s.Watches().List())
		},
	}
}

type scenario struct {
	run   func(r *rig, s *zk.Session)
	check func(r *rig, s *zk.Session)
}

// Each recipe ends right, with one effect, whatever request of it is lost, or its
// answer, and when the next one is lost too, or the server falls silent.
func TestR02_LostAtEveryStep(t *testing.T) {
	faults := []zktest.Rule{
		{Do: zktest.CutBefore}, {Do: zktest.CutAfter}, {Dir: zktest.ToClient, Do: zktest.CutBefore}, {Dir: zktest.ToClient, Do: zktest.CutAfter},
		{Do: zktest.CutBefore, Count: 2}, {Do: zktest.CutAfter, Count: 2}, {Dir: zktest.ToClient, Do: zktest.CutBefore, Count: 2},
		{Do: zktest.StallBefore}, {Do: zktest.StallAfter}, {Dir: zktest.ToClient, Do: zktest.StallBefore},
	}
	if suite.RaceEnabled {
		faults = faults[:4]
	}
	for name, sc := range scenarios() {
		t.Run(name, func(t *testing.T) {
			for _, fault := range faults {
				hits, steps := 1, 0
				for n := 0; hits > 0; n++ {
					k, alone := n/2, n%2 == 1 // alone: whoever waits in the recipe is the one who redials
					synctest.Test(t, func(t *testing.T) {
						t.Cleanup(func() { time.Sleep(time.Minute) })
						r := &rig{T: t, Ensemble: zktest.NewEnsemble(t, 1, zktest.Options{InMemory: true}), timeout: 10 * time.Second, alone: alone}
						r.stalls = fault.Do == zktest.StallBefore || fault.Do == zktest.StallAfter
						s := r.dial()
						rule := fault
						rule.Session, rule.Skip = s.ID(), k
						rule.Match = func(f zktest.Frame) bool {
							return f.Op != wire.OpPing && f.Op != zktest.OpConnect && f.Op != wire.OpSetWatches && f.Op != wire.OpSetWatches2 && f.Op != wire.OpNotification
						}
						f := r.Fault(rule)
						stop := func() {}
						if !alone {
							stop = r.keepDialed(s)
						}
						sc.run(r, s)
						f.Remove()
						hits = f.Hits()
						synctest.Wait() // for the end of a connection that was cut behind the last answer
						for i := range 20 {
							if last := newest(s); alone && last.Err() != nil {
								redial(t, last)
							}
							time.Sleep(time.Second)
							if i == 0 && !r.stalls { // else what was not answered is deleted later
								break
							}
						}
						sc.check(r, newest(s))
						stop()
					})
					assert.Assert(t, k < 60)
					steps = k
				}
				t.Logf("%+v: %d steps", fault.Do, steps)
				assert.Check(t, steps > 0)
			}
		})
	}
}
