package data

import (
	"crypto/sha1"
	"encoding/base64"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// ACL is an access control list that nodes share; it never changes.
type ACL struct{ Entries []wire.ACL }

var (
	openACL = &ACL{[]wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}}
	readACL = &ACL{[]wire.ACL{{Perms: wire.PermRead, Scheme: "world", ID: "anyone"}}}
)

// Identity is one of the names that a connection has proved (Id).
type Identity struct{ Scheme, ID string }

// DigestID turns "user:password" into the id of a digest ACL.
func DigestID(credential string) string {
	user, _, _ := strings.Cut(credential, ":")
	sum := sha1.Sum([]byte(credential))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:])
}

// IsDigest says whether a text is an id that DigestID may return.
func IsDigest(id string) bool {
	user, digest, _ := strings.Cut(id, ":")
	sum, err := base64.StdEncoding.DecodeString(digest)
	return user != "" && err == nil && len(sum) == sha1.Size
}

// Allowed says whether one of ids may do perm (ZooKeeperServer.checkACL).
func (a *ACL) Allowed(perm int32, ids []Identity) bool {
	if len(a.Entries) == 0 {
		return true
	}
	for _, e := range a.Entries {
		if e.Perms&perm != 0 && e.Scheme == "world" && e.ID == "anyone" {
			return true
		}
	}
	for _, id := range ids {
		if id.Scheme == "super" {
			return true
		}
		for _, e := range a.Entries {
			if e.Perms&perm != 0 && e.Scheme == id.Scheme && matches(id, e.ID) {
				return true
			}
		}
	}
	return false
}

// matches says whether id is meant by the expression of an ACL of its scheme.
func matches(id Identity, expr string) bool {
	if id.Scheme != "ip" {
		return id.ID == expr || id == Identity{"sasl", "super"}
	}
	addr, err := netip.ParseAddr(id.ID)
	if err != nil {
		return false
	}
	prefix, ok := parseIP(expr)
	return ok && prefix.Contains(addr)
}

// parseIP reads "addr" or "addr/bits" as IPAuthenticationProvider does.
func parseIP(expr string) (netip.Prefix, bool) {
	host, bits, cut := strings.Cut(expr, "/")
	addr, ok := parseV4(host)
	if strings.Contains(host, ":") {
		addr, ok = parseV6(host)
	}
	n := int64(addr.BitLen())
	if ok && cut {
		var err error
		n, err = strconv.ParseInt(bits, 10, 32)
		ok = err == nil && n >= 0 && n <= int64(addr.BitLen())
	}
	return netip.PrefixFrom(addr, int(n)), ok
}

