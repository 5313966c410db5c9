package registry

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

// Who gets an event, and which watches it uses up.
func TestNotify(t *testing.T) {
	for _, x := range []struct {
		typ  eventType
		path string
		get  string // the channels that get it
		gone string // and those that are not armed any more
	}{
		{created, "/x", "data exists persistent recursive both root", "data exists"},
		{changed, "/x", "data exists persistent recursive both root", "data exists"},
		{deleted, "/x", "data exists child persistent recursive both root", "data exists child"},
		{children, "/x", "child persistent both", "child"},
		{changed, "/x/y", "recursive root", ""},
		{children, "/x/y", "", ""},
		{created, "/z", "root", ""},
	} {
		t.Run(x.path+" "+string('0'+rune(x.typ)), func(t *testing.T) {
			var r reg
			r.Start()
			channels := map[string]chan event{
				"data": r.arm("/x", watches.Data, 2), "exists": r.arm("/x", watches.Exists, 2), "child": r.arm("/x", watches.Child, 2),
				"persistent": r.arm("/x", watches.Persistent, 2), "recursive": r.arm("/x", watches.Recursive, 2),
				"both": r.arm("/x", watches.Persistent, 2), "root": r.arm("/", watches.Recursive, 2), "other": r.arm("/y", watches.Data, 2),
			}
			r.Arm("/x", watches.Child, false, channels["both"])
			get := strings.Fields(x.get)
			assert.Equal(t, r.event(t, x.typ, x.path), len(get))
			for name, ch := range channels {
				var want []event // one, in however many ways the channel is armed
				if strings.Contains(" "+x.get+" ", " "+name+" ") {
					want = []event{{x.typ, x.path, 0}}
				}
				assert.DeepEqual(t, got(ch), want)
			}
			for _, typ := range []eventType{changed, children} {
				r.event(t, typ, "/x")
			}
			r.event(t, created, "/y")
			for name, ch := range channels {
				gone := strings.Contains(" "+x.gone+" ", " "+name+" ")
				assert.Assert(t, gone == (len(got(ch)) == 0), "%s, which must be gone: %t", name, gone)
			}
		})
	}
}

// An event has the path that the application knows, and its zxid where the server says it.
func TestEventFields(t *testing.T) {
	var r reg
	r.Start()
	_, ok := r.Enter("/app")
	assert.Assert(t, ok)
	ch, raw := r.arm("/app", watches.Recursive, 2), make(chan event, 2)
	r.Arm("/app", watches.Recursive, true, raw)
	var n Notified[event]
	for _, zxid := range []int64{7, -1} {
		_, err := r.Notify(created, []byte("/app/x"), zxid, &n)
		assert.NilError(t, err)
		assert.Equal(t, n, Notified[event]{Event: event{created, "/x", max(zxid, 0)}})
	}
	_, err := r.Notify(created, []byte("/app"), 1, &n)
	assert.NilError(t, err)
	assert.Equal(t, n, Notified[event]{Event: event{created, "/", 1}, Queued: true})
	r.Stop()
	assert.DeepEqual(t, got(ch), []event{{created, "/x", 7}, {created, "/x", 0}})
	assert.DeepEqual(t, got(raw), []event{{created, "/app/x", 7}, {created, "/app/x", 0}})
}

// Undelivered events of persistent watches are bounded. With none undelivered there is room
// for any number.
func TestOverflow(t *testing.T) {
	shrink(t, &limits.PersistentQueue, 3)
	var r reg
	oneShot := r.arm("/x", watches.Data, 1)
	for _, path := range []string{"/x", "/y", "/y"} {
		r.arm(path, watches.Persistent, 1)
	}
	r.event(t, children, "/x")
	r.event(t, children, "/y") // as many as there may be
	_, err := r.Notify(changed, []byte("/x"), 0, nil)
	assert.Equal(t, err, Overflow(3))
	assert.Error(t, err, "3 events of persistent watches are undelivered")
	assert.Assert(t, r.Armed("/x").Has(watches.Data), "what overflows disarms nothing")
	assert.Equal(t, r.event(t, created, "/z"), 0, "what nobody gets takes no room")

	r.arm("/z", watches.Child, 1)
	r.OweGap()
	assert.Equal(t, r.event(t, children, "/z"), 1, "one-shots and Gaps take no room")
	assert.Equal(t, r.Undelivered(), 3+1+3)

	var many reg
	channels := make([]chan event, limits.PersistentQueue+1)
	for i := range channels {
		channels[i] = many.arm("/x", watches.Persistent, 2)
	}
	assert.Equal(t, many.event(t, changed, "/x"), len(channels), "or every next connection would only end by them again")
	_, err = many.Notify(changed, []byte("/x"), 0, nil)
	assert.Assert(t, errors.As(err, new(Overflow)))
	many.Start()
	assert.Equal(t, many.event(t, changed, "/x"), len(channels), "they have left")
	assert.Equal(t, len(oneShot), 0)
}

