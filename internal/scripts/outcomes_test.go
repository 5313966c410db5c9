package scripts

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
	"math/big"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// TestI27_Outcomes: every way in which a call can end without an answer, and
// what it says then.
func TestI27_Outcomes(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int // MaxInFlight
		play  func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line)
	}{
		{"context done before", 0, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			ctx, cancel := context.WithCancel(suite.BG)
			cancel()
			suite.Get(t, s, ctx, "/a", nil).Unsent(context.Canceled)
			suite.Start(t, func() error { _, err := s.Batch(ctx, zk.GetOp{Path: "/a"}); return err }).Unsent(context.Canceled)
			suite.Start(t, func() error { return s.AddAuth(ctx, zk.Digest("u", "p")) }).Unsent(context.Canceled)
			l.Quiet()
		}},
		{"cut in flight", 0, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			u := suite.Get(t, s, suite.BG, "/a", nil)
			l.Next()
			l.Close()
			u.Lost(zk.ErrConnection)
		}},
		{"waiting for a slot", 1, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			u := suite.Get(t, s, suite.BG, "/a", nil)
			l.Next()
			waiting := suite.Get(t, s, suite.BG, "/b", nil)
			ctx, cancel := context.WithCancel(suite.BG)
			gone := suite.Get(t, s, ctx, "/c", nil)
			synctest.Wait()
			cancel()
			gone.Unsent(context.Canceled)
			l.Quiet()
			l.Close()
			u.Lost(zk.ErrConnection)
			waiting.Unsent(zk.ErrConnection)
		}},
		{"after the end", 0, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			l.Close()
			<-s.Done()
			suite.Get(t, s, suite.BG, "/a", nil).Unsent(zk.ErrConnection)
			suite.Get(t, s, suite.BG, "/a", nil).Unsent(s.Err())
		}},
		{"Detach", 1, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			u := suite.Get(t, s, suite.BG, "/a", nil)
			l.Next()
			waiting := suite.Get(t, s, suite.BG, "/b", nil)
			synctest.Wait()
			s.Detach()
			u.Lost(zk.ErrClosed)
			waiting.Unsent(zk.ErrClosed)
			suite.Get(t, s, suite.BG, "/c", nil).Unsent(zk.ErrClosed)
			l.HungUp()
		}},
		{"redialed", 1, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			u := suite.Get(t, s, suite.BG, "/a", nil)
			l.Next()
			waiting := suite.Get(t, s, suite.BG, "/b", nil)
			synctest.Wait()
			d := r.Begin(s.Config())
			r.Accept().Greet()
			u.Lost(zk.ErrMoved)
			waiting.Unsent(zk.ErrMoved)
			d.Session()
			suite.Get(t, s, suite.BG, "/c", nil).Unsent(zk.ErrMoved)
			assert.Assert(t, !errors.Is(s.Err(), zk.ErrConnection), "%v", s.Err())
			l.HungUp()
		}},
		{"Close behind it", 0, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			u := suite.Get(t, s, suite.BG, "/a", nil)
			q := l.Next()
			cl := suite.Start(t, s.Close)
			synctest.Wait()
			suite.Get(t, s, suite.BG, "/b", nil).Unsent(zk.ErrClosed)
			l.Send(suite.Fitting(q, 1))
			u.OK()
			l.Send(suite.Answer(l.Want(wire.OpCloseSession, "").Xid, 2, nil))
			cl.OK()
			suite.Get(t, s, suite.BG, "/b", nil).Unsent(zk.ErrClosed)
		}},
		{"an answer that ends the connection", 0, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			moved, behind := suite.Get(t, s, suite.BG, "/a", nil), (*suite.Under)(nil)
			q := l.Next()
			behind = suite.Get(t, s, suite.BG, "/b", nil)
			l.Next()
			l.Send(suite.Refusal(q.Xid, 1, zk.ErrSessionMoved))
			moved.Refused(zk.ErrSessionMoved)
			assert.Assert(t, errors.Is(moved.Err, zk.ErrConnection))
			behind.Lost(zk.ErrConnection)
			<-s.Done()
			assert.Assert(t, errors.Is(s.Err(), zk.ErrSessionMoved))
			l.HungUp()
		}},
		{"addauth", 0, func(t *testing.T, r *suite.Rig, s *zk.Session, l *suite.Line) {
			auth := func(ctx context.Context) *suite.Under {
				return suite.Start(t, func() error { return s.AddAuth(ctx, zk.Digest("u", "p")) })
			}
			ctx, cancel := context.WithCancel(suite.BG)
			gone := auth(ctx)
			l.Next()
			cancel()
			gone.Lost(context.Canceled)
			u := auth(suite.BG)
			l.Next()
			l.Close()
			u.Lost(zk.ErrConnection)
			auth(suite.BG).Unsent(zk.ErrConnection)
			assert.Equal(t, len(s.Config().Auth), 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				conf := r.Config()
				conf.MaxInFlight = c.limit
				s, l := r.Open(conf)
				c.play(t, r, s, l)
			})
		})
	}
}

