package registry

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

// left is what another process may have left.
func left() *handover.Watches {
	armed := func(path string, kind watches.Kind, channel int) handover.Armed {
		return handover.Armed{Path: path, Kind: int(kind), Channel: channel}
	}
	raw := armed("/app/z", watches.Persistent, 2)
	raw.Raw = true
	return &handover.Watches{
		Chroot: "/app", Floor: 10, Gap: true, Fresh: true,
		Deaf:  []handover.Deaf{{Path: "/app/c", Since: 4}, {Path: "/app/x", Since: 3}},
		Armed: []handover.Armed{armed("/app/x", watches.Child, 1), raw, armed("/app/y", watches.Recursive, 1)},
		Events: []handover.Event{
			{Armed: raw, Type: handover.Gap, Event: "/app/z"},
			{Armed: armed("/app/y", watches.Recursive, 1), Type: int32(created), Event: "/app/y/1", Zxid: 9},
			{Armed: armed("/app/x", watches.Data, 3), Type: int32(deleted), Event: "/app/x", Zxid: 10},
		},
	}
}

// rebind gives what was adopted channels, by their numbers less one.
func (r *reg) rebind(t *testing.T, channels ...chan event) {
	t.Helper()
	assert.Assert(t, r.Rebind(func(_ *handover.Watches, a handover.Armed, _ bool) chan<- event {
		return channels[a.Channel-1] // may be nil
	}))
}

func channels(n int) (list []chan event) {
	for range n {
		list = append(list, make(chan event, 9))
	}
	return list
}

// All that a Registry has goes to another one and from there to the next, with new
// channels, and the events arrive.
func TestHandover(t *testing.T) {
	var r reg
	j := left()
	assert.Assert(t, r.Adopt(j))
	assert.Assert(t, r.Len() == 3 && r.Undelivered() == 3 && r.Count(watches.Child) == 0)
	same, none := r.Handover()
	assert.Assert(t, same == j && none == nil, "it has no channels to number")
	c := r.Claim(0, "/other")
	assert.Assert(t, c.Verdict == Unbound && c.Chroot == "/app", "%+v", c)

	chans := channels(3)
	r.rebind(t, chans...)
	assert.Assert(t, r.Len() == 3 && r.Undelivered() == 3 && r.Count(watches.Child) == 1)
	again, numbered := r.Handover()
	assert.DeepEqual(t, again, left())
	for i, ch := range numbered {
		assert.Assert(t, ch == chan<- event(chans[i]))
	}
	assert.Equal(t, len(numbered), 3)

	r.event(t, changed, "/app/y") // the Gaps that are owed come first, where none is undelivered
	r.Start()
	assert.DeepEqual(t, got(chans[0]), []event{{created, "/y/1", 9}, {gap, "/y", 0}, {changed, "/y", 0}})
	assert.DeepEqual(t, got(chans[1]), []event{{gap, "/app/z", 0}})
	assert.DeepEqual(t, got(chans[2]), []event{{deleted, "/x", 10}})
	j, _ = r.Handover()
	assert.Assert(t, j.Gap && len(j.Events) == 0, "whoever goes on owes a Gap, for events move here")
}

// A watch without a channel is dropped, with its events. What it is asked for is asked
// once, without the lock.
func TestRebind(t *testing.T) {
	var r reg
	assert.Assert(t, r.Adopt(left()))
	chans, asked := channels(1), make(map[handover.Armed]bool)
	assert.Assert(t, r.Rebind(func(j *handover.Watches, a handover.Armed, fired bool) chan<- event {
		assert.Assert(t, r.Len() == len(j.Armed) && j.Chroot == "/app")
		asked[a] = fired
		if a.Channel != 1 {
			return nil
		}
		return chans[0]
	}))
	want := make(map[handover.Armed]bool)
	left().Each(func(a handover.Armed, fired bool) { want[a] = fired })
	assert.DeepEqual(t, asked, want)
	assert.Assert(t, r.Len() == 2 && r.Undelivered() == 1)
	assert.Assert(t, r.Rebind(nil) == false, "they have channels")

	var twice reg
	assert.Assert(t, twice.Adopt(left()))
	assert.Assert(t, !twice.Rebind(func(*handover.Watches, handover.Armed, bool) chan<- event {
		twice.Rebind(func(*handover.Watches, handover.Armed, bool) chan<- event { return chans[0] })
		return nil
	}), "another was faster")
	assert.Equal(t, twice.Len(), 3)
}

// What is in use adopts nothing, and keeps its channels.
func TestInUse(t *testing.T) {
	for name, use := range map[string]func(r *reg){
		"unused":      func(*reg) {},
		"armed":       func(r *reg) { r.arm("/x", watches.Data, 0) },
		"owned":       func(r *reg) { r.Own("owner", 0, nil) },
		"dialing":     func(r *reg) { r.Turn() <- struct{}{} },
		"dialed":      func(r *reg) { r.Turn() <- struct{}{}; r.Own("owner", 0, nil); <-r.Turn() },
		"undelivered": func(r *reg) { r.arm("/x", watches.Data, 0); r.event(t, changed, "/x") },
	} {
		t.Run(name, func(t *testing.T) {
			var r reg
			use(&r)
			assert.Equal(t, r.Rebind(nil), name == "unused", "there is nothing to do")
			assert.Equal(t, r.Adopt(left()), name == "unused")
		})
	}
	var r reg
	assert.Assert(t, r.Adopt(left()) && r.Adopt(&handover.Watches{}), "the last one counts, until Rebind")
	assert.Equal(t, r.Len(), 0)
	r.Turn() <- struct{}{} // of a Dial that fails
	<-r.Turn()
	assert.Assert(t, r.Adopt(left()))
}

// What was undelivered elsewhere counts here too.
func TestAdoptedLoad(t *testing.T) {
	shrink(t, &limits.PersistentQueue, 1)
	shrink(t, &limits.OneShotQueue, 0)
	var r reg
	fired := left()
	fired.Armed = nil
	assert.Assert(t, r.Adopt(fired) && r.Undelivered() == 3)
	r.rebind(t, channels(3)...)
	room, _ := r.Room()
	assert.Assert(t, room, "as many as there are were armed at once")
	r.arm("/app/z", watches.Persistent, 0)
	_, err := r.Notify(changed, []byte("/app/z"), 0, nil)
	assert.Equal(t, err, Overflow(1), "the Gap does not count")
}

// A channel that was found closed does not go along.
func TestHandoverClosed(t *testing.T) {
	var r reg
	r.Start()
	ch := r.arm("/x", watches.Data, 0)
	r.Arm("/y", watches.Persistent, false, ch)
	close(ch)
	r.event(t, changed, "/x")
	j, numbered := r.Handover()
	assert.Assert(t, len(j.Armed) == 0 && len(numbered) == 0 && !j.Gap, "%+v", j)
}
