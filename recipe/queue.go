package recipe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/seed-9f8420c6/zk"
)

// Queue has entries with priorities. A taken entry comes back if its consumer
// ends before Item.Done. The znodes are those of kazoo's LockingQueue. Any number
// of goroutines may use one. Do not copy it after its first use.
type Queue struct {
	Path string
	ACL  zk.ACL // nil: zk.ACLOpen

	mu   sync.Mutex // guards puts
	puts []*put
}

// put is a Once, and what it was last used for.
type put struct {
	once  Once
	entry zk.CreateOp // where an answer is missing
	busy  bool
}

func (q *Queue) entries() string { return q.Path + "/entries" }
func (q *Queue) taken() string   { return q.Path + "/taken" }

// Put adds an entry. priority is 0 to 999, and lower ones are taken first.
// Entries of one priority are taken in the order in which they came. After an
// error that matches zk.ErrLost, zk.ErrConnection or zk.ErrMoved, make the same
// Put with the successor: the entry is added once in all. ErrUnknown: the session
// expired while an answer was missing. Put needs a server since 3.5; an older one
// answers zk.ErrMarshalling.
//
// Each running Put needs a marker: an ephemeral znode in the queue's directory,
// which the next Put of this Queue uses again. So keep one Queue for all Puts. A
// Put that is not repeated after such an error keeps its marker until the session
// ends, and its data in memory.
func (q *Queue) Put(ctx context.Context, s *zk.Session, data []byte, priority int) error {
	if err := checkDir(q.Path); err != nil {
		return err
	}
	if priority < 0 || priority > 999 {
		return badArgument("priority %d is not in 0..999", priority)
	}
	if _, err := begin(ctx, s); err != nil {
		return err
	}
	entry := zk.CreateOp{
		Path: fmt.Sprintf("%s/entry-%03d-", q.entries(), priority), Data: data, Mode: zk.PersistentSequential, ACL: openACL(q.ACL),
	}
	p := q.use(entry)
	defer q.unuse(p)
	for {
		_, _, err := p.once.Do(ctx, s, p.entry)
		if code(err) != zk.ErrNoNode {
			return err
		}
		if err := mkdirAll(ctx, s, q.entries(), openACL(q.ACL)); err != nil {
			return err
		}
	}
}

// use returns the Once that has sent an entry like this one and has no answer
// yet, or one that is free.
func (q *Queue) use(entry zk.CreateOp) *put {
	q.mu.Lock()
	defer q.mu.Unlock()
	var free *put
	for _, p := range q.puts {
		switch {
		case p.busy:
		case p.once.pending == nil:
			free = p
		case p.entry.Path == entry.Path && string(p.entry.Data) == string(entry.Data):
			p.busy = true
			return p
		}
	}
	if free == nil {
		free = &put{once: Once{Path: q.Path + "/_once_" + newGUID(), ACL: q.ACL}}
		q.puts = append(q.puts, free)
	}
	entry.Data = slices.Clone(entry.Data)
	free.entry, free.busy = entry, true
	return free
}

func (q *Queue) unuse(p *put) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.busy = false
}

// Item is an entry that was taken. Release gives it back, and so does the end of
// the session.
type Item struct {
	Data []byte
	*Hold

	queue *Queue
	entry string     // its path
	mu    sync.Mutex // guards sent and done
	sent  bool       // a Done whose answer is missing
	done  bool
}

// Take takes the first entry that nobody has taken, and waits until there is one.
// After an error of the connection, call Take with the successor. Within one
// session timeout it returns the entry that was taken for it.
func (q *Queue) Take(ctx context.Context, s *zk.Session) (*Item, error) {
	if err := checkDir(q.Path); err != nil {
		return nil, err
	}
	id, err := begin(ctx, s)
	if err != nil {
		return nil, err
	}
	if item, err := q.resume(ctx, s, id); item != nil || err != nil {
		return item, err
	}
	for {
		free, watches, err := q.free(ctx, s, id)
		if err == nil && len(free) == 0 {
			err = q.wait(ctx, s, watches)
		}
		for _, w := range watches {
			id.disarm(s, w)
		}
		if err != nil {
			return nil, at("take from", q.Path, err)
		}
		for _, name := range free {
			item, err := q.take(ctx, s, id, name, nil)
			if item != nil || err != nil {
				return item, err
			}
		}
	}
}

// resume goes on with a Take whose connection was lost while it took an entry.
func (q *Queue) resume(ctx context.Context, s *zk.Session, id *identity) (*Item, error) {
	c := id.take(q.key(s))
	if c == nil {
		return nil, nil
	}
	return q.take(ctx, s, id, c.prefix, c)
}

// key says whose the places of takes are.
func (q *Queue) key(s *zk.Session) placeKey {
	return placeKey{session: s.ID(), kind: takenKind, dir: fullPath(s, q.taken())}
}

