// Package suite is what the tests of the client share: the servers of the behaviour
// suite, a network that can be cut, servers that are played by hand, and one table of
// all calls. Only tests import it.
package suite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// Patience is how long anything may take before a test gives up. Nothing is
// timed against it.
const Patience = time.Minute

// RaceEnabled reports whether the race detector watches.
var RaceEnabled = func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}()

// RealServers reports whether tests run on real servers too.
var RealServers = os.Getenv("ZK_TEST_APACHE") == "1"

// OnProcs runs a test at several values of GOMAXPROCS.
func OnProcs(t *testing.T, f func(t *testing.T)) {
	for _, n := range []int{1, 2} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			f(t)
		})
	}
}

// RunTests runs the tests of a package, ends the servers that they shared, and makes
// sure that no goroutine of the client outlives them. What after finds wrong, where
// it is not nil, is a failure too.
func RunTests(m *testing.M, after func() error) (code int) {
	code = m.Run()
	fail := func(what any) {
		fmt.Println("FAIL:", what)
		code = 1
	}
	for _, s := range allServers {
		if err := s.leave(); err != nil {
			fail(err)
		}
	}
	if left := leftovers(); left != "" && code == 0 { // while the servers run: they would end it all
		fail("goroutines of the client outlive the tests:\n" + left)
	}
	for _, s := range allServers {
		if err := s.close(); err != nil {
			fail(err)
		}
	}
	if after != nil {
		if err := after(); err != nil {
			fail(err)
		}
	}
	return code
}

// leftovers returns the goroutines that run code of the client, once all its
// Sessions should be over.
func leftovers() string {
	for end := time.Now().Add(Patience); ; time.Sleep(10 * time.Millisecond) {
		left := clientGoroutines()
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

// code is a function of this module in a stack, with its package.
var code = regexp.MustCompile(regexp.QuoteMeta("github.com/seed-9f8420c6/zk") + `((?:/\w+)*)\.`)

// ofClient reports whether a stack has code of the client in it, or was started by
// it; what is only of tests does not count, nor do servers.
func ofClient(stack []byte) bool {
	for _, m := range code.FindAllSubmatch(stack, -1) {
		switch string(m[1]) {
		case "/internal/suite", "/internal/scripts", "/internal/sim", "/internal/house":
		case "":
			return true
		default:
			if bytes.HasPrefix(m[1], []byte("/internal/")) {
				return true
			}
		}
	}
	return false
}

// clientGoroutines returns the stacks of all goroutines that are in, or were
// started by, the client.
func clientGoroutines() []string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var found []string
	for _, g := range bytes.Split(buf, []byte("\n\n")) {
		if ofClient(g) {
			found = append(found, string(g))
		}
	}
	return found
}

// ToRoot runs the rest of a test in the root of the module, whose files it is about.
// TestMain cannot do that: go test would not learn which files a cached result is of.
func ToRoot(t testing.TB) {
	t.Helper()
	t.Chdir(moduleRoot(t))
}

// moduleRoot returns the folder of go.mod: this one or one above.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	assert.NilError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		assert.Assert(t, up != dir, "no go.mod in this folder or above")
		dir = up
	}
}

// Shrink lowers one of internal/limits until the returned function is called.
func Shrink(limit *int, n int) (restore func()) {
	old := *limit
	*limit = n
	return func() { *limit = old }
}

// LiveHeap returns the bytes of what is reachable.
func LiveHeap() int64 {
	var m runtime.MemStats
	for range 2 { // the first may leave what has a finalizer
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
