package hosts

import (
	"fmt"
	"slices"
	"testing"

	"gotest.tools/v3/assert"
)

func TestKey(t *testing.T) {
	for _, same := range [][]string{
		{"zk1:2181", "ZK1:2181", "zk1.:2181", "zk1"},
		{"[::1]:2181", "[0:0:0:0:0:0:0:1]:2181", "[::1]"},
		{"127.0.0.1:2181", "127.0.0.1", "[::ffff:127.0.0.1]:2181"},
		{"zk1:2182"},
		{"[fe80::1%eth0]:2181"},
		{"[fe80::1%eth1]:2181"},
	} {
		for _, a := range same {
			assert.Equal(t, Key(a), Key(same[0]))
		}
		for _, other := range []string{"zk2:2181", "zk1:2183", "[::2]:2181", "[fe80::1]:2181"} {
			assert.Assert(t, Key(other) != Key(same[0]))
		}
	}
}

func TestTLSName(t *testing.T) {
	for addr, want := range map[string]string{
		"zk1.test:2181": "zk1.test", "zk1.test.:2181": "zk1.test.", "[::1]:2181": "::1",
		"[fe80::1%eth0]:2181": "fe80::1", "127.0.0.1:1": "127.0.0.1",
	} {
		assert.Equal(t, TLSName(addr), want)
	}
}

// tour returns the stops of a whole Tour, of names with the given IPs.
func tour(addrs []string, resolve bool, avoid string, ips map[string][]string) (stops []Stop) {
	t := NewTour(addrs, resolve)
	t.Avoid(avoid)
	for {
		left := t.Left()
		s, ok := t.Next()
		if !ok {
			if left != 0 {
				panic(fmt.Sprint("left: ", left))
			}
			return stops
		}
		if s.Target == "" {
			t.Resolved(s.Addr, ips[s.Addr])
			continue
		}
		stops = append(stops, s)
	}
}

// Each server comes once, in random order, and the one to avoid comes last,
// whatever its address looks like and however often it stands in the list.
func TestTour(t *testing.T) {
	names := map[string][]string{"zk.test:2181": {"127.0.0.2", "127.0.0.3", "127.0.0.4"}, "one.test:2181": {"127.0.0.3"}}
	for _, c := range []struct {
		addrs   []string
		resolve bool
		avoid   string
		targets []string
		last    []string // in any order
	}{
		{[]string{"a:1", "b:1", "c:1"}, false, "b:1", []string{"a:1", "b:1", "c:1"}, []string{"b:1"}},
		{[]string{"a:1", "B:1", "b:1", "b.:1"}, false, "b:1", []string{"a:1", "B:1"}, []string{"B:1"}},
		{[]string{"[::1]:1", "[::2]:1"}, true, "[0:0:0:0:0:0:0:1]:1", []string{"[::1]:1", "[::2]:1"}, []string{"[::1]:1"}},
		{[]string{"zk.test:2181"}, true, "127.0.0.3:2181", []string{"127.0.0.2:2181", "127.0.0.3:2181", "127.0.0.4:2181"}, []string{"127.0.0.3:2181"}},
		{[]string{"zk.test:2181", "one.test:2181", "127.0.0.3:2181", "127.0.0.9:2181"}, true, "127.0.0.3:2181",
			[]string{"127.0.0.2:2181", "127.0.0.3:2181", "127.0.0.3:2181", "127.0.0.3:2181", "127.0.0.4:2181", "127.0.0.9:2181"},
			[]string{"127.0.0.3:2181", "127.0.0.3:2181", "127.0.0.3:2181"}},
		{[]string{"zk.test:2181"}, false, "", []string{"zk.test:2181"}, nil},
	} {
		first := make(map[string]bool)
		for range 200 {
			var got []string
			for _, s := range tour(c.addrs, c.resolve, c.avoid, names) {
				got = append(got, s.Target)
				assert.Equal(t, s.Several, s.Addr == "zk.test:2181" && c.resolve)
			}
			first[got[0]] = true
			tail := got[len(got)-len(c.last):]
			assert.Assert(t, slices.Equal(slices.Sorted(slices.Values(tail)), c.last), "%q", tail)
			assert.DeepEqual(t, slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(c.targets)))
		}
		distinct := make(map[string]bool)
		for _, x := range c.targets {
			distinct[x] = true
		}
		for _, x := range c.last {
			delete(distinct, x)
		}
		assert.Equal(t, len(first), max(1, len(distinct)), "%v begins with %v", c.addrs, first)
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"":                {"", ""},
		"a":               {"a", ""},
		" a , b:1 ,/c/d":  {"a", "b:1", "/c/d"},
		"a,,b":            {"a", "", "b", ""},
		"a,,":             {"a", "", ""},
		"/":               {"", "/"},
		"[::1]:2,a/b,c/d": {"[::1]:2", "a", "/b,c/d"},
	} {
		addrs, chroot := Split(text)
		assert.DeepEqual(t, append(addrs, chroot), want)
	}
}
