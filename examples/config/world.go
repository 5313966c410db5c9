package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

// This file is the world around the service, where the servers are in this
// process: somebody who changes the configuration, and what breaks.

// operate changes the configuration all the time.
func operate(ctx context.Context, conf zk.Config, root string) {
	s, err := zk.Dial(ctx, conf)
	if err != nil {
		return
	}
	defer func() { s.Close() }()
	for i := 1; ctx.Err() == nil; i++ {
		secret := fmt.Append(nil, "secret ", i)
		_, err := s.Multi(ctx,
			zk.SetOp{Path: root + "/db/user", Data: secret, Version: zk.AnyVersion},
			zk.SetOp{Path: root + "/db/password", Data: secret, Version: zk.AnyVersion})
		if err != nil { // not there yet, or the connection has gone
			if s.Err() != nil {
				if next, err := s.Redial(ctx); err == nil {
					s = next
				}
			} else if err := tree.MkdirAll(ctx, s, root+"/db", nil); err == nil {
				s.Multi(ctx,
					zk.CreateOp{Path: root + "/db/user", ACL: zk.ACLOpen},
					zk.CreateOp{Path: root + "/db/password", ACL: zk.ACLOpen})
			}
		}
		if i%5 == 0 {
			tree.Put(ctx, s, fmt.Sprintf("%s/feature-%d", root, i%3), fmt.Append(nil, i), nil)
		}
		if i%7 == 0 {
			tree.DeleteAll(ctx, s, fmt.Sprintf("%s/feature-%d", root, rand.IntN(3)))
		}
		wait(ctx, rand.N(300*time.Millisecond))
	}
}

// breakThings cuts connections, restarts servers and expires the session.
func breakThings(ctx context.Context, e *zktest.Ensemble, v *service) {
	for i := 0; ctx.Err() == nil; i++ {
		wait(ctx, 200*time.Millisecond+rand.N(300*time.Millisecond))
		v.mu.Lock()
		s := v.session
		v.mu.Unlock()
		switch {
		case s == nil:
		case i%7 == 3:
			e.Expire(s.ID())
		case i%3 == 2:
			e.Member(rand.IntN(3)).Restart()
		default:
			e.Cut(s.ID())
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
