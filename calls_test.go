package zk_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"net"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// The invariants I27 to I30 of docs/guarantees.md: the outcomes of calls, their
// order on the wire, and calls that are given up.

// get is a Get under way.
func get(t testing.TB, s *zk.Session, ctx context.Context, path string, watch chan<- zk.Event) *under {
	return start(t, func() error { _, _, err := s.Get(ctx, path, watch); return err })
}

// TestI27_Outcomes: every way in which a call can end without an answer, and
// what it says then.
func TestI27_Outcomes(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int // MaxInFlight
		play  func(t *testing.T, r *rig, s *zk.Session, l *line)
	}{
		{"context done before", 0, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			ctx, cancel := context.WithCancel(bg)
			cancel()
			get(t, s, ctx, "/a", nil).unsent(context.Canceled)
			start(t, func() error { _, err := s.Batch(ctx, zk.GetOp{Path: "/a"}); return err }).unsent(context.Canceled)
			start(t, func() error { return s.AddAuth(ctx, zk.Digest("u", "p")) }).unsent(context.Canceled)
			l.quiet()
		}},
		{"cut in flight", 0, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			u := get(t, s, bg, "/a", nil)
			l.next()
			l.Close()
			u.lost(zk.ErrConnection)
		}},
		{"waiting for a slot", 1, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			u := get(t, s, bg, "/a", nil)
			l.next()
			waiting := get(t, s, bg, "/b", nil)
			ctx, cancel := context.WithCancel(bg)
			gone := get(t, s, ctx, "/c", nil)
			synctest.Wait()
			cancel()
			gone.unsent(context.Canceled)
			l.quiet()
			l.Close()
			u.lost(zk.ErrConnection)
			waiting.unsent(zk.ErrConnection)
		}},
		{"after the end", 0, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			l.Close()
			<-s.Done()
			get(t, s, bg, "/a", nil).unsent(zk.ErrConnection)
			get(t, s, bg, "/a", nil).unsent(s.Err())
		}},
		{"Detach", 1, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			u := get(t, s, bg, "/a", nil)
			l.next()
			waiting := get(t, s, bg, "/b", nil)
			synctest.Wait()
			s.Detach()
			u.lost(zk.ErrClosed)
			waiting.unsent(zk.ErrClosed)
			get(t, s, bg, "/c", nil).unsent(zk.ErrClosed)
			l.hungUp()
		}},
		{"redialed", 1, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			u := get(t, s, bg, "/a", nil)
			l.next()
			waiting := get(t, s, bg, "/b", nil)
			synctest.Wait()
			d := r.begin(s.Config())
			r.accept().greet()
			u.lost(zk.ErrMoved)
			waiting.unsent(zk.ErrMoved)
			d.session()
			get(t, s, bg, "/c", nil).unsent(zk.ErrMoved)
			assert.Assert(t, !errors.Is(s.Err(), zk.ErrConnection), "%v", s.Err())
			l.hungUp()
		}},
		{"Close behind it", 0, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			u := get(t, s, bg, "/a", nil)
			q := l.next()
			cl := start(t, s.Close)
			synctest.Wait()
			get(t, s, bg, "/b", nil).unsent(zk.ErrClosed)
			l.send(fitting(q, 1))
			u.ok()
			l.send(answer(l.want(wire.OpCloseSession, "").Xid, 2, nil))
			cl.ok()
			get(t, s, bg, "/b", nil).unsent(zk.ErrClosed)
		}},
		{"an answer that ends the connection", 0, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			moved, behind := get(t, s, bg, "/a", nil), (*under)(nil)
			q := l.next()
			behind = get(t, s, bg, "/b", nil)
			l.next()
			l.send(refusal(q.Xid, 1, zk.ErrSessionMoved))
			moved.refused(zk.ErrSessionMoved)
			assert.Assert(t, errors.Is(moved.err, zk.ErrConnection))
			behind.lost(zk.ErrConnection)
			<-s.Done()
			assert.Assert(t, errors.Is(s.Err(), zk.ErrSessionMoved))
			l.hungUp()
		}},
		{"addauth", 0, func(t *testing.T, r *rig, s *zk.Session, l *line) {
			auth := func(ctx context.Context) *under {
				return start(t, func() error { return s.AddAuth(ctx, zk.Digest("u", "p")) })
			}
			ctx, cancel := context.WithCancel(bg)
			gone := auth(ctx)
			l.next()
			cancel()
			gone.lost(context.Canceled)
			u := auth(bg)
			l.next()
			l.Close()
			u.lost(zk.ErrConnection)
			auth(bg).unsent(zk.ErrConnection)
			assert.Equal(t, len(s.Config().Auth), 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				conf := r.config()
				conf.MaxInFlight = c.limit
				s, l := r.open(conf)
				c.play(t, r, s, l)
			})
		})
	}
}

