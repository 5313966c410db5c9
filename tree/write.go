package tree

import (
	"context"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// ErrKeep is returned by the function that Update calls, to leave the znode as it
// is.
var ErrKeep = errors.New("zk: no change")

// MkdirAll creates a persistent znode and all missing znodes above it, with the
// ACL (nil: zk.ACLOpen) and null data. Existing znodes stay as they are. It takes
// one round trip if the parent exists, else two. "/" and the server's own znodes
// are zk.ErrBadPath, and nothing is sent. A missing chroot is not created: the
// error is zk.ErrNoNode. After a lost connection call it again.
func MkdirAll(ctx context.Context, s *zk.Session, path string, acl zk.ACL) error {
	if err := checkDirectory("mkdirall", s, path); err != nil {
		return err
	}
	if acl == nil {
		acl = zk.ACLOpen
	}
	_, err := s.Create(ctx, path, nil, zk.Persistent, acl)
	for nowhere := false; errors.Is(err, zk.ErrNoNode) && !nowhere; {
		nowhere, err = mkdirs(ctx, s, path, acl)
	}
	if errors.Is(err, zk.ErrNoAuth) { // servers look at the parent's ACL before they see that the child exists
		if found, _, failed := s.Exists(ctx, path, nil); failed != nil || found {
			err = failed
		}
	}
	if err == nil || errors.Is(err, zk.ErrExists) {
		return nil
	}
	return errors.WithStack(err)
}

// mkdirs makes all of a path in one round trip, and returns what became of the
// last; or why one above could not be made, if that was the reason. nowhere: not
// even the chroot exists.
func mkdirs(ctx context.Context, s *zk.Session, path string, acl zk.ACL) (nowhere bool, err error) {
	var ops []zk.Op
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			ops = append(ops, zk.CreateOp{Path: path[:i], ACL: acl})
		}
	}
	ops = append(ops, zk.CreateOp{Path: path, ACL: acl})
	res, err := s.Batch(ctx, ops...)
	if len(res) != len(ops) || lost(err) || errors.Is(err, zk.ErrConnection) {
		return false, err
	}
	last := res[len(res)-1].Err
	if !errors.Is(last, zk.ErrNoNode) {
		return false, last
	}
	for i := len(res) - 1; i >= 0; i-- {
		if err := res[i].Err; err != nil && !errors.Is(err, zk.ErrExists) && !errors.Is(err, zk.ErrNoNode) {
			return false, err // the lowest that could not be made: its parent exists
		}
	}
	return errors.Is(res[0].Err, zk.ErrNoNode), last // or somebody deletes them meanwhile
}

// DeleteAll deletes a znode with all below it. It returns when the znode does not
// exist any more: it also deletes what others make below it meanwhile. It never
// deletes anything outside of path. "/" and the server's own znodes are
// zk.ErrBadPath, and nothing is sent. After a lost connection call it again. The
// names of all paths below are in memory.
func DeleteAll(ctx context.Context, s *zk.Session, path string) error {
	if err := checkDirectory("deleteall", s, path); err != nil {
		return err
	}
	r := newReader(s)
	for {
		gone, _, err := r.deleteAll(ctx, path, nil)
		if gone || err != nil {
			return err
		}
	}
}

// deleteAll deletes once what is there, from the leaves up, but for what keep
// holds. It reports whether the znode of the path itself is gone, and whether
// another could not be deleted because somebody has made children.
func (r *reader) deleteAll(ctx context.Context, root string, keep map[string]bool) (gone, again bool, err error) {
	var paths []string
	skip := hidden(r.s, root)
	for level := []ask{{path: root, kind: askNames, size: -1}}; len(level) > 0; {
		var next []ask
		_, err := r.each(ctx, level, func(a *ask, res *zk.Result) error {
			if errors.Is(res.Err, zk.ErrNoNode) {
				return nil
			}
			if res.Err != nil {
				return errors.WithStack(res.Err)
			}
			paths = append(paths, a.path)
			slices.Sort(res.Children)
			for _, name := range res.Children {
				if path := join(a.path, name); path != skip {
					next = append(next, ask{path: path, kind: askNames, size: -1})
				}
			}
			return nil
		})
		if err != nil {
			return false, false, err
		}
		level = next
	}
	if len(paths) == 0 {
		return true, false, nil
	}
	slices.Reverse(paths) // levels: what is below comes first
	w := newBatcher(r.s, func(op zk.Op, res *zk.Result) error {
		path := op.(zk.DeleteOp).Path
		switch {
		case res.Err == nil, errors.Is(res.Err, zk.ErrNoNode):
			gone = gone || path == root
		case errors.Is(res.Err, zk.ErrNotEmpty):
			again = true
		default:
			return errors.WithStack(res.Err)
		}
		return nil
	})
	for _, path := range paths {
		if keep[path] {
			continue
		}
		if err := w.add(ctx, zk.DeleteOp{Path: path, Version: zk.AnyVersion}, len(path)); err != nil {
			return false, again, err
		}
	}
	err = w.flush(ctx)
	return gone, again, err
}

const batchBytes = 512 << 10 // of the requests of one Batch

