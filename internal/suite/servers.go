package suite

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// The behaviour suite runs against servers in this process and, with
// ZK_TEST_APACHE=1, against real ones, in each case at the root and under a chroot.

// Server is a ZooKeeper that is started once, when first needed, and shared.
type Server struct {
	Members int
	Version zktest.Version
	Release apache.Release // empty: in this process

	once   sync.Once
	err    error
	Sim    *zktest.Ensemble
	Apache *apache.Ensemble
	admin  *zk.Session // at the root, with the super user's rights
}

// Real reports whether it is a process of its own.
func (s *Server) Real() bool { return s.Release != "" }

// start is what both kinds of servers have in common.
func (s *Server) start() error {
	s.once.Do(func() {
		var addrs []string
		if s.Real() {
			// A follower that starved for a while must not leave its leader: that ends every connection.
			s.Apache, s.err = apache.Start(context.Background(), apache.Config{
				Release: s.Release, Members: s.Members, Settings: map[string]string{"initLimit": "120", "syncLimit": "120"},
			})
			if s.err != nil {
				return
			}
			addrs = s.Apache.Addrs()
		} else {
			s.Sim, s.err = zktest.StartEnsemble(s.Members, SimOptions(s.Version))
			if s.err != nil {
				return
			}
			addrs = s.Sim.Addrs()
		}
		s.admin, s.err = zk.Dial(context.Background(), zk.Config{
			Addrs: addrs, Timeout: time.Minute, Auth: []zk.Auth{{Scheme: "digest", Credential: []byte(apache.SuperCredential)}},
		})
		if s.err == nil {
			s.err = makeDecoys(s.admin)
		}
	})
	return s.err
}

// SimOptions makes an in-process server like the real ones are set up.
func SimOptions(v zktest.Version) zktest.Options {
	return zktest.Options{
		Version: v, MinSessionTimeout: 500 * time.Millisecond, MaxSessionTimeout: time.Minute,
		Super: apache.SuperCredential, Reconfig: true,
	}
}

// Addrs are the addresses of all members.
func (s *Server) Addrs() []string {
	if s.Real() {
		return s.Apache.Addrs()
	}
	return s.Sim.Addrs()
}

// leave ends the suite's own session, and reports what the tests did to the
// server that they must not.
func (s *Server) leave() error {
	if s.admin == nil {
		return nil
	}
	err := checkDecoys(s.admin)
	s.admin.Close()
	if err != nil {
		err = fmt.Errorf("%v: %w", s, err)
	}
	return err
}

func (s *Server) close() error {
	if s.Sim != nil {
		s.Sim.Close()
	}
	if s.Apache != nil {
		return s.Apache.Close()
	}
	return nil
}

func (s *Server) String() string {
	kind := "sim-" + s.Version.String()
	if s.Real() {
		kind = "apache-" + s.Version.String()
	}
	if s.Members > 1 {
		kind += fmt.Sprintf("x%d", s.Members)
	}
	return kind
}

// Backend is a server and the chroot at which tests use it.
type Backend struct {
	*Server
	Chroot string
}

func (b Backend) String() string {
	if b.Chroot != "" {
		return b.Server.String() + "-chroot"
	}
	return b.Server.String()
}

// chroot is not trivial to add and to strip: its own name comes again below it,
// and each decoy beside it begins like it, or it like the decoy.
const (
	Chroot      = "/zoo/app"
	chrootTop   = "/zoo"
	decoyPrefix = "/zoo/"
)

var decoys = []string{"/zoo/ap", "/zoo/apple", "/zoo/app.", "/zoo/zoo", "/zoo/App"}

func makeDecoys(s *zk.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	ops := []zk.Op{
		zk.CreateOp{Path: chrootTop, ACL: zk.ACLOpen},
		zk.CreateOp{Path: Chroot, ACL: zk.ACLOpen},
	}
	for _, d := range decoys {
		ops = append(ops, zk.CreateOp{Path: d, Data: []byte("decoy"), ACL: zk.ACLOpen})
	}
	_, err := s.Batch(ctx, ops...)
	return err
}

