package pipeline

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

const timeout = 12 * time.Second

// handler notes what becomes of calls, in the order in which it happens.
type handler struct {
	p  *Conn
	mu sync.Mutex

	notes []string
	ticks []Waiting
}

func (h *handler) Tick(_ time.Time, longest Waiting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ticks = append(h.ticks, longest)
}

func (h *handler) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}

func (h *handler) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	notes := h.notes
	h.notes = nil
	return notes
}

func (h *handler) Chunk() {}
func (h *handler) Rest()  {}
func (h *handler) Idle()  {}

func (h *handler) Answer(c *Call, _ int64, code int32, _ *wire.Decoder) (won bool, end, err error) {
	h.note("%v answered %d", c.Owner, code)
	return c.Answer(), nil, nil
}

func (h *handler) Reply(c *Call, i int, _ int64, code int32, _ *wire.Decoder) (ended, err error) {
	h.note("%v %d answered %d", c.Owner, i, code)
	return nil, nil
}

func (h *handler) SettleMany(c *Call, from, to int) {
	h.note("%v settled %d to %d: %t", c.Owner, from, to, c.Advance(from, to))
}

func (h *handler) Left(c *Call, first int) { h.note("%v left from %d", c.Owner, first) }

func (h *handler) Auth(c *Call, code int32) (won bool, end error) {
	h.note("%v auth %d", c.Owner, code)
	return c.Answer(), nil
}

func (h *handler) Event(int64, *wire.Decoder) error { h.note("event"); return nil }

func (h *handler) Failed(c *Call, i int, lost bool, end error) {
	h.note("%v %d failed, lost %t, %d too large", c.Owner, i, lost, c.Oversized())
}

func (h *handler) Pong(took time.Duration) error { h.note("pong after %v", took); return nil }

func (h *handler) Hand(c *Call)        { c.Wake() <- struct{}{} }
func (h *handler) Drop(c *Call)        { h.note("%v dropped", c.Owner) }
func (h *handler) Why(err error) error { return err }
func (h *handler) Ending()             {}
func (h *handler) Finish(end error) error {
	h.note("finished")
	return end
}

// open returns a Conn and the server's end of it.
func open(opts Options) (*Conn, *handler, net.Conn) {
	client, server := net.Pipe()
	if opts.MaxReply == 0 {
		opts.MaxReply = 1000
	}
	h := new(handler)
	h.p = New(client, h, opts)
	h.p.Greet(time.Now(), 0, 0)
	return h.p, h, server
}

// request makes a Call of frames of so many bytes behind their headers.
func request(name string, sizes ...int) *Call {
	c := new(Call)
	c.Init(name)
	for _, n := range sizes {
		at := len(c.Frames)
		c.Frames = append(c.Frames, make([]byte, 12+n)...)
		wire.EndFrame(c.Frames, at)
	}
	if len(sizes) > 1 {
		c.Many(new(Batch), len(sizes))
	}
	return c
}

func (h *handler) send(c *Call, n int, marked bool) {
	h.p.Lock()
	h.p.queueUnlock(context.Background(), c, n, marked)
}

// queueUnlock queues the frames of a Call, of which there are n, in one of the two ways.
func (p *Conn) queueUnlock(ctx context.Context, c *Call, n int, marked bool) {
	if c.Large() {
		p.SendLargeUnlock(ctx, c)
		return
	}
	p.SendUnlock(ctx, c, append(p.Tail(), c.Frames...), n, marked)
}

// xids reads n requests and returns their xids.
func xids(t *testing.T, server net.Conn, n int) (list []int32) {
	t.Helper()
	for range n {
		var head [8]byte
		_, err := io.ReadFull(server, head[:])
		assert.NilError(t, err)
		d := wire.NewDecoder(head[4:])
		list = append(list, d.Int32())
		_, err = io.CopyN(io.Discard, server, int64(wire.FrameLen(head[:])-4))
		assert.NilError(t, err)
	}
	return list
}

func reply(xid, code int32) []byte {
	b := wire.ReplyHeader{Xid: xid, Zxid: 1, Err: code}.Append(wire.BeginFrame(nil))
	wire.EndFrame(b, 0)
	return b
}

func (h *handler) end(t *testing.T, server net.Conn) {
	t.Helper()
	server.Close()
	<-h.p.Done()
}

