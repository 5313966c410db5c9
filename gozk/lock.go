package zk

import (
	"context"
	"errors"
	"sync"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
)

// Lock is an exclusive lock among all who use the same path, go-zookeeper's, Curator's
// and kazoo's clients too. It is a recipe.Lock.
type Lock struct {
	c    *Conn
	path string
	acl  []ACL

	mu     sync.Mutex // guards what follows
	taken  bool       // locked, or being locked
	holder *recipe.Hold
	books  *books // of the session
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
	l.mu.Lock()
	taken := l.taken
	l.taken = true
	l.mu.Unlock()
	if taken {
		return ErrDeadlock
	}
	h, books, err := l.acquire(data)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken, l.holder, l.books = err == nil, h, books
	return err
}

func (l *Lock) acquire(data []byte) (*recipe.Hold, *books, error) {
	lock := recipe.Lock{Path: l.path, Data: data, ACL: toACL(l.acl), KeepDir: true}
	var session int64
	for {
		on, err := l.c.wait(background)
		switch {
		case err == ErrNoServer && session != 0: // it keeps its place meanwhile
			continue
		case err != nil && session != 0:
			return nil, nil, ErrClosing
		case err != nil:
			return nil, nil, err
		case session == 0:
			session = on.s.ID()
			on.books.foreign.Add(1) // a hold has a watch of its own
		case on.s.ID() != session:
			return nil, nil, ErrSessionExpired
		}
		h, err := lock.Acquire(background, on.s)
		if err == nil {
			return h, on.books, nil
		}
		if !disconnected(err) || root.Hopeless(err) {
			return nil, nil, lockError(err)
		}
		<-on.gone
	}
}

// lockError translates the error of a recipe.
func lockError(err error) error {
	switch {
	case errors.Is(err, recipe.ErrNotHeld):
		return ErrNoNode
	case disconnected(err), errors.Is(err, root.ErrLost), errors.Is(err, context.DeadlineExceeded):
		return ErrConnectionClosed
	}
	return plainError(err)
}

// Unlock deletes the znode of the lock, as soon as there is a connection. ErrNoNode says that
// the lock was lost already, with the session or with its znode. Where the answer is lost, it
// looks what became of the znode. After ErrConnectionClosed and ErrNoServer the lock is given
// up: its znode goes with the next connection. In each case the Lock can be locked again.
func (l *Lock) Unlock() error {
	l.mu.Lock()
	h, books := l.holder, l.books
	l.holder = nil
	l.mu.Unlock()
	if h == nil {
		return ErrNotLocked
	}
	release := func() { // which finds out for itself when the session is over
		if err := h.Release(); err == nil || errors.Is(err, recipe.ErrNotHeld) {
			books.foreign.Add(-1) // nothing is left
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
		books.foreign.Add(-1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = false
	return err
}
