package pipeline

import (
	"io"
	"math"
	"runtime"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/fifo"
	"github.com/seed-9f8420c6/zk/internal/frames"
	"github.com/seed-9f8420c6/zk/wire"
)

// reader is what only the reader goroutine touches.
type reader struct {
	cur   run // the head of the ring, taken out of it
	ring  fifo.Reader[pending]
	dec   wire.Decoder
	batch *Call // with replies that do not count as answered yet

	// early has the xids of requests that were refused before their turn, with the
	// code for which that is right.
	early     map[int32]bool
	earlyCode int32
}

// read takes frames in wire order until the connection ends. It waits for nothing but
// the network.
func (p *Conn) read() {
	err := p.readFrames()
	p.settle()
	p.Fail(p.h.Why(err), true)
	p.finish()
}

// readFrames takes all frames, and returns the error that ends the connection.
func (p *Conn) readFrames() error {
	in := frames.NewReader(p.conn, p.opts.MaxReply)
	defer in.Release()
	waits := false // for the rest of a frame
	for {
		n, end := in.Fill()
		p.live.Received(n)
		p.h.Chunk()
		if in.Busy() {
			runtime.Gosched() // let the callers that this chunk woke queue up for one write
		}
		for {
			b, err := in.Next()
			if err != nil {
				return p.misframed(err)
			}
			if b == nil {
				break
			}
			if err := p.frame(b, in.Kept()); err != nil {
				return err
			}
			if waits {
				waits = false
				p.live.FrameCame()
			}
		}
		p.settle()
		p.h.Rest()
		switch {
		case end == io.EOF && in.Cut():
			return cutFrame(io.ErrUnexpectedEOF)
		case end != nil:
			return end
		}
		if cut := in.Settle(p.nothingPending); cut > 0 {
			waits = true
			p.live.FrameWaits(cut, time.Now())
		}
	}
}

// nothingPending reports whether no call waits for its reply.
func (p *Conn) nothingPending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reader.cur.n == 0 && p.reader.ring.Drained()
}

// misframed is what a frame of a wrong size means. Of one that is too large the oldest
// call is told, unless the head says that the frame is no reply to it.
func (p *Conn) misframed(err error) error {
	var large *frames.TooLarge
	if !errors.As(err, &large) {
		return violation("%v", err)
	}
	end := Oversize(large.Size)
	p.Fail(p.h.Why(end), true)
	d := wire.NewDecoder(large.Head)
	if r := p.oldest(); r != nil && (len(large.Head) < 4 || d.Int32() == r.xid) {
		r.c.oversized = large.Size
	}
	return end
}

// oldest returns the run of frames whose reply is next, or nil.
func (p *Conn) oldest() *run {
	r := &p.reader
	if r.cur.n > 0 {
		return &r.cur
	}
	next := r.ring.Next()
	if next == nil {
		p.mu.Lock()
		r.ring.Refresh()
		p.mu.Unlock()
		if next = r.ring.Next(); next == nil {
			return nil
		}
	}
	r.cur = next.run
	return &r.cur
}

// popOldest lets the oldest run leave the ring once all of it is answered.
func (p *Conn) popOldest() {
	r := &p.reader.cur
	if r.marked {
		p.h.Left(r.c, int(r.first))
	}
	p.reader.ring.Leave()
	r.c = nil // an idle connection keeps no call alive
}

// frame takes one frame from the server; kept: nobody else uses its memory.
func (p *Conn) frame(b []byte, kept bool) error {
	d := &p.reader.dec // not a variable: a Handler may keep it, as far as the compiler knows
	*d = wire.NewDecoder(b)
	if kept {
		d.Give()
	}
	var h wire.ReplyHeader
	h.Decode(d)
	if h.Xid > 0 {
		if err := p.reply(h, d); err != nil || len(p.reader.early) == 0 {
			return err
		}
		return p.answerEarly()
	}
	p.settle()
	switch h.Xid {
	case wire.XidNotification:
		return p.h.Event(h.Zxid, d)
	case wire.XidPing:
		now := time.Now()
		p.mu.Lock()
		took := p.live.Pong(now)
		p.mu.Unlock()
		if took < 0 { // nobody has asked
			return nil
		}
		return p.h.Pong(took)
	case wire.XidAuth:
		return p.authReply(h)
	}
	return violation("a reply with xid %d", h.Xid)
}

