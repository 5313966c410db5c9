package zktest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// command sends a four-letter word, and more behind it, and returns the answer.
func command(t testing.TB, nc net.Conn, words ...string) string {
	t.Helper()
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	for _, w := range words {
		if _, err := io.WriteString(nc, w); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(nc)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (e *Ensemble) ask(t testing.TB, member int, words ...string) string {
	t.Helper()
	return command(t, open(t, e, member).nc, words...)
}

func TestFourLetterWords(t *testing.T) {
	e := NewEnsemble(t, 3, Options{Majority: true, ReadOnlyMode: true, InMemory: true})
	has := func(member int, word, want string) {
		t.Helper()
		if got := e.ask(t, member, word); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", word, got, want)
		}
	}
	assert.Equal(t, e.ask(t, 0, "ruok"), "imok")
	assert.Equal(t, e.ask(t, 0, "isro"), "rw")
	assert.Equal(t, e.ask(t, 0, "gtmk"), "306")
	assert.Equal(t, e.ask(t, 0, "stmk", "\x00\x00\x00\x00\x00\x00\x00\x07"), "7")
	assert.Equal(t, e.ask(t, 0, "gtmk"), "7")
	has(0, "srvr", "Mode: leader\n")
	has(1, "srvr", "Mode: follower\n")
	c := dial(t, e, 1)
	c.watch(wire.OpExists, "/a")
	has(1, "cons", fmt.Sprintf("[1](queued=0,recved=2,sent=2,sid=0x%x,lop=EXIS,est=", c.id))
	has(1, "cons", ",to=5000,lcxid=0x1,lzxid=0x100000001,lresp=")
	c.tryCreate("/no/a", 0)
	has(1, "cons", ",lop=NA,")
	has(1, "wchc", fmt.Sprintf("0x%x\n\t/a\n", c.id))
	has(1, "wchs", "1 connections watching 1 paths\nTotal watches:1\n")
	has(1, "dump", fmt.Sprintf("Global Sessions(1):\n0x%x\t5000ms\n", c.id))
	e.Member(1).Isolate()
	has(1, "stat", "READ-ONLY mode; serving only read-only clients\nClients:\n")
	assert.Equal(t, e.ask(t, 1, "isro"), "ro")

	// A server that does not serve, and does not tell everything.
	e = NewEnsemble(t, 3, Options{Majority: true, FourLetterWords: "mntr, hash, isro,ruok,envi"})
	assert.Equal(t, e.ask(t, 0, "wchp"), "wchp is not executed because it is not in the whitelist.\n")
	has(0, "srvr", "Node count: 5\n")
	e.Member(1).Stop()
	e.Member(2).Stop()
	for _, word := range []string{"srvr", "mntr"} {
		assert.Equal(t, e.ask(t, 0, word), notServing)
	}
	assert.Equal(t, e.ask(t, 0, "hash"), notServing[:len(notServing)-1])
	assert.Equal(t, e.ask(t, 0, "isro"), "null")
	assert.Equal(t, e.ask(t, 0, "ruok"), "imok")
	has(0, "envi", "Environment:\nzookeeper.version=3.9.5-")

	// What a release does not know is the beginning of a frame that is too long.
	e = NewEnsemble(t, 1, Options{Version: V34})
	assert.Equal(t, e.ask(t, 0, "hash"), "")
	assert.Equal(t, e.ask(t, 0, "dirs"), "")
	nc := open(t, e, 0).nc
	_, err := io.WriteString(nc, "stmk\x00\x00")
	assert.NilError(t, err)
	nc.(*net.TCPConn).CloseWrite()
	assert.Equal(t, command(t, nc), "")
}

// TestFourLetterWordsLikeReal sends the same to servers of this package and to
// real ones, and compares what they tell, but for times, addresses and names.
func TestFourLetterWordsLikeReal(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		for _, members := range []int{1, 3} {
			t.Run(fmt.Sprint(release, " of ", members), func(t *testing.T) {
				var differ string
				for range 3 { // a real server counts what it has sent a little after the client has it
					if differ = compareWords(t, release, members); differ == "" {
						return
					}
				}
				t.Error(differ)
			})
		}
	}
}

