package zk_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// This file tests what real servers make of certificates, and of each scheme of
// ACLs but sasl.

// secureReleases are those to be tested that have a port with TLS.
func secureReleases() []apache.Release {
	return slices.DeleteFunc(slices.Clone(apache.Tested()), func(r apache.Release) bool { return suite.Minor(string(r)) < zktest.V35 })
}

// Servers have TLS since 3.5.5. They know a client by its certificate, and
// refuse one that they do not trust.
func TestTLSOfServers(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	for _, release := range secureReleases() {
		t.Run(string(release), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*suite.Patience)
			defer cancel()
			ca, soon := suite.NewAuthority(t), time.Now().Add(time.Hour)
			server := apache.New(t, apache.Config{Release: release, TLS: ca.KeyStore(ca.Certify("server", soon, "127.0.0.1"))})
			addr := server.SecureAddrs()[0]
			as := func(cert ...tls.Certificate) zk.Config {
				return zk.Config{Addrs: []string{addr}, TLS: &tls.Config{RootCAs: ca.Pool(), Certificates: cert}}
			}
			dial := func(conf zk.Config) *zk.Session {
				t.Helper()
				s, err := zk.Dial(ctx, conf)
				assert.NilError(t, err)
				t.Cleanup(func() { s.Close() })
				return s
			}
			conf := as(ca.Certify("client", soon))
			s := dial(conf)
			list := zk.ACL{{Perms: zk.PermAll, Scheme: "x509", ID: "CN=client"}}
			_, err := s.Create(ctx, "/mine", make([]byte, 900_000), zk.Persistent, list)
			assert.NilError(t, err)
			_, err = s.Create(ctx, "/creator", nil, zk.Ephemeral, zk.ACLCreator)
			assert.NilError(t, err)
			acl, _, err := s.GetACL(ctx, "/creator")
			assert.NilError(t, err)
			assert.DeepEqual(t, acl, list)
			if suite.Minor(string(release)) >= zktest.V37 {
				infos, err := s.WhoAmI(ctx)
				assert.NilError(t, err)
				assert.Assert(t, slices.Contains(infos, zk.AuthInfo{Scheme: "x509", User: "CN=client"}), "%v", infos)
			}

			// The same session on another connection, the same name in another certificate.
			ch := make(chan zk.Event, 1)
			_, _, err = s.Get(ctx, "/mine", ch)
			assert.NilError(t, err)
			next := s.Config()
			next.TLS = as(ca.Certify("client", soon)).TLS
			moved := dial(next)
			assert.Equal(t, moved.ID(), s.ID())
			_, err = moved.Set(ctx, "/mine", nil, 0)
			assert.NilError(t, err)
			assert.Equal(t, (<-ch).Type, zk.Changed)

			stranger := dial(as(ca.Certify("stranger", soon)))
			_, _, err = stranger.Get(ctx, "/mine", nil)
			suite.WantCode(t, err, zk.ErrNoAuth, "/mine")
			plain := dial(zk.Config{Addrs: server.Addrs()}) // the other port asks for no certificate
			_, _, err = plain.Get(ctx, "/mine", nil)
			suite.WantCode(t, err, zk.ErrNoAuth, "/mine")

			// What is wrong with the server's certificate is told with the address.
			refused := func(conf zk.Config) error {
				t.Helper()
				s, err := zk.Dial(ctx, conf)
				assert.Assert(t, s == nil)
				assert.ErrorIs(t, err, zk.ErrNoServer)
				assert.ErrorContains(t, err, conf.Addrs[0])
				assert.Assert(t, !errors.Is(err, zk.ErrExpired) && !errors.Is(err, zk.ErrAuth), "%v", err)
				return err
			}
			_, port, err := net.SplitHostPort(addr)
			assert.NilError(t, err)
			named := conf
			named.Addrs = []string{"localhost:" + port}
			var name x509.HostnameError
			assert.Assert(t, errors.As(refused(named), &name) && name.Host == "localhost", "%v", name)
			late := as(ca.Certify("client", soon))
			late.TLS.Time = func() time.Time { return time.Now().Add(2 * time.Hour) }
			var invalid x509.CertificateInvalidError
			assert.Assert(t, errors.As(refused(late), &invalid) && invalid.Reason == x509.Expired, "%v", invalid)
			other := suite.NewAuthority(t)
			untrusted := conf
			untrusted.TLS = &tls.Config{RootCAs: other.Pool(), Certificates: conf.TLS.Certificates}
			var unknown x509.UnknownAuthorityError
			assert.Assert(t, errors.As(refused(untrusted), &unknown))

			// And what the server finds wrong with ours, as it puts it.
			for what, conf := range map[string]zk.Config{
				"none": as(), "untrusted": as(other.Certify("client", soon)), "expired": as(ca.Certify("client", time.Now().Add(-time.Minute))),
			} {
				var alert *net.OpError
				err := refused(conf)
				assert.Check(t, errors.As(err, &alert) && alert.Op == "remote error", "%s: %v", what, err)
			}
			refused(zk.Config{Addrs: []string{addr}})
			refused(zk.Config{Addrs: server.Addrs(), TLS: conf.TLS})

			// None of it has harmed the session.
			_, _, err = moved.Get(ctx, "/creator", nil)
			assert.NilError(t, err)
		})
	}
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
