package otel_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/metrics/otel"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/zktest"
)

// tree prints each span below its parent, in the order of their beginnings, with what it
// failed by and its events. All must have ended.
func tree(t *testing.T, e *tracetest.InMemoryExporter) (lines []string) {
	t.Helper()
	spans := e.GetSpans()
	byID := make(map[trace.SpanID]tracetest.SpanStub)
	for _, s := range spans {
		byID[s.SpanContext.SpanID()] = s
	}
	level := func(s tracetest.SpanStub) (n int) {
		for up, ok := byID[s.Parent.SpanID()]; ok; up, ok = byID[up.Parent.SpanID()] {
			n++
		}
		return n
	}
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), cmp.Compare(level(a), level(b)))
	})
	for _, s := range spans {
		assert.Check(t, !s.EndTime.Before(s.StartTime), s.Name)
		line := strings.Repeat(" ", level(s)) + s.Name
		if s.Status.Code == codes.Error {
			line += " " + value(s, semconv.ErrorTypeKey)
		}
		for _, ev := range s.Events {
			line += " (" + ev.Name + ")"
		}
		lines = append(lines, line)
	}
	e.Reset()
	return lines
}

// noSASL cannot begin.
type noSASL struct{}

func (noSASL) Start(context.Context, string) (sasl.Exchange, []byte, error) {
	return nil, nil, errors.New("no ticket")
}

// Below the span of an address there is one of each step, whichever is the last.
func TestDialSpans(t *testing.T) {
	e := zktest.NewServer(t)
	p, exporter := recorder(t)
	server := e.Addrs()[0]
	_, port, _ := net.SplitHostPort(server)
	https := httptest.NewTLSServer(nil) // for its certificate
	https.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(https.Certificate())
	clientTLS := &tls.Config{RootCAs: trusted}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: https.TLS.Certificates})
	assert.NilError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	refused := net.JoinHostPort("127.0.0.1", "1")
	resolve := func(list []string, err error) func(context.Context) ([]string, error) {
		return func(context.Context) ([]string, error) { time.Sleep(time.Millisecond); return list, err }
	}
	for name, c := range map[string]struct {
		change func(c *zk.Config)
		want   []string
	}{
		"all is well":  {func(c *zk.Config) {}, []string{"dial", " connect", " handshake", " restore"}},
		"refused":      {func(c *zk.Config) { c.Addrs = []string{refused} }, []string{"dial tcp", " connect tcp"}},
		"unknown name": {func(c *zk.Config) { c.Addrs = []string{"none.invalid:1"} }, []string{"dial dns", " dns dns"}},
		"Resolve": {func(c *zk.Config) { c.Addrs, c.Resolve = nil, resolve([]string{server}, nil) },
			[]string{"dial", " resolve", " connect", " handshake", " restore"}},
		"Resolve fails":       {func(c *zk.Config) { c.Resolve = resolve(nil, errors.New("no luck")) }, []string{"dial dns", " resolve dns"}},
		"TLS, and no session": {func(c *zk.Config) { c.Addrs, c.TLS = []string{l.Addr().String()}, clientTLS }, []string{"dial handshake (zookeeper.loss)", " connect", " tls", " handshake handshake"}},
		"TLS fails":           {func(c *zk.Config) { c.Addrs, c.TLS = []string{l.Addr().String()}, new(tls.Config) }, []string{"dial tls", " connect", " tls tls"}},
		"SASL does not begin": {func(c *zk.Config) { c.SASL = noSASL{} }, []string{"dial auth"}},
		"expired":             {func(c *zk.Config) { c.ID, c.Password = 77, make([]byte, 16) }, []string{"dial expired", " connect", " handshake expired"}},
		"Wrap":                {func(c *zk.Config) { c.Wrap = func(string, net.Conn) net.Conn { return nil } }, []string{"dial other", " connect other"}},
		"credentials":         {func(c *zk.Config) { c.Auth = []zk.Auth{{Scheme: "nonsense"}} }, []string{"dial auth", " connect", " handshake", " restore auth"}},
	} {
		t.Run(name, func(t *testing.T) {
			conf := zk.Config{Addrs: e.Addrs(), Trace: otel.Trace(otel.WithTracerProvider(p))}
			c.change(&conf)
			s, err := zk.Dial(bg, conf)
			lines := tree(t, exporter)
			if err == nil {
				assert.NilError(t, s.Close())
			}
			for i := range lines { // whether a connection was reset or closed is not up to us
				if name != "TLS, and no session" {
					lines[i] = strings.TrimSuffix(lines[i], " (zookeeper.loss)")
				}
			}
			assert.DeepEqual(t, lines, c.want)
			exporter.Reset()
		})
	}

	// A name with several addresses was looked up once, for the first of them.
	conf := zk.Config{Addrs: []string{net.JoinHostPort("localhost", port)}, Trace: otel.Trace(otel.WithTracerProvider(p))}
	s := dial(t, conf)
	spans := exporter.GetSpans()
	lines := tree(t, exporter)
	assert.DeepEqual(t, lines[:3], []string{lines[0], " dns", " connect" + strings.TrimPrefix(lines[0], "dial")})
	assert.Equal(t, strings.Count(strings.Join(lines, ","), "dns"), 1)
	assert.DeepEqual(t, lines[len(lines)-3:], []string{" connect", " handshake", " restore"})
	for _, x := range spans {
		if x.Name == "dial" {
			assert.Equal(t, value(x, semconv.ServerAddressKey)+":"+value(x, semconv.ServerPortKey), s.Addr())
			peer := value(x, semconv.NetworkPeerAddressKey)
			assert.Check(t, peer == "127.0.0.1" || peer == "::1", peer)
		}
	}
}

