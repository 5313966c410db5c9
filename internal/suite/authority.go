package suite

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// Authority signs certificates for the tests of TLS.
type Authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

// NewAuthority makes one with a key of its own.
func NewAuthority(t *testing.T) *Authority {
	a := &Authority{t: t}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	assert.NilError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	assert.NilError(t, err)
	a.key = key
	return a
}

// Pool has the authority, to be trusted.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue returns a certificate for hosts, names or IPs.
func (a *Authority) Issue(hosts ...string) tls.Certificate {
	return a.Certify("server", time.Now().Add(time.Hour), hosts...)
}

// Certify returns a certificate for somebody, and until a time.
func (a *Authority) Certify(name string, until time.Time, hosts ...string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(a.t, err)
	a.n++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.n), Subject: pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	assert.NilError(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Terminate starts a TLS listener in front of a server, and returns its address.
func Terminate(t *testing.T, conf *tls.Config, addr string) string {
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	assert.NilError(t, err)
	var wg sync.WaitGroup
	ctx, end := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer front.Close()
				defer context.AfterFunc(ctx, func() { front.Close() })()
				if front.(*tls.Conn).Handshake() != nil {
					return
				}
				back, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				wg.Go(func() {
					io.Copy(back, front)
					back.Close()
				})
				io.Copy(front, back)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		end()
		wg.Wait()
	})
	return l.Addr().String()
}

// KeyStore returns what a server with this certificate needs, and trusts.
func (a *Authority) KeyStore(cert tls.Certificate) *apache.TLS {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	assert.NilError(a.t, err)
	return &apache.TLS{
		Cert:      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		Key:       pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		ClientCAs: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}),
	}
}
