package zk_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
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

// TestHostileBodies: the reply to every kind of request, cut at every byte, and
// with every count and length in it replaced: the call fails or its result is
// what is there, and nothing else happens.
func TestHostileBodies(t *testing.T) {
	stat := wire.Stat{Version: 1}
	bodies := map[string]suite.Record{
		"Create":            wire.PathResponse{Path: "/a"},
		"CreateStat":        wire.Create2Response{Path: "/a", Stat: stat},
		"Get":               wire.GetDataResponse{Data: []byte("data"), Stat: stat},
		"Exists":            stat,
		"Children":          wire.Children2Response{Children: []string{"a", "b/", ""}, Stat: stat},
		"Set":               stat,
		"GetACL":            wire.GetACLResponse{ACL: []wire.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}, Stat: stat},
		"SetACL":            stat,
		"Ephemerals":        wire.ChildrenResponse{Children: []string{"/a", "/b"}},
		"AllChildrenNumber": wire.CountResponse{Count: 7},
		"WhoAmI":            wire.WhoAmIResponse{Infos: []wire.ClientInfo{{AuthScheme: "ip", User: "127.0.0.1"}}},
		"GetConfig":         wire.GetDataResponse{Data: []byte("server.1=…"), Stat: stat},
		"Reconfig":          wire.GetDataResponse{Data: []byte("server.1=…"), Stat: stat},
		"Multi":             wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpDelete}}},
		"MultiRead":         wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpGetData, Data: []byte("data"), Stat: stat}}},
		"Batch":             wire.GetDataResponse{Data: []byte("data"), Stat: stat},
	}
	try := func(t *testing.T, name string, body []byte) (err error) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			u := suite.Start(t, func() error { return suite.Calls[name].Do(suite.BG, s, "/a", nil) })
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
	for name, rec := range bodies {
		t.Run(name, func(t *testing.T) {
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

// TestHostileHandshake: what a server may answer to a ConnectRequest. The
// second address is asked for what is wrong with one server, and not for what is
// wrong with the session.
func TestHostileHandshake(t *testing.T) {
	ok := wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: suite.RigPassword, HasReadOnly: true}
	with := func(f func(r *wire.ConnectResponse)) []byte {
		r := ok
		f(&r)
		return suite.Framed(r)
	}
	padded := func(r wire.ConnectResponse, n int) []byte {
		b := r.Append(nil)
		return suite.Framed(bytesOf(append(b, make([]byte, n-len(b))...)))
	}
	const fresh, resumed = 1, 2
	for _, c := range []struct {
		name   string
		answer []byte
		when   int    // fresh, resumed or both
		want   error  // nil: accepted
		note   string // in the error
		cut    bool   // the server hangs up behind it
		closes bool   // the client sends a closeSession
	}{
		{name: "37 bytes", answer: suite.Framed(ok), when: fresh | resumed},
		{name: "36 bytes, without read-only", answer: with(func(r *wire.ConnectResponse) { r.HasReadOnly = false }), when: fresh | resumed},
		{name: "with fields of the future", answer: suite.Framed(ok, bytesOf("of the future")), when: fresh | resumed},
		{name: "protocol version 1", answer: with(func(r *wire.ConnectResponse) { r.ProtocolVersion = 1 }), when: fresh | resumed},
		{name: "timeout MaxInt32", answer: with(func(r *wire.ConnectResponse) { r.Timeout = math.MaxInt32 }), when: fresh | resumed},
		{name: "negative id", answer: with(func(r *wire.ConnectResponse) { r.SessionID = -5 }), when: fresh},

		{name: "EOF", cut: true, want: io.EOF, note: "handshake refused", when: fresh | resumed},
		{name: "EOF in the length", answer: suite.Framed(ok)[:3], cut: true, want: zk.ErrConnection, when: fresh | resumed},
		{name: "EOF in the body", answer: suite.Framed(ok)[:30], cut: true, want: io.ErrUnexpectedEOF, when: fresh | resumed},
		{name: "length -1", answer: length(-1), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "length MinInt32", answer: length(math.MinInt32), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "length MaxInt32", answer: length(math.MaxInt32), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "length 1 MiB", answer: length(1 << 20), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "length 0", answer: length(0), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "1 byte", answer: suite.Framed(bytesOf("x")), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "15 bytes", answer: suite.Framed(bytesOf(make([]byte, 15))), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "17 bytes", answer: suite.Framed(bytesOf(make([]byte, 17))), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "35 bytes", answer: suite.Framed(bytesOf(suite.Framed(ok)[4:39])), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "an HTTP response", answer: hostileFrames["an HTTP response"], want: zk.ErrProtocol, when: fresh | resumed},
		{name: "a TLS alert", answer: hostileFrames["a TLS alert"], want: zk.ErrProtocol, when: fresh | resumed},
		{name: "a read-only server's error header", answer: suite.Refusal(0, 0, zk.ErrNotReadOnly), want: zk.ErrNotReadOnly, when: fresh | resumed},
		{name: "an unknown error header", answer: suite.Refusal(0, 0, -999), want: zk.Code(-999), when: fresh | resumed},
		{name: "password null", answer: padded(wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, HasReadOnly: true}, 37), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of 0 bytes", answer: padded(wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: []byte{}}, 37), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of 15 bytes", answer: padded(wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: suite.RigPassword[:15]}, 37), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of 17 bytes", answer: with(func(r *wire.ConnectResponse) { r.Password = append(slices.Clone(suite.RigPassword), 'x') }), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of 2 GiB", answer: suite.Framed(bytesOf(join(length(0), length(9000), make([]byte, 8), length(math.MaxInt32), make([]byte, 17)))), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of length -2", answer: suite.Framed(bytesOf(join(length(0), length(9000), make([]byte, 8), length(-2), make([]byte, 17)))), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "id 0", answer: with(func(r *wire.ConnectResponse) { r.SessionID = 0 }), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "timeout 0", answer: with(func(r *wire.ConnectResponse) { r.Timeout = 0; r.SessionID = 0; r.Password = make([]byte, 16) }), want: zk.ErrExpired, when: resumed},
		{name: "timeout -1", answer: with(func(r *wire.ConnectResponse) { r.Timeout = -1 }), want: zk.ErrExpired, when: resumed},
		{name: "timeout MinInt32", answer: with(func(r *wire.ConnectResponse) { r.Timeout = math.MinInt32 }), want: zk.ErrExpired, when: resumed},
		{name: "timeout 0, and behind it a cut", answer: with(func(r *wire.ConnectResponse) { r.Timeout = 0 }), cut: true, want: zk.ErrExpired, when: resumed},
		{name: "timeout 0 for a new session", answer: with(func(r *wire.ConnectResponse) { r.Timeout = 0 }), want: zk.ErrNoServer, note: "refused", when: fresh},
		{name: "read-only and timeout 0", answer: with(func(r *wire.ConnectResponse) { r.Timeout = 0; r.SessionID = 0; r.ReadOnly = true }), want: zk.ErrNoServer, note: "read-only", when: fresh | resumed},
		{name: "read-only", answer: with(func(r *wire.ConnectResponse) { r.ReadOnly = true }), want: zk.ErrNotReadOnly, when: resumed},
		{name: "read-only, a new session", answer: with(func(r *wire.ConnectResponse) { r.ReadOnly = true }), want: zk.ErrNotReadOnly, closes: true, when: fresh},
		{name: "another id", answer: with(func(r *wire.ConnectResponse) { r.SessionID = 0x666 }), want: zk.ErrExpired, closes: true, when: resumed},
	} {
		for _, when := range []int{fresh, resumed} {
			if c.when&when == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", c.name, map[int]string{fresh: "new", resumed: "resumed"}[when]), func(t *testing.T) {
				suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
					conf := r.Config()
					ch := make(chan zk.Event, 1)
					if when == resumed {
						s, l := r.Open(conf)
						suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
						conf = s.Detach()
					}
					conf.Addrs = []string{"a:1", "b:2"}
					d := r.Begin(conf)
					l := r.Accept()
					q := l.Connect()
					assert.Equal(t, q.SessionID != 0, when == resumed)
					l.Quiet() // nothing is written before the answer
					l.Send(c.answer)
					if c.cut {
						l.Close()
					}
					restored := func(l *suite.Line) {
						if when == resumed {
							assert.DeepEqual(t, l.Restored(1).Data, []string{"/w"})
						}
					}
					switch {
					case c.want == nil:
						restored(l)
						s := d.Session()
						assert.Equal(t, r.Connections(), when)
						if when == resumed {
							assert.Equal(t, s.ID(), suite.RigID)
						}
						return
					case c.want == zk.ErrExpired:
						err := d.Wait()
						assert.Assert(t, errors.Is(err, zk.ErrExpired) && !errors.Is(err, zk.ErrNoServer), "%v", err)
						assert.Equal(t, r.Connections(), 2, "another server was asked about an expired session")
					default:
						l2 := r.Accept() // the other server
						l2.Connect()
						l2.Close()
						err := d.Wait()
						assert.Assert(t, errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrExpired), "%v", err)
						assert.Assert(t, errors.Is(err, c.want), "%v", err)
						assert.Assert(t, strings.Contains(err.Error(), c.note), "%v", err)
					}
					if !c.cut {
						if c.closes {
							l.Want(wire.OpCloseSession, "")
						}
						l.HungUp()
					}
					// All that was there is there.
					d = r.Begin(conf)
					l = r.Accept()
					assert.Equal(t, l.Greet().SessionID != 0, when == resumed)
					restored(l)
					d.Session()
				})
			})
		}
	}
}

