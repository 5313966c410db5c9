package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// allocated returns the bytes that f allocates, garbage included, so that it
// is no less than f's peak.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// memoryFactor is how many bytes a record may take in memory for each on the
// wire, beside slack: 4, and more only in a multi, where an operation with
// nothing in it and a result without content are small on the wire.
func memoryFactor(r wire.Record) int {
	switch r.(type) {
	case wire.MultiRequest:
		return 5
	case wire.MultiResponse:
		return 16
	}
	return 4
}

const slack = 64 << 10 // for size classes, and for others that allocate meanwhile

// Every int of every record is replaced by lengths that lie.
func TestHostileInts(t *testing.T) {
	eachRecord(t, func(t *testing.T, r wire.Record) {
		b := r.Append(nil)
		var inputs [][]byte
		for at := 0; at+4 <= len(b); at++ {
			rest := int32(len(b) - at - 4)
			for _, v := range []int32{-1, -2, math.MinInt32, math.MaxInt32, math.MaxInt32 / 16, 1 << 20, rest, rest + 1, rest / 4, rest/4 + 1, rest / 12} {
				bad := slices.Clone(b)
				binary.BigEndian.PutUint32(bad[at:], uint32(v))
				inputs = append(inputs, bad)
			}
		}
		// Measured at once, because it stops the world.
		size := allocated(func() {
			for _, bad := range inputs {
				d := wire.NewDecoder(bad)
				newOf(r).Decode(&d)
			}
		})
		each := memoryFactor(r)*len(b) + 512 // the record itself and its error
		assert.Assert(t, size <= each*len(inputs)+slack, "%d bytes allocated for %d times %d", size, len(inputs), len(b))
		for _, bad := range inputs {
			checkDecode(t, newOf(r), bad)
		}
	})
}

// checkDecode decodes b, which may be anything, and checks all that holds for
// any input: either an error that says where, or a value that goes back and
// forth unchanged. It tells whether there was a value.
func checkDecode(t testing.TB, rec codec, b []byte) bool {
	t.Helper()
	before := slices.Clone(b)
	d := wire.NewDecoder(b)
	rec.Decode(&d)
	assert.Assert(t, bytes.Equal(b, before), "input was changed")
	if d.Err() != nil {
		checkFailed(t, &d, len(b))
		return false
	}
	again := newOf(valueOf(rec))
	b = rec.Append(nil)
	d = wire.NewDecoder(b)
	again.Decode(&d)
	assert.NilError(t, d.Err())
	assert.Equal(t, d.Len(), 0)
	assert.Assert(t, reflect.DeepEqual(again, rec), "%x: %+v and %+v", before, rec, again)
	assert.Assert(t, bytes.Equal(again.Append(nil), b), "%x", before)
	return true
}

func TestLengths(t *testing.T) {
	buffer := func(d *wire.Decoder) { d.Buffer() }
	list := func(d *wire.Decoder) { d.Strings() }
	for _, test := range []struct {
		hex  string
		read func(*wire.Decoder)
		err  string
	}{
		{"", buffer, "malformed record at byte 0: int cut short"},
		{"000000", buffer, "malformed record at byte 0: int cut short"},
		{"fffffffe", buffer, "malformed record at byte 4: negative length -2"},
		{"80000000", buffer, "malformed record at byte 4: negative length -2147483648"},
		{"7fffffff 00", buffer, "malformed record at byte 4: length 2147483647 beyond the end"},
		{"00000002 00", buffer, "malformed record at byte 4: length 2 beyond the end"},
		{"fffffffe", list, "malformed record at byte 4: negative count -2"},
		{"7fffffff 00000000", list, "malformed record at byte 4: count 2147483647 beyond the end"},
		{"00000002 00000000 000000", list, "malformed record at byte 4: count 2 beyond the end"},
		{"00000002 00000001 61 00000005", list, "malformed record at byte 13: length 5 beyond the end"},
		{"00000000000000", func(d *wire.Decoder) { d.Int64() }, "malformed record at byte 0: long cut short"},
		{"", func(d *wire.Decoder) { d.Bool() }, "malformed record at byte 0: boolean cut short"},
	} {
		t.Run(fmt.Sprintf("%.20s", test.hex), func(t *testing.T) {
			d := wire.NewDecoder(unhex(t, test.hex))
			test.read(&d)
			assert.Error(t, d.Err(), test.err)
		})
	}
}

func TestBool(t *testing.T) {
	d := wire.NewDecoder([]byte{0, 1, 2, 255})
	assert.Assert(t, !d.Bool() && d.Bool() && d.Bool() && d.Bool())
	assert.NilError(t, d.Err())
}

func TestFrame(t *testing.T) {
	b := []byte("earlier frames")
	at := len(b)
	b = wire.BeginFrame(b)
	b = wire.RequestHeader{Xid: wire.XidPing, Op: wire.OpPing}.Append(b)
	wire.EndFrame(b, at)
	assert.DeepEqual(t, b[at:], unhex(t, "00000008 fffffffe 0000000b"))
	assert.Equal(t, wire.FrameLen(b[at:]), 8)

	assert.Equal(t, wire.FrameLen([]byte{0, 0, 0, 0}), 0)
	assert.Equal(t, wire.FrameLen([]byte("HTTP/1.1")), 0x48545450)
	assert.Equal(t, wire.FrameLen([]byte{255, 255, 255, 255}), -1)
}

// A server takes a negative count for an empty vector; a client does not.
func TestNegativeCount(t *testing.T) {
	for _, n := range []int32{-2, -1 << 31} {
		b := wire.AppendInt32(wire.AppendInt32(nil, n), 7)
		d := wire.NewRequestDecoder(b)
		if list := d.Strings(); len(list) != 0 || d.Int32() != 7 || d.Err() != nil {
			t.Errorf("count %d in a request: %q, %v", n, list, d.Err())
		}
		d = wire.NewDecoder(b)
		if d.Strings(); d.Err() == nil {
			t.Errorf("count %d in a reply: no error", n)
		}
	}
}
