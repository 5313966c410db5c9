// Package modes is the arithmetic of create modes: a flag of the protocol, and with it
// the time of a TTL.
package modes

import (
	"fmt"
	"strconv"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// Mode has the flag in its lowest bits, and the time in milliseconds above.
type Mode int64

const flagBits = 3

// TTL returns the mode of a flag with a time, which is rounded up to 1 ms.
func TTL(flag int32, d time.Duration) Mode {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return Mode(ms<<flagBits | int64(flag))
}

// Flag returns the flag of the protocol.
func (m Mode) Flag() int32 { return int32(m & (1<<flagBits - 1)) }

// TTL returns the time in milliseconds.
func (m Mode) TTL() int64 { return int64(m >> flagBits) }

// Sequential reports whether the server appends a number to the path.
func (m Mode) Sequential() bool {
	switch m.Flag() {
	case wire.FlagPersistentSequential, wire.FlagEphemeralSequential, wire.FlagPersistentSequentialTTL:
		return true
	}
	return false
}

// String names the mode.
func (m Mode) String() string {
	switch m.Flag() {
	case wire.FlagPersistent:
		return "persistent"
	case wire.FlagEphemeral:
		return "ephemeral"
	case wire.FlagPersistentSequential:
		return "persistent sequential"
	case wire.FlagEphemeralSequential:
		return "ephemeral sequential"
	case wire.FlagContainer:
		return "container"
	case wire.FlagPersistentTTL:
		return fmt.Sprintf("TTL %d ms", m.TTL())
	case wire.FlagPersistentSequentialTTL:
		return fmt.Sprintf("sequential TTL %d ms", m.TTL())
	}
	return "Mode(" + strconv.FormatInt(int64(m), 10) + ")"
}

// Op returns the type of the request that creates the mode, or what is wrong with it.
// stat: with a Stat in the reply.
func (m Mode) Op(stat bool) (op wire.Op, problem string) {
	switch f := m.Flag(); {
	case f == wire.FlagPersistentTTL || f == wire.FlagPersistentSequentialTTL:
		if m.TTL() <= 0 || m.TTL() > wire.MaxTTL {
			return 0, fmt.Sprintf("TTL of %d ms is not in 1..%d", m.TTL(), wire.MaxTTL)
		}
		return wire.OpCreateTTL, ""
	case f > wire.FlagContainer || m.TTL() != 0:
		return 0, "unknown mode " + strconv.FormatInt(int64(m), 10)
	case f == wire.FlagContainer:
		return wire.OpCreateContainer, ""
	}
	if stat {
		return wire.OpCreate2, ""
	}
	return wire.OpCreate, ""
}
