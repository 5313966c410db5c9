package compare

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	theirs "github.com/go-zookeeper/zk"
	"gotest.tools/v3/assert"

	ours "github.com/seed-9f8420c6/zk/gozk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// pairs are the errors that programs compare with, or whose text they do.
var pairs = map[string][2]error{
	"ErrAPIError": {theirs.ErrAPIError, ours.ErrAPIError}, "ErrAuthFailed": {theirs.ErrAuthFailed, ours.ErrAuthFailed},
	"ErrBadArguments": {theirs.ErrBadArguments, ours.ErrBadArguments}, "ErrBadVersion": {theirs.ErrBadVersion, ours.ErrBadVersion},
	"ErrClosing": {theirs.ErrClosing, ours.ErrClosing}, "ErrConnectionClosed": {theirs.ErrConnectionClosed, ours.ErrConnectionClosed},
	"ErrDeadlock": {theirs.ErrDeadlock, ours.ErrDeadlock}, "ErrInvalidACL": {theirs.ErrInvalidACL, ours.ErrInvalidACL},
	"ErrInvalidFlags": {theirs.ErrInvalidFlags, ours.ErrInvalidFlags}, "ErrInvalidPath": {theirs.ErrInvalidPath, ours.ErrInvalidPath},
	"ErrNoAuth": {theirs.ErrNoAuth, ours.ErrNoAuth}, "ErrNoChildrenForEphemerals": {theirs.ErrNoChildrenForEphemerals, ours.ErrNoChildrenForEphemerals},
	"ErrNoNode": {theirs.ErrNoNode, ours.ErrNoNode}, "ErrNoServer": {theirs.ErrNoServer, ours.ErrNoServer},
	"ErrNodeExists": {theirs.ErrNodeExists, ours.ErrNodeExists}, "ErrNotEmpty": {theirs.ErrNotEmpty, ours.ErrNotEmpty},
	"ErrNotLocked": {theirs.ErrNotLocked, ours.ErrNotLocked}, "ErrNothing": {theirs.ErrNothing, ours.ErrNothing},
	"ErrPtrExpected": {theirs.ErrPtrExpected, ours.ErrPtrExpected}, "ErrReconfigDisabled": {theirs.ErrReconfigDisabled, ours.ErrReconfigDisabled},
	"ErrSessionExpired": {theirs.ErrSessionExpired, ours.ErrSessionExpired}, "ErrSessionMoved": {theirs.ErrSessionMoved, ours.ErrSessionMoved},
	"ErrShortBuffer": {theirs.ErrShortBuffer, ours.ErrShortBuffer}, "ErrUnhandledFieldType": {theirs.ErrUnhandledFieldType, ours.ErrUnhandledFieldType},
	"ErrUnknown": {theirs.ErrUnknown, ours.ErrUnknown},
}

// What prints itself prints the same.
func TestWords(t *testing.T) {
	t.Parallel()
	for _, name := range exports(t, theirPath).Scope().Names() {
		if strings.HasPrefix(name, "Err") && name != "ErrCode" {
			assert.Check(t, pairs[name][0] != nil, "%s is not compared", name)
		}
	}
	for name, pair := range pairs {
		assert.Check(t, pair[0].Error() == pair[1].Error(), "%s: %v", name, pair)
	}
	for i := int32(-200); i <= 200; i++ {
		assert.Equal(t, ours.State(i).String(), theirs.State(i).String(), "%d", i)
		assert.Equal(t, ours.EventType(i).String(), theirs.EventType(i).String(), "%d", i)
	}
	for i := range uint8(9) {
		assert.Equal(t, ours.Mode(i).String(), theirs.Mode(i).String(), "%d", i)
	}
	assert.Equal(t, fmt.Sprint(ours.WorldACL(3), ours.AuthACL(5), ours.DigestACL(7, "u", "p")),
		fmt.Sprint(theirs.WorldACL(3), theirs.AuthACL(5), theirs.DigestACL(7, "u", "p")))
	list := []string{"a", "b:1", "[::1]:2", ""}
	assert.DeepEqual(t, ours.FormatServers(list), theirs.FormatServers(list))
}

// party is one of the two clients.
type party struct {
	conn   any
	world  any // an ACL
	create any // an operation of Multi
}

// What a party has to put in the place of an argument.
type stand int

const (
	world stand = iota
	create
)

// call calls a method by its name, and returns the text of its error.
func (p party) call(method string, args ...any) string {
	m := reflect.ValueOf(p.conn).MethodByName(method)
	in := make([]reflect.Value, len(args))
	for i, arg := range args {
		want := m.Type().In(min(i, m.Type().NumIn()-1))
		if m.Type().IsVariadic() {
			want = want.Elem()
		}
		if arg == nil {
			in[i] = reflect.Zero(want)
			continue
		}
		if s, ok := arg.(stand); ok {
			arg = []any{p.world, p.create}[s]
		}
		in[i] = reflect.ValueOf(arg).Convert(want)
	}
	out := m.Call(in)
	return strings.ReplaceAll(fmt.Sprint(out[len(out)-1].Interface()), "github.com/seed-9f8420c6/zk/gozk", "zk")
}

// badCall is a call that both refuse, or their server does.
type badCall struct {
	method string
	args   []any
}

