package zktest

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

var (
	paritySeed = flag.Uint64("parity.seed", 1, "seed of the first parity run; 0: a new one each time")
	parityOps  = flag.Int("parity.ops", 6000, "operations per release")
)

var parityVersions = map[apache.Release]Version{
	apache.V3_4: V34, apache.V3_5: V35, apache.V3_6: V36, apache.V3_7: V37, apache.V3_8: V38, apache.V3_9: V39,
}

// since says which release first had an operation.
func since(op wire.Op) Version { return Version(data.Since[op]) }

// TestParity sends one random sequence of operations, from several sessions, to
// a server of this package and to a real one, and compares replies, errors,
// stats, events and their order. Zxids are compared relative to the first.
func TestParity(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		version := parityVersions[release]
		t.Run(string(release), func(t *testing.T) {
			real := apache.New(t, apache.Config{Release: release, Properties: map[string]string{"znode.container.checkIntervalMs": "86400000"}})
			seed := *paritySeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			// Both servers keep their history from run to run, as the root's Stat shows it.
			ours := NewServer(t, Options{
				Version: version, MinSessionTimeout: 500 * time.Millisecond, MaxSessionTimeout: time.Minute,
				ReapInterval: time.Hour, Super: apache.SuperCredential, Reconfig: true, EnforceQuota: true,
			})
			peers := bothPeers(t, ours.Addrs(), real.Addrs())
			runSteps(t, fmt.Sprintf("%v, fixed", version), peers, fixedSteps(version, 1))
			assert.Equal(t, peers[0].base, peers[1].base) // as both began at zxid 0
			for done := 0; done < *parityOps && !t.Failed(); seed++ {
				done += runParity(t, seed, version, ours.Addrs(), real.Addrs())
				assert.Equal(t, peers[0].dataSize(), peers[1].dataSize(), "%v, -parity.seed=%d", version, seed)
			}
		})
	}
}

// TestEnsembleParity does the same with ensembles, whose sessions are at two
// followers and the leader, and move between them. Before it looks, each member catches up.
func TestEnsembleParity(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		version := parityVersions[release]
		t.Run(string(release), func(t *testing.T) {
			real := apache.New(t, apache.Config{Release: release, Members: 3, Properties: map[string]string{"znode.container.checkIntervalMs": "86400000"}})
			leads, err := real.Leader()
			assert.NilError(t, err)
			seed := *paritySeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			ours := NewEnsemble(t, 3, Options{
				Version: version, MinSessionTimeout: 500 * time.Millisecond, MaxSessionTimeout: time.Minute,
				ReapInterval: time.Hour, Super: apache.SuperCredential, Reconfig: true, EnforceQuota: true,
			})
			addrs := [2][]string{leaderLast(ours.Addrs(), ours.Leader()), leaderLast(real.Addrs(), leads)}
			runSteps(t, fmt.Sprintf("%v, fixed", version), bothPeers(t, addrs[0], addrs[1]), fixedSteps(version, 3))
			runSteps(t, fmt.Sprintf("%v, moved", version), bothPeers(t, addrs[0], addrs[1]), movedSteps(version))
			for done := 0; done < *parityOps/4 && !t.Failed(); seed++ {
				done += runParity(t, seed, version, addrs[0], addrs[1])
			}
		})
	}
}

// peer is one of the two servers under comparison.
type peer struct {
	t        testing.TB
	addrs    []string // of several, each session has its own at first
	ports    []string // of a configuration, in pairs: Q1 and the number
	base     int64
	sessions []*client
	trace    []string
}

func (p *peer) open(member int) *client {
	var nc net.Conn
	var err error
	for range 100 {
		if nc, err = net.Dial("tcp", p.addrs[member%len(p.addrs)]); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		p.t.Fatalf("%v, after:\n%s", err, strings.Join(p.trace[max(0, len(p.trace)-5):], "\n"))
	}
	return &client{t: p.t, nc: nc}
}

// settle lets the session's server catch up with the others, and returns the zxid that it is at then.
func (p *peer) settle(c *client) (int64, error) {
	if len(p.addrs) > 1 {
		c.recv(c.send(wire.OpSync, wire.PathRequest{Path: "/"}))
	}
	h, _, err := c.recv(c.send(wire.OpPing))
	return h.Zxid, err
}

// step is one operation of a run: request builds what session si sends to a peer.
type step struct {
	si      int
	op      wire.Op
	name    string
	request func(p *peer) []wire.Record
	parts   []step              // of opPipeline
	raw     []byte              // of opRaw
	connect wire.ConnectRequest // of opHandshake
	xid     int32               // 0: the next one
	to      int                 // member that a session moves to
	stale   *step               // what its old connection then asks for; nil: nothing
}

// encoded is a record in its wire form, or what is left of it.
type encoded []byte

func (e encoded) Append(b []byte) []byte { return append(b, e...) }

const paritySessions = 3

// runParity runs random steps, as many as it returns.
func runParity(t *testing.T, seed uint64, version Version, ours, real []string) int {
	g := newGenerator(seed, version)
	g.members = len(ours)
	g.fixed = fixedSteps(version, g.members)
	if version < V39 {
		// Of a connection with a watch at null the real server keeps watches when
		// it ends: it trips over the null. checkWatches counts them for ever.
		g.fixed = slices.DeleteFunc(g.fixed, func(st step) bool { return st.op == wire.OpSetWatches2 || st.op == wire.OpAddWatch })
	}
	const steps = 1500
	return compare(t, fmt.Sprintf("%v, -parity.seed=%d", version, seed), bothPeers(t, ours, real), func(i int) (step, bool) {
		st := g.step()
		if i%100 == 99 {
			st = step{op: opSweep, name: "sweep"}
		}
		return st, i < steps
	})
}

// dataSize returns what mntr tells of the size of paths and data.
func (p *peer) dataSize() string {
	text := command(p.t, p.open(0).nc, "mntr")
	_, rest, _ := strings.Cut(text, "zk_approximate_data_size\t")
	size, _, _ := strings.Cut(rest, "\n")
	return size
}

