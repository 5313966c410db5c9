package zktest

import (
	"bytes"
	"slices"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// maxAhead is how many frames are read while a request waits (zookeeper.globalOutstandingLimit).
const maxAhead = 1000

// pump reads in a goroutine of its own, from the first request on that waits
// for its member. A real server answers auth and SASL as it reads them, ahead
// of what waits; most connections never have something waiting, and are
// cheaper with one goroutine. All of it is guarded by ens.mu.
type pump struct {
	running  bool
	frames   [][]byte // that the connection is to execute; of a read-only member also without a pump
	frameErr error    // what was wrong with the frame behind them
	readErr  error    // why no more come
	waiting  bool     // the connection waits for its member
}

// startPump hands reading over. ens.mu is held, and the frame in execution stays as it is.
func (c *conn) startPump() {
	if c.pump.running || c.session == nil {
		return
	}
	c.pump.running = true
	c.in.buf = bytes.Clone(c.in.buf[c.in.r:c.in.w])
	c.in.r, c.in.w = 0, len(c.in.buf)
	c.ens.wg.Go(c.runPump)
}

func (c *conn) runPump() {
	e := c.ens
	for {
		e.mu.Lock()
		more := c.takeAhead()
		e.mu.Unlock()
		if !more {
			return
		}
		if err := c.readMore(); err != nil {
			e.mu.Lock()
			c.pump.readErr = err
			e.moved.Broadcast()
			e.mu.Unlock()
			return
		}
	}
}

// takeAhead executes or keeps the frames that have been read. It says whether more are wanted.
func (c *conn) takeAhead() bool {
	e := c.ens
	for !c.dead {
		frame, err := c.in.next()
		if err != nil {
			c.pump.frameErr = err
			e.moved.Broadcast()
			return false
		}
		if frame == nil {
			return true
		}
		e.now = time.Now()
		c.session.heard = e.now
		c.pump.frames = append(c.pump.frames, bytes.Clone(frame))
		c.overtake()
		e.moved.Broadcast()
		for !c.dead && len(c.pump.frames) >= maxAhead {
			e.moved.Wait()
		}
	}
	return false
}

// overtake executes what goes ahead of a request that waits.
func (c *conn) overtake() {
	p := &c.pump
	for i := 0; i < len(p.frames) && p.waiting && !c.deaf && !c.closing && !c.dead && c.heldBack == nil; {
		d := wire.NewRequestDecoder(p.frames[i])
		var h wire.RequestHeader
		if h.Decode(&d); h.Op != wire.OpAuth && h.Op != wire.OpSASL {
			i++
			continue
		}
		frame := p.frames[i]
		p.frames = slices.Delete(p.frames, i, i+1)
		withhold := c.withhold // is about the request that waits
		c.withhold = false
		c.execute(frame)
		c.withhold = withhold
		c.rest()
	}
}

// next returns the next frame to execute, or nil if there is none yet.
func (c *conn) next() ([]byte, error) {
	p := &c.pump
	switch {
	case p.running:
	case c.session != nil && c.member.readOnly:
		c.lookAhead()
	default:
		return c.in.next()
	}
	if len(p.frames) == 0 {
		return nil, p.frameErr
	}
	frame := p.frames[0]
	p.frames = p.frames[1:]
	if len(p.frames) == maxAhead-1 {
		c.ens.moved.Broadcast()
	}
	return frame, nil
}

// lookAhead puts what a read-only member refuses ahead of all else that has
// been read. A real one answers that as it comes (ReadOnlyRequestProcessor),
// while a read before it may still be on its way through the server.
func (c *conn) lookAhead() {
	p := &c.pump
	for refused := 0; p.frameErr == nil; {
		frame, err := c.in.next()
		switch {
		case err != nil:
			p.frameErr = err
		case frame == nil:
			return
		case c.refuses(frame):
			p.frames = slices.Insert(p.frames, refused, frame)
			refused++
		default:
			p.frames = append(p.frames, frame)
		}
	}
}

// refuses says whether a read-only member refuses a request.
func (c *conn) refuses(frame []byte) bool {
	d := wire.NewRequestDecoder(frame)
	var h wire.RequestHeader
	h.Decode(&d)
	switch {
	case d.Err() != nil || c.lacksSASL() || !c.ens.prep.Version.Knows(h.Op):
		return false
	case h.Op == wire.OpCloseSession:
		return !c.session.local
	}
	return h.Op == wire.OpSync || data.Writes(h.Op)
}

// fill waits for more to execute.
func (c *conn) fill() error {
	e, p := c.ens, &c.pump
	e.mu.Lock()
	defer e.mu.Unlock()
	if !p.running {
		e.mu.Unlock()
		err := c.readMore()
		e.mu.Lock()
		return err
	}
	for !c.dead && len(p.frames) == 0 && p.frameErr == nil && p.readErr == nil {
		e.moved.Wait()
	}
	switch {
	case c.dead:
		return errEnded
	case len(p.frames) == 0 && p.frameErr == nil:
		return p.readErr
	}
	return nil
}
