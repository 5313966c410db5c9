package zk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

// silently runs f and fails if the Session wrote a byte, armed a watch or ended
// meanwhile. A ping is too far off to come in between.
func silently(e *suite.Env, s *zk.Session, l *suite.Link, f func()) {
	e.T.Helper()
	sent, _ := l.Traffic()
	before := s.Stats()
	for end := time.Now().Add(suite.Patience); before.BytesSent != sent; before = s.Stats() { // a write may still be returning
		assert.Assert(e.T, time.Now().Before(end), "%+v, and %d bytes were sent", before, sent)
		time.Sleep(time.Millisecond)
	}
	f()
	after := s.Stats()
	now, _ := l.Traffic()
	assert.Equal(e.T, now, sent, "bytes were written")
	assert.Equal(e.T, after, before)
	_, _, err := s.Get(e.Ctx, "/", nil)
	assert.NilError(e.T, err)
	assert.NilError(e.T, s.Err())
}

// linkedQuietly is linked with a session that pings seldom.
func linkedQuietly(e *suite.Env) (*zk.Session, *suite.Link) {
	conf, l := e.Config()
	conf.Timeout = time.Minute
	return e.Dial(conf), l
}

// The rules of PathUtils.
var badPaths = []string{
	"", "a", "a/b", " /a", "/a/", "//", "//a", "/a//b", "/a/b//", "/.", "/..", "/./a", "/a/.", "/a/./b", "/a/..", "/a/../b",
	"/a\x00b", "/\x00", "/a\x01", "/\x1f", "/\n", "/\x7f", "/\u0080", "/\u009f", "/\ue000", "/\uf8ff", "/\ufff0", "/\ufffd", "/\uffff",
	"/\U0001f600", "/a/\U00010000b", "/\xff", "/a\xc3", "/\xed\xa0\x80", "/\xc0\xaf",
}

var goodPaths = []string{
	"/...", "/..a", "/a..", "/.a", "/a.", "/ ", "/a b", "/a\\b", "/~", "/\u00a0", "/äöü", "/\ud7ff", "/\uf900", "/\uffef", "/日本", "/{[(", "/%2f",
}

func TestBadPath(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		silently(e, s, l, func() {
			for _, path := range badPaths {
				suite.OnPath(func(_ string, do func(context.Context, *zk.Session, string) error) {
					err := do(e.Ctx, s, path)
					suite.WantUnsent(t, err, zk.ErrBadPath)
					var op *zk.OpError
					assert.Assert(t, errors.As(err, &op))
					assert.Equal(t, op.Path, path)
				})
				suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, path+"/x/./y", nil, zk.PersistentSequential, zk.ACLOpen)), zk.ErrBadPath)
				if path != "" && path != "/a/b//" {
					_, err := s.Ephemerals(e.Ctx, path+"/x")
					suite.WantUnsent(t, err, zk.ErrBadPath)
				}
			}
		})
		for _, path := range goodPaths { // the server agrees
			path = e.Root + path
			e.Create(s, path, "")
			_, _, err := s.Get(e.Ctx, path, nil)
			assert.NilError(t, err)
			res, err := s.Multi(e.Ctx, zk.CheckOp{Path: path}, zk.DeleteOp{Path: path})
			assert.NilError(t, err)
			assert.Equal(t, len(res), 2)
		}
	})
}

// Only a sequential create may end in a slash, and only in one.
func TestBadSequentialPath(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		silently(e, s, l, func() {
			for _, path := range []string{"", "x", "//", e.Root + "//", e.Root + "/./", e.Root + "/../x", e.Root + "/\x00"} {
				for _, mode := range []zk.Mode{zk.PersistentSequential, zk.EphemeralSequential, zk.SequentialTTL(time.Hour)} {
					suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, path, nil, mode, zk.ACLOpen)), zk.ErrBadPath)
					_, err := s.Multi(e.Ctx, zk.CreateOp{Path: path, Mode: mode, ACL: zk.ACLOpen})
					suite.WantUnsent(t, err, zk.ErrBadPath)
				}
			}
			for _, mode := range []zk.Mode{zk.Persistent, zk.Ephemeral, zk.Container, zk.TTL(time.Hour)} {
				suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, e.Root+"/", nil, mode, zk.ACLOpen)), zk.ErrBadPath)
			}
		})
	})
}

