package talk

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

func TestLog(t *testing.T) {
	for _, limit := range []int{0, 1, 3, 100} {
		l := Log[int]{Max: limit}
		for i := range 10 {
			l.Add(i)
			first := max(i+1-limit, 0)
			var want []int
			for k := first; k <= i; k++ {
				want = append(want, k)
			}
			assert.Assert(t, slices.Equal(l.All(), want), "limit %d: %v, want %v", limit, l.All(), want)
		}
		l.Forget()
		assert.Equal(t, len(l.All()), 0)
		l.Add(5)
		assert.Equal(t, len(l.All()), min(limit, 1))
	}
}

func frame(records ...wire.Record) []byte {
	b := wire.BeginFrame(nil)
	for _, r := range records {
		b = r.Append(b)
	}
	wire.EndFrame(b, 0)
	return b
}

// Frames are found whatever the pieces that they come in.
func TestCutter(t *testing.T) {
	stream := slices.Concat(frame(wire.ErrorResponse{Err: 1}), frame(), frame(wire.ErrorResponse{Err: 2}, wire.ErrorResponse{Err: 3}))
	for piece := 1; piece <= len(stream); piece++ {
		c := Cutter{Keep: 6}
		var sizes []int
		var kept []int
		for part := range slices.Chunk(stream, piece) {
			for len(part) > 0 {
				n, done := c.Cut(part)
				if part = part[n:]; done {
					sizes, kept = append(sizes, c.size), append(kept, len(c.body))
				}
			}
		}
		assert.DeepEqual(t, sizes, []int{4, 0, 8})
		assert.DeepEqual(t, kept, []int{4, 0, 6})
	}
}

// After a length that is none nothing more is told apart, and nothing is kept.
func TestCutterLost(t *testing.T) {
	for head, why := range map[string]string{
		"\x16\x03\x01\x02": "TLS, not decoded", "ruok": `text, not decoded: "ruok"…`, "\xff\xff\xff\xff": "not decoded: frame length -1", "\x7f\xff\xff\xff": "not decoded: frame length 2147483647",
	} {
		c := Cutter{Keep: 100}
		n, done := c.Cut([]byte(head + "more"))
		assert.Assert(t, done && n == 8)
		assert.Equal(t, c.lost, why)
		n, done = c.Cut(make([]byte, 1000))
		assert.Assert(t, !done && n == 1000)
		assert.Equal(t, len(c.body), 0)
	}
}

// decode lets a Talk hear whole frames, and returns what it makes of them.
func decode(talk *Talk, toClient bool, at time.Time, stream []byte) (list []Entry) {
	c := Cutter{Keep: PrefixKept}
	for len(stream) > 0 {
		n, done := c.Cut(stream)
		if stream = stream[n:]; done {
			e := talk.Decode(&c, toClient, at)
			e.Raw = nil
			list = append(list, e)
		}
	}
	return list
}

func TestTalk(t *testing.T) {
	var talk Talk
	now := time.Now()
	up := decode(&talk, false, now, slices.Concat(
		frame(wire.ConnectRequest{Timeout: 5000, ReadOnly: true, HasReadOnly: true}),
		frame(wire.RequestHeader{Xid: 1, Op: wire.OpGetData}, wire.PathWatchRequest{Path: "/a", Watch: true}),
		frame(wire.RequestHeader{Xid: 2, Op: wire.OpSetData}, wire.SetDataRequest{Path: "/b", Version: 3}),
	))
	assert.Equal(t, talk.Session(), int64(0))
	assert.Equal(t, up[0].Op, OpConnect)
	assert.Equal(t, up[0].Note, "wants timeout 5s, read-only will do")
	assert.Equal(t, up[1].Path+" "+up[1].Note, "/a watch")
	assert.Equal(t, up[2].Path+" "+up[2].Note, "/b version 3")

	down := decode(&talk, true, now, slices.Concat(
		frame(wire.ConnectResponse{Timeout: 5000, SessionID: 7}),
		frame(wire.ReplyHeader{Xid: 2, Zxid: 9, Err: wire.ErrNotReadOnly}), // ahead of the read
		frame(wire.ReplyHeader{Xid: wire.XidNotification, Zxid: 9}, wire.WatcherEvent{Type: wire.EventNodeDeleted, Path: "/a"}),
		frame(wire.ReplyHeader{Xid: 1, Zxid: 9}, wire.GetDataResponse{}),
		frame(wire.ReplyHeader{Xid: 1, Zxid: 9}),
	))
	assert.Equal(t, talk.Session(), int64(7))
	var told []string
	for _, e := range down {
		assert.Equal(t, e.Session, int64(7))
		told = append(told, strings.TrimSpace(e.Op.String()+" "+e.Path+" "+e.Note))
	}
	assert.DeepEqual(t, told[1:], []string{
		"setData /b ahead of 1 earlier requests", "notification /a", "getData /a", wire.OpError.String() + "  no request has this xid",
	})
}
