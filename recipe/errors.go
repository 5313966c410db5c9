package recipe

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-9f8420c6/zk"
)

// Errors of recipes besides those of zk. Test with errors.Is.
var (
	// ErrNotHeld: the hold is over, or may be over. The text has the reason.
	ErrNotHeld = errors.New("recipe: not held")
	// ErrReleased: the hold was given up by Release.
	ErrReleased = errors.New("recipe: released")
	// ErrLocked: TryAcquire would have to wait.
	ErrLocked = errors.New("recipe: somebody is ahead")
	// ErrDeadlock: the context was made by Hold.Context of the same lock, or the GUID is in use.
	ErrDeadlock = errors.New("recipe: this would wait for itself")
	// ErrNoLeader: there is no leader for Election.Leader to return.
	ErrNoLeader = errors.New("recipe: nobody stands for election")
	// ErrNotOwner: ctx ended while Own waited for the znode of another session. The text has the id of that session.
	ErrNotOwner = errors.New("recipe: the znode is of another session")
	// ErrUnknown: the session expired while an answer of Once, Counter or Queue was
	// missing. It matches zk.ErrLost too.
	ErrUnknown = errors.New("recipe: nobody can say what was executed")
)

func badArgument(format string, args ...any) error {
	return fmt.Errorf("recipe: %w: %s", zk.ErrBadArguments, fmt.Sprintf(format, args...))
}

// at adds to an error of zk what was being done where.
func at(what, path string, err error) error {
	return fmt.Errorf("recipe: %s %s: %w", what, path, err)
}

// ended reports whether err, or the state of s, shows that this Session can do
// no more. One that is being closed or detached refuses calls before it is over.
func ended(s *zk.Session, err error) bool {
	return errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved) || errors.Is(err, zk.ErrClosed) || code(err) == 0 && s.Err() != nil
}

// code returns what the server answered, or 0.
func code(err error) zk.Code {
	var e *zk.OpError
	var c zk.Code
	if errors.As(err, &e) && e.Outcome() == zk.Answered && errors.As(e.Err, &c) {
		return c
	}
	return 0
}

// notNoNode returns err, but not that there is nothing to delete.
func notNoNode(err error) error {
	if code(err) == zk.ErrNoNode {
		return nil
	}
	return err
}

// canceled is a context for calls that must not wait.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// newest follows s to the last Session that has taken over from it so far, of
// the same session. renewed: there is one of another session after it.
func newest(s *zk.Session) (last *zk.Session, renewed *zk.Session) {
	for {
		next, err := s.Successor(canceled)
		switch {
		case err != nil:
			return s, nil
		case next.ID() != s.ID():
			return s, next
		}
		s = next
	}
}
