package zk

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A Multi that fails has no error before its failure, and -2 behind it.
func TestMulti(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		acl := WorldACL(PermAll)
		res, err := c.Multi(&CreateRequest{Path: "/a", Acl: acl}, &SetDataRequest{"/a", []byte("x"), 0}, &CheckVersionRequest{"/a", 1},
			&CreateRequest{Path: "/s-", Acl: acl, Flags: FlagSequence}, &DeleteRequest{"/a", 1})
		assert.NilError(t, err)
		assert.Equal(t, res[0], MultiResponse{String: "/a"})
		assert.Assert(t, res[1].Stat != nil && res[1].Stat.Version == 1)
		assert.Equal(t, res[2], MultiResponse{})
		assert.Assert(t, strings.HasPrefix(res[3].String, "/s-0"), "%v", res[3])
		assert.Equal(t, res[4], MultiResponse{})
		res, err = c.Multi(&CreateRequest{Path: "/a", Acl: acl}, &DeleteRequest{"/none", -1}, &CreateRequest{Path: "/c", Acl: acl})
		assert.Equal(t, err, ErrNoNode)
		assert.Equal(t, res[0].Error, nil)
		assert.Equal(t, res[1].Error, ErrNoNode)
		assert.Error(t, res[2].Error, "unknown error: -2")
	})
}

// A lost answer does not make a second znode, also below "/".
func TestCreateProtected(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		nodes(t, c, "/d")
		for _, path := range []string{"/n-", "/d/n-", "/d/"} {
			for _, do := range []zktest.Action{zktest.Pass, zktest.CutBefore, zktest.CutAfter} {
				server.Fault(zktest.Rule{Op: wire.OpCreate, Do: do, Count: 1})
				dir := path[:max(strings.LastIndex(path, "/"), 1)]
				before, _, err := c.Children(dir)
				assert.NilError(t, err)
				server.ForgetFrames()
				made, err := c.CreateProtectedEphemeralSequential(path, []byte("x"), WorldACL(PermAll))
				assert.NilError(t, err)
				synced := slices.ContainsFunc(server.Frames(), func(f zktest.Frame) bool { return f.Op == wire.OpSync })
				assert.Equal(t, synced, do != zktest.Pass) // its next server may lag
				found, st, err := c.Exists(made)
				assert.Assert(t, found && err == nil && st.EphemeralOwner == c.SessionID(), "%s", made)
				after, _, err := c.Children(dir)
				assert.NilError(t, err)
				assert.Equal(t, len(after), len(before)+1)
			}
		}
	})
}

// A connection that is lost while it looks for its znode is no reason to leave that.
func TestCreateProtectedLosesTheLookToo(t *testing.T) {
	for _, op := range []wire.Op{wire.OpSync, wire.OpGetChildren2, wire.OpExists, zktest.OpConnect} {
		inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
			c, _ := connect(t, server.Addrs(), through)
			nodes(t, c, "/d")
			server.Fault(zktest.Rule{Op: wire.OpCreate, Do: zktest.CutAfter})
			server.Fault(zktest.Rule{Op: op, Do: zktest.CutBefore, Count: 2})
			made, err := c.CreateProtectedEphemeralSequential("/d/n-", nil, WorldACL(PermAll))
			assert.NilError(t, err, "%v", op)
			names, _, err := c.Children("/d")
			assert.NilError(t, err)
			assert.DeepEqual(t, names, []string{strings.TrimPrefix(made, "/d/")})
		})
	}
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) { // it ends
		c, _ := connect(t, server.Addrs(), through)
		server.Fault(zktest.Rule{Op: wire.OpCreate, Do: zktest.CutAfter})
		looks := server.Fault(zktest.Rule{Op: wire.OpSync, Do: zktest.CutBefore, Count: -1})
		_, err := c.CreateProtectedEphemeralSequential("/n-", nil, WorldACL(PermAll))
		assert.Equal(t, err, ErrConnectionClosed)
		assert.Equal(t, looks.Hits(), 3)
	})
}

