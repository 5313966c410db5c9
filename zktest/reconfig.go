package zktest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// The ports of a member that nobody listens on.
func quorumPort(member int) int   { return 20001 + member }
func electionPort(member int) int { return 30001 + member }

// configData returns what /zookeeper/config says at first. That of a server alone is empty.
func (e *Ensemble) configData() []byte {
	if len(e.members) == 1 {
		return []byte{}
	}
	var b strings.Builder
	for i, m := range e.members {
		_, port, _ := net.SplitHostPort(m.addr)
		fmt.Fprintf(&b, "server.%d=127.0.0.1:%d:%d:participant;127.0.0.1:%s\n", i+1, quorumPort(i), electionPort(i), port)
	}
	return fmt.Appendf(nil, "%sversion=%x", b.String(), firstZxid)
}

// reconfig changes the configuration that /zookeeper/config tells. The members
// themselves stay as they are.
func (p *prep) reconfig(r *request, zxid int64) ([]change, int32) {
	e := p.e
	switch {
	case !e.opts.Reconfig:
		return nil, wire.ErrReconfigDisabled
	case len(e.members) == 1:
		return nil, wire.ErrUnimplemented
	case r.reconfig.ConfigID != -1 && r.reconfig.ConfigID != e.config:
		return nil, wire.ErrBadVersion
	}
	n := e.head.nodes[configPath]
	var servers []string
	for line := range strings.Lines(string(n.data)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "server.") {
			servers = append(servers, line)
		}
	}
	servers, ok := newServers(servers, &r.reconfig)
	if !ok || len(servers) < 2 {
		return nil, wire.ErrBadArguments
	}
	if !n.acl.allowed(wire.PermWrite, p.conn.ids) {
		return nil, wire.ErrNoAuth
	}
	e.config = zxid
	data := strings.Join(servers, "\n") + "\nversion=" + strconv.FormatInt(zxid, 16)
	return []change{{op: wire.OpSetData, path: configPath, data: []byte(data), version: -1}}, 0
}

// newServers returns the server lines after a reconfig.
func newServers(servers []string, q *wire.ReconfigRequest) ([]string, bool) {
	if q.NewMembers != nil {
		servers = nil
		for line := range strings.FieldsFuncSeq(*q.NewMembers, func(c rune) bool { return c == ',' || c == '\n' }) {
			if strings.HasPrefix(line, "version=") {
				continue
			}
			if serverID(line) < 0 {
				return nil, false
			}
			servers = append(servers, line)
		}
		return servers, true
	}
	drop := func(id int) {
		servers = slices.DeleteFunc(servers, func(line string) bool { return serverID(line) == id })
	}
	for _, part := range list(q.Leaving) {
		id, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		drop(id)
	}
	for _, part := range list(q.Joining) {
		id := serverID(part)
		if id < 0 {
			return nil, false
		}
		drop(id)
		servers = append(servers, part)
	}
	slices.SortFunc(servers, func(a, b string) int { return serverID(a) - serverID(b) })
	return servers, true
}

func list(s *string) []string {
	if s == nil || *s == "" {
		return nil
	}
	return strings.Split(*s, ",")
}

// serverID returns the number of a "server.N=host:port:port:role;port" line, or -1.
func serverID(line string) int {
	key, spec, _ := strings.Cut(line, "=")
	id, err := strconv.Atoi(strings.TrimPrefix(key, "server."))
	if err != nil || !strings.HasPrefix(key, "server.") || strings.Count(spec, ":") < 2 || !strings.Contains(spec, ";") {
		return -1
	}
	return id
}
