package zk

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/internal/fifo"
	"github.com/seed-9f8420c6/zk/internal/frames"
	"github.com/seed-9f8420c6/zk/internal/liveness"
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
	conf     Config // as dialed; Auth grows with AddAuth, under mu
	w        *Watches
	conn     net.Conn
	socket   bool // conn is one of the system
	id       int64
	password []byte
	timeout  time.Duration
	addr     string
	target   string // where it is connected to: the address, or one of its IPs
	readOnly bool

	done  chan struct{}
	dying chan struct{} // closed when end is set: nothing more is sent
	slots chan struct{} // MaxInFlight; nil: no limit
	flush func()        // s.flushAll, bound once
	calls sync.Pool     // of *call

	mu       sync.Mutex // the send path; never held over I/O
	end      error      // why; set once
	closing  bool       // Close has begun
	moved    bool       // the identity is another Session's now
	closed   chan struct{}
	closeErr error
	xid      int32
	out      []byte // appended and not yet taken by a writer
	spare    []byte
	queued   int64         // bytes ever appended to out
	sent     int64         // bytes that left
	writing  bool          // somebody is the writer
	idle     chan struct{} // closed when the writer is gone after the end; nil unless waited for
	ring     fifo.Ring[pending]
	auths    fifo.Queue[*call] // auth packets are answered outside the ring
	next     *Session          // the Session dialed after this one for the same Watches
	renewed  bool              // next has another session
	followed chan struct{}     // closed when next is set, or the session is closed on the server
	dials    [2]*dialing       // shared Dials under way: Redial, Renew
	lastZxid int64             // at the end
	lock     interlock

	pingsOff bool // SASL is under way
	timer    *time.Timer
	live     liveness.Monitor // but for what the reader says without the lock
	requests int64
	pings    int64

	replies      atomic.Int64
	plainCreates atomic.Bool // the server cannot read a create2 in a Multi
	events       atomic.Int64
	ignored      atomic.Int64

	reader reader
}

// pending is a run of n frames of one call that wait for their replies.
type pending struct {
	c       *call
	xid     int32 // of the first
	n       int32
	off     int64 // place of the first on the wire
	first   int32 // operation of a Batch that the first is
	counted bool  // its arming frames are in interlock.arming
}

// interlock says what a server is asked about the watches of a path, so that a call
// that depends on the answer can wait for it. Session.mu guards it.
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

// call is a request under way: one frame, or the many of a Batch.
type call struct {
	pool   *sync.Pool
	op     string
	path   string // as given
	code   wire.Op
	req    []byte                         // the frames
	n      int32                          // their number
	off    int64                          // of an auth packet: its place on the wire
	decode func(c *call, d *wire.Decoder) // a reply without error; nil: no body

	arming bool         // it arms a channel, or one of its operations does
	last   bool         // the last SetWatches of a Dial
	rearms bool         // a SetWatches with persistent watches
	watch  chan<- Event // to arm on success
	kind   WatchKind
	at     string // server path of the watch
	raw    bool
	tells  WatchKind // what an AddWatch makes the server's mode

	state atomic.Uint32 // number of replies that count as answered, and the bit abandoned
	done  chan struct{} // cap 1
	err   error

	// what the reply holds
	str   string
	data  []byte
	names []string
	stat  wire.Stat
	num   int32
	value any // where none of these fits

	// what only few calls have, apart, so that the others stay small
	batch   *batch
	multi   *multi
	removal *removal
	rewatch *rewatch // set: an AddWatch or SetWatches of the client's own
	auth    *Auth    // AddAuth: joins Config.Auth once accepted
}

// batch is what a Batch's call has.
type batch struct {
	ops     []Op
	res     []Result
	base    int    // operation of the first frame in a submit
	taken   int    // replies that the reader has taken
	settled int    // of these, how many count as answered
	failing bool   // the reader has set abandoned
	failed  cursor // how far the reader has failed it
	chroot  string
	arena   []byte
	req     []byte // kept for the next Batch
}

// multi is what the call of a Multi or MultiRead has.
type multi struct {
	ops []Op
	res []Result
}

// removal is what a RemoveWatch disarms on success.
type removal struct {
	ch    chan<- Event
	alias string // another path for the same, of a watch that the server has fired or forgets
	found bool   // something was disarmed
}

// abandoned is set in a call's state by the caller that gives it up, or by the
// reader when the connection ends; whoever sets it owns the rest of the call.
const abandoned = 1 << 31

// newCall takes a call from the Session's pool. A pool for all Sessions would
// carry its channels from one testing/synctest bubble to another, which is fatal.
func (s *Session) newCall(op, path string) *call {
	c, ok := s.calls.Get().(*call)
	if !ok {
		c = &call{pool: &s.calls, done: make(chan struct{}, 1)}
	}
	c.op, c.path, c.n = op, path, 1
	return c
}

// recycle gives a call back that nobody else knows any more.
func (c *call) recycle() {
	done, req := c.done, c.req[:0]
	if cap(req) > 4096 {
		req = nil
	}
	pool := c.pool
	*c = call{pool: pool, done: done, req: req}
	pool.Put(c)
}

// begin appends the head of a frame and returns its place for wire.EndFrame.
func (c *call) begin(op wire.Op) int {
	at := len(c.req)
	c.code = op
	c.req = append(c.req, 0, 0, 0, 0, 0, 0, 0, 0)
	c.req = wire.AppendInt32(c.req, int32(op))
	return at
}

