package vitess

import (
	"fmt"
	"os"
	"path"
	"testing"

	"gotest.tools/v3/assert"
	topodata "vitess.io/vitess/go/vt/proto/topodata"
	"vitess.io/vitess/go/vt/topo"
	"vitess.io/vitess/go/vt/topo/test"
	_ "vitess.io/vitess/go/vt/topo/zk2topo"

	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// inapplicable are the parts of the suite that vitess' topology on ZooKeeper skips.
var inapplicable = []string{"checkList", "checkWatchRecursive"}

// The suite for topology servers: locks, elections, watches, directories, files.
func TestTopology(t *testing.T) {
	t.Run("zktest", func(t *testing.T) { topology(t, zktest.NewServer(t).Addr()) })
	if os.Getenv("ZK_TEST_APACHE") != "1" {
		return
	}
	for _, r := range apache.Tested() {
		t.Run(string(r), func(t *testing.T) { topology(t, apache.New(t, apache.Config{Release: r}).Addrs()[0]) })
	}
}

func topology(t *testing.T, addr string) {
	roots := 0
	test.TopoServerTestSuite(t, t.Context(), func() *topo.Server {
		roots++
		root := fmt.Sprint("/test-", roots)
		// The second address is for what observers may serve.
		s, err := topo.OpenServer("zk2", addr+"|"+addr, path.Join(root, topo.GlobalCell))
		assert.NilError(t, err)
		assert.NilError(t, s.CreateCellInfo(t.Context(), test.LocalCellName, &topodata.CellInfo{
			ServerAddress: addr, Root: path.Join(root, test.LocalCellName),
		}))
		return s
	}, inapplicable)
	assert.Equal(t, roots, 19)
}
