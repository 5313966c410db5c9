package scripts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestParseConfig(t *testing.T) {
	for connect, want := range map[string]struct {
		addrs  []string
		chroot string
	}{
		"h1:2181":                       {[]string{"h1:2181"}, ""},
		"h1":                            {[]string{"h1:2181"}, ""},
		"h1:2181,h2:2182,h3":            {[]string{"h1:2181", "h2:2182", "h3:2181"}, ""},
		"h1:2181,h2:2181/chroot":        {[]string{"h1:2181", "h2:2181"}, "/chroot"},
		"h1,h2/a/b":                     {[]string{"h1:2181", "h2:2181"}, "/a/b"},
		"h1/":                           {[]string{"h1:2181"}, ""},
		" h1:2181 , h2:2181 /a":         {[]string{"h1:2181", "h2:2181"}, "/a"},
		"127.0.0.1:1,[::1]:2,[fe80::1]": {[]string{"127.0.0.1:1", "[::1]:2", "[fe80::1]:2181"}, ""},
		"h:65535":                       {[]string{"h:65535"}, ""},
		"zk-1.zk.svc.cluster.local/ä":   {[]string{"zk-1.zk.svc.cluster.local:2181"}, "/ä"},
	} {
		c, err := zk.ParseConfig(connect)
		assert.NilError(t, err, connect)
		assert.DeepEqual(t, c.Addrs, want.addrs)
		assert.Equal(t, c.Chroot, want.chroot, connect)
		assert.Assert(t, c.Timeout == 0 && c.Auth == nil && c.ID == 0 && c.Watches == nil, connect)
	}
	for connect, want := range map[string]error{
		"": zk.ErrBadArguments, ",": zk.ErrBadArguments, "h1,,": zk.ErrBadArguments, "h1,,h2": zk.ErrBadArguments, "/chroot": zk.ErrBadArguments,
		"h1:": zk.ErrBadArguments, ":2181": zk.ErrBadArguments, "h1:0": zk.ErrBadArguments, "h1:65536": zk.ErrBadArguments, "h1:-1": zk.ErrBadArguments,
		"h1:port": zk.ErrBadArguments, "h1:1:2": zk.ErrBadArguments, "::1": zk.ErrBadArguments, "h 1": zk.ErrBadArguments, "zk://h1": zk.ErrBadArguments,
		"h1/a/": zk.ErrBadPath, "h1//a": zk.ErrBadPath, "h1/a//b": zk.ErrBadPath, "h1/../a": zk.ErrBadPath, "h1/a\x00": zk.ErrBadPath,
	} {
		c, err := zk.ParseConfig(connect)
		assert.Assert(t, err != nil && c.Addrs == nil && c.Chroot == "", "%q gave %v", connect, c)
		if want == zk.ErrBadArguments && strings.Contains(connect, "//") {
			continue // whichever is told first
		}
		assert.ErrorIs(t, err, want, "%q", connect)
	}
}

// Each address is tried once, and the error tells the reason of each.
func TestNoServer(t *testing.T) {
	reasons := map[string]error{"a.test:1": errors.New("reason of a"), "b.test:2": errors.New("reason of b"), "c.test:2181": io.ErrUnexpectedEOF}
	conf := zk.Config{Addrs: []string{"a.test:1", "b.test:2", "c.test"}}
	var dials []string
	conf.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
		assert.Equal(t, network, "tcp")
		dials = append(dials, addr)
		return nil, reasons[addr]
	}
	firsts := make(map[string]int)
	const n = 600
	for range n {
		dials = nil
		s, err := zk.Dial(t.Context(), conf)
		assert.Assert(t, s == nil)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		for _, other := range []error{zk.ErrExpired, zk.ErrConnection, zk.ErrAuth, zk.ErrMoved, context.DeadlineExceeded} {
			assert.Assert(t, !errors.Is(err, other), "%v", err)
		}
		for addr, reason := range reasons {
			assert.ErrorIs(t, err, reason)
			assert.ErrorContains(t, err, addr+": "+reason.Error())
		}
		firsts[dials[0]]++
		slices.Sort(dials)
		assert.DeepEqual(t, dials, []string{"a.test:1", "b.test:2", "c.test:2181"})
	}
	for addr, n := range firsts { // nine standard deviations
		assert.Assert(t, n > 100 && n < 300, "%s was the first of 3 in %d of 600 dials", addr, n)
	}
	assert.DeepEqual(t, conf.Addrs, []string{"a.test:1", "b.test:2", "c.test"}) // the caller's
}

