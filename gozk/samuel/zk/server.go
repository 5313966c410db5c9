package zk

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// Defaults of ServerConfig.
const (
	DefaultServerTickTime                 = 2000
	DefaultServerInitLimit                = 10
	DefaultServerSyncLimit                = 5
	DefaultServerAutoPurgeSnapRetainCount = 3
	DefaultPeerPort                       = 2888
	DefaultLeaderElectionPort             = 3888
)

// ErrMissingServerConfigField names a field that a server needs.
type ErrMissingServerConfigField string

func (e ErrMissingServerConfigField) Error() string {
	return fmt.Sprintf("zk: missing server config field '%s'", string(e))
}

// ServerConfigServer is a member of an ensemble.
type ServerConfigServer struct {
	ID                 int
	Host               string
	PeerPort           int
	LeaderElectionPort int
}

// ServerConfig is what a server is started with. Zero takes the default.
type ServerConfig struct {
	TickTime                 int // ms
	InitLimit                int // ticks, for a member to catch up with the leader
	SyncLimit                int // ticks, for an answer of a member
	DataDir                  string
	ClientPort               int
	AutoPurgeSnapRetainCount int // snapshots to keep
	AutoPurgePurgeInterval   int // hours; 0: nothing is purged
	Servers                  []ServerConfigServer
}

// Marshall writes the config as a zoo.cfg. It allows all four-letter words, and no
// admin server, which servers since 3.5 would start.
func (sc ServerConfig) Marshall(w io.Writer) error {
	if sc.DataDir == "" {
		return ErrMissingServerConfigField("dataDir")
	}
	or := func(n, def int) int {
		if n <= 0 {
			return def
		}
		return n
	}
	lines := []string{
		"dataDir=" + sc.DataDir,
		fmt.Sprint("tickTime=", or(sc.TickTime, DefaultServerTickTime)),
		fmt.Sprint("initLimit=", or(sc.InitLimit, DefaultServerInitLimit)),
		fmt.Sprint("syncLimit=", or(sc.SyncLimit, DefaultServerSyncLimit)),
		fmt.Sprint("clientPort=", or(sc.ClientPort, DefaultPort)),
		"4lw.commands.whitelist=*",
		"admin.enableServer=false",
	}
	if sc.AutoPurgePurgeInterval > 0 {
		lines = append(lines,
			fmt.Sprint("autopurge.snapRetainCount=", or(sc.AutoPurgeSnapRetainCount, DefaultServerAutoPurgeSnapRetainCount)),
			fmt.Sprint("autopurge.purgeInterval=", sc.AutoPurgePurgeInterval))
	}
	for _, s := range sc.Servers {
		lines = append(lines, fmt.Sprintf("server.%d=%s:%d:%d", s.ID, s.Host, or(s.PeerPort, DefaultPeerPort), or(s.LeaderElectionPort, DefaultLeaderElectionPort)))
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

// Server is one server: a Java process with a config, or a member of a TestCluster.
type Server struct {
	// JarPath is the jar to start; empty: those that zktest/apache has of the newest release.
	JarPath        string
	ConfigPath     string
	Stdout, Stderr io.Writer

	member interface { // of a TestCluster; nil: a process
		start() error
		stop() error
	}

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
}

// Start starts the server, and does not wait until it serves.
func (srv *Server) Start() error {
	if srv.member != nil {
		return srv.member.start()
	}
	args := []string{"-jar", srv.JarPath, "server", srv.ConfigPath}
	java := "java"
	if srv.JarPath == "" {
		in, err := apache.Find(apache.V3_9)
		if err != nil {
			return err
		}
		java = in.Java
		args = []string{"-cp", strings.Join(in.Jars, string(filepath.ListSeparator)), "org.apache.zookeeper.server.quorum.QuorumPeerMain", srv.ConfigPath}
	}
	cmd := exec.Command(java, args...)
	cmd.Stdout, cmd.Stderr = srv.Stdout, srv.Stderr
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.cmd != nil {
		return errors.New("zk: the server has been started")
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	srv.cmd = cmd
	return nil
}

// Stop kills the server, and waits for its end.
func (srv *Server) Stop() error {
	if srv.member != nil {
		return srv.member.stop()
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	cmd := srv.cmd
	if cmd == nil {
		return errors.New("zk: the server has not been started")
	}
	srv.cmd = nil
	cmd.Process.Kill()
	return cmd.Wait()
}
