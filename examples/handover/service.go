package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk"
)

// This file is the part to copy: how a process takes a session over from the one
// before it, and hands it to the next.

// baton is what a process hands to the next one: the State of the session, and
// what the application itself has to remember. The State holds the session's
// password, so it travels over a pipe: command lines and environments can be
// read by others.
type baton struct {
	State  zk.State
	Unread []string  // nodes whose events were taken, and not acted on
	Left   time.Time // when the connection was left
}

// process is one process of the service. It reads each node when its watch fires.
type process struct {
	options
	out    io.Writer
	exe    string // to be replaced by
	conf   zk.Config
	events chan zk.Event // room for one is enough: the others wait in the State
	unread []string      // nodes without a watch
}

func nodes(root string) []string {
	paths := make([]string, numNodes)
	for i := range paths {
		paths[i] = fmt.Sprintf("%s/node-%02d", root, i)
	}
	return paths
}

func hereNode(root string) string { return root + "/here" } // ephemeral
func stopNode(root string) string { return root + "/stop" } // ends the service

// Why work returns, other than for an error of the session.
var (
	errStop = errors.New("the service is to stop")
	errTime = errors.New("a new process is to follow")
)

// serve is one process of the service, from its begin to its end.
func serve(ctx context.Context, out io.Writer, o options) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.Processes)*o.Each+grace)
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	p := &process{options: o, out: out, exe: exe, events: make(chan zk.Event, 1)}
	if p.conf, err = zk.ParseConfig(o.Addrs); err != nil {
		return err
	}
	p.conf.Timeout = timeout
	if o.Number == 1 {
		return p.first(ctx)
	}
	return p.next(ctx, os.Stdin, os.NewFile(3, "ready"))
}

// first begins a new session.
func (p *process) first(ctx context.Context) error {
	s, err := p.dial(ctx)
	if err != nil {
		return err
	}
	if _, err := s.Create(ctx, hereNode(p.Root), nil, zk.Ephemeral, zk.ACLOpen); err != nil {
		return err
	}
	if _, _, err := s.Exists(ctx, stopNode(p.Root), p.events); err != nil {
		return err
	}
	p.unread = nodes(p.Root)
	p.say(s, "pid %d begins session 0x%x", os.Getpid(), uint64(s.ID()))
	return p.run(ctx, s)
}

// next takes the session over from the process before, and tells it so.
func (p *process) next(ctx context.Context, from io.Reader, ready io.WriteCloser) error {
	var b baton
	if err := json.NewDecoder(from).Decode(&b); err != nil {
		return err
	}
	p.conf.State, p.unread = b.State, b.Unread
	armed, undelivered := b.State.Watches.Len(), b.State.Watches.Undelivered()
	// Watches have come without their channels. Here all get the same one.
	if err := b.State.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return p.events }); err != nil {
		return err
	}
	s, err := p.dial(ctx)
	if err != nil {
		return err
	}
	p.say(s, "pid %d has the session, %d watches, %d undelivered events and %d unread; nobody was connected for %v",
		os.Getpid(), armed, undelivered, len(b.Unread), time.Since(b.Left).Round(time.Millisecond))
	if _, err := io.WriteString(ready, "ready"); err != nil {
		return err
	}
	ready.Close()
	return p.run(ctx, s)
}

// dial goes on with p.conf as soon as one of the servers takes it.
func (p *process) dial(ctx context.Context) (*zk.Session, error) {
	for {
		s, err := zk.Dial(ctx, p.conf)
		switch {
		case err == nil:
			// The last event of the old connection may have told of a change that
			// this server has not heard of yet. Sync waits until it has.
			if err = s.Sync(ctx, p.Root); err == nil {
				return s, nil
			}
			p.conf = s.Detach()
			if !errors.Is(err, zk.ErrConnection) || zk.Hopeless(err) {
				return nil, err
			}
		case !errors.Is(err, zk.ErrNoServer) || ctx.Err() != nil:
			return nil, err
		}
		// Who reads this may have gone too; then so does this process.
		if _, err := fmt.Fprintln(p.out, "waiting"); err != nil {
			return nil, err
		}
		select {
		case <-time.After(20*time.Millisecond + rand.N(50*time.Millisecond)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// run works until the service stops or another process has taken over.
func (p *process) run(ctx context.Context, s *zk.Session) error {
	turn := time.After(p.Each) // in real life, a signal
	if p.Number == p.Processes {
		turn = nil
	}
	for {
		err := p.work(ctx, s, turn)
		switch {
		case errors.Is(err, errStop):
			fmt.Fprintln(p.out, "end")
			return s.Close()
		case errors.Is(err, errTime):
			p.conf = s.Detach()
			if err := p.handOver(ctx); err == nil {
				return nil
			} else if ctx.Err() != nil {
				return err
			} else {
				// Whatever the other process did: the session is still ours to dial.
				p.say(s, "goes on itself: %v", err)
				turn = time.After(p.Each)
			}
		case errors.Is(err, zk.ErrConnection) && !zk.Hopeless(err):
			p.conf = s.Detach()
		default:
			s.Close()
			return err
		}
		if s, err = p.dial(ctx); err != nil {
			return err
		}
	}
}

// work reads nodes and waits for them to change.
func (p *process) work(ctx context.Context, s *zk.Session, turn <-chan time.Time) error {
	for {
		for len(p.unread) > 0 {
			path := p.unread[0]
			if path == stopNode(p.Root) {
				return errStop
			}
			_, stat, err := s.Get(ctx, path, p.events)
			if err != nil {
				return err // no watch was armed: the node stays unread
			}
			p.unread = p.unread[1:]
			if _, err := fmt.Fprintln(p.out, "seen", path, stat.Version); err != nil {
				return err
			}
			time.Sleep(effort)
		}
		select {
		case ev := <-p.events:
			p.unread = append(p.unread, ev.Path)
		case <-s.Done():
			return s.Err()
		case <-turn:
			return errTime
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// handOver starts a process that goes on with p.conf, which no Session uses any
// more, and returns when it has the session.
func (p *process) handOver(ctx context.Context) error {
	// What is in a channel has been delivered: it is the application's, and not
	// in the State.
	for len(p.events) > 0 {
		ev := <-p.events
		p.unread = append(p.unread, ev.Path)
	}
	text, err := json.Marshal(baton{State: p.conf.State, Unread: p.unread, Left: time.Now()})
	if err != nil {
		return err
	}
	ready, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	o := p.options
	o.Number++
	cmd := exec.Command(p.exe, o.args()...) // it outlives this process
	cmd.Stdin = strings.NewReader(string(text))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{report} // its file 3
	err = cmd.Start()
	report.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	word, _ := io.ReadAll(ready) // until it has said so, or has ended
	if string(word) != "ready" {
		cmd.Process.Kill()
		return fmt.Errorf("the new process did not take over: %v", cmd.Wait())
	}
	return nil
}

// say tells what the process does.
func (p *process) say(s *zk.Session, format string, a ...any) {
	fmt.Fprintf(p.out, "process %d %d: %s\n", p.Number, s.ID(), fmt.Sprintf(format, a...))
}
