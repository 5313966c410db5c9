package zktest

import (
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// OpConnect stands for a connection's first frame, the handshake, in a [Rule]
// and in the frame log.
const OpConnect wire.Op = -10 // OpCode.createSession

// Action is what a fault does to a frame or its connection.
type Action int

// Actions. For a request, Before means that it is not executed, After that it
// is, but without a reply. What was queued for the client before is still sent,
// and so are events that the execution brings it. For a frame to the client,
// Before means that it is not sent, After that it is.
const (
	Pass        Action = iota
	CutBefore          // close the connection
	CutAfter           // execute or send, close the connection
	StallBefore        // leave the connection open, but send nothing on it any more; of requests, execute none either
	StallAfter         // execute or send, then send nothing on it any more; later requests are executed
	Drop               // lose the frame, and go on as if it had never been
	Duplicate          // execute the request twice, with two replies, or send the frame twice
	HoldBack           // execute or send it after the next one
)

// Rule says which frames a fault strikes, and how. All conditions must hold.
type Rule struct {
	Dir     Direction        // FromClient: requests, before they are executed; ToClient: replies and events
	Member  *Member          // nil: any
	Session int64            // 0: any
	Op      wire.Op          // 0: any; OpConnect: the handshake. Of a reply: that of its request. Events are told by Match
	Path    string           // empty: any. A multi has none
	Match   func(Frame) bool // nil: any. It must not call the ensemble
	Skip    int              // matching frames to spare before the first strike
	Count   int              // strikes; 0: one, negative: no end

	Delay time.Duration // wait before anything else; later frames of the same direction wait too
	Err   int32         // answer with this error instead of executing; of a reply: send it instead of what was done
	Do    Action
}

// Fault is a rule at work.
type Fault struct {
	ens    *Ensemble
	rule   Rule
	seen   int
	hits   int
	struck chan struct{}
}

// Fault puts a rule to work. Of several that match a request the first strikes.
func (e *Ensemble) Fault(r Rule) *Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("Fault")
	e.knows("Fault", r.Member)
	if r.Count == 0 {
		r.Count = 1
	}
	f := &Fault{ens: e, rule: r, struck: make(chan struct{})}
	e.faults = append(e.faults, f)
	return f
}

// knows reports a rule for a member of another ensemble. e.mu is held.
func (e *Ensemble) knows(method string, m *Member) {
	if m != nil && m.ens != e {
		e.mu.Unlock()
		defer e.mu.Lock()
		e.misuse("%s: the rule's member is of another ensemble", method)
	}
}

// Hits returns how often the fault has struck.
func (f *Fault) Hits() int {
	f.ens.mu.Lock()
	defer f.ens.mu.Unlock()
	return f.hits
}

// Struck returns a channel that is closed at the first strike.
func (f *Fault) Struck() <-chan struct{} { return f.struck }

// Remove ends the fault.
func (f *Fault) Remove() {
	f.ens.mu.Lock()
	defer f.ens.mu.Unlock()
	f.ens.faults = slices.DeleteFunc(f.ens.faults, func(x *Fault) bool { return x == f })
}

// strike returns the rule that strikes a frame, or nil.
func (e *Ensemble) strike(c *conn, frame Frame) *Rule {
	for _, f := range e.faults {
		r := &f.rule
		if r.Dir != frame.Dir || r.Member != nil && r.Member != c.member || r.Session != 0 && r.Session != frame.Session ||
			r.Op != 0 && r.Op != frame.Op || r.Path != "" && r.Path != frame.Path ||
			r.Count >= 0 && f.hits >= r.Count || r.Match != nil && !r.Match(frame) {
			continue
		}
		if f.seen++; f.seen <= r.Skip {
			continue
		}
		if f.hits++; f.hits == 1 {
			close(f.struck)
		}
		return r
	}
	return nil
}

// mangle does what a fault says to the frame that out has from at on. It
// returns how often the frame is sent now.
func (c *conn) mangle(at int, f *Frame) int {
	rule := c.ens.strike(c, *f)
	if rule == nil {
		return 1
	}
	if rule.Err != 0 && f.Op != OpConnect && f.Op != wire.OpNotification {
		h := wire.ReplyHeader{Xid: f.Xid, Zxid: f.Zxid, Err: rule.Err}
		c.out = h.Append(wire.BeginFrame(c.out[:at]))
		wire.EndFrame(c.out, at)
		f.Err = rule.Err
	}
	if rule.Delay > 0 && c.later == nil {
		c.later = []byte{}
		time.AfterFunc(rule.Delay, func() {
			c.ens.mu.Lock()
			defer c.ens.mu.Unlock()
			if !c.dead {
				c.out = append(c.out, c.later...)
				c.kick()
			}
			c.later = nil
		})
	}
	times := 1
	switch rule.Do {
	case CutBefore, Drop:
		times = 0
	case StallBefore:
		c.out, c.stalled = c.out[:at], true
		return 0
	case StallAfter:
		c.stalled = true
	case Duplicate:
		times = 2
		c.out = append(c.out, c.out[at:]...)
	case HoldBack:
		if c.held == nil {
			c.held = slices.Clone(c.out[at:])
			c.out = c.out[:at]
			return 0
		}
	}
	if times == 0 {
		c.out = c.out[:at]
	}
	if rule.Do == CutBefore || rule.Do == CutAfter {
		c.end("cut by a fault")
	}
	return times
}

// Limit lets so much pass in one direction, and then strikes. The zero Limit is none.
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

// CutAt closes the connection when n bytes have passed; when that happens
// while writing, the bytes that follow in the same write are lost.
func CutAt(n int64) Limit { return Limit{on: true, left: n} }

// StallAt lets nothing more pass after n bytes, while the connection stays open.
func StallAt(n int64) Limit { return Limit{on: true, left: n, stall: true} }

// ResetAt is CutAt with a reset connection: the other end reads what has
// reached it and then fails with ECONNRESET, not io.EOF.
func ResetAt(n int64) Limit { return Limit{on: true, left: n, reset: true} }

// Frames returns a Limit that counts whole frames instead of bytes, handshake
// included. CutAt(2).Frames() closes the connection behind the second frame,
// when all of it has passed.
func (l Limit) Frames() Limit {
	l.frames = true
	return l
}

// OnNext returns a Limit that strikes only when more wants to pass:
// CutAt(2).Frames().OnNext() closes the connection ahead of the third frame,
// when that comes. It makes no difference to StallAt.
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
		nc.out.end(net.ErrClosed, syscall.ECONNRESET)
	}
	nc.Close()
}

// LinkRule is a fault of a connection as a whole, whatever is sent on it.
type LinkRule struct {
	Member   *Member // nil: any
	Skip     int     // connections to spare before the first strike
	Count    int     // strikes; 0: one, negative: no end
	ToClient Limit
	// FromClient is what the server sees of the client's bytes. It executes the
	// frames that are complete within them and replies before the cut.
	FromClient Limit

	SlowToClient, SlowFromClient Trickle
}

// Trickle lets bytes pass a few at a time. The zero Trickle lets all pass at once.
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

// Link puts a rule for connections that are yet to come to work.
func (e *Ensemble) Link(r LinkRule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("Link")
	e.knows("Link", r.Member)
	e.links = append(e.links, newLink(r))
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

// Heal removes all faults of requests and of connections to come.
func (e *Ensemble) Heal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults, e.links = nil, nil
}
