package zktest

import "errors"

// What the other end of a connection sees. Plan 9 has no numbers for it.
var (
	errReset   = errors.New("connection reset by peer")
	errRefused = errors.New("connection refused")
	errPipe    = errors.New("broken pipe")
)
