// Package interlock says what a server is being asked about the watches of a path, so
// that a call that depends on the answer can wait for it, and what the server must be
// told again once it has answered.
//
// Servers before 3.9 keep one mode per path, the one that they were told last. So
// where a path has several kinds of watches, an AddWatch can make the others deaf:
//
//   - told persistent beside a recursive watch: that is told again, and then gets a
//     Gap, if anything happened in between;
//   - told recursive, and there is no recursive watch, since the call was given up,
//     or its channel was removed or is closed: a persistent watch is told again, and
//     gets a Gap;
//   - told recursive beside a child watch, which never gets its event then: it is
//     restored by a SetWatches, which catches up with all since.
//
// So the recursive mode is the last that the server was told just where there is a
// recursive watch.
package interlock

import "github.com/seed-9f8420c6/zk/internal/watches"

// Interlock is what a server is being asked. It has no lock of its own.
type Interlock struct {
	// adding has the paths whose AddWatch is unanswered.
	adding map[string]*adding
	// removing counts, by path, the unanswered requests to watch it no more.
	removing map[string]int
	// arming counts, by path, the unanswered requests that arm a channel, where there
	// are persistent watches.
	arming map[string]int
}

// adding is the AddWatches of one path that are unanswered.
type adding struct {
	n    int
	done chan struct{} // closed when n is zero
}

// Addition is an AddWatch, of the application or of the client's own.
type Addition struct {
	// Tells is what it makes the server's mode.
	Tells watches.Kind
	// Again: it tells the server again of watches that are armed.
	Again bool
	// Gap: these were deaf.
	Gap bool
	// Since is the zxid since which they may have been deaf, if Gap is not set; of an
	// AddWatch before.
	Since int64
}

// Add notes an AddWatch that is sent, and says what it must ask for. armed is what
// the path has: what the server has been told already need not change its mode.
func (l *Interlock) Add(path string, kind watches.Kind, armed watches.Kinds) *Addition {
	l.begin(path)
	if armed.Has(kind) && armed.Has(watches.Recursive) {
		kind = watches.Recursive
	}
	return &Addition{Tells: kind}
}

// AddAgain notes an AddWatch of the client's own.
func (l *Interlock) AddAgain(path string, a Addition) *Addition {
	l.begin(path)
	a.Again = true
	return &a
}

func (l *Interlock) begin(path string) {
	if l.adding == nil {
		l.adding = make(map[string]*adding)
	}
	a := l.adding[path]
	if a == nil {
		a = &adding{done: make(chan struct{})}
		l.adding[path] = a
	}
	a.n++
}

// Added notes that an AddWatch was answered.
func (l *Interlock) Added(path string) {
	if a := l.adding[path]; a != nil {
		if a.n--; a.n == 0 {
			close(a.done)
			delete(l.adding, path)
		}
	}
}

// Adding returns a channel that is closed once all AddWatches of a path are answered;
// nil: there is none.
func (l *Interlock) Adding(path string) <-chan struct{} {
	if a := l.adding[path]; a != nil {
		return a.done
	}
	return nil
}

// Idle reports whether no AddWatch is unanswered.
func (l *Interlock) Idle() bool { return len(l.adding) == 0 }

// Arm notes a request that arms a one-shot, and reports whether the server must be
// asked: beside a persistent watch it would replace that before 3.9, and the one-shot
// takes part in the local stream instead.
func (l *Interlock) Arm(path string, kind watches.Kind, armed watches.Kinds) (ask bool) {
	bump(&l.arming, path, 1)
	return l.removing[path] > 0 || !armed.Covers(kind)
}

// Armed notes that such a request was answered.
func (l *Interlock) Armed(path string) { bump(&l.arming, path, -1) }

// Remove notes a request to watch a path no more.
func (l *Interlock) Remove(path string) { bump(&l.removing, path, 1) }

// Removed notes that it was answered.
func (l *Interlock) Removed(path string) { bump(&l.removing, path, -1) }

// Busy reports whether anything about a path is unanswered.
func (l *Interlock) Busy(path string) bool {
	return l.adding[path] != nil || l.removing[path] > 0 || l.arming[path] > 0
}

// bump changes a counter of a path, which is forgotten when it is zero.
func bump(m *map[string]int, path string, by int) {
	if *m == nil {
		*m = make(map[string]int)
	}
	if (*m)[path] += by; (*m)[path] == 0 {
		delete(*m, path)
	}
}

// Repair is what the answer to an AddWatch makes necessary.
type Repair struct {
	// Gap: the watches that were told again get one.
	Gap bool
	// Child: the child watches of the path are restored since the zxid of the answer.
	Child bool
	// Tell is the next AddWatch; nil: none.
	Tell *Addition
}

// After returns what the answer to an AddWatch makes necessary. armed is what the path
// has now, and zxid that of the answer.
func (a *Addition) After(armed watches.Kinds, zxid int64) Repair {
	recursive := a.Tells == watches.Recursive
	r := Repair{
		Gap:   a.Again && (a.Gap || zxid != a.Since || zxid <= 0), // which says nothing
		Child: recursive && armed.Has(watches.Child),
	}
	switch {
	case !recursive && armed.Has(watches.Recursive):
		r.Tell = &Addition{Tells: watches.Recursive, Since: zxid}
	case recursive && !armed.Has(watches.Recursive) && armed.Has(watches.Persistent):
		r.Tell = &Addition{Tells: watches.Persistent, Gap: true}
	}
	return r
}

// AfterRemoval returns what the server must be told where a recursive watch has gone
// without a request; nil: nothing, or an AddWatch that is unanswered does it.
func (l *Interlock) AfterRemoval(path string, armed watches.Kinds) *Addition {
	if armed.Has(watches.Persistent) && !armed.Has(watches.Recursive) && l.adding[path] == nil {
		return &Addition{Tells: watches.Persistent, Gap: true}
	}
	return nil
}