func compareWords(t *testing.T, release apache.Release, members int) (differ string) {
	real := apache.New(t, apache.Config{Release: release, Members: members})
	defer real.Close()
	leads, err := real.Leader()
	assert.NilError(t, err)
	ours := NewEnsemble(t, members, Options{Version: parityVersions[release], MinSessionTimeout: 500 * time.Millisecond, MaxSessionTimeout: time.Minute})
	addrs := func(leads int, all []string) []string { // the leader's first
		return slices.Concat(all[leads:leads+1], all[:leads], all[leads+1:])
	}
	told := tell(t, addrs(0, ours.Addrs()), ours.opts.Version)
	want := tell(t, addrs(leads, real.Addrs()), ours.opts.Version)
	for _, key := range slices.Sorted(maps.Keys(told)) {
		if told[key] != want[key] {
			differ += fmt.Sprintf("%s\nours:\n%s\nreal:\n%s\n", key, told[key], want[key])
		}
	}
	return differ
}

// tell uses servers a little and returns what they answer to all words, by member and word.
func tell(t *testing.T, addrs []string, version Version) map[string]string {
	dial := func(addr string) net.Conn {
		nc, err := net.Dial("tcp", addr)
		assert.NilError(t, err)
		return nc
	}
	told := map[string]string{}
	for i, addr := range addrs[:min(2, len(addrs))] {
		// The server's own start and the waiting for it leave traces.
		command(t, dial(addr), "srst")
		var sessions []*client
		for range 2 {
			c := &client{t: t, nc: dial(addr)}
			defer c.nc.Close()
			_, err := c.connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16), HasReadOnly: true})
			assert.NilError(t, err)
			sessions = append(sessions, c)
		}
		a, b := sessions[0], sessions[1]
		a.create(fmt.Sprint("/a", i), []byte("123"), 0)
		a.create(fmt.Sprint("/e", i), []byte("123"), wire.FlagEphemeral)
		a.create(fmt.Sprint("/e", i, 2), []byte("123"), wire.FlagEphemeral)
		b.create(fmt.Sprint("/f", i), []byte("é"), wire.FlagEphemeral)
		a.watch(wire.OpGetData, fmt.Sprint("/a", i))
		a.watch(wire.OpGetChildren, fmt.Sprint("/a", i))
		b.watch(wire.OpGetData, fmt.Sprint("/a", i))
		b.watch(wire.OpExists, "/x")
		b.set(fmt.Sprint("/f", i), "changed")
		a.ping()
		b.tryCreate(fmt.Sprint("/f", i), 0)
		if version >= V35 {
			a.must(wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: fmt.Sprint("/a", i), Type: wire.WatcherChildren}, nil)
		}
		for _, word := range []string{
			"ruok", "stat", "srvr", "cons", "mntr", "isro", "conf", "envi", "dump", "wchs", "wchc", "wchp", "dirs", "hash", "gtmk",
			"srst", "crst", "cons", "srvr", "xxxx",
		} {
			key := fmt.Sprintf("member %d: %s", i, word)
			if _, again := told[key]; again {
				key += " again"
			}
			nc := dial(addr)
			names := strings.NewReplacer(
				fmt.Sprintf("0x%x", uint64(a.id)), "session A", fmt.Sprintf("0x%x", uint64(b.id)), "session B",
				a.nc.LocalAddr().String(), "A", b.nc.LocalAddr().String(), "B", nc.LocalAddr().String(), "SELF",
			)
			told[key] = plain(names.Replace(command(t, nc, word)), word)
		}
	}
	return told
}

