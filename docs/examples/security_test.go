package examples

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/zktest"
)

func Example_digest() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	err := func() error {
		//doc:digest
		conf.Auth = []zk.Auth{zk.Digest("alice", "secret")} // sent on every connection
		s, err := zk.Dial(ctx, conf)
		if err != nil {
			return err
		}
		defer s.Close()

		acl := zk.ACLDigest(zk.PermAll, "alice", "secret")
		acl = append(acl, zk.ACLWorld(zk.PermRead)...)
		if _, err := s.Create(ctx, "/alice", nil, zk.Persistent, acl); err != nil {
			return err
		}
		//doc:end
		return nil
	}()
	check(err)
	conf.Auth = nil
	s, err := zk.Dial(ctx, conf)
	check(err)
	defer s.Close()
	_, _, err = s.Get(ctx, "/alice", nil)
	fmt.Println("read:", err)
	_, err = s.Set(ctx, "/alice", nil, zk.AnyVersion)
	fmt.Println("write:", err)
	// Output:
	// read: <nil>
	// write: zk: set /alice: not permitted
}

func Example_sasl() {
	server, err := zktest.StartServer(zktest.Options{SASL: map[string]string{"bob": "secret"}})
	check(err)
	defer server.Close()
	conf := zk.Config{Addrs: server.Addrs()}
	ctx := context.Background()
	err = func() error {
		//doc:sasl
		conf.SASL = sasl.DigestMD5("bob", "secret")
		s, err := zk.Dial(ctx, conf)
		if errors.Is(err, zk.ErrAuth) {
			return fmt.Errorf("the password is wrong: %w", err)
		}
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.Create(ctx, "/bob", nil, zk.Persistent, zk.ACLCreator) // whoever is authenticated here
		//doc:end
		return err
	}()
	fmt.Println(err)
	// Output:
	// <nil>
}

func Example_tls() {
	certificate, roots := selfSigned()
	server, err := zktest.StartServer(zktest.Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	check(err)
	defer server.Close()
	conf := zk.Config{Addrs: server.Addrs()}
	ctx := context.Background()
	err = func() error {
		//doc:tls
		conf.TLS = &tls.Config{RootCAs: roots} // add Certificates, if the servers want one of the client
		s, err := zk.Dial(ctx, conf)
		if err != nil {
			return err
		}
		//doc:end
		return s.Close()
	}()
	fmt.Println(err)
	conf.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	_, err = zk.Dial(ctx, conf)
	fmt.Println("again later:", errors.Is(err, zk.ErrNoServer))
	// Output:
	// <nil>
	// again later: false
}
