package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// socket is a Conn over TCP whose peer reads nothing of its own, with little room between.
func socket(t *testing.T) (*Conn, *handler, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	assert.NilError(t, err)
	server, err := l.Accept()
	assert.NilError(t, err)
	assert.NilError(t, client.(*net.TCPConn).SetWriteBuffer(32<<10))
	assert.NilError(t, server.(*net.TCPConn).SetReadBuffer(32<<10))
	h := new(handler)
	h.p = New(client, h, Options{MaxReply: 1000})
	h.p.Greet(time.Now(), 0, 0)
	h.p.Start(time.Minute, 0, true)
	return h.p, h, server
}

// lending makes a Call that lends so many bytes, between 8 others behind its header and 8
// at its end.
func lending(name string, n int) (c *Call, data []byte) {
	c = request(name, 20)
	data = bytes.Repeat([]byte{'x'}, n)
	c.Lend(data, 20)
	return c, data
}

// submit sends a Call as a Session does.
func (h *handler) submit(ctx context.Context, c *Call) {
	if c.Lent() {
		h.p.LockFor(ctx, c)
	} else {
		h.p.Lock()
	}
	h.p.queueUnlock(ctx, c, 1, false)
}

// received reads a frame, and checks that it is of request n and has the data that was lent.
func received(t *testing.T, server io.Reader, xid int32, lent int) {
	t.Helper()
	var head [4]byte
	_, err := io.ReadFull(server, head[:])
	assert.NilError(t, err)
	body := make([]byte, wire.FrameLen(head[:]))
	_, err = io.ReadFull(server, body)
	assert.NilError(t, err)
	d := wire.NewDecoder(body)
	assert.Equal(t, d.Int32(), xid)
	if lent == 0 {
		return
	}
	d.Int32() // the operation
	d.Int64()
	data := d.Buffer()
	assert.Equal(t, len(data), lent)
	assert.Equal(t, bytes.Count(data, []byte{'x'}), lent, "the data of request %d", xid)
	assert.DeepEqual(t, d.Rest(), make([]byte, 8))
}

// byFrames is a connection of which every Write has whole frames.
type byFrames struct {
	net.Conn
	t *testing.T
}

func (c byFrames) Write(b []byte) (int, error) {
	for at := 0; at < len(b); at += 4 + wire.FrameLen(b[at:]) {
		assert.Check(c.t, len(b)-at >= 4+wire.FrameLen(b[at:]))
	}
	return c.Conn.Write(b)
}

// queuedFrames waits until a Conn has so many requests.
func (p *Conn) queuedFrames(n int64) {
	for p.Counts().Frames < n {
		time.Sleep(time.Millisecond)
	}
}

// What is lent arrives within its frame, and in its turn, whoever writes it and whether it
// is copied or not; and it is the caller's again when the call returns. Only a socket gets
// a frame in several buffers, and only while nobody else writes.
func TestLend(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, over := range []string{"a socket", "a pipe"} {
		for i, ctx := range []context.Context{context.Background(), ctx} {
			for _, busy := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %t, %t", over, i > 0, busy), func(t *testing.T) {
					p, h, server := socket(t)
					if over == "a pipe" {
						p, h, server = open(Options{})
						p.conn = byFrames{p.conn, t}
						p.Start(time.Minute, 0, true)
					}
					xid := int32(0)
					if busy { // somebody writes, and cannot leave
						go h.submit(context.Background(), request("ahead", 1<<20))
						p.queuedFrames(1)
						go h.submit(context.Background(), request("ahead too", 4))
						p.queuedFrames(2)
						xid = 2
					}
					c, data := lending("large", 300<<10)
					returned := make(chan bool)
					go func() {
						h.submit(ctx, c)
						left := c.Wait(ctx)
						clear(data)
						returned <- left
					}()
					p.queuedFrames(int64(xid) + 1)
					p.Lock()
					assert.Equal(t, c.lent != nil, over == "a socket" && !busy)
					assert.Assert(t, c.whole == nil, "it is the connection's now")
					p.Unlock()
					behind := request("behind", 4)
					go h.submit(context.Background(), behind)
					for x := range xid {
						received(t, server, x+1, 0)
					}
					received(t, server, xid+1, len(data))
					received(t, server, xid+2, 0)
					for x := range xid + 2 {
						server.Write(reply(x+1, 0))
					}
					assert.Assert(t, !<-returned && !behind.Wait(context.Background()))
					assert.Assert(t, len(c.Frames) < 100, "the Call keeps no large buffer")
					h.end(t, server)
				})
			}
		}
	}
	// Who cannot leave writes it himself, be it lent, taken over or copied.
	lent, _ := lending("large", 1<<20)
	for _, c := range []*Call{lent, request("large", largeFrame), request("copied", 2*smallWrite)} {
		p, h, server := socket(t)
		go io.Copy(io.Discard, server)
		size := c.Size()
		h.submit(context.Background(), c)
		assert.Equal(t, p.Counts().Sent, int64(size))
		assert.Assert(t, cap(c.Frames) < largeFrame, "what is taken over is the connection's")
		h.end(t, server)
	}
}

