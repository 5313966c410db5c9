package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// This file is about what a hostile reading of the client has found.

// A channel that is closed while its event waits is found closed by whoever looks
// next: also by an event that has to queue Gaps first, or by List.
func TestClosedWhileGapsAreOwed(t *testing.T) {
	if suite.RaceEnabled {
		t.Skip("to close a channel that is being sent to is a race: see make unraced")
	}
	for i := range 300 {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			waits, other := make(chan zk.Event), make(chan zk.Event, 9)
			for _, path := range []string{"/a", "/b", "/c"} {
				suite.Arm(t, s, l, zk.PersistentWatch, path, waits)
				suite.Arm(t, s, l, zk.PersistentWatch, path, other)
			}
			suite.Arm(t, s, l, zk.DataWatch, "/a", waits)
			advance(t, s, l, 10)
			l.Send(suite.Happened(zk.Changed, "/b", -1))
			synctest.Wait()
			d := r.Begin(s.Detach())
			l = r.Accept()
			l.Greet()
			q := l.Want(wire.OpSetWatches2, "")
			w := s.Config().Watches
			var wg sync.WaitGroup
			wg.Go(func() { close(waits) })
			wg.Go(func() { w.List() })
			wg.Go(func() { l.Send(suite.Happened(zk.Deleted, "/a", -1), suite.Answer(q.Xid, 11, nil)) })
			wg.Wait()
			next := d.Session()
			synctest.Wait()
			for _, x := range w.List() {
				assert.Assert(t, x.Path != "" && x.Kind == zk.PersistentWatch, "%d: %+v", i, x)
			}
			assert.Equal(t, w.Len(), 3) // those of the other channel
			assert.Equal(t, suite.Told(suite.Taken(other)[1:]...), "gap /a, gap /b, gap /c, deleted /a")
			next.Detach()
		})
	}
}

// A consumer that takes an event and then calls finds all that it made room for when
// the call returns, in every channel.
func TestRoomIsUsedBeforeTheAnswer(t *testing.T) {
	opts := suite.SimOptions(zktest.V39)
	opts.InMemory = true
	e := suite.Private(t, 1, opts)
	s, other := e.Session(), e.Session()
	for _, path := range []string{"/a", "/b"} {
		e.Create(other, path, "")
	}
	a, b := make(chan zk.Event, 1), make(chan zk.Event, 9)
	assert.NilError(t, s.AddWatch(e.Ctx, "/a", zk.WatchPersistent, a))
	assert.NilError(t, s.AddWatch(e.Ctx, "/b", zk.WatchPersistent, b))
	for round := range 500 {
		e.Set(other, "/a", "1")
		e.Set(other, "/a", "2")
		e.Set(other, "/b", "1")
		for s.Stats().Queued != 2 { // a is full with the first
			runtime.Gosched()
		}
		<-a
		e.Set(s, "/b", "2")
		assert.Equal(t, len(b), 2, "round %d", round)
		<-a
		<-b
		<-b
	}
}

// A Batch that is given up leaves armed what it reports as answered, and nothing else,
// from the moment that it returns.
func TestBatchGivenUpWhileItArms(t *testing.T) {
	const n = 600
	ops := make([]zk.Op, n)
	channels := make([]chan zk.Event, n)
	for i := range ops {
		channels[i] = make(chan zk.Event, 1)
		ops[i] = zk.GetOp{Path: fmt.Sprintf("/n%d", i), Watch: channels[i]}
	}
	for range 60 {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			ctx, cancel := context.WithCancel(suite.BG)
			var res []zk.Result
			call := suite.Start(t, func() error {
				res, _ = s.Batch(ctx, ops...) // each result has its error
				for i := n - 1; i >= 0; i-- {
					err := s.RemoveWatch(suite.BG, ops[i].(zk.GetOp).Path, channels[i])
					if armed := err == nil; armed != (res[i].Err == nil) {
						t.Errorf("operation %d: %v, RemoveWatch: %v", i, res[i].Err, err)
						break
					}
				}
				return nil
			})
			var out [][]byte
			for range n {
				out = append(out, suite.Fitting(l.Next(), 1))
			}
			before := s.Stats().Replies
			go func() {
				for s.Stats().Replies == before { // they are being armed when it changes
				}
				cancel()
			}()
			l.Send(out[:n-1]...)
			call.Wait()
			l.Send(out[n-1])
			synctest.Wait()
			assert.Equal(t, s.Watches().Len(), 0)
			s.Detach()
		})
	}
}

