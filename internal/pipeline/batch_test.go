package pipeline

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"gotest.tools/v3/assert"
)

// A batch is queued as slots allow. What is not queued keeps none.
func TestSendMany(t *testing.T) {
	refused := errors.New("refused")
	for _, x := range []struct {
		name     string
		limit    int
		answered bool // at once, what is sent
		refuse   int  // the portion that is refused, from 1; 0: none
		sent     int
		portions string // how many frames from which
		why      error
		slots    int // that are taken in the end
	}{
		{name: "no limit", sent: 5, portions: "[5 from 0]"},
		{name: "no limit, refused", refuse: 1, portions: "[5 from 0]", why: refused},
		{name: "answered", limit: 2, answered: true, sent: 5, portions: "[2 from 0 2 from 2 1 from 4]"},
		{name: "more slots than frames", limit: 9, sent: 5, portions: "[5 from 0]", slots: 5},
		{name: "not answered", limit: 2, sent: 2, portions: "[2 from 0]", why: context.Canceled, slots: 2},
		{name: "refused", limit: 2, refuse: 1, portions: "[2 from 0]", why: refused},
		{name: "refused later", limit: 2, answered: true, refuse: 2, sent: 2, portions: "[2 from 0 2 from 2]", why: refused},
		{name: "refused at last", limit: 2, answered: true, refuse: 3, sent: 4, portions: "[2 from 0 2 from 2 1 from 4]", why: refused},
	} {
		t.Run(x.name, func(t *testing.T) {
			p, _, _ := open(Options{MaxInFlight: x.limit})
			c := request("batch", 4, 8, 4, 8, 4)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var portions []string
			at := 0
			sent, err := p.SendMany(ctx, c, func(frames []byte, n int) error {
				portions = append(portions, fmt.Sprintf("%d from %d", n, c.batch.first))
				if len(portions) == x.refuse {
					return refused
				}
				assert.Assert(t, &frames[0] == &c.Frames[at], "frames that follow those before")
				at += len(frames)
				if x.answered {
					p.Release(n)
				} else {
					cancel()
				}
				return nil
			})
			assert.Assert(t, sent == x.sent && errors.Is(err, x.why), "%d: %v", sent, err)
			assert.Equal(t, fmt.Sprint(portions), x.portions)
			assert.Equal(t, len(p.slots), x.slots)
			if x.why == nil {
				assert.Equal(t, at, len(c.Frames))
			}
		})
	}
}
