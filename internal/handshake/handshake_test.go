package handshake

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// peer has an answer ready, and keeps what is written.
type peer struct {
	io.Reader
	wrote bytes.Buffer
}

func (p *peer) Write(b []byte) (int, error) { return p.wrote.Write(b) }

func framed(body []byte) []byte { return append(wire.AppendInt32(nil, int32(len(body))), body...) }

var epoch = time.Unix(1, 0)

func do(answer []byte, q Request) (Session, *Verdict, *peer) {
	p := &peer{Reader: bytes.NewReader(answer)}
	s, v := Do(p, q, func() time.Time { return epoch })
	return s, v, p
}

// What is asked for is on the wire, and what is granted comes back.
func TestGranted(t *testing.T) {
	password := []byte("0123456789abcdef")
	q := Request{ID: 7, Password: password, Zxid: 9, Timeout: 3 * time.Second, ReadOnly: true}
	answer := framed(wire.ConnectResponse{Timeout: 2000, SessionID: 7, Password: password, ReadOnly: true, HasReadOnly: true}.Append(nil))
	s, v, p := do(append(answer, 1, 2, 3), q) // what comes behind is left alone
	assert.Assert(t, v == nil)
	assert.DeepEqual(t, s, Session{ID: 7, Password: password, Timeout: 2 * time.Second, ReadOnly: true, Began: epoch, Sent: p.wrote.Len(), Received: len(answer)})
	rest, _ := io.ReadAll(p)
	assert.Equal(t, len(rest), 3)
	d := wire.NewDecoder(p.wrote.Bytes()[4:])
	var asked wire.ConnectRequest
	asked.Decode(&d)
	assert.NilError(t, d.Err())
	assert.DeepEqual(t, asked, wire.ConnectRequest{LastZxidSeen: 9, Timeout: 3000, SessionID: 7, Password: password, ReadOnly: true, HasReadOnly: true})
}

// Any other answer has its meaning.
func TestVerdicts(t *testing.T) {
	response := func(r wire.ConnectResponse) []byte { return framed(r.Append(nil)) }
	good := make([]byte, passwordSize)
	code := framed(wire.ReplyHeader{Err: -112}.Append(nil))
	old, fresh := Request{ID: 7, Password: good}, Request{}
	for _, c := range []struct {
		name   string
		answer []byte
		q      Request
		kind   Kind
		stray  bool
	}{
		{"nothing", nil, old, Connection, false},
		{"half a length", []byte{0, 0}, old, Connection, false},
		{"half an answer", code[:10], old, Connection, false},
		{"length 0", framed(nil), old, Violation, false},
		{"too long", wire.AppendInt32(nil, maxResponse+1), old, Violation, false},
		{"too short", framed(make([]byte, 19)), old, Violation, false},
		{"a code", code, old, Refused, false},
		{"expired", response(wire.ConnectResponse{Password: good}), old, Expired, false},
		{"expired, without a password", response(wire.ConnectResponse{Password: []byte{}}), old, Expired, false},
		{"no new session", response(wire.ConnectResponse{Password: good}), fresh, Unsuitable, false},
		{"a read-only server has no such session", response(wire.ConnectResponse{ReadOnly: true, HasReadOnly: true, Password: good}), old, Unsuitable, false},
		{"id 0", response(wire.ConnectResponse{Timeout: 1, Password: good}), fresh, Violation, false},
		{"odd password", response(wire.ConnectResponse{Timeout: 1, SessionID: 1, Password: good[:15]}), fresh, Violation, false},
		{"another session", response(wire.ConnectResponse{Timeout: 1, SessionID: 8, Password: good}), old, Expired, true},
		{"another session, read-only", response(wire.ConnectResponse{Timeout: 1, SessionID: 8, Password: good, ReadOnly: true, HasReadOnly: true}), old, Unsuitable, true},
		{"read-only, new", response(wire.ConnectResponse{Timeout: 1, SessionID: 8, Password: good, ReadOnly: true, HasReadOnly: true}), fresh, Refused, true},
		{"read-only, known", response(wire.ConnectResponse{Timeout: 1, SessionID: 7, Password: good, ReadOnly: true, HasReadOnly: true}), old, Refused, false},
	} {
		s, v, _ := do(c.answer, c.q)
		assert.Assert(t, v != nil, c.name)
		assert.Assert(t, v.Kind == c.kind && v.Stray == c.stray, "%s: %+v", c.name, v)
		assert.Equal(t, s.ID, int64(0), c.name)
		assert.Assert(t, v.Error() != "" && errors.Is(v, v.Err))
	}
}

// A length costs nothing until its bytes are there.
func TestHostileLength(t *testing.T) {
	n := testing.AllocsPerRun(10, func() {
		do(append(wire.AppendInt32(nil, maxResponse), 1), Request{})
	})
	assert.Assert(t, n < 40, n)
}
