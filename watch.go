package zk

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/order"
	"github.com/seed-9f8420c6/zk/internal/place"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/internal/zpath"
)

// Event reports that something changed, not what it is now: read again.
type Event struct {
	Type EventType
	// Path is the znode's, as the application knows it: without the chroot.
	Path string
	// Zxid is that of the change where the server reports it (3.9 and later, and not
	// for changes made while disconnected), else 0.
	Zxid int64
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

// Watch is one entry of Watches.List: a channel armed at a path in one way, or
// one whose event has not been delivered yet.
type Watch struct {
	Path string
	Kind WatchKind
	// Channel is a number: within one List, the same for the same channel.
	Channel int
	// Fired: its event is still undelivered.
	Fired bool
	// Len and Cap are of the channel: how many events are in it, and how many it has room
	// for. Unmarshalled watches have no channel, and zeros here.
	Len, Cap int
}

// Watches holds what a session is watching: the armed watches, the zxid floor
// they are restored from, and the events that are not delivered yet. It belongs
// to the session's identity and moves with it from connection to connection.
// All methods may be called at any time and work on nil.
type Watches struct {
	zxid   atomic.Int64 // newest transaction that a reply reported
	queue  order.Sequencer[Event, note]
	closed closedChannels
	news   atomic.Bool // there are lost watches, or new Gaps, for the reader to report

	// mu guards all that follows, the queue and the closed channels. It is never held
	// over I/O or a wait for the application. A Session's mu comes before it.
	mu    sync.Mutex
	table watches.Table[chan<- Event]
	load  load
	gaps  map[gapKey]struct{} // undelivered Gaps
	place place.Place         // how much of the history they have seen
	who   identity
	// unbound is set after unmarshalling, until Rebind gives the watches channels.
	unbound *handover.Watches
	head    head    // of the queue, while load says that it waits
	newly   []Event // Gaps of the reader's last chunk that no hook has seen
}

// identity is whose watches they are. Only Dial changes it.
type identity struct {
	dialing  chan struct{} // cap 1: Dials of one identity run one at a time
	id       int64
	password []byte
	chroot   string
	ended    bool // closed on the server by this process
	reads    bool // a server did not support SetWatches: reads restore the watches
	owner    any  // the last *Session made for it, alive or not; nil: none
}

// note is what an undelivered event remembers of its watch.
type note struct {
	at   string // the watch's path, as the server knows it
	kind WatchKind
	raw  bool // the event has the server's path, not the application's
}

type item = order.Item[Event, note]

// load is how many events are undelivered.
type load struct {
	persistent int // of persistent watches, but for Gaps, of which there is one per watch at most
	oneShots   int
	peak       int  // entries that were armed, at most, since oneShots was zero
	waits      bool // the next one finds its channel full
}

// head is the event that waits for its channel; all later ones wait for it.
type head struct {
	since    time.Time
	path     string
	capacity int // of its channel
	told     bool
}

// count adds n events of a kind.
func (l *load) count(it *item, n int) {
	switch {
	case WatchKind.oneShot(it.Note.kind):
		l.oneShots += n
	case it.Event.Type != Gap:
		l.persistent += n
	}
}

type gapKey struct {
	at string
	ch chan<- Event
}

// closedChannels are those that the application has closed although they are armed.
type closedChannels struct {
	// known are those found closed. They stay here while events are undelivered, so
	// that each is reported once.
	known map[chan<- Event]struct{}
	// unswept counts those whose other watches may be armed still.
	unswept int
	lost    []lostWatch // for the reader to report
}

// lostWatch is the watch whose event found its channel closed.
type lostWatch struct {
	Watch
	at string
}

func (k WatchKind) oneShot() bool { return watches.Kind(k).OneShot() }

// Lock and Unlock are for the queue.
func (w *watchOwner) Lock()   { w.mu.Lock() }
func (w *watchOwner) Unlock() { w.mu.Unlock() }

// watchOwner is Watches as the owner of its queue.
type watchOwner Watches

// Sent notes that an event has left the queue.
func (w *watchOwner) Sent(it item, closed bool) { (*Watches)(w).sentLocked(&it, closed) }

// Waits notes that an event is the next, and its channel is full.
func (w *watchOwner) Waits(it item) {
	w.load.waits = true
	w.head = head{since: time.Now(), path: it.Event.Path, capacity: cap(it.Ch)}
}

// stuck returns the event that has waited for its channel for so long, once.
func (w *Watches) stuck(now time.Time, limit time.Duration) *head {
	w.mu.Lock()
	defer w.mu.Unlock()
	waits := func() bool { return w.load.waits && !w.head.told && now.Sub(w.head.since) >= limit }
	if !waits() {
		return nil
	}
	if w.queue.Sync(); !waits() { // it has left meanwhile
		return nil
	}
	w.head.told = true
	h := w.head
	return &h
}

// queuedFor returns how long the next event has waited for its channel.
func (w *Watches) queuedFor(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue.Sync()
	if !w.load.waits {
		return 0
	}
	return now.Sub(w.head.since)
}

func (w *Watches) sentLocked(it *item, closed bool) {
	w.load.waits = false
	w.load.count(it, -1)
	if it.Event.Type == Gap {
		delete(w.gaps, gapKey{it.Note.at, it.Ch})
	}
	if closed {
		w.dropLocked(it)
	}
}

// dropLocked forgets the watch of a channel that was found closed. The channel's
// other watches go at the next sweep, for that looks at all there are.
func (w *Watches) dropLocked(it *item) {
	if !it.Note.kind.oneShot() {
		w.table.Remove(it.Note.at, watches.Kind(it.Note.kind), it.Ch)
	}
	c := &w.closed
	if _, ok := c.known[it.Ch]; ok {
		return
	}
	if c.known == nil {
		c.known = make(map[chan<- Event]struct{})
	}
	c.known[it.Ch] = struct{}{}
	c.unswept++
	c.lost = append(c.lost, lostWatch{Watch{Path: it.Event.Path, Kind: it.Note.kind}, it.Note.at})
	w.news.Store(true)
}

// sweepShare is how many entries are looked at for one closed channel.
const sweepShare = 64

// sweepLocked forgets all watches of closed channels. Unless all is set, it waits
// until that is worth a look at all watches.
func (w *Watches) sweepLocked(all bool) {
	c := &w.closed
	if c.unswept == 0 || !all && c.unswept*sweepShare < w.table.Len() {
		return
	}
	c.unswept = 0
	w.table.Sweep(func(ch chan<- Event) bool {
		_, ok := c.known[ch]
		return ok
	})
	if w.queue.Undelivered() == 0 {
		c.known = nil
	}
}

// takeLost returns the watches that were lost to closed channels since the last
// call. Only the reader calls it.
func (w *Watches) takeLost() []lostWatch {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(false)
	lost := w.closed.lost
	w.closed.lost = nil
	w.newly = nil // which a hook has seen, if there is one
	w.news.Store(false)
	return lost
}

// picked is the first thing that a caller does after its wait.
func (w *Watches) picked() { w.queue.Picked(&w.mu) }

// notified is what became of an event frame, for the hooks.
type notified struct {
	event  Event // as the first of its channels gets it
	queued bool  // not all of them have it
}

// notify resolves an event frame to its channels and disarms the one-shots,
// all at the frame's place on the wire. It returns how many channels get it, and fills
// in got, unless that is nil. Only the reader calls it.
func (w *Watches) notify(t EventType, path []byte, zxid int64, got *notified) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	targets, persistent := w.table.Match(int32(t), path)
	if persistent > 0 && w.overflowsLocked(persistent) {
		return 0, &detailed{kind: ErrSlowConsumer, detail: strconv.Itoa(w.load.persistent) + " events of persistent watches are undelivered"}
	}
	w.queueGapsLocked()
	if w.load.oneShots == 0 {
		w.load.peak = w.table.Len()
	}
	full := "" // the event's path, if no armed path can stand for it
	for i := range targets {
		x := &targets[i]
		p := x.Path
		if len(p) != len(path) { // a recursive watch further up
			if full == "" {
				full = string(path)
			}
			p = full
		}
		w.postLocked(&item{
			Ch:    x.Ch,
			Event: Event{Type: t, Path: w.appPath(p, x.Raw), Zxid: max(zxid, 0)},
			Note:  note{at: x.Path, kind: WatchKind(x.Kind), raw: x.Raw},
		})
		if got != nil && i == 0 {
			got.event = Event{Type: t, Path: w.appPath(p, x.Raw), Zxid: max(zxid, 0)}
		}
	}
	if len(targets) > 0 {
		w.table.Fire(int32(t), path)
	}
	w.queue.Release()
	if got != nil {
		got.queued = w.queue.Undelivered() > 0
	}
	return len(targets), nil
}

