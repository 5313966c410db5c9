// Package zk has the API of github.com/go-zookeeper/zk v1.0.4, on sessions that lose
// no event. To use it, change the import:
//
//	import zk "github.com/seed-9f8420c6/zk/gozk"
//
// or, if a dependency imports go-zookeeper, add a line to go.mod:
//
//	replace github.com/go-zookeeper/zk => github.com/seed-9f8420c6/zk/gozk v1.1.0
//
// The README lists what differs.
//
// # The loop
//
// A Conn reconnects by itself. Its loop is the first of the two loops in the
// documentation of the root:
//
//	var state root.State // of the session: what it watches, and how much it has seen
//	for ctx.Err() == nil {
//		server, around := hosts.Next() // one address for each Dial
//		if around {
//			pause(ctx) // and the calls that wait fail with ErrNoServer
//		}
//		s, err := root.Dial(ctx, root.Config{Addrs: []string{server}, Timeout: timeout, State: state})
//		switch {
//		case errors.Is(err, root.ErrExpired):
//			state = root.State{} // a new session; WithRenew keeps the watches
//			continue
//		case err != nil:
//			continue
//		}
//		hosts.Connected()
//		calls.Use(s) // until it is over
//		select {
//		case <-s.Done():
//		case <-ctx.Done():
//			s.Close()
//		}
//		state = s.Config().State // the same session, the same watches, no event missing
//	}
//
// # Calls
//
// A call waits for a connection. A call that was not sent when the connection was
// lost is sent on the next one. A call that was sent and not answered returns
// ErrConnectionClosed when State has become StateDisconnected: it may have been
// executed. Nothing is ever repeated.
//
// # Watches
//
// Each watch has a channel of its own, which gets one event and is closed. The event is
// in the channel before a later call returns, such as the Set that caused it. When the
// session expires, or the Conn is closed, the event is EventNotWatching.
//
// The channel that Connect returns gets each event once, however many watches it is for.
// Servers before 3.9 send no zxid with an event. So if an event comes while a second watch
// of its path is being armed, that channel may get the event twice.
package zk
