package zk

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	root "github.com/seed-9f8420c6/zk"
)

// Conn is a client that reconnects by itself. All methods are safe for concurrent use.
type Conn struct {
	settings atomic.Pointer[settings]
	state    atomic.Int32
	id       atomic.Int64
	server   atomic.Value // string
	gate     atomic.Pointer[gate]

	ctx  context.Context // ends with Close, by stop
	stop context.CancelFunc
	done chan struct{} // closed when the loop has ended

	mu sync.Mutex // guards changes of settings

	// telling guards the channel of events.
	telling sync.Mutex
	events  chan Event
	deaf    bool // it is closed
}

// settings are changed by options, also of a Conn that runs. They are replaced, not written to.
type settings struct {
	timeout    time.Duration
	dialer     Dialer // nil: the default
	hosts      HostProvider
	logger     Logger
	logInfo    bool
	callback   EventCallback
	maxReply   int
	maxRequest int
	configure  func(*root.Config)
	renew      bool
	hook       func(s *root.Session, fresh bool)
}

// gate is where calls wait for a connection.
type gate struct {
	link *link         // nil: there is no connection
	over chan struct{} // closed when there is another gate
	err  error         // set before that: those who wait fail by it
}

// link is one connection as calls see it.
type link struct {
	s     *root.Session
	books *books
	gone  chan struct{} // closed when it is lost, and the session's channel has the event
}

// Dialer connects to a server.
type Dialer func(network, address string, timeout time.Duration) (net.Conn, error)

// Logger takes log lines.
type Logger interface {
	Printf(string, ...interface{})
}

// EventCallback gets every event of a Conn, before the channels do. While it runs,
// reconnecting and later events wait. It must not call the Conn.
type EventCallback func(Event)

type connOption func(c *Conn)

// connectTimeout is how long the Dialer gets.
const connectTimeout = time.Second

// Connect returns a Conn that connects in the background, and the channel of its
// events. That has room for six; further ones are dropped. It fails when there are no
// servers, or when the HostProvider's Init does: the default one resolves names.
// The session timeout is in steps of 1 ms.
func Connect(servers []string, sessionTimeout time.Duration, options ...connOption) (*Conn, <-chan Event, error) {
	if len(servers) == 0 {
		return nil, nil, errors.New("zk: server list must not be empty")
	}
	servers = FormatServers(servers)
	shuffle(servers)
	ctx, stop := context.WithCancel(context.Background())
	c := &Conn{ctx: ctx, stop: stop, done: make(chan struct{}), events: make(chan Event, 6)}
	c.gate.Store(&gate{over: make(chan struct{})})
	c.settings.Store(&settings{
		timeout:    min(max(sessionTimeout, time.Millisecond), math.MaxInt32*time.Millisecond),
		hosts:      NewDNSHostProvider(),
		logger:     DefaultLogger,
		logInfo:    true,
		maxRequest: 1536 * 1024,
	})
	for _, option := range options {
		if option != nil {
			option(c)
		}
	}
	if err := c.settings.Load().hosts.Init(servers); err != nil {
		stop()
		return nil, nil, err
	}
	l := &loop{c: c, books: newBooks(c.tell), fresh: true}
	go l.run()
	return c, c.events, nil
}

// ConnectWithDialer is Connect with the option WithDialer.
func ConnectWithDialer(servers []string, sessionTimeout time.Duration, dialer Dialer) (*Conn, <-chan Event, error) {
	return Connect(servers, sessionTimeout, WithDialer(dialer))
}

// change replaces the settings. Addresses and sizes are looked at by the next attempt to connect.
func (c *Conn) change(f func(s *settings)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := *c.settings.Load()
	f(&s)
	c.settings.Store(&s)
}

func with(f func(s *settings)) connOption { return func(c *Conn) { c.change(f) } }

// WithDialer sets the function that connects to a server. Its timeout is one
// second.
func WithDialer(dialer Dialer) connOption { return with(func(s *settings) { s.dialer = dialer }) }

