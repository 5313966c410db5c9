// Package handshake asks a server for a session, and judges its answer. It keeps no
// state and closes nothing.
package handshake

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk/wire"
)

const (
	minResponse     = 20       // with an empty password, as some say that a session has expired
	maxResponse     = 64 << 10 // no server comes near it; newer ones may append fields
	passwordSize    = 16
	replyHeaderSize = 16
)

// Request is what to ask for.
type Request struct {
	ID       int64 // 0: a new session
	Password []byte
	Zxid     int64
	Timeout  time.Duration
	ReadOnly bool // a server that is cut off will do
}

// Session is what was granted.
type Session struct {
	ID       int64
	Password []byte
	Timeout  time.Duration
	ReadOnly bool
	// Began is when the request was sent.
	Began time.Time
	// Sent and Received are bytes.
	Sent, Received int
}

// Verdict is why there is no session.
type Verdict struct {
	Kind Kind
	// Stray: the server has made up a session that nobody wants. Session says which
	// connection it is of.
	Stray bool
	// Code is what the server answered, of a Refused.
	Code int32
	Err  error
}

// Kind is what a Verdict means for a Dial.
type Kind int

const (
	Connection Kind = iota // the connection failed, or was closed without an answer
	Violation              // the answer is none
	Expired                // the session asked for is over
	Refused                // the server has answered with a code
	Unsuitable             // another server may do
)

func (v *Verdict) Error() string { return v.Err.Error() }
func (v *Verdict) Unwrap() error { return v.Err }

func violation(format string, args ...any) *Verdict {
	return &Verdict{Kind: Violation, Err: fmt.Errorf(format, args...)}
}

func unsuitable(text string) *Verdict { return &Verdict{Kind: Unsuitable, Err: errors.New(text)} }

// Do writes the request, and nothing more before it has read the answer: a server that
// has forgotten the session closes, and unread bytes would make it reset the connection
// and the answer be lost. It returns what was exchanged with a Verdict too.
func Do(conn io.ReadWriter, q Request, now func() time.Time) (Session, *Verdict) {
	frame := wire.BeginFrame(nil)
	password := q.Password
	if q.ID == 0 {
		password = make([]byte, passwordSize)
	}
	frame = wire.ConnectRequest{
		LastZxidSeen: q.Zxid, Timeout: int32(q.Timeout.Milliseconds()), SessionID: q.ID,
		Password: password, ReadOnly: q.ReadOnly, HasReadOnly: true,
	}.Append(frame)
	wire.EndFrame(frame, 0)
	s := Session{Began: now(), Sent: len(frame)}
	if _, err := conn.Write(frame); err != nil {
		return s, &Verdict{Err: err}
	}
	body, v := read(conn, q.Zxid)
	if v != nil {
		return s, v
	}
	s.Received = 4 + len(body)
	d := wire.NewDecoder(body)
	if len(body) == replyHeaderSize {
		// What a read-only server says to a new client (3.8).
		var h wire.ReplyHeader
		h.Decode(&d)
		return s, &Verdict{Kind: Refused, Code: h.Err, Err: errors.New("handshake refused")}
	}
	if len(body) < minResponse {
		return s, violation("a handshake of %d bytes", len(body))
	}
	var r wire.ConnectResponse
	r.Decode(&d)
	if err := d.Err(); err != nil {
		return s, violation("handshake: %w", err)
	}
	if v := judge(q, &r); v != nil {
		return s, v
	}
	s.ID, s.ReadOnly = r.SessionID, r.ReadOnly
	s.Password = bytes.Clone(r.Password)
	s.Timeout = time.Duration(r.Timeout) * time.Millisecond
	return s, nil
}

// read reads the answer. It takes no more room than has arrived, but for one step.
// Of a server that closes without one it says what that often means: the server is
// behind the client's zxid.
func read(conn io.Reader, zxid int64) ([]byte, *Verdict) {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err == io.EOF {
		text := "handshake refused: the server closed without an answer"
		if zxid > 0 {
			text += fmt.Sprintf(", as it does if it is behind zxid 0x%x", zxid)
		}
		return nil, &Verdict{Err: errors.WithMessage(err, text)}
	} else if err != nil {
		return nil, &Verdict{Err: errors.WithMessage(err, "handshake refused")} // by a TLS alert, say
	}
	n := wire.FrameLen(head[:])
	if n <= 0 || n > maxResponse {
		return nil, violation("a handshake of %d bytes", n)
	}
	var body []byte
	for len(body) < n {
		at := len(body)
		body = append(body, make([]byte, min(n-at, 512))...)
		if _, err := io.ReadFull(conn, body[at:]); err != nil {
			return nil, &Verdict{Err: errors.WithMessage(err, "handshake cut short")}
		}
	}
	return body, nil
}

// judge says why an answer gives no session; nil: it does.
func judge(q Request, r *wire.ConnectResponse) *Verdict {
	switch {
	case r.Timeout <= 0 && r.ReadOnly:
		// It may only not know the session: it is cut off from those who do.
		return unsuitable("a read-only server does not know the session")
	case r.Timeout <= 0 && q.ID == 0:
		return unsuitable("the server refused a new session")
	case r.Timeout <= 0:
		return &Verdict{Kind: Expired, Err: errors.New("expired")}
	case r.SessionID == 0:
		return violation("a handshake with session id 0")
	case len(r.Password) != passwordSize:
		return violation("a handshake with a password of %d bytes", len(r.Password))
	case q.ID != 0 && r.SessionID != q.ID && r.ReadOnly:
		// It is cut off from those who know ours, and made up one of its own.
		v := unsuitable("a read-only server does not know the session")
		v.Stray = true
		return v
	case q.ID != 0 && r.SessionID != q.ID:
		// A server that has forgotten the session and made up another.
		return &Verdict{Kind: Expired, Stray: true, Err: errors.New("expired")}
	case r.ReadOnly && !q.ReadOnly:
		return &Verdict{Kind: Refused, Code: wire.ErrNotReadOnly, Stray: q.ID == 0, Err: errors.New("Config.ReadOnly is not set")}
	}
	return nil
}
