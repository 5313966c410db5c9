package zktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"zk.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	assert.NilError(t, err)
	cert, err := x509.ParseCertificate(der)
	assert.NilError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)

	for _, mem := range []bool{false, true} {
		e := NewServer(t, Options{InMemory: mem, TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}})
		c := open(t, e.Ensemble, 0)
		c.nc = tls.Client(c.nc, &tls.Config{RootCAs: roots, ServerName: "zk.test"})
		_, err = c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
		assert.NilError(t, err)
		c.create("/a", nil, 0)
		e.Cut(c.id)
		c.ended()

		c = open(t, e.Ensemble, 0) // without TLS
		c.writeFrame(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
		for err = nil; err == nil; { // an alert may come first
			_, err = c.nc.Read(make([]byte, 100))
		}
	}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	assert.NilError(t, err)
	a := &authority{t: t, key: key, pool: x509.NewCertPool()}
	a.cert, err = x509.ParseCertificate(der)
	assert.NilError(t, err)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(name pkix.Name) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	assert.NilError(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// files writes a certificate with its key, and the authority's own, as a real server reads them.
func (a *authority) files(cert tls.Certificate) (keys, trusted string) {
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	assert.NilError(a.t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range cert.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	dir := a.t.TempDir()
	keys, trusted = filepath.Join(dir, "keys.pem"), filepath.Join(dir, "trusted.pem")
	assert.NilError(a.t, os.WriteFile(keys, text, 0o600))
	assert.NilError(a.t, os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600))
	return keys, trusted
}

// oddNames have attributes with and without a keyword, and values to escape.
var oddNames = func() []pkix.Name {
	named := func(pairs ...any) (n pkix.Name) {
		for i := 0; i < len(pairs); i += 2 {
			var oid asn1.ObjectIdentifier
			for part := range strings.SplitSeq(pairs[i].(string), ".") {
				number, _ := strconv.Atoi(part)
				oid = append(oid, number)
			}
			n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: oid, Value: pairs[i+1]})
		}
		return n
	}
	ia5 := func(s string) asn1.RawValue { return asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(s)} }
	const cn, dc, uid = "2.5.4.3", "0.9.2342.19200300.100.1.25", "0.9.2342.19200300.100.1.1"
	return []pkix.Name{
		named(dc, ia5("com"), dc, ia5("example"), uid, "u", cn, "me"),
		named("2.5.4.5", "12345", cn, "me"),                            // serialNumber
		named("2.5.4.17", "8000", "2.5.4.9", "Street 1", cn, "me"),     // postalCode
		named("1.2.840.113549.1.9.1", ia5("me@example.com"), cn, "me"), // emailAddress
		named("2.5.4.4", "Sur", "2.5.4.42", "Given", "2.5.4.12", "Dr", "2.5.4.6", "CH", "2.5.4.8", "ZH", "2.5.4.7", "Zürich", cn, "é ü"),
		named(cn, `a=b #c, +"<>;\ d`),
		named(cn, "  #x  "),
		named(cn, " "),
		named(cn, "a\x00b\rc"),
		named(cn, asn1.RawValue{Tag: asn1.TagBMPString, Bytes: []byte{0, 'a', 0, 'b'}}),
		named(cn, asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte("t\xe9")}),
	}
}()

