package zk

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/calls"
	"github.com/seed-9f8420c6/zk/internal/flight"
	"github.com/seed-9f8420c6/zk/internal/hooks"
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/registry"
	"github.com/seed-9f8420c6/zk/internal/rescue"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/wire"
)

// Defaults of Config.
const (
	DefaultAddr    = "127.0.0.1:2181"
	DefaultTimeout = 10 * time.Second
	// DefaultMaxRequest is the limit of a server whose jute.maxbuffer is not
	// set: it closes the connection for a larger frame, without an answer.
	DefaultMaxRequest = 0xfffff
	// DefaultMaxReply is far above the limit of servers for the data of a
	// znode. Only a list of children or a MultiRead can be larger.
	DefaultMaxReply = 16 << 20
)

// Config is what Dial needs: servers, settings, credentials, and the State
// of a session that moves. It may be copied. Dial never changes it.
//
// It prints no secret, whatever the verb of fmt or the handler of log/slog, with
// two exceptions that no method can prevent: fmt prints an unexported field of a
// struct byte by byte, and the JSON of a State has the password, also if slog's
// JSONHandler writes a struct with a State in it.
type Config struct {
	// Addrs are the servers of one ensemble, as host:port; empty: DefaultAddr. The
	// default port is 2181. Two spellings of one address count once.
	Addrs []string
	// Resolve returns the present Addrs, for ensembles whose members change; nil:
	// Addrs. Each Dial, Redial and Renew calls it first, within a share of its time.
	// If it fails, so does the Dial, with ErrNoServer and that error.
	Resolve func(ctx context.Context) ([]string, error)
	// Chroot is the prefix of every path; empty: none. The client does not create it:
	// until it exists, calls fail with ErrNoNode.
	Chroot string
	// Timeout is the session timeout to ask for, from 1 ms to 2³¹-1 ms; zero:
	// DefaultTimeout. The server may grant another one, which [Session.Timeout]
	// returns.
	Timeout time.Duration
	// Auth are credentials. Every Dial sends them, before it restores the watches.
	Auth []Auth
	// SASL authenticates each connection, before Auth; nil: none.
	SASL sasl.Mechanism
	// TLS encrypts the connection; nil: plain TCP. Its ServerName defaults to the
	// configured host of each address.
	TLS *tls.Config
	// ReadOnly accepts a server that is cut off from its quorum.
	ReadOnly bool
	// DialContext connects; nil: names are resolved on every Dial, and each IP is
	// tried. It gets host:port unresolved, once per address. TLS runs over the
	// connection that it returns, whose Close must unblock Write. The client sets the
	// write deadline of a plain *net.TCPConn or *net.UnixConn.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Wrap returns a connection over c, which is dialed, with TLS if that is set; nil:
	// none. addr is what Trace's hooks get. All frames pass through it in plain,
	// credentials among them; package tap decodes them. Its Write must count at least
	// the bytes that may have left. Its Read and Write must return when it is closed.
	// Its Close must close c, and may be called several times. If it has a method
	// NetConn() net.Conn that returns c, callers write small requests to it themselves,
	// as they do to a socket: then Write must wait for nothing but c. A panic in its
	// Read or Write ends the connection, with an error that has the value and the place.
	Wrap func(addr string, c net.Conn) net.Conn
	// MaxRequest is the largest frame to send, in bytes; zero: DefaultMaxRequest.
	MaxRequest int
	// MaxReply is the largest frame to accept, in bytes; zero: DefaultMaxReply. The
	// decoded values take at most about five times as much memory.
	MaxReply int
	// MaxInFlight limits the calls that wait for replies; zero: no limit. A Batch
	// counts each operation, and a Multi counts as one. Pings, credentials, close and
	// the client's own requests do not count.
	MaxInFlight int
	// Logger gets a record of each Dial and of each Session's end, of a closed channel,
	// of a channel that holds up events, and of a call that waits long; nil: none. Its
	// handler runs in the client's goroutines, as Trace's hooks do: it must not block or
	// call the Session.
	Logger *slog.Logger
	// Trace are hooks; nil: none.
	Trace *Trace
	// State is the session to move, from [Session.Config]; zero: a new session.
	State
}

