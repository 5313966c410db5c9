package flight

import "sync"

// Successor is what comes after something, once that is known.
type Successor[T any] struct {
	done chan struct{} // closed when it is known, or that there will be none

	mu      sync.Mutex // guards the rest
	next    T
	there   bool
	renewed bool
}

// Init makes a new Successor ready.
func (f *Successor[T]) Init() { f.done = make(chan struct{}) }

// Set notes what comes next. The first stays.
func (f *Successor[T]) Set(next T, renewed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.there {
		f.next, f.there, f.renewed = next, true, renewed
	}
	f.doneLocked()
}

// None notes that there will be none.
func (f *Successor[T]) None() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doneLocked()
}

func (f *Successor[T]) doneLocked() {
	select {
	case <-f.done:
	default:
		close(f.done)
	}
}

// Done is closed when Next returns all there will be.
func (f *Successor[T]) Done() <-chan struct{} { return f.done }

// Next returns what comes next, if that is known, and what Set was told of it.
func (f *Successor[T]) Next() (next T, renewed, there bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next, f.renewed, f.there
}

// Once does something once. All who want it done share the result. Who waits for it waits
// in a channel, which testing/synctest can see.
type Once struct {
	mu    sync.Mutex    // guards begun; err belongs to who began, until begun is closed
	begun chan struct{} // closed when err is there; nil: nobody has begun
	err   error
}

// Do does it, or waits for who does, and returns the result.
func (o *Once) Do(f func() error) error {
	o.mu.Lock()
	if begun := o.begun; begun != nil {
		o.mu.Unlock()
		<-begun
		return o.err
	}
	o.begun = make(chan struct{})
	o.mu.Unlock()
	o.err = f()
	close(o.begun)
	return o.err
}

// Begun reports whether somebody has begun.
func (o *Once) Begun() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun != nil
}
