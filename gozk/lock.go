package zk

import (
	"errors"
	"sync/atomic"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
)

// Lock is an exclusive lock among all who use the same path, go-zookeeper's, Curator's
// and kazoo's clients too. It is a recipe.Lock.
type Lock struct {
	c    *Conn
	path string
	acl  []ACL

	taken atomic.Bool // locked, or being locked
	held  atomic.Pointer[held]
}

type held struct {
	*recipe.Hold
	books *books // of the session
}

// NewLock returns a Lock that is not locked. The path belongs to the lock, and is made
// when it is missing, with the ACL.
func NewLock(c *Conn, path string, acl []ACL) *Lock { return &Lock{c: c, path: path, acl: acl} }

// Lock is LockWithData without data.
func (l *Lock) Lock() error { return l.LockWithData([]byte{}) }

// LockWithData waits for the lock. Its znode has the data. A loss of the connection
// does not end the wait, but the end of the session does, with ErrSessionExpired. After
// an error the znode is gone, or goes as soon as there is a connection.
func (l *Lock) LockWithData(data []byte) error {
	if l.taken.Swap(true) {
		return ErrDeadlock
	}
	h, err := l.acquire(data)
	if err != nil {
		l.taken.Store(false)
		return err
	}
	l.held.Store(h)
	return nil
}

func (l *Lock) acquire(data []byte) (*held, error) {
	lock := recipe.Lock{Path: l.path, Data: data, ACL: toACL(l.acl), KeepDir: true}
	var session int64
	for {
		on, err := l.c.wait(background)
		switch {
		case err == ErrNoServer && session != 0: // it keeps its place meanwhile
			continue
		case err != nil && session != 0:
			return nil, ErrClosing
		case err != nil:
			return nil, err
		case session == 0:
			session = on.s.ID()
			on.books.foreign.Add(1) // a hold has a watch of its own
		case on.s.ID() != session:
			return nil, ErrSessionExpired
		}
		h, err := lock.Acquire(background, on.s)
		if err == nil {
			return &held{h, on.books}, nil
		}
		if !disconnected(err) || root.Hopeless(err) {
			_, _, err = verdict(err)
			return nil, err
		}
		<-on.gone
	}
}

// Unlock deletes the znode of the lock, as soon as there is a connection. ErrNoNode says that
// the lock was lost already, with the session or with its znode. Where the answer is lost, it
// looks what became of the znode. After ErrConnectionClosed and ErrNoServer the lock is given
// up: its znode goes with the next connection. In each case the Lock can be locked again.
func (l *Lock) Unlock() error {
	h := l.held.Swap(nil)
	if h == nil {
		return ErrNotLocked
	}
	release := func() { // which finds out for itself when the session is over
		if err := h.Release(); err == nil || errors.Is(err, recipe.ErrNotHeld) {
			h.books.foreign.Add(-1) // nothing is left
		}
	}
	err := l.c.Delete(h.Path(), -1)
	switch err {
	case ErrNoServer:
		go release()
	case ErrConnectionClosed: // was it deleted?
		release()
		if found, _, lookErr := l.c.Exists(h.Path()); !found && lookErr == nil {
			err = nil
		}
	default:
		if h.Detach() == "" { // it knows that the znode is gone
			h.Release()
		}
		h.books.foreign.Add(-1)
	}
	l.taken.Store(false)
	return err
}
