package recipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk"
)

// Semaphore admits Max holders at a time. All its users should have the same Max.
// The other fields are those of Lock.
type Semaphore struct {
	Path    string
	Max     int
	Data    []byte
	ACL     zk.ACL
	Layout  Layout
	KeepDir bool
}

// Acquire waits for a lease and returns the hold on it; see Lock.Acquire.
// Waiters form a line, and only the first of them watches the leases.
func (m *Semaphore) Acquire(ctx context.Context, s *zk.Session) (*Hold, error) {
	return m.acquire(ctx, s, true)
}

// TryAcquire is Acquire, but returns ErrLocked if no lease is free or somebody
// else is about to take one.
func (m *Semaphore) TryAcquire(ctx context.Context, s *zk.Session) (*Hold, error) {
	return m.acquire(ctx, s, false)
}

// dirs returns the directories of the line and of the leases.
func (m *Semaphore) dirs() (locks, leases string) {
	if m.Layout == Kazoo {
		return m.Path + "-__lock__", m.Path
	}
	return m.Path + "/locks", m.Path + "/leases"
}

// line is the line of those who wait for a lease.
func (m *Semaphore) line() *line {
	dir, _ := m.dirs()
	return &line{what: "semaphore", dir: dir, kind: lockKind, layout: m.Layout, data: m.Data, acl: m.ACL, keep: m.KeepDir}
}

func (m *Semaphore) check() error {
	if err := checkDir(m.Path); err != nil {
		return err
	}
	if m.Max <= 0 {
		return badArgument("Semaphore.Max is %d", m.Max)
	}
	return nil
}

func (m *Semaphore) acquire(ctx context.Context, s *zk.Session, wait bool) (*Hold, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	id, err := begin(ctx, s)
	if err != nil {
		return nil, err
	}
	if heldBy(ctx, id, s, m.leases()) {
		return nil, fmt.Errorf("%w: this context ends with a lease of %s", ErrDeadlock, m.Path)
	}
	if err := m.checkMax(ctx, s); err != nil {
		return nil, err
	}
	key := placeKey{s.ID(), leaseKind, m.Layout, fullPath(s, m.leases()), string(m.Data), ""}
	lease := id.take(key)
	look := lease != nil
	if !look {
		lease = newClaim(s, key, m.leases(), m.Data, m.Layout, leaseKind)
		lease.fixed = m.Layout == Kazoo
	}
	for {
		_, lock, err := m.line().enter(ctx, s, wait)
		if err != nil {
			return nil, id.leave(ctx, s, err, lease)
		}
		err = m.stand(ctx, s, id, lease, lock, look, wait)
		look = false
		if err == errAgain {
			id.finish(s, lock)
			continue
		}
		if err != nil {
			return nil, id.leave(ctx, s, at("semaphore", m.Path, err), lease, lock)
		}
		budget, cancel := patience(s)
		id.giveUp(budget, s, lock, true)
		cancel()
		return newHold(s, id, lease), nil
	}
}

func (m *Semaphore) leases() string {
	_, dir := m.dirs()
	return dir
}

// checkMax compares Max with what kazoo keeps in the directory, which is made
// with it.
func (m *Semaphore) checkMax(ctx context.Context, s *zk.Session) error {
	if m.Layout != Kazoo {
		return nil
	}
	for {
		data, _, err := s.Get(ctx, m.Path, nil)
		if code(err) != zk.ErrNoNode {
			if err != nil {
				return err
			}
			if n, err := strconv.Atoi(string(data)); err == nil && n != m.Max {
				return badArgument("Semaphore.Max is %d, and %s says %d", m.Max, m.Path, n)
			}
			return nil
		}
		dir, _ := split(m.Path)
		if err := mkdirAll(ctx, s, dir, openACL(m.ACL)); err != nil {
			return err
		}
		_, err = s.Create(ctx, m.Path, []byte(strconv.Itoa(m.Max)), zk.Persistent, openACL(m.ACL))
		if c := code(err); err != nil && c != zk.ErrExists && (c != zk.ErrNoNode || dir == "/") {
			return err
		}
	}
}

