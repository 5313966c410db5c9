package hosts

import (
	"math/rand/v2"
	"net"
	"net/netip"
)

// Stop is a server to try.
type Stop struct {
	// Addr is its address as configured.
	Addr string
	// Target is where to connect to: Addr, or one of the IPs of its name, with the
	// port. Empty: the name is to be resolved first, see [Tour.Resolved].
	Target string
	// Several: Addr is a name with several IPs, each perhaps of another server.
	Several bool
}

// Tour is the order in which a Dial tries the servers: at random, each once, and
// the one whose connection was just lost as the last.
type Tour struct {
	addrs   []string // to come
	targets []Stop   // of the name at hand
	last    []Stop   // those to avoid
	names   bool     // names are resolved
	avoid   string   // key of a target
}

// NewTour returns a Tour of addresses. With resolve, names are resolved.
func NewTour(addrs []string, resolve bool) *Tour {
	t := &Tour{names: resolve}
	seen := make(map[string]bool)
	for _, a := range addrs {
		if k := Key(a); !seen[k] {
			seen[k] = true
			t.addrs = append(t.addrs, a)
		}
	}
	rand.Shuffle(len(t.addrs), func(i, j int) { t.addrs[i], t.addrs[j] = t.addrs[j], t.addrs[i] })
	return t
}

// Avoid makes a target come last.
func (t *Tour) Avoid(target string) { t.avoid = Key(target) }

// Left returns how many stops are to come, as far as is known.
func (t *Tour) Left() int { return len(t.addrs) + len(t.targets) + len(t.last) }

// Next returns the next stop; false: there is none.
func (t *Tour) Next() (Stop, bool) {
	for {
		var s Stop
		switch {
		case len(t.targets) > 0:
			s, t.targets = t.targets[0], t.targets[1:]
		case len(t.addrs) > 0:
			s = t.first(t.addrs[0])
			t.addrs = t.addrs[1:]
		case len(t.last) > 0:
			s, t.last = t.last[0], t.last[1:]
			return s, true
		default:
			return Stop{}, false
		}
		if s.Target == "" || Key(s.Target) != t.avoid {
			return s, true
		}
		t.last = append(t.last, s)
	}
}

// Again makes a stop the next one.
func (t *Tour) Again(s Stop) { t.targets = append([]Stop{s}, t.targets...) }

func (t *Tour) first(addr string) Stop {
	host, _, _ := net.SplitHostPort(addr)
	if _, err := netip.ParseAddr(host); err == nil || !t.names {
		return Stop{Addr: addr, Target: addr}
	}
	return Stop{Addr: addr}
}

// Resolved says which IPs a name has that Next returned. They come next.
func (t *Tour) Resolved(addr string, ips []string) {
	_, port, _ := net.SplitHostPort(addr)
	for _, ip := range ips {
		t.targets = append(t.targets, Stop{Addr: addr, Target: net.JoinHostPort(ip, port), Several: len(ips) > 1})
	}
	rand.Shuffle(len(t.targets), func(i, j int) { t.targets[i], t.targets[j] = t.targets[j], t.targets[i] })
}
