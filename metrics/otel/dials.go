package otel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-9f8420c6/zk"
)

// dial is the spans of an address.
type dial struct {
	span, step trace.Span
	name       string // of the step
	peer       []attribute.KeyValue
}

type dialKey struct{ t *tracer }

func (t *tracer) dialOf(ctx context.Context) *dial {
	d, _ := ctx.Value(dialKey{t}).(*dial)
	return d
}

// lookup is a step that is over before an address is dialed. It shows below the first one
// that comes of it.
type lookup struct {
	before     *lookup // perhaps nil
	name, addr string
	start, end time.Time
	err        error
	shown      atomic.Bool
}

type lookupKey struct{ t *tracer }

func (t *tracer) resolved(ctx context.Context, addr string, took time.Duration, err error) context.Context {
	end := time.Now()
	before, _ := ctx.Value(lookupKey{t}).(*lookup)
	l := &lookup{before: before, name: "dns", addr: addr, start: end.Add(-took), end: end, err: err}
	if addr == "" {
		l.name = "resolve"
	}
	return context.WithValue(ctx, lookupKey{t}, l)
}

// open begins the span of an address, with what was looked up for it.
func (t *tracer) open(ctx context.Context, addr string, peer []attribute.KeyValue) (context.Context, *dial) {
	d := &dial{peer: peer}
	start, configured := time.Now(), addr
	var list []*lookup
	last, _ := ctx.Value(lookupKey{t}).(*lookup)
	for l := last; l != nil; l = l.before {
		if l.addr != "" {
			configured = l.addr
		}
		if l.shown.CompareAndSwap(false, true) {
			list = append(list, l)
			start = l.start
		}
	}
	attrs := append([]attribute.KeyValue{semconv.DBSystemNameKey.String(system)}, d.peer...)
	if configured != "" {
		attrs = append(attrs, endpoint(configured, semconv.ServerAddressKey, semconv.ServerPortKey)...)
	}
	ctx, d.span = t.tracer.Start(ctx, "dial", trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(start), trace.WithAttributes(attrs...))
	for i := len(list) - 1; i >= 0; i-- {
		l := list[i]
		_, step := t.tracer.Start(ctx, l.name, trace.WithTimestamp(l.start))
		if l.err != nil {
			fail(step, reasonOf(l.name, l.err), l.err)
		}
		step.End(trace.WithTimestamp(l.end))
		d.name = l.name
	}
	return context.WithValue(ctx, dialKey{t}, d), d
}

func (t *tracer) dialStart(ctx context.Context, addr string) context.Context {
	ctx, d := t.open(ctx, addr, endpoint(addr, semconv.NetworkPeerAddressKey, semconv.NetworkPeerPortKey))
	t.step(ctx, d, "connect")
	return ctx
}

func (t *tracer) step(ctx context.Context, d *dial, name string) {
	d.name = name
	_, d.step = t.tracer.Start(trace.ContextWithSpan(ctx, d.span), name)
}

func (t *tracer) tlsStart(ctx context.Context, _ string) { t.next(ctx, "tls", nil) }

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

func (t *tracer) dialFailed(ctx context.Context, addr string, err error) {
	d := t.dialOf(ctx)
	if d == nil { // it was not connected to
		_, d = t.open(ctx, addr, nil)
	}
	why := reasonOf(d.name, err)
	if errors.Is(err, zk.ErrConnection) {
		d.span.AddEvent(LossEvent)
	}
	if d.step != nil {
		fail(d.step, why, err)
		d.step.End()
	}
	fail(d.span, why, err)
	d.span.End()
}

func fail(span trace.Span, why string, err error) {
	span.SetAttributes(semconv.ErrorTypeKey.String(why))
	span.SetStatus(codes.Error, err.Error())
}

// reasonOf says in one of the words of zk.client.dials why an address gave no session.
func reasonOf(step string, err error) string {
	switch {
	case errors.Is(err, zk.ErrExpired):
		return "expired"
	case errors.Is(err, zk.ErrAuth), step == "": // SASL did not begin
		return "auth"
	case errors.Is(err, zk.ErrNotReadOnly):
		return "readonly"
	case strings.HasPrefix(err.Error(), "Config.Wrap "): // which is neither of TCP nor of TLS
		return "other"
	}
	switch step {
	case "dns", "resolve":
		return "dns"
	case "connect":
		return "tcp"
	case "tls", "handshake":
		return step
	}
	return "other"
}

func (t *tracer) begin(ctx context.Context, s *zk.Session, moved bool) {
	d := t.dialOf(ctx)
	if d == nil {
		return
	}
	for _, gap := range t.begun(s, d.peer) {
		d.span.AddEvent(GapEvent, gap...)
	}
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
