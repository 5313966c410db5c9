package zktest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// Bounds of what a proxy looks at and remembers.
const (
	prefixKept  = 4 << 10  // bytes of a frame's body, which are enough for all but its data
	rawKept     = 1 << 20  // the same with ProxyOptions.Raw
	longestRead = 64 << 20 // a frame that says it is longer is not one
	askedKept   = 1 << 16  // requests of a connection without a reply so far
)

// frameCutter finds the frames in a stream, and keeps the first bytes of each.
// It trusts no length: what it keeps grows with what has come.
type frameCutter struct {
	keep  int
	head  [4]byte
	heads int    // bytes of head that are known
	size  int    // of the body
	left  int    // bytes of it to come
	body  []byte // its first bytes
	lost  string // why nothing more of the stream can be told apart
}

// cut takes bytes up to the end of a frame, which is then done, or all of them.
// The frame's fields are valid until the next call.
func (c *frameCutter) cut(b []byte) (n int, done bool) {
	if c.lost != "" {
		return len(b), false
	}
	if c.heads < len(c.head) {
		n = copy(c.head[c.heads:], b)
		if c.heads += n; c.heads < len(c.head) {
			return n, false
		}
		c.size, c.body = wire.FrameLen(c.head[:]), c.body[:0]
		if c.size < 0 || c.size > longestRead {
			c.lost = notFrames(c.head[:])
			return len(b), true
		}
		c.left = c.size
	}
	take := min(c.left, len(b)-n)
	kept := max(min(take, c.keep-len(c.body)), 0)
	c.body = append(c.body, b[n:n+kept]...)
	c.left -= take
	if c.left == 0 {
		c.heads = 0
	}
	return n + take, c.left == 0
}

func notFrames(head []byte) string {
	switch {
	case head[0] == 0x16 && head[1] == 3:
		return "TLS, not decoded"
	case !slices.ContainsFunc(head, func(b byte) bool { return b < ' ' || b > '~' }):
		return fmt.Sprintf("text, not decoded: %q…", head)
	}
	return fmt.Sprintf("not decoded: frame length %d", wire.FrameLen(head))
}

// talk is what a proxy knows of what client and server say on a connection.
type talk struct {
	mu      sync.Mutex
	begun   [2]bool // by Direction: the handshake has passed
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

func (t *talk) sessionID() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.session
}

// decode makes an entry of the frame that a flow's cutter has found. It came at this time.
func (t *talk) decode(f *flow, at time.Time) Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := &f.cutter
	entry := Frame{Conn: f.conn.number, Dir: f.dir, Session: t.session}
	if in.lost != "" {
		entry.Op, entry.Note = wire.OpError, in.lost
		return entry
	}
	entry.Len, entry.Raw = in.size, in.body
	d := wire.NewDecoder(in.body)
	switch {
	case !t.begun[f.dir] && f.dir == FromClient:
		connectRequest(&entry, &d)
	case !t.begun[f.dir]:
		connectResponse(&entry, &d)
		t.session = entry.Session
	case f.dir == FromClient:
		t.request(&entry, &d, at)
	default:
		t.reply(&entry, &d)
	}
	t.begun[f.dir] = true
	if err := d.Err(); err != nil && len(in.body) == in.size {
		entry.note(err.Error())
	} else if err != nil {
		entry.note("too long to decode all of it")
	}
	return entry
}

func (f *Frame) note(s string) {
	if f.Note != "" {
		s = f.Note + ", " + s
	}
	f.Note = s
}

func connectRequest(f *Frame, d *wire.Decoder) {
	var q wire.ConnectRequest
	q.Decode(d)
	f.Op, f.Session, f.Zxid = OpConnect, q.SessionID, q.LastZxidSeen
	f.note(fmt.Sprintf("wants timeout %v", milliseconds(q.Timeout)))
	if q.ReadOnly {
		f.note("read-only will do")
	}
}