// frame frames a single request.
func (c *call) frame(op wire.Op, body interface{ Append([]byte) []byte }) {
	at := c.begin(op)
	if body != nil {
		c.req = body.Append(c.req)
	}
	wire.EndFrame(c.req, at)
}

func putXid(frame []byte, xid int32) {
	_ = frame[7]
	frame[4], frame[5], frame[6], frame[7] = byte(xid>>24), byte(xid>>16), byte(xid>>8), byte(xid)
}

// nextXid counts from 1 to the largest int32 and on from 1.
func nextXid(x int32) int32 {
	if x == math.MaxInt32 {
		return 1
	}
	return x + 1
}

func newSession(conf Config, w *Watches, conn net.Conn) *Session {
	s := &Session{
		conf: conf, w: w, conn: conn, socket: onSocket(conn),
		done: make(chan struct{}), dying: make(chan struct{}), followed: make(chan struct{}),
	}
	if conf.MaxInFlight > 0 {
		s.slots = make(chan struct{}, conf.MaxInFlight)
	}
	s.flush = s.flushAll
	s.reader.ring = fifo.NewReader(&s.ring)
	return s
}

// run begins the life of a session whose ConnectResponse is accepted.
func (s *Session) run() {
	s.mu.Lock()
	s.timer = time.AfterFunc(s.live.Start(s.timeout, time.Now()), s.tick)
	s.mu.Unlock()
	s.w.start()
	go s.read()
}

// usable tells a Session from its zero value.
func (s *Session) usable() bool { return s != nil && s.w != nil }

// refusalLocked returns why nothing can be sent, or nil.
func (s *Session) refusalLocked() error {
	switch {
	case s.moved:
		return ErrMoved
	case s.closing:
		return ErrClosed
	}
	return s.end
}

// do sends a call of one frame and waits for its answer. After an error the
// call is not the caller's any more.
func (s *Session) do(ctx context.Context, c *call) error {
	if err := s.admit(ctx, c); err != nil {
		err = notSent(c.op, c.path, err)
		c.recycle()
		return err
	}
	if err := s.submit(ctx, c, c.req, 1); err != nil {
		s.release(1)
		err = notSent(c.op, c.path, err)
		c.recycle()
		return err
	}
	if done := ctx.Done(); done == nil {
		<-c.done
	} else {
		select {
		case <-c.done:
		case <-done:
			op, path := c.op, c.path
			if c.state.CompareAndSwap(0, abandoned) { // the reader recycles it
				return &OpError{Op: op, Path: path, Err: ctx.Err(), outcome: Lost}
			}
			<-c.done
		}
	}
	s.w.picked()
	if c.err != nil {
		err := c.err
		c.recycle()
		return err
	}
	return nil
}

