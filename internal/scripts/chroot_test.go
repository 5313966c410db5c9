package scripts

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// TestI35_Chroot: the prefix is on every path that leaves and on none that comes
// back, but those that are not below it.
func TestI35_Chroot(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Chroot = "/app"
		s, l := r.Open(conf)
		ch := make(chan zk.Event, 16)

		// Single calls: the path is what the request begins with.
		for name, c := range suite.Calls {
			var watch chan zk.Event
			if name == "RemoveWatch" {
				watch = make(chan zk.Event)
				suite.Arm(t, s, l, zk.PersistentWatch, "/a", watch)
			}
			u := suite.Start(t, func() error { return c.Do(suite.BG, s, "/a", watch) })
			q := l.Next()
			switch {
			case q.Path == "" && q.Op != wire.OpMulti && q.Op != wire.OpMultiRead: // none
			case q.Op == wire.OpMulti || q.Op == wire.OpMultiRead:
				assert.Assert(t, strings.Contains(string(q.Body), "/app/a"), "%s: %q", name, q.Body)
			case name == "GetConfig":
				assert.Equal(t, q.Path, "/zookeeper/config")
			case name == "Ephemerals":
				assert.Equal(t, q.Path, "/app")
			default:
				assert.Equal(t, q.Path, "/app/a", "%s", name)
			}
			if name == "RemoveWatch" { // whose watch would stay if it were refused
				l.Send(suite.Answer(q.Xid, 1, nil))
				u.OK()
				continue
			}
			if q.Op == wire.OpAuth {
				l.Send(suite.Refusal(wire.XidAuth, 0, 0))
				u.OK()
				continue
			}
			l.Send(suite.Refusal(q.Xid, 1, zk.ErrNoNode))
			err := u.Wait()
			if name != "Exists" {
				var op *zk.OpError
				assert.Assert(t, errors.As(err, &op), "%s: %v", name, err)
				assert.Assert(t, !strings.Contains(err.Error(), "/app"), "%s: %v", name, err)
			}
		}
		// The root of the view, and a prefix that is none.
		u := suite.Get(t, s, suite.BG, "/", nil)
		l.Send(suite.Fitting(l.Want(wire.OpGetData, "/app"), 1))
		u.OK()

		// What comes back.
		var made string
		u = suite.Start(t, func() (err error) {
			made, err = s.Create(suite.BG, "/a/x-", nil, zk.PersistentSequential, zk.ACLOpen)
			return err
		})
		l.Send(suite.Answer(l.Want(wire.OpCreate, "/app/a/x-").Xid, 1, wire.PathResponse{Path: "/app/a/x-0000000007"}))
		u.OK()
		assert.Equal(t, made, "/a/x-0000000007")
		u = suite.Start(t, func() (err error) { made, err = s.Create(suite.BG, "/a", nil, zk.Persistent, zk.ACLOpen); return err })
		l.Send(suite.Answer(l.Next().Xid, 1, wire.PathResponse{Path: "/apple"})) // not below the chroot: left as it is
		u.OK()
		assert.Equal(t, made, "/apple")
		var res []zk.Result
		u = suite.Start(t, func() (err error) {
			res, err = s.Multi(suite.BG, zk.CreateOp{Path: "/m", ACL: zk.ACLOpen}, zk.CheckOp{Path: "/"})
			return err
		})
		q := l.Next()
		assert.Assert(t, strings.Contains(string(q.Body), "/app/m"))
		l.Send(suite.Answer(q.Xid, 1, wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpCreate2, Path: "/app/m"}, {Op: wire.OpCheck}}}))
		u.OK()
		assert.Equal(t, res[0].Path, "/m")
		u = suite.Start(t, func() (err error) {
			res, err = s.Batch(suite.BG, zk.CreateOp{Path: "/b", ACL: zk.ACLOpen}, zk.GetOp{Path: "/b"})
			return err
		})
		q = l.Want(wire.OpCreate, "/app/b")
		l.Send(suite.Answer(q.Xid, 1, wire.PathResponse{Path: "/app/b"}), suite.Refusal(l.Want(wire.OpGetData, "/app/b").Xid, 1, zk.ErrNoAuth))
		u.Refused(zk.ErrNoAuth)
		assert.Equal(t, res[0].Path, "/b")
		assert.Equal(t, u.Err.Error(), "zk: get /b: not permitted")
		var eph []string
		u = suite.Start(t, func() (err error) { eph, err = s.Ephemerals(suite.BG, "/x"); return err })
		q = l.Want(wire.OpGetEphemerals, "/app/x")
		l.Send(suite.Answer(q.Xid, 1, wire.ChildrenResponse{Children: []string{"/app/x", "/app/x/y", "/app/xy"}}))
		u.OK()
		assert.DeepEqual(t, eph, []string{"/x", "/x/y", "/xy"})
		u = suite.Start(t, func() (err error) { eph, err = s.Ephemerals(suite.BG, "/"); return err })
		q = l.Want(wire.OpGetEphemerals, "/app")
		l.Send(suite.Answer(q.Xid, 1, wire.ChildrenResponse{Children: []string{"/app", "/app/y", "/apple"}}))
		u.OK()
		assert.DeepEqual(t, eph, []string{"/", "/y"})

		// Events, at the chroot and below it; SetWatches has the server's paths.
		suite.Arm(t, s, l, zk.DataWatch, "/", ch)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/", ch)
		suite.Arm(t, s, l, zk.ChildWatch, "/le", ch)
		l.Send(suite.Happened(zk.Changed, "/apple", -1), suite.Happened(zk.Changed, "/app", -1), suite.Happened(zk.Created, "/app/x/y", -1), suite.Happened(zk.Created, "/", -1))
		synctest.Wait()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /, created /x/y")
		assert.Equal(t, suite.ArmedList(s.Config().Watches), "child /le, recursive /")

		old := s.Detach()
		wrong := old
		wrong.Chroot = "/other"
		before := r.Connections()
		err := r.Begin(wrong).Wait()
		assert.Assert(t, errors.Is(err, zk.ErrBadPath), "%v", err)
		assert.Equal(t, r.Connections(), before)
		d := r.Begin(old)
		l = r.Accept()
		l.Greet()
		l.Want(wire.OpAuth, "") // of AddAuth
		l.Send(suite.Answer(wire.XidAuth, 0, nil))
		var child, recursive []string
		for len(child)+len(recursive) < 2 {
			a := l.Next()
			w := a.Watches(t)
			child, recursive = append(child, w.Child...), append(recursive, w.Recursive...)
			l.Send(suite.Answer(a.Xid, 1, nil))
		}
		assert.DeepEqual(t, child, []string{"/app/le"})
		assert.DeepEqual(t, recursive, []string{"/app"})
		d.Session()
	})
}

