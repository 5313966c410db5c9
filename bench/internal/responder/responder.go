// Package responder answers ZooKeeper clients as fast as it can, so that what is
// measured against it is the client. It speaks the protocol and has no tree: every
// path exists and has the same data, names and Stat, but those below Absent.
//
// It reads in large chunks, and writes the replies to all that it has read in one
// write, once no complete request is left.
package responder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/seed-9f8420c6/zk/wire"
)

// Paths with a meaning.
const (
	// Absent is the prefix of paths that do not exist: getData and getChildren
	// answer ErrNoNode, and exists arms a watch for Created.
	Absent = "/absent"
	// Burst makes its connection a storm: a setData or delete of it first fires
	// every one-shot watch that the connection has armed, in the order of arming.
	Burst = "/burst"
	// Cut hangs up: the answer to a getData of it is the end of the connection.
	Cut = "/cut"
	// EventPath is the path of the events that EventEvery makes, for connections
	// without a persistent watch.
	EventPath = "/event"
)

// Config says how to answer.
type Config struct {
	Data       int // bytes of data of every path
	Children   int // names below every path
	EventEvery int // one event after so many replies on a connection, for the path of its latest addWatch; 0: none
}

// Default is what the figures of this module are measured with.
var Default = Config{Data: 100, Children: 1000}

// Server answers the connections of one listener.
type Server struct {
	conf Config

	get, set, kids, kids2 []byte // replies as frames, without xid and zxid

	zxid    atomic.Int64
	session atomic.Int64

	mu    sync.Mutex // guards all below
	conns map[net.Conn]struct{}
	done  bool
}

// New returns a Server that answers as conf says.
func New(conf Config) *Server {
	s := &Server{conf: conf, conns: make(map[net.Conn]struct{})}
	s.zxid.Store(1 << 32)
	s.session.Store(0x7000000000000000)
	stat := wire.Stat{Czxid: 1 << 32, Mzxid: 1 << 32, Ctime: 1.7e12, Mtime: 1.7e12, Version: 1, DataLength: int32(conf.Data), NumChildren: int32(conf.Children), Pzxid: 1 << 32}
	data := bytes.Repeat([]byte{'x'}, conf.Data)
	names := make([]string, conf.Children)
	for i := range names {
		names[i] = fmt.Sprintf("child-%07d", i)
	}
	s.get = reply(wire.GetDataResponse{Data: data, Stat: stat})
	s.set = reply(stat)
	s.kids = reply(wire.ChildrenResponse{Children: names})
	s.kids2 = reply(wire.Children2Response{Children: names, Stat: stat})
	return s
}

// reply frames a reply without error; patch completes a copy of it.
func reply(body wire.Record) []byte {
	b := wire.BeginFrame(nil)
	b = wire.ReplyHeader{}.Append(b)
	if body != nil {
		b = body.Append(b)
	}
	wire.EndFrame(b, 0)
	return b
}

var empty = reply(nil)

// Serve answers all connections of a listener until that is closed.
func (s *Server) Serve(l net.Listener) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		s.mu.Lock()
		if s.done {
			s.mu.Unlock()
			nc.Close()
			continue
		}
		s.conns[nc] = struct{}{}
		s.mu.Unlock()
		go func() {
			c := conn{s: s, nc: nc, event: EventPath}
			c.serve()
			nc.Close()
			s.mu.Lock()
			delete(s.conns, nc)
			s.mu.Unlock()
		}()
	}
}

// Close hangs up on everybody.
func (s *Server) Close() {
	s.mu.Lock()
	s.done = true
	for nc := range s.conns {
		nc.Close()
	}
	s.mu.Unlock()
}

const (
	firstBuffer = 2 << 10
	fullBuffer  = 256 << 10
	flushAt     = 1 << 20 // write even while requests are left to answer
	maxFrame    = 64 << 20
)

// conn is one connection.
type conn struct {
	s   *Server
	nc  net.Conn
	out []byte

	armed   [kinds]list // one-shot watches
	event   string      // of EventEvery
	replies int         // since the last such event
}

// Kinds of one-shot watches, in the order of SetWatches.
const (
	data = iota
	exist
	child
	kinds
)

// list is paths with their lengths, as on the wire, in the order of arming. The
// topmost bit of a length says that the watch has fired.
type list struct {
	chunks [][]byte
	left   int // that have not fired
}

const (
	chunkSize = 256 << 10
	firedBit  = 0x80
)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// add appends n paths.
func (l *list) add(paths []byte, n int) {
	last := len(l.chunks) - 1
	if last < 0 || cap(l.chunks[last])-len(l.chunks[last]) < len(paths) {
		var b []byte
		if len(paths) <= chunkSize {
			b = chunks.Get().(*[chunkSize]byte)[:0]
		}
		l.chunks = append(l.chunks, b)
		last++
	}
	l.chunks[last] = append(l.chunks[last], paths...)
	l.left += n
}

