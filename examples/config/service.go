package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
)

// service is the application. Its configuration can be read at any time, also
// while no server can be reached: it is then the last that was seen.
type service struct {
	out         io.Writer
	config      tree.Cache
	changes     int
	connections int
	torn        int

	mu      sync.Mutex  // guards session
	session *zk.Session // the last; for those who break things
}

func newService(out io.Writer, root string) *service {
	v := &service{out: out}
	v.config.Root = root
	v.config.OnChange = v.changed
	return v
}

// changed prints what differs from the state before. What the cache shows now
// is the subtree at one zxid: no transaction is seen in half.
func (v *service) changed(changes []tree.Change) {
	v.changes++
	fmt.Fprintf(v.out, "at 0x%x\n", v.config.Zxid())
	for _, c := range changes {
		switch {
		case c.Before == nil:
			fmt.Fprintf(v.out, "  + %s %q\n", c.Path, c.After.Data)
		case c.After == nil:
			fmt.Fprintf(v.out, "  - %s\n", c.Path)
		case c.Before.Stat.Mzxid != c.After.Stat.Mzxid:
			fmt.Fprintf(v.out, "    %s %q, was %q\n", c.Path, c.After.Data, c.Before.Data)
		}
	}
	// The user and the password below it are always changed by one Multi.
	v.config.View(func(w tree.View) {
		user, ok1 := w.Get(v.config.Root + "/db/user")
		password, ok2 := w.Get(v.config.Root + "/db/password")
		if ok1 != ok2 || string(user.Data) != string(password.Data) {
			v.torn++
		}
	})
}

// keep keeps the configuration over as many connections as it takes.
func (v *service) keep(ctx context.Context, conf zk.Config) error {
	defer v.config.Close()
	for ctx.Err() == nil {
		s, err := zk.Dial(ctx, conf)
		switch {
		case errors.Is(err, zk.ErrExpired): // same watches, a new session
			conf = conf.Renew()
			continue
		case errors.Is(err, zk.ErrNoServer): // nobody reachable: the same config, a little later
			pause(ctx)
			continue
		case err != nil: // a bad config, refused credentials: the next time would be no better
			return err
		}
		v.connections++
		v.mu.Lock()
		v.session = s
		v.mu.Unlock()
		err = v.config.Run(ctx, s) // until the Session ends
		if !errors.Is(err, zk.ErrConnection) || zk.Hopeless(err) {
			s.Close()
			return err
		}
		conf = s.Detach() // same session, same watches, for the next connection
	}
	return ctx.Err()
}

// pause waits for about half a second.
func pause(ctx context.Context) {
	select {
	case <-time.After(250*time.Millisecond + rand.N(500*time.Millisecond)):
	case <-ctx.Done():
	}
}