// Without addresses it is the usual one of this machine.
func TestDefaultAddr(t *testing.T) {
	conf, l := suite.Private(t, 1).Config()
	conf.Addrs = nil
	l.Fail(errors.New("no route"))
	_, err := zk.Dial(t.Context(), conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.DeepEqual(t, l.Dialed(), []string{zk.DefaultAddr})
}

// Reasons of the servers themselves: nobody listens, nobody answers, or one
// that is behind.
func TestServersThatRefuse(t *testing.T) {
	e := suite.Private(t, 4)
	s := e.Session()
	for i := range 4 {
		e.Sim.Member(i).Stop() // accepts and closes
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	nobody := l.Addr().String()
	l.Close()
	conf := s.Config()
	conf.Addrs = append(conf.Addrs, nobody)
	_, err = zk.Dial(e.Ctx, conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	for _, addr := range conf.Addrs {
		assert.ErrorContains(t, err, addr)
	}
	var sys *net.OpError
	assert.Assert(t, errors.As(err, &sys), "%v", err)

	// A member that is behind what the session has seen is no server for it.
	for i := range 4 {
		e.Sim.Member(i).Start()
	}
	e.Sim.Member(1).Freeze()
	s = e.Dial(onMember(e, 0))
	e.Create(s, "/n", "")
	_, _, err = s.Get(e.Ctx, "/n", nil)
	assert.NilError(t, err)
	conf = s.Config()
	conf.Addrs = e.Addrs()[1:2]
	for range 3 {
		_, err = zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.Assert(t, !errors.Is(err, zk.ErrExpired))
	}
	conf.Addrs = e.Addrs()
	next := e.Dial(conf)
	assert.Equal(t, next.ID(), s.ID())
	assert.Assert(t, next.Addr() != e.Addrs()[1])

	// Zxid zero gives that up: better an old server than none.
	conf = next.Config()
	conf.Addrs = e.Addrs()[1:2]
	conf.Zxid = 0
	e.Sim.Member(1).Thaw()
	e.Sim.Member(1).Freeze()
	e.Create(next, "/m", "")
	old := e.Dial(conf)
	assert.Equal(t, old.ID(), s.ID())
	found, _, err := old.Exists(e.Ctx, "/m", nil)
	assert.NilError(t, err)
	assert.Assert(t, !found)
	old.Detach() // this server cannot end a session now
}

func onMember(e *suite.Env, i int) zk.Config {
	conf, _ := e.Config()
	conf.Addrs = e.Addrs()[i : i+1]
	return conf
}

// Without a DialContext names are resolved, each IP is tried, and the answer
// is not kept.
func TestResolve(t *testing.T) {
	e := suite.Private(t, 1)
	_, port, err := net.SplitHostPort(e.Addrs()[0])
	assert.NilError(t, err)
	dns := useDNS(t)
	dns.answer("zk.test", "127.0.0.2", "127.0.0.1", "127.0.0.3") // it listens on one of them
	conf := zk.Config{Addrs: []string{"zk.test:" + port}}
	for range 5 {
		s := e.Dial(conf)
		assert.Equal(t, s.Addr(), "zk.test:"+port)
		assert.NilError(t, s.Close())
	}
	dns.answer("zk.test", "127.0.0.2", "127.0.0.3")
	_, err = zk.Dial(e.Ctx, conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	for _, ip := range []string{"127.0.0.2", "127.0.0.3"} {
		assert.ErrorContains(t, err, ip)
	}
	orders := make(map[bool]int)
	for range 60 { // in no order, too
		_, err = zk.Dial(e.Ctx, conf)
		orders[strings.Index(err.Error(), "127.0.0.2") < strings.Index(err.Error(), "127.0.0.3")]++
	}
	assert.Equal(t, len(orders), 2)
	s, err := zk.Dial(e.Ctx, zk.Config{Addrs: []string{"missing.test", "zk.test:" + port}})
	assert.Assert(t, s == nil)
	var name *net.DNSError
	assert.Assert(t, errors.As(err, &name) && name.Name == "missing.test", "%v", err)
	assert.ErrorContains(t, err, "missing.test:2181")

	dns.answer("zk.test", "127.0.0.1")
	conf.Addrs = []string{"missing.test", "zk.test:" + port}
	s = e.Dial(conf)
	asked := dns.asked("zk.test")
	s = e.Move(s)
	assert.Assert(t, dns.asked("zk.test") > asked, "a redial resolves again")
	assert.NilError(t, s.Close())
}

// fakeDNS answers for names in .test.
type fakeDNS struct {
	mu    sync.Mutex
	names map[string][]string
	srv   map[string][]net.SRV
	count map[string]int
	muted map[string]bool // names whose questions get no answer
}

// useDNS makes the resolver of this process ask a fake server until the test ends.
func useDNS(t *testing.T) *fakeDNS {
	d := &fakeDNS{names: map[string][]string{}, count: map[string]int{}}
	was := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go d.serve(server)
		return client, nil
	}}
	t.Cleanup(func() { net.DefaultResolver = was })
	return d
}

func (d *fakeDNS) answer(name string, ips ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[name] = ips
}

func (d *fakeDNS) mute(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.muted == nil {
		d.muted = make(map[string]bool)
	}
	d.muted[name] = true
}

func (d *fakeDNS) asked(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count[name]
}

// serve answers the queries of one connection, each behind its length.
func (d *fakeDNS) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		at := 12
		var labels []string
		for query[at] != 0 {
			n := int(query[at])
			labels = append(labels, string(query[at+1:at+1+n]))
			at += 1 + n
		}
		question := query[12 : at+5] // name, type, class
		isA, isSRV := binary.BigEndian.Uint16(query[at+1:]) == 1, binary.BigEndian.Uint16(query[at+1:]) == 33
		name := strings.ToLower(strings.Join(labels, "."))
		d.mu.Lock()
		d.count[name]++
		ips, known := d.names[name]
		srv, service := d.srv[name]
		muted := d.muted[name]
		d.mu.Unlock()
		if muted {
			continue
		}
		reply := append([]byte{}, query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0)
		if !known && !service {
			reply[3] |= 3 // no such name
		}
		reply = append(reply, question...)
		if isA {
			for _, ip := range ips {
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = append(reply, net.ParseIP(ip).To4()...)
				reply[7]++
			}
		}
		if isSRV {
			for _, r := range srv {
				var target []byte
				for _, label := range strings.Split(strings.TrimSuffix(r.Target, "."), ".") {
					if label != "" {
						target = append(append(target, byte(len(label))), label...)
					}
				}
				target = append(target, 0)
				reply = append(reply, 0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 0)
				for _, x := range []uint16{uint16(6 + len(target)), r.Priority, r.Weight, r.Port} {
					reply = binary.BigEndian.AppendUint16(reply, x)
				}
				reply = append(reply, target...)
				reply[7]++
			}
		}
		frame := append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}

// The certificate is checked for the configured host of each address, also
// where DialContext connects; one that does not fit is a reason to go on.
func TestTLSNames(t *testing.T) {
	e := suite.Private(t, 1)
	ca := suite.NewAuthority(t)
	serve := func(host string) string {
		return suite.Terminate(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue(host)}}, e.Addrs()[0])
	}
	fronts := map[string]string{
		"a.test:2181": serve("a.test"),
		"b.test:2181": serve("b.test"),
		"c.test:2181": serve("evil.test"),
		"d.test:2181": serve("*.test"),
	}
	var dialed []string
	conf := zk.Config{TLS: &tls.Config{RootCAs: ca.Pool()}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed = append(dialed, addr)
		return new(net.Dialer).DialContext(ctx, network, fronts[addr])
	}}
	dial := func(addrs ...string) (*zk.Session, error) {
		c := conf
		c.Addrs = addrs
		dialed = nil
		s, err := zk.Dial(e.Ctx, c)
		if err == nil {
			e.Keep(s)
		}
		return s, err
	}
	for _, name := range []string{"a.test", "b.test", "d.test"} {
		s, err := dial(name)
		assert.NilError(t, err)
		assert.Equal(t, s.Addr(), name+":2181")
		assert.DeepEqual(t, dialed, []string{name + ":2181"}) // unresolved
	}
	_, err := dial("c.test")
	assert.Assert(t, !errors.Is(err, zk.ErrNoServer), "%v", err) // nor is it elsewhere
	var wrong x509.HostnameError
	assert.Assert(t, errors.As(err, &wrong) && wrong.Host == "c.test", "%v", err)
	assert.ErrorContains(t, err, "c.test:2181")
	for range 10 {
		s, err := dial("c.test", "a.test")
		assert.NilError(t, err)
		assert.Equal(t, s.Addr(), "a.test:2181")
	}
	assert.Equal(t, conf.TLS.ServerName, "") // the caller's

	conf.TLS = &tls.Config{RootCAs: ca.Pool(), ServerName: "evil.test"}
	s, err := dial("c.test")
	assert.NilError(t, err)
	// A redial takes TLS from the Config it is given.
	next := s.Config()
	next.TLS = &tls.Config{RootCAs: ca.Pool()}
	_, err = zk.Dial(e.Ctx, next)
	assert.Assert(t, errors.As(err, &wrong), "%v", err)
	next.Addrs = []string{"b.test"}
	moved := e.Dial(next)
	assert.Equal(t, moved.ID(), s.ID())
}

