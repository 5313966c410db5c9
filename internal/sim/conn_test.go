package sim

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// simConn is a connection of the session under test: it counts what was read,
// and breaks.
type simConn struct {
	*zktest.PipeConn
	sim    *simulation
	number int64
	rng    *rand.Rand

	greeted  atomic.Bool  // the ConnectRequest was written
	sound    bool         // it will not break
	chop     bool         // reads are short
	asked    atomic.Bool  // a Read was begun after the one that brought the last bytes
	returned atomic.Int64 // bytes read

	mu     sync.Mutex
	left   int64   // bytes that may still be read; negative: all; 0: for good
	events int     // events that may still be read; 0: all
	stall  bool    // at the end of that nothing comes, instead of an error
	head   [8]byte // of the frame that is being read: length and xid
	pos    int     // in that frame, with its length

	closed chan struct{}
	once   sync.Once
}

// Write has each connection ask for a session timeout of its own: a Session can
// tell that, and thus which connection is its own.
func (c *simConn) Write(p []byte) (int, error) {
	if !c.greeted.Swap(true) {
		p = slices.Clone(p)
		timeout := p[4+4+8:] // behind length, protocol version and zxid
		binary.BigEndian.PutUint32(timeout, binary.BigEndian.Uint32(timeout)+uint32(c.number))
	}
	return c.PipeConn.Write(p)
}

func (c *simConn) Read(p []byte) (int, error) {
	c.asked.Store(true)
	if c.sim.latency > 0 && !c.sim.healed.Load() {
		time.Sleep(time.Duration(c.rng.Int64N(int64(c.sim.latency))))
	}
	if c.chop && len(p) > 1 {
		p = p[:1+c.rng.IntN(min(len(p), 40))]
	}
	if c.over() && len(p) > 0 {
		return c.broken()
	}
	if c.sim.queue > 0 { // by the frame, so that the last is known
		if rest := len(c.head) - c.pos; rest > 0 {
			p = p[:min(len(p), rest)]
		} else {
			p = p[:min(len(p), 4+wire.FrameLen(c.head[:])-c.pos)]
		}
	}
	n, err := c.PipeConn.Read(p)
	got := n
	if n = c.pass(p[:n]); n < got && n == 0 {
		return c.broken()
	}
	c.returned.Add(int64(n))
	c.asked.Store(n == 0)
	return n, err
}

func (c *simConn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left == 0
}

// pass tells how much of what was read may be. Where the last event that may be
// read ends the connection does: often between two of one transaction.
func (c *simConn) pass(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return 0
	}
	if c.left > 0 {
		p = p[:min(int64(len(p)), c.left)]
		c.left -= int64(len(p))
	}
	for at := 0; at < len(p); {
		if c.pos < len(c.head) {
			c.head[c.pos] = p[at]
			c.pos++
			at++
			continue
		}
		size := 4 + wire.FrameLen(c.head[:])
		step := min(len(p)-at, size-c.pos)
		at, c.pos = at+step, c.pos+step
		if c.pos < size {
			break
		}
		c.pos = 0
		if event := [4]byte(c.head[4:]) == [4]byte{255, 255, 255, 255}; event && c.events > 0 {
			if c.events--; c.events == 0 {
				c.left = 0
				return at
			}
		}
	}
	return len(p)
}

func (c *simConn) broken() (int, error) {
	c.mu.Lock()
	stall := c.stall
	c.mu.Unlock()
	if stall {
		<-c.closed
		return 0, net.ErrClosed
	}
	c.PipeConn.Close()
	return 0, syscall.ECONNRESET
}

func (c *simConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.PipeConn.Close()
}

// cut breaks the connection after so many more bytes, in one direction or both.
func (c *simConn) cut(read, write int64, stall bool) {
	limit := zktest.CutAt
	if stall {
		limit = zktest.StallAt
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if write >= 0 && !c.stall { // what a stall has swallowed stays lost
		c.SetWriteLimit(limit(write))
	}
	c.stall = c.stall || stall
	if read >= 0 && c.left != 0 {
		c.left = read
	}
}

// snip breaks it after so many more events.
func (c *simConn) snip(events int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = events
}

// dial is the session's DialContext. Many of its connections break at some byte.
func (s *simulation) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	rng := rand.New(rand.NewPCG(s.dials.Uint64(), s.dials.Uint64()))
	s.mu.Unlock()
	healed := s.healed.Load()
	if !healed {
		if rng.IntN(10) == 0 {
			t := time.NewTimer(time.Duration(rng.IntN(1500)) * time.Microsecond)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if rng.IntN(20) == 0 {
			return nil, syscall.ECONNREFUSED
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	nc, err := s.ens.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &simConn{PipeConn: nc.(*zktest.PipeConn), sim: s, number: int64(len(s.conns)) + 2, rng: rng, left: -1, closed: make(chan struct{})}
	s.conns = append(s.conns, c)
	if c.sound = healed; healed {
		return c, nil
	}
	c.chop = rng.IntN(4) == 0
	c.SetCapacity(s.narrow)
	sent, got := int64(49+60*s.auths+300+rng.IntN(800)), int64(41+20*s.auths+100+rng.IntN(600))
	switch x := rng.IntN(100); {
	case x < 35:
		c.cut(rng.Int64N(got), -1, false)
	case x < 55:
		c.cut(-1, rng.Int64N(sent), false)
	case x < 60:
		c.cut(rng.Int64N(got), rng.Int64N(sent), false)
	case x < 70:
		c.snip(1 + rng.IntN(8))
	case x == 70:
		c.cut(rng.Int64N(got), -1, true)
	case x == 71:
		c.cut(-1, rng.Int64N(sent), true)
	}
	return c, nil
}

// connOf returns the connection of a Session of the session under test.
func (s *simulation) connOf(x *zk.Session) *simConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[(x.Timeout()-s.conf.Timeout)/time.Millisecond-2]
}
