package calls

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/pipeline"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// What an answer does to its call, to the watch and to the connection.
func TestAnswers(t *testing.T) {
	for _, x := range []struct {
		name string
		kind *Kind
		code int32
		body []wire.Record
		err  string
		end  string
		arms watches.Kind // 0: none
	}{
		{name: "answered", kind: &kindGet, body: []wire.Record{text("value")}, arms: watches.Data},
		{name: "refused", kind: &kindGet, code: -101, err: "get /x refused: -101, ended false"},
		{name: "excused", kind: &kindExists, code: -101, arms: watches.Exists},
		{name: "not excused", kind: &kindExists, code: -102, err: "get /x refused: -102, ended false"},
		{name: "cut short", kind: &kindGet, err: "get /x: lost true, 0 too large, malformed reply to get", end: "malformed reply to get"},
		{name: "not supported", kind: &kindGet, code: -6, err: "get /x refused: -6, ended true", end: "end -6 "},
		{name: "switched off", kind: &kindSwitched, code: -6, err: "get /x refused: -6, ended false"},
		{name: "expired", kind: &kindSwitched, code: -112, err: "get /x refused: -112, ended true", end: "end -112 "},
		{name: "auth failed", kind: &kindGet, code: -115, err: "get /x refused: -115, ended true", end: "end -115 "},
		{name: "moved", kind: &kindExists, code: -118, err: "get /x refused: -118, ended true", end: "end -118 "},
		{name: "SASL required", kind: &kindGet, code: -124, err: "get /x refused: -124, ended true", end: "end -124 "},
		{name: "a watch is read again, refused", kind: &kindRereadData, code: -102, arms: watches.Data},
		{name: "a watch is read again, expired", kind: &kindRereadChild, code: -112, err: "get /x refused: -112, ended true", end: "end -112 "},
		{name: "the last", kind: &KindClose, arms: watches.Data, end: "end 0 "},
		{name: "the last, refused", kind: &Kind{Last: true}, code: -101, err: "get /x refused: -101, ended true", end: "end -101 "},
	} {
		t.Run(x.name, func(t *testing.T) {
			play(t, func(t *testing.T, r *rig) {
				r.watched.Own(r, 77, nil)
				c := r.get("/x", make(chan event))
				c.Kind = x.kind
				w := r.send(bg, c)
				r.serve(reply(r.next().xid, 5, x.code, x.body...))
				r.done(w, x.err)
				var armed watches.Kinds
				if x.arms != 0 {
					armed = 1 << x.arms
				}
				assert.Assert(t, r.watched.Armed("/x") == armed, "%b", r.watched.Armed("/x"))
				if end := r.ended(); x.end == "" {
					assert.NilError(t, end)
				} else {
					assert.Error(t, end, x.end)
				}
				ends := closes(x.code) || x.code == wire.ErrUnimplemented && x.kind != &kindSwitched
				assert.Equal(t, r.shown.over, ends, "nothing more is sent when the caller wakes")
				malformed := x.name == "cut short"
				assert.Equal(t, r.watched.Zxid() == 5, !malformed, "what makes no sense says nothing")
				assert.Equal(t, c.Str, map[bool]string{true: "value"}[x.body != nil])
				closed := r.watched.Claim(77, "").Verdict != 0
				assert.Equal(t, closed, x.kind.Last && x.code == 0, "only a server's word ends a session")
			})
		})
	}
}

// A channel is armed at the answer's place among the events, with the path that its call asks for.
func TestArmedInPlace(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		ch := make(chan event, 9)
		c := r.get("/x", ch)
		c.Raw = true
		_, ok := r.watched.Enter("/x")
		assert.Assert(t, ok)
		w := r.send(bg, c)
		q := r.next()
		r.serve(notice(6, created, "/x"), reply(q.xid, -1, 0, text("")), notice(7, deleted, "/x"), notice(8, created, "/x"))
		r.done(w, "")
		assert.DeepEqual(t, got(ch), []event{{deleted, "/x", 7}})
		assert.Equal(t, r.watched.Zxid(), int64(0), "-1 says nothing")
	})
}

