// Package zktest is a ZooKeeper for tests. Its servers live in this process and
// speak the real protocol, to this module's client and to any other. They
// start in less than a millisecond, keep nothing on disk, and break on demand.
//
//	server := zktest.NewServer(t) // ends with the test
//	session, err := zk.Dial(ctx, zk.Config{Addrs: server.Addrs()})
//
// [NewEnsemble] starts several servers that share one history, so that a
// session can move between them. [StartServer] and [StartEnsemble] are for
// programs that have no [testing.TB].
//
// # Semantics
//
// The servers follow those of Apache ZooKeeper: every operation of the release
// series that [Options] choose, with its exact errors, stats and zxids, ACLs
// (world, auth, digest, ip, x509 and sasl, with DIGEST-MD5), quotas, sessions
// that expire at the end of the tick in which their timeout is over, containers
// and TTL nodes that go, watches and their version-dependent corners,
// reconfiguration of what /zookeeper/config tells, and all four-letter words.
// Tests send random operations to them and to real servers of each release,
// alone and in ensembles, and compare all that comes back; TestParity's flags
// -parity.seed and -parity.ops choose which and how many.
// What they do not have: Kerberos and an admin server. Of mntr they have what
// tells of clients and data, not the meters of a server's insides, and hash is
// empty.
//
// An ensemble does not mind how few of its members run, unless
// [Options.Majority] says so. Then those without a majority serve nobody, or
// read-only clients, nothing expires, and the way back leads over an election.
//
// # A clock of one's own
//
// With [Options.InMemory] connections are made by [Ensemble.DialContext] and
// need no network. Then servers and clients run inside a testing/synctest
// bubble, where a session expires without anybody waiting:
//
//	synctest.Test(t, func(t *testing.T) {
//		server := zktest.NewServer(t, zktest.Options{InMemory: true})
//		conf := zk.Config{Addrs: server.Addrs(), DialContext: server.DialContext}
//		…
//	})
//
// # Breaking things
//
// [Ensemble.Cut] ends a session's connection, [Ensemble.Expire] the session
// itself. [Ensemble.Fault] strikes chosen frames, of either direction: with an
// error, a delay, a cut before or after they are executed or sent, silence, or
// by losing, doubling or swapping them. [Ensemble.Link] cuts or silences a
// connection at a byte or a frame, or lets its bytes trickle. A [Member] can be
// stopped, refuse connections, fall behind the others, or be isolated from them.
// [Ensemble.MoveSession] lets a session turn up elsewhere, and
// [Ensemble.SetSequence] brings the end of the sequence numbers near.
//
//	// The next Set of /config is executed, but its answer never arrives.
//	server.Fault(zktest.Rule{Op: wire.OpSetData, Path: "/config", Do: zktest.CutAfter})
//
// # Looking on
//
// [Ensemble.Frames] returns what clients and servers said to each other:
//
//	for _, f := range server.Frames() {
//		t.Log(f) // 09:26:53.589793 member 0 conn 1 session 0x1… -> getData xid 1 "/a"
//	}
//
// # In between
//
// A [Proxy] does both for servers that are elsewhere, such as real ones, and for
// single clients: it logs what passes with the time that each reply took, cuts,
// resets, holds, delays and slows connections, and leads them to other servers.
//
//	proxy := zktest.NewProxy(t, "127.0.0.1:2181")
//	session, err := zk.Dial(ctx, zk.Config{Addrs: []string{proxy.Addr()}})
//	…
//	proxy.Hold(zktest.ToClient) // requests arrive, answers do not
//	proxy.Link(zktest.LinkRule{FromClient: zktest.CutAt(3).Frames()}) // the next connection ends with its third request
//
// The same for people is in the command zktrace, which prints every request,
// reply and event in a line, or as JSON:
//
//	go run github.com/seed-9f8420c6/zk/zktest/zktrace -listen 127.0.0.1:2182 -server 127.0.0.1:2181
//
// # Other languages
//
// The command zkserve runs an ensemble at fixed ports, for harnesses that are
// not written in Go; its documentation has examples for Python and Java.
//
//	go run github.com/seed-9f8420c6/zk/zktest/zkserve -port 2181 -members 3
//
// # Byte for byte
//
// For exchanges that no server would have, a [Script] lets the test itself
// write each frame; a [Pipe] is the bare connection.
package zktest
