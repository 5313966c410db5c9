package host

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Ticker wakes a goroutine in equal steps of much less than a millisecond, for which
// the timers of the runtime are too coarse where it has nothing else to do: the
// system's timer wakes it as a packet would.
type Ticker struct{ file *os.File }

// NewTicker returns a Ticker that begins at the moment that it returns.
func NewTicker(step time.Duration) (*Ticker, time.Time, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, time.Time{}, err
	}
	each := unix.NsecToTimespec(step.Nanoseconds())
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: each, Value: each}, nil); err != nil {
		unix.Close(fd)
		return nil, time.Time{}, err
	}
	return &Ticker{os.NewFile(uintptr(fd), "timer")}, time.Now(), nil
}

// Next waits for the next step and returns how many are over since the call before.
func (t *Ticker) Next() (int, error) {
	var b [8]byte
	if _, err := t.file.Read(b[:]); err != nil {
		return 0, err
	}
	return int(binary.NativeEndian.Uint64(b[:])), nil
}

// Close ends it.
func (t *Ticker) Close() { t.file.Close() }
