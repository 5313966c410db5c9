package zktest

import (
	"reflect"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/samples"
	"github.com/seed-9f8420c6/zk/wire"
)

// What is said here of every request type finds the places where a new one was
// forgotten.

// The command cons has a name for each, but for those that leave no trace.
func TestOpWords(t *testing.T) {
	for op := range samples.Requests {
		known := op != wire.OpAuth && op != wire.OpSASL
		assert.Check(t, (opWords[op] != "") == known, "opWords has %q for %v", opWords[op], op)
	}
}

// The steps that TestParity takes on real servers and on ours have each request type,
// with a record as it should be; an operation of a multi counts.
func TestParityHasEveryOp(t *testing.T) {
	seen := make(map[wire.Op]bool)
	p := &peer{t: t}
	for range paritySessions {
		p.sessions = append(p.sessions, &client{})
	}
	var note func(st *step)
	note = func(st *step) {
		for i := range st.parts {
			note(&st.parts[i])
		}
		if st.request == nil || seen[st.op] && st.op != wire.OpMulti {
			return
		}
		recs := st.request(p)
		want := samples.Requests[st.op]
		if want == nil && len(recs) == 0 || len(recs) == 1 && reflect.TypeOf(recs[0]) == reflect.TypeOf(want) {
			seen[st.op] = true
		}
		if len(recs) == 0 {
			return
		}
		if m, ok := recs[0].(wire.MultiRequest); ok {
			for _, op := range m.Ops {
				seen[op.Op] = true
			}
		}
	}
	g := newGenerator(1, V39)
	for range 4000 {
		st := g.step()
		note(&st)
	}
	seen[wire.OpPing] = true // of the peers themselves
	seen[wire.OpSASL] = true // for servers of another kind
	for op := range samples.Requests {
		assert.Check(t, seen[op], "the generator makes no %v", op)
	}
}

// What TestParity compares of a reply is all of it.
func TestParityReadsReplies(t *testing.T) {
	for op, rec := range samples.Replies {
		if rec == nil || op == wire.OpNotification || op == wire.OpSASL {
			continue
		}
		d := wire.NewDecoder(rec.Append(nil))
		p := &peer{t: t}
		p.describe(op, &d)
		assert.Check(t, d.Err() == nil && d.Len() == 0, "%v: %d bytes are not looked at, %v", op, d.Len(), d.Err())
	}
}
