package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// bench is a tape of two clients that use recipes.
type bench struct {
	*tape
	all []*history.Client
}

const (
	annID  = 0x300
	benID  = 0x400
	late   = 0x500 // that Renew makes for ann
	door   = "/door"
	guard  = "/guard"
	number = "/number"
)

func newBench(t *testing.T) *bench {
	p := &bench{tape: newTape(t)}
	for i, name := range []string{"ann", "ben"} {
		c := &history.Client{Name: name, Recipes: &history.Recipes{}}
		c.Conns = append(c.Conns, &history.Conn{Begun: p.clock.Tick(), Session: []int64{annID, benID}[i]})
		p.all = append(p.all, c)
	}
	for _, path := range []string{door, guard, number} {
		p.create(path)
	}
	p.log[2].Data = []byte("0")
	p.writer.Calls[2].Writes[0].Value = "0"
	return p
}

// change is a transaction that a client asks for and is answered.
func (p *bench) change(who int, op wire.Op, path, value string) int64 {
	n := p.all[who].Conns[len(p.all[who].Conns)-1]
	p.xid++
	n.Requests = append(n.Requests, history.Request{Tick: p.clock.Tick(), Xid: p.xid, Op: op, Path: path})
	p.happen(n.Session, op, path, value)
	n.Frames = append(n.Frames, history.Frame{Tick: p.clock.Tick(), Xid: p.xid, Zxid: p.zxid})
	return p.zxid
}

// happen is a transaction alone.
func (p *bench) happen(session int64, op wire.Op, path, value string) {
	p.zxid++
	x := apache.Txn{Session: session, Cxid: p.xid, Zxid: p.zxid, Op: op, Path: path, Version: apache.UnknownVersion}
	if value != "" {
		x.Data = []byte(value)
	}
	p.log = append(p.log, x)
}

// hold notes a hold from now on, until end.
func (p *bench) hold(who int, path string, token int64) *history.Hold {
	r := p.all[who].Recipes
	n := p.all[who].Conns[len(p.all[who].Conns)-1]
	r.Holds = append(r.Holds, history.Hold{Dir: door, Path: path, Token: token, Session: n.Session, From: p.clock.Tick()})
	return &r.Holds[len(r.Holds)-1]
}

func (p *bench) end(h *history.Hold) { h.To = p.clock.Tick() }

// write writes under a hold.
func (p *bench) write(who int, h *history.Hold, value string, happens bool, o history.Outcome) {
	if happens {
		p.change(who, wire.OpSetData, guard, value)
	}
	h.Guarded = append(h.Guarded, history.Guarded{Path: guard, Value: value, Outcome: o})
}

func (p *bench) look(token int64) {
	p.all[1].Recipes.Looks = append(p.all[1].Recipes.Looks, history.Look{Dir: door, Token: token, Tick: p.clock.Tick()})
}

func (p *bench) add(who int, delta, sum int64, happens, unknown bool) {
	a := history.Add{Path: number, Delta: delta, Start: p.clock.Tick(), Session: p.all[who].Conns[0].Session}
	if happens {
		p.change(who, wire.OpSetData, number, fmt.Sprint(sum))
	}
	a.End, a.Sum, a.Unknown = p.clock.Tick(), sum, unknown
	if unknown {
		a.Sum = 0
	}
	p.all[who].Recipes.Adds = append(p.all[who].Recipes.Adds, a)
}

func (p *bench) judge() []Finding {
	t := p.truth()
	t.Explain(p.all)
	out := append(Outcomes(t, p.all), Holds(t, p.all)...)
	out = append(out, Observers(t, p.all)...)
	return append(append(out, Onces(t, p.all)...), Counters(t, p.all)...)
}

