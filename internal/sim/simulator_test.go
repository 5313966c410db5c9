package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/suite"
)

// The migration simulator: one session with watches of all kinds is cut at any
// byte and moved again and again, while others write, and everything that its
// channels got is judged by the servers' own history (check_test.go).
// A run is made from a seed. It is not bit for bit the same every time, for the
// scheduler takes part: about nineteen of twenty seeds end alike. Of a run that
// failed the log of the wire is kept.
//
//	go test ./internal/sim -run TestSimulator -v -sim.seeds=5000                 so many seeds
//	go test ./internal/sim -run TestSimulator -v -sim.long=1h -timeout=0         so long
//	go test ./internal/sim -run TestSimulator -v -sim.seed=17 -sim.seeds=50      from one on
//	go test ./internal/sim -run TestSimulator -v -sim.seeds=5000 -sim.procs=2    shared out among processes
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
