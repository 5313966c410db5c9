package pipeline

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"weak"

	"gotest.tools/v3/assert"
)

// What is queued leaves in order, whether it was copied or adopted.
func TestOutbox(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var o outbox
		var want, got bytes.Buffer
		next := byte(0)
		for range 50 {
			n := 3
			if o.size == 0 {
				n = 4
			}
			switch rng.IntN(n) {
			case 0:
				next++
				small := bytes.Repeat([]byte{next}, 1+rng.IntN(20))
				want.Write(small)
				o.append(small)
			case 1:
				next++
				frame := append(Room(nil, 9000), bytes.Repeat([]byte{next}, 9000)...)
				want.Write(frame)
				o.adopt(frame)
			case 2:
				left := o.size
				var p parcel
				o.take(&p)
				assert.Equal(t, o.size, left-p.size)
				assert.Assert(t, p.loan != nil || o.size == 0)
				n, err := p.write(&got)
				assert.NilError(t, err)
				assert.Equal(t, n, p.size)
				for _, b := range p.many { // nobody reads it any more
					clear(b)
				}
				if p.loan != nil {
					p.loan.parts = [3][]byte{}
				}
				o.back(&p)
			case 3:
				next++
				c := request("large", 20)
				c.Lend(bytes.Repeat([]byte{next}, 9000), 20)
				o.lend(nil, c)
				want.Write(c.Frames[:24])
				want.Write(c.lent)
				want.Write(c.Frames[24:])
			}
		}
		assert.Equal(t, o.size, want.Len()-got.Len())
		for o.size > 0 {
			var p parcel
			o.take(&p)
			_, err := p.write(&got)
			assert.NilError(t, err)
		}
		assert.Assert(t, bytes.Equal(got.Bytes(), want.Bytes()))
	}
}

// An outbox keeps a few buffers for what comes next, and no more than that.
func TestOutboxKeeps(t *testing.T) {
	var o outbox
	var p parcel
	small, large := make([]byte, 100), make([]byte, 0, maxFurther+1)[:largeFrame]
	round := func(n int) {
		for range n {
			for range 10 {
				o.append(small)
			}
			o.adopt(large) // none of Room's, which would keep it at the cost of an allocation
		}
		o.append(small)
		o.take(&p)
		o.append(small) // while it is written
		p.write(io.Discard)
		o.back(&p)
		o.take(&p)
		p.write(io.Discard)
		o.back(&p)
	}
	round(2)
	assert.Equal(t, testing.AllocsPerRun(100, func() { round(2) }), 0.0)
	for _, b := range slices.Concat(o.list[:cap(o.list)], o.gather.parts[:cap(o.gather.parts)]) {
		assert.Assert(t, b == nil, "what was written is kept alive")
	}
	round(100)
	assert.Equal(t, len(o.spares), maxSpares)
	assert.Assert(t, o.list == nil && o.gather == nil, "the list was longer than what is kept")
	for _, size := range []int{maxFurther + 1, maxSpare + 1, maxSpare, maxFurther + 1, maxFurther} {
		o.back(&parcel{one: make([]byte, size)})
	}
	assert.Equal(t, len(o.spares), maxSpares, "they are full")
	o = outbox{}
	for _, size := range []int{maxSpare + 1, maxSpare, maxFurther + 1, maxFurther} {
		o.back(&parcel{one: make([]byte, size)})
	}
	assert.Equal(t, len(o.spares), 2)
	assert.Equal(t, cap(o.spares[0]), maxSpare)
	assert.Equal(t, cap(o.spares[1]), maxFurther)
}

// short is a connection that takes n bytes.
type short struct{ n int }

func (s *short) Write(b []byte) (int, error) {
	if s.n >= len(b) {
		s.n -= len(b)
		return len(b), nil
	}
	n := s.n
	s.n = 0
	return n, errors.New("full")
}

// A Write that fails says how many bytes of all have left.
func TestParcelCut(t *testing.T) {
	for cut := range 40 {
		var o outbox
		o.append(make([]byte, 10))
		o.adopt(make([]byte, 20))
		o.append(make([]byte, 10))
		var p parcel
		o.take(&p)
		n, err := p.write(&short{cut})
		assert.ErrorContains(t, err, "full")
		assert.Equal(t, n, cut)
	}
}

func TestRoom(t *testing.T) {
	for _, n := range []int{1, maxKeptFrames, maxKeptFrames + 1, 8 << 10, 8<<10 + besides, 8<<10 + besides + 1, 1 << 20, 1<<20 + besides, 1<<20 + besides + 1, 3 << 20} {
		b := Room(nil, n)
		assert.Assert(t, len(b) == 0 && cap(b) >= n, "%d: %d", n, cap(b))
		assert.Assert(t, cap(b) <= 2*max(n, 8<<10)+besides, "%d: %d", n, cap(b))
		release(append(b, 'x'))
		again := Room(nil, n)
		assert.Assert(t, len(again) == 0 && cap(again) >= n)
		assert.Assert(t, cap(Room(b, n)) == cap(b), "its own has room")
	}
	release(nil)
	release(make([]byte, 0, 10<<10)) // which is of no size of theirs
	assert.Assert(t, cap(Room(nil, 10<<10)) >= 10<<10)
	// What is released goes back to the system in the end.
	b := Room(nil, 1<<20)[:1]
	there := weak.Make(&b[0])
	release(b)
	b = nil
	runtime.GC()
	runtime.GC()
	assert.Assert(t, there.Value() == nil)
}
