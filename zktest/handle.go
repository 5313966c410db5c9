package zktest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// connect executes a connection's first frame (processConnectRequest).
func (c *conn) connect(frame []byte) {
	e, m := c.ens, c.member
	var q wire.ConnectRequest
	d := wire.NewDecoder(frame)
	q.Decode(&d)
	if err := d.Err(); err != nil {
		c.drop("handshake: " + err.Error())
		return
	}
	entry := Frame{Dir: FromClient, Op: OpConnect, Session: q.SessionID, Zxid: q.LastZxidSeen, Raw: frame}
	c.logFrame(entry)
	rule := e.strike(c, entry, nil)
	if rule != nil && !c.pause(rule.Delay) {
		return
	}
	if rule != nil && (c.before(rule.Do) || rule.Do == Drop) {
		return
	}
	switch {
	case m.idle:
		c.drop("server does not serve")
		return
	case m.readOnly && !q.ReadOnly:
		c.drop("client does not want a read-only server")
		return
	case q.LastZxidSeen > m.tree.zxid:
		c.drop(fmt.Sprintf("client has seen zxid %#x, this server is at %#x", q.LastZxidSeen, m.tree.zxid))
		return
	}
	c.identify()
	c.timeout = min(max(time.Duration(q.Timeout)*time.Millisecond, e.opts.MinSessionTimeout), e.opts.MaxSessionTimeout)
	if q.SessionID == 0 {
		c.newSession(&q, rule)
	} else {
		c.takeOver(&q, rule)
	}
}

func (c *conn) newSession(q *wire.ConnectRequest, rule *Rule) {
	e, m := c.ens, c.member
	if m.readOnly && e.opts.NoLocalSessions && e.opts.Version >= V37 {
		// The real server answers as if to a request (ReadOnlyRequestProcessor).
		c.answer(&request{op: OpConnect}, m.tree.zxid, wire.ErrNotReadOnly)
		return
	}
	s := m.newSession(c.timeout)
	if !s.local {
		x := e.newTxn()
		s.made, x.opens = x.zxid, s.id
		e.commit(x)
		if !c.await(x.zxid) {
			return
		}
		c.answered(0, OpConnect, x.zxid, 0)
	}
	c.establish(s, q, rule)
}

// takeOver moves a session to this connection. The session's other connection
// to this member ends even if the password turns out to be wrong.
func (c *conn) takeOver(q *wire.ConnectRequest, rule *Rule) {
	m := c.member
	if m.readOnly && c.ens.opts.Version >= V37 && m.remembers(c.ens.sessions[q.SessionID]) {
		c.drop("session of the ensemble at a read-only server")
		return
	}
	if old := m.bySession[q.SessionID]; old != nil {
		old.drop("session taken over by another connection")
	}
	s := m.find(q.SessionID, q.Password)
	if s == nil {
		c.sendConnect(wire.ConnectResponse{Password: make([]byte, 16)}, q, rule)
		c.end("no such session")
		return
	}
	s.owner = m
	c.ens.renegotiate(s, c.timeout)
	c.establish(s, q, rule)
}

func (c *conn) establish(s *session, q *wire.ConnectRequest, rule *Rule) {
	c.session = s
	c.member.bySession[s.id] = c
	c.nc.SetReadDeadline(time.Time{})
	c.sendConnect(wire.ConnectResponse{
		Timeout: int32(c.timeout / time.Millisecond), SessionID: s.id, Password: s.password[:],
	}, q, rule)
}

func (c *conn) sendConnect(r wire.ConnectResponse, q *wire.ConnectRequest, rule *Rule) {
	if rule != nil && c.after(rule.Do) {
		return
	}
	r.ReadOnly, r.HasReadOnly = c.member.readOnly, q.HasReadOnly
	at := len(c.out)
	c.out = wire.BeginFrame(c.out)
	c.out = r.Append(c.out)
	c.finish(at, Frame{Op: OpConnect, Session: r.SessionID}, nil)
}

// before and after do what a fault says. They return true if nothing more is to happen.
func (c *conn) before(a Action) bool {
	switch a {
	case CutBefore:
		c.end("cut by a fault")
	case StallBefore:
		c.stall()
		c.deaf = true
	}
	return a == CutBefore || a == StallBefore
}

func (c *conn) after(a Action) bool {
	switch a {
	case CutAfter:
		c.end("cut by a fault")
	case StallAfter:
		c.stall()
	}
	return a == CutAfter || a == StallAfter
}

