package zk

import (
	"fmt"
	"os"
	"sync"

	"github.com/seed-9f8420c6/zk/zktest"
)

var tracers struct {
	sync.Mutex // guards of
	of         map[string]*zktest.Proxy
}

// StartTracer lets clients connect to listenAddr, passes what they say on to serverAddr,
// and prints each request, reply and event on the standard output, in a line. It returns
// at once; StopTracer ends it. It panics where it cannot listen.
func StartTracer(listenAddr, serverAddr string) {
	p, err := zktest.StartProxy(serverAddr, zktest.ProxyOptions{
		Listen: listenAddr, FrameLog: -1,
		OnFrame: func(f zktest.Frame) { fmt.Fprintln(os.Stdout, f) },
	})
	if err != nil {
		panic(err)
	}
	tracers.Lock()
	defer tracers.Unlock()
	if tracers.of == nil {
		tracers.of = make(map[string]*zktest.Proxy)
	}
	tracers.of[listenAddr] = p
}

// StopTracer ends what StartTracer began at this address, and its connections.
func StopTracer(listenAddr string) {
	tracers.Lock()
	p := tracers.of[listenAddr]
	delete(tracers.of, listenAddr)
	tracers.Unlock()
	if p != nil {
		p.Close()
	}
}
