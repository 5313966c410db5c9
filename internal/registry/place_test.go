package registry

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

// at checks the place in history.
func (r *reg) at(t *testing.T, zxid, floor int64) {
	t.Helper()
	j, _ := r.Handover()
	assert.Assert(t, r.Zxid() == zxid && int64(j.Floor) == floor, "zxid %d, floor %d", r.Zxid(), j.Floor)
}

// A place in history that is given up can be taken back.
func TestGiveUp(t *testing.T) {
	var r reg
	r.Start()
	r.Advance(10)
	r.Settle()
	r.Stop()
	r.Advance(12)
	r.at(t, 12, 10)
	past := r.GiveUp()
	r.at(t, 0, 0)
	r.Advance(5) // on a connection that comes to nothing
	r.at(t, 5, 0)
	r.TakeBack(past)
	r.at(t, 12, 10)
}

// Of a session that somebody had, the watches may know more than who asks for it.
func TestGoOn(t *testing.T) {
	var r reg
	r.GoOn(10)
	r.at(t, 10, 10)
	r.GoOn(7)
	r.at(t, 10, 7)
	r.arm("/x", watches.Data, 0)
	r.GoOn(20)
	r.at(t, 20, 7)

	var adopted reg
	adopted.Adopt(&handover.Watches{Floor: 30})
	adopted.arm("/x", watches.Data, 0)
	adopted.GoOn(20)
	adopted.at(t, 30, 30)
}

// The floor follows the zxid only where all is restored, and not after the connection.
func TestSettle(t *testing.T) {
	var r reg
	r.Start()
	r.Advance(10)
	r.at(t, 10, 0)
	r.Settle()
	r.at(t, 10, 10)
	r.Stop()
	r.Advance(20)
	r.at(t, 20, 10)
	r.arm("/x", watches.Data, 0)
	r.Stop()
	j, _ := r.Handover()
	assert.Assert(t, !j.Gap, "a one-shot is owed none")
	r.Settle() // of a Dial whose connection has ended meanwhile
	r.at(t, 20, 10)
	r.Start()
	r.Restored(20, false, false)
	r.at(t, 20, 10)
	r.Restored(20, false, true)
	r.at(t, 20, 20)
}

// Persistent watches get a Gap when they are restored and may have missed something.
func TestGapOfMigration(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(r *reg)
		zxid int64 // that of the answer; it was 10 before
		gap  bool
	}{
		{"nothing happened", func(*reg) {}, 10, false},
		{"something happened", func(*reg) {}, 11, true},
		{"a new session", func(r *reg) { r.Stop(); r.Start(); r.OweGap() }, 10, true},
		{"deaf", func(r *reg) { r.Tell(9, false) }, 10, true},
		{"deaf, and nothing happened", func(r *reg) { r.Tell(10, false) }, 10, false},
		{"deaf since nobody knows when", func(r *reg) { r.Tell(10, true) }, 10, true},
		{"deaf no more", func(r *reg) { r.Tell(9, false); r.Heard() }, 10, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := new(reg)
			r.Start()
			r.Advance(10)
			r.Settle()
			ch, oneShot := r.arm("/x", watches.Persistent, 1), r.arm("/x", watches.Data, 1)
			x.do(r)
			r.Stop()
			r.Start()
			of := r.Restore()
			assert.Assert(t, of != nil && len(got(ch)) == 0)
			of.Done()
			r.Restored(x.zxid, true, true)
			assert.Equal(t, len(got(ch)) == 1, x.gap)
			r.event(t, changed, "/x")
			assert.DeepEqual(t, got(ch), []event{{changed, "/x", 0}})
			assert.DeepEqual(t, got(oneShot), []event{{changed, "/x", 0}})
		})
	}
}
