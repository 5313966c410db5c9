package zktest

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/seed-9f8420c6/zk/internal/talk"
)

// proxyConn is a client's connection and the one to the server that belongs to it.
type proxyConn struct {
	proxy  *Proxy
	number int64
	ends   [2]*net.TCPConn // client, server
	flows  [2]*flow        // by Direction
	talk   talk.Talk

	// Guarded by proxy.mu.
	running int    // goroutines
	over    bool   // nothing passes any more
	last    *flow  // whose limit is reached: only what it has taken still passes
	reason  string // why
}

// end stops the connection and does the same to both its ends. proxy.mu is held.
func (c *proxyConn) end(reason string, how func(*net.TCPConn) error) {
	if c.over {
		return
	}
	c.over, c.reason = true, reason
	for _, nc := range c.ends {
		_ = how(nc) // it may be gone already
	}
	for _, f := range c.flows {
		signal(f.moved)
		signal(f.drained)
	}
}

// hangUp ends the direction to the other end. Closing at once would send a
// reset instead if there were something unread, so the reader goes on for a while.
func hangUp(nc *net.TCPConn) error {
	now := time.Now()
	_ = nc.SetWriteDeadline(now)
	_ = nc.SetReadDeadline(now.Add(proxyFarewell))
	return nc.CloseWrite()
}

func resetTCP(nc *net.TCPConn) error {
	abort(nc)
	return nil
}

// leave is the last thing that a goroutine of the connection does.
func (c *proxyConn) leave() {
	p := c.proxy
	p.mu.Lock()
	c.running--
	last := c.running == 0
	if last {
		delete(p.conns, c)
	}
	p.mu.Unlock()
	if last {
		for _, nc := range c.ends {
			nc.Close()
		}
		p.record(Frame{Conn: c.number, Session: c.talk.Session(), Dir: Hangup, Note: c.reason})
	}
}

// flow is one direction of a connection. One goroutine reads, another writes
// what is due.
type flow struct {
	conn     *proxyConn
	dir      Direction
	src, dst *net.TCPConn
	moved    chan struct{} // holds a token when the writer has something to look at
	drained  chan struct{} // holds a token when the reader may find room
	slow     Trickle
	cutter   talk.Cutter // of the writer

	// Guarded by proxy.mu.
	queue  []byte // queue[off:] waits to pass
	off    int
	marks  []mark // marks[first:] say when that came
	first  int
	paid   time.Time // when Drip and slow let more pass
	limit  Limit
	endAt  time.Time // when src ended
	err    error     // how: io.EOF, or a failure
	broken bool      // dst takes no more
	done   bool      // dst has been told of the end
}

// mark says when so many bytes came.
type mark struct {
	at time.Time
	n  int
}

