package pipeline

import (
	"reflect"
	"testing"

	"gotest.tools/v3/assert"
)

// A large frame is not copied, unless its Call needs it again: the client's own use one buffer
// for several, and a batch counts the bytes of its frames when it fails.
func TestLarge(t *testing.T) {
	lent, _ := lending("lent", largeFrame)
	own, made := request("own", largeFrame), request("made before", largeFrame)
	own.Own, made.Made = true, true
	for _, x := range []struct {
		c     *Call
		large bool
	}{
		{request("small", largeFrame-13), false}, {request("large", largeFrame-12), true}, {lent, true},
		{own, false}, {made, false}, {request("batch", largeFrame, largeFrame), false},
	} {
		assert.Equal(t, x.c.Large(), x.large, x.c.Owner)
	}
}

// A Call that is used again has nothing of the request before, whether that was Made or not.
func TestReset(t *testing.T) {
	for _, made := range []bool{false, true} {
		c := new(Call)
		c.Init("call")
		c.Own, c.Made, c.stays, c.batch = true, made, true, new(Batch)
		c.Abandon()
		if !made { // which has these
			c.Frames = make([]byte, 20)
			c.off, c.cut, c.lent, c.whole, c.loan, c.oversized = 1, 1, []byte{1}, []byte{1}, new(loan), 1
		}
		c.Reset()
		assert.Equal(t, len(c.Frames), 0)
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			switch name := v.Type().Field(i).Name; name {
			case "Frames", "Owner", "Label", "done": // kept, or given by who uses it
			default:
				assert.Assert(t, v.Field(i).IsZero(), "%s, %t", name, made)
			}
		}
	}
}
