package scripts

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// TestI08_AcrossMigrations: one event for one registration, after any number of
// connections, and through SetWatches as well as live.
func TestI08_AcrossMigrations(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		live, late := make(chan zk.Event, 4), make(chan zk.Event, 4)
		suite.Arm(t, s, l, zk.DataWatch, "/live", live)
		suite.Arm(t, s, l, zk.ChildWatch, "/late", late)
		for range 5 {
			var w wire.SetWatches2Request
			s, l, _, w = r.Move(s.Detach(), 1)
			assert.DeepEqual(t, w.Data, []string{"/live"})
			assert.DeepEqual(t, w.Child, []string{"/late"})
		}
		l.Send(suite.Happened(zk.Changed, "/live", -1), suite.Happened(zk.Changed, "/live", -1))
		synctest.Wait()
		d := r.Begin(s.Detach())
		l = r.Accept()
		l.Greet()
		q := l.Next()
		w := q.Watches(t)
		assert.Equal(t, fmt.Sprint(w.Data, w.Child), "[] [/late]")
		l.Send(suite.Happened(zk.Deleted, "/late", -1), suite.Happened(zk.Deleted, "/late", -1), suite.Answer(q.Xid, 2, nil))
		s = d.Session()
		assert.Equal(t, suite.Told(suite.Taken(live)...), "changed /live")
		assert.Equal(t, suite.Told(suite.Taken(late)...), "deleted /late")
		_, l = r.Open(s.Detach()) // nothing is left to restore
		l.Quiet()
	})
}

// TestI10_Gap: a persistent watch that moved says so, once, ahead of whatever
// proves that something was committed meanwhile; if nothing was, it says nothing.
func TestI10_Gap(t *testing.T) {
	type step struct {
		events []zk.EventType // of /p, ahead of the reply
		other  bool           // an event of a one-shot at /o, ahead of the reply
		zxid   int64          // of the reply; the floor is 10
		want   string         // what the persistent channels get, one after another, a and b alike
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"nothing happened", []step{{zxid: 10}, {zxid: 10}}},
		{"the reply tells", []step{{zxid: 11, want: "gap /p"}, {zxid: 11}, {zxid: 12, want: "gap /p"}}},
		{"an event tells", []step{{events: []zk.EventType{zk.Changed, zk.Child}, zxid: 11, want: "gap /p, changed /p, child /p"}}},
		{"another watch's event tells", []step{{other: true, zxid: 10, want: "gap /p"}}},
		{"the reply says nothing", []step{{zxid: 0, want: "gap /p"}, {zxid: -1, want: "gap /p"}, {zxid: 9, want: "gap /p"}, {zxid: 10}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				a, b, o := make(chan zk.Event, 9), make(chan zk.Event, 9), make(chan zk.Event, 9)
				suite.Arm(t, s, l, zk.PersistentWatch, "/p", a)
				suite.Arm(t, s, l, zk.RecursiveWatch, "/p", a) // the same channel and path: one Gap
				suite.Arm(t, s, l, zk.PersistentWatch, "/p", b)
				suite.Arm(t, s, l, zk.DataWatch, "/o", o)
				advance(t, s, l, 10)
				for i, x := range c.steps {
					d := r.Begin(s.Detach())
					l = r.Accept()
					l.Greet()
					q := l.Want(wire.OpSetWatches2, "")
					var frames [][]byte
					if x.other {
						frames = append(frames, suite.Happened(zk.Changed, "/o", -1))
					}
					for _, typ := range x.events {
						frames = append(frames, suite.Happened(typ, "/p", -1))
					}
					l.Send(append(frames, suite.Answer(q.Xid, x.zxid, nil))...)
					s = d.Session()
					assert.Equal(t, suite.Told(suite.Taken(a)...), x.want, "step %d", i)
					assert.Equal(t, suite.Told(suite.Taken(b)...), x.want, "step %d", i)
					// From here on the stream is whole.
					l.Send(suite.Happened(zk.Deleted, "/p", -1))
					synctest.Wait()
					assert.Equal(t, suite.Told(suite.Taken(a)...), "deleted /p")
					assert.Equal(t, suite.Told(suite.Taken(b)...), "deleted /p")
				}
				for _, ev := range suite.Taken(o) {
					assert.Equal(t, suite.Told(ev), "changed /o")
				}
			})
		})
	}
}