func bothPeers(t *testing.T, ours, real []string) [2]*peer {
	return [2]*peer{{t: t, addrs: ours}, {t: t, addrs: real}}
}

// runSteps runs the steps of a list.
func runSteps(t *testing.T, title string, peers [2]*peer, steps []step) {
	compare(t, title, peers, func(i int) (step, bool) {
		if i == len(steps) {
			return step{}, false
		}
		return steps[i], true
	})
}

// compare takes both servers through steps for as long as there are any, and returns how many it did.
func compare(t *testing.T, title string, peers [2]*peer, next func(i int) (step, bool)) int {
	for _, p := range peers {
		p.clean()
		p.sessions = make([]*client, paritySessions)
		for i := range p.sessions {
			p.sessions[i] = p.open(i)
			if _, err := p.sessions[i].connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16), HasReadOnly: true}); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range p.sessions {
			p.settle(s)
		}
		p.base = p.sessions[paritySessions-1].zxid
	}
	finished := false
	defer func() { // in good order, so that nothing expires during a later run
		for _, p := range peers {
			if !finished && len(p.trace) > 0 {
				t.Logf("%s, %v ended in %s", title, p.addrs, p.trace[len(p.trace)-1])
				continue
			}
			for _, s := range p.sessions {
				s.recv(s.send(wire.OpCloseSession))
				s.nc.Close()
			}
		}
	}()
	for i := 0; ; i++ {
		st, more := next(i)
		if !more {
			finished = true
			return i
		}
		var got [2]string
		var both sync.WaitGroup
		for k, p := range peers {
			p.trace = append(p.trace, fmt.Sprintf("%d: session %d %s: ", i, st.si, st.name))
			both.Go(func() {
				got[k] = p.run(&st)
				p.trace[i] += got[k]
			})
		}
		both.Wait()
		if got[0] != got[1] {
			tail := peers[0].trace[max(0, len(peers[0].trace)-25):]
			t.Errorf("%s, step %d, session %d: %s\nours: %s\nreal: %s\nbefore:\n%s", title, i, st.si, st.name, got[0], got[1], strings.Join(tail, "\n"))
			return i
		}
	}
}

// clean deletes all that an earlier run left, and ends its session.
func (p *peer) clean() {
	c := p.open(0)
	defer c.nc.Close()
	if _, err := c.connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16), HasReadOnly: true}); err != nil {
		p.t.Fatal(err)
	}
	c.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte(apache.SuperCredential)}, nil)
	var wipe func(path string)
	wipe = func(path string) {
		var kids wire.ChildrenResponse
		if c.call(wire.OpGetChildren, wire.PathWatchRequest{Path: path}, &kids) != 0 {
			return
		}
		slices.Sort(kids.Children) // as the order matters to the quotas of old releases
		for _, k := range kids.Children {
			if child := strings.TrimSuffix(path, "/") + "/" + k; child != "/zookeeper" {
				wipe(child)
				c.del(child)
			}
		}
	}
	wipe("/")
	wipe("/zookeeper/quota")
	c.call(wire.OpSetData, wire.SetDataRequest{Path: "/", Data: []byte{}, Version: -1}, &wire.Stat{})
	c.call(wire.OpSetACL, wire.SetACLRequest{Path: "/", ACL: world, Version: -1}, &wire.Stat{})
	c.must(wire.OpCloseSession, nil, nil)
}

// run executes a step and describes all that came back, on every session.
func (p *peer) run(st *step) string {
	var b strings.Builder
	c := p.sessions[st.si]
	ended := false
	switch st.op {
	case opMove, opRenew, opWrongPassword:
		b.WriteString(p.reconnect(st))
	case opSweep:
		p.sweep(&b, c, "/")
	case opHandshake:
		b.WriteString(p.handshake(st))
	case opRaw:
		c.nc.Write(st.raw)
		_, err := c.readFrame()
		fmt.Fprintf(&b, "ended %t", err != nil)
		ended = true
	case opPipeline:
		p.pipeline(&b, st)
		ended = st.parts[len(st.parts)-1].op == wire.OpCloseSession
	default:
		xid := st.xid
		if xid == 0 {
			xid = c.send(st.op, st.request(p)...)
		} else {
			c.writeFrame(append([]wire.Record{wire.RequestHeader{Xid: xid, Op: st.op}}, st.request(p)...)...)
		}
		h, d, err := c.recv(xid)
		if err != nil {
			fmt.Fprint(&b, "ended")
			ended = true
			break
		}
		fmt.Fprintf(&b, "err %d zxid %s ", h.Err, p.rel(h.Zxid))
		if st.op == wire.OpWhoAmI || h.Err == 0 {
			b.WriteString(p.describe(st.op, &d))
		}
		if d.Len() > 0 {
			fmt.Fprintf(&b, " and %d bytes", d.Len())
		}
		if st.op == wire.OpCloseSession || h.Err == wire.ErrUnimplemented && h.Zxid == -1 || st.op == wire.OpAuth && h.Err != 0 {
			_, err := c.readFrame()
			fmt.Fprintf(&b, " then ended %t", err != nil)
			ended = true
		}
	}
	if ended {
		p.events(&b, st.si)
		b.WriteString(" " + p.reconnect(&step{si: st.si, op: opMove, to: st.si}))
	}
	p.ping(&b)
	return b.String()
}

