package zktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
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
