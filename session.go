package zk

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/internal/zpath"
	"github.com/seed-9f8420c6/zk/wire"
)

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

	calls    sync.Pool // of *call
	lock     interlock
	auth     credentials
	follow   succession
	goodbye  farewell
	events   atomic.Int64
	ignored  atomic.Int64
	lastZxid atomic.Int64 // at the end
	// refusedWatches: a SetWatches was answered with an error. Only the reader
	// touches it.
	refusedWatches bool
	// plainCreates: the server cannot read a create2 in a Multi.
	plainCreates atomic.Bool
}

// The locks of the client, in the order in which one may be held while another is
// taken: succession.mu, farewell.mu, credentials.mu; the pipeline's; Watches.mu. None
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

// farewell is the first Close of a Session, whose result all others share.
type farewell struct {
	mu    sync.Mutex
	begun chan struct{} // closed when err is there; nil: nobody has called Close
	err   error
}

// interlock says what a server is asked about the watches of a path, so that a call
// that depends on the answer can wait for it. The lock of the pipeline guards it.
type interlock struct {
	// adding has the paths whose AddWatch is unanswered.
	adding map[string]*adding
	// removing counts, by path, the unanswered requests to watch it no more.
	removing map[string]int
	// arming counts, by path, the unanswered requests that arm a channel, where there
	// are persistent watches.
	arming map[string]int
}

// adding is the AddWatches of one path that are unanswered.
type adding struct {
	n    int
	done chan struct{} // closed when n is zero
}

func (l *interlock) add(path string) {
	if l.adding == nil {
		l.adding = make(map[string]*adding)
	}
	a := l.adding[path]
	if a == nil {
		a = &adding{done: make(chan struct{})}
		l.adding[path] = a
	}
	a.n++
}

func (l *interlock) added(path string) {
	if a := l.adding[path]; a != nil {
		if a.n--; a.n == 0 {
			close(a.done)
			delete(l.adding, path)
		}
	}
}

// bump changes a counter of a path, which is forgotten when it is zero.
func bump(m *map[string]int, path string, by int) {
	if *m == nil {
		*m = make(map[string]int)
	}
	if (*m)[path] += by; (*m)[path] == 0 {
		delete(*m, path)
	}
}

// call is a request under way: what was asked, and what came of it.
type call struct {
	pipeline.Call
	kind *kind
	request
	result
}

