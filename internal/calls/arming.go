package calls

import (
	"context"

	"github.com/seed-9f8420c6/zk/internal/interlock"
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// eachArm calls f for every channel that frames of a call arm, with its frame, until f
// returns false. Of a single call frames may be nil.
func (c *Call[E]) eachArm(frames []byte, f func(frame []byte, path string, kind watches.Kind) bool) {
	if c.parts() == nil {
		f(frames, c.At, c.Arms)
		return
	}
	for i := c.First(); len(frames) > 0; i++ {
		n := 4 + wire.FrameLen(frames)
		if a := &c.More.Armings[i]; a.Ch != nil && !f(frames[:n], a.At, a.Kind) {
			return
		}
		frames = frames[n:]
	}
}

// mayArmLocked waits while a path's AddWatch is unanswered, because only its answer decides
// what else may be sent. An AddWatch does not wait for another. beside: the call arms
// one-shots while persistent watches are armed, of whatever path. Left must hear of its answer.
func (e *Engine[T, E]) mayArmLocked(ctx context.Context, c *Call[E], frames []byte) (beside bool, err error) {
	if c.Code == wire.OpAddWatch {
		return false, nil
	}
	if err := e.awaitAddingLocked(ctx, c, frames); err != nil {
		return false, err
	}
	room, persistent := e.reg.Room()
	if !room {
		return false, ErrCrowded
	}
	return persistent, nil
}

// armLocked makes the frames of a call that arms channels ask for what the server must be
// asked. Beside a persistent watch a one-shot is not armed on the server, where before 3.9
// it would replace that: it gets the events that the server sends to the persistent one.
func (e *Engine[T, E]) armLocked(c *Call[E], frames []byte, beside bool) {
	switch {
	case c.Code == wire.OpAddWatch:
		c.add(e.interlock.Add(c.At, c.Arms, e.reg.Armed(c.At)))
		wire.AppendInt32(frames[:len(frames)-4], modeOf(c.More.adding)) // the mode is the request's last field
	case beside:
		c.eachArm(frames, func(frame []byte, path string, kind watches.Kind) bool {
			if !e.interlock.Arm(path, kind, e.reg.Armed(path)) {
				frame[len(frame)-1] = 0 // the watch flag is a request's last byte
			}
			return true
		})
	}
}

// add makes it an AddWatch that the interlock has.
func (c *Call[E]) add(a *interlock.Addition) {
	c.More, c.asks = &More[E]{adding: a}, true
}

// awaitAddingLocked waits until no AddWatch of a path that a call arms is unanswered.
func (e *Engine[T, E]) awaitAddingLocked(ctx context.Context, c *Call[E], frames []byte) error {
	for !e.interlock.Idle() {
		var wait <-chan struct{}
		c.eachArm(frames, func(_ []byte, path string, _ watches.Kind) bool {
			wait = e.interlock.Adding(path)
			return wait == nil
		})
		if wait == nil {
			break
		}
		e.line.Unlock()
		var err error
		select {
		case <-wait:
		case <-e.line.Dying():
		case <-ctx.Done():
			err = ctx.Err()
		}
		e.line.Lock()
		if err != nil {
			return err
		}
		if err := e.line.Refusal(); err != nil {
			return err
		}
	}
	return nil
}

// Left notes that a run of frames that armed channels was answered.
func (e *Engine[T, E]) Left(p *pipeline.Call, first int) {
	c := p.Owner.(*Call[E])
	e.line.Lock()
	defer e.line.Unlock()
	if c.parts() == nil {
		e.interlock.Armed(c.At)
		return
	}
	for i := first; i < c.Taken(); i++ {
		if a := &c.More.Armings[i]; a.Ch != nil {
			e.interlock.Armed(a.At)
		}
	}
}

// Remove does the part of a RemoveWatch that needs no request. If it returns no error, a
// request is needed.
func (e *Engine[T, E]) Remove(c *Call[E]) error {
	e.line.Lock()
	defer e.line.Unlock()
	return e.host.Unsent(e.removeLocked(c))
}

// removeLocked disarms a channel at a path, here if that is enough. The server is asked to
// remove a persistent watch only where nothing else is armed, or about to be: the server
// would remove that too.
func (e *Engine[T, E]) removeLocked(c *Call[E]) error {
	if err := e.line.Refused(); err != nil {
		return err
	}
	r := &c.More.removal
	before := e.reg.Armed(c.At)
	shared := e.line.Ended() != nil || e.interlock.Busy(c.At)
	found, asked := e.reg.Disarm(c.At, r.ch, shared)
	r.found = r.found || found
	if r.alias != "" {
		found, _ := e.reg.Disarm(r.alias, r.ch, true)
		r.found = r.found || found
	}
	switch {
	case !r.found:
		return ErrNoWatcher
	case !asked:
		if before.Has(watches.Recursive) {
			e.rewatchLocked(c.At)
		}
		return ErrRemoved
	}
	return nil
}

// watchAnswered notes that an AddWatch or a RemoveWatch was answered: first in the registry,
// then in the interlock, for the calls that wait.
func (e *Engine[T, E]) watchAnswered(c *Call[E], code int32, zxid int64) {
	if c.Kind == &kindRewatch {
		switch {
		case code != 0: // the next connection restores all
			e.line.Fail(e.host.End(code, c.Op+" of "+c.Path), true)
		case c.Code == wire.OpAddWatch:
			e.reg.Heard()
		default:
			e.reg.ChildHears(c.At)
		}
	}
	switch c.Code {
	case wire.OpAddWatch:
		if code == 0 {
			e.told(c, zxid)
		}
		e.line.Lock()
		e.interlock.Added(c.At)
		e.line.Unlock()
	case wire.OpRemoveWatches:
		if code == 0 || code == wire.ErrNoWatcher {
			e.reg.Disarm(c.At, c.More.removal.ch, true)
		}
		e.line.Lock()
		e.interlock.Removed(c.At)
		e.line.Unlock()
	}
}

// told does what the answer to an AddWatch makes necessary. Until the server has answered
// that, the registry has a note of it: a connection that ends before must not lose what
// the deaf watches missed. Only the reader calls it.
func (e *Engine[T, E]) told(c *Call[E], zxid int64) {
	adding := c.More.adding
	repair := adding.After(e.reg.Armed(c.At), zxid)
	if repair.Gap {
		e.reg.GapAt(c.At, adding.Tells)
	}
	e.line.Lock()
	defer e.line.Unlock()
	if repair.Child {
		e.restoreChildLocked(c.At, e.reg.Zxid()) // not the answer's, which may have none
	}
	e.tellLocked(c.At, repair.Tell)
}

// rewatchLocked tells the server of a path's persistent watch again. It is called where a
// recursive one is gone, of which the server was told last.
func (e *Engine[T, E]) rewatchLocked(path string) {
	e.tellLocked(path, e.interlock.AfterRemoval(path, e.reg.Armed(path)))
}

// modeOf is the mode that an AddWatch asks for.
func modeOf(a *interlock.Addition) int32 {
	if a.Tells == watches.Recursive {
		return wire.AddWatchPersistentRecursive
	}
	return wire.AddWatchPersistent
}

// tellLocked sends an AddWatch that nobody waits for; nil: nothing.
func (e *Engine[T, E]) tellLocked(path string, a *interlock.Addition) {
	if a == nil || e.line.Ended() != nil {
		return // the next connection restores all
	}
	c := e.New(&kindRewatch, "addwatch", path)
	c.Frame(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: modeOf(a)})
	c.At = path
	c.add(e.interlock.AddAgain(path, *a))
	e.reg.Tell(a.Since, a.Gap)
	c.Abandon()
	e.line.Post(&c.Call)
}

// restoreChildLocked sends a SetWatches for the child watch of a path, which nobody waits
// for either.
func (e *Engine[T, E]) restoreChildLocked(path string, floor int64) {
	if e.line.Ended() != nil {
		return
	}
	c := e.New(&kindRewatch, "setwatches", path)
	c.childWatch(path, floor)
	c.At, c.asks = path, true
	e.reg.ChildDeaf(path, floor)
	c.Abandon()
	e.line.Post(&c.Call)
}
