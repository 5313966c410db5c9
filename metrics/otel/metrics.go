package otel

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/metrics"
)

// ErrRegistered says that Metrics was called before with the same Set and the same
// MeterProvider: everything would count twice.
var ErrRegistered = errors.New("otel: the Set has instruments of this MeterProvider already")

// registered has each pair of a Set and a MeterProvider that has instruments.
var registered sync.Map

type pair struct {
	set    *metrics.Set
	meters metric.MeterProvider
}

// Metrics makes instruments of a Set: db.client.operation.duration of the
// conventions, and zk.client.… for the rest. The Registration that it returns
// removes them again. No attribute has a path, a session or an address. A second
// call for the same Set and MeterProvider returns ErrRegistered.
func Metrics(set *metrics.Set, opts ...Option) (_ metric.Registration, fails error) {
	c := configOf(opts)
	release := func() {}
	if reflect.TypeOf(c.meters).Comparable() { // as those of the SDK are
		both := pair{set, c.meters}
		if _, twice := registered.LoadOrStore(both, nil); twice {
			return nil, ErrRegistered
		}
		release = func() { registered.Delete(both) }
	}
	defer func() {
		if fails != nil {
			release()
		}
	}()
	m := &instruments{meter: c.meters.Meter(scope)}
	calls := m.histogram(semconvDuration, "Duration of calls.")
	moves := m.histogram("zk.client.session.move.duration", "Time from the end of a Session until its successor had its watches back.")
	pings := m.histogram("zk.client.ping.duration", "Duration of pings.")
	r, err := m.register(set)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	stop := set.Observe(metrics.Observer{
		Call: func(ctx context.Context, c zk.Call, took time.Duration, err error) {
			attrs := []attribute.KeyValue{semconv.DBSystemNameKey.String(system), semconv.DBOperationNameKey.String(c.Op)}
			if err != nil {
				attrs = append(attrs, errorAttributes(err)...)
			}
			calls.Record(ctx, took.Seconds(), metric.WithAttributes(attrs...))
		},
		Move: func(took time.Duration) { moves.Record(ctx, took.Seconds()) },
		Ping: func(took time.Duration) { pings.Record(ctx, took.Seconds()) },
	})
	return &registration{Registration: r, stop: func() {
		stop()
		release()
	}}, nil
}

// semconvDuration is the name of the stable conventions.
const semconvDuration = "db.client.operation.duration"

type registration struct {
	metric.Registration
	stop func()
}

// Unregister takes the instruments away.
func (r *registration) Unregister() error {
	r.stop()
	return r.Registration.Unregister()
}

// instruments makes instruments, and keeps the first error.
type instruments struct {
	meter metric.Meter
	err   error
	all   []metric.Observable
	reads []func(o metric.Observer, x *metrics.Snapshot)
}

func (m *instruments) note(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *instruments) histogram(name, about string) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(about), metric.WithExplicitBucketBoundaries(metrics.Bounds[:]...))
	m.note(err)
	return h
}

// counter reads numbers by the value of an attribute; "": without one.
func (m *instruments) counter(name, unit, about string, key attribute.Key, read func(x *metrics.Snapshot) map[string]int64) {
	c, err := m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(about))
	m.note(err)
	m.all = append(m.all, c)
	m.reads = append(m.reads, func(o metric.Observer, x *metrics.Snapshot) {
		for label, n := range read(x) {
			o.ObserveInt64(c, n, labelled(key, label))
		}
	})
}

func labelled(key attribute.Key, label string) metric.ObserveOption {
	if label == "" {
		return metric.WithAttributes()
	}
	return metric.WithAttributes(key.String(label))
}

// updown reads numbers that go up and down.
func (m *instruments) updown(name, unit, about string, key attribute.Key, read func(x *metrics.Snapshot) map[string]int64) {
	c, err := m.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(about))
	m.note(err)
	m.all = append(m.all, c)
	m.reads = append(m.reads, func(o metric.Observer, x *metrics.Snapshot) {
		for label, n := range read(x) {
			o.ObserveInt64(c, n, labelled(key, label))
		}
	})
}

func (m *instruments) gauge(name, unit, about string, read func(x *metrics.Snapshot) (float64, bool)) {
	g, err := m.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about))
	m.note(err)
	m.all = append(m.all, g)
	m.reads = append(m.reads, func(o metric.Observer, x *metrics.Snapshot) {
		if v, ok := read(x); ok {
			o.ObserveFloat64(g, v)
		}
	})
}