// A handshake in pieces, at every byte, with the first frames right behind it in
// the same segment.
func TestHandshakeInPieces(t *testing.T) {
	for split := 1; split < 41; split++ {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			ch := make(chan zk.Event, 4)
			suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
			suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
			conf := s.Detach()
			d := r.Begin(conf)
			l = r.Accept()
			b := suite.Welcome(l.Connect())
			l.Send(b[:split])
			time.Sleep(time.Second)
			l.Send(b[split:], suite.Happened(zk.Changed, "/w", -1))
			l.Restored(1)
			d.Session()
			assert.Equal(t, suite.Told(suite.Taken(ch)...), "gap /p, changed /w")
		})
	}
}

// A handshake that drips a byte a second takes the Dial no longer than its time.
func TestHandshakeDrips(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		began := time.Now()
		d := r.Begin(r.Config())
		l := r.Accept()
		b := suite.Welcome(l.Connect())
		sent := suite.Start(t, func() error {
			for i := range b {
				if err := l.TrySend(b[i : i+1]); err != nil {
					return err
				}
				time.Sleep(time.Second)
			}
			return nil
		})
		assert.Assert(t, errors.Is(d.Wait(), zk.ErrNoServer))
		assert.Equal(t, time.Since(began), suite.RigTimeout)
		assert.Assert(t, sent.Wait() != nil)
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

// allocated returns how many bytes f allocates, on all goroutines.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// inUse returns the size of the heap without garbage.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the victims of pools too
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestI36_LiesAboutSizes: counts, lengths and frames that claim to be huge cost
// no more memory than the bytes that came.
func TestI36_LiesAboutSizes(t *testing.T) {
	for name, c := range map[string]struct {
		call string
		body []byte
	}{
		"2^31-1 children":             {"Children", join(length(math.MaxInt32), make([]byte, 100))},
		"2^29 children":               {"Children", join(length(1<<29), make([]byte, 100))},
		"as many children as fit":     {"Children", join(length(25), make([]byte, 100))},
		"2^20 children":               {"Children", join(length(1<<20), make([]byte, 100))},
		"an ACL of 2^20 entries":      {"GetACL", join(length(1<<20), make([]byte, 100))},
		"2^20 identities":             {"WhoAmI", join(length(1<<20), make([]byte, 100))},
		"an ACL of 2^31-1 entries":    {"GetACL", join(length(math.MaxInt32), make([]byte, 100))},
		"2^31-1 ephemerals":           {"Ephemerals", join(length(math.MaxInt32), make([]byte, 100))},
		"2^31-1 identities":           {"WhoAmI", join(length(math.MaxInt32), make([]byte, 100))},
		"data of 2^31-1 bytes":        {"Get", join(length(math.MaxInt32), make([]byte, 100))},
		"a path of 2^31-1 bytes":      {"Create", join(length(math.MaxInt32), make([]byte, 100))},
		"a multi's children of 2^31":  {"MultiRead", join(wire.MultiHeader{Op: wire.OpGetChildren}.Append(nil), length(math.MaxInt32), make([]byte, 100))},
		"a batch's data of 2^31 byte": {"Batch", join(length(math.MaxInt32), make([]byte, 100))},
	} {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				u := suite.Start(t, func() error { return suite.Calls[c.call].Do(suite.BG, s, "/a", nil) })
				q := l.Next()
				if n := allocated(func() {
					l.Send(suite.Answer(q.Xid, 1, bytesOf(c.body)))
					u.Wait()
					synctest.Wait()
				}); n > 64<<10 {
					t.Errorf("%d bytes allocated for a frame of %d", n, len(c.body))
				}
			})
		})
	}
	t.Run("a frame of 16 MiB of which a little comes", func(t *testing.T) {
		for _, n := range []int{0, 100, 100_000, 1 << 20} {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				u := suite.Get(t, s, suite.BG, "/a", nil)
				q := l.Next()
				frame := join(length(zk.DefaultMaxReply), wire.ReplyHeader{Xid: q.Xid}.Append(nil), length(zk.DefaultMaxReply-100), make([]byte, n))
				if got := allocated(func() {
					l.Send(frame)
					synctest.Wait()
				}); got > uint64(8*len(frame)+192<<10) {
					t.Errorf("%d bytes allocated for %d", got, len(frame))
				}
				l.Close()
				u.Lost(io.ErrUnexpectedEOF)
			})
		}
	})
}

