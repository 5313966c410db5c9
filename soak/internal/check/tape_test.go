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

// tape writes down a run by hand.
type tape struct {
	t       *testing.T
	log     []apache.Txn
	watcher *history.Client
	writer  *history.Client
	clock   history.Clock
	zxid    int64
	xid     int32
}

const (
	watcherID = 0x100
	writerID  = 0x200
)

func newTape(t *testing.T, caps ...int) *tape {
	p := &tape{t: t, watcher: &history.Client{Name: "watcher"}, writer: &history.Client{Name: "writer"}, zxid: 0x10}
	for _, n := range caps {
		p.watcher.Chans = append(p.watcher.Chans, history.Chan{Cap: n})
	}
	p.move()
	p.writer.Conns = append(p.writer.Conns, &history.Conn{Begun: p.clock.Tick(), Session: writerID})
	return p
}

// move gives the watcher its next connection.
func (p *tape) move() {
	p.watcher.Conns = append(p.watcher.Conns, &history.Conn{Begun: p.clock.Tick(), Session: watcherID})
}

func (p *tape) conn() *history.Conn { return p.watcher.Conns[len(p.watcher.Conns)-1] }

// write makes a transaction by an answered call of the writer.
func (p *tape) write(op wire.Op, path, value string, version int32) *history.Call {
	k := p.call(op, path, value, zk.AnyVersion)
	p.zxid++
	x := apache.Txn{Session: writerID, Cxid: p.xid, Zxid: p.zxid, Op: op, Path: path, Version: version}
	if value != "" {
		x.Data = []byte(value)
	}
	p.log = append(p.log, x)
	p.answer(k, version)
	return k
}

// call begins a call of the writer, which is lost unless it is answered.
func (p *tape) call(op wire.Op, path, value string, version int32) *history.Call {
	p.xid++
	k := history.Call{Op: op, Start: p.clock.Tick(), Chan: -1, Writes: []history.Write{{Op: op, Path: path, Value: value, Version: version}}}
	n := p.writer.Conns[0]
	n.Requests = append(n.Requests, history.Request{Tick: p.clock.Tick(), Xid: p.xid, Op: op, Path: path})
	k.Outcome, k.End = history.Lost, p.clock.Tick()
	p.writer.Calls = append(p.writer.Calls, k)
	return &p.writer.Calls[len(p.writer.Calls)-1]
}

// answer ends it with the newest zxid.
func (p *tape) answer(k *history.Call, version int32) {
	n := p.writer.Conns[0]
	n.Frames = append(n.Frames, history.Frame{Tick: p.clock.Tick(), Xid: p.xid, Zxid: p.zxid})
	k.Outcome, k.End = history.OK, p.clock.Tick()
	if k.Op != wire.OpDelete {
		k.Writes[0].Stat = zk.Stat{Mzxid: p.zxid, Czxid: p.czxid(k.Writes[0].Path), Version: version}
		k.Writes[0].Stat.Pzxid = k.Writes[0].Stat.Czxid
	}
}

func (p *tape) czxid(path string) int64 {
	for _, x := range slices.Backward(p.log) {
		if x.Path == path && x.Op == wire.OpCreate {
			return x.Zxid
		}
	}
	return 0
}

func (p *tape) create(path string) { p.write(wire.OpCreate, path, fmt.Sprint("c", p.zxid), 0) }
func (p *tape) set(path string, version int32) {
	p.write(wire.OpSetData, path, fmt.Sprint("s", p.zxid), version)
}
func (p *tape) delete(path string) { p.write(wire.OpDelete, path, "", 0) }

// arm is a call of the watcher that arms a channel, answered with the newest zxid.
func (p *tape) arm(kind zk.WatchKind, path string, ch int) *history.Call {
	op := map[zk.WatchKind]wire.Op{zk.DataWatch: wire.OpGetData, zk.ExistsWatch: wire.OpExists, zk.ChildWatch: wire.OpGetChildren, zk.PersistentWatch: wire.OpAddWatch, zk.RecursiveWatch: wire.OpAddWatch}[kind]
	start := p.clock.Tick()
	p.ask(history.Request{Op: op, Path: path})
	p.watcher.Calls = append(p.watcher.Calls, history.Call{Op: op, Path: path, Start: start, End: p.clock.Tick(), Chan: ch, Kind: kind})
	return &p.watcher.Calls[len(p.watcher.Calls)-1]
}

// ask is a request of the watcher with its reply.
func (p *tape) ask(r history.Request) {
	n := p.conn()
	r.Tick, r.Xid = p.clock.Tick(), int32(len(n.Requests)+1)
	n.Requests = append(n.Requests, r)
	p.reply(r.Xid)
}

func (p *tape) reply(xid int32) {
	n := p.conn()
	n.Frames = append(n.Frames, history.Frame{Tick: p.clock.Tick(), Xid: xid, Zxid: p.zxid})
}

// sync is a call of the watcher that arms nothing.
func (p *tape) sync() { p.ask(history.Request{Op: wire.OpSync, Path: "/"}) }

// restore begins a SetWatches, and its reply ends it.
func (p *tape) restore(floor int64, list ...history.Watch) int32 {
	n := p.conn()
	r := history.Request{Tick: p.clock.Tick(), Xid: int32(len(n.Requests) + 1), Op: wire.OpSetWatches2, Floor: floor, Restores: list}
	n.Requests = append(n.Requests, r)
	return r.Xid
}

// event is read by the watcher: live with its zxid, -1 if it tells of the past.
func (p *tape) event(typ zk.EventType, path string, zxid int64) {
	n := p.conn()
	n.Frames = append(n.Frames, history.Frame{Tick: p.clock.Tick(), Event: typ, Path: path, Zxid: zxid})
}

// recv comes out of a channel.
func (p *tape) recv(ch int, typ zk.EventType, path string, zxid int64) {
	r := history.Recv{Event: zk.Event{Type: typ, Path: path, Zxid: zxid}, Before: p.clock.Tick()}
	r.After = p.clock.Tick()
	p.watcher.Chans[ch].Recv = append(p.watcher.Chans[ch].Recv, r)
}

// live is an event that is read and delivered, of the newest transaction.
func (p *tape) live(typ zk.EventType, path string, chans ...int) {
	p.event(typ, path, p.zxid)
	for _, ch := range chans {
		p.recv(ch, typ, path, p.zxid)
	}
}

func (p *tape) clients() []*history.Client { return []*history.Client{p.watcher, p.writer} }

func (p *tape) truth() *history.Truth {
	t, err := history.NewTruth(p.log)
	assert.NilError(p.t, err)
	return t
}

func (p *tape) check() []Finding {
	t := p.truth()
	return All(t, p.clients())
}

// rules lists what was found, each once.
func rules(found []Finding) []string {
	var out []string
	for _, f := range found {
		if s := f.Rule + " " + f.What; !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

// drop takes a receive away.
func (p *tape) drop(ch, i int) {
	p.watcher.Chans[ch].Recv = slices.Delete(p.watcher.Chans[ch].Recv, i, i+1)
}

// unread takes the n-th event of a connection away.
func (p *tape) unread(conn, n int) {
	c := p.watcher.Conns[conn]
	for i := range c.Frames {
		if c.Frames[i].Event != 0 {
			if n == 0 {
				c.Frames = slices.Delete(c.Frames, i, i+1)
				return
			}
			n--
		}
	}
	p.t.Fatal("no such event")
}

func at(kind zk.WatchKind, path string) history.Watch { return history.Watch{Kind: kind, Path: path} }
