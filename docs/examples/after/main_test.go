package main

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestRun(t *testing.T) {
	server := zktest.NewServer(t)
	other, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	defer other.Close()
	_, err = tree.Put(t.Context(), other, "/config", []byte("one"), nil)
	assert.NilError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	shown, ended := make(chan string, 10), make(chan error)
	go func() {
		ended <- run(ctx, server.Addrs(), "a", func(data []byte) { shown <- string(data) })
	}()
	assert.Equal(t, <-shown, "one")
	state, err := tree.Wait(t.Context(), other, "/services/a", func(st tree.State) bool { return st.Exists })
	assert.NilError(t, err)
	first := state.Stat.EphemeralOwner

	server.Expire(first)
	_, err = tree.Wait(t.Context(), other, "/services/a", func(st tree.State) bool {
		return st.Exists && st.Stat.EphemeralOwner != first
	})
	assert.NilError(t, err)
	_, err = tree.Put(t.Context(), other, "/config", []byte("two"), nil)
	assert.NilError(t, err)
	for data := <-shown; data != "two"; data = <-shown {
	}
	cancel()
	assert.ErrorIs(t, <-ended, context.Canceled)
	found, _, err := other.Exists(t.Context(), "/services/a", nil)
	assert.NilError(t, err)
	assert.Assert(t, !found) // the session was closed
}
