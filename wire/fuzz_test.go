package wire_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/samples"
	"github.com/seed-9f8420c6/zk/wire"
)

// fuzzDecode is checkDecode with a bound on memory, which is wide because the
// fuzzer allocates beside it.
func fuzzDecode(t *testing.T, rec codec, b []byte) bool {
	d := wire.NewDecoder(b)
	size := allocated(func() { rec.Decode(&d) })
	assert.Assert(t, size <= memoryFactor(valueOf(rec))*len(b)+1<<20, "%d bytes allocated for %d", size, len(b))
	return checkDecode(t, rec, b)
}

// recorded returns the frames of real servers, or of clients, that the golden
// transcripts hold.
func recorded(f *testing.F, fromServer bool) (flows []flow) {
	f.Helper()
	files, err := filepath.Glob("../testdata/golden/*.txt")
	assert.NilError(f, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		assert.NilError(f, err)
		all, err := parseTranscript(string(text))
		assert.NilError(f, err)
		for _, x := range all {
			if x.fromServer == fromServer {
				flows = append(flows, x)
			}
		}
	}
	return flows
}

// fuzzRecords fuzzes a header and the record that the first byte selects.
func fuzzRecords(f *testing.F, header codec, of map[wire.Op]wire.Record, recorded []flow) {
	for _, x := range recorded {
		if op, ok := opNamed(strings.TrimPrefix(x.label, "reply ")); ok {
			f.Add(byte(op), x.frame[4:])
		} else if x.label == "notification" {
			f.Add(byte(wire.OpNotification), x.frame[4:])
		}
	}
	for op, rec := range of {
		f.Add(byte(op), []byte{})
		for _, r := range records {
			if rec != nil && typeName(r) == typeName(rec) {
				f.Add(byte(op), append(valueOf(header).Append(nil), r.Append(nil)...))
			}
		}
	}
	f.Fuzz(func(t *testing.T, op byte, b []byte) {
		h := newOf(valueOf(header))
		d := wire.NewDecoder(b)
		h.Decode(&d)
		if d.Err() != nil {
			checkFailed(t, &d, len(b))
			return
		}
		checkDecode(t, h, b)
		if rec := of[wire.Op(int8(op))]; rec != nil {
			fuzzDecode(t, newOf(rec), d.Rest())
		}
	})
}

func FuzzRequests(f *testing.F) {
	fuzzRecords(f, &wire.RequestHeader{}, samples.Requests, recorded(f, false))
}

func FuzzReplies(f *testing.F) {
	fuzzRecords(f, &wire.ReplyHeader{}, samples.Replies, recorded(f, true))
}

func FuzzConnect(f *testing.F) {
	for _, r := range records {
		if optionalTail(r) {
			f.Add(r.Append(nil))
		}
	}
	for _, x := range append(recorded(f, true), recorded(f, false)...) {
		if x.label == "connect" {
			f.Add(x.frame[4:])
		}
	}
	// What a read-only server may send instead (docs/guarantees.md).
	f.Add(wire.ReplyHeader{Err: wire.ErrNotReadOnly}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzDecode(t, &wire.ConnectRequest{}, b)
		fuzzDecode(t, &wire.ConnectResponse{}, b)
	})
}

func FuzzMulti(f *testing.F) {
	for _, r := range records {
		switch r.(type) {
		case wire.MultiRequest, wire.MultiResponse, wire.MultiResult, wire.MultiHeader:
			f.Add(r.Append(nil))
		}
	}
	for _, x := range append(recorded(f, true), recorded(f, false)...) {
		switch x.label {
		case "multi", "multiRead":
			f.Add(x.frame[4+8:]) // without the header
		case "reply multi", "reply multiRead":
			f.Add(x.frame[4+16:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzDecode(t, &wire.MultiRequest{}, b)
		fuzzDecode(t, &wire.MultiHeader{}, b)
		fuzzDecode(t, &wire.MultiResult{}, b)
		var whole wire.MultiResponse
		ok := fuzzDecode(t, &whole, b)

		// Results read one by one are the same as all at once.
		d := wire.NewDecoder(b)
		n := 0
		for r := (wire.MultiResult{}); r.Next(&d); n++ {
			if ok {
				assert.Assert(t, n < len(whole.Results))
				assert.Assert(t, bytes.Equal(r.Append(nil), whole.Results[n].Append(nil)))
			}
		}
		assert.Equal(t, d.Err() == nil, ok)
		if ok {
			assert.Equal(t, n, len(whole.Results))
		}
	})
}

// FuzzPrimitives reads fields in an order that the input chooses.
func FuzzPrimitives(f *testing.F) {
	b := wire.AppendBool(nil, true)
	b = wire.AppendInt32(b, -1)
	b = wire.AppendInt64(b, 1<<40)
	b = wire.AppendBuffer(b, []byte("buffer"))
	b = wire.AppendString(b, "string")
	b = wire.AppendNullString(b, nil)
	b = wire.AppendNullString(b, ptr("null?"))
	b = wire.AppendStrings(b, names)
	b = wire.AppendInt32(b, 0)
	f.Add([]byte{0, 1, 2, 3, 4, 5, 5, 6, 7}, b)
	f.Fuzz(func(t *testing.T, script, b []byte) {
		d := wire.NewDecoder(b)
		var again []byte
		exact := true // again holds the same bytes as what was read
		for _, op := range script {
			before := d.Len()
			switch op % 8 {
			case 0:
				v := d.Bool()
				exact = exact && before > 0 && b[len(b)-before] < 2
				again = wire.AppendBool(again, v)
			case 1:
				again = wire.AppendInt32(again, d.Int32())
			case 2:
				again = wire.AppendInt64(again, d.Int64())
			case 3:
				again = wire.AppendBuffer(again, d.Buffer())
			case 4:
				s := d.String()
				exact = exact && 4+len(s) == before-d.Len() && (s != "" || b[len(b)-before] == 0)
				again = wire.AppendString(again, s)
			case 5:
				again = wire.AppendNullString(again, d.NullString())
			case 6:
				v := d.Strings()
				exact = exact && !bytes.Contains(b[len(b)-before:len(b)-d.Len()], []byte{255, 255, 255, 255})
				again = wire.AppendStrings(again, v)
			case 7:
				n := d.Count(int(op)/8 + 1)
				assert.Assert(t, n >= -1 && n*(int(op)/8+1) <= d.Len())
				again = wire.AppendInt32(again, int32(n))
			}
			assert.Assert(t, d.Len() <= before)
			if d.Err() != nil {
				checkFailed(t, &d, len(b))
				return
			}
		}
		if exact {
			assert.Assert(t, bytes.Equal(again, b[:len(b)-d.Len()]), "%x read as %x", b, again)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("before"), []byte("body"))
	f.Fuzz(func(t *testing.T, before, body []byte) {
		b := wire.BeginFrame(bytes.Clone(before))
		b = append(b, body...)
		wire.EndFrame(b, len(before))
		assert.Assert(t, bytes.HasPrefix(b, before))
		assert.Equal(t, wire.FrameLen(b[len(before):]), len(body))
		assert.Assert(t, bytes.Equal(b[len(before)+4:], body))
	})
}
