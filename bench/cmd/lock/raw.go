package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// This file is the raw limit: turns with the very frames of recipe.Lock, and no
// client around them. They are encoded once, and names are patched into them. What
// a session does about a reply is one switch. It checks nothing that is not needed
// to take turns, and meets no other clients.

// The xids say what a reply answers.
const (
	xidCreate = iota + 1
	xidPlace  // the list behind the create
	xidOwn    // what the watch on the own znode came with
	xidAhead  // and that on the one ahead
	xidGone   // the list behind the event
	xidDelete
)

// digits are those of a sequence number.
const digits = 10

// contender is a session of the raw limit.
type contender struct {
	nc   net.Conn
	in   []byte
	r, w int // what of in was read, and not looked at

	join  []byte // create, list
	both  []byte // watch the own znode, watch the one ahead
	next  []byte // the second of these alone
	gone  []byte // list
	leave []byte // delete

	// Parts of the frames above.
	number, last []byte // of the own znode, in both and leave
	ahead        []byte // the name in next; zeros while no event is waited for
}

func frame(dst []byte, xid int32, op wire.Op, body wire.Record) []byte {
	at := len(dst)
	dst = wire.BeginFrame(dst)
	dst = wire.RequestHeader{Xid: xid, Op: op}.Append(dst)
	dst = body.Append(dst)
	wire.EndFrame(dst[at:], 0)
	return dst
}

// dialRaw begins a session, and encodes what it will send. All names have the same
// length.
func dialRaw(addr, dir string, i int) (*contender, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &contender{nc: nc, in: make([]byte, 64<<10)}
	b := wire.BeginFrame(nil)
	b = wire.ConnectRequest{Timeout: 30000, Password: make([]byte, 16), HasReadOnly: true}.Append(b)
	wire.EndFrame(b, 0)
	acl := []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}
	b = frame(b, xidCreate, wire.OpCreate, wire.CreateRequest{Path: dir, ACL: acl}) // which may be there
	if _, err := nc.Write(b); err != nil {
		return nil, err
	}
	for range 2 {
		if _, err := c.read(); err != nil {
			return nil, err
		}
	}

	prefix := fmt.Sprintf("%s/_c_%08x-0000-4000-8000-000000000000-lock-", dir, i)
	path := prefix + strings.Repeat("0", digits)
	list := wire.PathWatchRequest{Path: dir}
	c.join = frame(nil, xidCreate, wire.OpCreate2, wire.CreateRequest{Path: prefix, ACL: acl, Flags: wire.FlagEphemeralSequential})
	c.join = frame(c.join, xidPlace, wire.OpGetChildren2, list)
	c.gone = frame(nil, xidGone, wire.OpGetChildren2, list)
	c.both = frame(nil, xidOwn, wire.OpGetData, wire.PathWatchRequest{Path: path, Watch: true})
	first := len(c.both)
	c.both = frame(c.both, xidAhead, wire.OpGetData, wire.PathWatchRequest{Path: path, Watch: true})
	c.number = c.both[first-1-digits : first-1]
	c.next = c.both[first:]
	c.ahead = c.next[len(c.next)-1-len(path[len(dir)+1:]) : len(c.next)-1]
	c.leave = frame(nil, xidDelete, wire.OpDelete, wire.PathVersionRequest{Path: path, Version: -1})
	c.last = c.leave[len(c.leave)-4-digits : len(c.leave)-4]
	return c, nil
}

// read returns the body of the next frame, which is good until it is called again.
func (c *contender) read() ([]byte, error) {
	for {
		if n := c.w - c.r; n >= 4 {
			if size := 4 + wire.FrameLen(c.in[c.r:]); n >= size {
				b := c.in[c.r+4 : c.r+size]
				c.r += size
				return b, nil
			}
		}
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
		n, err := c.nc.Read(c.in[c.w:])
		if err != nil {
			return nil, err
		}
		c.w += n
	}
}

// turns takes turns.
func (c *contender) turns(count int) error {
	out := c.join
	for count > 0 {
		if out != nil {
			if _, err := c.nc.Write(out); err != nil {
				return err
			}
		}
		b, err := c.read()
		if err != nil {
			return err
		}
		out = nil
		xid, code := int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[12:]))
		if code != 0 && (xid != xidAhead || code != wire.ErrNoNode) {
			return fmt.Errorf("error %d to request %d", code, xid)
		}
		body := b[16:]
		switch xid {
		case xidCreate:
			end := 4 + wire.FrameLen(body)
			copy(c.number, body[end-digits:end])
			copy(c.last, body[end-digits:end])
		case xidPlace, xidGone:
			out = c.look(body, xid == xidPlace)
		case xidAhead:
			if code != 0 {
				out = c.gone
			}
		case wire.XidNotification: // its path is all that is left
			if bytes.HasSuffix(body, c.ahead) {
				out = c.gone
			}
		case xidDelete:
			count--
			out = c.join
		}
	}
	return nil
}

// look returns what to send when it has read who is in the directory: the delete
// if nobody is ahead. Numbers have all their digits, so they compare as text.
func (c *contender) look(body []byte, first bool) []byte {
	found := false
	n := binary.BigEndian.Uint32(body)
	for body = body[4:]; n > 0; n-- {
		end := 4 + wire.FrameLen(body)
		name := body[4:end]
		body = body[end:]
		number := name[len(name)-digits:]
		if bytes.Compare(number, c.number) < 0 && (!found || bytes.Compare(number, c.ahead[len(c.ahead)-digits:]) > 0) {
			copy(c.ahead, name)
			found = true
		}
	}
	switch {
	case !found:
		clear(c.ahead) // no event is waited for
		return c.leave
	case first:
		return c.both
	}
	return c.next
}