// Requests are numbered one by one; after the largest number comes 1. A refusal that
// comes early is known by its number there too.
func TestXidsWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, server := open(Options{})
		p.xid = math.MaxInt32 - 2
		p.Start(timeout, -119, true)
		var calls []*Call
		for i := range 5 {
			c := request(fmt.Sprint("call ", i), 4)
			calls = append(calls, c)
			go h.send(c, 1, false)
			synctest.Wait()
		}
		got := xids(t, server, 5)
		assert.DeepEqual(t, got, []int32{math.MaxInt32 - 1, math.MaxInt32, 1, 2, 3})
		server.Write(reply(2, -119)) // of the fourth
		synctest.Wait()
		assert.Equal(t, len(h.taken()), 0)
		for _, xid := range []int32{math.MaxInt32 - 1, math.MaxInt32, 1, 3} {
			server.Write(reply(xid, 0))
		}
		for _, c := range calls {
			assert.Assert(t, !c.Wait(context.Background()))
		}
		assert.DeepEqual(t, h.taken(), []string{"call 0 answered 0", "call 1 answered 0", "call 2 answered 0", "call 3 answered -119", "call 4 answered 0"})
		h.end(t, server)
	})
}

// Requests leave in the order in which their callers came, whole, however large each is
// and whoever writes it: none overtakes, and none is left behind.
func TestTurns(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			p, h, server := open(Options{})
			p.Start(timeout, 0, true)
			sent, came := 0, 0
			take := func() {
				var head [4]byte
				_, err := io.ReadFull(server, head[:])
				assert.NilError(t, err)
				body := make([]byte, wire.FrameLen(head[:]))
				_, err = io.ReadFull(server, body)
				assert.NilError(t, err)
				assert.Equal(t, bytes.Count(body[8:], []byte{byte(came)}), len(body)-8, "in the place of request %d", came)
				came++
			}
			for sent < 200 {
				size := 4
				if rnd.IntN(3) == 0 {
					size = largeFrame/2 + rnd.IntN(largeFrame)
				}
				c := request(fmt.Sprint(sent), size)
				for i := range c.Frames[12:] {
					c.Frames[12+i] = byte(sent)
				}
				sent++
				go h.send(c, 1, false)
				synctest.Wait()
				for sent > came && rnd.IntN(3) == 0 {
					take()
				}
			}
			for sent > came {
				take()
			}
			h.end(t, server)
		})
	}
}

// counting takes so many bytes and then fails.
type counting struct {
	net.Conn
	left int
}

func (c *counting) Write(b []byte) (int, error) {
	n := min(c.left, len(b))
	c.left -= n
	if n < len(b) {
		return n, errors.New("broken")
	}
	return n, nil
}

// Of what was queued when a connection breaks, just that is lost of which a byte has
// left, also within a batch.
func TestLostByTheByte(t *testing.T) {
	for left := range 3*20 + 2*16 + 1 {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			h := new(handler)
			h.p = New(&counting{client, left}, h, Options{MaxReply: 1000})
			h.p.Greet(time.Now(), 0, 0)
			single, many, last := request("single", 4), request("many", 4, 4, 8), request("last", 4)
			h.p.Lock()
			h.p.Post(single)
			h.p.enqueue(many, append(h.p.Tail(), many.Frames...), 3, false)
			h.p.Post(last)
			h.p.Unlock()
			h.p.Start(timeout, 0, true)
			synctest.Wait()
			server.Close()
			<-h.p.Done()
			at, want := 0, []string{}
			frame := func(name string, i, size int) {
				want = append(want, fmt.Sprintf("%s %d failed, lost %t, 0 too large", name, i, at < left))
				at += size
			}
			frame("single", 0, 16)
			frame("many", 0, 16)
			frame("many", 1, 16)
			frame("many", 2, 20)
			frame("last", 0, 16)
			assert.DeepEqual(t, h.taken(), append(want, "finished"))
			for _, c := range []*Call{single, many, last} {
				<-c.Done()
			}
		})
	}
}

// A batch that is given up stays what it was up to there; its replies are taken all
// the same, and it leaves the queue.
func TestBatchGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, server := open(Options{})
		p.Start(timeout, 0, true)
		c := request("batch", 4, 4, 4)
		go h.send(c, 3, true)
		ids := xids(t, server, 3)
		server.Write(slices.Concat(reply(ids[0], 0), reply(ids[1], -101)))
		synctest.Wait()
		n, over := c.Settled()
		assert.Assert(t, n == 2 && !over)
		assert.Assert(t, !c.GiveUp(1) && c.GiveUp(2))
		server.Write(reply(ids[2], 0))
		synctest.Wait()
		assert.DeepEqual(t, h.taken(), []string{
			"batch 0 answered 0", "batch 1 answered -101", "batch settled 0 to 2: true",
			"batch 2 answered 0", "batch settled 2 to 3: false", "batch left from 0",
		})
		assert.Equal(t, p.Counts().Pending, 0)
		h.end(t, server)
		assert.DeepEqual(t, h.taken(), []string{"finished"})
	})
}

