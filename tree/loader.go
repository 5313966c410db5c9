package tree

import (
	"context"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

const multiTries = 5 // of a Multi whose znodes others make and delete meanwhile

// loader writes znodes that come parents first.
type loader struct {
	s    *zk.Session
	to   string
	opt  Options
	made *batcher
	sets *batcher        // of znodes that existed
	acls *batcher        // theirs
	keep map[string]bool // what Mirror leaves
	some bool            // something is to be written, or was

	multi []znode // of the next Multi
}

func newLoader(op string, s *zk.Session, to string, opt Options) (*loader, error) {
	if err := checkTarget(op, s, to); err != nil {
		return nil, err
	}
	if why := badPath(to); why != "" {
		return nil, &refusal{op, to, zk.ErrBadPath, why}
	}
	switch {
	case opt.Mirror && !opt.Overwrite:
		return nil, &refusal{op, to, zk.ErrBadArguments, "Mirror without Overwrite"}
	case opt.Atomic < 0:
		return nil, &refusal{op, to, zk.ErrBadArguments, "Atomic is below zero"}
	}
	l := &loader{s: s, to: to, opt: opt, keep: make(map[string]bool)}
	took := func(_ zk.Op, res *zk.Result) error { return errors.WithStack(res.Err) }
	l.made, l.sets, l.acls = newBatcher(s, l.tookCreate), newBatcher(s, took), newBatcher(s, took)
	return l, nil
}

// put writes a znode, or queues it.
func (l *loader) put(ctx context.Context, z znode) error {
	if !l.some {
		l.some = true
		if err := l.prepare(ctx); err != nil {
			return err
		}
	}
	if l.opt.Mirror {
		l.keep[z.path] = true
	}
	if z.ephemeral && !l.opt.Ephemerals {
		return nil
	}
	if l.opt.Atomic > 0 {
		l.multi = append(l.multi, z)
		if len(l.multi) < l.opt.Atomic {
			return nil
		}
		return l.flushMulti(ctx)
	}
	if err := l.made.add(ctx, l.create(&z), len(z.path)+len(z.data)+32*len(z.acl)); err != nil {
		return err
	}
	return l.overwrite(ctx)
}

// prepare makes what is missing above.
func (l *loader) prepare(ctx context.Context) error {
	up := parent(l.to)
	if up == "" || up == "/" {
		return nil
	}
	found, _, err := l.s.Exists(ctx, up, nil)
	if err != nil || found {
		return err
	}
	return MkdirAll(ctx, l.s, up, l.opt.acl())
}

func (l *loader) create(z *znode) zk.CreateOp {
	acl := z.acl
	if acl == nil {
		acl = l.opt.acl()
	}
	return zk.CreateOp{Path: z.path, Data: z.data, Mode: z.mode, ACL: acl}
}

// tookCreate looks at what became of a CreateOp.
func (l *loader) tookCreate(op zk.Op, res *zk.Result) error {
	switch {
	case res.Err == nil, !errors.Is(res.Err, zk.ErrExists) || !l.opt.Overwrite:
		return errors.WithStack(res.Err)
	}
	c := op.(zk.CreateOp)
	l.sets.queue(zk.SetOp{Path: c.Path, Data: c.Data, Version: zk.AnyVersion}) // no more than one Batch of creates
	if l.opt.ACLs {
		l.acls.queue(zk.SetACLOp{Path: c.Path, ACL: c.ACL, Version: zk.AnyVersion})
	}
	return nil
}

// overwrite sets the data and ACLs of those that existed.
func (l *loader) overwrite(ctx context.Context) error {
	if err := l.sets.flush(ctx); err != nil {
		return err
	}
	return l.acls.flush(ctx)
}

// finish writes what is queued, and deletes what Mirror says.
func (l *loader) finish(ctx context.Context) error {
	err := l.flushMulti(ctx)
	if err == nil {
		err = l.made.flush(ctx)
	}
	if err == nil {
		err = l.overwrite(ctx)
	}
	if err != nil || !l.opt.Mirror {
		return err
	}
	r := newReader(l.s)
	for again := true; again && err == nil; {
		_, again, err = r.deleteAll(ctx, l.to, l.keep)
	}
	return err
}

// flushMulti writes the queued znodes by one Multi.
func (l *loader) flushMulti(ctx context.Context) error {
	list := l.multi
	if len(list) == 0 {
		return nil
	}
	l.multi = nil
	for tries := 1; ; tries++ {
		there := make([]bool, len(list))
		if l.opt.Overwrite {
			ops := make([]zk.Op, len(list))
			for i := range list {
				ops[i] = zk.ExistsOp{Path: list[i].path}
			}
			res, err := l.s.Batch(ctx, ops...)
			for i := range res {
				there[i] = res[i].Err == nil
				if res[i].Err != nil && !errors.Is(res[i].Err, zk.ErrNoNode) {
					return errors.WithStack(res[i].Err)
				}
			}
			if len(res) == 0 {
				return errors.WithStack(err)
			}
		}
		ops := make([]zk.WriteOp, len(list))
		for i := range list {
			z := &list[i]
			ops[i] = l.create(z)
			if there[i] {
				ops[i] = zk.SetOp{Path: z.path, Data: z.data, Version: zk.AnyVersion}
				if z.acl != nil {
					l.acls.queue(zk.SetACLOp{Path: z.path, ACL: z.acl, Version: zk.AnyVersion})
				}
			}
		}
		_, err := l.s.Multi(ctx, ops...)
		if l.opt.Overwrite && tries < multiTries && (errors.Is(err, zk.ErrExists) || errors.Is(err, zk.ErrNoNode)) {
			l.acls.ops = nil // somebody was faster
			continue
		}
		if err != nil {
			return errors.WithStack(err)
		}
		return l.overwrite(ctx)
	}
}
