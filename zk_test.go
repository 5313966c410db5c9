package zk_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if !suite.RealServers {
		fmt.Println("real ZooKeeper servers were not run: use make test")
	}
	os.Exit(suite.RunTests(m, matrix.report))
}

// The matrix of operations and releases: each operation is used on each server,
// whether that knows it or not, and README.md's table is what came of it.

// operation is a row of the matrix.
type operation struct {
	name   string // as README.md has it
	method string // of Session; empty: no row of its own
	since  string // the first release that knows it
	run    func(e *suite.Env, s *zk.Session) error

	ensembles bool    // one server alone cannot do it
	op        string  // as its error names it, where the server does not know it
	refusal   zk.Code // the answer then; zero: ErrUnimplemented, which ends the connection
	switched  bool    // ErrUnimplemented may also mean that it is switched off, and then ends nothing
	silent    bool    // an older server does not even refuse it
}

// version returns the first version of in-process servers that has it.
func (o operation) version() zktest.Version { return suite.Minor(o.since) }

// operations use each operation once.
var operations = []operation{
	{name: "`Create`", method: "Create", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		_, err := s.Create(e.Ctx, e.Root+"/create", nil, zk.EphemeralSequential, zk.ACLOpen)
		return err
	}},
	{name: "`Get`", method: "Get", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf2(s.Get(e.Ctx, e.Root, nil))
	}},
	{name: "`Exists`", method: "Exists", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf2(s.Exists(e.Ctx, e.Root, nil))
	}},
	{name: "`Children`", method: "Children", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf2(s.Children(e.Ctx, e.Root, nil))
	}},
	{name: "`Set`", method: "Set", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.Set(e.Ctx, e.Root, nil, zk.AnyVersion))
	}},
	{name: "`Delete`", method: "Delete", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return s.Delete(e.Ctx, e.Create(s, e.Root+"/delete", ""), 0)
	}},
	{name: "`Sync`", method: "Sync", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return s.Sync(e.Ctx, e.Root)
	}},
	{name: "`GetACL`", method: "GetACL", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf2(s.GetACL(e.Ctx, e.Root))
	}},
	{name: "`SetACL`", method: "SetACL", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.SetACL(e.Ctx, e.Root, zk.ACLOpen, zk.AnyVersion))
	}},
	{name: "`AddAuth`", method: "AddAuth", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return s.AddAuth(e.Ctx, zk.Digest("user", "secret"))
	}},
	{name: "`Batch` (pipelined requests)", method: "Batch", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		path := e.Root + "/batch"
		return suite.ErrOf(s.Batch(e.Ctx, zk.CreateOp{Path: path, ACL: zk.ACLOpen}, zk.CheckOp{Path: path}, zk.SetOp{Path: path}, zk.GetOp{Path: path},
			zk.ExistsOp{Path: path}, zk.GetACLOp{Path: path}, zk.SetACLOp{Path: path, ACL: zk.ACLOpen}, zk.SyncOp{Path: path},
			zk.ChildrenOp{Path: path}, zk.DeleteOp{Path: path, Version: 1}))
	}},
	{name: "`Multi` of `SetOp`, `DeleteOp`, `CheckOp`", method: "Multi", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		path := e.Create(s, e.Root+"/multi", "")
		return suite.ErrOf(s.Multi(e.Ctx, zk.CheckOp{Path: path}, zk.SetOp{Path: path}, zk.DeleteOp{Path: path, Version: 1}))
	}},
	{name: "`Multi` with a `CreateOp`", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.Multi(e.Ctx, zk.CreateOp{Path: e.Root + "/multi", ACL: zk.ACLOpen}))
	}},
	{name: "`RemoveWatch` of a one-shot watch", method: "RemoveWatch", since: "3.4", run: func(e *suite.Env, s *zk.Session) error {
		ch := make(chan zk.Event, 1)
		e.Watch(s, e.Root, ch)
		if err := s.RemoveWatch(e.Ctx, e.Root, ch); err != nil {
			return err
		}
		e.Set(s, e.Root, "")
		return differs(len(ch), 0)
	}},
	{name: "`CreateStat`", method: "CreateStat", since: "3.5.0", op: "create", run: func(e *suite.Env, s *zk.Session) error {
		_, st, err := s.CreateStat(e.Ctx, e.Root+"/stat", nil, zk.Persistent, zk.ACLOpen)
		return cmpErr(err, func() error { return differs(st.Czxid, s.Zxid()) })
	}},
	{name: "`GetConfig`", method: "GetConfig", since: "3.5.0", op: "getconfig", refusal: zk.ErrNoNode, run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf2(s.GetConfig(e.Ctx, nil))
	}},
	{name: "`Reconfig`, where the server has reconfigEnabled", method: "Reconfig", since: "3.5.0", op: "reconfig", ensembles: true, switched: true, run: func(e *suite.Env, s *zk.Session) error {
		if !e.Knows(zktest.V35) {
			return suite.ErrOf2(s.Reconfig(e.Ctx, zk.Reconfig{Leave: []string{"9"}, Version: -1}))
		}
		// The members as they are: nothing changes but the version.
		config, _, err := s.GetConfig(e.Ctx, nil)
		if err != nil {
			return err
		}
		if err := s.AddAuth(e.Ctx, zk.Auth{Scheme: "digest", Credential: []byte(apache.SuperCredential)}); err != nil {
			return err
		}
		return suite.ErrOf2(s.Reconfig(e.Ctx, zk.Reconfig{Join: suite.ConfigServers(config)[:1], Version: -1}))
	}},
	{name: "`Create` of containers", since: "3.5.1", op: "create", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.Create(e.Ctx, e.Root+"/container", nil, zk.Container, zk.ACLOpen))
	}},
	{name: "`Create` with a TTL, where the server has extendedTypesEnabled", since: "3.5.3", op: "create", switched: true, run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.Create(e.Ctx, e.Root+"/ttl", nil, zk.TTL(time.Hour), zk.ACLOpen))
	}},
	{name: "`AddWatch`: persistent and recursive watches; `RemoveWatch` of one", method: "AddWatch", since: "3.6.0", op: "addwatch", run: func(e *suite.Env, s *zk.Session) error {
		for _, x := range []struct {
			mode zk.WatchMode
			want zk.EventType
		}{{zk.WatchPersistent, zk.Child}, {zk.WatchRecursive, zk.Created}} {
			path, ch := fmt.Sprintf("%s/add%d", e.Root, x.mode), make(chan zk.Event, 9)
			e.Create(s, path, "")
			if err := s.AddWatch(e.Ctx, path, x.mode, ch); err != nil {
				return err
			}
			e.Create(s, path+"/a", "")
			e.Create(s, path+"/b", "")
			for range 2 {
				if err := differs((<-ch).Type, x.want); err != nil {
					return err
				}
			}
			if err := s.RemoveWatch(e.Ctx, path, ch); err != nil {
				return err
			}
			e.Create(s, path+"/c", "")
			if err := differs(len(ch), 0); err != nil {
				return err
			}
		}
		return nil
	}},
	{name: "`MultiRead`", method: "MultiRead", since: "3.6.0", op: "multiread", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.MultiRead(e.Ctx, zk.GetOp{Path: e.Root}, zk.ChildrenOp{Path: e.Root}))
	}},
	{name: "`Ephemerals`", method: "Ephemerals", since: "3.6.0", op: "ephemerals", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.Ephemerals(e.Ctx, "/"))
	}},
	{name: "`AllChildrenNumber`", method: "AllChildrenNumber", since: "3.6.0", op: "allchildrennumber", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.AllChildrenNumber(e.Ctx, e.Root))
	}},
	{name: "`WhoAmI`", method: "WhoAmI", since: "3.7.0", op: "whoami", run: func(e *suite.Env, s *zk.Session) error {
		return suite.ErrOf(s.WhoAmI(e.Ctx))
	}},
	{name: "`Event.Zxid`", since: "3.9.0", silent: true, run: func(e *suite.Env, s *zk.Session) error {
		ch := make(chan zk.Event, 1)
		e.Watch(s, e.Root, ch)
		st := e.Set(s, e.Root, "")
		want := st.Mzxid
		if !e.Knows(zktest.V39) {
			want = 0
		}
		return differs((<-ch).Zxid, want)
	}},
}

