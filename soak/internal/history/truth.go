package history

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// Truth is what happened to the tree, by the servers' own transaction logs.
type Truth struct {
	Txns   []Txn        // all that took effect, by zxid
	Single []apache.Txn // those that only one of several logs has: they may have been undone

	own     map[string][]*Change // by path
	parents map[string][]*Change // creations and deletions, by the parent's path
	byZxid  map[int64]*Txn
	values  map[string][]*Change
	nodes   map[string][]*Change // own and parents together, in order
	all     []*Change
	under   map[string][]*Change // as asked for
}

// Txn is a transaction that changed something.
type Txn struct {
	Op      wire.Op
	Zxid    int64
	Session int64
	Cxid    int32
	Begun   int64    // tick before which it cannot have happened; 0: not known
	Request *Request // that became it; nil: not known
	Changes []Change
}

// Change is one thing that happened to one znode.
type Change struct {
	Txn     *Txn
	Type    zk.EventType // Created, Changed, Deleted
	Path    string
	Value   string
	Version int32 // of the data, behind it
	Czxid   int64 // of the transaction that created this incarnation
}

// Zxid returns the zxid of its transaction.
func (c *Change) Zxid() int64 { return c.Txn.Zxid }

func (c *Change) String() string {
	return fmt.Sprintf("%v %s %q of zxid %#x", c.Type, c.Path, c.Value, c.Zxid())
}

// NewTruth merges the logs of an ensemble's members. Of what only one of
// several has, nobody knows whether a majority has agreed to it: it is counted
// and left out. The logs must agree in everything else, and with themselves.
func NewTruth(logs ...[]apache.Txn) (*Truth, error) {
	type found struct {
		txn *apache.Txn
		n   int
	}
	all := map[int64]*found{}
	for i := range logs {
		here := map[int64]bool{}
		for j := range logs[i] {
			x := &logs[i][j]
			if here[x.Zxid] && same(all[x.Zxid].txn, x) {
				continue // a 3.8 server logs twice what it got when it came back
			}
			here[x.Zxid] = true
			f := all[x.Zxid]
			if f == nil {
				f = &found{txn: x}
				all[x.Zxid] = f
			}
			f.n++
			if !same(f.txn, x) {
				return nil, fmt.Errorf("two logs differ: %+v and %+v", *f.txn, *x)
			}
		}
	}
	t := &Truth{own: map[string][]*Change{}, parents: map[string][]*Change{}, byZxid: map[int64]*Txn{}, values: map[string][]*Change{}, nodes: map[string][]*Change{}, under: map[string][]*Change{}}
	for _, zxid := range slices.Sorted(maps.Keys(all)) {
		f := all[zxid]
		switch {
		case len(logs) > 1 && f.n == 1:
			t.Single = append(t.Single, *f.txn)
			continue
		case f.txn.Failed():
			continue
		}
		x := Txn{Op: f.txn.Op, Zxid: zxid, Session: f.txn.Session, Cxid: f.txn.Cxid}
		x.Changes = changes(f.txn)
		if len(x.Changes) > 0 {
			t.Txns = append(t.Txns, x)
		}
	}
	return t, t.index()
}

// same compares two members' records of one transaction. Of a multi that was
// refused they may differ in the operations that had no effect.
func same(a, b *apache.Txn) bool {
	if a.Op == wire.OpMulti && a.Failed() && b.Failed() {
		return a.Session == b.Session && a.Cxid == b.Cxid && b.Op == wire.OpMulti
	}
	return a.Session == b.Session && a.Cxid == b.Cxid && a.Op == b.Op && a.Path == b.Path && a.Version == b.Version &&
		string(a.Data) == string(b.Data) &&
		slices.EqualFunc(a.Ops, b.Ops, func(a, b apache.Txn) bool { return same(&a, &b) })
}

