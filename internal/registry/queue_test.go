package registry

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/watches"
)

// Events move between Start and Stop, and after those of an answer only when its caller
// has left its wait.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reg
		ch := r.arm("/x", watches.Persistent, 9)
		r.event(t, created, "/x")
		assert.Equal(t, r.Undelivered(), 1)
		r.Start()
		assert.DeepEqual(t, got(ch), []event{{created, "/x", 0}})
		wake := make(chan struct{}, 1)
		r.Answer(wake)
		r.event(t, changed, "/x")
		assert.Assert(t, len(wake) == 1 && len(ch) == 0)
		stopped := make(chan struct{})
		go func() { r.Stop(); close(stopped) }()
		synctest.Wait()
		r.Picked()
		<-stopped
		assert.DeepEqual(t, got(ch), []event{{changed, "/x", 0}})
		r.event(t, deleted, "/x")
		assert.Equal(t, r.Undelivered(), 2)
		r.Start()
		assert.DeepEqual(t, got(ch), []event{{gap, "/x", 0}, {deleted, "/x", 0}}) // one is owed from one connection to the next
	})
}

// A closed channel loses all its watches, and is reported once.
func TestClosedChannel(t *testing.T) {
	var r reg
	_, ok := r.Enter("/app")
	assert.Assert(t, ok)
	ch := r.arm("/app/x", watches.Persistent, 1)
	r.Arm("/app/x", watches.Child, false, ch)
	r.Arm("/app/y", watches.Recursive, false, ch)
	r.Arm("/app/z", watches.Data, false, ch)
	left := r.arm("/app/y", watches.Recursive, 9)
	r.event(t, children, "/app/x") // by Persistent or Child: one of them is used up
	r.event(t, created, "/app/y")
	close(ch)
	r.Start()
	assert.Assert(t, r.News())
	lost := r.lost()
	assert.Assert(t, len(lost) == 1 && !r.News(), "%v", lost)
	assert.Equal(t, lost[0], Lost{"/x", watches.Persistent})
	assert.Equal(t, r.Len(), 1)
	assert.DeepEqual(t, got(left), []event{{created, "/y", 0}})

	r.Arm("/app/z", watches.Data, false, ch) // again, although it is closed
	r.event(t, changed, "/app/z")
	assert.DeepEqual(t, r.lost(), []Lost{{"/z", watches.Data}})
}

// While events are undelivered, what was found closed is known, so that it is reported once.
func TestKnownClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reg
		shut, full := r.arm("/x", watches.Persistent, 0), r.arm("/x", watches.Persistent, 0)
		r.event(t, created, "/x")
		r.event(t, changed, "/x")
		close(shut)
		r.Start()
		assert.Equal(t, len(r.lost()), 1)
		r.Trim()
		<-full
		<-full
		synctest.Wait()
		assert.Assert(t, r.Undelivered() == 0 && len(r.lost()) == 0, "its second event is no news")

		r.Trim()
		r.Arm("/x", watches.Recursive, false, shut)
		r.Arm("/y", watches.Data, false, shut)
		r.event(t, changed, "/x/y")
		r.Trim()
		assert.Equal(t, r.Len(), 1, "what is not swept yet is not forgotten")
		assert.Equal(t, len(r.lost()), 1, "nothing was undelivered when it was armed again")
		r.Stop()
	})
}

// A channel that was found closed and is armed again is as any other: its next event makes
// it lose all that it has then, and is reported. What it had before is not among that.
func TestClosedChannelArmedAgain(t *testing.T) {
	for _, others := range []int{0, 2 * sweepShare} { // beside many others it is not swept at once
		synctest.Test(t, func(t *testing.T) {
			var r reg
			for i := range others {
				r.arm(fmt.Sprint("/", i), watches.Data, 0)
			}
			shut, full := r.arm("/x", watches.Persistent, 0), r.arm("/x", watches.Data, 0)
			r.Arm("/before", watches.Data, false, shut)
			close(shut)
			r.Start()
			r.event(t, changed, "/x")
			assert.Equal(t, len(r.lost()), 1)

			r.Arm("/a", watches.Data, false, shut)
			r.Arm("/b", watches.Data, false, shut)
			assert.Equal(t, r.Len(), others+2)
			r.event(t, changed, "/a")
			<-full
			synctest.Wait()
			assert.DeepEqual(t, r.lost(), []Lost{{"/a", watches.Data}})
			assert.Equal(t, r.Len(), others)
		})
	}
}

