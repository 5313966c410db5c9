package recipe

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// mkdirs returns the operations that make a directory and all above it.
func (id *identity) mkdirs(dir string, d dirs) []zk.Op {
	mode := zk.Container
	if old, _ := id.servers(); old || d.keep {
		mode = zk.Persistent
	}
	return append(parents(dir, d.acl), zk.CreateOp{Path: dir, ACL: d.acl, Mode: mode})
}

// parents returns the operations that make all directories above a path.
func parents(path string, acl zk.ACL) (ops []zk.Op) {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			ops = append(ops, zk.CreateOp{Path: path[:i], ACL: acl, Mode: zk.Persistent})
		}
	}
	return ops
}

// firstFailure returns why directories could not be made, one below the other;
// nil: what is missing was there, and has gone again. That a parent may not be
// written to counts only because something below it is missing.
func firstFailure(res []zk.Result) error {
	for i, r := range res {
		if r.Err != nil && code(r.Err) != zk.ErrExists && (i == 0 || code(r.Err) != zk.ErrNoNode) {
			return r.Err
		}
	}
	return nil
}

// mkdirAll makes a directory, and those above it, as persistent znodes. What
// exists already may be of any kind. The root is never made: below a chroot that
// does not exist, a create in it is ErrNoNode.
func mkdirAll(ctx context.Context, s *zk.Session, dir string, acl zk.ACL) error {
	if dir == "/" {
		return nil
	}
	_, err := s.Create(ctx, dir, nil, zk.Persistent, acl)
	for code(err) == zk.ErrNoNode {
		ops := append(parents(dir, acl), zk.CreateOp{Path: dir, ACL: acl, Mode: zk.Persistent})
		res, all := s.Batch(ctx, ops...)
		if res == nil {
			return all
		}
		err = res[len(res)-1].Err
		if err == nil || code(err) == zk.ErrExists {
			return nil
		}
		if err := firstFailure(res); err != nil {
			return err
		}
	}
	if code(err) == zk.ErrExists {
		return nil
	}
	return err
}
