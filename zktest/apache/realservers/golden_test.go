package realservers

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-9f8420c6/zk/internal/samples"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// recording keeps the frames of one or more connections, in the order in which
// the client saw them.
type recording struct {
	text bytes.Buffer
	n    int
	ops  map[string]int // labels of the requests and how often they were sent
}

// add keeps one frame, with its length in front.
func (r *recording) add(direction, label string, frame []byte) {
	if r == nil {
		return
	}
	r.n++
	if direction == "client to server" {
		r.ops[label]++
	}
	fmt.Fprintf(&r.text, ">>> Flow %d (%s): %s\n%s", r.n, direction, label, hex.Dump(frame))
}

// comment keeps a line that says what the next frames show.
func (r *recording) comment(s string) { fmt.Fprintf(&r.text, "# %s\n", s) }

// The golden transcripts are what real servers say. This test records them
// again with -update-golden; every time it checks that today's script still
// gets the same answers from both releases.
func TestRecordGolden(t *testing.T) {
	for _, release := range apache.Default() {
		t.Run(string(release), func(t *testing.T) {
			minor := string(release[:strings.LastIndexByte(string(release), '.')])
			rec := &recording{ops: map[string]int{}}
			fmt.Fprintf(&rec.text, "# Recorded from Apache ZooKeeper %s by\n"+
				"#   go test ./zktest/apache/realservers -run TestRecordGolden -update-golden\n"+
				"# Every connection begins with a connect.\n", release)
			script(t, rec, release)
			saslScript(t, rec, release)
			for op := range samples.Requests {
				if rec.ops[op.String()] == 0 && op != wire.OpCheck { // which is part of a multi
					t.Errorf("no request of type %v", op)
				}
			}
			if *updateGolden && !t.Failed() {
				path := filepath.Join("..", "..", "..", "testdata", "golden", minor+".txt")
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, rec.text.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: %d frames, %d bytes", path, rec.n, rec.text.Len())
			}
		})
	}
}

