package scripts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// This file is about the order in which a Dial tries the servers, and the time that
// each of them has.

// silence is a way in which a server says nothing.
type silence struct {
	name string
	tls  bool
	dial func(ctx context.Context, real func() (net.Conn, error)) (net.Conn, error)
}

var silences = []silence{
	{name: "refuses late", dial: func(ctx context.Context, _ func() (net.Conn, error)) (net.Conn, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(900 * time.Millisecond):
			return nil, errors.New("refused, late")
		}
	}},
	{name: "accepts and says nothing", dial: func(context.Context, func() (net.Conn, error)) (net.Conn, error) {
		client, _ := zktest.Pipe()
		return client, nil
	}},
	{name: "half a handshake", dial: func(context.Context, func() (net.Conn, error)) (net.Conn, error) {
		client, server := zktest.Pipe()
		server.Write([]byte{0, 0, 0, 37, 0, 0})
		return client, nil
	}},
	{name: "nothing after the handshake", dial: func(_ context.Context, real func() (net.Conn, error)) (net.Conn, error) {
		conn, err := real()
		if err != nil {
			return nil, err
		}
		return &deafAfter{Conn: conn, frames: 1}, nil
	}},
	{name: "TLS without an answer", tls: true, dial: func(context.Context, func() (net.Conn, error)) (net.Conn, error) {
		client, _ := zktest.Pipe()
		return client, nil
	}},
}

// deafAfter is a connection whose server's later frames do not arrive.
type deafAfter struct {
	net.Conn
	frames int
	left   int // bytes of the frame at hand
	head   []byte
}

func (c *deafAfter) Read(b []byte) (int, error) {
	for c.left == 0 && len(c.head) < 4 {
		if c.frames == 0 {
			io.Copy(io.Discard, c.Conn)
			return 0, io.EOF
		}
		var one [1]byte
		if _, err := io.ReadFull(c.Conn, one[:]); err != nil {
			return 0, err
		}
		if c.head = append(c.head, one[0]); len(c.head) == 4 {
			c.left = 4 + int(c.head[2])<<8 + int(c.head[3])
			c.frames--
		}
	}
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head, c.left = c.head[n:], c.left-n
		return n, nil
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// A session of 1 s survives one silent server of three, in whatever way it is silent
// and whatever the caller's deadline and the timeout asked for are.
func TestSilentServer(t *testing.T) {
	ca, now := suite.NewAuthority(t), time.Now() // in a bubble it is another time
	cert := ca.Issue("zk.test")
	for _, how := range silences {
		for _, c := range []struct {
			name     string
			asked    time.Duration
			deadline time.Duration
			redial   bool
		}{
			{"granted less", 12 * time.Second, 0, false},
			{"far deadline", time.Second, time.Minute, false},
			{"Redial", 12 * time.Second, 0, true},
			{"Redial with a far deadline", time.Second, time.Minute, true},
		} {
			t.Run(how.name+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opts := suite.SimOptions(zktest.V39)
					opts.InMemory, opts.MaxSessionTimeout, opts.TickTime = true, time.Second, 50*time.Millisecond
					e := suite.Private(t, 3, opts)
					silent := ""
					dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
						real := func() (net.Conn, error) { return e.Sim.DialContext(ctx, network, addr) }
						if addr == silent {
							return how.dial(ctx, real)
						}
						if how.tls {
							return overTLS(real, cert)
						}
						return real()
					}
					conf := zk.Config{Addrs: e.Addrs(), Timeout: c.asked, DialContext: dial, Auth: []zk.Auth{zk.Digest("u", "p")}}
					if how.tls {
						conf.TLS = &tls.Config{RootCAs: ca.Pool(), ServerName: "zk.test", Time: func() time.Time { return now }}
					}
					first := e.Dial(conf)
					s := first
					for i := range 100 {
						addrs := e.Addrs()
						silent = addrs[i%3]
						if silent == s.Addr() { // it is the one that is lost
							silent = addrs[(i+1)%3]
						}
						e.Sim.Cut(s.ID())
						<-s.Done()
						ctx := e.Ctx
						if c.deadline > 0 {
							var cancel context.CancelFunc
							ctx, cancel = context.WithTimeout(ctx, c.deadline)
							defer cancel()
						}
						var err error
						if c.redial {
							s, err = s.Redial(ctx)
						} else {
							s, err = zk.Dial(ctx, s.Config())
						}
						assert.NilError(t, err, "redial %d", i)
						assert.Equal(t, s.ID(), first.ID())
						_, _, err = s.Get(e.Ctx, "/", nil)
						assert.NilError(t, err)
					}
					s.Close()
				})
			})
		}
	}
}

