package zktest

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// jute is a record in its wire form; nil is a null string, buffer or vector.
func jute(fields ...any) encoded {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case nil:
			b = wire.AppendInt32(b, -1)
		case int:
			b = wire.AppendInt32(b, int32(f))
		case int64:
			b = wire.AppendInt64(b, f)
		case bool:
			b = wire.AppendBool(b, f)
		case string:
			b = wire.AppendString(b, f)
		case wire.Record:
			b = f.Append(b)
		default:
			panic(fmt.Sprintf("%T", f))
		}
	}
	return b
}

// juteMulti is a multi of operations in their wire form.
func juteMulti(ops ...wire.MultiOp) encoded { return wire.MultiRequest{Ops: ops}.Append(nil) }

// openList is an open ACL in its wire form.
var openList = jute(1, 31, "world", "anyone")

// fixedSteps are requests that no client should make and the generator does
// not, with null in every place, and what shows their effects.
func fixedSteps(version Version, members int) []step {
	var list []step
	add := func(si int, op wire.Op, what string, recs ...wire.Record) {
		if version < since(op) {
			return
		}
		list = append(list, step{si: si, op: op, name: fmt.Sprintf("%v %s", op, what), request: func(*peer) []wire.Record { return recs }})
	}
	touch := func() { // fires the watches of session 0
		add(1, wire.OpSetData, "/", wire.SetDataRequest{Path: "/", Version: -1})
		add(1, wire.OpCreate, "/n", wire.CreateRequest{Path: "/n", ACL: world})
		add(1, wire.OpDelete, "/n", wire.PathVersionRequest{Path: "/n", Version: -1})
	}

	far := int64(math.MaxInt64)
	for i := range 5 {
		for _, wrong := range []wire.Record{jute(nil), jute(1, nil), jute(2, "/", nil), jute(2, nil, "/"), jute(-2)} {
			lists := make([]any, 6)
			lists[0] = far
			for k := range 5 {
				lists[1+k] = jute(1, []string{"/", "/n"}[k%2])
			}
			lists[1+i] = wrong
			if i < 3 {
				add(0, wire.OpSetWatches, fmt.Sprintf("%d: %v", i, wrong), jute(lists[:4]...))
				touch()
			}
			add(0, wire.OpSetWatches2, fmt.Sprintf("%d: %v", i, wrong), jute(lists...))
			touch()
			if version >= V36 {
				for _, path := range []string{"/", "/n"} {
					add(0, wire.OpRemoveWatches, path, wire.WatcherTypeRequest{Path: path, Type: wire.WatcherAny})
				}
			}
		}
	}

	check := wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/", Version: -1}}
	wrong := wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/none", Version: -1}}
	create := wire.MultiOp{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/n", ACL: world}}
	ops := []wire.MultiOp{
		{Op: wire.OpCheck, Request: jute(nil, -1)},
		{Op: wire.OpDelete, Request: jute(nil, -1)},
		{Op: wire.OpSetData, Request: jute(nil, "x", -1)},
		{Op: wire.OpSetData, Request: jute("/", nil, -1)},
		{Op: wire.OpCreate, Request: jute(nil, "x", openList, 0)},
		{Op: wire.OpCreate, Request: jute(nil, "x", openList, 2)},
		{Op: wire.OpCreate, Request: jute("/n2", nil, openList, 0)},
		{Op: wire.OpCreate2, Request: jute(nil, "x", openList, 0)},
		{Op: wire.OpCreateContainer, Request: jute(nil, "x", openList, 4)},
		{Op: wire.OpCreateTTL, Request: jute(nil, "x", openList, 5, int64(100000))},
		{Op: wire.OpCreate, Request: jute("/n3", "x", jute(1, 31, "world", nil), 0)},
		{Op: wire.OpCreate, Request: jute("/n3", "x", jute(1, 31, nil, nil), 0)},
	}
	if members == 1 { // by these an ensemble stands still
		ops = append(ops, []wire.MultiOp{
			{Op: wire.OpCreate, Request: jute(nil, "x", nil, 0)},
			{Op: wire.OpCreate, Request: jute("/n3", "x", nil, 0)},
			{Op: wire.OpCreate, Request: jute(nil, "x", openList, 99)},
		}...)
	}
	for _, op := range ops {
		if version < since(op.Op) || members > 1 && version < V39 && bytes.HasPrefix(op.Request.(encoded), data.Null) {
			continue // by the latter an ensemble loses a zxid, and never answers
		}
		text := fmt.Sprintf("%v %v", op.Op, op.Request)
		add(0, wire.OpMulti, text, juteMulti(op))
		add(0, wire.OpMulti, "check and "+text, juteMulti(check, op))
		add(0, wire.OpMulti, "create and "+text, juteMulti(create, op, check))
		add(0, wire.OpMulti, "one that fails and "+text, juteMulti(wrong, op))
		touch()
	}
	get := func(op wire.Op, path any) wire.MultiOp { return wire.MultiOp{Op: op, Request: jute(path, false)} }
	add(0, wire.OpMultiRead, "get null", juteMulti(get(wire.OpGetData, nil)))
	add(0, wire.OpMultiRead, "children of null", juteMulti(get(wire.OpGetChildren, nil)))
	add(0, wire.OpMultiRead, "get / and null", juteMulti(get(wire.OpGetData, "/"), get(wire.OpGetData, nil)))
	add(0, wire.OpMultiRead, "get null and /", juteMulti(get(wire.OpGetChildren, nil), get(wire.OpGetData, "/")))
	add(0, wire.OpMultiRead, "get empty", juteMulti(get(wire.OpGetChildren, ""), get(wire.OpGetData, "")))

	for _, scheme := range []any{"world", "digest", "auth", "ip", "x509", "sasl", "super", "nope", "", nil} {
		for _, id := range []any{nil, ""} {
			for _, acl := range []encoded{jute(1, 31, scheme, id), jute(2, 31, "world", "anyone", 31, scheme, id), jute(2, 31, scheme, id, 31, scheme, id)} {
				text := fmt.Sprintf("of ACL %v %v %d", scheme, id, len(acl))
				add(0, wire.OpCreate, text, jute("/n", nil, acl, 0))
				add(0, wire.OpGetACL, text, wire.PathRequest{Path: "/n"})
				add(1, wire.OpGetData, text, wire.PathWatchRequest{Path: "/n"})
				add(0, wire.OpDelete, text, jute("/n", -1))
				add(0, wire.OpSetACL, text, jute("/", acl, -1))
				add(0, wire.OpSetACL, text, jute("/", openList, -1))
				add(0, wire.OpMulti, text, juteMulti(wire.MultiOp{Op: wire.OpCreate, Request: jute("/n", nil, acl, 0)}, check))
				add(0, wire.OpDelete, text, jute("/n", -1))
				add(0, wire.OpCreate, "without a parent "+text, jute("/none/n", nil, acl, 0))
				add(0, wire.OpCreate, "at a wrong path "+text, jute("n", nil, acl, 0))
			}
		}
	}
	for _, id := range []string{
		"127.0.0.01", "127.0.0.1.", "127.0.0.+1", "127.0.0.1 ", "127.0.0.-1", "127.0.0.256", "127.0.1", "2130706433", "127.0.0.1/", "127.0.0.1/+32", "127.0.0.1/08", "127.0.0.0/24/", "/8", "",
		"::1", "::", ":::", "1::2::3", "::1/128", "::1/129", "0:0:0:0:0:0:0:1", "0:0:0:0:0:0:0:0:1", "1:2:3:4:5:6:7::", "::00001", "::+1", "::-1", "::g", "::ffff:127.0.0.1", "::1%lo", ":1", "1:",
	} {
		add(0, wire.OpCreate, "for ip "+id, jute("/n", nil, jute(1, 31, "ip", id), 0))
		add(1, wire.OpGetData, "for ip "+id, wire.PathWatchRequest{Path: "/n"})
		add(0, wire.OpDelete, "for ip "+id, jute("/n", -1))
	}
	for _, op := range []wire.Op{
		wire.OpExists, wire.OpGetData, wire.OpGetChildren, wire.OpGetChildren2, wire.OpGetACL, wire.OpSync, wire.OpGetEphemerals, wire.OpAllChildrenNumber,
		wire.OpCheckWatches, wire.OpRemoveWatches, wire.OpAddWatch, wire.OpDelete,
	} {
		tail := jute(0)
		switch op {
		case wire.OpExists, wire.OpGetData, wire.OpGetChildren, wire.OpGetChildren2:
			tail = jute(true)
		}
		add(0, op, "null", jute(nil, tail))
		touch()
	}
	add(0, wire.OpSetData, "null", jute(nil, "x", -1))
	add(0, wire.OpSetACL, "null", jute(nil, openList, -1))
	add(0, wire.OpSetACL, "null list", jute("/", nil, -1))
	add(0, wire.OpCreate, "null", jute(nil, "x", openList, 0))
	add(0, wire.OpCreate, "null list", jute("/n", "x", nil, 0))

	for _, scheme := range []any{"digest", "ip", "nope", "x509", "", nil} {
		for _, auth := range []any{nil, ""} {
			add(2, wire.OpAuth, fmt.Sprintf("%v %v", scheme, auth), jute(0, scheme, auth))
			add(2, wire.OpWhoAmI, "")
		}
	}
	return append(list, childrenSteps(version)...)
}

// childrenSteps show the order of children, of which some have the same hash.
func childrenSteps(version Version) []step {
	var list []step
	add := func(si int, op wire.Op, rec wire.Record) {
		if version >= since(op) {
			list = append(list, step{si: si, op: op, name: fmt.Sprintf("%v of kids", op), request: func(*peer) []wire.Record { return []wire.Record{rec} }})
		}
	}
	kids := func() {
		for _, op := range []wire.Op{wire.OpGetChildren, wire.OpGetChildren2, wire.OpGetChildren} {
			add(0, op, wire.PathWatchRequest{Path: "/kids"})
		}
		get := wire.MultiOp{Op: wire.OpGetChildren, Request: jute("/kids", false)}
		add(0, wire.OpMultiRead, juteMulti(get, get))
	}
	create := func(path string) { add(1, wire.OpCreate, wire.CreateRequest{Path: path, ACL: world}) }
	create("/kids")
	for i := range 60 {
		create("/kids/" + kidName(i))
		if i < 15 || i%12 == 0 {
			kids()
		}
	}
	for i := range 60 {
		path := "/kids/" + kidName((i*7+11)%60)
		add(1, wire.OpDelete, wire.PathVersionRequest{Path: path, Version: -1})
		if i%9 == 0 {
			create(path)
			kids()
		}
	}
	return list
}

// movedSteps are requests on the connection that a session has moved away
// from: at the leader, which ends it, and at a follower, which answers reads.
func movedSteps(version Version) []step {
	var list []step
	add := func(op wire.Op, recs ...wire.Record) {
		if version < since(op) {
			return
		}
		stale := &step{op: op, request: func(*peer) []wire.Record { return recs }}
		for _, from := range []int{2, 0} {
			list = append(list,
				step{si: from, op: opMove, to: 1, stale: stale, name: fmt.Sprintf("%v behind a move from %d", op, from)},
				step{si: from, op: opMove, to: from, name: fmt.Sprintf("back to %d", from)})
		}
	}
	add(wire.OpPing)
	for _, op := range []wire.Op{wire.OpExists, wire.OpGetData, wire.OpGetChildren, wire.OpGetChildren2} {
		add(op, wire.PathWatchRequest{Path: "/", Watch: true})
		add(op, jute(nil))
	}
	for _, op := range []wire.Op{wire.OpGetACL, wire.OpSync, wire.OpGetEphemerals, wire.OpAllChildrenNumber} {
		add(op, wire.PathRequest{Path: "/"})
	}
	for _, op := range []wire.Op{wire.OpCheckWatches, wire.OpRemoveWatches} {
		add(op, wire.WatcherTypeRequest{Path: "/", Type: wire.WatcherAny})
	}
	add(wire.OpAddWatch, wire.AddWatchRequest{Path: "/"})
	add(wire.OpSetWatches, jute(int64(0), 0, 0, 0))
	add(wire.OpSetWatches2, jute(int64(0), 0, 0, 0, 0, 0))
	add(wire.OpMultiRead, juteMulti(wire.MultiOp{Op: wire.OpGetData, Request: jute("/", false)}))
	add(wire.OpWhoAmI)
	add(wire.OpMulti, juteMulti(wire.MultiOp{Op: wire.OpCheck, Request: jute("/", -1)}))
	add(wire.OpSetData, wire.SetDataRequest{Path: "/", Version: -1})
	return list
}

// kidName returns the i-th name of a child. The first ten have one hash.
func kidName(i int) string {
	if i >= 10 {
		return fmt.Sprint("s-", i*i)
	}
	var name string
	for bit := range 4 {
		name += []string{"Aa", "BB"}[i>>bit&1]
	}
	return name
}

// ensembles starts one of each kind that have the same member as leader. Their
// sessions are at the two others, and the last at the leader.
func ensembles(t *testing.T, release apache.Release, settings map[string]string, opts Options) (*Ensemble, [2]*peer) {
	real := apache.New(t, apache.Config{Release: release, Members: 3, Settings: settings})
	leads, err := real.Leader()
	assert.NilError(t, err)
	opts.Version, opts.Super, opts.MaxSessionTimeout = parityVersions[release], apache.SuperCredential, time.Minute
	ours := NewEnsemble(t, 3, opts)
	for ours.Leader() != leads {
		ours.Elect()
	}
	peers := bothPeers(t, leaderLast(ours.Addrs(), leads), leaderLast(real.Addrs(), leads))
	for i := range 3 {
		_, client, _ := net.SplitHostPort(ours.Addrs()[i])
		quorum, election := strconv.Itoa(data.QuorumPort(i)), strconv.Itoa(data.ElectionPort(i))
		for k, name := range []string{"Q", "E", "C"} {
			name += strconv.Itoa(i + 1)
			peers[0].ports = append(peers[0].ports, name, []string{quorum, election, client}[k])
			f := strings.FieldsFunc(real.Member(i).Line(), func(c rune) bool { return strings.ContainsRune("=:;", c) })
			peers[1].ports = append(peers[1].ports, name, []string{f[2], f[3], f[6]}[k])
		}
	}
	return ours, peers
}

func leaderLast(addrs []string, leads int) []string {
	return append(slices.Delete(slices.Clone(addrs), leads, leads+1), addrs[leads])
}

// TestReconfigParity takes both kinds of ensembles through changes of their
// configuration, which they make or refuse.
func TestReconfigParity(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		version := parityVersions[release]
		if version < V35 {
			continue
		}
		t.Run(string(release), func(t *testing.T) {
			_, peers := ensembles(t, release, nil, Options{Reconfig: true})
			runSteps(t, fmt.Sprintf("%v, reconfig", version), peers, reconfigSteps(version))

			// Where it is disabled, that is what a session that has moved is told too.
			_, peers = ensembles(t, release, map[string]string{"reconfigEnabled": "false"}, Options{})
			var steps []step
			for _, id := range []int64{-1, 5} {
				reconfig := step{op: wire.OpReconfig, name: "reconfig", request: func(*peer) []wire.Record { return []wire.Record{jute(nil, "9", nil, id)} }}
				steps = append(steps, reconfig)
				for to := range 2 {
					steps = append(steps, step{op: opMove, to: 1 - to, stale: &reconfig, name: fmt.Sprintf("reconfig behind a move to %d", 1-to)})
				}
			}
			runSteps(t, fmt.Sprintf("%v, reconfig disabled", version), peers, steps)
		})
	}
}

