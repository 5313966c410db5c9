package zk_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pkgerrors "github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestCreate(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		parent := e.Create(s, e.Root+"/p", "")
		modes := []zk.Mode{zk.Persistent, zk.Ephemeral, zk.PersistentSequential, zk.EphemeralSequential}
		if e.Knows(zktest.V35) {
			modes = append(modes, zk.Container, zk.TTL(time.Hour), zk.SequentialTTL(time.Hour))
		}
		for i, mode := range modes {
			sequential := slices.Contains([]zk.Mode{zk.PersistentSequential, zk.EphemeralSequential, zk.SequentialTTL(time.Hour)}, mode)
			owner := int64(0)
			if mode == zk.Ephemeral || mode == zk.EphemeralSequential {
				owner = s.ID()
			}
			// With the counter of all creates of children, not of the sequential ones alone.
			want := func(name string, created int) string {
				if sequential {
					return fmt.Sprintf("%s/%s%010d", parent, name, created)
				}
				return parent + "/" + name
			}
			name := fmt.Sprintf("n%d-", i)
			path, err := s.Create(e.Ctx, parent+"/"+name, []byte("data"), mode, zk.ACLOpen)
			assert.NilError(t, err)
			assert.Equal(t, path, want(name, 2*i))
			found, st, err := s.Exists(e.Ctx, path, nil)
			assert.NilError(t, err)
			assert.Assert(t, found)

			name += "stat-"
			path, made, err := createStat(e, s, parent+"/"+name, []byte("data"), mode)
			assert.NilError(t, err)
			assert.Equal(t, path, want(name, 2*i+1))
			data, got, err := s.Get(e.Ctx, path, nil)
			assert.NilError(t, err)
			assert.Equal(t, string(data), "data")
			assert.Equal(t, made, got)

			for _, st := range []zk.Stat{st, got} {
				assert.Equal(t, st.EphemeralOwner, owner)
				assert.Equal(t, st.DataLength, int32(4))
				assert.Assert(t, st.Czxid > 0 && st.Czxid == st.Mzxid && st.Czxid == st.Pzxid, "%+v", st)
				assert.Assert(t, st.Version == 0 && st.Cversion == 0 && st.Aversion == 0 && st.NumChildren == 0, "%+v", st)
				assert.Equal(t, st.Ctime, st.Mtime)
				age := time.Since(time.UnixMilli(st.Ctime))
				assert.Assert(t, age > -time.Minute && age < time.Minute, "made %v ago", age)
			}
			assert.Assert(t, got.Czxid > st.Czxid)
			assert.Assert(t, s.Zxid() >= got.Czxid, "%#x, %#x", s.Zxid(), got.Czxid)
		}
		_, st, err := s.Exists(e.Ctx, parent, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.NumChildren, int32(2*len(modes)))
		assert.Equal(t, st.Cversion, int32(2*len(modes)))
		assert.Equal(t, st.Pzxid, s.Zxid())

		// The ephemeral ones leave with the session, and only those.
		names := children(t, e, s, parent)
		assert.NilError(t, s.Close())
		left := children(t, e, e.Session(), parent)
		ephemeral := regexp.MustCompile(`^n[13]-`)
		assert.DeepEqual(t, left, slices.DeleteFunc(names, ephemeral.MatchString))
	})
}

// createStat is CreateStat, for older servers too.
func createStat(e *suite.Env, s *zk.Session, path string, data []byte, mode zk.Mode) (string, zk.Stat, error) {
	if e.Knows(zktest.V35) {
		return s.CreateStat(e.Ctx, path, data, mode, zk.ACLOpen)
	}
	path, err := s.Create(e.Ctx, path, data, mode, zk.ACLOpen)
	if err != nil {
		return "", zk.Stat{}, err
	}
	_, st, err := s.Exists(e.Ctx, path, nil)
	return path, st, err
}

// children returns the sorted names.
func children(t *testing.T, e *suite.Env, s *zk.Session, path string) []string {
	t.Helper()
	names, st, err := s.Children(e.Ctx, path, nil)
	assert.NilError(t, err)
	assert.Equal(t, int(st.NumChildren), len(names))
	slices.Sort(names)
	return names
}

