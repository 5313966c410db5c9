package apache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// POM returns the path of this module's testdata/pom.xml, which pins the jars
// of every release. It fails in a binary that was built with -trimpath or
// moved away from its source.
func POM() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the source folder of zktest/apache is not known")
	}
	pom := filepath.Join(filepath.Dir(file), "..", "..", "testdata", "pom.xml")
	_, err := os.Stat(pom)
	return pom, err
}

// Install fetches the release's jars with Maven into the folder where Find looks
// for them. fetched is false if they are there already and the pom is the same. A
// jar whose checksum is wrong is an error. The folder appears when it is
// complete, so Install may be interrupted, and two may run at a time.
func Install(ctx context.Context, pom string, r Release) (fetched bool, err error) {
	dir, err := jarDir(r)
	if err != nil {
		return false, err
	}
	want, err := os.ReadFile(pom)
	if err != nil {
		return false, err
	}
	upToDate := func() bool {
		have, err := os.ReadFile(filepath.Join(dir, "pom.xml"))
		if err != nil || !bytes.Equal(have, want) {
			return false
		}
		_, err = Find(r)
		return err == nil
	}
	if !slices.Contains(Releases(), r) {
		_, err := Find(r)
		return false, err
	}
	if upToDate() {
		return false, nil
	}
	if _, err := findJava(); err != nil {
		return false, err
	}
	mvn, err := findMaven()
	if err != nil {
		return false, err
	}
	if filepath.Separator != '\\' && strings.Contains(dir, `\`) {
		return false, fmt.Errorf("the folder of the jars, %q, has a backslash in its name, which Maven takes for a slash; set ZK_APACHE_CACHE to another one", dir)
	}

	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return false, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), string(r)+".part-*")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(tmp)
	// By itself Maven only warns of a jar whose checksum is wrong, and -q hides that.
	cmd := exec.CommandContext(ctx, mvn, "-B", "-q", "-C", "-Dstyle.color=never", "-f", pom,
		"-Dzk="+string(r), "dependency:copy-dependencies", "-DoutputDirectory="+tmp)
	cmd.Env = javaEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return false, fmt.Errorf("fetch the jars of ZooKeeper %s: %v failed: %w\n%s", r, cmd.Args, err, out)
	}
	if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), want, 0o644); err != nil {
		return false, err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return false, err
	}
	if upToDate() { // somebody else was quicker; servers may be starting from it already
		return false, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return false, err
	}
	if err := os.Rename(tmp, dir); err != nil && !upToDate() {
		return false, err
	}
	_, err = Find(r)
	return true, err
}
