package recipe

import (
	"context"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// Lock is an exclusive lock. It has no state. Any number of goroutines may use
// one. Each Acquire is a contender of its own, as with a sync.Mutex.
type Lock struct {
	// Path is the directory. The lock creates it if it is missing, and owns
	// its children.
	Path string
	// Data is written into the contender's znode, for people: see Contenders.
	Data []byte
	// ACL is that of all znodes that the lock makes; nil: zk.ACLOpen. It must let this
	// session read them: a hold whose znode cannot be watched is Lost.
	ACL    zk.ACL
	Layout Layout
	// KeepDir creates a missing directory as a Persistent znode. Otherwise it is a
	// Container, which servers since 3.5.1 delete some time after its last child.
	// ZooKeeper 3.4 has no Containers: it ends the connection once per session, and
	// the call with the successor succeeds. With KeepDir it does not.
	KeepDir bool
	// GUID names the contender, by 32 hexadecimal digits; empty: a random one each
	// time. With the GUID of Hold.Detach, another process continues a hold. Do not
	// give one GUID to two contenders: its names can come again, see "What may go
	// wrong" in the comment of the package.
	GUID string
}

func (l *Lock) line(k kind) *line {
	return &line{what: "lock", dir: l.Path, kind: k, layout: l.Layout, data: l.Data, acl: l.ACL, keep: l.KeepDir, guid: l.GUID}
}

// Acquire waits for the lock and returns the Hold on it. Contenders get it in the
// order in which they came. A contender that leaves wakes only one other.
//
// After an error that matches zk.ErrConnection or zk.ErrMoved the contender keeps
// its place for one session timeout. Acquire with the successor continues there,
// on this Lock or one like it in this process. After any other error, such as
// that of ctx, the contender has left. If its deletion is not answered within a
// third of the session timeout, its znode is deleted as soon as possible.
//
// ErrDeadlock: ctx was made by Hold.Context of the same lock, or the GUID is in
// use in this process. ErrBadPath and ErrBadArguments: the Lock is wrong as the
// error says, and nothing was sent.
func (l *Lock) Acquire(ctx context.Context, s *zk.Session) (*Hold, error) {
	return l.line(lockKind).acquire(ctx, s, true)
}

// TryAcquire is Acquire, but returns ErrLocked if it would have to wait for
// others.
func (l *Lock) TryAcquire(ctx context.Context, s *zk.Session) (*Hold, error) {
	return l.line(lockKind).acquire(ctx, s, false)
}

// Contenders returns all contenders in the order in which they get the lock. The
// list may be out of date when it returns.
func (l *Lock) Contenders(ctx context.Context, s *zk.Session) ([]Contender, error) {
	return contenders(ctx, s, l.Path)
}

// Contender is somebody who has a lock or waits for it.
type Contender struct {
	Path   string
	Data   []byte
	ID     int64     // its session
	Token  int64     // the czxid of its znode
	Since  time.Time // when its znode was made, by the server's clock
	Shared bool      // it is a reader
	Holds  bool      // it has the lock: nothing ahead excludes it
}

func newContender(path string, r zk.Result) Contender {
	return Contender{
		Path: path, Data: r.Data, ID: r.Stat.EphemeralOwner, Token: r.Stat.Czxid, Since: time.UnixMilli(r.Stat.Ctime),
	}
}

// contenders reads a directory. One that does not exist has none.
func contenders(ctx context.Context, s *zk.Session, dir string) ([]Contender, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	if _, err := begin(ctx, s); err != nil {
		return nil, err
	}
	names, _, err := s.Children(ctx, dir, nil)
	if code(err) == zk.ErrNoNode {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	queue, err := inOrder(ctx, s, dir, names)
	if err != nil || len(queue) == 0 {
		return nil, err
	}
	ops := make([]zk.Op, len(queue))
	for i, e := range queue {
		ops[i] = zk.GetOp{Path: join(dir, e.name)}
	}
	res, err := s.Batch(ctx, ops...)
	if res == nil {
		return nil, err
	}
	var found []Contender
	writer := false
	for i, r := range res {
		if code(r.Err) == zk.ErrNoNode {
			continue
		}
		if r.Err != nil {
			return nil, r.Err
		}
		c := newContender(join(dir, queue[i].name), r)
		c.Shared = queue[i].shared
		c.Holds = len(found) == 0 || c.Shared && !writer
		writer = writer || !c.Shared
		found = append(found, c)
	}
	return found, nil
}

// RWLock admits many readers or one writer, in the order in which they came. A
// writer that waits makes later readers wait. The fields are those of Lock.
type RWLock struct {
	Path    string
	Data    []byte
	ACL     zk.ACL
	Layout  Layout
	KeepDir bool
	GUID    string
}

func (l *RWLock) line(k kind) *line { return (*Lock)(l).line(k) }

// AcquireRead waits until no writer is ahead; see Lock.Acquire. Under the context
// of a Hold on the same RWLock it is ErrDeadlock, even for two readers: a writer
// between them would wait for the first, and the second for the writer.
func (l *RWLock) AcquireRead(ctx context.Context, s *zk.Session) (*Hold, error) {
	return l.line(readKind).acquire(ctx, s, true)
}

// AcquireWrite waits until nobody is ahead; see Lock.Acquire.
func (l *RWLock) AcquireWrite(ctx context.Context, s *zk.Session) (*Hold, error) {
	return l.line(writeKind).acquire(ctx, s, true)
}

// TryAcquireRead is AcquireRead, but returns ErrLocked where it would have to
// wait for a writer.
func (l *RWLock) TryAcquireRead(ctx context.Context, s *zk.Session) (*Hold, error) {
	return l.line(readKind).acquire(ctx, s, false)
}

// TryAcquireWrite is AcquireWrite, but returns ErrLocked where it would have to
// wait.
func (l *RWLock) TryAcquireWrite(ctx context.Context, s *zk.Session) (*Hold, error) {
	return l.line(writeKind).acquire(ctx, s, false)
}

// Contenders returns readers and writers in the order in which they get the lock.
func (l *RWLock) Contenders(ctx context.Context, s *zk.Session) ([]Contender, error) {
	return contenders(ctx, s, l.Path)
}