// Slots bound how many frames wait for replies; those that wait for a slot leave by
// their context, or with the connection.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, server := open(Options{MaxInFlight: 2})
		p.Start(timeout, 0, true)
		assert.NilError(t, p.Acquire(t.Context(), new(Call)))
		assert.Assert(t, p.TryAcquire() && !p.TryAcquire() && p.Limited())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, p.Acquire(ctx, new(Call)), context.DeadlineExceeded)
		c := request("call", 4)
		go h.send(c, 1, false)
		server.Write(reply(xids(t, server, 1)[0], 0))
		assert.Assert(t, !c.Wait(t.Context()))
		assert.NilError(t, p.Acquire(t.Context(), new(Call)))
		own := request("own", 4)
		own.Own = true
		go h.send(own, 1, false) // takes none, and gives none back
		server.Write(reply(xids(t, server, 1)[0], 0))
		assert.Assert(t, !own.Wait(t.Context()))
		assert.Assert(t, !p.TryAcquire())
		full := make(chan error)
		go func() { full <- p.Acquire(context.Background(), new(Call)) }()
		synctest.Wait()
		broken := errors.New("broken")
		p.Fail(broken, true)
		assert.Equal(t, <-full, broken)
		<-p.Done()
	})
}

// What a server must not send ends the connection as a Violation.
func TestViolations(t *testing.T) {
	for name, frames := range map[string][]byte{
		"nobody waits":   reply(1, 0),
		"another's turn": reply(2, 0),
		"no such xid":    reply(-7, 0),
		"too small":      wire.AppendInt32(nil, 3),
		"too large":      wire.AppendInt32(nil, 1001),
		"auth refused":   reply(wire.XidAuth, -115),
		"early, unasked": reply(2, -119),
	} {
		synctest.Test(t, func(t *testing.T) {
			p, h, server := open(Options{})
			p.Start(timeout, 0, true)
			if name != "nobody waits" {
				go h.send(request("call", 4), 1, false)
				xids(t, server, 1)
			}
			go server.Write(frames)
			<-p.Done()
			p.Lock()
			defer p.Unlock()
			var v Violation
			var o Oversize
			assert.Assert(t, errors.As(p.Ended(), &v) || name == "too large" && errors.As(p.Ended(), &o) && o == 1001, "%s: %v", name, p.Ended())
			server.Close()
			if name == "too large" {
				assert.Equal(t, h.taken()[0], "call 0 failed, lost true, 1001 too large")
			}
		})
	}
}

// shown shows what it is laid over; hidden does not.
type (
	shown  struct{ net.Conn }
	hidden struct{ net.Conn }
)

func (c shown) NetConn() net.Conn { return c.Conn }

// loop is laid over itself.
type loop struct{ net.Conn }

func (c loop) NetConn() net.Conn { return c }

// The fast write path knows a socket below what shows what it is laid over.
func TestOnSocket(t *testing.T) {
	socket, pipe := net.Conn(&net.TCPConn{}), net.Conn(hidden{})
	for _, c := range []struct {
		conn net.Conn
		want bool
	}{
		{socket, true}, {&net.UnixConn{}, true}, {tls.Client(socket, &tls.Config{}), true}, {shown{socket}, true},
		{shown{tls.Client(shown{socket}, &tls.Config{})}, true}, {hidden{socket}, false}, {pipe, false},
		{tls.Client(pipe, &tls.Config{}), false}, {loop{}, false}, {nil, false},
	} {
		assert.Equal(t, onSocket(c.conn), c.want, "%T", c.conn)
	}
}

// The flusher holds a write back for others while it is worth it.
func TestFills(t *testing.T) {
	const frame = 50
	for _, tc := range []struct {
		what       string
		sent, held int // frames that wait for replies, and that are queued
		size       int // that was queued when the others last had their turn
		want       bool
	}{
		{"alone", 0, 1, 0, false},
		{"the others had no turn yet", 0, 2, 0, true},
		{"they had one, and the server has nothing to do", 0, 2, frame, false},
		{"they had one, and it has as much to do", 2, 2, frame, true},
		{"it has less to do", 2, 3, frame, false},
		{"nobody queued more", 5, 3, 3 * frame, false},
		{"a full write", 1000, fullWrite / frame, 0, true},
		{"more than one", 1000, fullWrite/frame + 1, 0, false},
	} {
		var p Conn
		for range tc.sent {
			p.ring.Push()
		}
		p.ring.Mark()
		for range tc.held {
			p.ring.Push()
			p.out.append(make([]byte, frame))
		}
		assert.Equal(t, p.fills(tc.size), tc.want, tc.what)
	}
}
