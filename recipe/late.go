package recipe

import (
	"context"
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
// the znode at keep. A given GUID is not looked for: another contender may have it
// by then, and finds what there is. Nor is a fixed name.
func (id *identity) expect(s *zk.Session, c *claim, keep string) {
	if !c.late || c.fixed || c.key.guid != "" {
		return
	}
	over := &claim{session: c.session, dir: c.dir, prefix: c.prefix, guid: c.guid}
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

// lookOut looks for late creates of a session: at once, and on each of its
// connections to come. It ends with the session, or when nobody redials, or when
// all have been found.
func (id *identity) lookOut(s *zk.Session, l *lateCreates, session int64) {
	for {
		last, renewed := newest(s)
		if s = last; s.ID() != session || renewed != nil || !id.lookAround(s, l) {
			break
		}
		select {
		case <-l.more:
			continue
		case <-s.Done():
		}
		ctx, cancel := context.WithDeadline(context.Background(), lastHope(s))
		_, err := s.Successor(ctx)
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

// lookAround deletes what late creates have made, and reports whether there are
// others to come. A create is executed once, so that one that was found is over.
// It takes one round trip where there is nothing.
func (id *identity) lookAround(s *zk.Session, l *lateCreates) bool {
	id.mu.Lock()
	list := slices.Clone(l.list)
	id.mu.Unlock()
	ops := []zk.Op{list[0].barrier()}
	at := map[string]int{}
	for _, c := range list {
		if at[c.dir] == 0 {
			at[c.dir] = len(ops)
			ops = append(ops, zk.ChildrenOp{Path: c.dir})
		}
	}
	res, _ := s.Batch(context.Background(), ops...)
	if res == nil {
		return true
	}
	over := map[*claim]bool{}
	for _, c := range list {
		for _, name := range c.mine(res[at[c.dir]].Children) {
			if path := join(c.dir, name); path != c.keep {
				err := c.removeOwned(context.Background(), s, path, 0)
				over[c.claim] = err == nil || !ended(s, err)
			}
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
