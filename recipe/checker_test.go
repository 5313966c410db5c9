package recipe_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
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