func newFlow(c *proxyConn, dir Direction, src, dst *net.TCPConn, limit Limit, slow Trickle) *flow {
	f := &flow{conn: c, dir: dir, src: src, dst: dst, limit: limit, slow: slow}
	f.moved, f.drained = make(chan struct{}, 1), make(chan struct{}, 1)
	f.cutter.Keep = talk.PrefixKept
	if c.proxy.opts.Raw {
		f.cutter.Keep = talk.RawKept
	}
	return f
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (f *flow) read() {
	defer f.conn.leave()
	chunk := make([]byte, proxyChunk)
	for {
		n, err := f.src.Read(chunk)
		if !f.push(chunk[:n], err) {
			return
		}
	}
}

// push queues what came from src. It waits while there is much already, and
// returns false when there is nothing more to read.
func (f *flow) push(b []byte, err error) bool {
	p := f.conn.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.conn.over {
		return err == nil // to hear of the other end's end
	}
	now := time.Now()
	if len(b) > 0 {
		if f.off > 0 && len(f.queue)+len(b) > cap(f.queue) {
			f.queue, f.off = f.queue[:copy(f.queue, f.queue[f.off:])], 0
		}
		f.queue = append(f.queue, b...)
		f.mark(now, len(b))
	}
	if err != nil {
		f.endAt, f.err = now, err
	}
	signal(f.moved)
	for len(f.queue)-f.off >= proxyQueue && !f.conn.over {
		p.mu.Unlock()
		<-f.drained
		p.mu.Lock()
	}
	return err == nil
}

// mark notes when n bytes came.
func (f *flow) mark(at time.Time, n int) {
	if last := len(f.marks) - 1; last >= f.first && at.Sub(f.marks[last].at) < proxyGrain {
		f.marks[last].n += n
		return
	}
	if f.first > 0 && len(f.marks) == cap(f.marks) {
		f.marks, f.first = f.marks[:copy(f.marks, f.marks[f.first:])], 0
	}
	f.marks = append(f.marks, mark{at, n})
}

func (f *flow) write() {
	defer f.conn.leave()
	chunk := make([]byte, proxyChunk)
	clock := time.NewTimer(0)
	defer clock.Stop()
	for {
		n, at, wait, more := f.pull(chunk)
		switch {
		case !more:
			return
		case n > 0:
			f.pass(chunk[:n], at)
			if !f.settle() {
				return
			}
			continue
		case wait > 0:
			clock.Reset(wait)
		}
		select {
		case <-f.moved:
		case <-clock.C:
		}
	}
}

// pull takes what is due out of the queue, and says when it came. If that is
// nothing it says how long to wait, 0 being until something changes, and
// whether there may be more.
func (f *flow) pull(chunk []byte) (n int, at time.Time, wait time.Duration, more bool) {
	c, p := f.conn, f.conn.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	way, now := p.ways[f.dir], time.Now()
	switch {
	case c.over:
		return 0, at, 0, false
	case f.limit.reached() && !f.limit.stall: // at 0
		f.strike()
		return 0, at, 0, false
	case way.held || f.limit.reached() || c.last != nil:
		return 0, at, 0, true
	case f.off == len(f.queue) && f.err == nil:
		return 0, at, 0, true
	case f.off == len(f.queue):
		if wait := way.delay - now.Sub(f.endAt); wait > 0 {
			return 0, at, wait, true
		}
		f.finish()
		return 0, at, 0, false
	}
	first := &f.marks[f.first]
	at = first.at
	if wait := way.delay - now.Sub(at); wait > 0 {
		return 0, at, wait, true
	}
	n = f.slow.part(min(first.n, len(chunk)))
	if wait := f.paid.Sub(now); wait > 0 && (way.rate > 0 || f.slow.Bytes > 0) {
		return 0, at, wait, true
	}
	if way.rate > 0 {
		n = min(n, max(way.rate/50, 1))
	}
	n = f.limit.take(f.queue[f.off : f.off+n])
	f.paid = now
	if f.slow.Bytes > 0 {
		f.paid = now.Add(f.slow.Every)
	}
	if way.rate > 0 {
		f.paid = f.paid.Add(time.Duration(n) * time.Second / time.Duration(way.rate))
	}
	copy(chunk, f.queue[f.off:f.off+n])
	f.off += n
	if first.n -= n; first.n == 0 {
		f.first++
	}
	if f.off == len(f.queue) {
		f.queue, f.off, f.marks, f.first = f.queue[:0], 0, f.marks[:0], 0
	}
	signal(f.drained)
	if f.limit.reached() && !f.limit.stall {
		// Before the other end can answer, so that nobody sees the connection live longer.
		c.last = f
	}
	if n == 0 { // a limit that strikes on what comes next
		signal(f.moved)
	}
	return n, at, 0, true
}

// settle strikes if a limit says so. It returns false if the connection is over.
func (f *flow) settle() bool {
	c, p := f.conn, f.conn.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.limit.reached() && !f.limit.stall {
		f.strike()
	}
	return !c.over
}

// strike ends the connection as the limit says.
func (f *flow) strike() {
	from := [...]string{"from", "to"}[f.dir]
	if f.limit.reset {
		f.conn.end("reset by a limit of what comes "+from+" the client", resetTCP)
		return
	}
	f.conn.end("cut by a limit of what comes "+from+" the client", hangUp)
}

// finish passes the end of src's stream on to dst.
func (f *flow) finish() {
	c := f.conn
	who := [...]string{"client", "server"}[f.dir]
	if !errors.Is(f.err, io.EOF) {
		c.end(who+" gone: "+f.err.Error(), resetTCP)
		return
	}
	_ = f.dst.CloseWrite() // it may be gone already
	f.done = true
	back := c.flows[1-f.dir]
	switch {
	case back.broken:
		c.end(who+" closed the connection, and got more", resetTCP)
	case back.done:
		c.end(c.reason, (*net.TCPConn).Close)
	default:
		c.reason = who + " closed the connection"
	}
}

// decode makes an entry of the log of the frame that the cutter has found.
func (f *flow) decode(at time.Time) Frame {
	e := f.conn.talk.Decode(&f.cutter, f.dir == ToClient, at)
	return Frame{
		Conn: f.conn.number, Dir: f.dir, Session: e.Session, Xid: e.Xid, Op: e.Op, Event: e.Event, Path: e.Path, Zxid: e.Zxid, Err: e.Err,
		Latency: e.Latency, Len: e.Len, Raw: e.Raw, Note: e.Note,
	}
}

// pass logs the frames that end in b and writes b.
func (f *flow) pass(b []byte, at time.Time) {
	p := f.conn.proxy
	for start := 0; start < len(b); {
		n, done := f.cutter.Cut(b[start:])
		if done {
			p.record(f.decode(at))
		}
		if start += n; p.opts.OnFrame != nil || start == len(b) {
			// With OnFrame each frame goes by itself, as those before it must have
			// passed, and it not, when OnFrame cuts.
			if !f.send(b[:start]) {
				return
			}
			b, start = b[start:], 0
		}
	}
}

// send writes to dst. What a dst that is gone does not take is lost: src hears
// of that from the other direction, which is how its own end would have to come.
func (f *flow) send(b []byte) bool {
	c, p := f.conn, f.conn.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.over || f.broken {
		return false
	}
	p.mu.Unlock()
	_, err := f.dst.Write(b)
	p.mu.Lock()
	if err == nil {
		return true
	}
	f.broken = true
	if c.flows[1-f.dir].done {
		c.end([...]string{"server", "client"}[f.dir]+" closed the connection, and got more", resetTCP)
	}
	return false
}
