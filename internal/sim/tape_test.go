package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
)

// simTape writes down a trace by hand.
type simTape struct {
	simTrace
	conn int64
	ends map[int64]int64
	tick int64
}

func newTape(chans ...int) *simTape {
	p := &simTape{conn: 2, ends: map[int64]int64{}}
	for _, n := range chans {
		p.Chans = append(p.Chans, simChan{Cap: n})
	}
	return p
}

func (p *simTape) add(e simEntry) *simTape {
	p.tick++
	e.At = time.Duration(p.tick)
	if e.Kind != simTxn {
		p.ends[p.conn] += 10
		e.Conn, e.End, e.Received = p.conn, p.ends[p.conn], true
	}
	p.Log = append(p.Log, e)
	return p
}

func (p *simTape) txn(zxid int64, typ zk.EventType, path string) *simTape {
	return p.add(simEntry{Kind: simTxn, Zxid: zxid, Changes: []simChange{{typ, path}}})
}

func (p *simTape) reply(zxid int64, arms ...simWatch) *simTape {
	return p.add(simEntry{Kind: simReply, Zxid: zxid, Arms: arms})
}

func (p *simTape) sets(zxid int64, last bool, restores ...simWatch) *simTape {
	for i := range restores {
		restores[i].Chan = 0
	}
	return p.add(simEntry{Kind: simReply, Zxid: zxid, Sets: true, Migrated: last, Restores: restores})
}

func (p *simTape) note(typ zk.EventType, path string, zxid int64) *simTape {
	return p.add(simEntry{Kind: simNote, Type: typ, Path: path, Zxid: zxid, CatchUp: zxid < 0})
}

// unread makes the last entry one that the client did not get to read.
func (p *simTape) unread() *simTape {
	p.Log[len(p.Log)-1].Received = false
	return p
}

func (p *simTape) move() *simTape { p.conn++; return p }

func (p *simTape) recv(ch int, typ zk.EventType, path string, zxid int64) *simTape {
	p.tick++
	r := simRecv{Type: typ, Path: path, Zxid: zxid, Before: p.tick, At: time.Duration(p.tick)}
	p.tick++
	r.After = p.tick
	p.Chans[ch].Recv = append(p.Chans[ch].Recv, r)
	return p
}

func simAt(kind zk.WatchKind, path string, ch int) simWatch { return simWatch{kind, path, ch} }

// goodTape is a run with all kinds of watches, a Dial that fails between two
// SetWatches frames, and nothing wrong.
func goodTape() *simTape {
	p := newTape(1, 1, 1, 1)
	p.txn(1, zk.Created, "/a").txn(2, zk.Created, "/p").txn(3, zk.Created, "/q")
	p.reply(10, simAt(zk.DataWatch, "/a", 0))
	p.reply(10, simAt(zk.ChildWatch, "/p", 1)).reply(10, simAt(zk.PersistentWatch, "/q", 2)).reply(10, simAt(zk.ExistsWatch, "/e", 0))
	p.reply(10, simAt(zk.RecursiveWatch, "/p", 3))
	p.txn(11, zk.Changed, "/a").note(zk.Changed, "/a", 11).recv(0, zk.Changed, "/a", 11)
	p.reply(11, simAt(zk.DataWatch, "/a", 1))
	p.txn(12, zk.Changed, "/q").note(zk.Changed, "/q", 12).recv(2, zk.Changed, "/q", 12)
	p.txn(13, zk.Changed, "/a").note(zk.Changed, "/a", 13).unread()
	p.txn(14, zk.Created, "/p/x").txn(15, zk.Changed, "/q").txn(16, zk.Created, "/e").txn(17, zk.Deleted, "/e")
	p.move()
	p.note(zk.Changed, "/a", -1).recv(3, zk.Gap, "/p", 0).recv(2, zk.Gap, "/q", 0).recv(1, zk.Changed, "/a", 0)
	p.sets(17, false, simAt(zk.DataWatch, "/a", 1))
	p.sets(17, true, simAt(zk.ChildWatch, "/p", 1), simAt(zk.PersistentWatch, "/q", 2)).unread()
	p.Log[len(p.Log)-1].Migrated = false
	p.txn(18, zk.Changed, "/q")
	p.move()
	p.sets(18, false, simAt(zk.ExistsWatch, "/e", 0))
	p.note(zk.Child, "/p", -1).recv(3, zk.Gap, "/p", 0).recv(2, zk.Gap, "/q", 0).recv(1, zk.Child, "/p", 0)
	p.sets(18, true, simAt(zk.ChildWatch, "/p", 1), simAt(zk.PersistentWatch, "/q", 2), simAt(zk.RecursiveWatch, "/p", 3))
	p.txn(19, zk.Changed, "/q").note(zk.Changed, "/q", 19).recv(2, zk.Changed, "/q", 19)
	p.txn(20, zk.Created, "/e").note(zk.Created, "/e", 20).recv(0, zk.Created, "/e", 20)
	p.txn(21, zk.Changed, "/p/x").note(zk.Changed, "/p/x", 21).recv(3, zk.Changed, "/p/x", 21)
	p.reply(21)
	return p
}

