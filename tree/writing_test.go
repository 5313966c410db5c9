package tree_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestR54_MkdirAll(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	path := "/1/2/3/4/5/6/7/8/9/10"
	e.ForgetFrames()
	assert.NilError(t, tree.MkdirAll(ctx, s, path, nil))
	frames := e.Frames()
	assert.Equal(t, requests(e.Ensemble), 11)
	assert.Equal(t, frames[1].Dir, zktest.ToClient) // the first, alone; the others together
	e.ForgetFrames()
	assert.NilError(t, tree.MkdirAll(ctx, s, path, nil))
	assert.NilError(t, tree.MkdirAll(ctx, s, path+"/x", zk.ACLReadOnly))
	assert.Equal(t, requests(e.Ensemble), 2)
	acl, stat, err := s.GetACL(ctx, path+"/x")
	assert.NilError(t, err)
	assert.DeepEqual(t, acl, zk.ACLReadOnly)
	assert.Equal(t, stat.EphemeralOwner, int64(0))

	_, err = s.Create(ctx, "/e", nil, zk.Ephemeral, zk.ACLOpen)
	assert.NilError(t, err)
	assert.ErrorIs(t, tree.MkdirAll(ctx, s, "/e/a/b", nil), zk.ErrNoChildrenForEphemerals)
	e.ForgetFrames()
	for _, path := range []string{"/", "", "a", "/a/", "/zookeeper", "/zookeeper/x"} {
		err := tree.MkdirAll(ctx, s, path, nil)
		assert.ErrorIs(t, err, zk.ErrBadPath, path)
		assert.ErrorIs(t, err, zk.ErrNotSent, path)
	}
	assert.Equal(t, requests(e.Ensemble), 0)
}

// Parents that exist and may not be written to are no obstacle.
func TestR54_ForbiddenParents(t *testing.T) {
	_, s := server(t)
	ctx := background(t)
	fill(t, s, "/a", "/a/b")
	for _, path := range []string{"/a", "/"} {
		_, err := s.SetACL(ctx, path, zk.ACLReadOnly, -1)
		assert.NilError(t, err)
	}
	assert.NilError(t, tree.MkdirAll(ctx, s, "/a/b", nil))
	assert.NilError(t, tree.MkdirAll(ctx, s, "/a/b/c/d", nil))
	err := tree.MkdirAll(ctx, s, "/a/x/y", nil)
	assert.ErrorIs(t, err, zk.ErrNoAuth)
	assert.ErrorContains(t, err, "/a/x")
	assert.ErrorIs(t, tree.MkdirAll(ctx, s, "/a/x", nil), zk.ErrNoAuth)
}

// With somebody who deletes the parents all the time it does not hang.
func TestR54_Race(t *testing.T) {
	e, s := server(t)
	other := dial(t, zk.Config{Addrs: e.Addrs()})
	ctx := background(t)
	var stop atomic.Bool
	var deleting sync.WaitGroup
	deleting.Go(func() {
		for !stop.Load() {
			assert.Check(t, tree.DeleteAll(ctx, other, "/r"))
		}
	})
	for range 200 {
		assert.NilError(t, tree.MkdirAll(ctx, s, "/r/a/b/c", nil))
	}
	stop.Store(true)
	deleting.Wait()
}

// Below a chroot that does not exist nothing can be made: that is an error, and
// nothing is tried again and again.
func TestR54_MissingChroot(t *testing.T) {
	e, root := server(t)
	s := dial(t, zk.Config{Addrs: e.Addrs(), Chroot: "/missing/app"})
	ctx := background(t)
	fill(t, root, "/a", "/a/b")
	var export bytes.Buffer
	assert.NilError(t, tree.Export(ctx, root, "/a", &export, tree.Options{}))
	// What goes on and on fails by another error.
	e.Fault(zktest.Rule{Op: wire.OpCreate, Skip: 200, Count: -1, Err: int32(zk.ErrNoAuth)})
	_, err := tree.Put(ctx, s, "/", nil, nil) // which is /missing/app
	assert.ErrorIs(t, err, zk.ErrNoNode)
	for _, path := range []string{"/a", "/a/b", "/a/b/c"} {
		for name, write := range map[string]func() error{
			"MkdirAll": func() error { return tree.MkdirAll(ctx, s, path, nil) },
			"Put":      func() error { _, err := tree.Put(ctx, s, path, nil, nil); return err },
			"Import": func() error {
				return tree.Import(ctx, s, path, bytes.NewReader(export.Bytes()), tree.Options{})
			},
		} {
			e.ForgetFrames()
			assert.ErrorIs(t, write(), zk.ErrNoNode, "%s %s", name, path)
			assert.Assert(t, requests(e.Ensemble) <= 7, "%s %s: %d requests", name, path, requests(e.Ensemble))
		}
	}
}

