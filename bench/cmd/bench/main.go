// Bench measures this client against its peers and against the limit, side by side:
// clients alternate within each round, the order is rotated from round to round, and
// every sample is a fresh process of cmd/driver against one of cmd/responder. It
// writes the medians and all samples to files in results that are named by the
// processor, and results/bench.md about all machines whose files are there, which
// cmd/plot draws too.
//
// With -quick it does the most telling workloads only, in less than 50 seconds, and
// ends with one line for each.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/host"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/bench/peers"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// place is where client and server run.
type place int

const (
	apart    place = iota // client on CPU 0, server on CPU 1
	together              // both on CPU 0
	anywhere
)

// spec is a workload, and who does it.
type spec struct {
	name     string // of the table
	about    string
	workload string // of the driver
	clients  []string
	place    place
	server   []string // args for the responder
	args     []string // for the driver
	quick    bool
	once     bool          // once is enough, or takes too long to be repeated as often
	real     bool          // on the server that -real names
	each     []string      // args of clients that have other ones, as client=args
	limit    time.Duration // for one sample
}

type bench struct {
	dir       string // of the programs
	rounds    int
	warmup    time.Duration
	time      time.Duration
	quick     bool
	partly    bool      // not all workloads were chosen
	out       io.Writer // of quick
	log       io.Writer // what happens meanwhile
	pin       bool
	real      string
	realPID   int
	realName  string
	profiles  string
	deadline  time.Time // of quick: no new round is begun that would end later
	servers   map[string]*server
	wanted    []string // clients in other languages
	peers     map[string]peers.Peer
	childWait []func()
	failed    []error
}

// server is a responder that runs.
type server struct {
	addr string
	pid  int
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	start := time.Now()
	b := bench{servers: map[string]*server{}, out: os.Stdout, log: os.Stderr}
	flag.BoolVar(&b.quick, "quick", false, "the most telling workloads only, in less than 50 s")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds; each has one sample of every client")
	flag.DurationVar(&b.time, "time", 1200*time.Millisecond, "time of a sample")
	flag.DurationVar(&b.warmup, "warmup", 600*time.Millisecond, "time before a sample")
	only := flag.String("only", "", "`pattern` of the workloads to do; what was measured of others before stays")
	out := flag.String("out", "results", "`folder` for the results; none with -quick")
	flag.StringVar(&b.real, "real", "auto", "`address` of a real server, for the workloads that are also measured on one; auto: starts one if make servers has fetched it; none: leaves these workloads out")
	flag.StringVar(&b.profiles, "profiles", "", "`folder` for CPU, mutex and block profiles of this client, one more sample each")
	others := flag.String("peers", strings.Join(peers.Names, ","), "`clients` in other languages to measure too, where their packages are installed; none: none, as with -quick")
	budget := flag.Duration("budget", 40*time.Second, "time that -quick takes, about")
	since := flag.Int64("since", 0, "when that time began, in `seconds` since 1970, so that what built this program counts; 0: now")
	list := flag.Bool("list", false, "list the workloads")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	if *others != "none" && !b.quick {
		b.wanted = strings.Split(*others, ",")
	}
	for _, name := range b.wanted {
		if !slices.Contains(peers.Names, name) {
			log.Fatalf("no peer %q: there are %s", name, strings.Join(peers.Names, ", "))
		}
	}
	var chosen []spec
	for _, s := range specs {
		if !pattern.MatchString(s.name) || b.quick && !s.quick || s.real && b.real == "none" {
			continue
		}
		if b.quick {
			s.clients = slices.DeleteFunc(slices.Clone(s.clients), func(c string) bool { return !slices.Contains(four, c) })
		}
		chosen = append(chosen, s)
	}
	if *list {
		for _, s := range chosen {
			fmt.Printf("%-18s %s\n", s.name, s.about)
		}
		return
	}
	if b.quick {
		b.warmup, b.time = 120*time.Millisecond, 250*time.Millisecond
	}
	b.partly = *only != ""
	b.pin = host.CanPin()
	if *since > 0 {
		start = time.Unix(*since, 0)
	}
	b.deadline = start.Add(*budget)
	if err := b.run(chosen, *out); err != nil {
		log.Fatal(err)
	}
}

