package apache

import (
	"os"
	"strings"
	"testing"
)

// New starts servers for a test and closes them at its end. It skips the test
// unless the environment has ZK_TEST_APACHE=1. If that is set and something is
// missing, the test fails. A failed test shows the warnings of its servers.
func New(tb testing.TB, conf Config) *Ensemble {
	tb.Helper()
	Need(tb)
	e, err := Start(tb.Context(), conf)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			for _, s := range e.members() {
				tb.Logf("server %d, %s, warned last:\n%s", s.id, s.Addr(), warnings(s.Logs(), 10))
			}
		}
		if err := e.Close(); err != nil {
			tb.Error(err)
		}
	})
	return e
}

// Need skips the test unless the environment has ZK_TEST_APACHE=1, as in `make test`.
func Need(tb testing.TB) {
	tb.Helper()
	if os.Getenv("ZK_TEST_APACHE") != "1" {
		tb.Skip("real ZooKeeper servers were not run: use make test")
	}
}

// warnings returns the last n lines of a log that are more than information.
func warnings(log string, n int) string {
	var warned []string
	for line := range strings.Lines(log) {
		if !strings.Contains(line, " INFO ") {
			warned = append(warned, line)
		}
	}
	return strings.Join(warned[max(0, len(warned)-n):], "")
}
