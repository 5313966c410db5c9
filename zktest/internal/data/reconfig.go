package data

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// QuorumPort and ElectionPort are the ports of a member that nobody listens on.
func QuorumPort(member int) int   { return 20001 + member }
func ElectionPort(member int) int { return 30001 + member }

// FirstConfig returns what ConfigPath says at first. clients are the addresses
// of the members, host:port. The configuration of a server alone is empty.
func FirstConfig(clients []string) []byte {
	if len(clients) == 1 {
		return []byte{}
	}
	var list []quorumServer
	for i, addr := range clients {
		host, port, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		list = append(list, quorumServer{
			id: int64(i + 1), host: JavaHost(host), quorum: QuorumPort(i), election: ElectionPort(i), clientHost: JavaHost(host), client: n,
		})
	}
	return configText(list, FirstEpoch)
}

// quorumServer is what a line "server.1=host:quorum:election:participant;host:client" says (QuorumServer).
type quorumServer struct {
	id               int64
	host             string
	quorum, election int
	observer         bool
	clientHost       string // empty: no port for clients
	client           int
}

// String writes the server in full, whatever its line left out.
func (q quorumServer) String() string {
	role := "participant"
	if q.observer {
		role = "observer"
	}
	text := fmt.Sprintf("%s:%d:%d:%s", Delimited(q.host), q.quorum, q.election, role)
	if q.clientHost != "" {
		text += fmt.Sprintf(";%s:%d", Delimited(q.clientHost), q.client)
	}
	return text
}

// Delimited puts an IPv6 address into brackets.
func Delimited(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// configText is what a configuration looks like in its node (QuorumMaj).
func configText(servers []quorumServer, zxid int64) []byte {
	var b []byte
	for _, q := range servers {
		b = fmt.Appendf(b, "server.%d=%v\n", q.id, q)
	}
	return fmt.Appendf(b, "version=%x", zxid)
}

// Reconfig puts a change of the configuration that ConfigPath tells into x, or
// says which error it gets. The members themselves stay as they are; connected
// says which of them, by id, take part.
func (p *Prep) Reconfig(by Caller, r *Request, x *Txn, connected func(id int64) bool) int32 {
	switch {
	case p.Members == 1:
		return wire.ErrUnimplemented
	case r.Reconfig.ConfigID != -1 && r.Reconfig.ConfigID != p.config:
		return wire.ErrBadVersion
	}
	n := p.Head.nodes[ConfigPath]
	var servers []quorumServer
	var code int32
	if r.Reconfig.NewMembers != nil {
		servers, code = p.Version.allServers(JavaText(*r.Reconfig.NewMembers))
	} else {
		now, _ := p.Version.allServers(string(n.Data))
		servers, code = p.Version.changeServers(now, &r.Reconfig)
	}
	if code != 0 {
		return code
	}
	voters, synced := 0, 0
	for _, q := range servers {
		if q.observer {
			continue
		}
		voters++
		if connected(q.id) {
			synced++
		}
	}
	switch {
	case voters < 2:
		return wire.ErrBadArguments
	case synced <= voters/2:
		return wire.ErrNewConfigNoQuorum
	case !n.ACL.Allowed(wire.PermWrite, by.IDs):
		return wire.ErrNoAuth
	}
	p.config = x.Zxid
	x.Changes = []Change{{Op: wire.OpReconfig, Path: ConfigPath, Data: configText(servers, x.Zxid), version: -1}}
	return 0
}

// allServers reads a whole configuration, which is one of Java's properties
// files but for commas instead of line ends.
func (v Version) allServers(text string) ([]quorumServer, int32) {
	values := map[string]string{}
	var keys []string
	for line := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ',' || c == '\n' || c == '\r' }) {
		if line = strings.TrimLeft(line, " \t\f"); line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		end := strings.IndexAny(line, "=: \t\f")
		key, value := line, ""
		if end >= 0 {
			key, value = line[:end], strings.TrimLeft(line[end:], " \t\f")
			if value != "" && (value[0] == '=' || value[0] == ':') {
				value = strings.TrimLeft(value[1:], " \t\f")
			}
		}
		if _, twice := values[key]; !twice {
			keys = append(keys, key)
		}
		values[key] = value
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, "server.") && key != "version" {
			return nil, wire.ErrBadArguments
		}
	}
	var list []quorumServer
	voters := 0
	for _, key := range keys {
		if key == "version" {
			if _, err := strconv.ParseInt(values[key], 16, 64); err != nil {
				return nil, wire.ErrMarshalling
			}
			continue
		}
		id, err := strconv.ParseInt(strings.TrimPrefix(key, "server."), 10, 64)
		if err != nil {
			return nil, wire.ErrMarshalling
		}
		q, code := v.server(id, values[key])
		if code != 0 {
			return nil, code
		}
		list = slices.DeleteFunc(list, func(other quorumServer) bool { return other.id == id })
		list = append(list, q)
		if !q.observer {
			voters++
		}
	}
	if voters < 2 && voters < len(list) {
		return nil, wire.ErrMarshalling // observers need a quorum
	}
	inMapOrder(list, 16)
	return list, 0
}

