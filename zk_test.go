package zk_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// This file is the harness of the behaviour suite: the same tests run against
// servers in this process and, with ZK_TEST_APACHE=1, against real ones, in
// each case at the root and under a chroot.

// patience is how long anything may take before a test gives up. Nothing is
// timed against it.
const patience = time.Minute

// raceEnabled tells whether the race detector watches.
var raceEnabled = func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}()

var realServers = os.Getenv("ZK_TEST_APACHE") == "1"

func TestMain(m *testing.M) {
	flag.Parse()
	if !realServers {
		fmt.Println("real ZooKeeper servers were not run: use make test")
	}
	os.Exit(runTests(m, matrix.report))
}

// runTests runs the tests of a package, ends the servers that they shared, and makes
// sure that no goroutine of the client outlives them. What after finds wrong, where
// it is not nil, is a failure too.
func runTests(m *testing.M, after func() error) (code int) {
	code = m.Run()
	fail := func(what any) {
		fmt.Println("FAIL:", what)
		code = 1
	}
	for _, s := range allServers {
		if err := s.leave(); err != nil {
			fail(err)
		}
	}
	if left := leftovers(); left != "" && code == 0 { // while the servers run: they would end it all
		fail("goroutines of the client outlive the tests:\n" + left)
	}
	for _, s := range allServers {
		if err := s.close(); err != nil {
			fail(err)
		}
	}
	if after != nil {
		if err := after(); err != nil {
			fail(err)
		}
	}
	return code
}

// leftovers returns the goroutines that run code of the client, once all its
// Sessions should be over.
func leftovers() string {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := clientGoroutines()
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

// code is a function of this module in a stack, with its package.
var code = regexp.MustCompile(regexp.QuoteMeta("github.com/seed-9f8420c6/zk") + `((?:/\w+)*)\.`)

// ofClient reports whether a stack has code of the client in it, or was started by
// it; what is only of tests does not count, nor do servers.
func ofClient(stack []byte) bool {
	for _, m := range code.FindAllSubmatch(stack, -1) {
		switch string(m[1]) {
		case "/internal/suite", "/internal/scripts", "/internal/sim", "/internal/house":
		case "":
			return true
		default:
			if bytes.HasPrefix(m[1], []byte("/internal/")) {
				return true
			}
		}
	}
	return false
}

// clientGoroutines returns the stacks of all goroutines that are in, or were
// started by, the client.
func clientGoroutines() []string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var found []string
	for _, g := range bytes.Split(buf, []byte("\n\n")) {
		if ofClient(g) {
			found = append(found, string(g))
		}
	}
	return found
}

// server is a ZooKeeper that is started once, when first needed, and shared.
type server struct {
	members int
	version zktest.Version
	release apache.Release // empty: in this process

	once   sync.Once
	err    error
	sim    *zktest.Ensemble
	apache *apache.Ensemble
	admin  *zk.Session // at the root, with the super user's rights
}

func (s *server) real() bool { return s.release != "" }

// start is what both kinds of servers have in common.
func (s *server) start() error {
	s.once.Do(func() {
		var addrs []string
		if s.real() {
			// A follower that starved for a while must not leave its leader: that ends every connection.
			s.apache, s.err = apache.Start(context.Background(), apache.Config{
				Release: s.release, Members: s.members, Settings: map[string]string{"initLimit": "120", "syncLimit": "120"},
			})
			if s.err != nil {
				return
			}
			addrs = s.apache.Addrs()
		} else {
			s.sim, s.err = zktest.StartEnsemble(s.members, simOptions(s.version))
			if s.err != nil {
				return
			}
			addrs = s.sim.Addrs()
		}
		s.admin, s.err = zk.Dial(context.Background(), zk.Config{
			Addrs: addrs, Timeout: time.Minute, Auth: []zk.Auth{{Scheme: "digest", Credential: []byte(apache.SuperCredential)}},
		})
		if s.err == nil {
			s.err = makeDecoys(s.admin)
		}
	})
	return s.err
}

// simOptions makes an in-process server like the real ones are set up.
func simOptions(v zktest.Version) zktest.Options {
	return zktest.Options{
		Version: v, MinSessionTimeout: 500 * time.Millisecond, MaxSessionTimeout: time.Minute,
		Super: apache.SuperCredential, Reconfig: true,
	}
}