// partWrites is a connection that takes the first frame of a write at once, and the
// rest after a while.
type partWrites struct {
	net.Conn
	pause time.Duration
}

func (c partWrites) Write(b []byte) (int, error) {
	first := 4 + wire.FrameLen(b)
	if first >= len(b) {
		return c.Conn.Write(b)
	}
	n, err := c.Conn.Write(b[:first])
	if err != nil {
		return n, err
	}
	time.Sleep(c.pause)
	m, err := c.Conn.Write(b[first:])
	return n + m, err
}

// A caller that was answered is not kept writing for others, whatever their number:
// who waits behind its answer, with a context or for an event, is not held up.
func TestNoCallerWritesForOthers(t *testing.T) {
	for range 40 {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			r.Lay = func(c net.Conn) net.Conn { return partWrites{c, 3 * time.Second} }
			s, l := r.Open(r.Config())
			ch := make(chan zk.Event, 1)
			suite.Arm(t, s, l, zk.DataWatch, "/watched", ch)
			slow := suite.Start(t, func() error { return s.Sync(suite.BG, "/slow") }) // keeps others from writing alone
			q := l.Want(wire.OpSync, "/slow")
			began := time.Now()
			var plain []*suite.Under
			for range 3 {
				plain = append(plain, suite.Start(t, func() error { return s.Sync(suite.BG, "/plain") }))
			}
			first := l.Next()
			l.Send(suite.Answer(q.Xid, 1, nil), suite.Answer(first.Xid, 1, nil), suite.Happened(zk.Changed, "/watched", -1))
			<-ch
			slow.OK()
			assert.Equal(t, time.Since(began), time.Duration(0))
			for range len(plain) - 1 {
				l.Send(suite.Answer(l.Next().Xid, 1, nil))
			}
			for _, u := range plain {
				u.OK()
			}
			s.Detach()
		})
	}
}

// A watch whose path no frame could restore is not armed.
func TestWatchThatCannotBeRestored(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.MaxRequest = 200
		s, l := r.Open(conf)
		path := "/" + strings.Repeat("x", 169)
		ch := make(chan zk.Event, 1)
		for kind, call := range suite.WatchCalls {
			err := call(s, path, ch)
			suite.CheckOutcome(t, err, zk.NotSent, zk.ErrTooLarge)
			assert.Assert(t, !errors.Is(err, zk.ErrConnection), "%v", kind)
		}
		for _, op := range []zk.Op{zk.GetOp{Path: path, Watch: ch}, zk.ExistsOp{Path: path, Watch: ch}, zk.ChildrenOp{Path: path, Watch: ch}} {
			_, err := s.Batch(suite.BG, op)
			suite.CheckOutcome(t, err, zk.NotSent, zk.ErrTooLarge)
		}
		l.Quiet()
		get := suite.Start(t, func() error { return suite.ErrOf2(s.Get(suite.BG, path, nil)) })
		l.Send(suite.Fitting(l.Want(wire.OpGetData, path), 1))
		get.OK()
		path = path[:160] // the longest
		for _, kind := range suite.Kinds {
			suite.Arm(t, s, l, kind, path, ch)
		}
		d := r.Begin(s.Detach())
		l = r.Accept()
		l.Greet()
		for restored := 0; restored < len(suite.Kinds)+1; { // the child watch twice: it has been deaf
			q := l.Next()
			assert.Assert(t, 8+len(q.Body) <= 200)
			w := q.Watches(t)
			restored += len(w.Data) + len(w.Exist) + len(w.Child) + len(w.Persistent) + len(w.Recursive)
			l.Send(suite.Answer(q.Xid, 1, nil))
		}
		d.Session().Detach()
	})
}

