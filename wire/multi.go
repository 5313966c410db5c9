package wire

import "strconv"

// MultiHeader precedes every operation and every result of a multi, and with
// Done set ends them. A client may stream a multi: {op, false, -1} and the
// operation's record for each, and [AppendMultiEnd].
type MultiHeader struct {
	Op   Op
	Done bool
	Err  int32 // -1 in a request; in a reply that of an OpError result, else 0
}

// Append appends the record to dst.
func (h MultiHeader) Append(dst []byte) []byte {
	dst = AppendInt32(dst, int32(h.Op))
	dst = AppendBool(dst, h.Done)
	return AppendInt32(dst, h.Err)
}

// Decode reads the record from d.
func (h *MultiHeader) Decode(d *Decoder) {
	h.Op = Op(d.Int32())
	h.Done = d.Bool()
	h.Err = d.Int32()
}

// AppendMultiEnd appends the header that ends a multi's operations or results.
func AppendMultiEnd(dst []byte) []byte {
	return MultiHeader{Op: OpError, Done: true, Err: -1}.Append(dst)
}

// MultiOp is one operation of a multi (CreateRequest, CreateTTLRequest,
// PathVersionRequest, SetDataRequest) or a multiRead (PathWatchRequest).
type MultiOp struct {
	Op      Op
	Request Record
}

// MultiRequest is the request of multi and multiRead.
type MultiRequest struct{ Ops []MultiOp }

// Append appends the record to dst.
func (m MultiRequest) Append(dst []byte) []byte {
	for _, op := range m.Ops {
		dst = MultiHeader{Op: op.Op, Err: -1}.Append(dst)
		dst = op.Request.Append(dst)
	}
	return AppendMultiEnd(dst)
}

// Decode reads the record from d. The requests are values, not pointers. An
// operation that neither multi nor multiRead has is an error; one that only
// the other has is not.
func (m *MultiRequest) Decode(d *Decoder) {
	m.Ops = nil
	// Operations have no count in front. They are counted in a pass of its own,
	// so that they take one slice of the right size, and none if they do not decode.
	ahead, n := *d, 0
	for h := (MultiHeader{}); ; n++ {
		if h.Decode(&ahead); h.Done || ahead.err != nil {
			break
		}
		skipMultiOp(&ahead, h.Op)
	}
	if ahead.err != nil {
		*d = ahead
		return
	}
	m.Ops = make([]MultiOp, n)
	for i := range m.Ops {
		var h MultiHeader
		h.Decode(d)
		m.Ops[i] = MultiOp{Op: h.Op, Request: decodeMultiOp(d, h.Op)}
	}
	d.skip(multiHeaderSize)
}

func decodeMultiOp(d *Decoder, op Op) Record {
	switch op {
	case OpCreate, OpCreate2, OpCreateContainer:
		var r CreateRequest
		r.Decode(d)
		return r
	case OpCreateTTL:
		var r CreateTTLRequest
		r.Decode(d)
		return r
	case OpDelete, OpCheck:
		var r PathVersionRequest
		r.Decode(d)
		return r
	case OpSetData:
		var r SetDataRequest
		r.Decode(d)
		return r
	default: // OpGetData, OpGetChildren: skipMultiOp has let nothing else through
		var r PathWatchRequest
		r.Decode(d)
		return r
	}
}

// skipMultiOp is decodeMultiOp without a result.
func skipMultiOp(d *Decoder, op Op) {
	switch op {
	case OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL:
		d.Buffer()
		d.Buffer()
		for range max(d.Count(minACL), 0) {
			d.skip(4)
			d.Buffer()
			d.Buffer()
		}
		d.skip(4)
		if op == OpCreateTTL {
			d.skip(8)
		}
	case OpDelete, OpCheck:
		d.Buffer()
		d.skip(4)
	case OpSetData:
		d.Buffer()
		d.Buffer()
		d.skip(4)
	case OpGetData, OpGetChildren:
		d.Buffer()
		d.skip(1)
	default:
		d.Fail("operation " + strconv.Itoa(int(op)) + " in a multi")
	}
}

