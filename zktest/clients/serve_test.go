package clients

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// buildServe builds the command zkserve.
func buildServe(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "zkserve")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", exe, "github.com/seed-9f8420c6/zk/zktest/zkserve").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	return exe
}

// saysOK runs a program, which must end well and say ok.
func saysOK(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s\n(make setup installs a JDK and kazoo)", out)
	assert.Equal(t, strings.TrimSpace(string(out)), "ok")
}

func TestServeKazoo(t *testing.T) {
	need(t, "kazoo")
	python, err := findKazoo(t)
	assert.NilError(t, err)
	saysOK(t, exec.CommandContext(t.Context(), python, filepath.Join("testdata", "serve.py"), buildServe(t)))
}

func TestServeJava(t *testing.T) {
	need(t, "the Java client")
	in, err := apache.Find(apache.Default()[0])
	assert.NilError(t, err)
	saysOK(t, exec.CommandContext(t.Context(), in.Java, "-Xmx96m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
		"-cp", strings.Join(in.Jars, string(os.PathListSeparator)), filepath.Join("testdata", "Serve.java"), buildServe(t)))
}

// The examples in zkserve's documentation are parts of the programs that run here.
func TestServeExamples(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "zkserve", "main.go"), nil, parser.ParseComments)
	assert.NilError(t, err)
	_, doc, ok := strings.Cut(f.Doc.Text(), "Then a test in Python")
	assert.Assert(t, ok)
	python, java, ok := strings.Cut(doc, "And one in Java:")
	assert.Assert(t, ok)
	for file, example := range map[string]string{"serve.py": python, "Serve.java": java} {
		program, err := os.ReadFile(filepath.Join("testdata", file))
		assert.NilError(t, err)
		lines := 0
		for line := range strings.Lines(example) {
			code, ok := strings.CutPrefix(line, "\t")
			if code = strings.TrimSpace(code); !ok || code == "..." {
				continue
			}
			lines++
			assert.Assert(t, strings.Contains(string(program), code), "%s has no %q", file, code)
		}
		assert.Assert(t, lines >= 5, "%s: %d lines", file, lines)
	}
}
