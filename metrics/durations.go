package metrics

import (
	"math"
	"sync/atomic"
	"time"
)

// Bounds are the upper bounds of a histogram's buckets, in seconds. One more bucket has
// no bound.
var Bounds = [...]float64{.001, .005, .01, .05, .1, .5, 1, 5, 10}

// FineSchema is the schema of a Histogram's Fine buckets, as of native histograms of
// Prometheus: eight buckets double the time, so each is 9 % wide.
const FineSchema = 3

// The first of the fine buckets ends with about 1 µs, and the last with 18 minutes: what is
// beyond counts there.
const (
	firstFine = -20 << FineSchema
	lastFine  = 10 << FineSchema
)

// fractions are the lower bounds of the eight buckets from 1/2 to 1.
var fractions = func() (list [1 << FineSchema]float64) {
	for i := range list {
		list[i] = math.Exp2(float64(i)/float64(len(list)) - 1)
	}
	return list
}()

// fine returns the number of the fine bucket of a time: the largest in it is
// 2^(number/8) seconds.
func fine(t time.Duration) int {
	if t <= 0 {
		return firstFine
	}
	frac, exp := math.Frexp(t.Seconds())
	i := 0
	for i < len(fractions) && fractions[i] < frac {
		i++
	}
	return min(max(firstFine, i+(exp-1)<<FineSchema), lastFine)
}

// place is a bucket of Bounds and a fine one, both from 0.
type place struct{ coarse, fine int }

const places = len(Bounds) + lastFine - firstFine + 1

// placeOf finds the places by their number, which is the sum of the two: along the times
// neither ever falls.
var placeOf = func() (list [places]place) {
	for p := (place{}); ; {
		list[p.coarse+p.fine] = p
		coarse, fine := math.Inf(1), math.Exp2(float64(firstFine+p.fine)/(1<<FineSchema))
		if p.coarse < len(Bounds) {
			coarse = Bounds[p.coarse]
		}
		if p.fine == lastFine-firstFine {
			return list
		}
		if coarse <= fine {
			p.coarse++
		}
		if fine <= coarse {
			p.fine++
		}
	}
}()

// Durations is a histogram of durations. The zero value is empty.
type Durations struct {
	places [places]atomic.Int64 // both kinds of buckets in one, so that they always agree
	sum    atomic.Int64         // ns
}

// Add counts a duration.
func (d *Durations) Add(t time.Duration) {
	i := 0
	for s := t.Seconds(); i < len(Bounds) && s > Bounds[i]; {
		i++
	}
	d.sum.Add(int64(t))
	d.places[i+fine(t)-firstFine].Add(1)
}

// Histogram is a reading of Durations.
type Histogram struct {
	Count int64 `json:"count"`
	// Sum is in seconds.
	Sum float64 `json:"sum"`
	// Buckets count the durations in each bucket of Bounds, and above the last
	// bound.
	Buckets [len(Bounds) + 1]int64 `json:"buckets"`
	// Fine are the same durations in finer buckets, without empty ones. The upper bound
	// of a bucket is 2^(key/8) seconds.
	Fine map[int]int64 `json:"-"`
}

// Read returns the present counts.
func (d *Durations) Read() Histogram {
	h := Histogram{Fine: make(map[int]int64)}
	for i := range d.places {
		if n := d.places[i].Load(); n > 0 {
			p := placeOf[i]
			h.Count += n
			h.Buckets[p.coarse] += n
			h.Fine[firstFine+p.fine] += n
		}
	}
	h.Sum = time.Duration(d.sum.Load()).Seconds()
	return h
}
