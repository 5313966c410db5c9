package zk

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/flight"
	"github.com/seed-9f8420c6/zk/internal/hooks"
	"github.com/seed-9f8420c6/zk/internal/interlock"
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
	// DefaultMaxReply is far above what a server's own limit lets into a znode;
	// only a list of children or a MultiRead can be larger.
	DefaultMaxReply = 16 << 20
)

// Config says where to dial, how, and as whom. It may be copied; Dial never
// changes it.
//
// It prints no secret, whatever the verb of fmt or the handler of log/slog. Two
// things no method can prevent: fmt prints an unexported field of a struct byte by
// byte, and the JSON of a State, also where slog's JSONHandler makes it of a struct
// with a State in it, has the password.
type Config struct {
	// Addrs are the servers of one ensemble, as host:port; empty: DefaultAddr. Without
	// a port it is 2181. Two spellings of one address count once.
	Addrs []string
	// Resolve returns the Addrs anew, for ensembles whose members change; nil: they
	// stay. Each Dial, Redial and Renew asks it first, within a share of its time. An
	// error is the reason of that Dial's ErrNoServer.
	Resolve func(ctx context.Context) ([]string, error)
	// Chroot is the prefix of every path; empty: none. The client does not create it:
	// until it exists, calls fail with ErrNoNode.
	Chroot string
	// Timeout is the session timeout to ask for, from 1 ms to 2³¹-1 ms; zero:
	// DefaultTimeout. The server may grant another, within bounds of its own; it is
	// never written here.
	Timeout time.Duration
	// Auth are the credentials. Every Dial sends them, before watches are restored.
	Auth []Auth
	// SASL authenticates each connection, before Auth; nil: none.
	SASL sasl.Mechanism
	// TLS is laid over the connection; nil: plain TCP. Its ServerName defaults to the
	// configured host of each address.
	TLS *tls.Config
	// ReadOnly accepts a server that is cut off from its quorum.
	ReadOnly bool
	// DialContext connects. Nil: names are resolved on every Dial, and each IP is
	// tried. Set: it gets host:port unresolved, once per address; TLS is laid over
	// what it returns, and Close of that must unblock Write.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Wrap lays a connection of the application's over each one that is dialed, over TCP
	// and TLS; nil: none. addr is what Trace's hooks get. What it returns carries all
	// frames in plain, credentials among them; package tap decodes them. It must do what
	// c does: count in Write at least the bytes that may have left, return from Read and
	// Write when it is closed, and pass Close on, which may be called several times. If
	// it has a method NetConn() net.Conn that returns c, a call may write a small
	// request to it itself, as it does to a socket: then Write must not wait for
	// anything but c. A panic in its Read or Write ends the connection, as an error that
	// has the value and the place.
	Wrap func(addr string, c net.Conn) net.Conn
	// MaxRequest is the largest frame to send, in bytes; zero: DefaultMaxRequest.
	MaxRequest int
	// MaxReply is the largest frame to accept, in bytes; zero: DefaultMaxReply. What
	// is decoded takes at most about five times as much.
	MaxReply int
	// MaxInFlight is how many calls wait for replies at a time; zero: no limit. A Batch
	// counts its operations and a Multi 1. Pings, auth, close and what the client sends
	// for its own sake do not count.
	MaxInFlight int
	// Logger hears of each Dial and of each Session's end, of a channel that is closed or
	// that holds events up, and of a call that waits long; nil: silent. Its handler
	// runs in the client's goroutines, as Trace's hooks do: it must not block or call
	// the Session.
	Logger *slog.Logger
	// Trace has hooks; nil: none.
	Trace *Trace
	// State is the session to move; zero: a new session. [Session.Config] has it.
	State
}

// Auth is a credential, as in addauth.
type Auth struct {
	Scheme string
	// Credential is never printed.
	Credential []byte
}

// Digest returns the credential of the scheme digest.
func Digest(user, password string) Auth {
	return Auth{Scheme: "digest", Credential: []byte(user + ":" + password)}
}

// Trace has hooks for what a Session does, as net/http/httptrace has for a request.
// Each may be nil. They run on the goroutine that does it: the caller's, the reader's
// for Event, Pong and End. No lock is held meanwhile, so that a hook may call what returns at
// once (ID, Stats, Watches, Pending), but it must not block, and none may call what
// waits for the server, Dial, Close or Detach: on the reader that would wait for itself,
// until the context ends or for ever.
//
// What a hook panics with comes to the caller; during a Redial or Renew to those who
// wait for it. What Event or Pong panics with ends the connection, as an error that has the value
// and the place: the event is handed over all the same. Of End it is added to Err.
//
// addr is the address that is connected to: an IP and port where a name was resolved.
// A context that a hook returns goes to the later hooks of the same address or call; nil
// stands for the one that it got.
type Trace struct {
	// Resolved: the name of a configured address was resolved, or why not, after so long.
	// Its context goes to the hooks of each of the name's IPs. With an empty addr it was
	// Config.Resolve, and its context goes to the hooks of all addresses.
	Resolved func(ctx context.Context, addr string, took time.Duration, err error) context.Context
	// DialStart: before connecting to an address. Its context goes to DialContext too.
	// That of a Redial or Renew has the values of the first caller's.
	DialStart func(ctx context.Context, addr string) context.Context
	// TLSStart: TCP is up, and TLS begins; only with Config.TLS.
	TLSStart func(ctx context.Context, addr string)
	// DialDone: TCP and TLS are up, or why not.
	DialDone func(ctx context.Context, addr string, err error)
	// Handshake: the server's answer is in: session and granted timeout, or why not.
	Handshake func(ctx context.Context, addr string, id int64, timeout time.Duration, err error)
	// DialFailed: the address gave no session, for this reason, in whichever step. There was
	// no DialStart where a name was not resolved or SASL did not begin, nor with an empty
	// addr: then Config.Resolve gave no addresses.
	DialFailed func(ctx context.Context, addr string, err error)
	// Begin: a Dial has succeeded, the watches are restored, and nobody has the Session
	// yet. moved: its session is an older one.
	Begin func(ctx context.Context, s *Session, moved bool)
	// End: a Session that has begun is over, and Done is about to be closed.
	End func(s *Session, err error)
	// CallStart: a call begins. What is refused for its path or arguments is none.
	CallStart func(ctx context.Context, s *Session, c Call) context.Context
	// CallDone: it returns this error.
	CallDone func(ctx context.Context, s *Session, c Call, err error)
	// Event: an event was handed to its channels, or (queued) at least one of them does
	// not have it yet, most often because it is full. Of a Gap it is one call per watch.
	// What no channel is armed for has no hook.
	Event func(s *Session, ev Event, queued bool)
	// Pong: a ping was answered, after so long.
	Pong func(s *Session, took time.Duration)

	parts traces // of JoinTraces
}

