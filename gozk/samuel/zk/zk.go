// Package zk is gozk under the path of its oldest ancestor, for programs whose
// dependencies import github.com/samuel/go-zookeeper/zk:
//
//	replace github.com/samuel/go-zookeeper => github.com/seed-9f8420c6/zk/gozk/samuel v1.1.0
//
// Types are gozk's, and errors the same variables. It has what only the ancestor had:
// a cluster for tests, and a tracer.
package zk

import (
	"time"

	gozk "github.com/seed-9f8420c6/zk/gozk"
)

// Types of gozk.
type (
	ACL                 = gozk.ACL
	CheckVersionRequest = gozk.CheckVersionRequest
	Conn                = gozk.Conn
	CreateRequest       = gozk.CreateRequest
	DNSHostProvider     = gozk.DNSHostProvider
	DeleteRequest       = gozk.DeleteRequest
	Dialer              = gozk.Dialer
	ErrCode             = gozk.ErrCode
	Event               = gozk.Event
	EventCallback       = gozk.EventCallback
	EventType           = gozk.EventType
	HostProvider        = gozk.HostProvider
	Lock                = gozk.Lock
	Logger              = gozk.Logger
	Mode                = gozk.Mode
	MultiResponse       = gozk.MultiResponse
	PathVersionRequest  = gozk.PathVersionRequest
	ServerClient        = gozk.ServerClient
	ServerClients       = gozk.ServerClients
	ServerStats         = gozk.ServerStats
	SetDataRequest      = gozk.SetDataRequest
	Stat                = gozk.Stat
	State               = gozk.State

	SimpleDNSHostProvider = gozk.SimpleDNSHostProvider // which forks of the ancestor have
)

// Constants of gozk.
const (
	DefaultPort = gozk.DefaultPort

	EventNodeCreated         = gozk.EventNodeCreated
	EventNodeDeleted         = gozk.EventNodeDeleted
	EventNodeDataChanged     = gozk.EventNodeDataChanged
	EventNodeChildrenChanged = gozk.EventNodeChildrenChanged
	EventSession             = gozk.EventSession
	EventNotWatching         = gozk.EventNotWatching

	StateUnknown           = gozk.StateUnknown
	StateDisconnected      = gozk.StateDisconnected
	StateConnecting        = gozk.StateConnecting
	StateAuthFailed        = gozk.StateAuthFailed
	StateConnectedReadOnly = gozk.StateConnectedReadOnly
	StateSaslAuthenticated = gozk.StateSaslAuthenticated
	StateSyncConnected     = gozk.StateSyncConnected
	StateExpired           = gozk.StateExpired
	StateConnected         = gozk.StateConnected
	StateHasSession        = gozk.StateHasSession

	FlagEphemeral = gozk.FlagEphemeral
	FlagSequence  = gozk.FlagSequence

	PermRead   = gozk.PermRead
	PermWrite  = gozk.PermWrite
	PermCreate = gozk.PermCreate
	PermDelete = gozk.PermDelete
	PermAdmin  = gozk.PermAdmin
	PermAll    = gozk.PermAll

	ModeUnknown    = gozk.ModeUnknown
	ModeLeader     = gozk.ModeLeader
	ModeFollower   = gozk.ModeFollower
	ModeStandalone = gozk.ModeStandalone
)

