// Package tree works on whole subtrees of ZooKeeper. It reads and writes many
// znodes in few round trips. It has a stream of the states of one znode, and a
// cache that shows only states that the servers had.
//
// It uses the public API of package zk, and like that it hides nothing. No
// function here dials. When the connection ends, a function returns an error that
// matches zk.ErrConnection or zk.ErrMoved. The same call with the next Session
// goes on. Only after [Put] and [Update] a zk.ErrLost is for the caller to
// resolve.
//
// # Subtrees
//
// [Get] reads a subtree. [Walk] yields it without having all of it in memory.
// [DeleteAll] and [MkdirAll] do what os.RemoveAll and os.MkdirAll do.
//
//	n, err := tree.Get(ctx, s, "/app")
//	fmt.Print(n) // as tree(1) draws it
//
// To read a subtree of 10,000 znodes takes less than 20 round trips, by
// multiRead. Servers have that since 3.6. An older server ends the connection
// once per session: the call fails with a plain zk.ErrConnection, and from the
// next call on zk.Session.Batch reads. The same happens where the reply to a
// multiRead is above Config.MaxReply.
//
// # Snapshots
//
// What several requests read may be of several times. [Snapshot] returns a
// subtree as it was at one zxid. It arms a recursive watch and reads everything.
// Then it reads again what was changed meanwhile, until nothing is left to read.
//
// # Export and import
//
// [Export] writes JSON, one object per line. [Import] makes the znodes again.
// [Copy] does both at once. First comes a header, then each znode, parents first,
// with its path relative to the one that was exported:
//
//	{"zk":1,"root":"/app","zxid":"0x10000a1b2","snapshot":true,"nodes":2,"note":"…"}
//	{"path":"","data":"red","stat":{"version":3,"cversion":7,"ctime":1764200000000,"mtime":1764200001000}}
//	{"path":"/key","base64":"AAEC","acl":[{"perms":"rwcda","scheme":"world","id":"anyone"}],"owner":"0x1…"}
//
// Text is in data, other data in base64. A znode with null data has neither.
// owner is the session of an ephemeral. Servers do not report whether a znode is
// a container or has a TTL. "mode":"container", or "mode":"ttl" with "ttl" in
// milliseconds, can be written by hand. Unknown fields are ignored. Versions,
// times and the counters of sequential names are not restored.
//
// # Streams
//
// A [Stream] yields the present state of one znode and all that follow. It misses
// none that stays, never goes back, and yields none twice, over redials and
// servers that lag. [Wait] waits for one state:
//
//	state, err := tree.Wait(ctx, s, "/ready", func(st tree.State) bool { return st.Exists })
//
// # The cache
//
// A [Cache] keeps a copy of a subtree. Reading it never waits for a server. What
// is read in one call, or in one [Cache.View], is the subtree at one zxid.
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
// of the same session Run goes on where the last one was. In per-node mode it
// reads only what has changed. In recursive mode it compares everything, if the
// servers report that anything was changed, which takes some 0.3 s for 100,000
// znodes. With a Session of another session it always compares everything.
//
// After [Cache.Wait] the cache shows your own write:
//
//	stat, err := s.Set(ctx, "/app/color", data, version)
//	err = cache.Wait(ctx, stat.Mzxid)
//
// # How a state is known to be consistent
//
// Package zk promises that when a call returns, all events before its answer are
// in their channels, or queued for want of room. Say that the newest answer was
// of zxid z, no event is undelivered, all events were taken, and what they name
// was read. Then what was read is the subtree at z. The cache shows a new state
// at such moments only. While somebody writes without a pause there may be none.
// Then it goes on showing the last state, and [Cache.Zxid] stands still. It does
// so, too, while a channel of the application is full, because that delays all
// events of its session.
//
// # What it cannot see
//
// No event reports a change of an ACL: Stat.Aversion is as of the last read. A
// znode that may not be read ends Run with an error.
//
// Servers since 3.8.4 and 3.9.2 report nothing of a znode that may not be read.
// If one is created, Run ends at the next change of its parent that they report.
// If an ACL hides one that a Cache or a Stream shows, they go on showing it as it
// was, though it is changed or deleted, and Wait does not notice. That uses up
// one-shot watches, those of a Stream and of per-node mode. Then nothing is seen
// even when the znode may be read again, until it changes after a redial. A Cache
// that was closed reads everything anew.
//
// A Cache never goes back. If servers were restored from a backup, it shows
// nothing new until they have come as far as it was. Close it first.
package tree
