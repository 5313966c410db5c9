package tree

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// Stream yields the states of one znode. It never misses the latest state, never
// goes back, and yields no state twice. Of quick changes it yields the last. One
// goroutine at a time may use it.
type Stream struct {
	Path     string
	Children bool // with the names of the children, whose changes are states too

	last    State
	yielded bool
	zxid    int64       // that the last state was read at, or after
	watches *zk.Watches // of the session that it was read by
}

// State is the state of a znode at one time.
type State struct {
	Exists   bool
	Data     []byte
	Stat     zk.Stat
	Children []string // in order; nil unless Stream.Children
}

// States yields the present state, and each that follows, until the Session or
// ctx ends. The reason comes last, as an error, with the last state. Called
// again with the successor, or with any other Session of the same servers,
// States yields only new states. It leaves no watch behind.
func (w *Stream) States(ctx context.Context, s *zk.Session) iter.Seq2[State, error] {
	return func(yield func(State, error) bool) {
		// At most one Changed and one Child, or one Deleted or Created, are on
		// their way when it reads, and as many more come by what that arms: the
		// channel always has room, even when nobody receives any more.
		events := make(chan zk.Event, 4)
		defer w.disarm(s, events)
		for {
			state, err := w.next(ctx, s, events)
			if err != nil {
				yield(w.last, err)
				return
			}
			if !yield(state, nil) {
				return
			}
		}
	}
}

// next waits for a state that is new.
func (w *Stream) next(ctx context.Context, s *zk.Session, events chan zk.Event) (State, error) {
	if w.yielded && w.watches != s.Watches() {
		if err := catchUp(ctx, s, w.zxid); err != nil {
			return State{}, err
		}
	}
	for {
		for len(events) > 0 {
			<-events
		}
		state, again, err := w.read(ctx, s, events)
		switch {
		case err != nil:
			return State{}, err
		case again:
			continue
		case w.newer(state):
			w.last, w.yielded, w.zxid, w.watches = state, true, s.Zxid(), s.Watches()
			return state, nil
		}
		select {
		case <-events:
		case <-s.Done():
			return State{}, s.Err()
		case <-ctx.Done():
			return State{}, ctx.Err()
		}
	}
}

// read reads the state and arms the watches that report the next. again: the
// znode has changed in between.
func (w *Stream) read(ctx context.Context, s *zk.Session, events chan zk.Event) (state State, again bool, err error) {
	var names []string
	var data []byte
	var stat, listed zk.Stat
	if w.Children {
		var res []zk.Result
		res, err = s.Batch(ctx, zk.GetOp{Path: w.Path, Watch: events}, zk.ChildrenOp{Path: w.Path, Watch: events})
		if err == nil {
			data, stat, names, listed = res[0].Data, res[0].Stat, res[1].Children, res[1].Stat
			slices.Sort(names)
			if names == nil {
				names = []string{}
			}
		}
	} else {
		data, stat, err = s.Get(ctx, w.Path, events)
		listed = stat
	}
	switch {
	case err == nil:
		again = stat.Czxid != listed.Czxid || stat.Mzxid != listed.Mzxid || stat.Pzxid != listed.Pzxid
		return State{Exists: true, Data: data, Stat: stat, Children: names}, again, nil
	case errors.Is(err, zk.ErrNoNode):
		found, _, err := s.Exists(ctx, w.Path, events)
		return State{}, found, err
	}
	return State{}, false, err
}

// newer reports whether a state comes after the last that was yielded.
func (w *Stream) newer(state State) bool {
	switch {
	case !w.yielded:
		return true
	case !state.Exists || !w.last.Exists:
		return state.Exists != w.last.Exists
	}
	a, b := w.last.Stat, state.Stat
	switch {
	case a.Czxid != b.Czxid:
		return a.Czxid < b.Czxid
	case a.Mzxid != b.Mzxid:
		return a.Mzxid < b.Mzxid
	}
	return w.Children && a.Pzxid < b.Pzxid
}

// disarm takes the watches away. While a Dial moves the session, a goroutine waits for
// that and does so. If there is no successor in time, their events still have room in the
// channel.
func (w *Stream) disarm(s *zk.Session, events chan zk.Event) {
	path := w.Path
	remove := func(s *zk.Session) bool { // one-shot: no request
		return !errors.Is(s.RemoveWatch(context.Background(), path, events), zk.ErrMoved)
	}
	if remove(s) {
		return
	}
	go func() {
		next, err := successor(s)
		for err == nil && !remove(next) {
			next, err = successor(next)
		}
	}()
}

// catchUp waits until the server is not behind a zxid.
func catchUp(ctx context.Context, s *zk.Session, zxid int64) error {
	for pause := time.Millisecond; s.Zxid() < zxid; pause = min(2*pause, 100*time.Millisecond) {
		if err := hear(ctx, s); err != nil {
			return err
		}
		if s.Zxid() >= zxid {
			return nil
		}
		t := time.NewTimer(pause) // a leader may be a moment behind its followers
		select {
		case <-t.C:
		case <-s.Done():
			t.Stop()
			return s.Err()
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// hear waits until the server has caught up with its leader, and for what it
// says then. A server without a leader has nothing to catch up with.
func hear(ctx context.Context, s *zk.Session) error {
	if !s.ReadOnly() {
		return s.Sync(ctx, "/")
	}
	_, _, err := s.Exists(ctx, "/", nil)
	return err
}

// Wait returns the first state of a znode for which f returns true. It calls f
// with the present state first. States have the names of the children. When
// the Session ends, call Wait again with the successor.
func Wait(ctx context.Context, s *zk.Session, path string, f func(State) bool) (State, error) {
	w := Stream{Path: path, Children: true}
	for state, err := range w.States(ctx, s) {
		if err != nil {
			return State{}, err
		}
		if f(state) {
			return state, nil
		}
	}
	return State{}, errors.WithStack(zk.ErrClosed) // never: States ends with an error
}
