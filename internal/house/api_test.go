package house

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"go/constant"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pkgerrors "github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/sasl"
)

// The contract that applications compile against. What is written here must
// not change; TestAPI keeps the list of all the rest.
var (
	_ func(context.Context, zk.Config) (*zk.Session, error) = zk.Dial
	_ func(string) (zk.Config, error)                       = zk.ParseConfig
	_ func(string, string) zk.Auth                          = zk.Digest
	_ func(zk.Config) zk.Config                             = zk.Config.Renew
	_ func(time.Duration) zk.Mode                           = zk.TTL
	_ func(time.Duration) zk.Mode                           = zk.SequentialTTL

	_ func(*zk.Session) zk.Config                                                                  = (*zk.Session).Config
	_ func(*zk.Session, context.Context) (*zk.Session, error)                                      = (*zk.Session).Redial
	_ func(*zk.Session, context.Context) (*zk.Session, error)                                      = (*zk.Session).Renew
	_ func(*zk.Session) zk.Config                                                                  = (*zk.Session).Detach
	_ func(*zk.Session) error                                                                      = (*zk.Session).Close
	_ func(*zk.Session) <-chan struct{}                                                            = (*zk.Session).Done
	_ func(*zk.Session) error                                                                      = (*zk.Session).Err
	_ func(*zk.Session) int64                                                                      = (*zk.Session).ID
	_ func(*zk.Session) int64                                                                      = (*zk.Session).Zxid
	_ func(*zk.Session) time.Duration                                                              = (*zk.Session).Timeout
	_ func(*zk.Session) string                                                                     = (*zk.Session).Addr
	_ func(*zk.Session) bool                                                                       = (*zk.Session).ReadOnly
	_ func(*zk.Session) time.Time                                                                  = (*zk.Session).ExpiresAt
	_ func(*zk.Session) zk.Stats                                                                   = (*zk.Session).Stats
	_ func(*zk.Session, context.Context, zk.Auth) error                                            = (*zk.Session).AddAuth
	_ func(*zk.Session, context.Context) ([]zk.AuthInfo, error)                                    = (*zk.Session).WhoAmI
	_ func(*zk.Session, context.Context, string) error                                             = (*zk.Session).Sync
	_ func(*zk.Session, context.Context, string, int32) error                                      = (*zk.Session).Delete
	_ func(*zk.Session, context.Context, string) ([]string, error)                                 = (*zk.Session).Ephemerals
	_ func(*zk.Session, context.Context, string) (int, error)                                      = (*zk.Session).AllChildrenNumber
	_ func(*zk.Session, context.Context, string, []byte, zk.Mode, zk.ACL) (string, error)          = (*zk.Session).Create
	_ func(*zk.Session, context.Context, string, []byte, zk.Mode, zk.ACL) (string, zk.Stat, error) = (*zk.Session).CreateStat
	_ func(*zk.Session, context.Context, string, chan<- zk.Event) ([]byte, zk.Stat, error)         = (*zk.Session).Get
	_ func(*zk.Session, context.Context, string, chan<- zk.Event) (bool, zk.Stat, error)           = (*zk.Session).Exists
	_ func(*zk.Session, context.Context, string, chan<- zk.Event) ([]string, zk.Stat, error)       = (*zk.Session).Children
	_ func(*zk.Session, context.Context, string, []byte, int32) (zk.Stat, error)                   = (*zk.Session).Set
	_ func(*zk.Session, context.Context, string) (zk.ACL, zk.Stat, error)                          = (*zk.Session).GetACL
	_ func(*zk.Session, context.Context, string, zk.ACL, int32) (zk.Stat, error)                   = (*zk.Session).SetACL
	_ func(*zk.Session, context.Context, string, zk.WatchMode, chan<- zk.Event) error              = (*zk.Session).AddWatch
	_ func(*zk.Session, context.Context, string, chan<- zk.Event) error                            = (*zk.Session).RemoveWatch
	_ func(*zk.Session, context.Context, chan<- zk.Event) ([]byte, zk.Stat, error)                 = (*zk.Session).GetConfig
	_ func(*zk.Session, context.Context, zk.Reconfig) ([]byte, zk.Stat, error)                     = (*zk.Session).Reconfig
	_ func(*zk.Session, context.Context, ...zk.WriteOp) ([]zk.Result, error)                       = (*zk.Session).Multi
	_ func(*zk.Session, context.Context, ...zk.ReadOp) ([]zk.Result, error)                        = (*zk.Session).MultiRead
	_ func(*zk.Session, context.Context, ...zk.Op) ([]zk.Result, error)                            = (*zk.Session).Batch

	_ func(*zk.Watches) []zk.Watch                            = (*zk.Watches).List
	_ func(*zk.Watches) int                                   = (*zk.Watches).Len
	_ func(*zk.Watches) int                                   = (*zk.Watches).Undelivered
	_ func(*zk.Watches, func(zk.Watch) chan<- zk.Event) error = (*zk.Watches).Rebind
	_ func(*zk.Watches) ([]byte, error)                       = (*zk.Watches).MarshalJSON
	_ func(*zk.Watches, []byte) error                         = (*zk.Watches).UnmarshalJSON
	_ func(*zk.OpError) zk.Outcome                            = (*zk.OpError).Outcome
	_ interface{ Unwrap() error }                             = (*zk.OpError)(nil)
	_ interface{ Cause() error }                              = (*zk.OpError)(nil)
	_ fmt.Formatter                                           = zk.Config{}
	_ slog.LogValuer                                          = zk.Config{}
	_ interface{ MarshalJSON() ([]byte, error) }              = zk.Config{}
	_ interface{ MarshalJSON() ([]byte, error) }              = zk.State{}
	_ interface{ UnmarshalJSON([]byte) error }                = &zk.State{}
)

