package main

import (
	"fmt"
	"sync/atomic"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
)

// room is for how many latencies there is memory.
const room = 1 << 22

// fair is many callers on one session, each of whose calls is timed, and what the
// callers with the fewest and the most calls made of the mean.
func fair(r *run, w workload) (*result.Sample, error) {
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	f, n := w.call(r, c), r.width(w)
	rec := newRecord(room)
	var counts shares
	s, err := r.both(func(stop *atomic.Bool) (int64, error) {
		rec.n.Store(0)
		var err error
		counts, err = timed(n, f, stop, rec)
		return counts.sum(), err
	})
	if err != nil {
		return nil, err
	}
	rec.spread().put(s)
	s.Extra = map[string]float64{"least": counts.least(), "most": counts.most()}
	return s, nil
}

// mixed is many callers that set small values beside one that sets large ones, on one
// session. The calls that are counted and timed are the small ones, and before that the
// same without the large ones.
func mixed(r *run, w workload) (*result.Sample, error) {
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	f, n := w.call(r, c), r.width(w)
	rec := newRecord(room)
	if _, err := r.both(func(stop *atomic.Bool) (int64, error) {
		rec.n.Store(0)
		counts, err := timed(n, f, stop, rec)
		return counts.sum(), err
	}); err != nil {
		return nil, err
	}
	alone := rec.spread()
	large, value, path := int64(0), make([]byte, r.bytes), valuePath(r.bytes)
	var counts shares
	s, err := r.both(func(stop *atomic.Bool) (int64, error) {
		rec.n.Store(0)
		failed := make(chan error, 1)
		go func() {
			var err error
			for large = 0; err == nil && (large == 0 || !stop.Load()); large++ {
				err = c.set(path, value)
			}
			failed <- err
		}()
		var err error
		counts, err = timed(n, f, stop, rec)
		if largeErr := <-failed; err == nil {
			err = largeErr
		}
		return counts.sum(), err
	})
	if err != nil {
		return nil, err
	}
	if large == 0 {
		return nil, fmt.Errorf("no value of %d bytes was answered", r.bytes)
	}
	rec.spread().put(s)
	s.Extra = map[string]float64{
		"least": counts.least(), "most": counts.most(), "alone_p50_us": alone.p50, "alone_p99_us": alone.p99,
		"large_per_s": float64(large) / s.Seconds,
	}
	return s, nil
}

// many is a number of sessions, each with as many callers as the workload says. It is
// the server that is measured.
func many(r *run, w workload) (*result.Sample, error) {
	n, callers := r.count(1), r.width(w)
	loops := make([]func(stop *atomic.Bool) (int64, error), n)
	for i := range loops {
		if r.client == "raw" {
			raw, err := dialRaw(r.options)
			if err != nil {
				return nil, err
			}
			defer raw.nc.Close()
			f := encode(callers, w.op, rawRequest(w.op))
			loops[i] = func(stop *atomic.Bool) (int64, error) { return raw.run(f, callers, stop) }
			continue
		}
		c, err := r.dial()
		if err != nil {
			return nil, err
		}
		defer c.close()
		f := w.call(r, c)
		loops[i] = func(stop *atomic.Bool) (int64, error) { return repeat(callers, f, stop) }
	}
	return r.both(func(stop *atomic.Bool) (int64, error) {
		var total atomic.Int64
		err := each(n, n, func(i int) error {
			k, err := loops[i](stop)
			total.Add(k)
			return err
		})
		return total.Load(), err
	})
}
