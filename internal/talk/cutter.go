package talk

import (
	"fmt"
	"slices"

	"github.com/seed-9f8420c6/zk/wire"
)

// Bounds of what is looked at and remembered.
const (
	PrefixKept  = 4 << 10  // bytes of a frame's body, which are enough for all but its data
	RawKept     = 1 << 20  // of a frame whose bytes are wanted
	longestRead = 64 << 20 // a frame that says it is longer is not one
	askedKept   = 1 << 16  // requests of a connection without a reply so far
)

// Cutter finds the frames in a stream, and keeps the first Keep bytes of each.
// It trusts no length: what it keeps grows with what has come.
type Cutter struct {
	Keep  int
	head  [4]byte
	heads int    // bytes of head that are known
	size  int    // of the body
	left  int    // bytes of it to come
	body  []byte // its first bytes
	lost  string // why nothing more of the stream can be told apart
}

// Cut takes bytes up to the end of a frame, which is then done, or all of them.
// The frame's fields are valid until the next call.
func (c *Cutter) Cut(b []byte) (n int, done bool) {
	if c.lost != "" {
		return len(b), false
	}
	if c.heads < len(c.head) {
		n = copy(c.head[c.heads:], b)
		if c.heads += n; c.heads < len(c.head) {
			return n, false
		}
		c.size, c.body = wire.FrameLen(c.head[:]), c.body[:0]
		if c.size < 0 || c.size > longestRead {
			c.lost = notFrames(c.head[:])
			return len(b), true
		}
		c.left = c.size
	}
	take := min(c.left, len(b)-n)
	kept := max(min(take, c.Keep-len(c.body)), 0)
	c.body = append(c.body, b[n:n+kept]...)
	c.left -= take
	if c.left == 0 {
		c.heads = 0
	}
	return n + take, c.left == 0
}

func notFrames(head []byte) string {
	switch {
	case head[0] == 0x16 && head[1] == 3:
		return "TLS, not decoded"
	case !slices.ContainsFunc(head, func(b byte) bool { return b < ' ' || b > '~' }):
		return fmt.Sprintf("text, not decoded: %q…", head)
	}
	return fmt.Sprintf("not decoded: frame length %d", wire.FrameLen(head))
}