// entry finds the n-th entry of a kind, counted from 0.
func (p *simTape) entry(kind simEntryKind, n int) int {
	for i := range p.Log {
		if p.Log[i].Kind == kind {
			if n == 0 {
				return i
			}
			n--
		}
	}
	panic("no such entry")
}

func (p *simTape) cut(i int) { p.Log = slices.Delete(p.Log, i, i+1) }

func (p *simTape) drop(ch, i int) { p.Chans[ch].Recv = slices.Delete(p.Chans[ch].Recv, i, i+1) }

func TestSimulatorChecker(t *testing.T) {
	assert.Equal(t, fmt.Sprint(goodTape().check()), "[]")
	for _, bad := range []struct {
		name  string
		want  string
		spoil func(*simTape)
	}{
		{"an event that was read is not delivered", "W3 lost", func(p *simTape) { p.drop(0, 0) }},
		{"the last event is not delivered", "W3 lost", func(p *simTape) { p.drop(3, 2) }},
		{"an event is delivered twice", "W2 duplicate", func(p *simTape) { p.recv(0, zk.Created, "/e", 20) }},
		{"an event is delivered that nobody sent", "W4 false", func(p *simTape) { p.recv(0, zk.Deleted, "/e", 30) }},
		{"an event goes to a channel that is not armed", "W3 lost", func(p *simTape) {
			r := p.Chans[1].Recv[0]
			p.drop(1, 0)
			p.Chans[0].Recv = slices.Insert(p.Chans[0].Recv, 1, r)
		}},
		{"two events of a channel change places", "W1 reordered", func(p *simTape) {
			r := p.Chans[1].Recv
			r[0], r[1] = r[1], r[0]
		}},
		{"a later event of another channel comes out first", "W1 reordered", func(p *simTape) {
			// Channel 3 has had room for one, and its second receive begins
			// only when channel 2 is through.
			r := p.Chans[3].Recv
			r[1].Before, r[2].Before, r[2].After = 1000, 1001, 1002
			p.Chans[0].Recv[1].Before, p.Chans[0].Recv[1].After = 1, 2
			p.Chans[0].Cap, p.Chans[3].Cap = 0, 1
			p.txn(22, zk.Changed, "/q").note(zk.Changed, "/q", 22)
			p.Chans[2].Recv = append(p.Chans[2].Recv, simRecv{Type: zk.Changed, Path: "/q", Zxid: 22, Before: 3, After: 4})
		}},
		{"a catch-up event is missing", "W6 lost", func(p *simTape) {
			p.cut(p.entry(simNote, 4)) // Child /p
			p.drop(1, 1)
		}},
		{"the same, masked by a later event", "W6 lost", func(p *simTape) {
			p.cut(p.entry(simNote, 4))
			p.drop(1, 1)
			p.txn(22, zk.Created, "/p/y").note(zk.Child, "/p", 22).recv(1, zk.Child, "/p", 22).note(zk.Created, "/p/y", 22).recv(3, zk.Created, "/p/y", 22)
		}},
		{"a live event is missing", "W3 lost", func(p *simTape) {
			p.cut(p.entry(simNote, 0)) // Changed /a
			p.drop(0, 0)
		}},
		{"an exists watch is not told of what it lived to see", "W6 lost", func(p *simTape) {
			p.cut(p.entry(simNote, 6)) // Created /e
			p.drop(0, 1)
		}},
		{"an exists watch is restored to a node that is there, and not told", "W6 lost", func(p *simTape) {
			p.cut(p.entry(simTxn, 9)) // the deletion of /e
			p.cut(p.entry(simNote, 6))
			p.drop(0, 1)
		}},
		{"an event for which nothing has happened", "W4 false", func(p *simTape) {
			p.reply(21, simAt(zk.DataWatch, "/p/x", 0)).note(zk.Changed, "/p/x", -1).recv(0, zk.Changed, "/p/x", 0)
			p.recv(3, zk.Changed, "/p/x", 0)
		}},
		{"one change is told twice, by two connections", "W2 duplicate", func(p *simTape) {
			p.note(zk.Changed, "/q", 19).recv(2, zk.Changed, "/q", 19)
			p.note(zk.Changed, "/q", 19).recv(2, zk.Changed, "/q", 19)
			p.note(zk.Changed, "/q", 19).recv(2, zk.Changed, "/q", 19)
		}},
		{"a persistent watch missed something and says nothing", "W6 lost", func(p *simTape) { p.drop(2, 1); p.drop(2, 1) }},
		{"the Gap is older than what was missed", "W6 lost", func(p *simTape) { p.drop(2, 2) }},
		{"the Gap is behind what is new", "W6 lost", func(p *simTape) {
			r := p.Chans[2].Recv
			r[2], r[3] = r[3], r[2]
		}},
		{"a channel gets an event after it was removed", "W4 false", func(p *simTape) {
			p.Removes = append(p.Removes, simRemove{Path: "/q", Chan: 2, Conn: 4, Lo: 30, Hi: 30, OK: true})
		}},
		{"a call returns before the event ahead of its reply is delivered", "W5 late", func(p *simTape) {
			p.Roomy = true
			p.Returns = append(p.Returns, simReturn{Reply: len(p.Log) - 1, Held: []int{2, 2, 4, 2}})
		}},
	} {
		p := goodTape()
		bad.spoil(p)
		found := p.check()
		var rules []string
		for _, f := range found {
			rules = append(rules, f.Rule+" "+f.What)
		}
		assert.Assert(t, slices.Contains(rules, bad.want), "%s: want %s, found %v", bad.name, bad.want, found)
	}
	for _, good := range []struct {
		name   string
		change func(*simTape)
	}{
		{"an event between the two ends of a RemoveWatch", func(p *simTape) {
			p.Removes = append(p.Removes, simRemove{Path: "/q", Chan: 2, Conn: 4, Lo: 30, Hi: 50, OK: true})
		}},
		{"the same, not delivered", func(p *simTape) {
			p.Removes = append(p.Removes, simRemove{Path: "/q", Chan: 2, Conn: 4, Lo: 30, Hi: 50, OK: true})
			p.drop(2, 3)
		}},
		{"a RemoveWatch whose answer was lost", func(p *simTape) {
			p.Removes = append(p.Removes, simRemove{Path: "/q", Chan: 2, Conn: 4, Lo: 30, Hi: 30})
		}},
		{"a Gap more than is due", func(p *simTape) { p.recv(2, zk.Gap, "/q", 0) }},
		{"an event that nobody was armed for", func(p *simTape) { p.txn(22, zk.Changed, "/zz").note(zk.Changed, "/zz", 22) }},
		{"a slow consumer of a channel with room", func(p *simTape) {
			p.Chans[2].Cap = 10
			for i := range p.Chans[2].Recv {
				r := &p.Chans[2].Recv[i]
				r.Before, r.After, r.At = r.Before+5000, r.After+5000, r.At+5000
			}
		}},
		{"a call that returns with all ahead of it delivered", func(p *simTape) {
			p.Roomy = true
			p.Returns = append(p.Returns, simReturn{Reply: len(p.Log) - 1, Held: []int{2, 2, 4, 3}})
		}},
		{"the connection ends before the last event", func(p *simTape) {
			p.txn(22, zk.Changed, "/q").note(zk.Changed, "/q", 22).unread()
		}},
	} {
		p := goodTape()
		good.change(p)
		assert.Equal(t, fmt.Sprint(p.check()), "[]", good.name)
	}
}

