package compare

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// different are the tests of go-zookeeper that gozk is not to pass.
var different = map[string]string{
	"TestFLWCons":                "it asserts that milliseconds are seconds: the year 47197",
	"TestIntegration_SlowServer": "it asserts that a handshake may take 6.7 session timeouts; here it may take one",
}

// racy are tests that fail now and then with any client, and why. They have three tries.
var racy = map[string]string{
	"TestIntegration_IncrementalReconfig": "it removes server 3, and takes an election for a failure if that was the leader",
	"TestIntegration_NoQuorum":            "it kills a server, and fails if that takes a last connection while it dies",
}

// lacking are tests of what ZooKeeper 3.4 does not have.
var lacking = map[string]string{
	"TestIntegration_Create":          "3.4 has no containers",
	"TestIntegration_CreateContainer": "3.4 has no containers",
	"TestIntegration_CreateTTL":       "3.4 has no TTL znodes",
}

// run is a go command in a folder, without a workspace.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	assert.NilError(t, err, "%v: %s%s", cmd.Args, out, &stderr)
	return strings.TrimSpace(string(out))
}

// module returns the folder of a module that this one requires.
func module(t *testing.T, path string) string {
	t.Helper()
	return run(t, ".", "go", "list", "-m", "-f", "{{.Dir}}", path)
}

// buildTheirs builds go-zookeeper's tests against gozk and returns the binary.
func buildTheirs(t *testing.T, real bool) string {
	t.Helper()
	dir := t.TempDir()
	sources, err := filepath.Glob("../*.go")
	assert.NilError(t, err)
	ours, err := filepath.Glob("testdata/theirs/*.go")
	assert.NilError(t, err)
	sources = slices.DeleteFunc(sources, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
	for _, f := range append(sources, ours...) {
		text, err := os.ReadFile(f)
		assert.NilError(t, err)
		assert.NilError(t, os.WriteFile(filepath.Join(dir, filepath.Base(f)), text, 0o644))
	}
	assert.NilError(t, rewrite(module(t, "github.com/go-zookeeper/zk"), dir, real))
	root, err := filepath.Abs("../..")
	assert.NilError(t, err)
	gomod, err := os.ReadFile("../go.mod")
	assert.NilError(t, err)
	gomod = fmt.Appendf(gomod, "\nreplace github.com/seed-9f8420c6/zk => %s\n", root)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "go.mod"), gomod, 0o644))
	sum, err := os.ReadFile("../go.sum")
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o644))
	args := []string{"test", "-c", "-vet=off", "-o", "theirs.test"}
	if real {
		args = append(args, "-tags=real")
	}
	run(t, dir, "go", append(args, ".")...)
	return filepath.Join(dir, "theirs.test")
}

// The tests of go-zookeeper itself, with gozk in its place.
func TestTheirTests(t *testing.T) {
	t.Parallel()
	runTheirs(t, buildTheirs(t, false), "3.9", 5)
}

// The same on real servers. The test-matrix has all releases.
func TestTheirTestsOnRealServers(t *testing.T) {
	apache.Need(t)
	bin := buildTheirs(t, true)
	releases := apache.Tested()
	if os.Getenv("ZK_TEST_RELEASES") == "" {
		t.Skip("ZK_TEST_RELEASES is not set: make test-matrix runs it")
	}
	for _, r := range releases {
		t.Run(string(r), func(t *testing.T) { runTheirs(t, bin, string(r), 1) })
	}
}

var verdictLine = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\w+)`)

// runTheirs runs each test in a process of its own, some at once, since most of their
// time is waiting. ZK_VERSION is how go-zookeeper says which server it is.
func runTheirs(t *testing.T, bin, version string, atOnce int) {
	names := strings.Fields(run(t, filepath.Dir(bin), bin, "-test.list=^Test"))
	assert.Equal(t, len(names), 47-len(leftOut), "%v", names)
	var mu sync.Mutex
	count := make(map[string]int)
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	// The longest first.
	slices.SortFunc(names, func(a, b string) int { return strings.Index(b, "NoQuorum") - strings.Index(a, "NoQuorum") })
	skipped := 0
	for _, name := range names {
		why := different[name]
		if why == "" && strings.HasPrefix(version, "3.4.") {
			why = lacking[name]
		}
		if why != "" {
			t.Logf("skipped: %s: %s", name, why)
			skipped++
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			verdict, out, err := runOne(bin, name, version)
			for try := 1; verdict == "FAIL" && racy[name] != "" && try < 3; try++ {
				t.Logf("%s once more: %s", name, racy[name])
				verdict, out, err = runOne(bin, name, version)
			}
			mu.Lock()
			defer mu.Unlock()
			count[verdict]++
			if verdict != "PASS" && verdict != "SKIP" {
				t.Errorf("%s: %v\n%s", name, err, tail(out))
			}
			if verdict == "SKIP" {
				t.Logf("%s skips itself: %s", name, tail(out))
			}
		})
	}
	wg.Wait()
	t.Logf("%d of go-zookeeper's %d tests pass with gozk in its place; %d are skipped here, %d cannot compile against another inside",
		count["PASS"], 47, skipped, len(leftOut))
	assert.Equal(t, count["PASS"]+count["SKIP"], len(names)-skipped)
}

func runOne(bin, name, version string) (verdict string, out []byte, err error) {
	cmd := exec.Command(bin, "-test.v", "-test.timeout=5m", "-test.run=^"+name+"$")
	cmd.Dir = filepath.Dir(bin)
	cmd.Env = append(os.Environ(), "ZK_VERSION="+version)
	out, err = cmd.CombinedOutput()
	verdict = "none"
	if m := verdictLine.FindSubmatch(out); m != nil {
		verdict = string(m[1])
	}
	if err != nil {
		verdict = "FAIL"
	}
	return verdict, out, err
}

func tail(out []byte) []byte { return out[max(0, len(out)-3000):] }
