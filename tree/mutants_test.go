package tree_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// TestMutants applies each wrong rule of testdata/mutants/tree to a copy of the
// package, and runs the tests that its patch names: one of them must fail. It
// shows that they see what they are made to see. A patch that does not fit the
// code any more fails.
//
//	go test -run TestMutants/gap-ignored ./tree
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("each takes a build")
	}
	patches, err := filepath.Glob("../testdata/mutants/tree/*.patch")
	assert.NilError(t, err)
	assert.Assert(t, len(patches) >= 6, patches)
	gate := make(chan struct{}, max(1, runtime.NumCPU()))
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) {
			t.Parallel()
			gate <- struct{}{}
			defer func() { <-gate }()
			text, err := os.ReadFile(patch)
			assert.NilError(t, err)
			names := regexp.MustCompile(`(?m)^Run: (\S+)$`).FindSubmatch(text)
			assert.Assert(t, names != nil, "it names no tests")
			bin := suite.BuildMutant(t, patch, "tree")
			cmd := exec.Command(bin, "-test.run=^("+string(names[1])+")$", "-test.timeout=5m", "-test.failfast")
			start := time.Now()
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			failed := regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(?:panic|fatal error): .*$`).FindAll(out, -1)
			switch {
			case err == nil:
				t.Fatalf("not caught by %s", names[1])
			case !errors.As(err, &exit) || failed == nil || bytes.Contains(out, []byte("panic: test timed out")):
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("caught after %v: %s", time.Since(start).Round(time.Millisecond), bytes.TrimSpace(failed[len(failed)-1]))
		})
	}
}
