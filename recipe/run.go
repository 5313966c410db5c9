package recipe

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// Run is the loop of one owner as a function. It dials, calls work, and redials
// when work returns an error that matches zk.ErrConnection or zk.ErrMoved; it
// waits between Dials that find nobody, at first about 50 ms and then longer each
// time, up to 2 s, and never repeats a call. Run returns what work returns
// otherwise, what Dial cannot get over, or the error of ctx, and closes the session
// then, if there is a connection.
//
// fresh: the session is one that work did not have before, so that ephemerals must
// be made again. It is true once for each session, for the first call that gets
// it, even if that call ends before it has made anything: Run cannot know how far
// it came. So note outside of work what has been made, or keep its Hold, whose Err
// says that it must be made again, as in the example.
func Run(ctx context.Context, conf zk.Config, work func(ctx context.Context, s *zk.Session, fresh bool) error) error {
	var last int64
	pause := firstPause
	for ctx.Err() == nil {
		s, err := zk.Dial(ctx, conf)
		switch {
		case errors.Is(err, zk.ErrExpired):
			conf = conf.Renew()
			continue
		case errors.Is(err, zk.ErrNoServer):
			sleep(ctx, pause/2+rand.N(pause))
			pause = min(2*pause, longestPause)
			continue
		case err != nil:
			return err
		}
		pause = firstPause
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
