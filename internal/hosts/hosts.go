// Package hosts reads addresses of servers, and says which server to try next. It
// does no I/O.
package hosts

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// DefaultPort is that of an address without one.
const DefaultPort = "2181"

// Parse returns an address with its port. An IPv6 address with a port stands in
// brackets.
func Parse(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port, err = net.SplitHostPort(addr + ":" + DefaultPort)
	}
	if err != nil {
		return "", fmt.Errorf("address %q: %v", addr, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("address %q: bad port %q", addr, port)
	}
	if host == "" || strings.ContainsAny(host, " /,@") {
		return "", fmt.Errorf("address %q: bad host %q", addr, host)
	}
	return net.JoinHostPort(host, port), nil
}

// canonical returns an address with its port, or as it is.
func canonical(addr string) string {
	if a, err := Parse(addr); err == nil {
		return a
	}
	return addr
}

// Key returns what two spellings of one address have in common.
func Key(addr string) string {
	host, port, err := net.SplitHostPort(canonical(addr))
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String() + " " + port
	}
	return strings.ToLower(strings.TrimSuffix(host, ".")) + " " + port
}

// TLSName returns the name that the certificate of a server at an address is for:
// its host, without the zone of an IPv6 address.
func TLSName(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() != "" {
		return ip.WithZone("").String()
	}
	return host
}

// Rebalance is the arithmetic of zk.Rebalance.
func Rebalance(old, next []string, current string, rand float64) []string {
	old, next = distinct(old), distinct(next)
	var kept, fresh []string
	for _, addr := range next {
		if slices.Contains(old, addr) {
			kept = append(kept, addr)
		} else {
			fresh = append(fresh, addr)
		}
	}
	s, k, n := float64(len(old)), float64(len(kept)), float64(len(fresh))
	stays := slices.Contains(next, canonical(current))
	switch {
	case k+n > s && stays && rand >= 1-s/(k+n):
		return nil
	case k+n > s:
		return fresh
	case stays:
		return nil
	case len(fresh) == 0:
		return kept
	case rand < k*(s-k-n)/((k+n)*(s-k)):
		return kept
	}
	return fresh
}

// distinct returns addresses with their ports, each once.
func distinct(addrs []string) []string {
	var list []string
	for _, a := range addrs {
		if a = canonical(a); !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// Split parts a connect string: the addresses, without white space around them and
// without a comma after the last one; and the chroot, which begins with a slash.
func Split(connect string) (addrs []string, chroot string) {
	if i := strings.IndexByte(connect, '/'); i >= 0 {
		connect, chroot = connect[:i], connect[i:]
	}
	if list, ok := strings.CutSuffix(strings.TrimSpace(connect), ","); ok {
		connect = list
	}
	for a := range strings.SplitSeq(connect, ",") {
		addrs = append(addrs, strings.TrimSpace(a))
	}
	return addrs, chroot
}
