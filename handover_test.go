package zk_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// childJob is what another process is told on its stdin. A State has the
// session's password in it, which belongs on no command line and in no environment.
type childJob struct {
	Do     string // "take over" or "own"
	Addrs  []string
	Chroot string
	Root   string
	State  zk.State
}

// child is another process with the code of this one.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

const childPrefix = "child: " // of the lines that are meant for the parent

// beginChild starts a process that does a job, as TestOtherProcess.
func beginChild(e *env, do string, st zk.State) *child {
	e.t.Helper()
	job, err := json.Marshal(childJob{do, e.addrs(), e.chroot, e.root, st})
	assert.NilError(e.t, err)
	cmd := exec.CommandContext(e.ctx, os.Args[0], "-test.run=^TestOtherProcess$")
	cmd.Env = append(os.Environ(), "ZK_TEST_CHILD=1")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(job)), os.Stderr
	out, err := cmd.StdoutPipe()
	assert.NilError(e.t, err)
	assert.NilError(e.t, cmd.Start())
	c := &child{e.t, cmd, bufio.NewScanner(out)}
	c.lines.Buffer(nil, 1<<20)
	return c
}

// line returns the next line, or false after the last.
func (c *child) line() (string, bool) {
	for c.lines.Scan() {
		if line, ok := strings.CutPrefix(c.lines.Text(), childPrefix); ok {
			return line, true
		}
	}
	return "", false
}

// state reads a line that is a State.
func (c *child) state() (st zk.State) {
	c.t.Helper()
	line, ok := c.line()
	assert.Assert(c.t, ok, "the child ended without its State")
	assert.NilError(c.t, json.Unmarshal([]byte(line), &st), "%s", line)
	return st
}