// overTLS lays a TLS server between a client and a plain connection.
func overTLS(dial func() (net.Conn, error), cert tls.Certificate) (net.Conn, error) {
	inner, err := dial()
	if err != nil {
		return nil, err
	}
	client, server := zktest.Pipe()
	outer := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
	go func() {
		defer outer.Close()
		defer inner.Close()
		go func() {
			io.Copy(outer, inner)
			server.Close()
		}()
		io.Copy(inner, outer)
	}()
	return client, nil
}

// The same with DNS that does not answer for one of three names, on real time, and
// sessions that leave a busy machine enough of it.
func TestSilentDNS(t *testing.T) {
	opts := suite.SimOptions(zktest.V39)
	opts.MaxSessionTimeout, opts.TickTime = 4*time.Second, 100*time.Millisecond
	e := suite.Private(t, 1, opts)
	_, port, err := net.SplitHostPort(e.Addrs()[0])
	assert.NilError(t, err)
	dns := useDNS(t)
	dns.answer("a.test", "127.0.0.1")
	dns.answer("b.test", "127.0.0.1")
	dns.mute("c.test")
	addrs := []string{"a.test:" + port, "b.test:" + port, "c.test:" + port}
	redials := make(chan error)
	const sessions = 10
	for range sessions {
		first := e.Dial(zk.Config{Addrs: addrs[:2], Timeout: time.Minute})
		go func() { redials <- redialTenTimes(e, first, addrs) }()
	}
	for range sessions {
		assert.Check(t, <-redials)
	}
}

func redialTenTimes(e *suite.Env, first *zk.Session, addrs []string) error {
	s := first
	for i := range 10 {
		conf := s.Config()
		conf.Addrs = addrs
		e.Sim.Cut(s.ID())
		<-s.Done()
		var err error
		if s, err = zk.Dial(e.Ctx, conf); err != nil {
			return fmt.Errorf("redial %d: %w", i, err)
		}
		if s.ID() != first.ID() {
			return fmt.Errorf("redial %d: another session", i)
		}
	}
	return s.Close()
}

// Of a name with several addresses the one that was just lost is tried last, though
// it stands in the list in another spelling too, and errors and hooks name addresses.
func TestLostAddressIsLast(t *testing.T) {
	e := suite.Private(t, 1)
	_, port, err := net.SplitHostPort(e.Addrs()[0])
	assert.NilError(t, err)
	dns := useDNS(t)
	dns.answer("zk.test", "127.0.0.2", "127.0.0.3", "127.0.0.4")
	var mu sync.Mutex
	var tried []string
	conf := zk.Config{Addrs: []string{"zk.test:" + port, "ZK.test.:" + port}, Timeout: 10 * time.Second}
	conf.Trace = &zk.Trace{DialStart: func(ctx context.Context, addr string) context.Context {
		mu.Lock()
		defer mu.Unlock()
		tried = append(tried, addr)
		return ctx
	}}
	fronts := make(map[string]*frontDoor)
	for _, ip := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		fronts[ip+":"+port] = openDoor(t, ip+":"+port, e.Addrs()[0])
	}
	s := e.Dial(conf)
	orders := make(map[string]bool)
	for range 30 {
		lost := tried[len(tried)-1]
		fronts[lost].cut()
		<-s.Done()
		mu.Lock()
		tried = nil
		mu.Unlock()
		s = e.Dial(s.Config())
		assert.Equal(t, s.Addr(), s.Config().Addrs[0])
		assert.Assert(t, tried[0] != lost, "%v begins with what was lost", tried)
		orders[tried[0]] = true
	}
	assert.Equal(t, len(orders), 3)

	// All are gone: each address once, the lost one last, and each with its reason.
	lost := tried[len(tried)-1]
	for _, f := range fronts {
		f.close()
	}
	<-s.Done()
	mu.Lock()
	tried = nil
	mu.Unlock()
	_, err = zk.Dial(e.Ctx, s.Config())
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.Equal(t, len(tried), 3)
	assert.Equal(t, tried[2], lost)
	for addr := range fronts {
		assert.ErrorContains(t, err, addr)
	}
}

