// Package load runs clients against real servers that break, and hands what
// happened to the checkers.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/check"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// Config says what to run.
type Config struct {
	Release    apache.Release
	Duration   time.Duration // of the faults; calm and analysis come on top
	Migrations int           // of sessions with watches, forced in that time; 0: five a second
	Faults     int           // of servers in that time; 0: one every four seconds
	// Acquisitions of locks and terms in that time; 0: as many as come.
	Acquisitions int
	MinRate      float64 // calls per second before and after the faults, or the run is void
	Writes       int     // per second, by all writers
	Seed         uint64
	Dir          string    // for traces; what a sound run has left there is removed
	Keep         bool      // also of a sound one
	Out          io.Writer // progress
}

// Report is what came of a run.
type Report struct {
	Migrations  int64 // of the sessions with watches
	Moves       int64 // of all sessions
	Connections int
	Renewed     int64 // sessions that had expired
	Faults      int64 // servers killed, stopped or restarted
	Calls       int
	Lost        int // calls that were sent and not answered
	NotSent     int
	Writes      int // transactions
	Events      int // out of channels
	Gaps        int
	Dropin      int64 // events of gozk's watches
	Single      int   // transactions that only one server has logged
	Recipes     Recipes
	Before      float64
	After       float64 // calls per second
	Void        []string
	Findings    []check.Finding
	Dir         string // of the traces; empty: none were kept
}

// Recipes counts what was done by recipes.
type Recipes struct {
	Acquired int // locks and terms
	Guarded  int // writes under them
	NotHeld  int // of these, that the servers or the hold refused
	Onces    int
	Resent   int // of these, that took more than one call
	Adds     int
	Unknown  int // Onces and Adds whose session expired
	Looks    int // leaders that observers were told of
}

// add counts what one client did.
func (r *Recipes) add(c *history.Recipes) {
	for _, h := range c.Holds {
		if h.To != 0 {
			r.Acquired++
		}
		r.Guarded += len(h.Guarded)
		for _, g := range h.Guarded {
			if g.Outcome == history.Refused {
				r.NotHeld++
			}
		}
	}
	for _, o := range c.Onces {
		if o.Sent > 1 {
			r.Resent++
		}
		if o.Outcome == history.Lost {
			r.Unknown++
		}
	}
	for _, a := range c.Adds {
		if a.Unknown {
			r.Unknown++
		}
	}
	r.Onces += len(c.Onces)
	r.Adds += len(c.Adds)
	r.Looks += len(c.Looks)
}

// Verdict returns the last line of a run, and the exit code: 0 if all is well,
// 1 if a rule was broken, 2 if the run shows nothing.
func (r *Report) Verdict() (string, int) {
	figures := fmt.Sprintf("%d migrations, %d server faults, %d events, %d lost, %d false, %d duplicate, %d reordered; %d acquisitions, %d overlaps, %d left over",
		r.Migrations, r.Faults, r.Events, r.Count(check.Lost), r.Count(check.False), r.Count(check.Duplicate), r.Count(check.Reordered),
		r.Recipes.Acquired, r.Count(check.Overlap), r.Count(check.LeftOver))
	switch {
	case len(r.Findings) > 0:
		return fmt.Sprintf("FAILED: %s, %d late, %d wrong, %d undecided; traces in %s",
			figures, r.Count(check.Late), r.Count(check.Wrong), r.Count(check.Undecided), r.Dir), 1
	case len(r.Void) > 0:
		return fmt.Sprintf("void: %s; %s; traces in %s", strings.Join(r.Void, "; "), figures, r.Dir), 2
	}
	return "ok: " + figures, 0
}

// Count returns how many findings are of a kind.
func (r *Report) Count(what string) int {
	n := 0
	for _, f := range r.Findings {
		if f.What == what {
			n++
		}
	}
	return n
}

