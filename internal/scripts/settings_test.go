package scripts

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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

// Servers have TLS since 3.5.5. They know a client by its certificate, and
// refuse one that they do not trust.
func TestTLSOfServers(t *testing.T) {
	onReleases(t, zktest.V35, func(ctx context.Context, t *testing.T, release apache.Release) {
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
			assert.ErrorContains(t, err, conf.Addrs[0])
			assert.Assert(t, !errors.Is(err, zk.ErrExpired) && !errors.Is(err, zk.ErrAuth), "%v", err)
			return err
		}
		// Where a certificate is, no server that comes back helps.
		distrusted := func(conf zk.Config) error {
			t.Helper()
			err := refused(conf)
			assert.Assert(t, !errors.Is(err, zk.ErrNoServer), "%v", err)
			return err
		}
		_, port, err := net.SplitHostPort(addr)
		assert.NilError(t, err)
		named := conf
		named.Addrs = []string{"localhost:" + port}
		var name x509.HostnameError
		assert.Assert(t, errors.As(distrusted(named), &name) && name.Host == "localhost", "%v", name)
		late := as(ca.Certify("client", soon))
		late.TLS.Time = func() time.Time { return time.Now().Add(2 * time.Hour) }
		var invalid x509.CertificateInvalidError
		assert.Assert(t, errors.As(distrusted(late), &invalid) && invalid.Reason == x509.Expired, "%v", invalid)
		other := suite.NewAuthority(t)
		untrusted := conf
		untrusted.TLS = &tls.Config{RootCAs: other.Pool(), Certificates: conf.TLS.Certificates}
		var unknown x509.UnknownAuthorityError
		assert.Assert(t, errors.As(distrusted(untrusted), &unknown))

		// And what the server finds wrong with ours, as it puts it.
		for what, conf := range map[string]zk.Config{
			"none": as(), "untrusted": as(other.Certify("client", soon)), "expired": as(ca.Certify("client", time.Now().Add(-time.Minute))),
		} {
			var alert *net.OpError
			err := distrusted(conf)
			assert.Check(t, errors.As(err, &alert) && alert.Op == "remote error", "%s: %v", what, err)
		}
		refused(zk.Config{Addrs: []string{addr}})
		refused(zk.Config{Addrs: server.Addrs(), TLS: conf.TLS})

		// None of it has harmed the session.
		_, _, err = moved.Get(ctx, "/creator", nil)
		assert.NilError(t, err)
	})
}

// Servers whose limit was raised take as much more from a client whose limits
// were raised too.
func TestRaisedLimits(t *testing.T) {
	onReleases(t, zktest.V34, func(ctx context.Context, t *testing.T, release apache.Release) {
		e := apache.New(t, apache.Config{Release: release, HeapMB: 256, Properties: map[string]string{"jute.maxbuffer": fmt.Sprint(4 << 20)}})
		conf := zk.Config{Addrs: e.Addrs(), MaxRequest: 4 << 20, MaxReply: 4 << 20}
		s, err := zk.Dial(ctx, conf)
		assert.NilError(t, err)
		defer s.Close()
		_, err = s.Create(ctx, "/big", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		data := bytes.Repeat([]byte("0123456789abcdef"), 2<<20/16)
		ch := make(chan zk.Event, 1)
		_, _, err = s.Get(ctx, "/big", ch)
		assert.NilError(t, err)
		st, err := s.Set(ctx, "/big", data, 0)
		assert.NilError(t, err)
		assert.Equal(t, int(st.DataLength), len(data))
		assert.Equal(t, (<-ch).Type, zk.Changed)
		got, st, err := s.Get(ctx, "/big", nil)
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(got, data))
		assert.Equal(t, st.Version, int32(1))
		res, err := s.Batch(ctx, zk.GetOp{Path: "/big"}, zk.SetOp{Path: "/big", Data: data, Version: 1}, zk.GetOp{Path: "/big"})
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(res[0].Data, data) && bytes.Equal(res[2].Data, data))

		// The limits of a client hold, whatever the server's are.
		small, err := zk.Dial(ctx, zk.Config{Addrs: e.Addrs(), MaxReply: 1 << 20})
		assert.NilError(t, err)
		defer small.Close()
		_, err = small.Set(ctx, "/big", data, 2)
		suite.WantUnsent(t, err, zk.ErrTooLarge)
		_, _, err = small.Get(ctx, "/big", nil)
		suite.WantLost(t, err, zk.ErrTooLarge)
		assert.NilError(t, s.Err())
	})
}
