package pipeline

import (
	"io"
	"math/bits"
	"net"
	"slices"
	"sync"
)

const (
	// largeFrame is as many bytes as are better not copied once more.
	largeFrame = 16 << 10
	// maxSpare is the largest buffer that an outbox keeps.
	maxSpare = 256 << 10
	// maxList is the longest list of buffers that it keeps.
	maxList = 64
)

// outbox is what is queued and not yet taken by a writer: small frames one behind another
// in one buffer, and large ones as they are.
type outbox struct {
	ahead [][]byte // of what comes before last
	last  []byte   // small frames are appended to it
	lent  *loan    // what comes before all; nil: nothing
	size  int      // bytes in all

	// Empty, for what comes next.
	spare []byte
	list  [][]byte
	loan  *loan
}

// append copies frames.
func (o *outbox) append(frames []byte) {
	o.last = append(o.last, frames...)
	o.size += len(frames)
}

// adopt takes a large frame over: nobody else uses it any more.
func (o *outbox) adopt(frame []byte) {
	if o.ahead == nil {
		o.ahead, o.list = o.list, nil
	}
	o.push()
	o.ahead = append(o.ahead, frame)
	o.size += len(frame)
}

// push begins another buffer.
func (o *outbox) push() {
	if len(o.last) > 0 {
		o.ahead = append(o.ahead, o.last)
		o.last, o.spare = o.spare, nil
	}
}

// take empties it.
func (o *outbox) take() parcel {
	if o.lent != nil {
		return o.takeLent()
	}
	p := parcel{size: o.size}
	if len(o.ahead) == 0 { // as most often
		p.one = o.last
		o.last, o.spare = o.spare, nil
	} else {
		o.push()
		p.many, o.ahead = o.ahead, nil
	}
	o.size = 0
	return p
}

// back takes the memory of what was written, for what comes next.
func (o *outbox) back(p parcel) {
	if p.loan != nil {
		o.loan = p.loan
		return
	}
	if p.many == nil {
		if cap(p.one) <= maxSpare {
			o.spare = p.one[:0]
		}
		return
	}
	for _, b := range p.many {
		release(b)
	}
	if cap(p.many) <= maxList {
		clear(p.many)
		o.list = p.many[:0]
	}
}

// parcel is what a writer has taken.
type parcel struct {
	one  []byte
	many [][]byte // nil: one is all
	loan *loan    // not nil: it is all
	size int
}

// write writes it, in one system call where the connection can do that, and returns how
// many bytes have left.
func (p parcel) write(w io.Writer) (int, error) {
	if p.loan != nil {
		return p.loan.write(w)
	}
	switch len(p.many) {
	case 0:
		return w.Write(p.one)
	case 1:
		return w.Write(p.many[0])
	}
	return p.writeMany(w)
}

// writeMany is apart, so that the goroutine that writes fits its first stack.
//
//go:noinline
func (p parcel) writeMany(w io.Writer) (int, error) {
	bufs := net.Buffers(slices.Clone(p.many)) // WriteTo takes it apart
	n, err := bufs.WriteTo(w)
	return int(n), err
}

// Large buffers come in sizes of a power of two, 8 KiB to 1 MiB, and a little more, so
// that data of such a size fits with what a frame has besides. The largest holds what
// a server takes by default.
const (
	minLarge = 13
	maxLarge = 20
	besides  = 256
)

// large keeps buffers by their size, from minLarge on.
var large [maxLarge - minLarge + 1]sync.Pool

// Room returns an empty buffer for n bytes: buf, if that has room.
func Room(buf []byte, n int) []byte {
	if n <= cap(buf) || n <= maxKeptFrames || n > 1<<maxLarge+besides {
		return slices.Grow(buf[:0], n)
	}
	class := max(bits.Len(uint(n-besides-1)), minLarge)
	if b, ok := large[class-minLarge].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<class+besides)
}

// release keeps a large buffer that nobody uses any more.
func release(buf []byte) {
	class := bits.Len(uint(cap(buf))) - 1
	if class < minLarge || class > maxLarge || cap(buf) != 1<<class+besides {
		return // it is none of Room's
	}
	buf = buf[:0]
	large[class-minLarge].Put(&buf)
}