// TestI27_PartialWrite: one Write takes several frames and fails at every byte
// of them: those behind the last byte that left are not sent, the others lost.
func TestI27_PartialWrite(t *testing.T) {
	// The frames that stand in one Write, all but the first: single calls and a Batch.
	calls := func(t *testing.T, s *zk.Session) (all []*under, res *[]zk.Result) {
		res = new([]zk.Result)
		all = append(all, get(t, s, bg, "/2", nil))
		synctest.Wait()
		all = append(all, start(t, func() (err error) {
			*res, err = s.Batch(bg, zk.GetOp{Path: "/3"}, zk.SetOp{Path: "/4", Data: make([]byte, 20)}, zk.ExistsOp{Path: "/5"})
			return err
		}))
		synctest.Wait()
		all = append(all, start(t, func() error { return s.AddAuth(bg, zk.Digest("u", "p")) }))
		synctest.Wait()
		all = append(all, get(t, s, bg, "/7", nil))
		synctest.Wait()
		return all, res
	}
	var sizes []int // of these frames
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		all, _ := calls(t, s)
		for range 6 {
			body, err := l.frame()
			assert.NilError(t, err)
			sizes = append(sizes, 4+len(body))
		}
		l.Close()
		for _, u := range all {
			u.wait()
		}
	})
	total := 0
	for _, n := range sizes {
		total += n
	}
	for cut := 0; cut <= total; cut++ {
		bubble(t, func(t *testing.T, r *rig) {
			gate := new(gatedConn)
			r.lay = func(c net.Conn) net.Conn { gate.Conn = c; return gate }
			s, l := r.open(r.config())
			gate.shut()
			first := get(t, s, bg, "/1", nil)
			l.want(wire.OpGetData, "/1")
			all, res := calls(t, s)
			gate.Conn.(*zktest.PipeConn).SetWriteLimit(zktest.CutAt(int64(cut)))
			gate.open()

			outcome := func(i int) zk.Outcome { // of frame i
				at := 0
				for _, n := range sizes[:i] {
					at += n
				}
				if at < cut {
					return zk.Lost
				}
				return zk.NotSent
			}
			first.lost(zk.ErrConnection)
			checkOutcome(t, all[0].wait(), outcome(0), zk.ErrConnection)
			err := all[1].wait()
			for i, r := range *res {
				checkOutcome(t, r.Err, outcome(1+i), zk.ErrConnection)
			}
			assert.Equal(t, err, (*res)[0].Err)
			checkOutcome(t, all[2].wait(), outcome(4), zk.ErrConnection)
			checkOutcome(t, all[3].wait(), outcome(5), zk.ErrConnection)
			<-s.Done()
			// What left is at the server, and nothing else.
			rest, err := io.ReadAll(l)
			assert.NilError(t, err)
			assert.Equal(t, len(rest), cut)
		})
	}
}

