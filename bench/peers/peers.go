// Package peers has drivers for ZooKeeper's clients in other languages, in src: they
// know the flags of cmd/driver that a comparison needs, do the main workloads, and
// print the same line of JSON. Where a client counts no allocations or system calls,
// its figures are missing.
package peers

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// The clients.
const (
	C     = "c"     // libzookeeper_mt
	Java  = "java"  // org.apache.zookeeper.ZooKeeper, of the server's jars
	Kazoo = "kazoo" // of Python
)

// Names are all of them.
var Names = []string{C, Java, Kazoo}

// Peer is a driver that is ready to run.
type Peer struct {
	Command []string      // flags are to be appended
	Warmup  time.Duration // that it needs, at least
}

// Missing says that a peer cannot run because something is not installed.
type Missing struct {
	Peer string
	What string // is missing, and how to get it
}

func (m *Missing) Error() string { return m.Peer + ": " + m.What }

//go:embed src/peer.c src/Peer.java src/peer.py src/curator.xml
var sources embed.FS

// Build makes a peer ready, in a folder that it may fill and that has to stay. The
// error is a *Missing if the peer's packages are not there.
func Build(ctx context.Context, name, dir string) (Peer, error) {
	build := map[string]func(context.Context, string) (Peer, error){C: buildC, Java: buildJava, Kazoo: buildKazoo}[name]
	if build == nil {
		return Peer{}, fmt.Errorf("no peer %q: there are %s", name, strings.Join(Names, ", "))
	}
	return build(ctx, dir)
}

// source writes a source to dir and returns its path.
func source(dir, name string) (string, error) {
	b, err := sources.ReadFile("src/" + name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, b, 0o666)
}

func run(ctx context.Context, command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C") // mentions knows English
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// mentions reports whether an error has one of some texts.
func mentions(err error, texts ...string) bool {
	for _, t := range texts {
		if err != nil && strings.Contains(err.Error(), t) {
			return true
		}
	}
	return false
}

func buildC(ctx context.Context, dir string) (Peer, error) {
	missing := &Missing{C, "no C compiler with ZooKeeper's C client: install them (Debian: apt-get install gcc libc6-dev libzookeeper-mt-dev)"}
	cc, err := exec.LookPath("gcc")
	if err != nil {
		if cc, err = exec.LookPath("cc"); err != nil {
			return Peer{}, missing
		}
	}
	src, err := source(dir, "peer.c")
	if err != nil {
		return Peer{}, err
	}
	bin := filepath.Join(dir, "peer-c")
	err = run(ctx, cc, "-O2", "-o", bin, src, "-lzookeeper_mt", "-pthread")
	if mentions(err, "zookeeper.h: No such", "zookeeper.h' file not found", "find -lzookeeper_mt", "library not found", "unable to find library") {
		return Peer{}, missing
	}
	return Peer{Command: []string{bin}}, err
}

func buildJava(ctx context.Context, dir string) (Peer, error) {
	in, err := apache.Find(apache.V3_9)
	if err != nil {
		return Peer{}, &Missing{Java, err.Error()}
	}
	src, err := source(dir, "Peer.java")
	if err != nil {
		return Peer{}, err
	}
	path := strings.Join(in.Jars, string(os.PathListSeparator))
	// The compiler of this very Java, which needs no command of its own.
	err = run(ctx, in.Java, "-XX:TieredStopAtLevel=1", "-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", dir, "-cp", path, src)
	if mentions(err, "jdk.compiler not found") {
		return Peer{}, &Missing{Java, "no compiler in this Java: install a JDK (Debian: apt-get install default-jdk-headless)"}
	}
	return Peer{
		Command: []string{in.Java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", dir + string(os.PathListSeparator) + path, "Peer"},
		Warmup:  2500 * time.Millisecond,
	}, err
}

func buildKazoo(ctx context.Context, dir string) (Peer, error) {
	src, err := source(dir, "peer.py")
	if err != nil {
		return Peer{}, err
	}
	python, err := Python(ctx)
	return Peer{Command: []string{python, src}}, err
}

// Python returns a Python that has kazoo; the error is a *Missing if none has.
func Python(ctx context.Context) (string, error) {
	// Debian's packages are those of Debian's Python, which need not be the first in PATH.
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		err := run(ctx, python, "-c", "import kazoo.client")
		if err == nil {
			return python, nil
		}
		if ctx.Err() != nil {
			return "", err
		}
	}
	return "", &Missing{Kazoo, "no Python 3 with kazoo: install it (Debian: apt-get install python3-kazoo)"}
}

// Curator compiles a class that uses Apache Curator, whose jars Maven fetches, in
// a folder that has its source and has to stay. It returns the command that runs
// it, with these options of Java.
func Curator(ctx context.Context, dir, class string, options ...string) ([]string, error) {
	in, err := apache.Find(apache.V3_9)
	if err != nil {
		return nil, err
	}
	pom, err := source(dir, "curator.xml")
	if err != nil {
		return nil, err
	}
	list := filepath.Join(dir, "classpath")
	if err := run(ctx, "mvn", "-q", "-B", "-f", pom, "dependency:build-classpath", "-Dmdep.outputFile="+list); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	jars := strings.TrimSpace(string(text))
	err = run(ctx, in.Java, "-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", dir, "-cp", jars, filepath.Join(dir, class+".java"))
	return append(append([]string{in.Java}, options...), "-cp", dir+string(os.PathListSeparator)+jars, class), err
}
