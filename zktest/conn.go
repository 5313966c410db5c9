package zktest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// Sizes of a connection's buffers. Larger frames get larger buffers for as long as they last.
const (
	firstRead  = 1 << 10  // of a connection, whose buffer doubles when a read has filled it
	readSize   = 16 << 10 // and goes on doing so for large frames only
	keepBuffer = 256 << 10
)

// sessionlessTimeout is how long a connection may take to introduce itself.
const sessionlessTimeout = 10 * time.Second

// conn is one client connection. One goroutine reads and executes requests; once
// one has had to wait, a pump reads for it. It writes the replies when its input
// is drained; events from other connections start a goroutine that writes,
// unless one writes already.
type conn struct {
	ens    *Ensemble
	member *Member
	link   net.Conn // closing it never blocks
	nc     net.Conn // link, or TLS over it
	number int64
	since  time.Time
	in     frameReader
	done   chan struct{} // closed by drop

	toClient Limit   // used by whoever writes
	slow     Trickle // likewise

	// Guarded by ens.mu.
	ids      []data.Identity // the first is the client's address
	exchange *saslExchange   // of SASL; nil: none yet
	session  *session        // nil before the handshake
	timeout  time.Duration
	out      []byte // frames that wait to be written
	spare    []byte
	writing  bool // a goroutine owns the right to write
	busy     bool // the reader executes requests and will write when it is through
	closing  bool // ends when out is written
	severed  bool // a fault of a frame to the client has ended it: nothing more is queued
	dead     bool
	stalled  bool        // nothing more is queued
	deaf     bool        // nothing more is executed
	withhold bool        // a fault swallows the reply of the request in execution
	held     []byte      // a frame to the client that waits for the next one
	later    []delayed   // frames to the client that a fault delays
	alarm    *time.Timer // when the first of them is due
	heldBack *heldBack   // a request that waits for the next one
	farewell string      // why it is closing
	pump     pump
	traffic  traffic
	last     lastReply
}

func newConn(m *Member, link net.Conn) *conn {
	nc := link
	if m.ens.opts.TLS != nil {
		nc = tls.Server(link, m.ens.opts.TLS)
	}
	c := &conn{ens: m.ens, member: m, link: link, nc: nc, done: make(chan struct{}), since: time.Now(), last: noReply}
	c.in = frameReader{src: nc, max: m.ens.opts.MaxFrame, done: c.done}
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		host = "127.0.0.1" // in memory
	}
	c.ids = []data.Identity{{Scheme: "ip", ID: data.JavaHost(host)}}
	return c
}

func (c *conn) serve() {
	e := c.ens
	c.nc.SetReadDeadline(time.Now().Add(sessionlessTimeout))
	err := c.readLoop()
	e.mu.Lock()
	e.now = time.Now()
	switch {
	case c.closing:
	case errors.Is(err, errCut):
		c.end(err.Error())
		c.write()
	default:
		c.drop(err.Error())
	}
	open := !c.dead || c.stalled
	e.mu.Unlock()
	if open {
		// There is more to write, or the client must not notice: swallow what it sends until it gives up.
		_ = c.link.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, c.link)
		e.mu.Lock()
		if c.stalled || len(c.later) > 0 {
			c.cut("client closed the connection")
		}
		e.mu.Unlock()
	}
}

var (
	errEnded   = errors.New("connection ended")
	errCut     = errors.New("cut by a fault") // replies are still written
	errNoFrame = errors.New("client closed the connection before its first frame")
)

