// Package pipeline is one connection on which requests are sent without waiting for
// the answers to those before. It numbers them, writes them with few system calls,
// matches the replies, which come in order, and says of each request that fails
// whether it was sent. What requests and replies mean is its Handler's to know, and
// so is the order in which answers and events reach the application.
package pipeline

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/fifo"
	"github.com/seed-9f8420c6/zk/internal/liveness"
	"github.com/seed-9f8420c6/zk/wire"
)

// Handler knows what the frames mean. The reader calls it, in wire order, and it must
// wait for nothing. Idle and Tick are called by the timer; Why also by whoever writes, under the
// lock, and by the timer.
type Handler interface {
	// Chunk: more was read.
	Chunk()
	// Rest: all that was read is taken, and the reader waits for more.
	Rest()

	// Answer takes the reply to a single frame. won: somebody waits for it. end is why
	// the connection ends with it; err, what is wrong with the reply.
	Answer(c *Call, zxid int64, code int32, d *wire.Decoder) (won bool, end, err error)
	// Reply reads the reply to a frame of a batch, the first being 0. ended is why the
	// answer ends the connection; err, what is wrong with the reply.
	Reply(c *Call, i int, zxid int64, code int32, d *wire.Decoder) (ended, err error)
	// SettleMany makes frames of a batch count as answered, if Call.Advance says so.
	SettleMany(c *Call, from, to int)
	// Left: all frames of a run, from the first on, were answered and have left the
	// queue. Only runs that were marked are told.
	Left(c *Call, first int)
	// Auth takes the answer to an auth packet.
	Auth(c *Call, code int32) (won bool, end error)
	// Event takes a notification.
	Event(zxid int64, d *wire.Decoder) error
	// Pong takes the answer to a ping, and how long it took.
	Pong(took time.Duration) error

	// Failed: the connection ended before the answer to a frame; lost: a byte of it
	// had left.
	Failed(c *Call, i int, lost bool, end error)
	// Hand wakes the caller of a Call that is answered or has failed, in its turn.
	Hand(c *Call)
	// Drop: nobody waits for the Call any more.
	Drop(c *Call)

	// Why says what the end of the connection for a reason of this package, of the
	// Handler or of the network means.
	Why(err error) error
	// Ending: the connection is over and nothing is written any more, but calls that
	// wait for answers have not failed yet.
	Ending()
	// Finish: all calls have failed. It is the last but the closing of Done. It returns
	// the end with what there is to add to it.
	Finish(end error) error

	// Idle: nothing is under way.
	Idle()
	// Tick is called by the timer, several times in a session timeout, with the request
	// that has waited longest; N is zero if none waits.
	Tick(now time.Time, longest Waiting)
}

// Violation is what the peer has done against the protocol.
type Violation string

func (v Violation) Error() string { return string(v) }

// Oversize is the size of a reply that is above the limit.
type Oversize int

func (o Oversize) Error() string { return fmt.Sprintf("a reply of %d bytes", int(o)) }

func violation(format string, args ...any) error { return Violation(fmt.Sprintf(format, args...)) }

// Options are the limits of a Conn.
type Options struct {
	// MaxReply is the largest frame to accept, in bytes.
	MaxReply int
	// MaxInFlight is how many frames may wait for replies; 0: no limit.
	MaxInFlight int
	// Under is what the application has laid the connection over; nil: nothing.
	Under net.Conn
	// After is the xid that the first request comes after; 0: it is the first of its session.
	After int32
}

// Conn is a connection. Its lock guards the send path, and what the Handler's owner
// puts under it; it is never held over I/O.
type Conn struct {
	conn   net.Conn
	socket bool      // conn is one of the system
	lends  bool      // and nothing is laid over it: it writes several buffers at once
	tls    *tls.Conn // what conn is or is laid over; nil: no TLS
	h      Handler
	opts   Options

	done  chan struct{}
	dying chan struct{} // closed when end is set: nothing more is sent
	slots chan struct{} // MaxInFlight; nil: no limit
	flush func()        // flushAll, bound once

	mu      sync.Mutex // guards all below down to live, but for parcel
	refusal error      // why nothing more is sent, though the connection may live
	end     error      // why it is over; set once
	xid     int32
	out     outbox
	parcel  parcel        // what the writer has taken; the writer's alone
	queued  int64         // bytes ever put into out
	sent    int64         // bytes that left
	writing bool          // somebody is the writer
	idle    chan struct{} // closed when the writer is gone after the end; nil unless waited for
	ring    fifo.Ring[pending]
	auths   fifo.Queue[*Call] // auth packets are answered outside the ring
	frames  int64             // requests queued
	calls   int64             // of these, those that began a Call that is not the client's own
	pings   int64
	noPings bool
	timer   *time.Timer
	live    liveness.Monitor // but for what it takes from the reader without the lock

	more   atomic.Int64 // replies besides one for each item that has left the ring
	reader reader
}

