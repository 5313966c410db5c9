package recipe_test

import (
	"bytes"
	"errors"
	"flag"
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

	"github.com/seed-9f8420c6/zk/internal/suite"
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
			test, seed := catcher(t, patch)
			bin := suite.BuildMutant(t, patch, "recipe", "-gcflags=-N -l")
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

// catcher returns the test that must catch a mutant, and the script to begin with.
func catcher(t *testing.T, patch string) (test, seed string) {
	t.Helper()
	text, err := os.ReadFile(patch)
	assert.NilError(t, err)
	named := regexp.MustCompile(`(?m)^test: (\w+)\n(?:seed: (\d+)\n)?`).FindStringSubmatch(string(text))
	assert.Assert(t, named != nil, "%s names no test", patch)
	if named[2] == "" {
		named[2] = "1"
	}
	return named[1], named[2]
}
