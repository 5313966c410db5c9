// Tree measures how fast caches of a subtree load, side by side on one real
// server: tree.Cache, Curator's CuratorCache and TreeCache, and kazoo's TreeCache.
// Each client is a process of its own, which loads several times; the first load
// is cold, and what counts is the median of the others. It writes
// results/tree.md.
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
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/bench/internal/host"
	"github.com/seed-9f8420c6/zk/bench/peers"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

//go:embed Load.java load.py
var sources embed.FS

// sample is one load.
type sample struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"` // seconds, of the client
	Heap    int64   `json:"heap"`
}

// client is a cache to measure.
type client struct {
	name    string
	command []string // path, number of znodes and of rounds are appended
	most    int      // znodes; more would take too long
}

func main() {
	child := flag.String("child", "", "for the program itself: load here, `recursive or pernode`, or redial- and one of them")
	addr := flag.String("addr", "", "for the program itself: the server")
	sizes := flag.String("sizes", "10000,100000", "znodes")
	rounds := flag.Int("rounds", 6, "loads of each client")
	out := flag.String("o", "results/tree.md", "where the table goes")
	flag.Parse()
	log.SetFlags(0)
	if *child != "" {
		if err := load(*child, *addr, flag.Arg(0), flag.Arg(1), flag.Arg(2)); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := measure(*sizes, *rounds, *out); err != nil {
		log.Fatal(err)
	}
}

// load is this client's part.
func load(mode, addr, path, nodes, rounds string) error {
	n, _ := strconv.Atoi(nodes)
	r, _ := strconv.Atoi(rounds)
	ctx := context.Background()
	mode, redial := strings.CutPrefix(mode, "redial-")
	s, err := zk.Dial(ctx, zk.Config{Addrs: []string{addr}, Timeout: 30 * time.Second})
	if err != nil {
		return err
	}
	defer func() { s.Close() }()
	fresh := func() *tree.Cache { return &tree.Cache{Root: path, PerNode: mode == "pernode"} }
	if redial {
		return again(ctx, &s, fresh(), addr, r)
	}
	for range r {
		before := heap()
		c := fresh()
		over := make(chan error, 1)
		start := host.Now()
		go func() { over <- c.Run(ctx, s) }()
		if err := c.Wait(ctx, 0); err != nil {
			return err
		}
		took, used := host.Now().Since(start)
		sm := sample{Seconds: took.Seconds(), CPU: used.CPU.Seconds()}
		if c.Len() != n {
			return fmt.Errorf("%d znodes, not %d", c.Len(), n)
		}
		sm.Heap = heap() - before
		if err := json.NewEncoder(os.Stdout).Encode(sm); err != nil {
			return err
		}
		c.Close()
		<-over
	}
	return nil
}

// again measures how long a loaded cache takes on the next connection until it
// shows what was written elsewhere in between.
func again(ctx context.Context, s **zk.Session, c *tree.Cache, addr string, rounds int) error {
	other, err := zk.Dial(ctx, zk.Config{Addrs: []string{addr}, Timeout: 30 * time.Second})
	if err != nil {
		return err
	}
	defer other.Close()
	over := make(chan error, 1)
	go func() { over <- c.Run(ctx, *s) }()
	if err := c.Wait(ctx, 0); err != nil {
		return err
	}
	for range rounds {
		conf := (*s).Detach()
		<-over
		if _, err := other.Set(ctx, "/", nil, zk.AnyVersion); err != nil {
			return err
		}
		if *s, err = zk.Dial(ctx, conf); err != nil {
			return err
		}
		start := host.Now()
		go func() { over <- c.Run(ctx, *s) }()
		if err := c.Wait(ctx, other.Zxid()); err != nil {
			return err
		}
		took, used := host.Now().Since(start)
		if err := json.NewEncoder(os.Stdout).Encode(sample{Seconds: took.Seconds(), CPU: used.CPU.Seconds()}); err != nil {
			return err
		}
	}
	c.Close()
	<-over
	return nil
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func measure(sizes string, rounds int, out string) error {
	ctx := context.Background()
	e, err := apache.Start(ctx, apache.Config{HeapMB: 1536})
	if err != nil {
		return err
	}
	defer e.Close()
	dir, err := os.MkdirTemp("", "tree")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	clients, err := ready(ctx, dir, e.Addrs()[0])
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Loading a subtree into a cache\n\nBy `go run ./cmd/tree` in bench: one ZooKeeper %s, znodes of 100 bytes, 99 in each folder; medians of the\n%d loads after the first of each process. CPU and heap are the client's, after a collection of garbage.\nAfter a redial: until a loaded cache is exact again, with one write elsewhere in between.\n", e.Release(), rounds-1)
	for _, text := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		path := "/tree" + text
		nodes, err := fill(ctx, e.Addrs()[0], path, n/100)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "\n## %d znodes\n\n| client | first load | load | CPU | heap per znode | × tree.Cache | × its CPU |\n|---|---|---|---|---|---|---|\n", nodes)
		var ours sample
		for _, c := range clients {
			if n > c.most {
				continue
			}
			first, mid, err := c.run(ctx, path, nodes, rounds)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if ours.Seconds == 0 {
				ours = mid
			}
			perNode := "–"
			if mid.Heap > 0 {
				perNode = fmt.Sprintf("%d B", mid.Heap/int64(nodes))
			}
			fmt.Fprintf(&b, "| %s | %.3f s | %.3f s | %.3f s | %s | %.1f | %.1f |\n", c.name, first.Seconds, mid.Seconds, mid.CPU, perNode, mid.Seconds/ours.Seconds, mid.CPU/ours.CPU)
			log.Printf("%d znodes, %s: %.3f s, CPU %.3f s", nodes, c.name, mid.Seconds, mid.CPU)
		}
	}
	return os.WriteFile(out, b.Bytes(), 0o666)
}