func TestSequentialNames(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		path, err := s.Create(e.Ctx, e.Root+"/", nil, zk.PersistentSequential, zk.ACLOpen) // the number is the name
		assert.NilError(t, err)
		assert.Equal(t, path, e.Root+"/0000000000")
		path, err = s.Create(e.Ctx, e.Root+"/.", nil, zk.EphemeralSequential, zk.ACLOpen) // "." alone would be illegal
		assert.NilError(t, err)
		assert.Equal(t, path, e.Root+"/.0000000001")
		e.Delete(s, path)
		mode := zk.PersistentSequential
		if e.Knows(zktest.V35) {
			mode = zk.SequentialTTL(time.Hour)
		}
		path, err = s.Create(e.Ctx, e.Root+"/x", nil, mode, zk.ACLOpen)
		assert.NilError(t, err)
		assert.Equal(t, path, e.Root+"/x0000000002") // never given twice

		// Under a chroot the root is the chroot.
		path, err = s.Create(e.Ctx, "/", nil, zk.EphemeralSequential, zk.ACLOpen)
		assert.NilError(t, err)
		assert.Assert(t, regexp.MustCompile(`^/\d{10}$`).MatchString(path), path)
		e.Delete(s, path)
		path, err = s.Create(e.Ctx, "/x-", nil, zk.EphemeralSequential, zk.ACLOpen)
		assert.NilError(t, err)
		assert.Assert(t, regexp.MustCompile(`^/x-\d{10}$`).MatchString(path), path)
		e.Delete(s, path)
	})
}

func TestData(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for i, data := range [][]byte{nil, {}, {0}, []byte("data"), all, bytes.Repeat(all, 4000)} {
			path := fmt.Sprintf("%s/%d", e.Root, i)
			check := func(st zk.Stat) {
				t.Helper()
				got, gotStat, err := s.Get(e.Ctx, path, nil)
				assert.NilError(t, err)
				assert.Assert(t, bytes.Equal(got, data))
				assert.Equal(t, got == nil, data == nil) // null and empty are kept apart
				assert.Equal(t, gotStat, st)
				assert.Equal(t, int(st.DataLength), len(data))
			}
			_, st, err := createStat(e, s, path, data, zk.Persistent)
			assert.NilError(t, err)
			check(st)
			e.Set(s, path, "something else")
			st, err = s.Set(e.Ctx, path, data, 1)
			assert.NilError(t, err)
			assert.Equal(t, st.Version, int32(2))
			check(st)

			res, err := s.Batch(e.Ctx, zk.GetOp{Path: path})
			assert.NilError(t, err)
			assert.Assert(t, bytes.Equal(res[0].Data, data) && (res[0].Data == nil) == (data == nil))
			if !e.Knows(zktest.V36) {
				continue
			}
			res, err = s.MultiRead(e.Ctx, zk.GetOp{Path: path})
			assert.NilError(t, err)
			assert.Assert(t, bytes.Equal(res[0].Data, data) && (res[0].Data == nil) == (data == nil))
		}
	})
}

// What Get returns is the caller's: no other call sees a change to it.
func TestDataIsTheCallers(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		path := e.Create(s, e.Root+"/n", "data")
		mine := []byte("mine")
		e.Set(s, path, "data")
		for range 3 {
			got, _, err := s.Get(e.Ctx, path, nil)
			assert.NilError(t, err)
			assert.Equal(t, string(got), "data")
			got = append(got[:0], "DATA!!!"...)
			_ = got
			res, err := s.Batch(e.Ctx, zk.GetOp{Path: path}, zk.GetOp{Path: path})
			assert.NilError(t, err)
			copy(res[0].Data, "DATA")
			_ = append(res[0].Data, "!!!!"...)
			assert.Equal(t, string(res[1].Data), "data")
		}
		// And what is given may be changed once the call has returned.
		_, err := s.Set(e.Ctx, path, mine, zk.AnyVersion)
		assert.NilError(t, err)
		copy(mine, "gone")
		got, _, err := s.Get(e.Ctx, path, nil)
		assert.NilError(t, err)
		assert.Equal(t, string(got), "mine")
	})
}

