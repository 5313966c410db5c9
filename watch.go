package zk

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/seed-9f8420c6/zk/wire"
)

// Event tells that something changed, not what it is now: read again.
type Event struct {
	Type EventType
	Path string // as the application knows it, without the chroot
	Zxid int64  // of the change where the server tells (3.9+, and not for changes made while disconnected), else 0
}

// EventType is what happened. The first four have the values of the protocol.
type EventType int32

const (
	Created EventType = 1
	Deleted EventType = 2
	Changed EventType = 3 // of data
	Child   EventType = 4 // a child was created or deleted
	// Gap: a persistent watch moved to another connection, and changes in
	// between may have gone unreported. Read again.
	Gap EventType = 8
)

func (t EventType) String() string {
	switch t {
	case Created:
		return "created"
	case Deleted:
		return "deleted"
	case Changed:
		return "changed"
	case Child:
		return "child"
	case Gap:
		return "gap"
	}
	return "EventType(" + strconv.Itoa(int(t)) + ")"
}

// WatchKind is the way in which a channel is armed at a path. The last two are
// what [WatchMode] asks AddWatch for.
type WatchKind int

const (
	DataWatch       WatchKind = iota + 1 // by Get, or by Exists of an existing znode: one Changed or Deleted
	ExistsWatch                          // by Exists of a missing znode: one Created
	ChildWatch                           // by Children: one Child or Deleted
	PersistentWatch                      // by AddWatch with WatchPersistent: all events of the path
	RecursiveWatch                       // by AddWatch with WatchRecursive: Created, Changed and Deleted of the path and all below it

	numKinds = int(RecursiveWatch) + 1
)

func (k WatchKind) String() string {
	switch k {
	case DataWatch:
		return "data"
	case ExistsWatch:
		return "exists"
	case ChildWatch:
		return "child"
	case PersistentWatch:
		return "persistent"
	case RecursiveWatch:
		return "recursive"
	}
	return "WatchKind(" + strconv.Itoa(int(k)) + ")"
}

// oneShot reports whether the kind is disarmed by its event.
func (k WatchKind) oneShot() bool { return k < PersistentWatch }

// takes reports whether a watch of this kind on the event's own path gets it
// (ZKWatchManager.materialize). A server sends a single Deleted for the data
// and the child watch of a connection, so it clears both.
func (k WatchKind) takes(t EventType) bool {
	switch k {
	case DataWatch, ExistsWatch:
		return t != Child
	case ChildWatch:
		return t == Child || t == Deleted
	case PersistentWatch:
		return true
	case RecursiveWatch:
		return t != Child
	}
	return false
}

// Watch is one entry of Watches.List: a channel armed at a path in one way, or
// one whose event has not been delivered yet.
type Watch struct {
	Path    string
	Kind    WatchKind
	Channel int  // same number, same channel, within one List
	Fired   bool // its event is still undelivered
}

// maxPersistentQueue bounds the undelivered events of persistent watches. Those
// of one-shot watches are bounded by the watches that were armed.
var maxPersistentQueue = 65536

// setWatchesLimit is the largest SetWatches frame, with its length prefix; a
// path too long for it has a frame of its own.
var setWatchesLimit = 128 << 10

// Watches holds what a session is watching: the armed watches, the zxid floor
// they are restored from, and the events that are not delivered yet. It belongs
// to the session's identity and moves with it from connection to connection.
// All methods may be called at any time and work on nil.
//
// The order of answers and events is kept here. An event is handed to channels
// only when every call answered before it is running again (unpicked is zero);
// until then it waits in the stage, and the answers behind it wait with it.
type Watches struct {
	unpicked atomic.Int64 // calls answered and woken whose goroutines have not left their wait
	held     atomic.Bool  // the stage is not empty; set by the reader only
	zxid     atomic.Int64 // newest transaction that a reply told of

	hasDropped atomic.Bool // dropped is not empty

	mu      sync.Mutex // never held over I/O or a wait for the application
	table   watchTable
	stage   queue[staged]
	outbox  queue[delivery]
	drained chan struct{} // closed when the stage is empty; nil unless somebody waits
	flowing bool          // between a ConnectResponse and Done: the outbox moves
	sender  *sender       // waits for the head of the outbox to be taken; nil if none
	nqueued int           // deliveries in stage and outbox that are bounded
	dropped []Watch       // of channels that were found closed, for the reader to report

	// The place in history. While settled, the floor is the zxid.
	floor   int64
	settled bool
	gap     bool  // persistent watches moved, and no Gap was queued for it yet
	renewed bool  // to a new session: there will be one
	frames  int   // SetWatches answered on this connection
	bar     int64 // zxid of the last of these answers

	// The identity, changed by Dial only.
	dialing  chan struct{} // cap 1: Dials of one identity run one at a time
	id       int64
	password []byte
	chroot   string
	ended    bool     // closed on the server by this process
	owner    *Session // the last Session made for it, alive or not
	unbound  *watchesJSON
}