// A Multi, a GetACL and a WhoAmI take little more memory than their reply has bytes,
// whatever is in it.
func TestRepliesTakeNoMoreThanTheirSize(t *testing.T) {
	const size = 8 << 20
	fill := func(element []byte, before int) []byte {
		n := size / len(element)
		b := make([]byte, 0, size+200)
		if before > 0 {
			b = wire.AppendInt32(b, int32(n))
		}
		for range n {
			b = append(b, element...)
		}
		return b
	}
	stat := wire.Stat{}.Append(nil)
	for _, c := range []struct {
		name string
		body []byte
		want error
		call func(s *zk.Session) error
	}{
		{"multi", wire.AppendMultiEnd(fill(wire.MultiResult{Op: wire.OpDelete}.Append(nil), 0)), zk.ErrProtocol,
			func(s *zk.Session) error { return suite.ErrOf(s.Multi(suite.BG, zk.DeleteOp{Path: "/a"})) }},
		{"check in a batch", wire.AppendMultiEnd(fill(wire.MultiResult{Op: wire.OpCheck}.Append(nil), 0)), zk.ErrProtocol,
			func(s *zk.Session) error { return suite.ErrOf(s.Batch(suite.BG, zk.CheckOp{Path: "/a"})) }},
		{"multiread", wire.AppendMultiEnd(fill(wire.MultiResult{Op: wire.OpError, Err: -101}.Append(nil), 0)), zk.ErrProtocol,
			func(s *zk.Session) error { return suite.ErrOf(s.MultiRead(suite.BG, zk.GetOp{Path: "/a"})) }},
		{"getacl", append(fill(make([]byte, 12), 1), stat...), nil,
			func(s *zk.Session) error { return suite.ErrOf2(s.GetACL(suite.BG, "/a")) }},
		{"getacl in a batch", append(fill(make([]byte, 12), 1), stat...), nil,
			func(s *zk.Session) error { return suite.ErrOf(s.Batch(suite.BG, zk.GetACLOp{Path: "/a"})) }},
		{"whoami", fill(make([]byte, 8), 1), nil, func(s *zk.Session) error { return suite.ErrOf(s.WhoAmI(suite.BG)) }},
		{"children", append(fill(make([]byte, 4), 1), stat...), nil,
			func(s *zk.Session) error { return suite.ErrOf2(s.Children(suite.BG, "/a", nil)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				call := suite.Start(t, func() error { return c.call(s) })
				frame := suite.Framed(wire.ReplyHeader{Xid: l.Next().Xid, Zxid: 1}, raw(c.body))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				l.Send(frame)
				err := call.Wait()
				runtime.ReadMemStats(&after)
				if c.want == nil {
					assert.NilError(t, err)
				} else {
					assert.ErrorIs(t, err, c.want)
				}
				// The pipe's copies and the reader's buffer are four times the frame.
				took := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(c.body))
				t.Logf("%.1f times the reply", took)
				assert.Assert(t, took < 10)
				s.Detach()
			})
		})
	}
}

type raw []byte

func (r raw) Append(dst []byte) []byte { return append(dst, r...) }

// Who arms one-shot watches again and again without receiving is refused, before
// memory runs out: nothing is sent, and the session lives.
func TestOneShotsThatNobodyReceives(t *testing.T) {
	defer suite.Shrink(&limits.OneShotQueue, 10)()
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event)
		armed := 0
		for {
			get := suite.Start(t, func() error { return suite.ErrOf2(s.Get(suite.BG, "/a", ch)) })
			synctest.Wait()
			if get.Returned() {
				suite.CheckOutcome(t, get.Wait(), zk.NotSent, zk.ErrSlowConsumer)
				assert.Assert(t, !errors.Is(get.Wait(), zk.ErrConnection))
				break
			}
			armed++
			assert.Assert(t, armed < 100)
			l.Send(suite.Fitting(l.Want(wire.OpGetData, "/a"), 1), suite.Happened(zk.Changed, "/a", -1))
			get.OK()
		}
		assert.Equal(t, armed, 12) // the first was armed when nothing was undelivered
		l.Quiet()
		_, err := s.Batch(suite.BG, zk.GetOp{Path: "/a"}, zk.ExistsOp{Path: "/b", Watch: ch})
		suite.CheckOutcome(t, err, zk.NotSent, zk.ErrSlowConsumer)
		get := suite.Start(t, func() error { return suite.ErrOf2(s.Get(suite.BG, "/a", nil)) }) // without a watch
		l.Send(suite.Fitting(l.Want(wire.OpGetData, "/a"), 1))
		get.OK()
		for range armed {
			<-ch
		}
		// Very many that were armed all at once may fire all at once, and each that is
		// received is armed again.
		many := make(chan zk.Event)
		for i := range 100 {
			suite.Arm(t, s, l, zk.DataWatch, fmt.Sprint("/", i), many)
		}
		for i := range 100 {
			l.Send(suite.Happened(zk.Changed, fmt.Sprint("/", i), -1))
		}
		for range 100 {
			suite.Arm(t, s, l, zk.DataWatch, (<-many).Path, many)
		}
		s.Detach()
	})
}

