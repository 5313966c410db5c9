package liveness

import (
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

const timeout = 12 * time.Second

var epoch = time.Unix(1000, 0)

func at(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

func started() *Monitor {
	m := new(Monitor)
	m.Begin(epoch)
	m.Start(timeout, epoch)
	return m
}

// A connection on which nothing is written is pinged each third of the timeout, and
// is dead two thirds after the last byte, to the moment.
func TestPingAndDeath(t *testing.T) {
	m := started()
	now := 0.0
	var pings []float64
	for {
		ping, next, err := m.Look(at(now), false)
		if err != nil {
			assert.ErrorContains(t, err, "no byte")
			break
		}
		if ping {
			pings = append(pings, now)
		}
		assert.Assert(t, next > 0 && next <= timeout/6)
		now += next.Seconds()
	}
	assert.DeepEqual(t, pings, []float64{4})
	assert.Equal(t, now, 8.0)

	m = started()
	for now = 0; now < 100; now += 2 {
		m.Received(1)
		ping, _, err := m.Look(at(now), false)
		assert.NilError(t, err)
		assert.Equal(t, ping, now > 0 && int(now)%4 == 0)
	}
	ping, next, err := m.Look(at(103), true)
	assert.NilError(t, err)
	assert.Assert(t, !ping && next == 2*time.Second)
}

// What is written needs no ping. A write that is stuck is death, by its size.
func TestStuckWrite(t *testing.T) {
	m := started()
	const size = 32 << 10 // two seconds more
	m.WriteBegins(0, size, at(1))
	for now := 1.0; ; now++ {
		m.Received(1)
		ping, _, err := m.Look(at(now), false)
		if err != nil {
			assert.ErrorContains(t, err, "a write of 32768 bytes")
			assert.Equal(t, now, 1+12+2.0)
			break
		}
		assert.Equal(t, ping, now == 5 || now == 9 || now == 13)
	}
	m = started()
	m.WriteBegins(0, size, at(1))
	m.WriteEnds()
	m.Received(1)
	_, _, err := m.Look(at(7), false)
	assert.NilError(t, err)
	m.Received(1)
	_, _, err = m.Look(at(14), false)
	assert.NilError(t, err)
}

// A frame that has begun must come at a least rate.
func TestSlowFrame(t *testing.T) {
	m := started()
	m.Received(1)
	m.FrameWaits(4, at(1))
	m.FrameWaits(16<<10, at(3)) // its length is known now
	for now := 1.0; ; now++ {
		m.Received(1)
		_, _, err := m.Look(at(now), false)
		if err != nil {
			assert.Assert(t, strings.Contains(err.Error(), "16384 bytes") && now == 14, "%v: %v", now, err)
			break
		}
	}
	m.FrameCame()
	m.Received(1)
	_, _, err := m.Look(at(15), false)
	assert.NilError(t, err)
}

// A server has heard of the session when it answers: at the time when what it answers
// was sent, and no later.
func TestHeard(t *testing.T) {
	m := started()
	assert.Equal(t, m.Heard(), epoch)
	assert.Assert(t, !m.Tells(0))
	m.WriteBegins(40, 10, at(1))
	m.WriteBegins(50, 10, at(2))
	m.WriteBegins(60, 10, at(3))
	assert.Assert(t, !m.Tells(39) && m.Tells(40))
	m.Answered(45)
	assert.Equal(t, m.Heard(), at(1))
	assert.Assert(t, !m.Tells(49) && m.Tells(50))
	m.Answered(65)
	assert.Equal(t, m.Heard(), at(3))
	assert.Assert(t, !m.Tells(1<<40))

	// With very many writes, frames of the last are heard at the one before or later.
	for i := range 100 {
		m.WriteBegins(100+int64(i), 1, at(10+float64(i)))
	}
	m.Answered(150)
	assert.Assert(t, !m.Heard().After(at(60)))
	m.Answered(199)
	assert.Equal(t, m.Heard(), at(109))

	// A pong may be that of the oldest ping.
	m = started()
	ping, _, _ := m.Look(at(4), false)
	assert.Assert(t, ping)
	m.Received(1)
	ping, _, _ = m.Look(at(8-0.001), false)
	assert.Assert(t, !ping)
	m.Received(1)
	ping, _, _ = m.Look(at(8), false)
	assert.Assert(t, ping)
	m.Pong(at(5))
	assert.Equal(t, m.Heard(), at(4))
	m.Pong(at(5))
	m.Pong(at(5)) // nobody asked
	assert.Equal(t, m.Heard(), at(4))
}

// The time of a frame is that of its write, as far as the writes are told apart.
func TestSentAt(t *testing.T) {
	m := started()
	sent := func(off int64) float64 { return m.SentAt(off).Sub(epoch).Seconds() }
	m.WriteBegins(0, 20, at(1)) // two frames of 10
	m.WriteBegins(20, 10, at(2))
	assert.DeepEqual(t, []float64{sent(0), sent(10), sent(20), sent(30)}, []float64{1, 1, 2, 2})
	m.Answered(0)
	assert.DeepEqual(t, []float64{sent(10), sent(20)}, []float64{1, 2})
	m.pingsOut, m.pingAt = 1, at(5)
	m.Pong(at(5)) // says nothing of requests
	assert.DeepEqual(t, []float64{sent(10), sent(20)}, []float64{1, 2})
	m.Answered(20)
	for i := range 3 * maxMarks {
		m.WriteBegins(int64(30+i), 1, at(float64(10+i)))
	}
	assert.Equal(t, sent(30), 10.0)
	for i := range 3 * maxMarks {
		assert.Assert(t, sent(int64(30+i)) <= float64(10+i))
	}
	assert.Equal(t, sent(30+3*maxMarks), float64(10+3*maxMarks-1))
}
