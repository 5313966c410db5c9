package zk_test

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

func digestID(user, password string) string {
	sum := sha1.Sum([]byte(user + ":" + password))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:])
}

// denied returns the error of a Set. The leader checks permissions, and a real
// one goes by the old ACL until it has applied the new one, which is perhaps
// later than the follower that has answered SetACL.
func denied(e *suite.Env, s *zk.Session, path string) error {
	e.T.Helper()
	for range 1000 {
		if _, err := s.Set(e.Ctx, path, nil, zk.AnyVersion); err != nil || !e.Real() || e.Members == 1 {
			return err
		}
	}
	return nil
}

func TestACL(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		path := e.Create(s, e.Root+"/n", "data")
		acl, st, err := s.GetACL(e.Ctx, path)
		assert.NilError(t, err)
		assert.DeepEqual(t, acl, zk.ACLOpen)
		assert.Equal(t, st.Aversion, int32(0))

		st, err = s.SetACL(e.Ctx, path, zk.ACLReadOnly, 0)
		assert.NilError(t, err)
		assert.Equal(t, st.Aversion, int32(1))
		suite.WantCode(t, denied(e, s, path), zk.ErrNoAuth, path)
		_, err = s.SetACL(e.Ctx, path, zk.ACLOpen, zk.AnyVersion)
		suite.WantCode(t, err, zk.ErrNoAuth, path)
		_, err = s.Create(e.Ctx, path+"/child", nil, zk.Persistent, zk.ACLOpen)
		suite.WantCode(t, err, zk.ErrNoAuth, path+"/child")
		acl, _, err = s.GetACL(e.Ctx, path)
		assert.NilError(t, err)
		assert.DeepEqual(t, acl, zk.ACLReadOnly)

		// Each permission by itself.
		mine := e.Create(s, e.Root+"/m", "data")
		_, err = s.SetACL(e.Ctx, mine, zk.ACLOpen, 7)
		suite.WantCode(t, err, zk.ErrVersion, mine)
		list := zk.ACL{{Perms: zk.PermRead | zk.PermAdmin, Scheme: "world", ID: "anyone"}, {Perms: zk.PermAll, Scheme: "digest", ID: digestID("user", "secret")}}
		st, err = s.SetACL(e.Ctx, mine, list, 0)
		assert.NilError(t, err)
		assert.Equal(t, st.Aversion, int32(1))
		acl, _, err = s.GetACL(e.Ctx, mine)
		assert.NilError(t, err)
		assert.DeepEqual(t, acl, list)
		suite.WantCode(t, denied(e, s, mine), zk.ErrNoAuth, mine)
		assert.NilError(t, s.AddAuth(e.Ctx, zk.Digest("user", "secret")))
		e.Set(s, mine, "by the user")

		// Without any right the passwords are masked.
		reader := e.Create(s, e.Root+"/r", "")
		_, err = s.SetACL(e.Ctx, reader, zk.ACL{{Perms: zk.PermRead, Scheme: "world", ID: "anyone"}, {Perms: zk.PermAdmin, Scheme: "digest", ID: digestID("user", "secret")}}, zk.AnyVersion)
		assert.NilError(t, err)
		acl, _, err = e.Session().GetACL(e.Ctx, reader)
		assert.NilError(t, err)
		assert.Equal(t, acl[1].ID, "user:x")
		acl, _, err = s.GetACL(e.Ctx, reader)
		assert.NilError(t, err)
		assert.Equal(t, acl[1].ID, digestID("user", "secret"))
	})
}

// Which ACLs make sense is the server's to say, but for those that are empty.
func TestOddACL(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		for _, a := range []zk.Access{
			{Perms: zk.PermAll, Scheme: "", ID: ""}, {Perms: zk.PermAll, Scheme: "world", ID: "nobody"},
			{Perms: zk.PermAll, Scheme: "digest", ID: "no colon"}, {Perms: zk.PermAll, Scheme: "ip", ID: "not an address"},
		} {
			_, err := s.Create(e.Ctx, e.Root+"/n", nil, zk.Persistent, zk.ACL{a})
			suite.WantCode(t, err, zk.ErrInvalidACL, e.Root+"/n")
		}
		for i, perms := range []zk.Permission{0, 32, -1} { // it does not look at them
			_, err := s.Create(e.Ctx, fmt.Sprintf("%s/%d", e.Root, i), nil, zk.Persistent, zk.ACL{{Perms: perms, Scheme: "world", ID: "anyone"}})
			assert.NilError(t, err)
		}
	})
}

