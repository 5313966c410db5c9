package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

const (
	sessionTimeout = 6 * time.Second
	dialTimeout    = 3 * time.Second // of one attempt, for all servers
)

// client is one session over many connections. Each has a proxy of its own to
// every server, so that its links break alone.
type client struct {
	run     *run
	name    string
	roomy   bool
	tap     *history.Tap
	proxies []*zktest.Proxy
	conf    zk.Config
	chans   []chan zk.Event
	recv    [][]history.Recv // by channel, of the goroutine that reads it
	partner *partner         // nil: it uses no recipes

	moves   atomic.Int64 // Dials that moved the session
	renewed atomic.Int64 // those that began a new one
	slow    atomic.Int64 // Sessions that ended because too much was undelivered

	mu      sync.Mutex // guards all below
	cur     *zk.Session
	changed chan struct{} // closed when cur changes
	known   map[*zk.Session]bool
	calls   []history.Call // of goroutines that have ended
	struck  bool           // a fault of its link is under way
}

func (r *run) newClient(name string) (*client, error) {
	c := &client{run: r, name: name, tap: history.NewTap(&r.clock), changed: make(chan struct{}), known: map[*zk.Session]bool{}}
	c.conf = zk.Config{Timeout: sessionTimeout, DialContext: c.tap.DialContext}
	for _, addr := range r.ens.Addrs() {
		p, err := zktest.StartProxy(addr, zktest.ProxyOptions{FrameLog: -1})
		if err != nil {
			return nil, err
		}
		c.proxies = append(c.proxies, p)
		c.conf.Addrs = append(c.conf.Addrs, p.Addr())
	}
	r.clients = append(r.clients, c)
	return c, nil
}

// channel makes one more channel and returns its number.
func (c *client) channel(size int) int {
	c.chans = append(c.chans, make(chan zk.Event, size))
	c.recv = append(c.recv, nil)
	return len(c.chans) - 1
}

// history returns what the client did and saw, once it has come to an end.
func (c *client) history() *history.Client {
	h := &history.Client{Name: c.name, Roomy: c.roomy, Conns: c.tap.Conns(), Calls: c.calls}
	for i := range c.chans {
		h.Chans = append(h.Chans, history.Chan{Cap: cap(c.chans[i]), Recv: c.recv[i]})
	}
	if c.partner != nil {
		h.Recipes = &c.partner.done
	}
	h.SortCalls()
	return h
}

func ended(s *zk.Session) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

// adopt makes a Session the one that all use, unless it has ended already.
func (c *client) adopt(s *zk.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known[s] {
		c.known[s] = true
		if len(c.known) > 1 {
			c.moves.Add(1)
		}
	}
	if c.cur == nil || c.cur != s && ended(c.cur) {
		c.cur = s
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

func (c *client) current() (*zk.Session, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cur, c.changed
}

// dead reports that a Session is of no use any more.
func dead(err error) bool {
	return errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved) || errors.Is(err, zk.ErrClosed)
}

// keep is the loop of one owner: it dials for all goroutines of the client.
func (c *client) keep(ctx context.Context) {
	conf := c.conf
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, dialTimeout)
		s, err := zk.Dial(try, conf)
		cancel()
		switch {
		case errors.Is(err, zk.ErrExpired):
			conf = conf.Renew()
			c.renewed.Add(1)
			continue
		case errors.Is(err, zk.ErrMoved): // the redialer was quicker, and has renewed it
			s, _ = c.current()
			conf = s.Config()
			continue
		case err != nil:
			backoff(ctx)
			continue
		}
		c.adopt(s)
		select {
		case <-s.Done():
		case <-ctx.Done():
			return
		}
		if errors.Is(s.Err(), zk.ErrSlowConsumer) {
			c.slow.Add(1)
		}
		conf = s.Detach()
		if errors.Is(s.Err(), zk.ErrMoved) { // somebody moves it: take what comes of that
			if next, err := c.successor(ctx, s); err == nil {
				s, conf = next, next.Config()
				select {
				case <-s.Done():
				case <-ctx.Done():
				}
			}
		}
	}
}

// successor returns the Session that follows s, made by whoever needs it first.
func (c *client) successor(ctx context.Context, s *zk.Session) (*zk.Session, error) {
	for {
		try, cancel := context.WithTimeout(ctx, dialTimeout)
		next, err := s.Redial(try)
		if errors.Is(err, zk.ErrExpired) {
			if next, err = s.Renew(try); err == nil {
				c.renewed.Add(1)
			}
		}
		cancel()
		if err == nil {
			c.adopt(next)
			return next, nil
		}
		if errors.Is(err, zk.ErrClosed) || ctx.Err() != nil {
			return nil, err
		}
		backoff(ctx)
	}
}

// backoff waits a moment before the next attempt.
func backoff(ctx context.Context) { pause(ctx, 10*time.Millisecond, 40*time.Millisecond) }