// readLoop executes requests until the connection ends.
func (c *conn) readLoop() error {
	if word, err := c.in.fourLetterWord(c.ens.opts.Version); err != nil {
		return err
	} else if word != "" {
		c.fourLetter(word)
		return errors.New("four-letter word " + word)
	}
	for {
		if err := c.executeBuffered(); err != nil {
			return err
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// readMore reads from the client as far as the link allows.
func (c *conn) readMore() error {
	if c.in.limit.reached() {
		switch {
		case c.in.limit.reset:
			abort(c.link)
			return errors.New("cut by a fault")
		case !c.in.limit.stall:
			return errCut
		}
		<-c.done
		return errEnded
	}
	err := c.in.fill()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) && c.in.w > c.in.r:
		return errors.New("client closed the connection within a frame")
	case errors.Is(err, io.EOF):
		return errors.New("client closed the connection")
	}
	return fmt.Errorf("read: %w", err)
}

// executeBuffered executes the frames that have been read, and writes the replies.
func (c *conn) executeBuffered() error {
	e := c.ens
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = time.Now()
	c.busy = true
	for !c.dead && !c.closing {
		frame, err := c.next()
		if err != nil {
			c.end(err.Error())
			break
		}
		if frame == nil {
			break
		}
		if !c.deaf {
			c.execute(frame)
		}
	}
	c.busy = false
	if c.slow.Bytes > 0 {
		c.kick() // so that reading goes on
	} else {
		c.write()
	}
	if c.dead || c.closing {
		return errEnded
	}
	return nil
}

func (c *conn) execute(frame []byte) {
	c.traffic.received++
	c.member.traffic.received++
	if c.session == nil {
		c.connect(frame)
		return
	}
	c.session.heard = c.ens.now
	c.request(frame)
}

// write writes what waits in out, unless another goroutine does. ens.mu is
// held, but not while writing.
func (c *conn) write() {
	if !c.writing {
		c.writing = true
		c.writeOut()
	}
}

// kick is write for whoever must not wait for this connection's client.
func (c *conn) kick() {
	if c.writing || c.busy || c.dead || len(c.out) == 0 && !c.closing {
		return
	}
	c.writing = true
	c.ens.wg.Go(func() {
		c.ens.mu.Lock()
		defer c.ens.mu.Unlock()
		c.writeOut()
	})
}

func (c *conn) writeOut() {
	e := c.ens
	for len(c.out) > 0 && !c.dead {
		buf := c.out
		c.out, c.spare = c.spare[:0], nil
		e.mu.Unlock()
		stall, err := c.send(buf)
		e.mu.Lock()
		if cap(buf) <= keepBuffer {
			c.spare = buf
		}
		if stall {
			c.stall()
		}
		if err != nil {
			c.drop("write: " + err.Error())
		}
	}
	c.writing = false
	if c.closing && len(c.later) == 0 {
		c.drop(c.farewell)
	}
}

// send writes to the client as fast as the link allows.
func (c *conn) send(buf []byte) (stall bool, err error) {
	for len(buf) > 0 && !stall && err == nil {
		n := c.slow.part(len(buf))
		stall, err = c.pass(buf[:n])
		buf = buf[n:]
		c.slow.pause(c.done)
	}
	return stall, err
}

// pass writes to the client as far as the link allows.
func (c *conn) pass(buf []byte) (stall bool, err error) {
	n := c.toClient.take(buf)
	if n > 0 {
		_, err = c.nc.Write(buf[:n])
	}
	if !c.toClient.reached() {
		return false, err
	}
	if c.toClient.reset {
		abort(c.link)
	}
	if !c.toClient.stall {
		err = errors.New("cut by a fault")
	}
	return c.toClient.stall, err
}

// cut is drop for whoever ends the connection where its client must notice, even if it is stalled.
func (c *conn) cut(reason string) {
	c.drop(reason)
	c.shut()
}

// shut closes the connection. It may be called twice.
func (c *conn) shut() {
	c.link.Close()
	delete(c.ens.conns, c)
	c.ens.moved.Broadcast()
}

// drop ends the connection at once. What waits in out is lost. The client of a
// stalled connection does not notice.
func (c *conn) drop(reason string) {
	if c.dead {
		return
	}
	e, m := c.ens, c.member
	c.dead = true
	close(c.done)
	delete(m.conns, c)
	if c.session != nil && m.bySession[c.session.id] == c {
		delete(m.bySession, c.session.id)
	}
	m.watches.Forget(c)
	c.out, c.spare = nil, nil
	c.forgetLater()
	c.logFrame(Frame{Dir: Hangup, Note: reason})
	if e.opts.Logger != nil {
		e.opts.Logger.Info("zktest: connection ended", "member", m.index, "conn", c.number, "session", fmt.Sprintf("%#x", uint64(c.sessionID())), "reason", reason)
	}
	e.moved.Broadcast() // to those who wait for a member on its behalf
	if !c.stalled {
		c.shut()
	}
}

// end ends the connection when out is written, and what a fault delays. Nothing
// more is executed or queued.
func (c *conn) end(reason string) {
	if !c.closing {
		c.closing, c.farewell = true, reason
	}
}

func (c *conn) sessionID() int64 {
	if c.session == nil {
		return 0
	}
	return c.session.id
}

// await waits until the member has applied a transaction, as every reply must.
// It says whether the connection is still there.
func (c *conn) await(zxid int64) bool {
	if c.member.tree.Zxid >= zxid {
		return !c.dead
	}
	s := c.session
	if s != nil {
		s.waiting++
	}
	c.startPump()
	c.pump.waiting = true
	c.rest()
	c.overtake()
	for !c.dead && c.member.tree.Zxid < zxid {
		c.ens.moved.Wait()
	}
	c.pump.waiting, c.busy = false, true
	if s != nil {
		s.waiting--
		s.heard = time.Now()
	}
	return !c.dead
}

// pause waits for a time, or the connection's end.
func (c *conn) pause(d time.Duration) bool {
	if d > 0 {
		c.rest()
		c.ens.mu.Unlock()
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-c.done:
		}
		t.Stop()
		c.ens.mu.Lock()
		c.busy = true
	}
	return !c.dead
}

