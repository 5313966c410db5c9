// Package answers reads what many operations are answered at once, with no more memory
// than was asked for.
package answers

import (
	"strconv"

	"github.com/seed-9f8420c6/zk/wire"
)

// Each reads the results of a multi or multiRead, whose operations have results of the
// wanted types. It calls f for each as it is read, and reports whether all were
// there and no more: else d has the error. A server may answer a create2 as a create.
func Each(d *wire.Decoder, want []wire.Op, f func(i int, x *wire.MultiResult)) bool {
	var x wire.MultiResult
	n := 0
	for ; x.Next(d); n++ {
		if n == len(want) {
			d.Fail("more results than the " + strconv.Itoa(n) + " operations")
			return false
		}
		got := x.Op
		if got == wire.OpCreate {
			got = wire.OpCreate2
		}
		if got != want[n] && got != wire.OpError {
			d.Fail("a result of " + x.Op.String() + " for a " + want[n].String())
			return false
		}
		f(n, &x)
	}
	if d.Err() == nil && n < len(want) {
		d.Fail(strconv.Itoa(n) + " results for " + strconv.Itoa(len(want)) + " operations")
	}
	return d.Err() == nil
}

// block is what small pieces of data share at most.
const block = 64 << 10

// Arena keeps the data of many replies: small pieces share blocks, so that a reply costs
// no allocation. Its zero value is empty.
type Arena struct {
	block []byte
}

// Keep returns data of the decoder's frame as the caller's own: null as nil, and empty
// as not nil. of: how many pieces like it may come, itself included.
func (a *Arena) Keep(d *wire.Decoder, data []byte, of int) []byte {
	n := len(data)
	switch {
	case data == nil:
		return nil
	case n == 0:
		return []byte{}
	case n > block/4:
		return d.Keep(data)
	case n > cap(a.block)-len(a.block):
		a.block = make([]byte, 0, min(block, max(n*of, n)))
	}
	at := len(a.block)
	a.block = append(a.block, data...)
	return a.block[at:len(a.block):len(a.block)]
}
