package zk

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A call waits for an event that is on its way into its channel, and for those behind
// it that nobody has received.
func TestCallWaitsForEventsOnTheirWay(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		inside := make(chan struct{}, 2)
		c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
			if ev.Type == EventNodeDataChanged {
				inside <- struct{}{}
				time.Sleep(patience / 4)
			}
		}))
		other, _ := connect(t, server.Addrs(), through)
		nodes(t, c, "/a", "/b")
		for range 20 { // a lane takes what comes first by chance
			var armed []<-chan Event
			for _, path := range []string{"/a", "/b"} {
				_, _, ch, err := c.GetW(path)
				assert.NilError(t, err)
				armed = append(armed, ch)
			}
			_, err := other.Multi(&SetDataRequest{"/a", nil, -1}, &SetDataRequest{"/b", nil, -1})
			assert.NilError(t, err)
			<-inside
			_, _, err = c.Get("/a")
			assert.NilError(t, err)
			assert.Equal(t, len(armed[0])+len(armed[1]), 2)
			<-inside
		}
	})
}

// A call that has to wait does not take the wait of an earlier one for its own.
func TestCallsThatWaitShareNoEarlierWait(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
			switch ev.Type {
			case EventNodeChildrenChanged:
				time.Sleep(2 * patience)
			case EventNodeDataChanged:
				time.Sleep(patience / 2)
			}
		}))
		other, _ := connect(t, server.Addrs(), through)
		nodes(t, c, "/a", "/b")
		_, _, _, err := c.GetW("/a")
		assert.NilError(t, err)
		_, _, _, err = c.ChildrenW("/a") // on the second lane
		assert.NilError(t, err)
		_, _, ch, err := c.GetW("/b") // on the first
		assert.NilError(t, err)
		nodes(t, other, "/a/c")
		synctest.Wait()
		go c.Get("/") // waits for the second lane in vain
		time.Sleep(patience * 8 / 10)
		_, err = other.Set("/b", nil, -1)
		assert.NilError(t, err)
		synctest.Wait()
		_, _, err = c.Get("/")
		assert.NilError(t, err)
		assert.Equal(t, len(ch), 1)
	})
}

// behindSlow arms a watch of /slow and one of /a, and changes /a while the callback for
// /slow, which closes inside, is at work.
func behindSlow(t *testing.T, c, other *Conn, inside <-chan struct{}) (slow, behind <-chan Event) {
	nodes(t, c, "/slow", "/a")
	_, _, slow, err := c.GetW("/slow")
	assert.NilError(t, err)
	_, _, behind, err = c.GetW("/a")
	assert.NilError(t, err)
	_, err = other.Set("/slow", nil, -1)
	assert.NilError(t, err)
	<-inside
	_, err = other.Set("/a", nil, -1)
	assert.NilError(t, err)
	return slow, behind
}

// An event on its way to an older watch of the path is not the newer one's, which has its
// own on the session's channel too. So it is where the newer one's call did not wait for it.
func TestNewWatchBehindAnEvent(t *testing.T) {
	for _, takes := range []time.Duration{patience / 2, 3 * patience} {
		inMemoryOf(t, zktest.V34, func(t *testing.T, server *zktest.Server, through connOption) { // its events have no zxid
			inside := make(chan struct{})
			var told atomic.Int32
			c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
				switch {
				case ev.Type != EventNodeDataChanged:
				case ev.Path == "/slow":
					close(inside)
					time.Sleep(takes)
				default:
					told.Add(1)
				}
			}))
			other, _ := connect(t, server.Addrs(), through)
			_, older := behindSlow(t, c, other, inside)
			_, st, newer, err := c.GetW("/a")
			assert.NilError(t, err)
			assert.Assert(t, st.Version == 1 && len(newer) == 0)
			assert.Equal(t, (<-older).Type, EventNodeDataChanged)
			assert.Equal(t, len(newer), 0)
			_, err = c.Set("/a", nil, -1)
			assert.NilError(t, err)
			assert.Equal(t, len(newer), 1)
			assert.Equal(t, told.Load(), int32(2))
		})
	}
}

// Nor where the connection was lost while its call waited, and the event stays behind.
func TestNewWatchBehindAnEventThatStays(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		inside := make(chan struct{})
		c, events := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
			if ev.Path == "/0" {
				close(inside)
				time.Sleep(patience / 2)
			}
		}))
		other, _ := connect(t, server.Addrs(), through)
		var sets []any
		const n = 2*laneSize + 2 // more than there is room for
		var older <-chan Event
		for i := range n {
			path := fmt.Sprint("/", i)
			nodes(t, c, path)
			_, _, ch, err := c.GetW(path)
			assert.NilError(t, err)
			older, sets = ch, append(sets, &SetDataRequest{path, nil, -1})
		}
		_, err := other.Multi(sets...)
		assert.NilError(t, err)
		<-inside
		var newer <-chan Event
		done := make(chan struct{})
		go func() {
			_, _, newer, _ = c.GetW(fmt.Sprint("/", n-1))
			close(done)
		}()
		synctest.Wait()
		server.Member(0).Refuse(true)
		server.Cut(c.SessionID())
		<-done
		assert.Equal(t, len(older), 0)
		server.Member(0).Refuse(false)
		for len(older) == 0 {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		assert.Equal(t, len(newer), 0)
		_, err = c.Set(fmt.Sprint("/", n-1), nil, -1)
		assert.NilError(t, err)
		assert.Equal(t, len(newer), 1)
		states(events)
	})
}

