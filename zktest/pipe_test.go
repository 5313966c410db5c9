package zktest

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		// Both sides write before either reads.
		for _, c := range []net.Conn{a, b} {
			n, err := c.Write(make([]byte, 1<<20))
			assert.NilError(t, err)
			assert.Equal(t, n, 1<<20)
		}
		got, err := io.ReadFull(b, make([]byte, 1<<20))
		assert.NilError(t, err)
		assert.Equal(t, got, 1<<20)

		start := time.Now()
		b.SetReadDeadline(start.Add(time.Hour))
		_, err = b.Read(make([]byte, 1))
		assert.Assert(t, errors.Is(err, os.ErrDeadlineExceeded))
		assert.Equal(t, time.Since(start), time.Hour)
		b.SetReadDeadline(time.Time{})

		a.SetCapacity(4)
		a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write([]byte("123456"))
		assert.Equal(t, n, 4)
		assert.Assert(t, errors.Is(err, os.ErrDeadlineExceeded))
		a.SetWriteDeadline(time.Time{})
		go func() {
			time.Sleep(time.Minute)
			io.ReadFull(b, make([]byte, 6))
		}()
		n, err = a.Write([]byte("56"))
		assert.NilError(t, err)
		assert.Equal(t, n, 2)
		synctest.Wait()

		a.Write([]byte("end"))
		assert.NilError(t, a.Close())
		rest, err := io.ReadAll(b)
		assert.NilError(t, err)
		assert.Equal(t, string(rest), "end")
		_, err = b.Write([]byte("x"))
		assert.Assert(t, errors.Is(err, errPipe))
		_, err = a.Read(make([]byte, 1))
		assert.Assert(t, errors.Is(err, net.ErrClosed))
		b.Close()
	})
}

func TestPipeLimits(t *testing.T) {
	a, b := Pipe()
	a.SetWriteLimit(CutAt(5))
	n, err := a.Write([]byte("1234567"))
	assert.Equal(t, n, 5)
	assert.Assert(t, errors.Is(err, errReset))
	rest, err := io.ReadAll(b)
	assert.NilError(t, err)
	assert.Equal(t, string(rest), "12345")
	_, err = a.Write([]byte("x"))
	assert.Assert(t, err != nil)

	a, b = Pipe()
	a.SetWriteLimit(StallAt(2))
	for range 2 {
		n, err = a.Write([]byte("1234"))
		assert.NilError(t, err)
		assert.Equal(t, n, 4)
	}
	buf := make([]byte, 10)
	n, _ = b.Read(buf)
	assert.Equal(t, n, 2)
	b.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err = b.Read(buf)
	assert.Assert(t, errors.Is(err, os.ErrDeadlineExceeded))
}

func TestScript(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		s := NewScript(t)
		go func() {
			var nc net.Conn
			var err error
			if tcp {
				nc, err = net.Dial("tcp", s.Addr())
			} else {
				nc, err = s.DialContext(t.Context(), "tcp", "anything:1")
			}
			assert.Check(t, err == nil)
			c := &client{t: t, nc: nc}
			_, err = c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
			assert.Check(t, err == nil)
			assert.Check(t, c.id == 1)
			c.must(wire.OpGetData, wire.PathWatchRequest{Path: "/a"}, &wire.GetDataResponse{})
			assert.Check(t, len(c.events) == 1 && c.events[0] == event(3, "/b"))
			c.send(wire.OpPing)
			nc.Close()
		}()
		s.Addr()
		c := s.Accept()
		q := c.Handshake()
		assert.Equal(t, q.Timeout, int32(5000))
		xid, body := c.Expect(wire.OpGetData)
		assert.Equal(t, len(body), 7)
		c.Batch(func() {
			c.Event(-1, wire.EventNodeDataChanged, "/b")
			c.Reply(xid, 5, 0, wire.GetDataResponse{})
		})
		c.ExpectEnd()
	}
}

func TestScriptRaw(t *testing.T) {
	s := NewScript(t)
	nc, err := s.DialContext(t.Context(), "tcp", "a:1")
	assert.NilError(t, err)
	c := s.Accept()
	assert.Equal(t, c.Conn().RemoteAddr().Network(), "pipe")
	c.Raw([]byte{0, 0, 0, 9, 1})
	c.Close()
	got, err := io.ReadAll(nc)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, []byte{0, 0, 0, 9, 1})
}
