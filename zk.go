package zk

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/acl"
	"github.com/seed-9f8420c6/zk/internal/answers"
	"github.com/seed-9f8420c6/zk/internal/calls"
	"github.com/seed-9f8420c6/zk/internal/modes"
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/internal/zpath"
	"github.com/seed-9f8420c6/zk/wire"
)

// Mode is the kind of znode that Create creates. The constants are the create
// flags of the protocol. TTL and SequentialTTL hold a duration as well.
type Mode int64

const (
	Persistent           Mode = Mode(wire.FlagPersistent)
	Ephemeral            Mode = Mode(wire.FlagEphemeral) // deleted when the session ends
	PersistentSequential Mode = Mode(wire.FlagPersistentSequential)
	EphemeralSequential  Mode = Mode(wire.FlagEphemeralSequential)
	Container            Mode = Mode(wire.FlagContainer) // deleted by the server some time after its last child; since 3.5.1, see CreateStat
)

// TTL returns the mode of a persistent znode that the server deletes when it has
// had no children and no change for d, rounded up to 1 ms. A create with a d that
// is not positive, or above 0xffffffffff ms (34 years), fails with ErrBadArguments.
// Servers since 3.5.3 support it if zookeeper.extendedTypesEnabled is set.
// Otherwise the answer is ErrUnimplemented, and a server before 3.5.3 also closes
// the connection.
func TTL(d time.Duration) Mode { return Mode(modes.TTL(wire.FlagPersistentTTL, d)) }

// SequentialTTL returns the mode of a sequential znode with a TTL.
func SequentialTTL(d time.Duration) Mode {
	return Mode(modes.TTL(wire.FlagPersistentSequentialTTL, d))
}

// String names the mode as the documentation does, such as "ephemeral sequential".
func (m Mode) String() string { return modes.Mode(m).String() }

func (m Mode) sequential() bool { return modes.Mode(m).Sequential() }

// op returns the opcode that creates the mode; stat: with a Stat in the reply.
func (m Mode) op(stat bool) (wire.Op, error) {
	op, problem := modes.Mode(m).Op(stat)
	if problem != "" {
		return 0, badArgument("%s", problem)
	}
	return op, nil
}

// Permission is a set of operations that an Access permits.
type Permission int32

const (
	PermRead   = Permission(wire.PermRead)
	PermWrite  = Permission(wire.PermWrite)
	PermCreate = Permission(wire.PermCreate) // of children
	PermDelete = Permission(wire.PermDelete) // of children
	PermAdmin  = Permission(wire.PermAdmin)  // SetACL
	PermAll    = Permission(wire.PermAll)
)

// String prints permissions as zkCli does, as letters of "cdrwa".
func (p Permission) String() string { return acl.Print(int32(p)) }

// ParsePermission parses letters of "cdrwa", in any order. Errors match
// ErrBadArguments.
func ParsePermission(text string) (Permission, error) {
	perms, ok := acl.Perms(text)
	if !ok {
		return 0, badArgument("permission %q: letters are %s", text, acl.Letters)
	}
	return Permission(perms), nil
}

// Access gives permissions to one identity.
type Access struct {
	Perms      Permission
	Scheme, ID string
}

// String prints a as zkCli does: scheme:id:permissions.
func (a Access) String() string { return a.Scheme + ":" + a.ID + ":" + a.Perms.String() }

// ACL is the access control list of a znode. It is not inherited by children.
type ACL []Access

// The usual lists. ACLCreator needs credentials on the connection.
var (
	ACLOpen     = ACL{{PermAll, "world", "anyone"}}
	ACLReadOnly = ACL{{PermRead, "world", "anyone"}}
	ACLCreator  = ACL{{PermAll, "auth", ""}}
)

// ACLWorld gives permissions to everybody.
func ACLWorld(perms Permission) ACL { return ACL{{perms, "world", "anyone"}} }

// ACLDigest gives permissions to whoever presents the credential Digest(user, password).
// The list holds a SHA-1 hash of both, not the password.
func ACLDigest(perms Permission, user, password string) ACL {
	return ACL{{perms, "digest", acl.DigestID(user, password)}}
}

// ACLIP gives permissions to clients with an address in network, such as "10.0.0.0/8"
// or "10.1.2.3".
func ACLIP(perms Permission, network string) ACL { return ACL{{perms, "ip", network}} }

// ACLX509 gives permissions to clients with a certificate of this subject, such as
// "CN=app,O=Example".
func ACLX509(perms Permission, subject string) ACL { return ACL{{perms, "x509", subject}} }

// String prints the list as zkCli does. ParseACL parses it.
func (a ACL) String() string {
	list := make([]string, len(a))
	for i, x := range a {
		list[i] = x.String()
	}
	return strings.Join(list, ",")
}

// ParseACL parses a list as zkCli does: scheme:id:permissions, separated by commas. A
// comma ends an entry only after its permissions, so an id may have commas. Errors
// match ErrBadArguments.
func ParseACL(text string) (ACL, error) {
	var list ACL
	rest, ok := acl.Split(text, func(perms int32, scheme, id string) {
		list = append(list, Access{Permission(perms), scheme, id})
	})
	if !ok {
		return nil, badArgument("ACL %q is not scheme:id:permissions", rest)
	}
	return list, nil
}

// Stat is the metadata of a znode. Times are milliseconds since 1970.
// EphemeralOwner is the session id of an ephemeral znode, and 0 for all
// others, containers and TTLs included.
type Stat struct {
	Czxid, Mzxid                int64 // transactions that created it, and last changed its data
	Ctime, Mtime                int64
	Version, Cversion, Aversion int32 // changes of data, children, ACL
	EphemeralOwner              int64
	DataLength, NumChildren     int32
	Pzxid                       int64 // transaction that last changed its children
}

// Created returns when the znode was created, by the clock of the leader.
func (s Stat) Created() time.Time { return time.UnixMilli(s.Ctime) }

// Modified returns when the data was last changed, by the clock of the leader.
func (s Stat) Modified() time.Time { return time.UnixMilli(s.Mtime) }

// AnyVersion makes Set, SetACL, Delete and their operations skip the check of the version.
const AnyVersion int32 = -1

var (
	kindCreate            = kind{Decode: decodePath}
	kindCreateStat        = kind{Decode: decodePathStat}
	kindCreateTTL         = kind{Decode: decodePathStat, MayStayOpen: true}
	kindGet               = kind{Decode: decodeData}
	kindExists            = kind{Decode: decodeStat, Excuse: noNodeIsFound}
	kindChildren          = kind{Decode: decodeNamesStat}
	kindSet               = kind{Decode: decodeStat}
	kindDelete            = kind{}
	kindSync              = kind{}
	kindGetACL            = kind{Decode: decodeACL}
	kindSetACL            = kind{Decode: decodeStat}
	kindAddWatch          = kind{}
	kindRemoveWatch       = kind{Excuse: noWatcherIsFine}
	kindEphemerals        = kind{Decode: decodeNames}
	kindAllChildrenNumber = kind{Decode: decodeNumber}
	kindWhoAmI            = kind{Decode: decodeIdentities}
	kindReconfig          = kind{Decode: decodeData, MayStayOpen: true}
	kindMulti             = kind{Decode: decodeMulti, MayStayOpen: true}
	kindMultiRead         = kind{Decode: decodeMultiRead}
	kindBatch             = kind{} // its operations have kinds of their own
)

