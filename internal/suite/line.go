package suite

import (
	"errors"
	"io"
	"iter"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Line is the server's end of a connection.
type Line struct {
	*zktest.PipeConn
	T    testing.TB
	Stop chan struct{}
}

// Frame returns the body of the next frame from the client, or why there is none.
func (l *Line) Frame() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(l, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, wire.FrameLen(head[:]))
	_, err := io.ReadFull(l, body)
	return body, err
}

// Asked is a request.
type Asked struct {
	wire.RequestHeader
	Path string // where the request begins with one
	Body []byte // behind the header
}

// ParseAsked decodes the body of a frame from the client.
func ParseAsked(body []byte) (a Asked) {
	d := wire.NewDecoder(body)
	a.RequestHeader.Decode(&d)
	a.Body = d.Rest()
	switch a.Op {
	case wire.OpAuth, wire.OpSASL, wire.OpSetWatches, wire.OpSetWatches2, wire.OpMulti, wire.OpMultiRead, wire.OpReconfig, wire.OpPing, wire.OpCloseSession, wire.OpWhoAmI:
	default:
		a.Path = d.String()
	}
	return a
}

// Armed reports whether a read asks the server to watch.
func (a Asked) Armed() bool { return a.Body[len(a.Body)-1] != 0 }

// Watches decodes a SetWatches of either kind.
func (a Asked) Watches(t testing.TB) wire.SetWatches2Request {
	t.Helper()
	d := wire.NewDecoder(a.Body)
	var two wire.SetWatches2Request
	switch a.Op {
	case wire.OpSetWatches:
		var one wire.SetWatchesRequest
		one.Decode(&d)
		two = wire.SetWatches2Request{RelativeZxid: one.RelativeZxid, Data: one.Data, Exist: one.Exist, Child: one.Child}
	case wire.OpSetWatches2:
		two.Decode(&d)
	default:
		t.Fatalf("%v instead of setWatches", a.Op)
	}
	assert.NilError(t, d.Err())
	assert.Equal(t, d.Len(), 0)
	return two
}

// Next returns the next request; pings are skipped.
func (l *Line) Next() Asked {
	l.T.Helper()
	for {
		body, err := l.Frame()
		if err != nil {
			l.T.Fatalf("no request: %v", err)
		}
		if a := ParseAsked(body); a.Op != wire.OpPing {
			return a
		}
	}
}

// Requests are those that come until the connection ends, pings too.
func (l *Line) Requests() iter.Seq[Asked] {
	return func(yield func(Asked) bool) {
		for {
			body, err := l.Frame()
			if err != nil || !yield(ParseAsked(body)) {
				return
			}
		}
	}
}

// Want returns the next request, which must be this one.
func (l *Line) Want(op wire.Op, path string) Asked {
	l.T.Helper()
	a := l.Next()
	if a.Op != op || a.Path != path {
		l.T.Fatalf("%v %q came where %v %q was due", a.Op, a.Path, op, path)
	}
	return a
}

// Quiet checks that the client has written nothing more, and that the
// connection is open. It takes a nanosecond of the fake clock.
func (l *Line) Quiet() {
	l.T.Helper()
	if body, err := l.soon(); !errors.Is(err, os.ErrDeadlineExceeded) {
		l.T.Fatalf("not quiet: %q, %v", body, err)
	}
}

// HungUp checks that the client has closed the connection, and written nothing before.
func (l *Line) HungUp() {
	l.T.Helper()
	if body, err := l.soon(); err != io.EOF {
		l.T.Fatalf("not closed: %q, %v", body, err)
	}
}

// soon reads a frame that must be there.
func (l *Line) soon() ([]byte, error) {
	synctest.Wait()
	l.SetReadDeadline(time.Now().Add(1))
	defer l.SetReadDeadline(time.Time{})
	return l.Frame()
}

// Connect reads the ConnectRequest.
func (l *Line) Connect() wire.ConnectRequest {
	l.T.Helper()
	q, err := l.TryConnect()
	if err != nil {
		l.T.Fatalf("no ConnectRequest: %v", err)
	}
	return q
}

// TryConnect is Connect for lines that the client may close.
func (l *Line) TryConnect() (q wire.ConnectRequest, err error) {
	body, err := l.Frame()
	if err != nil {
		return q, err
	}
	d := wire.NewDecoder(body)
	q.Decode(&d)
	return q, d.Err()
}

// Greet reads the ConnectRequest and grants what it asks for.
func (l *Line) Greet() wire.ConnectRequest {
	l.T.Helper()
	q := l.Connect()
	l.Send(Welcome(q))
	return q
}

// GrantAuth accepts the credential that comes next.
func (l *Line) GrantAuth() {
	l.T.Helper()
	l.Want(wire.OpAuth, "")
	l.Send(Answer(wire.XidAuth, 0, nil))
}

// Restored answers the SetWatches that comes next, and returns it.
func (l *Line) Restored(zxid int64) wire.SetWatches2Request {
	l.T.Helper()
	a := l.Next()
	w := a.Watches(l.T)
	l.Send(Answer(a.Xid, zxid, nil))
	return w
}

// Send writes frames in one segment.
func (l *Line) Send(frames ...[]byte) {
	l.T.Helper()
	if err := l.TrySend(frames...); err != nil {
		l.T.Fatalf("cannot send: %v", err)
	}
}

// TrySend is Send for lines that the client may close.
func (l *Line) TrySend(frames ...[]byte) error {
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	_, err := l.Write(all)
	return err
}

// Serve answers every request with what f returns, until the connection ends.
// Pings are answered without f.
func (l *Line) Serve(f func(a Asked) [][]byte) {
	go func() {
		for a := range l.Requests() {
			out := [][]byte{Answer(wire.XidPing, 0, nil)}
			if a.Op != wire.OpPing {
				out = f(a)
			}
			if l.TrySend(out...) != nil {
				return
			}
		}
	}()
}

// Chatter sends an event that nobody waits for, again and again.
func (l *Line) Chatter(every time.Duration) {
	go func() {
		for l.TrySend(Happened(zk.Changed, "/nobody", -1)) == nil && l.Pause(every) {
		}
	}()
}

// Pause sleeps, for goroutines that must not do so when the test is over.
func (l *Line) Pause(d time.Duration) bool {
	select {
	case <-l.Stop:
		return false
	case <-time.After(d):
		return true
	}
}
