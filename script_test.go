package zk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
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
)

// This file is for tests whose server is played by hand, frame by frame: a rig
// takes what is dialed through its Config, a line is one connection of it, and
// the test reads and writes the frames in the order in which it states them.

const (
	rigID      int64 = 0x5e5510
	rigTimeout       = 12 * time.Second // its third, sixth and quarters are whole seconds
)

var rigPassword = []byte("0123456789abcdef")

// rig is the far end of a network on which every server is played by the test.
type rig struct {
	t       testing.TB
	arrived chan *line
	stop    chan struct{} // closed at the end of the test

	mu    sync.Mutex
	lines []*line
	over  bool
	lay   func(net.Conn) net.Conn // what the client gets instead of its bare end; nil: that

	lastClient *zktest.PipeConn // the client's end of the last connection
}

// bubble runs a test on a rig, on the fake clock. No goroutine may be left.
func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t)) })
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, arrived: make(chan *line, 4096), stop: make(chan struct{})}
	t.Cleanup(r.end) // of a test that failed half-way too
	return r
}

// end closes every connection, now and later, so that nothing waits for an answer.
func (r *rig) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.over = true
	close(r.stop)
	for _, l := range r.lines {
		l.Close()
	}
}

// config is a Config of servers of this rig.
func (r *rig) config() zk.Config {
	return zk.Config{Addrs: []string{"server:2181"}, Timeout: rigTimeout, DialContext: r.dial}
}

func (r *rig) dial(_ context.Context, _, addr string) (net.Conn, error) {
	client, server := zktest.Pipe()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, errors.New("the test is over")
	}
	l := &line{PipeConn: server, t: r.t, addr: addr, stop: r.stop}
	r.lines = append(r.lines, l)
	r.lastClient = client
	r.arrived <- l
	if r.lay != nil {
		return r.lay(client), nil
	}
	return client, nil
}

// connections returns how many there were so far.
func (r *rig) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lines)
}

// accept returns the next connection that is dialed.
func (r *rig) accept() *line {
	r.t.Helper()
	select {
	case l := <-r.arrived:
		return l
	case <-time.After(time.Minute):
		r.t.Fatal("nobody dials")
		return nil
	}
}

// open dials a Session whose server says what an ordinary one says. A State
// with watches needs more answers: see begin.
func (r *rig) open(conf zk.Config) (*zk.Session, *line) {
	r.t.Helper()
	d := r.begin(conf)
	l := r.accept()
	l.greet()
	return d.session(), l
}

// dialing is a Dial under way.
type dialing struct {
	*under
	s *zk.Session
}

func (r *rig) begin(conf zk.Config) *dialing { return r.beginContext(context.Background(), conf) }

func (r *rig) beginContext(ctx context.Context, conf zk.Config) *dialing {
	d := new(dialing)
	d.under = start(r.t, func() (err error) {
		d.s, err = zk.Dial(ctx, conf)
		return err
	})
	return d
}

func (d *dialing) session() *zk.Session {
	d.t.Helper()
	d.ok()
	return d.s
}

// under is a call under way in a goroutine of its own.
type under struct {
	t    testing.TB
	done chan struct{}
	err  error
}

func start(t testing.TB, f func() error) *under {
	u := &under{t: t, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.err = f()
	}()
	return u
}

// returned reports whether the call is back.
func (u *under) returned() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// wait returns the call's error.
func (u *under) wait() error {
	u.t.Helper()
	select {
	case <-u.done:
		return u.err
	case <-time.After(24 * time.Hour): // in a bubble; elsewhere the test's own limit comes first
		u.t.Fatal("a call does not return")
		return nil
	}
}

func (u *under) ok() {
	u.t.Helper()
	assert.NilError(u.t, u.wait())
}

// lost and unsent check how a call ended that was not answered.
func (u *under) lost(reason error) {
	u.t.Helper()
	checkOutcome(u.t, u.wait(), zk.Lost, reason)
}

func (u *under) unsent(reason error) {
	u.t.Helper()
	checkOutcome(u.t, u.wait(), zk.NotSent, reason)
}

// refused checks that the server's answer was an error.
func (u *under) refused(code zk.Code) {
	u.t.Helper()
	checkOutcome(u.t, u.wait(), zk.Answered, code)
}

// checkOutcome checks that an error is an OpError with one outcome, and matches
// the reason.
func checkOutcome(t testing.TB, err error, want zk.Outcome, reason error) {
	t.Helper()
	var op *zk.OpError
	if !errors.As(err, &op) {
		t.Fatalf("not an OpError: %v", err)
	}
	if op.Outcome() != want || errors.Is(err, zk.ErrNotSent) != (want == zk.NotSent) || errors.Is(err, zk.ErrLost) != (want == zk.Lost) {
		t.Errorf("%v: the outcome is %v, want %v", err, op.Outcome(), want)
	}
	if !errors.Is(err, reason) {
		t.Errorf("%v: does not match %v", err, reason)
	}
}

