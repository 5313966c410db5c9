package scripts

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// recordedStreams returns what real servers sent, by the golden transcripts:
// events, and behind each an answer to the next call of FuzzFrames, with its
// xid, as far as there are some of the kind.
func recordedStreams(f *testing.F) (streams [][]byte) {
	f.Helper()
	calls := []struct {
		label string
		xid   int32
	}{{"reply getData", 3}, {"reply getChildren2", 4}, {"reply multi", 5}, {"reply exists", 6}, {"reply getData", 7}, {"reply getACL", 8}, {"reply auth", wire.XidAuth}}
	golden, err := filepath.Glob("../../testdata/golden/*.txt")
	assert.NilError(f, err)
	assert.Assert(f, len(golden) > 0)
	for _, name := range golden {
		text, err := os.ReadFile(name)
		assert.NilError(f, err)
		frames := make(map[string][][]byte)
		for _, part := range strings.Split(string(text), "\n>>> ") {
			head, dump, _ := strings.Cut(part, "\n")
			_, label, fromServer := strings.Cut(head, "(server to client): ")
			if !fromServer {
				continue
			}
			var frame []byte
			for line := range strings.Lines(dump) {
				digits, _, _ := strings.Cut(line, "|")
				if _, digits, found := strings.Cut(digits, "  "); found && line[0] != '#' {
					b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
					assert.NilError(f, err, "%q", line)
					frame = append(frame, b...)
				}
			}
			assert.Equal(f, wire.FrameLen(frame), len(frame)-4, "%s", part)
			frames[label] = append(frames[label], frame)
		}
		events := frames["notification"]
		assert.Assert(f, len(events) > 5 && len(frames["reply getData"]) > 3, "%s: %d kinds of frames", name, len(frames))
		for i := range events {
			var stream []byte
			for j, call := range calls {
				stream = append(stream, events[(i+j)%len(events)]...)
				of := frames[call.label]
				reply := slices.Clone(of[i%len(of)])
				wire.AppendInt32(reply[:4], call.xid)
				if call.xid == 5 && i%2 == 0 { // a recorded one is of other operations
					reply = suite.Refusal(call.xid, 9, zk.ErrNoNode)
				}
				stream = append(stream, reply...)
			}
			streams = append(streams, stream)
		}
	}
	return streams
}

// znodeFrame is what a frame as large as one large znode may cost before it has come (I36).
const znodeFrame = 1<<20 + 4<<10

// FuzzFrames sends bytes, in pieces of any size, to a Session with calls of many
// kinds under way. Every call ends, in one way; memory is bounded by what came;
// and the next Dial restores what is armed.
func FuzzFrames(f *testing.F) {
	for _, frames := range []map[string][]byte{hostileFrames, harmlessFrames} {
		for _, frame := range frames {
			if len(frame) < 5000 {
				f.Add(uint8(7), frame)
			}
		}
	}
	// What an ordinary server sends.
	stat := wire.Stat{Version: 1}
	f.Add(uint8(0), join(
		suite.Answer(3, 5, wire.GetDataResponse{Data: []byte("data"), Stat: stat}), suite.Happened(zk.Changed, "/w", 6),
		suite.Answer(4, 6, wire.Children2Response{Children: []string{"a", "b"}, Stat: stat}), suite.Happened(zk.Changed, "/p", 7), suite.Answer(wire.XidAuth, 0, nil),
		suite.Answer(5, 7, wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpSetData, Stat: stat}, {Op: wire.OpCheck}}}),
		suite.Refusal(6, 8, zk.ErrNoNode), suite.Answer(7, 8, wire.GetDataResponse{}), suite.Answer(8, 9, wire.GetACLResponse{ACL: []wire.ACL{{Perms: 31}}}),
	))
	f.Add(uint8(7), length(1<<20))
	for i, stream := range recordedStreams(f) {
		f.Add([]uint8{0, 7, 255}[i%3], stream)
	}
	f.Fuzz(func(t *testing.T, piece uint8, stream []byte) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			ch := make(chan zk.Event, 1)
			suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
			suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
			var all []*suite.Under
			for _, call := range []func() error{ // xids 3 to 8, and that of auth
				func() error { return suite.ErrOf2(s.Get(suite.BG, "/a", ch)) },
				func() error { return suite.ErrOf2(s.Children(suite.BG, "/a", ch)) },
				func() error { return suite.ErrOf(s.Multi(suite.BG, zk.SetOp{Path: "/a"}, zk.CheckOp{Path: "/b"})) },
				func() error {
					return suite.ErrOf(s.Batch(suite.BG, zk.ExistsOp{Path: "/a", Watch: ch}, zk.GetOp{Path: "/b"}))
				},
				func() error { return suite.ErrOf2(s.GetACL(suite.BG, "/a")) },
				func() error { return s.AddAuth(suite.BG, zk.Digest("u", "p")) },
			} {
				all = append(all, suite.Start(t, call))
				synctest.Wait()
			}
			for range 7 {
				l.Next()
			}
			size := len(stream)
			if n := allocated(func() {
				for part := range slices.Chunk(stream, 1+int(piece)) {
					if l.TrySend(part) != nil {
						break
					}
					synctest.Wait()
				}
				l.CloseWrite()
				<-s.Done()
			}); n > uint64(64*size+512<<10+znodeFrame) { // each piece costs the test something too
				t.Errorf("%d bytes allocated for %d", n, size)
			}
			for _, u := range all {
				var op *zk.OpError
				if err := u.Wait(); err != nil && (!errors.As(err, &op) || op.Outcome() == zk.NotSent) {
					t.Errorf("%v", err)
				}
			}
			if !errors.Is(s.Err(), zk.ErrConnection) {
				t.Errorf("ended with %v", s.Err())
			}
			conf := s.Config()
			conf.Auth = nil // if it was accepted
			goesOn(r, conf)
			r.End()
		})
	})
}

