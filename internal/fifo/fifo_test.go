package fifo

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
)

// Random pushes and pops have the same effect on a Queue as on a slice.
func TestQueue(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var q Queue[int]
		var want []int
		next := 0
		for range 200 {
			for range rnd.IntN(300) {
				q.Push(next)
				want = append(want, next)
				next++
			}
			for range min(len(want), rnd.IntN(310)) {
				assert.Equal(t, *q.Head(), want[0])
				if rnd.IntN(2) == 0 {
					q.Drop()
				} else {
					assert.Equal(t, q.Pop(), want[0])
				}
				want = want[1:]
			}
			assert.Equal(t, q.Len(), len(want))
			assert.Assert(t, slices.Equal(q.Items(), want))
			if len(want) > 0 {
				assert.Equal(t, *q.Last(), want[len(want)-1])
			}
			q.Trim()
		}
	}
}

// An empty Queue gives a large array back at once, and a small one when trimmed.
// A long one keeps little more than it holds.
func TestQueueMemory(t *testing.T) {
	var q Queue[int]
	for i := range 10 * maxKept {
		q.Push(i)
	}
	for range 10 * maxKept {
		q.Drop()
	}
	assert.Equal(t, cap(q.items), 0)
	q.Push(1)
	q.Drop()
	assert.Assert(t, cap(q.items) > 0)
	q.Trim()
	assert.Equal(t, cap(q.items), 0)

	for i := range 100 * maxKept {
		q.Push(i)
		if q.Len() > maxKept/4 {
			q.Drop()
		}
	}
	assert.Assert(t, cap(q.items) <= 4*maxKept, cap(q.items))
}

// What many writers push comes out once, in the order of each writer.
func TestRing(t *testing.T) {
	const writers, each = 4, 5000
	var mu sync.Mutex
	var ring Ring[[2]int]
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				mu.Lock()
				*ring.Push() = [2]int{w, i}
				mu.Unlock()
			}
		})
	}
	seen := 0
	wg.Go(func() { // looks at what has not left, while it is taken
		for range 100 {
			mu.Lock()
			last := [writers]int{-1, -1, -1, -1}
			ring.Each(func(v *[2]int) bool {
				if seen++; v[1] <= last[v[0]] {
					t.Errorf("%v behind %d", *v, last[v[0]])
				}
				last[v[0]] = v[1]
				return seen%7 > 0
			})
			mu.Unlock()
			runtime.Gosched()
		}
	})
	r := NewReader(&ring)
	var next [writers]int
	for got := 0; got < writers*each; {
		v := r.Next()
		if v == nil {
			mu.Lock()
			r.Refresh()
			mu.Unlock()
			continue
		}
		assert.Equal(t, v[1], next[v[0]])
		next[v[0]]++
		if got++; got%3 == 0 {
			r.Leave()
		}
	}
	wg.Wait()
	assert.Assert(t, seen > 0)
	n := 0
	ring.Each(func(*[2]int) bool { n++; return true })
	assert.Equal(t, n, ring.Len())
	assert.Assert(t, ring.Len() > 0 || writers*each%3 == 0)
	r.Leave()
	assert.Equal(t, ring.Len(), 0)
	assert.Equal(t, ring.Fresh(), writers*each)
	ring.Mark()
	assert.Equal(t, ring.Fresh(), 0)
	assert.Assert(t, r.Drained())
	assert.Assert(t, !r.Refresh())
	ring.Release()
	assert.Assert(t, ring.slots == nil)
}