// admit checks what can be checked before a frame is queued, and takes its slot.
func (s *Session) admit(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(c.req)-4 > s.conf.MaxRequest {
		return tooLarge(len(c.req)-4, s.conf.MaxRequest)
	}
	if c.arming && len(c.at) > s.conf.MaxRequest-maxRestore { // rarely
		if err := s.restorable(c.at); err != nil {
			return err
		}
	}
	if c.removal != nil && s.slots != nil { // what needs no request needs no slot
		s.mu.Lock()
		err := s.removeLocked(c)
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return s.acquire(ctx)
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

// acquire takes one of MaxInFlight slots; waiters are served in order.
func (s *Session) acquire(ctx context.Context) error {
	if s.slots == nil {
		return nil
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.dying:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.refusalLocked()
	}
}

// release gives n slots back.
func (s *Session) release(n int32) {
	if s.slots == nil {
		return
	}
	for range n {
		<-s.slots
	}
}

// submit queues n frames of a call and sees to it that they are written. One
// lock covers taking the xids, joining the ring and joining the stream.
func (s *Session) submit(ctx context.Context, c *call, frames []byte, n int32) error {
	s.mu.Lock()
	err := s.refusalLocked()
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
		s.mu.Unlock()
		return err
	}
	s.enqueueLocked(c, frames, n, counted)
	if s.writing {
		s.mu.Unlock()
		return nil
	}
	s.writing = true
	if !s.writesHereLocked(ctx, c, len(frames)) {
		s.mu.Unlock()
		go s.flush()
		return nil
	}
	if s.writeUnlock() {
		go s.flush() // a caller does not write for others
	}
	return nil
}

// writesHereLocked reports whether a caller, as the writer, writes its request of so
// many bytes, or another goroutine does. A caller writes nothing but its own request: it may be
// answered while it writes on for others, and then all events and answers would
// wait until it can leave. If its context may end, it must be able to leave a Write
// that blocks: alone on a socket, whose peer has taken all before, a small one does
// not.
func (s *Session) writesHereLocked(ctx context.Context, c *call, size int) bool {
	switch {
	case c.internal(): // Dial's: there is nobody else yet
		return true
	case s.ring.Len() > 1 || len(s.out) > size:
		return false
	}
	return ctx.Done() == nil || s.socket && size <= smallWrite
}

// onSocket reports whether the system buffers what is written to a connection.
func onSocket(conn net.Conn) bool {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

const smallWrite = 4 << 10

// eachArm calls f for every frame that arms a channel, until f returns false.
func (c *call) eachArm(frames []byte, f func(frame []byte, path string, kind WatchKind) bool) {
	b := c.batch
	if b == nil {
		f(frames, c.at, c.kind)
		return
	}
	for i := b.base; len(frames) > 0; i++ {
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
		c.tells = c.kind
		// What the server has been told already need not change its mode.
		if kinds := s.w.armed(c.at); kinds.Has(watches.Kind(c.kind)) && kinds.Has(watches.Recursive) {
			c.tells = RecursiveWatch
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
		s.mu.Unlock()
		var err error
		select {
		case <-wait.done:
		case <-s.dying:
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.mu.Lock()
		if err != nil {
			return err
		}
		if err := s.refusalLocked(); err != nil {
			return err
		}
	}
	return nil
}

// armAnswered notes that a run of frames that armed channels was answered.
func (s *Session) armAnswered(p *pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := p.c.batch
	if b == nil {
		bump(&s.lock.arming, p.c.at, -1)
		return
	}
	for i := int(p.first); i < b.taken; i++ {
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
	if err := s.refusalLocked(); s.moved || s.closing {
		return err
	}
	r := c.removal
	before := s.w.armed(c.at)
	shared := s.end != nil || s.lock.adding[c.at] != nil || s.lock.removing[c.at] > 0 || s.lock.arming[c.at] > 0
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
	if c.rewatch != nil && code != 0 { // the next connection restores all
		s.fail(connError(errors.WithMessagef(code, "%s of %s", c.op, c.path)), true)
	}
	switch c.code {
	case wire.OpAddWatch:
		if code == 0 {
			s.told(c, zxid)
		}
		s.mu.Lock()
		s.lock.added(c.at)
		s.mu.Unlock()
	case wire.OpRemoveWatches:
		if code == 0 || code == ErrNoWatcher {
			s.w.disarm(c.at, c.removal.ch, true)
		}
		s.mu.Lock()
		bump(&s.lock.removing, c.at, -1)
		s.mu.Unlock()
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
// recursive watch.

// rewatch is what a request of the client's own for a path is about.
type rewatch struct {
	gap   bool  // the watch that is told again was deaf
	since int64 // else the zxid since which it may have been; of an AddWatch before
}

// told does what the answer to an AddWatch makes necessary. Only the reader calls it.
func (s *Session) told(c *call, zxid int64) {
	if r := c.rewatch; r != nil && (r.gap || zxid > r.since) {
		s.w.gapAt(c.at, c.tells)
	}
	kinds := s.w.armed(c.at)
	recursive := c.tells == RecursiveWatch
	s.mu.Lock()
	defer s.mu.Unlock()
	if recursive && kinds.Has(watches.Child) {
		s.restoreChildLocked(c.at, zxid)
	}
	switch {
	case !recursive && kinds.Has(watches.Recursive):
		s.tellLocked(c.at, RecursiveWatch, rewatch{since: zxid})
	case recursive && !kinds.Has(watches.Recursive) && kinds.Has(watches.Persistent):
		s.tellLocked(c.at, PersistentWatch, rewatch{gap: true})
	}
}

// rewatch tells the server of a path's persistent watch again, where a recursive
// one is gone that it was told last.
func (s *Session) rewatch(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rewatchLocked(path)
}

func (s *Session) rewatchLocked(path string) {
	kinds := s.w.armed(path)
	// Where an AddWatch is unanswered, its answer does it.
	if kinds.Has(watches.Persistent) && !kinds.Has(watches.Recursive) && s.lock.adding[path] == nil {
		s.tellLocked(path, PersistentWatch, rewatch{gap: true})
	}
}

// tellLocked sends an AddWatch that nobody waits for.
func (s *Session) tellLocked(path string, kind WatchKind, r rewatch) {
	if s.end != nil {
		return // the next connection restores all
	}
	mode := WatchPersistent
	if kind == RecursiveWatch {
		mode = WatchRecursive
	}
	c := s.newCall("addwatch", path)
	c.frame(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: int32(mode)})
	c.at, c.tells, c.rewatch = path, kind, &r
	s.lock.add(path)
	s.sendOwnLocked(c)
}

// restoreChildLocked sends a SetWatches for the child watch of a path.
func (s *Session) restoreChildLocked(path string, floor int64) {
	if s.end != nil {
		return
	}
	c := s.newCall("setwatches", path)
	c.frame(wire.OpSetWatches, wire.SetWatchesRequest{
		RelativeZxid: floor, Data: []string{}, Exist: []string{}, Child: []string{path}, // null would be refused
	})
	c.rewatch = new(rewatch)
	s.sendOwnLocked(c)
}

// sendOwnLocked sends a request of the client's own. Whoever calls it does not wait:
// another goroutine writes.
func (s *Session) sendOwnLocked(c *call) {
	c.state.Store(abandoned)
	s.enqueueLocked(c, c.req, 1, false)
	s.wakeLocked()
}

func (s *Session) enqueueLocked(c *call, frames []byte, n int32, counted bool) {
	p := pending{c: c, xid: nextXid(s.xid), n: n, off: s.queued, counted: counted}
	if c.batch != nil {
		p.first = int32(c.batch.base)
	}
	for at := 0; at < len(frames); at += 4 + wire.FrameLen(frames[at:]) {
		s.xid = nextXid(s.xid)
		putXid(frames[at:], s.xid)
	}
	s.requests += int64(n)
	s.ring.Push(p)
	s.appendLocked(frames)
}

func (s *Session) appendLocked(frames []byte) {
	s.out = append(s.out, frames...)
	s.queued += int64(len(frames))
}

// wakeLocked makes another goroutine write what is queued, unless somebody does already.
func (s *Session) wakeLocked() {
	if !s.writing {
		s.writing = true
		go s.flush()
	}
}

// fullWrite is as many bytes as are worth a write of their own. To wait for more
// would let a server rest that could work.
const fullWrite = 8 << 10

// flushAll writes until nothing is queued, as the writer. With several calls under
// way it first lets others queue their requests: that is what fills a write.
func (s *Session) flushAll() {
	for more := true; more; {
		s.mu.Lock()
		if s.ring.Len() > 1 && len(s.out) < fullWrite {
			s.mu.Unlock()
			runtime.Gosched()
			s.mu.Lock()
		}
		more = s.writeUnlock()
	}
}

// writeUnlock writes what is queued, as the writer, and reports whether it is still
// the writer because more has come. It gives the lock up.
func (s *Session) writeUnlock() bool {
	buf := s.out
	if s.end != nil || len(buf) == 0 {
		s.leaveLocked()
		s.mu.Unlock()
		return false
	}
	s.out, s.spare = s.spare[:0], nil
	s.live.WriteBegins(s.sent, len(buf), time.Now())
	s.mu.Unlock()
	n, err := s.conn.Write(buf)
	s.mu.Lock()
	s.live.WriteEnds()
	if err != nil {
		if _, ok := s.conn.(*tls.Conn); ok {
			// What the failing record held may have left.
			n = min(len(buf), n+maxTLSRecord)
		}
		s.sent += int64(n)
		// The reader takes what still came, up to its own error; the tick bounds that.
		s.failLocked(connError(err))
		s.leaveLocked()
		s.mu.Unlock()
		return false
	}
	s.sent += int64(n)
	if cap(buf) <= maxSpare {
		s.spare = buf[:0]
	}
	if len(s.out) > 0 && s.end == nil {
		s.mu.Unlock()
		return true
	}
	s.leaveLocked()
	s.mu.Unlock()
	return false
}

const (
	maxTLSRecord = 16 << 10
	maxSpare     = 256 << 10
)

// leaveLocked ends being the writer.
func (s *Session) leaveLocked() {
	s.writing = false
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// fail ends the Session; the first reason stays. It is the only way to end it.
// With hangUp the connection is closed at once, else the reader first takes
// what has come.
func (s *Session) fail(err error, hangUp bool) {
	s.mu.Lock()
	s.failLocked(err)
	s.mu.Unlock()
	if hangUp {
		s.hangUp()
	}
}

func (s *Session) failLocked(err error) {
	if s.end != nil {
		return
	}
	if errors.Is(err, ErrConnection) {
		err = errors.WithStack(err)
	}
	s.end = err
	close(s.dying)
}

// tick pings a quiet connection and ends a dead one. It never writes itself, so
// that a Write that hangs cannot keep it from seeing that.
func (s *Session) tick() {
	now := time.Now()
	s.mu.Lock()
	if s.end != nil {
		s.mu.Unlock()
		s.hangUp()
		return
	}
	ping, next, err := s.live.Look(now, s.pingsOff)
	if err != nil {
		s.mu.Unlock()
		s.fail(connError(errors.WithMessage(err, s.addr)), true)
		return
	}
	quiet := len(s.out) == 0 && !s.writing && s.ring.Len() == 0
	if quiet {
		s.out, s.spare = nil, nil
		s.ring.Release()
	}
	if ping {
		s.pings++
		var frame [12]byte
		wire.RequestHeader{Xid: wire.XidPing, Op: wire.OpPing}.Append(wire.BeginFrame(frame[:0]))
		wire.EndFrame(frame[:], 0)
		s.appendLocked(frame[:])
	}
	s.timer.Reset(next)
	if ping {
		s.wakeLocked()
	}
	s.mu.Unlock()
	if quiet {
		s.w.trim()
	}
}

// reader is what only the reader goroutine touches.
type reader struct {
	cur   pending // the head of the ring, taken out of it
	ring  fifo.Reader[pending]
	dec   wire.Decoder
	batch *call // a Batch with replies that do not count as answered yet

	refused bool // a SetWatches was answered with an error
	// early has the xids of writes that a read-only server refused before their turn.
	early map[int32]bool
}

// read takes frames in wire order until the connection or the session ends. It
// waits for nothing but the network.
func (s *Session) read() {
	err := s.readFrames()
	s.settleBatch()
	if errors.Is(err, ErrProtocol) || errors.Is(err, ErrSlowConsumer) || errors.Is(err, ErrClosed) {
		s.fail(err, true)
	} else {
		s.fail(connError(err), true)
	}
	s.finish()
}

// readFrames takes all frames, and returns the error that ends the connection.
func (s *Session) readFrames() error {
	in := frames.NewReader(s.conn, s.conf.MaxReply)
	defer in.Release()
	waits := false // for the rest of a frame
	for {
		n, end := in.Fill()
		s.live.Received(n)
		s.w.queue.Chunk()
		if in.Busy() {
			runtime.Gosched() // let the callers that this chunk woke queue up for one write
		}
		for {
			b, err := in.Next()
			if err != nil {
				return s.misframed(err)
			}
			if b == nil {
				break
			}
			if err := s.frame(b); err != nil {
				return err
			}
			if waits {
				waits = false
				s.live.FrameCame()
			}
		}
		s.settleBatch()
		s.reportLost()
		switch {
		case end == io.EOF && in.Cut():
			return errors.Wrap(io.ErrUnexpectedEOF, "in the middle of a frame")
		case end != nil:
			return end
		}
		if cut := in.Settle(s.nothingPending); cut > 0 {
			waits = true
			s.live.FrameWaits(cut, time.Now())
		}
	}
}

const replyHeaderSize = 16

// misframed is what a frame of a wrong size means.
func (s *Session) misframed(err error) error {
	var large *frames.TooLarge
	if errors.As(err, &large) {
		return s.oversized(large.Head, large.Size)
	}
	return protocolError("%v", err)
}

// nothingPending reports whether no call waits for its reply. Only the reader
// calls it.
func (s *Session) nothingPending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reader.cur.n == 0 && s.reader.ring.Drained()
}

// oversized ends the connection for a frame above MaxReply, of which the head has
// come as far as it has. The oldest call is told the size, unless the head says that
// the frame is no reply to it.
func (s *Session) oversized(head []byte, size int) error {
	err := &SizeError{Size: size, Limit: s.conf.MaxReply, Reply: true}
	// The other calls are not told that their reply was too large: theirs may not be.
	end := protocolError("a reply of %d bytes, Config.MaxReply is %d", size, s.conf.MaxReply)
	s.fail(end, true)
	p := s.oldest()
	d := wire.NewDecoder(head)
	switch {
	case p == nil || len(head) >= 4 && d.Int32() != p.xid:
	case p.c.batch != nil:
		p.c.err = err // for failBatch
	case p.c.state.CompareAndSwap(0, 1):
		c := p.c
		c.err = &OpError{Op: c.op, Path: c.path, Err: err, outcome: Lost, ended: true}
		p.n = 0
		s.popOldest()
		s.w.answer(c)
	}
	return end
}

// oldest returns the run of frames whose reply is next, or nil.
func (s *Session) oldest() *pending {
	r := &s.reader
	if r.cur.n > 0 {
		return &r.cur
	}
	next, ok := r.ring.Next()
	if !ok {
		s.mu.Lock()
		some := r.ring.Refresh()
		s.mu.Unlock()
		if !some {
			return nil
		}
		next, _ = r.ring.Next()
	}
	r.cur = next
	return &r.cur
}

// popOldest lets the oldest run leave the ring once all of it is answered.
func (s *Session) popOldest() {
	p := &s.reader.cur
	if p.counted {
		s.armAnswered(p)
	}
	s.reader.ring.Leave()
	p.c = nil // an idle Session keeps no call alive
}

// frame takes one frame from the server.
func (s *Session) frame(b []byte) error {
	d := &s.reader.dec // not a variable: a call's decoder may keep it, as far as the compiler knows
	*d = wire.NewDecoder(b)
	var h wire.ReplyHeader
	h.Decode(d)
	if h.Xid > 0 {
		if err := s.reply(h, d); err != nil || len(s.reader.early) == 0 {
			return err
		}
		return s.answerEarly()
	}
	s.settleBatch()
	switch {
	case h.Xid == wire.XidNotification:
		return s.notification(h, d)
	case h.Xid == wire.XidPing:
		s.mu.Lock()
		s.live.Pong()
		s.mu.Unlock()
		return nil
	case h.Xid == wire.XidAuth:
		return s.authReply(h)
	}
	return protocolError("a reply with xid %d", h.Xid)
}

// refusedEarly notes that a read-only server has refused a write, which it does at
// once, before its answers to reads that it was sent earlier. The call hears of it in
// its turn. It reports whether the xid is of a request that waits, and was not
// answered yet.
func (s *Session) refusedEarly(oldest *pending, xid int32) bool {
	s.mu.Lock()
	last := s.xid
	s.mu.Unlock()
	ahead := func(x int32) int32 { return (x - oldest.xid) & math.MaxInt32 } // xids go from 1 to MaxInt32 and on from 1
	r := &s.reader
	if xid <= 0 || ahead(xid) > ahead(last) || r.early[xid] {
		return false
	}
	if r.early == nil {
		r.early = make(map[int32]bool)
	}
	r.early[xid] = true
	return true
}

// answerEarly answers the oldest calls whose refusals have come before.
func (s *Session) answerEarly() error {
	r := &s.reader
	for len(r.early) > 0 {
		p := s.oldest()
		if p == nil || !r.early[p.xid] {
			return nil
		}
		delete(r.early, p.xid)
		var none wire.Decoder
		if err := s.reply(wire.ReplyHeader{Xid: p.xid, Err: int32(ErrNotReadOnly)}, &none); err != nil {
			return err
		}
	}
	return nil
}

// reply matches a reply with the oldest call; its place on the wire is where
// the zxid advances, the watch is armed and the call is answered.
func (s *Session) reply(h wire.ReplyHeader, d *wire.Decoder) error {
	p := s.oldest()
	if p == nil {
		return protocolError("a reply with xid %d, and no request waits for one", h.Xid)
	}
	if h.Xid != p.xid {
		if s.readOnly && Code(h.Err) == ErrNotReadOnly && s.refusedEarly(p, h.Xid) {
			return nil
		}
		return protocolError("a reply with xid %d where %d was due", h.Xid, p.xid)
	}
	if s.live.Tells(p.off) {
		s.mu.Lock()
		s.live.Answered(p.off)
		s.mu.Unlock()
	}
	if p.c.batch != nil {
		return s.batchReply(p, h, d)
	}
	c := p.c
	if h.Err == 0 && c.decode != nil { // also when nobody waits: a reply that makes no sense ends the connection
		c.decode(c, d)
		if err := d.Err(); err != nil {
			return badReply(c, err)
		}
	}
	p.n = 0
	if !c.internal() {
		s.release(1)
	}
	s.replies.Add(1)
	if h.Zxid > 0 {
		s.w.advance(h.Zxid)
	}
	var ended error
	code := Code(h.Err)
	if code.ends() || code == ErrUnimplemented && !polite(c.code) {
		ended = connError(code)
		s.fail(ended, true)
	}
	won := c.state.CompareAndSwap(0, 1)
	restores := (c.code == wire.OpSetWatches || c.code == wire.OpSetWatches2) && c.rewatch == nil
	if restores && code != 0 {
		s.reader.refused = true // then the floor stays, whatever the others are answered
	}
	switch {
	case !won:
	case restores && code == 0:
		s.w.restored(h.Zxid, c.rearms, c.last && !s.reader.refused)
	case c.code == wire.OpCloseSession && code == 0:
		s.w.end()
		ended = ErrClosed
	case c.code == wire.OpCloseSession: // nothing more comes of this connection
		s.settleCall(c, code, true)
		ended = connError(code)
	default:
		s.settleCall(c, code, ended != nil)
	}
	s.watchAnswered(c, code, h.Zxid)
	s.popOldest()
	if won {
		s.w.answer(c)
	} else {
		c.recycle()
	}
	return ended
}

func badReply(c *call, err error) error {
	return &detailed{kind: ErrProtocol, detail: "reply to " + c.op, cause: err}
}

// polite reports whether a server may answer -6 to an operation and go on: to
// one that it knows and has switched off. The opcodes it does not know end the
// connection.
func polite(op wire.Op) bool {
	return op == wire.OpCreateTTL || op == wire.OpReconfig || op == wire.OpMulti
}

// internal reports whether the call takes no slot of MaxInFlight.
func (c *call) internal() bool {
	if c.rewatch != nil {
		return true
	}
	switch c.code {
	case wire.OpCloseSession, wire.OpSetWatches, wire.OpSetWatches2, wire.OpSASL:
		return true
	}
	return false
}

// settleCall arms the watch of an answered call, or makes its error.
func (s *Session) settleCall(c *call, code Code, ended bool) {
	switch {
	case code == 0, code == ErrNoWatcher && c.code == wire.OpRemoveWatches:
		if c.watch != nil {
			s.w.arm(c.at, c.kind, c.raw, c.watch)
		}
	case code == ErrNoNode && c.code == wire.OpExists:
		c.num = 1 // not an error of Exists: see there
		if c.watch != nil {
			s.w.arm(c.at, ExistsWatch, c.raw, c.watch)
		}
	default:
		c.err = &OpError{Op: c.op, Path: c.path, Err: code, outcome: Answered, ended: ended}
	}
}

// notification takes an event. One that nobody here watches is legal: after a
// cancelled call, a closed channel or a second Deleted.
func (s *Session) notification(h wire.ReplyHeader, d *wire.Decoder) error {
	typ := d.Int32()
	d.Int32() // state
	path := d.Buffer()
	if err := d.Err(); err != nil {
		return &detailed{kind: ErrProtocol, detail: "event", cause: err}
	}
	n := 0
	if typ >= wire.EventNodeCreated && typ <= wire.EventNodeChildrenChanged && len(path) > 0 {
		var err error
		if n, err = s.w.notify(EventType(typ), path, h.Zxid); err != nil {
			return err
		}
	}
	if n == 0 {
		s.ignored.Add(1)
	} else {
		s.events.Add(1)
	}
	return nil
}

// authReply takes the answer to an auth packet. It may overtake the replies to
// requests before it, so auth packets have a queue of their own.
func (s *Session) authReply(h wire.ReplyHeader) error {
	s.mu.Lock()
	var c *call
	if s.auths.Len() > 0 {
		c = s.auths.Pop()
	}
	s.mu.Unlock()
	code := Code(h.Err)
	if c == nil {
		if code != 0 {
			return protocolError("an auth reply with error %d, and none was due", h.Err)
		}
		return nil
	}
	s.replies.Add(1)
	var ended error
	if code != 0 {
		ended = connError(code)
		s.fail(ended, true)
	}
	if !c.state.CompareAndSwap(0, 1) {
		c.recycle()
		return ended
	}
	if code != 0 {
		c.err = &OpError{Op: c.op, Err: code, outcome: Answered, ended: true}
	} else if c.auth != nil {
		s.mu.Lock()
		if !slices.ContainsFunc(s.conf.Auth, c.auth.equal) { // a loop may add it on each connection
			s.conf.Auth = append(s.conf.Auth, *c.auth)
		}
		s.mu.Unlock()
	}
	s.w.answer(c)
	return ended
}

// finish is the end of the reader: it waits for the writer, fails what was
// pending, in order and behind the events before, and then says Done.
func (s *Session) finish() {
	s.mu.Lock()
	s.timer.Stop()
	if s.writing {
		idle := make(chan struct{})
		s.idle = idle
		s.mu.Unlock()
		<-idle
		s.mu.Lock()
	}
	end, sent := s.end, s.sent
	auths := s.auths
	s.auths = fifo.Queue[*call]{}
	s.lock = interlock{} // who waits for an AddWatch sees dying
	s.mu.Unlock()

	var left []pending
	for p := s.oldest(); p != nil; p = s.oldest() {
		left = append(left, *p)
		p.n = 0
	}
	last := make(map[*call]int, len(left))
	for i, p := range left {
		last[p.c] = i
	}
	for i, p := range left {
		s.failPending(p, end, sent, last[p.c] == i)
	}
	for _, c := range auths.Items() {
		s.failPending(pending{c: c, n: 1, off: c.off}, end, sent, true)
	}
	s.w.stop()
	s.reportLost()
	s.mu.Lock()
	s.lastZxid = s.w.zxid.Load()
	s.out, s.spare = nil, nil
	s.reader.ring.Leave()
	s.ring.Release()
	s.mu.Unlock()
	s.reader = reader{}
	s.traceEnd(end)
	close(s.done)
}

// failPending ends a run of frames: lost as far as bytes of them left.
func (s *Session) failPending(p pending, end error, sent int64, last bool) {
	c := p.c
	if c.batch == nil {
		if !c.state.CompareAndSwap(0, 1) {
			c.recycle()
			return
		}
		outcome := NotSent
		if p.off < sent {
			outcome = Lost
		}
		c.err = &OpError{Op: c.op, Path: c.path, Err: end, outcome: outcome}
		s.w.answer(c)
		return
	}
	s.failBatch(p, end, sent, last)
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
	return s.done
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
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.end
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
	s.mu.Lock()
	conf := s.conf.clone()
	s.mu.Unlock()
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

// Zxid returns the newest transaction that a reply told of.
func (s *Session) Zxid() int64 {
	if !s.usable() {
		return 0
	}
	select {
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.lastZxid
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

// lastHeard returns the send time of the last answered request.
func (s *Session) lastHeard() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.Heard()
}

// ExpiresAt returns a time before which no server expires the session: the send
// time of the last answered request plus three quarters of the granted timeout,
// since a follower may relay a sign of life a quarter late. It has a monotonic
// reading. That clock stands still while the machine sleeps (on Linux and others), so
// for as long as it slept the time returned is too late.
func (s *Session) ExpiresAt() time.Time {
	if !s.usable() {
		return time.Time{}
	}
	return s.lastHeard().Add(s.timeout * 3 / 4)
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
	st := Stats{
		Replies: s.replies.Load(), Events: s.events.Load(), Ignored: s.ignored.Load(), BytesReceived: s.live.Bytes(),
		Armed: s.w.Len(), Queued: s.w.Undelivered(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Requests, st.Pings, st.BytesSent = s.requests, s.pings, s.sent
	select {
	case <-s.done:
	default:
		st.Pending = int(max(0, s.requests-s.replies.Load()))
	}
	return st
}

// Detach leaves the connection and keeps the session on the server, for a
// redial or another process. Calls in flight end as lost with ErrClosed, and
// nothing more is written. The Config is final.
func (s *Session) Detach() Config {
	if !s.usable() {
		return Config{}
	}
	s.fail(ErrClosed, true)
	<-s.done
	return s.Config()
}

// Close ends the session on the server: its ephemerals are gone when it returns
// nil. It waits for the requests before it, at most two thirds of the session
// timeout. Undelivered events stay in the State. On a connection that is lost
// already, or whose answer does not come, the error tells when the session
// expires by itself; after a redial it is ErrMoved and nothing is sent. Another
// Close waits for the first and returns the same.
func (s *Session) Close() error {
	if !s.usable() {
		return notSent("close", "", ErrClosed)
	}
	s.mu.Lock()
	if s.closed == nil {
		s.closed = make(chan struct{})
		s.mu.Unlock()
		err := s.closeSession()
		s.mu.Lock()
		s.closeErr = err
		close(s.closed)
	}
	closed := s.closed
	s.mu.Unlock()
	<-closed
	return s.closeErr
}

func (s *Session) closeSession() error {
	s.mu.Lock()
	end := s.refusalLocked()
	s.closing = true
	if end != nil {
		s.mu.Unlock()
		return s.closeFailed(notSent("close", "", end))
	}
	c := s.newCall("close", "")
	c.frame(wire.OpCloseSession, nil)
	s.enqueueLocked(c, c.req, 1, false)
	s.wakeLocked()
	s.mu.Unlock()
	late := time.AfterFunc(s.timeout*2/3, func() {
		s.fail(connError(errors.New("the server did not answer to Close")), true)
	})
	<-c.done
	late.Stop()
	s.w.picked()
	err := c.err
	c.recycle()
	<-s.done
	if err != nil {
		return s.closeFailed(err)
	}
	s.mu.Lock()
	s.followLocked(nil, false)
	s.mu.Unlock()
	return nil
}

// closeFailed adds to Close's error when the session ends without it.
func (s *Session) closeFailed(err error) error {
	s.mu.Lock()
	next := s.next
	s.mu.Unlock()
	if next != nil && errors.Is(err, ErrMoved) {
		return err
	}
	op := *err.(*OpError)
	op.Err = &noted{op.Err, fmt.Sprintf("the session expires by itself %v after its last sign of life", s.timeout)}
	return &op
}

// Successor waits until another Session has taken over from s, whoever dials it,
// and returns it; s may live until then. It dials nothing. The Session that it
// returns may be of a new session (Renew): compare the IDs. It returns ErrClosed
// once s was closed on the server, and the error of ctx.
func (s *Session) Successor(ctx context.Context) (*Session, error) {
	if !s.usable() {
		return nil, ErrClosed
	}
	select {
	case <-s.followed:
	case <-ctx.Done():
		select {
		case <-s.followed:
		default:
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		return nil, ErrClosed
	}
	return s.next, nil
}

// followLocked notes the Session that was dialed after s; nil: s was closed on
// the server.
func (s *Session) followLocked(next *Session, renewed bool) {
	if s.next == nil {
		s.next, s.renewed = next, renewed
	}
	select {
	case <-s.followed:
	default:
		close(s.followed)
	}
}

// dialing is a Dial that several callers wait for.
type dialing struct {
	from   *Session
	renew  bool
	done   chan struct{}
	cancel context.CancelFunc
	s      *Session
	err    error
	panics any // what a function of the application panicked with

	// Under from.mu:
	waiters   map[*waiter]struct{}
	committed bool // the Session that was dialed goes to whoever waits
}

// waiter is a caller of Redial or Renew.
type waiter struct {
	deadline time.Time // zero: none
}

// result is what those who wait get.
func (d *dialing) result() (*Session, error) {
	if d.panics != nil {
		panic(d.panics)
	}
	return d.s, d.err
}

// deadline returns when the last of those who wait leaves; false: nobody knows.
func (d *dialing) deadline() (last time.Time, ok bool) {
	d.from.mu.Lock()
	defer d.from.mu.Unlock()
	for w := range d.waiters {
		if w.deadline.IsZero() {
			return time.Time{}, false
		}
		if w.deadline.After(last) {
			last = w.deadline
		}
	}
	return last, len(d.waiters) > 0
}

// commit reports whether somebody still waits for the Session that was dialed.
// From here on they wait for it whatever becomes of their contexts.
func (d *dialing) commit() bool {
	d.from.mu.Lock()
	defer d.from.mu.Unlock()
	d.committed = len(d.waiters) > 0
	return d.committed
}

// Redial returns the direct successor of s: the Session that a Dial with its
// State has made, or one that it dials now. All callers share one Dial, which
// ends when the last of them has gone and takes at most Config.Timeout to
// connect. It returns ErrExpired when the session has expired or was renewed,
// so that nobody gets another session unknowingly, and ErrClosed after Close.
// For a context that ends first it is ErrNoServer, as of a Dial, and the
// context's error. After Detach it dials, as after a loss.
func (s *Session) Redial(ctx context.Context) (*Session, error) { return s.succeed(ctx, false) }

// Renew does the same for a new session that takes over the watches, after
// ErrExpired; ephemerals must be created again. Where s was redialed it returns
// ErrMoved: the successor has the session.
func (s *Session) Renew(ctx context.Context) (*Session, error) { return s.succeed(ctx, true) }

func (s *Session) succeed(ctx context.Context, renew bool) (*Session, error) {
	if !s.usable() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, &noServer{reasons: []error{err}}
	}
	which := 0
	if renew {
		which = 1
	}
	s.mu.Lock()
	if s.next != nil {
		s.mu.Unlock()
		return s.successor(renew)
	}
	if s.closed != nil {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	d := s.dials[which]
	if d == nil {
		d = s.startDialLocked(which)
	}
	me := new(waiter)
	me.deadline, _ = ctx.Deadline()
	d.waiters[me] = struct{}{}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.result()
	case <-ctx.Done():
	}
	s.mu.Lock()
	if d.committed {
		s.mu.Unlock()
		<-d.done
		return d.result()
	}
	delete(d.waiters, me)
	if len(d.waiters) == 0 {
		d.cancel()
		if s.dials[which] == d {
			s.dials[which] = nil
		}
	}
	s.mu.Unlock()
	return nil, &noServer{reasons: []error{ctx.Err()}}
}

// startDialLocked begins a shared Dial.
func (s *Session) startDialLocked(which int) *dialing {
	ctx, cancel := context.WithCancel(context.Background())
	d := &dialing{from: s, renew: which == 1, done: make(chan struct{}), cancel: cancel, waiters: make(map[*waiter]struct{})}
	s.dials[which] = d
	go func() {
		defer func() {
			d.panics = recover() // for those who wait: it is their function that panicked
			cancel()
			s.mu.Lock()
			if s.dials[which] == d {
				s.dials[which] = nil
			}
			s.mu.Unlock()
			close(d.done)
		}()
		conf := s.Config()
		if d.renew {
			conf = conf.Renew()
		}
		d.s, d.err = dial(ctx, conf, d)
	}()
	return d
}

// successor returns the Session dialed after s, if there is one, to who wants
// the same session or (renew) a new one.
func (s *Session) successor(renew bool) (*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.next == nil:
		return nil, nil
	case renew == s.renewed || !s.transferable():
		return s.next, nil
	case s.renewed:
		return nil, ErrExpired
	}
	return nil, ErrMoved
}
