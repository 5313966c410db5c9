// Package tree works on whole subtrees of ZooKeeper: many znodes in few round
// trips, a stream of the states of one znode, and a cache that shows only states
// that the servers had.
//
// It uses the public API of package zk, and like that it hides nothing: no
// function here dials, and when the connection ends they say so, with an error
// that matches [zk.ErrConnection] or [zk.ErrMoved]. Calling again with the next
// Session goes on. Only [Put] and [Update] make their caller look after a
// [zk.ErrLost].
//
// # Subtrees
//
// [Get] reads a subtree, [Walk] yields it without having all of it in memory,
// [DeleteAll] and [MkdirAll] do what os.RemoveAll and os.MkdirAll do.
//
//	n, err := tree.Get(ctx, s, "/app")
//	fmt.Print(n) // as tree(1) draws it
//
// A subtree of 10,000 znodes takes less than 20 round trips. That is by multiRead,
// which servers have since 3.6. To learn that an older one has not costs one
// connection for each session: the call fails with a plain [zk.ErrConnection],
// and from the next call on reads go by [zk.Session.Batch]. It is the same for a
// multiRead whose reply is above Config.MaxReply.
//
// # Snapshots
//
// What is read by several requests may be of several times. [Snapshot] returns a
// subtree as it was at one zxid: it arms a recursive watch, reads all, and reads
// again what was changed meanwhile, until nothing is left to read.
//
// # Export and import
//
// [Export] writes JSON, one object per line, [Import] makes the znodes again, and
// [Copy] does both at once. First comes a header, then each znode, parents
// first, with its path relative to the one that was exported:
//
//	{"zk":1,"root":"/app","zxid":"0x10000a1b2","snapshot":true,"nodes":2,"note":"…"}
//	{"path":"","data":"red","stat":{"version":3,"cversion":7,"ctime":1764200000000,"mtime":1764200001000}}
//	{"path":"/key","base64":"AAEC","acl":[{"perms":"rwcda","scheme":"world","id":"anyone"}],"owner":"0x1…"}
//
// Data is in data where it is text, and else in base64; null data is in neither.
// The owner is that of an ephemeral. Servers do not say whether a znode is a
// container or has a TTL, but "mode":"container", or "mode":"ttl" with "ttl" in
// milliseconds, can be written by hand. Unknown fields are ignored. Versions,
// times and the counters of sequential names are not restored.
//
// # Streams
//
// A [Stream] yields the states of one znode, present and to come. It misses none
// that stays, never goes back, and yields none twice, over redials and servers
// that lag. [Wait] is for one state:
//
//	state, err := tree.Wait(ctx, s, "/ready", func(st tree.State) bool { return st.Exists })
//
// # The cache
//
// A [Cache] keeps a copy of a subtree. Reading it never waits for a server, and
// what is read in one call, or in one [Cache.View], is the subtree at one zxid.
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
// Between two Runs the copy stays, and [Cache.Live] is false. A Session of the
// same session goes on where the last one was: in the recursive mode all is
// compared, if the servers say that anything was changed, which takes some 0.3 s
// for 100,000 znodes; in per-node mode only what has changed is read. A Session
// of another session compares all.
//
// A write of one's own is seen after [Cache.Wait]:
//
//	stat, err := s.Set(ctx, "/app/color", data, version)
//	err = cache.Wait(ctx, stat.Mzxid)
//
// # How a state is known to be consistent
//
// Package zk promises that a call does not return before the events ahead of its
// answer are in their channels, or are queued for want of room. So when the
// newest answer was of zxid z, no event is undelivered, and all events were
// taken and what they name was read, then what was read is the subtree at z. The
// cache shows what it has read at such moments only. While somebody writes
// without a pause there may be none; then it shows the last state, and
// [Cache.Zxid] stands still. So it does while a channel of the application is
// full, for that holds up all events of its session.
//
// # What it cannot see
//
// No event reports a change of an ACL: Stat.Aversion is as of the last read. A
// znode that may not be read ends Run with an error. One that is made and may
// not be read is not reported by servers since 3.8.4 and 3.9.2; then Run ends
// at the next change of its parent that is.
//
// A Cache never goes back: on servers that were restored from a backup it shows
// nothing new until they have come as far as it was. Close it first.
package tree
