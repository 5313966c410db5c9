package zktest

import (
	"fmt"
	"net"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// Limit lets a number of bytes or frames pass in one direction, and then strikes.
// The zero Limit never strikes.
type Limit struct {
	on     bool
	left   int64 // bytes, or with frames those
	stall  bool
	reset  bool
	frames bool
	onNext bool

	refused bool    // more wanted to pass
	head    [4]byte // of the frame that passes
	heads   int     // bytes of head that are known
	body    int64   // bytes of the frame's body to come
}

// CutAt closes the connection when n bytes have passed. If that happens within a
// write, the rest of that write is lost.
func CutAt(n int64) Limit { return Limit{on: true, left: n} }

// StallAt lets nothing more pass after n bytes. The connection stays open until
// it ends as one of Ensemble.Stall does.
func StallAt(n int64) Limit { return Limit{on: true, left: n, stall: true} }

// ResetAt is CutAt with a reset. The other end reads the bytes that have
// reached it, and then gets ECONNRESET, not io.EOF.
func ResetAt(n int64) Limit { return Limit{on: true, left: n, reset: true} }

// Frames returns a Limit that counts whole frames instead of bytes. The handshake
// is one of them. CutAt(2).Frames() closes the connection when all of the second
// frame has passed.
func (l Limit) Frames() Limit {
	l.frames = true
	return l
}

// OnNext returns a Limit that strikes only when another byte or frame comes.
// CutAt(2).Frames().OnNext() closes the connection when the third frame comes,
// before it passes. For StallAt it makes no difference.
func (l Limit) OnNext() Limit {
	l.onNext = true
	return l
}

// take looks at bytes that want to pass and returns how many of them may.
func (l *Limit) take(p []byte) int {
	switch {
	case !l.on:
		return len(p)
	case l.frames:
		n := l.takeFrames(p)
		l.refused = l.refused || n < len(p)
		return n
	}
	n := int(min(int64(len(p)), l.left))
	l.left -= int64(n)
	l.refused = l.refused || n < len(p)
	return n
}

// takeFrames is take for a Limit of frames. A length that is none makes a frame without end.
func (l *Limit) takeFrames(p []byte) int {
	n := 0
	for n < len(p) && l.left > 0 {
		if l.heads < len(l.head) {
			k := copy(l.head[l.heads:], p[n:])
			n, l.heads = n+k, l.heads+k
			if l.heads < len(l.head) {
				break
			}
			l.body = int64(uint32(wire.FrameLen(l.head[:])))
		}
		k := min(int64(len(p)-n), l.body)
		n, l.body = n+int(k), l.body-k
		if l.body == 0 {
			l.heads = 0
			l.left--
		}
	}
	return n
}

// reached says whether it is time to strike.
func (l *Limit) reached() bool { return l.on && l.left == 0 && (l.refused || !l.onNext) }

// abort closes a connection so that the other end sees a reset.
func abort(nc net.Conn) {
	switch nc := nc.(type) {
	case *net.TCPConn:
		_ = nc.SetLinger(0)
	case *PipeConn:
		nc.out.end(net.ErrClosed, errReset)
	}
	nc.Close()
}

// LinkRule is a fault of a whole connection, whatever is sent on it.
type LinkRule struct {
	Member *Member // nil: any
	Skip   int     // how many connections are spared before the first strike
	Count  int     // how often it strikes; 0: once, negative: without end

	// ToClient limits the bytes or frames to the client.
	ToClient Limit
	// FromClient limits the bytes or frames to the server, which executes all
	// complete frames within the limit, and replies before the cut.
	FromClient Limit

	SlowToClient, SlowFromClient Trickle
}

// Trickle lets a few bytes pass at a time. The zero Trickle lets all pass at
// once.
type Trickle struct {
	Bytes int           // that pass at a time; zero: all
	Every time.Duration // pause after each
}

// part returns how many of n bytes pass at a time.
func (t Trickle) part(n int) int {
	if t.Bytes > 0 {
		return min(n, t.Bytes)
	}
	return n
}

// pause waits after bytes have passed, or until done is closed.
func (t Trickle) pause(done <-chan struct{}) {
	if t.Bytes <= 0 || t.Every <= 0 {
		return
	}
	timer := time.NewTimer(t.Every)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}

type linkFault struct {
	rule       LinkRule
	seen, hits int
}

// Link adds a rule for future connections.
func (e *Ensemble) Link(r LinkRule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("Link")
	e.knows("Link", r.Member)
	if wrong := r.wrong(); wrong != "" {
		e.reject("Link: %s", wrong)
	}
	e.links = append(e.links, newLink(r))
}

// wrong says what of a rule could never be done.
func (r *LinkRule) wrong() string {
	switch {
	case r.Skip < 0:
		return fmt.Sprintf("Skip is %d", r.Skip)
	case r.ToClient.left < 0 || r.FromClient.left < 0:
		return "a limit is below zero"
	}
	return ""
}

func newLink(r LinkRule) *linkFault {
	if r.Count == 0 {
		r.Count = 1
	}
	return &linkFault{rule: r}
}

// linkFaults gives a new connection the limits that are meant for it.
func (c *conn) linkFaults() {
	if r := nextLink(c.ens.links, c.member); r != nil {
		c.toClient, c.in.limit = r.ToClient, r.FromClient
		c.slow, c.in.slow = r.SlowToClient, r.SlowFromClient
	}
}

// nextLink returns the rule that strikes a new connection, or nil.
func nextLink(links []*linkFault, m *Member) *LinkRule {
	for _, f := range links {
		r := &f.rule
		if r.Member != nil && r.Member != m || r.Count >= 0 && f.hits >= r.Count {
			continue
		}
		if f.seen++; f.seen <= r.Skip {
			continue
		}
		f.hits++
		return r
	}
	return nil
}
