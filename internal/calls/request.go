package calls

import (
	"slices"

	"github.com/seed-9f8420c6/zk/internal/interlock"
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// Request is what a call asks for. It is small, see pipeline.Call.
type Request[E any] struct {
	// Code is the type of its frame, or of the last.
	Code wire.Op
	// What a frame that is Made has besides its path, which is At.
	shape   shape
	version int32
	data    []byte // the caller's

	// Watch is the channel to arm on success, in the kind Arms, at the path At of the
	// server; nil: none.
	Watch chan<- E
	Arms  watches.Kind
	At    string
	// Raw: its events have the server's path.
	Raw bool
	// Arming: it arms a channel, or one of its operations does.
	Arming bool
	// Traced: its hooks are at work.
	Traced bool
	// asks: the interlock has it, or the server is told of watches again. Its answer ends that.
	asks bool

	// More is what only few calls have; nil: this one has none of it.
	More *More[E]
}

// shape says of a frame that is Made what it has behind its head.
type shape uint8

const (
	onlyPath  shape = iota // or it is not Made
	unwatched              // a path and whether to watch it
	watched
	withVersion // of a path
	withData    // of a path, and with its version
)

// made makes it a request that is Made. Nearly all calls are. Their frames are small, and are
// made where they are sent from. One that was made before would be out of the processor's
// cache by then.
func (c *Call[E]) made(op wire.Op, path string, s shape) {
	c.Code, c.At, c.shape, c.Made = op, path, s, true
}

// OfPath asks for something of a path.
func (c *Call[E]) OfPath(op wire.Op, path string) { c.made(op, path, onlyPath) }

// PathWatch asks for something of a path, and to watch it or not.
func (c *Call[E]) PathWatch(op wire.Op, path string, watch bool) {
	c.made(op, path, unwatched)
	if watch {
		c.shape = watched
	}
}

// PathVersion asks for a change of a path that has a version.
func (c *Call[E]) PathVersion(op wire.Op, path string, version int32) {
	c.made(op, path, withVersion)
	c.version = version
}

// SetData asks for a change of a path's data.
func (c *Call[E]) SetData(path string, data []byte, version int32) {
	if len(data) < pipeline.Large {
		c.made(wire.OpSetData, path, withData)
		c.data, c.version = data, version
		return
	}
	at, appended := c.BeginData(wire.OpSetData, path, data)
	c.Frames = wire.SetDataRequest{Path: path, Data: appended, Version: version}.Append(c.Frames)
	c.EndData(at, path, data)
}

// Size is that of what is sent for it, in bytes.
func (c *Call[E]) Size() int {
	if !c.Made {
		return c.Call.Size()
	}
	n := head + 4 + len(c.At)
	switch c.shape {
	case unwatched, watched:
		n++
	case withVersion:
		n += 4
	case withData:
		n += 4 + len(c.data) + 4
	}
	return n
}

// appendMade appends a frame that is Made.
func (c *Call[E]) appendMade(dst []byte) []byte {
	at := len(dst)
	dst = wire.AppendString(appendHead(dst, c.Code), c.At)
	switch c.shape {
	case unwatched, watched:
		dst = wire.AppendBool(dst, c.shape == watched)
	case withData:
		dst = wire.AppendBuffer(dst, c.data)
		c.data = nil // the caller's again
		fallthrough
	case withVersion:
		dst = wire.AppendInt32(dst, c.version)
	}
	wire.EndFrame(dst, at)
	return dst
}

// Arm makes the call arm a channel at its reply; nil does nothing.
func (c *Call[E]) Arm(watch chan<- E, kind watches.Kind, at string) {
	if watch != nil {
		c.Watch, c.Arms, c.At, c.Arming = watch, kind, at, true
	}
}

// ArmPart makes an operation of a Batch, of n, arm a channel.
func (c *Call[E]) ArmPart(i, n int, a Arming[E]) {
	m := c.More
	if len(m.Armings) == 0 {
		m.Armings = slices.Grow(m.Armings, n)[:n]
	}
	m.Armings[i], c.Arming = a, true
}

// More is what only few calls have.
type More[E any] struct {
	// Parts are the operations of a Batch, and Armings what each arms; empty: none does.
	Parts   Parts[E]
	Armings []Arming[E]
	// Accepted is called by the reader when a credential is accepted. It must not wait.
	Accepted func()

	// removal is what a RemoveWatch disarms; without a channel: it is none.
	removal removal[E]
	// restore is what a request of a Dial restores.
	restore *restoral
	// adding is what an AddWatch is for the interlock.
	adding *interlock.Addition
}

// parts returns the operations of a Batch; nil: it is none.
func (c *Call[E]) parts() Parts[E] {
	if c.More == nil {
		return nil
	}
	return c.More.Parts
}

// Disarm makes it a RemoveWatch, which disarms a channel at a path. alias is another path of the
// same znode, where the channel is disarmed too; empty: none. The server is not asked about
// that: its watch there has fired, or the server forgets it.
func (c *Call[E]) Disarm(path string, ch chan<- E, alias string) {
	c.At, c.More = path, &More[E]{removal: removal[E]{ch: ch, alias: alias}}
}

// Removes reports whether it is a RemoveWatch.
func (c *Call[E]) Removes() bool { return c.More != nil && c.More.removal.ch != nil }
