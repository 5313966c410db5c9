package zktest

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// words are the commands that a connection may begin with instead of a
// handshake, and the release that first had them.
var words = map[string]Version{
	"conf": V34, "cons": V34, "crst": V34, "dirs": V35, "dump": V34, "envi": V34, "gtmk": V34, "hash": V36, "isro": V34,
	"mntr": V34, "ruok": V34, "srst": V34, "srvr": V34, "stat": V34, "stmk": V34, "wchc": V34, "wchp": V34, "wchs": V34,
}

// fourLetterWord reads a connection's first four bytes. If they are a command
// it returns that, else they stay for the first frame.
func (f *frameReader) fourLetterWord(version Version) (string, error) {
	if err := f.fillTo(4); err != nil {
		if err == io.EOF {
			return "", errNoFrame
		}
		return "", err
	}
	if f.w < 4 {
		return "", nil
	}
	word := string(f.buf[:4])
	if first, ok := words[word]; !ok || version < first {
		return "", nil
	}
	if word == "stmk" { // a mask follows
		if err := f.fillTo(12); err != nil {
			return "", err
		}
	}
	return word, nil
}

// fillTo reads until n bytes are there, or the link lets no more pass.
func (f *frameReader) fillTo(n int) error {
	for f.w < n && !f.limit.reached() {
		if err := f.fill(); err != nil {
			return err
		}
	}
	return nil
}

// traffic is what a server counts for stat, cons and mntr.
type traffic struct{ received, sent int64 }

// lastReply is what cons reports of a connection's last request.
type lastReply struct {
	op   string
	xid  int64 // -1: none yet
	zxid int64
	at   time.Time
}

var noReply = lastReply{op: "NA", xid: -1, zxid: -1}

// opWords are the names that cons has for operations.
var opWords = map[wire.Op]string{
	wire.OpPing: "PING", OpConnect: "SESS", wire.OpMulti: "MULT", wire.OpMultiRead: "MLTR", wire.OpCreate: "CREA", wire.OpCreate2: "CREA",
	wire.OpCreateTTL: "CREA", wire.OpCreateContainer: "CREA", wire.OpDelete: "DELE", data.OpDeleteContainer: "DELE", wire.OpSetData: "SETD",
	wire.OpReconfig: "RECO", wire.OpSetACL: "SETA", wire.OpCloseSession: "CLOS", wire.OpSync: "SYNC", wire.OpCheck: "CHEC", wire.OpExists: "EXIS",
	wire.OpGetData: "GETD", wire.OpSetWatches: "SETW", wire.OpSetWatches2: "STW2", wire.OpAddWatch: "ADDW", wire.OpGetACL: "GETA",
	wire.OpGetChildren: "GETC", wire.OpGetChildren2: "GETC", wire.OpAllChildrenNumber: "GETACN", wire.OpCheckWatches: "CHKW",
	wire.OpRemoveWatches: "REMW", wire.OpWhoAmI: "HOMI", wire.OpGetEphemerals: "GETE",
}

// answered notes a reply. A write that failed has no name.
func (c *conn) answered(xid int32, op wire.Op, zxid int64, code int32) {
	word := opWords[op]
	switch {
	case word == "": // auth and what is unknown leave no trace
		return
	case code != 0 && data.Writes(op):
		word = "NA"
	}
	c.last.op, c.last.zxid, c.last.at = word, zxid, c.ens.now
	if xid >= 0 {
		c.last.xid = int64(xid)
	}
}

// releases are the names that versions go by in the answers.
var releases = map[Version]string{
	V34: "3.4.14-zktest, built on 03/06/2019 16:18 GMT", V35: "3.5.10-zktest, built on 05/29/2022 16:59 GMT",
	V36: "3.6.4-zktest, built on 12/18/2022 18:10 GMT", V37: "3.7.2-zktest, built on 2023-10-06 09:51 UTC",
	V38: "3.8.6-zktest, built on 2026-01-28 20:28 UTC", V39: "3.9.5-zktest, built on 2026-02-11 20:18 UTC",
}

const notServing = "This ZooKeeper instance is not currently serving requests\n"

