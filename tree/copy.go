package tree

import (
	"context"

	"github.com/seed-9f8420c6/zk"
)

// Copy copies the znode srcPath and all znodes below it to dstPath, which may be
// on other servers. It creates missing znodes above dstPath. It reads as Walk
// does and writes as Import does, so the copy is not a snapshot. At most about 32
// MiB of the data are in memory at a time. After a lost connection call it again,
// with Options.Overwrite.
//
// Neither path may be within the other. If both Sessions are of one session,
// the error is zk.ErrBadArguments. Otherwise Copy does not notice, and does not
// end.
func Copy(ctx context.Context, dst *zk.Session, dstPath string, src *zk.Session, srcPath string, opt Options) error {
	l, err := newLoader("copy", dst, dstPath, opt)
	if err != nil {
		return err
	}
	if to, from := full(dst, dstPath), full(src, srcPath); dst.Watches() == src.Watches() && (within(to, from) || within(from, to)) {
		return &refusal{"copy", dstPath, zk.ErrBadArguments, "the one is within the other"}
	}
	r := newReader(src)
	r.first, r.grow = min(r.first, 4), 4
	c := copier{l: l, src: src, from: srcPath}
	err = r.walk(ctx, srcPath, func(path string, res *zk.Result) error { return c.add(ctx, newNode(path, res)) })
	if err == nil {
		err = c.flush(ctx)
	}
	if err == nil {
		err = l.finish(ctx)
	}
	return err
}

// copier hands nodes to a loader, with their ACLs.
type copier struct {
	l    *loader
	src  *zk.Session
	from string
	wait []*Node // for their ACLs
	size int
}

func (c *copier) add(ctx context.Context, n *Node) error {
	c.wait = append(c.wait, n)
	c.size += len(n.Data)
	if c.l.opt.ACLs && len(c.wait) < 512 && c.size < wantedReply {
		return nil
	}
	return c.flush(ctx)
}

func (c *copier) flush(ctx context.Context) error {
	nodes := c.wait
	c.wait, c.size = nil, 0
	acls := make([]zk.ACL, len(nodes))
	if c.l.opt.ACLs {
		var err error
		if nodes, acls, _, err = readACLs(ctx, c.src, nodes); err != nil {
			return err
		}
	}
	for i, n := range nodes {
		z := znode{
			path: rebase(c.l.to, relative(n.Path, c.from)), data: n.Data, acl: acls[i], mode: zk.Persistent,
			ephemeral: n.Stat.EphemeralOwner != 0,
		}
		if err := checkTarget("copy", c.l.s, z.path); err != nil {
			return err
		}
		if err := c.l.put(ctx, z); err != nil {
			return err
		}
	}
	return nil
}
