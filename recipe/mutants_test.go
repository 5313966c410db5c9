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

var mutantSeeds = flag.Int("mutants.seeds", 400, "scripts within which TestChecker must catch every mutant that is its to catch")

const mutants = "../testdata/mutants/recipe/"

// TestMutants applies each wrong rule of testdata/mutants/recipe to a copy of the
// package, and runs the test that the patch names against it: each must be
// caught, by a test without chance. The wrong rules are never in the code; a patch
// that does not fit it any more fails. A line "checker" says that TestChecker sees
// the mutant as well, and needs few scripts for it: at most 20 of the 400.
//
//	go test -run TestMutants/lost-late
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
			text, err := os.ReadFile(patch)
			assert.NilError(t, err)
			named := regexp.MustCompile(`(?m)^test: (\w+)\n(checker\n)?`).FindStringSubmatch(string(text))
			assert.Assert(t, named != nil, "%s names no test", patch)
			assert.Assert(t, named[1] != "TestChecker", "%s is caught by chance", patch)
			bin := suite.BuildMutant(t, patch, "recipe", "-gcflags=-N -l")
			catch(t, bin, named[1])
			if named[2] != "" {
				catch(t, bin, "TestChecker", "-check.seeds="+strconv.Itoa(*mutantSeeds))
			}
		})
	}
}

// catch lets a test fail against a mutant.
func catch(t *testing.T, bin, test string, args ...string) {
	t.Helper()
	cmd := exec.Command(bin, append([]string{"-test.run=^" + test + "$", "-test.timeout=5m"}, args...)...)
	cmd.Env = append(os.Environ(), "ZK_TEST_APACHE=")
	start := time.Now()
	out, err := cmd.CombinedOutput()
	caught := regexp.MustCompile(`(?m)^    .*_test.go:\d+: (.*)$|^(?:panic|fatal error): (.*)$`).FindSubmatch(out)
	var exit *exec.ExitError
	if err == nil || !errors.As(err, &exit) || caught == nil || bytes.HasPrefix(caught[2], []byte("test timed out")) {
		t.Fatalf("not caught by %s: %v\n%s", test, err, out)
	}
	t.Logf("caught by %s after %v: %s%s", test, time.Since(start).Round(time.Millisecond), caught[1], caught[2])
}