// goesOn makes sure that the State can be dialed again.
func goesOn(r *suite.Rig, conf zk.Config) {
	d := r.Begin(conf)
	l := r.Accept()
	l.Greet()
	if conf.Watches.Len() > 0 {
		l.Restored(1)
	}
	d.Session()
}

// FuzzHandshake answers the ConnectRequest with bytes. Dial makes a Session or
// says why not, and the State can be dialed again.
func FuzzHandshake(f *testing.F) {
	ok := suite.Framed(wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: suite.RigPassword, HasReadOnly: true})
	for _, seed := range [][]byte{ok, ok[:20], join(ok, suite.Answer(1, 1, nil)), join(ok, length(1<<20)), suite.Refusal(0, 0, zk.ErrNotReadOnly), suite.Refusal(0, 0, zk.ErrAuthFailed), length(-1), length(1 << 30), hostileFrames["an HTTP response"]} {
		f.Add(false, seed)
		f.Add(true, seed)
	}
	f.Fuzz(func(t *testing.T, resumed bool, answer []byte) {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			conf := r.Config()
			ch := make(chan zk.Event, 1)
			if resumed {
				s, l := r.Open(conf)
				suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
				conf = s.Detach()
			}
			d := r.Begin(conf)
			l := r.Accept()
			l.Connect()
			if n := allocated(func() {
				l.TrySend(answer)
				l.CloseWrite()
				d.Wait()
			}); n > uint64(8*len(answer)+512<<10+znodeFrame) {
				t.Errorf("%d bytes allocated for %d", n, len(answer))
			}
			switch {
			case d.Err == nil:
				<-d.S.Done()
				conf = d.S.Config()
			case errors.Is(d.Err, zk.ErrExpired):
				assert.Assert(t, resumed, "%v", d.Err)
			default:
				assert.Assert(t, errors.Is(d.Err, zk.ErrNoServer) || errors.Is(d.Err, zk.ErrAuth), "%v", d.Err)
			}
			goesOn(r, conf)
			r.End()
		})
	})
}

// FuzzSessionScript lets bytes choose what servers do, connection after
// connection, while an application calls, watches, gives calls up and redials.
// Goroutines do not run in the same order twice, and the fuzzer would try for
// minutes to shorten what it finds: go test -fuzz FuzzSessionScript -fuzzminimizetime 10x ./internal/scripts.
func FuzzSessionScript(f *testing.F) {
	for _, seed := range []string{
		"",
		"\x00rrrrerrrererr",
		"\x00rreerrx\x00rrrrrerrrx\x00rrr",
		"\x00rrwwwerrp\x03rr\x04rr\x05rr",
		"\x00rtttr\x00r\xffrrrrrr",
		"\x00" + strings.Repeat("r", 150) + "h" + strings.Repeat("w\x07/w\x0ba", 9) + "x",
		"\x00hrrrehrrrehx\x00hrrhrr",
		"\x00rrsrrx\x01\x00rrx\x02\x00rrrx",
		"\x00rnr\x00rornrurr\x00ggg",
		"\x00rrrrrrrrrrrrrrrrrrrrrrrr\x00eeeeeeeeeerrrrrrreeeeeee",
		"\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
		"\x00rrrrrrrx\x00lre\x00e\x01e\x02e\x03r",
	} {
		f.Add([]byte(seed))
	}
	for seed := range uint64(60) {
		f.Add(randomScript(rand.New(rand.NewPCG(seed, 36))))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 500 {
			t.Skip("long enough")
		}
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) { playScript(t, r, script) })
	})
}

