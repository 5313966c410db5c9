//go:build !plan9

package zktest

import "syscall"

// What the other end of a connection sees.
const (
	errReset   = syscall.ECONNRESET
	errRefused = syscall.ECONNREFUSED
	errPipe    = syscall.EPIPE
)
