package zktest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// overtaken sends auth behind writes that wait for their member, and tells the
// order of what comes back.
func overtaken(t *testing.T, addr string, freeze, thaw func()) string {
	p := &peer{t: t, addrs: []string{addr}}
	c := p.open(0)
	defer c.nc.Close()
	_, err := c.connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16)})
	assert.NilError(t, err)
	var told strings.Builder
	read := func() {
		body, err := c.readFrame()
		if err != nil {
			fmt.Fprintln(&told, "ended")
			return
		}
		d := wire.NewDecoder(body)
		var h wire.ReplyHeader
		h.Decode(&d)
		fmt.Fprintln(&told, h.Xid, h.Err)
	}
	auth := func(scheme string) {
		c.send(wire.OpAuth, wire.AuthRequest{Scheme: scheme, Auth: []byte("u:p")})
	}
	c.send(wire.OpCreate, wire.CreateRequest{Path: "/a", ACL: world})
	read()

	freeze()
	c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
	c.send(wire.OpGetData, wire.PathWatchRequest{Path: "/a"})
	auth("digest")
	read()
	auth("digest")
	read()
	fmt.Fprintln(&told, "goes on")
	thaw()
	read()
	read()
	c.send(wire.OpGetData, wire.PathWatchRequest{Path: "/a"})
	read()
	auth("digest")
	read()
	c.send(wire.OpSetACL, wire.SetACLRequest{Path: "/a", ACL: []wire.ACL{{Perms: 31, Scheme: "auth"}}, Version: -1})
	read()

	freeze()
	c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
	auth("nope")
	read()
	read()
	thaw()
	return told.String()
}

func TestAuthOvertakes(t *testing.T) {
	ours := func(version Version) string {
		e := NewEnsemble(t, 2, Options{Version: version})
		return overtaken(t, e.Addrs()[1], e.Member(1).Freeze, e.Member(1).Thaw)
	}
	told := ours(V39)
	assert.Equal(t, told, "1 0\n-4 0\n-4 0\ngoes on\n2 0\n3 0\n6 0\n-4 0\n8 0\n-4 -115\nended\n")

	t.Run("like real", func(t *testing.T) {
		apache.Need(t)
		for _, release := range apache.Tested() {
			real := apache.New(t, apache.Config{Release: release, Members: 3})
			leads, err := real.Leader()
			assert.NilError(t, err)
			leader := real.Member(leads)
			got := overtaken(t, real.Member((leads+1)%3).Addr(),
				func() { assert.NilError(t, leader.Pause()) }, func() { assert.NilError(t, leader.Resume()) })
			assert.Equal(t, ours(parityVersions[release]), got, release)
		}
	})
}

// TestReadsAhead sends more behind a write that waits than is read ahead, and
// then what is no frame.
func TestReadsAhead(t *testing.T) {
	e := NewEnsemble(t, 2, Options{InMemory: true})
	c := dial(t, e, 1)
	c.create("/a", nil, 0)
	e.Member(1).Freeze()
	const n = 3 * maxAhead
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
		for range n {
			c.send(wire.OpExists, wire.PathWatchRequest{Path: "/a"})
		}
		c.nc.Write([]byte{0xff, 0xff, 0xff, 0xff})
	}()
	time.AfterFunc(10*time.Millisecond, e.Member(1).Thaw)
	for i := range int32(n + 1) {
		h, _, err := c.recv(2 + i)
		assert.NilError(t, err)
		assert.Equal(t, h.Err, int32(0))
	}
	c.ended()
	<-sent
}