// staged is an answer (call set) or an event on its way to one channel.
type staged struct {
	call *call
	delivery
}

// delivery is one event for one channel.
type delivery struct {
	typ  EventType
	kind WatchKind
	raw  bool   // path is handed out as the server knows it
	path string // of the event, as the server knows it
	at   string // of the watch, as the server knows it
	zxid int64
	ch   chan<- Event
}

// sender waits until the head of the outbox is taken.
type sender struct {
	recall chan struct{} // closed to take it back
	result chan sendResult
}

type sendResult int

const (
	notTaken sendResult = iota
	taken
	chanClosed
)

// send tries to put an event into a channel, and tells a closed channel from a full one.
func send(ch chan<- Event, ev Event) (res sendResult) {
	defer func() {
		if recover() != nil {
			res = chanClosed
		}
	}()
	select {
	case ch <- ev:
		return taken
	default:
		return notTaken
	}
}

func (s *sender) run(w *Watches, ch chan<- Event, ev Event) {
	res := s.wait(ch, ev)
	s.result <- res // before the lock: whoever takes the sender back holds it and waits here
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sender != s {
		return
	}
	w.sender = nil
	w.sentLocked(res)
	w.flushLocked()
}

func (s *sender) wait(ch chan<- Event, ev Event) (res sendResult) {
	defer func() {
		if recover() != nil {
			res = chanClosed
		}
	}()
	select {
	case ch <- ev:
		return taken
	case <-s.recall:
		return notTaken
	}
}

// event builds what the channel gets.
func (w *Watches) event(d *delivery) Event {
	path := d.path
	if !d.raw {
		path = stripChroot(w.chroot, path)
	}
	return Event{Type: d.typ, Path: path, Zxid: d.zxid}
}

// sentLocked takes the head off the outbox after its delivery was tried.
func (w *Watches) sentLocked(res sendResult) {
	if res == notTaken {
		return
	}
	d := w.outbox.pop()
	w.countLocked(&d, -1)
	if res == chanClosed {
		w.dropChannelLocked(d)
	}
}

// countLocked counts the deliveries that are bounded by maxPersistentQueue. Gaps
// are not: there is one per watch at most.
func (w *Watches) countLocked(d *delivery, n int) {
	if !d.kind.oneShot() && d.typ != Gap {
		w.nqueued += n
	}
}

// dropChannelLocked forgets a channel that the application has closed. While a
// migration walks the table its watches stay: the next event finds it closed again.
func (w *Watches) dropChannelLocked(d delivery) {
	if !w.table.pinned {
		w.table.removeChannel(d.ch)
	}
	keep := func(q *delivery) bool {
		if q.ch != d.ch {
			return true
		}
		w.countLocked(q, -1)
		return false
	}
	w.outbox.filter(keep)
	w.stage.filter(func(st *staged) bool { return st.call != nil || keep(&st.delivery) })
	w.dropped = append(w.dropped, Watch{Path: w.event(&d).Path, Kind: d.kind})
	w.hasDropped.Store(true)
}

// takeDropped returns the watches that were lost to closed channels since the last call.
func (w *Watches) takeDropped() []Watch {
	if !w.hasDropped.Load() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	dropped := w.dropped
	w.dropped = nil
	w.hasDropped.Store(false)
	return dropped
}

// flushLocked delivers what fits and leaves a sender waiting for the rest.
func (w *Watches) flushLocked() {
	if !w.flowing || w.sender != nil {
		return
	}
	for w.outbox.len() > 0 {
		d := w.outbox.head()
		ev := w.event(d)
		res := send(d.ch, ev)
		if res == notTaken {
			s := &sender{recall: make(chan struct{}), result: make(chan sendResult, 1)}
			w.sender = s
			go s.run(w, d.ch, ev)
			return
		}
		w.sentLocked(res)
	}
}

// recallLocked takes the sender back; it may just have delivered. The wait is
// for the sender's next statement, not for the application.
func (w *Watches) recallLocked() {
	s := w.sender
	if s == nil {
		return
	}
	close(s.recall)
	res := <-s.result
	w.sender = nil
	w.sentLocked(res)
}

// postLocked puts an event at the end of the outbox, or right into its channel
// when nothing is ahead of it.
func (w *Watches) postLocked(d delivery) {
	// A consumer that has just received the only queued event may already be
	// waiting for the reply behind this one: see whether the outbox is in
	// truth empty.
	if w.sender != nil && w.outbox.len() == 1 {
		w.recallLocked()
	}
	w.outbox.push(d)
	w.flushLocked()
}