// Over TLS a Write that fails may have let a record out: a frame of which the
// server saw a byte is never called not sent.
func TestI27_PartialWriteTLS(t *testing.T) {
	cert := certificate(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	unsent := 0
	for cut := 1; cut < 60_000; cut += 1499 {
		bubble(t, func(t *testing.T, r *rig) {
			gate, last := new(gatedConn), new(lastWriteConn)
			r.lay = func(c net.Conn) net.Conn { last.Conn = c; gate.Conn = last; return gate }
			conf := r.config()
			conf.TLS = &tls.Config{RootCAs: pool, ServerName: "server"}
			d := r.begin(conf)
			l := r.accept()
			server := tls.Server(l, &tls.Config{Certificates: []tls.Certificate{cert}})
			head := make([]byte, 4)
			_, err := io.ReadFull(server, head)
			assert.NilError(t, err)
			_, err = io.CopyN(io.Discard, server, int64(wire.FrameLen(head)))
			assert.NilError(t, err)
			server.Write(welcome(wire.ConnectRequest{Timeout: 9000}))
			s := d.session()

			gate.shut()
			first := get(t, s, bg, "/first", nil)
			synctest.Wait()
			var all []*under
			for i := range 6 {
				all = append(all, start(t, func() error {
					_, err := s.Set(bg, fmt.Sprintf("/%d", i), make([]byte, 8000), -1)
					return err
				}))
				synctest.Wait()
			}
			last.left = cut
			gate.open()
			first.wait()
			seen := 0
			got, _ := io.ReadAll(server)
			for len(got) > 0 {
				seen++
				got = got[min(len(got), 4+wire.FrameLen(append(got, 0, 0, 0, 0))):]
			}
			for i, u := range all {
				err := u.wait()
				if errors.Is(err, zk.ErrNotSent) {
					unsent++
					assert.Assert(t, 1+i >= seen, "cut at %d: frame %d of %d that arrived: %v", cut, 1+i, seen, err)
				} else {
					checkOutcome(t, err, zk.Lost, zk.ErrConnection)
				}
			}
			l.Close()
		})
	}
	if unsent == 0 {
		t.Error("no frame was ever not sent")
	}
}

// lastWriteConn passes a number of bytes on, if it is set, and then fails: in a
// Write that has left as a whole.
type lastWriteConn struct {
	net.Conn
	left int
}

func (c *lastWriteConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.left > 0 {
		if c.left -= n; c.left <= 0 {
			c.Conn.Close()
			return n, errors.New("the last write")
		}
	}
	return n, err
}

// certificate makes one for the host server.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	assert.NilError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"server"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<35, 0), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(crand.Reader, tmpl, tmpl, &key.PublicKey, key)
	assert.NilError(t, err)
	leaf, err := x509.ParseCertificate(der)
	assert.NilError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Connections that are cut at random bytes, both ways, under many callers: what
// was not sent is not there, what was answered is, and every call ends.
func TestI27_NotSentNeverHappened(t *testing.T) {
	count := make(map[zk.Outcome]int)
	done := 0
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 27))
			srv := zktest.NewServer(t, zktest.Options{InMemory: true, FrameLog: -1})
			conf := zk.Config{Addrs: srv.Addrs(), Timeout: 10 * time.Second, DialContext: srv.DialContext}
			admin, err := zk.Dial(bg, conf)
			assert.NilError(t, err)
			defer admin.Close()
			if seed%3 == 0 {
				conf.MaxInFlight = 3
			}
			var mu sync.Mutex
			fate := make(map[string]zk.Outcome) // 0: created
			for round := range 12 {
				rule := zktest.LinkRule{FromClient: zktest.CutAt(45 + rnd.Int64N(2000))}
				if round%2 == 0 {
					rule = zktest.LinkRule{ToClient: zktest.CutAt(41 + rnd.Int64N(1000))}
				}
				srv.Link(rule)
				s, err := zk.Dial(bg, conf)
				if err != nil {
					continue
				}
				var wg sync.WaitGroup
				for g := range 4 {
					wg.Go(func() {
						for i := range 10 {
							path := fmt.Sprintf("/%d-%d-%d", round, g, i)
							_, err := s.Create(bg, path, nil, zk.Persistent, zk.ACLOpen)
							var op *zk.OpError
							mu.Lock()
							switch {
							case err == nil:
								fate[path] = 0
							case errors.As(err, &op) && (errors.Is(err, zk.ErrConnection) && op.Outcome() != zk.Answered):
								fate[path] = op.Outcome()
							default:
								t.Errorf("%s: %v", path, err)
							}
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				s.Detach()
			}
			names, _, err := admin.Children(bg, "/", nil)
			assert.NilError(t, err)
			there := make(map[string]bool)
			for _, name := range names {
				there["/"+name] = true
			}
			for path, outcome := range fate {
				count[outcome]++
				switch {
				case outcome == zk.NotSent && there[path]:
					t.Errorf("seed %d: %s was not sent, and it is there", seed, path)
				case outcome == 0 && !there[path]:
					t.Errorf("seed %d: %s was answered, and it is not there", seed, path)
				case outcome == zk.Lost && there[path]:
					done++
				}
			}
		})
	}
	t.Logf("%d answered, %d not sent, %d lost, of which %d had happened", count[0], count[zk.NotSent], count[zk.Lost], done)
	if count[0] < 1000 || count[zk.NotSent] < 1000 || count[zk.Lost] < 100 || done < 50 || done == count[zk.Lost] {
		t.Error("not enough of each outcome: the test shows nothing")
	}
}

// setXid makes the next request's xid the one after this.
func setXid(s *zk.Session, xid int32) {
	*(*int32)(reflect.ValueOf(s).Elem().FieldByName("xid").Addr().UnsafePointer()) = xid
}

