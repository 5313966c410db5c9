package recipe

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/seed-9f8420c6/zk"
)

// identity is what this process keeps of the sessions that share one Watches:
// a session over all of its connections, and those that Renew made after it.
type identity struct {
	mu      sync.Mutex // guards all below; never held over a request
	places  map[placeKey][]*place
	used    map[nameKey]int           // claims by given GUID, of which there is one at a time, and by the path of Own
	undoing map[nameKey]chan struct{} // given GUIDs of late creates that are being deleted
	departs map[nameKey]*departure    // paths of Own whose znode is being deleted
	orphans []*watch                  // armed on a Session that was over when they had to be disarmed
	strands []*claim                  // that nobody redialed for in time
	late    map[int64]*lateCreates    // by session
	old     bool                      // a server of 3.4 was met: no create2, no containers
	recent  bool                      // a server since 3.5 was met
}

// placeKey says which calls may go on with a place.
type placeKey struct {
	session int64
	kind    kind
	layout  Layout
	dir     string // as the server knows it
	data    string
	guid    string // as given; empty: a random one
}

// nameKey is what claims have in common that may have the same name: a directory
// and a given GUID, or the path of Own.
type nameKey struct {
	session   int64
	dir, guid string
}

func (k placeKey) name() nameKey { return nameKey{k.session, k.dir, k.guid} }

// place is a claim whose connection was lost while it waited. It is kept for one
// session timeout, for the next call.
type place struct {
	claim *claim
	taken context.CancelFunc
}

var (
	identitiesMu sync.Mutex // guards identities
	identities   = map[weak.Pointer[zk.Watches]]*identity{}
)

// identityOf returns the identity that s belongs to, or why s is of no use.
func identityOf(s *zk.Session) (*identity, error) {
	w := s.Watches()
	if w == nil {
		return nil, fmt.Errorf("recipe: no Session: %w", zk.ErrClosed)
	}
	key := weak.Make(w)
	identitiesMu.Lock()
	defer identitiesMu.Unlock()
	id := identities[key]
	if id == nil {
		id = &identity{places: map[placeKey][]*place{}, used: map[nameKey]int{}}
		identities[key] = id
		runtime.AddCleanup(w, func(key weak.Pointer[zk.Watches]) {
			identitiesMu.Lock()
			defer identitiesMu.Unlock()
			delete(identities, key)
		}, key)
	}
	return id, nil
}

// begin is the first thing that every recipe does: it refuses a nil Session and
// a context that has ended, before anything is sent.
func begin(ctx context.Context, s *zk.Session) (*identity, error) {
	id, err := identityOf(s)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("recipe: not begun: %w", err)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("recipe: not begun: %w", err)
	}
	id.sweep(s)
	return id, nil
}

// take returns a claim whose place was kept, or nil.
func (id *identity) take(key placeKey) *claim {
	id.mu.Lock()
	defer id.mu.Unlock()
	kept := id.places[key]
	if len(kept) == 0 {
		return nil
	}
	kept[0].taken()
	id.setPlaces(key, kept[1:])
	return kept[0].claim
}

func (id *identity) setPlaces(key placeKey, kept []*place) {
	if len(kept) == 0 {
		delete(id.places, key)
	} else {
		id.places[key] = kept
	}
}

// drop takes a place off the list, and reports whether it was still there.
func (id *identity) drop(key placeKey, p *place) bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	kept := id.places[key]
	for i := range kept {
		if kept[i] == p {
			id.departLocked(p.claim)
			id.setPlaces(key, append(kept[:i:i], kept[i+1:]...))
			return true
		}
	}
	return false
}

// keep keeps the place of a claim for one session timeout. If nobody takes it up
// by then, or the session is renewed, it is withdrawn.
func (id *identity) keep(s *zk.Session, key placeKey, c *claim) {
	ctx, taken := context.WithTimeout(context.Background(), s.Timeout())
	p := &place{claim: c, taken: taken}
	id.mu.Lock()
	id.places[key] = append(id.places[key], p)
	id.mu.Unlock()
	go func() {
		defer taken()
		for {
			next, err := s.Successor(ctx)
			if err == nil && next.ID() == c.session {
				s = next
				continue
			}
			if id.drop(key, p) {
				id.withdraw(s, c)
			}
			return
		}
	}()
}

