// Package clients lets other ZooKeeper clients than this module's use a zktest
// server: two for Go (github.com/go-zookeeper/zk, github.com/samuel/go-zookeeper),
// the Java client of the real releases, and kazoo for Python. Each runs the
// same play through a [zktest.Proxy]:
//
//   - it creates nodes, an ephemeral sequential one among them,
//   - commits a multi, and has another one rolled back,
//   - gets the event of a watch,
//   - loses its connection while it watches data, children, and for a node to
//     be born; all three happen before it is back; it keeps its session, and
//     hears of them,
//   - and hears that its session has expired.
//
// The examples of zkserve's documentation run here too.
//
// The Go clients need nothing. Java and kazoo need a JDK and python3-kazoo,
// which make setup installs on Debian; their tests run with ZK_TEST_APACHE=1,
// as in make test, and then fail when something is missing.
package clients
