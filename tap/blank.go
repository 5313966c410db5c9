package tap

import (
	"encoding/binary"

	"github.com/seed-9f8420c6/zk/internal/talk"
	"github.com/seed-9f8420c6/zk/wire"
)

// Places in the bodies of frames.
const (
	requestHeader   = 8      // xid, operation
	replyHeader     = 16     // xid, zxid, error
	askedPassword   = 28 - 4 // of a ConnectRequest: its length
	grantedPassword = 20 - 4 // of a ConnectResponse
	authScheme      = 8 + 4  // of an auth packet: the length of the scheme, behind the type
)

// blank zeroes what proves an identity. What does not look as it must is zeroed up to
// its end.
func blank(e *talk.Entry, sent bool) {
	b := e.Raw
	switch {
	case e.Op == talk.OpConnect && sent:
		zero(b, askedPassword)
	case e.Op == talk.OpConnect:
		zero(b, grantedPassword)
	case e.Op == wire.OpAuth && sent:
		scheme, ok := length(b, authScheme)
		if !ok {
			scheme = -authScheme
		}
		clear(b[min(len(b), max(requestHeader, authScheme+4+scheme)):])
	case e.Op == wire.OpSASL && sent:
		clear(b[min(len(b), requestHeader):])
	case (e.Op == wire.OpSASL || e.Op == wire.OpError) && !sent: // a reply to no request may be anything
		clear(b[min(len(b), replyHeader):])
	}
}

// length reads the length of a field, if that is within the body.
func length(b []byte, at int) (n int, ok bool) {
	if len(b) < at+4 {
		return 0, false
	}
	n = int(int32(binary.BigEndian.Uint32(b[at:])))
	return n, n >= 0 && n <= len(b)-at-4
}

// zero clears a field behind its length.
func zero(b []byte, at int) {
	n, ok := length(b, at)
	if !ok {
		n = len(b)
	}
	from := min(len(b), at+4)
	clear(b[from:min(len(b), from+n)])
}
