package apache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Ensemble is a set of servers that share their data. Its methods may be
// called by several goroutines.
type Ensemble struct {
	conf  Config
	in    Installed
	dir   string
	forks chan func() // run on one thread, see forker
	close func() error

	mu      sync.Mutex // guards servers
	servers []*Server  // never changed in place
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

// Start starts servers and waits until all of them serve. It waits until ctx is
// done, or for a minute if ctx has no deadline. Close stops the servers. On Linux
// they also die with the calling process.
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

// Add starts one more server for an ensemble of three or more. It knows the
// others, and follows their leader without a vote. It becomes a member, and
// serves clients, when a client reconfigures the ensemble with its Server.Line.
// From then on Ensemble.WaitServing waits for it too.
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
// alone. While there is none it returns an error.
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

// WaitServing waits until every member whose process runs serves. It waits until
// ctx is done, or for a minute if ctx has no deadline. If a process ends it fails
// at once, and the error shows the end of that member's log.
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
