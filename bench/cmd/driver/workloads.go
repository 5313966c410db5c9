package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/bench/internal/host"
	"github.com/seed-9f8420c6/zk/bench/internal/responder"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/wire"
)

// The nodes that are read and written. On the responder every path exists; setup
// makes these on a real server.
const (
	node      = "/bench/node"
	parent    = "/bench/children"
	childName = "child-%07d"
	numNames  = 1000
	dataSize  = 100
)

// workload is a thing to do. op and its kin say what a call is; callers how many there are.
type workload struct {
	run     func(*run, workload) (*result.Sample, error)
	callers int
	op      wire.Op
	call    func(*run, *client) func() error // nil where the client cannot
}

var errNone = errors.New("no such thing")

var workloads map[string]workload

func init() {
	get := func(r *run, c *client) func() error {
		return func() error { return c.get(node) }
	}
	getCancel := func(r *run, c *client) func() error {
		if c.getCancel == nil {
			return nil
		}
		return func() error { return c.getCancel(node) }
	}
	value := make([]byte, dataSize)
	set := func(r *run, c *client) func() error {
		return func() error { return c.set(node, value) }
	}
	children := func(r *run, c *client) func() error {
		if c.children == nil {
			return nil
		}
		return func() error {
			n, err := c.children(parent)
			if err == nil && n != r.count(numNames) {
				err = fmt.Errorf("%d children", n)
			}
			return err
		}
	}
	workloads = map[string]workload{
		"get1":       {calls, 1, wire.OpGetData, get},
		"get64":      {calls, 64, wire.OpGetData, get},
		"get512":     {calls, 512, wire.OpGetData, get},
		"get1ctx":    {calls, 1, wire.OpGetData, getCancel},
		"get64ctx":   {calls, 64, wire.OpGetData, getCancel},
		"get512ctx":  {calls, 512, wire.OpGetData, getCancel},
		"get64armed": {callsArmed, 64, wire.OpGetData, get},
		"get512ev":   {callsAndEvents, 512, wire.OpGetData, get},
		"set1":       {calls, 1, wire.OpSetData, set},
		"set64":      {calls, 64, wire.OpSetData, set},
		"set512":     {calls, 512, wire.OpSetData, set},
		"children":   {calls, 1, wire.OpGetChildren2, children},
		"getvalue":   {values, 1, wire.OpGetData, nil},
		"setvalue":   {values, 1, wire.OpSetData, nil},
		"open512":    {open, 512, wire.OpGetData, get},
		"fair512":    {fair, 512, wire.OpGetData, get},
		"mixed":      {mixed, 64, wire.OpSetData, set},
		"manyget":    {many, 16, wire.OpGetData, get},
		"manyset":    {many, 16, wire.OpSetData, set},
		"batch512":   {batches, 1, wire.OpGetData, nil},
		"batch512x2": {batches, 2, wire.OpGetData, nil},
		"events":     {events, 64, 0, nil},
		"arm":        {arm, 64, 0, nil},
		"restore":    {restore, 64, 0, nil},
		"redial":     {redials, 64, 0, nil},
		"sessions":   {sessions, 32, 0, nil},
		"setup":      {setup, 64, 0, nil},
	}
}

func (r *run) dial() (*client, error) {
	f, ok := dialers[r.client]
	if !ok {
		return nil, fmt.Errorf("no client %q", r.client)
	}
	return f(r.options)
}

func (r *run) width(w workload) int {
	if r.callers > 0 {
		return r.callers
	}
	return w.callers
}

// repeat lets callers call until stop, each at least once, and returns how often they did.
func repeat(callers int, f func() error, stop *atomic.Bool) (int64, error) {
	var total atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			n := int64(0)
			for n == 0 || !stop.Load() {
				if err := f(); err != nil {
					e := err // only then does it take memory
					failed.Store(&e)
					break
				}
				n++
			}
			total.Add(n)
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return total.Load(), nil
}