func TestVersions(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		path := e.Create(s, e.Root+"/n", "0")
		for i := range int32(5) {
			st, err := s.Set(e.Ctx, path, []byte(fmt.Sprint(i)), i)
			assert.NilError(t, err)
			assert.Equal(t, st.Version, i+1)
			assert.Equal(t, st.Mzxid, s.Zxid())
			assert.Assert(t, st.Mzxid > st.Czxid)
			for _, wrong := range []int32{i, i + 2, 1 << 30, -2} {
				_, err = s.Set(e.Ctx, path, []byte("never"), wrong)
				suite.WantCode(t, err, zk.ErrVersion, path)
				suite.WantCode(t, s.Delete(e.Ctx, path, wrong), zk.ErrVersion, path)
			}
		}
		data, st, err := s.Get(e.Ctx, path, nil)
		assert.NilError(t, err)
		assert.Equal(t, string(data), "4")
		assert.Equal(t, st.Version, int32(5))

		child := e.Create(s, path+"/child", "")
		suite.WantCode(t, s.Delete(e.Ctx, path, 5), zk.ErrNotEmpty, path)
		assert.NilError(t, s.Delete(e.Ctx, child, 0))
		assert.NilError(t, s.Delete(e.Ctx, path, 5))
		found, st, err := s.Exists(e.Ctx, path, nil)
		assert.NilError(t, err)
		assert.Assert(t, !found)
		assert.Equal(t, st, zk.Stat{})
	})
}

// Every operation on a node that is not there, and other refusals: the code,
// zero values beside it, and a session that goes on.
func TestCodes(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		none := e.Root + "/none"
		_, err := s.Create(e.Ctx, none+"/child", nil, zk.Persistent, zk.ACLOpen)
		suite.WantCode(t, err, zk.ErrNoNode, none+"/child")
		path, st, err := createStat(e, s, none+"/child", nil, zk.Ephemeral)
		suite.WantCode(t, err, zk.ErrNoNode, none+"/child")
		assert.Assert(t, path == "" && st == zk.Stat{})
		data, st, err := s.Get(e.Ctx, none, nil)
		suite.WantCode(t, err, zk.ErrNoNode, none)
		assert.Assert(t, data == nil && st == zk.Stat{})
		names, st, err := s.Children(e.Ctx, none, nil)
		suite.WantCode(t, err, zk.ErrNoNode, none)
		assert.Assert(t, names == nil && st == zk.Stat{})
		st, err = s.Set(e.Ctx, none, nil, zk.AnyVersion)
		suite.WantCode(t, err, zk.ErrNoNode, none)
		assert.Equal(t, st, zk.Stat{})
		suite.WantCode(t, s.Delete(e.Ctx, none, zk.AnyVersion), zk.ErrNoNode, none)
		acl, st, err := s.GetACL(e.Ctx, none)
		suite.WantCode(t, err, zk.ErrNoNode, none)
		assert.Assert(t, acl == nil && st == zk.Stat{})
		st, err = s.SetACL(e.Ctx, none, zk.ACLOpen, zk.AnyVersion)
		suite.WantCode(t, err, zk.ErrNoNode, none)
		assert.Equal(t, st, zk.Stat{})
		if e.Knows(zktest.V36) {
			n, err := s.AllChildrenNumber(e.Ctx, none)
			suite.WantCode(t, err, zk.ErrNoNode, none)
			assert.Equal(t, n, 0)
		}
		assert.NilError(t, s.Sync(e.Ctx, none)) // it need not exist

		_, err = s.Create(e.Ctx, e.Root, nil, zk.Persistent, zk.ACLOpen)
		suite.WantCode(t, err, zk.ErrExists, e.Root)
		assert.Equal(t, pkgerrors.Cause(err), error(zk.ErrExists))
		assert.ErrorContains(t, err, e.Root)
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		_, err = s.Create(e.Ctx, eph+"/child", nil, zk.Persistent, zk.ACLOpen)
		suite.WantCode(t, err, zk.ErrNoChildrenForEphemerals, eph+"/child")
		_, err = s.Create(e.Ctx, e.Root+"/n", nil, zk.Persistent, zk.ACL{{Perms: zk.PermAll, Scheme: "nonsense", ID: "x"}})
		suite.WantCode(t, err, zk.ErrInvalidACL, e.Root+"/n")
		_, err = s.Create(e.Ctx, e.Root+"/n", nil, zk.Persistent, zk.ACLCreator) // no credentials here
		suite.WantCode(t, err, zk.ErrInvalidACL, e.Root+"/n")
		if e.Chroot == "" {
			suite.WantCode(t, s.Delete(e.Ctx, "/", zk.AnyVersion), zk.ErrBadArguments, "/")
		}

		_, _, err = s.Get(e.Ctx, e.Root, nil)
		assert.NilError(t, err)
		assert.NilError(t, s.Err())
	})
}

