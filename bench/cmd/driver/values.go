package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/wire"
)

// valuePath is the node with a value of so many bytes. On the responder every path
// exists; setup makes those of valueSizes on a real server.
func valuePath(size int) string { return fmt.Sprintf("/bench/value-%d", size) }

var valueSizes = []int{1 << 10, 64 << 10, 1e6}

// values reads or writes values of r.bytes bytes, one caller. What was read is of
// that size, or it does not count.
func values(r *run, w workload) (*result.Sample, error) {
	path := valuePath(r.bytes)
	if r.client == "raw" {
		return rawValues(r, w.op, path)
	}
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.value == nil {
		return nil, errNone
	}
	data := make([]byte, r.bytes)
	return r.alone(func() error {
		if w.op == wire.OpSetData {
			return c.set(path, data)
		}
		n, err := c.value(path)
		if err == nil && n != r.bytes {
			err = fmt.Errorf("%d bytes instead of %d: see the responder's -data", n, r.bytes)
		}
		return err
	})
}

// rawValues is the limit of that: the same bytes through a socket, and a Get's data
// into a fresh slice.
func rawValues(r *run, op wire.Op, path string) (*result.Sample, error) {
	raw, err := dialRaw(r.options)
	if err != nil {
		return nil, err
	}
	defer raw.nc.Close()
	if op == wire.OpSetData {
		set := request(nil, 1, op, wire.SetDataRequest{Path: path, Data: make([]byte, r.bytes), Version: -1})
		return r.alone(func() error { return raw.call(set) })
	}
	get := request(nil, 1, op, wire.PathWatchRequest{Path: path})
	first := make([]byte, 4<<10)
	return r.alone(func() error {
		if _, err := raw.nc.Write(get); err != nil {
			return err
		}
		_, err := raw.value(first, r.bytes)
		return err
	})
}

// value reads the reply to a getData and returns its data, in a slice of its own.
// first is room for what comes before its size is known.
func (r *raw) value(first []byte, want int) ([]byte, error) {
	const head, stat = 4 + 16 + 4, 68
	n, err := io.ReadAtLeast(r.nc, first, head)
	if err != nil {
		return nil, err
	}
	code, size := int32(binary.BigEndian.Uint32(first[16:])), int(int32(binary.BigEndian.Uint32(first[20:])))
	if code != 0 || size != want || wire.FrameLen(first) != head-4+size+stat {
		return nil, fmt.Errorf("error %d, %d bytes of data in a frame of %d, want %d", code, size, wire.FrameLen(first), want)
	}
	data := make([]byte, size+stat)
	if n = copy(data, first[head:n]); n < len(data) {
		if _, err := io.ReadFull(r.nc, data[n:]); err != nil {
			return nil, err
		}
	}
	kept = data[:size]
	return kept, nil
}

// kept makes a slice one that outlives its function.
var kept []byte

// call sends a request and waits for its reply.
func (r *raw) call(request []byte) error {
	if _, err := r.nc.Write(request); err != nil {
		return err
	}
	for {
		if got, err := r.replies(); got > 0 || err != nil {
			return err
		}
	}
}

// alone is one caller, whose calls are timed. It makes at least one.
func (r *run) alone(f func() error) (*result.Sample, error) {
	if r.ops > 0 {
		return r.exactly(1, f)
	}
	l := newLatencies()
	s, err := r.both(func(stop *atomic.Bool) (int64, error) {
		l.reset()
		for l.n == 0 || !stop.Load() {
			if err := l.time(f); err != nil {
				return 0, err
			}
		}
		return int64(l.n), nil
	})
	l.put(s)
	return s, err
}
