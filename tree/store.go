package tree

import (
	"iter"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk"
)

// entry is a znode of the copy. It takes 128 bytes, its path and its data.
type entry struct {
	path string
	data []byte
	stat zk.Stat
	kids *dir // nil: none
}

type dir struct {
	list []*entry // by name
	gone bool     // some of the list are not in the store any more
}

func (e *entry) node() *Node { return &Node{Path: e.path, Data: e.data, Stat: e.stat} }

// fill is node without a copy: reading the cache takes a third less time by it.
func (e *entry) fill(n *Node) { n.Path, n.Data, n.Stat = e.path, e.data, e.stat }

func (e *entry) children() []*entry {
	if e == nil || e.kids == nil {
		return nil
	}
	return e.kids.list
}

// store is a subtree in memory.
type store struct {
	nodes map[string]*entry
}

// Change is a difference between two states that a Cache has shown. Before is nil
// for a created znode, After for a deleted one. Their data belongs to the cache:
// do not change it.
type Change struct {
	Path          string
	Before, After *Node
}

// changes returns what apply is going to change: children before parents for
// what is gone, then parents before children.
func (t *store) changes(staged map[string]*entry) []Change {
	var gone, rest []Change
	for path, e := range staged {
		old := t.nodes[path]
		switch {
		case e == nil && old != nil:
			gone = append(gone, Change{Path: path, Before: old.node()})
		case e != nil && old == nil:
			rest = append(rest, Change{Path: path, After: e.node()})
		case e != nil && e.stat != old.stat:
			rest = append(rest, Change{Path: path, Before: old.node(), After: e.node()})
		}
	}
	byPath := func(a, b Change) int { return strings.Compare(a.Path, b.Path) }
	slices.SortFunc(gone, byPath) // a path is longer than those above it, and begins with them
	slices.Reverse(gone)
	slices.SortFunc(rest, byPath)
	return append(gone, rest...)
}

// apply makes staged states part of the store, which takes the map over. An
// entry of nil is a znode that does not exist. linked: they are a whole tree, to
// which link was applied.
func (t *store) apply(staged map[string]*entry, linked bool) {
	switch {
	case linked:
		t.nodes = staged
		return
	case len(t.nodes) == 0:
		t.build(staged)
		return
	}
	added := make(map[string][]*entry) // by parent
	for path, e := range staged {
		old := t.nodes[path]
		switch {
		case e == nil && old != nil:
			delete(t.nodes, path)
			if up := t.nodes[parent(path)]; up != nil && up.kids != nil {
				up.kids.gone = true
			}
			old.kids = nil
			if _, ok := added[parent(path)]; !ok {
				added[parent(path)] = nil
			}
		case e == nil:
		case old == nil:
			t.nodes[path] = e
			added[parent(path)] = append(added[parent(path)], e)
		default:
			old.data, old.stat = e.data, e.stat
		}
	}
	for path, list := range added {
		if up := t.nodes[path]; up != nil {
			up.adopt(list, func(e *entry) bool { return t.nodes[e.path] != e })
		}
	}
}

// link gives the entries of a tree, level by level and each level in the order of
// the one above, their children. It reports whether each has as many as its Stat
// says, but for the one at unchecked; else it leaves them without.
func link(nodes []*entry, unchecked string) bool {
	next, whole := 1, true
	for _, e := range nodes {
		from := next
		for e.stat.NumChildren > 0 && next < len(nodes) && parent(nodes[next].path) == e.path {
			next++
		}
		whole = whole && (next-from == int(e.stat.NumChildren) || e.path == unchecked)
		if next > from {
			e.kids = &dir{list: slices.Clone(nodes[from:next])}
		}
	}
	if whole && next == len(nodes) {
		return true
	}
	for _, e := range nodes {
		e.kids = nil
	}
	return false
}

// build is apply for an empty store.
func (t *store) build(staged map[string]*entry) {
	for path, e := range staged {
		if e == nil {
			delete(staged, path)
		}
	}
	t.nodes = staged
	for path, e := range staged {
		if up := staged[parent(path)]; up != nil {
			if up.kids == nil {
				up.kids = &dir{list: make([]*entry, 0, max(1, min(up.stat.NumChildren, 1<<20)))}
			}
			up.kids.list = append(up.kids.list, e)
		}
	}
	for _, e := range staged {
		slices.SortFunc(e.children(), comparePaths)
	}
}

func comparePaths(a, b *entry) int { return strings.Compare(a.path, b.path) }

// adopt adds children and drops those that are gone.
func (e *entry) adopt(added []*entry, gone func(*entry) bool) {
	if e.kids == nil {
		e.kids = new(dir)
	}
	d := e.kids
	if d.gone {
		d.list = slices.DeleteFunc(d.list, gone)
		d.gone = false
	}
	if len(added) <= 4 {
		for _, kid := range added {
			i, _ := slices.BinarySearchFunc(d.list, kid, comparePaths)
			d.list = slices.Insert(d.list, i, kid)
		}
	} else {
		d.list = append(d.list, added...)
		slices.SortFunc(d.list, comparePaths)
	}
	if len(d.list) == 0 {
		e.kids = nil
	}
}

// names returns the names of a znode's children.
func (t *store) names(path string) ([]string, bool) {
	e := t.nodes[path]
	if e == nil {
		return nil, false
	}
	names := make([]string, len(e.children()))
	for i, kid := range e.children() {
		names[i] = base(kid.path)
	}
	return names, true
}

// all returns all below a path, parents first, siblings by name.
func (t *store) all(root string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		top := t.nodes[root]
		if top == nil {
			return
		}
		for stack := []*entry{top}; len(stack) > 0; {
			e := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if !yield(e) {
				return
			}
			kids := e.children()
			for i := len(kids) - 1; i >= 0; i-- {
				stack = append(stack, kids[i])
			}
		}
	}
}

// tree returns the subtree as Nodes, with their children; nil if it is empty.
func (t *store) tree(root string) *Node {
	made := make(map[*entry]*Node, len(t.nodes))
	var top *Node
	for e := range t.all(root) {
		n := made[e]
		if n == nil {
			n = e.node()
			top = n
		}
		for _, kid := range e.children() {
			k := kid.node()
			made[kid] = k
			n.Children = append(n.Children, k)
		}
	}
	return top
}

// doubtful calls repair for every znode whose children, with the staged states
// applied, are not as many as its Stat says: a server that does not let us read
// a znode may not report it either. unchecked is left out; "" for none.
func (t *store) doubtful(staged map[string]*entry, unchecked string, repair func(path string)) {
	kids := make(map[string]int) // more, or fewer, than in the store
	for path, e := range staged {
		if old := t.nodes[path]; e != nil && old == nil {
			kids[parent(path)]++
		} else if e == nil && old != nil {
			kids[parent(path)]--
		}
	}
	check := func(path string, after *entry) {
		have, want := len(t.nodes[path].children())+kids[path], 0
		if after != nil {
			want = int(after.stat.NumChildren)
		}
		if have != want && path != unchecked {
			repair(path)
		}
	}
	for path, e := range staged {
		if e == nil || e.stat.NumChildren > 0 || t.nodes[path] != nil { // else it has none, or is in kids
			check(path, e)
		}
	}
	for path := range kids {
		if e, ok := staged[path]; ok {
			check(path, e)
		} else if old := t.nodes[path]; old != nil {
			check(path, old)
		}
	}
}
