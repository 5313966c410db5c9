package suite

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/samples"
	"github.com/seed-9f8420c6/zk/wire"
)

// The path of every request that has one is found, and none where there is none.
func TestParseAsked(t *testing.T) {
	for op, rec := range samples.Requests {
		frame := Framed(wire.RequestHeader{Xid: 3, Op: op}, rec)
		a := ParseAsked(frame[4:])
		assert.Check(t, a.Op == op && a.Xid == 3 && a.Path == samples.PathOf(rec), "%v: %+v", op, a)
	}
}
