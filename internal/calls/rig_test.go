package calls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/interlock"
	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/registry"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// The application's types.
type (
	eventType int32
	event     struct {
		Type eventType
		Path string
		Zxid int64
	}
	call = Call[event]
)

const (
	created eventType = iota + 1
	deleted
	changed
	children
	gap eventType = handover.Gap
)

var bg = context.Background()

// The operations of these tests.
var (
	kindGet    = Kind{Decode: func(r *Result, d *wire.Decoder) { r.Str = d.String() }}
	kindExists = Kind{Excuse: func(r *Result, code int32) bool {
		r.Missing = code == wire.ErrNoNode
		return r.Missing
	}}
	kindSwitched = Kind{MayStayOpen: true}
	kindWatch    = Kind{}
)

// host makes errors of text, and notes what it is shown.
type host struct {
	conn     *pipeline.Conn
	notes    []string
	eventErr error
	over     bool // the connection was over when Refused was called last
}

func (h *host) note(format string, args ...any) {
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}

func (h *host) Refused(op, path string, code int32, ended bool) error {
	h.conn.Lock()
	h.over = h.conn.Ended() != nil
	h.conn.Unlock()
	return fmt.Errorf("%s %s refused: %d, ended %t", op, path, code, ended)
}

func (h *host) Unsent(err error) error { return err }

func (h *host) Unanswered(op, path string, lost bool, oversized int, end error) error {
	return fmt.Errorf("%s %s: lost %t, %d too large, %w", op, path, lost, oversized, end)
}

func (h *host) End(code int32, what string) error      { return fmt.Errorf("end %d %s", code, what) }
func (h *host) Malformed(what string, err error) error { return fmt.Errorf("malformed %s", what) }
func (h *host) Overflow(err error) error               { return fmt.Errorf("overflow: %w", err) }
func (h *host) Why(err error) error                    { return err }
func (h *host) Lost(x registry.Lost)                   { h.note("lost %s %d", x.Path, x.Kind) }
func (h *host) Tick(time.Time, pipeline.Waiting)       {}
func (h *host) Pong(time.Duration) error               { return nil }
func (h *host) Finish(end error) error                 { h.note("finished: %v", end); return end }
func (h *host) Event(ev event, queued bool) error {
	h.note("event %d %s, queued %t", ev.Type, ev.Path, queued)
	return h.eventErr
}

// rig is an Engine on a connection, whose other end the test plays.
type rig struct {
	t *testing.T
	Engine[eventType, event]
	watched registry.Registry[eventType, event]
	shown   host
	conn    *pipeline.Conn
	server  net.Conn
}

// play runs a test in a bubble of its own.
func play(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, open(t)) })
}

// open opens a connection, which the end of the test closes.
func open(t *testing.T) *rig {
	r := &rig{t: t}
	client, server := net.Pipe()
	r.server = server
	r.conn = pipeline.New(client, &r.Engine, pipeline.Options{MaxReply: 1000})
	r.shown.conn = r.conn
	r.Init(r.conn, &r.watched, &r.shown, true)
	r.conn.Greet(time.Now(), 0, 0)
	r.watched.Start()
	r.conn.Start(time.Hour, 0, false)
	t.Cleanup(func() { r.end() })
	return r
}

// end closes the connection and returns why it is over.
func (r *rig) end() error {
	r.server.Close()
	<-r.conn.Done()
	return r.ended()
}

// ended returns why the connection is over, or nil.
func (r *rig) ended() error {
	synctest.Wait()
	r.conn.Lock()
	defer r.conn.Unlock()
	return r.conn.Ended()
}

// unasked checks that the server is being asked nothing about the watches of any path.
func (r *rig) unasked() {
	r.t.Helper()
	assert.Equal(r.t, fmt.Sprint(r.interlock), fmt.Sprint(interlock.Interlock{}))
}

// arm arms a new channel with so much room.
func (r *rig) arm(path string, kind watches.Kind, room int) chan event {
	ch := make(chan event, room)
	r.watched.Arm(path, kind, false, ch)
	return ch
}

// got takes what is in a channel.
func got(ch chan event) (list []event) {
	synctest.Wait()
	for len(ch) > 0 {
		list = append(list, <-ch)
	}
	return list
}

// get is a call that may arm a channel.
func (r *rig) get(path string, watch chan event) *call {
	c := r.New(&kindGet, "get", path)
	c.PathWatch(wire.OpGetData, path, watch != nil)
	c.Arm(watch, watches.Data, path)
	return c
}

