package tree

import (
	"context"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// largeData is from how many bytes of data on a comparison asks for the Stat
// alone, though that goes by Batch.
const largeData = 4096

// readAll reads what is unread. What there was no answer to stays unread.
func (k *keeper) readAll(ctx context.Context) error {
	f := k.f
	todo := f.work
	f.work = make(map[string]need)
	f.noted = 0
	var watch chan<- zk.Event
	if f.perNode {
		watch = f.events
	}
	data, names, stats := make([]ask, 0, len(todo)), []ask(nil), []ask(nil)
	for path, n := range todo {
		known := k.known(path)
		if n&needMade != 0 {
			stats = append(stats, ask{path: path, kind: askStat, watch: watch})
		}
		if n&needData != 0 {
			a := ask{path: path, watch: watch, size: -1}
			if known != nil {
				a.size = int(known.stat.DataLength)
			}
			if !f.perNode && a.size > largeData && n&needLarge == 0 && (n&needCompare != 0 || k.c.NoData) {
				a.kind = askStat
				stats = append(stats, a)
			} else {
				data = append(data, a)
			}
		}
		if n&needNames != 0 {
			a := ask{path: path, kind: askNames, watch: watch, size: -1}
			if known != nil {
				a.size = namesSize(known.stat.NumChildren)
			}
			names = append(names, a)
		}
	}
	var first error // of a single znode
	asks := append(append(data, names...), stats...)
	rest, err := k.r.each(ctx, asks, func(a *ask, res *zk.Result) error {
		if res.Err != nil && !errors.Is(res.Err, zk.ErrNoNode) {
			f.work[a.path] |= todo[a.path]
			if first == nil {
				first = errors.WithStack(res.Err)
			}
			return nil
		}
		if a.kind == askNames {
			k.takeNames(a.path, res)
		} else {
			k.takeNode(a, res, todo[a.path])
		}
		return nil
	})
	for i := range rest {
		f.work[rest[i].path] |= todo[rest[i].path]
	}
	if err == nil {
		err = first
	}
	return err
}

// takeNames makes the children unread that are not known.
func (k *keeper) takeNames(path string, res *zk.Result) {
	f := k.f
	known := k.known(path)
	if res.Err != nil || known == nil {
		f.work[path] |= needData | needCompare
		return
	}
	for _, name := range res.Children {
		if kid := join(path, name); kid != f.skip && k.known(kid) == nil {
			f.work[kid] |= needData | needCompare
		}
	}
	if res.Stat.Czxid == 0 || res.Stat == known.stat { // a MultiRead gives none
		return
	}
	if res.Stat.Czxid != known.stat.Czxid || res.Stat.Mzxid != known.stat.Mzxid {
		f.work[path] |= needData | needCompare // its event is on its way
		return
	}
	f.staged[path] = &entry{path: known.path, data: known.data, stat: res.Stat}
}

// takeNode stages a znode that was read because of n.
func (k *keeper) takeNode(a *ask, res *zk.Result, n need) {
	f, path := k.f, a.path
	known, shown := k.known(path), k.c.tree.nodes[path]
	if res.Err != nil {
		k.gone(path, n)
		return
	}
	if n&needMade != 0 && a.kind == askStat { // it was made before the watch was armed
		f.work[path] |= needData | needCompare
		return
	}
	same := known != nil && known.stat.Czxid == res.Stat.Czxid && known.stat.Mzxid == res.Stat.Mzxid
	e := &entry{path: path, stat: res.Stat}
	switch {
	case same:
		e.path, e.data = known.path, known.data
	case k.c.NoData:
	case a.kind == askStat:
		f.work[path] |= needData | needLarge | n&needCompare
		return
	default:
		e.data = res.Data
	}
	if known == nil || known.stat != res.Stat {
		f.staged[path] = e
	}
	switch {
	case n&needCompare == 0:
	case f.perNode:
		if res.Stat.EphemeralOwner == 0 { // an ephemeral has no children to watch
			f.work[path] |= needNames
		}
	case res.Stat.NumChildren == 0:
	case shown == nil || shown.stat.Czxid != res.Stat.Czxid || shown.stat.Pzxid != res.Stat.Pzxid:
		// Compared with what is shown: what is only staged may have a Stat that is
		// newer than the children that are known.
		f.work[path] |= needNames
	}
}

// gone stages that a znode does not exist.
func (k *keeper) gone(path string, n need) {
	f := k.f
	if k.c.tree.nodes[path] != nil {
		f.staged[path] = nil
	} else {
		delete(f.staged, path)
	}
	if f.perNode && path == f.root && n&needMade == 0 {
		f.work[path] |= needMade
	}
}
