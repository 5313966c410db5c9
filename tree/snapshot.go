package tree

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// Snapshot returns a subtree as it was at one zxid, which it returns too: no
// transaction is seen in half. Servers since 3.6 can do that; of an older one
// the first call costs the connection, and those after it return
// [zk.ErrUnimplemented] without asking. [zk.ErrNoNode]: the znode does not
// exist. A writer that never rests may keep it from coming to an end. It leaves
// no watch behind.
func Snapshot(ctx context.Context, s *zk.Session, path string) (*Node, int64, error) {
	if lackOf(s).has(addWatch) {
		return nil, 0, &refusal{"snapshot", path, zk.ErrUnimplemented, "the server has no recursive watches"}
	}
	c := Cache{Root: path}
	if err := c.runOn(ctx, s, true); err != nil {
		return nil, 0, err
	}
	top := c.tree.tree(path)
	if top == nil {
		return nil, 0, &zk.OpError{Op: "snapshot", Path: path, Err: zk.ErrNoNode}
	}
	return top, c.zxid, nil
}
