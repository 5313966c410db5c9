package recipe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"weak"

	"github.com/seed-9f8420c6/zk"
)

// Hold is a lock, a lease, a term or a znode that this session has. It belongs to
// the session, not to the connection, and follows a redial without a call. Until
// it is released it takes one goroutine and one watch. All methods are safe for
// concurrent use.
//
// Keep a Hold as long as you need it. An unreferenced Hold is released some time
// after a garbage collection, so that it does not keep others out. A context of
// Hold.Context keeps the Hold until the context ends. The channel of Hold.Lost does
// not keep it.
type Hold struct{ in *holding }

// holding is what the goroutine of a Hold works with. It does not refer to the
// Hold, so that one which its owner forgets can be recognized.
type holding struct {
	id    *identity
	claim *claim
	outer weak.Pointer[Hold]
	round []string // of a double barrier: the members that began together

	timer *time.Timer    // wakes the goroutine
	left  sync.WaitGroup // done when the goroutine has left
	lost  chan struct{}  // closed when err is set

	mu       sync.Mutex         // guards all below
	leaving  bool               // the goroutine is to leave
	stopCall context.CancelFunc // ends what it waits for in a call; nil: nothing
	session  *zk.Session
	err      error // why it is over
	gone     bool  // the znode is known to be gone, or is another's now
	expected bool  // its owner deletes the znode: no reason to close Lost
	contexts map[*heldContext]context.CancelCauseFunc
	released chan struct{} // closed when Release is done; nil before it began
	outcome  error         // what Release returns
}

// newHold makes the hold on a claim's znode, and takes the claim over.
func newHold(s *zk.Session, id *identity, c *claim) *Hold {
	if !c.fixed {
		c.prefix = "" // the path says it
	}
	if !c.stamp {
		c.data = nil
	}
	h := &holding{id: id, claim: c, session: s, lost: make(chan struct{})}
	outer := &Hold{h}
	h.outer = weak.Make(outer)
	h.timer = time.NewTimer(h.pause(s))
	if c.own != nil {
		h.left.Go(func() { h.await(s) })
	} else {
		h.left.Go(h.run)
	}
	return outer
}

// inner returns nil for a Hold that no recipe has made.
func (h *Hold) inner() *holding {
	if h == nil {
		return nil
	}
	return h.in
}

var errZeroHold = fmt.Errorf("%w: this Hold was not made by a recipe", ErrNotHeld)

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Lost is closed when somebody else may acquire it: its znode was deleted, the
// session was closed, renewed or given to another process, or no server has
// answered until Session.ExpiresAt. Until then nobody else has it, while this
// process runs. A process that was stopped for a while notices late. Use Multi
// or the Token for actions that must never happen twice.
//
// When Lost is closed, stop, and then call Release. Until then the znode keeps
// others out if it still exists.
func (h *Hold) Lost() <-chan struct{} {
	in := h.inner()
	if in == nil {
		return closedChan
	}
	return in.lost
}

// Err returns nil until Lost is closed. Then it returns the reason, which matches
// ErrNotHeld, or ErrReleased after Release. It reads the clock itself, so it is
// right even in a process that was stopped and has not closed Lost yet.
func (h *Hold) Err() error {
	in := h.inner()
	if in == nil {
		return errZeroHold
	}
	return in.check()
}

// Until returns the time before which nobody else can acquire it, even if no
// server answers any more. It is Session.ExpiresAt of the Session that the hold
// is on, and the zero time when the hold is over.
func (h *Hold) Until() time.Time {
	in := h.inner()
	if in == nil || in.check() != nil {
		return time.Time{}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.session.ExpiresAt()
}

// Token returns the czxid of the znode. It grows from holder to holder of the
// same directory. Pass it to whatever the lock protects, which must refuse a
// token smaller than one it has seen.
func (h *Hold) Token() int64 {
	in := h.inner()
	if in == nil {
		return 0
	}
	return in.claim.czxid
}

// Path returns the path of the znode.
func (h *Hold) Path() string {
	in := h.inner()
	if in == nil {
		return ""
	}
	return in.claim.path
}

// Session returns the newest Session that the hold is on. It may be over, and
// have no successor yet.
func (h *Hold) Session() *zk.Session {
	in := h.inner()
	if in == nil {
		return nil
	}
	in.check()
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.session
}

// Guard returns the operation by which Multi asks whether the hold's znode still
// exists. Use it in a Multi of your own: if its result is ErrNoNode, the znode is
// gone. It checks the name. No other znode will ever have that name, unless
// Lock.GUID was given.
func (h *Hold) Guard() zk.CheckOp { return zk.CheckOp{Path: h.Path(), Version: zk.AnyVersion} }

// Multi executes ops as Session.Multi does, if the server has the znode of the
// hold. Otherwise nothing is executed, and the error matches ErrNotHeld, as it
// does when this Hold is over. The results are those of ops. If no answer comes,
// the error is zk.ErrLost, as with Session.Multi. Once.Do with Guard resolves
// that.
func (h *Hold) Multi(ctx context.Context, s *zk.Session, ops ...zk.WriteOp) ([]zk.Result, error) {
	if err := h.Err(); err != nil {
		return nil, notHeld(err)
	}
	if _, err := identityOf(s); err != nil {
		return nil, err
	}
	res, err := s.Multi(ctx, append([]zk.WriteOp{h.Guard()}, ops...)...)
	if len(res) == 0 {
		return nil, err
	}
	if res[0].Err == zk.ErrNoNode {
		return nil, h.inner().deleted(s)
	}
	return res[1:], err
}

// notHeld makes the reason why a hold is over match ErrNotHeld, ErrReleased too.
func notHeld(err error) error {
	if errors.Is(err, ErrNotHeld) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotHeld, err)
}

