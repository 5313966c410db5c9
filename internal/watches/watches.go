// Package watches holds what a session watches: which channels are armed at which
// paths, who gets an event, and the SetWatches frames that restore it all. It has
// no lock and starts nothing: its owner calls it under a lock of its own.
package watches

import "github.com/seed-9f8420c6/zk/wire"

// Kind is the way in which a channel is armed at a path. The values are those of
// zk.WatchKind.
type Kind uint8

// The kinds of watches.
const (
	Data Kind = iota + 1
	Exists
	Child
	Persistent
	Recursive

	numKinds = int(Recursive) + 1
)

// OneShot reports whether the kind is disarmed by its event.
func (k Kind) OneShot() bool { return k < Persistent }

// Takes reports whether a watch of this kind on the event's own path gets an event
// of the type (ZKWatchManager.materialize). A server sends a single Deleted for
// the data and the child watch of a connection, so it clears both.
func (k Kind) Takes(typ int32) bool {
	switch k {
	case Data, Exists, Recursive:
		return typ != wire.EventNodeChildrenChanged
	case Child:
		return typ == wire.EventNodeChildrenChanged || typ == wire.EventNodeDeleted
	case Persistent:
		return true
	}
	return false
}

// Missed returns the type of the event that a one-shot watch has missed since a floor,
// by what a read of its znode was answered: with a Stat, or that it is missing, or with
// another error, which is for the application to see (DataTree.setWatches); 0: none.
func (k Kind) Missed(found, missing bool, stat wire.Stat, floor int64) int32 {
	switch {
	case k == Exists && !missing:
		return wire.EventNodeCreated
	case k == Exists:
		return 0
	case missing:
		return wire.EventNodeDeleted
	case k == Data && (!found || stat.Mzxid > floor):
		return wire.EventNodeDataChanged
	case k == Child && (!found || stat.Pzxid > floor):
		return wire.EventNodeChildrenChanged
	}
	return 0
}

// Kinds is a set of kinds.
type Kinds uint8

// Has reports whether the set has a kind.
func (s Kinds) Has(k Kind) bool { return s&(1<<k) != 0 }

// Persistent reports whether the set has a kind that its event does not disarm.
func (s Kinds) Persistent() bool { return s.Has(Persistent) || s.Has(Recursive) }

// Covers reports whether the server tells all that a watch of a one-shot kind is to
// see, for the sake of these kinds on the same path. Before 3.9 a server keeps one
// mode per path, which a one-shot would replace; a recursive one has no Child.
func (s Kinds) Covers(k Kind) bool {
	if k == Child {
		return s.Has(Persistent) && !s.Has(Recursive)
	}
	return s.Persistent()
}

func (s *Kinds) add(k Kind) { *s |= 1 << k }

// Target is a channel armed at a path in one way.
type Target[C comparable] struct {
	Path string
	Ch   C
	Kind Kind
	// Raw: its events are given with the server's path.
	Raw bool
}
