package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// checkAPI compares the API with that of the last release. What is incompatible
// needs another major version or, before v1, another minor one.
func (r *release) checkAPI() error {
	last, err := r.last()
	if err != nil {
		return err
	}
	if last == "" {
		fmt.Fprintln(r.out, "there is no release to compare the API with")
		return nil
	}
	broken, err := r.incompatible(strings.TrimSuffix(r.tag(), r.version) + last)
	if err != nil || broken == "" || mayBreak(last, r.version) {
		return err
	}
	return fmt.Errorf("incompatible with %s, which %s does not say:\n%s", last, r.version, broken)
}

// compare prints what is incompatible with the last release, whatever that may be.
func (r *release) compare() error {
	last, err := r.last()
	if err != nil || last == "" {
		fmt.Fprintln(r.out, "there is no release to compare with")
		return err
	}
	broken, err := r.incompatible(strings.TrimSuffix(r.tag(), r.version) + last)
	if err == nil && broken == "" {
		broken = "nothing"
	}
	fmt.Fprintf(r.out, "incompatible with %s:\n%s\n", last, broken)
	return err
}

// mayBreak reports whether the number of a version says that it breaks with the last.
func mayBreak(last, next string) bool {
	if semver.Major(last) == "v0" && semver.Major(next) == "v0" {
		return semver.MajorMinor(last) != semver.MajorMinor(next)
	}
	return semver.Major(last) != semver.Major(next)
}

// incompatible returns what apidiff says about the API since a tag, in a copy of
// the repository as it was then.
func (r *release) incompatible(tag string) (string, error) {
	dir, err := os.MkdirTemp("", "release-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	old := filepath.Join(dir, "old")
	if _, err := r.git("worktree", "add", "--detach", old, tag); err != nil {
		return "", err
	}
	defer r.git("worktree", "remove", "--force", old)
	path, err := r.path()
	if err != nil {
		return "", err
	}
	apidiff := filepath.Join(dir, "apidiff")
	if _, err := r.run(filepath.Join(r.root, "tools"), "go", "build", "-o", apidiff, "golang.org/x/exp/cmd/apidiff"); err != nil {
		return "", err
	}
	export := filepath.Join(dir, "export")
	if _, err := r.run(filepath.Join(old, r.module), apidiff, "-m", "-w", export, path); err != nil {
		return "", err
	}
	out, err := r.run(filepath.Join(r.root, r.module), apidiff, "-m", "-incompatible", export, path)
	return strings.TrimSpace(out), err
}

// path returns the import path of the module.
func (r *release) path() (string, error) {
	text, err := os.ReadFile(filepath.Join(r.root, r.module, "go.mod"))
	return modfile.ModulePath(text), err
}

// after fetches the version as somebody would who has never heard of it.
func (r *release) after() error {
	if err := r.checkVersion(); err != nil {
		return err
	}
	path, err := r.path()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cache := filepath.Join(dir, "cache")
	for _, step := range [][]string{
		{"mod", "init", "example.com/fetched"},
		{"get", path + "@" + r.version},
		{"build", path + "/..."},
	} {
		args := append([]string{"GOMODCACHE=" + cache, "GOFLAGS=-modcacherw", "GOWORK=off", "go"}, step...)
		if _, err := r.run(dir, "env", args...); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.out, "ok: %s@%s is fetched and builds\n", path, r.version)
	page := "https://pkg.go.dev/" + path + "@" + r.version
	client := http.Client{Timeout: time.Minute}
	answer, err := client.Get(page)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s (it may take some minutes)", page, answer.Status)
	}
	fmt.Fprintln(r.out, "ok:", page)
	return nil
}
