// Package frames cuts what a server sends into frames. It bounds the memory that a
// frame may take by what has arrived of it.
package frames

import (
	"fmt"
	"io"
	"sync"

	"github.com/seed-9f8420c6/zk/wire"
)

const (
	// smallBuffer holds a reply with 1 KiB of data, in one read.
	smallBuffer = 2 << 10
	largeBuffer = 64 << 10
	minFrame    = 16 // a reply's header

	// believed is the largest length for which memory is allocated at once, before the
	// bytes have come. A server does not store more than 1 MiB in a znode
	// (jute.maxbuffer).
	believed = 1<<20 + 4<<10
)

var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// TooLarge is a frame above the limit. Head is what has come of it.
type TooLarge struct {
	Size int
	Head []byte
}

func (e *TooLarge) Error() string { return fmt.Sprintf("a frame of %d bytes", e.Size) }

// TooSmall is a frame with no room for a header, or with a negative length.
type TooSmall int

func (e TooSmall) Error() string { return fmt.Sprintf("a frame of %d bytes", int(e)) }

// Reader reads frames. It uses a small buffer, and a pooled large one under load. A
// frame that is larger still gets one of its own, which grows with what has arrived
// if the length is more than believed. Only one goroutine uses it.
type Reader struct {
	src   io.Reader
	limit int // largest frame
	buf   []byte
	small []byte
	large *[largeBuffer]byte
	own   bool // buf is for one frame
	r, w  int  // buf[r:w] is read and not taken
	full  bool // the last read filled the buffer
	last  int  // bytes of the last read
}

// NewReader returns a Reader of frames of at most limit bytes.
func NewReader(src io.Reader, limit int) *Reader {
	small := make([]byte, smallBuffer)
	return &Reader{src: src, limit: limit, buf: small, small: small}
}

// Fill reads once, and returns how many bytes came.
func (f *Reader) Fill() (int, error) {
	n, err := f.src.Read(f.buf[f.w:])
	f.full = n == len(f.buf)-f.w
	f.w += n
	f.last = n
	return n, err
}

// Busy reports whether the last read brought so much that more is under way.
func (f *Reader) Busy() bool { return f.last >= largeBuffer/2 }

// Next returns the next frame without its length, which is valid until Settle; nil:
// none is complete.
func (f *Reader) Next() ([]byte, error) {
	b := f.buf[f.r:f.w]
	if len(b) < 4 {
		return nil, nil
	}
	size := wire.FrameLen(b)
	b = b[4:]
	switch {
	case size < minFrame:
		return nil, TooSmall(size)
	case size > f.limit:
		return nil, &TooLarge{size, b}
	case len(b) < size:
		return nil, nil
	}
	f.r += 4 + size
	return b[:size], nil
}

// Kept reports whether the last frame may be kept: nobody will write into it.
func (f *Reader) Kept() bool { return f.own }

// Settle makes room for the next Fill, when no frame is complete. It returns the size
// of the frame that is cut off, with its length and as far as known; 0: none is. With
// idle it may fall back to the small buffer.
func (f *Reader) Settle(idle func() bool) (cut int) {
	if f.r == f.w { // as most often
		f.r, f.w = 0, 0
		f.disown()
		if len(f.buf) == smallBuffer && !f.full {
			return 0
		}
	} else if f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if f.w > 0 {
		cut = 4
		if f.w >= 4 {
			cut += wire.FrameLen(f.buf)
		}
	}
	switch {
	case cut > largeBuffer && (!f.own || f.w == len(f.buf)):
		size := cut
		if cut > believed {
			size = min(cut, 2*max(largeBuffer, f.w))
		}
		grown := make([]byte, size)
		copy(grown, f.buf[:f.w])
		f.buf, f.own = grown, true
	case len(f.buf) < largeBuffer && (f.full || cut > len(f.buf)):
		f.large = largeBuffers.Get().(*[largeBuffer]byte)
		copy(f.large[:], f.buf[:f.w])
		f.buf = f.large[:]
	case f.w == 0 && f.large != nil && f.last < smallBuffer && idle():
		f.buf = f.small
		f.Release()
	}
	return cut
}

// disown leaves the buffer of one frame to whoever has that. That it is full says nothing
// of what comes next.
func (f *Reader) disown() {
	if f.own {
		f.own, f.buf, f.full = false, f.small, false
		if f.large != nil {
			f.buf = f.large[:]
		}
	}
}

// Cut reports whether a frame is cut off.
func (f *Reader) Cut() bool { return f.w > f.r }

// Release gives the pooled buffer back. The Reader is not used any more, or has
// another buffer.
func (f *Reader) Release() {
	if f.large != nil {
		largeBuffers.Put(f.large)
		f.large = nil
	}
}