// ping describes what the sessions have heard of a step. Before it looks, their servers catch up.
func (p *peer) ping(b *strings.Builder) {
	var xids [paritySessions]int32
	for i, s := range p.sessions {
		if len(p.addrs) > 1 {
			s.skip = s.send(wire.OpSync, wire.PathRequest{Path: "/"})
		}
		xids[i] = s.send(wire.OpPing)
	}
	var at [paritySessions]int64
	for i, s := range p.sessions {
		h, _, err := s.recv(xids[i])
		if at[i] = h.Zxid; err != nil {
			at[i] = math.MinInt64
		}
	}
	newest := slices.Max(at[:])
	for i, s := range p.sessions {
		// A real leader answers a sync before it has applied what its followers have.
		for n := 0; n < 100 && at[i] >= 0 && at[i] < newest; n++ {
			time.Sleep(time.Millisecond)
			h, _, err := s.recv(s.send(wire.OpPing))
			if at[i] = h.Zxid; err != nil {
				at[i] = math.MinInt64
			}
		}
		if at[i] < 0 {
			fmt.Fprintf(b, " session %d ended", i)
			continue
		}
		p.events(b, i)
		fmt.Fprintf(b, " ping %s", p.rel(at[i]))
	}
}

func (p *peer) events(b *strings.Builder, i int) {
	s := p.sessions[i]
	for k, ev := range s.events {
		fmt.Fprintf(b, " [%d: %d %d %q %s]", i, ev.Type, ev.State, ev.Path, p.rel(s.ezxids[k]))
	}
	s.events, s.ezxids = nil, nil
}

// Steps that are not requests.
const (
	opMove wire.Op = 1000 + iota
	opRenew
	opWrongPassword
	opPipeline  // several requests in one segment
	opHandshake // one more connection, and its end
	opRaw       // bytes that end the connection
	opSweep     // reads all that is there
)

// sweep tells everything below a path that the session may see.
func (p *peer) sweep(b *strings.Builder, c *client, path string) {
	h, d, err := c.recv(c.send(wire.OpGetData, wire.PathWatchRequest{Path: path}))
	if err != nil {
		fmt.Fprintf(b, "%s: ended", path)
		return
	}
	fmt.Fprintf(b, "\n%s: %d ", path, h.Err)
	if h.Err == 0 {
		b.WriteString(p.describe(wire.OpGetData, &d))
	}
	var kids wire.ChildrenResponse
	c.call(wire.OpGetChildren, wire.PathWatchRequest{Path: path}, &kids)
	slices.Sort(kids.Children)
	for _, k := range kids.Children {
		p.sweep(b, c, strings.TrimSuffix(path, "/")+"/"+k)
	}
}

// handshake opens a connection with a request that is not what clients send as a rule, and describes the answer.
func (p *peer) handshake(st *step) string {
	n := p.open(st.si)
	defer n.nc.Close()
	q := st.connect
	if q.LastZxidSeen > 0 {
		q.LastZxidSeen += p.sessions[st.si].zxid
	}
	n.writeFrame(q)
	body, err := n.readFrame()
	if err != nil {
		return "refused"
	}
	d := wire.NewDecoder(body)
	var r wire.ConnectResponse
	r.Decode(&d)
	text := fmt.Sprintf("%d bytes, version %d, timeout %d, session %t, password of %d, read-only %t %t",
		len(body), r.ProtocolVersion, r.Timeout, r.SessionID != 0, len(r.Password), r.HasReadOnly, r.ReadOnly)
	if r.Timeout <= 0 {
		_, err := n.readFrame()
		return fmt.Sprintf("%s, ended %t", text, err != nil)
	}
	zxid, err := p.settle(n)
	if err != nil {
		return text + ", ended"
	}
	text += " at " + p.rel(zxid)
	n.must(wire.OpCloseSession, nil, nil)
	return text
}

// pipeline sends all requests of a step before it reads the first reply.
func (p *peer) pipeline(b *strings.Builder, st *step) {
	c := p.sessions[st.si]
	var out []byte
	xids := make([]int32, len(st.parts))
	for i, part := range st.parts {
		c.xid++
		xids[i] = c.xid
		if part.op == wire.OpAuth { // whose reply may overtake others
			xids[i] = wire.XidAuth
			c.auths++
		}
		at := len(out)
		out = wire.RequestHeader{Xid: xids[i], Op: part.op}.Append(wire.BeginFrame(out))
		for _, r := range part.request(p) {
			out = r.Append(out)
		}
		wire.EndFrame(out, at)
	}
	c.nc.Write(out)
	for i, part := range st.parts {
		if part.op == wire.OpAuth {
			continue
		}
		h, d, err := c.recv(xids[i])
		p.events(b, st.si)
		if err != nil {
			fmt.Fprint(b, "ended")
			return
		}
		fmt.Fprintf(b, " <err %d zxid %s ", h.Err, p.rel(h.Zxid))
		if h.Err == 0 {
			b.WriteString(p.describe(part.op, &d))
		}
		fmt.Fprintf(b, " and %d>", d.Len())
	}
	if c.auths > 0 {
		c.recv(wire.XidAuth)
	}
	if len(c.authed) > 0 {
		fmt.Fprintf(b, " auth %v", c.authed)
		c.authed = nil
	}
}

