package zktest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if n := goroutines(2); code == 0 && n > 2 {
		fmt.Fprintf(os.Stderr, "%d goroutines are left\n", n)
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// goroutines returns how many there are, but gives those above want time to end.
func goroutines(want int) int {
	becomes(func() bool { return runtime.NumGoroutine() <= want })
	return runtime.NumGoroutine()
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		e, err := StartEnsemble(3, Options{})
		assert.NilError(t, err)
		for i := range 3 {
			c := dial(t, e, i)
			c.create(fmt.Sprint("/", i), nil, wire.FlagEphemeral)
			c.watch(wire.OpGetData, "/0")
		}
		e.Stall(e.Sessions()[0])
		e.Close()
		e.Close()
	}
	after := goroutines(before)
	assert.Assert(t, after <= before, "%d goroutines, %d before", after, before)
}

func BenchmarkStartStop(b *testing.B) {
	for b.Loop() {
		e, err := StartEnsemble(3, Options{})
		if err != nil {
			b.Fatal(err)
		}
		e.Close()
	}
}

// BenchmarkGet pipelines reads of 100 bytes over one connection.
func BenchmarkGet(b *testing.B) {
	for _, mem := range []bool{false, true} {
		b.Run(fmt.Sprintf("InMemory=%t", mem), func(b *testing.B) {
			e, err := StartEnsemble(1, Options{InMemory: mem})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			c := dial(b, e, 0)
			c.create("/bench", make([]byte, 100), 0)
			pipeline(b, c.nc, wire.RequestHeader{Xid: 1, Op: wire.OpGetData}, wire.PathWatchRequest{Path: "/bench"})
		})
	}
}

// BenchmarkProxy is BenchmarkGet with a proxy in between: for each log that it can keep.
func BenchmarkProxy(b *testing.B) {
	for name, opts := range map[string]ProxyOptions{"log": {}, "OnFrame": {FrameLog: -1, OnFrame: func(Frame) {}}} {
		b.Run(name, func(b *testing.B) {
			s := NewServer(b)
			p := NewProxy(b, s.Addr(), opts)
			c := join(b, p)
			c.create("/bench", make([]byte, 100), 0)
			pipeline(b, c.nc, wire.RequestHeader{Xid: 1, Op: wire.OpGetData}, wire.PathWatchRequest{Path: "/bench"})
		})
	}
}

func BenchmarkSet(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			e, err := StartEnsemble(n, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			c := dial(b, e, 0)
			c.create("/bench", make([]byte, 100), 0)
			pipeline(b, c.nc, wire.RequestHeader{Xid: 1, Op: wire.OpSetData}, wire.SetDataRequest{Path: "/bench", Data: make([]byte, 100), Version: -1})
		})
	}
}

// pipeline sends one request b.N times and waits for as many replies.
func pipeline(b *testing.B, nc net.Conn, recs ...wire.Record) {
	frame := wire.BeginFrame(nil)
	for _, r := range recs {
		frame = r.Append(frame)
	}
	wire.EndFrame(frame, 0)
	var batch []byte
	const per = 100
	for range per {
		batch = append(batch, frame...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for i := 0; i < b.N; i += per {
			nc.Write(batch[:len(frame)*min(per, b.N-i)])
		}
	}()
	r := bufio.NewReaderSize(nc, 64<<10)
	for range b.N {
		head, err := r.Peek(4)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Discard(4 + wire.FrameLen(head)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkMove moves a session to and fro between two members.
func BenchmarkMove(b *testing.B) {
	e, err := StartEnsemble(2, Options{InMemory: true})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	c := dial(b, e, 0)
	for i := 0; b.Loop(); i++ {
		n, _, err := c.move(e, i%2)
		if err != nil {
			b.Fatal(err)
		}
		c.nc.Close()
		c = n
	}
}

// BenchmarkNodes shows the memory that a million nodes take.
func BenchmarkNodes(b *testing.B) {
	const nodes = 1_000_000
	for b.Loop() {
		e, err := StartEnsemble(1, Options{FrameLog: -1})
		if err != nil {
			b.Fatal(err)
		}
		c := dial(b, e, 0)
		go func() {
			w := bufio.NewWriterSize(c.nc, 64<<10)
			for i := range nodes {
				if i%1000 == 0 {
					c.put(w, wire.CreateRequest{Path: fmt.Sprintf("/%04d", i/1000), ACL: world})
				} else {
					c.put(w, wire.CreateRequest{Path: fmt.Sprintf("/%04d/node-%08d", i/1000, i), Data: make([]byte, 20), ACL: world})
				}
			}
			w.Flush()
		}()
		r := bufio.NewReaderSize(c.nc, 64<<10)
		for range nodes {
			head, err := r.Peek(4)
			if err != nil {
				b.Fatal(err)
			}
			r.Discard(4 + wire.FrameLen(head))
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/nodes, "B/node")
		assert.Equal(b, e.prep.Head.Len(), nodes+5)
		e.Close()
	}
}

func (c *client) put(w io.Writer, q wire.CreateRequest) {
	f := wire.BeginFrame(nil)
	f = wire.RequestHeader{Xid: 1, Op: wire.OpCreate}.Append(f)
	f = q.Append(f)
	wire.EndFrame(f, 0)
	w.Write(f)
}
