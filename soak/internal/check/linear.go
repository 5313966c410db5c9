package check

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/wire"
)

const (
	linearOps  = 500              // of one znode, checked at a time
	linearTime = 60 * time.Second // for them
)

// Linear checks that the versioned writes of each znode are linearizable, one
// znode at a time. Reads are not among them: ZooKeeper's are not. A lost call
// counts if the log has it, until somebody was answered with its zxid or a
// later one. Long histories are cut where no call is under way, and what the
// znode was then is taken from the log.
func Linear(t *history.Truth, clients []*history.Client) []Finding {
	seen := history.NewAnswers(clients)
	nodes := map[string][]porcupine.Operation{}
	for id, c := range clients {
		for i := range c.Calls {
			k := &c.Calls[i]
			end := k.End
			switch k.Outcome {
			case history.NotSent:
				continue
			case history.Lost:
				txn := Applied(t, k)
				if k.Op == wire.OpDelete {
					txn = deleted(t, c, k)
				}
				if txn == nil {
					continue
				}
				end = seen.First(txn.Zxid)
			}
			for _, w := range k.Writes {
				out := output{ok: k.Outcome != history.Refused, code: k.Code, version: w.Stat.Version, known: k.Outcome == history.OK && w.Op == wire.OpSetData}
				if !out.ok && len(k.Writes) > 1 && !w.Refused {
					continue // what it would have been was not told
				}
				nodes[w.Path] = append(nodes[w.Path], porcupine.Operation{ClientId: id, Input: input{w.Op, w.Version}, Call: k.Start, Output: out, Return: end})
			}
		}
	}
	var findings []Finding
	for _, path := range slices.Sorted(maps.Keys(nodes)) {
		for _, part := range quiet(nodes[path], linearOps) {
			if f, bad := linear(t, path, part); bad {
				findings = append(findings, f)
			}
		}
	}
	return findings
}

// input is a write of a znode, and state what it finds.
type input struct {
	op      wire.Op
	version int32
}

type output struct {
	ok      bool
	code    zk.Code
	version int32
	known   bool // version is what the server answered
}

type state struct {
	there   bool
	version int32
}

// step is what a znode does.
func step(st, in, out any) (bool, any) {
	s, i, o := st.(state), in.(input), out.(output)
	fits := i.version == zk.AnyVersion || i.version == s.version
	switch i.op {
	case wire.OpCreate:
		if s.there {
			return !o.ok && o.code == zk.ErrExists, s
		}
		return o.ok, state{true, 0}
	case wire.OpSetData:
		switch {
		case !s.there:
			return !o.ok && o.code == zk.ErrNoNode, s
		case !fits:
			return !o.ok && o.code == zk.ErrVersion, s
		}
		next := state{true, s.version + 1}
		return o.ok && (!o.known || o.version == next.version), next
	case wire.OpDelete:
		switch {
		case !s.there:
			return !o.ok && o.code == zk.ErrNoNode, s
		case !fits:
			return !o.ok && o.code == zk.ErrVersion, s
		}
		return o.ok, state{}
	}
	return false, s
}

// linear checks one part of a znode's history.
func linear(t *history.Truth, path string, ops []porcupine.Operation) (Finding, bool) {
	begin := int64(math.MaxInt64)
	for _, o := range ops {
		begin = min(begin, o.Call)
	}
	// The part begins when nothing was under way, so that the newest change that
	// anybody had asked for before it was the state then.
	first := state{}
	for _, c := range t.Changes(path) {
		if c.Txn.Begun >= begin {
			break
		}
		first = state{c.Type != zk.Deleted, c.Version}
		if !first.there {
			first.version = 0
		}
	}
	model := porcupine.Model{
		Init: func() any { return first },
		Step: step,
		DescribeOperation: func(in, out any) string {
			return fmt.Sprintf("%+v -> %+v", in, out)
		},
	}
	if len(ops) > linearOps {
		return Finding{"L", Undecided, "all", begin, fmt.Sprintf("%s: %d writes without a quiet moment, at most %d are checked", path, len(ops), linearOps)}, true
	}
	return judge(path, "writes", begin, first, model, ops)
}

// judge lets porcupine decide on one part of a znode's history.
func judge(path, what string, begin int64, first any, model porcupine.Model, ops []porcupine.Operation) (Finding, bool) {
	f := Finding{Rule: "L", Client: "all", Tick: begin}
	switch porcupine.CheckOperationsTimeout(model, ops, linearTime) {
	case porcupine.Ok:
		return f, false
	case porcupine.Unknown:
		f.What, f.Text = Undecided, fmt.Sprintf("%s: %d %s were not decided within %v", path, len(ops), what, linearTime)
	default:
		f.What = Wrong
		f.Text = fmt.Sprintf("%s: %d %s are not linearizable, beginning with %+v: %s", path, len(ops), what, first, describe(ops))
	}
	return f, true
}

func describe(ops []porcupine.Operation) string {
	s := ""
	for i, o := range ops {
		if i == 20 {
			return fmt.Sprintf("%s … and %d more", s, len(ops)-i)
		}
		s += fmt.Sprintf(" [%d to %d: %+v -> %+v]", o.Call, o.Return, o.Input, o.Output)
	}
	return s
}

// quiet cuts a history into parts of about half of the limit, where no
// operation is under way.
func quiet(ops []porcupine.Operation, limit int) [][]porcupine.Operation {
	slices.SortStableFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var parts [][]porcupine.Operation
	from, busy := 0, int64(0)
	for i, o := range ops {
		if i-from >= limit/2 && o.Call > busy {
			parts = append(parts, ops[from:i])
			from = i
		}
		busy = max(busy, o.Return)
	}
	if from < len(ops) {
		parts = append(parts, ops[from:])
	}
	return parts
}

// deleted returns the transaction of a lost delete, or nil.
func deleted(t *history.Truth, c *history.Client, k *history.Call) *history.Txn {
	path := k.Writes[0].Path
	for _, n := range c.Conns {
		at, _ := slices.BinarySearchFunc(n.Requests, k.Start, func(r history.Request, tick int64) int { return cmp.Compare(r.Tick, tick) })
		for ; at < len(n.Requests) && n.Requests[at].Tick <= k.End; at++ {
			r := &n.Requests[at]
			if r.Op != wire.OpDelete || r.Path != path {
				continue
			}
			for _, x := range t.Changes(path) {
				if x.Txn.Request == r {
					return x.Txn
				}
			}
		}
	}
	return nil
}