func (s *server) addrs() []string {
	if s.real() {
		return s.apache.Addrs()
	}
	return s.sim.Addrs()
}

// leave ends the suite's own session, and reports what the tests did to the
// server that they must not.
func (s *server) leave() error {
	if s.admin == nil {
		return nil
	}
	err := checkDecoys(s.admin)
	s.admin.Close()
	if err != nil {
		err = fmt.Errorf("%v: %w", s, err)
	}
	return err
}

func (s *server) close() error {
	if s.sim != nil {
		s.sim.Close()
	}
	if s.apache != nil {
		return s.apache.Close()
	}
	return nil
}

func (s *server) String() string {
	kind := "sim-" + s.version.String()
	if s.real() {
		kind = "apache-" + s.version.String()
	}
	if s.members > 1 {
		kind += fmt.Sprintf("x%d", s.members)
	}
	return kind
}

// backend is a server and the chroot at which tests use it.
type backend struct {
	*server
	chroot string
}

func (b backend) String() string {
	if b.chroot != "" {
		return b.server.String() + "-chroot"
	}
	return b.server.String()
}

// chroot is not trivial to add and to strip: its own name comes again below it,
// and each decoy beside it begins like it, or it like the decoy.
const (
	chroot      = "/zoo/app"
	chrootTop   = "/zoo"
	decoyPrefix = "/zoo/"
)

var decoys = []string{"/zoo/ap", "/zoo/apple", "/zoo/app.", "/zoo/zoo", "/zoo/App"}

func makeDecoys(s *zk.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ops := []zk.Op{
		zk.CreateOp{Path: chrootTop, ACL: zk.ACLOpen},
		zk.CreateOp{Path: chroot, ACL: zk.ACLOpen},
	}
	for _, d := range decoys {
		ops = append(ops, zk.CreateOp{Path: d, Data: []byte("decoy"), ACL: zk.ACLOpen})
	}
	_, err := s.Batch(ctx, ops...)
	return err
}

// checkDecoys makes sure that nothing was done beside the chroot.
func checkDecoys(s *zk.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Sync(ctx, "/"); err != nil {
		return err
	}
	names, _, err := s.Children(ctx, chrootTop, nil)
	if err != nil {
		return err
	}
	slices.Sort(names)
	want := []string{strings.TrimPrefix(chroot, decoyPrefix)}
	for _, d := range decoys {
		want = append(want, strings.TrimPrefix(d, decoyPrefix))
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		return fmt.Errorf("nodes beside the chroot: %q, want %q", names, want)
	}
	for _, d := range decoys {
		data, st, err := s.Get(ctx, d, nil)
		if err != nil {
			return err
		}
		if string(data) != "decoy" || st.Version != 0 || st.Cversion != 0 || st.Aversion != 0 {
			return fmt.Errorf("decoy %s was changed: %q %+v", d, data, st)
		}
	}
	return nil
}

// allServers are all that the suite may run against: servers in this process,
// of every version, and real ones of the releases that are to be tested.
var allServers = func() []*server {
	servers := []*server{{members: 1, version: zktest.V39}, {members: 3, version: zktest.V39}}
	for v := zktest.V38; v >= zktest.V34; v-- {
		servers = append(servers, &server{members: 1, version: v})
	}
	if realServers {
		for _, r := range apache.Tested() {
			for _, members := range []int{1, 3} {
				servers = append(servers, &server{members: members, version: minor(string(r)), release: r})
			}
		}
	}
	return servers
}()

func backends() []backend {
	var list []backend
	for _, s := range allServers {
		list = append(list, backend{server: s})
		if s.version == zktest.V39 && (s.members == 1) != s.real() {
			list = append(list, backend{server: s, chroot: chroot})
		}
	}
	return list
}

// everywhere runs a test against every backend.
func everywhere(t *testing.T, f func(t *testing.T, e *env)) {
	t.Helper()
	on(t, func(backend) bool { return true }, f)
}

// since runs a test against every backend of a version and those after it: the
// first that knows the test's operations.
func since(t *testing.T, v zktest.Version, f func(t *testing.T, e *env)) {
	t.Helper()
	on(t, func(b backend) bool { return b.version >= v }, f)
}

