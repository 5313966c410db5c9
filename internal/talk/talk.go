// Package talk reads what ZooKeeper clients and servers say to each other: it
// finds the frames in a stream, and tells of each what it is and, of a reply,
// what it answers.
package talk

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// OpConnect stands for the handshake (OpCode.createSession).
const OpConnect wire.Op = -10

// Entry is what a frame says.
type Entry struct {
	Session int64 // of a handshake: the one asked for
	Xid     int32
	Op      wire.Op // of a reply: that of its request; OpNotification: an event; OpError: no frame, or a reply to no request
	Event   int32   // type of an event
	Path    string
	Zxid    int64 // of a reply or event; of a setWatches its relativeZxid, of a handshake's request its lastZxidSeen
	Err     int32
	Latency time.Duration // of a reply: since its request came
	Len     int           // bytes of the body
	Raw     []byte        // the first bytes of the body, valid until the cutter goes on
	Note    string        // what else is worth knowing, or why nothing is known
}

// Talk is what is known of what client and server say on a connection.
type Talk struct {
	mu      sync.Mutex // guards all below
	begun   [2]bool    // from the client, to it: the handshake has passed
	session int64
	asked   []asked // asked[first:] waits for replies
	first   int
	dropped bool // there were too many
}

// asked is a request without a reply so far.
type asked struct {
	xid  int32
	op   wire.Op
	path string
	at   time.Time
}

// Session returns the id of the session, or 0 before the handshake.
func (t *Talk) Session() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.session
}

// Decode makes an entry of the frame that a cutter has found. It came at this time.
func (t *Talk) Decode(in *Cutter, toClient bool, at time.Time) Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	begun := &t.begun[0]
	if toClient {
		begun = &t.begun[1]
	}
	entry := Entry{Session: t.session}
	if in.lost != "" {
		entry.Op, entry.Note = wire.OpError, in.lost
		return entry
	}
	entry.Len, entry.Raw = in.size, in.body
	d := wire.NewDecoder(in.body)
	switch {
	case !*begun && !toClient:
		connectRequest(&entry, &d)
	case !*begun:
		connectResponse(&entry, &d)
		t.session = entry.Session
	case !toClient:
		t.request(&entry, &d, at)
	default:
		t.reply(&entry, &d)
	}
	*begun = true
	if err := d.Err(); err != nil && len(in.body) == in.size {
		entry.note(err.Error())
	} else if err != nil {
		entry.note("too long to decode all of it")
	}
	return entry
}

func (f *Entry) note(s string) {
	if f.Note != "" {
		s = f.Note + ", " + s
	}
	f.Note = s
}

func connectRequest(f *Entry, d *wire.Decoder) {
	var q wire.ConnectRequest
	q.Decode(d)
	f.Op, f.Session, f.Zxid = OpConnect, q.SessionID, q.LastZxidSeen
	f.note(fmt.Sprintf("wants timeout %v", milliseconds(q.Timeout)))
	if q.ReadOnly {
		f.note("read-only will do")
	}
}

func connectResponse(f *Entry, d *wire.Decoder) {
	f.Op = OpConnect
	if d.Len() == 16 { // a read-only server that makes no sessions answers as if to a request
		var h wire.ReplyHeader
		h.Decode(d)
		f.Xid, f.Zxid, f.Err = h.Xid, h.Zxid, h.Err
		return
	}
	var r wire.ConnectResponse
	r.Decode(d)
	f.Session = r.SessionID
	switch {
	case d.Err() != nil:
	case r.Timeout <= 0:
		f.note("no such session")
	default:
		f.note(fmt.Sprintf("timeout %v", milliseconds(r.Timeout)))
	}
	if r.ReadOnly {
		f.note("read-only")
	}
}

func milliseconds(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

// request decodes a request, and remembers it for its reply.
func (t *Talk) request(f *Entry, d *wire.Decoder, at time.Time) {
	var h wire.RequestHeader
	h.Decode(d)
	if f.Xid, f.Op = h.Xid, h.Op; d.Err() != nil {
		f.Op = wire.OpError
		return
	}
	describe(f, d)
	if t.first > 0 && len(t.asked) == cap(t.asked) {
		t.asked, t.first = t.asked[:copy(t.asked, t.asked[t.first:])], 0
	}
	if len(t.asked)-t.first == askedKept {
		t.first, t.dropped = t.first+1, true
	}
	t.asked = append(t.asked, asked{h.Xid, h.Op, f.Path, at})
}

// reply decodes a reply or an event.
func (t *Talk) reply(f *Entry, d *wire.Decoder) {
	var h wire.ReplyHeader
	h.Decode(d)
	f.Xid, f.Zxid, f.Err = h.Xid, h.Zxid, h.Err
	switch {
	case d.Err() != nil:
		f.Op = wire.OpError
		return
	case h.Xid == wire.XidNotification:
		var ev wire.WatcherEvent
		ev.Decode(d)
		f.Op, f.Event, f.Path = wire.OpNotification, ev.Type, ev.Path
		return
	}
	q, ok := t.answered(h.Xid, f)
	if !ok {
		f.Op = wire.OpError
		return
	}
	f.Op, f.Path, f.Latency = q.op, q.path, time.Since(q.at)
	if h.Err != 0 {
		return
	}
	switch q.op {
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		if made := d.String(); made != q.path {
			f.note(fmt.Sprintf("made %q", made))
		}
	case wire.OpMulti:
		describeResults(f, d)
	}
}

// answered returns the request that a reply belongs to: the oldest with its
// xid. Servers answer in order, but to auth and sasl.
func (t *Talk) answered(xid int32, f *Entry) (asked, bool) {
	i := slices.IndexFunc(t.asked[t.first:], func(q asked) bool { return q.xid == xid })
	if i < 0 {
		if !t.dropped {
			f.note("no request has this xid")
		}
		return asked{}, false
	}
	q := t.asked[t.first+i]
	if i > 0 {
		if q.op != wire.OpAuth && q.op != wire.OpSASL {
			f.note(fmt.Sprintf("ahead of %d earlier requests", i))
		}
		t.asked = slices.Delete(t.asked, t.first+i, t.first+i+1)
	} else {
		t.asked[t.first] = asked{}
		t.first++
	}
	if t.first == len(t.asked) {
		t.asked, t.first = t.asked[:0], 0
	}
	return q, true
}