// TestI28_XidsCount: requests are numbered one by one, across all callers and
// Batches, in the order in which they are on the wire; pings and auth packets
// take no number.
func TestI28_XidsCount(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		var want int32
		var wrong error
		l.serve(func(a asked) [][]byte {
			if a.Op == wire.OpAuth {
				return [][]byte{answer(wire.XidAuth, 0, nil)}
			}
			if want++; a.Xid != want && wrong == nil {
				wrong = fmt.Errorf("xid %d where %d was due", a.Xid, want)
			}
			return [][]byte{fitting(a, 1)}
		})
		var all []*under
		for g := range 16 {
			all = append(all, start(t, func() error {
				for i := range 20 {
					switch (g + i) % 4 {
					case 0:
						if err := s.AddAuth(bg, zk.Digest("u", "p")); err != nil {
							return err
						}
					case 1:
						if _, err := s.Batch(bg, zk.GetOp{Path: "/1"}, zk.GetOp{Path: "/2"}, zk.GetOp{Path: "/3"}); err != nil {
							return err
						}
					default:
						if _, _, err := s.Get(bg, "/a", nil); err != nil {
							return err
						}
					}
				}
				return nil
			}))
		}
		for _, u := range all {
			u.ok()
		}
		time.Sleep(3 * rigTimeout) // pings
		_, _, err := s.Get(bg, "/a", nil)
		assert.NilError(t, err)
		for range 300 {
			_, _, err := s.Get(bg, "/a", nil)
			assert.NilError(t, err)
		}
		assert.NilError(t, wrong)
		assert.Assert(t, want > 300, "%d", want)
	})
}

// Calls of one goroutine are executed in its order, whatever the others do.
func TestI28_ProgramOrder(t *testing.T) {
	r := newRig(t)
	s, l := r.open(r.config())
	last := make(map[string]int32)
	var wrong error
	l.serve(func(a asked) [][]byte {
		d := wire.NewDecoder(a.body)
		var q wire.SetDataRequest
		q.Decode(&d)
		if last[q.Path]++; q.Version != last[q.Path] && wrong == nil {
			wrong = fmt.Errorf("%s: %d where %d was due", q.Path, q.Version, last[q.Path])
		}
		return [][]byte{fitting(a, 1)}
	})
	var all []*under
	for g := range 16 {
		all = append(all, start(t, func() error {
			ctx, cancel := context.WithCancel(bg)
			defer cancel()
			path := fmt.Sprintf("/%d", g)
			for i := int32(1); i <= 300; i++ {
				c := bg
				if i%2 == 0 {
					c = ctx
				}
				if i%7 == 0 { // a Batch of two
					if _, err := s.Batch(c, zk.SetOp{Path: path, Version: i}, zk.SetOp{Path: path, Version: i + 1}); err != nil {
						return err
					}
					i++
					continue
				}
				if _, err := s.Set(c, path, nil, i); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, u := range all {
		u.ok()
	}
	assert.NilError(t, wrong)
}

// TestI28_RepliesOutOfOrder: replies in any other order than that of the
// requests, twice, or to nothing end the connection, and every call as lost.
func TestI28_RepliesOutOfOrder(t *testing.T) {
	for _, c := range []struct {
		name     string
		xids     []int32 // of the replies, 1 to 3 were asked
		answered int
	}{
		{"second first", []int32{2, 1, 3}, 0},
		{"third second", []int32{1, 3, 2}, 1},
		{"first twice", []int32{1, 1, 2, 3}, 1},
		{"of before", []int32{0}, 0},
		{"of later", []int32{1, 2, 3, 4}, 3},
		{"last twice", []int32{1, 2, 3, 3}, 3},
		{"MinInt32", []int32{math.MinInt32}, 0},
		{"MaxInt32", []int32{math.MaxInt32}, 0},
		{"of another ping", []int32{-3}, 0},
		{"of a SetWatches of the C client", []int32{wire.XidSetWatches}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				s, l := r.open(r.config())
				ch := make(chan zk.Event, 1)
				arm(t, s, l, zk.DataWatch, "/w", ch)
				var all []*under
				var before int32 // the xid before those of the test
				for i := range 3 {
					all = append(all, get(t, s, bg, fmt.Sprintf("/%d", i), nil))
					before = l.want(wire.OpGetData, fmt.Sprintf("/%d", i)).Xid - int32(i) - 1
				}
				var frames [][]byte
				for _, xid := range c.xids {
					if xid >= 0 && xid < 10 {
						xid += before
					}
					frames = append(frames, answer(xid, 9, wire.GetDataResponse{}))
				}
				l.send(append(frames, happened(zk.Changed, "/w", -1))...)
				for i, u := range all {
					if i < c.answered {
						u.ok()
					} else {
						u.lost(zk.ErrProtocol)
						assert.Assert(t, errors.Is(u.err, zk.ErrConnection))
					}
				}
				<-s.Done()
				assert.Assert(t, errors.Is(s.Err(), zk.ErrProtocol))
				l.hungUp()
				// What came behind the violation was never taken.
				assert.Equal(t, len(ch), 0)
				assert.Equal(t, armedList(s.Config().Watches), "data /w")
				d := r.begin(s.Config())
				l = r.accept()
				l.greet()
				l.restored(9)
				d.session()
			})
		})
	}
}

// TestI29_CancelledCall: its slot stays, its answer is taken in order, the zxid
// counts, the watch is not armed, and the orphan's event is for nobody, or for
// whoever armed the path meanwhile.
func TestI29_CancelledCall(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		orphan, mine := make(chan zk.Event, 2), make(chan zk.Event, 2)
		ctx, cancel := context.WithCancel(bg)
		gone := get(t, s, ctx, "/a", orphan)
		q1 := l.want(wire.OpGetData, "/a")
		other := get(t, s, bg, "/b", nil)
		q2 := l.want(wire.OpGetData, "/b")
		cancel()
		gone.lost(context.Canceled)
		assert.Equal(t, s.Stats().Pending, 2)
		l.send(answer(q1.Xid, 50, wire.GetDataResponse{Data: []byte("never seen")}), fitting(q2, 49))
		other.ok()
		assert.Equal(t, s.Zxid(), int64(50))
		assert.Equal(t, s.Stats().Pending, 0)
		assert.Equal(t, armedList(s.Config().Watches), "")
		l.send(happened(zk.Changed, "/a", -1))
		synctest.Wait()
		assert.Equal(t, s.Stats().Ignored, int64(1))

		// Armed by another call behind it: once.
		ctx, cancel = context.WithCancel(bg)
		gone = get(t, s, ctx, "/a", orphan)
		q1 = l.next()
		cancel()
		gone.lost(context.Canceled)
		u := get(t, s, bg, "/a", mine)
		q2 = l.next()
		l.send(fitting(q1, 51), fitting(q2, 52), happened(zk.Changed, "/a", -1), happened(zk.Changed, "/a", -1))
		u.ok()
		synctest.Wait()
		assert.Equal(t, told(taken(mine)...), "changed /a")
		assert.Equal(t, told(taken(orphan)...), "")

		// A cancelled write that then fails, an AddWatch, a RemoveWatch.
		for _, f := range []func(ctx context.Context) error{
			func(ctx context.Context) error { _, err := s.Set(ctx, "/a", nil, 7); return err },
			func(ctx context.Context) error { return s.AddWatch(ctx, "/p", zk.WatchPersistent, orphan) },
			func(ctx context.Context) error { _, err := s.Multi(ctx, zk.CheckOp{Path: "/a"}); return err },
		} {
			ctx, cancel = context.WithTimeout(bg, time.Millisecond)
			u = start(t, func() error { return f(ctx) })
			q1 = l.next()
			u.lost(context.DeadlineExceeded)
			cancel()
			l.send(refusal(q1.Xid, 60, zk.ErrVersion))
		}
		arm(t, s, l, zk.PersistentWatch, "/p", mine) // does not wait for the one given up
		ctx, cancel = context.WithTimeout(bg, time.Millisecond)
		u = start(t, func() error { return s.RemoveWatch(ctx, "/p", mine) })
		q1 = l.want(wire.OpRemoveWatches, "/p")
		u.lost(context.DeadlineExceeded)
		cancel()
		l.send(answer(q1.Xid, 61, nil))
		synctest.Wait()
		assert.Equal(t, armedList(s.Config().Watches), "")
		l.quiet()
	})
}

