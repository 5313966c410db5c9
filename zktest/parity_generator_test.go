package zktest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

var parityPaths = []string{
	"/a", "/b", "/c", "/a/a", "/a/b", "/a/c", "/b/a", "/b/b", "/a/a/a", "/a/a/b", "/ab", "/a/s-0000000000", "/a/s-0000000001",
	"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/x",
}

var quotaPaths = func() []string {
	var list []string
	for _, of := range []string{"/a", "/a/a", "/b", "/a/a/a", "/zookeeper"} {
		list = append(list, "/zookeeper/quota"+of, "/zookeeper/quota"+of+"/zookeeper_limits", "/zookeeper/quota"+of+"/zookeeper_stats")
	}
	return list
}()

var badPaths = []string{
	"", "a", "/a/", "//", "//a", "/a//b", "/.", "/..", "/a/./b", "/a/../b", "/a\x00", "/\x01", "/\x7f", "/\u009f", "/\ue000", "/\ufff0", "/\U0001F600", "/a/.x", "/...", "/\xff", "/é",
}

// invalid is what UTF-8 is not, which the server replaces in its own way.
var invalid = []string{
	"\xff", "\xc0\x80", "\xc3", "\xe2\x82", "\xe2\x82x", "\xe0\x80\x80", "\xe2", "\xed\xa0\x80", "\xed\xa0x", "\xed\xa0", "\xf0\x9f\x98", "\xf0\x9f\x98x", "\xf0\x9f",
	"\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\x80", "\U0001F600", "\xf0\x9f\x98\x80\xf0\x9f",
}

var acls = [][]wire.ACL{
	nil, {}, {{Perms: 31, Scheme: "auth"}}, {{Perms: 31, Scheme: "auth", ID: "x"}},
	{{Perms: 1, Scheme: "world", ID: "anyone"}}, {{Perms: 15, Scheme: "world", ID: "anyone"}}, {{Perms: 0, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "digest", ID: data.DigestID("u1:p")}}, {{Perms: 31, Scheme: "digest", ID: data.DigestID("u1:p")}, {Perms: 1, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "world", ID: "anyone"}, {Perms: 31, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "digest", ID: "x"}}, {{Perms: 31, Scheme: "digest", ID: "x:"}}, {{Perms: 31, Scheme: "digest", ID: ":x"}}, {{Perms: 31, Scheme: "digest", ID: "a:b:c"}},
	{{Perms: 31, Scheme: "world", ID: "x"}}, {{Perms: 31, Scheme: "nope", ID: "x"}}, {{Perms: 31, Scheme: "", ID: ""}},
	{{Perms: 31, Scheme: "ip", ID: "127.0.0.1"}}, {{Perms: 31, Scheme: "ip", ID: "127.0.0.0/8"}}, {{Perms: 31, Scheme: "ip", ID: "10.0.0.0/8"}},
	{{Perms: 31, Scheme: "ip", ID: "10.0.0.0/33"}}, {{Perms: 31, Scheme: "ip", ID: "10.0.0"}}, {{Perms: 31, Scheme: "ip", ID: "::1"}}, {{Perms: 31, Scheme: "ip", ID: "127.0.0.1/0"}},
	{{Perms: -1, Scheme: "world", ID: "anyone"}}, {{Perms: 32, Scheme: "world", ID: "anyone"}}, {{Perms: 31, Scheme: "digest", ID: "é:ü"}},
	{{Perms: 1, Scheme: "auth"}, {Perms: 2, Scheme: "auth"}, {Perms: 4, Scheme: "world", ID: "anyone"}, {Perms: 8, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "sasl", ID: "x"}}, {{Perms: 31, Scheme: "super", ID: ""}}, {{Perms: 31, Scheme: "digest", ID: data.DigestID("u2:p")}, {Perms: 1, Scheme: "auth"}},
}

// generator makes random steps.
type generator struct {
	*rand.Rand
	version Version
	members int
	alone   bool // the request is not one of a pipeline
	fixed   []step
	hard    bool // quotas may have hard limits, which a real server checks against what is committed
}

