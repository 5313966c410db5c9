package responder

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// peer is a client that sends frames and reads frames.
type peer struct {
	t  *testing.T
	nc net.Conn
}

func dial(t *testing.T, conf Config) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(conf)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		l.Close()
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	p := &peer{t, nc}
	p.write(wire.ConnectRequest{Timeout: 4000, Password: make([]byte, 16), HasReadOnly: true}.Append(nil))
	d := p.read()
	var r wire.ConnectResponse
	r.Decode(&d)
	if d.Err() != nil || r.Timeout != 4000 || r.SessionID == 0 || len(r.Password) != 16 || !r.HasReadOnly {
		t.Fatalf("handshake: %+v, %v", r, d.Err())
	}
	return p
}

func (p *peer) write(body []byte) {
	p.t.Helper()
	b := append(wire.BeginFrame(nil), body...)
	wire.EndFrame(b, 0)
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) read() wire.Decoder {
	p.t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(p.nc, head[:]); err != nil {
		p.t.Fatal(err)
	}
	b := make([]byte, wire.FrameLen(head[:]))
	if _, err := io.ReadFull(p.nc, b); err != nil {
		p.t.Fatal(err)
	}
	return wire.NewDecoder(b)
}

func (p *peer) send(xid int32, op wire.Op, body wire.Record) {
	b := wire.RequestHeader{Xid: xid, Op: op}.Append(nil)
	if body != nil {
		b = body.Append(b)
	}
	p.write(b)
}

// reply reads a frame that must answer xid with a code.
func (p *peer) reply(xid, code int32) wire.Decoder {
	p.t.Helper()
	d := p.read()
	var h wire.ReplyHeader
	h.Decode(&d)
	if d.Err() != nil || h.Xid != xid || h.Err != code || h.Zxid <= 0 {
		p.t.Fatalf("got %+v, want xid %d with error %d", h, xid, code)
	}
	return d
}

func (p *peer) event(typ int32, path string) {
	p.t.Helper()
	d := p.read()
	var h wire.ReplyHeader
	h.Decode(&d)
	var e wire.WatcherEvent
	e.Decode(&d)
	if want := (wire.WatcherEvent{Type: typ, State: wire.StateSyncConnected, Path: path}); d.Err() != nil || h.Xid != wire.XidNotification || e != want {
		p.t.Fatalf("got %+v %+v, want %+v", h, e, want)
	}
}

func get(path string, watch bool) wire.PathWatchRequest {
	return wire.PathWatchRequest{Path: path, Watch: watch}
}

func set(path string) wire.SetDataRequest { return wire.SetDataRequest{Path: path, Version: -1} }

func TestOperations(t *testing.T) {
	p := dial(t, Default)
	p.send(wire.XidPing, wire.OpPing, nil)
	p.reply(wire.XidPing, 0)

	p.send(1, wire.OpGetData, get("/a", false))
	d := p.reply(1, 0)
	var data wire.GetDataResponse
	data.Decode(&d)
	if d.Err() != nil || d.Len() != 0 || len(data.Data) != 100 || data.Stat.DataLength != 100 {
		t.Errorf("getData: %+v, %v", data, d.Err())
	}
	p.send(2, wire.OpGetChildren2, get("/a", false))
	d = p.reply(2, 0)
	var kids wire.Children2Response
	kids.Decode(&d)
	if d.Err() != nil || d.Len() != 0 || len(kids.Children) != 1000 || kids.Children[999] != "child-0000999" {
		t.Errorf("getChildren2: %d names, %v", len(kids.Children), d.Err())
	}
	p.send(3, wire.OpGetChildren, get("/a", false))
	d = p.reply(3, 0)
	var names wire.ChildrenResponse
	if names.Decode(&d); len(names.Children) != 1000 || d.Len() != 0 {
		t.Errorf("getChildren: %d names", len(names.Children))
	}
	p.send(4, wire.OpExists, get("/a", false))
	d = p.reply(4, 0)
	var st wire.Stat
	if st.Decode(&d); d.Err() != nil || d.Len() != 0 || st.Mzxid == 0 {
		t.Errorf("exists: %+v", st)
	}
	p.send(5, wire.OpSetData, set("/a"))
	d = p.reply(5, 0)
	if st.Decode(&d); d.Err() != nil || d.Len() != 0 {
		t.Errorf("setData: %v", d.Err())
	}
	p.send(6, wire.OpCreate, wire.CreateRequest{Path: "/a"})
	d = p.reply(6, 0)
	if path := d.String(); path != "/a" || d.Len() != 0 {
		t.Errorf("create: %q", path)
	}
	p.send(7, wire.OpCreate2, wire.CreateRequest{Path: "/a"})
	d = p.reply(7, 0)
	var made wire.Create2Response
	if made.Decode(&d); made.Path != "/a" || d.Err() != nil || d.Len() != 0 {
		t.Errorf("create2: %+v, %v", made, d.Err())
	}
	p.send(8, wire.OpDelete, wire.PathVersionRequest{Path: "/a", Version: -1})
	p.reply(8, 0)
	p.send(9, wire.OpSync, wire.PathRequest{Path: "/a"})
	d = p.reply(9, 0)
	if path := d.String(); path != "/a" {
		t.Errorf("sync: %q", path)
	}
	p.send(10, wire.OpGetData, get(Absent+"/a", true))
	p.reply(10, wire.ErrNoNode)
	p.send(11, wire.OpWhoAmI, nil)
	p.reply(11, wire.ErrUnimplemented)
	p.send(wire.XidAuth, wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("a:b")})
	p.reply(wire.XidAuth, 0)
	p.send(12, wire.OpCloseSession, nil)
	p.reply(12, 0)
	if n, err := p.nc.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after closeSession: %d bytes, %v", n, err)
	}
}

