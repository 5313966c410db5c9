package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gozk "github.com/go-zookeeper/zk"
	samuel "github.com/samuel/go-zookeeper/zk"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/bench/internal/responder"
)

// client is what a workload asks of an implementation. A nil function says that
// the implementation has no such thing.
type client struct {
	get       func(path string) error
	value     func(path string) (size int, err error) // get, and how long the data is
	getCancel func(path string) error                 // with a context that can be cancelled
	set       func(path string, data []byte) error
	children  func(path string) (int, error)
	batch     func(paths []string) func() error // Gets, all at once
	follow    func(path string) error           // takes all events of the path until the end
	followed  func() int64                      // how many these were
	watches   func(n int) watches
	restore   func() (took time.Duration, sent int64, err error) // moves the session to another connection
	redial    func() (took time.Duration, err error)             // lets the server hang up, until the next Get is answered
	close     func()
}

// watches are n one-shot watches at a time.
type watches struct {
	arm  func(i int, path string) error // exists on a missing path if absent was asked for, else get
	wait func()                         // until all have fired
}

// options are the flags that clients see.
type options struct {
	addr    string
	timeout time.Duration
	tls     bool // over the connection, nothing verified
	channel int  // capacity of an event channel
	single  bool // one channel per watch
	absent  bool // watch for creation, by exists
	cancel  bool // set with a context that can be cancelled
}

// trusting is the TLS of the responder's -tls, which nobody can verify; nil: none.
func (o options) trusting() *tls.Config {
	if !o.tls {
		return nil
	}
	return &tls.Config{InsecureSkipVerify: true}
}

// secured lays TLS over a connection, if it was asked for.
func (o options) secured(nc net.Conn) net.Conn {
	if !o.tls {
		return nc
	}
	return tls.Client(nc, o.trusting())
}

var dialers = map[string]func(options) (*client, error){
	"ours":   dialOurs,
	"gozk":   dialGozk,
	"dropin": dialDropin,
	"samuel": dialSamuel,
	"mux":    dialMux,
}