// A server that asks for a certificate gets the one in the Config.
func TestTLSClientCertificate(t *testing.T) {
	e := suite.Private(t, 1)
	ca := suite.NewAuthority(t)
	front := suite.Terminate(t, &tls.Config{
		Certificates: []tls.Certificate{ca.Issue("127.0.0.1")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	}, e.Addrs()[0])
	conf := zk.Config{Addrs: []string{front}, TLS: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Issue("client")}}}
	s := e.Dial(conf)
	e.Create(s, "/n", "")
	conf.TLS = &tls.Config{RootCAs: ca.Pool()}
	_, err := zk.Dial(e.Ctx, conf)
	assert.ErrorContains(t, err, "certificate")
	assert.Assert(t, !errors.Is(err, zk.ErrNoServer), "%v", err)
	conf.Addrs = append(conf.Addrs, "127.0.0.1:1") // of one that is away nobody knows
	_, err = zk.Dial(e.Ctx, conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
}

// A Dial without a deadline takes at most the timeout, shared among the
// addresses that are left.
func TestDialTime(t *testing.T) {
	suite.InBubble(t, 3, func(t *testing.T, e *suite.Env) {
		e.Sim.Fault(zktest.Rule{Op: zktest.OpConnect, Do: zktest.StallBefore, Count: -1})
		conf, l := e.Config()
		conf.Timeout = 9 * time.Second
		var at []time.Duration
		began := time.Now()
		l.On(func(context.Context, string) error {
			at = append(at, time.Since(began))
			return nil
		})
		_, err := zk.Dial(context.Background(), conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.Equal(t, time.Since(began), 9*time.Second)
		assert.DeepEqual(t, at, []time.Duration{0, 3 * time.Second, 6 * time.Second})
		for _, addr := range e.Addrs() {
			assert.ErrorContains(t, err, addr)
		}
		assert.Equal(t, l.Open(), 0)

		// A deadline counts instead; what fails at once leaves its share to the others.
		at, began = nil, time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 18*time.Second)
		defer cancel()
		l.On(func(context.Context, string) error {
			at = append(at, time.Since(began))
			if len(at) == 1 {
				return errors.New("at once")
			}
			return nil
		})
		_, err = zk.Dial(ctx, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.Equal(t, time.Since(began), 18*time.Second)
		assert.DeepEqual(t, at, []time.Duration{0, 0, 9 * time.Second})

		// So does a connection that does not come to be.
		at, began = nil, time.Now()
		ctx, cancel = context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		l.On(func(ctx context.Context, _ string) error {
			at = append(at, time.Since(began))
			<-ctx.Done()
			return ctx.Err()
		})
		_, err = zk.Dial(ctx, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Since(began), 3*time.Second)
		assert.DeepEqual(t, at, []time.Duration{0, time.Second, 2 * time.Second})
	})
}

// A Dial that moves a session may take the granted timeout, if that is longer than
// the one to ask for: until the session's time is over, and as long again afterwards.
// The time of another process's session is not known.
func TestDialTimeOfAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := suite.SimOptions(zktest.V39)
		opts.InMemory, opts.MinSessionTimeout = true, 12*time.Second
		e := suite.Private(t, 3, opts)
		conf, _ := e.Config()
		conf.Timeout = 3 * time.Second
		s := e.Dial(conf)
		assert.Equal(t, s.Timeout(), 12*time.Second)
		e.Sim.Fault(zktest.Rule{Op: zktest.OpConnect, Do: zktest.StallBefore, Count: -1})
		e.Sim.Cut(s.ID())
		<-s.Done()
		took := func(dial func() error) time.Duration {
			began := time.Now()
			assert.ErrorIs(t, dial(), zk.ErrNoServer)
			return time.Since(began)
		}
		redial := func() error { _, err := s.Redial(context.Background()); return err }

		time.Sleep(4 * time.Second)
		assert.Equal(t, took(redial), 8*time.Second) // what is left of the session
		assert.Equal(t, took(redial), 12*time.Second)
		assert.Equal(t, took(func() error { _, err := zk.Dial(context.Background(), s.Config()); return err }), 12*time.Second)

		conf = s.Config()
		saved, err := json.Marshal(conf.State)
		assert.NilError(t, err)
		conf.State = zk.State{}
		assert.NilError(t, json.Unmarshal(saved, &conf.State))
		assert.Equal(t, took(func() error { _, err := zk.Dial(context.Background(), conf); return err }), 3*time.Second)
	})
}

