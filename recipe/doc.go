// Package recipe has locks, elections, groups, counters and queues, for sessions
// that move from connection to connection.
//
// A recipe is a plain struct that says what is wanted. It has no constructor, and
// only [Once], [Counter] and [Queue] have a state. Every call takes the Session
// of the moment. What is held is a value of its own, a [Hold]:
//
//	lock := recipe.Lock{Path: "/locks/db"}
//	h, err := lock.Acquire(ctx, s)
//	if err != nil {
//		return err
//	}
//	defer h.Release()
//	_, err = h.Multi(ctx, s, zk.SetOp{Path: "/db/primary", Data: me, Version: zk.AnyVersion})
//
// # Connections
//
// Only [Run] dials. When the connection ends, the call of a recipe returns an
// error that matches zk.ErrConnection or zk.ErrMoved. Make the same call with the
// successor of the Session: it goes on where it was. A contender has kept its
// place. A request whose answer was lost is looked for, not sent a second time.
// The place is kept for one session timeout. Any call of this process with the
// same Path, kind, Layout and Data gets it; it need not be the same struct.
//
// A Hold needs nothing. It belongs to the session, and follows it to each Session
// that somebody dials:
//
//	var held *recipe.Hold
//	err := recipe.Run(ctx, conf, func(ctx context.Context, s *zk.Session, fresh bool) (err error) {
//		if held != nil && held.Err() != nil {
//			held.Release() // it was lost: only now may the next one have it, if the session lives
//			held = nil
//		}
//		if held == nil {
//			if held, err = lock.Acquire(ctx, s); err != nil {
//				return err // Run redials, and Acquire goes on in its place
//			}
//		}
//		return work(ctx, s, held)
//	})
//
// # What is certain, and when
//
// Until [Hold.Lost] is closed, nobody else has what is held. No server can have
// ended the session before Session.ExpiresAt, and the znode is watched. Lost is
// closed at once when the znode is deleted, or when the session is closed or
// renewed. It is closed at Session.ExpiresAt when no server has answered.
// [Hold.Err] looks at the clock by itself.
//
// All this holds while the process runs. A process that was stopped, by its
// scheduler or by SIGSTOP, may go on working for a moment as if nothing had
// happened. Two things stop it then:
//
//   - [Hold.Multi], for writes to ZooKeeper. The server executes them only if it
//     has the znode of the hold.
//   - [Hold.Token], for everything else. It grows from holder to holder. What the
//     lock protects must refuse a Token smaller than one that it has seen. No clock
//     and no timeout can replace that.
//
// # Expiry, and contexts that end
//
// An expired session takes its znodes along. Its holds are Lost by ExpiresAt at
// the latest, and do not come back. They do not even if the session turns out to
// live. Then the znode keeps others out until [Hold.Release], so that the work
// can end first. So release what was lost, too, before you acquire again.
//
// When a context ends, the wait ends, and the contender leaves before the call
// returns. Its znode is deleted without that context. If no answer comes within a
// third of the session timeout, a goroutine goes on, over as many connections as
// it takes. It ends with the session, or four session timeouts after the last
// sign of life if nobody redials. If the session lives after all, the next call
// of a recipe goes on with it.
//
// A server that stood still can execute a create long after its answer was lost,
// when the session comes back to it. So such a create is looked for on every
// further connection of the session, by one goroutine for all of them. One whose
// GUID was given ends there if the Session is detached, because another process
// may go on with that GUID.
//
// These goroutines, and one for each Hold, are all that works unasked. No
// goroutine, timer, watch or znode outlives what holds it.
//
// # What may go wrong
//
//	                  connection lost             session expired            ctx ends
//	Lock, RWLock      place kept, call again      begin anew: at the end     contender deleted
//	Semaphore         both places kept            begin anew                 lease and contender deleted
//	Election          as Lock; Observe: pass last as Lock                    as Lock
//	Hold              follows by itself           Lost by ExpiresAt          of Multi: zk.ErrLost if sent
//	Own, Group        call again: znode is taken  call again: waits for the  znode deleted; ErrNotOwner
//	                                              former session to end      while it waits
//	Barrier           call again                  call again                 nothing to undo
//	DoubleBarrier     member stays, call again    member gone; Enter again   Enter: member deleted
//	Once              same Do again               ErrUnknown if an answer    zk.ErrLost: same Do again
//	                                              is missing
//	Counter           same Add again              ErrUnknown likewise        zk.ErrLost: same Add again
//	Queue             same Put, Take, Done again  what was taken comes back  zk.ErrLost of Put, Done: again
//	Partition         Run again: part is kept     Run again: items move      items given up, member leaves
//	CreateProtected   call again                  call again: a new znode    znode deleted
//
// An error that redialing does not help (zk.Hopeless) stays one. It ends a
// contender like any other error.
//
// A name with a random GUID is never given twice. Two kinds of names can come
// again. One has a GUID from the application, in a directory that was deleted
// meanwhile or has come to the end of its numbers. The other is fixed: the name
// of Own, of a member, or ready. Where a name comes again:
//
//	Hold.Guard, Multi         take the later znode for the hold's, until Lost is closed
//	Hold.SetData              changes it, likewise
//	Release, and what is      read owner and czxid, and delete what they read: a request can ask
//	deleted behind a call     for a version, but not for a czxid. If the znode goes and the name
//	                          comes again within this one round trip, the later one is deleted
//
// So give no GUID to two contenders. Hold.Detach takes care of that. Two processes
// are two contenders also if they take one session from each other without
// [zk.Session.Detach]. Their znodes have the same name and the same owner then, so
// that one which looks for its late create may delete the znode of the other.
//
// # Other clients
//
// Names and data are those of Apache Curator, or of kazoo with [Kazoo]. Both are
// read in one directory. Curator sorts names like kazoo's behind its own and does
// not wait for them, so take Curator's names beside Curator. kazoo counts only
// its own names unless it is given others (extra_lock_patterns). Children that
// are no contenders are ignored here. The order is that of the sequence numbers.
// They end after two billion znodes; then the order is that of creation.
package recipe