// during calls f with a flag that is set after a while.
func during(d time.Duration, f func(stop *atomic.Bool) (int64, error)) (int64, error) {
	var stop atomic.Bool
	t := time.AfterFunc(d, func() { stop.Store(true) })
	defer t.Stop()
	return f(&stop)
}

// both warms up and measures.
func (r *run) both(f func(stop *atomic.Bool) (int64, error)) (*result.Sample, error) {
	if _, err := during(r.warmup, f); err != nil {
		return nil, err
	}
	return r.measure(func() (int64, time.Duration, error) {
		n, err := during(r.time, f)
		return n, 0, err
	})
}

// exactly measures r.ops calls.
func (r *run) exactly(callers int, f func() error) (*result.Sample, error) {
	return r.measure(func() (int64, time.Duration, error) {
		return int64(r.ops), 0, each(r.ops, callers, func(int) error { return f() })
	})
}

// calls is a number of goroutines that call, or as many requests of the raw limit.
func calls(r *run, w workload) (*result.Sample, error) {
	n := r.width(w)
	if r.client == "raw" {
		return rawCalls(r, w.op, n)
	}
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	f := w.call(r, c)
	if f == nil {
		return nil, errNone
	}
	if r.ops > 0 {
		return r.exactly(n, f)
	}
	if n > 1 {
		return r.both(func(stop *atomic.Bool) (int64, error) { return repeat(n, f, stop) })
	}
	return r.alone(f)
}

// latencies are those of one caller; the oldest are forgotten.
type latencies struct {
	d []time.Duration
	n int
}

func newLatencies() *latencies {
	l := &latencies{d: make([]time.Duration, 1<<17)}
	for i := range l.d {
		l.d[i] = 1 // so that the pages are there
	}
	return l
}

func (l *latencies) reset() { l.n = 0 }

func (l *latencies) add(d time.Duration) {
	l.d[l.n%len(l.d)] = d
	l.n++
}

// time calls f.
func (l *latencies) time(f func() error) error {
	start := time.Now()
	if err := f(); err != nil {
		return err
	}
	l.add(time.Since(start))
	return nil
}

func (l *latencies) put(s *result.Sample) {
	if d := l.d[:min(l.n, len(l.d))]; s != nil && len(d) > 0 {
		slices.Sort(d)
		s.P50, s.P99 = quantile(d, 500), quantile(d, 990)
	}
}

func rawCalls(r *run, op wire.Op, n int) (*result.Sample, error) {
	raw, err := dialRaw(r.options)
	if err != nil {
		return nil, err
	}
	defer raw.nc.Close()
	f := encode(n, op, rawRequest(op))
	if n > 1 {
		return r.both(func(stop *atomic.Bool) (int64, error) { return raw.run(f, n, stop) })
	}
	one := f.b[:len(f.b)/2]
	return r.alone(func() error { return raw.call(one) })
}

func rawRequest(op wire.Op) wire.Record {
	switch op {
	case wire.OpGetChildren2:
		return wire.PathWatchRequest{Path: parent}
	case wire.OpSetData:
		return wire.SetDataRequest{Path: node, Data: make([]byte, dataSize), Version: -1}
	}
	return wire.PathWatchRequest{Path: node}
}

// callsAndEvents is calls while the server sends events, which somebody receives.
func callsAndEvents(r *run, w workload) (*result.Sample, error) {
	if r.client == "raw" {
		return rawCalls(r, w.op, r.width(w))
	}
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.follow == nil {
		return calls(r, w)
	}
	if err := c.follow(responder.EventPath); err != nil {
		return nil, err
	}
	f := w.call(r, c)
	n := r.width(w)
	var before int64
	s, err := r.both(func(stop *atomic.Bool) (int64, error) {
		before = c.followed()
		return repeat(n, f, stop)
	})
	if err == nil {
		s.Extra = map[string]float64{"events": float64(c.followed() - before)}
	}
	return s, err
}