// beChild is the other process.
func beChild() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var job childJob
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = json.Unmarshal(text, &job)
	}
	say := func(a ...any) { fmt.Println(childPrefix + strings.TrimSuffix(fmt.Sprintln(a...), "\n")) }
	if err == nil {
		conf := zk.Config{Addrs: job.Addrs, Chroot: job.Chroot, Timeout: 20 * time.Second, State: job.State}
		if job.Do == "own" {
			err = childOwns(ctx, conf, job.Root, say)
		} else {
			err = childTakesOver(ctx, conf, job.Root, say)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// childTakesOver says all that it gets of a session with watches of every kind,
// and hands it back with one event undelivered.
func childTakesOver(ctx context.Context, conf zk.Config, root string, say func(...any)) error {
	full, room := make(chan zk.Event, 16), make(chan zk.Event, 16)
	channels := map[int]chan zk.Event{}
	if err := conf.Watches.Rebind(func(w zk.Watch) chan<- zk.Event {
		if w.Path == root+"/dropped" {
			return nil
		}
		if channels[w.Channel] == nil {
			channels[w.Channel] = room
			if w.Path == root+"/a" || w.Path == root+"/b" {
				channels[w.Channel] = full
			}
		}
		return channels[w.Channel]
	}); err != nil {
		return err
	}
	say(len(channels), "channels")
	s, err := zk.Dial(ctx, conf)
	if err != nil {
		return err
	}
	_, st, err := s.Get(ctx, root+"/eph", nil)
	if err != nil {
		return err
	}
	say("session", uint64(s.ID()), "owner", uint64(st.EphemeralOwner))
	for _, path := range []string{"/r/x", "/p"} { // what was missed is ahead of what comes now
		if _, err := s.Set(ctx, root+path, nil, zk.AnyVersion); err != nil {
			return err
		}
	}
	for name, ch := range map[string]chan zk.Event{"full": full, "room": room} {
		var got []string
		for len(ch) > 0 {
			ev := <-ch
			got = append(got, fmt.Sprint(ev.Type, " ", strings.TrimPrefix(ev.Path, root)))
		}
		say(name, strings.Join(got, ", "))
	}
	stuck := make(chan zk.Event)
	if _, _, err := s.Get(ctx, root+"/a", stuck); err != nil {
		return err
	}
	if _, err := s.Set(ctx, root+"/a", nil, zk.AnyVersion); err != nil {
		return err
	}
	return sayState(s.Detach(), say)
}

func sayState(conf zk.Config, say func(...any)) error {
	text, err := json.Marshal(conf.State)
	if err == nil {
		say(string(text))
	}
	return err
}

// ownNodes is how many nodes childOwns watches.
const ownNodes = 20

// childOwns watches nodes, tells its State while it lives, and has calls under
// way until it is killed.
func childOwns(ctx context.Context, conf zk.Config, root string, say func(...any)) error {
	ch := make(chan zk.Event, 2*ownNodes)
	if err := conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }); err != nil {
		return err
	}
	s, err := zk.Dial(ctx, conf)
	if err != nil {
		return err
	}
	for i := range ownNodes {
		if _, _, err := s.Get(ctx, fmt.Sprintf("%s/n%d", root, i), ch); err != nil {
			return err
		}
	}
	if err := sayState(s.Config(), say); err != nil {
		return err
	}
	failed := make(chan error)
	for range 8 {
		go func() {
			for {
				if _, err := s.Set(ctx, root+"/counter", nil, zk.AnyVersion); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// Another process takes a session over from its State in JSON, with watches of
// every kind, and events that had not been delivered. Then it hands it back.
func TestOtherProcess(t *testing.T) {
	if os.Getenv("ZK_TEST_CHILD") != "" {
		beChild()
	}
	processes(t, func(t *testing.T, e *env) {
		if !e.knows(zktest.V36) {
			t.Skip("the server has no watches of every kind")
		}
		s := e.session()
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for _, path := range []string{"/a", "/b", "/c", "/p", "/r", "/r/x", "/dropped"} {
			e.create(s, e.root+path, "")
		}
		full, room := make(chan zk.Event), make(chan zk.Event, 1)
		e.watch(s, e.root+"/a", full)
		e.watch(s, e.root+"/b", full)
		e.watch(s, e.root+"/dropped", room)
		_, _, err = s.Children(e.ctx, e.root+"/c", room)
		assert.NilError(t, err)
		_, _, err = s.Exists(e.ctx, e.root+"/e", room)
		assert.NilError(t, err)
		assert.NilError(t, s.AddWatch(e.ctx, e.root+"/p", zk.WatchPersistent, room))
		assert.NilError(t, s.AddWatch(e.ctx, e.root+"/r", zk.WatchRecursive, room))
		e.set(s, e.root+"/a", "x")
		e.set(s, e.root+"/p", "x") // queued behind the event that nobody takes
		conf := s.Detach()
		assert.Equal(t, conf.Watches.Undelivered(), 2)

		writer := e.session()
		for _, path := range []string{"/b", "/p", "/r/x", "/dropped"} {
			e.set(writer, e.root+path, "y")
		}
		e.create(writer, e.root+"/c/child", "")
		e.create(writer, e.root+"/e", "")

		conf.Zxid = writer.Zxid() // a server that has all of that: then the watches catch up with it
		c := beginChild(e, "take over", conf.State)
		var lines []string
		for range 4 {
			line, _ := c.line()
			lines = append(lines, line)
		}
		slices.Sort(lines[2:])
		caught := "child /c, created /e" // in the order in which the server looks at its lists
		if strings.Contains(lines[3], "created /e, child /c") {
			caught = "created /e, child /c"
		}
		assert.DeepEqual(t, lines, []string{
			"2 channels",
			fmt.Sprint("session ", uint64(s.ID()), " owner ", uint64(s.ID())),
			"full changed /a, changed /b",
			"room changed /p, gap /p, gap /r, " + caught + ", changed /r/x, changed /p",
		})
		back, _ := e.config()
		back.State = c.state()
		assert.NilError(t, c.cmd.Wait())

		// One event is undelivered, and the persistent watches are armed.
		assert.Equal(t, back.Watches.Undelivered(), 1)
		assert.Equal(t, back.Watches.Len(), 2)
		ch := make(chan zk.Event, 16)
		assert.NilError(t, back.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }))
		last := e.dial(back)
		assert.Equal(t, last.ID(), s.ID())
		e.want(ch, zk.Changed, e.root+"/a")
		e.none(last, ch) // nothing was committed in between, so there is no Gap
		_, st, err := last.Get(e.ctx, eph, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, s.ID())
		assert.NilError(t, last.Close())
		e.fence(writer)
		found, _, err := writer.Exists(e.ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, !found)
	})
}

// processes runs a test where it starts processes, which takes its time: on the
// real servers and on one in this process.
func processes(t *testing.T, f func(*testing.T, *env)) {
	on(t, func(b backend) bool { return b.real() || b.version == zktest.V39 && b.members == 1 }, f)
}

// A process that is killed in the middle of its calls leaves nothing but the
// State that it told of while it lived. The next one has the session, its
// ephemeral node, and every change since then.
func TestProcessKilled(t *testing.T) {
	processes(t, func(t *testing.T, e *env) {
		s := e.session()
		id := s.ID()
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		e.create(s, e.root+"/counter", "")
		for i := range ownNodes {
			e.create(s, fmt.Sprintf("%s/n%d", e.root, i), "")
		}
		writer := e.session()
		rounds := 20
		if testing.Short() {
			rounds = 3
		}
		for round := range rounds {
			c := beginChild(e, "own", s.Detach().State)
			conf, _ := e.config()
			conf.State = c.state()
			// Half of the nodes change while the process lives, which takes the events
			// with it, and a few more when it is dead.
			var want []string
			change := func(from, step int) {
				for i := from; i < ownNodes; i += step {
					path := fmt.Sprintf("%s/n%d", e.root, i)
					e.set(writer, path, "x")
					want = append(want, path)
				}
			}
			change(round%2, 2)
			assert.NilError(t, c.cmd.Process.Kill())
			assert.ErrorContains(t, c.cmd.Wait(), "killed")
			change((round+1)%2, 4)

			ch := make(chan zk.Event, 2*ownNodes)
			assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }))
			s = e.dial(conf)
			assert.Equal(t, s.ID(), id)
			e.fence(s)
			var got []string
			for len(ch) > 0 {
				ev := <-ch
				assert.Equal(t, ev.Type, zk.Changed)
				got = append(got, ev.Path)
			}
			assert.DeepEqual(t, sorted(got), sorted(want))
			_, st, err := s.Get(e.ctx, eph, nil)
			assert.NilError(t, err)
			assert.Equal(t, st.EphemeralOwner, id)
		}
	})
}

