// Package house holds the tests of the house itself: what its packages may import,
// what is exported, and whether the texts say what is so.
package house

import (
	"fmt"
	"os"
	"testing"
)

// The tests run in the root, whose files they read.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
