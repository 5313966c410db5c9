// Package tree works on whole subtrees of ZooKeeper. It reads and writes many
// znodes in few round trips. It also has a stream of the states of one znode,
// and a cache of a subtree.
//
// No function of this package dials. When the connection ends, a function returns
// an error that matches zk.ErrConnection or zk.ErrMoved. Make the same call with
// the next Session. Only after a zk.ErrLost of [Put] or [Update] must the caller
// find out whether the data was set.
//
// # Subtrees
//
// [Get] reads a subtree. [Walk] yields it without holding all of it in
// memory. [DeleteAll] and [MkdirAll] do what os.RemoveAll and os.MkdirAll do.
//
//	n, err := tree.Get(ctx, s, "/app")
//	fmt.Print(n) // as tree(1) draws it
//
// To read a subtree of 10,000 znodes takes less than 20 round trips, with
// multiRead, which servers support since 3.6. An older server ends the
// connection once per session: the call fails with a plain zk.ErrConnection,
// and later calls use zk.Session.Batch. The same happens if the reply to a
// multiRead is above Config.MaxReply.
//
// # Snapshots
//
// A subtree may change while several requests read it. [Snapshot] returns a
// subtree as it was at one zxid. It arms a recursive watch and reads everything.
// Then it reads again what has changed meanwhile, until nothing has.
//
// # Export and import
//
// [Export] writes JSON, one object per line. [Import] creates the znodes again.
// [Copy] does both at once. First comes a header, then each znode, parents first,
// with its path relative to the one that was exported:
//
//	{"zk":1,"root":"/app","zxid":"0x10000a1b2","snapshot":true,"nodes":2,"note":"…"}
//	{"path":"","data":"red","stat":{"version":3,"cversion":7,"ctime":1764200000000,"mtime":1764200001000}}
//	{"path":"/key","base64":"AAEC","acl":[{"perms":"rwcda","scheme":"world","id":"anyone"}],"owner":"0x1…"}
//
// Data that is text is in "data", other data in "base64". A znode with null data
// has neither. "owner" is the session of an ephemeral znode. Servers do not
// report whether a znode is a container or has a TTL. "mode":"container", or
// "mode":"ttl" with "ttl" in milliseconds, can be written by hand. Unknown
// fields are ignored. Versions, times and the counters of sequential names are
// not restored.
//
// # Streams
//
// A [Stream] yields the present state of one znode, and the states that follow.
// It misses no state that lasts, never goes back, and yields no state twice, over
// redials and servers that lag. [Wait] waits for one state:
//
//	state, err := tree.Wait(ctx, s, "/ready", func(st tree.State) bool { return st.Exists })
//
// # The cache
//
// A [Cache] keeps a copy of a subtree in memory. Reading the copy never waits
// for a server. One call, or one [Cache.View], shows the subtree at one zxid.
//
//	cache := &tree.Cache{Root: "/app"}
//	for ctx.Err() == nil {
//		s, err := zk.Dial(ctx, conf)
//		… // as in package zk
//		err = cache.Run(ctx, s) // returns when the Session ends
//		conf = s.Detach()
//	}
//
// Elsewhere, at any time:
//
//	n, ok := cache.Get("/app/color")
//
// Between two Runs the copy stays, and [Cache.Live] returns false. With a Session
// of the same session Run continues where the last one ended. In per-node mode it
// reads only what has changed. In recursive mode it compares everything if
// anything may have changed, which takes some 0.3 s for 100,000 znodes. With a
// Session of another session it always compares everything.
//
// After [Cache.Wait] the cache shows your own write:
//
//	stat, err := s.Set(ctx, "/app/color", data, version)
//	err = cache.Wait(ctx, stat.Mzxid)
//
// # How a state is known to be consistent
//
// Package zk promises that when a call returns, all events before its answer are
// in their channels, or queued for lack of room. Suppose that the newest answer
// had zxid z, that all events were received, and that the znodes of these events
// were read again. Then what was read is the subtree at z. The cache shows a new
// state only at such a moment. While somebody writes without a pause, there may
// be no such moment. Then the cache keeps showing the last state, and
// [Cache.Zxid] does not grow. The same happens while a channel of the
// application is full, because that delays all events of the session.
//
// # What it cannot see
//
// No event reports a change of an ACL: Stat.Aversion is that of the last read.
// A znode that may not be read ends Run with an error.
//
// Servers since 3.8.4 and 3.9.2 report nothing of a znode that may not be read.
// If such a znode is created, Run ends at the next reported change of its parent.
// If an ACL hides a znode that a Cache or a Stream shows, they keep showing it as
// it was, even if it is changed or deleted, and Wait does not notice. Such a
// change uses up the one-shot watches of a Stream and of per-node mode. Then
// nothing is seen even when the znode may be read again, until it changes after a
// redial. A Cache that was closed reads everything again.
//
// A Cache never goes back. After servers were restored from a backup, it
// shows nothing new until their zxids are as high as before. So close it
// first.
package tree
