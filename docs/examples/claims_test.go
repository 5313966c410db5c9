package examples

import (
	"context"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

// What pages say beside their code.

func TestRunWithoutTheZnode(t *testing.T) {
	server := zktest.NewServer(t)
	conf := zk.Config{Addrs: server.Addrs()}
	err := recipe.Run(t.Context(), conf, func(ctx context.Context, s *zk.Session, fresh bool) error {
		return watchColor(ctx, s, make(chan zk.Event, 1))
	})
	assert.ErrorIs(t, err, zk.ErrNoNode)
	assert.Equal(t, len(server.Sessions()), 0) // Run has closed it
}

func TestRunClosesTheSession(t *testing.T) {
	server := zktest.NewServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := recipe.Run(ctx, zk.Config{Addrs: server.Addrs()}, func(ctx context.Context, s *zk.Session, fresh bool) error {
		_, err := s.Create(ctx, "/me", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, len(server.Sessions()), 0)
}

// A server that has been started anew is behind its clients, and says nothing.
func TestServerWithoutItsPast(t *testing.T) {
	server := zktest.NewServer(t)
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	_, err = s.Create(t.Context(), "/a", nil, zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	server.LoseData()
	<-s.Done()
	conf := s.Config()
	_, err = zk.Dial(t.Context(), conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.ErrorContains(t, err, "closed without an answer")
	conf.State.Zxid = 0 // gives up the promise never to go back
	_, err = zk.Dial(t.Context(), conf)
	assert.ErrorIs(t, err, zk.ErrExpired)
	s, err = zk.Dial(t.Context(), conf.Renew())
	assert.NilError(t, err)
	assert.NilError(t, s.Close())
}

// A stream under the context of a Hold ends when that is lost.
func TestStreamUnderHold(t *testing.T) {
	server := zktest.NewServer(t)
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs(), Timeout: 10 * time.Second})
	assert.NilError(t, err)
	defer s.Close()
	group := recipe.Group{Path: "/services"}
	member, err := group.Join(t.Context(), s, "a", nil)
	assert.NilError(t, err)
	ctx, cancel := member.Context(t.Context())
	defer cancel()
	stream := tree.Stream{Path: "/config"}
	for state, err := range stream.States(ctx, s) {
		if err != nil {
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, context.Cause(ctx), recipe.ErrNotHeld)
			break
		}
		assert.Assert(t, !state.Exists)
		assert.NilError(t, s.Delete(t.Context(), member.Path(), zk.AnyVersion))
	}
	assert.Assert(t, ctx.Err() != nil && s.Err() == nil)
	member.Release()
}

func TestUpdateMakesNoZnode(t *testing.T) {
	server := zktest.NewServer(t)
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	defer s.Close()
	_, err = tree.Update(t.Context(), s, "/total", func(data []byte, _ zk.Stat) ([]byte, error) { return data, nil })
	assert.ErrorIs(t, err, zk.ErrNoNode)
}
