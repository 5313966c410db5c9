package clients

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// patience is how long a client may take for what it does by itself, such as to reconnect.
const patience = 30 * time.Second

// stage is where a client plays: a server, a proxy that the client connects to,
// and a session of ours that makes things happen.
type stage struct {
	t      *testing.T
	server *zktest.Server
	proxy  *zktest.Proxy
	ours   *zk.Session
}

func newStage(t *testing.T, opts zktest.Options) *stage {
	t.Helper()
	opts.TickTime = 2 * time.Second // so that a slow client keeps its session while it is away
	s := &stage{t: t, server: zktest.NewServer(t, opts)}
	s.proxy = zktest.NewProxy(t, s.server.Addr())
	t.Cleanup(func() {
		if t.Failed() {
			for _, f := range s.proxy.Frames() {
				t.Log(f)
			}
		}
	})
	var err error
	s.ours, err = zk.Dial(t.Context(), zk.Config{Addrs: []string{s.server.Addr()}, Timeout: time.Minute})
	assert.NilError(t, err)
	t.Cleanup(func() { s.ours.Close() })
	return s
}

// cut ends the client's connection, and lets it reconnect when what it watches for has happened.
func (s *stage) cut() {
	s.t.Helper()
	s.proxy.Hold(zktest.FromClient)
	s.proxy.Cut()
	ctx := s.t.Context()
	_, err := s.ours.Set(ctx, "/app", []byte("while you were away"), -1)
	assert.NilError(s.t, err)
	for _, path := range []string{"/dir/child", "/later"} {
		_, err := s.ours.Create(ctx, path, nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(s.t, err)
	}
	s.proxy.Release(zktest.FromClient)
}

// expire ends a session, whose ephemeral node must have lived so long.
func (s *stage) expire(id int64) {
	s.t.Helper()
	assert.Equal(s.t, s.ephemerals(id), 1)
	s.server.Expire(id)
	assert.Equal(s.t, s.ephemerals(id), 0)
}

func (s *stage) ephemerals(owner int64) (n int) {
	s.t.Helper()
	names, _, err := s.ours.Children(s.t.Context(), "/app", nil)
	assert.NilError(s.t, err)
	for _, name := range names {
		ok, stat, err := s.ours.Exists(s.t.Context(), "/app/"+name, nil)
		assert.NilError(s.t, err)
		if ok && stat.EphemeralOwner == owner {
			n++
		}
	}
	return n
}

// played checks what the client sent: it took its session to a second
// connection, and its watches too if it does that.
func (s *stage) played(id int64, restores bool) {
	s.t.Helper()
	frames := s.proxy.Frames()
	sent := func(f func(zktest.Frame) bool) bool {
		return slices.ContainsFunc(frames, func(x zktest.Frame) bool {
			return x.Dir == zktest.FromClient && x.Session == id && f(x)
		})
	}
	assert.Assert(s.t, sent(func(f zktest.Frame) bool { return f.Op == zktest.OpConnect && f.Conn > 1 }), "the session did not move")
	assert.Equal(s.t, restores, sent(func(f zktest.Frame) bool {
		restored := f.Op == wire.OpSetWatches || f.Op == wire.OpSetWatches2
		return restored && strings.Contains(f.Note, "1 data") && strings.Contains(f.Note, "1 exist") && strings.Contains(f.Note, "1 child")
	}), "setWatches was sent")
	assert.Assert(s.t, sent(func(f zktest.Frame) bool { return f.Op == wire.OpMulti }))
}

// each runs a play on servers of every release series.
func each(t *testing.T, play func(*testing.T, *stage)) {
	for v := zktest.V34; v <= zktest.V39; v++ {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			play(t, newStage(t, zktest.Options{Version: v}))
		})
	}
}