// request is what a call asks for.
type request struct {
	op     string
	path   string // as given
	code   wire.Op
	watch  chan<- Event // to arm on success
	arms   WatchKind    // in this kind
	at     string       // server path of the watch
	arming bool         // it arms a channel, or one of its operations does
	raw    bool         // its events have the server's path

	// What only few calls have, apart, so that the others stay small.
	batch   *batch
	multi   *multi
	adding  *addition
	removal *removal
	restore *restoral
	auth    *Auth // AddAuth: joins the credentials once accepted
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

// restoral is a SetWatches of a Dial.
type restoral struct {
	last   bool // there is none behind it
	rearms bool // it has persistent watches
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
	c, ok := s.calls.Get().(*call)
	if !ok {
		c = new(call)
		c.Init(c)
	}
	c.kind, c.op, c.path = k, op, path
	c.Own = k.own
	return c
}

// recycle gives a call back that nobody else knows any more.
func (s *Session) recycle(c *call) {
	c.Reset()
	c.request, c.result = request{}, result{}
	s.calls.Put(c)
}

// begin appends the head of a frame and returns its place for wire.EndFrame.
func (c *call) begin(op wire.Op) int {
	at := len(c.Frames)
	c.code = op
	c.Frames = append(c.Frames, 0, 0, 0, 0, 0, 0, 0, 0)
	c.Frames = wire.AppendInt32(c.Frames, int32(op))
	return at
}

// frame frames a single request.
func (c *call) frame(op wire.Op, body interface{ Append([]byte) []byte }) {
	at := c.begin(op)
	if body != nil {
		c.Frames = body.Append(c.Frames)
	}
	wire.EndFrame(c.Frames, at)
}

func newSession(conf Config, w *Watches, conn net.Conn) *Session {
	s := &Session{conf: conf, w: w}
	s.auth.list = conf.Auth
	s.follow.done = make(chan struct{})
	s.line = pipeline.New(conn, (*engine)(s), pipeline.Options{MaxReply: conf.MaxReply, MaxInFlight: conf.MaxInFlight})
	return s
}

// run begins the life of a session whose ConnectResponse is accepted. Without pings
// none are sent before the pipeline's Pings.
func (s *Session) run(pings bool) {
	s.w.start()
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
	if err := s.admit(ctx, c); err != nil {
		err = notSent(c.op, c.path, err)
		s.recycle(c)
		return err
	}
	if err := s.submit(ctx, c, c.Frames, 1); err != nil {
		s.line.Release(1)
		err = notSent(c.op, c.path, err)
		s.recycle(c)
		return err
	}
	op, path := c.op, c.path
	if c.Wait(ctx) { // the reader recycles it
		return &OpError{Op: op, Path: path, Err: ctx.Err(), outcome: Lost}
	}
	s.w.picked()
	if err := c.err; err != nil {
		s.recycle(c)
		return err
	}
	return nil
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

func tooLarge(n, limit int) error { return &SizeError{Size: n, Limit: limit} }

// submit queues n frames of a call and sees to it that they are written. One
// lock covers taking the xids, joining the queue and joining the stream.
func (s *Session) submit(ctx context.Context, c *call, frames []byte, n int) error {
	s.line.Lock()
	err := ofOthers(s.line.Refusal())
	counted := false
	switch {
	case c.removal != nil:
		if err = s.removeLocked(c); err == nil {
			bump(&s.lock.removing, c.at, 1)
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
	b := c.batch
	if b == nil {
		f(frames, c.at, c.arms)
		return
	}
	for i := c.First(); len(frames) > 0; i++ {
		n := 4 + wire.FrameLen(frames)
		if watch, kind := b.ops[i].watched(); watch != nil {
			_, path := b.ops[i].describe()
			if !f(frames[:n], zpath.Join(b.chroot, path), kind) {
				return
			}
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
		s.lock.add(c.at)
		c.adding = &addition{tells: c.arms}
		// What the server has been told already need not change its mode.
		if kinds := s.w.armed(c.at); kinds.Has(watches.Kind(c.arms)) && kinds.Has(watches.Recursive) {
			c.adding.tells = RecursiveWatch
			wire.AppendInt32(frames[:len(frames)-4], int32(WatchRecursive)) // the mode is the request's last field
		}
		return false, nil
	}
	if err := s.awaitAddingLocked(ctx, c, frames); err != nil {
		return false, err
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.crowdedLocked() {
		return false, ErrSlowConsumer
	}
	if s.w.table.Persistent() == 0 {
		return false, nil
	}
	c.eachArm(frames, func(frame []byte, path string, kind WatchKind) bool {
		bump(&s.lock.arming, path, 1)
		if s.lock.removing[path] == 0 && s.w.table.Kinds(path).Covers(watches.Kind(kind)) {
			frame[len(frame)-1] = 0 // the watch flag is a request's last byte
		}
		return true
	})
	return true, nil
}

// awaitAddingLocked waits until no AddWatch of a path that a call arms is unanswered.
func (s *Session) awaitAddingLocked(ctx context.Context, c *call, frames []byte) error {
	for len(s.lock.adding) > 0 {
		var wait *adding
		c.eachArm(frames, func(_ []byte, path string, _ WatchKind) bool {
			wait = s.lock.adding[path]
			return wait == nil
		})
		if wait == nil {
			break
		}
		s.line.Unlock()
		var err error
		select {
		case <-wait.done:
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
	b := c.batch
	if b == nil {
		bump(&s.lock.arming, c.at, -1)
		return
	}
	for i := first; i < c.Taken(); i++ {
		if watch, _ := b.ops[i].watched(); watch != nil {
			bump(&s.lock.arming, s.opPath(b.ops[i]), -1)
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
	before := s.w.armed(c.at)
	shared := s.line.Ended() != nil || s.lock.adding[c.at] != nil || s.lock.removing[c.at] > 0 || s.lock.arming[c.at] > 0
	found, asked := s.w.disarm(c.at, r.ch, shared)
	r.found = r.found || found
	if r.alias != "" {
		found, _ := s.w.disarm(r.alias, r.ch, true)
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
			s.w.release()
		} else { // the next connection restores all
			s.line.Fail(connError(errors.WithMessagef(code, "%s of %s", c.op, c.path)), true)
		}
	}
	switch c.code {
	case wire.OpAddWatch:
		if code == 0 {
			s.told(c, zxid)
		}
		s.line.Lock()
		s.lock.added(c.at)
		s.line.Unlock()
	case wire.OpRemoveWatches:
		if code == 0 || code == ErrNoWatcher {
			s.w.disarm(c.at, c.removal.ch, true)
		}
		s.line.Lock()
		bump(&s.lock.removing, c.at, -1)
		s.line.Unlock()
	}
}

// Servers before 3.9 keep one mode per path, the one that they were told last. So
// where a path has several kinds of watches, an AddWatch can make the others deaf:
//
//   - told persistent beside a recursive watch: that is told again, and then gets a
//     Gap, if anything happened in between;
//   - told recursive, and there is no recursive watch, since the call was given up,
//     or its channel was removed or is closed: a persistent watch is told again, and
//     gets a Gap;
//   - told recursive beside a child watch, which never gets its event then: it is
//     restored by a SetWatches, which catches up with all since.
//
// So the recursive mode is the last that the server was told just where there is a
// recursive watch. Until the server has answered, the floor stands still (Watches.hold):
// a connection that ends before must not lose what the deaf watches missed.

// addition is an AddWatch, of the application or of the client's own.
type addition struct {
	tells WatchKind // what it makes the server's mode
	again bool      // it tells the server again of watches that are armed
	gap   bool      // these were deaf
	since int64     // else the zxid since which they may have been; of an AddWatch before
}

// told does what the answer to an AddWatch makes necessary. Only the reader calls it.
func (s *Session) told(c *call, zxid int64) {
	a := c.adding
	if a.again && (a.gap || zxid > a.since) {
		s.w.gapAt(c.at, a.tells)
	}
	kinds := s.w.armed(c.at)
	recursive := a.tells == RecursiveWatch
	s.line.Lock()
	defer s.line.Unlock()
	if recursive && kinds.Has(watches.Child) {
		s.restoreChildLocked(c.at, zxid)
	}
	switch {
	case !recursive && kinds.Has(watches.Recursive):
		s.tellLocked(c.at, addition{tells: RecursiveWatch, since: zxid})
	case recursive && !kinds.Has(watches.Recursive) && kinds.Has(watches.Persistent):
		s.tellLocked(c.at, addition{tells: PersistentWatch, gap: true})
	}
}

// rewatch tells the server of a path's persistent watch again, where a recursive
// one is gone that it was told last.
func (s *Session) rewatch(path string) {
	s.line.Lock()
	defer s.line.Unlock()
	s.rewatchLocked(path)
}

func (s *Session) rewatchLocked(path string) {
	kinds := s.w.armed(path)
	// Where an AddWatch is unanswered, its answer does it.
	if kinds.Has(watches.Persistent) && !kinds.Has(watches.Recursive) && s.lock.adding[path] == nil {
		s.tellLocked(path, addition{tells: PersistentWatch, gap: true})
	}
}

// tellLocked sends an AddWatch that nobody waits for.
func (s *Session) tellLocked(path string, a addition) {
	if s.line.Ended() != nil {
		return // the next connection restores all
	}
	mode := WatchPersistent
	if a.tells == RecursiveWatch {
		mode = WatchRecursive
	}
	a.again = true
	c := s.newCall(&kindRewatch, "addwatch", path)
	c.frame(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: int32(mode)})
	c.at, c.adding = path, &a
	s.lock.add(path)
	s.w.hold(s.w.zxid.Load(), a.gap)
	c.Abandon()
	s.line.Post(&c.Call)
}

// restoreChildLocked sends a SetWatches for the child watch of a path.
func (s *Session) restoreChildLocked(path string, floor int64) {
	if s.line.Ended() != nil {
		return
	}
	c := s.newCall(&kindRewatch, "setwatches", path)
	c.frame(wire.OpSetWatches, wire.SetWatchesRequest{
		RelativeZxid: floor, Data: []string{}, Exist: []string{}, Child: []string{path}, // null would be refused
	})
	c.at = path
	s.w.hold(floor, false)
	c.Abandon()
	s.line.Post(&c.Call)
}

// engine is a Session as the handler of its pipeline: what the reader does, in wire
// order. It waits for nothing.
type engine Session

func (e *engine) session() *Session { return (*Session)(e) }

// Chunk lets the order look anew whether what is queued has to wait.
func (e *engine) Chunk() { e.w.queue.Chunk() }

// Rest deals with the watches that closed channels have lost: the server is told
// again what is left, and the Logger hears of it.
func (e *engine) Rest() {
	s := e.session()
	for _, x := range s.w.takeLost() {
		if x.Kind == RecursiveWatch {
			s.rewatch(x.at)
		}
		if log := s.conf.Logger; log != nil {
			log.Warn("zk: a closed channel lost its watches", "path", x.Path, "kind", x.Kind.String())
		}
	}
}

// ends returns why an answer ends the connection, or nil.
func (s *Session) ends(k *kind, code Code) error {
	if code != 0 && (code.ends() || code == ErrUnimplemented && !k.mayStayOpen) {
		return s.stacked(connError(code))
	}
	return nil
}

func badReply(op string, err error) error {
	return &detailed{kind: ErrProtocol, detail: "reply to " + op, cause: err}
}

// Answer takes the reply to a call. Its place on the wire is where the zxid advances,
// the watch is armed and the call is answered. It is read also when nobody waits: one
// that makes no sense ends the connection.
func (e *engine) Answer(p *pipeline.Call, h wire.ReplyHeader, d *wire.Decoder) (won bool, end, err error) {
	s, c, code := e.session(), p.Owner.(*call), Code(h.Err)
	if code == 0 && c.kind.decode != nil {
		c.kind.decode(c, d)
		if err := d.Err(); err != nil {
			return false, nil, badReply(c.op, err)
		}
	}
	if h.Zxid > 0 {
		s.w.advance(h.Zxid)
	}
	if end = s.ends(c.kind, code); end != nil {
		s.line.Fail(end, true)
	}
	if won = c.Call.Answer(); won {
		s.settle(c, code, end != nil)
	}
	if c.restore != nil {
		s.restored(c, code, won, h.Zxid)
	}
	if won && c.kind.last { // nothing more comes of this connection
		end = ErrClosed
		if code != 0 {
			end = connError(code)
		} else {
			s.w.end()
		}
	}
	s.watchAnswered(c, code, h.Zxid)
	return won, end, nil
}

// settle arms the watch of an answered call, or makes its error.
func (s *Session) settle(c *call, code Code, ended bool) {
	if code == 0 || c.kind.excuses(c, code) {
		s.armCall(c)
		return
	}
	c.err = &OpError{Op: c.op, Path: c.path, Err: code, outcome: Answered, ended: ended || c.kind.last}
}

// restored takes the answer to a SetWatches of a Dial.
func (s *Session) restored(c *call, code Code, won bool, zxid int64) {
	switch {
	case code != 0:
		s.refusedWatches = true // then the floor stays, whatever the others are answered
	case won:
		s.w.restored(zxid, c.restore.rearms, c.restore.last && !s.refusedWatches)
	}
}

// Reply reads the reply to an operation of a Batch.
func (e *engine) Reply(p *pipeline.Call, i int, h wire.ReplyHeader, d *wire.Decoder) (ended, err error) {
	s, c, code := e.session(), p.Owner.(*call), Code(h.Err)
	b := c.batch
	if code == 0 {
		b.ops[i].decode(b, i, d)
		if err := d.Err(); err != nil {
			return nil, badReply(c.op, err)
		}
	} else {
		ended = s.ends(b.ops[i].kind(), code)
	}
	b.result(i, code, ended != nil)
	if h.Zxid > 0 {
		s.w.advance(h.Zxid)
	}
	return ended, nil
}

// armCall arms the watch of a call that was answered as it must be.
func (s *Session) armCall(c *call) {
	if c.watch == nil {
		return
	}
	kind := c.arms
	if c.missing {
		kind = ExistsWatch
	}
	s.w.arm(c.at, kind, c.raw, c.watch)
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
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if c.Advance(from, to) {
		for i := from; i < to; i++ {
			s.batchArmLocked(c.batch, i)
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
		c.err = &OpError{Op: c.op, Err: code, outcome: Answered, ended: true}
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
	n := 0
	if typ >= wire.EventNodeCreated && typ <= wire.EventNodeChildrenChanged && len(path) > 0 {
		var err error
		if n, err = e.w.notify(EventType(typ), path, h.Zxid); err != nil {
			return err
		}
	}
	if n == 0 {
		e.ignored.Add(1)
	} else {
		e.events.Add(1)
	}
	return nil
}

// Failed makes the error of a call, or of an operation of a Batch, that was not
// answered. Of a reply that was too large only the call is told whose reply it was: the
// others' may not be.
func (e *engine) Failed(p *pipeline.Call, i int, lost bool, end error) {
	c := p.Owner.(*call)
	err := &OpError{Op: c.op, Path: c.path, Err: end, outcome: NotSent}
	if lost {
		err.outcome = Lost
	}
	if n := c.Oversized(); n > 0 {
		err.Err, err.ended = e.tooLarge(n), true
	} else {
		err.Err = ofOthers(end)
	}
	if c.batch == nil {
		c.err = err
		return
	}
	err.Op, err.Path = c.batch.ops[i].describe()
	c.batch.res[i] = Result{Err: err}
}

// ofOthers is the end of a connection as a call sees it whose own reply was not too
// large.
func ofOthers(end error) error {
	if end == nil {
		return nil
	}
	var size *SizeError
	if errors.As(end, &size) {
		return protocolError("another call's reply had %d bytes", size.Size)
	}
	return end
}

func (e *engine) tooLarge(n int) *SizeError {
	return &SizeError{Size: n, Limit: e.conf.MaxReply, Reply: true}
}

// Hand wakes a caller, behind the events before its answer.
func (e *engine) Hand(p *pipeline.Call) { e.w.queue.Answer(&e.w.mu, p.Wake()) }

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
func (e *engine) Ending() { e.lock = interlock{} }

// Finish lets the events stand still, and calls the hooks.
func (e *engine) Finish(end error) {
	e.w.stop()
	e.Rest()
	e.lastZxid.Store(e.w.zxid.Load())
	e.session().traceEnd(end)
}

// Idle gives memory back.
func (e *engine) Idle() { e.w.trim() }

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
		return s.w.zxid.Load()
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
	Requests      int64 // frames queued for the server, except pings
	Replies       int64 // to them
	Events        int64 // notifications that a channel was armed for
	Ignored       int64 // notifications that none was armed for
	Pings         int64
	BytesSent     int64
	BytesReceived int64
	Pending       int // requests that wait for their reply now
	Armed         int // watches armed now
	Queued        int // events that wait for their channel now
}

// Stats returns a snapshot of the counters.
func (s *Session) Stats() Stats {
	if !s.usable() {
		return Stats{}
	}
	n := s.line.Counts()
	return Stats{
		Requests: n.Frames, Replies: n.Replies, Events: s.events.Load(), Ignored: s.ignored.Load(), Pings: n.Pings,
		BytesSent: n.Sent, BytesReceived: n.Received, Pending: n.Pending, Armed: s.w.Len(), Queued: s.w.Undelivered(),
	}
}

// Detach leaves the connection and keeps the session on the server, for a
// redial or another process. Calls in flight end as lost with ErrClosed, and
// nothing more is written. The Config is final.
func (s *Session) Detach() Config {
	if !s.usable() {
		return Config{}
	}
	s.line.Fail(ErrClosed, true)
	<-s.line.Done()
	return s.Config()
}

// Close ends the session on the server: its ephemerals are gone when it returns
// nil. It waits for the requests before it, at most two thirds of the session
// timeout. Undelivered events stay in the State. On a connection that is lost
// already, or whose answer does not come, the error reports when the session
// expires by itself; after a redial it is ErrMoved and nothing is sent. Another
// Close waits for the first and returns the same.
func (s *Session) Close() error {
	if !s.usable() {
		return notSent("close", "", ErrClosed)
	}
	g := &s.goodbye
	g.mu.Lock()
	begun := g.begun
	if begun != nil {
		g.mu.Unlock()
		<-begun
		return g.err
	}
	g.begun = make(chan struct{})
	g.mu.Unlock()
	g.err = s.closeSession()
	close(g.begun)
	return g.err
}

// closing reports whether Close was called.
func (s *Session) closing() bool {
	s.goodbye.mu.Lock()
	defer s.goodbye.mu.Unlock()
	return s.goodbye.begun != nil
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
	s.w.picked()
	err := c.err
	s.recycle(c)
	<-s.line.Done()
	if err != nil {
		return s.closeFailed(err)
	}
	s.follow.set(nil, false)
	return nil
}

// closeCall is the request that ends the session on the server.
func (s *Session) closeCall() *call {
	c := s.newCall(&kindClose, "close", "")
	c.frame(wire.OpCloseSession, nil)
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
	if s.follow.next() != nil && errors.Is(err, ErrMoved) {
		return err
	}
	op := *err.(*OpError)
	op.Err = &noted{op.Err, fmt.Sprintf("the session expires by itself %v after its last sign of life", s.timeout)}
	return &op
}