func one(n int64) map[string]int64 { return map[string]int64{"": n} }

// register makes the instruments that are read when somebody looks.
func (m *instruments) register(set *metrics.Set) (metric.Registration, error) {
	type snap = *metrics.Snapshot
	m.updown("zk.client.sessions", "{session}", "Sessions that live.", "", func(x snap) map[string]int64 { return one(int64(x.Sessions)) })
	m.counter("zk.client.dials", "{dial}", "Attempts to get a session from one address.", semconv.ErrorTypeKey, func(x snap) map[string]int64 {
		byReason := map[string]int64{"": x.Dials}
		for reason, n := range x.DialsFailed {
			byReason[reason] = n
			byReason[""] -= n
		}
		return byReason
	})
	m.counter("zk.client.session.moves", "{move}", "Sessions that have moved to another connection.", "", func(x snap) map[string]int64 { return one(x.Moves) })
	m.counter("zk.client.session.renewals", "{session}", "New sessions that have taken over watches.", "", func(x snap) map[string]int64 { return one(x.Renews) })
	m.counter("zk.client.sessions.expired", "{session}", "Answers that a session has expired.", "", func(x snap) map[string]int64 { return one(x.Expired) })
	m.counter("zk.client.connections.lost", "{connection}", "Connections that were lost.", semconv.ErrorTypeKey, func(x snap) map[string]int64 { return x.ConnectionsLost })
	m.counter("zk.client.frames", "{frame}", "Frames sent and received.", "direction", func(x snap) map[string]int64 {
		return map[string]int64{"sent": x.FramesSent, "received": x.FramesReceived}
	})
	m.counter("zk.client.bytes", "By", "Bytes sent and received.", "direction", func(x snap) map[string]int64 {
		return map[string]int64{"sent": x.BytesSent, "received": x.BytesReceived}
	})
	m.updown("zk.client.calls.pending", "{call}", "Requests that wait for their replies.", "", func(x snap) map[string]int64 { return one(int64(x.CallsPending)) })
	m.counter("zk.client.calls.abandoned", "{call}", "Calls given up by their context.", "", func(x snap) map[string]int64 { return one(x.CallsAbandoned) })
	m.gauge("zk.client.oldest_call", "s", "How long the oldest request has waited.", func(x snap) (float64, bool) { return x.OldestCall.Seconds(), true })
	m.updown("zk.client.watches", "{watch}", "Armed watches.", "kind", func(x snap) map[string]int64 {
		byKind := make(map[string]int64)
		for kind, n := range x.Watches {
			byKind[kind] = int64(n)
		}
		return byKind
	})
	m.counter("zk.client.events", "{event}", "Events for armed channels.", "type", func(x snap) map[string]int64 { return x.Events })
	m.counter("zk.client.events.ignored", "{event}", "Events that no channel was armed for.", "", func(x snap) map[string]int64 { return one(x.EventsIgnored) })
	m.updown("zk.client.events.queued", "{event}", "Events that wait for room in their channels.", "", func(x snap) map[string]int64 { return one(int64(x.EventsQueued)) })
	m.gauge("zk.client.oldest_queued_event", "s", "How long the first queued event has found its channel full.", func(x snap) (float64, bool) { return x.OldestQueuedEvent.Seconds(), true })
	m.counter("zk.client.gaps", "{gap}", "Persistent watches that may have missed changes.", "", func(x snap) map[string]int64 { return one(x.Gaps) })
	m.counter("zk.client.closed_channels", "{watch}", "Watches lost to closed channels.", "", func(x snap) map[string]int64 { return one(x.ClosedChannels) })
	m.counter("zk.client.pings", "{ping}", "Pings sent.", "", func(x snap) map[string]int64 { return one(x.Pings) })
	m.gauge("zk.client.session.lease", "s", "Time until the first session may expire.", func(x snap) (float64, bool) { return x.Lease.Seconds(), x.Sessions > 0 })
	m.gauge("zk.client.last_zxid", "1", "The newest transaction that a reply has reported.", func(x snap) (float64, bool) { return float64(x.Zxid), true })
	if m.err != nil {
		return nil, m.err
	}
	return m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		x := set.Snapshot()
		for _, read := range m.reads {
			read(o, &x)
		}
		return nil
	}, m.all...)
}
