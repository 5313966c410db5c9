package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
)

// run starts the built command and returns it with the line that it prints.
func run(t *testing.T, flags ...string) (cmd *exec.Cmd, line string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no interrupt to send")
	}
	exe := filepath.Join(t.TempDir(), "zkserve")
	out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	cmd = exec.Command(exe, flags...)
	stdout, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err = bufio.NewReader(stdout).ReadString('\n')
	assert.NilError(t, err)
	return cmd, strings.TrimSpace(line)
}

func TestServe(t *testing.T) {
	cmd, line := run(t, "-port", "0", "-members", "3", "-tick", "1s", "-reconfig", "-super-digest", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=")
	addrs := strings.Split(line, ",")
	assert.Equal(t, len(addrs), 3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := zk.Dial(ctx, zk.Config{Addrs: addrs, Timeout: time.Minute, Auth: []zk.Auth{{Scheme: "digest", Credential: []byte("super:admin")}}})
	assert.NilError(t, err)
	defer s.Close()
	assert.Equal(t, s.Timeout(), 20*time.Second)
	_, err = s.Set(ctx, "/zookeeper/config", nil, -1) // which only the superuser may
	assert.NilError(t, err)

	assert.NilError(t, cmd.Process.Signal(os.Interrupt))
	assert.NilError(t, cmd.Wait())
	<-s.Done()
}

// What is served is the release that was asked for.
func TestServeVersion(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, err := parse([]string{"-port", "0", "-version", "3.4"}, io.Discard)
	assert.NilError(t, err)
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c, in) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	assert.NilError(t, err)
	s, err := zk.Dial(ctx, zk.Config{Addrs: []string{strings.TrimSpace(line)}, Timeout: time.Second})
	assert.NilError(t, err)
	_, err = s.Create(ctx, "/c", nil, zk.Container, zk.ACLOpen)
	assert.ErrorIs(t, err, zk.ErrUnimplemented)
	s.Detach()
	cancel()
	assert.NilError(t, <-done)
}

func TestWrongFlags(t *testing.T) {
	for _, test := range []struct {
		flags string
		want  string
	}{
		{"-port 1 -version 3.3", `-version is "3.3", want 3.4 to 3.9`},
		{"-port 0 -host 0.0.0.0", `Listen is "0.0.0.0:0", which is no loopback address`},
		{"-port 0 -host localhost", `Listen is "localhost:0", not an IP address and a port`},
		{"-port -1", `Listen is "127.0.0.1:-1", not an IP address and a port`},
		{"-port 0 -members 0", "ensemble of 0 servers"},
		{"-port 0 -super-digest super:secret", `SuperDigest is "super:secret", which is not user:digest`},
		{"-port 0 -tick -1s", "TickTime is -1s"},
	} {
		c, err := parse(strings.Fields(test.flags), io.Discard)
		assert.NilError(t, err)
		var out bytes.Buffer
		assert.ErrorContains(t, serve(t.Context(), c, &out), test.want)
		assert.Equal(t, out.String(), "")
	}
	for flags, want := range map[string]string{"x": "no arguments are known", "-x": "not defined: -x", "-h": "zkserve runs ZooKeeper servers"} {
		var said strings.Builder
		_, err := parse(strings.Fields(flags), &said)
		assert.Assert(t, err != nil)
		assert.Assert(t, strings.Contains(said.String(), want), said.String())
	}
}
