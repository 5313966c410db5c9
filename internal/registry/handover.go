package registry

import (
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/order"
	"github.com/seed-9f8420c6/zk/internal/place"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/internal/zpath"
)

// Adopt takes over what another process has left, and has been checked. Its watches have
// no channels until Rebind. If the Registry is in use, or a Dial is at work on it, Adopt
// does nothing and returns false.
func (r *Registry[T, E]) Adopt(j *handover.Watches) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.idleLocked() {
		return false
	}
	r.who.chroot = j.Chroot
	deaf := make(place.Children, len(j.Deaf))
	for _, x := range j.Deaf {
		deaf[x.Path] = int64(x.Since)
	}
	r.place.Take(place.Mark{Floor: int64(j.Floor), Gap: j.Gap, Fresh: j.Fresh, Deaf: deaf})
	r.unbound = nil
	if len(j.Armed)+len(j.Events) > 0 {
		r.unbound = j
	}
	return true
}

// Rebind gives adopted watches their channels. f is called once for each, without the
// lock; where it returns nil, the watch and its undelivered events are dropped. If the
// Registry has not adopted any and is in use, Rebind does nothing and returns false. So it
// does if another Rebind was faster.
func (r *Registry[T, E]) Rebind(f func(j *handover.Watches, a handover.Armed, fired bool) chan<- E) bool {
	r.mu.Lock()
	u, idle := r.unbound, r.idleLocked()
	r.mu.Unlock()
	if u == nil {
		return idle
	}
	chans := make(map[handover.Armed]chan<- E)
	u.Each(func(a handover.Armed, fired bool) { chans[a] = f(u, a, fired) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unbound != u {
		return false
	}
	for _, a := range u.Armed {
		if ch := chans[a]; ch != nil {
			r.ArmLocked(a.Path, watches.Kind(a.Kind), a.Raw, ch)
		}
	}
	for _, e := range u.Events {
		if ch := chans[e.Armed]; ch != nil {
			r.requeueLocked(e, ch)
		}
	}
	r.unbound = nil
	return true
}

// idleLocked reports whether the Registry was never used, and no Dial is about to.
func (r *Registry[T, E]) idleLocked() bool {
	return r.who.owner == nil && len(r.who.dialing) == 0 && r.table.Len() == 0 && r.queue.Undelivered() == 0
}

// requeueLocked puts an undelivered event of another process into the queue.
func (r *Registry[T, E]) requeueLocked(e handover.Event, ch chan<- E) {
	kind, gap := watches.Kind(e.Kind), e.Type == handover.Gap
	r.load.count(kind, gap, 1)
	r.load.peak = max(r.load.peak, r.load.oneShots)
	if gap {
		r.noteGapLocked(e.Path, ch)
	}
	r.queue.Queue(order.Item[E, note]{
		Ch:    ch,
		Event: E(fields[T]{Type: T(e.Type), Path: r.appPath(e.Event, e.Raw), Zxid: int64(e.Zxid)}),
		Note:  note{at: e.Path, kind: kind, raw: e.Raw, gap: gap},
	})
}

// snapshot is a copy of what a Registry has, taken in one piece. All that takes long is
// done to the copy, without the lock that the reader needs.
type snapshot[E any] struct {
	unbound *handover.Watches // set: this is all
	chroot  string
	place   place.Mark
	armed   *watches.Snapshot[chan<- E]
	events  []order.Item[E, note]
}

func (r *Registry[T, E]) snapshot() *snapshot[E] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unbound != nil {
		return &snapshot[E]{unbound: r.unbound}
	}
	r.queue.Sync()
	r.sweepLocked(true)
	return &snapshot[E]{
		chroot: r.who.chroot,
		place:  r.place.Mark(r.zxid.Load(), r.queue.Moves() && r.table.Persistent() > 0),
		armed:  r.table.Snapshot(), events: r.queue.Items(),
	}
}

// Handover returns what another process would go on from, and the channels by their
// numbers, less one.
func (r *Registry[T, E]) Handover() (*handover.Watches, []chan<- E) {
	s := r.snapshot()
	if s.unbound != nil {
		return s.unbound, nil
	}
	j := &handover.Watches{Chroot: s.chroot, Floor: handover.Int(s.place.Floor), Gap: s.place.Gap, Fresh: s.place.Fresh}
	for path, since := range s.place.Deaf {
		j.Deaf = append(j.Deaf, handover.Deaf{Path: path, Since: handover.Int(since)})
	}
	slices.SortFunc(j.Deaf, func(a, b handover.Deaf) int { return strings.Compare(a.Path, b.Path) })
	var channels []chan<- E
	numbers := make(map[chan<- E]int)
	number := func(ch chan<- E) int {
		n, ok := numbers[ch]
		if !ok {
			channels = append(channels, ch)
			n = len(channels)
			numbers[ch] = n
		}
		return n
	}
	s.armed.Each(func(x watches.Target[chan<- E]) {
		j.Armed = append(j.Armed, handover.Armed{Path: x.Path, Kind: int(x.Kind), Channel: number(x.Ch), Raw: x.Raw})
	})
	for _, it := range s.events {
		ev := fields[T](it.Event)
		if !it.Note.raw {
			ev.Path = zpath.Join(s.chroot, ev.Path)
		}
		a := handover.Armed{Path: it.Note.at, Kind: int(it.Note.kind), Channel: number(it.Ch), Raw: it.Note.raw}
		j.Events = append(j.Events, handover.Event{Armed: a, Type: int32(ev.Type), Event: ev.Path, Zxid: handover.Int(ev.Zxid)})
	}
	return j, channels
}
