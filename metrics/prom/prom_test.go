package prom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/metrics"
	"github.com/seed-9f8420c6/zk/metrics/prom"
	"github.com/seed-9f8420c6/zk/zktest"
)

// observed is a Set in which each of the metrics has a value, and what makes its exposition.
func observed(t *testing.T) (*metrics.Set, func() string) {
	e := zktest.NewServer(t)
	set := metrics.New()
	conf := zk.Config{Addrs: e.Addrs(), Auth: []zk.Auth{zk.Digest("user", "Hush-Hush")}}
	set.Attach(&conf)
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		assert.NilError(t, err)
	}
	s, err := zk.Dial(ctx, conf)
	must(err)
	_, err = s.Create(ctx, "/private-path", nil, zk.Persistent, zk.ACLOpen)
	must(err)
	ch := make(chan zk.Event, 1)
	_, _, err = s.Get(ctx, "/private-path", ch)
	must(err)
	_, err = s.Set(ctx, "/private-path", nil, -1)
	must(err)
	<-ch
	_, _, err = s.Get(ctx, "/none", nil)
	assert.ErrorIs(t, err, zk.ErrNoNode)
	e.Cut(s.ID())
	<-s.Done()
	s, err = s.Redial(ctx)
	must(err)
	bad := conf
	bad.Addrs = []string{"127.0.0.1:1"}
	_, err = zk.Dial(ctx, bad)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	t.Cleanup(func() { s.Close() })

	r := prometheus.NewPedanticRegistry()
	must(r.Register(prom.NewCollector(set)))
	return set, func() string {
		t.Helper()
		w := httptest.NewRecorder()
		promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		assert.Equal(t, w.Code, 200, w.Body.String())
		return w.Body.String()
	}
}

func parse(t *testing.T, text string) map[string]*dto.MetricFamily {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	assert.NilError(t, err)
	return families
}

// What Prometheus gets can be parsed, its linter has nothing to say, and all names of
// the table are there, with the numbers of the Set.
func TestCollector(t *testing.T) {
	set, scrape := observed(t)
	text := scrape()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	assert.NilError(t, err)
	assert.Equal(t, len(problems), 0, "%v", problems)
	families := parse(t, text)
	for _, name := range []string{
		"sessions", "dials_total", "dial_failures_total", "session_moves_total", "session_renewals_total", "sessions_expired_total",
		"session_move_duration_seconds", "connections_lost_total", "frames_total", "bytes_total", "call_failures_total", "calls_pending",
		"calls_abandoned_total", "call_duration_seconds", "oldest_call_seconds", "watches", "events_total", "events_ignored_total",
		"events_queued", "oldest_queued_event_seconds", "gaps_total", "closed_channels_total", "pings_total", "ping_duration_seconds",
		"session_lease_seconds", "last_zxid",
	} {
		assert.Check(t, families["zk_client_"+name] != nil, "no %s", name)
		delete(families, "zk_client_"+name)
	}
	assert.Equal(t, len(families), 0, "%v", families)

	x := set.Snapshot()
	for {
		text = scrape()
		before := x
		if x = set.Snapshot(); x.BytesSent == before.BytesSent { // else the last write has returned only now
			break
		}
	}
	for _, line := range []string{
		`zk_client_sessions{state="connected"} 1`,
		`zk_client_dials_total 3`,
		`zk_client_dial_failures_total{reason="tcp"} 1`,
		`zk_client_session_moves_total 1`,
		`zk_client_session_move_duration_seconds_count 1`,
		fmt.Sprintf(`zk_client_bytes_total{direction="sent"} %d`, x.BytesSent),
		`zk_client_call_failures_total{code="NoNode",op="get",outcome="answered"} 1`,
		`zk_client_call_duration_seconds_count{op="get"} 2`,
		`zk_client_call_duration_seconds_bucket{op="get",le="+Inf"} 2`,
		`zk_client_watches{kind="recursive"} 0`,
		`zk_client_events_total{type="changed"} 1`,
	} {
		assert.Check(t, strings.Contains(text, line+"\n"), "no %s in\n%s", line, text)
	}
}

// Each of the names moves.
func TestEveryName(t *testing.T) {
	set := metrics.New()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(prom.NewCollector(set))
	moved := make(map[string]bool)
	suite.EverythingMoves(t, func(conf *zk.Config) { set.Attach(conf) }, func() {
		families, err := r.Gather()
		assert.NilError(t, err)
		for _, f := range families {
			for _, m := range f.Metric {
				moved[f.GetName()] = moved[f.GetName()] || m.GetCounter().GetValue() > 0 || m.GetGauge().GetValue() > 0 || m.GetHistogram().GetSampleCount() > 0
			}
		}
	})
	assert.Equal(t, len(moved), 26)
	for name, ok := range moved {
		assert.Check(t, ok, "%s did not move", name)
	}
}

