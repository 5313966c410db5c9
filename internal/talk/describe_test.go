package talk

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/samples"
	"github.com/seed-9f8420c6/zk/wire"
)

// An entry names the path of every request that has one.
func TestDescribedPaths(t *testing.T) {
	for op, rec := range samples.Requests {
		if rec == nil {
			continue
		}
		b := rec.Append(nil)
		f, d := Entry{Op: op, Len: 8 + len(b)}, wire.NewDecoder(b)
		describe(&f, &d)
		assert.Check(t, f.Path == samples.PathOf(rec), "%v: %+v", op, f)
	}
}