// noNodeIsFound: that a znode is missing is what Exists was asked for.
func noNodeIsFound(r *calls.Result, code int32) bool {
	r.Missing = Code(code) == ErrNoNode
	return r.Missing
}

// noWatcherIsFine: the server has nothing to remove.
func noWatcherIsFine(_ *calls.Result, code int32) bool { return Code(code) == ErrNoWatcher }

// start makes the call of an operation on a path, which it checks; full is the
// path as the server knows it. invalid is what is wrong with the other arguments.
func (s *Session) start(k *kind, op, path string, sequential bool, invalid error) (c *call, full string, err error) {
	if !s.usable() {
		return nil, "", notSent(op, path, ErrClosed)
	}
	if err := checkPath(path, sequential); err != nil {
		return nil, "", notSent(op, path, err)
	}
	if invalid != nil {
		return nil, "", notSent(op, path, invalid)
	}
	return s.engine.New(k, op, path), zpath.Server(s.conf.Chroot, path, sequential), nil
}

// ask sends a call and lets take have its answer; nil: there is nothing to take. It
// owns the call's recycling: nobody has the call any more when it returns. Get and Set,
// of which there are most, do it themselves: what stands on the stack of a caller that
// waits costs time.
func (s *Session) ask(ctx context.Context, c *call, take func(*call)) error {
	if err := s.do(ctx, c); err != nil {
		return err
	}
	if take != nil {
		take(c)
	}
	s.engine.Recycle(c)
	return nil
}

// Create creates a znode and returns its path. In the sequential modes the path
// ends in a counter of the parent, usually of ten digits. nil data is stored as
// null, which Get returns as nil. The caller may use the slice again when Create
// returns. The server answers ErrExists; ErrNoNode, if there is no parent;
// ErrNoChildrenForEphemerals, if the parent is ephemeral; ErrNoAuth;
// ErrInvalidACL. An empty ACL is not sent: the error is ErrInvalidACL.
func (s *Session) Create(ctx context.Context, path string, data []byte, mode Mode, acl ACL) (string, error) {
	path, _, err := s.create(ctx, "create", path, data, mode, acl, false)
	return path, err
}

// CreateStat is Create, and also returns the Stat of the new znode. Servers
// since 3.5.0 support it. An older one answers ErrUnimplemented, which ends
// the connection, so the error matches ErrConnection too. The session lives.
func (s *Session) CreateStat(ctx context.Context, path string, data []byte, mode Mode, acl ACL) (string, Stat, error) {
	return s.create(ctx, "create", path, data, mode, acl, true)
}

func (s *Session) create(ctx context.Context, name, path string, data []byte, mode Mode, acl ACL, stat bool) (string, Stat, error) {
	op, err := mode.op(stat)
	if err == nil && len(acl) == 0 {
		err = ErrInvalidACL
	}
	c, full, err := s.start(kindOfCreate(op), name, path, mode.sequential(), err)
	if err != nil {
		return "", Stat{}, err
	}
	at, appended := c.BeginData(op, full, data)
	c.Frames = appendCreate(c.Frames, op, full, CreateOp{Data: appended, Mode: mode, ACL: acl})
	c.EndData(at, full, data)
	var made string
	var st Stat
	err = s.ask(ctx, c, func(c *call) { made, st = zpath.Strip(s.conf.Chroot, c.Str), Stat(c.Stat) })
	return made, st, err
}

func kindOfCreate(op wire.Op) *kind {
	switch op {
	case wire.OpCreate:
		return &kindCreate
	case wire.OpCreateTTL:
		return &kindCreateTTL
	}
	return &kindCreateStat
}

func appendCreate(dst []byte, op wire.Op, full string, o CreateOp) []byte {
	m, list := modes.Mode(o.Mode), o.ACL.wire()
	if op == wire.OpCreateTTL {
		return wire.CreateTTLRequest{Path: full, Data: o.Data, ACL: list, Flags: m.Flag(), TTL: m.TTL()}.Append(dst)
	}
	return wire.CreateRequest{Path: full, Data: o.Data, ACL: list, Flags: m.Flag()}.Append(dst)
}

func (a ACL) wire() []wire.ACL {
	out := make([]wire.ACL, len(a))
	for i, x := range a {
		out[i] = wire.ACL{Perms: int32(x.Perms), Scheme: x.Scheme, ID: x.ID}
	}
	return out
}

func decodePath(r *calls.Result, d *wire.Decoder) { r.Str = d.String() }

func decodePathStat(r *calls.Result, d *wire.Decoder) {
	r.Str = d.String()
	r.Stat.Decode(d)
}

func decodeStat(r *calls.Result, d *wire.Decoder) { r.Stat.Decode(d) }

func decodeData(r *calls.Result, d *wire.Decoder) {
	b := d.Buffer()
	r.Stat.Decode(d)
	if d.Err() == nil {
		r.Data = d.Keep(b)
	}
}

func decodeNamesStat(r *calls.Result, d *wire.Decoder) {
	r.Names = d.Strings()
	r.Stat.Decode(d)
}

func decodeNames(r *calls.Result, d *wire.Decoder) { r.Names = d.Strings() }

// Get returns the data of a znode, which belongs to the caller, and its Stat.
// On success the channel is armed for one Changed or Deleted. After an error,
// such as ErrNoNode or ErrNoAuth, it is not.
func (s *Session) Get(ctx context.Context, path string, watch chan<- Event) ([]byte, Stat, error) {
	c, full, err := s.start(&kindGet, "get", path, false, nil)
	if err != nil {
		return nil, Stat{}, err
	}
	c.PathWatch(wire.OpGetData, full, watch != nil)
	c.Arm(watch, watches.Data, full)
	if err := s.do(ctx, c); err != nil {
		return nil, Stat{}, err
	}
	data, stat := c.Data, Stat(c.Stat)
	s.engine.Recycle(c)
	return data, stat, nil
}