// Many requests in one write are answered in order, however they are cut.
func TestPipelining(t *testing.T) {
	p := dial(t, Config{Data: 3, Children: 1})
	var b []byte
	const n = 5000
	for i := range n {
		at := len(b)
		b = wire.BeginFrame(b)
		b = wire.RequestHeader{Xid: int32(i + 1), Op: wire.OpGetData}.Append(b)
		b = get("/a", false).Append(b)
		wire.EndFrame(b[at:], 0)
	}
	go func() {
		for len(b) > 0 {
			k := min(7777, len(b))
			p.nc.Write(b[:k])
			b = b[k:]
		}
	}()
	for i := range n {
		p.reply(int32(i+1), 0)
	}
}

func TestWatches(t *testing.T) {
	p := dial(t, Default)
	arm := func(op wire.Op, path string, code int32) {
		t.Helper()
		p.send(1, op, get(path, true))
		p.reply(1, code)
	}
	arm(wire.OpGetData, "/a", 0)
	arm(wire.OpGetData, "/b", 0)
	arm(wire.OpGetChildren2, "/b", 0)
	arm(wire.OpExists, Absent, wire.ErrNoNode)

	// As a server does: the event comes before the reply, once.
	p.send(2, wire.OpSetData, set("/a"))
	p.event(wire.EventNodeDataChanged, "/a")
	p.reply(2, 0)
	p.send(3, wire.OpSetData, set("/a"))
	p.reply(3, 0)
	// One Deleted for the data and the child watch.
	p.send(4, wire.OpDelete, wire.PathVersionRequest{Path: "/b", Version: -1})
	p.event(wire.EventNodeDeleted, "/b")
	p.reply(4, 0)
	p.send(5, wire.OpCreate, wire.CreateRequest{Path: Absent})
	p.event(wire.EventNodeCreated, Absent)
	p.reply(5, 0)
	p.send(6, wire.OpSetData, set(Burst))
	p.reply(6, 0)
}

func TestBurst(t *testing.T) {
	p := dial(t, Default)
	const n = 12000 // more than a chunk
	path := func(i int) string { return fmt.Sprintf("/watched/node-%09d", i) }
	var restored []string
	for i := range n {
		restored = append(restored, path(i))
	}
	p.send(1, wire.OpSetWatches, wire.SetWatchesRequest{Data: restored, Exist: []string{"/x"}, Child: []string{"/y"}})
	p.reply(1, 0)
	p.send(2, wire.OpGetData, get("/last", true))
	p.reply(2, 0)
	p.send(3, wire.OpDelete, wire.PathVersionRequest{Path: Burst, Version: -1})
	for i := range n {
		p.event(wire.EventNodeDataChanged, path(i))
	}
	p.event(wire.EventNodeDataChanged, "/last")
	p.event(wire.EventNodeCreated, "/x")
	p.event(wire.EventNodeChildrenChanged, "/y")
	p.reply(3, 0)
	p.send(4, wire.OpSetData, set(Burst))
	p.reply(4, 0)
}

func TestEventEvery(t *testing.T) {
	conf := Default
	conf.EventEvery = 3
	p := dial(t, conf)
	for i := range int32(3) {
		p.send(i, wire.OpGetData, get("/a", false))
		p.reply(i, 0)
	}
	p.event(wire.EventNodeDataChanged, EventPath)
	p.send(4, wire.OpAddWatch, wire.AddWatchRequest{Path: "/mine", Mode: wire.AddWatchPersistent})
	p.reply(4, 0)
	p.send(wire.XidPing, wire.OpPing, nil) // not counted
	p.reply(wire.XidPing, 0)
	for i := range int32(2) {
		p.send(i, wire.OpSetData, set("/a"))
		p.reply(i, 0)
	}
	p.event(wire.EventNodeDataChanged, "/mine")
}

// A getData of Cut is answered by the end, behind the replies to what came before.
func TestCut(t *testing.T) {
	p := dial(t, Default)
	p.send(1, wire.OpGetData, get("/a", false))
	p.send(2, wire.OpExists, get(Cut, false))
	p.send(3, wire.OpGetData, get(Cut, false))
	p.reply(1, 0)
	p.reply(2, 0)
	if n, err := p.nc.Read(make([]byte, 64)); err == nil {
		t.Errorf("it was answered with %d bytes", n)
	}
}

// What is no frame ends the connection, and nothing else.
func TestMalformed(t *testing.T) {
	for _, body := range [][]byte{
		{},
		{0, 0, 0, 1, 0, 0, 0, 4},
		wire.AppendString(wire.RequestHeader{Xid: 1, Op: wire.OpSetWatches}.Append(nil), "x"),
		append(wire.RequestHeader{Xid: 1, Op: wire.OpGetData}.Append(nil), 0xff, 0xff, 0xff, 0xff),
	} {
		p := dial(t, Default)
		p.write(body)
		if n, err := p.nc.Read(make([]byte, 64)); err == nil {
			t.Errorf("%x was answered with %d bytes", body, n)
		}
	}
}
