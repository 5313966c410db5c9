package zk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// This file judges what a client made of a history: the simulator records the
// one and the other, and check compares them by the rules of docs/guarantees.md:
//
//	W1 events come in wire order, over all channels and all connections
//	W2 one registration gets at most one event, one change at most one from a persistent watch
//	W3 no lost update: a registration is told of the first change after it
//	W4 no false event: what is told has happened, after the registration
//	W5 an event comes before the data that it tells of
//	W6 W3 across migrations, with a Gap where a persistent watch missed something
//
// The truth is the servers' own log. Nothing here is shared with the client,
// but the names of kinds and events.

// simTrace is a run: what the servers did, and what came out of the channels.
type simTrace struct {
	Log     []simEntry // in the order of the servers
	Removes []simRemove
	Returns []simReturn
	Chans   []simChan
	Roomy   bool // no channel was ever full, and none was read before the end
	Lagging bool // some servers were behind: what one has told live, another may tell live again
}

type simEntryKind int

const (
	simTxn   simEntryKind = iota // a transaction, whoever made it
	simReply                     // to a request of the session under test
	simNote                      // an event, to the same
	simAsk                       // a request of the same, for the reader
)

// simEntry is one thing that a server did. Paths are the servers'.
type simEntry struct {
	Kind simEntryKind
	Zxid int64
	At   time.Duration

	Changes []simChange // simTxn

	Conn     int64 // of the session under test, counted up
	End      int64 // place in the connection's bytes to the client, behind the frame
	Received bool  // all of the frame was read by the client

	Arms     []simWatch // simReply: armed by the call that it answered
	Restores []simWatch // simReply to a SetWatches: the paths in it
	Sets     bool       // simReply to a SetWatches
	Migrated bool       // the last of those, of a Dial that succeeded

	Type    zk.EventType // simNote
	Path    string
	CatchUp bool // by a SetWatches

	frame *zktest.Frame // for the reader; nil in a trace made by hand
}

type simChange struct {
	Type zk.EventType // Created, Changed, Deleted
	Path string
}

type simWatch struct {
	Kind zk.WatchKind
	Path string
	Chan int
}

// simRemove is a RemoveWatch. The channel was disarmed somewhere between two
// places on the wire, if at all.
type simRemove struct {
	Path   string
	Chan   int
	Conn   int64
	Lo, Hi int64 // places in the connection's bytes
	OK     bool
}

// simReturn is the return of a call: how many events each channel held then.
type simReturn struct {
	Reply int // of Log
	Held  []int
}

type simChan struct {
	Cap  int
	Recv []simRecv
}

// simRecv is an event that came out of a channel. The numbers are of one clock
// that ticks with every receive of all channels.
type simRecv struct {
	Type          zk.EventType
	Path          string
	Zxid          int64
	Before, After int64 // the receive was begun, and was over
	At            time.Duration
}

func (r simRecv) String() string { return fmt.Sprintf("%v %s zxid %#x", r.Type, r.Path, r.Zxid) }

// simFinding is a broken rule.
type simFinding struct {
	Rule string
	What string // lost, false, duplicate, reordered or late
	Text string
	Pos  int // the entry of the log where it shows
}

func (f simFinding) String() string { return f.Rule + " " + f.What + ": " + f.Text }

func simParent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func simBelow(path, root string) bool {
	return path == root || root == "/" || strings.HasPrefix(path, root) && path[len(root)] == '/'
}

// concerns reports whether a watch is to be told of a change.
func (w simWatch) concerns(c simChange) bool {
	made := c.Type == zk.Created || c.Type == zk.Deleted
	switch w.Kind {
	case zk.DataWatch:
		return c.Path == w.Path
	case zk.ExistsWatch:
		return c.Path == w.Path && c.Type == zk.Created
	case zk.ChildWatch:
		return made && simParent(c.Path) == w.Path && c.Path != "/" || c.Path == w.Path && c.Type == zk.Deleted
	case zk.PersistentWatch:
		return c.Path == w.Path || made && simParent(c.Path) == w.Path
	case zk.RecursiveWatch:
		return simBelow(c.Path, w.Path)
	}
	return false
}

// hears reports whether an event that is read concerns a watch.
func (w simWatch) hears(t zk.EventType, path string) bool {
	if w.Kind == zk.RecursiveWatch {
		return t != zk.Child && simBelow(path, w.Path)
	}
	if path != w.Path {
		return false
	}
	switch w.Kind {
	case zk.DataWatch, zk.ExistsWatch:
		return t != zk.Child
	case zk.ChildWatch:
		return t == zk.Child || t == zk.Deleted
	}
	return true
}

