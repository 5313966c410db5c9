package scripts

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/samples"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// Hostile and broken servers: the table of docs/guarantees.md, in the handshake,
// as a reply and between events. Whatever they send, nothing panics, every call
// ends, the State stays whole, and memory is bounded by what has arrived.

// bytesOf is a record of bytes as they are.
type bytesOf []byte

func (b bytesOf) Append(dst []byte) []byte { return append(dst, b...) }

// length is the head of a frame that announces n bytes.
func length(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(int32(n))) }

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

// hostileFrames break the protocol wherever they stand behind the handshake.
var hostileFrames = map[string][]byte{
	"length -1":              join(length(-1), make([]byte, 100)),
	"length MinInt32":        join(length(math.MinInt32), make([]byte, 100)),
	"length 0":               length(0),
	"length 1":               join(length(1), []byte{0}),
	"length 15":              join(length(15), make([]byte, 15)),
	"an HTTP response":       []byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"),
	"a TLS alert":            {0x15, 3, 1, 0, 2, 2, 40},
	"zeros":                  make([]byte, 4096),
	"ones":                   []byte(strings.Repeat("\xff", 4096)),
	"xid -3":                 suite.Answer(-3, 1, nil),
	"xid -8":                 suite.Answer(-8, 1, nil),
	"xid -9":                 suite.Answer(-9, 1, nil),
	"xid MinInt32":           suite.Answer(math.MinInt32, 1, nil),
	"xid 0":                  suite.Answer(0, 1, nil),
	"xid of nobody":          suite.Answer(77777, 1, wire.GetDataResponse{}),
	"error with xid of none": suite.Refusal(77777, 1, zk.ErrNoNode),
	"auth refused unasked":   suite.Refusal(wire.XidAuth, 0, zk.ErrAuthFailed),
	"event: no type":         suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}),
	"event: no path":         suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}, bytesOf(make([]byte, 8))),
	"event: half a length":   suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}, bytesOf(make([]byte, 10))),
	"event: path too long":   suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}, bytesOf(join(length(3), length(3), length(10), []byte("/w")))),
	"event: path of 2 GiB":   suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}, bytesOf(join(length(3), length(3), length(math.MaxInt32), []byte("/w")))),
	"event: path length -2":  suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}, bytesOf(join(length(3), length(3), length(-2), []byte("/w")))),
}

// harmlessFrames look odd and change nothing.
var harmlessFrames = map[string][]byte{
	"ping unasked":            suite.Answer(wire.XidPing, 99, nil),
	"ping with an error":      suite.Refusal(wire.XidPing, 99, zk.ErrSystem),
	"ping with a body":        suite.Answer(wire.XidPing, 99, wire.PathResponse{Path: "/w"}),
	"auth unasked":            suite.Answer(wire.XidAuth, 99, nil),
	"event: null path":        suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}, bytesOf(join(length(3), length(3), length(-1)))),
	"event: more behind it":   join(suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification}, wire.WatcherEvent{Type: 3, State: 3, Path: "/nobody"}, bytesOf("new fields"))),
	"event: error in header":  suite.Framed(wire.ReplyHeader{Xid: wire.XidNotification, Err: -4}, wire.WatcherEvent{Type: 3, State: 3, Path: "/nobody"}),
	"event: 1 MB of path":     suite.Happened(zk.Changed, "/"+strings.Repeat("x", 1<<20), 5),
	"event: zxid MaxInt64":    suite.Happened(zk.Changed, "/nobody", math.MaxInt64),
	"event: bytes for a path": suite.Happened(zk.Changed, "\xff\xfe\x00", 5),
}