func cmpErr(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

func differs[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("%v where %v was due", got, want)
	}
	return nil
}

// Each operation works on the servers that know it. One that does not says so:
// that costs the connection, not the session.
func TestOperations(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			suite.On(t, func(b suite.Backend) bool { return !o.ensembles || b.Members > 1 }, func(t *testing.T, e *suite.Env) {
				known := e.Knows(o.version())
				if known || o.silent {
					assert.NilError(t, o.run(e, e.Session()))
				} else {
					refuses(e, o)
				}
				if e.Real() {
					matrix.note(o.name, e.Release, known)
				}
			})
		})
	}
}

// refuses checks what becomes of an operation that the server does not know.
func refuses(e *suite.Env, o operation) {
	t := e.T
	t.Helper()
	s := e.Session()
	eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
	assert.NilError(t, err)
	ch := make(chan zk.Event, 1)
	e.Watch(s, eph, ch)
	err = o.run(e, s)
	var op *zk.OpError
	assert.Assert(t, errors.As(err, &op), "%T %v", err, err)
	assert.Equal(t, op.Op, o.op)
	assert.ErrorContains(t, err, o.op)
	assert.Equal(t, op.Outcome(), zk.Answered, "%v", err)
	if o.refusal != 0 {
		assert.ErrorIs(t, err, o.refusal)
		assert.Assert(t, !errors.Is(err, zk.ErrConnection), "%v", err)
		e.Set(s, eph, "")
		e.Ready(ch, zk.Changed, eph)
		assert.NilError(t, s.Err())
		return
	}
	assert.ErrorIs(t, err, zk.ErrUnimplemented)
	assert.Equal(t, errors.Is(err, zk.ErrConnection), !o.switched, "%v", err)
	suite.Await(t, s.Done())
	assert.ErrorIs(t, s.Err(), zk.ErrConnection)
	next := e.Move(s)
	assert.Equal(t, next.ID(), s.ID())
	found, st, err := next.Exists(e.Ctx, eph, nil)
	assert.NilError(t, err)
	assert.Assert(t, found && st.EphemeralOwner == s.ID(), "%v %+v", found, st)
	e.Set(next, eph, "")
	e.Ready(ch, zk.Changed, eph)
}

