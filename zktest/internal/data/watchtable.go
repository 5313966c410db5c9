package data

import (
	"slices"
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
type watcher[C comparable] struct {
	conn C
	mode mode
}

// watchTable is one of the two tables of a server, for data or for children (WatchManager).
type watchTable[C comparable] struct {
	single    bool // one mode per connection and Path: releases before 3.9
	paths     map[string][]watcher[C]
	byConn    map[C]map[string]struct{}
	recursive int // watchers with that mode; without any, ancestors need no look
}

func newWatchTable[C comparable](version Version) watchTable[C] {
	return watchTable[C]{single: version < V39, paths: map[string][]watcher[C]{}, byConn: map[C]map[string]struct{}{}}
}

func (t *watchTable[C]) find(path string, c C) *watcher[C] {
	list := t.paths[path]
	for i := range list {
		if list[i].conn == c {
			return &list[i]
		}
	}
	return nil
}

func (t *watchTable[C]) add(path string, c C, m mode) {
	w := t.find(path, c)
	if w == nil {
		t.paths[path] = append(t.paths[path], watcher[C]{conn: c})
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
func (t *watchTable[C]) count(was, is mode) {
	t.recursive += int(is&recursiveWatch)/int(recursiveWatch) - int(was&recursiveWatch)/int(recursiveWatch)
}

func (t *watchTable[C]) has(path string, c C, m mode) bool {
	w := t.find(path, c)
	return w != nil && (m == 0 || w.mode&m != 0)
}

// remove takes modes m, or all for 0, off a watcher. It says whether there were any.
func (t *watchTable[C]) remove(path string, c C, m mode) bool {
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
func (t *watchTable[C]) drop(path string, c C) {
	list := t.paths[path]
	for i := range list {
		if list[i].conn == c {
			list[i] = list[len(list)-1]
			list[len(list)-1] = watcher[C]{}
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

// total counts the watchers.
func (t *watchTable[C]) total() int {
	n := 0
	for _, paths := range t.byConn {
		n += len(paths)
	}
	return n
}

// forget removes all watches of a connection.
func (t *watchTable[C]) forget(c C) {
	for path := range t.byConn[c] {
		t.remove(path, c, 0)
	}
}

// trigger pops the one-shot watches on path and returns the connections to tell, each once.
func (t *watchTable[C]) trigger(path string, event int32) []C {
	var told []C
	if list := t.paths[path]; len(list) > 0 {
		told = make([]C, 0, len(list))
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
	for path != RootPath {
		path = path[:strings.LastIndexByte(path, '/')]
		if path == "" {
			path = RootPath
		}
		for _, w := range t.paths[path] {
			if w.mode&recursiveWatch != 0 && !slices.Contains(told, w.conn) {
				told = append(told, w.conn)
			}
		}
	}
	return told
}

// anybody says whether there is a watch on path, as releases from 3.6 to 3.8
// do: they walk up the path, which must have a slash, and also begin with one
// while anybody has a recursive watch.
func (t *watchTable[C]) anybody(path string) int32 {
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
