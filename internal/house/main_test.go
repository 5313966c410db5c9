// Package house holds the tests of the house itself: what its packages may import,
// what is exported, and whether the texts say what is so.
package house

import (
	"fmt"
	"os"
	"testing"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// The tests run in the root, whose files they read.
func TestMain(m *testing.M) {
	if err := suite.ToRoot(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(suite.RunTests(m, nil))
}
