// Package scripts holds the tests of what the client does in an order that the test
// states: on servers played by hand, frame by frame, on the fake clock, or on servers
// of its own, in this process or real ones that it stops, pauses and sets up. Tests
// that run on all servers are in the root.
package scripts

import (
	"os"
	"testing"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

func TestMain(m *testing.M) { os.Exit(suite.RunTests(m, nil)) }
