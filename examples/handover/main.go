// Handover is a service that replaces itself by a new process again and again,
// as for an upgrade. Its session moves from process to process with an ephemeral
// znode, the watches, and the undelivered events. A reader of the service's
// output sees every change once, and does not notice which process wrote it.
//
//	go run ./examples/handover                            three servers in the first process
//	go run ./examples/handover -addrs h1:2181,h2:2181     your own
//
// The part to copy is service.go. This file starts the service, changes the
// znodes that it watches, and checks its output.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

const (
	numNodes = 20
	pause    = time.Millisecond // between two changes
	effort   = 3 * pause        // what it takes the service to act on one: it is always behind
	timeout  = 15 * time.Second // of the sessions: longer than a process takes to start
	grace    = 30 * time.Second // for what comes after the time that was asked for
)

// options are what the flags say. All processes of the service get the same,
// but for Number and Root, which the first one is told by who starts it.
type options struct {
	Addrs     string
	Root      string
	Number    int // of the process; 0: not one of the service
	Processes int
	Each      time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.Addrs, "addrs", "", "servers of one ensemble, `h1:p,h2:p`; none: three in this process")
	flag.IntVar(&o.Processes, "processes", 5, "how many processes the service is to be, one after the other")
	flag.DurationVar(&o.Each, "each", time.Second, "how long each of them is to live")
	flag.IntVar(&o.Number, "process", 0, "be process `n` of the service; for the program itself")
	flag.StringVar(&o.Root, "root", "", "where its nodes are; for the program itself")
	flag.Parse()
	if flag.NArg() > 0 || o.Processes < 1 || o.Each <= 0 || o.Number < 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	job := run
	if o.Number > 0 {
		job = serve
	}
	if err := job(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

// args are the flags for a process of the service. There is no secret in them:
// everybody may read the command lines of others.
func (o options) args() []string {
	return []string{
		"-addrs", o.Addrs, "-root", o.Root, "-process", strconv.Itoa(o.Number),
		"-processes", strconv.Itoa(o.Processes), "-each", o.Each.String(),
	}
}

// run starts the service and returns what went wrong.
func run(ctx context.Context, out io.Writer, o options) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(o.Processes)*o.Each+grace, fmt.Errorf("not done %v after the end", grace))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if o.Addrs == "" {
		e, err := zktest.StartEnsemble(3, zktest.Options{MaxSessionTimeout: timeout, FrameLog: -1})
		if err != nil {
			return err
		}
		defer e.Close()
		o.Addrs = strings.Join(e.Addrs(), ",")
	}
	conf, err := zk.ParseConfig(o.Addrs)
	if err != nil {
		return err
	}
	conf.Timeout = timeout
	s, err := zk.Dial(ctx, conf)
	if err != nil {
		return err
	}
	defer s.Close()
	if o.Root, err = s.Create(ctx, "/handover-", nil, zk.PersistentSequential, zk.ACLOpen); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean(s, o.Root)) }()
	for _, path := range nodes(o.Root) {
		if _, err := s.Create(ctx, path, nil, zk.Persistent, zk.ACLOpen); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "servers: %s\n%d nodes below %s change all the time, and one process after the other watches them\n",
		strings.Join(conf.Addrs, " "), numNodes, o.Root)

	stream, end, err := start(ctx, o)
	if err != nil {
		return err
	}
	a := &audience{out: out, o: o, s: s, versions: make(map[string]int32), finish: make(chan struct{})}
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := a.change(ctx); err != nil {
			fail(err)
		}
	}()
	err = a.follow(ctx, stream)
	stream.Close() // what is left of the service ends when it has nobody to write to
	if err != nil {
		fail(err)
	}
	if ended := end(); err == nil {
		err = ended
	}
	<-written
	if err != nil {
		return err
	}
	if err := a.check(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "nodes: the last change of each was seen, and none was seen twice\n")
	fmt.Fprintf(out, "ephemeral: there all the time, of session 0x%x\n", uint64(a.session))
	fmt.Fprintf(out, "ok: %d processes, 1 session, %d changes seen, 0 lost, 0 duplicate\n", a.processes, a.seen)
	return nil
}

// start starts the first process of the service, and returns what it and all
// that come after it write. To end it is to wait for it.
func start(ctx context.Context, o options) (stream *os.File, end func() error, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close() // from here on the service alone has it
	o.Number = 1
	cmd := exec.CommandContext(ctx, exe, o.args()...)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		r.Close()
		return nil, nil, err
	}
	return r, cmd.Wait, nil
}

