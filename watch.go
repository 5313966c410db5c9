package zk

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/registry"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// Event reports that something changed, not what it is now: read again.
type Event struct {
	Type EventType
	// Path is the path of the znode, without the chroot.
	Path string
	// Zxid is the transaction of the change. It is 0 on servers before 3.9, and
	// for changes made while the session had no connection.
	Zxid int64
}

// EventType is the kind of change. The first four have the values of the
// protocol.
type EventType int32

const (
	Created EventType = 1
	Deleted EventType = 2
	Changed EventType = 3 // of data
	Child   EventType = 4 // a child was created or deleted
	// Gap: a persistent watch moved to another connection, and may have
	// missed changes in between. Read again.
	Gap EventType = 8
)

func (t EventType) String() string {
	switch t {
	case Created:
		return "created"
	case Deleted:
		return "deleted"
	case Changed:
		return "changed"
	case Child:
		return "child"
	case Gap:
		return "gap"
	}
	return "EventType(" + strconv.Itoa(int(t)) + ")"
}

// WatchKind is the way in which a channel is armed at a path. AddWatch arms
// the last two kinds.
type WatchKind int

const (
	DataWatch       WatchKind = iota + 1 // by Get, or by Exists of an existing znode: one Changed or Deleted
	ExistsWatch                          // by Exists of a missing znode: one Created
	ChildWatch                           // by Children: one Child or Deleted
	PersistentWatch                      // by AddWatch with WatchPersistent: all events of the path
	RecursiveWatch                       // by AddWatch with WatchRecursive: Created, Changed and Deleted of the path and all below it
)

func (k WatchKind) String() string {
	switch k {
	case DataWatch:
		return "data"
	case ExistsWatch:
		return "exists"
	case ChildWatch:
		return "child"
	case PersistentWatch:
		return "persistent"
	case RecursiveWatch:
		return "recursive"
	}
	return "WatchKind(" + strconv.Itoa(int(k)) + ")"
}

// WatchMode is the mode of AddWatch. A watch that it arms is listed by
// [Watches.List] with the [WatchKind] of the same name.
type WatchMode int32

const (
	WatchPersistent = WatchMode(wire.AddWatchPersistent)          // all events of the path; a PersistentWatch
	WatchRecursive  = WatchMode(wire.AddWatchPersistentRecursive) // Created, Changed, Deleted of the path and all below it; a RecursiveWatch
)

// Watch is one entry of Watches.List: a channel that is armed at a path in one
// way, or whose event is not delivered yet.
type Watch struct {
	Path string
	Kind WatchKind
	// Channel numbers the channels of one List: equal numbers are the same channel.
	Channel int
	// Fired: its event is not delivered yet.
	Fired bool
	// Len and Cap are those of the channel. Unmarshalled watches have no channel, and
	// zeros here.
	Len, Cap int
}

// Watches are the armed watches of a session, the zxid from which a server is
// asked to restore them, and the events that are not delivered yet. They move
// with the session from connection to connection. All methods may be called at
// any time and work on nil.
type Watches struct {
	reg registry.Registry[EventType, Event]
}

// String reports how many watches are armed. It does not print the session's
// password.
func (w *Watches) String() string {
	return fmt.Sprintf("zk.Watches{%d armed, %d undelivered}", w.Len(), w.Undelivered())
}

// Format prints what String does, whatever the verb.
func (w *Watches) Format(f fmt.State, _ rune) { io.WriteString(f, w.String()) }

// List returns one entry per path, kind and channel: all that are armed, or
// whose event waits for room in its channel.
func (w *Watches) List() []Watch {
	if w == nil {
		return nil
	}
	j, channels := w.reg.Handover()
	var out []Watch
	j.Each(func(a handover.Armed, fired bool) {
		x := watchOf(j, a, fired)
		if n := x.Channel - 1; n >= 0 && n < len(channels) {
			x.Len, x.Cap = len(channels[n]), cap(channels[n])
		}
		out = append(out, x)
	})
	return out
}

func watchOf(j *handover.Watches, a handover.Armed, fired bool) Watch {
	return Watch{Path: j.Path(a), Kind: WatchKind(a.Kind), Channel: a.Channel, Fired: fired}
}

// Len returns the number of armed entries.
func (w *Watches) Len() int {
	if w == nil {
		return 0
	}
	return w.reg.Len()
}

// Count returns the number of armed entries of a kind. Before Rebind it is 0.
func (w *Watches) Count(kind WatchKind) int {
	if w == nil {
		return 0
	}
	return w.reg.Count(watches.Kind(kind))
}