func TestChildren(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		assert.Equal(t, len(children(t, e, s, e.Root)), 0)
		var want []string
		var ops []zk.Op
		for i := range 2000 {
			name := fmt.Sprintf("%04d-%s", i, strings.Repeat("ä", i%50))
			want = append(want, name)
			ops = append(ops, zk.CreateOp{Path: e.Root + "/" + name, ACL: zk.ACLOpen})
		}
		_, err := s.Batch(e.Ctx, ops...)
		assert.NilError(t, err)
		assert.DeepEqual(t, children(t, e, s, e.Root), want)
		if !e.Knows(zktest.V36) {
			return
		}
		n, err := s.AllChildrenNumber(e.Ctx, e.Root)
		assert.NilError(t, err)
		assert.Equal(t, n, 2000)
	})
}

// Sync shows what another session was told before, but on the leader, which
// answers it at once.
func TestSync(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		if e.Real() && e.Members > 1 {
			leader, err := e.Apache.Leader()
			assert.NilError(t, err)
			conf.Addrs = slices.Delete(slices.Clone(conf.Addrs), leader, leader+1)
		}
		s, writer := e.Dial(conf), e.Session()
		path := e.Create(writer, e.Root+"/n", "")
		for i := range 50 {
			data := fmt.Sprint(i)
			e.Set(writer, path, data)
			assert.NilError(t, s.Sync(e.Ctx, path))
			got, _, err := s.Get(e.Ctx, path, nil)
			assert.NilError(t, err)
			assert.Equal(t, string(got), data)
		}
		assert.NilError(t, s.Sync(e.Ctx, "/"))
	})
}

// Containers and nodes with a TTL leave by themselves.
func TestReapedModes(t *testing.T) {
	t.Parallel()
	suite.Since(t, zktest.V35, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		ch := make(chan zk.Event, 10)
		container, err := s.Create(e.Ctx, e.Root+"/container", nil, zk.Container, zk.ACLOpen)
		assert.NilError(t, err)
		e.Watch(s, container, ch)
		child := e.Create(s, container+"/child", "")
		e.Delete(s, child)
		e.Want(ch, zk.Deleted, container)

		short, err := s.Create(e.Ctx, e.Root+"/ttl", nil, zk.TTL(time.Nanosecond), zk.ACLOpen)
		assert.NilError(t, err)
		found, _, err := s.Exists(e.Ctx, short, ch)
		assert.NilError(t, err)
		if found {
			e.Want(ch, zk.Deleted, short)
		}
		long, err := s.Create(e.Ctx, e.Root+"/ttl-", nil, zk.SequentialTTL(34*365*24*time.Hour), zk.ACLOpen)
		assert.NilError(t, err)
		_, _, err = s.Get(e.Ctx, long, nil)
		assert.NilError(t, err)
	})
}

func TestMulti(t *testing.T) {
	suite.Since(t, zktest.V35, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		old := e.Create(s, e.Root+"/old", "0")
		base := e.Create(s, e.Root+"/base", "0")
		res, err := s.Multi(e.Ctx,
			zk.CheckOp{Path: base, Version: 0},
			zk.CreateOp{Path: e.Root + "/a", Data: []byte("a"), ACL: zk.ACLOpen},
			zk.CreateOp{Path: e.Root + "/s-", Mode: zk.EphemeralSequential, ACL: zk.ACLOpen},
			zk.CreateOp{Path: e.Root + "/c", Mode: zk.Container, ACL: zk.ACLOpen},
			zk.CreateOp{Path: e.Root + "/t", Data: []byte{}, Mode: zk.TTL(time.Hour), ACL: zk.ACLOpen},
			zk.SetOp{Path: e.Root + "/a", Data: []byte("aa"), Version: 0},
			zk.SetOp{Path: base, Version: zk.AnyVersion},
			zk.DeleteOp{Path: old, Version: 0},
		)
		assert.NilError(t, err)
		assert.Equal(t, len(res), 8)
		for i, r := range res {
			assert.NilError(t, r.Err, "%d", i)
		}
		assert.Equal(t, res[1].Path, e.Root+"/a")
		assert.Assert(t, regexp.MustCompile(`^`+regexp.QuoteMeta(e.Root)+`/s-\d{10}$`).MatchString(res[2].Path), res[2].Path)
		assert.Equal(t, res[3].Path, e.Root+"/c")
		assert.Equal(t, res[4].Path, e.Root+"/t")
		zxid := s.Zxid()
		for _, i := range []int{1, 2, 3, 4} {
			if i < 3 && !e.Knows(zktest.V37) { // those answer a create2 in a multi as a create
				assert.Equal(t, res[i].Stat, zk.Stat{}, "%d", i)
				continue
			}
			assert.Equal(t, res[i].Stat.Czxid, zxid, "%d", i)
			if i == 2 {
				assert.Equal(t, res[i].Stat.EphemeralOwner, s.ID())
			}
		}
		assert.Equal(t, res[5].Stat.Version, int32(1))
		assert.Equal(t, res[5].Stat.Mzxid, zxid)
		data, st, err := s.Get(e.Ctx, e.Root+"/a", nil)
		assert.NilError(t, err)
		assert.Equal(t, string(data), "aa")
		assert.Equal(t, st, res[5].Stat)
		data, _, err = s.Get(e.Ctx, base, nil)
		assert.NilError(t, err)
		assert.Assert(t, data == nil)
		found, _, err := s.Exists(e.Ctx, old, nil)
		assert.NilError(t, err)
		assert.Assert(t, !found)
	})
}

