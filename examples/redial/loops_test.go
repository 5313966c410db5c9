package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Some calls end every connection that they are made on. The loops tell so,
// and do not redial without end.
func TestHopeless(t *testing.T) {
	for _, c := range []struct {
		name string
		opts zktest.Options
		conf zk.Config
		want error
		op   func(context.Context, *zk.Session) error
	}{
		{"operation unknown", zktest.Options{Version: zktest.V34}, zk.Config{}, zk.ErrUnimplemented, func(ctx context.Context, s *zk.Session) error {
			_, _, err := s.CreateStat(ctx, "/a", nil, zk.Persistent, zk.ACLOpen)
			return err
		}},
		{"reply too large", zktest.Options{}, zk.Config{MaxReply: 100}, zk.ErrTooLarge, func(ctx context.Context, s *zk.Session) error {
			_, _, err := s.Get(ctx, "/large", nil)
			return err
		}},
		{"credentials refused", zktest.Options{}, zk.Config{}, zk.ErrAuth, func(ctx context.Context, s *zk.Session) error {
			return s.AddAuth(ctx, zk.Auth{Scheme: "none"})
		}},
		{"SASL required", zktest.Options{SASL: map[string]string{"bob": "secret"}, RequireSASL: true}, zk.Config{}, zk.ErrSASLRequired, func(ctx context.Context, s *zk.Session) error {
			_, _, err := s.Get(ctx, "/", nil)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := zktest.NewServer(t, c.opts)
			if !c.opts.RequireSASL {
				other, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
				assert.NilError(t, err)
				defer other.Close()
				_, err = other.Create(t.Context(), "/large", make([]byte, 200), zk.Persistent, zk.ACLOpen)
				assert.NilError(t, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			conf := c.conf
			conf.Addrs = server.Addrs()
			calls := 0
			op := func(s *zk.Session) error {
				if calls++; calls == 100 {
					cancel()
				}
				err := c.op(ctx, s)
				assert.Check(t, ctx.Err() != nil || errors.Is(err, zk.ErrConnection), "%v ends no connection", err)
				return err
			}
			err := own(ctx, conf, func(_ context.Context, s *zk.Session) error { return op(s) })
			assert.ErrorIs(t, err, c.want)
			assert.Equal(t, calls, 1)

			s, err := dial(ctx, conf)
			assert.NilError(t, err)
			defer s.Close()
			_, err = repeat(ctx, s, op)
			assert.ErrorIs(t, err, c.want)
			assert.Equal(t, calls, 2)
		})
	}
}

// A call that another one's answer takes along is no reason to give up, though
// its error tells of that answer.
func TestHopelessOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.NewEnsemble(t, 1, zktest.Options{Version: zktest.V34, InMemory: true})
		s, err := dial(t.Context(), zk.Config{Addrs: e.Addrs(), DialContext: e.DialContext})
		assert.NilError(t, err)
		var cause error
		read := func(s *zk.Session) error {
			_, _, err := s.Get(t.Context(), "/", nil)
			if err != nil {
				cause = err
			}
			return err
		}
		e.Fault(zktest.Rule{Op: wire.OpCreate2, Delay: time.Second}) // what is sent behind it waits too
		answer, got := make(chan error, 1), make(chan *zk.Session, 1)
		create := func(s *zk.Session) {
			_, _, err := s.CreateStat(t.Context(), "/a", nil, zk.Persistent, zk.ACLOpen)
			answer <- err
		}
		again := func(s *zk.Session) {
			next, err := repeat(t.Context(), s, read)
			assert.Check(t, err == nil && next != s, "%v", err)
			got <- next
		}
		go create(s)
		synctest.Wait()
		go again(s)
		assert.ErrorIs(t, <-answer, zk.ErrUnimplemented)
		next := <-got
		assert.ErrorIs(t, cause, zk.ErrLost)
		assert.ErrorIs(t, cause, zk.ErrUnimplemented)

		create(next) // and a call that finds the connection gone
		assert.ErrorIs(t, <-answer, zk.ErrUnimplemented)
		<-next.Done()
		again(next)
		next = <-got
		assert.ErrorIs(t, cause, zk.ErrNotSent)
		assert.ErrorIs(t, cause, zk.ErrUnimplemented)
		assert.NilError(t, next.Close())
	})
}