// Undelivered returns the number of events that wait for their channel to have
// room, or for an event ahead of them.
func (w *Watches) Undelivered() int {
	if w == nil {
		return 0
	}
	return w.reg.Undelivered()
}

// Rebind gives unmarshalled watches their channels. It calls f once per entry
// of List. f returns the channel, or nil to drop the watch and its undelivered
// events. If the watches have channels already, or a Dial uses them, the error
// matches ErrUnbound.
func (w *Watches) Rebind(f func(Watch) chan<- Event) error {
	if w == nil || w.reg.Rebind(func(j *handover.Watches, a handover.Armed, fired bool) chan<- Event { return f(watchOf(j, a, fired)) }) {
		return nil
	}
	return watchesInUse()
}

func watchesInUse() error { return &detailed{kind: ErrUnbound, detail: "these watches are in use"} }

// MarshalJSON writes the watches with channels as numbers, the zxid to
// restore from, and the undelivered events. If the Session still lives, an
// event may come again later, but none is lost.
func (w *Watches) MarshalJSON() ([]byte, error) {
	if w == nil {
		return []byte("null"), nil
	}
	j, _ := w.reg.Handover()
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote. The watches have no channels
// until Rebind. If a Session or a Dial uses w already, the error matches
// ErrUnbound, and nothing changes.
func (w *Watches) UnmarshalJSON(b []byte) error {
	if w == nil {
		return badArgument("watches into a nil *Watches")
	}
	j := new(handover.Watches)
	if err := json.Unmarshal(b, j); err != nil {
		return err
	}
	switch problem, path := j.Check(); {
	case problem == "":
	case path:
		return badPath(problem)
	default:
		return badArgument("unmarshal watches: %s", problem)
	}
	if !w.reg.Adopt(j) {
		return watchesInUse()
	}
	return nil
}

// sessionID prints a session id as servers do.
func sessionID(id int64) string { return fmt.Sprintf("0x%x", uint64(id)) }

// State is what moves from connection to connection. It marshals to JSON,
// with the password, so that another process can take the session over: guard
// it. The other process sets Addrs, Auth, TLS and Chroot itself.
type State struct {
	// ID is the session id; zero starts a new session.
	ID int64
	// Password proves the ownership of ID. It is never printed.
	Password []byte
	// Zxid is the last transaction seen. A server that is behind it refuses the
	// session. Set it to zero after the servers were restored from a backup: then any
	// server is accepted, and watches are restored from zxid 0.
	Zxid int64
	// Watches are the armed watches and the events that are not delivered yet.
	Watches *Watches

	given int64 // Zxid + 1 as Session.Config gave it: distinguishes a Zxid set to zero from one that was
}

func (s *State) noteZxid() { s.given = s.Zxid + 1 }

// givenUp reports whether the application has set a Zxid to zero.
func (s *State) givenUp() bool { return s.Zxid == 0 && s.given != 1 }

// String prints no password.
func (s State) String() string {
	return fmt.Sprintf("{ID:%s Zxid:0x%x Watches:%d}", sessionID(s.ID), s.Zxid, s.Watches.Len())
}

// Format prints no password, whatever the verb.
func (s State) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue prints no password.
func (s State) LogValue() slog.Value { return slog.StringValue(s.String()) }

// stateJSON is State without its methods.
type stateJSON struct {
	ID       handover.Int
	Password []byte
	Zxid     handover.Int
	Watches  *Watches
}

// MarshalJSON writes all of the State, with the password. The Zxid is never
// newer than what the watches have seen.
func (s State) MarshalJSON() ([]byte, error) {
	return json.Marshal(stateJSON{handover.Int(s.ID), s.Password, handover.Int(s.Zxid), s.Watches})
}

// UnmarshalJSON reads what MarshalJSON wrote, and refuses a State that no Session
// can have. Call Watches.Rebind next. After an error the State is unchanged.
func (s *State) UnmarshalJSON(b []byte) error {
	var j stateJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	switch {
	case j.Zxid < 0:
		return badArgument("unmarshal a State: zxid %d", int64(j.Zxid))
	case j.ID != 0 && len(j.Password) == 0:
		return badArgument("unmarshal a State: session %s without its password", sessionID(int64(j.ID)))
	}
	*s = State{ID: int64(j.ID), Password: j.Password, Zxid: int64(j.Zxid), Watches: j.Watches}
	return nil
}
