package zk

import (
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
	// pauses for a second, except before the first attempts after a loss.
	Next() (server string, retryStart bool)
	// Connected says that there is a session with the server that Next returned last.
	Connected()
}

// carousel goes round in a list. The zero value has no servers.
type carousel struct {
	servers    []string
	curr, last int // last: where a round began; -1: nowhere yet
}

func newCarousel(servers []string) carousel { return carousel{servers, -1, -1} }

func (r *carousel) next() (string, bool) {
	if len(r.servers) == 0 {
		return "", true
	}
	r.curr = (r.curr + 1) % len(r.servers)
	around := r.curr == r.last
	if r.last == -1 {
		r.last = 0
	}
	return r.servers[r.curr], around
}

type lookupHostFn func(context.Context, string) ([]string, error)

// DNSHostProvider is the default HostProvider: it resolves all names, and goes through
// the addresses in random order. When all of them have failed, it resolves again.
type DNSHostProvider struct {
	lookupTimeout time.Duration
	lookupHost    lookupHostFn // nil: the net package's

	mu    sync.Mutex // guards what follows
	given []string   // to Init
	names map[string]string
	round carousel
}

// DNSHostProviderOption is an option of NewDNSHostProvider.
type DNSHostProviderOption interface {
	apply(*DNSHostProvider)
}

type lookupTimeoutOption struct{ timeout time.Duration }

func (o lookupTimeoutOption) apply(hp *DNSHostProvider) { hp.lookupTimeout = o.timeout }

// WithLookupTimeout limits the time for resolving all names; the default is 3 s.
func WithLookupTimeout(timeout time.Duration) DNSHostProviderOption {
	return lookupTimeoutOption{timeout}
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
	hp.given, hp.names, hp.round = slices.Clone(servers), names, newCarousel(list)
	return nil
}

// resolve returns the addresses, shuffled, and the host of each.
func (hp *DNSHostProvider) resolve(servers []string) ([]string, map[string]string, error) {
	lookup := hp.lookupHost
	if lookup == nil {
		lookup = net.DefaultResolver.LookupHost
	}
	timeout := hp.lookupTimeout
	if timeout == 0 {
		timeout = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
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
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("No hosts found for addresses %q", servers)
	}
	shuffle(found)
	return found, names, nil
}

// Len returns the number of addresses.
func (hp *DNSHostProvider) Len() int {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	return len(hp.round.servers)
}

// Next returns the next address.
func (hp *DNSHostProvider) Next() (server string, retryStart bool) {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	server, retryStart = hp.round.next()
	if !retryStart {
		return server, false
	}
	list, names, err := hp.resolve(hp.given)
	if err != nil || slices.Equal(sorted(list), sorted(hp.round.servers)) {
		return server, true
	}
	hp.names, hp.round = names, newCarousel(list)
	server, _ = hp.round.next()
	return server, true
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// Connected begins a new round at the address that Next returned last.
func (hp *DNSHostProvider) Connected() {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	hp.round.last = hp.round.curr
}

// nameOf returns the host that an address was resolved from, which its certificate names.
func (hp *DNSHostProvider) nameOf(addr string) string {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	return hp.names[addr]
}

// SimpleDNSHostProvider leaves names as they are, so that each connection resolves
// them anew. Forks of go-zookeeper have it. Its zero value is ready.
type SimpleDNSHostProvider struct {
	mu    sync.Mutex
	round carousel
}

// Init takes the servers in random order.
func (hp *SimpleDNSHostProvider) Init(servers []string) error {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	if len(servers) == 0 {
		return fmt.Errorf("No hosts found for addresses %q", servers)
	}
	list := slices.Clone(servers)
	shuffle(list)
	hp.round = newCarousel(list)
	return nil
}

// Len returns the number of servers.
func (hp *SimpleDNSHostProvider) Len() int {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	return len(hp.round.servers)
}

// Next returns the next server.
func (hp *SimpleDNSHostProvider) Next() (server string, retryStart bool) {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	return hp.round.next()
}

// Connected begins a new round at the server that Next returned last.
func (hp *SimpleDNSHostProvider) Connected() {
	hp.mu.Lock()
	defer hp.mu.Unlock()
	hp.round.last = hp.round.curr
}
