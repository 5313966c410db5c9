package sim

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// consume reads a channel, slowly now and then.
func (s *simulation) consume(i int, r *rand.Rand) {
	out := &s.out[i]
	slow := time.Duration(0)
	if s.queue > 0 {
		slow = 30 * time.Millisecond
	}
	switch r.IntN(4) {
	case 0:
		slow = 2 * time.Millisecond
	case 1:
		slow = 15 * time.Millisecond
	}
	for {
		before := s.clock.Add(1)
		select {
		case ev := <-s.chans[i]:
			out.Recv = append(out.Recv, simRecv{ev.Type, s.chroot + ev.Path, ev.Zxid, before, s.clock.Add(1), time.Since(s.start)})
			if s.chroot != "" && ev.Path == "/" {
				out.Recv[len(out.Recv)-1].Path = s.chroot
			}
		case <-s.quit:
			return
		}
		if slow > 0 && !s.fast.Load() {
			s.nap(r, slow)
		}
	}
}

// write changes the tree, as another session.
func (s *simulation) write(r *rand.Rand) {
	there := map[string]bool{}
	for _, p := range s.paths {
		there[p] = true
	}
	moves, since := int64(0), 0
	for !s.stopping() {
		s.nap(r, 1500*time.Microsecond)
		if since++; since > 30 { // nothing moves: a link is silent
			s.nap(r, 50*time.Millisecond)
		}
		if n := s.moves.Load(); n != moves {
			moves, since = n, 0
		}
		s.change(s.writer, s.chroot, there, r)
	}
}

// ownWrites does the same through the session under test.
func (s *simulation) ownWrites(r *rand.Rand) {
	there := map[string]bool{}
	for _, p := range s.paths {
		there[p] = true
	}
	for !s.stopping() {
		s.nap(r, 6*time.Millisecond)
		x, changed := s.current()
		if err := s.change(x, "", there, r); simDead(err) {
			select {
			case <-changed:
			case <-s.stop:
			}
		}
	}
}

func (s *simulation) acl() zk.ACL {
	if s.auths > 0 {
		return zk.ACL{{Perms: zk.PermAll, Scheme: "auth"}}
	}
	return zk.ACLOpen
}

// change does one thing to the tree, which there is what the caller knows of.
func (s *simulation) change(x *zk.Session, root string, there map[string]bool, r *rand.Rand) error {
	ctx := context.Background()
	leaves := func(p string) bool { return there[p+"/left"] || there[p+"/right"] }
	var ops []zk.WriteOp
	set := func(p string) {
		if there[p] {
			ops = append(ops, zk.SetOp{Path: root + p, Data: []byte("x"), Version: zk.AnyVersion})
		} else if parent := simParent(p); parent == "/" || there[parent] {
			ops = append(ops, zk.CreateOp{Path: root + p, ACL: s.acl()})
			there[p] = true
		}
	}
	drop := func(p string) {
		if there[p] && !leaves(p) {
			ops = append(ops, zk.DeleteOp{Path: root + p, Version: zk.AnyVersion})
			there[p] = false
		}
	}
	p, q := s.paths[r.IntN(len(s.paths))], s.paths[r.IntN(len(s.paths))]
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		set(p)
	case 4, 5:
		drop(p)
		if len(ops) == 0 {
			set(p)
		}
	case 6, 7: // several paths in one transaction
		set(p)
		for range 1 + r.IntN(4) {
			set(s.paths[r.IntN(len(s.paths))])
		}
	case 8: // gone and back
		drop(p)
		set(p)
	case 9:
		drop(p)
		set(q)
	}
	if len(ops) == 0 {
		return nil
	}
	if len(ops) == 1 || r.IntN(4) == 0 {
		var err error
		for _, op := range ops {
			if _, err = s.one(x, op); err != nil {
				break
			}
		}
		s.learn(there, root, err)
		return err
	}
	_, err := x.Multi(ctx, ops...)
	s.learn(there, root, err)
	return err
}

