package sasl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// reportedUsers returns users and passwords that people have, from testdata.
func reportedUsers(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/sasl-users.tsv")
	assert.NilError(t, err)
	users := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, secret, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		assert.Assert(t, ok, line)
		user, err := strconv.Unquote(name)
		assert.NilError(t, err)
		password, err := strconv.Unquote(secret)
		assert.NilError(t, err)
		users[user] = password
	}
	assert.Equal(t, len(users), 15)
	return users
}

// jaas is a section of a JAAS file, for a real server that has these users.
func jaas(users map[string]string) string {
	quote := func(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
	text := "Server { org.apache.zookeeper.server.auth.DigestLoginModule required\n"
	for user, password := range users {
		text += quote("user_"+user) + "=" + quote(password) + "\n"
	}
	return text + "; };\n"
}

func realSASL(t *testing.T, release apache.Release, users map[string]string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "jaas.conf")
	assert.NilError(t, os.WriteFile(file, []byte(jaas(users)), 0o600))
	return apache.New(t, apache.Config{Release: release, Properties: map[string]string{
		"java.security.auth.login.config": file,
		"zookeeper.authProvider.sasl":     "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
		"zookeeper.fips-mode":             "false", // which forbids MD5
	}}).Addrs()
}

func dial(t *testing.T, addrs []string, user, password string) (*zk.Session, error) {
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: addrs, Timeout: 30 * time.Second, SASL: sasl.DigestMD5(user, password)})
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

// owns checks that the session is that user, by what only the user may read.
func owns(t *testing.T, s *zk.Session, user, path string) {
	t.Helper()
	_, err := s.Create(t.Context(), path, nil, zk.Persistent, zk.ACL{{Perms: zk.PermAll, Scheme: "sasl", ID: user}})
	assert.NilError(t, err)
	_, _, err = s.Get(t.Context(), path, nil)
	assert.NilError(t, err)
}

// Every user with its password is let in, whatever is in them, and nobody with
// another password.
func TestUsers(t *testing.T) {
	users := reportedUsers(t)
	letIn := func(t *testing.T, addrs []string) {
		n := 0
		for user, password := range users {
			s, err := dial(t, addrs, user, password)
			assert.NilError(t, err, "%q", user)
			n++
			owns(t, s, user, "/"+strconv.Itoa(n))
			_, err = dial(t, addrs, user, password+"x")
			assert.ErrorIs(t, err, zk.ErrAuth, "%q", user)
		}
	}
	for _, v := range []zktest.Version{zktest.V38, zktest.V39} {
		t.Run("in-process-"+v.String(), func(t *testing.T) {
			letIn(t, zktest.NewServer(t, zktest.Options{Version: v, SASL: users}).Addrs())
		})
	}
	for _, release := range apache.Default() {
		t.Run(string(release), func(t *testing.T) {
			apache.Need(t)
			letIn(t, realSASL(t, release, users))
		})
	}
}

// What DigestMD5's documentation warns of: up to 3.8 a real server lets in a user
// that it does not know, with the password of the one it looked up before.
func TestUnknownUser(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			addrs := realSASL(t, release, map[string]string{"bob": "one", "eve": "two"})
			refused := zk.ErrAuth
			if release == apache.V3_4 {
				refused = zk.ErrNoServer // it only hangs up
			}
			_, err := dial(t, addrs, "nobody", "one") // nobody was looked up so far
			assert.ErrorIs(t, err, refused)
			for i, password := range []string{"one", "two"} {
				_, err := dial(t, addrs, []string{"bob", "eve"}[i], password)
				assert.NilError(t, err)
				s, err := dial(t, addrs, "nobody", password)
				if release == apache.V3_9 {
					assert.ErrorIs(t, err, refused)
					continue
				}
				assert.NilError(t, err)
				owns(t, s, "nobody", fmt.Sprintf("/nobody-%d", i))
			}
		})
	}
}
