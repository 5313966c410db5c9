package zk

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/zpath"
	"github.com/seed-9f8420c6/zk/wire"
)

// Mode says what kind of znode Create makes. The constants are the protocol's
// create flags; TTL and SequentialTTL carry their time as well.
type Mode int64

const (
	Persistent           Mode = Mode(wire.FlagPersistent)
	Ephemeral            Mode = Mode(wire.FlagEphemeral) // deleted when the session ends
	PersistentSequential Mode = Mode(wire.FlagPersistentSequential)
	EphemeralSequential  Mode = Mode(wire.FlagEphemeralSequential)
	Container            Mode = Mode(wire.FlagContainer) // deleted by the server some time after its last child; since 3.5.1, see CreateStat
)

// The flag of a TTL mode is in the lowest bits, its time in milliseconds above.
const modeBits = 3

// TTL returns the mode of a persistent znode that the server deletes when it
// has had no children and no change for d, rounded up to 1 ms; a d that is not
// positive, or more than 0xffffffffff ms (34 years), is ErrBadArguments. Servers
// since 3.5.3 support it, where zookeeper.extendedTypesEnabled is set; without that
// they answer ErrUnimplemented. So does an older one, and closes the connection.
func TTL(d time.Duration) Mode { return ttlMode(wire.FlagPersistentTTL, d) }

// SequentialTTL returns the mode of a sequential znode with a TTL.
func SequentialTTL(d time.Duration) Mode { return ttlMode(wire.FlagPersistentSequentialTTL, d) }

func ttlMode(flag int32, d time.Duration) Mode {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return Mode(ms<<modeBits | int64(flag))
}

func (m Mode) flag() int32 { return int32(m & (1<<modeBits - 1)) }
func (m Mode) ttl() int64  { return int64(m >> modeBits) }

func (m Mode) sequential() bool {
	switch m.flag() {
	case wire.FlagPersistentSequential, wire.FlagEphemeralSequential, wire.FlagPersistentSequentialTTL:
		return true
	}
	return false
}

// String names the mode as the documentation does, such as "ephemeral sequential".
func (m Mode) String() string {
	switch m.flag() {
	case wire.FlagPersistent:
		return "persistent"
	case wire.FlagEphemeral:
		return "ephemeral"
	case wire.FlagPersistentSequential:
		return "persistent sequential"
	case wire.FlagEphemeralSequential:
		return "ephemeral sequential"
	case wire.FlagContainer:
		return "container"
	case wire.FlagPersistentTTL:
		return fmt.Sprintf("TTL %d ms", m.ttl())
	case wire.FlagPersistentSequentialTTL:
		return fmt.Sprintf("sequential TTL %d ms", m.ttl())
	}
	return "Mode(" + strconv.FormatInt(int64(m), 10) + ")"
}

// op returns the opcode that creates the mode; stat: with a Stat in the reply.
func (m Mode) op(stat bool) (wire.Op, error) {
	switch f := m.flag(); {
	case f == wire.FlagPersistentTTL || f == wire.FlagPersistentSequentialTTL:
		if m.ttl() <= 0 || m.ttl() > wire.MaxTTL {
			return 0, badArgument("TTL of %d ms is not in 1..%d", m.ttl(), wire.MaxTTL)
		}
		return wire.OpCreateTTL, nil
	case f > wire.FlagContainer || m.ttl() != 0:
		return 0, badArgument("unknown mode %d", int64(m))
	case f == wire.FlagContainer:
		return wire.OpCreateContainer, nil
	}
	if stat {
		return wire.OpCreate2, nil
	}
	return wire.OpCreate, nil
}

// Permission is what an Access allows.
type Permission int32

const (
	PermRead   = Permission(wire.PermRead)
	PermWrite  = Permission(wire.PermWrite)
	PermCreate = Permission(wire.PermCreate) // of children
	PermDelete = Permission(wire.PermDelete) // of children
	PermAdmin  = Permission(wire.PermAdmin)  // SetACL
	PermAll    = Permission(wire.PermAll)
)

// permLetters are those of zkCli, in its order.
const permLetters = "cdrwa"

var permOfLetter = map[rune]Permission{'c': PermCreate, 'd': PermDelete, 'r': PermRead, 'w': PermWrite, 'a': PermAdmin}

// String prints permissions as zkCli does: the letters of "cdrwa" that are given.
func (p Permission) String() string {
	var b strings.Builder
	for _, letter := range permLetters {
		if p&permOfLetter[letter] != 0 {
			b.WriteRune(letter)
			p &^= permOfLetter[letter]
		}
	}
	if p != 0 {
		return "Permission(" + strconv.Itoa(int(p)) + ")"
	}
	return b.String()
}

// ParsePermission reads letters of "cdrwa", in any order. Errors match ErrBadArguments.
func ParsePermission(text string) (Permission, error) {
	var p Permission
	for _, letter := range text {
		one, ok := permOfLetter[letter]
		if !ok {
			return 0, badArgument("permission %q: letters are %s", text, permLetters)
		}
		p |= one
	}
	return p, nil
}

// Access gives permissions to one identity.
type Access struct {
	Perms      Permission
	Scheme, ID string
}

// String prints it as zkCli does: scheme:id:permissions.
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
// The list has a hash (SHA-1) of both, no password.
func ACLDigest(perms Permission, user, password string) ACL {
	sum := sha1.Sum([]byte(user + ":" + password))
	return ACL{{perms, "digest", user + ":" + base64.StdEncoding.EncodeToString(sum[:])}}
}

// ACLIP gives permissions to clients of an address or a network, such as "10.0.0.0/8".
func ACLIP(perms Permission, network string) ACL { return ACL{{perms, "ip", network}} }

// ACLX509 gives permissions to whoever presents a certificate with a subject, such as
// "CN=app,O=Example".
func ACLX509(perms Permission, subject string) ACL { return ACL{{perms, "x509", subject}} }

// String prints the list as zkCli does, and as ParseACL reads it.
func (a ACL) String() string {
	list := make([]string, len(a))
	for i, x := range a {
		list[i] = x.String()
	}
	return strings.Join(list, ",")
}

// ParseACL reads a list as zkCli does: scheme:id:permissions, separated by commas. A
// comma within an id does not separate: the part after it does not end in permissions.
// Errors match ErrBadArguments.
func ParseACL(text string) (ACL, error) {
	var acl ACL
	entry := ""
	for part := range strings.SplitSeq(text, ",") {
		entry += part
		scheme, rest, _ := strings.Cut(entry, ":")
		i := strings.LastIndexByte(rest, ':')
		if i < 0 || scheme == "" {
			entry += ","
			continue
		}
		perms, err := ParsePermission(rest[i+1:])
		if err != nil {
			entry += ","
			continue
		}
		acl = append(acl, Access{perms, scheme, rest[:i]})
		entry = ""
	}
	if entry != "" {
		return nil, badArgument("ACL %q is not scheme:id:permissions", strings.TrimSuffix(entry, ","))
	}
	return acl, nil
}

