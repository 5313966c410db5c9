package apache_test

import (
	"context"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// bare gives the test an environment without Java, Maven and jars.
func bare(t *testing.T) (cache string) {
	cache = t.TempDir()
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	t.Setenv("ZK_APACHE_CACHE", cache)
	return cache
}

// command puts an executable of that name into PATH.
func command(t *testing.T, name, script string) {
	t.Helper()
	path := filepath.Join(os.Getenv("PATH"), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// wantError checks that err mentions each of want, and none of not.
func wantError(t *testing.T, err error, want []string, not ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, s := range want {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error does not mention %q: %v", s, err)
		}
	}
	for _, s := range not {
		if strings.Contains(err.Error(), s) {
			t.Errorf("error mentions %q: %v", s, err)
		}
	}
}

func TestFindSaysWhatIsMissing(t *testing.T) {
	cache := bare(t)
	const java, mvn, jars = "apt-get install default-jre-headless", "apt-get install maven", "make servers"
	_, err := apache.Find(apache.V3_9)
	wantError(t, err, []string{"3.9.5", java, mvn, jars, filepath.Join(cache, "3.9.5")})

	command(t, "java", "exit 0")
	_, err = apache.Find(apache.V3_9)
	wantError(t, err, []string{mvn, jars}, java)

	command(t, "mvn", "exit 0")
	_, err = apache.Find(apache.V3_9)
	wantError(t, err, []string{jars}, java, mvn)

	// A folder without the server's jar is no installation.
	dir := filepath.Join(cache, "3.9.5")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = apache.Find(apache.V3_9)
	wantError(t, err, []string{jars})

	for _, jar := range []string{"zookeeper-3.9.5.jar", "zookeeper-jute-3.9.5.jar"} {
		if err := os.WriteFile(filepath.Join(dir, jar), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in, err := apache.Find(apache.V3_9)
	if err != nil || len(in.Jars) != 2 || filepath.Base(in.Java) != "java" {
		t.Errorf("Find = %+v, %v", in, err)
	}

	t.Setenv("JAVA_HOME", cache)
	_, err = apache.Find(apache.V3_9)
	wantError(t, err, []string{"JAVA_HOME", filepath.Join(cache, "bin", "java")}, jars)
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	bare(t)
	e, err := apache.Start(context.Background(), apache.Config{})
	wantError(t, err, []string{"java", "make servers"})
	if e != nil {
		t.Errorf("Start gave %v beside its error", e)
	}
}

func TestStartRefuses(t *testing.T) {
	for _, conf := range []apache.Config{{Members: 2}, {Members: -1}, {Release: "3.3.3"}, {Release: apache.V3_4, TLS: &apache.TLS{}}} {
		if _, err := apache.Start(context.Background(), conf); err == nil {
			t.Errorf("Start(%+v) succeeded", conf)
		}
	}
}

// A stand-in for Maven: it writes the server's jar into the output directory.
const fakeMaven = `echo run >>"$ZK_APACHE_CACHE/runs"
case " $* " in *" -C "*) ;; *) echo lax checksums; exit 1;; esac
for a; do case $a in -Dzk=*) zk=${a#-Dzk=};; -DoutputDirectory=*) : >"${a#-DoutputDirectory=}/zookeeper-$zk.jar";; esac; done`

func TestInstall(t *testing.T) {
	cache := bare(t)
	ctx := context.Background()
	pom := filepath.Join(t.TempDir(), "pom.xml")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(pom, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("<project/>")
	_, err := apache.Install(ctx, pom, apache.V3_8)
	wantError(t, err, []string{"java"})
	command(t, "java", "exit 0")
	_, err = apache.Install(ctx, pom, apache.V3_8)
	wantError(t, err, []string{"apt-get install maven"})

	// What Maven says when it fails is told, and nothing is left that Find would take for an installation.
	command(t, "mvn", "echo no such artifact; exit 1")
	_, err = apache.Install(ctx, pom, apache.V3_8)
	wantError(t, err, []string{"3.8.6", "no such artifact"})
	if left, _ := os.ReadDir(cache); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	command(t, "mvn", fakeMaven)
	runs := func() int {
		b, _ := os.ReadFile(filepath.Join(cache, "runs"))
		return strings.Count(string(b), "run")
	}
	for i, want := range []bool{true, false} {
		fetched, err := apache.Install(ctx, pom, apache.V3_8)
		if err != nil || fetched != want || runs() != 1 {
			t.Errorf("Install %d = %v, %v after %d runs of Maven", i+1, fetched, err, runs())
		}
	}
	if _, err := apache.Find(apache.V3_8); err != nil {
		t.Error(err)
	}
	write("<project><version>2</version></project>") // other pins: fetched again
	if fetched, err := apache.Install(ctx, pom, apache.V3_8); err != nil || !fetched || runs() != 2 {
		t.Errorf("Install = %v, %v after %d runs of Maven", fetched, err, runs())
	}

	t.Setenv("ZK_APACHE_CACHE", filepath.Join(cache, "list"+string(os.PathListSeparator)))
	_, err = apache.Install(ctx, pom, apache.V3_8)
	wantError(t, err, []string{"class path"})
	if filepath.Separator == '/' {
		t.Setenv("ZK_APACHE_CACHE", filepath.Join(cache, `back\slash`))
		_, err = apache.Install(ctx, pom, apache.V3_8)
		wantError(t, err, []string{"backslash"})
	}
	t.Setenv("ZK_APACHE_CACHE", cache)

	_, err = apache.Install(ctx, pom, "1.0")
	wantError(t, err, []string{"1.0", "not pinned"})
	_, err = apache.Install(ctx, filepath.Join(t.TempDir(), "none"), apache.V3_8)
	wantError(t, err, []string{"none"})
}

// The pom pins exactly the releases that Go code knows.
func TestPOM(t *testing.T) {
	pom, err := apache.POM()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pom)
	if err != nil {
		t.Fatal(err)
	}
	var project struct {
		Profiles []struct {
			ID         string `xml:"id"`
			Activation string `xml:"activation>property>value"`
		} `xml:"profiles>profile"`
	}
	if err := xml.Unmarshal(text, &project); err != nil {
		t.Fatal(err)
	}
	var pinned []apache.Release
	for _, p := range project.Profiles {
		if p.ID != p.Activation {
			t.Errorf("profile %s is for zk=%s", p.ID, p.Activation)
		}
		pinned = append(pinned, apache.Release(p.ID))
	}
	if !slices.Equal(pinned, apache.Releases()) {
		t.Errorf("pom.xml pins %v, Releases() is %v", pinned, apache.Releases())
	}
	if d := apache.Default(); !slices.Equal(d, []apache.Release{apache.V3_9, apache.V3_8}) {
		t.Errorf("Default() = %v", d)
	}
	for env, want := range map[string][]apache.Release{
		"": apache.Default(), "all": apache.Releases(), "3.5.10,3.4.14": {apache.V3_5, apache.V3_4}, "3.6.4 all": apache.Releases(),
	} {
		t.Setenv("ZK_TEST_RELEASES", env)
		if got := apache.Tested(); !slices.Equal(got, want) {
			t.Errorf("Tested() with %q = %v, want %v", env, got, want)
		}
	}
}

// recorder is a testing.TB that keeps how its test was skipped.
type recorder struct {
	testing.TB
	skipped string
}

func (r *recorder) Helper()       {}
func (r *recorder) Skip(a ...any) { r.skipped += a[0].(string) }

func TestNeed(t *testing.T) {
	for env, want := range map[string]string{"": "real ZooKeeper servers were not run: use make test", "1": ""} {
		t.Setenv("ZK_TEST_APACHE", env)
		r := &recorder{TB: t}
		if apache.Need(r); r.skipped != want {
			t.Errorf("ZK_TEST_APACHE=%q: skipped with %q, want %q", env, r.skipped, want)
		}
	}
}