// certified uses a server that wants certificates, and tells what came of it.
func certified(t *testing.T, a *authority, addr string, version Version) string {
	connect := func(certs ...tls.Certificate) (*client, error) {
		nc, err := net.Dial("tcp", addr)
		assert.NilError(t, err)
		c := &client{t: t, nc: tls.Client(nc, &tls.Config{RootCAs: a.pool, ServerName: "localhost", Certificates: certs})}
		t.Cleanup(func() { nc.Close() })
		_, err = c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
		return c, err
	}
	var told []string
	tell := func(what string, v any) { told = append(told, fmt.Sprintf("%s: %v", what, v)) }
	me, err := connect(a.issue(pkix.Name{CommonName: "me, myself", OrganizationalUnit: []string{"tests"}, Organization: []string{"zk"}, Country: []string{"CH"}}))
	assert.NilError(t, err)
	create := func(c *client, path string, acl wire.ACL) {
		tell("create "+path, c.call(wire.OpCreate, wire.CreateRequest{Path: path, ACL: []wire.ACL{acl}}, &wire.PathResponse{}))
	}
	create(me, "/mine", wire.ACL{Perms: 31, Scheme: "auth"})
	var acl wire.GetACLResponse
	me.must(wire.OpGetACL, wire.PathRequest{Path: "/mine"}, &acl)
	tell("ACL", acl.ACL)
	for i, id := range []string{"CN=other", "", "x", "CN", "=x", "CN=a,", "CN=a,O", "CN=a+O=b", `CN=a\\,b,O=c`, `CN=a\\`} {
		create(me, fmt.Sprint("/x", i), wire.ACL{Perms: 31, Scheme: "x509", ID: id})
	}
	tell("null", me.call(wire.OpCreate, jute("/null", nil, jute(1, 31, "x509", nil), 0), &wire.PathResponse{}))
	tell("set", me.call(wire.OpSetData, wire.SetDataRequest{Path: "/mine", Version: -1}, &wire.Stat{}))
	tell("auth", me.call(wire.OpAuth, wire.AuthRequest{Scheme: "x509"}, nil))
	if version >= V37 {
		var who wire.WhoAmIResponse
		me.must(wire.OpWhoAmI, nil, &who)
		slices.SortFunc(who.Infos, func(a, b wire.ClientInfo) int { return strings.Compare(a.AuthScheme, b.AuthScheme) })
		tell("who", who.Infos)
	}
	for i, name := range oddNames {
		c, err := connect(a.issue(name))
		assert.NilError(t, err)
		path := fmt.Sprint("/odd", i)
		create(c, path, wire.ACL{Perms: 31, Scheme: "auth"})
		c.must(wire.OpGetACL, wire.PathRequest{Path: path}, &acl)
		tell("ACL", acl.ACL)
		create(c, path+"x", acl.ACL[0])
	}
	other, err := connect(a.issue(pkix.Name{CommonName: "other"}))
	assert.NilError(t, err)
	tell("other's get", other.watch(wire.OpGetData, "/mine"))
	tell("other's own", other.watch(wire.OpGetData, "/x0"))
	_, err = connect()
	tell("without", err != nil)
	_, err = connect(newAuthority(t).issue(pkix.Name{CommonName: "stranger"}))
	tell("stranger", err != nil)
	return strings.Join(told, "\n")
}

func TestCertificates(t *testing.T) {
	a := newAuthority(t)
	server := a.issue(pkix.Name{CommonName: "server"})
	start := func(version Version) *Server {
		return NewServer(t, Options{Version: version, TLS: &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}})
	}
	told := certified(t, a, start(V39).Addr(), V39)
	assert.Assert(t, strings.Contains(told, `ACL: [{31 x509 CN=me\, myself,OU=tests,O=zk,C=CH}]`), told)

	t.Run("like real", func(t *testing.T) {
		apache.Need(t)
		keys, trusted := a.files(server)
		for _, release := range apache.Tested() {
			version := parityVersions[release]
			if version < V35 {
				continue // has no TLS
			}
			free, err := net.Listen("tcp", "127.0.0.1:0")
			assert.NilError(t, err)
			addr := free.Addr().String()
			free.Close()
			_, port, _ := net.SplitHostPort(addr)
			apache.New(t, apache.Config{
				Release: release,
				Settings: map[string]string{
					"secureClientPort": port, "secureClientPortAddress": "127.0.0.1", "ssl.keyStore.location": keys, "ssl.trustStore.location": trusted,
					"ssl.keyStore.type": "PEM", "ssl.trustStore.type": "PEM", "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
				},
				Properties: map[string]string{
					"zookeeper.serverCnxnFactory":        "org.apache.zookeeper.server.NettyServerCnxnFactory",
					"zookeeper.authProvider.x509":        "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
					"zookeeper.ssl.hostnameVerification": "false",
				},
			})
			assert.Equal(t, certified(t, a, start(version).Addr(), version), certified(t, a, addr, version), release)
		}
	})
}
