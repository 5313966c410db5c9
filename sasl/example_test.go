package sasl_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A user whom ACLs of the scheme sasl name, on this connection and the next.
func ExampleDigestMD5() {
	server, err := zktest.StartServer(zktest.Options{SASL: map[string]string{"bob": "secret"}})
	if err != nil {
		panic(err)
	}
	defer server.Close()

	ctx := context.Background()
	s, err := zk.Dial(ctx, zk.Config{Addrs: server.Addrs(), SASL: sasl.DigestMD5("bob", "secret")})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	_, err = s.Create(ctx, "/bob", nil, zk.Persistent, zk.ACL{{Perms: zk.PermAll, Scheme: "sasl", ID: "bob"}})
	fmt.Println("created:", err)

	_, err = zk.Dial(ctx, zk.Config{Addrs: server.Addrs(), SASL: sasl.DigestMD5("bob", "guess")})
	fmt.Println("refused:", errors.Is(err, zk.ErrAuth))
	// Output:
	// created: <nil>
	// refused: true
}