// What may or may not be due must not take the place of what is.
func TestSimulatorMatchesAll(t *testing.T) {
	same := func(d *simDue, r *simRecv) bool { return d.typ == r.Type }
	due := func(maybe bool, typ zk.EventType) simDue { return simDue{typ: typ, maybe: maybe} }
	recv := func(types ...zk.EventType) (list []simRecv) {
		for _, typ := range types {
			list = append(list, simRecv{Type: typ})
		}
		return list
	}
	dues := []simDue{due(true, zk.Changed), due(false, zk.Changed), due(true, zk.Deleted), due(false, zk.Child)}
	assert.DeepEqual(t, matchAll(dues, recv(zk.Gap, zk.Changed, zk.Child), same), []int{0, 1, 3})
	assert.DeepEqual(t, matchAll(dues, recv(zk.Changed, zk.Changed, zk.Child), same), []int{0, 1, 3})
	assert.DeepEqual(t, matchAll(dues, recv(zk.Changed, zk.Deleted, zk.Child), same), []int{1, 2, 3})
	for _, bad := range [][]simRecv{recv(zk.Changed), recv(zk.Child, zk.Changed), recv(zk.Changed, zk.Child, zk.Child), nil} {
		assert.Assert(t, matchAll(dues, bad, same) == nil, "%v", bad)
	}
}
