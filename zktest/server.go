package zktest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/internal/talk"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// Ensemble is a set of servers that share one history. All methods are safe
// for concurrent use.
type Ensemble struct {
	opts    Options
	tb      testing.TB // nil: misuse panics
	members []*Member
	super   string         // digest id of Options.Super
	wg      sync.WaitGroup // every goroutine of the ensemble

	// mu is held for the time of computing only, never while waiting or in I/O.
	// Whoever waits does so on moved, which synctest takes for rest.
	mu        sync.Mutex
	moved     *sync.Cond // a member has applied transactions, or a connection is gone
	closed    bool
	prep      *data.Prep // whose Head is the tree of each member that keeps up
	zxid      int64
	sessions  map[int64]*session
	conns     map[*conn]struct{} // whose net.Conn is open
	dialed    int64              // connections so far
	reaper    *time.Timer
	reapAt    time.Time
	leader    int // index of a member; -1: there is none
	started   time.Time
	traceMask int64
	now       time.Time
	log       talk.Log[Frame]
	faults    []*Fault
	links     []*linkFault
}

// Server is an ensemble of one.
type Server struct{ *Ensemble }

// NewServer starts a server that ends with the test. Misuse of it fails the
// test. At most one Options can be given.
func NewServer(tb testing.TB, opts ...Options) *Server {
	tb.Helper()
	return &Server{NewEnsemble(tb, 1, opts...)}
}

// NewEnsemble starts an ensemble of n servers that end with the test. Misuse
// of it fails the test. At most one Options can be given.
func NewEnsemble(tb testing.TB, n int, opts ...Options) *Ensemble {
	tb.Helper()
	o, err := only(opts)
	if err != nil {
		tb.Fatalf("zktest: %v", err)
	}
	e, err := StartEnsemble(n, o)
	if err != nil {
		tb.Fatalf("zktest: %v", err)
	}
	e.tb = tb
	tb.Cleanup(func() {
		if o.NoLeaks {
			e.reportLeaks()
		}
		e.Close()
	})
	return e
}

// only returns the one of at most one value, or the zero value.
func only[T any](opts []T) (one T, err error) {
	switch len(opts) {
	case 0:
	case 1:
		one = opts[0]
	default:
		err = fmt.Errorf("%d values of type %T, of which there can be one", len(opts), one)
	}
	return one, err
}

// StartServer starts a server. Close ends it. Misuse of it panics.
func StartServer(opts Options) (*Server, error) {
	e, err := StartEnsemble(1, opts)
	if err != nil {
		return nil, err
	}
	return &Server{e}, nil
}

// StartEnsemble starts an ensemble of n servers and returns when it serves.
// Close ends it. Misuse of it panics.
func StartEnsemble(n int, opts Options) (*Ensemble, error) {
	if n < 1 || n > 127 {
		return nil, fmt.Errorf("ensemble of %d servers", n)
	}
	opts = opts.withDefaults()
	if opts.Version < V34 || opts.Version > V39 {
		return nil, fmt.Errorf("unknown version %d", int(opts.Version))
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	e := &Ensemble{
		opts: opts, sessions: map[int64]*session{}, conns: map[*conn]struct{}{},
		started: time.Now(), traceMask: defaultTraceMask,
	}
	e.moved = sync.NewCond(&e.mu)
	e.log.Max = max(opts.FrameLog, 0)
	e.super = opts.SuperDigest
	if opts.Super != "" {
		e.super = data.DigestID(opts.Super)
	}
	first, err := listenAddr(opts.Listen, n)
	if err != nil {
		return nil, err
	}
	for i := range n {
		m := newMember(e, i)
		addr := first
		if first.Port() > 0 {
			addr = netip.AddrPortFrom(first.Addr(), first.Port()+uint16(i))
		}
		if err := m.listen(addr); err != nil {
			e.Close()
			return nil, err
		}
		e.members = append(e.members, m)
	}
	e.newHistory()
	for _, m := range e.members {
		m.tree = e.prep.Head
	}
	for _, m := range e.members {
		if err := m.door(); err != nil {
			e.Close()
			return nil, err
		}
	}
	return e, nil
}

// listenAddr reads Options.Listen for n members.
func listenAddr(listen string, n int) (netip.AddrPort, error) {
	if listen == "" {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), nil
	}
	addr, err := netip.ParseAddrPort(listen)
	switch {
	case err != nil:
		return addr, fmt.Errorf("options: Listen is %q, not an IP address and a port", listen)
	case !addr.Addr().IsLoopback():
		return addr, fmt.Errorf("options: Listen is %q, which is no loopback address", listen)
	case addr.Port() > 0 && int(addr.Port())+n-1 > math.MaxUint16:
		return addr, fmt.Errorf("options: Listen is %q, which leaves no ports for %d members", listen, n)
	}
	return netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port()), nil
}

