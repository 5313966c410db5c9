package realservers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestSingle(t *testing.T) {
	ctx := t.Context()
	var log buffer
	began := time.Now()
	e := apache.New(t, apache.Config{Log: &log})
	t.Logf("%s serves after %v", e.Release(), time.Since(began).Round(time.Millisecond))
	s := e.Member(0)
	if e.Len() != 1 || len(e.Addrs()) != 1 || e.Addrs()[0] != s.Addr() || s.ID() != 1 {
		t.Errorf("Len %d, Addrs %q, Addr %q, ID %d", e.Len(), e.Addrs(), s.Addr(), s.ID())
	}
	if host, _, err := net.SplitHostPort(s.Addr()); err != nil || host != "127.0.0.1" {
		t.Errorf("listens on %s (%v), want loopback only", s.Addr(), err)
	}
	if text, err := s.Command("ruok"); text != "imok" {
		t.Errorf("ruok: %q, %v", text, err)
	}
	if text, err := s.Command("srvr"); !strings.Contains(text, "Zookeeper version: "+string(e.Release())) {
		t.Errorf("srvr: %q, %v", text, err)
	}
	if i, err := e.Leader(); i != 0 || err != nil {
		t.Errorf("Leader = %d, %v", i, err)
	}

	c := connect(t, nil, s.Addr(), fresh())
	c.ok(wire.OpCreate, wire.CreateRequest{Path: "/kept", Data: []byte("data"), ACL: open})
	c.ok(wire.OpCreateTTL, wire.CreateTTLRequest{Path: "/ttl", ACL: open, Flags: wire.FlagPersistentTTL, TTL: 100})
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if err, _ := c.call(wire.OpExists, wire.PathWatchRequest{Path: "/ttl"}); err == wire.ErrNoNode {
			break
		} else if time.Since(began) > timeout {
			t.Fatal("a TTL node stays: its check is off or slow")
		}
	}
	if text, err := s.TxnLog(ctx); err != nil || !strings.Contains(text, "/kept") {
		t.Errorf("TxnLog: %q, %v", text, err)
	} else {
		t.Logf("transaction log:\n%s", text)
	}

	pid := s.PID()
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if s.PID() == pid {
		t.Errorf("process %d again after a restart", pid)
	}
	c = connect(t, nil, s.Addr(), fresh())
	d := c.ok(wire.OpGetData, wire.PathWatchRequest{Path: "/kept"})
	if data := d.Buffer(); string(data) != "data" {
		t.Errorf("data %q after a restart", data)
	}

	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if s.Running() {
		t.Error("runs after Stop")
	}
	for name, err := range map[string]error{"Stop": s.Stop(), "Kill": s.Kill()} {
		if err != nil {
			t.Errorf("%s of a server that does not run: %v", name, err)
		}
	}
	if err := s.Pause(); err == nil {
		t.Error("Pause of a server that does not run succeeded")
	}
	if _, err := s.Command("ruok"); err == nil {
		t.Error("a stopped server answers")
	}
	if err := e.WaitServing(ctx); err == nil {
		t.Error("WaitServing without a running member succeeded")
	}
	if _, err := e.Leader(); err == nil {
		t.Error("a stopped server leads")
	}

	// Its port taken, it says so instead of waiting for the end of the context.
	l, err := net.Listen("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(ctx); err == nil || !strings.Contains(err.Error(), "port taken") {
		t.Errorf("Restart on a port in use: %v", err)
	}
	l.Close()

	if want := "server 1: "; !strings.HasPrefix(log.String(), want) || !strings.Contains(s.Logs(), "INFO") {
		t.Errorf("Log begins %.100q, Logs are %.100q", log.String(), s.Logs())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Start(); err == nil {
		t.Error("Start after Close succeeded")
	}
	if _, err := os.Stat(s.DataDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary data after Close: %v", err)
	}
}

