package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/talk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// command is the built command, at work.
type command struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer
	addr string // for clients
}

var leads = regexp.MustCompile(`clients connect to (\S+), which leads to`)

func start(t *testing.T, server string, flags ...string) *command {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no interrupt to send")
	}
	exe := filepath.Join(t.TempDir(), "zktrace")
	out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	c := &command{t: t, cmd: exec.Command(exe, append([]string{"-listen", "127.0.0.1:0", "-server", server}, flags...)...)}
	c.cmd.Stdout = &c.out
	stderr, err := c.cmd.StderrPipe()
	assert.NilError(t, err)
	assert.NilError(t, c.cmd.Start())
	t.Cleanup(func() { c.cmd.Process.Kill() })
	line, err := bufio.NewReader(stderr).ReadString('\n')
	assert.NilError(t, err)
	m := leads.FindStringSubmatch(line)
	assert.Assert(t, m != nil, "%q", line)
	c.addr = m[1]
	return c
}

// interrupt ends the command, which must end well, and returns what it printed.
func (c *command) interrupt() string {
	c.t.Helper()
	assert.NilError(c.t, c.cmd.Process.Signal(os.Interrupt))
	assert.NilError(c.t, c.cmd.Wait())
	return c.out.String()
}

// converse lets a session do what the tests look for.
func converse(t *testing.T, addr string) (id int64) {
	t.Helper()
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{addr}, Auth: []zk.Auth{zk.Digest("user", "secret")}})
	assert.NilError(t, err)
	_, err = s.Create(t.Context(), "/a", []byte("hidden"), zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	events := make(chan zk.Event, 1)
	_, _, err = s.Get(t.Context(), "/a", events)
	assert.NilError(t, err)
	_, err = s.Set(t.Context(), "/a", nil, -1)
	assert.NilError(t, err)
	<-events
	assert.Assert(t, errors.Is(s.Delete(t.Context(), "/none", -1), zk.ErrNoNode))
	assert.NilError(t, s.Close())
	return s.ID()
}

func TestText(t *testing.T) {
	c := start(t, zktest.NewServer(t).Addr())
	converse(t, c.addr)
	out := c.interrupt()
	for _, want := range []string{
		`^\S+   1 -> connect new session \(wants timeout 10s\)$`,
		`^\S+   1 <- connect session 0x1\w{14} \(timeout 10s\)$`,
		`^\S+   1 -> auth \(scheme digest\)$`,
		`^\S+   1 -> getData #\d+ "/a" \(watch\)$`,
		`^\S+   1 <- getData #\d+ "/a" zxid 0x2 [0-9.]+[mµ]s$`,
		`^\S+   1 <- event changed "/a" zxid 0x3$`,
		`^\S+   1 <- delete #\d+ "/none" zxid 0x4 NoNode \(-101\) [0-9.]+[mµ]s$`,
		`^\S+   1 x  \w+ closed`,
	} {
		assert.Assert(t, regexp.MustCompile("(?m)"+want).MatchString(out), "no %s in\n%s", want, out)
	}
	for _, secret := range []string{"secret", "hidden", "\x1b"} {
		assert.Assert(t, !strings.Contains(out, secret), out)
	}
}

func TestJSON(t *testing.T) {
	c := start(t, zktest.NewServer(t).Addr(), "-json", "-delay-to-client", "20ms")
	id := converse(t, c.addr)
	seen := map[string]object{}
	for line := range strings.Lines(c.interrupt()) {
		var o object
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		assert.NilError(t, d.Decode(&o))
		_, err := time.Parse(time.RFC3339Nano, o.Time)
		assert.NilError(t, err)
		seen[o.Kind+" "+o.Op] = o
	}
	get, reply := seen["request getData"], seen["reply getData"]
	assert.Equal(t, get.Path, "/a")
	assert.Equal(t, *get.Xid, *reply.Xid)
	assert.Equal(t, reply.Zxid, "0x2")
	assert.Assert(t, reply.LatencyUS >= 20_000)
	assert.Equal(t, reply.Session, fmt.Sprintf("%#x", uint64(id)))
	assert.Equal(t, seen["event "].Event, "changed")
	assert.Equal(t, seen["reply delete"].Error, "NoNode")
	assert.Equal(t, seen["reply delete"].Err, wire.ErrNoNode)
	assert.Assert(t, seen["end "].Note != "")
}

func TestCuts(t *testing.T) {
	server := zktest.NewServer(t)
	// The third request, the handshake being the first, does not get through.
	c := start(t, server.Addr(), "-cut-request", "3", "-hide-pings")
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{c.addr}})
	assert.NilError(t, err)
	_, _, err = s.Exists(t.Context(), "/", nil)
	assert.NilError(t, err)
	_, _, err = s.Exists(t.Context(), "/", nil)
	assert.Assert(t, errors.Is(err, zk.ErrLost), "%v", err)
	out := c.interrupt()
	assert.Assert(t, strings.Contains(out, "cut by a limit of what comes from the client"), out)

	c = start(t, server.Addr(), "-cut-every", "1s", "-reset")
	s, err = zk.Dial(t.Context(), zk.Config{Addrs: []string{c.addr}})
	for ; err != nil; s, err = zk.Dial(t.Context(), zk.Config{Addrs: []string{c.addr}}) {
		assert.Assert(t, !errors.Is(err, context.DeadlineExceeded))
	}
	<-s.Done()
	out = c.interrupt()
	assert.Assert(t, strings.Contains(out, "x  reset\n"), out)
}

