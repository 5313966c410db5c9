package tree

import (
	"context"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// need is what there is to read of a znode.
type need uint8

const (
	needData    need = 1 << iota
	needNames        // of its children
	needCompare      // then the names too, if there may be others than the copy has; in per-node mode to arm the watch
	needLarge        // the data itself, however large
	needMade         // a watch that reports when it is made: the root, which is missing
)

// feed is the channel of a Cache's watches on one session's identity, and what
// its events have shown to be unread. It belongs to the Run at work. Between
// two Runs it belongs to a goroutine that takes the events.
type feed struct {
	root, skip string // skip: see hidden
	perNode    bool
	watches    *zk.Watches
	events     chan zk.Event

	armed  bool // recursive mode: the watch is
	all    bool // all that is known must be compared
	work   map[string]need
	staged map[string]*entry // read and not shown yet; nil: it does not exist
	fresh  []*entry          // staged as load has read it, level by level; nil if anything else was read since
	noted  int               // paths that events have added to work since it was begun

	stop    chan struct{} // ends the goroutine between two Runs
	stopped chan struct{}
	left    bool        // it has left; read after stopped
	last    *zk.Session // that it was used on last
}

const (
	// eventRoom is how many events need nobody to take them.
	eventRoom = 1024
	// maxNoted bounds the paths of events that wait to be read. Beyond it all is
	// compared, as after a Gap.
	maxNoted = 1 << 17
)

func newFeed(s *zk.Session, root string, perNode bool) *feed {
	return &feed{
		root: root, skip: hidden(s, root), perNode: perNode, watches: s.Watches(), all: true,
		events: make(chan zk.Event, eventRoom), work: make(map[string]need), staged: make(map[string]*entry),
	}
}

// note takes an event.
func (f *feed) note(ev zk.Event) {
	switch {
	case ev.Type == zk.Gap:
		f.all = true
	case !within(ev.Path, f.root) || f.skip != "" && within(ev.Path, f.skip):
	case f.perNode && ev.Type == zk.Child:
		f.add(ev.Path, needNames)
	case ev.Type == zk.Changed:
		f.add(ev.Path, needData)
	case f.perNode:
		// Deleted has disarmed all of the znode's watches. It is read even so: a
		// list that is newer than the event may have shown the name again.
		f.add(ev.Path, needData|needCompare)
	default:
		f.add(ev.Path, needData)
		if ev.Path != f.root {
			f.add(parent(ev.Path), needData) // its Stat
		}
	}
}

// add notes what an event has shown to be unread.
func (f *feed) add(path string, n need) {
	before := len(f.work)
	f.work[path] |= n
	f.noted += len(f.work) - before
	if f.noted > maxNoted && !f.perNode { // one-shot watches cannot bring so many
		f.restart()
	}
}

// restart forgets what was read and not shown, and what was to be read: all is
// to be compared with what is shown.
func (f *feed) restart() {
	f.all = true
	f.work = make(map[string]need)
	f.staged = make(map[string]*entry)
	f.noted, f.fresh = 0, nil
}

// drain takes the events that are there.
func (f *feed) drain() {
	for {
		select {
		case ev := <-f.events:
			f.note(ev)
		default:
			return
		}
	}
}

// leave disarms the channel at the paths, over as many Sessions as have taken
// over from s, and takes what is still delivered. Where it cannot be disarmed it
// is closed. It ends within about two timeouts of the session.
func (f *feed) leave(s *zk.Session, paths []string) {
	disarmed := make(chan bool, 1)
	go func() { disarmed <- f.disarm(s, paths) }()
	ok := false
	for waiting := true; waiting; {
		select {
		case <-f.events:
		case ok = <-disarmed:
			waiting = false
		}
	}
	// What was on its way before may be queued behind an event of another channel.
	deadline := time.NewTimer(s.Timeout())
	defer deadline.Stop()
	for pause := time.Millisecond; ok; pause = min(2*pause, 100*time.Millisecond) {
		f.discard()
		if f.watches.Undelivered() == 0 {
			f.discard()
			return
		}
		tick := time.NewTimer(pause)
		select {
		case <-f.events:
		case <-tick.C:
		case <-deadline.C:
			ok = false
		}
		tick.Stop()
	}
	f.watches.Undelivered() // takes the lock under which events are sent: they are either before the close or after it
	close(f.events)
	f.watches.Undelivered()
}

func (f *feed) discard() {
	for {
		select {
		case <-f.events:
		default:
			return
		}
	}
}

// disarm reports whether the channel is armed at none of the paths any more.
func (f *feed) disarm(s *zk.Session, paths []string) bool {
	tries := 0
	for i := 0; i < len(paths); {
		ctx, cancel := context.WithTimeout(context.Background(), max(s.Timeout()/3, time.Millisecond))
		err := s.RemoveWatch(ctx, paths[i], f.events)
		cancel()
		switch {
		case err == nil, errors.Is(err, zk.ErrNoWatcher):
			i++
			continue
		case errors.Is(err, zk.ErrMoved), errors.Is(err, zk.ErrClosed):
			if s, err = successor(s); err != nil {
				return false
			}
			continue
		}
		if tries++; tries == 3 { // a connection that is over needs no answer
			return false
		}
	}
	return true
}
