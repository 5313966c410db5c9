package place

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestFloor(t *testing.T) {
	var p Place
	p.Move(5)
	assert.Equal(t, p.Floor(9), int64(5))
	p.Settle()
	assert.Equal(t, p.Floor(9), int64(9))
	p.Stop(12, false)
	assert.Equal(t, p.Floor(20), int64(12), "it stands still where the connection ended")
	p.Stop(15, false)
	assert.Equal(t, p.Floor(20), int64(12), "a connection that restored nothing has seen nothing")
}

func TestGap(t *testing.T) {
	var p Place
	p.Settle()
	p.Stop(10, true)
	assert.Assert(t, !p.Restored(10, true), "nothing has happened meanwhile")
	p.Settle()
	assert.Assert(t, !p.TakeGap())

	p.Stop(10, true)
	p.Restore(nil)
	assert.Assert(t, p.Restored(11, true))
	assert.Assert(t, p.TakeGap() && !p.TakeGap())
	assert.Assert(t, p.Restored(11, true) && !p.TakeGap(), "nothing between the frames")
	assert.Assert(t, p.Restored(12, false) && !p.TakeGap(), "it rearms none")
	assert.Assert(t, p.Restored(13, true) && p.TakeGap(), "one may have come ahead of a change")
	p.Restore(nil)
	assert.Assert(t, p.Restored(20, true) && !p.TakeGap(), "the first frame of a connection")

	for _, zxid := range []int64{-1, 0, 9} { // which say nothing
		p = Place{}
		p.Move(10)
		p.Stop(10, true)
		p.Restore(nil)
		assert.Assert(t, p.Restored(zxid, true) && p.TakeGap(), "zxid %d", zxid)
		assert.Assert(t, p.Restored(zxid, true) && p.TakeGap(), "zxid %d: what came between the frames", zxid)
	}
}

// Persistent watches that are deaf to a change get a Gap, wherever the floor is.
func TestDeaf(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(p *Place)
		gap  bool
	}{
		{"none", func(*Place) {}, false},
		{"deaf", func(p *Place) { p.Tell(9, false) }, true},
		{"nothing missed", func(p *Place) { p.Tell(10, false) }, false},
		{"since long ago", func(p *Place) { p.Tell(10, true) }, true},
		{"heard", func(p *Place) { p.Tell(9, false); p.Heard() }, false},
		{"heard once of two", func(p *Place) { p.Tell(9, false); p.Tell(10, false); p.Heard() }, true},
		{"since before another", func(p *Place) { p.Tell(10, false); p.Tell(9, false) }, true},
		{"heard once of two, one since long ago", func(p *Place) { p.Tell(10, true); p.Tell(10, false); p.Heard() }, true},
		{"heard of long ago", func(p *Place) { p.Tell(10, true); p.Heard(); p.Tell(10, false) }, false},
		{"heard too often", func(p *Place) { p.Heard(); p.Tell(9, false) }, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			var p Place
			p.Settle()
			x.do(&p)
			assert.Equal(t, p.Mark(10, true).Fresh, x.gap)
			p.Stop(10, true)
			assert.Equal(t, p.Restored(10, true), x.gap)
			p.Settle()
			p.Stop(10, true)
			assert.Assert(t, !p.Restored(10, true), "once")
		})
	}
}

func TestDeafChildren(t *testing.T) {
	var p Place
	all := func(string) bool { return true }
	p.ChildDeaf("/a", 7)
	p.ChildDeaf("/a", 9)
	p.ChildDeaf("/b", 8)
	p.ChildDeaf("/b", 6)
	assert.DeepEqual(t, p.Restore(all), Children{"/a": 7, "/b": 6})
	p.ChildHears("/b")
	assert.DeepEqual(t, p.Restore(all), Children{"/a": 7})
	p.Restore(all)["/a"] = 1 // a copy
	assert.DeepEqual(t, p.Restore(all), Children{"/a": 7})
	assert.Equal(t, len(p.Restore(func(string) bool { return false })), 0)
	assert.Equal(t, len(p.Restore(all)), 0, "a watch that is gone is not deaf any more")
}

func TestMark(t *testing.T) {
	var p, q Place
	p.Settle()
	p.ChildDeaf("/a", 7)
	m := p.Mark(10, true)
	assert.DeepEqual(t, m, Mark{Floor: 10, Gap: true, Deaf: Children{"/a": 7}})
	q.Take(m)
	assert.Equal(t, q.Floor(20), int64(10))
	assert.DeepEqual(t, q.Mark(20, false), m)

	q.OweGap(true)
	assert.Assert(t, q.Mark(20, false).Fresh)
	q.OweGap(false)
	assert.Assert(t, !q.TakeGap())
}
