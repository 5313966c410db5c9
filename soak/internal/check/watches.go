package check

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/wire"
)

// Watches makes the checks W1 to W6 of one client. It plays the frames in the
// order in which the client read them and works out who is to get what.
func Watches(t *history.Truth, c *history.Client) []Finding {
	w := watches{truth: t, Client: c, paths: map[string][]*registration{}}
	w.due = make([][]due, len(c.Chans))
	w.gaps = make([][]gap, len(c.Chans))
	w.place()
	w.play()
	for ch := range c.Chans {
		w.match(ch)
	}
	w.order()
	w.gapsDue()
	w.beforeData()
	return w.findings
}

// registration is a channel armed at a path in one way, from one reply on.
type registration struct {
	history.Watch
	ch    int
	base  int64 // it is to be told of what comes after this zxid
	conn  int   // that the server has it on
	over  bool  // one-shot: it has fired
	told  int   // persistent: index of the next fact to come
	owed  int64 // zxid of the fact that must come next; 0: none
	index int   // in the heap; -1: not there
}

// due is an event that a channel must get, at its place in the order.
type due struct {
	zk.Event
	pos  int // in the order of frames
	conn int
	at   int // index in Recv; -1: it never came
}

// gap is a Gap that came.
type gap struct {
	path  string
	index int // in Recv
	after int // so many due events came before
}

// missed is a change that a persistent watch was not told of, before a connection.
type missed struct {
	reg  *registration
	fact fact
	conn int
	tick int64
}

// fact is an event that a watch is to be told of.
type fact struct {
	zk.Event // as a server tells it
	change   *history.Change
}

type frameKey struct {
	conn int
	xid  int32
}

type watches struct {
	truth *history.Truth
	*history.Client
	arms  map[frameKey][]arm
	sets  map[frameKey]*history.Request
	paths map[string][]*registration // armed, by path
	owed  owedHeap
	due   [][]due
	gaps  [][]gap
	lacks []missed
	heads map[frameKey]int // place of a reply in the order of frames
	asked []frameKey       // the request of each call that was counted at
	pos   int              // of the frame that is played

	findings []Finding
}

type arm struct {
	history.Watch
	ch int
}

func (w *watches) report(rule, what string, tick int64, format string, args ...any) {
	w.findings = append(w.findings, Finding{rule, what, w.Name, tick, fmt.Sprintf(format, args...)})
}

// place finds the request of every call that armed something, by the ticks
// around them: no two calls of a client for one path and op overlap.
func (w *watches) place() {
	type key struct {
		op   wire.Op
		path string
	}
	type sent struct {
		conn int
		*history.Request
	}
	w.arms, w.sets, w.heads = map[frameKey][]arm{}, map[frameKey]*history.Request{}, map[frameKey]int{}
	w.asked = make([]frameKey, len(w.Calls))
	requests := map[key][]sent{}
	for i, n := range w.Conns {
		for j := range n.Requests {
			r := &n.Requests[j]
			if r.Sets() {
				w.sets[frameKey{i, r.Xid}] = r
				continue
			}
			k := key{plain(r.Op), r.Path}
			requests[k] = append(requests[k], sent{i, r})
		}
	}
	for _, list := range requests {
		slices.SortFunc(list, func(a, b sent) int { return cmp.Compare(a.Tick, b.Tick) })
	}
	for i := range w.Calls {
		c := &w.Calls[i]
		if c.Chan < 0 && c.Held == nil {
			continue
		}
		list := requests[key{c.Op, c.Path}]
		at, _ := slices.BinarySearchFunc(list, c.Start, func(s sent, tick int64) int { return cmp.Compare(s.Tick, tick) })
		if at == len(list) || list[at].Tick > c.End {
			w.report("W3", Wrong, c.End, "%v %s was answered and never sent", c.Op, c.Path)
			continue
		}
		k := frameKey{list[at].conn, list[at].Xid}
		if c.Chan >= 0 {
			w.arms[k] = append(w.arms[k], arm{history.Watch{Kind: c.Kind, Path: c.Path}, c.Chan})
		}
		if c.Held != nil {
			w.asked[i] = k
			w.heads[k] = -1
		}
	}
}

