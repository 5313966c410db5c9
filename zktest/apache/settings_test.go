package apache

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// What Java would not read as it was meant is escaped. It reads a file of
// properties as ISO 8859-1.
func TestAppendProperty(t *testing.T) {
	for _, x := range []struct{ key, value, want string }{
		{"tickTime", "500", "tickTime=500\n"},
		{"4lw.commands.whitelist", "srvr, mntr", "4lw.commands.whitelist=srvr,\\u0020mntr\n"},
		{"server.1", "127.0.0.1:1:2;3", "server.1=127.0.0.1\\:1\\:2;3\n"},
		{"a b", " c ", "a\\u0020b=\\u0020c\\u0020\n"},
		{"dir", `C:\zk\data`, "dir=C\\:\\\\zk\\\\data\n"},
		{"dir", "/a#b!c=d%20$x", "dir=/a\\#b\\!c\\=d%20$x\n"},
		{"dir", "/ümlaut/日本/😀", "dir=/\\u00fcmlaut/\\u65e5\\u672c/\\ud83d\\ude00\n"},
		{"dir", "a\nb\tc\x7f", "dir=a\\u000ab\\u0009c\\u007f\n"},
		{"empty", "", "empty=\n"},
	} {
		assert.Equal(t, string(appendProperty(nil, x.key, x.value)), x.want)
	}
}

// Start refuses what it cannot honour. There is no Java and no jar, of which it
// would complain next.
func TestRefusesSettings(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	t.Setenv("ZK_APACHE_CACHE", t.TempDir())
	dir := filepath.Join(t.TempDir(), "new")
	abs, err := filepath.Abs("txn")
	assert.NilError(t, err)
	set := func(kv ...string) Config { return Config{Settings: map[string]string{kv[0]: kv[1]}, Dir: dir} }
	three := func(c Config) Config { c.Members = 3; return c }
	prop := func(kv ...string) Config { return Config{Properties: map[string]string{kv[0]: kv[1]}, Dir: dir} }
	list := func(words string, props map[string]string) Config {
		c := set("4lw.commands.whitelist", words)
		c.Properties = props
		return c
	}
	for _, x := range []struct {
		conf Config
		want string
	}{
		{set("dataDir", "/x"), "Config.Dir"},
		{set("clientPort", "2181"), "Server.Addr"},
		{set("clientPortAddress", "0.0.0.0"), "Server.Addr"},
		{set("dynamicConfigFile", "/x"), "Config.Members"},
		{set("server.1", "a:1:2"), "Config.Members"},
		{three(set("group.1", "1:2")), "Config.Members"},
		{three(set("weight.1", "2")), "Config.Members"},
		{three(set("secureClientPort", "2281")), "Config.TLS"},
		{Config{TLS: &TLS{}, Settings: map[string]string{"secureClientPort": "2281"}}, "Config.TLS"},
		{Config{TLS: &TLS{}, Settings: map[string]string{"serverCnxnFactory": "org.apache.zookeeper.server.NIOServerCnxnFactory"}}, "Netty"},
		{set("dataDir ", "/x"), "blanks"},
		{set("\tdataLogDir", "/x"), "blanks"},
		{set("", "x"), "blanks"},
		{set("dataLogDir", ""), `""`},
		{set("dataLogDir", abs+" "), "as it is"},
		{set("dataLogDir", "\n"), "as it is"},
		{three(set("dataLogDir", abs)), "one folder"},
		{set("dataLogDir", "a\xff"), "UTF-8"},
		{set("a\xff", "b"), "UTF-8"},
		{set("dataLogDir", "a\x00"), "NUL"},
		{set("admin.enableServer", " True"), "admin server"},
		{prop("zookeeper.admin.enableServer", "true"), "admin server"},
		{prop("", "x"), "no name"},
		{prop("a=b", "c"), "no name"},
		{prop("a", "\x00"), "NUL"},
		{prop("a", "\xff"), "UTF-8"},
		{list("ruok", map[string]string{"readonlymode.enabled": "false"}), "neither srvr nor isro"},
		{list("", map[string]string{"readonlymode.enabled": "false"}), "neither srvr nor isro"},
		{prop("zookeeper.4lw.commands.whitelist", "ruok"), ""},
		{list("ruok,", nil), ""},
		{list(" * ", map[string]string{"readonlymode.enabled": "false"}), ""},
		{list("isro", map[string]string{"readonlymode.enabled": "false"}), ""},
		{set("dataLogDir", abs), ""},
		{three(set("dataLogDir", "txn")), ""},
		{set("admin.enableServer", "false"), ""},
		{set("secureClientPort", "2281"), ""},
		{Config{HeapMB: -1}, "heap"},
		{Config{Dir: dir + "\xff"}, "UTF-8"},
		{Config{Dir: dir + "\x00"}, "NUL"},
	} {
		_, err := Start(context.Background(), x.conf)
		if x.want == "" {
			assert.ErrorContains(t, err, "no java", "%+v", x.conf)
			continue
		}
		assert.ErrorContains(t, err, x.want, "%+v", x.conf)
		assert.Assert(t, !strings.Contains(err.Error(), "no java"), "%v", err)
	}
	_, err = os.Stat(dir)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// A cache folder may have any name that a class path takes, and may be relative.
func TestJarFolders(t *testing.T) {
	t.Chdir(t.TempDir())
	java := filepath.Join(t.TempDir(), "bin", "java")
	assert.NilError(t, os.MkdirAll(filepath.Dir(java), 0o755))
	assert.NilError(t, os.WriteFile(java, []byte("#!/bin/sh\n"), 0o755))
	t.Setenv("JAVA_HOME", filepath.Dir(filepath.Dir(java)))
	for _, cache := range []string{"jars", "a[b]c", "a*b?", `back\slash`, "with space", "ümlaut", "list" + string(os.PathListSeparator) + "x"} {
		dir := filepath.Join(cache, string(V3_9))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			continue // not a name on this system
		}
		assert.NilError(t, os.WriteFile(filepath.Join(dir, "zookeeper-3.9.5.jar"), nil, 0o644))
		t.Setenv("ZK_APACHE_CACHE", cache)
		in, err := Find(V3_9)
		if strings.HasPrefix(cache, "list") {
			assert.ErrorContains(t, err, "class path")
			continue
		}
		assert.NilError(t, err)
		want, err := filepath.Abs(filepath.Join(dir, "zookeeper-3.9.5.jar"))
		assert.NilError(t, err)
		assert.DeepEqual(t, in.Jars, []string{want})
	}
}
