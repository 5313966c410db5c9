package apache

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config says what to start. Its zero value is one server of the newest release.
type Config struct {
	// Release is what the servers run; empty: V3_9.
	Release Release
	// Members is the number of servers; zero: 1, which stands alone. Three or more form an ensemble.
	Members int
	// Settings are lines of zoo.cfg ("tickTime", "initLimit", "autopurge.purgeInterval"), over the
	// ones that are set anyway. Start refuses those that it needs for itself, such as "dataDir" and
	// "clientPort", and those that it cannot honour. A relative "dataLogDir" is below the folder of
	// each server, next to its DataDir; an absolute one is for one server only.
	Settings map[string]string
	// Properties are Java system properties ("zookeeper.enforceQuota"), likewise.
	Properties map[string]string
	// TLS adds a second port to each server, see Server.SecureAddr; nil: none. Since 3.5.
	TLS *TLS
	// HeapMB is the heap of each server in MiB; zero: 128.
	HeapMB int
	// Dir holds data and logs, and is kept after Close; empty: a temporary folder. Its name must be
	// UTF-8.
	Dir string
	// Log gets every server's log as it is written; nil: none, but see Server.Logs.
	Log io.Writer
}

// TLS is what servers need for a port with TLS. Certificates and keys are in
// PEM; they are written to files beside each server's zoo.cfg.
type TLS struct {
	Cert       []byte // the server's certificate, and behind it those between it and its authority
	Key        []byte // its private key, PKCS #8
	ClientCAs  []byte // the authorities that clients' certificates are from
	ClientAuth string // ssl.clientAuth: need, want or none; empty: need
}

// Ensemble is a set of servers that share their data. Its methods may be
// called by several goroutines.
type Ensemble struct {
	conf  Config
	in    Installed
	dir   string
	forks chan func() // run on one thread, see forker
	close func() error

	mu      sync.Mutex
	servers []*Server // never changed in place
}

// members returns the servers, which Add may make more.
func (e *Ensemble) members() []*Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.servers
}

// startTimeout bounds waits whose context has no deadline. Three servers take
// about a second on an idle machine.
const startTimeout = 60 * time.Second

// tick is the servers' tickTime: half a second makes elections quick, and
// sessions of a second possible.
const tick = 500 * time.Millisecond