func simOneShot(k zk.WatchKind) bool { return k < zk.PersistentWatch }

// simReg is a registration: a channel armed at a path in one way, from the
// reply that armed it on.
type simReg struct {
	simWatch
	base  int64 // zxid of that reply: it is to be told of what comes after
	conn  int64
	pos   int  // that reply's place in the replay
	maybe bool // a RemoveWatch may have disarmed it
	over  int  // place in the replay where it fired or was removed; -1: never
	fired bool
	heard int   // persistent: live events so far
	last  int64 // on this connection, if servers lag
}

// simDue is an event that a channel must get, at its place in the order.
type simDue struct {
	typ   zk.EventType
	path  string
	zxid  int64
	pos   int // in the replay
	maybe bool
	at    int // index in simChan.Recv; -1: never came
}

// simChecker holds a trace and what became of it.
type simChecker struct {
	*simTrace
	order     []int // received entries in the order in which the client read them, as indexes of Log
	regs      []*simReg
	armed     map[simWatch]*simReg
	due       [][]simDue // by channel
	gaps      [][]simGap
	changes   map[string][]simFact // by path that a data, child or persistent watch could be on
	all       []simFact
	committed []int64 // newest transaction, by index of Log
	lastRecv  map[int64]int
	findings  []simFinding
}

type simFact struct {
	simChange
	zxid int64
	at   int // index of Log
}

type simGap struct {
	path  string
	index int // in simChan.Recv
	after int // so many due events came before
}

func (c *simChecker) report(rule, what string, pos int, format string, args ...any) {
	c.findings = append(c.findings, simFinding{rule, what, fmt.Sprintf(format, args...), pos})
}

// check returns the broken rules, none for a correct client.
func (tr *simTrace) check() []simFinding {
	c := &simChecker{simTrace: tr, armed: map[simWatch]*simReg{}, changes: map[string][]simFact{}, lastRecv: map[int64]int{}}
	c.due = make([][]simDue, len(tr.Chans))
	c.gaps = make([][]simGap, len(tr.Chans))
	c.index()
	c.replay()
	for i := range tr.Chans {
		c.match(i)
	}
	c.wireOrder()
	for _, r := range c.regs {
		if simOneShot(r.Kind) {
			c.told(r)
		}
	}
	c.gapsDue()
	c.beforeData()
	return c.findings
}

// index notes what happened when.
func (c *simChecker) index() {
	newest := int64(0)
	c.committed = make([]int64, len(c.Log))
	for i := range c.Log {
		e := &c.Log[i]
		if e.Kind == simTxn {
			newest = max(newest, e.Zxid)
			for _, ch := range e.Changes {
				f := simFact{ch, e.Zxid, i}
				c.all = append(c.all, f)
				c.changes[ch.Path] = append(c.changes[ch.Path], f)
				if ch.Type != zk.Changed && ch.Path != "/" {
					p := simParent(ch.Path)
					c.changes[p] = append(c.changes[p], f)
				}
			}
		} else if e.Received {
			c.order = append(c.order, i)
			c.lastRecv[e.Conn] = i
		}
		c.committed[i] = newest
	}
	slices.SortStableFunc(c.order, func(a, b int) int { return int(c.Log[a].Conn - c.Log[b].Conn) })
}

func (c *simChecker) facts(w simWatch) []simFact {
	if w.Kind == zk.RecursiveWatch {
		return c.all
	}
	return c.changes[w.Path]
}

// firstAfter returns the first change after a zxid that a watch is to be told of.
func (c *simChecker) firstAfter(w simWatch, zxid int64) (simFact, bool) {
	for _, f := range c.facts(w) {
		if f.zxid > zxid && w.concerns(f.simChange) {
			return f, true
		}
	}
	return simFact{}, false
}

// countBetween counts the changes in (after, upTo] that a watch is to be told of.
func (c *simChecker) countBetween(w simWatch, after, upTo int64) int {
	n := 0
	for _, f := range c.facts(w) {
		if f.zxid > after && f.zxid <= upTo && w.concerns(f.simChange) {
			n++
		}
	}
	return n
}

// exists reports whether a node is there after a transaction.
func (c *simChecker) exists(path string, zxid int64) bool {
	there := false
	for _, f := range c.changes[path] {
		if f.zxid <= zxid && f.Path == path {
			there = f.Type != zk.Deleted
		}
	}
	return there
}

