// Package rescue makes an error of a panic in code of the application's that runs on a
// goroutine of the client's.
package rescue

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// Panic is an error that was a panic.
type Panic string

func (p Panic) Error() string { return string(p) }

// As is deferred. It makes a panic an error that says what panicked, where, and with
// what; err stays as it is if there was none.
func As(what string, err *error) {
	if v := recover(); v != nil {
		*err = Panic(fmt.Sprintf("%s panicked%s: %v", what, place(), v))
	}
}

// place returns where the code is that panicked; it is called while the stack is still
// there.
func place() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	unwinding := false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			unwinding = true
		case unwinding && !strings.HasPrefix(f.Function, "runtime."):
			return fmt.Sprintf(" at %s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return ""
		}
	}
}
