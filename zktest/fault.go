package zktest

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// OpConnect stands for a connection's first frame, the handshake, in a [Rule]
// and in the frame log.
const OpConnect wire.Op = -10 // OpCode.createSession

// Action is the effect of a fault on a frame or its connection.
type Action int

// Actions. For a request, Before means that it is not executed, and After that
// it is executed, without a reply or with the rule's Err as its reply; frames
// that were queued for the client before, and events that the execution causes,
// are still sent. For a frame to the client, Before means that it is not sent,
// and After that it is sent. [Ensemble.Stall] says what ends a stalled
// connection.
const (
	Pass        Action = iota
	CutBefore          // close the connection
	CutAfter           // execute or send, close the connection
	StallBefore        // leave the connection open, but send nothing on it any more; of requests, execute none either
	StallAfter         // execute or send, then send nothing on it any more; later requests are executed
	Drop               // lose the frame, and go on as if it had never been
	Duplicate          // execute the request twice, with two replies, or send the frame twice
	HoldBack           // execute or send it after the next one, or never if none comes
)

// Rule selects the frames that a fault strikes, and what it does. All conditions
// must hold. A rule whose fields contradict each other is misuse.
type Rule struct {
	// Dir chooses requests, before they are executed (FromClient, the default), or
	// replies and events (ToClient).
	Dir Direction
	// Member is the server; nil: any.
	Member *Member
	// Session is the session's id; 0: any. A handshake has the id that was asked
	// for, and its answer the id that was given.
	Session int64
	// Op is the operation of a request, or of the request that a reply answers; 0:
	// any. OpConnect is the handshake. For events use Match.
	Op wire.Op
	// Path is that of a request, or of the request that a reply answers; empty: any.
	// A multi matches by the path of one of its operations.
	Path string
	// Match must return true for the frame; nil: any. It must not call the ensemble.
	Match func(Frame) bool
	// Skip is the number of matching frames that pass before the first
	// strike.
	Skip int
	// Count is how often the fault strikes; 0: once, negative: without end.
	Count int

	// Delay is the time to wait before anything else. Later frames of the same
	// direction wait too. If the server or a fault ends the connection meanwhile, the
	// frames to the client still come before that end.
	Delay time.Duration
	// Err is an error code to answer with. Do decides whether the request is
	// executed; either way Err takes the place of the reply. So it cannot be
	// combined with CutBefore, StallBefore and Drop. Handshakes and events have no
	// error code, and do not match.
	Err int32
	// Do is the action, which comes last. Duplicate and HoldBack do not match the request
	// of a handshake.
	Do Action
}

// Fault is an active Rule.
type Fault struct {
	ens    *Ensemble
	rule   Rule
	seen   int
	hits   int
	struck chan struct{}
}

// Fault adds a rule. If several match a request, the first one acts.
func (e *Ensemble) Fault(r Rule) *Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usable("Fault")
	e.knows("Fault", r.Member)
	if wrong := r.wrong(); wrong != "" {
		e.reject("Fault: %s", wrong)
	}
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
		e.reject("%s: the rule's member is of another ensemble", method)
	}
}

