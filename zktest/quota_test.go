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
				assert.Equal(t, string(e.Member(1).tree.Node(stats).Data), "count=2,bytes=5")
				e.Member(1).Thaw()

				c.del("/zookeeper/quota/a/zookeeper_limits")
				assert.Equal(t, c.tryCreate("/a/e", 0), int32(0))
				assert.Equal(t, c.data(stats), "count=3,bytes=2") // of no interest any more
			})
		}
	}
}
