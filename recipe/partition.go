package recipe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// Partition spreads items over members, so that one member at a time works at
// each item. All members must have the same Items. It shares a directory with
// kazoo's SetPartitioner.
type Partition struct {
	Path  string
	ID    string   // of this member
	Items []string // names without a slash
	ACL   zk.ACL   // nil: zk.ACLOpen
	// Settle is how long the members must stay the same before items move; zero: 1 s.
	Settle time.Duration
}

// Run takes part until the Session or ctx ends, and returns the error of that.
// For each item that this member gets, it calls work in a goroutine, under the
// item's lock. The context of work ends when the member has to give the item up,
// or when the lock is lost; Run waits for work then. If work returns nil before
// that, the item stays with this member, idle, until it moves. If work returns an
// error, Run ends.
//
// After an error of the connection call Run again with the successor. This member
// keeps its part for one session timeout.
func (p *Partition) Run(ctx context.Context, s *zk.Session, work func(ctx context.Context, item string, h *Hold) error) error {
	if err := p.check(); err != nil {
		return err
	}
	if work == nil {
		return badArgument("work is nil")
	}
	id, err := begin(ctx, s)
	if err != nil {
		return err
	}
	r := &partitionRun{Partition: p, s: s, id: id, work: work, failed: make(chan error, 1), workers: map[string]*worker{}}
	r.items = slices.Sorted(slices.Values(p.Items))
	r.settle = p.Settle
	if r.settle <= 0 {
		r.settle = time.Second
	}
	defer r.leave(ctx)
	err = r.run(ctx)
	return at("partition", p.Path, err)
}

func (p *Partition) check() error {
	if err := checkDir(p.Path); err != nil {
		return err
	}
	if err := checkName("ID", p.ID); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, item := range p.Items {
		if err := checkName("item", item); err != nil {
			return err
		}
		if seen[item] {
			return badArgument("item %q is there twice", item)
		}
		seen[item] = true
	}
	return nil
}

// partitionRun is one Run.
type partitionRun struct {
	*Partition
	s      *zk.Session
	id     *identity
	work   func(context.Context, string, *Hold) error
	items  []string
	settle time.Duration

	member  *Hold // nil while it joins
	workers map[string]*worker
	all     sync.WaitGroup
	failed  chan error
}

// worker has one item, or wants it.
type worker struct {
	ctx    context.Context // ends when the item is to be given up
	cancel context.CancelFunc
	done   chan struct{} // closed when the item is given up
}

func (r *partitionRun) run(ctx context.Context) error {
	var last []string
	settled := false // the members have not changed for Settle
	for {
		if r.member == nil {
			if err := r.join(ctx); err != nil {
				return err
			}
		}
		w := newWatch(r.Path + "/party")
		names, _, err := r.s.Children(ctx, w.path, w.ch)
		if err != nil {
			return err
		}
		_, me := split(r.member.Path())
		mine, in := share(r.items, names, me)
		if !slices.Equal(mine, last) {
			settled = false
		}
		last = mine
		if in && settled {
			r.assign(ctx, mine)
		}
		settled, err = r.wait(ctx, w, settled || !in)
		r.id.disarm(r.s, w)
		if err != nil {
			return err
		}
	}
}

// join makes this member's znode, or takes the one that an earlier Run has left.
func (r *partitionRun) join(ctx context.Context) error {
	guid := newGUID()
	o := &owned{path: r.Path + "/party/" + guid + "-" + r.ID, data: []byte(r.ID), acl: r.ACL}
	h, err := o.acquire(ctx, r.s, placeKey{kind: partyKind, dir: r.Path + "/party", data: r.ID}, guid)
	if err != nil {
		return err
	}
	r.member = h
	return nil
}

// share returns the items of the member with this name, as kazoo spreads them.
func share(items, names []string, me string) (mine []string, in bool) {
	type member struct{ id, name string }
	var members []member
	for _, name := range names {
		if len(name) > 33 && checkGUID(name[:32]) == nil && name[32] == '-' {
			members = append(members, member{name[33:], name})
		}
	}
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.name, b.name))
	})
	k := slices.IndexFunc(members, func(m member) bool { return m.name == me })
	if k < 0 {
		return nil, false
	}
	for i := k; i < len(items); i += len(members) {
		mine = append(mine, items[i])
	}
	return mine, true
}

// wait waits for a change, and returns whether the members have settled.
func (r *partitionRun) wait(ctx context.Context, w *watch, settled bool) (bool, error) {
	var timer <-chan time.Time
	if !settled {
		t := time.NewTimer(r.settle)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-timer:
		return true, nil
	case <-w.ch:
		return settled, nil
	case <-r.member.Lost():
		if err := r.s.Err(); err != nil {
			return false, err
		}
		r.member.in.release(true)
		r.member = nil
		return false, nil
	case err := <-r.failed:
		return false, err
	case <-r.s.Done():
		return false, r.s.Err()
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// assign gives up what this member has no part in any more, and begins with what
// is new.
func (r *partitionRun) assign(ctx context.Context, mine []string) {
	for item, w := range r.workers {
		if !slices.Contains(mine, item) {
			w.cancel()
		}
	}
	for _, item := range mine {
		old := r.workers[item]
		if old != nil && old.ctx.Err() == nil {
			continue
		}
		wctx, cancel := context.WithCancel(ctx)
		w := &worker{wctx, cancel, make(chan struct{})}
		r.workers[item] = w
		r.all.Go(func() {
			defer close(w.done)
			defer cancel()
			if old != nil {
				<-old.done
			}
			if err := r.workAt(wctx, item); err != nil {
				select {
				case r.failed <- err:
				default:
				}
			}
		})
	}
}

// workAt works at an item until ctx ends.
func (r *partitionRun) workAt(ctx context.Context, item string) error {
	lock := &Lock{Path: r.Path + "/locks/" + item, Data: []byte(r.ID), ACL: r.ACL, Layout: Kazoo}
	for {
		h, err := lock.Acquire(ctx, r.s)
		if err != nil {
			r.yield(lock)
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		held, end := h.Context(ctx)
		err = r.work(held, item, h)
		if err == nil {
			<-held.Done()
		}
		over := held.Err() != nil
		end()
		h.in.release(true)
		switch {
		case ctx.Err() != nil:
			return nil
		case !over:
			return err
		case r.s.Err() != nil:
			return r.s.Err()
		}
	}
}

// yield gives up the place that an Acquire has kept: when this member goes on, the
// item may be another's, who would wait for it until it is given up.
func (r *partitionRun) yield(lock *Lock) {
	if c := r.id.take(lock.line(lockKind).key(r.s)); c != nil {
		budget, cancel := patience(r.s)
		defer cancel()
		r.id.giveUp(budget, r.s, c, true)
	}
}

// leave ends a Run: it waits for the work, and leaves the party; where the
// connection was lost, the next Run goes on as the same member.
func (r *partitionRun) leave(ctx context.Context) {
	for _, w := range r.workers {
		w.cancel()
	}
	r.all.Wait()
	if r.member == nil {
		return
	}
	in := r.member.in
	if ctx.Err() == nil && r.s.Err() != nil && in.end(fmt.Errorf("%w: Run has ended", ErrNotHeld), true) {
		in.stop()
		r.id.keep(r.s, in.claim.key, in.claim)
		return
	}
	in.release(true)
}