func (l *list) clear() {
	for _, b := range l.chunks {
		if cap(b) == chunkSize {
			chunks.Put((*[chunkSize]byte)(b[:chunkSize]))
		}
	}
	*l = list{}
}

// fire calls f for every path that has not fired, and marks those for which it returns true.
func (l *list) fire(f func(path []byte) bool) {
	for _, b := range l.chunks {
		for len(b) > 0 {
			n := binary.BigEndian.Uint32(b)
			size := 4 + int(n&^(firedBit<<24))
			if n&(firedBit<<24) == 0 && f(b[4:size]) {
				b[0] |= firedBit
				l.left--
			}
			b = b[size:]
		}
	}
	if l.left == 0 {
		l.clear()
	}
}

func (c *conn) serve() {
	defer func() {
		for kind := range c.armed {
			c.armed[kind].clear()
		}
	}()
	in := make([]byte, firstBuffer)
	r, w := 0, 0
	greeted := false
	for {
		n, err := c.nc.Read(in[w:])
		w += n
		for w-r >= 4 {
			size := wire.FrameLen(in[r:])
			if size < 0 || size > maxFrame {
				return
			}
			if w-r < 4+size {
				break
			}
			body := in[r+4 : r+4+size]
			r += 4 + size
			if !greeted {
				greeted = c.greet(body)
				if !greeted {
					return
				}
			} else if !c.answer(body) {
				c.nc.Write(c.out)
				return
			}
			if len(c.out) >= flushAt && !c.flush() {
				return
			}
		}
		if len(c.out) > 0 && !c.flush() {
			return
		}
		if err != nil {
			return
		}
		if r == w {
			r, w = 0, 0
		} else if r > 0 {
			w = copy(in, in[r:w])
			r = 0
		}
		if w == len(in) || n == len(in) && len(in) < fullBuffer {
			larger := make([]byte, max(fullBuffer, 2*len(in)))
			copy(larger, in[:w])
			in = larger
		}
	}
}

func (c *conn) flush() bool {
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 4*flushAt {
		c.out = nil
	}
	return err == nil
}

// greet answers the ConnectRequest. Sessions never expire, and any password will do.
func (c *conn) greet(body []byte) bool {
	d := wire.NewDecoder(body)
	var req wire.ConnectRequest
	req.Decode(&d)
	if d.Err() != nil {
		return false
	}
	id := req.SessionID
	if id == 0 {
		id = c.s.session.Add(1)
	}
	c.out = wire.BeginFrame(c.out)
	c.out = wire.ConnectResponse{Timeout: req.Timeout, SessionID: id, Password: make([]byte, 16), HasReadOnly: req.HasReadOnly}.Append(c.out)
	wire.EndFrame(c.out, 0)
	return true
}

// put appends a reply, completed.
func (c *conn) put(frame []byte, xid uint32, zxid int64) {
	at := len(c.out)
	c.out = append(c.out, frame...)
	b := c.out[at : at+16]
	binary.BigEndian.PutUint32(b[4:], xid)
	binary.BigEndian.PutUint64(b[8:], uint64(zxid))
}

func (c *conn) fail(code int32, xid uint32) {
	c.put(empty, xid, c.s.zxid.Load())
	binary.BigEndian.PutUint32(c.out[len(c.out)-4:], uint32(code))
}

// record answers with a body that is made for this request.
func (c *conn) record(body wire.Record, xid uint32) {
	at := len(c.out)
	c.out = wire.BeginFrame(c.out)
	c.out = wire.ReplyHeader{Xid: int32(xid), Zxid: c.s.zxid.Load()}.Append(c.out)
	c.out = body.Append(c.out)
	wire.EndFrame(c.out[at:], 0)
}