// Memory goes back: after a large reply, after many watches and events, after a
// million events that nobody waits for.
func TestI36_MemoryGoesBack(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		u := suite.Get(t, s, suite.BG, "/warm", nil)
		l.Send(suite.Fitting(l.Next(), 1))
		u.OK()
		rest := func() int64 {
			time.Sleep(suite.RigTimeout / 2) // a tick
			l.Send(suite.Answer(wire.XidPing, 0, nil))
			synctest.Wait()
			return inUse()
		}
		base := rest()
		check := func(what string) {
			t.Helper()
			if more := rest() - base; more > 384<<10 {
				t.Errorf("after %s the heap is larger by %d bytes", what, more)
			}
		}

		var frames []byte
		for range 3000 {
			frames = append(frames, suite.Happened(zk.Changed, "/nobody", -1)...)
		}
		base = rest()
		for range 334 {
			l.Send(frames)
			synctest.Wait()
		}
		assert.Equal(t, s.Stats().Ignored, int64(1_002_000))
		assert.NilError(t, s.Err())
		check("a million events")
		frames = nil
		base = rest()

		u = suite.Get(t, s, suite.BG, "/a", nil)
		large := suite.Answer(l.Next().Xid, 1, wire.GetDataResponse{Data: make([]byte, 8<<20)})
		for part := range slices.Chunk(large, 64<<10) { // the pipe would keep a buffer for all of it
			l.Send(part)
			synctest.Wait()
		}
		large = nil
		u.OK()
		check("a large reply")

		// The connection's buffers grow in a first round, without watches.
		const n = 20_000
		ch := make(chan zk.Event, n)
		round := func(watch chan<- zk.Event) {
			var ops []zk.Op
			for i := range n {
				ops = append(ops, zk.GetOp{Path: fmt.Sprintf("/%d", i), Watch: watch})
			}
			u := suite.Start(t, func() error { _, err := s.Batch(suite.BG, ops...); return err })
			for i := range ops {
				l.Send(suite.Fitting(l.Next(), 1))
				if i%100 == 0 { // or the pipe would have to hold more in one round than in the other
					synctest.Wait()
				}
			}
			u.OK()
			for from := 0; from < n; from += 500 {
				var frames []byte
				for i := from; i < from+500; i++ {
					frames = append(frames, suite.Happened(zk.Changed, fmt.Sprintf("/%d", i), -1)...)
				}
				l.Send(frames)
				synctest.Wait()
			}
		}
		round(nil)
		base = rest()
		round(ch)
		assert.Equal(t, len(suite.Taken(ch)), n)
		check("20,000 watches that fired")
		runtime.KeepAlive(ch)
	})
}