// Restoring many watches may take longer than a share: it is bound by the
// context, and by the life of the connection.
func TestDialStalledBehindHandshake(t *testing.T) {
	for _, op := range []wire.Op{wire.OpAuth, wire.OpSetWatches} {
		suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
			conf, l := e.Config()
			conf.Timeout = 9 * time.Second
			conf.Auth = []zk.Auth{zk.Digest("user", "secret")}
			s, err := zk.Dial(context.Background(), conf)
			assert.NilError(t, err)
			ch := make(chan zk.Event, 1)
			_, _, err = s.Get(context.Background(), "/", ch)
			assert.NilError(t, err)
			conf = s.Detach()

			stall := e.Sim.Fault(zktest.Rule{Op: op, Do: zktest.StallBefore, Count: -1})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			began := time.Now()
			_, err = zk.Dial(ctx, conf)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, zk.ErrNoServer)
			assert.Equal(t, time.Since(began), time.Second)
			began = time.Now()
			_, err = zk.Dial(context.Background(), conf)
			assert.ErrorIs(t, err, zk.ErrNoServer)
			assert.ErrorIs(t, err, zk.ErrConnection)
			// No byte for two thirds, and a tick to see it.
			took := time.Since(began)
			assert.Assert(t, took >= 6*time.Second && took <= 7500*time.Millisecond, took)
			assert.Equal(t, l.Open(), 0)

			stall.Remove()
			s, err = zk.Dial(context.Background(), conf)
			assert.NilError(t, err)
			_, err = s.Set(context.Background(), "/", nil, zk.AnyVersion)
			assert.NilError(t, err)
			assert.Equal(t, len(ch), 1)
			assert.NilError(t, s.Close())
		})
	}
}

