// Package order keeps the strict order of answers and events: an event reaches
// channels only when every call answered before it is running again, and no call
// goes on while an event before its answer could be in a channel that has room.
package order

import (
	"sync"
	"sync/atomic"

	"github.com/seed-9f8420c6/zk/internal/fifo"
)

// Owner has the lock of a Sequencer, and learns what became of its events.
type Owner[E, N any] interface {
	sync.Locker
	// Sent is called under the lock when an event has left: it is in its channel. Neither
	// this nor Closed may call the Sequencer.
	Sent(ch chan<- E, note N)
	// Closed is called under the lock when an event has left, because its channel was found
	// closed.
	Closed(it Item[E, N])
	// Waits is called under the lock, once for an event, when all before it have left
	// and its channel is full.
	Waits(it Item[E, N])
}

// Item is an event on its way to one channel.
type Item[E, N any] struct {
	Ch    chan<- E
	Event E
	// Note is its owner's.
	Note N

	wake chan<- struct{} // set: no event, but an answer
}

// Sequencer hands over answers and events in the order in which a reader read them.
// Its owner's lock guards it, but for the three methods that say otherwise. No
// method waits for the application, and none does I/O. The zero value is ready.
//
// What must wait for callers that were answered and have not left their wait is in
// the stage: events, and the answers behind them. What must wait for room in a
// channel is in the outbox. While it is not empty, a goroutine, the sender, waits
// for the channel of its head.
type Sequencer[E, N any] struct {
	// answered is how many calls were woken. While the stage is empty it is the reader's
	// alone, and takes no lock.
	answered int64
	picked   atomic.Int64 // how many of these have left their wait
	// goal is what picked has to reach before the head of the stage, an event, may go. It
	// stays behind when the stage is empty: picked has reached it, and only grows.
	goal atomic.Int64
	busy atomic.Uint32 // staging and sending

	stage  fifo.Queue[Item[E, N]]
	staged int // events in the stage
	outbox fifo.Queue[Item[E, N]]
	owner  Owner[E, N] // nil: the outbox stands still
	sender *sender
	// drained is closed when the stage is empty; nil unless somebody waits.
	drained chan struct{}

	// checked: since the reader's last chunk the sender was asked whether it still
	// waits. Only the reader touches it.
	checked bool
	waits   bool // its owner has heard that the head of the outbox waits
}

// What a Sequencer is busy with.
const (
	staging = 1 << iota // the stage is not empty; set by the reader only
	sending             // there is a sender
)

// Answer hands an answer to its caller, behind the events before it: it sends to
// wake, which must have room. The reader calls it, without the lock.
func (q *Sequencer[E, N]) Answer(lock sync.Locker, wake chan<- struct{}) {
	if q.busy.Load() != 0 {
		lock.Lock()
		if q.stage.Len() > 0 {
			q.stage.Push(Item[E, N]{wake: wake})
			lock.Unlock()
			return
		}
		q.check()
		lock.Unlock()
	}
	q.answered++
	wake <- struct{}{}
}

// Picked is the first thing that a caller does after its wait, without the lock.
func (q *Sequencer[E, N]) Picked(lock sync.Locker) {
	if q.picked.Add(1) == q.goal.Load() {
		lock.Lock()
		if q.stage.Len() > 0 {
			q.Sync()
			q.release()
		}
		lock.Unlock()
	}
}

// unpicked reports whether a call that was answered has not left its wait.
func (q *Sequencer[E, N]) unpicked() bool { return q.picked.Load() != q.answered }

// Chunk notes that the reader has read more. It calls it without the lock.
func (q *Sequencer[E, N]) Chunk() { q.checked = false }

// check makes sure that what is queued has to wait. A consumer that received what
// the sender waits to give may have made a request since, whose answer is in the
// chunk at hand: what it made room for goes first. One look per chunk is enough,
// for such a request was sent before the chunk was read. The reader calls it.
func (q *Sequencer[E, N]) check() {
	if !q.checked {
		q.checked = true
		q.Sync()
	}
}

// Post puts an event behind all answers and events so far. The reader calls it, and
// Release after the last.
func (q *Sequencer[E, N]) Post(it *Item[E, N]) {
	if q.stage.Len() == 0 && !q.unpicked() {
		q.check()
		q.deliver(it)
		return
	}
	q.stage.Push(*it)
	q.staged++
	q.busy.Or(staging)
}

// Release hands over what nothing holds back any more. The reader calls it.
func (q *Sequencer[E, N]) Release() {
	if q.stage.Len() > 0 {
		q.check()
		q.release()
	}
}

