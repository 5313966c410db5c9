package zktest

import (
	"time"

	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// reap deletes the containers and TTL nodes that are due (ContainerManager).
func (e *Ensemble) reap() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reaper = nil
	if e.closed {
		return
	}
	e.now = time.Now()
	if e.leader < 0 {
		e.reapBy(e.now.Add(e.opts.ReapInterval))
		return
	}
	due, next := e.prep.Head.Reapable(e.now)
	if !next.IsZero() {
		e.reapBy(next)
	}
	for _, path := range due {
		x := e.newTxn()
		x.Changes = []data.Change{data.Delete(path)}
		e.commit(x)
	}
}

// expectReap arms the timer if a node that has changed will have to go.
func (e *Ensemble) expectReap(path string) {
	n := e.prep.Head.Node(path)
	if n == nil {
		return
	}
	switch empty, deadline := n.Ends(); {
	case empty:
		e.reapBy(time.Now().Add(e.opts.ReapInterval))
	case !deadline.IsZero():
		e.reapBy(deadline)
	}
}

// reapBy lets the next reap be no later than at. No timer runs while nothing
// waits for it, so that a synctest bubble can come to rest.
func (e *Ensemble) reapBy(at time.Time) {
	if e.reaper != nil {
		if !at.Before(e.reapAt) {
			return
		}
		e.reaper.Stop()
	}
	e.reapAt = at
	e.reaper = time.AfterFunc(time.Until(at), e.reap)
}