// batcher puts operations together into Batches.
type batcher struct {
	s    *zk.Session
	took func(op zk.Op, res *zk.Result) error

	ops  []zk.Op
	size int
}

func newBatcher(s *zk.Session, took func(op zk.Op, res *zk.Result) error) *batcher {
	return &batcher{s: s, took: took}
}

// add queues an operation whose paths and data have size bytes. It sends what
// would be too much with it.
func (b *batcher) add(ctx context.Context, op zk.Op, size int) error {
	size += 64
	if b.size+size > batchBytes || len(b.ops) >= 2*maxBatch {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.ops = append(b.ops, op)
	b.size += size
	return nil
}

// queue queues an operation, and sends nothing.
func (b *batcher) queue(op zk.Op) { b.ops = append(b.ops, op) }

// flush sends what is queued, and returns the first error of took, or that of
// the connection.
func (b *batcher) flush(ctx context.Context) error {
	if len(b.ops) == 0 {
		return nil
	}
	ops := b.ops
	b.ops, b.size = nil, 0
	res, err := b.s.Batch(ctx, ops...)
	var first error
	for i := range res {
		if lost(res[i].Err) {
			continue
		}
		if failed := b.took(ops[i], &res[i]); failed != nil && first == nil {
			first = failed
		}
	}
	if len(res) == 0 || lost(err) || errors.Is(err, zk.ErrConnection) {
		return errors.WithStack(err)
	}
	return first
}

// Put sets the data of a znode, whatever its version. A missing znode is created
// with the ACL (nil: zk.ACLOpen), and so are missing znodes above it, as by
// MkdirAll. Put returns the new Stat. A lost answer is zk.ErrLost: the data may
// be set or not.
//
// A server of 3.4 cannot create with a Stat. The first Put that creates a znode
// there ends the connection, once per session: call it again.
func Put(ctx context.Context, s *zk.Session, path string, data []byte, acl zk.ACL) (zk.Stat, error) {
	if err := checkTarget("put", s, path); err != nil {
		return zk.Stat{}, err
	}
	if acl == nil {
		acl = zk.ACLOpen
	}
	for {
		stat, err := s.Set(ctx, path, data, zk.AnyVersion)
		if !errors.Is(err, zk.ErrNoNode) {
			return stat, err
		}
		stat, err = create(ctx, s, path, data, acl)
		if errors.Is(err, zk.ErrNoNode) {
			up := parent(path)
			if up == "/" || up == "" {
				return stat, err // not even the chroot exists, or what is above it
			}
			if err := MkdirAll(ctx, s, up, acl); err != nil {
				return zk.Stat{}, err
			}
			stat, err = create(ctx, s, path, data, acl)
		}
		if !errors.Is(err, zk.ErrExists) && !errors.Is(err, zk.ErrNoNode) {
			return stat, err
		}
	}
}

// create makes a persistent znode and returns its Stat. Where the server has no
// create with a Stat, the znode is read: if somebody has changed it already,
// that is ErrExists.
func create(ctx context.Context, s *zk.Session, path string, data []byte, acl zk.ACL) (zk.Stat, error) {
	l := lackOf(s)
	if !l.has(createStat) {
		_, stat, err := s.CreateStat(ctx, path, data, zk.Persistent, acl)
		if err != nil {
			err = l.learn(err, createStat)
		}
		return stat, err
	}
	res, err := s.Batch(ctx, zk.CreateOp{Path: path, Data: data, ACL: acl}, zk.GetOp{Path: path})
	if err != nil {
		return zk.Stat{}, err
	}
	if stat := res[1].Stat; stat.Mzxid == stat.Czxid && string(res[1].Data) == string(data) {
		return stat, nil
	}
	return zk.Stat{}, errors.WithStack(zk.ErrExists)
}

// Update reads the data of a znode, and sets it to the data that f returns. It
// returns the new Stat. If others change the data meanwhile, Update reads again
// and calls f again. f must not keep its argument. If f returns ErrKeep, Update
// returns without a change. It returns any other error of f. A lost answer is
// zk.ErrLost: the data may be set or not.
//
// Servers compare only versions. A znode that is deleted and created again
// meanwhile may have the same version.
func Update(ctx context.Context, s *zk.Session, path string, f func(data []byte, stat zk.Stat) ([]byte, error)) (zk.Stat, error) {
	for {
		data, stat, err := s.Get(ctx, path, nil)
		if err != nil {
			return zk.Stat{}, err
		}
		data, err = f(data, stat)
		switch {
		case errors.Is(err, ErrKeep):
			return stat, nil
		case err != nil:
			return zk.Stat{}, err
		}
		if stat, err = s.Set(ctx, path, data, stat.Version); !errors.Is(err, zk.ErrVersion) {
			return stat, err
		}
	}
}

// rebase returns the path at which a path below from is below to; rel is the
// path relative to from, "" for from itself.
func rebase(to, rel string) string {
	switch {
	case rel == "":
		return to
	case to == "/":
		return rel
	}
	return to + rel
}

// relative returns what rebase takes.
func relative(path, root string) string {
	switch {
	case path == root:
		return ""
	case root == "/":
		return path
	}
	return strings.TrimPrefix(path, root)
}