// randomScript is a script in which much happens before something goes wrong.
func randomScript(rnd *rand.Rand) []byte {
	script := []byte{0}
	for len(script) < 400 {
		switch n := rnd.IntN(100); {
		case n < 55:
			script = append(script, 'r')
		case n < 80:
			script = append(script, 'e', byte(rnd.IntN(4*fuzzPaths)))
		case n < 85:
			script = append(script, 'w', byte(rnd.IntN(4*fuzzPaths)), "a/.\x00"[rnd.IntN(4)])
		case n < 95:
			script = append(script, "hhtsnu"[rnd.IntN(6)])
		case n < 98:
			script = append(script, 'x', byte(8*rnd.IntN(2)))
		default:
			script = append(script, "oczg"[rnd.IntN(4)], 0)
		}
	}
	return script
}

// fuzzServer is all servers of a fuzz script: one history, and the script.
type fuzzServer struct {
	t      *testing.T
	script []byte
	zxid   int64
	live   map[int64]bool // sessions
	last   int64
	forged atomic.Bool // raw bytes were sent: they may have said anything
	broken atomic.Bool // the protocol was, on purpose
	honest atomic.Bool // the script is over: they serve as they should
}

func (f *fuzzServer) op() (byte, bool) {
	if len(f.script) == 0 || f.honest.Load() {
		return 0, false
	}
	b := f.script[0]
	f.script = f.script[1:]
	return b, true
}

const fuzzPaths = 4

// serve plays one connection. It returns false when the script is at its end.
func (f *fuzzServer) serve(l *suite.Line) bool {
	defer l.Close()
	q, err := l.TryConnect()
	if err != nil {
		return true
	}
	how, ok := f.op()
	if !ok {
		return false
	}
	r := wire.ConnectResponse{Timeout: q.Timeout, SessionID: q.SessionID, Password: suite.RigPassword, HasReadOnly: true}
	switch how % 16 {
	case 1:
		return true
	case 2:
		l.TrySend(suite.Framed(r)[:how%40])
		return true
	case 3:
		r.Timeout = 0
	case 4:
		r.SessionID = 0x666
	case 5:
		r.ReadOnly = true
	case 6:
		l.TrySend(suite.Refusal(0, 0, zk.ErrNotReadOnly))
		return true
	default:
		if r.SessionID == 0 {
			f.last++
			r.SessionID = f.last
			f.live[f.last] = true
		} else if !f.live[r.SessionID] {
			r.Timeout = 0
		}
	}
	if l.TrySend(suite.Framed(r)) != nil || r.Timeout == 0 {
		return true
	}

	queue := make(chan suite.Asked, 10_000)
	go func() {
		defer close(queue)
		for {
			body, err := l.Frame()
			if err != nil || len(body) < 8 {
				return
			}
			queue <- suite.ParseAsked(body)
		}
	}()
	var due []suite.Asked
	var held [][]byte
	hold := false
	send := func(frame []byte) bool {
		held = append(held, frame)
		if hold {
			return true
		}
		err := l.TrySend(held...)
		held = nil
		return err == nil
	}
	asked := func(n int) bool {
		for len(due) < n {
			select {
			case a, ok := <-queue:
				if !ok {
					return false
				}
				due = append(due, a)
			case <-l.Stop:
				return false
			case <-time.After(time.Second):
				return false
			}
		}
		return true
	}
	reply := func(code zk.Code) []byte {
		if !asked(1) {
			return nil
		}
		a := due[0]
		due = due[1:]
		switch {
		case a.Op == wire.OpPing || a.Op == wire.OpAuth:
			return suite.Refusal(a.Xid, 0, code)
		case code != 0:
			return suite.Refusal(a.Xid, f.zxid, code)
		case a.Op == wire.OpGetData: // the zxid of what it shows
			return suite.Answer(a.Xid, f.zxid, wire.GetDataResponse{Data: []byte(a.Path), Stat: wire.Stat{Mzxid: f.zxid}})
		case a.Op == wire.OpCloseSession:
			delete(f.live, q.SessionID)
		}
		return suite.Fitting(a, f.zxid)
	}
	for {
		op, ok := f.op()
		if !ok {
			return false
		}
		alive := true
		switch op {
		case 'r':
			if b := reply(0); b != nil {
				alive = send(b)
			}
		case 'n':
			if b := reply(zk.ErrNoNode); b != nil {
				alive = send(b)
			}
		case 'u':
			if b := reply(zk.Code(int32(op) - 1000)); b != nil {
				alive = send(b)
			}
		case 'e', 'w':
			at, _ := f.op()
			f.zxid++
			path := fmt.Sprintf("/%d", at%fuzzPaths)
			if op == 'w' { // below it, where perhaps no znode can be
				name, _ := f.op()
				path += "/" + string(rune(name))
			}
			alive = send(suite.Happened(zk.EventType(1+at/fuzzPaths%4), path, f.zxid))
		case 'o': // out of order
			f.broken.Store(true)
			first, second := reply(0), reply(0)
			alive = send(append(second, first...))
		case 'l': // the next one is late
			if asked(2) {
				f.broken.Store(true)
				due[0], due[1] = due[1], due[0]
			}
		case 's':
			alive = l.Pause(time.Duration(op) * 50 * time.Millisecond)
		case 'h':
			if hold = !hold; !hold {
				alive = send(nil)
			}
		case 't':
			if b := reply(0); len(b) > 5 { // in two pieces
				alive = send(b[:len(b)/2]) && (hold || l.Pause(time.Millisecond)) && send(b[len(b)/2:])
			}
		case 'c':
			f.broken.Store(true)
			if b := reply(0); len(b) > 5 { // a body too short for its record
				b = slices.Clone(b[:len(b)-3])
				wire.EndFrame(b, 0)
				alive = send(b)
			}
		case 'x':
			hold = false
			send(nil)
			return true
		case 'z':
			delete(f.live, q.SessionID)
			return true
		default:
			f.forged.Store(true)
			f.broken.Store(true)
			n := int(op % 32)
			n = min(n, len(f.script))
			alive = send(f.script[:n])
			f.script = f.script[n:]
		}
		if !alive {
			return true
		}
	}
}

