package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// raw is the limit: one goroutine and frames that were encoded before. It keeps a
// window of requests on the wire, and for every chunk of replies that it reads it
// writes as many requests, at once. Of a reply it looks at the header.
type raw struct {
	nc     net.Conn
	in     []byte
	r, w   int
	events int
}

func dialRaw(addr string, timeout time.Duration) (*raw, error) {
	nc, err := greet(addr, timeout)
	if err != nil {
		return nil, err
	}
	return &raw{nc: nc, in: make([]byte, 256<<10)}, nil
}

// replies reads once and returns how many replies have come. Events are counted apart.
func (r *raw) replies() (int, error) {
	if r.r > 0 {
		r.w = copy(r.in, r.in[r.r:r.w])
		r.r = 0
	}
	n, err := r.nc.Read(r.in[r.w:])
	if err != nil {
		return 0, err
	}
	r.w += n
	got := 0
	for r.w-r.r >= 20 {
		b := r.in[r.r:r.w]
		size := int(binary.BigEndian.Uint32(b))
		if size > len(r.in)-4 {
			return 0, fmt.Errorf("a reply of %d bytes", size)
		}
		if len(b) < 4+size {
			break
		}
		if xid := int32(binary.BigEndian.Uint32(b[4:])); xid == wire.XidNotification {
			r.events++
		} else {
			got++
			if code := int32(binary.BigEndian.Uint32(b[16:])); code != 0 && code != wire.ErrNoNode {
				return 0, fmt.Errorf("error %d", code)
			}
		}
		r.r += 4 + size
	}
	return got, nil
}

// frames are requests of one size, n of them, twice in a row, so that any run of
// up to n is one piece.
type frames struct {
	b []byte
	n int
}

func encode(n int, op wire.Op, body wire.Record) frames {
	var b []byte
	for i := range 2 * n {
		b = request(b, int32(i%n+1), op, body)
	}
	return frames{b, n}
}

// run keeps window requests on the wire until it is told to stop, and returns how
// many were answered.
func (r *raw) run(f frames, window int, stop *atomic.Bool) (int64, error) {
	size := len(f.b) / (2 * f.n)
	if _, err := r.nc.Write(f.b[:window*size]); err != nil {
		return 0, err
	}
	at := window % f.n
	open, done := window, int64(0)
	for open > 0 {
		got, err := r.replies()
		if err != nil {
			return 0, err
		}
		done += int64(got)
		open -= got
		if got == 0 || stop.Load() {
			continue
		}
		if _, err := r.nc.Write(f.b[at*size : (at+got)*size]); err != nil {
			return 0, err
		}
		at = (at + got) % f.n
		open += got
	}
	return done, nil
}

// send writes requests of any size, a piece at a time, and waits for the replies to each.
func (r *raw) send(b []byte) error {
	const piece = 64 << 10
	for len(b) > 0 {
		end, open := 0, 0
		for end < len(b) && end < piece {
			end += 4 + wire.FrameLen(b[end:])
			open++
		}
		if _, err := r.nc.Write(b[:end]); err != nil {
			return err
		}
		for open > 0 {
			got, err := r.replies()
			if err != nil {
				return err
			}
			open -= got
		}
		b = b[end:]
	}
	return nil
}
