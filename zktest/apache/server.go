package apache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server is one member of an Ensemble. Its methods may be called by several
// goroutines. Those that start, stop and pause it run one at a time.
type Server struct {
	e     *Ensemble
	id    int // myid
	dir   string
	ports []int     // client, quorum, election, client with TLS
	log   io.Writer // gets the log besides its file; nil: none

	mu     sync.Mutex        // guards all below, and is held while the process starts and stops
	cfg    map[string]string // of zoo.cfg
	proc   *process          // the last run; nil: none yet
	closed bool              // by Ensemble.Close
}

// process is one run of a Server.
type process struct {
	cmd     *exec.Cmd
	logFrom int64         // where its log begins in the file
	done    chan struct{} // closed when it has ended
	err     error         // how, once done is closed
}

// ended reports whether p has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// errPortTaken says that something else listens on a server's port.
var errPortTaken = errors.New("port taken")

const (
	stopTimeout    = 10 * time.Second       // for Stop, before it kills
	commandTimeout = 5 * time.Second        // for a four-letter word
	pollTimeout    = 300 * time.Millisecond // for one of many
	logTail        = 64 << 10               // bytes that Logs returns
)

// Addr returns the server's client address, host:port. It stays the same over restarts.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.ports[0]) }

// SecureAddr returns the server's address for clients with TLS. It needs
// Config.TLS.
func (s *Server) SecureAddr() string { return "127.0.0.1:" + strconv.Itoa(s.ports[3]) }

// Line returns the server as a line of an ensemble's configuration since 3.5,
// which reconfiguration takes too:
// "server.4=127.0.0.1:1:2:participant;127.0.0.1:3".
func (s *Server) Line() string {
	return fmt.Sprintf("server.%d=127.0.0.1:%d:%d:participant;127.0.0.1:%d", s.id, s.ports[1], s.ports[2], s.ports[0])
}

// DynamicConfig returns the file with the members of the ensemble with which the
// server would start. It is the server's own, as the last reconfiguration wrote
// it.
func (s *Server) DynamicConfig() (string, error) {
	file, err := s.dynamicFile()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// dynamicFile returns the file that zoo.cfg names, which reconfiguration makes a
// new one of: zoo.cfg.dynamic.100000000. Only its end is taken from zoo.cfg, where
// the server does not escape what is before it.
func (s *Server) dynamicFile() (string, error) {
	static, err := os.ReadFile(s.configFile())
	if err != nil {
		return "", err
	}
	const base = ".dynamic"
	for line := range strings.Lines(string(static)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), keyDynamic+"=")
		if at := strings.LastIndex(name, base); ok && at >= 0 {
			return s.configFile() + name[at:], nil
		}
	}
	return "", errors.New("the server has no dynamic configuration")
}

// ID returns the server's number in the ensemble, its myid, counted from 1.
func (s *Server) ID() int { return s.id }

// DataDir returns the folder that holds version-2. That has the snapshots, and
// the transaction logs unless the setting dataLogDir says otherwise.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

func (s *Server) configFile() string { return filepath.Join(s.dir, "zoo.cfg") }
func (s *Server) logFile() string    { return filepath.Join(s.dir, "log") }

// PID returns the process id of the server's last run, or 0.
func (s *Server) PID() int {
	p := s.last()
	if p == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Running reports whether the server's process runs, serving or not.
func (s *Server) Running() bool {
	p := s.last()
	return p != nil && !p.ended()
}

func (s *Server) last() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// Start starts the server's process on its ports and data. It does not wait until
// the server serves, because a member of an ensemble cannot serve before a
// majority runs. If the process runs already, Start does nothing.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startLocked()
}

func (s *Server) startLocked() error {
	if s.closed {
		return fmt.Errorf("start server %d: its ensemble is closed", s.id)
	}
	if s.proc != nil && !s.proc.ended() {
		return nil
	}
	if s.proc != nil {
		if err := s.rewriteStatic(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	info, err := log.Stat()
	if err != nil {
		log.Close()
		return err
	}
	cmd := exec.Command(s.e.in.Java, s.javaArgs()...)
	cmd.Dir = s.dir
	cmd.Env = javaEnv()
	cmd.SysProcAttr = dieWithParent()
	cmd.Stdout = log
	if s.log != nil {
		cmd.Stdout = io.MultiWriter(log, s.log)
	}
	cmd.Stderr = cmd.Stdout
	started := make(chan error)
	s.e.forks <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		log.Close()
		return fmt.Errorf("start server %d: %w", s.id, err)
	}
	p := &process{cmd: cmd, logFrom: info.Size(), done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		log.Close()
		close(p.done)
	}()
	s.proc = p
	return nil
}

// Stop ends the process with SIGTERM and waits for it. A paused process is
// resumed first. After ten seconds Stop kills the process and returns an error.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopLocked()
}

