package recipe_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

var (
	checkSeeds = flag.Int("check.seeds", 400, "random scripts of TestChecker")
	checkFirst = flag.Uint64("check.first", 1, "the first of their seeds")
	checkLog   = flag.Bool("check.log", false, "print what each script did")
)

// TestChecker runs random scripts of clients that share one directory, under
// cuts, lost answers, silence, outages, cancels and abandoned places, and checks
// that no two holds which exclude each other are certain at a time, that Tokens
// grow, that places are kept, that guarded writes are exact and that nothing is
// left behind.
func TestChecker(t *testing.T) {
	var mu sync.Mutex // guards all below
	var total tally
	next, failed := 0, ""
	one := func() bool {
		mu.Lock()
		seed := *checkFirst + uint64(next)
		next++
		over := next > *checkSeeds || failed != ""
		mu.Unlock()
		if over {
			return false
		}
		var k *checker
		synctest.Test(t, func(t *testing.T) {
			k = newChecker(t, seed)
			k.run()
		})
		mu.Lock()
		defer mu.Unlock()
		if len(k.findings) > 0 && failed == "" {
			failed = fmt.Sprintf("seed %d: %s", seed, k.findings[0])
		}
		if *checkLog {
			t.Logf("seed %d: %+v", seed, k.tally)
		}
		total.add(k.tally)
		return true
	}
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for one() {
			}
		})
	}
	all.Wait()
	if failed != "" {
		t.Fatal(failed)
	}
	t.Logf("%d scripts: %+v", *checkSeeds, total)
	if n := *checkSeeds; n >= 100 { // the scripts are worth something only if all of this happens
		assert.Check(t, total.Acquired > 7*n && total.Kept > n && total.Lost > n/10 && total.Cancelled > n)
		assert.Check(t, total.Writes > 10*n && total.Detached > n/10 && total.Expired > n && total.Refused > 0)
	}
}

// tally is what a script did.
type tally struct{ Acquired, Kept, Abandoned, Cancelled, Locked, Lost, Detached, Expired, Writes, Refused, Cuts int }

func (t *tally) add(o tally) {
	t.Acquired += o.Acquired
	t.Kept += o.Kept
	t.Abandoned += o.Abandoned
	t.Cancelled += o.Cancelled
	t.Locked += o.Locked
	t.Lost += o.Lost
	t.Detached += o.Detached
	t.Expired += o.Expired
	t.Writes += o.Writes
	t.Refused += o.Refused
	t.Cuts += o.Cuts
}

const (
	checkTimeout = 6 * time.Second
	checkTime    = 30 * time.Second // of faults
	checkDir     = "/lock"
)

type checker struct {
	t     *testing.T
	e     *zktest.Ensemble
	rng   *rand.Rand // of the faults
	admin *zk.Session
	start time.Time
	ctx   context.Context // ends when everybody must have had a turn long ago

	mu       sync.Mutex // guards all below; never held over a wait
	clients  []*process
	holds    []*checkedHold
	token    int64
	tally    tally
	findings []string
}

type checkedHold struct {
	*recipe.Hold
	shared bool
	by     *process
}

func newChecker(t *testing.T, seed uint64) *checker {
	k := &checker{t: t, rng: rand.New(rand.NewPCG(seed, 1)), start: time.Now()}
	t.Cleanup(func() { time.Sleep(5 * checkTimeout) })
	versions := []zktest.Version{zktest.V39, zktest.V39, zktest.V38, zktest.V36, zktest.V35, zktest.V34}
	k.e = zktest.NewEnsemble(t, 1+2*k.rng.IntN(2), zktest.Options{InMemory: true, Version: versions[k.rng.IntN(len(versions))], FrameLog: -1})
	k.admin = k.dial(nil)
	assert.NilError(t, k.create("/count", "0"))
	assert.NilError(t, k.create(checkDir, ""))
	if k.rng.IntN(3) == 0 { // the end of the sequence numbers is near
		k.e.SetSequence(checkDir, 1<<31-1-k.rng.Int32N(30))
	}
	for n := range 3 + k.rng.IntN(3) {
		p := &process{k: k, n: n, rng: rand.New(rand.NewPCG(seed, uint64(n+2)))}
		assert.NilError(t, k.create(p.own(), ""))
		p.s = k.dial(p)
		k.clients = append(k.clients, p)
	}
	return k
}

func (k *checker) create(path, data string) error {
	_, err := k.admin.Create(bg, path, []byte(data), zk.Persistent, zk.ACLOpen)
	return err
}

// dial begins a session, whose connections p can refuse.
func (k *checker) dial(p *process) *zk.Session {
	conf := zk.Config{Addrs: k.e.Addrs(), Timeout: checkTimeout}
	conf.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if p != nil && time.Now().Before(p.until()) {
			return nil, errors.New("no network")
		}
		return k.e.DialContext(ctx, network, addr)
	}
	s, err := zk.Dial(bg, conf)
	assert.NilError(k.t, err)
	return s
}