// newHistory begins with an empty tree.
func (e *Ensemble) newHistory() {
	e.zxid = data.FirstEpoch
	if len(e.members) == 1 {
		e.zxid = 0
	}
	clients := e.Addrs()
	if e.opts.InMemory {
		for i := range clients {
			_, port, _ := net.SplitHostPort(clients[i])
			clients[i] = net.JoinHostPort("127.0.0.1", port)
		}
	}
	e.prep = data.NewPrep(data.Options{
		Version: data.Version(e.opts.Version), Members: len(e.members), NoTTL: e.opts.NoTTL, EnforceQuota: e.opts.EnforceQuota,
		X509: e.opts.TLS != nil, SASL: e.opts.SASL != nil,
	}, e.zxid, data.FirstConfig(clients))
}

// Close ends the servers, and waits until their goroutines have ended. It
// may be called twice. Injecting a fault afterwards is misuse.
func (e *Ensemble) Close() {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		for _, m := range e.members {
			m.hangUp("ensemble closed")
			if m.port != nil {
				m.port.release()
			}
		}
		for _, s := range e.sessions {
			s.timer.Stop()
		}
		if e.reaper != nil {
			e.reaper.Stop()
		}
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// Addr returns the address of the first member, host:port.
func (e *Ensemble) Addr() string { return e.members[0].addr }

// Addrs returns the addresses of all members, in order.
func (e *Ensemble) Addrs() []string {
	addrs := make([]string, len(e.members))
	for i, m := range e.members {
		addrs[i] = m.addr
	}
	return addrs
}

// Member returns the i-th server, counted from 0.
func (e *Ensemble) Member(i int) *Member {
	if i < 0 || i >= len(e.members) {
		e.misuse("no member %d in an ensemble of %d", i, len(e.members))
	}
	return e.members[i]
}

// DialContext connects to the member with this address. Use it as the client's
// dial hook. With Options.InMemory there is no other way to connect.
func (e *Ensemble) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if !e.opts.InMemory {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: pipeAddr(addr), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	for _, m := range e.members {
		if m.addr != addr {
			continue
		}
		client, server := Pipe()
		client.remote, server.local = pipeAddr(addr), pipeAddr(addr)
		if !m.admit(server) {
			return fail(errRefused)
		}
		return client, nil
	}
	return fail(errors.New("no such member"))
}

// Expire ends a session at once, as if it had timed out. Its ephemeral nodes are
// deleted and its connections are closed. A stalled connection stays open, and
// its client learns nothing. If the session is already gone, Expire does nothing.
func (e *Ensemble) Expire(id int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("Expire")
	if s := e.sessions[id]; s != nil {
		e.endSession(s, nil)
		return
	}
	for _, m := range e.members {
		if s := m.locals[id]; s != nil {
			e.endSession(s, nil)
		}
	}
}

// Cut closes a session's connections, even stalled ones, as if the network had
// failed for a moment. The session lives on.
func (e *Ensemble) Cut(id int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("Cut")
	for c := range e.conns {
		if c.sessionID() == id {
			c.cut("cut")
		}
	}
}

// CutAll closes all connections, even stalled ones.
func (e *Ensemble) CutAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("CutAll")
	for _, m := range e.members {
		m.hangUp("cut")
	}
}

