package suite

import (
	"errors"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
)

// CheckOutcome checks that an error is an OpError with one outcome, and matches
// the reason.
func CheckOutcome(t testing.TB, err error, want zk.Outcome, reason error) {
	t.Helper()
	var op *zk.OpError
	if !errors.As(err, &op) {
		t.Fatalf("not an OpError: %v", err)
	}
	if op.Outcome() != want || errors.Is(err, zk.ErrNotSent) != (want == zk.NotSent) || errors.Is(err, zk.ErrLost) != (want == zk.Lost) {
		t.Errorf("%v: the outcome is %v, want %v", err, op.Outcome(), want)
	}
	if !errors.Is(err, reason) {
		t.Errorf("%v: does not match %v", err, reason)
	}
}

// WantCode checks the error of a call that the server answered with a code.
func WantCode(t testing.TB, err error, code zk.Code, path string) {
	t.Helper()
	var op *zk.OpError
	assert.Assert(t, errors.As(err, &op), "%T %v, want an *OpError", err, err)
	assert.Equal(t, op.Err, error(code), "%v", err)
	assert.Equal(t, op.Path, path, "%v", err)
	assert.Equal(t, op.Outcome(), zk.Answered, "%v", err)
	assert.Assert(t, op.Op != "")
	assert.ErrorIs(t, err, code)
	for _, no := range []error{zk.ErrNotSent, zk.ErrLost, zk.ErrConnection, zk.ErrMoved, zk.ErrClosed} {
		assert.Assert(t, !errors.Is(err, no), "%v is also %v", err, no)
	}
}

// WantUnsent checks the error of a call that did not begin.
func WantUnsent(t testing.TB, err, reason error) {
	t.Helper()
	var op *zk.OpError
	assert.Assert(t, errors.As(err, &op), "%T %v, want an *OpError", err, err)
	assert.Equal(t, op.Outcome(), zk.NotSent, "%v", err)
	assert.ErrorIs(t, err, zk.ErrNotSent)
	assert.Assert(t, !errors.Is(err, zk.ErrLost), "%v", err)
	assert.ErrorIs(t, err, reason)
}

// WantLost checks the error of a call whose answer did not come.
func WantLost(t testing.TB, err, reason error) {
	t.Helper()
	var op *zk.OpError
	assert.Assert(t, errors.As(err, &op), "%T %v, want an *OpError", err, err)
	assert.Equal(t, op.Outcome(), zk.Lost, "%v", err)
	assert.ErrorIs(t, err, zk.ErrLost)
	assert.Assert(t, !errors.Is(err, zk.ErrNotSent), "%v", err)
	assert.ErrorIs(t, err, reason)
}
