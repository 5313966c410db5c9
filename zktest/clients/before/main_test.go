package main

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/go-zookeeper/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestRun(t *testing.T) {
	server := zktest.NewServer(t)
	other, events, err := zk.Connect(server.Addrs(), 4_000_000_000)
	assert.NilError(t, err)
	defer other.Close()
	go func() {
		for range events {
		}
	}()
	for _, path := range []string{"/services", "/config"} {
		_, err = other.Create(path, []byte("one"), 0, zk.WorldACL(zk.PermAll))
		assert.NilError(t, err)
	}
	_, _, registered, err := other.ExistsW("/services/a")
	assert.NilError(t, err)

	shown, stop, ended := make(chan string, 10), make(chan struct{}), make(chan error)
	go func() {
		ended <- run(server.Addrs(), "a", func(data []byte) { shown <- string(data) }, stop)
	}()
	<-registered
	assert.Equal(t, <-shown, "one")
	_, err = other.Set("/config", []byte("two"), -1)
	assert.NilError(t, err)
	assert.Equal(t, <-shown, "two")
	close(stop)
	assert.NilError(t, <-ended)
}