func TestBadFlags(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-h"}, 0, "-cut-every"},
		{[]string{"-nonsense"}, 2, "not defined"},
		{[]string{"more"}, 2, "no arguments are known"},
		{[]string{"-server", "nowhere"}, 1, "missing port"},
		{[]string{"-listen", "127.0.0.1:x"}, 1, "listen"},
	} {
		cmd := exec.Command("go", append([]string{"run", "."}, test.args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		assert.Equal(t, err == nil, test.code == 0, "%v: %v", test.args, err)
		assert.Assert(t, strings.Contains(stderr.String(), test.says), "%v: %s", test.args, &stderr)
		if test.code > 1 { // which go run reports on stderr
			assert.Assert(t, strings.Contains(stderr.String(), "exit status 2"), "%s", &stderr)
		}
	}
}

func TestColours(t *testing.T) {
	f := zktest.Frame{Conn: 3, Dir: zktest.ToClient, Op: wire.OpGetData, Xid: 7, Path: "/a\n", Err: -101, Latency: 1500 * time.Nanosecond}
	assert.Equal(t, textLine(true)(f), "\x1b[2m00:00:00.000000\x1b[0m \x1b[2m  3\x1b[0m \x1b[32m<-\x1b[0m \x1b[32mgetData\x1b[0m"+
		" \x1b[2m#7\x1b[0m \"/a\\n\" \x1b[31mNoNode (-101)\x1b[0m \x1b[2m2µs\x1b[0m\n")
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	assert.NilError(t, err)
	defer file.Close()
	assert.Assert(t, !colours(file))
	if tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err == nil { // is a terminal
		defer tty.Close()
		t.Setenv("TERM", "xterm")
		t.Setenv("NO_COLOR", "")
		assert.Assert(t, colours(tty))
		t.Setenv("NO_COLOR", "1")
		assert.Assert(t, !colours(tty))
	}
	assert.Equal(t, talk.ErrorName(-99), "error")
	assert.Equal(t, talk.EventName(9), "type 9")
}

// What a peer has chosen cannot speak to the terminal: neither as text nor as JSON,
// which leaves DEL and the controls above it as they are.
func TestHostileStrings(t *testing.T) {
	const evil = "\x1b[2J\r\x00\u009b31m\x7f\u202e, version 7) x"
	server := zktest.NewServer(t)
	for _, flags := range [][]string{nil, {"-json"}} {
		c := start(t, server.Addr(), flags...)
		_, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{c.addr}, Auth: []zk.Auth{{Scheme: evil, Credential: []byte("x")}}})
		assert.Assert(t, err != nil)
		s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{c.addr}})
		assert.NilError(t, err)
		_, err = s.Create(t.Context(), "/a\u3000b", nil, zk.Persistent, zk.ACLOpen)
		assert.Assert(t, err == nil || errors.Is(err, zk.ErrExists), "%v", err)
		assert.NilError(t, s.Close())
		out := c.interrupt()
		for _, r := range out {
			assert.Assert(t, r == '\n' || unicode.IsPrint(r), "%q in %s", r, out)
		}
		quoted := `(scheme "\x1b[2J\r\x00\u009b31m\x7f\u202e, version 7) x")`
		if flags != nil {
			quoted = strings.ReplaceAll(strings.ReplaceAll(strings.Trim(quoted, "()"), `\`, `\\`), `"`, `\"`)
			assert.Assert(t, strings.Contains(out, `"path":"/a\u3000b"`), out)
		}
		assert.Assert(t, strings.Contains(out, quoted), "no %s in\n%s", quoted, out)
	}
	for _, note := range []string{evil, "\xff\x9b", "\U000e0001"} {
		for _, dir := range []zktest.Direction{zktest.FromClient, zktest.ToClient, zktest.Hangup} {
			f := zktest.Frame{Dir: dir, Op: wire.OpGetData, Path: evil, Note: note}
			for _, line := range []string{textLine(false)(f), jsonLine(f)} {
				text, ok := strings.CutSuffix(line, "\n")
				assert.Assert(t, ok && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) && utf8.ValidString(text), "%q", line)
			}
			var o object
			assert.NilError(t, json.Unmarshal([]byte(jsonLine(f)), &o))
			assert.Equal(t, o.Path, evil)
			assert.Equal(t, o.Note, strings.ToValidUTF8(strings.ReplaceAll(note, "\xff\x9b", "\ufffd\ufffd"), ""))
		}
	}
}

// Ids of sessions are as in the server's logs.
func TestSessionIDs(t *testing.T) {
	text, err := os.ReadFile("testdata/session-ids.tsv")
	assert.NilError(t, err)
	n := 0
	for line := range strings.Lines(string(text)) {
		row := strings.Split(line, "\t")
		id, err := strconv.ParseInt(row[0], 10, 64)
		if err != nil {
			continue // a comment
		}
		n++
		f := zktest.Frame{Dir: zktest.ToClient, Op: zktest.OpConnect, Session: id}
		assert.Assert(t, strings.Contains(textLine(false)(f), " session "+row[1]), textLine(false)(f))
		var o object
		assert.NilError(t, json.Unmarshal([]byte(jsonLine(f)), &o))
		assert.Equal(t, o.Session, row[1])
	}
	assert.Equal(t, n, 5)
}