// TestI27_PartialWrite: one Write takes several frames and fails at every byte
// of them: those behind the last byte that left are not sent, the others lost.
func TestI27_PartialWrite(t *testing.T) {
	// The frames that stand in one Write, all but the first: single calls and a Batch.
	calls := func(t *testing.T, s *zk.Session) (all []*suite.Under, res *[]zk.Result) {
		res = new([]zk.Result)
		all = append(all, suite.Get(t, s, suite.BG, "/2", nil))
		synctest.Wait()
		all = append(all, suite.Start(t, func() (err error) {
			*res, err = s.Batch(suite.BG, zk.GetOp{Path: "/3"}, zk.SetOp{Path: "/4", Data: make([]byte, 20)}, zk.ExistsOp{Path: "/5"})
			return err
		}))
		synctest.Wait()
		all = append(all, suite.Start(t, func() error { return s.AddAuth(suite.BG, zk.Digest("u", "p")) }))
		synctest.Wait()
		all = append(all, suite.Get(t, s, suite.BG, "/7", nil))
		synctest.Wait()
		return all, res
	}
	var sizes []int // of these frames
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		all, _ := calls(t, s)
		for range 6 {
			body, err := l.Frame()
			assert.NilError(t, err)
			sizes = append(sizes, 4+len(body))
		}
		l.Close()
		for _, u := range all {
			u.Wait()
		}
	})
	total := 0
	for _, n := range sizes {
		total += n
	}
	for cut := 0; cut <= total; cut++ {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			gate := new(suite.GatedConn)
			r.Lay = func(c net.Conn) net.Conn { gate.Conn = c; return gate }
			s, l := r.Open(r.Config())
			gate.Shut()
			first := suite.Get(t, s, suite.BG, "/1", nil)
			l.Want(wire.OpGetData, "/1")
			all, res := calls(t, s)
			gate.Conn.(*zktest.PipeConn).SetWriteLimit(zktest.CutAt(int64(cut)))
			gate.Open()

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
			first.Lost(zk.ErrConnection)
			suite.CheckOutcome(t, all[0].Wait(), outcome(0), zk.ErrConnection)
			err := all[1].Wait()
			for i, r := range *res {
				suite.CheckOutcome(t, r.Err, outcome(1+i), zk.ErrConnection)
			}
			assert.Equal(t, err, (*res)[0].Err)
			suite.CheckOutcome(t, all[2].Wait(), outcome(4), zk.ErrConnection)
			suite.CheckOutcome(t, all[3].Wait(), outcome(5), zk.ErrConnection)
			<-s.Done()
			// What left is at the server, and nothing else.
			rest, err := io.ReadAll(l)
			assert.NilError(t, err)
			assert.Equal(t, len(rest), cut)
		})
	}
}

// Over TLS a Write that fails may have let a record out: a frame of which the
// server saw a byte is never called not sent. What is laid over TLS changes nothing.
func TestI27_PartialWriteTLS(t *testing.T) {
	cert := certificate(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	hide := func(_ string, c net.Conn) net.Conn { return &countingConn{Conn: c} }
	for name, wrap := range map[string]func(string, net.Conn) net.Conn{"plain": nil, "wrapped": hide} {
		t.Run(name, func(t *testing.T) {
			unsent := 0
			for cut := 1; cut < 60_000; cut += 1499 {
				suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
					conf := r.Config()
					conf.TLS = &tls.Config{RootCAs: pool, ServerName: "server"}
					conf.Wrap = wrap
					unsent += cutWithinTLS(t, r, conf, cert, cut)
				})
			}
			if unsent == 0 {
				t.Error("no frame was ever not sent")
			}
		})
	}
}

