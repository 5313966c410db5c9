package zktest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

func dialZK(t *testing.T, addrs []string) *zk.Session {
	t.Helper()
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: addrs, Timeout: 10 * time.Second})
	assert.NilError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// checkMoved says what a client sees of its session's move from the first of two
// servers to the second.
func checkMoved(t *testing.T, v Version, addrs []string, move func(*zk.Session)) {
	ctx := t.Context()
	s := dialZK(t, addrs[:1])
	_, err := s.Create(ctx, "/moved", nil, zk.Ephemeral, zk.ACLOpen)
	assert.NilError(t, err)
	move(s)

	// Reads go on, and nothing ends the connection.
	_, stat, err := s.Get(ctx, "/moved", nil)
	assert.NilError(t, err)
	assert.Equal(t, stat.EphemeralOwner, s.ID())
	assert.NilError(t, s.Err())
	if v < V36 { // whose multis fail one by one
		_, err := s.Multi(ctx, zk.SetOp{Path: "/moved", Version: -1})
		assert.ErrorIs(t, err, zk.ErrSessionMoved)
		assert.NilError(t, s.Err())
	}
	// A write ends it, without a reply.
	_, err = s.Set(ctx, "/moved", []byte("new"), -1)
	assert.ErrorIs(t, err, zk.ErrConnection)
	assert.ErrorIs(t, err, zk.ErrLost)
	assert.Assert(t, !errors.Is(err, zk.ErrSessionMoved) && !errors.Is(err, zk.ErrMoved), "%v", err)
	<-s.Done()

	conf := s.Config()
	conf.Addrs = addrs[1:]
	again, err := zk.Dial(ctx, conf)
	assert.NilError(t, err)
	defer again.Close()
	assert.Equal(t, again.ID(), s.ID())
	data, _, err := again.Get(ctx, "/moved", nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "") // it was not done
	_, err = again.Set(ctx, "/moved", []byte("new"), -1)
	assert.NilError(t, err)
}

func TestClientOfAMovedSession(t *testing.T) {
	for version := V34; version <= V39; version++ {
		e := NewEnsemble(t, 3, Options{Version: version})
		checkMoved(t, version, e.Addrs()[1:], func(s *zk.Session) { e.MoveSession(s.ID(), 2) })
	}
}

// MoveSession does what a handshake elsewhere does to a session of a real ensemble.
func TestClientOfAMovedSessionOfRealServers(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			real := apache.New(t, apache.Config{Release: release, Members: 3})
			leads, err := real.Leader()
			assert.NilError(t, err)
			followers := slices.Delete(real.Addrs(), leads, leads+1)
			checkMoved(t, parityVersions[release], followers, func(s *zk.Session) {
				state := s.Config().State
				n := (&peer{t: t, addrs: followers}).open(1)
				t.Cleanup(func() { n.nc.Close() })
				r, err := n.connect(wire.ConnectRequest{Timeout: 10000, SessionID: state.ID, Password: state.Password})
				assert.NilError(t, err)
				assert.Equal(t, r.SessionID, state.ID)
			})
		})
	}
}
