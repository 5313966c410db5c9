package tree_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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

// rising says how a state does not come after another.
func rising(a, b tree.State, children bool) string {
	switch {
	case !a.Exists && !b.Exists:
		return "missing twice"
	case !a.Exists || !b.Exists:
		return ""
	case b.Stat.Czxid < a.Stat.Czxid || b.Stat.Mzxid < a.Stat.Mzxid:
		return "it goes back"
	case b.Stat.Czxid == a.Stat.Czxid && b.Stat.Mzxid == a.Stat.Mzxid && (!children || a.Stat.Pzxid == b.Stat.Pzxid):
		return "the same twice"
	case children && len(b.Children) != int(b.Stat.NumChildren):
		return "children that are not the Stat's"
	case string(b.Data) != "last" && string(b.Data) != fmt.Sprint(b.Stat.Version) && b.Stat.Version > 0:
		return "data that is not the Stat's"
	}
	return ""
}

// A random writer sets, deletes and makes the znode and its children, while the
// stream's session is cut and expired, on servers that lag: its states rise, and
// the last one comes.
func TestR61_Random(t *testing.T) {
	for _, children := range []bool{false, true} {
		t.Run(fmt.Sprint(children), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomStream(t, children, uint64(1+*randomSeed)) })
		})
	}
}

func randomStream(t *testing.T, children bool, seed uint64) {
	e := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true, FrameLog: -1})
	conf := zk.Config{Addrs: e.Addrs(), DialContext: e.DialContext, Timeout: 4 * time.Second}
	leads := conf
	leads.Addrs = conf.Addrs[:1]
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	w, err := zk.Dial(ctx, leads)
	assert.NilError(t, err)
	s, err := zk.Dial(ctx, conf)
	assert.NilError(t, err)
	var id, redials atomic.Int64
	var last tree.State
	var mu sync.Mutex
	count := 0
	over := make(chan error, 1)
	reading, stop := context.WithCancel(ctx)
	go func() {
		stream := tree.Stream{Path: "/n", Children: children}
		for {
			id.Store(s.ID())
			var why error
			for state, err := range stream.States(reading, s) {
				if why = err; err != nil {
					break
				}
				mu.Lock()
				if text := rising(last, state, children); count > 0 && text != "" {
					t.Errorf("%s: %+v, then %+v", text, last, state)
				}
				last = state
				count++
				mu.Unlock()
			}
			if reading.Err() != nil {
				over <- s.Close()
				return
			}
			following, err := follow(ctx, s, why)
			if err != nil {
				over <- err
				return
			}
			s = following
			redials.Add(1)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 7))
	version := 0
	for redials.Load() < int64(*migrations) {
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
		switch rng.IntN(12) {
		case 0:
			assert.NilError(t, tree.DeleteAll(ctx, w, "/n"))
			version = 0
		case 1:
			assert.NilError(t, tree.DeleteAll(ctx, w, "/n"))
			fallthrough
		case 2:
			if _, err = w.Create(ctx, "/n", []byte("0"), zk.Persistent, zk.ACLOpen); err == nil {
				version = 0
			}
		case 3:
			w.Create(ctx, "/n/c-", nil, zk.PersistentSequential, zk.ACLOpen) // if there is a parent
		case 4:
			if rng.IntN(20) == 0 {
				e.Expire(id.Load())
			} else {
				e.Cut(id.Load())
			}
		case 5:
			e.Member(1 + rng.IntN(2)).SetLag(rng.IntN(4))
		default:
			if _, err := w.Set(ctx, "/n", fmt.Append(nil, version+1), int32(version)); err == nil {
				version++
			}
		}
	}
	for i := range 3 {
		e.Member(i).SetLag(0)
	}
	_, err = tree.Put(ctx, w, "/n", []byte("last"), nil)
	assert.NilError(t, err)
	_, stat, err := w.Get(ctx, "/n", nil)
	assert.NilError(t, err)
	for i := 0; ; i++ {
		assert.Assert(t, i < 1000, "the last state does not come")
		time.Sleep(10 * time.Millisecond)
		mu.Lock()
		got := last
		mu.Unlock()
		if got.Exists && got.Stat.Mzxid == stat.Mzxid {
			assert.Equal(t, got.Stat, stat)
			break
		}
	}
	stop()
	assert.NilError(t, <-over)
	t.Logf("%d redials, %d states", redials.Load(), count)
	w.Close()
}