// addWatch is a call that arms a channel for more than one event.
func (r *rig) addWatch(path string, kind watches.Kind, watch chan event) *call {
	c := r.New(&kindWatch, "addwatch", path)
	c.Frame(wire.OpAddWatch, wire.AddWatchRequest{Path: path, Mode: int32(kind - watches.Persistent)})
	c.Arm(watch, kind, path)
	return c
}

// removeWatch is a call that disarms a channel.
func (r *rig) removeWatch(path string, watch chan event) *call {
	c := r.New(&kindWatch, "removewatch", path)
	c.Frame(wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: path, Type: wire.WatcherAny})
	c.Disarm(path, watch, "")
	return c
}

// waiting is a call whose caller waits.
type waiting struct {
	err  error
	over bool
}

// send sends a call from a goroutine of its own, which waits for the answer.
func (r *rig) send(ctx context.Context, c *call) *waiting {
	w := new(waiting)
	go func() {
		if w.err = r.Submit(ctx, c); w.err == nil {
			if c.Wait(ctx) {
				w.err = ctx.Err()
			} else {
				r.watched.Picked()
				w.err = c.Err
			}
		}
		w.over = true
	}()
	synctest.Wait()
	return w
}

// done checks that a call is over, with an error or without.
func (r *rig) done(w *waiting, want string) {
	r.t.Helper()
	synctest.Wait()
	text := ""
	if w.err != nil {
		text = w.err.Error()
	}
	assert.Assert(r.t, w.over && text == want, "over %t: %q, want %q", w.over, text, want)
}

// shrink lowers a bound of limits.
func shrink(t *testing.T, limit *int, to int) {
	was := *limit
	*limit = to
	t.Cleanup(func() { *limit = was })
}

// request is what the server has read.
type request struct {
	xid  int32
	op   wire.Op
	body []byte // behind its header
	text string // what it asks for, where it is about watches
}

// next reads a request.
func (r *rig) next() request {
	r.t.Helper()
	var head [4]byte
	_, err := io.ReadFull(r.server, head[:])
	assert.NilError(r.t, err)
	frame := make([]byte, wire.FrameLen(head[:]))
	_, err = io.ReadFull(r.server, frame)
	assert.NilError(r.t, err)
	d := wire.NewDecoder(frame)
	q := request{xid: d.Int32(), op: wire.Op(d.Int32()), body: d.Rest()}
	body, ok := map[wire.Op]interface{ Decode(d *wire.Decoder) }{
		wire.OpGetData: new(wire.PathWatchRequest), wire.OpExists: new(wire.PathWatchRequest), wire.OpGetChildren2: new(wire.PathWatchRequest),
		wire.OpAddWatch: new(wire.AddWatchRequest), wire.OpRemoveWatches: new(wire.WatcherTypeRequest),
		wire.OpSetWatches: new(wire.SetWatchesRequest), wire.OpSetWatches2: new(wire.SetWatches2Request),
	}[q.op]
	if ok {
		body.Decode(&d)
		q.text = strings.Replace(fmt.Sprintf("%v %+v", q.op, body), "&", "", 1)
	}
	assert.NilError(r.t, d.Err())
	return q
}

// asks reads a request and checks it.
func (r *rig) asks(want string) request {
	r.t.Helper()
	q := r.next()
	assert.Equal(r.t, q.text, want)
	return q
}

// quiet checks that no request comes.
func (r *rig) quiet() {
	r.t.Helper()
	r.server.SetReadDeadline(time.Now().Add(time.Second))
	_, err := r.server.Read(make([]byte, 1))
	assert.Assert(r.t, errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
	r.server.SetReadDeadline(time.Time{})
}

// reply is the answer to a request.
func reply(xid int32, zxid int64, code int32, body ...wire.Record) []byte {
	b := wire.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}.Append(wire.BeginFrame(nil))
	for _, rec := range body {
		b = rec.Append(b)
	}
	wire.EndFrame(b, 0)
	return b
}

// notice is an event's frame.
func notice(zxid int64, typ eventType, path string) []byte {
	return reply(wire.XidNotification, zxid, 0, wire.WatcherEvent{Type: int32(typ), State: 3, Path: path})
}

// serve sends frames in one piece.
func (r *rig) serve(frames ...[]byte) {
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	r.server.Write(all)
	synctest.Wait()
}

// text is a reply's body.
func text(s string) wire.Record { return wire.PathResponse{Path: s} }