// The connection ends under calls that were given up: nobody waits for them any
// more, and nothing on the next connection does.
func TestI29_CancelledThenLost(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		ch := make(chan zk.Event, 1)
		arm(t, s, l, zk.DataWatch, "/w", ch)
		ctx, cancel := context.WithCancel(bg)
		single := get(t, s, ctx, "/a", ch)
		l.next()
		batch := start(t, func() error {
			_, err := s.Batch(ctx, zk.GetOp{Path: "/b", Watch: ch}, zk.GetOp{Path: "/c"})
			return err
		})
		l.next()
		l.next()
		auth := start(t, func() error { return s.AddAuth(ctx, zk.Digest("u", "p")) })
		l.next()
		cancel()
		single.lost(context.Canceled)
		batch.lost(context.Canceled)
		auth.lost(context.Canceled)
		l.Close()
		<-s.Done()
		s, l, _, w := r.move(s.Config(), 1)
		assert.DeepEqual(t, w.Data, []string{"/w"})
		l.send(happened(zk.Changed, "/w", -1))
		synctest.Wait()
		assert.Equal(t, told(taken(ch)...), "changed /w")
		u := get(t, s, bg, "/a", nil)
		l.send(fitting(l.next(), 1))
		u.ok()
	})
}

// A Batch that is given up: what was answered before stays answered and armed,
// the rest is lost and not armed.
func TestI29_CancelledBatch(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		ch := make(chan zk.Event, 8)
		ctx, cancel := context.WithCancel(bg)
		var res []zk.Result
		u := start(t, func() (err error) {
			res, err = s.Batch(ctx, zk.GetOp{Path: "/1", Watch: ch}, zk.ExistsOp{Path: "/2", Watch: ch}, zk.GetOp{Path: "/3", Watch: ch}, zk.ChildrenOp{Path: "/4", Watch: ch})
			return err
		})
		var qs []asked
		for range 4 {
			qs = append(qs, l.next())
		}
		l.send(fitting(qs[0], 1), refusal(qs[1].Xid, 2, zk.ErrNoNode))
		synctest.Wait()
		cancel()
		err := u.wait()
		assert.Equal(t, len(res), 4)
		assert.NilError(t, res[0].Err)
		assert.Equal(t, string(res[0].Data), "data")
		checkOutcome(t, res[1].Err, zk.Answered, zk.ErrNoNode)
		assert.Equal(t, err, res[1].Err)
		checkOutcome(t, res[2].Err, zk.Lost, context.Canceled)
		checkOutcome(t, res[3].Err, zk.Lost, context.Canceled)
		l.send(fitting(qs[2], 3), fitting(qs[3], 4))
		synctest.Wait()
		assert.Equal(t, armedList(s.Config().Watches), "data /1, exists /2")
		assert.Equal(t, s.Stats().Pending, 0)
	})
}