func (b *bench) run(chosen []spec, out string) error {
	dir, err := os.MkdirTemp("", "zk-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer b.stop()
	b.dir = dir
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		"github.com/seed-9f8420c6/zk/bench/cmd/responder", "github.com/seed-9f8420c6/zk/bench/cmd/driver")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	if slices.ContainsFunc(chosen, func(s spec) bool { return slices.Contains(s.clients, "unordered") }) {
		if err := buildUnordered(dir); err != nil {
			return err
		}
	}
	chosen = b.buildPeers(chosen)
	if slices.ContainsFunc(chosen, func(s spec) bool { return s.real }) {
		if err := b.startReal(); err != nil {
			return err
		}
		if b.real == "none" {
			chosen = slices.DeleteFunc(chosen, func(s spec) bool { return s.real })
		}
	}
	rep := result.Report{Machine: host.Describe(), Date: time.Now().Format("2006-01-02"), Rounds: b.rounds, Pinned: b.pin, Real: b.realName}
	for _, s := range chosen {
		t := result.Table{Name: s.name, About: s.about}
		for _, c := range s.clients {
			t.Rows = append(t.Rows, result.Row{Client: c})
		}
		rep.Tables = append(rep.Tables, t)
	}
	if b.quick {
		if time.Until(b.deadline) < 15*time.Second { // the build took long: one round, of shorter samples
			b.warmup, b.time = b.warmup/2, b.time/2
		}
		b.allAtOnce(chosen, &rep)
	} else {
		b.oneByOne(chosen, &rep, out)
	}
	if b.profiles != "" {
		if err := b.profile(chosen); err != nil {
			return err
		}
	}
	if b.quick {
		fmt.Fprintln(b.out)
		writeQuick(b.out, rep)
		return errors.Join(b.failed...)
	}
	return errors.Join(append(b.failed, write(out, rep, b.partly))...)
}

// buildPeers makes the clients in other languages ready that are wanted and installed,
// and leaves the others out.
func (b *bench) buildPeers(chosen []spec) []spec {
	b.peers = make(map[string]peers.Peer)
	var left []string
	for _, name := range b.wanted {
		if !slices.ContainsFunc(chosen, func(s spec) bool { return slices.Contains(s.clients, name) }) {
			continue
		}
		dir := filepath.Join(b.dir, name)
		err := os.Mkdir(dir, 0o777)
		if err == nil {
			b.peers[name], err = peers.Build(context.Background(), name, dir)
		}
		if err != nil {
			delete(b.peers, name)
			left = append(left, err.Error())
		}
	}
	if left != nil {
		fmt.Fprintln(b.log, "left out:", strings.Join(left, "; "))
	}
	chosen = slices.Clone(chosen)
	for i := range chosen {
		chosen[i].clients = slices.DeleteFunc(slices.Clone(chosen[i].clients), func(c string) bool {
			return slices.Contains(peers.Names, c) && b.peers[c].Command == nil
		})
	}
	return chosen
}

// onceRounds are the rounds of workloads of which a sample takes long.
const onceRounds = 3

// oneByOne does all rounds of a workload, writes what there is, and does the next.
func (b *bench) oneByOne(chosen []spec, rep *result.Report, out string) {
	for i, s := range chosen {
		rounds := b.rounds
		if s.once {
			rounds = min(rounds, onceRounds)
		}
		fmt.Fprintf(b.log, "%s: %s\n", s.name, s.about)
		for round := range rounds {
			b.round(s, &rep.Tables[i], round)
		}
		for _, r := range rep.Tables[i].Rows {
			fmt.Fprintf(b.log, "  %-8s %12.0f/s  %8.3f us CPU\n", r.Client, r.Rate().Median, r.CPU().Median)
		}
		if err := write(out, *rep, true); err != nil {
			b.failed = append(b.failed, err)
		}
	}
}

// allAtOnce does a round of every workload, then the next round, as long as there is time.
func (b *bench) allAtOnce(chosen []spec, rep *result.Report) {
	for round := range b.rounds {
		start := time.Now()
		for i, s := range chosen {
			b.round(s, &rep.Tables[i], round)
		}
		took := time.Since(start)
		rep.Rounds = round + 1
		fmt.Fprintf(b.log, "round %d took %.1f s\n", round+1, took.Seconds())
		if time.Now().Add(took * 11 / 10).After(b.deadline) {
			break
		}
	}
}

// round takes a sample of every client. One that fails is left out, and told at the end.
func (b *bench) round(s spec, t *result.Table, round int) {
	for i := range s.clients {
		at := (i + round) % len(s.clients)
		sample, err := b.sample(s, s.clients[at])
		if err != nil {
			err = fmt.Errorf("%s, %s: %w", s.name, s.clients[at], err)
			fmt.Fprintln(b.log, err)
			b.failed = append(b.failed, err)
			continue
		}
		t.Rows[at].Samples = append(t.Rows[at].Samples, sample)
	}
}