// recordedStreams returns what real servers sent, by the golden transcripts:
// events, and behind each an answer to the next call of FuzzFrames, with its
// xid, as far as there are some of the kind.
func recordedStreams(f *testing.F) (streams [][]byte) {
	f.Helper()
	calls := []struct {
		label string
		xid   int32
	}{{"reply getData", 3}, {"reply getChildren2", 4}, {"reply multi", 5}, {"reply exists", 6}, {"reply getData", 7}, {"reply getACL", 8}, {"reply auth", wire.XidAuth}}
	golden, err := filepath.Glob("testdata/golden/*.txt")
	assert.NilError(f, err)
	assert.Assert(f, len(golden) > 0)
	for _, name := range golden {
		text, err := os.ReadFile(name)
		assert.NilError(f, err)
		frames := make(map[string][][]byte)
		for _, part := range strings.Split(string(text), "\n>>> ") {
			head, dump, _ := strings.Cut(part, "\n")
			_, label, fromServer := strings.Cut(head, "(server to client): ")
			if !fromServer {
				continue
			}
			var frame []byte
			for line := range strings.Lines(dump) {
				digits, _, _ := strings.Cut(line, "|")
				if _, digits, found := strings.Cut(digits, "  "); found && line[0] != '#' {
					b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
					assert.NilError(f, err, "%q", line)
					frame = append(frame, b...)
				}
			}
			assert.Equal(f, wire.FrameLen(frame), len(frame)-4, "%s", part)
			frames[label] = append(frames[label], frame)
		}
		events := frames["notification"]
		assert.Assert(f, len(events) > 5 && len(frames["reply getData"]) > 3, "%s: %d kinds of frames", name, len(frames))
		for i := range events {
			var stream []byte
			for j, call := range calls {
				stream = append(stream, events[(i+j)%len(events)]...)
				of := frames[call.label]
				reply := slices.Clone(of[i%len(of)])
				wire.AppendInt32(reply[:4], call.xid)
				if call.xid == 5 && i%2 == 0 { // a recorded one is of other operations
					reply = suite.Refusal(call.xid, 9, zk.ErrNoNode)
				}
				stream = append(stream, reply...)
			}
			streams = append(streams, stream)
		}
	}
	return streams
}

