package zk_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if !suite.RealServers {
		fmt.Println("real ZooKeeper servers were not run: use make test")
	}
	os.Exit(suite.RunTests(m, matrix.report))
}
