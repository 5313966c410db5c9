package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// This file is the part to copy: the loop of one owner, which dials, and the
// loop of many goroutines, which share a session and redial it together.

// own keeps a session over as many connections as it takes. It hands each of
// them to work, which returns nil when all is done, or else why it cannot go on.
func own(ctx context.Context, conf zk.Config, work func(context.Context, *zk.Session) error) error {
	for ctx.Err() == nil {
		s, err := zk.Dial(ctx, conf)
		switch {
		case errors.Is(err, zk.ErrExpired): // same watches, a new session; ephemerals must be created again
			conf = conf.Renew()
			continue
		case errors.Is(err, zk.ErrNoServer): // nobody reachable: the same config, a little later
			slog.Warn("retrying", "err", err) // it names each server with its reason
			backoff(ctx)
			continue
		case err != nil: // a bad config, refused credentials: the next time would be no better
			return err
		}
		err = work(ctx, s)
		if !errors.Is(err, zk.ErrConnection) || zk.Hopeless(err) {
			s.Close() // the session ends, and its ephemerals go; where that fails it expires by itself
			return err
		}
		conf = s.Detach() // dead or alive: same session, same watches, for the next connection
	}
	return ctx.Err()
}

// dial begins a session as soon as one of the servers gives one.
func dial(ctx context.Context, conf zk.Config) (*zk.Session, error) {
	for {
		s, err := zk.Dial(ctx, conf)
		if !errors.Is(err, zk.ErrNoServer) {
			return s, err
		}
		backoff(ctx)
		if ctx.Err() != nil {
			return nil, err // it names the servers, and what each of them said
		}
	}
}

// successor returns the Session that follows s. Any number of goroutines may
// ask: all get the same one, and only one connection is made.
func successor(ctx context.Context, s *zk.Session) (*zk.Session, error) {
	for {
		next, err := s.Redial(ctx)
		if errors.Is(err, zk.ErrExpired) {
			next, err = s.Renew(ctx)
		}
		switch {
		case err == nil:
			return next, nil
		case errors.Is(err, zk.ErrNoServer) && ctx.Err() == nil:
			slog.Warn("retrying", "err", err)
			backoff(ctx)
		default:
			return nil, err
		}
	}
}

// repeat does what does no harm when it is done twice, such as a read, until it
// is answered. It returns the Session to go on with.
func repeat(ctx context.Context, s *zk.Session, op func(*zk.Session) error) (*zk.Session, error) {
	for {
		err := op(s)
		if zk.Hopeless(err) || !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
			return s, err
		}
		if s, err = successor(ctx, s); err != nil {
			return nil, err
		}
	}
}

// backoff waits a moment, not the same one for all clients of a server.
func backoff(ctx context.Context) {
	select {
	case <-time.After(50*time.Millisecond + rand.N(100*time.Millisecond)):
	case <-ctx.Done():
	}
}

// watcher is a job for own: it keeps a watch on every node and reads a node
// again when its watch has fired.
type watcher struct {
	root      string
	ephemeral string
	nodes     []string
	events    chan zk.Event // room for one event per watch: then no event ever has to wait
	unread    []string      // nodes without a watch; all of them in the beginning
	ledger    *ledger
	finish    chan struct{}
}