// A server that asks for native histograms gets them, with the same times as the classic
// buckets have, which go along. As text there are the classic ones.
func TestNativeHistograms(t *testing.T) {
	var d metrics.Durations
	set := metrics.New()
	e := zktest.NewServer(t)
	conf := zk.Config{Addrs: e.Addrs()}
	set.Attach(&conf)
	s, err := zk.Dial(context.Background(), conf)
	assert.NilError(t, err)
	defer s.Close()
	stop := set.Observe(metrics.Observer{Call: func(_ context.Context, c zk.Call, took time.Duration, _ error) { d.Add(took) }})
	defer stop()
	const n = 100
	for range n {
		assert.NilError(t, s.Sync(context.Background(), "/"))
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(prom.NewCollector(set))
	scrape := func(accept string) (families map[string]*dto.MetricFamily) {
		req := httptest.NewRequest("GET", "/metrics", nil)
		req.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, req)
		assert.Equal(t, w.Code, 200, w.Body.String())
		dec := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header()))
		families = make(map[string]*dto.MetricFamily)
		for {
			f := new(dto.MetricFamily)
			if err := dec.Decode(f); err != nil {
				assert.ErrorIs(t, err, io.EOF)
				return families
			}
			families[f.GetName()] = f
		}
	}
	const name = "zk_client_call_duration_seconds"
	h := scrape("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")[name].Metric[0].Histogram
	assert.Equal(t, h.GetSchema(), int32(metrics.FineSchema))
	assert.Equal(t, h.GetSampleCount(), uint64(n))
	got := make(map[int]int64) // the sums of the deltas
	at, count, next := 0, int64(0), 0
	for _, span := range h.PositiveSpan {
		at += int(span.GetOffset())
		for range span.GetLength() {
			count += h.PositiveDelta[next]
			if next++; count > 0 {
				got[at] = count
			}
			at++
		}
	}
	assert.DeepEqual(t, got, d.Read().Fine)
	classic := scrape("text/plain")[name].Metric[0].Histogram
	assert.Equal(t, len(classic.Bucket), len(metrics.Bounds)+1) // with that of +Inf
	assert.Equal(t, len(classic.PositiveSpan), 0)
	for i, bound := range metrics.Bounds {
		assert.Equal(t, h.Bucket[i].GetCumulativeCount(), classic.Bucket[i].GetCumulativeCount())
		assert.Equal(t, h.Bucket[i].GetUpperBound(), bound)
	}

	// Without a call there is no time, and nothing to complain about.
	r = prometheus.NewPedanticRegistry()
	r.MustRegister(prom.NewCollector(metrics.New()))
	move := scrape("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")["zk_client_session_move_duration_seconds"]
	assert.Equal(t, move.Metric[0].Histogram.GetSampleCount(), uint64(0))
	assert.Assert(t, len(move.Metric[0].Histogram.PositiveSpan) == 1, "this is how an empty native histogram looks")
}

// No label has many values, and nothing that should not be seen.
func TestLabels(t *testing.T) {
	set, scrape := observed(t)
	text := scrape()
	for _, hidden := range []string{"private-path", "Hush", "127.0.0.1", "0x"} {
		assert.Check(t, !strings.Contains(text, hidden), "%q is there", hidden)
	}
	labels := []string{"code", "direction", "kind", "op", "outcome", "reason", "state", "type"}
	for _, f := range parse(t, text) {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				assert.Check(t, slices.Contains(labels, l.GetName()), l.GetName())
			}
		}
	}
	assert.Assert(t, set.Snapshot().Sessions == 1)
}

// Registering twice is an error that says so; with other values of a label it is none.
func TestRegisteringTwice(t *testing.T) {
	set := metrics.New()
	r := prometheus.NewRegistry()
	assert.NilError(t, r.Register(prom.NewCollector(set)))
	err := r.Register(prom.NewCollector(set))
	var twice prometheus.AlreadyRegisteredError
	assert.Assert(t, errors.As(err, &twice), "%v", err)
	assert.ErrorContains(t, err, "duplicate metrics collector registration")
	r = prometheus.NewRegistry()
	for _, name := range []string{"a", "b"} {
		labelled := prometheus.WrapRegistererWith(prometheus.Labels{"ensemble": name}, r)
		assert.NilError(t, labelled.Register(prom.NewCollector(metrics.New())))
	}
	_, err = r.Gather()
	assert.NilError(t, err)
}

// Without a Session there is no lease, which would look like a danger.
func TestNoLease(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(prom.NewCollector(metrics.New()))
	families, err := r.Gather()
	assert.NilError(t, err)
	for _, f := range families {
		assert.Check(t, f.GetName() != "zk_client_session_lease_seconds")
	}
	assert.Assert(t, len(families) > 15)
}

// WithServer shows where the sessions are.
func TestWithServer(t *testing.T) {
	e := zktest.NewServer(t)
	set := metrics.New()
	conf := zk.Config{Addrs: e.Addrs()}
	set.Attach(&conf)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(prom.NewCollector(set, prom.WithServer()))
	sessions := func() map[string]float64 {
		families, err := r.Gather()
		assert.NilError(t, err)
		n := make(map[string]float64)
		for _, f := range families {
			if f.GetName() == "zk_client_sessions" {
				for _, m := range f.Metric {
					n[m.Label[0].GetValue()+m.Label[1].GetValue()] = m.Gauge.GetValue()
				}
			}
		}
		return n
	}
	assert.Equal(t, len(sessions()), 0)
	for range 2 {
		s, err := zk.Dial(context.Background(), conf)
		assert.NilError(t, err)
		defer s.Close()
	}
	assert.DeepEqual(t, sessions(), map[string]float64{e.Addr() + "connected": 2})
}