// The chroot "/" is none; the configuration of the ensemble is outside of all.
func TestI35_ChrootCorners(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.Chroot = "/"
		s, l := r.Open(conf)
		u := suite.Get(t, s, suite.BG, "/a", nil)
		l.Send(suite.Fitting(l.Want(wire.OpGetData, "/a"), 1))
		u.OK()

		for _, chroot := range []string{"/zoo", "/zookeeper", "/zookeeper/config"} {
			conf.Chroot = chroot
			s, l := r.Open(conf)
			config, node := make(chan zk.Event, 2), make(chan zk.Event, 2)
			u := suite.Start(t, func() error { _, _, err := s.GetConfig(suite.BG, config); return err })
			l.Send(suite.Fitting(l.Want(wire.OpGetData, "/zookeeper/config"), 1))
			u.OK()
			suite.Arm(t, s, l, zk.DataWatch, "/keeper", node)
			l.Send(suite.Happened(zk.Changed, "/zookeeper/config", -1), suite.Happened(zk.Changed, chroot+"/keeper", -1), suite.Happened(zk.Changed, "/zookeeper", -1))
			synctest.Wait()
			assert.Equal(t, suite.Told(suite.Taken(config)...), "changed /zookeeper/config")
			assert.Equal(t, suite.Told(suite.Taken(node)...), "changed /keeper")
		}
	})
}

// "/" as a chroot is none, and a chroot need not exist.
func TestChrootCorners(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	conf.Chroot = "/"
	s := e.Dial(conf)
	e.Create(s, "/a", "1")
	conf.Chroot = "/app"
	s = e.Dial(conf)
	_, err := s.Create(e.Ctx, "/a", nil, zk.Persistent, zk.ACLOpen)
	suite.WantCode(t, err, zk.ErrNoNode, "/a")
	ch := make(chan zk.Event, 1)
	found, _, err := s.Exists(e.Ctx, "/", ch)
	assert.NilError(t, err)
	assert.Assert(t, !found)
	path, err := s.Create(e.Ctx, "/", []byte("root"), zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	assert.Equal(t, path, "/")
	e.Ready(ch, zk.Created, "/")
	e.Create(s, "/a", "2")
	e.Delete(s, "/a")
	e.Delete(s, "/")
	data, _, err := e.Session().Get(e.Ctx, "/a", nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "1")
}
