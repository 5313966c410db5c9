package fourletter

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// scanner reads numbers and keeps the first thing that is wrong.
type scanner struct{ err error }

func (s *scanner) fail(what, text string) {
	if s.err == nil {
		s.err = malformed(fmt.Sprintf("%s %.100q", what, text))
	}
}

func (s *scanner) int(name, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.fail(name, text)
	}
	return n
}

// small is int for what fits an int everywhere.
func (s *scanner) small(name, text string) int {
	n := s.int(name, text)
	if n != int64(int32(n)) {
		s.fail(name, text)
	}
	return int(int32(n))
}

// hex reads 0x…, of 64 bits of which the first may be a sign.
func (s *scanner) hex(name, text string) int64 {
	digits, ok := strings.CutPrefix(text, "0x")
	n, err := strconv.ParseUint(digits, 16, 64)
	if !ok || err != nil {
		s.fail(name, text)
	}
	return int64(n)
}

// millis reads milliseconds, whole ones or not.
func (s *scanner) millis(name, text string) time.Duration {
	ms, err := strconv.ParseFloat(text, 64)
	ns := ms * float64(time.Millisecond)
	if err != nil || math.IsNaN(ns) || math.Abs(ns) >= math.MaxInt64 {
		s.fail(name, text)
		return 0
	}
	return time.Duration(ns)
}

// three splits a/b/c.
func (s *scanner) three(name, text string) [3]string {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		s.fail(name, text)
		return [3]string{}
	}
	return [3]string(parts)
}

// version splits "3.6.4--d652…, built on 12/18/2022 18:10 GMT". A build without a
// qualifier may have two dashes before its revision, and an unknown revision is -1.
func version(text string) (version, revision, built string) {
	text, built, _ = strings.Cut(text, ", built on ")
	if version, ok := strings.CutSuffix(text, "--1"); ok {
		return strings.TrimRight(version, "-"), "-1", built
	}
	i := strings.LastIndexByte(text, '-')
	if i >= 0 && strings.Trim(text[i+1:], "0123456789abcdefABCDEF") == "" {
		return strings.TrimRight(text[:i], "-"), text[i+1:], built
	}
	return text, "", built // or only a qualifier, as of 3.5.3-beta
}

// builtAt reads the forms of ZooKeeper's builds since 3.2. Other zones' names
// mean one thing here and another there.
func builtAt(text string) time.Time {
	for _, form := range []string{"01/02/2006 15:04", "2006-01-02 15:04"} {
		for _, zone := range []string{" GMT", " UTC"} {
			if at, err := time.Parse(form+zone, text); err == nil {
				return at.UTC()
			}
		}
	}
	return time.Time{}
}

func parseSrvr(text string) (Server, error) {
	var sv Server
	var s scanner
	mode := false
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "Zookeeper version":
			sv.Version, sv.Revision, sv.Built = version(value)
			sv.BuiltAt = builtAt(sv.Built)
		case "Latency min/avg/max":
			x := s.three(name, value)
			sv.MinLatency, sv.AvgLatency, sv.MaxLatency = s.millis(name, x[0]), s.millis(name, x[1]), s.millis(name, x[2])
		case "Received":
			sv.Received = s.int(name, value)
		case "Sent":
			sv.Sent = s.int(name, value)
		case "Connections":
			sv.Connections = s.int(name, value)
		case "Outstanding":
			sv.Outstanding = s.int(name, value)
		case "Zxid":
			sv.Zxid = s.hex(name, value)
		case "Mode":
			sv.Mode, mode = value, true
		case "Node count":
			sv.Nodes = s.int(name, value)
		case "Proposal sizes last/min/max":
			x := s.three(name, value)
			sv.LastProposal, sv.MinProposal, sv.MaxProposal = s.int(name, x[0]), s.int(name, x[1]), s.int(name, x[2])
		}
	}
	if s.err == nil && (sv.Version == "" || !mode) {
		s.fail("no version and mode in", text)
	}
	if s.err != nil {
		return Server{}, s.err
	}
	return sv, nil
}

func parseStat(text string) (Stat, error) {
	head, rest, ok := strings.Cut(text, "Clients:\n")
	conns, tail, ended := strings.Cut(rest, "\n\n")
	if rest, none := strings.CutPrefix(rest, "\n"); none { // nobody is connected
		conns, tail, ended = "", rest, true
	}
	if !ok || !ended {
		return Stat{}, malformed(fmt.Sprintf("no clients in %.100q", text))
	}
	var st Stat
	var err error
	if st.Conns, err = parseCons(conns); err != nil {
		return Stat{}, err
	}
	if st.Server, err = parseSrvr(head + tail); err != nil {
		return Stat{}, err
	}
	return st, nil
}

func parseCons(text string) ([]Conn, error) {
	var s scanner
	var conns []Conn
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if conns = append(conns, s.conn(line)); s.err != nil {
			return nil, s.err
		}
	}
	return conns, nil
}

