// Package check judges what clients made of a history by the servers' own
// logs. Each checker returns the broken rules it finds: none for a correct
// client. Nothing here is shared with the client but the names of kinds,
// events and codes.
//
//	W1 events come in wire order, over all channels and all connections
//	W2 one registration gets at most one event, one change at most one from a persistent watch
//	W3 no lost update: a registration is told of the first change after it
//	W4 no false event: what is told has happened, after the registration
//	W5 an event comes before the data that it tells of
//	W6 W3 across migrations, with a Gap where a persistent watch missed something
//	O  a call that was not sent is in no log, an answered one is, a lost one is there as it was sent, once or never
//	L  versioned writes are linearizable
//	C  what is read lies on the log's chain, and nobody goes back in it
//	H  one holder at a time, by tokens, by znodes and in time; guarded writes by the holder only; nothing is left over
//	T  observers are told of the terms in order
//	N  a transaction by Once happens exactly once, and a counter is exact and linearizable
package check

import (
	"fmt"

	"github.com/seed-9f8420c6/zk/soak/internal/history"
)

// Kinds of findings.
const (
	Lost      = "lost"      // an event that never came
	False     = "false"     // one that tells of nothing
	Duplicate = "duplicate" // one too many
	Reordered = "reordered" // one behind a later one
	Late      = "late"      // one behind the data that it tells of
	Wrong     = "wrong"     // anything that is not about events
	Undecided = "undecided" // a check that did not come to an end
	Overlap   = "overlap"   // two that hold one lock
	LeftOver  = "left over" // a contender that nobody deletes
)

// Finding is a broken rule.
type Finding struct {
	Rule, What string
	Client     string
	Tick       int64 // where it shows; 0: everywhere
	Text       string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s %s: %s at %d: %s", f.Rule, f.What, f.Client, f.Tick, f.Text)
}

// All makes every check there is.
func All(t *history.Truth, clients []*history.Client) []Finding {
	t.Explain(clients)
	var out []Finding
	for _, c := range clients {
		if c.Recipes == nil {
			out = append(out, Watches(t, c)...)
		}
	}
	out = append(out, Outcomes(t, clients)...)
	out = append(out, Chain(t, clients)...)
	out = append(out, Linear(t, clients)...)
	out = append(out, Holds(t, clients)...)
	out = append(out, Observers(t, clients)...)
	out = append(out, Onces(t, clients)...)
	return append(out, Counters(t, clients)...)
}