// changes returns what a transaction does to znodes, without what only the tree tells.
func changes(x *apache.Txn) []Change {
	switch x.Op {
	case wire.OpMulti:
		var out []Change
		for i := range x.Ops {
			out = append(out, changes(&x.Ops[i])...)
		}
		return out
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		return []Change{{Type: zk.Created, Path: x.Path, Value: string(x.Data)}}
	case wire.OpSetData, wire.OpReconfig:
		return []Change{{Type: zk.Changed, Path: x.Path, Value: string(x.Data), Version: x.Version}}
	case wire.OpDelete, apache.OpDeleteContainer:
		return []Change{{Type: zk.Deleted, Path: x.Path}}
	case wire.OpCloseSession:
		var out []Change
		for _, p := range x.Paths {
			out = append(out, Change{Type: zk.Deleted, Path: p})
		}
		return out
	}
	return nil
}

// index plays the log.
func (t *Truth) index() error {
	node := map[string]*Change{} // what is there
	for i := range t.Txns {
		x := &t.Txns[i]
		t.byZxid[x.Zxid] = x
		for j := range x.Changes {
			c := &x.Changes[j]
			c.Txn = x
			last := node[c.Path]
			switch there := last != nil; {
			case c.Type == zk.Created && !there:
				c.Czxid = x.Zxid
			case c.Type == zk.Created:
				return fmt.Errorf("%v: it was there", c)
			case !there && (c.Path == "/" || strings.HasPrefix(c.Path, "/zookeeper")):
				// It was there from the beginning.
			case !there:
				return fmt.Errorf("%v: it was not there", c)
			case c.Type == zk.Changed:
				c.Czxid = last.Czxid
				if c.Version != apache.UnknownVersion && c.Version != last.Version+1 {
					return fmt.Errorf("%v: version %d behind %d", c, c.Version, last.Version)
				}
				c.Version = last.Version + 1
			}
			node[c.Path] = c
			if c.Type == zk.Deleted {
				delete(node, c.Path)
			}
			t.all = append(t.all, c)
			t.own[c.Path] = append(t.own[c.Path], c)
			t.nodes[c.Path] = append(t.nodes[c.Path], c)
			if c.Type != zk.Changed && c.Path != "/" {
				p := Parent(c.Path)
				t.parents[p] = append(t.parents[p], c)
				t.nodes[p] = append(t.nodes[p], c)
			}
			if c.Value != "" {
				t.values[c.Value] = append(t.values[c.Value], c)
			}
		}
	}
	return nil
}

// Parent returns the path of a znode's parent.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// Below reports whether a path is root or below it.
func Below(path, root string) bool {
	return path == root || root == "/" || strings.HasPrefix(path, root) && path[len(root)] == '/'
}

// Txn returns the transaction of a zxid, or nil.
func (t *Truth) Txn(zxid int64) *Txn { return t.byZxid[zxid] }

// Values returns the changes that brought a value.
func (t *Truth) Values(value string) []*Change { return t.values[value] }

// Changes returns what happened to a znode, in order.
func (t *Truth) Changes(path string) []*Change { return t.own[path] }

// Children returns the creations and deletions of a znode's children.
func (t *Truth) Children(path string) []*Change { return t.parents[path] }

// Around returns what happened to a znode, and to its children but their data.
func (t *Truth) Around(path string) []*Change { return t.nodes[path] }

// Under returns what happened to a znode and to all below it. It is not for
// several goroutines.
func (t *Truth) Under(path string) []*Change {
	list, ok := t.under[path]
	if !ok {
		for _, c := range t.all {
			if Below(c.Path, path) {
				list = append(list, c)
			}
		}
		t.under[path] = list
	}
	return list
}

// Last returns the newest change of a znode up to a zxid, or nil.
func (t *Truth) Last(path string, zxid int64) *Change {
	list := t.own[path]
	i := After(list, zxid)
	if i == 0 {
		return nil
	}
	return list[i-1]
}

// Exists reports whether a znode was there behind a transaction.
func (t *Truth) Exists(path string, zxid int64) bool {
	c := t.Last(path, zxid)
	return c != nil && c.Type != zk.Deleted
}

