package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/responder"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/wire"
)

// redials lets the server hang up, again and again, on a session with watches. What is
// timed is from the request to which that is the answer until the next Get has been
// answered, on another connection. At the end all watches must fire.
func redials(r *run, w workload) (*result.Sample, error) {
	n := r.count(20000)
	r.absent = true
	paths := watchPaths(n, true)
	if r.client == "raw" {
		return r.redials(rawRedial(r, paths))
	}
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer func() { c.close() }()
	if c.watches == nil || c.redial == nil {
		return nil, errNone
	}
	all := c.watches(n)
	if n > 0 {
		if err := each(n, r.width(w), func(i int) error { return all.arm(i, paths[i]) }); err != nil {
			return nil, err
		}
	}
	s, err := r.redials(c.redial)
	if err != nil {
		return nil, err
	}
	if r.client == "ours" { // go-zookeeper restores them later, and does not say when
		watchdog := lost(20 * time.Second)
		defer watchdog.Stop()
		failed := make(chan error, 1)
		go func() { failed <- c.set(responder.Burst, nil) }()
		all.wait()
		err = <-failed
	}
	return s, err
}

func (r *run) redials(once func() (time.Duration, error)) (*result.Sample, error) {
	if _, err := once(); err != nil {
		return nil, err
	}
	var times []time.Duration
	s, err := r.measure(func() (int64, time.Duration, error) {
		var sum time.Duration
		for len(times) < 3 || sum < r.time && len(times) < 10000 {
			d, err := once()
			if err != nil {
				return 0, 0, err
			}
			times = append(times, d)
			sum += d
		}
		return int64(len(times)), sum, nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(times)
	s.Extra = map[string]float64{"redial_ms": float64(times[len(times)/2].Nanoseconds()) / 1e6}
	return s, nil
}

// firstAnswer times a redial: cut must fail, for the server hangs up; then get is
// called until it succeeds.
func firstAnswer(cut, get func() error) (time.Duration, error) {
	start := time.Now()
	if cut() == nil {
		return 0, errors.New("the server answered where it had to hang up")
	}
	for {
		err := get()
		took := time.Since(start)
		if err == nil {
			return took, nil
		}
		if took > 20*time.Second {
			return 0, fmt.Errorf("no answer for 20 s: %w", err)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func rawRedial(r *run, paths []string) func() (time.Duration, error) {
	b, open, _ := setWatches(paths)
	b = request(b, int32(open+1), wire.OpGetData, wire.PathWatchRequest{Path: node})
	cut := request(nil, 1, wire.OpGetData, wire.PathWatchRequest{Path: responder.Cut})
	conn, err := dialRaw(r.options)
	return func() (time.Duration, error) {
		if err != nil {
			return 0, err
		}
		return firstAnswer(
			func() error {
				defer conn.nc.Close()
				return conn.call(cut)
			},
			func() error {
				in := conn.in // the application has it already
				conn, err = dialRaw(r.options)
				if err != nil {
					return err
				}
				conn.in = in
				return conn.converse(b, open+1)
			})
	}
}
