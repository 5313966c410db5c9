package realservers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// input returns the lines of a file in testdata without comments.
func input(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", name))
	assert.NilError(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// settings returns those of a file in testdata.
func settings(t *testing.T, name string) map[string]string {
	t.Helper()
	set := map[string]string{}
	for _, line := range input(t, name) {
		k, v, ok := strings.Cut(line, "=")
		assert.Assert(t, ok, line)
		set[k] = v
	}
	return set
}

// logged makes a znode on each member, and checks that every member's log has it
// where TxnLogDir says, also after a restart.
func logged(t *testing.T, e *apache.Ensemble) {
	t.Helper()
	for round := range 2 {
		path := "/logged-" + strconv.Itoa(round)
		connect(t, nil, e.Addrs()[0], fresh()).ok(wire.OpCreate, wire.CreateRequest{Path: path, Data: []byte("x"), ACL: open})
		for i := range e.Len() {
			s := e.Member(i)
			for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
				text, err := s.TxnLog(t.Context()) // of all releases, which Txns does not parse
				if err == nil && strings.Contains(text, path) {
					break
				}
				assert.Assert(t, time.Since(began) < timeout, "%v in\n%s", err, text)
			}
			files, err := os.ReadDir(filepath.Join(s.TxnLogDir(), "version-2"))
			assert.NilError(t, err)
			assert.Assert(t, slices.ContainsFunc(files, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), "log.") }), "%v", files)
		}
		if round == 0 {
			for i := range e.Len() {
				assert.NilError(t, e.Member(i).Restart(t.Context()))
			}
			assert.NilError(t, e.WaitServing(t.Context()))
		}
	}
}