func (k *checker) find(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.findings = append(k.findings, fmt.Sprintf("after %v: ", time.Since(k.start).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (k *checker) count(n *int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	*n++
}

// asAdmin does something by a session that no fault is meant for.
func asAdmin[T any](k *checker, f func(s *zk.Session) (T, error)) T {
	k.mu.Lock()
	s := newest(k.admin)
	k.mu.Unlock()
	v, s, err := again(s, f)
	for errors.Is(err, zk.ErrExpired) {
		if s, err = s.Renew(bg); err == nil {
			v, s, err = again(s, f)
		}
	}
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		k.find("the admin: %v", err)
	}
	return v
}

func (k *checker) run() {
	ctx, cancel := context.WithTimeout(bg, checkTime+10*checkTimeout)
	defer cancel()
	k.ctx = ctx
	var all sync.WaitGroup
	for _, p := range k.clients {
		all.Go(p.run)
	}
	faults := make(chan struct{})
	go func() {
		defer close(faults)
		for time.Since(k.start) < checkTime {
			time.Sleep(time.Duration(k.rng.ExpFloat64() * float64(600*time.Millisecond)))
			k.fault()
		}
		k.e.Heal()
	}()
	<-faults
	all.Wait()
	names := asAdmin(k, func(s *zk.Session) ([]string, error) {
		names, _, err := s.Children(bg, checkDir, nil)
		return names, err
	})
	if len(names) > 0 {
		k.find("left behind: %v", names)
	}
	data := asAdmin(k, func(s *zk.Session) ([]byte, error) {
		data, _, err := s.Get(bg, "/count", nil)
		return data, err
	})
	if string(data) != strconv.Itoa(k.tally.Writes) {
		k.find("%d guarded writes, and the counter is %s", k.tally.Writes, data)
	}
	for _, p := range k.clients {
		if n := p.s.Watches().Len(); n > 0 {
			k.find("client %d: %d watches are armed: %v", p.n, n, p.s.Watches().List())
		}
		p.s.Close()
	}
	newest(k.admin).Close()
}

// fault breaks something.
func (k *checker) fault() {
	k.count(&k.tally.Cuts)
	p := k.clients[k.rng.IntN(len(k.clients))]
	id := p.id()
	ops := []wire.Op{wire.OpCreate, wire.OpCreate2, wire.OpGetChildren2, wire.OpGetData, wire.OpDelete, wire.OpMulti, wire.OpExists}
	op := ops[k.rng.IntN(len(ops))]
	switch k.rng.IntN(12) {
	case 0, 1, 2:
		k.e.Cut(id)
	case 3:
		k.e.Stall(id)
	case 4, 5:
		k.e.Fault(zktest.Rule{Session: id, Op: op, Do: zktest.CutAfter})
	case 6:
		k.e.Fault(zktest.Rule{Session: id, Op: op, Do: zktest.CutBefore})
	case 7:
		k.e.Fault(zktest.Rule{Session: id, Op: op, Dir: zktest.ToClient, Do: zktest.CutBefore})
	case 8:
		k.e.Fault(zktest.Rule{Session: id, Op: op, Do: zktest.StallAfter})
	case 9:
		p.cutOff(time.Duration(k.rng.Int64N(int64(2 * checkTimeout))))
		k.e.Cut(id)
	case 10:
		k.e.Fault(zktest.Rule{Session: id, Op: op, Delay: time.Duration(k.rng.Int64N(int64(2 * time.Second)))})
	case 11:
		if k.rng.IntN(4) == 0 {
			k.e.Elect()
		} else {
			k.e.CutAll()
		}
	}
}

// acquired checks a new hold against all others.
func (k *checker) acquired(h *checkedHold) {
	s := h.Session()
	owner := asAdmin(k, func(a *zk.Session) (zk.Stat, error) {
		_, st, err := a.Exists(bg, h.Path(), nil)
		return st, err
	}).EphemeralOwner
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tally.Acquired++
	at := fmt.Sprintf("after %v: client %d, token %x: ", time.Since(k.start), h.by.n, h.Token())
	if owner != s.ID() && h.Err() == nil && owner != 0 {
		k.findings = append(k.findings, at+fmt.Sprintf("its znode is of session 0x%x, not 0x%x", owner, s.ID()))
	}
	live := k.holds[:0]
	for _, o := range k.holds {
		if o.Err() != nil {
			continue
		}
		live = append(live, o)
		if h.Err() == nil && !(h.shared && o.shared) {
			k.findings = append(k.findings, at+fmt.Sprintf("client %d, token %x, holds too: %s and %s", o.by.n, o.Token(), h.Path(), o.Path()))
		}
	}
	k.holds = append(live, h)
	if !h.shared {
		if h.Token() < k.token {
			k.findings = append(k.findings, at+fmt.Sprintf("an earlier holder had token %x", k.token))
		}
		k.token = h.Token()
	}
	go k.watchLost(h)
}

// watchLost checks that Lost is not closed without a reason.
func (k *checker) watchLost(h *checkedHold) {
	<-h.Lost()
	if err := h.Err(); errors.Is(err, recipe.ErrNotHeld) && !h.by.gaveAway(h) {
		k.count(&k.tally.Lost)
		s := h.Session()
		if early := time.Until(s.ExpiresAt()); early > 0 && newest(s) == s && !errors.Is(s.Err(), zk.ErrClosed) && h.by.id() == s.ID() {
			k.find("client %d: lost %v before it could expire: %v", h.by.n, early, err)
		}
	}
}

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
