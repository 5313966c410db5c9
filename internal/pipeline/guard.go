package pipeline

import (
	"net"

	"github.com/seed-9f8420c6/zk/internal/rescue"
)

// Guard is a connection of the application's, laid over another. A panic in it becomes
// an error, which ends the connection: a caller that unwound in the middle of a Write
// would leave nobody to write, and answers that nobody takes.
type Guard struct{ net.Conn }

// NetConn returns the application's connection.
func (g Guard) NetConn() net.Conn { return g.Conn }

// Read reads.
func (g Guard) Read(b []byte) (n int, err error) {
	defer rescue.As("Read of Config.Wrap's connection", &err)
	return g.Conn.Read(b)
}

// Write writes. After a panic all of it may have left.
func (g Guard) Write(b []byte) (n int, err error) {
	n = len(b)
	defer rescue.As("Write of Config.Wrap's connection", &err)
	return g.Conn.Write(b)
}

// Close closes.
func (g Guard) Close() (err error) {
	defer rescue.As("Close of Config.Wrap's connection", &err)
	return g.Conn.Close()
}
