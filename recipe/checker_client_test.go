package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
)

// process is a client: it dials, acquires, works, releases.
type process struct {
	k   *checker
	n   int
	rng *rand.Rand
	s   *zk.Session // of its own goroutine, but for id

	mu       sync.Mutex // guards all below
	off      time.Time  // no connection before
	current  int64
	detached *checkedHold
}

func (p *process) own() string { return fmt.Sprintf("/client%d", p.n) }

func (p *process) until() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.off
}

func (p *process) cutOff(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = time.Now().Add(d)
}

func (p *process) id() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

func (p *process) gaveAway(h *checkedHold) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.detached == h
}

func (p *process) running() bool { return time.Since(p.k.start) < checkTime }

func (p *process) note() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = p.s.ID()
}

// connect makes sure of a Session that lives.
func (p *process) connect() {
	defer p.note()
	for p.s.Err() != nil {
		next, err := p.s.Redial(bg)
		if errors.Is(err, zk.ErrExpired) {
			p.k.count(&p.k.tally.Expired)
			next, err = p.s.Renew(bg)
		} else if err == nil && p.rng.IntN(20) == 0 { // given up, though it lives
			next, err = next.Renew(bg)
		}
		if err == nil {
			p.s = next
			continue
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// alive sleeps, and redials meanwhile.
func (p *process) alive(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		p.connect()
		select {
		case <-p.s.Done():
		case <-time.After(time.Until(end)):
		}
	}
	p.connect()
}

func (p *process) run() {
	p.note()
	for p.running() {
		p.connect()
		p.turn()
		p.alive(time.Duration(p.rng.Int64N(int64(500 * time.Millisecond))))
	}
	p.k.e.Heal()
	p.alive(5 * checkTimeout)
}

// acquirer returns one of the ways to acquire, and whether it is shared.
func (p *process) acquirer(data []byte, guid string) (f func(context.Context, *zk.Session) (*recipe.Hold, error), shared bool) {
	layout := recipe.Layout(p.rng.IntN(2))
	rw := &recipe.RWLock{Path: checkDir, Data: data, Layout: layout, GUID: guid}
	lock := &recipe.Lock{Path: checkDir, Data: data, Layout: layout, GUID: guid, KeepDir: p.rng.IntN(2) == 0}
	switch p.rng.IntN(7) {
	case 0:
		return rw.AcquireRead, true
	case 1:
		return rw.AcquireWrite, false
	case 2:
		return lock.TryAcquire, false
	case 3:
		return rw.TryAcquireRead, true
	case 4:
		e := &recipe.Election{Path: checkDir, ID: string(data), Layout: layout, GUID: guid}
		return e.Campaign, false
	}
	return lock.Acquire, false
}

// turn acquires, works and releases, or is kept from it.
func (p *process) turn() {
	guid := ""
	if p.rng.IntN(4) == 0 {
		guid = fmt.Sprintf("%032x", p.n+1)
	}
	f, shared := p.acquirer([]byte(strconv.Itoa(p.rng.IntN(2))), guid)
	ctx, cancel := context.WithCancel(p.k.ctx)
	if p.rng.IntN(3) == 0 {
		ctx, cancel = context.WithTimeout(p.k.ctx, time.Duration(p.rng.Int64N(int64(8*time.Second))))
	}
	defer cancel()
	h := p.acquire(ctx, f)
	if h == nil {
		return
	}
	ch := &checkedHold{h, shared, p}
	p.k.acquired(ch)
	p.work(ch)
	if !shared && p.rng.IntN(8) == 0 {
		if ch = p.handOver(ch); ch == nil {
			return
		}
		p.work(ch)
	}
	lost := ch.Err()
	err := ch.Release()
	switch {
	case err == nil:
		if lost == nil && p.left(ch) {
			p.k.find("client %d: released, and %s is there", p.n, ch.Path())
		}
	case errors.Is(err, recipe.ErrNotHeld), errors.Is(err, zk.ErrConnection), errors.Is(err, zk.ErrMoved), errors.Is(err, context.DeadlineExceeded):
	default:
		p.k.find("client %d: Release: %v", p.n, err)
	}
}

// left reports whether a hold's znode exists.
func (p *process) left(h *checkedHold) bool {
	return asAdmin(p.k, func(s *zk.Session) (bool, error) {
		if err := s.Sync(bg, "/"); err != nil {
			return false, err
		}
		found, _, err := s.Exists(bg, h.Path(), nil)
		return found, err
	})
}

// acquire calls f over as many connections as it takes, unless it gives up.
func (p *process) acquire(ctx context.Context, f func(context.Context, *zk.Session) (*recipe.Hold, error)) *recipe.Hold {
	var place []string // what this session had in the directory when the connection ended
	var session int64
	var since time.Time
	p.connect()
	before := p.places()
	for {
		p.connect()
		if p.s.ID() != session {
			place = nil
		}
		if time.Since(since) >= checkTimeout/2 { // nobody may have come for it in time: it is withdrawn, sooner or later
			before, place = append(before, place...), nil
		}
		h, err := f(ctx, p.s)
		switch {
		case err == nil:
			if len(place) == 1 && time.Since(since) < checkTimeout/2 {
				if h.Session().ID() == session && h.Path() != place[0] && h.Err() == nil {
					p.k.find("client %d: had its place at %s, and was put to %s", p.n, place[0], h.Path())
				}
				p.k.count(&p.k.tally.Kept)
			}
			return h
		case errors.Is(err, recipe.ErrLocked):
			p.k.count(&p.k.tally.Locked)
			return nil
		case errors.Is(err, recipe.ErrDeadlock) && errors.Is(err, recipe.ErrNotHeld):
		case p.k.ctx.Err() != nil:
			p.k.find("client %d: waits for ever: %v", p.n, err)
			return nil
		case ctx.Err() != nil:
			p.k.count(&p.k.tally.Cancelled)
			return nil
		case errors.Is(err, recipe.ErrDeadlock): // its GUID is still being withdrawn
			p.alive(time.Second)
			return nil
		case errors.Is(err, zk.ErrConnection), errors.Is(err, zk.ErrMoved):
		default:
			p.k.find("client %d: Acquire: %v", p.n, err)
			return nil
		}
		session, since = p.s.ID(), time.Now()
		place = slices.DeleteFunc(p.places(), func(path string) bool { return slices.Contains(before, path) })
		if p.rng.IntN(10) == 0 {
			p.k.count(&p.k.tally.Abandoned)
			p.alive(time.Duration(p.rng.Int64N(int64(2 * checkTimeout))))
			return nil
		}
	}
}

// places returns what this session has in the directory.
func (p *process) places() []string {
	return asAdmin(p.k, func(s *zk.Session) (mine []string, err error) {
		if err := s.Sync(bg, "/"); err != nil {
			return nil, err
		}
		names, _, err := s.Children(bg, checkDir, nil)
		for _, name := range names {
			found, st, err := s.Exists(bg, checkDir+"/"+name, nil)
			if err != nil {
				return nil, err
			}
			if found && st.EphemeralOwner == p.s.ID() {
				mine = append(mine, checkDir+"/"+name)
			}
		}
		slices.Sort(mine)
		return mine, err
	})
}

// work writes under the hold now and then, also when that is over already: a
// process that was stopped does.
func (p *process) work(h *checkedHold) {
	paused := p.rng.IntN(5) == 0
	for range p.rng.IntN(6) {
		if h.Err() != nil && !paused {
			return
		}
		p.alive(time.Duration(p.rng.Int64N(int64(time.Second))))
		if !h.shared {
			p.write(h, paused)
		}
	}
}

// write adds one to the counter, if the hold's znode exists, and finds out what a
// lost answer did.
func (p *process) write(h *checkedHold, paused bool) {
	data, st, err := p.s.Get(bg, "/count", nil)
	if err != nil {
		return
	}
	n, _ := strconv.Atoi(string(data))
	tag := strconv.FormatUint(p.rng.Uint64(), 36)
	ops := []zk.WriteOp{
		zk.SetOp{Path: "/count", Data: []byte(strconv.Itoa(n + 1)), Version: st.Version},
		zk.SetOp{Path: p.own(), Data: []byte(tag), Version: zk.AnyVersion},
	}
	if paused {
		_, err = p.s.Multi(bg, append([]zk.WriteOp{h.Guard()}, ops...)...)
	} else {
		_, err = h.Multi(bg, p.s, ops...)
	}
	if errors.Is(err, zk.ErrLost) {
		var got []byte
		p.connect()
		got, p.s, err = again(p.s, func(s *zk.Session) ([]byte, error) {
			if err := s.Delete(bg, "/none", zk.AnyVersion); err != nil && !errors.Is(err, zk.ErrNoNode) {
				return nil, err
			}
			data, _, err := s.Get(bg, p.own(), nil)
			return data, err
		})
		p.note()
		if errors.Is(err, zk.ErrExpired) {
			p.connect()
			got = asAdmin(p.k, func(s *zk.Session) ([]byte, error) {
				data, _, err := s.Get(bg, p.own(), nil)
				return data, err
			})
		}
		if string(got) == tag {
			p.k.count(&p.k.tally.Writes)
		}
		return
	}
	if err == nil {
		p.k.count(&p.k.tally.Writes)
	} else {
		p.k.count(&p.k.tally.Refused)
	}
}

// handOver detaches the hold, and goes on with it by its GUID.
func (p *process) handOver(h *checkedHold) *checkedHold {
	p.mu.Lock()
	p.detached = h
	p.mu.Unlock()
	_, name := "", h.Path()
	guid := h.Detach()
	if guid == "" {
		h.Release()
		return nil
	}
	p.k.count(&p.k.tally.Detached)
	lock := &recipe.Lock{Path: checkDir, GUID: guid}
	switch { // only a Lock's name has the GUID where a Lock looks for it
	case len(name) > len(checkDir)+33 && name[len(checkDir)+33:len(checkDir)+41] == "__lock__":
		lock.Layout = recipe.Kazoo
	case len(name) > 50 && name[len(checkDir)+1+3+36:len(checkDir)+1+3+36+6] == "-lock-":
	default: // leave it to the session
		p.k.asDetached(p, h)
		return nil
	}
	next := p.acquire(p.k.ctx, lock.Acquire)
	if next == nil {
		p.k.asDetached(p, h)
		return nil
	}
	if next.Session().ID() == h.Session().ID() && next.Token() != h.Token() && next.Err() == nil {
		p.k.find("client %d: handed over with another token", p.n)
	}
	ch := &checkedHold{next, false, p}
	p.k.acquired(ch)
	return ch
}

// asDetached deletes a znode that was detached for nobody.
func (k *checker) asDetached(p *process, h *checkedHold) {
	asAdmin(k, func(s *zk.Session) (struct{}, error) {
		err := s.Delete(bg, h.Path(), zk.AnyVersion)
		if errors.Is(err, zk.ErrNoNode) {
			err = nil
		}
		return struct{}{}, err
	})
}