// fourLetter answers a command in plain text, after which the connection ends.
func (c *conn) fourLetter(word string) {
	e, m := c.ens, c.member
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = time.Now()
	m.traffic.received++
	c.traffic.received++
	c.out = append(c.out, m.command(c, word)...)
	m.traffic.sent++ // a command sees those before it only
	c.end("four-letter word " + word)
	c.write()
}

// listed says whether the list of allowed commands has word.
func (e *Ensemble) listed(word string) bool {
	if word == "srvr" || word == "isro" && e.opts.ReadOnlyMode {
		return true
	}
	for allowed := range strings.SplitSeq(e.opts.FourLetterWords, ",") {
		if allowed = strings.TrimSpace(allowed); allowed == "*" || allowed == word {
			return true
		}
	}
	return false
}

// command returns the answer to a word.
func (m *Member) command(c *conn, word string) string {
	if !m.ens.listed(word) {
		return word + " is not executed because it is not in the whitelist.\n"
	}
	var b strings.Builder
	switch {
	case m.always(&b, c, word):
	case m.idle && word == "hash":
		return strings.TrimSpace(notServing)
	case m.idle:
		return notServing
	default:
		m.tell(&b, word)
	}
	return b.String()
}

// always answers what a server answers that does not serve too.
func (m *Member) always(b *strings.Builder, c *conn, word string) bool {
	e := m.ens
	switch word {
	case "ruok":
		b.WriteString("imok")
	case "gtmk":
		fmt.Fprint(b, e.traceMask)
	case "stmk":
		d := wire.NewDecoder(c.in.buf[4:12])
		e.traceMask = d.Int64()
		fmt.Fprint(b, e.traceMask)
	case "envi":
		m.environment(b)
	case "isro":
		switch {
		case m.idle:
			b.WriteString("null")
		case m.readOnly:
			b.WriteString("ro")
		default:
			b.WriteString("rw")
		}
	default:
		return false
	}
	return true
}

// tell answers all other words.
func (m *Member) tell(b *strings.Builder, word string) {
	switch word {
	case "srvr", "stat":
		m.status(b, word == "stat")
	case "cons":
		for _, c := range m.numbered() {
			c.describe(b, false)
		}
		b.WriteByte('\n')
	case "mntr":
		m.monitor(b)
	case "conf":
		m.configuration(b)
	case "dump":
		m.dump(b)
	case "wchs", "wchc", "wchp":
		m.tellWatches(b, word)
	case "dirs":
		b.WriteString("datadir_size: 0\nlogdir_size: 0\n")
	case "srst":
		m.traffic, m.sizes, m.proposals = traffic{}, sizes{}, sizes{}
		b.WriteString("Server stats reset.\n")
	case "crst":
		for c := range m.conns {
			c.traffic, c.last = traffic{}, noReply
		}
		b.WriteString("Connection stats reset.\n")
	case "hash": // of the tree, every 128 transactions; not kept here
	}
}

// tellWatches reports the watches for data: how many there are, by connections or by paths.
func (m *Member) tellWatches(b *strings.Builder, word string) {
	switch word {
	case "wchs":
		conns, paths, watches := m.watches.DataTotals()
		fmt.Fprintf(b, "%d connections watching %d paths\nTotal watches:%d\n", conns, paths, watches)
		return
	case "wchc":
		for _, c := range m.numbered() {
			if paths := m.watches.DataPathsOf(c); len(paths) > 0 {
				fmt.Fprintf(b, "0x%x\n", uint64(c.sessionID()))
				for _, path := range paths {
					fmt.Fprintf(b, "\t%s\n", path)
				}
			}
		}
	case "wchp":
		for _, path := range m.watches.DataPaths() {
			fmt.Fprintf(b, "%s\n", path)
			for _, c := range m.watches.DataWatchers(path) {
				fmt.Fprintf(b, "\t0x%x\n", uint64(c.sessionID()))
			}
		}
	}
	b.WriteByte('\n')
}

// numbered returns the connections of the member, oldest first.
func (m *Member) numbered() []*conn {
	return slices.SortedFunc(maps.Keys(m.conns), func(a, b *conn) int { return cmp.Compare(a.number, b.number) })
}

func (m *Member) mode() string {
	switch {
	case m.readOnly:
		return "read-only"
	case len(m.ens.members) == 1:
		return "standalone"
	case m.index == m.ens.leader:
		return "leader"
	}
	return "follower"
}

