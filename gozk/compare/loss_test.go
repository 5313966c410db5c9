package compare

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	theirs "github.com/go-zookeeper/zk"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	ours "github.com/seed-9f8420c6/zk/gozk"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// lossWatches are one-shot watches, on paths of 87 bytes: five SetWatches frames of 128 KiB.
const lossWatches = 6000

func lossPath(i int) string { return fmt.Sprintf("/loss/%s-%05d", strings.Repeat("x", 75), i) }

// watcher is a client as the loss test uses it.
type watcher interface {
	// arm arms a watch and returns how to ask how many events it has had.
	arm(path string) (func() int, error)
	// beat makes a call, so that the client is seen to be connected.
	beat() error
	close()
}

type silent struct{}

func (silent) Printf(string, ...any) {}

type theirWatcher struct{ c *theirs.Conn }

func newTheirs(addr string) (watcher, error) {
	c, _, err := theirs.Connect([]string{addr}, 20*time.Second, theirs.WithLogger(silent{}))
	return theirWatcher{c}, err
}

func (w theirWatcher) arm(path string) (func() int, error) {
	_, _, ch, err := w.c.GetW(path)
	return func() int { return len(ch) }, err
}

func (w theirWatcher) beat() error { _, _, err := w.c.Exists("/"); return err }
func (w theirWatcher) close()      { w.c.Close() }

type ourWatcher struct{ c *ours.Conn }

func newOurs(addr string) (watcher, error) {
	c, _, err := ours.Connect([]string{addr}, 20*time.Second, ours.WithLogger(silent{}))
	return ourWatcher{c}, err
}

func (w ourWatcher) arm(path string) (func() int, error) {
	_, _, ch, err := w.c.GetW(path)
	return func() int { return len(ch) }, err
}

func (w ourWatcher) beat() error { _, _, err := w.c.Exists("/"); return err }
func (w ourWatcher) close()      { w.c.Close() }

// lose arms watches, cuts the connection while another client changes all znodes, cuts
// the next one after so many frames to the client, and returns how many events never came.
func lose(t *testing.T, server string, cutAt int64, connect func(addr string) (watcher, error)) int {
	t.Helper()
	proxy := zktest.NewProxy(t, server, zktest.ProxyOptions{FrameLog: -1})
	w, err := connect(proxy.Addr())
	assert.NilError(t, err)
	defer w.close()
	counts := make([]func() int, lossWatches)
	for i := range counts {
		counts[i], err = w.arm(lossPath(i))
		assert.NilError(t, err)
	}
	proxy.Hold(zktest.FromClient) // its first attempt waits until all is changed
	proxy.Hold(zktest.ToClient)
	proxy.Link(zktest.LinkRule{ToClient: zktest.CutAt(cutAt).Frames()})
	proxy.Cut()
	changeAll(t, server)
	proxy.Release(zktest.FromClient)
	proxy.Release(zktest.ToClient)

	lost := func() (n int) {
		for _, count := range counts {
			if count() == 0 {
				n++
			}
		}
		return n
	}
	// It is over when nothing has come for two seconds of answered calls.
	for last, since := -1, time.Now(); time.Since(since) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		if n := lost(); n != last || w.beat() != nil {
			last, since = n, time.Now()
		}
	}
	return lost()
}

// changeAll sets the data of all znodes, by a client of its own.
func changeAll(t *testing.T, server string) {
	t.Helper()
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{server}})
	assert.NilError(t, err)
	defer s.Close()
	var ops []zk.Op
	for i := range lossWatches {
		ops = append(ops, zk.SetOp{Path: lossPath(i), Version: zk.AnyVersion})
	}
	_, err = s.Batch(t.Context(), ops...)
	assert.NilError(t, err)
}

func makeLossTree(t *testing.T, server string) {
	t.Helper()
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: []string{server}})
	assert.NilError(t, err)
	defer s.Close()
	ops := []zk.Op{zk.CreateOp{Path: "/loss", ACL: zk.ACLOpen}}
	for i := range lossWatches {
		ops = append(ops, zk.CreateOp{Path: lossPath(i), ACL: zk.ACLOpen})
	}
	_, err = s.Batch(t.Context(), ops...)
	assert.NilError(t, err)
}

// compareLoss reports how many events each client loses at each cut, and fails unless
// go-zookeeper loses some and gozk none.
func compareLoss(t *testing.T, server string, cuts, control []int64) {
	makeLossTree(t, server)
	most := 0
	for _, cut := range cuts {
		mine := lose(t, server, cut, newOurs)
		t.Logf("cut after frame %d: gozk lost %d of %d", cut, mine, lossWatches)
		assert.Check(t, mine == 0)
	}
	for _, cut := range control {
		n := lose(t, server, cut, newTheirs)
		t.Logf("cut after frame %d: go-zookeeper lost %d of %d", cut, n, lossWatches)
		most = max(most, n)
	}
	assert.Assert(t, most > 0, "go-zookeeper has lost nothing: this test cannot see a loss")
}

func TestLoss(t *testing.T) {
	t.Parallel()
	if unraced(t) {
		return
	}
	server := zktest.NewServer(t, zktest.Options{FrameLog: -1})
	cuts := []int64{1, 2000, 3000}
	compareLoss(t, server.Addr(), cuts, cuts[1:])
}

// The figures of the README, on real servers. The test-matrix has all releases, and
// twenty cuts for gozk.
func TestLossOnRealServers(t *testing.T) {
	apache.Need(t)
	if unraced(t) {
		return
	}
	releases, cuts, control := []apache.Release{apache.V3_8}, []int64{2000}, []int64{2000}
	if os.Getenv("ZK_TEST_RELEASES") != "" {
		releases, control = apache.Tested(), []int64{1, 1000, 2000, 3000, 4500}
		for cut := int64(1); cut <= lossWatches; cut += lossWatches / 20 {
			cuts = append(cuts, cut)
		}
	}
	for _, r := range releases {
		t.Run(string(r), func(t *testing.T) {
			compareLoss(t, apache.New(t, apache.Config{Release: r}).Addrs()[0], cuts, control)
		})
	}
}
