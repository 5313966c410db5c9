package pipeline

import (
	"context"
	"sync/atomic"
)

// Call is a request under way: one frame, or the many of a batch. Its owner embeds it.
//
// What the calls of most requests have stands together, at the end. With many under way
// their memory is out of the processor's cache, and each line of it costs.
type Call struct {
	// Frames are the requests, one behind another, each with room for its xid.
	Frames []byte

	off   int64  // of an auth packet: its place on the wire
	cut   int    // where in Frames data belongs that is not in it, see Lend; 0: all is
	lent  []byte // the caller's data
	whole []byte // or else the frame with a copy of it
	loan  *loan  // another goroutine may be reading what was lent
	// oversized is the size of its reply, where that was above the limit.
	oversized int

	// Owner is what the Call is part of.
	Owner any
	// Label is what its owner calls it.
	Label

	batch *Batch
	done  chan struct{} // cap 1
	state atomic.Uint32 // number of replies that count as answered, and the bit abandoned

	// Own is a request of the client's own: it takes no slot.
	Own bool
	// Made: its frame is made at the end of the Tail. It has none of its own.
	Made bool
	// stays: its caller waits for the answer, however long. Nobody gives it up.
	stays bool
}

// abandoned is set in a Call's state by the caller that gives it up, or by the reader
// when the connection ends; whoever sets it owns the rest of the Call.
const abandoned = 1 << 31

// maxKeptFrames is how many bytes of requests a Call keeps room for.
const maxKeptFrames = 4096

// Init makes a new Call ready.
func (c *Call) Init(owner any) {
	c.Owner, c.done = owner, make(chan struct{}, 1)
}

// Reset makes a Call ready for the next request, when nobody else has it any more. One that is
// Made has set nothing of what resetFrames resets. Only its reply may have been too large, but
// then the connection is over.
func (c *Call) Reset() {
	if !c.Made {
		c.resetFrames()
	}
	c.Own, c.Made, c.stays, c.batch = false, false, false, nil
	c.state = atomic.Uint32{} // nobody else looks at it
}

func (c *Call) resetFrames() {
	if c.Frames = c.Frames[:0]; cap(c.Frames) > maxKeptFrames {
		release(c.Frames)
		c.Frames = nil
	}
	if c.cut > 0 {
		c.forget()
	}
	c.off, c.oversized = 0, 0
}

// Wake is where its answer is announced, once.
func (c *Call) Wake() chan<- struct{} { return c.done }

// Done receives once, when it is answered or has failed.
func (c *Call) Done() <-chan struct{} { return c.done }

// Wait waits for the answer to a single frame, and reports whether the context ended
// first, which is that it was sent with. Then the Call is not the caller's any more.
func (c *Call) Wait(ctx context.Context) (gaveUp bool) {
	if c.stays {
		<-c.done
		return false
	}
	return c.wait(ctx)
}

func (c *Call) wait(ctx context.Context) (gaveUp bool) {
	select {
	case <-c.done:
		c.reclaim()
		return false
	case <-ctx.Done():
	}
	c.reclaim()
	if c.state.CompareAndSwap(0, abandoned) {
		return true
	}
	<-c.done
	return false
}

// Abandon gives a Call up that is not sent yet: nobody will wait for it.
func (c *Call) Abandon() { c.state.Store(abandoned) }

// Answer makes a single frame count as answered, and reports whether somebody waits.
// Only the reader calls it.
func (c *Call) Answer() bool { return c.stays || c.state.CompareAndSwap(0, 1) }

// Oversized returns the size of the reply, where that was above the limit, once.
func (c *Call) Oversized() int {
	n := c.oversized
	c.oversized = 0
	return n
}