// pending is a run of n frames of one Call that wait for their replies.
type pending struct {
	run
	label Label
}

// run is what the reader needs of it.
type run struct {
	c      *Call
	xid    int32 // of the first
	n      int32
	off    int64 // place of the first on the wire
	first  int32 // frame of a batch that the first is
	marked bool  // the Handler hears when it leaves
}

// New returns a Conn over a connection, on which nothing has been written.
func New(conn net.Conn, h Handler, opts Options) *Conn {
	p := &Conn{
		conn: conn, socket: onSocket(conn), h: h, opts: opts, xid: opts.After,
		done: make(chan struct{}), dying: make(chan struct{}),
	}
	p.tls, _ = p.under().(*tls.Conn)
	p.lends = isSocket(conn)
	if opts.MaxInFlight > 0 {
		p.slots = make(chan struct{}, opts.MaxInFlight)
	}
	p.flush = p.flushAll
	p.reader.ring = fifo.NewReader(&p.ring)
	return p
}

// under returns the connection without what the application has laid over it.
func (p *Conn) under() net.Conn {
	if p.opts.Under != nil {
		return p.opts.Under
	}
	return p.conn
}

// maxLayers is how many connections may be laid over one another.
const maxLayers = 16

// onSocket reports whether the system buffers what is written to a connection. It
// looks through those that show what they are laid over.
func onSocket(conn net.Conn) bool {
	for range maxLayers {
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = over.NetConn()
	}
	return isSocket(conn)
}

func isSocket(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// Greet notes a handshake: when it began, and the bytes that it took.
func (p *Conn) Greet(began time.Time, sent, received int) {
	p.live.Begin(began)
	p.sent, p.queued = int64(sent), int64(sent)
	p.live.Received(received)
}

// Start begins to read, and to watch over a connection that is dead after two thirds
// of the timeout. early is the code of refusals that come before their turn; 0: none.
// Without pings none are sent until Pings.
func (p *Conn) Start(timeout time.Duration, early int32, pings bool) {
	p.mu.Lock()
	p.reader.earlyCode = early
	p.noPings = !pings
	p.timer = time.AfterFunc(p.live.Start(timeout, time.Now()), p.tick)
	p.mu.Unlock()
	go p.read()
}

// Pings lets pings be sent.
func (p *Conn) Pings() {
	p.mu.Lock()
	p.noPings = false
	p.mu.Unlock()
}

// Lock and Unlock are for what is decided together with the order of requests.
func (p *Conn) Lock()   { p.mu.Lock() }
func (p *Conn) Unlock() { p.mu.Unlock() }

// Refuse makes all later requests fail with an error. It is called under the lock.
func (p *Conn) Refuse(err error) { p.refusal = err }

// Refused returns what Refuse was called with. It is called under the lock.
func (p *Conn) Refused() error { return p.refusal }

// Refusal returns why nothing can be sent, or nil. It is called under the lock.
func (p *Conn) Refusal() error {
	if p.refusal != nil {
		return p.refusal
	}
	return p.end
}

// Ended returns why the connection is over, or nil. It is called under the lock.
func (p *Conn) Ended() error { return p.end }

// Done is closed when all calls have failed and nothing is left running.
func (p *Conn) Done() <-chan struct{} { return p.done }

// Dying is closed when nothing more is sent.
func (p *Conn) Dying() <-chan struct{} { return p.dying }

// Heard returns the send time of the last request that was answered.
func (p *Conn) Heard() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live.Heard()
}

// Xid returns that of the last request.
func (p *Conn) Xid() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.xid
}

// Counts are those of a connection.
type Counts struct {
	Frames, Replies, Pings, Sent, Received int64
	Calls                                  int64 // Calls that are not the client's own
	Pending                                int   // frames that wait for their reply
}

// Counts returns a snapshot.
func (p *Conn) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := Counts{Replies: p.ring.Left() + p.more.Load(), Received: p.live.Bytes()}
	c.Frames, c.Calls, c.Pings, c.Sent = p.frames, p.calls, p.pings, p.sent
	select {
	case <-p.done:
	default:
		c.Pending = int(max(0, p.frames-c.Replies))
	}
	return c
}

// Fail ends the connection; the first reason stays. It is the only way to end it. With
// hangUp it is closed at once, else the reader first takes what has come.
func (p *Conn) Fail(err error, hangUp bool) {
	p.mu.Lock()
	p.failLocked(err)
	p.mu.Unlock()
	if hangUp {
		p.HangUp()
	}
}

func (p *Conn) failLocked(err error) {
	if p.end == nil {
		p.end = err
		close(p.dying)
	}
}

// HangUp closes the connection, also below TLS, which would first wait until the peer
// takes a farewell. What the application has laid over it hears of that afterwards, so
// that its Close cannot keep the connection open.
func (p *Conn) HangUp() {
	HangUp(p.under())
	if p.opts.Under != nil {
		p.conn.Close()
	}
}