// Auth is a credential, as for addauth of zkCli.
type Auth struct {
	Scheme string
	// Credential is never printed.
	Credential []byte
}

// Digest returns the credential of the scheme digest.
func Digest(user, password string) Auth {
	return Auth{Scheme: "digest", Credential: []byte(user + ":" + password)}
}

// Trace are hooks that a Session calls, as net/http/httptrace has for a request. Each may be
// nil. They run on the goroutine of the caller; Event, Pong and End run on the reader. No
// lock is held, so a hook may call methods that return at once (ID, Stats, Watches, Pending).
// It must not block, and must not call Dial, Close, Detach or a method that waits for the
// server: on the reader such a call waits for itself, until its context ends or for ever.
//
// A panic in a hook reaches the caller, or those who wait for the Redial or Renew. A panic in
// Event or Pong ends the connection, with an error that has the value and the place; the event is
// delivered nevertheless. A panic in End is added to Err.
//
// addr is the address to connect to: an IP and port, if a name was resolved. A context
// that a hook returns is passed to the later hooks of the same address or call; nil
// means the one that the hook got.
type Trace struct {
	// Resolved: the name of a configured address was resolved, or err says why not; took
	// is the time that this took. The returned context is passed to the hooks of each IP
	// of the name. With an empty addr it was Config.Resolve, and the context is passed to
	// the hooks of all addresses.
	Resolved func(ctx context.Context, addr string, took time.Duration, err error) context.Context
	// DialStart: before connecting to an address. The returned context is passed to
	// DialContext too. In a Redial or Renew ctx has the values of the first caller's.
	DialStart func(ctx context.Context, addr string) context.Context
	// TLSStart: TCP is up, and TLS begins; only with Config.TLS.
	TLSStart func(ctx context.Context, addr string)
	// DialDone: TCP and TLS are up, or err says why not.
	DialDone func(ctx context.Context, addr string, err error)
	// Handshake: the server has answered with the session and the granted timeout,
	// or err says why not.
	Handshake func(ctx context.Context, addr string, id int64, timeout time.Duration, err error)
	// DialFailed: an attempt at an address has failed, in whichever step. If a name was not
	// resolved, or SASL did not begin, there was no DialStart. With an empty addr,
	// Config.Resolve gave no addresses.
	DialFailed func(ctx context.Context, addr string, err error)
	// Begin: a Dial has succeeded, the watches are restored, and no caller has the
	// Session yet. moved: the session has moved from another connection.
	Begin func(ctx context.Context, s *Session, moved bool)
	// End: a Session with a Begin is over, and Done is about to be closed.
	End func(s *Session, err error)
	// CallStart: a call begins. Not for a call that is refused for its path or
	// arguments.
	CallStart func(ctx context.Context, s *Session, c Call) context.Context
	// CallDone: the call returns err.
	CallDone func(ctx context.Context, s *Session, c Call, err error)
	// Event: an event was sent to its channels, or (queued) at least one of them does
	// not have it yet, most often because it is full. A Gap has one call per watch. An
	// event for which no channel is armed has none.
	Event func(s *Session, ev Event, queued bool)
	// Pong: a ping was answered, took after it was sent.
	Pong func(s *Session, took time.Duration)

	parts traces // of JoinTraces
}

// Call describes a call. Op and Path are as in an OpError.
type Call struct {
	Op, Path string
	// Ops is the number of operations of a Batch, Multi or MultiRead; else
	// 1.
	Ops int
}

