package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
)

// Chain checks everything that was read or answered against the log: the
// version, mzxid and value of a znode that were seen together are together
// there; a write that ended before another began has the smaller zxid; and the
// zxids of the replies to one client never go back, over all its connections.
func Chain(t *history.Truth, clients []*history.Client) []Finding {
	var out []Finding
	type write struct {
		client     *history.Client
		start, end int64
		zxid       int64
		text       string
	}
	var writes []write
	for _, c := range clients {
		report := func(tick int64, format string, args ...any) {
			out = append(out, Finding{"C", Wrong, c.Name, tick, fmt.Sprintf(format, args...)})
		}
		seen := int64(0)
		for i, n := range c.Conns {
			for j := range n.Frames {
				f := &n.Frames[j]
				if f.Event != 0 || f.Zxid <= 0 {
					continue
				}
				if f.Zxid < seen {
					report(f.Tick, "connection %d answered with zxid %#x behind %#x", i, f.Zxid, seen)
				}
				seen = max(seen, f.Zxid)
			}
		}
		last := map[string]int64{} // mzxid of what was read, by the one goroutine that reads a path
		for i := range c.Calls {
			k := &c.Calls[i]
			if k.Outcome != history.OK {
				continue
			}
			for _, w := range k.Writes {
				if w.Stat.Mzxid == 0 {
					continue
				}
				if err := onChain(t, w.Path, w.Stat, &w.Value); err != nil {
					report(k.End, "%v: %v", k.Op, err)
				}
				writes = append(writes, write{c, k.Start, k.End, w.Stat.Mzxid, fmt.Sprintf("%v of %s", w.Op, w.Path)})
			}
			if len(k.Writes) > 0 || k.Stat.Mzxid == 0 {
				continue
			}
			var data *string
			if k.Data != "" {
				data = &k.Data
			}
			if err := onChain(t, k.Path, k.Stat, data); err != nil {
				report(k.End, "%v: %v", k.Op, err)
			}
			if k.Stat.Mzxid < last[k.Path] {
				report(k.End, "%v of %s saw mzxid %#x behind %#x", k.Op, k.Path, k.Stat.Mzxid, last[k.Path])
			}
			last[k.Path] = k.Stat.Mzxid
		}
	}
	byEnd := slices.Clone(writes)
	slices.SortFunc(byEnd, func(a, b write) int { return cmp.Compare(a.end, b.end) })
	slices.SortFunc(writes, func(a, b write) int { return cmp.Compare(a.start, b.start) })
	var newest write
	n := 0
	for _, w := range writes {
		for ; n < len(byEnd) && byEnd[n].end < w.start; n++ {
			if byEnd[n].zxid > newest.zxid {
				newest = byEnd[n]
			}
		}
		if w.zxid < newest.zxid {
			out = append(out, Finding{"C", Wrong, w.client.Name, w.start, fmt.Sprintf("%s got zxid %#x, and began when %s of %s had ended with %#x", w.text, w.zxid, newest.text, newest.client.Name, newest.zxid)})
		}
	}
	return out
}

// onChain compares a Stat, and a value if there is one, with the log.
func onChain(t *history.Truth, path string, s zk.Stat, value *string) error {
	// Several changes of one transaction leave one mzxid: it is the last that counts.
	c := t.Last(path, s.Mzxid)
	switch {
	case c == nil || c.Zxid() != s.Mzxid || c.Type == zk.Deleted:
		return fmt.Errorf("%s had mzxid %#x, which the log does not have of it", path, s.Mzxid)
	case c.Version != s.Version || c.Czxid != s.Czxid:
		return fmt.Errorf("%s had mzxid %#x with version %d and czxid %#x, the log has %d and %#x", path, s.Mzxid, s.Version, s.Czxid, c.Version, c.Czxid)
	case value != nil && *value != c.Value:
		return fmt.Errorf("%s had mzxid %#x with %q, the log has %q", path, s.Mzxid, *value, c.Value)
	}
	if s.Pzxid != s.Czxid {
		list := t.Children(path)
		if i := history.After(list, s.Pzxid); i == 0 || list[i-1].Zxid() != s.Pzxid {
			return fmt.Errorf("%s had pzxid %#x, when no child of it came or went", path, s.Pzxid)
		}
	}
	return nil
}