func (s *Server) stopLocked() error {
	if s.proc == nil || s.proc.ended() {
		return nil
	}
	s.signalLocked(sigContinue)
	if err := s.signalLocked(sigTerminate); err != nil {
		return err
	}
	select {
	case <-s.proc.done:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("server %d does not stop within %v: killed", s.id, stopTimeout), s.killLocked())
	}
}

// Kill ends the process at once, with SIGKILL, even a paused one, and waits for
// it.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.killLocked()
}

func (s *Server) killLocked() error {
	if s.proc == nil || s.proc.ended() {
		return nil
	}
	if err := s.signalLocked(os.Kill); err != nil {
		return err
	}
	<-s.proc.done
	return nil
}

// Pause stops the process with SIGSTOP, and returns when it stands still. Its
// connections stay open and silent. It is supported on Unix only.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.signalLocked(sigStop); err != nil {
		return err
	}
	return awaitStopped(s.proc.cmd.Process.Pid)
}

// Resume makes a paused process run again.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signalLocked(sigContinue)
}

func (s *Server) signalLocked(sig os.Signal) error {
	if s.proc == nil || s.proc.ended() {
		return fmt.Errorf("server %d does not run", s.id)
	}
	err := s.proc.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil // it ended by itself; Wait is about to say so
	}
	return err
}

// Restart stops the process if it runs, starts it on the same ports and data, and
// waits until it serves. It waits until ctx is done, or for a minute if ctx has
// no deadline. To bring back an ensemble that has lost its majority, Start its
// members and call Ensemble.WaitServing.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	err := s.stopLocked()
	if err == nil {
		err = s.startLocked()
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.waitServing(ctx)
}

// waitServing waits until the server's last run serves.
func (s *Server) waitServing(ctx context.Context) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	p := s.last()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		// A server that is starting or ending may accept a connection and never answer it.
		polled, cancel := context.WithTimeout(ctx, pollTimeout)
		serves := s.serves(polled)
		cancel()
		if serves && (s.e.conf.TLS == nil || s.accepts(ctx, s.SecureAddr())) {
			return nil
		}
		if log := s.logFrom(p.logFrom); strings.Contains(log, "Address already in use") {
			return fmt.Errorf("server %d: %w:\n%s", s.id, errPortTaken, lastLines(log, 20))
		}
		select {
		case <-poll.C:
		case <-p.done:
			return fmt.Errorf("server %d ended (%v) before it served:\n%s", s.id, p.err, lastLines(s.Logs(), 20))
		case <-ctx.Done():
			return fmt.Errorf("server %d does not serve: %w; its log ends:\n%s", s.id, ctx.Err(), lastLines(s.Logs(), 20))
		}
	}
}

// serves reports whether the server serves reads and writes.
func (s *Server) serves(ctx context.Context) bool {
	if !s.e.conf.answers("srvr") {
		text, err := s.command(ctx, "isro")
		return err == nil && strings.TrimSpace(text) == "rw"
	}
	switch s.mode(ctx) {
	case "leader", "follower", "standalone", "observer":
		return true
	}
	return false
}

// accepts reports whether the server listens on an address. It opens the port
// with TLS last.
func (s *Server) accepts(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// mode returns the Mode line of srvr: leader, follower, standalone, observer
// or read-only. It is empty while the server does not serve.
func (s *Server) mode(ctx context.Context) string {
	text, err := s.command(ctx, "srvr")
	if err != nil {
		return ""
	}
	_, mode, _ := strings.Cut(text, "Mode: ")
	mode, _, _ = strings.Cut(mode, "\n")
	return mode
}

// Command sends a four-letter word, such as "ruok", "srvr" or "mntr", and
// returns the answer. It fails after five seconds.
func (s *Server) Command(word string) (string, error) {
	return s.command(context.Background(), word)
}

func (s *Server) command(ctx context.Context, word string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	return string(text), err
}

// Logs returns at most the last 64 KiB of the server's log, over all of its runs.
func (s *Server) Logs() string { return s.logFrom(0) }

// logFrom returns the log from byte from on, or the end of that.
func (s *Server) logFrom(from int64) string {
	f, err := os.Open(s.logFile())
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-logTail)
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, from, logTail))
	return string(text)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