// rest lets others write what waits while the reader does not.
func (c *conn) rest() {
	c.busy = false
	c.kick()
}

// begin starts the frame of a reply in out and returns where.
func (c *conn) begin(xid int32, zxid int64, code int32) int {
	at := len(c.out)
	c.out = wire.BeginFrame(c.out)
	c.out = wire.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}.Append(c.out)
	return at
}

// finish completes the frame that began at, and logs it as f. A reply says to
// which request.
func (c *conn) finish(at int, f Frame, r *data.Request) {
	if c.stalled || c.severed {
		c.out = c.out[:at]
		return
	}
	wire.EndFrame(c.out, at)
	f.Dir = ToClient
	times := 1
	if len(c.ens.faults) > 0 {
		f.Session = c.sessionID()
		times = c.mangle(at, &f, r)
	}
	for range times {
		c.traffic.sent++
		c.member.traffic.sent++
		f.Raw = c.out[at+4 : at+4+wire.FrameLen(c.out[at:])]
		c.logFrame(f)
	}
	if c.held != nil && times > 0 {
		c.out, c.held = append(c.out, c.held...), nil
	}
	if n := len(c.later); n > 0 {
		last := &c.later[n-1]
		last.frames = append(last.frames, c.out[at:]...)
		c.out = c.out[:at]
	}
}

// replied completes the frame of a reply.
func (c *conn) replied(at int, r *data.Request, zxid int64, code int32) {
	if c.withhold {
		c.out = c.out[:at]
		return
	}
	c.member.sizes.add(len(c.out) - at - 4)
	c.answered(r.Xid, r.Op, zxid, code)
	c.finish(at, Frame{Xid: r.Xid, Op: r.Op, Path: r.Path, Zxid: zxid, Err: code}, r)
}

// answer replies with a header alone.
func (c *conn) answer(r *data.Request, zxid int64, code int32) {
	c.replied(c.begin(r.Xid, zxid, code), r, zxid, code)
}

// event queues a notification. Since 3.8.4 a client that may not read the node gets none.
func (c *conn) event(typ int32, path string, zxid int64, a *data.ACL) {
	if c.dead || c.closing {
		return
	}
	v := c.ens.opts.Version
	if a != nil && v >= V38 && !a.Allowed(wire.PermRead, c.ids) {
		return
	}
	if v < V39 {
		zxid = -1
	}
	at := c.begin(wire.XidNotification, zxid, 0)
	c.out = wire.WatcherEvent{Type: typ, State: wire.StateSyncConnected, Path: data.JavaString(path)}.Append(c.out)
	c.finish(at, Frame{Xid: wire.XidNotification, Op: wire.OpNotification, Event: typ, Path: path, Zxid: zxid}, nil)
	c.kick()
}

// frameReader cuts a stream into frames.
type frameReader struct {
	src   io.Reader
	buf   []byte
	r, w  int
	full  bool // the last read filled buf
	max   int
	limit Limit
	slow  Trickle
	done  <-chan struct{} // closed when nobody waits for frames any more
}

// next returns the next frame's body if all of it has been read, else nil. It
// is valid until fill.
func (f *frameReader) next() ([]byte, error) {
	if f.w-f.r < 4 {
		return nil, nil
	}
	n := wire.FrameLen(f.buf[f.r:])
	if n < 0 || n > f.max {
		return nil, fmt.Errorf("frame length %d", n)
	}
	if f.w-f.r < 4+n {
		return nil, nil
	}
	body := f.buf[f.r+4 : f.r+4+n]
	f.r += 4 + n
	return body, nil
}

// fill reads more, after next has returned nil.
func (f *frameReader) fill() error {
	need := min(max(len(f.buf), firstRead), readSize)
	if f.full {
		need = min(2*need, readSize)
	}
	if have := f.w - f.r; have >= 4 {
		// No more than twice what has come, whatever the client announces.
		need = max(need, min(4+wire.FrameLen(f.buf[f.r:]), 2*have))
	}
	if need > len(f.buf) || len(f.buf) > keepBuffer && need <= readSize {
		buf := make([]byte, need)
		f.w = copy(buf, f.buf[f.r:f.w])
		f.buf, f.r = buf, 0
	} else if f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	room := f.buf[f.w:]
	n, err := f.src.Read(room[:f.slow.part(len(room))])
	f.slow.pause(f.done)
	n = f.limit.take(room[:n])
	f.w += n
	f.full = n == len(room)
	if n > 0 || f.limit.reached() {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
