package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
	"github.com/seed-9f8420c6/zk/wire"
)

// Outcomes compares how calls ended with what the log has of them. Sets and
// creates are found by their values, which no two have in common, deletes by
// session, number and path of the request that the client was seen to send.
// Truth.Explain comes first.
func Outcomes(t *history.Truth, clients []*history.Client) []Finding {
	o := outcomes{truth: t, sessions: map[int64]bool{}, requests: map[requestKey][]*history.Request{}}
	for _, c := range clients {
		for _, n := range c.Conns {
			if n.Session == 0 {
				continue
			}
			o.sessions[n.Session] = true
			for i := range n.Requests {
				r := &n.Requests[i]
				k := requestKey{n.Session, r.Xid}
				o.requests[k] = append(o.requests[k], r)
			}
		}
	}
	for _, c := range clients {
		for i := range c.Calls {
			if k := &c.Calls[i]; len(k.Writes) > 0 {
				o.call(c, k)
			}
		}
	}
	o.deletes(clients)
	return o.findings
}

type requestKey struct {
	session int64
	xid     int32
}

type outcomes struct {
	truth    *history.Truth
	sessions map[int64]bool
	requests map[requestKey][]*history.Request
	findings []Finding
}

func (o *outcomes) report(c *history.Client, k *history.Call, format string, args ...any) {
	o.findings = append(o.findings, Finding{"O", Wrong, c.Name, k.End, fmt.Sprintf(format, args...)})
}

// Applied returns the transaction that a call became: nil if none did, or if
// nothing in it can be told from other calls.
func Applied(t *history.Truth, k *history.Call) *history.Txn {
	for _, w := range k.Writes {
		if w.Value == "" {
			continue
		}
		if list := t.Values(w.Value); len(list) > 0 {
			return list[0].Txn
		}
		return nil
	}
	return nil
}

// call checks one that writes a value.
func (o *outcomes) call(c *history.Client, k *history.Call) {
	var txn *history.Txn
	for i, w := range k.Writes {
		if w.Value == "" {
			continue
		}
		list := o.truth.Values(w.Value)
		if len(list) > 1 {
			o.report(c, k, "%v of %s happened %d times, with zxids %#x and %#x", w.Op, w.Path, len(list), list[0].Zxid(), list[1].Zxid())
		}
		switch {
		case len(list) == 0 && k.Outcome == history.OK:
			o.report(c, k, "%v of %s by %q was answered and is in no log", w.Op, w.Path, w.Value)
			continue
		case len(list) == 0:
			if txn != nil {
				o.report(c, k, "of a multi only a part is in the log: %q of %s is not", w.Value, w.Path)
			}
			continue
		case k.Outcome == history.NotSent:
			o.report(c, k, "%v of %s was not sent, as it says, and it happened: %v", w.Op, w.Path, list[0])
			continue
		case k.Outcome == history.Refused:
			o.report(c, k, "%v of %s was refused with %v, and it happened: %v", w.Op, w.Path, k.Code, list[0])
			continue
		case list[0].Path != w.Path:
			o.report(c, k, "%v of %s became %v", w.Op, w.Path, list[0])
		case k.Outcome == history.OK && w.Stat.Mzxid != 0 && w.Stat.Mzxid != list[0].Zxid():
			o.report(c, k, "%v of %s was answered with zxid %#x, and it was %v", w.Op, w.Path, w.Stat.Mzxid, list[0])
		case txn != nil && txn != list[0].Txn:
			o.report(c, k, "the parts of a multi are in two transactions, %#x and %#x", txn.Zxid, list[0].Zxid())
		case i > 0 && txn == nil && valued(k.Writes[:i]):
			o.report(c, k, "of a multi only a part is in the log: %v", list[0])
		}
		txn = list[0].Txn
	}
	if txn == nil {
		return
	}
	for _, r := range o.requests[requestKey{txn.Session, txn.Cxid}] {
		if plainWrite(r.Op) == plainWrite(k.Op) && samePaths(k, r) && (r.Tick >= k.Start && r.Tick <= k.End || k.Cancelled && r.Tick >= k.Start) {
			return
		}
	}
	o.report(c, k, "%v became zxid %#x of session %#x, request %d, which was not seen to be sent by it", k.Op, txn.Zxid, uint64(txn.Session), txn.Cxid)
}

// samePaths reports whether a request is for what a call was to change.
func samePaths(k *history.Call, r *history.Request) bool {
	if k.Op != wire.OpMulti {
		return r.Path == k.Writes[0].Path
	}
	return slices.EqualFunc(k.Writes, r.Changes, func(w history.Write, path string) bool { return w.Path == path })
}

func valued(list []history.Write) bool {
	for _, w := range list {
		if w.Value != "" {
			return true
		}
	}
	return false
}

func plainWrite(op wire.Op) wire.Op {
	if op == wire.OpCreate2 {
		return wire.OpCreate
	}
	return op
}

// deletes checks those that stand by themselves: every one in the log became of
// a request that was seen to be sent, and of no other's. What an expired session
// takes along, nobody asks for.
func (o *outcomes) deletes(clients []*history.Client) {
	became := map[*history.Request]*history.Txn{}
	for i := range o.truth.Txns {
		x := &o.truth.Txns[i]
		if len(x.Changes) != 1 || x.Changes[0].Type != zk.Deleted || x.Op == wire.OpCloseSession || !o.sessions[x.Session] {
			continue
		}
		text := ""
		switch {
		case x.Request == nil:
			text = fmt.Sprintf("%v by session %#x, request %d, which nobody was seen to send", &x.Changes[0], uint64(x.Session), x.Cxid)
		case became[x.Request] != nil:
			text = fmt.Sprintf("request %d of session %#x happened twice: %v and %v", x.Cxid, uint64(x.Session), &became[x.Request].Changes[0], &x.Changes[0])
		default:
			became[x.Request] = x
		}
		if text != "" {
			o.findings = append(o.findings, Finding{"O", Wrong, "all", x.Begun, text})
		}
	}
	for _, c := range clients {
		var list []*history.Request
		for _, n := range c.Conns {
			for i := range n.Requests {
				if r := &n.Requests[i]; r.Op == wire.OpDelete {
					list = append(list, r)
				}
			}
		}
		slices.SortFunc(list, func(a, b *history.Request) int { return cmp.Compare(a.Tick, b.Tick) })
		for i := range c.Calls {
			k := &c.Calls[i]
			if k.Op != wire.OpDelete {
				continue
			}
			path := k.Writes[0].Path
			var mine *history.Request
			at, _ := slices.BinarySearchFunc(list, k.Start, func(r *history.Request, tick int64) int { return cmp.Compare(r.Tick, tick) })
			for ; at < len(list) && list[at].Tick <= k.End; at++ {
				if list[at].Path == path {
					mine = list[at]
				}
			}
			x := became[mine]
			switch k.Outcome {
			case history.OK:
				if mine == nil {
					o.report(c, k, "delete of %s was answered and never sent", path)
				} else if x == nil {
					o.report(c, k, "delete of %s, request %d, was answered and is in no log", path, mine.Xid)
				}
			case history.Refused:
				if x != nil {
					o.report(c, k, "delete of %s was refused with %v, and it happened: %v", path, k.Code, &x.Changes[0])
				}
			case history.NotSent:
				if mine != nil {
					o.report(c, k, "delete of %s was not sent, as it says, and went out as request %d", path, mine.Xid)
				}
			}
		}
	}
}