// Undelivered events of a State are checked as what a server sends is.
func TestStateWithOddEvents(t *testing.T) {
	const armed = `{"path":"/a","kind":%d,"channel":1,"type":%d,"event":%q}`
	for _, c := range []struct {
		kind, typ int
		event     string
		ok        bool
	}{
		{1, 3, "/a", true}, {1, 2, "/a", true}, {2, 1, "/a", true}, {3, 4, "/a", true}, {4, 4, "/a", true}, {4, 8, "/a", true},
		{5, 3, "/a", true}, {5, 3, "/a/b/c", true}, {5, 3, "/a//b", true}, {5, 8, "/a", true},
		{1, 4, "/a", false}, {1, 8, "/a", false}, {3, 3, "/a", false}, {5, 4, "/a", false}, {4, 99, "/a", false}, {4, 0, "/a", false},
		{4, -1, "/a", false}, {1, 3, "/b", false}, {4, 3, "/a/b", false}, {5, 3, "/ab", false}, {5, 3, "", false},
		{5, 3, "/a/\x00", false}, {5, 8, "/a/b", false}, {9, 3, "/a", false},
	} {
		text := `{"floor":1,"events":[` + fmt.Sprintf(armed, c.kind, c.typ, c.event) + `]}`
		var w zk.Watches
		err := json.Unmarshal([]byte(text), &w)
		assert.Equal(t, err == nil, c.ok, "%s: %v", text, err)
		if !c.ok {
			assert.Equal(t, w.Undelivered(), 0)
		}
	}
}

// A server may say by any answer with a timeout of zero that a session has expired.
func TestShortHandshake(t *testing.T) {
	for _, c := range []struct {
		name string
		r    wire.ConnectResponse
		want error
	}{
		{"expired, 14 bytes", wire.ConnectResponse{Password: make([]byte, 14)}, zk.ErrExpired},
		{"expired, no password", wire.ConnectResponse{Password: []byte{}}, zk.ErrExpired},
		{"expired, read-only flag", wire.ConnectResponse{Password: make([]byte, 3), HasReadOnly: true}, zk.ErrExpired},
		{"granted, no password", wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: []byte{}}, zk.ErrProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				conf := r.Config()
				conf.ID, conf.Password = suite.RigID, suite.RigPassword
				d := r.Begin(conf)
				l := r.Accept()
				l.Connect()
				l.Send(suite.Framed(c.r))
				assert.ErrorIs(t, d.Wait(), c.want)
			})
		})
	}
}

// Closed channels are reported once each, whatever is queued for them.
func TestClosedChannelIsReportedOnce(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		log := new(suite.LockedBuffer)
		conf := r.Config()
		conf.Logger = slog.New(slog.NewTextHandler(log, nil))
		s, l := r.Open(conf)
		gone, full := make(chan zk.Event), make(chan zk.Event)
		close(gone)
		suite.Arm(t, s, l, zk.PersistentWatch, "/full", full)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/", gone)
		suite.Arm(t, s, l, zk.PersistentWatch, "/a", gone)
		l.Send(suite.Happened(zk.Changed, "/full", -1)) // nothing passes it
		for range 5 {
			l.Send(suite.Happened(zk.Changed, "/a", -1))
		}
		synctest.Wait()
		assert.Equal(t, s.Stats().Queued, 1+6)
		<-full
		synctest.Wait()
		assert.Equal(t, s.Stats().Queued, 0)
		assert.Equal(t, s.Watches().Len(), 1)
		l.Send(suite.Happened(zk.Changed, "/full", -1))
		<-full
		s.Detach()
		assert.Equal(t, strings.Count(log.String(), "closed channel"), 1)
	})
}