// reply matches a reply with the oldest call. Its place on the wire is where the call
// is answered.
func (p *Conn) reply(h wire.ReplyHeader, d *wire.Decoder) error {
	r := p.oldest()
	if r == nil {
		return violation("a reply with xid %d, and no request waits for one", h.Xid)
	}
	if h.Xid != r.xid {
		if p.refusedEarly(r, h) {
			return nil
		}
		return violation("a reply with xid %d where %d was due", h.Xid, r.xid)
	}
	if p.live.Tells(r.off) {
		p.mu.Lock()
		p.live.Answered(r.off)
		p.mu.Unlock()
	}
	c := r.c
	if c.batch != nil {
		return p.replyMany(r, h, d)
	}
	won, end, err := p.h.Answer(c, h.Zxid, h.Err, d)
	if err != nil {
		return err
	}
	r.n = 0
	if p.slots != nil && !c.Own {
		p.Release(1)
	}
	p.popOldest()
	if won {
		p.h.Hand(c)
	} else {
		p.h.Drop(c)
	}
	return end
}

// replyMany takes the reply to a frame of a batch. Replies that come in one piece count
// as answered together, see settle.
func (p *Conn) replyMany(r *run, h wire.ReplyHeader, d *wire.Decoder) error {
	c, b := r.c, r.c.batch
	ended, err := p.h.Reply(c, b.taken, h.Zxid, h.Err, d)
	if err != nil {
		return err
	}
	if ended != nil {
		p.Fail(ended, true)
	}
	b.taken++
	r.n--
	r.xid = nextXid(r.xid)
	p.Release(1)
	p.reader.batch = c
	if r.n == 0 {
		p.settle()
		p.popOldest()
		if c.state.Load() == uint32(b.n) {
			p.h.Hand(c)
		}
	}
	return ended
}

// settle makes the replies of a batch that were taken so far count as answered: one
// compare-and-swap for all of them decides between them and a caller that gives the
// batch up. It is called before anything else is taken from the wire, and before the
// reader waits.
func (p *Conn) settle() {
	c := p.reader.batch
	if c == nil {
		return
	}
	p.reader.batch = nil
	b := c.batch
	from := b.settled
	b.settled = b.taken
	n := b.taken - from
	if p.reader.cur.n == 0 {
		n-- // one counts when the run leaves
	}
	p.more.Add(int64(n))
	p.h.SettleMany(c, from, b.taken)
}

// refusedEarly notes that a request was refused before its turn, which some servers
// do at once. The call hears of it in its turn. It reports whether that is right: the
// xid is of a request that waits, and was not answered yet.
func (p *Conn) refusedEarly(oldest *run, h wire.ReplyHeader) bool {
	r := &p.reader
	if r.earlyCode == 0 || h.Err != r.earlyCode {
		return false
	}
	p.mu.Lock()
	last := p.xid
	p.mu.Unlock()
	ahead := func(x int32) int32 { return (x - oldest.xid) & math.MaxInt32 } // xids go from 1 to MaxInt32 and on from 1
	if ahead(h.Xid) > ahead(last) || r.early[h.Xid] {
		return false
	}
	if r.early == nil {
		r.early = make(map[int32]bool)
	}
	r.early[h.Xid] = true
	return true
}

// answerEarly answers the oldest calls whose refusals have come before.
func (p *Conn) answerEarly() error {
	r := &p.reader
	for len(r.early) > 0 {
		oldest := p.oldest()
		if oldest == nil || !r.early[oldest.xid] {
			return nil
		}
		delete(r.early, oldest.xid)
		var none wire.Decoder
		if err := p.reply(wire.ReplyHeader{Xid: oldest.xid, Err: r.earlyCode}, &none); err != nil {
			return err
		}
	}
	return nil
}

// authReply takes the answer to an auth packet. It may overtake the replies to
// requests before it, so auth packets have a queue of their own.
func (p *Conn) authReply(h wire.ReplyHeader) error {
	p.mu.Lock()
	var c *Call
	if p.auths.Len() > 0 {
		c = p.auths.Pop()
	}
	p.mu.Unlock()
	if c == nil {
		if h.Err != 0 {
			return violation("an auth reply with error %d, and none was due", h.Err)
		}
		return nil
	}
	p.more.Add(1)
	won, end := p.h.Auth(c, h.Err)
	if won {
		p.h.Hand(c)
	} else {
		p.h.Drop(c)
	}
	return end
}