// A caller that leaves in the middle of a Write has its slice for itself; the request
// arrives as it was, and those behind it do.
func TestLoanOfCallerThatLeaves(t *testing.T) {
	const size = 1 << 20
	for _, came := range []int{-1, 0, 1, 20, 30, 100 << 10, 500 << 10, size + 31, size + 32} {
		p, h, server := socket(t)
		ctx, cancel := context.WithCancel(context.Background())
		c, data := lending("large", size)
		h.submit(ctx, c)
		head := make([]byte, max(0, came))
		if came < 0 { // before anybody writes, maybe
			cancel()
		}
		_, err := io.ReadFull(server, head)
		assert.NilError(t, err)
		behind, late := request("behind", 4), request("late", 200<<10)
		go h.submit(context.Background(), behind)
		p.queuedFrames(2)
		go h.submit(context.Background(), late)
		p.queuedFrames(3)
		cancel()
		assert.Assert(t, c.Wait(ctx), "%d", came)
		clear(data)
		received(t, io.MultiReader(bytes.NewReader(head), server), 1, size)
		received(t, server, 2, 0)
		received(t, server, 3, 0)
		server.Write(slices.Concat(reply(1, 0), reply(2, 0), reply(3, 0)))
		assert.Assert(t, !behind.Wait(context.Background()) && !late.Wait(context.Background()))
		assert.DeepEqual(t, h.taken(), []string{"large answered 0", "large dropped", "behind answered 0", "late answered 0"})
		h.end(t, server)
		assert.Equal(t, p.Counts().Sent, int64(12+20+size+16+12+200<<10), "%d", came)
	}
}

// A server that answers a request before all of it has come does not make the client
// send what the caller has written into its slice since.
func TestLoanThatIsAnsweredEarly(t *testing.T) {
	const size = 1 << 20
	_, h, server := socket(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, data := lending("large", size)
	h.submit(ctx, c)
	head := make([]byte, 8)
	_, err := io.ReadFull(server, head)
	assert.NilError(t, err)
	server.Write(reply(1, 0))
	assert.Assert(t, !c.Wait(ctx))
	clear(data)
	received(t, io.MultiReader(bytes.NewReader(head), server), 1, size)
	h.end(t, server)
}

// A loan ends with the connection.
func TestLoanAtTheEnd(t *testing.T) {
	for _, came := range []int{0, 8, 500 << 10} {
		for _, cancellable := range []bool{false, true} {
			p, h, server := socket(t)
			ctx := context.Background()
			if cancellable {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(ctx)
				defer cancel()
			}
			c, data := lending("large", 1<<20)
			returned := make(chan bool)
			go func() {
				h.submit(ctx, c)
				left := c.Wait(ctx)
				clear(data)
				returned <- left
			}()
			_, err := io.CopyN(io.Discard, server, int64(came))
			assert.NilError(t, err)
			p.queuedFrames(1)
			go h.submit(context.Background(), request("behind", 4))
			p.queuedFrames(2)
			h.end(t, server)
			assert.Assert(t, !<-returned)
			notes := h.taken()
			if came == 0 {
				notes[0] = strings.Replace(notes[0], "false", "true", 1) // a byte may have left
			}
			assert.DeepEqual(t, notes, []string{"large 0 failed, lost true, 0 too large", "behind 0 failed, lost false, 0 too large", "finished"})
		}
	}
	// One that was never begun.
	p, h, server := socket(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, data := lending("large", 1<<20)
	p.LockFor(ctx, c)
	p.failLocked(io.ErrClosedPipe)
	p.queueUnlock(ctx, c, 1, false)
	go h.end(t, server)
	assert.Assert(t, !c.Wait(ctx))
	clear(data)
	<-p.Done()
	assert.DeepEqual(t, h.taken(), []string{"large 0 failed, lost false, 0 too large", "finished"})
	// One that was refused.
	c, _ = lending("large", 1<<20)
	c.join()
	c.Reset()
	assert.Assert(t, !c.Lent() && c.whole == nil && c.Size() == 0)
}
