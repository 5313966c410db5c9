// Package zktest is a ZooKeeper for tests. Its servers are in-process and speak
// the real protocol, to this module's client and to any other. They start in
// under a millisecond, keep nothing on disk, and inject faults on request.
//
//	server := zktest.NewServer(t) // ends with the test
//	session, err := zk.Dial(ctx, zk.Config{Addrs: server.Addrs()})
//
// [NewEnsemble] starts several servers that share one history, so that a session
// can move between them. [StartServer] and [StartEnsemble] are for programs that
// have no [testing.TB].
//
// # Semantics
//
// The servers behave like those of Apache ZooKeeper in the release series of
// Options.Version:
//
//   - every operation, with its exact errors, stats and zxids;
//   - ACLs (world, auth, digest, ip, x509, and sasl with DIGEST-MD5) and quotas;
//   - sessions, which expire at the end of the tick in which their timeout ends;
//   - containers and TTL nodes, which are deleted in time;
//   - watches, with the differences between releases;
//   - reconfiguration of /zookeeper/config, and all four-letter words.
//
// Tests send random operations to them and to real servers of each release,
// standalone and in ensembles, and compare all answers. The flags -parity.seed
// and -parity.ops of TestParity choose which and how many. Kerberos and the admin
// server are missing. mntr has the values about clients and data, but not the
// metrics of a server's internals, and an empty hash.
//
// By default an ensemble serves however few of its members are running. With
// [Options.Majority] it needs a majority. Members without a majority serve
// nobody, or only read-only clients, and no session expires until there has
// been an election.
//
// # A fake clock
//
// With [Options.InMemory], [Ensemble.DialContext] makes connections without a
// network. So servers and clients can run inside a testing/synctest bubble, where
// time passes at once when all goroutines wait. Sessions expire by that clock:
//
//	synctest.Test(t, func(t *testing.T) {
//		server := zktest.NewServer(t, zktest.Options{InMemory: true})
//		conf := zk.Config{Addrs: server.Addrs(), DialContext: server.DialContext}
//		…
//	})
//
// # Breaking things
//
//   - [Ensemble.Cut] ends a session's connection, and [Ensemble.Expire] the
//     session itself.
//   - [Ensemble.Fault] acts on chosen frames, of either direction. It answers
//     with an error, delays, cuts before or after they are executed or sent,
//     stalls, or drops, duplicates or swaps them.
//   - [Ensemble.Link] cuts or silences a connection at a byte or a frame, or
//     slows it down.
//   - A [Member] can be stopped, refuse connections, stay behind the others, or
//     be isolated from them.
//   - [Ensemble.MoveSession] moves a session as if it had connected elsewhere.
//   - [Ensemble.SetSequence] brings the end of the sequence numbers near.
//
// For example:
//
//	// The next Set of /config is executed, but its answer never arrives.
//	server.Fault(zktest.Rule{Op: wire.OpSetData, Path: "/config", Do: zktest.CutAfter})
//
// # Watching the traffic
//
// [Ensemble.Frames] returns the frames that clients and servers exchanged:
//
//	for _, f := range server.Frames() {
//		t.Log(f) // 09:26:53.589793 member 0 conn 1 session 0x1… -> getData xid 1 "/a"
//	}
//
// # A proxy
//
// A [Proxy] does all that between any client and any server, such as a real one.
// It logs frames with the time that each reply took. It cuts, resets, holds,
// delays and slows connections, and redirects them to other servers.
//
//	proxy := zktest.NewProxy(t, "127.0.0.1:2181")
//	session, err := zk.Dial(ctx, zk.Config{Addrs: []string{proxy.Addr()}})
//	…
//	proxy.Hold(zktest.ToClient) // requests arrive, answers do not
//	proxy.Link(zktest.LinkRule{FromClient: zktest.CutAt(3).Frames()}) // the next connection ends with its third request
//
// The command zktrace prints every request, reply and event as a line of text or
// of JSON:
//
//	go run github.com/seed-9f8420c6/zk/zktest/zktrace -listen 127.0.0.1:2182 -server 127.0.0.1:2181
//
// # Other languages
//
// The command zkserve runs an ensemble at fixed ports, for tests that are not
// written in Go. Its documentation has examples for Python and Java.
//
//	go run github.com/seed-9f8420c6/zk/zktest/zkserve -port 2181 -members 3
//
// # Byte for byte
//
// With a [Script] the test itself writes each frame, for exchanges that no server
// would produce. [Pipe] returns a bare connection.
package zktest
