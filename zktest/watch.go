package zktest

import (
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// mode is how a watch was set. In one table a connection can have several
// modes on a path since 3.9; before, the last one set is the only one.
type mode uint8

const (
	oneShot mode = 1 << iota
	persistentWatch
	recursiveWatch
)

// watcher is one connection's watches on a path.
type watcher struct {
	conn *conn
	mode mode
}

// watchTable is one of the two tables of a server, for data or for children (WatchManager).
type watchTable struct {
	single    bool // one mode per connection and path: releases before 3.9
	paths     map[string][]watcher
	byConn    map[*conn]map[string]struct{}
	recursive int // watchers with that mode; without any, ancestors need no look
}

func newWatchTable(version Version) watchTable {
	return watchTable{single: version < V39, paths: map[string][]watcher{}, byConn: map[*conn]map[string]struct{}{}}
}

func (t *watchTable) find(path string, c *conn) *watcher {
	list := t.paths[path]
	for i := range list {
		if list[i].conn == c {
			return &list[i]
		}
	}
	return nil
}

func (t *watchTable) add(path string, c *conn, m mode) {
	w := t.find(path, c)
	if w == nil {
		t.paths[path] = append(t.paths[path], watcher{conn: c})
		if t.byConn[c] == nil {
			t.byConn[c] = map[string]struct{}{}
		}
		t.byConn[c][path] = struct{}{}
		w = t.find(path, c)
	}
	was := w.mode
	if t.single {
		w.mode = m
	} else {
		w.mode |= m
	}
	t.count(was, w.mode)
}

// count keeps the number of recursive watchers when one changes from was to is.
func (t *watchTable) count(was, is mode) {
	t.recursive += int(is&recursiveWatch)/int(recursiveWatch) - int(was&recursiveWatch)/int(recursiveWatch)
}

func (t *watchTable) has(path string, c *conn, m mode) bool {
	w := t.find(path, c)
	return w != nil && (m == 0 || w.mode&m != 0)
}

// remove takes modes m, or all for 0, off a watcher. It says whether there were any.
func (t *watchTable) remove(path string, c *conn, m mode) bool {
	if !t.has(path, c, m) {
		return false
	}
	w := t.find(path, c)
	was := w.mode
	if m == 0 {
		w.mode = 0
	} else {
		w.mode &^= m
	}
	t.count(was, w.mode)
	if w.mode == 0 {
		t.drop(path, c)
	}
	return true
}

// drop takes a watcher without modes out of the table.
func (t *watchTable) drop(path string, c *conn) {
	list := t.paths[path]
	for i := range list {
		if list[i].conn == c {
			list[i] = list[len(list)-1]
			list[len(list)-1] = watcher{}
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(t.paths, path)
	} else {
		t.paths[path] = list
	}
	delete(t.byConn[c], path)
	if len(t.byConn[c]) == 0 {
		delete(t.byConn, c)
	}
}

// forget removes all watches of a connection.
func (t *watchTable) forget(c *conn) {
	for path := range t.byConn[c] {
		t.remove(path, c, 0)
	}
}

// trigger pops the one-shot watches on path and returns the connections to tell, each once.
func (t *watchTable) trigger(path string, event int32) []*conn {
	var told []*conn
	if list := t.paths[path]; len(list) > 0 {
		told = make([]*conn, 0, len(list))
		keep := list[:0]
		for _, w := range list {
			// Before 3.9 recursive watches are in the table of children too, but never hear of those.
			if t.single && w.mode == recursiveWatch && event == wire.EventNodeChildrenChanged {
				keep = append(keep, w)
				continue
			}
			told = append(told, w.conn)
			if w.mode &^= oneShot; w.mode != 0 {
				keep = append(keep, w)
				continue
			}
			delete(t.byConn[w.conn], path)
			if len(t.byConn[w.conn]) == 0 {
				delete(t.byConn, w.conn)
			}
		}
		clear(list[len(keep):])
		if len(keep) == 0 {
			delete(t.paths, path)
		} else {
			t.paths[path] = keep
		}
	}
	if t.recursive == 0 || event == wire.EventNodeChildrenChanged {
		return told
	}
	for path != rootPath {
		path = path[:strings.LastIndexByte(path, '/')]
		if path == "" {
			path = rootPath
		}
		for _, w := range t.paths[path] {
			if w.mode&recursiveWatch != 0 && !contains(told, w.conn) {
				told = append(told, w.conn)
			}
		}
	}
	return told
}

func contains(list []*conn, c *conn) bool {
	for _, x := range list {
		if x == c {
			return true
		}
	}
	return false
}

// fire tells this member's connections what a change did. A deletion is told
// once to a connection that has watches in both tables.
func (m *Member) fire(f effect) {
	told := m.data.trigger(f.path, f.event)
	for _, c := range told {
		c.event(f.event, f.path, f.zxid, f.acl)
	}
	if f.event == wire.EventNodeDeleted {
		suppress := told
		for _, c := range m.child.trigger(f.path, f.event) {
			if !contains(suppress, c) {
				c.event(f.event, f.path, f.zxid, f.acl)
			}
		}
	}
	if f.childrenChanged {
		for _, c := range m.child.trigger(f.parent, wire.EventNodeChildrenChanged) {
			c.event(wire.EventNodeChildrenChanged, f.parent, f.zxid, f.parentACL)
		}
	}
}

// setWatches registers the watches of a client that has moved here, or tells it
// at once what it missed (DataTree.setWatches). These events carry no zxid. At
// null the server stops, and what it has done until then stays done.
func (c *conn) setWatches(r *wire.SetWatches2Request) int32 {
	m := c.member
	if r.Data == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Data {
		switch n := m.tree.nodes[path]; {
		case path == nullString:
			return wire.ErrMarshalling
		case n == nil:
			c.event(wire.EventNodeDeleted, path, -1, nil)
		case n.mzxid > r.RelativeZxid:
			c.event(wire.EventNodeDataChanged, path, -1, nil)
		default:
			m.data.add(path, c, oneShot)
		}
	}
	if r.Exist == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Exist {
		switch {
		case path == nullString:
			return wire.ErrMarshalling
		case m.tree.nodes[path] != nil:
			c.event(wire.EventNodeCreated, path, -1, nil)
		default:
			m.data.add(path, c, oneShot)
		}
	}
	if r.Child == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Child {
		switch n := m.tree.nodes[path]; {
		case path == nullString:
			return wire.ErrMarshalling
		case n == nil:
			c.event(wire.EventNodeDeleted, path, -1, nil)
		case n.pzxid > r.RelativeZxid:
			c.event(wire.EventNodeChildrenChanged, path, -1, nil)
		default:
			m.child.add(path, c, oneShot)
		}
	}
	if r.Persistent == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Persistent {
		if code := c.addWatch(path, persistentWatch); code != 0 {
			return code
		}
	}
	if r.Recursive == nil {
		return wire.ErrMarshalling
	}
	for _, path := range r.Recursive {
		if code := c.addWatch(path, recursiveWatch); code != 0 {
			return code
		}
	}
	return 0
}

// addWatch registers a persistent watch, whether or not the node exists. The
// path may be null, before 3.9 only once.
func (c *conn) addWatch(path string, m mode) int32 {
	if path == nullString && c.ens.opts.Version < V39 && c.member.child.has(path, c, 0) {
		return wire.ErrMarshalling
	}
	c.member.data.add(path, c, m)
	if m != recursiveWatch || c.ens.opts.Version < V39 {
		c.member.child.add(path, c, m)
	}
	return 0
}

// watchSets says which tables and modes a type of check- or removeWatches
// means. ok is false for a type that the release does not know.
func (c *conn) watchSets(watcherType int32) (data, child bool, m mode, ok bool) {
	modern := c.ens.opts.Version >= V39
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

func (c *conn) removeWatches(r *request) int32 {
	data, child, m, ok := c.watchSets(r.flags)
	if !ok {
		return wire.ErrMarshalling
	}
	removed := child && c.member.child.remove(r.path, c, m)
	if data && c.member.data.remove(r.path, c, m) {
		removed = true
	}
	if !removed {
		return wire.ErrNoWatcher
	}
	return 0
}

// anybody says whether there is a watch on path, as releases from 3.6 to 3.8
// do: they walk up the path, which must have a slash, and also begin with one
// while anybody has a recursive watch.
func (t *watchTable) anybody(path string) int32 {
	switch {
	case path == "":
		return wire.ErrNoWatcher
	case !strings.Contains(path, "/"):
		return wire.ErrMarshalling
	case len(t.paths[path]) > 0:
		return 0
	case t.recursive > 0 && path[0] != '/':
		return wire.ErrMarshalling
	}
	return wire.ErrNoWatcher
}

func (c *conn) checkWatches(r *request) int32 {
	data, child, m, ok := c.watchSets(r.flags)
	if v := c.ens.opts.Version; v >= V36 && v < V39 && ok {
		// These count anybody's watches on the path.
		inChild, inData := wire.ErrNoWatcher, wire.ErrNoWatcher
		if child {
			inChild = c.member.child.anybody(r.path)
		}
		if data {
			inData = c.member.data.anybody(r.path)
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
	case child && c.member.child.has(r.path, c, m) || data && c.member.data.has(r.path, c, m):
		return 0
	}
	return wire.ErrNoWatcher
}
