package suite

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// BuildMutant compiles the tests of a folder, which is named from the root of the
// module, with the wrong rule of a patch in the code, and returns the program. The
// files that the patch names stay as they are.
func BuildMutant(t *testing.T, patch, folder string, flags ...string) (bin string) {
	t.Helper()
	text, err := os.ReadFile(patch)
	assert.NilError(t, err)
	dir, root := t.TempDir(), moduleRoot(t)
	overlay := map[string]string{}
	for name, hunks := range parsePatch(t, string(text)) {
		src, err := os.ReadFile(filepath.Join(root, name))
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
	bin = filepath.Join(dir, "mutant.test")
	args := append([]string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay=" + filepath.Join(dir, "overlay.json"), "-o", bin}, flags...)
	cmd := exec.CommandContext(t.Context(), "go", append(args, "./"+folder)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
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
