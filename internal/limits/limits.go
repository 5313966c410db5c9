// Package limits has the bounds that tests lower, so that they reach them with
// little. Programs cannot import it. Nothing changes them while a Session lives.
package limits

var (
	// SetWatchesFrame is the largest SetWatches frame in bytes, with its length
	// prefix. A path too long for it has a frame of its own.
	SetWatchesFrame = 128 << 10

	// PersistentQueue bounds the undelivered events of persistent watches.
	PersistentQueue = 65536

	// OneShotQueue is how many events of one-shot watches may be undelivered, beyond
	// the watches that were armed when the oldest of them fired, before no more
	// watches are armed.
	OneShotQueue = 65536
)