// Stat is what the server keeps about a znode. Times are milliseconds since
// 1970. EphemeralOwner is the session of an ephemeral znode, and 0 for all
// others, containers and those with a TTL included.
type Stat struct {
	Czxid, Mzxid                int64 // transactions that created it, and last changed its data
	Ctime, Mtime                int64
	Version, Cversion, Aversion int32 // changes of data, children, ACL
	EphemeralOwner              int64
	DataLength, NumChildren     int32
	Pzxid                       int64 // transaction that last changed its children
}

// Created returns when the znode was created, by the clock of the leader then.
func (s Stat) Created() time.Time { return time.UnixMilli(s.Ctime) }

// Modified returns when its data was last changed, by the clock of the leader then.
func (s Stat) Modified() time.Time { return time.UnixMilli(s.Mtime) }

// AnyVersion, as the version of Set, SetACL, Delete and their operations, asks for none.
const AnyVersion int32 = -1

var (
	kindCreate            = kind{decode: decodePath}
	kindCreateStat        = kind{decode: decodePathStat}
	kindCreateTTL         = kind{decode: decodePathStat, mayStayOpen: true}
	kindGet               = kind{decode: decodeData}
	kindExists            = kind{decode: decodeStat, excuse: noNodeIsFound}
	kindChildren          = kind{decode: decodeNamesStat}
	kindSet               = kind{decode: decodeStat}
	kindDelete            = kind{}
	kindSync              = kind{}
	kindGetACL            = kind{decode: decodeACL}
	kindSetACL            = kind{decode: decodeStat}
	kindAddWatch          = kind{}
	kindRemoveWatch       = kind{excuse: noWatcherIsFine}
	kindEphemerals        = kind{decode: decodeNames}
	kindAllChildrenNumber = kind{decode: decodeNumber}
	kindWhoAmI            = kind{decode: decodeIdentities}
	kindReconfig          = kind{decode: decodeData, mayStayOpen: true}
	kindMulti             = kind{decode: decodeMulti, mayStayOpen: true}
	kindMultiRead         = kind{decode: decodeMulti}
	kindBatch             = kind{} // its operations have kinds of their own
)

// noNodeIsFound: that a znode is missing is what Exists was asked for.
func noNodeIsFound(c *call, code Code) bool {
	c.missing = code == ErrNoNode
	return c.missing
}

// noWatcherIsFine: the server has nothing to remove.
func noWatcherIsFine(_ *call, code Code) bool { return code == ErrNoWatcher }

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
	return s.newCall(k, op, path), zpath.Server(s.conf.Chroot, path, sequential), nil
}

// ask sends a call and lets take have its answer; nil: there is nothing to take. It
// owns the call's recycling: nobody has the call any more when it returns.
func (s *Session) ask(ctx context.Context, c *call, take func(*call)) error {
	if err := s.do(ctx, c); err != nil {
		return err
	}
	if take != nil {
		take(c)
	}
	s.recycle(c)
	return nil
}

// askStat is ask for a call that is answered by a Stat.
func (s *Session) askStat(ctx context.Context, c *call) (Stat, error) {
	if err := s.do(ctx, c); err != nil {
		return Stat{}, err
	}
	stat := Stat(c.stat)
	s.recycle(c)
	return stat, nil
}

// opPath is an operation's path as the server knows it.
func (s *Session) opPath(o Op) string {
	_, path := o.describe()
	create, ok := o.(interface{ sequential() bool })
	return zpath.Server(s.conf.Chroot, path, ok && create.sequential())
}

// arm makes the call arm a channel at its reply; nil does nothing.
func (c *call) arm(watch chan<- Event, kind WatchKind, at string) {
	if watch != nil {
		c.watch, c.arms, c.at, c.arming = watch, kind, at, true
	}
}

// Create creates a znode and returns its path, which differs from the one asked
// for in the sequential modes: these append a counter of the parent, usually of
// ten digits. nil data is stored as null, which Get gives back as nil; the slice
// is the caller's again when Create returns. The server answers ErrExists;
// ErrNoNode, if there is no parent; ErrNoChildrenForEphemerals, if that is
// ephemeral; ErrNoAuth; ErrInvalidACL. An empty ACL is ErrInvalidACL too, and not
// sent.
func (s *Session) Create(ctx context.Context, path string, data []byte, mode Mode, acl ACL) (string, error) {
	path, _, err := s.create(ctx, "create", path, data, mode, acl, false)
	return path, err
}

// CreateStat does the same and returns the new znode's Stat. Servers since
// 3.5.0 support it. An older one answers ErrUnimplemented and closes the
// connection, so that the error matches ErrConnection too; the session lives.
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
	c.room(full, data)
	at := c.begin(op)
	c.Frames = appendCreate(c.Frames, op, full, CreateOp{Data: data, Mode: mode, ACL: acl})
	wire.EndFrame(c.Frames, at)
	var made string
	var st Stat
	err = s.ask(ctx, c, func(c *call) { made, st = zpath.Strip(s.conf.Chroot, c.str), Stat(c.stat) })
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
	acl := o.ACL.wire()
	if op == wire.OpCreateTTL {
		return wire.CreateTTLRequest{Path: full, Data: o.Data, ACL: acl, Flags: o.Mode.flag(), TTL: o.Mode.ttl()}.Append(dst)
	}
	return wire.CreateRequest{Path: full, Data: o.Data, ACL: acl, Flags: o.Mode.flag()}.Append(dst)
}

func (a ACL) wire() []wire.ACL {
	out := make([]wire.ACL, len(a))
	for i, x := range a {
		out[i] = wire.ACL{Perms: int32(x.Perms), Scheme: x.Scheme, ID: x.ID}
	}
	return out
}

func decodePath(c *call, d *wire.Decoder) { c.str = d.String() }

func decodePathStat(c *call, d *wire.Decoder) {
	c.str = d.String()
	c.stat.Decode(d)
}

func decodeStat(c *call, d *wire.Decoder) { c.stat.Decode(d) }

func decodeData(c *call, d *wire.Decoder) {
	b := d.Buffer()
	c.stat.Decode(d)
	if d.Err() == nil {
		c.data = d.Keep(b)
	}
}

func decodeNamesStat(c *call, d *wire.Decoder) {
	c.names = d.Strings()
	c.stat.Decode(d)
}

func decodeNames(c *call, d *wire.Decoder) { c.names = d.Strings() }

