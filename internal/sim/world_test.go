package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// simulation is one run.
type simulation struct {
	seed uint64
	rng  *rand.Rand // of the driver; every other actor has its own

	dials *rand.Rand // what befalls connections; under mu

	// what kind of run it is
	version zktest.Version
	members int
	limit   int // of SetWatches frames
	roomy   bool
	lagging bool
	dooms   bool          // channels are closed
	latency time.Duration // of reads, at most
	chroot  string
	auths   int
	moveTo  int // migrations asked for
	queue   int // undelivered events of persistent watches that end a Session; 0: more than there are
	narrow  int // bytes that the client can send ahead of the server; 0: all

	ens    *zktest.Ensemble
	writer *zk.Session
	conf   zk.Config
	chans  []chan zk.Event
	out    []simChan // what came out of them
	paths  []string  // as the application names them
	roots  []string  // those with children
	pers   map[string]zk.WatchMode

	clock   atomic.Int64 // ticks with every receive
	fast    atomic.Bool  // slow consumers slow no more
	healed  atomic.Bool  // connections break no more
	widen   func()       // makes the queue as large as it is
	quit    chan struct{}
	stop    chan struct{}
	workers []*simWorker
	first   *simWorker

	mu       sync.Mutex
	conns    []*simConn
	cur      *zk.Session
	curConn  int64
	changed  chan struct{} // closed when cur changes
	harness  []string
	finished map[int64]bool // connections whose Dial returned a Session
	ids      map[int64]bool // sessions that there were

	moves                           atomic.Int64
	ncalls, nevents, nwrites, nslow int64
	frames                          []zktest.Frame
	start                           time.Time
	trace                           simTrace
}

func newSimulation(seed uint64) *simulation {
	r := rand.New(rand.NewPCG(seed, 0x5e5510))
	s := &simulation{
		seed: seed, rng: r, moveTo: *simMoves,
		version: []zktest.Version{zktest.V35, zktest.V36, zktest.V38, zktest.V38, zktest.V39, zktest.V39, zktest.V39, zktest.V39}[r.IntN(8)],
		members: 1 + r.IntN(3), limit: 60 + r.IntN(200), roomy: r.IntN(4) == 0, auths: r.IntN(3),
		finished: map[int64]bool{}, ids: map[int64]bool{}, pers: map[string]zk.WatchMode{},
	}
	s.dials = s.fork()
	s.lagging = s.members > 1 && r.IntN(5) == 0
	s.dooms = r.IntN(3) == 0 // and not roomy: their channels hold up the others
	if r.IntN(2) == 0 {
		s.latency = time.Duration(50+r.IntN(800)) * time.Microsecond
	}
	if r.IntN(4) == 0 {
		s.chroot = "/app"
	}
	if r.IntN(4) == 0 {
		s.narrow = 50 + r.IntN(500)
	}
	if !s.roomy && s.version >= zktest.V36 && r.IntN(3) == 0 {
		s.queue = 15 + r.IntN(40)
	}
	for i := range 4 {
		p := fmt.Sprintf("/node-%d", i)
		s.roots = append(s.roots, p)
		s.paths = append(s.paths, p, p+"/left", p+"/right", fmt.Sprintf("/flat-%d", i))
	}
	// Before 3.9 a server keeps one persistent mode per path.
	for _, p := range s.paths {
		s.pers[p] = []zk.WatchMode{zk.WatchPersistent, zk.WatchRecursive}[r.IntN(2)]
	}
	return s
}

func (s *simulation) String() string {
	return fmt.Sprintf("seed %d: %v, %d members, SetWatches of %d bytes, roomy %v, lagging %v, dooms %v, latency %v, chroot %q, %d credentials, queue %d, narrow %d",
		s.seed, s.version, s.members, s.limit, s.roomy, s.lagging, s.dooms, s.latency, s.chroot, s.auths, s.queue, s.narrow)
}

func (s *simulation) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.harness = append(s.harness, fmt.Sprintf(format, args...))
}

func (s *simulation) fork() *rand.Rand { return rand.New(rand.NewPCG(s.rng.Uint64(), s.rng.Uint64())) }

// ---- the session under test