// callsArmed is calls while a hundred watches are armed, of which none fires.
func callsArmed(r *run, w workload) (*result.Sample, error) {
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.watches == nil {
		return nil, errNone
	}
	const n = 100
	all := c.watches(n)
	for i, path := range watchPaths(n, r.absent) {
		if err := all.arm(i, path); err != nil {
			return nil, err
		}
	}
	f := w.call(r, c)
	return r.both(func(stop *atomic.Bool) (int64, error) { return repeat(r.width(w), f, stop) })
}

// batches is a number of goroutines that each have one batch under way.
func batches(r *run, w workload) (*result.Sample, error) {
	n := r.width(w)
	if r.client == "raw" {
		return rawCalls(r, w.op, r.size)
	}
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.batch == nil {
		return nil, errNone
	}
	paths := make([]string, r.size)
	for i := range paths {
		paths[i] = node
	}
	f := c.batch(paths)
	if r.ops > 0 { // of which each is a batch
		return r.exactly(n, f)
	}
	return r.both(func(stop *atomic.Bool) (int64, error) {
		k, err := repeat(n, f, stop)
		return k * int64(r.size), err
	})
}

// watchPaths are of the length that the figures of this module were made with.
func watchPaths(n int, absent bool) []string {
	dir := "/bench/watches"
	if absent {
		dir = responder.Absent + "/watches"
	}
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprintf("%s/node-%0*d", dir, 24-len(dir), i)
	}
	return paths
}

