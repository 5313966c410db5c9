// Lock measures turns under a lock, an acquire and a release, side by side on one
// real server: recipe.Lock, Curator's InterProcessMutex and kazoo's Lock, with one
// session and with several. Each client is a process of its own. All of them take
// turns in rounds, one client after another in each, so that what else the machine
// does meets all alike; the first rounds are to warm up. It writes
// results/lock.md.
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
	cmd     *exec.Cmd
	in      io.WriteCloser
	lines   *bufio.Scanner
	samples []sample
}

const (
	ours   = "recipe.Lock"
	writes = "the writes alone"
	warmUp = 3 // rounds
)

func main() {
	child := flag.String("child", "", "for the program itself: take turns here, `lock or writes`")
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
	ctx := context.Background()
	var sessions []*zk.Session
	for range n {
		s, err := zk.Dial(ctx, zk.Config{Addrs: args[:1], Timeout: 30 * time.Second})
		if err != nil {
			return err
		}
		defer s.Close()
		sessions = append(sessions, s)
	}
	turn := lockTurn(args[1])
	if mode == "writes" {
		turn = writeTurn(args[1])
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		errs := make([]error, n)
		var all sync.WaitGroup
		start := host.Now()
		for i, s := range sessions {
			all.Go(func() {
				for k := 0; k < turns && errs[i] == nil; k++ {
					errs[i] = turn(ctx, s)
				}
			})
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
	fmt.Fprintf(&b, "# Turns under a lock\n\nBy `go run ./cmd/lock` in bench: one ZooKeeper %s, a turn is an acquire and a release. Medians of %d rounds of %d\nturns, in each of which all clients had theirs one after another; CPU is the client's. The writes alone are a create\nand a delete with nothing around them, and what no client can be quicker than.\n", e.Release(), rounds, turns)
	for _, text := range strings.Split(sessions, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("%q sessions", text)
		}
		clients := make([]*client, len(commands))
		for i, c := range commands {
			c := c
			clients[i] = &c
			if err := c.start(ctx, e.Addrs()[0], fmt.Sprintf("/lock-%d-%d", n, i), text, strconv.Itoa(max(turns/n, 1))); err != nil {
				return err
			}
		}
		for round := range warmUp + rounds {
			for _, c := range clients {
				s, err := c.round()
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				if round >= warmUp {
					c.samples = append(c.samples, s)
				}
			}
		}
		for _, c := range clients {
			if err := c.end(); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		b.WriteString(table(clients, n, max(turns/n, 1)*n))
	}
	log.Print(b.String())
	return os.WriteFile(out, b.Bytes(), 0o666)
}

// ready returns the clients that can run here, ours first.
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

// table compares the clients with the first one, round by round.
func table(clients []*client, sessions, turns int) string {
	var b strings.Builder
	plural := map[bool]string{true: "s"}[sessions > 1]
	fmt.Fprintf(&b, "\n## %d session%s\n\n| client | turn | turns per second | CPU per turn | × %s | × its CPU |\n|---|---|---|---|---|---|\n", sessions, plural, ours)
	for _, c := range clients {
		var seconds, cpu, slower, busier []float64
		for i, s := range c.samples {
			first := clients[0].samples[i]
			seconds, cpu = append(seconds, s.Seconds/float64(turns)), append(cpu, s.CPU/float64(turns))
			slower, busier = append(slower, s.Seconds/first.Seconds), append(busier, s.CPU/first.CPU)
		}
		fmt.Fprintf(&b, "| %s | %.3f ms | %.0f | %.0f µs | %.2f | %.2f |\n", c.name, 1e3*median(seconds), 1/median(seconds), 1e6*median(cpu), median(slower), median(busier))
	}
	return b.String()
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
