package zk

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	root "github.com/seed-9f8420c6/zk"
)

// books knows the armed watches of one session, each with a channel of its own, and
// which events are on their way to them.
//
// The root delivers events into channels, and what a program of go-zookeeper has is
// another type of event. So somebody must receive and convert, and still an event
// must be in its channel before a later call returns. A lane is one channel of the
// root with a goroutine that does so. A path stands on it once at most: a watch that
// joins while others of its path are armed takes another lane, because their event,
// which may be on its way, is not meant for it. When none can be on its way any more,
// the next event is for both, and the watch leaves its lane and follows the older one.
// So there are as many lanes as kinds of watches and calls at work at one path at a time,
// however many watches are left armed there.
type books struct {
	session atomic.Pointer[root.Session] // the last one
	foreign atomic.Int32                 // others who may have armed watches of their own
	tell    func(Event)
	quit    chan struct{} // closed by expire
	handled atomic.Int64  // events that lanes have received and dealt with
	asked   atomic.Int64  // how many have asked for a round of settle
	turn    chan struct{} // cap 1: held by the round at work; guards what follows
	served  int64         // how many had asked when the last round began
	dealt   bool          // that has dealt with everything

	// mu guards what follows.
	mu      sync.Mutex
	paths   map[string]*watch
	more    map[*watch][]chan Event // of the watches that follow one
	lanes   []*lane
	armed   int // watches on lanes whose call has returned, and whose event is not in their channel
	pending int // calls under way that arm one
	told    root.Event
}

// watch is small, because there may be many: its path is the key of the books.
type watch struct {
	ch   chan Event // nil: it follows another watch, and is about to leave its lane
	next *watch     // of the same path, on a later lane
	lane int32
	kind watchKind
	set  bool // its call has returned
	gone bool // its event is in the channel, or its call has failed
	late bool // events from before its call may come after it: those are not for it
	done bool // its lane has received its event: it must not follow another watch any more
	// told: the session's channel has its event, which came for another watch of the
	// path that was armed at the same time.
	told bool
}

type watchKind uint8

const (
	dataWatch watchKind = iota
	existWatch
	childWatch
)

// takes reports whether the root fires such a watch by the event.
func (k watchKind) takes(t root.EventType) bool {
	return t == root.Deleted || (t == root.Child) == (k == childWatch)
}

type lane struct {
	n     int32
	ch    chan root.Event
	sync  chan struct{} // asks to deal with what is in ch; taken again when that is done
	count int           // watches on it; guarded by the lock of the books
}

// laneSize is the capacity of the first lane. The others have less and less to do.
const laneSize = 128

func newBooks(tell func(Event)) *books {
	return &books{tell: tell, quit: make(chan struct{}), paths: make(map[string]*watch), more: make(map[*watch][]chan Event), turn: make(chan struct{}, 1)}
}

