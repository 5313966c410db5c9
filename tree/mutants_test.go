package tree_test

import (
	"encoding/json"
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
			bin := buildMutant(t, string(text))
			cmd := exec.Command(bin, "-test.run=^("+string(names[1])+")$", "-test.timeout=5m", "-test.failfast", "-tree.seeds=20")
			start := time.Now()
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			failed := regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`).FindAllSubmatch(out, -1)
			switch {
			case err == nil:
				t.Fatalf("not caught by %s", names[1])
			case !errors.As(err, &exit) || failed == nil:
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("caught by %s, after %v", failed[len(failed)-1][1], time.Since(start).Round(time.Millisecond))
		})
	}
}

// buildMutant compiles the tests against the patched package.
func buildMutant(t *testing.T, patch string) string {
	t.Helper()
	root, err := filepath.Abs("..")
	assert.NilError(t, err)
	dir := t.TempDir()
	overlay := map[string]string{}
	for name, hunks := range parsePatch(t, patch) {
		src, err := os.ReadFile(filepath.Join(root, name))
		assert.NilError(t, err)
		text := string(src)
		for i, h := range hunks {
			if n := strings.Count(text, h.old); n != 1 || h.old == h.new {
				t.Fatalf("hunk %d fits at %d places of %s, or changes nothing:\n%s\nAdapt it to the code, or drop it if the rule has gone.", i+1, n, name, h.old)
			}
			text = strings.Replace(text, h.old, h.new, 1)
		}
		file := filepath.Join(dir, filepath.Base(name))
		assert.NilError(t, os.WriteFile(file, []byte(text), 0o600))
		overlay[filepath.Join(root, name)] = file
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600))
	bin := filepath.Join(dir, "mutant.test")
	out, err := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay="+filepath.Join(dir, "overlay.json"), "-o", bin, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("it does not compile any more: %v\n%s", err, out)
	}
	return bin
}

// hunk is one change of a unified diff: what was there, with its context, and what comes there.
type hunk struct{ old, new string }

// parsePatch reads a unified diff. Text before the first file is a comment. Line
// numbers are not looked at: a hunk goes where its text is.
func parsePatch(t *testing.T, text string) map[string][]*hunk {
	t.Helper()
	files := map[string][]*hunk{}
	name := ""
	var cur *hunk
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "--- a/"):
			cur = nil
		case strings.HasPrefix(line, "+++ b/"):
			name = strings.TrimSpace(strings.TrimPrefix(line, "+++ b/"))
		case strings.HasPrefix(line, "@@"):
			cur = new(hunk)
			files[name] = append(files[name], cur)
		case cur == nil:
		case line[0] == '-':
			cur.old += line[1:]
		case line[0] == '+':
			cur.new += line[1:]
		default:
			cur.old += strings.TrimPrefix(line, " ")
			cur.new += strings.TrimPrefix(line, " ")
		}
	}
	assert.Assert(t, len(files) > 0, "an empty patch")
	return files
}
