package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository makes one with a commit, whose CHANGELOG and go.mod are given.
func repository(t *testing.T, changelog, mod string) *release {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	r := &release{root: t.TempDir(), version: "v0.9.0", out: io.Discard}
	write(t, r, "CHANGELOG.md", changelog)
	write(t, r, "go.mod", mod)
	git(t, r, "init", "-q")
	commit(t, r)
	return r
}

func write(t *testing.T, r *release, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.root, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, r *release, args ...string) {
	t.Helper()
	args = append([]string{"-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)
	if _, err := r.git(args...); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, r *release) {
	t.Helper()
	git(t, r, "add", "-A")
	git(t, r, "commit", "-q", "-m", "x")
}

const (
	goodLog = "# Changes\n\n## v0.9.0, 2026-12-01\n\n- First.\n\n## v0.8.0\n"
	goodMod = "module example.com/x\n\ngo 1.25.0\n\nrequire example.com/y v1.0.0\n"
)

func TestBefore(t *testing.T) {
	r := repository(t, goodLog, goodMod)
	var out strings.Builder
	r.out = &out
	if err := r.before(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "git tag -a v0.9.0 ") || !strings.Contains(out.String(), "no release to compare") {
		t.Error(out.String())
	}
}

func TestBeforeRefuses(t *testing.T) {
	for _, test := range []struct {
		name, changelog, mod, want string
		spoil                      func(*release)
	}{
		{"bad version", goodLog, goodMod, "not of the form", func(r *release) { r.version = "0.9" }},
		{"version cut short", goodLog, goodMod, "not of the form", func(r *release) { r.version = "v0.9" }},
		{"dirty tree", goodLog, goodMod, "not committed", func(r *release) { write(t, r, "x", "") }},
		{"tagged", goodLog, goodMod, "tagged already", func(r *release) { git(t, r, "tag", "v0.9.0") }},
		{"tagged higher", goodLog, goodMod, "not above", func(r *release) { git(t, r, "tag", "v0.10.0") }},
		{"no section", "# Changes\n\n## Unreleased\n\n- First.\n", goodMod, "no section", nil},
		{"section of another", "# Changes\n\n## v0.9.01\n\n- First.\n", goodMod, "no section", nil},
		{"empty section", "# Changes\n\n## v0.9.0\n\n## v0.8.0\n\n- Zero.\n", goodMod, "no section", nil},
		{"replace", goodLog, goodMod + "\nreplace example.com/y => ../y\n", "replaced by ../y", nil},
		{"v0.0.0", goodLog, strings.Replace(goodMod, "v1.0.0", "v0.0.0", 1), "release that first", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := repository(t, test.changelog, test.mod)
			if test.spoil != nil {
				test.spoil(r)
			}
			if err := r.before(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, not %s", err, test.want)
			}
		})
	}
}

// The tags of other modules do not count.
func TestModuleInFolder(t *testing.T) {
	r := repository(t, strings.Replace(goodLog, "v0.9.0", "sub/v0.9.0", 1), goodMod)
	git(t, r, "tag", "v0.9.5")
	if err := os.Mkdir(filepath.Join(r.root, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, r, "sub/go.mod", "module example.com/x/sub\n\ngo 1.25.0\n")
	commit(t, r)
	r.module = "sub"
	if err := r.before(); err != nil {
		t.Fatal(err)
	}
	if path, err := r.path(); path != "example.com/x/sub" || err != nil {
		t.Error(path, err)
	}
}

func TestMayBreak(t *testing.T) {
	for _, test := range []struct {
		last, next string
		want       bool
	}{
		{"v0.9.0", "v0.9.1", false},
		{"v0.9.0", "v0.10.0", true},
		{"v0.9.0", "v1.0.0", true},
		{"v1.0.0", "v1.1.0", false},
		{"v1.9.0", "v2.0.0", true},
	} {
		if got := mayBreak(test.last, test.next); got != test.want {
			t.Errorf("%s to %s: %v", test.last, test.next, got)
		}
	}
}