// Get returns a znode's data, which is the caller's, and its Stat. On success
// the channel is armed for one Changed or Deleted; after an error it is not.
func (s *Session) Get(ctx context.Context, path string, watch chan<- Event) ([]byte, Stat, error) {
	c, full, err := s.start(&kindGet, "get", path, false, nil)
	if err != nil {
		return nil, Stat{}, err
	}
	c.pathWatch(wire.OpGetData, full, watch != nil)
	c.arm(watch, DataWatch, full)
	var data []byte
	var st Stat
	err = s.ask(ctx, c, func(c *call) { data, st = c.data, Stat(c.stat) })
	return data, st, err
}

// pathWatch frames the requests of a path and whether to watch it.
func (c *call) pathWatch(op wire.Op, full string, watch bool) {
	at := c.begin(op)
	c.Frames = wire.PathWatchRequest{Path: full, Watch: watch}.Append(c.Frames)
	wire.EndFrame(c.Frames, at)
}

// Exists reports whether a znode exists. In both cases the channel is armed: of
// an existing znode for one Changed or Deleted, of a missing one for Created.
// A server before 3.8.4 and 3.9.2 does not check permissions for it.
func (s *Session) Exists(ctx context.Context, path string, watch chan<- Event) (bool, Stat, error) {
	c, full, err := s.start(&kindExists, "exists", path, false, nil)
	if err != nil {
		return false, Stat{}, err
	}
	c.pathWatch(wire.OpExists, full, watch != nil)
	c.arm(watch, DataWatch, full)
	var found bool
	var st Stat
	err = s.ask(ctx, c, func(c *call) { found, st = !c.missing, Stat(c.stat) })
	return found, st, err
}

// Children returns the names of a znode's children, in no order, and its Stat.
// On success the channel is armed for one Child or Deleted; after an error it
// is not. The names share one backing array: a caller that keeps a
// few of very many should clone them.
func (s *Session) Children(ctx context.Context, path string, watch chan<- Event) ([]string, Stat, error) {
	c, full, err := s.start(&kindChildren, "children", path, false, nil)
	if err != nil {
		return nil, Stat{}, err
	}
	c.pathWatch(wire.OpGetChildren2, full, watch != nil)
	c.arm(watch, ChildWatch, full)
	var names []string
	var st Stat
	err = s.ask(ctx, c, func(c *call) { names, st = c.names, Stat(c.stat) })
	return names, st, err
}

// Set changes a znode's data if its version is the given one (ErrVersion) and
// returns its new Stat. nil data is stored as null; the slice is the caller's
// again when Set returns. Other answers are ErrNoNode, ErrNoAuth and, where the
// server enforces quotas, ErrQuotaExceeded.
func (s *Session) Set(ctx context.Context, path string, data []byte, version int32) (Stat, error) {
	c, full, err := s.start(&kindSet, "set", path, false, nil)
	if err != nil {
		return Stat{}, err
	}
	c.room(full, data)
	at := c.begin(wire.OpSetData)
	c.Frames = wire.SetDataRequest{Path: full, Data: data, Version: version}.Append(c.Frames)
	wire.EndFrame(c.Frames, at)
	return s.askStat(ctx, c)
}

// Delete deletes a znode that has no children (ErrNotEmpty), if its version is
// the given one (ErrVersion).
func (s *Session) Delete(ctx context.Context, path string, version int32) error {
	c, full, err := s.start(&kindDelete, "delete", path, false, nil)
	if err != nil {
		return err
	}
	at := c.begin(wire.OpDelete)
	c.Frames = wire.PathVersionRequest{Path: full, Version: version}.Append(c.Frames)
	wire.EndFrame(c.Frames, at)
	return s.ask(ctx, c, nil)
}

// Sync waits until this server has caught up with what the leader had committed, so
// that a later read sees whatever any session had been told before. It covers all
// paths; path need not exist. Sync is not a write: a leader that has just lost its
// quorum may still answer it, and a leader may be a moment behind what its followers
// have reported (CommitProcessor). If that matters, write instead: even a failing
// write waits, such as a Delete of a znode that does not exist.
func (s *Session) Sync(ctx context.Context, path string) error {
	c, full, err := s.start(&kindSync, "sync", path, false, nil)
	if err != nil {
		return err
	}
	c.frame(wire.OpSync, wire.PathRequest{Path: full})
	return s.ask(ctx, c, nil)
}

// GetACL returns a znode's ACL. Without PermAdmin the server masks the
// passwords of digest identities.
func (s *Session) GetACL(ctx context.Context, path string) (ACL, Stat, error) {
	c, full, err := s.start(&kindGetACL, "getacl", path, false, nil)
	if err != nil {
		return nil, Stat{}, err
	}
	c.frame(wire.OpGetACL, wire.PathRequest{Path: full})
	var acl ACL
	var st Stat
	err = s.ask(ctx, c, func(c *call) { acl, st = c.value.(ACL), Stat(c.stat) })
	return acl, st, err
}