// TestHostileFrames: each of them between events and ahead of replies that are
// due. What stands before it counts, what stands behind it does not, the calls
// are lost, and the next Dial restores everything.
func TestHostileFrames(t *testing.T) {
	for name, frame := range hostileFrames {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				conf := r.Config()
				s, l := r.Open(conf)
				before, behind := make(chan zk.Event, 1), make(chan zk.Event, 1)
				suite.Arm(t, s, l, zk.DataWatch, "/before", before)
				suite.Arm(t, s, l, zk.DataWatch, "/behind", behind)
				answered := suite.Get(t, s, suite.BG, "/answered", nil)
				q := l.Next()
				lost := suite.Get(t, s, suite.BG, "/lost", nil)
				q2 := l.Next()
				batch := suite.Start(t, func() error { _, err := s.Batch(suite.BG, zk.GetOp{Path: "/1"}, zk.GetOp{Path: "/2"}); return err })
				l.Next()
				l.Next()
				l.Send(
					suite.Happened(zk.Changed, "/before", -1), suite.Fitting(q, 40),
					frame,
					suite.Happened(zk.Changed, "/behind", -1), suite.Fitting(q2, 50),
				)
				answered.OK()
				lost.Lost(zk.ErrProtocol)
				batch.Lost(zk.ErrProtocol)
				<-s.Done()
				assert.Assert(t, errors.Is(s.Err(), zk.ErrProtocol) && errors.Is(s.Err(), zk.ErrConnection), "%v", s.Err())
				l.HungUp()
				assert.Equal(t, suite.Told(suite.Taken(before)...), "changed /before")
				assert.Equal(t, len(behind), 0)
				assert.Equal(t, s.Zxid(), int64(40))
				suite.Get(t, s, suite.BG, "/later", nil).Unsent(zk.ErrProtocol)

				d := r.Begin(s.Config())
				l = r.Accept()
				assert.Equal(t, l.Greet().LastZxidSeen, int64(40))
				w := l.Restored(41)
				assert.DeepEqual(t, w.Data, []string{"/behind"})
				assert.Equal(t, w.RelativeZxid, int64(40))
				d.Session()
			})
		})
	}
}

// The same frames where a Dial waits for the answer to its SetWatches.
func TestHostileFramesInDial(t *testing.T) {
	for name, frame := range hostileFrames {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				ch := make(chan zk.Event, 1)
				suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
				conf := s.Detach()
				d := r.Begin(conf)
				l = r.Accept()
				l.Greet()
				q := l.Want(wire.OpSetWatches, "")
				l.Send(frame, suite.Happened(zk.Changed, "/w", -1), suite.Answer(q.Xid, 9, nil))
				err := d.Wait()
				assert.Assert(t, errors.Is(err, zk.ErrNoServer) && errors.Is(err, zk.ErrProtocol), "%v", err)
				l.HungUp()
				assert.Equal(t, len(ch), 0)
				d = r.Begin(conf)
				l = r.Accept()
				l.Greet()
				assert.DeepEqual(t, l.Restored(9).Data, []string{"/w"})
				d.Session()
			})
		})
	}
}

// The answer to a credential overtakes others, and never comes late. If it does all the same, or
// not at all, no Dial waits for ever: an event that is behind the answer to the SetWatches waits
// for that to be taken, and all later answers wait for the event.
func TestHostileLateAuth(t *testing.T) {
	for name, end := range map[string]func(l *suite.Line){
		"it comes":       func(l *suite.Line) { l.Send(suite.Answer(wire.XidAuth, 0, nil)) },
		"it never comes": func(l *suite.Line) { l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				conf := r.Config()
				conf.Auth = []zk.Auth{zk.Digest("u", "p")}
				d := r.Begin(conf)
				l := r.Accept()
				l.Greet()
				l.GrantAuth()
				s := d.Session()
				ch := make(chan zk.Event, 1)
				suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
				conf = s.Detach()

				d = r.Begin(conf)
				l = r.Accept()
				l.Greet()
				l.Want(wire.OpAuth, "")
				l.Restored(5)
				l.Send(suite.Happened(zk.Changed, "/w", 6))
				synctest.Wait()
				end(l)
				err := d.Wait()
				assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /w")
				assert.Equal(t, err == nil, name == "it comes", "%v", err)
			})
		})
	}
}

// Odd frames that newer or confused servers may send without harm.
func TestHarmlessFrames(t *testing.T) {
	for name, frame := range harmlessFrames {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				ch := make(chan zk.Event, 1)
				suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
				u := suite.Get(t, s, suite.BG, "/a", nil)
				q := l.Next()
				l.Send(frame, frame, suite.Happened(zk.Changed, "/w", -1), suite.Fitting(q, 5), frame)
				u.OK()
				synctest.Wait()
				assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /w")
				assert.Equal(t, s.Zxid(), int64(5))
				assert.NilError(t, s.Err())
			})
		})
	}
}