// replay goes through the frames as the client read them and works out who is
// to get what (I4 to I7), and that each of it had happened (W4, W2).
func (c *simChecker) replay() {
	removes := slices.Clone(c.Removes)
	begun := make([]bool, len(removes))
	for pos, at := range c.order {
		e := &c.Log[at]
		for i := range removes {
			r := &removes[i]
			if r.Path == "" {
				continue
			}
			if !begun[i] && (e.Conn > r.Conn || e.Conn == r.Conn && e.End > r.Lo) {
				begun[i] = true
				c.remove(r, pos, false)
			}
			if e.Conn > r.Conn || e.Conn == r.Conn && e.End > r.Hi {
				if r.OK {
					c.remove(r, pos, true)
				}
				r.Path = "" // done
			}
		}
		switch e.Kind {
		case simReply:
			for _, w := range e.Arms {
				c.arm(w, e, pos)
			}
		case simNote:
			c.notify(e, at, pos)
		}
	}
	for i := range removes {
		if r := &removes[i]; r.Path != "" {
			c.remove(r, len(c.order), r.OK)
		}
	}
}

func (c *simChecker) remove(r *simRemove, pos int, sure bool) {
	for k := zk.DataWatch; k <= zk.RecursiveWatch; k++ {
		w := simWatch{k, r.Path, r.Chan}
		reg := c.armed[w]
		if reg == nil {
			continue
		}
		reg.maybe = true
		if sure {
			reg.over = pos
			delete(c.armed, w)
		}
	}
}

func (c *simChecker) arm(w simWatch, e *simEntry, pos int) {
	if reg := c.armed[w]; reg != nil {
		if reg.maybe { // whether removed before or not, now it is armed
			reg.over = pos
		} else {
			return
		}
	}
	reg := &simReg{simWatch: w, base: e.Zxid, conn: e.Conn, pos: pos, over: -1}
	c.armed[w] = reg
	c.regs = append(c.regs, reg)
}

func (c *simChecker) notify(e *simEntry, at, pos int) {
	hit := map[int]bool{} // channels; true: surely armed
	var chans []int
	for w, reg := range c.armed {
		if !w.hears(e.Type, e.Path) {
			continue
		}
		if _, ok := hit[w.Chan]; !ok {
			chans = append(chans, w.Chan)
		}
		hit[w.Chan] = hit[w.Chan] || !reg.maybe
		if simOneShot(w.Kind) {
			reg.over, reg.fired = pos, true
			delete(c.armed, w)
			if n := c.countBetween(w, reg.base, c.committed[at]); n == 0 {
				c.report("W4", "false", at, "%v for the %v watch of channel %d at %s, armed at zxid %#x: nothing had happened since", e.Type, w.Kind, w.Chan, w.Path, reg.base)
			}
			continue
		}
		n := c.countBetween(w, reg.base, c.committed[at])
		if c.Lagging && reg.last != e.Conn {
			reg.last, reg.heard = e.Conn, 0
		}
		if !e.CatchUp {
			reg.heard++
		}
		switch {
		case n == 0:
			c.report("W4", "false", at, "%v %s for the %v watch of channel %d at %s, armed at zxid %#x: nothing had happened since", e.Type, e.Path, w.Kind, w.Chan, w.Path, reg.base)
		case reg.heard > n:
			c.report("W2", "duplicate", at, "%v %s is live event %d for the %v watch of channel %d at %s, but there were only %d changes", e.Type, e.Path, reg.heard, w.Kind, w.Chan, w.Path, n)
		}
	}
	slices.Sort(chans)
	for _, ch := range chans {
		c.due[ch] = append(c.due[ch], simDue{e.Type, e.Path, max(e.Zxid, 0), pos, !hit[ch], -1})
	}
}

