package recipe_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Without a majority no session expires, for however long: what was to be deleted
// when nobody could redial is deleted by the next call of a recipe.
func TestR25_LongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) })
		e := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true, Majority: true})
		r := &rig{T: t, Ensemble: e, timeout: 10 * time.Second}
		s, other := r.dial(), r.dial()
		h := r.hold(other, "/l")
		lost := r.hold(s, "/m")
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, s) })
		e.Member(0).Stop()
		e.Member(1).Stop()
		assert.ErrorIs(t, (<-got).err, zk.ErrConnection)
		time.Sleep(5 * time.Minute)
		assert.ErrorIs(t, lost.Err(), recipe.ErrNotHeld)
		e.Member(0).Start()
		e.Member(1).Start()
		time.Sleep(5 * time.Second)
		s, other = redial(t, s), redial(t, other)
		assert.Equal(t, len(r.children("/l")), 2)
		_, err := (&recipe.Lock{Path: "/elsewhere"}).Contenders(bg, s)
		assert.NilError(t, err)
		synctest.Wait()
		assert.Equal(t, len(r.children("/l")), 1)
		assert.ErrorIs(t, lost.Release(), recipe.ErrNotHeld)
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
		synctest.Wait()
		assert.Equal(t, len(r.children("/l"))+len(r.children("/m")), 0)
		assert.Equal(t, s.Watches().Len()+other.Watches().Len(), 0)
	})
}
