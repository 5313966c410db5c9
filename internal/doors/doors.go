// Package doors opens the servers that a Dial tries, one after another. It resolves
// names, begins SASL, connects and lays TLS over the connection, each within the time
// that it is given.
package doors

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/hosts"
	"github.com/seed-9f8420c6/zk/sasl"
)

// Doors are the servers of one Dial. It is for one goroutine.
type Doors struct {
	*hosts.Tour
	// Connect connects; nil: names are resolved, and each IP is a door.
	Connect func(ctx context.Context, network, addr string) (net.Conn, error)
	TLS     *tls.Config    // nil: plain TCP
	SASL    sasl.Mechanism // nil: none
}

// Door is a server to try now.
type Door struct {
	hosts.Stop
	// Until is the end of its turn.
	Until time.Time
	// Exchange is of SASL, and Token its first; nil: there is no SASL.
	Exchange sasl.Exchange
	Token    []byte
}

// Name is how errors and logs name it: with the IP, where a name was resolved.
func (o *Door) Name() string {
	if o.Target == "" || o.Target == o.Addr {
		return o.Addr
	}
	return o.Addr + " (" + o.Target + ")"
}

// Next goes to the next stop: it resolves a name, and then the door has no Target, or
// it begins SASL, which may take longer than a server waits or a session lives. nil:
// there is no stop left. The turn ends when ends says, which is told how many are to
// come. An error that matches sasl.Refused is a refusal.
func (d *Doors) Next(ctx context.Context, ends func(n int) time.Time) (*Door, error) {
	stop, ok := d.Tour.Next()
	if !ok {
		return nil, nil
	}
	o := &Door{Stop: stop, Until: ends(1 + d.Left())}
	turn, cancel := context.WithDeadline(ctx, o.Until)
	defer cancel()
	host, _, _ := net.SplitHostPort(o.Addr)
	var err error
	if o.Target == "" {
		err = d.resolve(turn, host, o.Addr)
	} else if d.SASL != nil {
		err = d.startSASL(turn, host, o)
	}
	if err != nil {
		err = Cause(ctx, turn, err)
	}
	return o, err
}

func (d *Doors) resolve(ctx context.Context, host, addr string) error {
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host) // unlike LookupHost it leaves at once when cancelled
	if err != nil {
		return err
	}
	list := make([]string, len(ips))
	for i, ip := range ips {
		list[i] = ip.String()
	}
	d.Resolved(addr, list)
	return nil
}

// startSASL begins an exchange. The ticket is for the server that is connected to.
func (d *Doors) startSASL(ctx context.Context, host string, o *Door) error {
	ip, _, _ := net.SplitHostPort(o.Target)
	addr, _ := netip.ParseAddr(ip) // not valid where the application dials a name
	ctx = sasl.WithServer(ctx, host, addr)
	if o.Several {
		host = ip
	}
	ex, token, err := d.SASL.Start(ctx, host)
	switch {
	case sasl.Refused(err):
		return err
	case err != nil:
		return errors.WithMessage(err, "SASL")
	case ex == nil:
		return errors.New("Config.SASL started neither an exchange nor an error")
	}
	o.Exchange, o.Token = ex, token
	return nil
}

// Open connects to a door.
func (d *Doors) Open(ctx context.Context, o *Door) (net.Conn, error) {
	connect := d.Connect
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	conn, err := connect(ctx, "tcp", o.Target)
	if err == nil && conn == nil {
		err = errors.New("Config.DialContext returned neither a connection nor an error")
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Secure lays TLS over the connection to a door, which stays the caller's after an error.
func (d *Doors) Secure(ctx context.Context, o *Door, conn net.Conn) (net.Conn, error) {
	conf := d.TLS.Clone()
	if conf.ServerName == "" {
		conf.ServerName = hosts.TLSName(o.Addr)
	}
	secure := tls.Client(conn, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.WithMessage(err, "TLS")
	}
	return secure, nil
}

// Cause says why a step failed: because its context ended, or its turn, which is a
// context below that, if one did.
func Cause(ctx, turn context.Context, err error) error {
	deadline, ok := ctx.Deadline()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case ok && !time.Now().Before(deadline): // its own timer is about to say so
		return context.DeadlineExceeded
	case turn.Err() != nil:
		return errors.New("no session within its share of the time")
	}
	return err
}

// SRV returns the addresses of SRV records, each once, in the order of the answer. It
// leaves when ctx ends.
func SRV(ctx context.Context, resolver *net.Resolver, name string) ([]string, error) {
	type answer struct {
		records []*net.SRV
		err     error
	}
	done := make(chan answer, 1)
	go func() { // the resolver itself heeds deadlines, but not always a cancel
		_, records, err := resolver.LookupSRV(ctx, "", "", name)
		done <- answer{records, err}
	}()
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a.err != nil {
		return nil, a.err
	}
	var addrs []string
	seen := make(map[string]bool)
	for _, r := range a.records {
		host := strings.TrimSuffix(r.Target, ".")
		addr, err := hosts.Parse(net.JoinHostPort(host, strconv.Itoa(int(r.Port))))
		if err != nil { // a lone dot says that there is no such service
			return nil, err
		}
		if !seen[addr] {
			seen[addr] = true
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no records", Name: name, IsNotFound: true}
	}
	return addrs, nil
}