func TestBadCreate(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		path := e.Root + "/n"
		try := func(mode zk.Mode, acl zk.ACL, want error) {
			t.Helper()
			suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, path, nil, mode, acl)), want)
			made, st, err := s.CreateStat(e.Ctx, path, nil, mode, acl)
			suite.WantUnsent(t, err, want)
			assert.Assert(t, made == "" && st == zk.Stat{})
			op := zk.CreateOp{Path: path, Mode: mode, ACL: acl}
			_, err = s.Multi(e.Ctx, zk.SetOp{Path: e.Root}, op)
			suite.WantUnsent(t, err, want)
			_, err = s.Batch(e.Ctx, zk.SetOp{Path: e.Root}, op)
			suite.WantUnsent(t, err, want)
			op.WantStat = true
			_, err = s.Batch(e.Ctx, zk.SyncOp{Path: "/"}, op)
			suite.WantUnsent(t, err, want)
		}
		silently(e, s, l, func() {
			for _, mode := range []zk.Mode{
				7, -1, 8, 9, 99, -8, zk.TTL(0), zk.TTL(-time.Second), zk.SequentialTTL(0), zk.TTL(1 << 40 * time.Millisecond), zk.SequentialTTL(1<<63 - 1),
			} {
				try(mode, zk.ACLOpen, zk.ErrBadArguments)
			}
			for _, mode := range []zk.Mode{zk.Persistent, zk.EphemeralSequential, zk.Container, zk.TTL(time.Hour)} {
				try(mode, nil, zk.ErrInvalidACL)
				try(mode, zk.ACL{}, zk.ErrInvalidACL)
			}
			suite.WantUnsent(t, suite.ErrOf(s.SetACL(e.Ctx, e.Root, nil, zk.AnyVersion)), zk.ErrInvalidACL)
			suite.WantUnsent(t, suite.ErrOf(s.SetACL(e.Ctx, e.Root, zk.ACL{}, zk.AnyVersion)), zk.ErrInvalidACL)
		})
		if e.Knows(zktest.V35) {
			_, err := s.Create(e.Ctx, path, nil, zk.TTL((1<<40-1)*time.Millisecond), zk.ACLOpen) // the longest
			assert.NilError(t, err)
		}
	})
}

func TestBadArguments(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		ch := make(chan zk.Event, 1)
		silently(e, s, l, func() {
			for _, mode := range []zk.WatchMode{-1, 2, 7} {
				suite.WantUnsent(t, s.AddWatch(e.Ctx, e.Root, mode, ch), zk.ErrBadArguments)
			}
			suite.WantUnsent(t, s.AddWatch(e.Ctx, e.Root, zk.WatchPersistent, nil), zk.ErrBadArguments)
			suite.WantUnsent(t, s.RemoveWatch(e.Ctx, e.Root, nil), zk.ErrNoWatcher)
			suite.WantUnsent(t, s.RemoveWatch(e.Ctx, e.Root, ch), zk.ErrNoWatcher)
			_, err := s.MultiRead(e.Ctx, zk.GetOp{Path: e.Root}, zk.GetOp{Path: e.Root, Watch: ch})
			suite.WantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.MultiRead(e.Ctx, zk.ChildrenOp{Path: e.Root, Watch: ch})
			suite.WantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.Multi(e.Ctx, zk.SetOp{Path: e.Root}, nil)
			suite.WantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.MultiRead(e.Ctx, zk.GetOp{Path: e.Root}, nil)
			suite.WantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.Batch(e.Ctx, zk.SetOp{Path: e.Root}, nil)
			suite.WantUnsent(t, err, zk.ErrBadArguments)
		})
	})
}