// reconnect takes a session over on a new connection. If it is gone, a new one follows.
func (p *peer) reconnect(st *step) string {
	old := p.sessions[st.si]
	n := p.open(st.to)
	q := wire.ConnectRequest{Timeout: 60000, SessionID: old.id, Password: old.pw, LastZxidSeen: old.zxid, HasReadOnly: true}
	switch st.op {
	case opWrongPassword:
		q.Password = bytes.Repeat([]byte{1}, 16)
	case opRenew:
		q.SessionID, q.Password = 0, make([]byte, 16)
	}
	r, err := n.connect(q)
	for range 5 { // the real server sometimes ends a connection before the reply is through
		if err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond) // for a member that is behind
		n = p.open(st.to)
		r, err = n.connect(q)
	}
	if err != nil {
		p.t.Fatalf("%v: reconnect: %v", p.addrs, err)
	}
	out := fmt.Sprintf("connected %d %d same %t ro %t", r.ProtocolVersion, r.Timeout, r.SessionID == old.id, r.ReadOnly)
	if r.Timeout == 0 {
		_, err := n.readFrame()
		out += fmt.Sprintf(" ended %t", err != nil)
		n.nc.Close()
		n = p.open(st.to)
		q.SessionID, q.Password = old.id, old.pw
		if st.op == opMove {
			q.SessionID, q.Password = 0, make([]byte, 16)
		}
		r, err = n.connect(q)
		for range 5 { // the real server may end this one instead of the one that it refused
			if err == nil {
				break
			}
			n = p.open(st.to)
			r, err = n.connect(q)
		}
		if err != nil {
			p.t.Fatalf("%v: reconnect: %v", p.addrs, err)
		}
		out += fmt.Sprintf(" connected same %t", r.SessionID == old.id)
	}
	if st.stale != nil && r.SessionID == old.id {
		h, d, err := old.recv(old.send(st.stale.op, st.stale.request(p)...))
		if err != nil {
			out += " the old connection ended"
		} else {
			out += fmt.Sprintf(" the old connection has err %d", h.Err)
			if h.Err == 0 {
				out += " " + p.describe(st.stale.op, &d)
			}
		}
		if st.stale.op == wire.OpCloseSession { // which ends the new one too
			_, err := n.readFrame()
			out += fmt.Sprintf(" the new ended %t", err != nil)
			old.nc.Close()
			n = p.open(st.to)
			if _, err = n.connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16), HasReadOnly: true}); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	if st.op != opRenew {
		old.nc.Close()
	} else { // end the old session in good order
		old.must(wire.OpCloseSession, nil, nil)
		old.nc.Close()
	}
	n.zxid = old.zxid
	p.sessions[st.si] = n
	zxid, err := p.settle(n)
	if err != nil {
		p.t.Fatal(err)
	}
	return out + " at " + p.rel(zxid)
}

// rel makes a zxid comparable.
func (p *peer) rel(zxid int64) string {
	if zxid <= 0 {
		return fmt.Sprint(zxid)
	}
	return fmt.Sprintf("base%+d", zxid-p.base)
}

func (p *peer) stat(s wire.Stat) string {
	owner := "nobody"
	for i, c := range p.sessions {
		if s.EphemeralOwner == c.id {
			owner = fmt.Sprint(i)
		}
	}
	if owner == "nobody" && s.EphemeralOwner != 0 {
		owner = "somebody"
	}
	return fmt.Sprintf("{c %s m %s p %s v %d cv %d av %d owner %s len %d kids %d times %t}",
		p.rel(s.Czxid), p.rel(s.Mzxid), p.rel(s.Pzxid), s.Version, s.Cversion, s.Aversion, owner, s.DataLength, s.NumChildren, s.Ctime <= s.Mtime)
}

// data shows a configuration with the names of its ports.
func (p *peer) data(b []byte) string {
	if p.ports == nil || !bytes.HasPrefix(b, []byte("server.")) {
		return quoted(b)
	}
	var back []string
	for i := 0; i < len(p.ports); i += 2 {
		back = append(back, p.ports[i+1], p.ports[i])
	}
	text, version, _ := strings.Cut(strings.NewReplacer(back...).Replace(string(b)), "version=")
	zxid, _ := strconv.ParseInt(version, 16, 64)
	return fmt.Sprintf("%q of %s", text, p.rel(zxid))
}

func quoted(b []byte) string {
	if b == nil {
		return "null"
	}
	if len(b) > 100 {
		return fmt.Sprintf("%d bytes", len(b))
	}
	return fmt.Sprintf("%q", b)
}

// names shows a set that has no order.
func names(list []string) string {
	list = slices.Clone(list)
	slices.Sort(list)
	return inOrder(list)
}

// inOrder shows a list whose order is part of the answer.
func inOrder(list []string) string {
	if list == nil {
		return "null"
	}
	return fmt.Sprintf("%q", list)
}

// describe decodes the record of a reply into text.
func (p *peer) describe(op wire.Op, d *wire.Decoder) string {
	switch op {
	case wire.OpCreate, wire.OpSync:
		var r wire.PathResponse
		r.Decode(d)
		return fmt.Sprintf("%q", r.Path)
	case wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		var r wire.Create2Response
		r.Decode(d)
		return fmt.Sprintf("%q %s", r.Path, p.stat(r.Stat))
	case wire.OpExists, wire.OpSetData, wire.OpSetACL:
		var r wire.Stat
		r.Decode(d)
		return p.stat(r)
	case wire.OpGetData, wire.OpReconfig:
		var r wire.GetDataResponse
		r.Decode(d)
		return p.data(r.Data) + p.stat(r.Stat)
	case wire.OpGetACL:
		var r wire.GetACLResponse
		r.Decode(d)
		slices.SortFunc(r.ACL, func(a, b wire.ACL) int { // what "auth" stands for has the order of a hash table
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
		})
		return fmt.Sprintf("%v %s", r.ACL, p.stat(r.Stat))
	case wire.OpGetChildren, wire.OpGetEphemerals:
		var r wire.ChildrenResponse
		r.Decode(d)
		return inOrder(r.Children)
	case wire.OpGetChildren2:
		var r wire.Children2Response
		r.Decode(d)
		return inOrder(r.Children) + p.stat(r.Stat)
	case wire.OpAllChildrenNumber:
		var r wire.CountResponse
		r.Decode(d)
		return fmt.Sprint(r.Count)
	case wire.OpAddWatch:
		var r wire.ErrorResponse
		r.Decode(d)
		return fmt.Sprint(r.Err)
	case wire.OpWhoAmI:
		var r wire.WhoAmIResponse
		r.Decode(d)
		var ids []string
		for _, id := range r.Infos {
			ids = append(ids, id.AuthScheme+":"+id.User)
		}
		return names(ids)
	case wire.OpMulti, wire.OpMultiRead:
		var r wire.MultiResponse
		r.Decode(d)
		var b strings.Builder
		for _, x := range r.Results {
			fmt.Fprintf(&b, "(%v %d %q %s %s %s)", x.Op, x.Err, x.Path, quoted(x.Data), inOrder(x.Children), p.stat(x.Stat))
		}
		return b.String()
	}
	return ""
}

