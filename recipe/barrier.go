package recipe

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// Barrier keeps those who Wait waiting as long as it is Set: as long as the znode
// Path exists.
type Barrier struct {
	Path string
	ACL  zk.ACL // nil: zk.ACLOpen
}

// Set sets the barrier. One that is set already stays so. To repeat it after a
// lost answer does no harm, as with all of Barrier.
func (b *Barrier) Set(ctx context.Context, s *zk.Session) error {
	if err := b.begin(ctx, s); err != nil {
		return err
	}
	return mkdirAll(ctx, s, b.Path, openACL(b.ACL))
}

// Lift lifts the barrier, if it is set.
func (b *Barrier) Lift(ctx context.Context, s *zk.Session) error {
	if err := b.begin(ctx, s); err != nil {
		return err
	}
	err := s.Delete(ctx, b.Path, zk.AnyVersion)
	if code(err) == zk.ErrNoNode {
		return nil
	}
	return err
}

// Wait waits until the barrier is not set. One that is lifted and set again
// quickly is waited for again.
func (b *Barrier) Wait(ctx context.Context, s *zk.Session) error {
	if err := b.begin(ctx, s); err != nil {
		return err
	}
	id, err := identityOf(s)
	for err == nil {
		w := newWatch(b.Path)
		var found bool
		if found, _, err = s.Exists(ctx, b.Path, w.ch); err == nil && found {
			select {
			case <-w.ch:
			case <-s.Done():
				err = at("wait at barrier", b.Path, s.Err())
			case <-ctx.Done():
				err = at("wait at barrier", b.Path, ctx.Err())
			}
		}
		id.disarm(s, w)
		if !found {
			break
		}
	}
	return err
}

func (b *Barrier) begin(ctx context.Context, s *zk.Session) error {
	if err := checkDir(b.Path); err != nil {
		return err
	}
	_, err := begin(ctx, s)
	return err
}