// FuzzFrames sends bytes, in pieces of any size, to a Session with calls of many
// kinds under way. Every call ends, in one way; memory is bounded by what came;
// and the next Dial restores what is armed.
func FuzzFrames(f *testing.F) {
	for _, frames := range []map[string][]byte{hostileFrames, harmlessFrames} {
		for _, frame := range frames {
			if len(frame) < 5000 {
				f.Add(uint8(7), frame)
			}
		}
	}
	// What an ordinary server sends.
	stat := wire.Stat{Version: 1}
	f.Add(uint8(0), join(
		suite.Answer(3, 5, wire.GetDataResponse{Data: []byte("data"), Stat: stat}), suite.Happened(zk.Changed, "/w", 6),
		suite.Answer(4, 6, wire.Children2Response{Children: []string{"a", "b"}, Stat: stat}), suite.Happened(zk.Changed, "/p", 7), suite.Answer(wire.XidAuth, 0, nil),
		suite.Answer(5, 7, wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpSetData, Stat: stat}, {Op: wire.OpCheck}}}),
		suite.Refusal(6, 8, zk.ErrNoNode), suite.Answer(7, 8, wire.GetDataResponse{}), suite.Answer(8, 9, wire.GetACLResponse{ACL: []wire.ACL{{Perms: 31}}}),
	))
	for i, stream := range recordedStreams(f) {
		f.Add([]uint8{0, 7, 255}[i%3], stream)
	}
	f.Fuzz(func(t *testing.T, piece uint8, stream []byte) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			ch := make(chan zk.Event, 1)
			suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
			suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
			var all []*suite.Under
			for _, call := range []func() error{ // xids 3 to 8, and that of auth
				func() error { return suite.ErrOf2(s.Get(suite.BG, "/a", ch)) },
				func() error { return suite.ErrOf2(s.Children(suite.BG, "/a", ch)) },
				func() error { return suite.ErrOf(s.Multi(suite.BG, zk.SetOp{Path: "/a"}, zk.CheckOp{Path: "/b"})) },
				func() error {
					return suite.ErrOf(s.Batch(suite.BG, zk.ExistsOp{Path: "/a", Watch: ch}, zk.GetOp{Path: "/b"}))
				},
				func() error { return suite.ErrOf2(s.GetACL(suite.BG, "/a")) },
				func() error { return s.AddAuth(suite.BG, zk.Digest("u", "p")) },
			} {
				all = append(all, suite.Start(t, call))
				synctest.Wait()
			}
			for range 7 {
				l.Next()
			}
			size := len(stream)
			if n := allocated(func() {
				for part := range slices.Chunk(stream, 1+int(piece)) {
					if l.TrySend(part) != nil {
						break
					}
					synctest.Wait()
				}
				l.CloseWrite()
				<-s.Done()
			}); n > uint64(64*size+512<<10) { // each piece costs the test something too
				t.Errorf("%d bytes allocated for %d", n, size)
			}
			for _, u := range all {
				var op *zk.OpError
				if err := u.Wait(); err != nil && (!errors.As(err, &op) || op.Outcome() == zk.NotSent) {
					t.Errorf("%v", err)
				}
			}
			if !errors.Is(s.Err(), zk.ErrConnection) {
				t.Errorf("ended with %v", s.Err())
			}
			conf := s.Config()
			conf.Auth = nil // if it was accepted
			d := r.Begin(conf)
			l = r.Accept()
			l.Greet()
			if conf.Watches.Len() > 0 {
				l.Restored(1)
			}
			d.Session()
			r.End()
		})
	})
}

// FuzzHandshake answers the ConnectRequest with bytes. Dial makes a Session or
// says why not, and the State can be dialed again.
func FuzzHandshake(f *testing.F) {
	ok := suite.Framed(wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: suite.RigPassword, HasReadOnly: true})
	for _, seed := range [][]byte{ok, ok[:20], join(ok, suite.Answer(1, 1, nil)), suite.Refusal(0, 0, zk.ErrNotReadOnly), suite.Refusal(0, 0, zk.ErrAuthFailed), length(-1), length(1 << 30), hostileFrames["an HTTP response"]} {
		f.Add(false, seed)
		f.Add(true, seed)
	}
	f.Fuzz(func(t *testing.T, resumed bool, answer []byte) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			conf := r.Config()
			ch := make(chan zk.Event, 1)
			if resumed {
				s, l := r.Open(conf)
				suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
				conf = s.Detach()
			}
			d := r.Begin(conf)
			l := r.Accept()
			l.Connect()
			if n := allocated(func() {
				l.TrySend(answer)
				l.CloseWrite()
				d.Wait()
			}); n > uint64(8*len(answer)+512<<10) {
				t.Errorf("%d bytes allocated for %d", n, len(answer))
			}
			switch {
			case d.Err == nil:
				<-d.S.Done()
				conf = d.S.Config()
			case errors.Is(d.Err, zk.ErrExpired):
				assert.Assert(t, resumed, "%v", d.Err)
			default:
				assert.Assert(t, errors.Is(d.Err, zk.ErrNoServer) || errors.Is(d.Err, zk.ErrAuth), "%v", d.Err)
			}
			d = r.Begin(conf)
			l = r.Accept()
			l.Greet()
			if conf.Watches.Len() > 0 {
				l.Restored(1)
			}
			d.Session()
			r.End()
		})
	})
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
		reply  suite.Record
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