// A call that can be cancelled leaves at once, even while the connection takes
// no more bytes.
func TestI29_LeavesAWriteThatBlocks(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprintf("others under way: %t", busy), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				gate := new(gatedConn)
				r.lay = func(c net.Conn) net.Conn { gate.Conn = c; return gate }
				s, l := r.open(r.config())
				if busy {
					get(t, s, bg, "/other", nil)
					l.next()
				}
				gate.shut()
				ctx, cancel := context.WithTimeout(bg, time.Millisecond)
				defer cancel()
				began := time.Now()
				u := get(t, s, ctx, "/a", nil)
				u.lost(context.DeadlineExceeded)
				assert.Equal(t, time.Since(began), time.Millisecond)
				gate.open()
			})
		})
	}
}

// TestI29_RandomPoints gives 100,000 calls up at random moments, and often at
// the very moment of their answer, with and without watches. A call has an
// answer and an armed watch, or neither; nobody else loses anything.
func TestI29_RandomPoints(t *testing.T) {
	const callers, each, paths = 20, 5000, 50
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.MaxInFlight = 15
		s, l := r.open(conf)
		rnd := rand.New(rand.NewPCG(29, 29))

		// The server: answers in order, some microseconds late, and fires a watch now and then.
		type server struct {
			armed map[string]bool
			out   [][]byte
			sent  int
		}
		srv := server{armed: make(map[string]bool)}
		fire := func(path string) {
			if srv.armed[path] {
				delete(srv.armed, path)
				srv.sent++
				srv.out = append(srv.out, happened(zk.Changed, path, -1))
			}
		}
		queue := make(chan asked, 1024)
		go func() {
			defer close(queue)
			for {
				body, err := l.frame()
				if err != nil {
					return
				}
				queue <- parseAsked(body)
			}
		}()
		served := make(chan struct{})
		finish := make(chan struct{})
		go func() {
			defer close(served)
			handle := func(a asked) {
				switch {
				case a.Op == wire.OpPing:
					srv.out = append(srv.out, answer(wire.XidPing, 0, nil))
					return
				case a.Op == wire.OpGetData && a.armed():
					srv.armed[a.path] = true
				}
				srv.out = append(srv.out, fitting(a, 1))
				if rnd.IntN(4) == 0 {
					fire(fmt.Sprintf("/%d", rnd.IntN(paths)))
				}
			}
			for {
				select {
				case a := <-queue:
					handle(a)
				case <-finish:
					for path := range srv.armed {
						fire(path)
					}
					l.trySend(srv.out...)
					return
				}
				for more := true; more; {
					select {
					case a := <-queue:
						handle(a)
					default:
						more = false
					}
				}
				time.Sleep(time.Duration(rnd.IntN(4)) * time.Microsecond)
				if l.trySend(srv.out...) != nil {
					return
				}
				srv.out = srv.out[:0]
			}
		}()

		type watched struct {
			ch chan zk.Event
			ok bool
		}
		var watches [callers][]watched
		var answers, unsent, lost [callers]int
		var all []*under
		for g := range callers {
			rnd := rand.New(rand.NewPCG(29, uint64(g)))
			all = append(all, start(t, func() error {
				for range each {
					ctx, cancel := context.WithTimeout(bg, time.Duration(rnd.IntN(9))*time.Microsecond)
					if rnd.IntN(8) == 0 {
						ctx = bg
					}
					var ch chan zk.Event
					var watch chan<- zk.Event
					if rnd.IntN(2) == 0 {
						ch = make(chan zk.Event, 2)
						watch = ch
					}
					_, st, err := s.Get(ctx, fmt.Sprintf("/%d", rnd.IntN(paths)), watch)
					cancel()
					switch {
					case err == nil:
						answers[g]++
						if st.Version != 1 {
							return fmt.Errorf("another call's answer: %v", st)
						}
					case errors.Is(err, context.DeadlineExceeded) && errors.Is(err, zk.ErrNotSent):
						unsent[g]++
					case errors.Is(err, context.DeadlineExceeded) && errors.Is(err, zk.ErrLost):
						lost[g]++
					default:
						return err
					}
					if ch != nil {
						watches[g] = append(watches[g], watched{ch, err == nil})
					}
				}
				return nil
			}))
		}
		for _, u := range all {
			u.ok()
		}
		_, _, err := s.Get(bg, "/last", nil)
		assert.NilError(t, err)
		close(finish)
		<-served
		synctest.Wait()

		var sum [3]int
		for g := range callers {
			sum[0], sum[1], sum[2] = sum[0]+answers[g], sum[1]+unsent[g], sum[2]+lost[g]
			for i, w := range watches[g] {
				switch n := len(w.ch); {
				case w.ok && n != 1:
					t.Fatalf("caller %d: armed watch %d got %d events", g, i, n)
				case !w.ok && n != 0:
					t.Fatalf("caller %d: watch %d of a call that failed got %d events", g, i, n)
				}
			}
		}
		t.Logf("%d answered, %d not sent, %d lost, %d events", sum[0], sum[1], sum[2], srv.sent)
		assert.Assert(t, sum[0] > 10_000 && sum[1] > 1000 && sum[2] > 10_000 && srv.sent > 1000, "the test shows nothing")
		st := s.Stats()
		assert.Equal(t, st.Pending, 0)
		assert.Equal(t, st.Armed, 0)
		assert.Equal(t, st.Queued, 0)
		assert.Equal(t, st.Requests, st.Replies)
		assert.Equal(t, st.Events+st.Ignored, int64(srv.sent))
	})
}

