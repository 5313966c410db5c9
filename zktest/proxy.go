package zktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/internal/talk"
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

// ProxyOptions are the settings of a proxy. The zero value is good for most
// tests.
type ProxyOptions struct {
	// Listen is the address for clients, host:port; empty: a free port of 127.0.0.1.
	Listen string
	// FrameLog is how many frames [Proxy.Frames] remembers; zero: 65536, negative: none.
	FrameLog int
	// Raw keeps up to 1 MiB of the bytes of each frame in the log, passwords and
	// credentials among them.
	Raw bool

	// OnFrame is called with each entry of the log, one after the other; nil: none.
	// The frame passes when OnFrame returns, so it can cut the connection before.
	// While it blocks, nothing passes. It may call all methods of the proxy except
	// Close.
	OnFrame func(Frame)
}

// Proxy runs between any client and any server, over TCP. It passes the bytes on
// unchanged, logs the frames in them, and breaks connections on request. Frames
// in one direction never wait for those in the other. All methods are safe for
// concurrent use.
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

// NewProxy starts a proxy that ends with the test. server is host:port. Misuse of
// it fails the test. At most one ProxyOptions can be given.
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

// StartProxy starts a proxy. server is host:port. Close ends the proxy. The
// server need not be there yet: each connection to the proxy makes one to the
// server, and is reset if that fails. Misuse of it panics.
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
	p.wg.Go(p.acceptLoop)
	return p, nil
}

// Addr returns the address for clients, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends all connections, and waits until the goroutines of the proxy have
// ended. It may be called twice. Injecting a fault afterwards is misuse.
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

// Retarget connects future connections to another server.
func (p *Proxy) Retarget(server string) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		p.misuse("Retarget: %v", err)
	}
	defer p.use("Retarget")()
	p.server = server
}

// Cut closes all connections. Both ends read the bytes that have passed, and
// then get io.EOF.
func (p *Proxy) Cut() {
	defer p.use("Cut")()
	for c := range p.conns {
		c.end("cut", hangUp)
	}
}

// Reset resets all connections, as a restarted peer does.
func (p *Proxy) Reset() {
	defer p.use("Reset")()
	for c := range p.conns {
		c.end("reset", resetTCP)
	}
}

// Hold stops one direction of all present and future connections until Release,
// as if the network lost every packet of that direction. Even the end of a
// connection does not pass. Bytes that are sent meanwhile wait, first here,
// then at the sender.
func (p *Proxy) Hold(dir Direction) {
	p.set("Hold", dir, func(w *way) { w.held = true })
}

// Release ends Hold, and lets through all that waits, also behind StallAt.
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

// Delay makes everything in one direction arrive later by d, on all present and
// future connections. It does not limit the rate. Zero removes the delay.
func (p *Proxy) Delay(dir Direction, d time.Duration) {
	p.set("Delay", dir, func(w *way) { w.delay = d })
}

// Drip limits one direction of each present and future connection to
// bytesPerSecond. Zero removes the limit.
func (p *Proxy) Drip(dir Direction, bytesPerSecond int) {
	p.set("Drip", dir, func(w *way) { w.rate = max(bytesPerSecond, 0) })
}

// Link adds a rule for future connections. It cannot name a Member.
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

// Heal ends every Hold, Delay and Drip, lets through what StallAt has stopped,
// and removes the rules for future connections.
func (p *Proxy) Heal() {
	defer p.use("Heal")()
	p.ways, p.rules = [2]way{}, nil
	p.unstall(FromClient)
	p.unstall(ToClient)
	p.wake()
}

// Frames returns the last frames that passed, in their order, and the end of each
// connection. A frame may be lost if its connection ended then.
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
	for {
		nc, err := p.listener.Accept()
		switch {
		case err == nil:
			p.wg.Go(func() { p.connect(nc.(*net.TCPConn)) })
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
	for _, f := range c.flows {
		p.wg.Go(f.read)
		p.wg.Go(f.write)
	}
}
