//go:build !race

package zk_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// TestAllocs holds the hot operations to their budget: what the application
// keeps, and nothing else. The race detector changes the count, so make test
// runs it without.
func TestAllocs(t *testing.T) {
	s, c := loopSession(t, zk.Config{})
	for i := range 1000 {
		c.names = append(c.names, fmt.Sprintf("node-%010d", i))
	}
	hooked, _ := loopSession(t, zk.Config{Trace: &zk.Trace{
		CallStart: func(ctx context.Context, _ *zk.Session, _ zk.Call) context.Context { return ctx },
		CallDone:  func(context.Context, *zk.Session, zk.Call, error) {},
		Event:     func(*zk.Session, zk.Event, bool) {},
	}})
	ctx := context.Background()
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	data := make([]byte, 100)
	ops := make([]zk.Op, 512)
	for i := range ops {
		ops[i] = zk.GetOp{Path: "/bench"}
	}
	ch := make(chan zk.Event, 1)
	watched := make([]zk.Op, 512)
	for i := range watched {
		watched[i] = zk.GetOp{Path: "/bench", Watch: ch}
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range []struct {
		name   string
		budget float64
		f      func()
	}{
		{"get", 1, func() { _, _, err := s.Get(ctx, "/bench", nil); must(err) }},
		{"get with a context that can be cancelled", 1, func() { _, _, err := s.Get(cancellable, "/bench", nil); must(err) }},
		{"get with a watch that is armed already", 1, func() { _, _, err := s.Get(ctx, "/bench", ch); must(err) }},
		{"set", 0, func() { _, err := s.Set(ctx, "/bench", data, -1); must(err) }},
		{"exists", 0, func() { _, _, err := s.Exists(ctx, "/bench", nil); must(err) }},
		{"delete", 0, func() { must(s.Delete(ctx, "/bench", -1)) }},
		{"children, 1000 names", 3, func() { _, _, err := s.Children(ctx, "/bench", nil); must(err) }},
		{"batch of 512 gets", 0.05 * 512, func() { _, err := s.Batch(ctx, ops...); must(err) }},
		{"batch of 512 gets with a watch that is armed already", 0.05 * 512, func() { _, err := s.Batch(ctx, watched...); must(err) }},
		{"get with hooks", 2, func() { _, _, err := hooked.Get(ctx, "/bench", nil); must(err) }},
		{"set with hooks", 1, func() { _, err := hooked.Set(ctx, "/bench", data, -1); must(err) }},
		{"batch of 512 gets with hooks", 0.05*512 + 1, func() { _, err := hooked.Batch(ctx, ops...); must(err) }},
	} {
		if got := testing.AllocsPerRun(200, b.f); got > b.budget {
			t.Errorf("%s: %v allocations, the budget is %v", b.name, got, b.budget)
		} else {
			t.Logf("%s: %v allocations of %v", b.name, got, b.budget)
		}
	}
}

// Over a socket a Set takes its data from the caller's slice, and allocates nothing, whatever
// its size, with a context that can be cancelled too. A Get costs one allocation, however
// often the garbage collector empties the pools.
func TestAllocsOverSocket(t *testing.T) {
	const size = 1_000_000
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{answering(t, size)}})
	assert.NilError(t, err)
	defer s.Detach()
	data := make([]byte, size)
	for _, b := range []struct {
		name   string
		budget float64
		f      func() error
	}{
		{"set", 0, func() error { _, err := s.Set(context.Background(), "/a", data, -1); return err }},
		{"set with a context that can be cancelled", 0, func() error { _, err := s.Set(t.Context(), "/a", data, -1); return err }},
		{"get", 1, func() error { _, _, err := s.Get(t.Context(), "/a", nil); return err }},
	} {
		got := testing.AllocsPerRun(100, func() { // it rounds down: 1.9 are 1
			for range 10 {
				if err := b.f(); err != nil {
					t.Fatal(err)
				}
			}
		})
		assert.Check(t, got <= 10*b.budget+1, "%s: %v allocations for ten, the budget is %v for one", b.name, got, b.budget)
	}
}

