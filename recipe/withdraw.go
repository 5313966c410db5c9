package recipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// This file deletes what a claim has, when its call has ended or its hold is over.

// remove deletes what this claim has on the server. nil: nothing is left.
func (c *claim) remove(ctx context.Context, s *zk.Session) error {
	if !c.exists() {
		return nil
	}
	if c.fixed {
		return c.removeFixed(ctx, s)
	}
	if !c.unsure && s.ID() == c.session && c.key.guid == "" { // nobody else's, ever
		return notNoNode(s.Delete(ctx, c.path, zk.AnyVersion))
	}
	if !c.unsure {
		return c.removeOwned(ctx, s, c.path, c.czxid)
	}
	res, err := s.Batch(ctx, c.noop(), zk.ChildrenOp{Path: c.dir})
	if res == nil {
		return err
	}
	if err := res[1].Err; err != nil {
		if code(err) == zk.ErrNoNode {
			c.late = true
			return nil
		}
		return err
	}
	found := c.mine(res[1].Children)
	c.late = c.late || len(found) == 0
	for _, name := range found {
		if err := c.removeOwned(ctx, s, join(c.dir, name), 0); err != nil {
			return err
		}
	}
	return nil
}

// removeOwned deletes a znode if it is of the claim's session, and of that
// transaction where czxid is not 0. A later contender with the same given GUID
// can have the name too: numbers come again where they end, and in a directory
// that was made again. A DeleteOp asks for no czxid. So one case is left: within
// this one round trip the znode goes and the name comes again, with the same
// version.
func (c *claim) removeOwned(ctx context.Context, s *zk.Session, path string, czxid int64) error {
	for {
		found, st, err := s.Exists(ctx, path, nil)
		if err != nil || !found || st.EphemeralOwner != c.session || czxid != 0 && st.Czxid != czxid {
			return err
		}
		if err = notNoNode(s.Delete(ctx, path, st.Version)); code(err) != zk.ErrVersion {
			return err
		}
	}
}

// removeFixed deletes a znode whose name others may use too, if it is this claim's.
func (c *claim) removeFixed(ctx context.Context, s *zk.Session) error {
	path := join(c.dir, c.prefix)
	for {
		res, err := s.Batch(ctx, c.noop(), zk.GetOp{Path: path})
		if res == nil {
			return err
		}
		got := res[1]
		switch {
		case got.Err != nil && code(got.Err) != zk.ErrNoNode:
			return got.Err
		case got.Err != nil, got.Stat.EphemeralOwner != c.session, c.stamp && !bytes.Equal(got.Data, c.data):
			c.late = c.late || c.unsure
			return nil
		case c.czxid != 0 && got.Stat.Czxid != c.czxid && !c.unsure:
			return nil // another one of this session
		}
		err = s.Delete(ctx, path, got.Stat.Version)
		if c := code(err); c == zk.ErrNoNode {
			return nil
		} else if c != zk.ErrVersion {
			return err
		}
	}
}

// withdraw deletes what a claim has, over as many connections as that takes. It
// ends with the session, or when nobody redials.
func (id *identity) withdraw(s *zk.Session, c *claim) error {
	finished := true
	defer func() {
		if finished {
			id.finish(s, c)
		}
	}()
	for {
		err := c.remove(context.Background(), s)
		if code(err) == zk.ErrThrottled {
			time.Sleep(s.Timeout() / 10)
			continue
		}
		if err == nil || !ended(s, err) || zk.Hopeless(err) {
			return err
		}
		ctx, cancel := context.WithDeadline(context.Background(), lastHope(s))
		next, none := s.Successor(ctx)
		cancel()
		switch {
		case errors.Is(none, zk.ErrClosed):
			return nil // and the znode has gone with the session
		case none != nil: // if the session lives after all, the next call of a recipe goes on
			finished = false
			id.strand(c)
			return err
		}
		s = next
	}
}

// finish takes a claim's watches away, and lets its name be used again.
func (id *identity) finish(s *zk.Session, c *claim) {
	id.disarm(s, c.own)
	id.disarm(s, c.ahead)
	c.own, c.ahead = nil, nil
	id.departed(c)
	if c.key.guid != "" || c.key.kind == ownKind {
		id.free(c.key)
	}
	id.expect(s, c, "")
}

// giveUp deletes what a claim has. It waits for that until ctx ends, whatever
// becomes of the connection; what is left then is withdrawn by a goroutine. soon:
// it does not wait for another connection.
func (id *identity) giveUp(ctx context.Context, s *zk.Session, c *claim, soon bool) error {
	err := c.remove(ctx, s)
	if err == nil || ctx.Err() == nil && !ended(s, err) || zk.Hopeless(err) {
		id.finish(s, c)
		return err
	}
	done := make(chan error, 1)
	go func() { done <- id.withdraw(s, c) }()
	if soon {
		return err
	}
	select {
	case err = <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("recipe: %s is deleted as soon as there is a connection, or ends with the session: %w", c.path, err)
	}
}

// leave ends a call that has failed: it keeps the places of its claims for the
// next call if the connection has ended, and else deletes what they have.
func (id *identity) leave(ctx context.Context, s *zk.Session, err error, claims ...*claim) error {
	budget, cancel := patience(s)
	defer cancel()
	for _, c := range claims {
		switch {
		case !c.exists():
			id.finish(s, c)
		case ctx.Err() == nil && ended(s, err) && !zk.Hopeless(err):
			id.keep(s, c.key, c)
		default:
			id.depart(c)
			id.giveUp(budget, s, c, true)
		}
	}
	return err
}