func connectResponse(f *Frame, d *wire.Decoder) {
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
func (t *talk) request(f *Frame, d *wire.Decoder, at time.Time) {
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

// describe fills in what a request's record says.
func describe(f *Frame, d *wire.Decoder) {
	switch f.Op {
	case wire.OpGetData, wire.OpExists, wire.OpGetChildren, wire.OpGetChildren2:
		var q wire.PathWatchRequest
		q.Decode(d)
		if f.Path = q.Path; q.Watch {
			f.note("watch")
		}
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		var q wire.CreateRequest // of createTTL all but the last field
		q.Decode(d)
		if f.Path = q.Path; d.Err() == nil && q.Flags != 0 {
			f.note(modeName(q.Flags))
		}
	case wire.OpSetData:
		var q wire.SetDataRequest
		q.Decode(d)
		if f.Path = q.Path; d.Err() == nil {
			f.version(q.Version)
		}
	case wire.OpDelete, wire.OpCheck:
		var q wire.PathVersionRequest
		q.Decode(d)
		f.Path = q.Path
		f.version(q.Version)
	case wire.OpGetACL, wire.OpSync, wire.OpGetEphemerals, wire.OpAllChildrenNumber, wire.OpSetACL, wire.OpCheckWatches, wire.OpRemoveWatches:
		var q wire.PathRequest // which the longer ones begin with
		q.Decode(d)
		f.Path = q.Path
	case wire.OpAddWatch:
		var q wire.AddWatchRequest
		q.Decode(d)
		if f.Path = q.Path; q.Mode == wire.AddWatchPersistentRecursive {
			f.note("recursive")
		}
	case wire.OpSetWatches, wire.OpSetWatches2:
		f.Zxid = d.Int64()
		describeWatches(f, d)
	case wire.OpAuth:
		d.Int32()
		f.note("scheme " + plainWord(d.String())) // and no word of the credential
	case wire.OpMulti, wire.OpMultiRead:
		describeMulti(f, d)
	}
}

// plainWord quotes what a peer has chosen, unless it is nothing but letters, digits
// and the like.
func plainWord(s string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}

func (f *Frame) version(v int32) {
	if v != -1 {
		f.note(fmt.Sprint("version ", v))
	}
}

func modeName(flags int32) string {
	names := [...]string{"persistent", "ephemeral", "sequential", "ephemeral sequential", "container", "TTL", "sequential TTL"}
	if flags < 0 || int(flags) >= len(names) {
		return fmt.Sprint("mode ", flags)
	}
	return names[flags]
}

func describeWatches(f *Frame, d *wire.Decoder) {
	kinds := []string{"data", "exist", "child", "persistent", "recursive"}
	if f.Op == wire.OpSetWatches {
		kinds = kinds[:3]
	}
	for _, kind := range kinds {
		n := max(d.Count(4), 0)
		for range n {
			d.Buffer()
		}
		if d.Err() == nil && n > 0 {
			f.note(fmt.Sprintf("%d %s", n, kind))
		}
	}
}

// shownOps is how many operations of a multi its entry names.
const shownOps = 8

func describeMulti(f *Frame, d *wire.Decoder) {
	if f.Len > d.Len()+8 {
		d.Fail("") // only some of it is here
		return
	}
	var q wire.MultiRequest
	q.Decode(d)
	var ops []string
	for _, op := range q.Ops[:min(len(q.Ops), shownOps)] {
		path := ""
		switch q := op.Request.(type) {
		case wire.CreateRequest:
			path = q.Path
		case wire.CreateTTLRequest:
			path = q.Path
		case wire.PathVersionRequest:
			path = q.Path
		case wire.SetDataRequest:
			path = q.Path
		case wire.PathWatchRequest:
			path = q.Path
		}
		ops = append(ops, fmt.Sprintf("%v %q", op.Op, path))
	}
	if more := len(q.Ops) - len(ops); more > 0 {
		ops = append(ops, fmt.Sprintf("%d more", more))
	}
	if ops != nil {
		f.note(strings.Join(ops, ", "))
	}
}

// reply decodes a reply or an event.
func (t *talk) reply(f *Frame, d *wire.Decoder) {
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
func (t *talk) answered(xid int32, f *Frame) (asked, bool) {
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

// describeResults says which operation made a multi fail.
func describeResults(f *Frame, d *wire.Decoder) {
	var r wire.MultiResult
	for i := 0; r.Next(d); i++ {
		if r.Err != wire.ErrOK && r.Err != wire.ErrRuntimeInconsistency {
			f.note(fmt.Sprintf("op %d failed: err %d", i, r.Err))
			return
		}
	}
}