// Exists reports whether a znode exists, and returns its Stat. The channel is
// armed for one Changed or Deleted of an existing znode, or for one Created of
// a missing one. After an error it is not armed. Since 3.8.4 and 3.9.2 a server
// answers ErrNoAuth if the session may not read the znode.
func (s *Session) Exists(ctx context.Context, path string, watch chan<- Event) (bool, Stat, error) {
	c, full, err := s.start(&kindExists, "exists", path, false, nil)
	if err != nil {
		return false, Stat{}, err
	}
	c.PathWatch(wire.OpExists, full, watch != nil)
	c.Arm(watch, watches.Data, full)
	var found bool
	var st Stat
	err = s.ask(ctx, c, func(c *call) { found, st = !c.Missing, Stat(c.Stat) })
	return found, st, err
}

// Children returns the names of the children of a znode, in no particular
// order, and its Stat. On success the channel is armed for one Child or
// Deleted. After an error, such as ErrNoNode or ErrNoAuth, it is not. The
// names share one backing array: a caller that keeps a few of very many should
// clone them.
func (s *Session) Children(ctx context.Context, path string, watch chan<- Event) ([]string, Stat, error) {
	c, full, err := s.start(&kindChildren, "children", path, false, nil)
	if err != nil {
		return nil, Stat{}, err
	}
	c.PathWatch(wire.OpGetChildren2, full, watch != nil)
	c.Arm(watch, watches.Child, full)
	var names []string
	var st Stat
	err = s.ask(ctx, c, func(c *call) { names, st = c.Names, Stat(c.Stat) })
	return names, st, err
}

// Set sets the data of a znode if its version is the given one, and returns its
// new Stat. nil data is stored as null. The caller may use the slice again when
// Set returns. The server answers ErrVersion, ErrNoNode, ErrNoAuth and, if it
// enforces quotas, ErrQuotaExceeded.
func (s *Session) Set(ctx context.Context, path string, data []byte, version int32) (Stat, error) {
	c, full, err := s.start(&kindSet, "set", path, false, nil)
	if err != nil {
		return Stat{}, err
	}
	c.SetData(full, data, version)
	if err := s.do(ctx, c); err != nil {
		return Stat{}, err
	}
	stat := Stat(c.Stat)
	s.engine.Recycle(c)
	return stat, nil
}

// Delete deletes a znode without children if its version is the given one. The
// server answers ErrVersion, ErrNotEmpty, ErrNoNode or ErrNoAuth.
func (s *Session) Delete(ctx context.Context, path string, version int32) error {
	c, full, err := s.start(&kindDelete, "delete", path, false, nil)
	if err != nil {
		return err
	}
	c.PathVersion(wire.OpDelete, full, version)
	return s.ask(ctx, c, nil)
}

// Sync waits until this server has caught up with what the leader had committed, so
// that a later read sees what any session had been told before. It covers all paths,
// and path need not exist. Sync is not a write: a leader that has just lost its
// quorum may still answer it, and a leader may be a moment behind what its followers
// have reported (CommitProcessor). If that matters, write instead. Even a failing
// write waits, such as a Delete of a missing znode.
func (s *Session) Sync(ctx context.Context, path string) error {
	c, full, err := s.start(&kindSync, "sync", path, false, nil)
	if err != nil {
		return err
	}
	c.OfPath(wire.OpSync, full)
	return s.ask(ctx, c, nil)
}

// GetACL returns the ACL of a znode, and its Stat. Without PermAdmin the
// server masks the hashes of digest identities.
func (s *Session) GetACL(ctx context.Context, path string) (ACL, Stat, error) {
	c, full, err := s.start(&kindGetACL, "getacl", path, false, nil)
	if err != nil {
		return nil, Stat{}, err
	}
	c.OfPath(wire.OpGetACL, full)
	var acl ACL
	var st Stat
	err = s.ask(ctx, c, func(c *call) { acl, st = c.Value.(ACL), Stat(c.Stat) })
	return acl, st, err
}

func decodeACL(r *calls.Result, d *wire.Decoder) {
	r.Value = readACL(d)
	r.Stat.Decode(d)
}

func readACL(d *wire.Decoder) ACL {
	n := d.Count(minAccess)
	if n <= 0 {
		return nil
	}
	acl := make(ACL, n)
	for i := range acl {
		acl[i] = Access{Permission(d.Int32()), d.String(), d.String()}
	}
	return acl
}

// What an element of a list takes on the wire at least.
const (
	minAccess   = 12
	minIdentity = 8
)

// SetACL sets the ACL of a znode if its Aversion is the given one, and
// returns its new Stat. The server answers ErrVersion, ErrNoNode, ErrNoAuth
// or ErrInvalidACL. An empty ACL is not sent: the error is ErrInvalidACL.
// The caller may use the slice again when SetACL returns.
func (s *Session) SetACL(ctx context.Context, path string, acl ACL, version int32) (Stat, error) {
	var invalid error
	if len(acl) == 0 {
		invalid = ErrInvalidACL
	}
	c, full, err := s.start(&kindSetACL, "setacl", path, false, invalid)
	if err != nil {
		return Stat{}, err
	}
	c.Frame(wire.OpSetACL, wire.SetACLRequest{Path: full, ACL: acl.wire(), Version: version})
	var stat Stat
	err = s.ask(ctx, c, func(c *call) { stat = Stat(c.Stat) })
	return stat, err
}

// AddAuth adds a credential to the connection. When the server has accepted
// it, it is added to Config.Auth, so that every later Dial sends it. A server
// that refuses it closes the connection: the error matches ErrAuth and
// ErrConnection, and the session lives. If the call is given up by its
// context, or lost, Config.Auth stays as it is, though the server may have
// accepted the credential.
func (s *Session) AddAuth(ctx context.Context, auth Auth) error {
	if !s.usable() {
		return notSent("addauth", "", ErrClosed)
	}
	s.calls.unqueued.Add(1)
	return s.traced(ctx, Call{Op: "addauth", Ops: 1}, func() error { return s.calls.fail(s.addAuth(ctx, auth.clone())) })
}

func (s *Session) addAuth(ctx context.Context, auth Auth) error {
	if err := ctx.Err(); err != nil {
		return notSent("addauth", "", err)
	}
	c, err := s.sendAuth(auth, func() { s.auth.add(auth) })
	if err != nil {
		return notSent("addauth", "", err)
	}
	if c.Wait(ctx) {
		s.calls.abandoned.Add(1)
		return &OpError{Op: "addauth", Err: ctx.Err(), outcome: Lost}
	}
	s.w.reg.Picked()
	err = c.Err
	s.engine.Recycle(c)
	return err
}