// Start starts servers and waits until all of them serve: until ctx is done,
// or for a minute when ctx has no deadline. Close stops them. On Linux they
// also die with the calling process.
func Start(ctx context.Context, conf Config) (*Ensemble, error) {
	if conf.Release == "" {
		conf.Release = V3_9
	}
	if conf.Members == 0 {
		conf.Members = 1
	}
	if conf.HeapMB == 0 {
		conf.HeapMB = 128
	}
	if err := conf.check(); err != nil {
		return nil, err
	}
	in, err := Find(conf.Release)
	if err != nil {
		return nil, err
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()

	// A port that was free may be taken by the time the server binds it.
	for try := 1; ; try++ {
		e, err := start(ctx, conf, in)
		if err == nil || try == 5 || !errors.Is(err, errPortTaken) {
			return e, err
		}
	}
}

func start(ctx context.Context, conf Config, in Installed) (e *Ensemble, err error) {
	e = &Ensemble{conf: conf, in: in, dir: conf.Dir, forks: make(chan func())}
	if e.dir == "" {
		if e.dir, err = os.MkdirTemp("", "zk-apache-"); err != nil {
			return nil, err
		}
	}
	// Servers run in folders of their own, where a relative name would be another one.
	if e.dir, err = filepath.Abs(e.dir); err != nil {
		return nil, err
	}
	e.close = sync.OnceValue(e.shut)
	go forker(e.forks)
	defer func() {
		if err != nil {
			e.Close()
			e = nil
		}
	}()

	ports, err := freePorts(portsOfServer * conf.Members)
	if err != nil {
		return e, err
	}
	for i := range conf.Members {
		e.servers = append(e.servers, e.newServer(i+1, ports[portsOfServer*i:]))
	}
	for _, s := range e.servers {
		if err := s.writeConfig(e.servers); err != nil {
			return e, err
		}
		if err := s.Start(); err != nil {
			return e, err
		}
	}
	return e, e.WaitServing(ctx)
}

// portsOfServer is how many ports a server has: for clients, the quorum,
// elections, and clients with TLS.
const portsOfServer = 4

func (e *Ensemble) newServer(id int, ports []int) *Server {
	return &Server{
		e:     e,
		id:    id,
		dir:   filepath.Join(e.dir, strconv.Itoa(id)),
		ports: ports[:portsOfServer],
		log:   e.logWriter(id),
	}
}

// Add starts one more server that is to join an ensemble of three or more: it
// knows the others, and follows their leader without a vote. It becomes a
// member, and serves clients, when a client reconfigures the ensemble with its
// [Server.Line]. Then [Ensemble.WaitServing] waits for it too.
func (e *Ensemble) Add() (*Server, error) {
	if e.conf.Members == 1 || e.conf.Release == V3_4 {
		return nil, errors.New("only an ensemble of three or more, since 3.5, can grow")
	}
	ports, err := freePorts(portsOfServer)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	s := e.newServer(len(e.servers)+1, ports)
	e.servers = append(slices.Clip(e.servers), s)
	all := e.servers
	e.mu.Unlock()
	if err := s.writeConfig(all); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// Addrs returns the members' client addresses, host:port.
func (e *Ensemble) Addrs() []string {
	var addrs []string
	for _, s := range e.members() {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// SecureAddrs returns the members' addresses for clients with TLS, host:port.
func (e *Ensemble) SecureAddrs() []string {
	var addrs []string
	for _, s := range e.members() {
		addrs = append(addrs, s.SecureAddr())
	}
	return addrs
}

// Len returns the number of members.
func (e *Ensemble) Len() int { return len(e.members()) }

// Member returns member i, counted from 0.
func (e *Ensemble) Member(i int) *Server { return e.members()[i] }

// Release returns the release that all members run.
func (e *Ensemble) Release() Release { return e.conf.Release }

// Leader returns the index of the member that leads, or of the one that stands
// alone. It fails while there is none.
func (e *Ensemble) Leader() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	members := e.members()
	answers := make(chan int, len(members)) // -1: not this one
	for i, s := range members {
		go func() {
			if m := s.mode(ctx); m != "leader" && m != "standalone" {
				i = -1
			}
			answers <- i
		}()
	}
	for range members {
		if i := <-answers; i >= 0 {
			return i, nil
		}
	}
	return 0, errors.New("no member leads")
}

// WaitServing waits until every member whose process runs serves, at most
// until ctx is done, or a minute when ctx has no deadline. It fails early when
// a process ends, and its error shows the end of that member's log.
func (e *Ensemble) WaitServing(ctx context.Context) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	waited := 0
	for _, s := range e.members() {
		if !s.Running() {
			continue
		}
		if err := s.waitServing(ctx); err != nil {
			return err
		}
		waited++
	}
	if waited == 0 {
		return errors.New("no member runs")
	}
	return nil
}

// Close kills all members, waits for them, and removes a temporary folder.
// Closing again does nothing.
func (e *Ensemble) Close() error { return e.close() }

func (e *Ensemble) shut() error {
	var errs []error
	for _, s := range e.members() {
		s.mu.Lock()
		s.closed = true // so that nobody sends to forks any more
		errs = append(errs, s.killLocked())
		s.mu.Unlock()
	}
	close(e.forks)
	if e.conf.Dir == "" {
		errs = append(errs, os.RemoveAll(e.dir))
	}
	return errors.Join(errs...)
}

// forker runs what it receives on one thread of its own. Linux kills a child
// whose parent-death signal is set when the *thread* that forked it ends, and
// the Go runtime may end threads. This one lives as long as the Ensemble.
func forker(forks <-chan func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for f := range forks {
		f()
	}
}

// writeConfig writes the folder, myid and zoo.cfg of a member, and since 3.5
// the file with the members, which reconfiguration writes anew under other names.
func (s *Server) writeConfig(all []*Server) error {
	if err := os.MkdirAll(filepath.Join(s.dir, "data"), 0o755); err != nil {
		return err
	}
	conf := s.e.conf
	cfg := map[string]string{
		"dataDir":           filepath.Join(s.dir, "data"),
		"tickTime":          strconv.FormatInt(tick.Milliseconds(), 10),
		"initLimit":         "20", // ticks
		"syncLimit":         "6",
		"minSessionTimeout": "500", // ms
		"maxSessionTimeout": "60000",
		"maxClientCnxns":    "0", // no limit
		keyAdmin:            "false",
		"reconfigEnabled":   "true",
		keyWhitelist:        conf.whitelist(),
	}
	// Up to 3.4 the client's port has lines of its own. Later releases take it from the
	// server lines, where reconfiguration needs it.
	old := conf.Release == V3_4
	if old || conf.Members == 1 {
		cfg["clientPortAddress"] = "127.0.0.1"
		cfg["clientPort"] = strconv.Itoa(s.ports[0])
	}
	if conf.Members > 1 {
		var lines strings.Builder
		for _, m := range all {
			if old {
				cfg["server."+strconv.Itoa(m.id)] = fmt.Sprintf("127.0.0.1:%d:%d", m.ports[1], m.ports[2])
			}
			fmt.Fprintln(&lines, m.Line())
		}
		if !old {
			cfg[keyDynamic] = s.configFile() + ".dynamic"
			if err := os.WriteFile(cfg[keyDynamic], []byte(lines.String()), 0o644); err != nil {
				return err
			}
		}
	}
	if conf.TLS != nil {
		if err := s.writeTLS(cfg); err != nil {
			return err
		}
	}
	maps.Copy(cfg, conf.Settings)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg = cfg
	if err := os.WriteFile(filepath.Join(s.dir, "data", "myid"), []byte(strconv.Itoa(s.id)+"\n"), 0o644); err != nil {
		return err
	}
	return s.writeStatic()
}

// writeStatic writes zoo.cfg from s.cfg.
func (s *Server) writeStatic() error {
	var text []byte
	for _, k := range slices.Sorted(maps.Keys(s.cfg)) {
		text = appendProperty(text, k, s.cfg[k])
	}
	return os.WriteFile(s.configFile(), text, 0o644)
}

// rewriteStatic writes zoo.cfg again, with the members as they were reconfigured
// last. A server that takes part in a reconfiguration, the one at its first start
// included, writes its zoo.cfg without escapes, and would not find its data again.
func (s *Server) rewriteStatic() error {
	if _, ok := s.cfg[keyDynamic]; !ok {
		return nil
	}
	var err error
	if s.cfg[keyDynamic], err = s.dynamicFile(); err != nil {
		return err
	}
	return s.writeStatic()
}

// writeTLS writes the files of the port with TLS, and adds its settings.
func (s *Server) writeTLS(cfg map[string]string) error {
	conf := s.e.conf.TLS
	keys, trusted := filepath.Join(s.dir, "keys.pem"), filepath.Join(s.dir, "trusted.pem")
	if err := os.WriteFile(keys, slices.Concat(conf.Key, conf.Cert), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(trusted, conf.ClientCAs, 0o644); err != nil {
		return err
	}
	maps.Copy(cfg, map[string]string{
		"secureClientPort":        strconv.Itoa(s.ports[3]),
		"secureClientPortAddress": "127.0.0.1",
		"serverCnxnFactory":       "org.apache.zookeeper.server.NettyServerCnxnFactory",
		"ssl.keyStore.location":   keys,
		"ssl.keyStore.type":       "PEM",
		"ssl.trustStore.location": trusted,
		"ssl.trustStore.type":     "PEM",
		"ssl.clientAuth":          cmp.Or(conf.ClientAuth, "need"),
	})
	return nil
}

// javaArgs returns the arguments of the java command that runs a member.
func (s *Server) javaArgs() []string {
	conf := s.e.conf
	super := sha1.Sum([]byte(SuperCredential))
	user, _, _ := strings.Cut(SuperCredential, ":")
	props := map[string]string{
		"zookeeper.forceSync":                                "no",
		"zookeeper.preAllocSize":                             "64", // KiB, of each transaction log
		"zookeeper.extendedTypesEnabled":                     "true",
		"zookeeper.enforceQuota":                             "true",
		"zookeeper." + keyAdmin:                              "false",
		"zookeeper." + keyWhitelist:                          "*",
		"znode.container.checkIntervalMs":                    "500",  // of TTL and container nodes
		"zookeeper.jmx.log4j.disable":                        "true", // 3.4 insists on log4j otherwise
		keyReadOnly:                                          "true",
		"java.awt.headless":                                  "true",
		"org.slf4j.simpleLogger.showDateTime":                "true",
		"org.slf4j.simpleLogger.dateTimeFormat":              "HH:mm:ss.SSS",
		"org.slf4j.simpleLogger.showShortLogName":            "true",
		"zookeeper.DigestAuthenticationProvider.superDigest": user + ":" + base64.StdEncoding.EncodeToString(super[:]),
	}
	maps.Copy(props, conf.Properties)
	// Serial collector and first-level compiler: quick to start, and few threads on a small machine.
	args := []string{fmt.Sprintf("-Xmx%dm", conf.HeapMB), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"}
	for _, k := range slices.Sorted(maps.Keys(props)) {
		args = append(args, "-D"+k+"="+props[k])
	}
	return append(args, "-cp", s.e.in.classPath(),
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", s.configFile())
}

// freePorts returns n ports that are free on 127.0.0.1. It stays below the
// ranges from which systems number outgoing connections, or such a connection
// could hold a port while its server is down.
func freePorts(n int) ([]int, error) {
	const low, high = 12000, 32000
	var ports []int
	for range 100 * n {
		port := low + rand.IntN(high-low)
		if slices.Contains(ports, port) {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		l.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports on 127.0.0.1")
}

// withDeadline gives ctx a deadline if it has none.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, startTimeout)
}

// logWriter returns where a member's log goes besides its file: to Config.Log,
// line by line, each with the member's number. It is nil without Config.Log.
func (e *Ensemble) logWriter(id int) io.Writer {
	if e.conf.Log == nil {
		return nil
	}
	return &lineWriter{w: e.conf.Log, mu: &logMu, prefix: "server " + strconv.Itoa(id) + ": "}
}

var logMu sync.Mutex // of all Config.Logs: members share one, and so may ensembles

type lineWriter struct {
	w      io.Writer
	mu     *sync.Mutex
	prefix string
	rest   []byte // a line without its end yet
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.mu.Lock()
		fmt.Fprintf(l.w, "%s%s\n", l.prefix, line)
		l.mu.Unlock()
		l.rest = rest
	}
}
