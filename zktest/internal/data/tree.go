package data

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// Nodes that are always there (ZooDefs, Quotas).
const (
	RootPath   = "/"
	ProcPath   = "/zookeeper"
	QuotaPath  = "/zookeeper/quota"
	ConfigPath = "/zookeeper/config"
)

// FirstEpoch is the zxid of an ensemble after its first election. A server alone begins with 0.
const FirstEpoch = int64(1) << 32

// kind says what a node lives by.
type kind uint8

const (
	persistent kind = iota
	ephemeral
	container
	ttl
)

// Node is a znode. Its data, its ACL and the key of its map are never changed
// in place, so that clones of a tree share them.
type Node struct {
	Data                []byte
	ACL                 *ACL
	children            *nameSet
	czxid, mzxid, pzxid int64
	ctime, mtime        int64
	version, aversion   int32
	creates             int32 // children ever created: what sequence numbers count
	kind                kind
	owner               int64 // ephemeral: session ID; ttl: ms to live
}

func (n *Node) Stat() wire.Stat {
	s := wire.Stat{
		Czxid: n.czxid, Mzxid: n.mzxid, Ctime: n.ctime, Mtime: n.mtime,
		Version: n.version, Cversion: 2*n.creates - int32(n.children.len()), Aversion: n.aversion,
		DataLength: int32(len(n.Data)), NumChildren: int32(n.children.len()), Pzxid: n.pzxid,
	}
	if n.kind == ephemeral {
		s.EphemeralOwner = n.owner
	}
	return s
}

// NumChildren counts the node's children.
func (n *Node) NumChildren() int { return n.children.len() }

// Children goes through the names of the node's children, in the server's order.
func (n *Node) Children() iter.Seq[string] { return n.children.all() }

// adopt adds a child that the node does not have.
func (n *Node) adopt(name string) {
	if n.children == nil {
		n.children = &nameSet{}
	}
	n.children.add(name)
}

// Ends says how a node without children goes: empty is true for a container
// that has had children, and deadline is set for a TTL node.
func (n *Node) Ends() (empty bool, deadline time.Time) {
	switch {
	case n.children.len() > 0:
	case n.kind == container:
		return n.creates > 0, time.Time{}
	case n.kind == ttl:
		return false, n.deadline()
	}
	return false, time.Time{}
}

// deadline returns when a TTL node without children goes.
func (n *Node) deadline() time.Time { return time.UnixMilli(n.mtime + n.owner + 1) }

// Tree is the state of one server after the transaction zxid (DataTree).
type Tree struct {
	Zxid       int64 // of the last transaction
	version    Version
	nodes      map[string]*Node
	ephemerals map[int64]*pathSet // by session
	containers map[string]struct{}
	ttls       map[string]struct{}
	quotas     *quotas
	size       int // of paths and data, as the server keeps count of it: see ApproximateSize
}

// NewTree returns the tree of a server that begins with zxid. config is the
// content of its configuration's node.
func NewTree(version Version, zxid int64, config []byte) *Tree {
	t := &Tree{
		nodes: map[string]*Node{}, Zxid: zxid, version: version,
		ephemerals: map[int64]*pathSet{}, containers: map[string]struct{}{}, ttls: map[string]struct{}{}, quotas: &quotas{},
	}
	for _, path := range []string{RootPath, ProcPath, QuotaPath} {
		t.nodes[path] = &Node{Data: []byte{}, ACL: openACL}
	}
	t.nodes[""] = t.nodes[RootPath] // the server knows the root by both names
	t.nodes[RootPath].adopt("zookeeper")
	t.nodes[ProcPath].adopt("quota")
	if t.version >= V35 {
		t.nodes[ConfigPath] = &Node{Data: config, ACL: readACL, aversion: -1}
		t.nodes[ProcPath].adopt("config")
		if len(config) > 0 {
			n := t.nodes[ConfigPath]
			n.version, n.mzxid, n.mtime = -1, zxid, time.Now().UnixMilli()
		}
	}
	for path, n := range t.nodes {
		t.size += javaLen(path) + len(n.Data)
	}
	return t
}

// Clone returns a copy for a member that stays behind.
func (t *Tree) Clone() *Tree {
	c := &Tree{
		nodes: make(map[string]*Node, len(t.nodes)), Zxid: t.Zxid, version: t.version,
		ephemerals: make(map[int64]*pathSet, len(t.ephemerals)),
		containers: maps.Clone(t.containers), ttls: maps.Clone(t.ttls), quotas: t.quotas.clone(), size: t.size,
	}
	for path, n := range t.nodes {
		m := *n
		m.children = n.children.clone()
		c.nodes[path] = &m
	}
	c.nodes[""] = c.nodes[RootPath]
	for id, set := range t.ephemerals {
		c.ephemerals[id] = &pathSet{maps.Clone(set.paths), set.added, set.peak}
	}
	return c
}

// Node returns the node at a path, or nil.
func (t *Tree) Node(path string) *Node { return t.nodes[path] }

// Len counts the nodes, the root under both of its names, as the server does.
func (t *Tree) Len() int { return len(t.nodes) }

// Sessions returns the sessions that have had ephemeral nodes, in order.
func (t *Tree) Sessions() []int64 { return slices.Sorted(maps.Keys(t.ephemerals)) }

// Ephemerals counts the ephemeral nodes.
func (t *Tree) Ephemerals() int {
	n := 0
	for _, set := range t.ephemerals {
		n += len(set.paths)
	}
	return n
}

