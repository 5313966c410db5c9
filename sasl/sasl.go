// Package sasl holds what a client needs to prove itself by SASL: the interface
// of a mechanism. A mechanism knows nothing of connections; it turns the
// server's challenges into responses.
package sasl

import (
	"context"
	"fmt"
	"strconv"
)

// Mechanism begins one exchange per connection. It is used by one Dial after
// another and must not change.
type Mechanism interface {
	// Start begins an exchange with the server at host, which is the host as
	// configured, without its port. It returns the first token to send; a
	// mechanism without an initial response returns an empty one. It is called
	// before there is a connection, and what it waits for must obey ctx.
	Start(ctx context.Context, host string) (Exchange, []byte, error)
}

// Exchange is one authentication under way.
type Exchange interface {
	// Next takes the server's token, which may be nil, and returns the token to
	// send, or done when the exchange is complete and nothing is to be sent. An
	// error ends the attempt: the server did not prove itself, or sent something
	// the mechanism does not understand. Nothing else is sent meanwhile, not even
	// pings, so Next must not take long.
	Next(challenge []byte) (response []byte, done bool, err error)
}

// Error is why an exchange ended on this side. The errors of the mechanisms
// match one of these with errors.Is.
type Error int

const (
	ErrMalformed   Error = iota + 1 // the server's token cannot be read
	ErrUnsupported                  // the server asks for what the mechanism does not have, or has no SASL
	ErrUnproved                     // the server did not prove itself
	ErrCredential                   // user or password cannot be used
)

func (e Error) Error() string {
	switch e {
	case ErrMalformed:
		return "malformed challenge"
	case ErrUnsupported:
		return "not supported"
	case ErrUnproved:
		return "the server did not prove itself"
	case ErrCredential:
		return "unusable credential"
	}
	return "sasl error " + strconv.Itoa(int(e))
}

func failure(kind Error, detail string) error { return fmt.Errorf("%w: %s", kind, detail) }
