// Package place keeps how much of the history the watches of a session have seen: from
// which zxid a server restores them, which of them it has to restore from earlier, and
// whether they are owed a Gap.
package place

import "maps"

// Place is that of one session. Its owner holds a lock over every method.
type Place struct {
	floor   int64 // the zxid that watches are restored from, unless settled
	settled bool  // the floor is the newest zxid
	gap     bool  // persistent watches moved, and no Gap was queued for it yet
	fresh   bool  // there will be one: to a new session, or watches were deaf
	frames  int   // SetWatches answered on this connection
	bar     int64 // zxid of the last of these answers
	deaf    deaf
}

// deaf are the watches that an AddWatch has made deaf, until the server has answered
// what the client sent to make them hear again. See internal/interlock.
type deaf struct {
	tells    int   // AddWatches of the client's own without an answer
	long     bool  // one of them is for watches that are deaf since nobody knows when
	since    int64 // the zxid since which the others are, at least
	children Children
}

// Children has by path the zxid since which its child watch is deaf.
type Children map[string]int64

// Floor returns the zxid that watches are restored from, where zxid is the newest that a
// reply has reported.
func (p *Place) Floor(zxid int64) int64 {
	if p.settled {
		return zxid
	}
	return p.floor
}

// Move makes a zxid the floor. It stands still until Settle.
func (p *Place) Move(floor int64) { p.floor, p.settled = floor, false }

// Stop makes the floor stand still, as a connection has ended. persistent: there are
// persistent watches, which are owed a Gap then.
func (p *Place) Stop(zxid int64, persistent bool) {
	p.Move(p.Floor(zxid))
	p.gap = p.gap || persistent
	p.fresh = p.fresh || p.gap && p.missed(zxid)
	p.deaf.tells, p.deaf.long = 0, false
}

// missed reports whether persistent watches may be deaf to what has happened.
func (p *Place) missed(zxid int64) bool {
	d := &p.deaf
	return d.tells > 0 && (d.long || zxid > d.since)
}

// Tell notes an AddWatch of the client's own: persistent watches are deaf since a zxid,
// or longer. If the connection ends before Heard, they get a Gap on the next one.
func (p *Place) Tell(since int64, longer bool) {
	d := &p.deaf
	if d.tells == 0 || since < d.since {
		d.since = since
	}
	d.tells++
	d.long = d.long || longer
}

// Heard notes its answer.
func (p *Place) Heard() {
	d := &p.deaf
	d.tells = max(d.tells-1, 0)
	d.long = d.long && d.tells > 0
}

// ChildDeaf notes that the child watch of a path is deaf since a zxid. Until ChildHears
// it is restored from there, whatever the floor.
func (p *Place) ChildDeaf(path string, since int64) {
	d := &p.deaf
	if d.children == nil {
		d.children = make(Children)
	}
	if at, ok := d.children[path]; !ok || since < at {
		d.children[path] = since
	}
}

// ChildHears notes that it was restored.
func (p *Place) ChildHears(path string) { delete(p.deaf.children, path) }

// Restore begins a migration, and returns the child watches that are restored from
// below the floor. armed reports whether a path has a child watch.
func (p *Place) Restore(armed func(path string) bool) Children {
	p.frames = 0
	maps.DeleteFunc(p.deaf.children, func(path string, _ int64) bool { return !armed(path) })
	return maps.Clone(p.deaf.children)
}

// Restored notes the reply to a SetWatches frame, which rearms persistent watches or
// not. It reports whether a Gap that is owed may be queued.
func (p *Place) Restored(zxid int64, rearms bool) bool {
	unknown := zxid <= 0 || zxid < p.floor // it does not show that nothing was committed
	due := zxid > p.floor || unknown || p.fresh
	// A Gap may have been read before the server had these watches again, and ahead of
	// a change since the frame before. Within the first frame nothing can: a server
	// takes a frame without a transaction in between.
	if due && rearms && p.frames > 0 && (zxid > p.bar || unknown) {
		p.gap = true
	}
	p.frames++
	p.bar = zxid
	return due
}

// Settle makes the floor follow the newest zxid: all watches are restored.
func (p *Place) Settle() {
	p.settled = true
	p.gap, p.fresh = false, false
}

// OweGap makes sure of the Gap that persistent watches get with a new session, if there
// are any.
func (p *Place) OweGap(persistent bool) { p.gap, p.fresh = persistent, persistent }

// TakeGap reports whether a Gap is owed, once.
func (p *Place) TakeGap() (owed bool) {
	owed, p.gap = p.gap, false
	return owed
}

// Mark is a Place that stands still, as it is handed to another process.
type Mark struct {
	Floor      int64
	Gap, Fresh bool
	Deaf       Children
}

// Mark returns what another process would go on from. moves: events move, and there
// are persistent watches.
func (p *Place) Mark(zxid int64, moves bool) Mark {
	return Mark{p.Floor(zxid), p.gap || moves, p.fresh || p.missed(zxid), maps.Clone(p.deaf.children)}
}

// Take goes on from a Mark.
func (p *Place) Take(m Mark) {
	p.Move(m.Floor)
	p.gap, p.fresh, p.deaf.children = m.Gap, m.Fresh, m.Deaf
}