// wrong says what of a rule could never be done.
func (r *Rule) wrong() string {
	request := r.Dir == FromClient
	switch {
	case !request && r.Dir != ToClient:
		return fmt.Sprintf("Dir is %d, which is neither FromClient nor ToClient", r.Dir)
	case r.Do < Pass || r.Do > HoldBack:
		return fmt.Sprintf("Do is %d, which is no Action", r.Do)
	case r.Skip < 0:
		return fmt.Sprintf("Skip is %d", r.Skip)
	case r.Delay < 0:
		return fmt.Sprintf("Delay is %v", r.Delay)
	case r.Err != 0 && r.Op == OpConnect:
		return "Err: a handshake has no error code"
	case r.Err != 0 && (r.Do == CutBefore || r.Do == StallBefore || r.Do == Drop):
		return "Err: with this Do there is no reply to put it in"
	case request && r.Op == OpConnect && (r.Do == Duplicate || r.Do == HoldBack):
		return "Do: a handshake can be executed only once, and only as the first request"
	}
	return ""
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

// strike returns the rule that strikes a frame, or nil. r is the request that
// the frame is or answers, if it is one.
func (e *Ensemble) strike(c *conn, frame Frame, r *data.Request) *Rule {
	for _, f := range e.faults {
		rule := &f.rule
		if rule.Dir != frame.Dir || rule.Member != nil && rule.Member != c.member || rule.Session != 0 && rule.Session != frame.Session ||
			rule.Op != 0 && rule.Op != frame.Op || rule.Path != "" && rule.Path != frame.Path && !(r != nil && r.Has(rule.Path)) ||
			rule.spares(frame) || rule.Count >= 0 && f.hits >= rule.Count || rule.Match != nil && !rule.Match(frame) {
			continue
		}
		if f.seen++; f.seen <= rule.Skip {
			continue
		}
		if f.hits++; f.hits == 1 {
			close(f.struck)
		}
		return rule
	}
	return nil
}

// spares says whether a rule can do nothing to a frame, so that it is none of its matches.
func (r *Rule) spares(f Frame) bool {
	handshake := f.Op == OpConnect
	return r.Err != 0 && (handshake || f.Op == wire.OpNotification) ||
		handshake && r.Dir == FromClient && (r.Do == Duplicate || r.Do == HoldBack)
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

// suffer does what a fault says to a request, after its delay.
func (c *conn) suffer(rule *Rule, r *data.Request, frame []byte) {
	if c.before(rule.Do) {
		return
	}
	execute := c.perform
	if rule.Err != 0 {
		execute = func(r *data.Request) { c.answer(r, c.member.tree.Zxid, rule.Err) }
	}
	switch rule.Do {
	case Drop:
		return
	case HoldBack:
		if c.heldBack == nil {
			c.heldBack = &heldBack{bytes.Clone(frame), execute}
			return
		}
	case Duplicate:
		execute(r)
	}
	c.withhold = rule.Err == 0 && (rule.Do == CutAfter || rule.Do == StallAfter)
	execute(r)
	c.withhold = false
	c.after(rule.Do)
}

// heldBack is a request that a fault executes after the next one.
type heldBack struct {
	frame   []byte
	execute func(*data.Request)
}

// performHeldBack executes a request after the one that came behind it.
func (c *conn) performHeldBack() {
	held := c.heldBack
	c.heldBack = nil
	if c.dead || c.closing || c.deaf {
		return
	}
	d := wire.NewRequestDecoder(held.frame)
	var h wire.RequestHeader
	h.Decode(&d)
	r := data.Request{Xid: h.Xid, Op: h.Op}
	r.Decode(&d, c.ens.prep.Version)
	held.execute(&r)
}

// stall lets nothing more be queued. The connection stays open.
func (c *conn) stall() {
	c.stalled = true
	_ = c.nc.SetReadDeadline(time.Time{}) // that of the handshake, which may still be to come
}

// delayed is a piece of what goes to the client, late.
type delayed struct {
	due    time.Time
	frames []byte
}

// delay makes what is queued from now on late by d. It does not overtake what is late already.
func (c *conn) delay(d time.Duration) {
	if len(c.later) == 0 {
		c.alarm = time.AfterFunc(d, c.queueLater)
	}
	c.later = append(c.later, delayed{due: time.Now().Add(d)})
}

// queueLater queues what has been late for long enough.
func (c *conn) queueLater() {
	c.ens.mu.Lock()
	defer c.ens.mu.Unlock()
	now := time.Now()
	for len(c.later) > 0 {
		if wait := c.later[0].due.Sub(now); wait > 0 {
			c.alarm.Reset(wait)
			break
		}
		c.out = append(c.out, c.later[0].frames...)
		c.later = c.later[1:]
	}
	c.kick()
}

// forgetLater loses what is late.
func (c *conn) forgetLater() {
	if len(c.later) > 0 {
		c.alarm.Stop()
		c.later = nil
	}
}

// mangle does what a fault says to the frame that out has from at on. It
// returns how often the frame is sent now.
func (c *conn) mangle(at int, f *Frame, r *data.Request) int {
	rule := c.ens.strike(c, *f, r)
	if rule == nil {
		return 1
	}
	if rule.Err != 0 {
		h := wire.ReplyHeader{Xid: f.Xid, Zxid: f.Zxid, Err: rule.Err}
		c.out = h.Append(wire.BeginFrame(c.out[:at]))
		wire.EndFrame(c.out, at)
		f.Err = rule.Err
	}
	if rule.Delay > 0 {
		c.delay(rule.Delay)
	}
	times := 1
	switch rule.Do {
	case CutBefore, Drop:
		times = 0
	case StallBefore:
		c.out = c.out[:at]
		c.stall()
		return 0
	case StallAfter:
		c.stall()
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
		c.severed = true
		c.end("cut by a fault")
	}
	return times
}

// Heal removes all faults of requests and of future connections.
func (e *Ensemble) Heal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults, e.links = nil, nil
}
