package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

// buffer is where a member prints.
type buffer struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// take returns what was printed since it was asked last.
func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.b.Reset()
	return b.b.String()
}

// Members come, go, are cut off for a short while and for a long one.
func TestMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) })
		e := zktest.NewServer(t, zktest.Options{InMemory: true})
		conf := zk.Config{Addrs: e.Addrs(), DialContext: e.DialContext, Timeout: 5 * time.Second}
		var out buffer
		start := func(id string, conf zk.Config) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			m := member{group: recipe.Group{Path: "/g"}, id: id, at: "host:" + id, out: &buffer{}}
			if id == "a" {
				m.out = &out
			}
			ended := make(chan error)
			go func() { ended <- m.run(ctx, conf) }()
			synctest.Wait()
			return func() {
				cancel()
				assert.ErrorIs(t, <-ended, context.Canceled)
				synctest.Wait()
			}
		}
		said := func(want string) {
			t.Helper()
			synctest.Wait()
			assert.Equal(t, out.take(), want)
		}
		stopA := start("a", conf)
		said("+ a at host:a\n")
		stopB := start("b", conf)
		said("+ b at host:b\n")
		var away atomic.Bool
		cut := conf
		cut.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if away.Load() {
				return nil, errors.New("no network")
			}
			return e.DialContext(ctx, network, addr)
		}
		stopC := start("c", cut)
		said("+ c at host:c\n")
		stopB()
		said("- b\n")
		e.CutAll()
		time.Sleep(3 * time.Second)
		said("") // all are back
		away.Store(true)
		e.CutAll()
		time.Sleep(10 * time.Second)
		said("- c\n")
		away.Store(false)
		time.Sleep(10 * time.Second)
		said("+ c at host:c\n")
		s, err := zk.Dial(t.Context(), conf)
		assert.NilError(t, err)
		assert.NilError(t, s.Delete(t.Context(), "/g/a", zk.AnyVersion))
		synctest.Wait()
		time.Sleep(time.Second)
		out.take()
		names, _, err := s.Children(t.Context(), "/g", nil)
		assert.NilError(t, err)
		assert.Equal(t, len(names), 2)
		assert.NilError(t, s.Close())
		stopC()
		said("- c\n")
		stopA()
	})
}
