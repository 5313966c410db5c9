package sim

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

var (
	mutantSeeds = flag.Int("mutants.seeds", 200, "seeds within which the simulator must catch every mutant")
	mutantRate  = flag.Bool("mutants.rate", false, "run all those seeds, to see how many catch it")
)

// TestMutants applies each wrong rule of testdata/mutants to a copy of the
// client and lets the simulator run against it: each must be caught. It shows
// that the simulator sees what it is made to see. The wrong rules are never in
// the code; a patch that does not fit it any more fails.
//
//	go test ./internal/sim -run TestMutants/no-fence
func TestMutants(t *testing.T) {
	suite.ToRoot(t)
	patches, err := filepath.Glob("testdata/mutants/*.patch")
	assert.NilError(t, err)
	named := []string{ // the rules of other clients, which -short keeps
		"zxid-from-events", "zxid-from-chunks", "requests-before-setwatches", "resolution-at-delivery",
		"exists-kept-as-exists", "registration-on-failure", "no-fence",
	}
	for i, name := range named {
		named[i] = filepath.Join("testdata", "mutants", name+".patch")
		assert.Assert(t, slices.Contains(patches, named[i]), named[i])
	}
	if testing.Short() {
		patches = named
	}
	gate := make(chan struct{}, max(1, runtime.NumCPU()))
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) {
			t.Parallel()
			gate <- struct{}{}
			defer func() { <-gate }()
			dir := t.TempDir()
			bin := buildMutant(t, patch, dir)
			failures := "-sim.failures=1"
			if *mutantRate {
				failures = "-sim.failures=" + strconv.Itoa(*mutantSeeds)
			}
			// The number of seeds is the limit. A seed that hangs ends itself; nothing else is
			// measured by a clock, which says more of the machine than of the mutant.
			cmd := exec.CommandContext(t.Context(), bin, "-test.run=^TestSimulator$", "-test.timeout=0", failures, "-sim.log="+dir, "-sim.seeds="+strconv.Itoa(*mutantSeeds))
			start := time.Now()
			out, err := cmd.CombinedOutput()
			caught := regexp.MustCompile(`(?m)seed (\d+): (.*)$`).FindSubmatch(out)
			var exit *exec.ExitError
			switch {
			case err == nil:
				t.Fatalf("not caught within %d seeds:\n%s", *mutantSeeds, out)
			case !errors.As(err, &exit) || caught == nil:
				t.Fatalf("%v\n%s", err, out)
			}
			if all := regexp.MustCompile(`\d+ seeds, \d+ with findings`).Find(out); *mutantRate {
				t.Logf("%s", all)
			}
			t.Logf("caught at seed %s, after %v: %s", caught[1], time.Since(start).Round(time.Millisecond), caught[2])
		})
	}
}

// buildMutant compiles the simulator against the patched client.
func buildMutant(t *testing.T, patch, dir string) string {
	t.Helper()
	text, err := os.ReadFile(patch)
	assert.NilError(t, err)
	root, err := filepath.Abs(".")
	assert.NilError(t, err)
	overlay := map[string]string{}
	for name, hunks := range parsePatch(t, string(text)) {
		src, err := os.ReadFile(name)
		assert.NilError(t, err)
		mutated, err := applyHunks(string(src), hunks)
		if err != nil {
			t.Fatalf("%s does not apply to %s any more: %v\nAdapt it to the code, or drop it if the rule has gone.", patch, name, err)
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
		assert.NilError(t, os.WriteFile(file, []byte(mutated), 0o600))
		overlay[filepath.Join(root, name)] = file
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600))
	bin := filepath.Join(dir, "mutant.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay="+filepath.Join(dir, "overlay.json"), "-o", bin, "./internal/sim").CombinedOutput()
	if err != nil {
		t.Fatalf("%s does not compile any more: %v\n%s", patch, err, out)
	}
	return bin
}

// hunk is one change of a unified diff: what was there, with its context, and what comes there.
type hunk struct{ old, new string }

// parsePatch reads a unified diff. Text before the first file is a comment. Line
// numbers are not looked at: a hunk goes where its text is.
func parsePatch(t testing.TB, text string) map[string][]hunk {
	t.Helper()
	files := map[string][]hunk{}
	name := ""
	var cur *hunk
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "--- ") && cur == nil || strings.HasPrefix(line, "--- a/"):
			cur = nil
		case strings.HasPrefix(line, "+++ "):
			name = strings.TrimPrefix(strings.Fields(line)[1], "b/")
		case strings.HasPrefix(line, "@@"):
			assert.Assert(t, name != "", "a hunk without a file")
			files[name] = append(files[name], hunk{})
			cur = &files[name][len(files[name])-1]
		case cur == nil:
		case line[0] == '-':
			cur.old += line[1:]
		case line[0] == '+':
			cur.new += line[1:]
		case line[0] == ' ':
			cur.old += line[1:]
			cur.new += line[1:]
		case line == "\n":
			cur.old += line
			cur.new += line
		default:
			t.Fatalf("not a line of a patch: %q", line)
		}
	}
	assert.Assert(t, len(files) > 0, "an empty patch")
	return files
}

// applyHunks changes a file. Each hunk must fit at exactly one place.
func applyHunks(src string, hunks []hunk) (string, error) {
	for i, h := range hunks {
		switch n := strings.Count(src, h.old); {
		case h.old == h.new:
			return "", fmt.Errorf("hunk %d changes nothing", i+1)
		case n != 1:
			return "", fmt.Errorf("hunk %d fits at %d places:\n%s", i+1, n, h.old)
		}
		src = strings.Replace(src, h.old, h.new, 1)
	}
	return src, nil
}

func TestMutantsPatch(t *testing.T) {
	files := parsePatch(t, "why\n--- a/x.go\n+++ b/x.go\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n@@ -9 +9 @@\n-nine\n+9\n")
	out, err := applyHunks("zero\none\ntwo\nnine\n", files["x.go"])
	assert.NilError(t, err)
	assert.Equal(t, out, "zero\none\n2\n9\n")
	_, err = applyHunks("one\ntwo\none\ntwo\nnine\n", files["x.go"])
	assert.ErrorContains(t, err, "hunk 1 fits at 2 places")
	_, err = applyHunks("one\ntwo\n", files["x.go"])
	assert.ErrorContains(t, err, "hunk 2 fits at 0 places")
}
