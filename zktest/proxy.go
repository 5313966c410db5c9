package zktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/zktest/internal/talk"
)

// Bounds of what a proxy holds.
const (
	proxyChunk = 32 << 10 // bytes that pass at a time
	proxyQueue = 1 << 20  // bytes of one direction that wait to pass; more wait at their sender
)

// Times of a proxy.
const (
	proxyGrain    = 50 * time.Microsecond // arrivals this close count as one
	proxyFarewell = time.Second           // for the other end to close what was cut
	proxyPatience = 10 * time.Second      // for the server to accept a connection
)

// ProxyOptions change what a proxy is like. The zero value is good for most tests.
type ProxyOptions struct {
	Listen   string // address for clients, host:port; empty: a free port of 127.0.0.1
	FrameLog int    // frames that [Proxy.Frames] remembers; zero: 65536, negative: none
	Raw      bool   // the log keeps the bytes of each frame, up to 1 MiB of it: passwords and credentials among them

	// OnFrame gets each entry of the log, one after the other; nil: none. The
	// frame passes when it returns, so that it can cut the connection before, by
	// any method of the proxy but Close. While it blocks nothing passes.
	OnFrame func(Frame)
}

// Proxy stands between any client and any server, over TCP. It passes the bytes
// on as they are, logs the frames that it finds in them, and breaks connections
// on demand. Frames in one direction never wait for those in the other. All
// methods are safe for concurrent use.
type Proxy struct {
	opts     ProxyOptions
	tb       testing.TB // nil: misuse panics
	listener net.Listener
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	wg       sync.WaitGroup // every goroutine of the proxy

	order sync.Mutex // makes entries of the log and calls of OnFrame one sequence; taken before mu

	// mu is held for the time of computing only, never while waiting or in I/O.
	mu       sync.Mutex
	closed   bool
	server   string
	accepted int64
	conns    map[*proxyConn]struct{}
	rules    []*linkFault
	ways     [2]way // by Direction
	log      talk.Log[Frame]
}

// way is how one direction of all connections is disturbed.
type way struct {
	held  bool
	delay time.Duration
	rate  int // bytes per second; 0: no limit
}

// NewProxy starts a proxy to a server, host:port, that ends with the test.
// Misuse of it fails the test. At most one ProxyOptions can be given.
func NewProxy(tb testing.TB, server string, opts ...ProxyOptions) *Proxy {
	tb.Helper()
	o, err := only(opts)
	if err != nil {
		tb.Fatalf("zktest: proxy: %v", err)
	}
	p, err := StartProxy(server, o)
	if err != nil {
		tb.Fatalf("zktest: %v", err)
	}
	p.tb = tb
	tb.Cleanup(p.Close)
	return p
}

// StartProxy starts a proxy to a server, host:port, which Close ends. The server
// need not be there yet: each connection to the proxy makes one to the server,
// and is reset when that fails.
func StartProxy(server string, opts ProxyOptions) (*Proxy, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		return nil, fmt.Errorf("proxy: server: %w", err)
	}
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	if opts.FrameLog == 0 {
		opts.FrameLog = 65536
	}
	l, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{opts: opts, listener: l, server: server, conns: map[*proxyConn]struct{}{}}
	p.log.Max = max(opts.FrameLog, 0)
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.wg.Add(1)
	go p.acceptLoop()
	return p, nil
}

// Addr returns the address for clients, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends all connections and waits until nothing of the proxy runs any
// more. It may be called twice.
func (p *Proxy) Close() {
	p.stop()
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.end("proxy closed", (*net.TCPConn).Close)
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// Retarget leads connections that are yet to come to another server.
func (p *Proxy) Retarget(server string) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		p.misuse("Retarget: %v", err)
	}
	defer p.use("Retarget")()
	p.server = server
}

// Cut closes all connections without a word, as a peer does that ends: both
// ends read what has passed and then io.EOF.
func (p *Proxy) Cut() {
	defer p.use("Cut")()
	for c := range p.conns {
		c.end("cut", hangUp)
	}
}

// Reset resets all connections, as a peer does that has crashed and come back.
func (p *Proxy) Reset() {
	defer p.use("Reset")()
	for c := range p.conns {
		c.end("reset", resetTCP)
	}
}

// Hold lets nothing pass in one direction of all connections, present and to
// come, until Release: not even their end, as if the network lost every packet
// of that direction. What is sent meanwhile waits, first here, then at its sender.
func (p *Proxy) Hold(dir Direction) {
	p.set("Hold", dir, func(w *way) { w.held = true })
}

// Release ends Hold, and what a limit by [StallAt] has stopped. All that waits passes.
func (p *Proxy) Release(dir Direction) {
	p.set("Release", dir, func(w *way) {
		w.held = false
		p.unstall(dir)
	})
}

