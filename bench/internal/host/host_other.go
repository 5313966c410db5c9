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
