package zk_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// The migration simulator: one session with watches of all kinds is cut at any
// byte and moved again and again, while others write, and everything that its
// channels got is judged by the servers' own history (simulator_check_test.go).
// A run is made from a seed. It is not bit for bit the same every time, for the
// scheduler takes part: about nineteen of twenty seeds end alike. Of a run that
// failed the log of the wire is kept.
//
//	go test -run TestSimulator -v -sim.seeds=5000                 so many seeds
//	go test -run TestSimulator -v -sim.long=1h -timeout=0         so long
//	go test -run TestSimulator -v -sim.seed=17 -sim.seeds=50      from one on
//	go test -run TestSimulator -v -sim.seeds=5000 -sim.procs=2    shared out among processes
//
// Each prints the figures that it reached.
var (
	simSeeds    = flag.Int("sim.seeds", 0, "seeds that TestSimulator runs; 0: 400, or what fits into 20 seconds")
	simSeed     = flag.Uint64("sim.seed", 1, "the first of them")
	simLong     = flag.Duration("sim.long", 0, "run the simulator for this long instead of a number of seeds")
	simProcs    = flag.Int("sim.procs", 1, "processes that share the seeds: a process runs one at a time")
	simMoves    = flag.Int("sim.moves", 25, "migrations that each seed asks for")
	simKeep     = flag.String("sim.log", os.TempDir(), "where the log of a failing seed goes")
	simFigs     = flag.String("sim.figures", "", "file that takes the figures, as JSON")
	simFailures = flag.Int("sim.failures", 3, "failing seeds after which TestSimulator stops")
)

// simFigures are what many seeds amount to.
type simFigures struct {
	Seeds, Failed         int
	Moves                 int64 // Dials that moved a session, or renewed it
	Renewals              int64 // sessions that took over another's watches
	Dials                 int64 // connections made
	Calls, Events, Writes int64
	Slow                  int64 // Sessions that ended because too much was undelivered
	Found                 map[string]int
}

func (f *simFigures) add(s *simulation, found []simFinding) {
	f.Seeds++
	f.Moves += s.moves.Load()
	f.Renewals += int64(max(0, len(s.ids)-1))
	f.Dials += int64(len(s.conns))
	f.Calls += s.ncalls
	f.Events += s.nevents
	f.Writes += s.nwrites
	f.Slow += s.nslow
	for _, x := range found {
		f.Found[x.What]++
	}
}

// join adds those of another process.
func (f *simFigures) join(g *simFigures) {
	f.Seeds, f.Failed = f.Seeds+g.Seeds, f.Failed+g.Failed
	f.Moves, f.Renewals, f.Dials = f.Moves+g.Moves, f.Renewals+g.Renewals, f.Dials+g.Dials
	f.Calls, f.Events, f.Writes, f.Slow = f.Calls+g.Calls, f.Events+g.Events, f.Writes+g.Writes, f.Slow+g.Slow
	for what, n := range g.Found {
		f.Found[what] += n
	}
}

func (f *simFigures) String() string {
	return fmt.Sprintf("%d seeds, %d with findings, %d migrations (%d to a new session) by %d connections, %d transactions, %d watches armed, %d events, %d slow consumers; lost %d, false %d, duplicate %d, reordered %d, late %d",
		f.Seeds, f.Failed, f.Moves, f.Renewals, f.Dials, f.Writes, f.Calls, f.Events, f.Slow, f.Found["lost"], f.Found["false"], f.Found["duplicate"], f.Found["reordered"], f.Found["late"])
}

func TestSimulator(t *testing.T) {
	start := time.Now()
	run := runSeeds
	if *simProcs > 1 {
		run = runProcesses
	}
	fig := run(t, start)
	took := time.Since(start)
	t.Logf("%v; %v, %.0f migrations/s", fig, took.Round(time.Millisecond), float64(fig.Moves)/took.Seconds())
	if *simFigs != "" {
		text, err := json.Marshal(fig)
		assert.NilError(t, err)
		assert.NilError(t, os.WriteFile(*simFigs, text, 0o644))
	}
	if fig.Failed == 0 {
		fig.floor(t)
	}
}

// floor makes sure that the run was one: no finding means nothing where little
// was done. What only some seeds do is asked of many.
func (f *simFigures) floor(t *testing.T) {
	t.Helper()
	assert.Assert(t, f.Seeds > 0)
	assert.Assert(t, f.Moves >= int64(f.Seeds)*int64(*simMoves)*9/10, "%v", f)
	assert.Assert(t, f.Dials > f.Moves && f.Calls > f.Moves && f.Writes > f.Moves && f.Events > f.Moves, "%v", f)
	if f.Seeds >= 50 && *simMoves >= 10 {
		assert.Assert(t, f.Slow > 0, "%v", f)
		assert.Assert(t, f.Renewals > 0, "%v", f)
	}
}

// runProcesses shares the seeds, and the processors, out among processes of
// this very test.
func runProcesses(t *testing.T, start time.Time) *simFigures {
	if *simSeeds == 0 && *simLong == 0 {
		t.Fatal("-sim.procs wants -sim.seeds or -sim.long")
	}
	fig := &simFigures{Found: map[string]int{}}
	dir := t.TempDir()
	var procs sync.WaitGroup
	var mu sync.Mutex
	for i := range *simProcs {
		first, n := *simSeed+uint64(i)<<32, 0
		if *simLong == 0 {
			from, to := *simSeeds*i / *simProcs, *simSeeds*(i+1) / *simProcs
			first, n = *simSeed+uint64(from), to-from
			if n == 0 {
				continue
			}
		}
		name := filepath.Join(dir, fmt.Sprint(i))
		cmd := exec.Command(os.Args[0], "-test.run=^TestSimulator$", "-test.timeout=0", fmt.Sprint("-sim.seed=", first), fmt.Sprint("-sim.seeds=", n),
			fmt.Sprint("-sim.long=", *simLong), fmt.Sprint("-sim.moves=", *simMoves), fmt.Sprint("-sim.failures=", *simFailures), "-sim.log="+*simKeep, "-sim.figures="+name)
		cmd.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", max(1, runtime.GOMAXPROCS(0) / *simProcs)))
		procs.Go(func() {
			out, err := cmd.CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("seeds from %d: %v\n%s", first, err, out)
			}
			var part simFigures
			text, err := os.ReadFile(name)
			if err == nil {
				err = json.Unmarshal(text, &part)
			}
			if err != nil {
				t.Errorf("seeds from %d: no figures: %v", first, err)
				return
			}
			fig.join(&part)
		})
	}
	procs.Wait()
	return fig
}

