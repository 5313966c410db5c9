package calls

import (
	"context"

	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/registry"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// RestoreWatches hands what is watched to the server, in requests of up to maxRequest bytes.
// It appends to sent the calls whose answers are due. Where they are many, it calls wait
// with those so far, and they are due no more. After the last answer, the caller calls done.
func (e *Engine[T, E]) RestoreWatches(sent []*Call[E], maxRequest int, wait func(sent []*Call[E]) error) (due []*Call[E], done func(), err error) {
	r := e.reg.Restore()
	if r == nil {
		return sent, func() {}, nil
	}
	if r.Reads {
		due, err = e.reread(r, sent, wait)
	} else {
		due, err = e.setWatches(r, sent, maxRequest)
	}
	return due, r.Done, err
}

// send sends a call of the client's own, and appends it to those whose answers are due.
func (e *Engine[T, E]) send(sent []*Call[E], c *Call[E]) ([]*Call[E], error) {
	if err := e.Submit(context.Background(), c); err != nil {
		e.Recycle(c)
		return sent, err
	}
	return append(sent, c), nil
}

// setWatches sends the frames that restore the watches.
func (e *Engine[T, E]) setWatches(r *registry.Restorer[T, E], sent []*Call[E], maxRequest int) ([]*Call[E], error) {
	limit := 4 + min(limits.SetWatchesFrame-4, maxRequest)
	buf := make([]byte, 0, min(limit, 64*e.reg.Len()+64)) // one for all frames: Submit copies it
	for more := true; more; {
		c := e.New(&kindSetWatches, "setwatches", "")
		c.Frames = buf[:0]
		at := c.Begin(r.Op())
		n := len(c.Frames)
		if c.Frames, more = r.Next(c.Frames, limit-n); len(c.Frames) == n {
			e.Recycle(c)
			break
		}
		c.More = &More[E]{restore: &restoral{last: !more, rearms: r.Rearms()}}
		wire.EndFrame(c.Frames, at)
		buf = c.Frames
		var err error
		if sent, err = e.send(sent, c); err != nil {
			return sent, err
		}
		c.Frames = nil
	}
	for path, floor := range r.Deaf { // behind their recursive watches, which would end them before 3.9
		c := e.New(&kindSetWatches, "setwatches", path)
		c.childWatch(path, floor)
		c.More = &More[E]{restore: &restoral{deaf: path}}
		var err error
		if sent, err = e.send(sent, c); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// rereads is how many reads are under way at a time.
const rereads = 256

// reread restores the watches one by one where the server does not support SetWatches: a
// read arms a one-shot again, and its answer says whether the watch has missed its event. A
// persistent watch gets a Gap.
func (e *Engine[T, E]) reread(r *registry.Restorer[T, E], sent []*Call[E], wait func([]*Call[E]) error) ([]*Call[E], error) {
	for {
		path, kind, floor, ok := r.Path()
		if !ok {
			return sent, nil
		}
		var c *Call[E]
		switch kind {
		case watches.Child:
			c = e.New(&kindRereadChild, "restore", path)
			c.PathWatch(wire.OpGetChildren2, path, true)
		case watches.Persistent:
			c = e.New(&kindRereadPersistent, "restore", path)
			c.Frame(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: wire.AddWatchPersistent})
		case watches.Recursive:
			c = e.New(&kindRereadPersistent, "restore", path)
			c.Frame(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: wire.AddWatchPersistentRecursive})
		default:
			c = e.New(&kindRereadData, "restore", path)
			c.PathWatch(wire.OpExists, path, true)
		}
		c.More = &More[E]{restore: &restoral{kind: kind, floor: floor}}
		var err error
		if sent, err = e.send(sent, c); err != nil {
			return sent, err
		}
		if len(sent) == rereads {
			if err := wait(sent); err != nil {
				return nil, err
			}
			sent = nil
		}
	}
}
