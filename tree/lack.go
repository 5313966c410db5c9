package tree

import (
	"runtime"
	"sync"
	"weak"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// lack is what the servers of a session cannot do. To find out costs a
// connection each time, so it is kept for as long as the session's watches.
type lack struct {
	mu    sync.Mutex // guards noted
	noted [features]bool
}

type feature int

const (
	multiRead  feature = iota // lacking before 3.6
	addWatch                  // before 3.6
	createStat                // before 3.5
	large                     // of a MultiRead: a reply above MaxReply came, and reads go one by one
	features
)

func (l *lack) has(f feature) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.noted[f]
}

func (l *lack) note(f feature) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted[f] = true
}

var lacks struct {
	mu sync.Mutex // guards m
	m  map[weak.Pointer[zk.Watches]]*lack
}

// lackOf returns what the servers of a session lack.
func lackOf(s *zk.Session) *lack {
	w := s.Watches()
	if w == nil {
		return new(lack) // of no session: every call will say so
	}
	key := weak.Make(w)
	lacks.mu.Lock()
	defer lacks.mu.Unlock()
	if l := lacks.m[key]; l != nil {
		return l
	}
	if lacks.m == nil {
		lacks.m = make(map[weak.Pointer[zk.Watches]]*lack)
	}
	l := new(lack)
	lacks.m[key] = l
	runtime.AddCleanup(w, func(key weak.Pointer[zk.Watches]) {
		lacks.mu.Lock()
		delete(lacks.m, key)
		lacks.mu.Unlock()
	}, key)
	return l
}

// learn returns the error that takes the place of an answer which ended the
// connection and will not come again: a lost connection like any other.
func (l *lack) learn(err error, f feature) error {
	var op *zk.OpError
	switch {
	case errors.Is(err, zk.ErrUnimplemented) && errors.As(err, &op) && op.Outcome() == zk.Answered: // else another call's
		l.note(f)
	case f == multiRead && errors.Is(err, zk.ErrTooLarge) && errors.Is(err, zk.ErrLost):
		l.note(large)
	default:
		return err
	}
	return errors.WithMessagef(zk.ErrConnection, "the next call does without what ended this connection (%v)", err)
}