// each calls f for 0 to n-1 from a number of goroutines.
func each(n, callers int, f func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range min(callers, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					e := err
					failed.Store(&e)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *run) count(fallback int) int {
	if r.n >= 0 {
		return r.n
	}
	return fallback
}

// lost ends the process if events do not come.
func lost(d time.Duration) *time.Timer {
	return time.AfterFunc(d, func() { fatal(fmt.Errorf("events were lost: not all had come after %v", d)) })
}

// events is a burst: so many watches fire at once. Arming them is not measured; it
// is repeated until the bursts have taken as long as asked, at least three times.
func events(r *run, w workload) (*result.Sample, error) {
	n := r.count(20000)
	paths := watchPaths(n, false)
	var arm func() error
	var burst func() error
	if r.client == "raw" {
		raw, err := dialRaw(r.options)
		if err != nil {
			return nil, err
		}
		defer raw.nc.Close()
		var gets []byte
		for i, p := range paths {
			gets = request(gets, int32(i+1), wire.OpGetData, wire.PathWatchRequest{Path: p, Watch: true})
		}
		set := request(nil, 1, wire.OpSetData, wire.SetDataRequest{Path: responder.Burst, Version: -1})
		arm = func() error { return raw.send(gets) }
		burst = func() error {
			raw.events = 0
			if _, err := raw.nc.Write(set); err != nil {
				return err
			}
			for got := 0; got == 0 || raw.events < n; {
				k, err := raw.replies()
				if err != nil {
					return err
				}
				got += k
			}
			return nil
		}
	} else {
		c, err := r.dial()
		if err != nil {
			return nil, err
		}
		defer c.close()
		if c.watches == nil {
			return nil, errNone
		}
		var all watches
		arm = func() error {
			all = c.watches(n)
			return each(n, r.width(w), func(i int) error { return all.arm(i, paths[i]) })
		}
		burst = func() error {
			failed := make(chan error, 1)
			go func() { failed <- c.set(responder.Burst, nil) }()
			all.wait()
			return <-failed
		}
	}
	var total *result.Sample
	for i := 0; ; i++ {
		if err := arm(); err != nil {
			return nil, err
		}
		watchdog := lost(20 * time.Second)
		profile := r.profile.cpu
		if i != 1 {
			r.profile.cpu = ""
		}
		s, err := r.measure(func() (int64, time.Duration, error) { return int64(n), 0, burst() })
		r.profile.cpu = profile
		watchdog.Stop()
		if err != nil {
			return nil, err
		}
		switch {
		case i == 0: // warm-up
		case total == nil:
			total = s
		default:
			total = add(total, s)
		}
		if i >= 3 && total.Seconds >= r.time.Seconds()/4 {
			break
		}
	}
	total.Extra = map[string]float64{"burst_ms": float64(n) / total.Rate * 1e3}
	return total, nil
}

// add joins two samples of equal kind.
func add(a, b *result.Sample) *result.Sample {
	n := float64(a.Ops + b.Ops)
	mean := func(x, y float64) float64 { return (x*float64(a.Ops) + y*float64(b.Ops)) / n }
	return &result.Sample{
		Ops: a.Ops + b.Ops, Seconds: a.Seconds + b.Seconds, Rate: n / (a.Seconds + b.Seconds),
		CPU: mean(a.CPU, b.CPU), ServerCPU: mean(a.ServerCPU, b.ServerCPU),
		Allocs: mean(a.Allocs, b.Allocs), Bytes: mean(a.Bytes, b.Bytes),
		Reads: mean(a.Reads, b.Reads), Writes: mean(a.Writes, b.Writes),
	}
}

// heap returns what is in use once garbage is gone.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// arm is the registering of watches and the memory that they take, without the
// paths and, where the client leaves that choice, the channel.
func arm(r *run, w workload) (*result.Sample, error) {
	n := r.count(20000)
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.watches == nil {
		return nil, errNone
	}
	paths := watchPaths(n, r.absent)
	// What pools and buffers take under load is not the watches'.
	if _, err := during(r.warmup, func(stop *atomic.Bool) (int64, error) {
		return repeat(r.width(w), func() error { return c.get(node) }, stop)
	}); err != nil {
		return nil, err
	}
	all := c.watches(n)
	before := heap()
	s, err := r.measure(func() (int64, time.Duration, error) {
		return int64(n), 0, each(n, r.width(w), func(i int) error { return all.arm(i, paths[i]) })
	})
	if err != nil {
		return nil, err
	}
	s.Extra = map[string]float64{"bytes_per_watch": (heap() - before) / float64(n)}
	runtime.KeepAlive(all)
	runtime.KeepAlive(paths)
	return s, nil
}

// restore moves a session with watches to another connection, again and again. One
// operation is one watch.
func restore(r *run, w workload) (*result.Sample, error) {
	n := r.count(20000)
	r.absent = true
	paths := watchPaths(n, true)
	var least int64
	for _, p := range paths {
		least += 4 + int64(len(p))
	}
	if r.client == "raw" {
		return rawRestore(r, paths)
	}
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer func() { c.close() }()
	if c.watches == nil || c.restore == nil {
		return nil, errNone
	}
	all := c.watches(n)
	if err := each(n, r.width(w), func(i int) error { return all.arm(i, paths[i]) }); err != nil {
		return nil, err
	}
	return r.restores(n, least, c.restore)
}

func (r *run) restores(n int, least int64, once func() (time.Duration, int64, error)) (*result.Sample, error) {
	if _, _, err := once(); err != nil {
		return nil, err
	}
	var times []time.Duration
	var sent int64
	s, err := r.measure(func() (int64, time.Duration, error) {
		var sum time.Duration
		for len(times) < 3 || sum < r.time && len(times) < 1000 {
			d, b, err := once()
			if err != nil {
				return 0, 0, err
			}
			sent = b
			times = append(times, d)
			sum += d
		}
		return int64(len(times) * n), sum, nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(times)
	s.Extra = map[string]float64{
		"restore_ms": float64(times[len(times)/2].Microseconds()) / 1e3,
		"bytes":      float64(sent) / float64(least), // of the least that it can be
	}
	return s, nil
}

// setWatches encodes what restores watches for creation, in frames that a server takes.
// It returns how many frames, and the bytes of their paths.
func setWatches(paths []string) (b []byte, frames int, least int64) {
	for len(paths) > 0 {
		size, k := 0, 0
		for k < len(paths) && size+4+len(paths[k]) <= 127<<10 {
			size += 4 + len(paths[k])
			k++
		}
		frames++
		b = request(b, int32(frames), wire.OpSetWatches, wire.SetWatchesRequest{RelativeZxid: 1 << 62, Data: []string{}, Exist: paths[:k], Child: []string{}})
		paths, least = paths[k:], least+int64(size)
	}
	return b, frames, least
}

func rawRestore(r *run, paths []string) (*result.Sample, error) {
	b, open, least := setWatches(paths)
	n := r.count(20000)
	return r.restores(n, least, func() (time.Duration, int64, error) {
		start := time.Now()
		raw, err := dialRaw(r.options)
		if err != nil {
			return 0, 0, err
		}
		defer raw.nc.Close()
		err = raw.converse(b, open)
		return time.Since(start), int64(len(b)), err
	})
}

// sessions is many sessions at rest: what they take, and what it costs to keep them.
// One operation is one session for one second.
func sessions(r *run, w workload) (*result.Sample, error) {
	n := r.count(10000)
	var mu sync.Mutex
	closers := make([]func(), 0, n)
	var dial func() error
	switch r.client {
	case "ours", "dropin", "gozk", "samuel":
		dial = func() error {
			c, err := r.dial()
			if err != nil {
				return err
			}
			mu.Lock()
			closers = append(closers, c.close)
			mu.Unlock()
			return nil
		}
	default:
		return nil, errNone
	}
	if r.client == "ours" { // without what the driver itself keeps of a client
		dial = func() error {
			s, err := zk.Dial(context.Background(), zk.Config{Addrs: []string{r.addr}, Timeout: r.timeout})
			if err != nil {
				return err
			}
			mu.Lock()
			closers = append(closers, func() { s.Close() })
			mu.Unlock()
			return nil
		}
	}
	if err := dial(); err != nil { // what a package needs once
		return nil, err
	}
	heap0, routines, rss := heap(), runtime.NumGoroutine(), host.Resident()
	stack0 := stack()
	start := time.Now()
	if err := each(n, r.width(w), func(int) error { return dial() }); err != nil {
		return nil, err
	}
	took := time.Since(start)
	time.Sleep(r.warmup)
	extra := map[string]float64{
		"heap":       (heap() - heap0) / float64(n),
		"stack":      (stack() - stack0) / float64(n),
		"goroutines": float64(runtime.NumGoroutine()-routines) / float64(n),
		"rss":        float64(host.Resident()-rss) / float64(n),
		"dial_ms":    took.Seconds() * 1e3,
	}
	before := host.Now()
	time.Sleep(r.time)
	d, used := host.Now().Since(before)
	extra["cores"] = used.CPU.Seconds() / d.Seconds()
	s := &result.Sample{Ops: max(1, int64(float64(n)*d.Seconds())), Seconds: d.Seconds()}
	s.Rate = float64(s.Ops) / s.Seconds
	s.CPU = used.CPU.Seconds() * 1e6 / float64(s.Ops)
	s.Reads, s.Writes = float64(used.Reads)/float64(s.Ops), float64(used.Writes)/float64(s.Ops)
	s.Allocs, s.Bytes = float64(used.Mallocs)/float64(s.Ops), float64(used.Bytes)/float64(s.Ops)
	s.Extra = extra
	return s, nil // the end of the process closes them
}

func stack() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.StackInuse)
}

// setup makes the nodes on a real server.
func setup(r *run, w workload) (*result.Sample, error) {
	s, err := zk.Dial(context.Background(), zk.Config{Addrs: []string{r.addr}, Timeout: r.timeout})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	value := make([]byte, dataSize)
	for i := range value {
		value[i] = 'x'
	}
	create := func(path string, value []byte) error {
		_, err := s.Create(context.Background(), path, value, zk.Persistent, zk.ACLOpen)
		if errors.Is(err, zk.ErrExists) {
			return nil
		}
		return err
	}
	for _, path := range []string{"/bench", node, parent} {
		if err := create(path, value); err != nil {
			return nil, err
		}
	}
	for _, size := range valueSizes {
		if err := create(valuePath(size), make([]byte, size)); err != nil {
			return nil, err
		}
	}
	return nil, each(numNames, w.callers, func(i int) error { return create(fmt.Sprintf(parent+"/"+childName, i), value) })
}