// matrix is what has run on real servers.
var matrix = runs{ops: map[string]map[apache.Release]bool{}}

type runs struct {
	mu     sync.Mutex
	ops    map[string]map[apache.Release]bool // whether the release knows it
	passed map[apache.Release]int             // tests of the behaviour suite
}

func (r *runs) note(name string, release apache.Release, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ops[name] == nil {
		r.ops[name] = map[apache.Release]bool{}
	}
	r.ops[name][release] = known
}

// releases returns those that anything ran on, oldest first.
func (r *runs) releases() []apache.Release {
	list := slices.Clone(apache.Releases())
	slices.Reverse(list)
	return slices.DeleteFunc(list, func(x apache.Release) bool { return r.passed[x] == 0 })
}

// table returns the matrix as README.md has it. A cell is empty where nothing
// ran.
func (r *runs) table() string {
	releases := r.releases()
	rows := [][]string{{"Operation", "Since"}, {"---", "---"}}
	for _, x := range releases {
		rows[0] = append(rows[0], string(x))
		rows[1] = append(rows[1], ":-:")
	}
	for _, o := range operations {
		row := []string{o.name, o.since}
		for _, x := range releases {
			known, ran := r.ops[o.name][x]
			switch {
			case known:
				row = append(row, "yes")
			case ran:
				row = append(row, "-")
			default:
				row = append(row, "")
			}
		}
		rows = append(rows, row)
	}
	var b strings.Builder
	for i, row := range rows {
		for j, cell := range row {
			width := 0
			for _, other := range rows {
				width = max(width, len(other[j]))
			}
			fill := " "
			if i == 1 {
				fill = "-"
			}
			if pad := strings.Repeat(fill, width-len(cell)); cell == ":-:" {
				cell = ":-" + pad + ":"
			} else {
				cell += pad
			}
			fmt.Fprintf(&b, "| %s ", cell)
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// report prints the matrix, if real servers were run, and says what is wrong
// with README.md after a run of all operations on all releases.
func (r *runs) report() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ops) == 0 {
		return nil
	}
	r.passed = suite.PassedOn()
	table := r.table()
	fmt.Printf("\nWhat ran on real servers: yes where it works, - where the server says that it does not know it.\n\n%s\n", table)
	for _, x := range r.releases() {
		fmt.Printf("ZooKeeper %s: %d tests of the behaviour suite passed\n", x, r.passed[x])
	}
	if len(r.releases()) < len(apache.Releases()) || len(r.ops) < len(operations) {
		return nil
	}
	text, err := os.ReadFile("README.md")
	if err == nil && !strings.Contains(string(text), "\n"+table) {
		err = errors.New("the table in README.md is another one: put the one above there")
	}
	return err
}

// README.md's table has the operations as they are here, and says of each
// release what follows from them. That it is true is found out by a run on all
// releases.
func TestReadmeOperations(t *testing.T) {
	all := runs{ops: map[string]map[apache.Release]bool{}, passed: map[apache.Release]int{}}
	for _, x := range apache.Releases() {
		all.passed[x]++
		for _, o := range operations {
			all.note(o.name, x, suite.Minor(string(x)) >= o.version())
		}
	}
	text, err := os.ReadFile("README.md")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(text), "\n"+all.table()), "README.md has another table than\n%s", all.table())
}