// request executes any later frame.
func (c *conn) request(frame []byte) {
	e := c.ens
	d := wire.NewRequestDecoder(frame)
	var h wire.RequestHeader
	h.Decode(&d)
	if err := d.Err(); err != nil {
		c.drop("request header: " + err.Error())
		return
	}
	r := request{xid: h.Xid, op: h.Op}
	r.decode(&d, e.opts.Version)
	if c.heldBack != nil {
		defer c.performHeldBack()
	}
	entry := Frame{Dir: FromClient, Session: c.session.id, Xid: r.xid, Op: r.op, Path: r.path, Zxid: r.watches.RelativeZxid, Raw: frame}
	c.logFrame(entry)
	var rule *Rule
	if len(e.faults) > 0 {
		rule = e.strike(c, entry, &r)
	}
	if rule == nil {
		c.perform(&r)
		return
	}
	if c.pause(rule.Delay) {
		c.suffer(rule, &r, frame)
	}
}

// perform executes a request and queues its reply.
func (c *conn) perform(r *request) {
	switch {
	case r.op == wire.OpAuth:
		c.authenticate(r)
	case r.op == wire.OpSASL:
		c.sasl(r)
	case c.lacksSASL():
		c.refuseUnproved(r)
	case !c.ens.opts.Version.knows(r.op):
		c.answer(r, -1, wire.ErrUnimplemented)
		c.end("unknown operation " + r.op.String())
	case r.op == wire.OpCloseSession:
		c.closeSession(r)
	case writes(r.op):
		c.update(r)
	default:
		c.read(r)
	}
}

func (c *conn) authenticate(r *request) {
	if r.bad {
		c.drop("malformed auth packet")
		return
	}
	switch r.auth.Scheme {
	case "digest":
		if r.auth.Auth == nil {
			c.answer(r, 0, wire.ErrAuthFailed)
			c.end("digest auth of null")
			return
		}
		id := identity{"digest", digestID(javaText(string(r.auth.Auth)))}
		if id.id == c.ens.super {
			c.addIdentity(identity{"super", ""})
		}
		c.addIdentity(id)
	case "ip": // every connection has it
	case "x509":
		known := func(id identity) bool { return id.scheme == "x509" }
		if !slices.ContainsFunc(c.ids, known) {
			c.answer(r, 0, wire.ErrAuthFailed)
			c.end("no certificate")
			return
		}
	default:
		c.answer(r, 0, wire.ErrAuthFailed)
		c.end("unknown auth scheme " + r.auth.Scheme)
		return
	}
	c.answer(r, 0, 0)
}

func (c *conn) addIdentity(id identity) {
	for _, known := range c.ids {
		if known == id {
			return
		}
	}
	c.ids = append(c.ids, id)
}

func (c *conn) closeSession(r *request) {
	e := c.ens
	if c.member.readOnly && !c.session.local {
		c.answer(r, c.member.tree.zxid, wire.ErrNotReadOnly)
		return
	}
	// Any connection of a session may close it, even one it has moved away from.
	if e.sessionOf(c.session) == c.session {
		e.endSession(c.session, c)
		if !c.session.local && !c.await(e.zxid) {
			return
		}
	}
	c.answer(r, c.member.tree.zxid, 0)
	c.end("session closed")
}

// update executes a write: it becomes a transaction whether or not it succeeds.
func (c *conn) update(r *request) {
	e, m := c.ens, c.member
	if m.readOnly {
		c.answer(r, m.tree.zxid, wire.ErrNotReadOnly)
		return
	}
	// The real server compares owners per operation.
	moved := c.session.owner != m && !r.bad && r.op != opDeleteContainer && (r.op != wire.OpMulti || len(r.multi) > 0)
	if first := r.first(); moved && creates(first.op) && e.opts.Version > V34 {
		if _, _, code := e.createMode(first); code != 0 {
			moved = false // they look at the mode of a create before
		}
	}
	early := r.nullACL
	if !r.bad && !early && e.opts.Version < V39 && slices.ContainsFunc(r.multi, func(sub request) bool { return sub.nullPath }) {
		early = true
		e.zxid++ // which no transaction has
	}
	if !moved && (early || r.bad && r.op != wire.OpMulti && e.opts.Version >= V39) {
		// Refused before it becomes a transaction.
		at := c.begin(r.xid, m.tree.zxid, wire.ErrMarshalling)
		if early && e.opts.Version < V39 {
			c.out = wire.AppendMultiEnd(c.out)
		}
		c.replied(at, r, m.tree.zxid, wire.ErrMarshalling)
		return
	}
	if r.op == wire.OpReconfig && !e.opts.Reconfig {
		moved = false // that is what they look at first
	}
	x := e.newTxn()
	p := prep{e: e, conn: c}
	var code int32
	var failed []wire.MultiResult
	switch {
	case moved && r.op == wire.OpMulti && e.opts.Version < V36:
		failed, moved = failedAt(0, len(r.multi), wire.ErrSessionMoved), false // the connection goes on
		x.multi, x.failed = true, len(r.multi)
	case moved:
	case r.op == wire.OpReconfig && !r.bad && !e.opts.Reconfig:
		code = wire.ErrReconfigDisabled
	case e.sessions[c.session.id] != c.session:
		code = wire.ErrSessionExpired // which this member has not heard of yet
	case r.bad, r.nullPath && r.op != wire.OpSetData && r.op != wire.OpSetACL && r.op != wire.OpMulti && r.op != wire.OpReconfig:
		code = wire.ErrMarshalling
	case r.op == wire.OpMulti:
		failed, code = p.multi(r.multi, x)
	case r.op == wire.OpReconfig:
		x.changes, code = p.reconfig(r, x.zxid)
	default:
		var ch change
		if ch, code = p.write(r); code == 0 {
			x.changes = []change{ch}
		}
	}
	e.commit(x)
	if moved {
		c.end("session has moved") // after the replies before it
		return
	}
	if !c.await(x.zxid) {
		return
	}
	if r.op == wire.OpCheck && code == 0 {
		return // up to 3.7 a server took it outside a multi, and then had no answer
	}
	at := c.begin(r.xid, m.tree.zxid, code)
	if code == 0 {
		c.appendUpdate(r, x, failed)
	}
	c.replied(at, r, m.tree.zxid, code)
}

