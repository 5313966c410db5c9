// Package zk is a synchronous client for Apache ZooKeeper.
//
// A [Session] is bound to one connection. [Dial] makes it, its methods send a
// request and wait for the answer, and when the connection is lost every call
// says so. Nothing reconnects or repeats a call behind the application's back:
// it dials again, and the session moves, with its ephemeral znodes, its watches
// and the events that were not delivered yet.
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
// Events come through channels that the application makes and never has to
// close. A capacity of 1 is enough for a watch that fires once. Events keep one
// order over all channels of a session, so one channel that is full delays all
// later events of the session; it delays no answers, and nothing is dropped.
//
// # Two loops
//
// There is no event for connected, disconnected or expired. [Session.Done] and
// [Session.Err] tell that a connection is over, and what to do then stands in
// one of two loops. With one owner, it is the loop that dials:
//
//	for ctx.Err() == nil {
//		s, err := zk.Dial(ctx, conf)
//		switch {
//		case errors.Is(err, zk.ErrExpired): // same watches, a new session; ephemerals must be created again
//			conf = conf.Renew()
//			continue
//		case errors.Is(err, zk.ErrNoServer): // nobody reachable: the same config, a little later
//			backoff(ctx)
//			continue
//		case err != nil: // a bad config, refused credentials: trying again changes nothing
//			return err
//		}
//		err = work(ctx, s, events) // returns when s can do no more, or with the application's own error
//		if !errors.Is(err, zk.ErrConnection) || zk.Hopeless(err) {
//			s.Close()
//			return err
//		}
//		conf = s.Detach() // dead or alive: same session, same watches, for the next connection
//	}
//
// Many goroutines that share a session go on with its successor, and decide
// about an operation by its outcome:
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
// retrying would loop for ever. [Hopeless] recognises them. The other calls that
// such an answer took along are merely lost.
//
// To look is a [Session.Sync] and then a read, for the next server may be behind
// what the last one did. All that ask for the successor of a Session get the
// same one, made by one Dial:
//
//	next, err := s.Redial(ctx)
//	if errors.Is(err, zk.ErrExpired) {
//		next, err = s.Renew(ctx)
//	}
//
// Code that uses a Session which others redial, and must not dial itself, waits
// for the next one by [Session.Successor].
//
// The program in examples/redial runs both, on connections that are cut all the time.
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
// Beside the outcome stands the reason, and errors.Is finds both:
//
//	ErrConnection   this connection is over; the session may live   Dial, Redial
//	ErrMoved        another Session has taken over                  Redial gives it
//	ErrExpired      the server has forgotten the session            Renew
//	ErrNoServer     no address gave a session: the reason of each   later again
//	ErrAuth         credentials refused; the session lives          others
//	ErrClosed       after Close or Detach
//	ErrBadPath, ErrTooLarge, ErrBadArguments: not sent, and never will be
//
// Only a Dial says ErrExpired, because only a server knows.
//
// An answer can end the connection as well, and then its error matches
// ErrConnection too: [ErrUnimplemented], where the server does not know the
// operation; ErrAuth, after a refused [Session.AddAuth] or without the SASL that
// the server requires; ErrTooLarge, of a reply above Config.MaxReply, which is
// lost. To redial and repeat the same changes nothing about these three; it does
// after [ErrSessionMoved] and [ErrSessionExpired]. Other calls end as with any
// lost connection, and their errors match its reason too: whose answer it was,
// the outcome tells.
//
// # Contexts
//
// A context ends the wait of a call, never the session. What was sent by then
// is [ErrLost] and may still be done; what was not is [ErrNotSent]. Both match
// the context's error as well. Dial obeys its context in every step. Without a
// deadline it takes at most Config.Timeout to connect, and tries every address
// once, in random order, but the one whose connection was just lost last.
//
// # Credentials
//
// Those of Config.Auth are given on every connection, ahead of the watches.
// Config.SASL goes first: it belongs to the connection too, and its exchange
// must end within two thirds of the session timeout, for there are no pings
// before. A server that refuses either makes Dial fail with [ErrAuth], and so
// does one that cannot prove itself by SASL. ZooKeeper 3.4 refuses SASL by
// hanging up, which looks like any lost connection.
//
// # Watches
//
// [Session.Get], [Session.Exists] and [Session.Children] arm a channel for one
// event. The event tells that something changed, not what it is now: read
// again, which arms the channel again.
//
//	Get        an existing znode   Changed or Deleted
//	Exists     an existing znode   Changed or Deleted
//	Exists     a missing znode     Created
//	Children   an existing znode   Child or Deleted
//
// A call that returns an error has armed nothing. That a znode is missing is no
// error of Exists. A channel that is armed several times for what one change
// brings gets one event for it. [Session.RemoveWatch] disarms a channel, and so
// does closing it, which is noticed at its next event.
//
// # Order
//
// One goroutine reads what the server sends, and waits for nothing but the
// network. It keeps three promises:
//
//   - An event is not sent before every call that was answered ahead of it is
//     running again, or has left by its context.
//   - A call does not return before every event ahead of its answer is in its
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
// Not promised: that no other goroutine runs between a call's return and its
// caller's next statement. Nor that a read after a redial shows the change that
// an event told of before: the next server may be a little behind. It tells
// again when it has caught up, or [Session.Sync] waits for it. What an answer
// has shown is different: no server that is behind State.Zxid is accepted, so
// that no read shows an older state than an answer before it did.
//
// # Many operations at once
//
// [Session.Multi] does all its operations or none. [Session.Batch] sends
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
// # What a redial brings
//
// Dial first ends the Session that had the session so far, whoever dialed it:
// calls in flight are lost, later ones not sent, with [ErrMoved], and its Close
// does nothing. It returns when the server has the credentials and watches.
// Changes in between come as one event per watch: a znode that was deleted and
// created again as Changed, one that was created and deleted as nothing. A Dial
// that fails loses nothing; dial the same config again.
//
// # Persistent watches
//
// [Session.AddWatch] arms a channel that stays armed. Servers do not report to
// it what changed while it moved, so the channel gets a [Gap] before any later
// event when something may have: read again.
//
//	if ev.Type == zk.Gap {
//		names, _, err = s.Children(ctx, "/jobs", nil)
//	}
//
// More than 65,536 undelivered events of persistent watches end the Session
// with [ErrSlowConsumer]; the redial brings a Gap for what comes after them.
//
// # Expiry
//
// A server ends a session that it has not heard of for [Session.Timeout], and
// then deletes its ephemeral znodes. Nobody is told before the next Dial. Until
// [Session.ExpiresAt] no server has done so; who must not go on as the owner of
// an ephemeral stops then:
//
//	lease, cancel := context.WithDeadline(ctx, s.ExpiresAt())
//
// [Config.Renew] and [Session.Renew] make a new session for the old watches.
// They miss no change either. Persistent ones always get a Gap.
//
// # Close and Detach
//
// [Session.Close] ends the session on the server: when it returns nil, the
// ephemeral znodes are gone. After a loss it cannot, and says when the session
// expires by itself. [Session.Detach] leaves only the connection and returns
// the Config to go on with. Events that were not delivered stay in it; those
// that are in a channel already are the application's.
//
// No goroutine, timer or connection of a Session outlives Done, and none a Dial
// that fails. Only a question to DNS, or of Kerberos to its KDC, that a context
// gave up ends by itself, a little later.
//
// # Another process
//
// The State of a Config marshals to JSON, with its password, so guard it.
// Another process goes on with it, after [Watches.Rebind] has given the watches
// channels of its own.
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
// Nothing else prints a password or credential, whatever the verb or logger.
package zk
