package clients

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// need skips the test unless the environment has ZK_TEST_APACHE=1, and says what was left out.
func need(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("ZK_TEST_APACHE") != "1" {
		t.Skipf("%s was not run: use make test", what)
	}
}

func TestJava(t *testing.T) {
	need(t, "the Java client")
	for _, release := range apache.Default() {
		t.Run(string(release), func(t *testing.T) {
			in, err := apache.Find(release)
			assert.NilError(t, err)
			s := newStage(t, zktest.Options{})
			// The java of a JDK compiles what it runs; that of a JRE says that it has no compiler.
			id := s.run(exec.CommandContext(t.Context(), in.Java, "-Xmx96m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
				"-cp", strings.Join(in.Jars, string(os.PathListSeparator)), filepath.Join("testdata", "Play.java"), s.proxy.Addr()))
			s.played(id, true)
		})
	}
}

func TestKazoo(t *testing.T) {
	need(t, "kazoo")
	python, err := findKazoo(t)
	assert.NilError(t, err)
	for _, v := range []zktest.Version{zktest.V34, zktest.V38, zktest.V39} {
		t.Run(v.String(), func(t *testing.T) {
			s := newStage(t, zktest.Options{Version: v})
			id := s.run(exec.CommandContext(t.Context(), python, filepath.Join("testdata", "play.py"), s.proxy.Addr()))
			s.played(id, false) // it reads again
		})
	}
}

// findKazoo returns a Python that has kazoo: the first in PATH, or that of the system's packages.
func findKazoo(t *testing.T) (string, error) {
	t.Helper()
	var said string
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		out, err := exec.CommandContext(t.Context(), python, "-c", "import kazoo.client").CombinedOutput()
		if err == nil {
			return python, nil
		}
		said = fmt.Sprintf("%v: %s", err, bytes.TrimSpace(out))
	}
	return "", fmt.Errorf("no Python has kazoo (Debian: apt-get install python3-kazoo, which make setup does): %s", said)
}

// run lets a program play. It says which session it has, and asks for what is to be done to it, line by line.
func (s *stage) run(cmd *exec.Cmd) (id int64) {
	s.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	assert.NilError(s.t, err)
	stdout, err := cmd.StdoutPipe()
	assert.NilError(s.t, err)
	assert.NilError(s.t, cmd.Start())
	last := ""
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		last = lines.Text()
		switch word, rest, _ := strings.Cut(last, " "); word {
		case "session":
			id, err = strconv.ParseInt(rest, 16, 64)
			assert.NilError(s.t, err)
		case "cut":
			s.cut()
			fmt.Fprintln(stdin, "done")
		case "expire":
			s.expire(id)
			fmt.Fprintln(stdin, "done")
		}
	}
	err = cmd.Wait()
	assert.NilError(s.t, err, "%s\n(make setup installs a JDK and kazoo)", &stderr)
	assert.Equal(s.t, last, "ok")
	return id
}
