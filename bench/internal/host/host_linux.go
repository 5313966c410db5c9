package host

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func cpu() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func calls() (reads, writes int64) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			switch name {
			case "syscr":
				reads = n
			case "syscw":
				writes = n
			}
		}
	}
	return reads, writes
}

// CPUOf returns the CPU time of another process, in steps of a hundredth of a second.
func CPUOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	b = b[bytes.LastIndexByte(b, ')')+1:] // the name may hold anything
	f := strings.Fields(string(b))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	sys, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+sys) * (time.Second / 100)
}

// Resident returns the memory of this process that is in RAM.
func Resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(f[1], 10, 64)
	return n * int64(os.Getpagesize())
}

// CanPin reports whether Start can keep a process on CPU 0 or 1.
func CanPin() bool {
	var set unix.CPUSet
	return unix.SchedGetaffinity(0, &set) == nil && set.IsSet(0) && set.IsSet(1)
}

// Start starts a command on one CPU, which it sees as its only one; below 0: on all.
func Start(cmd *exec.Cmd, on int) error {
	if on < 0 {
		return cmd.Start()
	}
	// The child takes the affinity of the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(on)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &before)
	return cmd.Start()
}

// Keep keeps a process that runs, with all its threads, on one CPU; below 0: on
// those of this process.
func Keep(pid, on int) error {
	var set unix.CPUSet
	if on >= 0 {
		set.Set(on)
	} else if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH { // a thread may have ended
				return err
			}
		}
	}
	return nil
}

// Describe names the machine.
func Describe() string {
	var u unix.Utsname
	unix.Uname(&u)
	model := ""
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value) + ", "
			break
		}
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-") // the rest names a build
	return fmt.Sprintf("%s%d CPUs, Linux %s, %s", model, runtime.NumCPU(), release, runtime.Version())
}