func TestR61_States(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	states := make(chan tree.State)
	over := make(chan error, 1)
	go func() {
		w := tree.Stream{Path: "/a/b", Children: true}
		for state, err := range w.States(ctx, s) {
			if err != nil {
				assert.Check(t, state.Exists) // the last one again
				over <- err
				return
			}
			states <- state
		}
	}()
	assert.Assert(t, !(<-states).Exists)
	fill(t, s, "/a", "/a/b")
	state := <-states
	assert.Assert(t, state.Exists && string(state.Data) == "/a/b" && state.Children != nil && len(state.Children) == 0)
	fill(t, s, "/a/b/y", "/a/b/x")
	for len(state.Children) < 2 {
		state = <-states
	}
	assert.DeepEqual(t, state.Children, []string{"x", "y"})
	// Neither a set to the same data nor one of a child is missed or shown twice.
	_, err := s.Set(ctx, "/a/b", state.Data, -1)
	assert.NilError(t, err)
	assert.Equal(t, (<-states).Stat.Version, int32(1))
	_, err = s.Set(ctx, "/a/b/x", nil, -1)
	assert.NilError(t, err)
	// Deleted and made again with the same version: another state.
	_, err = s.Multi(ctx, zk.DeleteOp{Path: "/a/b/x", Version: -1}, zk.DeleteOp{Path: "/a/b/y", Version: -1},
		zk.DeleteOp{Path: "/a/b", Version: -1}, zk.CreateOp{Path: "/a/b", Data: state.Data, ACL: zk.ACLOpen},
		zk.SetOp{Path: "/a/b", Data: state.Data, Version: 0})
	assert.NilError(t, err)
	again := <-states
	assert.Assert(t, again.Stat.Czxid > state.Stat.Czxid && again.Stat.Version == 1)
	e.Cut(s.ID())
	assert.ErrorIs(t, <-over, zk.ErrConnection)
	assert.Equal(t, s.Watches().Len(), 0)
}

// Deleted and made again between two reads is another state, whether its version
// is the same or lower.
func TestR61_Recreated(t *testing.T) {
	for _, children := range []bool{false, true} {
		for _, versions := range []int{0, 1} {
			t.Run(fmt.Sprint(children, versions), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { recreated(t, children, versions) })
			})
		}
	}
}

// recreated has a stream yield a znode of version 1, and its successor after as
// many sets.
func recreated(t *testing.T, children bool, sets int) {
	e := zktest.NewEnsemble(t, 1, zktest.Options{InMemory: true})
	ctx := background(t)
	s := dial(t, zk.Config{Addrs: e.Addrs(), DialContext: e.DialContext})
	fill(t, s, "/a")
	_, err := s.Set(ctx, "/a", nil, 0)
	assert.NilError(t, err)
	w := tree.Stream{Path: "/a", Children: children}
	var got []int32
	for state, err := range w.States(ctx, s) {
		assert.NilError(t, err, "%v", got)
		got = append(got, state.Stat.Version)
		if len(got) == 2 {
			break
		}
		ops := []zk.WriteOp{zk.DeleteOp{Path: "/a", Version: 1}, zk.CreateOp{Path: "/a", ACL: zk.ACLOpen}}
		for i := range sets {
			ops = append(ops, zk.SetOp{Path: "/a", Version: int32(i)})
		}
		_, err := s.Multi(ctx, ops...)
		assert.NilError(t, err)
	}
	assert.DeepEqual(t, got, []int32{1, int32(sets)})
}

// With the successor only what is new is yielded.
func TestR61_Successor(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	fill(t, s, "/a")
	w := tree.Stream{Path: "/a"}
	var got []int32
	for state, err := range w.States(ctx, s) {
		assert.NilError(t, err)
		got = append(got, state.Stat.Version)
		break
	}
	for i := range 10 {
		e.Cut(s.ID())
		<-s.Done()
		s, _ = repeat(t, s, func(s *zk.Session) error { return s.Sync(ctx, "/") })
		if i%3 == 2 {
			_, err := s.Set(ctx, "/a", nil, -1)
			assert.NilError(t, err)
			for state, err := range w.States(ctx, s) {
				assert.NilError(t, err)
				got = append(got, state.Stat.Version)
				break
			}
			continue
		}
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		for state, err := range w.States(short, s) {
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, state.Stat.Version, got[len(got)-1])
		}
		cancel()
	}
	assert.DeepEqual(t, got, []int32{0, 1, 2, 3})
	assert.Equal(t, s.Watches().Len(), 0)
}