// The matrix has every operation.
func TestOperationsAreComplete(t *testing.T) {
	methods := make(map[string]bool)
	for _, o := range operations {
		methods[o.method] = true
	}
	ctx, session := reflect.TypeFor[context.Context](), reflect.TypeFor[*zk.Session]()
	for i := range session.NumMethod() {
		// Operations are what takes a context and does not give a Session.
		m := session.Method(i)
		if m.Type.NumIn() < 2 || m.Type.In(1) != ctx || m.Type.Out(0) == session {
			continue
		}
		assert.Check(t, methods[m.Name], "no operation %s", m.Name)
		delete(methods, m.Name)
	}
	delete(methods, "")
	assert.Assert(t, len(methods) == 0, "%v are no methods", slices.Sorted(maps.Keys(methods)))
}

// What is refused before a byte of it is sent, of all operations.

// silently runs f and fails if the Session wrote a byte, armed a watch or ended
// meanwhile. A ping is too far off to come in between.
func silently(e *suite.Env, s *zk.Session, l *suite.Link, f func()) {
	e.T.Helper()
	sent, _ := l.Traffic()
	before := s.Stats()
	for end := time.Now().Add(suite.Patience); before.BytesSent != sent; before = s.Stats() { // a write may still be returning
		assert.Assert(e.T, time.Now().Before(end), "%+v, and %d bytes were sent", before, sent)
		time.Sleep(time.Millisecond)
	}
	f()
	after := s.Stats()
	now, _ := l.Traffic()
	assert.Equal(e.T, now, sent, "bytes were written")
	after.Calls, after.Failed, after.Abandoned = before.Calls, before.Failed, before.Abandoned
	assert.Equal(e.T, after, before)
	_, _, err := s.Get(e.Ctx, "/", nil)
	assert.NilError(e.T, err)
	assert.NilError(e.T, s.Err())
}

// linkedQuietly is linked with a session that pings seldom.
func linkedQuietly(e *suite.Env) (*zk.Session, *suite.Link) {
	conf, l := e.Config()
	conf.Timeout = time.Minute
	return e.Dial(conf), l
}

