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
// ms first, then longer each time, up to 2 s. It does the same when one connection
// after the other ends as soon as work has it, as where a server refuses a request
// by that. It logs nothing: set Config.Logger to see why.
//
// fresh reports that work gets this session for the first time, so ephemeral
// znodes must be made again. It is true once for each session, even if that call
// of work ends before it has made anything: Run cannot know how far it came. So note
// outside of work what has been made, or keep its Hold, whose Err reports that it must
// be made again, as in the example.
//
// When work returns nil or another error, Run closes the session and returns
// that. It returns the error of a Dial that would fail again in the same way, and
// the error of ctx when ctx ends. If the connection is lost by then, it does not
// dial to close the session: what the session holds is freed when it expires. To
// have it freed at once, let work return the Session's Err, and nil when it is
// called again.
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
