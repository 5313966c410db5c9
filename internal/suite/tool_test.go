package suite

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// A tool that is missing fails the test in CI. Elsewhere the test is skipped, and that is
// noted for the end of make test.
func TestTool(t *testing.T) {
	const needs = "TestTool needs no-such-tool or none-either, which is not installed"
	if os.Getenv("ZK_TEST_TOOL") != "" {
		Tool(t, "no-such-tool", "none-either")
		return
	}
	assert.Equal(t, filepath.Base(strings.TrimSuffix(Tool(t, "no-such-tool", "go"), ".exe")), "go")
	for _, ci := range []string{"", "true"} {
		noted := filepath.Join(t.TempDir(), "skipped")
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTool$", "-test.v")
		cmd.Env = append(os.Environ(), "ZK_TEST_TOOL=1", "CI="+ci, "ZK_TEST_SKIPPED="+noted)
		out, err := cmd.CombinedOutput()
		assert.Equal(t, err != nil, ci == "true", "%s", out)
		assert.Assert(t, strings.Contains(string(out), needs), "%s", out)
		text, _ := os.ReadFile(noted)
		assert.Equal(t, string(text), map[string]string{"": needs + "\n", "true": ""}[ci])
	}
}
