package registry

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/place"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// restoring is a Registry with one watch of each kind, two child watches beside recursive
// ones, and three deaf child watches, of which one is not armed any more.
func restoring() *reg {
	r := new(reg)
	r.Start()
	r.Advance(10)
	r.Settle()
	for i, path := range []string{"/d", "/e", "/c", "/p", "/r"} {
		r.arm(path, watches.Data+watches.Kind(i), 0)
	}
	for _, path := range []string{"/deaf", "/r"} {
		r.arm(path, watches.Recursive, 0)
		r.arm(path, watches.Child, 0)
	}
	r.arm("/deaf", watches.Data, 0)
	for _, path := range []string{"/deaf", "/gone", "/c"} {
		r.ChildDeaf(path, 4)
	}
	r.ChildHears("/c")
	r.Stop()
	r.Advance(12)
	return r
}

// The frames of a migration have one floor, and the deaf child watches have theirs.
func TestRestore(t *testing.T) {
	var empty reg
	assert.Assert(t, empty.Restore() == nil)

	r := restoring()
	of := r.Restore()
	assert.DeepEqual(t, of.Deaf, place.Children{"/deaf": 4})
	assert.Assert(t, !of.Reads)
	var frames []string
	for more := true; more; {
		op := of.Op()
		var b []byte
		b, more = of.Next(nil, 1000)
		d := wire.NewDecoder(b)
		if op == wire.OpSetWatches {
			var q wire.SetWatchesRequest
			q.Decode(&d)
			frames = append(frames, fmt.Sprintf("%+v, rearms %t", q, of.Rearms()))
		} else {
			var q wire.SetWatches2Request
			q.Decode(&d)
			frames = append(frames, fmt.Sprintf("%+v, rearms %t", q, of.Rearms()))
		}
		assert.NilError(t, d.Err())
	}
	assert.DeepEqual(t, frames, []string{
		"{RelativeZxid:10 Data:[/d /deaf] Exist:[/e] Child:[/c] Persistent:[/p] Recursive:[/r /deaf]}, rearms true",
		"{RelativeZxid:10 Data:[] Exist:[] Child:[/deaf /r]}, rearms false",
	})
	of.Done()
}

// Where reads restore the watches, each has the floor since which it may have missed its
// event: for a deaf child watch that is its own, for others of its path it is not.
func TestRestorePaths(t *testing.T) {
	r := restoring()
	r.ReadNext()
	of := r.Restore()
	assert.Assert(t, of.Reads)
	got := make(map[string]int64)
	for {
		path, kind, floor, ok := of.Path()
		if !ok {
			break
		}
		got[fmt.Sprint(path, " ", kind)] = floor
	}
	assert.DeepEqual(t, got, map[string]int64{
		"/d 1": 10, "/e 2": 10, "/c 3": 10, "/p 4": 10, "/r 5": 10, "/r 3": 10, "/deaf 1": 10, "/deaf 5": 10, "/deaf 3": 4,
	})
	of.Done()
}

// What closed channels have lost is not restored.
func TestRestoreClosed(t *testing.T) {
	var r reg
	r.Start()
	ch := r.arm("/x", watches.Data, 0)
	r.Arm("/y", watches.Persistent, false, ch)
	close(ch)
	r.event(t, changed, "/x")
	assert.Assert(t, r.Restore() == nil)
}