// AddWatch arms a channel that stays armed. The path need not exist. After an error the
// channel is not armed. A server does not report what changed while a persistent watch
// moved to another connection: if something may have changed, the channel gets a Gap
// before any later event. After a move to a server that lags, a change may be reported
// twice. Servers since 3.6.0 support AddWatch. An older one answers ErrUnimplemented,
// which ends the connection. Before 3.9.0 a WatchPersistent gets no Child events while
// a WatchRecursive is armed on the same path, and a Gap when that is removed.
func (s *Session) AddWatch(ctx context.Context, path string, mode WatchMode, watch chan<- Event) error {
	var invalid error
	kind := watches.Persistent
	switch {
	case watch == nil:
		invalid = badArgument("AddWatch without a channel")
	case mode == WatchRecursive:
		kind = watches.Recursive
	case mode != WatchPersistent:
		invalid = badArgument("unknown watch mode %d", int32(mode))
	}
	c, full, err := s.start(&kindAddWatch, "addwatch", path, false, invalid)
	if err != nil {
		return err
	}
	c.Frame(wire.OpAddWatch, wire.AddWatchRequest{Path: full, Mode: int32(mode)})
	c.Arm(watch, kind, full)
	return s.ask(ctx, c, nil)
}

// RemoveWatch disarms a channel at a path, for all kinds of watches. If it is armed
// for none, the error is ErrNoWatcher. Events that were read before are still
// delivered. The client asks the server only to end a persistent watch that no
// other channel uses. If that is not answered (ErrLost or ErrNotSent), the one-shot
// watches of the channel are gone. Its persistent watch stays armed, and moves with
// a redial, unless the answer still comes.
func (s *Session) RemoveWatch(ctx context.Context, path string, watch chan<- Event) error {
	var invalid error
	if watch == nil {
		invalid = ErrNoWatcher
	}
	c, full, err := s.start(&kindRemoveWatch, "removewatch", path, false, invalid)
	if err != nil {
		return err
	}
	// The one type that all servers since 3.6 support for a persistent watch; it
	// takes everything on the path, and nothing else is there.
	c.Frame(wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: full, Type: wire.WatcherAny})
	alias := ""
	if path == configPath && full != configPath { // GetConfig's, which is below no chroot
		alias = configPath
	}
	c.Disarm(full, watch, alias)
	if err := s.ask(ctx, c, nil); !errors.Is(err, calls.ErrRemoved) {
		return err
	}
	return nil
}

// Ephemerals returns the paths of the ephemeral znodes of this session that
// begin with the prefix. The prefix may end within a name; "" or "/" is all.
// Servers since 3.6.0 support it. An older one answers ErrUnimplemented, which
// ends the connection.
func (s *Session) Ephemerals(ctx context.Context, prefix string) ([]string, error) {
	var invalid error
	if prefix != "" && prefix != "/" {
		invalid = checkPath(strings.TrimSuffix(prefix, "/"), false)
	}
	if invalid != nil {
		return nil, notSent("ephemerals", prefix, invalid)
	}
	c, full, err := s.start(&kindEphemerals, "ephemerals", "/", false, nil)
	if err != nil {
		return nil, err
	}
	c.Path = prefix
	if prefix != "" && prefix != "/" {
		full = s.conf.Chroot + prefix
	}
	c.OfPath(wire.OpGetEphemerals, full)
	var all []string
	if err := s.ask(ctx, c, func(c *call) { all = c.Names }); err != nil {
		return nil, err
	}
	paths := all[:0]
	for _, p := range all {
		// The server compares strings: /app is a prefix of /apple too.
		if p == s.conf.Chroot || strings.HasPrefix(p, s.conf.Chroot+"/") {
			paths = append(paths, zpath.Strip(s.conf.Chroot, p))
		}
	}
	return paths, nil
}

// AllChildrenNumber returns the number of all znodes below a path. The server
// walks its whole tree for that. Servers since 3.6.0 support it. An older one
// answers ErrUnimplemented, which ends the connection.
func (s *Session) AllChildrenNumber(ctx context.Context, path string) (int, error) {
	c, full, err := s.start(&kindAllChildrenNumber, "allchildrennumber", path, false, nil)
	if err != nil {
		return 0, err
	}
	c.OfPath(wire.OpAllChildrenNumber, full)
	var n int
	err = s.ask(ctx, c, func(c *call) { n = int(c.Num) })
	return n, err
}

func decodeNumber(r *calls.Result, d *wire.Decoder) { r.Num = d.Int32() }

// AuthInfo is an identity of this connection.
type AuthInfo struct{ Scheme, User string }

// WhoAmI returns the identities of this connection, as the server has
// authenticated it. The IP address is always among them. Servers since 3.7.0
// support it. An older one answers ErrUnimplemented, which ends the
// connection.
func (s *Session) WhoAmI(ctx context.Context) ([]AuthInfo, error) {
	c, _, err := s.start(&kindWhoAmI, "whoami", "/", false, nil)
	if err != nil {
		return nil, err
	}
	c.Path = ""
	c.Frame(wire.OpWhoAmI, nil)
	var infos []AuthInfo
	err = s.ask(ctx, c, func(c *call) { infos = c.Value.([]AuthInfo) })
	return infos, err
}

func decodeIdentities(r *calls.Result, d *wire.Decoder) {
	var infos []AuthInfo
	if n := d.Count(minIdentity); n > 0 {
		infos = make([]AuthInfo, n)
		for i := range infos {
			infos[i] = AuthInfo{d.String(), d.String()}
		}
	}
	r.Value = infos
}

// configPath is where servers keep the ensemble's configuration. It is never
// below a chroot, and neither is the path of its event.
const configPath = "/zookeeper/config"

// GetConfig returns the configuration of the ensemble: server.N=… lines and its
// version. Of a standalone server it is empty. On success the channel is armed
// for one Changed, whose path is /zookeeper/config under any chroot. After an
// error it is not. Servers since 3.5.0 support it. An older one answers
// ErrNoNode.
func (s *Session) GetConfig(ctx context.Context, watch chan<- Event) ([]byte, Stat, error) {
	if !s.usable() {
		return nil, Stat{}, notSent("getconfig", configPath, ErrClosed)
	}
	c := s.engine.New(&kindGet, "getconfig", configPath)
	c.Raw = true
	c.PathWatch(wire.OpGetData, configPath, watch != nil)
	c.Arm(watch, watches.Data, configPath)
	var data []byte
	var st Stat
	err := s.ask(ctx, c, func(c *call) { data, st = c.Data, Stat(c.Stat) })
	return data, st, err
}

// Reconfig is a change of the ensemble: either servers that join
// ("server.4=host:2888:3888;2181") and the numbers of servers that leave, or
// all Members of the new ensemble. Version is the version of the present
// configuration, which GetConfig returns in hexadecimal (version=…); -1: any.
// If it is another one, the answer is ErrVersion.
type Reconfig struct {
	Join, Leave, Members []string
	Version              int64
}

