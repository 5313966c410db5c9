package tree

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// Snapshot returns a subtree as it was at one zxid, and that zxid. It never has
// half of a transaction. It leaves no watch behind. If the znode does not exist,
// the error is zk.ErrNoNode. A writer that never pauses may keep Snapshot from
// ending.
//
// Servers since 3.6 support it. On an older one the first call ends the
// connection, and later calls return zk.ErrUnimplemented without a request.
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