func runSeeds(t *testing.T, start time.Time) *simFigures {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a seed leaves a few MB
	fig := &simFigures{Found: map[string]int{}}
	more := func(n int) bool {
		switch {
		case *simLong > 0:
			return time.Since(start) < *simLong
		case *simSeeds > 0:
			return n < *simSeeds
		case testing.Short():
			return n < 50
		}
		return n < 400 && (n < 100 || time.Since(start) < 20*time.Second)
	}
	report := start
	for n := 0; more(n) && fig.Failed < *simFailures; n++ {
		seed := *simSeed + uint64(n)
		s := runSeed(t, seed)
		found := s.trace.check()
		fig.add(s, found)
		for i, x := range found {
			if i == 5 {
				t.Errorf("seed %d: and %d more", seed, len(found)-i)
				break
			}
			t.Errorf("seed %d: %v", seed, x)
		}
		for _, x := range s.harness {
			t.Errorf("seed %d: %s", seed, x)
		}
		if len(found)+len(s.harness) > 0 {
			fig.Failed++
			t.Errorf("%v; log in %s", s, s.keepLog(found))
		}
		if *simLong > 0 && time.Since(report) > time.Minute {
			report = time.Now()
			fmt.Printf("%v: %v\n", time.Since(start).Round(time.Second), fig)
		}
	}
	return fig
}

// runSeed runs one seed in a bubble of its own, in which no goroutine may be left.
func runSeed(t *testing.T, seed uint64) *simulation {
	t.Helper()
	s := newSimulation(seed)
	defer suite.Shrink(&limits.SetWatchesFrame, s.limit)()
	if s.queue > 0 {
		s.widen = suite.Shrink(&limits.PersistentQueue, s.queue)
		defer s.widen()
	}
	over := make(chan struct{})
	defer close(over)
	go func() { // in real time, for a client that spins or waits on a mutex
		for range 120 { // and not one long wait, for machines that are put to sleep
			select {
			case <-time.After(time.Second):
			case <-over:
				return
			}
		}
		debug.SetTraceback("all")
		panic(fmt.Sprintf("seed %d: hangs", seed))
	}()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("seed %d: %v", seed, r)
			panic(r)
		}
	}()
	synctest.Test(t, func(*testing.T) { s.run() })
	s.build()
	return s
}

// simulation is one run.
type simulation struct {
	seed uint64
	rng  *rand.Rand // of the driver; every other actor has its own

	dials *rand.Rand // what befalls connections; under mu

	// what kind of run it is
	version zktest.Version
	members int
	limit   int // of SetWatches frames
	roomy   bool
	lagging bool
	latency time.Duration // of reads, at most
	chroot  string
	auths   int
	moveTo  int // migrations asked for
	queue   int // undelivered events of persistent watches that end a Session; 0: more than there are
	narrow  int // bytes that the client can send ahead of the server; 0: all

	ens    *zktest.Ensemble
	writer *zk.Session
	conf   zk.Config
	chans  []chan zk.Event
	out    []simChan // what came out of them
	paths  []string  // as the application names them
	roots  []string  // those with children
	pers   map[string]zk.WatchMode

	clock   atomic.Int64 // ticks with every receive
	fast    atomic.Bool  // slow consumers slow no more
	healed  atomic.Bool  // connections break no more
	widen   func()       // makes the queue as large as it is
	quit    chan struct{}
	stop    chan struct{}
	workers []*simWorker
	first   *simWorker

	mu       sync.Mutex
	conns    []*simConn
	cur      *zk.Session
	curConn  int64
	changed  chan struct{} // closed when cur changes
	harness  []string
	finished map[int64]bool // connections whose Dial returned a Session
	ids      map[int64]bool // sessions that there were

	moves                           atomic.Int64
	ncalls, nevents, nwrites, nslow int64
	frames                          []zktest.Frame
	start                           time.Time
	trace                           simTrace
}

func newSimulation(seed uint64) *simulation {
	r := rand.New(rand.NewPCG(seed, 0x5e5510))
	s := &simulation{
		seed: seed, rng: r, moveTo: *simMoves,
		version: []zktest.Version{zktest.V35, zktest.V36, zktest.V38, zktest.V38, zktest.V39, zktest.V39, zktest.V39, zktest.V39}[r.IntN(8)],
		members: 1 + r.IntN(3), limit: 60 + r.IntN(200), roomy: r.IntN(4) == 0, auths: r.IntN(3),
		finished: map[int64]bool{}, ids: map[int64]bool{}, pers: map[string]zk.WatchMode{},
	}
	s.dials = s.fork()
	s.lagging = s.members > 1 && r.IntN(5) == 0
	if r.IntN(2) == 0 {
		s.latency = time.Duration(50+r.IntN(800)) * time.Microsecond
	}
	if r.IntN(4) == 0 {
		s.chroot = "/app"
	}
	if r.IntN(4) == 0 {
		s.narrow = 50 + r.IntN(500)
	}
	if !s.roomy && s.version >= zktest.V36 && r.IntN(3) == 0 {
		s.queue = 15 + r.IntN(40)
	}
	for i := range 4 {
		p := fmt.Sprintf("/node-%d", i)
		s.roots = append(s.roots, p)
		s.paths = append(s.paths, p, p+"/left", p+"/right", fmt.Sprintf("/flat-%d", i))
	}
	// Before 3.9 a server keeps one persistent mode per path.
	for _, p := range s.paths {
		s.pers[p] = []zk.WatchMode{zk.WatchPersistent, zk.WatchRecursive}[r.IntN(2)]
	}
	return s
}

func (s *simulation) String() string {
	return fmt.Sprintf("seed %d: %v, %d members, SetWatches of %d bytes, roomy %v, lagging %v, latency %v, chroot %q, %d credentials, queue %d, narrow %d",
		s.seed, s.version, s.members, s.limit, s.roomy, s.lagging, s.latency, s.chroot, s.auths, s.queue, s.narrow)
}

func (s *simulation) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.harness = append(s.harness, fmt.Sprintf(format, args...))
}

func (s *simulation) fork() *rand.Rand { return rand.New(rand.NewPCG(s.rng.Uint64(), s.rng.Uint64())) }

// ---- connections

