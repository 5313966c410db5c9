package scripts

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
)

// The servers of an ensemble are found by the SRV records of a name.
func TestLookupSRV(t *testing.T) {
	dns := useDNS(t)
	const name = "_zookeeper._tcp.zk.test"
	dns.srv = map[string][]net.SRV{name: {
		{Target: "b.zk.test.", Port: 2182, Priority: 2}, {Target: "a.zk.test.", Port: 2181, Priority: 1},
		{Target: "b.zk.test.", Port: 2182, Priority: 3}, // once is enough
	}}
	addrs, err := zk.LookupSRV(t.Context(), nil, name)
	assert.NilError(t, err)
	assert.DeepEqual(t, addrs, []string{"a.zk.test:2181", "b.zk.test:2182"})

	e := suite.Private(t, 1)
	_, port, err := net.SplitHostPort(e.Addrs()[0])
	assert.NilError(t, err)
	dns.answer("a.zk.test", "127.0.0.1")
	number, err := net.LookupPort("tcp", port)
	assert.NilError(t, err)
	dns.srv[name] = []net.SRV{{Target: "a.zk.test.", Port: uint16(number)}}
	addrs, err = zk.LookupSRV(t.Context(), net.DefaultResolver, name+".")
	assert.NilError(t, err)
	s := e.Dial(zk.Config{Addrs: addrs})
	assert.Equal(t, s.Addr(), "a.zk.test:"+port)

	// Answers that are of no use, some of them on purpose.
	for what, records := range map[string][]net.SRV{
		"no service":  {{Target: ".", Port: 2181}},
		"no port":     {{Target: "a.zk.test.", Port: 0}},
		"among good":  {{Target: "a.zk.test.", Port: 2181}, {Target: "b.zk.test.", Port: 0}},
		"space":       {{Target: "a b.test.", Port: 2181}},
		"two in one":  {{Target: "a.test,b.test.", Port: 2181}},
		"path":        {{Target: "a.test/chroot.", Port: 2181}},
		"zero byte":   {{Target: "a\x00b.test.", Port: 2181}},
		"colon":       {{Target: "a.test:80.", Port: 2181}},
		"bracket":     {{Target: "[a.test.", Port: 2181}},
		"no records":  {},
		"line's end":  {{Target: "a.test\n.", Port: 2181}},
		"not a label": {{Target: "\xff.test.", Port: 2181}},
	} {
		dns.srv[name] = records
		addrs, err := zk.LookupSRV(t.Context(), nil, name)
		assert.Assert(t, addrs == nil, "%s: %q", what, addrs)
		assert.ErrorIs(t, err, zk.ErrNoServer, what)
		assert.ErrorContains(t, err, name)
	}
	_, err = zk.LookupSRV(t.Context(), nil, "_none._tcp.zk.test")
	var no *net.DNSError
	assert.Assert(t, errors.As(err, &no) && no.IsNotFound, "%v", err)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	for _, bad := range []string{"", ".", "a..b", " "} {
		_, err = zk.LookupSRV(t.Context(), nil, bad)
		assert.ErrorIs(t, err, zk.ErrNoServer, "%q", bad)
	}
}

// A look-up leaves with its context, though nobody answers.
func TestLookupSRVLeaves(t *testing.T) {
	asked, done := make(chan struct{}, 10), make(chan struct{})
	silent := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked <- struct{}{}
		<-done
		return nil, errors.New("over")
	}}
	defer close(done)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	_, err := zk.LookupSRV(ctx, silent, "_zookeeper._tcp.zk.test")
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, zk.ErrNoServer)
}

// names returns server addresses from..to.
func names(from, to int) []string {
	var list []string
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("h%d:2181", i))
	}
	return list
}