// ensembles runs a test against every backend of several members.
func ensembles(t *testing.T, f func(t *testing.T, e *env)) {
	t.Helper()
	on(t, func(b backend) bool { return b.members > 1 }, f)
}

// on runs a test against the backends that fit.
func on(t *testing.T, fits func(backend) bool, f func(t *testing.T, e *env)) {
	t.Helper()
	for _, b := range backends() {
		if fits(b) {
			t.Run(b.String(), func(t *testing.T) {
				f(t, newEnv(t, b))
				if b.real() && !t.Failed() {
					passed.add(b.release)
				}
			})
		}
	}
}

// passes counts the tests that passed on real servers.
type passes struct {
	mu sync.Mutex
	n  map[apache.Release]int
}

var passed = passes{n: map[apache.Release]int{}}

func (p *passes) add(release apache.Release) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n[release]++
}

// passedOn returns how many tests of this package passed on each release so far.
func passedOn() map[apache.Release]int {
	passed.mu.Lock()
	defer passed.mu.Unlock()
	return maps.Clone(passed.n)
}

// private returns a server in this process that only this test uses, so that
// it may break it, and look at all of its frames.
func private(t *testing.T, members int, opts ...zktest.Options) *env {
	t.Helper()
	o := simOptions(zktest.V39)
	if len(opts) > 0 {
		o = opts[0]
	}
	s := &server{members: members, version: o.Version, sim: zktest.NewEnsemble(t, members, o)}
	return &env{backend: backend{server: s}, t: t, ctx: testContext(t)}
}

// inBubble runs a test in a synctest bubble, against servers of its own in
// memory: time passes only while all are at rest. The frame log of such a
// server is exact: nothing happens but what the test does, and pings.
func inBubble(t *testing.T, members int, f func(t *testing.T, e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := simOptions(zktest.V39)
		o.InMemory = true
		f(t, private(t, members, o))
	})
}

// env is a backend in the hands of one test.
type env struct {
	backend
	t    *testing.T
	ctx  context.Context
	root string // a node of this test's own; empty with a private server
}

// knows reports whether the server is of that version or a later one.
func (e *env) knows(v zktest.Version) bool { return e.version >= v }

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newEnv(t *testing.T, b backend) *env {
	t.Helper()
	assert.NilError(t, b.start())
	e := &env{backend: b, t: t, ctx: testContext(t)}
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r == '#' {
			return '-'
		}
		return r
	}, t.Name())
	path, err := b.admin.Create(e.ctx, b.chroot+"/"+name+"-", nil, zk.PersistentSequential, zk.ACLOpen)
	assert.NilError(t, err)
	e.root = strings.TrimPrefix(path, b.chroot)
	return e
}

// server path of a path of the test.
func (e *env) full(path string) string { return e.chroot + path }

// config returns a Config for this backend, with a network of its own.
func (e *env) config() (zk.Config, *link) {
	l := &link{t: e.t, sim: e.sim}
	return zk.Config{Addrs: e.addrs(), Chroot: e.chroot, Timeout: 40 * time.Second, DialContext: l.dial}, l
}

// dial makes a Session that ends with the test.
func (e *env) dial(conf zk.Config) *zk.Session {
	e.t.Helper()
	s, err := zk.Dial(e.ctx, conf)
	for e.real() && e.members > 1 && errors.Is(err, zk.ErrNoServer) && e.ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond) // real members may all be a moment behind the one that was left
		s, err = zk.Dial(e.ctx, conf)
	}
	assert.NilError(e.t, err)
	return e.keep(s)
}

// dialedOnce checks that one Dial was made since before. Real members may turn
// it away, for they are a moment behind, and then it goes on to the next.
func (e *env) dialedOnce(l *link, before int) {
	e.t.Helper()
	n := len(l.dialed()) - before
	assert.Assert(e.t, n == 1 || e.real() && n > 1 && n <= e.members, "%d connections", n)
}

// keep ends a Session with the test.
func (e *env) keep(s *zk.Session) *zk.Session {
	e.t.Cleanup(func() { s.Close() })
	return s
}

// session makes a Session on a new session. All that was done before is
// visible through it.
func (e *env) session() *zk.Session {
	e.t.Helper()
	s, _ := e.linked()
	return s
}

