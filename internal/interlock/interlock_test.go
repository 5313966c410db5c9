package interlock

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/watches"
)

func kinds(list ...watches.Kind) (set watches.Kinds) {
	for _, k := range list {
		set |= 1 << k
	}
	return set
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAdding(t *testing.T) {
	var l Interlock
	assert.Assert(t, l.Idle() && l.Adding("/a") == nil && !l.Busy("/a"))
	l.Added("/a") // of an interlock that was emptied meanwhile
	l.Add("/a", watches.Persistent, 0)
	l.AddAgain("/a", Addition{Tells: watches.Recursive})
	wait := l.Adding("/a")
	assert.Assert(t, wait != nil && l.Busy("/a") && !l.Idle() && l.Adding("/b") == nil)
	l.Added("/a")
	assert.Assert(t, !closed(wait) && l.Busy("/a"))
	l.Added("/a")
	assert.Assert(t, closed(wait) && !l.Busy("/a") && l.Idle())
}

func TestAddAsksForTheMode(t *testing.T) {
	for _, test := range []struct {
		kind  watches.Kind
		armed watches.Kinds
		tells watches.Kind
	}{
		{watches.Persistent, 0, watches.Persistent},
		{watches.Recursive, 0, watches.Recursive},
		{watches.Persistent, kinds(watches.Persistent), watches.Persistent},
		// A second channel of a kind that is armed beside a recursive watch changes nothing.
		{watches.Persistent, kinds(watches.Persistent, watches.Recursive), watches.Recursive},
		// The server has to hear of a kind that is new.
		{watches.Persistent, kinds(watches.Recursive), watches.Persistent},
		{watches.Recursive, kinds(watches.Persistent), watches.Recursive},
	} {
		var l Interlock
		assert.Equal(t, l.Add("/a", test.kind, test.armed).Tells, test.tells, "%+v", test)
	}
}

func TestArmAndRemove(t *testing.T) {
	var l Interlock
	assert.Assert(t, l.Arm("/a", watches.Data, 0))
	assert.Assert(t, l.Busy("/a"))
	l.Armed("/a")
	assert.Assert(t, !l.Busy("/a") && len(l.arming) == 0)

	assert.Assert(t, !l.Arm("/a", watches.Data, kinds(watches.Persistent)), "the persistent watch reports it")
	assert.Assert(t, l.Arm("/a", watches.Child, kinds(watches.Recursive)), "a recursive watch has no Child")
	l.Remove("/a")
	assert.Assert(t, l.Arm("/a", watches.Data, kinds(watches.Persistent)), "it may be gone when the request arrives")
	l.Removed("/a")
	assert.Equal(t, len(l.removing), 0)
	assert.Equal(t, l.arming["/a"], 3)
}

func TestAfter(t *testing.T) {
	told := func(kind watches.Kind) Addition { return Addition{Tells: kind} }
	recursive, persistent := told(watches.Recursive), told(watches.Persistent)
	deaf := Addition{Tells: watches.Persistent, Gap: true}
	for name, test := range map[string]struct {
		told  Addition
		armed watches.Kinds
		want  Repair
	}{
		"alone":                     {persistent, kinds(watches.Persistent), Repair{}},
		"recursive alone":           {recursive, kinds(watches.Recursive), Repair{}},
		"persistent over recursive": {persistent, kinds(watches.Persistent, watches.Recursive), Repair{Tell: &Addition{Tells: watches.Recursive, Since: 7}}},
		"recursive over child":      {recursive, kinds(watches.Recursive, watches.Child), Repair{Child: true}},
		"persistent beside child":   {persistent, kinds(watches.Persistent, watches.Child), Repair{}},
		"recursive given up":        {recursive, kinds(watches.Persistent), Repair{Tell: &deaf}},
		"recursive removed":         {recursive, kinds(watches.Persistent, watches.Child), Repair{Child: true, Tell: &deaf}},
		"all given up":              {recursive, 0, Repair{}},
		"again, nothing happened":   {Addition{Tells: watches.Recursive, Again: true, Since: 7}, kinds(watches.Recursive), Repair{}},
		"again, something happened": {Addition{Tells: watches.Recursive, Again: true, Since: 6}, kinds(watches.Recursive), Repair{Gap: true}},
		"again, deaf":               {Addition{Tells: watches.Persistent, Again: true, Gap: true}, kinds(watches.Persistent), Repair{Gap: true}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.DeepEqual(t, test.told.After(test.armed, 7), test.want)
		})
	}
	again := Addition{Tells: watches.Recursive, Again: true, Since: 7}
	for _, zxid := range []int64{6, 0, -1} { // which do not show that nothing happened
		assert.DeepEqual(t, again.After(kinds(watches.Recursive), zxid), Repair{Gap: true})
	}
	again.Since = -1
	assert.DeepEqual(t, again.After(kinds(watches.Recursive), -1), Repair{Gap: true})
}

func TestAfterRemoval(t *testing.T) {
	var l Interlock
	assert.DeepEqual(t, l.AfterRemoval("/a", kinds(watches.Persistent)), &Addition{Tells: watches.Persistent, Gap: true})
	assert.Assert(t, l.AfterRemoval("/a", kinds(watches.Persistent, watches.Recursive)) == nil)
	assert.Assert(t, l.AfterRemoval("/a", kinds(watches.Data)) == nil)
	l.Add("/a", watches.Persistent, 0)
	assert.Assert(t, l.AfterRemoval("/a", kinds(watches.Persistent)) == nil, "the answer does it")
}
