package tree_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

var (
	migrations = flag.Int("tree.migrations", 150, "migrations of each random run; 1000 is the run to publish")
	randomSeed = flag.Uint64("tree.seed", 0, "the first seed of the random runs; zero: 1")
	randomRuns = flag.Int("tree.seeds", 2, "random runs of each mode")
)

// writer changes a subtree at random. Its sessions are its own.
type writer struct {
	rng   *rand.Rand
	s     *zk.Session // of what is persistent
	mayfl *zk.Session // of ephemerals
	root  string
	group int // znodes that only ever change together
	round int
}

func (w *writer) path() string {
	p := w.root
	for depth := 1 + w.rng.IntN(3); depth > 0; depth-- {
		p += fmt.Sprintf("/n%d", w.rng.IntN(6))
	}
	return p
}

func (w *writer) data() []byte {
	switch w.rng.IntN(8) {
	case 0:
		return nil
	case 1:
		return []byte{}
	case 2:
		return make([]byte, 5000+w.rng.IntN(3000)) // compared by its Stat alone
	}
	return fmt.Appendf(nil, "%d", w.rng.Int())
}

// prepare makes the root and the group.
func (w *writer) prepare(ctx context.Context) error {
	if err := tree.MkdirAll(ctx, w.s, w.root+"/group", nil); err != nil {
		return err
	}
	for i := range w.group {
		if _, err := tree.Put(ctx, w.s, fmt.Sprintf("%s/group/%02d", w.root, i), []byte("0"), nil); err != nil {
			return err
		}
	}
	return nil
}

// step does one change. What the server refuses is none.
func (w *writer) step(ctx context.Context) error {
	var err error
	path := w.path()
	switch n := w.rng.IntN(20); {
	case n < 5:
		_, err = w.s.Set(ctx, path, w.data(), zk.AnyVersion)
	case n < 11:
		_, err = w.s.Create(ctx, path, w.data(), zk.Persistent, zk.ACLOpen)
	case n < 13:
		err = w.s.Delete(ctx, path, zk.AnyVersion)
	case n < 14:
		_, err = w.mayfl.Create(ctx, path, w.data(), zk.Ephemeral, zk.ACLOpen)
	case n < 15:
		_, err = w.s.Create(ctx, path+"/s-", w.data(), zk.PersistentSequential, zk.ACLOpen)
	case n < 16:
		if err = tree.DeleteAll(ctx, w.s, path); err == nil && w.rng.IntN(2) == 0 {
			_, err = w.s.Create(ctx, path, w.data(), zk.Persistent, zk.ACLOpen)
		}
	case n < 18: // another znode of the same name, and with the same version, in one transaction
		_, err = w.s.Multi(ctx, zk.DeleteOp{Path: path, Version: zk.AnyVersion},
			zk.CreateOp{Path: path, Data: w.data(), ACL: zk.ACLOpen},
			zk.CreateOp{Path: path + "/n1", Data: w.data(), ACL: zk.ACLOpen})
	default:
		w.round++
		var ops []zk.WriteOp
		for i := range w.group {
			ops = append(ops, zk.SetOp{Path: fmt.Sprintf("%s/group/%02d", w.root, i), Data: fmt.Append(nil, w.round), Version: zk.AnyVersion})
		}
		_, err = w.s.Multi(ctx, ops...)
	}
	var code zk.Code
	if errors.As(err, &code) {
		return nil
	}
	return err
}

// ledger checks every state that a cache shows: the fold of the changes equals
// it, it is not torn, and zxids rise.
type ledger struct {
	c      *tree.Cache
	root   string
	shown  int
	zxid   int64
	nodes  map[string]tree.Node
	failed atomic.Pointer[string]
}

func (l *ledger) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.failed.CompareAndSwap(nil, &text)
}

func (l *ledger) take(changes []tree.Change) {
	l.shown++
	if l.nodes == nil {
		l.nodes = make(map[string]tree.Node)
	}
	for _, ch := range changes {
		before, ok := l.nodes[ch.Path]
		if ok != (ch.Before != nil) || ok && before.Stat != ch.Before.Stat {
			l.fail("%s changes from %+v, it was %+v", ch.Path, ch.Before, before)
		}
		up := ch.Path[:strings.LastIndexByte(ch.Path, '/')]
		switch {
		case ch.After == nil:
			for path := range l.nodes {
				if strings.HasPrefix(path, ch.Path+"/") {
					l.fail("%s is gone before %s", ch.Path, path)
				}
			}
			delete(l.nodes, ch.Path)
		case ch.Before == nil && ch.Path != l.root && l.nodes[up].Path == "":
			l.fail("%s is made before %s", ch.Path, up)
			fallthrough
		default:
			l.nodes[ch.Path] = *ch.After
		}
	}
	got, zxid := contents(l.c)
	if d := differences(got, l.nodes); len(d) > 0 {
		l.fail("the fold differs from the copy:\n%s", strings.Join(d, "\n"))
	}
	if zxid <= l.zxid {
		l.fail("zxid %d after %d", zxid, l.zxid)
	}
	l.zxid = zxid
	if text := torn(got, l.root+"/group/"); text != "" {
		l.fail("torn at 0x%x: %s", zxid, text)
	}
	// No state is newer than its zxid, and each Stat fits the others.
	kids := make(map[string]int32)
	for path, n := range got {
		kids[path[:strings.LastIndexByte(path, '/')]]++
		if max(n.Stat.Mzxid, n.Stat.Pzxid, n.Stat.Czxid) > zxid {
			l.fail("%s is newer than 0x%x: %+v", path, zxid, n.Stat)
		}
	}
	for path, n := range got {
		if kids[path] != n.Stat.NumChildren {
			l.fail("%s has %d children, its Stat says %d", path, kids[path], n.Stat.NumChildren)
		}
	}
}