// Structs whose fields, with their types and order, are the contract.
type (
	accessFields = struct {
		Perms      zk.Permission
		Scheme, ID string
	}
	statFields = struct {
		Czxid, Mzxid                int64
		Ctime, Mtime                int64
		Version, Cversion, Aversion int32
		EphemeralOwner              int64
		DataLength, NumChildren     int32
		Pzxid                       int64
	}
)

var (
	_ = zk.Config{
		Addrs: []string(nil), Chroot: "", Timeout: time.Duration(0), Auth: []zk.Auth(nil), SASL: sasl.Mechanism(nil), TLS: (*tls.Config)(nil), ReadOnly: false,
		DialContext: (func(context.Context, string, string) (net.Conn, error))(nil), Wrap: (func(string, net.Conn) net.Conn)(nil),
		MaxRequest: int(0), MaxReply: int(0), MaxInFlight: int(0), Logger: (*slog.Logger)(nil), Trace: (*zk.Trace)(nil),
		State: zk.State{ID: int64(0), Password: []byte(nil), Zxid: int64(0), Watches: (*zk.Watches)(nil)},
	}
	_ = zk.Auth(struct {
		Scheme     string
		Credential []byte
	}{})
	_ = zk.Access(accessFields{})
	_ = zk.ACL([]zk.Access{})
	_ = zk.Stat(statFields{})
	_ = zk.Event(struct {
		Type zk.EventType
		Path string
		Zxid int64
	}{})
	_ = zk.Watch(struct {
		Path    string
		Kind    zk.WatchKind
		Channel int
		Fired   bool
		Len,
		Cap int
	}{})
	_ = zk.Result(struct {
		Path     string
		Data     []byte
		Children []string
		ACL      zk.ACL
		Stat     zk.Stat
		Err      error
	}{})
	_ = zk.AuthInfo(struct{ Scheme, User string }{})
	_ = zk.Reconfig(struct {
		Join, Leave, Members []string
		Version              int64
	}{})
	_ zk.WriteOp = zk.CreateOp(struct {
		Path string
		Data []byte
		Mode zk.Mode
		ACL  zk.ACL

		WantStat bool
	}{})
	_ zk.WriteOp = zk.SetOp(struct {
		Path    string
		Data    []byte
		Version int32
	}{})
	_ zk.WriteOp = zk.DeleteOp(struct {
		Path    string
		Version int32
	}{})
	_ zk.WriteOp = zk.CheckOp(struct {
		Path    string
		Version int32
	}{})
	_ zk.ReadOp = zk.GetOp(struct {
		Path  string
		Watch chan<- zk.Event
	}{})
	_ zk.ReadOp = zk.ChildrenOp(struct {
		Path  string
		Watch chan<- zk.Event
	}{})
	_ zk.Op = zk.ExistsOp(struct {
		Path  string
		Watch chan<- zk.Event
	}{})
	_ zk.Op = zk.GetACLOp(struct{ Path string }{})
	_ zk.Op = zk.SetACLOp(struct {
		Path    string
		ACL     zk.ACL
		Version int32
	}{})
	_ zk.Op = zk.SyncOp(struct{ Path string }{})
	_ zk.Op = zk.WriteOp(nil)
	_ zk.Op = zk.ReadOp(nil)
	_       = zk.Stats{}
	_       = zk.OpError{Op: "", Path: "", Err: error(nil)}

	_ []zk.ACL = []zk.ACL{zk.ACLOpen, zk.ACLReadOnly, zk.ACLCreator}
)