// TestHostileReplies: replies to a Get, of every odd kind.
func TestHostileReplies(t *testing.T) {
	stat := wire.Stat{Version: 7, DataLength: 4}
	body := wire.GetDataResponse{Data: []byte("data"), Stat: stat}.Append(nil)
	for _, c := range []struct {
		name  string
		reply func(xid int32) []byte
		code  zk.Code // what Get returns, and the connection lives
		fatal error   // or this
		zxid  int64   // afterwards; 10 was before
	}{
		{"in order", func(xid int32) []byte { return suite.Answer(xid, 11, bytesOf(body)) }, 0, nil, 11},
		{"unknown code", func(xid int32) []byte { return suite.Refusal(xid, 11, -12345) }, -12345, nil, 11},
		{"unknown code above 0", func(xid int32) []byte { return suite.Refusal(xid, 11, 7) }, 7, nil, 11},
		{"code MinInt32", func(xid int32) []byte { return suite.Refusal(xid, 11, math.MinInt32) }, math.MinInt32, nil, 11},
		{"throttled", func(xid int32) []byte { return suite.Refusal(xid, 11, zk.ErrThrottled) }, zk.ErrThrottled, nil, 11},
		{"an error with a body", func(xid int32) []byte {
			return suite.Framed(wire.ReplyHeader{Xid: xid, Zxid: 11, Err: -101}, bytesOf(body))
		}, zk.ErrNoNode, nil, 11},
		{"an error with garbage", func(xid int32) []byte {
			return suite.Framed(wire.ReplyHeader{Xid: xid, Zxid: 11, Err: -101}, bytesOf("\xff\xff\xff\xff"))
		}, zk.ErrNoNode, nil, 11},
		{"more fields", func(xid int32) []byte { return suite.Answer(xid, 11, bytesOf(string(body)+"of the future")) }, 0, nil, 11},
		{"zxid -1", func(xid int32) []byte { return suite.Answer(xid, -1, bytesOf(body)) }, 0, nil, 10},
		{"zxid 0", func(xid int32) []byte { return suite.Answer(xid, 0, bytesOf(body)) }, 0, nil, 10},
		{"zxid before", func(xid int32) []byte { return suite.Answer(xid, 9, bytesOf(body)) }, 0, nil, 10},
		{"zxid MinInt64", func(xid int32) []byte { return suite.Answer(xid, math.MinInt64, bytesOf(body)) }, 0, nil, 10},
		{"zxid MaxInt64", func(xid int32) []byte { return suite.Answer(xid, math.MaxInt64, bytesOf(body)) }, 0, nil, math.MaxInt64},
		{"no body", func(xid int32) []byte { return suite.Answer(xid, 11, nil) }, 0, zk.ErrProtocol, 10},
		{"data longer than the frame", func(xid int32) []byte { return suite.Answer(xid, 11, bytesOf(join(length(1000), body[4:]))) }, 0, zk.ErrProtocol, 10},
		{"data of 2 GiB", func(xid int32) []byte { return suite.Answer(xid, 11, bytesOf(join(length(math.MaxInt32), body[4:]))) }, 0, zk.ErrProtocol, 10},
		{"data of length -2", func(xid int32) []byte { return suite.Answer(xid, 11, bytesOf(join(length(-2), body[4:]))) }, 0, zk.ErrProtocol, 10},
		{"an event's body", func(xid int32) []byte { return suite.Answer(xid, 11, wire.WatcherEvent{Type: 3, State: 3, Path: "/a"}) }, 0, zk.ErrProtocol, 10},
		{"cut in its length", func(xid int32) []byte { return suite.Answer(xid, 11, bytesOf(body))[:3] }, 0, io.ErrUnexpectedEOF, 10},
		{"cut in its header", func(xid int32) []byte { return suite.Answer(xid, 11, bytesOf(body))[:15] }, 0, io.ErrUnexpectedEOF, 10},
		{"cut in its body", func(xid int32) []byte { return suite.Answer(xid, 11, bytesOf(body))[:50] }, 0, io.ErrUnexpectedEOF, 10},
		{"cut before it", func(xid int32) []byte { return nil }, 0, io.EOF, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				ch := make(chan zk.Event, 1)
				u := suite.Get(t, s, suite.BG, "/0", nil)
				l.Send(suite.Fitting(l.Next(), 10))
				u.OK()
				var data []byte
				u = suite.Start(t, func() (err error) { data, _, err = s.Get(suite.BG, "/a", ch); return err })
				q := l.Next()
				behind := suite.Get(t, s, suite.BG, "/b", nil)
				q2 := l.Next()
				l.Send(c.reply(q.Xid))
				if c.fatal != nil {
					if c.fatal != zk.ErrProtocol {
						l.CloseWrite()
					}
					u.Lost(c.fatal)
					behind.Lost(c.fatal)
					<-s.Done()
					assert.Assert(t, errors.Is(s.Err(), zk.ErrConnection) && errors.Is(s.Err(), c.fatal), "%v", s.Err())
					assert.Equal(t, suite.ArmedList(s.Config().Watches), "")
					assert.Equal(t, len(data), 0)
					l.HungUp()
				} else {
					if c.code == 0 {
						u.OK()
						assert.Equal(t, string(data), "data")
						assert.Equal(t, suite.ArmedList(s.Config().Watches), "data /a")
					} else {
						u.Refused(c.code)
						assert.Equal(t, suite.ArmedList(s.Config().Watches), "")
					}
					l.Send(suite.Fitting(q2, 1))
					behind.OK()
				}
				assert.Equal(t, s.Zxid(), c.zxid)
			})
		})
	}
}