// Stall keeps a session's connections open but silent. From now on the client
// gets nothing on them, not even their end when the session expires, is closed,
// or comes back on another connection. They end with Cut, CutAll, Elect, LoseData
// and Close. They also end when a Member stops, restarts or changes its role.
func (e *Ensemble) Stall(id int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("Stall")
	for _, m := range e.members {
		if c := m.bySession[id]; c != nil {
			c.stall()
			c.forgetLater()
		}
	}
}

// MoveSession moves a session to another member, as a handshake there would. The
// client is not informed, and the timeout starts again. A connection of the
// session to that member ends at once.
//
// The connection to the old member stays and still reads, unless that member
// leads. As with a real server, its next write ends the connection without a
// reply. At a leader the next read or ping does so too. Only a multi before 3.6
// is answered: each of its operations fails with SESSIONMOVED, -118.
//
// If the session is gone, MoveSession does nothing. A local session of a
// read-only member stays there.
func (e *Ensemble) MoveSession(id int64, member int) {
	m := e.Member(member)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("MoveSession")
	if !m.running || m.idle || m.readOnly {
		e.reject("MoveSession: no session of the ensemble can come to member %d, which is stopped, isolated or read-only", member)
	}
	s := e.sessions[id]
	if s == nil {
		return
	}
	if old := m.bySession[id]; old != nil {
		old.drop("session taken over by another connection")
	}
	s.owner = m
	e.renegotiate(s, s.timeout)
}

// SetSequence sets the number of the next sequential child of a node, so that
// tests can reach names that would take two billion creates. It is a
// transaction, which shows only in the node's Cversion.
func (e *Ensemble) SetSequence(path string, next int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("SetSequence")
	if e.prep.Head.Node(path) == nil {
		e.reject("SetSequence: there is no node %q", path)
	}
	x := e.newTxn()
	x.Changes = []data.Change{data.SetSequence(path, next)}
	e.commit(x)
}

// Sessions returns the ids of the living sessions, in no particular order.
func (e *Ensemble) Sessions() []int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]int64, 0, len(e.sessions))
	for id := range e.sessions {
		ids = append(ids, id)
	}
	return ids
}

// Zxid returns the zxid of the last transaction.
func (e *Ensemble) Zxid() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.prep.Head.Zxid
}

// usable reports the use of a method after Close. e.mu is held.
func (e *Ensemble) usable(method string) {
	if e.closed {
		e.reject("%s after Close", method)
	}
	e.now = time.Now()
}

// reject is misuse for who holds e.mu.
func (e *Ensemble) reject(format string, args ...any) {
	e.mu.Unlock() // misuse does not return
	defer e.mu.Lock()
	e.misuse(format, args...)
}

func (e *Ensemble) misuse(format string, args ...any) {
	if e.tb == nil {
		panic("zktest: " + fmt.Sprintf(format, args...))
	}
	e.tb.Helper()
	e.tb.Fatalf("zktest: "+format, args...)
}

// leakPatience is how long connections that clients have closed may take to end here.
const leakPatience = time.Second

// reportLeaks fails the test if there are connections that no client has closed.
func (e *Ensemble) reportLeaks() {
	e.tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.conns) > 0 {
		over := false
		patience := time.AfterFunc(leakPatience, func() {
			e.mu.Lock() // or it might come between a look at the clock and the wait
			defer e.mu.Unlock()
			over = true
			e.moved.Broadcast()
		})
		defer patience.Stop()
		for len(e.conns) > 0 && !over {
			e.moved.Wait()
		}
	}
	for c := range e.conns {
		e.tb.Errorf("zktest: connection %d to member %d, from %v, session %#x, was left open", c.number, c.member.index, c.link.RemoteAddr(), uint64(c.sessionID()))
	}
}
