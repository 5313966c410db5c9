package recipe

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-9f8420c6/zk"
)

// DoubleBarrier lets a number of members begin together and end together.
type DoubleBarrier struct {
	Path    string
	Members int
	Data    []byte // of the member's znode, for people
	ACL     zk.ACL // nil: zk.ACLOpen
}

// ready is the znode that says that all members are there.
const ready = "ready"

// Enter joins, and waits until there are Members of them. The Hold is the
// membership. When it is Lost, the others may go on without this member. Release
// gives it up without waiting for the others, which Leave does.
//
// After an error of the connection the member stays for one session timeout, for
// Enter with the successor. After any other error it has left.
func (b *DoubleBarrier) Enter(ctx context.Context, s *zk.Session) (*Hold, error) {
	id, err := b.begin(ctx, s)
	if err != nil {
		return nil, err
	}
	key := placeKey{s.ID(), memberKind, Curator, fullPath(s, b.Path), string(b.Data), ""}
	c := id.take(key)
	if c == nil {
		if err := b.clear(ctx, s); err != nil {
			return nil, at("enter", b.Path, err)
		}
		c = newClaim(s, key, b.Path, b.Data, Curator, memberKind)
		c.fixed = true
	} else if _, err := c.recover(ctx, s); err != nil && err != errAgain {
		return nil, id.leave(ctx, s, at("enter", b.Path, err), c)
	}
	round, err := b.stand(ctx, s, id, c)
	if err != nil {
		return nil, id.leave(ctx, s, at("enter", b.Path, err), c)
	}
	h := newHold(s, id, c)
	h.in.round = round
	return h, nil
}

func (b *DoubleBarrier) begin(ctx context.Context, s *zk.Session) (*identity, error) {
	if err := checkDir(b.Path); err != nil {
		return nil, err
	}
	if b.Members <= 0 {
		return nil, badArgument("DoubleBarrier.Members is %d", b.Members)
	}
	return begin(ctx, s)
}