// plain gives one name to the two requests for children.
func plain(op wire.Op) wire.Op {
	if op == wire.OpGetChildren2 {
		return wire.OpGetChildren
	}
	return op
}

// play goes through the frames.
func (w *watches) play() {
	floor, seen := int64(0), int64(0)
	for i, n := range w.Conns {
		left := 0 // SetWatches without a reply
		bad := false
		for j := range n.Requests {
			if r := &n.Requests[j]; r.Sets() {
				if w.rearms(n, r) {
					continue
				}
				left++
				if r.Floor > floor {
					w.report("W6", Wrong, r.Tick, "connection %d restores watches from zxid %#x, and the last whole connection ended at %#x", i, r.Floor, floor)
				}
			}
		}
		for j := range n.Frames {
			f := &n.Frames[j]
			w.pos++
			if f.Event != 0 {
				w.event(f, i, n.Frames[j+1:], left > 0)
				continue
			}
			if f.Zxid > 0 {
				seen = max(seen, f.Zxid)
			}
			k := frameKey{i, f.Xid}
			if _, ok := w.heads[k]; ok {
				w.heads[k] = w.pos
			}
			r := w.sets[k]
			if r != nil && !w.rearms(n, r) {
				left--
				bad = bad || f.Err != 0
				if f.Err == 0 {
					w.restored(f, i, r)
				}
			}
			if left == 0 && !bad {
				floor = seen
			}
			w.reply(f, i, r)
			for _, a := range w.arms[k] {
				w.arm(a, f, i)
			}
		}
	}
}

// rearms reports whether a SetWatches is not of a Dial: the client arms a child watch
// again, where an AddWatch of its path may have made it deaf. It catches up with all
// since the answer to that.
func (w *watches) rearms(n *history.Conn, r *history.Request) bool {
	if len(r.Restores) != 1 || r.Restores[0].Kind != zk.ChildWatch {
		return false
	}
	for i := range n.Requests {
		a := &n.Requests[i]
		if a.Tick >= r.Tick {
			return false
		}
		if a.Op != wire.OpAddWatch || a.Path != r.Restores[0].Path {
			continue
		}
		for j := range n.Frames {
			if f := &n.Frames[j]; f.Event == 0 && f.Xid == a.Xid && f.Err == 0 && f.Zxid == r.Floor {
				return true
			}
		}
	}
	return false
}

// facts returns what a watch is to be told of, after a zxid, in order.
func (w *watches) facts(x history.Watch, after int64) func(yield func(fact) bool) {
	var list []*history.Change
	switch x.Kind {
	case zk.DataWatch, zk.ExistsWatch:
		list = w.truth.Changes(x.Path)
	case zk.RecursiveWatch:
		list = w.truth.Under(x.Path)
	default:
		list = w.truth.Around(x.Path)
	}
	return func(yield func(fact) bool) {
		for _, c := range list[history.After(list, after):] {
			if f, ok := told(x, c); ok && !yield(f) {
				return
			}
		}
	}
}

// told returns the event by which a watch is told of a change, if it is.
func told(x history.Watch, c *history.Change) (fact, bool) {
	e := zk.Event{Type: c.Type, Path: c.Path, Zxid: c.Zxid()}
	own := c.Path == x.Path
	switch x.Kind {
	case zk.ExistsWatch:
		return fact{e, c}, c.Type == zk.Created
	case zk.ChildWatch:
		if own {
			return fact{e, c}, c.Type == zk.Deleted
		}
	case zk.DataWatch, zk.RecursiveWatch:
		return fact{e, c}, true
	}
	if !own {
		e.Type, e.Path = zk.Child, x.Path
	}
	return fact{e, c}, true
}

// first returns the first fact after a zxid.
func (w *watches) first(x history.Watch, after int64) (fact, bool) {
	for f := range w.facts(x, after) {
		return f, true
	}
	return fact{}, false
}