func (p *Proxy) unstall(dir Direction) {
	for c := range p.conns {
		if f := c.flows[dir]; f.limit.stall && f.limit.reached() {
			f.limit = Limit{}
		}
	}
}

// Delay makes everything that passes in one direction of all connections,
// present and to come, late by d, without passing less of it. Zero ends that.
func (p *Proxy) Delay(dir Direction, d time.Duration) {
	p.set("Delay", dir, func(w *way) { w.delay = d })
}

// Drip lets one direction of each connection, present and to come, pass only so
// many bytes per second. Zero ends that.
func (p *Proxy) Drip(dir Direction, bytesPerSecond int) {
	p.set("Drip", dir, func(w *way) { w.rate = max(bytesPerSecond, 0) })
}

// Link puts a rule for connections that are yet to come to work. It cannot name a Member.
func (p *Proxy) Link(r LinkRule) {
	if r.Member != nil {
		p.misuse("Link: a proxy has no members")
	}
	if wrong := r.wrong(); wrong != "" {
		p.misuse("Link: %s", wrong)
	}
	defer p.use("Link")()
	p.rules = append(p.rules, newLink(r))
}

// Heal ends every Hold, Delay and Drip, and what a limit by [StallAt] has
// stopped, and removes the rules for connections to come.
func (p *Proxy) Heal() {
	defer p.use("Heal")()
	p.ways, p.rules = [2]way{}, nil
	p.unstall(FromClient)
	p.unstall(ToClient)
	p.wake()
}

// Frames returns the last frames that passed, in that order; of each connection
// also its end. A frame to either side may be lost if the connection ended then.
func (p *Proxy) Frames() []Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.All()
}

// ForgetFrames empties the frame log.
func (p *Proxy) ForgetFrames() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Forget()
}

// set changes how a direction is disturbed.
func (p *Proxy) set(method string, dir Direction, change func(*way)) {
	if dir != FromClient && dir != ToClient {
		p.misuse("%s: %d is not a direction", method, dir)
	}
	defer p.use(method)()
	change(&p.ways[dir])
	p.wake()
}

// use takes mu for a method that needs a running proxy, and returns its release.
func (p *Proxy) use(method string) (release func()) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock() // Fatalf does not return
		p.misuse("%s after Close", method)
	}
	return p.mu.Unlock
}

func (p *Proxy) misuse(format string, args ...any) {
	if p.tb == nil {
		panic("zktest: proxy: " + fmt.Sprintf(format, args...))
	}
	p.tb.Helper()
	p.tb.Fatalf("zktest: proxy: "+format, args...)
}

// wake makes all connections look at what has changed.
func (p *Proxy) wake() {
	for c := range p.conns {
		for _, f := range c.flows {
			signal(f.moved)
		}
	}
}

// record adds an entry to the log.
func (p *Proxy) record(f Frame) {
	if p.opts.Raw {
		f.Raw = bytes.Clone(f.Raw)
	} else {
		f.Raw = nil
	}
	p.order.Lock()
	defer p.order.Unlock()
	f.Time = time.Now()
	p.mu.Lock()
	p.log.Add(f)
	p.mu.Unlock()
	if p.opts.OnFrame != nil {
		p.opts.OnFrame(f)
	}
}

func (p *Proxy) acceptLoop() {
	defer p.wg.Done()
	for {
		nc, err := p.listener.Accept()
		switch {
		case err == nil:
			p.wg.Add(1)
			go p.connect(nc.(*net.TCPConn))
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of descriptors, say
			select {
			case <-time.After(10 * time.Millisecond):
			case <-p.ctx.Done():
			}
		}
	}
}

// connect makes the other half of a client's connection and starts to pass frames.
func (p *Proxy) connect(client *net.TCPConn) {
	defer p.wg.Done()
	p.mu.Lock()
	p.accepted++
	c := &proxyConn{proxy: p, number: p.accepted, running: 4}
	address := p.server
	var rule LinkRule
	if r := nextLink(p.rules, nil); r != nil {
		rule = *r
	}
	p.mu.Unlock()

	dialer := net.Dialer{Timeout: proxyPatience}
	nc, err := dialer.DialContext(p.ctx, "tcp", address)
	if err != nil {
		abort(client)
		p.record(Frame{Conn: c.number, Dir: Hangup, Note: err.Error()})
		return
	}
	server := nc.(*net.TCPConn)
	c.ends = [2]*net.TCPConn{client, server}
	c.flows[FromClient] = newFlow(c, FromClient, client, server, rule.FromClient, rule.SlowFromClient)
	c.flows[ToClient] = newFlow(c, ToClient, server, client, rule.ToClient, rule.SlowToClient)

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		client.Close()
		server.Close()
		return
	}
	p.conns[c] = struct{}{}
	p.wg.Add(4)
	for _, f := range c.flows {
		go f.read()
		go f.write()
	}
}

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
	defer p.wg.Done()
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
