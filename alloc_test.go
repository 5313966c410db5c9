//go:build !race

package zk_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/seed-9f8420c6/zk"
)

// TestAllocs holds the hot operations to their budget: what the application
// keeps, and nothing else. The race detector changes the count, so make test
// runs it without.
func TestAllocs(t *testing.T) {
	s, c := loopSession(t, zk.Config{})
	for i := range 1000 {
		c.names = append(c.names, fmt.Sprintf("node-%010d", i))
	}
	ctx := context.Background()
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	data := make([]byte, 100)
	ops := make([]zk.Op, 512)
	for i := range ops {
		ops[i] = zk.GetOp{Path: "/bench"}
	}
	ch := make(chan zk.Event, 1)
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
	} {
		if got := testing.AllocsPerRun(200, b.f); got > b.budget {
			t.Errorf("%s: %v allocations, the budget is %v", b.name, got, b.budget)
		} else {
			t.Logf("%s: %v allocations of %v", b.name, got, b.budget)
		}
	}
}