// badCalls lists them. ttls: the server supports TTLs.
func badCalls(ttls bool) (list []badCall) {
	add := func(method string, args ...any) { list = append(list, badCall{method, args}) }
	for _, path := range []string{"", "a", "a/b", "/a/", "//", "/a//b", "/a/..", "/a\x00", "/a\x01", "/a/.", "/a/./b", "/\ufff0", "/\uf000"} {
		for _, method := range []string{"Get", "GetW", "Children", "ChildrenW", "Exists", "ExistsW", "GetACL", "Sync"} {
			add(method, path)
		}
		add("Delete", path, -1)
		add("Set", path, nil, -1)
		add("SetACL", path, world, -1)
		add("Create", path, nil, 0, world)
		if path != "/a/" { // a number follows
			add("Create", path, nil, 2, world)
		}
		add("CreateContainer", path, nil, 4, world)
		add("CreateTTL", path, nil, 5, world, time.Minute)
		if path != "" { // go-zookeeper slices it
			add("CreateProtectedEphemeralSequential", path, nil, world)
		}
	}
	for _, flags := range []int{-1, 5, 6, 7, 999, 1 << 30} {
		add("Create", "/b", nil, flags, world)
	}
	for _, flags := range []int{-1, 0, 1, 3, 5, 6, 7} {
		add("CreateContainer", "/b", nil, flags, world)
	}
	for _, flags := range []int{-1, 0, 1, 4, 7} {
		add("CreateTTL", "/b", nil, flags, world, time.Minute)
	}
	if ttls {
		add("CreateTTL", "/b", nil, 5, world, time.Duration(0))
		add("CreateTTL", "/b", nil, 5, world, -time.Second)
		add("CreateTTL", "/b", nil, 6, world, time.Millisecond-1)
	}
	add("Create", "/b", nil, 0, nil)
	add("Create", "/no/parent", nil, 0, world)
	add("Create", "/zookeeper", nil, 0, world)
	add("SetACL", "/zookeeper", nil, -1)
	add("Set", "/zookeeper", make([]byte, 1536*1024), -1)
	add("Set", "/zookeeper", nil, 77)
	add("Delete", "/", -1)
	add("Delete", "/zookeeper", -1)
	add("Delete", "/none", 3)
	add("Get", "/none")
	add("GetW", "/none")
	add("Children", "/none")
	add("Multi", 1)
	add("Multi", "x")
	add("Multi", nil)
	add("Multi", create, 1)
	add("Multi")
	return list
}

// Bad input is refused in the same words, whoever refuses it.
func sameWords(t *testing.T, addr string, ttls bool) {
	their, _, err := theirs.Connect([]string{addr}, 20*time.Second, theirs.WithLogger(silent{}))
	assert.NilError(t, err)
	defer their.Close()
	our, _, err := ours.Connect([]string{addr}, 20*time.Second, ours.WithLogger(silent{}))
	assert.NilError(t, err)
	defer our.Close()
	a := party{their, theirs.WorldACL(theirs.PermAll), &theirs.CreateRequest{Path: "/m", Acl: theirs.WorldACL(theirs.PermAll)}}
	b := party{our, ours.WorldACL(ours.PermAll), &ours.CreateRequest{Path: "/m", Acl: ours.WorldACL(ours.PermAll)}}
	for _, x := range badCalls(ttls) {
		want := a.call(x.method, x.args...)
		assert.Check(t, b.call(x.method, x.args...) == want, "%s %.200q: go-zookeeper says %q, gozk %q", x.method, fmt.Sprint(x.args...), want, b.call(x.method, x.args...))
		assert.Check(t, want != "<nil>" || x.method == "Multi", "%s %.200q is not refused", x.method, fmt.Sprint(x.args...))
	}
	their.Close()
	our.Close()
	assert.Equal(t, b.call("Get", "/"), a.call("Get", "/"))
	for _, servers := range [][]string{nil, {}, {"[::1"}, {"a:b:c"}} {
		_, _, want := theirs.Connect(servers, time.Second, theirs.WithLogger(silent{}))
		_, _, err := ours.Connect(servers, time.Second, ours.WithLogger(silent{}))
		assert.Check(t, err != nil && want != nil && err.Error() == want.Error(), "%q: %v, %v", servers, want, err)
	}
}

func TestBadInputWords(t *testing.T) {
	t.Parallel()
	if unraced(t) {
		return
	}
	server := zktest.NewServer(t)
	sameWords(t, server.Addr(), true)

	// Codes that go-zookeeper has no name for.
	server.Fault(zktest.Rule{Op: wire.OpSetData, Err: -127, Count: 2})
	their, _, err := theirs.Connect(server.Addrs(), 20*time.Second, theirs.WithLogger(silent{}))
	assert.NilError(t, err)
	defer their.Close()
	our, _, err := ours.Connect(server.Addrs(), 20*time.Second, ours.WithLogger(silent{}))
	assert.NilError(t, err)
	defer our.Close()
	assert.Equal(t, party{conn: our}.call("Set", "/zookeeper", nil, -1), party{conn: their}.call("Set", "/zookeeper", nil, -1))
}

func TestBadInputWordsOnRealServers(t *testing.T) {
	apache.Need(t)
	if unraced(t) {
		return
	}
	for _, r := range apache.Tested() {
		t.Run(string(r), func(t *testing.T) {
			sameWords(t, apache.New(t, apache.Config{Release: r}).Addrs()[0], r != apache.V3_4)
		})
	}
}