// goodRecipes is a run in which ann and ben take turns, ann's session expires
// while she holds, and calls end in every way.
func goodRecipes(t *testing.T) *bench {
	p := newBench(t)
	a := p.change(0, wire.OpCreate, door+"/a-0", "")
	first := p.hold(0, door+"/a-0", a)
	p.look(a)
	b := p.change(1, wire.OpCreate, door+"/b-1", "")
	p.write(0, first, "one", true, history.OK)
	p.write(0, first, "two", true, history.Lost)
	p.write(0, first, "three", false, history.Lost)
	p.end(first)
	p.change(0, wire.OpDelete, door+"/a-0", "")

	second := p.hold(1, door+"/b-1", b)
	p.look(b)
	p.write(1, second, "four", true, history.OK)
	c := p.change(0, wire.OpCreate, door+"/a-2", "")
	p.end(second)
	p.change(1, wire.OpDelete, door+"/b-1", "")

	third := p.hold(0, door+"/a-2", c)
	p.look(c)
	p.end(third)
	d := p.change(1, wire.OpCreate, door+"/b-3", "")
	p.zxid++ // the session expires
	p.log = append(p.log, apache.Txn{Session: annID, Zxid: p.zxid, Op: wire.OpCloseSession, Paths: []string{door + "/a-2"}})
	fourth := p.hold(1, door+"/b-3", d)
	p.look(d)
	p.write(0, &p.all[0].Recipes.Holds[1], "five", false, history.Refused)
	p.write(1, fourth, "six", true, history.OK)
	p.end(fourth)
	p.change(1, wire.OpDelete, door+"/b-3", "")
	p.look(0)

	p.all[0].Conns = append(p.all[0].Conns, &history.Conn{Begun: p.clock.Tick(), Session: late})
	p.change(0, wire.OpCreate, "/once-1", "once 1")
	p.change(0, wire.OpCreate, "/once-2", "once 2")
	p.all[0].Recipes.Onces = []history.Once{
		{Value: "once 1", Outcome: history.OK, Sent: 3}, {Value: "once 2", Outcome: history.Lost, Sent: 2}, {Value: "once 3", Outcome: history.Lost, Sent: 2},
	}
	p.add(0, 2, 2, true, false)
	p.add(1, 3, 5, true, false)
	p.add(0, 1, 6, true, true)
	p.add(0, 1, 0, false, true)
	p.add(1, 1, 7, true, false)
	return p
}

