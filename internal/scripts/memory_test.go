package scripts

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// allocated returns how many bytes f allocates, on all goroutines.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// inUse returns the size of the heap without garbage.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the victims of pools too
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestI36_LiesAboutSizes: counts, lengths and frames that claim to be huge cost
// no more memory than the bytes that came.
func TestI36_LiesAboutSizes(t *testing.T) {
	for name, c := range map[string]struct {
		call string
		body []byte
	}{
		"2^31-1 children":             {"Children", join(length(math.MaxInt32), make([]byte, 100))},
		"2^29 children":               {"Children", join(length(1<<29), make([]byte, 100))},
		"as many children as fit":     {"Children", join(length(25), make([]byte, 100))},
		"2^20 children":               {"Children", join(length(1<<20), make([]byte, 100))},
		"an ACL of 2^20 entries":      {"GetACL", join(length(1<<20), make([]byte, 100))},
		"2^20 identities":             {"WhoAmI", join(length(1<<20), make([]byte, 100))},
		"an ACL of 2^31-1 entries":    {"GetACL", join(length(math.MaxInt32), make([]byte, 100))},
		"2^31-1 ephemerals":           {"Ephemerals", join(length(math.MaxInt32), make([]byte, 100))},
		"2^31-1 identities":           {"WhoAmI", join(length(math.MaxInt32), make([]byte, 100))},
		"data of 2^31-1 bytes":        {"Get", join(length(math.MaxInt32), make([]byte, 100))},
		"a path of 2^31-1 bytes":      {"Create", join(length(math.MaxInt32), make([]byte, 100))},
		"a multi's children of 2^31":  {"MultiRead", join(wire.MultiHeader{Op: wire.OpGetChildren}.Append(nil), length(math.MaxInt32), make([]byte, 100))},
		"a batch's data of 2^31 byte": {"Batch", join(length(math.MaxInt32), make([]byte, 100))},
	} {
		t.Run(name, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				u := suite.Start(t, func() error { return suite.Calls[c.call].Do(suite.BG, s, "/a", nil) })
				q := l.Next()
				if n := allocated(func() {
					l.Send(suite.Answer(q.Xid, 1, bytesOf(c.body)))
					u.Wait()
					synctest.Wait()
				}); n > 64<<10 {
					t.Errorf("%d bytes allocated for a frame of %d", n, len(c.body))
				}
			})
		})
	}
	t.Run("a frame of which a little comes", func(t *testing.T) {
		for _, c := range []struct{ length, came, believed int }{
			{zk.DefaultMaxReply, 0, 0}, {zk.DefaultMaxReply, 100, 0}, {zk.DefaultMaxReply, 100_000, 0}, {zk.DefaultMaxReply, 1 << 20, 0},
			{1 << 20, 100, 1 << 20}, {1<<20 + 8<<10, 100, 0}, // as large as a znode may be, and larger
		} {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				s, l := r.Open(r.Config())
				u := suite.Get(t, s, suite.BG, "/a", nil)
				q := l.Next()
				frame := join(length(c.length), wire.ReplyHeader{Xid: q.Xid}.Append(nil), length(c.length-100), make([]byte, c.came))
				if got := allocated(func() {
					l.Send(frame)
					synctest.Wait()
				}); got > uint64(8*len(frame)+192<<10+c.believed) {
					t.Errorf("%d bytes allocated for %d", got, len(frame))
				}
				l.Close()
				u.Lost(io.ErrUnexpectedEOF)
			})
		}
	})
}

// Memory goes back: after a large reply, after many watches and events, after a
// million events that nobody waits for.
func TestI36_MemoryGoesBack(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		u := suite.Get(t, s, suite.BG, "/warm", nil)
		l.Send(suite.Fitting(l.Next(), 1))
		u.OK()
		rest := func() int64 {
			time.Sleep(suite.RigTimeout / 2) // a tick
			l.Send(suite.Answer(wire.XidPing, 0, nil))
			synctest.Wait()
			return inUse()
		}
		base := rest()
		check := func(what string) {
			t.Helper()
			if more := rest() - base; more > 384<<10 {
				t.Errorf("after %s the heap is larger by %d bytes", what, more)
			}
		}

		var frames []byte
		for range 3000 {
			frames = append(frames, suite.Happened(zk.Changed, "/nobody", -1)...)
		}
		base = rest()
		for range 334 {
			l.Send(frames)
			synctest.Wait()
		}
		assert.Equal(t, s.Stats().Ignored, int64(1_002_000))
		assert.NilError(t, s.Err())
		check("a million events")
		frames = nil
		base = rest()

		u = suite.Get(t, s, suite.BG, "/a", nil)
		large := suite.Answer(l.Next().Xid, 1, wire.GetDataResponse{Data: make([]byte, 8<<20)})
		for part := range slices.Chunk(large, 64<<10) { // the pipe would keep a buffer for all of it
			l.Send(part)
			synctest.Wait()
		}
		large = nil
		u.OK()
		check("a large reply")

		// The connection's buffers grow in a first round, without watches.
		const n = 20_000
		ch := make(chan zk.Event, n)
		round := func(watch chan<- zk.Event) {
			var ops []zk.Op
			for i := range n {
				ops = append(ops, zk.GetOp{Path: fmt.Sprintf("/%d", i), Watch: watch})
			}
			u := suite.Start(t, func() error { _, err := s.Batch(suite.BG, ops...); return err })
			for i := range ops {
				l.Send(suite.Fitting(l.Next(), 1))
				if i%100 == 0 { // or the pipe would have to hold more in one round than in the other
					synctest.Wait()
				}
			}
			u.OK()
			for from := 0; from < n; from += 500 {
				var frames []byte
				for i := from; i < from+500; i++ {
					frames = append(frames, suite.Happened(zk.Changed, fmt.Sprintf("/%d", i), -1)...)
				}
				l.Send(frames)
				synctest.Wait()
			}
		}
		round(nil)
		base = rest()
		round(ch)
		assert.Equal(t, len(suite.Taken(ch)), n)
		check("20,000 watches that fired")
		runtime.KeepAlive(ch)
	})
}

// A Multi whose first operation has much data reserves no more than it needs: nothing is
// guessed from that.
func TestMultiReservesNoMore(t *testing.T) {
	const data, others = 100 << 10, 2
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		go l.Serve(func(a suite.Asked) [][]byte { return [][]byte{suite.Refusal(a.Xid, 1, zk.ErrNoAuth)} })
		ops := []zk.WriteOp{zk.SetOp{Path: "/a", Data: make([]byte, data), Version: -1}}
		for range others {
			ops = append(ops, zk.CheckOp{Path: "/b", Version: 3})
		}
		const calls = 100
		run := func() {
			for range calls {
				_, err := s.Multi(suite.BG, ops...)
				assert.ErrorIs(t, err, zk.ErrNoAuth)
			}
		}
		run()
		got := allocated(run) / calls
		assert.Check(t, got < 4*data, "%d bytes a call, with those of the server", got)
		s.Detach()
	})
}