// A Multi that fails does nothing, and says which operation it was.
func TestMultiFails(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		base := e.Create(s, e.Root+"/base", "0")
		for _, test := range []struct {
			fails zk.WriteOp
			path  string
			code  zk.Code
		}{
			{zk.CheckOp{Path: base, Version: 7}, base, zk.ErrVersion},
			{zk.CheckOp{Path: e.Root + "/none", Version: zk.AnyVersion}, e.Root + "/none", zk.ErrNoNode},
			{zk.SetOp{Path: e.Root + "/none", Version: 0}, e.Root + "/none", zk.ErrNoNode},
			{zk.CreateOp{Path: base, ACL: zk.ACLOpen}, base, zk.ErrExists},
			{zk.CreateOp{Path: base + "/x/y", ACL: zk.ACLOpen}, base + "/x/y", zk.ErrNoNode},
			{zk.SetOp{Path: base, Version: 7}, base, zk.ErrVersion},
			{zk.DeleteOp{Path: e.Root, Version: 7}, e.Root, zk.ErrVersion},
		} {
			for at := range 3 {
				first := zk.WriteOp(zk.CreateOp{Path: e.Root + "/new", ACL: zk.ACLOpen})
				if !e.Knows(zktest.V35) {
					if _, ok := test.fails.(zk.CreateOp); ok {
						continue
					}
					first = zk.CheckOp{Path: base, Version: 0}
				}
				ops := []zk.WriteOp{
					first,
					zk.SetOp{Path: base, Data: []byte("1"), Version: 0},
					zk.CheckOp{Path: e.Root + "/none", Version: 0}, // would fail too, but is not reached
				}
				ops = slices.Insert(ops, at, test.fails)
				res, err := s.Multi(e.Ctx, ops...)
				suite.WantCode(t, err, test.code, test.path)
				assert.Equal(t, len(res), len(ops))
				for i, r := range res {
					want := error(zk.ErrRuntimeInconsistency)
					if i == at {
						want = test.code
					}
					assert.ErrorIs(t, r.Err, want, "%d of %+v", i, test)
					assert.Assert(t, r.Path == "" && r.Stat == zk.Stat{}, "%d: %+v", i, r)
				}
			}
		}
		assert.DeepEqual(t, children(t, e, s, e.Root), []string{"base"})
		data, st, err := s.Get(e.Ctx, base, nil)
		assert.NilError(t, err)
		assert.Assert(t, string(data) == "0" && st.Version == 0)

		sent := s.Stats().Requests // BytesSent may not have the last ones yet
		res, err := s.Multi(e.Ctx) // nothing to do
		assert.NilError(t, err)
		assert.Equal(t, len(res), 0)
		assert.Equal(t, s.Stats().Requests, sent)
	})
}