func TestR55_DeleteAll(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	fill(t, s, wide("/a", 20, 20)...)
	fill(t, s, "/ab", "/b", "/b/a")
	e.ForgetFrames()
	assert.NilError(t, tree.DeleteAll(ctx, s, "/a"))
	assert.Assert(t, requests(e.Ensemble, wire.OpMultiRead) <= 6)
	assert.Equal(t, requests(e.Ensemble, wire.OpDelete), 421) // each once
	assert.NilError(t, tree.DeleteAll(ctx, s, "/a"))
	assert.NilError(t, tree.DeleteAll(ctx, s, "/missing/x"))
	left := read(t, s, "/")
	for _, path := range []string{"/ab", "/b", "/b/a"} {
		assert.Equal(t, string(left[path].Data), path)
	}
	e.ForgetFrames()
	for _, path := range []string{"/", "", "a", "/zookeeper", "/zookeeper/quota", "/zookeeper/quota/x", "/a//b"} {
		err := tree.DeleteAll(ctx, s, path)
		assert.ErrorIs(t, err, zk.ErrBadPath, path)
		assert.ErrorIs(t, err, zk.ErrNotSent, path)
	}
	assert.Equal(t, requests(e.Ensemble), 0)

	fill(t, s, "/no", "/no/x")
	_, err := s.SetACL(ctx, "/no", zk.ACL{{Perms: zk.PermRead, Scheme: "world", ID: "anyone"}}, -1)
	assert.NilError(t, err)
	err = tree.DeleteAll(ctx, s, "/no")
	assert.ErrorIs(t, err, zk.ErrNoAuth)
	assert.ErrorContains(t, err, "/no/x")
}

// Below a chroot /zookeeper is a name like any other; not so above.
func TestR55_Chroot(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	fill(t, s, "/app")
	below := dial(t, zk.Config{Addrs: e.Addrs(), Chroot: "/app"})
	assert.NilError(t, tree.MkdirAll(ctx, below, "/zookeeper/x", nil))
	n, err := tree.Get(ctx, below, "/")
	assert.NilError(t, err)
	assert.Equal(t, n.String(), "/  \"/app\"\n└── zookeeper\n    └── x\n")
	assert.NilError(t, tree.DeleteAll(ctx, below, "/zookeeper"))
	servers := dial(t, zk.Config{Addrs: e.Addrs(), Chroot: "/zookeeper"})
	assert.ErrorIs(t, tree.DeleteAll(ctx, servers, "/quota"), zk.ErrBadPath)
}

func TestR55_WhileOthersCreate(t *testing.T) {
	e, s := server(t)
	other := dial(t, zk.Config{Addrs: e.Addrs()})
	ctx := background(t)
	fill(t, s, "/a", "/a/b")
	var made atomic.Int64
	until := time.Now().Add(time.Second)
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; time.Now().Before(until); i++ {
			_, err := other.Create(ctx, fmt.Sprintf("/a/b/%d", i), nil, zk.Persistent, zk.ACLOpen)
			if errors.Is(err, zk.ErrNoNode) {
				err = tree.MkdirAll(ctx, other, "/a/b", nil)
			}
			assert.Check(t, err)
			made.Add(1)
		}
	})
	for time.Now().Before(until) {
		assert.NilError(t, tree.DeleteAll(ctx, s, "/a"))
	}
	writing.Wait()
	assert.NilError(t, tree.DeleteAll(ctx, s, "/a"))
	found, _, err := s.Exists(ctx, "/a", nil)
	assert.NilError(t, err)
	assert.Assert(t, !found && made.Load() > 10)
}

