//go:build !unix

package apache

import (
	"errors"
	"os"
	"syscall"
)

// Without Unix signals a server can only be killed.
var (
	sigTerminate = os.Kill
	sigStop      = noSignal{}
	sigContinue  = noSignal{}
)

// noSignal makes os.Process.Signal fail: it is no signal of the system.
type noSignal struct{}

func (noSignal) Signal()        {}
func (noSignal) String() string { return "none" }

func dieWithParent() *syscall.SysProcAttr { return nil }

func awaitStopped(int) error { return errors.ErrUnsupported }