// release walks the stage: an answer wakes its caller; an event waits while a
// caller answered before it has not left its wait.
func (q *Sequencer[E, N]) release() {
	for q.stage.Len() > 0 {
		it := q.stage.Head()
		if it.wake != nil {
			q.answered++
			it.wake <- struct{}{}
		} else {
			q.goal.Store(q.answered) // before the look: the last to be picked looks at it
			if q.unpicked() {
				return
			}
			q.staged--
			q.deliver(it)
		}
		q.stage.Drop()
	}
	q.busy.And(^uint32(staging))
	if q.drained != nil {
		close(q.drained)
		q.drained = nil
	}
}

// deliver puts an event right into its channel, or behind the outbox.
func (q *Sequencer[E, N]) deliver(it *Item[E, N]) {
	if q.owner != nil && q.outbox.Len() == 0 {
		if res := try(it.Ch, it.Event); res != notTaken {
			q.left(it, res)
			return
		}
	}
	q.outbox.Push(*it)
	q.flush()
}

// left reports to the owner that an event has left. An Item is large to hand over.
func (q *Sequencer[E, N]) left(it *Item[E, N], res result) {
	if res == chanClosed {
		q.owner.Closed(*it)
	} else {
		q.owner.Sent(it.Ch, it.Note)
	}
}

// Queue puts an event into the outbox, before the first Start.
func (q *Sequencer[E, N]) Queue(it Item[E, N]) { q.outbox.Push(it) }

// flush delivers what fits, and leaves a sender waiting for the rest.
func (q *Sequencer[E, N]) flush() {
	if q.owner == nil || q.sender != nil {
		return
	}
	for q.outbox.Len() > 0 {
		it := q.outbox.Head()
		res := try(it.Ch, it.Event)
		if res == notTaken {
			q.sender = &sender{recall: make(chan struct{}), result: make(chan result, 1)}
			q.busy.Or(sending)
			if !q.waits {
				q.waits = true
				q.owner.Waits(*it)
			}
			go runSender(q.sender, q, q.owner, it.Ch, it.Event)
			return
		}
		q.sent(res)
	}
	q.busy.And(^uint32(sending))
}

// sent takes the head off the outbox after its delivery was tried.
func (q *Sequencer[E, N]) sent(res result) {
	if res != notTaken {
		q.waits = false
		it := q.outbox.Pop()
		q.left(&it, res)
	}
}

// Sync brings the outbox up to date: the sender may have delivered its event and
// not said so yet. The wait is for the sender's next statement.
func (q *Sequencer[E, N]) Sync() {
	if q.sender != nil {
		q.recall()
		q.flush()
	}
}

func (q *Sequencer[E, N]) recall() {
	s := q.sender
	close(s.recall)
	res := <-s.result
	q.sender = nil
	q.sent(res)
}

// Start lets the outbox move, oldest first.
func (q *Sequencer[E, N]) Start(owner Owner[E, N]) {
	q.owner = owner
	q.checked = false
	q.flush()
}

// Stop waits until the stage is empty, and then lets the outbox stand still. It
// gives the lock up while it waits for callers to leave their wait. The reader
// calls it, as its last act.
func (q *Sequencer[E, N]) Stop() {
	for q.stage.Len() > 0 {
		empty := make(chan struct{})
		q.drained = empty
		q.Sync()
		q.release()
		if q.stage.Len() > 0 {
			lock := q.owner
			lock.Unlock()
			<-empty
			lock.Lock()
		}
	}
	q.drained = nil
	if q.sender != nil {
		q.recall()
	}
	q.owner = nil
	q.busy.And(^uint32(sending))
	q.Trim()
}

// Moves reports whether the outbox moves: between Start and Stop.
func (q *Sequencer[E, N]) Moves() bool { return q.owner != nil }

// Undelivered returns the number of events that have not left.
func (q *Sequencer[E, N]) Undelivered() int { return q.outbox.Len() + q.staged }

// Items returns copies of all events that have not left, oldest first.
func (q *Sequencer[E, N]) Items() []Item[E, N] {
	items := make([]Item[E, N], 0, q.Undelivered())
	items = append(items, q.outbox.Items()...)
	for _, it := range q.stage.Items() {
		if it.wake == nil {
			items = append(items, it)
		}
	}
	return items
}

// Trim gives memory back that a burst of events took.
func (q *Sequencer[E, N]) Trim() {
	q.stage.Trim()
	q.outbox.Trim()
}