// special says whether a node can not be deleted.
func (v Version) special(path string) bool {
	switch path {
	case "", RootPath, ProcPath, QuotaPath:
		return true
	}
	return path == ConfigPath && v >= V35
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
		return RootPath
	}
	return path
}

// Apply brings the tree to the state after x. It calls fire for each change, in order.
func (t *Tree) Apply(x *Txn, fire func(Effect)) {
	for i := range x.Changes {
		t.change(&x.Changes[i], x, fire)
	}
	if x.Closes != 0 {
		for _, path := range t.SessionPaths(x.Closes, t.version >= V36) {
			t.remove(path, x.Zxid, fire)
		}
		delete(t.ephemerals, x.Closes)
	}
	t.Zxid = x.Zxid
}

// pathSet is a set of paths that remembers how large it was, as that decides
// the order in which Java goes through it.
type pathSet struct {
	paths map[string]int // what was added as which
	added int
	peak  int
}

// SessionPaths returns the ephemeral nodes of a session in the order of the
// server's HashSet, or of a clone of it.
func (t *Tree) SessionPaths(id int64, clone bool) []string {
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

func (t *Tree) change(c *Change, x *Txn, fire func(Effect)) {
	switch c.Op {
	case wire.OpCreate:
		t.create(c, x, fire)
	case wire.OpDelete:
		t.remove(c.Path, x.Zxid, fire)
	case wire.OpSetData, wire.OpReconfig:
		n := t.nodes[c.Path]
		grown := len(c.Data) - len(n.Data)
		t.size += grown
		n.Data, n.version, n.mtime, n.mzxid = c.Data, c.version, x.Time, x.Zxid
		c.Stat = n.Stat()
		t.quotaChanged(c.Path, 0, int64(grown))
		changed := Effect{Event: wire.EventNodeDataChanged, Path: c.Path, Zxid: x.Zxid, ACL: n.ACL}
		fire(changed)
		if c.Op == wire.OpReconfig {
			fire(changed) // the server writes the node once by the transaction and once as its new configuration
		}
	case wire.OpSetACL:
		n := t.nodes[c.Path]
		n.ACL, n.aversion = c.ACL, c.version
		c.Stat = n.Stat()
	case opSetSequence:
		t.nodes[c.Path].creates = c.version
	}
}

func (t *Tree) create(c *Change, x *Txn, fire func(Effect)) {
	parentPath, name := parentOf(c.Path)
	n := &Node{
		Data: c.Data, ACL: c.ACL, kind: c.kind, owner: c.owner,
		czxid: x.Zxid, mzxid: x.Zxid, pzxid: x.Zxid, ctime: x.Time, mtime: x.Time,
	}
	parent := t.nodes[parentPath]
	parent.adopt(name)
	if c.version > parent.creates || t.version < V36 {
		parent.creates, parent.pzxid = c.version, x.Zxid
	} // else it has wrapped: the number stands still, and the next sequential node exists already
	t.nodes[c.Path] = n
	t.size += javaLen(c.Path) + len(c.Data)
	switch c.kind {
	case ephemeral:
		set := t.ephemerals[c.owner]
		if set == nil {
			set = &pathSet{paths: map[string]int{}}
			t.ephemerals[c.owner] = set
		}
		set.added++
		set.paths[c.Path] = set.added
		set.peak = max(set.peak, len(set.paths))
	case container:
		t.containers[c.Path] = struct{}{}
	case ttl:
		t.ttls[c.Path] = struct{}{}
	}
	c.Stat = n.Stat()
	t.quotaCreated(c.Path, parentPath, name, c.Data)
	fire(Effect{
		Event: wire.EventNodeCreated, Path: c.Path, Parent: rooted(parentPath), Zxid: x.Zxid,
		ACL: n.ACL, ParentACL: parent.ACL, ChildrenChanged: true,
	})
}

func (t *Tree) remove(path string, zxid int64, fire func(Effect)) {
	n := t.nodes[path]
	if n == nil {
		return
	}
	parentPath, name := parentOf(path)
	parent := t.nodes[parentPath]
	parent.children.remove(name)
	parent.pzxid = zxid
	delete(t.nodes, path)
	t.size -= javaLen(path) + len(n.Data)
	switch n.kind {
	case ephemeral:
		delete(t.ephemerals[n.owner].paths, path)
	case container:
		delete(t.containers, path)
	case ttl:
		delete(t.ttls, path)
	}
	t.quotaRemoved(path, parentPath, name, n.Data)
	fire(Effect{
		Event: wire.EventNodeDeleted, Path: path, Parent: rooted(parentPath), Zxid: zxid,
		ACL: n.ACL, ParentACL: parent.ACL, ChildrenChanged: true,
	})
}

// ApproximateSize returns the size of all paths and data as a server tells it.
// Up to 3.5 it adds them up, the root under both of its names; later ones keep
// count, but not of the statistics of quotas, which they write by themselves.
func (t *Tree) ApproximateSize() int {
	if t.version >= V36 {
		return t.size
	}
	size := 0
	for path, n := range t.nodes {
		size += javaLen(path) + len(n.Data)
	}
	return size
}

// Descendants counts the nodes below path. As in the real server, the root's
// count includes /zookeeper.
func (t *Tree) Descendants(path string) int {
	if path == RootPath {
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

// Reapable returns the containers and TTL nodes that are due at now, and when
// the next one will be (zero: none waits). The first is as the server has it:
// a container that never had a child stays.
func (t *Tree) Reapable(now time.Time) (due []string, next time.Time) {
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
