package zk

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// TestServer is a server of a TestCluster.
type TestServer struct {
	Port int
	Path string
	Srv  *Server
}

// TestCluster is an ensemble for tests.
type TestCluster struct {
	Path    string
	Servers []TestServer

	close func() error
}

// StartTestCluster starts so many servers: in-process ones of zktest, which need no
// Java and are up at once, or real ones where the environment has ZK_TEST_APACHE=1. It
// returns when they serve. Of real ones the log goes to stderr, if that is not nil.
func StartTestCluster(size int, stdout, stderr io.Writer) (*TestCluster, error) {
	dir, err := os.MkdirTemp("", "gozk")
	if err != nil {
		return nil, err
	}
	tc := &TestCluster{Path: dir}
	if os.Getenv("ZK_TEST_APACHE") == "1" {
		err = tc.startReal(size, stderr)
	} else {
		err = tc.startInProcess(size)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return tc, nil
}

func (tc *TestCluster) startInProcess(size int) error {
	e, err := zktest.StartEnsemble(size, zktest.Options{Majority: size > 1})
	if err != nil {
		return err
	}
	tc.close = func() error { e.Close(); return nil }
	for i, addr := range e.Addrs() {
		if err := tc.add(addr, filepath.Join(tc.Path, fmt.Sprint("srv", i)), inProcess{e.Member(i)}); err != nil {
			e.Close()
			return err
		}
	}
	return nil
}

func (tc *TestCluster) startReal(size int, log io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := apache.Start(ctx, apache.Config{Members: size, Dir: tc.Path, Log: log})
	if err != nil {
		return err
	}
	tc.close = e.Close
	for i, addr := range e.Addrs() {
		if err := tc.add(addr, e.Member(i).DataDir(), process{e.Member(i)}); err != nil {
			e.Close()
			return err
		}
	}
	return nil
}

type inProcess struct{ *zktest.Member }

func (m inProcess) start() error { m.Start(); return nil }
func (m inProcess) stop() error  { m.Stop(); return nil }

type process struct{ *apache.Server }

func (p process) start() error { return p.Start() }
func (p process) stop() error  { return p.Kill() }

func (tc *TestCluster) add(addr, path string, member interface {
	start() error
	stop() error
}) error {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err == nil {
		tc.Servers = append(tc.Servers, TestServer{a.Port, path, &Server{member: member}})
	}
	return err
}

// Connect connects to one server.
func (tc *TestCluster) Connect(idx int) (*Conn, error) {
	c, _, err := Connect([]string{tc.Servers[idx].addr()}, 15*time.Second)
	return c, err
}

func (s TestServer) addr() string { return fmt.Sprint("127.0.0.1:", s.Port) }

// ConnectAll connects to all servers, with a session timeout of 15 s.
func (tc *TestCluster) ConnectAll() (*Conn, <-chan Event, error) {
	return tc.ConnectAllTimeout(15 * time.Second)
}

// ConnectAllTimeout connects to all servers.
func (tc *TestCluster) ConnectAllTimeout(sessionTimeout time.Duration) (*Conn, <-chan Event, error) {
	return tc.ConnectWithOptions(sessionTimeout)
}

// ConnectWithOptions connects to all servers.
func (tc *TestCluster) ConnectWithOptions(sessionTimeout time.Duration, options ...connOption) (*Conn, <-chan Event, error) {
	var hosts []string
	for _, s := range tc.Servers {
		hosts = append(hosts, s.addr())
	}
	return Connect(hosts, sessionTimeout, options...)
}

// Stop ends all servers and removes what they have written.
func (tc *TestCluster) Stop() error {
	err := tc.close()
	os.RemoveAll(tc.Path)
	return err
}

// server returns the server that has the port of an address.
func (tc *TestCluster) server(addr string) *Server {
	for _, s := range tc.Servers {
		if strings.HasSuffix(addr, fmt.Sprint(":", s.Port)) {
			return s.Srv
		}
	}
	panic(fmt.Sprintf("Unknown server: %s", addr))
}

// StartServer starts the server with this address, host:port.
func (tc *TestCluster) StartServer(server string) { tc.server(server).Start() }

// StopServer stops the server with this address.
func (tc *TestCluster) StopServer(server string) { tc.server(server).Stop() }

// StartAllServers starts all servers.
func (tc *TestCluster) StartAllServers() error {
	for _, s := range tc.Servers {
		if err := s.Srv.Start(); err != nil {
			return fmt.Errorf("zk: failed to start server listening on port `%d` : %+v", s.Port, err)
		}
	}
	return nil
}

// StopAllServers stops all servers.
func (tc *TestCluster) StopAllServers() error {
	for _, s := range tc.Servers {
		if err := s.Srv.Stop(); err != nil {
			return fmt.Errorf("zk: failed to stop server listening on port `%d` : %+v", s.Port, err)
		}
	}
	return nil
}