// Reconfig changes the ensemble and returns its new configuration. It needs
// reconfigEnabled (else ErrReconfigDisabled) and the write permission on
// /zookeeper/config (else ErrNoAuth). Servers since 3.5.0 support it. A standalone
// server answers ErrUnimplemented. An older one answers that too, and closes the
// connection.
func (s *Session) Reconfig(ctx context.Context, change Reconfig) ([]byte, Stat, error) {
	if !s.usable() {
		return nil, Stat{}, notSent("reconfig", "", ErrClosed)
	}
	if err := change.check(); err != nil {
		return nil, Stat{}, notSent("reconfig", "", err)
	}
	c := s.engine.New(&kindReconfig, "reconfig", "")
	c.Frame(wire.OpReconfig, wire.ReconfigRequest{
		Joining: joinList(change.Join), Leaving: joinList(change.Leave), NewMembers: joinList(change.Members), ConfigID: change.Version,
	})
	var data []byte
	var st Stat
	err := s.ask(ctx, c, func(c *call) { data, st = c.Data, Stat(c.Stat) })
	return data, st, err
}

func (r Reconfig) check() error {
	if incremental := len(r.Join)+len(r.Leave) > 0; incremental == (len(r.Members) > 0) {
		return badArgument("either servers that join or leave, or all members")
	}
	for _, list := range [][]string{r.Join, r.Leave, r.Members} {
		for _, x := range list {
			if x == "" || strings.ContainsAny(x, ",\n\r\x00") {
				return badArgument("bad server %q", x)
			}
		}
	}
	return nil
}

// joinList makes a list of the wire; null, which is not empty, for none.
func joinList(list []string) *string {
	if len(list) == 0 {
		return nil
	}
	s := strings.Join(list, ",")
	return &s
}

// Op is an operation of a Batch.
type Op interface {
	// about fills in what the operation is.
	about(a *about)
	// body appends the fields of its request: code is the type of that, full the path as
	// the server knows it.
	body(dst []byte, code wire.Op, full string) []byte
	// decode reads the answer to its request in a Batch.
	decode(b *batch, r *Result, d *wire.Decoder)
}

// WriteOp is an operation of Multi.
type WriteOp interface {
	Op
	write()
}

// ReadOp is an operation of MultiRead.
type ReadOp interface {
	Op
	read()
}

// about is what an operation has besides the fields of its request.
type about struct {
	name, path string // as its method's errors call it
	kind       *kind  // of its request in a Batch
	code       wire.Op
	multi      wire.Op // its type in a Multi or MultiRead; 0: it has no place there
	sequential bool    // the path is that of a znode in a sequential mode
	arms       watches.Kind
	watch      chan<- Event
	invalid    error // what is wrong with its arguments, but for the path
}

// of fills in what an operation is. One that is nil is refused. All operations of a Batch
// use the same about, one after another: one each would be an allocation each.
func (a *about) of(o Op) {
	if o == nil {
		*a = about{invalid: badArgument("a nil operation")}
		return
	}
	o.about(a)
}

// aboutOp returns what an operation is.
func aboutOp(o Op) *about {
	a := new(about)
	a.of(o)
	return a
}

// refused returns why an operation must not be sent, or nil.
func (a *about) refused() error {
	if a.kind != nil { // of nil there is no path to look at
		if err := checkPath(a.path, a.sequential); err != nil {
			return err
		}
	}
	return a.invalid
}

// full is the path as the server knows it.
func (a *about) full(chroot string) string {
	if chroot == "" {
		return a.path
	}
	return zpath.Server(chroot, a.path, a.sequential)
}

// CreateOp is Create. In a Batch its Result has a Path, and a Stat with WantStat or in
// the modes Container and TTL. In a Multi it has both. But servers before 3.7.2, and
// 3.8.0 and 3.8.1, return no Stat in a Multi for the other modes. A server before 3.5.0
// cannot read the first request of such a Multi, and executes nothing: the client sends
// it a second one.
type CreateOp struct {
	Path string
	Data []byte
	Mode Mode
	ACL  ACL

	// WantStat asks for a Stat in a Batch, as CreateStat does. Servers since
	// 3.5.0 support it.
	WantStat bool
}

// SetOp is Set; its Result has a Stat.
type SetOp struct {
	Path    string
	Data    []byte
	Version int32
}

// DeleteOp is Delete.
type DeleteOp struct {
	Path    string
	Version int32
}

// CheckOp fails with ErrVersion unless the znode has the version. A Batch sends
// it as a multi of one operation.
type CheckOp struct {
	Path    string
	Version int32
}

// GetOp is Get; its Result has Data and Stat. MultiRead refuses a Watch.
type GetOp struct {
	Path  string
	Watch chan<- Event
}

// ChildrenOp is Children; its Result has Children, and in a Batch a Stat.
// MultiRead refuses a Watch.
type ChildrenOp struct {
	Path  string
	Watch chan<- Event
}

// ExistsOp is Exists, in a Batch only; its Result has a Stat. A missing znode
// gives ErrNoNode, with the watch armed.
type ExistsOp struct {
	Path  string
	Watch chan<- Event
}

// GetACLOp is GetACL, in a Batch only; its Result has ACL and Stat.
type GetACLOp struct{ Path string }

// SetACLOp is SetACL, in a Batch only; its Result has a Stat.
type SetACLOp struct {
	Path    string
	ACL     ACL
	Version int32
}

// SyncOp is Sync, in a Batch only. Operations after it see what it waited for.
type SyncOp struct{ Path string }

// Result is the result of one operation. Err is nil, or an *OpError with its
// Outcome; in a Multi it is a Code.
type Result struct {
	Path     string
	Data     []byte
	Children []string
	ACL      ACL
	Stat     Stat
	Err      error
}

// Multi executes all operations or none, in one transaction. If one fails, the
// error has its Code and path. Its Result has that Code too, and the other
// Results have ErrRuntimeInconsistency: they were rolled back. A Multi that is
// not sent, or lost, returns no results. Without operations it returns at once.
func (s *Session) Multi(ctx context.Context, ops ...WriteOp) ([]Result, error) {
	if !s.usable() {
		return nil, notSent("multi", "", ErrClosed)
	}
	if len(ops) == 0 {
		return nil, nil
	}
	c, err := frameMulti(s, &kindMulti, "multi", wire.OpMulti, ops, s.plainCreates.Load())
	if err != nil {
		return nil, err
	}
	var res []Result
	err = s.traced(ctx, Call{Op: "multi", Ops: len(ops)}, func() (err error) {
		res, err = s.multi(ctx, c, ops)
		return err
	})
	return res, err
}

