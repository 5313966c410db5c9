package fourletter_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/fourletter"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// What each real server answers, alone, leading and following, is what a
// session on it knows.
func TestRealServers(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		for _, members := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s-x%d", release, members), func(t *testing.T) {
				t.Parallel()
				e := apache.New(t, apache.Config{Release: release, Members: members})
				leader, err := e.Leader()
				assert.NilError(t, err)
				for _, i := range []int{leader, (leader + 1) % members} {
					one(t, release, e.Member(i), map[bool]string{true: "leader", false: "follower"}[i == leader], members == 1)
				}
			})
		}
	}
}

func one(t *testing.T, release apache.Release, server *apache.Server, mode string, alone bool) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if alone {
		mode = "standalone"
	}
	c := fourletter.Client{Addr: server.Addr()}
	s, err := zk.Dial(ctx, zk.Config{Addrs: []string{server.Addr()}, Timeout: 30 * time.Second})
	assert.NilError(t, err)
	defer s.Close()
	eph, err := s.Create(ctx, "/an ephemeral", nil, zk.Ephemeral, zk.ACLOpen)
	assert.NilError(t, err)
	ch := make(chan zk.Event, 9)
	for _, path := range []string{eph, "/"} {
		_, _, err = s.Get(ctx, path, ch)
		assert.NilError(t, err)
	}
	_, _, err = s.Exists(ctx, "/none", ch)
	assert.NilError(t, err)
	watched := []string{"/", eph, "/none"}
	slices.Sort(watched)

	assert.NilError(t, c.Ruok(ctx))
	readOnly, err := c.Isro(ctx)
	assert.NilError(t, err)
	assert.Assert(t, !readOnly)
	info, err := c.Srvr(ctx)
	assert.NilError(t, err)
	assert.Equal(t, info.Version, string(release))
	assert.Equal(t, len(info.Revision), 40)
	assert.Assert(t, info.BuiltAt.Year() >= 2019 && info.BuiltAt.Before(time.Now()), "%+v", info)
	assert.Assert(t, info.Built != "" && info.Mode == mode && info.Received > 0 && info.Sent > 0 && info.Connections == 2 && info.MaxLatency >= info.MinLatency, "%+v", info)
	assert.Assert(t, info.Zxid >= s.Zxid(), "%#x, %#x", info.Zxid, s.Zxid())
	assert.Equal(t, info.LastProposal != 0, mode == "leader", "%+v", info)

	conns, err := c.Cons(ctx)
	assert.NilError(t, err)
	mine := slices.IndexFunc(conns, func(x fourletter.Conn) bool { return x.Session == s.ID() })
	assert.Assert(t, len(conns) == 2 && mine >= 0, "%+v", conns)
	x := conns[mine]
	assert.Assert(t, x.Timeout == 30*time.Second && x.LastOp != "" && x.LastZxid > 0 && x.Received > 4 && x.Sent > 4, "%+v", x)
	assert.Assert(t, time.Since(x.Established).Abs() < 5*time.Minute, "%+v", x)
	_, _, err = s.Exists(ctx, "/none", nil) // a later answer is later on the server's clock too
	assert.NilError(t, err)
	conns, err = c.Cons(ctx)
	assert.NilError(t, err)
	for _, y := range conns {
		assert.Assert(t, y.Session != s.ID() || y.LastResponse >= x.LastResponse && x.LastResponse > 0, "%+v, %+v", x, y)
	}
	st, err := c.Stat(ctx)
	assert.NilError(t, err)
	assert.Assert(t, st.Nodes == info.Nodes && st.Mode == mode, "%+v", st)
	assert.Assert(t, slices.ContainsFunc(st.Conns, func(y fourletter.Conn) bool { return y.Addr == x.Addr }), "%+v", st)

	metrics, err := c.Mntr(ctx)
	assert.NilError(t, err)
	assert.Assert(t, metrics.Version == string(release) && metrics.State == mode, "%+v", metrics)
	assert.Equal(t, metrics.Values["zk_znode_count"], float64(info.Nodes))
	conf, err := c.Conf(ctx)
	assert.NilError(t, err)
	assert.Equal(t, fmt.Sprintf("127.0.0.1:%d", conf.ClientPort), server.Addr())
	assert.Assert(t, conf.TickTime == 500*time.Millisecond && conf.MaxSessionTimeout == time.Minute && strings.HasPrefix(conf.DataDir, server.DataDir()), "%+v", conf)
	if !alone {
		assert.Equal(t, int(conf.ServerID), server.ID())
		if release != apache.V3_4 {
			assert.Equal(t, len(conf.Members), 3)
			assert.Assert(t, slices.Contains(conf.Members, server.Line()) && conf.ConfigVersion > 0, "%+v", conf)
		}
	}
	env, err := c.Envi(ctx)
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(env["zookeeper.version"], string(release)) && env["java.version"] != "", "%v", env)

	dump, err := c.Dump(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, dump.Ephemerals[s.ID()], []string{eph})
	if release == apache.V3_4 && mode == "follower" {
		assert.Assert(t, !slices.Contains(dump.Sessions, s.ID()), "%+v", dump)
	} else {
		// A session that moves from one set to the next, as each request makes it
		// do, is missing from a dump that has begun.
		for !slices.Contains(dump.Sessions, s.ID()) {
			dump, err = c.Dump(ctx)
			assert.NilError(t, err, "%+v", dump)
		}
	}
	watches, err := c.Wchs(ctx)
	assert.NilError(t, err)
	assert.Equal(t, watches, fourletter.Watches{Connections: 1, Paths: 3, Total: 3})
	bySession, err := c.Wchc(ctx)
	assert.NilError(t, err)
	slices.Sort(bySession[s.ID()])
	assert.DeepEqual(t, bySession, map[int64][]string{s.ID(): watched})
	byPath, err := c.Wchp(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, byPath, map[string][]int64{watched[0]: {s.ID()}, watched[1]: {s.ID()}, watched[2]: {s.ID()}})
	dirs, err := c.Dirs(ctx)
	if release == apache.V3_4 {
		assert.ErrorIs(t, err, fourletter.ErrNoAnswer)
	} else {
		assert.NilError(t, err)
		assert.Assert(t, dirs.Log > 0, "%+v", dirs)
	}
	assert.NilError(t, c.Crst(ctx))
	assert.NilError(t, c.Srst(ctx))
	after, err := c.Srvr(ctx)
	assert.NilError(t, err)
	assert.Assert(t, after.Received < info.Received, "%+v, before %+v", after, info)

	// Nobody watches any more.
	assert.NilError(t, s.Close())
	watches, err = c.Wchs(ctx)
	for ; err == nil && watches.Total > 0; watches, err = c.Wchs(ctx) { // a server may answer before it has closed the connection
		assert.NilError(t, ctx.Err())
	}
	assert.NilError(t, err)
	bySession, err = c.Wchc(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(bySession), 0)
}