func dialOurs(o options) (*client, error) {
	bg := context.Background()
	s, err := zk.Dial(bg, zk.Config{Addrs: []string{o.addr}, Timeout: o.timeout, TLS: o.trusting()})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(bg)
	setCtx := bg
	if o.cancel {
		setCtx = ctx
	}
	c := &client{
		get: func(path string) error {
			_, _, err := s.Get(bg, path, nil)
			return err
		},
		value: func(path string) (int, error) {
			data, _, err := s.Get(bg, path, nil)
			return len(data), err
		},
		getCancel: func(path string) error {
			_, _, err := s.Get(ctx, path, nil)
			return err
		},
		set: func(path string, data []byte) error {
			_, err := s.Set(setCtx, path, data, -1)
			return err
		},
		children: func(path string) (int, error) {
			names, _, err := s.Children(bg, path, nil)
			return len(names), err
		},
		batch: func(paths []string) func() error {
			ops := make([]zk.Op, len(paths))
			for i, p := range paths {
				ops[i] = zk.GetOp{Path: p}
			}
			return func() error {
				_, err := s.Batch(bg, ops...)
				return err
			}
		},
		close: func() {
			cancel()
			s.Close()
		},
	}
	var events atomic.Int64
	c.follow = func(path string) error {
		ch := make(chan zk.Event, o.channel)
		go func() {
			for range ch {
				events.Add(1)
			}
		}()
		return s.AddWatch(bg, path, zk.WatchPersistent, ch)
	}
	c.followed = events.Load
	c.watches = func(n int) watches {
		all := make(chan zk.Event, o.channel)
		var each []chan zk.Event
		if o.single {
			each = make([]chan zk.Event, n)
		}
		return watches{
			arm: func(i int, path string) error {
				ch := all
				if each != nil {
					ch = make(chan zk.Event, 1)
					each[i] = ch
				}
				if o.absent {
					_, _, err := s.Exists(bg, path, ch)
					return err
				}
				_, _, err := s.Get(bg, path, ch)
				return err
			},
			wait: func() {
				if each != nil {
					for _, ch := range each {
						<-ch
					}
					return
				}
				for range n {
					<-all
				}
			},
		}
	}
	c.restore = func() (time.Duration, int64, error) {
		start := time.Now()
		next, err := s.Redial(bg)
		if err != nil {
			return 0, 0, err
		}
		took := time.Since(start)
		s = next
		return took, s.Stats().BytesSent, nil
	}
	c.redial = func() (time.Duration, error) {
		return firstAnswer(func() error { return c.get(responder.Cut) }, func() error {
			next, err := s.Redial(bg)
			if err != nil {
				return err
			}
			s = next
			return c.get(node)
		})
	}
	return c, nil
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

// counted is a connection that counts what is written and can be cut.
type counted struct {
	net.Conn
	sent *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

func dialGozk(o options) (*client, error) {
	var sent atomic.Int64
	var mu sync.Mutex
	var current net.Conn
	dial := func(network, addr string, timeout time.Duration) (net.Conn, error) {
		nc, err := net.DialTimeout(network, addr, timeout)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		current = nc
		mu.Unlock()
		if o.absent { // only a restore is counted, so that other workloads do not pay for it
			return counted{nc, &sent}, nil
		}
		return o.secured(nc), nil
	}
	s, events, err := gozk.Connect([]string{o.addr}, o.timeout, gozk.WithLogInfo(false), gozk.WithLogger(quiet{}), gozk.WithDialer(dial))
	if err != nil {
		return nil, err
	}
	up, err := begun(events, func(ev gozk.Event) bool { return ev.State == gozk.StateHasSession })
	if err != nil {
		return nil, err
	}
	var armed atomic.Int64 // bytes of watched paths
	c := clientOf(s, o)
	watching := c.watches
	c.watches = func(n int) watches {
		all := watching(n)
		arm := all.arm
		all.arm = func(i int, path string) error {
			armed.Add(int64(len(path)) + 4)
			return arm(i, path)
		}
		return all
	}
	c.restore = func() (time.Duration, int64, error) {
		before := sent.Load()
		mu.Lock()
		nc := current
		mu.Unlock()
		start := time.Now()
		nc.Close()
		if err := await(up); err != nil {
			return 0, 0, err
		}
		// It tells nobody when its watches are back: that is when they have been sent
		// and a later request is answered.
		for sent.Load()-before < armed.Load() {
			time.Sleep(100 * time.Microsecond)
		}
		if _, _, err := s.Exists("/"); err != nil {
			return 0, 0, err
		}
		return time.Since(start), sent.Load() - before, nil
	}
	c.redial = func() (time.Duration, error) {
		return firstAnswer(func() error { return c.get(responder.Cut) }, func() error { return c.get(node) })
	}
	return c, nil
}

// begun returns a channel that says when there is a session again. It waits for the
// first one.
func begun[Event any](events <-chan Event, begins func(Event) bool) (up <-chan struct{}, err error) {
	again := make(chan struct{}, 16)
	go func() {
		for ev := range events {
			if begins(ev) {
				again <- struct{}{}
			}
		}
	}()
	return again, await(again)
}

func await(up <-chan struct{}) error {
	select {
	case <-up:
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("no session within 20 s")
	}
}

func dialSamuel(o options) (*client, error) {
	s, events, err := samuel.Connect([]string{o.addr}, o.timeout, samuel.WithLogInfo(false))
	if err != nil {
		return nil, err
	}
	s.SetLogger(quiet{})
	if _, err := begun(events, func(ev samuel.Event) bool { return ev.State == samuel.StateHasSession }); err != nil {
		return nil, err
	}
	return clientOf(s, o), nil
}

// samuelConn is a Conn of go-zookeeper, or of what has its API.
type samuelConn[Stat, Event any] interface {
	Get(path string) ([]byte, *Stat, error)
	Set(path string, data []byte, version int32) (*Stat, error)
	Children(path string) ([]string, *Stat, error)
	GetW(path string) ([]byte, *Stat, <-chan Event, error)
	ExistsW(path string) (bool, *Stat, <-chan Event, error)
	Close()
}

func clientOf[Stat, Event any](s samuelConn[Stat, Event], o options) *client {
	c := &client{
		get: func(path string) error {
			_, _, err := s.Get(path)
			return err
		},
		value: func(path string) (int, error) {
			data, _, err := s.Get(path)
			return len(data), err
		},
		set: func(path string, data []byte) error {
			_, err := s.Set(path, data, -1)
			return err
		},
		children: func(path string) (int, error) {
			names, _, err := s.Children(path)
			return len(names), err
		},
		follow:   func(string) error { return nil }, // knows no persistent watches; the events come and are dropped
		followed: func() int64 { return 0 },
		close:    s.Close,
	}
	c.watches = func(n int) watches {
		chs := make([]<-chan Event, n)
		return watches{
			arm: func(i int, path string) error {
				var err error
				if o.absent {
					_, _, chs[i], err = s.ExistsW(path)
				} else {
					_, _, chs[i], err = s.GetW(path)
				}
				return err
			},
			wait: func() {
				for _, ch := range chs {
					<-ch
				}
			},
		}
	}
	return c
}
