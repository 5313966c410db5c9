package metrics

import (
	"slices"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// kept is how many notes of each kind a Set keeps.
const kept = 64

// Note is an entry of a History.
type Note struct {
	Time time.Time
	// Addr is the server's address, and Session the session's id; zero if there is none.
	Addr    string
	Session int64
	// Why is one of the reasons of a Snapshot, or, of an End, moved, closed or other. It is
	// empty if nothing went wrong.
	Why string
	// Text is the error. It may contain a path.
	Text string
	// Path is the path of a Gap.
	Path string
}

// History is the last 64 of each kind, oldest first.
type History struct {
	// Dials are attempts at an address, Ends those of Sessions.
	Dials, Ends, Gaps []Note
}

// note adds to a list; it is called under the Set's lock.
func note(list *[]Note, n Note) {
	n.Time = time.Now()
	if len(*list) == kept {
		*list = slices.Delete(*list, 0, 1)
	}
	*list = append(*list, n)
}

// History returns the most recent dials, ends and Gaps.
func (s *Set) History() History {
	s.mu.Lock()
	defer s.mu.Unlock()
	return History{slices.Clone(s.history.Dials), slices.Clone(s.history.Ends), slices.Clone(s.history.Gaps)}
}

// Live is a living Session.
type Live struct {
	*zk.Session
	Since time.Time
	// Moves is the number of earlier Sessions with its watches that this Set has
	// seen.
	Moves int
}

// Sessions returns the living Sessions, oldest first.
func (s *Set) Sessions() []Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Live, 0, len(s.sessions))
	for z, l := range s.sessions {
		list = append(list, Live{z, l.since, l.moves})
	}
	slices.SortFunc(list, func(a, b Live) int { return a.Since.Compare(b.Since) })
	return list
}

// live is what a Set knows of a Session that lives.
type live struct {
	since time.Time
	moves int
}

// standing is what a Set knows of Watches.
type standing struct {
	left  time.Time // when the last Session ended; zero: it lives
	moves int
}

func endReason(err error) string {
	if why := lossReason(err); why != "" {
		return why
	}
	return FailureOf("", err).Code
}