// answer hands a finished call to its caller, behind the events before it.
// Only the reader calls it.
func (w *Watches) answer(c *call) {
	if w.held.Load() {
		w.mu.Lock()
		if w.stage.len() > 0 {
			w.stage.push(staged{call: c})
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
	w.unpicked.Add(1)
	c.done <- struct{}{}
}

// picked is the first thing that a caller does after its wait.
func (w *Watches) picked() {
	if w.unpicked.Add(-1) == 0 && w.held.Load() {
		w.mu.Lock()
		w.releaseLocked()
		w.mu.Unlock()
	}
}

// releaseLocked walks the stage: an answer wakes its caller; an event waits
// while a caller answered before it has not left its wait.
func (w *Watches) releaseLocked() {
	for w.stage.len() > 0 {
		st := w.stage.head()
		if st.call != nil {
			w.unpicked.Add(1)
			st.call.done <- struct{}{}
			w.stage.pop()
			continue
		}
		if w.unpicked.Load() != 0 {
			return
		}
		w.postLocked(w.stage.pop().delivery)
	}
	w.held.Store(false)
	if w.drained != nil {
		close(w.drained)
		w.drained = nil
	}
}

// stageLocked queues a delivery behind all answers so far.
func (w *Watches) stageLocked(d delivery) {
	w.countLocked(&d, 1)
	w.stage.push(staged{delivery: d})
	w.held.Store(true)
}

// notify resolves an event frame to its channels and disarms the one-shots,
// all at the frame's place on the wire. It returns how many channels get it.
// Only the reader calls it.
func (w *Watches) notify(t EventType, path []byte, zxid int64) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	targets, persistent := w.table.targets(t, path)
	if persistent > 0 && w.overflowsLocked(targets, persistent) {
		return 0, &detailed{kind: ErrSlowConsumer, detail: strconv.Itoa(w.nqueued) + " events of persistent watches are undelivered"}
	}
	w.queueGapsLocked()
	full := "" // the event's path, if no armed path can stand for it
	n := 0
	for i, at := range targets {
		s := &w.table.slots[at]
		if !w.table.firstOf(targets, i) {
			continue
		}
		d := delivery{typ: t, kind: s.watchKind(), raw: s.raw, path: s.path, at: s.path, zxid: max(zxid, 0), ch: s.ch}
		if len(s.path) != len(path) { // a recursive watch further up
			if full == "" {
				full = string(path)
			}
			d.path = full
		}
		w.stageLocked(d)
		n++
	}
	for _, at := range targets {
		if w.table.slots[at].watchKind().oneShot() {
			w.table.remove(at)
		}
	}
	w.table.shrink()
	w.releaseLocked()
	return n, nil
}

// overflowsLocked reports whether there is no room for an event with so many
// persistent targets, of which several may have one channel. With nothing
// undelivered it passes, however many it is for: every next connection would
// only end of it again.
func (w *Watches) overflowsLocked(targets []uint32, persistent int) bool {
	return w.nqueued > 0 && w.nqueued+persistent > maxPersistentQueue && w.nqueued+w.table.channels(targets) > maxPersistentQueue
}

// queueGapsLocked queues the Gap of each (persistent path, channel) that has none undelivered.
func (w *Watches) queueGapsLocked() {
	if !w.gap {
		return
	}
	w.settleSenderLocked() // a Gap that was just received is undelivered no more
	w.gap = false
	type key struct {
		path string
		ch   chan<- Event
	}
	seen := make(map[key]bool)
	note := func(d *delivery) {
		if d.typ == Gap {
			seen[key{d.at, d.ch}] = true
		}
	}
	w.outbox.each(note)
	w.stage.each(func(st *staged) { note(&st.delivery) })
	w.table.each(func(s *slot) {
		k := key{s.path, s.ch}
		if s.watchKind().oneShot() || seen[k] {
			return
		}
		seen[k] = true
		w.stageLocked(delivery{typ: Gap, kind: s.watchKind(), raw: s.raw, path: s.path, at: s.path, ch: s.ch})
	})
}

// arm registers a channel. Only the reader calls it, at the reply's place on the wire.
func (w *Watches) arm(path string, kind WatchKind, raw bool, ch chan<- Event) {
	w.mu.Lock()
	w.table.add(path, kind, raw, ch)
	w.mu.Unlock()
}

// disarm removes a channel from a path. Its one-shots go at once, and with
// shared its persistent kinds too, or else if another channel is armed there;
// asked reports that persistent ones are left, for the server to remove first.
func (w *Watches) disarm(path string, ch chan<- Event, shared bool) (found, asked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var mine []uint32
	for at := w.table.chain([]byte(path)); at != 0; at = w.table.slots[at-1].next {
		if w.table.slots[at-1].ch == ch {
			mine = append(mine, at-1)
		} else {
			shared = true
		}
	}
	for _, at := range mine {
		if shared || w.table.slots[at].watchKind().oneShot() {
			w.table.remove(at)
		} else {
			asked = true
		}
	}
	w.table.shrink()
	return len(mine) > 0, asked
}

// advance notes the zxid of a reply.
func (w *Watches) advance(zxid int64) {
	if zxid > w.zxid.Load() {
		w.zxid.Store(zxid)
	}
}

// start lets the outbox move: a connection has its ConnectResponse.
func (w *Watches) start() {
	w.mu.Lock()
	w.flowing = true
	w.flushLocked()
	w.mu.Unlock()
}

// stop waits until all that the reader staged is handed over, takes the sender
// back and lets the outbox stand still. From here on the floor stands still
// too. Only the reader calls it, as its last act but one.
func (w *Watches) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.stage.len() > 0 {
		empty := make(chan struct{})
		w.drained = empty
		w.releaseLocked()
		if w.stage.len() > 0 {
			w.mu.Unlock()
			<-empty
			w.mu.Lock()
		}
	}
	w.drained = nil
	w.recallLocked()
	w.flowing = false
	w.floor = w.floorLocked()
	w.settled = false
	w.gap = w.gap || w.persistentLocked() > 0
	w.stage.trim()
	w.outbox.trim()
}

