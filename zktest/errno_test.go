//go:build !plan9

package zktest

import "syscall"

const errInUse = syscall.EADDRINUSE
