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
	"github.com/seed-9f8420c6/zk/zktest"
)

// silently runs f and fails if the Session wrote a byte, armed a watch or ended
// meanwhile. A ping is too far off to come in between.
func silently(e *env, s *zk.Session, l *link, f func()) {
	e.t.Helper()
	sent, _ := l.traffic()
	before := s.Stats()
	for end := time.Now().Add(patience); before.BytesSent != sent; before = s.Stats() { // a write may still be returning
		assert.Assert(e.t, time.Now().Before(end), "%+v, and %d bytes were sent", before, sent)
		time.Sleep(time.Millisecond)
	}
	f()
	after := s.Stats()
	now, _ := l.traffic()
	assert.Equal(e.t, now, sent, "bytes were written")
	assert.Equal(e.t, after, before)
	_, _, err := s.Get(e.ctx, "/", nil)
	assert.NilError(e.t, err)
	assert.NilError(e.t, s.Err())
}

// linkedQuietly is linked with a session that pings seldom.
func linkedQuietly(e *env) (*zk.Session, *link) {
	conf, l := e.config()
	conf.Timeout = time.Minute
	return e.dial(conf), l
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
	everywhere(t, func(t *testing.T, e *env) {
		s, l := linkedQuietly(e)
		silently(e, s, l, func() {
			for _, path := range badPaths {
				onPath(func(_ string, do func(context.Context, *zk.Session, string) error) {
					err := do(e.ctx, s, path)
					wantUnsent(t, err, zk.ErrBadPath)
					var op *zk.OpError
					assert.Assert(t, errors.As(err, &op))
					assert.Equal(t, op.Path, path)
				})
				wantUnsent(t, errOf(s.Create(e.ctx, path+"/x/./y", nil, zk.PersistentSequential, zk.ACLOpen)), zk.ErrBadPath)
				if path != "" && path != "/a/b//" {
					_, err := s.Ephemerals(e.ctx, path+"/x")
					wantUnsent(t, err, zk.ErrBadPath)
				}
			}
		})
		for _, path := range goodPaths { // the server agrees
			path = e.root + path
			e.create(s, path, "")
			_, _, err := s.Get(e.ctx, path, nil)
			assert.NilError(t, err)
			res, err := s.Multi(e.ctx, zk.CheckOp{Path: path}, zk.DeleteOp{Path: path})
			assert.NilError(t, err)
			assert.Equal(t, len(res), 2)
		}
	})
}

// Only a sequential create may end in a slash, and only in one.
func TestBadSequentialPath(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := linkedQuietly(e)
		silently(e, s, l, func() {
			for _, path := range []string{"", "x", "//", e.root + "//", e.root + "/./", e.root + "/../x", e.root + "/\x00"} {
				for _, mode := range []zk.Mode{zk.PersistentSequential, zk.EphemeralSequential, zk.SequentialTTL(time.Hour)} {
					wantUnsent(t, errOf(s.Create(e.ctx, path, nil, mode, zk.ACLOpen)), zk.ErrBadPath)
					_, err := s.Multi(e.ctx, zk.CreateOp{Path: path, Mode: mode, ACL: zk.ACLOpen})
					wantUnsent(t, err, zk.ErrBadPath)
				}
			}
			for _, mode := range []zk.Mode{zk.Persistent, zk.Ephemeral, zk.Container, zk.TTL(time.Hour)} {
				wantUnsent(t, errOf(s.Create(e.ctx, e.root+"/", nil, mode, zk.ACLOpen)), zk.ErrBadPath)
			}
		})
	})
}

func TestBadCreate(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := linkedQuietly(e)
		path := e.root + "/n"
		try := func(mode zk.Mode, acl zk.ACL, want error) {
			t.Helper()
			wantUnsent(t, errOf(s.Create(e.ctx, path, nil, mode, acl)), want)
			made, st, err := s.CreateStat(e.ctx, path, nil, mode, acl)
			wantUnsent(t, err, want)
			assert.Assert(t, made == "" && st == zk.Stat{})
			op := zk.CreateOp{Path: path, Mode: mode, ACL: acl}
			_, err = s.Multi(e.ctx, zk.SetOp{Path: e.root}, op)
			wantUnsent(t, err, want)
			_, err = s.Batch(e.ctx, zk.SetOp{Path: e.root}, op)
			wantUnsent(t, err, want)
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
			wantUnsent(t, errOf(s.SetACL(e.ctx, e.root, nil, zk.AnyVersion)), zk.ErrInvalidACL)
			wantUnsent(t, errOf(s.SetACL(e.ctx, e.root, zk.ACL{}, zk.AnyVersion)), zk.ErrInvalidACL)
		})
		if e.knows(zktest.V35) {
			_, err := s.Create(e.ctx, path, nil, zk.TTL((1<<40-1)*time.Millisecond), zk.ACLOpen) // the longest
			assert.NilError(t, err)
		}
	})
}

