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
	maxSpare = 512 << 10
	// maxSpares is how many it keeps: between large frames there are several small ones.
	// All but one are no larger than maxFurther.
	maxSpares  = 4
	maxFurther = 64 << 10
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
	spares [][]byte
	list   [][]byte
	loan   *loan
	gather *gather
}

// append copies frames.
func (o *outbox) append(frames []byte) { o.extend(append(o.last, frames...), len(frames)) }

// extend takes last back, to which somebody has appended so many bytes.
func (o *outbox) extend(last []byte, size int) {
	o.last = last
	o.size += size
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
		o.last = o.spare()
	}
}

// spare takes an empty buffer; nil: there is none.
func (o *outbox) spare() []byte {
	n := len(o.spares) - 1
	if n < 0 {
		return nil
	}
	b := o.spares[n]
	o.spares = o.spares[:n]
	return b
}

// keep makes a buffer one for what comes next.
func (o *outbox) keep(b []byte) {
	if n := len(o.spares); n == 0 && cap(b) <= maxSpare || n < maxSpares && cap(b) <= maxFurther {
		o.spares = append(o.spares, b[:0])
	}
}

// take moves what is queued into a parcel, which is empty.
func (o *outbox) take(p *parcel) {
	if o.lent != nil || len(o.ahead) > 0 {
		o.takeLarge(p)
		return
	}
	p.one, p.size = o.last, o.size // as most often
	o.last, o.size = o.spare(), 0
}

func (o *outbox) takeLarge(p *parcel) {
	if o.lent != nil { // alone
		p.loan, p.size = o.lent, o.lent.call.Size()
		o.lent, o.size = nil, o.size-p.size
		return
	}
	o.push()
	p.many, p.gather, p.size = o.ahead, o.gather, o.size
	o.ahead, o.gather, o.size = nil, nil, 0
	if p.gather == nil {
		p.gather = new(gather)
	}
}

// back takes the memory of what was written, for what comes next, and empties the parcel.
func (o *outbox) back(p *parcel) {
	switch {
	case p.loan != nil:
		o.loan = p.loan
	case p.many == nil: // as most often
		o.keep(p.one)
		p.one = nil
		return
	}
	for _, b := range p.many {
		if !release(b) {
			o.keep(b)
		}
	}
	if p.many != nil && cap(p.many) <= maxList {
		clear(p.many)
		o.list, o.gather = p.many[:0], p.gather
	}
	*p = parcel{}
}

// parcel is what a writer has taken.
type parcel struct {
	one    []byte
	many   [][]byte // nil: one is all
	gather *gather  // with many
	loan   *loan    // not nil: it is all
	size   int
}

// gather is a list that a write takes apart.
type gather struct {
	parts [][]byte
	bufs  net.Buffers
}

// write writes it, in one system call where the connection can do that, and returns how
// many bytes have left.
func (p *parcel) write(w io.Writer) (int, error) {
	if p.loan != nil {
		return p.loan.write(w)
	}
	switch len(p.many) {
	case 0:
		return w.Write(p.one)
	case 1:
		return w.Write(p.many[0])
	}
	return p.gather.write(w, p.many)
}

// write is apart, so that the goroutine that writes fits its first stack.
//
//go:noinline
func (g *gather) write(w io.Writer, list [][]byte) (int, error) {
	g.parts = append(g.parts[:0], list...)
	g.bufs = g.parts
	n, err := g.bufs.WriteTo(w) // which clears them
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

// large keeps buffers by their size, from minLarge on. It is one for all connections: of
// many that rarely send something large each would keep a buffer for itself. What it holds
// is no more than was under way at once, and is gone after two garbage collections without
// use. Only what has to be copied needs it, see loan.
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

// release keeps a large buffer that nobody uses any more. It reports whether it does: it
// is of Room's.
func release(buf []byte) bool {
	class := bits.Len(uint(cap(buf))) - 1
	if class < minLarge || class > maxLarge || cap(buf) != 1<<class+besides {
		return false
	}
	empty := buf[:0] // buf would be on the heap wherever it comes from
	large[class-minLarge].Put(&empty)
	return true
}
