package recipe_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A Hold takes one goroutine, one watch and at most 4 KB, its stack included. The
// server is in-process, so that the same znodes and watches are made without
// recipes too: what these take is not the Hold's.
func TestHoldCost(t *testing.T) {
	if suite.RaceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	const holds = 2000
	server := zktest.NewServer(t)
	s, err := zk.Dial(bg, zk.Config{Addrs: []string{server.Addr()}})
	assert.NilError(t, err)
	defer s.Close()
	var list []*recipe.Hold
	var chans []chan zk.Event
	armed := func() {
		for end := time.Now().Add(time.Minute); s.Watches().Len() < len(list)+len(chans); time.Sleep(time.Millisecond) {
			assert.Assert(t, time.Now().Before(end), "%d watches", s.Watches().Len())
		}
		server.ForgetFrames()
	}
	hold := func() {
		h, err := (&recipe.Lock{Path: fmt.Sprintf("/locks/%08d", len(list))}).Acquire(bg, s)
		assert.NilError(t, err)
		list = append(list, h)
	}
	plain := func() {
		dir := fmt.Sprintf("/plain/%08d", len(chans))
		_, err := s.Create(bg, dir, nil, zk.Container, zk.ACLOpen)
		assert.NilError(t, err)
		path, err := s.Create(bg, dir+"/_c_01234567-89ab-cdef-0123-456789abcdef-lock-", nil, zk.EphemeralSequential, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 1)
		_, _, err = s.Get(bg, path, ch)
		assert.NilError(t, err)
		chans = append(chans, ch)
	}
	_, err = s.Create(bg, "/plain", nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	for range holds / 4 { // what grows in steps
		hold()
		plain()
	}
	measure := func(one func()) (bytes int64, goroutines int) {
		armed()
		before, running := memory(), runtime.NumGoroutine()
		for range holds {
			one()
		}
		armed()
		return (memory() - before) / holds, runtime.NumGoroutine() - running
	}
	each, goroutines := measure(hold)
	without, _ := measure(plain)
	t.Logf("%d bytes, of which the znodes and the watch take %d", each, without)
	assert.Check(t, each-without <= 4<<10)
	assert.Equal(t, goroutines, holds)
	assert.Equal(t, s.Watches().Len(), len(list)+len(chans))
	for _, h := range list {
		assert.NilError(t, h.Release())
	}
	assert.Equal(t, s.Watches().Len(), len(chans))
}

// memory returns what lives on the heap, and the stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
