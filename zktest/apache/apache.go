// Package apache runs real Apache ZooKeeper servers for tests. They are plain
// Java processes on loopback with temporary data, which can be killed, paused and
// restarted.
//
//	e, err := apache.Start(ctx, apache.Config{Release: apache.V3_8, Members: 3})
//	if err != nil { … }
//	defer e.Close()
//	session, err := zk.Dial(ctx, zk.Config{Addrs: e.Addrs()})
//
// It needs a Java runtime and the servers' jars. `make servers` (or `go run
// ./zktest/apache/install`) fetches the jars with Maven into a cache outside the
// repository. [Find] says what is missing. Tests call [New], which skips them
// unless the environment has ZK_TEST_APACHE=1, as in `make test`.
//
// The servers are set up for tests. A tick is 500 ms, session timeouts are from
// 500 ms to 60 s, and there is no fsync. Every four-letter word is allowed. TTL
// and container nodes, quotas, read-only mode and reconfiguration are switched
// on. The number of connections per client has no limit. There is a super user,
// [SuperCredential].
package apache

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Release is a release of Apache ZooKeeper, such as "3.9.5".
type Release string

// The pinned releases: the last of each minor version that Maven can resolve.
const (
	V3_9 Release = "3.9.5"
	V3_8 Release = "3.8.6"
	V3_7 Release = "3.7.2"
	V3_6 Release = "3.6.4"
	V3_5 Release = "3.5.10"
	V3_4 Release = "3.4.14"
)

// SuperCredential is the "digest" credential of the super user of every server
// started here. The super user passes all ACLs, which reconfiguration needs.
const SuperCredential = "super:zktest"

// Releases returns every pinned release, newest first.
func Releases() []Release { return []Release{V3_9, V3_8, V3_7, V3_6, V3_5, V3_4} }

// Default returns the releases that make test runs: the newest two.
func Default() []Release { return Releases()[:2] }

// Tested returns the releases that tests compare with. These are Default, or
// those that the environment names in ZK_TEST_RELEASES, separated by commas.
// "all" stands for every pinned one.
func Tested() []Release {
	var list []Release
	for name := range strings.FieldsFuncSeq(os.Getenv("ZK_TEST_RELEASES"), func(c rune) bool { return c == ',' || c == ' ' }) {
		if name == "all" {
			return Releases()
		}
		list = append(list, Release(name)) // one that is not pinned fails in Find
	}
	if list == nil {
		return Default()
	}
	return list
}

// Installed has what is needed to start a server of one release.
type Installed struct {
	Release Release
	Java    string   // the java command
	Jars    []string // the class path
}

func (in Installed) classPath() string {
	return strings.Join(in.Jars, string(os.PathListSeparator))
}

// Find looks for a Java runtime, in JAVA_HOME and PATH, and for the release's
// jars, in the folder ZK_APACHE_CACHE or else in zk-apache in the user's cache.
// Its error names everything that is missing and says how to get it.
func Find(r Release) (Installed, error) {
	in := Installed{Release: r}
	if !slices.Contains(Releases(), r) {
		return Installed{}, fmt.Errorf("ZooKeeper %q is not pinned here; there are %v", r, Releases())
	}
	var missing []string
	var err error
	if in.Java, err = findJava(); err != nil {
		missing = append(missing, err.Error())
	}
	dir, err := jarDir(r)
	if err != nil {
		return Installed{}, err
	}
	// The folder appears in one rename when it is complete, so the one jar vouches for all.
	if _, err := os.Stat(filepath.Join(dir, "zookeeper-"+string(r)+".jar")); err != nil {
		missing = append(missing, "no jars in "+dir+": run `make servers`, which fetches them")
		if _, err := findMaven(); err != nil {
			missing = append(missing, err.Error())
		}
	}
	if missing != nil {
		return Installed{}, fmt.Errorf("ZooKeeper %s cannot run: %s", r, strings.Join(missing, "; "))
	}
	in.Jars, err = jarsIn(dir)
	return in, err
}

func jarsIn(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var jars []string
	for _, file := range list {
		if strings.HasSuffix(file.Name(), ".jar") {
			jars = append(jars, filepath.Join(dir, file.Name()))
		}
	}
	return jars, nil
}

func findJava() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java, err := filepath.Abs(filepath.Join(home, "bin", "java")) // servers run in folders of their own
		if err != nil {
			return "", err
		}
		if path, err := exec.LookPath(java); err == nil {
			return path, nil
		}
		return "", errors.New("no Java at " + java + ", where JAVA_HOME points: unset it or install Java there")
	}
	path, err := exec.LookPath("java")
	if err != nil {
		return "", errors.New("no java in PATH: install Java 11 or later (Debian: apt-get install default-jre-headless) or set JAVA_HOME")
	}
	return path, nil
}

func findMaven() (string, error) {
	path, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.New("no mvn in PATH, which fetches the jars: install Maven (Debian: apt-get install maven)")
	}
	return path, nil
}

// jarDir returns the folder of the release's jars, whether it is there or not.
func jarDir(r Release) (string, error) {
	cache := os.Getenv("ZK_APACHE_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no folder for the jars of ZooKeeper: %v; set ZK_APACHE_CACHE to one", err)
		}
		cache = filepath.Join(dir, "zk-apache")
	}
	dir, err := filepath.Abs(filepath.Join(cache, string(r)))
	if err != nil {
		return "", err
	}
	if err := javaString(dir); err != nil {
		return "", fmt.Errorf("the folder of the jars, %q: %w; set ZK_APACHE_CACHE to another one", dir, err)
	}
	if strings.ContainsRune(dir, os.PathListSeparator) {
		return "", fmt.Errorf("the folder of the jars, %q, has a %q in its name, which no class path takes; set ZK_APACHE_CACHE to another one",
			dir, os.PathListSeparator)
	}
	return dir, nil
}
