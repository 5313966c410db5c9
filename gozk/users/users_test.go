package users

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	_ "github.com/go-kit/kit/sd/zk"
	client "github.com/go-zookeeper/zk"
	"github.com/prometheus/prometheus/util/treecache"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// each runs a test on an in-process server, and on real ones where they are asked for.
func each(t *testing.T, f func(t *testing.T, server string)) {
	t.Run("zktest", func(t *testing.T) { f(t, zktest.NewServer(t).Addr()) })
	if os.Getenv("ZK_TEST_APACHE") != "1" {
		return
	}
	for _, r := range apache.Tested() {
		t.Run(string(r), func(t *testing.T) { f(t, apache.New(t, apache.Config{Release: r}).Addrs()[0]) })
	}
}

var passed = regexp.MustCompile(`(?m)^--- PASS: \w+`)

func TestGoKit(t *testing.T) {
	each(t, func(t *testing.T, server string) {
		cmd := exec.Command("go", "test", "-count=1", "-v", "-vet=off", "-tags=integration", "github.com/go-kit/kit/sd/zk")
		cmd.Env = append(os.Environ(), "ZK_ADDR="+server)
		out, err := cmd.CombinedOutput()
		assert.NilError(t, err, "%s", out)
		assert.Equal(t, len(passed.FindAll(out, -1)), 13, "%s", out)
	})
}

// Three hundred changes of a hundred znodes, over cuts: what the cache has told in the end
// is what the server has.
func TestTreeCache(t *testing.T) {
	each(t, func(t *testing.T, server string) {
		s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{server}})
		assert.NilError(t, err)
		defer s.Close()
		_, err = s.Create(t.Context(), "/cache", []byte("root"), zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		proxy := zktest.NewProxy(t, server, zktest.ProxyOptions{FrameLog: -1})
		c, _, err := client.Connect([]string{proxy.Addr()}, 20*time.Second, client.WithLogInfo(false))
		assert.NilError(t, err)
		c.SetLogger(treecache.NewZookeeperLogger(slog.New(slog.DiscardHandler)))
		defer c.Close()
		events := make(chan treecache.ZookeeperTreeCacheEvent)
		cache := treecache.NewZookeeperTreeCache(c, "/cache", events, slog.New(slog.DiscardHandler))
		told, asked := make(map[string]string), make(chan chan map[string]string)
		go func() {
			for {
				select {
				case ev, ok := <-events:
					if !ok {
						return
					}
					if ev.Data == nil {
						delete(told, ev.Path)
					} else {
						told[ev.Path] = string(*ev.Data)
					}
				case answer := <-asked:
					answer <- maps.Clone(told)
				}
			}
		}()
		defer cache.Stop()

		want := map[string]string{"/cache": "root"}
		for i := range 300 {
			path := fmt.Sprint("/cache/", rand.IntN(100))
			switch _, there := want[path]; {
			case !there:
				want[path] = fmt.Sprint("new ", i)
				_, err = s.Create(t.Context(), path, []byte(want[path]), zk.Persistent, zk.ACLOpen)
			case i%3 == 0:
				delete(want, path)
				err = s.Delete(t.Context(), path, zk.AnyVersion)
			default:
				want[path] = fmt.Sprint("set ", i)
				_, err = s.Set(t.Context(), path, []byte(want[path]), zk.AnyVersion)
			}
			assert.NilError(t, err)
			if i%50 == 25 {
				proxy.Cut()
			}
		}
		var got map[string]string
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			answer := make(chan map[string]string)
			asked <- answer
			if got = <-answer; maps.Equal(got, want) {
				return
			}
		}
		assert.DeepEqual(t, got, want)
	})
}
