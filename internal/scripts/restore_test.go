package scripts

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// What happens to each kind of watch when things change while nobody is
// connected: at most one event, by how it is afterwards.
func TestRedialCoalesces(t *testing.T) {
	type change = func(e *suite.Env, w *zk.Session, p string)
	create := func(e *suite.Env, w *zk.Session, p string) { e.Create(w, p, "") }
	set := func(e *suite.Env, w *zk.Session, p string) { e.Set(w, p, "x") }
	del := func(e *suite.Env, w *zk.Session, p string) { e.Delete(w, p) }
	createChild := func(e *suite.Env, w *zk.Session, p string) { e.Create(w, p+"/c", "") }
	deleteChild := func(e *suite.Env, w *zk.Session, p string) { e.Delete(w, p+"/c") }
	tests := []struct {
		name    string
		arm     string
		changes []change
		want    zk.EventType // 0: none, and it stays armed
	}{
		{"set", "get", []change{set, set, set}, zk.Changed},
		{"deleted", "get", []change{set, del}, zk.Deleted},
		{"recreated", "get", []change{del, create}, zk.Changed},
		{"gone again", "get", []change{del, create, set, del}, zk.Deleted},
		{"children only", "get", []change{createChild}, 0},
		{"nothing", "get", nil, 0},
		{"exists and set", "exists", []change{set}, zk.Changed}, // not Created
		{"exists and nothing", "exists", nil, 0},                // not Created either
		{"exists and deleted", "exists", []change{del}, zk.Deleted},
		{"exists and recreated", "exists", []change{del, create}, zk.Changed},
		{"made", "missing", []change{create}, zk.Created},
		{"made and set", "missing", []change{create, set}, zk.Created},
		{"made and deleted", "missing", []change{create, del}, 0},
		{"made twice", "missing", []change{create, del, create}, zk.Created},
		{"not made", "missing", nil, 0},
		{"child", "children", []change{createChild}, zk.Child},
		{"child came and went", "children", []change{createChild, deleteChild}, zk.Child},
		{"data only", "children", []change{set}, 0},
		{"parent deleted", "children", []change{del}, zk.Deleted},
		{"parent recreated", "children", []change{del, create}, zk.Child},
	}
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		writer := e.Session()
		var chans []chan zk.Event
		paths := make([]string, len(tests))
		for i, test := range tests {
			paths[i] = e.Root + "/" + test.name
			if test.arm != "missing" {
				e.Create(s, paths[i], "")
			}
			ch := make(chan zk.Event, 10)
			chans = append(chans, ch)
			for _, a := range suite.ArmersOf(e) {
				if a.Name == test.arm {
					assert.NilError(t, a.Arm(s, paths[i], ch))
				}
			}
		}
		e.Cut(s, l)
		e.Fence(writer)
		for i, test := range tests {
			for _, change := range test.changes {
				change(e, writer, paths[i])
			}
		}
		s = e.Move(s)
		for i, test := range tests {
			ch, p := chans[i], paths[i]
			if test.want != 0 {
				e.Want(ch, test.want, p)
				e.None(s, ch)
				continue
			}
			e.None(s, ch)
			// Still armed: the next change is told.
			switch test.arm {
			case "missing":
				e.Create(writer, p, "")
				e.Want(ch, zk.Created, p)
			case "children":
				e.Delete(writer, p)
				e.Want(ch, zk.Deleted, p)
			default:
				e.Set(writer, p, "later")
				e.Want(ch, zk.Changed, p)
			}
			e.None(s, ch)
		}
		assert.Equal(t, s.Config().Watches.Len(), 0)
	})
}

// A node whose data and children were watched and that is gone: the server
// sends Deleted twice when it restores, and each channel gets one.
func TestRedialDeletedTwice(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		writer := e.Session()
		p := e.Create(s, e.Root+"/n", "")
		chans := suite.ArmDataAndChild(e, s, p)
		e.Cut(s, l)
		e.Fence(writer)
		e.Delete(writer, p)
		s = e.Move(s)
		for _, ch := range chans {
			e.Want(ch, zk.Deleted, p)
			e.None(s, ch)
		}
		st := s.Stats()
		assert.Equal(t, st.Events, int64(1))
		assert.Equal(t, st.Ignored, int64(1))
		assert.NilError(t, s.Err())
	})
}

