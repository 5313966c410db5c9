package zktest

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// Nodes that are always there (ZooDefs, Quotas).
const (
	rootPath   = "/"
	procPath   = "/zookeeper"
	quotaPath  = "/zookeeper/quota"
	configPath = "/zookeeper/config"
)

// firstEpoch is the zxid of an ensemble after its first election. A server alone begins with 0.
const firstEpoch = int64(1) << 32

// kind says what a node lives by.
type kind uint8

const (
	persistent kind = iota
	ephemeral
	container
	ttl
)

// node is a znode. Its data, its ACL and the key of its map are never changed
// in place, so that clones of a tree share them.
type node struct {
	data                []byte
	acl                 *acl
	children            *nameSet
	czxid, mzxid, pzxid int64
	ctime, mtime        int64
	version, aversion   int32
	creates             int32 // children ever created: what sequence numbers count
	kind                kind
	owner               int64 // ephemeral: session ID; ttl: ms to live
}

func (n *node) stat() wire.Stat {
	s := wire.Stat{
		Czxid: n.czxid, Mzxid: n.mzxid, Ctime: n.ctime, Mtime: n.mtime,
		Version: n.version, Cversion: 2*n.creates - int32(n.children.len()), Aversion: n.aversion,
		DataLength: int32(len(n.data)), NumChildren: int32(n.children.len()), Pzxid: n.pzxid,
	}
	if n.kind == ephemeral {
		s.EphemeralOwner = n.owner
	}
	return s
}

// adopt adds a child that the node does not have.
func (n *node) adopt(name string) {
	if n.children == nil {
		n.children = &nameSet{}
	}
	n.children.add(name)
}

// deadline returns when a TTL node without children goes.
func (n *node) deadline() time.Time { return time.UnixMilli(n.mtime + n.owner + 1) }

// tree is the state of one server after the transaction zxid (DataTree).
type tree struct {
	nodes      map[string]*node
	zxid       int64
	ephemerals map[int64]*pathSet // by session
	containers map[string]struct{}
	ttls       map[string]struct{}
	quotas     *quotas
	size       int // of paths and data, as the server keeps count of it: see approximateSize
}

// newTree returns the tree of a server that begins with zxid.
func newTree(version Version, zxid int64, config []byte) *tree {
	t := &tree{
		nodes: map[string]*node{}, zxid: zxid,
		ephemerals: map[int64]*pathSet{}, containers: map[string]struct{}{}, ttls: map[string]struct{}{}, quotas: &quotas{},
	}
	for _, path := range []string{rootPath, procPath, quotaPath} {
		t.nodes[path] = &node{data: []byte{}, acl: openACL}
	}
	t.nodes[""] = t.nodes[rootPath] // the server knows the root by both names
	t.nodes[rootPath].adopt("zookeeper")
	t.nodes[procPath].adopt("quota")
	if version >= V35 {
		t.nodes[configPath] = &node{data: config, acl: readACL, aversion: -1}
		t.nodes[procPath].adopt("config")
		if len(config) > 0 {
			n := t.nodes[configPath]
			n.version, n.mzxid, n.mtime = -1, zxid, time.Now().UnixMilli()
		}
	}
	for path, n := range t.nodes {
		t.size += javaLen(path) + len(n.data)
	}
	return t
}

// clone returns a copy for a member that stays behind.
func (t *tree) clone() *tree {
	c := &tree{
		nodes: make(map[string]*node, len(t.nodes)), zxid: t.zxid,
		ephemerals: make(map[int64]*pathSet, len(t.ephemerals)),
		containers: cloneSet(t.containers), ttls: cloneSet(t.ttls), quotas: t.quotas.clone(), size: t.size,
	}
	for path, n := range t.nodes {
		m := *n
		m.children = n.children.clone()
		c.nodes[path] = &m
	}
	c.nodes[""] = c.nodes[rootPath]
	for id, set := range t.ephemerals {
		c.ephemerals[id] = &pathSet{maps.Clone(set.paths), set.added, set.peak}
	}
	return c
}

func cloneSet(s map[string]struct{}) map[string]struct{} {
	if s == nil {
		return nil
	}
	c := make(map[string]struct{}, len(s))
	for k := range s {
		c[k] = struct{}{}
	}
	return c
}

