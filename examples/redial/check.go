package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/seed-9f8420c6/zk"
)

// ledger keeps the books of one-shot watches. Each read of a node arms one,
// which must give one event if the node changes afterwards, and not a second.
type ledger struct {
	mu         sync.Mutex // guards all below
	nodes      map[string]*entry
	events     int
	duplicates []string // what was wrong with each event that should not have come
	lost       []string // and with each that had to be there and was not
}

// entry is what is known of one node.
type entry struct {
	armed   bool
	fired   bool  // there was an event since the last read
	version int32 // at the last read
}

func newLedger() *ledger { return &ledger{nodes: make(map[string]*entry)} }

// read notes that a node was read and its watch armed.
func (l *ledger) read(path string, version int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.nodes[path]
	if n == nil {
		n = new(entry)
		l.nodes[path] = n
	}
	// The event came behind a change, so this read shows one.
	if n.fired && version <= n.version {
		l.duplicates = append(l.duplicates, fmt.Sprintf("%s: an event, and still version %d", path, version))
	}
	*n = entry{armed: true, version: version}
}

// event notes that a watch has fired.
func (l *ledger) event(ev zk.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events++
	n := l.nodes[ev.Path]
	if n == nil || !n.armed || ev.Type != zk.Changed {
		l.duplicates = append(l.duplicates, fmt.Sprintf("%q: %v, which no watch was armed for", ev.Path, ev.Type))
	}
	if n != nil {
		n.armed, n.fired = false, true
	}
}

// found notes that a node was found at a version when all events of the past
// had been taken: then a watch that has not fired was armed at this version.
func (l *ledger) found(path string, version int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.nodes[path]; n != nil && n.armed && n.version != version {
		l.lost = append(l.lost, fmt.Sprintf("%s: version %d is there, without an event since version %d", path, version, n.version))
	}
}

// behind returns what was not seen of the last versions: per node, one event
// that a watch still owes, or one read that is still due.
func (l *ledger) behind(last map[string]int32) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for path, version := range last {
		switch n := l.nodes[path]; {
		case n == nil:
			out = append(out, path+": never read")
		case n.version != version:
			out = append(out, fmt.Sprintf("%s: seen up to version %d, now at %d", path, n.version, version))
		case !n.armed:
			out = append(out, path+": fired, and not read again")
		}
	}
	slices.Sort(out)
	return out
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events
}

// outcome is what a run ended with.
type outcome struct {
	redials    int
	events     int
	lost       []string
	duplicates []string

	born, last   zk.Stat // the ephemeral in the beginning and at the end
	found        bool    // it was there at the end
	stirred      []zk.Event
	acknowledged int64
	stored       string // the counter's data
	storedVer    int32
}

// check returns what is wrong, or nil.
func (o *outcome) check() error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if o.redials == 0 || o.events == 0 {
		say("%d redials and %d events prove nothing", o.redials, o.events)
	}
	if len(o.lost) > 0 {
		say("%d lost: %s", len(o.lost), some(o.lost))
	}
	if len(o.duplicates) > 0 {
		say("%d duplicate: %s", len(o.duplicates), some(o.duplicates))
	}
	switch {
	case !o.found:
		say("the ephemeral node is gone")
	case o.last.Czxid != o.born.Czxid:
		say("the ephemeral node was created again: in transaction 0x%x, and 0x%x before", o.last.Czxid, o.born.Czxid)
	case o.last.EphemeralOwner != o.born.EphemeralOwner:
		say("the ephemeral node is session 0x%x's, and was 0x%x's", uint64(o.last.EphemeralOwner), uint64(o.born.EphemeralOwner))
	}
	for _, ev := range o.stirred {
		say("the ephemeral node was %v meanwhile", ev.Type)
	}
	if want := fmt.Sprint(o.acknowledged); o.stored != want || int64(o.storedVer) != o.acknowledged {
		say("the counter is %q at version %d after %s acknowledged increments", o.stored, o.storedVer, want)
	}
	return errors.Join(wrong...)
}

// some returns the first few of a list.
func some(list []string) string {
	if len(list) <= 5 {
		return strings.Join(list, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(list[:5], "; "), len(list)-5)
}
