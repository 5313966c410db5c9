//go:build !(mips || mipsle || mips64 || mips64le)

package zktest

import (
	"context"
	"errors"
	"net"
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

// takePort takes a free port.
func takePort() (*port, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p := &port{fd: fd}
	err = errors.Join(reusePort(fd), syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err == nil {
		var sa syscall.Sockaddr
		if sa, err = syscall.Getsockname(fd); err == nil {
			in := sa.(*syscall.SockaddrInet4)
			p.addr = (&net.TCPAddr{IP: in.Addr[:], Port: in.Port}).String()
		}
	}
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return p, nil
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
