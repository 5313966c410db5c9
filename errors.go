package zk

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/zpath"
)

// Code is an error number that a server answered (KeeperException.Code). An
// unknown number is kept and printed as it is. A request that this client
// refuses, such as one with an empty ACL, has the Code that the server would
// answer, with the outcome [NotSent].
type Code int32

// The codes that servers answer.
const (
	ErrSystem                  Code = -1
	ErrRuntimeInconsistency    Code = -2 // in a Multi: rolled back, or not tried, because of another operation
	ErrDataInconsistency       Code = -3
	ErrMarshalling             Code = -5
	ErrUnimplemented           Code = -6 // the server does not support the operation, or has it switched off
	ErrBadArguments            Code = -8
	ErrNewConfigNoQuorum       Code = -13
	ErrReconfigInProgress      Code = -14
	ErrNoNode                  Code = -101
	ErrNoAuth                  Code = -102
	ErrVersion                 Code = -103
	ErrNoChildrenForEphemerals Code = -108
	ErrExists                  Code = -110
	ErrNotEmpty                Code = -111
	ErrSessionExpired          Code = -112 // in an answer; a Dial returns ErrExpired
	ErrInvalidACL              Code = -114
	ErrAuthFailed              Code = -115 // matches ErrAuth too
	ErrSessionMoved            Code = -118
	ErrNotReadOnly             Code = -119 // a write or Sync on a read-only server
	ErrEphemeralOnLocalSession Code = -120
	ErrNoWatcher               Code = -121
	ErrReconfigDisabled        Code = -123
	ErrSASLRequired            Code = -124 // matches ErrAuth too
	ErrQuotaExceeded           Code = -125
	ErrThrottled               Code = -127 // not executed
)

var codeText = map[Code]string{
	ErrSystem:                  "system error",
	ErrRuntimeInconsistency:    "rolled back with another operation of the multi",
	ErrDataInconsistency:       "data inconsistency",
	ErrMarshalling:             "the server could not read the request",
	ErrUnimplemented:           "operation unknown to the server, or switched off",
	ErrBadArguments:            "bad arguments",
	ErrNewConfigNoQuorum:       "no quorum of the new configuration is in sync",
	ErrReconfigInProgress:      "another reconfiguration is in progress",
	ErrNoNode:                  "no such znode",
	ErrNoAuth:                  "not permitted",
	ErrVersion:                 "another version",
	ErrNoChildrenForEphemerals: "an ephemeral znode has no children",
	ErrExists:                  "znode exists",
	ErrNotEmpty:                "znode has children",
	ErrSessionExpired:          "session expired",
	ErrInvalidACL:              "invalid ACL",
	ErrAuthFailed:              "credentials refused",
	ErrSessionMoved:            "session moved to another server",
	ErrNotReadOnly:             "the server is read-only",
	ErrEphemeralOnLocalSession: "a local session has no ephemerals",
	ErrNoWatcher:               "no such watch",
	ErrReconfigDisabled:        "reconfiguration is disabled",
	ErrSASLRequired:            "the server requires authentication by SASL",
	ErrQuotaExceeded:           "quota exceeded",
	ErrThrottled:               "throttled by the server, not executed",
}

func (c Code) Error() string {
	if s, ok := codeText[c]; ok {
		return s
	}
	return "server error " + strconv.Itoa(int(c))
}

// Is makes the two codes that refuse credentials match ErrAuth.
func (c Code) Is(target error) bool {
	return target == ErrAuth && (c == ErrAuthFailed || c == ErrSASLRequired)
}

// reason is the type of the sentinels below: small and comparable.
type reason string

func (r reason) Error() string { return "zk: " + string(r) }

// Is makes ErrExpired match the Code of the same meaning.
func (r reason) Is(target error) bool { return r == ErrExpired && target == ErrSessionExpired }

