// Package otel shows Sessions to OpenTelemetry: spans of dials and calls by Trace, and the
// instruments of a [metrics.Set] by Metrics. Names and attributes are those of the stable
// conventions for databases.
//
//	conf.Trace = zk.JoinTraces(conf.Trace, otel.Trace())
//	registration, err := otel.Metrics(metrics.Attach(&conf))
package otel

import (
	"sync"
	"weak"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-9f8420c6/zk"
)

const scope = "github.com/seed-9f8420c6/zk/metrics/otel"

// system is what db.system.name says.
const system = "zookeeper"

// Attributes that the conventions have no name for.
const (
	PathKey      = attribute.Key("zookeeper.path")       // by WithPaths
	SessionIDKey = attribute.Key("zookeeper.session_id") // of dials
	ZxidKey      = attribute.Key("zookeeper.zxid")       // of dials
	MovedKey     = attribute.Key("zookeeper.moved")      // of dials: the session is an older one
	EventKey     = attribute.Key("zookeeper.event")      // of links: the type of the event
)

// Events of spans.
const (
	GapEvent  = "zookeeper.gap"  // a persistent watch may have missed changes
	LossEvent = "zookeeper.loss" // the connection was lost
)

// Option changes what Trace and Metrics do.
type Option func(*config)

type config struct {
	tracers   trace.TracerProvider
	meters    metric.MeterProvider
	paths     bool
	allErrors bool
}

func configOf(opts []Option) config {
	c := config{tracers: otel.GetTracerProvider(), meters: otel.GetMeterProvider()}
	for _, o := range opts {
		o(&c)
	}
	return c
}

// WithTracerProvider takes p for the spans, in place of the global one.
func WithTracerProvider(p trace.TracerProvider) Option { return func(c *config) { c.tracers = p } }

// WithMeterProvider takes p for the instruments, in place of the global one.
func WithMeterProvider(p metric.MeterProvider) Option { return func(c *config) { c.meters = p } }

// WithPaths adds the path to the span of a call. A path may be confidential, and
// there are many of them.
func WithPaths() Option { return func(c *config) { c.paths = true } }

// WithAllErrors marks the spans of all failed calls as errors. Without it NoNode,
// NodeExists, BadVersion and NotEmpty, which a program may expect, are none.
func WithAllErrors() Option { return func(c *config) { c.allErrors = true } }

// Trace returns hooks that make spans. Each address that is dialed has one, with a
// span below it for each step: dns, connect, tls, handshake, restore; and resolve for
// Config.Resolve. Each call has one, below the span of its context. A Gap and the loss
// of a connection are events of the spans that are open then. An event of a watch has
// no span: see [Link].
func Trace(opts ...Option) *zk.Trace { return newTracer(opts).hooks() }

func newTracer(opts []Option) *tracer {
	c := configOf(opts)
	return &tracer{config: c, tracer: c.tracers.Tracer(scope), sessions: make(map[weak.Pointer[zk.Session]]*activity)}
}

func (t *tracer) hooks() *zk.Trace {
	return &zk.Trace{
		Resolved: t.resolved, DialStart: t.dialStart, TLSStart: t.tlsStart, DialDone: t.dialDone, Handshake: t.handshake,
		DialFailed: t.dialFailed, Begin: t.begin, CallStart: t.callStart, CallDone: t.callDone, Event: t.event,
	}
}

type tracer struct {
	config
	tracer trace.Tracer
	reads  reads

	mu       sync.Mutex // guards what follows
	sessions map[weak.Pointer[zk.Session]]*activity
}