// Call is what a call asks for, as in an OpError.
type Call struct {
	Op, Path string
	// Ops is how many operations a Batch, Multi or MultiRead has; else 1.
	Ops int
}

// JoinTraces returns hooks that call those of all, in order; a context goes from one to
// the next. nil and empty ones are left out; without any it returns nil. They must not be
// changed afterwards.
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

// Without returns the hooks without those of a Trace that JoinTraces has joined to them.
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

// Renew returns the config for a new session, after ErrExpired: same servers,
// credentials, Zxid and watches.
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

// MarshalJSON is refused: marshal Config.State.
func (c Config) MarshalJSON() ([]byte, error) {
	return nil, errors.New("zk: a Config is not marshalled, for it holds credentials and functions: marshal Config.State")
}

// UnmarshalJSON is refused: unmarshal into Config.State.
func (c *Config) UnmarshalJSON([]byte) error {
	return errors.New("zk: a Config is not unmarshalled: unmarshal into Config.State")
}

// String prints no credential.
func (a Auth) String() string { return a.Scheme + ":…" }

// Format prints no credential, whatever the verb.
func (a Auth) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// MarshalJSON is refused: nothing writes a credential.
func (a Auth) MarshalJSON() ([]byte, error) {
	return nil, errors.New("zk: an Auth is not marshalled, for it holds a credential")
}

// LogValue prints no credential.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Session is one connection to one server, and the session that lives on it.
// All methods are safe for concurrent use. A context ends the wait of a call,
// never the session; the request may still be executed.
//
// A Session owns one goroutine, the reader, and a timer for pings. While a
// channel is full a second goroutine waits for it. When a caller's context can be
// cancelled, or many callers send at once, another goroutine does the writing. None
// of them outlives Done.
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

	spare    sync.Pool // of *call
	calls    callCounts
	lock     interlock.Interlock // what the server is asked about watches; under the lock of line
	auth     credentials
	follow   succession
	goodbye  flight.Once // Close
	life     life
	events   atomic.Int64
	ignored  atomic.Int64
	closed   atomic.Int64
	lastZxid atomic.Int64 // at the end
	slow     atomic.Int64 // place of the last request of which the Logger heard that it waits
	// refusedWatches: a SetWatches was answered with an error. Only the reader
	// touches it.
	refusedWatches bool
	// plainCreates: the server cannot read a create2 in a Multi.
	plainCreates atomic.Bool
}

// The locks of the client, in the order in which one may be held while another is
// taken: flight.Successor.mu, flight.Once.mu, credentials.mu; the pipeline's; Watches.mu. None
// is held over I/O or a wait for the application.