// WithHostProvider sets the HostProvider, which chooses the next server.
func WithHostProvider(hostProvider HostProvider) connOption {
	return with(func(s *settings) {
		if hostProvider != nil {
			s.hosts = hostProvider
		}
	})
}

// WithLogger sets the Logger, see SetLogger.
func WithLogger(logger Logger) connOption {
	return func(c *Conn) { c.SetLogger(logger) }
}

// WithLogInfo sets whether more than errors is logged. The default is true.
func WithLogInfo(logInfo bool) connOption { return with(func(s *settings) { s.logInfo = logInfo }) }

// WithEventCallback sets a function that gets all events.
func WithEventCallback(cb EventCallback) connOption {
	return with(func(s *settings) { s.callback = cb })
}

// WithMaxBufferSize limits the size of an answer, in bytes. A larger one ends the
// connection, and its call fails with ErrConnectionClosed. Zero or less, the default,
// is no limit.
func WithMaxBufferSize(maxBufferSize int) connOption {
	return with(func(s *settings) { s.maxReply = maxBufferSize })
}

// WithMaxConnBufferSize limits the size of a request, in bytes; the default is 1.5 MiB.
// A larger one fails with ErrShortBuffer. The server has a limit too, 1 MiB by default,
// and hangs up above it.
func WithMaxConnBufferSize(maxBufferSize int) connOption {
	return with(func(s *settings) { s.maxRequest = maxBufferSize })
}

// SetLogger sets the Logger; nil: DefaultLogger. It is called from goroutines of the Conn, and must not block.
func (c *Conn) SetLogger(l Logger) {
	if l == nil {
		l = DefaultLogger
	}
	c.change(func(s *settings) { s.logger = l })
}

// State returns what the Conn is doing.
func (c *Conn) State() State { return State(c.state.Load()) }

// SessionID returns the id of the session; 0 while there is none.
func (c *Conn) SessionID() int64 { return c.id.Load() }

// Server returns the server that was connected to last.
func (c *Conn) Server() string {
	server, _ := c.server.Load().(string)
	return server
}

// Close ends the session, with its ephemeral znodes, and all watches. It returns
// within a second, and then nothing more is sent. If the server does not answer in
// that time, the session ends by its timeout.
func (c *Conn) Close() {
	c.stop()
	select {
	case <-c.done:
	case <-time.After(time.Second): // a callback blocks
	}
}

func (c *Conn) setState(s State) {
	c.state.Store(int32(s))
	c.tell(Event{Type: EventSession, State: s, Server: c.Server()})
}

// tell gives an event to the callback and to the channel.
func (c *Conn) tell(ev Event) {
	if cb := c.settings.Load().callback; cb != nil {
		cb(ev)
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	if c.deaf {
		return
	}
	select {
	case c.events <- ev:
	default:
	}
}

func (c *Conn) hush() {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.deaf = true
	close(c.events)
}

// wait returns the connection, when there is one.
func (c *Conn) wait(ctx context.Context) (*link, error) {
	for {
		g := c.gate.Load()
		if g.link != nil {
			return g.link, nil
		}
		select {
		case <-c.ctx.Done():
			return nil, ErrConnectionClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-g.over:
			if g.err != nil {
				return nil, g.err
			}
		}
	}
}

// pass lets those who wait go on, to a connection or with an error; neither: to wait
// until the next pass. Only the loop calls it.
func (c *Conn) pass(l *link, err error) {
	g := c.gate.Load()
	g.err = err
	c.gate.Store(&gate{link: l, over: make(chan struct{})})
	close(g.over)
}

// do makes a call on this connection, or on the next one while it was not sent.
func (c *Conn) do(call func(l *link) error) error {
	for {
		l, err := c.wait(background)
		if err != nil {
			return err
		}
		gone, again, err := verdict(call(l))
		if gone { // an error is returned when the loss has been told
			<-l.gone
		} else {
			l.books.settle()
		}
		if !again {
			return err
		}
	}
}

func (c *Conn) logf(format string, args ...any) { c.settings.Load().logger.Printf(format, args...) }

func (c *Conn) infof(format string, args ...any) {
	if c.settings.Load().logInfo {
		c.logf(format, args...)
	}
}
