package sim

import (
	"errors"
	"flag"
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
			bin := suite.BuildMutant(t, patch, "internal/sim")
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
			if panicked := regexp.MustCompile(`(?m)^(panic): (.*)$`).FindSubmatch(out); caught == nil {
				caught = panicked // of the client: it is no less wrong by that
			}
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
