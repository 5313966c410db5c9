package registry

// identity is whose watches they are. Only Dial changes it.
type identity struct {
	dialing  chan struct{} // cap 1: Dials of one identity run one at a time
	id       int64
	password []byte
	chroot   string
	ended    bool // closed on the server by this process
	reads    bool // a server did not support SetWatches: reads restore the watches
	owner    any  // whom Own was called with last, alive or not; nil: nobody
}

// Turn is held by the Dial at work on this identity.
func (r *Registry[T, E]) Turn() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.who.dialing == nil {
		r.who.dialing = make(chan struct{}, 1)
	}
	return r.who.dialing
}

// Verdict is why a session cannot be claimed.
type Verdict uint8

// The verdicts. Ours: it may be dialed.
const (
	Ours        Verdict = iota
	Unbound             // the watches have no channels
	Moved               // the identity has another session now
	Ended               // this process has closed the session
	OtherChroot         // there are watches of another chroot
)

// Claim is what is known of a session that somebody asks for.
type Claim struct {
	Verdict Verdict
	// Chroot is that of the watches.
	Chroot string
	// Known: the identity has this session, and Password is its.
	Known    bool
	Password []byte
	// Owner is whom Own was called with last; nil: nobody.
	Owner any
}

// Claim says whether a session may be dialed (0: a new one), and what is known of it. chroot
// is that of who asks.
func (r *Registry[T, E]) Claim(id int64, chroot string) Claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue.Sync()
	known := id != 0 && id == r.who.id
	c := Claim{Chroot: r.who.chroot, Known: known, Owner: r.who.owner}
	if known {
		c.Password = r.who.password
	}
	switch {
	case r.unbound != nil:
		c.Verdict = Unbound
	case id != 0 && r.who.owner != nil && !known:
		c.Verdict = Moved
	case known && r.who.ended:
		c.Verdict = Ended
	case !r.fitsLocked(chroot):
		c.Verdict = OtherChroot
	}
	return c
}

// fitsLocked reports whether the watches can be known by a chroot.
func (r *Registry[T, E]) fitsLocked(chroot string) bool {
	return r.who.chroot == chroot || r.table.Len() == 0 && r.queue.Undelivered() == 0
}

// Enter makes a chroot that of the watches, if it fits; else it returns theirs.
func (r *Registry[T, E]) Enter(chroot string) (theirs string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fitsLocked(chroot) {
		return r.who.chroot, false
	}
	r.who.chroot = chroot
	return "", true
}

// Own makes somebody the owner of the identity, with a session that other servers know,
// or 0. It returns the owner before; nil: nobody.
func (r *Registry[T, E]) Own(owner any, id int64, password []byte) (before any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.who.owner
	r.who.owner, r.who.ended = owner, false
	r.who.id, r.who.password = id, password
	return before
}

// End notes that the session was closed on the server.
func (r *Registry[T, E]) End() {
	r.mu.Lock()
	r.who.ended = true
	r.mu.Unlock()
}

// ReadNext makes reads restore the watches from now on.
func (r *Registry[T, E]) ReadNext() {
	r.mu.Lock()
	r.who.reads = true
	r.mu.Unlock()
}

// Reads reports whether reads restore the watches.
func (r *Registry[T, E]) Reads() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.who.reads
}