// multi sends the operations of a Multi.
func (s *Session) multi(ctx context.Context, c *call, ops []WriteOp) ([]Result, error) {
	res, err := s.askMulti(ctx, c)
	if errors.Is(err, ErrMarshalling) && !s.plainCreates.Load() && slices.ContainsFunc(ops, hasPlainCreate) {
		// A server before 3.5 cannot read a create2, and has done nothing.
		if c, err = frameMulti(s, &kindMulti, "multi", wire.OpMulti, ops, true); err != nil {
			return nil, err
		}
		s.calls.again()
		if res, err = s.askMulti(ctx, c); err == nil {
			s.plainCreates.Store(true)
		}
	}
	if err != nil {
		return nil, err
	}
	failed := -1
	for i := range res {
		switch err := res[i].Err; {
		case err == nil:
		case err != ErrRuntimeInconsistency:
			return res, s.calls.fail(&OpError{Op: "multi", Path: aboutOp(ops[i]).path, Err: err, outcome: Answered})
		case failed < 0:
			failed = i
		}
	}
	if failed >= 0 { // no server tells so little, but an error it is
		return res, s.calls.fail(&OpError{Op: "multi", Err: ErrRuntimeInconsistency, outcome: Answered})
	}
	return res, nil
}

// frameMulti checks and frames the operations of a Multi or MultiRead; plain: creates
// without a Stat.
func frameMulti[O Op](s *Session, k *kind, name string, code wire.Op, ops []O, plain bool) (*call, error) {
	m := &multi{want: make([]wire.Op, 0, len(ops)), chroot: s.conf.Chroot}
	c, a := s.engine.New(k, name, ""), &m.one
	c.Value = m
	at := c.Begin(code)
	for i, o := range ops {
		a.of(o)
		if plain && a.multi == wire.OpCreate2 {
			a.multi = wire.OpCreate
		}
		if err := a.refusedByMulti(); err != nil {
			err = notSent(name, a.path, err)
			s.engine.Recycle(c)
			return nil, err
		}
		before := len(c.Frames)
		m.want = append(m.want, resultOf(a.multi))
		c.Frames = wire.MultiHeader{Op: a.multi, Err: -1}.Append(c.Frames)
		c.Frames = o.body(c.Frames, a.multi, a.full(m.chroot))
		if i == 0 && code == wire.OpMultiRead { // of a Multi the first may have much data, and the others none
			reserve(c, len(c.Frames)-before, len(ops)-1)
		}
	}
	c.Frames = wire.AppendMultiEnd(c.Frames)
	wire.EndFrame(c.Frames, at)
	return c, nil
}

// refusedByMulti returns why an operation has no place in a Multi or MultiRead, or nil.
func (a *about) refusedByMulti() error {
	err := a.refused()
	switch {
	case err != nil:
		return err
	case a.watch != nil:
		return badArgument("a watch in a MultiRead")
	case a.multi == 0:
		return badArgument("%s outside a Batch", a.name)
	}
	return nil
}

// hasPlainCreate reports whether an operation can be sent as a create without a Stat.
func hasPlainCreate(o WriteOp) bool { return aboutOp(o).multi == wire.OpCreate2 }

// multi is what the call of a Multi or MultiRead has.
type multi struct {
	one    about     // the operation that is framed
	want   []wire.Op // the types of the results
	res    []Result
	chroot string
}

func (s *Session) askMulti(ctx context.Context, c *call) ([]Result, error) {
	var res []Result
	c.Traced = true // by whoever looks at the results
	err := s.ask(ctx, c, func(c *call) { res = c.Value.(*multi).res })
	return res, err
}

// decodeMulti reads the reply to a Multi: if one operation failed, none was executed.
func decodeMulti(r *calls.Result, d *wire.Decoder) {
	m := r.Value.(*multi)
	if !m.decode(d) {
		return
	}
	for i := range m.res {
		if m.res[i].Err == nil {
			m.res[i] = Result{Err: ErrRuntimeInconsistency}
		}
	}
}

func decodeMultiRead(r *calls.Result, d *wire.Decoder) { r.Value.(*multi).decode(d) }

// decode reads the results, and reports whether one has an error.
func (m *multi) decode(d *wire.Decoder) (failed bool) {
	res := make([]Result, len(m.want))
	if !answers.Each(d, m.want, func(i int, x *wire.MultiResult) {
		failed = failed || x.Op == wire.OpError
		res[i] = m.result(x)
	}) {
		return false
	}
	m.res = res
	return failed
}

// resultOf is the type of the result of an operation in a Multi or MultiRead.
func resultOf(op wire.Op) wire.Op {
	switch op {
	case wire.OpCreate, wire.OpCreateContainer, wire.OpCreateTTL:
		return wire.OpCreate2
	}
	return op
}

func (m *multi) result(x *wire.MultiResult) Result {
	r := Result{Stat: Stat(x.Stat), Children: x.Children}
	if x.Path != "" {
		r.Path = zpath.Strip(m.chroot, x.Path)
	}
	if x.Data != nil {
		r.Data = append([]byte{}, x.Data...)
	}
	if x.Err != 0 {
		r = Result{Err: Code(x.Err)}
	}
	return r
}

// MultiRead executes reads in one round trip, each with its own result. The
// error is the first error of a result. A MultiRead that is not sent, or lost,
// returns no results. The reads are not a snapshot. Servers since 3.6.0
// support it. An older one answers ErrUnimplemented, which ends the
// connection.
func (s *Session) MultiRead(ctx context.Context, ops ...ReadOp) ([]Result, error) {
	if !s.usable() {
		return nil, notSent("multiread", "", ErrClosed)
	}
	if len(ops) == 0 {
		return nil, nil
	}
	c, err := frameMulti(s, &kindMultiRead, "multiread", wire.OpMultiRead, ops, false)
	if err != nil {
		return nil, err
	}
	var res []Result
	err = s.traced(ctx, Call{Op: "multiread", Ops: len(ops)}, func() (err error) {
		res, err = s.multiRead(ctx, c, ops)
		return err
	})
	return res, err
}

// multiRead sends the operations of a MultiRead.
func (s *Session) multiRead(ctx context.Context, c *call, ops []ReadOp) ([]Result, error) {
	res, err := s.askMulti(ctx, c)
	if err != nil {
		return nil, err
	}
	var first error
	for i := range res {
		if code, ok := res[i].Err.(Code); ok {
			res[i].Err = &OpError{Op: "multiread", Path: aboutOp(ops[i]).path, Err: code, outcome: Answered}
			if first == nil {
				first = res[i].Err
			}
		}
	}
	return res, s.calls.fail(first)
}