// simConn is a connection of the session under test: it counts what was read,
// and breaks.
type simConn struct {
	*zktest.PipeConn
	sim    *simulation
	number int64
	rng    *rand.Rand

	greeted  atomic.Bool  // the ConnectRequest was written
	sound    bool         // it will not break
	chop     bool         // reads are short
	asked    atomic.Bool  // a Read was begun after the one that brought the last bytes
	returned atomic.Int64 // bytes read

	mu     sync.Mutex
	left   int64   // bytes that may still be read; negative: all; 0: for good
	events int     // events that may still be read; 0: all
	stall  bool    // at the end of that nothing comes, instead of an error
	head   [8]byte // of the frame that is being read: length and xid
	pos    int     // in that frame, with its length

	closed chan struct{}
	once   sync.Once
}

// Write has each connection ask for a session timeout of its own: a Session can
// tell that, and thus which connection is its own.
func (c *simConn) Write(p []byte) (int, error) {
	if !c.greeted.Swap(true) {
		p = slices.Clone(p)
		timeout := p[4+4+8:] // behind length, protocol version and zxid
		binary.BigEndian.PutUint32(timeout, binary.BigEndian.Uint32(timeout)+uint32(c.number))
	}
	return c.PipeConn.Write(p)
}

func (c *simConn) Read(p []byte) (int, error) {
	c.asked.Store(true)
	if c.sim.latency > 0 && !c.sim.healed.Load() {
		time.Sleep(time.Duration(c.rng.Int64N(int64(c.sim.latency))))
	}
	if c.chop && len(p) > 1 {
		p = p[:1+c.rng.IntN(min(len(p), 40))]
	}
	if c.over() && len(p) > 0 {
		return c.broken()
	}
	if c.sim.queue > 0 { // by the frame, so that the last is known
		if rest := len(c.head) - c.pos; rest > 0 {
			p = p[:min(len(p), rest)]
		} else {
			p = p[:min(len(p), 4+wire.FrameLen(c.head[:])-c.pos)]
		}
	}
	n, err := c.PipeConn.Read(p)
	got := n
	if n = c.pass(p[:n]); n < got && n == 0 {
		return c.broken()
	}
	c.returned.Add(int64(n))
	c.asked.Store(n == 0)
	return n, err
}

func (c *simConn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left == 0
}

// pass tells how much of what was read may be. Where the last event that may be
// read ends the connection does: often between two of one transaction.
func (c *simConn) pass(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return 0
	}
	if c.left > 0 {
		p = p[:min(int64(len(p)), c.left)]
		c.left -= int64(len(p))
	}
	for at := 0; at < len(p); {
		if c.pos < len(c.head) {
			c.head[c.pos] = p[at]
			c.pos++
			at++
			continue
		}
		size := 4 + wire.FrameLen(c.head[:])
		step := min(len(p)-at, size-c.pos)
		at, c.pos = at+step, c.pos+step
		if c.pos < size {
			break
		}
		c.pos = 0
		if event := [4]byte(c.head[4:]) == [4]byte{255, 255, 255, 255}; event && c.events > 0 {
			if c.events--; c.events == 0 {
				c.left = 0
				return at
			}
		}
	}
	return len(p)
}

func (c *simConn) broken() (int, error) {
	c.mu.Lock()
	stall := c.stall
	c.mu.Unlock()
	if stall {
		<-c.closed
		return 0, net.ErrClosed
	}
	c.PipeConn.Close()
	return 0, syscall.ECONNRESET
}

func (c *simConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.PipeConn.Close()
}