// A State comes through programs that read JSON numbers as doubles, and one that was
// written with numbers can still be read. One that cannot be right is refused.
func TestStateThroughDoubles(t *testing.T) {
	want := zk.State{ID: 72057750672244739, Password: []byte("0123456789abcdef"), Zxid: 133143986181}
	old, err := os.ReadFile("../../testdata/inputs/state.json")
	assert.NilError(t, err)
	var s zk.State
	assert.NilError(t, json.Unmarshal(old, &s))
	assert.DeepEqual(t, []any{s.ID, s.Zxid, s.Password}, []any{want.ID, want.Zxid, want.Password})

	for _, id := range []int64{want.ID, 1, -1, math.MaxInt64, math.MinInt64, -4035225261828997117} {
		want.ID, want.Zxid = id, math.MaxInt64-1
		text, err := json.Marshal(want)
		assert.NilError(t, err)
		var loose map[string]any // its numbers are doubles
		assert.NilError(t, json.Unmarshal(text, &loose))
		text, err = json.Marshal(loose)
		assert.NilError(t, err)
		assert.NilError(t, json.Unmarshal(text, &s))
		assert.DeepEqual(t, []any{s.ID, s.Zxid, s.Password}, []any{want.ID, want.Zxid, want.Password})
	}
	var w zk.Watches
	assert.NilError(t, json.Unmarshal([]byte(`{"floor":"0x1f00000005","armed":[{"path":"/a","kind":1,"channel":1}]}`), &w))
	text, err := json.Marshal(&w)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(text), `"0x1f00000005"`), "%s", text)

	for _, bad := range []string{
		`{"ID":7.205775067224474e+16,"Password":"MDEyMzQ1Njc4OWFiY2RlZg=="}`, `{"ID":1}`, `{"ID":"0x1"}`, `{"ID":"x","Password":"MA=="}`,
		`{"ID":"0x11111111111111111","Password":"MA=="}`, `{"ID":9223372036854775808,"Password":"MA=="}`, `{"ID":"","Password":"MA=="}`,
		`{"ID":true,"Password":"MA=="}`, `{"ID":1,"Password":"MA==","Zxid":-1}`, `{"ID":1,"Password":"MA==","Watches":{"floor":-1}}`,
		`{"ID":1,"Password":"MA==","Zxid":"0xffffffffffffffff"}`, `{"ID":1,"Password":7}`, `[]`,
	} {
		s = want
		assert.Assert(t, json.Unmarshal([]byte(bad), &s) != nil, bad)
		assert.Equal(t, s.ID, want.ID)
	}
}

// Session ids are printed as servers print them.
func TestSessionIDsAsServersPrintThem(t *testing.T) {
	rows, err := os.ReadFile("../../testdata/inputs/session-ids.tsv")
	assert.NilError(t, err)
	n := 0
	for line := range strings.Lines(string(rows)) {
		cells := strings.Split(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(line, "#") || len(cells) < 2 {
			continue
		}
		n++
		id, err := strconv.ParseInt(cells[0], 10, 64)
		assert.NilError(t, err)
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			log := new(suite.LockedBuffer)
			conf := r.Config()
			conf.ID, conf.Password = id, suite.RigPassword
			conf.Logger = slog.New(slog.NewTextHandler(log, nil))
			s, _ := r.Open(conf)
			for _, text := range []string{s.String(), s.Config().String(), s.Config().State.String()} {
				assert.Assert(t, strings.Contains(text, cells[1]), text)
			}
			s.Detach()
			for line := range strings.Lines(log.String()) {
				assert.Assert(t, strings.Contains(line, "id="+cells[1]+" "), line)
			}
		})
	}
	assert.Equal(t, n, 5)
}