// A lost connection in the middle: called again it goes on.
func TestR55_Cuts(t *testing.T) {
	e, s := server(t)
	fill(t, s, wide("/a", 20, 100)...)
	rule := e.Fault(zktest.Rule{Op: wire.OpDelete, Skip: 700, Do: zktest.CutAfter})
	s, err := repeat(t, s, func(s *zk.Session) error { return tree.DeleteAll(background(t), s, "/a") })
	assert.NilError(t, err)
	assert.Equal(t, rule.Hits(), 1)
	found, _, err := s.Exists(background(t), "/a", nil)
	assert.NilError(t, err)
	assert.Assert(t, !found)
}

func TestR58_Put(t *testing.T) {
	for _, v := range []zktest.Version{zktest.V39, zktest.V34} {
		e, s := server(t, zktest.Options{Version: v})
		put := func(path, data string) (stat zk.Stat) {
			t.Helper()
			var err error
			s, err = repeat(t, s, func(s *zk.Session) (err error) {
				stat, err = tree.Put(background(t), s, path, []byte(data), nil)
				return err
			})
			assert.NilError(t, err)
			data2, now, err := s.Get(background(t), path, nil)
			assert.NilError(t, err)
			assert.Equal(t, string(data2), data)
			assert.Equal(t, stat, now)
			return stat
		}
		assert.Equal(t, put("/x/y/z", "one").Version, int32(0))
		assert.Equal(t, put("/x/y/z", "two").Version, int32(1))
		assert.Equal(t, put("/x/y/w", "three").Version, int32(0))
		_, err := tree.Put(background(t), s, "/zookeeper/config", nil, nil)
		assert.ErrorIs(t, err, zk.ErrBadPath)
		_, err = tree.Put(background(t), s, "/", []byte("root"), nil)
		assert.NilError(t, err)
		e.ForgetFrames()
		put("/x/y/z", "again")
		assert.Equal(t, requests(e.Ensemble), 2) // one of them is this test's
	}
}

// Many that put and delete at a time get no error, and the last put is there.
func TestR58_Races(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	var all sync.WaitGroup
	for i := range 6 {
		own := dial(t, zk.Config{Addrs: e.Addrs()})
		all.Go(func() {
			for j := range 100 {
				if i < 2 {
					assert.Check(t, tree.DeleteAll(ctx, own, "/p"))
					continue
				}
				_, err := tree.Put(ctx, own, "/p/q/r", fmt.Append(nil, i, j), nil)
				assert.Check(t, err)
			}
		})
	}
	all.Wait()
	_, err := tree.Put(ctx, s, "/p/q/r", []byte("last"), nil)
	assert.NilError(t, err)
	data, _, err := s.Get(ctx, "/p/q/r", nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "last")
}

func TestR58_Update(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	fill(t, s, "/n")
	_, err := s.Set(ctx, "/n", nil, -1)
	assert.NilError(t, err)
	var all sync.WaitGroup
	for range 5 {
		own := dial(t, zk.Config{Addrs: e.Addrs()})
		all.Go(func() {
			for range 50 {
				_, err := tree.Update(ctx, own, "/n", func(data []byte, _ zk.Stat) ([]byte, error) {
					return append(data, 'x'), nil
				})
				assert.Check(t, err)
			}
		})
	}
	all.Wait()
	data, stat, err := s.Get(ctx, "/n", nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), strings.Repeat("x", 250))

	kept, err := tree.Update(ctx, s, "/n", func(_ []byte, got zk.Stat) ([]byte, error) {
		assert.Equal(t, got, stat)
		return nil, errors.WithStack(tree.ErrKeep)
	})
	assert.NilError(t, err)
	assert.Equal(t, kept, stat)
	no := errors.New("no")
	_, err = tree.Update(ctx, s, "/n", func([]byte, zk.Stat) ([]byte, error) { return nil, no })
	assert.Assert(t, err == no)
	_, err = tree.Update(ctx, s, "/none", func([]byte, zk.Stat) ([]byte, error) { panic("of no znode") })
	assert.ErrorIs(t, err, zk.ErrNoNode)
	e.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutAfter})
	_, err = tree.Update(ctx, s, "/n", func([]byte, zk.Stat) ([]byte, error) { return nil, nil })
	assert.ErrorIs(t, err, zk.ErrLost)
	assert.ErrorIs(t, err, zk.ErrConnection)
	_, err = tree.Put(context.Background(), s, "/n", nil, nil)
	assert.ErrorIs(t, err, zk.ErrNotSent)
}
