package data

import (
	"maps"
	"slices"

	"github.com/seed-9f8420c6/zk/wire"
)

// Watches are those of one server's connections, which C identifies.
type Watches[C comparable] struct {
	version     Version
	data, child watchTable[C]
}

// NewWatches returns the empty tables of a server.
func NewWatches[C comparable](version Version) *Watches[C] {
	return &Watches[C]{version: version, data: newWatchTable[C](version), child: newWatchTable[C](version)}
}

// Teller hands an event to a connection. acl is that of the node which the
// event tells of, or nil where that does not matter.
type Teller[C comparable] func(c C, event int32, path string, zxid int64, acl *ACL)

// Fire tells connections what a change did. A deletion is told once to a
// connection that has watches in both tables.
func (w *Watches[C]) Fire(f Effect, tell Teller[C]) {
	told := w.data.trigger(f.Path, f.Event)
	for _, c := range told {
		tell(c, f.Event, f.Path, f.Zxid, f.ACL)
	}
	if f.Event == wire.EventNodeDeleted {
		for _, c := range w.child.trigger(f.Path, f.Event) {
			if !slices.Contains(told, c) {
				tell(c, f.Event, f.Path, f.Zxid, f.ACL)
			}
		}
	}
	if f.ChildrenChanged {
		for _, c := range w.child.trigger(f.Parent, wire.EventNodeChildrenChanged) {
			tell(c, wire.EventNodeChildrenChanged, f.Parent, f.Zxid, f.ParentACL)
		}
	}
}

// AddData registers a one-shot watch of getData or exists.
func (w *Watches[C]) AddData(path string, c C) { w.data.add(path, c, oneShot) }

// AddChild registers a one-shot watch of getChildren.
func (w *Watches[C]) AddChild(path string, c C) { w.child.add(path, c, oneShot) }

// Forget removes all watches of a connection.
func (w *Watches[C]) Forget(c C) {
	w.data.forget(c)
	w.child.forget(c)
}

// Set registers the watches of a client that has moved here, or tells it at
// once what it missed (DataTree.setWatches). These events carry no zxid. At null
// the server stops, and what it has done until then stays done.
func (w *Watches[C]) Set(t *Tree, r *wire.SetWatches2Request, c C, tell Teller[C]) int32 {
	if code := w.setOneShot(t, r, c, tell); code != 0 {
		return code
	}
	if r.Persistent == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Persistent {
		if code := w.add(path, c, persistentWatch); code != 0 {
			return code
		}
	}
	if r.Recursive == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Recursive {
		if code := w.add(path, c, recursiveWatch); code != 0 {
			return code
		}
	}
	return 0
}

// setOneShot is Set for the watches of reads.
func (w *Watches[C]) setOneShot(t *Tree, r *wire.SetWatches2Request, c C, tell Teller[C]) int32 {
	if r.Data == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Data {
		switch n := t.nodes[path]; {
		case path == NullString:
			return wire.ErrMarshalling
		case n == nil:
			tell(c, wire.EventNodeDeleted, path, -1, nil)
		case n.mzxid > r.RelativeZxid:
			tell(c, wire.EventNodeDataChanged, path, -1, nil)
		default:
			w.AddData(path, c)
		}
	}
	if r.Exist == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Exist {
		switch {
		case path == NullString:
			return wire.ErrMarshalling
		case t.nodes[path] != nil:
			tell(c, wire.EventNodeCreated, path, -1, nil)
		default:
			w.AddData(path, c)
		}
	}
	if r.Child == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Child {
		switch n := t.nodes[path]; {
		case path == NullString:
			return wire.ErrMarshalling
		case n == nil:
			tell(c, wire.EventNodeDeleted, path, -1, nil)
		case n.pzxid > r.RelativeZxid:
			tell(c, wire.EventNodeChildrenChanged, path, -1, nil)
		default:
			w.AddChild(path, c)
		}
	}
	return 0
}