// FuzzSessionScript lets bytes choose what servers do, connection after
// connection, while an application calls, watches, gives calls up and redials.
// Goroutines do not run in the same order twice, and the fuzzer would try for
// minutes to shorten what it finds: go test -fuzz FuzzSessionScript -fuzzminimizetime 10x.
func FuzzSessionScript(f *testing.F) {
	for _, seed := range []string{
		"",
		"\x00rrrrerrrererr",
		"\x00rreerrx\x00rrrrrerrrx\x00rrr",
		"\x00rrwwwerrp\x03rr\x04rr\x05rr",
		"\x00rtttr\x00r\xffrrrrrr",
		"\x00hrrrehrrrehx\x00hrrhrr",
		"\x00rrsrrx\x01\x00rrx\x02\x00rrrx",
		"\x00rnr\x00rornrurr\x00ggg",
		"\x00rrrrrrrrrrrrrrrrrrrrrrrr\x00eeeeeeeeeerrrrrrreeeeeee",
		"\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
	} {
		f.Add([]byte(seed))
	}
	for seed := range uint64(60) {
		f.Add(randomScript(rand.New(rand.NewPCG(seed, 36))))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 500 {
			t.Skip("long enough")
		}
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) { playScript(t, r, script) })
	})
}

// randomScript is a script in which much happens before something goes wrong.
func randomScript(rnd *rand.Rand) []byte {
	script := []byte{0}
	for len(script) < 400 {
		switch n := rnd.IntN(100); {
		case n < 55:
			script = append(script, 'r')
		case n < 85:
			script = append(script, 'e', byte(rnd.IntN(4*fuzzPaths)))
		case n < 95:
			script = append(script, "hhtsnu"[rnd.IntN(6)])
		case n < 98:
			script = append(script, 'x', byte(8*rnd.IntN(2)))
		default:
			script = append(script, "oczg"[rnd.IntN(4)], 0)
		}
	}
	return script
}

// fuzzServer is all servers of a fuzz script: one history, and the script.
type fuzzServer struct {
	t      *testing.T
	script []byte
	zxid   int64
	live   map[int64]bool // sessions
	last   int64
	forged atomic.Bool // raw bytes were sent: they may have said anything
	honest atomic.Bool // the script is over: they serve as they should
}

func (f *fuzzServer) op() (byte, bool) {
	if len(f.script) == 0 || f.honest.Load() {
		return 0, false
	}
	b := f.script[0]
	f.script = f.script[1:]
	return b, true
}

const fuzzPaths = 4

