package zk

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// HostProvider chooses the servers to connect to. A Conn calls it from one goroutine.
type HostProvider interface {
	// Init gets the servers of Connect, as host:port.
	Init(servers []string) error
	// Len returns how many servers there are.
	Len() int
	// Next returns the server to try now. retryStart: all have been tried since Connected
	// or the last retryStart. Then calls that wait fail with ErrNoServer, and the Conn
	// pauses for a second, except before the first attempts after a loss. There is no
	// other pause: a HostProvider that never says so is asked again at once, and calls
	// wait for as long as no server answers.
	Next() (server string, retryStart bool)
	// Connected says that there is a session with the server that Next returned last.
	Connected()
}

// carousel goes round in a list.
type carousel struct {
	mu         sync.Mutex // guards what follows
	servers    []string
	curr, last int // last: where a round began; -1: nowhere yet
}

// loadLocked begins with the addresses that were found for what was given, in random order.
func (r *carousel) loadLocked(given, found []string) error {
	if len(found) == 0 {
		//lint:ignore ST1005 go-zookeeper's words
		return fmt.Errorf("No hosts found for addresses %q", given)
	}
	shuffle(found)
	r.servers, r.curr, r.last = found, -1, -1
	return nil
}

func (r *carousel) nextLocked() (server string, retryStart bool) {
	if len(r.servers) == 0 {
		return "", true
	}
	r.curr = (r.curr + 1) % len(r.servers)
	retryStart = r.curr == r.last
	if r.last == -1 {
		r.last = 0
	}
	return r.servers[r.curr], retryStart
}

// Len returns the number of addresses.
func (r *carousel) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.servers)
}

// Connected begins a new round at the address that Next returned last.
func (r *carousel) Connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = r.curr
}

type lookupHostFn func(context.Context, string) ([]string, error)

// DNSHostProvider is the default HostProvider: it resolves all names, and goes through
// the addresses in random order. When all of them have failed, it resolves again.
type DNSHostProvider struct {
	lookupTimeout time.Duration
	lookupHost    lookupHostFn // nil: the net package's

	carousel
	given []string          // to Init; guarded by the carousel's lock, as names is
	names map[string]string // the host of each address
}

// DNSHostProviderOption is an option of NewDNSHostProvider.
type DNSHostProviderOption interface {
	apply(*DNSHostProvider)
}

type lookupTimeoutOption time.Duration

func (o lookupTimeoutOption) apply(hp *DNSHostProvider) { hp.lookupTimeout = time.Duration(o) }

// WithLookupTimeout limits the time for resolving all names; the default is 3 s.
func WithLookupTimeout(timeout time.Duration) DNSHostProviderOption {
	return lookupTimeoutOption(timeout)
}

// NewDNSHostProvider returns a DNSHostProvider. Its zero value works too.
func NewDNSHostProvider(options ...DNSHostProviderOption) *DNSHostProvider {
	hp := new(DNSHostProvider)
	for _, option := range options {
		if option != nil {
			option.apply(hp)
		}
	}
	return hp
}

// Init resolves the names. It fails when one of them cannot be resolved.
func (hp *DNSHostProvider) Init(servers []string) error {
	list, names, err := hp.resolve(servers)
	if err != nil {
		return err
	}
	hp.mu.Lock()
	defer hp.mu.Unlock()
	hp.given, hp.names = slices.Clone(servers), names
	return hp.loadLocked(servers, list)
}

// resolve returns the addresses, and the host of each.
func (hp *DNSHostProvider) resolve(servers []string) ([]string, map[string]string, error) {
	lookup := hp.lookupHost
	if lookup == nil {
		lookup = net.DefaultResolver.LookupHost
	}
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(hp.lookupTimeout, 3*time.Second))
	defer cancel()
	var found []string
	names := make(map[string]string)
	for _, server := range servers {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			return nil, nil, err
		}
		addrs, err := lookup(ctx, host)
		if err != nil {
			return nil, nil, err
		}
		for _, a := range addrs {
			addr := net.JoinHostPort(a, port)
			found = append(found, addr)
			names[addr] = host
		}
	}
	return found, names, nil
}

// Next returns the next address.
func (hp *DNSHostProvider) Next() (server string, retryStart bool) {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	server, retryStart = hp.nextLocked()
	if !retryStart {
		return server, false
	}
	list, names, err := hp.resolve(hp.given)
	if err != nil || slices.Equal(sorted(list), sorted(hp.servers)) || hp.loadLocked(hp.given, list) != nil {
		return server, true
	}
	hp.names = names
	server, _ = hp.nextLocked()
	return server, true
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// nameOf returns the host that an address was resolved from, which its certificate names.
func (hp *DNSHostProvider) nameOf(addr string) string {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	return hp.names[addr]
}

// SimpleDNSHostProvider leaves names as they are, so that each connection resolves
// them anew. Forks of go-zookeeper have it. Its zero value is ready.
type SimpleDNSHostProvider struct{ carousel }

// Init takes the servers in random order.
func (hp *SimpleDNSHostProvider) Init(servers []string) error {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	return hp.loadLocked(servers, slices.Clone(servers))
}

// Next returns the next server.
func (hp *SimpleDNSHostProvider) Next() (server string, retryStart bool) {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	return hp.nextLocked()
}