// takeGaps returns the Gaps since the last call, and whether not all events have been
// handed over. Only the reader calls it.
func (w *Watches) takeGaps() (gaps []Event, queued bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gaps, w.newly = w.newly, nil
	return gaps, w.queue.Undelivered() > 0
}

func (w *Watches) postLocked(it *item) {
	w.load.count(it, 1)
	w.queue.Post(it)
}

// appPath returns a path of the server as a watch's events have it.
func (w *Watches) appPath(path string, raw bool) string {
	if raw {
		return path
	}
	return zpath.Strip(w.who.chroot, path)
}

// overflowsLocked reports whether there is no room for so many events of persistent
// watches. With nothing undelivered there is, however many they are: every next
// connection would only end by them again.
func (w *Watches) overflowsLocked(n int) bool {
	if w.load.persistent == 0 || w.load.persistent+n <= limits.PersistentQueue {
		return false
	}
	w.queue.Sync()
	return w.load.persistent > 0 && w.load.persistent+n > limits.PersistentQueue
}

// crowdedLocked reports whether so many events of one-shot watches are undelivered
// that no more are armed. Events of watches that were armed when the oldest of them
// fired do not count: their channels may have been armed all at once.
func (w *Watches) crowdedLocked() bool {
	if w.load.oneShots <= limits.OneShotQueue+w.load.peak {
		return false
	}
	w.queue.Sync()
	return w.load.oneShots > limits.OneShotQueue+w.load.peak
}

