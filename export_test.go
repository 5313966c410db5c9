package zk

import "net"

// ShrinkSetWatches makes SetWatches frames as short as n bytes until the
// returned function is called.
func ShrinkSetWatches(n int) (restore func()) {
	old := setWatchesLimit
	setWatchesLimit = n
	return func() { setWatchesLimit = old }
}

// ShrinkPersistentQueue bounds the undelivered events of persistent watches by
// n until the returned function is called.
func ShrinkPersistentQueue(n int) (restore func()) {
	old := maxPersistentQueue
	maxPersistentQueue = n
	return func() { maxPersistentQueue = old }
}

// Conn returns the connection of a Session, as DialContext made it.
func (s *Session) Conn() net.Conn { return s.conn }