func parseV4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, part := range parts {
		n, err := strconv.ParseInt(part, 10, 32) // with leading zeros too, and a sign
		if err != nil || n < 0 || n > 255 {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

func parseV6(s string) (netip.Addr, bool) {
	sides := strings.Split(s, "::")
	var words [2][]string
	for i, side := range sides {
		if len(sides) > 2 {
			return netip.Addr{}, false
		}
		if side != "" || len(sides) == 1 {
			words[i] = strings.Split(side, ":")
		}
	}
	n := len(words[0]) + len(words[1])
	if len(sides) == 1 && n != 8 || len(sides) == 2 && n >= 8 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i, list := range words {
		at := i * (16 - 2*len(list))
		for _, word := range list {
			v, err := strconv.ParseInt(word, 16, 32)
			if err != nil || len(word) > 4 {
				return netip.Addr{}, false
			}
			b[at], b[at+1] = byte(v>>8), byte(v)
			at += 2
		}
	}
	return netip.AddrFrom16(b), true
}

// validID says whether an ACL of this scheme may have this id (AuthenticationProvider.isValid).
func (v Version) validID(scheme, id string) bool {
	switch scheme {
	case "digest":
		// Java's split drops empty strings at the end only.
		parts := strings.Split(strings.TrimRight(id, ":"), ":")
		return len(parts) == 2
	case "x509":
		return validName(id)
	case "ip":
		_, ok := parseIP(id)
		return ok && (v >= V39 || !strings.Contains(id, ":")) && (v >= V35 || !strings.Contains(id, "/"))
	}
	return false
}

// validPrincipal says whether an ACL of the scheme sasl may have this id (KerberosName).
func validPrincipal(id string) bool {
	name, realm, ok := strings.Cut(id, "@")
	if !ok {
		return true
	}
	return strings.Count(name, "/") <= 1 && !strings.ContainsAny(realm, "/@")
}

// validName says whether a text is a distinguished name, such as "CN=me,O=zk".
func validName(name string) bool {
	if name == "" {
		return true
	}
	escaped, value := false, -1 // where the value of the attribute begins
	start := 0
	for i, c := range name + "," {
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '=' && value < 0:
			if strings.TrimSpace(name[start:i]) == "" {
				return false
			}
			value = i + 1
		case c == ',' || c == ';' || c == '+':
			if value < 0 {
				return false
			}
			start, value = i+1, -1
		}
	}
	return !escaped
}

// authenticates says whether an "auth" ACL stands for identities of this scheme.
func authenticates(scheme string) bool {
	return scheme == "digest" || scheme == "sasl" || scheme == "x509"
}

// fixACL checks an ACL from a request and expands what is relative to the
// identities of the connection (PrepRequestProcessor.fixupACL).
func (p *Prep) fixACL(list []wire.ACL, ids []Identity) (*ACL, int32) {
	if list == nil && p.Version <= V35 {
		return nil, wire.ErrMarshalling
	}
	if len(list) == 1 && list[0] == openACL.Entries[0] {
		return openACL, 0
	}
	fixed := make([]wire.ACL, 0, len(list))
	for i, a := range list {
		if slices.ContainsFunc(list[:i], func(b wire.ACL) bool { return tripsOver(a, b) }) {
			return nil, wire.ErrMarshalling
		}
	}
	for i, a := range list {
		if slices.Contains(list[:i], a) {
			continue
		}
		switch {
		case a.Scheme == NullString && p.Version > V34:
			return nil, wire.ErrInvalidACL
		case a.Scheme == NullString, a.ID == NullString && p.looksAtID(a.Scheme):
			return nil, wire.ErrMarshalling
		case a.Scheme == "world" && a.ID == "anyone":
			fixed = append(fixed, a)
		case a.Scheme == "sasl" && p.SASL && validPrincipal(a.ID):
			fixed = append(fixed, a)
		case a.Scheme == "auth":
			n := len(fixed)
			for _, id := range ids {
				if authenticates(id.Scheme) {
					fixed = append(fixed, wire.ACL{Perms: a.Perms, Scheme: id.Scheme, ID: id.ID})
				}
			}
			if len(fixed) == n {
				return nil, wire.ErrInvalidACL
			}
		case (a.Scheme != "x509" || p.X509) && p.Version.validID(a.Scheme, a.ID):
			fixed = append(fixed, a)
		default:
			return nil, wire.ErrInvalidACL
		}
	}
	if len(fixed) == 0 {
		return nil, wire.ErrInvalidACL
	}
	return p.internACL(fixed), 0
}

// tripsOver says whether the server, which drops what is twice in an ACL, meets
// null when it compares two entries.
func tripsOver(a, b wire.ACL) bool {
	return a.Perms == b.Perms && (a.Scheme == NullString || a.Scheme == b.Scheme && a.ID == NullString)
}

// looksAtID says whether the server looks at the id of an ACL of this scheme.
func (p *Prep) looksAtID(scheme string) bool {
	switch scheme {
	case "x509":
		return p.X509
	case "sasl":
		return p.SASL
	}
	return scheme == "world" || scheme == "digest" || scheme == "ip"
}

// internACL returns the one acl for a list, as a million nodes usually have a handful.
func (p *Prep) internACL(list []wire.ACL) *ACL {
	var key []byte
	for _, a := range list {
		key = a.Append(key)
	}
	if a := p.acls[string(key)]; a != nil {
		return a
	}
	a := &ACL{list}
	p.acls[string(key)] = a
	return a
}

// Masked hides the digests from a reader who may not change the ACL.
func Masked(list []wire.ACL) []wire.ACL {
	m := slices.Clone(list)
	for i := range m {
		if m[i].Scheme == "digest" {
			user, _, _ := strings.Cut(m[i].ID, ":")
			m[i].ID = user + ":x"
		}
	}
	return m
}

// JavaACL encodes the strings of a list as the server does.
func JavaACL(list []wire.ACL) []wire.ACL {
	for i := range list {
		if scheme, id := JavaString(list[i].Scheme), JavaString(list[i].ID); scheme != list[i].Scheme || id != list[i].ID {
			list = slices.Clone(list)
			list[i].Scheme, list[i].ID = scheme, id
		}
	}
	return list
}

// UserName is the part of an identity that whoAmI tells.
func (id Identity) UserName() string {
	switch id.Scheme {
	case "digest":
		user, _, _ := strings.Cut(id.ID, ":")
		return user
	case "super":
		return ""
	}
	return id.ID
}