// queueGapsLocked queues the Gap of each (persistent path, channel) that has none
// undelivered, where one is owed.
func (w *Watches) queueGapsLocked() {
	if !w.place.TakeGap() {
		return
	}
	w.queue.Sync() // a Gap that was just received is undelivered no more
	var owed []watches.Target[chan<- Event]
	w.table.EachPersistent(func(x watches.Target[chan<- Event]) { owed = append(owed, x) })
	w.postGapsLocked(owed)
}

// postGapsLocked queues a Gap for each (path, channel) that has none undelivered.
func (w *Watches) postGapsLocked(owed []watches.Target[chan<- Event]) {
	if len(owed) > 0 && w.gaps == nil {
		w.gaps = make(map[gapKey]struct{})
	}
	owed = slices.DeleteFunc(owed, func(x watches.Target[chan<- Event]) bool {
		k := gapKey{x.Path, x.Ch}
		_, there := w.gaps[k]
		w.gaps[k] = struct{}{}
		return there
	})
	for _, x := range owed {
		ev := Event{Type: Gap, Path: w.appPath(x.Path, x.Raw)}
		w.newly = append(w.newly, ev)
		w.news.Store(true)
		w.postLocked(&item{Ch: x.Ch, Event: ev, Note: note{at: x.Path, kind: WatchKind(x.Kind), raw: x.Raw}})
	}
}