// A read-only server refuses a write at once, before its answers to reads that it was
// sent earlier. The write is refused in its turn, the reads are answered, and the
// Session lives. Any other reply out of order ends it, here as elsewhere.
func TestReadOnlyRefusesEarly(t *testing.T) {
	open := func(t *testing.T, r *suite.Rig, readOnly bool) (*zk.Session, *suite.Line) {
		conf := r.Config()
		conf.ReadOnly = true
		d := r.Begin(conf)
		l := r.Accept()
		q := l.Connect()
		l.Send(suite.Framed(wire.ConnectResponse{Timeout: q.Timeout, SessionID: suite.RigID, Password: suite.RigPassword, ReadOnly: readOnly, HasReadOnly: true}))
		return d.Session(), l
	}
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := open(t, r, true)
		get := suite.Start(t, func() error { return suite.ErrOf2(s.Get(suite.BG, "/a", nil)) })
		first := l.Want(wire.OpGetData, "/a")
		set := suite.Start(t, func() error { return suite.ErrOf(s.Set(suite.BG, "/a", nil, -1)) })
		second := l.Want(wire.OpSetData, "/a")
		var res []zk.Result
		batch := suite.Start(t, func() (err error) {
			res, err = s.Batch(suite.BG, zk.GetOp{Path: "/1"}, zk.SetOp{Path: "/2"}, zk.SetOp{Path: "/3"}, zk.GetOp{Path: "/4"})
			return err
		})
		var more []suite.Asked
		for range 4 {
			more = append(more, l.Next())
		}
		zxid := s.Zxid()
		l.Send(suite.Refusal(more[2].Xid, 0, zk.ErrNotReadOnly), suite.Refusal(second.Xid, 0, zk.ErrNotReadOnly), suite.Refusal(more[1].Xid, 0, zk.ErrNotReadOnly))
		synctest.Wait()
		assert.Assert(t, !set.Returned() && !get.Returned())
		assert.Equal(t, s.Zxid(), zxid)
		l.Send(suite.Fitting(first, 7))
		get.OK()
		set.Refused(zk.ErrNotReadOnly)
		l.Send(suite.Fitting(more[0], 7), suite.Fitting(more[3], 7))
		batch.Refused(zk.ErrNotReadOnly)
		for i, r := range res {
			assert.Equal(t, errors.Is(r.Err, zk.ErrNotReadOnly), i == 1 || i == 2, "%d: %v", i, r.Err)
		}
		assert.NilError(t, s.Err())
		s.Detach()
	})
	for name, c := range map[string]struct {
		readOnly bool
		xid      int32
		code     zk.Code
	}{
		"not read-only":    {false, 2, zk.ErrNotReadOnly},
		"another code":     {true, 2, zk.ErrNoNode},
		"nobody's":         {true, 3, zk.ErrNotReadOnly},
		"of long ago":      {true, 0, zk.ErrNotReadOnly},
		"of the far end":   {true, math.MaxInt32, zk.ErrNotReadOnly},
		"the same again":   {true, 2, zk.ErrNotReadOnly},
		"answered besides": {true, 2, zk.ErrNotReadOnly},
	} {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := open(t, r, c.readOnly)
				get := suite.Start(t, func() error { return suite.ErrOf2(s.Get(suite.BG, "/a", nil)) })
				first := l.Want(wire.OpGetData, "/a")
				set := suite.Start(t, func() error { return suite.ErrOf(s.Set(suite.BG, "/a", nil, -1)) })
				second := l.Want(wire.OpSetData, "/a")
				switch name {
				case "the same again":
					l.Send(suite.Refusal(2, 0, c.code))
				case "answered besides":
					l.Send(suite.Refusal(2, 0, c.code), suite.Fitting(first, 7))
					get.OK()
					set.Refused(zk.ErrNotReadOnly)
					l.Send(suite.Fitting(second, 7))
				}
				if c.xid > 0 {
					l.TrySend(suite.Refusal(c.xid, 0, c.code))
				} else {
					l.Send(suite.Fitting(first, 7), suite.Refusal(1, 0, c.code))
				}
				<-s.Done()
				assert.ErrorIs(t, s.Err(), zk.ErrProtocol)
				set.Wait()
				get.Wait()
			})
		})
	}
}

