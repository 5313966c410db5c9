// Package handover is the JSON in which a State moves to another process. Channels are
// numbers in it, and paths are as the server knows them.
package handover

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/internal/zpath"
	"github.com/seed-9f8420c6/zk/wire"
)

// Int is a 64-bit number. It is written as text, for many programs read JSON numbers
// as doubles, which do not hold it. Numbers are read as well: earlier versions wrote
// them.
type Int int64

// MarshalText writes it in hexadecimal.
func (n Int) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "0x%x", uint64(n)), nil }

// UnmarshalJSON reads either form.
func (n *Int) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		u, err := strconv.ParseUint(hex, 16, 64)
		*n = Int(u)
		return err
	}
	i, err := strconv.ParseInt(text, 10, 64)
	*n = Int(i)
	return err
}

// Watches is what a session watches.
type Watches struct {
	Chroot string  `json:"chroot,omitempty"`
	Floor  Int     `json:"floor"`
	Gap    bool    `json:"gap,omitempty"`
	Fresh  bool    `json:"fresh,omitempty"`
	Deaf   []Deaf  `json:"deaf,omitempty"`
	Armed  []Armed `json:"armed,omitempty"`
	Events []Event `json:"events,omitempty"`
}

// Armed is a channel armed at a path in one way.
type Armed struct {
	Path    string `json:"path"`
	Kind    int    `json:"kind"` // a watches.Kind, once checked
	Channel int    `json:"channel"`
	// Raw: its events are given with the server's path.
	Raw bool `json:"raw,omitempty"`
}

// Deaf is a child watch that is restored from a floor of its own.
type Deaf struct {
	Path  string `json:"path"`
	Since Int    `json:"since"`
}

// Event is one that is not delivered yet, with its watch.
type Event struct {
	Armed
	Type  int32  `json:"type"`
	Event string `json:"event"` // the event's path
	Zxid  Int    `json:"zxid,omitempty"`
}

// Gap is the type of an event that no server sends. See zk.Gap.
const Gap = 8

// Path returns the path of a watch as the application knows it.
func (w *Watches) Path(a Armed) string {
	if a.Raw {
		return a.Path
	}
	return zpath.Strip(w.Chroot, a.Path)
}

// Each calls f for each watch once: those that are armed, and those of which an event
// has fired.
func (w *Watches) Each(f func(a Armed, fired bool)) {
	fired := make(map[Armed]bool)
	for _, e := range w.Events {
		fired[e.Armed] = true
	}
	listed := make(map[Armed]bool)
	for _, a := range w.Armed {
		if !listed[a] {
			listed[a] = true
			f(a, fired[a])
		}
	}
	for _, e := range w.Events {
		if !listed[e.Armed] {
			listed[e.Armed] = true
			f(e.Armed, true)
		}
	}
}

// Check refuses what no session can have had. It returns what is wrong, and whether
// it is a path.
func (w *Watches) Check() (problem string, path bool) {
	if w.Floor < 0 {
		return fmt.Sprintf("floor %d", int64(w.Floor)), false
	}
	for _, x := range w.Deaf {
		if problem := zpath.Check(x.Path, false); problem != "" {
			return problem, true
		}
		if x.Since < 0 {
			return fmt.Sprintf("zxid %d", int64(x.Since)), false
		}
	}
	for _, a := range w.Armed {
		if problem, path := a.check(); problem != "" {
			return problem, path
		}
	}
	for _, e := range w.Events {
		if problem, path := e.check(); problem != "" {
			return problem, path
		}
	}
	return "", false
}

func (a Armed) check() (problem string, path bool) {
	if a.Kind < int(watches.Data) || a.Kind > int(watches.Recursive) {
		return fmt.Sprintf("unknown kind %d at %q", a.Kind, a.Path), false
	}
	return zpath.Check(a.Path, false), true
}

// check refuses an event that no connection could have brought. Of a recursive watch it may be
// at any path below, also at one that no znode can have: the server has said so.
func (e Event) check() (problem string, path bool) {
	if problem, path := e.Armed.check(); problem != "" {
		return problem, path
	}
	kind := watches.Kind(e.Kind)
	below := kind == watches.Recursive && strings.HasPrefix(e.Event, strings.TrimSuffix(e.Path, "/")+"/")
	switch {
	case e.Type == Gap && !kind.OneShot() && e.Event == e.Path:
	case e.Type < wire.EventNodeCreated || e.Type > wire.EventNodeChildrenChanged || !kind.Takes(e.Type):
		return fmt.Sprintf("event %d of a watch of kind %d at %q", e.Type, e.Kind, e.Path), false
	case e.Event != e.Path && !below:
		return fmt.Sprintf("event at %q of a watch at %q", e.Event, e.Path), false
	case e.Zxid < 0:
		return fmt.Sprintf("zxid %d", int64(e.Zxid)), false
	}
	return "", false
}
