package zktest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/internal/talk"
	"github.com/seed-9f8420c6/zk/wire"
)

// Direction is the direction of a frame.
type Direction int

// Directions. A Hangup is the end of a connection, with its reason as Note.
const (
	FromClient Direction = iota
	ToClient
	Hangup
)

// Frame is an entry of the frame log.
type Frame struct {
	Time    time.Time
	Member  int   // index of the server
	Conn    int64 // number of the connection; all members count together, from 1
	Session int64 // a handshake has the id that is asked for
	Dir     Direction
	Xid     int32
	// Op is the operation; a reply has that of its request. OpNotification is an
	// event, and OpConnect the handshake.
	Op    wire.Op
	Event int32 // the type of an event
	Path  string
	// Zxid is that of a reply or event. A setWatches has its relativeZxid here, and the
	// request of a handshake its lastZxidSeen.
	Zxid int64
	Err  int32
	// Latency is the time since the request came, for a reply that a Proxy saw.
	Latency time.Duration
	Len     int    // bytes of the body
	Raw     []byte // the body, with Options.Raw
	// Note is the reason of a Hangup. A Proxy also notes details of a frame, or why
	// it cannot decode the frame.
	Note string
}

// String describes the frame in one line.
func (f Frame) String() string {
	var b strings.Builder
	arrow := [...]string{"->", "<-", "x "}[f.Dir]
	fmt.Fprintf(&b, "%s member %d conn %d session %#x %s", f.Time.Format("15:04:05.000000"), f.Member, f.Conn, uint64(f.Session), arrow)
	if f.Dir == Hangup {
		return b.String() + " " + f.Note
	}
	fmt.Fprintf(&b, " %s", f.opName())
	if f.Op == wire.OpNotification {
		fmt.Fprintf(&b, " type %d", f.Event)
	}
	if f.Op != OpConnect && (f.Op != wire.OpError || f.Len > 0) {
		fmt.Fprintf(&b, " xid %d", f.Xid)
	}
	if f.Path != "" {
		fmt.Fprintf(&b, " %q", f.Path)
	}
	if f.Zxid != 0 {
		fmt.Fprintf(&b, " zxid %#x", f.Zxid)
	}
	if f.Err != 0 {
		fmt.Fprintf(&b, " err %d", f.Err)
	}
	if f.Latency != 0 {
		fmt.Fprintf(&b, " after %v", f.Latency)
	}
	if f.Note != "" {
		fmt.Fprintf(&b, " (%s)", f.Note)
	}
	return b.String()
}

func (f Frame) opName() string {
	switch {
	case f.Op == OpConnect:
		return "connect"
	case f.Op != wire.OpError:
		return f.Op.String()
	case f.Len == 0: // of a Proxy that cannot tell frames
		return "bytes"
	case f.Dir == ToClient:
		return "reply"
	}
	return "request"
}

// What talk calls the handshake is what the log calls it.
var _ [OpConnect - talk.OpConnect]struct{} = [0]struct{}{}

// Frames returns the last frames that servers and clients exchanged, in the order
// in which the servers executed and answered them. A frame to a client is listed
// when it is queued. It may be lost if the connection ended then.
func (e *Ensemble) Frames() []Frame {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log.All()
}

// ForgetFrames empties the frame log.
func (e *Ensemble) ForgetFrames() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log.Forget()
}

// logFrame completes a frame of this connection and remembers it.
func (c *conn) logFrame(f Frame) {
	e := c.ens
	if e.log.Max == 0 {
		return
	}
	f.Time, f.Member, f.Conn, f.Len = e.now, c.member.index, c.number, len(f.Raw)
	if f.Session == 0 {
		f.Session = c.sessionID()
	}
	if e.opts.Raw {
		f.Raw = bytes.Clone(f.Raw)
	} else {
		f.Raw = nil
	}
	e.log.Add(f)
}