// Of all ways in which a list of servers can change, each spreads clients that
// were even before evenly again. This is exact: the function is asked at the
// middle of each of so many equal steps that every threshold is between two.
func TestRebalanceIsEven(t *testing.T) {
	for s := 1; s <= 6; s++ {
		for k := 0; k <= s; k++ {
			for n := 0; n <= 6; n++ {
				if k+n == 0 {
					continue
				}
				old := names(0, s)
				next := append(names(s-k, s), names(s, s+n)...)
				slices.Reverse(next)
				load := make(map[string]*big.Rat)
				for _, addr := range next {
					load[addr] = new(big.Rat)
				}
				steps := s * (k + n) * max(1, s-k)
				moved := new(big.Rat)
				each := big.NewRat(1, int64(s*steps)) // of all clients, those on one old server at one step
				for _, current := range old {
					for i := range steps {
						to := zk.Rebalance(old, next, current, (float64(i)+0.5)/float64(steps))
						if to == nil {
							load[current].Add(load[current], each)
							continue
						}
						moved.Add(moved, each)
						for _, addr := range to { // Dial takes any of them
							share := new(big.Rat).Quo(each, big.NewRat(int64(len(to)), 1))
							load[addr].Add(load[addr], share)
						}
					}
				}
				for addr, got := range load {
					assert.Assert(t, got.Cmp(big.NewRat(1, int64(k+n))) == 0, "%d servers, %d kept, %d new: %s has %v", s, k, n, addr, got)
				}
				// No more than must: those of servers that go, or what new servers take.
				least := big.NewRat(int64(s-k), int64(s))
				if more := big.NewRat(int64(n), int64(k+n)); more.Cmp(least) > 0 {
					least = more
				}
				assert.Assert(t, moved.Cmp(least) == 0, "%d servers, %d kept, %d new: %v move, not %v", s, k, n, moved, least)
			}
		}
	}
}

func TestRebalance(t *testing.T) {
	three, four := names(0, 3), names(0, 4)
	for _, test := range []struct {
		old, next []string
		current   string
		rand      float64
		want      []string
	}{
		{three, three, "h0:2181", 0, nil},
		{three, four, "h0:2181", 0.2499, names(3, 4)}, // one of four goes to the new one
		{three, four, "h0:2181", 0.2501, nil},
		{three, four, "h0", 0.2499, names(3, 4)}, // the port may be left out
		{[]string{"h0", "h1", "h2"}, four, "h0:2181", 0.3, nil},
		{four, three, "h3:2181", 0, three},
		{four, three, "h3:2181", 0.999, three},
		{four, three, "h0:2181", 0, nil},
		{three, names(1, 4), "h0:2181", 0, names(3, 4)}, // one for one
		{three, three, "elsewhere:1", 0.5, three},
		{three, nil, "h0:2181", 0, nil}, // nowhere to go
		{nil, three, "elsewhere:1", 0.5, three},
		{slices.Concat(three, three), append(four, "h3:2181"), "h0:2181", 0.2499, names(3, 4)}, // each counts once
	} {
		got := zk.Rebalance(test.old, test.next, test.current, test.rand)
		assert.Assert(t, slices.Equal(got, test.want), "%+v: %q", test, got)
	}
}

// What is wrong with a Config is told before anybody is asked.
func TestBadConfig(t *testing.T) {
	e := suite.Private(t, 1)
	for _, test := range []struct {
		change func(*zk.Config)
		want   error
	}{
		{func(c *zk.Config) { c.Timeout = -time.Second }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Timeout = time.Microsecond }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Timeout = 1 << 31 * time.Millisecond }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.MaxRequest = -1 }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.MaxReply = -1 }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.MaxInFlight = -1 }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Addrs = append(c.Addrs, "host:port") }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Addrs = append(c.Addrs, "") }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Addrs = append(c.Addrs, "host:0") }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Addrs = append(c.Addrs, "a:1:2") }, zk.ErrBadArguments},
		{func(c *zk.Config) { c.Chroot = "app" }, zk.ErrBadPath},
		{func(c *zk.Config) { c.Chroot = "/app/" }, zk.ErrBadPath},
		{func(c *zk.Config) { c.Chroot = "/a//b" }, zk.ErrBadPath},
		{func(c *zk.Config) { c.Chroot = "/a/../b" }, zk.ErrBadPath},
		{func(c *zk.Config) { c.ID = 1 }, zk.ErrBadArguments}, // without a password
		{func(c *zk.Config) {
			c.Resolve = func(context.Context) ([]string, error) { return []string{"host:port"}, nil }
		}, zk.ErrBadArguments},
		{func(c *zk.Config) {
			c.Resolve = func(context.Context) ([]string, error) { return nil, errors.New("away") }
		}, zk.ErrNoServer},
	} {
		conf, l := e.Config()
		test.change(&conf)
		s, err := zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, test.want, "%+v", conf)
		assert.Assert(t, s == nil)
		assert.Equal(t, len(l.Dialed()), 0)
	}
	for _, f := range e.Sim.Frames() {
		t.Error(f)
	}
}
