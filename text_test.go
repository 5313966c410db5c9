package zk_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
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
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, other := e.Session(), e.Session()
		path := e.Root + "/mine"
		_, err := s.Create(e.Ctx, path, nil, zk.Persistent, zk.ACLDigest(zk.PermAll, "bob", "secret"))
		assert.NilError(t, err)
		for password, want := range map[string]error{"wrong": zk.ErrNoAuth, "secret": nil} {
			o := e.Session()
			assert.NilError(t, o.AddAuth(e.Ctx, zk.Digest("bob", password)))
			_, err := o.Set(e.Ctx, path, nil, zk.AnyVersion)
			assert.Assert(t, errors.Is(err, want), "%s: %v", password, err)
		}
		_, _, err = other.Get(e.Ctx, path, nil)
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

func TestStatTimes(t *testing.T) {
	st := zk.Stat{Ctime: 1_700_000_000_123, Mtime: 1_700_000_001_000}
	assert.Assert(t, st.Created().Equal(time.Unix(1_700_000_000, 123_000_000)))
	assert.Equal(t, st.Modified().Sub(st.Created()), 877*time.Millisecond)
}

func TestCheckPath(t *testing.T) {
	assert.NilError(t, zk.CheckPath("/a/b"))
	for _, bad := range badPaths {
		assert.ErrorIs(t, zk.CheckPath(bad), zk.ErrBadPath, "%q", bad)
	}
}
