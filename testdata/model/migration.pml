/*
 * A model of how a session's watches move from connection to connection.
 *
 * It is the core of dial.go and internal/registry without bytes, goroutines and time, and
 * small enough that spin visits every state: every order of reads, writes, calls,
 * deliveries, losses of the link and Dials. TestModel runs it, and shows that each
 * wrong rule (the macros below) makes it fail. By hand, in this folder:
 *
 *	spin -a migration.pml && gcc -w -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * and with a wrong rule, to see step by step what goes wrong:
 *
 *	spin -DNO_FENCE -a migration.pml && gcc -w -O2 -DSAFETY -DREACH -o pan pan.c && ./pan -i
 *	spin -DNO_FENCE -t -p migration.pml
 *
 * What must hold:
 *	- no false event: a channel gets an event only if its path changed after the
 *	  answer that armed it (assert in deliver);
 *	- no lost event: when all is read, a watch whose path has changed since is not
 *	  armed any more (process Lost);
 *	- no double event: one registration gives one event. A second one would find no
 *	  registration, or take one that is newer than the change, which is false.
 *
 * What is left out: the stage (internal/scripts/order_test.go proves the order of answers and events),
 * child and persistent watches with their Gap, SASL and auth, expiry and servers that
 * are behind. The last two change nothing here: SetWatches compares zxids, not
 * sessions, and a server that is behind refuses before anything is restored.
 *
 * Wrong rules, each under -D:
 *	ZXID_FROM_EVENTS        an event's zxid counts as seen
 *	ZXID_FROM_CHUNKS        the reply to a SetWatches frame raises the floor
 *	REQUESTS_FIRST          calls are sent before the watches are restored
 *	RESOLVE_AT_DELIVERY     the outbox holds paths, not registrations
 *	EXISTS_KEPT_AS_EXISTS   Exists of a znode that is there arms an exists watch
 *	REGISTER_ON_FAILURE     a failed call arms its watch all the same
 *	NO_FENCE                Dial leaves the connection before it alone
 */

/* Bounds. Each wrong rule shows within them. With one more write, call and Dial the
 * right rules have no error either, in 7 million states and 1 GB. */
#define PATHS 2		/* and as many chunks: a SetWatches frame holds one path */
#ifndef WRITES
#define WRITES 3	/* transactions */
#endif
#ifndef CALLS
#define CALLS 3
#endif
#ifndef DIALS
#define DIALS 2		/* after the first connection */
#endif

#define NEVER 255	/* armed by no answer at all */

mtype = { GET, EXISTS, SETWATCHES };		/* requests */
mtype = { ANSWER, RESTORED, EVENT };		/* frames from the server */
mtype = { NONE, DATA, EXIST };			/* kinds of a registration */

/*
 * Two connections, used in turns: a Dial takes the one that is not in use, and what
 * was still under way on it is gone. The other one stays open on its server, answers
 * and fires watches, as it does when the session moves to another server.
 */
chan up[2] = [PATHS + 1] of { mtype, byte, mtype, byte };	/* op, path, kind, floor */
chan down[2] = [2 * PATHS + 2] of { mtype, byte, bool, byte, byte };
	/* what, path, ok, zxid, and for the checks: the zxid of the path's last change */

/* ---- The server: one tree, a table of watches per connection. ---- */

byte zxid;			/* last transaction */
bool there[PATHS];		/* the znode exists */
byte changed[PATHS];		/* its mzxid, or the zxid of its deletion */

typedef Table { bool armed[PATHS] };
Table server[2];

/* fire tells a connection of a change, once. 3.9 puts the transaction's zxid into the
 * header; several events may share it. */
inline fire(c, p) {
	if
	:: server[c].armed[p] -> server[c].armed[p] = false; down[c]!EVENT, p, true, zxid, changed[p]
	:: else
	fi
}

/* change sets, creates or deletes a znode in the current transaction. */
inline change(p) {
	changed[p] = zxid;
	if
	:: there[p]			/* set */
	:: there[p] = !there[p]		/* create or delete */
	fi;
	fire(0, p);
	fire(1, p)
}