// gapAt queues a Gap for the persistent watches of one kind at a path. Only the
// reader calls it.
func (w *Watches) gapAt(path string, kind WatchKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue.Sync()
	var owed []watches.Target[chan<- Event]
	w.table.Channels(path, watches.Kind(kind), func(x watches.Target[chan<- Event]) { owed = append(owed, x) })
	w.postGapsLocked(owed)
	w.queue.Release()
}

// arm registers a channel. Only the reader calls it, at the reply's place on the wire.
func (w *Watches) arm(path string, kind WatchKind, raw bool, ch chan<- Event) {
	w.mu.Lock()
	w.armLocked(path, kind, raw, ch)
	w.mu.Unlock()
}

func (w *Watches) armLocked(path string, kind WatchKind, raw bool, ch chan<- Event) {
	w.table.Add(path, watches.Kind(kind), raw, ch)
	w.load.peak = max(w.load.peak, w.table.Len())
}

// armed returns the kinds that are armed at a path.
func (w *Watches) armed(path string) watches.Kinds {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table.Kinds(path)
}

// disarm removes a channel from a path. Its one-shots go at once, and with
// shared its persistent kinds too, or else if another channel is armed there;
// asked reports that persistent ones are left, for the server to remove first.
func (w *Watches) disarm(path string, ch chan<- Event, shared bool) (found, asked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(true)
	mine, others := w.table.KindsOf(path, ch)
	for kind := watches.Data; kind <= watches.Recursive; kind++ {
		switch {
		case !mine.Has(kind):
		case shared || others || kind.OneShot():
			w.table.Remove(path, kind, ch)
		default:
			asked = true
		}
	}
	w.table.Shrink()
	return mine != 0, asked
}

// advance notes the zxid of a reply.
func (w *Watches) advance(zxid int64) {
	if zxid > w.zxid.Load() {
		w.zxid.Store(zxid)
	}
}

// start lets the events move: a connection has its ConnectResponse.
func (w *Watches) start() {
	w.mu.Lock()
	w.queue.Start((*watchOwner)(w))
	w.mu.Unlock()
}

// stop waits until all that the reader read is handed over, and lets the events
// stand still. From here on the floor stands still too. Only the reader calls it,
// as its last act but one.
func (w *Watches) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue.Stop()
	w.place.Stop(w.zxid.Load(), w.table.Persistent() > 0)
}

// tell notes an AddWatch of the client's own, see place.Place.Tell; heard its answer.
func (w *Watches) tell(since int64, longer bool) {
	w.mu.Lock()
	w.place.Tell(since, longer)
	w.mu.Unlock()
}

func (w *Watches) heard() {
	w.mu.Lock()
	w.place.Heard()
	w.mu.Unlock()
}

// childDeaf notes that the child watch of a path is deaf since a zxid, childHears that it
// was restored.
func (w *Watches) childDeaf(path string, since int64) {
	w.mu.Lock()
	w.place.ChildDeaf(path, since)
	w.mu.Unlock()
}

func (w *Watches) childHears(path string) {
	w.mu.Lock()
	w.place.ChildHears(path)
	w.mu.Unlock()
}

// trim gives memory back that a burst of events took.
func (w *Watches) trim() {
	w.mu.Lock()
	w.queue.Trim()
	if w.closed.unswept == 0 && w.queue.Undelivered() == 0 {
		w.closed.known = nil
	}
	w.mu.Unlock()
}

// restored notes the reply to a SetWatches frame, which rearms persistent
// watches or not; after the last one the floor follows the zxid. Only the
// reader calls it.
func (w *Watches) restored(zxid int64, rearms, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.place.Restored(zxid, rearms) {
		w.queueGapsLocked()
		w.queue.Release()
	}
	if last {
		w.place.Settle()
	}
}