// MultiResult is one result in the reply of a multi or multiRead, header
// included. Op is the type as the reply says it, which decides what follows:
//
//	OpCreate                 Path
//	OpCreate2                Path, Stat (also for containers and TTL nodes)
//	OpDelete, OpCheck        nothing
//	OpSetData                Stat
//	OpGetChildren            Children
//	OpGetData                Data, Stat
//	OpError                  Err
type MultiResult struct {
	Op       Op
	Err      int32 // ErrOK unless Op is OpError; there ErrOK is an operation that was rolled back
	Path     string
	Stat     Stat
	Data     []byte
	Children []string
}

// Append appends the record to dst. An Op that has no results appends the header only.
func (r MultiResult) Append(dst []byte) []byte {
	dst = MultiHeader{Op: r.Op, Err: r.Err}.Append(dst)
	switch r.Op {
	case OpCreate:
		dst = AppendString(dst, r.Path)
	case OpCreate2:
		dst = r.Stat.Append(AppendString(dst, r.Path))
	case OpSetData:
		dst = r.Stat.Append(dst)
	case OpGetChildren:
		dst = AppendStrings(dst, r.Children)
	case OpGetData:
		dst = r.Stat.Append(AppendBuffer(dst, r.Data))
	case OpError:
		dst = AppendInt32(dst, r.Err)
	}
	return dst
}

// Decode reads the record from d, which must not be at the end of the results.
func (r *MultiResult) Decode(d *Decoder) {
	if !r.Next(d) {
		d.Fail("end of a multi for a result")
	}
}

// Next reads the next result from d. It returns false after the last one, or
// on an error, so that results can be read one by one, without a slice.
func (r *MultiResult) Next(d *Decoder) bool {
	*r = MultiResult{}
	h, ok := nextResult(d)
	if !ok {
		return false
	}
	r.Op, r.Err = h.Op, h.Err
	switch h.Op {
	case OpCreate:
		r.Path = d.String()
	case OpCreate2:
		r.Path = d.String()
		r.Stat.Decode(d)
	case OpSetData:
		r.Stat.Decode(d)
	case OpGetChildren:
		r.Children = d.Strings()
	case OpGetData:
		r.Data = d.Buffer()
		r.Stat.Decode(d)
	case OpError:
		r.Err = d.Int32() // repeats the header's, and is the one that the Java client takes
	}
	return d.err == nil
}

// skipMultiResult is Next without a result.
func skipMultiResult(d *Decoder) bool {
	h, ok := nextResult(d)
	if !ok {
		return false
	}
	switch h.Op {
	case OpCreate:
		d.Buffer()
	case OpCreate2, OpGetData:
		d.Buffer()
		d.skip(statSize)
	case OpSetData:
		d.skip(statSize)
	case OpGetChildren:
		for range max(d.Count(4), 0) {
			d.Buffer()
		}
	case OpError:
		d.skip(4)
	}
	return d.err == nil
}

// nextResult reads and checks a result's header; false is the end or an error.
func nextResult(d *Decoder) (h MultiHeader, ok bool) {
	if h.Decode(d); h.Done || d.err != nil {
		return h, false
	}
	switch h.Op {
	case OpError:
		return h, true
	case OpCreate, OpCreate2, OpDelete, OpCheck, OpSetData, OpGetChildren, OpGetData:
		if h.Err != ErrOK {
			d.Fail("error " + strconv.Itoa(int(h.Err)) + " with a result of type " + strconv.Itoa(int(h.Op)))
		}
	default:
		d.Fail("result of type " + strconv.Itoa(int(h.Op)) + " in a multi")
	}
	return h, d.err == nil
}

// MultiResponse is the reply of multi and multiRead. A multi that failed has
// ErrOK in its ReplyHeader and OpError in all results.
type MultiResponse struct{ Results []MultiResult }

// Append appends the record to dst.
func (m MultiResponse) Append(dst []byte) []byte {
	for i := range m.Results {
		dst = m.Results[i].Append(dst)
	}
	return AppendMultiEnd(dst)
}

// Decode reads the record from d. A result takes 9 bytes or more on the wire
// and 144 in memory; use [MultiResult.Next] where that multiple matters.
func (m *MultiResponse) Decode(d *Decoder) {
	m.Results = nil
	// As in MultiRequest.Decode, a first pass counts.
	ahead, n := *d, 0
	for skipMultiResult(&ahead) {
		n++
	}
	if ahead.err != nil {
		*d = ahead
		return
	}
	m.Results = make([]MultiResult, n)
	for i := range m.Results {
		m.Results[i].Decode(d)
	}
	d.skip(multiHeaderSize)
}
