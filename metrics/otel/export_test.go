package otel

import "github.com/seed-9f8420c6/zk"

// TraceForTest is Trace, and tells how many Sessions it remembers.
func TraceForTest(opts ...Option) (*zk.Trace, func() int) {
	t := newTracer(opts)
	return t.hooks(), func() int {
		t.mu.Lock()
		defer t.mu.Unlock()
		return len(t.sessions)
	}
}
