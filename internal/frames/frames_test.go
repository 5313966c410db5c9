package frames

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

func framed(body []byte) []byte {
	return append(wire.AppendInt32(nil, int32(len(body))), body...)
}

// readAll returns all frames of a source, and the error at its end.
func readAll(src io.Reader, limit int) (got [][]byte, err error) {
	f := NewReader(src, limit)
	defer f.Release()
	for {
		_, end := f.Fill()
		for {
			b, err := f.Next()
			if err != nil {
				return got, err
			}
			if b == nil {
				break
			}
			got = append(got, bytes.Clone(b))
		}
		if end != nil {
			if f.Cut() {
				return got, io.ErrUnexpectedEOF
			}
			return got, end
		}
		f.Settle(func() bool { return true })
	}
}

// Frames of all sizes come out as they went in, however they are cut on their way.
func TestFrames(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var all []byte
		var want [][]byte
		for range 1 + rnd.IntN(60) {
			body := make([]byte, minFrame+rnd.IntN(1<<rnd.IntN(18)))
			for i := range body {
				body[i] = byte(rnd.Uint32())
			}
			want = append(want, body)
			all = append(all, framed(body)...)
		}
		for _, src := range []io.Reader{
			bytes.NewReader(all), iotest.HalfReader(bytes.NewReader(all)), iotest.DataErrReader(bytes.NewReader(all)),
			&chunks{data: all, rnd: rnd},
		} {
			got, err := readAll(src, 1<<20)
			assert.Equal(t, err, io.EOF)
			assert.Equal(t, len(got), len(want))
			for i := range got {
				assert.Assert(t, bytes.Equal(got[i], want[i]), "frame %d", i)
			}
		}
		cut := all[:len(all)-1]
		got, err := readAll(iotest.OneByteReader(bytes.NewReader(cut[max(0, len(cut)-3000):])), 1<<30)
		_ = got // what a part of the stream looks like
		assert.Assert(t, err != nil)
		_, err = readAll(bytes.NewReader(cut), 1<<20)
		assert.Equal(t, err, io.ErrUnexpectedEOF)
	}
}

// chunks reads parts of random lengths.
type chunks struct {
	data []byte
	rnd  *rand.Rand
}

func (c *chunks) Read(b []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1+c.rnd.IntN(5000))], c.data)
	c.data = c.data[n:]
	return n, nil
}

// A frame outside the limits is refused as soon as its length is there.
func TestLimits(t *testing.T) {
	for _, size := range []int32{-1, 0, 1, minFrame - 1, -1 << 31} {
		_, err := readAll(bytes.NewReader(wire.AppendInt32(nil, size)), 1<<20)
		var small TooSmall
		assert.Assert(t, errors.As(err, &small) && int32(small) == size, "%v", err)
	}
	for _, head := range []int{0, 3, 16, 100} {
		_, err := readAll(bytes.NewReader(append(wire.AppendInt32(nil, 1001), make([]byte, head)...)), 1000)
		var large *TooLarge
		assert.Assert(t, errors.As(err, &large) && large.Size == 1001 && len(large.Head) == head, "%v", err)
	}
	got, err := readAll(bytes.NewReader(framed(make([]byte, 1000))), 1000)
	assert.Assert(t, err == io.EOF && len(got) == 1)
}

// A length costs nothing until its bytes are there, unless it is that of a znode.
func TestMemoryGrowsWithWhatCame(t *testing.T) {
	for _, c := range []struct{ length, came int }{
		{1 << 30, 0}, {1 << 30, 300 << 10}, {1 << 30, believed}, {1 << 30, 3 << 20}, {believed - 3, 0}, {believed - 4, 0}, {100 << 10, 0}, {100 << 10, 90 << 10},
	} {
		f := NewReader(bytes.NewReader(append(wire.AppendInt32(nil, int32(c.length)), make([]byte, c.came)...)), 1<<30)
		for {
			_, err := f.Fill()
			if err != nil {
				break
			}
			b, err := f.Next()
			assert.Assert(t, b == nil && err == nil)
			f.Settle(func() bool { return true })
		}
		want := 2 * max(largeBuffer, 4+c.came)
		if 4+c.length <= believed {
			want = 4 + c.length
		}
		assert.Assert(t, len(f.buf) <= want, "%d bytes for %d of %d that came", len(f.buf), c.came, c.length)
	}
	// At rest it falls back to the small buffer.
	f := NewReader(&chunks{data: bytes.Repeat(framed(make([]byte, 200<<10)), 3), rnd: rand.New(rand.NewPCG(1, 1))}, 1<<30)
	for {
		_, err := f.Fill()
		for b, _ := f.Next(); b != nil; b, _ = f.Next() {
		}
		f.Settle(func() bool { return true })
		if err != nil {
			break
		}
	}
	assert.Equal(t, len(f.buf), smallBuffer)
	assert.Assert(t, f.large == nil)
}

// A frame with a buffer of its own is not written into by those after it, and costs
// one allocation.
func TestKept(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	var all []byte
	sizes := []int{minFrame, largeBuffer - 4, largeBuffer - 3, 100 << 10, minFrame, 1 << 20, believed - 4, believed, 3 << 20, 100, 200 << 10}
	for i, size := range sizes {
		all = append(all, framed(bytes.Repeat([]byte{byte(1 + i)}, size))...)
	}
	for _, src := range []io.Reader{bytes.NewReader(all), iotest.HalfReader(bytes.NewReader(all)), &chunks{data: all, rnd: rnd}} {
		f := NewReader(src, 1<<30)
		var kept [][]byte
		for i := 0; i < len(sizes); {
			_, err := f.Fill()
			assert.NilError(t, err)
			for b, err := f.Next(); b != nil; b, err = f.Next() {
				assert.NilError(t, err)
				assert.Equal(t, len(b), sizes[i])
				assert.Equal(t, f.Kept(), 4+len(b) > largeBuffer, "%d bytes", len(b))
				if !f.Kept() {
					b = bytes.Clone(b)
				}
				kept = append(kept, b)
				i++
			}
			f.Settle(func() bool { return false })
		}
		for i, b := range kept {
			assert.Assert(t, len(bytes.Trim(b, string(rune(1+i)))) == 0, "frame %d has bytes of another", i)
		}
		f.Release()
	}
	big := framed(make([]byte, 1<<20))
	src := bytes.NewReader(nil)
	f := NewReader(src, 1<<30)
	assert.Equal(t, testing.AllocsPerRun(10, func() {
		src.Reset(big)
		for b, _ := f.Next(); b == nil; b, _ = f.Next() {
			f.Settle(func() bool { return false })
			f.Fill()
		}
		f.Settle(func() bool { return false })
	}), 1.0)
	assert.Assert(t, len(f.buf) == smallBuffer && f.large == nil, "it took a buffer for more, and nothing is left")
}
