package check

import (
	"fmt"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// goodWrites is a run of a writer in which calls end in every way.
func goodWrites(t *testing.T) *tape {
	p := newTape(t)
	p.create("/a")
	p.create("/b")
	p.set("/a", 1)
	p.delete("/b")
	p.create("/b")

	lost := p.call(wire.OpSetData, "/a", "lost, and there", 1) // 5
	_ = lost
	p.zxid++
	p.log = append(p.log, apache.Txn{Session: writerID, Cxid: p.xid, Zxid: p.zxid, Op: wire.OpSetData, Path: "/a", Version: 2, Data: []byte("lost, and there")})
	p.call(wire.OpSetData, "/a", "lost, and never there", 2) // 6
	p.call(wire.OpDelete, "/b", "", zk.AnyVersion)           // 7: lost, and there
	p.zxid++
	p.log = append(p.log, apache.Txn{Session: writerID, Cxid: p.xid, Zxid: p.zxid, Op: wire.OpDelete, Path: "/b"})
	p.call(wire.OpDelete, "/a", "", 7) // 8: lost, and never there

	k := p.call(wire.OpSetData, "/a", "not sent", 2) // 9
	k.Outcome = history.NotSent
	p.unsend()
	k = p.call(wire.OpDelete, "/a", "", 2) // 10
	k.Outcome = history.NotSent
	p.unsend()
	k = p.call(wire.OpSetData, "/a", "refused", 7) // 11
	k.Outcome, k.Code = history.Refused, zk.ErrVersion
	k = p.call(wire.OpCreate, "/a", "refused too", zk.AnyVersion) // 12
	k.Outcome, k.Code = history.Refused, zk.ErrExists
	k = p.call(wire.OpDelete, "/b", "", zk.AnyVersion) // 13
	k.Outcome, k.Code = history.Refused, zk.ErrNoNode

	k = p.call(wire.OpMulti, "/a", "multi 1", zk.AnyVersion) // 14
	k.Writes[0].Op = wire.OpSetData
	k.Writes = append(k.Writes, history.Write{Op: wire.OpCreate, Path: "/b", Value: "multi 2"})
	r := &p.writer.Conns[0].Requests[len(p.writer.Conns[0].Requests)-1]
	r.Path, r.Changes = "", []string{"/a", "/b"}
	p.zxid++
	p.log = append(p.log, apache.Txn{Session: writerID, Cxid: p.xid, Zxid: p.zxid, Op: wire.OpMulti, Ops: []apache.Txn{
		{Op: wire.OpSetData, Path: "/a", Data: []byte("multi 1"), Version: apache.UnknownVersion}, {Op: wire.OpCreate, Path: "/b", Data: []byte("multi 2")},
	}})
	p.answer(k, 3)
	k.Writes[1].Stat = zk.Stat{Czxid: p.zxid, Mzxid: p.zxid, Pzxid: p.zxid}

	k = p.call(wire.OpMulti, "/a", "multi 3", 1) // 15
	k.Writes[0].Op, k.Writes[0].Refused = wire.OpSetData, true
	k.Writes = append(k.Writes, history.Write{Op: wire.OpSetData, Path: "/b", Value: "multi 4", Version: zk.AnyVersion})
	k.Outcome, k.Code = history.Refused, zk.ErrVersion

	p.set("/a", 4) // 16
	p.read("/a")
	return p
}

// unsend takes the last request of the writer back.
func (p *tape) unsend() {
	n := p.writer.Conns[0]
	n.Requests = n.Requests[:len(n.Requests)-1]
}

// read is a getData of the watcher that arms nothing.
func (p *tape) read(path string) {
	k := p.arm(zk.DataWatch, path, -1)
	c := p.truth().Last(path, p.zxid)
	k.Data, k.Stat = c.Value, zk.Stat{Mzxid: c.Zxid(), Czxid: c.Czxid, Pzxid: c.Czxid, Version: c.Version}
}

func TestWrites(t *testing.T) {
	assert.DeepEqual(t, goodWrites(t).check(), []Finding(nil))
	for _, bad := range []struct {
		name  string
		want  string
		spoil func(*tape, []history.Call)
	}{
		{"a call that was not sent happened", "O wrong", func(p *tape, k []history.Call) { k[9].Outcome = history.Lost; k[5].Outcome = history.NotSent }},
		{"a delete that was not sent happened", "O wrong", func(p *tape, k []history.Call) { k[7].Outcome = history.NotSent }},
		{"a delete that was not sent went out, and did nothing", "O wrong", func(p *tape, k []history.Call) { k[8].Outcome = history.NotSent }},
		{"a refused call happened", "O wrong", func(p *tape, k []history.Call) { k[5].Outcome, k[5].Code = history.Refused, zk.ErrVersion }},
		{"an answered call is in no log", "O wrong", func(p *tape, k []history.Call) { k[6].Outcome = history.OK }},
		{"an answered delete is in no log", "O wrong", func(p *tape, k []history.Call) { k[8].Outcome = history.OK }},
		{"an answered delete was never sent", "O wrong", func(p *tape, k []history.Call) { k[10].Outcome = history.OK }},
		{"a call happened twice", "O wrong", func(p *tape, k []history.Call) {
			p.zxid++
			p.log = append(p.log, apache.Txn{Session: writerID, Cxid: p.xid, Zxid: p.zxid, Op: wire.OpSetData, Path: "/a", Version: 5, Data: []byte("lost, and there")})
		}},
		{"a delete happened twice", "O wrong", func(p *tape, k []history.Call) {
			p.zxid++
			p.log = append(p.log, apache.Txn{Session: writerID, Cxid: 7 + 1, Zxid: p.zxid, Op: wire.OpDelete, Path: "/b"})
		}},
		{"a delete happened that nobody sent", "O wrong", func(p *tape, k []history.Call) {
			p.zxid++
			p.log = append(p.log, apache.Txn{Session: writerID, Cxid: 99, Zxid: p.zxid, Op: wire.OpDelete, Path: "/b"})
		}},
		{"a refused delete happened", "O wrong", func(p *tape, k []history.Call) { k[7].Outcome, k[7].Code = history.Refused, zk.ErrVersion }},
		{"a lost call happened elsewhere", "O wrong", func(p *tape, k []history.Call) { k[5].Writes[0].Path = "/b" }},
		{"a call happened that was never seen on the wire", "O wrong", func(p *tape, k []history.Call) {
			n := p.writer.Conns[0]
			n.Requests = slices.DeleteFunc(n.Requests, func(r history.Request) bool { return r.Xid == 3 })
		}},
		{"an answer has another zxid than the log", "O wrong", func(p *tape, k []history.Call) { k[2].Writes[0].Stat.Mzxid++ }},
		{"of a multi only a part happened", "O wrong", func(p *tape, k []history.Call) {
			p.log[7].Ops = p.log[7].Ops[:1]
			p.log[7].Ops = append(p.log[7].Ops, apache.Txn{Op: wire.OpCreate, Path: "/b", Data: []byte("other")})
		}},
		{"the parts of a multi are two transactions", "O wrong", func(p *tape, k []history.Call) { k[14].Writes[1].Value = k[16].Writes[0].Value }},

		{"a read brings a value that is not of its version", "C wrong", func(p *tape, k []history.Call) { p.watcher.Calls[0].Data = "old" }},
		{"a read brings a version that is not of its mzxid", "C wrong", func(p *tape, k []history.Call) { p.watcher.Calls[0].Stat.Version-- }},
		{"a read brings an mzxid that never was", "C wrong", func(p *tape, k []history.Call) { p.watcher.Calls[0].Stat.Mzxid++ }},
		{"a read brings a pzxid that never was", "C wrong", func(p *tape, k []history.Call) { p.watcher.Calls[0].Stat.Pzxid++ }},
		{"a read goes back in time", "C wrong", func(p *tape, k []history.Call) {
			p.read("/a")
			again, old := &p.watcher.Calls[1], p.truth().Last("/a", 0x13)
			again.Data, again.Stat = old.Value, zk.Stat{Mzxid: old.Zxid(), Czxid: old.Czxid, Pzxid: old.Czxid, Version: old.Version}
		}},
		{"a later write has a smaller zxid", "C wrong", func(p *tape, k []history.Call) {
			k[0].Start, k[1].Start = k[1].Start, k[0].Start
			k[0].End, k[1].End = k[1].End, k[0].End
		}},

		{"two sets made one version", "L wrong", func(p *tape, k []history.Call) { k[2].Writes[0].Stat.Version = 2 }},
		{"a set fitted a version that was not there", "L wrong", func(p *tape, k []history.Call) { k[2].Writes[0].Version = 5 }},
		{"a set was refused that fitted", "L wrong", func(p *tape, _ []history.Call) {
			k := p.call(wire.OpSetData, "/a", "refused again", 4)
			k.Outcome, k.Code = history.Refused, zk.ErrVersion
		}},
		{"a part of a multi was refused that fitted", "L wrong", func(p *tape, k []history.Call) { k[15].Writes[0].Version = 3 }},
		{"a set was refused for another reason", "L wrong", func(p *tape, k []history.Call) { k[11].Code = zk.ErrNoNode }},
		{"a create was refused where nothing was", "L wrong", func(p *tape, k []history.Call) { k[12].Writes[0].Path = "/c" }},
		{"a delete found nothing where something was", "L wrong", func(p *tape, k []history.Call) { k[13].Writes[0].Path = "/a" }},
		{"a lost set happened, and nobody saw it", "L wrong", func(p *tape, k []history.Call) { k[11].Writes[0].Version, k[11].Outcome = 1, history.OK }},
	} {
		p := goodWrites(t)
		bad.spoil(p, p.writer.Calls)
		found := p.check()
		assert.Assert(t, slices.Contains(rules(found), bad.want), "%s: want %s, found %v", bad.name, bad.want, found)
	}
}

// Concurrent writes may happen in any order, but only while they last.
func TestLinearOrder(t *testing.T) {
	run := func(overlap bool) []Finding {
		p := newTape(t)
		p.create("/a")
		p.set("/a", 1)
		p.set("/a", 2)
		k := p.writer.Calls
		if overlap {
			k[1].End = k[2].End
		}
		k[1].Writes[0].Stat.Version, k[2].Writes[0].Stat.Version = 2, 1
		truth := p.truth()
		truth.Explain(p.clients())
		return Linear(truth, p.clients())
	}
	assert.DeepEqual(t, rules(run(true)), []string(nil))
	assert.DeepEqual(t, rules(run(false)), []string{"L wrong"})
}

// A long history is cut where nothing is under way, and each part is checked.
func TestLinearParts(t *testing.T) {
	long := func(n int, wrong int) []Finding {
		p := newTape(t)
		p.create("/a")
		for i := range n {
			p.set("/a", int32(i+1))
		}
		if wrong > 0 {
			p.writer.Calls[wrong].Writes[0].Stat.Version++
		}
		truth := p.truth()
		truth.Explain(p.clients())
		return Linear(truth, p.clients())
	}
	assert.DeepEqual(t, rules(long(3*linearOps, 0)), []string(nil))
	assert.DeepEqual(t, rules(long(3*linearOps, 2*linearOps)), []string{"L wrong"})

	// Without a quiet moment it says that it cannot tell.
	p := newTape(t)
	p.create("/a")
	for i := range linearOps + 1 {
		p.set("/a", int32(i+1))
	}
	for i := range p.writer.Calls {
		p.writer.Calls[i].End += 10
	}
	assert.DeepEqual(t, rules(Linear(p.truth(), p.clients())), []string{"L undecided"})
}

func TestTruth(t *testing.T) {
	txn := func(zxid int64, op wire.Op, path string, version int32) apache.Txn {
		return apache.Txn{Zxid: zxid, Op: op, Path: path, Version: version, Data: fmt.Append(nil, zxid)}
	}
	a, b, c := txn(1, wire.OpCreate, "/a", 0), txn(2, wire.OpSetData, "/a", 1), txn(3, wire.OpDelete, "/a", 0)
	truth, err := history.NewTruth([]apache.Txn{a, b, c}, []apache.Txn{b, b, c}, []apache.Txn{a, txn(4, wire.OpCreate, "/undone", 0)})
	assert.NilError(t, err)
	assert.Equal(t, len(truth.Txns), 3)
	assert.Equal(t, len(truth.Single), 1)
	assert.Equal(t, truth.Exists("/a", 2), true)
	assert.Equal(t, truth.Exists("/a", 3), false)

	failed := apache.Txn{Zxid: 2, Op: wire.OpMulti, Ops: []apache.Txn{b, {Op: wire.OpError}}}
	behind := apache.Txn{Zxid: 2, Op: wire.OpMulti, Ops: []apache.Txn{{Op: wire.OpError}, {Op: wire.OpError}}}
	truth, err = history.NewTruth([]apache.Txn{a, failed}, []apache.Txn{a, behind})
	assert.NilError(t, err)
	assert.Equal(t, len(truth.Txns), 1)

	for name, logs := range map[string][][]apache.Txn{
		"one zxid twice":            {{a, txn(1, wire.OpCreate, "/b", 0)}},
		"another value":             {{a}, {txn(1, wire.OpCreate, "/a", 5)}},
		"another path":              {{a}, {txn(1, wire.OpCreate, "/b", 0)}},
		"a version too many":        {{a, txn(2, wire.OpSetData, "/a", 2)}},
		"created twice":             {{a, txn(2, wire.OpCreate, "/a", 0)}},
		"set what is not":           {{b}},
		"delete what is not":        {{c}},
		"failed there and not here": {{a, failed}, {a, {Zxid: 2, Op: wire.OpMulti, Ops: []apache.Txn{b}}}},
	} {
		_, err := history.NewTruth(logs...)
		assert.Assert(t, err != nil, name)
	}
}

// Requests of several connections may have one number. What became of which is
// told by the answers, by the paths, and by when a zxid was first seen.
func TestExplain(t *testing.T) {
	again := func(p *tape) {
		p.writer.Conns = append(p.writer.Conns, &history.Conn{Begun: p.clock.Tick(), Session: writerID})
		p.xid = 2
	}
	lost := func(p *tape, op wire.Op, path string) *history.Request {
		p.call(op, path, "", zk.AnyVersion)
		n := p.writer.Conns[0]
		last := len(n.Requests) - 1
		r := n.Requests[last]
		if c := p.writer.Conns[len(p.writer.Conns)-1]; c != n { // the tape has one connection
			n.Requests = n.Requests[:last]
			c.Requests = append(c.Requests, r)
			return &c.Requests[len(c.Requests)-1]
		}
		return &n.Requests[last]
	}
	log := func(p *tape) {
		p.zxid++
		p.log = append(p.log, apache.Txn{Session: writerID, Cxid: 3, Zxid: p.zxid, Op: wire.OpDelete, Path: "/a"})
	}

	// The first was lost and did nothing, the second was answered.
	p := newTape(t)
	p.create("/a")
	p.create("/b")
	lost(p, wire.OpDelete, "/a")
	again(p)
	r := lost(p, wire.OpDelete, "/a")
	log(p)
	n := p.writer.Conns[1]
	n.Frames = append(n.Frames, history.Frame{Tick: p.clock.Tick(), Xid: 3, Zxid: p.zxid})
	k := &p.writer.Calls[len(p.writer.Calls)-1]
	k.Outcome, k.End = history.OK, p.clock.Tick()
	truth := p.truth()
	assert.DeepEqual(t, All(truth, p.clients()), []Finding(nil))
	assert.Equal(t, truth.Txns[2].Request, r)

	// The first was lost and happened, and somebody has seen it before the second.
	p = newTape(t)
	p.create("/a")
	p.create("/b")
	r = lost(p, wire.OpDelete, "/a")
	begun := r.Tick
	log(p)
	p.sync()
	again(p)
	lost(p, wire.OpDelete, "/a")
	truth = p.truth()
	assert.DeepEqual(t, All(truth, p.clients()), []Finding(nil))
	assert.Equal(t, truth.Txns[2].Begun, begun)

	// The first was lost and happened, the second is for something else.
	p = newTape(t)
	p.create("/a")
	p.create("/b")
	begun = lost(p, wire.OpDelete, "/a").Tick
	log(p)
	again(p)
	lost(p, wire.OpMulti, "").Changes = []string{"/a", "/b"}
	truth = p.truth()
	truth.Explain(p.clients())
	assert.Equal(t, truth.Txns[2].Begun, begun)
}
