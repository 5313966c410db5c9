package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"

	"github.com/seed-9f8420c6/zk/wire"
)

// greet opens a session on a connection of its own and returns the connection.
func greet(o options) (net.Conn, error) {
	nc, err := net.Dial("tcp", o.addr)
	if err != nil {
		return nil, err
	}
	nc = o.secured(nc)
	b := wire.BeginFrame(nil)
	b = wire.ConnectRequest{Timeout: int32(o.timeout.Milliseconds()), Password: make([]byte, 16), HasReadOnly: true}.Append(b)
	wire.EndFrame(b, 0)
	if _, err := nc.Write(b); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(nc, make([]byte, wire.FrameLen(head[:])))
	return nc, err
}

// request frames one request.
func request(dst []byte, xid int32, op wire.Op, body wire.Record) []byte {
	at := len(dst)
	dst = wire.BeginFrame(dst)
	dst = wire.RequestHeader{Xid: xid, Op: op}.Append(dst)
	if body != nil {
		dst = body.Append(dst)
	}
	wire.EndFrame(dst[at:], 0)
	return dst
}

// mux is the least that a client of blocking calls can be: the yardstick. It
// encodes and decodes in earnest and combines writes, and has neither deadlines
// nor contexts, watches, pings, order or errors.
type mux struct {
	nc net.Conn

	mu      sync.Mutex // guards all below
	out     []byte
	spare   []byte
	writing bool
	xid     int32
	ring    []*muxCall
	head    int
	tail    int
}

type muxCall struct {
	xid  int32
	data []byte
	stat wire.Stat
	err  int32
	done chan struct{}
}

var muxCalls = sync.Pool{New: func() any { return &muxCall{done: make(chan struct{}, 1)} }}

func dialMux(o options) (*client, error) {
	nc, err := greet(o)
	if err != nil {
		return nil, err
	}
	m := &mux{nc: nc, ring: make([]*muxCall, 4096)}
	go m.read()
	return &client{
		get: func(path string) error {
			_, _, err := m.get(path)
			return err
		},
		value: func(path string) (int, error) {
			data, _, err := m.get(path)
			return len(data), err
		},
		set:   m.set,
		close: func() { nc.Close() },
	}, nil
}

var errMux = errors.New("an error reply")

func (m *mux) get(path string) ([]byte, wire.Stat, error) {
	c := muxCalls.Get().(*muxCall)
	m.mu.Lock()
	m.out = request(m.out, m.next(c), wire.OpGetData, nil)
	at := len(m.out) - 12
	m.out = wire.PathWatchRequest{Path: path}.Append(m.out)
	wire.EndFrame(m.out[at:], 0)
	m.write()
	<-c.done
	data, stat, code := c.data, c.stat, c.err
	c.data = nil
	muxCalls.Put(c)
	if code != 0 {
		return nil, wire.Stat{}, errMux
	}
	return data, stat, nil
}

func (m *mux) set(path string, data []byte) error {
	c := muxCalls.Get().(*muxCall)
	m.mu.Lock()
	m.out = request(m.out, m.next(c), wire.OpSetData, nil)
	at := len(m.out) - 12
	m.out = wire.SetDataRequest{Path: path, Data: data, Version: -1}.Append(m.out)
	wire.EndFrame(m.out[at:], 0)
	m.write()
	<-c.done
	code := c.err
	c.data = nil
	muxCalls.Put(c)
	if code != 0 {
		return errMux
	}
	return nil
}

// next gives a call its xid and its place.
func (m *mux) next(c *muxCall) int32 {
	m.xid++
	c.xid = m.xid
	if m.tail-m.head == len(m.ring) {
		panic("more calls than the yardstick is made for")
	}
	m.ring[m.tail%len(m.ring)] = c
	m.tail++
	return m.xid
}

// write is entered with the lock and leaves without it: this caller writes, unless
// another one does, who will take its request along.
func (m *mux) write() {
	if m.writing {
		m.mu.Unlock()
		return
	}
	m.writing = true
	others := m.tail-m.head > 1
	for {
		if others {
			m.mu.Unlock()
			runtime.Gosched()
			m.mu.Lock()
		}
		buf := m.out
		if len(buf) == 0 {
			m.writing = false
			m.mu.Unlock()
			return
		}
		m.out, m.spare = m.spare[:0], nil
		m.mu.Unlock()
		if _, err := m.nc.Write(buf); err != nil {
			fatal(err)
		}
		m.mu.Lock()
		m.spare = buf
		others = true
		if len(m.out) == 0 {
			m.writing = false
			m.mu.Unlock()
			return
		}
	}
}

func (m *mux) read() {
	r := bufio.NewReaderSize(m.nc, 64<<10)
	for {
		head, err := r.Peek(4)
		if err != nil {
			return
		}
		size := int(binary.BigEndian.Uint32(head))
		kept := 4+size > r.Size() // a frame of a slice of its own, which its call may keep
		var body []byte
		if kept {
			body = make([]byte, 4+size)
			_, err = io.ReadFull(r, body)
		} else {
			body, err = r.Peek(4 + size)
		}
		if err != nil {
			return
		}
		d := wire.NewDecoder(body[4:])
		var h wire.ReplyHeader
		h.Decode(&d)
		if h.Xid < 0 {
			if !kept {
				r.Discard(4 + size)
			}
			continue
		}
		m.mu.Lock()
		c := m.ring[m.head%len(m.ring)]
		m.ring[m.head%len(m.ring)] = nil
		m.head++
		m.mu.Unlock()
		if c.xid != h.Xid {
			fatal(errors.New("a reply out of order"))
		}
		c.err = h.Err
		if h.Err == 0 {
			if size != 16+68 {
				if c.data = d.Buffer(); !kept {
					c.data = append([]byte(nil), c.data...)
				}
			}
			c.stat.Decode(&d)
		}
		if d.Err() != nil {
			fatal(d.Err())
		}
		if !kept {
			r.Discard(4 + size)
		}
		c.done <- struct{}{}
	}
}