// Credentials are given with the Config or added later, and move along.
func TestAuth(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		conf, l := e.Config()
		conf.Auth = []zk.Auth{zk.Digest("one", "secret")}
		s := e.Dial(conf)
		first, err := s.Create(e.Ctx, e.Root+"/first", []byte("1"), zk.Persistent, zk.ACLCreator)
		assert.NilError(t, err)
		acl, _, err := s.GetACL(e.Ctx, first)
		assert.NilError(t, err)
		assert.DeepEqual(t, acl, zk.ACL{{Perms: zk.PermAll, Scheme: "digest", ID: digestID("one", "secret")}})

		assert.NilError(t, s.AddAuth(e.Ctx, zk.Digest("two", "secret")))
		second, err := s.Create(e.Ctx, e.Root+"/second", []byte("2"), zk.Persistent, zk.ACLCreator)
		assert.NilError(t, err)
		acl, _, err = s.GetACL(e.Ctx, second)
		assert.NilError(t, err)
		assert.Equal(t, len(acl), 2)
		if e.Knows(zktest.V37) {
			infos, err := s.WhoAmI(e.Ctx)
			assert.NilError(t, err)
			for _, want := range []zk.AuthInfo{{Scheme: "ip", User: "127.0.0.1"}, {Scheme: "digest", User: "one"}, {Scheme: "digest", User: "two"}} {
				assert.Assert(t, slices.Contains(infos, want), "%+v, want %+v", infos, want)
			}
		}
		assert.DeepEqual(t, s.Config().Auth, []zk.Auth{zk.Digest("one", "secret"), zk.Digest("two", "secret")})

		stranger := e.Session()
		_, _, err = stranger.Get(e.Ctx, first, nil)
		suite.WantCode(t, err, zk.ErrNoAuth, first)
		assert.NilError(t, stranger.AddAuth(e.Ctx, zk.Digest("one", "wrong"))) // a server believes everyone
		_, _, err = stranger.Get(e.Ctx, first, nil)
		suite.WantCode(t, err, zk.ErrNoAuth, first)

		// The watch on a node that only the credentials may read is restored behind them.
		ch := make(chan zk.Event, 1)
		e.Watch(s, second, ch)
		e.Cut(s, l)
		s = e.Move(s)
		for _, path := range []string{first, second} {
			_, _, err = s.Get(e.Ctx, path, nil)
			assert.NilError(t, err)
		}
		e.Set(s, second, "more")
		e.Ready(ch, zk.Changed, second)

		// Credentials come from the Config that is dialed.
		conf = s.Config()
		conf.Auth = conf.Auth[1:]
		s = e.Dial(conf)
		_, _, err = s.Get(e.Ctx, second, nil)
		assert.NilError(t, err)
		_, _, err = s.Get(e.Ctx, first, nil)
		suite.WantCode(t, err, zk.ErrNoAuth, first)
	})
}

// A server that refuses a credential ends the connection, not the session.
func TestAuthRefused(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 1)
		e.Watch(s, eph, ch)
		err = s.AddAuth(e.Ctx, zk.Auth{Scheme: "nonsense", Credential: []byte("x")})
		assert.ErrorIs(t, err, zk.ErrAuth)
		assert.ErrorIs(t, err, zk.ErrAuthFailed)
		assert.ErrorIs(t, err, zk.ErrConnection)
		var op *zk.OpError
		assert.Assert(t, errors.As(err, &op) && op.Outcome() == zk.Answered, "%v", err)
		suite.Await(t, s.Done())
		assert.ErrorIs(t, s.Err(), zk.ErrConnection)
		assert.Equal(t, len(s.Config().Auth), 0)
		_, _, err = s.Get(e.Ctx, eph, nil)
		suite.WantUnsent(t, err, zk.ErrConnection)

		conf := s.Config()
		conf.Auth = []zk.Auth{zk.Digest("good", "one"), {Scheme: "nonsense"}}
		_, err = zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, zk.ErrAuth)
		assert.Assert(t, !errors.Is(err, zk.ErrExpired) && !errors.Is(err, zk.ErrNoServer), "%v", err)

		next := e.Move(s)
		assert.Equal(t, next.ID(), s.ID())
		found, st, err := next.Exists(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, found)
		assert.Equal(t, st.EphemeralOwner, s.ID())
		e.Delete(next, eph)
		e.Ready(ch, zk.Deleted, eph)
	})
}

