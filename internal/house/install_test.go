package house

import (
	"archive/zip"
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

// published are the modules that users require, with the version that others here
// require of them, and a package of each.
var published = []struct {
	dir, version, pkg string
	apart             bool // it has a go.work of its own
}{
	{dir: ".", version: "v0.9.0", pkg: "recipe"},
	{dir: "gozk", version: "v1.1.0"},
	{dir: "gozk/samuel", version: "v1.1.0", pkg: "zk"},
	{dir: "sasl/gssapi", version: "v0.9.0"},
	{dir: "metrics/prom", version: "v0.9.0", apart: true},
	{dir: "metrics/otel", version: "v0.9.0", apart: true},
}

func modulePath(dir string) string {
	if dir == "." {
		return module
	}
	return module + "/" + dir
}

// goMod is what go mod edit -json prints.
type goMod struct {
	Require []struct{ Path, Version string }
	Replace []any
}

// No replace line stands in the way of go get and go install; what a published module
// requires of another is the version that will be tagged; go.work has all of them, or
// their own one has what they require.
func TestPublishedModules(t *testing.T) {
	suite.ToRoot(t)
	versions := make(map[string]string)
	for _, p := range published {
		versions[modulePath(p.dir)] = p.version
	}
	for _, p := range published {
		var mod goMod
		assert.NilError(t, json.Unmarshal(goCommand(t, "mod", "edit", "-json", filepath.Join(p.dir, "go.mod")), &mod))
		assert.Check(t, len(mod.Replace) == 0, "%s/go.mod has a replace line", p.dir)
		for _, r := range mod.Require {
			if v, ours := versions[r.Path]; ours {
				assert.Check(t, r.Version == v, "%s requires %s %s, not %s", p.dir, r.Path, r.Version, v)
			}
		}
	}
	var work struct{ Use []struct{ DiskPath string } }
	assert.NilError(t, json.Unmarshal(goCommand(t, "work", "edit", "-json"), &work))
	var used, want []string
	for _, u := range work.Use {
		used = append(used, filepath.Clean(u.DiskPath))
	}
	for _, p := range published {
		if !p.apart {
			want = append(want, filepath.FromSlash(p.dir))
			continue
		}
		text, err := os.ReadFile(filepath.Join(p.dir, "go.work"))
		assert.NilError(t, err)
		assert.Check(t, strings.Contains(string(text), "\nreplace "+module+" "+versions[module]+" => ../..\n"), "%s/go.work", p.dir)
	}
	slices.Sort(used)
	slices.Sort(want)
	assert.DeepEqual(t, used, want)
}

// Whoever gets a module from a proxy can build it, without a workspace; and a
// dependency's import of go-zookeeper can be replaced.
func TestInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles all published modules anew")
	}
	suite.ToRoot(t)
	proxy := t.TempDir()
	for _, p := range published {
		publish(t, proxy, p.dir, p.version)
	}
	cached := strings.TrimSpace(string(goCommand(t, "env", "GOMODCACHE")))
	next := strings.TrimSpace(string(goCommand(t, "env", "GOPROXY")))
	u := &user{t: t, dir: t.TempDir(), env: append(os.Environ(),
		"GOWORK=off", "GOSUMDB=off", "GOFLAGS=-mod=mod -modcacherw -buildvcs=false -trimpath", "GOMODCACHE="+t.TempDir(),
		"GOPROXY="+strings.Join([]string{"file://" + filepath.ToSlash(proxy), "file://" + filepath.ToSlash(cached) + "/cache/download", next}, ","))}

	for _, p := range published {
		u.dir = t.TempDir()
		u.run("mod", "init", "example.com/user")
		u.run("get", modulePath(p.dir)+"@"+p.version)
		u.write("main.go", "package main\n\nimport _ \""+strings.TrimSuffix(modulePath(p.dir)+"/"+p.pkg, "/")+"\"\n\nfunc main() {}\n")
		u.run("build", "./...")
	}
	u.run("install", module+"/zktest/zktrace@v0.9.0")

	// A program of go-zookeeper, and one of its ancestor: their own Set's event is there when it returns.
	server := zktest.NewServer(t)
	for old, with := range map[string]string{
		"github.com/go-zookeeper/zk@v1.0.4":                                 module + "/gozk@v1.1.0",
		"github.com/samuel/go-zookeeper@v0.0.0-20190923202752-2cc03de413da": module + "/gozk/samuel@v1.1.0",
	} {
		u.dir = t.TempDir()
		path, _, _ := strings.Cut(old, "@")
		u.run("mod", "init", "example.com/user")
		u.run("mod", "edit", "-require="+old, "-replace="+path+"="+with)
		u.write("main.go", strings.ReplaceAll(replacing, "PACKAGE", strings.TrimSuffix(path, "/zk")+"/zk"))
		u.run("build", "-o", "program", ".")
		deps := u.run("list", "-deps", ".")
		assert.Assert(t, slices.Contains(strings.Fields(deps), module+"/internal/pipeline"), "%s", deps)
		cmd := exec.Command(filepath.Join(u.dir, "program"), server.Addr())
		out, err := cmd.CombinedOutput()
		assert.Assert(t, err == nil && strings.HasSuffix(string(out), "\nEventNodeDataChanged\n"), "%v: %s", err, out)
	}
}

