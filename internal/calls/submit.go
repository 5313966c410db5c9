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

// Submit queues n frames of a call and sees to it that they are written. One lock covers
// taking the xids, joining the queue and joining the stream. Its error is one of the Host's.
func (e *Engine[T, E]) Submit(ctx context.Context, c *Call[E], frames []byte, n int) error {
	if c.Lent() {
		e.line.LockFor(ctx, &c.Call)
	} else {
		e.line.Lock()
	}
	err := e.line.Refusal()
	counted := false
	switch {
	case c.Removal != nil:
		if err = e.removeLocked(c); err == nil {
			e.interlock.Remove(c.At)
		}
	case c.Arming && err == nil:
		counted, err = e.prepareArmLocked(ctx, c, frames)
	}
	if err != nil {
		e.line.Unlock()
		return e.host.Unsent(err)
	}
	e.line.SendUnlock(ctx, &c.Call, frames, n, counted)
	return nil
}