// hears reports whether the client gives an event to a watch.
func hears(x history.Watch, typ zk.EventType, path string) bool {
	if x.Kind == zk.RecursiveWatch {
		return typ != zk.Child && history.Below(path, x.Path)
	}
	if path != x.Path {
		return false
	}
	switch x.Kind {
	case zk.DataWatch, zk.ExistsWatch:
		return typ != zk.Child
	case zk.ChildWatch:
		return typ == zk.Child || typ == zk.Deleted
	}
	return true
}

func oneShot(k zk.WatchKind) bool { return k < zk.PersistentWatch }

func (w *watches) arm(a arm, f *history.Frame, conn int) {
	for _, r := range w.paths[a.Path] {
		if r.Watch == a.Watch && r.ch == a.ch {
			return
		}
	}
	r := &registration{Watch: a.Watch, ch: a.ch, base: f.Zxid, conn: conn, index: -1}
	w.paths[a.Path] = append(w.paths[a.Path], r)
	w.expect(r, f.Zxid)
}

// expect notes what a registration is to be told next.
func (w *watches) expect(r *registration, after int64) {
	r.owed = 0
	if f, ok := w.first(r.Watch, after); ok {
		r.owed = f.Zxid
	}
	r.told = 0
	switch {
	case r.owed != 0 && r.index < 0:
		heap.Push(&w.owed, r)
	case r.owed != 0:
		heap.Fix(&w.owed, r.index)
	case r.index >= 0:
		heap.Remove(&w.owed, r.index)
	}
}

// armed returns the registrations that hear an event.
func (w *watches) armed(typ zk.EventType, path string) []*registration {
	var out []*registration
	for p := path; ; p = history.Parent(p) {
		for _, r := range w.paths[p] {
			if hears(r.Watch, typ, path) {
				out = append(out, r)
			}
		}
		if p == "/" {
			return out
		}
	}
}

// event plays an event. While a SetWatches is unanswered it may be one of those
// that tell of the time between two connections.
func (w *watches) event(f *history.Frame, conn int, rest []history.Frame, restoring bool) {
	// What the server had done by then: the next reply says it.
	upTo := w.truth.Newest()
	for i := range rest {
		if rest[i].Event == 0 && rest[i].Zxid > 0 {
			upTo = rest[i].Zxid
			break
		}
	}
	live := f.Zxid > 0 || !restoring
	if f.Zxid > 0 {
		upTo = min(upTo, f.Zxid)
	}
	hit := map[int]bool{}
	for _, r := range w.armed(f.Event, f.Path) {
		hit[r.ch] = true
		switch {
		case oneShot(r.Kind):
			w.fire(r, f, upTo)
		case live || r.conn == conn && w.next(r, f):
			w.stream(r, f)
		default:
			if x, ok := w.first(r.Watch, r.base); !ok || x.Zxid > upTo || x.change.Txn.Begun > f.Tick {
				w.report("W4", False, f.Tick, "%v %s for the %v of channel %d: nothing had happened since zxid %#x", f.Event, f.Path, r.Watch, r.ch, r.base)
			}
		}
	}
	for _, ch := range slices.Sorted(maps.Keys(hit)) {
		w.due[ch] = append(w.due[ch], due{zk.Event{Type: f.Event, Path: f.Path, Zxid: max(f.Zxid, 0)}, w.pos, conn, -1})
	}
}

// fire ends a one-shot registration.
func (w *watches) fire(r *registration, f *history.Frame, upTo int64) {
	r.over = true
	if r.index >= 0 {
		heap.Remove(&w.owed, r.index)
	}
	list := w.paths[r.Path]
	w.paths[r.Path] = slices.Delete(list, slices.Index(list, r), slices.Index(list, r)+1)

	x, ok := w.first(r.Watch, r.base)
	switch {
	case !ok || x.Zxid > upTo || x.change.Txn.Begun > f.Tick:
		w.report("W4", False, f.Tick, "%v %s for the %v of channel %d: nothing had happened since zxid %#x", f.Event, f.Path, r.Watch, r.ch, r.base)
	case f.Zxid > x.Zxid:
		w.report("W3", Lost, f.Tick, "the %v of channel %d, armed at zxid %#x, was told of zxid %#x and not of %v", r.Watch, r.ch, r.base, f.Zxid, x.change)
	case f.Zxid > 0 && f.Event != x.Type:
		w.report("W4", False, f.Tick, "%v %s for the %v of channel %d: it was %v", f.Event, f.Path, r.Watch, r.ch, x.change)
	case f.Zxid <= 0 && !w.plausible(r, f, upTo):
		w.report("W4", False, f.Tick, "%v %s for the %v of channel %d: no such thing had happened since zxid %#x", f.Event, f.Path, r.Watch, r.ch, r.base)
	}
}

