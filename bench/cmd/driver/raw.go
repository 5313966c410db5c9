package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"

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

func dialRaw(o options) (*raw, error) {
	nc, err := greet(o)
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
		if size < 16 || size > 64<<20 {
			return 0, fmt.Errorf("a reply of %d bytes", size)
		}
		if len(b) < 4+size {
			if 4+size > len(r.in) {
				r.in = append(make([]byte, 0, 4+size), b...)[:4+size]
				r.r, r.w = 0, len(b)
			}
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

// firstWindow is by how much a window grows at a time, so that neither side's write
// waits for the other's.
const firstWindow = 512

// run keeps window requests on the wire until it is told to stop, and returns how
// many were answered.
func (r *raw) run(f frames, window int, stop *atomic.Bool) (int64, error) {
	size := len(f.b) / (2 * f.n)
	open := min(window, firstWindow)
	if _, err := r.nc.Write(f.b[:open*size]); err != nil {
		return 0, err
	}
	at, done := open%f.n, int64(0)
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
		n := min(window-open, got+firstWindow)
		if _, err := r.nc.Write(f.b[at*size : (at+n)*size]); err != nil {
			return 0, err
		}
		at = (at + n) % f.n
		open += n
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

// converse writes requests while it reads, until so many replies have come.
func (r *raw) converse(b []byte, replies int) error {
	failed := make(chan error, 1)
	go func() {
		_, err := r.nc.Write(b)
		failed <- err
	}()
	for replies > 0 {
		got, err := r.replies()
		if err != nil {
			return err
		}
		replies -= got
	}
	return <-failed
}
