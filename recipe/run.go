package recipe

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// Run is the loop of one owner. It dials and calls work. When work returns an
// error that matches zk.ErrConnection or zk.ErrMoved, it dials again and calls
// work with the next Session. It repeats no request.
//
// If no server can be reached, Run tries again until ctx ends. It waits about 50
// ms first, then longer each time, up to 2 s. It also waits if one connection
// after another ends at once, for example because a server closes it on a request.
// Run logs nothing: set Config.Logger to see why.
//
// fresh reports that work gets this session for the first time, so ephemeral znodes
// must be created again. It is true once for each session, even if that call of work
// ends before it has created anything. So note outside of work what it has created, or
// keep a Hold, whose Err reports that it must be acquired again, as in the example.
//
// When work returns nil or another error, Run closes the session and returns that
// value. Run also returns the error of a Dial that would fail again in the same
// way, and the error of ctx when ctx ends. If the connection is lost by then, Run
// does not dial to close the session, which then ends by its expiry. To close it
// at once, let work return the Session's Err, and nil when it is called again.
func Run(ctx context.Context, conf zk.Config, work func(ctx context.Context, s *zk.Session, fresh bool) error) error {
	var last int64
	pause := firstPause
	rest := func() {
		sleep(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, longestPause)
	}
	short := false // the last connection was of no use
	for ctx.Err() == nil {
		s, err := zk.Dial(ctx, conf)
		switch {
		case errors.Is(err, zk.ErrExpired):
			conf = conf.Renew()
			continue
		case errors.Is(err, zk.ErrNoServer):
			rest()
			continue
		case err != nil:
			return err
		}
		began := time.Now()
		fresh := s.ID() != last
		last = s.ID()
		err = work(ctx, s, fresh)
		lost := errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved)
		if !lost || zk.Hopeless(err) {
			s.Close()
			return err
		}
		if ctx.Err() != nil {
			s.Close()
			break
		}
		conf = s.Detach()
		switch {
		case time.Since(began) >= firstPause:
			pause, short = firstPause, false
		case short:
			rest()
		default:
			short = true
		}
	}
	return ctx.Err()
}

// Pauses between Dials, half of which is up to chance.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
