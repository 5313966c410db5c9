package watches

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

type entry struct {
	path string
	kind Kind
	ch   int
}

// model is a Table as a plain set.
type model map[entry]bool

// match returns what an event brings to whom, and disarms the one-shots.
func (m model) match(typ int32, path string) (channels map[int]bool) {
	channels = make(map[int]bool)
	for e := range m {
		above := e.kind == Recursive && typ != wire.EventNodeChildrenChanged &&
			(e.path == "/" || strings.HasPrefix(path, e.path+"/"))
		if e.path == path && e.kind.Takes(typ) || above {
			channels[e.ch] = true
		}
	}
	maps.DeleteFunc(m, func(e entry, _ bool) bool { return e.path == path && e.kind.OneShot() && e.kind.Takes(typ) })
	return channels
}

// Random changes have the same effect on a Table as on a plain set, with few
// channels on many paths and with many on few.
func TestTable(t *testing.T) {
	for seed := range uint64(15) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var table Table[int]
		m := make(model)
		paths, channels := 1+rnd.IntN(300), 1+rnd.IntN(5)
		if seed%3 == 0 {
			paths, channels = 1+rnd.IntN(4), 1+rnd.IntN(200)
		}
		path := func() string {
			p := fmt.Sprintf("/p%d", rnd.IntN(paths))
			return strings.Repeat(p, 1+rnd.IntN(3))
		}
		random := func() entry {
			return entry{path(), Data + Kind(rnd.IntN(int(Recursive))), 1 + rnd.IntN(channels)}
		}
		for step := range 2000 {
			switch rnd.IntN(10) {
			case 0:
				p, typ := path(), int32(1+rnd.IntN(4))
				targets, persistent := table.Match(typ, []byte(p))
				got := make(map[int]bool)
				for _, x := range targets {
					assert.Assert(t, !got[x.Ch], "channel %d twice", x.Ch)
					got[x.Ch] = true
					if !x.Kind.OneShot() {
						persistent--
					}
				}
				assert.Equal(t, persistent, 0)
				table.Fire(typ, []byte(p))
				assert.DeepEqual(t, got, m.match(typ, p))
			case 1:
				if step%50 == 0 {
					ch := 1 + rnd.IntN(channels)
					table.Sweep(func(x Target[int]) bool { return x.Ch == ch })
					maps.DeleteFunc(m, func(e entry, _ bool) bool { return e.ch == ch })
				}
			case 2, 3:
				e := random()
				assert.Equal(t, table.Remove(e.path, e.kind, e.ch), m[e])
				delete(m, e)
				table.Shrink()
			default:
				e := random()
				table.Add(e.path, e.kind, false, e.ch)
				m[e] = true
			}
			if step%61 == 0 {
				checkTable(t, &table, m)
			}
		}
		for e := range maps.Clone(m) {
			assert.Assert(t, table.Remove(e.path, e.kind, e.ch))
			delete(m, e)
		}
		checkTable(t, &table, m)
		assert.Equal(t, len(table.fans), 0)
	}
}

// checkTable holds the table against the model, and its inner order against its rules.
func checkTable(t *testing.T, table *Table[int], m model) {
	t.Helper()
	var count [numKinds]int
	got := make(model)
	table.Snapshot().Each(func(x Target[int]) {
		e := entry{x.Path, x.Kind, x.Ch}
		assert.Assert(t, !got[e], "%v twice", e)
		got[e] = true
		count[x.Kind]++
	})
	assert.DeepEqual(t, got, m)
	assert.Equal(t, table.Len(), len(m))
	assert.Equal(t, table.count, count)
	kinds := make(map[string]Kinds)
	slots := make(map[[2]any]bool)
	for e := range m {
		k := kinds[e.path]
		k.add(e.kind)
		kinds[e.path] = k
		slots[[2]any{e.path, e.kind}] = true
		assert.Assert(t, e.kind != Recursive || len(e.path) <= table.deepest)
	}
	for path, want := range kinds {
		assert.Equal(t, table.Kinds(path), want)
	}
	for e := range m { // some of them
		for other := range m {
			if mine, others := table.KindsOf(e.path, other.ch); e.ch == other.ch {
				assert.Assert(t, mine.Has(e.kind))
			} else {
				assert.Assert(t, others)
			}
			if other.path != e.path {
				break
			}
		}
		if e.kind == Data {
			break
		}
	}
	assert.Equal(t, table.paths, len(kinds))
	assert.Equal(t, table.used, len(slots))
	fanned := 0
	for i, s := range table.slots {
		if s.many {
			fanned++
			assert.Assert(t, table.fans[uint32(i)].len() > 0)
		}
	}
	assert.Equal(t, len(table.fans), fanned)
}