// appendUpdate appends the record of a successful write's reply.
func (c *conn) appendUpdate(r *request, x *txn, failed []wire.MultiResult) {
	switch r.op {
	case wire.OpCreate:
		c.out = wire.PathResponse{Path: x.changes[0].path}.Append(c.out)
	case wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		c.out = wire.Create2Response{Path: x.changes[0].path, Stat: x.changes[0].stat}.Append(c.out)
	case wire.OpSetData, wire.OpSetACL:
		c.out = x.changes[0].stat.Append(c.out)
	case wire.OpReconfig:
		c.out = wire.GetDataResponse{Data: x.changes[0].data, Stat: x.changes[0].stat}.Append(c.out)
	case wire.OpMulti:
		for i := range failed {
			c.out = failed[i].Append(c.out)
		}
		for i := range x.changes {
			ch := &x.changes[i]
			c.out = wire.MultiResult{Op: ch.reply, Path: ch.path, Stat: ch.stat}.Append(c.out)
		}
		c.out = wire.AppendMultiEnd(c.out)
	}
}

// read executes a request that changes nothing.
func (c *conn) read(r *request) {
	m := c.member
	if c.session.owner != m && m.index == c.ens.leader {
		c.end("session has moved") // a follower does not look, and answers
		return
	}
	if r.op == wire.OpSync {
		switch {
		case m.readOnly:
			c.answer(r, m.tree.zxid, wire.ErrNotReadOnly)
			return
		case !c.await(c.ens.head.zxid):
			return
		}
	}
	if r.op == wire.OpPing {
		r.xid = wire.XidPing // whatever the request says
	}
	start := len(c.out)
	zxid := m.tree.zxid
	if r.op == wire.OpSetWatches || r.op == wire.OpSetWatches2 {
		// The only read whose events precede its reply.
		code := wire.ErrMarshalling
		if !r.bad {
			code = c.setWatches(&r.watches)
		}
		c.answer(r, zxid, code)
		return
	}
	if r.op == wire.OpMultiRead && !r.bad {
		c.multiRead(r, zxid)
		return
	}
	at := c.begin(r.xid, zxid, 0)
	code := wire.ErrMarshalling
	if !r.bad {
		code = c.appendRead(r)
	}
	if code != 0 {
		c.out = c.out[:start]
		c.answer(r, zxid, code)
		return
	}
	c.replied(at, r, zxid, 0)
}

// node looks up a node that the client may use as perm says.
func (c *conn) node(path string, perm int32) (*node, int32) {
	n := c.member.tree.nodes[path]
	switch {
	case n == nil:
		return nil, wire.ErrNoNode
	case !n.acl.allowed(perm, c.ids):
		return nil, wire.ErrNoAuth
	}
	return n, 0
}