// conn reads " /127.0.0.1:1234[1](queued=0,recved=1,sent=0)".
func (s *scanner) conn(line string) Conn {
	head, rest, ok := strings.Cut(line, "(")
	at := strings.LastIndexByte(head, '[')
	fields, closed := strings.CutSuffix(rest, ")")
	if !ok || !closed || at < 0 {
		s.fail("connection", line)
		return Conn{}
	}
	c := Conn{Addr: clientAddr(head[:at])}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "queued":
			c.Queued = s.int(name, value)
		case "recved":
			c.Received = s.int(name, value)
		case "sent":
			c.Sent = s.int(name, value)
		case "sid":
			c.Session = s.hex(name, value)
		case "lop":
			c.LastOp = value
		case "est":
			c.Established = time.UnixMilli(s.int(name, value))
		case "to":
			c.Timeout = s.millis(name, value)
		case "lcxid":
			c.LastCxid = s.hex(name, value)
		case "lzxid":
			c.LastZxid = s.hex(name, value)
		case "lresp":
			c.LastResponse = s.millis(name, value)
		case "llat":
			c.LastLatency = s.millis(name, value)
		case "minlat":
			c.MinLatency = s.millis(name, value)
		case "avglat":
			c.AvgLatency = s.millis(name, value)
		case "maxlat":
			c.MaxLatency = s.millis(name, value)
		}
	}
	return c
}

// clientAddr makes host:port of what Java prints: with a slash, and a name before
// it if it knows one; and up to Java 13 an IPv6 address without brackets.
func clientAddr(text string) string {
	addr := text[strings.LastIndexByte(text, '/')+1:]
	if i := strings.LastIndexByte(addr, ':'); i >= 0 && addr[0] != '[' && strings.IndexByte(addr, ':') < i {
		return net.JoinHostPort(addr[:i], addr[i+1:])
	}
	return addr
}

func parseMntr(text string) (Metrics, error) {
	m := Metrics{Values: make(map[string]float64), Text: make(map[string]string)}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "\t")
		if !ok || name == "" {
			return Metrics{}, malformed(fmt.Sprintf("metric %.100q", line))
		}
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			m.Values[name] = n
		} else {
			m.Text[name] = value
		}
	}
	m.Version, _, _ = version(m.Text["zk_version"])
	m.State = m.Text["zk_server_state"]
	if m.Version == "" || m.State == "" {
		return Metrics{}, malformed(fmt.Sprintf("no version and state in %.100q", text))
	}
	return m, nil
}

func parseIsro(text string) (bool, error) {
	switch answer := strings.TrimSpace(text); answer {
	case "ro":
		return true, nil
	case "rw":
		return false, nil
	case "null":
		return false, ErrNotServing
	default:
		return false, malformed(fmt.Sprintf("%.100q", answer))
	}
}

func parseConf(text string) (Conf, error) {
	var s scanner
	c := Conf{Values: make(map[string]string)}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue // "membership:"
		}
		if strings.HasPrefix(name, "server.") {
			c.Members = append(c.Members, line)
			continue
		}
		c.Values[name] = value
		switch name {
		case "serverId":
			c.ServerID = s.int(name, value)
		case "clientPort":
			c.ClientPort = s.small(name, value)
		case "secureClientPort":
			c.SecureClientPort = s.small(name, value)
		case "dataDir":
			c.DataDir = value
		case "dataLogDir":
			c.DataLogDir = value
		case "tickTime":
			c.TickTime = s.millis(name, value)
		case "minSessionTimeout":
			c.MinSessionTimeout = s.millis(name, value)
		case "maxSessionTimeout":
			c.MaxSessionTimeout = s.millis(name, value)
		case "maxClientCnxns":
			c.MaxClientCnxns = s.small(name, value)
		case "initLimit":
			c.InitLimit = s.small(name, value)
		case "syncLimit":
			c.SyncLimit = s.small(name, value)
		case "version":
			c.ConfigVersion = s.hex(name, "0x"+value)
		}
	}
	if _, ok := c.Values["tickTime"]; s.err == nil && !ok {
		s.fail("no tickTime in", text)
	}
	if s.err != nil {
		return Conf{}, s.err
	}
	return c, nil
}

func parseEnvi(text string) (map[string]string, error) {
	rest, ok := strings.CutPrefix(text, "Environment:\n")
	if !ok {
		return nil, malformed(fmt.Sprintf("environment %.100q", text))
	}
	env := make(map[string]string)
	for line := range strings.Lines(rest) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			env[name] = value
		}
	}
	return env, nil
}

func parseDirs(text string) (Dirs, error) {
	var s scanner
	var d Dirs
	found := 0
	for line := range strings.Lines(text) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); name {
		case "datadir_size":
			d.Data, found = s.int(name, value), found|1
		case "logdir_size":
			d.Log, found = s.int(name, value), found|2
		}
	}
	if s.err == nil && found != 3 {
		s.fail("sizes", text)
	}
	if s.err != nil {
		return Dirs{}, s.err
	}
	return d, nil
}
