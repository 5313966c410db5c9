package flight

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
)

// All who ask while an attempt is under way get its result; the next begins another.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[int]
		var attempts atomic.Int32
		attempt := func(context.Context, *Flight[int]) (int, error) {
			time.Sleep(time.Second)
			return int(attempts.Add(1)), errors.New("result")
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				v, left, err := g.Do(t.Context(), attempt)
				assert.Check(t, v == 1 && !left && err != nil)
			})
		}
		wg.Wait()
		v, _, _ := g.Do(t.Context(), attempt)
		assert.Equal(t, v, 2)
	})
}

// Who leaves does not take the others along; the last ends the attempt.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[int]
		var ended atomic.Bool
		attempt := func(ctx context.Context, f *Flight[int]) (int, error) {
			<-ctx.Done()
			ended.Store(true)
			return 0, ctx.Err()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		long, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		var wg sync.WaitGroup
		for _, ctx := range []context.Context{short, long} {
			wg.Go(func() {
				_, left, err := g.Do(ctx, attempt)
				assert.Check(t, left && errors.Is(err, context.DeadlineExceeded))
			})
		}
		time.Sleep(2 * time.Second)
		assert.Assert(t, !ended.Load())
		wg.Wait()
		synctest.Wait()
		assert.Assert(t, ended.Load())
		assert.Equal(t, time.Since(began), 3*time.Second)
	})
}

// A result that is committed to reaches those who wait, though their contexts end.
func TestCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[int]
		ctx, cancel := context.WithCancel(t.Context())
		v, left, err := g.Do(ctx, func(_ context.Context, f *Flight[int]) (int, error) {
			assert.Assert(t, f.Commit())
			cancel()
			time.Sleep(time.Second)
			return 7, nil
		})
		assert.Assert(t, v == 7 && !left && err == nil)

		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		committed := make(chan bool, 1)
		_, left, _ = g.Do(gone, func(ctx context.Context, f *Flight[int]) (int, error) {
			<-ctx.Done()
			committed <- f.Commit()
			return 0, nil
		})
		assert.Assert(t, left && !<-committed)
	})
}

// The deadline is that of the last who waits.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[int]
		began := time.Now()
		var f *Flight[int]
		attempt := func(ctx context.Context, x *Flight[int]) (int, error) {
			f = x
			<-ctx.Done()
			return 0, nil
		}
		for _, d := range []time.Duration{3 * time.Second, 5 * time.Second, 4 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			go g.Do(ctx, attempt)
		}
		synctest.Wait()
		at, ok := f.Deadline()
		assert.Assert(t, ok && at.Sub(began) == 5*time.Second)
		forever, cancel := context.WithCancel(t.Context())
		go g.Do(forever, attempt)
		synctest.Wait()
		_, ok = f.Deadline()
		assert.Assert(t, !ok)
		cancel()
		synctest.Wait()
		_, ok = f.Deadline()
		assert.Assert(t, ok)
		time.Sleep(6 * time.Second)
	})
}

// A panic is those who wait's, and the next attempt begins anew.
func TestPanic(t *testing.T) {
	var g Group[int]
	func() {
		defer func() { assert.Equal(t, recover(), "on purpose") }()
		g.Do(t.Context(), func(context.Context, *Flight[int]) (int, error) { panic("on purpose") })
	}()
	v, _, err := g.Do(t.Context(), func(context.Context, *Flight[int]) (int, error) { return 1, nil })
	assert.Assert(t, v == 1 && err == nil)
}
