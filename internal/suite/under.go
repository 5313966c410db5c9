package suite

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
)

// Under is a call under way in a goroutine of its own.
type Under struct {
	t    testing.TB
	done chan struct{}
	Err  error
}

// Start starts a call.
func Start(t testing.TB, f func() error) *Under {
	u := &Under{t: t, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.Err = f()
	}()
	return u
}

// Returned reports whether the call is back.
func (u *Under) Returned() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// Wait returns the call's error.
func (u *Under) Wait() error {
	u.t.Helper()
	select {
	case <-u.done:
		return u.Err
	case <-time.After(24 * time.Hour): // in a bubble; elsewhere the test's own limit comes first
		u.t.Fatal("a call does not return")
		return nil
	}
}

// OK checks that the call was done.
func (u *Under) OK() {
	u.t.Helper()
	assert.NilError(u.t, u.Wait())
}

// Lost checks how a call ended that was sent, and not answered.
func (u *Under) Lost(reason error) {
	u.t.Helper()
	CheckOutcome(u.t, u.Wait(), zk.Lost, reason)
}

// Unsent is Lost for a call of which nothing was sent.
func (u *Under) Unsent(reason error) {
	u.t.Helper()
	CheckOutcome(u.t, u.Wait(), zk.NotSent, reason)
}

// Refused checks that the server's answer was an error.
func (u *Under) Refused(code zk.Code) {
	u.t.Helper()
	CheckOutcome(u.t, u.Wait(), zk.Answered, code)
}