// The watches are disarmed also if somebody else is moving the session, and the successor is not
// there yet.
func TestR61_LeavesWhileMoving(t *testing.T) {
	s, begin := movable(t)
	fill(t, s, "/a")
	var finish func() *zk.Session
	w := tree.Stream{Path: "/a", Children: true}
	for _, err := range w.States(background(t), s) {
		if err != nil {
			assert.ErrorIs(t, err, zk.ErrMoved)
			break
		}
		assert.Equal(t, s.Watches().Len(), 2)
		finish = begin()
	}
	unwatched(t, finish())
}

// Another session on a server that is behind: nothing goes back, and the first
// thing it does is to catch up.
func TestR61_OtherSession(t *testing.T) {
	e := zktest.NewEnsemble(t, 3)
	ctx := background(t)
	s := dial(t, zk.Config{Addrs: e.Addrs()[:1]})
	behind := dial(t, zk.Config{Addrs: e.Addrs()[2:]})
	e.Member(2).Freeze()
	fill(t, s, "/a")
	w := tree.Stream{Path: "/a"}
	for state, err := range w.States(ctx, s) {
		assert.NilError(t, err)
		assert.Assert(t, state.Exists)
		break
	}
	found, _, err := behind.Exists(ctx, "/a", nil)
	assert.NilError(t, err)
	assert.Assert(t, !found)
	time.AfterFunc(200*time.Millisecond, func() {
		e.Member(2).Thaw()
		s.Delete(ctx, "/a", -1)
	})
	for state, err := range w.States(ctx, behind) {
		assert.NilError(t, err)
		assert.Assert(t, !state.Exists)
		break
	}
	assert.Assert(t, behind.Zxid() >= s.Zxid()-1)
}

// A consumer that takes its time holds up no other events.
func TestR61_SlowConsumer(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	fill(t, s, "/a", "/b")
	other := dial(t, zk.Config{Addrs: e.Addrs()})
	w := tree.Stream{Path: "/a", Children: true}
	n := 0
	for _, err := range w.States(ctx, s) {
		assert.NilError(t, err)
		if n++; n == 50 {
			break
		}
		for i := range 10 {
			_, err := other.Set(ctx, "/a", fmt.Append(nil, i), -1)
			assert.NilError(t, err)
			_, err = other.Create(ctx, "/a/c-", nil, zk.PersistentSequential, zk.ACLOpen)
			assert.NilError(t, err)
		}
		changed := make(chan zk.Event, 1)
		_, _, err = s.Get(ctx, "/b", changed)
		assert.NilError(t, err)
		_, err = s.Set(ctx, "/b", nil, -1)
		assert.NilError(t, err)
		assert.Equal(t, len(changed), 1)
	}
	assert.Equal(t, s.Watches().Len(), 0)
	assert.Equal(t, s.Watches().Undelivered(), 0)
}

func TestR61_Wait(t *testing.T) {
	e, s := server(t)
	ctx := background(t)
	go func() {
		other, err := zk.Dial(ctx, zk.Config{Addrs: e.Addrs()})
		assert.Check(t, err)
		defer other.Close()
		for i := range 20 {
			_, err := tree.Put(ctx, other, "/go/"+fmt.Sprint(i), nil, nil)
			assert.Check(t, err)
			_, err = tree.Put(ctx, other, "/go", fmt.Append(nil, i), nil)
			assert.Check(t, err)
		}
	}()
	var seen []tree.State
	state, err := tree.Wait(ctx, s, "/go", func(st tree.State) bool {
		seen = append(seen, st)
		return string(st.Data) == "19"
	})
	assert.NilError(t, err)
	assert.Equal(t, len(state.Children), 20)
	assert.Assert(t, slices.Contains(state.Children, "7"))
	for i := range len(seen) - 1 {
		assert.Assert(t, !seen[i].Exists || seen[i].Stat.Mzxid < seen[i+1].Stat.Mzxid || seen[i].Stat.Pzxid < seen[i+1].Stat.Pzxid)
	}
	e.Fault(zktest.Rule{Op: wire.OpGetData, Do: zktest.CutBefore})
	_, err = tree.Wait(ctx, s, "/go", func(tree.State) bool { return true })
	assert.ErrorIs(t, err, zk.ErrConnection)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = tree.Wait(ended, s, "/go", func(tree.State) bool { return true })
	assert.Assert(t, err != nil)
	_, err = tree.Wait(ctx, dial(t, zk.Config{Addrs: e.Addrs()}), "bad", func(tree.State) bool { return true })
	assert.ErrorIs(t, err, zk.ErrBadPath)
	assert.Assert(t, errors.Is(err, zk.ErrNotSent))
}