// A loss is an event of the calls that were under way, a Gap one of the dial that restores
// the watches.
func TestSpanEvents(t *testing.T) {
	e := zktest.NewServer(t)
	p, exporter := recorder(t)
	s := dial(t, zk.Config{Addrs: e.Addrs(), Trace: otel.Trace(otel.WithTracerProvider(p))})
	other := dial(t, zk.Config{Addrs: e.Addrs()})
	_, err := s.Create(bg, "/private", nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	ch := make(chan zk.Event, 9)
	assert.NilError(t, s.AddWatch(bg, "/private", zk.WatchPersistent, ch))
	exporter.Reset()
	e.Fault(zktest.Rule{Path: "/lost", Do: zktest.CutBefore})
	_, _, err = s.Get(bg, "/lost", nil)
	assert.ErrorIs(t, err, zk.ErrLost)
	<-s.Done()
	_, _, err = s.Get(bg, "/later", nil)
	assert.ErrorIs(t, err, zk.ErrNotSent)
	assert.DeepEqual(t, tree(t, exporter), []string{"get lost (zookeeper.loss)", "get not_sent"})

	_, err = other.Set(bg, "/private", nil, zk.AnyVersion)
	assert.NilError(t, err)
	s, err = s.Redial(bg)
	assert.NilError(t, err)
	text := fmt.Sprintf("%+v", exporter.GetSpans())
	assert.Assert(t, !strings.Contains(text, "private"))
	assert.DeepEqual(t, tree(t, exporter), []string{"dial (zookeeper.gap)", " connect", " handshake", " restore"})
	assert.Equal(t, (<-ch).Type, zk.Gap)
	assert.NilError(t, s.Close())
}

// The read that follows an event has a link to the read before, if that is asked for.
func TestLink(t *testing.T) {
	e := zktest.NewServer(t, zktest.Options{})
	for _, paths := range []bool{false, true} {
		p, exporter := recorder(t)
		opts := []otel.Option{otel.WithTracerProvider(p)}
		if paths {
			opts = append(opts, otel.WithPaths())
		}
		s := dial(t, zk.Config{Addrs: e.Addrs(), Trace: otel.Trace(opts...)})
		if !paths {
			for _, path := range []string{"/a", "/a/b", "/c"} {
				_, err := s.Create(bg, path, nil, zk.Persistent, zk.ACLOpen)
				assert.NilError(t, err)
			}
		}
		last := func() tracetest.SpanStub {
			spans := exporter.GetSpans()
			return spans[len(spans)-1]
		}
		one, below := make(chan zk.Event, 1), make(chan zk.Event, 9)
		get := func(ctx context.Context, path string, ch chan<- zk.Event) tracetest.SpanStub {
			_, _, err := s.Get(ctx, path, ch)
			assert.NilError(t, err)
			return last()
		}
		assert.NilError(t, s.AddWatch(bg, "/a", zk.WatchRecursive, below))
		added := last()
		first := get(bg, "/c", one)
		assert.Equal(t, len(first.Links), 0)
		set := func(path string) {
			_, err := s.Set(bg, path, nil, zk.AnyVersion)
			assert.NilError(t, err)
		}
		set("/c")
		ev := <-one
		second := get(otel.Link(bg, ev), ev.Path, one)
		assert.Equal(t, len(second.Links), 1)
		link := second.Links[0]
		assert.Equal(t, link.SpanContext.SpanID(), first.SpanContext.SpanID())
		attrs := attribute.NewSet(link.Attributes...)
		typ, _ := attrs.Value(otel.EventKey)
		zxid, _ := attrs.Value(otel.ZxidKey)
		path, there := attrs.Value(otel.PathKey)
		assert.Equal(t, typ.AsString(), "changed")
		assert.Equal(t, zxid.AsString(), fmt.Sprintf("0x%x", ev.Zxid))
		assert.Assert(t, there == paths && (!there || path.AsString() == "/c"))

		s, _ = s.Redial(bg) // the watch moves, and what was read stays known
		set("/c")
		ev = <-one
		third := get(otel.Link(bg, ev), ev.Path, nil)
		assert.Equal(t, third.Links[0].SpanContext.SpanID(), second.SpanContext.SpanID())

		set("/a/b") // nobody has read it: what armed the watch was above
		ev = <-below
		assert.Equal(t, ev.Path, "/a/b")
		assert.Equal(t, get(otel.Link(bg, ev), ev.Path, nil).Links[0].SpanContext.SpanID(), added.SpanContext.SpanID())

		unknown := get(otel.Link(bg, zk.Event{Type: zk.Deleted, Path: "/"}), "/", nil)
		assert.Equal(t, len(unknown.Links), 1)
		assert.Assert(t, !unknown.Links[0].SpanContext.IsValid())

		odd := attribute.NewSet(get(otel.Link(bg, zk.Event{Type: zk.Created, Path: "/a/\xff"}), "/", nil).Links[0].Attributes...)
		path, there = odd.Value(otel.PathKey)
		assert.Assert(t, there == paths && (!there || path.AsString() == "/a/\ufffd"))

		for i := range 3000 { // what is remembered is bounded
			s.Exists(bg, fmt.Sprintf("/none/%d", i), nil)
		}
		forgotten := get(otel.Link(bg, zk.Event{Type: zk.Changed, Path: "/c"}), "/c", nil)
		assert.Assert(t, !forgotten.Links[0].SpanContext.IsValid())
		assert.NilError(t, s.Close())
	}
}

// What is kept of Sessions goes with them, whether they begin or not.
func TestSpansForget(t *testing.T) {
	e := zktest.NewServer(t)
	p, _ := recorder(t)
	hooks, remembered := otel.TraceForTest(otel.WithTracerProvider(p))
	conf := zk.Config{Addrs: e.Addrs(), Trace: hooks}
	func() {
		for range 3 {
			s, err := zk.Dial(bg, conf)
			assert.NilError(t, err)
			assert.NilError(t, s.Sync(bg, "/"))
			assert.NilError(t, s.Close())
		}
		assert.Assert(t, remembered() > 0)
	}()
	for end := time.Now().Add(time.Minute); remembered() > 0; time.Sleep(time.Millisecond) {
		runtime.GC()
		assert.Assert(t, time.Now().Before(end), "%d are left", remembered())
	}
}