// A zxid that no server has is believed, and every server refuses it: that is no
// expiry and no loop, and giving it up is the application's decision.
func TestHostileZxidFromTheFuture(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		u := suite.Get(t, s, suite.BG, "/a", nil)
		l.Send(suite.Fitting(l.Next(), math.MaxInt64))
		u.OK()
		conf := s.Detach()
		conf.Addrs = []string{"a:1", "b:2", "c:3"}
		d := r.Begin(conf)
		for range 3 {
			l = r.Accept()
			assert.Equal(t, l.Connect().LastZxidSeen, int64(math.MaxInt64))
			l.Close()
		}
		err := d.Wait()
		assert.Assert(t, errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrExpired), "%v", err)
		conf.Zxid = 0
		d = r.Begin(conf)
		l = r.Accept()
		assert.Equal(t, l.Greet().LastZxidSeen, int64(0))
		assert.Equal(t, d.Session().Zxid(), int64(0))
	})
}

// An AddWatch whose answer has an old zxid, or none. A child watch that it has made deaf is
// restored from what was seen before, and the State is one that may be read.
func TestHostileZxidOfAddWatch(t *testing.T) {
	for _, zxid := range []int64{-1, 0, 9, 10} {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			ch := make(chan zk.Event, 1)
			suite.Arm(t, s, l, zk.ChildWatch, "/c", ch)
			advance(t, s, l, 10)
			u := suite.Start(t, func() error { return s.AddWatch(suite.BG, "/c", zk.WatchRecursive, ch) })
			l.Send(suite.Answer(l.Want(wire.OpAddWatch, "/c").Xid, zxid, nil))
			u.OK()
			w := l.Next().Watches(t)
			assert.Equal(t, w.RelativeZxid, int64(10))
			assert.DeepEqual(t, w.Child, []string{"/c"})
			text, err := json.Marshal(s.Detach().State)
			assert.NilError(t, err)
			assert.NilError(t, json.Unmarshal(text, new(zk.State)), "%s", text)
		})
	}
}