// cut breaks the connection after so many more bytes, in one direction or both.
func (c *simConn) cut(read, write int64, stall bool) {
	limit := zktest.CutAt
	if stall {
		limit = zktest.StallAt
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if write >= 0 && !c.stall { // what a stall has swallowed stays lost
		c.SetWriteLimit(limit(write))
	}
	c.stall = c.stall || stall
	if read >= 0 && c.left != 0 {
		c.left = read
	}
}

// snip breaks it after so many more events.
func (c *simConn) snip(events int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = events
}

// dial is the session's DialContext. Many of its connections break at some byte.
func (s *simulation) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	rng := rand.New(rand.NewPCG(s.dials.Uint64(), s.dials.Uint64()))
	s.mu.Unlock()
	healed := s.healed.Load()
	if !healed {
		if rng.IntN(10) == 0 {
			t := time.NewTimer(time.Duration(rng.IntN(1500)) * time.Microsecond)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if rng.IntN(20) == 0 {
			return nil, syscall.ECONNREFUSED
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	nc, err := s.ens.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &simConn{PipeConn: nc.(*zktest.PipeConn), sim: s, number: int64(len(s.conns)) + 2, rng: rng, left: -1, closed: make(chan struct{})}
	s.conns = append(s.conns, c)
	if c.sound = healed; healed {
		return c, nil
	}
	c.chop = rng.IntN(4) == 0
	c.SetCapacity(s.narrow)
	sent, got := int64(49+60*s.auths+300+rng.IntN(800)), int64(41+20*s.auths+100+rng.IntN(600))
	switch x := rng.IntN(100); {
	case x < 35:
		c.cut(rng.Int64N(got), -1, false)
	case x < 55:
		c.cut(-1, rng.Int64N(sent), false)
	case x < 60:
		c.cut(rng.Int64N(got), rng.Int64N(sent), false)
	case x < 70:
		c.snip(1 + rng.IntN(8))
	case x == 70:
		c.cut(rng.Int64N(got), -1, true)
	case x == 71:
		c.cut(-1, rng.Int64N(sent), true)
	}
	return c, nil
}

// connOf returns the connection of a Session of the session under test.
func (s *simulation) connOf(x *zk.Session) *simConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[(x.Timeout()-s.conf.Timeout)/time.Millisecond-2]
}

// ---- the session under test

// adopt makes a Session the one that all use, if it is newer than the one they do.
func (s *simulation) adopt(x *zk.Session) {
	n := s.connOf(x).number
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.finished[n] {
		s.finished[n] = true
		s.ids[x.ID()] = true
		s.moves.Add(1)
	}
	if n > s.curConn {
		s.cur, s.curConn = x, n
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

func (s *simulation) current() (*zk.Session, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cur, s.changed
}

func (s *simulation) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// nap sleeps for up to d.
func (s *simulation) nap(r *rand.Rand, d time.Duration) {
	time.Sleep(time.Duration(r.Int64N(int64(d))))
}

func (s *simulation) run() {
	s.start = time.Now()
	s.stop, s.quit, s.changed = make(chan struct{}), make(chan struct{}), make(chan struct{})
	ens, err := zktest.StartEnsemble(s.members, zktest.Options{
		Version: s.version, InMemory: true, Raw: true, FrameLog: 1 << 20, TickTime: 100 * time.Millisecond, MaxSessionTimeout: 10 * time.Second,
	})
	if err != nil {
		s.fault("%v", err)
		return
	}
	s.ens = ens
	defer ens.Close()
	if err := s.setUp(); err != nil {
		s.fault("set-up: %v", err)
		return
	}
	var busy, consumers sync.WaitGroup
	for i := range s.chans {
		r := s.fork()
		if !s.roomy {
			consumers.Go(func() { s.consume(i, r) })
		}
	}
	for _, w := range s.workers {
		w.rng = s.fork()
		busy.Go(w.run)
	}
	wr, own := s.fork(), s.fork()
	busy.Go(func() { s.write(wr) })
	if !s.lagging {
		busy.Go(func() { s.ownWrites(own) })
	}
	obs := s.fork()
	busy.Go(func() { s.observe(obs) })
	s.drive()
	s.healed.Store(true)
	ens.Heal()
	for i := range s.members {
		ens.Member(i).Refuse(false)
		ens.Member(i).Thaw()
	}
	s.fast.Store(true)
	close(s.stop)
	x := s.settle() // ends the calls that wait on a silent connection
	busy.Wait()
	if s.queue > 0 {
		if x, _ = s.current(); x != nil {
			x.Detach()
		}
		s.widen()
		x = s.settle()
	}
	s.drain(x)
	close(s.quit)
	consumers.Wait()
	if err := x.Close(); err != nil {
		s.fault("close: %v", err)
	}
	if n := x.Config().Watches.Undelivered(); n != 0 {
		s.fault("%d events are undelivered at the end", n)
	}
	if err := s.writer.Close(); err != nil {
		s.fault("close of the writer: %v", err)
	}
	s.frames = ens.Frames()
}

// setUp makes the tree, the channels and the first Session.
func (s *simulation) setUp() error {
	ctx := context.Background()
	var err error
	acl := zk.ACLOpen
	s.conf = zk.Config{Addrs: s.ens.Addrs(), Chroot: s.chroot, Timeout: time.Duration(300+s.rng.IntN(900)) * time.Millisecond, DialContext: s.dial}
	auth := []zk.Auth{zk.Digest("alice", "secret"), zk.Digest("bob", "pass")}[:s.auths]
	s.conf.Auth = auth
	if s.rng.IntN(3) == 0 {
		s.conf.MaxInFlight = 1 + s.rng.IntN(5)
	}
	if s.writer, err = zk.Dial(ctx, zk.Config{Addrs: s.ens.Addrs()[:1], Timeout: time.Minute, DialContext: s.ens.DialContext, Auth: auth}); err != nil {
		return err
	}
	if s.auths > 0 { // only who has proved who it is may see the tree
		acl = zk.ACL{{Perms: zk.PermAll, Scheme: "auth"}}
	}
	if s.chroot != "" {
		if _, err := s.writer.Create(ctx, s.chroot, nil, zk.Persistent, acl); err != nil {
			return err
		}
	}
	for _, p := range s.paths {
		if _, err := s.writer.Create(ctx, s.chroot+p, nil, zk.Persistent, acl); err != nil {
			return err
		}
	}
	for i := range 8 {
		n := i % 4
		if s.roomy {
			n = 40 * s.moveTo // several times what comes
		}
		s.chans = append(s.chans, make(chan zk.Event, n))
		s.out = append(s.out, simChan{Cap: n})
	}
	var keys []simKey
	first := &simWorker{sim: s} // before all others
	for _, p := range s.paths {
		keys = append(keys, simKey{wire.OpGetData, p}, simKey{wire.OpExists, p})
		switch {
		case s.version < zktest.V36 || s.rng.IntN(4) > 0:
		case s.pers[p] == zk.WatchRecursive && s.version < zktest.V39:
			first.keys = append(first.keys, simKey{wire.OpAddWatch, p}) // later it would end a watch for children there
		default:
			keys = append(keys, simKey{wire.OpAddWatch, p})
		}
		keys = append(keys, simKey{wire.OpGetChildren2, p})
	}
	s.rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for i := range 4 {
		w := &simWorker{sim: s, own: len(s.chans)}
		s.chans = append(s.chans, make(chan zk.Event, cap(s.chans[0])+1))
		s.out = append(s.out, simChan{Cap: cap(s.chans[0]) + 1})
		for j := i; j < len(keys); j += 4 {
			w.keys = append(w.keys, keys[j])
		}
		s.workers = append(s.workers, w)
	}
	for {
		x, err := zk.Dial(ctx, s.conf)
		if errors.Is(err, zk.ErrAuth) {
			return err
		}
		if err == nil {
			s.adopt(x)
			s.moves.Add(-1)
			break
		}
	}
	s.first = first
	for i, k := range first.keys {
		for x, _ := s.current(); ; {
			err := x.AddWatch(ctx, k.path, zk.WatchRecursive, s.chans[i%8])
			first.calls = append(first.calls, simCall{conn: s.connOf(x).number, key: k, mode: zk.WatchRecursive, ch: i % 8, outcome: simOutcome(err), err: err, held: s.held()})
			if err == nil {
				break
			}
			for err != nil {
				var next *zk.Session
				if next, err = x.Redial(ctx); errors.Is(err, zk.ErrExpired) {
					next, err = x.Renew(ctx)
				}
				if err == nil {
					s.adopt(next)
					x = next
				}
			}
		}
	}
	return nil
}

// held returns how many events each channel holds, if nobody reads them.
func (s *simulation) held() []int {
	if !s.roomy {
		return nil
	}
	n := make([]int, len(s.chans))
	for i := range s.chans {
		n[i] = len(s.chans[i])
	}
	return n
}

// ---- actors

// consume reads a channel, slowly now and then.
func (s *simulation) consume(i int, r *rand.Rand) {
	out := &s.out[i]
	slow := time.Duration(0)
	if s.queue > 0 {
		slow = 30 * time.Millisecond
	}
	switch r.IntN(4) {
	case 0:
		slow = 2 * time.Millisecond
	case 1:
		slow = 15 * time.Millisecond
	}
	for {
		before := s.clock.Add(1)
		select {
		case ev := <-s.chans[i]:
			out.Recv = append(out.Recv, simRecv{ev.Type, s.chroot + ev.Path, ev.Zxid, before, s.clock.Add(1), time.Since(s.start)})
			if s.chroot != "" && ev.Path == "/" {
				out.Recv[len(out.Recv)-1].Path = s.chroot
			}
		case <-s.quit:
			return
		}
		if slow > 0 && !s.fast.Load() {
			s.nap(r, slow)
		}
	}
}

// write changes the tree, as another session.
func (s *simulation) write(r *rand.Rand) {
	there := map[string]bool{}
	for _, p := range s.paths {
		there[p] = true
	}
	moves, since := int64(0), 0
	for !s.stopping() {
		s.nap(r, 1500*time.Microsecond)
		if since++; since > 30 { // nothing moves: a link is silent
			s.nap(r, 50*time.Millisecond)
		}
		if n := s.moves.Load(); n != moves {
			moves, since = n, 0
		}
		s.change(s.writer, s.chroot, there, r)
	}
}

// ownWrites does the same through the session under test.
func (s *simulation) ownWrites(r *rand.Rand) {
	there := map[string]bool{}
	for _, p := range s.paths {
		there[p] = true
	}
	for !s.stopping() {
		s.nap(r, 6*time.Millisecond)
		x, changed := s.current()
		if err := s.change(x, "", there, r); simDead(err) {
			select {
			case <-changed:
			case <-s.stop:
			}
		}
	}
}

func (s *simulation) acl() zk.ACL {
	if s.auths > 0 {
		return zk.ACL{{Perms: zk.PermAll, Scheme: "auth"}}
	}
	return zk.ACLOpen
}

// change does one thing to the tree, which there is what the caller knows of.
func (s *simulation) change(x *zk.Session, root string, there map[string]bool, r *rand.Rand) error {
	ctx := context.Background()
	leaves := func(p string) bool { return there[p+"/left"] || there[p+"/right"] }
	var ops []zk.WriteOp
	set := func(p string) {
		if there[p] {
			ops = append(ops, zk.SetOp{Path: root + p, Data: []byte("x"), Version: zk.AnyVersion})
		} else if parent := simParent(p); parent == "/" || there[parent] {
			ops = append(ops, zk.CreateOp{Path: root + p, ACL: s.acl()})
			there[p] = true
		}
	}
	drop := func(p string) {
		if there[p] && !leaves(p) {
			ops = append(ops, zk.DeleteOp{Path: root + p, Version: zk.AnyVersion})
			there[p] = false
		}
	}
	p, q := s.paths[r.IntN(len(s.paths))], s.paths[r.IntN(len(s.paths))]
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		set(p)
	case 4, 5:
		drop(p)
		if len(ops) == 0 {
			set(p)
		}
	case 6, 7: // several paths in one transaction
		set(p)
		for range 1 + r.IntN(4) {
			set(s.paths[r.IntN(len(s.paths))])
		}
	case 8: // gone and back
		drop(p)
		set(p)
	case 9:
		drop(p)
		set(q)
	}
	if len(ops) == 0 {
		return nil
	}
	if len(ops) == 1 || r.IntN(4) == 0 {
		var err error
		for _, op := range ops {
			if _, err = s.one(x, op); err != nil {
				break
			}
		}
		s.learn(there, root, err)
		return err
	}
	_, err := x.Multi(ctx, ops...)
	s.learn(there, root, err)
	return err
}

func (s *simulation) one(x *zk.Session, op zk.WriteOp) (any, error) {
	ctx := context.Background()
	switch o := op.(type) {
	case zk.SetOp:
		return x.Set(ctx, o.Path, o.Data, o.Version)
	case zk.CreateOp:
		return x.Create(ctx, o.Path, o.Data, o.Mode, o.ACL)
	case zk.DeleteOp:
		return nil, x.Delete(ctx, o.Path, o.Version)
	}
	panic(op)
}

// learn corrects what the writer knows after somebody else has written too.
func (s *simulation) learn(there map[string]bool, root string, err error) {
	if err == nil {
		return
	}
	for _, p := range s.paths {
		found, _, err := s.writer.Exists(context.Background(), s.chroot+p, nil)
		if err == nil {
			there[p] = found
		}
	}
}

// observe looks at the session while it is used, and proves who it is again.
func (s *simulation) observe(r *rand.Rand) {
	for !s.stopping() {
		s.nap(r, 30*time.Millisecond)
		x, _ := s.current()
		switch r.IntN(5) {
		case 0:
			x.Stats()
		case 1:
			x.Config().Watches.List()
		case 2:
			if _, err := json.Marshal(x.Config().State); err != nil {
				s.fault("marshal: %v", err)
			}
		case 3:
			if r.IntN(10) == 0 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(2000))*time.Microsecond)
				x.AddAuth(ctx, zk.Digest("carol", "word"))
				cancel()
			}
		}
	}
}

