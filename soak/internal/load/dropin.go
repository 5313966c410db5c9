package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	gozk "github.com/seed-9f8420c6/zk/gozk"
	"github.com/seed-9f8420c6/zk/soak/internal/check"
	"github.com/seed-9f8420c6/zk/zktest"
)

// dropin is a Conn of gozk with one watch on every leaf and on the children of every
// directory, each armed again when it has fired. It has links of its own, which break.
// It keeps books of its own: no event may come without a change, none may be missing in
// the end, and each channel has one.
type dropin struct {
	run     *run
	conn    *gozk.Conn
	proxies []*zktest.Proxy
	events  atomic.Int64
	ended   atomic.Int64 // watches that ended with a session

	mu       sync.Mutex       // guards armed and findings
	armed    map[string]state // what was read when the watch of a path was armed
	findings []check.Finding
	loops    sync.WaitGroup
}

// state is what a watch is armed on: a znode's data, or a directory's children.
type state struct {
	there        bool
	czxid, mzxid int64 // of a directory: pzxid in place of mzxid
}

type noLog struct{}

func (noLog) Printf(string, ...any) {}

func (r *run) newDropin() (*dropin, error) {
	d := &dropin{run: r, armed: make(map[string]state)}
	var addrs []string
	for _, addr := range r.ens.Addrs() {
		p, err := zktest.StartProxy(addr, zktest.ProxyOptions{FrameLog: -1})
		if err != nil {
			return nil, err
		}
		d.proxies = append(d.proxies, p)
		addrs = append(addrs, p.Addr())
	}
	c, _, err := gozk.Connect(addrs, sessionTimeout, gozk.WithLogger(noLog{}))
	if err != nil {
		return nil, err
	}
	d.conn = c
	for i := range numDirs {
		d.loops.Go(func() { d.watch(dirPath(i), true) })
		for j := range numLeaves {
			d.loops.Go(func() { d.watch(leaf(dirPath(i), j), false) })
		}
	}
	return d, nil
}

func (d *dropin) found(what, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.findings = append(d.findings, check.Finding{Rule: "G", What: what, Client: "gozk", Text: fmt.Sprintf(format, args...)})
}

// watch keeps one watch armed until Close.
func (d *dropin) watch(path string, children bool) {
	last, fired := state{}, false
	for {
		now, ch, err := d.arm(path, children)
		if err == gozk.ErrConnectionClosed || err == gozk.ErrNoServer {
			if d.run.over.Load() {
				return
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil {
			d.found(check.Wrong, "%s: %v", path, err)
			return
		}
		if fired && now.there && now == last {
			d.found(check.False, "%s: an event, and it is still that of %#x", path, now.mzxid)
		}
		d.mu.Lock()
		d.armed[path] = now
		d.mu.Unlock()
		ev, ok := <-ch
		if _, more := <-ch; !ok || more {
			d.found(check.Duplicate, "%s: a channel without an event, or with two", path)
		}
		fired = ev.Type != gozk.EventNotWatching
		switch {
		case fired:
			d.events.Add(1)
		case ev.Err == gozk.ErrClosing:
			return
		default:
			d.ended.Add(1)
		}
		last = now
	}
}

// arm reads and arms, on a server that has caught up.
func (d *dropin) arm(path string, children bool) (state, <-chan gozk.Event, error) {
	if _, err := d.conn.Sync(path); err != nil {
		return state{}, nil, err
	}
	if children {
		_, st, ch, err := d.conn.ChildrenW(path)
		if err != nil {
			return state{}, nil, err
		}
		return state{true, st.Czxid, st.Pzxid}, ch, nil
	}
	there, st, ch, err := d.conn.ExistsW(path)
	if err != nil {
		return state{}, nil, err
	}
	return state{there, st.Czxid, st.Mzxid}, ch, nil
}

// strike breaks its links until stop.
func (d *dropin) strike(ctx context.Context, stop <-chan struct{}, r *rand.Rand) {
	for !isClosed(stop) && ctx.Err() == nil {
		pause(ctx, 100*time.Millisecond, 600*time.Millisecond)
		switch r.IntN(3) {
		case 0:
			d.each((*zktest.Proxy).Cut)
		case 1:
			d.each((*zktest.Proxy).Reset)
		default: // the next connections break while the watches are restored
			rule := zktest.LinkRule{Count: 1 + r.IntN(2)}
			if r.IntN(2) == 0 {
				rule.ToClient = randomLimit(r)
			} else {
				rule.FromClient = randomLimit(r)
			}
			d.each(func(p *zktest.Proxy) { p.Link(rule) })
			d.each((*zktest.Proxy).Reset)
		}
	}
}

func (d *dropin) each(f func(p *zktest.Proxy)) {
	for _, p := range d.proxies {
		f(p)
	}
}

// settle waits until every watch is armed on what the servers have. One that is not, in
// the end, has lost an event.
func (d *dropin) settle(ctx context.Context, w *writer) error {
	limit := time.Now().Add(patience)
	for {
		behind, err := d.behind(ctx, w)
		if err != nil {
			return err
		}
		if len(behind) == 0 {
			return nil
		}
		if time.Now().After(limit) {
			for _, path := range behind {
				d.found(check.Lost, "%s: its watch has not fired for the last change", path)
			}
			return nil
		}
		pause(ctx, 50*time.Millisecond, 100*time.Millisecond)
	}
}

// behind returns the paths whose watch is armed on an older state than the servers'.
func (d *dropin) behind(ctx context.Context, w *writer) (paths []string, err error) {
	s, _ := w.c.current()
	if err := s.Sync(ctx, root); err != nil {
		return nil, err
	}
	d.mu.Lock()
	armed := make(map[string]state, len(d.armed))
	for path, st := range d.armed {
		armed[path] = st
	}
	d.mu.Unlock()
	if len(armed) < numDirs*(1+numLeaves) {
		return []string{"not all are armed"}, nil
	}
	for i := range numDirs {
		dir := dirPath(i)
		_, st, err := s.Exists(ctx, dir, nil)
		if err != nil {
			return nil, err
		}
		if armed[dir] != (state{true, st.Czxid, st.Pzxid}) {
			paths = append(paths, dir)
		}
		for j := range numLeaves {
			path := leaf(dir, j)
			there, st, err := s.Exists(ctx, path, nil)
			if err != nil {
				return nil, err
			}
			if armed[path] != (state{there, st.Czxid, st.Mzxid}) {
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

// close ends all watches. One that does not end never had its event.
func (d *dropin) close() {
	d.run.over.Store(true)
	d.conn.Close()
	ended := make(chan struct{})
	go func() {
		d.loops.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		d.found(check.Lost, "a watch has neither fired nor ended with its Conn")
	}
	d.each((*zktest.Proxy).Close)
}