// Batch sends all operations at once and waits for the last answer. They are executed in
// order and independently. Each Result has the outcome of its operation. The error is the
// first error of a result that matches ErrConnection or ErrMoved, or else the first error.
// All operations are checked before the first is sent: if one is refused, or ctx has ended
// already, there are no results. Data of up to 16 KiB shares an array of up to 64 KiB with
// that of other results, and the names of one ChildrenOp share an array: a caller that
// keeps a small part should clone it.
func (s *Session) Batch(ctx context.Context, ops ...Op) ([]Result, error) {
	if !s.usable() {
		return nil, notSent("batch", "", ErrClosed)
	}
	what := Call{Op: "batch", Ops: len(ops)}
	if err := ctx.Err(); err != nil {
		s.calls.unqueued.Add(1)
		return nil, s.traced(ctx, what, func() error { return s.calls.fail(notSent("batch", "", err)) })
	}
	if len(ops) == 0 {
		return nil, nil
	}
	c, b := s.newBatch(ops)
	if err := s.encodeBatch(c, b); err != nil {
		s.recycleBatch(c, b)
		return nil, err
	}
	var res []Result
	err := s.traced(ctx, what, func() error {
		sent, err := s.line.SendMany(ctx, &c.Call, func(frames []byte, n int) error {
			return s.engine.SubmitMany(ctx, c, frames, n)
		})
		if sent == 0 {
			s.calls.unqueued.Add(1)
		}
		var over bool
		if res, over = s.awaitBatch(ctx, c, b, sent, err); over { // else the reader may still know it
			s.recycleBatch(c, b)
		}
		return s.calls.fail(batchError(res))
	})
	return res, err
}

// batchError returns the first error that tells of the end of the connection or
// of a successor, or else the first.
func batchError(res []Result) error {
	var first error
	for i := range res {
		switch err := res[i].Err; {
		case err == nil:
		case errors.Is(err, ErrConnection), errors.Is(err, ErrMoved):
			return err
		case first == nil:
			first = err
		}
	}
	return first
}

// batches keeps the buffers of Batches for the next ones.
var batches = sync.Pool{New: func() any { return new(batch) }}

const (
	maxKeptOps   = 16 << 10
	maxKeptBatch = 512 << 10 // bytes of requests
)

// batch is what a Batch's call has.
type batch struct {
	ops    []Op
	res    []Result
	chroot string
	arena  answers.Arena
	frames []byte // kept for the next Batch
	one    about  // the operation that is framed
	line   pipeline.Batch
	more   calls.More[Event] // its Armings are kept too
}

func (s *Session) newBatch(ops []Op) (*call, *batch) {
	c, b := s.engine.New(&kindBatch, "batch", ""), batches.Get().(*batch)
	b.ops = append(b.ops, ops...)
	b.res = make([]Result, len(ops))
	b.chroot = s.conf.Chroot
	b.more.Parts = b
	c.More, c.Frames = &b.more, b.frames
	c.Many(&b.line, len(ops))
	return c, b
}

// recycleBatch gives a Batch's call back that nobody else knows any more.
func (s *Session) recycleBatch(c *call, b *batch) {
	frames, armings := c.Frames, b.more.Armings
	c.Frames = nil
	s.engine.Recycle(c)
	if cap(b.ops) <= maxKeptOps && cap(frames) <= maxKeptBatch {
		clear(b.ops)
		clear(armings)
		*b = batch{ops: b.ops[:0], frames: frames[:0]}
		b.more.Armings = armings[:0]
		batches.Put(b)
	}
}

// encodeBatch checks and frames all operations.
func (s *Session) encodeBatch(c *call, b *batch) error {
	for i, o := range b.ops {
		at, a := len(c.Frames), &b.one
		a.of(o)
		err := a.refused()
		if err == nil {
			full := a.full(b.chroot)
			if err = s.encode(c, o, a, full); a.watch != nil {
				c.ArmPart(i, len(b.ops), calls.Arming[Event]{Ch: a.watch, Kind: a.arms, At: full})
			}
		}
		if err != nil {
			return notSent(a.name, a.path, err)
		}
		if at == 0 {
			reserve(c, len(c.Frames), len(b.ops)-1)
		}
	}
	return nil
}

// encode frames an operation of a Batch.
func (s *Session) encode(c *call, o Op, a *about, full string) error {
	at := c.Begin(a.code)
	c.Frames = o.body(c.Frames, a.code, full)
	wire.EndFrame(c.Frames, at)
	n := len(c.Frames) - at - 4
	switch {
	case n > s.conf.MaxRequest:
		return tooLarge(n, s.conf.MaxRequest)
	case a.watch == nil:
		return nil
	}
	if n > s.conf.MaxRequest-maxRestore { // rarely
		return s.restorable(full)
	}
	return nil
}

// reserve makes room for n more operations, which may be like one that took size
// bytes.
func reserve(c *call, size, n int) {
	c.Frames = slices.Grow(c.Frames, int(min(maxKeptBatch, int64(size)*int64(n)*9/8)))
}

// awaitBatch waits for the last answer and returns the results, and whether the
// reader is done with the call. err is why only the first frames, as many as sent,
// were queued.
func (s *Session) awaitBatch(ctx context.Context, c *call, b *batch, sent int, err error) (res []Result, over bool) {
	var end <-chan struct{}
	if err != nil {
		end = s.line.Done() // all that was queued may be answered, and nobody will say so
	}
	woken, left, answered := c.WaitMany(ctx, end, sent, func(k int) bool { return s.engine.GiveUp(c, k) })
	if woken {
		s.w.reg.Picked()
	}
	if !left {
		return b.unsent(sent, err), b.answered(c)
	}
	if err == nil {
		err = ctx.Err()
	}
	if answered < sent {
		s.calls.abandoned.Add(1)
	}
	return b.givenUp(answered, sent, err), false
}

// answered reports whether all of a Batch was.
func (b *batch) answered(c *call) bool {
	n, _ := c.Settled()
	return n == len(b.ops)
}

// givenUp returns the results of a Batch of which k operations are answered, and the
// reader may be writing more into its own.
func (b *batch) givenUp(k, sent int, err error) []Result {
	res := make([]Result, len(b.ops))
	copy(res, b.res[:k])
	for i := k; i < len(res); i++ {
		name, path := b.Describe(i)
		e := &OpError{Op: name, Path: path, Err: err, outcome: NotSent}
		if i < sent {
			e.outcome = Lost
		}
		res[i].Err = e
	}
	return res
}

// unsent completes a Batch's results where not all frames were queued.
func (b *batch) unsent(sent int, err error) []Result {
	for i := sent; i < len(b.ops); i++ {
		name, path := b.Describe(i)
		b.res[i] = Result{Err: notSent(name, path, err)}
	}
	return b.res
}

func (b *batch) Kind(i int) *kind      { return aboutOp(b.ops[i]).kind }
func (b *batch) Fail(i int, err error) { b.res[i] = Result{Err: err} }

func (b *batch) Describe(i int) (op, path string) {
	a := aboutOp(b.ops[i])
	return a.name, a.path
}

// Answered returns what the answer to an operation means for its watch: that is armed, as
// that of a missing znode or not.
func (b *batch) Answered(i int) (ok, missing bool) {
	err := b.res[i].Err
	missing = err != nil && b.Kind(i) == &kindExists && errors.Is(err, ErrNoNode)
	return err == nil || missing, missing
}

