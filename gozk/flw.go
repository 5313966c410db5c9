package zk

import (
	"context"
	"time"

	"github.com/seed-9f8420c6/zk/fourletter"
)

// each gives each server its part of the time.
func each(servers []string, timeout time.Duration, f func(ctx context.Context, i int, c fourletter.Client)) {
	for i, addr := range FormatServers(servers) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		f(ctx, i, fourletter.Client{Addr: addr})
		cancel()
	}
}

var modes = map[string]Mode{"leader": ModeLeader, "follower": ModeFollower, "standalone": ModeStandalone}

// FLWSrvr asks each server what it is and does. false: one of the results has an Error.
func FLWSrvr(servers []string, timeout time.Duration) ([]*ServerStats, bool) {
	out, ok := make([]*ServerStats, len(servers)), true
	each(servers, timeout, func(ctx context.Context, i int, c fourletter.Client) {
		s, err := c.Srvr(ctx)
		if err != nil {
			out[i], ok = &ServerStats{Server: c.Addr, Error: err}, false
			return
		}
		out[i] = &ServerStats{
			Server: c.Addr, Sent: s.Sent, Received: s.Received, NodeCount: s.Nodes,
			MinLatency: s.MinLatency.Milliseconds(), MaxLatency: s.MaxLatency.Milliseconds(),
			AvgLatency:  float64(s.AvgLatency) / float64(time.Millisecond),
			Connections: s.Connections, Outstanding: s.Outstanding,
			Epoch: int32(s.Zxid >> 32), Counter: int32(s.Zxid),
			BuildTime: s.BuiltAt, Mode: modes[s.Mode], Version: s.Version,
		}
		if s.Revision != "" {
			out[i].Version += "-" + s.Revision
		}
	})
	return out, ok
}

// FLWRuok asks each server whether its process is alive.
func FLWRuok(servers []string, timeout time.Duration) []bool {
	out := make([]bool, len(servers))
	each(servers, timeout, func(ctx context.Context, i int, c fourletter.Client) { out[i] = c.Ruok(ctx) == nil })
	return out
}

// FLWCons asks each server for its clients. Connections without a session are left
// out. false: one of the results has an Error.
func FLWCons(servers []string, timeout time.Duration) ([]*ServerClients, bool) {
	out, ok := make([]*ServerClients, len(servers)), true
	each(servers, timeout, func(ctx context.Context, i int, c fourletter.Client) {
		out[i] = new(ServerClients)
		conns, err := c.Cons(ctx)
		if err != nil {
			out[i].Error, ok = err, false
			return
		}
		for _, conn := range conns {
			if conn.LastOp != "" {
				out[i].Clients = append(out[i].Clients, serverClient(conn))
			}
		}
	})
	return out, ok
}

func serverClient(c fourletter.Conn) *ServerClient {
	ms := func(d time.Duration) int32 { return int32(d.Milliseconds()) }
	return &ServerClient{
		Queued: c.Queued, Received: c.Received, Sent: c.Sent,
		SessionID: c.Session, Lcxid: c.LastCxid, Lzxid: c.LastZxid, Timeout: ms(c.Timeout),
		LastLatency: ms(c.LastLatency), MinLatency: ms(c.MinLatency), AvgLatency: ms(c.AvgLatency), MaxLatency: ms(c.MaxLatency),
		Established: c.Established, LastResponse: time.UnixMilli(c.LastResponse.Milliseconds()),
		Addr: c.Addr, LastOperation: c.LastOp,
	}
}