// join makes a watch for a call that is about to arm it, on the first lane that has
// none of its path, and returns it with its channel and that of the lane. Either leave or
// confirm must follow.
func (b *books) join(path string) (*watch, <-chan Event, chan<- root.Event) {
	w := &watch{ch: make(chan Event, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending++
	first := b.paths[path]
	at, n := &first, int32(0)
	for ; *at != nil && (*at).lane == n; n++ {
		at = &(*at).next
	}
	if int(n) == len(b.lanes) {
		l := &lane{n: n, ch: make(chan root.Event, max(laneSize>>min(n, 8), 1)), sync: make(chan struct{})}
		b.lanes = append(b.lanes, l)
		go b.run(l)
	}
	w.lane, w.next = n, *at
	b.lanes[n].count++
	*at = w
	b.paths[path] = first
	return w, w.ch, b.lanes[n].ch
}

// leave takes back what join did: nothing was armed.
func (b *books) leave(path string, w *watch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending--
	if !w.gone {
		b.removeLocked(path, w)
	}
}

// confirm says that a watch was armed. All events before that have been dealt with,
// so that others of the path which are armed still will fire together with it; not dealt:
// one may be on its way to them. It reports whether the watch follows another one of its
// kind, so that it need not stay armed on its lane.
func (b *books) confirm(path string, w *watch, kind watchKind, dealt bool) (follows bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending--
	if w.gone {
		return false
	}
	w.set, w.kind, w.late = true, kind, !dealt
	b.armed++
	for o := b.paths[path]; dealt && !w.done && o != nil; o = o.next {
		if o != w && o.set && o.kind == kind && o.ch != nil {
			b.more[o] = append(b.more[o], w.ch)
			w.ch, w.set = nil, false
			return true
		}
	}
	return false
}

// unlane takes a watch that follows another one from its lane, which was its own until then:
// disarmed, or when it has had its event, or else when that comes.
func (b *books) unlane(path string, w *watch, disarmed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.set = true
	if !w.gone && (disarmed || w.done) {
		b.removeLocked(path, w)
	}
}

func (b *books) removeLocked(path string, w *watch) {
	w.gone = true
	b.lanes[w.lane].count--
	if w.set {
		b.armed--
	}
	first := b.paths[path]
	at := &first
	for *at != w {
		at = &(*at).next
	}
	if *at = w.next; first == nil {
		delete(b.paths, path)
	} else {
		b.paths[path] = first
	}
}

// run is the goroutine of a lane.
func (b *books) run(l *lane) {
	for {
		select {
		case ev := <-l.ch:
			b.handle(l, ev)
		case <-l.sync:
			for len(l.ch) > 0 { // nobody else receives
				b.handle(l, <-l.ch)
			}
		case <-b.quit:
			return
		}
	}
}

// handle gives an event to the session's channel, unless that has it, and to the
// watch of the lane.
func (b *books) handle(l *lane, ev root.Event) {
	defer b.handled.Add(1)
	b.mu.Lock()
	w := b.paths[ev.Path]
	for w != nil && w.lane != l.n {
		w = w.next
	}
	if w == nil {
		b.mu.Unlock()
		return
	}
	w.done = true
	if w.ch == nil { // the one that it follows has the event too
		if w.set {
			b.removeLocked(ev.Path, w)
		}
		b.mu.Unlock()
		return
	}
	told := w.told || ev.Zxid != 0 && ev == b.told
	if !told {
		b.told = ev
		for o := b.paths[ev.Path]; o != nil; o = o.next {
			if o.set && !o.late && o.kind.takes(ev.Type) {
				o.told = true
			}
		}
	}
	b.mu.Unlock()

	out := Event{Type: EventType(ev.Type), State: StateSyncConnected, Path: ev.Path}
	if !told {
		b.tell(out)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.gone { // expired while it was told
		return
	}
	b.removeLocked(ev.Path, w)
	fire(out, w, b.more)
}

// fire gives an event to a watch and to those that follow it.
func fire(ev Event, w *watch, more map[*watch][]chan Event) {
	for _, ch := range append(more[w], w.ch) {
		ch <- ev
		close(ch)
	}
	delete(more, w)
}

// expire ends all watches and lanes.
func (b *books) expire(err error) {
	b.round() // what came before goes first
	b.mu.Lock()
	all, more := b.paths, b.more
	b.paths, b.more, b.armed = make(map[string]*watch), make(map[*watch][]chan Event), 0
	for _, w := range all {
		for ; w != nil; w = w.next {
			w.gone = true
		}
	}
	b.mu.Unlock()
	close(b.quit)
	for path, first := range all {
		ev := Event{Type: EventNotWatching, State: StateDisconnected, Path: path, Err: err}
		var kinds [childWatch + 1]bool
		for w := first; w != nil; w = w.next {
			if w.ch == nil {
				continue
			}
			if !kinds[w.kind] {
				kinds[w.kind] = true
				b.tell(ev)
			}
			fire(ev, w, more)
		}
	}
}

// quiet reports whether no event is on its way. The root has armed nothing but what
// is counted here: if it has as many, none has fired.
func (b *books) quiet() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.armed + b.pending
	return n == 0 || b.foreign.Load() == 0 && b.session.Load().Watches().Len() == n
}

// settle returns when every event that the root delivered before the call is in its
// channel, and reports whether it is so: it does not wait for ever.
func (b *books) settle() bool {
	if b.quiet() {
		return true
	}
	ticket := b.asked.Add(1)
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	if b.served < ticket { // no round has begun since
		b.served = b.asked.Load()
		b.dealt = b.round()
	}
	return b.dealt
}

// patience is how long a call waits for a callback that blocks.
const patience = time.Second

func (b *books) round() (dealt bool) {
	s := b.session.Load()
	if s == nil {
		return true
	}
	b.mu.Lock()
	all := len(b.lanes)
	empty := func(l *lane) bool { return l.count == 0 } // nothing can be on it
	lanes := slices.DeleteFunc(slices.Clone(b.lanes), empty)
	b.mu.Unlock()
	ahead := b.handled.Load() + int64(s.Watches().Undelivered()+all*(laneSize+1))
	timeout := time.After(patience)
	for {
		none := s.Watches().Undelivered() == 0
		over := s.Err() != nil // what has not been delivered stays where it is

		for range 2 { // a lane that can be asked again has done what it was asked for
			for _, l := range lanes {
				select {
				case l.sync <- struct{}{}:
				case <-b.quit:
					return false
				case <-timeout:
					return false
				}
			}
		}
		if none || over || b.handled.Load() >= ahead {
			return none || !over
		}
	}
}
