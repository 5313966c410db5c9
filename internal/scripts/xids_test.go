package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// TestI28_XidsGoOn: no two requests of a session have one xid, on whichever
// connection.
func TestI28_XidsGoOn(t *testing.T) {
	server := zktest.NewServer(t)
	var xids []int32 // of all Gets, in their order
	get := func(s *zk.Session) {
		t.Helper()
		server.ForgetFrames()
		_, _, err := s.Get(suite.BG, "/", nil)
		assert.NilError(t, err)
		for _, f := range server.Frames() {
			if f.Dir == zktest.FromClient && f.Op == wire.OpGetData {
				xids = append(xids, f.Xid)
			}
		}
	}
	dial := func(conf zk.Config) *zk.Session {
		t.Helper()
		s, err := zk.Dial(suite.BG, conf)
		assert.NilError(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	// goesOn checks that the newest Get is the one after the last, or not near any.
	goesOn := func(known bool) {
		t.Helper()
		last := len(xids) - 1
		if known {
			assert.Equal(t, xids[last], xids[last-1]+1)
			return
		}
		for _, x := range xids[:last] { // they differ by chance: two of 2³¹
			assert.Assert(t, xids[last] < x-20 || xids[last] > x+20, "%v", xids)
		}
	}
	s := dial(zk.Config{Addrs: server.Addrs()})
	for range 3 {
		get(s)
	}
	assert.DeepEqual(t, xids, []int32{1, 2, 3})
	s = dial(s.Config()) // while it lives
	get(s)
	goesOn(true)
	server.Cut(s.ID())
	<-s.Done()
	ctx, cancel := context.WithTimeout(suite.BG, 20*time.Millisecond)
	server.Fault(zktest.Rule{Op: zktest.OpConnect, Do: zktest.CutBefore})
	_, err := s.Redial(ctx)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	cancel()
	s, err = s.Redial(suite.BG)
	assert.NilError(t, err)
	get(s)
	goesOn(true)

	conf := s.Detach()
	saved, err := json.Marshal(conf.State)
	assert.NilError(t, err)
	s = dial(conf)
	get(s)
	goesOn(true)
	s.Detach()
	other := zk.Config{Addrs: server.Addrs()} // another process, which does not know how far the first one came
	assert.NilError(t, json.Unmarshal(saved, &other.State))
	s = dial(other)
	get(s)
	goesOn(false)
	conf = s.Detach()
	conf.Watches = nil
	s = dial(conf)
	get(s)
	goesOn(false)
	server.Expire(s.ID())
	<-s.Done()
	s, err = s.Renew(suite.BG)
	assert.NilError(t, err)
	get(s)
	goesOn(true)
	get(dial(zk.Config{Addrs: server.Addrs()}))
	assert.Equal(t, xids[len(xids)-1], int32(1)) // another session
}

// TestI28_UncommittedWrite: a write of the old connection that is committed only
// when the new one has sent its first write does not answer that.
func TestI28_UncommittedWrite(t *testing.T) {
	onReleases(t, zktest.V34, func(ctx context.Context, t *testing.T, release apache.Release) {
		patient := map[string]string{"syncLimit": "60", "initLimit": "60"}
		e := apache.New(t, apache.Config{Release: release, Members: 5, HeapMB: 64, Settings: patient})
		leader, err := e.Leader()
		assert.NilError(t, err)
		var slow []*apache.Server
		for i := range 5 {
			if i != leader {
				slow = append(slow, e.Member(i))
			}
		}
		follower := slow[0]
		slow = slow[1:]
		old, err := zk.Dial(ctx, zk.Config{Addrs: []string{e.Member(leader).Addr()}, Timeout: 30 * time.Second})
		assert.NilError(t, err)
		for _, path := range []string{"/a", "/b"} {
			_, err = old.Create(ctx, path, nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
		}
		old, err = zk.Dial(ctx, old.Detach())
		assert.NilError(t, err)
		for _, s := range slow { // the two others of five commit nothing
			assert.NilError(t, s.Pause())
		}
		for err = nil; err == nil || errors.Is(err, zk.ErrNotSent); { // a busy machine may stop them late, or the call
			assert.NilError(t, ctx.Err())
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			_, err = old.Set(short, "/a", []byte("old"), zk.AnyVersion)
			cancel()
		}
		assert.ErrorIs(t, err, zk.ErrLost)
		conf := old.Detach()
		conf.Addrs = []string{follower.Addr()}
		s, err := zk.Dial(ctx, conf)
		assert.NilError(t, err)
		defer s.Close()
		first := make(chan error, 1)
		go func() {
			_, err := s.Set(ctx, "/b", []byte("new"), 7)
			first <- err
		}()
		for len(s.Pending()) == 0 { // until it was sent
			assert.NilError(t, ctx.Err())
			time.Sleep(time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond) // and the follower has it, ahead of the commit: else this shows nothing
		for _, s := range slow {
			assert.NilError(t, s.Resume())
		}
		suite.WantCode(t, <-first, zk.ErrVersion, "/b")
		data, _, err := s.Get(ctx, "/a", nil)
		assert.NilError(t, err)
		assert.Equal(t, string(data), "old")
	})
}
