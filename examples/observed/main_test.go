package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

type buffer struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Under all of its faults the service goes on, and everything that shows it moves.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var spans, log buffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, "127.0.0.1:0", 100*time.Millisecond, &spans, &log) }()
	address := regexp.MustCompile(`open (http://[^/]+)/`)
	wait := func(what string, ready func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ready(); time.Sleep(10 * time.Millisecond) {
			assert.Assert(t, time.Now().Before(end), "no %s\n%s", what, log.String())
		}
	}
	wait("address", func() bool { return address.MatchString(log.String()) })
	base := address.FindStringSubmatch(log.String())[1]
	get := func(path string) string {
		resp, err := http.Get(base + path)
		assert.NilError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		assert.NilError(t, err)
		return string(body)
	}
	for _, pattern := range []string{
		`zk_client_session_moves_total [1-9]`, `zk_client_session_renewals_total [1-9]`, `zk_client_call_duration_seconds_count\{op="set"\} [1-9]`,
		`zk_client_events_total\{type="changed"\} [1-9]`, `zk_client_connections_lost_total\{reason="\w+"\} [1-9]`,
	} {
		re := regexp.MustCompile(pattern)
		wait(pattern, func() bool { return re.MatchString(get("/metrics")) })
	}
	wait("page", func() bool { return strings.Contains(get("/debug/zk?paths=1"), "/config") })
	assert.Assert(t, strings.Contains(get("/debug/vars"), `"call_seconds"`))
	cancel()
	assert.Assert(t, errors.Is(<-done, context.Canceled))
	for _, name := range []string{`"Name":"dial"`, `"Name":"set"`, `"Name":"restore"`, `"Value":"zookeeper"`} {
		assert.Assert(t, strings.Contains(spans.String(), name), name)
	}
}