func decodeACL(c *call, d *wire.Decoder) {
	c.value = readACL(d)
	c.stat.Decode(d)
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

// SetACL changes a znode's ACL if its Aversion is the given one (ErrVersion)
// and returns its new Stat. An empty ACL is ErrInvalidACL and not sent; the
// slice is the caller's again when SetACL returns.
func (s *Session) SetACL(ctx context.Context, path string, acl ACL, version int32) (Stat, error) {
	var invalid error
	if len(acl) == 0 {
		invalid = ErrInvalidACL
	}
	c, full, err := s.start(&kindSetACL, "setacl", path, false, invalid)
	if err != nil {
		return Stat{}, err
	}
	c.frame(wire.OpSetACL, wire.SetACLRequest{Path: full, ACL: acl.wire(), Version: version})
	return s.askStat(ctx, c)
}

// AddAuth adds a credential to the connection. Once accepted it joins
// Config.Auth, so that every later Dial brings it. A server that refuses it
// closes the connection: the error matches ErrAuth and ErrConnection, and the
// session is not lost by it. A call that was given up by its context, or lost,
// does not join Config.Auth, though the server may have accepted it.
func (s *Session) AddAuth(ctx context.Context, auth Auth) error {
	if !s.usable() {
		return notSent("addauth", "", ErrClosed)
	}
	return s.traced(ctx, Call{Op: "addauth", Ops: 1}, func() error { return s.addAuth(ctx, auth.clone()) })
}

func (s *Session) addAuth(ctx context.Context, auth Auth) error {
	if err := ctx.Err(); err != nil {
		return notSent("addauth", "", err)
	}
	c, err := s.sendAuth(auth, &auth)
	if err != nil {
		return notSent("addauth", "", err)
	}
	if c.Wait(ctx) {
		return &OpError{Op: "addauth", Err: ctx.Err(), outcome: Lost}
	}
	s.w.picked()
	err = c.err
	s.recycle(c)
	return err
}

// WatchMode is the mode of AddWatch. A watch that it arms is listed by
// [Watches.List] with the [WatchKind] of the same name.
type WatchMode int32

const (
	WatchPersistent = WatchMode(wire.AddWatchPersistent)          // all events of the path; a PersistentWatch
	WatchRecursive  = WatchMode(wire.AddWatchPersistentRecursive) // Created, Changed, Deleted of the path and all below it; a RecursiveWatch
)

// AddWatch arms a channel that stays armed; the path need not exist. After an
// error it is not armed. A server does not report what changed while such a watch
// moved to another connection: then the channel gets a Gap before any later
// event. Nor does it remember what it reported before: after a move to a server that
// lags, a change may be reported twice. Servers since 3.6.0 support it; an older one
// does as CreateStat says. Before 3.9.0 a WatchPersistent gets no Child events while a
// WatchRecursive is armed on the very same path, and a Gap when that is removed.
func (s *Session) AddWatch(ctx context.Context, path string, mode WatchMode, watch chan<- Event) error {
	var invalid error
	kind := PersistentWatch
	switch {
	case watch == nil:
		invalid = badArgument("AddWatch without a channel")
	case mode == WatchRecursive:
		kind = RecursiveWatch
	case mode != WatchPersistent:
		invalid = badArgument("unknown watch mode %d", int32(mode))
	}
	c, full, err := s.start(&kindAddWatch, "addwatch", path, false, invalid)
	if err != nil {
		return err
	}
	c.frame(wire.OpAddWatch, wire.AddWatchRequest{Path: full, Mode: int32(mode)})
	c.arm(watch, kind, full)
	return s.ask(ctx, c, nil)
}

// RemoveWatch disarms a channel at a path, in every kind in which it is armed
// there; ErrNoWatcher if in none. Events read before are still delivered. The
// server is asked only to end a persistent watch that nothing else uses. When
// its answer is missing (ErrLost, or ErrNotSent on the way), the channel's one-shot
// watches are gone; the persistent one stays armed, and moves with a
// redial, unless the answer still comes.
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
	c.frame(wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: full, Type: wire.WatcherAny})
	c.at, c.removal = full, &removal{ch: watch}
	if path == configPath && full != configPath { // GetConfig's, which is below no chroot
		c.removal.alias = configPath
	}
	if err := s.ask(ctx, c, nil); !errors.Is(err, errRemoved) {
		return err
	}
	return nil
}

// Ephemerals returns the paths of this session's ephemeral znodes that begin
// with the prefix, which may end within a name; "" or "/" for all. Servers
// since 3.6.0 support it; an older one does as CreateStat says.
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
	c.frame(wire.OpGetEphemerals, wire.PathRequest{Path: full})
	var all []string
	if err := s.ask(ctx, c, func(c *call) { all = c.names }); err != nil {
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
// walks its whole tree for it. Servers since 3.6.0 support it; an older one does as
// CreateStat says.
func (s *Session) AllChildrenNumber(ctx context.Context, path string) (int, error) {
	c, full, err := s.start(&kindAllChildrenNumber, "allchildrennumber", path, false, nil)
	if err != nil {
		return 0, err
	}
	c.frame(wire.OpAllChildrenNumber, wire.PathRequest{Path: full})
	var n int
	err = s.ask(ctx, c, func(c *call) { n = int(c.num) })
	return n, err
}

func decodeNumber(c *call, d *wire.Decoder) { c.num = d.Int32() }

// AuthInfo is an identity that the server knows of this connection.
type AuthInfo struct{ Scheme, User string }

// WhoAmI returns the identities of this connection; its IP address is always
// among them. Servers since 3.7.0 support it; an older one does as CreateStat says.
func (s *Session) WhoAmI(ctx context.Context) ([]AuthInfo, error) {
	c, _, err := s.start(&kindWhoAmI, "whoami", "/", false, nil)
	if err != nil {
		return nil, err
	}
	c.Path = ""
	c.frame(wire.OpWhoAmI, nil)
	var infos []AuthInfo
	err = s.ask(ctx, c, func(c *call) { infos = c.value.([]AuthInfo) })
	return infos, err
}

func decodeIdentities(c *call, d *wire.Decoder) {
	var infos []AuthInfo
	if n := d.Count(minIdentity); n > 0 {
		infos = make([]AuthInfo, n)
		for i := range infos {
			infos[i] = AuthInfo{d.String(), d.String()}
		}
	}
	c.value = infos
}

// configPath is where servers keep the ensemble's configuration. It is never
// below a chroot, and neither is the path of its event.
const configPath = "/zookeeper/config"

// GetConfig returns the configuration of the ensemble, as server.N=… lines and
// its version; of a server that runs alone it is empty. The channel is armed for
// one Changed, whose path is /zookeeper/config under any chroot; after an error
// it is not. Servers since 3.5.0 support it; an older one answers ErrNoNode.
func (s *Session) GetConfig(ctx context.Context, watch chan<- Event) ([]byte, Stat, error) {
	if !s.usable() {
		return nil, Stat{}, notSent("getconfig", configPath, ErrClosed)
	}
	c := s.newCall(&kindGet, "getconfig", configPath)
	c.raw = true
	c.pathWatch(wire.OpGetData, configPath, watch != nil)
	c.arm(watch, DataWatch, configPath)
	var data []byte
	var st Stat
	err := s.ask(ctx, c, func(c *call) { data, st = c.data, Stat(c.stat) })
	return data, st, err
}

// Reconfig is a change of the ensemble: either servers that join
// ("server.4=host:2888:3888;2181") and numbers of servers that leave, or all
// Members of the new ensemble. Version is that of the configuration to change,
// else the answer is ErrVersion: what the line version=… of GetConfig says, in
// hexadecimal. -1: any.
type Reconfig struct {
	Join, Leave, Members []string
	Version              int64
}

// Reconfig changes the ensemble and returns its new configuration. It needs
// reconfigEnabled (ErrReconfigDisabled) and a write permission on
// /zookeeper/config (ErrNoAuth). Servers since 3.5.0 support it. One that runs alone
// answers ErrUnimplemented; so does an older one, and closes the connection.
func (s *Session) Reconfig(ctx context.Context, change Reconfig) ([]byte, Stat, error) {
	if !s.usable() {
		return nil, Stat{}, notSent("reconfig", "", ErrClosed)
	}
	if err := change.check(); err != nil {
		return nil, Stat{}, notSent("reconfig", "", err)
	}
	c := s.newCall(&kindReconfig, "reconfig", "")
	c.frame(wire.OpReconfig, wire.ReconfigRequest{
		Joining: joinList(change.Join), Leaving: joinList(change.Leave), NewMembers: joinList(change.Members), ConfigID: change.Version,
	})
	var data []byte
	var st Stat
	err := s.ask(ctx, c, func(c *call) { data, st = c.data, Stat(c.stat) })
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
	// describe names the operation as its method's errors do.
	describe() (op, path string)
	// check reports what is wrong with it, in a Multi or a MultiRead.
	check() error
	// add checks it and appends its request to a Batch.
	add(c *call, chroot string) error
	// decode reads the body of a reply without error.
	decode(b *batch, i int, d *wire.Decoder)
	// kind returns that of its request in a Batch.
	kind() *kind
	// result returns the type of its result in a multi or multiRead; a create2
	// may be answered as a create.
	result() wire.Op
	// watched returns the channel to arm, and in which kind.
	watched() (chan<- Event, WatchKind)
}

// WriteOp is an operation of Multi.
type WriteOp interface {
	Op
	// appendMulti appends it to a Multi; plain: a create without a Stat.
	appendMulti(dst []byte, full string, plain bool) []byte
}

// ReadOp is an operation of MultiRead.
type ReadOp interface {
	Op
	appendMultiRead(dst []byte, full string) []byte
}

// CreateOp is Create. In a Batch its Result has a Path, and a Stat with WantStat
// or where the mode's request returns one (Container and TTL). In a Multi it has both.
// But servers before 3.7.2, and 3.8.0 and 3.8.1, leave the Stat out there for the other
// modes, and so does one before 3.5.0, to which the Multi is sent a second time: it
// cannot read the first, and has done nothing.
type CreateOp struct {
	Path string
	Data []byte
	Mode Mode
	ACL  ACL

	// WantStat asks for a Stat in a Batch, as CreateStat does: 3.5 and later.
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

// CheckOp fails with ErrVersion unless the znode has the version. In a Batch it
// travels as a multi of one.
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

// SyncOp is Sync, in a Batch only: operations after it see what it waited for.
type SyncOp struct{ Path string }

// Result is the result of one operation. Err is nil or, but for a Multi, an
// *OpError, with its Outcome.
type Result struct {
	Path     string
	Data     []byte
	Children []string
	ACL      ACL
	Stat     Stat
	Err      error
}

// Multi executes all operations, or none, in one transaction. When one fails
// the error is its code, with its path; its Result has that code too, and the
// others say that they were rolled back (ErrRuntimeInconsistency). A Multi that
// is not sent, or lost, has no results. Without operations it returns at once.
func (s *Session) Multi(ctx context.Context, ops ...WriteOp) ([]Result, error) {
	if !s.usable() {
		return nil, notSent("multi", "", ErrClosed)
	}
	if len(ops) == 0 {
		return nil, nil
	}
	c, err := s.newMulti(ops, s.plainCreates.Load())
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
		if c, err = s.newMulti(ops, true); err != nil {
			return nil, err
		}
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
			_, path := ops[i].describe()
			return res, &OpError{Op: "multi", Path: path, Err: err, outcome: Answered}
		case failed < 0:
			failed = i
		}
	}
	if failed >= 0 { // no server tells so little, but an error it is
		return res, &OpError{Op: "multi", Err: ErrRuntimeInconsistency, outcome: Answered}
	}
	return res, nil
}

