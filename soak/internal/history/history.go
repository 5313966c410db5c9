// Package history holds what clients did and saw in a run, in one order of
// observations, and what the servers' own logs say of it.
//
// A Tap in the client's DialContext writes down the frames that the client
// sent and read; the application's side writes down its calls and what came
// out of its channels. Both take their times from one Clock.
package history

import (
	"fmt"
	"sync/atomic"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
)

// Clock gives every observation of a run a number. What ended before something
// else began has the smaller one.
type Clock struct{ n atomic.Int64 }

// Tick returns the next number.
func (c *Clock) Tick() int64 { return c.n.Add(1) }

// Client is one identity: a session, and those that Renew made of it.
type Client struct {
	Name  string
	Roomy bool // none of its channels was ever full
	Conns []*Conn
	Calls []Call
	Chans []Chan
	// Recipes is what it did by recipes, whose watches are their own; nil: nothing.
	Recipes *Recipes
}

// Conn is one connection of a client, as the client itself saw it.
type Conn struct {
	Begun    int64 // tick
	Asked    int64 // session id in the ConnectRequest; 0: a new one
	Session  int64 // granted; 0: none
	Requests []Request
	Frames   []Frame
}

// Request is a frame that was written in full, but not pings and credentials.
type Request struct {
	Tick     int64 // when its Write began
	Xid      int32
	Op       wire.Op
	Path     string   // empty: it has none, or several
	Changes  []string // paths that a multi is to change
	Floor    int64    // of SetWatches
	Restores []Watch  // of SetWatches
}

// Sets reports whether the request restores watches.
func (r *Request) Sets() bool { return r.Op == wire.OpSetWatches || r.Op == wire.OpSetWatches2 }

// Frame is a reply or an event that the client has read to its end, so that it
// must have taken effect.
type Frame struct {
	Tick  int64
	Event zk.EventType // 0: a reply
	Xid   int32        // of a reply
	Err   int32        // of a reply
	Zxid  int64
	Path  string // of an event
}

// Watch is a way to be armed.
type Watch struct {
	Kind zk.WatchKind
	Path string
}

func (w Watch) String() string { return fmt.Sprintf("%v watch at %s", w.Kind, w.Path) }

// Outcome is how a call ended.
type Outcome uint8

const (
	OK      Outcome = iota
	Refused         // answered with an error
	NotSent         // no byte of it left
	Lost            // sent, and not answered
)

func (o Outcome) String() string {
	return [...]string{"answered", "refused", "not sent", "lost"}[o]
}

// Call is one call of the application.
type Call struct {
	Op         wire.Op // create, delete, setData, multi, getData, exists, getChildren, addWatch, sync
	Start, End int64
	Outcome    Outcome
	Code       zk.Code // why it was refused
	Cancelled  bool    // it ended with its context
	Writes     []Write // what it was to change: one, or those of a multi

	Path string  // of a read
	Data string  // that a getData returned
	Stat zk.Stat // of a read
	None bool    // an exists found nothing

	Chan int          // channel that it armed; -1: none
	Kind zk.WatchKind // in this way
	Held []int        // events that the first channels had got when the call returned; nil: nobody counted
	From int          // number of the first of those channels
}

// Write is one change that a call asked for.
type Write struct {
	Op      wire.Op // create, delete, setData
	Path    string
	Value   string  // that no other write has; empty for a delete
	Version int32   // asked for; -1: any
	Stat    zk.Stat // result of a create or a setData
	Refused bool    // it is for this part that a multi was refused
}

// Chan is a channel of the application.
type Chan struct {
	Cap  int
	Recv []Recv
}

// Recv is an event that came out of a channel.
type Recv struct {
	zk.Event
	Before, After int64 // ticks around the receive
}
