package main

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
)

// trace is what happened to one node: the version of a read (0 and up), or an
// event of its watch.
const (
	changed = -1
	deleted = -2
)

func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name      string
		trace     []int
		last      int32
		events    int
		lost      int
		duplicate int
	}{
		{"quiet", []int{0}, 0, 0, 0, 0},
		{"one change", []int{0, changed, 1}, 1, 1, 0, 0},
		{"changes that fall together", []int{0, changed, 5, changed, 9}, 9, 2, 0, 0},
		{"read twice, without an event", []int{0, 0}, 0, 0, 0, 0},

		{"never read", nil, 0, 0, 1, 0},
		{"event lost", []int{0}, 1, 0, 1, 0},
		{"last event lost", []int{0, changed, 4}, 5, 1, 1, 0},
		{"not read again", []int{0, changed}, 1, 1, 1, 0},
		{"duplicate before the read", []int{0, changed, changed, 1}, 1, 2, 0, 1},
		{"duplicate behind the read", []int{0, changed, 1, changed, 1}, 1, 2, 0, 1},
		{"duplicate and another change at once", []int{0, changed, 1, changed, 2, changed, 2}, 2, 3, 0, 1},
		{"before any read", []int{changed, 1}, 1, 1, 0, 1},
		{"of another type", []int{0, deleted, 1}, 1, 1, 0, 1},
		{"back in time", []int{3, changed, 2}, 2, 1, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger()
			for _, x := range c.trace {
				switch x {
				case changed:
					l.event(zk.Event{Type: zk.Changed, Path: "/a"})
				case deleted:
					l.event(zk.Event{Type: zk.Deleted, Path: "/a"})
				default:
					l.read("/a", int32(x))
				}
			}
			assert.Equal(t, l.count(), c.events)
			assert.Equal(t, len(l.duplicates), c.duplicate, "%q", l.duplicates)
			lost := l.behind(map[string]int32{"/a": c.last})
			assert.Equal(t, len(lost), c.lost, "%q", lost)
		})
	}
}

func TestLedgerFound(t *testing.T) {
	l := newLedger()
	l.found("/a", 7) // not read yet
	l.read("/a", 7)
	l.found("/a", 7)
	l.event(zk.Event{Type: zk.Changed, Path: "/a"})
	l.found("/a", 8)
	assert.Equal(t, len(l.lost), 0, "%q", l.lost)
	l.read("/a", 8)
	l.found("/a", 9)
	assert.Equal(t, len(l.lost), 1)
	l.found("/a", 7)
	assert.Equal(t, len(l.lost), 2, "%q", l.lost)
}

func TestOutcome(t *testing.T) {
	good := func() *outcome {
		return &outcome{
			redials: 20, events: 1000, acknowledged: 7, stored: "7", storedVer: 7, found: true,
			born: zk.Stat{Czxid: 5, EphemeralOwner: 9}, last: zk.Stat{Czxid: 5, EphemeralOwner: 9},
		}
	}
	assert.NilError(t, good().check())
	for _, c := range []struct {
		name, want string
		spoil      func(*outcome)
	}{
		{"no redial", "prove nothing", func(o *outcome) { o.redials = 0 }},
		{"no event", "prove nothing", func(o *outcome) { o.events = 0 }},
		{"lost", "6 lost: a; b; c; d; e; and 1 more", func(o *outcome) { o.lost = []string{"a", "b", "c", "d", "e", "f"} }},
		{"duplicate", "1 duplicate: x", func(o *outcome) { o.duplicates = []string{"x"} }},
		{"gone", "is gone", func(o *outcome) { o.found = false }},
		{"made again", "created again", func(o *outcome) { o.last.Czxid++ }},
		{"another's", "and was 0x9's", func(o *outcome) { o.last.EphemeralOwner++ }},
		{"away", "was deleted meanwhile", func(o *outcome) { o.stirred = []zk.Event{{Type: zk.Deleted}} }},
		{"one too many", `"8" at version 8 after 7`, func(o *outcome) { o.stored, o.storedVer = "8", 8 }},
		{"one too few", `"6" at version 6 after 7`, func(o *outcome) { o.stored, o.storedVer = "6", 6 }},
		{"set twice", `"7" at version 8`, func(o *outcome) { o.storedVer = 8 }},
	} {
		o := good()
		c.spoil(o)
		assert.ErrorContains(t, o.check(), c.want, c.name)
	}
}