// TestHostileBodies: the reply to every kind of request, cut at every byte, and
// with every count and length in it replaced: the call fails or its result is
// what is there, and nothing else happens.
func TestHostileBodies(t *testing.T) {
	bodies := map[string]wire.Op{
		"Create": wire.OpCreate, "CreateStat": wire.OpCreate2, "Get": wire.OpGetData, "Exists": wire.OpExists, "Children": wire.OpGetChildren2,
		"Set": wire.OpSetData, "GetACL": wire.OpGetACL, "SetACL": wire.OpSetACL, "Ephemerals": wire.OpGetEphemerals,
		"AllChildrenNumber": wire.OpAllChildrenNumber, "WhoAmI": wire.OpWhoAmI, "GetConfig": wire.OpGetData, "Reconfig": wire.OpReconfig,
		"Multi": wire.OpMulti, "MultiRead": wire.OpMultiRead, "Batch": wire.OpGetData, "GetACLOp": wire.OpGetACL, "SetACLOp": wire.OpSetACL,
	}
	calls := maps.Clone(suite.Calls)
	for name, op := range map[string]zk.Op{"GetACLOp": zk.GetACLOp{Path: "/a"}, "SetACLOp": zk.SetACLOp{Path: "/a", ACL: zk.ACLOpen}} {
		calls[name] = suite.Call{Do: func(ctx context.Context, s *zk.Session, _ string, _ chan<- zk.Event) error {
			return suite.ErrOf(s.Batch(ctx, op))
		}}
	}
	unread := []string{"Delete", "Sync", "AddWatch", "RemoveWatch", "AddAuth"} // whose replies have nothing that the client looks at
	for name := range calls {
		_, ok := bodies[name]
		assert.Check(t, ok != slices.Contains(unread, name), "no reply to %s", name)
	}
	try := func(t *testing.T, name string, body []byte) (err error) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			u := suite.Start(t, func() error { return calls[name].Do(suite.BG, s, "/a", nil) })
			q := l.Next()
			l.Send(suite.Answer(q.Xid, 1, bytesOf(body)))
			err = u.Wait()
			if err != nil {
				if name == "Multi" || name == "MultiRead" { // an odd result may be an error, as it may be in truth
					var op *zk.OpError
					if errors.As(err, &op) && op.Outcome() == zk.Answered {
						assert.NilError(t, s.Err())
						return
					}
				}
				suite.CheckOutcome(t, err, zk.Lost, zk.ErrProtocol)
				<-s.Done()
				return
			}
			assert.NilError(t, s.Err())
		})
		return err
	}
	for name, op := range bodies {
		t.Run(name, func(t *testing.T) {
			rec := samples.Replies[op]
			assert.Assert(t, rec != nil && calls[name].Do != nil)
			whole := rec.Append(nil)
			assert.NilError(t, try(t, name, whole))
			assert.NilError(t, try(t, name, append(slices.Clone(whole), 1, 2, 3)))
			for n := range whole {
				if err := try(t, name, whole[:n]); err == nil {
					t.Errorf("cut at %d of %d, and the call says nothing", n, len(whole))
				}
			}
			// Whatever stands in four bytes of it: no panic, and an end.
			for at := 0; at+4 <= len(whole); at++ {
				for _, n := range []int{-1, -2, math.MaxInt32, 255} {
					try(t, name, join(whole[:at], length(n), whole[at+4:]))
				}
			}
		})
	}
}

