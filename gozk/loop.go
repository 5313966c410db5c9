package zk

import (
	"context"
	"errors"
	"math"
	"net"
	"time"

	root "github.com/seed-9f8420c6/zk"
)

// loop dials, again and again, until Close. It is the first of the two loops in the
// documentation of the root.
type loop struct {
	c     *Conn
	books *books

	state root.State  // of the session, for the next Dial
	auth  []root.Auth // all credentials that were accepted

	fresh   bool          // the next session is a new one
	dialed  int           // attempts since there was a connection, or since the pause
	spared  bool          // a pause was left out since then
	useless int           // connections in a row that ended at once, and answered no call
	refused bool          // the last server refused the credentials
	hooked  chan struct{} // closed when the last function of WithSession has returned
}

func (l *loop) run() {
	c := l.c
	for l.c.ctx.Err() == nil {
		l.next()
		conn := l.connect()
		if conn == nil {
			continue
		}
		s := l.dial(conn)
		if s == nil {
			c.setState(StateDisconnected)
			continue
		}
		l.serve(s)
	}
	if c.State() != StateDisconnected {
		c.setState(StateDisconnected)
	}
	c.pass(nil, ErrConnectionClosed)
	l.books.expire(ErrClosing)
	c.hush()
	close(c.done)
}

// next takes the next server, and pauses when all have failed.
func (l *loop) next() {
	c := l.c
	hosts := c.settings.Load().hosts
	server, around := hosts.Next()
	c.server.Store(server)
	c.setState(StateConnecting)
	if around && !l.spared && l.dialed < hosts.Len() { // the server just lost has not been tried again
		l.spared, around = true, false
	}
	if around {
		l.dialed, l.spared = 0, true
		err := ErrNoServer
		if l.refused {
			err = ErrAuthFailed
		}
		c.pass(nil, err)
		l.sleep(time.Second)
	}
	l.dialed++
}

func (l *loop) sleep(d time.Duration) {
	ctx, cancel := context.WithTimeout(l.c.ctx, d)
	defer cancel()
	<-ctx.Done()
}

// connect makes the connection, before the Dial, so that each has its own time.
func (l *loop) connect() net.Conn {
	if l.c.ctx.Err() != nil {
		return nil
	}
	c := l.c
	conn, err := l.open()
	if err != nil {
		c.logf("failed to connect to %s: %v", c.Server(), err)
		return nil
	}
	c.setState(StateConnected)
	c.infof("connected to %s", c.Server())
	return conn
}

// open asks the Dialer.
func (l *loop) open() (net.Conn, error) {
	dial := l.c.settings.Load().dialer
	if dial == nil {
		dial = l.dialDefault
	}
	conn, err := dial("tcp", l.c.Server(), connectTimeout)
	if err == nil && conn == nil {
		err = errors.New("the Dialer returned no connection")
	}
	return conn, err
}

func (l *loop) dialDefault(network, addr string, timeout time.Duration) (net.Conn, error) {
	var conf root.Config
	if f := l.c.settings.Load().configure; f != nil {
		f(&conf)
	}
	dial := conf.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	ctx, cancel := context.WithTimeout(l.c.ctx, timeout)
	defer cancel()
	return dial(ctx, network, addr)
}

// config is for a Dial to the one server that conn leads to.
func (l *loop) config(conn net.Conn) root.Config {
	set := l.c.settings.Load()
	conf := root.Config{Timeout: set.timeout, MaxReply: set.maxReply, MaxRequest: max(set.maxRequest-4, 1)}
	if conf.MaxReply <= 0 {
		conf.MaxReply = math.MaxInt32
	}
	if set.configure != nil {
		set.configure(&conf)
	}
	conf.Addrs, conf.Resolve, conf.State = []string{l.c.Server()}, nil, l.state
	if l.auth != nil {
		conf.Auth = l.auth
	}
	if named, ok := set.hosts.(interface{ nameOf(string) string }); ok && conf.TLS != nil && conf.TLS.ServerName == "" {
		conf.TLS = conf.TLS.Clone()
		conf.TLS.ServerName = named.nameOf(l.c.Server())
	}
	conf.DialContext = func(context.Context, string, string) (net.Conn, error) {
		if conn == nil { // a server without SetWatches takes a second connection
			return l.open()
		}
		once := conn
		conn = nil
		return once, nil
	}
	return conf
}