// checkDecoys makes sure that nothing was done beside the chroot.
func checkDecoys(s *zk.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := s.Sync(ctx, "/"); err != nil {
		return err
	}
	names, _, err := s.Children(ctx, chrootTop, nil)
	if err != nil {
		return err
	}
	slices.Sort(names)
	want := []string{strings.TrimPrefix(Chroot, decoyPrefix)}
	for _, d := range decoys {
		want = append(want, strings.TrimPrefix(d, decoyPrefix))
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		return fmt.Errorf("nodes beside the chroot: %q, want %q", names, want)
	}
	for _, d := range decoys {
		data, st, err := s.Get(ctx, d, nil)
		if err != nil {
			return err
		}
		if string(data) != "decoy" || st.Version != 0 || st.Cversion != 0 || st.Aversion != 0 {
			return fmt.Errorf("decoy %s was changed: %q %+v", d, data, st)
		}
	}
	return nil
}

// allServers are all that the suite may run against: servers in this process,
// of every version, and real ones of the releases that are to be tested.
var allServers = func() []*Server {
	servers := []*Server{{Members: 1, Version: zktest.V39}, {Members: 3, Version: zktest.V39}}
	for v := zktest.V38; v >= zktest.V34; v-- {
		servers = append(servers, &Server{Members: 1, Version: v})
	}
	if RealServers {
		for _, r := range apache.Tested() {
			for _, members := range []int{1, 3} {
				servers = append(servers, &Server{Members: members, Version: Minor(string(r)), Release: r})
			}
		}
	}
	return servers
}()

// Backends are all servers, and some at a chroot too.
func Backends() []Backend {
	var list []Backend
	for _, s := range allServers {
		list = append(list, Backend{Server: s})
		if s.Version == zktest.V39 && (s.Members == 1) != s.Real() {
			list = append(list, Backend{Server: s, Chroot: Chroot})
		}
	}
	return list
}

// Everywhere runs a test against every backend.
func Everywhere(t *testing.T, f func(t *testing.T, e *Env)) {
	t.Helper()
	On(t, func(Backend) bool { return true }, f)
}

// Since runs a test against every backend of a version and those after it: the
// first that knows the test's operations.
func Since(t *testing.T, v zktest.Version, f func(t *testing.T, e *Env)) {
	t.Helper()
	On(t, func(b Backend) bool { return b.Version >= v }, f)
}

// Ensembles runs a test against every backend of several members.
func Ensembles(t *testing.T, f func(t *testing.T, e *Env)) {
	t.Helper()
	On(t, func(b Backend) bool { return b.Members > 1 }, f)
}

// On runs a test against the backends that fit.
func On(t *testing.T, fits func(Backend) bool, f func(t *testing.T, e *Env)) {
	t.Helper()
	for _, b := range Backends() {
		if fits(b) {
			t.Run(b.String(), func(t *testing.T) {
				f(t, newEnv(t, b))
				if b.Real() && !t.Failed() {
					passed.add(b.Release)
				}
			})
		}
	}
}

// passes counts the tests that passed on real servers.
type passes struct {
	mu sync.Mutex // guards n
	n  map[apache.Release]int
}

var passed = passes{n: map[apache.Release]int{}}

func (p *passes) add(release apache.Release) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n[release]++
}

// PassedOn returns how many tests of this package passed on each release so far.
func PassedOn() map[apache.Release]int {
	passed.mu.Lock()
	defer passed.mu.Unlock()
	return maps.Clone(passed.n)
}

// Private returns a server in this process that only this test uses, so that
// it may break it, and look at all of its frames.
func Private(t *testing.T, members int, opts ...zktest.Options) *Env {
	t.Helper()
	o := SimOptions(zktest.V39)
	if len(opts) > 0 {
		o = opts[0]
	}
	s := &Server{Members: members, Version: o.Version, Sim: zktest.NewEnsemble(t, members, o)}
	return &Env{Backend: Backend{Server: s}, T: t, Ctx: NewContext(t)}
}

// InBubble runs a test in a synctest bubble, against servers of its own in
// memory: time passes only while all are at rest. The frame log of such a
// server is exact: nothing happens but what the test does, and pings.
func InBubble(t *testing.T, members int, f func(t *testing.T, e *Env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := SimOptions(zktest.V39)
		o.InMemory = true
		f(t, Private(t, members, o))
	})
}

// Minor returns the version of a release: 3.9 of 3.9.5.
func Minor(release string) zktest.Version {
	for v := zktest.V34; v <= zktest.V39; v++ {
		if release == v.String() || strings.HasPrefix(release, v.String()+".") {
			return v
		}
	}
	panic("no version of an in-process server for release " + release)
}