// adopt makes a Session the one that all use, if it is newer than the one they do.
func (s *simulation) adopt(x *zk.Session) {
	n := s.connOf(x).number
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.finished[n] {
		s.finished[n] = true
		s.ids[x.ID()] = true
		s.moves.Add(1)
	}
	if n > s.curConn {
		s.cur, s.curConn = x, n
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

func (s *simulation) current() (*zk.Session, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cur, s.changed
}

func (s *simulation) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// nap sleeps for up to d.
func (s *simulation) nap(r *rand.Rand, d time.Duration) {
	time.Sleep(time.Duration(r.Int64N(int64(d))))
}

func (s *simulation) run() {
	s.start = time.Now()
	s.stop, s.quit, s.changed = make(chan struct{}), make(chan struct{}), make(chan struct{})
	ens, err := zktest.StartEnsemble(s.members, zktest.Options{
		Version: s.version, InMemory: true, Raw: true, FrameLog: 1 << 20, TickTime: 100 * time.Millisecond, MaxSessionTimeout: 10 * time.Second,
	})
	if err != nil {
		s.fault("%v", err)
		return
	}
	s.ens = ens
	defer ens.Close()
	if err := s.setUp(); err != nil {
		s.fault("set-up: %v", err)
		return
	}
	var busy, consumers sync.WaitGroup
	for i := range s.chans {
		r := s.fork()
		if !s.roomy {
			consumers.Go(func() { s.consume(i, r) })
		}
	}
	for _, w := range s.workers {
		w.rng = s.fork()
		busy.Go(w.run)
	}
	wr, own := s.fork(), s.fork()
	busy.Go(func() { s.write(wr) })
	if !s.lagging {
		busy.Go(func() { s.ownWrites(own) })
	}
	obs, doomed := s.fork(), s.fork()
	busy.Go(func() { s.observe(obs) })
	if s.dooms && !s.roomy && !suite.RaceEnabled { // to close a channel that is being sent to is a race
		busy.Go(func() { s.closeChannels(doomed) })
	}
	s.drive()
	s.healed.Store(true)
	ens.Heal()
	for i := range s.members {
		ens.Member(i).Refuse(false)
		ens.Member(i).Thaw()
	}
	s.fast.Store(true)
	close(s.stop)
	x := s.settle() // ends the calls that wait on a silent connection
	busy.Wait()
	if s.queue > 0 {
		if x, _ = s.current(); x != nil {
			x.Detach()
		}
		s.widen()
		x = s.settle()
	}
	s.drain(x)
	close(s.quit)
	consumers.Wait()
	if err := x.Close(); err != nil {
		s.fault("close: %v", err)
	}
	if n := x.Config().Watches.Undelivered(); n != 0 {
		s.fault("%d events are undelivered at the end", n)
	}
	if err := s.writer.Close(); err != nil {
		s.fault("close of the writer: %v", err)
	}
	s.frames = ens.Frames()
}

// setUp makes the tree, the channels and the first Session.
func (s *simulation) setUp() error {
	ctx := context.Background()
	var err error
	acl := zk.ACLOpen
	s.conf = zk.Config{Addrs: s.ens.Addrs(), Chroot: s.chroot, Timeout: time.Duration(300+s.rng.IntN(900)) * time.Millisecond, DialContext: s.dial}
	auth := []zk.Auth{zk.Digest("alice", "secret"), zk.Digest("bob", "pass")}[:s.auths]
	s.conf.Auth = auth
	if s.rng.IntN(3) == 0 {
		s.conf.MaxInFlight = 1 + s.rng.IntN(5)
	}
	if s.writer, err = zk.Dial(ctx, zk.Config{Addrs: s.ens.Addrs()[:1], Timeout: time.Minute, DialContext: s.ens.DialContext, Auth: auth}); err != nil {
		return err
	}
	if s.auths > 0 { // only who has proved who it is may see the tree
		acl = zk.ACL{{Perms: zk.PermAll, Scheme: "auth"}}
	}
	if s.chroot != "" {
		if _, err := s.writer.Create(ctx, s.chroot, nil, zk.Persistent, acl); err != nil {
			return err
		}
	}
	for _, p := range s.paths {
		if _, err := s.writer.Create(ctx, s.chroot+p, nil, zk.Persistent, acl); err != nil {
			return err
		}
	}
	for i := range 3 {
		if _, err := s.writer.Create(ctx, s.chroot+simDoom+strconv.Itoa(i), nil, zk.Persistent, acl); err != nil {
			return err
		}
	}
	for i := range 8 {
		n := i % 4
		if s.roomy {
			n = 40 * s.moveTo // several times what comes
		}
		s.chans = append(s.chans, make(chan zk.Event, n))
		s.out = append(s.out, simChan{Cap: n})
	}
	var keys []simKey
	first := &simWorker{sim: s} // before all others
	for _, p := range s.paths {
		keys = append(keys, simKey{wire.OpGetData, p}, simKey{wire.OpExists, p})
		switch {
		case s.version < zktest.V36 || s.rng.IntN(4) > 0:
		case s.pers[p] == zk.WatchRecursive && s.version < zktest.V39:
			first.keys = append(first.keys, simKey{wire.OpAddWatch, p}) // later it would end a watch for children there
		default:
			keys = append(keys, simKey{wire.OpAddWatch, p})
		}
		keys = append(keys, simKey{wire.OpGetChildren2, p})
	}
	s.rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for i := range 4 {
		w := &simWorker{sim: s, own: len(s.chans)}
		s.chans = append(s.chans, make(chan zk.Event, cap(s.chans[0])+1))
		s.out = append(s.out, simChan{Cap: cap(s.chans[0]) + 1})
		for j := i; j < len(keys); j += 4 {
			w.keys = append(w.keys, keys[j])
		}
		s.workers = append(s.workers, w)
	}
	for {
		x, err := zk.Dial(ctx, s.conf)
		if errors.Is(err, zk.ErrAuth) {
			return err
		}
		if err == nil {
			s.adopt(x)
			s.moves.Add(-1)
			break
		}
	}
	s.first = first
	for i, k := range first.keys {
		for x, _ := s.current(); ; {
			err := x.AddWatch(ctx, k.path, zk.WatchRecursive, s.chans[i%8])
			first.calls = append(first.calls, simCall{conn: s.connOf(x).number, key: k, mode: zk.WatchRecursive, ch: i % 8, outcome: simOutcome(err), err: err, held: s.held()})
			if err == nil {
				break
			}
			for err != nil {
				var next *zk.Session
				if next, err = x.Redial(ctx); errors.Is(err, zk.ErrExpired) {
					next, err = x.Renew(ctx)
				}
				if err == nil {
					s.adopt(next)
					x = next
				}
			}
		}
	}
	return nil
}

// held returns how many events each channel holds, if nobody reads them.
func (s *simulation) held() []int {
	if !s.roomy {
		return nil
	}
	n := make([]int, len(s.chans))
	for i := range s.chans {
		n[i] = len(s.chans[i])
	}
	return n
}
