// Lock measures turns under a lock, an acquire and a release, side by side on one
// real server: recipe.Lock, its frames without a client, Curator's
// InterProcessMutex and kazoo's Lock, with one session and with several. Each
// client is a process of its own. All of them take turns in rounds, one client
// after another in each, so that what else the machine does meets all alike; the
// first rounds are to warm up. It writes results/lock.md.
//
// Curator comes by Maven, kazoo from the system's Python; what is missing is left
// out.
package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/bench/internal/host"
	"github.com/seed-9f8420c6/zk/bench/peers"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

//go:embed Turns.java turns.py
var sources embed.FS

// sample is one round.
type sample struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"` // seconds, of the client
}

// client takes turns.
type client struct {
	name    string
	command []string // address, directory, sessions and turns of each are appended
	pinned  bool     // it runs on one CPU
	cmd     *exec.Cmd
	in      io.WriteCloser
	lines   *bufio.Scanner
	samples []sample
}

const (
	ours   = "recipe.Lock"
	limit  = "raw limit"
	writes = "the writes alone"
	warmUp = 15 // rounds, after which Java has compiled what it runs

	clientCPU = 1 // of those that are pinned
)

func main() {
	child := flag.String("child", "", "for the program itself: take turns here, `lock, raw or writes`")
	sessions := flag.String("sessions", "1,8", "how many contend")
	turns := flag.Int("turns", 1000, "of all sessions together, in a round")
	rounds := flag.Int("rounds", 9, "that count")
	out := flag.String("o", "results/lock.md", "where the table goes")
	flag.Parse()
	log.SetFlags(0)
	var err error
	if *child != "" {
		err = serve(*child, flag.Args(), os.Stdin, os.Stdout)
	} else {
		err = measure(*sessions, *turns, *rounds, *out)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve is this client's part: a round for every line.
func serve(mode string, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 4 {
		return errors.New("address, directory, sessions and turns are wanted")
	}
	n, _ := strconv.Atoi(args[2])
	turns, _ := strconv.Atoi(args[3])
	sessions, end, err := join(mode, args[0], args[1], n)
	defer end()
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		errs := make([]error, n)
		var all sync.WaitGroup
		start := host.Now()
		for i, take := range sessions {
			all.Go(func() { errs[i] = take(turns) })
		}
		all.Wait()
		took, used := host.Now().Since(start)
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(sample{took.Seconds(), used.CPU.Seconds()}); err != nil {
			return err
		}
	}
	return nil
}

// join begins sessions, each of which takes as many turns as it is told, and
// returns what ends them.
func join(mode, addr, dir string, n int) (sessions []func(turns int) error, end func(), err error) {
	ctx := context.Background()
	var ends []func()
	end = func() {
		for _, f := range ends {
			f()
		}
	}
	turn := lockTurn(dir)
	if mode == "writes" {
		turn = writeTurn(dir)
	}
	for i := range n {
		if mode == "raw" {
			c, err := dialRaw(addr, dir, i)
			if err != nil {
				return nil, end, err
			}
			ends = append(ends, func() { c.nc.Close() })
			sessions = append(sessions, c.turns)
			continue
		}
		s, err := zk.Dial(ctx, zk.Config{Addrs: []string{addr}, Timeout: 30 * time.Second})
		if err != nil {
			return nil, end, err
		}
		ends = append(ends, func() { s.Close() })
		sessions = append(sessions, func(turns int) (err error) {
			for k := 0; k < turns && err == nil; k++ {
				err = turn(ctx, s)
			}
			return err
		})
	}
	return sessions, end, nil
}

// lockTurn returns a turn under a lock.
func lockTurn(dir string) func(context.Context, *zk.Session) error {
	lock := recipe.Lock{Path: dir}
	return func(ctx context.Context, s *zk.Session) error {
		h, err := lock.Acquire(ctx, s)
		if err != nil {
			return err
		}
		return h.Release()
	}
}

// writeTurn returns what no lock can do without: a znode is made, and deleted when
// its turn has come, which this process says itself. Nothing is read, no watch is
// armed, and nobody waits for an event.
func writeTurn(dir string) func(context.Context, *zk.Session) error {
	var turn sync.Mutex
	return func(ctx context.Context, s *zk.Session) error {
		path, err := s.Create(ctx, dir+"/x-", nil, zk.EphemeralSequential, zk.ACLOpen)
		if errors.Is(err, zk.ErrNoNode) {
			if _, err = s.Create(ctx, dir, nil, zk.Persistent, zk.ACLOpen); err == nil || errors.Is(err, zk.ErrExists) {
				path, err = s.Create(ctx, dir+"/x-", nil, zk.EphemeralSequential, zk.ACLOpen)
			}
		}
		if err != nil {
			return err
		}
		turn.Lock()
		defer turn.Unlock()
		return s.Delete(ctx, path, zk.AnyVersion)
	}
}

func measure(sessions string, turns, rounds int, out string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e, err := apache.Start(ctx, apache.Config{HeapMB: 1024})
	if err != nil {
		return err
	}
	defer e.Close()
	dir, err := os.MkdirTemp("", "lock")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	commands, err := ready(ctx, dir)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Turns under a lock\n\nBy `go run ./cmd/lock` in bench: one ZooKeeper %s, a turn is an acquire and a release. Medians of %d rounds of %d\nturns, in each of which all clients had theirs one after another, after %d rounds to warm up; CPU is the client's. The raw\nlimit sends the frames of recipe.Lock with no client around them: so much quicker can a client be that keeps its\nrules. The writes alone are a create and a delete with nothing around them.\n", e.Release(), rounds, turns, warmUp)
	for _, text := range strings.Split(sessions, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("%q sessions", text)
		}
		for _, pinned := range []bool{false, true} {
			if pinned && !host.CanPin() {
				continue
			}
			clients, err := compare(ctx, commands, e.Addrs()[0], n, max(turns/n, 1), rounds, pinned)
			if err != nil {
				return err
			}
			b.WriteString(table(clients, n, max(turns/n, 1)*n, pinned))
		}
	}
	log.Print(b.String())
	return os.WriteFile(out, b.Bytes(), 0o666)
}