// fill makes the tree and returns the number of its znodes.
func fill(ctx context.Context, addr, root string, dirs int) (int, error) {
	s, err := zk.Dial(ctx, zk.Config{Addrs: []string{addr}, Timeout: 30 * time.Second})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	data := make([]byte, 100)
	paths := []string{root}
	for i := range dirs {
		dir := fmt.Sprintf("%s/dir-%04d", root, i)
		paths = append(paths, dir)
		for j := range 99 {
			paths = append(paths, fmt.Sprintf("%s/node-%05d", dir, j))
		}
	}
	for part := range slices.Chunk(paths, 2000) {
		ops := make([]zk.Op, len(part))
		for i, path := range part {
			ops[i] = zk.CreateOp{Path: path, Data: data, ACL: zk.ACLOpen}
		}
		if _, err := s.Batch(ctx, ops...); err != nil {
			return 0, err
		}
	}
	return len(paths), nil
}

// ready returns the clients that can run here, ours first.
func ready(ctx context.Context, dir, addr string) ([]client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	const all = 1 << 30
	clients := []client{
		{"tree.Cache", []string{self, "-child", "recursive", "-addr", addr}, all},
		{"tree.Cache, PerNode", []string{self, "-child", "pernode", "-addr", addr}, all},
		{"tree.Cache, after a redial", []string{self, "-child", "redial-recursive", "-addr", addr}, all},
		{"tree.Cache, PerNode, after a redial", []string{self, "-child", "redial-pernode", "-addr", addr}, all},
	}
	for _, name := range []string{"Load.java", "load.py"} {
		text, err := sources.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			return nil, err
		}
	}
	if java, err := peers.Curator(ctx, dir, "Load", "-Xms512m", "-Xmx2g"); err != nil {
		log.Printf("Curator is left out: %v", err)
	} else {
		clients = append(clients,
			client{"Curator CuratorCache", append(slices.Clone(java), "curatorcache", addr), all},
			client{"Curator TreeCache", append(slices.Clone(java), "treecache", addr), all})
	}
	if python, err := peers.Python(ctx); err != nil {
		log.Print(err)
	} else {
		clients = append(clients, client{"kazoo TreeCache", []string{python, filepath.Join(dir, "load.py"), addr}, 10000})
	}
	return clients, nil
}

// run returns the first load and the medians of the others.
func (c *client) run(ctx context.Context, path string, nodes, rounds int) (first, mid sample, err error) {
	cmd := exec.CommandContext(ctx, c.command[0], append(slices.Clone(c.command[1:]), path, strconv.Itoa(nodes), strconv.Itoa(rounds))...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return first, mid, err
	}
	var seconds, cpu []float64
	var heaps []int64
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var s sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return first, mid, fmt.Errorf("%w: %s", err, lines.Bytes())
		}
		if first.Seconds == 0 {
			first = s
			continue
		}
		seconds, cpu, heaps = append(seconds, s.Seconds), append(cpu, s.CPU), append(heaps, s.Heap)
	}
	if len(seconds) == 0 {
		return first, mid, fmt.Errorf("only one load")
	}
	slices.Sort(seconds)
	slices.Sort(cpu)
	slices.Sort(heaps)
	return first, sample{seconds[len(seconds)/2], cpu[len(cpu)/2], heaps[len(heaps)/2]}, nil
}