// Where a closed channel had a recursive watch, the server has to be told what is left. A
// new connection hears of that anyhow.
func TestLostRecursive(t *testing.T) {
	var r reg
	r.Start()
	lose := func() {
		shut := r.arm("/x", watches.Recursive, 0)
		r.Arm("/y", watches.Recursive, false, shut)
		r.Arm("/z", watches.Persistent, false, shut)
		close(shut)
		r.event(t, changed, "/x")
	}
	taken := func() []string {
		assert.Assert(t, r.News())
		_, recursive := r.TakeLost()
		assert.Assert(t, !r.News())
		return recursive
	}
	lose()
	assert.DeepEqual(t, taken(), []string{"/x", "/y"})

	for i := range 2 * sweepShare {
		r.arm(fmt.Sprint("/", i), watches.Data, 0)
	}
	lose()
	assert.DeepEqual(t, taken(), []string{"/x"})
	r.Trim() // which has the time
	assert.DeepEqual(t, taken(), []string{"/y"})

	lose()
	r.Restore().Done()
	assert.Equal(t, len(taken()), 0)
}

// All watches are looked at for closed channels only when that is worth it, or when
// somebody wants to know.
func TestSweep(t *testing.T) {
	const others = 2 * sweepShare
	var r reg
	r.Start()
	for i := range others {
		r.arm(fmt.Sprint("/", i), watches.Data, 0)
	}
	// lose makes so many closed channels be found, which have a watch at /y too.
	lose := func(n int) {
		for range n {
			ch := r.arm("/x", watches.Persistent, 0)
			r.Arm("/y", watches.Data, false, ch)
			close(ch)
		}
		r.event(t, changed, "/x")
		assert.Equal(t, len(r.lost()), n)
	}
	for range 3 {
		lose(1)
		assert.Equal(t, r.table.Len(), others+1)
		assert.Equal(t, r.Count(watches.Data), others, "somebody wants to know")
	}
	lose(3)
	assert.Equal(t, r.table.Len(), others, "it is worth it")
	lose(1)
	mine := r.arm("/y", watches.Persistent, 0)
	_, asked := r.Disarm("/y", mine, false)
	assert.Assert(t, asked, "beside a closed channel it is alone")
}

// An event that waits for its channel is reported once, with the time since which it does.
// One that has left is not, though its sender may not have said so.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		var r reg
		r.Start()
		assert.Assert(t, r.Stuck(time.Now(), 0) == nil && r.QueuedFor(time.Now()) == 0)
		began := time.Now()
		x, y := r.arm("/x", watches.Persistent, 0), r.arm("/y", watches.Persistent, 1)
		for _, path := range []string{"/x", "/y", "/y", "/y"} {
			r.event(t, changed, path)
		}
		time.Sleep(limit - 1)
		assert.Assert(t, r.Stuck(time.Now(), limit) == nil && r.QueuedFor(time.Now()) == limit-1)
		time.Sleep(time.Nanosecond)
		h := r.Stuck(time.Now(), limit)
		assert.Assert(t, h != nil && h.Path == "/x" && h.Cap == 0 && h.Since.Equal(began), "%v", h)
		assert.Assert(t, r.Stuck(time.Now(), limit) == nil, "once")
		synctest.Wait()
		<-x
		assert.Equal(t, r.QueuedFor(time.Now()), time.Duration(0))
		time.Sleep(limit)
		<-y
		assert.Assert(t, r.Stuck(time.Now(), limit) == nil)
		time.Sleep(limit)
		h = r.Stuck(time.Now(), limit)
		assert.Assert(t, h != nil && h.Path == "/y" && h.Cap == 1 && h.Since.Equal(began.Add(2*limit)), "the last: %v", h)
		synctest.Wait()
		<-y
		assert.Equal(t, r.Undelivered(), 0)
		assert.Assert(t, r.QueuedFor(time.Now()) == 0 && r.Stuck(time.Now(), 0) == nil)
		r.Stop()
	})
}
