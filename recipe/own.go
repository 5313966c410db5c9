package recipe

import (
	"bytes"
	"context"
	"fmt"

	"github.com/seed-9f8420c6/zk"
)

// Own creates an ephemeral znode at a fixed path, and missing parents as
// persistent znodes. nil data is stored as null, and a nil acl is zk.ACLOpen.
//
// If the znode exists and belongs to this session, Own sets its data and
// returns a Hold on it. Own waits until the znode is gone if it belongs to
// another session, such as that of this program before its restart, if it is
// not ephemeral, or if this session is deleting it, as after a Release without
// a connection. Own never deletes it. If ctx ends meanwhile, the error matches
// ErrNotOwner and has the id of that session.
//
// After an error of the connection, call Own again with the successor. The znode
// is kept for that call for one session timeout, and then deleted. After any
// other error it is deleted at once.
func Own(ctx context.Context, s *zk.Session, path string, data []byte, acl zk.ACL) (*Hold, error) {
	o := &owned{path: path, data: data, acl: acl, set: true}
	return o.acquire(ctx, s, placeKey{kind: ownKind, dir: path}, "")
}

// owned is an ephemeral znode of a fixed name, which one session has at a time.
type owned struct {
	path  string
	data  []byte
	acl   zk.ACL
	set   bool // the data of a znode that exists already
	stamp bool // the data says which claim of this session has made it
	pass  bool // a znode of somebody else is ErrExists, and not waited for
	stays bool // until the session ends
}

func (o *owned) acquire(ctx context.Context, s *zk.Session, key placeKey, guid string) (*Hold, error) {
	if err := checkDir(o.path); err != nil {
		return nil, err
	}
	id, err := begin(ctx, s)
	if err != nil {
		return nil, err
	}
	c, err := o.claim(ctx, s, id, key, guid)
	if err != nil {
		return nil, err
	}
	return newHold(s, id, c), nil
}

// claim makes the znode, or goes on with what an earlier call made.
func (o *owned) claim(ctx context.Context, s *zk.Session, id *identity, key placeKey, guid string) (*claim, error) {
	key.session, key.dir = s.ID(), fullPath(s, key.dir)
	c := id.take(key)
	if c == nil {
		c = o.fresh(id, key, guid)
	}
	return c, o.settle(ctx, s, id, c)
}

// fresh returns a claim that has nothing yet.
func (o *owned) fresh(id *identity, key placeKey, guid string) *claim {
	dir, name := split(o.path)
	if guid == "" {
		guid = newGUID()
	}
	c := &claim{session: key.session, key: key, dir: dir, fixed: true, stamp: o.stamp, stays: o.stays}
	c.rename(guid, name)
	if key.kind == ownKind {
		id.use(key)
	}
	return c
}

// settle makes the claim's znode; after an error the claim is seen to.
func (o *owned) settle(ctx context.Context, s *zk.Session, id *identity, c *claim) error {
	c.data = o.data
	if err := o.stand(ctx, s, id, c); err != nil {
		return id.leave(ctx, s, at("own", join(c.dir, c.prefix), err), c)
	}
	return nil
}

// stand returns when the claim's znode exists and is this session's.
func (o *owned) stand(ctx context.Context, s *zk.Session, id *identity, c *claim) error {
	for {
		if c.path == "" {
			lost := c.unsure
			_, err := c.create(ctx, s, id, dirs{acl: openACL(o.acl), keep: true})
			c.late = c.late || lost && err == nil
			if code(err) == zk.ErrExists {
				if err = o.meet(ctx, s, id, c); err == nil {
					continue
				}
			}
			if err != nil {
				return err
			}
		}
		if c.czxid != 0 {
			return nil
		}
		if _, err := c.look(ctx, s, id, ""); err != nil {
			return err
		}
	}
}

// meet deals with a znode that exists already: it takes it, or waits until it is
// gone.
func (o *owned) meet(ctx context.Context, s *zk.Session, id *identity, c *claim) error {
	path := join(c.dir, c.prefix)
	w := newWatch(path)
	defer id.disarm(s, w)
	found, st, err := s.Exists(ctx, path, w.ch)
	if err != nil || !found {
		return err
	}
	if st.EphemeralOwner == c.session {
		over := id.departures(c.key)
		if over == nil {
			return o.take(ctx, s, c, st)
		}
		select { // until then it may go at any time, and its name to another session
		case <-over:
			return nil
		case <-s.Done():
			return fmt.Errorf("waiting until %s is deleted: %w", path, s.Err())
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s is deleted: %w", path, ctx.Err())
		}
	}
	if o.pass {
		return zk.ErrExists
	}
	owner := fmt.Sprintf("session 0x%x has it", st.EphemeralOwner)
	if st.EphemeralOwner == 0 {
		owner = "it is not ephemeral"
	}
	select {
	case <-w.ch:
		return nil
	case <-s.Done():
		return fmt.Errorf("waiting until %s is gone: %s: %w", path, owner, s.Err())
	case <-ctx.Done():
		return fmt.Errorf("%w: %s: %w", ErrNotOwner, owner, ctx.Err())
	}
}

// take makes a znode of this session the claim's.
func (o *owned) take(ctx context.Context, s *zk.Session, c *claim, st zk.Stat) error {
	path := join(c.dir, c.prefix)
	if o.stamp {
		data, st, err := s.Get(ctx, path, nil)
		switch {
		case code(err) == zk.ErrNoNode:
			return nil
		case err != nil:
			return err
		case !bytes.Equal(data, c.data):
			return zk.ErrExists // another claim's
		}
		c.path, c.czxid, c.unsure = path, st.Czxid, false
		return nil
	}
	if o.set {
		now, err := s.Set(ctx, path, c.data, st.Version)
		switch {
		case code(err) == zk.ErrVersion, code(err) == zk.ErrNoNode,
			err == nil && now.Czxid != st.Czxid: // it went, and the name is another's by now
			return nil // look again
		case err != nil:
			return err
		}
	}
	c.path, c.czxid, c.unsure = path, st.Czxid, false
	return nil
}
