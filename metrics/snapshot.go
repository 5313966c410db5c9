package metrics

import (
	"expvar"
	"maps"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// Snapshot has the counters of a Set, and the present state of its Sessions.
type Snapshot struct {
	// Sessions is the number of living Sessions.
	Sessions int
	// Dials counts attempts at one address, failed ones included. A failed
	// Config.Resolve counts as one.
	Dials int64
	// DialsFailed counts them by reason: dns, tcp, tls, handshake, expired, auth, readonly, other.
	DialsFailed map[string]int64
	// Moves counts moves of sessions to another connection, and Renews moves of watches
	// to another session. Expired counts reports of servers that a session had expired.
	Moves, Renews, Expired int64
	// MoveTimes are the durations from the end of a Session until its successor had
	// the watches.
	MoveTimes Histogram
	// ConnectionsLost counts them by reason: eof, silent, protocol, closed_by_peer, other.
	ConnectionsLost map[string]int64
	// FramesSent does not count the handshake, and BytesSent does.
	FramesSent, FramesReceived int64
	BytesSent, BytesReceived   int64
	// Calls has the durations of calls, and their count, by operation.
	Calls       map[string]Histogram
	CallsFailed map[Failure]int64
	// CallsPending is the number of requests that wait for replies. CallsAbandoned counts
	// calls that were sent and then given up, because their context ended.
	CallsPending   int
	CallsAbandoned int64
	// OldestCall is how long the oldest of these requests has waited.
	OldestCall time.Duration
	// Watches counts them by kind: data, exists, child, persistent, recursive.
	Watches map[string]int
	// Events counts them by type: created, deleted, changed, child, gap. A notification
	// counts once, however many channels get it. A Gap counts for each watch.
	Events map[string]int64
	// EventsIgnored counts notifications for which no channel was armed.
	EventsIgnored int64
	// EventsQueued is the number of events that wait for their channels. The first of them
	// has waited for OldestQueuedEvent.
	EventsQueued      int
	OldestQueuedEvent time.Duration
	// Gaps counts the gaps among Events.
	Gaps int64
	// ClosedChannels counts watches that were lost because their channels were closed.
	ClosedChannels int64
	Pings          int64
	PingTimes      Histogram
	// Lease is the time until the first of the Sessions may expire, if its server sends
	// nothing more. Without Sessions it is zero.
	Lease time.Duration
	// Zxid is the newest transaction that a reply has reported.
	Zxid int64
}

// kinds are those of watches.
var kinds = []zk.WatchKind{zk.DataWatch, zk.ExistsWatch, zk.ChildWatch, zk.PersistentWatch, zk.RecursiveWatch}

// Snapshot returns one consistent reading. Each Session counts once, whether it
// lives or has just ended.
func (s *Set) Snapshot() Snapshot {
	now := time.Now()
	x := Snapshot{Calls: make(map[string]Histogram), Watches: make(map[string]int)}
	for _, k := range kinds {
		x.Watches[k.String()] = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.past
	x.Zxid = s.zxid
	first := true
	for z := range s.sessions {
		n := z.Stats()
		sum.add(n)
		x.Sessions++
		x.CallsPending += n.Pending
		x.EventsQueued += n.Queued
		x.OldestQueuedEvent = max(x.OldestQueuedEvent, n.QueuedFor)
		x.Zxid = max(x.Zxid, z.Zxid())
		for _, k := range kinds {
			x.Watches[k.String()] += z.Watches().Count(k)
		}
		if p := z.Pending(); len(p) > 0 {
			x.OldestCall = max(x.OldestCall, now.Sub(p[0].Since))
		}
		if lease := z.ExpiresAt().Sub(now); first || lease < x.Lease {
			x.Lease, first = lease, false
		}
	}
	x.Dials, x.DialsFailed = s.dials, maps.Clone(s.failed)
	x.Moves, x.Renews, x.Expired = s.moved, s.renewed, s.expired
	x.MoveTimes, x.PingTimes = s.moves.Read(), s.pings.Read()
	x.ConnectionsLost = maps.Clone(s.lost)
	x.Events, x.Gaps = maps.Clone(s.events), s.events[zk.Gap.String()]
	x.EventsIgnored, x.ClosedChannels, x.Pings = sum.ignored, sum.closed, sum.pings
	x.FramesSent, x.FramesReceived = sum.requests+sum.pings, sum.replies+sum.events+sum.ignored+x.PingTimes.Count
	x.BytesSent, x.BytesReceived = sum.sent, sum.received
	if m := s.calls.byOp.Load(); m != nil {
		for op, d := range *m {
			x.Calls[op] = d.Read()
		}
	}
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	x.CallsFailed, x.CallsAbandoned = maps.Clone(s.calls.failures), s.calls.abandoned
	return x
}

// vars are the entries of Map.
var vars = map[string]func(x *Snapshot) any{
	"sessions":                    func(x *Snapshot) any { return x.Sessions },
	"dials":                       func(x *Snapshot) any { return x.Dials },
	"dials_failed":                func(x *Snapshot) any { return x.DialsFailed },
	"moves":                       func(x *Snapshot) any { return x.Moves },
	"renews":                      func(x *Snapshot) any { return x.Renews },
	"expired":                     func(x *Snapshot) any { return x.Expired },
	"move_seconds":                func(x *Snapshot) any { return x.MoveTimes },
	"connections_lost":            func(x *Snapshot) any { return x.ConnectionsLost },
	"frames_sent":                 func(x *Snapshot) any { return x.FramesSent },
	"frames_received":             func(x *Snapshot) any { return x.FramesReceived },
	"bytes_sent":                  func(x *Snapshot) any { return x.BytesSent },
	"bytes_received":              func(x *Snapshot) any { return x.BytesReceived },
	"calls":                       func(x *Snapshot) any { return x.counts() },
	"calls_failed":                func(x *Snapshot) any { return x.failures() },
	"calls_pending":               func(x *Snapshot) any { return x.CallsPending },
	"calls_abandoned":             func(x *Snapshot) any { return x.CallsAbandoned },
	"call_seconds":                func(x *Snapshot) any { return x.Calls },
	"oldest_call_seconds":         func(x *Snapshot) any { return x.OldestCall.Seconds() },
	"watches":                     func(x *Snapshot) any { return x.Watches },
	"events":                      func(x *Snapshot) any { return x.Events },
	"events_ignored":              func(x *Snapshot) any { return x.EventsIgnored },
	"events_queued":               func(x *Snapshot) any { return x.EventsQueued },
	"oldest_queued_event_seconds": func(x *Snapshot) any { return x.OldestQueuedEvent.Seconds() },
	"gaps":                        func(x *Snapshot) any { return x.Gaps },
	"closed_channels":             func(x *Snapshot) any { return x.ClosedChannels },
	"pings":                       func(x *Snapshot) any { return x.Pings },
	"ping_seconds":                func(x *Snapshot) any { return x.PingTimes },
	"lease_seconds":               func(x *Snapshot) any { return x.Lease.Seconds() },
	"zxid":                        func(x *Snapshot) any { return x.Zxid },
}

func (x *Snapshot) counts() map[string]int64 {
	m := make(map[string]int64)
	for op, h := range x.Calls {
		m[op] = h.Count
	}
	return m
}

func (x *Snapshot) failures() map[string]int64 {
	m := make(map[string]int64)
	for f, n := range x.CallsFailed {
		m[f.Op+" "+f.Outcome+" "+f.Code] = n
	}
	return m
}

// Map returns the counters as variables of expvar, which always show the present
// values. The caller may add, change and remove entries.
func (s *Set) Map() *expvar.Map {
	s.once.Do(func() {
		for name, get := range vars {
			s.vars.Set(name, expvar.Func(func() any {
				x := s.Snapshot()
				return get(&x)
			}))
		}
	})
	return &s.vars
}
