package zktest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// freePorts returns the first of n ports that nobody listens on.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		assert.NilError(t, err)
		first.Close()
		port := first.Addr().(*net.TCPAddr).Port
		free := port+n < 1<<16
		for i := 1; i < n && free; i++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+i))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

func TestListen(t *testing.T) {
	port := freePorts(t, 3)
	listen := "127.0.0.1:" + strconv.Itoa(port)
	for range 2 { // a port can be taken again at once
		e, err := StartEnsemble(3, Options{Listen: listen})
		assert.NilError(t, err)
		for i, addr := range e.Addrs() {
			assert.Equal(t, addr, "127.0.0.1:"+strconv.Itoa(port+i))
		}
		c := dial(t, e, 2)
		c.ping()
		_, err = StartServer(Options{Listen: listen})
		assert.ErrorContains(t, err, "listen on "+listen+": ")
		_, err = StartEnsemble(2, Options{Listen: "127.0.0.1:" + strconv.Itoa(port+2)})
		assert.ErrorContains(t, err, "listen on 127.0.0.1:"+strconv.Itoa(port+2))
		e.Member(2).Restart()
		n, _, err := c.move(e, 2)
		assert.NilError(t, err)
		n.ping()
		e.Close()
	}
}

// A port that somebody else listens on is not taken.
func TestListenTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer l.Close()
	_, err = StartServer(Options{Listen: l.Addr().String()})
	assert.ErrorContains(t, err, "listen on "+l.Addr().String()+": ")
}

func TestIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else {
		l.Close()
	}
	e := NewEnsemble(t, 3, Options{Listen: "[::1]:0", Super: "super:x", Reconfig: true})
	c := dial(t, e, 1)
	const host = "0:0:0:0:0:0:0:1" // as Java writes it
	acl := []wire.ACL{{Perms: wire.PermAll, Scheme: "ip", ID: "::1"}}
	c.must(wire.OpCreate, wire.CreateRequest{Path: "/mine", ACL: acl}, &wire.PathResponse{})
	c.set("/mine", "1")
	var who wire.WhoAmIResponse
	c.must(wire.OpWhoAmI, nil, &who)
	assert.DeepEqual(t, who.Infos, []wire.ClientInfo{{AuthScheme: "ip", User: host}})
	_, port, _ := net.SplitHostPort(c.nc.LocalAddr().String())
	assert.Assert(t, strings.Contains(e.ask(t, 1, "cons"), fmt.Sprintf(" /[%s]:%s[1](", host, port)))

	var conf wire.GetDataResponse
	c.must(wire.OpGetData, wire.PathWatchRequest{Path: data.ConfigPath}, &conf)
	_, port, err := net.SplitHostPort(e.Addrs()[0])
	assert.NilError(t, err)
	line := fmt.Sprintf("server.1=[%s]:20001:30001:participant;[%s]:%s\n", host, host, port)
	assert.Assert(t, strings.HasPrefix(string(conf.Data), line), "%q", conf.Data)
	c.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("super:x")}, nil)
	c.must(wire.OpReconfig, wire.ReconfigRequest{Leaving: ptr("9"), ConfigID: -1}, &conf)
	assert.Assert(t, strings.HasPrefix(string(conf.Data), line), "%q", conf.Data)

	e.Member(1).Stop()
	refused(t, e, 1)
	e.Member(1).Start()
	n, _, err := c.move(e, 1)
	assert.NilError(t, err)
	assert.Equal(t, n.data("/mine"), "1")
}

func TestSuperDigest(t *testing.T) {
	// What real servers print for "super:admin".
	s := NewServer(t, Options{SuperDigest: "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="})
	c := dial(t, s.Ensemble, 0)
	nobody := []wire.ACL{{Perms: wire.PermAll, Scheme: "digest", ID: "x:y"}}
	c.must(wire.OpCreate, wire.CreateRequest{Path: "/a", ACL: nobody}, &wire.PathResponse{})
	set := wire.SetDataRequest{Path: "/a", Version: -1}
	for _, credential := range []string{"super:x", "super", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=", "other:admin"} {
		c.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte(credential)}, nil)
		assert.Equal(t, c.call(wire.OpSetData, set, nil), wire.ErrNoAuth)
	}
	c.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("super:admin")}, nil)
	c.set("/a", "1")
}
