package zktest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// inputLines returns the lines of a file of public reports, without its comments.
func inputLines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "inputs", name))
	assert.NilError(t, err)
	var list []string
	for s := bufio.NewScanner(strings.NewReader(string(text))); s.Scan(); {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	assert.Assert(t, len(list) > 0)
	return list
}

// whitelist is a row of whitelist.tsv.
type whitelist struct {
	setting         string
	answered, quiet []string
}

func whitelists(t *testing.T) []whitelist {
	t.Helper()
	var list []whitelist
	for _, line := range inputLines(t, "whitelist.tsv") {
		f := append(strings.Split(line, "\t"), "")
		setting, err := strconv.Unquote(f[0])
		assert.NilError(t, err)
		list = append(list, whitelist{setting, strings.Fields(f[1]), strings.Fields(f[2])})
	}
	return list
}

// checkWhitelist asks a server for all words of a row.
func checkWhitelist(t *testing.T, w whitelist, ask func(word string) string) {
	t.Helper()
	const refusal = " is not executed because it is not in the whitelist."
	for _, word := range w.answered {
		got := ask(word)
		assert.Assert(t, got != "" && !strings.Contains(got, refusal), "%q: %s: %q", w.setting, word, got)
	}
	for _, word := range w.quiet {
		assert.Equal(t, strings.TrimSpace(ask(word)), word+refusal, "%q", w.setting)
	}
}

func TestWhitelists(t *testing.T) {
	for _, w := range whitelists(t) {
		for version := V34; version <= V39; version++ {
			s := NewServer(t, Options{Version: version, FourLetterWords: w.setting})
			checkWhitelist(t, w, func(word string) string { return s.ask(t, 0, word) })
		}
	}
}

func TestWhitelistsOfRealServers(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		for _, w := range whitelists(t) {
			real := apache.New(t, apache.Config{
				Release:    release,
				Settings:   map[string]string{"4lw.commands.whitelist": w.setting},
				Properties: map[string]string{"zookeeper.4lw.commands.whitelist": w.setting},
			})
			checkWhitelist(t, w, func(word string) string {
				return command(t, (&peer{t: t, addrs: real.Addrs()}).open(0).nc, word)
			})
			assert.NilError(t, real.Close())
		}
	}
}

// checkACLIDs sets ACLs for users with a character above U+FFFF, and again what
// the server gives back. It returns that. The user is locked out of the second znode.
func checkACLIDs(t *testing.T, c *client) []string {
	t.Helper()
	var given []string
	for i, line := range inputLines(t, "acl-ids.txt") {
		credential, err := strconv.Unquote(line)
		assert.NilError(t, err)
		c.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte(credential)}, nil)
		acl := []wire.ACL{{Perms: wire.PermAll, Scheme: "digest", ID: data.DigestID(credential)}}
		first, second := "/first"+strconv.Itoa(i), "/second"+strconv.Itoa(i)
		c.must(wire.OpCreate, wire.CreateRequest{Path: first, ACL: acl}, &wire.PathResponse{})
		c.set(first, "1")
		var r wire.GetACLResponse
		c.must(wire.OpGetACL, wire.PathRequest{Path: first}, &r)
		given = append(given, r.ACL[0].ID)
		assert.Assert(t, r.ACL[0].ID != acl[0].ID)
		c.must(wire.OpCreate, wire.CreateRequest{Path: second, ACL: r.ACL}, &wire.PathResponse{})
		assert.Equal(t, c.call(wire.OpSetData, wire.SetDataRequest{Path: second, Version: -1}, nil), wire.ErrNoAuth)
		assert.Equal(t, c.call(wire.OpGetData, wire.PathWatchRequest{Path: second}, nil), wire.ErrNoAuth)
	}
	return given
}

func TestACLIDsAboveFFFF(t *testing.T) {
	for version := V34; version <= V39; version++ {
		given := checkACLIDs(t, dial(t, NewServer(t, Options{Version: version}).Ensemble, 0))
		assert.Assert(t, strings.HasPrefix(given[0], "user\xed\xa0\xbd\xed\xb8\x80:"), "%q", given[0])
	}
}

func TestACLIDsAboveFFFFOfRealServers(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		real := apache.New(t, apache.Config{Release: release})
		c := (&peer{t: t, addrs: real.Addrs()}).open(0)
		_, err := c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), HasReadOnly: true})
		assert.NilError(t, err)
		got := checkACLIDs(t, c)
		c.nc.Close()
		want := checkACLIDs(t, dial(t, NewServer(t, Options{Version: parityVersions[release]}).Ensemble, 0))
		assert.DeepEqual(t, got, want)
	}
}

// TestBuilds lets go vet compile this package and its tests for a system whose
// int has 32 bits, by the first command of go-386.txt, and for one without errno.
func TestBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles for other systems")
	}
	narrow := strings.Fields(inputLines(t, "go-386.txt")[0])
	at := slices.Index(narrow, "go")
	assert.DeepEqual(t, narrow[at:], []string{"go", "vet", "./..."})
	for _, env := range [][]string{narrow[:at], {"GOOS=plan9"}} {
		cmd := exec.CommandContext(t.Context(), "go", "vet", ".", "./internal/...", "./zkserve")
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		assert.NilError(t, err, "%v: %s", env, out)
	}
}
