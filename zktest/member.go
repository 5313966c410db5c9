package zktest

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// Member is one server of an ensemble.
type Member struct {
	ens   *Ensemble
	index int
	addr  string
	port  *port // nil in memory

	// Guarded by ens.mu.
	running     bool
	listening   bool
	started     time.Time
	refusing    bool
	isolated    bool
	cutOff      bool // by SetReadOnly
	readOnly    bool // serves read-only clients: see reform
	idle        bool // runs, but serves nobody
	lag         int
	tree        *data.Tree  // ens.prep.Head while the member keeps up
	behind      []*data.Txn // committed, not yet applied here
	watches     *data.Watches[*conn]
	conns       map[*conn]struct{}
	bySession   map[int64]*conn
	locals      map[int64]*session // sessions of a read-only member
	nextSession int64
	traffic     traffic
	sizes       sizes // of replies
	proposals   sizes // of the transactions that it has proposed as leader
}

// frozen is a lag that no history reaches.
const frozen = math.MaxInt

func newMember(e *Ensemble, index int) *Member {
	return &Member{
		ens: e, index: index, running: true, started: time.Now(),
		watches: data.NewWatches[*conn](data.Version(e.opts.Version)),
		conns:   map[*conn]struct{}{}, bySession: map[int64]*conn{}, locals: map[int64]*session{},
	}
}

// listen takes the member's port, which is addr's or, for 0, a free one.
func (m *Member) listen(addr netip.AddrPort) error {
	if m.ens.opts.InMemory {
		m.addr = fmt.Sprintf("zk%d.test:2181", m.index+1)
		return nil
	}
	p, err := takePort(addr)
	if err != nil {
		return fmt.Errorf("listen on %v: %w", addr, err)
	}
	m.port, m.addr = p, p.addr
	return nil
}

// door lets the member listen while it runs and refuses nobody.
func (m *Member) door() error {
	open := m.running && !m.refusing
	if m.port == nil || open == m.listening {
		return nil
	}
	m.listening = open
	if !open {
		m.port.shut()
		return nil
	}
	l, err := m.port.open()
	if l != nil && err == nil {
		m.ens.wg.Go(func() { m.acceptLoop(l) })
	}
	return err
}

// mustDoor is door for who can only fail the test.
func (m *Member) mustDoor() {
	if err := m.door(); err != nil {
		m.ens.reject("member %d cannot listen again: %v", m.index, err)
	}
}

func (m *Member) acceptLoop(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		m.admit(nc)
	}
}

// admit starts to serve a connection, or closes it.
func (m *Member) admit(nc net.Conn) bool {
	e := m.ens
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !m.running || m.refusing {
		nc.Close()
		return false
	}
	c := newConn(m, nc)
	if e.opts.MaxClientCnxns > 0 {
		same := 0
		for other := range m.conns {
			if other.ids[0] == c.ids[0] {
				same++
			}
		}
		if same >= e.opts.MaxClientCnxns {
			nc.Close()
			return true // the client sees a connection that ends
		}
	}
	e.dialed++
	c.number = e.dialed
	e.conns[c] = struct{}{}
	m.conns[c] = struct{}{}
	c.linkFaults()
	e.wg.Go(c.serve)
	return true
}

// Addr returns the member's address, host:port.
func (m *Member) Addr() string { return m.addr }

// Stop ends the server's connections, even stalled ones, and makes it accept no
// more. Sessions live on elsewhere. The port stays in use, so that no other
// process gets it. On Linux connections to it are refused; on other systems they
// are accepted and closed. With Options.Majority the others have no leader if
// this one was the leader, or if they are too few now.
func (m *Member) Stop() {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	m.ens.usable("Stop")
	m.stop()
	m.ens.reform()
}

func (m *Member) stop() {
	m.running = false
	m.mustDoor()
	m.hangUp("server stopped")
	for _, s := range m.locals {
		m.ens.endSession(s, nil)
	}
	m.behind, m.tree = nil, m.ens.prep.Head
}

// Start brings a stopped server back, with all that was committed meanwhile.
func (m *Member) Start() {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	m.ens.usable("Start")
	m.start()
}

func (m *Member) start() {
	if !m.running {
		m.running, m.started, m.traffic, m.sizes = true, m.ens.now, traffic{}, sizes{}
		m.mustDoor()
	}
	m.ens.reform()
	m.follow()
}

// Restart stops the server and starts it again.
func (m *Member) Restart() {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	m.ens.usable("Restart")
	m.stop()
	m.ens.reform()
	m.start()
}

// Refuse makes the server refuse new connections, or accept them again. Existing ones
// stay.
func (m *Member) Refuse(refuse bool) {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	m.ens.usable("Refuse")
	m.refusing = refuse
	m.mustDoor()
}

// SetLag keeps the server n transactions behind the others. It answers reads from
// its old state, and its watches fire late. It refuses clients that have seen a
// later zxid. Writes through it wait until it has caught up with them. At least
// one member must have no lag.
func (m *Member) SetLag(n int) {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	m.ens.usable("SetLag")
	if n < 0 {
		m.ens.reject("lag %d", n)
	}
	if n > 0 && !slices.ContainsFunc(m.ens.members, func(other *Member) bool { return other != m && other.lag == 0 }) {
		m.ens.reject("SetLag: member %d is the last one that keeps up, and without one nothing would ever be applied", m.index)
	}
	m.lag = n
	m.follow()
}

// Freeze makes the server apply nothing more until Thaw.
func (m *Member) Freeze() { m.SetLag(frozen) }

// Thaw undoes Freeze: the server catches up with the others.
func (m *Member) Thaw() { m.SetLag(0) }

