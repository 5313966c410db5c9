package calls

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk/internal/interlock"
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/registry"
	"github.com/seed-9f8420c6/zk/wire"
)

// Host makes the errors that calls return, and shows hooks and the Logger what happens.
// Callers call Unsent. The timer calls Tick. Whoever ends the connection calls Why, perhaps
// under its lock. The reader calls the others. None may wait for anything.
type Host[E any] interface {
	// Refused makes the error of an operation that the server answered with a code. ended:
	// nothing more comes of the connection.
	Refused(op, path string, code int32, ended bool) error
	// Unanswered makes the error of an operation that has no answer: it was lost, or not
	// sent. oversized is the size of its reply, where that was above the limit.
	Unanswered(op, path string, lost bool, oversized int, end error) error
	// Unsent makes the error of a call that is not sent: for one of the reasons above, for
	// that of its context, or for the end of the connection. Of nil it is nil.
	Unsent(err error) error
	// End makes the error that ends a connection, by an answer with this code; 0: Close was
	// answered. what names the client's own request that was answered, or is empty.
	End(code int32, what string) error
	// Malformed is why a connection is over by a frame that cannot be read.
	Malformed(what string, err error) error
	// Overflow is why it is over by events that nobody receives.
	Overflow(err error) error

	// Event shows the hooks an event. queued: not all channels have it. An error ends the
	// connection.
	Event(ev E, queued bool) error
	// Lost shows the Logger a watch that was lost to a closed channel.
	Lost(x registry.Lost)

	// Why, Tick, Pong and Finish are those of pipeline.Handler.
	Why(err error) error
	Tick(now time.Time, longest pipeline.Waiting)
	Pong(took time.Duration) error
	Finish(end error) error
}

// Engine is what a session does with its calls and with what the reader takes: it is the
// handler of a pipeline.
type Engine[T ~int32, E registry.Event[T]] struct {
	line   *pipeline.Conn
	reg    *registry.Registry[T, E]
	host   Host[E]
	hooked bool // the Host has a hook for events

	spare     spares[E]
	interlock interlock.Interlock // what the server is asked about watches; under the lock of line
	// refusedWatches: a SetWatches was answered with an error. Only the reader touches it.
	refusedWatches bool

	events, ignored, closed atomic.Int64
	lastZxid                atomic.Int64 // at the end
}

// Init makes an Engine ready: for a connection, whose handler it is, and for what is
// watched. hooked: the Host wants to see events.
func (e *Engine[T, E]) Init(line *pipeline.Conn, reg *registry.Registry[T, E], host Host[E], hooked bool) {
	e.line, e.reg, e.host, e.hooked = line, reg, host, hooked
}

// Counts are those of notifications.
type Counts struct {
	// Events had a channel that was armed for them, and Ignored none.
	Events, Ignored int64
	// Closed are the watches lost to closed channels.
	Closed int64
}

// Counts returns a snapshot.
func (e *Engine[T, E]) Counts() Counts {
	return Counts{e.events.Load(), e.ignored.Load(), e.closed.Load()}
}

// LastZxid returns the newest zxid of the connection, once that is over.
func (e *Engine[T, E]) LastZxid() int64 { return e.lastZxid.Load() }

// New takes a call from the Engine's spares. Spares for all Engines would carry the calls'
// channels from one testing/synctest bubble to another, which is fatal.
func (e *Engine[T, E]) New(k *Kind, op, path string) *Call[E] {
	c := e.spare.get()
	if c == nil {
		c = new(Call[E])
		c.Init(c)
	}
	c.Kind, c.Op, c.Path = k, op, path
	c.Own = k.Own
	return c
}

// Recycle gives a call back that nobody else knows any more.
func (e *Engine[T, E]) Recycle(c *Call[E]) {
	large := len(c.Data) >= pipeline.Large || c.Lent()
	c.Reset()
	c.Request = Request[E]{} // two assignments: for one, the compiler would make a copy first
	c.Result = Result{}
	e.spare.put(c, large)
}

// spares are calls for the next ones: one at hand, if it was large, and the others in a pool.
// After each garbage collection a pool costs an allocation, and large values make these
// frequent. Small calls find none at hand, and pay for no compare-and-swap.
type spares[E any] struct {
	one  atomic.Pointer[Call[E]]
	pool sync.Pool
}