// linked is session with the network that it uses.
func (e *env) linked() (*zk.Session, *link) {
	e.t.Helper()
	conf, l := e.config()
	s := e.dial(conf)
	if e.members > 1 {
		assert.NilError(e.t, s.Sync(e.ctx, "/"))
	}
	return s, l
}

// move dials the Session's successor.
func (e *env) move(s *zk.Session) *zk.Session {
	e.t.Helper()
	return e.dial(s.Config())
}

// cut ends the connection of a Session and waits until it has noticed.
func (e *env) cut(s *zk.Session, l *link) {
	e.t.Helper()
	l.cut()
	await(e.t, s.Done())
	assert.ErrorIs(e.t, s.Err(), zk.ErrConnection)
}

// create makes a persistent node.
func (e *env) create(s *zk.Session, path string, data string) string {
	e.t.Helper()
	_, err := s.Create(e.ctx, path, []byte(data), zk.Persistent, zk.ACLOpen)
	assert.NilError(e.t, err)
	return path
}

// set changes a node's data.
func (e *env) set(s *zk.Session, path string, data string) zk.Stat {
	e.t.Helper()
	st, err := s.Set(e.ctx, path, []byte(data), zk.AnyVersion)
	assert.NilError(e.t, err)
	return st
}

func (e *env) delete(s *zk.Session, path string) {
	e.t.Helper()
	assert.NilError(e.t, s.Delete(e.ctx, path, zk.AnyVersion))
}

// watch arms a channel for data.
func (e *env) watch(s *zk.Session, path string, ch chan<- zk.Event) {
	e.t.Helper()
	_, _, err := s.Get(e.ctx, path, ch)
	assert.NilError(e.t, err)
}

// expire ends a session from outside, as if it had timed out, and waits until
// its Session has noticed, if that is still connected.
func (e *env) expire(s *zk.Session) {
	e.t.Helper()
	if e.sim != nil {
		e.sim.Expire(s.ID())
	} else {
		// A State without Watches is another process with the same session.
		conf := s.Config()
		conf.Watches, conf.DialContext, conf.Chroot = nil, nil, ""
		other, err := zk.Dial(e.ctx, conf)
		assert.NilError(e.t, err)
		assert.NilError(e.t, other.Close())
	}
	await(e.t, s.Done())
}

// fence waits until all events of what was done before have arrived at s.
func (e *env) fence(s *zk.Session) {
	e.t.Helper()
	assert.NilError(e.t, s.Sync(e.ctx, "/"))
	if e.real() && e.members > 1 { // a Sync does nothing on a leader; a write, though refused, comes in its turn everywhere
		assert.ErrorIs(e.t, s.Delete(e.ctx, "/no-such-node", zk.AnyVersion), zk.ErrNoNode)
	}
}

// none fails if there is an event in a channel, though all that was done
// before, by any session, has had time to arrive.
func (e *env) none(s *zk.Session, ch <-chan zk.Event) {
	e.t.Helper()
	e.fence(s)
	select {
	case ev := <-ch:
		e.t.Fatalf("an event that must not be: %+v", ev)
	default:
	}
}

// want takes one event that has to come.
func (e *env) want(ch <-chan zk.Event, typ zk.EventType, path string) zk.Event {
	e.t.Helper()
	ev := await(e.t, ch)
	assert.Equal(e.t, fmt.Sprint(ev.Type, " ", ev.Path), fmt.Sprint(typ, " ", path))
	if e.version < zktest.V39 || typ == zk.Gap {
		assert.Equal(e.t, ev.Zxid, int64(0), "%+v", ev)
	}
	return ev
}

// ready takes one event that has to be there already.
func (e *env) ready(ch <-chan zk.Event, typ zk.EventType, path string) zk.Event {
	e.t.Helper()
	assert.Assert(e.t, len(ch) > 0, "no %v %s in the channel", typ, path)
	return e.want(ch, typ, path)
}

// await receives from a channel, or is notified of its end.
func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("nothing from a channel within %v", patience)
		panic("unreachable")
	}
}

// link is the network of one Config: it counts what is dialed, and can fail.
type link struct {
	t   *testing.T
	sim *zktest.Ensemble // to dial into one that is in memory

	mu    sync.Mutex
	conns map[*linkConn]struct{}
	dials []string
	hook  func(ctx context.Context, addr string) error
	sent  int64 // bytes, over all connections
	got   int64
	last  []byte // what the last Write was given
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	l.dials = append(l.dials, addr)
	hook := l.hook
	l.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, addr); err != nil {
			return nil, err
		}
	}
	dial := new(net.Dialer).DialContext
	if l.sim != nil {
		dial = l.sim.DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: conn, link: l, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = make(map[*linkConn]struct{})
	}
	l.conns[c] = struct{}{}
	return c, nil
}