// HangUp closes a connection without a farewell of TLS.
func HangUp(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	conn.Close()
}

// tick pings a quiet connection and ends a dead one. It never writes itself, so that
// a Write that hangs cannot keep it from seeing that.
func (p *Conn) tick() {
	now := time.Now()
	p.mu.Lock()
	if p.end != nil {
		p.mu.Unlock()
		p.HangUp()
		return
	}
	ping, next, err := p.live.Look(now, p.noPings)
	if err != nil {
		p.mu.Unlock()
		p.Fail(p.h.Why(err), true)
		return
	}
	longest := p.longestLocked()
	quiet := p.out.size == 0 && !p.writing && p.ring.Len() == 0
	if quiet {
		p.out = outbox{}
		p.ring.Release()
	}
	if ping {
		p.pings++
		var frame [12]byte
		wire.RequestHeader{Xid: wire.XidPing, Op: wire.OpPing}.Append(wire.BeginFrame(frame[:0]))
		wire.EndFrame(frame[:], 0)
		p.append(frame[:])
		p.wake()
	}
	p.timer.Reset(next)
	p.mu.Unlock()
	p.h.Tick(now, longest)
	if quiet {
		p.h.Idle()
	}
}

// finish is the end of the reader: it waits for the writer, fails what was pending,
// in order and behind the events before, and then says Done.
func (p *Conn) finish() {
	p.mu.Lock()
	p.timer.Stop()
	if p.writing {
		idle := make(chan struct{})
		p.idle = idle
		p.mu.Unlock()
		<-idle
		p.mu.Lock()
	}
	end, sent := p.end, p.sent
	auths := p.auths
	p.auths = fifo.Queue[*Call]{}
	p.h.Ending()
	p.mu.Unlock()

	var left []run
	for r := p.oldest(); r != nil; r = p.oldest() {
		left = append(left, *r)
		r.n = 0
	}
	last := make(map[*Call]int, len(left))
	for i, r := range left {
		last[r.c] = i
	}
	for i, r := range left {
		if r.c.batch == nil {
			p.failOne(r.c, r.off < sent, end)
		} else {
			p.failRun(r, end, sent, last[r.c] == i)
		}
	}
	for _, c := range auths.Items() {
		p.failOne(c, c.off < sent, end)
	}
	end = p.h.Finish(end)
	p.mu.Lock()
	p.end = end
	p.out, p.parcel = outbox{}, parcel{}
	p.more.Add(-int64(len(left))) // they leave unanswered
	p.reader.ring.Leave()
	p.ring.Release()
	p.mu.Unlock()
	p.reader = reader{}
	close(p.done)
}

// failOne ends a single frame.
func (p *Conn) failOne(c *Call, lost bool, end error) {
	if !c.Answer() {
		p.h.Drop(c)
		return
	}
	p.h.Failed(c, 0, lost, end)
	p.h.Hand(c)
}

// failRun ends a run of a batch's frames; last: it is the last of the batch's runs.
func (p *Conn) failRun(r run, end error, sent int64, last bool) {
	c, b := r.c, r.c.batch
	k := c.state.Load()
	if k&abandoned == 0 {
		if !c.state.CompareAndSwap(k, k|abandoned) {
			return
		}
		b.failing = true
	}
	if !b.failing {
		return // given up by its caller
	}
	// r.off is the place of the run's first frame; some may be answered.
	off := r.off
	b.failed.skip(c.Frames, int(r.first))
	off += int64(b.failed.skip(c.Frames, int(k&^abandoned)))
	for range r.n {
		i := b.failed.frame
		p.h.Failed(c, i, off < sent, end)
		off += int64(b.failed.skip(c.Frames, i+1))
	}
	if last {
		p.h.Hand(c)
	}
}

// nextXid counts from 1 to the largest int32 and on from 1.
func nextXid(x int32) int32 {
	if x == math.MaxInt32 {
		return 1
	}
	return x + 1
}

// Acquire takes one of MaxInFlight slots for a frame of a Call; waiters are served in order.
func (p *Conn) Acquire(ctx context.Context, c *Call) error {
	if p.slots == nil || p.TryAcquire() {
		return nil
	}
	return p.acquire(ctx, c)
}

func (p *Conn) acquire(ctx context.Context, c *Call) error {
	c.join() // while it waits anyway: with a slot others would overtake it meanwhile
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.dying:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.Refusal()
	}
}

// TryAcquire takes a slot if one is free.
func (p *Conn) TryAcquire() bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// Limited reports whether there are slots.
func (p *Conn) Limited() bool { return p.slots != nil }

// Release gives n slots back.
func (p *Conn) Release(n int) {
	if p.slots == nil {
		return
	}
	for range n {
		<-p.slots
	}
}

// cutFrame is the end of a stream within a frame.
func cutFrame(err error) error { return errors.Wrap(err, "in the middle of a frame") }
