package zktest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Pipe returns the two ends of a connection in memory. Unlike net.Pipe it is
// buffered in both directions, without bound, so that two sides that write at
// once do not block. Inside a testing/synctest bubble a blocked Read or Write
// counts as durably blocked, and deadlines follow the bubble's clock.
func Pipe() (client, server *PipeConn) {
	up, down := newHalf(), newHalf()
	client = &PipeConn{in: down, out: up, local: "client", remote: "server"}
	server = &PipeConn{in: up, out: down, local: "server", remote: "client"}
	return client, server
}

// PipeConn is one end of a [Pipe]. It is a [net.Conn].
type PipeConn struct {
	in, out       *half
	local, remote pipeAddr
}

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

// half is one direction of a pipe.
type half struct {
	mu       sync.Mutex // guards all below
	moved    *sync.Cond
	buf      []byte // buf[off:] waits to be read
	off      int
	capacity int // 0: no bound
	limit    Limit
	writeEnd error // why nothing more can be written
	readEnd  error // why nothing more can be read, once buf is empty
	reader   deadline
	writer   deadline
}

type deadline struct {
	timer  *time.Timer
	passed bool
}

func newHalf() *half {
	h := &half{}
	h.moved = sync.NewCond(&h.mu)
	return h
}

func (h *half) setDeadline(d *deadline, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.passed = nil, false
	if !t.IsZero() {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if d.timer == timer { // not replaced meanwhile
				d.passed = true
				h.moved.Broadcast()
			}
		})
		d.timer = timer
	}
	h.moved.Broadcast()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.reader.passed:
			return 0, os.ErrDeadlineExceeded
		case h.readEnd == net.ErrClosed:
			return 0, h.readEnd
		case h.off < len(h.buf):
			n := copy(p, h.buf[h.off:])
			if h.off += n; h.off == len(h.buf) {
				h.buf, h.off = h.buf[:0], 0
			}
			h.moved.Broadcast()
			return n, nil
		case h.readEnd != nil:
			return 0, h.readEnd
		case len(p) == 0:
			return 0, nil
		}
		h.moved.Wait()
	}
}

func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writer.passed:
			return n, os.ErrDeadlineExceeded
		case h.writeEnd != nil:
			return n, h.writeEnd
		case n == len(p):
			return n, nil
		}
		room := len(p) - n
		if h.capacity > 0 {
			room = min(room, h.capacity-(len(h.buf)-h.off))
		}
		if room <= 0 {
			h.moved.Wait()
			continue
		}
		pass := h.limit.take(p[n : n+room])
		if h.off > 0 && len(h.buf)+pass > cap(h.buf) {
			h.buf, h.off = h.buf[:copy(h.buf, h.buf[h.off:])], 0
		}
		h.buf = append(h.buf, p[n:n+pass]...)
		n += pass
		h.moved.Broadcast()
		switch {
		case !h.limit.reached():
		case h.limit.stall:
			return len(p), nil // taken, and never seen again
		case h.limit.reset:
			h.writeEnd, h.readEnd = errReset, errReset
		default:
			h.writeEnd, h.readEnd = errReset, io.EOF
		}
	}
}

// end stops the direction: for the writer now, for the reader when it has read what is there.
func (h *half) end(writeEnd, readEnd error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writeEnd == nil || writeEnd == net.ErrClosed {
		h.writeEnd = writeEnd
	}
	if h.readEnd == nil || readEnd == net.ErrClosed {
		h.readEnd = readEnd
	}
	h.moved.Broadcast()
}

// Read reads what the other end wrote.
func (c *PipeConn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write does not block, unless SetCapacity was called.
func (c *PipeConn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

func (c *PipeConn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "pipe", Source: c.local, Addr: c.remote, Err: err}
}

// Close ends both directions. The other end reads what was written before, and
// then gets io.EOF.
func (c *PipeConn) Close() error {
	c.SetDeadline(time.Time{})
	c.out.end(net.ErrClosed, io.EOF)
	c.in.end(errPipe, net.ErrClosed)
	return nil
}

// CloseWrite ends the direction that starts here.
func (c *PipeConn) CloseWrite() error {
	c.out.end(net.ErrClosed, io.EOF)
	return nil
}

// SetWriteLimit bounds how many of the bytes written from now on reach the other
// end. A Write that a cut interrupts returns how many did.
func (c *PipeConn) SetWriteLimit(l Limit) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.limit = l
}

// SetCapacity bounds how many bytes written here may wait to be read at the other
// end. Beyond that Write blocks, as on a full socket. 0 removes the bound.
func (c *PipeConn) SetCapacity(n int) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.capacity = n
	c.out.moved.Broadcast()
}

// LocalAddr returns the address of this end.
func (c *PipeConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *PipeConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *PipeConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the time at which a waiting Read fails with
// os.ErrDeadlineExceeded.
func (c *PipeConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.reader, t)
	return nil
}

// SetWriteDeadline sets the time at which a waiting Write fails with
// os.ErrDeadlineExceeded.
func (c *PipeConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writer, t)
	return nil
}