// show prints a request with its control characters visible and null apart from empty.
func show(op wire.Op, parts ...any) string {
	text := strings.ReplaceAll(fmt.Sprintf("%v %+v", op, parts), "wire.", "")
	if strings.Contains(fmt.Sprintf("%#v", parts), "[]wire.ACL(nil)") {
		text += " with a null ACL"
	}
	return strings.Trim(strconv.QuoteToASCII(text), `"`)
}

var parityPaths = []string{
	"/a", "/b", "/c", "/a/a", "/a/b", "/a/c", "/b/a", "/b/b", "/a/a/a", "/a/a/b", "/ab", "/a/s-0000000000", "/a/s-0000000001",
	"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/x",
}

var quotaPaths = func() []string {
	var list []string
	for _, of := range []string{"/a", "/a/a", "/b", "/a/a/a", "/zookeeper"} {
		list = append(list, "/zookeeper/quota"+of, "/zookeeper/quota"+of+"/zookeeper_limits", "/zookeeper/quota"+of+"/zookeeper_stats")
	}
	return list
}()

var badPaths = []string{
	"", "a", "/a/", "//", "//a", "/a//b", "/.", "/..", "/a/./b", "/a/../b", "/a\x00", "/\x01", "/\x7f", "/\u009f", "/\ue000", "/\ufff0", "/\U0001F600", "/a/.x", "/...", "/\xff", "/é",
}

// invalid is what UTF-8 is not, which the server replaces in its own way.
var invalid = []string{
	"\xff", "\xc0\x80", "\xc3", "\xe2\x82", "\xe2\x82x", "\xe0\x80\x80", "\xe2", "\xed\xa0\x80", "\xed\xa0x", "\xed\xa0", "\xf0\x9f\x98", "\xf0\x9f\x98x", "\xf0\x9f",
	"\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\x80", "\U0001F600", "\xf0\x9f\x98\x80\xf0\x9f",
}

var acls = [][]wire.ACL{
	nil, {}, {{Perms: 31, Scheme: "auth"}}, {{Perms: 31, Scheme: "auth", ID: "x"}},
	{{Perms: 1, Scheme: "world", ID: "anyone"}}, {{Perms: 15, Scheme: "world", ID: "anyone"}}, {{Perms: 0, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "digest", ID: data.DigestID("u1:p")}}, {{Perms: 31, Scheme: "digest", ID: data.DigestID("u1:p")}, {Perms: 1, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "world", ID: "anyone"}, {Perms: 31, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "digest", ID: "x"}}, {{Perms: 31, Scheme: "digest", ID: "x:"}}, {{Perms: 31, Scheme: "digest", ID: ":x"}}, {{Perms: 31, Scheme: "digest", ID: "a:b:c"}},
	{{Perms: 31, Scheme: "world", ID: "x"}}, {{Perms: 31, Scheme: "nope", ID: "x"}}, {{Perms: 31, Scheme: "", ID: ""}},
	{{Perms: 31, Scheme: "ip", ID: "127.0.0.1"}}, {{Perms: 31, Scheme: "ip", ID: "127.0.0.0/8"}}, {{Perms: 31, Scheme: "ip", ID: "10.0.0.0/8"}},
	{{Perms: 31, Scheme: "ip", ID: "10.0.0.0/33"}}, {{Perms: 31, Scheme: "ip", ID: "10.0.0"}}, {{Perms: 31, Scheme: "ip", ID: "::1"}}, {{Perms: 31, Scheme: "ip", ID: "127.0.0.1/0"}},
	{{Perms: -1, Scheme: "world", ID: "anyone"}}, {{Perms: 32, Scheme: "world", ID: "anyone"}}, {{Perms: 31, Scheme: "digest", ID: "é:ü"}},
	{{Perms: 1, Scheme: "auth"}, {Perms: 2, Scheme: "auth"}, {Perms: 4, Scheme: "world", ID: "anyone"}, {Perms: 8, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "sasl", ID: "x"}}, {{Perms: 31, Scheme: "super", ID: ""}}, {{Perms: 31, Scheme: "digest", ID: data.DigestID("u2:p")}, {Perms: 1, Scheme: "auth"}},
}

// generator makes random steps.
type generator struct {
	*rand.Rand
	version Version
	members int
	alone   bool // the request is not one of a pipeline
	fixed   []step
	hard    bool // quotas may have hard limits, which a real server checks against what is committed
}

func newGenerator(seed uint64, version Version) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), version: version, members: 1, alone: true, fixed: fixedSteps(version, 1)}
	g.hard = g.IntN(2) == 0
	return g
}

