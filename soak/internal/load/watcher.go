package load

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// The tree: directories, which stay, with leaves, which come and go.
const (
	root      = "/soak"
	numDirs   = 50
	numLeaves = 3

	numWatchers = 4
	numSlots    = 5 // watches that one owner keeps: 4 watchers × 50 owners × 5 are 1,000

	roomyCap = 1 << 12
)

// slot is one watch that is armed again whenever it has fired.
type slot struct {
	path  string
	kind  zk.WatchKind // data: an exists watch where the znode is missing
	ch    int
	armed bool
	is    zk.WatchKind // as it is armed
}

// owner is a goroutine that keeps the watches of one directory and is the only
// one that reads their channels.
type owner struct {
	worker
	slots []*slot
	first int // of its channels
	chans []chan zk.Event
	nap   time.Duration // after every event
}

// newOwner gives an owner its watches: all kinds, two channels on one path,
// channels that are shared by kinds and paths.
func (c *client) newOwner(dir string, pattern int, slow bool) *owner {
	o := &owner{worker: c.newWorker(), first: len(c.chans)}
	for i := range 4 {
		size := []int{1, 0, 4, 16}[i]
		if c.roomy {
			size = roomyCap
		}
		c.channel(size)
	}
	o.chans = c.chans[o.first:]
	if slow {
		o.nap = 10*time.Millisecond + time.Duration(o.rng.Int64N(int64(20*time.Millisecond)))
	}
	a, b, d := leaf(dir, 0), leaf(dir, 1), leaf(dir, 2)
	type want struct {
		path string
		kind zk.WatchKind
		ch   int
	}
	for _, w := range [][numSlots]want{
		{{a, zk.DataWatch, 0}, {a, zk.DataWatch, 1}, {dir, zk.ChildWatch, 0}, {b, zk.PersistentWatch, 2}, {dir, zk.RecursiveWatch, 3}},
		{{d, zk.DataWatch, 0}, {d, zk.DataWatch, 1}, {d, zk.ChildWatch, 1}, {dir, zk.PersistentWatch, 2}, {b, zk.RecursiveWatch, 2}},
		{{dir, zk.DataWatch, 0}, {dir, zk.DataWatch, 1}, {dir, zk.ChildWatch, 1}, {a, zk.PersistentWatch, 0}, {d, zk.RecursiveWatch, 3}},
		{{b, zk.DataWatch, 0}, {b, zk.DataWatch, 1}, {d, zk.DataWatch, 0}, {dir, zk.ChildWatch, 2}, {a, zk.RecursiveWatch, 3}},
	}[pattern] {
		o.slots = append(o.slots, &slot{path: w.path, kind: w.kind, ch: o.first + w.ch})
	}
	if c.run.ens.Release() != apache.V3_9 {
		// An older server knows one way to be armed at a path for each of its two
		// tables: a persistent watch that comes later ends the one that was there.
		slices.SortStableFunc(o.slots, func(a, b *slot) int {
			return cmp.Compare(b.rank(), a.rank())
		})
	}
	return o
}

// rank is higher for watches that stay.
func (x *slot) rank() int {
	if x.kind >= zk.PersistentWatch {
		return 1
	}
	return 0
}

// run keeps the watches armed until ctx ends; from settle on it only reads.
func (o *owner) run(ctx context.Context, settle <-chan struct{}) {
	defer o.end()
	s, changed := o.c.current()
	for {
		settling := isClosed(settle)
		if settling {
			changed = nil
		} else if s != nil {
			if err := o.armAll(ctx, s); dead(err) {
				s = nil
			}
		}
		before := o.c.run.clock.Tick()
		var ev zk.Event
		ch := 0
		select {
		case ev = <-o.chans[0]:
		case ev = <-o.chans[1]:
			ch = 1
		case ev = <-o.chans[2]:
			ch = 2
		case ev = <-o.chans[3]:
			ch = 3
		case <-changed:
			s, changed = o.c.current()
			continue
		case <-settle:
			if settling {
				settle = nil
			}
			continue
		case <-ctx.Done():
			o.rest()
			return
		}
		o.took(ch, ev, before)
		if o.nap > 0 && !settling {
			pause(ctx, o.nap/2, o.nap)
		}
		if s == nil {
			if x, next := o.c.current(); !ended(x) {
				s, changed = x, next
			}
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return c == nil
	}
}

// took notes an event, and which watches it has disarmed.
func (o *owner) took(ch int, ev zk.Event, before int64) {
	n := o.first + ch
	o.c.recv[n] = append(o.c.recv[n], history.Recv{Event: ev, Before: before, After: o.c.run.clock.Tick()})
	for _, x := range o.slots {
		if x.ch != n || !x.armed || x.path != ev.Path || x.is >= zk.PersistentWatch {
			continue
		}
		child := ev.Type == zk.Child
		if ev.Type == zk.Deleted || ev.Type != zk.Gap && child == (x.is == zk.ChildWatch) {
			x.armed = false
		}
	}
}

// rest takes what is left in the channels.
func (o *owner) rest() {
	for ch := range o.chans {
		for {
			before := o.c.run.clock.Tick()
			select {
			case ev := <-o.chans[ch]:
				o.took(ch, ev, before)
				continue
			default:
			}
			break
		}
	}
}

// held counts what its channels have got, where they have room and nobody else
// reads them.
func (o *owner) held() []int {
	if !o.c.roomy {
		return nil
	}
	held := make([]int, len(o.chans))
	for i := range o.chans {
		held[i] = len(o.c.recv[o.first+i]) + len(o.chans[i])
	}
	return held
}

// armAll arms what is not armed.
func (o *owner) armAll(ctx context.Context, s *zk.Session) error {
	for _, x := range o.slots {
		if x.armed {
			continue
		}
		if err := o.arm(ctx, s, x); err != nil {
			return err
		}
	}
	return nil
}

func (o *owner) arm(ctx context.Context, s *zk.Session, x *slot) error {
	var k *history.Call
	var err error
	switch {
	case x.kind >= zk.PersistentWatch:
		k, err = o.addWatch(ctx, s, x.path, x.kind, x.ch)
	case x.kind == zk.ChildWatch:
		k, err = o.children(ctx, s, x.path, x.ch)
	case o.rng.IntN(3) == 0:
		k, err = o.exists(ctx, s, x.path, x.ch)
	default:
		k, err = o.get(ctx, s, x.path, x.ch)
	}
	if k.Outcome == history.Refused && k.Code == zk.ErrNoNode {
		k, err = o.exists(ctx, s, x.path, x.ch)
	}
	if k.Outcome != history.OK {
		return err
	}
	x.armed, x.is = true, k.Kind
	if held := o.held(); held != nil {
		k.Held, k.From = held, o.first
		for i := range o.chans {
			if len(o.chans[i]) == cap(o.chans[i]) {
				o.c.run.void("a channel of %s, which should always have room, was full", o.c.name)
			}
		}
	}
	return nil
}