func (w *watcher) work(ctx context.Context, s *zk.Session) error {
	// The last event of the old connection may have told of a change that this
	// server has not heard of yet. Sync waits until it has.
	if err := s.Sync(ctx, w.root); err != nil {
		return err
	}
	if err := w.stand(ctx, s); err != nil {
		return err
	}
	if err := w.audit(ctx, s); err != nil {
		return err
	}
	for {
		for len(w.unread) > 0 {
			path := w.unread[0]
			_, stat, err := s.Get(ctx, path, w.events)
			if err != nil {
				return err // no watch was armed: the node stays unread
			}
			w.unread = w.unread[1:]
			w.ledger.read(path, stat.Version)
		}
		select {
		case ev := <-w.events:
			w.fired(ev)
		case <-s.Done():
			return s.Err()
		case <-w.finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *watcher) fired(ev zk.Event) {
	w.ledger.event(ev)
	w.unread = append(w.unread, ev.Path)
}

// audit is not needed to watch nodes. It proves that the new connection has
// brought all events that were missed: no answer comes before the events that
// precede it, so a node that is found changed must have told so by now.
func (w *watcher) audit(ctx context.Context, s *zk.Session) error {
	var ops []zk.Op
	for _, path := range w.nodes {
		ops = append(ops, zk.ExistsOp{Path: path})
	}
	found, err := s.Batch(ctx, ops...)
	if err != nil {
		return err
	}
	for len(w.events) > 0 {
		w.fired(<-w.events)
	}
	for i, path := range w.nodes {
		w.ledger.found(path, found[i].Stat.Version)
	}
	return nil
}

// stand sees to it that the ephemeral node is there and this session's.
func (w *watcher) stand(ctx context.Context, s *zk.Session) error {
	_, err := s.Create(ctx, w.ephemeral, nil, zk.Ephemeral, zk.ACLOpen)
	if !errors.Is(err, zk.ErrExists) {
		return err
	}
	// It moved here with the session, or a Create whose answer was lost was done
	// after all. Its owner tells whether it is ours or that of an older session.
	found, stat, err := s.Exists(ctx, w.ephemeral, nil)
	if err == nil && found && stat.EphemeralOwner != s.ID() {
		err = fmt.Errorf("%s belongs to session 0x%x", w.ephemeral, uint64(stat.EphemeralOwner))
	}
	return err
}

// counter raises a number by versioned sets. Nobody else does, so the version
// tells how often it was raised.
type counter struct {
	path         string
	acknowledged atomic.Int64 // increments that are known to have been done
	resolved     atomic.Int64 // those of them, and those not done, that took a look to know
}

// run counts until finish is closed. It shares its session with other
// goroutines: s may be dead, or redialed by one of them, at any moment.
func (c *counter) run(ctx context.Context, s *zk.Session, finish <-chan struct{}) error {
	for version := int32(0); !closed(finish); {
		_, err := s.Set(ctx, c.path, strconv.AppendInt(nil, int64(version)+1, 10), version)
		switch {
		case err == nil:
			version++
			c.acknowledged.Add(1)
		case zk.Hopeless(err):
			return err
		case errors.Is(err, zk.ErrLost): // sent, unanswered: look before repeating
			if s, err = successor(ctx, s); err != nil {
				return err
			}
			var stat zk.Stat
			if s, err = repeat(ctx, s, func(s *zk.Session) error {
				// The set may have been done, and be on its way to this server.
				if err := s.Sync(ctx, c.path); err != nil {
					return err
				}
				_, stat, err = s.Get(ctx, c.path, nil)
				return err
			}); err != nil {
				return err
			}
			c.resolved.Add(1)
			if stat.Version == version+1 {
				version++
				c.acknowledged.Add(1)
			}
		case errors.Is(err, zk.ErrConnection), errors.Is(err, zk.ErrMoved): // not done: the same again
			if s, err = successor(ctx, s); err != nil {
				return err
			}
		default: // the server's answer is no
			return err
		}
		pause(finish)
	}
	return nil
}

// write changes nodes all the time, a few in each transaction: a connection
// may be cut between their events. The same data twice does no harm, so it does
// not matter which changes were made before the connection was lost.
func write(ctx context.Context, s *zk.Session, nodes []string, finish <-chan struct{}) error {
	for n := 1; !closed(finish); n++ {
		var ops []zk.WriteOp
		for range 1 + rand.N(5) {
			path := nodes[rand.N(len(nodes))]
			ops = append(ops, zk.SetOp{Path: path, Data: strconv.AppendInt(nil, int64(n), 10), Version: zk.AnyVersion})
		}
		var err error
		if s, err = repeat(ctx, s, func(s *zk.Session) error {
			_, err := s.Multi(ctx, ops...)
			return err
		}); err != nil {
			return err
		}
		pause(finish)
	}
	return nil
}

// pause keeps an example from using up a server that others need too.
func pause(finish <-chan struct{}) {
	select {
	case <-time.After(time.Millisecond):
	case <-finish:
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
