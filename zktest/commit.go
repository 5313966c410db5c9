package zktest

import (
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// newTxn takes the next zxid. A write that fails takes one too.
func (e *Ensemble) newTxn() *data.Txn {
	e.zxid++
	return &data.Txn{Zxid: e.zxid, Time: time.Now().UnixMilli()}
}

// commit applies a transaction to the newest tree and hands it to every
// member. Events for connections of members that keep up are queued when it
// returns; the reply to the writer comes behind them.
func (e *Ensemble) commit(x *data.Txn) {
	if e.leader >= 0 && len(e.members) > 1 {
		e.members[e.leader].proposals.add(e.prep.Head.ProposalSize(x))
	}
	e.prep.Head.Apply(x, e.fire)
	for _, m := range e.members {
		switch {
		case m.tree == e.prep.Head:
			m.applied(x)
		case m.running:
			m.behind = append(m.behind, x)
			m.catchUp()
		}
	}
}

// fire triggers the watches of every member that keeps up. It sees each change once.
func (e *Ensemble) fire(f data.Effect) {
	e.expectReap(f.Path)
	if f.Event == wire.EventNodeDeleted {
		e.expectReap(f.Parent)
	}
	for _, m := range e.members {
		if m.tree == e.prep.Head {
			m.watches.Fire(f, (*conn).event)
		}
	}
}