func TestTableShrinks(t *testing.T) {
	var table Table[int]
	for i := range 20_000 {
		table.Add(fmt.Sprintf("/p%d", i), Data, false, i+1)
	}
	for i := range 20_000 {
		path := []byte(fmt.Sprintf("/p%d", i))
		targets, _ := table.Match(wire.EventNodeDeleted, path)
		assert.Equal(t, len(targets), 1)
		table.Fire(wire.EventNodeDeleted, path)
	}
	assert.Equal(t, table.Len(), 0)
	assert.Assert(t, len(table.slots) <= 64 && len(table.index) <= 256, "%d slots, %d places", len(table.slots), len(table.index))
}

// A fan that many channels have left is as short as those that are left, in the
// order in which they were armed.
func TestFanShrinks(t *testing.T) {
	var table Table[int]
	const n = 10_000
	for i := range n {
		table.Add("/a", Persistent, false, i+1)
	}
	for i := range n {
		if i%1000 != 0 {
			assert.Assert(t, table.Remove("/a", Persistent, i+1))
		}
	}
	f := table.fans[0]
	assert.Assert(t, len(f.list) <= 4*shortFan, "%d places", len(f.list))
	targets, _ := table.Match(wire.EventNodeDataChanged, []byte("/a"))
	var got []int
	for _, x := range targets {
		got = append(got, x.Ch)
	}
	assert.Assert(t, len(got) == n/1000 && slices.IsSorted(got), "%v", got)
}

func TestRecursiveMatch(t *testing.T) {
	for _, armed := range []string{"/", "/a", "/a/b", "/a/b/c"} {
		var table Table[int]
		table.Add(armed, Recursive, false, 1)
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
			targets, n := table.Match(wire.EventNodeDataChanged, []byte(c.path))
			assert.Equal(t, len(targets) == 1, slices.Contains(c.want, armed), "%s armed, %s changed", armed, c.path)
			assert.Equal(t, n, len(targets))
			targets, _ = table.Match(wire.EventNodeChildrenChanged, []byte(c.path))
			assert.Equal(t, len(targets), 0, "a recursive watch sees no Child")
		}
	}
	// All at once, from the top; and with prefixes longer than the hash's buffer.
	var table Table[int]
	deep := strings.Repeat("/0123456789", 40)
	want := []string{"/"}
	for i := 11; i < len(deep); i += 11 {
		want = append(want, deep[:i])
	}
	for i, p := range want {
		table.Add(p, Recursive, false, i+1)
	}
	targets, _ := table.Match(wire.EventNodeCreated, []byte(deep))
	var got []string
	for _, x := range targets {
		got = append(got, x.Path)
	}
	assert.DeepEqual(t, got, want)
	// Without recursive watches nobody looks further up.
	for i, p := range want {
		assert.Assert(t, table.Remove(p, Recursive, i+1))
	}
	assert.Equal(t, table.deepest, 0)
}

// The time of an event does not depend on those who do not get it. These are two
// sizes of each, for a look at how they compare.
func BenchmarkMatch(b *testing.B) {
	for _, size := range []int{1 << 12, 1 << 16} {
		deep := []byte(strings.Repeat("/a", size))
		b.Run(fmt.Sprintf("deep/components=%d", size), func(b *testing.B) {
			var table Table[int]
			table.Add("/", Recursive, false, 1)
			table.Add(string(deep), Recursive, false, 2)
			b.SetBytes(int64(len(deep)))
			for b.Loop() {
				table.Match(wire.EventNodeDataChanged, deep)
			}
		})
		b.Run(fmt.Sprintf("beside/channels=%d", size), func(b *testing.B) {
			var table Table[int]
			for i := range size {
				table.Add("/a", Child, false, i+1)
			}
			for b.Loop() {
				table.Add("/a", Data, false, 1)
				table.Match(wire.EventNodeDataChanged, []byte("/a"))
				table.Fire(wire.EventNodeDataChanged, []byte("/a"))
			}
		})
		b.Run(fmt.Sprintf("fan/channels=%d", size), func(b *testing.B) {
			for b.Loop() {
				var table Table[int]
				for i := range size {
					table.Add("/a", Child, false, i+1)
				}
				for i := range size / 2 {
					table.Remove("/a", Child, i+1)
				}
				table.Match(wire.EventNodeDeleted, []byte("/a"))
				table.Fire(wire.EventNodeDeleted, []byte("/a"))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/channel")
		})
	}
}