// cutWithinTLS fails a Write of six requests after so many bytes of TLS have left. It
// returns how many were not sent.
func cutWithinTLS(t *testing.T, r *suite.Rig, conf zk.Config, cert tls.Certificate, cut int) (unsent int) {
	gate, last := new(suite.GatedConn), new(lastWriteConn)
	r.Lay = func(c net.Conn) net.Conn { last.Conn = c; gate.Conn = last; return gate }
	d := r.Begin(conf)
	l := r.Accept()
	server := tls.Server(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	head := make([]byte, 4)
	_, err := io.ReadFull(server, head)
	assert.NilError(t, err)
	_, err = io.CopyN(io.Discard, server, int64(wire.FrameLen(head)))
	assert.NilError(t, err)
	server.Write(suite.Welcome(wire.ConnectRequest{Timeout: 9000}))
	s := d.Session()

	gate.Shut()
	first := suite.Get(t, s, suite.BG, "/first", nil)
	synctest.Wait()
	var all []*suite.Under
	for i := range 6 {
		all = append(all, suite.Start(t, func() error {
			_, err := s.Set(suite.BG, fmt.Sprintf("/%d", i), make([]byte, 8000), -1)
			return err
		}))
		synctest.Wait()
	}
	last.left = cut
	gate.Open()
	first.Wait()
	seen := 0
	got, _ := io.ReadAll(server)
	for len(got) > 0 {
		seen++
		got = got[min(len(got), 4+wire.FrameLen(append(got, 0, 0, 0, 0))):]
	}
	for i, u := range all {
		err := u.Wait()
		if errors.Is(err, zk.ErrNotSent) {
			unsent++
			assert.Assert(t, 1+i >= seen, "cut at %d: frame %d of %d that arrived: %v", cut, 1+i, seen, err)
		} else {
			suite.CheckOutcome(t, err, zk.Lost, zk.ErrConnection)
		}
	}
	l.Close()
	return unsent
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
			admin, err := zk.Dial(suite.BG, conf)
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
				s, err := zk.Dial(suite.BG, conf)
				if err != nil {
					continue
				}
				var wg sync.WaitGroup
				for g := range 4 {
					wg.Go(func() {
						for i := range 10 {
							path := fmt.Sprintf("/%d-%d-%d", round, g, i)
							_, err := s.Create(suite.BG, path, nil, zk.Persistent, zk.ACLOpen)
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
			names, _, err := admin.Children(suite.BG, "/", nil)
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

// A Batch whose context ends in the moment in which the connection does, while
// it waits for slots: every operation has an outcome, none looks done.
func TestI27_BatchEndsTwice(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		conf.MaxInFlight = 2
		for range 500 {
			s, l := r.Open(conf)
			ctx, cancel := context.WithTimeout(suite.BG, time.Second)
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
	r := suite.NewRig(t)
	for range 20 {
		s, l := r.Open(r.Config())
		l.Serve(func(a suite.Asked) [][]byte { return [][]byte{suite.Fitting(a, 1)} })
		var all []*suite.Under
		for g := range 20 {
			all = append(all, suite.Start(t, func() error {
				ctx, cancel := context.WithCancel(suite.BG)
				defer cancel()
				for i := 0; ; i++ {
					var err error
					switch (g + i) % 5 {
					case 0:
						_, err = s.Batch(suite.BG, zk.GetOp{Path: "/a"}, zk.SetOp{Path: "/b"})
					case 1:
						_, _, err = s.Get(ctx, "/a", make(chan zk.Event, 1))
					case 2:
						err = s.AddAuth(suite.BG, zk.Digest("u", "p"))
					default:
						_, err = s.Set(suite.BG, "/a", nil, -1)
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
			err := u.Wait()
			assert.Assert(t, errors.Is(err, zk.ErrConnection) && errors.Is(err, zk.ErrLost) != errors.Is(err, zk.ErrNotSent), "%v", err)
		}
		<-s.Done()
		assert.Equal(t, s.Stats().Pending, 0)
	}
}

// A call whose context has ended leaves at once, and nothing was armed by it.
func TestCancelledCall(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	path := e.Create(s, "/n", "data")
	stalled := e.Sim.Fault(suite.StallOn(s, path))
	ctx, cancel := context.WithCancel(e.Ctx)
	ch := make(chan zk.Event, 1)
	done := make(chan error)
	go func() {
		_, _, err := s.Get(ctx, path, ch)
		done <- err
	}()
	suite.Await(t, stalled.Struck())
	cancel()
	err := suite.Await(t, done)
	suite.WantLost(t, err, context.Canceled)
	assert.Equal(t, s.Config().Watches.Len(), 0)
	assert.NilError(t, s.Err())
	s.Detach() // Close would wait for the server
}

// The error of a Batch is the one that ended the connection, if there is one.
func TestBatchError(t *testing.T) {
	server := zktest.NewServer(t, zktest.Options{Version: zktest.V34})
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	res, err := s.Batch(t.Context(), zk.GetOp{Path: "/none"},
		zk.CreateOp{Path: "/a", ACL: zk.ACLOpen, WantStat: true}, // which 3.4 does not support
		zk.GetOp{Path: "/"})
	assert.ErrorIs(t, res[0].Err, zk.ErrNoNode)
	assert.ErrorIs(t, err, zk.ErrUnimplemented)
	assert.ErrorIs(t, err, zk.ErrConnection)
	assert.Assert(t, err == res[1].Err)
	assert.Assert(t, zk.Hopeless(err))
	assert.ErrorIs(t, res[2].Err, zk.ErrLost)
	assert.Assert(t, !zk.Hopeless(res[2].Err))
}
