package order

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"
)

type (
	seq  = Sequencer[int, string]
	ev   = Item[int, string]
	wake = chan struct{}
)

// owner counts what has left.
type owner struct {
	sync.Mutex
	q      seq
	sent   int
	closed []string // notes
	waited []string
}

func (o *owner) Waits(it ev) { o.waited = append(o.waited, it.Note) }

func (o *owner) Sent(chan<- int, string) { o.sent++ }

func (o *owner) Closed(it ev) {
	o.sent++
	o.closed = append(o.closed, it.Note)
}

func start(o *owner) *owner {
	o.Lock()
	o.q.Start(o)
	o.Unlock()
	return o
}

// post is what the reader does with an event.
func (o *owner) post(n int, channels ...chan int) {
	o.Lock()
	defer o.Unlock()
	for _, ch := range channels {
		o.q.Post(&ev{Ch: ch, Event: n, Note: fmt.Sprint(n)})
	}
	o.q.Release()
}

// answer is what the reader does with an answer; the caller picks it up later.
func (o *owner) answer() wake {
	w := make(wake, 1)
	o.q.Answer(o, w)
	return w
}

func (o *owner) pick(w wake) {
	<-w
	o.q.Picked(o)
}

func (o *owner) stop() {
	o.Lock()
	o.q.Stop()
	o.Unlock()
}

func (o *owner) undelivered() int {
	o.Lock()
	defer o.Unlock()
	o.q.Sync()
	return o.q.Undelivered()
}

func ready(w wake) bool { return len(w) == 1 }

// An event waits until the caller answered before it has left its wait, and an
// answer behind the event waits with it.
func TestEventWaitsForCaller(t *testing.T) {
	o := start(new(owner))
	ch := make(chan int, 9)
	first := o.answer()
	o.post(1, ch)
	second := o.answer()
	o.post(2, ch)
	assert.Assert(t, ready(first) && !ready(second))
	assert.Equal(t, len(ch), 0)
	o.pick(first)
	assert.Assert(t, ready(second))
	assert.Equal(t, len(ch), 1)
	o.pick(second)
	assert.Equal(t, len(ch), 2)
	assert.Equal(t, o.q.busy.Load(), uint32(0))
	o.stop()
}

// The owner hears once of each event that waits for its channel, when it is its turn:
// not again when the sender was taken back, nor on the next connection.
func TestWaits(t *testing.T) {
	o := start(new(owner))
	full, free := make(chan int), make(chan int, 9)
	o.post(1, free)
	o.post(2, full, free)
	o.post(3, full)
	for range 3 {
		assert.Equal(t, o.undelivered(), 3) // takes the sender back
		assert.DeepEqual(t, o.waited, []string{"2"})
	}
	o.stop()
	start(o)
	assert.DeepEqual(t, o.waited, []string{"2"})
	assert.Equal(t, <-full, 2)
	assert.Equal(t, o.undelivered(), 1)
	assert.DeepEqual(t, o.waited, []string{"2", "3"})
	assert.Equal(t, <-full, 3)
	assert.Equal(t, o.undelivered(), 0)
	o.stop()
	assert.DeepEqual(t, o.waited, []string{"2", "3"})
}

// A consumer that takes the event that the sender waits to give, and then makes a
// request, finds all that it made room for when the answer is there: in that
// channel and in those behind it.
func TestRoomIsUsedBeforeAnswer(t *testing.T) {
	for _, queued := range []int{1, 2, 5, 50} {
		for range 200 {
			o := start(new(owner))
			full, free := make(chan int, 1), make(chan int, queued)
			o.q.Chunk()
			o.post(0, full)
			o.post(1, full) // has to wait
			for i := range queued {
				o.post(2+i, free)
			}
			assert.Equal(t, <-full, 0)
			o.q.Chunk()
			w := o.answer()
			assert.Assert(t, ready(w))
			assert.Equal(t, len(full), 1)
			assert.Equal(t, len(free), queued)
			o.pick(w)
			o.stop()
		}
	}
}

// The same for an event behind the answer of another call, which is held back.
func TestRoomIsUsedBeforeStagedAnswer(t *testing.T) {
	for range 500 {
		o := start(new(owner))
		full, free := make(chan int, 1), make(chan int, 9)
		o.q.Chunk()
		o.post(0, full)
		o.post(1, full)
		o.post(2, free)
		o.q.Chunk()
		slow := o.answer() // its caller has not left its wait
		o.post(3, free)
		late := o.answer()
		assert.Assert(t, !ready(late))
		assert.Equal(t, <-full, 0)
		o.pick(slow)
		assert.Assert(t, ready(late))
		assert.Equal(t, len(free), 2)
		o.pick(late)
		o.stop()
	}
}