// run is one run.
type run struct {
	conf    Config
	ens     *apache.Ensemble
	clock   history.Clock
	clients []*client
	ops     atomic.Int64 // calls that were answered
	struck  atomic.Int64 // servers that were broken
	over    atomic.Bool  // gozk's Conn is being closed
	dropin  *dropin
	// acquired counts locks and terms.
	acquired atomic.Int64

	mu            sync.Mutex // guards rng, voids, before and after while the run goes on
	rng           *rand.Rand
	voids         []string
	began         time.Time
	before, after float64
}

// fork gives another goroutine its random numbers.
func (r *run) fork() *rand.Rand {
	r.mu.Lock()
	defer r.mu.Unlock()
	return rand.New(rand.NewPCG(r.rng.Uint64(), r.rng.Uint64()))
}

// void notes why the run shows nothing.
func (r *run) void(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := fmt.Sprintf(format, args...); len(r.voids) < 5 {
		r.voids = append(r.voids, s)
	}
}

// note tells the reader something.
func (r *run) note(format string, args ...any) {
	if r.conf.Out != nil {
		fmt.Fprintf(r.conf.Out, "%7.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	}
}

const (
	warmUp   = 5 * time.Second // at most, at each end
	patience = time.Minute     // with what was asked for and has not come, beside twice the time
	grace    = 4 * time.Minute // for everything that is not the faults
)

// Run makes one run and judges it. An error says that it could not be made.
func Run(ctx context.Context, conf Config) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*conf.Duration+patience+grace)
	defer cancel()
	r := &run{conf: conf, rng: rand.New(rand.NewPCG(conf.Seed, 0x50a4)), began: time.Now()}
	ens, err := apache.Start(ctx, apache.Config{
		Release: conf.Release, Members: 3, HeapMB: 160, Dir: filepath.Join(conf.Dir, "servers"),
		Properties: map[string]string{
			// Every member gets all transactions one by one, so that its log has them all:
			// no snapshot takes their place.
			"zookeeper.commitLogCount":     "1000000",
			"zookeeper.snapshotSizeFactor": "1000000",
			"zookeeper.snapCount":          "100000000",
			"zookeeper.preAllocSize":       "1024",
		},
	})
	if err != nil {
		return nil, err
	}
	defer ens.Close()
	r.ens = ens
	r.note("three servers %s serve", ens.Release())
	if err := r.drive(ctx); err != nil {
		return nil, err
	}
	return r.judge(ctx)
}