// Kinds of the named types.
const (
	_ = int64(zk.Mode(0))
	_ = int32(zk.Permission(0))
	_ = int32(zk.EventType(0))
	_ = int(zk.WatchKind(0))
	_ = int32(zk.Code(0))

	_ zk.Mode       = zk.Persistent | zk.Ephemeral | zk.PersistentSequential | zk.EphemeralSequential | zk.Container
	_ zk.Permission = zk.PermRead | zk.PermWrite | zk.PermCreate | zk.PermDelete | zk.PermAdmin | zk.PermAll
	_ zk.EventType  = zk.Created | zk.Deleted | zk.Changed | zk.Child | zk.Gap
	_ zk.WatchKind  = zk.DataWatch | zk.ExistsWatch | zk.ChildWatch | zk.PersistentWatch | zk.RecursiveWatch
	_ zk.WatchMode  = zk.WatchPersistent | zk.WatchRecursive
	_ zk.Outcome    = zk.Answered | zk.NotSent | zk.Lost

	_ time.Duration = zk.DefaultTimeout
	_ string        = zk.DefaultAddr
)

func TestConstants(t *testing.T) {
	for code, n := range map[zk.Code]int32{
		zk.ErrSystem: -1, zk.ErrRuntimeInconsistency: -2, zk.ErrDataInconsistency: -3, zk.ErrMarshalling: -5, zk.ErrUnimplemented: -6,
		zk.ErrBadArguments: -8, zk.ErrNewConfigNoQuorum: -13, zk.ErrReconfigInProgress: -14, zk.ErrNoNode: -101, zk.ErrNoAuth: -102,
		zk.ErrVersion: -103, zk.ErrNoChildrenForEphemerals: -108, zk.ErrExists: -110, zk.ErrNotEmpty: -111, zk.ErrSessionExpired: -112,
		zk.ErrInvalidACL: -114, zk.ErrAuthFailed: -115, zk.ErrSessionMoved: -118, zk.ErrNotReadOnly: -119, zk.ErrEphemeralOnLocalSession: -120,
		zk.ErrNoWatcher: -121, zk.ErrReconfigDisabled: -123, zk.ErrSASLRequired: -124, zk.ErrQuotaExceeded: -125, zk.ErrThrottled: -127,
	} {
		assert.Equal(t, int32(code), n)
		assert.Assert(t, !strings.Contains(code.Error(), fmt.Sprint(n)), "a known code is told by name: %v", code)
	}
	assert.Assert(t, strings.Contains(zk.Code(-12345).Error(), "-12345"))
	assert.Equal(t, zk.Created, zk.EventType(1))
	assert.Equal(t, zk.Deleted, zk.EventType(2))
	assert.Equal(t, zk.Changed, zk.EventType(3))
	assert.Equal(t, zk.Child, zk.EventType(4))
	assert.Equal(t, zk.DefaultTimeout, 10*time.Second)
	assert.Equal(t, zk.DefaultAddr, "127.0.0.1:2181")
	assert.Equal(t, zk.PermAll, zk.PermRead|zk.PermWrite|zk.PermCreate|zk.PermDelete|zk.PermAdmin)
	assert.Equal(t, zk.TTL(1500*time.Microsecond), zk.TTL(2*time.Millisecond)) // rounded up
	assert.Assert(t, zk.TTL(time.Second) != zk.SequentialTTL(time.Second))

	// Some are for a Batch only, and no op is both read and write.
	for _, op := range []zk.Op{zk.CreateOp{}, zk.SetOp{}, zk.DeleteOp{}, zk.CheckOp{}, zk.GetOp{}, zk.ChildrenOp{}} {
		_, write := op.(zk.WriteOp)
		_, read := op.(zk.ReadOp)
		assert.Assert(t, write != read, "%T", op)
	}
	for _, op := range []zk.Op{zk.ExistsOp{}, zk.GetACLOp{}, zk.SetACLOp{}, zk.SyncOp{}} {
		_, write := op.(zk.WriteOp)
		_, read := op.(zk.ReadOp)
		assert.Assert(t, !write && !read, "%T", op)
	}
}

