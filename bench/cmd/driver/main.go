// Driver measures one client on one workload, once, in a process of its own, and
// prints what it found as one line of JSON.
//
// It needs a server: cmd/responder, or a real one after -workload setup, which makes
// the nodes that the others read. The clients are ours (this repository's), dropin
// (its package gozk), gozk (github.com/go-zookeeper/zk), samuel
// (github.com/samuel/go-zookeeper), mux (the least that a client of blocking calls can be)
// and raw (frames that were encoded before, on one goroutine: the limit).
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/host"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
)

func fatal(err error) { log.Fatal(err) }

// run is one measurement.
type run struct {
	options
	client   string
	workload string
	callers  int // of the workload, or as told
	size     int // of a batch
	bytes    int // of a value
	n        int // watches, sessions or names; below 0: as the workload says
	burst    int // watches that fire at once
	load     float64
	ops      int // of the measurement; 0: as many as there is time for
	warmup   time.Duration
	time     time.Duration
	profile  profiles
}

type profiles struct{ cpu, mutex, block, heap string }

func main() {
	log.SetFlags(0)
	log.SetPrefix("driver: ")
	r := run{}
	flag.StringVar(&r.client, "client", "ours", "ours, dropin, gozk, samuel, mux or raw")
	flag.StringVar(&r.workload, "workload", "get64", strings.Join(names(), ", ")+", or setup")
	flag.StringVar(&r.addr, "addr", "127.0.0.1:2181", "the server")
	flag.DurationVar(&r.timeout, "timeout", 10*time.Second, "session timeout")
	flag.DurationVar(&r.warmup, "warmup", 600*time.Millisecond, "time before the measurement")
	flag.DurationVar(&r.time, "time", 1200*time.Millisecond, "time of the measurement, at least")
	flag.IntVar(&r.callers, "callers", 0, "goroutines that call, or batches in flight; 0: as the workload's name says")
	flag.IntVar(&r.size, "batch", 512, "operations of a batch")
	flag.IntVar(&r.bytes, "bytes", 1<<10, "size of a value of getvalue and setvalue, and of the large ones of mixed")
	flag.IntVar(&r.burst, "burst", 0, "watches that fire at once, half-way through open512")
	flag.Float64Var(&r.load, "load", 0.5, "share of the peak rate at which the calls of open512 become due")
	flag.IntVar(&r.n, "n", -1, "watches, sessions or names of children; below 0: 20000 watches, 10000 sessions (1 of manyget and manyset), 1000 names")
	flag.IntVar(&r.ops, "ops", 0, "calls to measure instead of a time, for what counts instructions; 0: as many as there is time for")
	flag.BoolVar(&r.tls, "tls", false, "lay TLS over the connection, and verify nothing: for the responder's -tls")
	flag.IntVar(&r.channel, "channel", 1024, "capacity of the event channel")
	flag.BoolVar(&r.single, "single", false, "a channel per watch, where the client leaves the choice")
	flag.BoolVar(&r.cancel, "cancel", false, "set with a context that can be cancelled, where the client is ours")
	flag.BoolVar(&r.absent, "absent", false, "watch for the creation of missing nodes, by exists")
	pid := flag.Int("server-pid", 0, "`process` of the server, to tell its CPU time too")
	flag.StringVar(&r.profile.cpu, "cpuprofile", "", "`file` for a CPU profile of the measurement")
	flag.StringVar(&r.profile.mutex, "mutexprofile", "", "`file` for a profile of contended mutexes")
	flag.StringVar(&r.profile.block, "blockprofile", "", "`file` for a profile of waits")
	flag.StringVar(&r.profile.heap, "memprofile", "", "`file` for a profile of allocations, all of them")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	r.profile.begin()
	w, ok := workloads[r.workload]
	if !ok {
		fatal(fmt.Errorf("no workload %q", r.workload))
	}
	server = *pid
	res, err := w.run(&r, w)
	if err != nil {
		if errors.Is(err, errNone) {
			err = fmt.Errorf("%s has no %s", r.client, r.workload)
		}
		fatal(err)
	}
	r.profile.end()
	if res == nil {
		return
	}
	res.Client, res.Workload, res.Procs = r.client, r.workload, runtime.GOMAXPROCS(0)
	if err := json.NewEncoder(os.Stdout).Encode(res); err != nil {
		fatal(err)
	}
}

var server int

func names() []string {
	var all []string
	for name := range workloads {
		if name != "setup" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func (p profiles) begin() {
	if p.mutex != "" {
		runtime.SetMutexProfileFraction(1)
	}
	if p.block != "" {
		runtime.SetBlockProfileRate(1)
	}
	if p.heap != "" {
		runtime.MemProfileRate = 1
	}
}

func (p profiles) end() {
	for name, file := range map[string]string{"mutex": p.mutex, "block": p.block, "allocs": p.heap} {
		if file == "" {
			continue
		}
		f, err := os.Create(file)
		if err == nil {
			err = errors.Join(pprof.Lookup(name).WriteTo(f, 0), f.Close())
		}
		if err != nil {
			fatal(err)
		}
	}
}

// measure counts what f uses; ops and its duration are f's to tell, for it may
// leave out what is not to be measured.
func (r *run) measure(f func() (ops int64, d time.Duration, err error)) (*result.Sample, error) {
	runtime.GC()
	if r.profile.cpu != "" {
		file, err := os.Create(r.profile.cpu)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return nil, err
		}
		defer pprof.StopCPUProfile()
	}
	theirs := host.CPUOf(server)
	before := host.Now()
	ops, d, err := f()
	total, used := host.Now().Since(before)
	theirs = host.CPUOf(server) - theirs
	if err != nil {
		return nil, err
	}
	if d == 0 {
		d = total
	}
	s := &result.Sample{Ops: ops, Seconds: d.Seconds(), Rate: float64(ops) / d.Seconds()}
	s.CPU = used.CPU.Seconds() * 1e6 / float64(ops)
	s.ServerCPU = theirs.Seconds() * 1e6 / float64(ops)
	s.Allocs = float64(used.Mallocs) / float64(ops)
	s.Bytes = float64(used.Bytes) / float64(ops)
	s.Reads = float64(used.Reads) / float64(ops)
	s.Writes = float64(used.Writes) / float64(ops)
	return s, nil
}
