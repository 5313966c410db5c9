package zk

import (
	"context"

	root "github.com/seed-9f8420c6/zk"
)

// What is in this file goes beyond go-zookeeper.

// WithConfig lets a function complete the Config of each Dial: TLS, SASL, Auth,
// Chroot, ReadOnly, MaxInFlight, Logger, Trace, and the result of ParseConfig. Its
// DialContext is used unless WithDialer is given. Addrs, Resolve and State belong
// to the Conn. The Chroot must stay the same.
func WithConfig(configure func(*root.Config)) connOption {
	return with(func(s *settings) { s.configure = configure })
}

// WithRenew moves the watches to a new session when the session expires, and they
// miss no change. go-zookeeper ends them with EventNotWatching. Ephemeral znodes
// are gone nevertheless.
func WithRenew() connOption { return with(func(s *settings) { s.renew = true }) }

// WithSession sets a function that is called whenever there is a connection, in a
// goroutine of its own, one call after the other. fresh: the session is a new one, so
// that ephemeral znodes must be made again. Make calls on s in it: they report when
// the connection is lost.
func WithSession(up func(s *root.Session, fresh bool)) connOption {
	return with(func(s *settings) { s.hook = up })
}

// Session waits for a connection and returns the root's Session on it, so that a
// program can move to the root call by call. The Session belongs to the Conn: do not
// Close, Detach or Redial it. The error is that of ctx, ErrNoServer after a round of
// addresses, or ErrConnectionClosed after Close.
func (c *Conn) Session(ctx context.Context) (*root.Session, error) {
	l, err := c.wait(ctx)
	if err != nil {
		return nil, err
	}
	l.books.foreign.Add(1)
	return l.s, nil
}
