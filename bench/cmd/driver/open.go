package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/host"
	"github.com/seed-9f8420c6/zk/bench/internal/responder"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
)

const (
	// step is how far apart calls become due, as many at once as make up the rate.
	step = 100 * time.Microsecond
	// load is the share of the peak rate at which calls become due.
	load = 0.5
)

// open is a load that does not wait for the client: calls become due at half of the
// rate that as many callers reach at most, and a call's latency counts from when it was
// due, whether a caller was free or not. With r.burst so many watches fire at once
// half-way.
func open(r *run, w workload) (*result.Sample, error) {
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.watches == nil && r.burst > 0 {
		return nil, errNone
	}
	f, n := w.call(r, c), r.width(w)
	peak, err := peakOf(r, n, f)
	if err != nil {
		return nil, err
	}
	burst := func() error { return nil }
	if r.burst > 0 {
		all, paths := c.watches(r.burst), watchPaths(r.burst, false)
		if err := each(r.burst, n, func(i int) error { return all.arm(i, paths[i]) }); err != nil {
			return nil, err
		}
		burst = func() error {
			watchdog := lost(20 * time.Second)
			defer watchdog.Stop()
			failed := make(chan error, 1)
			go func() { failed <- c.set(responder.Burst, nil) }()
			all.wait()
			return <-failed
		}
	}
	rate := peak * load
	due := newArrivals(rate, r.time)
	s, err := r.measure(func() (int64, time.Duration, error) { return due.run(n, f, burst) })
	if err != nil {
		return nil, err
	}
	due.rec.spread().put(s)
	s.Extra = map[string]float64{"peak": peak, "load": s.Rate / peak}
	return s, nil
}

// peakOf measures the rate of a closed loop that takes its calls as the open one does.
func peakOf(r *run, n int, f func() error) (float64, error) {
	rec := newRecord(1 << 16)
	s, err := r.both(func(stop *atomic.Bool) (int64, error) {
		due := make(chan time.Time, n)
		go func() {
			defer close(due)
			for i := 0; i < n || !stop.Load(); i++ {
				due <- time.Now()
			}
		}()
		return work(n, f, due, rec)
	})
	if err != nil {
		return 0, err
	}
	return s.Rate, nil
}

// work lets callers call as calls become due, and returns how often they did.
func work(n int, f func() error, due <-chan time.Time, rec *record) (int64, error) {
	var total atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			k := int64(0)
			for at := range due {
				if failed.Load() != nil {
					continue // until nothing is due any more
				}
				if err := f(); err != nil {
					e := err // only then does it take memory
					failed.Store(&e)
					continue
				}
				rec.add(time.Since(at))
				k++
			}
			total.Add(k)
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return total.Load(), nil
}

// arrivals are calls that become due.
type arrivals struct {
	rate  float64
	steps int // in all
	due   chan time.Time
	rec   *record
}

func newArrivals(rate float64, d time.Duration) *arrivals {
	a := &arrivals{rate: rate, steps: max(2, int(d/step))}
	all := a.by(a.steps)
	a.due, a.rec = make(chan time.Time, max(1, all)), newRecord(all)
	return a
}

// by returns how many calls are due once so many steps are over.
func (a *arrivals) by(steps int) int { return int(a.rate * (time.Duration(steps) * step).Seconds()) }

// run makes all calls due in their time, and waits until all are answered.
func (a *arrivals) run(n int, f, burst func() error) (int64, time.Duration, error) {
	ticker, began, err := host.NewTicker(step)
	if err != nil {
		return 0, 0, err
	}
	defer ticker.Close()
	failed := make(chan error, 2)
	go func() {
		defer close(a.due)
		for at := 0; at < a.steps; {
			over, err := ticker.Next()
			if err != nil {
				failed <- err
				return
			}
			for range min(over, a.steps-at) {
				at++
				when := began.Add(time.Duration(at) * step)
				for range a.by(at) - a.by(at-1) {
					a.due <- when
				}
				if at == a.steps/2 {
					go func() { failed <- burst() }()
				}
			}
		}
	}()
	done, err := work(n, f, a.due, a.rec)
	took := time.Since(began)
	if err == nil {
		err = <-failed
	}
	if want := a.by(a.steps); err == nil && done != int64(want) {
		err = fmt.Errorf("%d of %d calls were made", done, want)
	}
	return done, took, err
}
