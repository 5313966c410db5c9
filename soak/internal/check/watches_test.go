package check

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// goodTape is a run with all kinds of watches, two migrations and a Dial that
// fails between them, and nothing wrong.
//
//	channel 0: data /a, later exists /e    channel 1: child /p, data /a    channel 2: persistent /q    channel 3: recursive /p
func goodTape(t *testing.T) *tape {
	p := newTape(t, 2, 2, 2, 2)
	p.create("/a")
	p.create("/p")
	p.create("/q")
	p.arm(zk.DataWatch, "/a", 0)
	p.arm(zk.ChildWatch, "/p", 1)
	p.arm(zk.PersistentWatch, "/q", 2)
	p.arm(zk.RecursiveWatch, "/p", 3)
	p.set("/a", 1)
	p.live(zk.Changed, "/a", 0)
	p.arm(zk.DataWatch, "/a", 1)
	p.arm(zk.ExistsWatch, "/e", 0)
	p.set("/q", 1)
	p.live(zk.Changed, "/q", 2)
	floor := p.conn().Frames[len(p.conn().Frames)-2].Zxid

	p.set("/a", 2) // nobody reads that any more
	p.create("/p/x")
	p.set("/q", 2)
	p.create("/e")
	p.delete("/e")
	all := []history.Watch{at(zk.DataWatch, "/a"), at(zk.ExistsWatch, "/e"), at(zk.ChildWatch, "/p"), at(zk.PersistentWatch, "/q"), at(zk.RecursiveWatch, "/p")}

	p.move() // the link breaks before the reply
	p.restore(floor, all...)
	p.event(zk.Changed, "/a", -1)
	p.recv(2, zk.Gap, "/q", 0)
	p.recv(3, zk.Gap, "/p", 0)
	p.recv(1, zk.Changed, "/a", 0)
	p.set("/q", 3)

	p.move()
	xid := p.restore(floor, all[1:]...)
	p.event(zk.Child, "/p", -1)
	p.recv(2, zk.Gap, "/q", 0)
	p.recv(3, zk.Gap, "/p", 0)
	p.recv(1, zk.Child, "/p", 0)
	p.reply(xid)
	p.set("/q", 4)
	p.live(zk.Changed, "/q", 2)
	p.create("/e")
	p.live(zk.Created, "/e", 0)
	p.set("/p/x", 1)
	p.live(zk.Changed, "/p/x", 3)
	p.sync()
	return p
}