// JoinTraces returns a Trace that calls the hooks of all in order, and passes a context
// from one to the next. It skips nil and empty Traces, and returns nil if there are no
// others. Do not change the Traces afterwards.
func JoinTraces(list ...*Trace) *Trace {
	var all traces
	for _, t := range list {
		switch {
		case t == nil:
		case t.parts != nil:
			all = append(all, t.parts...)
		case !t.empty():
			all = append(all, t)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all.join()
}

// Without returns t without the hooks of u, which JoinTraces has joined to it.
func (t *Trace) Without(u *Trace) *Trace {
	switch {
	case t == nil || t == u:
		return nil
	case t.parts == nil:
		return t
	}
	return JoinTraces(slices.DeleteFunc(slices.Clone(t.parts), func(p *Trace) bool { return p == u })...)
}

func (t *Trace) empty() bool {
	return t.Resolved == nil && t.DialStart == nil && t.TLSStart == nil && t.DialDone == nil && t.Handshake == nil && t.DialFailed == nil &&
		t.Begin == nil && t.End == nil && t.CallStart == nil && t.CallDone == nil && t.Event == nil && t.Pong == nil
}

// traces are several that are called in turn.
type traces []*Trace

// pick returns one hook of each.
func pick[F any](all traces, hook func(t *Trace) F) []F {
	list := make([]F, len(all))
	for i, t := range all {
		list[i] = hook(t)
	}
	return list
}

func (all traces) join() *Trace {
	return &Trace{
		Resolved:   hooks.Start3(pick(all, func(t *Trace) func(context.Context, string, time.Duration, error) context.Context { return t.Resolved })),
		DialStart:  hooks.Start(pick(all, func(t *Trace) func(context.Context, string) context.Context { return t.DialStart })),
		TLSStart:   hooks.Two(pick(all, func(t *Trace) func(context.Context, string) { return t.TLSStart })),
		DialDone:   hooks.Three(pick(all, func(t *Trace) func(context.Context, string, error) { return t.DialDone })),
		Handshake:  hooks.Five(pick(all, func(t *Trace) func(context.Context, string, int64, time.Duration, error) { return t.Handshake })),
		DialFailed: hooks.Three(pick(all, func(t *Trace) func(context.Context, string, error) { return t.DialFailed })),
		Begin:      hooks.Three(pick(all, func(t *Trace) func(context.Context, *Session, bool) { return t.Begin })),
		End:        hooks.Two(pick(all, func(t *Trace) func(*Session, error) { return t.End })),
		CallStart:  hooks.Start2(pick(all, func(t *Trace) func(context.Context, *Session, Call) context.Context { return t.CallStart })),
		CallDone:   hooks.Four(pick(all, func(t *Trace) func(context.Context, *Session, Call, error) { return t.CallDone })),
		Event:      hooks.Three(pick(all, func(t *Trace) func(*Session, Event, bool) { return t.Event })),
		Pong:       hooks.Two(pick(all, func(t *Trace) func(*Session, time.Duration) { return t.Pong })),
		parts:      all,
	}
}

// start and done show the hooks a call.
func (t *Trace) start(ctx context.Context, s *Session, c Call) context.Context {
	if t.CallStart == nil {
		return ctx
	}
	return hooks.Or(t.CallStart(ctx, s, c), ctx)
}

func (t *Trace) done(ctx context.Context, s *Session, c Call, err error) {
	if t.CallDone != nil {
		t.CallDone(ctx, s, c, err)
	}
}

// traced runs a call between its hooks.
func (s *Session) traced(ctx context.Context, c Call, run func() error) error {
	t := s.conf.Trace
	if t == nil {
		return run()
	}
	ctx = t.start(ctx, s, c)
	err := run()
	t.done(ctx, s, c, err)
	return err
}

// Renew returns the config of a new session, for a Dial after ErrExpired. It
// has the same servers, credentials, Zxid and watches.
func (c Config) Renew() Config {
	c = c.clone()
	c.ID, c.Password = 0, nil
	return c
}

func (c Config) clone() Config {
	c.Addrs = append([]string(nil), c.Addrs...)
	c.Password = append([]byte(nil), c.Password...)
	c.Auth = cloneAuth(c.Auth)
	return c
}

func cloneAuth(list []Auth) (out []Auth) {
	for _, a := range list {
		out = append(out, a.clone())
	}
	return out
}

func (a Auth) clone() Auth {
	return Auth{Scheme: a.Scheme, Credential: append([]byte(nil), a.Credential...)}
}

func (a Auth) equal(b Auth) bool {
	return a.Scheme == b.Scheme && bytes.Equal(a.Credential, b.Credential)
}

// String prints no secrets.
func (c Config) String() string {
	return fmt.Sprintf("zk.Config{Addrs:%q Chroot:%q Timeout:%v Auth:%v TLS:%t ReadOnly:%t %v}",
		c.Addrs, c.Chroot, c.Timeout, c.Auth, c.TLS != nil, c.ReadOnly, c.State)
}

// Format prints no secrets, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue prints no secrets.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON returns an error: marshal Config.State.
func (c Config) MarshalJSON() ([]byte, error) {
	return nil, errors.New("zk: a Config is not marshalled, for it holds credentials and functions: marshal Config.State")
}

// UnmarshalJSON returns an error: unmarshal into Config.State.
func (c *Config) UnmarshalJSON([]byte) error {
	return errors.New("zk: a Config is not unmarshalled: unmarshal into Config.State")
}

// String prints no credential.
func (a Auth) String() string { return a.Scheme + ":…" }

// Format prints no credential, whatever the verb.
func (a Auth) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// MarshalJSON returns an error: nothing writes a credential.
func (a Auth) MarshalJSON() ([]byte, error) {
	return nil, errors.New("zk: an Auth is not marshalled, for it holds a credential")
}

// LogValue prints no credential.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Session is one connection to one server, and the session that lives on it.
// All methods are safe for concurrent use. A context ends the wait of a call,
// never the session; the request may still be executed.
//
// A Session owns one goroutine, the reader, and a timer for pings. While a channel
// is full, a second goroutine waits for room in it. If the context of a caller can
// be cancelled, or many callers send at once, another goroutine writes. None of
// them outlives Done.
type Session struct {
	conf     Config // as dialed, but for Auth, see auth
	w        *Watches
	line     *pipeline.Conn
	id       int64
	password []byte
	timeout  time.Duration
	addr     string
	target   string // where it is connected to: the address, or one of its IPs
	readOnly bool

	engine  calls.Engine[EventType, Event]
	calls   callCounts
	auth    credentials
	follow  succession
	goodbye flight.Once // Close
	life    life
	slow    atomic.Int64 // place of the last request of which the Logger heard that it waits
	// plainCreates: the server cannot read a create2 in a Multi.
	plainCreates atomic.Bool
}

// The locks of the client, in the order in which one may be held while another is taken:
// flight.Successor.mu, flight.Once.mu, credentials.mu; the pipeline's; that of
// internal/registry. None is held over I/O or a wait for the application.

// credentials are those that a redial brings. They grow with AddAuth.
type credentials struct {
	mu   sync.Mutex // guards list
	list []Auth
}

// add joins a credential, unless it is there: a loop may add it on each connection.
func (c *credentials) add(a Auth) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.list, a.equal) {
		c.list = append(c.list, a)
	}
}

