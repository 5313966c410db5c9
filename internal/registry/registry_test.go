package registry

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

// The application's types.
type (
	eventType int32
	event     struct {
		Type eventType
		Path string
		Zxid int64
	}
)

const (
	created eventType = iota + 1
	deleted
	changed
	children
	gap eventType = handover.Gap
)

// reg is a Registry, by short words.
type reg struct{ Registry[eventType, event] }

// arm arms a new channel with so much room.
func (r *reg) arm(path string, kind watches.Kind, room int) chan event {
	ch := make(chan event, room)
	r.Arm(path, kind, false, ch)
	return ch
}

// event is an event that must not overflow. It returns how many channels get it.
func (r *reg) event(t *testing.T, typ eventType, path string) int {
	t.Helper()
	n, err := r.Notify(typ, []byte(path), 0, nil)
	assert.NilError(t, err)
	return n
}

// got takes what is in a channel.
func got(ch chan event) (list []event) {
	for len(ch) > 0 {
		list = append(list, <-ch)
	}
	return list
}

// lost are the watches that closed channels have lost.
func (r *reg) lost() []Lost {
	lost, _ := r.TakeLost()
	return lost
}

// shrink lowers a bound of limits.
func shrink(t *testing.T, limit *int, to int) {
	was := *limit
	*limit = to
	t.Cleanup(func() { *limit = was })
}

func TestCounts(t *testing.T) {
	var r reg
	r.arm("/x", watches.Data, 1)
	r.arm("/x", watches.Data, 1)
	r.arm("/x", watches.Recursive, 1)
	assert.Assert(t, r.Len() == 3 && r.Count(watches.Data) == 2 && r.Count(watches.Child) == 0)
	armed := r.Armed("/x")
	assert.Assert(t, armed.Has(watches.Data) && armed.Has(watches.Recursive) && !armed.Has(watches.Child) && r.Armed("/") == 0)
	assert.Equal(t, r.event(t, changed, "/x"), 3)
	assert.Assert(t, r.Undelivered() == 3 && r.Len() == 1)
	r.Advance(5)
	r.Advance(4)
	assert.Equal(t, r.Zxid(), int64(5), "it never goes back")
}

// A persistent kind is removed here only where the server need not be asked.
func TestDisarm(t *testing.T) {
	for _, x := range []struct {
		name         string
		mine, others []watches.Kind
		shared       bool
		found, asked bool
		left         []watches.Kind // of mine
	}{
		{name: "not armed", others: []watches.Kind{watches.Data}},
		{name: "one-shots", mine: []watches.Kind{watches.Data, watches.Exists, watches.Child}, found: true},
		{name: "persistent", mine: []watches.Kind{watches.Data, watches.Persistent, watches.Recursive}, found: true, asked: true, left: []watches.Kind{watches.Persistent, watches.Recursive}},
		{name: "beside another channel", mine: []watches.Kind{watches.Persistent}, others: []watches.Kind{watches.Data}, found: true},
		{name: "shared with a request", mine: []watches.Kind{watches.Recursive}, shared: true, found: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			var r reg
			mine, other := make(chan event), make(chan event)
			for _, k := range x.mine {
				r.Arm("/x", k, false, mine)
			}
			for _, k := range x.others {
				r.Arm("/x", k, false, other)
			}
			r.Arm("/y", watches.Persistent, false, mine)
			found, asked := r.Disarm("/x", mine, x.shared)
			assert.Assert(t, found == x.found && asked == x.asked, "%t, %t", found, asked)
			var left []watches.Kind
			for k := watches.Data; k <= watches.Recursive; k++ {
				if r.Armed("/x").Has(k) && !slices.Contains(x.others, k) {
					left = append(left, k)
				}
			}
			assert.DeepEqual(t, left, x.left)
			assert.Assert(t, r.Armed("/y").Persistent(), "another path is not touched")
			assert.Equal(t, r.Len(), len(x.left)+len(x.others)+1)
		})
	}
}
