package zktest

import (
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// read executes a request that changes nothing.
func (c *conn) read(r *data.Request) {
	m := c.member
	if c.session.owner != m && m.index == c.ens.leader {
		c.end("session has moved") // a follower does not look, and answers
		return
	}
	if r.Op == wire.OpSync {
		switch {
		case m.readOnly:
			c.answer(r, m.tree.Zxid, wire.ErrNotReadOnly)
			return
		case !c.await(c.ens.prep.Head.Zxid):
			return
		}
	}
	if r.Op == wire.OpPing {
		r.Xid = wire.XidPing // whatever the request says
	}
	start := len(c.out)
	zxid := m.tree.Zxid
	if r.Op == wire.OpSetWatches || r.Op == wire.OpSetWatches2 {
		// The only read whose events precede its reply.
		code := wire.ErrMarshalling
		if !r.Bad {
			code = m.watches.Set(m.tree, &r.Watches, c, (*conn).event)
		}
		c.answer(r, zxid, code)
		return
	}
	if r.Op == wire.OpMultiRead && !r.Bad {
		c.multiRead(r, zxid)
		return
	}
	at := c.begin(r.Xid, zxid, 0)
	code := wire.ErrMarshalling
	if !r.Bad {
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
func (c *conn) node(path string, perm int32) (*data.Node, int32) {
	n := c.member.tree.Node(path)
	switch {
	case n == nil:
		return nil, wire.ErrNoNode
	case !n.ACL.Allowed(perm, c.ids):
		return nil, wire.ErrNoAuth
	}
	return n, 0
}

// appendRead appends the record of a read's reply, and sets its watch.
func (c *conn) appendRead(r *data.Request) int32 {
	m := c.member
	if r.NullPath {
		switch r.Op {
		case wire.OpExists, wire.OpGetData, wire.OpGetChildren, wire.OpGetChildren2, wire.OpGetACL, wire.OpAllChildrenNumber:
			return wire.ErrMarshalling
		case wire.OpSync:
			c.out = wire.AppendInt32(c.out, -1)
			return 0
		}
	}
	switch r.Op {
	case wire.OpPing:
	case wire.OpExists:
		return c.exists(r)
	case wire.OpGetData:
		return c.getData(r)
	case wire.OpGetChildren, wire.OpGetChildren2:
		return c.getChildren(r)
	case wire.OpGetACL:
		return c.getACL(r)
	case wire.OpSync:
		c.out = wire.PathResponse{Path: data.JavaString(r.Path)}.Append(c.out)
	case wire.OpGetEphemerals:
		c.ephemerals(r)
	case wire.OpAllChildrenNumber:
		if _, code := c.node(r.Path, wire.PermRead); code != 0 {
			return code
		}
		c.out = wire.CountResponse{Count: int32(m.tree.Descendants(r.Path))}.Append(c.out)
	case wire.OpWhoAmI:
		var w wire.WhoAmIResponse
		for _, id := range c.ids {
			w.Infos = append(w.Infos, wire.ClientInfo{AuthScheme: id.Scheme, User: data.JavaString(id.UserName())})
		}
		c.out = w.Append(c.out)
	case wire.OpCheckWatches:
		return m.watches.Check(r, c)
	case wire.OpRemoveWatches:
		return m.watches.Remove(r, c)
	case wire.OpAddWatch:
		if code := m.watches.Add(r, c); code != 0 {
			return code
		}
		c.out = wire.ErrorResponse{}.Append(c.out)
	}
	return 0
}

func (c *conn) getData(r *data.Request) int32 {
	n, code := c.node(r.Path, wire.PermRead)
	if code != 0 {
		return code
	}
	if r.Watch {
		c.member.watches.AddData(r.Path, c)
	}
	c.out = wire.GetDataResponse{Data: n.Data, Stat: n.Stat()}.Append(c.out)
	return 0
}

func (c *conn) getChildren(r *data.Request) int32 {
	n, code := c.node(r.Path, wire.PermRead)
	if code != 0 {
		return code
	}
	if r.Watch {
		c.member.watches.AddChild(r.Path, c)
	}
	c.appendChildren(n)
	if r.Op == wire.OpGetChildren2 {
		c.out = n.Stat().Append(c.out)
	}
	return 0
}

func (c *conn) getACL(r *data.Request) int32 {
	n, code := c.node(r.Path, wire.PermRead|wire.PermAdmin)
	if code != 0 {
		return code
	}
	list := n.ACL.Entries
	if !n.ACL.Allowed(wire.PermAdmin, c.ids) {
		list = data.Masked(list)
	}
	c.out = wire.GetACLResponse{ACL: data.JavaACL(list), Stat: n.Stat()}.Append(c.out)
	return 0
}

// exists also sets its watch where there is no node. It asks for permission since 3.8.4.
func (c *conn) exists(r *data.Request) int32 {
	if strings.Contains(r.Path, "\x00") {
		return wire.ErrBadArguments
	}
	n, code := c.node(r.Path, wire.PermRead)
	if code == wire.ErrNoAuth {
		if c.ens.opts.Version >= V38 {
			return code
		}
		n, code = c.member.tree.Node(r.Path), 0
	}
	if r.Watch {
		c.member.watches.AddData(r.Path, c)
	}
	if code == 0 {
		c.out = n.Stat().Append(c.out)
	}
	return code
}

func (c *conn) appendChildren(n *data.Node) {
	c.out = wire.AppendInt32(c.out, int32(n.NumChildren()))
	for name := range n.Children() {
		c.out = wire.AppendString(c.out, name)
	}
}

// multiRead stops at a path that is null, and then answers with an error and the results before it.
func (c *conn) multiRead(r *data.Request, zxid int64) {
	ops, code := r.Multi, int32(0)
	if i := slices.IndexFunc(ops, func(sub data.Request) bool { return sub.NullPath }); i >= 0 {
		ops, code = ops[:i], wire.ErrMarshalling
	}
	at := c.begin(r.Xid, zxid, code)
	for i := range ops {
		sub := &ops[i]
		n, code := c.node(sub.Path, wire.PermRead)
		switch {
		case code != 0:
			c.out = wire.MultiResult{Op: wire.OpError, Err: code}.Append(c.out)
		case sub.Op == wire.OpGetData:
			c.out = wire.MultiResult{Op: sub.Op, Data: n.Data, Stat: n.Stat()}.Append(c.out)
		default:
			c.out = wire.MultiHeader{Op: sub.Op}.Append(c.out)
			c.appendChildren(n)
		}
	}
	c.out = wire.AppendMultiEnd(c.out)
	c.replied(at, r, zxid, code)
}

func (c *conn) ephemerals(r *data.Request) {
	paths := c.member.tree.SessionPaths(c.session.id, true)
	list := make([]string, 0, len(paths))
	trimmed := strings.TrimFunc(r.Path, func(c rune) bool { return c <= ' ' }) // as Java does it
	for _, path := range paths {
		if trimmed == "" || trimmed == data.RootPath || strings.HasPrefix(path, r.Path) {
			list = append(list, path)
		}
	}
	c.out = wire.ChildrenResponse{Children: list}.Append(c.out)
}