// Credentials come along to every connection; those that are refused are told.
func TestAddAuth(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, events := connect(t, server.Addrs(), through)
		assert.NilError(t, c.AddAuth("digest", []byte("u:p")))
		_, err := c.Create("/a", nil, 0, DigestACL(PermAll, "u", "p"))
		assert.NilError(t, err)
		server.CutAll()
		_, _, err = c.Get("/a")
		for err == ErrConnectionClosed { // it was on its way
			_, _, err = c.Get("/a")
		}
		assert.NilError(t, err)
		states(events)
		assert.Equal(t, c.AddAuth("nosuchscheme", nil), ErrAuthFailed)
		_, _, err = c.Get("/a")
		assert.NilError(t, err)
		assert.DeepEqual(t, states(events), []State{StateAuthFailed, StateDisconnected, StateConnecting, StateConnected, StateHasSession})
	})
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		bad := WithConfig(func(conf *root.Config) { conf.Auth = []root.Auth{{Scheme: "nosuchscheme"}} })
		c, _ := connect(t, server.Addrs(), through, bad)
		_, _, err := c.Get("/")
		assert.Equal(t, err, ErrAuthFailed)
	})
}

func TestReconfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true, Reconfig: true, Super: "super:test"})
		c, _ := connect(t, e.Addrs(), dialing(e.DialContext))
		_, err := c.IncrementalReconfig(nil, []string{"3"}, -1)
		assert.Equal(t, err, ErrNoAuth)
		assert.NilError(t, c.AddAuth("digest", []byte("super:test")))
		line := "server.4=127.0.0.1:1:2;127.0.0.1:3"
		st, err := c.IncrementalReconfig([]string{" " + line + "\n"}, []string{" 3 "}, -1)
		assert.NilError(t, err)
		assert.Assert(t, st != nil)
		data, _, err := c.Get("/zookeeper/config")
		assert.NilError(t, err)
		assert.Assert(t, strings.Contains(string(data), "server.4=") && !strings.Contains(string(data), "server.3="), "%s", data)
		_, err = c.IncrementalReconfig(nil, []string{"4"}, 1)
		assert.Equal(t, err, ErrBadVersion)
	})
}

// TLS by WithConfig: the certificate must have the name that was resolved, not its address.
func TestTLS(t *testing.T) {
	cert, leaf := certificate(t, "zk.example")
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	server := zktest.NewServer(t, zktest.Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	hosts := NewDNSHostProvider()
	hosts.lookupHost = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	_, port, _ := strings.Cut(server.Addr(), ":")
	for name, want := range map[string]error{"zk.example": nil, "other.example": ErrNoServer} {
		c, _ := connect(t, []string{name + ":" + port}, WithHostProvider(hosts), WithConfig(func(conf *root.Config) {
			conf.TLS = &tls.Config{RootCAs: pool}
			conf.Chroot = "/app"
		}))
		_, _, err := c.Exists("/x")
		assert.Equal(t, err, want)
		if want == nil {
			_, _, _, err = c.ExistsW("/x")
			assert.NilError(t, err)
		}
		c.Close()
	}
}

// certificate makes one that is its own authority.
func certificate(t *testing.T, host string) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	assert.NilError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	assert.NilError(t, err)
	leaf, err := x509.ParseCertificate(der)
	assert.NilError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, leaf
}