// The log is read where dataLogDir puts it.
func TestDataLogDir(t *testing.T) {
	for _, release := range apache.Default() {
		set := settings(t, "launcher-datalogdir.cfg")
		set["dataLogDir"] = t.TempDir()
		e := apache.New(t, apache.Config{Release: release, Settings: set})
		assert.Equal(t, e.Member(0).TxnLogDir(), set["dataLogDir"])
		logged(t, e)
	}
	e := apache.New(t, apache.Config{Members: 3, Settings: map[string]string{"dataLogDir": "log [ümlaut]"}})
	logged(t, e)
	for i := range 3 {
		assert.Equal(t, e.Member(i).TxnLogDir(), filepath.Join(filepath.Dir(e.Member(i).DataDir()), "log [ümlaut]"))
	}

	// Never nothing without an error.
	s := e.Member(0)
	assert.NilError(t, s.Kill())
	assert.NilError(t, os.RemoveAll(s.TxnLogDir()))
	_, err := s.Txns(t.Context())
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// A folder of any name holds the data of its servers, and nothing appears beside
// it, also where the locale has no name for it.
func TestDirs(t *testing.T) {
	t.Setenv("LC_ALL", "POSIX")
	var names []string
	for _, line := range input(t, "launcher-dirs.txt") {
		name, err := strconv.Unquote(line)
		assert.NilError(t, err)
		names = append(names, name)
	}
	names = append(names, "glob[a-c]*?", "new\nline", "end ", " begin", "exclaim!", "😀", "-x", "@args", `"quoted"`, "${user.home}")
	parent := t.TempDir()
	for _, name := range names {
		e, err := apache.Start(t.Context(), apache.Config{Dir: filepath.Join(parent, name)})
		assert.NilError(t, err, "%q", name)
		s := e.Member(0)
		assert.Assert(t, strings.HasPrefix(s.DataDir(), filepath.Join(parent, name)+string(filepath.Separator)), "%q", s.DataDir())
		connect(t, nil, s.Addr(), fresh()).ok(wire.OpCreate, wire.CreateRequest{Path: "/made", ACL: open})
		txns, err := s.Txns(t.Context())
		assert.NilError(t, err)
		assert.Assert(t, slices.ContainsFunc(txns, func(x apache.Txn) bool { return x.Path == "/made" }), "%q: %v", name, txns)
		assert.NilError(t, e.Close())
	}
	sameFolders(t, parent, names)

}

// An ensemble writes its zoo.cfg anew, and finds its data again. A relative folder
// is below the working one.
func TestDirsOfEnsembles(t *testing.T) {
	t.Setenv("LC_ALL", "POSIX")
	t.Chdir(t.TempDir())
	var names []string
	for _, release := range apache.Tested() {
		name := string(release) + ` ü日😀 back\slash #=:! [x]`
		names = append(names, name)
		e, err := apache.Start(t.Context(), apache.Config{Release: release, Members: 3, Dir: name})
		assert.NilError(t, err)
		t.Cleanup(func() { e.Close() })
		logged(t, e)
		if release > apache.V3_4 {
			text, err := e.Member(2).DynamicConfig()
			assert.NilError(t, err)
			assert.Assert(t, strings.Contains(text, e.Member(0).Line()), "%q", text)
		}
		assert.NilError(t, e.Close())
	}
	sameFolders(t, ".", names)
}

func sameFolders(t *testing.T, parent string, want []string) {
	t.Helper()
	list, err := os.ReadDir(parent)
	assert.NilError(t, err)
	var got []string
	for _, f := range list {
		got = append(got, f.Name())
	}
	want = slices.Sorted(slices.Values(want))
	slices.Sort(got)
	assert.DeepEqual(t, got, want)
}

// A damaged log is an error, and no transactions. The file, with one record whose
// checksum is wrong, is from the tests of Apache ZooKeeper (Apache License 2.0).
func TestDamagedLog(t *testing.T) {
	damaged, err := os.ReadFile(filepath.Join("..", "testdata", "txnlog-damaged.42"))
	assert.NilError(t, err)
	for _, release := range apache.Default() {
		s := apache.New(t, apache.Config{Release: release}).Member(0)
		connect(t, nil, s.Addr(), fresh())
		assert.NilError(t, s.Stop())
		dir := filepath.Join(s.TxnLogDir(), "version-2")
		files, err := os.ReadDir(dir)
		assert.NilError(t, err)
		for _, f := range files {
			if strings.HasPrefix(f.Name(), "log.") {
				assert.NilError(t, os.Remove(filepath.Join(dir, f.Name())))
			}
		}
		assert.NilError(t, os.WriteFile(filepath.Join(dir, "log.42"), damaged, 0o644))
		txns, err := s.Txns(t.Context())
		assert.ErrorContains(t, err, "a wrong check sum")
		assert.Equal(t, len(txns), 0)
	}
}

// A server that wants a credential of the scheme digest gets it from Config.Auth,
// on every connection of a session.
func TestEnforceAuth(t *testing.T) {
	for _, release := range apache.Tested() {
		if release < apache.V3_7 {
			continue
		}
		t.Run(string(release), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			e := apache.New(t, apache.Config{Release: release, Settings: settings(t, "enforce-auth.cfg")})
			conf := zk.Config{Addrs: e.Addrs(), Timeout: time.Minute, Auth: []zk.Auth{zk.Digest("user", "secret")}}
			s, err := zk.Dial(ctx, conf)
			assert.NilError(t, err)
			id := s.ID()
			_, err = s.Create(ctx, "/a", nil, zk.Persistent, zk.ACLCreator)
			assert.NilError(t, err)
			s, err = zk.Dial(ctx, s.Detach())
			assert.NilError(t, err)
			assert.Equal(t, s.ID(), id)
			_, err = s.Set(ctx, "/a", nil, 0)
			assert.NilError(t, err)
			assert.NilError(t, s.Close())

			conf.Auth = nil
			s, err = zk.Dial(ctx, conf)
			assert.NilError(t, err)
			_, _, err = s.Exists(ctx, "/", nil)
			assert.ErrorIs(t, err, zk.ErrAuth, fmt.Sprint(err))
			<-s.Done()
		})
	}
}
