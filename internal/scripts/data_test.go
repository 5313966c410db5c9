package scripts

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Data is the caller's again when its call returns, also where the context ends while it is
// being written from where it is: what the caller writes there then reaches no server.
func TestI29_DataIsTheCallersAgain(t *testing.T) {
	proxy := zktest.NewProxy(t, zktest.NewServer(t).Addrs()[0])
	s, err := zk.Dial(t.Context(), zk.Config{
		Addrs: []string{proxy.Addr()},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				err = c.(*net.TCPConn).SetWriteBuffer(128 << 10)
			}
			return c, err
		},
	})
	assert.NilError(t, err)
	_, err = s.Create(t.Context(), "/set", nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	const size = 1_000_000
	for _, c := range []struct {
		path string
		call func(ctx context.Context, path string, data []byte) error
	}{
		{"/set", func(ctx context.Context, path string, data []byte) error {
			_, err := s.Set(ctx, path, data, -1)
			return err
		}},
		{"/create", func(ctx context.Context, path string, data []byte) error {
			_, err := s.Create(ctx, path, data, zk.Persistent, zk.ACLOpen)
			return err
		}},
		{"/ttl", func(ctx context.Context, path string, data []byte) error {
			_, _, err := s.CreateStat(ctx, path, data, zk.TTL(time.Hour), zk.ACLOpen)
			return err
		}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		data, before := bytes.Repeat([]byte{'x'}, size), s.Stats().Requests
		proxy.Hold(zktest.FromClient)
		u := suite.Start(t, func() error { return c.call(ctx, c.path, data) })
		for s.Stats().Requests == before {
			time.Sleep(time.Millisecond)
		}
		cancel()
		u.Lost(context.Canceled)
		clear(data)
		proxy.Release(zktest.FromClient)
		got, _, err := s.Get(t.Context(), c.path, nil)
		assert.NilError(t, err)
		assert.Equal(t, len(got), size)
		assert.Equal(t, bytes.Count(got, []byte{'x'}), size)
	}
	assert.NilError(t, s.Close())
}
