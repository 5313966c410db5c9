// Package calls has the requests of a session that are under way. It frames them, reads
// their answers, and says what an answer does to the watches and what a request must wait
// for. It has no errors of the API, no hooks and no Logger: those are its Host's.
package calls

import (
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// Call is a request under way: what was asked, and what came of it. E is the type of the
// application's events.
type Call[E any] struct {
	pipeline.Call
	Kind *Kind
	Request[E]
	Result
}

// Arming is a channel that an operation of a Batch arms; none: the zero value.
type Arming[E any] struct {
	Ch   chan<- E
	Kind watches.Kind
	At   string // the path of the server
}

// Parts are the operations of a Batch, whose answers come one by one.
type Parts[E any] interface {
	// Describe names an operation as its method's errors do.
	Describe(i int) (op, path string)
	// Answered says whether an answered operation arms its watch (ok), and whether that is the
	// watch of a missing znode. It is called under the lock of the registry.
	Answered(i int) (ok, missing bool)
	// Kind returns that of an operation's request.
	Kind(i int) *Kind
	// Take reads the answer to an operation.
	Take(i int, code int32, d *wire.Decoder)
	// Fail makes an error an operation's result.
	Fail(i int, err error)
}

// removal is what a RemoveWatch disarms on success.
type removal[E any] struct {
	ch    chan<- E
	alias string // another path of the same znode, see Call.Disarm
	found bool   // something was disarmed
}

// restoral says what a request of a Dial restores: it is a SetWatches, or the read or
// AddWatch that stands for one watch of it.
type restoral struct {
	// last: there is no frame behind it.
	last bool
	// rearms: it has persistent watches.
	rearms bool
	// deaf is the path of a child watch that it is for; empty: for all.
	deaf string
	// kind is that of the one watch that is read again; 0: it is a SetWatches.
	kind watches.Kind
	// floor is the zxid since which that watch may have missed its event.
	floor int64
}

// Result is what an answer brings.
type Result struct {
	Err   error
	Str   string
	Data  []byte
	Names []string
	Stat  wire.Stat
	Num   int32
	// Missing: there is no such znode, and that is an answer.
	Missing bool
	// Value is for what has no place above.
	Value any
}

// head is what a frame has before its first field: its length, xid and type.
const head = 12

// Begin appends the head of a frame and returns its place for wire.EndFrame.
func (c *Call[E]) Begin(op wire.Op) int {
	at := len(c.Frames)
	c.Code = op
	c.Frames = appendHead(c.Frames, op)
	return at
}

func appendHead(dst []byte, op wire.Op) []byte {
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(op>>24), byte(op>>16), byte(op>>8), byte(op))
}

// BeginData is Begin, for a frame with a path and data. It returns the data to append: nil
// where EndData lends it.
func (c *Call[E]) BeginData(op wire.Op, path string, data []byte) (at int, appended []byte) {
	const rest = 64 // of a frame, but for an ACL
	if len(data) >= pipeline.Large {
		return c.Begin(op), nil
	}
	if n := rest + len(path) + len(data); n > cap(c.Frames) {
		c.Frames = pipeline.Room(c.Frames, n)
	}
	return c.Begin(op), data
}

// EndData ends such a frame. Large data is lent: it stays the caller's, and is not copied
// where that can be avoided.
func (c *Call[E]) EndData(at int, path string, data []byte) {
	wire.EndFrame(c.Frames, at)
	if len(data) >= pipeline.Large {
		c.Lend(data, at+head+4+len(path))
	}
}

// Frame frames a single request.
func (c *Call[E]) Frame(op wire.Op, body wire.Record) {
	at := c.Begin(op)
	if body != nil {
		c.Frames = body.Append(c.Frames)
	}
	wire.EndFrame(c.Frames, at)
}

// childWatch frames a SetWatches of one child watch.
func (c *Call[E]) childWatch(path string, floor int64) {
	c.Frame(wire.OpSetWatches, wire.SetWatchesRequest{
		RelativeZxid: floor, Data: []string{}, Exist: []string{}, Child: []string{path}, // null would be refused
	})
}
