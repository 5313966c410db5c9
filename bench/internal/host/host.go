// Package host asks the operating system what a measurement needs: what a process
// has used, and to keep a process on one CPU. What a system cannot tell is zero.
package host

import (
	"runtime"
	"time"
)

// Usage is what a process has used so far.
type Usage struct {
	CPU           time.Duration // user and system
	Reads, Writes int64         // calls of read and write, those that found nothing included
	Mallocs       uint64
	Bytes         uint64 // allocated, in all
	At            time.Time
}

// Now returns what this process has used.
func Now() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := Usage{Mallocs: m.Mallocs, Bytes: m.TotalAlloc, CPU: cpu()}
	u.Reads, u.Writes = calls()
	u.At = time.Now()
	return u
}

// Since returns what was used between two moments.
func (u Usage) Since(before Usage) (d time.Duration, used Usage) {
	return u.At.Sub(before.At), Usage{
		CPU: u.CPU - before.CPU, Reads: u.Reads - before.Reads, Writes: u.Writes - before.Writes,
		Mallocs: u.Mallocs - before.Mallocs, Bytes: u.Bytes - before.Bytes,
	}
}
