package metrics

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/talk"
)

var (
	dialReasons = []string{"dns", "tcp", "tls", "handshake", "expired", "auth", "readonly", "other"}
	lossReasons = []string{"eof", "silent", "protocol", "closed_by_peer", "other"}
)

// dialReason says why an address gave no session, in one of few words.
func dialReason(at stage, err error) string {
	switch {
	case at == resolving:
		return "dns"
	case errors.Is(err, zk.ErrExpired):
		return "expired"
	case errors.Is(err, zk.ErrAuth), at == starting:
		return "auth"
	case errors.Is(err, zk.ErrNotReadOnly):
		return "readonly"
	case strings.HasPrefix(err.Error(), "Config.Wrap "): // which is neither of TCP nor of TLS
		return "other"
	case at == connecting:
		return "tcp"
	case at == securing:
		return "tls"
	case at == handshaking:
		return "handshake"
	}
	return "other"
}

// lossReason says why a connection was lost, in one of few words; "" if it was not.
func lossReason(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case !errors.Is(err, zk.ErrConnection):
		return ""
	case errors.Is(err, zk.ErrProtocol):
		return "protocol"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	case slices.ContainsFunc(closedByPeer, func(no error) bool { return errors.Is(err, no) }):
		return "closed_by_peer"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "silent"
	}
	return "other"
}

// Failure is a kind of failed calls. Each field has few values.
type Failure struct {
	Op string
	// Outcome is answered, not_sent or lost.
	Outcome string
	// Code is the name of the server's error, such as NoNode. A call that was not answered has
	// connection, context, moved, closed, refused (its request is bad) or other.
	Code string
}

// FailureOf returns the kind of a failed call.
func FailureOf(op string, err error) Failure {
	f := Failure{Op: op, Outcome: zk.NotSent.String(), Code: "other"}
	var e *zk.OpError
	if errors.As(err, &e) {
		f.Outcome = e.Outcome().String()
	}
	f.Outcome = strings.ReplaceAll(f.Outcome, " ", "_")
	var code zk.Code
	switch {
	case f.Outcome == zk.Answered.String() && errors.As(err, &code):
		if name := talk.ErrorName(int32(code)); name != "error" { // a server may invent any number of codes
			f.Code = name
		}
	case isContext(err):
		f.Code = "context"
	case errors.Is(err, zk.ErrMoved):
		f.Code = "moved"
	case errors.Is(err, zk.ErrClosed):
		f.Code = "closed"
	case errors.Is(err, zk.ErrConnection):
		f.Code = "connection"
	case errors.Is(err, zk.ErrTooLarge), errors.Is(err, zk.ErrBadPath), errors.Is(err, zk.ErrBadArguments), errors.Is(err, zk.ErrNoWatcher),
		errors.Is(err, zk.ErrSlowConsumer):
		f.Code = "refused"
	}
	return f
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
