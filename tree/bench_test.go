package tree_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// benchTree starts a server, a real one with ZK_TEST_APACHE=1, with a tree of n
// znodes below 1 % as many directories, each with 100 bytes.
func benchTree(b *testing.B, n int) []string {
	var addrs []string
	if os.Getenv("ZK_TEST_APACHE") == "1" {
		addrs = apache.New(b, apache.Config{HeapMB: 1024}).Addrs()
	} else {
		addrs = zktest.NewServer(b, zktest.Options{FrameLog: -1}).Addrs()
	}
	s := dial(b, zk.Config{Addrs: addrs})
	paths := wide("/tree", n/100, 99)
	data := make([]byte, 100)
	for i := 0; i < len(paths); i += 2000 {
		var ops []zk.Op
		for _, path := range paths[i:min(i+2000, len(paths))] {
			ops = append(ops, zk.CreateOp{Path: path, Data: data, ACL: zk.ACLOpen})
		}
		_, err := s.Batch(context.Background(), ops...)
		assert.NilError(b, err)
	}
	return addrs
}

var benchSizes = []int{10000, 100000}

// BenchmarkLoad is from the start of a Run until all can be read.
func BenchmarkLoad(b *testing.B) {
	for _, n := range benchSizes {
		for _, perNode := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/pernode=%v", n, perNode), func(b *testing.B) {
				s := dial(b, zk.Config{Addrs: benchTree(b, n)})
				for b.Loop() {
					b.StopTimer()
					c := &tree.Cache{Root: "/tree", PerNode: perNode}
					before := heap()
					done := make(chan error)
					b.StartTimer()
					go func() { done <- c.Run(context.Background(), s) }()
					assert.NilError(b, c.Wait(context.Background(), 0))
					b.StopTimer()
					b.ReportMetric(float64(heap()-before)/float64(c.Len()), "B/znode")
					c.Close()
					<-done
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkRedial is from a new Session until the cache is exact again, with one
// change somewhere else meanwhile.
func BenchmarkRedial(b *testing.B) {
	for _, n := range benchSizes {
		for _, perNode := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/pernode=%v", n, perNode), func(b *testing.B) {
				ctx := context.Background()
				addrs := benchTree(b, n)
				admin := dial(b, zk.Config{Addrs: addrs})
				s := dial(b, zk.Config{Addrs: addrs})
				c := &tree.Cache{Root: "/tree", PerNode: perNode}
				done := make(chan error)
				go func() { done <- c.Run(ctx, s) }()
				assert.NilError(b, c.Wait(ctx, 0))
				for b.Loop() {
					b.StopTimer()
					conf := s.Detach()
					<-done
					_, err := admin.Set(ctx, "/", nil, -1)
					assert.NilError(b, err)
					s, err = zk.Dial(ctx, conf)
					assert.NilError(b, err)
					b.StartTimer()
					go func() { done <- c.Run(ctx, s) }()
					assert.NilError(b, c.Wait(ctx, admin.Zxid()))
				}
				b.StopTimer()
				c.Close()
				<-done
				s.Close()
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := dial(b, zk.Config{Addrs: benchTree(b, 10000)})
	c := &tree.Cache{Root: "/tree"}
	done := make(chan error)
	go func() { done <- c.Run(context.Background(), s) }()
	assert.NilError(b, c.Wait(context.Background(), 0))
	paths := wide("/tree", 100, 99)
	i := 0
	for b.Loop() {
		if i++; i == len(paths) {
			i = 0
		}
		if _, ok := c.Get(paths[i]); !ok {
			b.Fatal(paths[i])
		}
	}
	c.Close()
	<-done
}
