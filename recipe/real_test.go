package recipe_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// onReal runs a test on one real server of each release that is tested, behind a
// proxy that can cut connections.
func onReal(t *testing.T, f func(t *testing.T, release apache.Release, proxy *zktest.Proxy, dial func() *zk.Session)) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			e := apache.New(t, apache.Config{Release: release})
			proxy := zktest.NewProxy(t, e.Addrs()[0])
			f(t, release, proxy, func() *zk.Session {
				conf := zk.Config{Addrs: []string{proxy.Addr()}, Timeout: 4 * time.Second}
				s, err := zk.Dial(bg, conf)
				for tries := 0; err != nil && tries < 20; tries++ { // a cut may hit the handshake
					s, err = zk.Dial(bg, conf)
				}
				assert.NilError(t, err)
				t.Cleanup(func() { closeLast(s) })
				return s
			})
		})
	}
}

// A counter under a lock is exact on a real server whose connections are cut all
// the time.
func TestRealLock(t *testing.T) {
	onReal(t, func(t *testing.T, release apache.Release, proxy *zktest.Proxy, dial func() *zk.Session) {
		first := dial()
		_, err := first.Create(bg, "/count", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		stop := make(chan struct{})
		var cutter, clients sync.WaitGroup
		cutter.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20*time.Millisecond + rand.N(150*time.Millisecond)):
					proxy.Cut()
				}
			}
		})
		const turns = 40
		var mu sync.Mutex
		count, token := 0, int64(0)
		for range 4 {
			s := dial()
			clients.Go(func() {
				for range turns {
					h, next, err := again(s, func(s *zk.Session) (*recipe.Hold, error) {
						lock := recipe.Lock{Path: "/locks/db"}
						return lock.Acquire(bg, s)
					})
					s = next
					if !assert.Check(t, err) {
						return
					}
					assert.Check(t, mu.TryLock(), "two holders")
					assert.Check(t, h.Token() > token)
					token = h.Token()
					count++
					mu.Unlock()
					if err := h.Release(); err != nil && !errors.Is(err, zk.ErrConnection) {
						assert.Check(t, err)
					}
				}
			})
		}
		clients.Wait()
		close(stop)
		cutter.Wait()
		assert.Equal(t, count, 4*turns)
		last := dial()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			names, _, err := last.Children(bg, "/locks/db", nil)
			if len(names) == 0 && (err == nil || errors.Is(err, zk.ErrNoNode)) {
				break
			}
			assert.Assert(t, time.Now().Before(end), "left behind: %v %v", names, err)
		}
	})
}

// A server of ZooKeeper 3.4 supports neither what tells the Token at once nor
// containers: it costs one connection per session to learn that, and none with
// KeepDir.
func TestRealOldServer(t *testing.T) {
	apache.Need(t)
	if !slices.Contains(apache.Tested(), apache.V3_4) {
		t.Skip("3.4 is not among the releases that are tested: ZK_TEST_RELEASES=all")
	}
	e := apache.New(t, apache.Config{Release: apache.V3_4})
	s, err := zk.Dial(bg, zk.Config{Addrs: e.Addrs(), Timeout: 4 * time.Second})
	assert.NilError(t, err)
	defer func() { s.Close() }()
	m := recipe.Semaphore{Path: "/sem", Max: 1, KeepDir: true}
	h, err := m.Acquire(bg, s)
	assert.NilError(t, err)
	assert.NilError(t, h.Release())
	assert.NilError(t, s.Err())
	lock := recipe.Lock{Path: "/locks/a"}
	_, err = lock.Acquire(bg, s)
	assert.ErrorIs(t, err, zk.ErrConnection)
	assert.Check(t, !zk.Hopeless(err))
	s = redial(t, s)
	for _, path := range []string{"/locks/a", "/locks/b"} {
		h, err = (&recipe.Lock{Path: path}).Acquire(bg, s)
		assert.NilError(t, err)
		assert.Check(t, h.Token() > 0)
		assert.NilError(t, h.Release())
	}
	assert.NilError(t, s.Err())
}
