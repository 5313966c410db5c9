package clients

import (
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A lock of go-zookeeper and one of recipe exclude each other in one directory.
func TestLockBesideGoZookeeper(t *testing.T) {
	server := zktest.NewServer(t)
	conn, events, err := gozk.Connect(server.Addrs(), 10*time.Second)
	assert.NilError(t, err)
	defer conn.Close()
	go func() {
		for range events {
		}
	}()
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	defer s.Close()
	ours := recipe.Lock{Path: "/locks/both", KeepDir: true}

	theirs := gozk.NewLock(conn, ours.Path, gozk.WorldACL(gozk.PermAll))
	assert.NilError(t, theirs.Lock())
	_, err = ours.TryAcquire(t.Context(), s)
	assert.ErrorIs(t, err, recipe.ErrLocked)
	held := make(chan *recipe.Hold, 1)
	go func() {
		h, err := ours.Acquire(t.Context(), s)
		assert.Check(t, err)
		held <- h
	}()
	assert.NilError(t, theirs.Unlock())
	h := <-held

	locked := make(chan error, 1)
	next := gozk.NewLock(conn, ours.Path, gozk.WorldACL(gozk.PermAll))
	go func() { locked <- next.Lock() }()
	for waits := 1; waits < 2; { // until both contend
		all, err := ours.Contenders(t.Context(), s)
		assert.NilError(t, err)
		waits = len(all)
	}
	assert.Equal(t, len(locked), 0)
	assert.NilError(t, h.Release())
	assert.NilError(t, <-locked)
	assert.NilError(t, next.Unlock())
}
