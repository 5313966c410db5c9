package suite

import (
	"net"
	"sync"
)

// GatedConn is a client's end whose Write, while the gate is shut, returns only
// when it opens. What it writes goes out at once all the same.
type GatedConn struct {
	net.Conn
	Stuck bool          // Close does not open it, as it must: the test does
	mu    sync.Mutex    // guards gate
	gate  chan struct{} // nil: open
}

// Shut holds up what is written from now on.
func (c *GatedConn) Shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = make(chan struct{})
}

// Open lets all writes return.
func (c *GatedConn) Open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gate != nil {
		close(c.gate)
		c.gate = nil
	}
}

func (c *GatedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	gate := c.gate
	c.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return n, err
}

// Close must unblock Write.
func (c *GatedConn) Close() error {
	if !c.Stuck {
		c.Open()
	}
	return c.Conn.Close()
}
