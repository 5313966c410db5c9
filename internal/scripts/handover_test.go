package scripts

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
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
func beginChild(e *suite.Env, do string, st zk.State) *child {
	e.T.Helper()
	job, err := json.Marshal(childJob{do, e.Addrs(), e.Chroot, e.Root, st})
	assert.NilError(e.T, err)
	cmd := exec.CommandContext(e.Ctx, os.Args[0], "-test.run=^TestOtherProcess$")
	cmd.Env = append(os.Environ(), "ZK_TEST_CHILD=1")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(job)), os.Stderr
	out, err := cmd.StdoutPipe()
	assert.NilError(e.T, err)
	assert.NilError(e.T, cmd.Start())
	c := &child{e.T, cmd, bufio.NewScanner(out)}
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
	ctx, cancel := context.WithTimeout(context.Background(), suite.Patience)
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
	processes(t, func(t *testing.T, e *suite.Env) {
		if !e.Knows(zktest.V36) {
			t.Skip("the server has no watches of every kind")
		}
		s := e.Session()
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for _, path := range []string{"/a", "/b", "/c", "/p", "/r", "/r/x", "/dropped"} {
			e.Create(s, e.Root+path, "")
		}
		full, room := make(chan zk.Event), make(chan zk.Event, 1)
		e.Watch(s, e.Root+"/a", full)
		e.Watch(s, e.Root+"/b", full)
		e.Watch(s, e.Root+"/dropped", room)
		_, _, err = s.Children(e.Ctx, e.Root+"/c", room)
		assert.NilError(t, err)
		_, _, err = s.Exists(e.Ctx, e.Root+"/e", room)
		assert.NilError(t, err)
		assert.NilError(t, s.AddWatch(e.Ctx, e.Root+"/p", zk.WatchPersistent, room))
		assert.NilError(t, s.AddWatch(e.Ctx, e.Root+"/r", zk.WatchRecursive, room))
		e.Set(s, e.Root+"/a", "x")
		e.Set(s, e.Root+"/p", "x") // queued behind the event that nobody takes
		conf := s.Detach()
		assert.Equal(t, conf.Watches.Undelivered(), 2)

		writer := e.Session()
		for _, path := range []string{"/b", "/p", "/r/x", "/dropped"} {
			e.Set(writer, e.Root+path, "y")
		}
		e.Create(writer, e.Root+"/c/child", "")
		e.Create(writer, e.Root+"/e", "")

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
		back, _ := e.Config()
		back.State = c.state()
		assert.NilError(t, c.cmd.Wait())

		// One event is undelivered, and the persistent watches are armed.
		assert.Equal(t, back.Watches.Undelivered(), 1)
		assert.Equal(t, back.Watches.Len(), 2)
		ch := make(chan zk.Event, 16)
		assert.NilError(t, back.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }))
		last := e.Dial(back)
		assert.Equal(t, last.ID(), s.ID())
		e.Want(ch, zk.Changed, e.Root+"/a")
		e.None(last, ch) // nothing was committed in between, so there is no Gap
		_, st, err := last.Get(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, s.ID())
		assert.NilError(t, last.Close())
		e.Fence(writer)
		found, _, err := writer.Exists(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, !found)
	})
}

// processes runs a test where it starts processes, which takes its time: on the
// real servers and on one in this process.
func processes(t *testing.T, f func(*testing.T, *suite.Env)) {
	suite.On(t, func(b suite.Backend) bool { return b.Real() || b.Version == zktest.V39 && b.Members == 1 }, f)
}

