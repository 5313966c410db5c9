package rescue

import (
	"errors"
	"testing"

	"gotest.tools/v3/assert"
)

func run(f func() error) (err error) {
	defer As("It", &err)
	return f()
}

// The error has the value and the place of the panic, a nil pointer's too.
func TestAs(t *testing.T) {
	assert.Error(t, run(func() error { panic("oops") }), "It panicked at rescue_test.go:17: oops")
	var none *struct{ x [1 << 16]int }
	assert.ErrorContains(t, run(func() error { none.x[1<<15]++; return nil }), "It panicked at rescue_test.go:19: runtime error")
	assert.NilError(t, run(func() error { return nil }))
	assert.Error(t, run(func() error { return errors.New("no") }), "no")
}
