package data

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/wire"
)

// A quota on /a is a node /zookeeper/quota/a/zookeeper_limits that says what
// /a and all below it may be. The server keeps what they are in zookeeper_stats
// beside it, without a trace in that node's zxids and version, and tells nobody.
const (
	limitsName = "zookeeper_limits"
	statsName  = "zookeeper_stats"
)

// quotas is a tree of the paths that have limits (PathTrie).
type quotas struct {
	limited  bool
	children map[string]*quotas
}

func (q *quotas) clone() *quotas {
	c := &quotas{limited: q.limited}
	for name, child := range q.children {
		c.child(name, child.clone())
	}
	return c
}

func (q *quotas) child(name string, child *quotas) {
	if q.children == nil {
		q.children = map[string]*quotas{}
	}
	q.children[name] = child
}

// add notes the limits of a path such as "/a/b".
func (q *quotas) add(path string) {
	for _, name := range components(path) {
		if q.children[name] == nil {
			q.child(name, &quotas{})
		}
		q = q.children[name]
	}
	q.limited = true
}

// remove forgets the limits of a path. Releases before 3.6 forget those of all
// paths below it too if its node in the tree has one child, and keep the node
// when it has none.
func (q *quotas) remove(path string, version Version) {
	names := components(path)
	var parent *quotas
	for _, name := range names {
		parent, q = q, q.children[name]
		if q == nil {
			return
		}
	}
	if parent == nil {
		return
	}
	q.limited = false
	childrenToGo := 0
	if version < V36 {
		childrenToGo = 1
	}
	if len(q.children) == childrenToGo {
		delete(parent.children, names[len(names)-1])
	}
}

// of returns the longest prefix of path that has limits, or "".
func (q *quotas) of(path string) string {
	if len(q.children) == 0 {
		return ""
	}
	prefix, end := "", 0
	for _, name := range components(path) {
		if q = q.children[name]; q == nil {
			break
		}
		if end += 1 + len(name); q.limited {
			prefix = path[:end]
		}
	}
	return prefix
}

func components(path string) []string {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// track is the content of a limits or stats node (StatsTrack). A value that is
// missing is -1.
type track map[string]int64

func (t track) get(key string) int64 {
	if v, ok := t[key]; ok {
		return v
	}
	return -1
}

// parseTrack reads a node's data. ok is false for data that a real server
// cannot read either, which ends it when it keeps its statistics.
func (v Version) parseTrack(data []byte) (t track, ok bool) {
	t = track{}
	if v < V37 {
		count, rest, ok := strings.Cut(string(data), ",")
		if !ok || strings.Contains(rest, ",") {
			return nil, false
		}
		for key, pair := range map[string]string{"count": count, "bytes": rest} {
			parts := strings.Split(pair, "=")
			if len(parts) < 2 {
				return nil, false
			}
			n, err := strconv.ParseInt(parts[1], 10, 64)
			if err != nil {
				return nil, false
			}
			t[key] = n
		}
		return t, true
	}
	if data == nil || bytes.IndexAny(data, ",;") == 0 {
		return nil, false
	}
	pairs := strings.FieldsFunc(string(data), func(c rune) bool { return c == ',' || c == ';' })
	for _, pair := range pairs {
		parts := strings.Split(strings.TrimRight(pair, "="), "=")
		if len(parts) < 2 {
			return nil, false
		}
		n := int64(-1)
		if parts[1] != "" {
			var err error
			if n, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
				return nil, false
			}
		}
		t[parts[0]] = n
	}
	return t, true
}

func (t track) data() []byte {
	b := fmt.Appendf(nil, "count=%d,bytes=%d", t.get("count"), t.get("bytes"))
	more := false
	for _, key := range slices.Sorted(maps.Keys(t)) {
		if key == "count" || key == "bytes" {
			continue
		}
		if !more { // keeps the parsers of old releases going
			b = append(b, '=')
			more = true
		}
		b = fmt.Appendf(b, ";%s=%d", key, t[key])
	}
	return b
}

// quotaNode says whether path, a child of parent, is one that limits or counts.
func quotaNode(parent, name string) (of string, ok bool) {
	if name != limitsName && name != statsName || len(parent) <= len(QuotaPath) {
		return "", false
	}
	of, ok = strings.CutPrefix(parent, QuotaPath)
	return of, ok && of[0] == '/' // a real server would end at limits of the root
}

// quotaCreated keeps the quotas up after a node was created.
func (t *Tree) quotaCreated(path, parent, name string, data []byte) {
	if of, ok := quotaNode(parent, name); ok && name == limitsName {
		t.quotas.add(of)
	} else if ok {
		var count, bytes int64
		t.measure(of, &count, &bytes)
		t.nodes[path].Data = track{"count": count, "bytes": bytes}.data()
	}
	t.quotaChanged(path, 1, int64(len(data)))
}

// quotaRemoved does it after a node was deleted.
func (t *Tree) quotaRemoved(path, parent, name string, data []byte) {
	if of, ok := quotaNode(parent, name); ok && name == limitsName {
		t.quotas.remove(of, t.version)
	}
	t.quotaChanged(path, -1, -int64(len(data)))
}

// quotaChanged adds to the statistics of the quota that path is under, if there is one.
func (t *Tree) quotaChanged(path string, count, bytes int64) {
	of := t.quotas.of(path)
	if of == "" {
		return
	}
	n := t.nodes[QuotaPath+of+"/"+statsName]
	if n == nil {
		return
	}
	stats, ok := t.version.parseTrack(n.Data)
	if !ok {
		return
	}
	stats["count"] = stats.get("count") + count
	stats["bytes"] = stats.get("bytes") + bytes
	n.Data = stats.data()
}

// measure counts a node and all below it.
func (t *Tree) measure(path string, count, bytes *int64) {
	n := t.nodes[path]
	if n == nil {
		return
	}
	*count++
	*bytes += int64(len(n.Data))
	for name := range n.children.all() {
		t.measure(path+"/"+name, count, bytes)
	}
}

// checkQuota refuses what would exceed a hard limit. As in the real server it
// goes by the statistics before the transaction, so that the operations of one
// multi do not see each other.
func (w *writer) checkQuota(path string, count, bytes int64) int32 {
	if !w.EnforceQuota || w.Version < V37 {
		return 0
	}
	of := w.Head.quotas.of(path)
	if of == "" {
		return 0
	}
	read := func(name string) (track, bool) {
		n := w.Head.nodes[QuotaPath+of+"/"+name]
		if n == nil {
			return nil, true
		}
		return w.Version.parseTrack(n.Data)
	}
	limits, ok := read(limitsName)
	if !ok {
		return wire.ErrMarshalling
	}
	counted := count != 0 && max(limits.get("count"), limits.get("countHardLimit")) > -1
	weighed := bytes != 0 && max(limits.get("bytes"), limits.get("byteHardLimit")) > -1
	if !counted && !weighed {
		return 0
	}
	stats, ok := read(statsName)
	switch {
	case !ok:
		return wire.ErrMarshalling
	case stats == nil:
		return 0
	case counted && limits.get("countHardLimit") > -1 && stats.get("count")+count > limits.get("countHardLimit"),
		weighed && limits.get("byteHardLimit") > -1 && stats.get("bytes")+bytes > limits.get("byteHardLimit"):
		return wire.ErrQuotaExceeded
	}
	return 0
}