func (c *credentials) all() []Auth {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cloneAuth(c.list)
}

// callCounts are of the application's calls. Those whose requests are queued the pipeline
// counts, under the lock that it has then anyway.
type callCounts struct {
	unqueued  atomic.Int64 // refused before, or of a kind that is the client's own too
	failed    atomic.Int64
	abandoned atomic.Int64 // sent, and given up by their context
}

// fail counts the error of a call, if it is one, and returns it.
func (n *callCounts) fail(err error) error {
	if err != nil {
		n.failed.Add(1)
	}
	return err
}

// again takes the first of two requests back that are one call.
func (n *callCounts) again() {
	n.unqueued.Add(-1)
	n.failed.Add(-1)
}

// succession is who comes after a Session: the one dialed next for the same Watches.
type succession struct {
	flight.Successor[*Session]
	redials, renews flight.Group[*Session] // shared Dials
}

// known returns the Session dialed next, if there is one, to who wants the same session
// or (renew) a new one. transferable: other servers know the session.
func (f *succession) known(renew, transferable bool) (*Session, error) {
	next, renewed, there := f.Next()
	switch {
	case !there || renew == renewed || !transferable:
		return next, nil
	case renewed:
		return nil, ErrExpired
	}
	return nil, ErrMoved
}

// call is a request under way, and kind says of an operation how its reply is read, and
// what an answer means for the connection. A new operation has a row in zk.go.
type (
	call = calls.Call[Event]
	kind = calls.Kind
)

// newSession makes a Session of a connection; under is what Config.Wrap has laid it over.
func newSession(conf Config, w *Watches, conn, under net.Conn) *Session {
	s := &Session{conf: conf, w: w}
	s.auth.list = conf.Auth
	s.follow.Init()
	after := w.reg.Xid()
	if after == 0 && conf.ID != 0 { // another process has used some, nobody knows which
		after = rand.Int32()
	}
	s.line = pipeline.New(conn, &s.engine, pipeline.Options{MaxReply: conf.MaxReply, MaxInFlight: conf.MaxInFlight, Under: under, After: after})
	s.engine.Init(s.line, &w.reg, (*host)(s), conf.Trace != nil && conf.Trace.Event != nil)
	return s
}