// A Gap that is not delivered yet is not doubled; one that a failed Dial owes is
// paid by the next; after Renew there is always one.
func TestI10_GapIsOwed(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		full, second := make(chan zk.Event), make(chan zk.Event)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", full)
		suite.Arm(t, s, l, zk.PersistentWatch, "/q", full)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/q", second)
		advance(t, s, l, 10)
		for zxid := range int64(3) {
			s, _, _, _ = r.Move(s.Detach(), 11+zxid)
		}
		assert.Equal(t, s.Stats().Queued, 3)
		for _, want := range []string{"gap /p", "gap /q"} {
			assert.Equal(t, suite.Told(<-full), want)
		}
		assert.Equal(t, suite.Told(<-second), "gap /q")
		synctest.Wait()
		assert.Equal(t, s.Stats().Queued, 0)

		// The connection ends before its SetWatches is answered.
		conf := s.Detach()
		d := r.Begin(conf)
		l = r.Accept()
		l.Greet()
		l.Want(wire.OpSetWatches2, "")
		l.Close()
		assert.Assert(t, errors.Is(d.Wait(), zk.ErrNoServer))
		assert.Equal(t, conf.Watches.Undelivered(), 0)
		s, _, _, _ = r.Move(conf, 14)
		assert.Equal(t, s.Stats().Queued, 3)
		for _, ch := range []chan zk.Event{full, full, second} {
			<-ch
		}

		s, _, q, w := r.Move(s.Detach().Renew(), 14)
		assert.Equal(t, q.SessionID, int64(0))
		assert.Equal(t, w.RelativeZxid, int64(14))
		assert.Equal(t, s.Stats().Queued, 3, "no Gap after Renew")
	})
}

// TestI10_GapAfterRenew: the Gap of a new session comes when the server has the
// watch again. Before, it could be read ahead of a change that nobody tells of.
func TestI10_GapAfterRenew(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		ch := make(chan zk.Event, 4)
		suite.Arm(t, s, l, zk.PersistentWatch, "/w", ch)
		floor := s.Zxid()
		d := r.Begin(s.Detach().Renew())
		l = r.Accept()
		q := l.Connect()
		q.SessionID = 0x777
		l.Send(suite.Welcome(q))
		x := l.Next()
		assert.DeepEqual(t, x.Watches(t).Persistent, []string{"/w"})
		synctest.Wait()
		assert.Equal(t, len(ch), 0)
		l.Send(suite.Answer(x.Xid, floor, nil)) // also where nothing has changed
		d.Session()
		assert.Equal(t, suite.Told(suite.Taken(ch)...), "gap /w")
	})
}

// TestI10_GapBetweenFrames: a Gap that was read before the server had a
// persistent watch again stands for nothing that came then. The frame that arms
// it brings another, if something was committed since the frame before.
func TestI10_GapBetweenFrames(t *testing.T) {
	defer suite.Shrink(&limits.SetWatchesFrame, 64)()
	for _, c := range []struct {
		name  string
		zxids [2]int64 // of the replies, above the floor
		event bool     // ahead of the second reply
		want  string
	}{
		{"nothing", [2]int64{0, 0}, false, ""},
		{"before the first frame", [2]int64{1, 1}, false, "gap /p"},
		{"between the frames", [2]int64{0, 1}, false, "gap /p"},
		{"before and between", [2]int64{1, 2}, false, "gap /p, gap /p"},
		{"an event between", [2]int64{0, 1}, true, "gap /p, gap /p"},
		{"an event of before", [2]int64{1, 1}, true, "gap /p"},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				ch, one := make(chan zk.Event, 4), make(chan zk.Event, 1)
				long := "/one-shot-of-a-long-path-that-fills-a-frame"
				suite.Arm(t, s, l, zk.DataWatch, long, one)
				suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
				floor := s.Zxid()
				d := r.Begin(s.Config())
				l = r.Accept()
				l.Greet()
				first, second := l.Next(), l.Next()
				assert.DeepEqual(t, first.Watches(t).Data, []string{long})
				assert.DeepEqual(t, second.Watches(t).Persistent, []string{"/p"})
				var got []zk.Event
				take := func() {
					synctest.Wait()
					got = append(got, suite.Taken(ch)...) // read at once
				}
				l.Send(suite.Answer(first.Xid, floor+c.zxids[0], nil))
				take()
				if c.event {
					l.Send(suite.Happened(zk.Changed, long, -1))
				}
				take()
				l.Send(suite.Answer(second.Xid, floor+c.zxids[1], nil))
				take()
				d.Session()
				assert.Equal(t, suite.Told(got...), c.want)
			})
		})
	}
}

