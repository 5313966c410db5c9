package zk_test

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

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
)

// The benchmarks here price the client alone, over a connection that has every
// reply ready. Those against other clients are in bench/.

// What a Get costs by itself, and what each feature adds to it. "watch" arms what is
// armed already; "deadline" shares one context, and "timeout" makes one for each call,
// as callers mostly do; "event" has an event of a persistent watch ahead of every
// reply, which the caller receives after it.
func BenchmarkGet(b *testing.B) {
	s, _ := loopSession(b, zk.Config{})
	ctx := context.Background()
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	deadline, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	ch := make(chan zk.Event, 1)
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
		s, c := loopSession(b, zk.Config{})
		addWatch(b, s, "/event", ch)
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

func benchGet(b *testing.B, s *zk.Session, ctx context.Context, watch chan<- zk.Event) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Get(ctx, "/bench", watch); err != nil {
			b.Fatal(err)
		}
	}
}

// The other hot calls, one caller.
func BenchmarkCalls(b *testing.B) {
	s, c := loopSession(b, zk.Config{})
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
				s, c := loopSession(b, zk.Config{})
				ch := make(chan zk.Event, 1024)
				stop := make(chan struct{})
				defer close(stop)
				if every > 0 {
					addWatch(b, s, "/event", ch)
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

// addWatch arms a persistent watch.
func addWatch(tb testing.TB, s *zk.Session, path string, ch chan<- zk.Event) {
	if err := s.AddWatch(context.Background(), path, zk.WatchPersistent, ch); err != nil {
		tb.Fatal(err)
	}
}

func eventFrame(typ int32, path string) []byte {
	f := wire.ReplyHeader{Xid: wire.XidNotification, Zxid: -1}.Append(wire.BeginFrame(nil))
	f = wire.WatcherEvent{Type: typ, State: wire.StateSyncConnected, Path: path}.Append(f)
	wire.EndFrame(f, 0)
	return f
}

// The same 512 Gets, as a batch and one after the other.
// What a value costs, by its size: the loop copies it twice, as a kernel does.
func BenchmarkValues(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		s, c := loopSession(b, zk.Config{MaxRequest: 2 << 20})
		c.mu.Lock()
		c.data = make([]byte, size)
		c.mu.Unlock()
		b.Run(fmt.Sprintf("get/size=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.Get(context.Background(), "/bench", nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("set/size=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Set(context.Background(), "/bench", c.data, -1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBatch512(b *testing.B) {
	s, _ := loopSession(b, zk.Config{})
	ops := make([]zk.Op, 512)
	for i := range ops {
		ops[i] = zk.GetOp{Path: "/bench"}
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

// armAll arms a data watch on every path, many with each Batch.
func armAll(tb testing.TB, s *zk.Session, paths []string, ch chan<- zk.Event) {
	ops := make([]zk.Op, 0, 1024)
	for len(paths) > 0 {
		n := min(len(paths), cap(ops))
		ops = ops[:0]
		for _, p := range paths[:n] {
			ops = append(ops, zk.GetOp{Path: p, Watch: ch})
		}
		if _, err := s.Batch(context.Background(), ops...); err != nil {
			tb.Fatal(err)
		}
		paths = paths[n:]
	}
}

// Watches, as a Session has them: to arm one takes a Get, an event its way from the
// connection to a channel, and restore is a Dial with a million of them.
func BenchmarkWatches(b *testing.B) {
	const n = 1 << 20
	paths := watchPaths(n)
	ch := make(chan zk.Event, 1)
	ctx := context.Background()
	b.Run("arm", func(b *testing.B) {
		b.ReportAllocs()
		s, _ := loopSession(b, zk.Config{})
		i := 0
		for b.Loop() {
			if _, _, err := s.Get(ctx, paths[i%n], ch); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("fire", func(b *testing.B) {
		b.ReportAllocs()
		s, c := loopSession(b, zk.Config{})
		i := n
		frames := make([][]byte, n)
		for i, p := range paths {
			frames[i] = eventFrame(wire.EventNodeDataChanged, p)
		}
		for b.Loop() {
			if i == n {
				b.StopTimer()
				armAll(b, s, paths, ch)
				i = 0
				b.StartTimer()
			}
			c.happen(frames[i])
			<-ch
			i++
		}
	})
	// One event goes to every channel that is armed at its path.
	for _, channels := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("fan-out/channels=%d", channels), func(b *testing.B) {
			s, c := loopSession(b, zk.Config{})
			sinks := make([]chan zk.Event, channels)
			for i := range sinks {
				sinks[i] = make(chan zk.Event, 1)
				addWatch(b, s, "/bench", sinks[i])
			}
			event := eventFrame(wire.EventNodeDataChanged, "/bench")
			b.ReportAllocs()
			for b.Loop() {
				c.happen(event)
				for _, sink := range sinks {
					<-sink
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(channels), "ns/channel")
		})
	}
	b.Run("restore", func(b *testing.B) {
		s, _ := loopSession(b, zk.Config{})
		armAll(b, s, paths, ch)
		conf := s.Detach()
		conf.DialContext = func(context.Context, string, string) (net.Conn, error) { return newLoopConn(), nil }
		b.ReportAllocs()
		for b.Loop() {
			s, err := zk.Dial(ctx, conf)
			if err != nil {
				b.Fatal(err)
			}
			conf = s.Detach()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/watch")
	})
}

// What takes time for its size takes it once: of each, the time for one unit at one
// size and at ten times that should be about the same.
func BenchmarkLinear(b *testing.B) {
	perUnit := func(b *testing.B, n int) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/unit")
	}
	ctx := context.Background()
	for _, n := range []int{2000, 20_000} {
		// An operation that the server has switched off, in each place of a Batch.
		b.Run(fmt.Sprintf("refused/operations=%d", n), func(b *testing.B) {
			s, c := loopSession(b, zk.Config{})
			c.refuse = int32(zk.ErrUnimplemented)
			ops := make([]zk.Op, n)
			for i := range ops {
				ops[i] = zk.CreateOp{Path: "/a", Mode: zk.TTL(time.Second), ACL: zk.ACLOpen}
			}
			for b.Loop() {
				if _, err := s.Batch(ctx, ops...); err == nil {
					b.Fatal("not refused")
				}
			}
			perUnit(b, n)
			c.refuse = 0
		})
		// The end of a connection under a Batch that had to wait for slots.
		b.Run(fmt.Sprintf("end/operations=%d", n), func(b *testing.B) {
			ops := make([]zk.Op, n)
			for i := range ops {
				ops[i] = zk.GetOp{Path: "/bench"}
			}
			for b.Loop() {
				b.StopTimer()
				s, c := loopSession(b, zk.Config{MaxInFlight: n})
				c.mu.Lock()
				c.deaf = true
				c.mu.Unlock()
				batch := make(chan struct{})
				go func() {
					s.Batch(ctx, ops...)
					close(batch)
				}()
				for s.Stats().Pending < n {
					runtime.Gosched()
				}
				b.StartTimer()
				c.Close()
				<-s.Done()
				<-batch
			}
			perUnit(b, n)
		})
		// Many channels on one path: armed, and fired by one event.
		b.Run(fmt.Sprintf("arm/channels=%d", n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s, c := loopSession(b, zk.Config{})
				channels := make([]chan zk.Event, n)
				ops := make([]zk.Op, n)
				for i := range ops {
					channels[i] = make(chan zk.Event, 1)
					ops[i] = zk.GetOp{Path: "/bench", Watch: channels[i]}
				}
				b.StartTimer()
				if _, err := s.Batch(ctx, ops...); err != nil {
					b.Fatal(err)
				}
				c.happen(eventFrame(wire.EventNodeDataChanged, "/bench"))
				<-channels[n-1]
			}
			perUnit(b, n)
		})
		// A look at all watches, and the time for which others wait meanwhile is less.
		b.Run(fmt.Sprintf("list/watches=%d", 10*n), func(b *testing.B) {
			s, _ := loopSession(b, zk.Config{})
			armAll(b, s, watchPaths(10*n), make(chan zk.Event, 1))
			for b.Loop() {
				if got := len(s.Watches().List()); got != 10*n {
					b.Fatal(got)
				}
			}
			perUnit(b, 10*n)
		})
	}
	// RemoveWatch beside very many calls that wait: the time does not depend on them.
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("remove/pending=%d", n), func(b *testing.B) {
			s, c := loopSession(b, zk.Config{})
			one, two := make(chan zk.Event, 1), make(chan zk.Event, 1)
			addWatch(b, s, "/kept", one)
			armAll(b, s, watchPaths(1<<14), two)
			paths := watchPaths(1 << 14)
			c.mu.Lock()
			c.deaf = true
			c.mu.Unlock()
			ops := make([]zk.Op, n)
			for i := range ops {
				ops[i] = zk.GetOp{Path: "/bench"}
			}
			gone, cancel := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() { s.Batch(gone, ops...); close(done) }()
			for s.Stats().Pending < n {
				runtime.Gosched()
			}
			i := 0
			for b.Loop() {
				if i < len(paths) {
					s.RemoveWatch(ctx, paths[i], two)
				} else {
					s.RemoveWatch(ctx, "/none", two)
				}
				i++
			}
			cancel()
			<-done
			c.Close()
			<-s.Done()
		})
	}
}

// responder is a server on a socket that takes every session and every request,
// and looks at no more of it than its header: every node is there and empty.
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
		head, err := in.Peek(12)
		if err != nil {
			return
		}
		n := wire.FrameLen(head)
		d := wire.NewDecoder(head[4:])
		var h wire.RequestHeader
		h.Decode(&d)
		if _, err := io.CopyN(io.Discard, in, int64(4+n)); err != nil {
			return
		}
		r.got.Add(int64(4 + n))
		r.frames.Add(1)
		out := wire.BeginFrame(nil)
		if greeted {
			out = wire.ReplyHeader{Xid: h.Xid, Zxid: 100}.Append(out)
			if h.Op == wire.OpGetData {
				out = wire.GetDataResponse{}.Append(out)
			}
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
			s, err := zk.Dial(b.Context(), zk.Config{Addrs: []string{r.Addr().String()}, Auth: []zk.Auth{zk.Digest("user", "secret")}})
			if err != nil {
				b.Fatal(err)
			}
			paths := watchPaths(n)
			ch := make(chan zk.Event, 1)
			size := 0
			for _, p := range paths {
				size += len(p)
			}
			armAll(b, s, paths[:min(n, 1024)], nil) // what a Batch keeps for the next one
			before := heap()
			armAll(b, s, paths, ch)
			armed := heap() - before
			got, frames := r.got.Load(), r.frames.Load()
			b.ReportAllocs()
			moves := 0
			for b.Loop() {
				if s, err = zk.Dial(b.Context(), s.Config()); err != nil {
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

// loopConn is a connection to no server: every request written to it has its
// reply ready to read, without an allocation. It prices the client alone.
type loopConn struct {
	mu     sync.Mutex
	ready  *sync.Cond
	out    []byte // replies to read
	off    int
	rest   []byte // a request cut short
	closed bool
	greet  bool // the ConnectRequest is answered
	zxid   int64
	names  []string
	data   []byte
	event  []byte // sent ahead of every eventEvery-th reply
	every  int
	n      int
	refuse int32 // what all requests are answered with, but for AddWatch and watched reads; 0: they succeed
	deaf   bool  // nothing is answered any more
}

func newLoopConn() *loopConn {
	c := &loopConn{data: make([]byte, 100), zxid: 100}
	c.ready = sync.NewCond(&c.mu)
	return c
}

func (c *loopConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	n := len(b)
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	for len(b) >= 4 && len(b) >= 4+wire.FrameLen(b) {
		size := 4 + wire.FrameLen(b)
		c.serve(b[4:size])
		b = b[size:]
	}
	c.rest = append(c.rest[:0], b...)
	c.ready.Signal()
	return n, nil
}

func (c *loopConn) serve(b []byte) {
	if c.off == len(c.out) {
		c.out, c.off = c.out[:0], 0
	}
	at := len(c.out)
	c.out = wire.BeginFrame(c.out)
	if !c.greet {
		c.greet = true
		c.out = wire.ConnectResponse{Timeout: 10000, SessionID: 7, Password: make([]byte, 16), HasReadOnly: true}.Append(c.out)
		wire.EndFrame(c.out, at)
		return
	}
	d := wire.NewDecoder(b)
	var h wire.RequestHeader
	h.Decode(&d)
	if c.deaf {
		c.out = c.out[:at]
		return
	}
	if c.refuse != 0 {
		c.out = wire.ReplyHeader{Xid: h.Xid, Zxid: c.zxid, Err: c.refuse}.Append(c.out)
		wire.EndFrame(c.out, at)
		return
	}
	if c.every > 0 {
		if c.n++; c.n%c.every == 0 {
			c.out = append(c.out[:at], c.event...)
			at = len(c.out)
			c.out = wire.BeginFrame(c.out)
		}
	}
	c.out = wire.ReplyHeader{Xid: h.Xid, Zxid: c.zxid}.Append(c.out)
	switch h.Op {
	case wire.OpGetData:
		c.out = wire.GetDataResponse{Data: c.data, Stat: wire.Stat{Version: 1}}.Append(c.out)
	case wire.OpExists, wire.OpSetData:
		c.out = wire.Stat{Version: 1}.Append(c.out)
	case wire.OpGetChildren2:
		c.out = wire.Children2Response{Children: c.names}.Append(c.out)
	}
	wire.EndFrame(c.out, at)
}

// happen sends an event of its own accord.
func (c *loopConn) happen(event []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off == len(c.out) {
		c.out, c.off = c.out[:0], 0
	}
	c.out = append(c.out, event...)
	c.ready.Signal()
}

func (c *loopConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.off == len(c.out) {
		if c.closed {
			return 0, io.EOF
		}
		c.ready.Wait()
	}
	n := copy(b, c.out[c.off:])
	c.off += n
	return n, nil
}

func (c *loopConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.ready.Broadcast()
	return nil
}

func (c *loopConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *loopConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *loopConn) SetDeadline(time.Time) error      { return nil }
func (c *loopConn) SetReadDeadline(time.Time) error  { return nil }
func (c *loopConn) SetWriteDeadline(time.Time) error { return nil }

// loopSession dials a loopConn.
func loopSession(tb testing.TB, conf zk.Config) (*zk.Session, *loopConn) {
	c := newLoopConn()
	conf.DialContext = func(context.Context, string, string) (net.Conn, error) { return c, nil }
	s, err := zk.Dial(context.Background(), conf)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s, c
}