// match finds for every event of a channel the frame that it stands for (W1,
// W2, W3, W4: each that is due once, in order, and nothing else but Gaps).
func (c *simChecker) match(ch int) {
	due, recv := c.due[ch], c.Chans[ch].Recv
	same := func(d *simDue, r *simRecv) bool { return d.typ == r.Type && d.path == r.Path && d.zxid == r.Zxid }
	plan := matchAll(due, recv, same)
	next := 0
	var extra []int
	for i := range recv {
		r := &recv[i]
		if r.Type == zk.Gap {
			c.gaps[ch] = append(c.gaps[ch], simGap{r.Path, i, next})
			continue
		}
		at := next
		if plan != nil {
			at = plan[i]
		}
		for at < len(due) && !same(&due[at], r) && due[at].maybe {
			at++
		}
		if at == len(due) || !same(&due[at], r) {
			// Out of step: is it further on?
			for at = next; at < len(due) && !same(&due[at], r); at++ {
			}
			if at == len(due) {
				extra = append(extra, i)
				continue
			}
		}
		due[at].at = i
		next = at + 1
	}
	for i := range due {
		d := &due[i]
		if d.at >= 0 || d.maybe {
			continue
		}
		late := slices.IndexFunc(extra, func(x int) bool { return same(d, &recv[x]) })
		if late >= 0 {
			c.report("W1", "reordered", c.order[d.pos], "channel %d got %v %s behind a later event", ch, d.typ, d.path)
			d.at = extra[late]
			extra = slices.Delete(extra, late, late+1)
			continue
		}
		c.report("W3", "lost", c.order[d.pos], "channel %d did not get %v %s (zxid %#x), which was read", ch, d.typ, d.path, d.zxid)
	}
	for _, x := range extra {
		what, rule := "false", "W4"
		for i := range due {
			if same(&due[i], &recv[x]) && due[i].at >= 0 && due[i].at < x {
				what, rule = "duplicate", "W2"
			}
		}
		c.report(rule, what, len(c.Log), "channel %d got %v, which no frame was to give it", ch, recv[x])
	}
}

// matchAll finds, where some events may or may not be due, a frame for every
// event that leaves none out that is. It returns nil if there is no such choice.
func matchAll(due []simDue, recv []simRecv, same func(*simDue, *simRecv) bool) []int {
	if !slices.ContainsFunc(due, func(d simDue) bool { return d.maybe }) {
		return nil
	}
	width := len(due) + 1
	fits := make([]bool, (len(recv)+1)*width) // recv[i:] with due[j:]
	for i := len(recv); i >= 0; i-- {
		for j := len(due); j >= 0; j-- {
			var ok bool
			switch {
			case i < len(recv) && recv[i].Type == zk.Gap:
				ok = fits[(i+1)*width+j]
			case j == len(due):
				ok = i == len(recv)
			default:
				ok = i < len(recv) && same(&due[j], &recv[i]) && fits[(i+1)*width+j+1] || due[j].maybe && fits[i*width+j+1]
			}
			fits[i*width+j] = ok
		}
	}
	if !fits[0] {
		return nil
	}
	plan, j := make([]int, len(recv)), 0
	for i := range recv {
		if recv[i].Type == zk.Gap {
			continue
		}
		for !same(&due[j], &recv[i]) || !fits[(i+1)*width+j+1] {
			j++
		}
		plan[i] = j
		j++
	}
	return plan
}

// wireOrder finds events that surely entered their channel after a later one
// of another channel had come out of it (W1).
func (c *simChecker) wireOrder() {
	type bound struct {
		pos, ch     int
		entered, at int64 // not before, and out
		text        string
	}
	var all []bound
	for ch := range c.due {
		recv := c.Chans[ch].Recv
		for i := range c.due[ch] {
			d := &c.due[ch][i]
			if d.at < 0 {
				continue
			}
			b := bound{pos: d.pos, ch: ch, at: recv[d.at].After, text: fmt.Sprint(d.typ, " ", d.path)}
			if k := d.at - c.Chans[ch].Cap; k >= 0 {
				b.entered = recv[k].Before // only then was there room
			}
			all = append(all, b)
		}
	}
	slices.SortStableFunc(all, func(a, b bound) int { return a.pos - b.pos })
	var latest bound
	for i := 0; i < len(all); {
		j := i
		for ; j < len(all) && all[j].pos == all[i].pos; j++ {
			if b := &all[j]; b.at < latest.entered {
				c.report("W1", "reordered", c.order[b.pos], "channel %d got %s, before channel %d got %s, which was read earlier", b.ch, b.text, latest.ch, latest.text)
			}
		}
		for ; i < j; i++ {
			if all[i].entered > latest.entered {
				latest = all[i]
			}
		}
	}
}

