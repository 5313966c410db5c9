// Package flight shares one attempt among all who want its result. It ends when the
// last of them has left.
package flight

import (
	"context"
	"sync"
	"time"
)

// Group has one attempt under way at a time. The zero value is ready.
type Group[T any] struct {
	mu  sync.Mutex // guards all that its Flights say is under it
	now *Flight[T] // nil: none
}

// Flight is an attempt under way.
type Flight[T any] struct {
	group  *Group[T]
	done   chan struct{}
	cancel context.CancelFunc
	value  T
	err    error
	panics any // what the attempt panicked with

	// Under the group's lock.

	waiters   map[*waiter]struct{}
	committed bool // the result goes to whoever waits
}

type waiter struct {
	deadline time.Time // zero: none
}

// Do returns the result of the attempt under way, or of one that begins now. When ctx
// ends first it leaves, and says so with an error of ctx, unless the attempt has
// committed to a result. The attempt has the values of the first caller's context. What
// it panics with, all who wait panic with.
func (g *Group[T]) Do(ctx context.Context, attempt func(context.Context, *Flight[T]) (T, error)) (v T, left bool, err error) {
	me := new(waiter)
	me.deadline, _ = ctx.Deadline()
	f := g.join(ctx, me, attempt)
	select {
	case <-f.done:
	case <-ctx.Done():
		if f.leave(me) {
			return v, true, ctx.Err()
		}
		<-f.done
	}
	if f.panics != nil {
		panic(f.panics)
	}
	return f.value, false, f.err
}

func (g *Group[T]) join(first context.Context, me *waiter, attempt func(context.Context, *Flight[T]) (T, error)) *Flight[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.now
	if f == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(first))
		f = &Flight[T]{group: g, done: make(chan struct{}), cancel: cancel, waiters: make(map[*waiter]struct{})}
		g.now = f
		go f.run(ctx, attempt)
	}
	f.waiters[me] = struct{}{}
	return f
}

func (f *Flight[T]) run(ctx context.Context, attempt func(context.Context, *Flight[T]) (T, error)) {
	defer func() {
		f.panics = recover() // for those who wait: it is their function that panicked
		f.cancel()
		f.group.mu.Lock()
		f.forget()
		f.group.mu.Unlock()
		close(f.done)
	}()
	f.value, f.err = attempt(ctx, f)
}

// forget makes the next caller begin another attempt.
func (f *Flight[T]) forget() {
	if f.group.now == f {
		f.group.now = nil
	}
}

// leave reports whether a caller may leave: not if there is a result for it. The last
// one ends the attempt.
func (f *Flight[T]) leave(me *waiter) bool {
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	if f.committed {
		return false
	}
	delete(f.waiters, me)
	if len(f.waiters) == 0 {
		f.cancel()
		f.forget()
	}
	return true
}

// Commit reports whether somebody still waits for the result. From here on they wait
// for it whatever becomes of their contexts.
func (f *Flight[T]) Commit() bool {
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	f.committed = len(f.waiters) > 0
	return f.committed
}

// Deadline returns when the last of those who wait leaves; false: nobody knows.
func (f *Flight[T]) Deadline() (last time.Time, ok bool) {
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	for w := range f.waiters {
		if w.deadline.IsZero() {
			return time.Time{}, false
		}
		if w.deadline.After(last) {
			last = w.deadline
		}
	}
	return last, len(f.waiters) > 0
}
