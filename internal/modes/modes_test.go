package modes

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

func TestModes(t *testing.T) {
	for _, x := range []struct {
		mode        Mode
		op          wire.Op
		sequential  bool
		text, wrong string
	}{
		{0, wire.OpCreate, false, "persistent", ""},
		{1, wire.OpCreate, false, "ephemeral", ""},
		{2, wire.OpCreate, true, "persistent sequential", ""},
		{3, wire.OpCreate, true, "ephemeral sequential", ""},
		{4, wire.OpCreateContainer, false, "container", ""},
		{TTL(wire.FlagPersistentTTL, 1500*time.Microsecond), wire.OpCreateTTL, false, "TTL 2 ms", ""},
		{TTL(wire.FlagPersistentSequentialTTL, time.Second), wire.OpCreateTTL, true, "sequential TTL 1000 ms", ""},
		{TTL(wire.FlagPersistentTTL, time.Duration(wire.MaxTTL)*time.Millisecond), wire.OpCreateTTL, false, "TTL 1099511627775 ms", ""},
		{TTL(wire.FlagPersistentTTL, time.Duration(wire.MaxTTL+1)*time.Millisecond), 0, false, "TTL 1099511627776 ms", "TTL of 1099511627776 ms is not in 1..1099511627775"},
		{TTL(wire.FlagPersistentTTL, 0), 0, false, "TTL 0 ms", "TTL of 0 ms is not in 1..1099511627775"},
		{TTL(wire.FlagPersistentTTL, -time.Second), 0, false, "TTL -1000 ms", "TTL of -1000 ms is not in 1..1099511627775"},
		{7, 0, false, "Mode(7)", "unknown mode 7"},
		{8, 0, false, "persistent", "unknown mode 8"},
		{-1, 0, false, "Mode(-1)", "unknown mode -1"},
	} {
		t.Run(x.text, func(t *testing.T) {
			op, wrong := x.mode.Op(false)
			assert.Equal(t, op, x.op)
			assert.Equal(t, wrong, x.wrong)
			assert.Equal(t, x.mode.Sequential(), x.sequential)
			assert.Equal(t, x.mode.String(), x.text)
			if op == wire.OpCreate {
				op, _ = x.mode.Op(true)
				assert.Equal(t, op, wire.OpCreate2)
			}
		})
	}
}
