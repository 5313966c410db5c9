package recipe

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed-9f8420c6/zk"
)

// line is where contenders stand: a directory, and how one of them joins.
type line struct {
	what   string // for errors
	dir    string
	kind   kind
	layout Layout
	data   []byte
	acl    zk.ACL
	keep   bool // the directory is a persistent znode
	guid   string
}

// key returns the key of places in the line. A given GUID says enough.
func (l *line) key(s *zk.Session) placeKey {
	data := string(l.data)
	if l.guid != "" {
		data = ""
	}
	return placeKey{s.ID(), l.kind, l.layout, fullPath(s, l.dir), data, l.guid}
}

func (l *line) dirs() dirs { return dirs{acl: openACL(l.acl), keep: l.keep} }

// check refuses what is wrong with a line, before anything is sent.
func (l *line) check() error {
	if err := checkDir(l.dir); err != nil {
		return err
	}
	if l.layout > Kazoo {
		return badArgument("unknown Layout %d", l.layout)
	}
	return checkGUID(l.guid)
}

// acquire waits until a contender is first, and returns the hold on its znode.
func (l *line) acquire(ctx context.Context, s *zk.Session, wait bool) (*Hold, error) {
	id, c, err := l.enter(ctx, s, wait)
	if err != nil {
		return nil, err
	}
	return newHold(s, id, c), nil
}

