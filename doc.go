// Package zk is a synchronous client for Apache ZooKeeper.
//
// A [Session] is bound to one connection. [Dial] makes it, its methods send a
// request and wait for the answer, and when the connection is lost, every call
// reports it. Nothing reconnects or repeats a call behind the application's
// back. The application dials again, and the session moves, with its ephemeral
// znodes, its watches and the events that were not delivered yet.
//
//	s, err := zk.Dial(ctx, zk.Config{Addrs: addrs})
//	if err != nil {
//		return err
//	}
//	data, stat, err := s.Get(ctx, "/color", changed) // changed := make(chan zk.Event, 1)
//
//	<-s.Done() // the connection is lost
//	s, err = zk.Dial(ctx, s.Config()) // the same session, the same watches, no event missing
//
// Events are sent to channels that the application makes and never has to
// close. A capacity of 1 is enough for a one-shot watch whose event is received
// before its channel is armed again. Events are delivered in one order across
// all channels of a session. A full channel therefore delays all later events
// of the session, those of recipes and streams too. It never delays answers,
// and no event is dropped.
//
// # Two loops
//
// There is no event for connected, disconnected or expired. [Session.Done] and
// [Session.Err] report that a connection is over. What to do next belongs in
// one of two loops. If one goroutine owns the session, it is the loop that
// dials:
//
//	func own(ctx context.Context, conf zk.Config, work func(context.Context, *zk.Session) error) error {
//		for ctx.Err() == nil {
//			s, err := zk.Dial(ctx, conf)
//			switch {
//			case errors.Is(err, zk.ErrExpired): // same watches, a new session; ephemerals must be created again
//				conf = conf.Renew()
//				continue
//			case errors.Is(err, zk.ErrNoServer): // nobody reachable: the same config, a little later
//				slog.Warn("retrying", "err", err) // it names each server with its reason
//				backoff(ctx)
//				continue
//			case err != nil: // a bad config, refused credentials: the next time would be no better
//				return err
//			}
//			err = work(ctx, s)
//			if !errors.Is(err, zk.ErrConnection) || zk.Hopeless(err) {
//				s.Close() // the session ends, and its ephemerals go; where that fails it expires by itself
//				return err
//			}
//			conf = s.Detach() // dead or alive: same session, same watches, for the next connection
//		}
//		return ctx.Err()
//	}
//
// work returns when the Session is over, or with an error of its own. backoff
// waits a moment. The function recipe.Run is this loop, ready to use. It also
// waits if one connection after another ends at once.
//
// Goroutines that share a Session continue with its successor. Each decides
// about its operation by the outcome:
//
//	for {
//		_, err := s.Set(ctx, path, data, version)
//		switch {
//		case zk.Hopeless(err):
//			return err
//		case errors.Is(err, zk.ErrLost): // sent, unanswered: look before repeating
//			if s, err = successor(ctx, s); err != nil {
//				return err
//			}
//			if s, done, err = look(ctx, s); done || err != nil {
//				return err
//			}
//		case errors.Is(err, zk.ErrConnection), errors.Is(err, zk.ErrMoved): // not done: repeat
//			if s, err = successor(ctx, s); err != nil {
//				return err
//			}
//		default:
//			return err
//		}
//	}
//
// Some answers end the connection, and would end the next one too, so that
// retrying would loop for ever. [Hopeless] recognises them. Other calls in
// flight are merely lost.
//
// look calls [Session.Sync] and then reads, because the next server may lag
// behind the last one. All goroutines that ask for the successor of a Session
// get the same one, made by one Dial:
//
//	next, err := s.Redial(ctx)
//	if errors.Is(err, zk.ErrExpired) {
//		next, err = s.Renew(ctx)
//	}
//
// Code that uses a Session but must not dial waits for the next one with
// [Session.Successor].
//
// The program in examples/redial runs both loops, on connections that are cut all the
// time.
//
// # Outcomes
//
// The error of a failed call is an [*OpError]. [OpError.Outcome] is one of three:
//
//	errors.Is(err, …)   outcome     what is known             the application
//	a Code: ErrNoNode…  Answered    the server's answer       handles it
//	ErrNotSent          NotSent     no byte of it left        may repeat it, if the reason has passed
//	ErrLost             Lost        sent, and not answered    looks, then decides
//
// The error also has a reason. errors.Is finds the outcome and the reason:
//
//	ErrConnection   this connection is over; the session may live   Dial, Redial
//	ErrMoved        another Session has taken over                  Redial gives it
//	ErrExpired      the server has forgotten the session            Renew
//	ErrNoServer     every address failed: the reason of each        retry later
//	ErrAuth         credentials refused; the session lives          use other credentials
//	ErrClosed       after Close or Detach
//	ErrBadPath, ErrTooLarge, ErrBadArguments: not sent, and never will be
//
// Only Dial and Redial return ErrExpired, because only a server decides
// that.
//
// Some answers end the connection, and then the error matches ErrConnection too:
// [ErrUnimplemented], if the server does not support the operation; ErrAuth,
// after a refused [Session.AddAuth] or without the SASL that the server
// requires; ErrTooLarge, for a reply above Config.MaxReply, whose call is lost.
// Redialing and repeating the call does not help with these three. It does help
// after [ErrSessionMoved] and [ErrSessionExpired]. Other calls in flight fail as
// with any lost connection. Their errors match the same reason, but their
// outcome is not Answered.
//
// # Contexts
//
// A context ends the wait of a call, never the session. A request that was sent
// by then is [ErrLost] and may still be executed. A request that was not sent
// is [ErrNotSent]. Both match the context's error too.
//
// Dial obeys its context in every step. It tries every server once, in random
// order. The server whose connection was just lost comes last. All share the
// time equally: the time until the context's deadline or, without one, the
// longer of Config.Timeout and the granted timeout of a session that moves.
// While that session may still live, it is at most the rest of its lifetime.
//
// # Credentials
//
// Config.Auth is sent on every connection, before the watches. Config.SASL
// comes first, on every connection too. Its exchange must end within two
// thirds of the session timeout, because no pings are sent before that. Dial
// fails with [ErrAuth] when a server refuses a credential of Config.Auth, or
// when all servers refuse SASL or fail to authenticate themselves by it.
// ZooKeeper 3.4 refuses SASL by closing the connection, which looks like any
// lost connection.
//
//	conf.Auth = []zk.Auth{zk.Digest("alice", "secret")} // sent on every connection
//
// [Digest] makes a credential. [ACLDigest] makes the matching access control
// list.
//
// # Watches
//
// [Session.Get], [Session.Exists] and [Session.Children] arm a channel for one
// event. The event reports that something changed, not what it is now. Read
// again, which arms the channel again.
//
//	Get        an existing znode   Changed or Deleted
//	Exists     an existing znode   Changed or Deleted
//	Exists     a missing znode     Created
//	Children   an existing znode   Child or Deleted
//
// A call that returns an error has armed nothing. For Exists a missing znode is not an
// error. A channel that is armed in several ways gets one event per change. An event
// does not say which call armed its channel: use a channel for each purpose. Use
// [Session.RemoveWatch] to disarm it. Do not close a channel that may be armed: an
// event that is just being sent makes that a data race. A closed channel loses its
// watches, and the Logger reports that once.
//
// # Order
//
// One goroutine reads from the server, and waits for nothing but the
// network. It keeps three promises:
//
//   - An event is not delivered until every call that was answered before it
//     runs again, or has returned because its context ended.
//   - A call does not return until every event before its answer is in its
//     channel, or queued because that channel is full or an earlier event is
//     queued.
//   - Events are one sequence over all channels and connections of a session,
//     in the order in which the server sent them.
//
// So when Set returns, the event of that change is in the channel:
//
//	changed := make(chan zk.Event, 1)
//	s.Get(ctx, "/color", changed)
//	s.Set(ctx, "/color", []byte("blue"), zk.AnyVersion)
//	fmt.Println(len(changed)) // 1
//
// Two things are not promised. Another goroutine may run between a call's
// return and its caller's next statement. And a read after a redial may not
// show the change that an event reported before: the next server may be a
// little behind. That server sends the event again when it has caught up, or
// [Session.Sync] waits for that. Answers are safe: no server that is behind
// State.Zxid is accepted, so no read shows an older state than an answer
// before it did.
//
// # Many operations at once
//
// [Session.Multi] executes all its operations or none. [Session.Batch] sends
// operations of any kind without waiting in between; each has its own answer
// and outcome. [Session.MultiRead] is one request for many reads.
//
//	results, err := s.Batch(ctx,
//		zk.CreateOp{Path: "/a", Data: []byte("one"), ACL: zk.ACLOpen},
//		zk.GetOp{Path: "/a", Watch: events},
//		zk.GetOp{Path: "/missing"},
//		zk.DeleteOp{Path: "/a", Version: zk.AnyVersion},
//	)
//
// # After a redial
//
// Dial first ends the Session that held this session before, whoever had
// dialed it. Calls in flight on that Session are lost and later ones not
// sent, with [ErrMoved], and its Close does nothing. Dial returns when the
// server has the credentials and watches.
//
// Changes in between are reported by one event per watch. A znode that was
// deleted and created again gives Changed, and one that was created and deleted
// gives nothing. A Dial that fails loses nothing: dial the same config again. If
// a server does not support SetWatches, reads restore the watches one by one,
// with the same events.
//
// Begin the work on a new connection with a read. The watches are still armed,
// and a channel that is armed again gets no event twice. The ephemeral znodes
// are still there if [Session.ID] is the same. A session from Renew has none.
//
// # Persistent watches
//
// [Session.AddWatch] arms a channel that stays armed. Servers do not report
// changes made while such a watch moves. If something may have changed, the
// channel gets a [Gap] before any later event: read again.
//
//	if ev.Type == zk.Gap {
//		names, _, err = s.Children(ctx, "/jobs", nil)
//	}
//
// More than 65,536 undelivered events of persistent watches end the Session
// with [ErrSlowConsumer]. The redial brings a Gap for the events after these.
// For one-shot watches the limit is 65,536 plus the largest number that was
// armed at once. While more of their events are undelivered, a call that would
// arm one fails with the same error, and nothing is sent.
//
// # Expiry
//
// A server expires a session that it has not heard from for [Session.Timeout],
// and deletes its ephemeral znodes. The client learns this only at the next
// Dial. No server expires the session before [Session.ExpiresAt]. Code that
// acts as the owner of an ephemeral znode should stop by then:
//
//	lease, cancel := context.WithDeadline(ctx, s.ExpiresAt())
//
// [Config.Renew] and [Session.Renew] begin a new session for the old
// watches. One-shot watches miss no change. Persistent ones always get a
// Gap.
//
// # Close and Detach
//
// [Session.Close] ends the session on the server: when it returns nil, the
// ephemeral znodes are gone. On a lost connection it cannot do that, and
// reports when the session expires by itself. [Session.Detach] closes only the
// connection and returns the Config to continue with. Undelivered events stay
// in it. Events in a channel belong to the application.
//
// No goroutine, timer or connection of a Session outlives Done, or a failed
// Dial. One exception: a DNS or Kerberos lookup that was abandoned by its
// context finishes in the background.
//
// # Another process
//
// The State of a Config marshals to JSON, with its password, so guard it.
// Another process continues with it, after [Watches.Rebind] has given the
// watches channels of that process. Detach first: a server that gets the
// session's second connection within milliseconds of the first may keep
// serving both (NIOServerCnxnFactory), and then two processes write as one
// owner.
//
//	saved, err := json.Marshal(s.Detach().State)
//
//	if err = json.Unmarshal(saved, &conf.State); err == nil {
//		err = conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return changed })
//	}
//	if err == nil {
//		s, err = zk.Dial(ctx, conf)
//	}
//
// Nothing else prints a password or credential, whatever the verb or logger,
// with one exception that no method can prevent: fmt prints an unexported
// field of a struct byte by byte.
package zk