// simDead reports that a Session is of no use any more.
func simDead(err error) bool {
	return errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved) || errors.Is(err, zk.ErrClosed)
}

type simKey struct {
	op   wire.Op
	path string
}

// simWorker arms watches. Of each operation on each path only one worker makes
// use, so that its calls can be told by their frames.
type simWorker struct {
	sim   *simulation
	rng   *rand.Rand
	keys  []simKey
	own   int // a channel that nobody else arms, and that it disarms
	calls []simCall
}

// simCall is one request that may arm a channel.
type simCall struct {
	conn    int64
	key     simKey
	mode    zk.WatchMode
	ch      int        // -1: none
	outcome zk.Outcome // 0: success
	held    []int

	removed bool // a RemoveWatch instead
	hi      int64
	err     error
}

func (w *simWorker) run() {
	s := w.sim
	for !s.stopping() {
		if w.rng.IntN(3) > 0 {
			s.nap(w.rng, time.Millisecond)
		}
		x, changed := s.current()
		err := w.call(x)
		if !simDead(err) {
			continue
		}
		if w.rng.IntN(3) == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+w.rng.IntN(50))*time.Millisecond)
			next, err := x.Redial(ctx)
			cancel()
			if err == nil {
				s.adopt(next)
				continue
			}
		}
		select {
		case <-changed:
		case <-s.stop:
		}
	}
}

func simOutcome(err error) zk.Outcome {
	var op *zk.OpError
	if errors.As(err, &op) {
		return op.Outcome()
	}
	return 0
}

// context returns one that ends soon, now and then.
func (w *simWorker) context() (context.Context, context.CancelFunc) {
	ctx := context.Background()
	switch w.rng.IntN(10) {
	case 0:
		return context.WithTimeout(ctx, time.Duration(w.rng.IntN(1000))*time.Microsecond)
	case 1:
		ctx, cancel := context.WithCancel(ctx)
		n := w.rng.IntN(20)
		go func() {
			for range n {
				runtime.Gosched()
			}
			cancel()
		}()
		return ctx, cancel
	case 2, 3, 4:
		return context.WithCancel(ctx)
	}
	return ctx, func() {}
}