// enter joins the line, or goes on where this process stood in it, and returns
// when nothing ahead excludes this contender. After an error the contender is
// seen to: see identity.leave.
func (l *line) enter(ctx context.Context, s *zk.Session, wait bool) (*identity, *claim, error) {
	if err := l.check(); err != nil {
		return nil, nil, err
	}
	id, err := begin(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if heldBy(ctx, id, s, l.dir) {
		return nil, nil, fmt.Errorf("%w: this context ends with a hold on %s", ErrDeadlock, l.dir)
	}
	key := l.key(s)
	c := id.take(key)
	kept := c != nil
	if !kept {
		if l.guid != "" {
			if err := id.reserve(ctx, key); err != nil {
				return nil, nil, err
			}
		}
		c = newClaim(s, key, l.dir, l.data, l.layout, l.kind)
	}
	if err := l.stand(ctx, s, id, c, kept || l.guid != "", wait); err != nil {
		return nil, nil, id.leave(ctx, s, at(l.what, l.dir, err), c)
	}
	return id, c, nil
}

// stand waits in the line until nothing ahead excludes the claim's znode.
func (l *line) stand(ctx context.Context, s *zk.Session, id *identity, c *claim, look, wait bool) error {
	var names []string
	var err error
	if look {
		if names, err = c.recover(ctx, s); err != nil && err != errAgain {
			return err
		}
	}
	for {
		if names == nil || c.path == "" {
			if names, err = l.list(ctx, s, id, c); err != nil {
				return err
			}
		}
		if len(c.mine(names)) > 1 {
			if names, err = c.adopt(ctx, s, names); err != nil && err != errAgain {
				return err
			}
			continue
		}
		queue, err := inOrder(ctx, s, l.dir, names)
		if err != nil {
			return err
		}
		names = nil
		i := indexOf(queue, c.path)
		if i < 0 { // deleted by somebody, perhaps with the directory: again, at the end
			c.restart(s, id)
			continue
		}
		if c.own != nil && c.own.path != c.path {
			id.disarm(s, c.own)
			c.own = nil
		}
		first := ""
		if b := blocker(queue, i); b >= 0 {
			first = join(l.dir, queue[b].name)
		}
		if first != "" && !wait {
			return ErrLocked
		}
		if first == "" && c.czxid != 0 {
			id.disarm(s, c.ahead)
			c.ahead = nil
			return nil
		}
		gone, err := c.look(ctx, s, id, first)
		switch {
		case err != nil:
			return err
		case gone:
		case first == "" && c.path != "":
			return nil
		case first != "" && c.path != "":
			if err := c.wait(ctx, s); err != nil {
				return err
			}
		}
	}
}

// list makes the claim's znode where there is none, and lists the directory.
func (l *line) list(ctx context.Context, s *zk.Session, id *identity, c *claim) ([]string, error) {
	for {
		if c.path == "" {
			res, err := c.create(ctx, s, id, l.dirs(), zk.ChildrenOp{Path: l.dir})
			switch {
			case err != nil:
				return nil, err
			case code(res[0].Err) == zk.ErrNoNode: // the directory is gone already
				c.restart(s, id)
				continue
			}
			return res[0].Children, res[0].Err
		}
		names, _, err := s.Children(ctx, l.dir, nil)
		if code(err) != zk.ErrNoNode {
			return names, err
		}
		c.restart(s, id)
	}
}

func indexOf(queue []entry, path string) int {
	_, name := split(path)
	for i := range queue {
		if queue[i].name == name {
			return i
		}
	}
	return -1
}

// restart notes that the znode is gone.
func (c *claim) restart(s *zk.Session, id *identity) {
	id.disarm(s, c.own)
	id.disarm(s, c.ahead)
	c.own, c.ahead = nil, nil
	c.forget()
}

// look reads the own znode and the one ahead, with a watch on each that has none
// yet. gone: the one ahead is not there any more. Where the own one is gone, or
// is not this session's, c.path is empty.
func (c *claim) look(ctx context.Context, s *zk.Session, id *identity, ahead string) (gone bool, err error) {
	if c.ahead != nil && c.ahead.path != ahead {
		id.disarm(s, c.ahead)
		c.ahead = nil
	}
	var ops []zk.Op
	var own, next *watch
	if c.own == nil {
		own = newWatch(c.path)
		ops = append(ops, zk.GetOp{Path: c.path, Watch: own.ch})
	}
	if ahead != "" && c.ahead == nil {
		next = newWatch(ahead)
		ops = append(ops, zk.GetOp{Path: ahead, Watch: next.ch})
	}
	if len(ops) == 0 {
		return false, nil
	}
	res, err := s.Batch(ctx, ops...)
	if res == nil {
		return false, err
	}
	if own != nil {
		switch r := res[0]; {
		case r.Err == nil && r.Stat.EphemeralOwner == c.session:
			c.own, c.czxid = own, r.Stat.Czxid
		case r.Err == nil || code(r.Err) == zk.ErrNoNode:
			id.disarm(s, own)
			c.restart(s, id)
		default:
			return false, r.Err
		}
	}
	if next == nil {
		return false, nil
	}
	switch r := res[len(res)-1]; {
	case r.Err == nil:
		c.ahead = next
	case code(r.Err) == zk.ErrNoNode:
		return true, nil
	case code(r.Err) == zk.ErrNoAuth: // of somebody who keeps the data to himself
		return c.lookUnread(ctx, s, id, ahead)
	default:
		return false, r.Err
	}
	return false, nil
}

// lookUnread watches the directory for a znode that may not be read, and so not
// be watched.
func (c *claim) lookUnread(ctx context.Context, s *zk.Session, id *identity, ahead string) (gone bool, err error) {
	w := newWatch(c.dir)
	names, _, err := s.Children(ctx, c.dir, w.ch)
	if err != nil {
		return code(err) == zk.ErrNoNode, notNoNode(err)
	}
	if _, name := split(ahead); !slices.Contains(names, name) {
		id.disarm(s, w)
		return true, nil
	}
	c.ahead = w
	return false, nil
}

// wait waits for an event of the own znode or the one ahead.
func (c *claim) wait(ctx context.Context, s *zk.Session) error {
	select {
	case <-c.own.ch:
		c.own = nil // look tells what has become of it
		return nil
	case <-c.ahead.ch:
		c.ahead = nil
		return nil
	case <-s.Done():
		return fmt.Errorf("waiting: %w", s.Err())
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", ctx.Err())
	}
}