// The rules of PathUtils.
var badPaths = []string{
	"", "a", "a/b", " /a", "/a/", "//", "//a", "/a//b", "/a/b//", "/.", "/..", "/./a", "/a/.", "/a/./b", "/a/..", "/a/../b",
	"/a\x00b", "/\x00", "/a\x01", "/\x1f", "/\n", "/\x7f", "/\u0080", "/\u009f", "/\ue000", "/\uf8ff", "/\ufff0", "/\ufffd", "/\uffff",
	"/\U0001f600", "/a/\U00010000b", "/\xff", "/a\xc3", "/\xed\xa0\x80", "/\xc0\xaf",
}

var goodPaths = []string{
	"/...", "/..a", "/a..", "/.a", "/a.", "/ ", "/a b", "/a\\b", "/~", "/\u00a0", "/äöü", "/\ud7ff", "/\uf900", "/\uffef", "/日本", "/{[(", "/%2f",
}

func TestBadPath(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		silently(e, s, l, func() {
			for _, path := range badPaths {
				suite.OnPath(func(_ string, do func(context.Context, *zk.Session, string) error) {
					err := do(e.Ctx, s, path)
					suite.WantUnsent(t, err, zk.ErrBadPath)
					var op *zk.OpError
					assert.Assert(t, errors.As(err, &op))
					assert.Equal(t, op.Path, path)
				})
				suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, path+"/x/./y", nil, zk.PersistentSequential, zk.ACLOpen)), zk.ErrBadPath)
				if path != "" && path != "/a/b//" {
					_, err := s.Ephemerals(e.Ctx, path+"/x")
					suite.WantUnsent(t, err, zk.ErrBadPath)
				}
			}
		})
		for _, path := range goodPaths { // the server agrees
			path = e.Root + path
			e.Create(s, path, "")
			_, _, err := s.Get(e.Ctx, path, nil)
			assert.NilError(t, err)
			res, err := s.Multi(e.Ctx, zk.CheckOp{Path: path}, zk.DeleteOp{Path: path})
			assert.NilError(t, err)
			assert.Equal(t, len(res), 2)
		}
	})
}

// Only a sequential create may end in a slash, and only in one.
func TestBadSequentialPath(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		silently(e, s, l, func() {
			for _, path := range []string{"", "x", "//", e.Root + "//", e.Root + "/./", e.Root + "/../x", e.Root + "/\x00"} {
				for _, mode := range []zk.Mode{zk.PersistentSequential, zk.EphemeralSequential, zk.SequentialTTL(time.Hour)} {
					suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, path, nil, mode, zk.ACLOpen)), zk.ErrBadPath)
					_, err := s.Multi(e.Ctx, zk.CreateOp{Path: path, Mode: mode, ACL: zk.ACLOpen})
					suite.WantUnsent(t, err, zk.ErrBadPath)
				}
			}
			for _, mode := range []zk.Mode{zk.Persistent, zk.Ephemeral, zk.Container, zk.TTL(time.Hour)} {
				suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, e.Root+"/", nil, mode, zk.ACLOpen)), zk.ErrBadPath)
			}
		})
	})
}

func TestBadCreate(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		path := e.Root + "/n"
		try := func(mode zk.Mode, acl zk.ACL, want error) {
			t.Helper()
			suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, path, nil, mode, acl)), want)
			made, st, err := s.CreateStat(e.Ctx, path, nil, mode, acl)
			suite.WantUnsent(t, err, want)
			assert.Assert(t, made == "" && st == zk.Stat{})
			op := zk.CreateOp{Path: path, Mode: mode, ACL: acl}
			_, err = s.Multi(e.Ctx, zk.SetOp{Path: e.Root}, op)
			suite.WantUnsent(t, err, want)
			_, err = s.Batch(e.Ctx, zk.SetOp{Path: e.Root}, op)
			suite.WantUnsent(t, err, want)
			op.WantStat = true
			_, err = s.Batch(e.Ctx, zk.SyncOp{Path: "/"}, op)
			suite.WantUnsent(t, err, want)
		}
		silently(e, s, l, func() {
			for _, mode := range []zk.Mode{
				7, -1, 8, 9, 99, -8, zk.TTL(0), zk.TTL(-time.Second), zk.SequentialTTL(0), zk.TTL(1 << 40 * time.Millisecond), zk.SequentialTTL(1<<63 - 1),
			} {
				try(mode, zk.ACLOpen, zk.ErrBadArguments)
			}
			for _, mode := range []zk.Mode{zk.Persistent, zk.EphemeralSequential, zk.Container, zk.TTL(time.Hour)} {
				try(mode, nil, zk.ErrInvalidACL)
				try(mode, zk.ACL{}, zk.ErrInvalidACL)
			}
			suite.WantUnsent(t, suite.ErrOf(s.SetACL(e.Ctx, e.Root, nil, zk.AnyVersion)), zk.ErrInvalidACL)
			suite.WantUnsent(t, suite.ErrOf(s.SetACL(e.Ctx, e.Root, zk.ACL{}, zk.AnyVersion)), zk.ErrInvalidACL)
		})
		if e.Knows(zktest.V35) {
			_, err := s.Create(e.Ctx, path, nil, zk.TTL((1<<40-1)*time.Millisecond), zk.ACLOpen) // the longest
			assert.NilError(t, err)
		}
	})
}