// fail makes every dial fail, or (nil) none.
func (l *link) fail(err error) {
	if err == nil {
		l.on(nil)
		return
	}
	l.on(func(context.Context, string) error { return err })
}

// on has every dial ask first.
func (l *link) on(hook func(ctx context.Context, addr string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// cut closes the connections that are open.
func (l *link) cut() {
	l.mu.Lock()
	open := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range open {
		c.end()
	}
}

// open returns how many connections are open.
func (l *link) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// dialed returns the addresses dialed so far.
func (l *link) dialed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.dials)
}

// traffic returns the bytes written to and read from all connections so far.
func (l *link) traffic() (sent, got int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.got
}

// awaitSent waits until so many bytes were written.
func (l *link) awaitSent(n int64) {
	l.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		sent, _ := l.traffic()
		if sent >= n {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("%d bytes written, want %d", sent, n)
		}
	}
}

// hold lets nothing more be written on the connections that are open.
func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.held = true
	}
}

type linkConn struct {
	net.Conn
	link   *link
	once   sync.Once
	closed chan struct{}
	held   bool // under link.mu
}

func (c *linkConn) Write(b []byte) (int, error) {
	c.link.count(len(b)) // before the answer can come
	c.link.mu.Lock()
	c.link.last = append(c.link.last[:0], b...)
	held := c.held
	c.link.mu.Unlock()
	if held {
		<-c.closed
	}
	n, err := c.Conn.Write(b)
	c.link.count(n - len(b))
	return n, err
}

// lastFrame returns the body of the last frame written.
func (l *link) lastFrame() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.last
	for len(rest) >= 4 && len(rest) > 4+wire.FrameLen(rest) {
		rest = rest[4+wire.FrameLen(rest):]
	}
	return slices.Clone(rest[4:])
}

func (l *link) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent += int64(n)
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.link.mu.Lock()
	c.link.got += int64(n)
	c.link.mu.Unlock()
	return n, err
}

func (c *linkConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.end()
}

func (c *linkConn) end() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// wantCode checks the error of a call that the server answered with a code.
func wantCode(t testing.TB, err error, code zk.Code, path string) {
	t.Helper()
	var op *zk.OpError
	assert.Assert(t, errors.As(err, &op), "%T %v, want an *OpError", err, err)
	assert.Equal(t, op.Err, error(code), "%v", err)
	assert.Equal(t, op.Path, path, "%v", err)
	assert.Equal(t, op.Outcome(), zk.Answered, "%v", err)
	assert.Assert(t, op.Op != "")
	assert.ErrorIs(t, err, code)
	for _, no := range []error{zk.ErrNotSent, zk.ErrLost, zk.ErrConnection, zk.ErrMoved, zk.ErrClosed} {
		assert.Assert(t, !errors.Is(err, no), "%v is also %v", err, no)
	}
}

// wantUnsent checks the error of a call that did not begin.
func wantUnsent(t testing.TB, err, reason error) {
	t.Helper()
	var op *zk.OpError
	assert.Assert(t, errors.As(err, &op), "%T %v, want an *OpError", err, err)
	assert.Equal(t, op.Outcome(), zk.NotSent, "%v", err)
	assert.ErrorIs(t, err, zk.ErrNotSent)
	assert.Assert(t, !errors.Is(err, zk.ErrLost), "%v", err)
	assert.ErrorIs(t, err, reason)
}

// wantLost checks the error of a call whose answer did not come.
func wantLost(t testing.TB, err, reason error) {
	t.Helper()
	var op *zk.OpError
	assert.Assert(t, errors.As(err, &op), "%T %v, want an *OpError", err, err)
	assert.Equal(t, op.Outcome(), zk.Lost, "%v", err)
	assert.ErrorIs(t, err, zk.ErrLost)
	assert.Assert(t, !errors.Is(err, zk.ErrNotSent), "%v", err)
	assert.ErrorIs(t, err, reason)
}