// A frame may be as large as MaxRequest, and the default of that is what a
// server takes.
func TestOversizeRequest(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		for _, limit := range []int{0, 1000} {
			conf, l := e.Config()
			conf.Timeout, conf.MaxRequest = time.Minute, limit
			s := e.Dial(conf)
			path := e.Create(s, e.Root+fmt.Sprintf("/n%d", limit), "")
			if limit == 0 {
				limit = zk.DefaultMaxRequest
			}
			// header, path, data, version
			fits := make([]byte, limit-8-4-len(e.Full(path))-4-4)
			st, err := s.Set(e.Ctx, path, fits, zk.AnyVersion)
			assert.NilError(t, err)
			assert.Equal(t, int(st.DataLength), len(fits))
			large := append(fits, 0)
			silently(e, s, l, func() {
				suite.WantUnsent(t, suite.ErrOf(s.Set(e.Ctx, path, large, zk.AnyVersion)), zk.ErrTooLarge)
				suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, path+"/c", large, zk.Persistent, zk.ACLOpen)), zk.ErrTooLarge)
				_, err = s.Multi(e.Ctx, zk.SetOp{Path: path, Data: fits}, zk.SetOp{Path: path, Data: fits})
				suite.WantUnsent(t, err, zk.ErrTooLarge)
				_, err = s.Batch(e.Ctx, zk.SetOp{Path: path}, zk.SetOp{Path: path, Data: large})
				suite.WantUnsent(t, err, zk.ErrTooLarge)
				suite.WantUnsent(t, suite.ErrOf(s.SetACL(e.Ctx, path, zk.ACL{{Perms: zk.PermAll, Scheme: "digest", ID: string(large)}}, zk.AnyVersion)), zk.ErrTooLarge)
				suite.WantUnsent(t, s.AddAuth(e.Ctx, zk.Auth{Scheme: "digest", Credential: make([]byte, limit)}), zk.ErrTooLarge)
				suite.WantUnsent(t, suite.ErrOf2(s.Get(e.Ctx, "/"+strings.Repeat("x", limit), nil)), zk.ErrTooLarge)
			})
			// MaxRequest is per frame: a Batch may be larger.
			res, err := s.Batch(e.Ctx, zk.SetOp{Path: path, Data: fits, Version: zk.AnyVersion}, zk.SetOp{Path: path, Data: fits, Version: zk.AnyVersion})
			assert.NilError(t, err)
			assert.Equal(t, len(res), 2)
		}
	})
}

func TestContextDone(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		cancelled, cancel := context.WithCancel(e.Ctx)
		cancel()
		late, cancel := context.WithDeadline(e.Ctx, time.Now().Add(-time.Second))
		defer cancel()
		silently(e, s, l, func() {
			suite.EveryCall(e.Root, func(name string, call func(context.Context, *zk.Session) error) {
				if name == "RemoveWatch" {
					return // tells first that nothing is armed
				}
				suite.WantUnsent(t, call(cancelled, s), context.Canceled)
				suite.WantUnsent(t, call(late, s), context.DeadlineExceeded)
			})
			_, err := s.Redial(cancelled)
			assert.ErrorIs(t, err, context.Canceled)
			_, err = s.Renew(cancelled)
			assert.ErrorIs(t, err, context.Canceled)
		})
		assert.Equal(t, len(s.Config().Auth), 0)
	})
}

// A Dial whose context is done does not even end the Session before.
func TestDialContextDone(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		cancelled, cancel := context.WithCancel(e.Ctx)
		cancel()
		silently(e, s, l, func() {
			for range 20 {
				_, err := zk.Dial(cancelled, s.Config())
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, zk.ErrNoServer)
			}
			assert.Equal(t, len(l.Dialed()), 1)
		})
	})
}

