// Put sets a znode, and makes it where it is missing: something to play with.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: put ADDR PATH DATA")
	}
	if err := put(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func put(ctx context.Context, addr, path, data string) error {
	s, err := zk.Dial(ctx, zk.Config{Addrs: []string{addr}})
	if err != nil {
		return err
	}
	defer s.Close()
	stat, err := tree.Put(ctx, s, path, []byte(data), zk.ACLOpen)
	if err == nil {
		fmt.Printf("%s has version %d\n", path, stat.Version)
	}
	return err
}
