package zk

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/wire"
)

// The benchmarks here price the client alone, over a connection that has every
// reply ready. Those against other clients are in bench/.

// What a Get costs by itself, and what each feature adds to it. "watch" arms what is
// armed already; "deadline" shares one context, and "timeout" makes one for each call,
// as callers mostly do; "event" has an event of a persistent watch ahead of every
// reply, which the caller receives after it.
func BenchmarkGet(b *testing.B) {
	s, _ := loopSession(b, Config{})
	ctx := context.Background()
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	deadline, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	ch := make(chan Event, 1)
	b.Run("plain", func(b *testing.B) { benchGet(b, s, ctx, nil) })
	b.Run("cancellable", func(b *testing.B) { benchGet(b, s, cancellable, nil) })
	b.Run("deadline", func(b *testing.B) { benchGet(b, s, deadline, nil) })
	b.Run("timeout", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			_, _, err := s.Get(ctx, "/bench", nil)
			cancel()
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("watch", func(b *testing.B) { benchGet(b, s, ctx, ch) })
	b.Run("event", func(b *testing.B) {
		s, c := loopSession(b, Config{})
		s.w.arm("/event", PersistentWatch, false, ch)
		c.mu.Lock()
		c.event, c.every = eventFrame(wire.EventNodeDataChanged, "/event"), 1
		c.mu.Unlock()
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := s.Get(ctx, "/bench", nil); err != nil {
				b.Fatal(err)
			}
			<-ch
		}
	})
}

func benchGet(b *testing.B, s *Session, ctx context.Context, watch chan<- Event) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Get(ctx, "/bench", watch); err != nil {
			b.Fatal(err)
		}
	}
}

// The other hot calls, one caller.
func BenchmarkCalls(b *testing.B) {
	s, c := loopSession(b, Config{})
	for i := range 1000 {
		c.names = append(c.names, fmt.Sprintf("node-%010d", i))
	}
	ctx := context.Background()
	data := make([]byte, 100)
	for _, call := range []struct {
		name string
		f    func() error
	}{
		{"set", func() error { _, err := s.Set(ctx, "/bench", data, -1); return err }},
		{"exists", func() error { _, _, err := s.Exists(ctx, "/bench", nil); return err }},
		{"delete", func() error { return s.Delete(ctx, "/bench", -1) }},
		{"children-1000", func() error { _, _, err := s.Children(ctx, "/bench", nil); return err }},
	} {
		b.Run(call.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call.f(); err != nil {
					b.Fatal(err)
				}
			}
		})
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

// The same 512 Gets, as a batch and one after the other.
func BenchmarkBatch512(b *testing.B) {
	s, _ := loopSession(b, Config{})
	ops := make([]Op, 512)
	for i := range ops {
		ops[i] = GetOp{Path: "/bench"}
	}
	ctx := context.Background()
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ops)), "ns/get")
		})
	}
	run("batch", func() error { _, err := s.Batch(ctx, ops...); return err })
	run("single", func() error {
		for range ops {
			if _, _, err := s.Get(ctx, "/bench", nil); err != nil {
				return err
			}
		}
		return nil
	})
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
		w := new(Watches)
		w.start()
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
	// One event goes to every channel that is armed at its path.
	for _, channels := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("fan-out/channels=%d", channels), func(b *testing.B) {
			w := new(Watches)
			w.start()
			sinks := make([]chan Event, channels)
			for i := range sinks {
				sinks[i] = make(chan Event, 1)
				w.arm("/bench", PersistentWatch, false, sinks[i])
			}
			path := []byte("/bench")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.notify(Changed, path, 1); err != nil {
					b.Fatal(err)
				}
				for _, sink := range sinks {
					<-sink
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(channels), "ns/channel")
		})
	}
	b.Run("restore", func(b *testing.B) {
		w := new(Watches)
		for _, p := range paths {
			w.arm(p, DataWatch, false, ch)
		}
		b.ReportAllocs()
		buf := make([]byte, 0, limits.SetWatchesFrame)
		for b.Loop() {
			r := w.restore()
			for more := true; more; {
				_, more = r.next(buf, limits.SetWatchesFrame)
			}
			r.done()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/watch")
	})
}

// responder is a server on a socket that takes every session and every request,
// and looks at no more of it than its header.
type responder struct {
	net.Listener
	got    atomic.Int64 // bytes
	frames atomic.Int64
}

func newResponder(tb testing.TB) *responder {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &responder{Listener: l}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

func (r *responder) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	for greeted := false; ; greeted = true {
		head, err := in.Peek(8)
		if err != nil {
			return
		}
		n := wire.FrameLen(head)
		d := wire.NewDecoder(head[4:])
		xid := d.Int32()
		if _, err := io.CopyN(io.Discard, in, int64(4+n)); err != nil {
			return
		}
		r.got.Add(int64(4 + n))
		r.frames.Add(1)
		out := wire.BeginFrame(nil)
		if greeted {
			out = wire.ReplyHeader{Xid: xid, Zxid: 100}.Append(out)
		} else {
			out = wire.ConnectResponse{Timeout: 60_000, SessionID: 7, Password: make([]byte, 16), HasReadOnly: true}.Append(out)
		}
		wire.EndFrame(out, 0)
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// heap returns the bytes in use, without garbage.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkMigration moves a session with N watches, a credential and all to a
// new connection: TCP, handshake, auth and SetWatches, until Dial returns. The
// heap of an armed watch does not count its channel and the bytes of its path.
func BenchmarkMigration(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("watches=%d", n), func(b *testing.B) {
			r := newResponder(b)
			s, err := Dial(b.Context(), Config{Addrs: []string{r.Addr().String()}, Auth: []Auth{Digest("user", "secret")}})
			if err != nil {
				b.Fatal(err)
			}
			paths := watchPaths(n)
			ch := make(chan Event, 1)
			before, size := heap(), 0
			for _, p := range paths {
				s.w.arm(p, DataWatch, false, ch)
				size += len(p)
			}
			armed := heap() - before
			got, frames := r.got.Load(), r.frames.Load()
			b.ReportAllocs()
			moves := 0
			for b.Loop() {
				if s, err = Dial(b.Context(), s.Config()); err != nil {
					b.Fatal(err)
				}
				moves++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(moves)/float64(n), "ns/watch")
			b.ReportMetric(float64(r.got.Load()-got)/float64(moves)/float64(size), "wire-B/path-B")
			b.ReportMetric(float64(r.frames.Load()-frames)/float64(moves), "frames/op")
			b.ReportMetric(float64(armed)/float64(n), "heap-B/watch")
			s.Detach()
			runtime.KeepAlive(paths)
		})
	}
}
