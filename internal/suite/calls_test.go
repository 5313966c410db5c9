package suite

import (
	"context"
	"reflect"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
)

// The table has every method of a Session that makes a request, which is each
// that takes a context and does not give a Session.
func TestCallsAreComplete(t *testing.T) {
	ctx, session := reflect.TypeFor[context.Context](), reflect.TypeFor[*zk.Session]()
	methods := make(map[string]bool)
	for i := range session.NumMethod() {
		if m := session.Method(i); m.Type.NumIn() > 1 && m.Type.In(1) == ctx && m.Type.Out(0) != session {
			methods[m.Name] = true
			assert.Check(t, Calls[m.Name].Do != nil, "no call of %s", m.Name)
		}
	}
	for name := range Calls {
		assert.Check(t, methods[name], "%s is no method", name)
	}
}
