package tree_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func export(t testing.TB, s *zk.Session, path string, opt tree.Options) string {
	t.Helper()
	var b bytes.Buffer
	assert.NilError(t, tree.Export(background(t), s, path, &b, opt))
	return b.String()
}

// essence is an export without what an import cannot restore.
func essence(t testing.TB, text string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		var fields map[string]any
		assert.NilError(t, json.Unmarshal([]byte(line), &fields), line)
		for _, name := range []string{"stat", "zxid", "root", "snapshot"} {
			delete(fields, name)
		}
		out, err := json.Marshal(fields)
		assert.NilError(t, err)
		b.Write(append(out, '\n'))
	}
	return b.String()
}

// odd makes a tree with all that data and names can be.
func odd(t testing.TB, s *zk.Session) {
	ctx := background(t)
	fill(t, s, "/odd")
	for name, data := range map[string][]byte{
		"null": nil, "empty": {}, "text": []byte("red\n\tblue"), "bytes": {0, 1, 2, 255}, "nul": []byte("a\x00b"),
		"html": []byte("<a href=\"x\">&amp;</a>"), "umlaut": []byte("größer ≥ \u2028"), "c1": []byte("\u0085"), "quote\"{}": []byte(`{"zk":1}`),
		"größe": []byte("x"), "large": bytes.Repeat([]byte{7}, 100<<10), "cr": []byte("a\r\n"),
	} {
		_, err := s.Create(ctx, "/odd/"+name, data, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
	}
	_, err := s.Create(ctx, "/odd/mine", []byte("e"), zk.Ephemeral, zk.ACLOpen)
	assert.NilError(t, err)
	_, err = s.Create(ctx, "/odd/text/only", nil, zk.Persistent, zk.ACLReadOnly)
	assert.NilError(t, err)
	assert.NilError(t, s.AddAuth(ctx, zk.Digest("user", "pass")))
	_, err = s.Create(ctx, "/odd/text/own", []byte("own"), zk.Persistent, zk.ACLCreator)
	assert.NilError(t, err)
}

func TestR59_RoundTrip(t *testing.T) {
	_, s := server(t)
	odd(t, s)
	for _, opt := range []tree.Options{
		{}, {ACLs: true}, {Ephemerals: true}, {ACLs: true, Ephemerals: true, Atomic: 3}, {Atomic: 1}, {Atomic: 1000},
	} {
		_, other := server(t, zktest.Options{Super: "super:pass"})
		assert.NilError(t, other.AddAuth(background(t), zk.Digest("super", "pass")))
		text := export(t, s, "/odd", opt)
		if opt.Atomic == 1000 { // more than a request may have
			err := tree.Import(background(t), other, "/x", strings.NewReader(text), opt)
			assert.NilError(t, err)
		}
		assert.NilError(t, tree.Import(background(t), other, "/made/up/odd", strings.NewReader(text), opt), "%+v", opt)
		again := opt
		again.Ephemerals = false
		if opt.Ephemerals { // persistent now
			text = strings.ReplaceAll(text, fmt.Sprintf(`,"owner":"0x%x"`, s.ID()), "")
		}
		assert.Equal(t, essence(t, export(t, other, "/made/up/odd", again)), essence(t, text), "%+v", opt)
		want := 15
		if opt.Ephemerals {
			want++
		}
		assert.Equal(t, len(read(t, other, "/made/up/odd")), want)
		// Once more is ErrExists, and with Overwrite it is the same again.
		err := tree.Import(background(t), other, "/made/up/odd", strings.NewReader(text), opt)
		assert.ErrorIs(t, err, zk.ErrExists)
		assert.ErrorContains(t, err, "/made/up/odd")
		opt.Overwrite, opt.Mirror = true, true
		_, err = other.Set(background(t), "/made/up/odd/cr", []byte("changed"), -1)
		assert.NilError(t, err)
		_, err = other.SetACL(background(t), "/made/up/odd/cr", zk.ACLReadOnly, -1)
		assert.NilError(t, err)
		fill(t, other, "/made/up/odd/cr/more", "/made/up/odd/cr/more/yet")
		if !opt.ACLs { // nothing restores it
			_, err = other.SetACL(background(t), "/made/up/odd/cr", zk.ACLOpen, -1)
			assert.NilError(t, err)
		}
		assert.NilError(t, tree.Import(background(t), other, "/made/up/odd", strings.NewReader(text), opt), "%+v", opt)
		assert.Equal(t, essence(t, export(t, other, "/made/up/odd", again)), essence(t, text), "%+v", opt)
	}
}

func TestR59_Format(t *testing.T) {
	_, s := server(t)
	ctx := background(t)
	_, err := s.Create(ctx, "/app", []byte("red"), zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	_, err = s.Create(ctx, "/app/key", []byte{0, 1, 2}, zk.Ephemeral, zk.ACLReadOnly)
	assert.NilError(t, err)
	_, stat, err := s.Get(ctx, "/app", nil)
	assert.NilError(t, err)
	text := export(t, s, "/app", tree.Options{ACLs: true, Ephemerals: true})
	ms := func(n int64) string { return fmt.Sprint(n) }
	key := read(t, s, "/app")["/app/key"].Stat
	assert.Equal(t, text, `{"zk":1,"root":"/app","zxid":"0x`+fmt.Sprintf("%x", s.Zxid())+`","snapshot":true,"nodes":2,"note":"versions, times and the counters of sequential names are not restored"}
{"path":"","data":"red","acl":[{"perms":"rwcda","scheme":"world","id":"anyone"}],"stat":{"version":0,"cversion":1,"ctime":`+ms(stat.Ctime)+`,"mtime":`+ms(stat.Mtime)+`}}
{"path":"/key","base64":"AAEC","acl":[{"perms":"r","scheme":"world","id":"anyone"}],"owner":"0x`+fmt.Sprintf("%x", s.ID())+`","stat":{"version":0,"cversion":0,"ctime":`+ms(key.Ctime)+`,"mtime":`+ms(key.Mtime)+`}}
`)
	// On an old server it is no snapshot, and says so.
	_, old := server(t, zktest.Options{Version: zktest.V35})
	fill(t, old, "/app", "/app/x")
	old, err = repeat(t, old, func(s *zk.Session) error {
		var b bytes.Buffer
		err := tree.Export(ctx, s, "/app", &b, tree.Options{})
		text = b.String()
		return err
	})
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(text, `"snapshot":false,"nodes":2`), text)
	assert.NilError(t, tree.Import(ctx, old, "/copy", strings.NewReader(text), tree.Options{}))
	n, err := tree.Get(ctx, old, "/copy")
	assert.NilError(t, err)
	assert.Equal(t, string(n.Children[0].Data), "/app/x")
}

// Modes that no Stat reports can be written by hand.
func TestR59_Modes(t *testing.T) {
	e, s := server(t)
	text := `{"zk":1}
{"path":"","extra":[1,{}]}
{"path":"/c","mode":"container"}
{"path":"/t","mode":"ttl","ttl":60000}
`
	assert.NilError(t, tree.Import(background(t), s, "/m", strings.NewReader(text), tree.Options{}))
	assert.Equal(t, requests(e.Ensemble, wire.OpCreateContainer), 1)
	assert.Equal(t, requests(e.Ensemble, wire.OpCreateTTL), 1)
}

// What changes until the ACLs are read is in the export, which is no snapshot then.
func TestR59_ACLsComeLater(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		f     func(ctx context.Context, s *zk.Session) error
	}{
		{"acl", 3, func(ctx context.Context, s *zk.Session) error {
			_, err := s.SetACL(ctx, "/a/y", zk.ACLReadOnly, -1)
			return err
		}},
		{"gone", 2, func(ctx context.Context, s *zk.Session) error { return s.Delete(ctx, "/a/y", -1) }},
		{"another", 3, func(ctx context.Context, s *zk.Session) error {
			_, err := s.Multi(ctx, zk.DeleteOp{Path: "/a/y", Version: -1}, zk.CreateOp{Path: "/a/y", ACL: zk.ACLOpen})
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, s := server(t)
			fill(t, s, "/a", "/a/x", "/a/y")
			assert.Assert(t, strings.Contains(export(t, s, "/a", tree.Options{ACLs: true}), `"snapshot":true,"nodes":3`))
			asked := e.Fault(zktest.Rule{Op: wire.OpGetACL, Delay: 20 * time.Millisecond})
			changed := make(chan error)
			other := dial(t, zk.Config{Addrs: e.Addrs()})
			go func() {
				<-asked.Struck()
				changed <- c.f(background(t), other)
			}()
			text := export(t, s, "/a", tree.Options{ACLs: true})
			assert.NilError(t, <-changed)
			assert.Assert(t, strings.Contains(text, fmt.Sprintf(`"snapshot":false,"nodes":%d`, c.nodes)), text)
		})
	}
}

