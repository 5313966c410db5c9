package zk

import (
	"net"
	"reflect"
)

// Conn returns the connection of a Session, as DialContext made it.
func (s *Session) Conn() net.Conn {
	return *(*net.Conn)(reflect.ValueOf(s.line).Elem().FieldByName("conn").Addr().UnsafePointer())
}
