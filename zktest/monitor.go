package zktest

import (
	"fmt"
	"strings"
)

// sizes are those of replies or proposals in bytes.
type sizes struct{ last, least, most int }

func (s *sizes) add(n int) {
	if s.last == 0 {
		s.least = n
	}
	s.last, s.least, s.most = n, min(s.least, n), max(s.most, n)
}

// known returns one of the sizes, or -1 while there is none.
func (s *sizes) known(n int) int {
	if s.last == 0 {
		return -1
	}
	return n
}

// gauge is a line of mntr.
type gauge struct {
	key   string
	value any
}

// monitor reports what a real server does, except for the hundreds of meters
// of its insides that those from 3.6 on have besides.
func (m *Member) monitor(b *strings.Builder) {
	lines := m.gauges
	if m.ens.opts.Version < V36 {
		lines = m.oldGauges
	}
	for _, g := range lines() {
		fmt.Fprintf(b, "zk_%s\t%v\n", g.key, g.value)
	}
}

func (m *Member) leads() bool { return m.mode() == "leader" }

// followers counts the other members that take part.
func (m *Member) followers() int {
	n := 0
	for _, o := range m.ens.members {
		if o != m && o.running && !o.idle && !o.readOnly {
			n++
		}
	}
	return n
}

// oldGauges are the lines of releases before 3.6, in their order.
func (m *Member) oldGauges() []gauge {
	e, t, v := m.ens, m.tree, m.ens.opts.Version
	lines := []gauge{
		{"version", releases[v]},
		{"avg_latency", 0},
		{"max_latency", 0},
		{"min_latency", 0},
		{"packets_received", m.traffic.received},
		{"packets_sent", m.traffic.sent},
		{"num_alive_connections", len(m.conns)},
		{"outstanding_requests", 0},
		{"server_state", m.mode()},
		{"znode_count", t.Len()},
		{"watch_count", m.watches.Total()},
		{"ephemerals_count", t.Ephemerals()},
		{"approximate_data_size", t.ApproximateSize()},
		{"open_file_descriptor_count", len(e.conns)},
		{"max_file_descriptor_count", 1 << 20},
	}
	if v == V34 {
		lines = append(lines, gauge{"fsync_threshold_exceed_count", 0})
	}
	if p := &m.proposals; m.leads() {
		lines = append(lines, []gauge{
			{"followers", m.followers()},
			{"synced_followers", m.followers()},
			{"pending_syncs", 0},
			{"last_proposal_size", p.known(p.last)},
			{"max_proposal_size", p.known(p.most)},
			{"min_proposal_size", p.known(p.least)},
		}...)
	}
	return lines
}

// gauges are the lines since 3.6, whose order means nothing.
func (m *Member) gauges() []gauge {
	e, t, v := m.ens, m.tree, m.ens.opts.Version
	uptime := e.now.Sub(m.started).Milliseconds()
	lines := []gauge{
		{"version", releases[v]},
		{"server_state", m.mode()},
		{"ephemerals_count", t.Ephemerals()},
		{"num_alive_connections", len(m.conns)},
		{"avg_latency", "0.0"},
		{"outstanding_requests", 0},
		{"znode_count", t.Len()},
		{"global_sessions", len(e.sessions)},
		{"non_mtls_remote_conn_count", 0},
		{"last_client_response_size", m.sizes.known(m.sizes.last)},
		{"packets_sent", m.traffic.sent},
		{"packets_received", m.traffic.received},
		{"max_client_response_size", m.sizes.known(m.sizes.most)},
		{"connection_drop_probability", "0.0"},
		{"watch_count", m.watches.Total()},
		{"auth_failed_count", 0},
		{"min_latency", 0},
		{"max_file_descriptor_count", 1 << 20},
		{"approximate_data_size", t.ApproximateSize()},
		{"open_file_descriptor_count", len(e.conns)},
		{"local_sessions", len(m.locals)},
		{"uptime", uptime},
		{"max_latency", 0},
		{"outstanding_tls_handshake", 0},
		{"min_client_response_size", m.sizes.known(m.sizes.least)},
		{"non_mtls_local_conn_count", 0},
	}
	switch p := &m.proposals; m.mode() {
	case "leader":
		lines = append(lines, []gauge{
			{"peer_state", "leading - broadcast"},
			{"min_proposal_size", p.known(p.least)},
			{"max_proposal_size", p.known(p.most)},
			{"last_proposal_size", p.known(p.last)},
			{"synced_followers", m.followers()},
			{"synced_non_voting_followers", 0},
			{"synced_observers", 0},
			{"pending_syncs", 0},
			{"leader_uptime", uptime},
			{"learners", m.followers()},
		}...)
	case "follower":
		lines = append(lines, gauge{"peer_state", "following - broadcast"})
	}
	if len(e.members) > 1 && !m.readOnly {
		lines = append(lines, gauge{"quorum_size", len(e.members)})
	}
	return lines
}