// appendRead appends the record of a read's reply, and sets its watch.
func (c *conn) appendRead(r *request) int32 {
	m := c.member
	if r.nullPath {
		switch r.op {
		case wire.OpExists, wire.OpGetData, wire.OpGetChildren, wire.OpGetChildren2, wire.OpGetACL, wire.OpAllChildrenNumber:
			return wire.ErrMarshalling
		case wire.OpSync:
			c.out = wire.AppendInt32(c.out, -1)
			return 0
		}
	}
	switch r.op {
	case wire.OpPing:
	case wire.OpExists:
		return c.exists(r)
	case wire.OpGetData:
		n, code := c.node(r.path, wire.PermRead)
		if code != 0 {
			return code
		}
		if r.watch {
			m.data.add(r.path, c, oneShot)
		}
		c.out = wire.GetDataResponse{Data: n.data, Stat: n.stat()}.Append(c.out)
	case wire.OpGetChildren, wire.OpGetChildren2:
		n, code := c.node(r.path, wire.PermRead)
		if code != 0 {
			return code
		}
		if r.watch {
			m.child.add(r.path, c, oneShot)
		}
		c.appendChildren(n)
		if r.op == wire.OpGetChildren2 {
			c.out = n.stat().Append(c.out)
		}
	case wire.OpGetACL:
		n, code := c.node(r.path, wire.PermRead|wire.PermAdmin)
		if code != 0 {
			return code
		}
		list := n.acl.entries
		if !n.acl.allowed(wire.PermAdmin, c.ids) {
			list = masked(list)
		}
		c.out = wire.GetACLResponse{ACL: javaACL(list), Stat: n.stat()}.Append(c.out)
	case wire.OpSync:
		c.out = wire.PathResponse{Path: javaString(r.path)}.Append(c.out)
	case wire.OpGetEphemerals:
		c.ephemerals(r)
	case wire.OpAllChildrenNumber:
		if _, code := c.node(r.path, wire.PermRead); code != 0 {
			return code
		}
		c.out = wire.CountResponse{Count: int32(m.tree.descendants(r.path))}.Append(c.out)
	case wire.OpWhoAmI:
		var w wire.WhoAmIResponse
		for _, id := range c.ids {
			w.Infos = append(w.Infos, wire.ClientInfo{AuthScheme: id.scheme, User: javaString(id.userName())})
		}
		c.out = w.Append(c.out)
	case wire.OpCheckWatches:
		return c.checkWatches(r)
	case wire.OpRemoveWatches:
		return c.removeWatches(r)
	case wire.OpAddWatch:
		path, m := r.path, persistentWatch
		if r.nullPath {
			path = nullString
		}
		switch r.flags {
		case wire.AddWatchPersistent:
		case wire.AddWatchPersistentRecursive:
			m = recursiveWatch
		default:
			return wire.ErrMarshalling
		}
		if code := c.addWatch(path, m); code != 0 {
			return code
		}
		c.out = wire.ErrorResponse{}.Append(c.out)
	}
	return 0
}

// exists also sets its watch where there is no node. It asks for permission since 3.8.4.
func (c *conn) exists(r *request) int32 {
	if strings.Contains(r.path, "\x00") {
		return wire.ErrBadArguments
	}
	n, code := c.node(r.path, wire.PermRead)
	if code == wire.ErrNoAuth {
		if c.ens.opts.Version >= V38 {
			return code
		}
		n, code = c.member.tree.nodes[r.path], 0
	}
	if r.watch {
		c.member.data.add(r.path, c, oneShot)
	}
	if code == 0 {
		c.out = n.stat().Append(c.out)
	}
	return code
}

func (c *conn) appendChildren(n *node) {
	c.out = wire.AppendInt32(c.out, int32(n.children.len()))
	for name := range n.children.all() {
		c.out = wire.AppendString(c.out, name)
	}
}

// multiRead stops at a path that is null, and then answers with an error and the results before it.
func (c *conn) multiRead(r *request, zxid int64) {
	ops, code := r.multi, int32(0)
	if i := slices.IndexFunc(ops, func(sub request) bool { return sub.nullPath }); i >= 0 {
		ops, code = ops[:i], wire.ErrMarshalling
	}
	at := c.begin(r.xid, zxid, code)
	for i := range ops {
		sub := &ops[i]
		n, code := c.node(sub.path, wire.PermRead)
		switch {
		case code != 0:
			c.out = wire.MultiResult{Op: wire.OpError, Err: code}.Append(c.out)
		case sub.op == wire.OpGetData:
			c.out = wire.MultiResult{Op: sub.op, Data: n.data, Stat: n.stat()}.Append(c.out)
		default:
			c.out = wire.MultiHeader{Op: sub.op}.Append(c.out)
			c.appendChildren(n)
		}
	}
	c.out = wire.AppendMultiEnd(c.out)
	c.replied(at, r, zxid, code)
}

func (c *conn) ephemerals(r *request) {
	paths := c.member.tree.sessionPaths(c.session.id, true)
	list := make([]string, 0, len(paths))
	trimmed := strings.TrimFunc(r.path, func(c rune) bool { return c <= ' ' }) // as Java does it
	for _, path := range paths {
		if trimmed == "" || trimmed == rootPath || strings.HasPrefix(path, r.path) {
			list = append(list, path)
		}
	}
	c.out = wire.ChildrenResponse{Children: list}.Append(c.out)
}