// A Batch is pipelined, and each operation stands for itself.
func TestBatch(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		path, none := e.Root+"/n", e.Root+"/none"
		data, made, child := make(chan zk.Event, 1), make(chan zk.Event, 1), make(chan zk.Event, 1)
		container, ttl := zk.Container, zk.TTL(time.Hour)
		if !e.Knows(zktest.V35) {
			container, ttl = zk.Persistent, zk.Ephemeral
		}
		res, err := s.Batch(e.Ctx,
			zk.CreateOp{Path: path, Data: []byte("0"), ACL: zk.ACLOpen},                       // 0
			zk.GetOp{Path: path, Watch: data},                                                 // 1
			zk.CreateOp{Path: path, ACL: zk.ACLOpen},                                          // 2: exists
			zk.ExistsOp{Path: none, Watch: made},                                              // 3: missing
			zk.ExistsOp{Path: path},                                                           // 4
			zk.CheckOp{Path: path, Version: 0},                                                // 5
			zk.CheckOp{Path: path, Version: 1},                                                // 6: version
			zk.ChildrenOp{Path: e.Root, Watch: child},                                         // 7
			zk.SetOp{Path: path, Data: nil, Version: 0},                                       // 8
			zk.CreateOp{Path: none, ACL: zk.ACLOpen},                                          // 9
			zk.CreateOp{Path: e.Root + "/s-", Mode: zk.PersistentSequential, ACL: zk.ACLOpen}, // 10
			zk.CreateOp{Path: e.Root + "/c", Mode: container, ACL: zk.ACLOpen},                // 11
			zk.CreateOp{Path: e.Root + "/t", Mode: ttl, ACL: zk.ACLOpen},                      // 12
			zk.GetOp{Path: path},                                                              // 13
			zk.DeleteOp{Path: path, Version: 0},                                               // 14: version
			zk.DeleteOp{Path: path, Version: 1},                                               // 15
			zk.ChildrenOp{Path: e.Root + "/missing"},                                          // 16: no node
			zk.CheckOp{Path: e.Root + "/missing"},                                             // 17: no node
		)
		assert.Equal(t, len(res), 18)
		for i, code := range map[int]zk.Code{2: zk.ErrExists, 3: zk.ErrNoNode, 6: zk.ErrVersion, 14: zk.ErrVersion, 16: zk.ErrNoNode, 17: zk.ErrNoNode} {
			at := map[int]string{2: path, 3: none, 6: path, 14: path, 16: e.Root + "/missing", 17: e.Root + "/missing"}[i]
			suite.WantCode(t, res[i].Err, code, at)
			res[i] = zk.Result{}
		}
		suite.WantCode(t, err, zk.ErrExists, path) // the first
		for i, r := range res {
			assert.NilError(t, r.Err, "%d", i)
		}
		assert.Equal(t, res[0].Path, path)
		assert.Equal(t, string(res[1].Data), "0")
		assert.Equal(t, res[1].Stat.Version, int32(0))
		assert.Equal(t, res[4].Stat, res[1].Stat)
		assert.DeepEqual(t, res[7].Children, []string{"n"})
		assert.Equal(t, res[7].Stat.NumChildren, int32(1))
		assert.Equal(t, res[8].Stat.Version, int32(1))
		assert.Equal(t, res[9].Path, none)
		assert.Equal(t, res[10].Path, e.Root+"/s-0000000002")
		assert.Equal(t, res[11].Path, e.Root+"/c")
		assert.Equal(t, res[11].Stat.Czxid > 0, container == zk.Container)
		assert.Equal(t, res[12].Path, e.Root+"/t")
		assert.Assert(t, res[13].Data == nil)
		assert.Equal(t, res[13].Stat, res[8].Stat)
		e.Ready(data, zk.Changed, path)
		e.Ready(made, zk.Created, none)
		e.Ready(child, zk.Child, e.Root)

		res, err = s.Batch(e.Ctx)
		assert.NilError(t, err)
		assert.Equal(t, len(res), 0)
	})
}

// A SyncOp is answered in its place of a Batch, and WantStat asks for a Stat.
func TestBatchSyncAndStat(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		path := e.Root + "/n"
		res, err := s.Batch(e.Ctx,
			zk.SyncOp{Path: e.Root + "/none"},
			zk.CreateOp{Path: path, ACL: zk.ACLOpen, WantStat: e.Knows(zktest.V35)},
			zk.SyncOp{Path: "/"},
			zk.GetOp{Path: path},
		)
		assert.NilError(t, err)
		assert.DeepEqual(t, res[0], zk.Result{})
		assert.DeepEqual(t, res[2], zk.Result{})
		assert.Equal(t, res[1].Path, path)
		if e.Knows(zktest.V35) {
			assert.Equal(t, res[1].Stat, res[3].Stat)
		}
		_, err = s.Batch(e.Ctx, zk.SyncOp{Path: "relative"})
		suite.WantUnsent(t, err, zk.ErrBadPath)
	})
}

