package pipeline

import (
	"context"
	"runtime"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/rescue"
	"github.com/seed-9f8420c6/zk/wire"
)

const (
	// smallWrite is as many bytes as a socket takes at once, when the peer has taken
	// all before.
	smallWrite = 4 << 10
	// fullWrite is as many bytes as are worth a write of their own. To wait for more
	// would let a server rest that could work.
	fullWrite = 8 << 10
	// maxTLSRecord is how much a write that failed may have sent beyond what it says.
	maxTLSRecord = 16 << 10
)

// Tail returns the buffer to which small frames are appended, for SendUnlock. It is called
// under the lock. Until SendUnlock the lock is held, and nothing else is queued.
func (p *Conn) Tail() []byte { return p.out.last }

// SendUnlock queues n frames of a Call, which were appended to the Tail, sees to it that
// they are written, and gives the lock up. marked: the Handler hears when they have left
// the queue.
func (p *Conn) SendUnlock(ctx context.Context, c *Call, tail []byte, n int, marked bool) {
	c.stays = ctx.Done() == nil
	size := len(tail) - len(p.out.last)
	p.enqueue(c, tail, n, marked)
	p.seeWrittenUnlock(c, size)
}

// SendLargeUnlock is SendUnlock of a Call's one frame, which is Large and not appended:
// the connection takes it over, or has it lent. It arms nothing.
func (p *Conn) SendLargeUnlock(ctx context.Context, c *Call) {
	c.stays = ctx.Done() == nil
	frame := c.Frames
	if c.cut > 0 {
		frame = p.lending(ctx, c)
	}
	p.lineUp(c, frame, 1, false)
	p.appendLarge(c, frame)
	p.seeWrittenUnlock(c, len(frame))
}

// seeWrittenUnlock sees to it that a Call is written, which was queued last and has so many
// bytes.
func (p *Conn) seeWrittenUnlock(c *Call, size int) {
	if p.writing {
		p.mu.Unlock()
		return
	}
	p.writing = true
	if !p.writesHere(c, size) {
		if !c.Made {
			c.loan = p.out.lent
		}
		p.mu.Unlock()
		go p.flush()
		return
	}
	if p.writeUnlock() {
		go p.flush() // a caller does not write for others
	}
}

// writesHere reports whether a caller, as the writer, writes its request of so many
// bytes, or another goroutine does. A caller writes nothing but its own request: it
// may be answered while it writes on for others, and then all events and answers would
// wait until it can leave. If its context may end, it must be able to leave a Write
// that blocks: alone on a socket, whose peer has taken all before, a small one does
// not. What is the client's own, of a Dial that nobody else waits for, it writes here.
func (p *Conn) writesHere(c *Call, size int) bool {
	switch {
	case c.Own:
		return true
	case !c.Made && c.lent != nil: // nothing is queued but this
		return c.stays
	case p.ring.Len() > 1 || p.out.size > size:
		return false
	}
	return c.stays || p.socket && size <= smallWrite
}

// Post queues a frame of a Call for which its caller does not write: another goroutine
// does. It is called under the lock.
func (p *Conn) Post(c *Call) {
	p.enqueue(c, append(p.out.last, c.Frames...), 1, false)
	p.wake()
}

// PostAuth does the same for an auth packet, which has no xid of its own.
func (p *Conn) PostAuth(c *Call) {
	c.off = p.queued
	p.auths.Push(c)
	p.frames++
	p.append(c.Frames)
	p.wake()
}

// Farewell queues and writes a last frame here, if nobody else is writing. It gives
// the lock up.
func (p *Conn) Farewell(c *Call) {
	if p.writing {
		p.mu.Unlock()
		return
	}
	p.enqueue(c, append(p.out.last, c.Frames...), 1, false)
	p.writing = true
	if p.writeUnlock() {
		go p.flush()
	}
}

// enqueue queues n frames of a Call, which were appended to the Tail.
func (p *Conn) enqueue(c *Call, tail []byte, n int, marked bool) {
	frames := tail[len(p.out.last):]
	p.lineUp(c, frames, n, marked)
	p.out.extend(tail, len(frames))
	p.queued += int64(len(frames))
}