// credentials are those that a redial brings. They grow with AddAuth.
type credentials struct {
	mu   sync.Mutex
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

// kind says of an operation what its method does not: how a reply is read, and what
// an answer means for the connection. A new operation has a row here.
type kind struct {
	// decode reads the body of a reply without error; nil: there is none.
	decode func(c *call, d *wire.Decoder)
	// excuse reports whether an error is as good as an answer without; nil: none is.
	excuse func(c *call, code Code) bool
	// mayStayOpen: a server may answer -6 and go on, for it supports the operation and
	// has switched it off. With any other it closes the connection.
	mayStayOpen bool
	// own: a request of the client's own, which takes no slot of MaxInFlight.
	own bool
	// last: nothing more comes of the connection.
	last bool
}

func (k *kind) excuses(c *call, code Code) bool { return k.excuse != nil && k.excuse(c, code) }

// The kinds of the client's own requests.
var (
	kindAuth       = kind{own: true}
	kindSASL       = kind{decode: decodeToken, own: true}
	kindSetWatches = kind{own: true}
	kindReread     = kind{own: true, decode: decodeReread, excuse: oneShotIsRead}
	kindRewatch    = kind{own: true}
	kindClose      = kind{own: true, last: true}
)

func decodeToken(c *call, d *wire.Decoder) {
	var r wire.SASLResponse
	r.Decode(d)
	c.data = append([]byte(nil), r.Token...)
}

// decodeReread reads the Stat of the znode whose watch is restored.
func decodeReread(c *call, d *wire.Decoder) {
	switch c.restore.kind {
	case watches.Child:
		d.Strings()
		c.stat.Decode(d)
	case watches.Data, watches.Exists:
		c.stat.Decode(d)
	}
}

// oneShotIsRead: whatever a read is answered, it says that the watch has fired or is armed.
func oneShotIsRead(c *call, code Code) bool { return c.restore.kind.OneShot() && !code.ends() }

// call is a request under way: what was asked, and what came of it.
type call struct {
	pipeline.Call
	kind *kind
	request
	result
}

// request is what a call asks for.
type request struct {
	code   wire.Op
	watch  chan<- Event // to arm on success
	arms   WatchKind    // in this kind
	at     string       // server path of the watch
	traced bool         // its hooks are at work
	arming bool         // it arms a channel, or one of its operations does
	raw    bool         // its events have the server's path

	// What only few calls have, apart, so that the others stay small.
	parts   parts
	adding  *interlock.Addition
	removal *removal
	restore *restoral
	auth    *Auth // AddAuth: joins the credentials once accepted
}

// parts are the operations of a Batch, whose answers come one by one.
type parts interface {
	// describe names an operation as its method's errors do.
	describe(i int) (op, path string)
	// watched returns the channel that an operation arms, in which kind, and at which
	// path of the server; nil: none.
	watched(i int) (watch chan<- Event, kind WatchKind, at string)
	// arms is watched of an operation that is answered: nil where nothing is armed.
	arms(i int) (watch chan<- Event, kind WatchKind, at string)
	// kind returns that of an operation's request.
	kind(i int) *kind
	// take reads the answer to an operation.
	take(i int, code Code, d *wire.Decoder)
	// fail makes an error an operation's result.
	fail(i int, err *OpError)
}

// result is what an answer brings.
type result struct {
	err     error
	str     string
	data    []byte
	names   []string
	stat    wire.Stat
	num     int32
	missing bool // Exists: there is no such znode
	value   any  // where none of these fits
}

// restoral is a SetWatches of a Dial, or what stands for one watch of it.
type restoral struct {
	last   bool // there is none behind it
	rearms bool // it has persistent watches

	deaf  string       // the path of a child watch that it is for; empty: for all
	kind  watches.Kind // of the one watch; 0: a SetWatches
	floor int64        // since when that may have missed its event
}

// removal is what a RemoveWatch disarms on success.
type removal struct {
	ch    chan<- Event
	alias string // another path for the same, of a watch that the server has fired or forgets
	found bool   // something was disarmed
}

// newCall takes a call from the Session's pool. A pool for all Sessions would
// carry its channels from one testing/synctest bubble to another, which is fatal.
func (s *Session) newCall(k *kind, op, path string) *call {
	c, ok := s.spare.Get().(*call)
	if !ok {
		c = new(call)
		c.Init(c)
	}
	c.kind, c.Op, c.Path = k, op, path
	c.Own = k.own
	return c
}

// recycle gives a call back that nobody else knows any more.
func (s *Session) recycle(c *call) {
	c.Reset()
	c.request, c.result = request{}, result{}
	s.spare.Put(c)
}

// begin appends the head of a frame and returns its place for wire.EndFrame.
func (c *call) begin(op wire.Op) int {
	at := len(c.Frames)
	c.code = op
	c.Frames = append(c.Frames, 0, 0, 0, 0, 0, 0, 0, 0, byte(op>>24), byte(op>>16), byte(op>>8), byte(op))
	return at
}

// room makes room for a frame with a path and so much data, in one piece.
func (c *call) room(path string, data int) {
	const rest = 64 // of a frame, but for an ACL
	if n := rest + len(path) + data; n > cap(c.Frames) {
		c.Frames = pipeline.Room(c.Frames, n)
	}
}

// frame frames a single request.
func (c *call) frame(op wire.Op, body interface{ Append([]byte) []byte }) {
	at := c.begin(op)
	if body != nil {
		c.Frames = body.Append(c.Frames)
	}
	wire.EndFrame(c.Frames, at)
}

// newSession makes a Session of a connection; under is what Config.Wrap has laid it over.
func newSession(conf Config, w *Watches, conn, under net.Conn) *Session {
	s := &Session{conf: conf, w: w}
	s.auth.list = conf.Auth
	s.follow.Init()
	s.line = pipeline.New(conn, (*engine)(s), pipeline.Options{MaxReply: conf.MaxReply, MaxInFlight: conf.MaxInFlight, Under: under})
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
	if s.conf.Trace != nil && !c.traced {
		return s.doTraced(ctx, c)
	}
	if err := s.admit(ctx, c); err != nil {
		return s.refuse(c, err)
	}
	if err := s.submit(ctx, c, c.Frames, 1); err != nil {
		s.line.Release(1)
		return s.refuse(c, err)
	}
	op, path := c.Op, c.Path
	if c.Wait(ctx) { // the reader recycles it
		s.calls.abandoned.Add(1)
		return s.calls.fail(&OpError{Op: op, Path: path, Err: ctx.Err(), outcome: Lost})
	}
	s.w.reg.Picked()
	if err := c.err; err != nil {
		s.recycle(c)
		return s.calls.fail(err)
	}
	return nil
}

// refuse ends a call that was not sent.
func (s *Session) refuse(c *call, err error) error {
	s.calls.unqueued.Add(1)
	failure := notSent(c.Op, c.Path, err)
	s.recycle(c)
	if err == errRemoved { // which is no failure
		return failure
	}
	return s.calls.fail(failure)
}

// doTraced is do between the hooks of the call.
func (s *Session) doTraced(ctx context.Context, c *call) error {
	c.traced = true
	t, what := s.conf.Trace, Call{c.Op, c.Path, 1}
	traced := t.start(ctx, s, what)
	err := s.do(ctx, c)
	if errors.Is(err, errRemoved) { // which is no error
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
	if n := len(c.Frames) - 4; n > s.conf.MaxRequest {
		return tooLarge(n, s.conf.MaxRequest)
	}
	if c.arming && len(c.at) > s.conf.MaxRequest-maxRestore { // rarely
		if err := s.restorable(c.at); err != nil {
			return err
		}
	}
	if c.removal != nil && s.line.Limited() { // what needs no request needs no slot
		s.line.Lock()
		err := s.removeLocked(c)
		s.line.Unlock()
		if err != nil {
			return err
		}
	}
	return ofOthers(s.line.Acquire(ctx))
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

// submit queues n frames of a call and sees to it that they are written. One
// lock covers taking the xids, joining the queue and joining the stream.
func (s *Session) submit(ctx context.Context, c *call, frames []byte, n int) error {
	s.line.Lock()
	err := ofOthers(s.line.Refusal())
	counted := false
	switch {
	case c.removal != nil:
		if err = s.removeLocked(c); err == nil {
			s.lock.Remove(c.at)
		}
	case c.arming && err == nil:
		counted, err = s.prepareArmLocked(ctx, c, frames)
	}
	if err != nil {
		s.line.Unlock()
		return err
	}
	s.line.SendUnlock(ctx, &c.Call, frames, n, counted)
	return nil
}

// eachArm calls f for every frame that arms a channel, until f returns false.
func (c *call) eachArm(frames []byte, f func(frame []byte, path string, kind WatchKind) bool) {
	if c.parts == nil {
		f(frames, c.at, c.arms)
		return
	}
	for i := c.First(); len(frames) > 0; i++ {
		n := 4 + wire.FrameLen(frames)
		if watch, kind, at := c.parts.watched(i); watch != nil && !f(frames[:n], at, kind) {
			return
		}
		frames = frames[n:]
	}
}

// prepareArmLocked waits while a path's AddWatch is unanswered, for only its
// answer decides what else may be sent. Beside a persistent watch a one-shot is
// not armed on the server, where before 3.9 it would replace that; it takes
// part in the local stream instead. An AddWatch does not wait for another.
func (s *Session) prepareArmLocked(ctx context.Context, c *call, frames []byte) (counted bool, err error) {
	if c.code == wire.OpAddWatch {
		c.adding = s.lock.Add(c.at, watches.Kind(c.arms), s.w.reg.Armed(c.at))
		wire.AppendInt32(frames[:len(frames)-4], modeOf(c.adding)) // the mode is the request's last field
		return false, nil
	}
	if err := s.awaitAddingLocked(ctx, c, frames); err != nil {
		return false, err
	}
	room, persistent := s.w.reg.Room()
	if !room {
		return false, ErrSlowConsumer
	}
	if !persistent {
		return false, nil
	}
	c.eachArm(frames, func(frame []byte, path string, kind WatchKind) bool {
		if !s.lock.Arm(path, watches.Kind(kind), s.w.reg.Armed(path)) {
			frame[len(frame)-1] = 0 // the watch flag is a request's last byte
		}
		return true
	})
	return true, nil
}

// awaitAddingLocked waits until no AddWatch of a path that a call arms is unanswered.
func (s *Session) awaitAddingLocked(ctx context.Context, c *call, frames []byte) error {
	for !s.lock.Idle() {
		var wait <-chan struct{}
		c.eachArm(frames, func(_ []byte, path string, _ WatchKind) bool {
			wait = s.lock.Adding(path)
			return wait == nil
		})
		if wait == nil {
			break
		}
		s.line.Unlock()
		var err error
		select {
		case <-wait:
		case <-s.line.Dying():
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.line.Lock()
		if err != nil {
			return err
		}
		if err := s.line.Refusal(); err != nil {
			return err
		}
	}
	return nil
}

// Left notes that a run of frames that armed channels was answered.
func (e *engine) Left(p *pipeline.Call, first int) {
	s, c := e.session(), p.Owner.(*call)
	s.line.Lock()
	defer s.line.Unlock()
	if c.parts == nil {
		s.lock.Armed(c.at)
		return
	}
	for i := first; i < c.Taken(); i++ {
		if watch, _, at := c.parts.watched(i); watch != nil {
			s.lock.Armed(at)
		}
	}
}

// errRemoved says that a RemoveWatch needs no request.
const errRemoved = reason("removed here")

// removeLocked disarms a channel at a path, here if that is enough. The
// server is asked to remove a persistent watch only where nothing else is
// armed, or about to be: it would go too.
func (s *Session) removeLocked(c *call) error {
	if err := s.line.Refused(); err != nil {
		return err
	}
	r := c.removal
	before := s.w.reg.Armed(c.at)
	shared := s.line.Ended() != nil || s.lock.Busy(c.at)
	found, asked := s.w.reg.Disarm(c.at, r.ch, shared)
	r.found = r.found || found
	if r.alias != "" {
		found, _ := s.w.reg.Disarm(r.alias, r.ch, true)
		r.found = r.found || found
	}
	switch {
	case !r.found:
		return ErrNoWatcher
	case !asked:
		if before.Has(watches.Recursive) {
			s.rewatchLocked(c.at)
		}
		return errRemoved
	}
	return nil
}

// watchAnswered notes that an AddWatch or a RemoveWatch is under way no more:
// first in the table, then for the calls that look at it.
func (s *Session) watchAnswered(c *call, code Code, zxid int64) {
	if c.kind == &kindRewatch {
		if code == 0 {
			if c.adding != nil {
				s.w.reg.Heard()
			} else {
				s.w.reg.ChildHears(c.at)
			}
		} else { // the next connection restores all
			s.line.Fail(connError(errors.WithMessagef(code, "%s of %s", c.Op, c.Path)), true)
		}
	}
	switch c.code {
	case wire.OpAddWatch:
		if code == 0 {
			s.told(c, zxid)
		}
		s.line.Lock()
		s.lock.Added(c.at)
		s.line.Unlock()
	case wire.OpRemoveWatches:
		if code == 0 || code == ErrNoWatcher {
			s.w.reg.Disarm(c.at, c.removal.ch, true)
		}
		s.line.Lock()
		s.lock.Removed(c.at)
		s.line.Unlock()
	}
}

// told does what the answer to an AddWatch makes necessary. The Watches note it until
// the server has answered: a connection that ends before must not lose what the deaf
// watches missed. Only the reader calls it.
func (s *Session) told(c *call, zxid int64) {
	armed := s.w.reg.Armed(c.at)
	repair := c.adding.After(armed, zxid)
	if repair.Gap {
		s.w.reg.GapAt(c.at, c.adding.Tells)
	}
	s.line.Lock()
	defer s.line.Unlock()
	if repair.Child {
		s.restoreChildLocked(c.at, zxid)
	}
	s.tellLocked(c.at, repair.Tell)
}

// rewatch tells the server of a path's persistent watch again, where a recursive
// one is gone that it was told last.
func (s *Session) rewatch(path string) {
	s.line.Lock()
	defer s.line.Unlock()
	s.rewatchLocked(path)
}

func (s *Session) rewatchLocked(path string) {
	s.tellLocked(path, s.lock.AfterRemoval(path, s.w.reg.Armed(path)))
}

// modeOf is what an AddWatch asks for.
func modeOf(a *interlock.Addition) int32 {
	if a.Tells == watches.Recursive {
		return wire.AddWatchPersistentRecursive
	}
	return wire.AddWatchPersistent
}

// tellLocked sends an AddWatch that nobody waits for; nil: nothing.
func (s *Session) tellLocked(path string, a *interlock.Addition) {
	if a == nil || s.line.Ended() != nil {
		return // the next connection restores all
	}
	c := s.newCall(&kindRewatch, "addwatch", path)
	c.frame(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: modeOf(a)})
	c.at, c.adding = path, s.lock.AddAgain(path, *a)
	s.w.reg.Tell(a.Since, a.Gap)
	c.Abandon()
	s.line.Post(&c.Call)
}

// restoreChildLocked sends a SetWatches for the child watch of a path.
func (s *Session) restoreChildLocked(path string, floor int64) {
	if s.line.Ended() != nil {
		return
	}
	c := s.newCall(&kindRewatch, "setwatches", path)
	c.childWatch(path, floor)
	c.at = path
	s.w.reg.ChildDeaf(path, floor)
	c.Abandon()
	s.line.Post(&c.Call)
}

// childWatch frames a SetWatches of one child watch.
func (c *call) childWatch(path string, floor int64) {
	c.frame(wire.OpSetWatches, wire.SetWatchesRequest{
		RelativeZxid: floor, Data: []string{}, Exist: []string{}, Child: []string{path}, // null would be refused
	})
}

// engine is a Session as the handler of its pipeline: what the reader does, in wire
// order. It waits for nothing.
type engine Session

func (e *engine) session() *Session { return (*Session)(e) }

// Chunk lets the order look anew whether what is queued has to wait.
func (e *engine) Chunk() { e.w.reg.Chunk() }

// Rest deals with the watches that closed channels have lost: the server is told
// again what is left, and the Logger hears of it.
func (e *engine) Rest() {
	if !e.w.reg.News() {
		return
	}
	s := e.session()
	if err := s.traceNews(); err != nil {
		s.line.Fail(e.Why(err), true)
	}
	for _, x := range s.w.reg.TakeLost() {
		s.closed.Add(1)
		if x.Kind == watches.Recursive {
			s.rewatch(x.At)
		}
		if log := s.conf.Logger; log != nil {
			log.Warn("zk: a closed channel lost its watches", "addr", s.target, "id", sessionID(s.id), "path", x.Path, "kind", WatchKind(x.Kind).String())
		}
	}
}

// ends returns why an answer ends the connection, or nil.
func (s *Session) ends(k *kind, code Code) error {
	if code.ends() || code == ErrUnimplemented && !k.mayStayOpen {
		return s.stacked(connError(code))
	}
	return nil
}

// Answer takes the reply to a call. Its place on the wire is where the zxid advances,
// the watch is armed and the call is answered. It is read also when nobody waits: one
// that makes no sense ends the connection.
func (e *engine) Answer(p *pipeline.Call, h wire.ReplyHeader, d *wire.Decoder) (won bool, end, err error) {
	s, c, code := e.session(), p.Owner.(*call), Code(h.Err)
	if code == 0 && c.kind.decode != nil {
		c.kind.decode(c, d)
		if err := d.Err(); err != nil {
			return false, nil, badReply(c.Op, err)
		}
	}
	if h.Zxid > 0 {
		s.w.reg.Advance(h.Zxid)
	}
	if code != 0 {
		if end = s.ends(c.kind, code); end != nil {
			s.line.Fail(end, true)
		}
	}
	if won = c.Call.Answer(); won {
		s.settle(c, code, end != nil)
	}
	if c.restore != nil {
		err := s.restoredBy(c, code, won, h.Zxid)
		if err == nil {
			err = s.traceNews() // ahead of Begin
		}
		if err != nil { // the Dial must not wait for its answer
			end = e.Why(err)
			s.line.Fail(end, true)
		}
	}
	if won && c.kind.last { // nothing more comes of this connection
		end = ErrClosed
		if code != 0 {
			end = connError(code)
		} else {
			s.w.reg.End()
		}
	}
	if c.at != "" {
		s.watchAnswered(c, code, h.Zxid)
	}
	return won, end, nil
}

// settle arms the watch of an answered call, or makes its error.
func (s *Session) settle(c *call, code Code, ended bool) {
	if code == 0 || c.kind.excuses(c, code) {
		if c.watch != nil {
			s.armCall(c)
		}
		return
	}
	c.err = &OpError{Op: c.Op, Path: c.Path, Err: code, outcome: Answered, ended: ended || c.kind.last}
}

// restoredBy takes the answer to a call that restores watches.
func (s *Session) restoredBy(c *call, code Code, won bool, zxid int64) error {
	r := c.restore
	switch {
	case r.kind == 0 && code != 0:
		s.refusedWatches = true // then the floor stays, whatever the others are answered
		if code == ErrUnimplemented {
			s.w.reg.ReadNext()
		}
	case !won:
	case r.deaf != "":
		s.w.reg.ChildHears(r.deaf)
	case r.kind == 0:
		s.w.reg.Restored(zxid, r.rearms, r.last && !s.refusedWatches)
	case r.kind.OneShot():
		if r.kind == watches.Child {
			s.w.reg.ChildHears(c.Path)
		}
		if typ := r.kind.Missed(code == 0, code == ErrNoNode, c.stat, r.floor); typ != 0 {
			return s.notify(EventType(typ), []byte(c.Path), 0)
		}
	case code == 0:
		s.w.reg.Restored(zxid, true, false)
	}
	return nil
}

// Reply reads the reply to an operation of a Batch.
func (e *engine) Reply(p *pipeline.Call, i int, h wire.ReplyHeader, d *wire.Decoder) (ended, err error) {
	s, c, code := e.session(), p.Owner.(*call), Code(h.Err)
	c.parts.take(i, code, d)
	if code == 0 {
		if err := d.Err(); err != nil {
			return nil, badReply(c.Op, err)
		}
	} else if ended = s.ends(c.parts.kind(i), code); ended != nil {
		op, path := c.parts.describe(i)
		c.parts.fail(i, &OpError{Op: op, Path: path, Err: code, outcome: Answered, ended: true})
	}
	if h.Zxid > 0 {
		s.w.reg.Advance(h.Zxid)
	}
	return ended, nil
}

// armCall arms the watch of a call that was answered as it must be.
func (s *Session) armCall(c *call) {
	kind := c.arms
	if c.missing {
		kind = ExistsWatch
	}
	s.w.reg.Arm(c.at, watches.Kind(kind), c.raw, c.watch)
}

// SettleMany counts operations of a Batch as answered, and arms their watches.
func (e *engine) SettleMany(p *pipeline.Call, from, to int) {
	s, c := e.session(), p.Owner.(*call)
	if !c.arming {
		c.Advance(from, to)
		return
	}
	// Whoever gives the Batch up does it under the same lock: what it finds answered
	// is armed.
	s.w.reg.Lock()
	defer s.w.reg.Unlock()
	if c.Advance(from, to) {
		for i := from; i < to; i++ {
			if watch, kind, at := c.parts.arms(i); watch != nil {
				s.w.reg.ArmLocked(at, watches.Kind(kind), false, watch)
			}
		}
	}
}

// Auth takes the answer to an auth packet.
func (e *engine) Auth(p *pipeline.Call, number int32) (won bool, end error) {
	s, c, code := e.session(), p.Owner.(*call), Code(number)
	if code != 0 {
		end = connError(code)
		s.line.Fail(s.stacked(end), true)
	}
	if !c.Answer() {
		return false, end
	}
	if code != 0 {
		c.err = &OpError{Op: c.Op, Err: code, outcome: Answered, ended: true}
	} else if c.auth != nil {
		s.auth.add(*c.auth)
	}
	return true, end
}

// Event takes a notification. One that nobody here watches is legal: after a
// cancelled call, a closed channel or a second Deleted.
func (e *engine) Event(h wire.ReplyHeader, d *wire.Decoder) error {
	typ := d.Int32()
	d.Int32() // state
	path := d.Buffer()
	if err := d.Err(); err != nil {
		return &detailed{kind: ErrProtocol, detail: "event", cause: err}
	}
	if typ < wire.EventNodeCreated || typ > wire.EventNodeChildrenChanged || len(path) == 0 {
		e.ignored.Add(1)
		return nil
	}
	return e.session().notify(EventType(typ), path, h.Zxid)
}

// notify hands an event to the watches.
func (s *Session) notify(typ EventType, path []byte, zxid int64) error {
	var got *registry.Notified[Event] // for the hooks
	if t := s.conf.Trace; t != nil && t.Event != nil {
		got = new(registry.Notified[Event])
	}
	switch n, err := s.w.reg.Notify(typ, path, zxid, got); {
	case err != nil:
		return &detailed{kind: ErrSlowConsumer, detail: err.Error()}
	case n == 0:
		s.ignored.Add(1)
		return nil
	}
	s.events.Add(1)
	if got == nil {
		return nil
	}
	return s.traceEvent(got)
}

// traceEvent shows the hooks an event, and the Gaps ahead of it.
func (s *Session) traceEvent(got *registry.Notified[Event]) (err error) {
	if err := s.traceNews(); err != nil {
		return err
	}
	defer rescue.As("Trace.Event", &err)
	s.conf.Trace.Event(s, got.Event, got.Queued)
	return nil
}

// Pong shows the hooks that a ping was answered.
func (e *engine) Pong(took time.Duration) (err error) {
	if t := e.conf.Trace; t != nil && t.Pong != nil {
		defer rescue.As("Trace.Pong", &err)
		t.Pong(e.session(), took)
	}
	return nil
}

// traceNews shows the hooks the Gaps that are new, if there are any.
func (s *Session) traceNews() error {
	if t := s.conf.Trace; t == nil || t.Event == nil || !s.w.reg.News() {
		return nil
	}
	return s.traceGaps()
}

// traceGaps shows the hooks the Gaps that were queued since the last call.
func (s *Session) traceGaps() (err error) {
	defer rescue.As("Trace.Event", &err)
	gaps, queued := s.w.reg.TakeGaps()
	for _, ev := range gaps {
		s.conf.Trace.Event(s, ev, queued)
	}
	return nil
}

// Failed makes the error of a call, or of an operation of a Batch, that was not
// answered. Of a reply that was too large only the call is told whose reply it was: the
// others' may not be.
func (e *engine) Failed(p *pipeline.Call, i int, lost bool, end error) {
	c := p.Owner.(*call)
	err := &OpError{Op: c.Op, Path: c.Path, Err: end, outcome: NotSent}
	if lost {
		err.outcome = Lost
	}
	if n := c.Oversized(); n > 0 {
		err.Err, err.ended = e.tooLarge(n), true
	} else {
		err.Err = ofOthers(end)
	}
	if c.parts == nil {
		c.err = err
		return
	}
	err.Op, err.Path = c.parts.describe(i)
	c.parts.fail(i, err)
}

func (e *engine) tooLarge(n int) *SizeError {
	return &SizeError{Size: n, Limit: e.conf.MaxReply, Reply: true}
}

// Hand wakes a caller, behind the events before its answer.
func (e *engine) Hand(p *pipeline.Call) { e.w.reg.Answer(p.Wake()) }

// Drop recycles a call that was given up.
func (e *engine) Drop(p *pipeline.Call) { e.session().recycle(p.Owner.(*call)) }

// Why makes the error that all calls see of what ended the connection.
func (e *engine) Why(err error) error {
	var v pipeline.Violation
	var o pipeline.Oversize
	switch {
	case errors.As(err, &o):
		err = &detailed{kind: ErrProtocol, cause: e.tooLarge(int(o))}
	case errors.As(err, &v):
		err = protocolError("%s", string(v))
	case errors.Is(err, ErrConnection), errors.Is(err, ErrClosed):
	default:
		err = connError(errors.WithMessage(err, e.target))
	}
	return e.session().stacked(err)
}

// stacked adds a stack where a connection is lost.
func (s *Session) stacked(err error) error {
	if errors.Is(err, ErrConnection) {
		return errors.WithStack(err)
	}
	return err
}

// Ending forgets what the server was asked: who waits for an AddWatch sees Dying.
func (e *engine) Ending() { e.lock = interlock.Interlock{} }

// Finish lets the events stand still, and calls the hooks.
func (e *engine) Finish(end error) error {
	e.w.reg.Stop()
	e.Rest()
	e.lastZxid.Store(e.w.reg.Zxid())
	return e.session().ended(end)
}

// Idle gives memory back.
func (e *engine) Idle() { e.w.reg.Trim() }

// slowChannel is how long an event waits for its channel before the Logger hears of it.
const slowChannel = 10 * time.Second

// Tick warns, once each, of an event that waits long for its channel, which holds up all
// later ones, and of a request that waits long for its reply.
func (e *engine) Tick(now time.Time, longest pipeline.Waiting) {
	log := e.conf.Logger
	if log == nil {
		return
	}
	if h := e.w.reg.Stuck(now, slowChannel); h != nil {
		log.Warn("zk: an event waits for its channel", "addr", e.target, "id", sessionID(e.id), "path", h.Path, "cap", h.Cap,
			"took", now.Sub(h.Since), "queued", e.w.Undelivered())
	}
	if took := now.Sub(longest.Since); longest.N > 0 && took > e.timeout && e.slow.Swap(longest.Place) != longest.Place {
		log.Warn("zk: a call waits for its reply", "addr", e.target, "id", sessionID(e.id), "op", longest.Op, "path", longest.Path, "took", took)
	}
}

// String names the session and the server. It prints no secrets.
func (s *Session) String() string {
	return fmt.Sprintf("zk.Session{%s %s}", sessionID(s.ID()), s.Addr())
}

// Format prints what String does, whatever the verb.
func (s *Session) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// Done is closed when this Session can do no more and its events stand still.
func (s *Session) Done() <-chan struct{} {
	if !s.usable() {
		return closedChan
	}
	return s.line.Done()
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Err says why the Session ended; nil before Done. It matches ErrConnection
// when the connection was lost, ErrMoved after a Dial with its State, ErrClosed
// after Close or Detach.
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

// Config returns what to redial with: the configuration as dialed, credentials
// added by AddAuth, and the State. It is a snapshot, but for the Watches, which
// the Session goes on using. It is complete and final once Done is closed.
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

// ID returns the session id that the server knows.
func (s *Session) ID() int64 {
	if !s.usable() {
		return 0
	}
	return s.id
}

// Zxid returns the newest transaction that a reply reported.
func (s *Session) Zxid() int64 {
	if !s.usable() {
		return 0
	}
	select {
	case <-s.line.Done():
		return s.lastZxid.Load()
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

// Watches returns what Config().Watches does, without a copy of the rest.
func (s *Session) Watches() *Watches {
	if !s.usable() {
		return nil
	}
	return s.w
}

// Timeout returns the session timeout as granted by the server.
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

// ReadOnly reports whether the server said that it is cut off from its quorum.
func (s *Session) ReadOnly() bool { return s.usable() && s.readOnly }

// ExpiresAt returns a time before which no server expires the session: the send
// time of the last answered request plus three quarters of the granted timeout,
// since a follower may relay a sign of life a quarter late. It has a monotonic
// reading. That clock stands still while the machine sleeps (on Linux and others), so
// for as long as it slept the time returned is too late.
func (s *Session) ExpiresAt() time.Time {
	if !s.usable() {
		return time.Time{}
	}
	return s.line.Heard().Add(s.timeout * 3 / 4)
}

// Stats are counts since the Session was dialed, and the present state of its queues.
type Stats struct {
	// Calls are those of the application that have begun, as Trace has them: a Batch and a
	// Multi are one. Failed are those that have returned an error, and Abandoned those of
	// them that were sent and given up by their context.
	Calls, Failed, Abandoned int64

	Requests      int64 // frames queued for the server, except pings
	Replies       int64 // to them
	Events        int64 // notifications that a channel was armed for
	Ignored       int64 // notifications that none was armed for
	Closed        int64 // watches that were lost because their channels were closed
	Pings         int64
	BytesSent     int64
	BytesReceived int64
	Pending       int // requests that wait for their reply now
	Armed         int // watches armed now
	Queued        int // events that wait for their channel now
	// QueuedFor is how long the first of them has found its channel full, since all
	// events ahead of it left.
	QueuedFor time.Duration
}

// Stats returns a snapshot of the counters.
func (s *Session) Stats() Stats {
	if !s.usable() {
		return Stats{}
	}
	failed, abandoned := s.calls.failed.Load(), s.calls.abandoned.Load() // first, for each has begun
	n := s.line.Counts()
	return Stats{
		Calls: n.Calls + s.calls.unqueued.Load(), Failed: failed, Abandoned: abandoned,
		Requests: n.Frames, Replies: n.Replies, Events: s.events.Load(), Ignored: s.ignored.Load(), Closed: s.closed.Load(), Pings: n.Pings,
		BytesSent: n.Sent, BytesReceived: n.Received, Pending: n.Pending, Armed: s.w.Len(), Queued: s.w.Undelivered(),
		QueuedFor: s.w.reg.QueuedFor(time.Now()),
	}
}

// PendingCall is a request that waits for its reply.
type PendingCall struct {
	Call
	// Since is when it was written. Where it is one of many that wait, it may be a
	// little earlier. It has a monotonic reading.
	Since time.Time
}

// Pending returns the requests that wait for their replies, oldest first; the client's
// own are among them, and a Batch is one, or a few with MaxInFlight. Credentials come
// last. A call that was given up by its context stays until its reply comes.
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
	mu          sync.Mutex // held for a moment only
	begun, over bool
	end         error
}

// ended shows the Logger and the hooks that the Session is over. It returns why, with
// what the hook has panicked with.
func (s *Session) ended(end error) error {
	if log := s.conf.Logger; log != nil {
		log.Info("zk: session left", "addr", s.target, "id", sessionID(s.id), "why", logged{end},
			"zxid", fmt.Sprintf("0x%x", s.lastZxid.Load()), "watches", s.w.Len(), "queued", s.w.Undelivered())
	}
	s.life.mu.Lock()
	s.life.over, s.life.end = true, end
	begun := s.life.begun
	s.life.mu.Unlock()
	if begun { // else whoever dials shows it, after Begin, if the Session is used at all
		if err := s.rescuedEnd(end); err != nil {
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

// sendAuth sends an auth packet; its answer comes with the call. Once accepted
// join becomes part of the Config.
func (s *Session) sendAuth(a Auth, join *Auth) (*call, error) {
	c := s.newCall(&kindAuth, "addauth", "")
	c.auth = join
	c.Frames = appendAuth(c.Frames, a)
	if n := len(c.Frames) - 4; n > s.conf.MaxRequest {
		s.recycle(c)
		return nil, tooLarge(n, s.conf.MaxRequest)
	}
	s.line.Lock()
	defer s.line.Unlock()
	if err := s.line.Refusal(); err != nil {
		s.recycle(c)
		return nil, err
	}
	s.line.PostAuth(&c.Call)
	return c, nil
}