func TestEnsemble(t *testing.T) {
	ctx := t.Context()
	began := time.Now()
	e := apache.New(t, apache.Config{Release: apache.V3_8, Members: 3})
	t.Logf("three servers %s serve after %v", e.Release(), time.Since(began).Round(time.Millisecond))
	leader, err := e.Leader()
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, nil, e.Member(leader).Addr(), fresh())
	c.ok(wire.OpCreate, wire.CreateRequest{Path: "/kept", Data: []byte("data"), ACL: open})

	began = time.Now()
	if err := e.Member(leader).Kill(); err != nil {
		t.Fatal(err)
	}
	next := leader
	for next == leader {
		if err := e.WaitServing(ctx); err != nil { // the two others
			t.Fatal(err)
		}
		if next, err = e.Leader(); err != nil {
			next = leader // it saw them before they noticed
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Logf("leader killed: serving again after %v", time.Since(began).Round(time.Millisecond))

	// The session moves to another member, and back to the restarted one.
	c = connect(t, nil, e.Member(next).Addr(), c.again())
	c.ok(wire.OpSetData, wire.SetDataRequest{Path: "/kept", Data: []byte("more"), Version: 0})
	began = time.Now()
	if err := e.Member(leader).Restart(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("killed member serves %v after its restart", time.Since(began).Round(time.Millisecond))
	c = connect(t, nil, e.Member(leader).Addr(), c.again())
	d := c.ok(wire.OpGetData, wire.PathWatchRequest{Path: "/kept"})
	if data := d.Buffer(); string(data) != "more" {
		t.Errorf("data %q on the restarted member", data)
	}

	// A paused member accepts connections and stays silent; resumed, it answers late.
	s := e.Member(leader)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "ruok")
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	answer := make([]byte, 4)
	if n, err := conn.Read(answer); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a paused server answers %q, %v", answer[:n], err)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(timeout))
	if n, err := conn.Read(answer); string(answer[:n]) != "imok" {
		t.Errorf("a resumed server answers %q, %v", answer[:n], err)
	}
	if err := s.Pause(); err != nil { // Stop and Close must cope with it
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}

	// Without a majority nobody serves; with all back, everybody does.
	if err := e.Member(next).Kill(); err != nil {
		t.Fatal(err)
	}
	for i := range e.Len() {
		if err := e.Member(i).Start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.WaitServing(ctx); err != nil {
		t.Error(err)
	}
	if err := e.Member(0).Pause(); err != nil {
		t.Error(err)
	}
}

// A setting that the server refuses ends it, and the error shows why.
func TestStartFails(t *testing.T) {
	apache.Need(t)
	_, err := apache.Start(t.Context(), apache.Config{Settings: map[string]string{"tickTime": "never"}})
	if err == nil || !strings.Contains(err.Error(), "never") || !strings.Contains(err.Error(), "before it served") {
		t.Errorf("error %v, want the server's log, as soon as it ended", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := apache.Start(ctx, apache.Config{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
}

// When the process that started a server is killed, the server dies too.
func TestDiesWithParent(t *testing.T) {
	apache.Need(t)
	if os.Getenv("ZK_TEST_CHILD") != "" {
		e, err := apache.Start(t.Context(), apache.Config{Dir: os.Getenv("ZK_TEST_CHILD")})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("pid", e.Member(0).PID())
		time.Sleep(time.Minute)
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills servers with the process that started them")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiesWithParent$")
	cmd.Env = append(os.Environ(), "ZK_TEST_CHILD="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	lines := bufio.NewScanner(out)
	for pid == 0 && lines.Scan() {
		fmt.Sscanf(lines.Text(), "pid %d", &pid)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if pid == 0 {
		t.Fatal("the child started no server")
	}
	alive := func() bool {
		// pid (command) state …; an orphan that nobody waits for stays as a zombie
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && !bytes.Contains(stat, []byte(") Z "))
	}
	for began := time.Now(); alive(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > timeout {
			t.Fatalf("server %d outlives the process that started it", pid)
		}
	}
}

// Every setting of zoo.cfg can be given, and the server takes it.
func TestSettings(t *testing.T) {
	e := apache.New(t, apache.Config{Members: 3, Settings: map[string]string{
		"tickTime": "1000", "initLimit": "17", "syncLimit": "9", "maxClientCnxns": "23",
		"autopurge.snapRetainCount": "4", "autopurge.purgeInterval": "1",
	}})
	conf, err := e.Member(1).Command("conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"tickTime=1000", "initLimit=17", "syncLimit=9", "maxClientCnxns=23", e.Member(2).Line()} {
		if !strings.Contains(conf, line+"\n") {
			t.Errorf("no %s in\n%s", line, conf)
		}
	}
	for _, line := range []string{"autopurge.snapRetainCount set to 4", "autopurge.purgeInterval set to 1"} {
		if !strings.Contains(e.Member(1).Logs(), line) {
			t.Errorf("the log does not say %q", line)
		}
	}
	if _, err := apache.New(t, apache.Config{}).Add(); err == nil {
		t.Error("a server that stands alone has grown")
	}
}