// run begins the life of a session whose ConnectResponse is accepted. Without pings
// none are sent before the pipeline's Pings.
func (s *Session) run(pings bool) {
	s.w.reg.Start()
	var early int32
	if s.readOnly {
		early = int32(ErrNotReadOnly)
	}
	s.line.Start(s.timeout, early, pings)
}

// usable distinguishes a Session from its zero value.
func (s *Session) usable() bool { return s != nil && s.w != nil }

// do sends a call of one frame and waits for its answer. After an error the
// call is not the caller's any more.
func (s *Session) do(ctx context.Context, c *call) error {
	if s.conf.Trace != nil && !c.Traced {
		return s.doTraced(ctx, c)
	}
	if err := s.send(ctx, c); err != nil {
		return err
	}
	op, path := c.Op, c.Path
	if c.Wait(ctx) { // the reader recycles it
		return s.gaveUp(ctx, op, path)
	}
	s.w.reg.Picked()
	if c.Err != nil {
		return s.failed(c)
	}
	return nil
}

// What do does before and after its wait is apart: a goroutine that waits with less on its
// stack fits the first one, and many that do fit the processor's cache.

//go:noinline
func (s *Session) send(ctx context.Context, c *call) error {
	if err := s.admit(ctx, c); err != nil {
		return s.refuse(c, err)
	}
	if err := s.engine.Submit(ctx, c); err != nil {
		s.line.Release(1)
		return s.refuse(c, err)
	}
	return nil
}

//go:noinline
func (s *Session) gaveUp(ctx context.Context, op, path string) error {
	s.calls.abandoned.Add(1)
	return s.calls.fail(&OpError{Op: op, Path: path, Err: ctx.Err(), outcome: Lost})
}

//go:noinline
func (s *Session) failed(c *call) error {
	err := c.Err
	s.engine.Recycle(c)
	return s.calls.fail(err)
}

// refuse ends a call that was not sent.
func (s *Session) refuse(c *call, err error) error {
	s.calls.unqueued.Add(1)
	failure := notSent(c.Op, c.Path, err)
	s.engine.Recycle(c)
	if err == calls.ErrRemoved { // which is no failure
		return failure
	}
	return s.calls.fail(failure)
}

// doTraced is do between the hooks of the call.
func (s *Session) doTraced(ctx context.Context, c *call) error {
	c.Traced = true
	t, what := s.conf.Trace, Call{c.Op, c.Path, 1}
	traced := t.start(ctx, s, what)
	err := s.do(ctx, c)
	if errors.Is(err, calls.ErrRemoved) { // which is no error
		t.done(traced, s, what, nil)
	} else {
		t.done(traced, s, what, err)
	}
	return err
}

// admit checks what can be checked before a frame is queued, and takes its slot.
func (s *Session) admit(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n := c.Size() - 4; n > s.conf.MaxRequest {
		return tooLarge(n, s.conf.MaxRequest)
	}
	if c.Arming && len(c.At) > s.conf.MaxRequest-maxRestore { // rarely
		if err := s.restorable(c.At); err != nil {
			return err
		}
	}
	if c.Removes() && s.line.Limited() { // what needs no request needs no slot
		if err := s.engine.Remove(c); err != nil {
			return err
		}
	}
	return ofOthers(s.line.Acquire(ctx, &c.Call))
}

// maxRestore is more than the frame that restores a watch has besides its path.
const maxRestore = 64

// restorable refuses to arm a watch that no frame could restore on the next
// connection.
func (s *Session) restorable(path string) error {
	if n := requestHeaderSize + watches.FrameSize(path); n > s.conf.MaxRequest {
		return errors.WithMessage(tooLarge(n, s.conf.MaxRequest), "restoring the watch")
	}
	return nil
}

const requestHeaderSize = 8

// host is a Session as the Host of its calls: the errors that they return, its hooks and
// its Logger.
type host Session

func (h *host) session() *Session { return (*Session)(h) }

