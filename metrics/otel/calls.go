package otel

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"
	"weak"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-9f8420c6/zk"
)

// activity is what is under way on a Session.
type activity struct {
	begun bool
	peer  []attribute.KeyValue
	calls map[trace.Span]struct{}
	gaps  [][]trace.EventOption // before it has begun
}

// maxGaps is how many events a span has by default.
const maxGaps = 128

// ofLocked returns what is under way on a Session, for as long as somebody has that.
func (t *tracer) ofLocked(s *zk.Session) *activity {
	w := weak.Make(s)
	a := t.sessions[w]
	if a == nil {
		a = &activity{calls: make(map[trace.Span]struct{})}
		t.sessions[w] = a
		runtime.AddCleanup(s, t.forget, w)
	}
	return a
}

func (t *tracer) forget(w weak.Pointer[zk.Session]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, w)
}

// begun notes that a Session has begun, and returns the Gaps that came before.
func (t *tracer) begun(s *zk.Session, peer []attribute.KeyValue) (gaps [][]trace.EventOption) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.ofLocked(s)
	a.begun, a.peer = true, peer
	gaps, a.gaps = a.gaps, nil
	return gaps
}

// event shows a Gap to what is under way: the dial, or calls.
func (t *tracer) event(s *zk.Session, ev zk.Event, _ bool) {
	if ev.Type != zk.Gap {
		return
	}
	opts := []trace.EventOption{trace.WithAttributes(t.path(ev.Path)...)}
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.ofLocked(s)
	if !a.begun && len(a.gaps) < maxGaps {
		a.gaps = append(a.gaps, opts)
	}
	for span := range a.calls {
		span.AddEvent(GapEvent, opts...)
	}
}

// path is the attribute of a path, if that is asked for. A server may report an event at one that
// is no UTF-8, and no exporter writes spans with that.
func (t *tracer) path(p string) []attribute.KeyValue {
	if !t.paths || p == "" {
		return nil
	}
	return []attribute.KeyValue{PathKey.String(strings.ToValidUTF8(p, "\ufffd"))}
}

type callKey struct{ t *tracer }

func (t *tracer) callStart(ctx context.Context, s *zk.Session, c zk.Call) context.Context {
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
	if ev, ok := ctx.Value(linkKey{}).(zk.Event); ok {
		opts = append(opts, trace.WithLinks(t.link(s, ev)))
	}
	ctx, span := t.tracer.Start(ctx, c.Op, opts...)
	if span.IsRecording() {
		attrs := append(endpoint(s.Addr(), semconv.ServerAddressKey, semconv.ServerPortKey),
			semconv.DBSystemNameKey.String(system), semconv.DBOperationNameKey.String(c.Op))
		if c.Ops > 1 {
			attrs = append(attrs, semconv.DBOperationBatchSizeKey.Int(c.Ops))
		}
		if chroot := s.Chroot(); chroot != "" {
			attrs = append(attrs, semconv.DBNamespaceKey.String(chroot))
		}
		attrs = append(attrs, t.path(c.Path)...)
		span.SetAttributes(append(attrs, t.started(s, span)...)...)
	}
	return context.WithValue(ctx, callKey{t}, span)
}

// started notes a call that is under way, unless the Session is over already. It returns
// where that is connected to.
func (t *tracer) started(s *zk.Session, span trace.Span) []attribute.KeyValue {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.ofLocked(s)
	select {
	case <-s.Done():
	default:
		a.calls[span] = struct{}{}
	}
	return a.peer
}

// ended notes that a call is over, and reports whether it was under way.
func (t *tracer) ended(s *zk.Session, span trace.Span) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.ofLocked(s)
	_, ok := a.calls[span]
	delete(a.calls, span)
	return ok
}

func (t *tracer) callDone(ctx context.Context, s *zk.Session, c zk.Call, err error) {
	span, ok := ctx.Value(callKey{t}).(trace.Span)
	if !ok {
		return
	}
	if span.IsRecording() {
		if t.ended(s, span) && errors.Is(err, zk.ErrConnection) {
			span.AddEvent(LossEvent)
		}
		t.reads.add(s, c, span.SpanContext())
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

type linkKey struct{}

// Link makes the spans of calls with the context that it returns link to the last read of
// the event's path, whose result the event has made old. The link says of which type the
// event is, also where no such span is known: of the last 1,000 paths or so it is.
//
//	ev := <-changed
//	data, stat, err := s.Get(otel.Link(ctx, ev), ev.Path, changed)
func Link(ctx context.Context, ev zk.Event) context.Context {
	return context.WithValue(ctx, linkKey{}, ev)
}

func (t *tracer) link(s *zk.Session, ev zk.Event) trace.Link {
	attrs := []attribute.KeyValue{EventKey.String(ev.Type.String())}
	if ev.Zxid != 0 {
		attrs = append(attrs, ZxidKey.String(fmt.Sprintf("0x%x", ev.Zxid)))
	}
	return trace.Link{SpanContext: t.reads.of(s, ev.Path), Attributes: append(attrs, t.path(ev.Path)...)}
}

// reads are the spans of the last reads.
type reads struct {
	mu         sync.Mutex // guards what follows
	young, old map[readKey]trace.SpanContext
}

type readKey struct {
	watches weak.Pointer[zk.Watches] // the same for all Sessions of a session
	path    string
	below   bool // an AddWatch, which may be for all below it
}

// maxReads is how many are young.
const maxReads = 1000

func (r *reads) add(s *zk.Session, c zk.Call, span trace.SpanContext) {
	switch c.Op {
	case "get", "exists", "children", "addwatch":
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.young == nil || len(r.young) >= maxReads {
		r.young, r.old = make(map[readKey]trace.SpanContext), r.young
	}
	r.young[readKey{weak.Make(s.Watches()), c.Path, c.Op == "addwatch"}] = span
}

// of returns the span of the last read of a path, or else of an AddWatch of it or above.
func (r *reads) of(s *zk.Session, p string) trace.SpanContext {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := readKey{weak.Make(s.Watches()), p, false}
	if span, ok := r.getLocked(k); ok {
		return span
	}
	for k.below = true; ; k.path = path.Dir(k.path) {
		if span, ok := r.getLocked(k); ok {
			return span
		}
		if up := path.Dir(k.path); up == k.path {
			return trace.SpanContext{}
		}
	}
}

func (r *reads) getLocked(k readKey) (trace.SpanContext, bool) {
	if span, ok := r.young[k]; ok {
		return span, true
	}
	span, ok := r.old[k]
	return span, ok
}