// trim gives memory back that a burst of events took.
func (w *Watches) trim() {
	w.mu.Lock()
	w.stage.trim()
	w.outbox.trim()
	w.mu.Unlock()
}

func (w *Watches) floorLocked() int64 {
	if w.settled {
		return w.zxid.Load()
	}
	return w.floor
}

func (w *Watches) persistentLocked() int {
	return w.table.count[PersistentWatch] + w.table.count[RecursiveWatch]
}

// restored notes the reply to a SetWatches frame, which rearms persistent
// watches or not; after the last one the floor follows the zxid. Only the
// reader calls it.
func (w *Watches) restored(zxid int64, rearms, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if zxid > w.floor || w.renewed {
		// A Gap may have been read before the server had these watches again,
		// and ahead of a change since the frame before. Within the first frame
		// nothing can: a server takes a frame without a transaction in between.
		if rearms && w.frames > 0 && zxid > w.bar {
			w.gap = true
		}
		w.queueGapsLocked()
		w.releaseLocked()
	}
	w.frames++
	w.bar = zxid
	if last {
		w.settleLocked()
	}
}

// settle does the same where there was no frame to wait for. A connection that
// has ended meanwhile has settled nothing.
func (w *Watches) settle() {
	w.mu.Lock()
	if w.flowing {
		w.settleLocked()
	}
	w.mu.Unlock()
}

func (w *Watches) settleLocked() {
	w.settled = true
	w.gap, w.renewed = false, false
}

// end notes that the session was closed on the server.
func (w *Watches) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
}

// restorer builds the SetWatches frames of one migration, all with one floor.
//
// Servers before 3.9 keep one mode per path and table, and the last one wins,
// so that persistent watches come after the one-shots of their paths. But their
// recursive watch would also end a child watch, whose events it never gets:
// those on a path with a recursive watch come last, in frames of their own.
type restorer struct {
	w     *Watches
	floor int64
	pass  WatchKind // the kind whose paths come next; lateChildren: see above
	at    int       // next slot to look at
	old   bool      // there are only one-shots: all servers know SetWatches

	persistent bool // the last frame has persistent watches
}

const lateChildren = RecursiveWatch + 1

// restore begins a migration; nil if there is nothing to restore.
func (w *Watches) restore() *restorer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.table.n == 0 {
		return nil
	}
	w.table.pinned = true // slots must not move under the restorer
	w.frames = 0
	return &restorer{w: w, floor: w.floorLocked(), pass: DataWatch, old: w.persistentLocked() == 0}
}

// done lets the table shrink again.
func (r *restorer) done() {
	r.w.mu.Lock()
	r.w.table.pinned = false
	r.w.mu.Unlock()
}

// op returns the opcode of the next frame.
func (r *restorer) op() wire.Op {
	if r.old || r.pass == lateChildren {
		return wire.OpSetWatches
	}
	return wire.OpSetWatches2
}

