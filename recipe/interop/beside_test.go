package interop

import (
	"fmt"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
)

// A Curator and a kazoo client take turns in one directory with ours. Curator sorts the
// names of kazoo's contenders behind its own, and so does not wait for them: the two may
// be inside together, and ours must have Curator's names. With one of ours nobody is.
func TestBesideBoth(t *testing.T) {
	python := kazoo(t)
	each(t, curator(t), func(s *stage) {
		setup := s.dial()
		for _, path := range []string{"/in-us", "/in-curator", "/in-kazoo", "/count"} {
			setup.create(path, "0")
		}
		s.cut()
		snake := *s
		snake.command = python
		them := []*peer{s.peer("beside", turns, "curator"), snake.peer("beside", turns, "kazoo")}
		var all sync.WaitGroup
		for range 2 {
			o := s.dial()
			all.Go(func() {
				lock := recipe.Lock{Path: "/beside", KeepDir: true}
				for range turns {
					h := o.hold(func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) })
					o.set("/in-us", "1")
					assert.Check(s, o.get("/in-curator") == "0" && o.get("/in-kazoo") == "0", "another client is inside")
					o.critical()
					assert.Check(s, o.get("/in-curator") == "0" && o.get("/in-kazoo") == "0", "another client came in")
					o.set("/in-us", "0")
					o.release(h)
				}
			})
		}
		all.Wait()
		for _, p := range them {
			p.end()
		}
		assert.Equal(s, setup.get("/count"), fmt.Sprint(2*turns))
		setup.gone("/beside")
	})
}