// plausible reports whether an event without a zxid tells of something that
// had happened. To a restored watch a znode that is there again has changed.
func (w *watches) plausible(r *registration, f *history.Frame, upTo int64) bool {
	for x := range w.facts(r.Watch, r.base) {
		if x.Zxid > upTo {
			break
		}
		switch {
		case x.Type == f.Event,
			r.Kind == zk.DataWatch && x.Type == zk.Created && f.Event == zk.Changed,
			r.Kind == zk.ChildWatch && x.Type == zk.Deleted && f.Event == zk.Child && w.truth.Exists(r.Path, upTo):
			return true
		}
	}
	return false
}

// stream takes a live event of a persistent registration, which hears of every
// change, in order.
func (w *watches) stream(r *registration, f *history.Frame) {
	if r.owed == 0 {
		w.report("W2", Duplicate, f.Tick, "%v %s (zxid %#x) for the %v of channel %d, which had been told of everything", f.Event, f.Path, f.Zxid, r.Watch, r.ch)
		return
	}
	i := 0
	for x := range w.facts(r.Watch, r.owed-1) {
		if i < r.told {
			i++
			continue
		}
		switch {
		case x.Type == f.Event && x.Path == f.Path && (f.Zxid <= 0 || x.Zxid == f.Zxid):
			if x.change.Txn.Begun > f.Tick {
				w.report("W4", False, f.Tick, "%v %s for the %v of channel %d: it had not happened yet", f.Event, f.Path, r.Watch, r.ch)
			}
			w.advance(r, x.Zxid)
		case f.Zxid > 0 && f.Zxid < x.Zxid:
			w.report("W2", Duplicate, f.Tick, "%v %s (zxid %#x) for the %v of channel %d, which waits for %v", f.Event, f.Path, f.Zxid, r.Watch, r.ch, x.change)
		default:
			w.report("W3", Lost, f.Tick, "the %v of channel %d was told of %v %s (zxid %#x) and not of %v", r.Watch, r.ch, f.Event, f.Path, f.Zxid, x.change)
			w.resume(r, f)
		}
		return
	}
	// More events of one transaction than it has changes.
	w.report("W2", Duplicate, f.Tick, "%v %s (zxid %#x) for the %v of channel %d", f.Event, f.Path, f.Zxid, r.Watch, r.ch)
}

// next reports whether an event is what a persistent registration waits for.
// Between two SetWatches, and without zxids, it is live if that fits.
func (w *watches) next(r *registration, f *history.Frame) bool {
	if r.owed == 0 {
		return false
	}
	i := 0
	for x := range w.facts(r.Watch, r.owed-1) {
		if i == r.told {
			return x.Type == f.Event && x.Path == f.Path
		}
		i++
	}
	return false
}

// resume lets a persistent registration go on from an event that came too early.
func (w *watches) resume(r *registration, f *history.Frame) {
	for x := range w.facts(r.Watch, r.owed-1) {
		if f.Zxid > 0 && x.Zxid > f.Zxid {
			break
		}
		if x.Type == f.Event && x.Path == f.Path && (f.Zxid <= 0 || x.Zxid == f.Zxid) {
			w.expect(r, x.Zxid)
			return
		}
	}
	if f.Zxid > 0 {
		w.expect(r, f.Zxid)
	}
}

// advance moves a persistent registration on to its next fact, which may be of
// the same transaction.
func (w *watches) advance(r *registration, zxid int64) {
	n := 0
	for x := range w.facts(r.Watch, zxid-1) {
		if x.Zxid != zxid {
			break
		}
		n++
	}
	if r.owed != zxid {
		r.owed, r.told = zxid, 0
	}
	if r.told++; r.told < n {
		if r.index >= 0 {
			heap.Fix(&w.owed, r.index)
		}
		return
	}
	w.expect(r, zxid)
}