// The figures are those of real servers.
func TestSizes(t *testing.T) {
	for version := V34; version <= V39; version++ {
		e := NewEnsemble(t, 3, Options{Version: version})
		alone := NewServer(t, Options{Version: version})
		assert.Equal(t, alone.Zxid(), int64(0))
		has := func(e *Ensemble, word, want string) {
			t.Helper()
			if got := e.ask(t, 0, word); !strings.Contains(got, want) {
				t.Errorf("%v: %s: %q, want %q in it", version, word, got, want)
			}
		}
		before := regexp.MustCompile(`approximate_data_size\t(\d+)`)
		size := func() int {
			n, err := strconv.Atoi(before.FindStringSubmatch(alone.ask(t, 0, "mntr"))[1])
			assert.NilError(t, err)
			return n
		}
		empty, root := size(), 16
		digest := 0
		if version >= V36 {
			root, digest = 8, 12
		}
		c := dial(t, alone.Ensemble, 0)
		c.set("/", "the root")
		assert.Equal(t, size(), empty+root)
		c.create("/é", []byte("123"), 0)
		assert.Equal(t, size(), empty+root+5)
		c.del("/é")
		c.set("/", "")
		assert.Equal(t, size(), empty)
		has(alone.Ensemble, "srvr", "Zxid: 0x5\n")

		has(e, "srvr", "Proposal sizes last/min/max: -1/-1/-1\n")
		c = dial(t, e, 1)
		c.create("/a", []byte("123"), 0)
		c.tryCreate("/a", 0)
		has(e, "srvr", fmt.Sprintf("Proposal sizes last/min/max: 36/36/%d\n", 77+digest))
		has(e, "mntr", fmt.Sprintf("zk_max_proposal_size\t%d\n", 77+digest))
		e.ask(t, 0, "srst")
		has(e, "srvr", "Proposal sizes last/min/max: -1/-1/-1\n")
	}
}

// TestSizesLikeReal compares the sizes that a server tells of its data and, as
// a leader, of its proposals, and its zxids.
func TestSizesLikeReal(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		for _, members := range []int{1, 3} {
			t.Run(fmt.Sprint(release, " of ", members), func(t *testing.T) {
				real := apache.New(t, apache.Config{Release: release, Members: members})
				leads, err := real.Leader()
				assert.NilError(t, err)
				version := parityVersions[release]
				ours := NewEnsemble(t, members, Options{Version: version, MaxSessionTimeout: time.Minute, Super: apache.SuperCredential, Reconfig: true})
				got, want := tellSizes(t, ours.Addrs()[ours.Leader()], version), tellSizes(t, real.Addrs()[leads], version)
				assert.Equal(t, got, want)
			})
		}
	}
}

// tellSizes returns what a server tells of sizes after requests of each kind.
func tellSizes(t *testing.T, addr string, version Version) string {
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", addr)
		assert.NilError(t, err)
		return nc
	}
	connect := func() *client {
		c := &client{t: t, nc: dial()}
		_, err := c.connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16), HasReadOnly: true})
		assert.NilError(t, err)
		return c
	}
	var told strings.Builder
	said := regexp.MustCompile(`(?m)^(zk_approximate_data_size.*|Zxid.*|Proposal.*|Node count.*)\n`)
	look := func(what string) {
		told.WriteString(what + ":")
		for _, word := range []string{"mntr", "srvr"} {
			for _, line := range said.FindAllString(command(t, dial(), word), -1) {
				told.WriteString(" " + strings.TrimSpace(line))
			}
		}
		told.WriteString("\n")
		command(t, dial(), "srst")
	}
	look("the beginning")
	command(t, dial(), "srst")
	c := connect()
	defer c.nc.Close()
	look("a session")
	do := func(op wire.Op, rec wire.Record) {
		if version < since(op) {
			return
		}
		h, _, err := c.recv(c.send(op, rec))
		assert.NilError(t, err)
		look(fmt.Sprintf("%v %.50q: %d", op, rec.Append(nil), h.Err))
	}
	for _, st := range sizeSteps(version) {
		do(st.Op, st.Request)
	}
	do(wire.OpCloseSession, jute())
	c = connect()
	do(wire.OpCloseSession, jute())
	return told.String()
}