// A frame above MaxReply ends the connection as soon as its length is known, and
// the call that waits is told its size and the limit.
func TestOversizeReplyEndsAtOnce(t *testing.T) {
	for cut := 4; cut <= 24; cut += 4 {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			conf := r.Config()
			conf.MaxReply = 1000
			s, l := r.Open(conf)
			get := suite.Start(t, func() error { return suite.ErrOf2(s.Get(suite.BG, "/a", nil)) })
			q := l.Want(wire.OpGetData, "/a")
			frame := suite.Framed(wire.ReplyHeader{Xid: q.Xid, Zxid: 1}, raw(make([]byte, 5000)))
			l.Send(frame[:cut])
			began := time.Now()
			get.Lost(zk.ErrTooLarge)
			assert.Equal(t, time.Since(began), time.Duration(0))
			var size *zk.SizeError
			assert.Assert(t, errors.As(get.Err, &size) && *size == zk.SizeError{Size: 5016, Limit: 1000, Reply: true}, "%v", get.Err)
			assert.Assert(t, zk.Hopeless(get.Err))
			<-s.Done()
			assert.ErrorIs(t, s.Err(), zk.ErrConnection)
			assert.ErrorIs(t, s.Err(), zk.ErrTooLarge)
			assert.Assert(t, errors.As(s.Err(), &size) && size.Size == 5016)
		})
	}
}

// A Multi with a create works on a server that cannot read a create with a Stat.
func TestMultiCreatesBefore35(t *testing.T) {
	server := zktest.NewServer(t, zktest.Options{Version: zktest.V34})
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	defer s.Close()
	for i := range 3 {
		sent := s.Stats().Requests
		res, err := s.Multi(t.Context(), zk.CreateOp{Path: fmt.Sprint("/n", i), ACL: zk.ACLOpen}, zk.CheckOp{Path: "/"})
		assert.NilError(t, err)
		assert.Equal(t, res[0].Path, fmt.Sprint("/n", i))
		assert.Equal(t, s.Stats().Requests-sent, int64(1+max(0, 1-i))) // it learns by the first
	}
	_, err = s.Multi(t.Context(), zk.CreateOp{Path: "/n0", ACL: zk.ACLOpen})
	assert.ErrorIs(t, err, zk.ErrExists)
	_, err = s.Multi(t.Context(), zk.CreateOp{Path: "/c", Mode: zk.Container, ACL: zk.ACLOpen})
	assert.ErrorIs(t, err, zk.ErrMarshalling)
}

// Connect strings of templates and people.
func TestConnectStrings(t *testing.T) {
	rows, err := os.ReadFile("../../testdata/inputs/connect-strings.tsv")
	assert.NilError(t, err)
	decided := map[string]string{ // what the rows leave open, and more
		"zk1:2181,zk2:2181,":         "zk1:2181 zk2:2181",
		"zk1:2181/app,zk2:2181/app":  "error",
		"zk1:2181,zk2:2181 , /app/a": "zk1:2181 zk2:2181",
		"zk1:2181,,zk2:2181":         "error",
		",zk1:2181":                  "error",
		"zk1:2181,,":                 "error",
		"/app":                       "error",
		" , ,":                       "error",
	}
	n := 0
	check := func(text, addrs, chroot string) {
		t.Helper()
		n++
		conf, err := zk.ParseConfig(text)
		if addrs == "error" {
			assert.Assert(t, errors.Is(err, zk.ErrBadArguments) || errors.Is(err, zk.ErrBadPath), "%q: %v, %v", text, conf, err)
			return
		}
		assert.NilError(t, err, "%q", text)
		assert.Equal(t, strings.Join(conf.Addrs, " "), addrs, "%q", text)
		assert.Equal(t, conf.Chroot, chroot, "%q", text)
	}
	for line := range strings.Lines(string(rows)) {
		cells := append(strings.Split(strings.TrimRight(line, "\n"), "\t"), "", "", "")
		text, err := strconv.Unquote(cells[0])
		if err != nil {
			continue
		}
		if want, ok := decided[text]; ok {
			cells[1] = want
			delete(decided, text)
		}
		check(text, cells[1], cells[2])
	}
	for text, want := range decided {
		chroot := ""
		if strings.HasSuffix(text, "/app/a") {
			chroot = "/app/a"
		}
		check(text, want, chroot)
	}
	assert.Equal(t, n, 26)
}