// settle plays a connection as an ordinary server does. A sync tells first
// that its path has changed.
func (f *fuzzServer) settle(l *suite.Line) {
	defer l.Close()
	q, err := l.TryConnect()
	if err != nil {
		return
	}
	r := wire.ConnectResponse{Timeout: q.Timeout, SessionID: q.SessionID, Password: suite.RigPassword, HasReadOnly: true}
	switch {
	case r.SessionID == 0:
		f.last++
		r.SessionID = f.last
		f.live[f.last] = true
	case !f.live[r.SessionID]:
		r.Timeout = 0
	}
	if l.TrySend(suite.Framed(r)) != nil || r.Timeout == 0 {
		return
	}
	for a := range l.Requests() {
		if a.Op == wire.OpSync {
			f.zxid++
			if l.TrySend(suite.Happened(zk.Changed, a.Path, f.zxid)) != nil {
				return
			}
		}
		if l.TrySend(suite.Fitting(a, f.zxid)) != nil {
			return
		}
	}
}

// playScript runs an application against a script, and checks what it sees.
func playScript(t *testing.T, r *suite.Rig, script []byte) {
	srv := &fuzzServer{t: t, script: script, zxid: 100, live: make(map[int64]bool)}
	ended, rest := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		over := false // the script is
		for {
			select {
			case l := <-r.Arrived:
				switch {
				case srv.honest.Load():
					srv.settle(l)
				case over:
					l.Close()
				default:
					over = !srv.serve(l)
				}
			case <-rest:
			case <-r.Stop:
				return
			}
		}
	}()
	conf := r.Config()
	conf.Addrs = []string{"a:1", "b:2"}
	conf.MaxInFlight = 3
	conf.ReadOnly = len(script)%2 == 0
	if len(script)%3 == 0 {
		conf.Auth = []zk.Auth{zk.Digest("u", "p")}
	}

	var mu sync.Mutex
	persistent := make(chan zk.Event) // read by its own consumer, in order
	last := int64(0)
	quit := make(chan struct{})
	consumer := suite.Start(t, func() error {
		for {
			select {
			case ev := <-persistent:
				if ev.Zxid != 0 && ev.Zxid <= last && !srv.forged.Load() {
					return fmt.Errorf("event %v behind event %d", ev, last)
				}
				last = max(last, ev.Zxid)
				time.Sleep(time.Microsecond)
			case <-quit:
				return nil
			}
		}
	})
	type shot struct {
		ch    chan zk.Event
		armed bool // the Get succeeded
	}
	var shots []*shot // of one-shot watches
	work := func(s *zk.Session, i int) error {
		ctx, cancel := context.WithTimeout(suite.BG, time.Duration(i%5+1)*200*time.Millisecond)
		defer cancel()
		path := fmt.Sprintf("/%d", i%fuzzPaths)
		switch i % 7 {
		case 0:
			return s.AddWatch(ctx, path, zk.WatchMode(i%2), persistent)
		case 1:
			_, err := s.Batch(ctx, zk.SetOp{Path: path}, zk.ChildrenOp{Path: path}, zk.ExistsOp{Path: path}, zk.GetOp{Path: path})
			if errors.Is(err, zk.ErrNoNode) {
				err = nil
			}
			return err
		case 2:
			return s.RemoveWatch(ctx, path, persistent)
		case 3:
			_, err := s.Multi(ctx, zk.CheckOp{Path: path})
			return err
		default:
			ch := make(chan zk.Event, 3)
			one := &shot{ch: ch}
			mu.Lock()
			shots = append(shots, one)
			mu.Unlock()
			data, st, err := s.Get(ctx, path, ch)
			one.armed = err == nil
			if err != nil || srv.forged.Load() {
				return err
			}
			if string(data) != path {
				return fmt.Errorf("Get %s returned the data of %s", path, data)
			}
			select {
			case ev := <-ch:
				ch <- ev // to be counted
				if ev.Zxid <= st.Mzxid && !srv.forged.Load() {
					return fmt.Errorf("an event of %d for what was read at %d", ev.Zxid, st.Mzxid)
				}
			default:
			}
			return nil
		}
	}
	for dials := 0; dials < 12; dials++ {
		s, err := zk.Dial(suite.BG, conf)
		if errors.Is(err, zk.ErrExpired) {
			conf = conf.Renew()
			continue
		}
		if err != nil {
			if !errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrAuth) {
				t.Errorf("Dial: %v", err)
			}
			continue
		}
		var all []*suite.Under
		for g := range 3 {
			all = append(all, suite.Start(t, func() error {
				for i := g; ; i++ {
					err := work(s, i)
					var op *zk.OpError
					switch {
					case err == nil:
					case !errors.As(err, &op):
						return err
					case errors.Is(err, zk.ErrNotSent) && errors.Is(err, zk.ErrLost), op.Outcome() == 0:
						return fmt.Errorf("two outcomes: %w", err)
					}
					select {
					case <-s.Done():
						return nil
					default:
						time.Sleep(time.Millisecond)
					}
				}
			}))
		}
		if dials%4 == 3 {
			time.Sleep(time.Second)
			s.Close()
		}
		<-s.Done()
		for _, u := range all {
			if err := u.Wait(); err != nil {
				t.Error(err)
			}
		}
		if s.Err() == nil {
			t.Error("done without a reason")
		}
		if errors.Is(s.Err(), zk.ErrProtocol) && !srv.broken.Load() {
			t.Errorf("a sound server has %v", s.Err())
		}
		conf = s.Config()
		text, err := json.Marshal(conf.State)
		assert.NilError(t, err)
		if err := json.Unmarshal(text, new(zk.State)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}

	// Now every path changes: who was told of success has one event, and who was
	// not has none.
	srv.honest.Store(true)
	rest <- struct{}{} // the last connection of the script is over
	s, err := zk.Dial(suite.BG, conf)
	if errors.Is(err, zk.ErrExpired) {
		s, err = zk.Dial(suite.BG, conf.Renew())
	}
	if err != nil {
		t.Fatalf("Dial of an honest server: %v", err)
	}
	for i := range fuzzPaths {
		assert.NilError(t, s.Sync(suite.BG, fmt.Sprintf("/%d", i)))
	}
	for s.Stats().Queued > 0 {
		time.Sleep(time.Millisecond)
	}
	assert.NilError(t, s.Close())
	close(quit)
	if err := consumer.Wait(); err != nil {
		t.Error(err)
	}
	for _, one := range shots {
		if n := len(one.ch); n > 1 || (n == 1) != one.armed {
			t.Errorf("%d events of a one-shot (armed: %v)", n, one.armed)
		}
	}
	r.End()
	<-ended
}
