package otel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/metrics"
	"github.com/seed-9f8420c6/zk/metrics/otel"
	"github.com/seed-9f8420c6/zk/zktest"
)

var bg = context.Background()

// recorder returns a provider of spans, and what it has exported.
func recorder(t *testing.T) (*sdktrace.TracerProvider, *tracetest.InMemoryExporter) {
	exporter := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { p.Shutdown(bg) })
	return p, exporter
}

func dial(t *testing.T, conf zk.Config) *zk.Session {
	t.Helper()
	s, err := zk.Dial(bg, conf)
	assert.NilError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func value(s tracetest.SpanStub, key attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

// A dial is a span with one below it for each step; a call is one below the span of its
// context.
func TestSpans(t *testing.T) {
	e := zktest.NewServer(t)
	p, exporter := recorder(t)
	tracer := p.Tracer("test")
	conf := zk.Config{Addrs: e.Addrs(), Trace: otel.Trace(otel.WithTracerProvider(p))}
	ctx, parent := tracer.Start(bg, "parent")
	s, err := zk.Dial(ctx, conf)
	assert.NilError(t, err)
	defer s.Close()
	names := func() (out []string) {
		for _, x := range exporter.GetSpans() {
			out = append(out, x.Name)
		}
		return out
	}
	assert.DeepEqual(t, names(), []string{"connect", "handshake", "restore", "dial"})
	spans := exporter.GetSpans()
	root := spans[3]
	assert.Equal(t, root.Parent.SpanID(), parent.SpanContext().SpanID())
	assert.Equal(t, root.SpanKind, trace.SpanKindClient)
	for _, x := range spans[:3] {
		assert.Equal(t, x.Parent.SpanID(), root.SpanContext.SpanID(), x.Name)
	}
	assert.Equal(t, value(root, semconv.DBSystemNameKey), "zookeeper")
	assert.Equal(t, value(root, semconv.ServerAddressKey)+":"+value(root, semconv.ServerPortKey), e.Addrs()[0])
	assert.Equal(t, value(root, semconv.NetworkPeerAddressKey)+":"+value(root, semconv.NetworkPeerPortKey), e.Addrs()[0])
	assert.Equal(t, value(root, otel.SessionIDKey), fmt.Sprintf("0x%x", uint64(s.ID())))
	assert.Equal(t, value(root, otel.MovedKey), "false")

	exporter.Reset()
	_, err = s.Create(ctx, "/private", nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	_, err = s.Batch(ctx, zk.GetOp{Path: "/private"}, zk.GetOp{Path: "/"})
	assert.NilError(t, err)
	spans = exporter.GetSpans()
	assert.DeepEqual(t, names(), []string{"create", "batch"})
	for _, x := range spans {
		assert.Equal(t, x.Parent.SpanID(), parent.SpanContext().SpanID())
		assert.Equal(t, x.SpanKind, trace.SpanKindClient)
		assert.Equal(t, value(x, semconv.DBSystemNameKey), "zookeeper")
		assert.Equal(t, value(x, semconv.DBOperationNameKey), x.Name)
		assert.Equal(t, value(x, semconv.ServerAddressKey)+":"+value(x, semconv.ServerPortKey), e.Addrs()[0])
		assert.Equal(t, value(x, semconv.NetworkPeerAddressKey)+":"+value(x, semconv.NetworkPeerPortKey), e.Addrs()[0])
		assert.Equal(t, x.Status.Code, codes.Unset)
		assert.Equal(t, len(x.Links)+len(x.Events), 0)
		assert.Assert(t, !strings.Contains(fmt.Sprint(x.Attributes), "private"))
	}
	assert.Equal(t, value(spans[0], semconv.DBOperationBatchSizeKey), "")
	assert.Equal(t, value(spans[1], semconv.DBOperationBatchSizeKey), "2")
}

// What a program expects is no error of a span; WithAllErrors makes it one.
func TestErrors(t *testing.T) {
	e := zktest.NewServer(t)
	for _, all := range []bool{false, true} {
		p, exporter := recorder(t)
		opts := []otel.Option{otel.WithTracerProvider(p), otel.WithPaths()}
		if all {
			opts = append(opts, otel.WithAllErrors())
		}
		conf := zk.Config{Addrs: e.Addrs(), Trace: otel.Trace(opts...)}
		s := dial(t, conf)
		exporter.Reset()
		last := func() tracetest.SpanStub {
			spans := exporter.GetSpans()
			return spans[len(spans)-1]
		}
		_, _, err := s.Get(bg, "/none", nil)
		assert.ErrorIs(t, err, zk.ErrNoNode)
		x := last()
		assert.Equal(t, x.Status.Code == codes.Error, all)
		assert.Equal(t, value(x, semconv.ErrorTypeKey), "NoNode")
		assert.Equal(t, value(x, semconv.DBResponseStatusCodeKey), "-101")
		assert.Equal(t, value(x, otel.PathKey), "/none")
		assert.Assert(t, !strings.Contains(x.Status.Description, "/none"))

		ended, cancel := context.WithCancel(bg)
		cancel()
		_, _, err = s.Get(ended, "/", nil)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, value(last(), semconv.ErrorTypeKey), "context_canceled")
		assert.Equal(t, last().Status.Code, codes.Error)

		e.Fault(zktest.Rule{Path: "/lost", Do: zktest.CutBefore})
		_, _, err = s.Get(bg, "/lost", nil)
		assert.ErrorIs(t, err, zk.ErrLost)
		assert.Equal(t, value(last(), semconv.ErrorTypeKey), "lost")
		assert.Equal(t, last().Status.Code, codes.Error)
		_, _, err = s.Get(bg, "/later", nil)
		assert.ErrorIs(t, err, zk.ErrNotSent)
		assert.Equal(t, value(last(), semconv.ErrorTypeKey), "not_sent")
		<-s.Done()

		exporter.Reset()
		bad := conf
		bad.Addrs = []string{"127.0.0.1:1"}
		_, err = zk.Dial(bg, bad)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		x = last()
		assert.Equal(t, x.Name, "dial")
		assert.Equal(t, x.Status.Code, codes.Error)
		assert.Equal(t, value(x, semconv.ErrorTypeKey), "tcp")
		assert.Equal(t, len(exporter.GetSpans()), 2) // none is left open

		exporter.Reset()
		bad = conf
		bad.Auth = []zk.Auth{{Scheme: "nonsense"}}
		_, err = zk.Dial(bg, bad)
		assert.ErrorIs(t, err, zk.ErrAuth)
		assert.Equal(t, value(last(), semconv.ErrorTypeKey), "auth")
		assert.Equal(t, len(exporter.GetSpans()), 4)
	}
}

// With a chroot calls have a namespace.
func TestNamespace(t *testing.T) {
	e := zktest.NewServer(t)
	s := dial(t, zk.Config{Addrs: e.Addrs()})
	_, err := s.Create(bg, "/app", nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	p, exporter := recorder(t)
	s = dial(t, zk.Config{Addrs: e.Addrs(), Chroot: "/app", Trace: otel.Trace(otel.WithTracerProvider(p))})
	exporter.Reset()
	assert.NilError(t, s.Sync(bg, "/"))
	assert.Equal(t, value(exporter.GetSpans()[0], semconv.DBNamespaceKey), "/app")
}

// The instruments have the numbers of the Set, and the one that the conventions name has
// their name, unit and buckets.
func TestMetrics(t *testing.T) {
	e := zktest.NewServer(t)
	reader := sdkmetric.NewManualReader()
	p := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	set := metrics.New()
	conf := zk.Config{Addrs: e.Addrs()}
	set.Attach(&conf)
	r, err := otel.Metrics(set, otel.WithMeterProvider(p))
	assert.NilError(t, err)
	s := dial(t, conf)
	_, err = s.Create(bg, "/private", nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	_, _, err = s.Get(bg, "/none", nil)
	assert.ErrorIs(t, err, zk.ErrNoNode)
	ch := make(chan zk.Event, 1)
	_, _, err = s.Get(bg, "/private", ch)
	assert.NilError(t, err)
	_, err = s.Set(bg, "/private", nil, -1)
	assert.NilError(t, err)
	<-ch
	s, err = s.Redial(bg)
	assert.NilError(t, err)
	defer s.Close()

	collect := func() map[string]metricdata.Metrics {
		var data metricdata.ResourceMetrics
		assert.NilError(t, reader.Collect(bg, &data))
		byName := make(map[string]metricdata.Metrics)
		for _, scope := range data.ScopeMetrics {
			for _, m := range scope.Metrics {
				byName[m.Name] = m
			}
		}
		return byName
	}
	x := set.Snapshot()
	got := collect()
	for {
		before := x
		if x = set.Snapshot(); x.BytesSent == before.BytesSent { // else the last write has returned only now
			break
		}
		got = collect()
	}
	duration := dbconv.ClientOperationDuration{}
	d, ok := got[duration.Name()].Data.(metricdata.Histogram[float64])
	assert.Assert(t, ok, "%v", got)
	assert.Equal(t, got[duration.Name()].Unit, duration.Unit())
	n, failed := uint64(0), 0
	for _, point := range d.DataPoints {
		n += point.Count
		assert.DeepEqual(t, point.Bounds, []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10})
		if v, ok := point.Attributes.Value(semconv.ErrorTypeKey); ok {
			failed++
			assert.Equal(t, v.AsString(), "NoNode")
		}
	}
	assert.Assert(t, n == 4 && failed == 1, "%d calls, %d failed", n, failed)
	for name, want := range map[string]int64{
		"zk.client.sessions": 1, "zk.client.dials": 2, "zk.client.session.moves": 1, "zk.client.session.renewals": 0, "zk.client.sessions.expired": 0,
		"zk.client.calls.pending": 0, "zk.client.calls.abandoned": 0, "zk.client.events": 1, "zk.client.events.ignored": 0,
		"zk.client.events.queued": 0, "zk.client.gaps": 0, "zk.client.closed_channels": 0, "zk.client.pings": 0,
	} {
		sum, ok := got[name].Data.(metricdata.Sum[int64])
		n := int64(0)
		for _, point := range sum.DataPoints {
			n += point.Value
		}
		assert.Check(t, ok && n == want, "%s: %+v", name, got[name].Data)
	}
	for _, point := range got["zk.client.bytes"].Data.(metricdata.Sum[int64]).DataPoints {
		way, _ := point.Attributes.Value("direction")
		assert.Check(t, point.Value == map[string]int64{"sent": x.BytesSent, "received": x.BytesReceived}[way.AsString()])
	}
	for _, name := range []string{"zk.client.oldest_call", "zk.client.oldest_queued_event", "zk.client.session.lease", "zk.client.last_zxid"} {
		_, ok := got[name].Data.(metricdata.Gauge[float64])
		assert.Check(t, ok, "%s: %+v", name, got[name].Data)
	}
	for _, name := range []string{"zk.client.frames", "zk.client.watches"} {
		assert.Check(t, len(got[name].Data.(metricdata.Sum[int64]).DataPoints) > 1, name)
	}
	assert.Equal(t, got["zk.client.session.move.duration"].Data.(metricdata.Histogram[float64]).DataPoints[0].Count, uint64(1))
	assert.Assert(t, !strings.Contains(fmt.Sprintf("%+v", got), "private"))

	_, err = otel.Metrics(set, otel.WithMeterProvider(p))
	assert.ErrorIs(t, err, otel.ErrRegistered)
	more, err := otel.Metrics(metrics.New(), otel.WithMeterProvider(p))
	assert.NilError(t, err)
	assert.NilError(t, more.Unregister())
	assert.NilError(t, r.Unregister())
	assert.NilError(t, s.Sync(bg, "/"))
	after := collect()[duration.Name()].Data.(metricdata.Histogram[float64])
	assert.Assert(t, !slices.ContainsFunc(after.DataPoints, func(p metricdata.HistogramDataPoint[float64]) bool {
		v, _ := p.Attributes.Value(semconv.DBOperationNameKey)
		return v.AsString() == "sync"
	}))
	r, err = otel.Metrics(set, otel.WithMeterProvider(p)) // once more is right now
	assert.NilError(t, err)
	assert.NilError(t, r.Unregister())
}

// Each instrument moves.
func TestEveryInstrument(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	p := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	set := metrics.New()
	r, err := otel.Metrics(set, otel.WithMeterProvider(p))
	assert.NilError(t, err)
	defer r.Unregister()
	moved := make(map[string]bool)
	suite.EverythingMoves(t, func(conf *zk.Config) { set.Attach(conf) }, func() {
		var data metricdata.ResourceMetrics
		assert.NilError(t, reader.Collect(context.Background(), &data))
		for _, scope := range data.ScopeMetrics {
			for _, m := range scope.Metrics {
				ok := moved[m.Name]
				switch d := m.Data.(type) {
				case metricdata.Sum[int64]:
					ok = ok || slices.ContainsFunc(d.DataPoints, func(p metricdata.DataPoint[int64]) bool { return p.Value > 0 })
				case metricdata.Gauge[float64]:
					ok = ok || slices.ContainsFunc(d.DataPoints, func(p metricdata.DataPoint[float64]) bool { return p.Value > 0 })
				case metricdata.Histogram[float64]:
					ok = ok || slices.ContainsFunc(d.DataPoints, func(p metricdata.HistogramDataPoint[float64]) bool { return p.Count > 0 })
				}
				moved[m.Name] = ok
			}
		}
	})
	assert.Equal(t, len(moved), 24)
	for name, ok := range moved {
		assert.Check(t, ok, "%s did not move", name)
	}
}

// No text of a span has a password or credential in it.
func TestSecrets(t *testing.T) {
	e := zktest.NewServer(t)
	p, exporter := recorder(t)
	conf := zk.Config{Addrs: e.Addrs(), Auth: []zk.Auth{zk.Digest("user", "Hush-Hush")}, Trace: otel.Trace(otel.WithTracerProvider(p), otel.WithPaths())}
	s := dial(t, conf)
	assert.NilError(t, s.AddAuth(bg, zk.Digest("user", "Hush-Hush-2")))
	next, err := s.Redial(bg)
	assert.NilError(t, err)
	bad := next.Config()
	bad.Auth = []zk.Auth{{Scheme: "nonsense", Credential: []byte("Hush-Hush-3")}}
	_, err = zk.Dial(bg, bad)
	assert.Assert(t, errors.Is(err, zk.ErrAuth))
	text := fmt.Sprintf("%+v", exporter.GetSpans())
	for _, hidden := range []string{"Hush", string(next.Config().Password)} {
		assert.Assert(t, !strings.Contains(text, hidden), hidden)
	}
}
