// Package wire is the ZooKeeper client protocol as bytes: every record in both
// directions, frames, opcodes and special xids.
//
// It has no connections, sessions or order: values go in and bytes
// come out, or the other way round. Encoders append to a slice and cannot
// fail. Decoding goes through a [Decoder], which checks every length against
// the bytes it has, keeps the first error and never allocates more than a
// small multiple of its input. Null and empty buffers, vectors and (where the
// protocol gives them different meanings) strings are kept apart.
package wire

import "strconv"

// Op is the type of a request (ZooDefs.OpCode).
type Op int32

// Request types, and since when a server supports them where that is later than 3.4.
const (
	OpNotification      Op = 0 // server to client only
	OpCreate            Op = 1
	OpDelete            Op = 2
	OpExists            Op = 3
	OpGetData           Op = 4
	OpSetData           Op = 5
	OpGetACL            Op = 6
	OpSetACL            Op = 7
	OpGetChildren       Op = 8
	OpSync              Op = 9
	OpPing              Op = 11
	OpGetChildren2      Op = 12
	OpCheck             Op = 13 // inside a multi only
	OpMulti             Op = 14
	OpCreate2           Op = 15  // 3.5.0
	OpReconfig          Op = 16  // 3.5.0
	OpCheckWatches      Op = 17  // 3.5.0
	OpRemoveWatches     Op = 18  // 3.5.0
	OpCreateContainer   Op = 19  // 3.5.1
	OpCreateTTL         Op = 21  // 3.5.3
	OpMultiRead         Op = 22  // 3.6.0
	OpAuth              Op = 100 // xid XidAuth
	OpSetWatches        Op = 101
	OpSASL              Op = 102
	OpGetEphemerals     Op = 103 // 3.6.0
	OpAllChildrenNumber Op = 104 // 3.6.0
	OpSetWatches2       Op = 105 // 3.6.0
	OpAddWatch          Op = 106 // 3.6.0
	OpWhoAmI            Op = 107 // 3.7.0
	OpCloseSession      Op = -11
	OpError             Op = -1 // marks an error or the end in a multi
)

// Xids with a meaning of their own. Ordinary requests count from 1 to 2^31-1.
const (
	XidNotification int32 = -1 // a WatcherEvent follows
	XidPing         int32 = -2
	XidAuth         int32 = -4
	XidSetWatches   int32 = -8 // used by the C client; other clients number SetWatches like any request
)

// Create flags (CreateMode): an enumeration, not a bit mask.
const (
	FlagPersistent              int32 = 0
	FlagEphemeral               int32 = 1
	FlagPersistentSequential    int32 = 2
	FlagEphemeralSequential     int32 = 3
	FlagContainer               int32 = 4 // OpCreateContainer only
	FlagPersistentTTL           int32 = 5 // OpCreateTTL only
	FlagPersistentSequentialTTL int32 = 6 // OpCreateTTL only
)

// MaxTTL is the longest time to live of a TTL node, in milliseconds (EphemeralType.TTL).
const MaxTTL int64 = 0xffffffffff

// Event types of a WatcherEvent (Watcher.Event.EventType). Servers send 1 to 4.
const (
	EventNone                int32 = -1
	EventNodeCreated         int32 = 1
	EventNodeDeleted         int32 = 2
	EventNodeDataChanged     int32 = 3
	EventNodeChildrenChanged int32 = 4
)

// StateSyncConnected is the state that servers put into every WatcherEvent.
const StateSyncConnected int32 = 3

// Modes of AddWatchRequest (AddWatchMode).
const (
	AddWatchPersistent          int32 = 0
	AddWatchPersistentRecursive int32 = 1
)

// Types of CheckWatches and RemoveWatches (Watcher.WatcherType).
const (
	WatcherChildren            int32 = 1
	WatcherData                int32 = 2 // data and exists watches
	WatcherAny                 int32 = 3
	WatcherPersistent          int32 = 4 // 3.9.0
	WatcherPersistentRecursive int32 = 5 // 3.9.0
)

// Permission bits of an ACL.
const (
	PermRead   int32 = 1
	PermWrite  int32 = 2
	PermCreate int32 = 4
	PermDelete int32 = 8
	PermAdmin  int32 = 16
	PermAll    int32 = 31
)

// Error numbers of a ReplyHeader, a MultiHeader and an ErrorResponse (KeeperException.Code).
const (
	ErrOK                       int32 = 0
	ErrSystem                   int32 = -1
	ErrRuntimeInconsistency     int32 = -2
	ErrDataInconsistency        int32 = -3
	ErrConnectionLoss           int32 = -4
	ErrMarshalling              int32 = -5
	ErrUnimplemented            int32 = -6
	ErrOperationTimeout         int32 = -7
	ErrBadArguments             int32 = -8
	ErrUnknownSession           int32 = -12
	ErrNewConfigNoQuorum        int32 = -13
	ErrReconfigInProgress       int32 = -14
	ErrAPI                      int32 = -100
	ErrNoNode                   int32 = -101
	ErrNoAuth                   int32 = -102
	ErrBadVersion               int32 = -103
	ErrNoChildrenForEphemerals  int32 = -108
	ErrNodeExists               int32 = -110
	ErrNotEmpty                 int32 = -111
	ErrSessionExpired           int32 = -112
	ErrInvalidCallback          int32 = -113
	ErrInvalidACL               int32 = -114
	ErrAuthFailed               int32 = -115
	ErrSessionMoved             int32 = -118
	ErrNotReadOnly              int32 = -119
	ErrEphemeralOnLocalSession  int32 = -120
	ErrNoWatcher                int32 = -121
	ErrRequestTimeout           int32 = -122
	ErrReconfigDisabled         int32 = -123
	ErrSessionClosedRequireSASL int32 = -124
	ErrQuotaExceeded            int32 = -125
	ErrThrottled                int32 = -127
)

var opNames = map[Op]string{
	OpNotification: "notification", OpCreate: "create", OpDelete: "delete", OpExists: "exists",
	OpGetData: "getData", OpSetData: "setData", OpGetACL: "getACL", OpSetACL: "setACL",
	OpGetChildren: "getChildren", OpSync: "sync", OpPing: "ping", OpGetChildren2: "getChildren2",
	OpCheck: "check", OpMulti: "multi", OpCreate2: "create2", OpReconfig: "reconfig",
	OpCheckWatches: "checkWatches", OpRemoveWatches: "removeWatches", OpCreateContainer: "createContainer",
	OpCreateTTL: "createTTL", OpMultiRead: "multiRead", OpAuth: "auth", OpSetWatches: "setWatches",
	OpSASL: "sasl", OpGetEphemerals: "getEphemerals", OpAllChildrenNumber: "getAllChildrenNumber",
	OpSetWatches2: "setWatches2", OpAddWatch: "addWatch", OpWhoAmI: "whoAmI",
	OpCloseSession: "closeSession", OpError: "error",
}

// String gives the server's name of the request type.
func (o Op) String() string {
	if s, ok := opNames[o]; ok {
		return s
	}
	return "op " + strconv.Itoa(int(o))
}