func TestBadArguments(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		ch := make(chan zk.Event, 1)
		silently(e, s, l, func() {
			for _, mode := range []zk.WatchMode{-1, 2, 7} {
				suite.WantUnsent(t, s.AddWatch(e.Ctx, e.Root, mode, ch), zk.ErrBadArguments)
			}
			suite.WantUnsent(t, s.AddWatch(e.Ctx, e.Root, zk.WatchPersistent, nil), zk.ErrBadArguments)
			suite.WantUnsent(t, s.RemoveWatch(e.Ctx, e.Root, nil), zk.ErrNoWatcher)
			suite.WantUnsent(t, s.RemoveWatch(e.Ctx, e.Root, ch), zk.ErrNoWatcher)
			_, err := s.MultiRead(e.Ctx, zk.GetOp{Path: e.Root}, zk.GetOp{Path: e.Root, Watch: ch})
			suite.WantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.MultiRead(e.Ctx, zk.ChildrenOp{Path: e.Root, Watch: ch})
			suite.WantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.Multi(e.Ctx, zk.SetOp{Path: e.Root}, nil)
			suite.WantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.MultiRead(e.Ctx, zk.GetOp{Path: e.Root}, nil)
			suite.WantUnsent(t, err, zk.ErrBadArguments)
			_, err = s.Batch(e.Ctx, zk.SetOp{Path: e.Root}, nil)
			suite.WantUnsent(t, err, zk.ErrBadArguments)
		})
	})
}

// A frame may be as large as MaxRequest, and the default of that is what a
// server takes.
func TestOversizeRequest(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		for _, limit := range []int{0, 1000} {
			conf, l := e.Config()
			conf.Timeout, conf.MaxRequest = time.Minute, limit
			s := e.Dial(conf)
			path := e.Create(s, e.Root+fmt.Sprintf("/n%d", limit), "")
			if limit == 0 {
				limit = zk.DefaultMaxRequest
			}
			// header, path, data, version
			fits := make([]byte, limit-8-4-len(e.Full(path))-4-4)
			st, err := s.Set(e.Ctx, path, fits, zk.AnyVersion)
			assert.NilError(t, err)
			assert.Equal(t, int(st.DataLength), len(fits))
			large := append(fits, 0)
			silently(e, s, l, func() {
				suite.WantUnsent(t, suite.ErrOf(s.Set(e.Ctx, path, large, zk.AnyVersion)), zk.ErrTooLarge)
				suite.WantUnsent(t, suite.ErrOf(s.Create(e.Ctx, path+"/c", large, zk.Persistent, zk.ACLOpen)), zk.ErrTooLarge)
				_, err = s.Multi(e.Ctx, zk.SetOp{Path: path, Data: fits}, zk.SetOp{Path: path, Data: fits})
				suite.WantUnsent(t, err, zk.ErrTooLarge)
				_, err = s.Batch(e.Ctx, zk.SetOp{Path: path}, zk.SetOp{Path: path, Data: large})
				suite.WantUnsent(t, err, zk.ErrTooLarge)
				suite.WantUnsent(t, suite.ErrOf(s.SetACL(e.Ctx, path, zk.ACL{{Perms: zk.PermAll, Scheme: "digest", ID: string(large)}}, zk.AnyVersion)), zk.ErrTooLarge)
				suite.WantUnsent(t, s.AddAuth(e.Ctx, zk.Auth{Scheme: "digest", Credential: make([]byte, limit)}), zk.ErrTooLarge)
				suite.WantUnsent(t, suite.ErrOf2(s.Get(e.Ctx, "/"+strings.Repeat("x", limit), nil)), zk.ErrTooLarge)
			})
			// MaxRequest is per frame: a Batch may be larger.
			res, err := s.Batch(e.Ctx, zk.SetOp{Path: path, Data: fits, Version: zk.AnyVersion}, zk.SetOp{Path: path, Data: fits, Version: zk.AnyVersion})
			assert.NilError(t, err)
			assert.Equal(t, len(res), 2)
		}
	})
}

