package suite

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Tool returns the path of a program that a test needs, by the first of its names that is
// there, in the PATH or where make setup puts programs. Where there is none, CI is red,
// for what is skipped there would look green. Elsewhere the test is skipped, and make test
// says so at its end.
func Tool(t testing.TB, names ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skipf("it runs %s", names[0])
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		if path, err := exec.LookPath(filepath.Join(moduleRoot(t), ".bin", name)); err == nil {
			return path
		}
	}
	missing := fmt.Sprintf("%s needs %s, which is not installed", t.Name(), strings.Join(names, " or "))
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: make setup installs it on Debian", missing)
	}
	if file := os.Getenv("ZK_TEST_SKIPPED"); file != "" {
		if err := note(file, missing); err != nil {
			t.Fatal(err)
		}
	}
	t.Skip(missing)
	return ""
}

// note appends a line to a file.
func note(file, line string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	if no := f.Close(); err == nil {
		err = no
	}
	return err
}