// A reply is read also when nobody waits for it any more. It arms nothing.
func TestGivenUp(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		one, two := r.send(ctx, r.get("/x", make(chan event))), r.send(ctx, r.get("/y", nil))
		first, second := r.next(), r.next()
		cancel()
		r.done(one, "context canceled")
		r.done(two, "context canceled")
		r.serve(reply(first.xid, 5, 0, text("")))
		assert.Assert(t, r.watched.Len() == 0 && r.watched.Zxid() == 5)
		r.serve(reply(second.xid, 6, 0))
		assert.Error(t, r.ended(), "malformed reply to get")
	})
}

// An answer to a credential counts for its caller, or where it is refused for all.
func TestAuth(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		var accepted []int
		post := func(n int) *call {
			c := r.New(&KindAuth, "addauth", "")
			c.Frame(wire.OpAuth, wire.AuthRequest{Scheme: "digest"})
			if n != 2 {
				c.More = &More[event]{Accepted: func() { accepted = append(accepted, n) }}
			}
			if n == 3 {
				c.Abandon()
			}
			r.conn.Lock()
			r.conn.PostAuth(&c.Call)
			r.conn.Unlock()
			r.next()
			return c
		}
		calls := []*call{post(1), post(2), post(3), post(4)}
		for range 3 {
			r.serve(reply(wire.XidAuth, 0, 0))
		}
		assert.Assert(t, len(calls[0].Done()) == 1 && len(calls[1].Done()) == 1 && calls[0].Err == nil)
		r.serve(reply(wire.XidAuth, 0, -115))
		assert.DeepEqual(t, accepted, []int{1})
		assert.Error(t, calls[3].Err, "addauth  refused: -115, ended true")
		assert.Error(t, r.ended(), "end -115 ")
	})
}

// parts are operations of a Batch on /0, /1 and so on.
type parts struct {
	pipeline.Batch
	results []string
}

func (p *parts) Describe(i int) (op, path string) { return "op", fmt.Sprint("/", i) }

func (p *parts) Answered(i int) (ok, missing bool) {
	missing = p.results[i] == "-101"
	return p.results[i] == "value" || missing, missing
}

func (p *parts) Kind(i int) *Kind {
	if i == 0 {
		return &kindSwitched
	}
	return &kindGet
}

func (p *parts) Take(i int, code int32, d *wire.Decoder) {
	if p.results[i] = fmt.Sprint(code); code == 0 {
		p.results[i] = d.String()
	}
}

func (p *parts) Fail(i int, err error) { p.results[i] = err.Error() }

// batch sends a Batch of n operations, which arm the channel that is given for them, and
// returns the next n requests.
func (r *rig) batch(n int, arms map[int]chan event) (*call, *parts, []request) {
	p := &parts{results: make([]string, n)}
	c := r.New(&kindGet, "batch", "")
	c.More = &More[event]{Parts: p}
	c.Many(&p.Batch, n)
	for i := range n {
		_, path := p.Describe(i)
		c.Frame(wire.OpGetData, wire.PathWatchRequest{Path: path, Watch: arms[i] != nil})
		if arms[i] != nil {
			c.ArmPart(i, n, Arming[event]{Ch: arms[i], Kind: watches.Data, At: path})
		}
	}
	go r.SubmitMany(bg, c, c.Frames, n)
	synctest.Wait()
	var asked []request
	for range n {
		asked = append(asked, r.next())
	}
	synctest.Wait()
	return c, p, asked
}