// Variables of gozk: the same errors.
var (
	ErrConnectionClosed        = gozk.ErrConnectionClosed
	ErrUnknown                 = gozk.ErrUnknown
	ErrAPIError                = gozk.ErrAPIError
	ErrNoNode                  = gozk.ErrNoNode
	ErrNoAuth                  = gozk.ErrNoAuth
	ErrBadVersion              = gozk.ErrBadVersion
	ErrNoChildrenForEphemerals = gozk.ErrNoChildrenForEphemerals
	ErrNodeExists              = gozk.ErrNodeExists
	ErrNotEmpty                = gozk.ErrNotEmpty
	ErrSessionExpired          = gozk.ErrSessionExpired
	ErrInvalidACL              = gozk.ErrInvalidACL
	ErrAuthFailed              = gozk.ErrAuthFailed
	ErrClosing                 = gozk.ErrClosing
	ErrNothing                 = gozk.ErrNothing
	ErrSessionMoved            = gozk.ErrSessionMoved
	ErrBadArguments            = gozk.ErrBadArguments
	ErrReconfigDisabled        = gozk.ErrReconfigDisabled
	ErrInvalidPath             = gozk.ErrInvalidPath
	ErrNoServer                = gozk.ErrNoServer
	ErrDeadlock                = gozk.ErrDeadlock
	ErrNotLocked               = gozk.ErrNotLocked
	ErrUnhandledFieldType      = gozk.ErrUnhandledFieldType
	ErrPtrExpected             = gozk.ErrPtrExpected
	ErrShortBuffer             = gozk.ErrShortBuffer

	DefaultLogger = gozk.DefaultLogger
)

type connOption func(c *Conn)

// Connect is gozk's.
func Connect(servers []string, sessionTimeout time.Duration, options ...connOption) (*Conn, <-chan Event, error) {
	return gozk.Connect(servers, sessionTimeout, func(c *Conn) {
		for _, option := range options {
			if option != nil {
				option(c)
			}
		}
	})
}

// ConnectWithDialer is gozk's.
func ConnectWithDialer(servers []string, sessionTimeout time.Duration, dialer Dialer) (*Conn, <-chan Event, error) {
	return gozk.ConnectWithDialer(servers, sessionTimeout, dialer)
}

// WithDialer is gozk's.
func WithDialer(dialer Dialer) connOption { return connOption(gozk.WithDialer(dialer)) }

// WithHostProvider is gozk's.
func WithHostProvider(hostProvider HostProvider) connOption {
	return connOption(gozk.WithHostProvider(hostProvider))
}

// WithLogger is gozk's.
func WithLogger(logger Logger) connOption { return connOption(gozk.WithLogger(logger)) }

// WithLogInfo is gozk's.
func WithLogInfo(logInfo bool) connOption { return connOption(gozk.WithLogInfo(logInfo)) }

// WithEventCallback is gozk's.
func WithEventCallback(cb EventCallback) connOption { return connOption(gozk.WithEventCallback(cb)) }

// WithMaxBufferSize is gozk's.
func WithMaxBufferSize(maxBufferSize int) connOption {
	return connOption(gozk.WithMaxBufferSize(maxBufferSize))
}

// WithMaxConnBufferSize is gozk's.
func WithMaxConnBufferSize(maxBufferSize int) connOption {
	return connOption(gozk.WithMaxConnBufferSize(maxBufferSize))
}

// NewLock is gozk's.
func NewLock(c *Conn, path string, acl []ACL) *Lock { return gozk.NewLock(c, path, acl) }

// WorldACL is gozk's.
func WorldACL(perms int32) []ACL { return gozk.WorldACL(perms) }

// AuthACL is gozk's.
func AuthACL(perms int32) []ACL { return gozk.AuthACL(perms) }

// DigestACL is gozk's.
func DigestACL(perms int32, user, password string) []ACL {
	return gozk.DigestACL(perms, user, password)
}

// FormatServers is gozk's.
func FormatServers(servers []string) []string { return gozk.FormatServers(servers) }

// FLWSrvr is gozk's.
func FLWSrvr(servers []string, timeout time.Duration) ([]*ServerStats, bool) {
	return gozk.FLWSrvr(servers, timeout)
}

// FLWRuok is gozk's.
func FLWRuok(servers []string, timeout time.Duration) []bool { return gozk.FLWRuok(servers, timeout) }

// FLWCons is gozk's.
func FLWCons(servers []string, timeout time.Duration) ([]*ServerClients, bool) {
	return gozk.FLWCons(servers, timeout)
}
