//go:build unix && !linux

package apache

import "syscall"

const (
	sigTerminate = syscall.SIGTERM
	sigStop      = syscall.SIGSTOP
	sigContinue  = syscall.SIGCONT
)

// Only Linux kills a child with its parent.
func dieWithParent() *syscall.SysProcAttr { return nil }

func awaitStopped(int) error { return nil }