// Sentinels are small comparable values, and no two of them match.
func TestSentinels(t *testing.T) {
	all := []error{
		zk.ErrConnection, zk.ErrNotSent, zk.ErrLost, zk.ErrExpired, zk.ErrMoved, zk.ErrAuth, zk.ErrClosed, zk.ErrProtocol,
		zk.ErrTooLarge, zk.ErrBadPath, zk.ErrSlowConsumer, zk.ErrNoServer, zk.ErrNoNode, zk.ErrSessionExpired, io.EOF,
	}
	for i, a := range all {
		for j, b := range all {
			bridge := a == zk.ErrExpired && b == zk.ErrSessionExpired // an expired session is one by either name
			assert.Equal(t, errors.Is(a, b), i == j || bridge, "%v, %v", a, b)
			assert.Equal(t, a == b, i == j)
		}
	}
	assert.ErrorIs(t, zk.ErrAuthFailed, zk.ErrAuth)
	assert.ErrorIs(t, zk.ErrSASLRequired, zk.ErrAuth)
}

func TestOpError(t *testing.T) {
	err := &zk.OpError{Op: "get", Path: "/a", Err: zk.ErrNoNode}
	assert.Equal(t, err.Outcome(), zk.Answered)
	assert.Equal(t, pkgerrors.Cause(err), error(zk.ErrNoNode))
	assert.Equal(t, errors.Unwrap(err), error(zk.ErrNoNode))
	for _, part := range []string{"get", "/a", zk.ErrNoNode.Error()} {
		assert.ErrorContains(t, err, part)
	}
	assert.Equal(t, strings.Count(err.Error(), "zk: "), 1)
	assert.Equal(t, fmt.Sprint(zk.Answered, zk.NotSent, zk.Lost), "answered not sent lost")
}

// TestAPI keeps testdata/api.txt, the list of all that is exported, and those of
// recipe and tree beside it.
// go test -run TestAPI ./internal/house -update writes them again.
func TestAPI(t *testing.T) {
	suite.ToRoot(t)
	for _, p := range []struct{ path, golden string }{
		{module, "api.txt"}, {module + "/recipe", "api-recipe.txt"}, {module + "/tree", "api-tree.txt"},
	} {
		got := exportedAPI(t, p.path)
		golden := filepath.Join("testdata", p.golden)
		if flag.Lookup("update").Value.(flag.Getter).Get().(bool) { // a flag of gotest.tools
			assert.NilError(t, os.WriteFile(golden, []byte(got), 0o644))
		}
		want, err := os.ReadFile(golden)
		assert.NilError(t, err)
		assert.Equal(t, got, string(want), "the exported API has changed: tell it in CHANGELOG.md and run go test -run TestAPI ./internal/house -update")
	}
}