// Refused makes the error of an operation that was answered with a code.
func (h *host) Refused(op, path string, code int32, ended bool) error {
	return &OpError{Op: op, Path: path, Err: Code(code), outcome: Answered, ended: ended}
}

// Unanswered makes the error of an operation that has no answer.
func (h *host) Unanswered(op, path string, lost bool, oversized int, end error) error {
	err := &OpError{Op: op, Path: path, outcome: NotSent}
	if lost {
		err.outcome = Lost
	}
	if oversized > 0 {
		err.Err, err.ended = h.tooLarge(oversized), true
	} else {
		err.Err = ofOthers(end)
	}
	return err
}

// Unsent is why a call is not sent, as its error has it.
func (*host) Unsent(err error) error {
	switch err {
	case calls.ErrNoWatcher:
		return ErrNoWatcher
	case calls.ErrCrowded:
		return ErrSlowConsumer
	}
	return ofOthers(err)
}

func (h *host) tooLarge(n int) *SizeError {
	return &SizeError{Size: n, Limit: h.conf.MaxReply, Reply: true}
}

// End is why the connection is over by an answer with this code.
func (h *host) End(code int32, what string) error {
	switch {
	case code == 0:
		return ErrClosed
	case what == "":
		return h.session().stacked(connError(Code(code)))
	}
	return h.session().stacked(connError(errors.WithMessage(Code(code), what)))
}

// Malformed is why it is over by a frame that cannot be read.
func (h *host) Malformed(what string, err error) error {
	return &detailed{kind: ErrProtocol, detail: what, cause: err}
}

// Overflow is why it is over by events that nobody receives.
func (h *host) Overflow(err error) error {
	return &detailed{kind: ErrSlowConsumer, detail: err.Error()}
}

// Event shows the hooks an event.
func (h *host) Event(ev Event, queued bool) (err error) {
	defer rescue.As("Trace.Event", &err)
	h.conf.Trace.Event(h.session(), ev, queued)
	return nil
}

// Lost shows the Logger a watch that was lost to a closed channel.
func (h *host) Lost(x registry.Lost) {
	if log := h.conf.Logger; log != nil {
		log.Warn("zk: a closed channel lost its watches", "addr", h.target, "id", sessionID(h.id), "path", x.Path, "kind", WatchKind(x.Kind).String())
	}
}

// Pong shows the hooks that a ping was answered.
func (h *host) Pong(took time.Duration) (err error) {
	if t := h.conf.Trace; t != nil && t.Pong != nil {
		defer rescue.As("Trace.Pong", &err)
		t.Pong(h.session(), took)
	}
	return nil
}

// Why makes the error that all calls see of what ended the connection.
func (h *host) Why(err error) error {
	var v pipeline.Violation
	var o pipeline.Oversize
	switch {
	case errors.As(err, &o):
		err = &detailed{kind: ErrProtocol, cause: h.tooLarge(int(o))}
	case errors.As(err, &v):
		err = protocolError("%s", string(v))
	case errors.Is(err, ErrConnection), errors.Is(err, ErrClosed):
	default:
		err = connError(errors.WithMessage(err, h.target))
	}
	return h.session().stacked(err)
}

// stacked adds a stack where a connection is lost.
func (s *Session) stacked(err error) error {
	if errors.Is(err, ErrConnection) {
		return errors.WithStack(err)
	}
	return err
}

// slowChannel is how long an event waits for its channel before the Logger hears of it.
const slowChannel = 10 * time.Second

// Tick warns, once each, of an event that waits long for its channel, which holds up all
// later ones, and of a request that waits long for its reply.
func (h *host) Tick(now time.Time, longest pipeline.Waiting) {
	log := h.conf.Logger
	if log == nil {
		return
	}
	if x := h.w.reg.Stuck(now, slowChannel); x != nil {
		log.Warn("zk: an event waits for its channel", "addr", h.target, "id", sessionID(h.id), "path", x.Path, "cap", x.Cap,
			"took", now.Sub(x.Since), "queued", h.w.Undelivered())
	}
	if took := now.Sub(longest.Since); longest.N > 0 && took > h.timeout && h.slow.Swap(longest.Place) != longest.Place {
		log.Warn("zk: a call waits for its reply", "addr", h.target, "id", sessionID(h.id), "op", longest.Op, "path", longest.Path, "took", took)
	}
}

