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
	// leadIn is how long calls are made before they are timed: the first ones of new
	// goroutines grow stacks, and fill pools that a collection has emptied.
	leadIn = 100 * time.Millisecond
)

// open is a load that does not wait for the client: calls become due at a share of the
// rate that as many callers reach at most (r.load), and a call's latency counts from when it was
// due, whether a caller was free or not. With r.burst so many watches fire at once
// half-way. What there is to the latencies without the client is told beside them: how
// late calls became due, for what makes them due waits for the same processor.
func open(r *run, w workload) (*result.Sample, error) {
	if r.client == "raw" {
		return openRaw(r, w)
	}
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
	rate := peak * r.load
	due := newArrivals(rate, leadIn, r.time)
	s, err := r.measure(func() (int64, time.Duration, error) { return due.run(n, f, burst) })
	if err != nil {
		return nil, err
	}
	due.put(s, peak)
	return s, nil
}

// openRaw is the limit at the same rate as this client has it, whose peak it measures:
// what is due at once is written at once, with frames that were encoded before, and there
// are no callers to wake.
func openRaw(r *run, w workload) (*result.Sample, error) {
	if r.burst > 0 {
		return nil, errNone
	}
	peak, err := peakOfOurs(r, w)
	if err != nil {
		return nil, err
	}
	raw, err := dialRaw(r.options)
	if err != nil {
		return nil, err
	}
	defer raw.nc.Close()
	due := newArrivals(peak*r.load, leadIn, r.time)
	f := encode(due.by(due.steps)/due.steps+1, w.op, rawRequest(w.op))
	s, err := r.measure(func() (int64, time.Duration, error) { return due.runRaw(raw, f) })
	if err != nil {
		return nil, err
	}
	due.put(s, peak)
	return s, nil
}

func peakOfOurs(r *run, w workload) (float64, error) {
	c, err := dialOurs(r.options)
	if err != nil {
		return 0, err
	}
	defer c.close()
	return peakOf(r, r.width(w), w.call(r, c))
}

// peakOf measures the rate of a closed loop that takes its calls as the open one does.
func peakOf(r *run, n int, f func() error) (float64, error) {
	rec := newRecord(1 << 16)
	s, err := r.both(func(stop *atomic.Bool) (int64, error) {
		began := time.Now()
		due := make(chan time.Duration, n)
		go func() {
			defer close(due)
			for i := 0; i < n || !stop.Load(); i++ {
				due <- time.Since(began)
			}
		}()
		return work(n, f, began, due, 0, rec)
	})
	if err != nil {
		return 0, err
	}
	return s.Rate, nil
}

// work lets callers call as calls become due, in so much time since it began, and returns
// how often they did. Those that are due before lead is over are not timed.
func work(n int, f func() error, began time.Time, due <-chan time.Duration, lead time.Duration, rec *record) (int64, error) {
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
				if now := time.Since(began); at >= lead {
					rec.add(now - at)
				}
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
	lead  time.Duration // calls due in it are not timed
	steps int           // in all
	// due has room for all of them, and no pointers: the garbage collector would look
	// through it again and again.
	due  chan time.Duration
	rec  *record
	late *record // of the steps: how long after its time each was taken
}

func newArrivals(rate float64, lead, d time.Duration) *arrivals {
	a := &arrivals{rate: rate, lead: lead, steps: int(lead/step) + max(2, int(d/step))}
	all := a.by(a.steps)
	a.due, a.rec, a.late = make(chan time.Duration, max(1, all)), newRecord(all), newRecord(a.steps)
	return a
}

// by returns how many calls are due once so many steps are over.
func (a *arrivals) by(steps int) int { return int(a.rate * (time.Duration(steps) * step).Seconds()) }

// put adds the latencies to a sample.
func (a *arrivals) put(s *result.Sample, peak float64) {
	a.rec.spread().put(s)
	late := a.late.spread()
	s.Extra = map[string]float64{"peak": peak, "load": s.Rate / peak, "busy": s.CPU * s.Rate / 1e6, "late_p50_us": late.p50, "late_p99_us": late.p99}
}

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
		err := a.steadily(ticker, began, func(at int, when time.Duration, calls int) error {
			for range calls {
				a.due <- when
			}
			if at == a.steps/2 {
				go func() { failed <- burst() }()
			}
			return nil
		})
		if err != nil {
			failed <- err
		}
	}()
	done, err := work(n, f, began, a.due, a.lead, a.rec)
	took := time.Since(began)
	if err == nil {
		err = <-failed
	}
	return done, took, a.check(done, err)
}

// steadily calls f for each step in its time, with how many calls are due then.
func (a *arrivals) steadily(ticker *host.Ticker, began time.Time, f func(at int, when time.Duration, calls int) error) error {
	for at := 0; at < a.steps; {
		over, err := ticker.Next()
		if err != nil {
			return err
		}
		for range min(over, a.steps-at) {
			at++
			when := time.Duration(at) * step
			if when >= a.lead {
				a.late.add(time.Since(began) - when)
			}
			if err := f(at, when, a.by(at)-a.by(at-1)); err != nil {
				return err
			}
		}
	}
	return nil
}

// check returns an error if not all calls were made.
func (a *arrivals) check(done int64, err error) error {
	if want := a.by(a.steps); err == nil && done != int64(want) {
		err = fmt.Errorf("%d of %d calls were made", done, want)
	}
	return err
}

// runRaw writes in their time the requests that are due, and reads until all are answered.
func (a *arrivals) runRaw(raw *raw, f frames) (int64, time.Duration, error) {
	ticker, began, err := host.NewTicker(step)
	if err != nil {
		return 0, 0, err
	}
	defer ticker.Close()
	size := len(f.b) / (2 * f.n)
	failed := make(chan error, 1)
	go func() {
		err := a.steadily(ticker, began, func(_ int, _ time.Duration, calls int) error {
			if calls == 0 {
				return nil
			}
			_, err := raw.nc.Write(f.b[:calls*size])
			return err
		})
		if err != nil {
			raw.nc.Close() // ends the reading
		}
		failed <- err
	}()
	done, at := 0, 0
	for err = nil; done < a.by(a.steps) && err == nil; {
		var got int
		got, err = raw.replies()
		now := time.Since(began)
		for range got {
			for done++; a.by(at) < done; { // in the order in which they were due
				at++
			}
			if when := time.Duration(at) * step; when >= a.lead {
				a.rec.add(now - when)
			}
		}
	}
	took := time.Since(began)
	if err != nil {
		raw.nc.Close() // ends the writing
	}
	if wrote := <-failed; wrote != nil {
		err = wrote
	}
	return int64(done), took, a.check(int64(done), err)
}
