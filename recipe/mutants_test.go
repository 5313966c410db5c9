package recipe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

var mutantSeeds = flag.Int("mutants.seeds", 0, "scripts, from the first on, within which TestChecker must catch every mutant; zero: 400, from the seed that the patch names")

const mutants = "../testdata/mutants/recipe/"

// TestMutants applies each wrong rule of testdata/mutants/recipe to a copy of the
// package, and runs the test that the patch names against it: each must be
// caught. The wrong rules are never in the code; a patch that does not fit it
// any more fails. A line "seed: 90" after that of the test says with which of its
// scripts TestChecker begins: one that catches this mutant.
//
//	go test -run TestMutants/lost-late
//	go test -run TestMutants -mutants.seeds 400
func TestMutants(t *testing.T) {
	patches, err := filepath.Glob(mutants + "*.patch")
	assert.NilError(t, err)
	assert.Assert(t, len(patches) >= 15)
	if testing.Short() {
		patches = patches[:3]
	}
	gate := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) {
			t.Parallel()
			gate <- struct{}{}
			defer func() { <-gate }()
			dir := t.TempDir()
			test, seed, bin := buildMutant(t, patch, dir)
			seeds := 400
			if *mutantSeeds > 0 {
				seed, seeds = "1", *mutantSeeds
			}
			cmd := exec.Command(bin, "-test.run=^"+test+"$", "-test.timeout=5m", "-check.first="+seed, "-check.seeds="+strconv.Itoa(seeds))
			cmd.Env = append(os.Environ(), "ZK_TEST_APACHE=")
			start := time.Now()
			out, err := cmd.CombinedOutput()
			caught := regexp.MustCompile(`(?m)^    .*_test.go:\d+: (.*)$|^panic: (.*)$`).FindSubmatch(out)
			var exit *exec.ExitError
			if err == nil || !errors.As(err, &exit) || caught == nil || bytes.HasPrefix(caught[2], []byte("test timed out")) {
				t.Fatalf("not caught by %s: %v\n%s", test, err, out)
			}
			t.Logf("caught by %s after %v: %s%s", test, time.Since(start).Round(time.Millisecond), caught[1], caught[2])
		})
	}
}

// buildMutant compiles the tests against the patched package, and returns the
// test that must catch it, and the script to begin with.
func buildMutant(t *testing.T, patch, dir string) (test, seed, bin string) {
	t.Helper()
	text, err := os.ReadFile(patch)
	assert.NilError(t, err)
	named := regexp.MustCompile(`(?m)^test: (\w+)\n(?:seed: (\d+)\n)?`).FindSubmatch(text)
	assert.Assert(t, named != nil, "%s names no test", patch)
	if seed = string(named[2]); seed == "" {
		seed = "1"
	}
	overlay := map[string]string{}
	for name, hunks := range parsePatch(t, string(text)) {
		path, err := filepath.Abs("../" + name)
		assert.NilError(t, err)
		src, err := os.ReadFile(path)
		assert.NilError(t, err)
		mutated, err := applyHunks(string(src), hunks)
		if err != nil {
			t.Fatalf("%s does not apply to %s any more: %v\nAdapt it to the code, or drop it if the rule has gone.", patch, name, err)
		}
		file := filepath.Join(dir, filepath.Base(name))
		assert.NilError(t, os.WriteFile(file, []byte(mutated), 0o600))
		overlay[path] = file
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600))
	bin = filepath.Join(dir, "mutant.test")
	out, err := exec.Command("go", "test", "-c", "-vet=off", "-gcflags=-N -l", "-ldflags=-s -w", "-overlay="+filepath.Join(dir, "overlay.json"), "-o", bin, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%s does not compile any more: %v\n%s", patch, err, out)
	}
	return string(named[1]), seed, bin
}

// hunk is one change of a unified diff: what was there, with its context, and
// what comes there.
type hunk struct{ old, new string }

// parsePatch reads a unified diff. Text before the first file is a comment. A
// hunk goes where its text is, whatever its line numbers say.
func parsePatch(t testing.TB, text string) map[string][]hunk {
	t.Helper()
	files := map[string][]hunk{}
	name := ""
	for line := range strings.Lines(text) {
		switch hunks := files[name]; {
		case strings.HasPrefix(line, "--- a/"):
			name = ""
		case strings.HasPrefix(line, "+++ b/"):
			name = strings.TrimSpace(strings.TrimPrefix(line, "+++ b/"))
		case name == "":
		case strings.HasPrefix(line, "@@"):
			files[name] = append(hunks, hunk{})
		case len(hunks) == 0:
			t.Fatalf("no hunk yet: %q", line)
		default:
			cur := &hunks[len(hunks)-1]
			switch line[0] {
			case '-':
				cur.old += line[1:]
			case '+':
				cur.new += line[1:]
			case ' ':
				cur.old += line[1:]
				cur.new += line[1:]
			default:
				t.Fatalf("not a line of a patch: %q", line)
			}
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