// The reasons of all addresses so far stay when the context ends.
func TestReasonsStay(t *testing.T) {
	dns := useDNS(t)
	dns.answer("zk.test", "127.0.0.2", "127.0.0.3")
	silent := openDoor(t, "127.0.0.2:0", "")
	_, port, err := net.SplitHostPort(silent.addr())
	assert.NilError(t, err)
	for timeout := 100 * time.Millisecond; ; {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		_, err = zk.Dial(ctx, zk.Config{Addrs: []string{"zk.test:" + port}})
		cancel()
		text := err.Error()
		refused, silent := strings.Index(text, "127.0.0.3"), strings.Index(text, "127.0.0.2")
		if refused < 0 || silent < 0 { // a machine so busy that one had no turn
			timeout *= 2
			assert.Assert(t, timeout < suite.Patience, "%v", err)
			continue
		}
		if refused < silent { // then the context ends with the silent one
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "refused")
			return
		}
	}
}

// frontDoor is an address that leads to a server, or to nobody.
type frontDoor struct {
	l  net.Listener
	mu sync.Mutex

	conns []net.Conn
}

func openDoor(t *testing.T, addr, server string) *frontDoor {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	assert.NilError(t, err)
	f := &frontDoor{l: l}
	t.Cleanup(f.close)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.keep(conn)
			if server == "" {
				continue
			}
			behind, err := net.Dial("tcp", server)
			if err != nil {
				conn.Close()
				continue
			}
			f.keep(behind)
			go func() { io.Copy(conn, behind); conn.Close() }()
			go func() { io.Copy(behind, conn); behind.Close() }()
		}
	}()
	return f
}

func (f *frontDoor) addr() string { return f.l.Addr().String() }

func (f *frontDoor) keep(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, c)
}

// cut ends all connections.
func (f *frontDoor) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Close()
	}
	f.conns = nil
}

func (f *frontDoor) close() {
	f.l.Close()
	f.cut()
}

// ticketSASL notes the host that Start is called with, and what it looks up there.
type ticketSASL struct {
	sasl.Mechanism
	note func(name, host, looked string, addr netip.Addr)
}

func (m ticketSASL) Start(ctx context.Context, host string) (sasl.Exchange, []byte, error) {
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	m.note(sasl.Name(ctx), host, ips[0], sasl.Addr(ctx))
	return m.Mechanism.Start(ctx, host)
}

// Of a name with several addresses, SASL begins with the server that is connected to.
func TestSASLOfSeveralAddresses(t *testing.T) {
	e := suite.Private(t, 1, zktest.Options{SASL: map[string]string{"bob": "secret"}})
	_, port, err := net.SplitHostPort(e.Addrs()[0])
	assert.NilError(t, err)
	dns := useDNS(t)
	dns.answer("zk.test", "127.0.0.2", "127.0.0.3", "127.0.0.4")
	dns.answer("one.test", "127.0.0.2")
	for _, ip := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		openDoor(t, ip+":"+port, e.Addrs()[0])
	}
	var dialed string
	var noted []string
	conf := zk.Config{Addrs: []string{"zk.test:" + port}}
	conf.SASL = ticketSASL{sasl.DigestMD5("bob", "secret"), func(name, host, looked string, addr netip.Addr) {
		noted = []string{name, host, looked, addr.String()}
	}}
	conf.Trace = &zk.Trace{DialStart: func(_ context.Context, addr string) context.Context {
		dialed, _, _ = net.SplitHostPort(addr)
		return nil
	}}
	seen := make(map[string]bool)
	for len(seen) < 3 {
		s := e.Dial(conf)
		seen[dialed] = true
		assert.DeepEqual(t, noted, []string{"zk.test", dialed, dialed, dialed})
		assert.NilError(t, s.Close())
	}
	conf.Addrs = []string{"one.test:" + port}
	e.Dial(conf)
	assert.DeepEqual(t, noted, []string{"one.test", "one.test", "127.0.0.2", "127.0.0.2"})
}