// A closed channel loses its own event and no other.
func TestClosedChannel(t *testing.T) {
	o := start(new(owner))
	gone, ch, full := make(chan int, 1), make(chan int, 9), make(chan int)
	close(gone)
	o.post(1, ch, gone)
	o.post(2, full)
	o.post(3, gone, ch, gone)
	assert.Equal(t, <-full, 2)
	assert.Equal(t, o.undelivered(), 0)
	assert.Equal(t, <-ch, 1)
	assert.Equal(t, <-ch, 3)
	assert.DeepEqual(t, o.closed, []string{"1", "3", "3"})
	assert.Equal(t, o.sent, 6)
	o.stop()
}

// What is not delivered when it stops stays, in order, and goes on at the next start.
// Nothing is left running in between.
func TestStopAndStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := start(new(owner))
		full := make(chan int)
		w := o.answer()
		for i := range 4 {
			o.post(i, full)
		}
		go o.pick(w) // Stop waits for it
		o.stop()
		synctest.Wait()
		var notes []string
		for _, it := range o.q.Items() {
			notes = append(notes, it.Note)
		}
		assert.DeepEqual(t, notes, []string{"0", "1", "2", "3"})
		select {
		case <-full:
			t.Fatal("it moves")
		default:
		}
		o.q.Queue(ev{Ch: full, Event: 4})
		start(o)
		for i := range 5 {
			assert.Equal(t, <-full, i)
		}
		assert.Equal(t, o.undelivered(), 0)
		o.stop()
	})
}

// Random answers and events, with callers and consumers at their own speed: events
// come in one order over all channels, none before a caller that was answered before
// it has left its wait, and no caller goes on while an event before its answer could
// be in a channel with room.
func TestRandomOrder(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		o := start(new(owner))
		channels := make([]chan int, 1+rnd.IntN(4))
		for i := range channels {
			channels[i] = make(chan int, rnd.IntN(3))
		}
		const steps = 2000
		var picked [steps]atomic.Bool // callers that have left their wait
		answers := make([]bool, steps)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []int
		for _, ch := range channels {
			wg.Go(func() {
				for n := range ch {
					if n < 0 {
						return
					}
					for before := range n {
						if answers[before] && !picked[before].Load() {
							t.Errorf("event %d before the caller of answer %d has left", n, before)
						}
					}
					mu.Lock()
					order = append(order, n)
					mu.Unlock()
					if n%7 == 0 {
						runtime.Gosched()
					}
				}
			})
		}
		kinds := make([]bool, steps)
		for i := range kinds {
			kinds[i] = rnd.IntN(3) == 0
		}
		copy(answers, kinds)
		for i := range steps {
			if i%(1+rnd.IntN(20)) == 0 {
				o.q.Chunk()
			}
			if !answers[i] {
				o.post(i, channels[rnd.IntN(len(channels))])
				continue
			}
			w := o.answer()
			wg.Go(func() {
				<-w
				picked[i].Store(true)
				o.q.Picked(o)
			})
		}
		for _, ch := range channels {
			o.post(-1, ch)
		}
		wg.Wait()
		o.stop()
		assert.Equal(t, o.q.Undelivered(), 0)
		assert.Equal(t, len(order)+count(answers), steps)
		// Each consumer notes what it received a moment later: only a channel's own
		// order can be seen here. TestOneOrder has the other.
	}
}

// The caller that an event waits for lets it go, however close the two come.
func TestLastPickedReleases(t *testing.T) {
	const rounds = 40_000
	o := start(new(owner))
	var answered, picked atomic.Int64
	go func() {
		for i := range int64(rounds) {
			for answered.Load() == i {
				runtime.Gosched()
			}
			o.q.Picked(o)
			picked.Add(1)
		}
	}()
	ch := make(chan int, 1)
	for i := range rounds {
		o.answer()
		answered.Add(1)
		for range i % 64 {
			picked.Load() // some nanoseconds
		}
		o.post(i, ch)
		assert.Equal(t, <-ch, i)
		for picked.Load() == int64(i) {
			runtime.Gosched()
		}
	}
	o.stop()
}

func count(list []bool) (n int) {
	for _, x := range list {
		if x {
			n++
		}
	}
	return n
}

// One order over all channels: with one consumer for all, which takes from each only
// when nothing else can move, the events come as they were posted.
func TestOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(7, 7))
		o := start(new(owner))
		channels := []chan int{make(chan int), make(chan int, 1), make(chan int, 2)}
		const n = 500
		for i := range n {
			o.post(i, channels[rnd.IntN(len(channels))])
		}
		var got []int
		for len(got) < n {
			synctest.Wait()
			// What is in a buffer is older than what the sender waits to give.
			var round []int
			for _, ch := range channels {
				for len(ch) > 0 {
					round = append(round, <-ch)
					if len(ch) == 0 {
						break
					}
				}
			}
			select {
			case x := <-channels[0]:
				round = append(round, x)
			default:
			}
			slices.Sort(round)
			got = append(got, round...)
		}
		assert.Assert(t, slices.IsSorted(got), "%v", got)
		o.stop()
	})
}