// dial returns a Session, with the watches armed, or nil.
func (l *loop) dial(conn net.Conn) *root.Session {
	c := l.c
	ctx := patient{l.c.ctx, time.Now().Add(max(c.settings.Load().timeout, connectTimeout))}
	s, err := root.Dial(ctx, l.config(conn))
	l.refused = false
	if err == nil {
		c.id.Store(s.ID())
		l.books.session.Store(s)
		return s
	}
	conn.Close() // a Dial that never came to use it
	switch {
	case errors.Is(err, root.ErrExpired):
		c.id.Store(0)
		c.setState(StateExpired)
		c.logf("authentication failed: %s", ErrSessionExpired)
		l.expired()
		return nil
	case errors.Is(err, root.ErrAuth):
		l.refused = true
		c.setState(StateAuthFailed)
	}
	if l.c.ctx.Err() == nil {
		c.logf("authentication failed: %s", err)
	}
	return nil
}

// patient is a context whose deadline says how long the handshake may take. It ends
// nothing, so that restoring many watches may take longer.
type patient struct {
	context.Context
	until time.Time
}

func (p patient) Deadline() (time.Time, bool) { return p.until, true }

// expired prepares for a new session.
func (l *loop) expired() {
	l.fresh = true
	l.dialed, l.spared = 0, false // a server has answered
	if l.c.settings.Load().renew {
		l.state.ID, l.state.Password = 0, nil
		return
	}
	l.books.expire(ErrSessionExpired)
	l.books = newBooks(l.c.tell)
	l.state = root.State{}
}

// atOnce is how long a connection lasts at most that is of no use, if it answers no call.
const atOnce = 50 * time.Millisecond

// serve lets calls use a Session, and returns when that is over. From the second in a row that
// was of no use it pauses: a server that ends each connection by its first request would be
// dialed thousands of times a second.
func (l *loop) serve(s *root.Session) {
	c, began, restored := l.c, time.Now(), s.Stats().Replies
	on := &link{s: s, books: l.books, gone: make(chan struct{})}
	c.setState(StateHasSession)
	c.infof("authenticated: id=%d, timeout=%d", s.ID(), s.Timeout().Milliseconds())
	c.infof("re-submitting `%d` credentials after reconnect", len(s.Config().Auth))
	c.settings.Load().hosts.Connected()
	l.dialed, l.spared = 0, false
	c.pass(on, nil)
	l.hook(s)
	l.fresh = false
	select {
	case <-s.Done():
	case <-c.ctx.Done():
		farewell(s)
	}
	c.pass(nil, nil)
	conf := s.Config()
	l.state, l.auth = conf.State, conf.Auth
	l.report(s.Err())
	c.setState(StateDisconnected)
	close(on.gone)
	if l.useless++; time.Since(began) >= atOnce || s.Stats().Replies > restored {
		l.useless = 0
	} else if l.useless > 1 {
		l.sleep(min(atOnce<<min(l.useless-2, 5), time.Second))
	}
}

// farewell closes the session, and gives up what is not answered in time for Close.
func farewell(s *root.Session) {
	timer := time.AfterFunc(800*time.Millisecond, func() { s.Detach() })
	defer timer.Stop()
	s.Close()
}

// report logs why a connection has ended.
func (l *loop) report(err error) {
	c := l.c
	var size *root.SizeError
	switch {
	case errors.As(err, &size) && size.Reply:
		c.logf("recv loop terminated: received packet from server with length %d, which exceeds max buffer size %d", size.Size, size.Limit)
	case errors.Is(err, root.ErrClosed):
		c.infof("recv loop terminated: EOF")
	default:
		c.logf("recv loop terminated: %v", err)
	}
	if errors.Is(err, root.ErrAuth) {
		c.setState(StateAuthFailed)
	}
}

// hook calls the function of WithSession, one call after the other.
func (l *loop) hook(s *root.Session) {
	f := l.c.settings.Load().hook
	if f == nil {
		return
	}
	before, after, fresh := l.hooked, make(chan struct{}), l.fresh
	l.hooked = after
	go func() {
		defer close(after)
		if before != nil {
			<-before
		}
		f(s, fresh)
	}()
}