// mayBeMalformed says whether a malformed request leaves the real server alive:
// by a write an ensemble of 3.9 reuses a zxid, and stands still for good. An
// older one ends the connection at a check, which is none of its operations.
func (g *generator) mayBeMalformed(op wire.Op) bool {
	return g.members == 1 || g.version < V39 && op != wire.OpCheck || !data.Writes(op)
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

func (g *generator) path() string {
	if g.IntN(100) == 0 {
		return "/" + pick(g, invalid) + pick(g, []string{"", "x", "/y"})
	}
	if g.IntN(40) == 0 {
		return pick(g, badPaths)
	}
	return pick(g, parityPaths)
}

// target picks a path to write to, which may be that of a quota.
func (g *generator) target() string {
	if g.IntN(6) == 0 {
		return pick(g, quotaPaths)
	}
	return g.path()
}

// dataFor makes data for a node. What is wrong in the nodes of a quota would end the real server.
func (g *generator) dataFor(path string) []byte {
	switch path[strings.LastIndexByte(path, '/')+1:] {
	case "zookeeper_stats":
		if g.version >= V37 && g.IntN(4) == 0 {
			return []byte(pick(g, []string{"", "bytes=7", "x=1;count=2", "count=3,bytes=4=;y=5"}))
		}
		return []byte("count=0,bytes=0")
	case "zookeeper_limits":
		limits := fmt.Sprintf("count=%d,bytes=%d", pick(g, []int{-1, 0, 3, 1000}), pick(g, []int{-1, 0, 6, 1000}))
		if g.hard && g.version >= V37 {
			switch g.IntN(6) {
			case 0:
				limits = pick(g, []string{"", "count", "count=x", "=", "countHardLimit=2", "byteHardLimit=+9", "count==5", "countHardLimit=", ",count=1"})
			case 1, 2:
				limits += fmt.Sprintf("=;byteHardLimit=%d", g.IntN(15))
			case 3, 4:
				limits += fmt.Sprintf("=;byteHardLimit=%d;countHardLimit=%d", g.IntN(15)-1, g.IntN(5)-1)
			}
		}
		return []byte(limits)
	}
	return g.data()
}

// quota makes a multi that sets a quota, as setquota of the Java client does in steps.
func (g *generator) quota() wire.MultiRequest {
	var m wire.MultiRequest
	of := pick(g, []string{"/a", "/a/a", "/b", "/a/a/a", "/zookeeper"})
	for i, c := range of {
		if i > 0 && c == '/' && g.IntN(2) == 0 {
			m.Ops = append(m.Ops, wire.MultiOp{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/zookeeper/quota" + of[:i], ACL: world}})
		}
	}
	for _, name := range []string{"", "/zookeeper_limits", "/zookeeper_stats"}[g.IntN(2):] {
		path := "/zookeeper/quota" + of + name
		m.Ops = append(m.Ops, wire.MultiOp{Op: wire.OpCreate, Request: wire.CreateRequest{Path: path, Data: g.dataFor(path), ACL: world}})
	}
	return m
}

func (g *generator) anyVersion() int32 {
	if g.IntN(2) == 0 {
		return -1
	}
	return g.Int32N(4)
}

func (g *generator) acl() []wire.ACL {
	if g.IntN(4) > 0 {
		return world
	}
	if g.members > 1 {
		return pick(g, acls[1:])
	}
	if g.IntN(10) == 0 {
		return []wire.ACL{{Perms: 31, Scheme: "digest", ID: pick(g, invalid) + ":x"}, world[0]}
	}
	return pick(g, acls) // of which the first is null
}

func (g *generator) data() []byte {
	switch g.IntN(5) {
	case 0:
		return nil
	case 1:
		return []byte{}
	}
	return []byte(fmt.Sprint(g.IntN(1000)))
}

func (g *generator) create(op wire.Op) wire.Record {
	flags := g.Int32N(4)
	path := g.target()
	if flags >= 2 && g.IntN(3) > 0 {
		path += pick(g, []string{"/", "/s-", "-"})
	}
	if g.IntN(30) == 0 {
		flags = g.Int32N(9) - 1
	}
	switch op {
	case wire.OpCreateTTL:
		if g.IntN(8) > 0 {
			flags = 5 + g.Int32N(2)
		}
		ttl := pick(g, []int64{1 << 30, 1 << 31, wire.MaxTTL})
		if g.IntN(8) == 0 {
			ttl = pick(g, []int64{0, -1, -2, wire.MaxTTL + 1})
		}
		if flags != 5 && flags != 6 {
			ttl = max(ttl, 0) // a negative one would end the real server for good
		}
		return wire.CreateTTLRequest{Path: path, Data: g.dataFor(path), ACL: g.acl(), Flags: flags, TTL: ttl}
	case wire.OpCreateContainer:
		if g.IntN(8) > 0 {
			flags = wire.FlagContainer
		} else if !g.alone {
			flags &^= wire.FlagEphemeral // such a container refuses children for as long as it is not committed
		}
	}
	return wire.CreateRequest{Path: path, Data: g.dataFor(path), ACL: g.acl(), Flags: flags}
}

func (g *generator) write() (wire.Op, wire.Record) {
	ops := []wire.Op{wire.OpCreate, wire.OpCreate, wire.OpDelete, wire.OpDelete, wire.OpSetData, wire.OpSetData}
	if g.version >= V35 {
		ops = append(ops, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL)
	}
	switch op := pick(g, ops); op {
	case wire.OpDelete:
		return op, wire.PathVersionRequest{Path: g.target(), Version: g.anyVersion()}
	case wire.OpSetData:
		path := g.target()
		return op, wire.SetDataRequest{Path: path, Data: g.dataFor(path), Version: g.anyVersion()}
	default:
		return op, g.create(op)
	}
}

func (g *generator) list() []string {
	var list []string
	for range g.IntN(4) {
		list = append(list, g.path())
	}
	if list == nil {
		list = []string{}
	}
	return list
}

func (g *generator) step() step {
	if g.IntN(12) == 0 {
		st := step{si: g.IntN(paritySessions), op: opPipeline, name: "pipeline"}
		wrote := false
		g.alone = false
		defer func() { g.alone = true }()
		// Up to 3.5 an identity counts for the requests before it too, if they are slow.
		// Since 3.8.4 it does so for events, so that there is to be none.
		authed := g.version >= V36 && g.IntN(3) == 0
		for last := false; len(st.parts) < 6 && !last; {
			part := g.request(st.si)
			switch part.op {
			case opMove, opRenew, opWrongPassword, opHandshake, opRaw, wire.OpPing, wire.OpCheck:
				continue
			case wire.OpCloseSession:
				if slices.ContainsFunc(st.parts, func(p step) bool { return data.Writes(p.op) }) {
					continue // ephemeral nodes go in an order that depends on what is committed
				}
				last = true
			case wire.OpSetACL: // the real server may check what follows against the ACL before
				last = true
			}
			switch {
			case part.op == wire.OpAuth:
				continue // which may end the connection
			case authed && g.IntN(4) == 0:
				auth := wire.AuthRequest{Scheme: "digest", Auth: []byte(pick(g, []string{"u1:p", "u2:p", "ü:p"}))}
				part = step{op: wire.OpAuth, name: show(wire.OpAuth, auth), request: func(*peer) []wire.Record { return []wire.Record{auth} }}
				last = false
			case authed && g.version >= V38 && (data.Writes(part.op) || last):
				last = false
				continue
			}
			if !data.Version(g.version).Knows(part.op) { // which ends the connection
				continue
			}
			if data.Writes(part.op) && g.hard {
				if wrote {
					continue
				}
				wrote = true
			}
			st.parts = append(st.parts, part)
			st.name += ", " + part.name
		}
		return st
	}
	return g.request(g.IntN(paritySessions))
}

func (g *generator) request(si int) step {
	if g.IntN(16) == 0 {
		return g.rare(si)
	}
	return g.common(si)
}

// rare makes what clients seldom or never send.
func (g *generator) rare(si int) step {
	st := step{si: si}
	set := func(op wire.Op, recs ...wire.Record) {
		st.op = op
		st.name = show(op, recs)
		st.request = func(*peer) []wire.Record { return recs }
	}
	switch n := g.IntN(11); {
	case n == 10 && len(g.fixed) > 0:
		st = pick(g, g.fixed)
		st.si = si
	case n < 1:
		st.op, st.raw = opRaw, pick(g, [][]byte{
			{0, 0x10, 0, 0}, {0x7f, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, // lengths
			{0, 0, 0, 0}, {0, 0, 0, 3, 1, 2, 3}, {0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0}, // headers that are cut short
			{0, 0, 0, 12, 0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 100, 0, 0, 0, 0}, // auth without its strings
			[]byte("ruok"), []byte("GET / HTTP/1.1\r\n\r\n"),
		})
		st.name = fmt.Sprintf("raw %q", st.raw)
	case n < 3:
		st.op = opHandshake
		st.connect = wire.ConnectRequest{
			Timeout: pick(g, []int32{-5, 0, 499, 501, 60000, 60001, 1 << 30}), ProtocolVersion: g.Int32N(3),
			Password:    pick(g, [][]byte{nil, {}, make([]byte, 16), make([]byte, 8), make([]byte, 17)}),
			HasReadOnly: g.IntN(2) == 0, ReadOnly: g.IntN(2) == 0,
		}
		if g.version == V34 && st.connect.Password == nil {
			st.connect.Password = []byte{} // null would keep a thread of the real server busy for good
		}
		switch g.IntN(3) {
		case 0:
			st.connect.LastZxidSeen = 1 + g.Int64N(100) // ahead of the server
		case 1:
			st.connect.SessionID = 1 + g.Int64N(100) // unknown
		}
		st.connect.ReadOnly = st.connect.ReadOnly && st.connect.HasReadOnly
		st.name = show(OpConnect, st.connect)
	case n < 5:
		// A request that is cut short, or is followed by garbage.
		st = g.common(si)
		request, at := st.request, g.IntN(60)
		if request == nil || st.op == wire.OpSASL || st.op == wire.OpCloseSession || !g.mayBeMalformed(st.op) {
			return st
		}
		if !data.Writes(st.op) && st.op != wire.OpAuth && g.IntN(2) == 0 { // by a write it might end the real server
			bit := g.IntN(8 * 60)
			if st.op == wire.OpSetWatches || st.op == wire.OpSetWatches2 {
				bit += 64 // behind the zxid, which counts from another base on each side
			}
			st.name = fmt.Sprintf("%s with bit %d the other way", st.name, bit)
			st.request = func(p *peer) []wire.Record {
				var b []byte
				for _, r := range request(p) {
					b = r.Append(b)
				}
				if bit/8 < len(b) {
					b[bit/8] ^= 1 << (bit % 8)
				}
				return []wire.Record{encoded(b)}
			}
			return st
		}
		garbage := []byte{1, 2, 3, 4, 5}[:g.IntN(6)]
		st.name = fmt.Sprintf("%s cut at %d with %d bytes behind it", st.name, at, len(garbage))
		st.request = func(p *peer) []wire.Record {
			var b []byte
			for _, r := range request(p) {
				b = r.Append(b)
			}
			if len(garbage) == 0 {
				return []wire.Record{encoded(b[:min(at, len(b))])}
			}
			return []wire.Record{encoded(append(b, garbage...))}
		}
	case n < 6 && g.IntN(2) == 0:
		// An xid that clients keep for something else, or never get to.
		if st = g.common(si); st.request != nil && st.op != wire.OpPing && st.op != wire.OpAuth {
			st.xid = pick(g, []int32{-1 << 31, -8, -5, -3, 1<<31 - 1})
			st.name = fmt.Sprintf("%s with xid %d", st.name, st.xid)
		}
	case n < 6:
		// The largest frame that the server takes.
		q := wire.SetDataRequest{Path: "/none", Version: -1}
		q.Data = make([]byte, 0xfffff-len(q.Append(make([]byte, 8))))
		st.op, st.name = wire.OpSetData, "setData as large as can be"
		st.request = func(*peer) []wire.Record { return []wire.Record{q} }
	case n < 7 && g.version >= V35:
		set(data.OpDeleteContainer, wire.PathRequest{Path: g.path()})
	case n < 8 && g.version >= V35:
		q := wire.ReconfigRequest{
			Joining: pick(g, []*string{nil, ptr(""), ptr("server.2=127.0.0.1:1:2;3")}), Leaving: pick(g, []*string{nil, ptr("1")}),
			NewMembers: pick(g, []*string{nil, ptr("server.2=127.0.0.1:1:2;3")}), ConfigID: g.Int64N(3) - 1,
		}
		if g.members > 1 { // which would do it
			q.ConfigID = 1 + g.Int64N(3)
			if g.IntN(2) == 0 {
				q = wire.ReconfigRequest{Joining: pick(g, []*string{nil, ptr("")}), Leaving: ptr("1,2"), ConfigID: -1}
			}
		}
		set(wire.OpReconfig, q)
	case g.IntN(3) == 0:
		set(wire.OpDelete, wire.PathVersionRequest{Path: "/zookeeper/quota" + pick(g, []string{"/a", "/a/a", "/b", "/a/a/a"}) + "/zookeeper_limits", Version: -1})
	default:
		set(wire.OpMulti, g.quota())
	}
	return st
}

func (g *generator) common(si int) step {
	st := step{si: si}
	set := func(op wire.Op, recs ...wire.Record) {
		st.op = op
		st.name = show(op, recs)
		st.request = func(*peer) []wire.Record { return recs }
	}
	switch n := g.IntN(100); {
	case n < 40:
		op, rec := g.write()
		set(op, rec)
	case n < 62:
		path := g.path()
		if g.IntN(8) == 0 {
			path = pick(g, quotaPaths)
		}
		op := pick(g, []wire.Op{wire.OpGetData, wire.OpExists, wire.OpGetChildren, wire.OpGetChildren2})
		set(op, wire.PathWatchRequest{Path: path, Watch: g.IntN(3) > 0})
	case n < 68:
		var m wire.MultiRequest
		for range g.IntN(5) {
			if g.IntN(4) == 0 {
				m.Ops = append(m.Ops, wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: g.path(), Version: g.anyVersion()}})
				continue
			}
			op, rec := g.write()
			m.Ops = append(m.Ops, wire.MultiOp{Op: op, Request: rec})
		}
		set(wire.OpMulti, m)
	case n < 70:
		set(wire.OpSetACL, wire.SetACLRequest{Path: g.path(), ACL: g.acl(), Version: g.anyVersion()})
	case n < 72:
		set(wire.OpGetACL, wire.PathRequest{Path: g.path()})
	case n < 74:
		set(wire.OpSync, wire.PathRequest{Path: g.path()})
	case n < 76:
		scheme := "digest"
		if g.IntN(10) == 0 {
			scheme = pick(g, []string{"ip", "nope", "world", "auth", "super", ""})
		}
		if g.IntN(8) == 0 {
			user := pick(g, invalid)
			if g.members > 1 && strings.Contains(user, "\U0001F600") {
				user = "" // an ACL with it would be another to the real leader than to its followers
			}
			set(wire.OpAuth, wire.AuthRequest{Scheme: scheme, Auth: []byte(user + ":p")})
			break
		}
		set(wire.OpAuth, wire.AuthRequest{Scheme: scheme, Auth: []byte(pick(g, []string{"u1:p", "u2:p", "", "x", "u1:p", apache.SuperCredential, "ü:p", "\xff:p", "u1:p:q", ":", "super:wrong"}))})
	case n < 80:
		back := g.Int64N(30)
		q := wire.SetWatches2Request{Data: g.list(), Exist: g.list(), Child: g.list(), Persistent: g.list(), Recursive: g.list()}
		st.op = wire.OpSetWatches
		if g.version >= V36 && g.IntN(2) == 0 {
			st.op = wire.OpSetWatches2
		}
		st.name = show(st.op, -back, q)
		st.request = func(p *peer) []wire.Record {
			q := q // both peers ask for it at once
			q.RelativeZxid = max(p.sessions[st.si].zxid-back, p.base)
			if back > 26 {
				q.RelativeZxid = []int64{0, -1, math.MaxInt64}[back-27]
			}
			if st.op == wire.OpSetWatches {
				return []wire.Record{wire.SetWatchesRequest{RelativeZxid: q.RelativeZxid, Data: q.Data, Exist: q.Exist, Child: q.Child}}
			}
			return []wire.Record{q}
		}
	case n < 82:
		st.op, st.to = pick(g, []wire.Op{opMove, opMove, opMove, opRenew, opWrongPassword}), si
		if g.members > 1 {
			st.to = g.IntN(g.members)
			if st.op == opMove && st.to != si && g.IntN(2) == 0 {
				stale := g.common(si)
				if stale.request != nil && data.Version(g.version).Knows(stale.op) {
					st.stale = &stale
				}
			}
		}
		if st.name = fmt.Sprintf("reconnect %d to member %d", st.op, st.to); st.stale != nil {
			st.name += " while the old connection sends " + st.stale.name
		}
	case n < 83:
		set(wire.OpCloseSession)
	case n < 84:
		// A malformed or unknown request.
		op := wire.Op(g.Int32N(120))
		switch op {
		case wire.OpAuth, wire.OpSASL, 20, wire.OpReconfig: // of their own kind
			op = wire.OpGetData
		}
		if !g.mayBeMalformed(op) {
			op = wire.OpExists
		}
		set(op, wire.ErrorResponse{Err: pick(g, []int32{-1, 5, 99, -7, 0})})
	case g.version < V35:
		set(wire.OpExists, wire.PathWatchRequest{Path: g.path(), Watch: true})
	case n < 88:
		op := pick(g, []wire.Op{wire.OpCheckWatches, wire.OpRemoveWatches})
		path := g.path()
		if g.IntN(10) == 0 {
			path = pick(g, []string{"a", "a/b", "+/a/b", "", "/a/"})
		}
		set(op, wire.WatcherTypeRequest{Path: path, Type: g.Int32N(7)})
	case g.version < V36:
		set(wire.OpGetData, wire.PathWatchRequest{Path: g.path(), Watch: true})
	case n < 94:
		path := g.path()
		if g.IntN(20) == 0 {
			path = pick(g, []string{"a", "a/b"})
		}
		set(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: g.Int32N(2) + g.Int32N(20)/19})
	case n < 95:
		set(wire.OpGetEphemerals, wire.PathRequest{Path: pick(g, []string{"", "/", " ", "/a", "/b/", "a", g.path()})})
	case n < 96:
		set(wire.OpAllChildrenNumber, wire.PathRequest{Path: g.path()})
	case n < 98:
		var m wire.MultiRequest
		for range g.IntN(4) {
			m.Ops = append(m.Ops, wire.MultiOp{Op: pick(g, []wire.Op{wire.OpGetData, wire.OpGetChildren}), Request: wire.PathWatchRequest{Path: g.path(), Watch: g.IntN(2) == 0}})
		}
		set(wire.OpMultiRead, m)
	case g.version >= V37:
		set(wire.OpWhoAmI)
	default:
		set(wire.OpSync, wire.PathRequest{Path: "/"})
	}
	return st
}