// A server that refuses SASL is not the end of a Dial: the next may have another key.
// When all refuse, it is ErrAuth.
func TestSASLRefusedByOne(t *testing.T) {
	good := suite.Private(t, 1, zktest.Options{SASL: map[string]string{"bob": "secret"}})
	bad := suite.Private(t, 1, zktest.Options{SASL: map[string]string{"bob": "other"}})
	conf := zk.Config{SASL: sasl.DigestMD5("bob", "secret")}
	for range 10 {
		conf.Addrs = []string{bad.Addrs()[0], good.Addrs()[0]}
		s := good.Dial(conf)
		assert.Equal(t, s.Addr(), good.Addrs()[0])
		assert.NilError(t, s.Close())
	}
	conf.Addrs = bad.Addrs()
	_, err := zk.Dial(t.Context(), conf)
	assert.ErrorIs(t, err, zk.ErrAuth)
	assert.Assert(t, !errors.Is(err, zk.ErrNoServer), "%v", err)
	conf.Addrs = append(bad.Addrs(), "127.0.0.1:1") // of one that is away nobody knows
	_, err = zk.Dial(t.Context(), conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
}

// A KDC that is away for a moment ends no session that lives.
func TestSASLStartBeforeFence(t *testing.T) {
	e := suite.Private(t, 3, zktest.Options{SASL: map[string]string{"bob": "secret"}})
	conf := zk.Config{Addrs: e.Addrs(), SASL: sasl.DigestMD5("bob", "secret")}
	s := e.Dial(conf)
	away := s.Config()
	broken := errors.New("no KDC answers")
	away.SASL = slowSASL{err: broken}
	_, err := zk.Dial(e.Ctx, away)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.ErrorIs(t, err, broken)
	assert.NilError(t, s.Err())
	_, _, err = s.Get(e.Ctx, "/", nil)
	assert.NilError(t, err)
	next := e.Dial(s.Config())
	assert.Equal(t, next.ID(), s.ID())
	assert.ErrorIs(t, s.Err(), zk.ErrMoved)
}

// A Redial that several wait for has as much time as the last of them.
func TestRedialSharesItsWaitersTime(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Addrs = []string{"a:1", "b:1", "c:1"}
		s, l := r.Open(conf)
		l.Close()
		<-s.Done()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := s.Redial(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Since(began), 300*time.Millisecond)
		assert.Equal(t, r.Connections(), 4, "each address had its share of the time")
		synctest.Wait()

		// One that waits longer gives the Dial more time, from then on.
		began = time.Now()
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		long, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
		defer cancel()
		waits := suite.Start(t, func() error { _, err := s.Redial(long); return err })
		waits2 := suite.Start(t, func() error { _, err := s.Redial(short); return err })
		assert.ErrorIs(t, waits2.Wait(), context.DeadlineExceeded)
		assert.Equal(t, time.Since(began), 300*time.Millisecond)
		assert.ErrorIs(t, waits.Wait(), context.DeadlineExceeded)
		assert.Equal(t, time.Since(began), 900*time.Millisecond)
		assert.Equal(t, r.Connections(), 7)
		synctest.Wait()
	})
}

// A function of the application that returns nothing, or panics, is its caller's to
// see: a Redial dials in a goroutine of the library.
func TestHooksThatFail(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Dial(zk.Config{Addrs: e.Addrs()})
	conf := s.Config()
	e.Sim.Cut(s.ID())
	<-s.Done()

	nothing := conf
	nothing.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, nil }
	_, err := zk.Dial(e.Ctx, nothing)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.ErrorContains(t, err, "neither")
	empty := conf
	empty.SASL = noSASL{}
	_, err = zk.Dial(e.Ctx, empty)
	assert.ErrorIs(t, err, zk.ErrNoServer)

	for _, name := range []string{"DialStart", "DialDone", "Handshake", "Begin"} {
		t.Run(name, func(t *testing.T) {
			var armed atomic.Bool
			fail := func(hook string) {
				if armed.Load() && hook == name {
					panic("on purpose")
				}
			}
			hooked := conf
			hooked.State = zk.State{}
			hooked.Trace = &zk.Trace{
				DialStart: func(context.Context, string) context.Context { fail("DialStart"); return nil },
				DialDone:  func(context.Context, string, error) { fail("DialDone") },
				Handshake: func(context.Context, string, int64, time.Duration, error) { fail("Handshake") },
				Begin:     func(context.Context, *zk.Session, bool) { fail("Begin") },
			}
			s := e.Dial(hooked)
			armed.Store(true)
			e.Sim.Cut(s.ID())
			<-s.Done()
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					defer func() { assert.Check(t, fmt.Sprint(recover()) == "on purpose") }()
					s.Redial(e.Ctx)
				})
			}
			wg.Wait()
			armed.Store(false) // nothing is stuck
			next, err := s.Redial(e.Ctx)
			assert.NilError(t, err)
			assert.Equal(t, next.ID(), s.ID())
			assert.NilError(t, next.Close())
		})
	}
}