// told checks that a one-shot registration was told of the first change after
// it, before any reply that shows it (W3, W6; exception I8(i) of exists watches).
func (c *simChecker) told(r *simReg) {
	base := r.base
	t, ok := c.firstAfter(r.simWatch, base)
	for pos := r.pos + 1; pos < len(c.order); pos++ {
		if r.over >= 0 && r.over <= pos || !ok {
			return
		}
		e := &c.Log[c.order[pos]]
		if e.Kind != simReply || e.Zxid < t.zxid {
			continue
		}
		if e.Conn > r.conn {
			if r.Kind == zk.ExistsWatch && c.restores(e, r) && !c.exists(r.Path, e.Zxid) {
				base = e.Zxid
				t, ok = c.firstAfter(r.simWatch, base)
				continue
			}
			if e.Sets && !e.Migrated && !c.restores(e, r) {
				continue // others were restored, and its turn may come
			}
		}
		if r.maybe {
			return
		}
		rule := "W3"
		if e.Conn > r.conn {
			rule = "W6"
		}
		c.report(rule, "lost", c.order[pos], "the %v watch of channel %d at %s, armed at zxid %#x, was not told of %v %s of zxid %#x before connection %d answered with zxid %#x",
			r.Kind, r.Chan, r.Path, r.base, t.Type, t.Path, t.zxid, e.Conn, e.Zxid)
		return
	}
}

func (c *simChecker) restores(e *simEntry, r *simReg) bool {
	return e.Sets && slices.Contains(e.Restores, simWatch{Kind: r.Kind, Path: r.Path})
}

// gapsDue checks that a persistent watch that missed a change, while no
// connection had it, got a Gap: ahead of what the next connection told, and
// when the change could be read (W6).
func (c *simChecker) gapsDue() {
	for _, r := range c.regs {
		if simOneShot(r.Kind) {
			continue
		}
		covered := r.conn
		for pos := r.pos + 1; pos < len(c.order); pos++ {
			at := c.order[pos]
			e := &c.Log[at]
			if r.over >= 0 && r.over <= pos || r.maybe {
				break
			}
			if e.Conn == covered || !c.restores(e, r) {
				continue
			}
			// What the last connection can have told ends with the newest
			// transaction at the last frame that was read of it.
			told := c.committed[c.lastRecv[covered]]
			covered = e.Conn
			var missed simFact
			for _, f := range c.facts(r.simWatch) {
				if f.zxid > max(told, r.base) && f.zxid <= e.Zxid && r.concerns(f.simChange) {
					missed = f
				}
			}
			if missed.zxid != 0 && !c.gapFor(r, missed, e.Conn) {
				c.report("W6", "lost", at, "the %v watch of channel %d at %s missed %v %s of zxid %#x before connection %d, and there was no Gap",
					r.Kind, r.Chan, r.Path, missed.Type, missed.Path, missed.zxid, e.Conn)
			}
		}
	}
}

// gapFor looks for the Gap that tells of a change missed before a connection.
func (c *simChecker) gapFor(r *simReg, missed simFact, conn int64) bool {
	due, recv := c.due[r.Chan], c.Chans[r.Chan].Recv
	old, fresh := 0, len(due) // events of connections before, and the first of this one or later
	for i := range due {
		if c.Log[c.order[due[i].pos]].Conn < conn {
			if due[i].at >= 0 { // not one that was perhaps removed
				old = i + 1
			}
		} else {
			fresh = min(fresh, i)
		}
	}
	for _, g := range c.gaps[r.Chan] {
		if g.path == r.Path && g.after <= fresh && recv[g.index].At >= c.Log[missed.at].At && (!c.Roomy || g.after >= old) {
			return true
		}
	}
	return false
}

// beforeData checks that a call returned with what its reply brought only when
// the events ahead of that reply were in their channels (W5). It can tell where
// channels have room and nobody reads them.
func (c *simChecker) beforeData() {
	if !c.Roomy {
		return
	}
	place := map[int]int{} // of a reply in the replay
	for pos, at := range c.order {
		place[at] = pos
	}
	for _, ret := range c.Returns {
		pos, ok := place[ret.Reply]
		if !ok {
			c.report("W5", "late", ret.Reply, "a call returned without its reply")
			continue
		}
		for ch, held := range ret.Held {
			need := 0
			for i := range c.due[ch] {
				if d := &c.due[ch][i]; d.pos < pos && d.at >= need {
					need = d.at + 1
				}
			}
			if held < need {
				c.report("W5", "late", ret.Reply, "channel %d held %d events when a call returned whose reply lay behind %d", ch, held, need)
			}
		}
	}
}

// ---- the checker's own tests

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
