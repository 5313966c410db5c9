package zktest

import (
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// acl is an access control list that nodes share; it never changes.
type acl struct{ entries []wire.ACL }

var (
	openACL = &acl{[]wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}}
	readACL = &acl{[]wire.ACL{{Perms: wire.PermRead, Scheme: "world", ID: "anyone"}}}
)

// identity is one of the names that a connection has proved (Id).
type identity struct{ scheme, id string }

// digestID turns "user:password" into the id of a digest ACL.
func digestID(credential string) string {
	user, _, _ := strings.Cut(credential, ":")
	sum := sha1.Sum([]byte(credential))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:])
}

// isDigest says whether a text is an id that digestID may return.
func isDigest(id string) bool {
	user, digest, _ := strings.Cut(id, ":")
	sum, err := base64.StdEncoding.DecodeString(digest)
	return user != "" && err == nil && len(sum) == sha1.Size
}

// allowed says whether one of ids may do perm (ZooKeeperServer.checkACL).
func (a *acl) allowed(perm int32, ids []identity) bool {
	if len(a.entries) == 0 {
		return true
	}
	for _, e := range a.entries {
		if e.Perms&perm != 0 && e.Scheme == "world" && e.ID == "anyone" {
			return true
		}
	}
	for _, id := range ids {
		if id.scheme == "super" {
			return true
		}
		for _, e := range a.entries {
			if e.Perms&perm != 0 && e.Scheme == id.scheme && matches(id, e.ID) {
				return true
			}
		}
	}
	return false
}

// matches says whether id is meant by the expression of an ACL of its scheme.
func matches(id identity, expr string) bool {
	if id.scheme != "ip" {
		return id.id == expr || id == identity{"sasl", "super"}
	}
	addr, err := netip.ParseAddr(id.id)
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

// identify gives a connection the name in its client's certificate, if it has shown one.
func (c *conn) identify() {
	if link, ok := c.nc.(*tls.Conn); ok {
		if certs := link.ConnectionState().PeerCertificates; len(certs) > 0 {
			c.addIdentity(identity{"x509", distinguishedName(certs[0])})
		}
	}
}

// rdnSET is a part of a distinguished name; asn1 goes by the name of the type.
type rdnSET []struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// nameKeywords are the attributes that RFC 2253 has a keyword for.
var nameKeywords = map[string]string{
	"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
}

// distinguishedName writes a certificate's subject as Java's X500Principal does, in the form of RFC 2253.
func distinguishedName(cert *x509.Certificate) string {
	var name []rdnSET
	if _, err := asn1.Unmarshal(cert.RawSubject, &name); err != nil {
		return cert.Subject.String()
	}
	var parts []string
	for _, rdn := range slices.Backward(name) {
		var all []string
		for _, a := range rdn {
			key, known := nameKeywords[a.Type.String()]
			if known && isText(a.Value) {
				all = append(all, key+"="+escapedName(javaText(string(a.Value.Bytes))))
				continue
			}
			if !known {
				key = a.Type.String()
			}
			all = append(all, fmt.Sprintf("%s=#%x", key, a.Value.FullBytes))
		}
		parts = append(parts, strings.Join(all, "+"))
	}
	return strings.Join(parts, ",")
}

func isText(v asn1.RawValue) bool {
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagT61String, asn1.TagIA5String, asn1.TagGeneralString, asn1.TagBMPString:
		return v.Class == asn1.ClassUniversal
	}
	return false
}

// escapedName escapes what has a meaning in a distinguished name, and space at both ends.
func escapedName(s string) string {
	space := func(c rune) bool { return c == ' ' || c == '\r' }
	first, last := len(s)-len(strings.TrimLeftFunc(s, space)), len(strings.TrimRightFunc(s, space))
	var b strings.Builder
	for i, c := range s {
		switch {
		case c == 0:
			b.WriteString(`\00`)
			continue
		case strings.ContainsRune(`,=+<>#;"\`, c), space(c) && (i < first || i >= last):
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// fixACL checks an ACL from a request and expands what is relative to the
// identities of the connection (PrepRequestProcessor.fixupACL).
func (e *Ensemble) fixACL(list []wire.ACL, ids []identity) (*acl, int32) {
	if list == nil && e.opts.Version <= V35 {
		return nil, wire.ErrMarshalling
	}
	if len(list) == 1 && list[0] == openACL.entries[0] {
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
		case a.Scheme == nullString && e.opts.Version > V34:
			return nil, wire.ErrInvalidACL
		case a.Scheme == nullString, a.ID == nullString && e.looksAtID(a.Scheme):
			return nil, wire.ErrMarshalling
		case a.Scheme == "world" && a.ID == "anyone":
			fixed = append(fixed, a)
		case a.Scheme == "sasl" && e.opts.SASL != nil && validPrincipal(a.ID):
			fixed = append(fixed, a)
		case a.Scheme == "auth":
			n := len(fixed)
			for _, id := range ids {
				if authenticates(id.scheme) {
					fixed = append(fixed, wire.ACL{Perms: a.Perms, Scheme: id.scheme, ID: id.id})
				}
			}
			if len(fixed) == n {
				return nil, wire.ErrInvalidACL
			}
		case (a.Scheme != "x509" || e.opts.TLS != nil) && e.opts.Version.validID(a.Scheme, a.ID):
			fixed = append(fixed, a)
		default:
			return nil, wire.ErrInvalidACL
		}
	}
	if len(fixed) == 0 {
		return nil, wire.ErrInvalidACL
	}
	return e.internACL(fixed), 0
}

// tripsOver says whether the server, which drops what is twice in an ACL, meets
// null when it compares two entries.
func tripsOver(a, b wire.ACL) bool {
	return a.Perms == b.Perms && (a.Scheme == nullString || a.Scheme == b.Scheme && a.ID == nullString)
}

// looksAtID says whether the server looks at the id of an ACL of this scheme.
func (e *Ensemble) looksAtID(scheme string) bool {
	switch scheme {
	case "x509":
		return e.opts.TLS != nil
	case "sasl":
		return e.opts.SASL != nil
	}
	return scheme == "world" || scheme == "digest" || scheme == "ip"
}

// internACL returns the one acl for a list, as a million nodes usually have a handful.
func (e *Ensemble) internACL(list []wire.ACL) *acl {
	var key []byte
	for _, a := range list {
		key = a.Append(key)
	}
	if a := e.acls[string(key)]; a != nil {
		return a
	}
	a := &acl{list}
	e.acls[string(key)] = a
	return a
}

// masked hides the digests from a reader who may not change the ACL.
func masked(list []wire.ACL) []wire.ACL {
	m := slices.Clone(list)
	for i := range m {
		if m[i].Scheme == "digest" {
			user, _, _ := strings.Cut(m[i].ID, ":")
			m[i].ID = user + ":x"
		}
	}
	return m
}

// javaACL encodes the strings of a list as the server does.
func javaACL(list []wire.ACL) []wire.ACL {
	for i := range list {
		if scheme, id := javaString(list[i].Scheme), javaString(list[i].ID); scheme != list[i].Scheme || id != list[i].ID {
			list = slices.Clone(list)
			list[i].Scheme, list[i].ID = scheme, id
		}
	}
	return list
}

// userName is the part of an identity that whoAmI tells.
func (id identity) userName() string {
	switch id.scheme {
	case "digest":
		user, _, _ := strings.Cut(id.id, ":")
		return user
	case "super":
		return ""
	}
	return id.id
}