// drive makes the load and the faults, and lets all come to rest.
func (r *run) drive(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer func() {
		end()
		for _, c := range r.clients {
			for _, p := range c.proxies {
				p.Close()
			}
		}
	}()
	keeper, err := r.newClient("keeper")
	if err != nil {
		return err
	}
	boss := keeper.newWriter()
	if err := r.connect(ctx, keeper); err != nil {
		return err
	}
	if err := boss.plant(ctx); err != nil {
		return err
	}

	settle, quiet, stop := make(chan struct{}), make(chan struct{}), make(chan struct{})
	own, disown := context.WithCancel(ctx)
	owning, release := context.WithCancel(ctx)
	defer disown()
	defer release()
	var keepers, owners, writers, others sync.WaitGroup
	var watchers []*client
	for i := range numWatchers {
		c, err := r.newClient(fmt.Sprintf("watcher-%d", i+1))
		if err != nil {
			return err
		}
		c.roomy = i%2 == 0
		watchers = append(watchers, c)
		var all []*owner
		for d := range numDirs {
			all = append(all, c.newOwner(dirPath(d), (d+i)%4, !c.roomy && d%10 == i))
		}
		if err := r.connect(ctx, c); err != nil {
			return err
		}
		keepers.Go(func() { c.keep(own) })
		for _, o := range all {
			owners.Go(func() { o.run(owning, settle) })
		}
	}
	everyone := append([]*client(nil), watchers...)
	for i := range numWriters + numCAS {
		name := fmt.Sprintf("writer-%d", i+1)
		if i >= numWriters {
			name = fmt.Sprintf("cas-%d", i+1-numWriters)
		}
		c, err := r.newClient(name)
		if err != nil {
			return err
		}
		if err := r.connect(ctx, c); err != nil {
			return err
		}
		w := c.newWriter()
		every, step := time.Second*numWriters/time.Duration(r.conf.Writes), w.change
		if i >= numWriters {
			every, step = 2*every, w.cas
		}
		writers.Go(func() { w.run(ctx, quiet, every, step) })
		everyone = append(everyone, c)
	}
	partners, err := r.newPartners(ctx)
	if err != nil {
		return err
	}
	observed, look := context.WithCancel(ctx)
	defer look()
	var observers sync.WaitGroup
	working, give := context.WithCancel(ctx) // up on locks that somebody has left over
	defer give()
	for i, p := range partners {
		p.start(working, observed, quiet, &writers, &observers, i == 0)
	}

	if r.dropin, err = r.newDropin(); err != nil {
		return err
	}
	defer r.dropin.close()

	// Calm, then faults, then calm again.
	calm := max(min(r.conf.Duration/10, warmUp), time.Second)
	pause(ctx, calm, calm+1) // the watches are armed by then
	before := r.rate(ctx, calm)
	r.note("%.0f calls/s before the faults", before)
	begin := time.Now()
	failed := make(chan error, 1)
	others.Go(func() {
		if err := r.faults(ctx, stop, begin); err != nil {
			failed <- err
		}
	})
	rng := r.fork()
	others.Go(func() { r.dropin.strike(ctx, stop, rng) })
	others.Go(func() { r.redial(ctx, stop, begin, watchers, everyone, partners) })
	others.Go(func() { r.outages(ctx, stop, partners) })
	err = r.wait(ctx, begin, watchers, failed)
	close(stop)
	others.Wait()
	if err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
	}
	for _, c := range r.clients {
		for _, p := range c.proxies {
			p.Heal()
		}
	}
	r.dropin.each((*zktest.Proxy).Heal)
	if err := r.mend(ctx); err != nil {
		return err
	}
	pause(ctx, calm/2, calm/2+1)
	after := r.rate(ctx, calm)
	r.note("%.0f calls/s after the faults", after)
	r.mu.Lock()
	r.before, r.after = before, after
	r.mu.Unlock()
	close(quiet)
	patient := time.AfterFunc(10*sessionTimeout, give)
	writers.Wait()
	patient.Stop()
	if err := r.settle(ctx, partners); err != nil {
		return err
	}
	look()
	observers.Wait()
	r.note("every watch must fire once more")

	// Every watch must fire once more.
	if err := boss.stir(ctx); err != nil {
		return err
	}
	close(settle)
	for _, c := range watchers {
		if err := c.drain(ctx); err != nil {
			return err
		}
	}
	if err := r.dropin.settle(ctx, boss); err != nil {
		return err
	}
	r.note("all is delivered")
	release()
	owners.Wait()
	disown()
	keepers.Wait()
	for _, c := range r.clients {
		if s, _ := c.current(); s != nil {
			s.Close()
		}
	}
	boss.end()
	return ctx.Err()
}

// connect makes the first Session of a client.
func (r *run) connect(ctx context.Context, c *client) error {
	s, err := zk.Dial(ctx, c.conf)
	if err != nil {
		return err
	}
	c.adopt(s)
	c.conf = s.Config()
	return nil
}

// rate measures calls per second.
func (r *run) rate(ctx context.Context, d time.Duration) float64 {
	from, start := r.ops.Load(), time.Now()
	pause(ctx, d, d+1)
	return float64(r.ops.Load()-from) / time.Since(start).Seconds()
}

