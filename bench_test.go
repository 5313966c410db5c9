package zk

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/seed-9f8420c6/zk/wire"
)

// The benchmarks here price the client alone, over a connection that has every
// reply ready. Those against other clients are in bench/.

func BenchmarkGet(b *testing.B) {
	s, _ := loopSession(b, Config{})
	ctx := context.Background()
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	ch := make(chan Event, 1)
	b.Run("plain", func(b *testing.B) { benchGet(b, s, ctx, nil) })
	b.Run("cancellable", func(b *testing.B) { benchGet(b, s, cancellable, nil) })
	b.Run("watch", func(b *testing.B) { benchGet(b, s, ctx, ch) })
}

func benchGet(b *testing.B, s *Session, ctx context.Context, watch chan<- Event) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Get(ctx, "/bench", watch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetParallel(b *testing.B) {
	for _, callers := range []int{64, 512} {
		for _, every := range []int{0, 100} {
			b.Run(fmt.Sprintf("callers=%d/event-every=%d", callers, every), func(b *testing.B) {
				s, c := loopSession(b, Config{})
				ch := make(chan Event, 1024)
				stop := make(chan struct{})
				defer close(stop)
				if every > 0 {
					s.w.arm("/event", PersistentWatch, false, ch)
					c.mu.Lock()
					c.event, c.every = eventFrame(wire.EventNodeDataChanged, "/event"), every
					c.mu.Unlock()
					go func() {
						for {
							select {
							case <-ch:
							case <-stop:
								return
							}
						}
					}()
				}
				ctx := context.Background()
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for i := range callers {
					n := b.N / callers
					if i == 0 {
						n += b.N % callers
					}
					wg.Go(func() {
						for range n {
							if _, _, err := s.Get(ctx, "/bench", nil); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

func eventFrame(typ int32, path string) []byte {
	f := wire.ReplyHeader{Xid: wire.XidNotification, Zxid: -1}.Append(wire.BeginFrame(nil))
	f = wire.WatcherEvent{Type: typ, State: wire.StateSyncConnected, Path: path}.Append(f)
	wire.EndFrame(f, 0)
	return f
}

func BenchmarkBatch512(b *testing.B) {
	s, _ := loopSession(b, Config{})
	ops := make([]Op, 512)
	for i := range ops {
		ops[i] = GetOp{Path: "/bench"}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Batch(context.Background(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/512, "ns/get")
}

func watchPaths(n int) []string {
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprintf("/app/watched/node-%010d", i)
	}
	return paths
}

func BenchmarkWatches(b *testing.B) {
	const n = 1 << 20
	paths := watchPaths(n)
	ch := make(chan Event, 1)
	b.Run("arm", func(b *testing.B) {
		b.ReportAllocs()
		w := new(Watches)
		i := 0
		for b.Loop() {
			if i%n == 0 {
				w = new(Watches)
			}
			w.arm(paths[i%n], DataWatch, false, ch)
			i++
		}
	})
	b.Run("fire", func(b *testing.B) {
		b.ReportAllocs()
		w := &Watches{flowing: true}
		sink := make(chan Event, 1)
		i := n
		bytes := make([][]byte, n)
		for i, p := range paths {
			bytes[i] = []byte(p)
		}
		for b.Loop() {
			if i == n {
				b.StopTimer()
				for _, p := range paths {
					w.arm(p, DataWatch, false, sink)
				}
				i = 0
				b.StartTimer()
			}
			if _, err := w.notify(Changed, bytes[i], 1); err != nil {
				b.Fatal(err)
			}
			<-sink
			i++
		}
	})
	b.Run("restore", func(b *testing.B) {
		w := new(Watches)
		for _, p := range paths {
			w.arm(p, DataWatch, false, ch)
		}
		b.ReportAllocs()
		buf := make([]byte, 0, setWatchesLimit)
		for b.Loop() {
			r := w.restore()
			for more := true; more; {
				_, more = r.next(buf, setWatchesLimit)
			}
			r.done()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/watch")
	})
}
