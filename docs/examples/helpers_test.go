package examples

import (
	"log"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// check ends an example that cannot go on.
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// serve starts a ZooKeeper in this process, and returns it with a config for it.
func serve() (*zktest.Server, zk.Config) {
	server, err := zktest.StartServer(zktest.Options{})
	check(err)
	return server, zk.Config{Addrs: server.Addrs()}
}
