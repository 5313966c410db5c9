package compare

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	theirs "github.com/go-zookeeper/zk"
	"gotest.tools/v3/assert"

	ours "github.com/seed-9f8420c6/zk/gozk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// client is what the scripts need of both.
type client struct {
	get     func(path string) error
	set     func(path string) error
	getW    func(path string) error
	childW  func(path string) error
	existsW func(path string) error
	create  func(path string) error
	auth    func(scheme, credential string) error
	id      func() int64
	close   func()
}

// stage is where a script plays, on a fake clock and without a network.
type stage struct {
	client
	servers *zktest.Ensemble

	mu   sync.Mutex // guards what follows
	dial func(addr string) (net.Conn, error)
	told []string
	errs []string
}

// say records an event of the callback.
func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// note records how a call ended.
func (s *stage) note(call string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, fmt.Sprint(call, ": ", err))
}

// through sets how to connect; nil: to the servers.
func (s *stage) through(dial func(addr string) (net.Conn, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dial = dial
}

func (s *stage) dialer(_, addr string, timeout time.Duration) (net.Conn, error) {
	s.mu.Lock()
	dial := s.dial
	s.mu.Unlock()
	if dial != nil {
		return dial(addr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.servers.DialContext(ctx, "tcp", addr)
}

// inOrder is a HostProvider without chance.
type inOrder struct {
	list       []string
	curr, last int
}

func (h *inOrder) Init(list []string) error {
	h.list, h.curr, h.last = slices.Sorted(slices.Values(list)), -1, -1
	return nil
}
func (h *inOrder) Len() int { return len(h.list) }
func (h *inOrder) Next() (string, bool) {
	h.curr = (h.curr + 1) % len(h.list)
	around := h.curr == h.last
	if h.last == -1 {
		h.last = 0
	}
	return h.list[h.curr], around
}
func (h *inOrder) Connected() { h.last = h.curr }

const scriptTimeout = 6 * time.Second

func (s *stage) connectTheirs() {
	c, _, err := theirs.Connect(s.servers.Addrs(), scriptTimeout, theirs.WithLogger(silent{}), theirs.WithDialer(s.dialer),
		theirs.WithHostProvider(new(inOrder)), theirs.WithEventCallback(func(ev theirs.Event) {
			s.say("%v %v %s %v", ev.Type, ev.State, ev.Path, orNothing(ev.Err))
		}))
	if err != nil {
		panic(err)
	}
	s.client = client{
		get:     func(p string) error { _, _, err := c.Get(p); return err },
		set:     func(p string) error { _, err := c.Set(p, nil, -1); return err },
		getW:    func(p string) error { _, _, _, err := c.GetW(p); return err },
		childW:  func(p string) error { _, _, _, err := c.ChildrenW(p); return err },
		existsW: func(p string) error { _, _, _, err := c.ExistsW(p); return err },
		create:  func(p string) error { _, err := c.Create(p, nil, 0, theirs.WorldACL(theirs.PermAll)); return err },
		auth:    func(scheme, cred string) error { return c.AddAuth(scheme, []byte(cred)) },
		id:      c.SessionID, close: c.Close,
	}
}

func (s *stage) connectOurs() {
	c, _, err := ours.Connect(s.servers.Addrs(), scriptTimeout, ours.WithLogger(silent{}), ours.WithDialer(s.dialer),
		ours.WithHostProvider(new(inOrder)), ours.WithEventCallback(func(ev ours.Event) {
			s.say("%v %v %s %v", ev.Type, ev.State, ev.Path, orNothing(ev.Err))
		}))
	if err != nil {
		panic(err)
	}
	s.client = client{
		get:     func(p string) error { _, _, err := c.Get(p); return err },
		set:     func(p string) error { _, err := c.Set(p, nil, -1); return err },
		getW:    func(p string) error { _, _, _, err := c.GetW(p); return err },
		childW:  func(p string) error { _, _, _, err := c.ChildrenW(p); return err },
		existsW: func(p string) error { _, _, _, err := c.ExistsW(p); return err },
		create:  func(p string) error { _, err := c.Create(p, nil, 0, ours.WorldACL(ours.PermAll)); return err },
		auth:    func(scheme, cred string) error { return c.AddAuth(scheme, []byte(cred)) },
		id:      c.SessionID, close: c.Close,
	}
}

func orNothing(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// wait lets all that can happen at this time happen, and then some time pass.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func refuse(string) (net.Conn, error) { return nil, errors.New("refused") }

// silentConn is a connection to nobody who answers.
func silentConn(string) (net.Conn, error) {
	c, _ := zktest.Pipe()
	return c, nil
}

// hangUp is a server without a quorum.
func hangUp(string) (net.Conn, error) {
	c, other := zktest.Pipe()
	go func() {
		other.Read(make([]byte, 1000))
		other.Close()
	}()
	return c, nil
}

// script is a situation. differs says how the events of gozk may differ.
type script struct {
	name    string
	servers int
	prepare func(servers *zktest.Ensemble)
	dial    func(addr string) (net.Conn, error) // at first; nil: to the servers
	play    func(s *stage)
	differs func(theirs []string) []string
	// timing: the clients wait for different times, so that one may have begun what the other has not.
	timing bool
}

var scripts = []script{
	{name: "connect and close", play: func(s *stage) { s.note("get", s.get("/")); s.close() }},
	{name: "cut", play: func(s *stage) {
		s.note("get", s.get("/"))
		s.servers.CutAll()
		wait(5 * time.Second)
		s.note("get", s.get("/"))
		s.close()
	}},
	{name: "refused, then there", dial: refuse, play: func(s *stage) {
		wait(2500 * time.Millisecond)
		s.through(nil)
		wait(5 * time.Second)
		s.note("get", s.get("/"))
		s.close()
	}},
	{name: "no server", dial: refuse, play: func(s *stage) {
		wait(500 * time.Millisecond) // in the pause
		s.note("get", s.get("/"))
		s.close()
	}},
	{name: "expired", play: func(s *stage) {
		s.note("get", s.get("/"))
		s.servers.Expire(s.id())
		wait(10 * time.Second)
		s.note("get", s.get("/"))
		s.close()
	}},
	{name: "expired with watches", play: func(s *stage) {
		s.note("getW", s.getW("/zookeeper"))
		s.note("getW", s.getW("/zookeeper"))
		s.servers.Expire(s.id())
		wait(10 * time.Second)
		s.close()
	}},
	{name: "credentials refused", play: func(s *stage) {
		s.note("get", s.get("/"))
		s.note("auth", s.auth("nosuchscheme", "x"))
		wait(5 * time.Second)
		s.note("get", s.get("/"))
		s.close()
	}, differs: func(list []string) []string {
		// gozk says what go-zookeeper never does.
		at := slices.Index(list, "EventSession StateDisconnected")
		return slices.Insert(list, at, "EventSession StateAuthFailed")
	}},
	{name: "close with watches", play: func(s *stage) {
		s.note("getW", s.getW("/zookeeper"))
		s.note("existsW", s.existsW("/zookeeper")) // of the same kind
		s.close()
	}},
	{name: "watches fire", play: func(s *stage) {
		s.note("create", s.create("/a"))
		s.note("getW", s.getW("/a"))
		s.note("getW", s.getW("/a"))
		s.note("childW", s.childW("/a"))
		s.note("existsW", s.existsW("/b"))
		s.note("set", s.set("/a"))
		s.note("create", s.create("/a/c"))
		s.note("create", s.create("/b"))
		s.note("set", s.set("/a"))
		s.close()
	}},
	{name: "watches fire after a cut", play: func(s *stage) {
		s.note("create", s.create("/a"))
		s.note("getW", s.getW("/a"))
		s.servers.CutAll()
		wait(5 * time.Second)
		s.note("set", s.set("/a"))
		s.close()
	}},
	{name: "one server of three", servers: 3, prepare: func(servers *zktest.Ensemble) {
		servers.Member(0).Refuse(true)
		servers.Member(1).Refuse(true)
	}, play: func(s *stage) {
		wait(5 * time.Second)
		s.note("get", s.get("/"))
		s.close()
	}},
	{name: "the server of three that it is on stops", servers: 3, play: func(s *stage) {
		s.note("get", s.get("/"))
		s.servers.Member(0).Stop()
		wait(5 * time.Second)
		s.note("get", s.get("/"))
		s.close()
	}},
	{name: "silent server", timing: true, dial: silentConn, play: func(s *stage) {
		wait(100 * time.Second)
		s.through(nil)
		wait(60 * time.Second)
		s.note("get", s.get("/"))
		s.close()
	}, differs: collapse},
	{name: "hangs up", timing: true, dial: hangUp, play: func(s *stage) {
		wait(2500 * time.Millisecond)
		s.through(nil)
		wait(10 * time.Second)
		s.note("get", s.get("/"))
		s.close()
	}, differs: collapse},
	{name: "close while nobody answers", play: func(s *stage) {
		s.note("get", s.get("/"))
		s.servers.Stall(s.id())
		s.close()
	}},
}

// collapse leaves one of several equal rounds of connecting in vain.
func collapse(list []string) []string {
	round := []string{"EventSession StateConnecting", "EventSession StateConnected", "EventSession StateDisconnected"}
	var out []string
	for len(list) > 0 {
		out = append(out, list[0])
		list = list[1:]
		for n := len(out); n >= 6 && slices.Equal(out[n-3:], round) && slices.Equal(out[n-6:n-3], round); n = len(out) {
			out = out[:n-3]
		}
	}
	return out
}

func record(t *testing.T, script script, connect func(s *stage)) (told, errs []string) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{servers: zktest.NewEnsemble(t, max(script.servers, 1), zktest.Options{InMemory: true})}
		if script.prepare != nil {
			script.prepare(s.servers)
		}
		s.through(script.dial)
		connect(s)
		script.play(s)
		wait(time.Minute)
		told, errs = s.told, s.errs
	})
	return told, errs
}

// Both clients report the same in the same situations, except for what is listed.
func TestStates(t *testing.T) {
	if unraced(t) {
		return
	}
	for _, script := range scripts {
		t.Run(script.name, func(t *testing.T) {
			their, theirErrs := record(t, script, (*stage).connectTheirs)
			our, ourErrs := record(t, script, (*stage).connectOurs)
			want := their
			if script.differs != nil {
				want = script.differs(slices.Clone(their))
			}
			if script.timing {
				our = script.differs(our)
			}
			t.Log(strings.Join(their, "; "), theirErrs)
			assert.DeepEqual(t, our, want)
			assert.DeepEqual(t, ourErrs, theirErrs)
		})
	}
}
