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

// The tests run in the root, which has testdata and the code that mutants change.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := suite.ToRoot(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if !suite.RealServers {
		if err := modelTools(); err != nil {
			fmt.Printf("the model was not checked: %v: use make test\n", err)
		}
	}
	os.Exit(suite.RunTests(m, nil))
}
