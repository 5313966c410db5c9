// Package liveness decides when a connection is pinged, when it is dead, and until
// when a server has surely heard of the session. It has no clock, no timer and no
// lock: it is told the time, and its owner calls it under a lock of its own, but for
// what the reader says without.
package liveness

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk/internal/fifo"
)

// The rules, as shares of the session timeout.
const (
	pingAfter = 3 // nothing was written for a third: ping
	checkEach = 6 // it looks at least six times
	deadNum   = 2 // no byte for two thirds: dead
	deadDen   = 3
)

// minRate is how fast a frame must come or go, once begun, beyond the time of one
// timeout: bytes per second.
const minRate = 16 << 10

// maxMarks is how many writes are told apart.
const maxMarks = 16

// mark is a write: frames at and behind its place left no earlier than its time.
type mark struct {
	off int64
	at  time.Time
}

// Monitor watches over one connection.
type Monitor struct {
	timeout time.Duration
	began   time.Time

	wroteAt   time.Time // begin of the last write, or ping queued
	writeAt   time.Time // begin of the write at work, and its size
	writeSize int
	seenAt    time.Time // when the last look found new bytes
	seenBytes int64
	heard     time.Time        // send time of the last answered request
	marks     fifo.Queue[mark] // writes that no answer tells of yet, oldest first
	told      time.Time        // when the last write left that an answer has told of
	pingAt    time.Time        // send time of the oldest unanswered ping
	pingsOut  int

	// The reader's, without the lock.

	received atomic.Int64
	probe    atomic.Int64 // place of the oldest mark; MaxInt64: none
	frameAt  atomic.Int64 // when the reader began to wait for the rest of a frame, in ns since began; 0: it does not
	frameLen atomic.Int64
}

// Begin is called before the first byte is sent.
func (m *Monitor) Begin(now time.Time) {
	m.began, m.heard, m.told = now, now, now
	m.probe.Store(math.MaxInt64)
}

// Start begins the watch, when the session is accepted with its timeout. It returns
// when to Look first.
func (m *Monitor) Start(timeout time.Duration, now time.Time) time.Duration {
	m.timeout = timeout
	m.wroteAt, m.seenAt = now, now
	m.seenBytes = m.received.Load()
	return timeout / checkEach
}

// WriteBegins notes a write of so many bytes, of which the first is at a place.
func (m *Monitor) WriteBegins(off int64, size int, now time.Time) {
	m.wroteAt, m.writeAt, m.writeSize = now, now, size
	switch n := m.marks.Len(); {
	case n == 0:
		m.probe.Store(off)
		m.marks.Push(mark{off, now})
	case n < maxMarks:
		m.marks.Push(mark{off, now})
	default: // the frames of the newest are then heard at the one before
		*m.marks.Last() = mark{off, now}
	}
}

// WriteEnds notes that it has left.
func (m *Monitor) WriteEnds() { m.writeSize = 0 }

// Tells reports whether an answer to the frame at a place says more of what a server
// has heard. The reader calls it, without the lock.
func (m *Monitor) Tells(off int64) bool { return off >= m.probe.Load() }

// Answered notes that the frame at a place was answered.
func (m *Monitor) Answered(off int64) {
	for m.marks.Len() > 0 && m.marks.Head().off <= off {
		m.told = m.marks.Head().at
		m.hear(m.told)
		m.marks.Drop()
	}
	next := int64(math.MaxInt64)
	if m.marks.Len() > 0 {
		next = m.marks.Head().off
	}
	m.probe.Store(next)
}

// Pong notes the answer to the oldest ping. It returns how long that took; of several
// pings that wait it is taken from the oldest. Negative: there was none.
func (m *Monitor) Pong(now time.Time) time.Duration {
	if m.pingsOut == 0 {
		return -1
	}
	m.pingsOut--
	m.hear(m.pingAt)
	return now.Sub(m.pingAt)
}

// dead is why a connection is dead: a timeout, for who asks as of a net.Error.
type dead string

func (d dead) Error() string { return string(d) }
func (dead) Timeout() bool   { return true }

func (m *Monitor) hear(sent time.Time) {
	if sent.After(m.heard) {
		m.heard = sent
	}
}

// Heard returns the send time of the last request that was answered.
func (m *Monitor) Heard() time.Time { return m.heard }

// SentAt returns when the frame at a place was written, if no answer to a later one has
// come. Where many writes wait for answers, it is a time before that; and of a frame that
// is not written yet, the time of the last write.
func (m *Monitor) SentAt(off int64) time.Time {
	at := m.told
	for _, k := range m.marks.Items() {
		if k.off > off {
			break
		}
		at = k.at
	}
	return at
}

// Received counts bytes. The reader calls it, without the lock.
func (m *Monitor) Received(n int) { m.received.Add(int64(n)) }

// Bytes returns how many were received.
func (m *Monitor) Bytes() int64 { return m.received.Load() }

// FrameWaits notes that the rest of a frame, of so many bytes as far as known, has to
// come. The reader calls it, without the lock.
func (m *Monitor) FrameWaits(size int, now time.Time) {
	if m.frameAt.Load() == 0 {
		m.frameAt.Store(int64(max(1, now.Sub(m.began))))
	}
	m.frameLen.Store(int64(size))
}

// FrameCame notes that it has. The reader calls it, without the lock.
func (m *Monitor) FrameCame() { m.frameAt.Store(0) }

// Look says whether a ping is due, which is then to be sent, and when to look again;
// or why the connection is dead. With pingsOff there are no pings.
func (m *Monitor) Look(now time.Time, pingsOff bool) (ping bool, next time.Duration, dead error) {
	if n := m.received.Load(); n != m.seenBytes {
		m.seenBytes, m.seenAt = n, now
	}
	due, err := m.due(now)
	if err != nil {
		return false, 0, err
	}
	ping = !pingsOff && now.Sub(m.wroteAt) >= m.timeout/pingAfter
	if ping {
		if m.pingsOut == 0 {
			m.pingAt = now
		}
		m.pingsOut++
		m.wroteAt = now
	}
	next = min(m.timeout/checkEach, due)
	if !pingsOff {
		next = min(next, m.wroteAt.Add(m.timeout/pingAfter).Sub(now))
	}
	return ping, next, nil
}

// due returns how long the connection may go on as it is, or why it is dead: silent,
// or stuck in a frame or a write.
func (m *Monitor) due(now time.Time) (time.Duration, error) {
	due := m.seenAt.Add(m.timeout * deadNum / deadDen).Sub(now)
	if due <= 0 {
		return 0, dead(fmt.Sprintf("no byte came for two thirds of the timeout of %v", m.timeout))
	}
	slow := func(begun time.Time, size int) time.Duration {
		left := begun.Add(m.timeout + time.Duration(size)*time.Second/minRate).Sub(now)
		due = min(due, left)
		return left
	}
	if at, size := m.frameAt.Load(), int(m.frameLen.Load()); at != 0 && slow(m.began.Add(time.Duration(at)), size) <= 0 {
		return 0, dead(fmt.Sprintf("a frame of %d bytes comes too slowly", size))
	}
	if m.writeSize > 0 && slow(m.writeAt, m.writeSize) <= 0 {
		return 0, dead(fmt.Sprintf("a write of %d bytes is not taken", m.writeSize))
	}
	return due, nil
}