// noSASL starts nothing.
type noSASL struct{}

func (noSASL) Start(context.Context, string) (sasl.Exchange, []byte, error) { return nil, nil, nil }

// stuckWrites is a connection on which writes hang until it is closed, from the time
// that stuck is closed.
type stuckWrites struct {
	net.Conn
	stuck, gone chan struct{}
	once        sync.Once
}

func (c *stuckWrites) Write(b []byte) (int, error) {
	select {
	case <-c.stuck:
		<-c.gone
		return 0, net.ErrClosed
	default:
		return c.Conn.Write(b)
	}
}

func (c *stuckWrites) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// A peer that takes no farewell does not hold up who leaves a TLS connection.
func TestTLSGivenUpAtOnce(t *testing.T) {
	ca, now := suite.NewAuthority(t), time.Now()
	cert := ca.Issue("zk.test")
	synctest.Test(t, func(t *testing.T) {
		opts := suite.SimOptions(zktest.V39)
		opts.InMemory = true
		e := suite.Private(t, 1, opts)
		stuck := make(chan struct{})
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := overTLS(func() (net.Conn, error) { return e.Sim.DialContext(ctx, network, addr) }, cert)
			if err != nil {
				return nil, err
			}
			return &stuckWrites{Conn: conn, stuck: stuck, gone: make(chan struct{})}, nil
		}
		s := e.Dial(zk.Config{Addrs: e.Addrs(), DialContext: dial, TLS: &tls.Config{
			RootCAs: ca.Pool(), ServerName: "zk.test", Time: func() time.Time { return now },
		}})
		close(stuck)
		began := time.Now()
		s.Detach()
		assert.Equal(t, time.Since(began), time.Duration(0))
	})
}

// A credential that is there already is not added again, however often a loop does.
func TestAddAuthInALoop(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.Auth = nil
		for range 50 {
			s := e.Dial(conf)
			assert.NilError(t, s.AddAuth(e.Ctx, zk.Digest("bob", "secret")))
			conf = s.Detach()
		}
		assert.Equal(t, len(conf.Auth), 1)
		e.Sim.ForgetFrames()
		s := e.Dial(conf)
		sent := 0
		for _, f := range e.Sim.Frames() {
			if f.Op == wire.OpAuth && f.Dir == zktest.FromClient {
				sent++
			}
		}
		assert.Equal(t, sent, 1)
		assert.NilError(t, s.AddAuth(e.Ctx, zk.Digest("bob", "other")))
		assert.Equal(t, len(s.Config().Auth), 2)
	})
}

// Resolve is asked on each Dial, also of goroutines that share one.
func TestResolveOnEachDial(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Addrs = []string{"old:1"}
		asked := 0
		conf.Resolve = func(context.Context) ([]string, error) {
			asked++
			return []string{fmt.Sprintf("new%d:1", asked)}, nil
		}
		s, l := r.Open(conf)
		assert.Equal(t, s.Addr(), "new1:1")
		l.Close()
		<-s.Done()
		u := suite.Start(t, func() (err error) { s, err = s.Redial(context.Background()); return err })
		r.Accept().Greet()
		u.OK()
		assert.Equal(t, s.Addr(), "new2:1")

		next := s.Detach()
		away := errors.New("away")
		next.Resolve = func(context.Context) ([]string, error) { return nil, away }
		_, err := zk.Dial(context.Background(), next)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.ErrorIs(t, err, away)
		next.Resolve = func(context.Context) ([]string, error) { return []string{"a b"}, nil }
		_, err = zk.Dial(context.Background(), next)
		assert.ErrorIs(t, err, zk.ErrBadArguments)
		next.Resolve = func(ctx context.Context) ([]string, error) { <-ctx.Done(); return nil, ctx.Err() }
		began := time.Now()
		_, err = zk.Dial(context.Background(), next)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.Equal(t, time.Since(began), suite.RigTimeout/2)
		synctest.Wait()
	})
}