// A new session whose Dial fails behind the handshake is closed again, as far
// as that goes without waiting; one that was to be moved is not.
func TestFailedDialClosesItsSession(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, l := e.Config()
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		old := s.Detach()
		e.Sim.Fault(zktest.Rule{Op: wire.OpAuth, Do: zktest.StallBefore, Count: -1})
		for _, c := range []zk.Config{conf, old} {
			c.Auth = []zk.Auth{zk.Digest("user", "secret")}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := zk.Dial(ctx, c)
			cancel()
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, l.Open(), 0)
			var h wire.RequestHeader
			d := wire.NewDecoder(l.LastFrame())
			h.Decode(&d)
			assert.Equal(t, h.Op == wire.OpCloseSession, c.ID == 0, "the last request was %v", h.Op)
		}
	})
}

// A read-only server is taken only if the Config says so, and its session is
// nobody else's.
func TestReadOnly(t *testing.T) {
	e := suite.Private(t, 1)
	s, l := e.Linked()
	path := e.Create(s, "/n", "data")
	ch := make(chan zk.Event, 1)
	e.Watch(s, path, ch)
	global := s.Config()
	gone := e.Session().Detach()
	gone.ReadOnly = true
	e.Sim.Expire(gone.ID)
	e.Sim.Member(0).SetReadOnly(true)
	suite.Await(t, s.Done())

	conf, _ := e.Config()
	_, err := zk.Dial(e.Ctx, conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	conf.ReadOnly = true
	ro := e.Dial(conf)
	assert.Assert(t, ro.ReadOnly())
	data, _, err := ro.Get(e.Ctx, path, ch)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "data")
	_, err = ro.Set(e.Ctx, path, nil, zk.AnyVersion)
	suite.WantCode(t, err, zk.ErrNotReadOnly, path)
	_, err = ro.Create(e.Ctx, "/m", nil, zk.Persistent, zk.ACLOpen)
	suite.WantCode(t, err, zk.ErrNotReadOnly, "/m")
	suite.WantCode(t, ro.Delete(e.Ctx, path, zk.AnyVersion), zk.ErrNotReadOnly, path)
	suite.WantCode(t, ro.Sync(e.Ctx, path), zk.ErrNotReadOnly, path)
	_, err = ro.Multi(e.Ctx, zk.SetOp{Path: path})
	suite.WantCode(t, err, zk.ErrNotReadOnly, "")
	assert.Equal(t, ro.Config().ID, int64(0), "the id of a read-only server is in the State")

	// The session of before is not expired, only nobody here knows it.
	global.ReadOnly = true
	_, err = zk.Dial(e.Ctx, global)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.Assert(t, !errors.Is(err, zk.ErrExpired))

	// Nor is one that has expired, for all that a server knows that is cut off.
	_, err = zk.Dial(e.Ctx, gone)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.Assert(t, !errors.Is(err, zk.ErrExpired))

	e.Sim.Member(0).SetReadOnly(false)
	suite.Await(t, ro.Done())
	back, err := ro.Redial(e.Ctx)
	assert.NilError(t, err)
	e.Keep(back)
	assert.Assert(t, !back.ReadOnly() && back.Config().ID == back.ID())
	e.Set(back, path, "x")
	e.Ready(ch, zk.Changed, path)
	s = e.Dial(s.Config())
	assert.Equal(t, s.ID(), global.ID)
	e.Want(ch, zk.Changed, path) // its own
	assert.Equal(t, l.Open(), 1)
}
