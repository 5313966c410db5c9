package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
)

// This file is the part to copy: a worker that takes turns with others under a
// lock, over lost connections, expiries, and its own death.

// worker is one process of those that take turns.
type worker struct {
	number int
	root   string
	out    io.Writer
}

// run takes turns until ctx ends.
func (w *worker) run(ctx context.Context, conf zk.Config) error {
	lock := &recipe.Lock{Path: w.root + "/lock", Data: fmt.Appendf(nil, "worker %d, process %d", w.number, os.Getpid())}
	var held *recipe.Hold
	err := recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) (err error) {
		for err == nil {
			if held != nil && held.Err() != nil {
				held.Release() // it was lost: only now may the next one have it, if the session lives
				held = nil
			}
			if held == nil {
				if held, err = lock.Acquire(ctx, s); err != nil {
					return err // Run redials, and Acquire goes on in its place
				}
				fmt.Fprintf(w.out, "holds, token 0x%x\n", held.Token())
			}
			err = w.turn(ctx, s, held)
		}
		return err
	})
	if held != nil {
		held.Release()
	}
	return err
}

// turn writes a few lines into the ledger and gives the lock back.
func (w *worker) turn(ctx context.Context, s *zk.Session, held *recipe.Hold) error {
	for range linesPerTurn {
		line := fmt.Appendf(nil, "%d %d", held.Token(), w.number)
		_, err := held.Multi(ctx, s, zk.CreateOp{Path: w.root + "/ledger/line-", Data: line, Mode: zk.PersistentSequential, ACL: zk.ACLOpen})
		if errors.Is(err, recipe.ErrNotHeld) {
			fmt.Fprintf(w.out, "refused, token 0x%x: %v\n", held.Token(), err)
			return nil
		}
		if err != nil {
			return err // the lock is held on; what a lost answer did does not matter to a ledger of tokens
		}
		select {
		case <-time.After(linePause): // a worker that is stopped here does not see what happens meanwhile
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := held.Release(); err != nil && !errors.Is(err, recipe.ErrNotHeld) {
		return err
	}
	return nil
}
