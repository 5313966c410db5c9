// Package tap decodes the frames of a connection, in both directions. It is for the
// field Wrap of [zk.Config]:
//
//	conf.Wrap = func(addr string, c net.Conn) net.Conn {
//		return tap.Conn(c, func(f tap.Frame) { fmt.Println(addr, f) })
//	}
//
// It works on any unencrypted connection of a ZooKeeper client.
//
// [zk.Config]: https://pkg.go.dev/github.com/seed-9f8420c6/zk#Config
package tap

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk/internal/talk"
	"github.com/seed-9f8420c6/zk/wire"
)

// OpConnect stands for the handshake, whose frames have no operation.
const OpConnect = talk.OpConnect

// MaxBody is the number of bytes of a frame's body that are kept.
const MaxBody = talk.PrefixKept

// Frame describes a frame.
type Frame struct {
	// Time is when the frame was written, or was read as a whole.
	Time time.Time
	// Sent reports that the frame goes to the server.
	Sent bool
	// Session is the session's id; zero before the handshake. The request of a handshake
	// has the id that it asks for.
	Session int64
	// Op is the operation; a reply has that of its request. An event has
	// wire.OpNotification, and the handshake OpConnect. Bytes that are no frame, and
	// replies to no request, have wire.OpError; then Note says more.
	Op  wire.Op
	Xid int32
	// Event is the type of an event.
	Event int32
	// Path is the first path in the frame, with the chroot; a reply has that of its
	// request.
	Path string
	// Zxid is that of a reply or event. A request that reports a zxid has that: the
	// last one that was seen, or the floor of watches.
	Zxid int64
	// Err is the error of a reply; zero: none.
	Err int32
	// Latency is how long a reply took, since its request was written.
	Latency time.Duration
	// Size is how many bytes the body has. The frame has 4 more, for its length.
	Size int
	// Note has what else is worth knowing.
	Note string
	// Body is the beginning of the body, at most MaxBody bytes. It is valid until the
	// function returns. Passwords, credentials and tokens of SASL in it are replaced by
	// zeros, unless WithSecrets was given. The data of znodes is not.
	Body []byte
}

// Conn returns a connection over c that calls f for each frame. f gets a sent
// frame before it is written, and so before its reply. When the connection ends,
// the last reported bytes may never have left. f gets a received frame before
// Read returns it.
//
// The calls for one connection come one after the other, on the goroutines that
// read and write. f must not wait, and must not call a method of the Session that
// waits for an answer. Bytes that are not a frame of the protocol are reported
// once, with the reason as Note. Later bytes of that direction are not reported.
//
// The method NetConn of the returned connection returns c.
func Conn(c net.Conn, f func(Frame), opts ...Option) net.Conn {
	t := &conn{Conn: c, report: f}
	for _, o := range opts {
		o(t)
	}
	t.sent.Keep, t.received.Keep = MaxBody, MaxBody
	return t
}

// Option changes what Conn shows.
type Option func(*conn)

// WithSecrets leaves passwords, credentials and tokens of SASL in the Body. Whoever sees a
// Body can take over the session.
func WithSecrets() Option { return func(c *conn) { c.secrets = true } }

type conn struct {
	net.Conn
	report  func(Frame)
	secrets bool

	mu             sync.Mutex // guards all below, and is held while report runs
	sent, received talk.Cutter
	talk           talk.Talk
}

func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Write(b []byte) (int, error) {
	c.pass(&c.sent, b)
	return c.Conn.Write(b)
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.pass(&c.received, b[:n])
	return n, err
}

// pass reports the frames that end in a piece of the stream.
func (c *conn) pass(way *talk.Cutter, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock() // also when report panics
	for len(b) > 0 {
		n, done := way.Cut(b)
		if b = b[n:]; done {
			now := time.Now()
			received := way == &c.received
			e := c.talk.Decode(way, received, now)
			if !c.secrets {
				blank(&e, !received)
			}
			c.report(frame(e, !received, now))
		}
	}
}

func frame(e talk.Entry, sent bool, at time.Time) Frame {
	return Frame{
		Time: at, Sent: sent, Session: e.Session, Op: e.Op, Xid: e.Xid, Event: e.Event, Path: e.Path, Zxid: e.Zxid, Err: e.Err,
		Latency: e.Latency, Size: e.Len, Note: e.Note, Body: e.Raw,
	}
}

// String describes the frame in one line, without its time and its body. Nothing in it
// can steer a terminal.
func (f Frame) String() string {
	var b strings.Builder
	b.WriteString(map[bool]string{true: "-> ", false: "<- "}[f.Sent])
	if event := f.Op == wire.OpNotification; event {
		b.WriteString("event " + talk.EventName(f.Event))
	} else {
		b.WriteString(talk.OpName(f.Op))
		if f.Xid > 0 {
			fmt.Fprintf(&b, " #%d", f.Xid)
		}
	}
	if f.Path != "" {
		fmt.Fprintf(&b, " %q", f.Path)
	}
	if f.Op == OpConnect && f.Session != 0 {
		fmt.Fprintf(&b, " session 0x%x", uint64(f.Session))
	}
	if f.Zxid > 0 {
		fmt.Fprintf(&b, " zxid 0x%x", f.Zxid)
	}
	if f.Err != 0 {
		fmt.Fprintf(&b, " %s (%d)", talk.ErrorName(f.Err), f.Err)
	}
	if f.Latency > 0 {
		fmt.Fprintf(&b, " %v", f.Latency.Round(time.Microsecond))
	}
	if f.Note != "" {
		fmt.Fprintf(&b, " (%s)", talk.Printable(f.Note))
	}
	return b.String()
}