// Before a bound is said to be reached, the sender is asked whether its event has left.
func TestBoundsAskTheSender(t *testing.T) {
	shrink(t, &limits.PersistentQueue, 1)
	shrink(t, &limits.OneShotQueue, 0)
	for _, kind := range []watches.Kind{watches.Persistent, watches.Data} {
		synctest.Test(t, func(t *testing.T) {
			var r reg
			r.Start()
			ch := r.arm("/x", kind, 0)
			r.event(t, changed, "/x")
			synctest.Wait() // the sender waits for the channel
			r.load.peak = 0
			r.Lock()
			overflowed, crowded := r.overflowsLocked(1), r.crowdedLocked()
			<-ch                                                         // the sender cannot say so without the lock
			overflows, crowds := r.overflowsLocked(2), r.crowdedLocked() // with nothing undelivered there is always room
			r.Unlock()
			assert.Assert(t, overflowed == !kind.OneShot() && crowded == kind.OneShot())
			assert.Assert(t, !overflows && !crowds)
			r.Stop()
		})
	}
}

// No more one-shots are armed when many of their events are undelivered, beyond those that
// were armed all at once.
func TestRoom(t *testing.T) {
	shrink(t, &limits.OneShotQueue, 2)
	var r reg
	room, persistent := r.Room()
	assert.Assert(t, room && !persistent)
	for range 3 {
		r.arm("/x", watches.Data, 1)
	}
	r.event(t, changed, "/x")
	for n := 3; n <= 5; n++ {
		room, _ = r.Room()
		assert.Assert(t, room, "%d are undelivered, of 3 at once and 2", n)
		r.arm("/x", watches.Data, 1)
		r.event(t, changed, "/x")
	}
	r.arm("/x", watches.Recursive, 99)
	room, persistent = r.Room()
	assert.Assert(t, !room && persistent)
	r.Start() // all of them leave
	room, _ = r.Room()
	assert.Assert(t, room)
	r.arm("/x", watches.Data, 1)
	r.Stop()
	r.event(t, changed, "/x")
	for range 9 {
		r.arm("/x", watches.Data, 1)
	}
	r.event(t, changed, "/x")
	room, _ = r.Room()
	assert.Assert(t, room, "1 is undelivered, and 9 that were armed at once")
	r.Start()
	r.Stop()
	for range 5 {
		r.arm("/x", watches.Data, 1)
		r.event(t, changed, "/x")
	}
	room, _ = r.Room()
	assert.Assert(t, !room, "when all had left, 2 were armed at most")
}

// A Gap that is owed comes before the event, once for each path and channel.
func TestGap(t *testing.T) {
	var r reg
	_, ok := r.Enter("/app")
	assert.Assert(t, ok)
	x, y, oneShot := make(chan event, 9), make(chan event, 9), make(chan event, 9)
	r.Arm("/app/x", watches.Data, false, oneShot)
	r.OweGap() // to nobody
	r.Arm("/app/x", watches.Persistent, false, x)
	r.Arm("/app/x", watches.Recursive, false, x) // the same path and channel
	r.Arm("/app/y", watches.Persistent, false, x)
	r.Arm("/app/x", watches.Recursive, true, y)
	r.event(t, created, "/app/x")
	for range 2 {
		r.OweGap()
		r.event(t, changed, "/app/x")
	}
	gaps, queued := r.TakeGaps()
	assert.Assert(t, len(gaps) == 3 && queued)
	r.Start()
	assert.DeepEqual(t, got(x), []event{{created, "/x", 0}, {gap, "/x", 0}, {gap, "/y", 0}, {changed, "/x", 0}, {changed, "/x", 0}})
	assert.DeepEqual(t, got(y), []event{{created, "/app/x", 0}, {gap, "/app/x", 0}, {changed, "/app/x", 0}, {changed, "/app/x", 0}})
	assert.DeepEqual(t, got(oneShot), []event{{created, "/x", 0}})

	r.event(t, changed, "/app/x")
	assert.Equal(t, len(got(x))+len(got(y)), 2, "none is owed")
	r.OweGap() // those before were received
	r.event(t, changed, "/app/y")
	assert.DeepEqual(t, got(x), []event{{gap, "/x", 0}, {gap, "/y", 0}, {changed, "/y", 0}})
	gaps, queued = r.TakeGaps()
	assert.Assert(t, len(gaps) == 3 && !queued && r.News())
	gaps, _ = r.TakeGaps()
	assert.Assert(t, len(gaps) == 0)
	r.OweGap()
	r.event(t, changed, "/app/y")
	r.lost()
	gaps, _ = r.TakeGaps()
	assert.Assert(t, len(gaps) == 0 && !r.News(), "nobody wanted to see them")
}

// GapAt is for the watches of one kind at one path. One that was just received is
// undelivered no more.
func TestGapAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reg
		r.Start()
		full, recursive, other := r.arm("/x", watches.Persistent, 0), r.arm("/x", watches.Recursive, 9), r.arm("/y", watches.Persistent, 9)
		for range 2 {
			r.GapAt("/x", watches.Persistent)
			assert.Equal(t, r.Undelivered(), 1)
		}
		synctest.Wait()
		r.Lock()
		<-full
		r.place.OweGap(true)
		r.queueGapsLocked()
		n := r.queue.Undelivered()
		r.Unlock()
		assert.Equal(t, n, 3, "a new one for each")
		assert.Equal(t, <-full, event{gap, "/x", 0})
		synctest.Wait()
		assert.DeepEqual(t, got(recursive), []event{{gap, "/x", 0}})
		assert.DeepEqual(t, got(other), []event{{gap, "/y", 0}})
		r.Stop()
	})
}
