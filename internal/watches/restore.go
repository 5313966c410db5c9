package watches

import "github.com/seed-9f8420c6/zk/wire"

// Restorer builds the SetWatches frames of one migration, all with one floor.
//
// Servers before 3.9 keep one mode per path and table, and the last one wins, so
// persistent watches come after the one-shots of their paths. But their recursive
// watch would also end a child watch, whose events it never gets: those on a path
// with a recursive watch come last, in frames of their own.
type Restorer[C comparable] struct {
	table *Table[C]
	floor int64
	pass  Kind // the kind whose paths come next; lateChildren: see above
	at    int  // next slot to look at
	// There are only one-shots: all servers support SetWatches.
	old bool

	rearms bool
}

const lateChildren = Recursive + 1

// Restore begins a migration; nil if there is nothing to restore. Until Done the
// slots stay where they are, so that each path is restored once.
func (t *Table[C]) Restore(floor int64) *Restorer[C] {
	if t.n == 0 {
		return nil
	}
	t.pinned = true
	return &Restorer[C]{table: t, floor: floor, pass: Data, old: t.Persistent() == 0}
}

// Done lets the Table shrink again.
func (r *Restorer[C]) Done() { r.table.pinned = false }

// Rearms reports whether the last frame has persistent watches.
func (r *Restorer[C]) Rearms() bool { return r.rearms }

// Op returns the opcode of the next frame.
func (r *Restorer[C]) Op() wire.Op {
	if r.old || r.pass == lateChildren {
		return wire.OpSetWatches
	}
	return wire.OpSetWatches2
}

// Next appends the record of the next frame, for which there are limit bytes, and
// reports whether another may follow. It appends nothing when events have fired
// all that was left.
func (r *Restorer[C]) Next(dst []byte, limit int) (out []byte, more bool) {
	start, lists := len(dst), Recursive
	if r.Op() == wire.OpSetWatches {
		lists = Child
	}
	dst = wire.AppendInt64(dst, r.floor)
	left, some, full := limit-8-4*int(lists), false, false
	r.rearms = false
	for list := Data; list <= lists; list++ {
		mark, count := len(dst), int32(0)
		dst = wire.AppendInt32(dst, 0)
		if r.list() == list {
			for s := r.slot(list); s != nil; s = r.slot(list) {
				size := 4 + len(s.path)
				if full = size > left && some; full {
					break
				}
				dst = wire.AppendString(dst, s.path)
				left -= size
				count++
				some = true
				r.at++
			}
			r.rearms = r.rearms || count > 0 && !list.OneShot()
			if !full {
				r.nextPass()
			}
		}
		wire.AppendInt32(dst[:mark], count)
	}
	if more = r.pass < lateChildren || r.pass == lateChildren && r.slot(Child) != nil; !some {
		return dst[:start], false
	}
	return dst, more
}

// Path returns the next watch, for which a request of its own is sent; false: there is
// none. It goes in the order of Next, and is used instead of it.
func (r *Restorer[C]) Path() (path string, kind Kind, ok bool) {
	for r.pass <= lateChildren {
		list := r.list()
		if s := r.slot(list); s != nil {
			r.at++
			return s.path, list, true
		}
		r.nextPass()
	}
	return "", 0, false
}

// list returns the list that the pass fills.
func (r *Restorer[C]) list() Kind {
	if r.pass == lateChildren {
		return Child
	}
	return r.pass
}

func (r *Restorer[C]) nextPass() {
	r.at = 0
	if r.pass++; r.old && r.pass > Child {
		r.pass = lateChildren + 1
	}
}

// slot returns the next slot to restore in a list, or nil after the last.
func (r *Restorer[C]) slot(kind Kind) *slot[C] {
	slots := r.table.slots
	if r.table.count[kind] == 0 {
		return nil
	}
	for i := r.at; i < len(slots); i++ {
		if slots[i].kind == kind && (kind != Child || (r.pass == lateChildren) == r.late(slots[i].path)) {
			r.at = i
			return &slots[i]
		}
	}
	r.at = len(slots)
	return nil
}

// late reports whether a child watch is restored behind the recursive watches.
func (r *Restorer[C]) late(path string) bool {
	return r.table.count[Recursive] > 0 && r.table.Kinds(path).Has(Recursive)
}

// FrameSize returns the size of the smallest frame that restores one path, without
// its length prefix and its request header.
func FrameSize(path string) int {
	return 8 + 4*int(Recursive) + 4 + len(path)
}
