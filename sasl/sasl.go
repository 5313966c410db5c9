// Package sasl defines the SASL mechanisms with which a client authenticates. It
// has their interface, and DIGEST-MD5. A mechanism has no connection. It turns
// the server's challenges into responses.
package sasl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// Mechanism begins one exchange per connection. Several Dials use it, one after
// another, so it must not change.
type Mechanism interface {
	// Start begins an exchange with the server at host. That is the host as
	// configured, without its port. If the name has several IP addresses, each of
	// which may be another server, host is the address that is connected to next.
	// Name(ctx) is the configured name in both cases. Start returns the first token
	// to send; a mechanism without an initial response returns an empty one. It is
	// called before there is a connection, and its waits must obey ctx. An error ends
	// this server's turn; Refused says whether it is final.
	Start(ctx context.Context, host string) (Exchange, []byte, error)
}

type serverKey struct{}

type server struct {
	name string
	addr netip.Addr
}

// WithServer returns a context for [Mechanism.Start] that carries the server's
// configured host and, if the caller knows it, the address that is connected to. It is
// for callers of Start.
func WithServer(ctx context.Context, name string, addr netip.Addr) context.Context {
	return context.WithValue(ctx, serverKey{}, server{name, addr})
}

// Name returns the configured host of the server with which Mechanism.Start
// begins an exchange, or "".
func Name(ctx context.Context) string {
	s, _ := ctx.Value(serverKey{}).(server)
	return s.name
}

// Addr returns the address of the server with which Mechanism.Start begins an
// exchange. It is not valid if the caller does not know the address, for example
// because the application makes the connections.
func Addr(ctx context.Context) netip.Addr {
	s, _ := ctx.Value(serverKey{}).(server)
	return s.addr
}

// Exchange is one authentication in progress.
type Exchange interface {
	// Next takes the server's token, which may be nil, and returns the token to send.
	// It returns done when the exchange is complete and nothing is to be sent. An
	// error ends the attempt: the server did not authenticate itself, or sent
	// something that the mechanism does not understand. Nothing else is sent
	// meanwhile, not even pings, so Next must not take long.
	Next(challenge []byte) (response []byte, done bool, err error)
}

// Error says why an exchange ended on this side. The errors of the mechanisms
// match one of these with errors.Is.
type Error int

const (
	// ErrMalformed: the server's token cannot be read.
	ErrMalformed Error = iota + 1
	// ErrUnsupported: the server asks for something that the mechanism does not support, or
	// has no SASL.
	ErrUnsupported
	// ErrUnproved: the server did not authenticate itself.
	ErrUnproved
	// ErrCredential: user, password or key cannot be used, or a third party, such as a KDC,
	// refuses them.
	ErrCredential
	// ErrUnavailable: something that the mechanism needs is not available now, such as a
	// KDC.
	ErrUnavailable
)

// Refused reports whether an error of a Mechanism or an Exchange would occur
// again with the same credentials and the same server. It does if it matches an
// Error other than ErrUnavailable. Any other error, such as one of the network,
// of DNS or of a context, may pass. Then a client tries the next server, or this
// one later.
func Refused(err error) bool {
	var kind Error
	return errors.As(err, &kind) && !errors.Is(err, ErrUnavailable)
}

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
	case ErrUnavailable:
		return "not available at the moment"
	}
	return "sasl error " + strconv.Itoa(int(e))
}

func failure(kind Error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
}