// Where an AddWatch may have made other watches of its path deaf, and the connection
// ends before the server has answered that they are armed again, the next connection
// catches up with all since, whatever other calls were answered meanwhile.
func TestDeafWatchesAreCaughtUpByTheNextConnection(t *testing.T) {
	for _, c := range []struct {
		armed, added zk.WatchKind
		repair       wire.Op
		answered     bool
		// floors are those of the next connection's SetWatches: a one-shot has its own
		// frame beside a recursive watch, and a child watch that is deaf one more.
		floors []int64
		want   string // what the armed watch gets, where nothing is newer than zxid 20
	}{
		{zk.ChildWatch, zk.RecursiveWatch, wire.OpSetWatches, false, []int64{20, 20, 12}, ""},
		{zk.ChildWatch, zk.RecursiveWatch, wire.OpSetWatches, true, []int64{20, 20}, ""},
		{zk.RecursiveWatch, zk.PersistentWatch, wire.OpAddWatch, false, []int64{20}, "gap /p"},
		{zk.RecursiveWatch, zk.PersistentWatch, wire.OpAddWatch, true, []int64{20}, "gap /p"}, // before the connection ends
	} {
		for _, moved := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, then %v, answered %v, by another process %v", c.armed, c.added, c.answered, moved), func(t *testing.T) {
				suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
					s, l := r.Open(r.Config())
					armed, added := make(chan zk.Event, 9), make(chan zk.Event, 9)
					suite.Arm(t, s, l, c.armed, "/p", armed)
					advance(t, s, l, 10)
					add := suite.Start(t, func() error { return suite.WatchCalls[c.added](s, "/p", added) })
					adding := l.Want(wire.OpAddWatch, "/p")
					other := suite.Start(t, func() error { _, _, err := s.Exists(suite.BG, "/o", nil); return err })
					reading := l.Want(wire.OpExists, "/o")
					l.Send(suite.Fitting(adding, 12), suite.Fitting(reading, 20))
					add.OK()
					other.OK()
					repair := l.Next()
					assert.Equal(t, repair.Op, c.repair)
					if c.answered {
						l.Send(suite.Answer(repair.Xid, 20, nil))
					}
					synctest.Wait()
					l.Close()
					<-s.Done()
					conf := s.Detach()
					if moved {
						conf.State = elsewhere(t, conf.State, func(w zk.Watch) chan<- zk.Event {
							if w.Kind == c.armed {
								return armed
							}
							return added
						})
					}
					d := r.Begin(conf)
					l = r.Accept()
					l.Greet()
					for i, floor := range c.floors {
						w := l.Restored(20)
						assert.Equal(t, w.RelativeZxid, floor)
						assert.Assert(t, i < 2 || slices.Equal(w.Child, []string{"/p"}))
					}
					d.Session()
					assert.Equal(t, suite.Told(suite.Taken(armed)...), c.want)
				})
			})
		}
	}
}

// elsewhere is a State as another process gets it.
func elsewhere(t *testing.T, state zk.State, bind func(zk.Watch) chan<- zk.Event) (other zk.State) {
	text, err := json.Marshal(state)
	assert.NilError(t, err)
	assert.NilError(t, json.Unmarshal(text, &other))
	assert.NilError(t, other.Watches.Rebind(bind))
	return other
}

// The same where a watch has been deaf since a zxid that nobody remembers: a recursive
// one beside it is gone. There is a Gap, also where nothing is newer than the floor.
func TestDeafSinceLongAgo(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		left, gone := make(chan zk.Event, 9), make(chan zk.Event, 9)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", left)
		suite.Arm(t, s, l, zk.RecursiveWatch, "/p", gone)
		advance(t, s, l, 20)
		suite.Start(t, func() error { return s.RemoveWatch(suite.BG, "/p", gone) }).OK()
		l.Want(wire.OpAddWatch, "/p")
		l.Close()
		<-s.Done()
		conf := s.Detach()
		conf.State = elsewhere(t, conf.State, func(zk.Watch) chan<- zk.Event { return left })
		s, _, _, _ = r.Move(conf, 20)
		assert.Equal(t, suite.Told(suite.Taken(left)...), "gap /p")
		r.Move(s.Detach(), 20) // once
		assert.Equal(t, suite.Told(suite.Taken(left)...), "")
	})
}

// What is armed while others are deaf is restored from its own answer: an older change
// must not fire it (W4).
func TestDeafWatchesFireNothingElse(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		child, added, data := make(chan zk.Event, 9), make(chan zk.Event, 9), make(chan zk.Event, 9)
		suite.Arm(t, s, l, zk.ChildWatch, "/p", child)
		advance(t, s, l, 10)
		add := suite.Start(t, func() error { return s.AddWatch(suite.BG, "/p", zk.WatchRecursive, added) })
		adding := l.Want(wire.OpAddWatch, "/p")
		get := suite.Get(t, s, suite.BG, "/o", data)
		reading := l.Want(wire.OpGetData, "/o")
		l.Send(suite.Fitting(adding, 12), suite.Fitting(reading, 20)) // /o was changed at 15
		add.OK()
		get.OK()
		l.Want(wire.OpSetWatches, "") // without an answer
		synctest.Wait()
		l.Close()
		<-s.Done()
		r.Begin(s.Detach())
		l = r.Accept()
		l.Greet()
		w := l.Restored(20)
		for _, p := range w.Data {
			assert.Assert(t, p != "/o" || w.RelativeZxid >= 20, "/o is restored from %d", w.RelativeZxid)
		}
	})
}