// next appends the record of the next frame, for which there are limit bytes,
// and reports whether another may follow. It appends nothing when events have
// fired all that was left.
func (r *restorer) next(dst []byte, limit int) (out []byte, more bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	start, lists := len(dst), RecursiveWatch
	if r.op() == wire.OpSetWatches {
		lists = ChildWatch
	}
	dst = wire.AppendInt64(dst, r.floor)
	left, any, full := limit-8-4*int(lists), false, false
	r.persistent = false
	for list := DataWatch; list <= lists; list++ {
		mark, count := len(dst), int32(0)
		dst = wire.AppendInt32(dst, 0)
		pass := r.pass
		if pass == lateChildren {
			pass = ChildWatch
		}
		for pass == list && !full {
			s := r.slot(list)
			if s == nil {
				r.at = 0
				if r.pass++; r.old && r.pass > ChildWatch {
					r.pass = lateChildren + 1
				}
				break
			}
			if size := 4 + len(s.path); size <= left || !any {
				dst = wire.AppendString(dst, s.path)
				left -= size
				count++
				any = true
				r.persistent = r.persistent || !list.oneShot()
				r.at++
			} else {
				full = true
			}
		}
		wire.AppendInt32(dst[:mark], count)
	}
	if more = r.pass < lateChildren || r.pass == lateChildren && r.slot(ChildWatch) != nil; !any {
		return dst[:start], false
	}
	return dst, more
}

// slot returns the next slot to restore in a list, or nil after the last.
func (r *restorer) slot(kind WatchKind) *slot {
	t := &r.w.table
	if t.count[kind] == 0 {
		return nil
	}
	for ; r.at < len(t.slots); r.at++ {
		s := &t.slots[r.at]
		if s.ch == nil || !s.lead || s.watchKind() != kind {
			continue
		}
		if kind == ChildWatch && (r.pass == lateChildren) != t.endsChild(s.path) {
			continue
		}
		return s
	}
	return nil
}

// String tells how many watches are armed. The session's password, which is kept
// here too, is not printed.
func (w *Watches) String() string {
	return fmt.Sprintf("zk.Watches{%d armed, %d undelivered}", w.Len(), w.Undelivered())
}

// Format prints what String does, whatever the verb.
func (w *Watches) Format(f fmt.State, _ rune) { io.WriteString(f, w.String()) }

// List returns one entry per (path, kind, channel): what is armed, and what has
// fired and waits for its channel to have room.
func (w *Watches) List() []Watch {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.snapshotLocked().list()
}

// Len returns the number of armed entries.
func (w *Watches) Len() int {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unbound != nil {
		return len(w.unbound.Armed)
	}
	return w.table.n
}

// Undelivered returns the number of events that wait for their channel to have
// room, or for an event ahead of them.
func (w *Watches) Undelivered() int {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unbound != nil {
		return len(w.unbound.Events)
	}
	w.settleSenderLocked()
	n := w.outbox.len()
	w.stage.each(func(st *staged) {
		if st.call == nil {
			n++
		}
	})
	return n
}

// settleSenderLocked brings the outbox up to date: the sender may have
// delivered its event and not told yet.
func (w *Watches) settleSenderLocked() {
	if w.sender != nil {
		w.recallLocked()
		w.flushLocked()
	}
}

