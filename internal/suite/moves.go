package suite

import (
	"context"
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
)

// EverythingMoves makes each number above zero that anybody may count of a Session's
// life, in a bubble. attach is for the Config; look is called when what goes up and down is
// up, and once more at the end, when the counters are.
func EverythingMoves(t *testing.T, attach func(conf *zk.Config), look func()) {
	InBubble(t, 1, func(t *testing.T, e *Env) {
		conf, l := e.Config()
		conf.Timeout = 12 * time.Second
		attach(&conf)
		l.Fail(errors.New("no route"))
		_, err := zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		l.Fail(nil)
		s := e.Dial(conf)
		other := e.Session()
		e.Create(s, "/a", "")
		e.Create(s, "/p", "")
		_, _, err = s.Get(e.Ctx, "/none", nil)
		assert.ErrorIs(t, err, zk.ErrNoNode)

		room, full, closed := make(chan zk.Event, 9), make(chan zk.Event), make(chan zk.Event)
		e.Watch(s, "/a", room)
		assert.NilError(t, s.RemoveWatch(e.Ctx, "/a", room)) // the server has it still
		e.Set(s, "/a", "nobody is armed")
		assert.NilError(t, s.AddWatch(e.Ctx, "/p", zk.WatchPersistent, room))
		e.Watch(s, "/a", closed)
		close(closed)
		e.Set(s, "/a", "x")
		e.Fence(s)
		time.Sleep(conf.Timeout / 2) // a ping
		e.Watch(s, "/a", full)
		e.Set(s, "/a", "y")
		e.Sim.Fault(StallOn(s, "/stalled"))
		ctx, cancel := context.WithTimeout(e.Ctx, time.Second)
		defer cancel()
		_, _, err = s.Get(ctx, "/stalled", nil)
		assert.ErrorIs(t, err, zk.ErrLost)
		look()

		<-full
		e.Cut(s, l)
		e.Set(other, "/p", "behind its back")
		time.Sleep(time.Second)
		s = e.Move(s)
		e.Sim.Expire(s.ID())
		Await(t, s.Done())
		_, err = s.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrExpired)
		s, err = s.Renew(e.Ctx)
		assert.NilError(t, err)
		look()
		assert.NilError(t, s.Close())
	})
}
