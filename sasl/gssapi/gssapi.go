// Package gssapi is the SASL mechanism GSSAPI. By it a client and ZooKeeper
// servers authenticate each other with Kerberos (RFC 4752, RFC 4121).
//
//	krb5, err := config.Load("/etc/krb5.conf")
//	…
//	keys, err := keytab.Load("/etc/app.keytab")
//	…
//	cl := client.NewWithKeytab("app", "EXAMPLE.COM", keys, krb5)
//	defer cl.Destroy()
//	session, err := zk.Dial(ctx, zk.Config{Addrs: addrs, SASL: gssapi.Mechanism{Client: cl}})
//
// Tickets come from a client of github.com/jcmturner/gokrb5/v8, by password,
// keytab or credential cache. That client belongs to the application, which may
// use it for other things too, and destroys it in the end. It logs in when the
// first ticket is needed, and gets a new ticket when the old one has expired.
package gssapi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/jcmturner/gokrb5/v8/client"

	"github.com/seed-9f8420c6/zk/sasl"
)

// DefaultService is the first part of a ZooKeeper server's principal.
const DefaultService = "zookeeper"

var _ sasl.Mechanism = Mechanism{}

// Mechanism proves the principal of a Kerberos client to servers whose
// principals are Service/host. It is safe for concurrent use, and prints no
// secrets.
//
// Its errors match those of package sasl. A ticket that a KDC refuses, because of
// the client's principal, its key or the server's principal, is
// sasl.ErrCredential, and so is a client that has no key for it. One that cannot be
// had for another reason is sasl.ErrUnavailable: no KDC answers, or what answers
// is no ticket, the clocks differ too much, the KDC is busy. Both wrap gokrb5's
// error. Keys must be of an AES encryption type (17 to 20).
type Mechanism struct {
	// Client has the tickets that are used.
	Client *client.Client
	// Service is the first part of the servers' principals; empty: DefaultService.
	Service string

	// Host names the server in its principal, given its host as configured, which
	// may be an IP address; sasl.Addr(ctx) is the one that is connected to. Nil: the
	// canonical name, found in DNS as far as krb5.conf says so by
	// dns_canonicalize_hostname and rdns, both true by default. With rdns it is the
	// name of the address that is connected to, so a name may stand for several
	// servers, each with its own principal. A name that cannot be resolved is taken
	// as it is.
	Host func(ctx context.Context, host string) (string, error)
}

// String prints no secrets.
func (m Mechanism) String() string {
	if m.Client == nil {
		return "GSSAPI without a client"
	}
	c := m.Client.Credentials
	return fmt.Sprintf("GSSAPI %s@%s", c.CName().PrincipalNameString(), c.Domain())
}

// Format prints no secrets, whatever the verb.
func (m Mechanism) Format(f fmt.State, _ rune) { io.WriteString(f, m.String()) }

// LogValue prints no secrets.
func (m Mechanism) LogValue() slog.Value { return slog.StringValue(m.String()) }

// Start gets a ticket for the server, from the client's cache or a KDC, and
// returns the token that presents it. When ctx ends first it returns at once.
// gokrb5 then gives up a question that a KDC does not answer some seconds later.
func (m Mechanism) Start(ctx context.Context, host string) (sasl.Exchange, []byte, error) {
	if m.Client == nil {
		return nil, nil, failure(sasl.ErrCredential, "no Client")
	}
	if ok, err := m.Client.IsConfigured(); !ok {
		return nil, nil, fmt.Errorf("%w: %w", sasl.ErrCredential, err)
	}
	name, err := m.principal(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	t, err := m.ticket(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	x, token, err := begin(m.String(), t, m.Client.Credentials.Domain(), m.Client.Credentials.CName())
	if err != nil {
		return nil, nil, err
	}
	return x, token, nil
}

// principal returns the server's principal without its realm.
func (m Mechanism) principal(ctx context.Context, host string) (string, error) {
	service := m.Service
	if service == "" {
		service = DefaultService
	}
	if name := sasl.Name(ctx); name != "" {
		host = name
	}
	if m.Host == nil {
		lib := m.Client.Config.LibDefaults
		if lib.DNSCanonicalizeHostname {
			host = canonical(ctx, host, lib.RDNS)
		}
		host = strings.TrimSuffix(host, ".")
	} else {
		var err error
		if host, err = m.Host(ctx, host); err != nil {
			return "", err
		}
	}
	return service + "/" + host, nil
}

// canonical returns the name of a host that DNS gives it, and with reverse the
// name of its address: the one that is connected to, or else the first. It falls
// back to what it has.
func canonical(ctx context.Context, host string, reverse bool) string {
	name := host
	addr, err := netip.ParseAddr(host)
	if err != nil {
		addr = sasl.Addr(ctx)
		if cname, err := net.DefaultResolver.LookupCNAME(ctx, host); err == nil {
			name = cname
		}
		if reverse && !addr.IsValid() {
			if addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host); err == nil {
				addr = addrs[0]
			}
		}
	}
	if reverse && addr.IsValid() {
		if names, err := net.DefaultResolver.LookupAddr(ctx, addr.Unmap().WithZone("").String()); err == nil && len(names) > 0 {
			name = names[0]
		}
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

func failure(kind sasl.Error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
}