// restored plays the reply to a SetWatches: the server has these watches now,
// and has told of what they missed, but for the persistent ones.
func (w *watches) restored(f *history.Frame, conn int, s *history.Request) {
	for _, x := range s.Restores {
		for _, r := range w.paths[x.Path] {
			if r.Watch != x || r.conn == conn {
				continue
			}
			r.conn = conn
			switch {
			case r.Kind == zk.ExistsWatch:
				// Created and deleted while nobody looked: it stays armed.
				if !w.truth.Exists(r.Path, f.Zxid) && f.Zxid > r.base {
					r.base = f.Zxid
					w.expect(r, f.Zxid)
				}
			case !oneShot(r.Kind):
				var last *fact
				if r.owed != 0 {
					i := 0
					for x := range w.facts(r.Watch, r.owed-1) {
						if x.Zxid > f.Zxid {
							break
						}
						if i++; i > r.told {
							last = &x
						}
					}
				}
				if last != nil {
					w.lacks = append(w.lacks, missed{r, *last, conn, f.Tick})
				}
				// A server that is behind tells again what another has told.
				w.expect(r, f.Zxid)
			}
		}
	}
}

// reply checks that every registration has been told of what the reply's
// server had done by then.
func (w *watches) reply(f *history.Frame, conn int, sets *history.Request) {
	var later []*registration
	for len(w.owed) > 0 && w.owed[0].owed <= f.Zxid {
		r := w.owed[0]
		x, _ := w.first(r.Watch, r.owed-1)
		if r.conn != conn && sets != nil {
			heap.Pop(&w.owed)
			later = append(later, r) // its turn may come
			continue
		}
		rule := "W3"
		if r.conn != conn || oneShot(r.Kind) && w.moved(r, conn) {
			rule = "W6"
		}
		w.report(rule, Lost, f.Tick, "the %v of channel %d, armed at zxid %#x, was not told of %v before connection %d answered with zxid %#x",
			r.Watch, r.ch, r.base, x.change, conn, f.Zxid)
		if oneShot(r.Kind) {
			heap.Pop(&w.owed) // say it once
		} else {
			w.expect(r, f.Zxid)
		}
	}
	for _, r := range later {
		heap.Push(&w.owed, r)
	}
}

// moved reports whether a registration is older than its connection.
func (w *watches) moved(r *registration, conn int) bool {
	for i := range w.Conns[conn].Frames {
		if f := &w.Conns[conn].Frames[i]; f.Event == 0 && f.Zxid > 0 {
			return f.Zxid > r.base
		}
	}
	return true
}

// match finds for every event that came the frame that it stands for: each
// that is due once, in order, and nothing else but Gaps.
func (w *watches) match(ch int) {
	list, recv := w.due[ch], w.Chans[ch].Recv
	next := 0
	var extra []int
	for i := range recv {
		r := &recv[i]
		if r.Type == zk.Gap {
			w.gaps[ch] = append(w.gaps[ch], gap{r.Path, i, next})
			continue
		}
		at := next
		if at == len(list) || list[at].Event != r.Event {
			if n := slices.IndexFunc(list[next:], func(d due) bool { return d.Event == r.Event }); n >= 0 {
				at = next + n // it is further on
			} else {
				extra = append(extra, i)
				continue
			}
		}
		list[at].at = i
		next = at + 1
	}
	for i := range list {
		d := &list[i]
		if d.at >= 0 {
			continue
		}
		if late := slices.IndexFunc(extra, func(x int) bool { return recv[x].Event == d.Event }); late >= 0 {
			w.report("W1", Reordered, recv[extra[late]].After, "channel %d got %v behind a later event", ch, d.Event)
			d.at = extra[late]
			extra = slices.Delete(extra, late, late+1)
			continue
		}
		w.report("W3", Lost, 0, "channel %d did not get %v, which connection %d had read", ch, d.Event, d.conn)
	}
	for _, x := range extra {
		what, rule := False, "W4"
		for i := range list {
			if list[i].Event == recv[x].Event && list[i].at >= 0 && list[i].at < x {
				what, rule = Duplicate, "W2"
			}
		}
		w.report(rule, what, recv[x].After, "channel %d got %v, which no frame was to give it", ch, recv[x].Event)
	}
}

