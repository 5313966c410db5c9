package compare

import (
	"os/exec"
	"testing"

	// What TestAncestorsAPI looks at, so that go mod tidy keeps it.
	_ "github.com/samuel/go-zookeeper/zk"
	"gotest.tools/v3/assert"

	_ "github.com/seed-9f8420c6/zk/gozk/samuel/zk"
)

// unraced runs a test again without the race detector, and reports whether it did:
// go-zookeeper has races of its own, which are not what the test is about.
func unraced(t *testing.T) bool {
	t.Helper()
	if !raceEnabled {
		return false
	}
	cmd := exec.Command("go", "test", "-count=1", "-v", "-timeout=1h", "-run=^"+t.Name()+"$", ".")
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	t.Logf("%s", out)
	return true
}