// wait returns when the time is over and everything that was asked for has happened.
func (r *run) wait(ctx context.Context, begin time.Time, watchers []*client, failed <-chan error) error {
	tell := time.NewTicker(max(min(r.conf.Duration/10, 30*time.Second), 5*time.Second))
	defer tell.Stop()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		moves := count(watchers)
		switch {
		case time.Since(begin) < r.conf.Duration:
		case time.Since(begin) > 2*r.conf.Duration+patience:
			r.void("after %v there were %d of %d migrations, %d of %d server faults and %d of %d acquisitions", time.Since(begin).Round(time.Second),
				moves, r.conf.Migrations, r.struck.Load(), r.conf.Faults, r.acquired.Load(), r.conf.Acquisitions)
			return nil
		case moves >= int64(r.conf.Migrations) && r.struck.Load() >= int64(r.conf.Faults) && r.acquired.Load() >= int64(r.conf.Acquisitions):
			return nil
		}
		select {
		case <-look.C:
		case <-tell.C:
			r.note("%d migrations, %d server faults, %d calls answered, %d locks and terms acquired", moves, r.struck.Load(), r.ops.Load(), r.acquired.Load())
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func count(clients []*client) (moves int64) {
	for _, c := range clients {
		moves += c.moves.Load()
	}
	return moves
}

// redial forces migrations at a steady rate: mostly of those who watch.
func (r *run) redial(ctx context.Context, stop <-chan struct{}, begin time.Time, watchers, all []*client, partners []*partner) {
	rng := r.fork()
	var strikes sync.WaitGroup
	defer strikes.Wait()
	for !isClosed(stop) && ctx.Err() == nil {
		want := time.Since(begin).Seconds() * 5
		if r.conf.Migrations > 0 {
			want = time.Since(begin).Seconds() / (0.95 * r.conf.Duration.Seconds()) * float64(r.conf.Migrations)
		}
		if float64(count(watchers)) >= want {
			pause(ctx, time.Millisecond, 5*time.Millisecond)
			continue
		}
		c := watchers[rng.IntN(len(watchers))]
		switch rng.IntN(40) {
		case 0, 1:
			c = all[rng.IntN(len(all))]
		case 2: // not so often that nobody gets his turn: who holds a lock keeps all others waiting
			c = partners[rng.IntN(len(partners))].client
		}
		own := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
		strikes.Go(func() { c.strike(ctx, own) })
		pause(ctx, time.Millisecond, 10*time.Millisecond)
	}
}

// plant makes the tree.
func (w *writer) plant(ctx context.Context) error {
	s, _ := w.c.current()
	create := func(path string) history.Write {
		return history.Write{Op: wire.OpCreate, Path: path, Value: w.value()}
	}
	lists := [][]history.Write{{create(root)}, nil, nil}
	for i := range casNodes {
		lists[1] = append(lists[1], create(casPath(i)))
	}
	for i := range numDirs {
		lists[1] = append(lists[1], create(dirPath(i)))
		for j := range numLeaves {
			lists[2] = append(lists[2], create(leaf(dirPath(i), j)))
		}
	}
	for _, list := range lists {
		if _, err := w.write(ctx, s, list...); err != nil {
			return fmt.Errorf("make the tree: %w", err)
		}
	}
	return nil
}

// stir changes every znode once more: its data, whether it is there, and its
// directory's children.
func (w *writer) stir(ctx context.Context) error {
	s, _ := w.c.current()
	must := func(x history.Write) error {
		for {
			_, err := w.write(ctx, s, x)
			if !dead(err) {
				return err
			}
			if s, err = w.c.successor(ctx, s); err != nil {
				return err
			}
			if x.Value != "" {
				x.Value = w.value()
			}
		}
	}
	for i := range numDirs {
		dir := dirPath(i)
		if err := must(history.Write{Op: wire.OpSetData, Path: dir, Value: w.value(), Version: zk.AnyVersion}); err != nil {
			return err
		}
		for j := range numLeaves {
			path := leaf(dir, j)
			err := must(history.Write{Op: wire.OpDelete, Path: path, Version: zk.AnyVersion})
			if err != nil && !errors.Is(err, zk.ErrNoNode) {
				return err
			}
			err = must(history.Write{Op: wire.OpCreate, Path: path, Value: w.value()})
			if err != nil && !errors.Is(err, zk.ErrExists) {
				return err
			}
		}
	}
	return nil
}

// drain waits until everything that has happened is delivered. It gives up on
// events that stay undelivered, which the checkers then miss.
func (c *client) drain(ctx context.Context) error {
	w := c.newWorker()
	defer w.end()
	limit := time.Now().Add(patience)
	for {
		s, _ := c.current()
		if err := s.Sync(ctx, root); err == nil {
			if _, err := w.exists(ctx, s, root, -1); err == nil {
				for s.Config().Watches.Undelivered() > 0 && ctx.Err() == nil {
					if time.Now().After(limit) {
						c.run.note("%s: %d events stay undelivered", c.name, s.Config().Watches.Undelivered())
						return nil
					}
					pause(ctx, time.Millisecond, 5*time.Millisecond)
				}
				if !ended(s) {
					return nil
				}
			}
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: no server answers: %w", c.name, err)
		}
		pause(ctx, 20*time.Millisecond, 60*time.Millisecond)
	}
}

// tooSlow says why a run at these rates shows nothing.
func tooSlow(least, before, after float64) (why []string) {
	if before < least {
		why = append(why, fmt.Sprintf("%.0f calls/s before the faults, and %.0f is the least", before, least))
	}
	if after < least {
		why = append(why, fmt.Sprintf("%.0f calls/s after the faults, and %.0f is the least", after, least))
	}
	return why
}

// judge reads the servers' logs and checks everything.
func (r *run) judge(ctx context.Context) (*Report, error) {
	for i := range r.ens.Len() {
		if err := r.ens.Member(i).Stop(); err != nil {
			return nil, err
		}
	}
	logs, errs := make([][]apache.Txn, r.ens.Len()), make([]error, r.ens.Len())
	var all sync.WaitGroup
	for i := range logs { // a file for every start of a server, and a Java for every file
		all.Go(func() { logs[i], errs[i] = r.ens.Member(i).Txns(ctx) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	truth, err := history.NewTruth(logs...)
	if err != nil {
		return nil, fmt.Errorf("the servers' logs: %w", err)
	}
	rep := &Report{Faults: r.struck.Load(), Writes: len(truth.Txns), Single: len(truth.Single), Before: r.before, After: r.after, Void: r.voids}
	var clients []*history.Client
	for _, c := range r.clients {
		h := c.history()
		clients = append(clients, h)
		rep.Moves += c.moves.Load()
		if len(c.chans) > 0 {
			rep.Migrations += c.moves.Load()
		}
		rep.Renewed += c.renewed.Load()
		rep.Connections += len(h.Conns)
		rep.Calls += len(h.Calls)
		if h.Recipes != nil {
			rep.Recipes.add(h.Recipes)
		}
		for i := range h.Calls {
			switch h.Calls[i].Outcome {
			case history.Lost:
				rep.Lost++
			case history.NotSent:
				rep.NotSent++
			}
		}
		for i := range h.Chans {
			for _, e := range h.Chans[i].Recv {
				if e.Type == zk.Gap {
					rep.Gaps++
				} else {
					rep.Events++
				}
			}
		}
	}
	rep.Dropin = r.dropin.events.Load()
	rep.Void = append(rep.Void, tooSlow(r.conf.MinRate, r.before, r.after)...)
	r.note("%d transactions, %d calls and %d events to check", rep.Writes, rep.Calls, rep.Events)
	rep.Findings = append(check.All(truth, clients), r.dropin.findings...)
	r.note("checked")
	rep.Dir = r.conf.Dir
	if len(rep.Findings) == 0 && len(rep.Void) == 0 && !r.conf.Keep {
		rep.Dir = ""
		return rep, errors.Join(r.ens.Close(), os.RemoveAll(r.conf.Dir))
	}
	return rep, writeTraces(r.conf.Dir, truth, clients, rep.Findings)
}