// String names the session and the server. It prints no secrets.
func (s *Session) String() string {
	return fmt.Sprintf("zk.Session{%s %s}", sessionID(s.ID()), s.Addr())
}

// Format prints what String does, whatever the verb.
func (s *Session) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// Done is closed when the Session is over: its calls fail, and it delivers no more events.
func (s *Session) Done() <-chan struct{} {
	if !s.usable() {
		return closedChan
	}
	return s.line.Done()
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Err returns why the Session ended, and nil before Done. It matches
// ErrConnection when the connection was lost, ErrMoved after a Dial with its
// State, ErrClosed after Close or Detach.
func (s *Session) Err() error {
	if !s.usable() {
		return ErrClosed
	}
	select {
	case <-s.line.Done():
		s.line.Lock()
		defer s.line.Unlock()
		return s.line.Ended()
	default:
		return nil
	}
}

// Config returns the Config for a redial: the one that was dialed, with the
// credentials added by AddAuth and the State. It is a snapshot, except for the
// Watches, which the Session goes on using. Once Done is closed it is final.
func (s *Session) Config() Config {
	if !s.usable() {
		return Config{}
	}
	conf := s.conf
	conf.Auth = s.auth.all()
	conf = conf.clone()
	conf.State = State{Zxid: s.Zxid(), Watches: s.w}
	conf.noteZxid()
	if s.transferable() {
		conf.ID, conf.Password = s.id, append([]byte(nil), s.password...)
	}
	return conf
}

// transferable reports whether other servers know the session: one that was
// begun on a read-only server is known there only.
func (s *Session) transferable() bool { return !s.readOnly || s.conf.ID == s.id }

// ID returns the session id.
func (s *Session) ID() int64 {
	if !s.usable() {
		return 0
	}
	return s.id
}

// Zxid returns the zxid of the newest transaction that a reply reported.
func (s *Session) Zxid() int64 {
	if !s.usable() {
		return 0
	}
	select {
	case <-s.line.Done():
		return s.engine.LastZxid()
	default:
		return s.w.reg.Zxid()
	}
}

// Chroot returns the prefix of every path; empty: none.
func (s *Session) Chroot() string {
	if !s.usable() {
		return ""
	}
	return s.conf.Chroot
}

// Watches returns Config().Watches, without copying the rest.
func (s *Session) Watches() *Watches {
	if !s.usable() {
		return nil
	}
	return s.w
}

// Timeout returns the session timeout that the server granted.
func (s *Session) Timeout() time.Duration {
	if !s.usable() {
		return 0
	}
	return s.timeout
}

// Addr returns the server's address as configured.
func (s *Session) Addr() string {
	if !s.usable() {
		return ""
	}
	return s.addr
}

// ReadOnly reports whether the server is cut off from its quorum, as it said in the handshake.
func (s *Session) ReadOnly() bool { return s.usable() && s.readOnly }

// ExpiresAt returns a time before which no server expires the session: the send time
// of the last answered request or ping, plus three quarters of the granted timeout,
// because a follower may relay a sign of life a quarter late. It has a monotonic
// reading. On Linux and others the monotonic clock stands still while the machine
// sleeps. The returned time is then late by the time that it slept.
func (s *Session) ExpiresAt() time.Time {
	if !s.usable() {
		return time.Time{}
	}
	return s.line.Heard().Add(s.timeout * 3 / 4)
}

// Stats are counts since the Session was dialed, and the present lengths of its
// queues.
type Stats struct {
	// Calls counts the calls of the application that have begun, as Trace does: a Batch or
	// Multi counts once. Failed counts those that have returned an error, and Abandoned
	// those that were sent and then given up by their context.
	Calls, Failed, Abandoned int64

	Requests      int64 // frames for the server, except pings
	Replies       int64 // to Requests
	Events        int64 // notifications for which a channel was armed
	Ignored       int64 // notifications for which none was armed
	Closed        int64 // watches that were lost because their channels were closed
	Pings         int64
	BytesSent     int64
	BytesReceived int64
	Pending       int // requests that wait for their replies now
	Armed         int // watches armed now
	Queued        int // events that wait for room in their channels now
	// QueuedFor is how long the first of the Queued events has waited for room,
	// since it became the first.
	QueuedFor time.Duration
}

// Stats returns a snapshot of the counters.
func (s *Session) Stats() Stats {
	if !s.usable() {
		return Stats{}
	}
	failed, abandoned := s.calls.failed.Load(), s.calls.abandoned.Load() // first, for each has begun
	n, seen := s.line.Counts(), s.engine.Counts()
	return Stats{
		Calls: n.Calls + s.calls.unqueued.Load(), Failed: failed, Abandoned: abandoned,
		Requests: n.Frames, Replies: n.Replies, Events: seen.Events, Ignored: seen.Ignored, Closed: seen.Closed, Pings: n.Pings,
		BytesSent: n.Sent, BytesReceived: n.Received, Pending: n.Pending, Armed: s.w.Len(), Queued: s.w.Undelivered(),
		QueuedFor: s.w.reg.QueuedFor(time.Now()),
	}
}

// PendingCall is a request that waits for its reply.
type PendingCall struct {
	Call
	// Since is when the request was written, or a little earlier if many wait. It
	// has a monotonic reading.
	Since time.Time
}

// Pending returns the requests that wait for their replies, oldest first and
// credentials last, with the client's own. A Batch is one request, or with MaxInFlight
// a few. A call that was given up by its context is listed until its reply comes.
func (s *Session) Pending() []PendingCall {
	if !s.usable() {
		return nil
	}
	var list []PendingCall
	for _, w := range s.line.Waiting() {
		list = append(list, PendingCall{Call{w.Op, w.Path, w.N}, w.Since})
	}
	return list
}

// life is how far the hooks of a Session's life have come: each Begin has one End, and
// End comes later.
type life struct {
	mu          sync.Mutex // guards all below; held for a moment only
	begun, over bool
	end         error
}

// Finish shows the Logger and the hooks that the Session is over. It returns why, with
// what the hook has panicked with.
func (h *host) Finish(end error) error {
	if log := h.conf.Logger; log != nil {
		log.Info("zk: session left", "addr", h.target, "id", sessionID(h.id), "why", logged{end},
			"zxid", fmt.Sprintf("0x%x", h.engine.LastZxid()), "watches", h.w.Len(), "queued", h.w.Undelivered())
	}
	h.life.mu.Lock()
	h.life.over, h.life.end = true, end
	begun := h.life.begun
	h.life.mu.Unlock()
	if begun { // else whoever dials shows it, after Begin, if the Session is used at all
		if err := h.session().rescuedEnd(end); err != nil {
			return &noted{end, err.Error()}
		}
	}
	return end
}

func (s *Session) rescuedEnd(end error) (err error) {
	defer rescue.As("Trace.End", &err)
	s.traceEnd(end)
	return nil
}

func (s *Session) traceEnd(end error) {
	if t := s.conf.Trace; t != nil && t.End != nil {
		t.End(s, end)
	}
}

// appendAuth appends an auth packet.
func appendAuth(b []byte, a Auth) []byte {
	at := len(b)
	b = wire.BeginFrame(b)
	b = wire.RequestHeader{Xid: wire.XidAuth, Op: wire.OpAuth}.Append(b)
	b = wire.AuthRequest{Scheme: a.Scheme, Auth: a.Credential}.Append(b)
	wire.EndFrame(b, at)
	return b
}

// sendAuth sends an auth packet; its answer comes with the call. accepted is called then,
// if the server accepts it.
func (s *Session) sendAuth(a Auth, accepted func()) (*call, error) {
	c := s.engine.New(&calls.KindAuth, "addauth", "")
	if accepted != nil {
		c.More = &calls.More[Event]{Accepted: accepted}
	}
	c.Frames = appendAuth(c.Frames, a)
	if n := len(c.Frames) - 4; n > s.conf.MaxRequest {
		s.engine.Recycle(c)
		return nil, tooLarge(n, s.conf.MaxRequest)
	}
	s.line.Lock()
	defer s.line.Unlock()
	if err := s.line.Refusal(); err != nil {
		s.engine.Recycle(c)
		return nil, err
	}
	s.line.PostAuth(&c.Call)
	return c, nil
}