// What a server does not allow, and one that does not serve.
func TestRealRefusals(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	ctx := t.Context()
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			if release != apache.V3_4 { // since 3.4.10 it is there, and off
				e := apache.New(t, apache.Config{
					Release: release, Settings: map[string]string{"4lw.commands.whitelist": "srvr"},
					Properties: map[string]string{"zookeeper.4lw.commands.whitelist": "srvr", "readonlymode.enabled": "false"},
				})
				c := fourletter.Client{Addr: e.Addrs()[0]}
				_, err := c.Srvr(ctx)
				assert.NilError(t, err)
				_, err = c.Stat(ctx)
				assert.ErrorIs(t, err, fourletter.ErrNotWhitelisted)
				_, err = c.AwaitReadWrite(ctx, nil)
				assert.ErrorContains(t, err, "no servers")
			}
			e := apache.New(t, apache.Config{Release: release, Members: 3, Properties: map[string]string{"readonlymode.enabled": "false"}})
			for i := 1; i < 3; i++ {
				assert.NilError(t, e.Member(i).Kill())
			}
			c := fourletter.Client{Addr: e.Addrs()[0]}
			_, err := c.Srvr(ctx)
			for end := time.Now().Add(5 * time.Minute); !errors.Is(err, fourletter.ErrNotServing); _, err = c.Srvr(ctx) { // it has not noticed yet that it is alone
				assert.Assert(t, time.Now().Before(end), "%v", err)
				time.Sleep(10 * time.Millisecond)
			}
			_, err = c.Isro(ctx)
			assert.ErrorIs(t, err, fourletter.ErrNotServing)
			assert.NilError(t, c.Ruok(ctx))
		})
	}
}

// Whitelists as people write them.
func TestRealWhitelists(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	text, err := os.ReadFile("testdata/reported/whitelist.tsv")
	assert.NilError(t, err)
	for _, release := range apache.Tested() {
		for line := range strings.Lines(string(text)) {
			row := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if strings.HasPrefix(line, "#") {
				continue
			}
			list, err := strconv.Unquote(row[0])
			assert.NilError(t, err)
			e := apache.New(t, apache.Config{Release: release, Settings: map[string]string{"4lw.commands.whitelist": list}})
			c := fourletter.Client{Addr: e.Addrs()[0]}
			for i, words := range row[1:] {
				for word := range strings.FieldsSeq(words) {
					_, err := c.Send(t.Context(), word)
					assert.Equal(t, err == nil, i == 0, "%s %q, %s: %v", release, list, word, err)
					assert.Assert(t, i == 0 || errors.Is(err, fourletter.ErrNotWhitelisted), "%v", err)
				}
			}
			assert.NilError(t, e.Close())
		}
	}
}

// The port with TLS answers too, to whom it trusts.
func TestRealTLS(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	assert.NilError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	assert.NilError(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots := x509.NewCertPool()
	assert.Assert(t, roots.AppendCertsFromPEM(cert))
	for _, release := range apache.Tested() {
		if release == apache.V3_4 {
			continue
		}
		t.Run(string(release), func(t *testing.T) {
			e := apache.New(t, apache.Config{Release: release, TLS: &apache.TLS{
				Cert: cert, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), ClientCAs: cert,
			}})
			c := fourletter.Client{Addr: e.SecureAddrs()[0], TLS: &tls.Config{
				RootCAs: roots, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			}}
			info, err := c.Srvr(t.Context())
			assert.NilError(t, err)
			assert.Equal(t, info.Version, string(release))
			conns, err := c.Cons(t.Context())
			assert.NilError(t, err)
			assert.Equal(t, len(conns), 1)
			_, err = c.Mntr(t.Context())
			assert.NilError(t, err)
			assert.NilError(t, c.Ruok(t.Context()))
			c.TLS = &tls.Config{RootCAs: roots} // without a certificate of its own
			assert.Assert(t, c.Ruok(t.Context()) != nil)
			c.TLS = &tls.Config{}
			var unknown *tls.CertificateVerificationError
			assert.Assert(t, errors.As(c.Ruok(t.Context()), &unknown))
		})
	}
}