// torn says which of the znodes that only change together differ.
func torn(nodes map[string]tree.Node, prefix string) string {
	first := ""
	var mzxid int64
	for path, n := range nodes {
		if !strings.HasPrefix(path, prefix) || n.Stat.Version == 0 {
			continue
		}
		if first == "" {
			first, mzxid = path, n.Stat.Mzxid
		} else if n.Stat.Mzxid != mzxid {
			return fmt.Sprintf("%s 0x%x %q, %s 0x%x %q", first, mzxid, nodes[first].Data, path, n.Stat.Mzxid, n.Data)
		}
	}
	return ""
}

// follow keeps a session over what happens to it.
func follow(ctx context.Context, s *zk.Session, err error) (*zk.Session, error) {
	if !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
		return s, err
	}
	return next(ctx, s)
}

var reads = []wire.Op{wire.OpMultiRead, wire.OpGetData, wire.OpGetChildren2, wire.OpExists, wire.OpNotification}

// random lets a writer change the tree while the cache's session is cut and
// expired, on servers that lag.
func random(t *testing.T, e *zktest.Ensemble, conf zk.Config, seed uint64, perNode bool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	conf.Addrs = e.Addrs()
	conf.Timeout = 4 * time.Second
	w := &writer{rng: rand.New(rand.NewPCG(seed, 2)), root: "/app", group: 8}
	var err error
	leads := conf
	leads.Addrs = conf.Addrs[:1] // where nothing lags: what is written to the others waits for the next writer
	w.s, err = zk.Dial(ctx, leads)
	assert.NilError(t, err)
	w.mayfl, err = zk.Dial(ctx, leads)
	assert.NilError(t, err)
	assert.NilError(t, w.prepare(ctx))
	for range 200 {
		assert.NilError(t, w.step(ctx))
	}

	// Time passes between a request and its execution, and from there to the
	// answer: in a bubble nothing else takes any.
	var mu sync.Mutex
	slow := rand.New(rand.NewPCG(seed, 3))
	for _, dir := range []zktest.Direction{zktest.FromClient, zktest.ToClient} {
		e.Fault(zktest.Rule{Dir: dir, Count: -1, Delay: 700 * time.Microsecond, Match: func(f zktest.Frame) bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Contains(reads, f.Op) && slow.IntN(2) == 0
		}})
	}

	l := &ledger{root: w.root}
	c := &tree.Cache{Root: w.root, PerNode: perNode, OnChange: l.take}
	l.c = c
	s, err := zk.Dial(ctx, conf)
	assert.NilError(t, err)
	r := run(t, c, s)

	var writing sync.WaitGroup
	stop := make(chan struct{})
	var fault error
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := w.step(ctx)
			if err == nil && w.rng.IntN(200) == 0 {
				e.Expire(w.mayfl.ID())
				err = zk.ErrConnection
			}
			if err != nil {
				if w.s.Err() != nil {
					w.s, err = follow(ctx, w.s, err)
				} else {
					<-w.mayfl.Done()
					w.mayfl, err = follow(ctx, w.mayfl, zk.ErrConnection)
				}
			}
			if err != nil {
				fault = err
				return
			}
			time.Sleep(time.Duration(w.rng.IntN(3000)) * time.Microsecond)
		}
	})
	for i := 1; r.count() < *migrations && l.failed.Load() == nil; i++ {
		time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
		e.Member(1 + rng.IntN(2)).SetLag(rng.IntN(5))
		id := r.now().ID()
		if rng.IntN(20) == 0 {
			e.Expire(id)
		} else {
			e.Cut(id)
		}
		if i%50 == 0 { // a while in which nothing breaks
			before, began := l.shownAt(), e.Zxid()
			for range 200 {
				time.Sleep(5 * time.Millisecond)
			}
			if l.shownAt() == before && l.failed.Load() == nil {
				t.Fatalf("seed %d: nothing was shown: %d redials, live %v, %d znodes, at 0x%x, server %x, %+v", seed, r.count(), c.Live(), c.Len(), l.shownAt(), []int64{began, e.Zxid()}, r.now().Stats())
			}
		}
	}
	close(stop)
	writing.Wait()
	assert.NilError(t, fault)
	for i := range 3 {
		e.Member(i).SetLag(0)
	}
	if text := l.failed.Load(); text != nil {
		t.Fatalf("seed %d: %s", seed, *text)
	}
	same(t, c, w.s)
	t.Logf("seed %d: %d redials, %d znodes, %d states shown", seed, r.count(), c.Len(), l.shown)
	assert.ErrorIs(t, r.stop(), context.Canceled)
	w.s.Close()
	w.mayfl.Close()
}

func (l *ledger) shownAt() int64 { return l.c.Zxid() }

func TestR62_Random(t *testing.T) {
	for _, perNode := range []bool{false, true} {
		name := map[bool]string{false: "recursive", true: "pernode"}[perNode]
		for i := range *randomRuns {
			seed := uint64(i + 1)
			if *randomSeed != 0 {
				seed = *randomSeed + uint64(i)
			}
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true, FrameLog: -1})
					random(t, e, zk.Config{DialContext: e.DialContext}, seed, perNode)
				})
			})
		}
	}
}
