//go:build !linux

package host

import (
	"fmt"
	"os/exec"
	"runtime"
	"time"
)

func cpu() time.Duration           { return 0 }
func calls() (reads, writes int64) { return 0, 0 }

// CPUOf is not known here.
func CPUOf(pid int) time.Duration { return 0 }

// Resident is not known here.
func Resident() int64 { return 0 }

// CanPin reports that processes run where the system likes.
func CanPin() bool { return false }

// Start starts a command.
func Start(cmd *exec.Cmd, on int) error { return cmd.Start() }

// Keep does nothing here.
func Keep(pid, on int) error { return nil }

// Describe names the machine.
func Describe() string {
	return fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}

// Ticker wakes a goroutine in equal steps, as exactly as the runtime does.
type Ticker struct {
	timer *time.Ticker
	began time.Time
	step  time.Duration
	past  int
}

// NewTicker returns a Ticker that begins at the moment that it returns.
func NewTicker(step time.Duration) (*Ticker, time.Time, error) {
	now := time.Now()
	return &Ticker{timer: time.NewTicker(step), began: now, step: step}, now, nil
}

// Next waits for the next step and returns how many are over since the call before.
func (t *Ticker) Next() (int, error) {
	<-t.timer.C
	n := max(1, int(time.Since(t.began)/t.step)-t.past)
	t.past += n
	return n, nil
}

// Close ends it.
func (t *Ticker) Close() { t.timer.Stop() }
