package wire

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// AppendBool appends a boolean, one byte.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendInt32 appends a big-endian int.
func AppendInt32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }

// AppendInt64 appends a big-endian long.
func AppendInt64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

// AppendBuffer appends a buffer; nil is null, which is not the same as empty.
func AppendBuffer(dst, v []byte) []byte {
	if v == nil {
		return AppendInt32(dst, -1)
	}
	return append(AppendInt32(dst, int32(len(v))), v...)
}

// AppendString appends a string.
func AppendString(dst []byte, v string) []byte {
	return append(AppendInt32(dst, int32(len(v))), v...)
}

// AppendNullString appends a string that may be null; nil is null.
func AppendNullString(dst []byte, v *string) []byte {
	if v == nil {
		return AppendInt32(dst, -1)
	}
	return AppendString(dst, *v)
}

// AppendStrings appends a vector of strings; nil is null, which is not the same as empty.
func AppendStrings(dst []byte, v []string) []byte {
	if v == nil {
		return AppendInt32(dst, -1)
	}
	dst = AppendInt32(dst, int32(len(v)))
	for _, s := range v {
		dst = AppendString(dst, s)
	}
	return dst
}

// BeginFrame appends room for a frame's length. The body follows; [EndFrame]
// with the length that dst had before fills the room.
func BeginFrame(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

// EndFrame writes the length of the frame that begins at dst[at:].
func EndFrame(dst []byte, at int) {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
}

// FrameLen returns the length that a frame's first four bytes announce, which
// does not count these four. It is as sent: negative or huge when the peer lies.
func FrameLen(head []byte) int { return int(int32(binary.BigEndian.Uint32(head))) }

// Error says what was wrong with a record, and at which byte of its frame's
// body.
type Error struct {
	Reason string
	Offset int
}

func (e *Error) Error() string {
	return "malformed record at byte " + strconv.Itoa(e.Offset) + ": " + e.Reason
}

// Decoder reads the fields of records from a frame's body. The first error
// sticks, and every later read gives a zero value, so a sequence of reads
// needs one check at its end.
type Decoder struct {
	buf []byte
	off int
	err *Error

	request bool
	given   bool // nobody else uses buf
}

// NewDecoder returns a Decoder of b, which it reads but never changes.
func NewDecoder(b []byte) Decoder { return Decoder{buf: b} }

// Give leaves the input to the Decoder: nobody else uses it any more. See Keep.
func (d *Decoder) Give() { d.given = true }

// NewRequestDecoder returns a Decoder that takes a vector with a negative count
// for an empty one, as servers do with a request (BinaryInputArchive's index).
func NewRequestDecoder(b []byte) Decoder { return Decoder{buf: b, request: true} }

// Err returns the first error, or nil.
func (d *Decoder) Err() error {
	if d.err == nil {
		return nil
	}
	return d.err
}

// Len returns the number of bytes not yet read.
func (d *Decoder) Len() int { return len(d.buf) - d.off }

// Rest returns the bytes not yet read, without reading them. They alias the input.
func (d *Decoder) Rest() []byte { return d.buf[d.off:] }

// Fail records an error at the current position, unless there is one already.
func (d *Decoder) Fail(reason string) {
	if d.err == nil {
		d.err = &Error{Reason: reason, Offset: d.off}
		d.off = len(d.buf)
	}
}

// Bool reads a boolean: any byte but 0 is true.
func (d *Decoder) Bool() bool {
	if d.Len() < 1 {
		d.Fail("boolean cut short")
		return false
	}
	v := d.buf[d.off] != 0
	d.off++
	return v
}

// Int32 reads an int.
func (d *Decoder) Int32() int32 {
	if d.Len() < 4 {
		d.Fail("int cut short")
		return 0
	}
	v := int32(binary.BigEndian.Uint32(d.buf[d.off:]))
	d.off += 4
	return v
}

// Int64 reads a long.
func (d *Decoder) Int64() int64 {
	if d.Len() < 8 {
		d.Fail("long cut short")
		return 0
	}
	v := int64(binary.BigEndian.Uint64(d.buf[d.off:]))
	d.off += 8
	return v
}

// Buffer reads a buffer without copying it: the result aliases the input. Null is nil.
func (d *Decoder) Buffer() []byte {
	if b := d.buf[d.off:]; len(b) >= 4 {
		n := int(int32(binary.BigEndian.Uint32(b)))
		if n >= 0 && n <= len(b)-4 {
			d.off += 4 + n
			return b[4 : 4+n : 4+n]
		}
	}
	return d.noBuffer()
}

// Keep returns what Buffer returned as a slice of the caller's: a copy, unless the input
// was given to the Decoder.
func (d *Decoder) Keep(b []byte) []byte {
	if b == nil || d.given {
		return b
	}
	kept := make([]byte, len(b))
	copy(kept, b)
	return kept
}

// noBuffer reads a buffer that is null or malformed.
func (d *Decoder) noBuffer() []byte {
	n := int(d.Int32())
	switch {
	case d.err != nil || n == -1:
	case n < 0:
		d.Fail("negative length " + strconv.Itoa(n))
	default:
		d.Fail("length " + strconv.Itoa(n) + " beyond the end")
	}
	return nil
}

// String reads a string as a copy; null is "". The bytes are not required to be UTF-8.
func (d *Decoder) String() string { return string(d.Buffer()) }

// NullString reads a string that may be null, as a copy; null is nil.
func (d *Decoder) NullString() *string {
	b := d.Buffer()
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

// Count reads the count of a vector whose elements take least bytes or more
// each, where least is above 0. It returns -1 for a null vector, and fails when
// the elements could not fit in what is left.
func (d *Decoder) Count(least int) int {
	n := int(d.Int32())
	switch {
	case d.err != nil:
		return 0
	case n < -1 && d.request:
		return 0
	case n < -1:
		d.Fail("negative count " + strconv.Itoa(n))
		return 0
	case n > d.Len()/least:
		d.Fail("count " + strconv.Itoa(n) + " beyond the end")
		return 0
	}
	return n
}

// Strings reads a vector of strings; null is nil. The bytes of all strings are
// copied into one array, so that a list costs two allocations however long it
// is; an element that is kept keeps that array.
func (d *Decoder) Strings() []string {
	n := d.Count(4)
	if n < 0 || d.err != nil {
		return nil
	}
	// The first pass checks every length and adds them up, so that a list that
	// does not decode allocates nothing.
	start, size := d.off, 0
	for range n {
		size += len(d.Buffer())
	}
	if d.err != nil {
		return nil
	}
	d.off = start
	list := make([]string, n)
	var all strings.Builder
	all.Grow(size)
	for i := range list {
		at := all.Len()
		all.Write(d.Buffer())
		list[i] = all.String()[at:] // stays valid: the array has its full size and does not move
	}
	return list
}

// skip moves over n bytes.
func (d *Decoder) skip(n int) {
	if d.Len() < n {
		d.Fail("record cut short")
		return
	}
	d.off += n
}
