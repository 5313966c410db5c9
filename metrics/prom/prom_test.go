package prom_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/metrics"
	"github.com/seed-9f8420c6/zk/metrics/prom"
	"github.com/seed-9f8420c6/zk/zktest"
)

// observed is a Set in which each of the metrics has a value, and its exposition.
func observed(t *testing.T) (*metrics.Set, string) {
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
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	assert.Equal(t, w.Code, 200, w.Body.String())
	return set, w.Body.String()
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
	set, text := observed(t)
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

// No label has many values, and nothing that should not be seen.
func TestLabels(t *testing.T) {
	set, text := observed(t)
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