func describe(o Op) (op, path string) {
	if o == nil {
		return "", ""
	}
	return o.describe()
}

func checkOp(o Op) error {
	if o == nil {
		return badArgument("a nil operation")
	}
	return o.check()
}

// decodeMulti reads the reply to a multi or multiRead.
func decodeMulti(c *call, d *wire.Decoder) {
	m := c.value.(*multi)
	res := make([]Result, len(m.ops))
	failed := false
	if !eachResult(d, m.ops, func(i int, x *wire.MultiResult) {
		failed = failed || x.Op == wire.OpError
		res[i] = m.result(x)
	}) {
		return
	}
	if failed && c.code == wire.OpMulti {
		for i := range res {
			if res[i].Err == nil {
				res[i] = Result{Err: ErrRuntimeInconsistency}
			}
		}
	}
	m.res = res
}

// newMulti checks and frames the operations; plain: creates without a Stat.
func (s *Session) newMulti(ops []WriteOp, plain bool) (*call, error) {
	c := s.newCall(&kindMulti, "multi", "")
	m := &multi{ops: make([]Op, 0, len(ops)), chroot: s.conf.Chroot}
	c.value = m
	at := c.begin(wire.OpMulti)
	for _, o := range ops {
		if err := checkOp(o); err != nil {
			s.recycle(c)
			_, path := describe(o)
			return nil, notSent("multi", path, err)
		}
		c.Frames = o.appendMulti(c.Frames, s.opPath(o), plain)
		m.ops = append(m.ops, o)
	}
	c.endMulti(at)
	return c, nil
}

func (s *Session) askMulti(ctx context.Context, c *call) ([]Result, error) {
	var res []Result
	c.traced = true // by whoever looks at the results
	err := s.ask(ctx, c, func(c *call) { res = c.value.(*multi).res })
	return res, err
}

// multi is what the call of a Multi or MultiRead has.
type multi struct {
	ops    []Op
	res    []Result
	chroot string
}

func (c *call) endMulti(at int) {
	c.Frames = wire.AppendMultiEnd(c.Frames)
	wire.EndFrame(c.Frames, at)
}

// hasPlainCreate reports whether an operation can be sent as a create without a Stat.
func hasPlainCreate(o WriteOp) bool {
	create, ok := o.(interface{ code() wire.Op })
	return ok && (create.code() == wire.OpCreate || create.code() == wire.OpCreate2)
}

