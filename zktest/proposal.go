package zktest

import "github.com/seed-9f8420c6/zk/wire"

// Sizes of what every transaction has in its record.
const (
	headerSize = 32 // TxnHeader
	digestSize = 12 // TxnDigest, since 3.6, but for a write that failed alone
	errorSize  = 4  // ErrorTxn
)

// proposalSize returns the bytes of a transaction's record as a leader sends it
// to its followers. t is the tree before the transaction.
func (t *tree) proposalSize(x *txn, version Version) int {
	size := headerSize
	if version >= V36 {
		size += digestSize
	}
	switch {
	case x.opens != 0:
		size += 4 // its timeout
	case x.closes != 0 && version >= V36:
		size += 4
		for _, path := range t.sessionPaths(x.closes, false) {
			size += stringSize(path)
		}
	case x.closes != 0:
	case x.multi:
		size += 4 + x.failed*(8+errorSize)
		for _, list := range [][]change{x.changes, x.undone} {
			for i := range list {
				size += 8 + list[i].size()
			}
		}
	case len(x.changes) == 1:
		size += x.changes[0].size()
	default:
		size = headerSize + errorSize
	}
	return size
}

// size returns the bytes of a change's record.
func (c *change) size() int {
	size := stringSize(c.path)
	switch c.op {
	case wire.OpCreate:
		size += 4 + len(c.data) + c.acl.size() + 4
		switch {
		case c.kind == ttl:
			size += 8
		case c.kind != container:
			size++ // says whether it is ephemeral
		}
	case wire.OpSetData, wire.OpReconfig:
		size += 4 + len(c.data) + 4
	case wire.OpSetACL:
		size += c.acl.size() + 4
	case wire.OpCheck:
		size += 4
	}
	return size
}

func (a *acl) size() int {
	size := 4
	for _, e := range a.entries {
		size += 4 + stringSize(e.Scheme) + stringSize(e.ID)
	}
	return size
}

func stringSize(s string) int { return 4 + len(javaString(s)) }