// sample runs the driver once.
func (b *bench) sample(s spec, client string, more ...string) (result.Sample, error) {
	var sample result.Sample
	clientCPU, serverCPU := 0, 1
	switch {
	case !b.pin || s.place == anywhere:
		clientCPU, serverCPU = -1, -1
	case s.place == together:
		serverCPU = 0
	}
	command := []string{filepath.Join(b.dir, "driver"), "-client", client}
	warmup := b.warmup
	switch {
	case client == "unordered":
		command = []string{filepath.Join(b.dir, "driver-unordered"), "-client", "ours"}
	case slices.Contains(peers.Names, client):
		command, warmup = b.peers[client].Command, max(warmup, b.peers[client].Warmup)
	}
	args := append(slices.Clone(command[1:]), "-workload", s.workload, "-warmup", seconds(warmup), "-time", seconds(b.time))
	if s.real {
		if b.pin && b.realPID != 0 {
			if err := host.Keep(b.realPID, serverCPU); err != nil {
				return sample, err
			}
		}
		args = append(args, "-addr", b.real, "-server-pid", strconv.Itoa(b.realPID))
	} else {
		srv, err := b.server(serverCPU, s.server)
		if err != nil {
			return sample, err
		}
		args = append(args, "-addr", srv.addr, "-server-pid", strconv.Itoa(srv.pid))
	}
	args = append(args, s.args...)
	for _, e := range s.each {
		if c, rest, _ := strings.Cut(e, "="); c == client {
			args = append(args, strings.Fields(rest)...)
		}
	}
	args = append(args, more...)
	limit := s.limit
	if limit == 0 {
		limit = 30*time.Second + 4*b.time
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := start(cmd, clientCPU); err != nil {
		return sample, err
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no result within %v", limit)
		}
		return sample, fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	return sample, json.Unmarshal(out.Bytes(), &sample)
}

// seconds is a duration as the drivers of all languages understand it.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s" }

// start starts a program, with one processor if it is to stay on one.
func start(cmd *exec.Cmd, cpu int) error {
	if cpu >= 0 {
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	}
	return host.Start(cmd, cpu)
}

// server returns a responder on a CPU, and starts it first if need be.
func (b *bench) server(cpu int, args []string) (*server, error) {
	key := fmt.Sprint(cpu, args)
	if s := b.servers[key]; s != nil {
		return s, nil
	}
	cmd := exec.Command(filepath.Join(b.dir, "responder"), append([]string{"-child", "-listen", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // its end ends the responder, also if this process is killed
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := start(cmd, cpu); err != nil {
		return nil, err
	}
	b.childWait = append(b.childWait, func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the responder told no address: %w", err)
	}
	s := &server{addr: strings.TrimSpace(line), pid: cmd.Process.Pid}
	if slices.Contains(args, "-zktest") {
		if err := b.setup(s.addr); err != nil {
			return nil, err
		}
	}
	b.servers[key] = s
	return s, nil
}

func (b *bench) stop() {
	for _, f := range b.childWait {
		f()
	}
}

// startReal starts a real server, unless there is one, and makes the nodes on it.
func (b *bench) startReal() error {
	if b.real == "auto" {
		const release = apache.V3_9
		if _, err := apache.Find(release); err != nil {
			fmt.Fprintln(b.log, "no real server:", err)
			b.real = "none"
			return nil
		}
		// As test servers are, but with room for a million watches, and for the
		// watches that sessions of killed drivers leave behind.
		e, err := apache.Start(context.Background(), apache.Config{Release: release, HeapMB: 3000})
		if err != nil {
			return err
		}
		b.childWait = append(b.childWait, func() { e.Close() })
		srv := e.Member(0)
		b.real, b.realPID, b.realName = srv.Addr(), srv.PID(), "ZooKeeper "+string(release)
	}
	return b.setup(b.real)
}

// setup makes the nodes on a server that has a tree.
func (b *bench) setup(addr string) error {
	cmd := exec.Command(filepath.Join(b.dir, "driver"), "-workload", "setup", "-addr", addr)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("setup on %s: %w: %s", addr, err, out)
	}
	return nil
}

// profile takes one more sample of this client, with profiles.
func (b *bench) profile(chosen []spec) error {
	if err := os.MkdirAll(b.profiles, 0o777); err != nil {
		return err
	}
	for _, s := range chosen {
		base := filepath.Join(b.profiles, strings.ReplaceAll(s.name, " ", "-"))
		for _, kind := range []string{"cpu", "mutex", "block"} { // one at a time: they disturb each other
			file := base + "." + kind + ".prof"
			if _, err := b.sample(s, "ours", "-"+kind+"profile", file); err != nil {
				return err
			}
			fmt.Fprintln(b.log, file)
		}
	}
	return nil
}