// order finds events that entered their channel after a later one of another
// channel had come out of it.
func (w *watches) order() {
	type bound struct {
		*due
		ch      int
		entered int64 // not before
		out     int64
	}
	var all []bound
	for ch := range w.due {
		recv := w.Chans[ch].Recv
		for i := range w.due[ch] {
			d := &w.due[ch][i]
			if d.at < 0 {
				continue
			}
			b := bound{due: d, ch: ch, out: recv[d.at].After}
			if k := d.at - w.Chans[ch].Cap; k >= 0 {
				b.entered = recv[k].Before // only then was there room
			}
			all = append(all, b)
		}
	}
	slices.SortStableFunc(all, func(a, b bound) int { return cmp.Compare(a.pos, b.pos) })
	var latest bound
	for i := 0; i < len(all); {
		j := i
		for ; j < len(all) && all[j].pos == all[i].pos; j++ {
			if b := &all[j]; b.out < latest.entered {
				w.report("W1", Reordered, latest.entered, "channel %d got %v, before channel %d got %v, which was read earlier", b.ch, b.Event, latest.ch, latest.Event)
			}
		}
		for ; i < j; i++ {
			if all[i].entered > latest.entered {
				latest = all[i]
			}
		}
	}
}

// gapsDue checks that a persistent watch that missed something got a Gap:
// ahead of what the next connection told, and when it could be read.
func (w *watches) gapsDue() {
	for _, m := range w.lacks {
		// So many events of the connections before.
		old, _ := slices.BinarySearchFunc(w.due[m.reg.ch], m.conn, func(d due, conn int) int { return cmp.Compare(d.conn, conn) })
		list, recv := w.gaps[m.reg.ch], w.Chans[m.reg.ch].Recv
		n, _ := slices.BinarySearchFunc(list, old+1, func(g gap, after int) int { return cmp.Compare(g.after, after) })
		ok := false
		for _, g := range slices.Backward(list[:n]) {
			if recv[g.index].After <= m.fact.change.Txn.Begun || w.Roomy && g.after < old {
				break // it came before there was anything to tell
			}
			if ok = g.path == m.reg.Path; ok {
				break
			}
		}
		if !ok {
			w.report("W6", Lost, m.tick, "the %v of channel %d missed %v before connection %d, and there was no Gap", m.reg.Watch, m.reg.ch, m.fact.change, m.conn)
		}
	}
}

// beforeData checks that a call returned with what its reply brought only when
// the events ahead of that reply were in their channels. It can tell where
// channels have room.
func (w *watches) beforeData() {
	if !w.Roomy {
		return
	}
	for i := range w.Calls {
		c := &w.Calls[i]
		if c.Held == nil {
			continue
		}
		pos := w.heads[w.asked[i]]
		if pos <= 0 {
			w.report("W5", Late, c.End, "%v %s returned without its reply", c.Op, c.Path)
			continue
		}
		for n, held := range c.Held {
			ch := c.From + n
			list := w.due[ch]
			last, _ := slices.BinarySearchFunc(list, pos, func(d due, pos int) int { return cmp.Compare(d.pos, pos) })
			need := 0
			if last > 0 && list[last-1].at >= 0 {
				need = list[last-1].at + 1
			}
			if held < need {
				w.report("W5", Late, c.End, "channel %d had got %d events when %v %s returned, whose reply lay behind %d", ch, held, c.Op, c.Path, need)
			}
		}
	}
}

// owedHeap orders registrations by what they must be told next.
type owedHeap []*registration

func (h owedHeap) Len() int           { return len(h) }
func (h owedHeap) Less(i, j int) bool { return h[i].owed < h[j].owed }
func (h owedHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *owedHeap) Push(x any) {
	r := x.(*registration)
	r.index = len(*h)
	*h = append(*h, r)
}
func (h *owedHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	r.index = -1
	*h = old[:len(old)-1]
	return r
}