func (b *batch) Take(i int, number int32, d *wire.Decoder) {
	code := Code(number)
	if code == 0 {
		b.ops[i].decode(b, &b.res[i], d)
	}
	r := &b.res[i]
	if code == 0 && r.Path == "" && r.Err == nil {
		return
	}
	if r.Path != "" {
		r.Path = zpath.Strip(b.chroot, r.Path)
	}
	if inner, ok := r.Err.(Code); ok { // of a CheckOp, whose multi is answered without an error
		code = inner
	}
	if code != 0 {
		name, path := b.Describe(i)
		r.Err = &OpError{Op: name, Path: path, Err: code, outcome: Answered}
	}
}

func (CreateOp) write() {}
func (SetOp) write()    {}
func (DeleteOp) write() {}
func (CheckOp) write()  {}

func (GetOp) read()      {}
func (ChildrenOp) read() {}

func (o CreateOp) about(a *about) {
	*a = about{name: "create", path: o.Path, sequential: o.Mode.sequential()}
	a.code, a.invalid = o.Mode.op(o.WantStat)
	if len(o.ACL) == 0 {
		a.invalid = ErrInvalidACL
	}
	a.multi, _ = o.Mode.op(true)
	a.kind = kindOfCreate(a.code)
}

func (o CreateOp) body(dst []byte, code wire.Op, full string) []byte {
	return appendCreate(dst, code, full, o)
}

func (o CreateOp) decode(_ *batch, r *Result, d *wire.Decoder) {
	r.Path = d.String()
	if code, _ := o.Mode.op(o.WantStat); code != wire.OpCreate {
		r.Stat.decode(d)
	}
}

func (o SetOp) about(a *about) {
	*a = about{name: "set", path: o.Path, kind: &kindSet, code: wire.OpSetData, multi: wire.OpSetData}
}

func (o SetOp) body(dst []byte, _ wire.Op, full string) []byte {
	return wire.SetDataRequest{Path: full, Data: o.Data, Version: o.Version}.Append(dst)
}

func (SetOp) decode(_ *batch, r *Result, d *wire.Decoder) { r.Stat.decode(d) }

func (o DeleteOp) about(a *about) {
	*a = about{name: "delete", path: o.Path, kind: &kindDelete, code: wire.OpDelete, multi: wire.OpDelete}
}

func (o DeleteOp) body(dst []byte, _ wire.Op, full string) []byte {
	return wire.PathVersionRequest{Path: full, Version: o.Version}.Append(dst)
}

func (DeleteOp) decode(*batch, *Result, *wire.Decoder) {}

func (o CheckOp) about(a *about) {
	*a = about{name: "check", path: o.Path, kind: &kindMulti, code: wire.OpMulti, multi: wire.OpCheck}
}

// body appends a check; to a Batch as a multi of its own.
func (o CheckOp) body(dst []byte, code wire.Op, full string) []byte {
	check := wire.PathVersionRequest{Path: full, Version: o.Version}
	if code == wire.OpCheck {
		return check.Append(dst)
	}
	dst = wire.MultiHeader{Op: wire.OpCheck, Err: -1}.Append(dst)
	return wire.AppendMultiEnd(check.Append(dst))
}

func (CheckOp) decode(_ *batch, r *Result, d *wire.Decoder) {
	answers.Each(d, []wire.Op{wire.OpCheck}, func(_ int, x *wire.MultiResult) {
		if x.Err != 0 {
			r.Err = Code(x.Err)
		}
	})
}

func (o GetOp) about(a *about) {
	*a = about{name: "get", path: o.Path, kind: &kindGet, code: wire.OpGetData, multi: wire.OpGetData, watch: o.Watch, arms: watches.Data}
}

func (o GetOp) body(dst []byte, _ wire.Op, full string) []byte {
	return wire.PathWatchRequest{Path: full, Watch: o.Watch != nil}.Append(dst)
}

func (GetOp) decode(b *batch, r *Result, d *wire.Decoder) {
	data := d.Buffer()
	r.Stat.decode(d)
	if d.Err() == nil {
		r.Data = b.arena.Keep(d, data, len(b.ops))
	}
}

func (o ChildrenOp) about(a *about) {
	*a = about{name: "children", path: o.Path, kind: &kindChildren, code: wire.OpGetChildren2, multi: wire.OpGetChildren, watch: o.Watch, arms: watches.Child}
}

func (o ChildrenOp) body(dst []byte, _ wire.Op, full string) []byte {
	return wire.PathWatchRequest{Path: full, Watch: o.Watch != nil}.Append(dst)
}

func (ChildrenOp) decode(_ *batch, r *Result, d *wire.Decoder) {
	r.Children = d.Strings()
	r.Stat.decode(d)
}

func (o ExistsOp) about(a *about) {
	*a = about{name: "exists", path: o.Path, kind: &kindExists, code: wire.OpExists, watch: o.Watch, arms: watches.Data}
}

func (o ExistsOp) body(dst []byte, _ wire.Op, full string) []byte {
	return wire.PathWatchRequest{Path: full, Watch: o.Watch != nil}.Append(dst)
}

func (ExistsOp) decode(_ *batch, r *Result, d *wire.Decoder) { r.Stat.decode(d) }

func (o GetACLOp) about(a *about) {
	*a = about{name: "getacl", path: o.Path, kind: &kindGetACL, code: wire.OpGetACL}
}

func (o GetACLOp) body(dst []byte, _ wire.Op, full string) []byte {
	return wire.PathRequest{Path: full}.Append(dst)
}

func (GetACLOp) decode(_ *batch, r *Result, d *wire.Decoder) {
	r.ACL = readACL(d)
	r.Stat.decode(d)
}

func (o SetACLOp) about(a *about) {
	*a = about{name: "setacl", path: o.Path, kind: &kindSetACL, code: wire.OpSetACL}
	if len(o.ACL) == 0 {
		a.invalid = ErrInvalidACL
	}
}

func (o SetACLOp) body(dst []byte, _ wire.Op, full string) []byte {
	return wire.SetACLRequest{Path: full, ACL: o.ACL.wire(), Version: o.Version}.Append(dst)
}

func (SetACLOp) decode(_ *batch, r *Result, d *wire.Decoder) { r.Stat.decode(d) }

func (o SyncOp) about(a *about) {
	*a = about{name: "sync", path: o.Path, kind: &kindSync, code: wire.OpSync}
}

func (o SyncOp) body(dst []byte, _ wire.Op, full string) []byte {
	return wire.PathRequest{Path: full}.Append(dst)
}

func (SyncOp) decode(*batch, *Result, *wire.Decoder) {}

func (s *Stat) decode(d *wire.Decoder) { (*wire.Stat)(s).Decode(d) }

// CheckPath returns nil for a valid path, or an error that matches ErrBadPath and has
// the reason. Every call checks its paths in this way, before it sends anything.
func CheckPath(path string) error { return checkPath(path, false) }