// The zero Session, and none at all, are sessions that are closed.
func TestZeroSession(t *testing.T) {
	for _, s := range []*zk.Session{nil, new(zk.Session)} {
		suite.EveryCall("/a", func(name string, call func(context.Context, *zk.Session) error) {
			suite.WantUnsent(t, call(t.Context(), s), zk.ErrClosed)
		})
		suite.Await(t, s.Done())
		assert.ErrorIs(t, s.Err(), zk.ErrClosed)
		suite.WantUnsent(t, s.Close(), zk.ErrClosed)
		_, err := s.Redial(t.Context())
		assert.ErrorIs(t, err, zk.ErrClosed)
		_, err = s.Renew(t.Context())
		assert.ErrorIs(t, err, zk.ErrClosed)
		assert.Assert(t, s.ID() == 0 && s.Zxid() == 0 && s.Timeout() == 0 && s.Addr() == "" && !s.ReadOnly() && s.ExpiresAt().IsZero())
		assert.Equal(t, s.Stats(), zk.Stats{})
		assert.Equal(t, s.Config().ID, int64(0))
		assert.Equal(t, s.Detach().ID, int64(0))
		assert.Equal(t, s.Config().Watches.Len(), 0)
		assert.Equal(t, s.Watches().Len(), 0)
		assert.Equal(t, s.Chroot(), "")
		next, err := s.Successor(t.Context())
		assert.Assert(t, next == nil)
		assert.ErrorIs(t, err, zk.ErrClosed)
	}
}

// What is wrong with a Config is told before anybody is asked.
func TestBadConfig(t *testing.T) {
	e := suite.Private(t, 1)
	for _, test := range []struct {
		change func(*zk.Config)
		want   error
	}{
		{func(c *zk.Config) { c.Timeout = -time.Second }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Timeout = time.Microsecond }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Timeout = 1 << 31 * time.Millisecond }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.MaxRequest = -1 }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.MaxReply = -1 }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.MaxInFlight = -1 }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Addrs = append(c.Addrs, "host:port") }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Addrs = append(c.Addrs, "") }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Addrs = append(c.Addrs, "host:0") }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Addrs = append(c.Addrs, "a:1:2") }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Chroot = "app" }, zk.ErrBadPath},
		{func(c *zk.Config) { c.Chroot = "/app/" }, zk.ErrBadPath},
		{func(c *zk.Config) { c.Chroot = "/a//b" }, zk.ErrBadPath},
		{func(c *zk.Config) { c.Chroot = "/a/../b" }, zk.ErrBadPath},
		{func(c *zk.Config) { c.ID = 1 }, zk.ErrBadArguments}, // without a password
		{func(c *zk.Config) {
			c.Resolve = func(context.Context) ([]string, error) { return []string{"host:port"}, nil }
		}, zk.ErrBadArguments},
		{func(c *zk.Config) {
			c.Resolve = func(context.Context) ([]string, error) { return nil, errors.New("away") }
		}, zk.ErrNoServer},
	} {
		conf, l := e.Config()
		test.change(&conf)
		s, err := zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, test.want, "%+v", conf)
		assert.Assert(t, s == nil)
		assert.Equal(t, len(l.Dialed()), 0)
	}
	for _, f := range e.Sim.Frames() {
		t.Error(f)
	}
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

// Nothing of what was refused has reached the server.
func TestRefusedCallsLeaveNoFrame(t *testing.T) {
	e := suite.Private(t, 1)
	s, _ := linkedQuietly(e)
	e.Sim.ForgetFrames()
	done, cancel := context.WithCancel(e.Ctx)
	cancel()
	suite.EveryCall("/a/", func(_ string, call func(context.Context, *zk.Session) error) {
		suite.WantUnsent(t, call(done, s), zk.ErrNotSent)
	})
	suite.EveryCall("/a", func(_ string, call func(context.Context, *zk.Session) error) {
		suite.WantUnsent(t, call(done, s), zk.ErrNotSent)
	})
	_, _, err := s.Get(e.Ctx, "/", nil)
	assert.NilError(t, err)
	var asked []string
	for _, f := range e.Sim.Frames() {
		if f.Dir == zktest.FromClient {
			asked = append(asked, fmt.Sprint(f.Op, " ", f.Path))
		}
	}
	assert.DeepEqual(t, asked, []string{"getData /"})
}