// settle does the same where there was no frame to wait for. A connection that
// has ended meanwhile has settled nothing.
func (w *Watches) settle() {
	w.mu.Lock()
	if w.queue.Moves() {
		w.place.Settle()
	}
	w.mu.Unlock()
}

// oweGap makes sure of the Gap that persistent watches get with a new session:
// when the server begins to restore them, for until then they miss changes.
func (w *Watches) oweGap() {
	w.mu.Lock()
	w.place.OweGap(w.table.Persistent() > 0)
	w.mu.Unlock()
}

// end notes that the session was closed on the server.
func (w *Watches) end() {
	w.mu.Lock()
	w.who.ended = true
	w.mu.Unlock()
}

// readNext makes reads restore the watches from now on.
func (w *Watches) readNext() {
	w.mu.Lock()
	w.who.reads = true
	w.mu.Unlock()
}

// reads reports whether reads restore the watches.
func (w *Watches) reads() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.who.reads
}

// restorer builds the SetWatches frames of one migration.
type restorer struct {
	w     *Watches
	floor int64
	deaf  place.Children // the lower floors of child watches
	reads bool           // one by one, by reads
	*watches.Restorer[chan<- Event]
}

// restore begins a migration; nil if there is nothing to restore.
func (w *Watches) restore() *restorer {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(true)
	deaf := w.place.Restore(func(path string) bool { return w.table.Kinds(path).Has(watches.Child) })
	floor := w.place.Floor(w.zxid.Load())
	if r := w.table.Restore(floor); r != nil {
		return &restorer{w, floor, deaf, w.who.reads, r}
	}
	return nil
}

// path returns the next watch to restore and the zxid since which it may have missed
// its event; false: there is none.
func (r *restorer) path() (path string, kind watches.Kind, floor int64, ok bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	path, kind, ok = r.Path()
	floor = r.floor
	if since, deaf := r.deaf[path]; deaf && kind == watches.Child {
		floor = since
	}
	return path, kind, floor, ok
}

func (r *restorer) next(dst []byte, limit int) (out []byte, more bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return r.Next(dst, limit)
}

func (r *restorer) done() {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.Done()
}

// String reports how many watches are armed. The session's password, which is kept
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
	s := w.snapshot()
	out := list(s.handover())
	for i := range out {
		if n := out[i].Channel - 1; n >= 0 && n < len(s.channels) {
			out[i].Len, out[i].Cap = len(s.channels[n]), cap(s.channels[n])
		}
	}
	return out
}

func list(j *handover.Watches) []Watch {
	var out []Watch
	j.Each(func(a handover.Armed, fired bool) { out = append(out, watchOf(j, a, fired)) })
	return out
}

func watchOf(j *handover.Watches, a handover.Armed, fired bool) Watch {
	return Watch{Path: j.Path(a), Kind: WatchKind(a.Kind), Channel: a.Channel, Fired: fired}
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
	w.sweepLocked(true)
	return w.table.Len()
}

