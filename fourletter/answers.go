package fourletter

import "time"

// Server is the answer to srvr.
type Server struct {
	Version  string // "3.9.5"
	Revision string // of its source; "-1" where it was unknown when it was built
	Built    string // when, as the server prints it

	// BuiltAt is the same; zero where Built is not in one of the forms of ZooKeeper's own builds.
	BuiltAt time.Time

	// The latencies of requests are whole milliseconds, except for the average since 3.6.
	MinLatency, AvgLatency, MaxLatency time.Duration

	Received, Sent int64 // packets, since the start or Srst
	Connections    int64
	Outstanding    int64  // requests under way
	Zxid           int64  // the last transaction that it has executed
	Mode           string // "leader", "follower", "observer", "standalone", "read-only"
	Nodes          int64  // znodes

	LastProposal, MinProposal, MaxProposal int64 // sizes in bytes, of a leader; -1: there was none
}

// Stat is the answer to stat.
type Stat struct {
	Server
	Conns []Conn // with less than Cons reports
}

// Conn is a client's connection. In the answer to stat, and for the connection
// that asks, only Addr, Queued, Received and Sent are set.
type Conn struct {
	Addr           string // of the client, host:port
	Queued         int64  // requests that wait
	Received, Sent int64  // packets

	Session     int64
	LastOp      string        // "PING", "GETD", …
	Established time.Time     // on the server's clock
	Timeout     time.Duration // of the session
	LastCxid    int64         // the client's number of the last request
	LastZxid    int64

	// LastResponse is when the last request was answered, on a clock of the server with an
	// unknown zero, usually the start of its machine. Compare it only with other values of
	// the same server; it is not a time of day.
	LastResponse time.Duration

	LastLatency, MinLatency, AvgLatency, MaxLatency time.Duration
}

// Metrics is the answer to mntr.
type Metrics struct {
	Version string             // "3.9.5"
	State   string             // "leader", "follower", "standalone", …
	Values  map[string]float64 // each number by its name: "zk_znode_count"
	Text    map[string]string  // each other value: "zk_version"
}

// Conf is the answer to conf. Values has every setting as the server prints it.
type Conf struct {
	ServerID                             int64
	ClientPort, SecureClientPort         int // -1 or 0: none
	DataDir, DataLogDir                  string
	TickTime                             time.Duration
	MinSessionTimeout, MaxSessionTimeout time.Duration
	MaxClientCnxns                       int      // per client; 0: no limit
	InitLimit, SyncLimit                 int      // ticks
	Members                              []string // "server.1=host:2888:3888:participant;host:2181"; since 3.5
	ConfigVersion                        int64    // of Members
	Values                               map[string]string
}

// Dump is the answer to dump.
type Dump struct {
	Sessions   []int64            // those the server tracks; of a follower, those it serves
	Ephemerals map[int64][]string // paths, by session
}

// Watches is the answer to wchs.
type Watches struct{ Connections, Paths, Total int64 }

// Dirs is the answer to dirs: the sizes of snapshots and transaction logs in bytes.
type Dirs struct{ Data, Log int64 }
