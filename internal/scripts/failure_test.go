package scripts

import (
	"errors"
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Servers that lost all their data have lost the session too. Its watches go on
// with a new one.
func TestLostData(t *testing.T) {
	bubbled(t, func(t *testing.T, e *zktest.Ensemble, conf zk.Config) {
		s := docDial(t, conf)
		docCreate(t, s, "/data", "/child", "/all", "/below")
		data, child, absent, all, below := make(chan zk.Event, 3), make(chan zk.Event, 3), make(chan zk.Event, 3), make(chan zk.Event, 3), make(chan zk.Event, 3)
		docWatch(t, s, "/data", data)
		for _, err := range []error{
			suite.ErrOf2(s.Children(t.Context(), "/child", child)), suite.ErrOf2(s.Exists(t.Context(), "/absent", absent)),
			s.AddWatch(t.Context(), "/all", zk.WatchPersistent, all), s.AddWatch(t.Context(), "/below", zk.WatchRecursive, below),
		} {
			assert.NilError(t, err)
		}
		e.LoseData()
		<-s.Done()
		conf = s.Config()
		for _, again := range []zk.Config{conf, conf.Renew()} { // the servers are behind
			_, err := zk.Dial(t.Context(), again)
			assert.ErrorIs(t, err, zk.ErrNoServer)
			assert.Assert(t, !errors.Is(err, zk.ErrExpired), "%v", err)
		}
		conf.Zxid = 0
		_, err := zk.Dial(t.Context(), conf)
		assert.ErrorIs(t, err, zk.ErrExpired)
		next := docDial(t, conf.Renew())
		assert.Assert(t, next.ID() != s.ID())
		assert.Equal(t, suite.Told(suite.Taken(data)...), "deleted /data")
		assert.Equal(t, suite.Told(suite.Taken(child)...), "deleted /child")
		assert.Equal(t, suite.Told(suite.Taken(all)...), "gap /all")
		assert.Equal(t, suite.Told(suite.Taken(below)...), "gap /below")
		assert.Equal(t, len(absent), 0)
		assert.Equal(t, suite.ArmedList(next.Config().Watches), "exists /absent, persistent /all, recursive /below")
		docCreate(t, next, "/absent", "/all", "/below")
		assert.Equal(t, suite.Told(suite.Taken(absent)...), "created /absent")
		assert.Equal(t, suite.Told(suite.Taken(all)...), "created /all")
		assert.Equal(t, suite.Told(suite.Taken(below)...), "created /below")
		assert.Equal(t, len(data)+len(child), 0)
		docCut(t, e, next) // the new history is the one that counts
		next, err = next.Redial(t.Context())
		assert.NilError(t, err)
		assert.NilError(t, next.Close())
	})
}

// The siblings of a chroot that begin like it are not in it.
func TestChrootSiblings(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	top := e.Dial(conf)
	for _, path := range []string{"/app", "/app/app", "/apple", "/ap"} {
		e.Create(top, path, "")
	}
	mixed, err := zk.Dial(e.Ctx, conf)
	assert.NilError(t, err)
	for _, path := range []string{"/app/e", "/app/app/e", "/apple/e", "/ap/e", "/application"} {
		_, err := mixed.Create(e.Ctx, path, nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
	}
	conf = mixed.Config()
	conf.Chroot = "/app"
	s := e.Dial(conf)
	for prefix, want := range map[string][]string{"": {"/app/e", "/e"}, "/": {"/app/e", "/e"}, "/a": {"/app/e"}, "/e": {"/e"}, "/app": {"/app/e"}} {
		got, err := s.Ephemerals(e.Ctx, prefix)
		assert.NilError(t, err)
		assert.DeepEqual(t, suite.Sorted(got), want)
	}
	ch := make(chan zk.Event, 20)
	assert.NilError(t, s.AddWatch(e.Ctx, "/", zk.WatchRecursive, ch))
	changes := func(prefix string) {
		e.Set(top, prefix+"/app", "x")
		e.Set(top, prefix+"/app/e", "x")
	}
	for _, path := range []string{"/apple", "/ap", "/apple/e", "/application"} {
		e.Set(top, path, "x")
	}
	e.None(s, ch)
	changes("")
	changes("/app")
	e.Want(ch, zk.Changed, "/")
	e.Want(ch, zk.Changed, "/e")
	e.Want(ch, zk.Changed, "/app")
	e.Want(ch, zk.Changed, "/app/e")
	e.None(s, ch)
	n, err := s.AllChildrenNumber(e.Ctx, "/")
	assert.NilError(t, err)
	assert.Equal(t, n, 3)
	assert.Equal(t, fmt.Sprint(s.Config().Watches.List()[0].Path), "/")
}
