package recipe

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk"
)

// A server that stood still can execute a create late, if the session comes back
// to it: after the session has looked for it elsewhere, and even after a write that
// it sent behind it (seen on 3.9.5, by SIGSTOP of a follower). Such a znode would
// keep others out for as long as the session lives. So what was lost and not found
// is looked for again, on every further connection of the session.

// lateCreates are those of one session.
type lateCreates struct {
	list []lateCreate
	more chan struct{} // one has been added
}

// lateCreate is a claim that is over, and the path of the znode that stays.
type lateCreate struct {
	*claim
	keep string
}

// mostLate bounds how many of a session are looked for; the oldest give way.
const mostLate = 100

// expect looks for what a create of a claim that is over may still make, but for
// the znode at keep.
func (id *identity) expect(s *zk.Session, c *claim, keep string) {
	if !c.late || c.stays {
		return
	}
	over := &claim{session: c.session, key: c.key, dir: c.dir, prefix: c.prefix, guid: c.guid, fixed: c.fixed, stamp: c.stamp}
	if c.stamp {
		over.data = c.data
	}
	if over.prefix == "" { // a Hold's
		over.prefix = strings.TrimRight(c.path[len(join(c.dir, "")):], "0123456789")
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	l := id.late[c.session]
	if l == nil {
		l = &lateCreates{more: make(chan struct{}, 1)}
		if id.late == nil {
			id.late = map[int64]*lateCreates{}
		}
		id.late[c.session] = l
		go id.lookOut(s, l, c.session)
	}
	l.list = append(l.list[max(0, len(l.list)-mostLate+1):], lateCreate{over, keep})
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// unexpect looks no more for what could have the name of a claim.
func (id *identity) unexpect(c *claim) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if l := id.late[c.session]; l != nil {
		l.list = slices.DeleteFunc(l.list, func(o lateCreate) bool {
			return o.dir == c.dir && (o.guid == c.guid || c.fixed && o.fixed && o.prefix == c.prefix)
		})
	}
}

// lookOut looks for late creates of a session: at once, and on each of its
// connections to come. It ends with the session, or when nobody redials, or when
// all have been found.
func (id *identity) lookOut(s *zk.Session, l *lateCreates, session int64) {
	for s.ID() == session {
		next, err := s.Successor(canceled)
		if errors.Is(s.Err(), zk.ErrClosed) {
			id.giveAway(l)
		}
		if err == nil {
			s = next
			continue
		}
		if !id.lookAround(s, l) {
			break
		}
		select {
		case <-l.more:
			continue
		case <-s.Done():
		}
		ctx, cancel := context.WithDeadline(context.Background(), lastHope(s))
		_, err = s.Successor(ctx)
		cancel()
		if err != nil {
			break
		}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.late[session] == l {
		delete(id.late, session)
	}
}

// giveAway looks no more for what has a given GUID: the session was detached, and
// another process may go on with that GUID.
func (id *identity) giveAway(l *lateCreates) {
	id.mu.Lock()
	defer id.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(c lateCreate) bool { return c.key.guid != "" })
}

// lookAround deletes what late creates have made, and reports whether there are
// others to come. A create is executed once, so that one that was found is over.
// It takes one round trip where there is nothing.
func (id *identity) lookAround(s *zk.Session, l *lateCreates) bool {
	id.mu.Lock()
	list := slices.Clone(l.list)
	id.mu.Unlock()
	over := map[*claim]bool{}
	if len(list) > 0 {
		ops := []zk.Op{list[0].noop()}
		at := map[zk.Op]int{}
		for _, c := range list {
			if op := c.question(); at[op] == 0 {
				at[op] = len(ops)
				ops = append(ops, op)
			}
		}
		res, _ := s.Batch(context.Background(), ops...)
		if res == nil {
			return true
		}
		for _, c := range list {
			over[c.claim] = id.undo(s, l, c, res[at[c.question()]])
		}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(c lateCreate) bool { return over[c.claim] })
	if len(l.list) == 0 && id.late[s.ID()] == l {
		delete(id.late, s.ID()) // the next one begins anew
	}
	return len(l.list) > 0
}

// question returns the request whose answer shows what the create has made.
func (c lateCreate) question() zk.Op {
	if c.fixed {
		return zk.GetOp{Path: join(c.dir, c.prefix)}
	}
	return zk.ChildrenOp{Path: c.dir}
}

// undo deletes what the create has made, if it is in the answer, and reports
// whether it is over.
func (id *identity) undo(s *zk.Session, l *lateCreates, c lateCreate, answer zk.Result) (over bool) {
	if c.fixed {
		if answer.Err != nil || !c.madeBy(answer) || id.inUse(l, c) {
			return false
		}
		err := s.Delete(context.Background(), join(c.dir, c.prefix), answer.Stat.Version)
		return !ended(s, err)
	}
	found := c.mine(answer.Children)
	if len(found) == 0 || !id.beginUndo(l, c) {
		return false
	}
	defer id.endUndo(c)
	for _, name := range found {
		if path := join(c.dir, name); path != c.keep {
			err := c.removeOwned(context.Background(), s, path, 0)
			over = err == nil || !ended(s, err)
		}
	}
	return over
}

// madeBy reports whether a znode of a fixed name can be what the create has made.
// Own sets the data of what it takes, so that no other one of this session has
// version 0, but for those that are in use.
func (c lateCreate) madeBy(r zk.Result) bool {
	switch {
	case r.Stat.EphemeralOwner != c.session:
		return false
	case c.stamp:
		return bytes.Equal(r.Data, c.data)
	}
	return c.key.kind != ownKind || r.Stat.Version == 0
}

// inUse reports whether a claim of this process has the name, or it is not looked
// for any more. One that begins after this finds the znode, and sets its data
// before it is deleted, or makes it anew.
func (id *identity) inUse(l *lateCreates, c lateCreate) bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.inUseLocked(l, c)
}

func (id *identity) inUseLocked(l *lateCreates, c lateCreate) bool {
	return id.used[c.key.name()] > 0 || !slices.Contains(l.list, c)
}

// beginUndo reports whether what has the GUID of c may be deleted. Until endUndo,
// no contender begins with that GUID, which could adopt it.
func (id *identity) beginUndo(l *lateCreates, c lateCreate) bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	if c.key.guid == "" {
		return true
	}
	if id.inUseLocked(l, c) {
		return false
	}
	if id.undoing == nil {
		id.undoing = map[nameKey]chan struct{}{}
	}
	id.undoing[c.key.name()] = make(chan struct{})
	return true
}

func (id *identity) endUndo(c lateCreate) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if over := id.undoing[c.key.name()]; over != nil {
		close(over)
		delete(id.undoing, c.key.name())
	}
}