func TestR59_BadFiles(t *testing.T) {
	e, s := server(t)
	const head = `{"zk":1,"root":"/a","nodes":2}` + "\n"
	const top = `{"path":"","data":"x"}` + "\n"
	for _, c := range []struct {
		name, text string
		line       int
		written    bool
		opt        tree.Options
	}{
		{name: "empty", text: "", line: 1},
		{name: "foreign", text: "hello\n", line: 1},
		{name: "foreign JSON", text: `{"/a":{"content":""}}` + "\n", line: 1},
		{name: "array", text: "[]\n", line: 1},
		{name: "version", text: `{"zk":2}` + "\n" + top, line: 1},
		{name: "cut header", text: `{"zk":1}`, line: 1},
		{name: "header of another type", text: `{"zk":"1"}` + "\n", line: 1},
		{name: "no znode", text: head, line: 1},
		{name: "cut first line", text: head + `{"path":""}`, line: 2},
		{name: "cut in a value", text: head + `{"path":"`, line: 2},
		{name: "no root", text: head + `{"path":"/x"}` + "\n", line: 2},
		{name: "no path", text: head + `{"data":"x"}` + "\n", line: 2},
		{name: "bad base64", text: head + `{"path":"","base64":"&"}` + "\n", line: 2},
		{name: "data twice", text: head + `{"path":"","base64":"","data":""}` + "\n", line: 2},
		{name: "unknown mode", text: head + `{"path":"","mode":"new"}` + "\n", line: 2},
		{name: "TTL of none", text: head + `{"path":"","ttl":5}` + "\n", line: 2},
		{name: "TTL below zero", text: head + `{"path":"","mode":"ttl","ttl":-5}` + "\n", line: 2},
		{name: "bad owner", text: head + `{"path":"","owner":"me"}` + "\n", line: 2},
		{name: "no ACL", text: head + top, line: 2, opt: tree.Options{ACLs: true}},
		{name: "bad permission", text: head + `{"path":"","acl":[{"perms":"rx","scheme":"world","id":"anyone"}]}` + "\n", line: 2, opt: tree.Options{ACLs: true}},
		{name: "child before parent", text: head + top + `{"path":"/b/c"}` + "\n", line: 3, written: true},
		{name: "twice", text: head + top + `{"path":"/b"}` + "\n" + `{"path":"/b"}` + "\n", line: 4, written: true},
		{name: "root twice", text: head + top + top, line: 3, written: true},
		{name: "relative", text: head + top + `{"path":"b"}` + "\n", line: 3, written: true},
		{name: "bad path", text: head + top + `{"path":"/.."}` + "\n", line: 3, written: true},
		{name: "empty name", text: head + top + `{"path":"/"}` + "\n", line: 3, written: true},
		{name: "below an ephemeral", text: head + top + `{"path":"/e","owner":"0x1"}` + "\n" + `{"path":"/e/x"}` + "\n", line: 4, written: true},
		{name: "too few", text: head + top, line: 2, written: true},
		{name: "too many", text: head + top + `{"path":"/b"}` + "\n" + `{"path":"/c"}` + "\n", line: 4, written: true},
		{name: "empty line", text: head + top + "\n", line: 3, written: true},
		{name: "NUL", text: head + top + "\x00\n", line: 3, written: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e.ForgetFrames()
			err := tree.Import(background(t), s, "/bad", strings.NewReader(c.text), c.opt)
			var at *tree.LineError
			assert.Assert(t, errors.As(err, &at), "%v", err)
			assert.Equal(t, at.Line, c.line, "%v", err)
			assert.Assert(t, c.written || requests(e.Ensemble) == 0)
			assert.NilError(t, tree.DeleteAll(background(t), s, "/bad"))
		})
	}
	e.ForgetFrames()
	good := `{"zk":1}` + "\n" + top
	assert.Error(t, tree.Import(background(t), s, "bad", strings.NewReader(good), tree.Options{}), "zk: import bad: not sent: bad path: it does not start with /")
	assert.Error(t, tree.Import(background(t), s, "/bad", strings.NewReader(good+`{"path":"/.."}`+"\n"), tree.Options{}), `zk: import: line 3: "/.." is a bad path: a relative name at byte 1`)
	assert.NilError(t, tree.DeleteAll(background(t), s, "/bad"))
	e.ForgetFrames()
	calls := s.Stats().Calls
	for path, opt := range map[string]tree.Options{"/zookeeper/x": {}, "/m": {Mirror: true}, "bad": {}, "/n": {Atomic: -1}} {
		err := tree.Import(background(t), s, path, strings.NewReader(good), opt)
		assert.ErrorIs(t, err, zk.ErrNotSent, path)
	}
	assert.Equal(t, requests(e.Ensemble), 0)
	assert.Equal(t, s.Stats().Calls, calls, "what is refused here is no call")
	err := tree.Import(background(t), s, "/", strings.NewReader(`{"zk":1}`+"\n"+top+`{"path":"/zookeeper"}`+"\n"), tree.Options{Overwrite: true})
	var at *tree.LineError
	assert.Assert(t, errors.As(err, &at) && at.Line == 3, "%v", err)
}

