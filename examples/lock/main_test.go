package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// The workers are this test, which then is the program.
const beMain = "LOCK_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// good runs all of it and asserts that it ended well.
func good(t *testing.T, o options) {
	t.Helper()
	t.Setenv(beMain, "1")
	var out bytes.Buffer
	err := run(t.Context(), &out, o)
	t.Log(&out)
	assert.NilError(t, err)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	assert.Assert(t, regexp.MustCompile(`^ok: \d+ turns, 0 overlaps$`).MatchString(lines[len(lines)-1]))
	assert.Assert(t, !canStop || strings.Contains(out.String(), "is stopped"))
}

func TestLock(t *testing.T) { good(t, options{For: 8 * time.Second}) }

func TestLockOnRealServers(t *testing.T) {
	apache.Need(t)
	e := apache.New(t, apache.Config{Members: 3})
	good(t, options{Addrs: strings.Join(e.Addrs(), ","), For: 8 * time.Second})
}
