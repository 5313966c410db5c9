package zk

// What go-zookeeper's tests need of the inside, for gozk.

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

// cut ends the connection of a Conn behind its back: another one takes its session.
func cut(c *Conn) {
	l, err := c.wait(context.Background())
	if err != nil {
		panic(err)
	}
	for {
		s, err := takeSession(l)
		if err == nil {
			s.Detach()
		}
		select {
		case <-l.s.Done(): // also when it was quicker to take the session back
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// takeSession moves the session of a Conn to a connection of its own.
func takeSession(l *link) (*root.Session, error) {
	conf := l.s.Config()
	return root.Dial(context.Background(), root.Config{
		Addrs: conf.Addrs, Timeout: conf.Timeout,
		State: root.State{ID: conf.ID, Password: conf.Password, Zxid: conf.Zxid},
	})
}

// latch is a HostProvider that waits.
type latch struct {
	HostProvider
	open chan struct{}
}

func (l *latch) Next() (string, bool) {
	<-l.open
	return l.HostProvider.Next()
}

func holdBack(c *Conn) {
	c.wait(context.Background()) // or it would hold the first connection back
	WithHostProvider(&latch{c.settings.Load().hosts, make(chan struct{})})(c)
}

func letGo(c *Conn) { close(c.settings.Load().hosts.(*latch).open) }

// endSession ends the session behind the client's back.
func endSession(t *testing.T, c *Conn) {
	l, err := c.wait(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	holdBack(c) // or it would take the session back
	defer letGo(c)
	s, err := takeSession(l)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func parseCreateMode(flag int32) (mode struct{ flag int32 }, err error) {
	mode.flag = flag
	return mode, checkFlags(flag, "/")
}

// parseSeq asks whether a lock sees the name as a contender's, and returns the number in it.
func parseSeq(name string) (int, error) {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		return 0, err
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := root.Dial(ctx, root.Config{Addrs: server.Addrs()})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for _, p := range []string{"/l", "/l/" + name} {
		if _, err := s.Create(ctx, p, nil, root.Persistent, root.ACLOpen); err != nil {
			return 0, err
		}
	}
	list, err := (&recipe.Lock{Path: "/l"}).Contenders(ctx, s)
	if err != nil || len(list) != 1 {
		return 0, fmt.Errorf("contenders %v: %v", list, err)
	}
	at := strings.LastIndexAny(strings.TrimRight(name, "0123456789"), "-_") + 1
	if name[at-1] == '-' && name[at-2] == '-' {
		at--
	}
	return strconv.Atoi(name[at:])
}

// freePorts returns the first of 16 ports that are free.
func freePorts() int {
	for {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		all := []net.Listener{first}
		for i := 1; i < 16; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if err != nil {
				break
			}
			all = append(all, l)
		}
		for _, l := range all {
			l.Close()
		}
		if len(all) == 16 {
			return port
		}
	}
}