// After a new session there is always a Gap.
func TestGapAfterRenew(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		ch := make(chan zk.Event, 10)
		assert.NilError(t, s.AddWatch(e.Ctx, e.Root, zk.WatchPersistent, ch))
		next, err := s.Renew(e.Ctx)
		assert.NilError(t, err)
		e.Keep(next)
		e.Ready(ch, zk.Gap, e.Root)
		e.Set(next, e.Root, "x")
		e.Ready(ch, zk.Changed, e.Root)
		e.None(next, ch)
	})
}

// Events that are queued when the connection ends are handed over on the next,
// ahead of what happens there: nothing lost, nothing twice, all in order.
func TestQueuedEventsMove(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		for _, how := range []string{"cut", "detach", "redial", "renew"} {
			s, l := e.Linked()
			writer := e.Session()
			full := make(chan zk.Event)
			var want []string
			arm := func(i int) string {
				p := fmt.Sprintf("%s/%s%02d", e.Root, how, i)
				if _, err := s.Create(e.Ctx, p, nil, zk.Persistent, zk.ACLOpen); !errors.Is(err, zk.ErrExists) {
					assert.NilError(t, err)
				}
				e.Watch(s, p, full)
				want = append(want, fmt.Sprint(zk.Changed, " ", p))
				return p
			}
			for i := range 5 {
				e.Set(s, arm(i), "x")
			}
			missed := arm(5) // changes while nobody is connected
			var last []string
			for i := 6; i < 11; i++ {
				last = append(last, arm(i))
			}
			switch how {
			case "cut":
				e.Cut(s, l)
			case "detach":
				s.Detach()
			}
			if how == "cut" || how == "detach" {
				assert.Equal(t, s.Config().Watches.Undelivered(), 5)
				// The outbox stands still.
				select {
				case ev := <-full:
					t.Fatalf("%+v without a connection", ev)
				case <-time.After(time.Millisecond):
				}
				e.Fence(writer)
				e.Set(writer, missed, "x")
			}
			conf := s.Config()
			if how == "renew" {
				conf = conf.Renew()
			}
			s = e.Dial(conf)
			if how == "redial" || how == "renew" {
				e.Set(s, missed, "x")
			}
			for _, p := range last {
				e.Set(s, p, "x")
			}
			for _, w := range want {
				ev := suite.Await(t, full)
				assert.Equal(t, fmt.Sprint(ev.Type, " ", ev.Path), w)
			}
			e.None(s, full)
			assert.Equal(t, s.Stats().Queued+s.Stats().Armed, 0)
		}
	})
}

// Close sends what fits and keeps the rest in the State.
func TestCloseKeepsEvents(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		full, ready := make(chan zk.Event), make(chan zk.Event, 1)
		a, b := e.Create(s, e.Root+"/a", ""), e.Create(s, e.Root+"/b", "")
		e.Watch(s, a, full)
		e.Watch(s, b, ready)
		e.Set(s, a, "x")
		e.Set(s, b, "x")
		assert.NilError(t, s.Close())
		conf := s.Config()
		assert.Equal(t, conf.Watches.Undelivered(), 2)
		assert.Equal(t, len(ready), 0)
		s = e.Dial(conf.Renew())
		assert.Equal(t, len(ready), 0)
		e.Want(full, zk.Changed, a)
		e.Want(ready, zk.Changed, b)
		e.None(s, ready)
	})
}

