package calls

import "github.com/seed-9f8420c6/zk/wire"

// Kind says of an operation how its reply is read, and what an answer means for the
// connection.
type Kind struct {
	// Decode reads the body of a reply without error; nil: there is none.
	Decode func(r *Result, d *wire.Decoder)
	// Excuse reports whether a reply with an error counts as an answer without one; nil:
	// none does.
	Excuse func(r *Result, code int32) bool
	// MayStayOpen: a server may answer -6 and go on, because it supports the operation and
	// has switched it off. After a -6 to any other operation it closes the connection.
	MayStayOpen bool
	// Own: a request of the client's own, which takes no slot of MaxInFlight.
	Own bool
	// Last: nothing more comes of the connection.
	Last bool
}

func (k *Kind) excuses(r *Result, code int32) bool { return k.Excuse != nil && k.Excuse(r, code) }

// The kinds of the client's own requests.
var (
	KindAuth       = Kind{Own: true}
	KindSASL       = Kind{Decode: decodeToken, Own: true}
	kindSetWatches = Kind{Own: true}
	KindClose      = Kind{Own: true, Last: true}

	// The requests of reread. Whatever the read of a one-shot is answered, it says that the
	// watch has fired or is armed.
	kindRereadData       = Kind{Decode: decodeStat, Excuse: staysOpen, Own: true}
	kindRereadChild      = Kind{Decode: decodeChildren, Excuse: staysOpen, Own: true}
	kindRereadPersistent = Kind{Own: true}

	kindRewatch = Kind{Own: true}
)

func decodeToken(r *Result, d *wire.Decoder) {
	var m wire.SASLResponse
	m.Decode(d)
	r.Data = append([]byte(nil), m.Token...)
}

func decodeStat(r *Result, d *wire.Decoder) { r.Stat.Decode(d) }

func decodeChildren(r *Result, d *wire.Decoder) {
	d.Strings()
	r.Stat.Decode(d)
}

func staysOpen(_ *Result, code int32) bool { return !closes(code) }

// closes reports whether a server ends the connection with this code.
func closes(code int32) bool {
	switch code {
	case wire.ErrSessionExpired, wire.ErrSessionMoved, wire.ErrAuthFailed, wire.ErrSessionClosedRequireSASL:
		return true
	}
	return false
}
