package zk

import (
	"errors"
	"fmt"

	root "github.com/seed-9f8420c6/zk"
)

// ErrCode is an error number of the protocol.
type ErrCode int32

// What calls return. They are returned as they are, never wrapped, so that they can be compared by ==.
var (
	ErrConnectionClosed        = errors.New("zk: connection closed")
	ErrUnknown                 = errors.New("zk: unknown error")
	ErrAPIError                = errors.New("zk: api error")
	ErrNoNode                  = errors.New("zk: node does not exist")
	ErrNoAuth                  = errors.New("zk: not authenticated")
	ErrBadVersion              = errors.New("zk: version conflict")
	ErrNoChildrenForEphemerals = errors.New("zk: ephemeral nodes may not have children")
	ErrNodeExists              = errors.New("zk: node already exists")
	ErrNotEmpty                = errors.New("zk: node has children")
	ErrSessionExpired          = errors.New("zk: session has been expired by the server")
	ErrInvalidACL              = errors.New("zk: invalid ACL specified")
	ErrInvalidFlags            = errors.New("zk: invalid flags specified")
	ErrAuthFailed              = errors.New("zk: client authentication failed")
	ErrClosing                 = errors.New("zk: zookeeper is closing")
	ErrNothing                 = errors.New("zk: no server responses to process")
	ErrSessionMoved            = errors.New("zk: session moved to another server, so operation is ignored")
	ErrReconfigDisabled        = errors.New("attempts to perform a reconfiguration operation when reconfiguration feature is disabled")
	ErrBadArguments            = errors.New("invalid arguments")

	// ErrNoServer: a full round of addresses has failed while the call waited.
	ErrNoServer = errors.New("zk: could not connect to a server")
	// ErrInvalidPath: nothing was sent.
	ErrInvalidPath = errors.New("zk: invalid path")
	// ErrShortBuffer: the request is larger than WithMaxConnBufferSize allows, and was not sent.
	ErrShortBuffer = errors.New("zk: buffer too small")

	// ErrDeadlock: this Lock is locked already.
	ErrDeadlock = errors.New("zk: trying to acquire a lock twice")
	// ErrNotLocked: this Lock is not locked.
	ErrNotLocked = errors.New("zk: not locked")

	// These two are here because go-zookeeper exports them. Nothing returns them.
	ErrUnhandledFieldType = errors.New("zk: unhandled field type")
	ErrPtrExpected        = errors.New("zk: encode/decode expect a non-nil pointer to struct")
)

var codeErrors = map[root.Code]error{
	root.ErrBadArguments:            ErrBadArguments,
	-100:                            ErrAPIError,
	root.ErrNoNode:                  ErrNoNode,
	root.ErrNoAuth:                  ErrNoAuth,
	root.ErrVersion:                 ErrBadVersion,
	root.ErrNoChildrenForEphemerals: ErrNoChildrenForEphemerals,
	root.ErrExists:                  ErrNodeExists,
	root.ErrNotEmpty:                ErrNotEmpty,
	root.ErrSessionExpired:          ErrSessionExpired,
	root.ErrInvalidACL:              ErrInvalidACL,
	root.ErrAuthFailed:              ErrAuthFailed,
	-116:                            ErrClosing,
	-117:                            ErrNothing,
	root.ErrSessionMoved:            ErrSessionMoved,
	root.ErrReconfigDisabled:        ErrReconfigDisabled,
}

// unknownError is a Code that go-zookeeper has no variable for. It unwraps to the error of the root.
type unknownError struct {
	code root.Code
	err  error
}

func (e *unknownError) Error() string { return fmt.Sprintf("unknown error: %d", int32(e.code)) }
func (e *unknownError) Unwrap() error { return e.err }

func codeError(code root.Code, err error) error {
	if known, ok := codeErrors[code]; ok {
		return known
	}
	return &unknownError{code, err}
}

// disconnected reports whether an error is the connection's.
func disconnected(err error) bool {
	return errors.Is(err, root.ErrConnection) || errors.Is(err, root.ErrMoved) || errors.Is(err, root.ErrClosed)
}

// verdict translates the error of a call of the root. gone: the connection is or will be over.
// again: the call was not sent, because of that or of too many undelivered events.
func verdict(err error) (gone, again bool, _ error) {
	if err == nil {
		return false, false, nil
	}
	outcome, gone := root.Answered, disconnected(err)
	var op *root.OpError
	if errors.As(err, &op) {
		outcome = op.Outcome()
	} else if gone {
		outcome = root.Lost
	}
	if outcome == root.Lost {
		return true, false, ErrConnectionClosed
	}
	return gone, outcome == root.NotSent && (gone || errors.Is(err, root.ErrSlowConsumer)), plainError(err)
}

// plainError is the variable for an error that no connection is to blame for.
func plainError(err error) error {
	var code root.Code
	switch {
	case errors.Is(err, root.ErrBadPath):
		return ErrInvalidPath
	case errors.Is(err, root.ErrTooLarge):
		return ErrShortBuffer
	case errors.Is(err, root.ErrAuth):
		return ErrAuthFailed
	case errors.As(err, &code):
		return codeError(code, err)
	}
	return err
}
