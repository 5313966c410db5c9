package zk_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
)

// Permissions and lists are written as zkCli writes them, and read back.
func TestACLText(t *testing.T) {
	assert.Equal(t, zk.PermAll.String(), "cdrwa")
	assert.Equal(t, (zk.PermRead | zk.PermAdmin).String(), "ra")
	assert.Equal(t, zk.Permission(0).String(), "")
	assert.Equal(t, zk.Permission(64|1).String(), "Permission(64)")
	p, err := zk.ParsePermission("wcr")
	assert.Assert(t, err == nil && p == zk.PermWrite|zk.PermCreate|zk.PermRead)
	_, err = zk.ParsePermission("rx")
	assert.ErrorIs(t, err, zk.ErrBadArguments)

	list := append(zk.ACLWorld(zk.PermRead), zk.ACLDigest(zk.PermAll, "bob", "secret")...)
	list = append(append(list, zk.ACLIP(zk.PermWrite, "fe80::/10")...), zk.ACLX509(zk.PermRead, "CN=app,O=Example")...)
	assert.Equal(t, list.String(), "world:anyone:r,digest:bob:fyVmFCwVbTJYrznoSu1koqYEYF0=:cdrwa,ip:fe80::/10:w,x509:CN=app,O=Example:r")
	back, err := zk.ParseACL(list.String())
	assert.NilError(t, err)
	assert.DeepEqual(t, back, list)
	assert.Equal(t, fmt.Sprint(zk.ACLOpen), "world:anyone:cdrwa")
	for _, bad := range []string{"", "world", "world:anyone", ":anyone:r", "world:anyone:rx", "world:anyone:r,", "a:b:r,x"} {
		_, err := zk.ParseACL(bad)
		assert.ErrorIs(t, err, zk.ErrBadArguments, "%q", bad)
	}
}

// A list made for a user and password lets just that credential in.
func TestACLDigestWorks(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, other := e.session(), e.session()
		path := e.root + "/mine"
		_, err := s.Create(e.ctx, path, nil, zk.Persistent, zk.ACLDigest(zk.PermAll, "bob", "secret"))
		assert.NilError(t, err)
		for password, want := range map[string]error{"wrong": zk.ErrNoAuth, "secret": nil} {
			o := e.session()
			assert.NilError(t, o.AddAuth(e.ctx, zk.Digest("bob", password)))
			_, err := o.Set(e.ctx, path, nil, zk.AnyVersion)
			assert.Assert(t, errors.Is(err, want), "%s: %v", password, err)
		}
		_, _, err = other.Get(e.ctx, path, nil)
		assert.ErrorIs(t, err, zk.ErrNoAuth)
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

func TestCheckPath(t *testing.T) {
	assert.NilError(t, zk.CheckPath("/a/b"))
	for _, bad := range badPaths {
		assert.ErrorIs(t, zk.CheckPath(bad), zk.ErrBadPath, "%q", bad)
	}
}

// Resolve is asked on each Dial, also of goroutines that share one.
func TestResolveOnEachDial(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.Addrs = []string{"old:1"}
		asked := 0
		conf.Resolve = func(context.Context) ([]string, error) {
			asked++
			return []string{fmt.Sprintf("new%d:1", asked)}, nil
		}
		s, l := r.open(conf)
		assert.Equal(t, s.Addr(), "new1:1")
		l.Close()
		<-s.Done()
		u := start(t, func() (err error) { s, err = s.Redial(bg); return err })
		r.accept().greet()
		u.ok()
		assert.Equal(t, s.Addr(), "new2:1")

		next := s.Detach()
		away := errors.New("away")
		next.Resolve = func(context.Context) ([]string, error) { return nil, away }
		_, err := zk.Dial(bg, next)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.ErrorIs(t, err, away)
		next.Resolve = func(context.Context) ([]string, error) { return []string{"a b"}, nil }
		_, err = zk.Dial(bg, next)
		assert.ErrorIs(t, err, zk.ErrBadArguments)
		next.Resolve = func(ctx context.Context) ([]string, error) { <-ctx.Done(); return nil, ctx.Err() }
		began := time.Now()
		_, err = zk.Dial(bg, next)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.Equal(t, time.Since(began), rigTimeout/2)
		synctest.Wait()
	})
}
