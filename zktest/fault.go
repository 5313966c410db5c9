package zktest

import (
	"slices"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// OpConnect stands for a connection's first frame, the handshake, in a [Rule]
// and in the frame log.
const OpConnect wire.Op = -10 // OpCode.createSession

// Action is what a fault does to a request's connection.
type Action int

// Actions. Before means that the request is not executed, After that it is,
// but without a reply. What was queued for the client before is still sent, and
// so are events that the execution brings it.
const (
	Pass        Action = iota
	CutBefore          // close the connection
	CutAfter           // execute, close the connection
	StallBefore        // leave the connection open, but execute and send nothing on it any more
	StallAfter         // execute, then send nothing on it any more; later requests are executed
)

// Rule says which requests a fault strikes, and how. All conditions must hold.
type Rule struct {
	Member  *Member          // nil: any
	Session int64            // 0: any
	Op      wire.Op          // 0: any; OpConnect: the handshake
	Path    string           // empty: any. A multi has none
	Match   func(Frame) bool // nil: any. It must not call the ensemble
	Skip    int              // matching requests to spare before the first strike
	Count   int              // strikes; 0: one, negative: no end

	Delay time.Duration // wait before anything else; later requests of the connection wait too
	Err   int32         // answer with this error instead of executing
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
	if r.Count == 0 {
		r.Count = 1
	}
	f := &Fault{ens: e, rule: r, struck: make(chan struct{})}
	e.faults = append(e.faults, f)
	return f
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

// strike returns the rule that strikes a request, or nil.
func (e *Ensemble) strike(c *conn, frame Frame) *Rule {
	for _, f := range e.faults {
		r := &f.rule
		if r.Member != nil && r.Member != c.member || r.Session != 0 && r.Session != frame.Session ||
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

// Limit lets a number of bytes pass in one direction. The zero Limit is none.
type Limit struct {
	on    bool
	left  int64
	stall bool
}

// CutAt closes the connection when n bytes have passed; when that happens
// while writing, the bytes that follow in the same write are lost.
func CutAt(n int64) Limit { return Limit{on: true, left: n} }

// StallAt lets nothing more pass after n bytes, while the connection stays open.
func StallAt(n int64) Limit { return Limit{on: true, left: n, stall: true} }

// allows returns how many of n bytes may pass.
func (l *Limit) allows(n int) int {
	if l.on && int64(n) > l.left {
		return int(l.left)
	}
	return n
}

// take counts n bytes that want to pass, and returns how many may.
func (l *Limit) take(n int) int {
	n = l.allows(n)
	if l.on {
		l.left -= int64(n)
	}
	return n
}

func (l *Limit) reached() bool { return l.on && l.left == 0 }

// LinkRule is a fault of a connection as a whole, whatever is sent on it.
type LinkRule struct {
	Member   *Member // nil: any
	Skip     int     // connections to spare before the first strike
	Count    int     // strikes; 0: one, negative: no end
	ToClient Limit
	// FromClient is what the server sees of the client's bytes. It executes the
	// frames that are complete within them and replies before the cut.
	FromClient Limit
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
	if r.Count == 0 {
		r.Count = 1
	}
	e.links = append(e.links, &linkFault{rule: r})
}

// linkFaults gives a new connection the limits that are meant for it.
func (c *conn) linkFaults() {
	for _, f := range c.ens.links {
		r := &f.rule
		if r.Member != nil && r.Member != c.member || r.Count >= 0 && f.hits >= r.Count {
			continue
		}
		if f.seen++; f.seen <= r.Skip {
			continue
		}
		f.hits++
		c.toClient, c.in.limit = r.ToClient, r.FromClient
		return
	}
}

// Heal removes all faults of requests and of connections to come.
func (e *Ensemble) Heal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults, e.links = nil, nil
}
