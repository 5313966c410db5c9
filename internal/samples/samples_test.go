package samples

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// ops returns the request types that wire.go declares, by their names.
func ops(t *testing.T) map[string]wire.Op {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), "../../wire/wire.go", nil, 0)
	assert.NilError(t, err)
	found := make(map[string]wire.Op)
	ast.Inspect(tree, func(n ast.Node) bool {
		s, ok := n.(*ast.ValueSpec)
		if !ok || len(s.Values) != 1 || !strings.HasPrefix(s.Names[0].Name, "Op") {
			return true
		}
		value, sign := s.Values[0], token.ADD
		if minus, ok := value.(*ast.UnaryExpr); ok {
			value, sign = minus.X, minus.Op
		}
		if lit, ok := value.(*ast.BasicLit); ok {
			n, exact := constant.Int64Val(constant.UnaryOp(sign, constant.MakeFromLiteral(lit.Value, lit.Kind, 0), 0))
			assert.Assert(t, exact, "%s", s.Names[0].Name)
			found[s.Names[0].Name] = wire.Op(n)
		}
		return true
	})
	assert.Assert(t, len(found) > 30, "only %d", len(found))
	return found
}

// Every request type has a name of its own, a request and a reply. Two are no requests.
func TestEveryOp(t *testing.T) {
	names := make(map[string]string)
	for name, op := range ops(t) {
		assert.Check(t, !strings.HasPrefix(op.String(), "op "), "opNames lacks %s", name)
		assert.Check(t, names[op.String()] == "", "%s and %s have one name", name, names[op.String()])
		names[op.String()] = name
		if op == wire.OpError {
			continue
		}
		if _, ok := Requests[op]; op != wire.OpNotification {
			assert.Check(t, ok, "no request for %s", name)
		}
		_, ok := Replies[op]
		assert.Check(t, ok, "no reply for %s", name)
	}
}