// lineUp gives n frames of a Call, which are queued next, their xids and their place in the
// ring.
func (p *Conn) lineUp(c *Call, frames []byte, n int, marked bool) {
	p.xid = nextXid(p.xid)
	putXid(frames, p.xid)
	r := p.ring.Push()
	r.c, r.xid, r.n, r.off, r.first, r.marked, r.label = c, p.xid, int32(n), p.queued, 0, marked, c.Label
	p.frames += int64(n)
	if c.batch != nil {
		r.first = int32(c.batch.first)
		p.xid = number(frames, n, p.xid)
	}
	if !c.Own && r.first == 0 {
		p.calls++
	}
}

// number numbers n frames, of which the first has its xid, and returns the last xid.
func number(frames []byte, n int, xid int32) int32 {
	for ; n > 1; n-- {
		frames = frames[4+wire.FrameLen(frames):]
		xid = nextXid(xid)
		putXid(frames, xid)
	}
	return xid
}

func putXid(frame []byte, xid int32) {
	_ = frame[7]
	frame[4], frame[5], frame[6], frame[7] = byte(xid>>24), byte(xid>>16), byte(xid>>8), byte(xid)
}

func (p *Conn) append(frames []byte) {
	p.out.append(frames)
	p.queued += int64(len(frames))
}

// appendLarge queues a frame without a copy.
func (p *Conn) appendLarge(c *Call, frame []byte) {
	p.queued += int64(len(frame) + len(c.lent))
	switch {
	case c.lent != nil:
		p.out.lend(p, c)
	case c.whole != nil:
		p.out.adopt(frame)
		c.whole = nil
	default:
		p.out.adopt(frame)
		c.Frames = nil // the Call has no more use for it
	}
}

// wake makes another goroutine write what is queued, unless somebody does already.
func (p *Conn) wake() {
	if !p.writing {
		p.writing = true
		go p.flush()
	}
}

// flushAll writes until nothing is queued, as the writer. With several calls under
// way it first lets others queue their requests: that is what fills a write.
func (p *Conn) flushAll() {
	for more := true; more; {
		p.mu.Lock()
		for size := 0; p.fills(size); {
			size = p.out.size
			p.mu.Unlock()
			runtime.Gosched()
			p.mu.Lock()
		}
		more = p.writeUnlock()
	}
}

// fills reports whether to let others queue more, size having been queued when they last
// were: at first always, and then while they do, and the server has as many requests to
// answer as are held back here. With fewer it would soon rest.
func (p *Conn) fills(size int) bool {
	if p.ring.Len() <= 1 || p.out.size >= fullWrite || p.out.size <= size {
		return false
	}
	held := p.ring.Fresh()
	return size == 0 || held <= p.ring.Len()-held
}

// writeUnlock writes what is queued, as the writer, and reports whether it is still
// the writer because more has come. It gives the lock up.
func (p *Conn) writeUnlock() bool {
	if p.end != nil || p.out.size == 0 {
		if p.out.lent != nil { // it is not written any more
			p.repay(p.out.lent, nil)
			p.out.lent = nil
		}
		p.leave()
		p.mu.Unlock()
		return false
	}
	parcel := &p.parcel
	p.out.take(parcel)
	p.ring.Mark()
	p.live.WriteBegins(p.sent, parcel.size, time.Now())
	p.mu.Unlock()
	n, err := parcel.write(p.conn)
	p.mu.Lock()
	p.live.WriteEnds()
	if parcel.loan != nil {
		err = p.repay(parcel.loan, err)
	}
	if err != nil {
		if p.tls != nil {
			// What the failing record held may have left.
			n = min(parcel.size, n+maxTLSRecord)
		}
		p.sent += int64(n)
		// The reader takes what still came, up to its own error; the tick bounds that.
		p.failLocked(p.h.Why(err))
		p.leave()
		p.mu.Unlock()
		if panicked := rescue.Panic(""); errors.As(err, &panicked) {
			p.HangUp() // for the peer knows of nothing
		}
		return false
	}
	p.sent += int64(n)
	p.out.back(parcel)
	if p.out.size > 0 && p.end == nil {
		p.mu.Unlock()
		return true
	}
	p.leave()
	p.mu.Unlock()
	return false
}

// leave ends being the writer.
func (p *Conn) leave() {
	p.writing = false
	if p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}