func (s *simulation) one(x *zk.Session, op zk.WriteOp) (any, error) {
	ctx := context.Background()
	switch o := op.(type) {
	case zk.SetOp:
		return x.Set(ctx, o.Path, o.Data, o.Version)
	case zk.CreateOp:
		return x.Create(ctx, o.Path, o.Data, o.Mode, o.ACL)
	case zk.DeleteOp:
		return nil, x.Delete(ctx, o.Path, o.Version)
	}
	panic(op)
}

// learn corrects what the writer knows after somebody else has written too.
func (s *simulation) learn(there map[string]bool, root string, err error) {
	if err == nil {
		return
	}
	for _, p := range s.paths {
		found, _, err := s.writer.Exists(context.Background(), s.chroot+p, nil)
		if err == nil {
			there[p] = found
		}
	}
}

// observe looks at the session while it is used, and proves who it is again.
func (s *simulation) observe(r *rand.Rand) {
	for !s.stopping() {
		s.nap(r, 30*time.Millisecond)
		x, _ := s.current()
		switch r.IntN(5) {
		case 0:
			x.Stats()
		case 1:
			x.Config().Watches.List()
		case 2:
			if _, err := json.Marshal(x.Config().State); err != nil {
				s.fault("marshal: %v", err)
			}
		case 3:
			if r.IntN(10) == 0 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(2000))*time.Microsecond)
				x.AddAuth(ctx, zk.Digest("carol", "word"))
				cancel()
			}
		}
	}
}

// simDoom begins the paths of channels that are closed.
const simDoom = "/doom-"

// closeChannels arms channels of its own, often many on one path, and closes them
// while they are armed, full or waited for. Nobody checks their events: what is armed
// beside them is checked.
func (s *simulation) closeChannels(r *rand.Rand) {
	for !s.stopping() {
		s.nap(r, 10*time.Millisecond)
		x, changed := s.current()
		path := simDoom + strconv.Itoa(r.IntN(3))
		channels := make([]chan zk.Event, 1+r.IntN(20))
		for i := range channels {
			channels[i] = make(chan zk.Event, r.IntN(2))
			if err := s.armDoomed(x, r, path, channels[i]); simDead(err) {
				select {
				case <-changed:
				case <-s.stop:
				}
				x, changed = s.current()
			}
		}
		for range r.IntN(3) {
			s.writer.Set(context.Background(), s.chroot+path, nil, zk.AnyVersion)
		}
		s.nap(r, 5*time.Millisecond)
		for _, ch := range channels {
			close(ch)
		}
	}
}

// armDoomed arms a channel that will be closed.
func (s *simulation) armDoomed(x *zk.Session, r *rand.Rand, path string, ch chan<- zk.Event) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	switch r.IntN(5) {
	case 0:
		_, _, err = x.Children(ctx, path, ch)
	case 1:
		if s.version < zktest.V36 {
			return nil
		}
		err = x.AddWatch(ctx, path, zk.WatchMode(r.IntN(2)), ch)
	case 2:
		_, err = x.Batch(ctx, zk.GetOp{Path: path, Watch: ch}, zk.ExistsOp{Path: path, Watch: ch})
	default:
		_, _, err = x.Exists(ctx, path, ch)
	}
	return err
}

// simDead reports that a Session is of no use any more.
func simDead(err error) bool {
	return errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved) || errors.Is(err, zk.ErrClosed)
}

type simKey struct {
	op   wire.Op
	path string
}

// simWorker arms watches. Of each operation on each path only one worker makes
// use, so that its calls can be told by their frames.
type simWorker struct {
	sim   *simulation
	rng   *rand.Rand
	keys  []simKey
	own   int // a channel that nobody else arms, and that it disarms
	calls []simCall
}

// simCall is one request that may arm a channel.
type simCall struct {
	conn    int64
	key     simKey
	mode    zk.WatchMode
	ch      int        // -1: none
	outcome zk.Outcome // 0: success
	held    []int

	removed bool // a RemoveWatch instead
	hi      int64
	err     error
}

