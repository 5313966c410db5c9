package zk

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/calls"
	"github.com/seed-9f8420c6/zk/internal/doors"
	"github.com/seed-9f8420c6/zk/internal/flight"
	"github.com/seed-9f8420c6/zk/internal/handshake"
	"github.com/seed-9f8420c6/zk/internal/hooks"
	"github.com/seed-9f8420c6/zk/internal/hosts"
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/registry"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/wire"
)

// ParseConfig parses the connect string of other clients: "h1:2181,h2:2181/chroot".
// The default port is 2181. An IPv6 address is in brackets. White space around an
// address, and a comma after the last one, are ignored. The chroot comes once, at
// the end, and has no comma: a list with a chroot after each address is refused.
// Errors match ErrBadPath for the chroot, else ErrBadArguments.
func ParseConfig(connect string) (Config, error) {
	var c Config
	addrs, chroot := hosts.Split(connect)
	if strings.Contains(chroot, ",") {
		return Config{}, badPath(fmt.Sprintf("chroot %q: it comes once, behind the last address", chroot))
	}
	var err error
	if c.Chroot, err = parseChroot(chroot); err != nil {
		return Config{}, err
	}
	for _, a := range addrs {
		addr, err := parseAddr(a)
		if err != nil {
			return Config{}, err
		}
		c.Addrs = append(c.Addrs, addr)
	}
	return c, nil
}

func parseAddr(addr string) (string, error) {
	a, err := hosts.Parse(addr)
	if err != nil {
		return "", badArgument("%v", err)
	}
	return a, nil
}

// LookupSRV returns the addresses of an ensemble that has DNS SRV records, such
// as "_zookeeper._tcp.example.com", for Config.Addrs. A nil resolver is
// net.DefaultResolver. The list has the order of the records' priorities and
// weights, but Dial tries it in random order. To follow changes, call it in
// Config.Resolve; see [Rebalance].
//
// It returns when ctx ends. Errors match ErrNoServer, and unwrap to the
// *net.DNSError or to the error of ctx. A record that is not an address, or
// an answer without records, is an error: the list is complete or nil.
func LookupSRV(ctx context.Context, resolver *net.Resolver, name string) ([]string, error) {
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addrs, err := doors.SRV(ctx, resolver, name)
	if err != nil {
		return nil, &noServer{reasons: []error{&addrError{name, err}}}
	}
	return addrs, nil
}

// Rebalance returns where a client should move when the list of servers changes
// from old to next: the part of next to dial, or nil to stay. current is the
// server of the client now (Session.Addr), and rand a random number in [0, 1),
// another for each client. If the clients were spread evenly before, and all of
// them follow the advice, they are spread evenly afterwards, with as few moves
// as possible.
//
// Of s old servers, k are kept, and n servers are new. If the list grows (k+n >
// s), a client on a kept server moves to a new one with the probability 1 -
// s/(k+n), and a client on a removed server moves to a new one. Else a client
// on a kept server stays, and a client on a removed server moves to a kept one
// with the probability k(s-k-n) / ((k+n)(s-k)), and otherwise to a new one.
//
// Rebalance only computes. To move, set Config.Addrs to what it returns, and
// dial. Give the next Dial the whole list again.
func Rebalance(old, next []string, current string, rand float64) []string {
	return hosts.Rebalance(old, next, current, rand)
}

func parseChroot(path string) (string, error) {
	if path == "" || path == "/" {
		return "", nil
	}
	if err := checkPath(path, false); err != nil {
		return "", errors.WithMessage(err, "chroot")
	}
	return path, nil
}

