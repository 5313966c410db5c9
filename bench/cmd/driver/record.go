package main

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
)

// record has the latencies of many callers. What is more than it has room for is lost.
type record struct {
	d []time.Duration
	n atomic.Int64
}

func newRecord(room int) *record {
	r := &record{d: make([]time.Duration, room)}
	for i := range r.d {
		r.d[i] = 1 // so that the pages are there
	}
	return r
}

func (r *record) add(d time.Duration) {
	if i := r.n.Add(1) - 1; i < int64(len(r.d)) {
		r.d[i] = d
	}
}

// spread returns the percentiles, and begins anew.
func (r *record) spread() spread {
	d := r.d[:min(r.n.Swap(0), int64(len(r.d)))]
	slices.Sort(d)
	return spread{quantile(d, 500), quantile(d, 990), quantile(d, 999)}
}

// spread is percentiles in microseconds.
type spread struct{ p50, p99, p999 float64 }

func (p spread) put(s *result.Sample) { s.P50, s.P99, s.P999 = p.p50, p.p99, p.p999 }

// quantile returns the smallest of sorted durations that is larger than so many
// thousandths of them, in microseconds.
func quantile(d []time.Duration, thousandths int) float64 {
	if len(d) == 0 {
		return 0
	}
	return float64(d[len(d)*thousandths/1000].Nanoseconds()) / 1e3
}

// shares is how many calls each of some callers has made.
type shares []int64

// least and most return what the callers with the fewest and the most calls made of
// the mean.
func (s shares) least() float64 { return float64(slices.Min(s)) / s.mean() }
func (s shares) most() float64  { return float64(slices.Max(s)) / s.mean() }

func (s shares) mean() float64 { return float64(s.sum()) / float64(len(s)) }

func (s shares) sum() (n int64) {
	for _, k := range s {
		n += k
	}
	return n
}

// timed lets callers call until stop, each at least once, and returns how often they did.
func timed(callers int, f func() error, stop *atomic.Bool, rec *record) (shares, error) {
	counts := make(shares, callers)
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			n := int64(0)
			for n == 0 || !stop.Load() {
				start := time.Now()
				if err := f(); err != nil {
					e := err // only then does it take memory
					failed.Store(&e)
					break
				}
				rec.add(time.Since(start))
				n++
			}
			counts[i] = n
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return counts, nil
}