active proctype Server() {
	byte c, p, from; mtype op, kind;

end:	do
	:: atomic { zxid < WRITES ->
		zxid++;
		if
		:: change(0)
		:: change(1)
		:: change(0); change(1)	/* a multi */
		fi
	   }
	:: atomic { nempty(up[0]) || nempty(up[1]) ->
		if
		:: up[0]?op, p, kind, from -> c = 0
		:: up[1]?op, p, kind, from -> c = 1
		fi;
		if
		:: op == GET ->		/* NoNode arms nothing */
			server[c].armed[p] = server[c].armed[p] || there[p];
			down[c]!ANSWER, p, there[p], zxid, 0
		:: op == EXISTS ->	/* NoNode arms too */
			server[c].armed[p] = true;
			down[c]!ANSWER, p, there[p], zxid, 0
		:: op == SETWATCHES ->	/* as DataTree.setWatches: catch up, or arm */
			if
			:: kind == DATA && (!there[p] || changed[p] > from) ->
				down[c]!EVENT, p, true, 0, changed[p]
			:: kind == EXIST && there[p] ->
				down[c]!EVENT, p, true, 0, changed[p]
			:: else -> server[c].armed[p] = true
			fi;
			down[c]!RESTORED, p, true, zxid, 0
		fi;
		op = 0; p = 0; kind = 0; from = 0; c = 0
	   }
	od
}

/* ---- The client. ---- */

/* Watches: belongs to the identity, not to a connection. */
mtype registry[PATHS] = NONE;
byte since[PATHS];		/* for the checks: zxid of the answer that armed it */
byte seen;			/* Watches.zxid: the newest transaction that a reply told of */
byte floor;			/* from which watches are restored; while settled it is seen */
bool settled = true;		/* all is restored: the last reply to SetWatches is in */
bool flowing = true;		/* between a ConnectResponse and Done: the outbox moves */
chan outbox = [CALLS] of { byte, byte, byte };	/* path, its change, since of the registration */

/* Session: one connection. */
bit cur;
bool alive = true;		/* its reader runs */
bool leftover;			/* NO_FENCE: so does the one of the connection before */
byte next = PATHS;		/* restorer: the path of the next SetWatches frame; PATHS: all sent */
byte unanswered;		/* SetWatches frames */
bool calling;			/* a call waits for its answer, or has failed to get one */
bit callOn;			/* the connection that it was sent on */
mtype callOp;
byte callPath;

byte dials, calls;

#define FLOOR (settled -> seen : floor)	/* floorLocked */

inline advance(z) {
	if :: z > seen -> seen = z :: else fi
}

/* arm registers the channel, at the answer's place on the wire. If the path changed
 * while it was armed, its event has come before this answer. */
inline arm(p, k, z) {
	assert(registry[p] != DATA || changed[p] <= since[p] || changed[p] > z);
	registry[p] = k;
	since[p] = z
}

/* deliver is what an application sees: it must be true. */
inline deliver(ch, s) {
	assert(s != NEVER && ch > s)
}

/* read takes one frame of a connection: parse, advance, change the registry, and
 * complete the call or queue the event, all at the frame's place. */
inline read(c) {
	down[c]?what, p, ok, z, ch;
	if
	:: what == EVENT ->
#ifdef ZXID_FROM_EVENTS
		advance(z);
#endif
#ifdef RESOLVE_AT_DELIVERY
		outbox!p, ch, 0
#else
		if
		:: registry[p] != NONE -> outbox!p, ch, since[p]; registry[p] = NONE; since[p] = 0
		:: else			/* nobody is armed: ignored */
		fi
#endif
	:: what == ANSWER ->
		advance(z);
		if
		:: !calling || callOn != c	/* of a call that ended with its connection */
		:: else ->
			if
#ifdef EXISTS_KEPT_AS_EXISTS
			:: callOp == EXISTS -> arm(p, EXIST, z)
#else
			:: callOp == EXISTS && ok -> arm(p, DATA, z)
			:: callOp == EXISTS && !ok -> arm(p, EXIST, z)
#endif
			:: callOp == GET && ok -> arm(p, DATA, z)
#ifdef REGISTER_ON_FAILURE
			:: callOp == GET && !ok -> arm(p, DATA, NEVER)
#else
			:: callOp == GET && !ok
#endif
			fi;
			endCall()
		fi
	:: what == RESTORED ->
		advance(z);		/* for the next ConnectRequest, not for the next restore */
		if
		:: c == cur ->
#ifdef ZXID_FROM_CHUNKS
			if :: z > floor -> floor = z :: else fi;
#endif
			unanswered--;
			settle()
		:: else
		fi
	fi;
	what = 0; p = 0; ok = 0; z = 0; ch = 0
}

