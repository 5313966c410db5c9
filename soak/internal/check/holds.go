package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
)

// term is the time in which a znode was the oldest in its directory: it, and
// nobody else, holds the lock, or leads.
type term struct {
	path    string
	czxid   int64
	session int64
	from    int64 // zxid that made it the oldest
	to      int64 // zxid that deleted it; 0: it is there at the end
}

// terms plays a directory. Who was made first is first: no counter of a
// directory has come to its end.
func terms(t *history.Truth, dir string) []term {
	var line []*history.Change
	var out []term
	list := t.Children(dir)
	for i, c := range list {
		if c.Type == zk.Created {
			line = append(line, c)
		} else {
			line = slices.DeleteFunc(line, func(have *history.Change) bool { return have.Path == c.Path })
		}
		if i+1 < len(list) && list[i+1].Zxid() == c.Zxid() {
			continue // of one transaction
		}
		last := len(out) - 1
		if last >= 0 && out[last].to == 0 {
			if len(line) > 0 && line[0].Path == out[last].path && line[0].Zxid() == out[last].czxid {
				continue
			}
			out[last].to = c.Zxid()
		}
		if len(line) > 0 {
			out = append(out, term{line[0].Path, line[0].Zxid(), line[0].Txn.Session, c.Zxid(), 0})
		}
	}
	return out
}

// holder returns who held at a zxid, or nil.
func holder(list []term, zxid int64) *term {
	for i := range list {
		if list[i].from <= zxid && (list[i].to == 0 || zxid < list[i].to) {
			return &list[i]
		}
	}
	return nil
}

// held is a hold and whose it was.
type held struct {
	*history.Hold
	client *history.Client
}

func (h held) report(what, format string, args ...any) Finding {
	text := fmt.Sprintf("%s by token %#x: %s", h.Dir, h.Token, fmt.Sprintf(format, args...))
	return Finding{"H", what, h.client.Name, h.From, text}
}