// SetReadOnly cuts the server off from the others, or brings it back. Then it
// accepts only clients that accept a read-only server, in sessions that no other
// server has. Its data does not change. It answers a write with NOTREADONLY,
// -119, before reads that came earlier, as real servers often do.
func (m *Member) SetReadOnly(readOnly bool) {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	m.ens.usable("SetReadOnly")
	m.cutOff = readOnly
	m.ens.reform()
}

// Isolate cuts the server off from the others, as a network partition does that
// clients do not see. It ends the server's connections. The server then serves
// nobody, or with Options.ReadOnlyMode only read-only clients. To split an
// ensemble in two, isolate the members of the smaller part.
func (m *Member) Isolate() { m.isolate("Isolate", true) }

// Rejoin undoes Isolate.
func (m *Member) Rejoin() { m.isolate("Rejoin", false) }

func (m *Member) isolate(method string, isolated bool) {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	m.ens.usable(method)
	m.isolated = isolated
	m.ens.reform()
}

// connected says whether the server takes part in the ensemble.
func (m *Member) connected() bool { return m.running && !m.isolated && !m.cutOff }

// reform gives every member the role that it has now that members have come or gone.
func (e *Ensemble) reform() {
	if e.opts.Majority {
		connected := 0
		for _, m := range e.members {
			if m.connected() {
				connected++
			}
		}
		switch {
		case connected <= len(e.members)/2:
			e.leader = -1
		case e.leader < 0 || !e.members[e.leader].connected():
			defer e.elect()
			e.leader = max(e.leader, 0) // so that the members have their roles until then
		}
	}
	if !e.opts.Majority && !e.members[e.leader].connected() {
		e.leader = e.next() // which nobody notices
	}
	for _, m := range e.members {
		cut := m.isolated || e.leader < 0
		readOnly := m.cutOff || cut && e.opts.ReadOnlyMode
		idle := cut && !readOnly
		if readOnly == m.readOnly && idle == m.idle {
			continue
		}
		m.hangUp("server changes its role")
		for _, s := range m.locals {
			e.endSession(s, nil)
		}
		m.readOnly, m.idle = readOnly, idle
		m.follow()
	}
}

// Leader returns the index of the leader, or -1 if there is none. A leader
// differs from the others only in its answers to four-letter words, in what
// happens when it stops, and in ending the connection of a session that has moved
// to another member at the next read.
func (e *Ensemble) Leader() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader
}

// Elect makes the ensemble choose another leader. All connections to running
// members end, sessions get their full timeout again, and a new epoch of zxids
// begins. Without a majority there is no leader afterwards.
func (e *Ensemble) Elect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("Elect")
	if e.leader >= 0 {
		e.elect()
	}
}

// next returns the member that leads after the leader: the next one that is
// there, or else the same.
func (e *Ensemble) next() int {
	for i := range e.members {
		if next := (e.leader + 1 + i) % len(e.members); e.members[next].connected() {
			return next
		}
	}
	return e.leader
}

func (e *Ensemble) elect() {
	e.leader = e.next()
	for _, m := range e.members {
		if !m.isolated && !m.cutOff {
			m.hangUp("leader election")
		}
	}
	for _, s := range e.sessions {
		s.heard = e.now
	}
	e.zxid = (e.zxid>>32 + 1) << 32
	e.commit(&data.Txn{Zxid: e.zxid, Time: e.now.UnixMilli()})
	e.members[e.leader].proposals = sizes{}
}

// LoseData makes the ensemble forget all nodes, sessions and zxids, as if it
// had lost its disks. All connections end.
func (e *Ensemble) LoseData() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("LoseData")
	for _, s := range e.sessions {
		s.timer.Stop()
	}
	clear(e.sessions)
	e.newHistory()
	for _, m := range e.members {
		m.hangUp("data lost")
		for _, s := range m.locals {
			e.endSession(s, nil)
		}
		m.behind, m.tree = nil, e.prep.Head
		m.follow()
	}
}

// Zxid returns the zxid of the last transaction that the server has applied.
func (m *Member) Zxid() int64 {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	return m.tree.Zxid
}

// CutAll closes all connections of this server, even stalled ones.
func (m *Member) CutAll() {
	m.ens.mu.Lock()
	defer m.ens.mu.Unlock()
	m.ens.usable("CutAll")
	m.hangUp("cut")
}

func (m *Member) hangUp(reason string) {
	m.ens.now = time.Now()
	for c := range m.ens.conns {
		if c.member == m {
			c.cut(reason)
		}
	}
}

// follow gives the member a tree of its own if it must stay behind, and lets
// it catch up as far as it may.
func (m *Member) follow() {
	if m.running && (m.lag > 0 || m.readOnly || m.idle) && m.tree == m.ens.prep.Head {
		m.tree = m.ens.prep.Head.Clone()
	}
	m.catchUp()
}

func (m *Member) catchUp() {
	lag := m.lag
	if m.readOnly || m.idle {
		lag = frozen
	}
	for len(m.behind) > lag {
		x := m.behind[0]
		m.behind = m.behind[1:]
		m.tree.Apply(x, func(f data.Effect) { m.watches.Fire(f, (*conn).event) })
		m.applied(x)
	}
	if lag == 0 {
		m.tree, m.behind = m.ens.prep.Head, nil
	}
	m.ens.moved.Broadcast()
}

// applied ends the connections of a session that has ended.
func (m *Member) applied(x *data.Txn) {
	if x.Closes == 0 {
		return
	}
	if c := m.bySession[x.Closes]; c != nil && c.number != x.Origin {
		c.drop("session ended")
	}
}