// 10,000 watches are restored in frames of at most 128 KiB with one floor, and
// before anything else is sent.
func TestManyWatches(t *testing.T) {
	const length = 110
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		n := 10_000
		if !e.Real() && e.Backend != suite.Backends()[0] {
			n = 3000 // once is enough
		}
		s, l := e.Linked()
		writer := e.Session()
		var paths []string
		var ops []zk.Op
		ch := make(chan zk.Event, n)
		for i := range n {
			p := fmt.Sprintf("%s/%05d", e.Root, i)
			p += strings.Repeat("x", length-len(e.Full(p))-2) + "ä"
			assert.Equal(t, len(e.Full(p)), length)
			paths = append(paths, p)
			switch i % 4 {
			case 0:
				ops = append(ops, zk.ExistsOp{Path: p, Watch: ch})
			case 1:
				ops = append(ops, zk.CreateOp{Path: p, ACL: zk.ACLOpen}, zk.ChildrenOp{Path: p, Watch: ch})
			default:
				ops = append(ops, zk.CreateOp{Path: p, ACL: zk.ACLOpen}, zk.GetOp{Path: p, Watch: ch})
			}
		}
		res, err := s.Batch(e.Ctx, ops...)
		for i, r := range res {
			if _, ok := ops[i].(zk.ExistsOp); !ok {
				assert.NilError(t, r.Err)
			}
		}
		suite.WantCode(t, err, zk.ErrNoNode, paths[0])
		assert.Equal(t, s.Stats().Armed, n)
		floor := s.Zxid()
		e.Cut(s, l)

		changed := []int{0, 1, 2, 3, n/2 - 1, n / 2, n/2 + 1, n/2 + 2, n - 4, n - 3, n - 2, n - 1}
		e.Fence(writer)
		for _, i := range changed {
			switch i % 4 {
			case 0:
				e.Create(writer, paths[i], "")
			case 1:
				e.Create(writer, paths[i]+"/c", "")
			default:
				e.Set(writer, paths[i], "x")
			}
		}
		conn := int64(0)
		if e.Sim != nil {
			for _, f := range e.Sim.Frames() {
				conn = max(conn, f.Conn)
			}
		}
		s = e.Move(s)
		if e.Sim != nil {
			sets, behind := 0, false
			for _, f := range e.Sim.Frames() {
				if f.Conn <= conn || f.Session != s.ID() || f.Dir != zktest.FromClient || f.Op == zktest.OpConnect {
					continue
				}
				if f.Op != wire.OpSetWatches {
					behind = true
					continue
				}
				assert.Assert(t, !behind, "%v behind other requests", f)
				assert.Assert(t, f.Len+4 <= 128<<10, "a frame of %d bytes", f.Len)
				assert.Equal(t, f.Zxid, floor)
				sets++
			}
			least := n * (4 + length) / (128 << 10)
			assert.Assert(t, sets > least && sets <= least+3, "%d frames", sets)
		}
		got := make(map[string]zk.EventType)
		for range changed {
			ev := suite.Await(t, ch)
			assert.Equal(t, got[ev.Path], zk.EventType(0), "%+v twice", ev)
			got[ev.Path] = ev.Type
		}
		for _, i := range changed {
			assert.Equal(t, got[paths[i]], []zk.EventType{zk.Created, zk.Child, zk.Changed, zk.Changed}[i%4])
		}
		e.None(s, ch)
		assert.Equal(t, s.Stats().Armed, n-len(changed))

		// The rest is armed as before: each once.
		for i := 100; i < n; i += 97 {
			if i%4 < 2 {
				continue
			}
			e.Set(s, paths[i], "y")
			e.Ready(ch, zk.Changed, paths[i])
		}
		e.None(s, ch)
	})
}

// Persistent kinds and one-shots are restored together, each once however many
// channels it has.
func TestRestoreEveryKind(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		writer := e.Session()
		chans := make(map[string][]chan zk.Event)
		for _, a := range suite.ArmersOf(e) {
			p := e.Root + "/" + a.Name
			if a.Name != "missing" {
				e.Create(s, p, "")
			}
			for range 3 {
				ch := make(chan zk.Event, 10)
				chans[a.Name] = append(chans[a.Name], ch)
				assert.NilError(t, a.Arm(s, p, ch))
			}
		}
		for range 3 {
			e.Cut(s, l)
			s = e.Move(s)
		}
		assert.Equal(t, s.Stats().Armed, 3*len(suite.ArmersOf(e)))
		for _, a := range suite.ArmersOf(e) {
			p := e.Root + "/" + a.Name
			typ := zk.Deleted
			if a.Name == "missing" {
				typ = zk.Created
				e.Create(writer, p, "")
			} else {
				e.Fence(writer)
				e.Delete(writer, p)
			}
			for _, ch := range chans[a.Name] {
				ev := suite.Await(t, ch)
				for ev.Type == zk.Gap { // others use the server too
					ev = suite.Await(t, ch)
				}
				assert.Equal(t, fmt.Sprint(ev.Type, ev.Path), fmt.Sprint(typ, p))
				e.None(s, ch)
			}
		}
	})
}

// kindsCase is a list of watches on one path, each with a channel of its own.
type kindsCase struct {
	path    string
	kinds   []zk.WatchKind // in the order in which they are armed
	removed int            // which of them is removed; -1: none
	chans   []chan zk.Event
}