// sizeSteps are requests of each kind.
func sizeSteps(version Version) []wire.MultiOp {
	var list []wire.MultiOp
	add := func(op wire.Op, rec wire.Record) { list = append(list, wire.MultiOp{Op: op, Request: rec}) }
	two := []wire.ACL{{Perms: 31, Scheme: "digest", ID: "a:b"}, {Perms: 1, Scheme: "world", ID: "anyone"}}
	add(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte(apache.SuperCredential)})
	add(wire.OpCreate, wire.CreateRequest{Path: "/a", Data: []byte("123"), ACL: world})
	add(wire.OpCreate, wire.CreateRequest{Path: "/a", Data: []byte("123"), ACL: world})
	add(wire.OpCreate, wire.CreateRequest{Path: "/null", ACL: two, Flags: wire.FlagPersistentSequential})
	add(wire.OpCreate2, wire.CreateRequest{Path: "/a/é", Data: []byte("é"), ACL: world})
	add(wire.OpCreate, wire.CreateRequest{Path: "/e", Data: []byte("123"), ACL: world, Flags: wire.FlagEphemeral})
	add(wire.OpCreate, wire.CreateRequest{Path: "/e-", Data: []byte("123"), ACL: world, Flags: wire.FlagEphemeralSequential})
	add(wire.OpCreateContainer, wire.CreateRequest{Path: "/c", Data: []byte("123"), ACL: world, Flags: wire.FlagContainer})
	add(wire.OpCreateTTL, wire.CreateTTLRequest{Path: "/t", Data: []byte("123"), ACL: world, Flags: wire.FlagPersistentTTL, TTL: 1 << 30})
	add(wire.OpSetData, wire.SetDataRequest{Path: "/a", Data: []byte("12345"), Version: -1})
	add(wire.OpSetData, wire.SetDataRequest{Path: "/", Data: []byte("the root"), Version: -1})
	add(wire.OpSetData, wire.SetDataRequest{Path: "/", Data: []byte("again"), Version: -1})
	add(wire.OpSetData, wire.SetDataRequest{Path: "/none", Data: []byte("12345"), Version: -1})
	add(wire.OpSetACL, wire.SetACLRequest{Path: "/a", ACL: two, Version: -1})
	add(wire.OpDelete, wire.PathVersionRequest{Path: "/a", Version: -1})
	check := wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/", Version: -1}}
	set := wire.MultiOp{Op: wire.OpSetData, Request: wire.SetDataRequest{Path: "/", Data: []byte("x"), Version: -1}}
	put := wire.MultiOp{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/m", Data: []byte("12"), ACL: world}}
	wrong := wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/none", Version: -1}}
	del := wire.MultiOp{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/m", Version: -1}}
	add(wire.OpMulti, juteMulti())
	add(wire.OpMulti, juteMulti(check, set, put))
	add(wire.OpMulti, juteMulti(set, wrong, del))
	add(wire.OpMulti, juteMulti(del, put, check))
	if version >= V39 { // by this an older ensemble loses a zxid, and never answers
		add(wire.OpMulti, juteMulti(check, wire.MultiOp{Op: wire.OpCheck, Request: jute(nil, -1)}))
	}
	for _, path := range []string{"/m", "/m/zookeeper_stats", "/m/zookeeper_limits"} {
		add(wire.OpCreate, wire.CreateRequest{Path: data.QuotaPath + path, Data: []byte("count=10000,bytes=-1"), ACL: world})
	}
	add(wire.OpCreate, wire.CreateRequest{Path: "/m/x", Data: []byte("1234567890"), ACL: world})
	add(wire.OpSetData, wire.SetDataRequest{Path: "/m/x", Data: make([]byte, 1000), Version: -1})
	add(wire.OpSetData, wire.SetDataRequest{Path: data.QuotaPath + "/m/zookeeper_stats", Data: []byte("count=1,bytes=1"), Version: -1})
	add(wire.OpDelete, wire.PathVersionRequest{Path: "/m/x", Version: -1})
	add(wire.OpDelete, wire.PathVersionRequest{Path: data.QuotaPath + "/m/zookeeper_stats", Version: -1})
	add(wire.OpSetData, wire.SetDataRequest{Path: data.ProcPath, Data: []byte("123"), Version: -1})
	add(wire.OpReconfig, wire.ReconfigRequest{Leaving: ptr("9"), ConfigID: -1})
	add(wire.OpSetData, wire.SetDataRequest{Path: data.ConfigPath, Data: []byte{}, Version: -1})
	return list
}

// plain leaves out of an answer what need not be equal.
func plain(text, word string) string {
	for _, r := range [][2]string{
		{`version(:|=|\t) ?(3\.\d+\.\d+).*`, "version $2"},
		{`Latency min/avg/max: \d+/[\d.]+/\d+`, "Latency"},
		{`(?m)^zk_(\w*(latency|uptime|file_descriptor_count))\t.*`, "zk_$1"},
		{`est=\d+`, "est"}, {`lzxid=0x[0-9a-f]+`, "lzxid"}, {`lresp=\d+,llat=\d+,minlat=\d+,avglat=\d+,maxlat=\d+`, "latencies"},
		{`0x10{6,7}([0-9a-f]+)\b`, "0x$1"}, {`0x[0-9a-f]{15,16}\b`, "session"}, // epochs
		{`(?m)^\d+ expire at .*\n`, ""}, {`Sets \(\d+\)`, "Sets"}, // by intervals that begin at any time
		{`(?m)^(data\w+|\w*dir_size|\w*Port)(=|: ).*`, "$1"},
		{`127\.0\.0\.1:[0-9:]+`, "addr"}, {`(?m)^version=.*`, "version"}, {`serverId=[123]`, "serverId"}, {`Tracker@.*`, "Tracker"},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	lines := strings.SplitAfter(text, "\n")
	switch word {
	case "envi":
		for i, line := range lines {
			lines[i], _, _ = strings.Cut(line, "=")
		}
	case "mntr":
		slices.Sort(lines)
		var keep []string
		for _, line := range lines {
			key, _, _ := strings.Cut(line, "\t")
			if slices.Contains(gauges, strings.TrimPrefix(strings.TrimSpace(key), "zk_")) {
				keep = append(keep, line)
			}
		}
		lines = keep
	case "stat", "cons", "dump", "wchc", "wchp": // sets without an order, and what hangs on their members
		var groups []string
		for _, line := range lines {
			if strings.HasPrefix(line, "\t") && len(groups) > 0 && word[0] == 'w' {
				groups[len(groups)-1] += line
				continue
			}
			groups = append(groups, line)
		}
		for i, g := range groups {
			if parts := strings.SplitAfter(g, "\n"); len(parts) > 1 {
				slices.Sort(parts[1:]) // behind the one that they belong to
				groups[i] = strings.Join(parts, "")
			}
		}
		slices.Sort(groups)
		lines = groups
	}
	return strings.Join(lines, "")
}

// gauges are the lines of mntr that servers of this package have.
var gauges = strings.Fields(`version server_state peer_state ephemerals_count num_alive_connections avg_latency outstanding_requests znode_count
	global_sessions non_mtls_remote_conn_count last_client_response_size packets_sent packets_received max_client_response_size
	connection_drop_probability watch_count auth_failed_count min_latency max_file_descriptor_count approximate_data_size
	open_file_descriptor_count local_sessions uptime max_latency outstanding_tls_handshake min_client_response_size
	non_mtls_local_conn_count min_proposal_size max_proposal_size last_proposal_size synced_followers synced_non_voting_followers
	synced_observers pending_syncs leader_uptime learners quorum_size followers fsync_threshold_exceed_count`)

func TestMajority(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		e := NewEnsemble(t, 3, Options{Majority: true, ReadOnlyMode: readOnly})
		c, other := dial(t, e, 0), dial(t, e, 1)
		c.create("/e", []byte("1"), wire.FlagEphemeral)
		other.ping()

		// The loss of a follower is felt only by its own clients.
		e.Member(2).Stop()
		c.ping()
		assert.Equal(t, e.Leader(), 0)
		epoch := e.Zxid() >> 32

		// That of the majority is felt by all.
		e.Member(1).Isolate()
		c.ended()
		other.ended()
		assert.Equal(t, e.Leader(), -1)
		for i := range 2 {
			_, _, err := c.move(e, i)
			assert.Assert(t, err != nil, "member %d takes a session without a majority", i)
			n := open(t, e, i)
			_, err = n.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), HasReadOnly: true, ReadOnly: true})
			assert.Equal(t, err == nil, readOnly)
			if readOnly {
				assert.Assert(t, n.ro)
				_, code := n.stat("/e")
				assert.Equal(t, code, int32(0))
				assert.Equal(t, n.tryCreate("/x", 0), wire.ErrNotReadOnly)
			}
		}
		e.Elect() // nobody is there to choose
		assert.Equal(t, e.Leader(), -1)

		// With the majority back there is a leader, a new epoch, and the old sessions.
		e.Member(2).Start()
		assert.Equal(t, e.Leader(), 2)
		assert.Equal(t, e.Zxid()>>32, epoch+1)
		n, r, err := c.move(e, 2)
		assert.NilError(t, err)
		assert.Equal(t, r.SessionID, c.id)
		n.set("/e", "2")
		_, _, err = c.move(e, 1)
		assert.Assert(t, err != nil, "an isolated member takes a session of the ensemble")

		e.Member(1).Rejoin()
		n.ping()
		m, _, err := n.move(e, 1)
		assert.NilError(t, err)
		assert.Equal(t, m.data("/e"), "2")

		// The loss of the leader is felt by all too.
		e.Member(2).Stop()
		m.ended()
		assert.Equal(t, e.Leader(), 0)
		assert.Equal(t, e.Zxid()>>32, epoch+2)
	}
}

