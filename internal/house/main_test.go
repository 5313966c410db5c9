// Package house holds the tests of the house itself: what its packages may import,
// what is exported, and whether the texts say what is so.
package house

import (
	"os"
	"testing"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

func TestMain(m *testing.M) { os.Exit(suite.RunTests(m, nil)) }