// serve plays one connection. It returns false when the script is at its end.
func (f *fuzzServer) serve(l *suite.Line) bool {
	defer l.Close()
	body, err := l.Frame()
	if err != nil {
		return true
	}
	d := wire.NewDecoder(body)
	var q wire.ConnectRequest
	q.Decode(&d)
	how, ok := f.op()
	if !ok {
		return false
	}
	r := wire.ConnectResponse{Timeout: q.Timeout, SessionID: q.SessionID, Password: suite.RigPassword, HasReadOnly: true}
	switch how % 16 {
	case 1:
		return true
	case 2:
		l.TrySend(suite.Framed(r)[:how%40])
		return true
	case 3:
		r.Timeout = 0
	case 4:
		r.SessionID = 0x666
	case 5:
		r.ReadOnly = true
	case 6:
		l.TrySend(suite.Refusal(0, 0, zk.ErrNotReadOnly))
		return true
	default:
		if r.SessionID == 0 {
			f.last++
			r.SessionID = f.last
			f.live[f.last] = true
		} else if !f.live[r.SessionID] {
			r.Timeout = 0
		}
	}
	if l.TrySend(suite.Framed(r)) != nil || r.Timeout == 0 {
		return true
	}

	queue := make(chan suite.Asked, 10_000)
	go func() {
		defer close(queue)
		for {
			body, err := l.Frame()
			if err != nil || len(body) < 8 {
				return
			}
			queue <- suite.ParseAsked(body)
		}
	}()
	var due []suite.Asked
	var held [][]byte
	hold := false
	send := func(frame []byte) bool {
		held = append(held, frame)
		if hold {
			return true
		}
		err := l.TrySend(held...)
		held = nil
		return err == nil
	}
	reply := func(code zk.Code) []byte {
		for len(due) == 0 {
			select {
			case a, ok := <-queue:
				if !ok {
					return nil
				}
				due = append(due, a)
			case <-l.Stop:
				return nil
			case <-time.After(time.Second):
				return nil
			}
		}
		a := due[0]
		due = due[1:]
		switch {
		case a.Op == wire.OpPing || a.Op == wire.OpAuth:
			return suite.Refusal(a.Xid, 0, code)
		case code != 0:
			return suite.Refusal(a.Xid, f.zxid, code)
		case a.Op == wire.OpGetData: // the zxid of what it shows
			return suite.Answer(a.Xid, f.zxid, wire.GetDataResponse{Data: []byte(a.Path), Stat: wire.Stat{Mzxid: f.zxid}})
		case a.Op == wire.OpCloseSession:
			delete(f.live, q.SessionID)
		}
		return suite.Fitting(a, f.zxid)
	}
	for {
		op, ok := f.op()
		if !ok {
			return false
		}
		alive := true
		switch op {
		case 'r':
			if b := reply(0); b != nil {
				alive = send(b)
			}
		case 'n':
			if b := reply(zk.ErrNoNode); b != nil {
				alive = send(b)
			}
		case 'u':
			if b := reply(zk.Code(int32(op) - 1000)); b != nil {
				alive = send(b)
			}
		case 'e', 'w':
			at, _ := f.op()
			f.zxid++
			alive = send(suite.Happened(zk.EventType(1+at/fuzzPaths%4), fmt.Sprintf("/%d", at%fuzzPaths), f.zxid))
		case 'o': // out of order
			first, second := reply(0), reply(0)
			alive = send(append(second, first...))
		case 's':
			alive = l.Pause(time.Duration(op) * 50 * time.Millisecond)
		case 'h':
			if hold = !hold; !hold {
				alive = send(nil)
			}
		case 't':
			if b := reply(0); len(b) > 5 { // in two pieces
				alive = send(b[:len(b)/2]) && (hold || l.Pause(time.Millisecond)) && send(b[len(b)/2:])
			}
		case 'c':
			if b := reply(0); len(b) > 5 { // a body too short for its record
				b = slices.Clone(b[:len(b)-3])
				wire.EndFrame(b, 0)
				alive = send(b)
			}
		case 'x':
			hold = false
			send(nil)
			return true
		case 'z':
			delete(f.live, q.SessionID)
			return true
		default:
			f.forged.Store(true)
			n := int(op % 32)
			n = min(n, len(f.script))
			alive = send(f.script[:n])
			f.script = f.script[n:]
		}
		if !alive {
			return true
		}
	}
}

// settle plays a connection as an ordinary server does. A sync tells first
// that its path has changed.
func (f *fuzzServer) settle(l *suite.Line) {
	defer l.Close()
	body, err := l.Frame()
	if err != nil {
		return
	}
	d := wire.NewDecoder(body)
	var q wire.ConnectRequest
	q.Decode(&d)
	r := wire.ConnectResponse{Timeout: q.Timeout, SessionID: q.SessionID, Password: suite.RigPassword, HasReadOnly: true}
	switch {
	case r.SessionID == 0:
		f.last++
		r.SessionID = f.last
		f.live[f.last] = true
	case !f.live[r.SessionID]:
		r.Timeout = 0
	}
	if l.TrySend(suite.Framed(r)) != nil || r.Timeout == 0 {
		return
	}
	for {
		body, err := l.Frame()
		if err != nil {
			return
		}
		a := suite.ParseAsked(body)
		if a.Op == wire.OpSync {
			f.zxid++
			if l.TrySend(suite.Happened(zk.Changed, a.Path, f.zxid)) != nil {
				return
			}
		}
		if l.TrySend(suite.Fitting(a, f.zxid)) != nil {
			return
		}
	}
}

