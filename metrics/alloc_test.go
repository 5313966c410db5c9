//go:build !race

package metrics_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/metrics"
)

// TestAllocs: to count a call takes one allocation, its context. The servers of the
// tests allocate as well, so it compares.
func TestAllocs(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	plain := e.Dial(conf)
	metrics.New().Attach(&conf)
	counted := e.Dial(conf)
	measure := func(f func() error) float64 {
		return testing.AllocsPerRun(2000, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		})
	}
	before := measure(func() error { return plain.Sync(e.Ctx, "/") })
	after := measure(func() error { return counted.Sync(e.Ctx, "/") })
	assert.Assert(t, after <= before+1.2, "%v allocations without, %v with", before, after)
}