// eachResult reads the results of operations, one by one, so that a reply takes no
// more memory than was asked for. They have the reply's own types: a server may
// answer a create2 as a create.
func eachResult(d *wire.Decoder, ops []Op, f func(i int, x *wire.MultiResult)) bool {
	var x wire.MultiResult
	n := 0
	for ; x.Next(d); n++ {
		if n == len(ops) {
			d.Fail("more results than the " + strconv.Itoa(n) + " operations")
			return false
		}
		got, want := x.Op, ops[n].result()
		if got == wire.OpCreate {
			got = wire.OpCreate2
		}
		if got != want && got != wire.OpError {
			d.Fail("a result of " + x.Op.String() + " for a " + want.String())
			return false
		}
		f(n, &x)
	}
	if d.Err() == nil && n < len(ops) {
		d.Fail(strconv.Itoa(n) + " results for " + strconv.Itoa(len(ops)) + " operations")
	}
	return d.Err() == nil
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

// MultiRead executes reads in one round trip, each with its own result; the
// error is the first of theirs. One that is not sent, or lost, has no results.
// It is no snapshot. Servers since 3.6.0 support it; an older one does as CreateStat
// says.
func (s *Session) MultiRead(ctx context.Context, ops ...ReadOp) ([]Result, error) {
	if !s.usable() {
		return nil, notSent("multiread", "", ErrClosed)
	}
	if len(ops) == 0 {
		return nil, nil
	}
	c := s.newCall(&kindMultiRead, "multiread", "")
	m := &multi{ops: make([]Op, 0, len(ops)), chroot: s.conf.Chroot}
	c.value = m
	at := c.begin(wire.OpMultiRead)
	for _, o := range ops {
		err := checkOp(o)
		_, path := describe(o)
		if err == nil {
			if watch, _ := o.watched(); watch != nil {
				err = badArgument("a watch in a MultiRead")
			}
		}
		if err != nil {
			s.recycle(c)
			return nil, notSent("multiread", path, err)
		}
		before := len(c.Frames)
		c.Frames = o.appendMultiRead(c.Frames, s.opPath(o))
		if m.ops = append(m.ops, o); len(m.ops) == 1 {
			c.reserve(len(c.Frames)-before, len(ops)-1)
		}
	}
	c.endMulti(at)
	var res []Result
	err := s.traced(ctx, Call{Op: "multiread", Ops: len(ops)}, func() (err error) {
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
			_, path := ops[i].describe()
			res[i].Err = &OpError{Op: "multiread", Path: path, Err: code, outcome: Answered}
			if first == nil {
				first = res[i].Err
			}
		}
	}
	return res, first
}

// Batch sends all operations at once and waits for the last answer. They are
// executed in order, and independently: every Result says what became of its
// operation. The error is the first of theirs that matches ErrConnection or
// ErrMoved, or else the first. All are checked before the first is sent: where one is refused, or ctx has ended already, there are no
// results. Data of up to 16 KiB shares an array of up to 64 KiB with that of
// other results, and the names of a ChildrenOp share one: a caller that
// keeps a small part of them should clone it.
func (s *Session) Batch(ctx context.Context, ops ...Op) ([]Result, error) {
	if !s.usable() {
		return nil, notSent("batch", "", ErrClosed)
	}
	what := Call{Op: "batch", Ops: len(ops)}
	if err := ctx.Err(); err != nil {
		return nil, s.traced(ctx, what, func() error { return notSent("batch", "", err) })
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
		sent, err := s.submitBatch(ctx, c, len(ops))
		var over bool
		if res, over = s.awaitBatch(ctx, c, b, sent, err); over { // else the reader may still know it
			s.recycleBatch(c, b)
		}
		return batchError(res)
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
	maxKeptOps   = 4 << 10
	maxKeptBatch = 256 << 10 // bytes of requests
)

// batch is what a Batch's call has.
type batch struct {
	ops    []Op
	res    []Result
	chroot string
	arena  []byte
	frames []byte // kept for the next Batch
	line   pipeline.Batch
}

func (s *Session) newBatch(ops []Op) (*call, *batch) {
	c, b := s.newCall(&kindBatch, "batch", ""), batches.Get().(*batch)
	b.ops = append(b.ops, ops...)
	b.res = make([]Result, len(ops))
	b.chroot = s.conf.Chroot
	c.parts, c.Frames = b, b.frames
	c.Many(&b.line, len(ops))
	return c, b
}

// recycleBatch gives a Batch's call back that nobody else knows any more.
func (s *Session) recycleBatch(c *call, b *batch) {
	frames := c.Frames
	c.Frames = nil
	s.recycle(c)
	if cap(b.ops) <= maxKeptOps && cap(frames) <= maxKeptBatch {
		clear(b.ops)
		*b = batch{ops: b.ops[:0], frames: frames[:0]}
		batches.Put(b)
	}
}

// encodeBatch checks and frames all operations.
func (s *Session) encodeBatch(c *call, b *batch) error {
	for _, o := range b.ops {
		at := len(c.Frames)
		var err error
		if o == nil {
			err = badArgument("a nil operation")
		} else {
			err = o.add(c, b.chroot)
		}
		if n := len(c.Frames) - at - 4; err == nil && n > s.conf.MaxRequest {
			err = tooLarge(n, s.conf.MaxRequest)
		}
		if err == nil && len(c.Frames)-at > s.conf.MaxRequest-maxRestore { // rarely
			if watch, _ := o.watched(); watch != nil {
				err = s.restorable(s.opPath(o))
			}
		}
		if err != nil {
			name, path := describe(o)
			return notSent(name, path, err)
		}
		if at == 0 {
			c.reserve(len(c.Frames), len(b.ops)-1)
		}
	}
	return nil
}

// reserve makes room for n more operations, which may be like one that took size
// bytes.
func (c *call) reserve(size, n int) {
	c.Frames = slices.Grow(c.Frames, int(min(maxKeptBatch, int64(size)*int64(n)*9/8)))
}

// submitBatch queues the frames as slots allow and returns how many it queued.
func (s *Session) submitBatch(ctx context.Context, c *call, n int) (int, error) {
	if !s.line.Limited() {
		if err := s.submit(ctx, c, c.Frames, n); err != nil {
			return 0, err
		}
		return n, nil
	}
	sent, from, to := 0, 0, 0 // frames queued; c.Frames[from:to] holds those that have slots
	held := 0
	send := func() error {
		if held == 0 {
			return nil
		}
		c.From(sent)
		if err := s.submit(ctx, c, c.Frames[from:to], held); err != nil {
			s.line.Release(held)
			return err
		}
		sent += held
		held, from = 0, to
		return nil
	}
	for to < len(c.Frames) {
		if !s.line.TryAcquire() { // what is held may have to be answered first
			if err := send(); err != nil {
				return sent, err
			}
			if err := s.line.Acquire(ctx); err != nil {
				return sent, err
			}
		}
		held++
		to += 4 + wire.FrameLen(c.Frames[to:])
	}
	return sent, send()
}

// awaitBatch waits for the last answer and returns the results, and whether the
// reader is done with the call. err is why only the first frames, as many as sent,
// were queued.
func (s *Session) awaitBatch(ctx context.Context, c *call, b *batch, sent int, err error) (res []Result, over bool) {
	var done <-chan struct{}
	if err != nil {
		done = s.line.Done() // all that was queued may be answered, and nobody will say so
	}
	if sent > 0 {
		select {
		case <-c.Done():
			s.w.picked()
			return b.unsent(sent, err), b.answered(c)
		case <-done:
			select {
			case <-c.Done():
				s.w.picked()
			default:
			}
			return b.unsent(sent, err), b.answered(c)
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
		}
	}
	for {
		k, over := c.Settled()
		if over {
			<-c.Done()
			s.w.picked()
			return b.unsent(sent, err), b.answered(c)
		}
		if s.giveUpBatch(c, k) {
			return b.givenUp(k, sent, err), false
		}
	}
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
		name, path := b.ops[i].describe()
		e := &OpError{Op: name, Path: path, Err: err, outcome: NotSent}
		if i < sent {
			e.outcome = Lost
		}
		res[i].Err = e
	}
	return res
}

// giveUpBatch makes the caller leave a Batch of which k operations are answered, and
// reports whether it does: not if more were answered meanwhile.
func (s *Session) giveUpBatch(c *call, k int) bool {
	if c.arming { // as the reader does, see SettleMany
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
	}
	return c.GiveUp(k)
}

// unsent completes a Batch's results where not all frames were queued.
func (b *batch) unsent(sent int, err error) []Result {
	for i := sent; i < len(b.ops); i++ {
		name, path := b.ops[i].describe()
		b.res[i] = Result{Err: notSent(name, path, err)}
	}
	return b.res
}

func (b *batch) describe(i int) (op, path string) { return b.ops[i].describe() }
func (b *batch) kind(i int) *kind                 { return b.ops[i].kind() }
func (b *batch) fail(i int, err *OpError)         { b.res[i] = Result{Err: err} }

func (b *batch) watched(i int) (chan<- Event, WatchKind, string) {
	watch, kind := b.ops[i].watched()
	if watch == nil {
		return nil, 0, ""
	}
	_, path := b.ops[i].describe()
	return watch, kind, zpath.Join(b.chroot, path)
}

func (b *batch) arms(i int) (chan<- Event, WatchKind, string) {
	watch, kind, at := b.watched(i)
	if err := b.res[i].Err; watch != nil && err != nil {
		if b.ops[i].result() != wire.OpExists || !errors.Is(err, ErrNoNode) {
			return nil, 0, ""
		}
		kind = ExistsWatch
	}
	return watch, kind, at
}

func (b *batch) take(i int, code Code, d *wire.Decoder) {
	if code == 0 {
		b.ops[i].decode(b, i, d)
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
		name, path := b.ops[i].describe()
		r.Err = &OpError{Op: name, Path: path, Err: code, outcome: Answered}
	}
}

const arenaBlock = 64 << 10

// keep copies data into the batch's arena, unless it is large.
func (b *batch) keep(d *wire.Decoder, data []byte) []byte {
	n := len(data)
	switch {
	case data == nil:
		return nil
	case n == 0:
		return []byte{}
	case n > arenaBlock/4:
		return d.Keep(data)
	case n > cap(b.arena)-len(b.arena):
		left := n * len(b.ops) // what the rest may take, if it is like this one
		b.arena = make([]byte, 0, min(arenaBlock, max(left, n)))
	}
	at := len(b.arena)
	b.arena = append(b.arena, data...)
	return b.arena[at:len(b.arena):len(b.arena)]
}

func appendMultiHeader(dst []byte, op wire.Op) []byte {
	return wire.MultiHeader{Op: op, Err: -1}.Append(dst)
}

func (o CreateOp) describe() (string, string)         { return "create", o.Path }
func (o CreateOp) kind() *kind                        { return kindOfCreate(o.code()) }
func (o CreateOp) result() wire.Op                    { return wire.OpCreate2 }
func (o CreateOp) watched() (chan<- Event, WatchKind) { return nil, 0 }

// code returns the type of its request in a Batch.
func (o CreateOp) code() wire.Op {
	op, _ := o.Mode.op(o.WantStat)
	return op
}

func (o CreateOp) sequential() bool { return o.Mode.sequential() }

func (o CreateOp) check() error {
	if err := checkPath(o.Path, o.Mode.sequential()); err != nil {
		return err
	}
	if len(o.ACL) == 0 {
		return ErrInvalidACL
	}
	_, err := o.Mode.op(false)
	return err
}

func (o CreateOp) add(c *call, chroot string) error {
	if err := o.check(); err != nil {
		return err
	}
	op := o.code()
	at := c.begin(op)
	full := zpath.Server(chroot, o.Path, o.sequential())
	c.Frames = appendCreate(c.Frames, op, full, o)
	wire.EndFrame(c.Frames, at)
	return nil
}

func (o CreateOp) decode(b *batch, i int, d *wire.Decoder) {
	r := &b.res[i]
	r.Path = d.String()
	if o.code() != wire.OpCreate {
		r.Stat.decode(d)
	}
}

func (s *Stat) decode(d *wire.Decoder) { (*wire.Stat)(s).Decode(d) }

func (o CreateOp) appendMulti(dst []byte, full string, plain bool) []byte {
	op, _ := o.Mode.op(!plain)
	return appendCreate(appendMultiHeader(dst, op), op, full, o)
}

func (o SetOp) describe() (string, string)         { return "set", o.Path }
func (o SetOp) kind() *kind                        { return &kindSet }
func (o SetOp) result() wire.Op                    { return wire.OpSetData }
func (o SetOp) watched() (chan<- Event, WatchKind) { return nil, 0 }
func (o SetOp) check() error                       { return checkPath(o.Path, false) }

func (o SetOp) request(full string) wire.SetDataRequest {
	return wire.SetDataRequest{Path: full, Data: o.Data, Version: o.Version}
}

func (o SetOp) add(c *call, chroot string) error {
	if err := o.check(); err != nil {
		return err
	}
	at := c.begin(wire.OpSetData)
	c.Frames = o.request(zpath.Join(chroot, o.Path)).Append(c.Frames)
	wire.EndFrame(c.Frames, at)
	return nil
}

func (o SetOp) decode(b *batch, i int, d *wire.Decoder) { b.res[i].Stat.decode(d) }

func (o SetOp) appendMulti(dst []byte, full string, _ bool) []byte {
	return o.request(full).Append(appendMultiHeader(dst, wire.OpSetData))
}

func (o DeleteOp) describe() (string, string)         { return "delete", o.Path }
func (o DeleteOp) kind() *kind                        { return &kindDelete }
func (o DeleteOp) result() wire.Op                    { return wire.OpDelete }
func (o DeleteOp) watched() (chan<- Event, WatchKind) { return nil, 0 }
func (o DeleteOp) check() error                       { return checkPath(o.Path, false) }
func (o DeleteOp) decode(*batch, int, *wire.Decoder)  {}

func (o DeleteOp) request(full string) wire.PathVersionRequest {
	return wire.PathVersionRequest{Path: full, Version: o.Version}
}

func (o DeleteOp) add(c *call, chroot string) error {
	if err := o.check(); err != nil {
		return err
	}
	at := c.begin(wire.OpDelete)
	c.Frames = o.request(zpath.Join(chroot, o.Path)).Append(c.Frames)
	wire.EndFrame(c.Frames, at)
	return nil
}

func (o DeleteOp) appendMulti(dst []byte, full string, _ bool) []byte {
	return o.request(full).Append(appendMultiHeader(dst, wire.OpDelete))
}

func (o CheckOp) describe() (string, string)         { return "check", o.Path }
func (o CheckOp) kind() *kind                        { return &kindMulti }
func (o CheckOp) result() wire.Op                    { return wire.OpCheck }
func (o CheckOp) watched() (chan<- Event, WatchKind) { return nil, 0 }
func (o CheckOp) check() error                       { return checkPath(o.Path, false) }

// add frames the operation as a multi of its own.
func (o CheckOp) add(c *call, chroot string) error {
	if err := o.check(); err != nil {
		return err
	}
	at := c.begin(wire.OpMulti)
	c.Frames = o.appendMulti(c.Frames, zpath.Join(chroot, o.Path), false)
	c.endMulti(at)
	return nil
}

func (o CheckOp) decode(b *batch, i int, d *wire.Decoder) {
	eachResult(d, b.ops[i:i+1], func(_ int, x *wire.MultiResult) {
		if x.Err != 0 {
			b.res[i].Err = Code(x.Err)
		}
	})
}

func (o CheckOp) appendMulti(dst []byte, full string, _ bool) []byte {
	return wire.PathVersionRequest{Path: full, Version: o.Version}.Append(appendMultiHeader(dst, wire.OpCheck))
}

// addRead checks and frames a read for a Batch.
func (c *call) addRead(op wire.Op, chroot, path string, watch chan<- Event) error {
	if err := checkPath(path, false); err != nil {
		return err
	}
	c.arming = c.arming || watch != nil
	c.pathWatch(op, zpath.Join(chroot, path), watch != nil)
	return nil
}

func (o GetOp) describe() (string, string)         { return "get", o.Path }
func (o GetOp) kind() *kind                        { return &kindGet }
func (o GetOp) result() wire.Op                    { return wire.OpGetData }
func (o GetOp) watched() (chan<- Event, WatchKind) { return o.Watch, DataWatch }
func (o GetOp) check() error                       { return checkPath(o.Path, false) }

func (o GetOp) add(c *call, chroot string) error {
	return c.addRead(wire.OpGetData, chroot, o.Path, o.Watch)
}

func (o GetOp) decode(b *batch, i int, d *wire.Decoder) {
	data := d.Buffer()
	b.res[i].Stat.decode(d)
	if d.Err() == nil {
		b.res[i].Data = b.keep(d, data)
	}
}

func (o GetOp) appendMultiRead(dst []byte, full string) []byte {
	return wire.PathWatchRequest{Path: full}.Append(appendMultiHeader(dst, wire.OpGetData))
}

func (o ChildrenOp) describe() (string, string)         { return "children", o.Path }
func (o ChildrenOp) kind() *kind                        { return &kindChildren }
func (o ChildrenOp) result() wire.Op                    { return wire.OpGetChildren }
func (o ChildrenOp) watched() (chan<- Event, WatchKind) { return o.Watch, ChildWatch }
func (o ChildrenOp) check() error                       { return checkPath(o.Path, false) }

func (o ChildrenOp) add(c *call, chroot string) error {
	return c.addRead(wire.OpGetChildren2, chroot, o.Path, o.Watch)
}

func (o ChildrenOp) decode(b *batch, i int, d *wire.Decoder) {
	b.res[i].Children = d.Strings()
	b.res[i].Stat.decode(d)
}

func (o ChildrenOp) appendMultiRead(dst []byte, full string) []byte {
	return wire.PathWatchRequest{Path: full}.Append(appendMultiHeader(dst, wire.OpGetChildren))
}

func (o ExistsOp) describe() (string, string)         { return "exists", o.Path }
func (o ExistsOp) kind() *kind                        { return &kindExists }
func (o ExistsOp) result() wire.Op                    { return wire.OpExists }
func (o ExistsOp) watched() (chan<- Event, WatchKind) { return o.Watch, DataWatch }

func (o ExistsOp) check() error { return badArgument("an ExistsOp outside a Batch") }

func (o ExistsOp) add(c *call, chroot string) error {
	return c.addRead(wire.OpExists, chroot, o.Path, o.Watch)
}

func (o ExistsOp) decode(b *batch, i int, d *wire.Decoder) { b.res[i].Stat.decode(d) }

func (o GetACLOp) describe() (string, string)         { return "getacl", o.Path }
func (o GetACLOp) kind() *kind                        { return &kindGetACL }
func (o GetACLOp) result() wire.Op                    { return wire.OpGetACL }
func (o GetACLOp) watched() (chan<- Event, WatchKind) { return nil, 0 }
func (o GetACLOp) check() error                       { return badArgument("a GetACLOp outside a Batch") }

func (o GetACLOp) add(c *call, chroot string) error { return c.addPath(wire.OpGetACL, chroot, o.Path) }

func (o GetACLOp) decode(b *batch, i int, d *wire.Decoder) {
	b.res[i].ACL = readACL(d)
	b.res[i].Stat.decode(d)
}

func (o SetACLOp) describe() (string, string)         { return "setacl", o.Path }
func (o SetACLOp) kind() *kind                        { return &kindSetACL }
func (o SetACLOp) result() wire.Op                    { return wire.OpSetACL }
func (o SetACLOp) watched() (chan<- Event, WatchKind) { return nil, 0 }
func (o SetACLOp) check() error                       { return badArgument("a SetACLOp outside a Batch") }

func (o SetACLOp) add(c *call, chroot string) error {
	if err := checkPath(o.Path, false); err != nil {
		return err
	}
	if len(o.ACL) == 0 {
		return ErrInvalidACL
	}
	c.frame(wire.OpSetACL, wire.SetACLRequest{Path: zpath.Join(chroot, o.Path), ACL: o.ACL.wire(), Version: o.Version})
	return nil
}

func (o SetACLOp) decode(b *batch, i int, d *wire.Decoder) { b.res[i].Stat.decode(d) }

func (o SyncOp) describe() (string, string)         { return "sync", o.Path }
func (o SyncOp) kind() *kind                        { return &kindSync }
func (o SyncOp) result() wire.Op                    { return wire.OpSync }
func (o SyncOp) watched() (chan<- Event, WatchKind) { return nil, 0 }
func (o SyncOp) check() error                       { return badArgument("a SyncOp outside a Batch") }
func (o SyncOp) decode(*batch, int, *wire.Decoder)  {}

func (o SyncOp) add(c *call, chroot string) error { return c.addPath(wire.OpSync, chroot, o.Path) }

// addPath checks and frames a request that is a path alone for a Batch.
func (c *call) addPath(op wire.Op, chroot, path string) error {
	if err := checkPath(path, false); err != nil {
		return err
	}
	c.frame(op, wire.PathRequest{Path: zpath.Join(chroot, path)})
	return nil
}

// CheckPath returns what is wrong with a path, as an error that matches ErrBadPath, or
// nil. Every call checks its paths in the same way, before a byte is written.
func CheckPath(path string) error { return checkPath(path, false) }