// latency is always nothing here, and an integer in old releases.
func (v Version) latency() string {
	if v < V36 {
		return "0"
	}
	return "0.0"
}

func (m *Member) status(b *strings.Builder, clients bool) {
	e := m.ens
	fmt.Fprintf(b, "Zookeeper version: %s\n", releases[e.opts.Version])
	if m.readOnly {
		b.WriteString("READ-ONLY mode; serving only read-only clients\n")
	}
	if clients {
		b.WriteString("Clients:\n")
		for _, c := range m.numbered() {
			c.describe(b, true)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "Latency min/avg/max: 0/%s/0\nReceived: %d\nSent: %d\nConnections: %d\nOutstanding: 0\nZxid: 0x%x\nMode: %s\nNode count: %d\n",
		e.opts.Version.latency(), m.traffic.received, m.traffic.sent, len(m.conns), m.tree.Zxid, m.mode(), m.tree.Len())
	if m.mode() == "leader" {
		p := &m.proposals
		fmt.Fprintf(b, "Proposal sizes last/min/max: %d/%d/%d\n", p.known(p.last), p.known(p.least), p.known(p.most))
	}
}

// remote is the client's address as Java prints it.
func (c *conn) remote() string {
	if host, port, err := net.SplitHostPort(c.nc.RemoteAddr().String()); err == nil {
		return "/" + data.Delimited(data.JavaHost(host)) + ":" + port
	}
	return fmt.Sprintf("/127.0.0.1:%d", 1+c.number&0xffff) // in memory
}

func (c *conn) describe(b *strings.Builder, brief bool) {
	interest := 0
	if c.session != nil {
		interest = 1 // in what the client sends
	}
	fmt.Fprintf(b, " %s[%d](queued=0,recved=%d,sent=%d", c.remote(), interest, c.traffic.received, c.traffic.sent)
	if s := c.session; s != nil && !brief {
		fmt.Fprintf(b, ",sid=0x%x,lop=%s,est=%d,to=%d", uint64(s.id), c.last.op, c.since.UnixMilli(), c.timeout.Milliseconds())
		if c.last.xid >= 0 {
			fmt.Fprintf(b, ",lcxid=0x%x", c.last.xid)
		}
		at := int64(0)
		if !c.last.at.IsZero() {
			at = c.last.at.Sub(c.ens.started).Milliseconds()
		}
		fmt.Fprintf(b, ",lzxid=0x%x,lresp=%d,llat=0,minlat=0,avglat=0,maxlat=0", uint64(c.last.zxid), at)
	}
	b.WriteString(")\n")
}

func (m *Member) configuration(b *strings.Builder) {
	e := m.ens
	v, o := e.opts.Version, e.opts
	_, port, _ := net.SplitHostPort(m.addr)
	put := func(key string, value any) { fmt.Fprintf(b, "%s=%v\n", key, value) }
	if o.TLS != nil && v >= V35 {
		put("clientPort", -1)
		put("secureClientPort", port)
	} else {
		put("clientPort", port)
		if v >= V35 {
			put("secureClientPort", -1)
		}
	}
	put("dataDir", "") // nothing is on disk
	if v >= V35 {
		put("dataDirSize", 0)
	}
	put("dataLogDir", "")
	if v >= V35 {
		put("dataLogSize", 0)
	}
	put("tickTime", o.TickTime.Milliseconds())
	put("maxClientCnxns", o.MaxClientCnxns)
	put("minSessionTimeout", o.MinSessionTimeout.Milliseconds())
	put("maxSessionTimeout", o.MaxSessionTimeout.Milliseconds())
	if v >= V36 {
		put("clientPortListenBacklog", -1)
	}
	if len(e.members) == 1 {
		put("serverId", 0)
		return
	}
	put("serverId", m.index+1)
	put("initLimit", 20)
	put("syncLimit", 6)
	put("electionAlg", 3)
	put("electionPort", data.ElectionPort(m.index))
	put("quorumPort", data.QuorumPort(m.index))
	put("peerType", 0)
	if v >= V35 && !m.readOnly {
		fmt.Fprintf(b, "membership: \n%s", m.tree.Node(data.ConfigPath).Data)
	}
}

// environment names what Java does, with what there is of it in Go.
func (m *Member) environment(b *strings.Builder) {
	v := m.ens.opts.Version
	dir, _ := os.Getwd()
	b.WriteString("Environment:\n")
	for _, pair := range [][2]string{
		{"zookeeper.version", releases[v]}, {"host.name", "localhost"}, {"java.version", runtime.Version()}, {"java.vendor", "zktest"},
		{"java.home", ""}, {"java.class.path", ""}, {"java.library.path", ""}, {"java.io.tmpdir", os.TempDir()}, {"java.compiler", runtime.Compiler},
		{"os.name", runtime.GOOS}, {"os.arch", runtime.GOARCH}, {"os.version", ""}, {"user.name", os.Getenv("USER")}, {"user.home", os.Getenv("HOME")}, {"user.dir", dir},
	} {
		fmt.Fprintf(b, "%s=%s\n", pair[0], pair[1])
	}
	if v >= V35 {
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		fmt.Fprintf(b, "os.memory.free=%dMB\nos.memory.max=%dMB\nos.memory.total=%dMB\n",
			(mem.HeapSys-mem.HeapInuse)>>20, mem.Sys>>20, mem.HeapSys>>20)
	}
}

const javaDate = "Mon Jan 02 15:04:05 MST 2006"

// byExpiry groups what ends at the same time.
func byExpiry[T any](b *strings.Builder, list []T, ends func(T) time.Time, line func(T) string, count bool) {
	sets := map[time.Time][]string{}
	for _, x := range list {
		end := ends(x)
		sets[end] = append(sets[end], line(x))
	}
	fmt.Fprintf(b, "Sets (%d)", len(sets))
	if count {
		fmt.Fprintf(b, "/(%d)", len(list))
	}
	b.WriteString(":\n")
	for _, end := range slices.SortedFunc(maps.Keys(sets), time.Time.Compare) {
		fmt.Fprintf(b, "%d expire at %s:\n", len(sets[end]), end.Format(javaDate))
		for _, line := range sets[end] {
			fmt.Fprintf(b, "\t%s\n", line)
		}
	}
}

func (m *Member) dump(b *strings.Builder) {
	e := m.ens
	old := e.opts.Version == V34
	b.WriteString("SessionTracker dump:\n")
	ids := slices.Sorted(maps.Keys(e.sessions))
	switch {
	case m.readOnly && !old:
		ids = slices.Sorted(maps.Keys(m.locals))
		fallthrough
	case m.mode() == "follower" && !old:
		fmt.Fprintf(b, "Global Sessions(%d):\n", len(ids))
		for _, id := range ids {
			s := e.sessions[id]
			if s == nil {
				s = m.locals[id]
			}
			fmt.Fprintf(b, "0x%x\t%dms\n", uint64(id), s.timeout.Milliseconds())
		}
	case m.mode() == "follower":
		b.WriteString("org.apache.zookeeper.server.quorum.LearnerSessionTracker@1\n") // as helpful as the real one
	default:
		b.WriteString("Session ")
		byExpiry(b, ids,
			func(id int64) time.Time { return e.expiry(e.sessions[id]) },
			func(id int64) string { return fmt.Sprintf("0x%x", uint64(id)) }, !old)
	}
	b.WriteString("ephemeral nodes dump:\n")
	fmt.Fprintf(b, "Sessions with Ephemerals (%d):\n", len(m.tree.Sessions()))
	for _, id := range m.tree.Sessions() {
		fmt.Fprintf(b, "0x%x:\n", uint64(id))
		for _, path := range m.tree.SessionPaths(id, false) {
			fmt.Fprintf(b, "\t%s\n", path)
		}
	}
	if old {
		return
	}
	b.WriteString("Connections dump:\nConnections ")
	byExpiry(b, m.numbered(),
		func(c *conn) time.Time {
			end := c.since.Add(sessionlessTimeout)
			if c.session != nil {
				end = c.session.heard.Add(c.timeout)
			}
			return end.Truncate(sessionlessTimeout).Add(sessionlessTimeout)
		},
		func(c *conn) string { return fmt.Sprintf("ip: %s sessionId: 0x%x", c.remote(), uint64(c.sessionID())) }, true)
}