func TestBadArguments(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := linkedQuietly(e)
		ch := make(chan zk.Event, 1)
		silently(e, s, l, func() {
			for _, mode := range []zk.WatchMode{-1, 2, 7} {
				wantUnsent(t, s.AddWatch(e.ctx, e.root, mode, ch), zk.ErrBadArguments)
			}
			wantUnsent(t, s.AddWatch(e.ctx, e.root, zk.WatchPersistent, nil), zk.ErrBadArguments)
			wantUnsent(t, s.RemoveWatch(e.ctx, e.root, nil), zk.ErrNoWatcher)
			wantUnsent(t, s.RemoveWatch(e.ctx, e.root, ch), zk.ErrNoWatcher)
			_, err := s.MultiRead(e.ctx, zk.GetOp{Path: e.root}, zk.GetOp{Path: e.root, Watch: ch})
			wantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.MultiRead(e.ctx, zk.ChildrenOp{Path: e.root, Watch: ch})
			wantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.Multi(e.ctx, zk.SetOp{Path: e.root}, nil)
			wantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.MultiRead(e.ctx, zk.GetOp{Path: e.root}, nil)
			wantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.Batch(e.ctx, zk.SetOp{Path: e.root}, nil)
			wantUnsent(t, err, zk.ErrBadArguments)
		})
	})
}

// A frame may be as large as MaxRequest, and the default of that is what a
// server takes.
func TestOversizeRequest(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		for _, limit := range []int{0, 1000} {
			conf, l := e.config()
			conf.Timeout, conf.MaxRequest = time.Minute, limit
			s := e.dial(conf)
			path := e.create(s, e.root+fmt.Sprintf("/n%d", limit), "")
			if limit == 0 {
				limit = zk.DefaultMaxRequest
			}
			// header, path, data, version
			fits := make([]byte, limit-8-4-len(e.full(path))-4-4)
			st, err := s.Set(e.ctx, path, fits, zk.AnyVersion)
			assert.NilError(t, err)
			assert.Equal(t, int(st.DataLength), len(fits))
			large := append(fits, 0)
			silently(e, s, l, func() {
				wantUnsent(t, errOf(s.Set(e.ctx, path, large, zk.AnyVersion)), zk.ErrTooLarge)
				wantUnsent(t, errOf(s.Create(e.ctx, path+"/c", large, zk.Persistent, zk.ACLOpen)), zk.ErrTooLarge)
				_, err = s.Multi(e.ctx, zk.SetOp{Path: path, Data: fits}, zk.SetOp{Path: path, Data: fits})
				wantUnsent(t, err, zk.ErrTooLarge)
				_, err = s.Batch(e.ctx, zk.SetOp{Path: path}, zk.SetOp{Path: path, Data: large})
				wantUnsent(t, err, zk.ErrTooLarge)
				wantUnsent(t, errOf(s.SetACL(e.ctx, path, zk.ACL{{Perms: zk.PermAll, Scheme: "digest", ID: string(large)}}, zk.AnyVersion)), zk.ErrTooLarge)
				wantUnsent(t, s.AddAuth(e.ctx, zk.Auth{Scheme: "digest", Credential: make([]byte, limit)}), zk.ErrTooLarge)
				wantUnsent(t, errOf2(s.Get(e.ctx, "/"+strings.Repeat("x", limit), nil)), zk.ErrTooLarge)
			})
			// MaxRequest is per frame: a Batch may be larger.
			res, err := s.Batch(e.ctx, zk.SetOp{Path: path, Data: fits, Version: zk.AnyVersion}, zk.SetOp{Path: path, Data: fits, Version: zk.AnyVersion})
			assert.NilError(t, err)
			assert.Equal(t, len(res), 2)
		}
	})
}

