package zktest

import (
	"crypto/rand"
	"crypto/subtle"
	"time"
)

// session is what the ensemble knows of a client, wherever it is connected.
type session struct {
	id       int64
	password [16]byte
	timeout  time.Duration // as last negotiated
	owner    *Member       // where it last connected: only there it may write
	local    bool          // made by a read-only member, which alone knows it
	heard    time.Time     // when the last frame came; timer looks at it, as to reset that on every frame would cost more
	timer    *time.Timer
	waiting  int   // connections whose request waits for their member to catch up
	made     int64 // zxid of the transaction that made it; 0: none yet, or local
}

// newSession makes a session whose id has the member's number in its first byte.
func (m *Member) newSession(timeout time.Duration) *session {
	if m.nextSession == 0 {
		m.nextSession = int64(uint64(m.index+1)<<56 | uint64(time.Now().UnixMilli())<<24>>8)
	}
	m.nextSession++
	s := &session{id: m.nextSession, timeout: timeout, owner: m, local: m.readOnly}
	rand.Read(s.password[:])
	m.keep(s)
	return s
}

// keep registers a session with those who know it.
func (m *Member) keep(s *session) {
	e := m.ens
	if s.local {
		m.locals[s.id] = s
	} else {
		e.sessions[s.id] = s
	}
	s.heard = time.Now()
	s.timer = time.AfterFunc(time.Until(e.expiry(s)), func() { e.checkExpiry(s) })
}

// find returns the session that a client may take over at this member: the one
// with this id, if the password is right. Up to 3.6 a read-only member also has
// its own copies of the sessions that the ensemble had when it was cut off, of
// which the ensemble hears nothing.
func (m *Member) find(id int64, password []byte) *session {
	s := m.ens.sessions[id]
	if m.readOnly {
		original := s
		s = m.locals[id]
		if s == nil && m.remembers(original) {
			s = &session{id: id, password: original.password, timeout: original.timeout, owner: m, local: true}
			m.keep(s)
		}
	}
	if s == nil || subtle.ConstantTimeCompare(s.password[:], password) == 0 {
		return nil
	}
	return s
}

// remembers says whether a session of the ensemble was made before the member was cut off.
func (m *Member) remembers(s *session) bool {
	return s != nil && s.made > 0 && s.made <= m.tree.Zxid
}

// renegotiate sets the timeout of a session that was taken over.
func (e *Ensemble) renegotiate(s *session, timeout time.Duration) {
	s.timeout, s.heard = timeout, time.Now()
	s.timer.Reset(time.Until(e.expiry(s)))
}

// expiry returns when a session ends unless more is heard from it: at the end of
// the tick in which its timeout is over (ExpiryQueue).
func (e *Ensemble) expiry(s *session) time.Time {
	tick := e.opts.TickTime
	return e.started.Add((s.heard.Add(s.timeout).Sub(e.started)/tick + 1) * tick)
}

func (e *Ensemble) checkExpiry(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.sessionOf(s) != s {
		return
	}
	e.now = time.Now()
	left := e.expiry(s).Sub(e.now)
	if s.waiting > 0 || e.leader < 0 && !s.local {
		// Its member keeps it waiting, so that its pings are not read; or there is nobody to expire it.
		left = s.timeout
	}
	if left > 0 {
		s.timer.Reset(left)
		return
	}
	e.endSession(s, nil)
}

// sessionOf returns what is registered under the session's id.
func (e *Ensemble) sessionOf(s *session) *session {
	if s.local {
		return s.owner.locals[s.id]
	}
	return e.sessions[s.id]
}

// endSession closes or expires a session: its ephemeral nodes go in one
// transaction, then its connections but origin, which still gets its reply.
func (e *Ensemble) endSession(s *session, origin *conn) {
	s.timer.Stop()
	if s.local {
		delete(s.owner.locals, s.id)
		if c := s.owner.bySession[s.id]; c != nil && c != origin {
			c.drop("session ended")
		}
		return
	}
	delete(e.sessions, s.id)
	x := e.newTxn()
	x.Closes = s.id
	if origin != nil {
		x.Origin = origin.number
	}
	e.commit(x)
}
