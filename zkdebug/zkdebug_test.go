package zkdebug_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/metrics"
	"github.com/seed-9f8420c6/zk/zkdebug"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestMain(m *testing.M) { os.Exit(suite.RunTests(m, func() error { return nil })) }

const hostile = "/<script>alert(1)"

// busy is a page of a session that has moved, with a call that waits, an event that
// nobody receives, a Gap, an end and a failed dial.
func busy(t *testing.T, e *suite.Env) (*zkdebug.Page, *zk.Session) {
	set := metrics.New()
	page := zkdebug.Handler(set)
	conf, _ := e.Config()
	conf.Auth = []zk.Auth{zk.Digest("user", "Hush-Hush")}
	page.Tap(&conf)
	set.Attach(&conf)
	bad := conf
	bad.DialContext, bad.Addrs = nil, []string{"127.0.0.1:1"}
	_, err := zk.Dial(e.Ctx, bad)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	s := e.Dial(conf)
	e.Create(s, hostile, "secret-data")
	assert.NilError(t, s.AddWatch(e.Ctx, hostile, zk.WatchPersistent, make(chan zk.Event, 9)))
	e.Sim.Cut(s.ID())
	suite.Await(t, s.Done())
	e.Set(e.Session(), hostile, "x")
	s = e.Move(s)
	full := make(chan zk.Event)
	e.Watch(s, hostile, full)
	e.Set(s, hostile, "y")
	e.Sim.Fault(suite.StallOn(s, "/stalled"))
	t.Cleanup(func() { e.Sim.Cut(s.ID()) }) // Close would wait
	go s.Get(e.Ctx, "/stalled", nil)
	for len(s.Pending()) == 0 {
		time.Sleep(time.Millisecond)
	}
	return page, s
}

func get(t *testing.T, h http.Handler, query string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/debug/zk"+query, nil))
	assert.Equal(t, w.Code, 200)
	return w
}

// What the page shows is what its JSON has, and both are true.
func TestPage(t *testing.T) {
	e := suite.Private(t, 1)
	page, s := busy(t, e)
	var state zkdebug.State
	w := get(t, page, "?json&paths=1")
	assert.NilError(t, json.Unmarshal(w.Body.Bytes(), &state))
	assert.Equal(t, len(state.Sessions), 1)
	x := state.Sessions[0]
	assert.Equal(t, x.ID, fmt.Sprintf("0x%x", uint64(s.ID())))
	assert.Equal(t, x.Addr, s.Addr())
	assert.Equal(t, x.Timeout, s.Timeout().Seconds())
	assert.Assert(t, x.Lease > 0 && x.Lease <= x.Timeout*3/4)
	assert.Equal(t, x.Moves, 1)
	assert.Equal(t, fmt.Sprint(x.Calls[0].Op, x.Calls[0].Path, x.Calls[0].Ops, len(x.Calls)), "get/stalled1 1")
	assert.Equal(t, x.Armed["persistent"], 1)
	assert.Equal(t, x.Stats.Queued, 1)
	assert.Equal(t, fmt.Sprint(x.Stats.Calls, x.Stats.Failed, x.Stats.Abandoned), "3 0 0") // a Get, a Set, and the Get that waits
	assert.Equal(t, len(x.Watches), 2)
	assert.Assert(t, state.Ends[0].Why == "eof" || state.Ends[0].Why == "closed_by_peer", state.Ends[0].Why)
	assert.Equal(t, state.Dials[len(state.Dials)-1].Why, "tcp")
	assert.Equal(t, state.Dials[0].Session, x.ID)
	assert.Equal(t, state.Gaps[0].Path, hostile)
	assert.Assert(t, len(state.Frames) > 10)
	assert.Assert(t, strings.Contains(state.Frames[0].Text, "getData"), state.Frames[0].Text)

	text := get(t, page, "?paths=1").Body.String()
	for _, want := range []string{
		"Sessions: 1", "Session " + x.ID + " at " + s.Addr(), "/stalled", "waits for room", "Last gaps", "tcp", "connection refused", "getData",
		"&lt;script&gt;alert(1)",
	} {
		assert.Check(t, strings.Contains(text, want), "no %q in\n%s", want, text)
	}
	assert.Assert(t, strings.Contains(get(t, zkdebug.Handler(metrics.New()), "").Body.String(), "metrics.Attach"))
}

// Paths and errors are shown on demand only, secrets never, and there is no script.
func TestNothingToHide(t *testing.T) {
	e := suite.Private(t, 1)
	page, s := busy(t, e)
	script := regexp.MustCompile(`(?i)<script|javascript:|\son\w+=`)
	for _, query := range []string{"", "?json", "?paths=1", "?json&paths=1", "?paths=0"} {
		w := get(t, page, query)
		text := w.Body.String()
		hidden := []string{"Hush", "secret-data", string(s.Config().Password)}
		if !strings.Contains(query, "paths=1") {
			hidden = append(hidden, "alert(1)", "stalled", "refused")
		}
		for _, h := range hidden {
			assert.Check(t, !strings.Contains(text, h), "%q: %q is shown in\n%s", query, h, text)
		}
		if strings.Contains(query, "json") {
			assert.Equal(t, w.Header().Get("Content-Type"), "application/json; charset=utf-8")
			continue
		}
		assert.Check(t, !script.MatchString(text), "%q: %s", query, script.FindString(text))
		assert.Equal(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'unsafe-inline'")
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("POST", "/debug/zk", nil))
	assert.Equal(t, w.Code, http.StatusMethodNotAllowed)
}

// The import has put the page of metrics.Default under /debug/zk.
func TestDefault(t *testing.T) {
	e := zktest.NewServer(t)
	conf := zk.Config{Addrs: e.Addrs()}
	metrics.Attach(&conf)
	s, err := zk.Dial(context.Background(), conf)
	assert.NilError(t, err)
	defer s.Close()
	w := get(t, http.DefaultServeMux, "")
	assert.Assert(t, strings.Contains(w.Body.String(), fmt.Sprintf("0x%x", uint64(s.ID()))))
}

// The page is bounded, whatever has happened.
func TestBounds(t *testing.T) {
	e := suite.Private(t, 1)
	set := metrics.New()
	page := zkdebug.Handler(set)
	conf, _ := e.Config()
	page.Tap(&conf)
	set.Attach(&conf)
	s := e.Dial(conf)
	for range 100 {
		next, err := s.Redial(e.Ctx)
		assert.NilError(t, err)
		s = next
	}
	for range 200 {
		assert.NilError(t, s.Sync(e.Ctx, "/"))
	}
	state := page.State(false)
	assert.Equal(t, fmt.Sprint(len(state.Sessions), len(state.Dials), len(state.Ends), len(state.Frames)), "1 64 64 256")
	assert.Equal(t, state.Sessions[0].Moves, 100)
	assert.Assert(t, strings.Contains(state.Frames[0].Text, "<- sync"), state.Frames[0].Text)
	assert.Assert(t, state.Dials[0].Time.After(state.Dials[63].Time))
	assert.NilError(t, s.Close())
	assert.Equal(t, page.State(false).Ends[0].Why, "closed")
}
