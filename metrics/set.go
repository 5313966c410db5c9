// Package metrics counts what the Sessions of a zk.Config do, and measures their
// calls. Two lines add it to a program:
//
//	set := metrics.Attach(&conf) // before Dial
//	http.ListenAndServe("127.0.0.1:6060", nil) // /debug/vars has them as "zk"
//
// All Sessions that are dialed from the Config count, and so do their successors
// by Redial, Renew and Detach: their Config has the hooks. The counters of a
// living Session are read on demand. Only the duration of a call is measured at
// each call.
//
// It needs only the standard library. It imports expvar, which adds /debug/vars
// to the default mux of net/http. Packages metrics/prom and metrics/otel export
// the same numbers to Prometheus and OpenTelemetry. They are modules of their
// own.
package metrics

import (
	"context"
	"expvar"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/seed-9f8420c6/zk"
)

// Set is one set of counters. All methods are safe for concurrent use.
type Set struct {
	trace *zk.Trace
	calls callTable
	pings Durations
	moves Durations

	once sync.Once
	vars expvar.Map // see Map

	observers atomic.Pointer[[]*Observer] // replaced as a whole, under mu

	mu       sync.Mutex // guards what follows
	sessions map[*zk.Session]live
	history  History
	past     sums
	dials    int64
	failed   map[string]int64 // dials, by reason
	lost     map[string]int64 // connections, by reason
	events   map[string]int64 // by type
	moved    int64
	renewed  int64
	expired  int64
	zxid     int64
	watches  map[weak.Pointer[zk.Watches]]standing // of all Sessions, until nobody has them
}

// sums are counters of Sessions, added up.
type sums struct {
	requests, replies, events, ignored, closed, pings, sent, received int64
}

func (s *sums) add(n zk.Stats) {
	s.requests += n.Requests
	s.replies += n.Replies
	s.events += n.Events
	s.ignored += n.Ignored
	s.closed += n.Closed
	s.pings += n.Pings
	s.sent += n.BytesSent
	s.received += n.BytesReceived
}

// Default is the Set in which Attach counts.
var Default = New()

var publish sync.Once

// Attach makes conf, and all that is dialed from it, count in Default. The first call
// publishes it by expvar as "zk", unless the program has published something else under
// that name.
func Attach(conf *zk.Config) *Set {
	publish.Do(func() {
		if expvar.Get("zk") == nil {
			expvar.Publish("zk", Default.Map())
		}
	})
	return Default.Attach(conf)
}

// New returns an empty Set.
func New() *Set {
	s := &Set{
		sessions: make(map[*zk.Session]live), failed: zeros(dialReasons...), lost: zeros(lossReasons...),
		events: zeros(eventTypes()...), watches: make(map[weak.Pointer[zk.Watches]]standing),
	}
	s.trace = &zk.Trace{
		Resolved: s.resolved, DialStart: s.dialStart, TLSStart: s.tlsStart, DialDone: s.dialDone, Handshake: s.handshake,
		DialFailed: s.dialFailed, Begin: s.begin, End: s.end, CallStart: s.callStart, CallDone: s.callDone,
		Event: s.event, Pong: s.pong,
	}
	return s
}

// zeros are counters that are there from the start: Prometheus sees no increase of one
// that comes with its first count.
func zeros(names ...string) map[string]int64 {
	m := make(map[string]int64, len(names))
	for _, name := range names {
		m[name] = 0
	}
	return m
}

func eventTypes() (names []string) {
	for _, t := range []zk.EventType{zk.Created, zk.Deleted, zk.Changed, zk.Child, zk.Gap} {
		names = append(names, t.String())
	}
	return names
}

// Attach makes conf, and all that is dialed from it, count in s. It adds
// hooks to conf.Trace. A second call changes nothing.
func (s *Set) Attach(conf *zk.Config) *Set {
	conf.Trace = zk.JoinTraces(conf.Trace.Without(s.trace), s.trace)
	return s
}

// Detach makes conf, all that is dialed from it, and their successors count in
// the Set that it returns, and no longer in s. Living Sessions count in s as
// before. To move their successors, Detach the result of their method Config.
func (s *Set) Detach(conf *zk.Config) *Set {
	conf.Trace = conf.Trace.Without(s.trace)
	return New().Attach(conf)
}

// dialing is how far the Dial of an address has come.
type dialing struct {
	context.Context
	set   *Set
	stage stage // for the goroutine that dials
}

type stage int

const (
	starting stage = iota // no connection: SASL did not begin
	resolving
	connecting
	securing
	handshaking
	restoring
)

func (d *dialing) Value(key any) any {
	if key == (dialKey{d.set}) {
		return d
	}
	return d.Context.Value(key)
}

type dialKey struct{ set *Set }

func (s *Set) resolved(ctx context.Context, _ string, _ time.Duration, err error) context.Context {
	if err == nil {
		return ctx
	}
	return &dialing{Context: ctx, set: s, stage: resolving}
}

func (s *Set) dialStart(ctx context.Context, _ string) context.Context {
	return &dialing{Context: ctx, set: s, stage: connecting}
}

func (s *Set) tlsStart(ctx context.Context, _ string) { s.reach(ctx, securing, nil) }

func (s *Set) dialDone(ctx context.Context, _ string, err error) { s.reach(ctx, handshaking, err) }

func (s *Set) handshake(ctx context.Context, _ string, _ int64, _ time.Duration, err error) {
	s.reach(ctx, restoring, err)
}

func (s *Set) reach(ctx context.Context, next stage, err error) {
	if d, ok := ctx.Value(dialKey{s}).(*dialing); ok && err == nil {
		d.stage = next
	}
}