// A reply above the limit ends the connection, and is logged once with its size.
func TestMaxBufferSize(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		log := new(lines)
		c, _ := connect(t, server.Addrs(), through, WithMaxBufferSize(1024), WithLogger(log), WithLogInfo(false))
		nodes(t, c, "/a")
		_, err := c.Set("/a", make([]byte, 2000), -1)
		assert.NilError(t, err)
		_, _, err = c.Get("/a")
		assert.Equal(t, err, ErrConnectionClosed)
		assert.Equal(t, len(*log), 1)
		assert.Assert(t, strings.Contains((*log)[0], "received packet from server with length 2088, which exceeds max buffer size 1024"), (*log)[0])
		WithMaxBufferSize(0)(c)
		server.CutAll()
		synctest.Wait()
		data, _, err := c.Get("/a")
		for err == ErrConnectionClosed {
			data, _, err = c.Get("/a")
		}
		assert.Assert(t, err == nil && len(data) == 2000, "%v", err)
	})
}

// lines keeps what is logged.
type lines []string

func (l *lines) Printf(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

// The log has go-zookeeper's lines, those that are no errors only where they are asked
// for, and no credentials.
func TestLog(t *testing.T) {
	for _, info := range []bool{true, false} {
		inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
			log := new(lines)
			c, _ := connect(t, server.Addrs(), through, WithLogger(log), WithLogInfo(info))
			assert.NilError(t, c.AddAuth("digest", []byte("user:secret")))
			id := c.SessionID()
			server.CutAll()
			synctest.Wait()
			server.Member(0).Refuse(true)
			server.CutAll()
			synctest.Wait()
			assert.Equal(t, c.AddAuth("nosuchscheme", []byte("secret")), ErrNoServer)
			server.Member(0).Refuse(false)
			assert.Equal(t, c.AddAuth("nosuchscheme", []byte("secret")), ErrAuthFailed)
			c.Close()
			all := strings.Join(*log, "\n")
			assert.Assert(t, !strings.Contains(all, "secret"), all)
			assert.Assert(t, strings.Contains(all, "failed to connect to "+server.Addr()+": "), all)
			assert.Assert(t, strings.Contains(all, "recv loop terminated: "), all)
			for _, line := range []string{
				"connected to " + server.Addr(), fmt.Sprintf("authenticated: id=%d, timeout=10000", id), "re-submitting `1` credentials after reconnect",
			} {
				assert.Assert(t, strings.Contains(all, line) == info, all)
			}
		})
	}
}

// A request above the limit is not sent.
func TestMaxConnBufferSize(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through, WithMaxConnBufferSize(1024))
		nodes(t, c, "/a")
		_, err := c.Set("/a", make([]byte, 900), -1)
		assert.NilError(t, err)
		server.ForgetFrames()
		_, err = c.Set("/a", make([]byte, 1024), -1)
		assert.Equal(t, err, ErrShortBuffer)
		assert.Equal(t, len(server.Frames()), 0)
	})
}

func TestFourLetterWords(t *testing.T) {
	e := zktest.NewEnsemble(t, 2)
	c, _ := connect(t, e.Addrs()[:1])
	_, _, err := c.Get("/")
	assert.NilError(t, err)
	servers := append(e.Addrs(), "127.0.0.1:1")
	stats, ok := FLWSrvr(servers, 5*time.Second)
	assert.Assert(t, !ok && len(stats) == 3 && stats[2].Error != nil && stats[2].Server == servers[2])
	assert.Assert(t, stats[0].Error == nil && stats[0].Mode == ModeLeader && stats[1].Mode == ModeFollower && stats[0].NodeCount > 0 && !stats[0].BuildTime.IsZero())
	assert.Assert(t, strings.HasPrefix(stats[0].Version, "3.9."), stats[0].Version)
	oks := FLWRuok(servers, 5*time.Second)
	assert.DeepEqual(t, oks, []bool{true, true, false})
	clients, ok := FLWCons(servers[:2], 5*time.Second)
	assert.Assert(t, ok && len(clients[0].Clients) == 1 && len(clients[1].Clients) == 0)
	mine := clients[0].Clients[0]
	assert.Assert(t, mine.SessionID == c.SessionID() && time.Since(mine.Established) < time.Minute && mine.Timeout == 10000, "%+v", mine)
}
