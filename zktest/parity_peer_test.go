package zktest

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

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
	if !becomes(func() bool {
		nc, err = net.Dial("tcp", p.addrs[member%len(p.addrs)])
		return err == nil
	}) {
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

// encoded is a record in its wire form, or what is left of it.
type encoded []byte

func (e encoded) Append(b []byte) []byte { return append(b, e...) }

// dataSize returns what mntr tells of the size of paths and data.
func (p *peer) dataSize() string {
	text := command(p.t, p.open(0).nc, "mntr")
	_, rest, _ := strings.Cut(text, "zk_approximate_data_size\t")
	size, _, _ := strings.Cut(rest, "\n")
	return size
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
		for end := time.Now().Add(patience); at[i] >= 0 && at[i] < newest && time.Now().Before(end); {
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
