package sim

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-9f8420c6/zk/internal/suite"
	"gotest.tools/v3/assert"
)

// modelRules are the wrong rules that testdata/model/migration.pml can be built with.
var modelRules = []string{
	"ZXID_FROM_EVENTS", "ZXID_FROM_CHUNKS", "REQUESTS_FIRST", "RESOLVE_AT_DELIVERY",
	"EXISTS_KEPT_AS_EXISTS", "REGISTER_ON_FAILURE", "NO_FENCE",
}

// modelTools tells what the model lacks to be checked here.
func modelTools() error {
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	return nil
}

// TestModel visits every state of the model of a migration: the rules as they
// are lose nothing, and every wrong rule is found out.
func TestModel(t *testing.T) {
	suite.ToRoot(t)
	if err := modelTools(); err != nil {
		if suite.RealServers {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	model, err := filepath.Abs("testdata/model/migration.pml")
	assert.NilError(t, err)

	t.Run("right", func(t *testing.T) {
		t.Parallel()
		out := checkModel(t, model)
		assert.Assert(t, strings.Contains(out, "errors: 0\n"), "%s", out)
		// All of it: nothing was cut off, and no line of the model is dead.
		for _, bad := range []string{"not completed", "too small", "truncated", "MEMLIM"} {
			assert.Assert(t, !strings.Contains(out, bad), "%s", out)
		}
		for _, line := range regexp.MustCompile(`(?m)^\s+\S+\.pml:\d+, state.*$`).FindAllString(out, -1) {
			assert.Assert(t, strings.HasSuffix(line, `"-end-"`), "never reached: %s", line)
		}
		t.Log(regexp.MustCompile(`\d+ states, stored`).FindString(out))
	})
	for _, rule := range modelRules {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			out := checkModel(t, model, "-D"+rule)
			assert.Assert(t, strings.Contains(out, "assertion violated"), "not found out:\n%s", out)
			assert.Assert(t, strings.Contains(out, "errors: 1\n"), "%s", out)
		})
	}
}

// checkModel searches the model, built with the wrong rules given, and returns
// what spin reports.
func checkModel(t *testing.T, model string, rules ...string) string {
	t.Helper()
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		assert.NilError(t, err, "%s: %s", name, out)
		return string(out)
	}
	run("spin", append(rules, "-a", model)...)
	run("gcc", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=512", "-o", "pan", "pan.c") // 90 MB are enough; to optimize would take longer than the search
	return run(filepath.Join(dir, "pan"), "-w20")
}

// TestModelRules: each switch of the model is one that TestModel throws.
func TestModelRules(t *testing.T) {
	suite.ToRoot(t)
	text, err := os.ReadFile("testdata/model/migration.pml")
	assert.NilError(t, err)
	switches := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#ifn?def (\w+)`).FindAllSubmatch(text, -1) {
		if !bytes.Contains(text, []byte("#define "+string(m[1])+" ")) { // else a bound
			switches[string(m[1])] = true
		}
	}
	for _, rule := range modelRules {
		assert.Assert(t, switches[rule], "the model does not know %s", rule)
		assert.Assert(t, bytes.Contains(text, []byte(" *\t"+rule)), "the model does not tell what %s is", rule)
		delete(switches, rule)
	}
	assert.Assert(t, len(switches) == 0, "untested: %v", switches)
}
