package zk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

type tableKey struct {
	path string
	kind WatchKind
	ch   chan<- Event
}

// TestWatchTable runs random changes against a plain map.
func TestWatchTable(t *testing.T) {
	chans := make([]chan<- Event, 5)
	for i := range chans {
		chans[i] = make(chan Event)
	}
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var table watchTable
		model := make(map[tableKey]bool)
		paths := 1 + rnd.IntN(300)
		path := func() string { return fmt.Sprintf("/p%d", rnd.IntN(paths)) }
		for step := range 3000 {
			switch p := path(); rnd.IntN(10) {
			case 0: // an event
				typ := EventType(1 + rnd.IntN(4))
				at, persistent := table.targets(typ, []byte(p))
				want := 0
				for k := range model {
					if k.path == p && k.kind.takes(typ) {
						want++
						if !k.kind.oneShot() {
							persistent--
						} else {
							delete(model, k)
						}
					}
				}
				assert.Equal(t, len(at), want)
				assert.Equal(t, persistent, 0)
				for _, x := range slices.Clone(at) {
					if table.slots[x].watchKind().oneShot() {
						table.remove(x)
					}
				}
				table.shrink()
			case 1:
				if step%50 == 0 {
					ch := chans[rnd.IntN(len(chans))]
					table.removeChannel(ch)
					for k := range model {
						if k.ch == ch {
							delete(model, k)
						}
					}
				}
			default:
				k := tableKey{p, DataWatch + WatchKind(rnd.IntN(5)), chans[rnd.IntN(len(chans))]}
				if k.kind == RecursiveWatch {
					k.kind = DataWatch // ancestors are a test of their own
				}
				table.add(k.path, k.kind, false, k.ch)
				model[k] = true
			}
			if step%61 == 0 {
				checkTable(t, &table, model)
			}
		}
	}
}

// checkTable holds the table against the model, and its inner order against its rules.
func checkTable(t *testing.T, table *watchTable, model map[tableKey]bool) {
	t.Helper()
	var count [numKinds]int
	leads := make(map[[2]any]int)
	n := 0
	table.each(func(s *slot) {
		n++
		count[s.watchKind()]++
		if s.lead {
			leads[[2]any{s.path, s.kind}]++
		}
		if !model[tableKey{s.path, s.watchKind(), s.ch}] {
			t.Fatalf("%s %v is armed and should not be", s.path, s.watchKind())
		}
	})
	assert.Equal(t, n, len(model))
	assert.Equal(t, table.n, n)
	assert.Equal(t, table.count, count)
	kinds := make(map[[2]any]bool)
	paths := make(map[string]bool)
	for k := range model {
		kinds[[2]any{k.path, uint8(k.kind)}] = true
		paths[k.path] = true
		assert.Assert(t, table.chain([]byte(k.path)) != 0)
	}
	assert.Equal(t, len(leads), len(kinds))
	for k, n := range leads {
		assert.Equal(t, n, 1, "leads of %v", k)
	}
	assert.Equal(t, table.paths, len(paths))
}

func TestWatchTableShrinks(t *testing.T) {
	var w Watches
	ch := make(chan Event, 1)
	for i := range 20_000 {
		w.arm(fmt.Sprintf("/p%d", i), DataWatch, false, ch)
	}
	w.flowing = true
	for i := range 20_000 {
		_, err := w.notify(Deleted, []byte(fmt.Sprintf("/p%d", i)), 1)
		assert.NilError(t, err)
		<-ch
	}
	assert.Equal(t, w.table.n, 0)
	assert.Assert(t, len(w.table.slots) <= 64 && len(w.table.index) <= 256, "%d slots, %d places", len(w.table.slots), len(w.table.index))
	assert.Assert(t, cap(w.stage.items) <= 64 && cap(w.outbox.items) <= 64)
}

func TestRecursiveTargets(t *testing.T) {
	ch := make(chan Event)
	for _, armed := range []string{"/", "/a", "/a/b", "/a/b/c"} {
		var table watchTable
		table.add(armed, RecursiveWatch, false, ch)
		for _, c := range []struct {
			path string
			want []string // armed paths that see it
		}{
			{"/", []string{"/"}},
			{"/a", []string{"/", "/a"}},
			{"/ab", []string{"/"}},
			{"/a/b", []string{"/", "/a", "/a/b"}},
			{"/a/b/c/d", []string{"/", "/a", "/a/b", "/a/b/c"}},
			{"/b/a/b", []string{"/"}},
		} {
			at, n := table.targets(Changed, []byte(c.path))
			assert.Equal(t, len(at) == 1, slices.Contains(c.want, armed), "%s armed, %s changed", armed, c.path)
			assert.Equal(t, n, len(at))
			at, _ = table.targets(Child, []byte(c.path))
			assert.Equal(t, len(at), 0, "a recursive watch sees no Child")
		}
	}
}

// TestRestoreFrames restores random watches: every (path, kind) once, in frames
// within the limit, whatever fires meanwhile.
func TestRestoreFrames(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		w := &Watches{floor: 77}
		ch := []chan<- Event{make(chan Event), make(chan Event)}
		type key struct {
			kind WatchKind
			path string
		}
		want := make(map[key]bool)
		for range rnd.IntN(200) {
			k := key{DataWatch + WatchKind(rnd.IntN(5)), fmt.Sprintf("/%0*d", 1+rnd.IntN(60), rnd.IntN(50))}
			w.arm(k.path, k.kind, false, ch[rnd.IntN(2)])
			want[k] = true
		}
		limit := 60 + rnd.IntN(400)
		const head = 12
		r := w.restore()
		if len(want) == 0 {
			assert.Assert(t, r == nil)
			continue
		}
		got := make(map[key]bool)
		for more := true; more; {
			var b []byte
			op := r.op()
			b, more = r.next(nil, limit-head)
			assert.Assert(t, len(b) > 0)
			var lists [5][]string
			d := wire.NewDecoder(b)
			var zxid int64
			if op == wire.OpSetWatches2 {
				var q wire.SetWatches2Request
				q.Decode(&d)
				zxid, lists = q.RelativeZxid, [5][]string{q.Data, q.Exist, q.Child, q.Persistent, q.Recursive}
			} else {
				var q wire.SetWatchesRequest
				q.Decode(&d)
				zxid, lists = q.RelativeZxid, [5][]string{q.Data, q.Exist, q.Child}
			}
			assert.NilError(t, d.Err())
			assert.Equal(t, d.Len(), 0)
			assert.Equal(t, zxid, int64(77))
			n := 0
			for i, list := range lists {
				for _, p := range list {
					k := key{DataWatch + WatchKind(i), p}
					assert.Assert(t, !got[k], "%v twice", k)
					got[k] = true
					n++
				}
			}
			assert.Assert(t, len(b)+head <= limit || n == 1, "%d bytes for %d paths", len(b)+head, n)
		}
		r.done()
		assert.DeepEqual(t, got, want)
	}
}