// The operations of a Batch arm their channels one by one, each as it was answered.
func TestBatch(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		ch := make(chan event, 9)
		c, p, q := r.batch(5, map[int]chan event{0: ch, 1: ch, 2: ch, 4: ch})
		assert.Equal(t, q[3].text, "getData {Path:/3 Watch:false}")
		r.serve(notice(1, changed, "/0"), reply(q[0].xid, 1, 0, text("value")), reply(q[1].xid, 2, -101), reply(q[2].xid, 3, -102), notice(4, changed, "/0"))
		assert.DeepEqual(t, got(ch), []event{{changed, "/0", 4}})
		assert.Assert(t, r.watched.Len() == 1 && r.watched.Armed("/1").Has(watches.Exists) && r.watched.Zxid() == 3)
		assert.Assert(t, len(c.Done()) == 0)
		r.serve(reply(q[3].xid, 5, 0, text("value")), reply(q[4].xid, -1, 0, text("value")))
		assert.Assert(t, len(c.Done()) == 1 && r.watched.Len() == 2 && r.watched.Armed("/4").Has(watches.Data))
		assert.DeepEqual(t, p.results, []string{"value", "-101", "-102", "value", "value"})
	})
}

// A Batch that is given up arms what was answered before, and nothing more.
func TestBatchGivenUp(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		ch := make(chan event, 9)
		c, _, q := r.batch(3, map[int]chan event{0: ch, 1: ch, 2: ch})
		r.serve(reply(q[0].xid, 1, 0, text("value")), reply(q[1].xid, 2, 0, text("value")))
		assert.Assert(t, !r.GiveUp(c, 1) && r.GiveUp(c, 2))
		r.serve(reply(q[2].xid, 3, 0, text("value")))
		assert.Assert(t, r.watched.Len() == 2 && r.watched.Armed("/2") == 0 && r.watched.Zxid() == 3)
		assert.NilError(t, r.ended())
	})
}

// An operation of a Batch ends the connection like a call of its own.
func TestBatchEnds(t *testing.T) {
	for _, x := range []struct {
		name    string
		first   int32 // the code of the first answer
		second  []byte
		results []string
		end     string
	}{
		{"switched off", -6, reply(2, 1, -101), []string{"-6", "-101", "op /2: lost true, 0 too large, EOF"}, "EOF"},
		{"not supported", -101, reply(2, 1, -6), []string{"-101", "op /1 refused: -6, ended true", "op /2: lost true, 0 too large, end -6 "}, "end -6 "},
		{"expired", -101, reply(2, 1, -112), []string{"-101", "op /1 refused: -112, ended true", "op /2: lost true, 0 too large, end -112 "}, "end -112 "},
		{"cut short", -101, reply(2, 1, 0), []string{"-101", "op /1: lost true, 0 too large, malformed reply to batch", "op /2: lost true, 0 too large, malformed reply to batch"}, "malformed reply to batch"},
		{"too large", -101, wire.AppendInt32(wire.AppendInt32(nil, 2000), 2), []string{"-101", "op /1: lost true, 2000 too large, a reply of 2000 bytes", "op /2: lost true, 0 too large, a reply of 2000 bytes"}, "a reply of 2000 bytes"},
	} {
		t.Run(x.name, func(t *testing.T) {
			play(t, func(t *testing.T, r *rig) {
				c, p, _ := r.batch(3, nil)
				r.serve(reply(1, 1, x.first), x.second)
				assert.Error(t, r.end(), x.end)
				<-c.Done()
				assert.DeepEqual(t, p.results, x.results)
			})
		})
	}
}

// A call that has no answer was lost or not sent, by the bytes that have left. Of a reply
// that is too large only the call is told whose reply it is.
func TestFailed(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		one := r.send(bg, r.get("/1", nil))
		q := r.next()
		two := r.send(bg, r.get("/2", nil))
		r.next()
		three := r.send(bg, r.get("/3", nil))
		r.serve(wire.AppendInt32(wire.AppendInt32(nil, 2000), q.xid))
		r.done(one, "get /1: lost true, 2000 too large, a reply of 2000 bytes")
		r.done(two, "get /2: lost true, 0 too large, a reply of 2000 bytes")
		r.done(three, "get /3: lost false, 0 too large, a reply of 2000 bytes")
	})
}