// take takes the entry of this name, and returns nil where somebody else did, or
// where it is done with.
func (q *Queue) take(ctx context.Context, s *zk.Session, id *identity, name string, c *claim) (*Item, error) {
	o := &owned{path: join(q.taken(), name), acl: q.ACL, stamp: true, pass: true}
	if c == nil {
		c = o.fresh(id, q.key(s), "")
	}
	o.data = []byte(c.guid)
	err := o.settle(ctx, s, id, c)
	if errors.Is(err, zk.ErrExists) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entry := join(q.entries(), name)
	data, _, err := s.Get(ctx, entry, nil)
	if code(err) == zk.ErrNoNode {
		budget, cancel := patience(s)
		defer cancel()
		id.giveUp(budget, s, c, true)
		return nil, nil
	}
	if err != nil {
		return nil, id.leave(ctx, s, at("take", entry, err), c)
	}
	return &Item{Data: data, Hold: newHold(s, id, c), queue: q, entry: entry}, nil
}

// free lists the entries that nobody has taken, the first ones first, with
// watches for more of them.
func (q *Queue) free(ctx context.Context, s *zk.Session, id *identity) ([]string, []*watch, error) {
	for {
		entries, taken := newWatch(q.entries()), newWatch(q.taken())
		watches := []*watch{entries, taken}
		res, err := s.Batch(ctx, zk.ChildrenOp{Path: q.entries(), Watch: entries.ch}, zk.ChildrenOp{Path: q.taken(), Watch: taken.ch})
		if res == nil {
			return nil, nil, err
		}
		if code(res[0].Err) == zk.ErrNoNode || code(res[1].Err) == zk.ErrNoNode {
			for _, w := range watches {
				id.disarm(s, w)
			}
			for _, w := range watches {
				if err := mkdirAll(ctx, s, w.path, openACL(q.ACL)); err != nil {
					return nil, nil, err
				}
			}
			continue
		}
		for _, r := range res {
			if r.Err != nil {
				return nil, watches, r.Err
			}
		}
		busy := map[string]bool{}
		for _, name := range res[1].Children {
			busy[name] = true
		}
		var free []string
		for _, name := range res[0].Children {
			if strings.HasPrefix(name, "entry-") && !busy[name] {
				free = append(free, name)
			}
		}
		slices.Sort(free)
		return free, watches, nil
	}
}

func (q *Queue) wait(ctx context.Context, s *zk.Session, watches []*watch) error {
	select {
	case <-watches[0].ch:
	case <-watches[1].ch:
	case <-s.Done():
		return fmt.Errorf("waiting: %w", s.Err())
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", ctx.Err())
	}
	return nil
}

// Done deletes the entry and ends the hold. If the entry is no longer this
// process's, the error matches ErrNotHeld, and another consumer has taken it or
// will take it. After an error that matches zk.ErrLost, zk.ErrConnection or
// zk.ErrMoved, call Done again with the successor. ErrUnknown: the session
// expired while an answer was missing.
func (i *Item) Done(ctx context.Context, s *zk.Session) error {
	if i == nil || i.Hold.inner() == nil || i.queue == nil {
		return errZeroHold
	}
	if _, err := begin(ctx, s); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done {
		return nil
	}
	if i.sent {
		return i.look(ctx, s)
	}
	in := i.Hold.inner()
	in.expect(true)
	_, err := i.Multi(ctx, s,
		zk.DeleteOp{Path: i.entry, Version: zk.AnyVersion}, zk.DeleteOp{Path: i.Path(), Version: zk.AnyVersion})
	switch {
	case err == nil:
		i.finish()
	case errors.Is(err, zk.ErrLost):
		i.sent = true
	default:
		in.expect(false)
	}
	return err
}

// look finds out what became of a Done without an answer. As long as the session
// lives nobody else can have deleted the entry.
func (i *Item) look(ctx context.Context, s *zk.Session) error {
	c := i.Hold.inner().claim
	if s.ID() != c.session {
		return fmt.Errorf("%w: %s: %w", ErrUnknown, i.entry, zk.ErrLost)
	}
	res, err := s.Batch(ctx, c.noop(), zk.ExistsOp{Path: i.entry}, zk.ExistsOp{Path: c.path})
	if res == nil {
		return err
	}
	entry, taken := res[1].Err, res[2].Err
	switch {
	case code(entry) == zk.ErrNoNode:
		i.finish()
		return nil
	case entry != nil:
		return entry
	case code(taken) == zk.ErrNoNode:
		return i.Hold.inner().deleted(s)
	case taken != nil:
		return taken
	case res[2].Stat.Czxid != c.czxid: // another one of that name
		return i.Hold.inner().deleted(s)
	}
	_, err = s.Multi(ctx, i.Guard(),
		zk.DeleteOp{Path: i.entry, Version: zk.AnyVersion}, zk.DeleteOp{Path: c.path, Version: zk.AnyVersion})
	if err == nil {
		i.finish()
	}
	return err
}

// finish ends the hold of an entry that is done with.
func (i *Item) finish() {
	i.done = true
	in := i.Hold.inner()
	in.end(ErrReleased, true)
	in.release(true)
}
