// Release checks what has to hold before a version is tagged, and after it was.
// It changes nothing itself.
//
//	make release VERSION=v0.9.0                       before: then it prints how to tag
//	make release VERSION=v0.9.0 MODULE=sasl/gssapi    the same for a module in a folder
//	make released VERSION=v0.9.0                      after: it is fetched into an empty cache
//	make apidiff                                      what is incompatible with the last release
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

func main() {
	r := release{out: os.Stdout}
	flag.StringVar(&r.root, "root", ".", "`folder` of the repository")
	flag.StringVar(&r.module, "module", "", "`folder` of the module; empty: the root")
	after := flag.Bool("after", false, "check what was published")
	api := flag.Bool("api", false, "print what is incompatible with the last release")
	flag.Parse()
	r.version = flag.Arg(0)
	check := r.before
	switch {
	case *after:
		check = r.after
	case *api:
		check = r.compare
	}
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is one version of one module.
type release struct {
	root, module, version string
	out                   io.Writer
}

// before reports the first thing that keeps the version from being tagged.
func (r *release) before() error {
	for _, step := range []struct {
		what  string
		check func() error
	}{
		{"the version", r.checkVersion},
		{"a clean tree", r.checkTree},
		{"a new tag that is the next", r.checkTags},
		{"CHANGELOG.md", r.checkChangelog},
		{"no replace in go.mod", r.checkMod},
		{"the API", r.checkAPI},
	} {
		if err := step.check(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintln(r.out, "ok:", step.what)
	}
	fmt.Fprintf(r.out, "\nIf make test has passed on this commit:\n\n    git tag -a %[1]s -m %[1]s && git push origin %[1]s\n    make released VERSION=%[2]s MODULE=%[3]s\n",
		r.tag(), r.version, r.module)
	return nil
}

// tag is the name that the go command looks for.
func (r *release) tag() string {
	if r.module == "" {
		return r.version
	}
	return r.module + "/" + r.version
}

func (r *release) checkVersion() error {
	if !semver.IsValid(r.version) || semver.Canonical(r.version) != r.version {
		return fmt.Errorf("%q is not of the form v1.2.3", r.version)
	}
	return nil
}

func (r *release) checkTree() error {
	out, err := r.git("status", "--porcelain")
	if err == nil && out != "" {
		err = fmt.Errorf("not committed:\n%s", out)
	}
	return err
}

// last returns the highest version of the module that is tagged; "" if there is none.
func (r *release) last() (string, error) {
	prefix := strings.TrimSuffix(r.tag(), r.version)
	out, err := r.git("tag", "--list", prefix+"v*")
	if err != nil {
		return "", err
	}
	last := ""
	for _, tag := range strings.Fields(out) {
		if v := strings.TrimPrefix(tag, prefix); semver.IsValid(v) && (last == "" || semver.Compare(v, last) > 0) {
			last = v
		}
	}
	return last, nil
}

func (r *release) checkTags() error {
	last, err := r.last()
	if err == nil && last != "" && semver.Compare(r.version, last) <= 0 {
		err = fmt.Errorf("%s is tagged already, and %s is not above it", last, r.version)
	}
	return err
}

// checkChangelog wants a section of this version with something in it.
func (r *release) checkChangelog() error {
	text, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	heading := "## " + r.tag()
	found, written := false, false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == heading || strings.HasPrefix(line, heading+" ") || strings.HasPrefix(line, heading+","):
			found = true
		case found && strings.HasPrefix(line, "## "):
			found = false
		case found && line != "":
			written = true
		}
	}
	if !written {
		return fmt.Errorf("it has no section %q with something in it", heading)
	}
	return nil
}

// checkMod refuses what go install pkg@version would refuse, and versions that
// nobody can fetch.
func (r *release) checkMod() error {
	name := filepath.Join(r.root, r.module, "go.mod")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	mod, err := modfile.Parse(name, text, nil)
	if err != nil {
		return err
	}
	for _, x := range mod.Replace {
		return fmt.Errorf("%s is replaced by %s: go install would refuse this module", x.Old.Path, x.New.Path)
	}
	for _, x := range mod.Require {
		if x.Mod.Version == "v0.0.0" {
			return fmt.Errorf("it requires %s v0.0.0: release that first, and require its version", x.Mod.Path)
		}
	}
	return nil
}

func (r *release) git(args ...string) (string, error) {
	return r.run(r.root, "git", args...)
}

// run returns what a command prints.
func (r *release) run(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), err
}
