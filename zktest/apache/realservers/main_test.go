// Package realservers holds the tests that start real ZooKeeper servers. They
// have a folder of their own so that `go test ./...`, which prints one line
// per package, shows in this package's line when it did not run them:
//
//	ok  	github.com/seed-9f8420c6/zk/zktest/apache/realservers	0.003s [no tests to run]
package realservers

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var updateGolden = flag.Bool("update-golden", false, "record testdata/golden from real servers again")

func TestMain(m *testing.M) {
	flag.Parse()
	if *updateGolden {
		os.Setenv("ZK_TEST_APACHE", "1")
	}
	if os.Getenv("ZK_TEST_APACHE") != "1" {
		fmt.Println("real ZooKeeper servers were not run: use make test")
		flag.Set("test.run", "^$")
	}
	os.Exit(m.Run())
}
