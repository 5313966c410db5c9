package load

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/wire"
)

const (
	numWriters = 4
	numCAS     = 2
	casNodes   = 3
)

func dirPath(i int) string          { return fmt.Sprintf("%s/d-%02d", root, i) }
func leaf(dir string, i int) string { return dir + "/" + string(rune('a'+i)) }
func casPath(i int) string          { return fmt.Sprintf("%s/cas-%d", root, i) }
func (w *writer) leafAtRandom() string {
	return leaf(dirPath(w.rng.IntN(numDirs)), w.rng.IntN(numLeaves))
}

// writer is a goroutine that changes znodes. What it writes no other writes.
type writer struct {
	worker
	n     int
	nodes map[string]node // as far as it knows
}

type node struct {
	there   bool
	version int32
}

func (c *client) newWriter() *writer {
	return &writer{worker: c.newWorker(), nodes: map[string]node{}}
}

func (w *writer) value() string {
	w.n++
	return fmt.Sprintf("%s-%06d", w.c.name, w.n)
}

// run writes at a steady rate until stop.
func (w *writer) run(ctx context.Context, stop <-chan struct{}, every time.Duration, step func(context.Context, *zk.Session) error) {
	defer w.end()
	s, _ := w.c.current()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
		if err := step(ctx, s); dead(err) {
			next, err := w.c.successor(ctx, s)
			if err != nil {
				return
			}
			s = next
		}
	}
}

// change does one thing to the tree.
func (w *writer) change(ctx context.Context, s *zk.Session) error {
	var writes []history.Write
	switch {
	case w.rng.IntN(3) == 0:
		a, b := w.leafAtRandom(), w.leafAtRandom()
		writes = []history.Write{w.one(a, true)}
		if a != b {
			writes = append(writes, w.one(b, false))
		}
	case w.rng.IntN(10) == 0:
		writes = []history.Write{{Op: wire.OpSetData, Path: dirPath(w.rng.IntN(numDirs)), Value: w.value(), Version: zk.AnyVersion}}
	default:
		writes = []history.Write{w.one(w.leafAtRandom(), false)}
	}
	if w.rng.IntN(30) == 0 && writes[0].Op != wire.OpDelete { // given up early: sent or not, it must be known
		short, cancel := context.WithTimeout(ctx, time.Duration(200+w.rng.IntN(3000))*time.Microsecond)
		defer cancel()
		ctx = short
	}
	k, err := w.write(ctx, s, writes...)
	switch k.Outcome {
	case history.OK:
		for _, x := range k.Writes {
			w.nodes[x.Path] = node{x.Op != wire.OpDelete, x.Stat.Version}
		}
	case history.Refused: // it has another state than was thought
		for _, x := range k.Writes {
			if len(k.Writes) == 1 || x.Refused {
				w.nodes[x.Path] = node{k.Code != zk.ErrNoNode, -1}
			}
		}
	case history.Lost:
		for _, x := range k.Writes {
			w.nodes[x.Path] = node{x.Op != wire.OpDelete, -1}
		}
	}
	return err
}

// one makes a write of a znode, with a value if it has to be found again by that.
func (w *writer) one(path string, valued bool) history.Write {
	n := w.nodes[path]
	x := history.Write{Path: path, Version: zk.AnyVersion}
	if n.version >= 0 && w.rng.IntN(2) == 0 {
		x.Version = n.version
	}
	switch {
	case !n.there:
		x.Op, x.Value = wire.OpCreate, w.value()
	case !valued && w.rng.IntN(4) == 0:
		x.Op = wire.OpDelete
	default:
		x.Op, x.Value = wire.OpSetData, w.value()
	}
	return x
}

// cas reads a znode and sets it, if nobody was quicker.
func (w *writer) cas(ctx context.Context, s *zk.Session) error {
	path := casPath(w.rng.IntN(casNodes))
	k, err := w.get(ctx, s, path, -1)
	if err != nil {
		return err
	}
	_, err = w.write(ctx, s, history.Write{Op: wire.OpSetData, Path: path, Value: w.value(), Version: k.Stat.Version})
	return err
}
