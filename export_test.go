package zk

import "net"

// Conn returns the connection of a Session, as DialContext made it.
func (s *Session) Conn() net.Conn { return s.conn }