// line is the server's end of a connection.
type line struct {
	*zktest.PipeConn
	t    testing.TB
	addr string
	stop chan struct{}
}

// frame returns the body of the next frame from the client, or why there is none.
func (l *line) frame() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(l, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, wire.FrameLen(head[:]))
	_, err := io.ReadFull(l, body)
	return body, err
}

// asked is a request.
type asked struct {
	wire.RequestHeader
	path string // where the request begins with one
	body []byte // behind the header
}

func parseAsked(body []byte) (a asked) {
	d := wire.NewDecoder(body)
	a.RequestHeader.Decode(&d)
	a.body = d.Rest()
	switch a.Op {
	case wire.OpAuth, wire.OpSASL, wire.OpSetWatches, wire.OpSetWatches2, wire.OpMulti, wire.OpMultiRead, wire.OpReconfig, wire.OpPing, wire.OpCloseSession, wire.OpWhoAmI:
	default:
		a.path = d.String()
	}
	return a
}

// armed reports whether a read asks the server to watch.
func (a asked) armed() bool { return a.body[len(a.body)-1] != 0 }

// watches decodes a SetWatches of either kind.
func (a asked) watches(t testing.TB) wire.SetWatches2Request {
	t.Helper()
	d := wire.NewDecoder(a.body)
	var two wire.SetWatches2Request
	switch a.Op {
	case wire.OpSetWatches:
		var one wire.SetWatchesRequest
		one.Decode(&d)
		two = wire.SetWatches2Request{RelativeZxid: one.RelativeZxid, Data: one.Data, Exist: one.Exist, Child: one.Child}
	case wire.OpSetWatches2:
		two.Decode(&d)
	default:
		t.Fatalf("%v instead of setWatches", a.Op)
	}
	assert.NilError(t, d.Err())
	assert.Equal(t, d.Len(), 0)
	return two
}

// next returns the next request; pings are skipped.
func (l *line) next() asked {
	l.t.Helper()
	for {
		body, err := l.frame()
		if err != nil {
			l.t.Fatalf("no request: %v", err)
		}
		if a := parseAsked(body); a.Op != wire.OpPing {
			return a
		}
	}
}

// want returns the next request, which must be this one.
func (l *line) want(op wire.Op, path string) asked {
	l.t.Helper()
	a := l.next()
	if a.Op != op || a.path != path {
		l.t.Fatalf("%v %q came where %v %q was due", a.Op, a.path, op, path)
	}
	return a
}

// quiet checks that the client has written nothing more, and that the
// connection is open. It takes a nanosecond of the fake clock.
func (l *line) quiet() {
	l.t.Helper()
	if body, err := l.soon(); !errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Fatalf("not quiet: %q, %v", body, err)
	}
}

// hungUp checks that the client has closed the connection, and written nothing before.
func (l *line) hungUp() {
	l.t.Helper()
	if body, err := l.soon(); err != io.EOF {
		l.t.Fatalf("not closed: %q, %v", body, err)
	}
}

// soon reads a frame that must be there.
func (l *line) soon() ([]byte, error) {
	synctest.Wait()
	l.SetReadDeadline(time.Now().Add(1))
	defer l.SetReadDeadline(time.Time{})
	return l.frame()
}

// connect reads the ConnectRequest.
func (l *line) connect() (q wire.ConnectRequest) {
	l.t.Helper()
	body, err := l.frame()
	if err != nil {
		l.t.Fatalf("no ConnectRequest: %v", err)
	}
	d := wire.NewDecoder(body)
	q.Decode(&d)
	assert.NilError(l.t, d.Err())
	return q
}

// greet reads the ConnectRequest and grants what it asks for.
func (l *line) greet() wire.ConnectRequest {
	l.t.Helper()
	q := l.connect()
	l.send(welcome(q))
	return q
}

// welcome is the answer of an ordinary server to a ConnectRequest.
func welcome(q wire.ConnectRequest) []byte {
	r := wire.ConnectResponse{Timeout: q.Timeout, SessionID: q.SessionID, Password: rigPassword, HasReadOnly: true}
	if r.SessionID == 0 {
		r.SessionID = rigID
	}
	return framed(r)
}

// restored answers the SetWatches that comes next, and returns it.
func (l *line) restored(zxid int64) wire.SetWatches2Request {
	l.t.Helper()
	a := l.next()
	w := a.watches(l.t)
	l.send(answer(a.Xid, zxid, nil))
	return w
}

