//go:build !plan9 && !windows

package metrics

import "syscall"

// closedByPeer are the errors of a connection that the other end has closed hard.
var closedByPeer = []error{syscall.ECONNRESET, syscall.EPIPE}