// special says whether a node can not be deleted.
func (v Version) special(path string) bool {
	switch path {
	case "", rootPath, procPath, quotaPath:
		return true
	}
	return path == configPath && v >= V35
}

// parentOf returns the path of a node's parent and the node's own name. The
// path must have a slash; the parent of "/a" is "", which is the root.
func parentOf(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:i], path[i+1:]
}

// rooted gives the root the name that watches know it by.
func rooted(path string) string {
	if path == "" {
		return rootPath
	}
	return path
}

// change is one step of a transaction that has passed every check, so that it
// cannot fail: to apply it to a tree is deterministic.
type change struct {
	op      wire.Op // OpCreate, OpDelete, OpSetData, OpReconfig, OpSetACL, OpCheck, opSetSequence
	reply   wire.Op // the type that a multi's result has
	path    string
	data    []byte
	acl     *acl
	kind    kind
	owner   int64
	version int32     // setData, setACL: the new one; create: the parent's creates; opSetSequence: the node's
	stat    wire.Stat // of the node just after the change
}

// opSetSequence is a change that only [Ensemble.SetSequence] makes.
const opSetSequence wire.Op = -11

// txn is a transaction: what the leader decided, for every member to apply. One
// without anything to apply is that of a write that failed.
type txn struct {
	zxid    int64
	time    int64 // ms
	changes []change
	opens   int64 // session that begins by it, or 0
	closes  int64 // session that ends by it, or 0
	origin  *conn // connection that asked for the end of its session
	multi   bool

	// Of a multi that failed, which are in its record only.
	undone []change // operations before the one that failed
	failed int      // that one, and those behind it
}

// effect tells the watch tables what a change did.
type effect struct {
	event           int32 // EventNodeCreated, EventNodeDeleted or EventNodeDataChanged
	path, parent    string
	zxid            int64
	acl, parentACL  *acl
	childrenChanged bool
}

// apply brings the tree to the state after x. It calls fire for each change, in order.
func (t *tree) apply(x *txn, version Version, fire func(effect)) {
	for i := range x.changes {
		t.change(&x.changes[i], x, version, fire)
	}
	if x.closes != 0 {
		for _, path := range t.sessionPaths(x.closes, version >= V36) {
			t.remove(path, x.zxid, version, fire)
		}
		delete(t.ephemerals, x.closes)
	}
	t.zxid = x.zxid
}

// pathSet is a set of paths that remembers how large it was, as that decides
// the order in which Java goes through it.
type pathSet struct {
	paths map[string]int // what was added as which
	added int
	peak  int
}

// sessionPaths returns the ephemeral nodes of a session in the order of the
// server's HashSet, or of a clone of it.
func (t *tree) sessionPaths(id int64, clone bool) []string {
	set := t.ephemerals[id]
	if set == nil {
		return []string{}
	}
	paths := make([]string, 0, len(set.paths))
	for path := range set.paths {
		paths = append(paths, path)
	}
	original := uint32(16) // buckets
	for uint32(set.peak)*4 > original*3 {
		original *= 2
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(
			cmp.Compare(javaHash(a)&(original-1), javaHash(b)&(original-1)),
			cmp.Compare(set.paths[a], set.paths[b]),
		)
	})
	if clone {
		buckets := uint32(1)
		for buckets < uint32(float32(len(paths))/.75+1) {
			buckets *= 2
		}
		slices.SortStableFunc(paths, func(a, b string) int {
			return cmp.Compare(javaHash(a)&(buckets-1), javaHash(b)&(buckets-1))
		})
	}
	return paths
}

// javaHash is what a Java HashMap makes of a String's hash code.
func javaHash(s string) uint32 {
	var h uint32
	for _, c := range s { // a path has no code point that takes two UTF-16 units
		h = 31*h + uint32(c)
	}
	return h ^ h>>16
}

func (t *tree) change(c *change, x *txn, version Version, fire func(effect)) {
	switch c.op {
	case wire.OpCreate:
		t.create(c, x, version, fire)
	case wire.OpDelete:
		t.remove(c.path, x.zxid, version, fire)
	case wire.OpSetData, wire.OpReconfig:
		n := t.nodes[c.path]
		grown := len(c.data) - len(n.data)
		t.size += grown
		n.data, n.version, n.mtime, n.mzxid = c.data, c.version, x.time, x.zxid
		c.stat = n.stat()
		t.quotaChanged(c.path, 0, int64(grown), version)
		changed := effect{event: wire.EventNodeDataChanged, path: c.path, zxid: x.zxid, acl: n.acl}
		fire(changed)
		if c.op == wire.OpReconfig {
			fire(changed) // the server writes the node once by the transaction and once as its new configuration
		}
	case wire.OpSetACL:
		n := t.nodes[c.path]
		n.acl, n.aversion = c.acl, c.version
		c.stat = n.stat()
	case opSetSequence:
		t.nodes[c.path].creates = c.version
	}
}

