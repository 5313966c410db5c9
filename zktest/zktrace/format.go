package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk/internal/talk"
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
			return fmt.Sprintf("%s %s %s\n", paint(dim, f.Time.Format("15:04:05.000000")), paint(dim, fmt.Sprintf("%3d", f.Conn)), paint(red, "x  "+talk.Printable(f.Note)))
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
			add(red, "%s (%d)", talk.ErrorName(f.Err), f.Err)
		}
		if f.Latency > 0 {
			add(dim, "%v", f.Latency.Round(time.Microsecond))
		}
		if f.Note != "" {
			add(dim, "(%s)", talk.Printable(f.Note))
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
		o.Error = talk.ErrorName(f.Err)
	}
	switch o.Kind {
	case "event":
		o.Event = talk.EventName(f.Event)
	case "request", "reply":
		o.Op = talk.OpName(f.Op)
	}
	if hasXid(f) {
		o.Xid = &f.Xid
	}
	line, err := json.Marshal(o)
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	return talk.Printable(string(line)) + "\n"
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
		return "event " + talk.EventName(f.Event)
	}
	return talk.OpName(f.Op)
}
