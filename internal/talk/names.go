package talk

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/seed-9f8420c6/zk/wire"
)

// OpName names the operation of an entry.
func OpName(op wire.Op) string {
	switch op {
	case OpConnect:
		return "connect"
	case wire.OpError: // what could not be decoded
		return "unknown"
	}
	return op.String()
}

// EventName names the type of an event.
func EventName(typ int32) string {
	switch typ {
	case wire.EventNodeCreated:
		return "created"
	case wire.EventNodeDeleted:
		return "deleted"
	case wire.EventNodeDataChanged:
		return "changed"
	case wire.EventNodeChildrenChanged:
		return "child"
	}
	return fmt.Sprint("type ", typ)
}

var errorNames = map[int32]string{
	wire.ErrSystem: "SystemError", wire.ErrRuntimeInconsistency: "RuntimeInconsistency", wire.ErrDataInconsistency: "DataInconsistency",
	wire.ErrMarshalling: "MarshallingError", wire.ErrUnimplemented: "Unimplemented", wire.ErrBadArguments: "BadArguments",
	wire.ErrNewConfigNoQuorum: "NewConfigNoQuorum", wire.ErrReconfigInProgress: "ReconfigInProgress", wire.ErrNoNode: "NoNode",
	wire.ErrNoAuth: "NoAuth", wire.ErrBadVersion: "BadVersion", wire.ErrNoChildrenForEphemerals: "NoChildrenForEphemerals",
	wire.ErrNodeExists: "NodeExists", wire.ErrNotEmpty: "NotEmpty", wire.ErrSessionExpired: "SessionExpired",
	wire.ErrInvalidACL: "InvalidACL", wire.ErrAuthFailed: "AuthFailed", wire.ErrSessionMoved: "SessionMoved",
	wire.ErrNotReadOnly: "NotReadOnly", wire.ErrEphemeralOnLocalSession: "EphemeralOnLocalSession", wire.ErrNoWatcher: "NoWatcher",
	wire.ErrReconfigDisabled: "ReconfigDisabled", wire.ErrSessionClosedRequireSASL: "SessionClosedRequireSASL",
	wire.ErrQuotaExceeded: "QuotaExceeded", wire.ErrThrottled: "Throttled",
}

// ErrorName names an error of the protocol.
func ErrorName(code int32) string {
	if s, ok := errorNames[code]; ok {
		return s
	}
	return "error"
}

// Printable escapes what a terminal might obey, which peers can have put into
// paths and notes. JSON does that for some only; what comes out is the same JSON.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range s { // bytes that are not UTF-8 become U+FFFD
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}
