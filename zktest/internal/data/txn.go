package data

import "github.com/seed-9f8420c6/zk/wire"

// Change is one step of a transaction that has passed every check, so that it
// cannot fail: to apply it to a tree is deterministic.
type Change struct {
	Op      wire.Op // OpCreate, OpDelete, OpSetData, OpReconfig, OpSetACL, OpCheck, opSetSequence
	Reply   wire.Op // the type that a multi's result has
	Path    string
	Data    []byte
	ACL     *ACL
	Stat    wire.Stat // of the node just after the change
	kind    kind
	owner   int64
	version int32 // setData, setACL: the new one; create: the parent's creates; opSetSequence: the node's
}

// opSetSequence is a change that no request makes.
const opSetSequence wire.Op = -11

// SetSequence makes next the number that the next sequential child of a node gets.
func SetSequence(path string, next int32) Change {
	return Change{Op: opSetSequence, Path: path, version: next}
}

// Delete takes away a node without children.
func Delete(path string) Change { return Change{Op: wire.OpDelete, Path: path} }

// Txn is a transaction: what the leader decided, for every member to apply. One
// without anything to apply is that of a write that failed.
type Txn struct {
	Zxid    int64
	Time    int64 // ms
	Changes []Change
	Opens   int64 // session that begins by it, or 0
	Closes  int64 // session that ends by it, or 0
	Origin  int64 // number of the connection that asked for the end of its session, or 0
	multi   bool

	// Of a multi that failed, which are in its record only.
	undone []Change // operations before the one that failed
	failed int      // that one, and those behind it
}

// Effect is what a change does to watches.
type Effect struct {
	Event           int32 // EventNodeCreated, EventNodeDeleted or EventNodeDataChanged
	Path, Parent    string
	Zxid            int64
	ACL, ParentACL  *ACL
	ChildrenChanged bool
}

// Sizes of what every transaction has in its record.
const (
	headerSize = 32 // TxnHeader
	digestSize = 12 // TxnDigest, since 3.6, but for a write that failed alone
	errorSize  = 4  // ErrorTxn
)

// ProposalSize returns the bytes of a transaction's record as a leader sends it
// to its followers. t is the tree before the transaction.
func (t *Tree) ProposalSize(x *Txn) int {
	size := headerSize
	if t.version >= V36 {
		size += digestSize
	}
	switch {
	case x.Opens != 0:
		size += 4 // its timeout
	case x.Closes != 0 && t.version >= V36:
		size += 4
		for _, path := range t.SessionPaths(x.Closes, false) {
			size += stringSize(path)
		}
	case x.Closes != 0:
	case x.multi:
		size += 4 + x.failed*(8+errorSize)
		for _, list := range [][]Change{x.Changes, x.undone} {
			for i := range list {
				size += 8 + list[i].size()
			}
		}
	case len(x.Changes) == 1:
		size += x.Changes[0].size()
	default:
		size = headerSize + errorSize
	}
	return size
}

// size returns the bytes of a change's record.
func (c *Change) size() int {
	size := stringSize(c.Path)
	switch c.Op {
	case wire.OpCreate:
		size += 4 + len(c.Data) + c.ACL.size() + 4
		switch {
		case c.kind == ttl:
			size += 8
		case c.kind != container:
			size++ // says whether it is ephemeral
		}
	case wire.OpSetData, wire.OpReconfig:
		size += 4 + len(c.Data) + 4
	case wire.OpSetACL:
		size += c.ACL.size() + 4
	case wire.OpCheck:
		size += 4
	}
	return size
}

func (a *ACL) size() int {
	size := 4
	for _, e := range a.Entries {
		size += 4 + stringSize(e.Scheme) + stringSize(e.ID)
	}
	return size
}

func stringSize(s string) int { return 4 + len(JavaString(s)) }
