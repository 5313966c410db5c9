package watches

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// frame is a SetWatches record of either kind.
type frame struct {
	zxid  int64
	lists [5][]string
}

func decode(t *testing.T, op wire.Op, b []byte) (f frame) {
	t.Helper()
	d := wire.NewDecoder(b)
	if op == wire.OpSetWatches2 {
		var q wire.SetWatches2Request
		q.Decode(&d)
		f = frame{q.RelativeZxid, [5][]string{q.Data, q.Exist, q.Child, q.Persistent, q.Recursive}}
	} else {
		var q wire.SetWatchesRequest
		q.Decode(&d)
		f = frame{q.RelativeZxid, [5][]string{q.Data, q.Exist, q.Child}}
	}
	assert.NilError(t, d.Err())
	assert.Equal(t, d.Len(), 0)
	return f
}

type pathKind struct {
	kind Kind
	path string
}

// Random watches are restored: every (path, kind) once, in frames within the limit.
// What fires meanwhile is not restored, and moves nothing else out of its turn.
func TestRestoreFrames(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var table Table[int]
		want := make(map[pathKind]bool)
		for range rnd.IntN(200) {
			k := pathKind{Data + Kind(rnd.IntN(5)), fmt.Sprintf("/%0*d", 1+rnd.IntN(60), rnd.IntN(50))}
			table.Add(k.path, k.kind, false, 1+rnd.IntN(2))
			want[k] = true
		}
		limit := 60 + rnd.IntN(400)
		const head = 12
		r := table.Restore(77)
		if len(want) == 0 {
			assert.Assert(t, r == nil)
			continue
		}
		got, fired := make(map[pathKind]bool), make(map[pathKind]bool)
		for more := true; more; {
			op := r.Op()
			var b []byte
			if b, more = r.Next(nil, limit-head); len(b) == 0 {
				break
			}
			f := decode(t, op, b)
			assert.Equal(t, f.zxid, int64(77))
			n := 0
			for i, list := range f.lists {
				for _, p := range list {
					k := pathKind{Data + Kind(i), p}
					assert.Assert(t, !got[k], "%v twice", k)
					got[k] = true
					n++
				}
			}
			assert.Equal(t, r.Rearms(), len(f.lists[3])+len(f.lists[4]) > 0)
			assert.Assert(t, len(b)+head <= limit || n == 1, "%d bytes for %d paths", len(b)+head, n)
			if seed%2 == 0 {
				continue
			}
			for k := range want {
				if k.kind.OneShot() && rnd.IntN(20) == 0 {
					table.Remove(k.path, k.kind, 1)
					table.Remove(k.path, k.kind, 2)
					fired[k] = true
				}
			}
			table.Shrink()
		}
		r.Done()
		for k := range want {
			assert.Assert(t, got[k] || fired[k], "%v is not restored", k)
			delete(got, k)
		}
		assert.Equal(t, len(got), 0)
	}
}

// Where a path has watches of several kinds, the server is told of them in the order
// that serves all: one-shots, persistent, recursive, and behind it the child watch,
// which it would replace.
func TestRestoreOrder(t *testing.T) {
	var table Table[int]
	for kind := Recursive; kind >= Data; kind-- {
		table.Add("/all", kind, false, 1)
	}
	table.Add("/child", Child, false, 1)
	table.Add("/child", Persistent, false, 1)
	r := table.Restore(5)
	var got []string
	for more := true; more; {
		op := r.Op()
		var b []byte
		b, more = r.Next(nil, 1000)
		for i, list := range decode(t, op, b).lists {
			for _, p := range list {
				got = append(got, fmt.Sprint(p, " ", Data+Kind(i)))
			}
		}
		got = append(got, "end of a frame")
	}
	assert.Equal(t, strings.Join(got, "\n"), strings.Join([]string{
		"/all 1", "/all 2", "/child 3", "/all 4", "/child 4", "/all 5", "end of a frame",
		"/all 3", "end of a frame",
	}, "\n"))
}

// FrameSize is what one path takes.
func TestFrameSize(t *testing.T) {
	for kind := Data; kind <= Recursive; kind++ {
		var table Table[int]
		table.Add("/some/path", kind, false, 1)
		table.Add("/", Persistent, false, 1)
		r := table.Restore(5)
		largest := 0
		for more := true; more; {
			var b []byte
			b, more = r.Next(nil, 1)
			largest = max(largest, len(b))
		}
		assert.Assert(t, largest <= FrameSize("/some/path"), "%v: %d bytes", kind, largest)
	}
}
