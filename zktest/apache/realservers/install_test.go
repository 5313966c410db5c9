package realservers

import (
	"crypto/sha1"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// A jar whose checksum is wrong is not installed. Maven has it from a folder; the
// group is of this run only, for what Maven has found once it does not look at again.
func TestChecksums(t *testing.T) {
	apache.Need(t)
	const release = apache.V3_8
	repo, home := t.TempDir(), t.TempDir()
	group := fmt.Sprintf("zk-test-%d", os.Getpid())
	if dir, err := os.UserHomeDir(); err == nil {
		t.Cleanup(func() { os.RemoveAll(filepath.Join(dir, ".m2", "repository", group)) })
	}
	put := func(artifact, ending, text string, right bool) {
		dir := filepath.Join(repo, group, artifact, string(release))
		assert.NilError(t, os.MkdirAll(dir, 0o755))
		file := filepath.Join(dir, artifact+"-"+string(release)+ending)
		sum := fmt.Sprintf("%x", sha1.Sum([]byte(text)))
		if !right {
			sum = strings.Repeat("0", len(sum))
		}
		assert.NilError(t, os.WriteFile(file, []byte(text), 0o644))
		assert.NilError(t, os.WriteFile(file+".sha1", []byte(sum), 0o644))
	}
	put("zookeeper", ".jar", "a jar", true)
	put("other", ".jar", "another", false)
	pom := func(artifacts ...string) string {
		var text strings.Builder
		fmt.Fprintf(&text, `<project><modelVersion>4.0.0</modelVersion><groupId>%s</groupId><artifactId>t</artifactId><version>1</version><packaging>pom</packaging>
<repositories><repository><id>central</id><url>%s</url></repository></repositories>
<build><pluginManagement><plugins><plugin><groupId>org.apache.maven.plugins</groupId>
<artifactId>maven-dependency-plugin</artifactId><version>3.11.0</version></plugin></plugins></pluginManagement></build><dependencies>
`, group, &url.URL{Scheme: "file", Path: filepath.ToSlash(repo)})
		for _, a := range artifacts {
			put(a, ".pom", fmt.Sprintf("<project><modelVersion>4.0.0</modelVersion><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></project>\n", group, a, release), true)
			fmt.Fprintf(&text, "<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n", group, a, release)
		}
		file := filepath.Join(t.TempDir(), "pom.xml")
		assert.NilError(t, os.WriteFile(file, []byte(text.String()+"</dependencies></project>\n"), 0o644))
		return file
	}
	t.Setenv("LC_ALL", "POSIX") // in which Java has no name for the folder
	home = filepath.Join(home, `ü日 [x] #%$`)
	assert.NilError(t, os.Mkdir(home, 0o755))
	t.Setenv("ZK_APACHE_CACHE", home)
	_, err := apache.Install(t.Context(), pom("zookeeper", "other"), release)
	assert.ErrorContains(t, err, "hecksum")
	assert.ErrorContains(t, err, "other")
	left, err := os.ReadDir(home)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
	fetched, err := apache.Install(t.Context(), pom("zookeeper"), release)
	assert.NilError(t, err)
	assert.Assert(t, fetched)
}