func TestMultiRead(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		path := e.Create(s, e.Root+"/n", "data")
		e.Create(s, path+"/a", "")
		e.Create(s, path+"/b", "")
		none := e.Root + "/none"
		res, err := s.MultiRead(e.Ctx, zk.GetOp{Path: path}, zk.ChildrenOp{Path: none}, zk.ChildrenOp{Path: path}, zk.GetOp{Path: none}, zk.ChildrenOp{Path: path + "/a"})
		assert.Equal(t, len(res), 5)
		suite.WantCode(t, err, zk.ErrNoNode, none)
		suite.WantCode(t, res[1].Err, zk.ErrNoNode, none)
		suite.WantCode(t, res[3].Err, zk.ErrNoNode, none)
		assert.Equal(t, string(res[0].Data), "data")
		_, st, err := s.Exists(e.Ctx, path, nil)
		assert.NilError(t, err)
		assert.Equal(t, res[0].Stat, st)
		slices.Sort(res[2].Children)
		assert.DeepEqual(t, res[2].Children, []string{"a", "b"})
		assert.Equal(t, len(res[4].Children), 0)

		res, err = s.MultiRead(e.Ctx, zk.GetOp{Path: path})
		assert.NilError(t, err)
		assert.Equal(t, string(res[0].Data), "data")
		sent := s.Stats().BytesSent
		res, err = s.MultiRead(e.Ctx)
		assert.NilError(t, err)
		assert.Equal(t, len(res), 0)
		assert.Equal(t, s.Stats().BytesSent, sent)
	})
}

func TestEphemerals(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		e.Create(s, e.Root+"/a", "")
		e.Create(s, e.Root+"/ab", "")
		for _, path := range []string{"/a/x", "/a/y", "/ab/z"} {
			_, err := s.Create(e.Ctx, e.Root+path, nil, zk.Ephemeral, zk.ACLOpen)
			assert.NilError(t, err)
		}
		other := e.Session()
		_, err := other.Create(e.Ctx, e.Root+"/a/other", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for prefix, want := range map[string][]string{
			"":               {"/a/x", "/a/y", "/ab/z"},
			"/":              {"/a/x", "/a/y", "/ab/z"},
			e.Root:           {"/a/x", "/a/y", "/ab/z"},
			e.Root + "/a":    {"/a/x", "/a/y", "/ab/z"}, // within a name
			e.Root + "/a/":   {"/a/x", "/a/y"},
			e.Root + "/a/x":  {"/a/x"},
			e.Root + "/none": nil,
		} {
			got, err := s.Ephemerals(e.Ctx, prefix)
			assert.NilError(t, err)
			slices.Sort(got)
			var full []string
			for _, w := range want {
				full = append(full, e.Root+w)
			}
			assert.Assert(t, slices.Equal(got, full), "%q: %q, want %q", prefix, got, full)
		}
	})
}

func TestAllChildrenNumber(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		n, err := s.AllChildrenNumber(e.Ctx, e.Root)
		assert.NilError(t, err)
		assert.Equal(t, n, 0)
		for _, path := range []string{"/a", "/a/b", "/a/b/c", "/d"} {
			e.Create(s, e.Root+path, "")
		}
		for path, want := range map[string]int{"": 4, "/a": 2, "/a/b": 1, "/d": 0} {
			n, err := s.AllChildrenNumber(e.Ctx, e.Root+path)
			assert.NilError(t, err)
			assert.Equal(t, n, want, path)
		}
		n, err = s.AllChildrenNumber(e.Ctx, "/")
		assert.NilError(t, err)
		assert.Assert(t, n >= 5, n)
	})
}

func TestGetConfig(t *testing.T) {
	suite.Since(t, zktest.V35, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		ch := make(chan zk.Event, 1)
		data, st, err := s.GetConfig(e.Ctx, ch)
		assert.NilError(t, err)
		assert.Equal(t, strings.Count(string(data), "server."), map[int]int{1: 0, 3: 3}[e.Members], "%s", data)
		assert.Equal(t, int(st.DataLength), len(data))
		list := s.Config().Watches.List()
		assert.Equal(t, len(list), 1)
		assert.Equal(t, list[0].Path, suite.ConfigPath)
		assert.NilError(t, s.RemoveWatch(e.Ctx, suite.ConfigPath, ch), "GetConfig's watch is removed by the path of its event")
	})
}

