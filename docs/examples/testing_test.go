package examples

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

//doc:firsttest

func TestColor(t *testing.T) {
	server := zktest.NewServer(t) // ends with the test
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	defer s.Close()

	_, err = s.Create(t.Context(), "/color", []byte("red"), zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	data, _, err := s.Get(t.Context(), "/color", nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "red")
}

//doc:end

//doc:expirytest

func TestExpiry(t *testing.T) {
	server := zktest.NewServer(t)
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	_, err = s.Create(t.Context(), "/me", nil, zk.Ephemeral, zk.ACLOpen)
	assert.NilError(t, err)

	server.Expire(s.ID()) // as if its timeout had passed: the ephemeral is gone
	<-s.Done()

	_, err = s.Redial(t.Context())
	assert.ErrorIs(t, err, zk.ErrExpired)
	next, err := s.Renew(t.Context()) // a new session
	assert.NilError(t, err)
	defer next.Close()
	found, _, err := next.Exists(t.Context(), "/me", nil)
	assert.NilError(t, err)
	assert.Assert(t, !found)
}

//doc:end

//doc:losttest

func TestLostAnswer(t *testing.T) {
	server := zktest.NewServer(t)
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)

	// The next create is executed, and its answer never arrives.
	server.Fault(zktest.Rule{Op: wire.OpCreate, Path: "/a", Do: zktest.CutAfter})
	_, err = s.Create(t.Context(), "/a", nil, zk.Persistent, zk.ACLOpen)
	assert.ErrorIs(t, err, zk.ErrLost)

	s, err = s.Redial(t.Context())
	assert.NilError(t, err)
	defer s.Close()
	found, _, err := s.Exists(t.Context(), "/a", nil)
	assert.NilError(t, err)
	assert.Assert(t, found) // it was done
}

//doc:end

//doc:bubble

func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := zktest.NewServer(t, zktest.Options{InMemory: true})
		conf := zk.Config{Addrs: server.Addrs(), DialContext: server.DialContext, Timeout: 10 * time.Second}
		s, err := zk.Dial(t.Context(), conf)
		assert.NilError(t, err)

		server.Stall(s.ID()) // the server falls silent
		start := time.Now()
		<-s.Done()
		assert.Assert(t, time.Since(start) < s.Timeout()) // of the fake clock: the test takes no time

		time.Sleep(2 * s.Timeout())
		_, err = s.Redial(t.Context())
		assert.ErrorIs(t, err, zk.ErrExpired)
	})
}

//doc:end

//doc:tabletest

func TestUnderLock(t *testing.T) {
	for _, test := range []struct {
		name    string
		trouble func(*zktest.Server, *zk.Session, *recipe.Hold) error
	}{
		{"none", func(*zktest.Server, *zk.Session, *recipe.Hold) error { return nil }},
		{"connection cut", func(server *zktest.Server, s *zk.Session, _ *recipe.Hold) error {
			server.Cut(s.ID())
			return nil
		}},
		{"session expired", func(server *zktest.Server, s *zk.Session, _ *recipe.Hold) error {
			server.Expire(s.ID())
			return nil
		}},
		{"lock deleted", func(_ *zktest.Server, s *zk.Session, h *recipe.Hold) error {
			return s.Delete(t.Context(), h.Path(), zk.AnyVersion)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := zktest.NewServer(t)
			first := true
			err := underLock(t.Context(), zk.Config{Addrs: server.Addrs()}, func(ctx context.Context, s *zk.Session, h *recipe.Hold) error {
				if first {
					first = false
					assert.NilError(t, test.trouble(server, s, h))
				}
				_, err := h.Multi(ctx, s, zk.CreateOp{Path: "/report", ACL: zk.ACLOpen})
				return err
			})
			assert.NilError(t, err)
		})
	}
}

//doc:end

//doc:proxytest

func TestThroughProxy(t *testing.T) {
	server := zktest.NewServer(t)              // or the address of a real one
	proxy := zktest.NewProxy(t, server.Addr()) // ends with the test
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{proxy.Addr()}})
	assert.NilError(t, err)

	proxy.Cut()
	<-s.Done()
	s, err = s.Redial(t.Context())
	assert.NilError(t, err)
	assert.NilError(t, s.Close())
	for _, frame := range proxy.Frames() {
		t.Log(frame) // what both sides said, with times
	}
}

//doc:end