// changeServers applies the lists of those who leave and who join.
func (v Version) changeServers(now []quorumServer, r *wire.ReconfigRequest) ([]quorumServer, int32) {
	list := slices.Clone(now)
	buckets := 1
	for float64(buckets) < float64(len(list))/.75+1 {
		buckets *= 2
	}
	inMapOrder(list, buckets)
	drop := func(id int64) {
		list = slices.DeleteFunc(list, func(q quorumServer) bool { return q.id == id })
	}
	for _, part := range parts(r.Leaving, ",") {
		id, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil, wire.ErrMarshalling
		}
		drop(id)
	}
	for _, part := range parts(r.Joining, ",") {
		sides := parts(&part, "=")
		if len(sides) != 2 {
			return nil, wire.ErrBadArguments
		}
		id, err := strconv.ParseInt(sides[0][strings.LastIndexByte(sides[0], '.')+1:], 10, 64)
		if err != nil {
			return nil, wire.ErrMarshalling
		}
		q, code := v.server(id, sides[1])
		switch {
		case code != 0:
			return nil, code
		case q.clientHost == "", slices.ContainsFunc(list, q.clashes):
			return nil, wire.ErrBadArguments
		}
		drop(id)
		if list = append(list, q); len(list)*4 > buckets*3 {
			buckets *= 2
		}
	}
	inMapOrder(list, buckets)
	return list, 0
}

// inMapOrder sorts servers as a Java HashMap has them.
func inMapOrder(list []quorumServer, buckets int) {
	for len(list)*4 > buckets*3 {
		buckets *= 2
	}
	bucket := func(q quorumServer) uint32 {
		h := uint32(q.id) ^ uint32(q.id>>32)
		return (h ^ h>>16) & uint32(buckets-1)
	}
	slices.SortStableFunc(list, func(a, b quorumServer) int { return cmp.Compare(bucket(a), bucket(b)) })
}

// parts splits a list as StringUtils.split does; null has none.
func parts(list *string, separator string) []string {
	if list == nil {
		return nil
	}
	all := strings.Split(JavaText(*list), separator)
	for i := range all {
		all[i] = strings.TrimFunc(all[i], func(c rune) bool { return c <= ' ' })
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// javaSplit splits as String.split does, without the empty strings at the end.
func javaSplit(s, separator string) []string {
	if s == "" {
		return []string{""}
	}
	list := strings.Split(s, separator)
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

// server reads what is behind "server.id=".
func (v Version) server(id int64, text string) (quorumServer, int32) {
	q := quorumServer{id: id}
	bad := func(code int32) (quorumServer, int32) { return quorumServer{}, code }
	sides := javaSplit(text, ";")
	if len(sides) == 0 {
		return bad(wire.ErrMarshalling)
	}
	address, ok := v.hostAndPorts(sides[0])
	if v <= V35 && (!ok || len(sides) > 2 || len(address) < 3 || len(address) > 4) {
		return bad(wire.ErrBadArguments)
	}
	if len(sides) == 2 {
		client, ok := v.hostAndPorts(sides[1])
		switch {
		case !ok || len(client) > 2:
			return bad(wire.ErrBadArguments)
		case len(client) == 0:
			return bad(wire.ErrMarshalling)
		case len(client) == 1:
			client = []string{"0.0.0.0", client[0]}
		}
		var code int32
		if q.client, code = javaPort(client[1]); code != 0 {
			return bad(code)
		}
		q.clientHost = JavaHost(client[0])
	}
	if !ok || len(sides) > 2 || len(address) < 3 || len(address) > 4 || strings.Contains(sides[0], "|") {
		return bad(wire.ErrBadArguments)
	}
	var code int32
	if q.quorum, code = javaPort(address[1]); code != 0 {
		return bad(code)
	}
	if q.election, code = javaPort(address[2]); code != 0 {
		return bad(code)
	}
	if q.quorum == q.election {
		return bad(wire.ErrBadArguments)
	}
	if len(address) == 4 {
		role := strings.ToLower(address[3])
		if v >= V36 {
			role = strings.TrimFunc(role, func(c rune) bool { return c <= ' ' })
		}
		if q.observer = role == "observer"; !q.observer && role != "participant" {
			return bad(wire.ErrBadArguments)
		}
	}
	q.host = JavaHost(address[0])
	return q, 0
}

// hostAndPorts splits at colons; the host may be an IPv6 address in brackets (ConfigUtils.getHostAndPort).
func (v Version) hostAndPorts(s string) ([]string, bool) {
	if !strings.HasPrefix(s, "[") {
		return javaSplit(s, ":"), true
	}
	host, rest, ok := strings.Cut(s[1:], "]")
	switch {
	case !ok, rest == ":", v <= V35 && !strings.HasPrefix(rest, ":"):
		return nil, false
	case rest == "":
		return []string{host}, true
	}
	return append([]string{host}, javaSplit(rest[1:], ":")...), true
}

func javaPort(s string) (int, int32) {
	n, err := strconv.ParseInt(s, 10, 32)
	switch {
	case err != nil:
		return 0, wire.ErrBadArguments
	case n < 0 || n > math.MaxUint16: // a different exception
		return 0, wire.ErrMarshalling
	}
	return int(n), 0
}

// JavaHost is how Java writes a host.
func JavaHost(host string) string {
	if host == "" {
		return "localhost"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.Is6() {
		return host
	}
	b := addr.As16()
	words := make([]string, 8)
	for i := range words {
		words[i] = strconv.FormatUint(uint64(b[2*i])<<8|uint64(b[2*i+1]), 16)
	}
	return strings.Join(words, ":")
}

// clashes says whether another server has one of q's addresses. Those of the
// local host, and names, which a server in a test does not look up, clash with none.
func (q quorumServer) clashes(other quorumServer) bool {
	if q.id == other.id {
		return false
	}
	for _, a := range q.addresses() {
		if slices.Contains(other.addresses(), a) {
			return true
		}
	}
	return false
}

func (q quorumServer) addresses() []netip.AddrPort {
	var list []netip.AddrPort
	add := func(host string, port int) {
		if addr, err := netip.ParseAddr(host); err == nil && !addr.IsLoopback() && !addr.IsUnspecified() {
			list = append(list, netip.AddrPortFrom(addr, uint16(port)))
		}
	}
	add(q.host, q.quorum)
	add(q.host, q.election)
	add(q.clientHost, q.client)
	return list
}