// reserve takes a given GUID that nobody uses.
func (id *identity) reserve(ctx context.Context, key placeKey) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	for id.undoing[key.name()] != nil {
		over := id.undoing[key.name()]
		id.mu.Unlock()
		select {
		case <-over:
		case <-ctx.Done():
		}
		id.mu.Lock()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("recipe: not begun: %w", err)
		}
	}
	if id.used[key.name()] > 0 {
		return fmt.Errorf("%w: GUID %s is in use", ErrDeadlock, key.guid)
	}
	id.used[key.name()]++
	return nil
}

// use notes one more claim of the name.
func (id *identity) use(key placeKey) {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.used[key.name()]++
}

// free notes that one of them is over.
func (id *identity) free(key placeKey) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.used[key.name()]--; id.used[key.name()] == 0 {
		delete(id.used, key.name())
	}
}

// departure counts the claims of one path of Own that are being deleted.
type departure struct {
	claims int
	over   chan struct{} // closed when there are none
}

// depart notes that the claim of an Own is about to be deleted: another Own of the
// session must not take its znode.
func (id *identity) depart(c *claim) {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.departLocked(c)
}

func (id *identity) departLocked(c *claim) {
	if c.key.kind != ownKind || c.departs {
		return
	}
	c.departs = true
	l := id.departs[c.key.name()]
	if l == nil {
		if id.departs == nil {
			id.departs = map[nameKey]*departure{}
		}
		l = &departure{over: make(chan struct{})}
		id.departs[c.key.name()] = l
	}
	l.claims++
}

// departed notes that nothing deletes the claim any more.
func (id *identity) departed(c *claim) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if !c.departs {
		return
	}
	c.departs = false
	l := id.departs[c.key.name()]
	if l.claims--; l.claims == 0 {
		close(l.over)
		delete(id.departs, c.key.name())
	}
}

// departures returns what is closed when nothing of the name is being deleted any
// more; nil: nothing is.
func (id *identity) departures(key placeKey) <-chan struct{} {
	id.mu.Lock()
	defer id.mu.Unlock()
	if l := id.departs[key.name()]; l != nil {
		return l.over
	}
	return nil
}

// noteOld and noteRecent note what a server has shown of its release.
func (id *identity) noteOld() {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.old = true
}

func (id *identity) noteRecent() {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.recent = true
}

// servers returns what is known of the servers' release.
func (id *identity) servers() (old, recent bool) {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.old, id.recent
}

// watch is a channel that is armed once. It has room for its event, so that it
// never holds up another.
type watch struct {
	path string
	ch   chan zk.Event
}

func newWatch(path string) *watch { return &watch{path, make(chan zk.Event, 1)} }

// disarm takes a watch away from the session that s belongs to. Where the last
// Session is over, the next call of a recipe with its successor does it.
func (id *identity) disarm(s *zk.Session, w *watch) {
	if w == nil {
		return
	}
	for range 3 {
		last, renewed := newest(s)
		if renewed != nil {
			last, _ = newest(renewed)
		}
		err := last.RemoveWatch(context.Background(), w.path, w.ch)
		switch {
		case err == nil || code(err) == zk.ErrNoWatcher:
			return
		case !ended(last, err):
			return // a path that was refused was never armed
		}
		s = last
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.orphans = append(id.orphans, w)
}

// strand leaves a claim to the next call of a recipe.
func (id *identity) strand(c *claim) {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.strands = append(id.strands, c)
}

// sweep disarms what could not be disarmed before, and withdraws what nobody
// redialed for in time.
func (id *identity) sweep(s *zk.Session) {
	id.mu.Lock()
	orphans, strands := id.orphans, id.strands
	id.orphans, id.strands = nil, nil
	id.mu.Unlock()
	for _, c := range strands {
		go id.withdraw(s, c)
	}
	for _, w := range orphans {
		id.disarm(s, w)
	}
}

// patience is the context of a call that waits for what it leaves behind to be
// deleted: a third of the session timeout.
func patience(s *zk.Session) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.Timeout()/3)
}

// lastHope is when a goroutine stops waiting for a successor of a Session that
// is over: four timeouts after its last sign of life, when the session has
// expired everywhere.
func lastHope(s *zk.Session) time.Time { return s.ExpiresAt().Add(s.Timeout() * 13 / 4) }
