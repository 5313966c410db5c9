// Package sim holds the simulator of migrations, what judges its runs, the mutants
// that it must catch, and the model of a migration.
package sim

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
		if err := modelTools(); err != nil {
			fmt.Printf("the model was not checked: %v: use make test\n", err)
		}
	}
	os.Exit(suite.RunTests(m, nil))
}