// audience changes nodes and keeps account of what the service says of them.
type audience struct {
	out    io.Writer
	o      options
	s      *zk.Session
	finish chan struct{} // closed when the writer is to end

	processes int
	seen      int
	versions  map[string]int32 // last seen, by path
	session   int64            // of the service
	gone      chan zk.Event    // gets an event if the service's ephemeral node goes
	ended     bool
}

// change sets nodes until it is told to end, and then tells the service.
func (a *audience) change(ctx context.Context) error {
	paths := nodes(a.o.Root)
	for {
		select {
		case <-time.After(pause):
			if _, err := a.s.Set(ctx, paths[rand.N(numNodes)], nil, zk.AnyVersion); err != nil {
				return err
			}
		case <-a.finish:
			if err := a.s.Sync(ctx, a.o.Root); err != nil {
				return err
			}
			if len(a.gone) > 0 {
				return errors.New("the service's ephemeral node was gone before the service was")
			}
			// The service watches for this node. Events keep their order, so it
			// has heard of all changes when it hears of this.
			_, err := a.s.Create(ctx, stopNode(a.o.Root), nil, zk.Persistent, zk.ACLOpen)
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow reads what the service says to its end.
func (a *audience) follow(ctx context.Context, stream *os.File) error {
	defer context.AfterFunc(ctx, func() { stream.Close() })()
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		if err := a.hear(ctx, lines.Text()); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !a.ended:
		return fmt.Errorf("the service ended with process %d", a.processes)
	}
	return lines.Err()
}

// hear takes one line: "seen PATH VERSION", "process NUMBER SESSION: TEXT",
// "waiting" or "end".
func (a *audience) hear(ctx context.Context, line string) error {
	what, rest, _ := strings.Cut(line, " ")
	switch what {
	case "seen":
		var path string
		var version int32
		if _, err := fmt.Sscan(rest, &path, &version); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		if last, ok := a.versions[path]; ok && version <= last {
			return fmt.Errorf("version %d of %s was seen after version %d", version, path, last)
		}
		a.versions[path] = version
		a.seen++
	case "process":
		var number int
		var session int64
		if _, err := fmt.Sscan(rest, &number, &session); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		_, text, _ := strings.Cut(rest, ": ")
		fmt.Fprintf(a.out, "process %d: %s\n", number, text)
		a.processes = number
		if number == 1 {
			if err := a.observe(ctx, session); err != nil {
				return err
			}
		}
		if session != a.session {
			return fmt.Errorf("process %d has session 0x%x, and the first had 0x%x", number, uint64(session), uint64(a.session))
		}
		if number == a.o.Processes {
			time.AfterFunc(a.o.Each, func() { close(a.finish) })
		}
	case "waiting": // for a server
	case "end":
		a.ended = true
	default:
		fmt.Fprintln(a.out, line)
	}
	return nil
}

// observe watches the service's ephemeral node.
func (a *audience) observe(ctx context.Context, session int64) error {
	a.session, a.gone = session, make(chan zk.Event, 1)
	if err := a.s.Sync(ctx, a.o.Root); err != nil {
		return err
	}
	found, stat, err := a.s.Exists(ctx, hereNode(a.o.Root), a.gone)
	if err == nil && (!found || stat.EphemeralOwner != session) {
		err = fmt.Errorf("the service's ephemeral node is not one of session 0x%x", uint64(session))
	}
	return err
}

// check compares what was seen last with what is there. The service is over,
// and so is its ephemeral node.
func (a *audience) check(ctx context.Context) error {
	for _, path := range nodes(a.o.Root) {
		found, stat, err := a.s.Exists(ctx, path, nil)
		if err != nil {
			return err
		}
		if version, ok := a.versions[path]; !found || !ok || version != stat.Version {
			return fmt.Errorf("lost: %s has version %d, and %d was seen last", path, stat.Version, version)
		}
	}
	found, _, err := a.s.Exists(ctx, hereNode(a.o.Root), nil)
	if err == nil && found {
		err = fmt.Errorf("%s outlives its session", hereNode(a.o.Root))
	}
	return err
}

func clean(s *zk.Session, root string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	names, _, err := s.Children(ctx, root, nil)
	if err != nil {
		return err
	}
	var ops []zk.WriteOp
	for _, name := range names {
		ops = append(ops, zk.DeleteOp{Path: root + "/" + name, Version: zk.AnyVersion})
	}
	_, err = s.Multi(ctx, append(ops, zk.DeleteOp{Path: root, Version: zk.AnyVersion})...)
	return err
}
