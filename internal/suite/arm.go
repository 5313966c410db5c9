package suite

import (
	"context"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Get is a Get under way.
func Get(t testing.TB, s *zk.Session, ctx context.Context, path string, watch chan<- zk.Event) *Under {
	return Start(t, func() error { _, _, err := s.Get(ctx, path, watch); return err })
}

// BG is the context of calls that need none.
var BG = context.Background()

// WatchCalls arm a channel, one call for each kind.
var WatchCalls = map[zk.WatchKind]func(s *zk.Session, path string, ch chan<- zk.Event) error{
	zk.DataWatch: func(s *zk.Session, path string, ch chan<- zk.Event) error {
		_, _, err := s.Get(BG, path, ch)
		return err
	},
	zk.ExistsWatch: func(s *zk.Session, path string, ch chan<- zk.Event) error {
		_, _, err := s.Exists(BG, path, ch)
		return err
	},
	zk.ChildWatch: func(s *zk.Session, path string, ch chan<- zk.Event) error {
		_, _, err := s.Children(BG, path, ch)
		return err
	},
	zk.PersistentWatch: func(s *zk.Session, path string, ch chan<- zk.Event) error {
		return s.AddWatch(BG, path, zk.WatchPersistent, ch)
	},
	zk.RecursiveWatch: func(s *zk.Session, path string, ch chan<- zk.Event) error {
		return s.AddWatch(BG, path, zk.WatchRecursive, ch)
	},
}

// Kinds are all kinds of watches.
var Kinds = []zk.WatchKind{zk.DataWatch, zk.ExistsWatch, zk.ChildWatch, zk.PersistentWatch, zk.RecursiveWatch}

// Arm arms a channel, in a given kind.
func Arm(t testing.TB, s *zk.Session, l *Line, kind zk.WatchKind, path string, ch chan<- zk.Event) Asked {
	t.Helper()
	u := Start(t, func() error { return WatchCalls[kind](s, path, ch) })
	q := l.Next()
	assert.Assert(t, path == "/" || strings.HasSuffix(q.Path, path), "%s for %s", q.Path, path)
	if kind == zk.ExistsWatch {
		l.Send(Refusal(q.Xid, 1, zk.ErrNoNode))
	} else {
		l.Send(Fitting(q, 1))
	}
	u.OK()
	return q
}

// Armer arms a channel in one way.
type Armer struct {
	Name string
	// Arm is one of WatchCalls.
	Arm  func(s *zk.Session, path string, ch chan<- zk.Event) error
	Kind zk.WatchKind
}

// Armers arm a channel in each way there is. Each needs the node but missing.
var Armers = []Armer{
	{"get", WatchCalls[zk.DataWatch], zk.DataWatch},
	{"exists", WatchCalls[zk.ExistsWatch], zk.DataWatch},
	{"missing", WatchCalls[zk.ExistsWatch], zk.ExistsWatch},
	{"children", WatchCalls[zk.ChildWatch], zk.ChildWatch},
	{"persistent", WatchCalls[zk.PersistentWatch], zk.PersistentWatch},
	{"recursive", WatchCalls[zk.RecursiveWatch], zk.RecursiveWatch},
}

// ArmersOf returns those that the server knows.
func ArmersOf(e *Env) []Armer {
	if e.Knows(zktest.V36) {
		return Armers
	}
	return Armers[:4]
}

// ArmDataAndChild arms one channel for the data of a znode, one for its children, and
// one for both.
func ArmDataAndChild(e *Env, s *zk.Session, path string) []chan zk.Event {
	e.T.Helper()
	data, child, both := make(chan zk.Event, 2), make(chan zk.Event, 2), make(chan zk.Event, 2)
	e.Watch(s, path, data)
	e.Watch(s, path, both)
	for _, ch := range []chan zk.Event{child, both} {
		assert.NilError(e.T, ErrOf2(s.Children(e.Ctx, path, ch)))
	}
	return []chan zk.Event{data, child, both}
}