// call makes one call, or a Batch of several.
func (w *simWorker) call(x *zk.Session) error {
	s := w.sim
	ctx, cancel := w.context()
	defer cancel()
	conn := s.connOf(x)
	pick := func() simCall {
		c := simCall{conn: conn.number, key: w.keys[w.rng.IntN(len(w.keys))], ch: -1}
		switch n := w.rng.IntN(20); {
		case n < 14:
			c.ch = w.rng.IntN(8)
		case n < 17:
			c.ch = w.own
		}
		return c
	}
	done := func(c simCall, err error) {
		c.outcome, c.err = simOutcome(err), err
		if err == nil {
			c.held = s.held()
		}
		w.calls = append(w.calls, c)
	}
	c := pick()
	if w.rng.IntN(30) == 0 {
		c.removed, c.ch = true, w.own
		err := x.RemoveWatch(ctx, c.key.path, s.chans[c.ch])
		c.hi = conn.returned.Load()
		done(c, err)
		return err
	}
	if c.key.op != wire.OpAddWatch && w.rng.IntN(4) == 0 {
		var calls []simCall
		var ops []zk.Op
		for range 2 + w.rng.IntN(4) {
			if c.key.op != wire.OpAddWatch {
				calls, ops = append(calls, c), append(ops, c.batch(s))
			}
			if w.rng.IntN(2) == 0 {
				c = pick()
			} else { // another channel for the same
				c.ch = w.rng.IntN(8)
			}
		}
		res, err := x.Batch(ctx, ops...)
		for i, c := range calls {
			switch {
			case i >= len(res):
				done(c, err)
			case c.key.op == wire.OpExists && errors.Is(res[i].Err, zk.ErrNoNode):
				done(c, nil)
			default:
				done(c, res[i].Err)
			}
		}
		return err
	}
	var err error
	var ch chan<- zk.Event
	if c.ch >= 0 {
		ch = s.chans[c.ch]
	}
	switch c.key.op {
	case wire.OpGetData:
		_, _, err = x.Get(ctx, c.key.path, ch)
	case wire.OpExists:
		_, _, err = x.Exists(ctx, c.key.path, ch)
	case wire.OpGetChildren2:
		_, _, err = x.Children(ctx, c.key.path, ch)
	case wire.OpAddWatch:
		if c.ch < 0 {
			c.ch = w.own
			ch = s.chans[c.ch]
		}
		c.mode = s.pers[c.key.path]
		err = x.AddWatch(ctx, c.key.path, c.mode, ch)
	}
	done(c, err)
	return err
}

func (c simCall) batch(s *simulation) zk.Op {
	var ch chan<- zk.Event
	if c.ch >= 0 {
		ch = s.chans[c.ch]
	}
	switch c.key.op {
	case wire.OpGetData:
		return zk.GetOp{Path: c.key.path, Watch: ch}
	case wire.OpExists:
		return zk.ExistsOp{Path: c.key.path, Watch: ch}
	}
	return zk.ChildrenOp{Path: c.key.path, Watch: ch}
}

// ---- the driver

// drive moves the session until it has moved as often as was asked for.
func (s *simulation) drive() {
	r := s.rng
	for tries := 0; s.moves.Load() < int64(s.moveTo) && tries < 40*s.moveTo; tries++ {
		s.nap(r, 4*time.Millisecond)
		x, _ := s.current()
		c := s.connOf(x)
		switch r.IntN(12) {
		case 0, 1, 2:
			c.cut(r.Int64N(300), -1, false)
			s.nap(r, 2*time.Millisecond)
		case 3, 4:
			c.cut(-1, r.Int64N(300), false)
			s.nap(r, 2*time.Millisecond)
		case 5, 9, 10:
			c.snip(1 + r.IntN(3))
			s.nap(r, 4*time.Millisecond)
		case 11:
			s.ens.Cut(x.ID())
		case 6:
			x.Detach()
		case 7:
			if r.IntN(6) == 0 {
				s.ens.Expire(x.ID())
			}
		case 8:
			s.trouble(r)
		}
		s.move(r, x)
	}
}

// trouble is what happens to members, or to a request of the session.
func (s *simulation) trouble(r *rand.Rand) {
	if r.IntN(2) == 0 {
		x, _ := s.current()
		ops := []wire.Op{wire.OpSetWatches, wire.OpSetWatches2, wire.OpSetWatches2, wire.OpAuth, zktest.OpConnect, wire.OpGetData, wire.OpExists}
		// No writes: one that is cut off after it was executed is not in the log.
		rule := zktest.Rule{Session: x.ID(), Op: ops[r.IntN(len(ops))], Skip: r.IntN(3), Do: zktest.CutBefore}
		switch {
		case r.IntN(2) == 0:
			rule.Do = zktest.CutAfter
		case rule.Op == wire.OpSetWatches || rule.Op == wire.OpSetWatches2:
			rule.Err, rule.Do = wire.ErrMarshalling, zktest.Pass
		}
		s.ens.Fault(rule)
		return
	}
	if s.members == 1 {
		return
	}
	m := s.ens.Member(1 + r.IntN(s.members-1)) // the writer is at the first
	switch {
	case s.lagging && r.IntN(3) > 0:
		m.SetLag(r.IntN(6))
	case s.lagging:
		m.Thaw()
	case r.IntN(2) == 0:
		m.Restart()
	default:
		m.Refuse(r.IntN(2) == 0)
	}
}

// move dials once, or several times at once.
func (s *simulation) move(r *rand.Rand, x *zk.Session) {
	n := 1
	if r.IntN(5) == 0 {
		n = 2 + r.IntN(3)
	}
	var all sync.WaitGroup
	for range n {
		rr := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		all.Go(func() { s.dialOnce(rr, x) })
	}
	all.Wait()
}

func (s *simulation) dialOnce(r *rand.Rand, x *zk.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if r.IntN(8) == 0 {
		defer time.AfterFunc(time.Duration(r.IntN(1000))*time.Microsecond, cancel).Stop()
	}
	var next *zk.Session
	var err error
	if r.IntN(2) == 0 {
		next, err = x.Redial(ctx)
	} else {
		next, err = zk.Dial(ctx, x.Config())
	}
	if errors.Is(err, zk.ErrExpired) {
		if r.IntN(2) == 0 {
			next, err = x.Renew(ctx)
		} else {
			next, err = zk.Dial(ctx, x.Config().Renew())
		}
	}
	if err == nil {
		s.adopt(next)
	}
}

