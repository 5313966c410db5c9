//go:build !real

package zk

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/zktest"
)

// TestCluster has the methods of go-zookeeper's, on in-process servers.
type TestCluster struct {
	Config   ServerConfig
	Servers  []TestServer
	ensemble *zktest.Ensemble
}

type TestServer struct {
	Port   int
	Srv    *server
	Config ServerConfigServer
}

type server struct{ member *zktest.Member }

func (s *server) Start() error {
	if s.member != nil {
		s.member.Start()
	}
	return nil
}

// Stop takes a moment, as the end of a process does: these tests rely on it that the
// client has noticed.
func (s *server) Stop() error {
	if s.member != nil {
		s.member.Stop()
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

type ServerConfigServer struct {
	ID                 int
	Host               string
	PeerPort           int
	LeaderElectionPort int
}

type ServerConfig struct {
	ClientPort int
	DataDir    string
	Servers    []ServerConfigServer
}

func (ServerConfig) Marshall(io.Writer) error { return nil }

const (
	_testConfigName   = "zoo.cfg"
	_testMyIDFileName = "myid"
)

func NewIntegrationTestServer(*testing.T, string, io.Writer, io.Writer) (*server, error) {
	return &server{}, nil
}

func StartTestCluster(t *testing.T, size int, _, _ io.Writer) (*TestCluster, error) {
	e, err := zktest.StartEnsemble(size, zktest.Options{Reconfig: true, Super: "super:test", Majority: true})
	if err != nil {
		return nil, err
	}
	tc := &TestCluster{ensemble: e}
	for i, addr := range e.Addrs() {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			return nil, err
		}
		conf := ServerConfigServer{ID: i + 1, Host: "127.0.0.1", PeerPort: 2888 + i, LeaderElectionPort: 3888 + i}
		tc.Config.Servers = append(tc.Config.Servers, conf)
		tc.Config.ClientPort = a.Port
		tc.Servers = append(tc.Servers, TestServer{a.Port, &server{e.Member(i)}, conf})
	}
	return tc, nil
}

func (tc *TestCluster) Stop() error {
	tc.ensemble.Close()
	return nil
}

func (tc *TestCluster) Connect(i int) (*Conn, <-chan Event, error) {
	return Connect([]string{tc.ensemble.Member(i).Addr()}, 15*time.Second)
}

func (tc *TestCluster) ConnectAll() (*Conn, <-chan Event, error) {
	return tc.ConnectAllTimeout(15 * time.Second)
}

func (tc *TestCluster) ConnectAllTimeout(timeout time.Duration) (*Conn, <-chan Event, error) {
	return tc.ConnectWithOptions(timeout)
}

func (tc *TestCluster) ConnectWithOptions(timeout time.Duration, options ...connOption) (*Conn, <-chan Event, error) {
	if len(tc.Servers) > 1 {
		options = append(options, WithDialer(slowly()))
	}
	return Connect(tc.ensemble.Addrs(), timeout, options...)
}

// slowly takes a moment for the first connection: two of these tests begin to look for
// events after Connect, and rely on it that a server takes longer.
func slowly() Dialer {
	first := true // a Conn dials from one goroutine
	return func(network, addr string, timeout time.Duration) (net.Conn, error) {
		if first {
			first = false
			time.Sleep(500 * time.Millisecond)
		}
		return net.DialTimeout(network, addr, timeout)
	}
}

func (tc *TestCluster) server(addr string) *server {
	for _, s := range tc.Servers {
		if strings.HasSuffix(addr, fmt.Sprintf(":%d", s.Port)) {
			return s.Srv
		}
	}
	panic("unknown server: " + addr)
}

func (tc *TestCluster) StartServer(addr string) { tc.server(addr).Start() }
func (tc *TestCluster) StopServer(addr string)  { tc.server(addr).Stop() }

func (tc *TestCluster) StartAllServers() error {
	for _, s := range tc.Servers {
		s.Srv.Start()
	}
	return nil
}

func (tc *TestCluster) StopAllServers() error {
	for _, s := range tc.Servers {
		s.Srv.Stop()
	}
	return nil
}

func requireNoErrorf(t *testing.T, err error, msgAndArgs ...interface{}) {
	t.Helper()
	if err != nil {
		t.Logf("received unexpected error: %v", err)
		t.Fatal(msgAndArgs...)
	}
}

func waitForSession(ctx context.Context, events <-chan Event) error {
	for {
		select {
		case ev := <-events:
			if ev.State == StateHasSession {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
