package clients

import (
	"errors"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	samuel "github.com/samuel/go-zookeeper/zk"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// event is a watch event, or with kind expired the end of a session.
type event struct {
	kind int32
	path string
}

const expired int32 = -1

// peer is what the play needs of a Go client.
type peer struct {
	id       func() int64
	create   func(path string, flags int32) (string, error)
	get      func(path string) ([]byte, error)
	set      func(path, data string) error
	exists   func(path string) (bool, error)
	watches  func() ([]<-chan event, error) // data of /app, children of /dir, birth of /later
	multi    func(create, remove string) (made string, err error)
	sessions <-chan event
	close    func()
}

var errNoNode = errors.New("no node")

// conn is a Conn of go-zookeeper, or of what it descends from.
type conn[ACL, Stat, Event any] interface {
	SessionID() int64
	Create(path string, data []byte, flags int32, acl []ACL) (string, error)
	Get(path string) ([]byte, *Stat, error)
	Set(path string, data []byte, version int32) (*Stat, error)
	Exists(path string) (bool, *Stat, error)
	GetW(path string) ([]byte, *Stat, <-chan Event, error)
	ChildrenW(path string) ([]string, *Stat, <-chan Event, error)
	ExistsW(path string) (bool, *Stat, <-chan Event, error)
	Close()
}

// peerOf is a Conn as a peer that makes znodes with an ACL; of is one of its events.
func peerOf[ACL, Stat, Event any](c conn[ACL, Stat, Event], acl []ACL, of func(Event) event) peer {
	as := func(ch <-chan Event) <-chan event {
		return relay(ch, func(ev Event) (event, bool) { return of(ev), true })
	}
	return peer{
		id:     c.SessionID,
		create: func(path string, flags int32) (string, error) { return c.Create(path, nil, flags, acl) },
		get: func(path string) ([]byte, error) {
			data, _, err := c.Get(path)
			return data, err
		},
		set: func(path, data string) error {
			_, err := c.Set(path, []byte(data), -1)
			return err
		},
		exists: func(path string) (bool, error) {
			ok, _, err := c.Exists(path)
			return ok, err
		},
		watches: func() ([]<-chan event, error) {
			_, _, data, err1 := c.GetW("/app")
			_, _, child, err2 := c.ChildrenW("/dir")
			_, _, born, err3 := c.ExistsW("/later")
			return []<-chan event{as(data), as(child), as(born)}, errors.Join(err1, err2, err3)
		},
		close: c.Close,
	}
}

func TestGoZookeeper(t *testing.T) {
	each(t, func(t *testing.T, s *stage) {
		c, states, err := gozk.Connect([]string{s.proxy.Addr()}, 20*time.Second, gozk.WithLogInfo(false), gozk.WithLogger(quiet{}))
		assert.NilError(t, err)
		acl := gozk.WorldACL(gozk.PermAll)
		p := peerOf(c, acl, func(ev gozk.Event) event { return event{int32(ev.Type), ev.Path} })
		p.multi = func(create, remove string) (string, error) {
			results, err := c.Multi(&gozk.CreateRequest{Path: create, Acl: acl},
				&gozk.SetDataRequest{Path: "/app", Data: []byte("multi"), Version: -1}, &gozk.DeleteRequest{Path: remove, Version: -1})
			if errors.Is(err, gozk.ErrNoNode) && errors.Is(results[2].Error, gozk.ErrNoNode) {
				return "", errNoNode
			} else if err != nil {
				return "", err
			}
			return results[0].String, nil
		}
		p.sessions = relay(states, func(ev gozk.Event) (event, bool) { return event{kind: expired}, ev.State == gozk.StateExpired })
		play(t, s, p)
	})
}

func TestSamuel(t *testing.T) {
	each(t, func(t *testing.T, s *stage) {
		c, states, err := samuel.Connect([]string{s.proxy.Addr()}, 20*time.Second, samuel.WithLogInfo(false))
		assert.NilError(t, err)
		c.SetLogger(quiet{})
		acl := samuel.WorldACL(samuel.PermAll)
		p := peerOf(c, acl, func(ev samuel.Event) event { return event{int32(ev.Type), ev.Path} })
		p.multi = func(create, remove string) (string, error) {
			results, err := c.Multi(&samuel.CreateRequest{Path: create, Acl: acl},
				&samuel.SetDataRequest{Path: "/app", Data: []byte("multi"), Version: -1}, &samuel.DeleteRequest{Path: remove, Version: -1})
			if errors.Is(err, samuel.ErrNoNode) && errors.Is(results[2].Error, samuel.ErrNoNode) {
				return "", errNoNode
			} else if err != nil {
				return "", err
			}
			return results[0].String, nil
		}
		p.sessions = relay(states, func(ev samuel.Event) (event, bool) { return event{kind: expired}, ev.State == samuel.StateExpired })
		play(t, s, p)
	})
}

// play is what doc.go says.
func play(t *testing.T, s *stage, p peer) {
	defer p.close()
	for _, path := range []string{"/app", "/dir", "/gone"} {
		_, err := p.create(path, 0)
		assert.NilError(t, err)
	}
	made, err := p.create("/app/n-", wire.FlagEphemeralSequential)
	assert.NilError(t, err)
	assert.Equal(t, made, "/app/n-0000000000")
	id := p.id()

	made, err = p.multi("/made", "/gone")
	assert.NilError(t, err)
	assert.Equal(t, made, "/made")
	_, err = p.multi("/never", "/gone")
	assert.Assert(t, errors.Is(err, errNoNode), "%v", err)
	ok, err := p.exists("/never")
	assert.NilError(t, err)
	assert.Assert(t, !ok, "a multi was not rolled back")

	watches, err := p.watches()
	assert.NilError(t, err)
	assert.NilError(t, p.set("/app", "first"))
	assert.Equal(t, next(t, watches[0]), event{wire.EventNodeDataChanged, "/app"})
	data, err := p.get("/app")
	assert.NilError(t, err)
	assert.Equal(t, string(data), "first")
	_, err = p.create("/dir/first", 0)
	assert.NilError(t, err)
	assert.Equal(t, next(t, watches[1]), event{wire.EventNodeChildrenChanged, "/dir"})
	watches, err = p.watches()
	assert.NilError(t, err)

	s.cut()
	assert.Equal(t, next(t, watches[0]), event{wire.EventNodeDataChanged, "/app"})
	assert.Equal(t, next(t, watches[1]), event{wire.EventNodeChildrenChanged, "/dir"})
	assert.Equal(t, next(t, watches[2]), event{wire.EventNodeCreated, "/later"})
	data, err = p.get("/app")
	assert.NilError(t, err)
	assert.Equal(t, string(data), "while you were away")
	assert.Equal(t, p.id(), id)

	s.expire(id)
	assert.Equal(t, next(t, p.sessions), event{kind: expired})
	s.played(id, true)
}

func next(t *testing.T, events <-chan event) event {
	t.Helper()
	select {
	case ev := <-events:
		return ev
	case <-time.After(patience):
		t.Fatal("no event came")
		return event{}
	}
}

// relay passes on what convert lets through.
func relay[E any](from <-chan E, convert func(E) (event, bool)) <-chan event {
	to := make(chan event, 1000)
	go func() {
		for ev := range from {
			if e, ok := convert(ev); ok {
				to <- e
			}
		}
	}()
	return to
}

// quiet is a logger of the clients.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