func TestContextDone(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := linkedQuietly(e)
		cancelled, cancel := context.WithCancel(e.ctx)
		cancel()
		late, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
		defer cancel()
		silently(e, s, l, func() {
			everyCall(e.root, func(name string, call func(context.Context, *zk.Session) error) {
				if name == "RemoveWatch" {
					return // tells first that nothing is armed
				}
				wantUnsent(t, call(cancelled, s), context.Canceled)
				wantUnsent(t, call(late, s), context.DeadlineExceeded)
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
	everywhere(t, func(t *testing.T, e *env) {
		s, l := linkedQuietly(e)
		cancelled, cancel := context.WithCancel(e.ctx)
		cancel()
		silently(e, s, l, func() {
			for range 20 {
				_, err := zk.Dial(cancelled, s.Config())
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, zk.ErrNoServer)
			}
			assert.Equal(t, len(l.dialed()), 1)
		})
	})
}

// The zero Session, and none at all, are sessions that are closed.
func TestZeroSession(t *testing.T) {
	for _, s := range []*zk.Session{nil, new(zk.Session)} {
		everyCall("/a", func(name string, call func(context.Context, *zk.Session) error) {
			wantUnsent(t, call(t.Context(), s), zk.ErrClosed)
		})
		await(t, s.Done())
		assert.ErrorIs(t, s.Err(), zk.ErrClosed)
		wantUnsent(t, s.Close(), zk.ErrClosed)
		_, err := s.Redial(t.Context())
		assert.ErrorIs(t, err, zk.ErrClosed)
		_, err = s.Renew(t.Context())
		assert.ErrorIs(t, err, zk.ErrClosed)
		assert.Assert(t, s.ID() == 0 && s.Zxid() == 0 && s.Timeout() == 0 && s.Addr() == "" && !s.ReadOnly() && s.ExpiresAt().IsZero())
		assert.Equal(t, s.Stats(), zk.Stats{})
		assert.Equal(t, s.Config().ID, int64(0))
		assert.Equal(t, s.Detach().ID, int64(0))
		assert.Equal(t, s.Config().Watches.Len(), 0)
	}
}

// What is wrong with a Config is told before anybody is asked.
func TestBadConfig(t *testing.T) {
	e := private(t, 1)
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
	} {
		conf, l := e.config()
		test.change(&conf)
		s, err := zk.Dial(e.ctx, conf)
		assert.ErrorIs(t, err, test.want, "%+v", conf)
		assert.Assert(t, s == nil)
		assert.Equal(t, len(l.dialed()), 0)
	}
	for _, f := range e.sim.Frames() {
		t.Error(f)
	}
}

// "/" as a chroot is none, and a chroot need not exist.
func TestChrootCorners(t *testing.T) {
	e := private(t, 1)
	conf, _ := e.config()
	conf.Chroot = "/"
	s := e.dial(conf)
	e.create(s, "/a", "1")
	conf.Chroot = "/app"
	s = e.dial(conf)
	_, err := s.Create(e.ctx, "/a", nil, zk.Persistent, zk.ACLOpen)
	wantCode(t, err, zk.ErrNoNode, "/a")
	ch := make(chan zk.Event, 1)
	found, _, err := s.Exists(e.ctx, "/", ch)
	assert.NilError(t, err)
	assert.Assert(t, !found)
	path, err := s.Create(e.ctx, "/", []byte("root"), zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	assert.Equal(t, path, "/")
	e.ready(ch, zk.Created, "/")
	e.create(s, "/a", "2")
	e.delete(s, "/a")
	e.delete(s, "/")
	data, _, err := e.session().Get(e.ctx, "/a", nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "1")
}

// Nothing of what was refused has reached the server.
func TestRefusedCallsLeaveNoFrame(t *testing.T) {
	e := private(t, 1)
	s, _ := linkedQuietly(e)
	e.sim.ForgetFrames()
	done, cancel := context.WithCancel(e.ctx)
	cancel()
	everyCall("/a/", func(_ string, call func(context.Context, *zk.Session) error) {
		wantUnsent(t, call(done, s), zk.ErrNotSent)
	})
	everyCall("/a", func(_ string, call func(context.Context, *zk.Session) error) {
		wantUnsent(t, call(done, s), zk.ErrNotSent)
	})
	_, _, err := s.Get(e.ctx, "/", nil)
	assert.NilError(t, err)
	var asked []string
	for _, f := range e.sim.Frames() {
		if f.Dir == zktest.FromClient {
			asked = append(asked, fmt.Sprint(f.Op, " ", f.Path))
		}
	}
	assert.DeepEqual(t, asked, []string{"getData /"})
}
