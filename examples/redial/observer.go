package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// observer looks at the others' work through a session of its own, which nobody
// cuts: it makes the nodes, watches the ephemeral one, reads what the others
// should have seen, and cleans up.
type observer struct {
	s       *zk.Session
	root    string
	born    zk.Stat       // of the ephemeral
	stirred chan zk.Event // its watch; nothing ever comes, or it was away
}

func newObserver(ctx context.Context, conf zk.Config) (*observer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := dial(ctx, conf)
	return &observer{s: s, root: fmt.Sprintf("/redial-%08x", rand.Uint32())}, err
}

// call is repeat on the observer's session.
func (o *observer) call(ctx context.Context, op func(*zk.Session) error) error {
	s, err := repeat(ctx, o.s, op)
	if s != nil {
		o.s = s
	}
	return err
}

// prepare makes the nodes. A Batch does it on every server: those of 3.4 create
// nothing in a Multi.
func (o *observer) prepare(ctx context.Context) (nodes []string, err error) {
	ops := []zk.Op{
		zk.CreateOp{Path: o.root, ACL: zk.ACLOpen},
		zk.CreateOp{Path: o.root + "/counter", Data: []byte("0"), ACL: zk.ACLOpen},
	}
	for i := range numNodes {
		path := fmt.Sprintf("%s/node-%02d", o.root, i)
		nodes = append(nodes, path)
		ops = append(ops, zk.CreateOp{Path: path, Data: []byte("0"), ACL: zk.ACLOpen})
	}
	return nodes, o.call(ctx, func(s *zk.Session) error {
		res, err := s.Batch(ctx, ops...)
		for _, r := range res {
			if err = r.Err; err != nil && !errors.Is(err, zk.ErrExists) { // made by a Batch before that was lost: nobody else has this root
				return err
			}
			err = nil
		}
		return err
	})
}

// observe waits for the ephemeral node and puts a watch on it.
func (o *observer) observe(ctx context.Context, path string) error {
	created := make(chan zk.Event, 1)
	o.stirred = make(chan zk.Event, 1)
	for {
		found, watch := false, created
		err := o.call(ctx, func(s *zk.Session) error {
			// Exists watches a node that is missing, too: then for its creation.
			var err error
			found, o.born, err = s.Exists(ctx, path, watch)
			return err
		})
		if err != nil {
			return err
		}
		if found {
			break
		}
		select {
		case <-created:
		case <-o.s.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return o.call(ctx, func(s *zk.Session) error {
		_, _, err := s.Get(ctx, path, o.stirred)
		return err
	})
}

// settle reads how things ended, and waits until the watcher has seen it too.
func (o *observer) settle(ctx context.Context, nodes []string, w *watcher) (*outcome, error) {
	ops := []zk.Op{zk.GetOp{Path: o.root + "/counter"}, zk.ExistsOp{Path: w.ephemeral}}
	for _, path := range nodes {
		ops = append(ops, zk.GetOp{Path: path})
	}
	var res []zk.Result
	err := o.call(ctx, func(s *zk.Session) error {
		if err := s.Sync(ctx, o.root); err != nil {
			return err
		}
		var err error
		res, err = s.Batch(ctx, ops...)
		return err
	})
	if err != nil && !errors.Is(err, zk.ErrNoNode) { // of the ephemeral: check tells
		return nil, err
	}
	end := &outcome{
		stored: string(res[0].Data), storedVer: res[0].Stat.Version,
		born: o.born, last: res[1].Stat, found: res[1].Err == nil,
	}
	last := make(map[string]int32, len(nodes))
	for i, path := range nodes {
		last[path] = res[2+i].Stat.Version
	}
	for late := time.Now().Add(grace / 2); ; time.Sleep(10 * time.Millisecond) {
		if end.lost = w.ledger.behind(last); len(end.lost) == 0 || time.Now().After(late) || ctx.Err() != nil {
			break
		}
	}
	time.Sleep(quiet) // what comes now is a duplicate
	for len(o.stirred) > 0 {
		end.stirred = append(end.stirred, <-o.stirred)
	}
	return end, ctx.Err()
}

// clean deletes the nodes, whatever has happened.
func (o *observer) clean() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := o.call(ctx, func(s *zk.Session) error {
		names, _, err := s.Children(ctx, o.root, nil)
		if err != nil {
			return err
		}
		var ops []zk.Op
		for _, name := range names {
			ops = append(ops, zk.DeleteOp{Path: o.root + "/" + name, Version: zk.AnyVersion})
		}
		_, err = s.Batch(ctx, append(ops, zk.DeleteOp{Path: o.root, Version: zk.AnyVersion})...)
		return err
	})
	o.s.Close()
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return fmt.Errorf("%s is left behind: %w", o.root, err)
	}
	return nil
}