// settle returns a Session that will last.
func (s *simulation) settle() *zk.Session {
	var last error
	for range 1000 {
		x, _ := s.current()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		next, err := zk.Dial(ctx, x.Config())
		if errors.Is(err, zk.ErrExpired) {
			next, err = zk.Dial(ctx, x.Config().Renew())
		}
		cancel()
		if err == nil {
			s.adopt(next)
		} else {
			last = err
			time.Sleep(time.Millisecond)
		}
		// What abandoned connections left behind comes to the servers first: a
		// handshake that is late takes the session to another of them.
		time.Sleep(10 * time.Millisecond)
		if x, _ = s.current(); s.connOf(x).sound && x.Sync(context.Background(), "/") == nil {
			return x
		}
	}
	panic(fmt.Sprintf("no server takes the session any more: %v", last))
}

// drain changes every path once more, so that every watch must fire, and waits
// until all events are delivered.
func (s *simulation) drain(x *zk.Session) {
	ctx := context.Background()
	there := map[string]bool{}
	s.learn(there, "", zk.ErrSystem)
	must := func(err error) {
		if err != nil {
			s.fault("at the end: %v", err)
		}
	}
	for range 2 { // roots first, then what is below them
		for _, p := range s.paths {
			if there[p] {
				_, err := s.writer.Set(ctx, s.chroot+p, nil, zk.AnyVersion)
				must(err)
			} else if parent := simParent(p); parent == "/" || there[parent] {
				_, err := s.writer.Create(ctx, s.chroot+p, nil, zk.Persistent, s.acl())
				must(err)
				there[p] = true
			}
		}
	}
	for _, p := range s.paths {
		_, err := s.writer.Create(ctx, s.chroot+p+"/last", nil, zk.Persistent, s.acl())
		must(err)
	}
	must(x.Sync(ctx, "/"))
	_, _, err := x.Exists(ctx, "/", nil)
	must(err)
	time.Sleep(50 * time.Millisecond)
	if s.roomy {
		for i, ch := range s.chans {
			s.out[i].Recv = nil
			for len(ch) > 0 {
				ev := <-ch
				path := s.chroot + ev.Path
				if ev.Path == "/" && s.chroot != "" {
					path = s.chroot
				}
				s.out[i].Recv = append(s.out[i].Recv, simRecv{ev.Type, path, ev.Zxid, 0, 0, time.Since(s.start)})
			}
		}
	}
}

// ---- the trace

// build makes the trace from the servers' log and what each side noted.
func (s *simulation) build() {
	if s.frames == nil {
		return
	}
	tr := &s.trace
	tr.Roomy, tr.Lagging, tr.Chans = s.roomy, s.lagging, s.out
	tr.Log = make([]simEntry, 0, len(s.frames)*9/8) // and its transactions
	for i := range s.out {
		s.nevents += int64(len(s.out[i].Recv))
	}
	type frameKey struct {
		conn int64
		xid  int32
	}
	requests := map[frameKey]*zktest.Frame{}
	ends := map[int64]int64{}
	replies := map[frameKey]int{}
	owner := map[simKey]*simWorker{}
	workers := append([]*simWorker{s.first}, s.workers...)
	for _, w := range workers {
		for _, k := range w.keys {
			owner[simKey{k.op, s.chroot + k.path}] = w
		}
	}
	type workerConn struct {
		w    *simWorker
		conn int64
	}
	sent := map[workerConn][]*zktest.Frame{}
	lastSet := map[int64]int{}
	setting := map[int64]bool{}
	under := func(conn int64) bool { return conn >= 2 && conn < int64(len(s.conns))+2 }
	done := map[frameKey]int64{} // zxid of a request that succeeded
	for i := range s.frames {
		if f := &s.frames[i]; f.Dir == zktest.ToClient && f.Xid > 0 && f.Err == 0 && !simFailed(f) {
			done[frameKey{f.Conn, f.Xid}] = f.Zxid
		}
	}
	for i := range s.frames {
		f := &s.frames[i]
		at := f.Time.Sub(s.start)
		switch {
		case f.Dir == zktest.FromClient:
			if zxid, ok := done[frameKey{f.Conn, f.Xid}]; ok { // its events are logged before its reply
				if ch := simChanges(f); len(ch) > 0 {
					s.nwrites++
					tr.Log = append(tr.Log, simEntry{Kind: simTxn, Zxid: zxid, At: at, Changes: ch, frame: f})
				}
			}
			if f.Xid > 0 {
				requests[frameKey{f.Conn, f.Xid}] = f
			}
			if under(f.Conn) {
				tr.Log = append(tr.Log, simEntry{Kind: simAsk, Conn: f.Conn, At: at, frame: f})
				setting[f.Conn] = f.Op == wire.OpSetWatches || f.Op == wire.OpSetWatches2
				if w := owner[simKey{f.Op, f.Path}]; w != nil {
					sent[workerConn{w, f.Conn}] = append(sent[workerConn{w, f.Conn}], f)
				}
			}
		case f.Dir == zktest.ToClient:
			req := requests[frameKey{f.Conn, f.Xid}]
			if f.Xid > 0 && req == nil {
				s.harness = append(s.harness, fmt.Sprintf("a reply without a request: %v", *f))
				continue
			}
			if !under(f.Conn) {
				continue
			}
			ends[f.Conn] += int64(4 + f.Len)
			e := simEntry{Conn: f.Conn, End: ends[f.Conn], At: at, Zxid: f.Zxid, frame: f}
			c := s.conns[f.Conn-2]
			read := c.returned.Load()
			e.Received = e.End <= read
			if e.Received && f.Op == wire.OpNotification && e.End == read && !c.asked.Load() {
				e.Received = false // the one too many, which ends the Session
				s.nslow++
			}
			switch {
			case f.Op == wire.OpNotification:
				e.Kind, e.Type, e.Path, e.CatchUp = simNote, zk.EventType(f.Event), f.Path, setting[f.Conn]
			case f.Xid > 0:
				e.Kind = simReply
				replies[frameKey{f.Conn, f.Xid}] = len(tr.Log)
				if f.Op == wire.OpSetWatches || f.Op == wire.OpSetWatches2 {
					e.Sets, lastSet[f.Conn] = true, len(tr.Log)
					if f.Err == 0 {
						e.Restores = simRestores(req)
					}
				}
			default: // handshake, auth, ping
				e.Kind, e.Zxid = simReply, 0
			}
			tr.Log = append(tr.Log, e)
		}
	}
	for conn := range s.finished {
		if at, ok := lastSet[conn]; ok {
			tr.Log[at].Migrated = true
		}
	}
	// Which call a frame was of: of a worker's requests on a connection the
	// n-th frame belongs to the n-th call that was sent.
	for _, w := range workers {
		next := map[int64]int{}
		last := map[int64]int64{} // place behind the last reply that a call returned with
		for _, c := range w.calls {
			path := s.chroot + c.key.path
			if c.removed {
				if c.outcome == zk.NotSent && !errors.Is(c.err, zk.ErrNoWatcher) {
					continue
				}
				tr.Removes = append(tr.Removes, simRemove{Path: path, Chan: c.ch, Conn: c.conn, Lo: last[c.conn], Hi: c.hi, OK: c.err == nil || errors.Is(c.err, zk.ErrNoWatcher)})
				continue
			}
			if c.outcome == zk.NotSent {
				continue
			}
			n := next[c.conn]
			next[c.conn]++
			frames := sent[workerConn{w, c.conn}]
			if n >= len(frames) {
				if c.outcome != zk.Lost {
					s.harness = append(s.harness, fmt.Sprintf("%v %s on connection %d returned %v, and no server got it", c.key.op, path, c.conn, c.err))
				}
				continue
			}
			f := frames[n]
			if f.Op != c.key.op || f.Path != path {
				s.harness = append(s.harness, fmt.Sprintf("frame %d of a worker on connection %d is %v, its call was %v %s", n, c.conn, f, c.key.op, path))
				break
			}
			if c.outcome != 0 {
				continue
			}
			at, ok := replies[frameKey{c.conn, f.Xid}]
			if !ok || !tr.Log[at].Received {
				s.harness = append(s.harness, fmt.Sprintf("%v %s on connection %d returned without its reply", c.key.op, path, c.conn))
				continue
			}
			e := &tr.Log[at]
			last[c.conn] = e.End
			if s.roomy {
				tr.Returns = append(tr.Returns, simReturn{at, c.held})
			}
			if c.ch < 0 {
				continue
			}
			s.ncalls++
			arm := simWatch{Path: path, Chan: c.ch}
			switch {
			case c.key.op == wire.OpGetData:
				arm.Kind = zk.DataWatch
			case c.key.op == wire.OpExists:
				arm.Kind = zk.DataWatch
				if e.frame.Err == wire.ErrNoNode {
					arm.Kind = zk.ExistsWatch
				}
			case c.key.op == wire.OpGetChildren2:
				arm.Kind = zk.ChildWatch
			case c.mode == zk.WatchRecursive:
				arm.Kind = zk.RecursiveWatch
			default:
				arm.Kind = zk.PersistentWatch
			}
			e.Arms = append(e.Arms, arm)
		}
	}
}

