package calls

import (
	"context"
	"errors"
)

// Why a call is not sent.
var (
	// ErrRemoved: a RemoveWatch needs no request, and is done.
	ErrRemoved = errors.New("removed here")
	// ErrNoWatcher: there is nothing to remove.
	ErrNoWatcher = errors.New("no such watch")
	// ErrCrowded: too many events of one-shots are undelivered to arm one more.
	ErrCrowded = errors.New("too many undelivered events")
)

// Submit queues the one frame of a call and sees to it that it is written. One lock covers
// taking the xid, joining the queue and joining the stream. Its error is one of the Host's.
func (e *Engine[T, E]) Submit(ctx context.Context, c *Call[E]) error {
	if c.Made {
		return e.SubmitMany(ctx, c, nil, 1)
	}
	return e.SubmitMany(ctx, c, c.Frames, 1)
}

// SubmitMany is Submit of the next n frames of a Batch.
func (e *Engine[T, E]) SubmitMany(ctx context.Context, c *Call[E], frames []byte, n int) error {
	large := !c.Arming && c.Large() // what arms is edited where it is queued
	if c.Lent() {
		e.line.LockFor(ctx, &c.Call)
	} else {
		e.line.Lock()
	}
	err := e.line.Refusal()
	beside := false
	switch {
	case c.Removes():
		if err = e.removeLocked(c); err == nil {
			e.interlock.Remove(c.At)
			c.asks = true
		}
	case c.Arming && err == nil:
		beside, err = e.mayArmLocked(ctx, c, frames)
	}
	if err != nil {
		e.line.Unlock()
		return e.host.Unsent(err)
	}
	if large {
		e.line.SendLargeUnlock(ctx, &c.Call)
		return nil
	}
	tail := e.line.Tail()
	at := len(tail)
	if c.Made {
		tail = c.appendMade(tail)
	} else {
		tail = append(tail, frames...)
	}
	if c.Arming {
		e.armLocked(c, tail[at:], beside)
	}
	e.line.SendUnlock(ctx, &c.Call, tail, n, beside)
	return nil
}
