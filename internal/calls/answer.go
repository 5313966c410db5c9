package calls

import (
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// ends returns why an answer ends the connection, or nil.
func (e *Engine[T, E]) ends(k *Kind, code int32) error {
	if closes(code) || code == wire.ErrUnimplemented && !k.MayStayOpen {
		return e.host.End(code, "")
	}
	return nil
}

// Answer takes the reply to a call. Its place on the wire is where the zxid advances,
// the watch is armed and the call is answered. It is read even if nobody waits, because
// one that makes no sense ends the connection.
func (e *Engine[T, E]) Answer(p *pipeline.Call, zxid int64, code int32, d *wire.Decoder) (won bool, end, err error) {
	c := p.Owner.(*Call[E])
	if code == 0 && c.Kind.Decode != nil {
		c.Kind.Decode(&c.Result, d)
		if err := d.Err(); err != nil {
			return false, nil, e.host.Malformed("reply to "+c.Op, err)
		}
	}
	if zxid > 0 {
		e.reg.Advance(zxid)
	}
	if code != 0 {
		if end = e.ends(c.Kind, code); end != nil {
			e.line.Fail(end, true)
		}
	}
	if won = c.Call.Answer(); won {
		e.settle(c, code, end != nil)
	}
	if c.More != nil && c.More.restore != nil {
		err := e.restoredBy(c, code, won, zxid)
		if err == nil {
			err = e.showGaps() // before the Dial is over
		}
		if err != nil { // the Dial must not wait for its answer
			end = e.host.Why(err)
			e.line.Fail(end, true)
		}
	}
	if won && c.Kind.Last { // nothing more comes of this connection
		end = e.host.End(code, "")
		if code == 0 {
			e.reg.End()
		}
	}
	if c.asks {
		e.watchAnswered(c, code, zxid)
	}
	return won, end, nil
}

// settle arms the watch of an answered call, or makes its error.
func (e *Engine[T, E]) settle(c *Call[E], code int32, ended bool) {
	if code == 0 || c.Kind.excuses(&c.Result, code) {
		if c.Watch != nil {
			e.arm(c)
		}
		return
	}
	c.Err = e.host.Refused(c.Op, c.Path, code, ended || c.Kind.Last)
}

// arm arms the watch of a call that was answered as it must be.
func (e *Engine[T, E]) arm(c *Call[E]) {
	kind := c.Arms
	if c.Missing {
		kind = watches.Exists
	}
	e.reg.Arm(c.At, kind, c.Raw, c.Watch)
}

// restoredBy takes the answer to a call that restores watches.
func (e *Engine[T, E]) restoredBy(c *Call[E], code int32, won bool, zxid int64) error {
	r := c.More.restore
	switch {
	case r.kind == 0 && code != 0:
		e.refusedWatches = true // then the floor stays, whatever the others are answered
		if code == wire.ErrUnimplemented {
			e.reg.ReadNext()
		}
	case !won:
	case r.deaf != "":
		e.reg.ChildHears(r.deaf)
	case r.kind == 0:
		e.reg.Restored(zxid, r.rearms, r.last && !e.refusedWatches)
	case r.kind.OneShot():
		if r.kind == watches.Child {
			e.reg.ChildHears(c.Path)
		}
		if typ := r.kind.Missed(code == 0, code == wire.ErrNoNode, c.Stat, r.floor); typ != 0 {
			return e.notify(T(typ), []byte(c.Path), 0)
		}
	case code == 0:
		e.reg.Restored(zxid, true, false)
	}
	return nil
}

// Reply reads the reply to an operation of a Batch.
func (e *Engine[T, E]) Reply(p *pipeline.Call, i int, zxid int64, code int32, d *wire.Decoder) (ended, err error) {
	c := p.Owner.(*Call[E])
	c.More.Parts.Take(i, code, d)
	if code == 0 {
		if err := d.Err(); err != nil {
			return nil, e.host.Malformed("reply to "+c.Op, err)
		}
	} else if ended = e.ends(c.More.Parts.Kind(i), code); ended != nil {
		op, path := c.More.Parts.Describe(i)
		c.More.Parts.Fail(i, e.host.Refused(op, path, code, true))
	}
	if zxid > 0 {
		e.reg.Advance(zxid)
	}
	return ended, nil
}

// SettleMany counts operations of a Batch as answered, and arms their watches.
func (e *Engine[T, E]) SettleMany(p *pipeline.Call, from, to int) {
	c := p.Owner.(*Call[E])
	if !c.Arming {
		c.Advance(from, to)
		return
	}
	// GiveUp takes the same lock: what it finds answered is armed.
	e.reg.Lock()
	defer e.reg.Unlock()
	if c.Advance(from, to) {
		for i := from; i < to; i++ {
			e.armPartLocked(c, i)
		}
	}
}

// armPartLocked arms the watch of an operation of a Batch that was answered, if it has one.
func (e *Engine[T, E]) armPartLocked(c *Call[E], i int) {
	a := &c.More.Armings[i]
	if a.Ch == nil {
		return
	}
	ok, missing := c.More.Parts.Answered(i)
	switch {
	case missing:
		e.reg.ArmLocked(a.At, watches.Exists, false, a.Ch)
	case ok:
		e.reg.ArmLocked(a.At, a.Kind, false, a.Ch)
	}
}

// GiveUp makes the caller leave a Batch of which k operations are answered, and reports
// whether it does: not if more were answered meanwhile.
func (e *Engine[T, E]) GiveUp(c *Call[E], k int) bool {
	if c.Arming {
		e.reg.Lock()
		defer e.reg.Unlock()
	}
	return c.Call.GiveUp(k)
}

// Auth takes the answer to an auth packet.
func (e *Engine[T, E]) Auth(p *pipeline.Call, code int32) (won bool, end error) {
	c := p.Owner.(*Call[E])
	if code != 0 {
		end = e.host.End(code, "")
		e.line.Fail(end, true)
	}
	if !c.Call.Answer() {
		return false, end
	}
	if code != 0 {
		c.Err = e.host.Refused(c.Op, "", code, true)
	} else if c.More != nil {
		c.More.Accepted()
	}
	return true, end
}

// Failed makes the error of a call, or of an operation of a Batch, that was not answered.
// Only the call whose reply was too large learns of it: the replies to the others may not
// be.
func (e *Engine[T, E]) Failed(p *pipeline.Call, i int, lost bool, end error) {
	c := p.Owner.(*Call[E])
	size := c.Oversized()
	if c.parts() == nil {
		c.Err = e.host.Unanswered(c.Op, c.Path, lost, size, end)
		return
	}
	op, path := c.More.Parts.Describe(i)
	c.More.Parts.Fail(i, e.host.Unanswered(op, path, lost, size, end))
}
