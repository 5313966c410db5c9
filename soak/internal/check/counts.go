package check

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/anishathalye/porcupine"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
)

// Onces checks that each transaction is in the log as often as its client says.
func Onces(t *history.Truth, clients []*history.Client) []Finding {
	var out []Finding
	for _, c := range clients {
		if c.Recipes == nil {
			continue
		}
		for _, o := range c.Recipes.Onces {
			n := len(t.Values(o.Value))
			if n > 1 || n == 1 && o.Outcome != history.OK && o.Outcome != history.Lost || n == 0 && o.Outcome == history.OK {
				out = append(out, Finding{"N", Wrong, c.Name, 0, fmt.Sprintf("%q was %v, after %d calls, and happened %d times", o.Value, o.Outcome, o.Sent, n)})
			}
		}
	}
	return out
}

// added is an Add and whose it was.
type added struct {
	*history.Add
	client int
}

// Counters checks counters: each Add is in the log once, with its sum, one whose
// session expired perhaps, and nothing else is. And they are linearizable.
func Counters(t *history.Truth, clients []*history.Client) []Finding {
	seen := history.NewAnswers(clients)
	paths := map[string][]added{}
	for id, c := range clients {
		if c.Recipes == nil {
			continue
		}
		for i := range c.Recipes.Adds {
			a := &c.Recipes.Adds[i]
			paths[a.Path] = append(paths[a.Path], added{a, id})
		}
	}
	var out []Finding
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		found, ops := counted(t, seen, clients, path, paths[path])
		out = append(out, found...)
		for _, part := range quiet(ops, linearOps) {
			if f, bad := linearCounter(t, path, part); bad {
				out = append(out, f)
			}
		}
	}
	return out
}

// counted matches the Adds to a counter with its log.
func counted(t *history.Truth, seen history.Answers, clients []*history.Client, path string, adds []added) ([]Finding, []porcupine.Operation) {
	var out []Finding
	var ops []porcupine.Operation
	bySum := map[int64]added{}
	var unknown []added
	for _, a := range adds {
		switch other, twice := bySum[a.Sum]; {
		case a.Unknown:
			unknown = append(unknown, a)
		case twice:
			out = append(out, Finding{"N", Wrong, clients[a.client].Name, a.End, fmt.Sprintf("%s became %d, and %s was told so too", path, a.Sum, clients[other.client].Name)})
		default:
			bySum[a.Sum] = a
		}
	}
	value := int64(0)
	for _, c := range t.Changes(path) {
		sum, err := strconv.ParseInt(c.Value, 10, 64)
		if c.Type == zk.Created && sum == 0 {
			continue
		}
		report := func(format string, args ...any) {
			out = append(out, Finding{"N", Wrong, "all", c.Txn.Begun, fmt.Sprintf("%v: %s", c, fmt.Sprintf(format, args...))})
		}
		delta := sum - value
		value = sum
		a, ok := bySum[sum]
		if ok {
			delete(bySum, sum)
		} else if i := slices.IndexFunc(unknown, func(u added) bool {
			return u.Delta == delta && u.Start < seen.First(c.Zxid()) && owns(clients[u.client], c.Txn.Session)
		}); i >= 0 {
			a = unknown[i]
			unknown = slices.Delete(unknown, i, i+1)
		}
		switch {
		case err != nil || a.Add == nil:
			report("nobody has added that")
			continue
		case a.Delta != delta:
			report("%d was added, and %d was asked for by %s", delta, a.Delta, clients[a.client].Name)
		case !owns(clients[a.client], c.Txn.Session):
			report("%s was told of it, by whose sessions it is not", clients[a.client].Name)
		}
		end := a.End
		if a.Unknown {
			end = seen.First(c.Zxid())
		}
		ops = append(ops, porcupine.Operation{ClientId: a.client, Input: a.Delta, Call: a.Start, Output: sum, Return: end})
	}
	for _, sum := range slices.Sorted(maps.Keys(bySum)) {
		a := bySum[sum]
		out = append(out, Finding{"N", Wrong, clients[a.client].Name, a.End, fmt.Sprintf("%s became %d by an answered Add, and that is in no log", path, sum)})
	}
	return out, ops
}

// owns reports whether a client has had a session.
func owns(c *history.Client, session int64) bool {
	return slices.ContainsFunc(c.Conns, func(n *history.Conn) bool { return n.Session == session })
}

// linearCounter checks one part of a counter's history. However many there are
// without a quiet moment, each sum has one place.
func linearCounter(t *history.Truth, path string, ops []porcupine.Operation) (Finding, bool) {
	begin := int64(math.MaxInt64)
	for _, o := range ops {
		begin = min(begin, o.Call)
	}
	first := int64(0)
	for _, c := range t.Changes(path) {
		if c.Txn.Begun >= begin {
			break
		}
		first, _ = strconv.ParseInt(c.Value, 10, 64)
	}
	model := porcupine.Model{
		Init: func() any { return first },
		Step: func(st, in, out any) (bool, any) {
			sum := st.(int64) + in.(int64)
			return out.(int64) == sum, sum
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("add %d -> %d", in, out) },
	}
	return judge(path, "additions", begin, first, model, ops)
}
