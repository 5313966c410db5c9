// Before is a program that uses go-zookeeper: it registers itself and follows a
// configuration. docs/from-go-zookeeper.md shows it beside docs/examples/after,
// which does the same with this module's client.
package main

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/go-zookeeper/zk"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: before ID ADDR…")
	}
	err := run(os.Args[2:], os.Args[1], func(data []byte) { fmt.Printf("config: %s\n", data) }, nil)
	if err != nil {
		log.Fatal(err)
	}
}

//doc:before

func run(addrs []string, id string, show func([]byte), stop <-chan struct{}) error {
	conn, events, err := zk.Connect(addrs, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	go register(conn, events, id)
	for {
		data, _, changed, err := conn.GetW("/config")
		switch err {
		case nil:
		case zk.ErrConnectionClosed, zk.ErrSessionExpired, zk.ErrNoServer:
			time.Sleep(100 * time.Millisecond) // it reconnects by itself
			continue
		default:
			return err
		}
		show(data)
		select {
		case <-changed: // or EventNotWatching: read again in any case
		case <-stop:
			return nil
		}
	}
}

// register makes the ephemeral znode, again for each new session.
func register(conn *zk.Conn, events <-chan zk.Event, id string) {
	var session int64
	for ev := range events {
		if ev.State != zk.StateHasSession || conn.SessionID() == session {
			continue
		}
		_, err := conn.Create("/services/"+id, nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
		if err != nil && err != zk.ErrNodeExists { // is it ours, or that of the session before?
			log.Printf("not registered: %v", err)
			continue
		}
		session = conn.SessionID()
	}
}

//doc:end
