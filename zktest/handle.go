package zktest

import (
	"slices"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

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
	r := data.Request{Xid: h.Xid, Op: h.Op}
	r.Decode(&d, e.prep.Version)
	if c.heldBack != nil {
		defer c.performHeldBack()
	}
	entry := Frame{Dir: FromClient, Session: c.session.id, Xid: r.Xid, Op: r.Op, Path: r.Path, Zxid: r.Watches.RelativeZxid, Raw: frame}
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
func (c *conn) perform(r *data.Request) {
	switch {
	case r.Op == wire.OpAuth:
		c.authenticate(r)
	case r.Op == wire.OpSASL:
		c.sasl(r)
	case c.lacksSASL():
		c.refuseUnproved(r)
	case !c.ens.prep.Version.Knows(r.Op):
		c.answer(r, -1, wire.ErrUnimplemented)
		c.end("unknown operation " + r.Op.String())
	case r.Op == wire.OpCloseSession:
		c.closeSession(r)
	case data.Writes(r.Op):
		c.update(r)
	default:
		c.read(r)
	}
}

func (c *conn) authenticate(r *data.Request) {
	if r.Bad {
		c.drop("malformed auth packet")
		return
	}
	switch r.Auth.Scheme {
	case "digest":
		if r.Auth.Auth == nil {
			c.answer(r, 0, wire.ErrAuthFailed)
			c.end("digest auth of null")
			return
		}
		id := data.Identity{Scheme: "digest", ID: data.DigestID(data.JavaText(string(r.Auth.Auth)))}
		if id.ID == c.ens.super {
			c.addIdentity(data.Identity{Scheme: "super"})
		}
		c.addIdentity(id)
	case "ip": // every connection has it
	case "x509":
		known := func(id data.Identity) bool { return id.Scheme == "x509" }
		if !slices.ContainsFunc(c.ids, known) {
			c.answer(r, 0, wire.ErrAuthFailed)
			c.end("no certificate")
			return
		}
	default:
		c.answer(r, 0, wire.ErrAuthFailed)
		c.end("unknown auth scheme " + r.Auth.Scheme)
		return
	}
	c.answer(r, 0, 0)
}

func (c *conn) addIdentity(id data.Identity) {
	if !slices.Contains(c.ids, id) {
		c.ids = append(c.ids, id)
	}
}

func (c *conn) closeSession(r *data.Request) {
	e := c.ens
	if c.member.readOnly && !c.session.local {
		c.answer(r, c.member.tree.Zxid, wire.ErrNotReadOnly)
		return
	}
	// Any connection of a session may close it, even one it has moved away from.
	if e.sessionOf(c.session) == c.session {
		e.endSession(c.session, c)
		if !c.session.local && !c.await(e.zxid) {
			return
		}
	}
	c.answer(r, c.member.tree.Zxid, 0)
	c.end("session closed")
}

// update executes a write: it becomes a transaction whether or not it succeeds.
func (c *conn) update(r *data.Request) {
	e, m := c.ens, c.member
	if m.readOnly {
		c.answer(r, m.tree.Zxid, wire.ErrNotReadOnly)
		return
	}
	// The real server compares owners per operation.
	moved := c.session.owner != m && !r.Bad && r.Op != data.OpDeleteContainer && (r.Op != wire.OpMulti || len(r.Multi) > 0)
	if first := r.First(); moved && data.Creates(first.Op) && e.opts.Version > V34 {
		if e.prep.CheckMode(first) != 0 {
			moved = false // they look at the mode of a create before
		}
	}
	early := r.NullACL
	if !r.Bad && !early && e.opts.Version < V39 && slices.ContainsFunc(r.Multi, func(sub data.Request) bool { return sub.NullPath }) {
		early = true
		e.zxid++ // which no transaction has
	}
	if !moved && (early || r.Bad && r.Op != wire.OpMulti && e.opts.Version >= V39) {
		// Refused before it becomes a transaction.
		at := c.begin(r.Xid, m.tree.Zxid, wire.ErrMarshalling)
		if early && e.opts.Version < V39 {
			c.out = wire.AppendMultiEnd(c.out)
		}
		c.replied(at, r, m.tree.Zxid, wire.ErrMarshalling)
		return
	}
	if r.Op == wire.OpReconfig && !e.opts.Reconfig {
		moved = false // that is what they look at first
	}
	x := e.newTxn()
	var code int32
	var failed []wire.MultiResult
	switch {
	case moved && r.Op == wire.OpMulti && e.opts.Version < V36:
		failed, moved = x.FailMulti(len(r.Multi), wire.ErrSessionMoved), false // the connection goes on
	case moved:
	case r.Op == wire.OpReconfig && !r.Bad && !e.opts.Reconfig:
		code = wire.ErrReconfigDisabled
	case e.sessions[c.session.id] != c.session:
		code = wire.ErrSessionExpired // which this member has not heard of yet
	case r.Bad, r.NullPath && r.Op != wire.OpSetData && r.Op != wire.OpSetACL && r.Op != wire.OpMulti && r.Op != wire.OpReconfig:
		code = wire.ErrMarshalling
	case r.Op == wire.OpMulti:
		failed, code = e.prep.Multi(c.caller(), r.Multi, x)
	case r.Op == wire.OpReconfig:
		code = e.prep.Reconfig(c.caller(), r, x, e.participates)
	default:
		code = e.prep.Write(c.caller(), r, x)
	}
	e.commit(x)
	if moved {
		c.end("session has moved") // after the replies before it
		return
	}
	if !c.await(x.Zxid) {
		return
	}
	if r.Op == wire.OpCheck && code == 0 {
		return // up to 3.7 a server took it outside a multi, and then had no answer
	}
	at := c.begin(r.Xid, m.tree.Zxid, code)
	if code == 0 {
		c.appendUpdate(r, x, failed)
	}
	c.replied(at, r, m.tree.Zxid, code)
}

// caller is who the client is to those who check a write.
func (c *conn) caller() data.Caller { return data.Caller{IDs: c.ids, Session: c.session.id} }

// participates says whether the member with this id takes part in the ensemble.
func (e *Ensemble) participates(id int64) bool {
	return id >= 1 && id <= int64(len(e.members)) && e.members[id-1].connected()
}

// appendUpdate appends the record of a successful write's reply.
func (c *conn) appendUpdate(r *data.Request, x *data.Txn, failed []wire.MultiResult) {
	switch r.Op {
	case wire.OpCreate:
		c.out = wire.PathResponse{Path: x.Changes[0].Path}.Append(c.out)
	case wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		c.out = wire.Create2Response{Path: x.Changes[0].Path, Stat: x.Changes[0].Stat}.Append(c.out)
	case wire.OpSetData, wire.OpSetACL:
		c.out = x.Changes[0].Stat.Append(c.out)
	case wire.OpReconfig:
		c.out = wire.GetDataResponse{Data: x.Changes[0].Data, Stat: x.Changes[0].Stat}.Append(c.out)
	case wire.OpMulti:
		for i := range failed {
			c.out = failed[i].Append(c.out)
		}
		for i := range x.Changes {
			ch := &x.Changes[i]
			c.out = wire.MultiResult{Op: ch.Reply, Path: ch.Path, Stat: ch.Stat}.Append(c.out)
		}
		c.out = wire.AppendMultiEnd(c.out)
	}
}
