package data

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/samples"
	"github.com/seed-9f8420c6/zk/wire"
)

// Every request is read to its end, and its path is known.
func TestDecode(t *testing.T) {
	for op, rec := range samples.Requests {
		var b []byte
		if rec != nil {
			b = rec.Append(nil)
		}
		r, d := Request{Op: op}, wire.NewDecoder(b)
		r.Decode(&d, V39)
		assert.Check(t, !r.Bad && d.Err() == nil && d.Len() == 0, "%v: %+v, %d bytes are left, %v", op, r, d.Len(), d.Err())
		assert.Check(t, r.Path == samples.PathOf(rec), "%v: %+v", op, r)
	}
}