// The replies to a Multi that no server has reason to send.
func TestHostileMulti(t *testing.T) {
	set, check := wire.MultiResult{Op: wire.OpSetData}, wire.MultiResult{Op: wire.OpCheck}
	whole := wire.MultiResponse{Results: []wire.MultiResult{set, check}}.Append(nil)
	header := func(op wire.Op, done bool, err int32) []byte {
		return wire.MultiHeader{Op: op, Done: done, Err: err}.Append(nil)
	}
	for _, c := range []struct {
		name string
		body []byte
		want error // of the call; nil: success
	}{
		{"as it should be", whole, nil},
		{"no results", wire.MultiResponse{}.Append(nil), zk.ErrProtocol},
		{"one result", wire.MultiResponse{Results: []wire.MultiResult{set}}.Append(nil), zk.ErrProtocol},
		{"three results", wire.MultiResponse{Results: []wire.MultiResult{set, check, check}}.Append(nil), zk.ErrProtocol},
		{"no end", whole[:len(whole)-9], zk.ErrProtocol},
		{"half an end", whole[:len(whole)-3], zk.ErrProtocol},
		{"the wrong type", wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpCreate, Path: "/a"}, check}}.Append(nil), zk.ErrProtocol},
		{"the other's type", wire.MultiResponse{Results: []wire.MultiResult{check, set}}.Append(nil), zk.ErrProtocol},
		{"an unknown type", join(header(99, false, 0), header(wire.OpError, true, -1)), zk.ErrProtocol},
		{"an error in the header of a result", join(header(wire.OpSetData, false, -1), wire.Stat{}.Append(nil), header(wire.OpCheck, false, 0), header(wire.OpError, true, -1)), zk.ErrProtocol},
		{"an error without its number", join(header(wire.OpError, false, -103), header(wire.OpCheck, false, 0), header(wire.OpError, true, -1)), zk.ErrProtocol},
		{"failed", wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpError, Err: -2}, {Op: wire.OpError, Err: -103}}}.Append(nil), zk.ErrVersion},
		{"failed with a code of the future", wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpError, Err: -999}, {Op: wire.OpError, Err: -2}}}.Append(nil), zk.Code(-999)},
		{"rolled back, nobody knows why", wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpError, Err: 0}, {Op: wire.OpError, Err: -2}}}.Append(nil), zk.ErrRuntimeInconsistency},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				var res []zk.Result
				u := suite.Start(t, func() (err error) {
					res, err = s.Multi(suite.BG, zk.SetOp{Path: "/a"}, zk.CheckOp{Path: "/b"})
					return err
				})
				q := l.Want(wire.OpMulti, "")
				l.Send(suite.Answer(q.Xid, 1, bytesOf(c.body)))
				switch {
				case c.want == nil:
					u.OK()
				case c.want == zk.ErrProtocol:
					u.Lost(zk.ErrProtocol)
					assert.Equal(t, len(res), 0)
				default:
					suite.CheckOutcome(t, u.Wait(), zk.Answered, c.want)
					assert.Equal(t, len(res), 2)
					for _, x := range res {
						assert.Assert(t, x.Err != nil)
					}
					assert.NilError(t, s.Err())
				}
			})
		})
	}
}

// Names come through as they are, and a null list is an empty one.
func TestHostileNames(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		for _, names := range [][]string{{"", "/", "a/b", "\xff\xfe", "\x00", "..", strings.Repeat("x", 70_000)}, {}, nil} {
			var got []string
			u := suite.Start(t, func() (err error) { got, _, err = s.Children(suite.BG, "/a", nil); return err })
			l.Send(suite.Answer(l.Next().Xid, 1, wire.Children2Response{Children: names}))
			u.OK()
			assert.Assert(t, slices.Equal(got, names), "%q", got)
		}
		ch := make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/", ch)
		l.Send(suite.Happened(zk.Created, "/\xff\xfe\x00", -1))
		assert.Equal(t, (<-ch).Path, "/\xff\xfe\x00")
	})
}

// What a Session was told, its State says to another process: also an event at a path that no
// znode can have. JSON holds no bytes that are not UTF-8, and has U+FFFD for each.
func TestHostileNamesMove(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		suite.Arm(t, s, l, zk.RecursiveWatch, "/a", make(chan zk.Event))
		odd := []string{"/a/", "/a//b", "/a/..", "/a/\x00", "/a/\u0001\ue000", "/a/\xff"}
		for _, path := range odd {
			l.Send(suite.Happened(zk.Created, path, 5))
		}
		synctest.Wait()
		conf := s.Detach()
		text, err := json.Marshal(conf.State)
		assert.NilError(t, err)
		conf.State = zk.State{}
		assert.NilError(t, json.Unmarshal(text, &conf.State))
		ch := make(chan zk.Event, len(odd)+1)
		assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }))
		r.Move(conf, 9)
		for _, path := range odd {
			assert.Equal(t, <-ch, zk.Event{Type: zk.Created, Path: strings.ToValidUTF8(path, "\ufffd"), Zxid: 5})
		}
		assert.Equal(t, (<-ch).Type, zk.Gap)
	})
}