func TestReconfigErrors(t *testing.T) {
	suite.Since(t, zktest.V35, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		try := func(change zk.Reconfig) error {
			data, st, err := s.Reconfig(e.Ctx, change)
			assert.Assert(t, data == nil && st == zk.Stat{})
			return err
		}
		join := zk.Reconfig{Join: []string{"server.9=127.0.0.1:1:2;3"}, Version: 12345}
		for _, bad := range []zk.Reconfig{
			{}, {Version: -1}, {Join: []string{""}}, {Join: []string{"a,b"}}, {Leave: []string{"1\n2"}}, {Members: []string{"server.1=x"}, Leave: []string{"1"}},
		} {
			suite.WantUnsent(t, try(bad), zk.ErrBadArguments)
		}
		if e.Members == 1 {
			suite.WantCode(t, try(join), zk.ErrUnimplemented, "")
			return
		}
		suite.WantCode(t, try(join), zk.ErrVersion, "") // checked first
		join.Version = -1
		suite.WantCode(t, try(join), zk.ErrNoAuth, "")
		assert.NilError(t, s.AddAuth(e.Ctx, zk.Auth{Scheme: "digest", Credential: []byte("super:zktest")}))
		suite.WantCode(t, try(zk.Reconfig{Join: []string{"nonsense"}, Version: -1}), zk.ErrBadArguments, "")
		suite.WantCode(t, try(zk.Reconfig{Leave: []string{"1", "2", "3"}, Version: -1}), zk.ErrBadArguments, "")
		_, _, err := s.Get(e.Ctx, e.Root, nil)
		assert.NilError(t, err)
	})
}

// A reply above MaxReply ends the connection, and tells the call it was for.
func TestMaxReply(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		path := e.Create(s, e.Root+"/n", "")
		// header, data, stat
		fits := make([]byte, 5000-16-4-68)
		conf, _ := e.Config()
		conf.MaxReply = 5000
		reader := e.Dial(conf)
		_, err := s.Set(e.Ctx, path, fits, zk.AnyVersion)
		assert.NilError(t, err)
		e.Fence(reader)
		data, _, err := reader.Get(e.Ctx, path, nil)
		assert.NilError(t, err)
		assert.Equal(t, len(data), len(fits))

		_, err = s.Set(e.Ctx, path, append(fits, 0), zk.AnyVersion)
		assert.NilError(t, err)
		e.Fence(reader)
		ch := make(chan zk.Event, 1)
		data, st, err := reader.Get(e.Ctx, path, ch)
		suite.WantLost(t, err, zk.ErrTooLarge)
		assert.ErrorIs(t, err, zk.ErrConnection)
		assert.ErrorContains(t, err, "5001")
		assert.ErrorContains(t, err, path)
		assert.Assert(t, data == nil && st == zk.Stat{})
		suite.Await(t, reader.Done())
		assert.ErrorIs(t, reader.Err(), zk.ErrConnection)
		_, _, err = reader.Get(e.Ctx, path, nil)
		suite.WantUnsent(t, err, zk.ErrConnection)
		assert.Assert(t, !errors.Is(err, zk.ErrTooLarge), "%v", err)
		assert.Equal(t, reader.Config().Watches.Len(), 0)

		conf = reader.Config() // the session goes on, with more room
		conf.MaxReply = 5001
		next := e.Dial(conf)
		assert.Equal(t, next.ID(), reader.ID())
		_, _, err = next.Get(e.Ctx, path, nil)
		assert.NilError(t, err)
	})
}

func TestModeText(t *testing.T) {
	for mode, want := range map[zk.Mode]string{
		zk.Persistent: "persistent", zk.Ephemeral: "ephemeral", zk.PersistentSequential: "persistent sequential",
		zk.EphemeralSequential: "ephemeral sequential", zk.Container: "container", zk.TTL(time.Second): "TTL 1000 ms",
		zk.SequentialTTL(5 * time.Millisecond): "sequential TTL 5 ms", zk.Mode(7): "Mode(7)",
	} {
		assert.Equal(t, mode.String(), want)
	}
}

func TestStatTimes(t *testing.T) {
	st := zk.Stat{Ctime: 1_700_000_000_123, Mtime: 1_700_000_001_000}
	assert.Assert(t, st.Created().Equal(time.Unix(1_700_000_000, 123_000_000)))
	assert.Equal(t, st.Modified().Sub(st.Created()), 877*time.Millisecond)
}