// What is exported mentions no type that a reader of the documentation cannot look up.
func TestNoHiddenTypes(t *testing.T) {
	suite.ToRoot(t)
	var paths []string
	for _, path := range strings.Fields(string(goCommand(t, "list", "-f", `{{if and .GoFiles (ne .Name "main")}}{{.ImportPath}}{{end}}`, "./..."))) {
		if !strings.Contains(path, "/internal/") {
			paths = append(paths, path)
		}
	}
	assert.Assert(t, len(paths) >= 10, "%v", paths)
	load := importing(t, paths...)
	for _, path := range paths {
		pkg := load(path)
		for _, name := range pkg.Scope().Names() {
			obj := pkg.Scope().Lookup(name)
			if _, sentinel := obj.(*types.Const); sentinel || !obj.Exported() {
				continue
			}
			if h := hidden(obj.Type()); h != "" {
				t.Errorf("%s.%s has the type %s", path, name, h)
			}
			named, ok := types.Unalias(obj.Type()).(*types.Named)
			if _, isType := obj.(*types.TypeName); !ok || !isType {
				continue
			}
			for m := range named.Methods() {
				if h := hidden(m.Type()); h != "" && m.Exported() {
					t.Errorf("%s.%s.%s has the type %s", path, name, m.Name(), h)
				}
			}
			if st, ok := named.Underlying().(*types.Struct); ok {
				for f := range st.Fields() {
					if h := hidden(f.Type()); h != "" && f.Exported() {
						t.Errorf("%s.%s.%s has the type %s", path, name, f.Name(), h)
					}
				}
			}
		}
	}
}

// hidden returns an unexported type that a type mentions by name, or "".
func hidden(typ types.Type) string {
	switch x := types.Unalias(typ).(type) {
	case *types.Named:
		if obj := x.Obj(); obj.Pkg() != nil && !obj.Exported() {
			return obj.Name()
		}
		for arg := range x.TypeArgs().Types() {
			if h := hidden(arg); h != "" {
				return h
			}
		}
	case *types.Map:
		return hidden(x.Key()) + hidden(x.Elem())
	case interface{ Elem() types.Type }: // a pointer, slice, array or channel
		return hidden(x.Elem())
	case *types.Signature:
		for _, list := range []*types.Tuple{x.Params(), x.Results()} {
			for v := range list.Variables() {
				if h := hidden(v.Type()); h != "" {
					return h
				}
			}
		}
	}
	return ""
}

// importing returns a function that loads a package as others see it.
func importing(t *testing.T, paths ...string) func(path string) *types.Package {
	exports := make(map[string]string)
	for line := range strings.Lines(string(goCommand(t, append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"}, paths...)...))) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		exports[path] = file
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return func(path string) *types.Package {
		pkg, err := imp.Import(path)
		assert.NilError(t, err)
		return pkg
	}
}

// exportedAPI lists a package's exported names with their types, sorted.
func exportedAPI(t *testing.T, path string) string {
	pkg := importing(t, path)(path)
	qualify := func(p *types.Package) string {
		if p == pkg {
			return ""
		}
		return p.Path()
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		switch obj := obj.(type) {
		case *types.Const:
			value := obj.Val().ExactString()
			if obj.Val().Kind() == constant.String {
				value = constant.StringVal(obj.Val())
			}
			add("const %s %s = %s", name, types.TypeString(obj.Type(), qualify), value)
		case *types.TypeName:
			add("type %s %s", name, typeOutline(obj.Type().Underlying(), qualify))
			if st, ok := obj.Type().Underlying().(*types.Struct); ok {
				for f := range st.Fields() {
					if f.Exported() {
						add("type %s, field %s %s", name, f.Name(), types.TypeString(f.Type(), qualify))
					}
				}
			}
			if named, ok := obj.Type().(*types.Named); ok {
				for m := range named.Methods() {
					if m.Exported() {
						add("%s", types.ObjectString(m, qualify))
					}
				}
			}
		default:
			add("%s", types.ObjectString(obj, qualify))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// typeOutline describes what stands behind a type's name.
func typeOutline(typ types.Type, qualify types.Qualifier) string {
	switch typ := typ.(type) {
	case *types.Struct:
		return "struct"
	case *types.Interface:
		return "interface"
	default:
		return types.TypeString(typ, qualify)
	}
}
