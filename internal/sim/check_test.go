package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

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