func (c *kindsCase) String() string {
	var names []string
	for i, k := range c.kinds {
		name := k.String()
		if i == c.removed {
			name += " (removed)"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// has reports whether a kind is armed, after the removal.
func (c *kindsCase) has(kind zk.WatchKind) bool {
	for i, k := range c.kinds {
		if k == kind && i != c.removed {
			return true
		}
	}
	return false
}

// want returns what a watch gets when a child is created and the data is changed;
// may: what else it may get.
func (c *kindsCase) want(kind zk.WatchKind, bothModes bool) (want []string, may string) {
	switch kind {
	case zk.DataWatch:
		return []string{"changed " + c.path}, ""
	case zk.ChildWatch:
		return []string{"child " + c.path}, ""
	case zk.RecursiveWatch:
		return []string{"created " + c.path + "/c", "changed " + c.path}, ""
	}
	if c.has(zk.RecursiveWatch) && !bothModes {
		return []string{"changed " + c.path}, "child " + c.path
	}
	return []string{"child " + c.path, "changed " + c.path}, ""
}

func (c *kindsCase) check(t *testing.T, redial string, bothModes bool) {
	t.Helper()
	for i, k := range c.kinds {
		var got []string
		gaps := 0
		want, may := c.want(k, bothModes)
		for _, ev := range suite.Taken(c.chans[i]) {
			switch text := suite.Told(ev); {
			case ev.Type == zk.Gap:
				gaps++
			case text != may:
				got = append(got, text)
			}
		}
		if i == c.removed {
			want = nil
		}
		assert.Check(t, slices.Equal(got, want), "%v, redialed %s: the %v watch got %q, want %q", c, redial, k, got, want)
		deaf := k == zk.PersistentWatch && c.removed >= 0 && c.kinds[c.removed] == zk.RecursiveWatch
		if deaf && redial != "after the removal" {
			assert.Check(t, gaps > 0, "%v: no Gap", c)
		}
	}
}

// kindsCases returns all orders of two and of three kinds, with each persistent one of
// them removed or none.
func kindsCases(root string) (cases []*kindsCase) {
	all := []zk.WatchKind{zk.DataWatch, zk.ChildWatch, zk.PersistentWatch, zk.RecursiveWatch}
	var extend func(list []zk.WatchKind)
	extend = func(list []zk.WatchKind) {
		for removed := -1; removed < len(list) && len(list) > 1; removed++ {
			if removed < 0 || list[removed] >= zk.PersistentWatch {
				cases = append(cases, &kindsCase{path: fmt.Sprintf("%s/%d", root, len(cases)), kinds: list, removed: removed})
			}
		}
		for _, k := range all {
			if len(list) < 3 && !slices.Contains(list, k) {
				extend(append(slices.Clone(list), k))
			}
		}
	}
	extend(nil)
	return cases
}

// However many kinds of watches one path has, in whatever order they were armed,
// whether one of them was removed, and wherever the session has moved: each gets its
// events. Servers before 3.9 keep one mode per path, the last that they were told.
func TestEveryKindBesideEveryOther(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		for _, redial := range []string{"never", "before the removal", "after the removal"} {
			s, other := e.Session(), e.Session()
			top := e.Create(other, fmt.Sprintf("%s/%s", e.Root, strings.ReplaceAll(redial, " ", "-")), "")
			cases := kindsCases(top)
			assert.Assert(t, len(cases) > 80, len(cases))
			for _, c := range cases {
				e.Create(other, c.path, "")
			}
			assert.NilError(t, s.Sync(e.Ctx, top))
			for _, c := range cases {
				for _, k := range c.kinds {
					ch := make(chan zk.Event, 9)
					c.chans = append(c.chans, ch)
					assert.NilError(t, suite.WatchCalls[k](s, c.path, ch))
				}
			}
			if redial == "before the removal" {
				s = e.Move(s)
			}
			for _, c := range cases {
				if c.removed >= 0 {
					assert.NilError(t, s.RemoveWatch(e.Ctx, c.path, c.chans[c.removed]))
				}
			}
			if redial == "after the removal" {
				s = e.Move(s)
			}
			assert.NilError(t, s.Sync(e.Ctx, top)) // all that was asked before has been done
			for _, c := range cases {
				e.Create(other, c.path+"/c", "")
				e.Set(other, c.path, "x")
			}
			assert.NilError(t, s.Sync(e.Ctx, top))
			for _, c := range cases {
				c.check(t, redial, e.Knows(zktest.V39))
			}
			assert.NilError(t, s.Close())
		}
	})
}