func TestWatches(t *testing.T) {
	assert.DeepEqual(t, goodTape(t).check(), []Finding(nil))
	last := func(p *tape, back int) *history.Frame {
		f := p.conn().Frames
		return &f[len(f)-1-back]
	}
	for _, bad := range []struct {
		name  string
		want  string
		spoil func(*tape)
	}{
		{"an event that was read is not delivered", "W3 lost", func(p *tape) { p.drop(0, 0) }},
		{"the last event is not delivered", "W3 lost", func(p *tape) { p.drop(3, 2) }},
		{"an event is delivered twice", "W2 duplicate", func(p *tape) { p.recv(0, zk.Created, "/e", last(p, 2).Zxid) }},
		{"an event is delivered that nobody sent", "W4 false", func(p *tape) { p.recv(0, zk.Deleted, "/e", 0x99) }},
		{"an event has another zxid than its frame", "W4 false", func(p *tape) { p.watcher.Chans[0].Recv[0].Zxid++ }},
		{"an event goes to a channel that is not armed", "W3 lost", func(p *tape) {
			p.watcher.Chans[0].Recv = slices.Insert(p.watcher.Chans[0].Recv, 1, p.watcher.Chans[1].Recv[0])
			p.drop(1, 0)
		}},
		{"two events of a channel change places", "W1 reordered", func(p *tape) {
			r := p.watcher.Chans[1].Recv
			r[0], r[1] = r[1], r[0]
		}},
		{"a later event of another channel comes out first", "W1 reordered", func(p *tape) {
			// Both unbuffered: the event at /q can have entered only when its receive had begun.
			p.watcher.Chans[0].Cap, p.watcher.Chans[2].Cap = 0, 0
			e, q := &p.watcher.Chans[0].Recv[1], &p.watcher.Chans[2].Recv[3]
			e.Before, e.After, q.Before, q.After = q.Before, q.After, e.Before, e.After
		}},
		{"a live event never comes", "W3 lost", func(p *tape) { p.unread(0, 0); p.drop(0, 0) }},
		{"a live event of a persistent watch never comes", "W3 lost", func(p *tape) { p.unread(2, 1); p.drop(2, 3) }},
		{"of two live events only the second comes", "W3 lost", func(p *tape) {
			p.unread(2, 1)
			p.drop(2, 3)
			p.set("/q", 5)
			p.live(zk.Changed, "/q", 2)
		}},
		{"a catch-up event never comes", "W6 lost", func(p *tape) { p.unread(2, 0); p.drop(1, 1) }},
		{"the same, hidden by a later event", "W6 lost", func(p *tape) {
			p.unread(2, 0)
			p.drop(1, 1)
			p.create("/p/y")
			p.live(zk.Child, "/p", 1)
			p.live(zk.Created, "/p/y", 3)
			p.sync()
		}},
		{"an exists watch is not told of what it lived to see", "W3 lost", func(p *tape) { p.unread(2, 2); p.drop(0, 1) }},
		{"an exists watch is restored to a znode that is there, and not told", "W6 lost", func(p *tape) {
			p.log = slices.DeleteFunc(p.log, func(x apache.Txn) bool { return x.Path == "/e" && x.Zxid > 0x19 })
			p.unread(2, 2)
			p.drop(0, 1)
		}},
		{"a watch is not restored", "W6 lost", func(p *tape) {
			r := &p.conn().Requests[0]
			r.Restores = slices.DeleteFunc(r.Restores, func(w history.Watch) bool { return w.Kind == zk.ExistsWatch })
			p.unread(2, 2)
			p.drop(0, 1)
		}},
		{"watches are restored from a zxid that is too high", "W6 wrong", func(p *tape) { p.conn().Requests[0].Floor++ }},
		{"a child watch is armed again from a zxid that is too high", "W6 wrong", func(p *tape) {
			p.arm(zk.RecursiveWatch, "/p", 3)
			p.arm(zk.ChildWatch, "/p", 1)
			p.reply(p.restore(p.zxid+1, at(zk.ChildWatch, "/p")))
		}},
		{"an event for which nothing has happened", "W4 false", func(p *tape) {
			p.arm(zk.DataWatch, "/p/x", 0)
			p.event(zk.Changed, "/p/x", -1)
			p.recv(0, zk.Changed, "/p/x", 0)
			p.recv(3, zk.Changed, "/p/x", 0)
		}},
		{"an event of an older change than the registration", "W4 false", func(p *tape) {
			p.arm(zk.DataWatch, "/q", 0)
			p.set("/a", 3)
			p.event(zk.Changed, "/q", p.zxid-3)
		}},
		{"an event of another kind than what happened", "W4 false", func(p *tape) {
			c := p.watcher.Conns[0]
			i := slices.IndexFunc(c.Frames, func(f history.Frame) bool { return f.Event == zk.Changed })
			c.Frames[i].Event = zk.Deleted
			p.watcher.Chans[0].Recv[0].Type = zk.Deleted
		}},
		{"an event before the call that made it had begun", "W4 false", func(p *tape) {
			p.arm(zk.DataWatch, "/a", 0)
			p.event(zk.Changed, "/a", p.zxid+1)
			p.recv(0, zk.Changed, "/a", p.zxid+1)
			p.set("/a", 3)
		}},
		{"one change is told twice to a persistent watch", "W2 duplicate", func(p *tape) {
			z := p.czxid("/e") - 1
			p.event(zk.Changed, "/q", z)
			p.recv(2, zk.Changed, "/q", z)
		}},
		{"a persistent watch missed something and says nothing", "W6 lost", func(p *tape) { p.drop(2, 1); p.drop(2, 1) }},
		{"the Gap is older than what was missed", "W6 lost", func(p *tape) { p.drop(2, 2) }},
		{"the Gap is behind what is new", "W6 lost", func(p *tape) {
			r := p.watcher.Chans[2].Recv
			r[2], r[3] = r[3], r[2]
		}},
		{"a call returns before the event ahead of its reply is delivered", "W5 late", func(p *tape) {
			p.watcher.Roomy = true
			p.arm(zk.DataWatch, "/q", 0).Held = []int{2, 2, 4, 2}
		}},
		{"a call returns and its reply was never read", "W5 late", func(p *tape) {
			p.watcher.Roomy = true
			p.arm(zk.DataWatch, "/q", 0).Held = []int{2, 2, 4, 3}
			p.conn().Frames = p.conn().Frames[:len(p.conn().Frames)-1]
		}},
		{"a call is answered that was not sent", "W3 wrong", func(p *tape) {
			p.arm(zk.DataWatch, "/q", 0)
			p.conn().Requests = p.conn().Requests[:len(p.conn().Requests)-1]
		}},
		{"a reply goes back in time", "C wrong", func(p *tape) { last(p, 0).Zxid = 0x1a }},
	} {
		p := goodTape(t)
		bad.spoil(p)
		found := p.check()
		assert.Assert(t, slices.Contains(rules(found), bad.want), "%s: want %s, found %v", bad.name, bad.want, found)
	}
	for _, good := range []struct {
		name   string
		change func(*tape)
	}{
		{"a Gap more than is due", func(p *tape) { p.recv(2, zk.Gap, "/q", 0) }},
		{"an event that nobody was armed for", func(p *tape) { p.create("/z"); p.event(zk.Created, "/z", p.zxid) }},
		{"the same watch twice is one", func(p *tape) {
			p.arm(zk.DataWatch, "/a", 0)
			p.arm(zk.DataWatch, "/a", 0)
			p.set("/a", 3)
			p.live(zk.Changed, "/a", 0)
			p.sync()
		}},
		{"one event ends the watches of several kinds", func(p *tape) {
			p.delete("/e")
			p.create("/e")
			p.arm(zk.DataWatch, "/e", 0)
			p.arm(zk.ChildWatch, "/e", 0)
			p.arm(zk.ChildWatch, "/e", 1)
			p.delete("/e")
			p.live(zk.Deleted, "/e", 0, 1)
			p.sync()
		}},
		{"a server that is behind tells again what another has told", func(p *tape) {
			seen := p.zxid
			p.set("/q", 5)
			p.live(zk.Changed, "/q", 2)
			p.move()
			now := p.zxid
			p.zxid = seen
			p.reply(p.restore(seen, at(zk.PersistentWatch, "/q"), at(zk.RecursiveWatch, "/p")))
			p.zxid = now
			p.live(zk.Changed, "/q", 2)
			p.sync()
		}},
		{"a child watch is armed again, as an AddWatch may have made it deaf", func(p *tape) {
			p.move()
			p.create("/r")
			p.arm(zk.ChildWatch, "/r", 1)
			p.arm(zk.RecursiveWatch, "/r", 3)
			p.reply(p.restore(p.zxid, at(zk.ChildWatch, "/r")))
		}},
		{"gone and back while nobody looked has changed", func(p *tape) {
			p.arm(zk.DataWatch, "/a", 0)
			p.arm(zk.ChildWatch, "/a", 1)
			floor := p.zxid
			p.delete("/a")
			p.create("/a")
			p.move()
			xid := p.restore(floor, at(zk.DataWatch, "/a"), at(zk.ChildWatch, "/a"), at(zk.PersistentWatch, "/q"), at(zk.RecursiveWatch, "/p"))
			p.event(zk.Changed, "/a", -1)
			p.recv(0, zk.Changed, "/a", 0)
			p.event(zk.Child, "/a", -1)
			p.recv(1, zk.Child, "/a", 0)
			p.reply(xid)
			p.sync()
		}},
		{"the connection ends before the last event", func(p *tape) { p.set("/q", 5) }},
		{"a call that returns with all ahead of it delivered", func(p *tape) {
			p.watcher.Roomy = true
			p.watcher.Chans[2].Recv[0].After-- // still the same order
			p.arm(zk.DataWatch, "/q", 0).Held = []int{2, 2, 4, 3}
		}},
		{"a live event between two SetWatches, without a zxid", func(p *tape) {
			floor := p.zxid
			p.move()
			one := p.restore(floor, at(zk.PersistentWatch, "/q"), at(zk.RecursiveWatch, "/p"))
			two := p.restore(floor)
			p.reply(one)
			p.set("/q", 5)
			p.event(zk.Changed, "/q", -1)
			p.recv(2, zk.Changed, "/q", 0)
			p.reply(two)
			p.sync()
		}},
		{"events without zxids, as before 3.9", func(p *tape) {
			for _, c := range p.watcher.Conns {
				for i := range c.Frames {
					if c.Frames[i].Event != 0 {
						c.Frames[i].Zxid = -1
					}
				}
			}
			for ch := range p.watcher.Chans {
				for i := range p.watcher.Chans[ch].Recv {
					p.watcher.Chans[ch].Recv[i].Zxid = 0
				}
			}
		}},
	} {
		p := goodTape(t)
		good.change(p)
		assert.DeepEqual(t, p.check(), []Finding(nil))
	}
}
