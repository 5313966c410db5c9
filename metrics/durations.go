package metrics

import (
	"sync/atomic"
	"time"
)

// Bounds are the upper bounds of a histogram's buckets, in seconds; the last bucket has
// none.
var Bounds = [...]float64{.001, .005, .01, .05, .1, .5, 1, 5, 10}

// Durations is a histogram of times. The zero value is empty.
type Durations struct {
	buckets [len(Bounds) + 1]atomic.Int64
	sum     atomic.Int64 // ns
}

// Add counts a time.
func (d *Durations) Add(t time.Duration) {
	i := 0
	for s := t.Seconds(); i < len(Bounds) && s > Bounds[i]; {
		i++
	}
	d.sum.Add(int64(t))
	d.buckets[i].Add(1)
}

// Histogram is a reading of Durations.
type Histogram struct {
	Count int64 `json:"count"`
	// Sum is in seconds.
	Sum float64 `json:"sum"`
	// Buckets are how many times were in each bucket of Bounds, and above the last.
	Buckets [len(Bounds) + 1]int64 `json:"buckets"`
}

// Read returns what was counted so far.
func (d *Durations) Read() (h Histogram) {
	for i := range d.buckets {
		h.Buckets[i] = d.buckets[i].Load()
		h.Count += h.Buckets[i]
	}
	h.Sum = time.Duration(d.sum.Load()).Seconds()
	return h
}
