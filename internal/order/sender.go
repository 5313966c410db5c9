package order

// sender waits until the head of the outbox is taken.
type sender struct {
	recall chan struct{} // closed to take it back
	result chan result   // cap 1
}

// result is what became of an attempt to send.
type result int

const (
	notTaken result = iota
	taken
	chanClosed
)

// try sends without waiting, and distinguishes a closed channel from a full one.
func try[E any](ch chan<- E, ev E) (res result) {
	defer func() {
		if recover() != nil {
			res = chanClosed
		}
	}()
	select {
	case ch <- ev:
		return taken
	default:
		return notTaken
	}
}

func (s *sender) wait(send func() bool) (res result) {
	defer func() {
		if recover() != nil {
			res = chanClosed
		}
	}()
	if send() {
		return taken
	}
	return notTaken
}

// runSender is the sender's goroutine.
func runSender[E, N any](s *sender, q *Sequencer[E, N], owner Owner[E, N], ch chan<- E, ev E) {
	res := s.wait(func() bool {
		select {
		case ch <- ev:
			return true
		case <-s.recall:
			return false
		}
	})
	s.result <- res // before the lock: whoever takes the sender back holds it and waits here
	owner.Lock()
	defer owner.Unlock()
	if q.sender != s {
		return
	}
	q.sender = nil
	q.sent(res)
	q.flush()
}