// stand makes the lease and waits until it is among Max. errAgain: this is not
// the first of the line any more.
func (m *Semaphore) stand(ctx context.Context, s *zk.Session, id *identity, lease, lock *claim, look, wait bool) error {
	if look {
		if _, err := lease.recover(ctx, s); err != nil && err != errAgain {
			return err
		}
	}
	for {
		if _, err := lock.look(ctx, s, id, ""); err != nil {
			return err
		}
		if lock.path == "" {
			return errAgain
		}
		w := newWatch(lease.dir)
		err := m.wait(ctx, s, id, lease, lock, w, wait)
		id.disarm(s, w)
		if err != errAgain {
			return err
		}
	}
}

// wait returns nil when the lease is among Max, and errAgain when something has
// changed.
func (m *Semaphore) wait(ctx context.Context, s *zk.Session, id *identity, lease, lock *claim, w *watch, wait bool) error {
	list := zk.ChildrenOp{Path: lease.dir, Watch: w.ch}
	var names []string
	var err error
	if lease.path == "" {
		var res []zk.Result
		if res, err = lease.create(ctx, s, id, dirs{acl: openACL(m.ACL), keep: m.KeepDir}, list); err == nil {
			names, err = res[0].Children, res[0].Err
		}
	} else {
		names, _, err = s.Children(ctx, lease.dir, w.ch)
	}
	if code(err) == zk.ErrNoNode || err == nil && len(lease.mine(names)) == 0 {
		lease.restart(s, id)
		return errAgain
	}
	if err != nil {
		return err
	}
	if len(lease.mine(names)) > 1 {
		if _, err := lease.adopt(ctx, s, names); err != nil {
			return err
		}
	}
	if countLeases(names) <= m.Max {
		if lease.czxid == 0 {
			if _, err := lease.look(ctx, s, id, ""); err != nil {
				return err
			}
		}
		if lease.path == "" {
			return errAgain
		}
		return nil
	}
	if !wait {
		return ErrLocked
	}
	select {
	case <-w.ch:
		return errAgain
	case <-lock.own.ch:
		lock.own = nil
		return errAgain
	case <-s.Done():
		return fmt.Errorf("waiting: %w", s.Err())
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", ctx.Err())
	}
}

// isLease recognizes the names of leases in both layouts.
func isLease(name string) bool {
	if len(name) == 32 {
		return checkGUID(name) == nil
	}
	at := strings.LastIndex(name, "lease-")
	if at < 0 {
		return false
	}
	_, ok := parseNumber(name[at+len("lease-"):])
	return ok
}

func countLeases(names []string) (n int) {
	for _, name := range names {
		if isLease(name) {
			n++
		}
	}
	return n
}

// Contenders returns those who have leases, the oldest first, and then those who
// wait.
func (m *Semaphore) Contenders(ctx context.Context, s *zk.Session) ([]Contender, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if _, err := begin(ctx, s); err != nil {
		return nil, err
	}
	names, _, err := s.Children(ctx, m.leases(), nil)
	if err != nil && code(err) != zk.ErrNoNode {
		return nil, err
	}
	var found []Contender
	for _, name := range names {
		if !isLease(name) {
			continue
		}
		path := join(m.leases(), name)
		data, st, err := s.Get(ctx, path, nil)
		if code(err) == zk.ErrNoNode {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, newContender(path, zk.Result{Data: data, Stat: st}))
	}
	slices.SortFunc(found, func(a, b Contender) int { return cmp.Compare(a.Token, b.Token) })
	for i := range found {
		found[i].Holds = i < m.Max
	}
	waiting, err := contenders(ctx, s, m.line().dir)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return nil, err
	}
	if len(found) > m.Max && len(waiting) > 0 { // the first of the line is among the leases
		waiting = waiting[1:]
	}
	for _, c := range waiting {
		c.Holds = false
		found = append(found, c)
	}
	return found, nil
}