// send writes frames in one segment.
func (l *line) send(frames ...[]byte) {
	l.t.Helper()
	if err := l.trySend(frames...); err != nil {
		l.t.Fatalf("cannot send: %v", err)
	}
}

func (l *line) trySend(frames ...[]byte) error {
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	_, err := l.Write(all)
	return err
}

// serve answers every request with what f returns, until the connection ends.
// Pings are answered without f.
func (l *line) serve(f func(a asked) [][]byte) {
	go func() {
		for {
			body, err := l.frame()
			if err != nil {
				return
			}
			a := parseAsked(body)
			out := [][]byte{answer(wire.XidPing, 0, nil)}
			if a.Op != wire.OpPing {
				out = f(a)
			}
			if l.trySend(out...) != nil {
				return
			}
		}
	}()
}

// chatter sends an event that nobody waits for, again and again.
func (l *line) chatter(every time.Duration) {
	go func() {
		for l.trySend(happened(zk.Changed, "/nobody", -1)) == nil && l.pause(every) {
		}
	}()
}

// pause sleeps, for goroutines that must not do so when the test is over.
func (l *line) pause(d time.Duration) bool {
	select {
	case <-l.stop:
		return false
	case <-time.After(d):
		return true
	}
}

type record interface{ Append([]byte) []byte }

// framed is a frame with these records.
func framed(records ...record) []byte {
	b := wire.BeginFrame(nil)
	for _, r := range records {
		if r != nil {
			b = r.Append(b)
		}
	}
	wire.EndFrame(b, 0)
	return b
}

// answer is a reply without an error; nil: without a body.
func answer(xid int32, zxid int64, body record) []byte {
	return framed(wire.ReplyHeader{Xid: xid, Zxid: zxid}, body)
}

// refusal is a reply with an error.
func refusal(xid int32, zxid int64, code zk.Code) []byte {
	return framed(wire.ReplyHeader{Xid: xid, Zxid: zxid, Err: int32(code)})
}

// happened is an event; zxid is -1 from servers before 3.9.
func happened(typ zk.EventType, path string, zxid int64) []byte {
	return framed(wire.ReplyHeader{Xid: wire.XidNotification, Zxid: zxid}, wire.WatcherEvent{Type: int32(typ), State: wire.StateSyncConnected, Path: path})
}

// fitting is an answer without an error to any request that has one.
func fitting(a asked, zxid int64) []byte {
	var body record
	switch a.Op {
	case wire.OpGetData, wire.OpReconfig:
		body = wire.GetDataResponse{Data: []byte("data"), Stat: wire.Stat{Version: 1}}
	case wire.OpExists, wire.OpSetData, wire.OpSetACL:
		body = wire.Stat{Version: 1}
	case wire.OpGetChildren2:
		body = wire.Children2Response{Children: []string{"child"}}
	case wire.OpCreate, wire.OpSync:
		body = wire.PathResponse{Path: a.path}
	case wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		body = wire.Create2Response{Path: a.path}
	case wire.OpGetACL:
		body = wire.GetACLResponse{ACL: []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}}
	}
	return answer(a.Xid, zxid, body)
}

// taken returns the events that are in a channel now.
func taken(ch <-chan zk.Event) (events []zk.Event) {
	for {
		select {
		case ev := <-ch:
			events = append(events, ev)
		default:
			return events
		}
	}
}

// told is the short form of events: "changed /a, child /b".
func told(events ...zk.Event) string {
	var list []string
	for _, ev := range events {
		list = append(list, fmt.Sprintf("%v %s", ev.Type, ev.Path))
	}
	return strings.Join(list, ", ")
}

// armedList is the short form of what a Session has armed: "data /a, child /b".
func armedList(w *zk.Watches) string {
	var list []string
	for _, x := range w.List() {
		if !x.Fired {
			list = append(list, fmt.Sprintf("%v %s", x.Kind, x.Path))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// onProcs runs a test at several values of GOMAXPROCS.
func onProcs(t *testing.T, f func(t *testing.T)) {
	for _, n := range []int{1, 2} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			f(t)
		})
	}
}

// gatedConn is a client's end whose Write, while the gate is shut, returns only
// when it opens. What it writes goes out at once all the same.
type gatedConn struct {
	net.Conn
	stuck bool // Close does not open it, as it must: the test does
	mu    sync.Mutex
	gate  chan struct{} // nil: open
}

func (c *gatedConn) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = make(chan struct{})
}

func (c *gatedConn) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gate != nil {
		close(c.gate)
		c.gate = nil
	}
}

func (c *gatedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	gate := c.gate
	c.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return n, err
}

// Close must unblock Write.
func (c *gatedConn) Close() error {
	if !c.stuck {
		c.open()
	}
	return c.Conn.Close()
}
