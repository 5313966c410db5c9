package scripts

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// slowWrites is a connection on which each write takes a second, whatever its size:
// what callers ask for meanwhile goes with later ones.
type slowWrites struct{ net.Conn }

func (c slowWrites) Write(b []byte) (int, error) {
	time.Sleep(time.Second)
	return c.Conn.Write(b)
}

// Of callers that share a Session none gets less than its share of the calls, within about
// a tenth: not beside a great many, not behind one that sends large values, not where few
// may be under way. It is counted, for the clock is fake: everybody who can ask for
// something has done so before the next write ends.
func TestNoCallerStarves(t *testing.T) {
	for _, c := range []struct {
		name           string
		callers, large int // how many, and of these with large values
		limit          int // of requests under way
		contexts       bool
		seconds        time.Duration // of which every other has an answer for everybody, without a limit
	}{
		{name: "512 callers", callers: 512, seconds: 50},
		{name: "512 callers with contexts", callers: 512, contexts: true, seconds: 50},
		{name: "64 and a large one", callers: 65, large: 1, seconds: 250},
		{name: "64 and a large one, with contexts", callers: 65, large: 1, contexts: true, seconds: 250},
		{name: "8 under way at most", callers: 25, large: 1, limit: 8, seconds: 250},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				r.Lay = func(c net.Conn) net.Conn { return slowWrites{c} }
				conf := r.Config()
				conf.MaxInFlight = c.limit
				s, l := r.Open(conf)
				ctx := suite.BG
				if c.contexts {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(ctx)
					defer cancel()
				}
				go func() {
					zxid := int64(0)
					for a := range l.Requests() {
						zxid++
						l.Send(suite.Fitting(a, zxid))
					}
				}()
				var stop atomic.Bool
				var wg sync.WaitGroup
				counts := make([]atomic.Int64, c.callers)
				for i := range c.callers {
					value := make([]byte, 100)
					if i < c.large {
						value = make([]byte, 1e6)
					}
					wg.Go(func() {
						for !stop.Load() {
							if _, err := s.Set(ctx, fmt.Sprintf("/caller-%d", i), value, -1); err != nil {
								t.Error(err)
								return
							}
							counts[i].Add(1)
						}
					})
				}
				time.Sleep(c.seconds*time.Second + time.Second/2)
				made := make([]int, c.callers)
				for i := range counts {
					made[i] = int(counts[i].Load())
				}
				stop.Store(true)
				wg.Wait()
				least, most := slices.Min(made), slices.Max(made)
				t.Logf("from %d to %d calls, the large ones %d", least, most, made[:c.large])
				assert.Assert(t, least >= 20 && most <= least+least/10+3, "%d calls where another caller made %d", least, most)
				s.Detach()
			})
		})
	}
}