func (s *Set) dialFailed(ctx context.Context, addr string, err error) {
	at := starting
	if d, ok := ctx.Value(dialKey{s}).(*dialing); ok {
		at = d.stage
	}
	why := dialReason(at, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	s.failed[why]++
	note(&s.history.Dials, Note{Addr: addr, Why: why, Text: err.Error()})
	if why == "expired" {
		s.expired++
	}
}

func (s *Set) begin(_ context.Context, z *zk.Session, moved bool) {
	left := s.began(z, moved)
	if left.IsZero() {
		return
	}
	took := time.Since(left)
	s.moves.Add(took)
	s.observe(func(o *Observer) {
		if o.Move != nil {
			o.Move(took)
		}
	})
}

// began notes a Session, and returns when the one before it ended; zero: there was none.
func (s *Set) began(z *zk.Session, moved bool) time.Time {
	w := weak.Make(z.Watches())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	at, successor := s.watches[w]
	left := at.left
	if at.left = (time.Time{}); successor {
		at.moves++
	}
	s.watches[w] = at
	s.sessions[z] = live{time.Now(), at.moves}
	note(&s.history.Dials, Note{Addr: z.Addr(), Session: z.ID()})
	if !successor {
		runtime.AddCleanup(z.Watches(), s.forget, w)
	}
	switch {
	case moved:
		s.moved++
	case successor:
		s.renewed++
	}
	return left
}

func (s *Set) end(z *zk.Session, err error) {
	n, zxid, why, now := z.Stats(), z.Zxid(), lossReason(err), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sessions[z]; !ok {
		return
	}
	delete(s.sessions, z)
	s.past.add(n)
	s.zxid = max(s.zxid, zxid)
	if why != "" {
		s.lost[why]++
	}
	w := weak.Make(z.Watches())
	at := s.watches[w]
	at.left = now
	s.watches[w] = at
	note(&s.history.Ends, Note{Addr: z.Addr(), Session: z.ID(), Why: endReason(err), Text: err.Error()})
}

// forget drops Watches that nobody has any more.
func (s *Set) forget(w weak.Pointer[zk.Watches]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watches, w)
}

func (s *Set) event(z *zk.Session, ev zk.Event, _ bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events[ev.Type.String()]++
	if ev.Type == zk.Gap {
		note(&s.history.Gaps, Note{Addr: z.Addr(), Session: z.ID(), Path: ev.Path})
	}
}

// calling is a call under way. It is its context.
type calling struct {
	context.Context
	set   *Set
	since time.Time
}

func (c *calling) Value(key any) any {
	if key == (callKey{c.set}) {
		return c
	}
	return c.Context.Value(key)
}

type callKey struct{ set *Set }

func (s *Set) callStart(ctx context.Context, _ *zk.Session, _ zk.Call) context.Context {
	return &calling{Context: ctx, set: s, since: time.Now()}
}

func (s *Set) callDone(ctx context.Context, _ *zk.Session, c zk.Call, err error) {
	if call, ok := ctx.Value(callKey{s}).(*calling); ok {
		took := time.Since(call.since)
		s.calls.done(c.Op, took, err)
		s.observe(func(o *Observer) {
			if o.Call != nil {
				o.Call(ctx, c, took, err)
			}
		})
	}
}

// Observer gets each duration that a Set measures. Its functions run where the
// hooks of zk.Trace run. Each may be nil.
type Observer struct {
	// Call: a call returns this error.
	Call func(ctx context.Context, c zk.Call, took time.Duration, err error)
	// Move: a Session has the watches of an earlier one, which ended took ago.
	Move func(took time.Duration)
	// Ping: a ping was answered.
	Ping func(took time.Duration)
}

// Observe adds an Observer; stop removes it. It is for packages that export a
// Set with histograms of their own.
func (s *Set) Observe(o Observer) (stop func()) {
	mine := &o
	change := func(f func(list []*Observer) []*Observer) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var list []*Observer
		if old := s.observers.Load(); old != nil {
			list = slices.Clone(*old)
		}
		list = f(list)
		s.observers.Store(&list)
	}
	change(func(list []*Observer) []*Observer { return append(list, mine) })
	return func() {
		change(func(list []*Observer) []*Observer {
			return slices.DeleteFunc(list, func(o *Observer) bool { return o == mine })
		})
	}
}

func (s *Set) observe(f func(*Observer)) {
	if list := s.observers.Load(); list != nil {
		for _, o := range *list {
			f(o)
		}
	}
}

func (s *Set) pong(_ *zk.Session, took time.Duration) {
	s.pings.Add(took)
	s.observe(func(o *Observer) {
		if o.Ping != nil {
			o.Ping(took)
		}
	})
}

// callTable counts calls by operation.
type callTable struct {
	byOp atomic.Pointer[map[string]*Durations] // replaced as a whole when an operation is new

	mu        sync.Mutex // guards what follows, and the replacement
	failures  map[Failure]int64
	abandoned int64
}

func (t *callTable) done(op string, took time.Duration, err error) {
	t.durations(op).Add(took)
	if err == nil {
		return
	}
	f := FailureOf(op, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failures == nil {
		t.failures = make(map[Failure]int64)
	}
	t.failures[f]++
	if f.Outcome == zk.Lost.String() && isContext(err) {
		t.abandoned++
	}
}

func (t *callTable) durations(op string) *Durations {
	if m := t.byOp.Load(); m != nil {
		if d := (*m)[op]; d != nil {
			return d
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := make(map[string]*Durations)
	if m := t.byOp.Load(); m != nil {
		for k, d := range *m {
			next[k] = d
		}
	}
	if next[op] == nil {
		next[op] = new(Durations)
	}
	t.byOp.Store(&next)
	return next[op]
}