// A server knows where a client comes from: one address, or since 3.5 a network.
func TestIPScheme(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		try := func(name, id string, allowed bool) {
			t.Helper()
			path, err := s.Create(e.Ctx, e.Root+"/"+name, []byte("data"), zk.Persistent, zk.ACL{{Perms: zk.PermAll, Scheme: "ip", ID: id}})
			assert.NilError(t, err)
			_, _, err = s.Get(e.Ctx, path, nil)
			if !allowed {
				suite.WantCode(t, err, zk.ErrNoAuth, path)
				return
			}
			assert.NilError(t, err)
			e.Set(s, path, "more")
		}
		try("here", "127.0.0.1", true)
		try("elsewhere", "127.0.0.2", false)
		if e.Knows(zktest.V35) {
			try("net", "127.0.0.0/8", true)
			try("other-net", "10.0.0.0/8", false)
		}
		_, err := s.Create(e.Ctx, e.Root+"/bad", nil, zk.Persistent, zk.ACL{{Perms: zk.PermAll, Scheme: "ip", ID: "300.0.0.1"}})
		suite.WantCode(t, err, zk.ErrInvalidACL, e.Root+"/bad")
	})
}

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

// A GetACLOp and a SetACLOp are a GetACL and a SetACL among others.
func TestBatchACL(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		open, mine, none := e.Create(s, e.Root+"/o", ""), e.Create(s, e.Root+"/m", ""), e.Root+"/none"
		list := zk.ACL{{Perms: zk.PermAll, Scheme: "world", ID: "anyone"}, {Perms: zk.PermRead, Scheme: "digest", ID: digestID("user", "secret")}}
		res, err := s.Batch(e.Ctx,
			zk.GetACLOp{Path: open},                         // 0
			zk.GetACLOp{Path: none},                         // 1: no node
			zk.SetACLOp{Path: mine, ACL: list, Version: 0},  // 2
			zk.SetACLOp{Path: mine, ACL: list, Version: 0},  // 3: version
			zk.GetACLOp{Path: mine},                         // 4
			zk.GetOp{Path: mine},                            // 5
			zk.SetACLOp{Path: none, ACL: list, Version: -1}, // 6: no node
		)
		suite.WantCode(t, err, zk.ErrNoNode, none)
		suite.WantCode(t, res[1].Err, zk.ErrNoNode, none)
		suite.WantCode(t, res[3].Err, zk.ErrVersion, mine)
		suite.WantCode(t, res[6].Err, zk.ErrNoNode, none)
		assert.Assert(t, res[1].ACL == nil)
		assert.DeepEqual(t, res[0].ACL, zk.ACLOpen)
		assert.DeepEqual(t, res[4].ACL, list)
		assert.Equal(t, res[2].Stat.Aversion, int32(1))
		assert.Equal(t, res[2].Stat, res[5].Stat)
		assert.Equal(t, res[4].Stat, res[5].Stat)
		acl, _, err := s.GetACL(e.Ctx, mine)
		assert.NilError(t, err)
		assert.DeepEqual(t, acl, list)

		for _, op := range []zk.Op{zk.GetACLOp{Path: "relative"}, zk.SetACLOp{Path: "relative", ACL: list}} {
			_, err = s.Batch(e.Ctx, zk.SetOp{Path: open, Version: -1}, op)
			suite.WantUnsent(t, err, zk.ErrBadPath)
		}
		_, err = s.Batch(e.Ctx, zk.SetOp{Path: open, Version: -1}, zk.SetACLOp{Path: open, Version: -1})
		suite.WantUnsent(t, err, zk.ErrInvalidACL)
		_, st, err := s.Get(e.Ctx, open, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.Version, int32(0)) // nothing was sent
	})
}
