package zk

import (
	"context"
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// used are the Sessions that the loop of doc.go hands on.
type used chan *root.Session

func (u used) Use(s *root.Session) { u <- s }

// The loop of doc.go keeps a session over a lost connection, begins another one when it has
// expired, and closes the last one. internal/house compares the two texts.
func TestDocLoop(t *testing.T) {
	ensemble := zktest.NewServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	hosts := new(SimpleDNSHostProvider)
	assert.NilError(t, hosts.Init(ensemble.Addrs()))
	const timeout = 10 * time.Second
	pause := func(context.Context) {}
	calls := make(used)
	over := make(chan struct{})
	go func() {
		defer close(over)
		var state root.State // of the session: what it watches, and how much it has seen
		for ctx.Err() == nil {
			server, around := hosts.Next() // one address for each Dial
			if around {
				pause(ctx) // and the calls that wait fail with ErrNoServer
			}
			s, err := root.Dial(ctx, root.Config{Addrs: []string{server}, Timeout: timeout, State: state})
			switch {
			case errors.Is(err, root.ErrExpired):
				state = root.State{} // a new session; WithRenew keeps the watches
				continue
			case err != nil:
				continue
			}
			hosts.Connected()
			calls.Use(s) // until it is over
			select {
			case <-s.Done():
			case <-ctx.Done():
				s.Close()
			}
			state = s.Config().State // the same session, the same watches, no event missing
		}
	}()

	s := <-calls
	changed := make(chan root.Event, 1)
	_, err := s.Create(ctx, "/a", nil, root.Persistent, root.ACLOpen)
	assert.NilError(t, err)
	_, _, err = s.Get(ctx, "/a", changed)
	assert.NilError(t, err)
	ensemble.Cut(s.ID())
	next := <-calls
	assert.Equal(t, next.ID(), s.ID())
	_, err = next.Set(ctx, "/a", nil, root.AnyVersion)
	assert.NilError(t, err)
	assert.Equal(t, len(changed), 1)
	ensemble.Expire(next.ID())
	last := <-calls
	assert.Assert(t, last.ID() != s.ID() && last.Watches().Len() == 0)
	cancel()
	<-over
	assert.ErrorIs(t, last.Err(), root.ErrClosed)
}