func (w *simWorker) run() {
	s := w.sim
	for !s.stopping() {
		if w.rng.IntN(3) > 0 {
			s.nap(w.rng, time.Millisecond)
		}
		x, changed := s.current()
		err := w.call(x)
		if !simDead(err) {
			continue
		}
		if w.rng.IntN(3) == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+w.rng.IntN(50))*time.Millisecond)
			next, err := x.Redial(ctx)
			cancel()
			if err == nil {
				s.adopt(next)
				continue
			}
		}
		select {
		case <-changed:
		case <-s.stop:
		}
	}
}

func simOutcome(err error) zk.Outcome {
	var op *zk.OpError
	if errors.As(err, &op) {
		return op.Outcome()
	}
	return 0
}

// context returns one that ends soon, now and then.
func (w *simWorker) context() (context.Context, context.CancelFunc) {
	ctx := context.Background()
	switch w.rng.IntN(10) {
	case 0:
		return context.WithTimeout(ctx, time.Duration(w.rng.IntN(1000))*time.Microsecond)
	case 1:
		ctx, cancel := context.WithCancel(ctx)
		n := w.rng.IntN(20)
		go func() {
			for range n {
				runtime.Gosched()
			}
			cancel()
		}()
		return ctx, cancel
	case 2, 3, 4:
		return context.WithCancel(ctx)
	}
	return ctx, func() {}
}

// call makes one call, or a Batch of several.
func (w *simWorker) call(x *zk.Session) error {
	s := w.sim
	ctx, cancel := w.context()
	defer cancel()
	conn := s.connOf(x)
	pick := func() simCall {
		c := simCall{conn: conn.number, key: w.keys[w.rng.IntN(len(w.keys))], ch: -1}
		switch n := w.rng.IntN(20); {
		case n < 14:
			c.ch = w.rng.IntN(8)
		case n < 17:
			c.ch = w.own
		}
		return c
	}
	done := func(c simCall, err error) {
		c.outcome, c.err = simOutcome(err), err
		if err == nil {
			c.held = s.held()
		}
		w.calls = append(w.calls, c)
	}
	c := pick()
	if w.rng.IntN(30) == 0 {
		c.removed, c.ch = true, w.own
		err := x.RemoveWatch(ctx, c.key.path, s.chans[c.ch])
		c.hi = conn.returned.Load()
		done(c, err)
		return err
	}
	if c.key.op != wire.OpAddWatch && w.rng.IntN(4) == 0 {
		var calls []simCall
		var ops []zk.Op
		for range 2 + w.rng.IntN(4) {
			if c.key.op != wire.OpAddWatch {
				calls, ops = append(calls, c), append(ops, c.batch(s))
			}
			if w.rng.IntN(2) == 0 {
				c = pick()
			} else { // another channel for the same
				c.ch = w.rng.IntN(8)
			}
		}
		res, err := x.Batch(ctx, ops...)
		for i, c := range calls {
			switch {
			case i >= len(res):
				done(c, err)
			case c.key.op == wire.OpExists && errors.Is(res[i].Err, zk.ErrNoNode):
				done(c, nil)
			default:
				done(c, res[i].Err)
			}
		}
		return err
	}
	var err error
	var ch chan<- zk.Event
	if c.ch >= 0 {
		ch = s.chans[c.ch]
	}
	switch c.key.op {
	case wire.OpGetData:
		_, _, err = x.Get(ctx, c.key.path, ch)
	case wire.OpExists:
		_, _, err = x.Exists(ctx, c.key.path, ch)
	case wire.OpGetChildren2:
		_, _, err = x.Children(ctx, c.key.path, ch)
	case wire.OpAddWatch:
		if c.ch < 0 {
			c.ch = w.own
			ch = s.chans[c.ch]
		}
		c.mode = s.pers[c.key.path]
		err = x.AddWatch(ctx, c.key.path, c.mode, ch)
	}
	done(c, err)
	return err
}

func (c simCall) batch(s *simulation) zk.Op {
	var ch chan<- zk.Event
	if c.ch >= 0 {
		ch = s.chans[c.ch]
	}
	switch c.key.op {
	case wire.OpGetData:
		return zk.GetOp{Path: c.key.path, Watch: ch}
	case wire.OpExists:
		return zk.ExistsOp{Path: c.key.path, Watch: ch}
	}
	return zk.ChildrenOp{Path: c.key.path, Watch: ch}
}