// Without a Logger and a Trace nothing is printed, whatever happens: what a
// process of its own writes to its standard output and error.
func TestSilent(t *testing.T) {
	const begin, end = "now be silent\n", "done\n"
	if os.Getenv("ZK_TEST_SILENT") != "" {
		fmt.Print(begin)
		everythingHappens(t)
		if t.Failed() {
			return
		}
		fmt.Print(end)
		os.Exit(0)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSilent$")
	cmd.Env = append(os.Environ(), "ZK_TEST_SILENT=1")
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	_, printed, found := strings.Cut(string(out), begin)
	assert.Assert(t, found, "%s", out)
	assert.Equal(t, printed, end)
}

// everythingHappens has a Session log all that it would, if it had a Logger.
func everythingHappens(t *testing.T) {
	r := newRig(t)
	s, l := r.open(r.config())
	l.send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	<-s.Done()
	assert.ErrorIs(t, s.Err(), zk.ErrProtocol)

	e := private(t, 1)
	_, err := zk.Dial(e.ctx, zk.Config{Addrs: []string{"127.0.0.1:1"}})
	assert.ErrorIs(t, err, zk.ErrNoServer)
	conf, _ := e.config()
	conf.DialContext = nil
	conf.Auth = []zk.Auth{{Scheme: "nonsense"}}
	_, err = zk.Dial(e.ctx, conf)
	assert.ErrorIs(t, err, zk.ErrAuth)
	conf.Auth = nil
	s = e.dial(conf)
	e.create(s, "/a", "")
	closed := make(chan zk.Event)
	e.watch(s, "/a", closed)
	close(closed)
	e.set(s, "/a", "x")
	e.fence(s)
	_, err = s.Set(e.ctx, "/a", nil, 77)
	assert.ErrorIs(t, err, zk.ErrVersion)
	e.sim.Cut(s.ID())
	<-s.Done()
	s, err = s.Redial(e.ctx)
	assert.NilError(t, err)
	e.sim.Expire(s.ID())
	<-s.Done()
	_, err = s.Redial(e.ctx)
	assert.ErrorIs(t, err, zk.ErrExpired)
	s, err = s.Renew(e.ctx)
	assert.NilError(t, err)
	assert.NilError(t, s.Close())
}
