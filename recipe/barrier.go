package recipe

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// Barrier makes callers of Wait wait while it is set, which is while the znode
// Path exists. After an error of the connection repeat the call.
type Barrier struct {
	Path string
	ACL  zk.ACL // nil: zk.ACLOpen
}

// Set sets the barrier. If it is set already, Set does nothing.
func (b *Barrier) Set(ctx context.Context, s *zk.Session) error {
	if _, err := b.begin(ctx, s); err != nil {
		return err
	}
	return mkdirAll(ctx, s, b.Path, openACL(b.ACL))
}

// Lift lifts the barrier. If it is not set, Lift does nothing.
func (b *Barrier) Lift(ctx context.Context, s *zk.Session) error {
	if _, err := b.begin(ctx, s); err != nil {
		return err
	}
	return notNoNode(s.Delete(ctx, b.Path, zk.AnyVersion))
}

// Wait waits until the barrier is not set. If it is lifted and soon set again,
// Wait may go on waiting.
func (b *Barrier) Wait(ctx context.Context, s *zk.Session) error {
	id, err := b.begin(ctx, s)
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

func (b *Barrier) begin(ctx context.Context, s *zk.Session) (*identity, error) {
	if err := checkDir(b.Path); err != nil {
		return nil, err
	}
	return begin(ctx, s)
}