func simChanges(f *zktest.Frame) []simChange {
	d := wire.NewDecoder(f.Raw)
	var h wire.RequestHeader
	h.Decode(&d)
	switch f.Op {
	case wire.OpCreate, wire.OpCreate2:
		return []simChange{{zk.Created, f.Path}}
	case wire.OpSetData:
		return []simChange{{zk.Changed, f.Path}}
	case wire.OpDelete:
		return []simChange{{zk.Deleted, f.Path}}
	case wire.OpMulti:
		var m wire.MultiRequest
		m.Decode(&d)
		var out []simChange
		for _, op := range m.Ops {
			switch r := op.Request.(type) {
			case wire.CreateRequest:
				out = append(out, simChange{zk.Created, r.Path})
			case wire.SetDataRequest:
				out = append(out, simChange{zk.Changed, r.Path})
			case wire.PathVersionRequest:
				if op.Op == wire.OpDelete {
					out = append(out, simChange{zk.Deleted, r.Path})
				}
			}
		}
		return out
	}
	return nil
}

// simFailed reports whether a multi's reply, whose header has no error, brings one.
func simFailed(f *zktest.Frame) bool {
	if f.Op != wire.OpMulti {
		return false
	}
	d := wire.NewDecoder(f.Raw)
	var h wire.ReplyHeader
	h.Decode(&d)
	var m wire.MultiResponse
	m.Decode(&d)
	return slices.ContainsFunc(m.Results, func(r wire.MultiResult) bool { return r.Op == wire.OpError })
}

func simRestores(f *zktest.Frame) []simWatch {
	d := wire.NewDecoder(f.Raw)
	var h wire.RequestHeader
	h.Decode(&d)
	var r wire.SetWatches2Request
	if f.Op == wire.OpSetWatches2 {
		r.Decode(&d)
	} else {
		var q wire.SetWatchesRequest
		q.Decode(&d)
		r.Data, r.Exist, r.Child = q.Data, q.Exist, q.Child
	}
	var out []simWatch
	for i, list := range [][]string{r.Data, r.Exist, r.Child, r.Persistent, r.Recursive} {
		for _, p := range list {
			out = append(out, simWatch{Kind: zk.WatchKind(i + 1), Path: p})
		}
	}
	return out
}

// keepLog writes down a run for the reader.
func (s *simulation) keepLog(found []simFinding) string {
	name := filepath.Join(*simKeep, fmt.Sprintf("zk-sim-%d.log", s.seed))
	f, err := os.Create(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	defer w.Flush()
	fmt.Fprintln(w, s)
	for _, x := range found {
		fmt.Fprintln(w, x)
	}
	for i := range s.trace.Log {
		e := &s.trace.Log[i]
		mark := " "
		switch {
		case e.Kind == simTxn:
			mark = "T"
		case e.Kind == simAsk:
			mark = ">"
		case e.Received:
			mark = "+"
		}
		fmt.Fprintf(w, "%6d %s %s", i, mark, e.frame)
		if e.Kind == simTxn {
			fmt.Fprintf(w, " => zxid %#x %v", e.Zxid, e.Changes)
		}
		for _, a := range e.Arms {
			fmt.Fprintf(w, " arms %v of channel %d", a.Kind, a.Chan)
		}
		if e.Sets {
			fmt.Fprintf(w, " restores %v", e.Restores)
		}
		if e.Migrated {
			fmt.Fprint(w, " MIGRATED")
		}
		for _, x := range found {
			if x.Pos == i {
				fmt.Fprintf(w, "\n!!!!!! %v", x)
			}
		}
		fmt.Fprintln(w)
	}
	for _, r := range s.trace.Removes {
		fmt.Fprintf(w, "removed: %+v\n", r)
	}
	for i := range s.out {
		for _, r := range s.out[i].Recv {
			fmt.Fprintf(w, "channel %d at %v, %d to %d: %v\n", i, r.At, r.Before, r.After, r)
		}
	}
	return name
}
