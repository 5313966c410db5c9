package zk

import (
	"cmp"
	"time"
)

// DefaultPort is the port of a server that is named without one.
const DefaultPort = 2181

// EventType is what happened.
type EventType int32

const (
	EventNodeCreated         EventType = 1
	EventNodeDeleted         EventType = 2
	EventNodeDataChanged     EventType = 3
	EventNodeChildrenChanged EventType = 4

	// EventSession: the State of the Conn has changed.
	EventSession EventType = -1
	// EventNotWatching: the watch is gone. Event.Err is ErrSessionExpired or ErrClosing.
	EventNotWatching EventType = -2
)

var eventNames = map[EventType]string{
	EventNodeCreated: "EventNodeCreated", EventNodeDeleted: "EventNodeDeleted", EventNodeDataChanged: "EventNodeDataChanged",
	EventNodeChildrenChanged: "EventNodeChildrenChanged", EventSession: "EventSession", EventNotWatching: "EventNotWatching",
}

func (t EventType) String() string { return cmp.Or(eventNames[t], "Unknown") }

// State is what a Conn is doing.
type State int32

const (
	StateUnknown           State = -1
	StateDisconnected      State = 0
	StateConnecting        State = 1
	StateSyncConnected     State = 3 // of the events of znodes
	StateAuthFailed        State = 4 // a server has refused the credentials
	StateConnectedReadOnly State = 5
	StateSaslAuthenticated State = 6
	StateExpired           State = -112

	StateConnected  State = 100 // there is a connection, and no session yet
	StateHasSession State = 101 // and the watches of the session are armed again
)

var stateNames = map[State]string{
	StateUnknown: "StateUnknown", StateDisconnected: "StateDisconnected", StateConnecting: "StateConnecting", StateSyncConnected: "StateSyncConnected",
	StateAuthFailed: "StateAuthFailed", StateConnectedReadOnly: "StateConnectedReadOnly", StateSaslAuthenticated: "StateSaslAuthenticated",
	StateExpired: "StateExpired", StateConnected: "StateConnected", StateHasSession: "StateHasSession",
}

func (s State) String() string { return cmp.Or(stateNames[s], "Unknown") }

// Event is a change of a watched znode, or of the State of the Conn.
type Event struct {
	Type  EventType
	State State
	// Path is the watched znode's.
	Path string
	Err  error
	// Server is set where Type is EventSession.
	Server string
}

// Permissions of an ACL.
const (
	PermRead   = 1
	PermWrite  = 2
	PermCreate = 4
	PermDelete = 8
	PermAdmin  = 16
	PermAll    = 0x1f
)

// Flags of Create, CreateContainer and CreateTTL.
const (
	FlagPersistent                  = 0
	FlagEphemeral                   = 1
	FlagSequence                    = 2
	FlagEphemeralSequential         = 3
	FlagContainer                   = 4
	FlagTTL                         = 5
	FlagPersistentSequentialWithTTL = 6
)

// ACL gives permissions to one identity.
type ACL struct {
	Perms  int32
	Scheme string
	ID     string
}

// Stat is what the server keeps about a znode. Times are milliseconds since 1970.
type Stat struct {
	Czxid, Mzxid                int64 // the transactions that created it, and last changed its data
	Ctime, Mtime                int64
	Version, Cversion, Aversion int32 // changes of data, children, ACL
	EphemeralOwner              int64 // its session; 0: it is not ephemeral
	DataLength, NumChildren     int32
	Pzxid                       int64 // the transaction that last changed its children
}

// PathVersionRequest is the form of two of the operations of Multi.
type PathVersionRequest struct {
	Path    string
	Version int32
}

// Operations of Multi, which takes pointers to them. No function takes a CreateTTLRequest.
type (
	CheckVersionRequest PathVersionRequest
	DeleteRequest       PathVersionRequest

	CreateRequest struct {
		Path  string
		Data  []byte
		Acl   []ACL
		Flags int32
	}
	CreateTTLRequest struct {
		Path  string
		Data  []byte
		Acl   []ACL
		Flags int32
		Ttl   int64 // ms
	}
	SetDataRequest struct {
		Path    string
		Data    []byte
		Version int32
	}
)

// MultiResponse is the result of one operation of Multi.
type MultiResponse struct {
	Stat   *Stat
	String string
	Error  error
}

// Mode is the role of a server.
type Mode uint8

const (
	ModeUnknown Mode = iota
	ModeLeader
	ModeFollower
	ModeStandalone
)

var modeNames = map[Mode]string{ModeLeader: "leader", ModeFollower: "follower", ModeStandalone: "standalone"}

func (m Mode) String() string { return cmp.Or(modeNames[m], "unknown") }

// ServerStats is what a server answers to srvr. Latencies are milliseconds.
type ServerStats struct {
	Server                    string
	Sent, Received, NodeCount int64
	MinLatency                int64
	AvgLatency                float64
	MaxLatency                int64
	Connections, Outstanding  int64
	Epoch, Counter            int32
	BuildTime                 time.Time
	Mode                      Mode
	Version                   string
	Error                     error
}

// ServerClients are the clients of one server.
type ServerClients struct {
	Clients []*ServerClient
	Error   error
}

// ServerClient is a client as its server sees it. Timeout and latencies are milliseconds.
type ServerClient struct {
	Queued, Received, Sent                          int64
	SessionID, Lcxid, Lzxid                         int64
	Timeout                                         int32
	LastLatency, MinLatency, AvgLatency, MaxLatency int32
	Established                                     time.Time
	// LastResponse is, since 3.5, on a clock of the server that does not begin in 1970.
	LastResponse        time.Time
	Addr, LastOperation string
	Error               error
}
