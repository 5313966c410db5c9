//go:build !linux || mips || mipsle || mips64 || mips64le

package zktest

import (
	"net"
	"net/netip"
)

// port is a TCP port of loopback. Here it listens all the time, as no other
// process must get it: who is down accepts connections, and closes them.
type port struct {
	addr     string
	listener net.Listener
	opened   bool
}

func takePort(addr netip.AddrPort) (*port, error) {
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	return &port{addr: l.Addr().String(), listener: l}, nil
}

// open returns a listener to accept from, or nil if that is done already.
func (p *port) open() (net.Listener, error) {
	if p.opened {
		return nil, nil
	}
	p.opened = true
	return p.listener, nil
}

func (p *port) shut()    {}
func (p *port) release() { p.listener.Close() }