// replacing is a program that imports go-zookeeper, of whatever path.
const replacing = `package main

import (
	"fmt"
	"os"
	"time"

	"PACKAGE"
)

func main() {
	c, _, err := zk.Connect(os.Args[1:], 10*time.Second)
	must(err)
	if _, err = c.Create("/x", nil, 0, zk.WorldACL(zk.PermAll)); err != zk.ErrNodeExists {
		must(err)
	}
	_, _, ch, err := c.GetW("/x")
	must(err)
	_, err = c.Set("/x", []byte("y"), -1)
	must(err)
	n := len(ch)
	c.Close()
	if n == 1 {
		fmt.Println((<-ch).Type)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
`

// The replace lines of docs/ten-minutes.md build a program with a checkout.
func TestCheckout(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds two programs")
	}
	suite.ToRoot(t)
	root, err := filepath.Abs(".")
	assert.NilError(t, err)
	page, err := os.ReadFile("docs/ten-minutes.md")
	assert.NilError(t, err)
	_, section, _ := strings.Cut(string(page), "\n## Until the first release\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "```")
	assert.Equal(t, len(blocks), 5)
	for _, block := range []string{blocks[1], blocks[3]} {
		u := &user{t: t, dir: t.TempDir(), env: append(os.Environ(), "GOWORK=off", "GOSUMDB=off", "GOFLAGS=-mod=mod -buildvcs=false")}
		u.run("mod", "init", "example.com/user")
		imports := ""
		for line := range strings.Lines(strings.TrimSpace(block)) {
			path, folder, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "replace "), " => ../zk")
			assert.Assert(t, ok, line)
			u.run("mod", "edit", "-require="+path+"@v1.0.0", "-replace="+path+"="+root+folder)
			imports += "import _ \"" + path + "\"\n"
		}
		u.write("main.go", "package main\n\n"+imports+"\nfunc main() {}\n")
		u.run("build", "./...")
	}
}

// The command of gozk's README changes each form of an import, and nothing else.
func TestImportCommand(t *testing.T) {
	if _, err := exec.LookPath("sed"); err != nil || runtime.GOOS != "linux" {
		t.Skip("it is a command of Linux")
	}
	suite.ToRoot(t)
	page, err := os.ReadFile("gozk/README.md")
	assert.NilError(t, err)
	_, command, _ := strings.Cut(string(page), "    sed -i")
	command, _, ok := strings.Cut(command, " $(git ls-files '*.go')\n")
	assert.Assert(t, ok, "there is no such command")
	dir := t.TempDir()
	const theirs, ours = `"github.com/go-zookeeper/zk"`, `"github.com/seed-9f8420c6/zk/gozk"`
	forms := map[string]string{
		"import " + theirs:   "import zk " + ours,
		"import z " + theirs: "import z " + ours,
		"import (\n\t\"fmt\"\n\n\t" + theirs + " // x\n)":     "import (\n\t\"fmt\"\n\n\tzk " + ours + " // x\n)",
		"import (\n\tzk " + theirs + "\n)":                    "import (\n\tzk " + ours + "\n)",
		"import (\n\t_ " + theirs + "\n\tz " + theirs + "\n)": "import (\n\t_ " + ours + "\n\tz " + ours + "\n)",
		"import \"github.com/go-zookeeper/zk/x\"":             "import \"github.com/go-zookeeper/zk/x\"",
	}
	for before, after := range forms {
		file := filepath.Join(dir, "a.go")
		assert.NilError(t, os.WriteFile(file, []byte("package p\n\n"+before+"\n"), 0o600))
		out, err := exec.Command("sh", "-c", "sed -i"+command+" "+file).CombinedOutput()
		assert.NilError(t, err, "%s", out)
		got, err := os.ReadFile(file)
		assert.NilError(t, err)
		assert.Equal(t, string(got), "package p\n\n"+after+"\n")
		_, err = parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		assert.NilError(t, err)
	}
}

// user is somebody with a module of their own.
type user struct {
	t   *testing.T
	dir string
	env []string
}

func (u *user) run(args ...string) string {
	u.t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = u.dir
	cmd.Env = append(u.env, "GOBIN="+u.dir)
	out, err := cmd.CombinedOutput()
	assert.NilError(u.t, err, "%v: %s", cmd.Args, out)
	return string(out)
}

func (u *user) write(name, text string) {
	u.t.Helper()
	assert.NilError(u.t, os.WriteFile(filepath.Join(u.dir, name), []byte(text), 0o600))
}

// publish puts a module into a folder that serves as a proxy.
func publish(t *testing.T, proxy, dir, version string) {
	t.Helper()
	path := modulePath(dir)
	folder := filepath.Join(proxy, filepath.FromSlash(path), "@v")
	assert.NilError(t, os.MkdirAll(folder, 0o700))
	write := func(name string, text []byte) {
		t.Helper()
		assert.NilError(t, os.WriteFile(filepath.Join(folder, name), text, 0o600))
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	assert.NilError(t, err)
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC()})
	assert.NilError(t, err)
	write("list", []byte(version+"\n"))
	write(version+".mod", mod)
	write(version+".info", info)
	f, err := os.Create(filepath.Join(folder, version+".zip"))
	assert.NilError(t, err)
	z := zip.NewWriter(f)
	assert.NilError(t, pack(z, dir, path+"@"+version+"/"))
	assert.NilError(t, z.Close())
	assert.NilError(t, f.Close())
}

// pack adds the files of a module: no other module in it, and no hidden folder.
func pack(z *zip.Writer, dir, prefix string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if err == nil || strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		w, err := z.Create(prefix + filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}