// Without a leader nothing expires and nothing is reaped.
func TestNobodyExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnsemble(t, 3, Options{Majority: true, InMemory: true})
		c := dial(t, e, 0)
		c.create("/e", nil, wire.FlagEphemeral)
		c.must(wire.OpCreateTTL, wire.CreateTTLRequest{Path: "/t", ACL: world, Flags: wire.FlagPersistentTTL, TTL: 1000}, &wire.Create2Response{})
		e.Member(1).Stop()
		e.Member(2).Stop()
		time.Sleep(time.Minute)
		e.Member(1).Start()
		n, r, err := c.move(e, 1)
		assert.NilError(t, err)
		assert.Equal(t, r.SessionID, c.id)
		time.Sleep(time.Second)
		_, code := n.stat("/t")
		assert.Equal(t, code, wire.ErrNoNode)
		time.Sleep(5 * time.Second)
		n.ended()
	})
}

// Without Options.Majority the members do not mind.
func TestIsolate(t *testing.T) {
	e := NewEnsemble(t, 2, Options{InMemory: true})
	c := dial(t, e, 0)
	c.create("/a", nil, 0)
	e.Member(0).Isolate()
	c.ended()
	assert.Equal(t, e.Leader(), 1)
	_, err := e.DialContext(context.Background(), "tcp", e.Addr())
	assert.NilError(t, err) // accepted, but
	_, _, err = c.move(e, 0)
	assert.Assert(t, err != nil)
	n, _, err := c.move(e, 1)
	assert.NilError(t, err)
	n.set("/a", "1")
	e.Member(0).Rejoin()
	n, _, err = n.move(e, 0)
	assert.NilError(t, err)
	assert.Equal(t, n.data("/a"), "1")
}