// pause waits for some time, not the same for all.
func pause(ctx context.Context, least, most time.Duration) {
	t := time.NewTimer(least + rand.N(most-least))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// outcome says how a call ended.
func outcome(err error) (history.Outcome, zk.Code) {
	var op *zk.OpError
	switch {
	case err == nil:
		return history.OK, 0
	case !errors.As(err, &op):
		panic(fmt.Sprintf("a call failed with an error that is no OpError: %v", err))
	}
	switch op.Outcome() {
	case zk.NotSent:
		return history.NotSent, 0
	case zk.Lost:
		return history.Lost, 0
	}
	var code zk.Code
	errors.As(err, &code)
	return history.Refused, code
}

// worker is a goroutine that calls, and its notes.
type worker struct {
	c     *client
	rng   *rand.Rand
	calls []history.Call
}

func (c *client) newWorker() worker { return worker{c: c, rng: c.run.fork()} }

// end hands the notes over.
func (w *worker) end() {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.c.calls = append(w.c.calls, w.calls...)
	w.calls = nil
}

// call makes a call and takes notes of it, to be completed.
func (w *worker) call(k history.Call, f func() error) (*history.Call, error) {
	k.Start = w.c.run.clock.Tick()
	err := f()
	k.End = w.c.run.clock.Tick()
	k.Outcome, k.Code = outcome(err)
	k.Cancelled = errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if k.Outcome == history.OK || k.Outcome == history.Refused {
		w.c.run.ops.Add(1)
	}
	w.calls = append(w.calls, k)
	return &w.calls[len(w.calls)-1], err
}

// get reads a znode, and arms a channel if its number is not negative.
func (w *worker) get(ctx context.Context, s *zk.Session, path string, ch int) (*history.Call, error) {
	var data []byte
	var stat zk.Stat
	k, err := w.call(history.Call{Op: wire.OpGetData, Path: path, Chan: -1}, func() (err error) {
		data, stat, err = s.Get(ctx, path, w.c.watch(ch))
		return err
	})
	k.Data, k.Stat = string(data), stat
	if err == nil && ch >= 0 {
		k.Chan, k.Kind = ch, zk.DataWatch
	}
	return k, err
}

func (w *worker) exists(ctx context.Context, s *zk.Session, path string, ch int) (*history.Call, error) {
	var there bool
	var stat zk.Stat
	k, err := w.call(history.Call{Op: wire.OpExists, Path: path, Chan: -1}, func() (err error) {
		there, stat, err = s.Exists(ctx, path, w.c.watch(ch))
		return err
	})
	k.None, k.Stat = !there, stat
	if err == nil && ch >= 0 {
		k.Chan, k.Kind = ch, zk.DataWatch
		if !there {
			k.Kind = zk.ExistsWatch
		}
	}
	return k, err
}

func (w *worker) children(ctx context.Context, s *zk.Session, path string, ch int) (*history.Call, error) {
	var stat zk.Stat
	k, err := w.call(history.Call{Op: wire.OpGetChildren, Path: path, Chan: -1}, func() (err error) {
		_, stat, err = s.Children(ctx, path, w.c.watch(ch))
		return err
	})
	k.Stat = stat
	if err == nil && ch >= 0 {
		k.Chan, k.Kind = ch, zk.ChildWatch
	}
	return k, err
}

func (w *worker) addWatch(ctx context.Context, s *zk.Session, path string, kind zk.WatchKind, ch int) (*history.Call, error) {
	mode := zk.WatchPersistent
	if kind == zk.RecursiveWatch {
		mode = zk.WatchRecursive
	}
	k, err := w.call(history.Call{Op: wire.OpAddWatch, Path: path, Chan: -1}, func() error {
		return s.AddWatch(ctx, path, mode, w.c.watch(ch))
	})
	if err == nil {
		k.Chan, k.Kind = ch, kind
	}
	return k, err
}

func (c *client) watch(ch int) chan<- zk.Event {
	if ch < 0 {
		return nil
	}
	return c.chans[ch]
}

// write makes a single change, or several as one.
func (w *worker) write(ctx context.Context, s *zk.Session, writes ...history.Write) (*history.Call, error) {
	if len(writes) > 1 {
		return w.multi(ctx, s, writes)
	}
	x := writes[0]
	var stat zk.Stat
	k, err := w.call(history.Call{Op: x.Op, Writes: writes, Chan: -1}, func() (err error) {
		switch x.Op {
		case wire.OpCreate:
			_, stat, err = s.CreateStat(ctx, x.Path, []byte(x.Value), zk.Persistent, zk.ACLOpen)
		case wire.OpSetData:
			stat, err = s.Set(ctx, x.Path, []byte(x.Value), x.Version)
		case wire.OpDelete:
			err = s.Delete(ctx, x.Path, x.Version)
		}
		return err
	})
	k.Writes[0].Stat = stat
	return k, err
}

func (w *worker) multi(ctx context.Context, s *zk.Session, writes []history.Write) (*history.Call, error) {
	var ops []zk.WriteOp
	for _, x := range writes {
		switch x.Op {
		case wire.OpCreate:
			ops = append(ops, zk.CreateOp{Path: x.Path, Data: []byte(x.Value), ACL: zk.ACLOpen})
		case wire.OpSetData:
			ops = append(ops, zk.SetOp{Path: x.Path, Data: []byte(x.Value), Version: x.Version})
		case wire.OpDelete:
			ops = append(ops, zk.DeleteOp{Path: x.Path, Version: x.Version})
		}
	}
	var results []zk.Result
	k, err := w.call(history.Call{Op: wire.OpMulti, Writes: writes, Chan: -1}, func() (err error) {
		results, err = s.Multi(ctx, ops...)
		return err
	})
	for i := range results {
		switch code := zk.Code(0); {
		case err == nil:
			k.Writes[i].Stat = results[i].Stat
		case errors.As(results[i].Err, &code) && code == k.Code:
			k.Writes[i].Refused = true
		}
	}
	return k, err
}
