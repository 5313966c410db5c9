// Package recipe has locks, elections, groups, counters and queues, for sessions
// that move from connection to connection.
//
// A recipe is a plain struct. It has no constructor, and only [Once], [Counter]
// and [Queue] have state. Every call takes the present Session. A call that
// acquires something returns a [Hold]:
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
// successor of the Session: it continues, and a contender has kept its place. If
// an answer was lost, the recipe looks for the effect of the request, and does
// not send the request again. The place is kept for one session timeout. Any call
// of this process with the same Path, kind, Layout and Data gets it; it need not
// be the same struct.
//
// A Hold needs no call. It belongs to the session, and follows it to each Session
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
// Until [Hold.Lost] is closed, nobody else has the lock, lease or name. No
// server can have ended the session before Session.ExpiresAt, and the znode is
// watched. Lost is closed at once when the znode is deleted, or when the
// session is closed or renewed. It is closed at Session.ExpiresAt when no
// server has answered. [Hold.Err] reads the clock itself.
//
// This is certain while the process runs. A process that was stopped, by its
// scheduler or by SIGSTOP, may continue to work for a moment as if nothing
// had happened. Two things protect against that:
//
//   - [Hold.Multi], for writes to ZooKeeper. The server executes them only if it
//     has the znode of the hold.
//   - [Hold.Token], for everything else. It grows from holder to holder. Whatever
//     the lock protects must refuse a Token smaller than one it has seen. No clock
//     and no timeout can replace that.
//
// # Expiry, and contexts that end
//
// The znodes of an expired session are deleted. Its Holds are Lost at ExpiresAt
// at the latest, and stay lost, even if the session turns out to live. In that
// case the znode keeps others out until [Hold.Release], so that the work can end
// first. So release a lost Hold, too, before you acquire again.
//
// When a context ends, the wait ends, and the contender leaves before the call
// returns. Its znode is deleted without that context. If no answer comes within a
// third of the session timeout, a goroutine continues, over as many connections
// as it takes. It ends with the session, or four session timeouts after the last
// sign of life if nobody redials. If the session lives after all, the next call
// of a recipe continues the deletion.
//
// A server that was stopped can execute a create long after its answer was lost,
// when the session comes back to that server. So one goroutine looks for all
// such creates on every further connection of the session. It stops to look for
// a create with a given GUID when the Session is detached, because another
// process may continue with that GUID.
//
// These goroutines, and one for each Hold, are the only background work.
// Apart from them, no goroutine, timer, watch or znode outlives its Hold or
// call.
//
// # What may go wrong
//
//	                  connection lost             session expired            ctx ends
//	Lock, RWLock      place kept, call again      start again at the end     contender deleted
//	Semaphore         both places kept            start again                lease and contender deleted
//	Election          as Lock; Observe: pass last as Lock                    as Lock
//	Hold              follows by itself           Lost by ExpiresAt          of Multi: zk.ErrLost if sent
//	Own, Group        call again: znode is taken  call again: waits for the  znode deleted; ErrNotOwner
//	                                              former session to end      while it waits
//	Barrier           call again                  call again                 nothing to undo
//	DoubleBarrier     member stays, call again    member gone; Enter again   Enter: member deleted
//	Once              same Do again               ErrUnknown if an answer    zk.ErrLost: same Do again
//	                                              is missing
//	Counter           same Add again              ErrUnknown, as for Once    zk.ErrLost: same Add again
//	Queue             same Put, Take, Done again  taken entries come back    zk.ErrLost of Put, Done: again
//	Partition         Run again: part is kept     Run again: items move      items given up, member leaves
//	CreateProtected   call again                  call again: a new znode    znode deleted
//
// An error that is zk.Hopeless stays zk.Hopeless. It ends a contender like
// any other error.
//
// A name with a random GUID is never used twice. Two kinds of names can be used
// again: a name with a GUID from the application, in a directory that was
// deleted meanwhile or has used up its sequence numbers; and a fixed name,
// which is that of Own, of a member, or "ready". For these:
//
//	Hold.Guard, Multi         accept the later znode as the hold's, until Lost is closed
//	Hold.SetData              changes the later znode, until Lost is closed
//	Release, and what is      read owner and czxid, and delete what they read: a request can ask
//	deleted behind a call     for a version, but not for a czxid. If the znode goes and the name
//	                          comes again within this one round trip, the later one is deleted
//
// So never give one GUID to two contenders at a time. [Hold.Detach] hands a GUID
// over safely. Two processes are two contenders even if they take one session from
// each other without [zk.Session.Detach]. Then their znodes have the same name and
// the same owner, and a process that looks for its late create may delete the
// znode of the other.
//
// # Other clients
//
// Names and data are those of Apache Curator, or of kazoo with [Kazoo]. Recipes
// read both in one directory. Curator sorts kazoo's names after its own and does
// not wait for them, so use Curator's names in a directory with clients of
// Curator. kazoo counts only its own names, unless it is given others
// (extra_lock_patterns). Other children are ignored here. The order is that of
// the sequence numbers. They end after two billion znodes; then the order is that
// of creation.
package recipe
