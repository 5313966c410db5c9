package data

import (
	"fmt"
	"slices"
	"testing"

	"gotest.tools/v3/assert"
)

// The orders are those of a HashSet of Java 17 that began with 8 buckets.
func TestNameSet(t *testing.T) {
	var none *nameSet
	assert.Equal(t, none.len(), 0)
	assert.Equal(t, len(slices.Collect(none.all())), 0)
	assert.Assert(t, none.clone() == nil)
	none.remove("x")

	s := &nameSet{}
	s.remove("x")
	for _, name := range []string{"config", "quota", "x"} {
		s.add(name)
	}
	assert.DeepEqual(t, slices.Collect(s.all()), []string{"x", "config", "quota"})
	s.remove("none")
	s.remove("x")
	s.add("x")
	assert.DeepEqual(t, slices.Collect(s.all()), []string{"x", "config", "quota"})

	// Names with the same hash keep their order, also while the table grows.
	s = &nameSet{}
	var same []string
	for i := range 10 {
		name := ""
		for bit := range 4 {
			name += []string{"Aa", "BB"}[i>>bit&1]
		}
		s.add(name)
		same = append(same, name)
	}
	assert.DeepEqual(t, slices.Collect(s.all()), same)
	assert.Equal(t, len(s.buckets), largeTable)

	// A clone is a set of its own, in the same order.
	c := s.clone()
	assert.DeepEqual(t, slices.Collect(c.all()), same)
	for i := range 200 {
		c.add(fmt.Sprint(i))
	}
	for i := range 200 {
		c.remove(fmt.Sprint(i))
	}
	for _, name := range same[1:] {
		c.remove(name)
	}
	assert.DeepEqual(t, slices.Collect(c.all()), same[:1])
	assert.DeepEqual(t, slices.Collect(s.all()), same)
	assert.Equal(t, c.len()+s.len(), 11)
}
