package apache

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	sigTerminate = syscall.SIGTERM
	sigStop      = syscall.SIGSTOP
	sigContinue  = syscall.SIGCONT
)

// dieWithParent has the kernel kill a server when the thread that forked it
// ends, at the latest with the calling process, however that ends.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// awaitStopped waits until SIGSTOP has taken effect: it is delivered after the
// call that sent it returns.
func awaitStopped(pid int) error {
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return err
		}
		// pid (command) state …
		if i := bytes.LastIndexByte(stat, ')'); i >= 0 && i+2 < len(stat) && stat[i+2] == 'T' {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("process %d does not stop", pid)
}
