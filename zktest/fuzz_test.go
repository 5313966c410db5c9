package zktest

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// TestGarbage throws mutated frames at a server that another session uses.
func TestGarbage(t *testing.T) {
	e := NewEnsemble(t, 2, Options{InMemory: true})
	good := dial(t, e, 0)
	good.create("/good", nil, wire.FlagEphemeral)
	rng := newGenerator(1, V39)
	deadline := time.Now().Add(500 * time.Millisecond)
	for i := 0; time.Now().Before(deadline); i++ {
		bad := dial(t, e, i%2)
		for range 20 {
			st := rng.request(0)
			if st.request == nil || st.op == wire.OpCloseSession {
				continue
			}
			frame := wire.BeginFrame(nil)
			frame = wire.RequestHeader{Xid: 1, Op: st.op}.Append(frame)
			for _, r := range st.request(&peer{sessions: []*client{bad, bad, bad}}) {
				frame = r.Append(frame)
			}
			wire.EndFrame(frame, 0)
			for range rng.IntN(4) {
				frame[rng.IntN(len(frame))] = byte(rng.Uint32())
			}
			bad.nc.Write(frame[:rng.IntN(len(frame)+1)])
		}
		bad.nc.Close()
		good.ping()
	}
	s, code := good.stat("/good")
	assert.Equal(t, code, int32(0))
	assert.Equal(t, s.EphemeralOwner, good.id)
}