// After returns the index of the first change after a zxid.
func After(list []*Change, zxid int64) int {
	i, _ := slices.BinarySearchFunc(list, zxid, func(c *Change, zxid int64) int {
		if c.Zxid() <= zxid {
			return -1
		}
		return 1
	})
	return i
}

// Newest returns the zxid of the last transaction.
func (t *Truth) Newest() int64 {
	if len(t.Txns) == 0 {
		return 0
	}
	return t.Txns[len(t.Txns)-1].Zxid
}

// Explain finds out which request became each transaction, and when it can
// have happened at the earliest. Numbers of requests begin anew with every
// connection, so several may be asked for by what a log tells of one.
func (t *Truth) Explain(clients []*Client) {
	type key struct {
		session int64
		xid     int32
	}
	type sent struct {
		*Request
		reply *Frame
	}
	requests := map[key][]sent{}
	begun := map[string]int64{}
	for _, c := range clients {
		for _, n := range c.Conns {
			replies := map[int32]*Frame{}
			for i := range n.Frames {
				if f := &n.Frames[i]; f.Event == 0 {
					replies[f.Xid] = f
				}
			}
			for i := range n.Requests {
				r := &n.Requests[i]
				k := key{n.Session, r.Xid}
				requests[k] = append(requests[k], sent{r, replies[r.Xid]})
			}
		}
		for i := range c.Calls {
			for _, w := range c.Calls[i].Writes {
				if w.Value != "" {
					begun[w.Value] = c.Calls[i].Start
				}
			}
		}
	}
	seen := NewAnswers(clients)
	for i := range t.Txns {
		x := &t.Txns[i]
		by := seen.First(x.Zxid)
		for _, s := range requests[key{x.Session, x.Cxid}] {
			if !x.asked(s.Request) || s.Tick >= by {
				continue
			}
			if s.reply == nil && (x.Request == nil || s.Tick > x.Request.Tick) {
				x.Request = s.Request
			}
			if s.reply != nil && s.reply.Zxid == x.Zxid {
				x.Request = s.Request
				break
			}
		}
		if x.Request != nil {
			x.Begun = x.Request.Tick
		}
		for j := range x.Changes {
			x.Begun = max(x.Begun, begun[x.Changes[j].Value])
		}
	}
}

// asked reports whether a request can have become the transaction.
func (x *Txn) asked(r *Request) bool {
	switch {
	case x.Op != r.Op:
		return false
	case r.Op == wire.OpMulti:
		return slices.EqualFunc(x.Changes, r.Changes, func(c Change, path string) bool { return c.Path == path })
	}
	return r.Op == wire.OpCloseSession || len(x.Changes) == 1 && x.Changes[0].Path == r.Path
}

// Answers tells when a transaction was first seen to have happened.
type Answers []answer

type answer struct{ zxid, tick int64 }

// NewAnswers collects the zxids that clients were told.
func NewAnswers(clients []*Client) Answers {
	var all Answers
	for _, c := range clients {
		for _, n := range c.Conns {
			for i := range n.Frames {
				if f := &n.Frames[i]; f.Zxid > 0 {
					all = append(all, answer{f.Zxid, f.Tick})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b answer) int { return cmp.Compare(a.tick, b.tick) })
	out := all[:0]
	for _, a := range all {
		if len(out) == 0 || a.zxid > out[len(out)-1].zxid {
			out = append(out, a)
		}
	}
	return out
}

// First returns the tick at which a transaction had happened for sure.
func (a Answers) First(zxid int64) int64 {
	i, _ := slices.BinarySearchFunc(a, zxid, func(x answer, zxid int64) int { return cmp.Compare(x.zxid, zxid) })
	if i == len(a) {
		return math.MaxInt64
	}
	return a[i].tick
}

// SortCalls puts the calls of several goroutines of a client into one order.
func (c *Client) SortCalls() {
	slices.SortStableFunc(c.Calls, func(a, b Call) int { return cmp.Compare(a.Start, b.Start) })
}
