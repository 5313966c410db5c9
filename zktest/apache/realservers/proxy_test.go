package realservers

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// A proxy sees the same in front of a real server as in front of one of zktest.
func TestProxy(t *testing.T) {
	versions := map[apache.Release]zktest.Version{apache.V3_9: zktest.V39, apache.V3_8: zktest.V38}
	for _, r := range apache.Default() {
		t.Run(string(r), func(t *testing.T) {
			real := apache.New(t, apache.Config{Release: r})
			want := converse(t, zktest.NewServer(t, zktest.Options{Version: versions[r]}).Addr())
			got := converse(t, real.Addrs()[0])
			assert.DeepEqual(t, got, want)
			assert.Assert(t, slices.Contains(got, `<- multi xid 5 (op 1 failed: err -101)`), "%q", got)
		})
	}
}

var passing = regexp.MustCompile(`^.* session \S+ | zxid \S+| after [^ ]+`)

// converse has a session that does a bit of everything, and returns what a
// proxy logs, without what differs from server to server: first what the client
// said, then the server. What is sent in one go may be answered in part before the
// proxy has seen all of it.
func converse(t *testing.T, server string) []string {
	t.Helper()
	ctx := t.Context()
	p := zktest.NewProxy(t, server)
	s, err := zk.Dial(ctx, zk.Config{Addrs: []string{p.Addr()}, Timeout: 9 * time.Second, Auth: []zk.Auth{zk.Digest("user", "secret")}})
	assert.NilError(t, err)
	_, err = s.Create(ctx, "/p", []byte("x"), zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	_, err = s.Create(ctx, "/p/n-", nil, zk.EphemeralSequential, zk.ACLOpen)
	assert.NilError(t, err)
	events := make(chan zk.Event, 1)
	_, _, err = s.Get(ctx, "/p", events)
	assert.NilError(t, err)
	_, err = s.Set(ctx, "/p", nil, 0)
	assert.NilError(t, err)
	<-events
	_, err = s.Multi(ctx, zk.CheckOp{Path: "/p", Version: -1}, zk.DeleteOp{Path: "/none", Version: -1})
	assert.ErrorIs(t, err, zk.ErrNoNode)
	assert.ErrorIs(t, s.Delete(ctx, "/none", 3), zk.ErrNoNode)
	_, err = s.Ephemerals(ctx, "/p")
	assert.NilError(t, err)
	next := make(chan zk.Event, 1)
	_, _, err = s.Exists(ctx, "/later", next)
	assert.NilError(t, err)
	p.Cut()
	<-s.Done()
	s, err = s.Redial(ctx)
	assert.NilError(t, err)
	_, err = s.Create(ctx, "/later", nil, zk.Ephemeral, zk.ACLOpen)
	assert.NilError(t, err)
	assert.NilError(t, s.Close())
	var lines []string
	for _, dir := range []zktest.Direction{zktest.FromClient, zktest.ToClient} { // who ends it first is not decided
		for _, f := range p.Frames() {
			if f.Dir == dir {
				lines = append(lines, passing.ReplaceAllString(f.String(), ""))
			}
		}
	}
	return lines
}
