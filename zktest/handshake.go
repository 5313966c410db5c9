package zktest

import (
	"fmt"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
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
	case q.LastZxidSeen > m.tree.Zxid:
		c.drop(fmt.Sprintf("client has seen zxid %#x, this server is at %#x", q.LastZxidSeen, m.tree.Zxid))
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
		c.answer(&data.Request{Op: OpConnect}, m.tree.Zxid, wire.ErrNotReadOnly)
		return
	}
	s := m.newSession(c.timeout)
	if !s.local {
		x := e.newTxn()
		s.made, x.Opens = x.Zxid, s.id
		e.commit(x)
		if !c.await(x.Zxid) {
			return
		}
		c.answered(0, OpConnect, x.Zxid, 0)
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
