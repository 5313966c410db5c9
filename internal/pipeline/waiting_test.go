package pipeline

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
)

// What waits for replies is listed in its order, with the time at which it was written,
// and the timer hears of the oldest.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, server := open(Options{})
		p.Start(timeout, 0, true)
		began := time.Now()
		list := func() (out []string) {
			for _, w := range p.Waiting() {
				out = append(out, fmt.Sprintf("%s %s %d since %v", w.Op, w.Path, w.N, w.Since.Sub(began)))
			}
			return out
		}
		send := func(name string, sizes ...int) *Call {
			c := request(name, sizes...)
			c.Label = Label{name, "/" + name}
			go h.send(c, len(sizes), false)
			xids(t, server, len(sizes))
			synctest.Wait()
			return c
		}
		assert.Equal(t, len(list()), 0)
		first := send("first", 4)
		time.Sleep(time.Second)
		send("many", 4, 4, 4)
		time.Sleep(time.Second)
		auth := request("auth", 4)
		auth.Op = "addauth"
		p.Lock()
		p.PostAuth(auth)
		p.Unlock()
		xids(t, server, 1)
		synctest.Wait()
		assert.DeepEqual(t, list(), []string{"first /first 1 since 0s", "many /many 3 since 1s", "addauth  1 since 2s"})

		time.Sleep(time.Second)
		h.mu.Lock()
		assert.Assert(t, len(h.ticks) > 0)
		assert.Equal(t, h.ticks[len(h.ticks)-1].Op, "first")
		h.mu.Unlock()
		server.Write(reply(1, 0))
		assert.Assert(t, !first.Wait(context.Background()))
		synctest.Wait()
		assert.DeepEqual(t, list(), []string{"many /many 3 since 1s", "addauth  1 since 2s"})
		server.Write(reply(2, 0))
		synctest.Wait()
		assert.DeepEqual(t, list(), []string{"many /many 3 since 1s", "addauth  1 since 2s"})
		h.end(t, server)
		assert.Equal(t, len(list()), 0)
	})
}

// The list may be asked for at any time.
func TestWaitingWhileCalling(t *testing.T) {
	p, h, server := open(Options{})
	p.Start(timeout, 0, true)
	go func() {
		for i := range 500 {
			xids(t, server, 1)
			server.Write(reply(int32(i+1), 0))
		}
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := request("call", 4)
		for range 500 {
			c.Label = Label{"call", "/call"}
			h.send(c, 1, false)
			c.Wait(context.Background())
			frames := c.Frames
			c.Reset()
			c.Frames, c.Label = frames, Label{}
		}
	}()
	for {
		select {
		case <-done:
			h.end(t, server)
			return
		default:
			for _, w := range p.Waiting() {
				assert.Equal(t, w.Label, Label{"call", "/call"})
			}
		}
	}
}