// members returns those of a list, in order, and whether the round has begun.
func members(names []string) (list []string, begun bool) {
	for _, name := range names {
		if name == ready {
			begun = true
		} else {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list, begun
}

// look lists the barrier, and reads ready before that; its zero Stat says that
// there is none.
func (b *DoubleBarrier) look(ctx context.Context, s *zk.Session) (names []string, st zk.Stat, err error) {
	res, err := s.Batch(ctx, zk.ExistsOp{Path: join(b.Path, ready)}, zk.ChildrenOp{Path: b.Path})
	if res == nil {
		return nil, st, err
	}
	for _, r := range res {
		if r.Err != nil && code(r.Err) != zk.ErrNoNode {
			return nil, st, r.Err
		}
	}
	return res[1].Children, res[0].Stat, nil
}

// remove deletes the ready that was read. That of another round can have the same
// version: where one comes in between, it is deleted, and those of its members
// that have not been woken yet wait for the others.
func (b *DoubleBarrier) remove(ctx context.Context, s *zk.Session, read zk.Stat) error {
	err := s.Delete(ctx, join(b.Path, ready), read.Version)
	if c := code(err); c == zk.ErrNoNode || c == zk.ErrVersion {
		return nil
	}
	return err
}

// clear deletes what is left of a round whose members are all gone.
func (b *DoubleBarrier) clear(ctx context.Context, s *zk.Session) error {
	names, st, err := b.look(ctx, s)
	if list, begun := members(names); err != nil || !begun || len(list) > 0 || st.Czxid == 0 {
		return err
	}
	return b.remove(ctx, s, st)
}

// stand makes the member and waits until the round begins. It returns those who
// take part.
func (b *DoubleBarrier) stand(ctx context.Context, s *zk.Session, id *identity, c *claim) (round []string, err error) {
	path := join(b.Path, ready)
	woken := false // ready was made while this member was there
	for {
		if c.path == "" {
			woken = false
			if _, err := c.create(ctx, s, id, dirs{acl: openACL(b.ACL), keep: true}); err != nil && code(err) != zk.ErrExists {
				return nil, err
			}
			c.path = join(b.Path, c.prefix)
		}
		if _, err := c.look(ctx, s, id, ""); err != nil {
			return nil, err
		}
		if c.path == "" {
			continue
		}
		w := newWatch(path)
		began, created, err := s.Exists(ctx, path, w.ch)
		var names []string
		if err == nil {
			names, _, err = s.Children(ctx, b.Path, nil)
		}
		if err != nil {
			id.disarm(s, w)
			return nil, err
		}
		list, _ := members(names)
		if began && !woken { // while this member was away, or before it came
			if woken, err = b.begun(ctx, s, list, created.Czxid); err != nil {
				id.disarm(s, w)
				return nil, err
			}
		}
		switch {
		case !slices.Contains(list, c.prefix):
			c.restart(s, id)
		case woken:
			id.disarm(s, w)
			return list, nil
		case len(list) >= b.Members:
			id.disarm(s, w)
			if err := b.announce(ctx, s, path, created); err != nil {
				return nil, err
			}
			return list, nil
		default:
			woken, err = b.wait(ctx, s, c, w)
		}
		id.disarm(s, w)
		if err != nil {
			return nil, err
		}
	}
}

// wait waits for ready, and reports whether it was made.
func (b *DoubleBarrier) wait(ctx context.Context, s *zk.Session, c *claim, w *watch) (created bool, err error) {
	select {
	case ev := <-w.ch:
		return ev.Type == zk.Created, nil
	case <-c.own.ch:
		c.own = nil
		return false, nil
	case <-s.Done():
		return false, fmt.Errorf("waiting: %w", s.Err())
	case <-ctx.Done():
		return false, fmt.Errorf("waiting: %w", ctx.Err())
	}
}

// begun reports whether ready is of the round of one of the members: it was made
// after that member. Else it is left from an earlier one.
func (b *DoubleBarrier) begun(ctx context.Context, s *zk.Session, list []string, created int64) (bool, error) {
	ops := make([]zk.Op, len(list))
	for i, name := range list {
		ops[i] = zk.ExistsOp{Path: join(b.Path, name)}
	}
	res, err := s.Batch(ctx, ops...)
	if res == nil {
		return false, err
	}
	for _, r := range res {
		if r.Err == nil && r.Stat.Czxid < created {
			return true, nil
		}
		if r.Err != nil && code(r.Err) != zk.ErrNoNode {
			return false, r.Err
		}
	}
	return false, nil
}

// announce makes ready. One that is left from an earlier round gives way to it in
// the same transaction, so that those who look find one or the other.
func (b *DoubleBarrier) announce(ctx context.Context, s *zk.Session, path string, stale zk.Stat) error {
	made := zk.CreateOp{Path: path, ACL: openACL(b.ACL)}
	if stale.Czxid != 0 {
		res, err := s.Multi(ctx, zk.DeleteOp{Path: path, Version: stale.Version}, made)
		switch {
		case err == nil, res != nil && res[0].Err == zk.ErrVersion: // another one has come
			return nil
		case res == nil || res[0].Err != zk.ErrNoNode:
			return err
		}
	}
	_, err := s.Create(ctx, path, nil, made.Mode, made.ACL)
	if code(err) == zk.ErrExists {
		return nil
	}
	return err
}

// Leave releases the Hold of Enter, and waits until all members of the round have
// left or their sessions have ended. After an error of the connection, or of ctx,
// the membership may be over or not: call Leave again. ErrBadArguments: h is not
// a membership of this barrier, and nothing was sent.
func (b *DoubleBarrier) Leave(ctx context.Context, s *zk.Session, h *Hold) error {
	id, err := b.begin(ctx, s)
	if err != nil {
		return err
	}
	in := h.inner()
	if in == nil {
		return errZeroHold
	}
	if in.claim.key.kind != memberKind || in.claim.key.dir != fullPath(s, b.Path) {
		return badArgument("%s is no member of %s", in.claim.path, b.Path)
	}
	_, me := split(in.claim.path)
	for {
		w, err := b.step(ctx, s, in, me)
		if err != nil {
			return at("leave", b.Path, err)
		}
		if w == nil {
			return nil
		}
		select {
		case <-w.ch:
		case <-s.Done():
			err = s.Err()
		case <-ctx.Done():
			err = ctx.Err()
		}
		id.disarm(s, w)
		if err != nil {
			return at("leave", b.Path, err)
		}
	}
}

// step does what is to be done next by a member that leaves, and returns the
// watch to wait for; nil: all have left. The lowest member stays until the others
// have gone, and clears the barrier for the next round.
func (b *DoubleBarrier) step(ctx context.Context, s *zk.Session, in *holding, me string) (*watch, error) {
	for {
		names, st, err := b.look(ctx, s)
		if err != nil {
			return nil, err
		}
		var left []string
		for _, name := range in.round {
			if slices.Contains(names, name) {
				left = append(left, name)
			}
		}
		there := slices.Contains(left, me)
		if len(left) == 0 || len(left) == 1 && there {
			if there && st.Czxid != 0 {
				if err := b.remove(ctx, s, st); err != nil {
					return nil, err
				}
			}
			return nil, b.give(ctx, s, in)
		}
		wait := left[0]
		switch {
		case there && left[0] == me:
			wait = left[len(left)-1]
		case there:
			if err := b.give(ctx, s, in); err != nil {
				return nil, err
			}
		}
		w := newWatch(join(b.Path, wait))
		found, _, err := s.Exists(ctx, w.path, w.ch)
		if err != nil {
			return nil, err
		}
		if found {
			return w, nil
		}
		in.id.disarm(s, w)
	}
}

// give gives the membership up. That it was over before is no error, and what a
// lost connection has left of it is deleted by the next one.
func (b *DoubleBarrier) give(ctx context.Context, s *zk.Session, in *holding) error {
	err := in.release(true)
	if err == nil || errors.Is(err, ErrNotHeld) {
		return nil
	}
	return notNoNode(s.Delete(ctx, in.claim.path, zk.AnyVersion))
}