// A process that is killed in the middle of its calls leaves nothing but the
// State that it told of while it lived. The next one has the session, its
// ephemeral node, and every change since then.
func TestProcessKilled(t *testing.T) {
	processes(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		id := s.ID()
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		e.Create(s, e.Root+"/counter", "")
		for i := range ownNodes {
			e.Create(s, fmt.Sprintf("%s/n%d", e.Root, i), "")
		}
		writer := e.Session()
		rounds := 20
		if testing.Short() {
			rounds = 3
		}
		for round := range rounds {
			c := beginChild(e, "own", s.Detach().State)
			conf, _ := e.Config()
			conf.State = c.state()
			// Half of the nodes change while the process lives, which takes the events
			// with it, and a few more when it is dead.
			var want []string
			change := func(from, step int) {
				for i := from; i < ownNodes; i += step {
					path := fmt.Sprintf("%s/n%d", e.Root, i)
					e.Set(writer, path, "x")
					want = append(want, path)
				}
			}
			change(round%2, 2)
			assert.NilError(t, c.cmd.Process.Kill())
			assert.ErrorContains(t, c.cmd.Wait(), "killed")
			change((round+1)%2, 4)

			ch := make(chan zk.Event, 2*ownNodes)
			assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }))
			s = e.Dial(conf)
			assert.Equal(t, s.ID(), id)
			e.Fence(s)
			var got []string
			for len(ch) > 0 {
				ev := <-ch
				assert.Equal(t, ev.Type, zk.Changed)
				got = append(got, ev.Path)
			}
			assert.DeepEqual(t, suite.Sorted(got), suite.Sorted(want))
			_, st, err := s.Get(e.Ctx, eph, nil)
			assert.NilError(t, err)
			assert.Equal(t, st.EphemeralOwner, id)
		}
	})
}

// A State without Watches is another process: the two take the session from
// each other, and each is told.
func TestTwoProcesses(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.Addrs = conf.Addrs[:1]
		s := e.Dial(conf)
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for range 4 {
			conf := s.Config()
			conf.Watches = nil
			other := e.Dial(conf)
			assert.Equal(t, other.ID(), s.ID())
			suite.Await(t, s.Done())
			assert.ErrorIs(t, s.Err(), zk.ErrConnection)
			assert.Assert(t, !errors.Is(s.Err(), zk.ErrMoved), "%v", s.Err())
			_, _, err := other.Get(e.Ctx, eph, nil)
			assert.NilError(t, err)
			s = other
		}
	})
}

// State is JSON: another process takes the session over, watches, undelivered
// events and all.
func TestStateJSON(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		writer := e.Session()
		paths := make(map[string]string)
		for _, name := range []string{"full", "data", "child", "both", "dropped", "persistent", "recursive"} {
			paths[name] = e.Create(s, e.Root+"/"+name, "")
		}
		paths["exists"] = e.Root + "/exists"
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		full, one, two := make(chan zk.Event), make(chan zk.Event, 1), make(chan zk.Event, 1)
		dropped := make(chan zk.Event, 1)
		e.Watch(s, paths["full"], full)
		e.Watch(s, paths["data"], one)
		e.Watch(s, paths["both"], one)
		e.Watch(s, paths["both"], two)
		e.Watch(s, paths["dropped"], dropped)
		_, _, err = s.Exists(e.Ctx, paths["exists"], two)
		assert.NilError(t, err)
		_, _, err = s.Children(e.Ctx, paths["child"], one)
		assert.NilError(t, err)
		assert.NilError(t, s.AddWatch(e.Ctx, paths["persistent"], zk.WatchPersistent, two))
		assert.NilError(t, s.AddWatch(e.Ctx, paths["recursive"], zk.WatchRecursive, dropped))
		e.Set(s, paths["full"], "x")
		e.Set(s, paths["data"], "x") // behind it
		conf := s.Detach()
		assert.Equal(t, conf.Watches.Undelivered(), 2)
		assert.Equal(t, conf.Watches.Len(), 7)
		text, err := json.Marshal(conf.State)
		assert.NilError(t, err)
		e.Fence(writer)
		e.Create(writer, paths["exists"], "")
		e.Create(writer, paths["child"]+"/c", "")
		e.Set(writer, paths["recursive"], "x")

		var state zk.State
		assert.NilError(t, json.Unmarshal(text, &state))
		assert.Equal(t, state.ID, s.ID())
		assert.Equal(t, state.Zxid, conf.Zxid)
		assert.DeepEqual(t, state.Password, conf.Password)
		list, was := state.Watches.List(), conf.Watches.List()
		assert.Equal(t, len(list), 9)
		assert.DeepEqual(t, describe(list), describe(was))

		conf, l := e.Config()
		conf.State = state
		_, err = zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, zk.ErrUnbound)
		assert.Equal(t, len(l.Dialed()), 0)

		byNumber := make(map[int]chan zk.Event)
		asked := 0
		assert.NilError(t, state.Watches.Rebind(func(w zk.Watch) chan<- zk.Event {
			asked++
			if w.Path == paths["dropped"] || w.Path == paths["recursive"] {
				return nil
			}
			if byNumber[w.Channel] == nil {
				byNumber[w.Channel] = make(chan zk.Event, 20)
			}
			return byNumber[w.Channel]
		}))
		assert.Equal(t, asked, 9)
		assert.Equal(t, len(byNumber), 3)
		assert.Equal(t, state.Watches.Len(), 5)
		assert.ErrorIs(t, state.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return nil }), zk.ErrUnbound)
		number := func(path string, kind zk.WatchKind) int {
			for _, w := range list {
				if w.Path == path && w.Kind == kind {
					return w.Channel
				}
			}
			t.Fatalf("no %v watch at %s in %+v", kind, path, list)
			return 0
		}
		fullB := byNumber[number(paths["full"], zk.DataWatch)]
		oneB := byNumber[number(paths["child"], zk.ChildWatch)]
		twoB := byNumber[number(paths["exists"], zk.ExistsWatch)]

		next := e.Dial(conf)
		assert.Equal(t, next.ID(), s.ID())
		_, _, err = next.Get(e.Ctx, eph, nil)
		assert.NilError(t, err)
		e.Ready(fullB, zk.Changed, paths["full"])
		e.Ready(oneB, zk.Changed, paths["data"])
		e.Want(oneB, zk.Child, paths["child"])
		first := suite.Await(t, twoB)
		second := suite.Await(t, twoB)
		assert.DeepEqual(t, suite.SortedEvents(first, second), []string{"created " + paths["exists"], "gap " + paths["persistent"]})
		assert.Equal(t, second.Type, zk.Created, "the Gap comes first: %v, %v", first, second)
		e.Set(next, paths["both"], "x")
		e.Ready(oneB, zk.Changed, paths["both"])
		e.Ready(twoB, zk.Changed, paths["both"])
		e.Set(next, paths["persistent"], "x")
		e.Ready(twoB, zk.Changed, paths["persistent"])
		e.Set(next, paths["recursive"], "y")
		e.Set(next, paths["dropped"], "y")
		for _, ch := range byNumber {
			e.None(next, ch)
		}
	})
}