// check completes a cloned config, or reports what is wrong with it.
func (c *Config) check() error {
	err := c.checkAddrs()
	if err != nil {
		return err
	}
	if c.Chroot, err = parseChroot(c.Chroot); err != nil {
		return err
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Timeout < time.Millisecond || c.Timeout.Milliseconds() > math.MaxInt32 {
		return badArgument("timeout %v", c.Timeout)
	}
	if c.MaxRequest < 0 || c.MaxReply < 0 || c.MaxInFlight < 0 {
		return badArgument("negative MaxRequest, MaxReply or MaxInFlight")
	}
	if c.MaxRequest == 0 {
		c.MaxRequest = DefaultMaxRequest
	}
	if c.MaxReply == 0 {
		c.MaxReply = DefaultMaxReply
	}
	for _, a := range c.Auth {
		if n := len(appendAuth(nil, a)) - 4; n > c.MaxRequest {
			return errors.WithMessage(tooLarge(n, c.MaxRequest), "Config.Auth")
		}
	}
	return nil
}

func (c *Config) checkAddrs() (err error) {
	if len(c.Addrs) == 0 {
		c.Addrs = []string{DefaultAddr}
	}
	for i, a := range c.Addrs {
		if c.Addrs[i], err = parseAddr(a); err != nil {
			return err
		}
	}
	return nil
}

// Dial connects to one of the servers and returns a Session bound to that connection.
// It tries each server once, in random order, and last the one whose connection was
// just lost. Without a State it begins a new session. With a State from
// Session.Config it moves that session. First the Session that had it ends, with
// ErrMoved. Then credentials and watches are restored. Events that were missed are
// delivered, some perhaps before Dial returns.
//
// Dial obeys ctx in every step. Without a deadline, connecting takes at most
// Config.Timeout, or the granted timeout of a session that moves, if that is longer.
// The remaining servers share the time equally. While a session of this process
// moves and may still live, they share at most the rest of its lifetime. A Dial that
// fails leaves the State unchanged, and nothing behind.
//
// Errors match ErrNoServer, which unwraps to the reason of each server; ErrExpired;
// ErrAuth; ErrMoved if the watches of the State were moved to another session by
// Renew; ErrUnbound; or the reason why the Config is wrong. If every server ended
// in a refusal, of SASL or of a certificate of either side, the error unwraps to
// the reason of each and does not match ErrNoServer: trying again changes nothing.
func Dial(ctx context.Context, conf Config) (*Session, error) {
	return dial(ctx, conf, nil)
}

// dial is Dial, on behalf of those who wait for a Redial or Renew if that is set.
func dial(ctx context.Context, conf Config, shared *takeover) (*Session, error) {
	d := dialer{conf: conf.clone(), w: conf.Watches, shared: shared}
	if err := d.conf.check(); err != nil {
		return nil, err
	}
	if d.w == nil {
		d.w = new(Watches)
	}
	turn := d.w.reg.Turn()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil { // nothing is fenced for a caller that has gone
		return nil, &noServer{reasons: []error{err}}
	}
	if shared != nil {
		if next, err := shared.from.follow.known(shared.renew, shared.from.transferable()); next != nil || err != nil {
			return next, err
		}
	}
	s, err := d.run(ctx)
	if err != nil {
		d.unclaim()
		return nil, d.explain(err)
	}
	d.begin(s)
	d.publish(s)
	return s, nil
}

// begin shows the hooks a Session that nobody has yet.
func (d *dialer) begin(s *Session) {
	t := d.conf.Trace
	if t == nil {
		return
	}
	begun := false
	defer func() { // Begin may panic
		if !begun {
			s.giveUp(errors.New("Trace.Begin panicked"))
			<-s.line.Done()
			d.unclaim()
		}
	}()
	if t.Begin != nil {
		t.Begin(d.ctx, s, d.conf.ID != 0)
	}
	begun = true
	s.life.mu.Lock()
	s.life.begun = true
	over, end := s.life.over, s.life.end
	s.life.mu.Unlock()
	if over {
		s.traceEnd(end)
	}
}

// run claims the identity and connects.
func (d *dialer) run(ctx context.Context) (*Session, error) {
	d.deadline = ctx.Deadline
	if d.shared != nil {
		d.deadline = d.shared.Deadline
	}
	if err := d.inspect(); err != nil {
		return nil, err
	}
	d.began = time.Now()
	if err := d.resolve(ctx); err != nil {
		return nil, err
	}
	d.doors = doors.Doors{
		Tour: hosts.NewTour(d.conf.Addrs, d.conf.DialContext == nil), Connect: d.conf.DialContext, TLS: d.conf.TLS, SASL: d.conf.SASL,
	}
	var first *doors.Door
	if d.conf.SASL != nil && d.old != nil && d.old.Err() == nil {
		// A session that lives is not cut off for a KDC that is away.
		if first = d.nextDoor(ctx); first == nil {
			return nil, d.failure()
		}
	}
	if err := d.fence(ctx); err != nil {
		return nil, err
	}
	if d.shared != nil {
		d.conf.Auth = d.shared.from.Config().Auth // all that were accepted before the fence
	}
	s, err := d.connect(ctx, first)
	if err == nil && d.shared != nil && !d.shared.Commit() {
		s.giveUp(ctx.Err())
		<-s.line.Done()
		err = errors.WithStack(&noServer{reasons: []error{ctx.Err()}})
	}
	return s, err
}

// dialer is one Dial under way.
type dialer struct {
	conf   Config // complete; ID and Password are those to ask for
	w      *Watches
	shared *takeover // the Redial or Renew that it is for; nil: none
	old    *Session  // that had the identity; nil: none in this process

	deadline func() (time.Time, bool) // when nobody waits for the Dial any more
	began    time.Time                // when the first server's turn did
	heard    time.Time                // send time of the last handshake that a server accepted
	doors    doors.Doors
	ctx      context.Context            // of the last attempt, as its hooks have it
	resolved map[string]context.Context // of the hooks of each name's IPs; "": of all
	turn     time.Time                  // when that of the server at hand began
	asked    bool                       // it was asked for the session
	reasons  []error                    // why no server tried so far gave a session

	// past is the place in history that a Zxid set to zero has given up. It comes back if
	// the Dial fails.
	past *registry.Past
}

// explain adds to the error of a Dial that reached no server what that means for
// a session whose time is over: no server is there to say so.
func (d *dialer) explain(err error) error {
	if d.old == nil || d.conf.ID != d.old.id || !errors.Is(err, ErrNoServer) {
		return err
	}
	if at := d.old.line.Heard().Add(d.old.timeout); !time.Now().Before(at) {
		return &noted{err, fmt.Sprintf("session %s has probably expired, %v ago", sessionID(d.old.id), time.Since(at).Round(time.Millisecond))}
	}
	return err
}

// unclaim gives a place in history back that a failed Dial was to give up.
func (d *dialer) unclaim() {
	if d.past != nil {
		d.w.reg.TakeBack(*d.past)
	}
}

// inspect checks that the State may be dialed, and takes what the live Watches know
// better than an old snapshot.
func (d *dialer) inspect() error {
	conf := &d.conf
	claim := d.w.reg.Claim(conf.ID, conf.Chroot)
	switch claim.Verdict {
	case registry.Unbound:
		return ErrUnbound
	case registry.Moved:
		return ErrMoved
	case registry.Ended:
		return ErrExpired
	case registry.OtherChroot:
		return otherChroot(conf.Chroot, claim.Chroot)
	}
	if claim.Known {
		conf.Password = claim.Password
	}
	if conf.ID != 0 && len(conf.Password) == 0 {
		return badArgument("session %s without its password", sessionID(conf.ID))
	}
	d.old, _ = claim.Owner.(*Session)
	return nil
}

func otherChroot(ours, held string) error {
	return badPath(fmt.Sprintf("chroot %q while watches of chroot %q are held", ours, held))
}

// fence ends the Session that had the identity, and takes its place in history.
func (d *dialer) fence(ctx context.Context) error {
	reg, conf, old := &d.w.reg, &d.conf, d.old
	if old != nil {
		if err := old.fence(ctx); err != nil {
			return &noServer{reasons: []error{err}}
		}
		if errors.Is(old.Err(), ErrConnection) {
			d.doors.Avoid(old.target)
		}
	}
	if held, ok := reg.Enter(conf.Chroot); !ok { // a watch may have been armed meanwhile
		return otherChroot(conf.Chroot, held)
	}
	switch {
	case conf.givenUp():
		past := reg.GiveUp()
		d.past = &past
	case old == nil:
		reg.GoOn(conf.Zxid)
	}
	return nil
}

// fence ends a Session whose identity moves on, and waits until all that it
// read has taken effect.
func (s *Session) fence(ctx context.Context) error {
	s.line.Lock()
	s.line.Refuse(ErrMoved)
	s.line.Unlock()
	s.line.Fail(ErrMoved, true)
	select {
	case <-s.line.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish makes s the Session of the identity.
func (d *dialer) publish(s *Session) {
	var id int64
	var password []byte
	if s.transferable() {
		id, password = s.id, s.password
	}
	if prev, _ := d.w.reg.Own(s, id, password).(*Session); prev != nil {
		prev.follow.Set(s, d.conf.ID == 0 && prev.transferable())
	}
}

// resolve asks Config.Resolve for the addresses.
func (d *dialer) resolve(ctx context.Context) (fails error) {
	if d.conf.Resolve == nil {
		return nil
	}
	turn, cancel := context.WithDeadline(ctx, d.turnEnds(2)) // the servers need the rest
	defer cancel()
	d.turn = time.Now()
	addrs, err := d.conf.Resolve(turn)
	if err != nil {
		err = errors.WithMessage(doors.Cause(ctx, turn, err), "Config.Resolve")
		fails = &noServer{reasons: []error{err}}
	} else {
		d.conf.Addrs = slices.Clone(addrs)
		err = d.conf.checkAddrs()
		fails = err
	}
	hooked := d.traceResolved(ctx, "", err)
	if err != nil {
		d.report(hooked, "", "", err)
	}
	return fails
}

// traceResolved shows the hooks that a name was resolved, or Config.Resolve was asked, and
// returns the context of the hooks to come.
func (d *dialer) traceResolved(ctx context.Context, addr string, err error) context.Context {
	ctx = d.hooked(ctx, addr)
	if t := d.conf.Trace; t != nil && t.Resolved != nil {
		if d.resolved == nil {
			d.resolved = make(map[string]context.Context)
		}
		ctx = hooks.Or(t.Resolved(ctx, addr, time.Since(d.turn), err), ctx)
		d.resolved[addr] = ctx
	}
	return ctx
}

// hooked returns the context of the hooks of an address.
func (d *dialer) hooked(ctx context.Context, addr string) context.Context {
	for _, name := range []string{addr, ""} {
		if of := d.resolved[name]; of != nil {
			return of
		}
	}
	return ctx
}

// connect tries one server after another until one gives a session; first has its
// turn already, if it is set.
func (d *dialer) connect(ctx context.Context, first *doors.Door) (*Session, error) {
	if first != nil { // its turn begins anew
		first.Until = d.turnEnds(1 + d.doors.Left())
	}
	for o := first; ; o = nil {
		if o == nil {
			if o = d.nextDoor(ctx); o == nil {
				return nil, d.failure()
			}
		}
		read := d.w.reg.Reads()
		d.ctx = d.hooked(ctx, o.Addr)
		s, err := d.attempt(ctx, o)
		if err == nil {
			return s, nil
		}
		if !read && d.w.reg.Reads() { // it does not support SetWatches: once more, by reading
			d.traceFailed(d.ctx, o.Target, err)
			d.doors.Again(o.Stop)
			continue
		}
		if errors.Is(err, ErrExpired) || errors.Is(err, ErrAuth) && !isRefusal(err) {
			d.report(d.ctx, o.Name(), o.Target, err)
			return nil, errors.WithStack(err)
		}
		d.failed(d.ctx, o, err)
		if d.over(ctx) {
			return nil, d.failure()
		}
	}
}

// failed notes why a server gave no session.
func (d *dialer) failed(ctx context.Context, o *doors.Door, err error) {
	d.reasons = append(d.reasons, &addrError{o.Name(), err})
	addr := o.Target
	if addr == "" {
		addr = o.Addr
	}
	d.report(ctx, o.Name(), addr, err)
}

// report shows the Logger and the hooks why an address gave no session.
func (d *dialer) report(ctx context.Context, name, addr string, err error) {
	if log := d.conf.Logger; log != nil {
		outcome, code := d.outcome(err)
		log.Warn("zk: no session", "addr", name, "id", sessionID(d.conf.ID), "err", logged{err},
			"outcome", outcome.String(), "code", int(code), "took", time.Since(d.turn))
	}
	d.traceFailed(ctx, addr, err)
}

// outcome says how far the request failed that was to bring the session, or to restore it,
// and with which of the server's codes; 0: none.
func (d *dialer) outcome(err error) (Outcome, Code) {
	var code Code
	var op *OpError
	switch {
	case !d.asked:
		return NotSent, 0
	case errors.Is(err, ErrExpired):
		return Answered, ErrSessionExpired
	case errors.As(err, &op) && op.Outcome() != Answered:
		return op.Outcome(), 0
	case errors.As(err, &code):
		return Answered, code
	}
	return Lost, 0
}

func (d *dialer) traceFailed(ctx context.Context, addr string, err error) {
	if t := d.conf.Trace; t != nil && t.DialFailed != nil {
		t.DialFailed(ctx, addr, err)
	}
}

// over reports whether the time is over, and notes it as a reason.
func (d *dialer) over(ctx context.Context) bool {
	err := doors.Cause(ctx, ctx, nil)
	if at, ok := d.deadline(); err == nil && ok && !time.Now().Before(at) { // who waits for it has gone
		err = context.DeadlineExceeded
	}
	if err != nil {
		d.reasons = append(d.reasons, err)
	}
	return err != nil
}

// failure is why no server gave a session. Where all of them refused who we are, or
// could not show who they are, trying again changes nothing.
func (d *dialer) failure() error {
	if len(d.reasons) > 0 && !slices.ContainsFunc(d.reasons, func(err error) bool { return !isRefusal(err) }) {
		return errors.WithStack(&allRefused{d.reasons})
	}
	return errors.WithStack(&noServer{reasons: d.reasons})
}

// nextDoor returns the next server. nil: there is none, or the context has ended; the
// reasons say why.
func (d *dialer) nextDoor(ctx context.Context) *doors.Door {
	for !d.over(ctx) {
		d.turn, d.asked = time.Now(), false
		o, err := d.doors.Next(ctx, d.turnEnds)
		if o == nil {
			return nil
		}
		hooked := d.hooked(ctx, o.Addr)
		if o.Target == "" {
			hooked = d.traceResolved(ctx, o.Addr, err)
		}
		switch {
		case sasl.Refused(err):
			d.failed(hooked, o, saslRefused(err))
		case err != nil:
			d.failed(hooked, o, err)
		case o.Target != "":
			return o
		}
	}
	return nil
}

// turnEnds returns when the turn of the next of n servers ends: each has an equal
// share of the time that is left. That is the time of the context; while a session
// moves that may live, it is no more than is left of the session.
func (d *dialer) turnEnds(n int) time.Time {
	now := time.Now()
	end := d.began.Add(max(d.conf.Timeout, d.granted()))
	if at, ok := d.deadline(); ok {
		end = at
	}
	if d.granted() > 0 {
		heard := d.old.line.Heard()
		if d.heard.After(heard) {
			heard = d.heard
		}
		life := heard.Add(d.old.timeout)
		if !life.After(now) { // only a server knows whether it has expired
			life = now.Add(max(d.conf.Timeout, d.old.timeout))
		}
		if life.Before(end) {
			end = life
		}
	}
	return now.Add(end.Sub(now) / time.Duration(n))
}

// granted returns the timeout of the session that moves; 0: none does, or it is
// another process's.
func (d *dialer) granted() time.Duration {
	if d.old == nil || d.conf.ID == 0 || d.conf.ID != d.old.id {
		return 0
	}
	return d.old.timeout
}

// attempt makes a Session of one server, or nothing. Connecting and the handshake
// are bound by the door's turn; what follows only by ctx and the session's own
// liveness.
func (d *dialer) attempt(ctx context.Context, o *doors.Door) (made *Session, err error) {
	trace := d.conf.Trace
	if trace == nil {
		trace = new(Trace)
	}
	if trace.DialStart != nil {
		d.ctx = hooks.Or(trace.DialStart(d.ctx, o.Target), d.ctx)
	}
	actx, cancel := context.WithDeadline(d.ctx, o.Until)
	defer cancel()
	conn, under, err := d.open(actx, o)
	if err != nil {
		err = doors.Cause(ctx, actx, err)
	}
	s := newSession(d.conf, d.w, conn, under)
	s.addr, s.target = o.Addr, o.Target
	defer func() { // also when a hook panics
		if made == nil && conn != nil {
			s.line.HangUp()
		}
	}()
	if trace.DialDone != nil {
		trace.DialDone(d.ctx, o.Target, err)
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(actx, s.line.HangUp)
	d.asked = true
	err = s.handshake(conn)
	if !stop() && !errors.Is(err, ErrExpired) {
		err = doors.Cause(ctx, actx, err)
	}
	if trace.Handshake != nil {
		trace.Handshake(d.ctx, o.Target, s.id, s.timeout, err)
	}
	if err != nil {
		return nil, err
	}
	d.heard = s.line.Heard()
	s.run(o.Exchange == nil)
	stop = context.AfterFunc(ctx, func() { s.giveUp(ctx.Err()) })
	err = s.restore(ctx, o)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		s.giveUp(err)
		<-s.line.Done()
		return nil, err
	}
	if log := d.conf.Logger; log != nil {
		log.Info("zk: session", "addr", o.Target, "id", sessionID(s.id), "moved", d.conf.ID != 0,
			"timeout", s.timeout, "readOnly", s.readOnly, "zxid", fmt.Sprintf("0x%x", s.w.reg.Zxid()),
			"watches", d.w.Len(), "queued", d.w.Undelivered(), "took", time.Since(d.began))
	}
	return s, nil
}

// open connects to a door. under is the connection without what Config.Wrap has laid
// over it; nil: nothing.
func (d *dialer) open(ctx context.Context, o *doors.Door) (conn, under net.Conn, err error) {
	plain, err := d.doors.Open(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { // also when a hook or Wrap panics
		if conn == nil {
			pipeline.HangUp(plain)
		}
	}()
	if d.conf.TLS != nil {
		if t := d.conf.Trace; t != nil && t.TLSStart != nil {
			t.TLSStart(d.ctx, o.Target)
		}
		secure, err := d.doors.Secure(ctx, o, plain)
		if err != nil {
			return nil, nil, err
		}
		plain = secure
	}
	wrap := d.conf.Wrap
	if wrap == nil {
		return plain, nil, nil
	}
	over := wrap(o.Target, plain)
	if over == nil {
		return nil, nil, errors.New("Config.Wrap returned no connection")
	}
	return pipeline.Guard{Conn: over}, plain, nil
}

// handshake asks for the session, and takes what the server grants.
func (s *Session) handshake(conn net.Conn) error {
	conf := &s.conf
	granted, no := handshake.Do(conn, handshake.Request{
		ID: conf.ID, Password: conf.Password, Zxid: s.w.reg.Zxid(), Timeout: conf.Timeout, ReadOnly: conf.ReadOnly,
	}, time.Now)
	s.line.Greet(granted.Began, granted.Sent, granted.Received)
	if no != nil {
		return s.refused(no)
	}
	s.id, s.password, s.timeout, s.readOnly = granted.ID, granted.Password, granted.Timeout, granted.ReadOnly
	return nil
}

// refused says what it means that a server gives no session.
func (s *Session) refused(no *handshake.Verdict) error {
	if no.Stray {
		s.leave()
	}
	switch no.Kind {
	case handshake.Connection:
		return connError(no.Err)
	case handshake.Violation:
		return &detailed{kind: ErrProtocol, cause: no.Err}
	case handshake.Expired:
		return ErrExpired
	case handshake.Refused:
		return errors.WithMessage(Code(no.Code), no.Err.Error())
	}
	return no.Err
}

// restore proves who we are again and hands the watches to the server, in one
// flight, and returns when the last answer is in.
func (s *Session) restore(ctx context.Context, o *doors.Door) error {
	if o.Exchange != nil {
		if err := s.authenticate(ctx, o.Exchange, o.Token); err != nil {
			return err
		}
	}
	if s.conf.ID == 0 {
		s.w.reg.OweGap()
	}
	var sent []*call
	for _, a := range s.conf.Auth {
		c, err := s.sendAuth(a, nil)
		if err != nil {
			return s.restored(sent, err)
		}
		sent = append(sent, c)
	}
	sent, done, err := s.engine.RestoreWatches(sent, s.conf.MaxRequest, func(sent []*call) error { return s.restored(sent, nil) })
	defer done()
	if err = s.restored(sent, err); err == nil {
		s.w.reg.Settle()
	}
	return err
}

// restored waits for the answers to what restores a session. It returns why one of them
// failed, for that says more than err, which is why no more were sent: credentials that
// are refused count most. Credentials are first in sent. Their answers have an order of their
// own, and a server may send them late. So it waits for both kinds at once: a late answer
// waits for the events before it, and these wait until the answers before them are taken.
func (s *Session) restored(sent []*call, err error) error {
	n := 0 // of credentials
	for n < len(sent) && sent[n].Kind == &calls.KindAuth {
		n++
	}
	first := func(list []*call) <-chan struct{} {
		if len(list) == 0 {
			return nil
		}
		return list[0].Done()
	}
	var failed error
	for auths, others := sent[:n], sent[n:]; len(auths)+len(others) > 0; {
		var c *call
		select {
		case <-first(auths):
			c, auths = auths[0], auths[1:]
		case <-first(others):
			c, others = others[0], others[1:]
		}
		s.w.reg.Picked()
		if c.Err != nil && (failed == nil || errors.Is(c.Err, ErrAuth) && !errors.Is(failed, ErrAuth)) {
			failed = c.Err
		}
		s.engine.Recycle(c)
	}
	if failed != nil {
		return failed
	}
	return err
}

// authenticate goes through the steps of SASL, one by one: their answers bypass
// the server's pipeline, so nothing else may be under way. Not even a ping: a
// server that requires SASL would end the connection.
func (s *Session) authenticate(ctx context.Context, ex sasl.Exchange, token []byte) error {
	var err error
	for done := false; err == nil && !done; {
		if token == nil {
			token = []byte{}
		}
		c := s.engine.New(&calls.KindSASL, "sasl", "")
		c.Frame(wire.OpSASL, wire.SASLRequest{Token: token})
		if n := len(c.Frames) - 4; n > s.conf.MaxRequest {
			s.engine.Recycle(c)
			return tooLarge(n, s.conf.MaxRequest)
		}
		if err := s.engine.Submit(ctx, c); err != nil {
			s.engine.Recycle(c)
			return err
		}
		<-c.Done()
		s.w.reg.Picked()
		if err := c.Err; err != nil {
			s.engine.Recycle(c)
			if errors.Is(err, ErrAuth) {
				return saslRefused(err)
			}
			return err
		}
		token, done, err = ex.Next(c.Data)
		s.engine.Recycle(c)
	}
	if err != nil {
		return saslRefused(err)
	}
	s.line.Pings()
	return nil
}

// Successor waits for the Session that takes over from s, whoever dials it, and
// returns it. It does not dial. s may be alive. The successor may be of a new
// session (Renew): compare the IDs. Successor returns ErrClosed after s was
// closed on the server, and the error of ctx when that ends.
func (s *Session) Successor(ctx context.Context) (*Session, error) {
	if !s.usable() {
		return nil, ErrClosed
	}
	select {
	case <-s.follow.Done():
	case <-ctx.Done():
		select {
		case <-s.follow.Done():
		default:
			return nil, ctx.Err()
		}
	}
	if next, _, there := s.follow.Next(); there {
		return next, nil
	}
	return nil, ErrClosed
}

// Redial returns the direct successor of s. If nobody has dialed it yet, Redial
// does. All callers share one Dial, which ends when the last caller has left, and
// is otherwise limited as Dial is. Redial returns ErrExpired if the session has
// expired or was renewed, so that nobody gets a new session unknowingly, and
// ErrClosed after Close. If ctx ends first, the error matches ErrNoServer and the
// context's error. After Detach it dials, as after a loss.
func (s *Session) Redial(ctx context.Context) (*Session, error) { return s.succeed(ctx, false) }

// Renew begins a new session for the watches of s, after ErrExpired. All callers
// share one Dial. Ephemeral znodes must be created again. If s was redialed,
// Renew returns ErrMoved: the successor has the session.
func (s *Session) Renew(ctx context.Context) (*Session, error) { return s.succeed(ctx, true) }

func (s *Session) succeed(ctx context.Context, renew bool) (*Session, error) {
	if !s.usable() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, &noServer{reasons: []error{err}}
	}
	if next, err := s.follow.known(renew, s.transferable()); next != nil || err != nil {
		return next, err
	}
	if s.goodbye.Begun() {
		return nil, ErrClosed
	}
	dials := &s.follow.redials
	if renew {
		dials = &s.follow.renews
	}
	next, left, err := dials.Do(ctx, func(ctx context.Context, f *flight.Flight[*Session]) (*Session, error) {
		conf := s.Config()
		if renew {
			conf = conf.Renew()
		}
		return dial(ctx, conf, &takeover{Flight: f, from: s, renew: renew})
	})
	if left {
		return nil, &noServer{reasons: []error{err}}
	}
	return next, err
}

// takeover is a Dial for those who wait for a Session's successor.
type takeover struct {
	*flight.Flight[*Session]
	from  *Session
	renew bool
}

// Detach closes the connection and keeps the session on the server, for a
// redial or another process. Calls in flight fail as lost, with ErrClosed,
// and nothing more is written. The Config that it returns is final.
func (s *Session) Detach() Config {
	if !s.usable() {
		return Config{}
	}
	s.line.Fail(ErrClosed, true)
	<-s.line.Done()
	return s.Config()
}

// Close ends the session on the server. When it returns nil, the ephemeral
// znodes are gone. It waits for earlier requests, at most two thirds of the
// session timeout. Undelivered events stay in the State. If the connection is
// lost, or no answer comes, the error reports when the session expires by
// itself. After a redial it is ErrMoved, and nothing is sent. A second Close
// waits for the first and returns the same.
func (s *Session) Close() error {
	if !s.usable() {
		return notSent("close", "", ErrClosed)
	}
	s.calls.unqueued.Add(1)
	return s.traced(context.Background(), Call{Op: "close", Ops: 1}, func() error {
		return s.calls.fail(s.goodbye.Do(s.closeSession))
	})
}

func (s *Session) closeSession() error {
	s.line.Lock()
	end := ofOthers(s.line.Refusal())
	if s.line.Refused() == nil {
		s.line.Refuse(ErrClosed)
	}
	if end != nil {
		s.line.Unlock()
		return s.closeFailed(notSent("close", "", end))
	}
	c := s.closeCall()
	s.line.Post(&c.Call)
	s.line.Unlock()
	timer := time.AfterFunc(s.timeout*2/3, func() {
		s.line.Fail(s.stacked(connError(errors.New("the server did not answer to Close"))), true)
	})
	<-c.Done()
	timer.Stop()
	s.w.reg.Picked()
	err := c.Err
	s.engine.Recycle(c)
	<-s.line.Done()
	if err != nil {
		return s.closeFailed(err)
	}
	s.follow.None()
	return nil
}

// closeCall is the request that ends the session on the server.
func (s *Session) closeCall() *call {
	c := s.engine.New(&calls.KindClose, "close", "")
	c.Frame(wire.OpCloseSession, nil)
	return c
}

// closeGrace bounds the write of a closeSession that nobody waits for.
const closeGrace = 100 * time.Millisecond

// leave ends a session that is not to be used, on the server too as far as that goes
// without waiting.
func (s *Session) leave() {
	c := s.closeCall()
	c.Abandon()
	timer := time.AfterFunc(closeGrace, s.line.HangUp)
	s.line.Lock()
	s.line.Farewell(&c.Call)
	timer.Stop()
}

// giveUp ends a Session that Dial does not return. A new session is closed on the
// server.
func (s *Session) giveUp(err error) {
	s.line.Lock()
	alive := s.line.Ended() == nil
	s.line.Unlock()
	if s.conf.ID == 0 && alive {
		s.leave()
	}
	s.line.Fail(s.stacked(err), true)
}

// closeFailed adds to Close's error when the session ends without it.
func (s *Session) closeFailed(err error) error {
	if _, _, there := s.follow.Next(); there && errors.Is(err, ErrMoved) {
		return err
	}
	op := *err.(*OpError)
	op.Err = &noted{op.Err, fmt.Sprintf("the session expires by itself %v after its last sign of life", s.timeout)}
	return &op
}
