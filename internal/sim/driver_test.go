package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// drive moves the session until it has moved as often as was asked for.
func (s *simulation) drive() {
	r := s.rng
	for tries := 0; s.moves.Load() < int64(s.moveTo) && tries < 40*s.moveTo; tries++ {
		s.nap(r, 4*time.Millisecond)
		x, _ := s.current()
		c := s.connOf(x)
		switch r.IntN(12) {
		case 0, 1, 2:
			c.cut(r.Int64N(300), -1, false)
			s.nap(r, 2*time.Millisecond)
		case 3, 4:
			c.cut(-1, r.Int64N(300), false)
			s.nap(r, 2*time.Millisecond)
		case 5, 9, 10:
			c.snip(1 + r.IntN(3))
			s.nap(r, 4*time.Millisecond)
		case 11:
			s.ens.Cut(x.ID())
		case 6:
			x.Detach()
		case 7:
			if r.IntN(6) == 0 {
				s.ens.Expire(x.ID())
			}
		case 8:
			s.trouble(r)
		}
		s.move(r, x)
	}
}

// trouble is what happens to members, or to a request of the session.
func (s *simulation) trouble(r *rand.Rand) {
	if r.IntN(2) == 0 {
		x, _ := s.current()
		ops := []wire.Op{wire.OpSetWatches, wire.OpSetWatches2, wire.OpSetWatches2, wire.OpAuth, zktest.OpConnect, wire.OpGetData, wire.OpExists}
		// No writes: one that is cut off after it was executed is not in the log.
		rule := zktest.Rule{Session: x.ID(), Op: ops[r.IntN(len(ops))], Skip: r.IntN(3), Do: zktest.CutBefore}
		switch {
		case r.IntN(2) == 0:
			rule.Do = zktest.CutAfter
		case rule.Op == wire.OpSetWatches || rule.Op == wire.OpSetWatches2:
			rule.Err, rule.Do = wire.ErrMarshalling, zktest.Pass
		}
		s.ens.Fault(rule)
		return
	}
	if s.members == 1 {
		return
	}
	m := s.ens.Member(1 + r.IntN(s.members-1)) // the writer is at the first
	switch {
	case s.lagging && r.IntN(3) > 0:
		m.SetLag(r.IntN(6))
	case s.lagging:
		m.Thaw()
	case r.IntN(2) == 0:
		m.Restart()
	default:
		m.Refuse(r.IntN(2) == 0)
	}
}

// move dials once, or several times at once.
func (s *simulation) move(r *rand.Rand, x *zk.Session) {
	n := 1
	if r.IntN(5) == 0 {
		n = 2 + r.IntN(3)
	}
	var all sync.WaitGroup
	for range n {
		rr := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		all.Go(func() { s.dialOnce(rr, x) })
	}
	all.Wait()
}

func (s *simulation) dialOnce(r *rand.Rand, x *zk.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if r.IntN(8) == 0 {
		defer time.AfterFunc(time.Duration(r.IntN(1000))*time.Microsecond, cancel).Stop()
	}
	var next *zk.Session
	var err error
	if r.IntN(2) == 0 {
		next, err = x.Redial(ctx)
	} else {
		next, err = zk.Dial(ctx, x.Config())
	}
	if errors.Is(err, zk.ErrExpired) {
		if r.IntN(2) == 0 {
			next, err = x.Renew(ctx)
		} else {
			next, err = zk.Dial(ctx, x.Config().Renew())
		}
	}
	if err == nil {
		s.adopt(next)
	}
}

// settle returns a Session that will last.
func (s *simulation) settle() *zk.Session {
	var last error
	for range 1000 {
		x, _ := s.current()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		next, err := zk.Dial(ctx, x.Config())
		if errors.Is(err, zk.ErrExpired) {
			next, err = zk.Dial(ctx, x.Config().Renew())
		}
		cancel()
		if err == nil {
			s.adopt(next)
		} else {
			last = err
			time.Sleep(time.Millisecond)
		}
		// What abandoned connections left behind comes to the servers first: a
		// handshake that is late takes the session to another of them.
		time.Sleep(10 * time.Millisecond)
		if x, _ = s.current(); s.connOf(x).sound && x.Sync(context.Background(), "/") == nil {
			return x
		}
	}
	panic(fmt.Sprintf("no server takes the session any more: %v", last))
}

// drain changes every path once more, so that every watch must fire, and waits
// until all events are delivered.
func (s *simulation) drain(x *zk.Session) {
	ctx := context.Background()
	there := map[string]bool{}
	s.learn(there, "", zk.ErrSystem)
	must := func(err error) {
		if err != nil {
			s.fault("at the end: %v", err)
		}
	}
	for range 2 { // roots first, then what is below them
		for _, p := range s.paths {
			if there[p] {
				_, err := s.writer.Set(ctx, s.chroot+p, nil, zk.AnyVersion)
				must(err)
			} else if parent := simParent(p); parent == "/" || there[parent] {
				_, err := s.writer.Create(ctx, s.chroot+p, nil, zk.Persistent, s.acl())
				must(err)
				there[p] = true
			}
		}
	}
	for _, p := range s.paths {
		_, err := s.writer.Create(ctx, s.chroot+p+"/last", nil, zk.Persistent, s.acl())
		must(err)
	}
	must(x.Sync(ctx, "/"))
	_, _, err := x.Exists(ctx, "/", nil)
	must(err)
	time.Sleep(50 * time.Millisecond)
	if s.roomy {
		for i, ch := range s.chans {
			s.out[i].Recv = nil
			for len(ch) > 0 {
				ev := <-ch
				path := s.chroot + ev.Path
				if ev.Path == "/" && s.chroot != "" {
					path = s.chroot
				}
				s.out[i].Recv = append(s.out[i].Recv, simRecv{ev.Type, path, ev.Zxid, 0, 0, time.Since(s.start)})
			}
		}
	}
}