// script has a conversation about everything but SASL.
func script(t *testing.T, rec *recording, release apache.Release) {
	e := apache.New(t, apache.Config{Release: release, Members: 3})
	leader, err := e.Leader()
	if err != nil {
		t.Fatal(err)
	}
	addr := e.Member(leader).Addr()
	create := func(path string, data []byte, flags int32) wire.CreateRequest {
		return wire.CreateRequest{Path: path, Data: data, ACL: open, Flags: flags}
	}
	watch := func(path string) wire.PathWatchRequest { return wire.PathWatchRequest{Path: path, Watch: true} }
	plain := func(path string) wire.PathWatchRequest { return wire.PathWatchRequest{Path: path} }
	set := func(path, data string, version int32) wire.SetDataRequest {
		return wire.SetDataRequest{Path: path, Data: []byte(data), Version: version}
	}

	rec.comment("a new session; ping, auth and whoAmI")
	c := connect(t, rec, addr, fresh())
	c.ok(wire.OpPing, nil)
	c.ok(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("user:password")})
	c.ok(wire.OpWhoAmI, nil)

	rec.comment("create in all its forms")
	c.ok(wire.OpCreate, create("/g", []byte("hello"), wire.FlagPersistent))
	c.want(wire.ErrNodeExists, wire.OpCreate, create("/g", []byte("hello"), wire.FlagPersistent))
	c.want(wire.ErrNoNode, wire.OpCreate, create("/none/child", nil, wire.FlagPersistent))
	c.want(wire.ErrInvalidACL, wire.OpCreate, wire.CreateRequest{Path: "/g/noacl", ACL: []wire.ACL{}})
	c.want(wire.ErrBadArguments, wire.OpCreate, create("/g/.", nil, wire.FlagPersistent))
	c.ok(wire.OpCreate, create("/g/seq-", []byte{}, wire.FlagPersistentSequential))
	c.ok(wire.OpCreate, create("/g/eph", []byte("mine"), wire.FlagEphemeral))
	c.ok(wire.OpCreate, create("/g/ephseq-", nil, wire.FlagEphemeralSequential))
	c.want(wire.ErrNoChildrenForEphemerals, wire.OpCreate, create("/g/eph/child", nil, wire.FlagPersistent))
	c.ok(wire.OpCreate2, create("/g/null", nil, wire.FlagPersistent))
	c.want(wire.ErrNodeExists, wire.OpCreate2, create("/g/null", nil, wire.FlagPersistent))
	c.ok(wire.OpCreate2, create("/g/empty", []byte{}, wire.FlagPersistent))
	c.ok(wire.OpCreateContainer, create("/g/container", []byte("c"), wire.FlagContainer))
	ttl := wire.CreateTTLRequest{Path: "/g/ttl", Data: []byte("t"), ACL: open, Flags: wire.FlagPersistentTTL, TTL: 3_600_000}
	c.ok(wire.OpCreateTTL, ttl)
	ttl.Path, ttl.Flags = "/g/ttlseq-", wire.FlagPersistentSequentialTTL
	c.ok(wire.OpCreateTTL, ttl)
	ttl.TTL = 0
	c.want(wire.ErrBadArguments, wire.OpCreateTTL, ttl)

	rec.comment("reads; null and empty data differ")
	c.ok(wire.OpGetData, plain("/g"))
	d := c.ok(wire.OpGetData, plain("/g/null"))
	if b := d.Buffer(); b != nil {
		t.Errorf("null data came back as %q", b)
	}
	d = c.ok(wire.OpGetData, plain("/g/empty"))
	if b := d.Buffer(); b == nil || len(b) > 0 {
		t.Errorf("empty data came back as %#v", b)
	}
	c.want(wire.ErrNoNode, wire.OpGetData, plain("/none"))
	c.ok(wire.OpExists, plain("/g/eph"))
	c.want(wire.ErrNoNode, wire.OpExists, plain("/none"))
	c.ok(wire.OpGetChildren, plain("/g"))
	c.ok(wire.OpGetChildren, plain("/g/null"))
	c.want(wire.ErrNoNode, wire.OpGetChildren, plain("/none"))
	c.ok(wire.OpGetChildren2, plain("/g"))
	c.ok(wire.OpGetEphemerals, wire.PathRequest{Path: "/g"})
	c.ok(wire.OpGetEphemerals, wire.PathRequest{Path: "/none"})
	c.ok(wire.OpAllChildrenNumber, wire.PathRequest{Path: "/g"})
	c.ok(wire.OpSync, wire.PathRequest{Path: "/g"})

	rec.comment("setData, delete, ACLs")
	c.ok(wire.OpSetData, set("/g", "more", 0))
	c.want(wire.ErrBadVersion, wire.OpSetData, set("/g", "more", 0))
	c.want(wire.ErrNoNode, wire.OpSetData, set("/none", "more", -1))
	c.want(wire.ErrNotEmpty, wire.OpDelete, wire.PathVersionRequest{Path: "/g", Version: -1})
	c.want(wire.ErrBadVersion, wire.OpDelete, wire.PathVersionRequest{Path: "/g/empty", Version: 7})
	c.ok(wire.OpDelete, wire.PathVersionRequest{Path: "/g/empty", Version: 0})
	c.want(wire.ErrNoNode, wire.OpDelete, wire.PathVersionRequest{Path: "/g/empty", Version: -1})
	c.ok(wire.OpGetACL, wire.PathRequest{Path: "/g"})
	c.ok(wire.OpSetACL, wire.SetACLRequest{Path: "/g/null", Version: 0, ACL: []wire.ACL{
		{Perms: wire.PermAll, Scheme: "auth"}, {Perms: wire.PermRead, Scheme: "ip", ID: "127.0.0.2"},
	}})
	c.ok(wire.OpGetACL, wire.PathRequest{Path: "/g/null"})
	c.want(wire.ErrBadVersion, wire.OpSetACL, wire.SetACLRequest{Path: "/g/null", ACL: open, Version: 0})
	c.want(wire.ErrNoNode, wire.OpGetACL, wire.PathRequest{Path: "/none"})

	rec.comment("multi: all kinds of operations, a failure, nothing at all")
	c.ok(wire.OpMulti, wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/g", Version: 1}},
		{Op: wire.OpCreate, Request: create("/g/m1", []byte("1"), wire.FlagPersistent)},
		{Op: wire.OpCreate2, Request: create("/g/m2-", nil, wire.FlagPersistentSequential)},
		{Op: wire.OpCreateContainer, Request: create("/g/m3", nil, wire.FlagContainer)},
		{Op: wire.OpCreateTTL, Request: wire.CreateTTLRequest{Path: "/g/m4", ACL: open, Flags: wire.FlagPersistentTTL, TTL: 60_000}},
		{Op: wire.OpSetData, Request: set("/g/m1", "2", 0)},
		{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/g/m1", Version: 1}},
	}})
	c.ok(wire.OpMulti, wire.MultiRequest{Ops: []wire.MultiOp{ // its failure is in the results
		{Op: wire.OpSetData, Request: set("/g", "never", -1)},
		{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/g", Version: 99}},
		{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/none", Version: -1}},
	}})
	c.ok(wire.OpMulti, wire.MultiRequest{})
	c.ok(wire.OpMultiRead, wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpGetData, Request: plain("/g")},
		{Op: wire.OpGetChildren, Request: plain("/g")},
		{Op: wire.OpGetData, Request: plain("/none")},
		{Op: wire.OpGetData, Request: plain("/g/seq-0000000000")},
	}})

	rec.comment("one-shot watches, and an event of each type")
	c.want(wire.ErrNoNode, wire.OpExists, watch("/g/w"))
	c.ok(wire.OpCreate, create("/g/w", []byte("w"), wire.FlagPersistent))
	c.wantEvents("1 /g/w")
	c.ok(wire.OpExists, watch("/g/w"))
	c.ok(wire.OpGetData, watch("/g/w")) // the same watch to the server
	c.ok(wire.OpSetData, set("/g/w", "x", 0))
	c.wantEvents("3 /g/w")
	c.ok(wire.OpGetChildren, watch("/g/w"))
	c.ok(wire.OpCreate, create("/g/w/child", nil, wire.FlagPersistent))
	c.wantEvents("4 /g/w")
	c.ok(wire.OpGetChildren2, watch("/g/w"))
	c.ok(wire.OpGetData, watch("/g/w/child"))
	c.ok(wire.OpDelete, wire.PathVersionRequest{Path: "/g/w/child", Version: -1})
	c.wantEvents("2 /g/w/child", "4 /g/w")

	rec.comment("persistent and recursive watches")
	c.ok(wire.OpAddWatch, wire.AddWatchRequest{Path: "/g/w", Mode: wire.AddWatchPersistent})
	c.ok(wire.OpAddWatch, wire.AddWatchRequest{Path: "/g/r", Mode: wire.AddWatchPersistentRecursive})
	c.want(wire.ErrMarshalling, wire.OpAddWatch, wire.AddWatchRequest{Path: "/g/r", Mode: 7})
	c.ok(wire.OpSetData, set("/g/w", "y", -1))
	c.ok(wire.OpCreate, create("/g/w/child", nil, wire.FlagPersistent))
	c.ok(wire.OpCreate, create("/g/r", nil, wire.FlagPersistent))
	c.ok(wire.OpCreate, create("/g/r/deep", nil, wire.FlagPersistent))
	c.ok(wire.OpSetData, set("/g/r/deep", "z", -1))
	c.ok(wire.OpDelete, wire.PathVersionRequest{Path: "/g/r/deep", Version: -1})
	c.wantEvents("3 /g/w", "4 /g/w", "1 /g/r", "1 /g/r/deep", "3 /g/r/deep", "2 /g/r/deep")

	rec.comment("checkWatches, removeWatches")
	c.ok(wire.OpGetData, watch("/g"))
	c.ok(wire.OpCheckWatches, wire.WatcherTypeRequest{Path: "/g", Type: wire.WatcherData})
	c.want(wire.ErrNoWatcher, wire.OpCheckWatches, wire.WatcherTypeRequest{Path: "/g", Type: wire.WatcherChildren})
	c.ok(wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: "/g", Type: wire.WatcherData})
	c.want(wire.ErrNoWatcher, wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: "/g", Type: wire.WatcherAny})
	c.ok(wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: "/g/w", Type: wire.WatcherAny})
	byKind := int32(wire.ErrOK)
	if release == apache.V3_8 {
		byKind = wire.ErrMarshalling // it does not know this type yet
	}
	c.want(byKind, wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: "/g/r", Type: wire.WatcherPersistentRecursive})

	rec.comment("another session without credentials: no right to look")
	other := connect(t, rec, addr, fresh())
	other.want(wire.ErrNoAuth, wire.OpGetData, plain("/g/null"))
	other.want(wire.ErrNoAuth, wire.OpSetData, set("/g/null", "x", -1))
	other.want(wire.ErrNoAuth, wire.OpReconfig, wire.ReconfigRequest{ConfigID: -1})
	other.ok(wire.OpSetData, set("/g/w", "changed", -1)) // behind the first session's zxid
	other.ok(wire.OpCreate, create("/g/exist", nil, wire.FlagPersistent))
	other.ok(wire.OpCreate, create("/g/w/late", nil, wire.FlagPersistent))
	other.ok(wire.OpDelete, wire.PathVersionRequest{Path: "/g/r", Version: -1})

	rec.comment("the first session moves to a new connection and restores its watches")
	c.conn.Close()
	moved := c.again()
	floor := moved.LastZxidSeen
	c = connect(t, rec, addr, moved)
	if c.SessionID != moved.SessionID {
		t.Fatalf("session %#x became %#x", uint64(moved.SessionID), uint64(c.SessionID))
	}
	c.ok(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("user:password")})
	c.ok(wire.OpSetWatches, wire.SetWatchesRequest{
		RelativeZxid: floor,
		Data:         []string{"/g", "/g/w", "/g/r"},
		Exist:        []string{"/g/exist", "/g/later"},
		Child:        []string{"/g/w"},
	})
	c.wantEvents("3 /g/w", "2 /g/r", "1 /g/exist", "4 /g/w")
	c.ok(wire.OpSetWatches2, wire.SetWatches2Request{
		RelativeZxid: floor,
		Data:         []string{},
		Exist:        []string{},
		Child:        []string{"/g/null"},
		Persistent:   []string{"/g/w"},
		Recursive:    []string{"/g/r"},
	})
	c.ok(wire.OpSetData, set("/g/w", "again", -1))
	c.ok(wire.OpCreate, create("/g/later", nil, wire.FlagPersistent))
	c.ok(wire.OpCreate, create("/g/r", nil, wire.FlagPersistent))
	c.wantEvents("3 /g/w", "1 /g/later", "1 /g/r")

	rec.comment("the ensemble's configuration, with the rights of the super user")
	c.ok(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte(apache.SuperCredential)})
	d = c.ok(wire.OpGetData, plain("/zookeeper/config"))
	config := string(d.Buffer())
	line, _, _ := strings.Cut(config, "\n")
	c.want(wire.ErrBadVersion, wire.OpReconfig, wire.ReconfigRequest{Joining: &line, ConfigID: 0x7777})
	bad := "server.9=nonsense"
	c.want(wire.ErrBadArguments, wire.OpReconfig, wire.ReconfigRequest{Joining: &bad, ConfigID: -1})
	c.ok(wire.OpReconfig, wire.ReconfigRequest{Joining: &line, ConfigID: -1})

	rec.comment("the end of the sessions")
	c.ok(wire.OpCloseSession, nil)
	c.wantEOF()
	other.ok(wire.OpCloseSession, nil)
	other.wantEOF()

	rec.comment("a session that is no more; a wrong password gets the same answer")
	gone := connect(t, rec, addr, c.again())
	if gone.Timeout > 0 {
		t.Errorf("a closed session was granted %d ms", gone.Timeout)
	}
	gone.wantEOF()
	alive := connect(t, rec, addr, fresh())
	wrong := alive.again()
	wrong.Password = make([]byte, 16)
	gone = connect(t, rec, addr, wrong)
	if gone.Timeout > 0 {
		t.Errorf("a wrong password was granted %d ms", gone.Timeout)
	}
	gone.wantEOF()

	rec.comment("a client without the read-only byte, and credentials of an unknown scheme")
	old := fresh()
	old.HasReadOnly = false
	c = connect(t, rec, addr, old)
	if c.HasReadOnly {
		t.Error("read-only byte in the answer to a client that sent none")
	}
	c.want(wire.ErrAuthFailed, wire.OpAuth, wire.AuthRequest{Scheme: "nonsense", Auth: []byte("x")})
	c.wantEOF()
}

// saslScript begins an exchange of DIGEST-MD5, as far as the challenge, and
// gives a wrong answer to it.
func saslScript(t *testing.T, rec *recording, release apache.Release) {
	jaas := filepath.Join(t.TempDir(), "jaas.conf")
	text := `Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="secret"; };` + "\n"
	if err := os.WriteFile(jaas, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	e := apache.New(t, apache.Config{Release: release, Properties: map[string]string{
		"java.security.auth.login.config": jaas,
		"zookeeper.fips-mode":             "false", // which forbids MD5
	}})
	rec.comment("SASL: the server's challenge, and a refused answer to it, whose reply has a null token")
	c := connect(t, rec, e.Addrs()[0], fresh())
	d := c.ok(wire.OpSASL, wire.SASLRequest{Token: []byte{}})
	if challenge := d.Buffer(); !bytes.Contains(challenge, []byte("nonce=")) {
		t.Errorf("challenge %q", challenge)
	}
	c.want(wire.ErrAuthFailed, wire.OpSASL, wire.SASLRequest{Token: []byte("wrong")})
	c.wantEOF()
}
