package zktest

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

func (c *client) data(path string) string {
	c.t.Helper()
	var r wire.GetDataResponse
	c.must(wire.OpGetData, wire.PathWatchRequest{Path: path}, &r)
	return string(r.Data)
}

func TestQuotas(t *testing.T) {
	for _, enforce := range []bool{false, true} {
		for version := V34; version <= V39; version++ {
			t.Run(fmt.Sprintf("%v enforced %t", version, enforce), func(t *testing.T) {
				e := NewEnsemble(t, 2, Options{Version: version, EnforceQuota: enforce})
				c := dial(t, e, 0)
				c.create("/a", []byte("12345"), 0)
				c.create("/a/b", nil, 0)
				c.create("/zookeeper/quota/a", nil, 0)
				c.create("/zookeeper/quota/a/zookeeper_limits", []byte("count=2,bytes=7=;byteHardLimit=9;countHardLimit=3"), 0)
				stats := "/zookeeper/quota/a/zookeeper_stats"
				c.create(stats, []byte("count=0,bytes=0"), 0)
				assert.Equal(t, c.data(stats), "count=2,bytes=5")
				c.watch(wire.OpGetData, stats)
				e.Member(1).Freeze() // whose statistics stay behind too

				c.create("/a/c", []byte("1"), wire.FlagEphemeral) // over the soft limits
				assert.Equal(t, c.data(stats), "count=3,bytes=6")
				enforced := int32(0)
				if enforce && version >= V37 {
					enforced = wire.ErrQuotaExceeded
				}
				assert.Equal(t, c.tryCreate("/a/d", 0), enforced)
				assert.Equal(t, c.call(wire.OpSetData, wire.SetDataRequest{Path: "/a", Data: make([]byte, 9), Version: -1}, &wire.Stat{}), enforced)
				c.set("/a", "12345678") // as much as may be
				c.set("/a", "1")
				c.del("/a/d")
				assert.Equal(t, c.data(stats), "count=3,bytes=2")
				var s wire.Stat
				c.must(wire.OpExists, wire.PathWatchRequest{Path: stats}, &s)
				assert.Equal(t, s.Version, int32(0))
				assert.Equal(t, s.Mzxid, s.Czxid)
				assert.Equal(t, len(c.took()), 0)
				assert.Equal(t, string(e.Member(1).tree.nodes[stats].data), "count=2,bytes=5")
				e.Member(1).Thaw()

				c.del("/zookeeper/quota/a/zookeeper_limits")
				assert.Equal(t, c.tryCreate("/a/e", 0), int32(0))
				assert.Equal(t, c.data(stats), "count=3,bytes=2") // of no interest any more
			})
		}
	}
}

// Releases before 3.6 forget the quotas below a path with the path's own.
func TestQuotaTree(t *testing.T) {
	for version, want := range map[Version]string{V35: "", V36: "/a/b"} {
		q := &quotas{}
		q.add("/a")
		q.add("/a/b")
		assert.Equal(t, q.of("/a/b/c"), "/a/b")
		assert.Equal(t, q.of("/a/bc"), "/a")
		assert.Equal(t, q.of("/ab"), "")
		assert.Equal(t, q.clone().of("/a/b"), "/a/b")
		q.remove("/none/b", version)
		q.remove("/a", version)
		assert.Equal(t, q.of("/a/b/c"), want)
		assert.Equal(t, q.of("/a/x"), "")
	}
}

func TestTrack(t *testing.T) {
	for data, want := range map[string]string{
		"count=1,bytes=2": "count=1,bytes=2", "": "count=-1,bytes=-1", "bytes=3": "count=-1,bytes=3", "count==5": "count=-1,bytes=-1",
		"b=1;a=2;count=+3": "count=3,bytes=-1=;a=2;b=1", "count=1,bytes=2=;countHardLimit=3": "count=1,bytes=2=;countHardLimit=3",
	} {
		got, ok := V37.parseTrack([]byte(data))
		assert.Assert(t, ok, data)
		assert.Equal(t, string(got.data()), want)
	}
	for _, data := range []string{"x", "=", "count=x", ",count=1", "count="} {
		_, ok := V37.parseTrack([]byte(data))
		assert.Assert(t, !ok, data)
	}
	_, ok := V37.parseTrack(nil)
	assert.Assert(t, !ok)
	got, ok := V36.parseTrack([]byte("count=1,bytes=2=;countHardLimit=3"))
	assert.Assert(t, ok)
	assert.Equal(t, string(got.data()), "count=1,bytes=2")
	for _, data := range []string{"", "count=1", "count=1,bytes", "count=1,bytes=2,x=3"} {
		_, ok := V36.parseTrack([]byte(data))
		assert.Assert(t, !ok, data)
	}
}
