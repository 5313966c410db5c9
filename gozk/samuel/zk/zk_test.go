package zk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

type silent struct{}

func (silent) Printf(string, ...any) {}

// quiet makes a Conn of a cluster keep silent.
func quiet(t *testing.T, c *Conn, err error) *Conn {
	t.Helper()
	assert.NilError(t, err)
	c.SetLogger(silent{})
	t.Cleanup(c.Close)
	return c
}

func testCluster(t *testing.T) {
	tc, err := StartTestCluster(3, nil, io.Discard)
	assert.NilError(t, err)
	defer func() {
		assert.NilError(t, tc.Stop())
		_, err := os.Stat(tc.Path)
		assert.Assert(t, errors.Is(err, os.ErrNotExist))
	}()
	c, err := tc.Connect(0)
	one := quiet(t, c, err)
	c, events, err := tc.ConnectAll()
	all := quiet(t, c, err)
	_, err = one.Create("/a", []byte("x"), 0, WorldACL(PermAll))
	assert.NilError(t, err)
	for ev := range events {
		if ev.State == StateHasSession {
			break
		}
	}
	_, err = all.Sync("/")
	assert.NilError(t, err)
	_, _, ch, err := all.GetW("/a")
	assert.NilError(t, err)
	tc.StopServer(all.Server())
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, _, err := all.Get("/a")
		if err == nil {
			break
		}
		assert.Assert(t, time.Now().Before(deadline), "%v", err)
		time.Sleep(10 * time.Millisecond)
	}
	_, err = all.Set("/a", nil, -1)
	assert.NilError(t, err)
	assert.Equal(t, (<-ch).Type, EventNodeDataChanged)
	assert.NilError(t, func() error { c, err := tc.Connect(0); quiet(t, c, err); return nil }())
	assert.Equal(t, len(tc.Servers), 3)
}

// A cluster serves, and loses a server without harm.
func TestCluster_InProcess(t *testing.T) {
	t.Setenv("ZK_TEST_APACHE", "")
	testCluster(t)
}

func TestCluster_Real(t *testing.T) {
	apache.Need(t)
	testCluster(t)
}

func TestMarshall(t *testing.T) {
	var b bytes.Buffer
	assert.Error(t, ServerConfig{}.Marshall(&b), "zk: missing server config field 'dataDir'")
	conf := ServerConfig{DataDir: "/data", AutoPurgePurgeInterval: 1, Servers: []ServerConfigServer{{ID: 1, Host: "h"}, {ID: 2, Host: "i", PeerPort: 3, LeaderElectionPort: 4}}}
	assert.NilError(t, conf.Marshall(&b))
	want := []string{
		"dataDir=/data", "tickTime=2000", "initLimit=10", "syncLimit=5", "clientPort=2181", "4lw.commands.whitelist=*", "admin.enableServer=false",
		"autopurge.snapRetainCount=3", "autopurge.purgeInterval=1", "server.1=h:2888:3888", "server.2=i:3:4",
	}
	assert.DeepEqual(t, strings.Fields(b.String()), want)
}

// A Server is a Java process that serves what its config says.
func TestServerProcess(t *testing.T) {
	never := &Server{}
	assert.Assert(t, never.Stop() != nil)
	apache.Need(t)
	dir := t.TempDir()
	port := zktest.NewProxy(t, "127.0.0.1:1") // a port that was free
	_, number, _ := strings.Cut(port.Addr(), ":")
	port.Close()
	var b bytes.Buffer
	conf := ServerConfig{DataDir: dir}
	fmt.Sscan(number, &conf.ClientPort)
	assert.NilError(t, conf.Marshall(&b))
	b.WriteString("clientPortAddress=127.0.0.1\n")
	file := filepath.Join(dir, "zoo.cfg")
	assert.NilError(t, os.WriteFile(file, b.Bytes(), 0o600))
	srv := &Server{ConfigPath: file}
	assert.NilError(t, srv.Start())
	defer srv.Stop()
	assert.Assert(t, srv.Start() != nil)
	for deadline := time.Now().Add(time.Minute); !FLWRuok([]string{"127.0.0.1:" + number}, time.Second)[0]; {
		assert.Assert(t, time.Now().Before(deadline))
		time.Sleep(100 * time.Millisecond)
	}
	c, _, err := Connect([]string{"127.0.0.1:" + number}, 10*time.Second, WithLogger(silent{}), nil, WithLogInfo(false))
	assert.NilError(t, err)
	_, _, err = c.Get("/")
	for err == ErrNoServer {
		_, _, err = c.Get("/")
	}
	assert.NilError(t, err)
	c.Close()
}

func TestTracer(t *testing.T) {
	server := zktest.NewServer(t)
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	stdout := os.Stdout
	os.Stdout = w
	StartTracer("127.0.0.1:0", server.Addr())
	addr := tracers.of["127.0.0.1:0"].Addr()
	c, _, err := Connect([]string{addr}, 10*time.Second, WithLogger(silent{}))
	assert.NilError(t, err)
	_, _, err = c.Exists("/traced")
	assert.NilError(t, err)
	c.Close()
	StopTracer("127.0.0.1:0")
	StopTracer("127.0.0.1:0")
	os.Stdout = stdout
	w.Close()
	out, err := io.ReadAll(r)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(out), "/traced"), "%s", out)
}
