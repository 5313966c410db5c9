package zpath

import (
	"math/rand/v2"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestChroot(t *testing.T) {
	for _, c := range []struct {
		chroot, path string
		sequential   bool
		server       string
	}{
		{"", "/", false, "/"}, {"", "/a", false, "/a"}, {"", "/", true, "/"},
		{"/app", "/", false, "/app"}, {"/app", "/a/b", false, "/app/a/b"}, {"/app", "/", true, "/app/"}, {"/app", "/a/", true, "/app/a/"},
		{"/app", "/app", false, "/app/app"}, {"/app", "/apple", false, "/app/apple"},
	} {
		server := Server(c.chroot, c.path, c.sequential)
		assert.Equal(t, server, c.server)
		assert.Equal(t, Strip(c.chroot, server), c.path)
	}
	for _, other := range []string{"/apple", "/ap", "/", "/zookeeper/config"} {
		assert.Equal(t, Strip("/app", other), other)
	}
}

// The rules themselves are in the suite, where real servers have their say on them.
func TestCheck(t *testing.T) {
	for path, problem := range map[string]string{
		"": "it is empty", "a": "it does not start with /", "/a/": "it ends with /", "//": "an empty name at byte 1",
		"/a/./b": "a relative name at byte 3", "/..": "a relative name at byte 1", "/\x01": "a control character at byte 1",
		"/a\xff": "invalid UTF-8 at byte 2", "/\ue000": "an illegal character at byte 1", "/": "", "/a b/ü": "",
	} {
		assert.Equal(t, Check(path, false), problem, "%q", path)
	}
	assert.Equal(t, Check("/a/", true), "")
	assert.Equal(t, Check("/", true), "")
	assert.Equal(t, Check("/a//", true), "an empty name at byte 3")
}

// What is plain breaks no rule, and what is printable without dots is plain.
func TestPlain(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	letters := []string{"/", "/", ".", "a", "b", "~", " ", "0", "-", "ü", "\x00", "\x1f", "\x7f", "\x80", "\xff", "\u0080", "\ufff0"}
	plains := 0
	for range 300_000 {
		path := "/"
		kinds := 5 + rng.IntN(len(letters)-4)
		for range rng.IntN(24) {
			path += letters[rng.IntN(kinds)]
		}
		got := plain(path)
		if got {
			plains++
			assert.Equal(t, rules(path, false), "", "%q", path)
			assert.Equal(t, rules(path, true), "", "%q", path)
		}
		simple := path != "/" && !strings.Contains(path, "//") && !strings.Contains(path, "/.") && !strings.HasSuffix(path, "/") &&
			strings.IndexFunc(path, func(r rune) bool { return r < ' ' || r > '~' }) < 0
		assert.Equal(t, got, simple, "%q", path)
	}
	assert.Assert(t, plains > 10_000, "%d", plains)
}
