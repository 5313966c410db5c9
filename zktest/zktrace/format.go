package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// colour is an SGR sequence of a terminal, or nothing.
type colour string

const (
	plain  colour = "\x1b[0m"
	dim    colour = "\x1b[2m"
	red    colour = "\x1b[31m"
	green  colour = "\x1b[32m"
	yellow colour = "\x1b[33m"
	cyan   colour = "\x1b[36m"
)

// colours says whether a file wants them (https://no-color.org).
func colours(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// textLine returns a function that makes a line for people.
func textLine(coloured bool) func(zktest.Frame) string {
	return func(f zktest.Frame) string {
		paint := func(c colour, s string) string {
			if !coloured || c == "" || s == "" {
				return s
			}
			return string(c) + s + string(plain)
		}
		arrow, c := "->", cyan
		switch kind(f) {
		case "reply":
			arrow, c = "<-", green
		case "event":
			arrow, c = "<-", yellow
		case "end":
			return fmt.Sprintf("%s %s %s\n", paint(dim, f.Time.Format("15:04:05.000000")), paint(dim, fmt.Sprintf("%3d", f.Conn)), paint(red, "x  "+printable(f.Note)))
		}
		words := []string{paint(dim, f.Time.Format("15:04:05.000000")), paint(dim, fmt.Sprintf("%3d", f.Conn)), paint(c, arrow), paint(c, name(f))}
		add := func(c colour, format string, args ...any) {
			words = append(words, paint(c, fmt.Sprintf(format, args...)))
		}
		if hasXid(f) {
			add(dim, "#%d", f.Xid)
		}
		if f.Path != "" {
			add("", "%q", f.Path)
		}
		switch {
		case f.Op != zktest.OpConnect:
		case f.Session != 0:
			add("", "session %#x", uint64(f.Session))
		case f.Dir == zktest.FromClient:
			add("", "new session")
		}
		if f.Zxid > 0 {
			add(dim, "zxid %#x", f.Zxid)
		}
		if f.Err != 0 {
			add(red, "%s (%d)", errorName(f.Err), f.Err)
		}
		if f.Latency > 0 {
			add(dim, "%v", f.Latency.Round(time.Microsecond))
		}
		if f.Note != "" {
			add(dim, "(%s)", printable(f.Note))
		}
		return strings.Join(words, " ") + "\n"
	}
}

// object is a line of JSON.
type object struct {
	Time      string `json:"time"`
	Conn      int64  `json:"conn"`
	Kind      string `json:"kind"`
	Op        string `json:"op,omitempty"`
	Xid       *int32 `json:"xid,omitempty"`
	Session   string `json:"session,omitempty"`
	Path      string `json:"path,omitempty"`
	Zxid      string `json:"zxid,omitempty"`
	Err       int32  `json:"err,omitempty"`
	Error     string `json:"error,omitempty"`
	Event     string `json:"event,omitempty"`
	LatencyUS int64  `json:"latency_us,omitempty"`
	Bytes     int    `json:"bytes,omitempty"`
	Note      string `json:"note,omitempty"`
}

func jsonLine(f zktest.Frame) string {
	o := object{
		Time: f.Time.Format(time.RFC3339Nano), Conn: f.Conn, Kind: kind(f),
		Path: f.Path, Err: f.Err, LatencyUS: f.Latency.Microseconds(), Bytes: f.Len, Note: f.Note,
	}
	if f.Session != 0 {
		o.Session = fmt.Sprintf("%#x", uint64(f.Session))
	}
	if f.Zxid > 0 {
		o.Zxid = fmt.Sprintf("%#x", f.Zxid)
	}
	if f.Err != 0 {
		o.Error = errorName(f.Err)
	}
	switch o.Kind {
	case "event":
		o.Event = eventName(f.Event)
	case "request", "reply":
		o.Op = opName(f)
	}
	if hasXid(f) {
		o.Xid = &f.Xid
	}
	line, err := json.Marshal(o)
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	return printable(string(line)) + "\n"
}

// printable escapes what a terminal might obey, which peers can have put into
// paths and notes. JSON does that for some only; what comes out is the same JSON.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s { // bytes that are not UTF-8 become U+FFFD
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

func kind(f zktest.Frame) string {
	switch {
	case f.Dir == zktest.Hangup:
		return "end"
	case f.Dir == zktest.FromClient:
		return "request"
	case f.Op == wire.OpNotification:
		return "event"
	}
	return "reply"
}

// hasXid says whether the frame's xid means something to people.
func hasXid(f zktest.Frame) bool {
	return f.Dir != zktest.Hangup && f.Op != zktest.OpConnect && f.Op != wire.OpNotification && f.Xid > 0
}

// name says what a line of text is about.
func name(f zktest.Frame) string {
	if kind(f) == "event" {
		return "event " + eventName(f.Event)
	}
	return opName(f)
}

func opName(f zktest.Frame) string {
	switch f.Op {
	case zktest.OpConnect:
		return "connect"
	case wire.OpError: // a proxy's word for what it could not decode
		return "unknown"
	}
	return f.Op.String()
}

func eventName(typ int32) string {
	switch typ {
	case wire.EventNodeCreated:
		return "created"
	case wire.EventNodeDeleted:
		return "deleted"
	case wire.EventNodeDataChanged:
		return "changed"
	case wire.EventNodeChildrenChanged:
		return "child"
	}
	return fmt.Sprint("type ", typ)
}

var errorNames = map[int32]string{
	wire.ErrSystem: "SystemError", wire.ErrRuntimeInconsistency: "RuntimeInconsistency", wire.ErrDataInconsistency: "DataInconsistency",
	wire.ErrMarshalling: "MarshallingError", wire.ErrUnimplemented: "Unimplemented", wire.ErrBadArguments: "BadArguments",
	wire.ErrNewConfigNoQuorum: "NewConfigNoQuorum", wire.ErrReconfigInProgress: "ReconfigInProgress", wire.ErrNoNode: "NoNode",
	wire.ErrNoAuth: "NoAuth", wire.ErrBadVersion: "BadVersion", wire.ErrNoChildrenForEphemerals: "NoChildrenForEphemerals",
	wire.ErrNodeExists: "NodeExists", wire.ErrNotEmpty: "NotEmpty", wire.ErrSessionExpired: "SessionExpired",
	wire.ErrInvalidACL: "InvalidACL", wire.ErrAuthFailed: "AuthFailed", wire.ErrSessionMoved: "SessionMoved",
	wire.ErrNotReadOnly: "NotReadOnly", wire.ErrEphemeralOnLocalSession: "EphemeralOnLocalSession", wire.ErrNoWatcher: "NoWatcher",
	wire.ErrReconfigDisabled: "ReconfigDisabled", wire.ErrSessionClosedRequireSASL: "SessionClosedRequireSASL",
	wire.ErrQuotaExceeded: "QuotaExceeded", wire.ErrThrottled: "Throttled",
}

func errorName(code int32) string {
	if s, ok := errorNames[code]; ok {
		return s
	}
	return "error"
}