// Holds checks locks and terms. By what the clients say, no two overlap, and
// their tokens grow in time. By the log, a hold begins after its znode has become
// the oldest one, and has ended by the time that anybody can know the znode to be
// gone. A guarded write happens while the znode of its hold is the oldest, and
// nobody else writes there. What is left in the directories is left over.
func Holds(t *history.Truth, clients []*history.Client) []Finding {
	var out []Finding
	dirs := map[string][]held{}
	for _, c := range clients {
		if c.Recipes == nil {
			continue
		}
		for i := range c.Recipes.Holds {
			h := held{&c.Recipes.Holds[i], c}
			dirs[h.Dir] = append(dirs[h.Dir], h)
		}
		for _, path := range c.Recipes.Left {
			out = append(out, Finding{"H", LeftOver, c.Name, 0, path + " is there when all was released"})
		}
	}
	seen := history.NewAnswers(clients)
	guards := map[string][]term{}
	written := map[string]bool{}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		holds, line := dirs[dir], terms(t, dir)
		if last := len(line) - 1; last >= 0 && line[last].to == 0 {
			out = append(out, Finding{"H", LeftOver, "all", 0, line[last].path + " is there at the end of the log"})
		}
		out = append(out, overlaps(holds)...)
		for _, h := range holds {
			out = append(out, inTime(t, seen, line, h)...)
			out = append(out, guarded(t, line, h)...)
			for _, g := range h.Guarded {
				guards[g.Path], written[g.Value] = line, true
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(guards)) {
		for _, c := range t.Changes(path) {
			if c.Type == zk.Changed && !written[c.Value] {
				out = append(out, Finding{"H", Wrong, "all", c.Txn.Begun, fmt.Sprintf("%v, and no holder asked for it", c)})
			}
		}
	}
	return out
}

// overlaps compares holds of one directory with each other.
func overlaps(holds []held) []Finding {
	var out []Finding
	slices.SortFunc(holds, func(a, b held) int { return cmp.Compare(a.Token, b.Token) })
	var last held
	for i, h := range holds {
		switch {
		case i > 0 && h.Token == holds[i-1].Token:
			out = append(out, h.report(Overlap, "%s has that too", holds[i-1].client.Name))
		case last.Hold != nil && h.From <= last.To:
			out = append(out, h.report(Overlap, "%s held it until %d by the smaller token %#x", last.client.Name, last.To, last.Token))
		}
		if last.Hold == nil || h.To > last.To {
			last = h
		}
	}
	return out
}

// inTime compares a hold with the log.
func inTime(t *history.Truth, seen history.Answers, line []term, h held) []Finding {
	i := slices.IndexFunc(line, func(x term) bool { return x.czxid == h.Token && x.path == h.Path })
	if i < 0 {
		return []Finding{h.report(Overlap, "%s was never the oldest one", h.Path)}
	}
	x := line[i]
	switch {
	case x.session != h.Session:
		return []Finding{h.report(Wrong, "%s is of session %#x, and was held by %#x", h.Path, uint64(x.session), uint64(h.Session))}
	case t.Txn(x.from).Begun > h.From:
		return []Finding{h.report(Overlap, "the znode ahead went by zxid %#x, which nobody had asked for yet", x.from)}
	case x.to != 0 && seen.First(x.to) < h.To:
		return []Finding{h.report(Overlap, "it was held at %d, and zxid %#x, which deleted %s, was seen at %d", h.To, x.to, h.Path, seen.First(x.to))}
	}
	return nil
}

// guarded checks the writes under a hold.
func guarded(t *history.Truth, line []term, h held) []Finding {
	var out []Finding
	for _, g := range h.Guarded {
		list := t.Values(g.Value)
		switch {
		case len(list) > 1:
			out = append(out, h.report(Wrong, "%q was written %d times", g.Value, len(list)))
		case len(list) == 0 && g.Outcome == history.OK:
			out = append(out, h.report(Wrong, "%q was answered and is in no log", g.Value))
		case len(list) == 1 && (g.Outcome == history.Refused || g.Outcome == history.NotSent):
			out = append(out, h.report(Wrong, "%q was %v, and it happened: %v", g.Value, g.Outcome, list[0]))
		}
		for _, c := range list {
			if x := holder(line, c.Zxid()); x == nil || x.czxid != h.Token {
				out = append(out, h.report(Wrong, "%v, and the holder was %+v", c, x))
			}
		}
	}
	return out
}

// Observers checks what observers of elections were told: each term once at
// most, in order, after it had begun, and in the end that nobody leads.
func Observers(t *history.Truth, clients []*history.Client) []Finding {
	var out []Finding
	for _, c := range clients {
		if c.Recipes == nil || len(c.Recipes.Looks) == 0 {
			continue
		}
		line := terms(t, c.Recipes.Looks[0].Dir)
		report := func(l history.Look, format string, args ...any) {
			out = append(out, Finding{"T", Wrong, c.Name, l.Tick, fmt.Sprintf("leader by token %#x: %s", l.Token, fmt.Sprintf(format, args...))})
		}
		newest := int64(0)
		for _, l := range c.Recipes.Looks {
			if l.Token == 0 {
				continue
			}
			i := slices.IndexFunc(line, func(x term) bool { return x.czxid == l.Token })
			switch {
			case i < 0:
				report(l, "there was no such term")
			case l.Token <= newest:
				report(l, "told after %#x", newest)
			case t.Txn(line[i].from).Begun > l.Tick:
				report(l, "told before anybody had asked for zxid %#x, with which it began", line[i].from)
			}
			newest = max(newest, l.Token)
		}
		if last := c.Recipes.Looks[len(c.Recipes.Looks)-1]; last.Token != 0 {
			report(last, "it is the last that was told, and nobody leads in the end")
		}
	}
	return out
}