// deleted notes that the server does not have the znode, as a Session of its
// session was told; of another one it means less.
func (h *holding) deleted(s *zk.Session) error {
	err := fmt.Errorf("%w: %s was deleted", ErrNotHeld, h.claim.path)
	if s.ID() == h.claim.session {
		h.end(err, true)
	}
	return err
}

// vanished is deleted for the goroutine, which may see a deletion before the one
// who asked for it does, or who closes the session.
func (h *holding) vanished(s *zk.Session) {
	why := fmt.Errorf("%w: %s was deleted", ErrNotHeld, h.claim.path)
	none := newWatch(h.claim.path)
	if errors.Is(s.RemoveWatch(context.Background(), none.path, none.ch), zk.ErrClosed) { // it asks no server
		why = errClosed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.expected {
		h.endLocked(why, true)
	}
}

var errClosed = fmt.Errorf("%w: the session was closed", ErrNotHeld)

// expect says whether the owner is about to delete the znode.
func (h *holding) expect(yes bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expected = yes
}

// SetData changes the data of the znode, such as a leader's address or a member's
// load. ErrNotHeld: the znode is gone, or the hold is over. A lost answer is
// zk.ErrLost, and may be repeated without harm.
func (h *Hold) SetData(ctx context.Context, s *zk.Session, data []byte) error {
	if err := h.Err(); err != nil {
		return notHeld(err)
	}
	if _, err := identityOf(s); err != nil {
		return err
	}
	_, err := s.Set(ctx, h.Path(), data, zk.AnyVersion)
	if code(err) == zk.ErrNoNode {
		return h.inner().deleted(s)
	}
	return err
}

// Release closes Lost and then deletes the znode. If it returns nil, the znode is
// gone. Without a connection it waits for the next one, at most a third of the
// session timeout. After that it returns an error, and the znode is deleted as
// soon as there is a connection, or ends with the session. Where the ACL of the
// directory forbids the deletion (ErrNoAuth), the znode ends with the session.
//
// In the function that Run calls, do not defer Release: Run dials only when
// that function has returned, so Release would wait for nothing. Keep the
// Hold for the next call.
//
// Release a lost Hold too: Release deletes its znode if that still exists, and
// returns why the Hold was lost. A second Release returns the same.
func (h *Hold) Release() error {
	in := h.inner()
	if in == nil {
		return errZeroHold
	}
	return in.release(false)
}

// Detach ends the hold in this process and leaves the znode. A process that has
// taken the session over continues with the hold, and with its Token, by a Lock
// with this GUID. Detach returns "" when the hold is over already.
func (h *Hold) Detach() (guid string) {
	in := h.inner()
	if in == nil || !in.detach() {
		return ""
	}
	in.stop()
	in.claim.late = false // what has its name is another's to see to
	in.id.unexpect(in.claim)
	in.id.finish(in.session, in.claim)
	return in.claim.guid
}

// detach ends a hold that is not over yet. Nothing is left for Release to do: the
// GUID may be in use again by then.
func (h *holding) detach() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.endLocked(fmt.Errorf("%w: detached", ErrNotHeld), true) {
		return false
	}
	h.released, h.outcome = closedChan, h.err
	return true
}

// check returns why the hold is over. It looks for itself at what the goroutine
// may not have seen yet: successors, and the clock.
func (h *holding) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	last, renewed := newest(h.session)
	h.session = last
	if renewed != nil {
		h.endLocked(fmt.Errorf("%w: the session was renewed: 0x%x is over", ErrNotHeld, uint64(last.ID())), false)
	} else if _, err := last.Successor(canceled); errors.Is(err, zk.ErrClosed) {
		h.endLocked(errClosed, true)
	} else if at := last.ExpiresAt(); !time.Now().Before(at) {
		h.endLocked(fmt.Errorf("%w: no server has answered for so long that the session may have expired", ErrNotHeld), false)
	}
	return h.err
}

// end closes Lost, with the reason, and reports whether it was open. gone: the
// znode need not be deleted any more.
func (h *holding) end(why error, gone bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.endLocked(why, gone)
}

func (h *holding) endLocked(why error, gone bool) bool {
	if h.err != nil {
		return false
	}
	h.err, h.gone = why, gone
	close(h.lost)
	for _, cancel := range h.contexts {
		cancel(why)
	}
	h.contexts = nil
	return true
}

// stop ends the goroutine.
func (h *holding) stop() {
	h.mu.Lock()
	h.leaving = true
	if h.stopCall != nil {
		h.stopCall()
	}
	h.timer.Reset(0)
	h.mu.Unlock()
	h.left.Wait()
}

// release is Release. soon: it waits for no other connection.
func (h *holding) release(soon bool) error {
	h.mu.Lock()
	if h.released != nil {
		released := h.released
		h.mu.Unlock()
		<-released
		return h.outcome
	}
	h.released = make(chan struct{})
	defer close(h.released)
	why := h.err
	h.id.depart(h.claim)
	h.endLocked(ErrReleased, false)
	h.mu.Unlock()

	h.stop()
	h.id.disarm(h.session, h.claim.own) // before the deletion, which would fire it
	h.claim.own = nil
	if h.gone {
		h.id.finish(h.session, h.claim)
	} else {
		ctx, cancel := patience(h.session)
		defer cancel()
		h.outcome = h.id.giveUp(ctx, h.session, h.claim, soon)
	}
	if why != nil && why != ErrReleased {
		h.outcome = why
	}
	return h.outcome
}