// Reasons of a failed call or Dial besides a Code. Test with errors.Is. The
// package documentation says what to do about each.
const (
	ErrConnection   = reason("connection lost")                               // this connection is over; the session may live: redial
	ErrNotSent      = reason("not sent")                                      // not one byte of the request left
	ErrLost         = reason("sent, and no answer came")                      // the request may or may not have been executed
	ErrExpired      = reason("session expired")                               // only Dial and Redial return it: Renew
	ErrMoved        = reason("session moved to a newer Session")              // another Session has taken over; Redial returns it
	ErrAuth         = reason("credentials refused")                           // the session lives
	ErrClosed       = reason("session closed")                                // by Close or Detach
	ErrProtocol     = reason("protocol violated")                             // by the server
	ErrTooLarge     = reason("frame too large")                               // MaxRequest or MaxReply
	ErrBadPath      = reason("bad path")                                      // by the rules of ZooKeeper's PathUtils
	ErrSlowConsumer = reason("too many undelivered events")                   // of persistent watches
	ErrNoServer     = reason("no server")                                     // every address failed; unwraps to the reason of each
	ErrUnbound      = reason("unmarshalled watches have no channels: Rebind") // or the watches are in use already
)

// Hopeless reports whether redialing and repeating the call cannot help,
// because the server does not support the operation or refuses the
// credentials, or because a frame is above a limit. Other calls that were in
// flight when such an answer ended the connection are lost, not hopeless.
func Hopeless(err error) bool {
	var e *OpError
	if !errors.As(err, &e) {
		return errors.Is(err, ErrTooLarge)
	}
	switch {
	case e.Outcome() == Answered:
		return errors.Is(err, ErrUnimplemented) || errors.Is(err, ErrAuth)
	case e.Outcome() == Lost:
		return e.ended && errors.Is(err, ErrTooLarge)
	}
	return errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrConnection)
}

// SizeError reports a frame above a limit. It matches ErrTooLarge.
type SizeError struct {
	// Size is the size of the frame in bytes, without its length prefix.
	Size int
	// Limit is Config.MaxRequest or, of a Reply, Config.MaxReply, in bytes.
	Limit int
	Reply bool
}

func (e *SizeError) Error() string {
	limit := "MaxRequest"
	if e.Reply {
		limit = "MaxReply"
	}
	return fmt.Sprintf("%v: %d bytes, Config.%s is %d", ErrTooLarge, e.Size, limit, e.Limit)
}

// Is matches ErrTooLarge.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }

// Outcome is how far a failed call got.
type Outcome uint8

const (
	// Answered: the server answered with an error, and nothing was changed.
	Answered Outcome = iota + 1
	// NotSent: not one byte of the request left. It was not executed.
	NotSent
	// Lost: at least part of the request may have been sent, and no answer was
	// received. It may or may not have been executed.
	Lost
)

