package zk

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest"
)

// silent takes no log lines.
type silent struct{}

func (silent) Printf(string, ...any) {}

func connect(t *testing.T, addrs []string, options ...connOption) (*Conn, <-chan Event) {
	t.Helper()
	c, events, err := Connect(addrs, 10*time.Second, append([]connOption{WithLogger(silent{})}, options...)...)
	assert.NilError(t, err)
	t.Cleanup(c.Close)
	return c, events
}

// An event is in its channel when the own Set that caused it returns.
func TestOwnEventIsThere(t *testing.T) {
	server := zktest.NewServer(t)
	c, _ := connect(t, server.Addrs())
	const goroutines, paths = 8, 3
	for i := range paths {
		_, err := c.Create(fmt.Sprint("/", i), nil, 0, WorldACL(PermAll))
		assert.NilError(t, err)
	}
	rounds := 10000
	if testing.Short() {
		rounds = 1000
	}
	var late, false_ atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			path := fmt.Sprint("/", g%paths)
			for range rounds / goroutines {
				_, st, ch, err := c.GetW(path)
				if !assert.Check(t, err == nil, "%v", err) {
					return
				}
				if _, err = c.Set(path, nil, -1); !assert.Check(t, err == nil, "%v", err) {
					return
				}
				select {
				case ev := <-ch:
					_, now, _ := c.Get(path)
					if ev.Type != EventNodeDataChanged || ev.Path != path || now.Version <= st.Version {
						false_.Add(1)
					}
				default:
					late.Add(1)
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, late.Load(), int64(0))
	assert.Equal(t, false_.Load(), int64(0))
	t.Log(len(c.link.Load().books.lanes), "lanes")
}
