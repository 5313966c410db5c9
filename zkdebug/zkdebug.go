// Package zkdebug serves a page about the Sessions of a metrics.Set. It shows
// their servers and leases, pending calls, watches, undelivered events, and
// recent dials, ends and Gaps. As with net/http/pprof, an import is enough:
//
//	import _ "github.com/seed-9f8420c6/zk/zkdebug"
//
//	metrics.Attach(&conf) // before Dial
//	http.ListenAndServe("127.0.0.1:6060", nil) // /debug/zk shows metrics.Default
//
// The page has no script. With ?json it is JSON. It shows no password and no
// credential. It shows paths, and errors, which may contain paths, only with
// ?paths=1. Serve it where only operators can reach it.
package zkdebug

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/metrics"
	"github.com/seed-9f8420c6/zk/tap"
)

// Default is the page of metrics.Default, at /debug/zk of the default mux.
var Default = Handler(metrics.Default)

func init() { http.Handle("/debug/zk", Default) }

// Page is the page of a Set.
type Page struct {
	set *metrics.Set

	mu     sync.Mutex // guards what follows
	frames [keptFrames]passed
	n      int // frames ever
}

// passed is a frame that has passed.
type passed struct {
	addr string
	tap.Frame
}

// Handler returns the page of a Set.
func Handler(set *metrics.Set) *Page { return &Page{set: set} }

const (
	keptFrames   = 256
	shownWatches = 1000 // of each Session
	shownCalls   = 200
)

// Tap makes the page show the last 256 frames of what is dialed from conf and of
// its successors. It lays a tap over what conf.Wrap returns.
func (p *Page) Tap(conf *zk.Config) {
	wrap := conf.Wrap
	conf.Wrap = func(addr string, c net.Conn) net.Conn {
		if wrap != nil {
			if c = wrap(addr, c); c == nil {
				return nil
			}
		}
		return tap.Conn(c, func(f tap.Frame) { p.add(addr, f) })
	}
}

func (p *Page) add(addr string, f tap.Frame) {
	f.Body = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames[p.n%keptFrames] = passed{addr, f}
	p.n++
}

// last returns the frames that have passed, newest first.
func (p *Page) last(paths bool) (out []Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := p.n - 1; i >= max(0, p.n-keptFrames); i-- {
		f := p.frames[i%keptFrames]
		x := Frame{Time: f.Time, Addr: f.addr, Size: f.Size}
		if paths {
			x.Path = f.Path
		}
		f.Path, f.Note = "", "" // in which there are paths
		x.Text = f.String()
		out = append(out, x)
	}
	return out
}

// State is the contents of the page, and its JSON.
type State struct {
	Time     time.Time
	Paths    bool // paths and errors are shown
	Sessions []Session
	Dials    []Note
	Ends     []Note
	Gaps     []Note
	Frames   []Frame // none without Page.Tap
}

// Session is a living Session. Durations are in seconds.
type Session struct {
	ID, Addr       string
	Since          time.Time
	Timeout, Lease float64
	ReadOnly       bool
	Zxid           string
	Moves          int
	Stats          zk.Stats
	Calls          []Call // the oldest
	Armed          map[string]int
	Watches        []zk.Watch `json:",omitempty"` // with paths
	QueuedFor      float64
}

// Call is a call that waits for its reply. Age is in seconds.
type Call struct {
	Op   string
	Path string `json:",omitempty"`
	Ops  int
	Age  float64
}

// Note is an entry of a metrics.History.
type Note struct {
	Time    time.Time
	Addr    string
	Session string `json:",omitempty"`
	Why     string `json:",omitempty"`
	Text    string `json:",omitempty"`
	Path    string `json:",omitempty"`
}

// Frame is a frame that was sent or received.
type Frame struct {
	Time time.Time
	Addr string
	Text string
	Path string `json:",omitempty"`
	Size int
}

// State returns the present contents of the page, with paths and errors only
// if paths is true.
func (p *Page) State(paths bool) State {
	now := time.Now()
	s := State{Time: now, Paths: paths}
	for _, live := range p.set.Sessions() {
		s.Sessions = append(s.Sessions, sessionOf(live, now, paths))
	}
	h := p.set.History()
	s.Dials, s.Ends, s.Gaps = notes(h.Dials, paths), notes(h.Ends, paths), notes(h.Gaps, paths)
	s.Frames = p.last(paths)
	return s
}

func sessionOf(live metrics.Live, now time.Time, paths bool) Session {
	x := Session{
		ID: id(live.ID()), Addr: live.Addr(), Since: live.Since, Timeout: live.Timeout().Seconds(), ReadOnly: live.ReadOnly(),
		Lease: live.ExpiresAt().Sub(now).Seconds(), Zxid: fmt.Sprintf("0x%x", live.Zxid()), Moves: live.Moves, Stats: live.Stats(),
		Armed: make(map[string]int),
	}
	x.QueuedFor = x.Stats.QueuedFor.Seconds()
	calls := live.Pending()
	for _, c := range calls[:min(len(calls), shownCalls)] {
		call := Call{Op: c.Op, Ops: c.Ops, Age: now.Sub(c.Since).Seconds()}
		if paths {
			call.Path = c.Path
		}
		x.Calls = append(x.Calls, call)
	}
	for _, k := range []zk.WatchKind{zk.DataWatch, zk.ExistsWatch, zk.ChildWatch, zk.PersistentWatch, zk.RecursiveWatch} {
		x.Armed[k.String()] = live.Watches().Count(k)
	}
	if paths {
		list := live.Watches().List()
		x.Watches = list[:min(len(list), shownWatches)]
	}
	return x
}

func id(n int64) string { return fmt.Sprintf("0x%x", uint64(n)) }

// notes returns them newest first.
func notes(list []metrics.Note, paths bool) (out []Note) {
	for i := len(list) - 1; i >= 0; i-- {
		n := list[i]
		x := Note{Time: n.Time, Addr: n.Addr, Why: n.Why}
		if n.Session != 0 {
			x.Session = id(n.Session)
		}
		if paths {
			x.Text, x.Path = n.Text, n.Path
		}
		out = append(out, x)
	}
	return out
}

// ServeHTTP writes the page, or with ?json its State.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "GET only", http.StatusMethodNotAllowed)
		return
	}
	query := r.URL.Query()
	state := p.State(query.Get("paths") == "1")
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	var out bytes.Buffer
	if query.Has("json") {
		h.Set("Content-Type", "application/json; charset=utf-8")
		e := json.NewEncoder(&out)
		e.SetIndent("", "  ")
		if err := e.Encode(state); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	} else {
		h.Set("Content-Type", "text/html; charset=utf-8")
		if err := html.Execute(&out, state); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.Write(out.Bytes())
}

// seconds prints a time for people.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