// describe lists watches, with channels by who shares them rather than by number.
func describe(list []zk.Watch) []string {
	at := make(map[int][]string)
	for _, w := range list {
		at[w.Channel] = append(at[w.Channel], fmt.Sprint(w.Kind, w.Fired, w.Path))
	}
	var out []string
	for _, l := range at {
		slices.Sort(l)
		out = append(out, strings.Join(l, "+"))
	}
	slices.Sort(out)
	return out
}

// A State may be written while its Session lives: the reader of it may see an
// event again, but misses none.
func TestStateJSONOfALiveSession(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		ch := make(chan zk.Event, 1)
		e.Watch(s, e.Root, ch)
		path := e.Create(s, e.Root+"/n", "")
		wg.Go(func() { // traffic beside it
			for {
				select {
				case <-stop:
					return
				default:
					_, err := s.Set(e.Ctx, path, nil, zk.AnyVersion)
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		for range 20 {
			text, err := json.Marshal(s.Config().State)
			assert.NilError(t, err)
			var state zk.State
			assert.NilError(t, json.Unmarshal(text, &state))
			list := state.Watches.List()
			assert.Equal(t, len(list), 1)
			assert.Equal(t, list[0], zk.Watch{Path: e.Root, Kind: zk.DataWatch, Channel: 1})
			assert.Assert(t, state.Zxid <= s.Zxid())
		}
		text, err := json.Marshal(s.Config().State) // before the change
		assert.NilError(t, err)
		e.Set(s, e.Root, "changed")
		e.Ready(ch, zk.Changed, e.Root)
		close(stop)
		wg.Wait()

		conf, _ := e.Config()
		assert.NilError(t, json.Unmarshal(text, &conf.State))
		again := make(chan zk.Event, 1)
		assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return again }))
		next := e.Dial(conf)
		e.Want(again, zk.Changed, e.Root)
		e.None(next, again)
	})
}