func (t *tree) create(c *change, x *txn, version Version, fire func(effect)) {
	parentPath, name := parentOf(c.path)
	n := &node{
		data: c.data, acl: c.acl, kind: c.kind, owner: c.owner,
		czxid: x.zxid, mzxid: x.zxid, pzxid: x.zxid, ctime: x.time, mtime: x.time,
	}
	parent := t.nodes[parentPath]
	parent.adopt(name)
	if c.version > parent.creates || version < V36 {
		parent.creates, parent.pzxid = c.version, x.zxid
	} // else it has wrapped: the number stands still, and the next sequential node exists already
	t.nodes[c.path] = n
	t.size += javaLen(c.path) + len(c.data)
	switch c.kind {
	case ephemeral:
		set := t.ephemerals[c.owner]
		if set == nil {
			set = &pathSet{paths: map[string]int{}}
			t.ephemerals[c.owner] = set
		}
		set.added++
		set.paths[c.path] = set.added
		set.peak = max(set.peak, len(set.paths))
	case container:
		t.containers[c.path] = struct{}{}
	case ttl:
		t.ttls[c.path] = struct{}{}
	}
	c.stat = n.stat()
	t.quotaCreated(c.path, parentPath, name, c.data, version)
	fire(effect{
		event: wire.EventNodeCreated, path: c.path, parent: rooted(parentPath), zxid: x.zxid,
		acl: n.acl, parentACL: parent.acl, childrenChanged: true,
	})
}

func (t *tree) remove(path string, zxid int64, version Version, fire func(effect)) {
	n := t.nodes[path]
	if n == nil {
		return
	}
	parentPath, name := parentOf(path)
	parent := t.nodes[parentPath]
	parent.children.remove(name)
	parent.pzxid = zxid
	delete(t.nodes, path)
	t.size -= javaLen(path) + len(n.data)
	switch n.kind {
	case ephemeral:
		delete(t.ephemerals[n.owner].paths, path)
	case container:
		delete(t.containers, path)
	case ttl:
		delete(t.ttls, path)
	}
	t.quotaRemoved(path, parentPath, name, n.data, version)
	fire(effect{
		event: wire.EventNodeDeleted, path: path, parent: rooted(parentPath), zxid: zxid,
		acl: n.acl, parentACL: parent.acl, childrenChanged: true,
	})
}

// approximateSize returns the size of all paths and data as a server tells it.
// Up to 3.5 it adds them up, the root under both of its names; later ones keep
// count, but not of the statistics of quotas, which they write by themselves.
func (t *tree) approximateSize(version Version) int {
	if version >= V36 {
		return t.size
	}
	size := 0
	for path, n := range t.nodes {
		size += javaLen(path) + len(n.data)
	}
	return size
}

// descendants counts the nodes below path. As in the real server, the root's
// count includes /zookeeper.
func (t *tree) descendants(path string) int {
	if path == rootPath {
		return len(t.nodes) - 2 // itself, under its two names
	}
	count := 0
	for p := range t.nodes {
		if len(p) > len(path) && p[len(path)] == '/' && p[:len(path)] == path {
			count++
		}
	}
	return count
}

// reapable returns the containers and TTL nodes that are due at now, and when
// the next one will be (zero: none waits). The first is as the server has it:
// a container that never had a child stays.
func (t *tree) reapable(now time.Time) (due []string, next time.Time) {
	for path := range t.containers {
		if n := t.nodes[path]; n.creates > 0 && n.children.len() == 0 {
			due = append(due, path)
		}
	}
	for path := range t.ttls {
		n := t.nodes[path]
		if n.children.len() > 0 {
			continue
		}
		at := n.deadline()
		switch {
		case !at.After(now):
			due = append(due, path)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	slices.Sort(due)
	return due, next
}