// TestI30_NoHiddenWork: an hour with errors of every kind, and the server sees
// what was asked for and pings, on one connection.
func TestI30_NoHiddenWork(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, l := r.open(r.config())
		ch := make(chan zk.Event, 8)
		pings, asks := 0, 0
		go func() {
			for {
				body, err := l.frame()
				if err != nil {
					return
				}
				a := parseAsked(body)
				if a.Op == wire.OpPing {
					pings++
					l.trySend(answer(wire.XidPing, 0, nil))
					continue
				}
				asks++
				if a.path == "/gone" {
					continue // never answered, nor anything behind it
				}
				l.trySend(refusal(a.Xid, 1, map[string]zk.Code{"/auth": zk.ErrNoAuth, "/throttled": zk.ErrThrottled, "/x": -9999}[a.path]))
			}
		}()
		for _, path := range []string{"/auth", "/throttled", "/x"} {
			_, err := s.Create(bg, path, nil, zk.Persistent, zk.ACLOpen)
			assert.Assert(t, err != nil)
		}
		assert.NilError(t, s.AddWatch(bg, "/p", zk.WatchPersistent, ch))
		l.send(happened(zk.Changed, "/p", -1), happened(zk.Changed, "/nobody", -1))
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		get(t, s, ctx, "/gone", nil).lost(context.DeadlineExceeded)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.NilError(t, s.Err())
		assert.Equal(t, asks, 5)
		assert.Equal(t, pings, int(time.Hour/(rigTimeout/3)))
		l.Close()
		<-s.Done()
		time.Sleep(time.Hour)
		assert.Equal(t, r.connections(), 1)
		assert.Equal(t, told(taken(ch)...), "changed /p")
	})
}