// Add registers the watch of an addWatch, whether or not the node exists.
func (w *Watches[C]) Add(r *Request, c C) int32 {
	path := r.Path
	if r.NullPath {
		path = NullString
	}
	switch r.Flags {
	case wire.AddWatchPersistent:
		return w.add(path, c, persistentWatch)
	case wire.AddWatchPersistentRecursive:
		return w.add(path, c, recursiveWatch)
	}
	return wire.ErrMarshalling
}

// add registers a watch that stays. The path may be null, before 3.9 only once.
func (w *Watches[C]) add(path string, c C, m mode) int32 {
	if path == NullString && w.version < V39 && w.child.has(path, c, 0) {
		return wire.ErrMarshalling
	}
	w.data.add(path, c, m)
	if m != recursiveWatch || w.version < V39 {
		w.child.add(path, c, m)
	}
	return 0
}

// sets says which tables and modes a type of check- or removeWatches means. ok
// is false for a type that the release does not know.
func (v Version) sets(watcherType int32) (data, child bool, m mode, ok bool) {
	modern := v >= V39
	switch watcherType {
	case wire.WatcherChildren:
		child, ok = true, true
	case wire.WatcherData:
		data, ok = true, true
	case wire.WatcherAny:
		return true, true, 0, true
	case wire.WatcherPersistent:
		return true, true, persistentWatch, modern
	case wire.WatcherPersistentRecursive:
		return true, false, recursiveWatch, modern
	}
	if modern {
		m = oneShot
	}
	return data, child, m, ok
}

// Remove executes a removeWatches.
func (w *Watches[C]) Remove(r *Request, c C) int32 {
	data, child, m, ok := w.version.sets(r.Flags)
	if !ok {
		return wire.ErrMarshalling
	}
	removed := child && w.child.remove(r.Path, c, m)
	if data && w.data.remove(r.Path, c, m) {
		removed = true
	}
	if !removed {
		return wire.ErrNoWatcher
	}
	return 0
}

// Check executes a checkWatches.
func (w *Watches[C]) Check(r *Request, c C) int32 {
	data, child, m, ok := w.version.sets(r.Flags)
	if w.version >= V36 && w.version < V39 && ok {
		// These count anybody's watches on the path.
		inChild, inData := wire.ErrNoWatcher, wire.ErrNoWatcher
		if child {
			inChild = w.child.anybody(r.Path)
		}
		if data {
			inData = w.data.anybody(r.Path)
		}
		switch {
		case inChild == wire.ErrMarshalling || inData == wire.ErrMarshalling:
			return wire.ErrMarshalling
		case inChild == 0 || inData == 0:
			return 0
		}
		return wire.ErrNoWatcher
	}
	switch {
	case !ok:
		return wire.ErrMarshalling
	case child && w.child.has(r.Path, c, m) || data && w.data.has(r.Path, c, m):
		return 0
	}
	return wire.ErrNoWatcher
}

// Total counts the watches of both tables.
func (w *Watches[C]) Total() int { return w.data.total() + w.child.total() }

// DataTotals counts the connections that have watches for data, the paths that
// they watch, and the watches.
func (w *Watches[C]) DataTotals() (conns, paths, watches int) {
	return len(w.data.byConn), len(w.data.paths), w.data.total()
}

// DataPaths returns the paths with watches for data, in order.
func (w *Watches[C]) DataPaths() []string { return slices.Sorted(maps.Keys(w.data.paths)) }

// DataPathsOf returns those that a connection watches.
func (w *Watches[C]) DataPathsOf(c C) []string { return slices.Sorted(maps.Keys(w.data.byConn[c])) }

// DataWatchers returns the connections that watch the data of a path.
func (w *Watches[C]) DataWatchers(path string) []C {
	var list []C
	for _, x := range w.data.paths[path] {
		list = append(list, x.conn)
	}
	return list
}