func newGenerator(seed uint64, version Version) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), version: version, members: 1, alone: true, fixed: fixedSteps(version, 1)}
	g.hard = g.IntN(2) == 0
	return g
}

// mayBeMalformed says whether a malformed request leaves the real server alive:
// by a write an ensemble of 3.9 reuses a zxid, and stands still for good. An
// older one ends the connection at a check, which is none of its operations.
func (g *generator) mayBeMalformed(op wire.Op) bool {
	return g.members == 1 || g.version < V39 && op != wire.OpCheck || !data.Writes(op)
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

func (g *generator) path() string {
	if g.IntN(100) == 0 {
		return "/" + pick(g, invalid) + pick(g, []string{"", "x", "/y"})
	}
	if g.IntN(40) == 0 {
		return pick(g, badPaths)
	}
	return pick(g, parityPaths)
}

// target picks a path to write to, which may be that of a quota.
func (g *generator) target() string {
	if g.IntN(6) == 0 {
		return pick(g, quotaPaths)
	}
	return g.path()
}

// dataFor makes data for a node. What is wrong in the nodes of a quota would end the real server.
func (g *generator) dataFor(path string) []byte {
	switch path[strings.LastIndexByte(path, '/')+1:] {
	case "zookeeper_stats":
		if g.version >= V37 && g.IntN(4) == 0 {
			return []byte(pick(g, []string{"", "bytes=7", "x=1;count=2", "count=3,bytes=4=;y=5"}))
		}
		return []byte("count=0,bytes=0")
	case "zookeeper_limits":
		limits := fmt.Sprintf("count=%d,bytes=%d", pick(g, []int{-1, 0, 3, 1000}), pick(g, []int{-1, 0, 6, 1000}))
		if g.hard && g.version >= V37 {
			switch g.IntN(6) {
			case 0:
				limits = pick(g, []string{"", "count", "count=x", "=", "countHardLimit=2", "byteHardLimit=+9", "count==5", "countHardLimit=", ",count=1"})
			case 1, 2:
				limits += fmt.Sprintf("=;byteHardLimit=%d", g.IntN(15))
			case 3, 4:
				limits += fmt.Sprintf("=;byteHardLimit=%d;countHardLimit=%d", g.IntN(15)-1, g.IntN(5)-1)
			}
		}
		return []byte(limits)
	}
	return g.data()
}

// quota makes a multi that sets a quota, as setquota of the Java client does in steps.
func (g *generator) quota() wire.MultiRequest {
	var m wire.MultiRequest
	of := pick(g, []string{"/a", "/a/a", "/b", "/a/a/a", "/zookeeper"})
	for i, c := range of {
		if i > 0 && c == '/' && g.IntN(2) == 0 {
			m.Ops = append(m.Ops, wire.MultiOp{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/zookeeper/quota" + of[:i], ACL: world}})
		}
	}
	for _, name := range []string{"", "/zookeeper_limits", "/zookeeper_stats"}[g.IntN(2):] {
		path := "/zookeeper/quota" + of + name
		m.Ops = append(m.Ops, wire.MultiOp{Op: wire.OpCreate, Request: wire.CreateRequest{Path: path, Data: g.dataFor(path), ACL: world}})
	}
	return m
}

func (g *generator) anyVersion() int32 {
	if g.IntN(2) == 0 {
		return -1
	}
	return g.Int32N(4)
}

func (g *generator) acl() []wire.ACL {
	if g.IntN(4) > 0 {
		return world
	}
	if g.members > 1 {
		return pick(g, acls[1:])
	}
	if g.IntN(10) == 0 {
		return []wire.ACL{{Perms: 31, Scheme: "digest", ID: pick(g, invalid) + ":x"}, world[0]}
	}
	return pick(g, acls) // of which the first is null
}

func (g *generator) data() []byte {
	switch g.IntN(5) {
	case 0:
		return nil
	case 1:
		return []byte{}
	}
	return []byte(fmt.Sprint(g.IntN(1000)))
}

func (g *generator) create(op wire.Op) wire.Record {
	flags := g.Int32N(4)
	path := g.target()
	if flags >= 2 && g.IntN(3) > 0 {
		path += pick(g, []string{"/", "/s-", "-"})
	}
	if g.IntN(30) == 0 {
		flags = g.Int32N(9) - 1
	}
	switch op {
	case wire.OpCreateTTL:
		if g.IntN(8) > 0 {
			flags = 5 + g.Int32N(2)
		}
		ttl := pick(g, []int64{1 << 30, 1 << 31, wire.MaxTTL})
		if g.IntN(8) == 0 {
			ttl = pick(g, []int64{0, -1, -2, wire.MaxTTL + 1})
		}
		if flags != 5 && flags != 6 {
			ttl = max(ttl, 0) // a negative one would end the real server for good
		}
		return wire.CreateTTLRequest{Path: path, Data: g.dataFor(path), ACL: g.acl(), Flags: flags, TTL: ttl}
	case wire.OpCreateContainer:
		if g.IntN(8) > 0 {
			flags = wire.FlagContainer
		} else if !g.alone {
			flags &^= wire.FlagEphemeral // such a container refuses children for as long as it is not committed
		}
	}
	return wire.CreateRequest{Path: path, Data: g.dataFor(path), ACL: g.acl(), Flags: flags}
}

func (g *generator) write() (wire.Op, wire.Record) {
	ops := []wire.Op{wire.OpCreate, wire.OpCreate, wire.OpDelete, wire.OpDelete, wire.OpSetData, wire.OpSetData}
	if g.version >= V35 {
		ops = append(ops, wire.OpCreate2, wire.OpCreateContainer, wire.OpCreateTTL)
	}
	switch op := pick(g, ops); op {
	case wire.OpDelete:
		return op, wire.PathVersionRequest{Path: g.target(), Version: g.anyVersion()}
	case wire.OpSetData:
		path := g.target()
		return op, wire.SetDataRequest{Path: path, Data: g.dataFor(path), Version: g.anyVersion()}
	default:
		return op, g.create(op)
	}
}

func (g *generator) list() []string {
	var list []string
	for range g.IntN(4) {
		list = append(list, g.path())
	}
	if list == nil {
		list = []string{}
	}
	return list
}

func (g *generator) step() step {
	if g.IntN(12) == 0 {
		st := step{si: g.IntN(paritySessions), op: opPipeline, name: "pipeline"}
		wrote := false
		g.alone = false
		defer func() { g.alone = true }()
		// Up to 3.5 an identity counts for the requests before it too, if they are slow.
		// Since 3.8.4 it does so for events, so that there is to be none.
		authed := g.version >= V36 && g.IntN(3) == 0
		for last := false; len(st.parts) < 6 && !last; {
			part := g.request(st.si)
			switch part.op {
			case opMove, opRenew, opWrongPassword, opHandshake, opRaw, wire.OpPing, wire.OpCheck:
				continue
			case wire.OpCloseSession:
				if slices.ContainsFunc(st.parts, func(p step) bool { return data.Writes(p.op) }) {
					continue // ephemeral nodes go in an order that depends on what is committed
				}
				last = true
			case wire.OpSetACL: // the real server may check what follows against the ACL before
				last = true
			}
			switch {
			case part.op == wire.OpAuth:
				continue // which may end the connection
			case authed && g.IntN(4) == 0:
				auth := wire.AuthRequest{Scheme: "digest", Auth: []byte(pick(g, []string{"u1:p", "u2:p", "ü:p"}))}
				part = step{op: wire.OpAuth, name: show(wire.OpAuth, auth), request: func(*peer) []wire.Record { return []wire.Record{auth} }}
				last = false
			case authed && g.version >= V38 && (data.Writes(part.op) || last):
				last = false
				continue
			}
			if !data.Version(g.version).Knows(part.op) { // which ends the connection
				continue
			}
			if data.Writes(part.op) && g.hard {
				if wrote {
					continue
				}
				wrote = true
			}
			st.parts = append(st.parts, part)
			st.name += ", " + part.name
		}
		return st
	}
	return g.request(g.IntN(paritySessions))
}

func (g *generator) request(si int) step {
	if g.IntN(16) == 0 {
		return g.rare(si)
	}
	return g.common(si)
}

// rare makes what clients seldom or never send.
func (g *generator) rare(si int) step {
	st := step{si: si}
	set := func(op wire.Op, recs ...wire.Record) {
		st.op = op
		st.name = show(op, recs)
		st.request = func(*peer) []wire.Record { return recs }
	}
	switch n := g.IntN(11); {
	case n == 10 && len(g.fixed) > 0:
		st = pick(g, g.fixed)
		st.si = si
	case n < 1:
		st.op, st.raw = opRaw, pick(g, [][]byte{
			{0, 0x10, 0, 0}, {0x7f, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, // lengths
			{0, 0, 0, 0}, {0, 0, 0, 3, 1, 2, 3}, {0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0}, // headers that are cut short
			{0, 0, 0, 12, 0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 100, 0, 0, 0, 0}, // auth without its strings
			[]byte("ruok"), []byte("GET / HTTP/1.1\r\n\r\n"),
		})
		st.name = fmt.Sprintf("raw %q", st.raw)
	case n < 3:
		st.op = opHandshake
		st.connect = wire.ConnectRequest{
			Timeout: pick(g, []int32{-5, 0, 499, 501, 60000, 60001, 1 << 30}), ProtocolVersion: g.Int32N(3),
			Password:    pick(g, [][]byte{nil, {}, make([]byte, 16), make([]byte, 8), make([]byte, 17)}),
			HasReadOnly: g.IntN(2) == 0, ReadOnly: g.IntN(2) == 0,
		}
		if g.version == V34 && st.connect.Password == nil {
			st.connect.Password = []byte{} // null would keep a thread of the real server busy for good
		}
		switch g.IntN(3) {
		case 0:
			st.connect.LastZxidSeen = 1 + g.Int64N(100) // ahead of the server
		case 1:
			st.connect.SessionID = 1 + g.Int64N(100) // unknown
		}
		st.connect.ReadOnly = st.connect.ReadOnly && st.connect.HasReadOnly
		st.name = show(OpConnect, st.connect)
	case n < 5:
		// A request that is cut short, or is followed by garbage.
		st = g.common(si)
		request, at := st.request, g.IntN(60)
		if request == nil || st.op == wire.OpSASL || st.op == wire.OpCloseSession || !g.mayBeMalformed(st.op) {
			return st
		}
		if !data.Writes(st.op) && st.op != wire.OpAuth && g.IntN(2) == 0 { // by a write it might end the real server
			bit := g.IntN(8 * 60)
			if st.op == wire.OpSetWatches || st.op == wire.OpSetWatches2 {
				bit += 64 // behind the zxid, which counts from another base on each side
			}
			st.name = fmt.Sprintf("%s with bit %d the other way", st.name, bit)
			st.request = func(p *peer) []wire.Record {
				var b []byte
				for _, r := range request(p) {
					b = r.Append(b)
				}
				if bit/8 < len(b) {
					b[bit/8] ^= 1 << (bit % 8)
				}
				return []wire.Record{encoded(b)}
			}
			return st
		}
		garbage := []byte{1, 2, 3, 4, 5}[:g.IntN(6)]
		st.name = fmt.Sprintf("%s cut at %d with %d bytes behind it", st.name, at, len(garbage))
		st.request = func(p *peer) []wire.Record {
			var b []byte
			for _, r := range request(p) {
				b = r.Append(b)
			}
			if len(garbage) == 0 {
				return []wire.Record{encoded(b[:min(at, len(b))])}
			}
			return []wire.Record{encoded(append(b, garbage...))}
		}
	case n < 6 && g.IntN(2) == 0:
		// An xid that clients keep for something else, or never get to.
		if st = g.common(si); st.request != nil && st.op != wire.OpPing && st.op != wire.OpAuth {
			st.xid = pick(g, []int32{-1 << 31, -8, -5, -3, 1<<31 - 1})
			st.name = fmt.Sprintf("%s with xid %d", st.name, st.xid)
		}
	case n < 6:
		// The largest frame that the server takes.
		q := wire.SetDataRequest{Path: "/none", Version: -1}
		q.Data = make([]byte, 0xfffff-len(q.Append(make([]byte, 8))))
		st.op, st.name = wire.OpSetData, "setData as large as can be"
		st.request = func(*peer) []wire.Record { return []wire.Record{q} }
	case n < 7 && g.version >= V35:
		set(data.OpDeleteContainer, wire.PathRequest{Path: g.path()})
	case n < 8 && g.version >= V35:
		q := wire.ReconfigRequest{
			Joining: pick(g, []*string{nil, ptr(""), ptr("server.2=127.0.0.1:1:2;3")}), Leaving: pick(g, []*string{nil, ptr("1")}),
			NewMembers: pick(g, []*string{nil, ptr("server.2=127.0.0.1:1:2;3")}), ConfigID: g.Int64N(3) - 1,
		}
		if g.members > 1 { // which would do it
			q.ConfigID = 1 + g.Int64N(3)
			if g.IntN(2) == 0 {
				q = wire.ReconfigRequest{Joining: pick(g, []*string{nil, ptr("")}), Leaving: ptr("1,2"), ConfigID: -1}
			}
		}
		set(wire.OpReconfig, q)
	case g.IntN(3) == 0:
		set(wire.OpDelete, wire.PathVersionRequest{Path: "/zookeeper/quota" + pick(g, []string{"/a", "/a/a", "/b", "/a/a/a"}) + "/zookeeper_limits", Version: -1})
	default:
		set(wire.OpMulti, g.quota())
	}
	return st
}

func (g *generator) common(si int) step {
	st := step{si: si}
	set := func(op wire.Op, recs ...wire.Record) {
		st.op = op
		st.name = show(op, recs)
		st.request = func(*peer) []wire.Record { return recs }
	}
	switch n := g.IntN(100); {
	case n < 40:
		op, rec := g.write()
		set(op, rec)
	case n < 62:
		path := g.path()
		if g.IntN(8) == 0 {
			path = pick(g, quotaPaths)
		}
		op := pick(g, []wire.Op{wire.OpGetData, wire.OpExists, wire.OpGetChildren, wire.OpGetChildren2})
		set(op, wire.PathWatchRequest{Path: path, Watch: g.IntN(3) > 0})
	case n < 68:
		var m wire.MultiRequest
		for range g.IntN(5) {
			if g.IntN(4) == 0 {
				m.Ops = append(m.Ops, wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: g.path(), Version: g.anyVersion()}})
				continue
			}
			op, rec := g.write()
			m.Ops = append(m.Ops, wire.MultiOp{Op: op, Request: rec})
		}
		set(wire.OpMulti, m)
	case n < 70:
		set(wire.OpSetACL, wire.SetACLRequest{Path: g.path(), ACL: g.acl(), Version: g.anyVersion()})
	case n < 72:
		set(wire.OpGetACL, wire.PathRequest{Path: g.path()})
	case n < 74:
		set(wire.OpSync, wire.PathRequest{Path: g.path()})
	case n < 76:
		scheme := "digest"
		if g.IntN(10) == 0 {
			scheme = pick(g, []string{"ip", "nope", "world", "auth", "super", ""})
		}
		if g.IntN(8) == 0 {
			user := pick(g, invalid)
			if g.members > 1 && strings.Contains(user, "\U0001F600") {
				user = "" // an ACL with it would be another to the real leader than to its followers
			}
			set(wire.OpAuth, wire.AuthRequest{Scheme: scheme, Auth: []byte(user + ":p")})
			break
		}
		set(wire.OpAuth, wire.AuthRequest{Scheme: scheme, Auth: []byte(pick(g, []string{"u1:p", "u2:p", "", "x", "u1:p", apache.SuperCredential, "ü:p", "\xff:p", "u1:p:q", ":", "super:wrong"}))})
	case n < 80:
		back := g.Int64N(30)
		q := wire.SetWatches2Request{Data: g.list(), Exist: g.list(), Child: g.list(), Persistent: g.list(), Recursive: g.list()}
		st.op = wire.OpSetWatches
		if g.version >= V36 && g.IntN(2) == 0 {
			st.op = wire.OpSetWatches2
		}
		st.name = show(st.op, -back, q)
		st.request = func(p *peer) []wire.Record {
			q := q // both peers ask for it at once
			q.RelativeZxid = max(p.sessions[st.si].zxid-back, p.base)
			if back > 26 {
				q.RelativeZxid = []int64{0, -1, math.MaxInt64}[back-27]
			}
			if st.op == wire.OpSetWatches {
				return []wire.Record{wire.SetWatchesRequest{RelativeZxid: q.RelativeZxid, Data: q.Data, Exist: q.Exist, Child: q.Child}}
			}
			return []wire.Record{q}
		}
	case n < 82:
		st.op, st.to = pick(g, []wire.Op{opMove, opMove, opMove, opRenew, opWrongPassword}), si
		if g.members > 1 {
			st.to = g.IntN(g.members)
			if st.op == opMove && st.to != si && g.IntN(2) == 0 {
				stale := g.common(si)
				if stale.request != nil && data.Version(g.version).Knows(stale.op) {
					st.stale = &stale
				}
			}
		}
		if st.name = fmt.Sprintf("reconnect %d to member %d", st.op, st.to); st.stale != nil {
			st.name += " while the old connection sends " + st.stale.name
		}
	case n < 83:
		set(wire.OpCloseSession)
	case n < 84:
		// A malformed or unknown request.
		op := wire.Op(g.Int32N(120))
		switch op {
		case wire.OpAuth, wire.OpSASL, 20, wire.OpReconfig: // of their own kind
			op = wire.OpGetData
		}
		if !g.mayBeMalformed(op) {
			op = wire.OpExists
		}
		set(op, wire.ErrorResponse{Err: pick(g, []int32{-1, 5, 99, -7, 0})})
	case g.version < V35:
		set(wire.OpExists, wire.PathWatchRequest{Path: g.path(), Watch: true})
	case n < 88:
		op := pick(g, []wire.Op{wire.OpCheckWatches, wire.OpRemoveWatches})
		path := g.path()
		if g.IntN(10) == 0 {
			path = pick(g, []string{"a", "a/b", "+/a/b", "", "/a/"})
		}
		set(op, wire.WatcherTypeRequest{Path: path, Type: g.Int32N(7)})
	case g.version < V36:
		set(wire.OpGetData, wire.PathWatchRequest{Path: g.path(), Watch: true})
	case n < 94:
		path := g.path()
		if g.IntN(20) == 0 {
			path = pick(g, []string{"a", "a/b"})
		}
		set(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: g.Int32N(2) + g.Int32N(20)/19})
	case n < 95:
		set(wire.OpGetEphemerals, wire.PathRequest{Path: pick(g, []string{"", "/", " ", "/a", "/b/", "a", g.path()})})
	case n < 96:
		set(wire.OpAllChildrenNumber, wire.PathRequest{Path: g.path()})
	case n < 98:
		var m wire.MultiRequest
		for range g.IntN(4) {
			m.Ops = append(m.Ops, wire.MultiOp{Op: pick(g, []wire.Op{wire.OpGetData, wire.OpGetChildren}), Request: wire.PathWatchRequest{Path: g.path(), Watch: g.IntN(2) == 0}})
		}
		set(wire.OpMultiRead, m)
	case g.version >= V37:
		set(wire.OpWhoAmI)
	default:
		set(wire.OpSync, wire.PathRequest{Path: "/"})
	}
	return st
}
