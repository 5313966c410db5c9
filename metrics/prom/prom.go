// Package prom shows a metrics.Set to Prometheus.
//
//	set := metrics.Attach(&conf)
//	prometheus.MustRegister(prom.NewCollector(set))
//
// The Set is read when Prometheus asks, and costs nothing in between. No label
// has a path, a session or an address. Each label has few values. Histograms are native
// where the server asks for that, and have classic buckets as well.
package prom

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/seed-9f8420c6/zk/metrics"
)

// NewCollector returns a Collector of a Set. If the registry has one already,
// Register returns an error that says so. To register several Sets, give each of
// them another value of the same label, by prometheus.WrapRegistererWith.
func NewCollector(set *metrics.Set, opts ...Option) prometheus.Collector {
	c := &collector{set: set, sessions: sessions}
	for _, o := range opts {
		o(c)
	}
	return c
}

// Option changes what a Collector shows.
type Option func(*collector)

// WithServer adds the server's address, as configured, to the sessions: the label server
// has as many values as the ensemble has members.
func WithServer() Option { return func(c *collector) { c.sessions = byServer } }

type collector struct {
	set      *metrics.Set
	sessions *prometheus.Desc
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("zk_client_"+name, help, labels, nil)
}

var (
	sessions = desc("sessions", "Sessions that live, by state.", "state")
	byServer = prometheus.NewDesc("zk_client_sessions", "Sessions that live, by state.", []string{"state", "server"}, nil)
	dials    = desc("dials_total", "Attempts to get a session from one address.")
	failed   = desc("dial_failures_total", "Attempts that gave no session, by reason.", "reason")
	moves    = desc("session_moves_total", "Sessions that have moved to another connection.")
	renewals = desc("session_renewals_total", "New sessions that have taken over the watches of an old one.")
	expired  = desc("sessions_expired_total", "Answers of a server that a session has expired.")
	moveTime = desc("session_move_duration_seconds", "Time from the end of a Session until its successor had its watches back.")
	lost     = desc("connections_lost_total", "Connections that were lost, by reason.", "reason")
	frames   = desc("frames_total", "Frames sent and received.", "direction")
	bytes    = desc("bytes_total", "Bytes sent and received.", "direction")
	failures = desc("call_failures_total", "Calls that have failed, by operation, outcome and error.", "op", "outcome", "code")
	pending  = desc("calls_pending", "Requests that wait for their replies.")
	given    = desc("calls_abandoned_total", "Calls that were sent and given up by their context.")
	callTime = desc("call_duration_seconds", "Time of calls, by operation.", "op")
	oldest   = desc("oldest_call_seconds", "How long the oldest request has waited for its reply.")
	watches  = desc("watches", "Armed watches, by kind.", "kind")
	events   = desc("events_total", "Events for armed channels, by type.", "type")
	ignored  = desc("events_ignored_total", "Events that no channel was armed for.")
	queued   = desc("events_queued", "Events that wait for room in their channels.")
	stuck    = desc("oldest_queued_event_seconds", "How long the first of the queued events has found its channel full.")
	gaps     = desc("gaps_total", "Gaps: persistent watches that may have missed changes.")
	closed   = desc("closed_channels_total", "Watches that were lost because their channels were closed.")
	pings    = desc("pings_total", "Pings sent.")
	pingTime = desc("ping_duration_seconds", "Time of pings.")
	lease    = desc("session_lease_seconds", "Time until the first session may expire, if its server is not heard again.")
	zxid     = desc("last_zxid", "The newest transaction that a reply has reported.")
)

// others are all but the sessions.
var others = []*prometheus.Desc{
	dials, failed, moves, renewals, expired, moveTime, lost, frames, bytes, failures, pending, given, callTime, oldest, watches, events,
	ignored, queued, stuck, gaps, closed, pings, pingTime, lease, zxid,
}

// Describe sends the descriptions.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.sessions
	for _, d := range others {
		ch <- d
	}
}

// Collect sends one consistent reading.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	x := c.set.Snapshot()
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if c.sessions == sessions {
		gauge(sessions, float64(x.Sessions), "connected")
	} else {
		n := make(map[string]int)
		for _, s := range c.set.Sessions() {
			n[s.Addr()]++
		}
		for addr, n := range n {
			gauge(byServer, float64(n), "connected", addr)
		}
	}
	count(dials, x.Dials)
	count(moves, x.Moves)
	count(renewals, x.Renews)
	count(expired, x.Expired)
	count(frames, x.FramesSent, "sent")
	count(frames, x.FramesReceived, "received")
	count(bytes, x.BytesSent, "sent")
	count(bytes, x.BytesReceived, "received")
	gauge(pending, float64(x.CallsPending))
	count(given, x.CallsAbandoned)
	gauge(oldest, x.OldestCall.Seconds())
	count(ignored, x.EventsIgnored)
	gauge(queued, float64(x.EventsQueued))
	gauge(stuck, x.OldestQueuedEvent.Seconds())
	count(gaps, x.Gaps)
	count(closed, x.ClosedChannels)
	count(pings, x.Pings)
	if x.Sessions > 0 { // else a lease of zero would look like a danger
		gauge(lease, x.Lease.Seconds())
	}
	gauge(zxid, float64(x.Zxid))
	for d, byLabel := range map[*prometheus.Desc]map[string]int64{failed: x.DialsFailed, lost: x.ConnectionsLost, events: x.Events} {
		for label, n := range byLabel {
			count(d, n, label)
		}
	}
	for f, n := range x.CallsFailed {
		count(failures, n, f.Op, f.Outcome, f.Code)
	}
	for kind, n := range x.Watches {
		gauge(watches, float64(n), kind)
	}
	ch <- histogram(moveTime, x.MoveTimes)
	ch <- histogram(pingTime, x.PingTimes)
	for op, h := range x.Calls {
		ch <- histogram(callTime, h, op)
	}
}

// histogram has both kinds of buckets: what is scraped as text has the classic ones, and a
// server that asks for native histograms gets those.
func histogram(d *prometheus.Desc, h metrics.Histogram, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(metrics.Bounds))
	n := uint64(0)
	for i, bound := range metrics.Bounds {
		n += uint64(h.Buckets[i])
		buckets[bound] = n
	}
	classic := prometheus.MustNewConstHistogram(d, uint64(h.Count), h.Sum, buckets, labels...)
	native := prometheus.MustNewConstNativeHistogram(d, uint64(h.Count), h.Sum, h.Fine, nil, 0, metrics.FineSchema, 0, time.Time{}, labels...)
	return both{classic, native}
}

// both is a native histogram with classic buckets as well.
type both struct{ classic, native prometheus.Metric }

func (b both) Desc() *prometheus.Desc { return b.classic.Desc() }

func (b both) Write(m *dto.Metric) error {
	var native dto.Metric
	if err := errors.Join(b.classic.Write(m), b.native.Write(&native)); err != nil {
		return err
	}
	h, n := m.Histogram, native.Histogram
	h.Schema, h.ZeroThreshold, h.ZeroCount = n.Schema, n.ZeroThreshold, n.ZeroCount
	h.PositiveSpan, h.PositiveDelta = n.PositiveSpan, n.PositiveDelta
	return nil
}