// get returns nil if there is none.
func (p *spares[E]) get() *Call[E] {
	if c := p.one.Load(); c != nil && p.one.CompareAndSwap(c, nil) {
		return c
	}
	c, _ := p.pool.Get().(*Call[E])
	return c
}

func (p *spares[E]) put(c *Call[E], large bool) {
	if !large || p.one.Load() != nil || !p.one.CompareAndSwap(nil, c) {
		p.pool.Put(c)
	}
}

// Chunk lets the registry ask anew whether what is queued has to wait.
func (e *Engine[T, E]) Chunk() { e.reg.Chunk() }

// Hand wakes a caller, behind the events before its answer.
func (e *Engine[T, E]) Hand(p *pipeline.Call) { e.reg.Answer(p.Wake()) }

// Drop recycles a call that was given up.
func (e *Engine[T, E]) Drop(p *pipeline.Call) { e.Recycle(p.Owner.(*Call[E])) }

// Idle gives memory back.
func (e *Engine[T, E]) Idle() {
	e.reg.Trim()
	e.spare.one.Store(nil)
}

// Why, Tick and Pong are the Host's.
func (e *Engine[T, E]) Why(err error) error                          { return e.host.Why(err) }
func (e *Engine[T, E]) Tick(now time.Time, longest pipeline.Waiting) { e.host.Tick(now, longest) }
func (e *Engine[T, E]) Pong(took time.Duration) error                { return e.host.Pong(took) }

// Ending forgets what the server was asked. A call that waits for an AddWatch sees Dying.
func (e *Engine[T, E]) Ending() { e.interlock = interlock.Interlock{} }

// Finish lets the events stand still.
func (e *Engine[T, E]) Finish(end error) error {
	e.reg.Stop()
	e.Rest()
	e.lastZxid.Store(e.reg.Zxid())
	e.reg.NoteXid(e.line.Xid())
	return e.host.Finish(end)
}

// Rest shows the hooks the Gaps that came without an event, and deals with the watches that
// closed channels have lost: the server is told again what is left, and the Logger hears
// of them.
func (e *Engine[T, E]) Rest() {
	if !e.reg.News() {
		return
	}
	if err := e.showGaps(); err != nil {
		e.line.Fail(e.host.Why(err), true)
	}
	lost, recursive := e.reg.TakeLost()
	for _, path := range recursive {
		e.line.Lock()
		e.rewatchLocked(path)
		e.line.Unlock()
	}
	for _, x := range lost {
		e.closed.Add(1)
		e.host.Lost(x)
	}
}

// Event takes a notification. One that nobody here watches for is legal: it comes after a
// cancelled call, a closed channel or a second Deleted.
func (e *Engine[T, E]) Event(zxid int64, d *wire.Decoder) error {
	typ := d.Int32()
	d.Int32() // state
	path := d.Buffer()
	if err := d.Err(); err != nil {
		return e.host.Malformed("event", err)
	}
	if typ < wire.EventNodeCreated || typ > wire.EventNodeChildrenChanged || len(path) == 0 {
		e.ignored.Add(1)
		return nil
	}
	return e.notify(T(typ), path, zxid)
}

// notify hands an event to the watches, and shows it to the hooks, after the Gaps that go
// before it.
func (e *Engine[T, E]) notify(typ T, path []byte, zxid int64) error {
	var got *registry.Notified[E]
	if e.hooked {
		got = new(registry.Notified[E])
	}
	switch n, err := e.reg.Notify(typ, path, zxid, got); {
	case err != nil:
		return e.host.Overflow(err)
	case n == 0:
		e.ignored.Add(1)
		return nil
	}
	e.events.Add(1)
	if got == nil {
		return nil
	}
	if err := e.showGaps(); err != nil {
		return err
	}
	return e.host.Event(got.Event, got.Queued)
}

// showGaps shows the hooks the Gaps that are new, if there are any.
func (e *Engine[T, E]) showGaps() error {
	if !e.hooked || !e.reg.News() {
		return nil
	}
	gaps, queued := e.reg.TakeGaps()
	for _, ev := range gaps {
		if err := e.host.Event(ev, queued); err != nil {
			return err
		}
	}
	return nil
}
