package pipeline

import "time"

// Label is what the owner of a Call calls it.
type Label struct{ Op, Path string }

// Waiting is the frames of a Call that were queued together and wait for replies.
type Waiting struct {
	Label
	// N is how many frames they were, answered ones included.
	N int
	// Since is when they were written, see liveness.Monitor.SentAt.
	Since time.Time
	// Place is where they begin in the stream, which tells them from all others.
	Place int64
}

// Waiting returns the requests that wait for replies, in the order in which they were
// queued; auth packets, which have an order of their own, come last.
func (p *Conn) Waiting() (list []Waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return nil
	default:
	}
	p.ring.Each(func(r *pending) bool {
		list = append(list, p.waitingLocked(r.label, int(r.n), r.off))
		return true
	})
	for _, c := range p.auths.Items() {
		list = append(list, p.waitingLocked(c.Label, 1, c.off))
	}
	return list
}

// longestLocked returns the oldest request of the ring; N is zero if there is none.
func (p *Conn) longestLocked() (w Waiting) {
	p.ring.Each(func(r *pending) bool {
		w = p.waitingLocked(r.label, int(r.n), r.off)
		return false
	})
	return w
}

func (p *Conn) waitingLocked(l Label, n int, off int64) Waiting {
	return Waiting{Label: l, N: n, Since: p.live.SentAt(off), Place: off}
}