// answering is the address of a server that answers all that one client asks, with so many
// bytes of data for a Get. It allocates nothing meanwhile.
func answering(t *testing.T, size int) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	t.Cleanup(func() { l.Close() })
	get := suite.Answer(0, 1, wire.GetDataResponse{Data: make([]byte, size)})
	set := suite.Answer(0, 1, wire.Stat{})
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := make([]byte, 2*size)
		for first := true; ; first = false {
			if _, err := io.ReadFull(c, in[:4]); err != nil {
				return
			}
			n := wire.FrameLen(in)
			if _, err := io.ReadFull(c, in[:n]); err != nil {
				return
			}
			reply := get
			switch {
			case first:
				reply = suite.Framed(wire.ConnectResponse{Timeout: 10_000, SessionID: 1, Password: make([]byte, 16)})
			case in[7] == byte(wire.OpSetData):
				reply = set
			}
			if !first {
				copy(reply[4:8], in[:4])
			}
			c.Write(reply)
		}
	}()
	return l.Addr().String()
}

// A Get costs one allocation of about the size of its data, whatever that is. A Set
// takes its memory from the ones before.
func TestAllocsOfValues(t *testing.T) {
	s, c := loopSession(t, zk.Config{MaxRequest: 2 << 20})
	ctx := t.Context()
	for _, size := range []int{1, 1 << 10, 63 << 10, 64 << 10, 100 << 10, 1 << 20} {
		c.mu.Lock()
		c.data = make([]byte, size)
		c.mu.Unlock()
		var before, after runtime.MemStats
		const times = 20
		get := func() { // without assert, which allocates
			data, _, err := s.Get(ctx, "/bench", nil)
			if err != nil || len(data) != size || cap(data) > size+size/8+64 {
				t.Fatalf("%d bytes in %d: %v", len(data), cap(data), err)
			}
		}
		get()
		runtime.ReadMemStats(&before)
		for range times {
			get()
		}
		runtime.ReadMemStats(&after)
		bytes := (after.TotalAlloc - before.TotalAlloc) / times
		assert.Check(t, bytes <= uint64(size+size/4+16<<10), "a Get of %d bytes takes %d", size, bytes)
		assert.Check(t, after.Mallocs-before.Mallocs < 2*times, "a Get of %d bytes: %d allocations in %d", size, after.Mallocs-before.Mallocs, times)
		set := func() {
			if _, err := s.Set(ctx, "/bench", c.data, -1); err != nil {
				t.Fatal(err)
			}
		}
		percent := debug.SetGCPercent(-1) // which takes memory that is kept
		for range times {                 // until each processor has a buffer
			set()
		}
		runtime.ReadMemStats(&before)
		for range times {
			set()
		}
		runtime.ReadMemStats(&after)
		debug.SetGCPercent(percent)
		bytes = (after.TotalAlloc - before.TotalAlloc) / times
		assert.Check(t, after.Mallocs-before.Mallocs < 2*times, "a Set of %d bytes: %d allocations in %d", size, after.Mallocs-before.Mallocs, times)
		assert.Check(t, bytes <= uint64(1024+size/8), "a Set of %d bytes takes %d", size, bytes)
	}
}

// TestAllocsAtRest holds a watch (without its channel and path) and an idle session to
// what docs/watches.md and docs/operations.md say. What earlier tests have left may go
// meanwhile, so there is no lower bound.
func TestAllocsAtRest(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("the figures are those of 64 bits")
	}
	used := func() int64 { // when what earlier tests have left is gone
		last := int64(-1)
		for {
			size := heap()
			if size == last {
				return size
			}
			last = size
		}
	}
	t.Run("session", func(t *testing.T) {
		const n = 500
		goroutines, before := runtime.NumGoroutine(), used()
		sessions := make([]*zk.Session, n)
		for i := range sessions {
			sessions[i], _ = loopSession(t, zk.Config{})
			_, _, err := sessions[i].Get(context.Background(), "/bench", nil)
			assert.NilError(t, err)
		}
		each := (used() - before) / n
		assert.Check(t, each <= 10<<10, "a session takes %d bytes", each)
		more := runtime.NumGoroutine() - goroutines
		assert.Check(t, more <= n+n/10, "%d goroutines", more)
		runtime.KeepAlive(sessions)
	})
	t.Run("watch", func(t *testing.T) {
		const n = 100_000
		s, _ := loopSession(t, zk.Config{})
		paths, ch := watchPaths(n), make(chan zk.Event, 1)
		armAll(t, s, paths[:1024], nil) // what a Batch keeps for the next one
		before := used()
		armAll(t, s, paths, ch)
		each := (used() - before) / n
		assert.Check(t, each <= 60, "a watch takes %d bytes", each)
		runtime.KeepAlive(paths)
	})
}