func TestContextDone(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		cancelled, cancel := context.WithCancel(e.Ctx)
		cancel()
		late, cancel := context.WithDeadline(e.Ctx, time.Now().Add(-time.Second))
		defer cancel()
		silently(e, s, l, func() {
			suite.EveryCall(e.Root, func(name string, call func(context.Context, *zk.Session) error) {
				if name == "RemoveWatch" {
					return // tells first that nothing is armed
				}
				suite.WantUnsent(t, call(cancelled, s), context.Canceled)
				suite.WantUnsent(t, call(late, s), context.DeadlineExceeded)
			})
			_, err := s.Redial(cancelled)
			assert.ErrorIs(t, err, context.Canceled)
			_, err = s.Renew(cancelled)
			assert.ErrorIs(t, err, context.Canceled)
		})
		assert.Equal(t, len(s.Config().Auth), 0)
	})
}

// A Dial whose context is done does not even end the Session before.
func TestDialContextDone(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := linkedQuietly(e)
		cancelled, cancel := context.WithCancel(e.Ctx)
		cancel()
		silently(e, s, l, func() {
			for range 20 {
				_, err := zk.Dial(cancelled, s.Config())
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, zk.ErrNoServer)
			}
			assert.Equal(t, len(l.Dialed()), 1)
		})
	})
}

// The zero Session, and none at all, are sessions that are closed.
func TestZeroSession(t *testing.T) {
	for _, s := range []*zk.Session{nil, new(zk.Session)} {
		suite.EveryCall("/a", func(name string, call func(context.Context, *zk.Session) error) {
			suite.WantUnsent(t, call(t.Context(), s), zk.ErrClosed)
		})
		suite.Await(t, s.Done())
		assert.ErrorIs(t, s.Err(), zk.ErrClosed)
		suite.WantUnsent(t, s.Close(), zk.ErrClosed)
		_, err := s.Redial(t.Context())
		assert.ErrorIs(t, err, zk.ErrClosed)
		_, err = s.Renew(t.Context())
		assert.ErrorIs(t, err, zk.ErrClosed)
		assert.Assert(t, s.ID() == 0 && s.Zxid() == 0 && s.Timeout() == 0 && s.Addr() == "" && !s.ReadOnly() && s.ExpiresAt().IsZero())
		assert.Equal(t, s.Stats(), zk.Stats{})
		assert.Equal(t, s.Config().ID, int64(0))
		assert.Equal(t, s.Detach().ID, int64(0))
		assert.Equal(t, s.Config().Watches.Len(), 0)
		assert.Equal(t, s.Watches().Len(), 0)
		assert.Equal(t, s.Chroot(), "")
		next, err := s.Successor(t.Context())
		assert.Assert(t, next == nil)
		assert.ErrorIs(t, err, zk.ErrClosed)
	}
}

func TestCheckPath(t *testing.T) {
	assert.NilError(t, zk.CheckPath("/a/b"))
	for _, bad := range badPaths {
		assert.ErrorIs(t, zk.CheckPath(bad), zk.ErrBadPath, "%q", bad)
	}
}