inline endCall() {
	calling = false; callOn = 0; callOp = 0; callPath = 0
}

/* settle: after the last reply the floor follows what is seen. */
inline settle() {
	if
	:: next == PATHS && unanswered == 0 && !settled -> settled = true; floor = 0
	:: else
	fi
}

/* stop ends a Session, because its link is lost or a Dial fences it. What it has read
 * is a prefix of the wire and has taken effect; nothing after it ever will. The floor
 * stands still from here on, until the last watch is restored. */
inline stop() {
	floor = FLOOR;
	settled = false;
	flowing = false;
	alive = false;
	next = PATHS;
	unanswered = 0;
	forget(cur);
	if
	:: calling ->			/* ErrLost: whether it arms a watch there is nobody's matter */
#ifdef REGISTER_ON_FAILURE
		arm(callPath, DATA, NEVER);
#endif
		endCall()
	:: else
	fi
}

/* forget drops what is under way on a connection that nobody will read again: frames
 * that the server has not got, and those that it may still send. */
inline forget(c) {
	do :: up[c]?_, _, _, _ :: empty(up[c]) -> break od;
	do :: down[c]?_, _, _, _, _ :: empty(down[c]) -> break od;
	server[c].armed[0] = false;
	server[c].armed[1] = false
}

/* dial gets a ConnectResponse on the other connection: everything is new there. */
inline dial() {
	dials++;
	cur = 1 - cur;
#ifdef NO_FENCE
	if :: leftover && !alive -> leftover = false :: else fi;	/* that one comes to its end */
	forget(cur);
#endif
	alive = true;
	flowing = true;
	next = 0;
	unanswered = 0
}

active proctype Client() {
	mtype what; byte p, z, ch; bool ok;

end:	do
	/* the reader */
	:: atomic { alive && nempty(down[cur]) -> read(cur) }

	/* the link is lost, at any moment: also between two frames of a migration, and
	 * only if there can be another Dial: the last connection holds */
	:: atomic { alive && dials < DIALS -> stop() }

	/* Dial: the Session before is dead, its reader has exited */
	:: atomic { !alive && dials < DIALS -> dial() }

#ifdef NO_FENCE
	:: atomic { alive && settled && !leftover && dials < DIALS ->
		floor = FLOOR; settled = false; leftover = true; dial() }
	:: atomic { leftover && nempty(down[1 - cur]) -> read(1 - cur) }
#endif

	/* restore: the frames go out one after the other, all with one floor; events of
	 * the first may fire watches before the last is built */
	:: atomic { alive && next < PATHS ->
		if
		:: registry[next] != NONE ->
			up[cur]!SETWATCHES, next, registry[next], floor;
			unanswered++
		:: else
		fi;
		next++;
		settle()
	   }

	/* the application arms a watch, once Dial has returned */
#ifdef REQUESTS_FIRST
	:: atomic { alive && !calling && calls < CALLS && nfull(up[cur]) ->
#else
	:: atomic { alive && settled && !calling && calls < CALLS ->
#endif
		calls++;
		calling = true;
		callOn = cur;
		if :: callOp = GET :: callOp = EXISTS fi;
		if :: callPath = 0 :: callPath = 1 fi;
		up[cur]!callOp, callPath, NONE, 0
	   }

	/* a channel has room for the head of the outbox */
	:: atomic { flowing && nempty(outbox) ->
		outbox?p, ch, z;
#ifdef RESOLVE_AT_DELIVERY
		if
		:: registry[p] != NONE -> deliver(ch, since[p]); registry[p] = NONE; since[p] = 0
		:: else
		fi;
#else
		deliver(ch, z);
#endif
		p = 0; ch = 0; z = 0
	   }
	od
}

/* ---- The truth. ---- */

/* quiet: the session is whole, and every frame has been read. */
#define quiet (alive && settled && empty(up[cur]) && empty(down[cur]) && empty(outbox))

/* missed: the path has changed since it was armed. A znode that an exists watch waits
 * for, and that was created and deleted while there was no connection, is no miss: no
 * server tells of it. */
#define missed(p) (changed[p] > since[p] && (registry[p] == DATA || registry[p] == EXIST && there[p]))

active proctype Lost() {
end:	atomic { quiet && (missed(0) || missed(1)) -> assert(false) }
}