// A frame above MaxReply: the call that it answers is told, and the connection ends.
func TestHostileOversize(t *testing.T) {
	for _, n := range []int{1001, 1 << 20, math.MaxInt32} {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			conf := r.Config()
			conf.MaxReply = 1000
			s, l := r.Open(conf)
			exact := suite.Get(t, s, suite.BG, "/exact", nil)
			q := l.Next()
			l.Send(suite.Answer(q.Xid, 1, wire.GetDataResponse{Data: make([]byte, 1000-16-4-68)}))
			exact.OK()
			u := suite.Get(t, s, suite.BG, "/a", nil)
			q = l.Next()
			behind := suite.Get(t, s, suite.BG, "/b", nil)
			l.Next()
			l.Send(length(n), wire.ReplyHeader{Xid: q.Xid, Zxid: 7}.Append(nil))
			u.Lost(zk.ErrTooLarge)
			assert.Assert(t, strings.Contains(u.Err.Error(), fmt.Sprint(n)), "%v", u.Err)
			assert.Assert(t, errors.Is(u.Err, zk.ErrConnection))
			behind.Lost(zk.ErrConnection)
			assert.Assert(t, !errors.Is(behind.Err, zk.ErrTooLarge), "%v", behind.Err)
			<-s.Done()
			l.HungUp()
		})
	}
}

// Half-close: what was sent before the end counts.
func TestHalfClose(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 1)
		suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
		u := suite.Get(t, s, suite.BG, "/a", nil)
		q := l.Next()
		behind := suite.Get(t, s, suite.BG, "/b", nil)
		l.Next()
		l.Send(suite.Happened(zk.Changed, "/w", -1), suite.Fitting(q, 9))
		l.CloseWrite()
		u.OK()
		behind.Lost(io.EOF)
		<-s.Done()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /w")
		assert.Equal(t, s.Zxid(), int64(9))
		l.HungUp()
	})
}

// A reset in the middle of a frame, on a socket of the system: what came before
// counts, the rest is lost with its connection, and the next Dial restores.
func TestReset(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer listener.Close()
	// accept plays the server of the next connection up to its first request.
	accept := func() (net.Conn, wire.ConnectRequest, func() suite.Asked) {
		conn, err := listener.Accept()
		assert.NilError(t, err)
		frame := func() []byte {
			var head [4]byte
			_, err := io.ReadFull(conn, head[:])
			assert.NilError(t, err)
			body := make([]byte, wire.FrameLen(head[:]))
			_, err = io.ReadFull(conn, body)
			assert.NilError(t, err)
			return body
		}
		var q wire.ConnectRequest
		d := wire.NewDecoder(frame())
		q.Decode(&d)
		_, err = conn.Write(suite.Welcome(q))
		assert.NilError(t, err)
		return conn, q, func() suite.Asked { return suite.ParseAsked(frame()) }
	}
	write := func(conn net.Conn, frames ...[]byte) {
		_, err := conn.Write(join(frames...))
		assert.NilError(t, err)
	}

	ctx := suite.NewContext(t)
	var s *zk.Session
	u := suite.Start(t, func() (err error) {
		s, err = zk.Dial(ctx, zk.Config{Addrs: []string{listener.Addr().String()}, Timeout: suite.Patience})
		return err
	})
	conn, _, next := accept()
	u.OK()
	ch := make(chan zk.Event, 1)
	for _, path := range []string{"/fires", "/stays"} {
		u = suite.Start(t, func() error { _, _, err := s.Get(ctx, path, ch); return err })
		write(conn, suite.Fitting(next(), 5))
		u.OK()
	}
	answered := suite.Start(t, func() error { _, _, err := s.Get(ctx, "/a", nil); return err })
	q := next()
	behind := suite.Start(t, func() error { _, _, err := s.Get(ctx, "/b", nil); return err })
	cut := suite.Fitting(next(), 7)
	write(conn, suite.Happened(zk.Changed, "/fires", -1), suite.Fitting(q, 6), cut[:len(cut)-1])
	answered.OK() // what the system has not handed over yet goes with the reset
	assert.NilError(t, conn.(*net.TCPConn).SetLinger(0))
	conn.Close()
	behind.Lost(zk.ErrConnection)
	suite.Await(t, s.Done())
	assert.Assert(t, errors.Is(s.Err(), syscall.ECONNRESET) || errors.Is(s.Err(), io.ErrUnexpectedEOF), "%v", s.Err())
	assert.Equal(t, suite.Told(suite.Taken(ch)...), "changed /fires")
	assert.Equal(t, s.Zxid(), int64(6))

	u = suite.Start(t, func() (err error) { s, err = s.Redial(ctx); return err })
	conn, hello, next := accept()
	defer conn.Close()
	assert.Equal(t, hello.LastZxidSeen, int64(6))
	q = next()
	assert.DeepEqual(t, q.Watches(t).Data, []string{"/stays"})
	write(conn, suite.Answer(q.Xid, 8, nil))
	u.OK()
	s.Detach()
}