func TestRecipes(t *testing.T) {
	assert.DeepEqual(t, goodRecipes(t).judge(), []Finding(nil))
	for _, bad := range []struct {
		name  string
		want  string // in a finding
		spoil func(p *bench, ann, ben *history.Recipes)
	}{
		{"two held at once, as they say themselves", "held it until", func(p *bench, ann, ben *history.Recipes) { ben.Holds[0].From = ann.Holds[0].To }},
		{"one held on behind the next", "held it until", func(p *bench, ann, ben *history.Recipes) { ann.Holds[0].To = ben.Holds[1].To + 1 }},
		{"one token was given twice", "has that too", func(p *bench, ann, ben *history.Recipes) {
			again := ann.Holds[0]
			again.From, again.To, again.Guarded = p.clock.Tick(), p.clock.Tick(), nil
			ben.Holds = append(ben.Holds, again)
		}},
		{"a later holder has the smaller token", "held it until", func(p *bench, ann, ben *history.Recipes) {
			ann.Holds[1].Token, ben.Holds[1].Token = ben.Holds[1].Token, ann.Holds[1].Token
			ann.Holds[1].Path, ben.Holds[1].Path = ben.Holds[1].Path, ann.Holds[1].Path
		}},
		{"a lock was held by a znode that never was", "was never the oldest one", func(p *bench, ann, ben *history.Recipes) { ben.Holds[0].Token++ }},
		{"a lock was held by a znode that never came first", "b-5 was never the oldest one", func(p *bench, ann, ben *history.Recipes) {
			x := p.change(0, wire.OpCreate, door+"/a-4", "")
			y := p.change(1, wire.OpCreate, door+"/b-5", "")
			h := p.hold(1, door+"/b-5", y)
			p.end(h)
			p.change(1, wire.OpDelete, door+"/b-5", "")
			h = p.hold(0, door+"/a-4", x)
			p.end(h)
			p.change(0, wire.OpDelete, door+"/a-4", "")
		}},
		{"a lock was held before the one ahead was asked to go", "which nobody had asked for yet", func(p *bench, ann, ben *history.Recipes) {
			ann.Holds[0].To = ann.Holds[0].From
			ben.Holds[0].From = ann.Holds[0].From + 1
		}},
		{"a hold was not lost when its session had expired", "which deleted /door/a-2, was seen", func(p *bench, ann, ben *history.Recipes) {
			ann.Holds[1].To = p.all[1].Conns[0].Frames[len(p.all[1].Conns[0].Frames)-1].Tick + 1
			ben.Holds = ben.Holds[:1]
		}},
		{"a hold is another session's", "and was held by", func(p *bench, ann, ben *history.Recipes) { ann.Holds[0].Session = late }},
		{"a guarded write happened behind the hold", "and the holder was", func(p *bench, ann, ben *history.Recipes) {
			p.change(0, wire.OpSetData, guard, "three")
		}},
		{"a guarded write happened while another held", "and the holder was", func(p *bench, ann, ben *history.Recipes) {
			ben.Holds[0].Guarded[0].Value = "five"
			ann.Holds[1].Guarded[0] = history.Guarded{Path: guard, Value: "four", Outcome: history.Lost}
		}},
		{"a guarded write was refused, and happened", "was refused, and it happened", func(p *bench, ann, ben *history.Recipes) { ann.Holds[0].Guarded[1].Outcome = history.Refused }},
		{"a guarded write was answered, and is in no log", "is in no log", func(p *bench, ann, ben *history.Recipes) { ann.Holds[0].Guarded[2].Outcome = history.OK }},
		{"a guarded write happened twice", "was written 2 times", func(p *bench, ann, ben *history.Recipes) { p.happen(annID, wire.OpSetData, guard, "two") }},
		{"somebody else wrote", "no holder asked for it", func(p *bench, ann, ben *history.Recipes) { p.happen(benID, wire.OpSetData, guard, "whose?") }},
		{"a contender is left over, by the log", "at the end of the log", func(p *bench, ann, ben *history.Recipes) { p.change(0, wire.OpCreate, door+"/a-6", "") }},
		{"a contender is left over, by a look", "when all was released", func(p *bench, ann, ben *history.Recipes) { ann.Left = []string{door + "/a-2"} }},

		{"a leader was told twice", "told after", func(p *bench, ann, ben *history.Recipes) { ben.Looks[1].Token = ben.Looks[0].Token }},
		{"leaders were told in the wrong order", "told after", func(p *bench, ann, ben *history.Recipes) {
			ben.Looks[1].Token, ben.Looks[2].Token = ben.Looks[2].Token, ben.Looks[1].Token
		}},
		{"a leader was told that never was", "no such term", func(p *bench, ann, ben *history.Recipes) { ben.Looks[1].Token++ }},
		{"a leader was told too early", "told before", func(p *bench, ann, ben *history.Recipes) { ben.Looks[1].Tick = ben.Looks[0].Tick }},
		{"the last leader was never told to have gone", "nobody leads in the end", func(p *bench, ann, ben *history.Recipes) { ben.Looks = ben.Looks[:4] }},

		{"a transaction by Once happened twice", "happened 2 times", func(p *bench, ann, ben *history.Recipes) { p.change(0, wire.OpCreate, "/once-4", "once 1") }},
		{"a transaction by Once never happened", "happened 0 times", func(p *bench, ann, ben *history.Recipes) { ann.Onces[2].Outcome = history.OK }},
		{"an unknown one happened twice", "happened 2 times", func(p *bench, ann, ben *history.Recipes) { p.change(0, wire.OpCreate, "/once-5", "once 2") }},
		{"an addition counted twice", "nobody has added that", func(p *bench, ann, ben *history.Recipes) { p.change(1, wire.OpSetData, number, "8") }},
		{"an answered addition did not count", "is in no log", func(p *bench, ann, ben *history.Recipes) { p.add(0, 1, 8, false, false) }},
		{"another number was added", "was asked for", func(p *bench, ann, ben *history.Recipes) { ben.Adds[0].Delta = 2 }},
		{"two were told of one sum", "was told so too", func(p *bench, ann, ben *history.Recipes) { ann.Adds[0].Sum = 5 }},
		{"an addition is another's", "by whose sessions it is not", func(p *bench, ann, ben *history.Recipes) {
			ann.Adds = append(ann.Adds, ben.Adds[1])
			ben.Adds = ben.Adds[:1]
		}},
		{"an addition was answered before an earlier one counted", "not linearizable", func(p *bench, ann, ben *history.Recipes) {
			ann.Adds[0].Start, ann.Adds[0].End, ben.Adds[0].Start, ben.Adds[0].End = ben.Adds[0].Start, ben.Adds[0].End, ann.Adds[0].Start, ann.Adds[0].End
		}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			p := goodRecipes(t)
			bad.spoil(p, p.all[0].Recipes, p.all[1].Recipes)
			found := p.judge()
			assert.Assert(t, slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.Text, bad.want) }), "%q", found)
		})
	}
}
