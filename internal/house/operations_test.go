package house

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/metrics"
)

// text returns a file of the repository.
func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	assert.NilError(t, err)
	return string(b)
}

// promNames are the names of package prom, from its source.
func promNames(t *testing.T) (names []string) {
	for _, m := range regexp.MustCompile(`= desc\("(\w+)"`).FindAllStringSubmatch(text(t, "metrics/prom/prom.go"), -1) {
		names = append(names, "zk_client_"+m[1])
	}
	assert.Assert(t, len(names) > 20)
	return names
}

var promName = regexp.MustCompile(`\bzk_client_\w+`)

// base returns the name of a metric of which a text has a part.
func base(name string) string {
	for _, part := range []string{"_bucket", "_count", "_sum"} {
		if whole, ok := strings.CutSuffix(name, part); ok {
			return whole
		}
	}
	return name
}

// docs/operations explains each metric, and names no other; the dashboard and the alerts
// use no other, and the dashboard shows them all.
func TestOperationsMetrics(t *testing.T) {
	suite.ToRoot(t)
	known := promNames(t)
	for file, all := range map[string]bool{"README.md": true, "dashboard.json": true, "alerts.yml": false} {
		said := text(t, "docs/operations/"+file)
		var used []string
		for _, name := range promName.FindAllString(said, -1) {
			assert.Check(t, slices.Contains(known, base(name)), "%s: no metric %s", file, name)
			used = append(used, base(name))
		}
		for _, name := range known {
			assert.Check(t, !all || slices.Contains(used, name), "%s: nothing about %s", file, name)
		}
	}
	readme := text(t, "docs/operations/README.md")
	var vars map[string]json.RawMessage
	assert.NilError(t, json.Unmarshal([]byte(metrics.New().Map().String()), &vars))
	for name := range vars {
		assert.Check(t, strings.Contains(readme, "`"+name+"`"), "nothing about %s", name)
	}
}

// The dashboard is JSON with the parts that Grafana wants, and the alerts are those that
// the text explains.
func TestOperationsFiles(t *testing.T) {
	suite.ToRoot(t)
	var d struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ RefID, Expr string }
		}
	}
	assert.NilError(t, json.Unmarshal([]byte(text(t, "docs/operations/dashboard.json")), &d))
	assert.Assert(t, d.Title != "" && d.UID != "" && len(d.Panels) > 10)
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		assert.Check(t, !ids[p.ID] && p.Type != "" && p.Title != "" && p.GridPos.W > 0 && len(p.Targets) > 0, "%+v", p)
		ids[p.ID] = true
		for _, target := range p.Targets {
			assert.Check(t, strings.Count(target.Expr, "(") == strings.Count(target.Expr, ")") && strings.Contains(target.Expr, "zk_client_"), target.Expr)
		}
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(text(t, "docs/operations/alerts.yml"), -1)
	assert.Equal(t, len(alerts), 6)
	for _, a := range alerts {
		assert.Check(t, strings.Contains(text(t, "docs/operations/README.md"), "| `"+a[1]+"` |"), a[1])
	}
}

// Prometheus's own tool takes the alerts, and they fire and stay silent as their test says.
func TestOperationsAlerts(t *testing.T) {
	suite.ToRoot(t)
	promtool := suite.Tool(t, "promtool")
	out, err := exec.Command(promtool, "check", "rules", "docs/operations/alerts.yml").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Assert(t, strings.Contains(string(out), "6 rules found"), "%s", out)
	out, err = exec.Command(promtool, "test", "rules", "docs/operations/alerts_test.yml").CombinedOutput()
	assert.NilError(t, err, "%s", out)
}

// The table of messages has each that the client logs, with its level and keys, and no
// other.
func TestOperationsMessages(t *testing.T) {
	suite.ToRoot(t)
	table := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `(zk: [^`]+)` \\| (\\w+) \\| ([^|]+) \\|").FindAllStringSubmatch(text(t, "docs/operations/README.md"), -1) {
		table[m[1]] = m[2] + " " + strings.ReplaceAll(strings.ReplaceAll(m[3], "`", ""), ",", "")
	}
	code := make(map[string]string)
	for _, name := range rootFiles {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		assert.NilError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, sel.Sel.Name) {
				return true
			}
			message, ok := literal(call.Args[0])
			if !ok || !strings.HasPrefix(message, "zk: ") {
				return true
			}
			var keys []string
			for i := 1; i < len(call.Args); i += 2 {
				key, ok := literal(call.Args[i])
				assert.Check(t, ok, "%s: key %d is no constant", message, i)
				keys = append(keys, key)
			}
			code[message] = sel.Sel.Name + " " + strings.Join(keys, " ")
			return true
		})
	}
	assert.Assert(t, len(code) >= 6)
	assert.DeepEqual(t, table, code)

	used := make(map[string]bool)
	for message, keys := range code {
		fields := strings.Fields(keys)
		assert.Check(t, fields[0] == "Info" || fields[0] == "Warn", "%s has the level %s", message, fields[0])
		for _, key := range fields[1:] {
			used[key] = true
		}
		assert.Check(t, slices.Contains(fields, "addr") && slices.Contains(fields, "id"), "%s does not say where", message)
	}
	for _, key := range []string{"addr", "id", "op", "path", "err", "outcome", "code", "zxid", "watches", "queued", "took", "moved", "why"} {
		assert.Check(t, used[key], "no message has %s", key)
	}
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// A newcomer adds metrics to the first program with two lines: the import, and a call
// ahead of Dial. Then expvar has its numbers.
func TestTwoLines(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a program")
	}
	suite.ToRoot(t)
	first := text(t, "examples/first/main.go")
	observed := first
	for at, line := range map[string]string{
		"\t\"" + module + "/recipe\"\n":                         "\t\"" + module + "/metrics\"\n",
		"\tother, err := zk.Dial(ctx, conf) // somebody else\n": "\tmetrics.Attach(&conf)\n",
	} {
		assert.Equal(t, strings.Count(observed, at), 1, at)
		observed = strings.Replace(observed, at, line+at, 1)
	}
	assert.Equal(t, strings.Count(observed, "\n"), strings.Count(first, "\n")+2)
	const check = `package main

import (
	"encoding/json"
	"expvar"
	"fmt"
)

func Example() {
	main()
	var numbers struct {
		Dials, Moves int
		Calls        map[string]int
		Events       map[string]int
	}
	fmt.Println(json.Unmarshal([]byte(expvar.Get("zk").String()), &numbers))
	fmt.Println(numbers.Dials, numbers.Moves, numbers.Calls["get"], numbers.Calls["set"], numbers.Events["changed"])
	// Output:
	// /color is "red"
	// the connection is lost
	// /color is "blue"
	// <nil>
	// 3 1 2 1 1
}
`
	dir := t.TempDir()
	overlay := make(map[string]string)
	for name, content := range map[string]string{"main.go": observed, "main_test.go": check} {
		file := filepath.Join(dir, name)
		assert.NilError(t, os.WriteFile(file, []byte(content), 0o600))
		real, err := filepath.Abs("examples/first/" + name)
		assert.NilError(t, err)
		overlay[real] = file
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	assert.NilError(t, err)
	file := filepath.Join(dir, "overlay.json")
	assert.NilError(t, os.WriteFile(file, list, 0o600))
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-overlay", file, "./examples/first").CombinedOutput()
	assert.NilError(t, err, "%s", out)
}
