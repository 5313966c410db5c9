package tree

import (
	"context"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// largeData is from how many bytes of data on a comparison asks for the Stat
// alone, though that goes by Batch.
const largeData = 4096

// read reads what is unread.
func (k *keeper) read(ctx context.Context) error {
	if f := k.f; f.all && !f.perNode && len(f.staged) == 0 && len(k.c.tree.nodes) == 0 {
		return k.load(ctx)
	}
	return k.readAll(ctx)
}

// load is the first reading: level by level, with less to look up than readAll.
// Where it comes to no end, readAll goes on.
func (k *keeper) load(ctx context.Context) error {
	f := k.f
	f.all = false
	var nodes []*entry
	err := k.r.walk(ctx, f.root, func(path string, res *zk.Result) error {
		e := &entry{path: path, stat: res.Stat}
		if !k.c.NoData {
			e.data = res.Data
		}
		nodes = append(nodes, e)
		return nil
	})
	f.staged = make(map[string]*entry, len(nodes))
	for _, e := range nodes {
		f.staged[e.path] = e
	}
	switch {
	case err == nil:
		f.fresh = nodes
	case errors.Is(err, zk.ErrNoNode): // there is no root
		return nil
	default:
		f.all = true
	}
	return err
}

// readAll reads what is unread. What there was no answer to stays unread.
func (k *keeper) readAll(ctx context.Context) error {
	f := k.f
	asks := k.asks()
	f.work = make(map[string]need)
	f.noted, f.all, f.fresh = 0, false, nil
	var first error // of a single znode
	rest, err := k.r.each(ctx, asks, func(a *ask, res *zk.Result) error {
		if res.Err != nil && !errors.Is(res.Err, zk.ErrNoNode) {
			f.work[a.path] |= a.need
			if first == nil {
				first = errors.WithStack(res.Err)
			}
			return nil
		}
		if a.kind == askNames {
			k.takeNames(a.path, res)
		} else {
			k.takeNode(a, res)
		}
		return nil
	})
	for i := range rest {
		f.work[rest[i].path] |= rest[i].need
	}
	if err == nil {
		err = first
	}
	return err
}

// asks returns the reads of what is unread.
func (k *keeper) asks() []ask {
	f := k.f
	var data, names, stats []ask
	var watch chan<- zk.Event
	if f.perNode {
		watch = f.events
	}
	add := func(path string, known *entry, n need) {
		if n&needMade != 0 {
			stats = append(stats, ask{path: path, kind: askStat, watch: watch, need: n})
		}
		if n&needData != 0 {
			a := ask{path: path, watch: watch, size: -1, need: n}
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
			a := ask{path: path, kind: askNames, watch: watch, size: -1, need: n}
			if known != nil {
				a.size = namesSize(known.stat.NumChildren)
			}
			names = append(names, a)
		}
	}
	if f.all {
		data = make([]ask, 0, len(k.c.tree.nodes)+len(f.work)+1)
		k.compareAll(add)
	}
	for path, n := range f.work {
		add(path, k.known(path), n)
	}
	return append(append(data, names...), stats...)
}

// compareAll makes everything that is known unread, and the root. It calls add
// with what is not in work otherwise.
func (k *keeper) compareAll(add func(path string, known *entry, n need)) {
	f := k.f
	for path, n := range f.work {
		f.work[path] = n | needCompare // no event reports what came below it in between
	}
	for path, e := range f.staged {
		if e != nil {
			f.work[path] |= needData | needCompare
		}
	}
	f.work[f.root] |= needData | needCompare
	for e := range k.c.tree.all(f.root) {
		if n, ok := f.work[e.path]; ok {
			f.work[e.path] = n | needData | needCompare
		} else {
			add(e.path, e, needData|needCompare)
		}
	}
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

// takeNode stages a znode that was read.
func (k *keeper) takeNode(a *ask, res *zk.Result) {
	f, path, n := k.f, a.path, a.need
	known := k.known(path)
	if res.Err != nil {
		k.gone(path, n)
		return
	}
	if n&needMade != 0 && a.kind == askStat { // it was made before the watch was armed
		f.work[path] |= needData | needCompare
		return
	}
	same := known != nil && known.stat.Czxid == res.Stat.Czxid && known.stat.Mzxid == res.Stat.Mzxid
	switch {
	case same && known.stat == res.Stat:
	case same:
		f.staged[path] = &entry{path: known.path, data: known.data, stat: res.Stat}
	case k.c.NoData:
		f.staged[path] = &entry{path: path, stat: res.Stat}
	case a.kind == askStat:
		f.work[path] |= needData | needLarge | n&needCompare
		return
	default:
		f.staged[path] = &entry{path: path, data: res.Data, stat: res.Stat}
	}
	switch {
	case n&needCompare == 0:
	case f.perNode:
		if res.Stat.EphemeralOwner == 0 { // an ephemeral has no children to watch
			f.work[path] |= needNames
		}
	case res.Stat.NumChildren > 0:
		// Compared with what is shown: what is only staged may have a Stat that is
		// newer than the children that are known.
		shown := k.c.tree.nodes[path]
		if shown == nil || shown.stat.Czxid != res.Stat.Czxid || shown.stat.Pzxid != res.Stat.Pzxid {
			f.work[path] |= needNames
		}
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
