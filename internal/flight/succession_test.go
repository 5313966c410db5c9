package flight

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
)

func TestSuccessor(t *testing.T) {
	var f Successor[string]
	f.Init()
	_, _, there := f.Next()
	assert.Assert(t, !there)
	select {
	case <-f.Done():
		t.Fatal("nothing is known")
	default:
	}
	f.Set("one", true)
	<-f.Done()
	f.Set("two", false)
	f.None()
	next, renewed, there := f.Next()
	assert.Assert(t, next == "one" && renewed && there, "the first stays")

	var g Successor[string]
	g.Init()
	g.None()
	<-g.Done()
	_, _, there = g.Next()
	assert.Assert(t, !there)
}

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Once
		assert.Assert(t, !o.Begun())
		wrong := errors.New("wrong")
		runs := 0
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				assert.Check(t, o.Do(func() error {
					runs++
					assert.Check(t, o.Begun())
					time.Sleep(time.Second)
					return wrong
				}) == wrong)
			})
		}
		wg.Wait()
		assert.Assert(t, o.Do(nil) == wrong)
		assert.Equal(t, runs, 1)
	})
}
