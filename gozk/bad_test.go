package zk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Every code of a server is the variable that programs compare with, and never wrapped.
func TestErrors(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		nodes(t, c, "/a")
		for code, want := range map[int32]error{
			-8: ErrBadArguments, -100: ErrAPIError, -101: ErrNoNode, -102: ErrNoAuth, -103: ErrBadVersion, -108: ErrNoChildrenForEphemerals,
			-110: ErrNodeExists, -111: ErrNotEmpty, -112: ErrSessionExpired, -114: ErrInvalidACL, -115: ErrAuthFailed, -116: ErrClosing,
			-117: ErrNothing, -118: ErrSessionMoved, -123: ErrReconfigDisabled,
		} {
			server.Fault(zktest.Rule{Op: wire.OpSetData, Err: code})
			st, err := c.Set("/a", nil, -1)
			assert.Equal(t, err, want, "%d", code)
			assert.Assert(t, st != nil && *st == Stat{}, "%d", code)
			_, _, err = c.Get("/a") // on the next connection, where the code ends one
			assert.NilError(t, err)
		}
		server.Fault(zktest.Rule{Op: wire.OpSetData, Err: -127})
		_, err := c.Set("/a", nil, -1)
		assert.Error(t, err, "unknown error: -127")
		var op *root.OpError
		assert.Assert(t, errors.As(err, &op) && errors.Is(err, root.ErrThrottled))

		data, st, err := c.Get("/missing")
		assert.Assert(t, data == nil && st != nil && err == ErrNoNode)
		names, st, err := c.Children("/a")
		assert.Assert(t, names != nil && len(names) == 0 && st != nil && err == nil)
		found, st, err := c.Exists("/missing")
		assert.Assert(t, !found && *st == Stat{} && err == nil)
		_, st, ch, err := c.GetW("/missing")
		assert.Assert(t, st == nil && ch == nil && err == ErrNoNode)
		assert.Equal(t, len(c.gate.Load().link.books.paths), 0)
	})
}

// Bad input is an error, nothing is written, and nothing panics.
func TestBadInput(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		_, _, err := Connect(nil, time.Second)
		assert.Error(t, err, "zk: server list must not be empty")
		_, _, err = Connect([]string{"[::1"}, time.Second)
		assert.Assert(t, err != nil)
		c, _ := connect(t, server.Addrs(), through, nil, WithHostProvider(nil), WithLogger(nil), WithEventCallback(nil), WithConfig(nil), WithSession(nil),
			WithLogger(silent{}))
		nodes(t, c, "/a")
		server.ForgetFrames()
		acl := WorldACL(PermAll)
		for _, path := range []string{"", "a", "/a/", "//", "/a/./b", "/a/..", "/a\x00"} {
			_, _, err := c.Get(path)
			assert.Equal(t, err, ErrInvalidPath, "%q", path)
			_, _, _, err = c.ExistsW(path)
			assert.Equal(t, err, ErrInvalidPath, "%q", path)
			_, err = c.Create(path, nil, 0, acl)
			assert.Equal(t, err, ErrInvalidPath, "%q", path)
			_, err = c.Sync(path)
			assert.Equal(t, err, ErrInvalidPath, "%q", path)
		}
		_, err = c.Create("/b", nil, 999, acl)
		assert.Error(t, err, "invalid flag value: [999]")
		_, err = c.Create("/b", nil, FlagTTL, acl)
		assert.Assert(t, errors.Is(err, ErrInvalidFlags))
		_, err = c.CreateContainer("/b", nil, FlagEphemeral, acl)
		assert.Assert(t, errors.Is(err, ErrInvalidFlags))
		for _, ttl := range []time.Duration{0, 1, time.Millisecond - 1, -time.Second} {
			_, err = c.CreateTTL("/b", nil, FlagTTL, acl, ttl)
			assert.Equal(t, err, ErrBadArguments, "%v", ttl)
		}
		_, err = c.Create("/b", nil, 0, nil)
		assert.Equal(t, err, ErrInvalidACL)
		_, err = c.Set("/a", make([]byte, 1536*1024), -1)
		assert.Equal(t, err, ErrShortBuffer)
		for _, op := range []any{nil, 1, CreateRequest{}, (*CreateRequest)(nil), (*SetDataRequest)(nil), (*DeleteRequest)(nil), (*CheckVersionRequest)(nil)} {
			_, err = c.Multi(op)
			assert.Error(t, err, fmt.Sprintf("unknown operation type %T", op))
		}
		for flags, want := range map[int32]string{-1: "invalid flag value: [-1]", FlagTTL: ErrBadArguments.Error(), 77: "invalid flag value: [77]"} {
			_, err = c.Multi(&CreateRequest{Path: "/b", Acl: acl, Flags: flags})
			assert.Error(t, err, want)
		}
		_, err = c.Multi(&CreateRequest{Path: "/b", Acl: acl}, &DeleteRequest{"b", -1})
		assert.Equal(t, err, ErrInvalidPath)
		assert.Equal(t, len(server.Frames()), 0)
		res, err := c.Multi()
		assert.Assert(t, len(res) == 0 && err == nil)
	})
}

// A server that answers with frames that are too short, or make no sense, loses the
// connection, and nothing panics.
func TestShortFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var size atomic.Int64 // of every answer
		dial := func(context.Context, string, string) (net.Conn, error) {
			client, server := zktest.Pipe()
			go badServer(server, &size)
			return client, nil
		}
		c, _ := connect(t, []string{"in.memory:1"}, dialing(dial))
		for n := range int64(88) { // a header, no data, and a Stat
			size.Store(n)
			_, _, err := c.Get("/a")
			assert.Equal(t, err, ErrConnectionClosed, "%d bytes", n)
		}
		size.Store(88)
		_, _, err := c.Get("/a")
		assert.NilError(t, err)
	})
}

// badServer answers the handshake, and then each request by its xid and zeros.
func badServer(conn net.Conn, size *atomic.Int64) {
	defer conn.Close()
	read := func() []byte {
		var length [4]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return nil
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		io.ReadFull(conn, frame)
		return frame
	}
	write := func(frame []byte) {
		conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	}
	if read() == nil {
		return
	}
	hello := binary.BigEndian.AppendUint32(make([]byte, 4), 10000) // version and timeout
	hello = binary.BigEndian.AppendUint64(hello, 7)                // the session
	hello = append(binary.BigEndian.AppendUint32(hello, 16), make([]byte, 17)...)
	write(hello)
	for frame := read(); frame != nil; frame = read() {
		write(append(frame[:4:4], make([]byte, 84)...)[:size.Load()])
	}
}
