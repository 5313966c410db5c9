package recipe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// This file is the goroutine of a Hold.

// run follows the session until the hold is released. Calls let a stack grow, and
// it stays so: the long waits are on a new goroutine's, one at a time.
func (h *holding) run() {
	if s := h.work(); s != nil {
		h.left.Go(func() { h.await(s) })
	} else {
		h.timer.Stop()
	}
}

// work does what there is to do, and returns the Session to wait on; nil: the
// hold is over, or the goroutine is to leave.
func (h *holding) work() *zk.Session {
	for !h.isLeaving() {
		if h.check() != nil {
			h.mourn()
			return nil
		}
		if h.forgotten() {
			go h.release(true)
			return nil
		}
		h.mu.Lock()
		s := h.session
		h.mu.Unlock()
		switch {
		case s.Err() != nil:
			h.follow(s)
		case (h.claim.own != nil || h.arm(s)) && h.sleep(h.pause(s)):
			return s
		}
	}
	return nil
}

// await waits, on a Session that lives, for the next thing to look at.
func (h *holding) await(s *zk.Session) {
	var fired chan zk.Event
	if h.claim.own != nil {
		fired = h.claim.own.ch
	}
	select {
	case ev := <-fired:
		h.fired(s, ev)
	case <-s.Done():
	case <-h.timer.C:
	}
	h.run()
}

// sleep sets the timer, and reports whether the goroutine may wait for it.
func (h *holding) sleep(d time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.leaving {
		h.timer.Reset(d)
	}
	return !h.leaving
}

func (h *holding) isLeaving() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leaving
}

// call returns the context of a call that ends when the goroutine is to leave.
func (h *holding) call(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leaving {
		cancel()
	}
	h.stopCall = cancel
	return ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.stopCall = nil
		cancel()
	}
}

func (h *holding) fired(s *zk.Session, ev zk.Event) {
	h.claim.own = nil
	if ev.Type == zk.Deleted {
		h.vanished(s)
	}
}

// follow waits for the successor of a Session that is over. Events stand still
// meanwhile, but for one that came before.
func (h *holding) follow(s *zk.Session) {
	if h.claim.own != nil {
		select {
		case ev := <-h.claim.own.ch:
			h.fired(s, ev)
			return
		default:
		}
	}
	ctx, end := h.call(h.pause(s))
	defer end()
	s.Successor(ctx) // check takes it
}

// pause returns how long nothing need be done but by an event: until the hold
// may be lost, or somebody should look whether it was forgotten.
func (h *holding) pause(s *zk.Session) time.Duration {
	d := min(s.Timeout()/2, time.Until(s.ExpiresAt()))
	if h.claim.own == nil && s.Err() == nil { // throttled: to be armed a little later
		d = min(d, s.Timeout()/20)
	}
	return max(d, 0)
}

// mourn stays after Lost for the Release of a hold that was forgotten, while
// there may be a znode to delete.
func (h *holding) mourn() {
	h.mu.Lock()
	s, gone := h.session, h.gone
	h.mu.Unlock()
	for !gone {
		var renewed *zk.Session
		if s, renewed = newest(s); renewed != nil || sessionGone(s) {
			return
		}
		if h.forgotten() {
			go h.release(true)
			return
		}
		if !h.sleep(s.Timeout() / 2) {
			return
		}
		<-h.timer.C
	}
}

// sessionGone reports whether nothing of the session can be on a server any more:
// it was closed, or nobody has redialed for long.
func sessionGone(s *zk.Session) bool {
	_, err := s.Successor(canceled)
	return errors.Is(err, zk.ErrClosed) || s.Err() != nil && time.Now().After(lastHope(s))
}

// arm sets the watch on the znode, and reports whether the goroutine may wait
// for what comes next.
func (h *holding) arm(s *zk.Session) bool {
	w := newWatch(h.claim.path)
	ctx, end := h.call(s.Timeout()) // in which a Session without answers ends
	defer end()
	_, st, err := s.Get(ctx, w.path, w.ch)
	switch {
	case err == nil && st.EphemeralOwner == h.claim.session && st.Czxid == h.claim.czxid:
		h.claim.own = w
	case err == nil && st.EphemeralOwner == h.claim.session:
		h.id.disarm(s, w)
		h.end(fmt.Errorf("%w: %s was deleted, and another znode has its name", ErrNotHeld, w.path), true)
		return false
	case err == nil:
		h.id.disarm(s, w)
		h.end(fmt.Errorf("%w: %s is of session 0x%x now", ErrNotHeld, w.path, st.EphemeralOwner), true)
		return false
	case code(err) == zk.ErrNoNode:
		h.vanished(s)
	case ctx.Err() != nil, code(err) == zk.ErrThrottled, ended(s, err):
	default:
		h.end(fmt.Errorf("%w: %s cannot be watched: %w", ErrNotHeld, w.path, err), false)
	}
	return true
}

// forgotten reports whether nobody can release the hold any more.
func (h *holding) forgotten() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.released == nil && len(h.contexts) == 0 && h.outer.Value() == nil
}
