package doors

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/hosts"
	"github.com/seed-9f8420c6/zk/sasl"
)

func of(addrs ...string) *Doors {
	return &Doors{Tour: hosts.NewTour(addrs, false)}
}

func inAnHour(int) time.Time { return time.Now().Add(time.Hour) }

func TestNext(t *testing.T) {
	d := of("a:1", "b:2")
	var left []int
	ends := func(n int) time.Time { left = append(left, n); return inAnHour(n) }
	seen := map[string]bool{}
	for range 2 {
		o, err := d.Next(t.Context(), ends)
		assert.NilError(t, err)
		seen[o.Name()] = true
	}
	o, err := d.Next(t.Context(), ends)
	assert.Assert(t, o == nil && err == nil)
	assert.DeepEqual(t, left, []int{2, 1})
	assert.DeepEqual(t, seen, map[string]bool{"a:1": true, "b:2": true})
}

func TestName(t *testing.T) {
	assert.Equal(t, (&Door{Stop: hosts.Stop{Addr: "a:1"}}).Name(), "a:1")
	assert.Equal(t, (&Door{Stop: hosts.Stop{Addr: "a:1", Target: "a:1"}}).Name(), "a:1")
	assert.Equal(t, (&Door{Stop: hosts.Stop{Addr: "a:1", Target: "10.0.0.1:1"}}).Name(), "a:1 (10.0.0.1:1)")
}

// mechanism is SASL played by hand.
type mechanism func(ctx context.Context, host string) (sasl.Exchange, []byte, error)

func (m mechanism) Start(ctx context.Context, host string) (sasl.Exchange, []byte, error) {
	return m(ctx, host)
}

type exchange struct{ sasl.Exchange }

func TestSASLIsForTheServerConnectedTo(t *testing.T) {
	d := &Doors{Tour: hosts.NewTour([]string{"zk.example:1"}, true)}
	stop, _ := d.Tour.Next()
	d.Resolved(stop.Addr, []string{"10.0.0.1", "10.0.0.2"})
	var asked []string
	d.SASL = mechanism(func(ctx context.Context, host string) (sasl.Exchange, []byte, error) {
		asked = append(asked, host)
		assert.Equal(t, sasl.Name(ctx), "zk.example")
		assert.Equal(t, sasl.Addr(ctx), netip.MustParseAddr(host))
		return exchange{}, []byte("token"), nil
	})
	for range 2 {
		o, err := d.Next(t.Context(), inAnHour)
		assert.NilError(t, err)
		assert.Equal(t, string(o.Token), "token")
		assert.Equal(t, o.Exchange, exchange{})
		assert.Equal(t, o.Target, net.JoinHostPort(asked[len(asked)-1], "1"))
	}
	assert.Equal(t, len(asked), 2)
}

func TestSASLThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		refused bool
		want    string
	}{
		"refused":     {sasl.ErrCredential, true, ""},
		"unavailable": {sasl.ErrUnavailable, false, "SASL: "},
		"nothing":     {nil, false, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			d := of("a:1")
			d.SASL = mechanism(func(context.Context, string) (sasl.Exchange, []byte, error) { return nil, nil, test.err })
			o, err := d.Next(t.Context(), inAnHour)
			assert.Equal(t, o.Name(), "a:1")
			assert.ErrorContains(t, err, test.want)
			assert.Equal(t, sasl.Refused(err), test.refused)
		})
	}
}

func TestTurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := of("a:1")
		d.SASL = mechanism(func(ctx context.Context, _ string) (sasl.Exchange, []byte, error) {
			<-ctx.Done()
			return nil, nil, ctx.Err()
		})
		began := time.Now()
		_, err := d.Next(t.Context(), func(int) time.Time { return began.Add(time.Second) })
		assert.ErrorContains(t, err, "share of the time")
		assert.Equal(t, time.Since(began), time.Second)
	})
}

func TestCause(t *testing.T) {
	reason := errors.New("reason")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Equal(t, Cause(t.Context(), t.Context(), reason), reason)
	assert.Equal(t, Cause(over, over, reason), context.Canceled)
	assert.ErrorContains(t, Cause(t.Context(), over, reason), "share of the time")
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	assert.Equal(t, Cause(late, late, reason), context.DeadlineExceeded)
}

func TestOpen(t *testing.T) {
	d := of("a:1")
	o, err := d.Next(t.Context(), inAnHour)
	assert.NilError(t, err)
	client, server := net.Pipe()
	defer server.Close()
	d.Connect = func(_ context.Context, network, addr string) (net.Conn, error) {
		assert.Equal(t, network+" "+addr, "tcp a:1")
		return client, nil
	}
	conn, err := d.Open(t.Context(), o)
	assert.NilError(t, err)
	assert.Equal(t, conn, client)
	d.Connect = func(context.Context, string, string) (net.Conn, error) { return nil, nil }
	_, err = d.Open(t.Context(), o)
	assert.ErrorContains(t, err, "neither a connection nor an error")
}