// pathOf returns the string at b, which is the path of nearly all requests, and what follows it.
func pathOf(b []byte) (path, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := int(int32(binary.BigEndian.Uint32(b)))
	if n < 0 || n > len(b)-4 {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

func absent(path []byte) bool {
	return len(path) >= len(Absent) && string(path[:len(Absent)]) == Absent
}

// answer takes one request; false ends the connection.
func (c *conn) answer(body []byte) bool {
	if len(body) < 8 {
		return false
	}
	s := c.s
	xid, op := binary.BigEndian.Uint32(body), wire.Op(int32(binary.BigEndian.Uint32(body[4:])))
	switch op {
	case wire.OpGetData, wire.OpExists, wire.OpGetChildren, wire.OpGetChildren2:
		path, rest, ok := pathOf(body[8:])
		if !ok {
			return false
		}
		if op == wire.OpGetData && string(path) == Cut {
			return false
		}
		watch := len(rest) > 0 && rest[0] != 0
		if absent(path) {
			if watch && op == wire.OpExists {
				c.armed[exist].add(body[8:12+len(path)], 1)
			}
			c.fail(wire.ErrNoNode, xid)
			break
		}
		frame, kind := s.get, data
		switch op {
		case wire.OpExists:
			frame = s.set
		case wire.OpGetChildren:
			frame, kind = s.kids, child
		case wire.OpGetChildren2:
			frame, kind = s.kids2, child
		}
		if watch {
			c.armed[kind].add(body[8:12+len(path)], 1)
		}
		c.put(frame, xid, s.zxid.Load())
	case wire.OpSetData, wire.OpDelete:
		path, _, ok := pathOf(body[8:])
		if !ok {
			return false
		}
		zxid := s.zxid.Add(1)
		frame, typ := s.set, wire.EventNodeDataChanged
		if op == wire.OpDelete {
			frame, typ = empty, wire.EventNodeDeleted
		}
		c.fire(path, typ)
		c.put(frame, xid, zxid)
	case wire.OpCreate, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL:
		path, _, ok := pathOf(body[8:])
		if !ok {
			return false
		}
		s.zxid.Add(1)
		c.fire(path, wire.EventNodeCreated)
		if op == wire.OpCreate {
			c.record(wire.PathResponse{Path: string(path)}, xid)
		} else {
			c.record(wire.Create2Response{Path: string(path)}, xid)
		}
	case wire.OpSync:
		path, _, ok := pathOf(body[8:])
		if !ok {
			return false
		}
		c.record(wire.PathResponse{Path: string(path)}, xid)
	case wire.OpPing, wire.OpAuth, wire.OpRemoveWatches:
		c.put(empty, xid, s.zxid.Load())
		return true
	case wire.OpAddWatch:
		path, _, ok := pathOf(body[8:])
		if !ok {
			return false
		}
		c.event = string(path)
		c.put(empty, xid, s.zxid.Load())
	case wire.OpSetWatches, wire.OpSetWatches2:
		if !c.restore(op, body[8:]) {
			return false
		}
		c.put(empty, xid, s.zxid.Load())
	case wire.OpCloseSession:
		c.put(empty, xid, s.zxid.Load())
		return false
	default:
		c.fail(wire.ErrUnimplemented, xid)
	}
	if s.conf.EventEvery > 0 {
		if c.replies++; c.replies >= s.conf.EventEvery {
			c.replies = 0
			c.notify(wire.EventNodeDataChanged, []byte(c.event))
		}
	}
	return true
}

// restore arms what a SetWatches brings. Nothing ever has changed meanwhile.
func (c *conn) restore(op wire.Op, b []byte) bool {
	if len(b) < 8 {
		return false
	}
	b = b[8:]
	lists := kinds
	if op == wire.OpSetWatches2 {
		lists += 2 // persistent ones, which fire by EventEvery only
	}
	for kind := range lists {
		if len(b) < 4 {
			return false
		}
		n := int(int32(binary.BigEndian.Uint32(b)))
		b = b[4:]
		rest := b
		for range n {
			var path []byte
			var ok bool
			if path, rest, ok = pathOf(rest); !ok {
				return false
			}
			if kind >= kinds {
				c.event = string(path)
			}
		}
		if kind < kinds && n > 0 {
			c.armed[kind].add(b[:len(b)-len(rest)], n)
		}
		b = rest
	}
	return true
}

func (c *conn) notify(typ int32, path []byte) {
	at := len(c.out)
	c.out = append(c.out, 0, 0, 0, 0,
		0xff, 0xff, 0xff, 0xff, // xid -1
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // zxid -1, as servers before 3.9
		0, 0, 0, 0, 0, 0, 0, byte(typ), 0, 0, 0, byte(wire.StateSyncConnected))
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(path)))
	c.out = append(c.out, path...)
	wire.EndFrame(c.out[at:], 0)
}

// fire sends the events of a change of path, or of a Burst. It looks through all
// that is armed, which is dear for a connection that arms much and writes much.
func (c *conn) fire(path []byte, typ int32) {
	all := string(path) == Burst
	told := false // a server sends one Deleted for the data and the child watch of a connection
	for kind := range c.armed {
		if c.armed[kind].left == 0 {
			continue
		}
		ev := typ
		switch {
		case all:
			ev = [...]int32{data: wire.EventNodeDataChanged, exist: wire.EventNodeCreated, child: wire.EventNodeChildrenChanged}[kind]
		case (typ == wire.EventNodeCreated) != (kind == exist), typ == wire.EventNodeDataChanged && kind != data:
			continue
		}
		c.armed[kind].fire(func(p []byte) bool {
			if !all && !bytes.Equal(p, path) {
				return false
			}
			if all || !told {
				c.notify(ev, p)
				told = true
			}
			if len(c.out) >= flushAt {
				c.flush()
			}
			return true
		})
	}
}
