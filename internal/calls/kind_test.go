package calls

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// What the client sends of its own accord takes no slot: it must not wait for the
// application's calls.
func TestOwnKinds(t *testing.T) {
	for i, k := range []*Kind{&KindAuth, &KindSASL, &kindSetWatches, &KindClose, &kindRereadData, &kindRereadChild, &kindRereadPersistent, &kindRewatch} {
		assert.Assert(t, k.Own, "%d", i)
	}
}

// A token is the caller's, and not part of the reader's buffer.
func TestToken(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		c := r.New(&KindSASL, "sasl", "")
		c.Frame(wire.OpSASL, wire.SASLRequest{Token: []byte{}})
		w := r.send(bg, c)
		q := r.next()
		d := wire.NewDecoder(reply(q.xid, 1, 0, wire.SASLResponse{Token: []byte("token")})[4+16:])
		rest := d.Rest()
		var res Result
		KindSASL.Decode(&res, &d)
		clear(rest)
		assert.Equal(t, string(res.Data), "token")
		r.serve(reply(q.xid, 1, 0, wire.SASLResponse{Token: []byte("token")}))
		r.done(w, "")
		assert.Equal(t, string(c.Data), "token")
	})
}
