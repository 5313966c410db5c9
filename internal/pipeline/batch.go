package pipeline

import (
	"context"

	"github.com/seed-9f8420c6/zk/wire"
)

// Batch is what a Call of many frames has, besides.
type Batch struct {
	n       int    // frames
	first   int    // of the next submit
	taken   int    // replies that the reader has taken
	settled int    // of these, how many count as answered
	failing bool   // the reader has set abandoned
	failed  cursor // how far the reader has failed it
}

// Many makes it a batch of n frames, with a Batch of its owner's.
func (c *Call) Many(b *Batch, n int) {
	*b = Batch{n: n}
	c.batch = b
}

// First returns which frame is the first of those that are sent next.
func (c *Call) First() int { return c.batch.first }

// SendMany calls send for the frames of a batch, in order: for all at once, or where
// slots are limited, for as many at a time as have one. send queues them, and n is
// their number. It returns how many were queued.
func (p *Conn) SendMany(ctx context.Context, c *Call, send func(frames []byte, n int) error) (sent int, err error) {
	if !p.Limited() {
		if err := send(c.Frames, c.batch.n); err != nil {
			return 0, err
		}
		return c.batch.n, nil
	}
	from, to := 0, 0 // c.Frames[from:to] holds those that have slots
	held := 0
	flush := func() error {
		if held == 0 {
			return nil
		}
		c.batch.first = sent
		if err := send(c.Frames[from:to], held); err != nil {
			p.Release(held)
			return err
		}
		sent += held
		held, from = 0, to
		return nil
	}
	for to < len(c.Frames) {
		if !p.TryAcquire() { // what is held may have to be answered first
			if err := flush(); err != nil {
				return sent, err
			}
			if err := p.Acquire(ctx, c); err != nil {
				return sent, err
			}
		}
		held++
		to += 4 + wire.FrameLen(c.Frames[to:])
	}
	err = flush()
	return sent, err
}

// WaitMany waits for the last answer to a batch of which so many frames were sent. It
// ends early when the context does or, if end is not nil, the connection. woken: Done
// was received. left: the caller has given the rest up, by giveUp, which is told how many
// frames are answered and reports whether it did so (see GiveUp).
func (c *Call) WaitMany(ctx context.Context, end <-chan struct{}, sent int, giveUp func(answered int) bool) (woken, left bool, answered int) {
	if sent > 0 {
		select {
		case <-c.done:
			return true, false, 0
		case <-end:
			select {
			case <-c.done:
				return true, false, 0
			default:
				return false, false, 0
			}
		case <-ctx.Done():
		}
	}
	for {
		k, over := c.Settled()
		if over {
			<-c.done
			return true, false, 0
		}
		if giveUp(k) {
			return false, true, k
		}
	}
}

// Settled returns how many frames of a batch count as answered, and whether the batch
// is over: all are, or the reader has failed the rest.
func (c *Call) Settled() (n int, over bool) {
	k := c.state.Load()
	return int(k &^ abandoned), k&abandoned != 0 || int(k) == c.batch.n
}

// GiveUp leaves a batch of which n frames count as answered. It reports whether it
// does: not if more were answered meanwhile.
func (c *Call) GiveUp(n int) bool {
	return c.state.CompareAndSwap(uint32(n), uint32(n)|abandoned)
}

// Advance makes the frames up to another count as answered. It reports whether
// somebody waits for them. Only the reader calls it, from Handler.SettleMany.
func (c *Call) Advance(from, to int) bool {
	return c.state.CompareAndSwap(uint32(from), uint32(to))
}

// Taken returns how many frames of a batch were answered, whether that counts or not.
// Only the reader calls it.
func (c *Call) Taken() int { return c.batch.taken }

// cursor is a place among a batch's frames.
type cursor struct {
	frame int // which is next
	at    int // where it begins
}

// skip moves on to a frame and returns how many bytes that was. It never moves back.
func (f *cursor) skip(frames []byte, to int) (bytes int) {
	from := f.at
	for ; f.frame < to; f.frame++ {
		f.at += 4 + wire.FrameLen(frames[f.at:])
	}
	return f.at - from
}