func reconfigSteps(version Version) []step {
	var list []step
	add := func(si int, op wire.Op, what string, request func(p *peer) []wire.Record) {
		list = append(list, step{si: si, op: op, name: fmt.Sprintf("%v %s", op, what), request: request})
	}
	look := func(watch bool) {
		add(1, wire.OpGetData, "config", func(*peer) []wire.Record {
			return []wire.Record{wire.PathWatchRequest{Path: data.ConfigPath, Watch: watch}}
		})
	}
	reconfig := func(si int, leaving, joining, all any, id int64) {
		add(si, wire.OpReconfig, fmt.Sprintf("leaving %q joining %q all %q of %d", leaving, joining, all, id), func(p *peer) []wire.Record {
			fill := strings.NewReplacer(p.ports...)
			text := func(s any) any {
				if s, ok := s.(string); ok {
					return fill.Replace(s)
				}
				return s
			}
			return []wire.Record{jute(text(joining), text(leaving), text(all), id)}
		})
		look(false)
	}
	leave := func(s string) { reconfig(0, s, nil, nil, -1) }
	join := func(s string) { reconfig(0, nil, s, nil, -1) }
	whole := func(s string) { reconfig(0, nil, nil, s, -1) }
	line := func(i int, role string) string {
		return strings.ReplaceAll("server.#=127.0.0.1:Q#:E#"+role+";127.0.0.1:C#", "#", strconv.Itoa(i))
	}
	three := strings.Join([]string{line(1, ":participant"), line(2, ":participant"), line(3, ":participant")}, ",")

	add(0, wire.OpAuth, "super", func(*peer) []wire.Record {
		return []wire.Record{wire.AuthRequest{Scheme: "digest", Auth: []byte(apache.SuperCredential)}}
	})
	whole(three) // before which the node has zxids from before the run
	look(true)
	if version >= V36 { // whose watches that stay hear of each change twice
		for si, path := range []string{data.ConfigPath, data.ProcPath, data.ConfigPath} {
			add(si, wire.OpAddWatch, path, func(*peer) []wire.Record {
				return []wire.Record{wire.AddWatchRequest{Path: path, Mode: int32(si % 2)}}
			})
		}
	}
	reconfig(2, "9", nil, nil, -1) // may not
	reconfig(2, "1,2", nil, nil, -1)
	reconfig(2, "1,2", nil, nil, 5)
	reconfig(2, "x", nil, nil, -1)

	// Refused.
	reconfig(0, "9", nil, nil, 5)
	for _, s := range []string{"x", "1,2", "1, 2", " 1 ,2,", "9x", "1.0", "-", "1,2,3", "9,x", "9223372036854775808", "1;2", "1\n2"} {
		leave(s)
	}
	for _, s := range []string{
		"x", "server.x=127.0.0.1:1:2;3", "server.=127.0.0.1:1:2;3", "server.4", "server.4=", "=127.0.0.1:1:2;3", "server.4=127.0.0.1:1:2", "server.4=127.0.0.1:1;3",
		"server.4=127.0.0.1:1:2:nobody;3", "server.4=127.0.0.1:1:2:participant:5;3", "server.4=127.0.0.1:1:1;3", "server.4=127.0.0.1:1:2;3=4", "server.4=127.0.0.1:1:2;3;4",
		"server.4=127.0.0.1:x:2;3", "server.4=127.0.0.1:1:x;3", "server.4=127.0.0.1:1:2;x", "server.4=127.0.0.1:1:2;127.0.0.1:x", "server.4=127.0.0.1:1:2;a:b:3", "server.4=127.0.0.1:1:2;",
		"server.4=127.0.0.1:-1:2;3", "server.4=127.0.0.1:1:65536;3", "server.4=127.0.0.1:1:2;70000", "server.4=127.0.0.1:99999999999:2;3", "server.4=;3", "server.4=;", "server.4=:", "server.4=::;3",
		"server.4=127.0.0.1:1:2 ;3x", "server.4=127.0.0.1:1:2;:", "server.4=[::1]:1;3", "server.4=[::1:1:2;3", "server.4=[::1];3", "server.4=127.0.0.1:1:2|127.0.0.1:3:4;5",
		"server.4=10.0.0.1:1:2;3,server.5=10.0.0.1:1:5;6", "server.4=10.0.0.1:1:2;10.0.0.1:3,server.5=10.0.0.1:3:5;6", "server.4=10.0.0.1:1:2;3,server.5=10.0.0.1:7:2;6",
		line(2, ":observer") + "," + line(3, ":observer"), line(1, ":observer") + "," + line(2, ":observer") + "," + line(3, ":observer"),
		"server.4=127.0.0.1:1:2;3,server.5=127.0.0.1:4:5;6,server.6=127.0.0.1:7:8;9", // without a quorum
		"server.4=127.0.0.1:1:2;3,x", "x,server.4=127.0.0.1:x:2;3",
	} {
		join(s)
	}
	reconfig(0, "3", line(2, ":observer"), nil, -1)
	reconfig(0, "1,2", "server.4=127.0.0.1:1:2;3,server.5=127.0.0.1:4:5;6", nil, -1)
	for _, s := range []string{
		"", ",", "x", "x=y", line(1, ""), line(1, ":observer"), line(1, ":observer") + "," + line(2, ":observer"), line(1, "") + "," + line(2, ":observer"),
		three + ",x=y", three + ",standaloneEnabled=true", three + ",version=zz", three + ",server.x=127.0.0.1:1:2;3", three + ",server.4=127.0.0.1:1:1;3", three + ",server.4=127.0.0.1:1",
		three + ",server.4=", three + ",server.4", three + ",server.4=127.0.0.1:1:2;3 ", line(1, "") + ",server.4=127.0.0.1:1:2;3,server.5=127.0.0.1:4:5;6", "version=5", "server=1",
	} {
		whole(s)
	}
	reconfig(0, "9", line(2, ""), "", -1) // the last one counts

	// Done.
	reconfig(0, nil, nil, nil, -1)
	leave("9")
	leave(",")
	leave("")
	join("server.4=127.0.0.1:1:2;3")
	join("server.4=127.0.0.1:1:2;3,server.4=127.0.0.1:5:6;7")
	leave(" 4 , 9,")
	join(" server.4 = 127.0.0.1:1:2:observer;127.0.0.1:3 ,")
	join("x.y.4=localhost:1:2:PARTICIPANT;localhost:3")
	join("7=10.0.0.1:+1:2:Observer;3")
	join("server.8=10.0.0.1:1:2:observer;3") // is there already
	leave("7,4")
	join("server.4=[::1]:1:2:observer;[::1]:3")
	join("server.5=[2001:db8::1]:1:2:observer;[::]:3")
	join("server.6=:1:2:observer;:3")
	leave("4") // as a real server may tell numbers that share a bucket of a hash table in any order
	join("server.20=10.0.0.1:1:2:observer;3,server.9=10.0.0.2:1:2:observer;3,server.16=10.0.0.3:1:2:observer;3")
	reconfig(0, "5,6", "server.16=10.0.0.4:1:2:observer;3", nil, -1)
	whole(three + ",server.32=10.0.0.1:1:2:observer;3,server.20=10.0.0.2:1:2:observer,version=5,#x,server.20=10.0.0.2:7:2:observer,! y")
	leave("32")
	whole(strings.ReplaceAll(three, ",", "\n"))
	whole(strings.ReplaceAll(three, "=", " : ") + ",  server.4\t127.0.0.1:1:2")
	whole(three)
	look(true)
	leave("9")
	return list
}