// compare lets clients of n sessions take turns, in rounds of so many turns of each session.
func compare(ctx context.Context, commands []client, addr string, n, turns, rounds int, pinned bool) ([]*client, error) {
	clients := make([]*client, len(commands))
	for i, c := range commands {
		c.pinned = pinned
		clients[i] = &c
		if err := c.start(ctx, addr, fmt.Sprintf("/lock-%d-%d-%t", n, i, pinned), strconv.Itoa(n), strconv.Itoa(turns)); err != nil {
			return nil, err
		}
	}
	for round := range warmUp + rounds {
		for _, c := range clients {
			s, err := c.round()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if round >= warmUp {
				c.samples = append(c.samples, s)
			}
		}
	}
	for _, c := range clients {
		if err := c.end(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return clients, nil
}

// ready returns the clients that can run here, ours and the raw limit first.
func ready(ctx context.Context, dir string) ([]client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Turns.java", "turns.py"} {
		text, err := sources.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			return nil, err
		}
	}
	clients := []client{
		{name: ours, command: []string{self, "-child", "lock"}},
		{name: limit, command: []string{self, "-child", "raw"}},
		{name: writes, command: []string{self, "-child", "writes"}},
	}
	if java, err := peers.Curator(ctx, dir, "Turns"); err != nil {
		log.Printf("Curator is left out: %v", err)
	} else {
		clients = append(clients, client{name: "Curator InterProcessMutex", command: java})
	}
	if python, err := peers.Python(ctx); err != nil {
		log.Print(err)
	} else {
		clients = append(clients, client{name: "kazoo Lock", command: []string{python, filepath.Join(dir, "turns.py")}})
	}
	return clients, nil
}

func (c *client) start(ctx context.Context, args ...string) error {
	c.cmd = exec.CommandContext(ctx, c.command[0], append(slices.Clone(c.command[1:]), args...)...)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	c.lines = bufio.NewScanner(out)
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	if c.pinned {
		return host.Start(c.cmd, clientCPU)
	}
	return c.cmd.Start()
}

func (c *client) round() (s sample, err error) {
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		return s, err
	}
	if !c.lines.Scan() {
		return s, errors.Join(io.ErrUnexpectedEOF, c.lines.Err())
	}
	return s, json.Unmarshal(c.lines.Bytes(), &s)
}

func (c *client) end() error {
	c.in.Close()
	return c.cmd.Wait()
}

// table compares the clients with ours and with the raw limit, round by round.
func table(clients []*client, sessions, turns int, pinned bool) string {
	var b strings.Builder
	plural := map[bool]string{true: "s"}[sessions > 1]
	place := map[bool]string{true: ", each client on one CPU"}[pinned]
	fmt.Fprintf(&b, "\n## %d session%s%s\n\n| client | turn | turns per second | CPU per turn | × %[4]s | × its CPU | × %[5]s | × its CPU |\n|---|---|---|---|---|---|---|---|\n", sessions, plural, place, ours, limit)
	for _, c := range clients {
		var seconds, cpu []float64
		for _, s := range c.samples {
			seconds, cpu = append(seconds, s.Seconds/float64(turns)), append(cpu, s.CPU/float64(turns))
		}
		fmt.Fprintf(&b, "| %s | %.3f ms | %.0f | %.0f µs |", c.name, 1e3*median(seconds), 1/median(seconds), 1e6*median(cpu))
		for _, other := range clients[:2] {
			slower, busier := c.times(other)
			fmt.Fprintf(&b, " %.2f | %.2f |", slower, busier)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// times returns the medians of how much slower and busier than another client this
// one was in a round.
func (c *client) times(other *client) (slower, busier float64) {
	var seconds, cpu []float64
	for i, s := range c.samples {
		seconds, cpu = append(seconds, s.Seconds/other.samples[i].Seconds), append(cpu, s.CPU/other.samples[i].CPU)
	}
	return median(seconds), median(cpu)
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
