package answers

import (
	"bytes"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// reply is the answer to a multi of some results without a body, the last of a type.
func reply(types ...wire.Op) []byte {
	var out []byte
	for _, op := range types {
		out = wire.MultiHeader{Op: op, Err: 0}.Append(out)
		switch op {
		case wire.OpCreate:
			out = wire.AppendString(out, "/a")
		case wire.OpError:
			out = wire.AppendInt32(out, -101)
		}
	}
	return wire.AppendMultiEnd(out)
}

func TestEach(t *testing.T) {
	for _, x := range []struct {
		name    string
		want    []wire.Op
		got     []wire.Op
		problem string
	}{
		{"none", nil, nil, ""},
		{"the same", []wire.Op{wire.OpDelete, wire.OpCheck}, []wire.Op{wire.OpDelete, wire.OpCheck}, ""},
		{"an error", []wire.Op{wire.OpDelete, wire.OpCheck}, []wire.Op{wire.OpError, wire.OpCheck}, ""},
		{"create for create2", []wire.Op{wire.OpCreate2}, []wire.Op{wire.OpCreate}, ""},
		{"one too few", []wire.Op{wire.OpDelete, wire.OpCheck}, []wire.Op{wire.OpDelete}, "1 results for 2 operations"},
		{"one too many", []wire.Op{wire.OpDelete}, []wire.Op{wire.OpDelete, wire.OpDelete}, "more results than the 1 operations"},
		{"another", []wire.Op{wire.OpDelete}, []wire.Op{wire.OpCheck}, "a result of check for a delete"},
	} {
		t.Run(x.name, func(t *testing.T) {
			dec := wire.NewDecoder(reply(x.got...))
			d := &dec
			var seen []wire.Op
			ok := Each(d, x.want, func(i int, r *wire.MultiResult) {
				assert.Equal(t, i, len(seen))
				seen = append(seen, r.Op)
			})
			assert.Equal(t, ok, x.problem == "")
			if ok {
				assert.NilError(t, d.Err())
				assert.Equal(t, len(seen), len(x.got))
			} else {
				assert.ErrorContains(t, d.Err(), x.problem)
			}
		})
	}
}

func TestArena(t *testing.T) {
	var a Arena
	frame := bytes.Repeat([]byte("x"), block)
	dec := wire.NewDecoder(frame)
	d := &dec
	assert.Assert(t, a.Keep(d, nil, 1) == nil)
	empty := a.Keep(d, frame[:0], 1)
	assert.Assert(t, empty != nil && len(empty) == 0)

	one := a.Keep(d, frame[:100], 3)
	two := a.Keep(d, frame[:100], 3)
	assert.Equal(t, cap(a.block), 300)
	frame[0] = 'y'
	assert.Equal(t, one[0], byte('x'), "its own")
	_ = append(one, 'z')
	assert.Equal(t, two[0], byte('x'), "and nobody else's")

	large := a.Keep(d, frame[:16<<10+1], 1000) // the figures are those of Session.Batch
	assert.Equal(t, cap(a.block), 300, "it shares no block")
	assert.Equal(t, len(large), 16<<10+1)
	a.Keep(d, frame[:16<<10], 1000)
	assert.Equal(t, cap(a.block), 64<<10, "the largest")
}
