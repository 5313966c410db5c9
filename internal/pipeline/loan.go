package pipeline

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/wire"
)

// Large is from how many bytes on data is better not copied.
const Large = largeFrame

// loan is a frame whose data is not copied: the writer takes it from the caller's slice,
// which must be the caller's alone again when its call returns. A caller that cannot
// leave, for its context never ends, writes it itself. For another a goroutine does, and
// a caller that leaves ends that Write by a deadline: what has not left is copied then.
// Only on a socket does a Write that a deadline ends say how much has left. Nothing is
// lent where other frames are ahead of it, behind which it would have to wait.
type loan struct {
	p     *Conn
	call  *Call // nil: it has ended
	parts [3][]byte
	bufs  net.Buffers   // what has not left
	back  chan struct{} // not nil: the caller waits for its end
}

// stoppable: a deadline ends a Write without losing count of what has left. Windows takes
// all that is written at once, and may have sent some of it.
var stoppable = runtime.GOOS != "windows" && runtime.GOOS != "plan9"

// Lend makes data part of the frame that Frames are, in place of a null buffer that the
// frame has at a place. It stays the caller's, and is not changed until the call returns.
func (c *Call) Lend(data []byte, at int) {
	wire.AppendInt32(c.Frames[:at], int32(len(data)))
	wire.AppendInt32(c.Frames[:0], int32(wire.FrameLen(c.Frames)+len(data)))
	c.lent, c.cut = data, at+4
}

// Size is that of the Frames, with what is lent.
func (c *Call) Size() int { return len(c.Frames) + len(c.lent) }

// join copies what is lent, if it is lent still.
func (c *Call) join() {
	if c.lent == nil {
		return
	}
	b := append(Room(nil, c.Size()), c.Frames[:c.cut]...)
	c.whole = append(append(b, c.lent...), c.Frames[c.cut:]...)
	c.lent = nil
}

// Large reports whether its frame is not copied, but sent by SendLargeUnlock.
func (c *Call) Large() bool {
	return !c.Made && (c.cut > 0 || len(c.Frames) >= Large && c.batch == nil && !c.Own)
}

// Lent reports whether Lend was called.
func (c *Call) Lent() bool { return !c.Made && c.cut > 0 }

// LockFor is Lock, to send a Call that has lent something, by SendLargeUnlock. What cannot be
// written from where it is, it copies before, without the lock.
func (p *Conn) LockFor(ctx context.Context, c *Call) {
	p.mu.Lock()
	if !p.mayLend(ctx) {
		p.mu.Unlock()
		c.join()
		p.mu.Lock()
	}
}

// lending returns the frame to queue of a Call that has lent something.
func (p *Conn) lending(ctx context.Context, c *Call) []byte {
	if !p.mayLend(ctx) {
		c.join()
	}
	if c.whole != nil {
		return c.whole
	}
	return c.Frames
}

// forget ends what Lend has begun.
func (c *Call) forget() {
	if c.whole != nil { // it was not sent
		release(c.whole)
	}
	c.cut, c.lent, c.whole, c.loan = 0, nil, nil, nil
}

// mayLend reports whether a request may be written from where it is. Where nobody writes,
// nothing is queued.
func (p *Conn) mayLend(ctx context.Context) bool {
	return p.lends && !p.writing && (ctx.Done() == nil || stoppable)
}

// lend queues a Call with what it has lent. Nothing else is queued.
func (o *outbox) lend(p *Conn, c *Call) {
	l := o.loan
	if l == nil {
		l = &loan{p: p}
	}
	l.call, l.parts = c, [3][]byte{c.Frames[:c.cut], c.lent, c.Frames[c.cut:]}
	o.lent, o.loan = l, nil
	o.size += c.Size()
}

// write is apart, as gather's is.
//
//go:noinline
func (l *loan) write(w io.Writer) (int, error) {
	l.bufs = l.parts[:]
	n, err := l.bufs.WriteTo(w)
	return int(n), err
}

// repay ends a loan, when nobody reads it any more. What its Write has left over is
// queued as a copy. It returns what is still wrong of the Write's error.
func (p *Conn) repay(l *loan, err error) error {
	if l.back != nil {
		p.conn.SetWriteDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
			p.out.first(l.bufs)
		}
		close(l.back)
	}
	l.call, l.parts, l.bufs, l.back = nil, [3][]byte{}, nil, nil
	return err
}

// first queues a copy of buffers ahead of all others.
func (o *outbox) first(bufs net.Buffers) {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	rest := Room(nil, n)
	for _, b := range bufs {
		rest = append(rest, b...)
	}
	o.ahead = append([][]byte{rest}, o.ahead...)
	o.size += n
}

// reclaim ends the loan of a Call that another goroutine writes, if there is one.
func (c *Call) reclaim() {
	if !c.Made && c.loan != nil {
		c.loan.end(c)
		c.loan = nil
	}
}

// end waits until the loan of a Call has ended.
func (l *loan) end(c *Call) {
	l.p.mu.Lock()
	if l.call != c {
		l.p.mu.Unlock()
		return
	}
	back := make(chan struct{})
	l.back = back
	l.p.conn.SetWriteDeadline(time.Now())
	l.p.mu.Unlock()
	<-back
}