func (o Outcome) String() string {
	switch o {
	case Answered:
		return "answered"
	case NotSent:
		return "not sent"
	case Lost:
		return "lost"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}

// OpError is the error of a failed call of a Session: the operation, its
// path, the reason and, by Outcome, how far the call got.
type OpError struct {
	Op   string // "get", "create", …
	Path string // as given by the application; empty where there is none
	Err  error  // the Code if answered, else the reason

	outcome Outcome
	ended   bool // the answer ended the connection
}

func (e *OpError) Error() string {
	var b strings.Builder
	b.WriteString("zk: ")
	b.WriteString(e.Op)
	if e.Path != "" {
		b.WriteByte(' ')
		b.WriteString(e.Path)
	}
	if o := e.Outcome(); o != Answered {
		b.WriteString(": ")
		b.WriteString(o.String())
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(strings.TrimPrefix(e.Err.Error(), "zk: "))
	}
	return b.String()
}

// Unwrap returns Err.
func (e *OpError) Unwrap() error { return e.Err }

// Cause returns Err, for github.com/pkg/errors.
func (e *OpError) Cause() error { return e.Err }

// Outcome returns which of the three outcomes the call had.
func (e *OpError) Outcome() Outcome {
	if e.outcome == 0 {
		if _, ok := e.Err.(Code); ok {
			return Answered
		}
		return Lost
	}
	return e.outcome
}

// Is matches ErrNotSent and ErrLost by the outcome, and ErrConnection when the
// answer ended the connection.
func (e *OpError) Is(target error) bool {
	switch target {
	case ErrNotSent:
		return e.Outcome() == NotSent
	case ErrLost:
		return e.Outcome() == Lost
	case ErrConnection:
		return e.ended
	}
	return false
}

func notSent(op, path string, err error) error {
	return &OpError{Op: op, Path: path, Err: err, outcome: NotSent}
}

// detailed is a sentinel with what happened. A connection that ended for
// whatever reason but an orderly one is an ErrConnection too.
type detailed struct {
	kind   reason
	detail string
	cause  error // nil: detail says all
}

func (e *detailed) Error() string {
	s := e.kind.Error()
	if e.detail != "" {
		s += ": " + e.detail
	}
	if e.cause != nil {
		s += ": " + strings.TrimPrefix(e.cause.Error(), "zk: ")
	}
	return s
}

func (e *detailed) Unwrap() error { return e.cause }

func (e *detailed) Is(target error) bool {
	if target == ErrConnection {
		return e.kind == ErrConnection || e.kind == ErrProtocol || e.kind == ErrSlowConsumer
	}
	return target == e.kind
}

// noted is an error with a note on what follows from it.
type noted struct {
	error
	note string
}

func (e *noted) Error() string { return e.error.Error() + "; " + e.note }
func (e *noted) Unwrap() error { return e.error }
func (e *noted) Cause() error  { return e.error }

// logged is an error of which a slog.Handler prints the text only: one of them would print
// the stack as well.
type logged struct{ error }

func (e logged) Unwrap() error              { return e.error }
func (e logged) Format(f fmt.State, _ rune) { io.WriteString(f, e.Error()) }

func connError(cause error) error { return &detailed{kind: ErrConnection, cause: cause} }

func protocolError(format string, args ...any) error {
	return &detailed{kind: ErrProtocol, detail: fmt.Sprintf(format, args...)}
}

func badPath(detail string) error { return &detailed{kind: ErrBadPath, detail: detail} }

func badArgument(format string, args ...any) error {
	return &argumentError{Code: ErrBadArguments, detail: fmt.Sprintf(format, args...)}
}

// argumentError is a Code that this client gave itself, with what is wrong.
type argumentError struct {
	Code
	detail string
}

func (e *argumentError) Error() string { return e.Code.Error() + ": " + e.detail }
func (e *argumentError) Unwrap() error { return e.Code }

func tooLarge(n, limit int) error { return &SizeError{Size: n, Limit: limit} }

// ofOthers is the end of a connection as a call sees it whose own reply was not too
// large.
func ofOthers(end error) error {
	if end == nil {
		return nil
	}
	return sizeOfOthers(end)
}

// sizeOfOthers is the part of ofOthers that is not to be inlined.
func sizeOfOthers(end error) error {
	var size *SizeError
	if errors.As(end, &size) {
		return protocolError("another call's reply had %d bytes", size.Size)
	}
	return end
}

// addrError is why one address gave no session.
type addrError struct {
	addr string
	err  error
}

func (e *addrError) Error() string { return e.addr + ": " + strings.TrimPrefix(e.err.Error(), "zk: ") }
func (e *addrError) Unwrap() error { return e.err }

// noServer lists why no address gave a session.
type noServer struct{ reasons []error }

func (e *noServer) Error() string {
	var b strings.Builder
	b.WriteString(ErrNoServer.Error())
	for i, r := range e.reasons {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(strings.TrimPrefix(r.Error(), "zk: "))
	}
	return b.String()
}

func (e *noServer) Unwrap() []error      { return e.reasons }
func (e *noServer) Is(target error) bool { return target == ErrNoServer }

// allRefused lists why no server is worth another try: each refused who we are, or
// did not show who it is.
type allRefused struct{ reasons []error }

func (e *allRefused) Error() string {
	return "zk: refused" + strings.TrimPrefix((&noServer{e.reasons}).Error(), ErrNoServer.Error())
}

func (e *allRefused) Unwrap() []error { return e.reasons }

// refusal is the end of an attempt for reasons of identity, which may be this
// server's alone.
type refusal struct{ detailed }

// saslRefused is an exchange of SASL that ended with a refusal, of whichever side.
func saslRefused(err error) error {
	return &refusal{detailed{kind: ErrAuth, detail: "SASL", cause: err}}
}

// isRefusal reports whether an attempt ended by a refusal of SASL or TLS.
func isRefusal(err error) bool {
	var r *refusal
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &r), errors.As(err, &cert):
		return true
	case errors.As(err, &op) && op.Op == "remote error": // an alert, whose type crypto/tls keeps to itself
		text := op.Err.Error()
		return strings.Contains(text, "certificate") || strings.Contains(text, "access denied")
	}
	return false
}

// checkPath refuses a path by the rules of the server, before a byte is written. A
// sequential create may end in a slash.
func checkPath(path string, sequential bool) error {
	if problem := zpath.Check(path, sequential); problem != "" {
		return badPath(problem)
	}
	return nil
}