// Rebind gives unmarshalled watches their channels: f is called once per entry
// of List and returns the channel for it; nil drops the watch and its
// undelivered events. On watches that have channels already it returns an
// error that matches ErrUnbound.
func (w *Watches) Rebind(f func(Watch) chan<- Event) error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	u, idle := w.unbound, w.owner == nil && w.table.n == 0 && w.outbox.len() == 0
	w.mu.Unlock()
	inUse := &detailed{kind: ErrUnbound, detail: "these watches are in use"}
	if u == nil {
		if idle {
			return nil
		}
		return inUse
	}
	type key struct {
		path    string
		kind    WatchKind
		channel int
	}
	chans := make(map[key]chan<- Event)
	for _, e := range u.list() {
		chans[key{e.Path, e.Kind, e.Channel}] = f(e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unbound != u {
		return inUse
	}
	for _, a := range u.Armed {
		if ch := chans[key{u.appPath(a), a.Kind, a.Channel}]; ch != nil {
			w.table.add(a.Path, a.Kind, a.Raw, ch)
		}
	}
	for _, e := range u.Events {
		if ch := chans[key{u.appPath(e.armedJSON), e.Kind, e.Channel}]; ch != nil {
			d := delivery{typ: e.Type, kind: e.Kind, raw: e.Raw, path: e.Event, at: e.Path, zxid: e.Zxid, ch: ch}
			w.countLocked(&d, 1)
			w.outbox.push(d)
		}
	}
	w.chroot, w.floor, w.gap = u.Chroot, u.Floor, u.Gap
	w.unbound = nil
	return nil
}

// watchesJSON is Watches without channels. Paths are as the server knows them.
type watchesJSON struct {
	Chroot string      `json:"chroot,omitempty"`
	Floor  int64       `json:"floor"`
	Gap    bool        `json:"gap,omitempty"`
	Armed  []armedJSON `json:"armed,omitempty"`
	Events []eventJSON `json:"events,omitempty"`
}

type armedJSON struct {
	Path    string    `json:"path"`
	Kind    WatchKind `json:"kind"`
	Channel int       `json:"channel"`
	Raw     bool      `json:"raw,omitempty"`
}

type eventJSON struct {
	armedJSON
	Type  EventType `json:"type"`
	Event string    `json:"event"` // the event's path
	Zxid  int64     `json:"zxid,omitempty"`
}

func (j *watchesJSON) appPath(a armedJSON) string {
	if a.Raw {
		return a.Path
	}
	return stripChroot(j.Chroot, a.Path)
}

func (j *watchesJSON) list() []Watch {
	var out []Watch
	at := make(map[armedJSON]int)
	add := func(a armedJSON, fired bool) {
		if i, ok := at[a]; ok {
			out[i].Fired = out[i].Fired || fired
			return
		}
		at[a] = len(out)
		out = append(out, Watch{Path: j.appPath(a), Kind: a.Kind, Channel: a.Channel, Fired: fired})
	}
	for _, a := range j.Armed {
		add(a, false)
	}
	for _, e := range j.Events {
		add(e.armedJSON, true)
	}
	return out
}

func (w *Watches) snapshotLocked() *watchesJSON {
	if w.unbound != nil {
		return w.unbound
	}
	w.settleSenderLocked()
	j := &watchesJSON{Chroot: w.chroot, Floor: w.floorLocked(), Gap: w.gap || w.flowing && w.persistentLocked() > 0}
	numbers := make(map[chan<- Event]int)
	number := func(ch chan<- Event) int {
		n, ok := numbers[ch]
		if !ok {
			n = len(numbers) + 1
			numbers[ch] = n
		}
		return n
	}
	w.table.each(func(s *slot) {
		j.Armed = append(j.Armed, armedJSON{s.path, s.watchKind(), number(s.ch), s.raw})
	})
	undelivered := func(d *delivery) {
		j.Events = append(j.Events, eventJSON{armedJSON{d.at, d.kind, number(d.ch), d.raw}, d.typ, d.path, d.zxid})
	}
	w.outbox.each(undelivered)
	w.stage.each(func(st *staged) {
		if st.call == nil {
			undelivered(&st.delivery)
		}
	})
	return j
}

// MarshalJSON writes the watches with channels as numbers, the floor and the
// undelivered events. Of a Session that lives it may repeat an event later,
// but never lose one.
func (w *Watches) MarshalJSON() ([]byte, error) {
	if w == nil {
		return []byte("null"), nil
	}
	w.mu.Lock()
	j := w.snapshotLocked()
	w.mu.Unlock()
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote. The watches have no channels
// until Rebind.
func (w *Watches) UnmarshalJSON(b []byte) error {
	if w == nil {
		return badArgument("watches into a nil *Watches")
	}
	j := new(watchesJSON)
	if err := json.Unmarshal(b, j); err != nil {
		return err
	}
	for _, a := range j.Armed {
		if err := a.check(); err != nil {
			return err
		}
	}
	for _, e := range j.Events {
		if err := e.check(); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owner != nil || w.table.n > 0 || w.outbox.len() > 0 {
		return &detailed{kind: ErrUnbound, detail: "these watches are in use"}
	}
	w.chroot, w.floor, w.gap = j.Chroot, j.Floor, j.Gap
	w.unbound = nil
	if len(j.Armed)+len(j.Events) > 0 {
		w.unbound = j
	}
	return nil
}

func (a armedJSON) check() error {
	if a.Kind < DataWatch || a.Kind > RecursiveWatch {
		return badArgument("unmarshal watches: unknown kind %d at %q", int(a.Kind), a.Path)
	}
	if err := checkPath(a.Path, false); err != nil {
		return err
	}
	return nil
}

// queue is a FIFO. Empty, it keeps a small array for the next burst, and gives
// it back when it is trimmed.
type queue[T any] struct {
	items []T
	first int
}

func (q *queue[T]) len() int { return len(q.items) - q.first }

func (q *queue[T]) head() *T { return &q.items[q.first] }

func (q *queue[T]) last() *T { return &q.items[len(q.items)-1] }

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.first]
	q.items[q.first] = zero
	q.first++
	if q.first == len(q.items) {
		q.first = 0
		q.items = q.items[:0]
		if cap(q.items) > maxKeptQueue {
			q.items = nil
		}
	} else if q.first > 1024 && q.first > len(q.items)/2 {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	return v
}

const maxKeptQueue = 2048 // items

// trim gives the memory of an empty queue back.
func (q *queue[T]) trim() {
	if q.len() == 0 {
		*q = queue[T]{}
	}
}

func (q *queue[T]) each(f func(*T)) {
	for i := q.first; i < len(q.items); i++ {
		f(&q.items[i])
	}
}

// filter keeps the items that keep says.
func (q *queue[T]) filter(keep func(*T) bool) {
	out := q.items[q.first:q.first]
	for i := q.first; i < len(q.items); i++ {
		if keep(&q.items[i]) {
			out = append(out, q.items[i])
		}
	}
	clear(q.items[q.first+len(out):])
	q.items = q.items[:q.first+len(out)]
}

// watchTable is the registry: slots of (path, kind, channel), chained per path,
// and an open-addressed index of the paths. It takes about half the memory of
// a Go map, and an event costs no allocation, since the armed path is its path.
type watchTable struct {
	slots []slot
	free  uint32 // first free slot + 1
	index []entry
	paths int
	n     int // armed slots
	count [numKinds]int

	pinned  bool     // a restorer walks the slots
	scratch []uint32 // targets of one event
	seen    map[chan<- Event]struct{}
}

// slot is 32 bytes; a free one has no channel and links to the next free one.
type slot struct {
	path string
	ch   chan<- Event
	next uint32 // next slot of the path + 1
	kind uint8
	lead bool // the first of its kind in the chain: restored once for all of them
	raw  bool // events are handed out with the server's path
}

// entry is one path of the index.
type entry struct {
	hash uint32
	slot uint32 // head of the chain + 1; 0: empty
}

var hashSeed = maphash.MakeSeed()

const minTable = 8

func (s *slot) watchKind() WatchKind { return WatchKind(s.kind) }

// find returns the place of a path in the index, or the empty place for it.
func (t *watchTable) find(path string, hash uint32) (int, bool) {
	mask := uint32(len(t.index) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		e := t.index[i]
		if e.slot == 0 {
			return int(i), false
		}
		if e.hash == hash && t.slots[e.slot-1].path == path {
			return int(i), true
		}
	}
}

// chain returns the first slot of a path + 1, or 0.
func (t *watchTable) chain(path []byte) uint32 {
	if t.paths == 0 {
		return 0
	}
	mask := uint32(len(t.index) - 1)
	hash := uint32(maphash.Bytes(hashSeed, path))
	for i := hash & mask; ; i = (i + 1) & mask {
		e := t.index[i]
		if e.slot == 0 || e.hash == hash && t.slots[e.slot-1].path == string(path) {
			return e.slot
		}
	}
}

// covered reports whether a persistent watch on the path sees all that a watch
// of the kind is to see.
func (t *watchTable) covered(path string, kind WatchKind) bool {
	for at := t.chain([]byte(path)); at != 0; at = t.slots[at-1].next {
		switch t.slots[at-1].watchKind() {
		case PersistentWatch:
			return true
		case RecursiveWatch:
			if kind != ChildWatch {
				return true
			}
		}
	}
	return false
}

// endsChild reports whether the path has a recursive watch and no persistent
// one, which would get the events of a child watch.
func (t *watchTable) endsChild(path string) bool {
	if t.count[RecursiveWatch] == 0 {
		return false
	}
	recursive := false
	for at := t.chain([]byte(path)); at != 0; at = t.slots[at-1].next {
		switch t.slots[at-1].watchKind() {
		case PersistentWatch:
			return false
		case RecursiveWatch:
			recursive = true
		}
	}
	return recursive
}

// add arms a channel, unless it is armed at the path in this kind already.
func (t *watchTable) add(path string, kind WatchKind, raw bool, ch chan<- Event) {
	if t.paths >= len(t.index)/4*3 {
		t.grow(max(minTable, 2*len(t.index)))
	}
	hash := uint32(maphash.String(hashSeed, path))
	i, found := t.find(path, hash)
	last, lead := uint32(0), true
	if found {
		path = t.slots[t.index[i].slot-1].path // one string for the whole chain
		for at := t.index[i].slot; at != 0; at = t.slots[at-1].next {
			s := &t.slots[at-1]
			if s.watchKind() == kind {
				if s.ch == ch {
					return
				}
				lead = false
			}
			last = at
		}
	}
	at := t.free
	if at != 0 {
		t.free = t.slots[at-1].next
	} else {
		t.slots = append(t.slots, slot{})
		at = uint32(len(t.slots))
	}
	t.slots[at-1] = slot{path: path, ch: ch, kind: uint8(kind), lead: lead, raw: raw}
	if found {
		t.slots[last-1].next = at
	} else {
		t.index[i] = entry{hash, at}
		t.paths++
	}
	t.n++
	t.count[kind]++
}

// remove disarms one slot.
func (t *watchTable) remove(at uint32) {
	gone := t.slots[at]
	i, _ := t.find(gone.path, uint32(maphash.String(hashSeed, gone.path)))
	if head := t.index[i].slot; head != at+1 {
		for head != 0 && t.slots[head-1].next != at+1 {
			head = t.slots[head-1].next
		}
		t.slots[head-1].next = gone.next
	} else if gone.next != 0 {
		t.index[i].slot = gone.next
	} else {
		t.unindex(i)
	}
	if gone.lead {
		for next := gone.next; next != 0; next = t.slots[next-1].next {
			if s := &t.slots[next-1]; s.kind == gone.kind {
				s.lead = true
				break
			}
		}
	}
	t.slots[at] = slot{next: t.free}
	t.free = at + 1
	t.n--
	t.count[gone.kind]--
}

// unindex removes a path from the index and closes the hole.
func (t *watchTable) unindex(hole int) {
	mask := len(t.index) - 1
	for i := (hole + 1) & mask; t.index[i].slot != 0; i = (i + 1) & mask {
		if home := int(t.index[i].hash) & mask; (i-home)&mask >= (i-hole)&mask {
			t.index[hole] = t.index[i]
			hole = i
		}
	}
	t.index[hole] = entry{}
	t.paths--
}

// grow makes the index n places large.
func (t *watchTable) grow(n int) {
	old := t.index
	t.index = make([]entry, n)
	mask := uint32(n - 1)
	for _, e := range old {
		if e.slot == 0 {
			continue
		}
		i := e.hash & mask
		for t.index[i].slot != 0 {
			i = (i + 1) & mask
		}
		t.index[i] = e
	}
}

// shrink rebuilds a table that is mostly empty.
func (t *watchTable) shrink() {
	if t.pinned || len(t.slots) <= 64 || t.n > len(t.slots)/4 {
		return
	}
	small := watchTable{slots: make([]slot, 0, t.n)}
	t.each(func(s *slot) { small.add(s.path, s.watchKind(), s.raw, s.ch) })
	*t = small
}

// each calls f for every armed slot.
func (t *watchTable) each(f func(*slot)) {
	for i := range t.slots {
		if t.slots[i].ch != nil {
			f(&t.slots[i])
		}
	}
}

// removeChannel disarms a channel everywhere.
func (t *watchTable) removeChannel(ch chan<- Event) {
	for i := range t.slots {
		if t.slots[i].ch == ch {
			t.remove(uint32(i))
		}
	}
}

// targets returns the slots that an event concerns, and how many of them are
// persistent: those of the path, in the order they were armed, then recursive
// ones further up. The result is valid until the next call.
func (t *watchTable) targets(typ EventType, path []byte) (slots []uint32, persistent int) {
	slots = t.scratch[:0]
	for at := t.chain(path); at != 0; at = t.slots[at-1].next {
		if k := t.slots[at-1].watchKind(); k.takes(typ) {
			slots = append(slots, at-1)
			if !k.oneShot() {
				persistent++
			}
		}
	}
	if t.count[RecursiveWatch] > 0 && typ != Child {
		for end := len(path); end > 1; {
			for end--; end > 0 && path[end] != '/'; end-- {
			}
			for at := t.chain(path[:max(end, 1)]); at != 0; at = t.slots[at-1].next {
				if t.slots[at-1].watchKind() == RecursiveWatch {
					slots = append(slots, at-1)
					persistent++
				}
			}
		}
	}
	t.scratch = slots
	if cap(slots) > 1024 {
		t.scratch = nil
	}
	return slots, persistent
}

// channels counts the channels that get an event of persistent targets.
func (t *watchTable) channels(targets []uint32) int {
	n := 0
	for i, at := range targets {
		if t.firstOf(targets, i) && !t.slots[at].watchKind().oneShot() {
			n++
		}
	}
	return n
}

// firstOf reports whether targets[i] is the first with its channel: one
// notification gives a channel one event, in however many ways it is armed.
// The set of channels is kept while one list of targets is walked from 0 up.
func (t *watchTable) firstOf(targets []uint32, i int) bool {
	ch := t.slots[targets[i]].ch
	if len(targets) <= 32 {
		for _, before := range targets[:i] {
			if t.slots[before].ch == ch {
				return false
			}
		}
		return true
	}
	if i == 0 {
		t.seen = make(map[chan<- Event]struct{}, len(targets))
	}
	n := len(t.seen)
	t.seen[ch] = struct{}{}
	first := len(t.seen) > n
	if i == len(targets)-1 {
		t.seen = nil
	}
	return first
}
