package interop

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// curator returns the command that runs testdata/Peer.java with Curator's jars,
// which Maven fetches once into a folder of the user's cache.
func curator(t *testing.T) []string {
	apache.Need(t)
	in, err := apache.Find(apache.V3_9)
	assert.NilError(t, err)
	pom, err := os.ReadFile("testdata/pom.xml")
	assert.NilError(t, err)
	cache, err := os.UserCacheDir()
	assert.NilError(t, err)
	jars := filepath.Join(cache, "zk-curator")
	if have, _ := os.ReadFile(filepath.Join(jars, "pom.xml")); !bytes.Equal(have, pom) {
		mvn, err := exec.LookPath("mvn")
		assert.NilError(t, err, "Maven fetches Curator's jars: install it (Debian: apt-get install maven)")
		assert.NilError(t, os.RemoveAll(jars))
		out, err := exec.Command(mvn, "-B", "-q", "-Dstyle.color=never", "-f", "testdata/pom.xml", "dependency:copy-dependencies", "-DoutputDirectory="+jars).CombinedOutput()
		assert.NilError(t, err, "%s", out)
		assert.NilError(t, os.WriteFile(filepath.Join(jars, "pom.xml"), pom, 0o666))
	}
	classes := t.TempDir()
	path := filepath.Join(jars, "*")
	// The compiler takes a list of files, not of folders.
	all, err := filepath.Glob(filepath.Join(jars, "*.jar"))
	assert.NilError(t, err)
	list := ""
	for _, jar := range all {
		list += jar + string(os.PathListSeparator)
	}
	out, err := exec.Command(in.Java, "-XX:TieredStopAtLevel=1", "-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", classes, "-cp", list, "testdata/Peer.java").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	return []string{
		in.Java, "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
		"-cp", classes + string(os.PathListSeparator) + path, "Peer",
	}
}

func TestCurator(t *testing.T) {
	command := curator(t)
	run := func(name string, f func(s *stage)) {
		t.Run(name, func(t *testing.T) { each(t, command, f) })
	}
	run("Lock", func(s *stage) {
		exclusive(s, "lock", "/lock", func(i int) func(s *zk.Session) (*recipe.Hold, error) {
			lock := recipe.Lock{Path: "/lock", KeepDir: true}
			return func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) }
		})
	})
	run("Names", func(s *stage) {
		o := s.dial()
		rw := recipe.RWLock{Path: "/names"}
		var names []string
		for _, f := range []func(s *zk.Session) (*recipe.Hold, error){
			func(s *zk.Session) (*recipe.Hold, error) { return (&recipe.Lock{Path: "/names"}).Acquire(bg, s) },
			func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireRead(bg, s) },
			func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireWrite(bg, s) },
			func(s *zk.Session) (*recipe.Hold, error) { return (&recipe.Election{Path: "/names"}).Campaign(bg, s) },
		} {
			h := o.hold(f)
			names = append(names, path.Base(h.Path()))
			o.release(h)
		}
		names = append(names, path.Base(do(o, func(s *zk.Session) (string, error) {
			return recipe.CreateProtected(bg, s, "/job-", nil, nil)
		})))
		them := s.peer("names", 1, strings.Join(names, ","))
		for _, want := range []string{"lock-", "__READ__", "__WRIT__", "latch-", "job-"} {
			assert.Check(s, strings.HasPrefix(them.says(), want), want)
		}
		them.end()
	})
	run("Election", func(s *stage) {
		exclusive(s, "election", "/election", func(i int) func(s *zk.Session) (*recipe.Hold, error) {
			e := recipe.Election{Path: "/election", ID: "us", KeepDir: true}
			return func(s *zk.Session) (*recipe.Hold, error) { return e.Campaign(bg, s) }
		})
	})
	run("Leader", func(s *stage) {
		o := s.dial()
		e := recipe.Election{Path: "/election", ID: "us", KeepDir: true}
		h := o.hold(func(s *zk.Session) (*recipe.Hold, error) { return e.Campaign(bg, s) })
		them := s.peer("leader", 1, "them")
		assert.Equal(s, them.says(), "leader us")
		o.release(h)
		assert.Equal(s, them.says(), "leads")
		c := do(o, func(s *zk.Session) (recipe.Contender, error) { return e.Leader(bg, s) })
		assert.Equal(s, string(c.Data), "them")
		them.goOn()
		them.end()
	})
	run("RWLock", func(s *stage) { readersAndWriters(s, recipe.Curator) })
	run("Semaphore", func(s *stage) { leases(s, recipe.Curator, "/sem/leases", "/sem/locks") })
	run("Counter", func(s *stage) {
		for _, x := range []struct {
			what   string
			format recipe.Format
		}{{"counter", recipe.Int64}, {"counter32", recipe.Int32}, {"counter", recipe.Int64}} {
			o := s.dial()
			o.run(func(s *zk.Session) error {
				if _, err := s.Set(bg, "/number", nil, zk.AnyVersion); err != nil && !errors.Is(err, zk.ErrNoNode) {
					return err
				}
				return nil
			})
			c := recipe.Counter{Path: "/number", Format: x.format}
			do(o, func(s *zk.Session) (int64, error) { return c.Add(bg, s, 0) })
			them := s.peer(x.what, turns, "them") // whose answers are not lost: it would count twice
			for i := range turns {
				if i%5 == 4 {
					s.ours.Cut()
				}
				do(o, func(s *zk.Session) (int64, error) { return c.Add(bg, s, 10) })
			}
			them.end()
			assert.Equal(s, do(o, func(s *zk.Session) (int64, error) { return c.Get(bg, s) }), int64(11*turns))
		}
	})
	run("Group", func(s *stage) {
		o := s.dial()
		g := recipe.Group{Path: "/group"}
		h := o.hold(func(s *zk.Session) (*recipe.Hold, error) { return g.Join(bg, s, "go", []byte("us")) })
		them := s.peer("group", 1, "them")
		assert.Equal(s, them.says(), "members [go, them]")
		members := do(o, func(s *zk.Session) (map[string][]byte, error) { return g.Members(bg, s) })
		assert.DeepEqual(s, members, map[string][]byte{"go": []byte("us"), "them": []byte("hello")})
		them.goOn()
		them.end()
		o.release(h)
		o.gone("/group")
	})
	run("Barrier", barriers)
	run("DoubleBarrier", doubleBarriers)
}
