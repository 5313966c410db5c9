package peers

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/bench/internal/responder"
	"github.com/seed-9f8420c6/zk/bench/internal/result"
	"github.com/seed-9f8420c6/zk/wire"
)

// requests are those of a client: how many there were of an operation, and whether
// so many were on the wire at a time.
type requests struct {
	net.Listener
	op     wire.Op
	window int // no request of op goes on to the responder before so many have come

	mu    sync.Mutex
	count map[wire.Op]int
}

func (r *requests) Accept() (net.Conn, error) {
	nc, err := r.Listener.Accept()
	return &held{Conn: nc, r: r}, err
}

func (r *requests) of(op wire.Op) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[op]
}

// held is a connection that reads whole requests.
type held struct {
	net.Conn
	r       *requests
	ready   []byte // read, and due to the responder
	rest    []byte // of a request
	greeted bool
	seen    int // of op
}

func (h *held) Read(b []byte) (int, error) {
	for len(h.ready) == 0 || h.seen > 0 && h.seen < h.r.window {
		var in [64 << 10]byte
		n, err := h.Conn.Read(in[:])
		if err != nil {
			return 0, err
		}
		h.rest = append(h.rest, in[:n]...)
		for len(h.rest) >= 4 && len(h.rest) >= 4+wire.FrameLen(h.rest) {
			size := 4 + wire.FrameLen(h.rest)
			if h.greeted {
				op := wire.Op(int32(binary.BigEndian.Uint32(h.rest[8:])))
				if op == h.r.op {
					h.seen++
				}
				h.r.mu.Lock()
				h.r.count[op]++
				h.r.mu.Unlock()
			}
			h.greeted = true
			h.ready = append(h.ready, h.rest[:size]...)
			h.rest = h.rest[size:]
		}
	}
	n := copy(b, h.ready)
	h.ready = h.ready[n:]
	return n, nil
}

func listen(t *testing.T, op wire.Op, window int) *requests {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &requests{Listener: l, op: op, window: window, count: make(map[wire.Op]int)}
	s := responder.New(responder.Default)
	go s.Serve(r)
	t.Cleanup(func() {
		l.Close()
		s.Close()
	})
	return r
}

// isMissing reports whether a peer is only not installed.
func isMissing(err error) bool {
	var m *Missing
	return errors.As(err, &m)
}

// build skips the test if the peer's packages are not there. Java's have to be where
// the real servers run.
func build(t *testing.T, name string) Peer {
	t.Helper()
	p, err := Build(t.Context(), name, t.TempDir())
	if isMissing(err) && !(name == Java && os.Getenv("ZK_TEST_APACHE") == "1" && !strings.Contains(err.Error(), "JDK")) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p Peer) run(t *testing.T, args ...string) (out, complaint []byte, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Command[0], slices.Concat(p.Command[1:], args)...)
	var b bytes.Buffer
	cmd.Stderr = &b
	out, err = cmd.Output()
	return out, b.Bytes(), err
}

// Every peer does every workload for a moment, and counts right.
func TestWorkloads(t *testing.T) {
	const watches = 300
	for _, name := range Names {
		t.Run(name, func(t *testing.T) {
			p := build(t, name)
			t.Run("complaints", func(t *testing.T) { complain(t, p) })
			for workload, w := range map[string]struct {
				op     wire.Op
				window int
			}{
				"get1":     {wire.OpGetData, 1},
				"get64":    {wire.OpGetData, 64},
				"get512":   {wire.OpGetData, 512},
				"set512":   {wire.OpSetData, 512},
				"children": {wire.OpGetChildren2, 1},
				"events":   {wire.OpGetData, 64},
			} {
				t.Run(workload, func(t *testing.T) {
					server := listen(t, w.op, w.window)
					out, complaint, err := p.run(t, "-workload", workload, "-addr", server.Addr().String(), "-warmup", "10ms", "-time", "0.03s", "-n", "300")
					if err != nil {
						t.Fatalf("%v: %s", err, complaint)
					}
					d := json.NewDecoder(bytes.NewReader(out))
					d.DisallowUnknownFields()
					var s result.Sample
					if err := d.Decode(&s); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
					if _, err := d.Token(); !errors.Is(err, io.EOF) {
						t.Errorf("more than a line: %s", out)
					}
					if s.Client != name || s.Workload != workload || s.Version == "" || s.Ops < 1 || s.Seconds <= 0 {
						t.Errorf("%+v", s)
					}
					if got := float64(s.Ops) / s.Seconds; got < 0.99*s.Rate || got > 1.01*s.Rate {
						t.Errorf("%v operations per second, not %v", s.Rate, got)
					}
					if runtime.GOOS == "linux" && name != Java && s.CPU <= 0 { // Java's is in steps of 10 ms
						t.Errorf("%v us of CPU time", s.CPU)
					}
					sent := server.of(w.op)
					if workload == "events" {
						bursts := server.of(wire.OpSetData)
						if s.Ops%watches != 0 || s.Ops < 3*watches || int(s.Ops) > (bursts-1)*watches || sent != bursts*watches {
							t.Errorf("%d events of %d bursts of %d watches", s.Ops, bursts, sent)
						}
						if ms := s.Extra["burst_ms"]; ms < 0.99*s.Seconds*1e3*watches/float64(s.Ops) || ms > 1.01*s.Seconds*1e3*watches/float64(s.Ops) {
							t.Errorf("%v ms", ms)
						}
						return
					}
					if int(s.Ops) >= sent {
						t.Errorf("%d operations with %d requests, those of the warm-up included", s.Ops, sent)
					}
					if one := w.window == 1; one != (s.P50 > 0) || s.P99 < s.P50 {
						t.Errorf("percentiles %v, %v", s.P50, s.P99)
					}
				})
			}
		})
	}
}

// complain checks that wrong use ends with a complaint, and no figures.
func complain(t *testing.T, p Peer) {
	for _, args := range []string{"-workload nothing", "-warmup soon", "-colour red", "-n"} {
		out, complaint, err := p.run(t, strings.Fields(args)...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() < 1 || len(out) > 0 || len(complaint) == 0 {
			t.Errorf("%s: %v, %q, %q", args, err, out, complaint)
		}
	}
}

// What is not installed is named, with the package that has it.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	for name, want := range map[string]string{C: "libzookeeper-mt-dev", Java: "apt-get install"} {
		_, err := Build(t.Context(), name, t.TempDir())
		if !isMissing(err) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Build(t.Context(), "cobol", t.TempDir()); err == nil || isMissing(err) {
		t.Errorf("no such peer: %v", err)
	}
}
