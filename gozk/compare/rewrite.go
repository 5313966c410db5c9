package compare

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// leftOut are tests of the inside of go-zookeeper, which another inside does not have.
var leftOut = []string{
	"TestEncodeDecodePacket", "TestRequestStructForOp", "TestEncodeShortBuffer", "TestDecodeShortBuffer",
	"TestIntegration_RecurringReAuthHang", "TestDeadlockInClose", "TestNotifyWatches",
}

// edit replaces what a test does with the inside of a Conn.
type edit struct {
	file    string // a pattern
	from    *regexp.Regexp
	to      string
	atLeast int
}

func must(file, from, to string, atLeast int) edit {
	return edit{file, regexp.MustCompile(from), to, atLeast}
}

var edits = []edit{
	// A cut of the TCP connection, and a latch that keeps the client from reconnecting.
	must("*_test.go", `\bzk\.conn\.Close\(\)`, `cut(zk)`, 4),
	must("zk_test.go", `\bzk\.reconnectLatch = make\(chan struct\{\}\)`, `holdBack(zk)`, 1),
	must("zk_test.go", `\bclose\(zk\.reconnectLatch\)`, `letGo(zk)`, 1),
	// The sizes of the SetWatches frames are looked at by the tests of the root.
	must("zk_test.go", `(?s)\tzk\.setWatchLimit = .*?\n\t\}\n`, ``, 1),
	must("zk_test.go", `(?s)\n\t// Yay! All watches fired correctly.*?\n\}\n`, "\n}\n", 1),
	// A session that the server does not know: here it is ended by another client.
	must("zk_test.go", `\bzk\.sessionID = 99999\n\s*cut\(zk\)`, `endSession(t, zk)`, 1),
	must("cluster_test.go", `\bzk\.sessionID\b`, `zk.SessionID()`, 3),
	must("cluster_test.go", `\bzk\.sessionTimeoutMs\b`, `4000`, 1),
	must("cluster_test.go", `\bzk\.eventChan\b`, `zk.events`, 2),
	// Ports that are free, and loopback.
	must("*_test.go", `int\(rand\.Int31n\(6000\) \+ 10000\)`, `freePorts()`, 2),
	must("zk_test.go", `server\.%d=%s:%d:%d;%d`, `server.%d=%s:%d:%d;127.0.0.1:%d`, 3),
}

// realEdits let go-zookeeper's cluster of real servers start those of zktest/apache.
var realEdits = []edit{
	must("server_java_test.go", `(?s)\t// allow external systems.*?\n\treturn &server\{.*?\n\t\}, nil\n`, "\treturn javaServer(t, configPath, stdout, stderr)\n", 1),
	must("server_java_test.go", `"clientPort=%d\\n"`, `"clientPort=%d\nclientPortAddress=127.0.0.1\n"`, 1),
}

// rewrite writes go-zookeeper's tests to a folder, so that they compile against gozk.
// real: with its own cluster of real servers; else another file has a cluster.
func rewrite(from, to string, real bool) error {
	files, err := filepath.Glob(filepath.Join(from, "*_test.go"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no tests in %s: %v", from, err)
	}
	list := slices.Clone(edits)
	if real {
		list = append(list, realEdits...)
	}
	done := make([]int, len(list))
	for _, file := range files {
		name := filepath.Base(file)
		if !real && (name == "server_java_test.go" || name == "server_help_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for i, e := range list {
			if ok, _ := filepath.Match(e.file, name); !ok {
				continue
			}
			done[i] += len(e.from.FindAll(text, -1))
			text = e.from.ReplaceAll(text, []byte(e.to))
		}
		if text, err = prune(name, text); err != nil {
			return err
		}
		if err = os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
			return err
		}
	}
	for i, e := range list {
		if done[i] < e.atLeast {
			return fmt.Errorf("%s: %d of %d places with %v", e.file, done[i], e.atLeast, e.from)
		}
	}
	return nil
}

// prune removes the functions that are left out, what only they use, and the imports
// that nothing uses then.
func prune(name string, text []byte) ([]byte, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	helpers := []string{"encodeDecodeTest", "BenchmarkEncode", "BenchmarkDecode"} // of the codec
	f.Decls = slices.DeleteFunc(f.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && (slices.Contains(leftOut, fn.Name.Name) || slices.Contains(helpers, fn.Name.Name))
	})
	used := make(map[string]bool)
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok {
				used[id.Name] = true
			}
		}
		return true
	})
	for _, d := range f.Decls {
		if gen, ok := d.(*ast.GenDecl); ok && gen.Tok == token.IMPORT {
			gen.Specs = slices.DeleteFunc(gen.Specs, func(s ast.Spec) bool {
				path := strings.Trim(s.(*ast.ImportSpec).Path.Value, `"`)
				return !used[path[strings.LastIndexByte(path, '/')+1:]]
			})
		}
	}
	f.Decls = slices.DeleteFunc(f.Decls, func(d ast.Decl) bool {
		gen, ok := d.(*ast.GenDecl)
		return ok && gen.Tok == token.IMPORT && len(gen.Specs) == 0
	})
	f.Comments = nil
	var out bytes.Buffer
	if err := format.Node(&out, fset, f); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
