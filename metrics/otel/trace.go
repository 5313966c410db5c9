// Package otel shows Sessions to OpenTelemetry: spans of dials and calls by Trace, and the
// instruments of a [metrics.Set] by Metrics. Names and attributes are those of the stable
// conventions for databases.
//
//	conf.Trace = zk.JoinTraces(conf.Trace, otel.Trace())
//	registration, err := otel.Metrics(metrics.Attach(&conf))
package otel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
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

// Trace returns hooks that make spans. Each address that is dialed has one, with
// a span below it for each step. Each call has one, below the span of its
// context.
func Trace(opts ...Option) *zk.Trace {
	c := configOf(opts)
	t := &tracer{config: c, tracer: c.tracers.Tracer(scope)}
	return &zk.Trace{
		DialStart: t.dialStart, DialDone: t.dialDone, Handshake: t.handshake, DialFailed: t.dialFailed, Begin: t.begin,
		CallStart: t.callStart, CallDone: t.callDone,
	}
}

type tracer struct {
	config
	tracer trace.Tracer
}

// dial is the spans of an address.
type dial struct {
	span, step trace.Span
	name       string // of the step
}

type dialKey struct{ t *tracer }

func (t *tracer) dialOf(ctx context.Context) *dial {
	d, _ := ctx.Value(dialKey{t}).(*dial)
	return d
}

func (t *tracer) dialStart(ctx context.Context, addr string) context.Context {
	d := new(dial)
	attrs := append(endpoint(addr, semconv.NetworkPeerAddressKey, semconv.NetworkPeerPortKey), semconv.DBSystemNameKey.String(system))
	ctx, d.span = t.tracer.Start(ctx, "dial", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	ctx = context.WithValue(ctx, dialKey{t}, d)
	t.step(ctx, d, "connect")
	return ctx
}

func (t *tracer) step(ctx context.Context, d *dial, name string) {
	d.name = name
	_, d.step = t.tracer.Start(trace.ContextWithSpan(ctx, d.span), name)
}

func (t *tracer) dialDone(ctx context.Context, _ string, err error) { t.next(ctx, "handshake", err) }

func (t *tracer) handshake(ctx context.Context, _ string, _ int64, _ time.Duration, err error) {
	t.next(ctx, "restore", err)
}

// next ends a step; unless it has failed, the next one begins.
func (t *tracer) next(ctx context.Context, name string, err error) {
	if d := t.dialOf(ctx); d != nil && err == nil {
		d.step.End()
		t.step(ctx, d, name)
	}
}

func (t *tracer) dialFailed(ctx context.Context, _ string, err error) {
	d := t.dialOf(ctx)
	if d == nil {
		return
	}
	why := d.name
	switch {
	case errors.Is(err, zk.ErrExpired):
		why = "expired"
	case errors.Is(err, zk.ErrAuth):
		why = "auth"
	}
	for _, span := range []trace.Span{d.step, d.span} {
		span.SetAttributes(semconv.ErrorTypeKey.String(why))
		span.SetStatus(codes.Error, err.Error())
		span.End()
	}
}

func (t *tracer) begin(ctx context.Context, s *zk.Session, moved bool) {
	d := t.dialOf(ctx)
	if d == nil {
		return
	}
	d.span.SetAttributes(endpoint(s.Addr(), semconv.ServerAddressKey, semconv.ServerPortKey)...)
	d.span.SetAttributes(
		SessionIDKey.String(fmt.Sprintf("0x%x", uint64(s.ID()))), ZxidKey.String(fmt.Sprintf("0x%x", s.Zxid())), MovedKey.Bool(moved),
	)
	d.step.End()
	d.span.End()
}

// endpoint splits host:port into two attributes.
func endpoint(addr string, host, port attribute.Key) []attribute.KeyValue {
	h, p, err := net.SplitHostPort(addr)
	if err != nil {
		return []attribute.KeyValue{host.String(addr)}
	}
	attrs := []attribute.KeyValue{host.String(h)}
	if n, err := strconv.Atoi(p); err == nil {
		attrs = append(attrs, port.Int(n))
	}
	return attrs
}

type callKey struct{ t *tracer }

func (t *tracer) callStart(ctx context.Context, s *zk.Session, c zk.Call) context.Context {
	ctx, span := t.tracer.Start(ctx, c.Op, trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		attrs := append(endpoint(s.Addr(), semconv.ServerAddressKey, semconv.ServerPortKey),
			semconv.DBSystemNameKey.String(system), semconv.DBOperationNameKey.String(c.Op))
		if c.Ops > 1 {
			attrs = append(attrs, semconv.DBOperationBatchSizeKey.Int(c.Ops))
		}
		if chroot := s.Chroot(); chroot != "" {
			attrs = append(attrs, semconv.DBNamespaceKey.String(chroot))
		}
		if t.paths && c.Path != "" {
			attrs = append(attrs, PathKey.String(c.Path))
		}
		span.SetAttributes(attrs...)
	}
	return context.WithValue(ctx, callKey{t}, span)
}

func (t *tracer) callDone(ctx context.Context, _ *zk.Session, _ zk.Call, err error) {
	span, ok := ctx.Value(callKey{t}).(trace.Span)
	if !ok {
		return
	}
	if err != nil {
		attrs := errorAttributes(err)
		span.SetAttributes(attrs...)
		if t.allErrors || !expected(err) { // the error's text has the path
			span.SetStatus(codes.Error, attrs[0].Value.AsString())
		}
	}
	span.End()
}