func FuzzImport(f *testing.F) {
	e, err := zktest.StartServer(zktest.Options{FrameLog: -1})
	assert.NilError(f, err)
	f.Cleanup(e.Close)
	s, err := zk.Dial(f.Context(), zk.Config{Addrs: e.Addrs()})
	assert.NilError(f, err)
	f.Cleanup(func() { s.Close() })
	f.Add([]byte("{\"zk\":1,\"nodes\":2}\n{\"path\":\"\",\"data\":\"x\"}\n{\"path\":\"/b\",\"base64\":\"AA==\",\"owner\":\"0x1\"}\n"), true)
	f.Add([]byte("{\"zk\":1}\n{\"path\":\"\",\"acl\":[{\"perms\":\"r\",\"scheme\":\"world\",\"id\":\"anyone\"}]}\n"), false)
	f.Fuzz(func(t *testing.T, text []byte, acls bool) {
		err := tree.Import(t.Context(), s, "/fuzz/x", bytes.NewReader(text), tree.Options{ACLs: acls, Overwrite: true, Ephemerals: true})
		var at *tree.LineError
		var code zk.Code
		if err != nil && !errors.As(err, &at) && !errors.As(err, &code) && !errors.Is(err, zk.ErrNotSent) {
			t.Fatalf("%T %v", err, err)
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		tree.DeleteAll(t.Context(), s, "/fuzz")
	})
}

// Cut off in the middle, and run again from the beginning.
func TestR59_Again(t *testing.T) {
	_, s := server(t)
	fill(t, s, wide("/a", 30, 60)...)
	text := export(t, s, "/a", tree.Options{})
	for _, opt := range []tree.Options{{}, {Atomic: 100}} {
		e, other := server(t)
		op := wire.OpCreate
		if opt.Atomic > 0 {
			op = wire.OpMulti
		}
		e.Fault(zktest.Rule{Op: op, Skip: 10, Do: zktest.CutAfter})
		err := tree.Import(background(t), other, "/a", strings.NewReader(text), opt)
		assert.ErrorIs(t, err, zk.ErrConnection)
		opt.Overwrite = true
		other, err = repeat(t, other, func(s *zk.Session) error {
			return tree.Import(background(t), s, "/a", strings.NewReader(text), opt)
		})
		assert.NilError(t, err)
		assert.Equal(t, essence(t, export(t, other, "/a", opt)), essence(t, text))
	}
}

// Digests that are masked are not taken for ACLs.
func TestR59_MaskedACL(t *testing.T) {
	e, s := server(t)
	fill(t, s, "/a")
	assert.NilError(t, s.AddAuth(background(t), zk.Digest("user", "pass")))
	_, err := s.Create(background(t), "/a/b", nil, zk.Persistent, append(zk.ACL{{Perms: zk.PermRead, Scheme: "world", ID: "anyone"}}, zk.ACLCreator...))
	assert.NilError(t, err)
	other := dial(t, zk.Config{Addrs: e.Addrs()})
	var b bytes.Buffer
	err = tree.Export(background(t), other, "/a", &b, tree.Options{ACLs: true})
	assert.ErrorIs(t, err, zk.ErrNoAuth)
	assert.ErrorContains(t, err, "/a/b")
	assert.Equal(t, b.Len(), 0)
	assert.NilError(t, tree.Export(background(t), other, "/a", &b, tree.Options{}))
	assert.Assert(t, strings.Contains(export(t, s, "/a", tree.Options{ACLs: true}), `"id":"user:`))
}

func TestR60_Copy(t *testing.T) {
	_, s := server(t)
	odd(t, s)
	_, other := server(t, zktest.Options{Super: "super:pass"})
	assert.NilError(t, other.AddAuth(background(t), zk.Digest("super", "pass")))
	ctx := background(t)
	opt := tree.Options{ACLs: true}
	assert.NilError(t, tree.Copy(ctx, other, "/to/here", s, "/odd", opt))
	assert.Equal(t, essence(t, export(t, other, "/to/here", opt)), essence(t, export(t, s, "/odd", opt)))
	assert.ErrorIs(t, tree.Copy(ctx, other, "/to/here", s, "/odd", opt), zk.ErrExists)
	fill(t, other, "/to/here/more")
	assert.NilError(t, tree.Copy(ctx, other, "/to/here", s, "/odd", tree.Options{ACLs: true, Overwrite: true, Mirror: true}))
	assert.Equal(t, essence(t, export(t, other, "/to/here", opt)), essence(t, export(t, s, "/odd", opt)))
	for _, p := range [][2]string{{"/odd/x", "/odd"}, {"/odd", "/odd"}, {"/odd", "/odd/text"}} {
		assert.ErrorIs(t, tree.Copy(ctx, s, p[0], s, p[1], opt), zk.ErrBadArguments)
	}
	assert.ErrorIs(t, tree.Copy(ctx, s, "/zookeeper/x", s, "/odd", opt), zk.ErrBadPath)
	assert.ErrorIs(t, tree.Copy(ctx, other, "/none", s, "/none", opt), zk.ErrNoNode)
	assert.NilError(t, tree.Copy(ctx, s, "/next", s, "/odd", tree.Options{}))
}

func TestR60_Memory(t *testing.T) {
	_, s := server(t, zktest.Options{FrameLog: -1})
	_, other := server(t, zktest.Options{FrameLog: -1})
	rng := rand.New(rand.NewPCG(3, 4))
	fill(t, s, "/big")
	const nodes = 80 // of 1 MB each
	for i := range nodes {
		data := make([]byte, 1000<<10)
		for j := range 100 {
			data[j] = byte(rng.Int())
		}
		_, err := s.Create(background(t), fmt.Sprintf("/big/%03d", i), data, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
	}
	// The servers keep what is written; what is above that is the copy's own.
	base := heap()
	var most atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapAlloc))
		}
	}()
	assert.NilError(t, tree.Copy(background(t), other, "/big", s, "/big", tree.Options{}))
	close(stop)
	<-done
	own := int64(most.Load()) - int64(base) - nodes*1000<<10
	assert.Assert(t, own < 64<<20, "%d MiB", own>>20) // both servers have theirs of what is under way
}