// playScript runs an application against a script, and checks what it sees.
func playScript(t *testing.T, r *suite.Rig, script []byte) {
	srv := &fuzzServer{t: t, script: script, zxid: 100, live: make(map[int64]bool)}
	ended, rest := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		over := false // the script is
		for {
			select {
			case l := <-r.Arrived:
				switch {
				case srv.honest.Load():
					srv.settle(l)
				case over:
					l.Close()
				default:
					over = !srv.serve(l)
				}
			case <-rest:
			case <-r.Stop:
				return
			}
		}
	}()
	conf := r.Config()
	conf.Addrs = []string{"a:1", "b:2"}
	conf.MaxInFlight = 3
	conf.ReadOnly = len(script)%2 == 0
	if len(script)%3 == 0 {
		conf.Auth = []zk.Auth{zk.Digest("u", "p")}
	}

	var mu sync.Mutex
	persistent := make(chan zk.Event) // read by its own consumer, in order
	last := int64(0)
	quit := make(chan struct{})
	consumer := suite.Start(t, func() error {
		for {
			select {
			case ev := <-persistent:
				if ev.Zxid != 0 && ev.Zxid <= last && !srv.forged.Load() {
					return fmt.Errorf("event %v behind event %d", ev, last)
				}
				last = max(last, ev.Zxid)
				time.Sleep(time.Microsecond)
			case <-quit:
				return nil
			}
		}
	})
	type shot struct {
		ch    chan zk.Event
		armed bool // the Get succeeded
	}
	var shots []*shot // of one-shot watches
	work := func(s *zk.Session, i int) error {
		ctx, cancel := context.WithTimeout(suite.BG, time.Duration(i%5+1)*200*time.Millisecond)
		defer cancel()
		path := fmt.Sprintf("/%d", i%fuzzPaths)
		switch i % 7 {
		case 0:
			return s.AddWatch(ctx, path, zk.WatchMode(i%2), persistent)
		case 1:
			_, err := s.Batch(ctx, zk.SetOp{Path: path}, zk.ChildrenOp{Path: path}, zk.ExistsOp{Path: path}, zk.GetOp{Path: path})
			if errors.Is(err, zk.ErrNoNode) {
				err = nil
			}
			return err
		case 2:
			return s.RemoveWatch(ctx, path, persistent)
		case 3:
			_, err := s.Multi(ctx, zk.CheckOp{Path: path})
			return err
		default:
			ch := make(chan zk.Event, 3)
			one := &shot{ch: ch}
			mu.Lock()
			shots = append(shots, one)
			mu.Unlock()
			data, st, err := s.Get(ctx, path, ch)
			one.armed = err == nil
			if err != nil || srv.forged.Load() {
				return err
			}
			if string(data) != path {
				return fmt.Errorf("Get %s returned the data of %s", path, data)
			}
			select {
			case ev := <-ch:
				ch <- ev // to be counted
				if ev.Zxid <= st.Mzxid && !srv.forged.Load() {
					return fmt.Errorf("an event of %d for what was read at %d", ev.Zxid, st.Mzxid)
				}
			default:
			}
			return nil
		}
	}
	for dials := 0; dials < 12; dials++ {
		s, err := zk.Dial(suite.BG, conf)
		if errors.Is(err, zk.ErrExpired) {
			conf = conf.Renew()
			continue
		}
		if err != nil {
			if !errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrAuth) {
				t.Errorf("Dial: %v", err)
			}
			continue
		}
		var all []*suite.Under
		for g := range 3 {
			all = append(all, suite.Start(t, func() error {
				for i := g; ; i++ {
					err := work(s, i)
					var op *zk.OpError
					switch {
					case err == nil:
					case !errors.As(err, &op):
						return err
					case errors.Is(err, zk.ErrNotSent) && errors.Is(err, zk.ErrLost), op.Outcome() == 0:
						return fmt.Errorf("two outcomes: %w", err)
					}
					select {
					case <-s.Done():
						return nil
					default:
						time.Sleep(time.Millisecond)
					}
				}
			}))
		}
		if dials%4 == 3 {
			time.Sleep(time.Second)
			s.Close()
		}
		<-s.Done()
		for _, u := range all {
			if err := u.Wait(); err != nil {
				t.Error(err)
			}
		}
		if s.Err() == nil {
			t.Error("done without a reason")
		}
		conf = s.Config()
	}

	// Now every path changes: who was told of success has one event, and who was
	// not has none.
	srv.honest.Store(true)
	rest <- struct{}{} // the last connection of the script is over
	s, err := zk.Dial(suite.BG, conf)
	if errors.Is(err, zk.ErrExpired) {
		s, err = zk.Dial(suite.BG, conf.Renew())
	}
	if err != nil {
		t.Fatalf("Dial of an honest server: %v", err)
	}
	for i := range fuzzPaths {
		assert.NilError(t, s.Sync(suite.BG, fmt.Sprintf("/%d", i)))
	}
	for s.Stats().Queued > 0 {
		time.Sleep(time.Millisecond)
	}
	assert.NilError(t, s.Close())
	close(quit)
	if err := consumer.Wait(); err != nil {
		t.Error(err)
	}
	for _, one := range shots {
		if n := len(one.ch); n > 1 || (n == 1) != one.armed {
			t.Errorf("%d events of a one-shot (armed: %v)", n, one.armed)
		}
	}
	r.End()
	<-ended
}
