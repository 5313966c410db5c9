// Lock runs two processes that take turns under one lock. It kills them, or
// stops them for longer than their sessions live, again and again, preferably
// the one that has the lock. They write to a ledger under the lock, with the
// token of the holder. At the end the ledger shows whether two ever wrote at the
// same time.
//
//	go run ./examples/lock                            three servers in this process
//	go run ./examples/lock -addrs h1:2181,h2:2181     your own
//
// The part to copy is worker.go. This file starts the workers, and kills and
// stops them.
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
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

const (
	workers      = 2
	linesPerTurn = 3
	linePause    = 20 * time.Millisecond
	timeout      = 2 * time.Second // of the sessions
)

type options struct {
	Addrs  string
	Root   string
	Number int // of the worker; 0: not one of them
	For    time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.Addrs, "addrs", "", "servers of one ensemble, `h1:p,h2:p`; none: three in this process")
	flag.DurationVar(&o.For, "for", 15*time.Second, "how long to go on")
	flag.IntVar(&o.Number, "worker", 0, "be worker `n`; for the program itself")
	flag.StringVar(&o.Root, "root", "", "where its znodes are; for the program itself")
	flag.Parse()
	if flag.NArg() > 0 || o.For <= 0 || o.Number < 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := job(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

func job(ctx context.Context, o options) error {
	if o.Number == 0 {
		return run(ctx, os.Stdout, o)
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		io.Copy(io.Discard, os.Stdin) // closed when this is to end, or whoever started it is dead
		cancel()
	}()
	w := worker{number: o.Number, root: o.Root, out: os.Stdout}
	err := w.run(ctx, config(o.Addrs))
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func config(addrs string) zk.Config {
	return zk.Config{Addrs: strings.Split(addrs, ","), Timeout: timeout}
}

// run starts the workers, strikes them, and checks the ledger.
func run(ctx context.Context, out io.Writer, o options) error {
	if o.Addrs == "" {
		e, err := zktest.StartEnsemble(3, zktest.Options{FrameLog: -1})
		if err != nil {
			return err
		}
		defer e.Close()
		o.Addrs = strings.Join(e.Addrs(), ",")
	}
	s, err := zk.Dial(ctx, config(o.Addrs))
	if err != nil {
		return err
	}
	if o.Root, err = s.Create(ctx, "/example-lock-", nil, zk.PersistentSequential, zk.ACLOpen); err != nil {
		return err
	}
	if _, err = s.Create(ctx, o.Root+"/ledger", nil, zk.Persistent, zk.ACLOpen); err != nil {
		return err
	}
	s.Close()
	d := director{options: o, out: out, holder: make(chan int, 100)}
	if err := d.direct(ctx); err != nil {
		return err
	}
	return d.check(ctx)
}

// director starts the workers and strikes them.
type director struct {
	options
	holder  chan int // who says that it holds the lock
	strikes int

	mu      sync.Mutex // guards all below
	out     io.Writer
	refused int
}

func (d *director) printf(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format, args...)
}

// process is a worker that runs.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	read  chan struct{} // closed at the end of its output
}

func (d *director) start(n int) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(exe, "-addrs", d.Addrs, "-root", d.Root, "-worker", fmt.Sprint(n)), read: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	d.printf("worker %d is process %d\n", n, p.cmd.Process.Pid)
	go func() {
		defer close(p.read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			d.heard(n, lines.Text())
		}
	}()
	return p, nil
}

// heard takes what a worker says.
func (d *director) heard(n int, line string) {
	d.printf("worker %d: %s\n", n, line)
	if strings.HasPrefix(line, "refused") {
		d.mu.Lock()
		d.refused++
		d.mu.Unlock()
		return
	}
	select {
	case d.holder <- n:
	default:
	}
}

// end waits for a process that was killed or asked to end.
func (p *process) end() error {
	<-p.read
	return p.cmd.Wait()
}

// direct strikes the one that holds the lock, by turns with SIGKILL and with a
// SIGSTOP that outlasts its session.
func (d *director) direct(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.For)
	defer cancel()
	var running [workers + 1]*process
	defer func() {
		for _, p := range running {
			if p != nil {
				p.cmd.Process.Kill()
			}
		}
	}()
	for n := 1; n <= workers; n++ {
		p, err := d.start(n)
		if err != nil {
			return err
		}
		running[n] = p
	}
	for d.rest(ctx, rand.N(time.Second)) {
		n := 0
		for len(d.holder) > 0 {
			<-d.holder // of long ago
		}
		select {
		case n = <-d.holder:
		case <-ctx.Done():
			continue
		}
		p := running[n]
		if d.strikes++; d.strikes%2 == 1 && canStop {
			d.printf("worker %d is stopped\n", n)
			if err := stop(p.cmd.Process); err != nil {
				return err
			}
			d.rest(context.Background(), timeout*2)
			d.printf("worker %d goes on\n", n)
			if err := resume(p.cmd.Process); err != nil {
				return err
			}
			continue
		}
		d.printf("worker %d is killed\n", n)
		p.cmd.Process.Kill()
		p.end()
		p, err := d.start(n)
		if err != nil {
			return err
		}
		running[n] = p
	}
	var failed error
	for n := range running {
		if p := running[n]; p != nil {
			p.stdin.Close()
			failed = errors.Join(failed, p.end())
			running[n] = nil
		}
	}
	return failed
}

func (d *director) rest(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// check reads the ledger in the order in which its lines were written. Once a
// token is there, no smaller one may follow.
func (d *director) check(ctx context.Context) error {
	s, err := zk.Dial(ctx, config(d.Addrs))
	if err != nil {
		return err
	}
	defer s.Close()
	names, _, err := s.Children(ctx, d.Root+"/ledger", nil)
	if err != nil {
		return err
	}
	slices.Sort(names)
	var last int64
	turns, overlaps := 0, 0
	for _, name := range names {
		data, _, err := s.Get(ctx, d.Root+"/ledger/"+name, nil)
		if err != nil {
			return err
		}
		var token int64
		var n int
		if _, err := fmt.Sscan(string(data), &token, &n); err != nil {
			return fmt.Errorf("%s: %q: %w", name, data, err)
		}
		switch {
		case token > last:
			turns++
			last = token
		case token < last:
			overlaps++
			d.printf("%s: worker %d wrote with token 0x%x after 0x%x\n", name, n, token, last)
		}
	}
	if overlaps > 0 || turns == 0 {
		return fmt.Errorf("%d turns, %d overlaps", turns, overlaps)
	}
	d.printf("%d strikes, %d writes refused to who had lost the lock\n", d.strikes, d.refused)
	d.printf("ok: %d turns, 0 overlaps\n", turns)
	return nil
}