// The body of a reply that has none is not looked at.
func TestBodiesNobodyReads(t *testing.T) {
	for _, name := range []string{"Delete", "Sync", "AddWatch", "AddAuth"} {
		for _, body := range []string{"", "\xff", "\xff\xff\xff\xff", "\x7f\xff\xff\xff" + strings.Repeat("x", 100)} {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				u := suite.Start(t, func() error { return suite.Calls[name].Do(suite.BG, s, "/a", nil) })
				l.Send(suite.Answer(l.Next().Xid, 7, bytesOf(body)))
				u.OK()
				assert.NilError(t, s.Err())
			})
		}
	}
}

// An answer that is cut off anywhere in its body arms no watch, by itself or in
// a Batch, where the answers before it count all the same.
func TestTruncatedReplyArmsNothing(t *testing.T) {
	stat := wire.Stat{Version: 1}
	data, names := wire.GetDataResponse{Data: []byte("data"), Stat: stat}, wire.Children2Response{Children: []string{"a", "b"}, Stat: stat}
	batch := func(op func(path string, ch chan<- zk.Event) zk.Op) func(s *zk.Session, ch chan<- zk.Event) error {
		return func(s *zk.Session, ch chan<- zk.Event) error {
			res, err := s.Batch(suite.BG, op("/before", ch), op("/a", ch), op("/behind", ch))
			assert.NilError(t, res[0].Err)
			suite.CheckOutcome(t, res[2].Err, zk.Lost, zk.ErrProtocol)
			assert.Equal(t, err, res[1].Err)
			return err
		}
	}
	for _, c := range []struct {
		name   string
		call   func(s *zk.Session, ch chan<- zk.Event) error
		reply  wire.Record
		before string // armed by the answer before it
	}{
		{"Get", func(s *zk.Session, ch chan<- zk.Event) error { return suite.ErrOf2(s.Get(suite.BG, "/a", ch)) }, data, ""},
		{"Exists", func(s *zk.Session, ch chan<- zk.Event) error { return suite.ErrOf2(s.Exists(suite.BG, "/a", ch)) }, stat, ""},
		{"Children", func(s *zk.Session, ch chan<- zk.Event) error { return suite.ErrOf2(s.Children(suite.BG, "/a", ch)) }, names, ""},
		{"GetOp", batch(func(path string, ch chan<- zk.Event) zk.Op { return zk.GetOp{Path: path, Watch: ch} }), data, "data /before"},
		{"ExistsOp", batch(func(path string, ch chan<- zk.Event) zk.Op { return zk.ExistsOp{Path: path, Watch: ch} }), stat, "data /before"},
		{"ChildrenOp", batch(func(path string, ch chan<- zk.Event) zk.Op { return zk.ChildrenOp{Path: path, Watch: ch} }), names, "child /before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := c.reply.Append(nil)
			for n := range whole {
				suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
					s, l := r.Open(r.Config())
					ch := make(chan zk.Event, 3)
					u := suite.Start(t, func() error { return c.call(s, ch) })
					q := l.Next()
					if c.before != "" {
						l.Send(suite.Answer(q.Xid, 1, c.reply))
						q = l.Next()
					}
					l.Send(suite.Answer(q.Xid, 2, bytesOf(whole[:n])), suite.Happened(zk.Changed, "/a", 3))
					u.Lost(zk.ErrProtocol)
					<-s.Done()
					assert.Equal(t, suite.ArmedList(s.Config().Watches), c.before, "cut at %d of %d", n, len(whole))
					assert.Equal(t, len(ch), 0)
				})
			}
		})
	}
}