// MaxInFlight: so many requests wait for their replies and no more, whoever made
// them; waiters are served in order.
func TestI30_MaxInFlight(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.MaxInFlight = 2
		s, l := r.open(conf)
		var all []*under
		for i := range 10 {
			all = append(all, get(t, s, bg, fmt.Sprintf("/%d", i), nil))
			synctest.Wait()
		}
		var open []asked
		for i := range 10 {
			open = append(open, l.want(wire.OpGetData, fmt.Sprintf("/%d", i)))
			if len(open) == 2 {
				l.quiet()
				assert.Equal(t, s.Stats().Pending, 2)
				l.send(fitting(open[0], 1))
				open = open[1:]
			}
		}
		l.send(fitting(open[0], 1))
		for _, u := range all {
			u.ok()
		}

		// A call that was given up holds its slot until its answer comes.
		ctx, cancel := context.WithCancel(bg)
		gone1, gone2 := get(t, s, ctx, "/g1", nil), get(t, s, ctx, "/g2", nil)
		q1, q2 := l.next(), l.next()
		cancel()
		gone1.lost(context.Canceled)
		gone2.lost(context.Canceled)
		u := get(t, s, bg, "/u", nil)
		l.quiet()

		// Pings, auth and close take none.
		auth := start(t, func() error { return s.AddAuth(bg, zk.Digest("u", "p")) })
		l.want(wire.OpAuth, "")
		l.send(answer(wire.XidAuth, 0, nil))
		auth.ok()
		time.Sleep(rigTimeout / 2)
		body, err := l.frame()
		assert.NilError(t, err)
		assert.Equal(t, parseAsked(body).Op, wire.OpPing)

		l.send(fitting(q1, 1))
		q3 := l.want(wire.OpGetData, "/u")
		l.send(fitting(q2, 1), fitting(q3, 1))
		u.ok()

		// A Batch takes one for each operation, as they come free, and writes what
		// it holds before it waits; a Multi takes one.
		multi := start(t, func() error {
			_, err := s.Multi(bg, zk.CheckOp{Path: "/1"}, zk.CheckOp{Path: "/2"}, zk.CheckOp{Path: "/3"})
			return err
		})
		m := l.next()
		batch := start(t, func() error {
			_, err := s.Batch(bg, zk.GetOp{Path: "/1"}, zk.GetOp{Path: "/2"}, zk.GetOp{Path: "/3"})
			return err
		})
		b1 := l.want(wire.OpGetData, "/1")
		l.quiet()
		check := wire.MultiResult{Op: wire.OpCheck}
		l.send(answer(m.Xid, 1, wire.MultiResponse{Results: []wire.MultiResult{check, check, check}}))
		multi.ok()
		b2 := l.want(wire.OpGetData, "/2")
		l.quiet()
		cl := start(t, s.Close)
		l.want(wire.OpCloseSession, "")
		l.send(fitting(b1, 1), fitting(b2, 1), answer(b2.Xid+1, 2, nil))
		checkOutcome(t, batch.wait(), zk.NotSent, zk.ErrClosed) // the third never had a slot
		cl.ok()
	})
}

// A Batch whose context ends in the moment in which the connection does, while
// it waits for slots: every operation has an outcome, none looks done.
func TestI27_BatchEndsTwice(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		conf := r.config()
		conf.MaxInFlight = 2
		for range 500 {
			s, l := r.open(conf)
			ctx, cancel := context.WithTimeout(bg, time.Second)
			time.AfterFunc(time.Second, func() { l.Close() })
			res, err := s.Batch(ctx, zk.GetOp{Path: "/1"}, zk.GetOp{Path: "/2"}, zk.GetOp{Path: "/3"}, zk.GetOp{Path: "/4"})
			cancel()
			assert.Assert(t, err != nil)
			assert.Equal(t, len(res), 4)
			for i, x := range res {
				var op *zk.OpError
				want := zk.Lost
				if i >= 2 {
					want = zk.NotSent
				}
				assert.Assert(t, errors.As(x.Err, &op) && op.Outcome() == want, "operation %d: %v", i, x.Err)
			}
			s.Detach()
		}
	})
}

// Every call ends exactly once when the connection does, in whatever state it is.
func TestI27_AllEnd(t *testing.T) {
	r := newRig(t)
	for range 20 {
		s, l := r.open(r.config())
		l.serve(func(a asked) [][]byte { return [][]byte{fitting(a, 1)} })
		var all []*under
		for g := range 20 {
			all = append(all, start(t, func() error {
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				for i := 0; ; i++ {
					var err error
					switch (g + i) % 5 {
					case 0:
						_, err = s.Batch(bg, zk.GetOp{Path: "/a"}, zk.SetOp{Path: "/b"})
					case 1:
						_, _, err = s.Get(ctx, "/a", make(chan zk.Event, 1))
					case 2:
						err = s.AddAuth(bg, zk.Digest("u", "p"))
					default:
						_, err = s.Set(bg, "/a", nil, -1)
					}
					if err != nil {
						return err
					}
				}
			}))
		}
		for s.Stats().Replies < 200 {
			runtime.Gosched()
		}
		l.Close()
		for _, u := range all {
			err := u.wait()
			assert.Assert(t, errors.Is(err, zk.ErrConnection) && errors.Is(err, zk.ErrLost) != errors.Is(err, zk.ErrNotSent), "%v", err)
		}
		<-s.Done()
		assert.Equal(t, s.Stats().Pending, 0)
	}
}
