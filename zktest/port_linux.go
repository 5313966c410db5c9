//go:build !(mips || mipsle || mips64 || mips64le)

package zktest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// port is a TCP port of loopback that stays taken while nobody listens on it:
// a second socket is bound to it, which never listens. Connections are refused
// then, as by a server that is down, and no other process gets the port.
type port struct {
	fd       int
	addr     string
	listener net.Listener // nil: nobody listens
}

const soReusePort = 0xf // SO_REUSEPORT, which package syscall lacks for some architectures

func reusePort(fd int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1)
}

func reuseAddr(fd, on int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, on)
}

// takePort takes the port of a loopback address, or a free one where that is 0.
func takePort(addr netip.AddrPort) (*port, error) {
	family := syscall.AF_INET
	var local syscall.Sockaddr = &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(addr.Port())}
	if ip := addr.Addr(); ip.Is4() {
		local.(*syscall.SockaddrInet4).Addr = ip.As4()
	} else {
		family, local = syscall.AF_INET6, &syscall.SockaddrInet6{Addr: ip.As16(), Port: int(addr.Port())}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p := &port{fd: fd}
	// Connections of an earlier server on the port may still linger, but nobody
	// else may have it now or later. So it can be shared only once it is taken.
	err = errors.Join(reuseAddr(fd, 1), syscall.Bind(fd, local), reuseAddr(fd, 0), reusePort(fd))
	if err == nil {
		p.addr, err = boundTo(fd)
	}
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return p, nil
}

// boundTo returns the address of a socket, host:port.
func boundTo(fd int) (string, error) {
	local, err := syscall.Getsockname(fd)
	if err != nil {
		return "", err
	}
	switch local := local.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(local.Addr), uint16(local.Port)).String(), nil
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(local.Addr), uint16(local.Port)).String(), nil
	}
	return "", syscall.EAFNOSUPPORT
}

// open listens. It returns a listener to accept from.
func (p *port) open() (net.Listener, error) {
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctl := c.Control(func(fd uintptr) { err = reusePort(int(fd)) })
		return errors.Join(ctl, err)
	}}
	l, err := conf.Listen(context.Background(), "tcp", p.addr)
	p.listener = l
	return l, err
}

// shut ends listening, until the next open.
func (p *port) shut() {
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}

// release gives the port up.
func (p *port) release() {
	p.shut()
	syscall.Close(p.fd)
}