// Count returns the number of armed entries of a kind; of unmarshalled watches none.
func (w *Watches) Count(kind WatchKind) int {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(true)
	return w.table.Count(watches.Kind(kind))
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
	w.queue.Sync()
	return w.queue.Undelivered()
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
	u, idle := w.unbound, w.idleLocked()
	w.mu.Unlock()
	inUse := &detailed{kind: ErrUnbound, detail: "these watches are in use"}
	if u == nil {
		if idle {
			return nil
		}
		return inUse
	}
	chans := make(map[handover.Armed]chan<- Event)
	u.Each(func(a handover.Armed, fired bool) { chans[a] = f(watchOf(u, a, fired)) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unbound != u {
		return inUse
	}
	w.who.chroot = u.Chroot
	for _, a := range u.Armed {
		if ch := chans[a]; ch != nil {
			w.armLocked(a.Path, WatchKind(a.Kind), a.Raw, ch)
		}
	}
	for _, e := range u.Events {
		if ch := chans[e.Armed]; ch != nil {
			w.requeueLocked(e, ch)
		}
	}
	w.takePlaceLocked(u)
	w.unbound = nil
	return nil
}

// takePlaceLocked takes the place in history that another process has left.
func (w *Watches) takePlaceLocked(u *handover.Watches) {
	deaf := make(place.Children, len(u.Deaf))
	for _, x := range u.Deaf {
		deaf[x.Path] = int64(x.Since)
	}
	w.place.Take(place.Mark{Floor: int64(u.Floor), Gap: u.Gap, Fresh: u.Fresh, Deaf: deaf})
}

// idleLocked reports whether the watches were never used.
func (w *Watches) idleLocked() bool {
	return w.who.owner == nil && w.table.Len() == 0 && w.queue.Undelivered() == 0
}

// requeueLocked puts an undelivered event of another process into the queue.
func (w *Watches) requeueLocked(e handover.Event, ch chan<- Event) {
	it := item{
		Ch:    ch,
		Event: Event{Type: EventType(e.Type), Path: w.appPath(e.Event, e.Raw), Zxid: int64(e.Zxid)},
		Note:  note{at: e.Path, kind: WatchKind(e.Kind), raw: e.Raw},
	}
	w.load.count(&it, 1)
	w.load.peak = max(w.load.peak, w.load.oneShots)
	if it.Event.Type == Gap {
		if w.gaps == nil {
			w.gaps = make(map[gapKey]struct{})
		}
		w.gaps[gapKey{e.Path, ch}] = struct{}{}
	}
	w.queue.Queue(it)
}

// snapshot is a copy of Watches, taken in one piece. All that takes long is done to
// the copy, without the lock that the reader needs.
type snapshot struct {
	unbound *handover.Watches // set: this is all
	chroot  string
	place   place.Mark
	armed   *watches.Snapshot[chan<- Event]
	events  []item

	channels []chan<- Event // by number - 1, once they have numbers
}

func (w *Watches) snapshot() *snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unbound != nil {
		return &snapshot{unbound: w.unbound}
	}
	w.queue.Sync()
	w.sweepLocked(true)
	return &snapshot{
		chroot: w.who.chroot,
		place:  w.place.Mark(w.zxid.Load(), w.queue.Moves() && w.table.Persistent() > 0),
		armed:  w.table.Snapshot(), events: w.queue.Items(),
	}
}

// handover numbers the channels.
func (s *snapshot) handover() *handover.Watches {
	if s.unbound != nil {
		return s.unbound
	}
	j := &handover.Watches{Chroot: s.chroot, Floor: handover.Int(s.place.Floor), Gap: s.place.Gap, Fresh: s.place.Fresh}
	for path, since := range s.place.Deaf {
		j.Deaf = append(j.Deaf, handover.Deaf{Path: path, Since: handover.Int(since)})
	}
	slices.SortFunc(j.Deaf, func(a, b handover.Deaf) int { return strings.Compare(a.Path, b.Path) })
	numbers := make(map[chan<- Event]int)
	number := func(ch chan<- Event) int {
		n, ok := numbers[ch]
		if !ok {
			n = len(numbers) + 1
			numbers[ch] = n
			s.channels = append(s.channels, ch)
		}
		return n
	}
	s.armed.Each(func(x watches.Target[chan<- Event]) {
		j.Armed = append(j.Armed, handover.Armed{Path: x.Path, Kind: int(x.Kind), Channel: number(x.Ch), Raw: x.Raw})
	})
	for _, it := range s.events {
		path := it.Event.Path
		if !it.Note.raw {
			path = zpath.Join(s.chroot, path)
		}
		a := handover.Armed{Path: it.Note.at, Kind: int(it.Note.kind), Channel: number(it.Ch), Raw: it.Note.raw}
		j.Events = append(j.Events, handover.Event{Armed: a, Type: int32(it.Event.Type), Event: path, Zxid: handover.Int(it.Event.Zxid)})
	}
	return j
}

// MarshalJSON writes the watches with channels as numbers, the floor and the
// undelivered events. Of a Session that lives it may repeat an event later,
// but never lose one.
func (w *Watches) MarshalJSON() ([]byte, error) {
	if w == nil {
		return []byte("null"), nil
	}
	return json.Marshal(w.snapshot().handover())
}

// UnmarshalJSON reads what MarshalJSON wrote. The watches have no channels
// until Rebind.
func (w *Watches) UnmarshalJSON(b []byte) error {
	if w == nil {
		return badArgument("watches into a nil *Watches")
	}
	j := new(handover.Watches)
	if err := json.Unmarshal(b, j); err != nil {
		return err
	}
	switch problem, path := j.Check(); {
	case problem == "":
	case path:
		return badPath(problem)
	default:
		return badArgument("unmarshal watches: %s", problem)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.idleLocked() {
		return &detailed{kind: ErrUnbound, detail: "these watches are in use"}
	}
	w.who.chroot = j.Chroot
	w.takePlaceLocked(j)
	w.unbound = nil
	if len(j.Armed)+len(j.Events) > 0 {
		w.unbound = j
	}
	return nil
}

// sessionID prints a session id as servers do.
func sessionID(id int64) string { return fmt.Sprintf("0x%x", uint64(id)) }

// State is what moves from connection to connection. It marshals to JSON, the
// password included, so that another process can take the session over: guard
// it. The receiver brings Addrs, Auth, TLS and Chroot itself.
type State struct {
	// ID is the session's; zero starts a new session.
	ID int64
	// Password proves the ownership of ID. It is never printed.
	Password []byte
	// Zxid is the last transaction seen: no server that is behind it is accepted. Zero
	// gives that up, as for a restored backup, and restores watches with floor 0.
	Zxid int64
	// Watches are the armed watches, the floor they are restored from, and the events
	// that are received and not delivered.
	Watches *Watches

	given int64 // Zxid + 1 as Session.Config gave it: distinguishes a Zxid set to zero from one that was
}

func (s *State) noteZxid() { s.given = s.Zxid + 1 }

// givenUp reports whether the application has set a Zxid to zero.
func (s *State) givenUp() bool { return s.Zxid == 0 && s.given != 1 }

// String prints no password.
func (s State) String() string {
	return fmt.Sprintf("{ID:%s Zxid:0x%x Watches:%d}", sessionID(s.ID), s.Zxid, s.Watches.Len())
}

// Format prints no password, whatever the verb.
func (s State) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue prints no password.
func (s State) LogValue() slog.Value { return slog.StringValue(s.String()) }

// stateJSON is State without its methods.
type stateJSON struct {
	ID       handover.Int
	Password []byte
	Zxid     handover.Int
	Watches  *Watches
}

// MarshalJSON writes all of the State, the password included. The Zxid is taken
// before the watches, so that it is never newer than what they have seen.
func (s State) MarshalJSON() ([]byte, error) {
	return json.Marshal(stateJSON{handover.Int(s.ID), s.Password, handover.Int(s.Zxid), s.Watches})
}

// UnmarshalJSON reads what MarshalJSON wrote, and refuses what no Session can have
// had; Watches.Rebind comes next. After an error the State is as it was.
func (s *State) UnmarshalJSON(b []byte) error {
	var j stateJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	switch {
	case j.Zxid < 0:
		return badArgument("unmarshal a State: zxid %d", int64(j.Zxid))
	case j.ID != 0 && len(j.Password) == 0:
		return badArgument("unmarshal a State: session %s without its password", sessionID(int64(j.ID)))
	}
	*s = State{ID: int64(j.ID), Password: j.Password, Zxid: int64(j.Zxid), Watches: j.Watches}
	return nil
}
