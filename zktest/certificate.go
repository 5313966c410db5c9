package zktest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// identify gives a connection the name in its client's certificate, if it has shown one.
func (c *conn) identify() {
	if link, ok := c.nc.(*tls.Conn); ok {
		if certs := link.ConnectionState().PeerCertificates; len(certs) > 0 {
			c.addIdentity(data.Identity{Scheme: "x509", ID: distinguishedName(certs[0])})
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
				all = append(all, key+"="+escapedName(data.JavaText(string(a.Value.Bytes))))
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