// An event, or the end, may come while a watch that follows another one is still on a lane
// of its own.
func TestFollowsOnItsOwnLane(t *testing.T) {
	for name, happens := range map[string]func(b *books, older, newer chan<- root.Event, ev root.Event){
		"older's first": func(_ *books, older, newer chan<- root.Event, ev root.Event) {
			older <- ev
			synctest.Wait()
			newer <- ev
		},
		"older's first, disarmed in vain": func(b *books, older, newer chan<- root.Event, ev root.Event) {
			older <- ev
			synctest.Wait()
			b.unlane("/a", b.paths["/a"], false)
			third, _, _ := b.join("/a")
			assert.Assert(t, !b.confirm("/a", third, dataWatch, true)) // it follows none whose event has come
			b.unlane("/a", third, true)
			newer <- ev
		},
		"newer's first": func(b *books, older, newer chan<- root.Event, ev root.Event) {
			newer <- ev
			synctest.Wait()
			third, _, lane := b.join("/a")
			assert.Assert(t, lane != newer) // which is about to be disarmed
			b.leave("/a", third)
			older <- ev
		},
		"end": func(b *books, _, _ chan<- root.Event, _ root.Event) { b.expire(ErrClosing) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := 0
				b := newBooks(func(Event) { told++ })
				first, one, older := b.join("/a")
				assert.Assert(t, !b.confirm("/a", first, dataWatch, true))
				second, two, newer := b.join("/a")
				assert.Assert(t, b.confirm("/a", second, dataWatch, true))
				happens(b, older, newer, root.Event{Type: root.Changed, Path: "/a"})
				synctest.Wait()
				b.unlane("/a", second, false)
				assert.Assert(t, len(one) == 1 && len(two) == 1 && told == 1, "%d %d %d", len(one), len(two), told)
				assert.Assert(t, b.armed+b.pending+len(b.paths)+len(b.more) == 0)
				if name != "end" {
					b.expire(ErrClosing)
				}
			})
		})
	}
}

// A watch whose event is being told while its call returns follows no other one any more.
func TestFollowsNoneWithItsEventAtHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told, release := 0, make(chan struct{})
		b := newBooks(func(Event) {
			told++
			<-release
		})
		first, one, older := b.join("/a")
		assert.Assert(t, !b.confirm("/a", first, dataWatch, true))
		second, two, newer := b.join("/a")
		ev := root.Event{Type: root.Changed, Path: "/a"}
		newer <- ev
		synctest.Wait()
		assert.Check(t, !b.confirm("/a", second, dataWatch, true))
		older <- ev
		close(release)
		synctest.Wait()
		assert.Assert(t, len(one) == 1 && len(two) == 1 && told == 1, "%d %d %d", len(one), len(two), told)
		assert.Assert(t, b.armed+b.pending+len(b.paths)+len(b.more) == 0)
		b.expire(ErrClosing)
	})
}

// A callback that blocks holds up what comes after it, and not the answers.
func TestCallbackBlocks(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		release := make(chan struct{})
		c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
			if ev.Type == EventNodeDataChanged {
				<-release
			}
		}))
		nodes(t, c, "/a")
		_, _, ch, _ := c.GetW("/a")
		began := time.Now()
		_, err := c.Set("/a", nil, -1)
		assert.NilError(t, err)
		assert.Assert(t, time.Since(began) <= 2*time.Second, "%v", time.Since(began))
		assert.Equal(t, len(ch), 0)
		close(release)
		assert.Equal(t, (<-ch).Type, EventNodeDataChanged)
	})
}

// A watch whose call has been answered, and has not returned, shares the event of the
// session's channel with the older ones of its path. Where events have no zxid it has one of
// its own there.
func TestPendingWatchAndEvent(t *testing.T) {
	for version, times := range map[zktest.Version]int32{zktest.V39: 1, zktest.V38: 2} {
		inMemoryOf(t, version, func(t *testing.T, server *zktest.Server, through connOption) {
			inside := make(chan struct{})
			var told atomic.Int32
			c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
				switch ev.Type {
				case EventNodeChildrenChanged:
					close(inside)
					time.Sleep(patience / 2)
				case EventNodeDataChanged:
					told.Add(1)
				}
			}))
			other, _ := connect(t, server.Addrs(), through)
			nodes(t, c, "/a", "/slow")
			c.GetW("/slow")
			c.ChildrenW("/slow") // on the second lane
			_, _, older, err := c.GetW("/a")
			assert.NilError(t, err)
			nodes(t, other, "/slow/c")
			<-inside
			var newer <-chan Event
			done := make(chan struct{})
			go func() {
				_, _, newer, _ = c.GetW("/a")
				close(done)
			}()
			synctest.Wait() // it waits for the second lane
			_, err = other.Set("/a", nil, -1)
			assert.NilError(t, err)
			<-done
			assert.Assert(t, len(older) == 1 && len(newer) == 1)
			assert.Equal(t, told.Load(), times)
		})
	}
}

// What the server reported before the end is an event, and no EventNotWatching.
func TestEventsBeforeTheEnd(t *testing.T) {
	for _, takes := range []time.Duration{patience / 4, 3 * patience} {
		inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
			inside := make(chan struct{})
			c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
				if ev.Path == "/slow" && ev.Type == EventNodeDataChanged {
					close(inside)
					time.Sleep(takes)
				}
			}))
			other, _ := connect(t, server.Addrs(), through)
			slow, behind := behindSlow(t, c, other, inside)
			synctest.Wait()
			c.Close()
			want := EventNodeDataChanged
			if takes > patience { // it is not waited for
				want = EventNotWatching
			}
			assert.Equal(t, (<-slow).Type, want)
			assert.Equal(t, (<-behind).Type, want)
			time.Sleep(takes)
		})
	}
}
